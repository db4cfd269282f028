"""Arrays of any layout, taken apart into planes and put together again."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.errors import DipError, InputError

Float = NDArray[np.float32]
"""An image, (C, Y, X) or (C, Z, Y, X), unless something else is said."""

FLOAT32: np.dtype[Any] = np.dtype(np.float32)

Index = tuple[int | slice, ...]
"""Index of a plane, or of a part of one, in the array of all planes."""

SMALLEST = 16
"""Fewest pixels along y and x."""

FEWEST_SLICES = 4
"""Fewest planes of a volume."""

NUMBERS = "buif"
"""Kinds of dtypes of real numbers."""

LARGEST_INTEGER = 2**53
"""Integers above this are not all different in float64."""


PLANES = (
    "(Y, X), (Y, X, C) or any leading axes over those, any real dtype, 16 pixels a "
    "side or more. NaN marks missing pixels."
)
"""What the image of most tasks is, for the documentation."""


class LazyArray:
    """An array that is read piece by piece, such as one of dask, zarr or h5py.

    What goes wrong while it is read is raised as an `InputError` with its name.
    """

    def __init__(self, array: Any, name: str) -> None:
        self._array, self._name = array, name
        self.shape, self.ndim = tuple(array.shape), array.ndim
        self.dtype: np.dtype[Any] = array.dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        values = _read(lambda: self._array[index], self._name)
        expected = np.broadcast_to(False, self.shape)[index].shape
        if values.shape != expected or values.dtype.kind not in NUMBERS:
            raise InputError(
                f"{self._name} cannot be read as an array: what should be numbers of "
                f"shape {expected} is of shape {values.shape} and dtype {values.dtype}"
            )
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)


def _read(get: Callable[[], Any], name: str) -> NDArray[Any]:
    try:
        return np.asarray(get())
    except DipError:
        raise  # of a file that is read by regions
    except Exception as error:  # whatever another library raises
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"{name} cannot be read as an array: {type(error).__name__}: {reason}"
        ) from error


def as_array(value: Any, name: str) -> Any:
    """Return `value` as an array of real numbers; dask and zarr arrays stay lazy.

    Masked values of a NumPy masked array become NaN.
    """
    if isinstance(value, np.ma.MaskedArray) and value.dtype.kind in NUMBERS:
        data = check_integers(value.data, name)
        value = np.where(np.ma.getmaskarray(value), np.nan, data)
    if scipy.sparse.issparse(value):
        raise InputError(
            f"{name} must be a dense array; got a sparse one, {type(value).__name__}: "
            f"its toarray() makes it dense"
        )
    if isinstance(value, str | os.PathLike):
        raise InputError(
            f"{name} must be an array, not a file; read it first, for example by "
            f"napari_dip.io.files.read(path).data; got {os.fspath(value)!r}"
        )
    if is_lazy(value):
        array: Any = LazyArray(value, name)
    else:
        array = _read(lambda: value, name)
    kind = np.dtype(array.dtype).kind
    if kind not in NUMBERS:
        what = {"c": "complex", "O": "object"}.get(kind, str(array.dtype))
        raise InputError(
            f"{name} must be an array of real numbers (bool, integer or float); "
            f"got dtype {what} ({type(value).__name__})"
        )
    if not all(isinstance(n, int | np.integer) for n in array.shape):
        raise InputError(
            f"{name} must have a shape that is known; got {tuple(array.shape)}"
        )
    if array.ndim == 0:
        raise InputError(f"{name} must be an array of two axes or more; got {value!r}")
    if 0 in array.shape:
        raise InputError(
            f"{name} must not be empty; got an array of shape {tuple(array.shape)}"
        )
    return array


def is_lazy(value: Any) -> bool:
    """Return whether a value is an array of another library that is read in parts.

    Torch's tensors have dtypes of their own.
    """
    if isinstance(value, np.ndarray):
        return False
    try:
        known = len(value.shape) == value.ndim and hasattr(value, "__getitem__")
        return known and isinstance(value.dtype, np.dtype)
    except (AttributeError, TypeError, RuntimeError):  # of nested tensors
        return False


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


def check_finite(array: NDArray[Any], name: str) -> None:
    """Raise if an array has values that are not finite."""
    count = int(np.count_nonzero(~np.isfinite(array)))
    if count:
        raise InputError(f"{name} must be finite; got {count} values that are not")


def marked(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a mask is not 0; raise if it is NaN somewhere, which says nothing.

    Only what reads masks of files takes NaN for a mark, and says so.
    """
    count = int(np.count_nonzero(np.isnan(mask)))
    if count:
        raise InputError(f"mask must be 0 or nonzero; got NaN in {count} places")
    there: NDArray[np.bool_] = mask != 0
    return there


def without_single_axes(array: Any, like: tuple[int, ...] | None = None) -> Any:
    """Return an array without axes of one element, apart from the last two.

    Files of five axes hold images of two or three.  If the shape `like` differs from
    its own in axes of one element only, wherever they are, the array gets that one.
    """
    shape = without_ones(array.shape)
    if like is not None and longer_axes(like) == longer_axes(shape):
        shape = like
    if shape == array.shape:
        return array
    whole = array if hasattr(array, "reshape") else np.asarray(array)
    return whole.reshape(shape)


def longer_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape without axes of one element."""
    return tuple(n for n in shape if n != 1)


def without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape without axes of one element, apart from the last two."""
    return (*(n for n in shape[:-2] if n != 1), *shape[-2:])


def _channel_axis(
    shape: tuple[int, ...], axis: int | str | None, spatial_dims: int, name: str
) -> int | None:
    """Return the axis of the channels, counted from the front; see `Layout.of`."""
    ndim = len(shape)
    if axis == "auto":
        colour = ndim > spatial_dims and shape[-1] in (3, 4)
        return ndim - 1 if colour else None
    if axis is None:
        return None
    if not -ndim <= int(axis) < ndim:
        raise InputError(
            f"channel_axis must be from {-ndim} to {ndim - 1} for {name} of shape "
            f"{shape}; got {axis}"
        )
    return int(axis) % ndim


@dataclass(frozen=True)
class Layout:
    """Which axes of an array are what."""

    shape: tuple[int, ...]
    """Shape of the array."""
    dtype: np.dtype[Any]
    """Data type of the array."""
    channel_axis: int | None
    """Counted from the front."""
    spatial_dims: int
    """The last 2 or 3 axes but for the channels."""

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
        shape = tuple(array.shape)
        axis = _channel_axis(shape, channel_axis, spatial_dims, name)
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
            advice = ""
            if axis is None and len(shape) > spatial_dims and shape[-1] < SMALLEST:
                advice = "; if the last axis holds channels, give channel_axis=-1"
            raise InputError(
                f"{name} must have at least {least}; got shape {shape}, of which "
                f"{sides} are spatial{advice}"
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

    def indices(self) -> Iterator[Index]:
        """Yield the index of every plane."""
        for position in np.ndindex(*(self.shape[i] for i in self.leading_axes)):
            index: list[int | slice] = [slice(None)] * len(self.shape)
            for axis, i in zip(self.leading_axes, position, strict=True):
                index[axis] = i
            yield tuple(index)

    @property
    def _axis_in_plane(self) -> int | None:
        """The axis of the channels in a plane."""
        if self.channel_axis is None:
            return None
        return self.channel_axis - sum(a < self.channel_axis for a in self.leading_axes)

    def take(self, array: Any, index: Index) -> NDArray[Any]:
        """Return one plane as it is, channels first, (C, Y, X) or (C, Z, Y, X)."""
        plane = np.asarray(array[index])
        axis = self._axis_in_plane
        return plane[np.newaxis] if axis is None else np.moveaxis(plane, axis, 0)

    def arrange(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Undo `take` for one plane."""
        axis = self._axis_in_plane
        arranged: NDArray[Any] = (
            plane[0] if axis is None else np.moveaxis(plane, 0, axis)
        )
        return arranged

    def within(self, index: Index, region: tuple[slice, ...]) -> Index:
        """Return the index of a part of a plane."""
        part = list(index)
        for axis, inside in zip(self.spatial_axes, region, strict=True):
            part[axis] = inside
        return tuple(part)

    def region(self, index: Index) -> tuple[slice, ...]:
        """Return the part of a plane that an index is of, from where to where."""
        parts = [(index[axis], self.shape[axis]) for axis in self.spatial_axes]
        return tuple(
            slice(*part.indices(n)[:2]) for part, n in parts if isinstance(part, slice)
        )

    def place(self, index: Index) -> Index:
        """Return the place of a plane, or of a part of one, on the leading axes."""
        return tuple(index[axis] for axis in self.leading_axes)

    def is_part(self, index: Index, plane: Index) -> bool:
        """Return whether an index is of a part of a plane."""
        return self.place(index) == self.place(plane)

    def extent(self, index: Index) -> tuple[int, ...]:
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
