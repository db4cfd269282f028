"""The other generators of the first paper's comparison: U-Net and ResNet (Fig. 13)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from napari_dip.errors import InputError
from napari_dip.prior.kinds import check_fields
from napari_dip.prior.scales import check_widths


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.ReLU(),
    ]


class _UNet(nn.Module):
    def __init__(self, unet: UNet, inputs: int, outputs: int) -> None:
        super().__init__()
        widths = unet.widths
        before = (inputs, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(*_convolution(i, o), *_convolution(o, o))
            for i, o in zip(before, widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(deep, fine, 4, stride=2, padding=1)
            for deep, fine in pairs
        )
        self.up = nn.ModuleList(
            nn.Sequential(*_convolution(2 * fine, fine), *_convolution(fine, fine))
            for _, fine in pairs
        )
        self.head = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, code: Tensor) -> Tensor:
        # In float32 throughout: transposed convolutions gain nothing from less.
        x, across = code.float(), []
        for number, block in enumerate(self.down):
            x = block(self.pool(x) if number else x)
            across.append(x)
        for grow, block, skip in zip(self.grow, self.up, across[-2::-1], strict=True):
            x = block(torch.cat([grow(x), skip], dim=1))
        return torch.sigmoid(self.head(x))


class _ResNet(nn.Module):
    def __init__(self, resnet: ResNet, inputs: int, outputs: int) -> None:
        super().__init__()
        width = resnet.width
        self.first = nn.Sequential(
            nn.Conv2d(inputs, width, 3, padding=1), nn.LeakyReLU(0.2)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.InstanceNorm2d(width, affine=True),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.InstanceNorm2d(width, affine=True),
            )
            for _ in range(resnet.blocks)
        )
        self.last = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.InstanceNorm2d(width, affine=True),
            nn.Conv2d(width, outputs, 3, padding=1),
        )

    def forward(self, code: Tensor) -> Tensor:
        x = self.first(code.float())
        for block in self.blocks:
            x = x + block(x)
        return torch.sigmoid(self.last(x))


class Planar:
    """Base of networks for planes, with torch's own initialisation."""

    module: ClassVar[Callable[..., nn.Module]]
    """Makes the network, its weights from torch's global generator."""

    def build(
        self,
        inputs: int,
        outputs: int,
        sides: tuple[int, ...],
        generator: torch.Generator | None,
    ) -> nn.Module:
        """Return the network with weights drawn from `generator`."""
        if len(sides) != 2:
            name = type(self).__name__
            raise InputError(f"{name} is for images of 2 dimensions; got {len(sides)}")
        with torch.random.fork_rng(devices=[]):
            if generator is not None:
                torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            return type(self).module(self, inputs, outputs).float()


@dataclass(frozen=True)
class UNet(Planar):
    """A U-Net (Ronneberger et al., 2015), whose skips carry everything across.

    Parameters
    ----------
    widths : tuple of int
        Channels of every scale, finest first.  The published comparison divides
        64 to 1024 by 8 and adds one scale more.

    Notes
    -----
    Two zero-padded 3x3 convolutions with instance normalisation and ReLU per scale,
    max pooling on the way down, transposed convolutions on the way up.
    """

    module = _UNet

    widths: tuple[int, ...] = (8, 16, 32, 64, 128, 128)

    def __post_init__(self) -> None:
        check_widths(self)

    @property
    def widest(self) -> int:
        """Most channels at full resolution."""
        return 2 * self.widths[0]

    def multiple(self, ndim: int) -> tuple[int, ...]:
        """Return what the sides of an image have to be multiples of."""
        return (2 ** (len(self.widths) - 1),) * ndim


@dataclass(frozen=True)
class ResNet(Planar):
    """A ResNet at full resolution, without any change of scale.

    Parameters
    ----------
    blocks, width : int
        Residual blocks and their channels; 8 and 32 in the published comparison.
    """

    module = _ResNet

    blocks: int = 8
    width: int = 32

    def __post_init__(self) -> None:
        check_fields(self, "ResNet")
        if self.blocks < 0 or self.width < 1:
            raise InputError(
                f"ResNet: blocks must be 0 or more and width 1 or more; got "
                f"blocks={self.blocks}, width={self.width}"
            )

    @property
    def widest(self) -> int:
        """Most channels at full resolution."""
        return self.width

    def multiple(self, ndim: int) -> tuple[int, ...]:
        """Return what the sides of an image have to be multiples of."""
        return (1,) * ndim
