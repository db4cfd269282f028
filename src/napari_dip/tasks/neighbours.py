"""Neighbouring planes of a stack or series as further input of a network."""

from __future__ import annotations

import itertools
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
from napari_dip.tasks.scaling import scale_of, varying_values
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

BLANK, MORE = 0.01, 10
"""Part of a plane that has another value than most of it, up to which it is blank, as
there may be hot pixels; and how many times as much a plane beside it has at least."""

BEYOND = 1.0
"""Ranges of values by which a plane lies outside that of others, from which on it tells
nothing of them: a shutter that was open for too long, and not what bleaches."""

FURTHER = 2
"""How many times as far as usual a plane is looked for that stands for such ones."""


def beside(layout: Layout, index: Index, step: int) -> Index:
    """Return the same part of the plane that lies so many further.

    The planes lie along the last axis before the spatial ones, which is reflected at
    its ends.
    """
    axis = layout.leading_axes[-1]
    last, plane = layout.shape[axis] - 1, index[axis]
    assert isinstance(plane, int)
    place = last - abs(last - abs(plane + step))
    return (*index[:axis], max(place, 0), *index[axis + 1 :])


def most(layout: Layout) -> int:
    """Return how many neighbours a plane can have on either side."""
    axes = layout.leading_axes
    return max(layout.shape[axes[-1]] - 1, 0) if axes else 0


def wanted(layout: Layout, asked: int | str) -> int:
    """Return how many neighbours a network sees; with "auto", where they help."""
    return min(AUTOMATIC if asked == "auto" else int(asked), most(layout))


def related(job: Job, stack: Pixels, windows: Sequence[Index]) -> bool:
    """Return whether neighbouring planes help to predict a plane, in every channel.

    A channel of one value needs no prediction.  Windows beside which no plane shows
    anything are left out.
    """
    channels = range(job.layout.channels)
    values = stack.values.astype(np.float64)
    used = varying_values(values, stack.known(channels), stack.constant)
    scale = scale_of(values, used, unit=False, together=False)
    seen, others = [], []
    for number, index in enumerate(windows):
        found = _shown(job, index, _window(stack, number), channels, scale, 1, 1)
        seen += [number] * len(found)
        others += found
    if not others:
        return False
    pairs = zip(stack.values[:, seen], Pixels.stacked(others).values, strict=True)
    return all(helps(*pair) for pair in pairs if _varies(pair[0]))


def _window(stack: Pixels, number: int) -> Pixels:
    """Return one of the parts of planes that have been `stacked`."""
    return stack.part((slice(None), number))


def _shown(
    job: Job,
    index: Index,
    own: Pixels,
    channels: Sequence[int],
    scale: tuple[Any, ...],
    side: int,
    count: int,
) -> list[Pixels]:
    """Return the same part of the next planes on one side that show anything of it.

    These are up to `count`, in some channels; the side is -1 or 1, and `own` is the
    part itself.  Planes that cannot be read show nothing.
    """
    found: list[Pixels] = []
    for step in range(1, FURTHER * count + 1):
        other = beside(job.layout, index, side * step)
        if len(found) == count or (step > count and other == index):
            continue
        try:
            pixels = job.pixels(other)
        except InputError:
            continue  # which is told when it is its turn
        assert pixels is not None
        part = pixels.of_channels(channels)
        if shows(own, part, scale):
            found.append(part)
    return found


def shows(own: Pixels, other: Pixels, scale: tuple[Any, ...]) -> bool:
    """Return whether another plane may show something of a plane, in every channel.

    Both are (C, Y, X); the scale has offset and span of every channel.  A plane does
    not where it is blank and most of the other varies, or where it alone lies far
    outside the range of values.  Of channels that do not vary nothing is asked.
    """
    for channel, (offset, span) in enumerate(zip(*scale[:2], strict=True)):
        varying = (~own.constant[channel] & np.isfinite(own.values[channel])).mean()
        if not varying:
            continue
        differing, distances = [], []
        for pixels in (own, other):
            values = pixels.values[channel].astype(np.float64)
            known = values[np.isfinite(values)]
            level = np.median(known) if known.size else offset
            differing.append(np.count_nonzero(known != level) / values.size)
            distances.append(abs((level - offset) / span - 0.5) - 0.5)
        # Where photons are few, most of a plane has one value, which is not blank.
        few = differing[0] > MORE * BLANK and differing[1] <= BLANK
        if (few and varying > 0.5) or distances[0] <= BEYOND < distances[1]:
            return False
    return True


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


def guide(
    job: Job, analysis: Analysis, windows: Sequence[Index], stack: Pixels, count: int
) -> Tensor:
    """Return what lies in the neighbours of parts of planes, (N, 2 count C, Y, X).

    Scaled as the planes are; 0.5 where nothing is known.  The next planes stand for
    those that show nothing.  `stack` has the parts themselves, (C, N, Y, X).
    """
    import torch

    offset, span, spreads = analysis.scale
    stretch = Stretch.of(spreads) if spreads else None
    uneven = Unevenness.of(analysis.unevenness) if analysis.unevenness else None
    images = []
    for number, index in enumerate(windows):
        own, planes = _window(stack, number), []
        sides = [
            _shown(job, index, own, analysis.channels, analysis.scale, side, count)
            for side in (-1, 1)
        ]
        for step, side in itertools.product(range(count), sides):
            known = step < len(side)
            values = side[step].values if known else np.full(own.values.shape, np.nan)
            values = values.astype(np.float64)
            scaled = (values - per_channel(offset, values)) / per_channel(span, values)
            if stretch is not None:
                scaled = stretch.stretch(scaled)
            if uneven is not None:
                scaled = scaled / uneven.factors(job.layout.region(index))
            planes.append(np.nan_to_num(scaled, nan=0.5).clip(-10, 10))
        images.append(np.concatenate(planes).astype(np.float32))
    return torch.from_numpy(np.stack(images))
