"""Whether neighbouring pixels, or channels, share their noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.patches import (
    FINEST,
    MEDIUM,
    MIDDLE,
    PATCH_SIDE,
    Mask,
    block_spectra,
    cut_blocks,
    high_pass,
    inner,
    planes_of,
    spread_patches,
)

Spectra = list[NDArray[np.float64]]
"""Power of the blocks of every channel, each (n, SPECTRUM, SPECTRUM)."""

CORRELATED = 0.25
"""Lag-one autocorrelation of the noise above which neighbours share it.

Texture under weak noise reads up to 0.18, camera JPEGs 0.5 and more.
"""

FALLING = 2.5
"""Power of flat blocks at middle frequencies, over that at the finest ones, from which
on neighbours share their noise: cameras read 4 and more, texture under white noise up
to 2.5."""

FLATTEST = 0.05
"""Part of the blocks that is looked at for it: those with least power there."""

HOMOGENEOUS = 2.4
"""Power at middle frequencies that a quarter of the blocks stays below, over that of a
twentieth, up to which it is noise of one level: noise reads 1.8 to 2.3, many small
spots, resampled images and restored ones 2.4 and more."""

WEAK = 0.25
"""Power of that quarter of the blocks without their means, over the variance of the
image, up to which it is noise on something else: where spots fill the image, they are
all there is, and are as homogeneous."""

ALONG = 1.5
"""Power of flat blocks at medium frequencies along one axis, over that at the finest
ones, from which on neighbours along it share their noise.  Both are among the finest
frequencies along the other axis, where images have least: white noise reads 0.95 to
1.1, texture that has a direction up to 1.6 and that of a scanning microscope 1.8 to
2.05."""

ACROSS = 1.15
"""Most that the power of such blocks is at medium frequencies along the other axis,
over that at the finest ones; the least is one over it.  Nor is the power at medium
frequencies along both axes more than so many times that at those along the one axis:
texture and blurs reach along both."""

SCATTER = 1.2
"""What is added to `ALONG` and `ACROSS`, over the square root of the number of
blocks."""

FLAT_PART = 0.25
"""Part of the blocks that is looked at for noise along an axis: those with least power
at fine and medium frequencies."""

SHARED = 0.65
"""Correlation of the noise between two channels above which channels share it.

Texture under weak noise reads up to 0.9, gray noise on colours 0.95 and more.
"""

ENOUGH_BLOCKS = 64
"""Large blocks among which some are flat."""


def channel_correlations(
    values: Float, usable: Mask | None = None
) -> NDArray[np.float64]:
    """Estimate the correlations of the noise between the channels, (C, C).

    Looks at the patterns that the image itself has least of: the directions of
    smallest variance among all patches.  The mask is without the channels.
    """
    if values.shape[0] == 1:
        return np.ones((1, 1))
    samples = spread_patches(values, usable)
    samples -= samples.mean(axis=0)
    flat = samples.reshape(-1, PATCH_SIDE**2)
    together = flat.T @ flat
    _, directions = np.linalg.eigh(together)
    least = samples @ directions[:, : PATCH_SIDE**2 // 8]
    least = least.swapaxes(0, 1).reshape(len(values), -1)
    between = least @ least.T
    scale = np.sqrt(np.diag(between)).clip(1e-12)
    correlations: NDArray[np.float64] = between / np.outer(scale, scale)
    return correlations


def without_slopes(
    blocks: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return blocks less the plane that fits their pixels best: shading is no noise.

    Both are (n, side, side); pixels of weight 0 do not count, and come back as 0.
    """
    side = blocks.shape[-1]
    axis = np.arange(side) - (side - 1) / 2
    ones = np.ones((side, side))
    basis = np.stack([ones, ones * axis, ones * axis[:, None]], -1).reshape(-1, 3)
    flat, y = weight.reshape(len(weight), -1), blocks.reshape(len(blocks), -1)
    normal = np.einsum("bp,pi,pj->bij", flat, basis, basis)
    right = np.einsum("bp,bp,pi->bi", flat, y, basis)
    # The ridge decides where all known pixels of a block lie on one line.
    normal += 1e-6 * np.eye(3)
    slopes = np.linalg.solve(normal, right[..., None])[..., 0]
    residual: NDArray[np.float64] = ((y - slopes @ basis.T) * flat).reshape(
        blocks.shape
    )
    return residual


def flattest(spread: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return where the tenth of blocks is that varies least."""
    return np.argsort(spread)[: max(len(spread) // 10, 4)]


def lag_one(
    residual: NDArray[np.float64], weight: NDArray[np.float64], power: float
) -> float:
    """Return the correlation of neighbours in blocks of a variance without slopes."""

    def products(v: NDArray[np.float64]) -> list[float]:
        return [(v[:, 1:] * v[:, :-1]).sum(), (v[..., 1:] * v[..., :-1]).sum()]

    pairs = zip(products(residual), products(weight), strict=True)
    together = np.mean([product / max(count, 1) for product, count in pairs]) / power
    # Taking out a plane leaves white noise slightly anticorrelated.
    return float(together + 3 / weight.sum(axis=(1, 2)).mean())


def channel_spectra(values: Float, usable: Mask | None = None) -> Spectra:
    """Return the `block_spectra` of every channel."""
    usable = np.broadcast_to(True if usable is None else usable, values.shape)
    pairs = zip(values, usable, strict=True)
    return [block_spectra(channel[None], mask[None]) for channel, mask in pairs]


def falling(spectra: Spectra) -> float:
    """Return by how much the power of the noise falls towards the finest detail.

    It is the power at middle frequencies over that at the finest ones, in the flattest
    blocks; mean over the channels, and infinity where there are too few blocks.
    """
    ratios = []
    for power in spectra:
        if not len(power):
            return np.inf
        middle = power[:, MIDDLE].mean(axis=1)
        flat = np.argsort(middle)[: max(int(FLATTEST * len(middle)), 8)]
        ratios.append(middle[flat].mean() / power[flat, FINEST, FINEST].mean())
    return float(np.mean(ratios))


def is_along_axis(spectra: Spectra) -> bool:
    """Return whether neighbours share their noise along rows or columns alone.

    A detector that is slow for the pace of a scan leaves such noise, and a shift along
    one axis by a part of a pixel.
    """
    ratios, blocks = [], []
    for power in spectra:
        if not len(power):
            return False
        bands = [(y, x) for y in (FINEST, MEDIUM) for x in (FINEST, MEDIUM)]
        means = np.array([power[:, y, x].mean(axis=(1, 2)) for y, x in bands])
        total = means.sum(axis=0)
        flat = total <= np.quantile(total, FLAT_PART)
        blocks.append(np.count_nonzero(flat))
        finest, *medium = means[:, flat].mean(axis=1)
        ratios.append(medium / finest)
    columns, rows, both = np.mean(ratios, axis=0)
    across, along = sorted([columns, rows])
    scatter = SCATTER / min(blocks) ** 0.5
    white = ACROSS + scatter
    return bool(
        along > ALONG + scatter and 1 / white < across < white and both < white * along
    )


def homogeneous(spectra: Spectra, values: Float, usable: Mask) -> bool:
    """Return whether all flat blocks of some channel hold the same power.

    Noise that a median or a mean of neighbours has smoothed may have any power in its
    finest detail, but it is everywhere; structure is not.
    """
    return any(map(_is_homogeneous, spectra, values, usable))


def _is_homogeneous(
    power: NDArray[np.float64], channel: NDArray[np.floating], mask: Mask
) -> bool:
    if not len(power):
        return False
    middle = power[:, MIDDLE].mean(axis=1)
    least, quarter = np.quantile(middle, (0.05, 0.25))
    flat = power[middle <= quarter]
    varying = (flat.sum(axis=(1, 2)) - flat[:, 0, 0]).mean() / flat[0].size
    weak = varying <= WEAK * channel[mask].var()
    return bool(weak and quarter <= HOMOGENEOUS * least)


def correlation(values: Float, usable: Mask | None = None) -> float:
    """Estimate the noise's lag-one autocorrelation from the flattest blocks.

    It is the mean over both axes, and about 0 for independent noise.
    """
    correlations = []
    for plane, mask in planes_of(values, usable):
        seen = inner(mask)
        side = 16 if min(plane.shape) >= 64 else 8
        if np.count_nonzero(seen) < min(ENOUGH_BLOCKS * side**2, seen.size):
            side = 8
        whole = cut_blocks(seen, side).all(axis=(1, 2))
        if not whole.any():
            continue
        # The flattest blocks are those whose variance is that of their finest
        # detail.  Saturated ones have no noise to look at.
        fine = cut_blocks(high_pass(plane), side)[whole].var(axis=(1, 2))
        chosen = fine > 1e-2 * np.median(fine)
        if not chosen.any():
            continue
        blocks = cut_blocks(plane, side)[whole][chosen]
        # Of saturated blocks exactly nothing is left.
        blocks = blocks - blocks.mean(axis=(1, 2), keepdims=True)
        weight = np.ones(blocks.shape)
        residual = without_slopes(blocks, weight)
        flat = flattest((residual**2).mean(axis=(1, 2)) / fine[chosen])
        power = (residual[flat] ** 2).mean()
        if power > 0:
            correlations.append(lag_one(residual[flat], weight[flat], power))
    return float(np.mean(correlations)) if correlations else 0.0
