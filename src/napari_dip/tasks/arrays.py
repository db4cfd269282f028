"""Arrays of any layout, taken apart into planes and put together again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_dip.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Float = NDArray[np.float32]
SMALLEST = 16
"""Fewest pixels along a spatial axis."""


def as_array(value: Any, name: str) -> Any:
    """Return `value` as an array of real numbers; dask and zarr arrays stay lazy.

    Masked values of a NumPy masked array become NaN.
    """
    if isinstance(value, np.ma.MaskedArray) and value.dtype.kind in "buif":
        value = np.where(np.ma.getmaskarray(value), np.nan, value.data)
    lazy = all(hasattr(value, a) for a in ("shape", "dtype", "ndim", "__getitem__"))
    # Torch's tensors have all that too, but dtypes of their own.
    lazy = lazy and isinstance(value.dtype, np.dtype)
    array = value if lazy else np.asarray(value)
    kind = np.dtype(array.dtype).kind
    if kind not in "buif":
        what = {"c": "complex", "O": "object"}.get(kind, str(array.dtype))
        raise InputError(
            f"{name} must be an array of real numbers (bool, integer or float); "
            f"got dtype {what}"
        )
    if 0 in array.shape or array.ndim == 0:
        raise InputError(
            f"{name} must not be empty; got an array of shape {tuple(array.shape)}"
        )
    return array


@dataclass(frozen=True)
class Layout:
    """Which axes of an array are what.

    Attributes
    ----------
    shape : tuple of int
        Shape of the array.
    dtype : numpy.dtype
        Data type of the array.
    channel_axis : int or None
        Counted from the front.
    spatial_dims : int
        The last 2 or 3 axes but for the channels.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    channel_axis: int | None
    spatial_dims: int

    @classmethod
    def of(
        cls, array: Any, channel_axis: int | str | None, spatial_dims: int, name: str
    ) -> Layout:
        """Find the layout of an array by the arguments of a task."""
        ndim, shape = array.ndim, tuple(array.shape)
        axis: int | None
        if channel_axis == "auto":
            colour = ndim > spatial_dims and shape[-1] in (3, 4)
            axis = ndim - 1 if colour else None
        elif channel_axis is None:
            axis = None
        else:
            axis = int(channel_axis)
            if not -ndim <= axis < ndim:
                raise InputError(
                    f"channel_axis must be from {-ndim} to {ndim - 1} for {name} of "
                    f"shape {shape}; got {channel_axis}"
                )
            axis %= ndim
        layout = cls(shape, np.dtype(array.dtype), axis, spatial_dims)
        sides = layout.sides
        if len(sides) < spatial_dims or min(sides) < SMALLEST:
            raise InputError(
                f"{name} must have at least {SMALLEST} pixels along each of its "
                f"{spatial_dims} spatial axes; got shape {shape}, of which "
                f"{sides} are spatial"
            )
        return layout

    @property
    def _axes(self) -> list[int]:
        """The axes but for the channels."""
        return [i for i in range(len(self.shape)) if i != self.channel_axis]

    @property
    def spatial_axes(self) -> list[int]:
        """The axes of an image or volume."""
        return self._axes[-self.spatial_dims :]

    @property
    def leading_axes(self) -> list[int]:
        """The axes over planes or volumes."""
        return self._axes[: -self.spatial_dims]

    @property
    def sides(self) -> tuple[int, ...]:
        """Pixels along the spatial axes."""
        return tuple(self.shape[i] for i in self.spatial_axes)

    @property
    def channels(self) -> int:
        """Number of channels, 1 where there is no axis for them."""
        return 1 if self.channel_axis is None else self.shape[self.channel_axis]

    @property
    def planes(self) -> int:
        """Number of images or volumes."""
        return math.prod(self.shape[i] for i in self.leading_axes)

    def indices(self) -> Iterator[tuple[int | slice, ...]]:
        """Yield the index of every plane."""
        for position in np.ndindex(*(self.shape[i] for i in self.leading_axes)):
            index: list[int | slice] = [slice(None)] * len(self.shape)
            for axis, i in zip(self.leading_axes, position, strict=True):
                index[axis] = i
            yield tuple(index)

    def take(self, array: Any, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return one plane as it is, channels first, (C, Y, X) or (C, Z, Y, X)."""
        plane = np.asarray(array[index])
        if self.channel_axis is None:
            return plane[np.newaxis]
        before = sum(axis < self.channel_axis for axis in self.leading_axes)
        moved: NDArray[Any] = np.moveaxis(plane, self.channel_axis - before, 0)
        return moved

    def arrange(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Undo `take` for one plane."""
        if self.channel_axis is None:
            single: NDArray[Any] = plane[0]
            return single
        before = sum(axis < self.channel_axis for axis in self.leading_axes)
        moved: NDArray[Any] = np.moveaxis(plane, 0, self.channel_axis - before)
        return moved

    def resized(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        """Return the array's shape with other spatial sides."""
        shape = list(self.shape)
        for axis, side in zip(self.spatial_axes, sides, strict=True):
            shape[axis] = side
        return tuple(shape)


@dataclass(frozen=True, eq=False)
class Pixels:
    """One image or volume as it came.

    Attributes
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X), NaN where missing.
    constant : ndarray
        bool, of the same shape, true in regions of one value; see `constant_regions`.
    """

    values: NDArray[Any]
    constant: NDArray[np.bool_]

    @classmethod
    def of(cls, values: NDArray[Any]) -> Pixels:
        """Find the constant regions."""
        channels = values.astype(np.float64)
        return cls(values, np.stack([constant_regions(c) for c in channels]))


@dataclass(frozen=True, eq=False)
class Plane:
    """One image or volume, cleaned and scaled for a fit, every channel by itself.

    Attributes
    ----------
    pixels : ndarray
        The input, (C, Y, X) or (C, Z, Y, X), NaN where missing.
    values : ndarray
        float32, (C, Y, X) or (C, Z, Y, X), scaled to about [0, 1], finite.
    known : ndarray
        float32, (Y, X) or (Z, Y, X), 0 where the input was NaN, else 1.
    constant : ndarray
        bool, of the shape of `values`, true in regions of one value.
    offset, span : ndarray
        float64, one per channel: ``input = offset + span * values``.
    """

    pixels: NDArray[Any]
    values: Float
    known: Float
    constant: NDArray[np.bool_]
    offset: NDArray[np.float64]
    span: NDArray[np.float64]

    @property
    def noisy(self) -> NDArray[np.bool_]:
        """Values that can tell something about the noise, of the shape of `values`."""
        return (self.known > 0) & ~self.constant

    def to_units(self, values: Float) -> Float:
        """Return `values` in the units of the input."""
        span, offset = (per_channel(v, values) for v in (self.span, self.offset))
        return values * span.astype(np.float32) + offset.astype(np.float32)

    def above(self, background: NDArray[np.float64]) -> Plane:
        """Return the plane with another value of every channel as zero."""
        values = self.to_units(self.values)
        span, offset = (
            per_channel(v, values).astype(np.float32) for v in (self.span, background)
        )
        return replace(self, values=(values - offset) / span, offset=background)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return the values, (1, C, ...), and what is known, (1, 1, ...)."""
        # torch only now: command line and widget read recipes without it.
        import torch

        values, known = torch.from_numpy(self.values), torch.from_numpy(self.known)
        return values[None], known[None, None]


def per_channel(numbers: Any, values: NDArray[Any]) -> NDArray[Any]:
    """Return one number per channel in a shape that broadcasts over `values`."""
    return np.reshape(numbers, (-1, *[1] * (values.ndim - 1)))


def prepare(
    pixels: Pixels | NDArray[Any],
    name: str,
    *,
    unit: bool = False,
    skip_constant: bool = False,
    together: bool = False,
    scale: tuple[Any, Any] | None = None,
) -> Plane:
    """Clean and scale one plane.

    Parameters
    ----------
    pixels : Pixels or ndarray
        (C, Y, X) or (C, Z, Y, X).
    name : str
        Name of the argument, for errors.
    unit : bool
        Map minimum and maximum to 0 and 1, as the papers' images are, in place
        of the 0.1 and 99.9 percentiles to 0.05 and 0.95, which leave outliers
        and a sigmoid's ends room.
    skip_constant : bool
        Leave constant regions out of the percentiles, where something else is there.
    together : bool
        Scale all channels alike, for colours of one kind.
    scale : tuple of sequence of float, optional
        Offset and span of every channel, where they are known already.

    Raises
    ------
    InputError
        If there are infinities or nothing but NaN.
    """
    if not isinstance(pixels, Pixels):
        pixels = Pixels.of(pixels)
    constant, plane = pixels.constant, pixels.values.astype(np.float64)
    infinite = int(np.isinf(plane).sum())
    if infinite:
        raise InputError(
            f"{name} must be finite (NaN marks missing pixels); got {infinite} "
            f"infinite values"
        )
    known = np.isfinite(plane).all(axis=0)
    if not known.any():
        raise InputError(f"{name} must have known pixels; got nothing but NaN")
    if scale is None:
        used = np.broadcast_to(known, plane.shape)
        if skip_constant and not unit:
            varying = known & ~constant
            some = varying.any(axis=tuple(range(1, varying.ndim)), keepdims=True)
            used = np.where(some, varying, used)
        scale = _scale(plane, used, unit, together)
    offset, span = (np.asarray(v, np.float64) for v in scale)
    scaled = (plane - per_channel(offset, plane)) / per_channel(span, plane)
    values = np.asarray(scaled, np.float32)
    values[:, ~known] = values[:, known].mean(axis=1, keepdims=True)
    known_weight = np.asarray(known, np.float32)
    return Plane(pixels.values, values, known_weight, constant, offset, span)


def _scale(
    plane: NDArray[np.float64], used: NDArray[np.bool_], unit: bool, together: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return offset and span of every channel by the used values; see `prepare`."""
    parts = (
        [plane[used]]
        if together
        else [channel[chosen] for channel, chosen in zip(plane, used, strict=True)]
    )
    ends = [
        (part.min(), part.max()) if unit else np.percentile(part, [0.1, 99.9])
        for part in parts
    ]
    low, high = np.broadcast_to(ends, (len(plane), 2)).T
    span = np.where(high > low, high - low, 1.0)
    if unit:
        return low, span
    span = span / 0.9
    return low - 0.05 * span, span


def keeping(
    plane: Plane, to_units: Callable[[Float], Float], kept: NDArray[np.bool_]
) -> Callable[[Float], Float]:
    """Return the way back to units that leaves some pixels as they came.

    Parameters
    ----------
    plane : Plane
        The image.
    to_units : callable
        Way back to the units of the input.
    kept : ndarray
        bool, (C, ...).
    """
    if not kept.any():
        return to_units
    given = np.where(kept, plane.pixels, 0).astype(np.float32)
    return lambda values: np.where(kept, given, to_units(values))


LEAST_CONSTANT = 5
"""Side of the smallest square of one value that counts as constant."""

LARGE_CONSTANT = 15
"""Side of squares that are hardly ever of one value by chance."""

BY_CHANCE = 1e-6
"""Probability below which a square of one value is no accident of the noise."""


def constant_regions(channel: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find regions of exactly one value, which hold no noise.

    Borders left by registration, stitching and round fields of view, saturation, and
    what was cut away are like this.  In images of few photons, or with a background
    that was clipped, small squares of one value arise by chance: a value that takes
    a part p of the other pixels fills a square of side k with probability
    ``p ** (k * k)``, and only squares with a probability below `BY_CHANCE` count.

    Parameters
    ----------
    channel : ndarray
        float, (Y, X) or (Z, Y, X), in which every plane is looked at by itself; NaN
        is never constant.

    Returns
    -------
    ndarray
        bool, of the same shape.
    """
    channel = np.where(np.isfinite(channel), channel, np.nan)
    region = np.zeros(channel.shape, bool)
    squares = _uniform_squares(channel, LEAST_CONSTANT)
    if not squares.any():
        return region
    large = channel[_uniform_squares(channel, LARGE_CONSTANT)]
    present, counts = np.unique(channel[np.isfinite(channel)], return_counts=True)
    in_large = np.zeros(len(present), int)
    values, counts_large = np.unique(large, return_counts=True)
    in_large[np.searchsorted(present, values)] = counts_large
    elsewhere = np.maximum(counts.sum() - in_large, 1)
    part = np.clip((counts - in_large) / elsewhere, 1e-12, 1 - 1e-12)
    sides = np.ceil(np.sqrt(math.log(BY_CHANCE) / np.log(part)))
    sides = np.maximum(sides, LEAST_CONSTANT)
    if len(present) == 1:
        sides[:] = LEAST_CONSTANT  # nothing but one value, whatever the size
    for side in range(LEAST_CONSTANT, LARGE_CONSTANT + 1):
        chosen = present[sides == side]
        if chosen.size:
            region |= _uniform_squares(channel, side) & np.isin(channel, chosen)
    return region


def _uniform_squares(channel: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    """Return where a pixel lies in a square of one value."""
    size = (*[1] * (channel.ndim - 2), side, side)
    # There is no square beyond the border, nor where pixels are missing.
    low = np.nan_to_num(channel, nan=-np.inf)
    high = np.nan_to_num(channel, nan=np.inf)
    low = ndimage.minimum_filter(low, size, mode="constant", cval=-np.inf)
    high = ndimage.maximum_filter(high, size, mode="constant", cval=np.inf)
    uniform = (low == high) & (low == channel)
    shift = -1 if side % 2 == 0 else 0
    origin = [*[0] * (channel.ndim - 2), shift, shift]
    return np.asarray(ndimage.maximum_filter(uniform, size, origin=origin))


def cast(array: Float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `array` in another dtype, rounded and clipped for integers."""
    if dtype.kind == "b":
        return array >= 0.5
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        # In float64: float32 cannot hold the ends of the wider integers.
        rounded = np.rint(array.astype(np.float64))
        inside = np.clip(rounded, float(limits.min), float(limits.max))
        # The largest int64 rounds up to 2**63 as a float, which would wrap.
        with np.errstate(invalid="ignore"):
            out = inside.astype(dtype)
        out[inside >= float(limits.max)] = limits.max
        return out
    return array.astype(dtype)
