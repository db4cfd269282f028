"""An hourglass without normalisation, for fits of few iterations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dip.prior.layers import Conv, draw_weights, memory_format, upsample
from napari_dip.prior.scales import Halving, check_widths

MARGIN = 0.1
"""How far below 0 and above 1 the output can go.  A sigmoid from 0 to 1 has hardly any
gradient where an image is black: fits of dark images were stuck there."""

LEAST_SLOPE = 0.01
"""Slope that is added to that of the sigmoid where it is less.  The first steps may
take the output of a dark image to the end of the range everywhere, where a sigmoid
alone has no gradient to come back by: fits of spots on black were stuck there from some
seeds."""


@dataclass(frozen=True)
class Local(Halving):
    """An hourglass whose output at a pixel depends on a window around it only.

    As `Architecture` with wide skips, but nothing is normalised, and the convolution
    that follows the upsampling there is done before it, at a quarter of the pixels,
    and its result added to that of the skip branch.  A step takes half the time.

    Parameters
    ----------
    widths : tuple of int
        Channels of every scale, finest first.
    flat_scales : int
        How many of the finest scales leave the first axis of a volume at full
        resolution.

    Notes
    -----
    Without normalisation, Muon keeps the gain of every kernel in bounds.  Weights are
    drawn from U(-b, b) with ``b = (3 / fan_in)^1/2``, which keeps the variance of the
    features from layer to layer; biases begin at zero.  What the network makes of a
    window is the same in every image, so that its weights serve other parts of the
    image and other images of the same kind.
    """

    local: ClassVar[bool] = True

    widths: tuple[int, ...] = (32,) * 4
    flat_scales: int = 0

    def __post_init__(self) -> None:
        check_widths(self)
        self.check_flat_scales()

    @property
    def scales(self) -> int:
        """Number of scales, each halving the resolution once."""
        return len(self.widths)

    @property
    def widest(self) -> int:
        """Most channels at full resolution."""
        return self.widths[0]

    def build(
        self,
        inputs: int,
        outputs: int,
        sides: tuple[int, ...],
        generator: torch.Generator | None,
    ) -> nn.Module:
        """Return the network with weights drawn from `generator`."""
        network = _Local(self, inputs, outputs, len(sides))
        if generator is None:
            return network
        draw_weights(network, generator)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
            for weight in network.body.parameters():
                weight.mul_(3**0.5)
        return network


class _Scale(nn.Module):
    def __init__(
        self, widths: Sequence[int], factors: Sequence[tuple[int, ...]], inputs: int
    ) -> None:
        super().__init__()
        width, last = widths[0], len(widths) == 1
        deep = width if last else widths[1]
        self.stride = factors[0]
        ndim = len(self.stride)

        def conv(i: int, kernel: int, stride: tuple[int, ...] | None = None) -> Conv:
            return Conv(i, width, kernel, ndim, stride=stride, bias=True)

        self.shrink = conv(inputs, 3, self.stride)
        self.down = conv(width, 3)
        self.below = None if last else _Scale(widths[1:], factors[1:], width)
        self.skip = conv(inputs, 3)
        self.across = conv(width, 3)
        # The bias of `across` is that of the sum.
        self.up = Conv(deep, width, 3, ndim)
        self.merge = conv(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        deep = _activate(self.down(_activate(self.shrink(x))))
        if self.below is not None:
            deep = self.below(deep)
        across = self.across(_activate(self.skip(x)))
        both = across + upsample(self.up(deep), self.stride, "bilinear")
        return _activate(self.merge(_activate(both)))


def _activate(x: Tensor) -> Tensor:
    # In place is safe: neither convolutions nor sums keep their output.
    return F.leaky_relu_(x, 0.2)


class _Local(nn.Module):
    def __init__(self, local: Local, inputs: int, outputs: int, ndim: int) -> None:
        super().__init__()
        self.ndim = ndim
        self.body = _Scale(local.widths, local.strides(ndim), inputs)
        self.head = Conv(local.widths[0], outputs, 1, ndim, bias=True)

    def forward(self, code: Tensor) -> Tensor:
        code = code.contiguous(memory_format=memory_format(self.ndim))
        out: Tensor = self.head(self.body(code)).float()
        inside = torch.sigmoid(out)
        flat = inside * (1 - inside) < LEAST_SLOPE
        # The last factor is zero, and its gradient is one.
        inside = inside + LEAST_SLOPE * flat * (out - out.detach())
        return (1 + 2 * MARGIN) * inside - MARGIN
