"""Collaborative hard thresholding: a first estimate of an image, without a fit."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_dip.prior.groups import Grouping, as_volume, filter_groups, find_groups
from napari_dip.prior.operators import cosines
from napari_dip.prior.wiener import noise_unit

SIDE = 8
"""Pixels along a patch: 6 and 10 are as good."""

STEP = 6
"""Pixels from reference to reference: 4 is no better in the end."""

GROUP_SIZE = 16
"""Patches of a group: 32 are as good."""

WINDOW = 15
"""Pixels that a patch may be away from its reference, along each axis."""

THRESHOLD = 2.7
"""Standard deviations of the noise below which a coefficient is taken for noise."""


def collaborative_threshold(
    noisy: Tensor, variance: Tensor, covariance: Tensor | None = None
) -> Tensor:
    """Remove small coefficients of groups of similar patches.

    Around every sixth pixel the patches of the noisy image whose mean over the channels
    is most similar are taken as a group.  The group is transformed (DCT) along its
    patches, channels, rows and columns, coefficients below `THRESHOLD` of the noise are
    set to zero, and the group is transformed back.  Pixels are averaged over all
    patches, weighted by the inverse of the noise in the coefficients kept.

    Parameters
    ----------
    noisy : Tensor
        float32, (1, C, Y, X) or (1, C, Z, Y, X), 16 pixels a side or more along Y and
        X.  Planes near by are looked at for similar patches, too.
    variance : Tensor
        Variance of the noise, of the same shape.  In a group its mean counts.
    covariance : Tensor, optional
        Covariance of the values of a patch, (C * `SIDE` ** 2,) * 2, channel by channel,
        of noise of variance 1 that neighbours share: every coefficient has a threshold
        of its own.  Without it the noise is independent between pixels and channels.

    Returns
    -------
    Tensor
        Filtered image, of the shape of `noisy`.

    Notes
    -----
    The first step of BM3D (Dabov et al., Image Denoising by Sparse 3-D
    Transform-Domain Collaborative Filtering, 2007), of which size and threshold are
    taken, with one transform for all axes.
    """
    unit = noise_unit(variance)
    basis = _basis(noisy.shape[1]).to(noisy)
    grouping = Grouping(SIDE, STEP, GROUP_SIZE, WINDOW)
    power = basis.new_ones(len(basis))
    if covariance is not None:
        power = ((basis @ covariance.to(basis)) * basis).sum(dim=1)

    def estimates(patches: Tensor, noise: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        along = cosines(patches.shape[1]).to(patches)
        coefficients = along @ (patches @ basis.T)
        kept = coefficients.square() > THRESHOLD**2 * noise * power
        # Otherwise an offset of the image would change how much of its noise remains.
        kept[:, 0, 0] = True
        estimate = along.T @ (coefficients * kept) @ basis
        yield estimate, 1 / (kept * power).sum(dim=(1, 2), keepdim=True)

    y, level = as_volume(noisy / unit), as_volume(variance / unit.square())
    groups = find_groups(y.mean(dim=0, keepdim=True), grouping)
    filtered = filter_groups(torch.stack([y, level]), groups, grouping, estimates)
    return filtered.reshape(noisy.shape) * unit


def _basis(channels: int) -> Tensor:
    rows = cosines(SIDE)
    return torch.kron(cosines(channels), torch.kron(rows, rows))
