"""Fixed linear operators on image tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior import interrupt

Numbers = float | tuple[Any, ...]
"""One number, a number for each channel, or the rows of a matrix."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma (ITU-R BT.601)."""


def constant(values: Numbers, like: Tensor) -> Tensor:
    """Return numbers as a tensor of the type and on the device of another.

    It is made once and kept for good: a step that is captured as a CUDA graph can copy
    none to a GPU.  Numbers that are measured on an image belong to a `Kept`.
    """
    return _constants(values, like)


class Kept:
    """Numbers as tensors, each made once, which last as long as this does."""

    def __init__(self) -> None:
        self.made: dict[tuple[Any, ...], Tensor] = {}

    def __call__(self, values: Numbers, like: Tensor) -> Tensor:
        """Return numbers as a tensor of the type and on the device of another."""
        key = values, like.device, like.dtype
        if key not in self.made:
            # Made in inference mode, it could never be part of a gradient.
            with torch.inference_mode(False):
                made = torch.tensor(values, dtype=like.dtype, device=like.device)
            self.made[key] = made
        return self.made[key]


_constants = Kept()


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Return values, one a channel, in the shape (1, C, 1, ...) of an image."""
    return values.reshape(1, -1, *[1] * (like.ndim - 2))


def gaussian_taps(
    radius: int,
    sigma: float,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> Tensor:
    """Return a Gaussian at the integers up to a radius, one at its centre."""
    x = torch.arange(-radius, radius + 1, device=device, dtype=dtype)
    return torch.exp(-0.5 * (x / sigma).square())


def luma(image: Tensor) -> Tensor:
    """Return the luma, (N, 1, ...), of red, green and blue, (N, 3, ...)."""
    return (image * per_channel(constant(LUMA, image), image)).sum(1, keepdim=True)


def cosines(side: int) -> Tensor:
    """Return the orthonormal cosine transform (DCT-II) as a float64 matrix.

    Row k holds the cosine of frequency k; the first row is constant.
    """
    n = torch.arange(side, dtype=torch.float64)
    rows = torch.cos(math.pi / side * (n + 0.5) * n[:, None]) * math.sqrt(2 / side)
    rows[0] *= math.sqrt(0.5)
    return rows


def convolve_axis(
    image: Tensor,
    axis: int,
    taps: Tensor,
    *,
    margin: int,
    mode: str = "replicate",
    stride: int = 1,
    transposed: bool = False,
) -> Tensor:
    """Convolve one axis of (N, C, Y, X) or (N, C, Z, Y, X), the same for all channels.

    The taps are not flipped.  The axis is extended by a margin at both ends before, in
    a mode of `torch.nn.functional.pad`, and every `stride`-th value is kept.  The
    transpose of such a convolution puts `stride` - 1 zeros between the values first.
    """
    ndim, channels = image.ndim - 2, image.shape[1]
    convolve: Callable[..., Tensor]
    if transposed:
        convolve = F.conv_transpose2d if ndim == 2 else F.conv_transpose3d
    else:
        convolve = F.conv2d if ndim == 2 else F.conv3d
    shape, strides, margins = [1] * ndim, [1] * ndim, [0] * (2 * ndim)
    shape[axis - 2], strides[axis - 2] = -1, stride
    # F.pad counts from the last axis.
    last = 2 * (image.ndim - 1 - axis)
    margins[last] = margins[last + 1] = margin
    kernel = taps.to(image).reshape(1, 1, *shape)
    kernel = kernel.expand(channels, *[-1] * (ndim + 1))
    return convolve(
        F.pad(image, margins, mode), kernel, stride=strides, groups=channels
    )


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur the spatial axes of (N, C, ...) with a Gaussian cut at 3 sigma.

    Borders are mirrored; an axis shorter than the kernel takes a shorter kernel.
    """
    for axis in range(2, image.ndim):
        interrupt.check()
        radius = min(math.ceil(3 * sigma), image.shape[axis] - 1)
        taps = gaussian_taps(radius, sigma, image.dtype, image.device)
        # An axis of one pixel has nothing to be mirrored.
        mode = "reflect" if radius else "constant"
        image = convolve_axis(image, axis, taps / taps.sum(), margin=radius, mode=mode)
    return image


def gaussian_mean(
    values: Tensor, weight: Tensor, sigma: float
) -> tuple[Tensor, Tensor]:
    """Return Gaussian means of values by their weights, and the blurred weights."""
    if bool((weight == 1).all()):
        return gaussian_blur(values, sigma), weight
    near = gaussian_blur(weight, sigma).clamp(min=1e-6)
    return gaussian_blur(values * weight, sigma) / near, near
