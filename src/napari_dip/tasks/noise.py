"""What an image says about its own noise: level, kind and correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from napari_dip.tasks.arrays import Float

CORRELATED = 0.25
"""Lag-one autocorrelation of the noise above which neighbours share it.

Texture under weak noise reads up to 0.18, camera JPEGs 0.5 and more.
"""

SHARED = 0.65
"""Correlation of the noise between channels above which they share it.

Texture under weak noise reads up to 0.6, gray noise on colours 0.95 and more.
"""

FLATTER_HALF = 0.744
"""Mean variance of the flatter half of 8 x 8 blocks of white noise of variance 1."""


@dataclass(frozen=True)
class NoiseModel:
    """Variance as a function of the signal, ``gain * (signal - offset) + variance``.

    Attributes
    ----------
    kind : str
        "gaussian" or "poisson-gaussian".
    variance : float
        Variance without signal; of everything for Gaussian noise.
    gain : float
        Variance per unit of signal, 0 for Gaussian noise.
    offset : float
        Signal at which `variance` holds.
    """

    kind: str
    variance: float
    gain: float = 0.0
    offset: float = 0.0

    def level(self, values: Float) -> float:
        """Return the mean variance over an image."""
        signal = max(float(values.mean()) - self.offset, 0.0)
        return self.gain * signal + self.variance


def _patches(values: Float, side: int) -> NDArray[np.float64]:
    """Return up to 100 000 patches spread over an image, (n, channels, side ** 2)."""
    channels = values.shape[0]
    # Planes of a volume are samples of the same patch statistics.
    planes = values.reshape(channels, -1, *values.shape[-2:])
    window = (side, side)
    rows = []
    for z in range(planes.shape[1]):
        views = sliding_window_view(planes[:, z], window, axis=(1, 2))
        rows.append(np.moveaxis(views, 0, 2).reshape(-1, channels, side * side))
        if sum(len(r) for r in rows) > 1_000_000:
            break
    patches = np.concatenate(rows)
    return patches[:: -(-len(patches) // 100_000)].astype(np.float64)


def channel_correlation(values: Float, patch: int = 7) -> float:
    """Estimate the largest correlation of the noise between two channels.

    Looks at the patterns that the image itself has least of: the directions of
    smallest variance among all patches.

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X).
    patch : int
        Side of the patches.
    """
    if values.shape[0] == 1:
        return 0.0
    samples = _patches(values, patch)
    samples -= samples.mean(axis=0)
    together = np.einsum("nci,ncj->ij", samples, samples)
    _, directions = np.linalg.eigh(together)
    least = samples @ directions[:, : patch * patch // 8]
    between = np.einsum("nci,ndi->cd", least, least)
    scale = np.sqrt(np.diag(between)).clip(1e-12)
    between = between / np.outer(scale, scale)
    return float(np.abs(between - np.diag(np.diag(between))).max())


def gaussian_variance(values: Float, patch: int = 7) -> float:
    """Estimate the variance of independent Gaussian noise.

    Patches of a clean image lie in a subspace, so the smallest eigenvalues of
    the covariance of noisy patches are those of the noise alone: the largest set
    of smallest eigenvalues whose mean equals its median (Chen, Zhu, Heng, An
    Efficient Statistical Method for Image Noise Level Estimation, ICCV 2015,
    Algorithm 1).

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X).
    patch : int
        Side of the patches.
    """
    samples = _patches(values, patch).reshape(-1, patch * patch)
    eigenvalues = np.linalg.eigvalsh(np.cov(samples, rowvar=False))
    for count in range(len(eigenvalues), 0, -1):
        smallest = eigenvalues[:count]
        if smallest.mean() <= np.median(smallest):
            return float(max(smallest.mean(), 0))
    return float(max(eigenvalues[0], 0))


def _residual(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a high-pass of an image that has the noise's own variance.

    The kernel is the difference of two Laplacians (Immerkaer, Fast noise variance
    estimation, 1996), blind to planes and to straight edges along the axes.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], float) / 6
    residual: NDArray[np.float64] = ndimage.convolve(plane, kernel, mode="reflect")
    return residual


def cut_blocks(plane: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Cut an image into (n, side, side) blocks, leaving incomplete ones out."""
    height, width = (n // side * side for n in plane.shape)
    cut: NDArray[np.float64] = plane[:height, :width].reshape(
        height // side, side, width // side, side
    )
    return cut.swapaxes(1, 2).reshape(-1, side, side)


def signal_dependence(values: Float) -> tuple[float, float] | None:
    """Fit variance against signal; None where it does not depend on it.

    Variances of a high-pass residual are taken over 8 x 8 blocks and the flatter
    half of the blocks of every intensity is kept, since texture only adds.  The
    dependence counts if it explains the variances and at least doubles them from
    the dark to the bright end.

    Returns
    -------
    tuple of float or None
        Gain and the variance at signal 0, in the units of `values`.
    """
    levels, variances = [], []
    for plane in values.reshape(-1, *values.shape[-2:]).astype(np.float64):
        blocks = cut_blocks(plane, 8)
        if len(blocks) < 32:
            return None
        levels.append(blocks.mean(axis=(1, 2)))
        variances.append(cut_blocks(_residual(plane), 8).var(axis=(1, 2)))
    level, variance = np.concatenate(levels), np.concatenate(variances)
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


def correlation(values: Float) -> float:
    """Estimate the noise's lag-one autocorrelation from the flattest blocks.

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X).

    Returns
    -------
    float
        Mean over both axes; about 0 for independent noise.
    """
    found = []
    for plane in values.reshape(-1, *values.shape[-2:]).astype(np.float64):
        side = 16 if min(plane.shape) >= 64 else 8
        blocks = cut_blocks(plane, side)
        coordinates = np.arange(side) - (side - 1) / 2
        power = (coordinates**2).mean()
        # Take the best plane out of every block: shading is no noise.
        rest = blocks - blocks.mean(axis=(1, 2), keepdims=True)
        for ramp in (coordinates[:, None], coordinates[None, :]):
            slope = (rest * ramp).mean(axis=(1, 2), keepdims=True) / power
            rest = rest - slope * ramp
        spread = (rest**2).mean(axis=(1, 2))
        # The flattest blocks are those whose variance is that of their finest
        # detail.  Saturated ones have no noise to look at.
        fine = cut_blocks(_residual(plane), side).var(axis=(1, 2))
        usable = np.flatnonzero(fine > 1e-2 * np.median(fine))
        if len(usable) == 0:
            continue
        order = np.argsort(spread[usable] / fine[usable])
        flattest = usable[order[: max(len(usable) // 10, 4)]]
        rest = rest[flattest]
        power_here = (rest**2).mean()
        if power_here == 0:
            continue
        along = [
            (rest[:, 1:] * rest[:, :-1]).mean(),
            (rest[..., 1:] * rest[..., :-1]).mean(),
        ]
        # Taking out mean and slopes leaves white noise slightly anticorrelated.
        found.append(np.mean(along) / power_here + 3 / side**2)
    return float(np.mean(found)) if found else 0.0


def model(values: Float, noise: str, sigma: float | None) -> NoiseModel:
    """Return the noise model to fit with.

    Parameters
    ----------
    values : ndarray
        The scaled image.
    noise : str
        "auto", or the kind to assume.
    sigma : float or None
        Standard deviation, if known, in the units of `values`.
    """
    dependence = None
    if noise in ("auto", "poisson-gaussian", "poisson") and sigma is None:
        dependence = signal_dependence(values)
    if dependence is not None:
        gain, intercept = dependence
        low = float(np.percentile(values, 0.1))
        floor = gain * low + intercept
        # Below the darkest signal seen the line means nothing.
        smallest = 0.02 * (gain * float(values.mean()) + intercept)
        return NoiseModel("poisson-gaussian", max(floor, smallest), gain, low)
    variance = gaussian_variance(values) if sigma is None else sigma**2
    if noise in ("poisson", "poisson-gaussian"):
        # Asked for, though the image does not show it: the noise there is, grown
        # in proportion to the signal.
        low = float(np.percentile(values, 0.1))
        gain = variance / max(float(values.mean()) - low, 1e-6)
        return NoiseModel("poisson-gaussian", max(0.02 * variance, 1e-10), gain, low)
    return NoiseModel("gaussian", max(variance, 1e-10))
