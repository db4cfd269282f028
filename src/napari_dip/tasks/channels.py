"""Which channels of an image show the same things, and so are fitted together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.tasks.plane import Plane

REACH = 2
"""Pixels around a value that it is predicted from."""

TILE = 8
"""Side of the squares that are compared as independent of each other."""

FEWEST = 12
"""Squares below which nothing can be said."""

FILLING = 1.5
"""Standard deviation in pixels of the mean that missing pixels are filled with."""

STRIP = 1 << 18
"""Pixels that are looked at at once."""

SCALES = (1, 2, 4)
"""Sides in pixels of the squares whose means are compared: means have less noise."""

TOGETHER = 0.02
"""Correlation of what two channels hold beyond their own surroundings that counts, for
pixels; for means times the side of their squares, as chance correlates fewer more."""

CERTAIN = 3.0
"""Standard errors by which that of pixels must differ from zero, for `FEW_PAIRS`."""

CERTAIN_MEANS = 4.0
"""Standard errors by which that of means must: smooth structures overlap by chance."""

FEW_PAIRS = 3
"""Pairs of channels from which on chance must be less likely: of many pairs that have
nothing in common, some seem to."""


def groups(plane: Plane) -> tuple[tuple[int, ...], ...]:
    """Group the channels that help to predict each other.

    What the surroundings of a value in its own channel do not tell about it is noise
    and structure.  The noise of two channels is independent (or they are fitted as
    one anyway), so where these rests are correlated, one channel shows structure
    that the other holds, too.  All channels are related where the image is too small to
    tell; a channel without noise in most places is by itself.
    """
    known = plane.known > 0
    # Surroundings may hold scattered missing pixels, which are filled, but no holes.
    holes = scipy.ndimage.binary_opening(~known, _square(plane.known.ndim, 3))
    whole = ~plane.constant & ~holes
    values = [_filled(channel, known) for channel in plane.values]
    joined = np.arange(len(values))
    for side in SCALES:
        if len(set(joined.tolist())) > 1:
            _join(
                joined,
                [_means(channel, side) for channel in values],
                [_means(usable, side) == 1 for usable in whole],
                _means(known, side) > 0,
                side,
            )
    return tuple(
        tuple(np.flatnonzero(joined == label).tolist())
        for label in dict.fromkeys(joined.tolist())
    )


def _join(
    joined: NDArray[np.intp],
    values: Sequence[NDArray[np.float64]],
    whole: Sequence[NDArray[np.bool_]],
    known: NDArray[np.bool_],
    side: int,
) -> None:
    """Give the channels that are related at a scale the same label in `joined`."""
    around = _square(known.ndim, 2 * REACH + 1)
    residuals = [_residual(v, w & known) for v, w in zip(values, whole, strict=True)]
    pairs = len(residuals) * (len(residuals) - 1) / 2
    certain = CERTAIN if side == 1 else CERTAIN_MEANS
    # So many standard errors are as unlikely for one of all pairs.
    certain = math.sqrt(certain**2 + 2 * math.log(max(pairs / FEW_PAIRS, 1)))
    for first in range(len(residuals)):
        for second in range(first):
            if joined[first] == joined[second]:
                continue
            both = whole[first] & whole[second]
            inner = scipy.ndimage.binary_erosion(both, around) & known
            # A channel that is mostly constant would lend others its lack of noise.
            mostly = 2 * int((both & known).sum()) > int(known.sum())
            pair = residuals[first], residuals[second]
            if _related(*pair, inner, side, certain, unknown=mostly):
                joined[joined == joined[first]] = joined[second]


def _means(image: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Return the means of squares of `side` pixels a side; incomplete ones are cut."""
    squares = _in_squares(image, side)
    return np.asarray(squares.mean(axis=(-3, -1), dtype=np.float64))


def _in_squares(image: NDArray[Any], side: int) -> NDArray[Any]:
    """Return whole squares of an image, (..., rows, side, columns, side)."""
    height, width = (n // side for n in image.shape[-2:])
    cut = image[..., : height * side, : width * side]
    return cut.reshape(*image.shape[:-2], height, side, width, side)


def _square(ndim: int, side: int) -> NDArray[np.bool_]:
    return np.ones((*[1] * (ndim - 2), side, side), bool)


def _filled(
    values: NDArray[np.float32], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return a channel, its missing pixels filled with the mean of those nearby."""
    image = values.astype(np.float64)
    if known.all():
        return image
    sigma = (*[0] * (image.ndim - 2), FILLING, FILLING)
    near = scipy.ndimage.gaussian_filter(image * known, sigma)
    weight = scipy.ndimage.gaussian_filter(known.astype(np.float64), sigma)
    return np.where(known, image, near / np.maximum(weight, 1e-3))


def _residual(
    image: NDArray[np.float64], usable: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what is left of a channel after linear prediction from surroundings.

    The prediction is the least-squares one at the usable values.  Those at opposite
    places around a value count alike, and beyond the border the image is repeated.
    """
    if not usable.any():
        return np.zeros_like(image)
    image = image - image[usable].mean()
    shifts = [
        (y, x)
        for y in range(-REACH, REACH + 1)
        for x in range(-REACH, REACH + 1)
        if (y, x) > (0, 0)
    ]
    total, moments = np.zeros(1 + len(shifts)), np.zeros((1 + len(shifts),) * 2)
    for part, chosen in _strips(image, usable):
        # The values themselves, then the sums of their opposite surroundings.
        height, width = chosen.shape
        rows = [
            part[REACH + y : REACH + y + height, REACH + x : REACH + x + width]
            + part[REACH - y : REACH - y + height, REACH - x : REACH - x + width]
            for y, x in shifts
        ]
        centre = part[REACH : REACH + height, REACH : REACH + width]
        flat = np.stack([row[chosen] for row in (centre, *rows)])
        total += flat.sum(axis=1)
        moments += flat @ flat.T
    mean = total / np.count_nonzero(usable)
    moments -= np.outer(total, mean)
    gram = moments[1:, 1:]
    gram[np.diag_indices(len(gram))] += 1e-6 * np.trace(gram) / len(gram) + 1e-12
    weights = np.linalg.solve(gram, moments[1:, 0])
    kernel = np.zeros((2 * REACH + 1,) * 2)
    for (y, x), weight in zip(shifts, weights, strict=True):
        kernel[REACH + y, REACH + x] = kernel[REACH - y, REACH - x] = weight
    kernel = kernel.reshape(*[1] * (image.ndim - 2), *kernel.shape)
    constant = mean[0] - weights @ mean[1:]
    residual: NDArray[np.float64] = (
        image - scipy.ndimage.correlate(image, kernel, mode="wrap") - constant
    )
    return residual


def _strips(
    image: NDArray[np.float64], usable: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Yield strips of every plane, `REACH` pixels wider, and which values are usable.

    The features of a whole plane would take twelve times its memory.
    """
    height, width = image.shape[-2:]
    rows = max(STRIP // width, 1)
    planes = image.reshape(-1, height, width)
    for plane, chosen in zip(planes, usable.reshape(planes.shape), strict=True):
        padded = np.pad(plane, REACH, mode="wrap")
        for top in range(0, height, rows):
            yield padded[top : top + rows + 2 * REACH], chosen[top : top + rows]


def _related(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    inner: NDArray[np.bool_],
    side: int,
    certain: float,
    *,
    unknown: bool,
) -> bool:
    """Return whether two residuals are correlated, judged from square to square.

    They are if that is `certain` standard errors from zero.  Where pixels are too few
    to tell the answer is `unknown`.
    """
    products = _in_squares(first * second * inner, TILE)
    product, powers = (a.sum(axis=(-3, -1)) for a in (products, np.abs(products)))
    power = ((first**2) * inner).sum() * ((second**2) * inner).sum()
    product, powers = product[powers > 0], powers[powers > 0]
    if len(product) < FEWEST or power == 0:
        return side == 1 and unknown
    error = product.std() * len(product) ** 0.5
    correlation = abs(product.sum()) / power**0.5
    sure = abs(product.sum()) > certain * error
    return bool(correlation > side * TOGETHER and sure)
