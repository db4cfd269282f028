"""Collaborative filtering: similar patches of an image are estimated together."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior import interrupt
from napari_dip.prior.wiener import in_noise_units

VALUES = 49
"""Values of a patch, about: 7 x 7 pixels of one channel, 4 x 4 of three.  Larger
patches blur colour texture, smaller ones find the wrong partners in gray noise."""

SMALLEST = 3
"""Pixels along a patch at least."""

ALIKE = 100
"""Patches of a group: 64 are 0.02 dB worse, 200 are no better."""

WINDOW = 15
"""Pixels that a patch may be away from its reference, along each axis."""

STEP = 6
"""Pixels from reference to reference, at most the side of a patch: a third of the time
of 3 for 0.01 dB."""

STRIP = 1 << 14
"""References that are compared at once: each with a thousand candidates."""

CHUNK = 1 << 21
"""Numbers of the groups that are estimated at once."""


def collaborative_filter(noisy: Tensor, pilot: Tensor, variance: Tensor) -> Tensor:
    """Estimate groups of similar patches, found in an estimate of the image.

    Around every sixth pixel the most similar patches of the pilot are taken as a
    group.  With X and Y the groups of the pilot and of the noisy image, one patch a
    row, k patches of n values, and s^2 the variance of the noise, two estimates are
    made and averaged, each patch weighted by the inverse of the noise left in it:

    - every patch as a combination of all, ``A^T Y`` with
      ``A = (X X^T + n s^2 I)^-1 X X^T``;
    - every value as a combination of all of its patch, ``m + (Y - m) B`` with m the
      mean patch, Z = X - m and ``B = (Z^T Z + k s^2 I)^-1 Z^T Z``.

    Parameters
    ----------
    noisy, pilot : Tensor
        float32, (1, C, Y, X) or (1, C, Z, Y, X), of which every plane is filtered
        by itself; 16 pixels a side or more along Y and X.
    variance : Tensor
        Variance of the noise, of the same shape; the noise must be independent between
        pixels and channels.  In a group its mean counts.

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
    unit, noisy, pilot, variance = in_noise_units(noisy, pilot, variance)
    channels, *sides = noisy.shape[1:]
    images = torch.stack([noisy, pilot, variance])
    planes = images.reshape(3, channels, -1, *sides[-2:]).unbind(2)
    filtered = torch.stack([_filter_plane(plane) for plane in planes], dim=1)
    return filtered.reshape(noisy.shape) * unit


def _filter_plane(images: Tensor) -> Tensor:
    """Filter (3, C, Y, X): noisy image, pilot and variance."""
    channels, *sides = images.shape[1:]
    side, step, images = patches(images, STEP)
    height, width = images.shape[2:]
    columns = width - side + 1
    plane = height * width * torch.arange(channels, device=images.device)
    within = (plane[:, None] + offsets_in_patch(side, width, images.device)).flatten()
    # Estimate by estimate: sums of values, then of certainties.
    totals = images.new_zeros(2, channels * height * width)
    weights = images.new_zeros(2, channels * height * width)
    chunk = max(CHUNK // (ALIKE * channels * side**2), 1)
    for corners in similar(images[1], side, step, ALIKE, WINDOW):
        top = int(corners.min()) // width
        end = int(corners.max()) // width + side
        noisy, pilot, level = _patches(images[:, :, top:end], side)
        for part in corners.split(chunk):
            interrupt.check()
            number = (part // width - top) * columns + part % width
            y, x, noise = (
                rows.index_select(0, number.flatten()).unflatten(0, part.shape)
                for rows in (noisy, pilot, level)
            )
            noise = noise.mean(dim=1)[:, None, None]
            index = (part[..., None] + within).flatten()
            for total, weight, (estimate, certainty) in zip(
                totals, weights, _estimates(y, x, noise), strict=True
            ):
                certain = certainty.expand(estimate.shape)
                total.scatter_add_(0, index, (estimate * certainty).flatten())
                weight.scatter_add_(0, index, certain.flatten())
    # Every pixel is in a reference patch, so that no weight is zero.
    image = (totals / weights).mean(dim=0).reshape(channels, height, width)
    return image[:, : sides[0], : sides[1]]


def _patches(images: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the patches of noisy image and pilot, (n, values), and their variances."""
    noisy, pilot = F.unfold(images[:2], side).mT.contiguous()
    level = F.avg_pool2d(images[2].mean(dim=0, keepdim=True), side, 1)
    return noisy, pilot, level.flatten()


def patches(images: Tensor, step: int, values: int = VALUES) -> tuple[int, int, Tensor]:
    """Return side and step of patches, and images extended to hold a whole number.

    Parameters
    ----------
    images : Tensor
        (N, C, Y, X): images of C channels each.
    step : int
        Pixels from reference to reference, if patches are as large.
    values : int
        Values of a patch, about.
    """
    channels, *sides = images.shape[1:]
    side = max(round((values / channels) ** 0.5), SMALLEST)
    step = min(step, side)
    # References up to the far border.
    below, right = (-(n - side) % step for n in sides)
    return side, step, F.pad(images, [0, right, 0, below], mode="reflect")


def offsets_in_patch(side: int, width: int, device: torch.device) -> Tensor:
    """Return the pixels of a patch, counted from its first along rows of `width`."""
    line = torch.arange(side, device=device)
    return (line[:, None] * width + line).flatten()


def similar(
    pilot: Tensor, side: int, step: int, alike: int, window: int
) -> Iterator[Tensor]:
    """Yield the first pixels of the patches of every group, (references, patches).

    Parameters
    ----------
    pilot : Tensor
        Image (C, Y, X) in which patches are compared.
    side, step : int
        Pixels along a patch, and from reference to reference.
    alike : int
        Patches of a group.
    window : int
        Pixels that a patch may be away from its reference, along each axis.
    """
    _, height, width = pilot.shape
    down, right = height - side, width - side
    reach = min(window, max(down, right))
    offsets = torch.arange(-reach, reach + 1, device=pilot.device)
    columns = torch.arange(0, right + 1, step, device=pilot.device)
    alike = min(alike, (down + 1) * (right + 1))
    padded = F.pad(pilot, [reach] * 4)
    lines = max(STRIP // len(columns), 1) * step
    for top in range(0, down + 1, lines):
        rows = torch.arange(top, min(top + lines, down + 1), step, device=pilot.device)
        high = (len(rows) - 1) * step + side
        references = pilot[:, top : top + high]
        distance = pilot.new_empty(*[len(offsets)] * 2, len(rows), len(columns))
        for y in range(len(offsets)):
            interrupt.check()
            for x in range(len(offsets)):
                there = padded[:, top + y : top + y + high, x : x + width]
                # Column sums first: they are shared by the patches of a row.
                error = (there - references).square_().sum(dim=0)[None, None]
                error = F.avg_pool2d(error, (side, 1), (step, 1))
                distance[y, x] = F.avg_pool2d(error, (1, side), (1, step))[0, 0]
        at_y = offsets[:, None] + rows
        at_x = offsets[:, None] + columns
        inside = ((at_y >= 0) & (at_y <= down))[:, None, :, None]
        inside = inside & ((at_x >= 0) & (at_x <= right))[:, None]
        distance.masked_fill_(~inside, torch.inf)
        # The reference itself is always in its group.
        distance[reach, reach] = -1
        nearest = distance.flatten(0, 1).topk(alike, dim=0, largest=False, sorted=False)
        first = rows[:, None] + offsets[nearest.indices // len(offsets)]
        second = columns + offsets[nearest.indices % len(offsets)]
        yield (first * width + second).flatten(1).T


def _estimates(y: Tensor, x: Tensor, noise: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
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
    inverse, level = regularised_inverse(power, count * noise)
    gain = identity - level * inverse
    left = gain.square().sum(dim=(1, 2), keepdim=True)
    yield mean + (y - mean) @ gain, (1 / left.clamp(min=0.1)).expand(-1, count, -1)


def regularised_inverse(power: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(power + level I)^-1`` of symmetric matrices, and the level.

    It is raised where rounding errors would decide.
    """
    trace = power.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
    identity = torch.eye(power.shape[-1], dtype=power.dtype, device=power.device)
    level = level + 3e-7 * trace + 1e-12
    factor, failed = torch.linalg.cholesky_ex(power + level * identity)
    for part in (1e-4, 1e-2, 1):
        # Without noise, and patches all alike, rounding errors make it indefinite.
        if failed.any():
            level = level + part * trace * (failed[:, None, None] > 0)
            factor, failed = torch.linalg.cholesky_ex(power + level * identity)
    return torch.cholesky_inverse(factor), level
