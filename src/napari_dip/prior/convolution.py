"""Blur: the convolution of an image with a point spread function (PSF)."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from napari_dip.errors import InputError
from napari_dip.prior.layers import corner
from napari_dip.prior.terms import PoissonGaussian, Term


def fast_length(n: int) -> int:
    """Return the next length from `n` on whose only prime factors are 2, 3 and 5."""
    while True:
        cofactor = n
        for prime in (2, 3, 5):
            while cofactor % prime == 0:
                cofactor //= prime
        if cofactor == 1:
            return n
        n += 1


class Convolution(nn.Module):
    """Convolution of a canvas with a PSF, cut to where nothing is missing.

    ``y[i] = sum_j psf[j] x[i + c - j]`` with the centre of the PSF, the pixel ``c =
    side // 2``, on pixel i of the measurement.  The canvas x has ``side - 1`` pixels
    more along every axis than the measurement: those beyond its border blur into it and
    are unknowns like all others, so nothing is assumed about them (the "valid"
    convolution of Ren et al., Neural Blind Deconvolution Using Deep Priors, CVPR 2020,
    section 3).  With `periodic` the canvas is the measurement's own size and repeats
    itself beyond the border.

    Computed with the fast Fourier transform in float32; the transform of the PSF, which
    is used as it is and should have a sum of one, is computed once.
    """

    def __init__(
        self, psf: Tensor, sides: tuple[int, ...], *, periodic: bool = False
    ) -> None:
        super().__init__()
        if psf.ndim != len(sides):
            raise InputError(
                f"psf must have {len(sides)} axes, as the image has; got shape "
                f"{tuple(psf.shape)}"
            )
        self.sides = tuple(sides)
        self.support = tuple(psf.shape)
        self.canvas: tuple[int, ...]
        if periodic:
            self.canvas = self.lengths = self.sides
            self.near = (0,) * len(sides)
        else:
            self.canvas = tuple(
                n + k - 1 for n, k in zip(sides, self.support, strict=True)
            )
            self.lengths = tuple(map(fast_length, self.canvas))
            self.near = tuple((k - 1) // 2 for k in self.support)
        self.axes = tuple(range(2, 2 + len(sides)))
        self.spectrum: Tensor
        self.register_buffer(
            "spectrum", self.transform(psf.to(torch.float32)), persistent=False
        )

    def transform(self, psf: Tensor) -> Tensor:
        """Return the transform of a PSF whose centre acts as the origin."""
        grid = psf.new_zeros(self.lengths)
        grid[tuple(slice(0, k) for k in self.support)] = psf
        shifts = [-(k // 2) for k in self.support]
        grid = torch.roll(grid, shifts, list(range(psf.ndim)))
        spectrum: Tensor = torch.fft.rfftn(grid)[None, None]
        return spectrum

    @property
    def crop(self) -> tuple[Any, ...]:
        """Index of the measurement's own pixels in the canvas."""
        return (
            ...,
            *[slice(a, a + n) for a, n in zip(self.near, self.sides, strict=True)],
        )

    def forward(self, image: Tensor) -> Tensor:
        """Blur a canvas, (1, C, *canvas), to (1, C, *sides)."""
        return self.blur(image, self.spectrum)

    def blur(self, image: Tensor, spectrum: Tensor) -> Tensor:
        """Blur a canvas with a PSF of which the transform is given."""
        return self.filtered(image, spectrum)[self.crop]

    def filtered(self, image: Tensor, spectrum: Tensor) -> Tensor:
        """Filter an image, with zeros beyond it, on the grid of the transform."""
        product = torch.fft.rfftn(image, s=self.lengths, dim=self.axes) * spectrum
        on_grid: Tensor = torch.fft.irfftn(product, s=self.lengths, dim=self.axes)
        return on_grid

    def adjoint(self, measurement: Tensor) -> Tensor:
        """Return the transpose: (1, C, *sides) spread over (1, C, *canvas)."""
        placed = measurement.new_zeros((*measurement.shape[:2], *self.lengths))
        placed[self.crop] = measurement
        return self.filtered(placed, self.spectrum.conj())[corner(self.canvas)]


class Sharpened(Term):
    """A squared error in which what the blur has weakened counts for more.

    The residual r of the prediction is filtered with ``(|H|^2 + floor)^(-1/2)``, H
    being the transfer function of the PSF, before it is squared.  Where the blur passes
    a hundredth of a frequency, the plain squared error sees a ten-thousandth of what is
    missing there and a fit takes very many iterations to put it back; filtered, all
    frequencies that are there come in at a like pace.  The minimum is the same; the way
    to it, and so the image where the fit is stopped, is another.

    A frequency whose power is below the floor counts as lost in the noise.  `pointwise`
    weighs the residuals of signal-dependent noise.
    """

    def __init__(
        self,
        blur: Convolution,
        floor: float,
        pointwise: PoissonGaussian | None = None,
    ) -> None:
        self.blur, self.pointwise = blur, pointwise
        gain = (blur.spectrum.abs().square() + floor).rsqrt()
        # White noise keeps its variance: the loss stays in the same units.
        self.gain_on = cache((gain / gain.square().mean().sqrt()).to)

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return the error per value, not filtered; stopping rules judge by it."""
        if self.pointwise is not None:
            return self.pointwise(prediction, measurement)
        return (prediction - measurement).square()

    def mean(self, prediction: Tensor, measurement: Tensor, weight: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        residual = (prediction - measurement) * weight
        if self.pointwise is not None:
            residual = residual * self.pointwise.weight(prediction).sqrt()
        filtered = self.blur.filtered(residual, self.gain_on(residual.device))
        total = weight.sum() * (residual.shape[1] // weight.shape[1])
        return filtered.square().sum() / total.clamp(min=1e-12)


class KernelNet(nn.Module):
    """A small network whose output is a PSF: non-negative, summing to one.

    Two fully connected layers from a fixed random code and a softmax (Ren et al.,
    Neural Blind Deconvolution Using Deep Priors, CVPR 2020, section 3.2; 200 inputs,
    1000 hidden units, ReLU6), on top of the logarithm of a first guess, (Y, X) or (Z,
    Y, X), which the last layer leaves as it is at the start.
    """

    inputs, hidden = 200, 1000

    def __init__(self, guess: Tensor, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.shape = tuple(guess.shape)
        self.code: Tensor
        self.register_buffer("code", torch.rand(self.inputs, generator=random))
        # Where the guess is zero the PSF may still become positive.
        floor = 1e-4 * guess.max()
        self.logits: Tensor
        self.register_buffer("logits", guess.clamp(min=floor).flatten().log())
        first = torch.empty(self.hidden, self.inputs)
        first.uniform_(-(self.inputs**-0.5), self.inputs**-0.5, generator=random)
        self.first = nn.Parameter(first)
        self.bias = nn.Parameter(torch.zeros(self.hidden))
        self.last = nn.Parameter(torch.zeros(math.prod(self.shape), self.hidden))

    def forward(self) -> Tensor:
        """Return the PSF."""
        features = nn.functional.relu6(self.first @ self.code + self.bias)
        return torch.softmax(self.logits + self.last @ features, 0).reshape(self.shape)


class UnknownConvolution(nn.Module):
    """A convolution whose PSF, at first a guess, is fitted along with the image."""

    def __init__(self, blur: Convolution, kernel: KernelNet) -> None:
        super().__init__()
        self.blur, self.kernel = blur, kernel

    @property
    def psf(self) -> Tensor:
        """The PSF as it is now, (Y, X) or (Z, Y, X), without gradient."""
        kernel: Tensor = self.kernel()
        return kernel.detach()

    def forward(self, image: Tensor) -> Tensor:
        """Blur a canvas with the PSF as it is now."""
        return self.blur.blur(image, self.blur.transform(self.kernel()))
