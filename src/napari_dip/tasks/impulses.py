"""Impulses: single pixels far from what is around them, such as hot and dead ones.

`napari_dip.tasks.patches.lone_pixels` tells the surest of them, which nobody has asked
to remove; here are all that a user wants removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy  # whose modules load on first use

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.patches import (
    MAD_TO_SIGMA,
    SURE,
    Mask,
    lone_pixels,
    neighbour_limits,
)
from napari_dip.tasks.plane import Plane, per_channel

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.tasks.finishing import Step

AROUND = 5
"""Side of the window whose median says what a pixel should be, before the fit."""

WIDER = 7
"""Side of the window that tells how far pixels are from that median anyway."""

FAR = 5.0
"""Distance from the median beyond which a pixel is an impulse, in standard deviations
of the distances of pixels around it."""

LEAST = 0.05
"""Distance, as a part of the range, up to which no pixel is an impulse: filters take
such noise away."""

LIKE_IT = 1
"""Neighbours as far off as the pixel that an impulse may have; lines have more."""

ALONE = 4.0
"""Distance of a pixel from the nearest of its neighbours' values, over that of this
value from the median around, from which on nothing but the pixel is bright or dark: 1.7
for spots of a standard deviation of 0.7 pixels, up to 3.5 for 0.6 and noise."""

SOME, FEW = 5, 0.01
"""Impulses from which on a warning tells of them, and part of the pixels up to which
it does: many images have single ones, and more may be what the image shows."""


def kept_warnings(plane: Plane, noise: NoiseModel) -> tuple[str, ...]:
    """Return a warning if there are impulses that nobody has asked to remove."""
    values = plane.values if plane.beyond is None else plane.values + plane.beyond
    limits = [neighbour_limits(channel) for channel in values]
    pairs = zip(values, limits, strict=True)
    lone = np.stack([lone_pixels(v, *ends) for v, ends in pairs]) & plane.noisy
    if np.count_nonzero(lone) < SOME:
        return ()  # most images end here, without the filters that follow
    variance, gain, offset = (per_channel(np.array(v), values) for v in astuple(noise))
    expected = np.sqrt(variance + gain * np.maximum(values - offset, 0))
    medians = np.stack([_medians(channel, AROUND) for channel in values])
    low, high = np.stack(limits, axis=1)
    # The bright ones are judged first, then the dark ones.
    for sign, above in ((1, high), (-1, -low)):
        apart, rise = sign * values - above, above - sign * medians
        lone &= (apart < 0) | (apart > np.maximum(ALONE * rise, SURE * expected))
    count = int(np.count_nonzero(lone))
    if not SOME <= count <= FEW * lone.size:
        return ()
    return (
        f"{count} single pixels differ far from all their neighbours, as hot and dead "
        "pixels do; the result keeps them, and noise=impulse removes them",
    )


def without_impulses(plane: Plane) -> Plane:
    """Return a plane with the median of their surroundings in place of impulses.

    These are far from it, and have hardly a neighbour that is as far off.
    """
    medians = np.stack([_medians(v, AROUND) for v in plane.values])
    apart = plane.values - medians
    far = _are_far(np.abs(apart), _around(np.abs(apart))) & plane.noisy
    for side in (apart > 0, apart < 0):
        far &= ~side | (_neighbours(far & side) <= LIKE_IT)
    return _with_others(plane, far, medians)


def judged_by(plane: Plane, without: Plane, estimate: Float) -> Plane:
    """Return a plane with the values of an estimate in place of impulses.

    The estimate comes from a fit to the plane `without_impulses`, which has not seen
    the pixels that it is compared with.  What was an impulse before the fit need only
    be far from it, and not farther than what is around it.
    """
    apart, before = np.abs(plane.values - estimate), without.values != plane.values
    far = _are_far(apart, _around(apart)) & plane.noisy
    return _with_others(plane, far | (before & _are_far(apart)), estimate)


def judged_steps(
    plane: Plane,
    without: Plane,
    steps: Callable[[Plane], tuple[list[Step], list[Step]]],
) -> tuple[list[Step], list[Step]]:
    """Return quick and slow steps for a plane without what a fit says is an impulse."""

    def judged(slow: bool) -> Step:
        def step(average: Tensor) -> Tensor:
            estimate = average[0].detach().cpu().numpy()
            for one in steps(judged_by(plane, without, estimate))[slow]:
                average = one(average)
            return average

        return step

    return [judged(False)], [judged(True)]


def _around(apart: Float) -> Float:
    """Return the medians of absolute differences in windows."""
    return np.stack([_medians(channel, WIDER) for channel in apart])


def _are_far(apart: Float, around: Float | float = 0.0) -> Mask:
    """Return which absolute differences are more than most, and than those around."""
    usual = np.median(apart, axis=tuple(range(1, apart.ndim)), keepdims=True)
    spread = MAD_TO_SIGMA * np.maximum(usual, around)
    far: Mask = apart > np.maximum(FAR * spread, LEAST)
    return far


def _medians(channel: Float, side: int) -> Float:
    """Return the medians of windows, in every plane of a volume."""
    size = (1,) * (channel.ndim - 2) + (side, side)
    medians: Float = scipy.ndimage.median_filter(channel, size)
    return medians


def _neighbours(mask: Mask) -> Float:
    """Return how many of the eight neighbours are true."""
    around = np.ones((1,) * (mask.ndim - 2) + (3, 3), np.float32)
    count: Float = scipy.ndimage.convolve(mask.astype(np.float32), around)
    return count - mask


def _with_others(plane: Plane, where: Mask, values: Float) -> Plane:
    """Return a plane with other values somewhere, and nothing beyond them there."""
    beyond = None if plane.beyond is None else np.where(where, 0, plane.beyond)
    changed = np.where(where, values, plane.values).astype(np.float32)
    return replace(plane, values=changed, beyond=beyond)
