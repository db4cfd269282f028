"""Patches, blocks and the finest detail of images, which show their noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy  # whose modules load on first use
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from napari_dip.prior import interrupt
from napari_dip.tasks.arrays import Float

Mask = NDArray[np.bool_]
"""Where the values of an image hold noise; of its shape, with or without the channels.
None in its place is everywhere."""

PATCH_SIDE = 7
"""Pixels along the patches that tell the noise."""

SAMPLES = 100_000
"""Patches that are enough for a covariance."""

LONE = 0.3
"""Scaled difference from which on a pixel may stand out from its neighbours."""

SURE = 6.0
"""Difference, over the deviation of the noise, from which on such a pixel does."""

MAD_TO_SIGMA = 1.4826
"""Standard deviation of normal values over the median of their absolute deviations
(Hampel, The influence curve and its role in robust estimation, JASA 69, 1974)."""

SPECTRUM = 8
"""Side of the blocks whose spectrum is looked at."""

FINEST = slice(5, 8)
"""The finest frequencies of such a block along an axis, in half periods of it."""

MEDIUM = slice(2, 5)
"""Three frequencies of a block that are less fine, along an axis."""

_ORDER = np.add.outer(np.arange(SPECTRUM), np.arange(SPECTRUM))
MIDDLE = (_ORDER >= 3) & (_ORDER <= 4)
"""Frequencies of a block whose half periods along both axes together are 3 or 4."""

SPECTRA = 50_000
"""Blocks whose spectra are enough."""

FEWEST_SPECTRA = 32
"""Fewest blocks whose spectra tell anything."""

FEWEST_PATCHES = 100
"""Patches below which the masked pixels are looked at, too."""

ENOUGH_PIXELS = 1_000_000
"""Pixels of planes that patches are taken from."""


def spread_patches(values: Float, usable: Mask | None) -> NDArray[np.float64]:
    """Return up to `SAMPLES` patches spread over an image, (n, channels, values).

    Patches with pixels that are not `usable`, (Y, X) or (Z, Y, X), are left out,
    unless hardly any others are there.
    """
    # Planes of a volume are samples of the same patch statistics.
    planes = values.reshape(len(values), -1, *values.shape[-2:])
    if usable is None:
        usable = np.ones(planes.shape[1:], bool)
    masks = usable.reshape(planes.shape[1:])
    rows, columns = (n - PATCH_SIDE + 1 for n in values.shape[-2:])
    enough = -(-ENOUGH_PIXELS // (rows * columns))
    if len(masks) > enough:
        count = masks.sum(axis=(1, 2))
        full = np.flatnonzero(2 * count >= count.max())
        enough = min(enough, len(full))
        chosen = full[(np.arange(enough) * 2 + 1) * len(full) // (2 * enough)]
        planes, masks = planes[:, chosen], masks[chosen]
    places = np.arange(len(masks) * rows * columns)
    if not masks.all():
        clear = np.flatnonzero(clear_patches(masks))
        if len(clear) >= FEWEST_PATCHES:
            places = clear
    places = places[:: -(-len(places) // SAMPLES)]
    return patches_at(planes, PATCH_SIDE, places)


def clear_patches(masks: Mask) -> Mask:
    """Return which patches of planes, (N, Y, X), have only usable pixels."""
    down = sliding_window_view(masks, PATCH_SIDE, axis=1).all(axis=-1)
    return np.asarray(sliding_window_view(down, PATCH_SIDE, axis=2).all(axis=-1))


def patches_at(
    planes: NDArray[Any], side: int, places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return patches of images (C, N, Y, X), (n, C, side ** 2).

    `places` number the first pixels of all patches, plane by plane and row by row.
    """
    views = sliding_window_view(planes, (side, side), axis=(2, 3))
    z, y, x = np.unravel_index(places, views.shape[1:4])
    chosen = np.moveaxis(views[:, z, y, x], 0, 1)
    return chosen.reshape(len(places), -1, side * side).astype(np.float64)


def cut_blocks(image: NDArray[Any], side: int, step: int | None = None) -> NDArray[Any]:
    """Cut the planes of a channel into (n, side, side) blocks, the incomplete left out.

    They are `step` pixels apart, or side by side.
    """
    planes = image.reshape(-1, *image.shape[-2:])
    views = sliding_window_view(planes, (side, side), axis=(1, 2))
    return views[:, :: step or side, :: step or side].reshape(-1, side, side)


def block_spectra(
    values: Float, usable: Mask | None, side: int = SPECTRUM
) -> NDArray[np.float64]:
    """Return the power of blocks of all channels at every frequency of their DCT.

    They are (n, side, side), of the blocks that hold noise throughout.  Those with next
    to nothing in their finest detail are left out: they are saturated.  There are none
    where they would be fewer than `FEWEST_SPECTRA`.
    """
    step = spectra_step(values, side)
    powers = []
    for plane, mask in planes_of(values, usable):
        whole = cut_blocks(mask, side, step).all(axis=(1, 2))
        blocks = cut_blocks(plane, side, step)[whole]
        powers.append(scipy.fft.dctn(blocks, axes=(1, 2), norm="ortho") ** 2)
    power = np.concatenate(powers)
    if len(power) < FEWEST_SPECTRA:
        return np.empty((0, side, side))
    finest = finest_power(power)
    noisy: NDArray[np.float64] = power[finest > 1e-2 * np.median(finest)]
    return noisy


def spectra_step(values: Float, side: int = SPECTRUM) -> int:
    """Return the pixels between blocks of an image whose spectra are looked at."""
    most = SPECTRA * SPECTRUM**2 // side**2
    return max(SPECTRUM // 2, math.isqrt(values.size // most))


def finest_power(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean power of the finest frequencies of blocks, (n,)."""
    finest = slice(_coarser(power.shape[-1]), None)
    mean: NDArray[np.float64] = power[:, finest, finest].mean(axis=(1, 2))
    return mean


def _coarser(side: int) -> int:
    """Return how many frequencies of a block, along an axis, are not the finest."""
    return side * FINEST.start // SPECTRUM


def white_noise(power: float, part: float, side: int = SPECTRUM) -> float:
    """Return the variance of white noise by the `finest_power` of its blocks.

    That is less than `power` in a part of them.
    """
    count = (side - _coarser(side)) ** 2
    return float(power * count / (2 * scipy.special.gammaincinv(count / 2, part)))


def planes_of(
    values: Float, usable: Mask | None
) -> list[tuple[NDArray[np.float64], Mask]]:
    """Return every plane of every channel, and where it holds noise."""
    planes = values.reshape(-1, *values.shape[-2:]).astype(np.float64)
    if usable is None:
        usable = np.ones(values.shape, bool)
    masks = np.broadcast_to(usable, values.shape).reshape(planes.shape)
    return list(zip(planes, masks, strict=True))


def high_pass(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a high-pass of an image that has the noise's own variance.

    The kernel is the difference of two Laplacians (Immerkaer, Fast noise variance
    estimation, 1996), blind to planes and to straight edges along the axes.
    """
    interrupt.check()
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], float) / 6
    return np.asarray(scipy.ndimage.convolve(plane, kernel, mode="reflect"))


def inner(mask: Mask) -> Mask:
    """Return where a high-pass of 3 x 3 pixels sees nothing but usable ones."""
    seen: Mask = mask if mask.all() else scipy.ndimage.minimum_filter(mask, 3)
    return seen


def block_noise(values: Float, side: int) -> NDArray[np.float64]:
    """Return mean and variance of the noise of all blocks, (2, planes, blocks).

    The variance is that of `high_pass`.
    """
    statistics = []
    for plane, _ in planes_of(values, None):
        means = cut_blocks(plane, side).mean(axis=(1, 2))
        variances = cut_blocks(high_pass(plane), side).var(axis=(1, 2))
        statistics.append((means, variances))
    return np.stack(statistics, axis=1)


def noisy_blocks(values: Float, usable: Mask | None, side: int) -> Mask:
    """Return of which blocks all pixels seen are usable, (planes, blocks)."""
    masks = [cut_blocks(inner(mask), side) for _, mask in planes_of(values, usable)]
    usable_blocks: Mask = np.stack([mask.all(axis=(1, 2)) for mask in masks])
    return usable_blocks


def neighbour_limits(channel: Float) -> tuple[Float, Float]:
    """Return the least and the largest of the eight neighbours of every pixel."""
    around = np.ones((1,) * (channel.ndim - 2) + (3, 3), bool)
    around[..., 1, 1] = False
    low: Float = scipy.ndimage.minimum_filter(channel, footprint=around)
    high: Float = scipy.ndimage.maximum_filter(channel, footprint=around)
    return low, high


def lone_pixels(channel: Float, low: Float, high: Float) -> Mask:
    """Return which pixels of a channel differ from all their neighbours.

    They are brighter than the brightest or darker than the darkest of the eight, the
    `neighbour_limits`, by `LONE` and by `SURE` times the noise, as hot and dead pixels
    are.
    """
    planes = [plane for plane, _ in planes_of(channel, None)]
    noise = [MAD_TO_SIGMA * np.median(np.abs(high_pass(plane))) for plane in planes]
    wide = channel.astype(np.float64)
    apart = np.maximum(wide - high, low - wide).reshape(-1, *channel.shape[-2:])
    lone: Mask = apart > np.maximum(LONE, SURE * np.reshape(noise, (-1, 1, 1)))
    return lone.reshape(channel.shape)
