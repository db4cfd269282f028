"""What every baseline does with its arguments: check them, go from plane to plane."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.baselines.marching import march
from napari_dip.tasks.arrays import Float, Layout, Plane, as_array, prepare
from napari_dip.tasks.recipe import Parameter

Index = tuple[int | slice, ...]
"""Which plane."""

Array = NDArray[Any]


def check(
    name: str,
    value: Any,
    *types: type,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Return an argument as the plain Python type it stands for, or raise."""
    kinds = (*types, str) if choices else types
    described = Parameter(
        name=name,
        default=None,
        help="",
        types=kinds,
        member=None,
        choices=choices,
        low=low,
        high=high,
        advanced=False,
    )
    return described.check(value)


def check_noise(noise: str) -> None:
    """Raise unless it is a kind of noise that these methods have a model of."""
    kinds = ("auto", "gaussian", "poisson-gaussian", "poisson")
    check("noise", noise, choices=kinds)


def read(
    image: Any, channel_axis: int | str | None, spatial_dims: int
) -> tuple[Any, Layout]:
    """Return the image as an array, and its layout."""
    array = as_array(image, "image")
    check("spatial_dims", spatial_dims, int, low=2, high=3)
    return array, Layout.of(array, channel_axis, spatial_dims, "image")


def each(layout: Layout, work: Callable[[Index], Float], factor: int = 1) -> Float:
    """Do the work for every plane; put the results together."""
    sides = tuple(factor * side for side in layout.sides)
    result = np.empty(layout.resized(sides), np.float32)
    for index in layout.indices():
        result[index] = layout.arrange(work(index))
    return result


def whole(pixels: Array, name: str = "image") -> Plane:
    """Return a plane, scaled, with its missing pixels filled."""
    plane = prepare(pixels, name)
    gone = plane.known == 0
    if not gone.any():
        return plane
    filled = march(plane.values, gone).astype(np.float32)
    return dataclasses.replace(plane, values=filled)
