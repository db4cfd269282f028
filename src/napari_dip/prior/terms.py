"""Data terms E(A(x), y): how far a prediction is from the measurement.

A term maps prediction and measurement to a non-negative error per value; the
fit takes the weighted mean.  Weights hold masks (0 = not compared), held-out
pixels and hidden pixels alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Term = Callable[[Tensor, Tensor], Tensor]


def weighted_mean(error: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of `error` under `weight`, which broadcasts over channels."""
    total = weight.sum() * (error.shape[1] // weight.shape[1])
    return (error * weight).sum() / total.clamp(min=1e-12)


@dataclass(frozen=True)
class Squared:
    """Squared error, the papers' data term (first paper, Eqs. 3 to 5)."""

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value."""
        return (prediction - measurement).square()


@dataclass(frozen=True)
class Absolute:
    """Absolute error, for outliers and impulse noise."""

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value."""
        return (prediction - measurement).abs()


@dataclass(frozen=True)
class Huber:
    """Squared error up to `delta`, linear beyond (Huber, 1964)."""

    delta: float = 0.05

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value."""
        difference = (prediction - measurement).abs()
        inside = difference.clamp(max=self.delta)
        return inside * (difference - 0.5 * inside)


@dataclass(frozen=True)
class PoissonGaussian:
    """Squared error over the noise variance, gain * signal + variance.

    The weighted least squares of signal-dependent noise.  The variance is taken
    at the prediction, which is not differentiated, so that the minimum stays at
    the mean of the measurement (iteratively reweighted least squares).

    Parameters
    ----------
    gain : float
        Variance per unit of signal above `offset`, in the measurement's units.
    variance : float
        Variance where there is no signal.
    level : float
        Variance at which the weight is one, such as the image's mean variance.
    offset : float
        Value of the measurement where there is no signal.
    """

    gain: float
    variance: float
    level: float
    offset: float = 0.0

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value, scaled to weights of about one."""
        signal = (prediction.detach() - self.offset).clamp(min=0)
        spread = self.gain * signal + self.variance
        weight = self.level / spread.clamp(min=1e-12)
        # The bounds keep single dark pixels from deciding the fit.
        return weight.clamp(0.05, 20) * (prediction - measurement).square()


@dataclass(frozen=True)
class Poisson:
    """Negative log-likelihood of Poisson counts, zero at a perfect prediction.

    With counts ``(y - offset) / gain``: the generalised Kullback-Leibler
    divergence of the prediction from the measurement.

    Parameters
    ----------
    gain : float
        Units of the measurement per photon.
    offset : float
        Value of the measurement at zero photons.
    background : float
        Photons added to both sides: the term is not smooth at zero.
    """

    gain: float
    offset: float = 0.0
    background: float = 0.1

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value."""
        expected = self._photons(prediction)
        counted = self._photons(measurement)
        return expected - counted + counted * torch.log(counted / expected)

    def _photons(self, value: Tensor) -> Tensor:
        return ((value - self.offset) / self.gain).clamp(min=0) + self.background
