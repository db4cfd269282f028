"""Regions of an image that hold one value, and so no noise."""

from __future__ import annotations

import math

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.prior import interrupt

LEAST_CONSTANT = 5
"""Side of the smallest square of one value that counts as constant."""

LARGE_CONSTANT = 15
"""Side of squares that are hardly ever of one value by chance."""

FEW_VALUES = 32
"""Different values of an image up to which they may be counts of few photons."""

OFTEN = 0.3
"""Part of the pixels outside of regions from which on the lowest value is a count."""

BY_CHANCE = 1e-6
"""Probability below which a square of one value is no accident of the noise."""

RUN = LEAST_CONSTANT**2
"""Pixels of one value in a row at the border that count as constant, or three quarters
of the border."""

CORNER = 3
"""Side of a square of one value that counts as constant in a corner of the image."""

RARE = 0.01
"""Part of the other pixels up to which a value is hardly ever next to a constant region
by chance."""


def completed(
    channel: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fill the missing pixels of constant regions; also return where these are.

    A missing pixel is in one if the next known pixels on both sides along its row, or
    along its column, have the region's value; in a corner of the image, where these are
    on one side only, those of both.
    """
    known = np.isfinite(channel)
    if known.all() or not known.any():
        return channel, constant_regions(channel)
    filled = np.where(known, channel, np.nan)
    rows, columns = (_around(filled, axis) for axis in (-1, -2))
    for before, after in (rows, columns):
        np.copyto(filled, before, where=~known & (before == after))
    along, across = (np.where(np.isnan(a), b, a) for a, b in (rows, columns))
    at_corner = np.isnan(rows).any(axis=0) & np.isnan(columns).any(axis=0)
    np.copyto(filled, along, where=~known & at_corner & (along == across))
    region = constant_regions(filled, float(known.mean()))
    return np.where(region, filled, channel), region


def _around(channel: NDArray[np.float64], axis: int) -> list[NDArray[np.float64]]:
    """Return the last value along an axis up to every pixel, and the first from it on.

    NaN does not count, and is returned where there is nothing else.
    """
    lines = channel.swapaxes(axis, -1)
    ends = _last(lines), _last(lines[..., ::-1])[..., ::-1]
    return [end.swapaxes(axis, -1) for end in ends]


def _last(lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the last value up to every pixel along the last axis, NaN left out."""
    places = np.where(np.isnan(lines), 0, np.arange(lines.shape[-1]))
    return np.take_along_axis(lines, np.maximum.accumulate(places, axis=-1), -1)


def constant_regions(
    channel: NDArray[np.float64], known: float = 1.0
) -> NDArray[np.bool_]:
    """Find regions of exactly one value, which hold no noise.

    Borders left by registration, stitching and round fields of view, saturation, and
    what was cut away are like this.  In images of few photons, or with a background
    that was clipped, small squares of one value arise by chance: a value that takes
    a part p of the other pixels fills a square of side k with probability
    ``p ** (k * k)``, and only squares with a probability below `BY_CHANCE` count.  Dim
    places of few photons have more zeros than others: that there are none is measured.

    Thin borders are in no square: long rows of one value along the border of the image
    count too, and small squares in its corners.  Where a value is `RARE` elsewhere, so
    does what is connected to all these, as the pixels along a round outline are.  Every
    plane of a volume is looked at by itself; NaN is never constant.  Only the part
    `known` of the pixels tells something, where others have been filled.
    """
    channel = np.where(np.isfinite(channel), channel, np.nan)
    if not any(equal.any() for equal in _equal_neighbours(channel)):  # as if noisy
        return np.zeros(channel.shape, bool)
    region = _squares(channel, known)
    region |= _at_border(channel, region)
    return _grown(channel, region) if region.any() else region


def _squares(channel: NDArray[np.float64], known: float) -> NDArray[np.bool_]:
    """Return the squares of one value that are no accident."""
    region = _uniform(channel, LEAST_CONSTANT, LEAST_CONSTANT)
    if not region.any():
        return region
    finite = channel[np.isfinite(channel)]
    values = np.unique(channel[region])
    counts = _counts(finite, values)
    in_large = _counts(
        channel[_uniform(channel, LARGE_CONSTANT, LARGE_CONSTANT)], values
    )
    elsewhere = np.maximum(len(finite) - in_large, 1)
    part = np.clip((counts - in_large) / elsewhere, 1e-12, 1 - 1e-12)
    sides = np.ceil(np.sqrt(math.log(BY_CHANCE) / np.log(part) / known))
    sides = np.maximum(sides, LEAST_CONSTANT)
    lowest = finite.min()
    if values[0] == lowest and part[0] > OFTEN and _are_few(finite):
        sides[0] = LARGE_CONSTANT + 1
    if finite.max() == lowest:
        sides[:] = LEAST_CONSTANT  # nothing but one value, whatever the size
    region = np.zeros(channel.shape, bool)
    for side in range(LEAST_CONSTANT, LARGE_CONSTANT + 1):
        chosen = values[sides == side]
        if chosen.size:
            region |= _uniform(channel, side, side) & np.isin(channel, chosen)
    return region


def _counts(
    pixels: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return how many of some pixels have each value; the values rise."""
    chosen = np.sort(pixels[np.isin(pixels, values)])
    return np.diff(np.searchsorted(chosen, values, "right"), prepend=0)


def _are_few(pixels: NDArray[np.float64]) -> bool:
    first = np.unique(pixels[:10_000])  # that is quick
    return len(first) <= FEW_VALUES and len(np.unique(pixels)) <= FEW_VALUES


def _at_border(
    channel: NDArray[np.float64], region: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return rows at the border, and squares in corners, that are no accident."""
    height, width = channel.shape[-2:]
    long = [min(RUN, -(-3 * side // 4)) for side in (height, width)]
    ends = [(slice(n), slice(-n, None)) for n in range(1, LEAST_CONSTANT)]
    parts = [(end, slice(None), n, long[1]) for n, e in enumerate(ends, 1) for end in e]
    parts += [
        (slice(None), end, long[0], n) for n, e in enumerate(ends, 1) for end in e
    ]
    corner = ends[CORNER - 1]
    parts += [(y, x, CORNER, CORNER) for y in corner for x in corner]
    border = np.zeros(channel.shape, bool)
    for y, x, *sides in parts:
        border[..., y, x] |= _uniform(channel[..., y, x], *sides)
    values, part = _elsewhere(channel, border | region)
    least = min(*long, CORNER**2)
    chance = values[part**least < BY_CHANCE]
    return border & np.isin(channel, chance)


def _grown(
    channel: NDArray[np.float64], region: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return a region and what is connected to it, of values rare elsewhere."""
    grown, before = region.copy(), np.zeros_like(region)
    rows, columns = _equal_neighbours(channel)
    for _ in range(RUN):  # what is thin for longer is a row
        if (grown == before).all():
            break
        before = grown.copy()
        grown[..., 1:, :] |= before[..., :-1, :] & rows
        grown[..., :-1, :] |= before[..., 1:, :] & rows
        grown[..., 1:] |= before[..., :-1] & columns
        grown[..., :-1] |= before[..., 1:] & columns
    values, part = _elsewhere(channel, grown)
    return region | (grown & np.isin(channel, values[part <= RARE]))


def _equal_neighbours(
    channel: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where a pixel equals the next one along y, and along x."""
    return (
        channel[..., 1:, :] == channel[..., :-1, :],
        channel[..., 1:] == channel[..., :-1],
    )


def _elsewhere(
    channel: NDArray[np.float64], region: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values in a region, and which part of the other pixels each takes."""
    values = np.unique(channel[region])
    others = channel[~region & np.isfinite(channel)]
    return values, _counts(others, values) / max(len(others), 1)


def _uniform(channel: NDArray[np.float64], *sides: int) -> NDArray[np.bool_]:
    """Return where a pixel lies in a rectangle of one value, of sides along y and x."""
    interrupt.check()
    for side, equal in zip(sides, _equal_neighbours(channel), strict=True):
        pairs = math.prod(sides) // side * (side - 1)  # in one rectangle
        if np.count_nonzero(equal) < pairs:  # as in most images
            return np.zeros(channel.shape, bool)
    size = (*[1] * (channel.ndim - 2), *sides)
    # There is no rectangle beyond the border, nor where pixels are missing.
    low = np.nan_to_num(channel, nan=-np.inf)
    high = np.nan_to_num(channel, nan=np.inf)
    low = scipy.ndimage.minimum_filter(low, size, mode="constant", cval=-np.inf)
    high = scipy.ndimage.maximum_filter(high, size, mode="constant", cval=np.inf)
    uniform = (low == high) & (low == channel)
    origin = [-1 if side % 2 == 0 else 0 for side in size]
    return np.asarray(scipy.ndimage.maximum_filter(uniform, size, origin=origin))
