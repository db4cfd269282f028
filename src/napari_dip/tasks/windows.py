"""Windows: parts of planes that a network is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Index
from napari_dip.tasks.plane import Pixels
from napari_dip.tasks.task import Job

WINDOWS = 32
"""Windows that a network is fitted to."""

SIDE = 192
"""Pixels along a window."""

CANDIDATES = 4
"""Windows that are looked at for one that is taken."""


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a plane that a network can be fitted to.

    Attributes
    ----------
    index : tuple
        Index of the part in the array of all planes.
    pixels : Pixels
        What is there.
    structure : float
        Its variance without the noise.
    """

    index: Index
    pixels: Pixels
    structure: float


def draw_windows(job: Job, planes: Sequence[Index], seed: int) -> list[Window]:
    """Return windows of some planes: half at random, half full of structure."""
    drawn = candidates(job, planes, seed, CANDIDATES * WINDOWS)
    return [drawn[n] for n in most_useful([w.structure for w in drawn])]


def candidates(
    job: Job, planes: Sequence[Index], seed: int, count: int
) -> list[Window]:
    """Return up to so many different windows, drawn at random.

    Windows that are constant or unknown for more than a half are not taken.
    """
    random = np.random.default_rng(seed)
    sides = window_sides(job)
    drawn: list[Window] = []
    for _ in range(count):
        plane = planes[int(random.integers(len(planes)))]
        corner = [
            int(random.integers(n - side + 1))
            for n, side in zip(job.layout.sides, sides, strict=True)
        ]
        region = tuple(slice(a, a + n) for a, n in zip(corner, sides, strict=True))
        index = job.layout.within(plane, region)
        try:
            pixels = job.pixels(index, job.take(index))
        except InputError:
            continue  # told when it is the turn of the plane
        assert pixels is not None
        usable = ~pixels.constant & ~np.isnan(pixels.values)
        new = all(index != other.index for other in drawn)
        if new and usable.mean() > 0.5 and not np.isinf(pixels.values).any():
            drawn.append(Window(index, pixels, _structure(pixels)))
    return drawn


def window_sides(job: Job) -> tuple[int, ...]:
    """Return the pixels along the sides of the windows of a job."""
    return tuple(min(n, SIDE) for n in job.layout.sides)


def most_useful(structure: Sequence[float]) -> list[int]:
    """Return which of many windows are fitted, by their variances without noise.

    The first ones, which are a half, and of the others those with most structure.
    """
    rest = range(WINDOWS // 2, len(structure))
    ranked = sorted(rest, key=lambda n: -structure[n])[: WINDOWS - WINDOWS // 2]
    return [*range(min(WINDOWS // 2, len(structure))), *ranked]


def _structure(pixels: Pixels) -> float:
    """Return the variance of a window without its noise, which means average out."""
    height, width = (n // 4 * 4 for n in pixels.values.shape[1:])
    values = pixels.values[:, :height, :width].astype(np.float64)
    means = values.reshape(len(values), height // 4, 4, width // 4, 4).mean((2, 4))
    spread = np.nanvar(means, axis=(1, 2)) / np.maximum(np.nanvar(values), 1e-300)
    return float(np.mean(spread))
