"""The dock widget that undoes a known blur."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from napari.utils.notifications import show_warning

from napari_dip.errors import InputError
from napari_dip.io.psf import size_warning
from napari_dip.tasks.arrays import without_ones
from napari_dip.tasks.recipe import Recipe
from napari_dip.widgets.inputs import BlurredInput, ImageInput, PSFInput
from napari_dip.widgets.layers import layout_of, sides_of, sizes
from napari_dip.widgets.results import Work
from napari_dip.widgets.settings import PLUGIN
from napari_dip.widgets.task import TaskWidget


class DeconvolveWidget(TaskWidget):
    """Undo the blur of a microscope or camera whose point spread is known."""

    task = "deconvolve"
    arrays: ClassVar[dict[str, type[ImageInput]]] = {
        "image": BlurredInput,
        "psf": PSFInput,
    }
    takes_away = False
    fewest_slices = 1
    about = (
        "A network is fitted so that its image, blurred by the point spread "
        "function, is this one. The result is a new layer of the same size; the "
        "point spread function is a layer too, with pixels of the same size.\n\n"
        "It is only as good as the point spread function: a wrong one gives rings "
        "and doubled edges. What the optics did not let through is a guess."
    )

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        psf = self.inputs["psf"]
        assert isinstance(psf, PSFInput)
        psf.make.changed.connect(lambda _: self.open_psf_panel())

    def open_psf_panel(self) -> None:
        """Open the panel that makes a PSF, beside this one."""
        window = self.viewer.window
        window.add_plugin_dock_widget(PLUGIN, "Point spread function", tabify=True)

    def recipe(self) -> Recipe:
        """Return what is filled in; a PSF of three axes is one of volumes."""
        recipe, psf = super().recipe(), self.inputs["psf"].layer
        if psf is None or len(without_ones(sides_of(psf))) != 3:
            return recipe
        of_volumes = dataclasses.replace(recipe, spatial_dims=3)
        if self.source is not None:
            try:
                layout_of(of_volumes, self.source)
            except InputError:
                return recipe  # an image of one plane: the task says what does not fit
        return of_volumes

    def _start(self, wanted: Callable[[], Work]) -> None:
        image, psf = (given.layer for given in self.inputs.values())
        if image is not None and psf is not None:
            warning = size_warning(sizes(image), sizes(psf))
            if warning is not None:
                show_warning(warning)
        super()._start(wanted)
