"""Gaussian blurs in place of a fit, where few photons tell little."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from napari_dip.tasks.finishing import Step
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.plane import Plane

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Goodness = Callable[["torch.device"], "Tensor"]
"""Returns how good a blur of every channel is, from 0 to 1, (1, C, 1, ...)."""

BLURS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Standard deviations in pixels of the blurs that a fit is compared with."""

ENOUGH = 0.07
"""Error of the best blur, as a part of the noise, from which on a fit is better."""


def or_blurred(posterior: Step, plane: Plane, goodness: Goodness) -> Step:
    """Return the step `posterior`, or one with a Gaussian blur where that is good.

    Of few photons a network learns the noise before it has learnt the image.  There a
    plain blur takes out as much noise and errs in other ways, while the pixels' own
    values say hardly anything.  As the network does, the blur B leaves a pixel out, so
    that the noisy values y tell which average ``e + p (B - e)`` errs least, whether or
    not both err alike: that with ``p = mean((y - e) (B - e)) / mean((B - e)^2)``, and
    with the blur in `BLURS` by which it is nearest to y.
    """
    import torch

    def step(average: Tensor) -> Tensor:
        y, weight = plane.tensors(average.device)
        good, kept = goodness(average.device), posterior(average)
        if not bool(good.any()):
            return kept
        best, least = average, torch.full_like(good, float("inf"))
        for blurred, own in _blurs(y, weight):
            away = (blurred - own * y) / (1 - own) - average
            part = _mean((y - average) * away, weight)
            part = part / _mean(away.square(), weight).clamp(min=1e-20)
            mixed = average + part.clamp(0, 1) * weight * away
            error = _mean((mixed - y).square(), weight)
            best = torch.where(error < least, mixed, best)
            least = torch.minimum(error, least)
        return torch.lerp(kept, best, good)

    return step


def goodness_of_blurs(plane: Plane, noise: NoiseModel) -> Goodness:
    """Return the function that tells how good a Gaussian blur is, worked out once.

    The error of a blur against the truth is known without bias: with B the blurred
    values, h the weight of a pixel in its own and s^2 the variance of the noise, it is
    the mean of ``(B - y)^2 - s^2 + 2 h s^2`` (Stein's estimate).  Where that, less its
    own standard error, is more than half of `ENOUGH` of the noise for the best of
    `BLURS`, it is less good: of some hundred photons the few that share pixels decide
    on the estimate.
    """
    import torch

    @cache
    def goodness(device: torch.device) -> Tensor:
        y, weight = plane.tensors(device)
        variance = noise.at(y)
        pixels = max(float(weight.sum()), 1.0)
        errors = []
        for blurred, own in _blurs(y, weight):
            error = (blurred - y).square() + (2 * own - 1) * variance
            mean = _mean(error, weight)
            spread = _mean((error - mean).square(), weight).sqrt()
            errors.append(mean - spread / pixels**0.5)
        least = torch.stack(errors).amin(dim=0)
        level = (ENOUGH * _mean(variance, weight)).clamp(min=1e-20)
        return (2 - 2 * least / level).clamp(0, 1)

    return goodness


def _blurs(y: Tensor, weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield Gaussian blurs of values, and the part of a value in its own blur."""
    from napari_dip.prior.operators import gaussian_mean, gaussian_taps

    for sigma in BLURS:
        blurred, near = gaussian_mean(y, weight, sigma)
        total = float(gaussian_taps(math.ceil(3 * sigma), sigma).sum())
        yield blurred, total ** (2 - y.ndim) / near


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the means of channels over the pixels that are known."""
    spatial = tuple(range(2, values.ndim))
    total = weight.sum(spatial, keepdim=True).clamp(min=1)
    return (values * weight).sum(spatial, keepdim=True) / total
