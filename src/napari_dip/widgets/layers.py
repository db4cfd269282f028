"""What tasks need to know of layers: their arrays, axes and positions."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Image, Layer
from napari.utils.transforms import Affine
from numpy.typing import ArrayLike, NDArray

from napari_dip.errors import InputError
from napari_dip.io.psf import relative, z_spacing
from napari_dip.io.units import converted, symbol
from napari_dip.tasks.arrays import Layout, without_ones
from napari_dip.tasks.recipe import Recipe

KEY = "napari-dip"
"""Key of this plugin's entry in a layer's metadata."""

FEWEST = 64
"""Pixels that a part of an image must have along an axis to be worth a fit."""

Crop = tuple[slice, ...]
"""A part of an array: one slice for each axis."""

CHANNEL_LABELS = ("c", "ch", "channel", "channels")
"""Labels of an axis that holds channels."""

PLACED = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
"""What says where a layer lies."""

_KEPT = (
    *PLACED,
    "blending",
    "opacity",
    "gamma",
    "colormap",
    "interpolation2d",
    "interpolation3d",
    "rendering",
    "depiction",
    "rgb",
)


def array_of(layer: Layer) -> Any:
    """Return a layer's data at full resolution; dask and zarr arrays stay lazy."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def notes_of(layer: Layer) -> dict[str, Any]:
    """Return what this plugin has stored in a layer's metadata, {} if nothing."""
    stored = layer.metadata.get(KEY)
    return stored if isinstance(stored, dict) else {}


def adapted(recipe: Recipe, layer: Layer) -> Recipe:
    """Return the recipe with what a layer says of its axes and of the result's type.

    A layer says whether its last axis holds colours, and its axis labels say which
    axis holds channels, so "auto" need not guess.  napari shows colours only as
    integers or as floats from 0 to 1, so the colours of an integer image keep its
    type.
    """
    changes: dict[str, Any] = {}
    rgb = bool(getattr(layer, "rgb", False))
    if recipe.channel_axis == "auto":
        labels = [str(label).lower() for label in layer.axis_labels]
        named = [i for i, label in enumerate(labels) if label in CHANNEL_LABELS]
        changes["channel_axis"] = -1 if rgb else next(iter(named), None)
    if rgb and np.dtype(array_of(layer).dtype).kind in "ui":
        changes["dtype"] = "input"
    if recipe.z_spacing == "auto":
        changes["z_spacing"] = z_spacing_of(layer) or "auto"
    return dataclasses.replace(recipe, **changes)


def sizes(layer: Layer) -> dict[str, float]:
    """Return the distances of two pixels along z, y and x, in µm, where known."""
    known = {}
    last = list(zip(layer.scale, layer.units, strict=True))[-3:]
    for axis, (step, unit) in zip("zyx"[-len(last) :], last, strict=True):
        length = converted(abs(float(step)), symbol(unit), "µm")
        if length:
            known[axis] = length
    return known


def z_spacing_of(layer: Layer) -> float | None:
    """Return the distance of a layer's planes over that of its pixels, if known."""
    last = list(zip(np.abs(layer.scale), layer.units, strict=True))[-3:]
    if len(last) < 3:
        return None
    (apart, unit), _, (pixel, pixel_unit) = last
    if unit == pixel_unit:  # known or not
        return relative(float(apart), float(pixel))
    return z_spacing(sizes(layer))


def layout_of(recipe: Recipe, layer: Layer) -> Layout:
    """Return the layout of a layer's array, for a recipe from `adapted`.

    The task checks how many slices there are.
    """
    axis, name = recipe.channel_axis, f"layer {layer.name}"
    dims = recipe.spatial_dims
    return Layout.of(array_of(layer), axis, dims, name, fewest_slices=1)


def whole(layer: Layer) -> Crop:
    """Return the crop that is the whole array."""
    return (slice(None),) * array_of(layer).ndim


def shown_plane(layer: Layer, leading: Sequence[int], dims: Any) -> Crop:
    """Return the crop to the plane or volume that the viewer shows.

    Cropped axes, of those over planes, keep a length of 1, so that the result can be
    placed where the plane lies.

    Raises
    ------
    InputError
        If the viewer shows one of those axes, and so no single plane.
    """
    first = dims.ndim - layer.ndim
    if any(axis + first in dims.displayed for axis in leading):
        if dims.ndisplay == 3:
            raise InputError(
                f"The viewer shows {layer.name} in 3-D, and so no single plane: show "
                f"it in 2-D, or restore all planes."
            )
        raise InputError(
            f"the viewer does not show a plane of {layer.name}, but axes "
            f"{tuple(axis - first for axis in dims.displayed)} of it: show the last "
            f"axes, or restore all planes"
        )
    point = pixel_at(layer, dims.point, dims.units)
    crop = list(whole(layer))
    for axis in leading:
        last = array_of(layer).shape[axis] - 1
        index = int(np.clip(np.rint(point[axis]), 0, last))
        crop[axis] = slice(index, index + 1)
    return tuple(crop)


def shown_part(layer: Image, leading: Sequence[int], viewer: Any) -> Crop:
    """Return the crop to what the canvas shows, of one plane or volume.

    It has `FEWEST` pixels along each axis, or as many as there are.

    Raises
    ------
    InputError
        As `shown_plane`, or if the canvas does not show the layer.
    """
    dims = viewer.dims
    crop = list(shown_plane(layer, leading, dims))
    if dims.ndisplay == 3:
        return tuple(crop)  # in 3-D the canvas shows all of it
    low, high = seen_pixels(layer, viewer)
    first = dims.ndim - layer.ndim
    for axis in (axis - first for axis in dims.displayed if axis >= first):
        side = array_of(layer).shape[axis]
        start, last = (int(np.clip(x, 0, side - 1)) for x in (low[axis], high[axis]))
        if start >= last and side > 1:
            raise InputError(f"{layer.name} is not in view: move the viewer to it")
        crop[axis] = around(start, last + 1, side)
    return tuple(crop)


def seen_pixels(layer: Image, viewer: Any) -> tuple[Any, Any]:
    """Return the first and the last pixel, along each axis, that the canvas shows.

    They may lie outside the layer.
    """
    dims = viewer.dims
    alike = dims.units is None or dims.units[-layer.ndim :] == layer.units
    # napari takes no account of units for these corners.
    if not layer.multiscale and alike:
        return tuple(layer.corner_pixels)
    canvas = getattr(viewer, "canvas", None)
    if canvas is None:  # before napari 0.9
        factors = layer.downsample_factors[layer.data_level]
        low, high = layer.corner_pixels
        return low * factors, (high + 1) * factors - 1
    # The corners of such a layer are those of what is loaded, which may be more.
    camera = viewer.scene.camera
    half = np.asarray(canvas.viewbox_size(viewer.layers)) / (2 * camera.zoom)
    corners = []
    for signs in itertools.product((-1, 1), repeat=2):
        world = np.array(dims.point, float)
        world[list(dims.displayed)] = camera.center[-2:] + half * signs
        corners.append(pixel_at(layer, world, dims.units))
    return np.floor(np.min(corners, axis=0)), np.ceil(np.max(corners, axis=0))


def piece_of(
    layer: Image,
    crop: Crop,
    leading: Sequence[int],
    side: int,
    dims: Any,
    centre: Sequence[int] | None = None,
) -> Crop:
    """Return the crop to a piece of `side` pixels of the shown plane or volume.

    The piece is of the part of the layer that `crop` is, and smaller if that is.  It
    has the pixel `centre`, of the last axes, in it, or else the middle of the crop.
    """
    piece = list(crop)
    point = pixel_at(layer, dims.point, dims.units)
    first = layer.ndim - len(centre or ())
    for axis in range(layer.ndim):
        start, stop, _ = crop[axis].indices(array_of(layer).shape[axis])
        place = (start + stop) // 2
        if axis in leading:
            place = int(np.rint(point[axis]))
        if centre is not None and axis >= first:
            place = centre[axis - first]
        width = 1 if axis in leading else min(side, stop - start)
        begin = int(np.clip(place - width // 2, start, stop - width))
        piece[axis] = slice(begin, begin + width)
    return tuple(piece)


def around(start: int, stop: int, side: int) -> slice:
    """Return a part of an axis, made larger on both sides if it has too few pixels."""
    length = max(stop - start, FEWEST)
    begin = start - (length - (stop - start)) // 2
    begin = max(min(begin, side - length), 0)
    return slice(begin, min(begin + length, side))


def placement(
    source: Image, shape: Sequence[int], crop: Crop
) -> dict[str, tuple[float, ...]]:
    """Return scale and translate of a result of a shape, made from a part of a source.

    The result covers the same area as the part of the source it was made from: if it
    has f times as many pixels, they are f times smaller, and the centre of the first
    one moves by half the difference, ``(1 / f - 1) / 2`` pixels of the source.
    """
    sides = array_of(source).shape
    n = source.ndim
    part = [
        # The layer may have got other data since.
        range(*c.indices(side if c.stop is None else c.stop))
        for c, side in zip(crop, sides, strict=True)
    ][:n]
    step = np.array([len(p) / side for p, side in zip(part, shape, strict=False)])
    start = np.array([p.start for p in part]) + (step - 1) / 2
    scale, translate = np.asarray(source.scale), np.asarray(source.translate)
    to_world = Affine(scale=scale, rotate=source.rotate, shear=source.shear, ndim=n)
    return {
        "scale": tuple(scale * step),
        "translate": tuple(translate + to_world.linear_matrix @ start),
    }


def appearance(source: Image, shape: Sequence[int], crop: Crop) -> dict[str, Any]:
    """Return the keywords of `Image` that place and show a result like its source.

    The parameters are those of `placement`.
    """
    _, state, _ = source.as_layer_data_tuple()
    keywords = {key: state[key] for key in _KEPT if key in state}
    if not source.rgb:
        keywords["contrast_limits"] = tuple(source.contrast_limits)
    return keywords | placement(source, shape, crop)


def sides_of(layer: Layer) -> tuple[int, ...]:
    """Return the shape of an image or labels layer without colours."""
    return tuple(array_of(layer).shape[: layer.ndim])


def in_units(point: ArrayLike, units: Any, others: Any) -> NDArray[np.float64]:
    """Return a point in other units, axis by axis from the last one on.

    napari shows layers of one viewer in units that suit all of them, if there are any:
    `Dims.units`, else None.  Then lengths count as they are, as do pixels.
    """
    place = np.array(point, np.float64)
    pairs = zip(reversed(units or ()), reversed(others or ()), strict=False)
    for axis, (unit, other) in enumerate(list(pairs)[: len(place)], 1):
        if unit != other:
            place[-axis] *= converted(1.0, symbol(unit), symbol(other)) or 1.0
    return place


def pixel_at(layer: Layer, point: ArrayLike, units: Any) -> NDArray[np.float64]:
    """Return where in a layer's array a point in some units lies."""
    return np.asarray(layer.world_to_data(in_units(point, units, layer.units)))


def point_at(layer: Layer, pixel: ArrayLike, units: Any) -> NDArray[np.float64]:
    """Return the point, in some units, where a place in a layer's array lies."""
    return in_units(layer.data_to_world(pixel), layer.units, units)


def covers(layer: Layer, source: Layer) -> bool:
    """Return whether a layer has as many pixels as another, or as a plane of it.

    Axes of one element do not count: files of five axes hold images of two or three.
    """
    own, sides = (without_ones(sides_of(each)) for each in (layer, source))
    return own == sides[-len(own) :]


def lies_on(source: Layer, other: Layer) -> bool:
    """Return whether equal pixels of two layers lie on each other in the viewer."""
    try:
        check_same_place(source, other)
    except InputError:
        return False
    return True


def check_same_place(source: Layer, other: Layer) -> None:
    """Raise if equal pixels of two layers do not lie on each other in the viewer.

    `other` may lack leading axes of `source`.

    Raises
    ------
    InputError
        If they do not; the message has both transforms.
    """
    n = min(other.ndim, source.ndim)
    corners = np.vstack([np.zeros(n), np.diag(np.full(n, 100.0))])
    for corner in corners:
        in_source, in_other = (
            point_at(layer, [0.0] * (layer.ndim - n) + list(corner), source.units)
            for layer in (source, other)
        )
        size = np.abs(np.asarray(source.scale)[-n:]).max()
        if np.abs(in_source[-n:] - in_other[-n:]).max() > 0.01 * size:
            raise InputError(
                f"{other.name} does not lie on {source.name}: {_where(other, n)}, but "
                f"{source.name} {_where(source, n)}; give them the same transform"
            )


def shift(layer: Layer, other: Layer) -> tuple[int, ...]:
    """Return the pixel of `other` on which the first pixel of `layer` lies.

    Raises
    ------
    InputError
        If pixels of the two are not of one size and direction.
    """
    n = layer.ndim
    side = 100.0
    origin, *corners = [
        pixel_at(other, layer.data_to_world(corner), layer.units)
        for corner in np.vstack([np.zeros(n), np.diag(np.full(n, side))])
    ]
    if other.ndim != n or np.abs(corners - origin - side * np.eye(n)).max() > 1:
        raise InputError(
            f"{layer.name} and {other.name} must have pixels of one size: {layer.name} "
            f"{_where(layer, min(n, other.ndim))}, {other.name} "
            f"{_where(other, min(n, other.ndim))}; give them one scale and rotation"
        )
    return tuple(int(x) for x in np.rint(origin))


def _where(layer: Layer, n: int) -> str:
    """Return in words where a layer lies, in its last n axes."""
    numbers = {"scale": layer.scale, "translate": layer.translate}
    parts = [
        f"{name} ({', '.join(f'{v:.4g}' for v in values[-n:])})"
        for name, values in numbers.items()
    ]
    units = [symbol(unit) or "pixel" for unit in layer.units[-n:]]
    if set(units) != {"pixel"}:
        parts.append(f"units ({', '.join(units)})")
    if not np.allclose(layer.rotate, np.eye(layer.ndim)) or np.any(layer.shear):
        parts.append("rotated or sheared")
    if not np.allclose(layer.affine.affine_matrix, np.eye(layer.ndim + 1)):
        parts.append("with an affine of its own")
    return "has " + ", ".join(parts)
