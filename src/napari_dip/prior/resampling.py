"""Downsampling operators: how a coarse image comes from a fine one.

All are separable: along every spatial axis the image is low-pass filtered and every
`factor`-th value kept, as one strided convolution, with borders repeated.  All follow
the half-pixel rule: a coarse pixel covers exactly `factor` fine ones, so the coarse
pixel i has its centre at ``factor * (i + 1/2) - 1/2`` of the fine grid, and both
images cover the same field.  For even factors that is half-way between two pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dip.errors import InputError
from napari_dip.prior.operators import convolve_axis, gaussian_taps


class Downsampling(nn.Module):
    """Filter and decimate the spatial axes of (N, C, Y, X) or (N, C, Z, Y, X).

    Parameters
    ----------
    taps : Tensor
        Weights along every axis, symmetric and of sum one; odd in number for odd
        factors and even for even ones, as the half-pixel rule needs it.
    factor : int
        Fine pixels per coarse one along every axis.
    """

    taps: Tensor

    def __init__(self, taps: Tensor, factor: int) -> None:
        super().__init__()
        if factor < 1 or (len(taps) - factor) % 2:
            raise InputError(
                f"taps must be odd in number for odd factors and even for even ones; "
                f"got {len(taps)} for the factor {factor}"
            )
        self.register_buffer("taps", taps.float())
        self.factor = factor

    def forward(self, image: Tensor) -> Tensor:
        """Return the coarse image; sides must be multiples of the factor."""
        if any(side % self.factor for side in image.shape[2:]):
            raise InputError(
                f"sides must be multiples of the factor {self.factor}; got "
                f"{tuple(image.shape[2:])}"
            )
        margin = (len(self.taps) - self.factor) // 2
        for axis in range(2, image.ndim):
            image = convolve_axis(
                image, axis, self.taps, margin=margin, stride=self.factor
            )
        return image


def _sampled(kernel: Callable[[Tensor], Tensor], radius: float, factor: int) -> Tensor:
    """Sample a kernel given in coarse pixels, zero beyond `radius`, at fine ones."""
    # As many taps inside the support as an arrangement around the centre allows.
    count = 2 * math.ceil(radius * factor)
    count -= (count - factor) % 2
    x = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
    taps = kernel(x / factor)
    return taps / taps.sum()


def lanczos(factor: int, lobes: int = 2) -> Downsampling:
    """Downsample with a Lanczos kernel, ``sinc(x) sinc(x / lobes)``.

    Two lobes are the first paper's operator (section 4; Turkowski, 1990): for even
    factors the published program's `Downsampler` with lanczos2, phase 0.5 and
    preserve_size, which has 4 * factor taps along an axis.  For odd factors that
    program is off by half a fine pixel; here the taps lie on the pixels.
    """

    def kernel(x: Tensor) -> Tensor:
        return torch.sinc(x) * torch.sinc(x / lobes)

    return Downsampling(_sampled(kernel, lobes, factor), factor)


def bicubic(factor: int) -> Downsampling:
    """Downsample with the cubic kernel of a = -1/2 (Keys, 1981), stretched.

    The antialiased reduction of MATLAB's imresize and of Pillow, but for borders,
    which are repeated here.
    """

    def kernel(x: Tensor) -> Tensor:
        x = x.abs()
        near = 1.5 * x**3 - 2.5 * x**2 + 1
        far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return torch.where(x <= 1, near, torch.where(x < 2, far, 0))

    return Downsampling(_sampled(kernel, 2, factor), factor)


def box(factor: int) -> Downsampling:
    """Downsample by the mean over the fine pixels of each coarse one.

    What the larger pixels of a camera, or binning, do.
    """
    return Downsampling(torch.full((factor,), 1 / factor, dtype=torch.float64), factor)


def gaussian(factor: int, sigma: float) -> Downsampling:
    """Blur with a Gaussian point spread function, then take the mean over pixels.

    `sigma` is in coarse pixels, and cut at 4 sigma; 0 is `box`.
    """
    blur = torch.ones(1, dtype=torch.float64)
    if sigma > 0:
        blur = gaussian_taps(math.ceil(4 * sigma * factor), sigma * factor)
    # The convolution of the two, whose number of taps is as odd as the factor.
    spread = F.pad(blur, (factor - 1, factor - 1)).unfold(0, factor, 1).sum(-1)
    return Downsampling(spread / spread.sum(), factor)


def upsample(image: Tensor, factor: int) -> Tensor:
    """Interpolate with the cubic kernel of a = -1/2 by the half-pixel rule.

    A pixel of the image, (N, C, Y, X) or (N, C, Z, Y, X), becomes `factor` fine ones
    along every axis; borders are repeated.
    """
    # The transpose of `bicubic`, whose taps at every phase sum to the same.
    taps = bicubic(factor).taps * factor
    # Coarse pixel 2 of the extended image is the first of the image itself.
    first = 2 * factor + (len(taps) - factor) // 2
    for axis in range(2, image.ndim):
        fine = convolve_axis(
            image, axis, taps, margin=2, stride=factor, transposed=True
        )
        image = fine.narrow(axis, first, image.shape[axis] * factor)
    return image
