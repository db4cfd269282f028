"""The dock widget that sets a part of one image into another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from napari.layers import Image, Labels, Layer

from napari_dip.errors import InputError
from napari_dip.tasks.blend import BlendRecipe
from napari_dip.tasks.recipe import Recipe
from napari_dip.widgets.inputs import AnyImageInput, ImageInput
from napari_dip.widgets.layers import KEY, Crop, array_of, shift, sides_of
from napari_dip.widgets.masks import (
    Mask,
    MaskInput,
    check_painted,
    chosen_labels,
    mask_of,
)
from napari_dip.widgets.task import TaskWidget


class CutInput(MaskInput):
    """A mask of the foreground, from a labels layer at any position."""

    kinds: ClassVar[str] = "labels layer"
    accepted: ClassVar[tuple[type[Layer], ...]] = (Labels,)
    purpose: ClassVar[str] = "what is to be set into the background"
    foreground: ImageInput

    def suits(self, layer: Layer, first: Layer) -> tuple[float, ...] | None:
        """Return how well a layer goes with the foreground; see `ImageInput.suits`."""
        if layer.ndim > first.ndim:
            return None
        return sides_of(layer) == sides_of(first)[-layer.ndim :], layer.visible

    def can_mend(self, source: Layer | None) -> bool:
        """Return False: the mask may lie anywhere."""
        return False

    def array(self, source: Layer, crop: Crop) -> Callable[[], Any]:
        """Return a function that reads the mask, on the pixels of the foreground."""
        labels = chosen_labels(self.labels.value)
        layer, foreground = self.chosen_layer, self.foreground.chosen_layer
        shift(layer, foreground)  # raises here, before anything runs
        return partial(self._read, layer, foreground, labels)

    def _read(self, layer: Layer, foreground: Layer, labels: tuple[int, ...]) -> Mask:
        check_painted(layer.name, array_of(layer), labels, self.purpose)
        return mask_of(layer, foreground, labels, moved=True)

    def code(self, source: Layer, crop: Crop) -> str:
        """Return the Python expression of the mask, in napari's console."""
        labels = chosen_labels(self.labels.value)
        layer, foreground = self.chosen_layer, self.foreground.chosen_layer
        names = [f"viewer.layers[{a.name!r}]" for a in (layer, foreground)]
        return f"mask_of({', '.join(names)}, {labels}, moved=True)"

    def file(self, crop: Crop) -> str:
        """Return the file of the mask; see `ImageInput.file`."""
        layer, foreground = self.chosen_layer, self.foreground.chosen_layer
        same = layer.data.shape == foreground.data.shape[: layer.ndim]
        if not same or any(shift(layer, foreground)):
            raise InputError(
                "A command takes a mask of the foreground's size: this one lies "
                "elsewhere. Copy Python instead."
            )
        return super().file(crop)


class BackgroundInput(AnyImageInput):
    """The image layer that the foreground is set into, of any size."""

    aligned = True

    def suits(self, layer: Layer, first: Layer) -> tuple[float, ...]:
        """Return how well a layer goes with the foreground; see `ImageInput.suits`."""
        pairs = zip(sides_of(layer)[-2:], sides_of(first)[-2:], strict=True)
        larger = all(own >= other for own, other in pairs)
        alike = array_of(layer).ndim == array_of(first).ndim
        return alike, larger, KEY not in layer.metadata, layer.visible


class BlendWidget(TaskWidget):
    """Set a part of one image into another so that no seam shows."""

    task = "blend"
    arrays: ClassVar[dict[str, type[ImageInput]]] = {
        "foreground": AnyImageInput,
        "background": BackgroundInput,
        "mask": CutInput,
    }
    takes_away = False
    in_parts = False
    about = (
        "The part of the foreground that the mask marks is set into the background. "
        "Inside, the foreground's edges and texture are kept, and its colours follow "
        "those around it. Between the two a network makes a transition without a "
        "seam. The result is a new layer of the background's size.\n\n"
        "Move the foreground's layer, or the mask's, to where it should be; pixels "
        "must be of one size. Leave a margin around the object for the transition. "
        "The result is a picture, not a measurement."
    )

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        mask = self.inputs["mask"]
        assert isinstance(mask, CutInput)
        mask.foreground = self.inputs["foreground"]
        # The positions of the layers give the offset.
        self.fields.show_row("offset", False)

    @property
    def source(self) -> Image | None:
        """The layer that the result is like."""
        return self.inputs["background"].layer

    def recipe(self) -> Recipe:
        """Return what is filled in, with the offset between the layers."""
        recipe = super().recipe()
        source, foreground = self.source, self.inputs["foreground"].layer
        if source is None or foreground is None:
            return recipe
        assert isinstance(recipe, BlendRecipe)
        return dataclasses.replace(recipe, offset=shift(foreground, source)[-2:])
