"""Components: weighted sums of channels, whose noise is independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
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

TOGETHER = 3
"""Channels or components that are filtered together."""

WEAKEST = 0.01
"""Standard deviation of a component, over the largest, up to which it hardly varies:
there rounding errors would decide."""

UNLIKE = 2.0
"""Ratio of the variances of the noise of so few channels from which on components are
filtered one by one, too."""

SINGLE, MOST_SINGLE = 0.4, 0.8
"""Part of these in the result, in a channel with the mean variance of the noise, and
the largest part in any channel."""


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

    parts = components_of(plane, matrix)
    ranges = np.ptp(parts.values.reshape(len(matrix), -1), axis=1)
    varying = np.flatnonzero(ranges > CONSTANT * ranges.max()).tolist()
    known = torch.from_numpy(parts.values)[None]

    def on_varying(step: Step) -> Step:
        def finish(mixed: Tensor) -> Tensor:
            changed = known.to(mixed).clone()
            changed[:, varying] = step(mixed[:, varying])
            return changed

        return finish

    chosen = parts.of_channels(varying), noise.of_channels(varying)
    return [_on_mixed(on_varying(step), matrix) for step in steps(*chosen)]


def by_component(
    plane: Plane, noise: NoiseModel, make: Callable[[Plane, NoiseModel], Step]
) -> Step:
    """Return a filter of channels that works on their principal components.

    `make` returns the filter for a plane and its noise.  In every channel a filter of
    patches keeps what varies in any of them, and some noise with it: the more channels
    there are, the more noise, and most in those that have the most.  In units of their
    noise, a few components hold what channels have in common.  The others are mostly
    noise, which they lose.

    More than `TOGETHER` channels are filtered as so many components at a time, the
    strongest first.  Few channels of unlike noise are averaged with their single
    components: these keep less noise, but lose fine structure that they share, so that
    noisier channels take more of them.  Few channels of like noise are filtered as they
    are, and so is photon noise, where components gain nothing.
    """
    level = noise.level(plane.values, plane.noisy)
    few = len(level) <= TOGETHER
    like_noise = level.max() <= UNLIKE * level.min()
    if noise.kind != "gaussian" or level.max() == 0 or (few and like_noise):
        return make(plane, noise)
    level = np.maximum(level, LEAST * level.max())
    matrix = _principal(plane, level)
    parts, white = components_of(plane, matrix), NoiseModel.gaussian(level**0)
    at_a_time = partial(_at_a_time, make, parts, white)
    if not few:
        return _on_mixed(at_a_time(TOGETHER), matrix)
    together, single = make(plane, noise), _on_mixed(at_a_time(1), matrix)
    part = np.minimum(SINGLE * level / level.mean(), MOST_SINGLE)
    part = part.reshape(-1, *[1] * plane.known.ndim)

    def step(image: Tensor) -> Tensor:
        return together(image).lerp(single(image), image.new_tensor(part))

    return step


def _at_a_time(
    make: Callable[[Plane, NoiseModel], Step],
    plane: Plane,
    noise: NoiseModel,
    count: int,
) -> Step:
    """Return the filter that `make` makes of so many channels at a time."""
    import torch

    channels = range(len(plane.values))
    groups = [list(channels[first : first + count]) for first in channels[::count]]
    steps = [make(plane.of_channels(g), noise.of_channels(g)) for g in groups]

    def step(image: Tensor) -> Tensor:
        pairs = zip(groups, steps, strict=True)
        return torch.cat([step(image[:, group]) for group, step in pairs], dim=1)

    return step


def of_strongest(plane: Plane, step: Step) -> Step:
    """Return a step that takes `TOGETHER` components of channels at a time.

    Patches of more channels have so few pixels that they show little of what is around
    a missing one.  Components are the principal ones of channels in units of their
    ranges.  One that hardly varies is left as it is.
    """
    import torch

    count = len(plane.values)
    if count <= TOGETHER:
        return step

    def on_components(mixed: Tensor) -> Tensor:
        spread = mixed.flatten(2).std(dim=2)[0]
        varying = torch.nonzero(spread > WEAKEST * spread.max()).flatten()
        changed = mixed.clone()
        for group in varying.split(TOGETHER):
            changed[:, group] = step(mixed[:, group])
        return changed

    return _on_mixed(on_components, _principal(plane, np.ones(count)))


def _principal(plane: Plane, level: NDArray[np.float64]) -> Matrix:
    """Return the matrix that maps channels to principal components, strongest first.

    These are of channels in units of their noise, whose variance is given.
    """
    values = plane.values[:, plane.known > 0] / np.sqrt(level)[:, None]
    matrix: Matrix = principal_axes(values).T[::-1] / np.sqrt(level)
    return matrix


def principal_axes(values: NDArray[np.float64]) -> Matrix:
    """Return the principal axes of channels, (C, N), as columns, the weakest first."""
    values = values - values.mean(axis=1, keepdims=True)
    axes: Matrix = np.linalg.eigh(values @ values.T)[1]
    return axes


def _on_mixed(step: Step, matrix: Matrix) -> Step:
    """Return a step on mixed channels as one on channels."""
    from napari_dip.prior.wiener import mix_channels

    inverse = np.linalg.inv(matrix)

    def finish(image: Tensor) -> Tensor:
        mixed = mix_channels(image, image.new_tensor(matrix))
        return mix_channels(step(mixed), image.new_tensor(inverse))

    return finish
