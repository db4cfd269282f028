"""Collaborative filtering: similar patches of an image are estimated together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from napari_dip.prior.groups import Grouping, as_volume, filter_groups, patch_side
from napari_dip.prior.wiener import noise_unit

VALUES = 49
"""Values of a patch, about: 7 x 7 pixels of one channel, 4 x 4 of three.  Larger
patches blur colour texture, smaller ones find the wrong partners in gray noise."""

ALIKE = 100
"""Patches of a group: 64 are 0.02 dB worse, 200 are no better."""

WINDOW = 15
"""Pixels that a patch may be away from its reference, along each axis."""

STEP = 6
"""Pixels from reference to reference, at most the side of a patch: a third of the time
of 3 for 0.01 dB."""


def collaborative_filter(
    noisy: Tensor,
    pilot: Tensor,
    variance: Tensor,
    smoothed: float = 1,
    alike: int = ALIKE,
) -> Tensor:
    """Estimate groups of similar patches, found in an estimate of the image.

    Around every sixth pixel the most similar patches of the pilot are taken as a
    group.  With X and Y the groups of the pilot and of the noisy image, one patch a
    row, k patches of n values, and s^2 the variance of the noise, two estimates are
    made and averaged, each patch weighted by the inverse of the noise left in it:

    - every patch as a combination of all, ``A^T Y`` with
      ``A = (X X^T + n s^2 I)^-1 X X^T``;
    - every value as a combination of all of its patch, ``m + (Y - m) B`` with m the
      mean patch, Z = X - m and ``B = (Z^T Z + k a s^2 I)^-1 Z^T Z``.

    Parameters
    ----------
    noisy, pilot : Tensor
        float32, (1, C, Y, X) or (1, C, Z, Y, X), 16 pixels a side or more along Y and
        X.  Planes near by are looked at for similar patches, too.
    variance : Tensor
        Variance of the noise, of the same shape; the noise must be independent between
        pixels and channels.  In a group its mean counts.
    smoothed : float
        The factor a, above 0: below 1 where the pilot is smoother than the image, so
        that it tells of less signal than there is.  The first estimate gains nothing
        by such a factor.
    alike : int
        Patches of a group.

    Returns
    -------
    Tensor
        Filtered image, of the shape of `noisy`.

    Notes
    -----
    The first estimate is the second step of NL-Ridge (Herbreteau, Kervrann, Towards a
    unified view of unsupervised non-local methods for image denoising: the NL-Ridge
    approach, 2022), the second that of NL-Bayes (Lebrun, Buades, Morel, A nonlocal
    Bayesian image denoising algorithm, 2013).  Their mean is better than either.
    """
    unit = noise_unit(variance)
    images = (noisy / unit, pilot / unit, variance / unit.square())
    side = patch_side(VALUES, noisy.shape[1])
    grouping = Grouping(side, min(STEP, side), alike, WINDOW)
    y, x, level = (as_volume(image) for image in images)
    estimates = partial(_estimates, smoothed)
    filtered = filter_groups(torch.stack([y, x, level]), x, grouping, estimates)
    return filtered.reshape(noisy.shape) * unit


def _estimates(
    smoothed: float, y: Tensor, x: Tensor, noise: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield both estimates, (groups, k, n), with their certainties, (groups, k, 1)."""
    count, values = x.shape[1:]
    identity = torch.eye(values, dtype=x.dtype, device=x.device)
    power = x.mT @ x
    # A^T Y = X (X^T X + n s^2 I)^-1 X^T Y: the k x k matrices are never made.  Y is
    # taken as X and the rest, or rounding errors would show where noise is weak.
    inverse, level = regularised_inverse(power, values * noise)
    kept = identity - level * inverse
    left = ((x @ (inverse @ kept)) * x).sum(dim=2, keepdim=True)
    yield x @ (kept + inverse @ (x.mT @ (y - x))), 1 / left.clamp(min=1e-3)
    mean = x.mean(dim=1, keepdim=True)
    power = power - count * mean.mT @ mean
    inverse, level = regularised_inverse(power, count * smoothed * noise)
    gain = identity - level * inverse
    left = gain.square().sum(dim=(1, 2), keepdim=True)
    yield mean + (y - mean) @ gain, (1 / left.clamp(min=0.1)).expand(-1, count, -1)


def regularised_inverse(power: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(power + level I)^-1`` of symmetric matrices, and the level.

    It is raised where rounding errors would decide.
    """
    # Of patches that are all alike rounding errors are left, below zero too.
    trace = power.diagonal(dim1=1, dim2=2).abs().sum(dim=1)[:, None, None]
    identity = torch.eye(power.shape[-1], dtype=power.dtype, device=power.device)
    level = level + 3e-7 * trace + 1e-12
    factor, failed = torch.linalg.cholesky_ex(power + level * identity)
    for part in (1e-4, 1e-2, 1):
        # Without noise, and patches all alike, rounding errors make it indefinite.
        if failed.any():
            level = level + part * trace * (failed[:, None, None] > 0)
            factor, failed = torch.linalg.cholesky_ex(power + level * identity)
    return torch.cholesky_inverse(factor), level
