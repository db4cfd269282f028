"""Masks from layers: painted labels, drawn shapes, points on single pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from magicgui.widgets import ComboBox, LineEdit, PushButton
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.transforms import Affine
from numpy.typing import NDArray
from scipy import ndimage

from napari_dip.errors import InputError
from napari_dip.widgets.inputs import ImageInput, brackets, matching
from napari_dip.widgets.layers import Crop, array_of, check_same_place, shift

Mask = NDArray[np.bool_]

LINES = ("line", "path")
"""Kinds of shapes that have no inside."""


class MaskInput(ImageInput):
    """An array of a task that is a mask, from a labels, shapes or points layer."""

    kinds: ClassVar[str] = "labels, shapes or points layer"

    def __init__(self, name: str, viewer: Any, tip: str) -> None:
        super().__init__(name, viewer, tip)
        self.labels = LineEdit(value="all")
        self.new = PushButton(text="New mask layer")
        self.rows += [
            (
                "Labels",
                self.labels,
                "Which labels of a labels layer count: all, or numbers such as 1, 3.",
            ),
            (
                "",
                self.new,
                "Add an empty labels layer over the image and choose the paint brush. "
                "One mask is used for every plane of a stack.",
            ),
        ]

    def _combo(self) -> Any:
        def offered(_: Any) -> list[Layer]:
            kinds = (Labels, Shapes, Points)
            return [layer for layer in self.viewer.layers if isinstance(layer, kinds)]

        return ComboBox(choices=offered, name=self.name)

    def add_layer(self, source: Image, spatial_dims: int) -> Labels:
        """Add an empty mask over an image and choose the paint brush."""
        layer = empty_mask(source, spatial_dims)
        self.viewer.add_layer(layer)
        self.viewer.layers.selection = {layer}
        layer.mode = "paint"
        self.combo.reset_choices()
        self.choose(layer.name)
        return layer

    def array(self, source: Layer, crop: Crop) -> Callable[[], Any]:
        """Return a function that reads the mask; see `ImageInput.array`."""
        layer, chosen = self.layer, chosen_labels(self.labels.value)
        assert layer is not None
        if not isinstance(layer, Labels):
            # Rasterised here: the user may change shapes while a thread reads them.
            mask = mask_of(layer, source)
            return partial(np.copy, mask[matching(crop, mask.ndim)])
        check_same_place(source, layer)
        _check_sides(layer, tuple(array_of(layer).shape), source)
        part = matching(crop[: source.ndim], layer.ndim)
        return partial(_selected, array_of(layer), part, chosen)

    def code(self, source: Layer, crop: Crop) -> str:
        """Return the Python expression of the mask, in napari's console."""
        layer, chosen = self.layer, chosen_labels(self.labels.value)
        assert layer is not None
        arguments = [f"viewer.layers[{n!r}]" for n in (layer.name, source.name)]
        if chosen:
            arguments.append(repr(chosen))
        part = matching(crop[: source.ndim], layer.ndim)
        return f"mask_of({', '.join(arguments)}){brackets(part)}"

    def file(self, crop: Crop) -> str:
        """Return the file of the mask; see `ImageInput.file`."""
        if not isinstance(self.layer, Labels) or chosen_labels(self.labels.value):
            raise InputError(
                "A command takes the mask from a file: only a labels layer with all "
                "its labels can be one. Copy Python instead."
            )
        return super().file(crop)


def chosen_labels(text: str) -> tuple[int, ...]:
    """Return the labels in a text such as "1, 3"; () stands for all."""
    if text.strip().lower() in ("", "all"):
        return ()
    try:
        return tuple(int(part) for part in text.replace(";", ",").split(","))
    except ValueError:
        raise InputError(
            f"labels must be all or numbers such as 1, 3; got {text!r}"
        ) from None


def mask_of(
    layer: Layer, source: Image, labels: tuple[int, ...] = (), *, moved: bool = False
) -> Mask:
    """Return where a layer marks pixels of an image.

    Parameters
    ----------
    layer : Labels, Shapes or Points
        Of labels, the nonzero pixels; of shapes, their inside, or lines and paths in
        the width of their edge; of points, the pixel below each.
    source : Image
        The image.
    labels : tuple of int
        Labels that count; all of them where empty.
    moved : bool
        Whether a labels layer may lie anywhere on the image, by its translate.

    Returns
    -------
    ndarray
        bool, over the axes of the image without colours, or over the last ones if the
        layer has fewer axes.

    Raises
    ------
    InputError
        If the layer does not fit the image or marks nothing.
    """
    sides = _sides(source)[-layer.ndim :]
    if isinstance(layer, Labels) and moved:
        mask = _laid(_selected(array_of(layer), (), labels), layer, source, sides)
    elif isinstance(layer, Labels):
        check_same_place(source, layer)
        _check_sides(layer, tuple(array_of(layer).shape), source)
        mask = _selected(array_of(layer), (), labels)
    elif isinstance(layer, Shapes):
        check_same_place(source, layer)
        mask = _drawn(layer, sides)
    else:
        mask = _pointed(layer, source, sides)
    if not mask.any():
        raise InputError(f"{layer.name} marks no pixel of {source.name}")
    return mask


def empty_mask(source: Image, spatial_dims: int) -> Labels:
    """Return an empty labels layer over the planes or volumes of an image."""
    n = source.ndim if spatial_dims == source.ndim else spatial_dims
    layer = Labels(
        np.zeros(_sides(source)[-n:], np.uint8),
        name=f"{source.name} [mask]",
        **_place(source, n),
        units=source.units[-n:],
        axis_labels=source.axis_labels[-n:],
        opacity=0.5,
    )
    layer.brush_size = max(3, min(_sides(source)[-2:]) // 40)
    return layer


def _place(source: Image, n: int) -> dict[str, Any]:
    """Return the keywords that place a layer on the last n axes of an image."""
    own = {key: getattr(source, key) for key in ("scale", "rotate", "shear")}
    if n == source.ndim:
        return {**own, "translate": source.translate, "affine": source.affine}
    linear = Affine(**own, ndim=source.ndim).linear_matrix[-n:, -n:]
    affine = source.affine.affine_matrix[-n - 1 :, -n - 1 :]
    if np.allclose(linear, np.diag(np.diag(linear))):
        place = {"scale": np.diag(linear), "translate": source.translate[-n:]}
        return {**place, "affine": affine}
    matrix = np.eye(n + 1)
    matrix[:n, :n], matrix[:n, n] = linear, source.translate[-n:]
    return {"affine": affine @ matrix}


def _sides(source: Image) -> tuple[int, ...]:
    """Return the shape of an image layer without colours."""
    return tuple(array_of(source).shape[: source.ndim])


def _check_sides(layer: Layer, shape: tuple[int, ...], source: Image) -> None:
    sides = _sides(source)
    if len(shape) > len(sides) or shape != sides[-len(shape) :]:
        raise InputError(
            f"{layer.name} must have the sides of {source.name}, {sides}, or of one "
            f"plane of it, {sides[-2:]}; got {shape}"
        )


def _selected(labels: Any, crop: Crop, chosen: tuple[int, ...]) -> Mask:
    values = np.asarray(labels[crop] if crop else labels)
    return np.isin(values, chosen) if chosen else values != 0


def _laid(mask: Mask, layer: Labels, source: Image, sides: tuple[int, ...]) -> Mask:
    """Return a mask at the position of its layer on an image, cut at the border."""
    laid = np.zeros(sides, bool)
    inside, taken = [], []
    for first, length, side in zip(
        shift(layer, source), mask.shape, sides, strict=True
    ):
        start, stop = max(first, 0), max(min(first + length, side), 0)
        inside.append(slice(start, stop))
        taken.append(slice(start - first, max(stop - first, start - first)))
    laid[tuple(inside)] = mask[tuple(taken)]
    return laid


def _drawn(layer: Shapes, sides: tuple[int, ...]) -> Mask:
    labels = np.asarray(layer.to_labels(labels_shape=sides))
    mask: Mask = labels > 0
    widths = zip(layer.shape_type, layer.edge_width, strict=True)
    for i, (kind, width) in enumerate(widths):
        if kind in LINES and width > 1:
            # The distance from the line within each plane.
            sampling = [1e9] * (len(sides) - 2) + [1.0, 1.0]
            distance = ndimage.distance_transform_edt(labels != i + 1, sampling)
            mask |= distance <= width / 2
    return mask


def _pointed(layer: Points, source: Image, sides: tuple[int, ...]) -> Mask:
    mask = np.zeros(sides, bool)
    for point in layer.data:
        world = np.asarray(layer.data_to_world(point))
        # The viewer aligns the last axes of layers.
        place = np.zeros(source.ndim)
        place[-len(world) :] = world[-source.ndim :]
        pixel = np.rint(np.asarray(source.world_to_data(place))[-len(sides) :])
        pixel = pixel.astype(int)
        if ((pixel >= 0) & (pixel < sides)).all():
            mask[tuple(pixel)] = True
    return mask
