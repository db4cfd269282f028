"""Fixed linear operators on image tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Blur the spatial axes of (N, C, ...) with a Gaussian cut at 3 sigma.

    Borders are mirrored; an axis shorter than the kernel takes a shorter kernel.
    """
    ndim = image.ndim - 2
    convolve = F.conv2d if ndim == 2 else F.conv3d
    channels = image.shape[1]
    for axis in range(ndim):
        radius = min(math.ceil(3 * sigma), image.shape[2 + axis] - 1)
        x = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
        taps = torch.exp(-0.5 * (x / sigma).square())
        shape = [1] * ndim
        shape[axis] = -1
        kernel = (taps / taps.sum()).reshape(1, 1, *shape)
        margin = [0, 0] * ndim
        last_first = 2 * (ndim - 1 - axis)
        margin[last_first] = margin[last_first + 1] = radius
        mode = "reflect" if radius else "constant"
        image = convolve(
            F.pad(image, margin, mode=mode),
            kernel.expand(channels, *[-1] * (ndim + 1)),
            groups=channels,
        )
    return image
