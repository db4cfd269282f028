"""How large an image may be, asked before its pixels are read."""

from __future__ import annotations

import math

from napari_dip.errors import FileError
from napari_dip.io.image import Header
from napari_dip.machine import free_memory, gibibytes

_BYTES_PER_VALUE = 8
"""Bytes for every value besides those of the file: a float32 copy and the result."""

_PLANES = 1_000_000
"""Most planes of an image: a few bytes of metadata can declare any number."""


def nbytes(header: Header) -> int:
    """Return the bytes of an image's values."""
    return math.prod(header.shape) * header.dtype.itemsize


def check_shape(header: Header, name: str) -> None:
    """Raise if an image has no pixels or too many planes."""
    if math.prod(header.shape) == 0:
        raise FileError(f"{name} holds an empty image of shape {header.shape}")
    sides = zip(header.axes, header.shape, strict=True)
    check_planes(math.prod(n for axis, n in sides if axis not in "YXS"), name)


def check_planes(count: int, name: str) -> None:
    """Raise if an image has too many planes."""
    if count > _PLANES:
        raise FileError(f"{name} declares {count} planes; at most {_PLANES} are read")


def check_size(header: Header, name: str) -> None:
    """Raise if an image has no pixels, too many planes or more than memory can hold."""
    check_shape(header, name)
    check_room(header, name)


def check_room(header: Header, name: str) -> None:
    """Raise if an image is more than memory can hold."""
    needed = nbytes(header) + math.prod(header.shape) * _BYTES_PER_VALUE
    check_memory(needed, f"{name} holds an image of shape {header.shape}")


def readable_at_once(itemsize: int, most: int) -> int:
    """Return how many bytes of values may be read at once, up to `most`.

    That is half of what `check_room` lets pass: the free memory may shrink meanwhile.
    """
    free = free_memory()
    if free is None:
        return most
    return min(most, free // 2 * itemsize // (itemsize + _BYTES_PER_VALUE))


def check_memory(needed: int, what: str) -> None:
    """Raise if something takes more bytes than are free."""
    free = free_memory()
    if free is not None and needed > free:
        raise FileError(
            f"{what}, which takes {gibibytes(needed)} of memory; {gibibytes(free)} are "
            f"free"
        )
