"""Regions of an image that hold one value, and so no noise."""

from __future__ import annotations

import math

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.prior import interrupt

LEAST_CONSTANT = 5
"""Side of the smallest square of one value that counts as constant."""

LARGE_CONSTANT = 15
"""Side of squares that are hardly ever of one value by chance."""

FEW_VALUES = 32
"""Different values of an image up to which they may be counts of few photons."""

OFTEN = 0.3
"""Part of the pixels outside of regions from which on the lowest value is a count."""

BY_CHANCE = 1e-6
"""Probability below which a square of one value is no accident of the noise."""


def constant_regions(channel: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find regions of exactly one value, which hold no noise.

    Borders left by registration, stitching and round fields of view, saturation, and
    what was cut away are like this.  In images of few photons, or with a background
    that was clipped, small squares of one value arise by chance: a value that takes
    a part p of the other pixels fills a square of side k with probability
    ``p ** (k * k)``, and only squares with a probability below `BY_CHANCE` count.  Dim
    places of few photons have more zeros than others: that there are none is measured.

    Parameters
    ----------
    channel : ndarray
        float, (Y, X) or (Z, Y, X), in which every plane is looked at by itself; NaN
        is never constant.

    Returns
    -------
    ndarray
        bool, of the same shape.
    """
    channel = np.where(np.isfinite(channel), channel, np.nan)
    region = np.zeros(channel.shape, bool)
    squares = _uniform_squares(channel, LEAST_CONSTANT)
    if not squares.any():
        return region
    large = channel[_uniform_squares(channel, LARGE_CONSTANT)]
    present, counts = np.unique(channel[np.isfinite(channel)], return_counts=True)
    in_large = np.zeros(len(present), int)
    values, counts_large = np.unique(large, return_counts=True)
    in_large[np.searchsorted(present, values)] = counts_large
    elsewhere = np.maximum(counts.sum() - in_large, 1)
    part = np.clip((counts - in_large) / elsewhere, 1e-12, 1 - 1e-12)
    sides = np.ceil(np.sqrt(math.log(BY_CHANCE) / np.log(part)))
    sides = np.maximum(sides, LEAST_CONSTANT)
    if len(present) <= FEW_VALUES and part[0] > OFTEN:
        sides[0] = LARGE_CONSTANT + 1
    if len(present) == 1:
        sides[:] = LEAST_CONSTANT  # nothing but one value, whatever the size
    for side in range(LEAST_CONSTANT, LARGE_CONSTANT + 1):
        chosen = present[sides == side]
        if chosen.size:
            region |= _uniform_squares(channel, side) & np.isin(channel, chosen)
    return region


def _uniform_squares(channel: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    """Return where a pixel lies in a square of one value."""
    interrupt.check()
    size = (*[1] * (channel.ndim - 2), side, side)
    # There is no square beyond the border, nor where pixels are missing.
    low = np.nan_to_num(channel, nan=-np.inf)
    high = np.nan_to_num(channel, nan=np.inf)
    low = scipy.ndimage.minimum_filter(low, size, mode="constant", cval=-np.inf)
    high = scipy.ndimage.maximum_filter(high, size, mode="constant", cval=np.inf)
    uniform = (low == high) & (low == channel)
    shift = -1 if side % 2 == 0 else 0
    origin = [*[0] * (channel.ndim - 2), shift, shift]
    return np.asarray(scipy.ndimage.maximum_filter(uniform, size, origin=origin))
