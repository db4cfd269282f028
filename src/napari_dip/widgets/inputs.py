"""Inputs of a task: the choice of a layer, its array, and the code for it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from magicgui.widgets import ComboBox, PushButton, Widget
from napari.layers import Image, Layer

from napari_dip.errors import FileError, InputError
from napari_dip.io import files
from napari_dip.tasks.arrays import without_ones
from napari_dip.widgets.fields import label_of
from napari_dip.widgets.layers import (
    KEY,
    Crop,
    array_of,
    check_same_place,
    covers,
    lies_on,
    sides_of,
)


class ImageInput:
    """An array of a task, of some name, that is the data of an image layer.

    The tip describes the array in the tooltip.
    """

    kinds: ClassVar[str] = "image layer"
    accepted: ClassVar[tuple[type[Layer], ...]] = (Image,)
    """Kinds of layers to choose from."""
    aligned = True
    """Whether its pixels lie on those of the image that is restored."""
    remedy: ClassVar[str] = "open or add one, and choose it above"
    """What to do where there is no such layer."""

    def __init__(self, name: str, viewer: Any, tip: str) -> None:
        self.name, self.viewer = name, viewer
        self.combo = self._combo()
        self.by_user = False
        """Whether the user has chosen the layer."""
        self.combo.changed.connect(self._chosen)
        label = label_of(name)
        self.rows: list[tuple[str, Widget, str]] = [(label, self.combo, tip)]

    def _combo(self) -> Any:
        def offered(_: Any) -> list[Layer]:
            return [a for a in self.viewer.layers if isinstance(a, self.accepted)]

        return ComboBox(choices=offered, name=self.name, nullable=True)

    def _chosen(self, _: Any) -> None:
        self.by_user = self.combo.value is not None

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        # napari gives plugins its layers in proxies.
        return getattr(self.combo.value, "__wrapped__", self.combo.value)

    @property
    def chosen_layer(self) -> Layer:
        """The chosen layer, where there is one."""
        layer = self.layer
        assert layer is not None
        return layer

    @property
    def ready(self) -> bool:
        """Whether something is chosen."""
        return self.layer is not None

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers that exist now."""
        by_user = self.by_user
        self.combo.reset_choices(event)
        self.by_user = by_user and self.combo.value is not None

    def choose(self, name: str) -> None:
        """Choose a layer by its name, if it exists."""
        same = [a for a in self.combo.choices if a is not None and a.name == name]
        if same:
            self.combo.value = same[0]
            self.by_user = True  # also where it was chosen already

    def choose_first(self) -> None:
        """Choose the selected layer, or else the uppermost that is shown."""
        if self.combo.value is not None:
            return
        selected = self.viewer.layers.selection

        def rank(layer: Layer) -> tuple[bool, ...]:
            likely = self.is_likely(layer)
            return likely, layer in selected, KEY not in layer.metadata, layer.visible

        self._choose_best(rank)

    def is_likely(self, layer: Layer) -> bool:
        """Return whether a layer may be meant, if others could be, too."""
        return True

    def choose_other(self, first: Layer) -> None:
        """Choose a layer that goes with the first one, unless the user has chosen."""
        if self.by_user:
            return

        def rank(layer: Layer) -> tuple[float, ...] | None:
            return None if layer == first else self.suits(layer, first)

        self._choose_best(rank)

    def suits(self, layer: Layer, first: Layer) -> tuple[float, ...] | None:
        """Return how well a layer goes with the first one, None where it cannot."""
        if not covers(layer, first):
            return None
        return lies_on(first, layer), KEY not in layer.metadata, layer.visible

    def _choose_best(self, rank: Callable[[Layer], tuple[float, ...] | None]) -> None:
        """Choose the layer of the highest rank, the uppermost of several."""
        best, highest = None, None
        for layer in self.combo.choices:
            rated = None if layer is None else rank(layer)
            if rated is not None and (highest is None or rated >= highest):
                best, highest = layer, rated
        self.combo.value = best
        self.by_user = False

    def array(self, source: Layer, crop: Crop) -> Callable[[], Any]:
        """Return a function that reads the array, to be called in a thread.

        The crop is the part of the source that is restored.

        Raises
        ------
        InputError
            If the layers do not lie on each other.
        """
        layer = self.chosen_layer
        if not self.aligned:
            return partial(read, array_of(layer), ())
        if layer != source:
            check_same_place(source, layer)
        return partial(read, array_of(layer), self._part(source, crop))

    def _part(self, source: Layer, crop: Crop) -> Crop:
        """Return the crop for the array of the chosen layer."""
        layer = self.chosen_layer
        colours = array_of(layer).ndim - layer.ndim
        part = matching(crop[: source.ndim], sides_of(layer))
        return part + (slice(None),) * colours

    def code(self, source: Layer, crop: Crop) -> str:
        """Return the Python expression of the array, in napari's console."""
        layer = self.chosen_layer
        data = f"viewer.layers[{layer.name!r}].data"
        if getattr(layer, "multiscale", False):
            data += "[0]"
        if not self.aligned:
            return data
        return data + brackets(self._part(source, crop))

    def file(self, crop: Crop) -> str:
        """Return the file of the array, for the command line.

        It is to be saved first where no file of the layer holds its array.

        Raises
        ------
        InputError
            If only a part of the layer is restored.
        """
        if self.aligned and any(c != slice(None) for c in crop):
            raise InputError(
                "A command restores whole files: choose all planes, or copy Python."
            )
        layer = self.chosen_layer
        return saved_as(layer) or f"{file_name(layer.name)}.tif"


class NotYet(InputError):
    """What the user has still to do before anything can run."""


class AnyImageInput(ImageInput):
    """An image layer that need not lie on the one that is restored."""

    aligned = False


class BlurredInput(ImageInput):
    """An image layer that is to be deconvolved."""

    def is_likely(self, layer: Layer) -> bool:
        """Return whether a layer is no PSF, by its name; napari selects the newest."""
        return not named_psf(layer)


class PSFInput(AnyImageInput):
    """An image layer that is a point spread function: a small one."""

    remedy = "open a measured one, or click Make a PSF"

    def __init__(self, name: str, viewer: Any, tip: str) -> None:
        super().__init__(name, viewer, tip)
        self.make = PushButton(text="Make a PSF")
        self.rows.append(
            (
                "",
                self.make,
                "Open the panel that computes a PSF from the optics of a microscope, "
                "or measures it on an image of beads.",
            )
        )

    def suits(self, layer: Layer, first: Layer) -> tuple[float, ...] | None:
        """Return how well a layer goes with the first one; see `ImageInput.suits`."""
        own, sides = (without_ones(sides_of(each)) for each in (layer, first))
        if len(own) > len(sides):
            return None
        named = named_psf(layer)
        small = all(k <= n for k, n in zip(own[-2:], sides[-2:], strict=True))
        if own[-2:] == sides[-2:] or not (named or small):
            return None
        return named, -math.prod(own)


def named_psf(layer: Layer) -> bool:
    """Return whether the name of a layer says that it is a PSF."""
    return "psf" in layer.name.lower()


def saved_as(layer: Layer) -> str | None:
    """Return the file that holds the array of a layer and nothing else, if any."""
    if not layer.source.path:
        return None
    try:
        header = files.read_header(layer.source.path)
    except FileError:
        return None
    array = array_of(layer)
    # The file of a channel has all channels, that of labels the image beside them.
    same = header.shape == array.shape and header.dtype.name == array.dtype.name
    return os.fspath(layer.source.path) if same else None


def to_save(inputs: Mapping[str, ImageInput], paths: Mapping[str, str]) -> str:
    """Return in words which layers must be saved before a copied command can run.

    Given are the inputs, and the files that the command reads, by the names of the
    arrays.  What is returned is a sentence with a space before it, "" if all are in
    their files.
    """
    missing = [
        f"{layer.name} as {path}"
        for name, path in paths.items()
        if (layer := inputs[name].layer) is not None and saved_as(layer) is None
    ]
    return f" It reads files: save {', '.join(missing)} first." if missing else ""


def file_name(name: str) -> str:
    """Return the name of a layer as that of a file, without an ending."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    return safe.strip("-_") or "image"


def matching(crop: Crop, sides: Sequence[int]) -> Crop:
    """Return the crop for an array that may lack leading axes, or have more of one."""
    more = (slice(None),) * max(len(sides) - len(crop), 0)
    part = (*more, *crop[max(len(crop) - len(sides), 0) :])
    return tuple(
        slice(None) if side == 1 else each
        for each, side in zip(part, sides, strict=True)
    )


def read(array: Any, crop: Crop) -> Any:
    """Return a part of an array, copied if the user may change it in memory."""
    if any(c != slice(None) for c in crop):
        array = array[crop]
    return array.copy() if isinstance(array, np.ndarray) else array


def brackets(crop: Crop) -> str:
    """Return the code that takes a part of an array, "" for all of it."""
    if all(c == slice(None) for c in crop):
        return ""
    parts = [":" if c == slice(None) else f"{c.start}:{c.stop}" for c in crop]
    while parts[-1] == ":":
        parts.pop()
    return f"[{', '.join(parts)}]"
