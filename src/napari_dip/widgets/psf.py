"""The dock widget that makes a point spread function, in two ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from napari.layers import Image, Layer
from qtpy.QtWidgets import QTabWidget

from napari_dip.errors import InputError
from napari_dip.io.provenance import origin
from napari_dip.io.psf import differ
from napari_dip.io.units import converted, symbol
from napari_dip.tasks.bead_psf import BeadParameters, Beads, measure
from napari_dip.tasks.microscope_psf import (
    MicroscopeParameters,
    microscope_psf,
    slices_for,
)
from napari_dip.tasks.recipe import Parameters
from napari_dip.widgets.fields import row
from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.layers import KEY, array_of, sizes, whole
from napari_dip.widgets.panel import MakingPanel
from napari_dip.widgets.results import insert

APART = 5
"""Pixels from the image to a PSF that is placed beside it."""


class PsfWidget(QTabWidget):
    """Make a point spread function, from the optics of a microscope or from beads."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.microscope = MicroscopePanel(napari_viewer)
        self.beads = BeadPanel(napari_viewer)
        self.addTab(self.microscope, "Microscope")
        self.addTab(self.beads, "Beads")

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers that exist now; napari calls this when they change."""
        self.microscope.reset_choices(event)
        self.beads.reset_choices(event)


class PsfPanel(MakingPanel):
    """One of the ways: parameters, a layer, and a new layer with the PSF."""

    output = "psf.tif"

    kind: ClassVar[type[Parameters]]
    """The parameters."""

    tip: ClassVar[str]
    """What the layer is for."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer, self.kind)
        self.image = ImageInput("image", napari_viewer, self.tip)
        self.inputs = {"image": self.image}
        for i, entry in enumerate(self.image.rows):
            self.fields.form.insertRow(i, *row(*entry))
        self._fill_with_run("Make the PSF; it is a new layer.")
        self.image.combo.changed.connect(self.take_sizes)
        self.reset_choices()
        self.take_sizes()

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers that exist now, the selected one first."""
        self.image.reset_choices(event)
        self.image.choose_first()

    def take_sizes(self, _: Any = None) -> None:
        """Fill in the pixel sizes of the layer, where it has any."""
        self.progress.hide()
        known = {} if self.image.layer is None else sizes(self.image.layer)
        if "y" in known and "x" in known and not differ(known["y"], known["x"]):
            self.fields.fields["pixel_size"].value = known["x"]
            if "z" in known:
                self.fields.fields["z_step"].value = known["z"]

    def _show(self, result: tuple[Image, str]) -> None:
        layer, text = result
        place_beside(layer, self.viewer.layers)
        insert(self.viewer.layers, [], layer)
        where = ", to the right of the image" if len(self.viewer.layers) > 1 else ""
        self._end(f"{text} {layer.name} is a new layer{where}.")


class MicroscopePanel(PsfPanel):
    """Compute a point spread function from the optics."""

    kind = MicroscopeParameters
    tip = "The image to deconvolve later, which gives the pixel sizes; none is needed."
    about = (
        "This panel restores nothing. It computes how a microscope images a point, "
        "which Deconvolve needs: a new layer, on pixels of the same size as the "
        "image's.\n\n"
        "Choose the image first: if the file says how large its pixels are, this is "
        "filled in. The rest stands on the objective and in the settings of the "
        "filters. A real objective is a little worse than its model, so a PSF from "
        "beads is better where there is one."
    )

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.fields.changed.connect(self._offer_what_counts)
        self._offer_what_counts()

    def _offer_what_counts(self) -> None:
        """Show what belongs to volumes and to confocal microscopes only with them."""
        fields = self.fields.fields
        confocal = fields["kind"].value == "confocal"
        shape = fields["shape"].value
        volume = isinstance(shape, tuple) and len(shape) == 3
        counts = {"pinhole": confocal, "excitation_wavelength": confocal}
        for name, shown in {**counts, "z_step": volume}.items():
            self.fields.show_row(name, shown)

    def take_sizes(self, _: Any = None) -> None:
        """Fill in the pixel sizes of the layer, and slices for a volume alone."""
        super().take_sizes()
        layer, field = self.image.layer, self.fields.fields["shape"]
        sides = field.value[-2:]
        if layer is not None and isinstance(sides, tuple):  # not a text
            if layer.ndim == 2:
                field.value = sides
            elif "z" in sizes(layer):
                count = array_of(layer).shape[layer.ndim - 3]
                field.value = (slices_for(count), *sides)

    def _maker(self, parameters: Any) -> Callable[[], tuple[Image, str]]:
        aperture, wave = parameters.numerical_aperture, parameters.wavelength
        steps = (parameters.z_step, parameters.pixel_size, parameters.pixel_size)
        n = len(parameters.shape)
        place = {"scale": steps[-n:], "units": ("µm",) * n}
        source = self.image.layer
        if source is not None and not sizes(source):
            place = _grid(source, n)
        name = f"PSF {aperture:g} NA, {wave:g} nm"

        def make() -> tuple[Image, str]:
            psf = microscope_psf(**dataclasses.asdict(parameters))
            metadata = {KEY: origin(parameters)}
            return Image(psf, name=name, metadata=metadata, **place), "Finished."

        return make


class BeadPanel(PsfPanel):
    """Measure a point spread function from beads."""

    kind = BeadParameters
    tip = "An image, or a volume, of beads that are smaller than the resolution."
    about = (
        "This panel restores nothing. It measures how a microscope images a point, "
        "which Deconvolve needs, from an image of small beads. The result is a new "
        "layer.\n\n"
        "Beads that lie alone are aligned to a fraction of a pixel and averaged. Those "
        "at the border, saturated ones, close pairs and clumps are left out. Take the "
        "image of the beads as you take the image to deconvolve: with the same "
        "objective, colour, pixel size and z step."
    )

    def _maker(self, parameters: Any) -> Callable[[], tuple[Image, str]]:
        source = self._source()
        read = self.image.array(source, whole(source))
        metadata = origin(parameters) | {"layers": {"image": source.name}}

        def make() -> tuple[Image, str]:
            beads: Beads = measure(read(), parameters)
            place = _grid(source, beads.psf.ndim)
            name = f"PSF of {source.name}"
            layer = Image(beads.psf, name=name, metadata={KEY: metadata}, **place)
            return layer, f"Finished: {beads.summary}."

        return make

    def _code(self) -> dict[str, str]:
        source = self._source()
        return {"image": self.image.code(source, whole(source))}

    def _files(self) -> dict[str, str]:
        return {"image": self.image.file(whole(self._source()))}

    def _source(self) -> Layer:
        layer = self.image.layer
        if layer is None:
            raise InputError("There is no image layer with beads: open one first.")
        return layer


def _grid(source: Layer, n: int) -> dict[str, Any]:
    return {"scale": np.abs(source.scale[-n:]), "units": source.units[-n:]}


def place_beside(layer: Image, layers: Any) -> None:
    """Move a layer to the right of all others, and to their middle along other axes."""
    if not layers:
        return
    extent = layers.extent
    lengths = np.ones(layer.ndim)
    if extent.units is not None:
        pairs = zip(extent.units[-layer.ndim :], layer.units, strict=True)
        known = [converted(1.0, symbol(a), symbol(b)) for a, b in pairs]
        lengths = np.array([length or 1.0 for length in known])
    low, high = extent.world[:, -layer.ndim :] * lengths
    place = (low + high) / 2 - np.array(layer.data.shape) // 2 * layer.scale
    place[-1] = high[-1] + APART * layer.scale[-1]
    layer.translate = place
