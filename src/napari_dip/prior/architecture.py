"""The generator networks f_theta as data, and the module built from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dip.errors import InputError
from napari_dip.prior import registry, resampling
from napari_dip.prior.generators import ResNet, UNet
from napari_dip.prior.layers import (
    Conv,
    draw_weights,
    memory_format,
    normalize,
    strides,
    upsample,
)
from napari_dip.prior.local import Local
from napari_dip.prior.operators import convolve_axis

UPSAMPLING = ("bilinear", "nearest")
DOWNSAMPLING = ("stride", "average", "max", "lanczos")
PADDING = ("reflection", "zero")
KERNELS = ("down_kernel", "up_kernel", "skip_kernel")
OUTPUT = ("sigmoid", "softplus", "linear")


class Generates(Protocol):
    """Anything that can be the generator of a fit."""

    @property
    def widest(self) -> int:
        """Most channels at full resolution, for the estimate of memory."""
        ...

    def multiple(self, ndim: int) -> tuple[int, ...]:
        """Return what the sides of an image have to be multiples of."""
        ...

    def build(
        self,
        inputs: int,
        outputs: int,
        sides: tuple[int, ...],
        generator: torch.Generator | None,
    ) -> nn.Module:
        """Return the network that maps (1, inputs, ...) to (1, outputs, ...)."""
        ...


@dataclass(frozen=True)
class Architecture:
    """An hourglass network as in Fig. 20 of the first paper.

    Every scale halves the resolution with two convolutions, a skip branch
    carries the scale's input across, and on the way up the upsampled features
    and the skip branch are concatenated, normalised and convolved.

    Parameters
    ----------
    down, up, skip : tuple of int
        Channels per scale, finest first (n_d, n_u, n_s); a skip of 0 is none.
    down_kernel, up_kernel, skip_kernel : int or tuple of int
        Odd kernel sizes (k_d, k_u, k_s), one for all scales or one per scale.
    upsampling : {"bilinear", "nearest"} or tuple of these
        Interpolation on the way up, ``align_corners=False``, one for all scales or
        one per scale.
    downsampling : {"stride", "average", "max", "lanczos"}
        How a scale halves the resolution.
    pointwise : bool
        Whether a 1x1 convolution follows the convolution on the way up.
    padding : {"reflection", "zero"}
        Border of the convolutions.
    output : {"sigmoid", "softplus", "linear"}
        Last activation; softplus is non-negative without an upper end.
    zero_init : bool
        Whether the last convolution starts at zero: the first output is the same
        everywhere, 0.5 after a sigmoid, for networks that correct another image.
    flat_scales : int
        How many of the finest scales leave the first spatial axis of a volume
        at full resolution: for stacks whose planes are further apart than
        their pixels.

    Notes
    -----
    The defaults are the published "super-resolution (default architecture)"
    (Ulyanov, Vedaldi, Lempitsky, Deep Image Prior, IJCV 2020, section 4).
    Convolutions that a normalisation follows carry no bias: the normalisation
    subtracts it again, so the function and its gradients are those of the
    published network.
    """

    down: tuple[int, ...] = (128,) * 5
    up: tuple[int, ...] = (128,) * 5
    skip: tuple[int, ...] = (4,) * 5
    down_kernel: int | tuple[int, ...] = 3
    up_kernel: int | tuple[int, ...] = 3
    skip_kernel: int | tuple[int, ...] = 1
    upsampling: str | tuple[str, ...] = "bilinear"
    downsampling: str = "stride"
    pointwise: bool = True
    padding: str = "reflection"
    output: str = "sigmoid"
    zero_init: bool = False
    flat_scales: int = 0

    def __post_init__(self) -> None:
        if not self.down or not len(self.down) == len(self.up) == len(self.skip):
            raise InputError(
                f"Architecture: down, up and skip must name the same number of "
                f"scales, at least one; got {self.down}, {self.up}, {self.skip}"
            )
        if min(self.down + self.up) < 1 or min(self.skip) < 0:
            raise InputError(
                f"Architecture: widths must be positive and skips 0 or more; got "
                f"down={self.down}, up={self.up}, skip={self.skip}"
            )
        for name, known in (
            ("downsampling", DOWNSAMPLING),
            ("padding", PADDING),
            ("output", OUTPUT),
        ):
            if getattr(self, name) not in known:
                raise InputError(
                    f"Architecture: {name} must be one of {', '.join(known)}; "
                    f"got {getattr(self, name)!r}"
                )
        if not set(self.upsamplings) <= set(UPSAMPLING) or (
            len(self.upsamplings) != self.scales
        ):
            raise InputError(
                f"Architecture: upsampling must be one of {', '.join(UPSAMPLING)}, for "
                f"all or one per scale ({self.scales}); got {self.upsampling!r}"
            )
        if not 0 <= self.flat_scales <= self.scales:
            raise InputError(
                f"Architecture: flat_scales must be from 0 to the number of scales "
                f"({self.scales}); got {self.flat_scales}"
            )
        for name in KERNELS:
            kernels = self._per_scale(name)
            if len(kernels) != self.scales or any(k < 1 or k % 2 == 0 for k in kernels):
                raise InputError(
                    f"Architecture: {name} must be odd, one for all or one per "
                    f"scale ({self.scales}); got {getattr(self, name)}"
                )

    @classmethod
    def uniform(
        cls, width: int, scales: int, skip: int = 4, **changes: Any
    ) -> Architecture:
        """Return an hourglass of equal widths at every scale."""
        widths = (width,) * scales
        return cls(down=widths, up=widths, skip=(skip,) * scales, **changes)

    @property
    def scales(self) -> int:
        """Number of scales, each halving the resolution once."""
        return len(self.down)

    @property
    def widest(self) -> int:
        """Most channels at full resolution."""
        return max(self.up)

    @property
    def upsamplings(self) -> tuple[str, ...]:
        """Interpolation of every scale."""
        if isinstance(self.upsampling, str):
            return (self.upsampling,) * self.scales
        return tuple(self.upsampling)

    def _per_scale(self, name: str) -> tuple[int, ...]:
        value = getattr(self, name)
        return (value,) * self.scales if isinstance(value, int) else tuple(value)

    def strides(self, ndim: int) -> list[tuple[int, ...]]:
        """Return the downsampling factors of every scale, finest first."""
        return strides(self.scales, self.flat_scales, ndim)

    def multiple(self, ndim: int) -> tuple[int, ...]:
        """Return what the sides of an image have to be multiples of."""
        return tuple(math.prod(s) for s in zip(*self.strides(ndim), strict=True))

    def build(
        self,
        inputs: int,
        outputs: int,
        sides: tuple[int, ...],
        generator: torch.Generator | None,
    ) -> Hourglass:
        """Return the network with weights drawn from `generator`.

        Parameters
        ----------
        inputs, outputs : int
            Channels of the code and of the image.
        sides : tuple of int
            Spatial shape of the code and the image, 2-D or 3-D.
        generator : torch.Generator, optional
            Source of the weights; the global generator is not touched.  Without
            one the weights are left as allocated.
        """
        network = Hourglass(self, inputs, outputs, len(sides))
        if generator is None:
            return network
        draw_weights(network, generator)
        if self.zero_init:
            for parameter in network.head.parameters():
                nn.init.zeros_(parameter)
        return network


@dataclass(frozen=True)
class Pixels:
    """No network at all: the pixels themselves are what is fitted.

    The comparison of the first paper's figures 14 and 16, alone or with a total
    variation penalty.
    """

    widest: int = 1

    def multiple(self, ndim: int) -> tuple[int, ...]:
        """Return what the sides of an image have to be multiples of."""
        return (1,) * ndim

    def build(
        self,
        inputs: int,
        outputs: int,
        sides: tuple[int, ...],
        generator: torch.Generator | None,
    ) -> nn.Module:
        """Return a module that gives the same pixels for every code."""
        return _Canvas(outputs, sides, generator)


ARCHITECTURES: dict[str, type[Any]] = {
    "hourglass": Architecture,
    "local": Local,
    "unet": UNet,
    "resnet": ResNet,
    "pixels": Pixels,
}
"""Names of the architectures, as they are written in JSON."""


def to_dict(architecture: Generates) -> dict[str, Any]:
    """Return an architecture as JSON holds it: its name and its parameters."""
    return registry.to_dict(architecture, ARCHITECTURES)


def from_dict(data: Mapping[str, Any]) -> Generates:
    """Return the architecture that `to_dict` has written."""
    architecture: Generates = registry.from_dict(data, ARCHITECTURES, "architecture")
    return architecture


class _Canvas(nn.Module):
    def __init__(
        self, channels: int, sides: tuple[int, ...], generator: torch.Generator | None
    ) -> None:
        super().__init__()
        logits = torch.zeros(1, channels, *sides, dtype=torch.float32)
        if generator is not None:
            logits.normal_(std=0.1, generator=generator)
        self.logits = nn.Parameter(logits)

    def forward(self, code: Tensor) -> Tensor:
        return torch.sigmoid(self.logits)


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


class _Pool(nn.Module):
    def __init__(self, kind: str, stride: tuple[int, ...]) -> None:
        super().__init__()
        ndim = len(stride)
        self.stride = stride
        self.pool: Callable[..., Tensor]
        if kind == "average":
            self.pool = F.avg_pool2d if ndim == 2 else F.avg_pool3d
        else:
            self.pool = F.max_pool2d if ndim == 2 else F.max_pool3d

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x, self.stride)


class _Scale(nn.Module):
    """One scale of the hourglass, wrapped around the coarser ones."""

    def __init__(
        self, a: Architecture, level: int, cin: int, ndim: int, below: _Scale | None
    ) -> None:
        super().__init__()
        width, up, skip = a.down[level], a.up[level], a.skip[level]
        kernel, up_kernel, skip_kernel = (a._per_scale(k)[level] for k in KERNELS)
        self.stride = a.strides(ndim)[level]
        self.upsampling = a.upsamplings[level]

        def conv(i: int, o: int, k: int, stride: tuple[int, ...] | None = None) -> Conv:
            return Conv(i, o, k, ndim, stride=stride, padding=a.padding)

        shrink: list[nn.Module]
        if a.downsampling == "stride":
            shrink = [conv(cin, width, kernel, self.stride)]
        elif a.downsampling == "lanczos":
            shrink = [conv(cin, width, kernel), Lanczos(self.stride)]
        else:
            shrink = [conv(cin, width, kernel), _Pool(a.downsampling, self.stride)]
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
