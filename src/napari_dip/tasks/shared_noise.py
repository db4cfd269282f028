"""Noise that neighbouring pixels share, measured where an image is flat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.noise_correlation import flattest, without_slopes
from napari_dip.tasks.noise_level import by_brightness
from napari_dip.tasks.patches import Mask, cut_blocks

SIDE = 16
"""Side of the blocks: three times as far as the noise of cameras reaches."""


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


def shared_noise(values: Float, estimate: Float, usable: Mask) -> SharedNoise | None:
    """Measure the noise of an image where an estimate of it is flat.

    Of every group of blocks of like brightness, those whose estimate varies least about
    a plane are flat.  Chosen by their noisy values they would be those of least noise
    (blocks of low variance, each brightness by itself: Lebrun, Colom, Morel, The noise
    clinic: a blind image denoising algorithm, 2015).  There is nothing to measure where
    no block is whole, or the flat ones have no noise.
    """
    whole = _blocks(usable).all(axis=(1, 2, 3))
    noisy, smooth = (_blocks(v)[whole].astype(np.float64) for v in (values, estimate))
    if not len(noisy):
        return None
    brightness, variance, residuals = [], [], []
    freedom = (SIDE**2 - 3) / SIDE**2
    for group in by_brightness(smooth.mean(axis=(1, 2, 3))):
        rough = _residual(smooth[group]).var(axis=(1, 2, 3))
        flat = group[flattest(rough)]
        noise = _residual(noisy[flat])
        power = (noise**2).mean(axis=(0, 2, 3)) / freedom
        if not power.all():
            return None
        brightness.append(smooth[flat].mean(axis=(0, 2, 3)))
        variance.append(power)
        residuals.append(noise / np.sqrt(power)[:, None, None])
    return SharedNoise(np.array(brightness), np.array(variance), residuals)


def _blocks(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the blocks of all planes, (n, C, SIDE, SIDE)."""
    return np.stack([cut_blocks(channel, SIDE) for channel in image], axis=1)


def _residual(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return blocks of all channels without their means and slopes."""
    flat = blocks.reshape(-1, SIDE, SIDE)
    centred = flat - flat.mean(axis=(1, 2), keepdims=True)
    return without_slopes(centred, np.ones(flat.shape)).reshape(blocks.shape)
