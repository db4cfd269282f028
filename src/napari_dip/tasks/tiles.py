"""How planes are cut into blocks, and large ones into tiles with unseen borders."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Float, Index
from napari_dip.tasks.plane import Pixels

Region = tuple[slice, ...]
"""Spatial index of a part of a plane."""

GRID = 192
"""What corners of tiles are multiples of.  Hidden pixels repeat themselves after 64
pixels, filters go in steps of 2, 4 and 6 and the network halves four times: everything
does the same in the halo of a tile as in its neighbour."""

SIDE = 768
"""Pixels of the result along a tile: larger ones take more memory, smaller ones a
larger halo."""

WHOLE = 1024
"""Pixels along a square of the result whose area is not cut yet."""

MOST = 100_000
"""Tiles of a plane, which take days.  Damaged headers can promise more."""

FIELD = 64
"""Pixels that a prediction depends on, along each axis, on either side."""

AROUND = 32
"""Pixels on either side that a tile needs which is fitted by itself and blended into
its neighbours."""

REACH = 60
"""Pixels on either side that the filters look at, for similar patches."""

PROBES = 2
"""Small regions along a side of a plane from which its noise is learned."""


@dataclass(frozen=True)
class Tile:
    """A part of a plane."""

    core: Region
    """What the tile gives to the result."""
    filtered: Region
    """The core and what filters see of its surroundings."""
    seen: Region
    """The same and what the network sees of its surroundings."""


def tile_sides(
    tile: int | tuple[int, ...] | str | None,
    sides: Sequence[int],
    factor: int = 1,
    reach: int = 0,
) -> tuple[int, ...] | None:
    """Return the sides of the tiles that a plane is cut into, None for a whole one.

    Numbers are rounded up to multiples of `GRID`, of twice the `reach` or more: no
    pixel may lie in the halo of three tiles in a row.  "auto" goes by the pixels of the
    result, which are `factor` times finer, and may be a multiple of half of that.
    """
    if tile is None or len(sides) != 2:
        return None
    if tile == "auto":
        half = GRID // 2
        small = math.prod(sides) * factor**2 <= WHOLE**2
        return None if small else (max(SIDE // factor // half, 1) * half,) * 2
    least = np.maximum(np.broadcast_to(tile, 2), 2 * reach)
    own = tuple((-(-least // GRID) * GRID).tolist())
    return own if any(map(operator.gt, sides, own)) else None


def tiles(
    sides: Sequence[int], tile: tuple[int, ...] | None, field: int = FIELD
) -> Iterator[Tile]:
    """Cut a plane into tiles, row by row, that see so many pixels around them."""
    if tile is None:
        whole = tuple(slice(0, n) for n in sides)
        yield Tile(whole, whole, whole)
        return
    count = math.prod(-(-n // side) for n, side in zip(sides, tile, strict=True))
    if count > MOST:
        raise InputError(
            f"image must have planes of at most {MOST} tiles; got {count} tiles of "
            f"{' x '.join(map(str, tile))} pixels in a plane of shape {tuple(sides)}"
        )
    for core in itertools.product(*map(_parts, sides, tile)):
        seen = _wider(core, field, sides)
        yield Tile(core, _wider(core, min(REACH, field), sides), seen)


def _parts(length: int, side: int) -> list[slice]:
    """Cut an axis; a rest of less than half a side is added to the last part."""
    starts = list(range(0, length, side))
    if len(starts) > 1 and length - starts[-1] < side / 2:
        starts.pop()
    ends = [*starts[1:], length]
    return [slice(a, b) for a, b in zip(starts, ends, strict=True)]


def probes(sides: Sequence[int]) -> Iterator[Region]:
    """Yield small regions that are spread over a plane."""
    parts = [_spread(n, min(n, GRID)) for n in sides]
    yield from itertools.product(*parts)


def _spread(side: int, width: int) -> list[slice]:
    """Return up to `PROBES` equally spaced parts along a side."""
    count = min(PROBES, side // width)
    gap = (side - count * width) / (count + 1)
    starts = [round(gap + i * (width + gap)) for i in range(count)]
    return [slice(a, a + width) for a in starts]


def _wider(region: Region, margin: int, sides: Sequence[int]) -> Region:
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, n))
        for part, n in zip(region, sides, strict=True)
    )


def relative(region: Region, other: Region) -> Region:
    """Return a region as an index of another that it is a part of."""
    return tuple(
        slice(part.start - o.start, part.stop - o.start)
        for part, o in zip(region, other, strict=True)
    )


@dataclass(frozen=True)
class Block:
    """A part of an image that is fitted by itself.

    A plane, or volume, is the block without a halo.
    """

    plane: int
    """Number of the plane, of which the seed of the fit is made."""
    index: Index
    """Index of the plane in the array."""
    channels: tuple[int, ...]
    """Channels that are fitted together."""
    start: tuple[int, ...]
    stop: tuple[int, ...]
    """Pixels of the plane that are fitted, halo included, along every spatial axis."""
    halo: tuple[tuple[int, int], ...]
    """Pixels at either end of every spatial axis that neighbouring blocks share."""
    around: tuple[int, ...] = ()
    """Sides of the planes that windows are of, where these stand for the planes of a
    volume."""
    windows: tuple[Region, ...] = ()
    """Where every window lies in its plane; nothing where that is not known."""

    @classmethod
    def whole(
        cls, plane: int, index: Index, channels: tuple[int, ...], sides: tuple[int, ...]
    ) -> Block:
        """Return the block of a whole plane."""
        ends = ((0, 0),) * len(sides)
        return cls(plane, index, channels, (0,) * len(sides), sides, ends)

    @classmethod
    def of_windows(
        cls,
        channels: tuple[int, ...],
        shape: tuple[int, ...],
        sides: tuple[int, ...],
        places: Sequence[Region],
    ) -> Block:
        """Return the block of windows, (N, Y, X), of planes with such sides."""
        volume = cls.whole(0, (), channels, shape)
        return replace(volume, around=sides, windows=tuple(places))

    def tiled(self, sides: tuple[int, ...], reach: int) -> list[Block]:
        """Return the tiles of a plane as blocks that are blended into each other."""
        blocks = []
        for tile in tiles(self.stop, sides, reach):
            ends = zip(tile.seen, self.stop, strict=True)
            halo = tuple(
                (2 * reach * (part.start > 0), 2 * reach * (part.stop < n))
                for part, n in ends
            )
            start = tuple(part.start for part in tile.seen)
            stop = tuple(part.stop for part in tile.seen)
            blocks.append(replace(self, start=start, stop=stop, halo=halo))
        return blocks

    def cut(self, pixels: Pixels) -> Pixels:
        """Return the block's part of a plane."""
        index = (slice(None), *self.region())
        return pixels.of_channels(self.channels).part(index)

    @property
    def sides(self) -> tuple[int, ...]:
        """Pixels along the axes of the plane, if the block is a whole one."""
        return self.around or self.stop

    @property
    def places(self) -> tuple[Region, ...]:
        """Where the pixels lie in their plane, or the windows; nothing of a volume."""
        return (self.region(),) if len(self.start) == 2 else self.windows

    def region(self, factor: int = 1) -> tuple[slice, ...]:
        """Return the spatial index of the block, in pixels that are `factor` finer."""
        return tuple(
            slice(factor * a, factor * b)
            for a, b in zip(self.start, self.stop, strict=True)
        )

    def window(self, factor: int = 1) -> Float:
        """Return the weights with which the block is blended in, (Y, X) or (Z, Y, X).

        They rise across the halo so that those of two neighbours sum to one.
        """
        weights = np.ones((), np.float32)
        for a, b, ends in zip(self.start, self.stop, self.halo, strict=True):
            ramp = np.ones(factor * (b - a), np.float32)
            first, last = (factor * n for n in ends)
            ramp[:first] = (np.arange(first) + 0.5) / max(first, 1)
            ramp[len(ramp) - last :] = 1 - (np.arange(last) + 0.5) / max(last, 1)
            weights = weights[..., np.newaxis] * ramp
        return weights
