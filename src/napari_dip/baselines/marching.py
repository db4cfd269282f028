"""Missing pixels filled from their border inwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_dip.tasks.arrays import Float


def march(values: Float, gone: NDArray[np.bool_], radius: int = 3) -> NDArray[Any]:
    """Fill pixels from their border inwards: `telea` for one plane.

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X).
    gone : ndarray
        (Y, X) or (Z, Y, X), true where to fill.
    radius : int
        Of the neighbourhood.
    """
    dims = gone.ndim
    distance = ndimage.distance_transform_edt(gone)
    # The direction of the front; smoothed, since distances have creases.
    normal = np.stack(np.gradient(ndimage.gaussian_filter(distance, 1)), axis=-1)
    where = np.nonzero(gone)
    order = np.argsort(distance[where], kind="stable")
    where = tuple(axis[order] for axis in where)
    normals, far = normal[where], distance[where]

    # Flat indices into arrays with a margin, so that neighbours always exist.
    margin = [(radius, radius)] * dims
    known = np.pad(~gone, margin)
    steps = np.array(known.strides) // known.itemsize
    pixels = (np.stack(where, axis=-1) + radius) @ steps
    field = np.pad(values.astype(np.float64), [(0, 0), *margin])
    flat, known, times = (
        field.reshape(len(values), -1),
        known.ravel(),
        np.pad(distance, margin).ravel(),
    )
    grid = np.indices((2 * radius + 1,) * dims).reshape(dims, -1).T - radius
    squares = (grid**2).sum(axis=1)
    ball = (squares > 0) & (squares <= radius**2)

    ends = np.searchsorted(far, np.arange(1, np.ceil(far.max()) + 1), side="right")
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        shell = pixels[start:end]
        total = np.zeros((len(values), len(shell)))
        weights = np.zeros(len(shell))
        for offset, square in zip(grid[ball], squares[ball], strict=True):
            neighbours = shell + offset @ steps
            weight = np.abs(normals[start:end] @ offset) / np.sqrt(square) + 1e-6
            weight /= square * (1 + np.abs(times[shell] - times[neighbours]))
            weight *= known[neighbours]
            total += weight * flat[:, neighbours]
            weights += weight
        flat[:, shell] = total / weights
        known[shell] = True
    inner: NDArray[Any] = field[(slice(None), *[slice(radius, -radius)] * dims)]
    return inner
