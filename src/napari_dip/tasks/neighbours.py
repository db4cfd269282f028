"""Neighbouring planes of a stack or series as further input of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import Index, Layout
from napari_dip.tasks.channels import CERTAIN, REACH
from napari_dip.tasks.patches import patches_at
from napari_dip.tasks.plane import Pixels, per_channel
from napari_dip.tasks.stretch import Stretch
from napari_dip.tasks.task import Job
from napari_dip.tasks.unevenness import Unevenness

if TYPE_CHECKING:
    from torch import Tensor

AUTOMATIC = 2
"""Neighbours on either side that are looked at where they show the same things."""

SAMPLES = 40_000
"""Values that are predicted."""

LEAST_GAIN = 0.003
"""Part of the error that neighbours have to take away."""


def around(layout: Layout, index: Index, count: int) -> list[Index]:
    """Return the same part of so many planes on either side of a plane.

    They lie along the last axis before the spatial ones, which is reflected at its
    ends.
    """
    axis = layout.leading_axes[-1]
    last, plane = layout.shape[axis] - 1, index[axis]
    assert isinstance(plane, int)
    places = [plane + step for n in range(1, count + 1) for step in (-n, n)]
    reflected = [last - abs(last - abs(place)) for place in places]
    return [(*index[:axis], max(p, 0), *index[axis + 1 :]) for p in reflected]


def most(layout: Layout) -> int:
    """Return how many neighbours a plane can have on either side."""
    axes = layout.leading_axes
    return max(layout.shape[axes[-1]] - 1, 0) if axes else 0


def wanted(layout: Layout, asked: int | str) -> int:
    """Return how many neighbours a network sees; with "auto", where they help."""
    return min(AUTOMATIC if asked == "auto" else int(asked), most(layout))


def related(job: Job, stack: Pixels, windows: Sequence[Index]) -> bool:
    """Return whether neighbouring planes help to predict a plane, in every channel.

    A channel of one value needs no prediction.
    """
    try:
        others = stacked(job, [around(job.layout, index, 1)[1] for index in windows])
    except InputError:
        return False  # one of them cannot be read
    pairs = zip(stack.values, others.values, strict=True)
    return all(helps(*pair) for pair in pairs if _varies(pair[0]))


def _varies(channel: NDArray[Any]) -> bool:
    known = channel[np.isfinite(channel)]
    return bool((known != known[:1]).any())


def helps(planes: NDArray[Any], others: NDArray[Any]) -> bool:
    """Return whether others help to predict planes, both (N, Y, X).

    A value is predicted linearly from those around it, and from those in the other
    plane as well.  The predictions are made at one half of the values and compared at
    the other half.
    """
    side = 2 * REACH + 1
    count, *sides = planes.shape
    total = count * math.prod(n - side + 1 for n in sides)
    places = np.arange(0, total, max(total // SAMPLES, 1))
    own, other = patches_at(np.stack([planes, others]), side, places).swapaxes(0, 1)
    usable = np.isfinite(own).all(axis=1) & np.isfinite(other).all(axis=1)
    own, other = own[usable], other[usable]
    if len(own) < 20 * side**2:
        return False
    middle = side**2 // 2
    value = own[:, middle]
    ones = np.ones((len(own), 1))
    alone = np.hstack([np.delete(own, middle, axis=1), ones])
    together = np.hstack([alone, other])
    # Values that lie close to each other share their surroundings.
    half = len(own) // 2
    errors = []
    for seen in (alone, together):
        weights, *_ = np.linalg.lstsq(seen[:half], value[:half], rcond=None)
        errors.append((value[half:] - seen[half:] @ weights) ** 2)
    gain = errors[0] - errors[1]
    certain = CERTAIN * gain.std() / len(gain) ** 0.5
    return bool(gain.mean() > max(certain, LEAST_GAIN * errors[0].mean()))


def stacked(job: Job, windows: Sequence[Index]) -> Pixels:
    """Return parts of planes as planes of a volume, (C, N, Y, X)."""
    parts = [job.pixels(index) for index in windows]
    return Pixels.stacked([part for part in parts if part is not None])


def guide(job: Job, analysis: Analysis, windows: Sequence[Index], count: int) -> Tensor:
    """Return what lies in the neighbours of parts of planes, (N, 2 count C, Y, X).

    Scaled as the planes are; 0.5 where nothing is known.
    """
    import torch

    offset, span, spreads = analysis.scale
    stretch = Stretch.of(spreads) if spreads else None
    uneven = Unevenness.of(analysis.unevenness) if analysis.unevenness else None
    images = []
    for index in windows:
        planes = []
        for other in around(job.layout, index, count):
            try:
                pixels = job.pixels(other)
                assert pixels is not None
                plane = pixels.values
            except InputError:
                plane = job.unread(other)  # which is told when it is its turn
            values = plane[list(analysis.channels)].astype(np.float64)
            scaled = (values - per_channel(offset, values)) / per_channel(span, values)
            if stretch is not None:
                scaled = stretch.stretch(scaled)
            if uneven is not None:
                scaled = scaled / uneven.factors(job.layout.region(index))
            planes.append(np.nan_to_num(scaled, nan=0.5).clip(-10, 10))
        images.append(np.concatenate(planes).astype(np.float32))
    return torch.from_numpy(np.stack(images))
