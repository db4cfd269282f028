"""Steps from the averaged output of a network to the result of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_dip.tasks.noise import LIKE_VARIANCES, NoiseModel
from napari_dip.tasks.plane import Plane

if TYPE_CHECKING:
    from torch import Tensor

Step = Callable[["Tensor"], "Tensor"]
"""Maps an averaged output, (1, C, ...) in scaled units, to a better image."""

FILTERED = 0.5
"""Part of the Wiener filter in the result."""


def in_turn(steps: Sequence[Step]) -> Step | None:
    """Return the steps as one, None where there are none."""
    if not steps:
        return None

    def finish(average: Tensor) -> Tensor:
        for step in steps:
            average = step(average)
        return average

    return finish


def wiener_mean(plane: Plane, noise: NoiseModel) -> Step:
    """Return the step that averages a restored image with a Wiener filter's.

    The filter takes the restored image for the spectrum of the true one; what it makes
    of the noisy image errs in other ways, and the mean of both errs least.
    """
    from napari_dip.prior.wiener import wiener

    def filter_noisy(noisy: Tensor, restored: Tensor) -> Tensor:
        return wiener(noisy, restored, noise.at(restored))

    return filtering(plane, filter_noisy, FILTERED)


def filtering(
    plane: Plane,
    filter_noisy: Callable[[Tensor, Tensor], Tensor],
    part: float,
) -> Step:
    """Return the step that mixes a part of a filter of the noisy image in.

    Missing pixels are left as they have been restored.
    """
    import torch

    def step(restored: Tensor) -> Tensor:
        y, weight = plane.tensors(restored.device)
        y = torch.lerp(restored, y, weight)
        filtered = filter_noisy(y, restored)
        return torch.lerp(restored, filtered, part * weight)

    return step


def beside_noisier(
    plane: Plane, noise: NoiseModel, make: Callable[[Plane, NoiseModel], list[Step]]
) -> list[Step]:
    """Return steps that take channels with less noise than others by themselves, too.

    From channels with more than `LIKE_VARIANCES` times their noise these gain little,
    and lose texture.  The less noise they have, the more counts what becomes of them by
    themselves.  `make` returns the steps for some channels and their noise.
    """
    level = noise.level(plane.values, plane.noisy)
    least = level.max() / LIKE_VARIANCES
    cleaner = np.flatnonzero(level < least).tolist()
    if not cleaner:
        return make(plane, noise)
    part = (1 - level[cleaner] / least).reshape(-1, *[1] * plane.known.ndim)

    def with_own(together: Step, own: Step) -> Step:
        def step(image: Tensor) -> Tensor:
            result = together(image).clone()
            alone = own(image[:, cleaner])
            result[:, cleaner] = result[:, cleaner].lerp(alone, image.new_tensor(part))
            return result

        return step

    # What is constant in these may vary in others.
    clean = plane.of_channels(cleaner).without_constant()
    chosen = clean, noise.of_channels(cleaner)
    own = beside_noisier(*chosen, make)
    return [with_own(*pair) for pair in zip(make(plane, noise), own, strict=True)]


def same_mean(plane: Plane, noise: NoiseModel) -> Step:
    """Return the step that gives an image the mean signal of the noisy one.

    Filters lose some of it where it is all in single photons.
    """

    def step(image: Tensor) -> Tensor:
        y, weight = plane.tensors(image.device)
        spatial = tuple(range(2, y.ndim))
        offset = image.new_tensor(noise.offset).reshape(1, -1, *[1] * len(spatial))
        seen, kept = (
            ((v - offset) * weight).sum(spatial, keepdim=True) for v in (y, image)
        )
        # Without any signal there is nothing to compare.
        factor = (seen / kept.clamp(min=1e-12)).clamp(0.5, 2)
        return offset + (image - offset) * factor

    return step


def known_restored(plane: Plane) -> Step:
    """Return the step that gives known pixels the values that they came with."""

    def step(restored: Tensor) -> Tensor:
        return restored.lerp(*plane.tensors(restored.device))

    return step
