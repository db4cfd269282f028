"""Unsharp masking."""

from __future__ import annotations

from typing import Any

from napari_dip.baselines.common import each_plane, filled_plane, read
from napari_dip.tasks.arrays import Float, Index
from napari_dip.tasks.recipe import check


def unsharp_mask(
    image: Any,
    amount: float = 1.0,
    *,
    radius: float = 2.0,
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Make fine detail stronger: ``image + amount * (image - blurred)``.

    Parameters
    ----------
    image, channel_axis, spatial_dims
        As in `nlm`.
    amount : float
        How much of the detail is added.
    radius : float
        Standard deviation in pixels of the Gaussian blur.

    Returns
    -------
    ndarray
        float32, of the shape of `image`; may overshoot its range.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    """
    from skimage import filters

    amount = check("amount", amount, float)
    radius = check("radius", radius, float, low=0)
    image, layout = read(image, channel_axis, spatial_dims)

    def work(index: Index) -> Float:
        plane = filled_plane(layout.take(image, index))
        sharpened = filters.unsharp_mask(
            plane.values, radius, amount, preserve_range=True, channel_axis=0
        )
        return plane.to_units(sharpened)

    return each_plane(layout, work)
