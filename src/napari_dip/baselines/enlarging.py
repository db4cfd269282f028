"""Interpolation with the kernels of image processing programs."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_dip.baselines.common import each_plane, filled_plane, read
from napari_dip.tasks.arrays import Float, Index
from napari_dip.tasks.recipe import check


def bicubic(
    image: Any,
    factor: int,
    *,
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Enlarge by cubic convolution.

    Parameters
    ----------
    image, channel_axis, spatial_dims
        As in `nlm`.
    factor : int
        How many times more pixels along every spatial axis, 2 or more.

    Returns
    -------
    ndarray
        float32, larger than `image`.  Pixel i has its centre at ``(i + 1/2) / factor
        - 1/2`` of the input's pixels.  It may overshoot the range of the input.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.

    Notes
    -----
    Keys, Cubic Convolution Interpolation for Digital Image Processing (1981), with
    a = -0.5 and the border repeated: what MATLAB's imresize gives, and so the bicubic
    column of tables of super-resolution.
    """
    return _enlarge(image, factor, channel_axis, spatial_dims, "BICUBIC")


def lanczos(
    image: Any,
    factor: int,
    *,
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Enlarge with Lanczos' kernel of three lobes.

    Parameters
    ----------
    image, factor, channel_axis, spatial_dims
        As in `bicubic`.

    Returns
    -------
    ndarray
        As from `bicubic`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    """
    return _enlarge(image, factor, channel_axis, spatial_dims, "LANCZOS")


def _enlarge(
    image: Any,
    factor: int,
    channel_axis: int | str | None,
    spatial_dims: int,
    kernel: str,
) -> Float:
    from PIL import Image

    factor = check("factor", factor, int, low=2)
    resample = Image.Resampling[kernel]
    image, layout = read(image, channel_axis, spatial_dims)
    # Pillow leaves pixels beyond the border out; repeated, they are within.
    margin = 4

    def enlarge_axis(values: Float, axis: int) -> Float:
        lines = np.moveaxis(values, axis, 0)
        flat = lines.reshape(len(lines), -1)
        padded = np.pad(flat, ((margin, margin), (0, 0)), mode="edge")
        size = (flat.shape[1], factor * len(padded))
        larger = np.asarray(Image.fromarray(padded).resize(size, resample))
        inside = larger[factor * margin : -factor * margin]
        return np.moveaxis(inside.reshape(-1, *lines.shape[1:]), 0, axis)

    def work(index: Index) -> Float:
        plane = filled_plane(layout.take(image, index))
        values = plane.values
        for axis in range(1, values.ndim):
            values = enlarge_axis(values, axis)
        return plane.to_units(values)

    return each_plane(layout, work, factor)
