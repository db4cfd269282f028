"""Missing pixels estimated from similar patches, of which other pixels are missing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior.collaborative import PATCH_VALUES, patch_gain
from napari_dip.prior.groups import (
    Grouping,
    Search,
    as_volume,
    extended,
    filter_groups,
    patch_side,
)

GROUP_SIZE = 60
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


def fill_from_similar(
    image: Tensor, known: Tensor, values: int = PATCH_VALUES
) -> Tensor:
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
    grouping = Grouping(side, min(STEP, side), GROUP_SIZE, WINDOW)
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
    # Whether a pixel is missing in the patch that begins at a pixel.
    incomplete = F.max_pool2d(F.pad(1 - known[:1], [0, side - 1] * 2), side, 1)
    incomplete = incomplete.flatten() > 0
    if not incomplete.any():
        return image[:, :height, :width]
    groups: list[tuple[slice, Tensor]] = []
    for number, level in enumerate(levels):
        if number % SEARCH_EVERY == 0:
            # Groups that nothing is missing in have nothing to fill.
            chosen = [
                corners[incomplete[corners].any(dim=1)]
                for corners in Search(image[:, None], grouping).groups()
            ]
            groups = [(slice(0, 1), corners) for corners in chosen if len(corners)]
        images = torch.stack([image, 1 - known, torch.full_like(image, level**2)])
        estimated = filter_groups(images[:, :, None], groups, grouping, _estimates)
        image = torch.where(known > 0, image, estimated[:, 0])
    return image[:, :height, :width]


def _estimates(
    x: Tensor, missing: Tensor, noise: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    mean = x.mean(dim=1, keepdim=True)
    power = (x - mean).mT @ (x - mean)
    gain, certainty = patch_gain(power, x.shape[1] * noise)
    estimate = mean + (x - mean) @ gain
    for _ in range(REPEATS - 1):
        x = torch.addcmul(x, missing, estimate - x, value=RELAXATION)
        estimate = mean + (x - mean) @ gain
    yield estimate, certainty
