"""Files that accompany an image: masks as people paint them, PSFs, guides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.io.image import Image
from napari_dip.io.regions import Regions
from napari_dip.tasks.arrays import longer_axes

GROUND = 3
"""White pixels of a gray mask, over its black ones, above which white is the ground."""

_INVERTED = 0.9
"""Marked part of a mask from which on it may be inverted."""


def mask_of(image: Image, name: str) -> tuple[NDArray[Any], str | None]:
    """Return the mask that an image stands for, nonzero where marked.

    A mask on a transparent layer is what was painted there, black or not.  Of colours,
    every one but black marks, or every one but white where more pixels are white.
    Compression with losses leaves small values around what was painted, so there a
    pixel is marked from the middle of the values on.

    Returns
    -------
    mask : ndarray
        The pixels without colours.
    note : str or None
        How the mask was understood, where not by one nonzero value alone, or where
        it may be inverted.

    Raises
    ------
    InputError
        If there is NaN and nothing that is 0: either could be what is marked.  If there
        are colours, and neither black nor white.
    """
    header = image.header
    plain = "S" not in header.axes and not header.lossy and image.alpha is None
    pixels: Any = image.data
    if plain and isinstance(pixels, Regions):
        return image.data, None  # too large to be looked at
    values, how = np.asarray(pixels), ""
    if "S" in header.axes and image.alpha is None:
        values, how = _painted(values, name, header.lossy)
    elif "S" in header.axes:
        values = values.max(axis=-1)
    if header.lossy:
        middle = (float(values.max()) + float(values.min())) / 2
        values = values > middle
        how = f"{how or 'values'} above {middle:g}, since compression has losses"
    if image.alpha is not None:
        painted = image.alpha > 0
        how = "what is not transparent"
        if values[painted].any() and not values[painted].all():
            painted &= values != 0
            how = "what is neither transparent nor black"
        values = painted
    marked = values != 0
    how = how or _several(values, marked, name)
    share = np.count_nonzero(marked) / marked.size
    if _INVERTED < share < 1 or (0.5 < share < 1 and _all_around(marked)):
        how = f"{how or 'what is not 0'}; invert the mask if the others are meant"
    if not how:
        return values, None
    return marked, f"{name}: {share:.1%} of the pixels are marked: {how}"


def _painted(colours: NDArray[Any], name: str, lossy: bool) -> tuple[NDArray[Any], str]:
    """Return how far colours are from that of the ground, and which that is, in words.

    Gray on black needs no words, and neither does one gray everywhere.  More than a
    half of a gray mask may be white: scattered pixels that are missing.
    """
    most, least = colours.max(axis=-1), colours.min(axis=-1)
    gray, full = (most == least).all(), most.max()
    from_white = full - least
    near = full // 8 if lossy else 0
    black, white = (int((away <= near).sum()) for away in (most, from_white))
    if gray and (GROUND * black >= white or least.min() == full):
        return most, ""
    if not (black or white):
        raise InputError(
            f"mask must be painted on black, white or a transparent layer; {name} has "
            "colours on another ground"
        )
    if black >= white:
        return most, "every colour but black"
    return from_white, "every colour but white"


def _several(values: NDArray[Any], marked: NDArray[np.bool_], name: str) -> str:
    """Return which values mark if there are several; raise if NaN leaves it open."""
    marks = values[marked]
    finite = marks[np.isfinite(marks)]
    if finite.size < marks.size:
        if marked.all():
            raise InputError(
                f"mask must be 0 where pixels are known; {name} has NaN or infinity, "
                "and no 0"
            )
        return "NaN and infinity" if not finite.size else "NaN and all values but 0"
    if not marked.all() and finite.size and finite.min() != finite.max():
        return f"all values but 0, from {finite.min():g} to {finite.max():g}"
    return ""


def _all_around(marked: NDArray[np.bool_]) -> bool:
    """Return whether all pixels at the border of planes are marked."""
    ends = marked[..., [0, -1], :], marked[..., [0, -1]]
    return all(bool(end.all()) for end in ends)


def psf_of(image: Image, name: str) -> NDArray[Any]:
    """Return a PSF, without the colours of a file that stores gray as RGB.

    One of planes that is stored as (Y, X, 1) loses that axis.

    Raises
    ------
    InputError
        If colours or channels differ: a PSF is one image.
    """
    axis = image.header.channel_axis
    if axis is None:
        longer = longer_axes(image.data.shape)
        plane = len(longer) == 2 and 1 in image.data.shape[-2:]
        return image.data.reshape(longer) if plane else image.data
    channels = np.moveaxis(image.data, axis, 0)
    if (channels != channels[0]).any():
        raise InputError(
            f"psf must be one image without channels; {name} has the axes "
            f"{image.header.axes} and the shape {image.data.shape}"
        )
    psf: NDArray[Any] = channels[0]
    return psf
