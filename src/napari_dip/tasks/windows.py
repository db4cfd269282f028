"""Windows: parts of planes that a network is fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Index, Layout
from napari_dip.tasks.noise_level import NOISELESS, channel_variances
from napari_dip.tasks.plane import Pixels, prepare
from napari_dip.tasks.task import Job
from napari_dip.tasks.tiles import tile_sides, tiles

WINDOWS = 32
"""Windows that a network is fitted to."""

WINDOW_SIDE = 192
"""Pixels along a window."""

CANDIDATES = 4
"""Windows that are looked at for one that is taken."""

CELL = 64
"""Pixels along the squares in which data that are mostly empty are searched."""

LEAST_VARYING = 0.1
"""Part of the pixels of such a square that have to differ from the one before."""

UNLIKE = 2.5
"""Factor by which the variances of the noise of planes differ more than their ranges,
from which on they have networks of their own."""


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a plane that a network can be fitted to."""

    index: Index
    """Index of the part in the array of all planes."""
    pixels: Pixels
    """What is there."""
    structure: float
    """Its variance without the noise."""


def draw_windows(job: Job, planes: Sequence[Index], seed: int) -> list[Window]:
    """Return windows of some planes: half at random, half full of structure.

    They are of planes with like noise: in one range with bright planes nothing would be
    left of dim ones, which have networks of their own.
    """
    drawn = candidates(job, planes, seed, CANDIDATES * WINDOWS)
    places = _of_like_noise(job.layout, _useful(drawn))
    return _useful([w for w in drawn if job.layout.place(w.index) in places])


def _useful(drawn: Sequence[Window]) -> list[Window]:
    return [drawn[n] for n in most_useful([w.structure for w in drawn])]


def _of_like_noise(layout: Layout, windows: Sequence[Window]) -> list[Index]:
    """Return the places of planes with like noise, the kind with most windows."""
    planes: dict[Index, list[Pixels]] = {}
    for window in windows:
        planes.setdefault(layout.place(window.index), []).append(window.pixels)
    if len(planes) < 2:
        return list(planes)
    noise = {at: _noise(Pixels.stacked(parts)) for at, parts in planes.items()}
    kinds = [
        [at for at in planes if _is_like(noise[at], reference)]
        for reference in noise.values()
    ]
    return max(kinds, key=lambda kind: sum(len(planes[at]) for at in kind))


def _noise(pixels: Pixels) -> NDArray[np.float64]:
    """Return logarithms of noise variance and range of every channel, (2, C)."""
    plane = prepare(pixels, "image")
    variance = channel_variances(plane.values, plane.noisy)
    span = np.log(plane.span)
    return np.stack([np.log(np.maximum(variance, NOISELESS)) + 2 * span, span])


def _is_like(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    """Return whether the variance of noise differs no more than the range of values.

    That of photons may differ as much as what is in view is brighter.
    """
    variance, span = (first - second) * np.sign(first[0] - second[0])
    return bool((variance <= np.log(UNLIKE) + np.maximum(span, 0)).all())


def candidates(
    job: Job, planes: Sequence[Index], seed: int, count: int
) -> list[Window]:
    """Return up to so many different windows, drawn at random.

    Windows that are constant, or unknown in some channel, for more than a half are not
    taken.  Where that leaves few, because most of the data are empty, as many again are
    drawn from where something varies.
    """
    random = np.random.default_rng(seed)
    sides = window_sides(job)
    room = [n - side + 1 for n, side in zip(job.layout.sides, sides, strict=True)]
    drawn: list[Window] = []
    usable = 0
    for _ in range(count):
        plane = planes[int(random.integers(len(planes)))]
        corner = [int(random.integers(n)) for n in room]
        usable += _draw(job, plane, corner, drawn)
    if usable >= count // CANDIDATES:
        return drawn
    places = list(_varying(job, planes))
    for _ in range(count if places else 0):
        plane, cell = places[int(random.integers(len(places)))]
        middle = [start + int(random.integers(CELL)) for start in cell]
        corner = [
            min(max(place - side // 2, 0), n - 1)
            for place, side, n in zip(middle, sides, room, strict=True)
        ]
        _draw(job, plane, corner, drawn)
    return drawn


def _draw(job: Job, plane: Index, corner: Sequence[int], drawn: list[Window]) -> bool:
    """Add a window of a plane to others; return whether it can be used.

    One that is among them already is not added again.
    """
    sides = window_sides(job)
    region = tuple(slice(a, a + n) for a, n in zip(corner, sides, strict=True))
    index = job.layout.within(plane, region)
    try:
        pixels = job.pixels(index)
    except InputError:
        return False  # told when it is the turn of the plane
    assert pixels is not None
    known = pixels.known(range(job.layout.channels))
    usable = known & (~pixels.constant).any(axis=0)
    if usable.mean() <= 0.5 or np.isinf(pixels.values).any():
        return False
    if all(index != other.index for other in drawn):
        drawn.append(Window(index, pixels, _structure(pixels)))
    return True


def _varying(
    job: Job, planes: Sequence[Index]
) -> Iterator[tuple[Index, tuple[int, int]]]:
    """Yield the plane and the corner of every cell in which something varies.

    The planes are read tile by tile.
    """
    sides = job.layout.sides
    cut = list(tiles(sides, tile_sides("auto", sides)))
    for plane in planes:
        for tile in cut:
            index = job.layout.within(plane, tile.core)
            try:
                given = job.take(index)
            except InputError:
                continue  # told when it is its turn
            assert given is not None
            values = job.outside(index, given)
            differs = (values[..., 1:] != values[..., :-1]) & np.isfinite(
                values[..., 1:]
            )
            counts = differs.any(axis=0).astype(int)
            for axis in (0, 1):
                starts = np.arange(0, counts.shape[axis], CELL)
                counts = np.add.reduceat(counts, starts, axis=axis)
            for cell in np.argwhere(counts > LEAST_VARYING * CELL**2):
                y, x = (
                    part.start + CELL * int(n)
                    for part, n in zip(tile.core, cell, strict=True)
                )
                yield plane, (y, x)


def window_sides(job: Job) -> tuple[int, ...]:
    """Return the pixels along the sides of the windows of a job."""
    return tuple(min(n, WINDOW_SIDE) for n in job.layout.sides)


def most_useful(structure: Sequence[float]) -> list[int]:
    """Return which of many windows are fitted, by their variances without noise.

    The first ones, which are a half, and of the others those with most structure.
    """
    later = range(WINDOWS // 2, len(structure))
    ranked = sorted(later, key=lambda n: -structure[n])[: WINDOWS - WINDOWS // 2]
    return [*range(min(WINDOWS // 2, len(structure))), *ranked]


def _structure(pixels: Pixels) -> float:
    """Return the variance of a window without its noise, which means average out.

    The means are of the known pixels of squares, and of those squares that have some.
    """
    height, width = (n // 4 * 4 for n in pixels.values.shape[1:])
    values = pixels.values[:, :height, :width].astype(np.float64)
    squares = values.reshape(len(values), height // 4, 4, width // 4, 4)
    counts = (~np.isnan(squares)).sum((2, 4))
    means = np.nansum(squares, (2, 4)) / np.maximum(counts, 1)
    means[counts == 0] = np.nan
    spread = np.nanvar(means, axis=(1, 2)) / np.maximum(np.nanvar(values), 1e-300)
    return float(np.mean(spread))
