"""Pixels that are read from a file, and written to one, region by region."""

from __future__ import annotations

import dataclasses
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.io import limits
from napari_dip.io.image import Header
from napari_dip.io.reading import one_line_errors

Box = tuple[slice, ...]
"""A region: for every axis a slice with a start, a stop and no step."""

Changes = tuple[tuple[str, tuple[int, ...]], ...]
"""Methods that have changed the axes of pixels one after the other, and what they were
given."""

Put = Callable[[Box, NDArray[Any]], None]
"""Writes the values of a region to a file."""

Creating = tuple[Put, Callable[[str | None], None], list[str]]
"""What writes regions to a file; what completes it with the text of the provenance,
which is known only at the end; and what it does not keep, as sentences for the user."""


class Regions:
    """Pixels of a level of a file that are read when they are asked for.

    An index of integers and slices gives an array of NumPy.  Every region is checked as
    a whole image is: it must fit into the free memory.

    Regions of the sides `chunks` are fast to read.  `read` returns the pixels of a box.
    `reopen`, a function of a module, opens the levels of a file, with which another
    process opens this one.
    """

    def __init__(
        self,
        path: Path,
        header: Header,
        chunks: Sequence[int],
        read: Callable[[Box], NDArray[Any]],
        reopen: Callable[[Path], Levels | None],
        level: int,
        changes: Changes = (),
    ) -> None:
        self.shape, self.dtype = header.shape, header.dtype
        self.ndim = len(self.shape)
        self.chunks = tuple(map(min, chunks, self.shape))
        self._path, self._header, self._read = path, header, read
        self._reopen, self._level, self._changes = reopen, level, changes

    def __getitem__(self, index: Any) -> NDArray[Any]:
        ranges, single = _ranges(index, self.shape)
        shape = tuple(map(len, ranges))
        kept = _without(shape, single)
        if 0 in shape:
            return np.empty(kept, self.dtype)
        box = tuple(slice(min(r), max(r) + 1) for r in ranges)
        header = dataclasses.replace(self._header, shape=sides_of(box))
        limits.check_room(header, f"what is read of {self._path.name}")
        with one_line_errors(self._path):
            pixels = self._read(box)[tuple(slice(None, None, r.step) for r in ranges)]
        return pixels.reshape(kept)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        path = self._path.absolute()
        return _reopened, (self._reopen, path, self._level, self._changes)

    def reshape(self, shape: Sequence[int]) -> Regions:
        """Return the same pixels with more or fewer axes of one element."""
        if tuple(shape) == self.shape:
            return self
        own, other = (
            [axis for axis, n in enumerate(sides) if n != 1]
            for sides in (self.shape, shape)
        )
        chunks = [1] * len(shape)
        for axis, place in zip(own, other, strict=True):
            chunks[place] = self.chunks[axis]

        def read(box: Box) -> NDArray[Any]:
            within = [slice(0, 1)] * self.ndim
            for axis, place in zip(own, other, strict=True):
                within[axis] = box[place]
            return self._read(tuple(within)).reshape(sides_of(box))

        header = dataclasses.replace(self._header, shape=tuple(shape))
        return self._changed(header, chunks, read, "reshape", shape)

    def transpose(self, order: Sequence[int]) -> Regions:
        """Return the same pixels with the axes in another order."""

        def read(box: Box) -> NDArray[Any]:
            return self._read(tuple(box[i] for i in np.argsort(order))).transpose(order)

        shape = tuple(self.shape[i] for i in order)
        chunks = [self.chunks[i] for i in order]
        header = dataclasses.replace(self._header, shape=shape)
        return self._changed(header, chunks, read, "transpose", order)

    def _changed(
        self,
        header: Header,
        chunks: Sequence[int],
        read: Callable[[Box], NDArray[Any]],
        method: str,
        argument: Sequence[int],
    ) -> Regions:
        """Return what a method of this class makes of the pixels."""
        changes = (*self._changes, (method, tuple(argument)))
        place = (self._reopen, self._level, changes)
        return Regions(self._path, header, chunks, read, *place)


@dataclass(frozen=True)
class Levels:
    """An image that was opened without its pixels."""

    header: Header
    """Header of the image at its full resolution."""
    pixels: list[Regions]
    """The image from the highest resolution to the lowest."""
    opacity: bool = False
    """Whether the file also has an opacity, which is left out here."""


def _reopened(
    reopen: Callable[[Path], Levels], path: Path, level: int, changes: Changes
) -> Regions:
    pixels = reopen(path).pixels[level]
    for method, argument in changes:
        pixels = getattr(pixels, method)(argument)
    return pixels


class Target:
    """A file that is written region by region; regions never written hold 0."""

    provenance: dict[str, Any] | None = None
    """How the image was made, to be set before the file is finished."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        put: Put,
        notes: Sequence[str] = (),
    ) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)
        self.notes = list(notes)
        """What the file does not keep, as sentences for the user."""
        self._put = put

    def transposed(self, order: Sequence[int]) -> Target:
        """Return what takes regions of the image with its axes in another order."""
        back = np.argsort(order)

        def put(box: Box, values: NDArray[Any]) -> None:
            self[tuple(box[i] for i in back)] = values.transpose(back)

        return Target(tuple(self.shape[i] for i in order), self.dtype, put)

    def __setitem__(self, index: Any, values: Any) -> None:
        ranges, single = _ranges(index, self.shape)
        if any(r.step != 1 for r in ranges):
            raise InputError(f"index must be of slices without a step; got {index}")
        values = np.asarray(values)
        if not np.can_cast(values.dtype, self.dtype):
            raise InputError(
                f"values must be of a type that {self.dtype} holds; got {values.dtype}"
            )
        shape = tuple(map(len, ranges))
        kept = _without(shape, single)
        try:
            values = np.broadcast_to(values, kept).reshape(shape)
        except ValueError as error:
            raise InputError(
                f"values must be of shape {kept}, as the region; got {values.shape}"
            ) from error
        if values.size:
            self._put(tuple(slice(r.start, r.stop) for r in ranges), values)


def _ranges(index: Any, shape: tuple[int, ...]) -> tuple[list[range], set[int]]:
    """Return what an index takes along each axis, and the axes that it takes away."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if not any(part is ... for part in parts):
        parts.append(...)
    place = next(i for i, part in enumerate(parts) if part is ...)
    left = len(shape) - len(parts) + 1
    if left < 0:
        raise IndexError(f"index must have at most {len(shape)} parts; got {index}")
    parts[place : place + 1] = [slice(None)] * left
    ranges, single = [], set()
    for axis, (part, side) in enumerate(zip(parts, shape, strict=True)):
        if isinstance(part, slice):
            ranges.append(range(side)[part])
            continue
        try:
            number = range(side)[operator.index(part)]
        except TypeError as error:
            raise InputError(
                f"index must be of integers and slices; got {index}"
            ) from error
        ranges.append(range(number, number + 1))
        single.add(axis)
    return ranges, single


def _without(shape: tuple[int, ...], axes: set[int]) -> tuple[int, ...]:
    return tuple(n for axis, n in enumerate(shape) if axis not in axes)


def sides_of(box: Sequence[slice]) -> tuple[int, ...]:
    """Return the shape of a region."""
    return tuple(part.stop - part.start for part in box)


def boxes(shape: Sequence[int], sides: Sequence[int]) -> Iterator[Box]:
    """Yield the boxes of at most these sides that an array falls into, in C order."""
    starts = [range(0, n, side) for n, side in zip(shape, sides, strict=True)]
    for corner in itertools.product(*starts):
        ends = map(min, map(operator.add, corner, sides), shape)
        yield tuple(map(slice, corner, ends))


def slab_sides(shape: Sequence[int], itemsize: int, nbytes: int) -> tuple[int, ...]:
    """Return the sides of boxes of about `nbytes` that follow each other in C order."""
    sides = [1] * len(shape)
    for axis in reversed(range(len(shape))):
        row = itemsize * math.prod(sides)
        sides[axis] = max(1, min(shape[axis], nbytes // max(row, 1)))
        if sides[axis] < shape[axis]:
            break
    return tuple(sides)


def runs(
    region: NDArray[Any], box: Sequence[slice], shape: Sequence[int]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the parts of a region that lie in one piece in a whole array in C order.

    A memory map would do the same, but errors of the disk end a process that uses one.
    The box is where the region is in the whole array.  With each part, a view, comes
    its distance from the beginning of that array, in bytes.
    """
    strides = [region.itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
    start = sum(part.start * stride for part, stride in zip(box, strides, strict=True))
    axis = len(shape) - 1  # along which the values of a part follow each other
    while axis > 0 and region.shape[axis] == shape[axis]:
        axis -= 1
    for position in np.ndindex(region.shape[:axis]):
        place = start + sum(map(operator.mul, position, strides))
        yield place, region[position]
