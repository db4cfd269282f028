"""How the noise of an image grows with its signal."""

from __future__ import annotations

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.constant import FEW_VALUES
from napari_dip.tasks.patches import (
    FEWEST_SPECTRA,
    SPECTRUM,
    Mask,
    block_noise,
    cut_blocks,
    finest_power,
    high_pass,
    inner,
    noisy_blocks,
    planes_of,
    spectra_step,
    white_noise,
)

BLOCK = 8
"""Side of the blocks that tell the noise."""

FLATTER_HALF = 0.744
"""Mean variance of the flatter half of 8 x 8 blocks of white noise of variance 1."""

FEWEST_BLOCKS = 32
"""Blocks that a plane must have to tell anything, of those that hold noise."""

STRAIGHT, RISING = 0.9, 2.0
"""Least correlation of variance with brightness, and least ratio of the variances at
the bright and the dark end, of noise that grows with the signal."""

CLIPPED = 5e-4
"""Part of a channel's values from which on its largest, or smallest, is clipped."""

MOST_CLIPPED = 0.05
"""Part of the values that may be clipped because they are bright.

Where more are, the noise of much of the image is weaker than a line says, and Gaussian
noise of one level is the better model: by 0.4 dB for photon noise of 50 gray levels."""

SAME_GAIN = 0.5
"""Growth of the noise of blocks that are not clipped, over that of those that may be
clipped at 0, from which on it is not due to the clipping.

For Gaussian noise of 50 gray levels it was less for 10 of 14 images, for photon noise
as strong it was more for 103 of 108."""

IN_FINEST = 0.72
"""Power of the finest detail of bright blocks, over the variance of a line, from which
on the line is that of noise.

Photon noise reads 0.75 and more, in photographs and micrographs.  Bright texture under
white noise of 1 to 3 gray levels reads 0.14 to 0.79, in 14 of 16 photographs less than
0.72."""

FEW_BRIGHT, SCATTER = 0.8, 2.0
"""Where bright blocks are few, it need only be more than this, less so much over the
square root of their number: among 30 to 160 of them photon noise reads 0.6 and more."""

LEAST = 0.1
"""Quantile of that power over the variance, which tells it where texture is least."""

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

    Values beyond the range of a camera or a file are clipped, and vary less.  Blocks
    with values that are clipped because they are bright are therefore left out, if
    those without any clipped value show the same dependence.  Where they do not, where
    they are too few, and where much is clipped, all blocks tell it.

    Bright things may have more texture than dark ones.  So the finest detail of bright
    blocks must have the noise as well.
    """
    shown = np.ones(values.shape, bool) & (True if usable is None else usable)
    line = _steepest(values, shown)
    return line if line and _is_in_finest(line, values, shown) else None


def _steepest(values: Float, shown: Mask) -> tuple[float, float] | None:
    """Return gain and intercept of the variances of blocks; None without a line."""
    dark, bright = _clipped(values, shown)
    some_clipped = bool(bright.any() or dark.any())
    blocks = block_noise(values, BLOCK)
    if some_clipped and bright.sum() < MOST_CLIPPED * shown.sum():
        between = variances(blocks, values, shown & ~bright & ~dark)
        line = _line(variances(blocks, values, shown & ~bright))
        if line is not None and between is not None:
            gain, _ = np.polyfit(*between, 1)
            if gain > SAME_GAIN * line[0]:
                return line
    return _line(variances(blocks, values, shown))


def _is_in_finest(line: tuple[float, float], values: Float, usable: Mask) -> bool:
    """Return whether the finest detail of bright blocks has the variance of a line.

    The power of texture falls towards the finest detail, that of noise does not.  Few
    blocks do not tell it.
    """
    gain, intercept = line
    step = spectra_step(values)
    ratios = []
    for plane, mask in planes_of(values, usable):
        if not mask.any():
            continue
        blocks = cut_blocks(plane, SPECTRUM, step)
        brightness = blocks.mean(axis=(1, 2))
        chosen = cut_blocks(mask, SPECTRUM, step).all(axis=(1, 2))
        chosen &= brightness > plane[mask].mean()
        power = scipy.fft.dctn(blocks[chosen], axes=(1, 2), norm="ortho") ** 2
        level = gain * brightness[chosen] + intercept
        ratios.append(finest_power(power) / level.clip(1e-12))
    ratio = np.concatenate(ratios) if ratios else np.empty(0)
    if len(ratio) < FEWEST_SPECTRA:
        return True
    enough = min(IN_FINEST, FEW_BRIGHT - SCATTER / len(ratio) ** 0.5)
    return bool(white_noise(np.quantile(ratio, LEAST), LEAST) > enough)


def not_too_bright(values: Float, usable: Mask) -> Mask:
    """Return which usable values of channels are not clipped at the bright end."""
    return usable & ~_clipped(values, usable)[1]


def _clipped(values: Float, usable: Mask) -> tuple[Mask, Mask]:
    """Return which values are clipped at the dark end, and which at the bright end."""
    axes = tuple(range(1, values.ndim))

    def clipped(end: Float) -> Mask:
        at: Mask = usable & (values == end)
        fewest = CLIPPED * usable.sum(axes, keepdims=True)
        at &= at.sum(axes, keepdims=True) > fewest
        return at

    return (
        clipped(values.min(axes, keepdims=True, where=usable, initial=np.inf)),
        clipped(values.max(axes, keepdims=True, where=usable, initial=-np.inf)),
    )


def variances(
    blocks: NDArray[np.float64], values: Float, usable: Mask
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return mean and variance of the noise of blocks of like brightness, rising.

    The blocks are those of `block_noise`.  None where there are too few of usable
    pixels, or no noise.
    """
    seen = noisy_blocks(values, usable, BLOCK)
    seen &= seen.sum(axis=1, keepdims=True) >= FEWEST_BLOCKS
    if not seen.any():
        return None
    level, variance = blocks[:, seen]
    order = np.argsort(level)
    x, y = [], []
    for group in np.array_split(order, min(16, len(order) // 16)):
        flat = group[np.argsort(variance[group])[: max(len(group) // 2, 8)]]
        x.append(level[flat].mean())
        y.append(variance[flat].mean() / FLATTER_HALF)
    centres, spreads = np.array(x), np.array(y)
    return (centres, spreads) if np.ptp(centres) > 0 and spreads.any() else None


def _line(
    curve: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> tuple[float, float] | None:
    """Return gain and intercept of variances; None unless they rise along a line."""
    if curve is None:
        return None
    centres, spreads = curve
    gain, intercept = np.polyfit(centres, spreads, 1)
    if gain <= 0 or np.corrcoef(centres, spreads)[0, 1] < STRAIGHT:
        return None
    dark = max(gain * centres[0] + intercept, 1e-12)
    if gain * centres[-1] + intercept < RISING * dark:
        return None
    return float(gain), float(intercept)


def photon_counts(
    values: Float, usable: Mask, variance: float
) -> tuple[float, float] | None:
    """Return gain and variance of a channel of few photons; None for all others.

    Counts are 0, 1, 2, ... times a gain, and the variance of their noise is the gain
    times their mean.  Where they are few, blocks do not show that, and `variance` is
    that of their noise or less: single photons hide it.
    """
    planes = planes_of(values, usable)
    residuals = np.concatenate([high_pass(p)[inner(m)] for p, m in planes])
    levels = np.unique(values[usable]).astype(np.float64)
    if not residuals.size or not 1 < len(levels) <= FEW_VALUES:
        return None
    gain = float(np.diff(levels).min())
    steps = (levels - levels[0]) / gain
    mean = float(values[usable].mean(dtype=np.float64) - levels[0])
    low, high = LIKE_COUNTS
    like_counts = low * gain * mean < residuals.var() and variance < high * gain * mean
    if not like_counts or np.abs(steps - np.rint(steps)).max() > 0.05:
        return None
    return gain, -gain * float(levels[0])
