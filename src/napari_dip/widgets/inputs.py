"""Inputs of a task: the choice of a layer, its array, and the code for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from magicgui.widgets import Widget, create_widget
from napari.layers import Image, Layer

from napari_dip.errors import InputError
from napari_dip.widgets.fields import label_of
from napari_dip.widgets.layers import Crop, array_of, check_same_place


class ImageInput:
    """An array of a task that is the data of an image layer.

    Parameters
    ----------
    name : str
        Name of the array.
    viewer : napari.Viewer
        The viewer that has the layers.
    tip : str
        Description of the array, for the tooltip.
    """

    kinds: ClassVar[str] = "image layer"
    aligned = True
    """Whether its pixels lie on those of the image that is restored."""

    def __init__(self, name: str, viewer: Any, tip: str) -> None:
        self.name, self.viewer = name, viewer
        self.combo = self._combo()
        label = label_of(name)
        self.rows: list[tuple[str, Widget, str]] = [(label, self.combo, tip)]

    def _combo(self) -> Any:
        return create_widget(annotation=Image, name=self.name)

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        return self.combo.value

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers that exist now."""
        nothing = self.combo.value is None
        self.combo.reset_choices(event)
        active = self.viewer.layers.selection.active
        if nothing and active is not None:
            # The selected layer is most likely the one that the user means.
            same = [layer for layer in self.combo.choices if layer == active]
            if same:
                self.combo.value = same[0]

    def choose(self, name: str) -> None:
        """Choose a layer by its name, if it exists."""
        same = [layer for layer in self.combo.choices if layer.name == name]
        if same:
            self.combo.value = same[0]

    def array(self, source: Layer, crop: Crop) -> Callable[[], Any]:
        """Return a function that reads the array, to be called in a thread.

        Parameters
        ----------
        source : Layer
            The layer that is restored.
        crop : tuple of slice
            The part of it that is restored.

        Raises
        ------
        InputError
            If the layers do not lie on each other.
        """
        layer = self.layer
        assert layer is not None
        if not self.aligned:
            return partial(read, array_of(layer), ())
        if layer != source:
            check_same_place(source, layer)
        return partial(read, array_of(layer), matching(crop, array_of(layer).ndim))

    def code(self, source: Layer, crop: Crop) -> str:
        """Return the Python expression of the array, in napari's console."""
        layer = self.layer
        assert layer is not None
        data = f"viewer.layers[{layer.name!r}].data"
        if getattr(layer, "multiscale", False):
            data += "[0]"
        if not self.aligned:
            return data
        return data + brackets(matching(crop, array_of(layer).ndim))

    def file(self, crop: Crop) -> str:
        """Return the file of the array, for the command line.

        Raises
        ------
        InputError
            If a file of the layer would not hold exactly this array.
        """
        assert self.layer is not None
        if self.aligned and any(c != slice(None) for c in crop):
            raise InputError(
                "A command restores whole files: choose all planes, or copy Python."
            )
        return file_of(self.layer)


class AnyImageInput(ImageInput):
    """An image layer that need not lie on the one that is restored."""

    aligned = False


def file_of(layer: Layer) -> str:
    """Return the file of a layer, or the name to save it under."""
    if layer.source.path:
        return os.fspath(layer.source.path)
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in layer.name)
    return f"{safe.strip('_') or 'image'}.tif"


def matching(crop: Crop, ndim: int) -> Crop:
    """Return the crop for an array that may lack the leading axes."""
    return crop[len(crop) - ndim :] if ndim <= len(crop) else crop


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
