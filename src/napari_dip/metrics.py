"""Measures of image quality, among them those of the papers' tables.

Every function takes arrays of integers or floats and the range of their values,
`data_range`: the difference between the largest and the smallest value possible,
255 for 8-bit images, 1 for floats in [0, 1]. It may be left out for uint8 and
uint16 arrays, which then use all of their range; float arrays do not say what
their range is, so it must be given for them.

They raise an `InputError` where shapes do not fit, values are not finite, the range is
not known, or a mask or crop leaves nothing.
"""

from __future__ import annotations

import math
import operator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import as_array, check_finite, marked
from napari_dip.tasks.recipe import check_channel_axis

__all__ = [
    "blockiness",
    "psnr",
    "psnr_b",
    "psnr_luma",
    "psnr_mask",
    "ssim",
    "table_region",
]

Array = NDArray[np.float64]

WINDOW = 7
"""Side of the window of SSIM in pixels, scikit-image's default."""


def psnr(
    image: ArrayLike, truth: ArrayLike, *, data_range: float | None = None
) -> float:
    """Return the peak signal-to-noise ratio over all values.

    ``10 log10(data_range ** 2 / MSE)``, the mean squared error being over pixels
    and channels alike (second paper, section 5.1.1).

    Parameters
    ----------
    image, truth : array_like
        Images of one shape, with any number of axes.
    data_range : float, optional
        Largest possible value minus smallest; needed unless both are uint8 or
        both uint16.

    Returns
    -------
    float
        In dB; infinite for equal images.

    Raises
    ------
    InputError
        If shapes are unlike, values are not finite or the range is not known; a
        ValueError.
    """
    scaled = _scaled(data_range, image=image, truth=truth)
    return _psnr(scaled["image"], scaled["truth"])


def psnr_mask(
    image: ArrayLike,
    truth: ArrayLike,
    mask: ArrayLike,
    *,
    data_range: float | None = None,
) -> float:
    """Return the PSNR over the pixels of a mask.

    The squared error is averaged over all values that the mask selects, each
    channel of a pixel being one. (The second paper's ``psnr_masked`` divides the
    error of three channels by the pixels of one, which reads 4.77 dB lower.)

    Parameters
    ----------
    image, truth : array_like
        Images of one shape.
    mask : array_like
        Nonzero where pixels count. Of the shape of the images, or of that shape
        without its last axis, the channels.
    data_range : float, optional
        As for `psnr`.

    Returns
    -------
    float
        In dB; infinite where the images are equal.

    Raises
    ------
    InputError
        If shapes are unlike, values are not finite or the range is not known, or the
        mask has NaN or selects nothing; a ValueError.
    """
    scaled = _scaled(data_range, image=image, truth=truth)
    selected = marked(np.asarray(as_array(mask, "mask")))
    shape = scaled["image"].shape
    if selected.shape not in (shape, shape[:-1]):
        raise InputError(
            f"mask must have the images' shape {shape}, or {shape[:-1]}, one value "
            f"per pixel; got {selected.shape}"
        )
    if not selected.any():
        raise InputError("mask must be nonzero somewhere; got nothing but zeros")
    return _psnr(scaled["image"][selected], scaled["truth"][selected])


def psnr_luma(
    image: ArrayLike,
    truth: ArrayLike,
    *,
    data_range: float | None = None,
    crop: tuple[slice, slice] | None = None,
) -> float:
    """Return the PSNR of the luma of colour images, as super-resolution is measured.

    Luma is that of ITU-R BT.601 in limited range, for RGB in [0, 1] ::

        Y = (219 (0.299 R + 0.587 G + 0.114 B) + 16) / 255

    while the peak stays 1: 1.32 dB more than of luma in full range. Tables 1 and 2
    of the first paper (section 3.2) are PSNR of this kind within `table_region`.

    Parameters
    ----------
    image, truth : array_like
        (Y, X, 3), red, green, blue.
    data_range : float, optional
        As for `psnr`.
    crop : tuple of two slices, optional
        Rows and columns that count.

    Returns
    -------
    float
        In dB; infinite for equal images.

    Raises
    ------
    InputError
        If shapes are unlike, values are not finite or the range is not known, or the
        images have no three colours, or the crop leaves nothing; a ValueError.
    """
    scaled = _scaled(data_range, image=image, truth=truth)
    shape = scaled["image"].shape
    if len(shape) != 3 or shape[-1] != 3:
        raise InputError(f"images must be (Y, X, 3); got shape {shape}")
    luma = {name: rgb2ycbcr(array)[..., 0] / 255 for name, array in scaled.items()}
    if crop is not None:
        try:
            rows, columns = crop
            if not (isinstance(rows, slice) and isinstance(columns, slice)):
                raise TypeError  # numbers would leave a single pixel
            luma = {name: array[rows, columns] for name, array in luma.items()}
        except (IndexError, TypeError, ValueError):
            raise InputError(
                f"crop must be two slices, of rows and columns; got {crop!r}"
            ) from None
    if luma["image"].size == 0:
        raise InputError(
            f"crop must leave pixels of images of shape {shape}; got {crop}"
        )
    return _psnr(luma["image"], luma["truth"])


def table_region(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the region that Tables 1 and 2 of the first paper are measured in.

    The central crop to multiples of 32 pixels, without its first 4 and its last 5
    rows and columns. (From the authors' evaluation; recomputing the tables' rows
    with it meets them within 0.005 dB.)

    Parameters
    ----------
    shape : tuple of int
        Shape of the image, rows and columns first, 32 or more each.

    Returns
    -------
    tuple of two slices
        Rows and columns, for `psnr_luma`.

    Raises
    ------
    InputError
        If the shape is none of an image of so many pixels; a ValueError.
    """
    try:
        height, width = map(operator.index, shape[:2])
    except (TypeError, ValueError):
        raise InputError(f"shape must be that of an image; got {shape!r}") from None
    if min(height, width) < 32:
        raise InputError(f"shape must be of 32 x 32 pixels or more; got {shape}")
    sides = [side // 32 * 32 for side in (height, width)]
    first = [(height - sides[0]) // 2, (width - sides[1]) // 2]
    rows, columns = (
        slice(start + 4, start + side - 5)
        for start, side in zip(first, sides, strict=True)
    )
    return rows, columns


def ssim(
    image: ArrayLike,
    truth: ArrayLike,
    *,
    data_range: float | None = None,
    channel_axis: int | Literal["auto"] | None = "auto",
) -> float:
    """Return the structural similarity index.

    Wang, Bovik, Sheikh & Simoncelli, Image Quality Assessment, IEEE TIP 13(4),
    2004, by scikit-image with its defaults: a flat window of 7 pixels a side, the
    channels averaged. (The article's Gaussian window gives somewhat other values.)

    Parameters
    ----------
    image, truth : array_like
        Images of one shape; every axis but that of the channels is spatial and has
        at least 7 pixels.
    data_range : float, optional
        As for `psnr`.
    channel_axis : int, "auto" or None
        "auto": a last axis of 3 or 4 after two others holds channels.

    Returns
    -------
    float
        1 for equal images.

    Raises
    ------
    InputError
        If shapes are unlike, values are not finite or the range is not known, or the
        images are smaller than the window; a ValueError.
    """
    scaled = _scaled(data_range, image=image, truth=truth)
    shape = scaled["image"].shape
    axis = check_channel_axis(channel_axis)
    if isinstance(axis, str):
        axis = -1 if len(shape) > 2 and shape[-1] in (3, 4) else None
    if axis is not None and not -len(shape) <= axis < len(shape):
        raise InputError(
            f"channel_axis must be an axis of images of shape {shape}; got {axis}"
        )
    spatial = [
        side for i, side in enumerate(shape) if axis is None or i != axis % len(shape)
    ]
    if not spatial or min(spatial) < WINDOW:
        raise InputError(
            f"images must have at least {WINDOW} pixels along each spatial axis for "
            f"SSIM; got shape {shape}"
        )
    return float(
        structural_similarity(
            scaled["truth"],
            scaled["image"],
            win_size=WINDOW,
            data_range=1.0,
            channel_axis=axis,
        )
    )


def blockiness(image: ArrayLike, *, block: int = 8) -> float:
    """Return the blocking effect factor of an image.

    How much larger squared differences are between neighbours across the borders
    of a grid of blocks than between other neighbours (Yim & Bovik, Quality
    Assessment of Deblocked Images, IEEE TIP 20(1), 2011) ::

        BEF = eta max(D_border - D_inside, 0),  eta = log2(block) / log2(shorter side)

    The grid starts at the image's first row and column, as JPEG's does: crop by
    multiples of the block only. An image whose own edges lie along the grid reads
    as blocky too.

    Parameters
    ----------
    image : array_like
        (Y, X), or (Y, X, C), of which the channels are averaged.
    block : int
        Side of a block in pixels, 8 for JPEG's luma. Colours that were stored at
        half resolution have blocks of 16.

    Returns
    -------
    float
        In squared units of the image; 0 where there is no blocking.

    Raises
    ------
    InputError
        If the image is no larger than a block, or values are not finite; a ValueError.
    """
    array = _finite(image, "image")
    if array.ndim not in (2, 3):
        raise InputError(f"image must be (Y, X) or (Y, X, C); got shape {array.shape}")
    if not isinstance(block, (int, np.integer)) or block < 2:
        raise InputError(f"block must be an integer of at least 2; got {block!r}")
    if min(array.shape[:2]) <= block:
        raise InputError(
            f"image must have more than {block} rows and columns, one block; got "
            f"shape {array.shape}"
        )
    at_border, inside = [], []
    for axis in (0, 1):
        squares = np.moveaxis(np.diff(array, axis=axis) ** 2, axis, 0)
        # Difference i is between pixels i and i + 1; blocks end at block - 1.
        border = np.arange(1, len(squares) + 1) % block == 0
        at_border.append(squares[border].ravel())
        inside.append(squares[~border].ravel())
    excess = float(np.concatenate(at_border).mean() - np.concatenate(inside).mean())
    return math.log(block, min(array.shape[:2])) * max(excess, 0.0)


def psnr_b(
    image: ArrayLike,
    truth: ArrayLike,
    *,
    data_range: float | None = None,
    block: int = 8,
) -> float:
    """Return the PSNR with blocking counted as error, PSNR-B.

    ``10 log10(data_range ** 2 / (MSE + BEF))`` with the blocking effect factor of
    the image, `blockiness` (Yim & Bovik, IEEE TIP 20(1), 2011).
    The truth's own blocking is not taken off: compare methods on one image, not
    images.

    Parameters
    ----------
    image, truth : array_like
        Images of one shape, (Y, X) or (Y, X, C). JPEG is usually measured on luma.
    data_range : float, optional
        As for `psnr`.
    block : int
        Side of a block in pixels.

    Returns
    -------
    float
        In dB, at most that of `psnr`.

    Raises
    ------
    InputError
        If shapes are unlike, values are not finite or the range is not known, or the
        images are no larger than a block; a ValueError.
    """
    scaled = _scaled(data_range, image=image, truth=truth)
    error = np.mean((scaled["image"] - scaled["truth"]) ** 2)
    error += blockiness(scaled["image"], block=block)
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def _finite(value: ArrayLike, name: str) -> Array:
    array = np.asarray(as_array(value, name), np.float64)
    check_finite(array, name)
    return array


def _scaled(data_range: float | None, **images: ArrayLike) -> dict[str, Array]:
    """Return images of one shape as float64, divided by their range of values."""
    arrays = {name: as_array(value, name) for name, value in images.items()}
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(f"{' and '.join(arrays)} must have one shape; got {shapes}")
    dtypes = {np.dtype(array.dtype) for array in arrays.values()}
    if data_range is None:
        if dtypes not in ({np.dtype(np.uint8)}, {np.dtype(np.uint16)}):
            raise InputError(
                f"data_range must be given for images of dtype "
                f"{', '.join(sorted(map(str, dtypes)))}: the largest value possible "
                f"minus the smallest, such as 1 for values in [0, 1]; only uint8 and "
                f"uint16 images are taken to use all of their range"
            )
        data_range = float(np.iinfo(dtypes.pop()).max)
    elif (
        isinstance(data_range, bool)
        or not isinstance(data_range, (int, float, np.number))
        or not 0 < data_range < math.inf
    ):
        raise InputError(f"data_range must be a positive number; got {data_range!r}")
    return {name: _finite(array, name) / data_range for name, array in arrays.items()}


def _psnr(image: Array, truth: Array) -> float:
    with np.errstate(divide="ignore"):  # equal images: infinite
        return float(peak_signal_noise_ratio(truth, image, data_range=1.0))
