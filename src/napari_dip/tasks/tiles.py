"""How planes are cut into tiles whose borders cannot be seen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from napari_dip.errors import InputError

Region = tuple[slice, ...]
"""Spatial index of a part of a plane."""

GRID = 192
"""What corners of tiles are multiples of.  Hidden pixels repeat themselves after 64
pixels, filters go in steps of 2, 4 and 6 and the network halves four times: everything
does the same in the halo of a tile as in its neighbour."""

SIDE = 768
"""Pixels along a tile: larger ones take more memory, smaller ones a larger halo."""

WHOLE = 1024
"""Pixels along a square whose area is not cut yet."""

MOST = 100_000
"""Tiles of a plane, which take days.  Damaged headers can promise more."""

FIELD = 64
"""Pixels that a prediction depends on, along each axis, on either side."""

AROUND = 32
"""The same of a tile that is fitted by itself and blended into its neighbours."""

REACH = 60
"""The same of the filters, which look for similar patches."""


@dataclass(frozen=True)
class Tile:
    """A part of a plane.

    Attributes
    ----------
    core : tuple of slice
        What the tile gives to the result.
    filtered : tuple of slice
        The core and what filters see of its surroundings.
    seen : tuple of slice
        The same and what the network sees of its surroundings.
    """

    core: Region
    filtered: Region
    seen: Region


def side_of(tile: int | str | None, sides: Sequence[int]) -> int | None:
    """Return the side of the tiles that a plane is cut into, None for a whole one.

    A number is rounded up to a multiple of `GRID`.
    """
    if tile is None or len(sides) != 2:
        return None
    if tile == "auto":
        return SIDE if math.prod(sides) > WHOLE**2 else None
    side = -(-int(tile) // GRID) * GRID
    return side if max(sides) > side else None


def tiles(sides: Sequence[int], side: int | None, field: int = FIELD) -> Iterator[Tile]:
    """Cut a plane into tiles, row by row, that see so many pixels around them."""
    if side is None:
        whole = tuple(slice(0, n) for n in sides)
        yield Tile(whole, whole, whole)
        return
    count = math.prod(-(-n // side) for n in sides)
    if count > MOST:
        raise InputError(
            f"image must have planes of at most {MOST} tiles; got {count} tiles of "
            f"{side} pixels in a plane of shape {tuple(sides)}"
        )
    for core in itertools.product(*(_parts(n, side) for n in sides)):
        seen = _wider(core, field, sides)
        yield Tile(core, _wider(core, min(REACH, field), sides), seen)


def _parts(length: int, side: int) -> list[slice]:
    """Cut an axis; a rest of less than half a side is added to the last part."""
    starts = list(range(0, length, side))
    if len(starts) > 1 and length - starts[-1] < side / 2:
        starts.pop()
    ends = [*starts[1:], length]
    return [slice(a, b) for a, b in zip(starts, ends, strict=True)]


def probes(sides: Sequence[int], count: int = 2) -> Iterator[Region]:
    """Yield small regions that are spread over a plane."""
    parts = [_spread(n, min(n, GRID), count) for n in sides]
    yield from itertools.product(*parts)


def _spread(side: int, width: int, count: int) -> list[slice]:
    """Return up to so many equally spaced parts along a side."""
    count = min(count, side // width)
    gap = (side - count * width) / (count + 1)
    starts = [round(gap + i * (width + gap)) for i in range(count)]
    return [slice(a, a + width) for a in starts]


def _wider(region: Region, by: int, sides: Sequence[int]) -> Region:
    return tuple(
        slice(max(part.start - by, 0), min(part.stop + by, n))
        for part, n in zip(region, sides, strict=True)
    )


def within(region: Region, other: Region) -> Region:
    """Return a region as an index of another that it is a part of."""
    return tuple(
        slice(part.start - o.start, part.stop - o.start)
        for part, o in zip(region, other, strict=True)
    )
