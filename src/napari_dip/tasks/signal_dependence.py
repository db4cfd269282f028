"""How the noise of an image grows with its signal."""

from __future__ import annotations

import numpy as np

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.constant import FEW_VALUES
from napari_dip.tasks.patches import Mask, block_noise, high_pass, inner, planes_of

FLATTER_HALF = 0.744
"""Mean variance of the flatter half of 8 x 8 blocks of white noise of variance 1."""

FEWEST_BLOCKS = 32
"""Blocks that a plane must have to tell anything, of those that hold noise."""

LIKE_COUNTS = (0.5, 1.5)
"""Variance of the noise of counts over their mean: 1 but for what is estimated."""


def signal_dependence(
    values: Float, usable: Mask | None = None
) -> tuple[float, float] | None:
    """Return gain and variance at signal 0; None where noise does not grow with it.

    Variances of a high-pass residual are taken over 8 x 8 blocks and the flatter
    half of the blocks of every intensity is kept, since texture only adds.  The
    dependence counts if it explains the variances and at least doubles them from
    the dark to the bright end.  The values are in units that all channels share.
    """
    blocks = [b for b in block_noise(values, usable, 8) if len(b[0]) >= FEWEST_BLOCKS]
    if not blocks:
        return None
    level, variance = map(np.concatenate, zip(*blocks, strict=True))
    order = np.argsort(level)
    x, y = [], []
    for group in np.array_split(order, min(16, len(order) // 16)):
        flat = group[np.argsort(variance[group])[: max(len(group) // 2, 8)]]
        x.append(level[flat].mean())
        y.append(variance[flat].mean() / FLATTER_HALF)
    centres, spreads = np.array(x), np.array(y)
    if np.ptp(centres) <= 0 or not spreads.any():
        return None
    gain, intercept = np.polyfit(centres, spreads, 1)
    if gain <= 0 or np.corrcoef(centres, spreads)[0, 1] < 0.9:
        return None
    dark = max(gain * centres[0] + intercept, 1e-12)
    if gain * centres[-1] + intercept < 2 * dark:
        return None
    return float(gain), float(intercept)


def photon_counts(
    values: Float, usable: Mask, variance: float
) -> tuple[float, float] | None:
    """Return the same of a channel of counts of few photons; None if it is none.

    Counts are 0, 1, 2, ... times a gain, and the variance of their noise is the gain
    times their mean.  Where they are few, blocks do not show that, and `variance` is
    that of their noise or less: single photons hide it.
    """
    planes = planes_of(values, usable)
    rests = np.concatenate([high_pass(p)[inner(m)] for p, m in planes])
    levels = np.unique(values[usable]).astype(np.float64)
    if not rests.size or not 1 < len(levels) <= FEW_VALUES:
        return None
    gain = float(np.diff(levels).min())
    steps = (levels - levels[0]) / gain
    mean = float(values[usable].mean(dtype=np.float64) - levels[0])
    low, high = LIKE_COUNTS
    alike = low * gain * mean < rests.var() and variance < high * gain * mean
    if not alike or np.abs(steps - np.rint(steps)).max() > 0.05:
        return None
    return gain, -gain * float(levels[0])
