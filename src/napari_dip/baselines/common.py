"""What all baselines share: they check arguments and go from plane to plane."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.baselines.filling import fill_inwards
from napari_dip.tasks.arrays import Float, Index, Layout, as_array
from napari_dip.tasks.plane import Plane, prepare
from napari_dip.tasks.recipe import check, check_channel_axis

Array = NDArray[Any]


def check_noise(noise: str) -> None:
    """Raise unless the methods have a model of the noise."""
    check("noise", noise, choices=("auto", "gaussian", "poisson-gaussian", "poisson"))


def read(
    image: Any, channel_axis: int | str | None, spatial_dims: int
) -> tuple[Any, Layout]:
    """Return the image as an array, and its layout."""
    array = as_array(image, "image")
    axis, dims = check_axes(channel_axis, spatial_dims)
    return array, Layout.of(array, axis, dims, "image")


def check_axes(channel_axis: Any, spatial_dims: Any) -> tuple[int | str | None, int]:
    """Return the arguments that say which axis is what, or raise."""
    dims = check("spatial_dims", spatial_dims, int, low=2, high=3)
    return check_channel_axis(channel_axis), dims


def each_plane(
    layout: Layout, work: Callable[[Index], Float], factor: int = 1
) -> Float:
    """Do the work for every plane or volume; put the results together."""
    sides = tuple(factor * side for side in layout.sides)
    result = np.empty(layout.resized(sides), np.float32)
    for index in layout.indices():
        result[index] = layout.arrange(work(index))
    return result


def filled_plane(pixels: Array, name: str = "image") -> Plane:
    """Return a plane, scaled, with its missing pixels filled."""
    plane = prepare(pixels, name)
    missing = plane.known == 0
    if not missing.any():
        return plane
    values = fill_inwards(plane.values, missing).astype(np.float32)
    return dataclasses.replace(plane, values=values)
