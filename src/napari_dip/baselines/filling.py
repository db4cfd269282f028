"""Missing pixels filled from their border inwards."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_dip.tasks.arrays import Float

RADIUS = 3
"""How far away the known pixels may be that a pixel is made from."""


def fill_inwards(values: Float, missing: NDArray[np.bool_]) -> NDArray[Any]:
    """Fill the missing pixels of one plane as `onion_peel` does, in float64.

    The mask is true where to fill, in all channels.
    """
    dims = missing.ndim
    distance = ndimage.distance_transform_edt(missing)
    # The direction inwards; of a smoothed distance, as the distance itself has creases.
    inwards = np.stack(np.gradient(ndimage.gaussian_filter(distance, 1)), axis=-1)
    index = np.nonzero(missing)
    order = np.argsort(distance[index], kind="stable")
    index = tuple(axis[order] for axis in index)
    directions, depths = inwards[index], distance[index]

    # Flat indices into arrays with a margin, so that neighbours always exist.
    margin = [(RADIUS, RADIUS)] * dims
    known = np.pad(~missing, margin)
    strides = np.array(known.strides) // known.itemsize
    pixels = (np.stack(index, axis=-1) + RADIUS) @ strides
    padded = np.pad(values.astype(np.float64), [(0, 0), *margin])
    flat = padded.reshape(len(values), -1)
    known, distance = known.ravel(), np.pad(distance, margin).ravel()
    offsets = np.indices((2 * RADIUS + 1,) * dims).reshape(dims, -1).T - RADIUS
    squares = (offsets**2).sum(axis=1)
    ball = (squares > 0) & (squares <= RADIUS**2)

    ends = np.searchsorted(depths, np.arange(1, np.ceil(depths.max()) + 1), "right")
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        layer = pixels[start:end]
        total = np.zeros((len(values), len(layer)))
        weights = np.zeros(len(layer))
        for offset, square in zip(offsets[ball], squares[ball], strict=True):
            neighbours = layer + offset @ strides
            weight = np.abs(directions[start:end] @ offset) / np.sqrt(square) + 1e-6
            weight /= square * (1 + np.abs(distance[layer] - distance[neighbours]))
            weight *= known[neighbours]
            total += weight * flat[:, neighbours]
            weights += weight
        flat[:, layer] = total / weights
        known[layer] = True
    inner: NDArray[Any] = padded[(slice(None), *[slice(RADIUS, -RADIUS)] * dims)]
    return inner
