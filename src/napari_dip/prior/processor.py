"""What processors compute quickly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

BAND = 8192
"""Pixels that are multiplied at a time; they and their neighbours fit in the cache."""

FEW_CHANNELS = 16
FEW_PIXELS = 24 * 24
"""Channels, and pixels of an image, below which oneDNN's AVX2 code is quick enough."""


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 by itself.

    CPUs with AVX512-BF16 or AMX do, and CUDA GPUs from Ampere on.  Others emulate it: a
    product of matrices takes ten times as long as in float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    # Private in torch, and absent from builds for other processors.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, n, bool)() for n in names)


def is_slow_at_kernel_gradients(
    x: Tensor, weight: Tensor, stride: Sequence[int]
) -> bool:
    """Return whether the gradient of a kernel is better made by `kernel_gradient`.

    oneDNN's AVX2 code takes three to five times as long for it as for the convolution,
    if the channels are last, and neither they nor the pixels are few.  For volumes both
    ways take as long.
    """
    return (
        x.ndim == 4
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and max(stride) == 1 < weight.shape[-1]
        and min(weight.shape[:2]) >= FEW_CHANNELS
        and math.prod(x.shape[2:]) >= FEW_PIXELS
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
    )


def kernel_gradient(x: Tensor, grad: Tensor, side: int) -> Tensor:
    """Return the gradient of the kernel of a 2-D convolution of stride 1.

    It is a product of two matrices over the pixels.  The columns of one are pixels of
    `x` that are neighbours along the last axis, those of the other are neighbours of
    `grad` along the axis before.

    Parameters
    ----------
    x : Tensor
        What was convolved, (N, C, Y + side - 1, X + side - 1), best with the channels
        last.
    grad : Tensor
        The gradient of the result, (N, K, Y, X).
    side : int
        Side of the kernel.

    Returns
    -------
    Tensor
        (K, C, side, side).
    """
    # Rows that are not there have no gradient.
    around = F.pad(grad.permute(0, 2, 3, 1), (0, 0, 0, 0, side - 1, side - 1))
    of_x = x.permute(0, 2, 3, 1).unfold(2, side, 1).transpose(3, 4)
    of_grad = around.unfold(1, side, 1).transpose(3, 4)
    columns, lines = side * x.shape[1], side * grad.shape[1]
    rows = max(1, BAND // grad.shape[3])
    product = grad.new_zeros(lines, columns)
    for pair in zip(of_x, of_grad, strict=True):
        for seen, given in zip(*(t.split(rows) for t in pair), strict=True):
            product.addmm_(given.reshape(-1, lines).T, seen.reshape(-1, columns))
    # The first rows of `around` are the farthest down in the kernel.
    kernel = product.reshape(side, -1, side, x.shape[1]).flip(0)
    return kernel.permute(1, 3, 0, 2)
