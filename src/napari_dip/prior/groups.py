"""Groups of similar patches of an image, and what is estimated of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior import interrupt
from napari_dip.prior.threads import in_threads

R = TypeVar("R")

SMALLEST = 3
"""Pixels along a patch at least."""

PLANES = 2
"""Planes of a volume that a patch may be away from its reference."""

DISTANCES = 1 << 24
"""Distances between patches that are held at once."""

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
    """

    side: int
    step: int
    alike: int
    window: int


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
        What `find_groups` finds in an image of these sides.
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
        over all patches that hold it, weighted by their certainties.
    """
    channels, depth, *sides = images.shape[1:]
    side = grouping.side
    images = extended(images, grouping)
    height, width = images.shape[3:]
    size = depth * height * width
    channel = size * torch.arange(channels, device=images.device)
    within = (channel[:, None] + offsets_in_patch(side, width, images.device)).flatten()
    # Sums over all patches, of every estimate.
    totals: dict[int, Tensor] = {}
    weights: dict[int, Tensor] = {}

    def add(estimated: tuple[Tensor, list[tuple[Tensor, Tensor]]]) -> None:
        index, pairs = estimated
        for i, (estimate, certainty) in enumerate(pairs):
            for sums, added in (
                (totals, estimate * certainty),
                (weights, certainty.expand(estimate.shape)),
            ):
                sums.setdefault(i, images.new_zeros(channels * size))
                sums[i].scatter_add_(0, index, added.flatten())

    def estimate_strip(near: slice, corners: Tensor) -> None:
        take = _patches(images[:, :, near], corners, side)
        skipped = near.start * height * width

        def estimate(part: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
            *patches, noise = take(part)
            index = (part[..., None] + skipped + within).flatten()
            return index, list(estimates(*patches, noise.mean(dim=1, keepdim=True)))

        in_chunks(estimate, corners, channels * side**2, add)

    for near, corners in groups:
        estimate_strip(near, corners)
    # Every pixel is in a reference patch, so that no weight is zero.
    averages = torch.stack([totals[i] / weights[i] for i in totals])
    image = averages.mean(dim=0).reshape(channels, depth, height, width)
    return image[..., : sides[0], : sides[1]]


def _patches(
    images: Tensor, corners: Tensor, side: int
) -> Callable[[Tensor], list[Tensor]]:
    """Return a function that gives the patches of some of the groups.

    It takes their first pixels, (groups, patches), and returns the patches of the N - 1
    images, (groups, patches, values), and their mean variances, (groups, patches, 1).

    Parameters
    ----------
    images : Tensor
        (N, C, Z, Y, X): N - 1 images and the variance of the noise.
    corners : Tensor
        First pixels of the patches of all groups.
    side : int
        Pixels along a patch.
    """
    height, width = images.shape[3:]
    rows = corners // width % height
    top, end = int(rows.min()), int(rows.max()) + side
    strip = images[..., top:end, :].transpose(1, 2)
    # All patches of the strip, one a row.
    values = [F.unfold(image, side).mT.flatten(0, 1) for image in strip[:-1]]
    level = F.avg_pool2d(strip[-1].mean(dim=1, keepdim=True), side, 1)
    values.append(level.reshape(-1, 1))
    lines, columns = end - top - side + 1, width - side + 1

    def take(part: Tensor) -> list[Tensor]:
        row = part // width
        row = row // height * lines + row % height - top
        number = (row * columns + part % width).flatten()
        return [v.index_select(0, number).unflatten(0, part.shape) for v in values]

    return take


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
    numbers = CHUNK if corners.device.type == "cpu" else CHUNK_ON_GPU
    chunk = max(numbers // (corners.shape[1] * values), 1)
    in_threads(compute, corners.split(chunk), use, corners.device)


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


def offsets_in_patch(side: int, width: int, device: torch.device) -> Tensor:
    """Return the pixels of a patch, counted from its first along rows of `width`."""
    line = torch.arange(side, device=device)
    return (line[:, None] * width + line).flatten()


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
    _, depth, height, width = pilot.shape
    down, right = height - side, width - side
    reach = min(grouping.window, max(down, right))
    offsets = torch.arange(-reach, reach + 1, device=pilot.device)
    columns = torch.arange(0, right + 1, step, device=pilot.device)
    alike = min(grouping.alike, depth * (down + 1) * (right + 1))
    # Every row of the padded image as it is seen at every offset along x.
    moved = F.pad(pilot, [reach] * 4).unfold(-1, width, 1)
    # On a CPU so few offsets at once that their distances stay in the cache.
    numbers = CHUNK // 8 if pilot.device.type == "cpu" else CHUNK_ON_GPU
    lines = max(DISTANCES // (depth * len(offsets) ** 2 * len(columns)), 1) * step

    def distances(top: int, rows: int) -> Tensor:
        high = (rows - 1) * step + side
        references = pilot[:, own : own + 1, top : top + high, None]
        together = max(numbers // (depth * references.numel()), 1)
        size = [depth, len(offsets), len(offsets), rows, len(columns)]
        distance = pilot.new_empty(size)

        def compare(y: int) -> None:
            for x in range(0, len(offsets), together):
                there = moved[:, :, top + y : top + y + high, x : x + together]
                square = (there - references).square_()
                square = square.sum(dim=0) if len(square) > 1 else square[0]
                # Column sums first: they are shared by the patches of a row.  Pooling
                # takes ten times as long.
                error = square[:, : rows * step].unflatten(1, (rows, step)).sum(dim=2)
                for row in range(step, side):
                    error += square[:, row::step][:, :rows]
                error = F.avg_pool2d(error, (1, side), (1, step)).transpose(1, 2)
                distance[:, y, x : x + together] = error

        in_threads(compare, range(len(offsets)), lambda _: None, pilot.device)
        return distance

    for top in range(0, down + 1, lines):
        rows = torch.arange(top, min(top + lines, down + 1), step, device=pilot.device)
        distance = distances(top, len(rows))
        at_y = offsets[:, None] + rows
        at_x = offsets[:, None] + columns
        inside = ((at_y >= 0) & (at_y <= down))[:, None, :, None]
        inside = inside & ((at_x >= 0) & (at_x <= right))[:, None]
        distance.masked_fill_(~inside, torch.inf)
        interrupt.check()
        # The reference itself is always in its group.
        distance[own, reach, reach] = -1
        nearest = distance.flatten(0, 2).topk(alike, dim=0, largest=False, sorted=False)
        line, column = nearest.indices // len(offsets), nearest.indices % len(offsets)
        first = rows[:, None] + offsets[line % len(offsets)]
        first = line // len(offsets) * height + first
        yield (first * width + columns + offsets[column]).flatten(1).T
