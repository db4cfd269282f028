"""Missing pixels estimated from similar patches, of which other pixels are missing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior.collaborative import VALUES, patch_gain
from napari_dip.prior.groups import (
    Grouping,
    as_volume,
    extended,
    in_chunks,
    offsets_in_patch,
    patch_side,
    similar,
)

ALIKE = 60
"""Patches of a group."""

STEP = 4
"""Pixels from reference to reference, at most the side of a patch."""

WINDOW = 10
"""Pixels that a patch may be away from its reference, along each axis."""

PASSES = 8
"""Passes over the image."""

STRONGEST, WEAKEST = 0.18, 0.022
"""Noise that the first and the last pass assume in the missing pixels, over the
standard deviation of the known ones."""

SEARCH_EVERY = 2
"""Passes that use the same groups: patches hardly move from one to the next."""

REPEATS = 8
"""Times that a group is estimated within a pass."""

RELAXATION = 1.9
"""Part of a change that is made, below 2: fewer repeats are needed than with 1."""


def fill_from_similar(image: Tensor, known: Tensor, values: int = VALUES) -> Tensor:
    """Estimate the missing pixels of a restored image from groups of similar patches.

    Around every fourth pixel the most similar patches are taken as a group.  With X
    the group, one patch a row, m its mean patch and Z = X - m, every patch is estimated
    as ``m + (X - m) B`` with ``B = (Z^T Z + k s^2 I)^-1 Z^T Z``, missing pixels are
    moved there, known ones stay, and so again: this leads to the conditional mean of
    the missing pixels given the known ones, for a normal distribution with mean m and
    covariance ``Z^T Z / k + s^2 I``.  Estimates of a pixel are averaged, each weighted
    by the inverse of the noise left in its patch, and the next pass begins from the
    result, with a smaller s.

    Parameters
    ----------
    image : Tensor
        float32, (1, C, Y, X) or (1, C, Z, Y, X), of which every plane is filled by
        itself, restored where pixels are missing; 16 pixels a side or more along Y, X.
    known : Tensor
        (1, 1, ...), 0 where pixels are missing, else 1.
    values : int
        Values of a patch, about: patches must be larger than what is missing is wide.

    Returns
    -------
    Tensor
        The image with other missing pixels.

    Notes
    -----
    The estimate is that of NL-Bayes (Lebrun, Buades, Morel, 2013); to alternate it with
    the known pixels under falling noise is plug-and-play inpainting (IDBP: Tirer,
    Giryes, Image restoration by iterative denoising and backward projections, 2019).
    """
    spread = float(image[:, :, known[0, 0] > 0].std())
    levels = torch.logspace(0, 1, PASSES, base=WEAKEST / STRONGEST) * STRONGEST * spread
    levels = levels.clamp(min=1e-6)
    side = patch_side(values, image.shape[1])
    grouping = Grouping(side, min(STEP, side), ALIKE, WINDOW)
    planes = zip(
        as_volume(image).unbind(1), as_volume(known.to(image)).unbind(1), strict=True
    )
    filled = [_fill_plane(*plane, grouping, levels.tolist()) for plane in planes]
    return torch.stack(filled, dim=1).reshape(image.shape)


def _fill_plane(
    image: Tensor, known: Tensor, grouping: Grouping, levels: list[float]
) -> Tensor:
    """Fill (C, Y, X), in as many passes as there are levels of noise."""
    side = grouping.side
    height, width = image.shape[1:]
    image, known = extended(torch.stack([image, known.expand_as(image)]), grouping)
    within = offsets_in_patch(side, image.shape[2], image.device)
    # Whether a pixel is missing in the patch that begins at a pixel.
    incomplete = F.max_pool2d(F.pad(1 - known[:1], [0, side - 1] * 2), side, 1)
    incomplete = incomplete.flatten() > 0
    groups: list[Tensor] = []
    for number, level in enumerate(levels):
        if number % SEARCH_EVERY == 0:
            # Groups that nothing is missing in have nothing to fill.
            groups = [
                corners[incomplete[corners].any(dim=1)]
                for corners in similar(image[:, None], grouping)
            ]
        estimated = _estimated(image, known, groups, within, level)
        image = torch.where(known > 0, image, estimated)
    return image[:, :height, :width]


def _estimated(
    image: Tensor, known: Tensor, groups: list[Tensor], within: Tensor, level: float
) -> Tensor:
    """Return what the groups say about the pixels of (C, Y, X), 0 where none holds."""
    channels = len(image)
    values = torch.stack([image, 1 - known], -1).flatten(1, 2).transpose(0, 1)
    total = values.new_zeros(len(values), channels)
    weight = values.new_zeros(len(values), 1)

    def estimate(part: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pixels = part[..., None] + within
        x, missing = values[pixels].flatten(2, 3).unbind(-1)
        estimates, certainty = _estimate(x, missing, level)
        weighted = (estimates * certainty).reshape(-1, channels)
        return pixels.flatten(), weighted, certainty.expand(pixels.shape).reshape(-1, 1)

    def add(estimated: tuple[Tensor, Tensor, Tensor]) -> None:
        pixels, weighted, certainty = estimated
        total.index_add_(0, pixels, weighted)
        weight.index_add_(0, pixels, certainty)

    for corners in groups:
        in_chunks(estimate, corners, channels * len(within), add)
    return (total / weight.clamp(min=1e-20)).T.reshape(image.shape)


def _estimate(x: Tensor, missing: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Return the estimate of groups, (groups, k, n), and its certainty."""
    mean = x.mean(dim=1, keepdim=True)
    power = (x - mean).mT @ (x - mean)
    noise = power.new_full((1, 1, 1), x.shape[1] * level**2)
    gain, certainty = patch_gain(power, noise)
    estimate = mean + (x - mean) @ gain
    for _ in range(REPEATS - 1):
        x = torch.addcmul(x, missing, estimate - x, value=RELAXATION)
        estimate = mean + (x - mean) @ gain
    return estimate, certainty
