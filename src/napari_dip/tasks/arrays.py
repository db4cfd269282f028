"""Arrays of any layout, taken apart into planes and put together again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Float = NDArray[np.float32]
FLOAT32: np.dtype[Any] = np.dtype(np.float32)

SMALLEST = 16
FEWEST_SLICES = 4
"""Fewest pixels along a spatial axis."""

LARGEST = 1e300
"""Largest value that leaves float64 room for sums and differences."""

LARGEST_INTEGER = 2**53
"""Integers above this are not all different in float64."""

OUTLYING = 1e5
"""Distance from the median, in median distances, beyond which no measurement lies: a
camera of 16 bits reaches 65,535 grey levels."""

FAR = 20.0
"""Range of the image from which on something is too bright to be fitted in it."""

BRIGHTEST = 1.1
"""Scaled value above which the rest is then put aside: networks reach that far."""

FEW_OUTLIERS = 1e-3
"""Part of the pixels above which they are no outliers but structure, unless they have
only one or two values, as those that stand for missing pixels have."""


class LazyArray:
    """An array that is read piece by piece, such as one of dask, zarr or h5py.

    What goes wrong while it is read is raised as an `InputError` with its name.
    """

    def __init__(self, array: Any, name: str) -> None:
        self._array, self._name = array, name
        self.shape, self.ndim = tuple(array.shape), array.ndim
        self.dtype: np.dtype[Any] = array.dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return _read(lambda: self._array[index], self._name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)


def _read(get: Callable[[], Any], name: str) -> NDArray[Any]:
    """Return what a function gives as an array of NumPy."""
    try:
        return np.asarray(get())
    except Exception as error:  # whatever another library raises
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{name} cannot be read as an array: {type(error).__name__}: {reason}"
        ) from error


def as_array(value: Any, name: str) -> Any:
    """Return `value` as an array of real numbers; dask and zarr arrays stay lazy.

    Masked values of a NumPy masked array become NaN.
    """
    if isinstance(value, np.ma.MaskedArray) and value.dtype.kind in "buif":
        data = check_integers(value.data, name)
        value = np.where(np.ma.getmaskarray(value), np.nan, data)
    if scipy.sparse.issparse(value):
        raise InputError(
            f"{name} must be a dense array; got a sparse one, {type(value).__name__}: "
            f"its toarray() makes it dense"
        )
    lazy = all(hasattr(value, a) for a in ("shape", "dtype", "ndim", "__getitem__"))
    # Torch's tensors have all that too, but dtypes of their own.
    lazy = lazy and isinstance(value.dtype, np.dtype)
    if lazy and not isinstance(value, np.ndarray):
        array: Any = LazyArray(value, name)
    else:
        array = _read(lambda: value, name)
    kind = np.dtype(array.dtype).kind
    if kind not in "buif":
        what = {"c": "complex", "O": "object"}.get(kind, str(array.dtype))
        raise InputError(
            f"{name} must be an array of real numbers (bool, integer or float); "
            f"got dtype {what} ({type(value).__name__})"
        )
    if not all(isinstance(n, int | np.integer) for n in array.shape):
        raise InputError(
            f"{name} must have a shape that is known; got {tuple(array.shape)}"
        )
    if 0 in array.shape or array.ndim == 0:
        raise InputError(
            f"{name} must not be empty; got an array of shape {tuple(array.shape)}"
        )
    return array


def check_integers(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return an array unchanged; raise if float64 cannot hold its integers."""
    if array.dtype.kind in "ui" and array.dtype.itemsize == 8:
        low, high = int(array.min()), int(array.max())
        if max(-low, high) > LARGEST_INTEGER:
            raise InputError(
                f"{name} must not hold integers beyond 2**53, which are not exact in "
                f"float64; got {low} to {high} (subtract an offset, or convert them)"
            )
    return array


def without_single_axes(array: Any, like: tuple[int, ...] | None = None) -> Any:
    """Return an array without axes of one element, apart from the last two.

    Files of five axes hold images of two or three.

    Parameters
    ----------
    array : ndarray or LazyArray
        The array.
    like : tuple of int, optional
        A shape that the array gets if it differs from its own in such axes only.
    """
    shape = _plain(array.shape)
    if like is not None and _plain(like) == shape:
        shape = like
    if shape == array.shape:
        return array
    whole = array if hasattr(array, "reshape") else np.asarray(array)
    return whole.reshape(shape)


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*(n for n in shape[:-2] if n != 1), *shape[-2:])


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
        cls,
        array: Any,
        channel_axis: int | str | None,
        spatial_dims: int,
        name: str,
        *,
        fewest_slices: int = FEWEST_SLICES,
    ) -> Layout:
        """Find the layout of an array by the arguments of a task.

        Raises
        ------
        InputError
            If there is no such axis, or there are fewer pixels than `SMALLEST` along y
            or x, or planes than `fewest_slices` in a volume.
        """
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
        enough = len(sides) == spatial_dims and min(sides[-2:]) >= SMALLEST
        if not enough or (spatial_dims == 3 and sides[0] < fewest_slices):
            least = f"{SMALLEST} pixels along each of its 2 spatial axes"
            if spatial_dims == 3:
                least = (
                    f"{SMALLEST} pixels along y and x of its 3 spatial axes, and "
                    f"{fewest_slices} along z"
                )
            raise InputError(
                f"{name} must have at least {least}; got shape {shape}, of which "
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

    def within(
        self, index: tuple[int | slice, ...], region: tuple[slice, ...]
    ) -> tuple[int | slice, ...]:
        """Return the index of a part of a plane."""
        part = list(index)
        for axis, inside in zip(self.spatial_axes, region, strict=True):
            part[axis] = inside
        return tuple(part)

    def region(self, index: tuple[int | slice, ...]) -> tuple[slice, ...]:
        """Return the part of a plane that an index is of."""
        parts = [index[axis] for axis in self.spatial_axes]
        return tuple(part for part in parts if isinstance(part, slice))

    def is_part(
        self, index: tuple[int | slice, ...], plane: tuple[int | slice, ...]
    ) -> bool:
        """Return whether an index is of a part of a plane."""
        return all(index[axis] == plane[axis] for axis in self.leading_axes)

    def extent(self, index: tuple[int | slice, ...]) -> tuple[int, ...]:
        """Return the sides of a plane, or of a part of one, by its index."""
        return tuple(
            len(range(self.shape[axis])[inside])
            for axis in self.spatial_axes
            if isinstance(inside := index[axis], slice)
        )

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

    def known(self, channels: Sequence[int]) -> NDArray[np.bool_]:
        """Return where all of some channels are known, (Y, X) or (Z, Y, X)."""
        known: NDArray[np.bool_] = ~np.isnan(self.values[list(channels)]).any(axis=0)
        return known


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
    dtype : numpy.dtype
        Type of results in the units of the input; see `float_type`.
    warnings : tuple of str
        What the user should know about the pixels.
    beyond : ndarray, optional
        What has been cut off `values`, to be added to the result, where a few pixels
        are so bright that in their range nothing would be left of the others.
    """

    pixels: NDArray[Any]
    values: Float
    known: Float
    constant: NDArray[np.bool_]
    offset: NDArray[np.float64]
    span: NDArray[np.float64]
    dtype: np.dtype[Any] = FLOAT32
    warnings: tuple[str, ...] = ()
    beyond: Float | None = None

    @property
    def noisy(self) -> NDArray[np.bool_]:
        """Values that can tell something about the noise, of the shape of `values`."""
        return (self.known > 0) & ~self.constant

    @property
    def levels(self) -> NDArray[Any] | None:
        """The value of every channel, where each has but one; else None."""
        pixels = self.pixels[:, self.known > 0]
        one = pixels[:, 0]
        return one if (pixels == one[:, None]).all() else None

    def to_units(self, values: Float) -> NDArray[Any]:
        """Return `values` in the units of the input, of type `dtype`.

        They may have finer pixels than the input.
        """
        if self.beyond is not None:
            beyond = self.beyond
            for axis in range(1, values.ndim):
                factor = values.shape[axis] // beyond.shape[axis]
                beyond = beyond.repeat(factor, axis) if factor > 1 else beyond
            values = values + beyond
        span, offset = (
            per_channel(v, values).astype(self.dtype) for v in (self.span, self.offset)
        )
        scaled: NDArray[Any] = values * span + offset
        return scaled

    def cut(self, region: tuple[int | slice, ...]) -> Plane:
        """Return a part of the plane."""
        inside = (slice(None), *region)
        return replace(
            self,
            pixels=self.pixels[inside],
            values=self.values[inside],
            known=self.known[region],
            constant=self.constant[inside],
            beyond=None if self.beyond is None else self.beyond[inside],
        )

    def above(self, background: NDArray[np.float64]) -> Plane:
        """Return the plane with another value of every channel as zero."""
        values = self.to_units(self.values)
        span, offset = (
            per_channel(v, values).astype(self.dtype) for v in (self.span, background)
        )
        scaled = ((values - offset) / span).astype(np.float32)
        return replace(self, values=scaled, offset=background, beyond=None)

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
    known = known_pixels(plane, name).all(axis=0)
    if not known.any():
        raise InputError(f"{name} must have known pixels; got nothing but NaN")
    every = np.broadcast_to(known, plane.shape)
    varying = known & ~constant
    for chosen, channel in zip(varying, plane, strict=True):
        # Nothing varies, or only to one value, as a single bright pixel does.
        if not chosen.any() or not np.ptp(channel[chosen]):
            chosen[:] = known
    outlying = np.stack(
        [_outliers(v, u) for v, u in zip(plane, varying, strict=True)]
    ).any(axis=0)
    warnings = []
    if (known & outlying).any():
        known = known & ~outlying
        count = np.count_nonzero(outlying)
        warnings.append(
            f"pixels of {name} that lie more than {OUTLYING:,.0f} times as far from "
            f"the median as others took no part in the fit; their number is {count}"
        )
    if scale is None:
        used = varying if skip_constant and not unit else every
        scale = _scale(plane, used & known, unit, together)
    offset, span = (np.asarray(v, np.float64) for v in scale)
    plane[:, ~known] = np.nan
    scaled = (plane - per_channel(offset, plane)) / per_channel(span, plane)
    values = np.asarray(scaled, np.float32)
    beyond = None
    if not (unit or together) and (values[:, known] > FAR).any():
        beyond = np.nan_to_num((values - BRIGHTEST).clip(min=0))
        values = values.clip(max=BRIGHTEST)
    values[:, ~known] = values[:, known].mean(axis=1, keepdims=True)
    dtypes = [
        float_type(low, low + width * bool(np.ptp(channel[known])))
        for channel, low, width in zip(plane, offset, span, strict=True)
    ]
    return Plane(
        pixels.values,
        values,
        np.asarray(known, np.float32),
        constant,
        offset,
        span,
        np.result_type(*dtypes),
        tuple(warnings),
        beyond,
    )


def known_pixels(plane: NDArray[np.float64], name: str) -> NDArray[np.bool_]:
    """Return which values are known: all but NaN.

    Raises
    ------
    InputError
        If there are infinities, or values larger than `LARGEST`.
    """
    if (np.abs(plane) > LARGEST).any():
        infinite = int(np.isinf(plane).sum())
        if infinite:
            raise InputError(
                f"{name} must be finite (NaN marks missing pixels); got {infinite} "
                f"infinite values"
            )
        raise InputError(
            f"{name} must be from {-LARGEST} to {LARGEST}; got values from "
            f"{np.nanmin(plane):.3g} to {np.nanmax(plane):.3g}"
        )
    return ~np.isnan(plane)


def float_type(low: float, high: float) -> np.dtype[Any]:
    """Return float32, or float64 where float32 cannot hold a range of values.

    Its steps at the larger end must not be coarser than a 256th of the range, and
    both must be far from its own limits.
    """
    top, span = max(abs(low), abs(high)), high - low
    held = span == 0 or (top <= 2**15 * span and span > 1e-30)
    return np.dtype(np.float32 if held and top < 1e30 else np.float64)


def _outliers(
    channel: NDArray[np.float64], used: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Find values that cannot have been measured, judged by the used ones.

    Broken pixels and values that stand for missing ones, such as 1e30, would leave
    nothing of the others in float32.
    """
    part = channel[used]
    centre = np.median(part)
    away = np.abs(part - centre)
    differing = away[away > 0]
    reach = OUTLYING * np.median(differing) if differing.size else np.inf
    outlying: NDArray[np.bool_] = np.abs(channel - centre) > reach
    found = part[away > reach]
    if len(found) > FEW_OUTLIERS * len(part) and len(np.unique(found)) > 2:
        outlying[:] = False
    return outlying


def _scale(
    plane: NDArray[np.float64], used: NDArray[np.bool_], unit: bool, together: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return offset and span of every channel by the used values; see `prepare`."""
    parts = (
        [plane[used]]
        if together
        else [channel[chosen] for channel, chosen in zip(plane, used, strict=True)]
    )
    ends = [_ends(part if unit or together else _near(part), unit) for part in parts]
    low, high = np.broadcast_to(ends, (len(plane), 2)).T
    span = np.where(high > low, high - low, 1.0)
    if unit:
        return low, span
    span = span / 0.9
    return low - 0.05 * span, span


def _near(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out values far above the others where they would decide on the range."""
    low, high, top = np.percentile(part, [0.1, 99, 99.9])
    limit = low + FAR * (high - low) / 0.9
    return part[part <= limit] if low < high and top > limit else part


def _ends(part: NDArray[np.float64], unit: bool) -> tuple[float, float]:
    """Return the ends of the range of values; see `prepare`."""
    low, high = np.percentile(part, [0.1, 99.9])
    if unit or low == high:  # few values differ from the others
        low, high = part.min(), part.max()
    return float(low), float(high)


def keeping(
    plane: Plane, to_units: Callable[[Float], NDArray[Any]], kept: NDArray[np.bool_]
) -> Callable[[Float], NDArray[Any]]:
    """Return the way back to units that leaves some pixels exactly as they came.

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
    exact = np.result_type(plane.pixels.dtype, np.float32)
    given = np.where(kept, plane.pixels, 0).astype(exact)
    return lambda values: np.where(kept, given, to_units(values))


LEAST_CONSTANT = 5
"""Side of the smallest square of one value that counts as constant."""

LARGE_CONSTANT = 15
"""Side of squares that are hardly ever of one value by chance."""

FEW_VALUES = 32
"""Different values of an image up to which they may be counts of few photons."""

OFTEN = 0.3
"""Part of the pixels outside of regions from which on the lowest value is a count."""

BY_CHANCE = 1e-6
"""Probability below which a square of one value is no accident of the noise."""


def constant_regions(channel: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find regions of exactly one value, which hold no noise.

    Borders left by registration, stitching and round fields of view, saturation, and
    what was cut away are like this.  In images of few photons, or with a background
    that was clipped, small squares of one value arise by chance: a value that takes
    a part p of the other pixels fills a square of side k with probability
    ``p ** (k * k)``, and only squares with a probability below `BY_CHANCE` count.  Dim
    places of few photons have more zeros than others: that there are none is measured.

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
    if len(present) <= FEW_VALUES and part[0] > OFTEN:
        sides[0] = LARGE_CONSTANT + 1
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
    low = scipy.ndimage.minimum_filter(low, size, mode="constant", cval=-np.inf)
    high = scipy.ndimage.maximum_filter(high, size, mode="constant", cval=np.inf)
    uniform = (low == high) & (low == channel)
    shift = -1 if side % 2 == 0 else 0
    origin = [*[0] * (channel.ndim - 2), shift, shift]
    return np.asarray(scipy.ndimage.maximum_filter(uniform, size, origin=origin))


def cast(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `array` in another dtype, clipped, and rounded for integers.

    NaN becomes 0 in integers.
    """
    if dtype.kind == "b":
        return array >= 0.5
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        # In float64: float32 cannot hold the ends of the wider integers.
        rounded: NDArray[np.float64] = np.nan_to_num(
            np.rint(array.astype(np.float64)), nan=0.0
        )
        inside = np.clip(rounded, float(limits.min), float(limits.max))
        # The largest int64 rounds up to 2**63 as a float, which would wrap.
        with np.errstate(invalid="ignore"):
            out: NDArray[Any] = inside.astype(dtype)
        out[inside >= float(limits.max)] = limits.max
        return out
    if np.can_cast(array.dtype, dtype):
        return array.astype(dtype)
    ends = np.finfo(dtype)
    clipped: NDArray[Any] = array.clip(ends.min, ends.max)
    return clipped.astype(dtype)


def widened(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `array` in a type that holds both its values and those of `dtype`."""
    return array.astype(np.result_type(array.dtype, dtype), copy=False)


def narrowed(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `array` in a dtype, or as it is if it has values beyond that."""
    with np.errstate(over="ignore"):
        smaller = array.astype(dtype, copy=False)
    held = np.isinf(smaller) == np.isinf(array)
    return smaller if held.all() else array
