"""Components of channels that share their noise; that of the components is apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.finishing import Step
from napari_dip.tasks.noise import NoiseModel, plane_model
from napari_dip.tasks.plane import Plane

if TYPE_CHECKING:
    from torch import Tensor

Matrix = NDArray[np.floating[Any]]
"""Weights of the channels in components, (C, C), as from `mixing`."""

LEAST = 1e-6
"""Least variance of a component, over the largest: nothing is divided by zero."""

CONSTANT = 1e-3
"""Range of a component, over the largest, up to which it is taken for constant."""


def mixing(correlations: Matrix, levels: NDArray[np.float64]) -> Matrix:
    """Return the matrix that maps channels to components of independent noise.

    Channels are divided by their noise and then turned, so that white noise that only
    seems to be shared stays white.  The correlations of the noise between channels,
    (C, C), and its variance in every channel are given.
    """
    _, vectors = np.linalg.eigh(correlations)
    # Brighter channels make a brighter component: noise may grow with it.
    vectors *= np.where(vectors.sum(axis=0) < 0, -1, 1)
    matrix: Matrix = vectors.T / np.sqrt(levels)
    return matrix


def components_of(plane: Plane, matrix: Matrix) -> Plane:
    """Return the plane with components as its values, each in units of its own."""
    values = np.tensordot(matrix, plane.values, 1).astype(np.float32)
    constant = np.broadcast_to(plane.constant.all(axis=0), values.shape)
    zeros, ones = np.zeros(len(matrix)), np.ones(len(matrix))
    return replace(
        plane, values=values, constant=constant, offset=zeros, span=ones, beyond=None
    )


def component_noise(
    plane: Plane, matrix: Matrix, noise: str, sigma: float | None
) -> NoiseModel:
    """Return the noise model of the components of an image; see `plane_model`.

    If the noise of the channels is given, that of the components has the same sum; what
    is more is texture in the noisiest ones.
    """
    # A hot pixel of one channel is in all components.
    known = plane.known * ~plane.peaks.any(axis=0)
    parts = components_of(replace(plane, known=known), matrix)
    model = plane_model(parts, noise, None)
    variance = np.maximum(model.variance, LEAST * max(model.variance))
    if sigma is not None:
        return NoiseModel.gaussian(_of_sum(variance, len(variance)))
    return replace(model, variance=tuple(variance.tolist()))


def _of_sum(values: NDArray[np.float64], total: float) -> NDArray[np.float64]:
    """Return values of a given sum: the largest are cut off, or else all grow."""
    factor = max(total / float(values.sum()), 1.0)
    rising = np.sort(values * factor)
    left = total - np.cumsum([0, *rising[:-1]])
    limits = left / np.arange(len(values), 0, -1)
    limit = float(limits[np.argmax(limits <= rising * (1 + 1e-9))])
    return np.minimum(values * factor, limit)


def on_components(
    plane: Plane,
    matrix: Matrix,
    noise: NoiseModel,
    steps: Callable[[Plane, NoiseModel], list[Step]],
) -> list[Step]:
    """Return steps on the components of an image as steps on its channels.

    The noise is that of the components, and `steps` returns the steps for a plane and
    its noise.  They get the components that vary; others, as of a gray image with three
    channels, are known.
    """
    import torch

    from napari_dip.prior.wiener import mix_channels

    parts = components_of(plane, matrix)
    ranges = np.ptp(parts.values.reshape(len(matrix), -1), axis=1)
    varying = np.flatnonzero(ranges > CONSTANT * ranges.max()).tolist()
    inverse = np.linalg.inv(matrix)
    known = torch.from_numpy(parts.values)[None]

    def on_channels(step: Step) -> Step:
        def finish(image: Tensor) -> Tensor:
            changed = known.to(image).clone()
            mixed = mix_channels(image, image.new_tensor(matrix))
            changed[:, varying] = step(mixed[:, varying])
            return mix_channels(changed, image.new_tensor(inverse))

        return finish

    chosen = parts.of_channels(varying), noise.of_channels(varying)
    return [on_channels(step) for step in steps(*chosen)]
