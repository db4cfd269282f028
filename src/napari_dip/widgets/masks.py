"""Masks from layers: painted labels, drawn shapes, points on single pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
from magicgui.widgets import LineEdit, PushButton
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.transforms import Affine
from numpy.typing import NDArray
from scipy import ndimage

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import without_ones
from napari_dip.widgets.inputs import ImageInput, NotYet, brackets, matching
from napari_dip.widgets.layers import (
    Crop,
    array_of,
    check_same_place,
    covers,
    in_units,
    lies_on,
    pixel_at,
    point_at,
    shift,
    sides_of,
)

Mask = NDArray[np.bool_]

LOOKED_AT = 2**20
"""Labels of a mask, about, that are looked at in the main thread."""

LINES = ("line", "path")
"""Kinds of shapes that have no inside."""


class MaskInput(ImageInput):
    """An array of a task that is a mask, from a labels, shapes or points layer."""

    kinds: ClassVar[str] = "labels, shapes or points layer"
    accepted: ClassVar[tuple[type[Layer], ...]] = (Labels, Shapes, Points)
    remedy: ClassVar[str] = "click New mask layer, or add one and choose it above"
    purpose: ClassVar[str] = "what is to be filled"
    """What the mask marks."""

    def __init__(self, name: str, viewer: Any, tip: str) -> None:
        super().__init__(name, viewer, tip)
        self.labels = LineEdit(value="all")
        self.new = PushButton(text="New mask layer")
        self.mend = PushButton(text="Put the mask on the image")
        self.rows += [
            (
                "",
                self.mend,
                "Give the mask the scale and position of the image if it has as many "
                "pixels. Otherwise, add a copy of the mask on the pixels of the image.",
            ),
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

    def suits(self, layer: Layer, first: Layer) -> tuple[float, ...] | None:
        """Return how well a layer goes with the first one; see `ImageInput.suits`."""
        if len(_axes(layer)) > first.ndim:
            return None
        return fits(layer, first), layer.visible

    def add_layer(self, source: Image, spatial_dims: int) -> None:
        """Add an empty mask over an image and choose the paint brush."""
        layer = empty_mask(source, spatial_dims)
        self._add(layer)
        self.viewer.layers.selection = {layer}
        layer.mode = "paint"

    def _add(self, layer: Labels) -> None:
        self.viewer.add_layer(layer)
        self.combo.reset_choices()
        self.choose(layer.name)

    def can_mend(self, source: Layer | None) -> bool:
        """Return whether the mask is a labels layer that does not lie on the image."""
        layer = self.layer
        if not isinstance(layer, Labels) or source is None:
            return False
        possible = layer.ndim <= source.ndim or covers(layer, source)
        return possible and not fits(layer, source)

    def put_on(self, source: Image) -> None:
        """Put the mask on the pixels of an image, in a copy if it has other pixels."""
        layer = self.layer
        assert isinstance(layer, Labels)
        sides = sides_of(source)[-layer.ndim :]
        if array_of(layer).shape == sides:
            place = _place(source, layer.ndim)
            for name, value in {**place, "units": source.units[-layer.ndim :]}.items():
                setattr(layer, name, value)
            return
        copy = empty_mask(source, len(_axes(layer)))
        copy.name = f"{layer.name} [on {source.name}]"
        if covers(layer, source):
            copy.data = np.asarray(array_of(layer)).reshape(copy.data.shape)
        else:
            copy.data = _resampled(layer, copy)
        self._add(copy)

    def centre(self, source: Image) -> tuple[int, ...] | None:
        """Return a pixel of the image, in its last axes, that is likely in the mask.

        Of many labels only some are looked at.  None stands for a layer whose pixels
        would have to be read for that, and for one where none of them is marked.
        """
        layer = self.chosen_layer
        data = array_of(layer)
        if not isinstance(layer, Labels):
            corners = data if isinstance(layer, Points) else data[0]
            place = _pixel_of(layer, np.mean(corners[:4], axis=0), source)
            return tuple(np.rint(place[-layer.ndim :]).astype(int).tolist())
        if not isinstance(data, np.ndarray):
            return None
        step = max(1, round((data.size / LOOKED_AT) ** (1 / data.ndim)))
        some = (slice(None, None, step),) * data.ndim
        marked = np.argwhere(_selected(data, some, chosen_labels(self.labels.value)))
        if len(marked) == 0:
            return None
        middle = step * marked[len(marked) // 2]
        return tuple(middle[-source.ndim :].tolist())

    def array(self, source: Layer, crop: Crop) -> Callable[[], Any]:
        """Return a function that reads the mask; see `ImageInput.array`."""
        layer, chosen = self.chosen_layer, chosen_labels(self.labels.value)
        if not isinstance(layer, Labels):
            if not len(layer.data):
                raise NotYet(
                    f"Now draw over {self.purpose}, in the layer {layer.name}."
                )
            # Rasterised here: the user may change shapes while a thread reads them.
            mask = mask_of(layer, source)
            return partial(np.copy, mask[matching(crop[: source.ndim], mask.shape)])
        if self.can_mend(source):
            raise InputError(
                f"{layer.name} does not lie on {source.name}, pixel on pixel. Press "
                f"{self.mend.text}."
            )
        _check_pixels(layer, source)
        part = matching(crop[: source.ndim], sides_of(layer))
        labels = array_of(layer)
        return partial(_painted, layer.name, labels, part, chosen, self.purpose)

    def code(self, source: Layer, crop: Crop) -> str:
        """Return the Python expression of the mask, in napari's console."""
        layer, chosen = self.chosen_layer, chosen_labels(self.labels.value)
        arguments = [f"viewer.layers[{n!r}]" for n in (layer.name, source.name)]
        if chosen:
            arguments.append(repr(chosen))
        like = layer if isinstance(layer, Labels) else source
        part = matching(crop[: source.ndim], sides_of(like)[-layer.ndim :])
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
        What is marked: the nonzero pixels of labels; the inside of shapes, or lines and
        paths in the width of their edge; the pixel below each point.
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
    sides = sides_of(source)[-layer.ndim :]
    if isinstance(layer, Labels) and moved:
        mask = _laid(_selected(array_of(layer), (), labels), layer, source, sides)
    elif isinstance(layer, Labels):
        _check_pixels(layer, source)
        mask = _selected(array_of(layer), (), labels)
    elif isinstance(layer, Shapes):
        mask = _drawn(_on_pixels(layer, source), sides)
    else:
        mask = _pointed(layer, source, sides)
    if not mask.any():
        raise InputError(f"{layer.name} marks no pixel of {source.name}")
    return mask


def empty_mask(source: Image, spatial_dims: int) -> Labels:
    """Return an empty labels layer over the planes or volumes of an image."""
    n = source.ndim if spatial_dims == source.ndim else spatial_dims
    layer = Labels(
        np.zeros(sides_of(source)[-n:], np.uint8),
        name=f"{source.name} [mask]",
        **_place(source, n),
        units=source.units[-n:],
        axis_labels=source.axis_labels[-n:],
        opacity=0.5,
    )
    layer.brush_size = max(3, min(sides_of(source)[-2:]) // 40)
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


def _axes(layer: Layer) -> tuple[int, ...]:
    """Return the sides of a mask that count: of labels, those that are not of one."""
    if isinstance(layer, Labels):
        return without_ones(sides_of(layer))
    return (0,) * layer.ndim


def _check_pixels(layer: Layer, source: Image) -> None:
    """Raise if a labels layer has not the pixels of an image, in its place."""
    check_same_place(source, layer)
    if not covers(layer, source):
        raise InputError(
            f"{layer.name} must have the sides of {source.name}, {sides_of(source)}, "
            f"or the last of them; got {sides_of(layer)}"
        )


def _painted(
    name: str, labels: Any, part: Crop, chosen: tuple[int, ...], purpose: str
) -> Mask:
    """Return the mask in a part of labels, and raise if they have none anywhere.

    This takes long for many labels, and is called in a thread.
    """
    mask = _selected(labels, part, chosen)
    if mask.any():
        return mask
    # Of a lazy array no more is read than is restored.
    if isinstance(labels, np.ndarray) or all(each == slice(None) for each in part):
        check_painted(name, labels, chosen, purpose)
    return mask


def check_painted(
    name: str, labels: Any, chosen: tuple[int, ...], purpose: str
) -> None:
    """Raise if labels have nothing in them yet, or none of the labels that count."""
    labels = np.asarray(labels)  # those of a lazy array are read once
    if not labels.any():
        raise NotYet(f"Now paint over {purpose}, in the layer {name}.")
    if chosen and not _selected(labels, (), chosen).any():
        raise NotYet(
            f"labels must be all or numbers that are in {name}; got "
            f"{', '.join(map(str, chosen))}"
        )


def fits(layer: Layer, source: Layer) -> bool:
    """Return whether a layer can be a mask of an image as it lies."""
    if not isinstance(layer, Labels):
        return True  # shapes and points have no pixels
    return covers(layer, source) and lies_on(source, layer)


def _resampled(layer: Labels, on: Labels) -> NDArray[Any]:
    """Return the labels at the pixels of another layer, 0 outside."""
    n = layer.ndim
    corners = np.vstack([np.zeros(n), np.eye(n)])
    origin, *axes = [
        pixel_at(layer, on.data_to_world(corner), on.units) for corner in corners
    ]
    matrix = np.stack(axes, axis=1) - origin[:, None]
    data = np.asarray(array_of(layer))
    sides = array_of(on).shape
    return ndimage.affine_transform(data, matrix, origin, sides, order=0)


def _on_pixels(layer: Shapes, source: Image) -> Shapes:
    if lies_on(source, layer):
        return layer
    n = layer.ndim
    data = [
        np.stack([_pixel_of(layer, corner, source)[-n:] for corner in shape])
        for shape in layer.data
    ]
    (step,) = in_units(layer.scale[-1:], layer.units, source.units)
    longer = np.abs(step / np.asarray(source.scale)[-1])
    width = [longer * each for each in layer.edge_width]
    kinds = list(layer.shape_type)
    return Shapes(data, shape_type=kinds, edge_width=width, ndim=n)


def _pixel_of(layer: Layer, point: Any, source: Image) -> NDArray[np.float64]:
    """Return where in the array of an image a point of a layer lies."""
    world = point_at(layer, point, source.units)
    # The viewer aligns the last axes of layers.
    place = np.zeros(source.ndim)
    place[-len(world) :] = world[-source.ndim :]
    return np.asarray(source.world_to_data(place))


def _selected(labels: Any, crop: Crop, chosen: tuple[int, ...]) -> Mask:
    values = np.asarray(labels[crop] if crop else labels)
    return np.isin(values, chosen) if chosen else values != 0


def _laid(mask: Mask, layer: Labels, source: Image, sides: tuple[int, ...]) -> Mask:
    """Return a mask at the position of its layer on an image, cut at the border."""
    laid = np.zeros(sides, bool)
    first = np.array(shift(layer, source))
    start = np.maximum(first, 0)
    stop = np.maximum(np.minimum(first + mask.shape, sides), start)
    inside = tuple(map(slice, start, stop))
    laid[inside] = mask[tuple(map(slice, start - first, stop - first))]
    return laid


def _drawn(layer: Shapes, sides: tuple[int, ...]) -> Mask:
    labels = np.asarray(layer.to_labels(labels_shape=sides))
    mask: Mask = labels > 0
    widths = zip(layer.shape_type, layer.edge_width, strict=True)
    for i, (kind, width) in enumerate(widths):
        line = labels == i + 1
        if kind in LINES and width > 1 and line.any():
            # The distance from the line within each plane.
            sampling = [1e9] * (len(sides) - 2) + [1.0, 1.0]
            distance = ndimage.distance_transform_edt(~line, sampling)
            mask |= distance <= width / 2
    return mask


def _pointed(layer: Points, source: Image, sides: tuple[int, ...]) -> Mask:
    mask = np.zeros(sides, bool)
    for point in layer.data:
        pixel = np.rint(_pixel_of(layer, point, source)[-len(sides) :]).astype(int)
        if ((pixel >= 0) & (pixel < sides)).all():
            mask[tuple(pixel)] = True
    return mask
