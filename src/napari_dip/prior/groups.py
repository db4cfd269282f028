"""Groups of similar patches of an image, and what is estimated of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior.threads import in_threads

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
"""Numbers of the groups that are estimated at once on a GPU, which needs more."""

Groups = Iterable[tuple[slice, Tensor]]
"""Planes of a volume, and the first pixels in them of the patches of groups."""


@dataclass(frozen=True)
class Grouping:
    """How patches are grouped."""

    side: int
    """Pixels along a patch."""
    step: int
    """Pixels from reference to reference, at most `side`."""
    group_size: int
    """Patches of a group."""
    window: int
    """Pixels that a patch may be away from its reference, along each axis."""
    taper: float = 0
    """How much less the borders of a patch count than its centre where patches are
    averaged: the parameter of a Kaiser window.  0 counts all pixels alike."""


def find_groups(search: Tensor, grouping: Grouping) -> Iterator[tuple[slice, Tensor]]:
    """Find the groups of similar patches of an image (C, Z, Y, X), strip by strip."""
    search = extended(search, grouping)
    for plane in range(search.shape[1]):
        first = max(plane - PLANES, 0)
        near = slice(first, plane + PLANES + 1)
        for corners in Search(search[:, near], grouping, plane - first).groups():
            yield near, corners.int()  # half of the memory


def filter_groups(
    images: Tensor,
    groups: Groups,
    grouping: Grouping,
    estimates: Callable[..., Iterator[tuple[Tensor, Tensor]]],
) -> Tensor:
    """Estimate groups of similar patches of planes, and average what overlaps.

    The images, (N, C, Z, Y, X), are N - 1 images and the variance of the noise.
    `estimates` is called with the groups of these, each (groups, patches, values), and
    the mean variance of the noise in them, (groups, 1, 1); it yields estimates of the
    patches, of the shape of a group, and their certainties, (groups, patches, 1) or
    (groups, 1, 1).

    What is returned, (C, Z, Y, X), is the mean of the estimates, in each of which a
    pixel is the average over all patches that hold it, weighted by their certainties
    and the taper.  A pixel that no group holds is NaN.
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
        count = max(chunk_size(images.device) // (corners.shape[1] * len(within)), 1)
        in_threads(estimate, corners.split(count), add, images.device)
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


class Search:
    """The search for groups of similar patches in the planes of a pilot, (C, Z, Y, X).

    The plane of the number `own` has the references.
    """

    def __init__(self, pilot: Tensor, grouping: Grouping, own: int = 0) -> None:
        # Without the mean, rounding errors are smaller.
        self.pilot, self.own = pilot - pilot.mean(), own
        self.side, self.step = grouping.side, grouping.step
        channels, self.depth, height, self.width = pilot.shape
        self.values = channels * self.side**2
        self.height = height
        self.down, self.right = height - self.side, self.width - self.side
        self.reach = min(grouping.window, max(self.down, self.right))
        self.around = 2 * self.reach + 1
        patches = self.depth * (self.down + 1) * (self.right + 1)
        self.group_size = min(grouping.group_size, patches)
        self.columns = torch.arange(0, self.right + 1, self.step, device=pilot.device)
        self.blocks = -(-len(self.columns) // ABREAST)
        # Candidates of a block of references along x, and of all blocks.
        self.span = (ABREAST - 1) * self.step + self.around
        self.wide = (self.blocks - 1) * ABREAST * self.step + self.span

    def groups(self) -> Iterator[Tensor]:
        """Yield the groups of the references in some rows, from the top.

        Groups are the first pixels of their patches, counted plane by plane.
        """
        device = self.pilot.device
        distances = self.depth * self.blocks * ABREAST * self.around**2
        # On a CPU that is one row, which needs no copy of the patches.
        at_once = max(chunk_size(device) // 8 // distances, 1)
        numbers = self.depth * self.wide * (self.values + 1)
        lines = max((PATCHES // numbers - self.around) // self.step, 1) * self.step
        for top in range(0, self.down + 1, lines):
            rows = range(top, min(top + lines, self.down + 1), self.step)
            table = self.candidates(top - self.reach, rows[-1] + self.reach)
            groups: list[Tensor] = []
            parts = [rows[i : i + at_once] for i in range(0, len(rows), at_once)]
            in_threads(partial(self.nearest, table, top), parts, groups.append, device)
            yield torch.cat(groups)

    def candidates(self, first: int, last: int) -> Tensor:
        """Return patches that begin in some rows, each with its squared norm."""
        side, pilot, right = self.side, self.pilot, self.right
        low, high = max(first, 0), min(last, self.down) + 1
        strip = pilot[:, :, low : high + side - 1].transpose(0, 1)
        windows = strip.unfold(2, side, 1).unfold(3, side, 1)
        shape = (self.depth, last - first + 1, self.wide, self.values + 1)
        table = pilot.new_zeros(shape)
        # What is beyond the borders is far from everything.
        table[..., -1] = torch.inf
        columns = slice(self.reach, self.reach + right + 1)
        inside = table[:, low - first : high - first, columns]
        patches = inside[..., :-1]
        patches.unflatten(-1, (-1, side, side)).copy_(windows.permute(0, 2, 3, 1, 4, 5))
        inside[..., -1] = patches.square().sum(dim=-1)
        return table

    def nearest(self, table: Tensor, top: int, rows: range) -> Tensor:
        """Return the groups of the references in some rows of the image.

        The windows of the references in row `top` begin with the table.
        """
        own, reach, around, step = self.own, self.reach, self.around, self.step
        # Of the table: the first rows of their windows.
        lines = slice(rows[0] - top, rows[-1] - top + 1, step)
        # |a - b|^2 without |a|^2, which all candidates of a reference have in common.
        references = -2 * table[own, reach:, reach : self.wide - reach : step][lines]
        references[..., -1] = 1
        references = references.unflatten(1, (self.blocks, ABREAST))
        shape = (len(rows), self.blocks, ABREAST, self.depth, around, around)
        distance = table.new_empty(shape)
        for plane in range(self.depth):
            for y in range(around):
                row = table[plane, y:][lines]
                block = row.unfold(1, self.span, ABREAST * step)
                products = (references @ block).flatten(2)
                products = products.unfold(2, around, self.span + step)
                distance[..., plane, y, :] = products
        # The reference itself is always in its group.
        distance[..., own, reach, reach] = -torch.inf
        distance = distance.reshape(len(rows), self.blocks * ABREAST, -1)
        distance = distance[:, : len(self.columns)]
        index = distance.topk(self.group_size, largest=False, sorted=False).indices
        at_y, at_x = index // around, index % around - reach
        first = torch.tensor(rows, device=table.device)[:, None, None]
        first = first + at_y // around * self.height + at_y % around - reach
        return (first * self.width + at_x + self.columns[:, None]).flatten(0, 1)
