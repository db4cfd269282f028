"""Groups of similar patches of an image, and what is estimated of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior.threads import in_threads

R = TypeVar("R")

SMALLEST = 3
"""Pixels along a patch at least."""

PLANES = 2
"""Planes of a volume that a patch may be away from its reference."""

PATCHES = 1 << 24
"""Numbers of all the patches of a strip of the image, which is searched at once."""

ABREAST = 8
"""References side by side whose distances are computed by one product."""

CHUNK = 1 << 19
"""Numbers of the groups that are estimated at once on a CPU: they fit into a cache."""

CHUNK_ON_GPU = 1 << 24
"""The same on a GPU, which has to be given much to do at once."""

Groups = Iterable[tuple[slice, Tensor]]
"""Planes of a volume, and the first pixels in them of the patches of groups."""


@dataclass(frozen=True)
class Grouping:
    """How patches are grouped.

    Attributes
    ----------
    side : int
        Pixels along a patch.
    step : int
        Pixels from reference to reference, at most `side`.
    alike : int
        Patches of a group.
    window : int
        Pixels that a patch may be away from its reference, along each axis.
    taper : float
        How much less the borders of a patch count than its centre where patches are
        averaged: the parameter of a Kaiser window.  0 counts all pixels alike.
    """

    side: int
    step: int
    alike: int
    window: int
    taper: float = 0


def find_groups(search: Tensor, grouping: Grouping) -> Iterator[tuple[slice, Tensor]]:
    """Find the groups of similar patches of an image (C, Z, Y, X), strip by strip."""
    search = extended(search, grouping)
    for plane in range(search.shape[1]):
        first = max(plane - PLANES, 0)
        near = slice(first, plane + PLANES + 1)
        for corners in similar(search[:, near], grouping, plane - first):
            yield near, corners.int()  # half of the memory


def filter_groups(
    images: Tensor,
    groups: Groups,
    grouping: Grouping,
    estimates: Callable[..., Iterator[tuple[Tensor, Tensor]]],
) -> Tensor:
    """Estimate groups of similar patches of planes, and average what overlaps.

    Parameters
    ----------
    images : Tensor
        (N, C, Z, Y, X): N - 1 images and the variance of the noise.
    groups : iterable
        What `find_groups` finds in an image of these sides.  Pixels that none of them
        holds become NaN.
    grouping : Grouping
        How patches were grouped.
    estimates : callable
        Called with the groups of the N - 1 images, each (groups, patches, values), and
        the mean variance of the noise in them, (groups, 1, 1).  Yields estimates of the
        patches, of the shape of a group, and their certainties, (groups, patches, 1) or
        (groups, 1, 1).

    Returns
    -------
    Tensor
        (C, Z, Y, X): mean of the estimates, in each of which a pixel is the average
        over all patches that hold it, weighted by their certainties and the taper.
    """
    channels, depth, *sides = images.shape[1:]
    side = grouping.side
    images = extended(images, grouping)
    height, width = images.shape[3:]
    size = depth * height * width
    channel = size * torch.arange(channels, device=images.device)
    line = torch.arange(side, device=images.device)
    within = (channel[:, None, None] + line[:, None] * width + line).flatten()
    taper = torch.kaiser_window(side + 2, False, grouping.taper).to(images)[1:-1]
    tapers = torch.outer(taper, taper).flatten().repeat(channels)
    values = images[:-1].flatten(1)
    # Mean variance of the patch that begins at a pixel.
    level = F.pad(images[-1].mean(dim=0), [0, side - 1] * 2)
    level = F.avg_pool2d(level[:, None], side, 1).flatten()
    # Of every estimate: sums over all patches that hold a pixel, and the weights of the
    # patches that begin there.
    totals: dict[int, Tensor] = {}
    weights: dict[int, Tensor] = {}

    def estimate(part: Tensor) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
        pixels = (part[..., None] + within).flatten()
        patches = [
            image.index_select(0, pixels).reshape(*part.shape, -1) for image in values
        ]
        first = part.flatten().long()
        noise = level.index_select(0, first).reshape(*part.shape, 1)
        pairs = [
            ((estimate * weight * tapers).flatten(), weight.expand(*part.shape, 1))
            for estimate, weight in estimates(*patches, noise.mean(1, keepdim=True))
        ]
        return first, pixels, pairs

    def add(estimated: tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]) -> None:
        first, pixels, pairs = estimated
        for i, (weighted, weight) in enumerate(pairs):
            if i not in totals:
                totals[i] = images.new_zeros(channels * size)
                weights[i] = images.new_zeros(size)
            totals[i].scatter_add_(0, pixels, weighted)
            weights[i].scatter_add_(0, first, weight.flatten())

    for near, corners in groups:
        corners = corners + near.start * height * width
        in_chunks(estimate, corners, channels * side**2, add)
    averages = []
    for i, total in totals.items():
        weight = weights[i].reshape(depth, height, width)
        weight = spread(spread(weight, taper, 1), taper, 2)[:, :height, :width]
        averages.append(total.reshape(channels, depth, height, width) / weight)
    return torch.stack(averages).mean(dim=0)[..., : sides[0], : sides[1]]


def spread(weights: Tensor, taper: Tensor, axis: int) -> Tensor:
    """Return the weights of pixels, by those of the patches that begin at a pixel."""
    shape = list(weights.shape)
    count = shape[axis]
    shape[axis] = count + len(taper) - 1
    result = weights.new_zeros(shape)
    for start, part in enumerate(taper.tolist()):
        result.narrow(axis, start, count).add_(weights, alpha=part)
    return result


def in_chunks(
    compute: Callable[[Tensor], R],
    corners: Tensor,
    values: int,
    use: Callable[[R], None],
) -> None:
    """Compute something of groups, as many at once as suit the device, and use it.

    Parameters
    ----------
    compute : callable
        Called with the first pixels of the patches of some of the groups.
    corners : Tensor
        First pixels of the patches of all groups, (groups, patches).
    values : int
        Values of a patch.
    use : callable
        Called with what `compute` returned, as by `threads.in_threads`.
    """
    chunk = max(chunk_size(corners.device) // (corners.shape[1] * values), 1)
    in_threads(compute, corners.split(chunk), use, corners.device)


def chunk_size(device: torch.device) -> int:
    """Return how many numbers are computed at once on a device."""
    return CHUNK if device.type == "cpu" else CHUNK_ON_GPU


def as_volume(image: Tensor) -> Tensor:
    """Return an image (1, C, Y, X) or (1, C, Z, Y, X) as (C, Z, Y, X)."""
    return image.reshape(image.shape[1], -1, *image.shape[-2:])


def patch_side(values: int, channels: int) -> int:
    """Return the pixels along a patch of about so many values."""
    return max(round(math.sqrt(values / channels)), SMALLEST)


def extended(images: Tensor, grouping: Grouping) -> Tensor:
    """Return images (..., Y, X), extended to references up to the far borders."""
    *others, height, width = images.shape
    below, right = (-(n - grouping.side) % grouping.step for n in (height, width))
    flat = images.reshape(1, -1, height, width)
    padded = F.pad(flat, [0, right, 0, below], mode="reflect")
    return padded.reshape(*others, height + below, width + right)


def similar(pilot: Tensor, grouping: Grouping, own: int = 0) -> Iterator[Tensor]:
    """Yield the first pixels of the patches of every group, counted plane by plane.

    Parameters
    ----------
    pilot : Tensor
        Planes (C, Z, Y, X) in which patches are compared.
    grouping : Grouping
        How patches are grouped.
    own : int
        Number of the plane that has the references.
    """
    side, step = grouping.side, grouping.step
    channels, depth, height, width = pilot.shape
    down, right = height - side, width - side
    reach = min(grouping.window, max(down, right))
    around = 2 * reach + 1
    alike = min(grouping.alike, depth * (down + 1) * (right + 1))
    columns = torch.arange(0, right + 1, step, device=pilot.device)
    blocks = -(-len(columns) // ABREAST)
    # Candidates of a block of references along x, and of all blocks.
    span = (ABREAST - 1) * step + around
    wide = (blocks - 1) * ABREAST * step + span
    values = channels * side**2
    # Without the mean, rounding errors are smaller.
    pilot = pilot - pilot.mean()

    def candidates(first: int, last: int) -> Tensor:
        """Return patches that begin in some rows, each with its squared norm."""
        low, high = max(first, 0), min(last, down) + 1
        strip = pilot[:, :, low : high + side - 1].transpose(0, 1)
        windows = strip.unfold(2, side, 1).unfold(3, side, 1)
        table = pilot.new_zeros(depth, last - first + 1, wide, values + 1)
        # What is beyond the borders is far from everything.
        table[..., values] = torch.inf
        inside = table[:, low - first : high - first, reach : reach + right + 1]
        patches = inside[..., :values]
        windows = windows.permute(0, 2, 3, 1, 4, 5)
        patches.unflatten(-1, (channels, side, side)).copy_(windows)
        inside[..., values] = patches.square().sum(dim=-1)
        return table

    def nearest(table: Tensor, top: int, rows: range) -> Tensor:
        """Return the groups of the references in some rows of the image."""
        # Of the table: the first rows of their windows.
        lines = slice(rows[0] - top, rows[-1] - top + 1, step)
        # |a - b|^2 without |a|^2, which all candidates of a reference have in common.
        references = -2 * table[own, reach:, reach : wide - reach : step][lines]
        references[..., values] = 1
        references = references.unflatten(1, (blocks, ABREAST))
        shape = (len(rows), blocks, ABREAST, depth, around, around)
        distance = table.new_empty(shape)
        for plane in range(depth):
            for y in range(around):
                block = table[plane, y:][lines].unfold(1, span, ABREAST * step)
                products = (references @ block).flatten(2)
                distance[..., plane, y, :] = products.unfold(2, around, span + step)
        # The reference itself is always in its group.
        distance[..., own, reach, reach] = -torch.inf
        distance = distance.reshape(len(rows), blocks * ABREAST, -1)[:, : len(columns)]
        index = distance.topk(alike, largest=False, sorted=False).indices
        at_y, at_x = index // around, index % around - reach
        first = torch.tensor(rows, device=pilot.device)[:, None, None]
        first = first + at_y // around * height + at_y % around - reach
        return (first * width + at_x + columns[:, None]).flatten(0, 1)

    distances = depth * blocks * ABREAST * around**2
    # On a CPU that is one row, which needs no copy of the patches.
    at_once = max(chunk_size(pilot.device) // 8 // distances, 1)
    numbers = depth * wide * (values + 1)
    lines = max((PATCHES // numbers - around) // step, 1) * step
    for top in range(0, down + 1, lines):
        rows = range(top, min(top + lines, down + 1), step)
        table = candidates(top - reach, rows[-1] + reach)
        groups: list[Tensor] = []
        parts = [rows[i : i + at_once] for i in range(0, len(rows), at_once)]
        in_threads(partial(nearest, table, top), parts, groups.append, pilot.device)
        yield torch.cat(groups)
