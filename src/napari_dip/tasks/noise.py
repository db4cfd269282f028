"""What an image says about its own noise: level, kind, correlation, channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # whose modules load on first use
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from napari_dip.prior import interrupt
from napari_dip.tasks.arrays import Float
from napari_dip.tasks.constant import FEW_VALUES
from napari_dip.tasks.plane import Plane, per_channel

if TYPE_CHECKING:
    from torch import Tensor

Mask = NDArray[np.bool_]

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

SAMPLES = 100_000
"""Patches that are enough for a covariance."""

FEWEST_PATCHES = 100
"""Patches below which the masked pixels are looked at, too."""

ENOUGH_BLOCKS = 64
"""Large blocks among which some are flat."""

LIKE_SPANS = 3.0
"""Ratio of the spans of two channels up to which they are measured together."""

LIKE_VARIANCES = 4.0
"""The same of the variances of their noise."""

LIKE_COUNTS = (0.5, 1.5)
"""Variance of the noise of counts over their mean: 1 but for what is estimated."""

MANY_PLANES = 8
"""Planes from which on each is asked for its noise."""

LARGE_PLANE = 96
"""Pixels along a plane that tell its noise well enough."""

LEAST = 0.2
"""Quantile of the noise of planes that is taken for that of all."""

SMOOTHEST = 2.55
"""White noise over what the quantile of `sharp_noise` says of it (measured)."""


@dataclass(frozen=True)
class NoiseModel:
    """Variance as a function of the signal, ``gain * (signal - offset) + variance``.

    Attributes
    ----------
    variance : tuple of float
        Of every channel: variance without signal; of everything for Gaussian noise.
    gain : tuple of float
        Variance per unit of signal, 0 for Gaussian noise.
    offset : tuple of float
        Signal at which `variance` holds.
    """

    variance: tuple[float, ...]
    gain: tuple[float, ...]
    offset: tuple[float, ...]

    @classmethod
    def gaussian(cls, variance: Any) -> NoiseModel:
        """Return the model of Gaussian noise with a variance for every channel."""
        variances = tuple(float(v) for v in np.atleast_1d(variance))
        zeros = (0.0,) * len(variances)
        return cls(variances, zeros, zeros)

    @property
    def kind(self) -> str:
        """Kind of noise, "gaussian" or "poisson-gaussian"."""
        return "poisson-gaussian" if any(self.gain) else "gaussian"

    def level(self, values: Float, usable: Mask | None = None) -> NDArray[np.float64]:
        """Return the mean variance of every channel of an image, (C, ...).

        Values that are not `usable`, of the same shape, do not count, unless a channel
        has no others.
        """
        chosen = np.ones(values.shape, bool) if usable is None else usable.copy()
        chosen[~chosen.reshape(len(chosen), -1).any(axis=1)] = True
        axes = tuple(range(1, values.ndim))
        means = values.mean(axis=axes, where=chosen).astype(np.float64)
        signal = np.maximum(means - self.offset, 0)
        level: NDArray[np.float64] = np.asarray(self.gain) * signal + self.variance
        return level

    def at(self, image: Tensor) -> Tensor:
        """Return the variance at every value of an image, a tensor (1, C, ...)."""
        gain, offset, variance = (
            image.new_tensor(v).reshape(1, -1, *[1] * (image.ndim - 2))
            for v in (self.gain, self.offset, self.variance)
        )
        return gain * (image - offset).clamp(min=0) + variance

    def rescaled(self, factor: NDArray[np.float64]) -> NoiseModel:
        """Return the model of ``image / factor``, one factor per channel."""
        return NoiseModel(
            tuple((np.asarray(self.variance) / factor**2).tolist()),
            tuple((np.asarray(self.gain) / factor).tolist()),
            tuple((np.asarray(self.offset) / factor).tolist()),
        )


def _patches(values: Float, side: int, usable: Mask | None) -> NDArray[np.float64]:
    """Return up to `SAMPLES` patches spread over an image, (n, channels, side ** 2).

    Patches with pixels that are not `usable`, (Y, X) or (Z, Y, X), are left out,
    unless hardly any others are there.
    """
    channels = values.shape[0]
    # Planes of a volume are samples of the same patch statistics.
    planes = values.reshape(channels, -1, *values.shape[-2:])
    rows, columns = (n - side + 1 for n in planes.shape[-2:])
    many = 1_000_000
    depth = min(planes.shape[1], -(-many // (rows * columns)))
    places = np.arange(depth * rows * columns)
    if usable is not None and not usable.all():
        masks = usable.reshape(-1, *usable.shape[-2:])[:depth]
        whole = sliding_window_view(masks, side, axis=1).all(axis=-1)
        whole = sliding_window_view(whole, side, axis=2).all(axis=-1)
        clear = np.flatnonzero(whole)
        if len(clear) >= FEWEST_PATCHES:
            places = clear
    places = places[:: -(-len(places) // SAMPLES)]
    return patches_at(planes, side, places)


def patches_at(
    planes: NDArray[Any], side: int, places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return patches of images (C, N, Y, X), (n, C, side ** 2).

    `places` number the first pixels of all patches, plane by plane and row by row.
    """
    views = sliding_window_view(planes, (side, side), axis=(2, 3))
    z, y, x = np.unravel_index(places, views.shape[1:4])
    chosen = np.moveaxis(views[:, z, y, x], 0, 1)
    return chosen.reshape(len(places), -1, side * side).astype(np.float64)


def channel_correlation(
    values: Float, usable: Mask | None = None, patch: int = 7
) -> float:
    """Estimate the largest correlation of the noise between two channels.

    Looks at the patterns that the image itself has least of: the directions of
    smallest variance among all patches.

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X).
    usable : ndarray, optional
        bool, of the same shape without the channels; pixels that hold noise.
    patch : int
        Side of the patches.
    """
    if values.shape[0] == 1:
        return 0.0
    samples = _patches(values, patch, usable)
    samples -= samples.mean(axis=0)
    together = np.einsum("nci,ncj->ij", samples, samples)
    _, directions = np.linalg.eigh(together)
    least = samples @ directions[:, : patch * patch // 8]
    between = np.einsum("nci,ndi->cd", least, least)
    scale = np.sqrt(np.diag(between)).clip(1e-12)
    between = between / np.outer(scale, scale)
    return float(np.abs(between - np.diag(np.diag(between))).max())


def gaussian_variance(
    values: Float, usable: Mask | None = None, patch: int = 7
) -> float:
    """Estimate the variance of independent Gaussian noise.

    Patches of a clean image lie in a subspace, so the smallest eigenvalues of
    the covariance of noisy patches are those of the noise alone: the largest set
    of smallest eigenvalues whose mean equals its median (Chen, Zhu, Heng, An
    Efficient Statistical Method for Image Noise Level Estimation, ICCV 2015,
    Algorithm 1).

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X), of one level of noise.
    usable : ndarray, optional
        bool, of the same shape without the channels; pixels that hold noise.
    patch : int
        Side of the patches.
    """
    interrupt.check()
    samples = _patches(values, patch, usable).reshape(-1, patch * patch)
    eigenvalues = np.linalg.eigvalsh(np.cov(samples, rowvar=False))
    for count in range(len(eigenvalues), 0, -1):
        smallest = eigenvalues[:count]
        if smallest.mean() <= np.median(smallest):
            return float(max(smallest.mean(), 0))
    return float(max(eigenvalues[0], 0))


def _least_variance(values: Float, usable: Mask) -> float:
    """Estimate the variance of independent noise where there is least texture.

    Fine texture counts as noise.  Of many large planes those that have least of it tell
    the noise of all.
    """
    planes = np.moveaxis(values, -3, 0) if values.ndim == 4 else values[None]
    masks = usable if values.ndim == 4 else usable[None]
    if len(planes) < MANY_PLANES or min(values.shape[-2:]) < LARGE_PLANE:
        return gaussian_variance(values, usable)
    step = max(len(planes) // (4 * MANY_PLANES), 1)
    known = [m.any() for m in masks[::step]]
    variances = [
        gaussian_variance(plane, mask)
        for plane, mask, some in zip(planes[::step], masks[::step], known, strict=True)
        if some
    ]
    return float(np.quantile(variances, LEAST)) if variances else 0.0


def _residual(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a high-pass of an image that has the noise's own variance.

    The kernel is the difference of two Laplacians (Immerkaer, Fast noise variance
    estimation, 1996), blind to planes and to straight edges along the axes.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], float) / 6
    return np.asarray(scipy.ndimage.convolve(plane, kernel, mode="reflect"))


def cut_blocks(plane: NDArray[Any], side: int) -> NDArray[Any]:
    """Cut an image into (n, side, side) blocks, leaving incomplete ones out."""
    height, width = (n // side * side for n in plane.shape)
    cut: NDArray[Any] = plane[:height, :width].reshape(
        height // side, side, width // side, side
    )
    return cut.swapaxes(1, 2).reshape(-1, side, side)


def _planes(
    values: Float, usable: Mask | None
) -> list[tuple[NDArray[np.float64], Mask]]:
    """Return every plane of every channel, and where it holds noise."""
    planes = values.reshape(-1, *values.shape[-2:]).astype(np.float64)
    if usable is None:
        usable = np.ones(values.shape, bool)
    masks = np.broadcast_to(usable, values.shape).reshape(planes.shape)
    return list(zip(planes, masks, strict=True))


def _inner(mask: Mask) -> Mask:
    """Return where a high-pass of 3 x 3 pixels sees nothing but usable ones."""
    inner: Mask = mask if mask.all() else scipy.ndimage.minimum_filter(mask, 3)
    return inner


def known_noise(values: Float, known: Mask) -> tuple[float, float]:
    """Estimate the noise of the known pixels, wherever the others are.

    A plane is fitted to the known pixels of every 8 x 8 block; the residuals of the
    flattest tenth of the blocks are the noise.  Texture is told from noise by its
    correlation between neighbours.

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X).
    known : ndarray
        bool, (Y, X) or (Z, Y, X), false where missing.

    Returns
    -------
    tuple of float
        Standard deviation in the units of `values`, and the lag-one autocorrelation.
        Zeros where too little is known to tell.
    """
    side, fewest = 8, 16
    axis = np.arange(side) - (side - 1) / 2
    ones = np.ones((side, side))
    basis = np.stack([ones, ones * axis, ones * axis[:, None]], -1).reshape(-1, 3)
    planes = _planes(values, known)
    weight = np.concatenate([cut_blocks(m, side) for _, m in planes]).astype(np.float64)
    value = np.concatenate([cut_blocks(plane, side) for plane, _ in planes])
    enough = weight.sum(axis=(1, 2)) >= fewest
    if not enough.any():
        return 0.0, 0.0
    weight, value = weight[enough], value[enough]
    flat, y = weight.reshape(len(weight), -1), value.reshape(len(value), -1)
    normal = np.einsum("bp,pi,pj->bij", flat, basis, basis)
    right = np.einsum("bp,bp,pi->bi", flat, y, basis)
    # The ridge decides where all known pixels of a block lie on one line.
    normal += 1e-6 * np.eye(3)
    slopes = np.linalg.solve(normal, right[..., None])[..., 0]
    rest = ((y - slopes @ basis.T) * flat).reshape(value.shape)
    freedom = weight.sum(axis=(1, 2)) - 3
    variance = (rest**2).sum(axis=(1, 2)) / freedom
    flattest = np.argsort(variance)[: max(len(variance) // 10, 4)]
    # The lowest tenth of white noise's variances is 1.75 of their standard
    # deviations, (2 / freedom)^0.5 each, below their mean.
    low = 1 - 1.75 * (2 / freedom[flattest].mean()) ** 0.5
    power = float(variance[flattest].mean())
    if power == 0:
        return 0.0, 0.0
    rest, weight = rest[flattest], weight[flattest]
    pairs = [
        ((rest[:, 1:] * rest[:, :-1]).sum(), (weight[:, 1:] * weight[:, :-1]).sum()),
        (
            (rest[..., 1:] * rest[..., :-1]).sum(),
            (weight[..., 1:] * weight[..., :-1]).sum(),
        ),
    ]
    together = np.mean([product / max(count, 1) for product, count in pairs]) / power
    # Taking out a plane leaves white noise slightly anticorrelated.
    correlation = together + 3 / (freedom[flattest].mean() + 3)
    return float((power / max(low, 0.1)) ** 0.5), float(correlation)


def sharp_noise(values: Float, usable: NDArray[np.bool_]) -> float:
    """Return the standard deviation of the noise as the smoothest places show it.

    Sharp coarse pixels are full of steps that estimators of noise take for it, so only
    the smoothest blocks of 3 x 3 pixels are asked: the 2 % quantile of the darker and
    of the brighter half, whichever is larger.  Blocks without any variation are
    saturated.

    Parameters
    ----------
    values : ndarray
        One channel, (Y, X) or (Z, Y, X).
    usable : ndarray
        bool, of the same shape; blocks with pixels that are not do not count.

    Returns
    -------
    float
        In units of ``values``; 0 where nothing varies.
    """
    side = 3
    variances, levels = [], []
    for plane, mask in _planes(values, usable):
        inner = cut_blocks(_inner(mask), side)
        variance = cut_blocks(_residual(plane), side).var(axis=(1, 2))
        use = inner.all(axis=(1, 2)) & (variance > 1e-10)
        variances.append(variance[use])
        levels.append(cut_blocks(plane, side).mean(axis=(1, 2))[use])
    all_variances = np.concatenate(variances)
    halves = np.array_split(all_variances[np.argsort(np.concatenate(levels))], 2)
    smoothest = [float(np.quantile(half, 0.02)) for half in halves if half.size]
    return SMOOTHEST * float(max(smoothest, default=0.0) ** 0.5)


def signal_dependence(
    values: Float, usable: Mask | None = None
) -> tuple[float, float] | None:
    """Fit variance against signal; None where it does not depend on it.

    Variances of a high-pass residual are taken over 8 x 8 blocks and the flatter
    half of the blocks of every intensity is kept, since texture only adds.  The
    dependence counts if it explains the variances and at least doubles them from
    the dark to the bright end.

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X), in units that all channels share.
    usable : ndarray, optional
        bool, of the same shape, with or without the channels; values that hold noise.

    Returns
    -------
    tuple of float or None
        Gain and the variance at signal 0, in the units of `values`.
    """
    levels, variances = [], []
    for plane, mask in _planes(values, usable):
        whole = cut_blocks(_inner(mask), 8).all(axis=(1, 2))
        levels.append(cut_blocks(plane, 8).mean(axis=(1, 2))[whole])
        variances.append(cut_blocks(_residual(plane), 8).var(axis=(1, 2))[whole])
    if min(map(len, levels)) < 32:
        return None
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


def photon_counts(
    values: Float, usable: Mask, variance: float
) -> tuple[float, float] | None:
    """Return the noise of counts of few photons; None if values are none.

    Counts are 0, 1, 2, ... times a gain, and the variance of their noise is the gain
    times their mean.  Where they are few, blocks do not show that.

    Parameters
    ----------
    values : ndarray
        One channel, (Y, X) or (Z, Y, X).
    usable : ndarray
        bool, of the same shape; values that hold noise.
    variance : float
        Variance of their noise, or less: single photons hide it.

    Returns
    -------
    tuple of float or None
        Gain and the variance at signal 0, as of `signal_dependence`.
    """
    planes = _planes(values, usable)
    rests = np.concatenate([_residual(p)[_inner(m)] for p, m in planes])
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


def correlation(values: Float, usable: Mask | None = None) -> float:
    """Estimate the noise's lag-one autocorrelation from the flattest blocks.

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X).
    usable : ndarray, optional
        bool, of the same shape, with or without the channels; values that hold noise.

    Returns
    -------
    float
        Mean over both axes; about 0 for independent noise.
    """
    correlations = []
    for plane, mask in _planes(values, usable):
        inner = _inner(mask)
        side = 16 if min(plane.shape) >= 64 else 8
        if np.count_nonzero(inner) < min(ENOUGH_BLOCKS * side**2, inner.size):
            side = 8
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
        whole = cut_blocks(inner, side).all(axis=(1, 2))
        if not whole.any():
            continue
        usual = np.median(fine[whole])
        chosen = np.flatnonzero(whole & (fine > 1e-2 * usual))
        if len(chosen) == 0:
            continue
        order = np.argsort(spread[chosen] / fine[chosen])
        flattest = chosen[order[: max(len(chosen) // 10, 4)]]
        rest = rest[flattest]
        power_here = (rest**2).mean()
        if power_here == 0:
            continue
        along = [
            (rest[:, 1:] * rest[:, :-1]).mean(),
            (rest[..., 1:] * rest[..., :-1]).mean(),
        ]
        # Taking out mean and slopes leaves white noise slightly anticorrelated.
        correlations.append(np.mean(along) / power_here + 3 / side**2)
    return float(np.mean(correlations)) if correlations else 0.0


def plane_model(plane: Plane, noise: str, sigma: float | None) -> NoiseModel:
    """Return the noise model to fit with, every channel with its own level.

    Channels of like span and noise share the estimate of how noise grows with the
    signal.

    Parameters
    ----------
    plane : Plane
        The image.
    noise : str
        "auto", or the kind to assume.
    sigma : float, optional
        Standard deviation, if known, in the units of the image.
    """
    values, usable = plane.values, plane.noisy
    if sigma is not None:
        # More noise than that leaves nothing either, and squares stay finite.
        return NoiseModel.gaussian(np.clip(sigma / plane.span, 1e-5, 1e5) ** 2)
    count = len(values)
    variances = np.array(
        [_least_variance(values[c : c + 1], usable[c]) for c in range(count)]
    )
    dependence: list[tuple[float, float] | None] = [None] * count
    if noise in ("auto", "poisson", "poisson-gaussian"):
        dependence = _dependence(plane, variances)
        dependence = [
            photon_counts(values[c], usable[c], variances[c]) or dependence[c]
            for c in range(count)
        ]
    models = [
        _channel(values[c][usable[c]], noise, variances[c], dependence[c])
        if usable[c].any()
        else (max(variances[c], 1e-10), 0.0, 0.0)
        for c in range(count)
    ]
    return NoiseModel(*(tuple(map(float, row)) for row in zip(*models, strict=True)))


def _dependence(
    plane: Plane, variances: NDArray[np.float64]
) -> list[tuple[float, float] | None]:
    """Return gain and variance at zero of every channel, in its own units."""
    values, usable, spans = plane.values, plane.noisy, plane.span
    # Relative to the largest, whose square could be too large.
    power = variances * (spans / spans.max()) ** 2
    alike = spans.max() <= LIKE_SPANS * spans.min()
    alike = alike and power.max() <= LIKE_VARIANCES * max(power.min(), 1e-300)
    if not alike:
        return [
            signal_dependence(v[None], u[None])
            for v, u in zip(values, usable, strict=True)
        ]
    # In the units of the first channel.
    scale, shift = spans / spans[0], (plane.offset - plane.offset[0]) / spans[0]
    common = values * per_channel(scale, values) + per_channel(shift, values)
    together = signal_dependence(common.astype(np.float32), usable)
    if together is None:
        return [None] * len(values)
    gain, intercept = together
    return [
        (gain / k, (intercept + gain * s) / k**2)
        for k, s in zip(scale, shift, strict=True)
    ]


def _channel(
    values: NDArray[Any],
    noise: str,
    variance: float,
    dependence: tuple[float, float] | None,
) -> tuple[float, float, float]:
    """Return variance, gain and offset of one channel."""
    if dependence is not None:
        gain, intercept = dependence
        low = float(np.percentile(values, 0.1))
        floor = gain * low + intercept
        # Below the darkest signal seen the line means nothing.
        smallest = 0.02 * (gain * float(values.mean()) + intercept)
        return max(floor, smallest), gain, low
    if noise in ("poisson", "poisson-gaussian"):
        # Asked for, though the image does not show it: the noise there is, grown
        # in proportion to the signal.
        low = float(np.percentile(values, 0.1))
        gain = variance / max(float(values.mean()) - low, 1e-6)
        return max(0.02 * variance, 1e-10), gain, low
    return max(variance, 1e-10), 0.0, 0.0


def single_or_list(numbers: Any) -> float | list[float]:
    """Return one number, or a list of one per channel, for the provenance."""
    values: list[float] = np.atleast_1d(numbers).tolist()
    return values[0] if len(values) == 1 else values
