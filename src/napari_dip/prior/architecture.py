"""The generator networks f_theta as data, and the module built from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from napari_dip.errors import InputError
from napari_dip.prior import registry
from napari_dip.prior.generators import ResNet, UNet
from napari_dip.prior.hourglass import KERNELS, Hourglass
from napari_dip.prior.kinds import check_fields, check_kind
from napari_dip.prior.layers import draw_weights
from napari_dip.prior.local import Local
from napari_dip.prior.scales import Halving

UPSAMPLING = ("bilinear", "nearest")
DOWNSAMPLING = ("stride", "average", "max", "lanczos")
PADDING = ("reflection", "zero")
OUTPUT = ("sigmoid", "softplus", "linear")


@runtime_checkable
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


def is_local(network: Generates) -> bool:
    """Return whether weights of a network serve images of every size.

    The class of the network says so by a true attribute `local`.
    """
    return bool(getattr(network, "local", False))


@dataclass(frozen=True)
class Architecture(Halving):
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
        check_fields(self, "Architecture")
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
        upsamplings = self.per_scale("upsampling")
        if not set(upsamplings) <= set(UPSAMPLING) or len(upsamplings) != self.scales:
            raise InputError(
                f"Architecture: upsampling must be one of {', '.join(UPSAMPLING)}, for "
                f"all or one per scale ({self.scales}); got {self.upsampling!r}"
            )
        self.check_flat_scales()
        for name in KERNELS:
            kernels = self.per_scale(name)
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
        for name, value in (("width", width), ("scales", scales), ("skip", skip)):
            check_kind(value, int, f"Architecture: {name}")
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

    def per_scale(self, name: str) -> tuple[Any, ...]:
        """Return a parameter that is given for all scales or for each, for each."""
        value = getattr(self, name)
        return (value,) * self.scales if isinstance(value, int | str) else tuple(value)

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

    def __post_init__(self) -> None:
        check_fields(self, "Pixels", widest=(1, math.inf))

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
