"""Data fidelities E(A(x), y): how far a prediction is from the measurement.

A term maps prediction and measurement to a non-negative error per value; the
fit takes the weighted mean.  Weights hold masks (0 = not compared), held-out
pixels and hidden pixels alike.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.errors import InputError
from napari_dip.prior.operators import Kept, per_channel

BACKGROUND = 0.1
"""Photons added to both sides of `Poisson`, which is not smooth at zero."""

WEIGHTS = (0.05, 20)
"""Least and largest weight of a value in `PoissonGaussian`: without bounds single dark
pixels would decide the fit."""


def weighted_mean(error: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of `error` under `weight`, which broadcasts over channels."""
    total = weight.sum() * (error.shape[1] // weight.shape[1])
    return (error * weight).sum() / total.clamp(min=1e-12)


def channel_means(error: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of every channel, (C,), under a weight as in `weighted_mean`."""
    others = (0, *range(2, error.ndim))
    total = weight.sum(others).clamp(min=1e-12)
    return (error * weight).sum(others) / total


class Term(ABC):
    """What every data fidelity can do."""

    power: ClassVar[float | None] = 2
    """Power of the difference that the error is; None if it is something else."""

    @cached_property
    def numbers(self) -> Kept:
        """Makes tensors of its numbers, which last as long as the term."""
        return Kept()

    @abstractmethod
    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value; stopping rules judge by it."""

    def mean(self, prediction: Tensor, measurement: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        return weighted_mean(self(prediction, measurement), weight)

    def difference(self, error: float) -> float:
        """Return the difference of two values of this error, NaN if it is unknown."""
        return math.nan if self.power is None else error ** (1 / self.power)


@dataclass(frozen=True)
class Pointwise(Term):
    """A function of prediction and measurement as a term."""

    power = None
    function: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value."""
        return self.function(prediction, measurement)


@dataclass(frozen=True)
class Squared(Term):
    """Squared error, the papers' data fidelity (first paper, Eqs. 3 to 5)."""

    weights: tuple[float, ...] = ()
    """Weight of every channel, for channels of unlike noise; empty for equal ones."""

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value, without the channels' weights."""
        return (prediction - measurement).square()

    def mean(self, prediction: Tensor, measurement: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        error = self(prediction, measurement)
        if self.weights:
            weights = self.numbers(self.weights, error)
            error = error * per_channel(weights, error)
        return weighted_mean(error, weight)


@dataclass(frozen=True)
class Absolute(Term):
    """Absolute error, for outliers and impulse noise."""

    power = 1

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value."""
        return (prediction - measurement).abs()


@dataclass(frozen=True)
class Huber(Term):
    """Squared error up to `delta`, linear beyond (Huber, 1964)."""

    delta: float = 0.05
    """In the units of the measurement.  The default is nearly the absolute error, also
    where these are standard deviations of the noise: what statistics takes there,
    1.345, was no better; see docs/development/experiments.md."""

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value."""
        difference = (prediction - measurement).abs()
        inside = difference.clamp(max=self.delta)
        return inside * (difference - 0.5 * inside)

    def difference(self, error: float) -> float:
        """Return the difference of this error."""
        squared = math.sqrt(2 * error)
        return squared if squared < self.delta else error / self.delta + self.delta / 2


@dataclass(frozen=True)
class PoissonGaussian(Term):
    """Squared error over the noise variance, gain * signal + variance.

    The weighted least squares of signal-dependent noise.  The variance is taken
    at the prediction, which is not differentiated, so that the minimum stays at
    the mean of the measurement (iteratively reweighted least squares).
    """

    gain: float | tuple[float, ...]
    """Variance per unit of signal above `offset`, in the measurement's units; one for
    all channels or one for each, as are the others."""
    variance: float | tuple[float, ...]
    """Variance where there is no signal."""
    level: float | tuple[float, ...]
    """Variance at which the weight is one, such as the image's mean variance."""
    offset: float | tuple[float, ...] = 0.0
    """Value of the measurement where there is no signal."""

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value, scaled to weights of about one."""
        return self.weight(prediction) * (prediction - measurement).square()

    def weight(self, prediction: Tensor) -> Tensor:
        """Return the weight per value."""
        gain, variance, level, offset = (
            per_channel(self.numbers(v, prediction), prediction)
            for v in (self.gain, self.variance, self.level, self.offset)
        )
        signal = (prediction.detach() - offset).clamp(min=0)
        spread = gain * signal + variance
        weight = level / spread.clamp(min=1e-12)
        return weight.clamp(*WEIGHTS)


@dataclass(frozen=True)
class Poisson(Term):
    """Negative log-likelihood of Poisson counts, zero at a perfect prediction.

    With counts ``y / gain``: the generalised Kullback-Leibler divergence of the
    prediction from the measurement.
    """

    power = None
    gain: float

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value."""
        expected = self._photons(prediction)
        counted = self._photons(measurement)
        return expected - counted + counted * torch.log(counted / expected)

    def _photons(self, value: Tensor) -> Tensor:
        return (value / self.gain).clamp(min=0) + BACKGROUND


@dataclass(frozen=True)
class MultiScale(Term):
    """The squared error at several resolutions, summed.

    Second paper, section 4.1: at scale s, prediction and measurement are averaged
    over s x s pixels and compared under the averaged mask.  The published form
    averages the whole images and so lets masked pixels into the averages of their
    neighbours; here only known pixels enter them,
    ``mean(weight * image) / mean(weight)``, so that what is hidden cannot change
    the loss.
    """

    scales: tuple[int, ...] = (1, 2, 4)
    """Sides of the averaged squares; 1 is the full resolution."""
    factors: tuple[float, ...] = (1.0, 0.5, 0.25)
    """Weight of every scale."""

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) < 1:
            raise InputError(f"scales must be integers of 1 or more; got {self.scales}")
        if len(self.factors) != len(self.scales):
            raise InputError(
                f"factors must have one weight per scale ({len(self.scales)}); got "
                f"{self.factors}"
            )

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value at full resolution."""
        return (prediction - measurement).square()

    def mean(self, prediction: Tensor, measurement: Tensor, weight: Tensor) -> Tensor:
        """Return the loss over all scales."""
        total = prediction.new_zeros(())
        difference = (prediction - measurement) * weight
        average_pool = F.avg_pool2d if prediction.ndim == 4 else F.avg_pool3d
        for scale, factor in zip(self.scales, self.factors, strict=True):
            if scale == 1:
                error, known = self(prediction, measurement), weight
            else:
                known = average_pool(weight, scale, ceil_mode=True)
                apart = average_pool(difference, scale, ceil_mode=True)
                error = (apart / known.clamp(min=1e-6)).square()
            total = total + factor * weighted_mean(error, known)
        return total


def total_variation(image: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours, summed over the axes.

    The anisotropic total variation (Rudin, Osher, Fatemi, 1992) per pixel.  An axis of
    one pixel has no neighbours and adds nothing.
    """
    axes = [axis for axis in range(2, image.ndim) if image.shape[axis] > 1]
    return sum(
        (image.diff(dim=axis).abs().mean() for axis in axes), image.new_zeros(())
    )


def variation_penalty(weight: float) -> Callable[[Tensor], Tensor] | None:
    """Return the weighted total variation as a penalty; None without weight."""
    return (lambda image: weight * total_variation(image)) if weight else None
