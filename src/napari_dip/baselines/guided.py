"""The guided filter."""

from __future__ import annotations

from types import NoneType
from typing import Any

import numpy as np
from scipy import ndimage

from napari_dip.baselines.common import Array, each_plane, filled_plane, read
from napari_dip.tasks.arrays import Float, Index, as_array
from napari_dip.tasks.noise import plane_model
from napari_dip.tasks.noise_level import gaussian_variance
from napari_dip.tasks.recipe import check


def guided_filter(
    image: Any,
    guide: Any,
    *,
    radius: int | None = None,
    eps: float | None = None,
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Denoise with the edges of another image of the same scene.

    Parameters
    ----------
    image, channel_axis, spatial_dims
        As in `nlm`.
    guide : array_like
        Better image of the same scene, pixel on pixel, with any number of channels,
        once or for each plane.
    radius : int, optional
        Windows are squares of ``2 radius + 1`` pixels; where not given, 30 times the
        noise of `image` over its range, from 1 to 16.
    eps : float, optional
        Variance of the guide in a window below which it counts as flat, over the square
        of its range; where not given, the guide's noise variance, and 1e-4 at least.

    Returns
    -------
    ndarray
        float32, of the shape of `image`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.

    Notes
    -----
    He, Sun, Tang, Guided Image Filtering (TPAMI 2013), for one channel and for several:
    in every window the slopes ``a = (cov(guide) + eps)^-1 cov(guide, image)``, and the
    result ``mean(a) guide + mean(mean(image) - a mean(guide))``.  Ranges are
    those of `tv`.  Radius and eps as chosen were 0.1 to 0.7 dB below the best of a
    grid for each image, where colour channels with noise of 0.03 to 0.2 guided each
    other, and 0.5 to 1.7 below it where the guide had none.
    """
    from napari_dip.tasks.denoise_guided import planes_of

    radius = check("radius", radius, int, NoneType, low=1)
    eps = check("eps", eps, float, NoneType, low=0)
    image, layout = read(image, channel_axis, spatial_dims)
    guide_at = planes_of(as_array(guide, "guide"), layout)

    def work(index: Index) -> Float:
        plane = filled_plane(layout.take(image, index))
        guiding = filled_plane(guide_at(index), "guide").values
        window, ridge = radius, eps
        if window is None:
            variance = plane_model(plane, "auto", None).level(plane.values).mean()
            window = int(np.clip(round(30 * variance**0.5), 1, 16))
        if ridge is None:
            ridge = max(gaussian_variance(guiding), 1e-4)
        return plane.to_units(_guided(plane.values, guiding, window, ridge))

    return each_plane(layout, work)


def _guided(values: Float, guide: Float, radius: int, eps: float) -> Float:
    """Filter a plane with a guide, both (C, Y, X) or (C, Z, Y, X)."""
    spatial = tuple(range(-guide[0].ndim, 0))

    def mean(array: Array) -> Array:
        averaged: Array = ndimage.uniform_filter(array, 2 * radius + 1, axes=spatial)
        return averaged

    p, i = values.astype(np.float64), guide.astype(np.float64)
    mean_p, mean_i = mean(p), mean(i)
    cross = mean(i[:, None] * p) - mean_i[:, None] * mean_p
    spread = mean(i[:, None] * i) - mean_i[:, None] * mean_i
    matrices = np.moveaxis(spread, (0, 1), (-2, -1)) + eps * np.eye(len(i))
    slopes = np.linalg.solve(matrices, np.moveaxis(cross, (0, 1), (-2, -1)))
    a = np.moveaxis(slopes, (-2, -1), (0, 1))
    b = mean_p - (a * mean_i[:, None]).sum(axis=0)
    result: Float = ((mean(a) * i[:, None]).sum(axis=0) + mean(b)).astype(np.float32)
    return result
