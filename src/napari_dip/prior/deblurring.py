"""Deblurring with similar patches: a good estimate of the sharp image guides it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from napari_dip.prior import interrupt
from napari_dip.prior.collaborative import PATCH_VALUES, collaborative_filter
from napari_dip.prior.convolution import Convolution
from napari_dip.prior.groups import patch_side
from napari_dip.prior.layers import corner

STEPS = 4
"""How often the measurement is inverted and filtered."""

PENALTIES = (1.0, 6.0)
"""Penalty of the first and the last step, over the standard deviation of the noise: the
less noise there is, the weaker frequencies can be taken from the measurement, and the
better the estimate becomes, the fewer."""

LEAST = 1e-3
"""Smallest penalty: rounding errors would be amplified by less."""

SMOOTHED = 0.8
"""Noise over signal in the filter, as a part of what the estimate tells: step by step
the filter would become too smooth."""

LARGEST = 6.0
"""Standard deviations of the noise that the filter takes out of a value at most."""

SOLVER = 15
"""Most iterations of conjugate gradients."""

SOLVED = 1e-5
"""Part of the first residual, squared, at which conjugate gradients end."""


def deblurred(
    blur: Convolution,
    measurement: Tensor,
    weight: Tensor,
    variance: Callable[[Tensor], Tensor],
    estimate: Tensor,
) -> Tensor:
    """Deblur a measurement, and estimate similar patches of the result together.

    With A the blur, y the measurement and z the estimate of the sharp image, a step
    takes ``x = argmin |A x - y|^2 + p |x - z|^2``: frequencies of a transfer function H
    with ``|H|^2`` above the penalty p come from the measurement, weaker ones from the
    estimate.  Its noise has the power ``|H|^2 / (|H|^2 + p)^2`` times that of the
    measurement.  It is filtered out by the collaborative filter under noise with that
    covariance, whose pilot is z; the result is the next z.

    Parameters
    ----------
    blur : Convolution
        The blur A.
    measurement : Tensor
        y, float32, (1, C, *sides), of 16 pixels and more along Y and X, in units in
        which the sharp image has a range of about one.
    weight : Tensor
        (1, 1, *sides), 0 where the measurement is missing.
    variance : callable
        Maps an image to the variance of the noise at its values.
    estimate : Tensor
        z, (1, C, *canvas), not negative.

    Returns
    -------
    Tensor
        The sharp image, of the shape of `estimate`, not negative.

    Notes
    -----
    Regularised inversion, then collaborative filtering with the spectrum of the noise:
    Dabov, Foi, Katkovnik, Egiazarian, Image restoration by sparse 3D transform-domain
    collaborative filtering, SPIE 6812, 2008.  Steps that repeat both: Danielyan,
    Katkovnik, Egiazarian, BM3D frames and variational image deblurring, 2012.
    """
    spatial = tuple(range(2, measurement.ndim))
    total = weight.sum().clamp(min=1)
    side = patch_side(PATCH_VALUES, measurement.shape[1])
    for factor in np.geomspace(*PENALTIES, STEPS):
        interrupt.check()
        noise = variance(blur(estimate))
        level = (noise * weight).sum(spatial, keepdim=True) / total
        penalty = (float(factor) * level.sqrt()).clamp(min=LEAST)
        certainty = weight * level / noise.clamp(min=1e-20)
        inverted = regularised_inverse(blur, measurement, certainty, estimate, penalty)
        amplified, covariance = inverted_noise(blur, penalty, side)
        inverted_variance = variance(estimate) * amplified
        filtered = collaborative_filter(
            inverted, estimate, inverted_variance, SMOOTHED, covariance=covariance
        )
        # Beside values of 10,000 times the noise the filter has rounding errors.
        most = LARGEST * torch.maximum(inverted_variance, level * amplified).sqrt()
        estimate = filtered.clamp(inverted - most, inverted + most).clamp(min=0)
    return estimate


def regularised_inverse(
    blur: Convolution,
    measurement: Tensor,
    weight: Tensor,
    estimate: Tensor,
    penalty: Tensor,
) -> Tensor:
    """Return ``argmin_x sum(weight (A x - y)^2) + penalty sum((x - z)^2)``.

    Preconditioned conjugate gradients begin at z.  Whatever does not blur into the
    measurement stays as it is there.

    Parameters
    ----------
    blur : Convolution
        The blur A.
    measurement, weight : Tensor
        y and its weight of about one, (1, C, *sides).
    estimate : Tensor
        z, (1, C, *canvas).
    penalty : Tensor
        Above zero, (1, C, 1, 1).

    Returns
    -------
    Tensor
        x, of the shape of `estimate`.
    """
    spatial = tuple(range(2, measurement.ndim))
    inverse = 1 / (blur.spectrum.abs().square() + penalty)

    def preconditioned(image: Tensor) -> Tensor:
        return blur.filtered(image, inverse)[corner(blur.canvas)]

    def product(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(spatial, keepdim=True)

    x = estimate
    residual = blur.adjoint(weight * (measurement - blur(x)))
    direction = step = preconditioned(residual)
    power = first = product(residual, step)
    for _ in range(SOLVER):
        interrupt.check()
        mapped = blur.adjoint(weight * blur(direction)) + penalty * direction
        length = power / product(direction, mapped).clamp(min=1e-30)
        x = x + length * direction
        residual = residual - length * mapped
        step = preconditioned(residual)
        before, power = power, product(residual, step)
        if bool((power <= SOLVED * first).all()):
            break
        direction = step + power / before.clamp(min=1e-30) * direction
    return x


def inverted_noise(
    blur: Convolution, penalty: Tensor, side: int
) -> tuple[Tensor, Tensor]:
    """Return what noise of variance 1 becomes in a regularised inverse.

    Its variance, (1, C, 1, 1), and the covariance of the values of a patch of
    ``side`` x ``side`` pixels, (C * side ** 2,) * 2, of variance 1 each.
    """
    power = blur.spectrum.abs().square()
    power = power / (power + penalty).square()
    lagged = torch.fft.irfftn(power, s=blur.lengths, dim=blur.axes)
    variance = lagged[..., :1, :1]
    along = torch.arange(side)
    apart = along[:, None] - along
    down, right = apart[:, None, :, None], apart[None, :, None, :]
    patches = lagged[0, :, down, right].reshape(-1, side**2, side**2)
    return variance, torch.block_diag(*(patches / patches[:, :1, :1]))
