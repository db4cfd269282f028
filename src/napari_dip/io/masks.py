"""Files that accompany an image: masks as people paint them, PSFs, guides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.io.image import Image


def mask_of(image: Image, name: str) -> tuple[NDArray[Any], str | None]:
    """Return the mask that an image stands for, nonzero where marked.

    A mask on a transparent layer is what was painted there, black or not.  Of colours,
    every one but black marks.  Compression with losses leaves small values around what
    was painted, so there a pixel is marked from the middle of the values on.

    Returns
    -------
    mask : ndarray
        The pixels without colours.
    note : str or None
        How the mask was understood, where not by nonzero values alone.
    """
    values, how = image.data, ""
    if "S" in image.header.axes or image.header.lossy or image.alpha is not None:
        values = np.asarray(values)  # as a whole, even where it was opened lazily
    if "S" in image.header.axes:
        colours, values = values, values.max(axis=-1)
        if (colours != values[..., None]).any():
            how = "every colour but black"
    if image.header.lossy:
        middle = (float(values.max()) + float(values.min())) / 2
        values = values > middle
        how = f"values above {middle:g}, since compression has losses"
    if image.alpha is not None:
        painted = image.alpha > 0
        if values[painted].all() or not values[painted].any():
            values, how = painted, "what is not transparent"
        else:
            values, how = (
                painted & (values != 0),
                "what is neither transparent nor black",
            )
    if not how:
        return values, None
    share = np.count_nonzero(values) / values.size
    return values, f"{name}: {share:.1%} of the pixels are marked: {how}"


def psf_of(image: Image, name: str) -> NDArray[Any]:
    """Return a PSF, without the colours of a file that stores gray as RGB.

    Raises
    ------
    InputError
        If colours or channels differ: a PSF is one image.
    """
    axis = image.header.channel_axis
    if axis is None:
        return image.data
    channels = np.moveaxis(image.data, axis, 0)
    if (channels != channels[0]).any():
        raise InputError(
            f"psf must be one image without channels; {name} has the axes "
            f"{image.header.axes} and the shape {image.data.shape}"
        )
    psf: NDArray[Any] = channels[0]
    return psf
