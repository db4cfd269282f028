"""Collaborative filtering: similar patches of an image are estimated together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from napari_dip.prior.groups import (
    Grouping,
    Groups,
    as_volume,
    filter_groups,
    find_groups,
    patch_side,
)
from napari_dip.prior.wiener import noise_unit

PATCH_VALUES = 49
"""Values of a patch, about: 7 x 7 pixels of one channel, 4 x 4 of three.  Larger
patches blur colour texture, smaller ones find the wrong partners in gray noise."""

GROUP_SIZE = 100
"""Patches of a group in a single round: 64 are up to 0.1 dB worse for photon noise."""

GROUP_SIZE_IN_ROUNDS = 64
"""Patches of a group where more rounds follow."""

WINDOW = 20
"""Pixels that a patch may be away from its reference, along each axis."""

WINDOW_IN_VOLUMES = 15
"""Pixels that a patch may be away from its reference, along each axis, where planes
near by are looked at, too."""

STEP = 6
"""Pixels from reference to reference, at most the side of a patch."""

TAPER = 3
"""Kaiser parameter of the patches of one channel: smaller ones gain nothing by it."""

KEPT = 0.5
"""Part of its noise that the image keeps for the next round."""

EXCESS = 1.2
"""Variance of the noise in the later rounds, over what has been kept: some is left in
the estimate, too."""

GUIDE_NOISE = 5e-4
"""Variance of the noise of a guide, over that of the image, where both vary alike."""


def collaborative_filter(
    noisy: Tensor,
    pilot: Tensor,
    variance: Tensor,
    smoothed: Tensor | float = 1,
    rounds: int = 1,
    *,
    window: int = WINDOW,
    step: int = STEP,
    covariance: Tensor | None = None,
) -> Tensor:
    """Estimate groups of similar patches, found in an estimate of the image.

    Around every sixth pixel the most similar patches of the pilot are taken as a group.
    With X and Y the groups of the pilot and of the noisy image, one patch a row, k
    patches of n values, and s^2 the variance of the noise, two estimates are made and
    averaged, each patch weighted by the inverse of the noise left in it:

    - every patch as a combination of all, ``A^T Y`` with
      ``A = (X X^T + k a s^2 I)^-1 X X^T``;
    - every value as a combination of all of its patch, ``m + (Y - m) B`` with m the
      mean patch, Z = X - m and ``B = (Z^T Z + k a s^2 I)^-1 Z^T Z``.

    In one channel the borders of a patch count less than its centre.

    In a next round the same groups are estimated again.  The last estimate is their
    pilot, and the noisy image is the mean of that estimate and of what it was, so that
    it has half of its noise.

    Parameters
    ----------
    noisy, pilot : Tensor
        float32, (1, C, Y, X) or (1, C, Z, Y, X), 16 pixels a side or more along Y and
        X.  Planes near by are looked at for similar patches, too.
    variance : Tensor
        Variance of the noise, of the same shape.  In a group its mean counts.
    smoothed : Tensor or float
        The factor a of the first round, above 0, of every pixel, (1, 1, ...), or of
        all: below 1 where the pilot is smoother than the image, so that it tells of
        less signal than there is, and above 1 where it is noisy.
    rounds : int
        How often groups are estimated.
    window, step : int
        As for `Grouping`; in volumes the window is at most `WINDOW_IN_VOLUMES`.
    covariance : Tensor, optional
        Covariance R of the values of a patch, (n, n), channel by channel, of noise of
        variance 1 that neighbours share.  Then only the second estimate is made, with
        ``B = (Z^T Z + k a s^2 R)^-1 Z^T Z``.  Without it the noise is independent
        between pixels and channels.

    Notes
    -----
    The first estimate is the second step of NL-Ridge (Herbreteau, Kervrann, Towards a
    unified view of unsupervised non-local methods for image denoising: the NL-Ridge
    approach, 2022), the second that of NL-Bayes (Lebrun, Buades, Morel, A nonlocal
    Bayesian image denoising algorithm, 2013).  Their mean is better than either.
    NL-Ridge has n for ``k a``; with the same matrix in both, one inverse serves both.
    Rounds that keep part of the noise are the idea of LIChI (Herbreteau, Kervrann,
    Linear combinations of patches are unreasonably effective for single-image
    denoising, 2022).
    """
    unit = noise_unit(variance)
    y, x, level = (
        as_volume(image)
        for image in (noisy / unit, pilot / unit, variance / unit.square())
    )
    side = patch_side(PATCH_VALUES, noisy.shape[1])
    if y.shape[1] > 1:
        window = min(window, WINDOW_IN_VOLUMES)
    group_size = GROUP_SIZE if rounds == 1 else GROUP_SIZE_IN_ROUNDS
    taper = TAPER if noisy.shape[1] == 1 else 0
    grouping = Grouping(side, min(step, side), group_size, window, taper)
    groups: Groups = find_groups(x, grouping)
    if rounds > 1:
        groups = list(groups)
    if covariance is not None:
        covariance = covariance.to(x)
    estimates = partial(_estimates, covariance)
    factor = as_volume(smoothed) if isinstance(smoothed, Tensor) else smoothed
    for number in range(rounds):
        if number:
            y = torch.lerp(x, y, KEPT)
            level = level * KEPT**2 * (EXCESS if number == 1 else 1)
            factor = 1
        x = filter_groups(
            torch.stack([y, x, level * factor]), groups, grouping, estimates
        )
    return x.reshape(noisy.shape) * unit


def guided_collaborative_filter(
    noisy: Tensor,
    pilot: Tensor,
    variance: Tensor,
    guide: Tensor,
    covariance: Tensor | None = None,
) -> Tensor:
    """Estimate groups of similar patches of an image and of another of the same scene.

    The guide's values are further values of a patch, with next to no noise.  Similar
    patches look alike in both images, and every value of the noisy one is estimated
    from those of the guide, too, as far as they go together in the pilot (the second
    estimate of `collaborative_filter`).  A guide that shows something else adds
    nothing.

    Parameters
    ----------
    noisy, pilot, variance : Tensor
        As for `collaborative_filter`.
    guide : Tensor
        (1, G, Y, X) or (1, G, Z, Y, X), in any units.
    covariance : Tensor, optional
        Of the noisy values of a patch of `guided_side` pixels a side.

    Returns
    -------
    Tensor
        The image without its noise, of the shape of `noisy`.
    """
    unit = noise_unit(variance)
    spatial = tuple(range(2, noisy.ndim))
    pilot, variance = pilot / unit, variance / unit.square()
    guide = guide - guide.mean(spatial, keepdim=True)
    spread = guide.square().mean(spatial, keepdim=True).sqrt()
    guide = guide * (pilot.std(spatial).mean() / spread.clamp(min=1e-12))
    channels, guides = noisy.shape[1], guide.shape[1]
    values = guided_side(channels, guides) ** 2
    if covariance is None:
        covariance = torch.eye(channels * values).to(noisy)
    free = GUIDE_NOISE * torch.eye(guides * values).to(noisy)
    filtered = collaborative_filter(
        torch.cat([noisy / unit, guide], 1),
        torch.cat([pilot, guide], 1),
        torch.cat([variance, variance.mean(1, keepdim=True).expand_as(guide)], 1),
        covariance=torch.block_diag(covariance, free),
    )
    return filtered[:, :channels] * unit


def guided_side(channels: int, guides: int) -> int:
    """Return the pixels along a patch of so many channels and those of a guide."""
    return patch_side(PATCH_VALUES, channels + guides)


def _estimates(
    covariance: Tensor | None, y: Tensor, x: Tensor, noise: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the estimates, (groups, k, n), with their certainties, (groups, k or 1, 1).

    Under noise with a covariance there is the second one only.
    """
    count = x.shape[1]
    mean = x.mean(dim=1, keepdim=True)
    centred = x - mean
    power, level = centred.mT @ centred, count * noise
    if covariance is not None:
        gain, certainty = patch_gain(power, level, covariance)
    else:
        inverse, level = ridge_inverse(power, level)
        # C = X (X^T X + level I)^-1, so that A^T Y = C X^T Y, by the formula of Sherman
        # and Morrison: X^T X has the mean patch beside Z^T Z.  Rounding errors would be
        # large where the mean is.
        along = mean @ inverse
        part = (1 - count * (centred @ along.mT)) / (1 + count * (along @ mean.mT))
        combined = torch.baddbmm(part @ along, centred, inverse)
        # Y is taken as X and the rest, or they would show where noise is weak.
        kept = x - level * combined
        left = (combined * kept).sum(dim=2, keepdim=True)
        yield torch.baddbmm(kept, combined, x.mT @ (y - x)), 1 / left.clamp(min=1e-3)
        gain, certainty = gain_of(inverse, level)
    yield torch.baddbmm(mean.expand_as(y), y - mean, gain), certainty


def patch_gain(
    power: Tensor, level: Tensor, covariance: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return ``B = (power + level R)^-1 power``, by which patches are estimated.

    R is the covariance of the noise, the identity where not given.  The certainty of
    the estimates, (groups, 1, 1), is the inverse of the noise that B leaves in them.
    """
    if covariance is None:
        return gain_of(*ridge_inverse(power, level))
    total = power + level * covariance
    inverse, _ = ridge_inverse(total, torch.zeros_like(level))
    gain = inverse @ power
    left = (gain.mT @ covariance) * gain.mT
    return gain, 1 / left.sum(dim=(1, 2), keepdim=True).clamp(min=0.1)


def gain_of(inverse: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``I - level * inverse``, and the certainty of estimates with this gain."""
    gain = -level * inverse
    gain.diagonal(dim1=1, dim2=2).add_(1)
    left = gain.square().sum(dim=(1, 2), keepdim=True)
    return gain, 1 / left.clamp(min=0.1)


def ridge_inverse(power: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(power + level I)^-1`` of symmetric matrices, and the level.

    It is raised where rounding errors would decide.
    """
    # Where all patches are alike there are rounding errors only, some below zero.
    trace = power.diagonal(dim1=1, dim2=2).abs().sum(dim=1)[:, None, None]
    identity = torch.eye(power.shape[-1], dtype=power.dtype, device=power.device)
    level = level + 3e-7 * trace + 1e-12
    factor, failed = torch.linalg.cholesky_ex(power + level * identity)
    for part in (1e-4, 1e-2, 1):
        # They make the matrix indefinite where there is no noise either.
        if failed.any():
            level = level + part * trace * (failed[:, None, None] > 0)
            factor, failed = torch.linalg.cholesky_ex(power + level * identity)
    return torch.cholesky_inverse(factor), level
