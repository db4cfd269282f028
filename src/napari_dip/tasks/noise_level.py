"""How strong the noise of an image is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_dip.prior import interrupt
from napari_dip.tasks.arrays import Float
from napari_dip.tasks.noise_correlation import flattest, lag_one, without_slopes
from napari_dip.tasks.patches import (
    MIDDLE,
    PATCH_SIDE,
    Mask,
    block_noise,
    block_spectra,
    cut_blocks,
    finest_power,
    noisy_blocks,
    planes_of,
    spread_patches,
    white_noise,
)

NOISELESS = 1e-10
"""Variance of pixels without noise, in scaled units: nothing is divided by zero."""

BRIGHTNESSES, GROUP = 4, 32
"""Groups of blocks of like brightness, and the fewest blocks of a group."""

GROWING = 3.0
"""Variance of the noise of the brightest pixels, over that of the darkest, from which
on it depends on the signal: texture, too, may differ with the brightness."""

STRAIGHT = 0.75
"""Least variance of a group, over that on the line from the darkest to the brightest:
bright texture rises suddenly."""

SOME_FLAT = 0.06
"""Part of the blocks from which on those without texture tell the noise."""

LARGE, LEAST = 16, 0.05
"""Side of the blocks, and quantile of their finest detail, that tell it otherwise.  In
larger blocks the noise scatters less, so that a lower quantile tells it."""

FLATTEST = 0.1
"""The same quantile where larger blocks are too few."""

BLOCK, FEWEST = 8, 16
"""Pixels along the blocks in which known pixels tell their noise, and how many of them
a block needs."""

ENOUGH_BLOCKS, WELL_KNOWN = 100, 0.5
"""Such blocks from which on they tell the noise; fewer do where they are that part of
all in which something is known."""

ENOUGH_PAIRS = 200
"""Pairs of known pixels at one distance that `nugget` needs."""

SMALLER, SMALLER_OF_NORMAL = 0.35, 0.4538
"""Quantile of the differences that `nugget` looks at, and that of the absolute value of
a standard normal variable."""

TEXTURED = 0.88
"""Noise of either, over that of `patch_variance`, below which the latter is due to
texture."""

SMOOTHEST = 2.55
"""White noise over what the quantile of `sharp_noise` says of it (measured)."""


def gaussian_variance(values: Float, usable: Mask | None = None) -> float:
    """Estimate the variance of independent Gaussian noise.

    All patches tell strong noise best.  Weak noise among texture is told by the finest
    detail of blocks without texture, or of those that have least detail.  All channels
    have one level of noise, and the mask is without them.
    """
    variance = patch_variance(values, usable)
    power = block_spectra(values, usable)
    if not len(power):
        return variance
    finest = finest_power(power)
    middle = power[:, MIDDLE].mean(axis=1)
    # Where texture is, middle frequencies have more power than the finest ones.
    flat = finest > middle
    if flat.mean() >= SOME_FLAT:
        # Their median is that of the larger of two sums of as many squares.
        white = white_noise(np.median(finest[flat]), 0.5**0.5)
    elif len(large := block_spectra(values, usable, LARGE)):
        white = white_noise(np.quantile(finest_power(large), LEAST), LEAST, LARGE)
    else:
        white = white_noise(np.quantile(finest, FLATTEST), FLATTEST)
    return white if white < TEXTURED**2 * variance else variance


def channel_variances(values: Float, usable: Mask) -> NDArray[np.float64]:
    """Return the `gaussian_variance` of every channel, all arrays of one shape."""
    channels = zip(values, usable, strict=True)
    return np.array([gaussian_variance(v[None], u) for v, u in channels])


def patch_variance(values: Float, usable: Mask | None = None) -> float:
    """Estimate the variance of noise from all patches.

    Patches of a clean image lie in a subspace, so the smallest eigenvalues of
    the covariance of noisy patches are those of the noise alone: the largest set
    of smallest eigenvalues whose mean equals its median (Chen, Zhu, Heng, An
    Efficient Statistical Method for Image Noise Level Estimation, ICCV 2015,
    Algorithm 1).
    """
    return _least_of_patches(spread_patches(values, usable).reshape(-1, PATCH_SIDE**2))


def colour_variance(values: Float, usable: Mask | None = None) -> float:
    """Estimate the variance of noise from patches of all channels together.

    It is the estimate of `patch_variance`, whose authors take colours together as well.
    Texture is alike in all channels, and independent noise is not: the least variation
    of patches through all channels is that of differences between channels, in which
    little texture is left.  The values are in units in which all channels have the same
    noise, and the mask is without the channels.
    """
    samples = spread_patches(values, usable)
    return _least_of_patches(samples.reshape(len(samples), -1))


def _least_of_patches(samples: NDArray[np.float64]) -> float:
    """Return the variance that patches, one a row, have in all directions.

    See `patch_variance`.
    """
    interrupt.check()
    eigenvalues = np.linalg.eigvalsh(np.cov(samples, rowvar=False))
    while eigenvalues.mean() > np.median(eigenvalues):
        eigenvalues = eigenvalues[:-1]
    return float(max(eigenvalues.mean(), 0))


def known_noise(values: Float, known: Mask) -> tuple[float, float]:
    """Estimate the noise of the known pixels of a channel, wherever the others are.

    A plane is fitted to the known pixels of every 8 x 8 block; the residuals of the
    flattest tenth of the blocks are the noise.  Texture is told from noise by its
    correlation between neighbours.  Where few blocks are known well enough, as with
    80 % of the pixels missing, pairs of pixels tell the noise; see `nugget`.

    Returns the standard deviation in the units of `values`, and the lag-one
    autocorrelation; zeros where too little is known to tell.
    """
    blocks, weight = _known_blocks(values, known, 1)
    if not len(blocks):
        return 0.0, 0.0
    enough = weight.sum(axis=(1, 2)) >= FEWEST
    if np.count_nonzero(enough) < min(ENOUGH_BLOCKS, WELL_KNOWN * len(blocks)):
        return nugget(values, known) ** 0.5, 0.0
    return _flat_noise(blocks[enough], weight[enough])


def nugget(values: Float, known: Mask) -> float:
    """Return the variance of noise in scattered values of a channel, 0 if too few.

    It is the variogram at the distance 0 (Matheron, Principles of geostatistics, 1963),
    by a line through those at 1 and 2 pixels along either axis.  Each of these is told
    by the smaller differences, which are those in flat places.
    """
    planes = planes_of(values, known)
    differences = [_differences(planes, distance) for distance in (1, 2)]
    if min(map(len, differences)) < ENOUGH_PAIRS:
        return 0.0
    near, far = (
        (np.quantile(d, SMALLER) / SMALLER_OF_NORMAL) ** 2 / 2 for d in differences
    )
    return max(2 * float(near) - float(far), 0.0)


def _differences(
    planes: list[tuple[NDArray[np.float64], Mask]], distance: int
) -> NDArray[np.float64]:
    """Return how far known pixels at a distance along an axis differ."""
    found = []
    for plane, known in planes:
        for axis in (0, 1):
            v, k = np.moveaxis(plane, axis, 0), np.moveaxis(known > 0, axis, 0)
            both = k[distance:] & k[:-distance]
            found.append(np.abs(v[distance:] - v[:-distance])[both])
    return np.concatenate(found)


def noise_by_brightness(
    values: Float, known: Mask
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate the noise of the known pixels of a channel, which may grow with them.

    Every group of blocks (see `by_brightness`) tells its noise as in `known_noise`: the
    flattest blocks of all are dark, and have less than most.

    Returns the brightness of every group, rising, and the variance of its noise; one
    group without noise where too little is known.
    """
    blocks, weight = _known_blocks(values, known, FEWEST)
    if not len(blocks):
        return np.zeros(1), np.zeros(1)
    means = (blocks * weight).sum(axis=(1, 2)) / weight.sum(axis=(1, 2))
    groups = by_brightness(means)
    levels = [_flat_noise(blocks[group], weight[group])[0] for group in groups]
    return np.array([np.median(means[group]) for group in groups]), np.square(levels)


def by_brightness(means: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Divide blocks, ordered by their means, into groups of equal size.

    There are up to `BRIGHTNESSES` groups.  The numbers of their blocks are returned.
    """
    order = np.argsort(means)
    return np.array_split(order, np.clip(len(order) // GROUP, 1, BRIGHTNESSES))


def growing_noise(values: Float, known: Mask) -> tuple[float, float, float] | None:
    """Estimate noise of a channel that grows with the signal, as photon noise does.

    Returns the variance at a brightness, the variance per brightness above it, and that
    brightness, in the units of `values`.  The result is None unless the variance rises
    from group to group of `noise_by_brightness`, along a line, to `GROWING` times that
    of the darkest.
    """
    brightness, variance = noise_by_brightness(values, known)
    ends = [0, -1]
    line = np.interp(brightness, brightness[ends], variance[ends])
    rising = bool((np.diff(variance) > 0).all() and (variance > STRAIGHT * line).all())
    if not rising or variance[-1] < GROWING * variance[0]:
        return None
    gain, _ = np.polyfit(brightness, variance, 1)
    return max(float(variance[0]), NOISELESS), float(gain), float(brightness[0])


def _known_blocks(
    values: Float, known: Mask, fewest: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 8 x 8 blocks with so many known pixels or more, and where: 1 or 0."""
    planes = planes_of(values, known)
    weight = np.concatenate([cut_blocks(m, BLOCK) for _, m in planes])
    blocks = np.concatenate([cut_blocks(plane, BLOCK) for plane, _ in planes])
    weight = weight.astype(np.float64)
    enough = weight.sum(axis=(1, 2)) >= fewest
    return blocks[enough], weight[enough]


def _flat_noise(
    blocks: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float]:
    """Return deviation and lag-one correlation of the noise of the flattest blocks."""
    residual = without_slopes(blocks, weight)
    freedom = weight.sum(axis=(1, 2)) - 3
    variance = (residual**2).sum(axis=(1, 2)) / freedom
    flat = flattest(variance)
    # The lowest tenth of white noise's variances is 1.75 of their standard
    # deviations, (2 / freedom)^0.5 each, below their mean.
    low = 1 - 1.75 * (2 / freedom[flat].mean()) ** 0.5
    power = float(variance[flat].mean())
    if power == 0:
        return 0.0, 0.0
    sigma = float((power / max(low, 0.1)) ** 0.5)
    return sigma, lag_one(residual[flat], weight[flat], power)


def sharp_noise(values: Float, usable: Mask) -> float:
    """Return the deviation of a channel's noise as the smoothest places show it.

    Sharp coarse pixels are full of steps that estimators of noise take for it, so only
    the smoothest blocks of 3 x 3 pixels are asked: the 2 % quantile of the darker and
    of the brighter half, whichever is larger.  Blocks without any variation are
    saturated.  Where nothing varies it is 0.
    """
    means, variances = block_noise(values, 3)[:, noisy_blocks(values, usable, 3)]
    varied = variances > NOISELESS
    order = np.argsort(means[varied])
    halves = np.array_split(variances[varied][order], 2)
    smoothest = [float(np.quantile(half, 0.02)) for half in halves if half.size]
    return SMOOTHEST * float(max(smoothest, default=0.0) ** 0.5)
