"""The dock widgets of tasks that make an image from no other."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
from napari.layers import Image
from qtpy.QtWidgets import QWidget

from napari_dip.errors import InputError
from napari_dip.tasks.recipe import Recipe
from napari_dip.widgets.controller import Work
from napari_dip.widgets.layers import whole
from napari_dip.widgets.task import TaskWidget


class BlankWidget(TaskWidget):
    """A panel without an image: the result stands for itself."""

    takes_away = False

    meaningless: ClassVar[tuple[str, ...]] = ("channel_axis", "spatial_dims", "dtype")
    """Parameters that change nothing here: those that say how to take an image."""

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(napari_viewer, parent)
        self.compare_section.hide()
        for name in self.meaningless:
            field = self.fields.fields[name].widget.native
            form = field.parentWidget().layout()
            form.setRowVisible(field, False)

    def title(self, recipe: Recipe) -> str:
        """Return what the result is to be called after."""
        raise NotImplementedError

    @property
    def source(self) -> Image:
        """A blank layer, never shown, that the result looks and lies like."""
        try:
            recipe: Any = self.fields.recipe()
        except InputError:  # Run says it
            recipe = self.fields.kind()
        channels = recipe.channels
        shape = recipe.shape if channels == 1 else (*recipe.shape, channels)
        blank = np.broadcast_to(np.float32(0), shape)
        rgb = channels in (3, 4)
        limits = {} if rgb else {"contrast_limits": (0, 1)}
        return Image(blank, name=self.title(recipe), rgb=rgb, **limits)

    def recipe(self) -> Recipe:
        """Return what is filled in; there is no input whose type could be kept."""
        return dataclasses.replace(self.fields.recipe(), dtype="float32")

    def work(self) -> Work:
        """Return what Run would do now; see `TaskWidget.work`."""
        recipe, source = self.recipe(), self.source
        crop = whole(source)
        arrays = {n: g.array(source, crop) for n, g in self.inputs.items()}
        return Work(recipe, source, crop, arrays | functions(self.task), {})


def functions(task: str) -> dict[str, Any]:
    """Return the optional functions of a task, none of which a panel can give."""
    from napari_dip.tasks.run import get

    return dict.fromkeys(get(task).functions, lambda: None)
