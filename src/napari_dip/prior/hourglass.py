"""The hourglass network, as a module built from an `Architecture`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dip.errors import InputError
from napari_dip.prior import resampling
from napari_dip.prior.layers import Conv, memory_format, normalize, upsample
from napari_dip.prior.operators import convolve_axis

if TYPE_CHECKING:
    from napari_dip.prior.architecture import Architecture


KERNELS = ("down_kernel", "up_kernel", "skip_kernel")
"""Kernel sizes of an `Architecture`, one for all scales or one per scale."""

POOLS: dict[str, tuple[Callable[..., nn.Module], ...]] = {
    "average": (nn.AvgPool2d, nn.AvgPool3d),
    "max": (nn.MaxPool2d, nn.MaxPool3d),
}
"""Poolings that halve the resolution of planes and of volumes."""


class NormAct(nn.Module):
    """Normalisation with the sample's own statistics, then LeakyReLU(0.2)."""

    def __init__(self, channels: int, *, activate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(channels, dtype=torch.float32))
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and activate."""
        x = normalize(x, self.weight, self.bias)
        # In place is safe: the normalisation keeps its input, not its output.
        return F.leaky_relu_(x, 0.2) if self.activate else x


class Lanczos(nn.Module):
    """Low-pass filter and decimation by two, fixed, with the Lanczos-2 kernel.

    What `resampling.lanczos` does to images, along the axes whose stride is two.
    """

    def __init__(self, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.taps: Tensor
        self.register_buffer("taps", resampling.lanczos(2).taps, persistent=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Filter and decimate."""
        for axis, factor in enumerate(self.stride, start=2):
            if factor == 2:
                x = convolve_axis(x, axis, self.taps, margin=3, stride=2)
        return x


class _Scale(nn.Module):
    def __init__(
        self, a: Architecture, level: int, cin: int, ndim: int, below: _Scale | None
    ) -> None:
        super().__init__()
        width, up, skip = a.down[level], a.up[level], a.skip[level]
        kernel, up_kernel, skip_kernel = (a.per_scale(name)[level] for name in KERNELS)
        self.stride = a.strides(ndim)[level]
        self.upsampling = a.per_scale("upsampling")[level]

        def conv(i: int, o: int, k: int, stride: tuple[int, ...] | None = None) -> Conv:
            return Conv(i, o, k, ndim, stride=stride, padding=a.padding)

        shrink: list[nn.Module]
        if a.downsampling == "stride":
            shrink = [conv(cin, width, kernel, self.stride)]
        elif a.downsampling == "lanczos":
            shrink = [conv(cin, width, kernel), Lanczos(self.stride)]
        else:
            pool = POOLS[a.downsampling][ndim - 2]
            shrink = [conv(cin, width, kernel), pool(self.stride)]
        self.down = nn.Sequential(
            *shrink, NormAct(width), conv(width, width, kernel), NormAct(width)
        )
        self.below = below
        self.channels: int = up
        deep = width if below is None else below.channels
        self.skip = (
            nn.Sequential(conv(cin, skip, skip_kernel), NormAct(skip)) if skip else None
        )
        merge = [
            NormAct(skip + deep, activate=False),
            conv(skip + deep, up, up_kernel),
            NormAct(up),
        ]
        if a.pointwise:
            merge += [conv(up, up, 1), NormAct(up)]
        self.merge = nn.Sequential(*merge)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.down(x)
        if self.below is not None:
            deep = self.below(deep)
        deep = upsample(deep, self.stride, self.upsampling)
        if self.skip is not None:
            deep = torch.cat([self.skip(x), deep], dim=1)
        out: Tensor = self.merge(deep)
        return out


class Hourglass(nn.Module):
    """The network of an `Architecture`; see `Architecture.build`.

    Input (1, inputs, Y, X) or (1, inputs, Z, Y, X) whose sides are multiples of
    `Architecture.multiple`; output the same size with `outputs` channels, always
    float32.  Inside it computes in the dtype of its input.
    """

    def __init__(
        self, architecture: Architecture, inputs: int, outputs: int, ndim: int
    ) -> None:
        super().__init__()
        if ndim not in (2, 3):
            raise InputError(f"ndim must be 2 or 3; got {ndim}")
        self.architecture = architecture
        self.ndim = ndim
        body: _Scale | None = None
        for level in reversed(range(architecture.scales)):
            cin = inputs if level == 0 else architecture.down[level - 1]
            body = _Scale(architecture, level, cin, ndim, body)
        assert body is not None
        self.body = body
        self.head = Conv(body.channels, outputs, 1, ndim, bias=True)

    def forward(self, code: Tensor) -> Tensor:
        """Return the image of a code."""
        code = code.contiguous(memory_format=memory_format(self.ndim))
        out: Tensor = self.head(self.body(code)).float()
        output = self.architecture.output
        if output == "sigmoid":
            return torch.sigmoid(out)
        # Ten times as steep as torch's: linear from small intensities on.
        return F.softplus(out, beta=10) if output == "softplus" else out
