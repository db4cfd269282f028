"""Noise that neighbouring pixels share, measured where an image is flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.noise_correlation import flattest, without_slopes
from napari_dip.tasks.noise_level import by_brightness
from napari_dip.tasks.patches import Mask, cut_blocks

SIDE = 16
"""Side of the blocks: three times as far as the noise of cameras reaches."""

FREEDOM = (SIDE**2 - 3) / SIDE**2
"""Variance that white noise keeps without its mean and slopes in a block."""

FLAT = 0.2
"""Deviation of the estimate in blocks, over that of their noise, up to which they are
flat indeed: on photographs the flattest of one brightness have 0.03 to 0.7."""

ROUGH = 0.45
"""The same up to which blocks of colours are nearly flat: up to 0.44 in images of
cameras, but for one with 0.51."""

ALIKE = 0.15
"""How much more alike than in flat blocks the noise of channels may be in others."""

LEAST = 0.1
"""Part of the variance of a block that is noise, at least, where the rest is structure
of the estimate."""

LEFT = 1.2
"""Deviation of what the estimate leaves of the image, over that of the noise in flat
blocks, up to which it may be noise: 1.1 for cameras, 1.4 and more for bricks."""


QUITE_FLAT = 0.1
"""`FLAT` up to which there is noise alone, however its values are distributed."""

SKEWED, KURTOSES = 0.7, (-0.7, 1.5)
"""Skewness and excess kurtosis of what the flattest blocks of one channel hold, beyond
which it is no noise.  Noise of cameras and blurred noise read up to 0.55 and from -0.4
to 1.0, a network of tubules 1.2 and 1.0, bricks -1.3 and 3.6."""


@dataclass(frozen=True)
class SharedNoise:
    """Noise in flat blocks."""

    brightness: NDArray[np.float64]
    variance: NDArray[np.float64]
    """(groups, C): mean of the blocks, rising in the mean of the channels, and variance
    of their noise."""
    residuals: list[NDArray[np.float64]]
    """Noise of the blocks of every group, (n, C, SIDE, SIDE), of variance 1."""

    def at(self, image: Float) -> Float:
        """Return the variance at every value of an image (C, ...)."""
        variance = np.empty_like(image)
        for channel, values in enumerate(image):
            order = np.argsort(self.brightness[:, channel])
            known = self.brightness[order, channel], self.variance[order, channel]
            variance[channel] = np.interp(values, *known)
        return variance

    def covariance(self, side: int) -> NDArray[np.float64]:
        """Return the covariance of the values of patches, of variance 1 each.

        It is (C * side ** 2,) * 2; values are ordered by channel, row and column.
        """
        moments = []
        for residual in self.residuals:
            views = sliding_window_view(residual, (side, side), axis=(2, 3))
            patches = np.moveaxis(views, 1, 3).reshape(-1, residual.shape[1] * side**2)
            moments.append(patches.T @ patches / len(patches))
        total = np.sum(moments, axis=0)
        scale = np.sqrt(np.diag(total))
        covariance: NDArray[np.float64] = total / np.outer(scale, scale)
        return covariance


class _Group(NamedTuple):
    """Blocks of like brightness, and the noise of the flattest of them."""

    brightness: NDArray[np.float64]
    variance: NDArray[np.float64]
    residuals: NDArray[np.float64]
    """Of variance 1, (n, C, SIDE, SIDE)."""
    rough: float
    """Deviation of the estimate there, over that of the noise."""
    alike: float
    """Correlation of the channels' noise."""
    left: float
    """Variance of what the estimate leaves of the image in half of all its blocks."""


def shared_noise(values: Float, estimate: Float, usable: Mask) -> SharedNoise | None:
    """Measure the noise of an image where an estimate of it is flat.

    Of every group of blocks of like brightness, those whose estimate varies least about
    a plane are flat.  Chosen by their noisy values they would be those of least noise
    (blocks of low variance, each brightness by itself: Lebrun, Colom, Morel, The noise
    clinic: a blind image denoising algorithm, 2015).  There is nothing to measure where
    no block is whole, or the flat ones have no noise.

    Where an image `is_textured`, the variance of the estimate is not counted in blocks
    that are not flat.  In the colours of cameras the estimate has noise of low
    frequencies, of which flat places tell too little already.
    """
    groups = _groups(values, estimate, usable)
    if not groups or not all(group.variance.all() for group in groups):
        return None
    if _nowhere_flat(groups):
        groups = [
            g._replace(variance=g.variance * part_of_noise(g.rough)) for g in groups
        ]
    brightness, variance, residuals, *_ = zip(*_of_noise(groups), strict=True)
    return SharedNoise(np.array(brightness), np.array(variance), list(residuals))


def is_textured(values: Float, estimate: Float, usable: Mask) -> bool:
    """Return whether an image has no place that is flat, or in colours nearly flat."""
    return _nowhere_flat(_groups(values, estimate, usable))


def is_structure(values: Float, estimate: Float, usable: Mask) -> bool:
    """Return whether what the flattest places of an image hold is no noise.

    It is not where no place is quite flat, and the values of what is flattest are
    distributed otherwise than those of noise: lines and spots are bright or dark, and
    few.  Of several channels their differences tell it.
    """
    groups = _groups(values, estimate, usable)
    if len(values) > 1 or not groups:
        return False
    flattest = min(groups, key=lambda group: group.rough)
    skewness, kurtosis = (
        float((flattest.residuals**order).mean()) - normal
        for order, normal in ((3, 0), (4, 3))
    )
    low, high = KURTOSES
    usual = abs(skewness) <= SKEWED and low <= kurtosis <= high
    return flattest.rough > QUITE_FLAT and not usual


def _nowhere_flat(groups: list[_Group]) -> bool:
    return all(g.rough > (FLAT if len(g.variance) == 1 else ROUGH) for g in groups)


def _groups(values: Float, estimate: Float, usable: Mask) -> list[_Group]:
    noisy, smooth = whole_blocks(values, estimate, usable)
    if not len(noisy):
        return []
    groups = []
    left = (residual(noisy - smooth) ** 2).mean(axis=(1, 2, 3)) / FREEDOM
    for group in by_brightness(smooth.mean(axis=(1, 2, 3))):
        structure = (residual(smooth[group]) ** 2).mean(axis=(1, 2, 3))
        chosen = flattest(structure)
        flat = group[chosen]
        noise = residual(noisy[flat])
        power = (noise**2).mean(axis=(0, 2, 3)) / FREEDOM
        told = _Group(
            smooth[flat].mean(axis=(0, 2, 3)),
            power,
            noise / np.sqrt(power.clip(1e-30))[:, None, None],
            float(np.sqrt(structure[chosen].mean() / max(power.mean(), 1e-30))),
            _alike(noise),
            float(np.median(left[group])),
        )
        groups.append(told)
    return groups


def part_of_noise(rough: float) -> float:
    """Return the part of the variance of blocks that is noise.

    `rough` is the deviation of the estimate there, over that of the noisy image.
    """
    return 1.0 if rough <= FLAT else max(1 - rough**2, LEAST)


def _of_noise(groups: list[_Group]) -> list[_Group]:
    """Return the groups whose flattest blocks tell of noise, and not of structure.

    Where a brightness has no flat place, texture that the estimate lacks adds to the
    noise.  The channels are more alike there than where there is noise alone, or more
    is left of the image than this noise.  Without any flat place all groups count.
    """
    flat = [group for group in groups if group.rough <= FLAT]
    if not flat:
        return groups
    alike = max(group.alike for group in flat) + ALIKE
    most = LEFT**2 * max(group.variance.mean() for group in flat)
    return [
        group
        for group in groups
        if group.rough <= FLAT or (group.alike <= alike and group.left <= most)
    ]


def _alike(noise: NDArray[np.float64]) -> float:
    """Return the covariances of the channels of blocks, over the largest possible."""
    samples = noise.swapaxes(0, 1).reshape(noise.shape[1], -1)
    covariance = samples @ samples.T
    spread = np.sqrt(np.diag(covariance))
    possible = np.outer(spread, spread)
    others = possible.sum() - np.trace(possible)
    return float((covariance.sum() - np.trace(covariance)) / others) if others else 0.0


def whole_blocks(
    values: Float, estimate: Float, usable: Mask
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the blocks of an image and an estimate of it, (n, C, SIDE, SIDE) each.

    Blocks with values that are not usable are left out.
    """
    whole = _blocks(usable).all(axis=(1, 2, 3))
    noisy, smooth = (_blocks(v)[whole].astype(np.float64) for v in (values, estimate))
    return noisy, smooth


def _blocks(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the blocks of all planes, (n, C, SIDE, SIDE)."""
    return np.stack([cut_blocks(channel, SIDE) for channel in image], axis=1)


def residual(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return blocks of all channels without their means and slopes."""
    flat = blocks.reshape(-1, SIDE, SIDE)
    centred = flat - flat.mean(axis=(1, 2), keepdims=True)
    return without_slopes(centred, np.ones(flat.shape)).reshape(blocks.shape)
