"""Constraints that a JPEG file puts on the image it was made from.

A JPEG holds the 8 x 8 cosine transform of brightness and colour, rounded to multiples
of its quantisation tables (ITU-T T.81, 1992, A.3).  The image before compression is
therefore in a known convex set: every coefficient of it lies within half a step of the
stored one.  Nothing else is known, so a restoration may be any image of the set, and
none outside it.

Images here are (1, C, Y, X) in the units of the file, 0 to 255, with C 1 or 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior.operators import LUMA, constant, cosines, per_channel
from napari_dip.prior.terms import Term, weighted_mean

SIDE = 8
"""Pixels along a block."""

CORRECTIONS = 60
"""Corrections of a subsampled plane, each of which leaves no more than three quarters
of what is missing: less than 1e-7 of it in the end."""

ROUNDING = 0.5
"""How far beyond half a step a coefficient can have been: an encoder rounds pixels to
integers after it has converted their colours and averaged them."""

EXACT = 8.0
"""Largest distance from a multiple of its step that a decoder's roundings leave a
coefficient at: half a level for the components and half for the colours, all of one
sign over the 64 pixels of a block."""

FINEST = 6
"""Smallest step whose multiples can be recognised after decoding."""

_LEVEL = (128.0, 0.0, 0.0)
_YCBCR = (
    LUMA,
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)


def to_ycbcr(image: Tensor) -> Tensor:
    """Return Y, Cb - 128 and Cr - 128 of R, G and B (JFIF 1.02, 1992); gray as it is.

    The 128 that JPEG takes from every component before the transform is left out of Y
    as well.
    """
    if image.shape[1] == 3:
        image = torch.einsum("ij,njyx->niyx", constant(_YCBCR, image), image)
        return image - per_channel(constant(_LEVEL, image), image)
    return image - 128


def to_rgb(components: Tensor) -> Tensor:
    """Undo `to_ycbcr`."""
    if components.shape[1] == 3:
        inverse = torch.linalg.inv(constant(_YCBCR, components))
        level = per_channel(constant(_LEVEL, components), components)
        return torch.einsum("ij,njyx->niyx", inverse, components + level)
    return components + 128


@lru_cache(maxsize=8)
def _cosines(device: torch.device, dtype: torch.dtype) -> Tensor:
    return cosines(SIDE).to(device, dtype)


def transform(plane: Tensor) -> Tensor:
    """Return the cosine transform of every block of a plane, (N, Y, X).

    The sides are multiples of 8.  The transform is (N, Y / 8, 8, X / 8, 8): T.81's S_vu
    (A.3.3), rows then columns of blocks.
    """
    n, height, width = plane.shape
    blocks = plane.reshape(n, height // SIDE, SIDE, width // SIDE, SIDE)
    rows = _cosines(plane.device, plane.dtype)
    return torch.einsum("vy,naybx,ux->navbu", rows, blocks, rows)


def inverse_transform(coefficients: Tensor) -> Tensor:
    """Undo `transform`."""
    rows = _cosines(coefficients.device, coefficients.dtype)
    blocks = torch.einsum("vy,navbu,ux->naybx", rows, coefficients, rows)
    return blocks.flatten(3, 4).flatten(1, 2)


def _extend(plane: Tensor, multiples: tuple[int, int]) -> Tensor:
    """Repeat the last row and column of (N, Y, X) up to multiples along y and x."""
    down, right = (-n % m for n, m in zip(plane.shape[1:], multiples, strict=True))
    return F.pad(plane[None], (0, right, 0, down), mode="replicate")[0]


def subsample(plane: Tensor, factors: tuple[int, int]) -> Tensor:
    """Average (N, Y, X) over `factors` pixels along y and x, as encoders do."""
    extended = _extend(plane, factors)
    return F.avg_pool2d(extended[None], factors)[0]


def interpolate(plane: Tensor, factors: tuple[int, int]) -> Tensor:
    """Undo `subsample` as decoders do: every value weighs 3/4 in its own two pixels.

    The triangle filter of the IJG's library, which nearly all decoders follow.
    """
    for axis, factor in zip((1, 2), factors, strict=True):
        if factor == 2:
            n = plane.shape[axis]
            first, last = plane.narrow(axis, 0, 1), plane.narrow(axis, n - 1, 1)
            before = torch.cat([first, plane.narrow(axis, 0, n - 1)], axis)
            after = torch.cat([plane.narrow(axis, 1, n - 1), last], axis)
            pair = [0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after]
            plane = torch.stack(pair, axis + 1).flatten(axis, axis + 1)
    return plane


def _before_interpolation(plane: Tensor, factors: tuple[int, int]) -> Tensor:
    """Return the subsampled plane that a decoder made (N, Y, X) from.

    Averages of the interpolated plane are a blurred form of it; the blur keeps at
    least a quarter of every frequency, so correcting by what is missing converges.
    """
    if factors == (1, 1):
        return plane
    coarse = subsample(plane, factors)
    height, width = plane.shape[1:]
    for _ in range(CORRECTIONS):
        again = interpolate(coarse, factors)[:, :height, :width]
        coarse = coarse + subsample(plane - again, factors)
    return coarse


def reapplied(
    image: Tensor, tables: Sequence[Sequence[int]], factors: tuple[int, int]
) -> Tensor:
    """Return the mean of an image compressed again at the 64 shifts of the grid.

    Compression at another shift moves the image towards the set of images without the
    artifacts of the first grid (Nosratinia, Enhancement of JPEG-compressed images by
    re-application of JPEG, Journal of VLSI Signal Processing 27, 2001).  For the
    arguments see `cells`.
    """
    height, width = image.shape[2:]
    total = torch.zeros_like(image)
    padded = F.pad(image, (SIDE,) * 4, mode="replicate")
    for y in range(SIDE):
        for x in range(SIDE):
            again = _compressed(padded[:, :, y:, x:], tables, factors)
            top, left = SIDE - y, SIDE - x
            total += again[:, :, top : top + height, left : left + width]
    return total / SIDE**2


def _compressed(
    image: Tensor, tables: Sequence[Sequence[int]], factors: tuple[int, int]
) -> Tensor:
    """Return an image compressed and decoded, without the roundings of pixels."""
    height, width = image.shape[2:]
    planes = []
    for plane, size, steps in _components(image, tables, factors):
        small = subsample(plane, size)
        coefficients = _coefficients(small)
        rounded = inverse_transform((coefficients / steps).round() * steps)
        large = interpolate(rounded[:, : small.shape[1], : small.shape[2]], size)
        planes.append(large[:, :height, :width])
    return to_rgb(torch.stack(planes, 1))


def _components(
    image: Tensor, tables: Sequence[Sequence[int]], factors: tuple[int, int]
) -> Iterator[tuple[Tensor, tuple[int, int], Tensor]]:
    """Yield the planes of an image, their subsampling and steps of quantisation."""
    for i, plane in enumerate(to_ycbcr(image).unbind(1)):
        steps = image.new_tensor(tables[min(i, 1)]).reshape(1, 1, SIDE, 1, SIDE)
        yield plane, factors if i else (1, 1), steps


def _coefficients(plane: Tensor) -> Tensor:
    return transform(_extend(plane, (SIDE, SIDE)))


def _repeated(plane: Tensor, factors: Sequence[int]) -> Tensor:
    for axis, factor in zip((1, 2), factors, strict=True):
        plane = plane.repeat_interleave(factor, axis)
    return plane


@dataclass(frozen=True, eq=False)
class Component:
    """The cells of one component of a file."""

    factors: tuple[int, int]
    """Pixels along y and x that share a value."""
    centre: Tensor
    """Stored coefficients, (1, rows, 8, columns, 8)."""
    half: Tensor
    """Half the width of their cells, broadcasting over `centre`."""
    exact: Tensor
    """(1, rows, 1, columns, 1): 1 where the coefficients could be told from the pixels,
    else 0."""

    def coefficients(self, plane: Tensor) -> Tensor:
        """Return the coefficients of a plane at full resolution, (1, Y, X)."""
        return _coefficients(subsample(plane, self.factors))

    def outside(self, coefficients: Tensor, narrow: float = 1.0) -> Tensor:
        """Return by how much coefficients leave the middle of their cells, signed."""
        apart = coefficients - self.centre
        half = narrow * self.half
        return (apart - apart.clamp(-half, half)) * self.exact

    def reliable(self, coefficients: Tensor) -> Tensor:
        """Return coefficients that lie nearer to the stored ones, the less they tell.

        What a restoration spreads around the stored ones more than the image before
        compression did is its error.  Both are weighted by their inverse variances,
        frequency by frequency, and apart for those that were stored as zero.
        """
        apart = coefficients - self.centre
        weight = torch.ones_like(apart)
        for zero, lost in zip((True, False), self._lost(), strict=True):
            chosen = ((self.centre == 0) == zero) & (self.exact > 0)
            count = chosen.sum((0, 1, 3), keepdim=True).clamp(min=1)
            spread = (apart.square() * chosen).sum((0, 1, 3), keepdim=True) / count
            reliability = lost / torch.maximum(spread, lost)
            weight = torch.where(chosen, reliability, weight)
        return self.centre + weight * apart

    def _lost(self) -> tuple[Tensor, Tensor]:
        """Return the mean squares that compression took: of zeros, and of all others.

        Coefficients have a Laplace distribution (Lam, Goodman, A mathematical analysis
        of the DCT coefficient distributions for images, IEEE Transactions on Image
        Processing 9, 2000), whose width the part that is not zero tells.
        """
        even = self.half.square() / 3
        axes = (0, 1, 3)
        count = self.exact.sum(axes, keepdim=True)
        others = ((self.centre != 0) * self.exact).sum(axes, keepdim=True)
        # Where few are zero the decay is small, and plain formulas would cancel.
        decay = -torch.log1p((others - count - 0.5) / (count + 1))
        # 1 - exp(-d) (1 + d + d^2 / 2), by the CPU: not every device has the function.
        inner = torch.special.gammainc(torch.tensor(3.0), decay.cpu()).to(decay)
        zeros = 2 * (self.half / decay) ** 2 * inner / -torch.expm1(-decay)
        return torch.minimum(zeros, even), even

    def to(self, device: torch.device) -> Component:
        """Return the same on a device."""
        tensors = (self.centre, self.half, self.exact)
        return Component(self.factors, *(t.to(device) for t in tensors))


@dataclass(frozen=True, eq=False)
class Cells:
    """The set of images that a file can have been made from."""

    components: tuple[Component, ...]
    """Y, or Y, Cb and Cr."""
    share: float
    """Part of the coefficients, of those that are not zero and in blocks that are whole
    and not clipped, that are multiples of their steps to a quarter: about 1, and 0.5 by
    chance, with the tables of another file or shifted pixels."""
    blocks: float
    """Part of the blocks, of those that are whole and not clipped, all of whose
    coefficients are multiples of their steps."""

    def combine(self, image: Tensor) -> Tensor:
        """Return an image of the set: of a restored and the decoded image together.

        See `Component.reliable`.
        """
        planes = to_ycbcr(image)
        height, width = image.shape[2:]
        moved = []
        for c, plane in zip(self.components, planes.unbind(1), strict=True):
            coefficients = c.coefficients(plane)
            likely = c.reliable(coefficients)
            step = inverse_transform(coefficients - likely + c.outside(likely))
            moved.append(plane - _repeated(step, c.factors)[:, :height, :width])
        return to_rgb(torch.stack(moved, 1))

    def to(self, device: torch.device) -> Cells:
        """Return the same on a device."""
        moved = tuple(c.to(device) for c in self.components)
        return Cells(moved, self.share, self.blocks)

    def uncertain(self, sides: Sequence[int]) -> Tensor:
        """Return (1, components, Y, X), 1 where nothing is known of a component."""
        maps = []
        for c in self.components:
            blocks = 1 - c.exact[:, :, 0, :, 0]
            pixels = _repeated(blocks, [SIDE * factor for factor in c.factors])
            maps.append(pixels[:, : sides[0], : sides[1]])
        return torch.stack(maps, 1)


def cells(
    image: Tensor,
    known: Tensor,
    tables: Sequence[Sequence[int]],
    factors: tuple[int, int],
) -> Cells:
    """Find the cells that a whole decoded image, (1, C, Y, X), came from.

    `known` is 0 where it is missing.  The tables have 64 steps for Y and, for colours,
    64 for Cb and Cr, rows from the lowest frequencies; the factors are how many pixels
    along y and x share a value of Cb and Cr.
    """
    bad = (1 - known[:, 0]).double()
    clipped = ((image <= 0) | (image >= 255)).any(1).double()
    components, counts = [], torch.zeros(4, dtype=torch.float64)
    for plane, size, steps in _components(image.double(), tables, factors):
        coefficients = _coefficients(_before_interpolation(plane, size))
        centre = (coefficients / steps).round() * steps
        away = (coefficients - centre).abs()
        whole = _whole(bad, size)
        exact = whole * (away.amax((2, 4), keepdim=True) <= EXACT)
        unclipped = whole * _whole(clipped, size)
        # A decoder's roundings hide the multiples of smaller steps.
        telling = unclipped * (centre != 0) * (steps >= FINEST)
        right = telling * (away <= steps / 4)
        sums = [t.sum().cpu() for t in (right, telling, exact * unclipped, unclipped)]
        counts += torch.stack(sums)
        half = steps / 2 + ROUNDING
        components.append(Component(size, centre.float(), half.float(), exact.float()))
    right, telling, fitting, fair = counts.tolist()
    return Cells(
        tuple(components),
        right / telling if telling else 1.0,
        fitting / fair if fair else 1.0,
    )


def _whole(flawed: Tensor, factors: tuple[int, int]) -> Tensor:
    """Return (1, rows, 1, columns, 1), 1 for blocks with no flaw, inside the image."""
    sides = tuple(SIDE * f for f in factors)
    down, right = (-n % m for n, m in zip(flawed.shape[1:], sides, strict=True))
    padded = F.pad(flawed, (0, right, 0, down), value=1.0)
    whole = 1 - F.max_pool2d(padded[None], sides)[0]
    return whole[:, :, None, :, None]


@dataclass(frozen=True, eq=False)
class Constraints(Term):
    """How far an image is outside of what a file can have been made from.

    The squared distance of its coefficients from their cells, which is that of its
    Y, Cb and Cr from the set, as the transform is orthonormal.  Where blocks are cut
    off by the border, clipped or missing, their coefficients cannot be told from the
    pixels: there it is the squared error, with the weights of the fit.
    """

    cells: Cells
    offset: float = 0.0
    span: float = 255.0
    """Units of the file are ``offset + span * image``."""
    narrow: float = 1.0
    """Part of the cells, around their centres, that costs nothing.  Most coefficients
    lie nearer to the centre than to the end of their cell, as they are fewer the larger
    they are."""
    _placed: dict[torch.device, tuple[Cells, Tensor]] = field(
        default_factory=dict, repr=False
    )

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the squared error per value; stopping rules judge by it."""
        return (prediction - measurement).square()

    def mean(self, prediction: Tensor, measurement: Tensor, weight: Tensor) -> Tensor:
        """Return the loss."""
        device = prediction.device
        if device not in self._placed:
            placed = self.cells.to(device)
            self._placed[device] = placed, placed.uncertain(prediction.shape[2:])
        cells, uncertain = self._placed[device]
        planes = to_ycbcr(prediction * self.span + self.offset)
        total = prediction.new_zeros(())
        for c, plane in zip(cells.components, planes.unbind(1), strict=True):
            outside = c.outside(c.coefficients(plane), self.narrow)
            # A value shared by several pixels counts for all of them.
            total = total + outside.square().sum() * math.prod(c.factors)
        total = total / (prediction.numel() * self.span**2)
        loose = uncertain.amax(1, keepdim=True) * weight
        share = loose.mean()
        return total + share * weighted_mean(self(prediction, measurement), loose)
