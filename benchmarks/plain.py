"""The deep image prior as its paper describes it, in plain eager PyTorch.

This is the yardstick: the published denoising network and loop (Ulyanov,
Vedaldi, Lempitsky, IJCV 2020, section 4, "Super-resolution (default
architecture)" and "Denoising"), written the obvious way with Adam, the mean
squared error, float32 and nothing done for speed.  It shares no code with
``napari_dip`` on purpose.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor, nn


def _conv(cin: int, cout: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.ReflectionPad2d(kernel // 2),
        nn.Conv2d(cin, cout, kernel, stride),
    )


class _Scale(nn.Module):
    """One level of the hourglass around the levels below it."""

    def __init__(self, cin: int, width: int, skip: int, below: nn.Module | None):
        super().__init__()

        def norm_act(channels: int) -> nn.Sequential:
            return nn.Sequential(nn.BatchNorm2d(channels), nn.LeakyReLU(0.2))

        self.skip = nn.Sequential(_conv(cin, skip, 1), norm_act(skip))
        self.down = nn.Sequential(
            _conv(cin, width, 3, stride=2),
            norm_act(width),
            _conv(width, width, 3),
            norm_act(width),
        )
        self.below = below or nn.Identity()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.merge = nn.Sequential(
            nn.BatchNorm2d(skip + width),
            _conv(skip + width, width, 3),
            norm_act(width),
            _conv(width, width, 1),
            norm_act(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        deep = self.up(self.below(self.down(x)))
        merged: Tensor = self.merge(torch.cat([self.skip(x), deep], dim=1))
        return merged


def network(channels: int = 3, width: int = 128, scales: int = 5) -> nn.Module:
    """Return the published hourglass: 32 inputs, skips of 4, sigmoid output."""
    below = None
    for level in reversed(range(scales)):
        below = _Scale(32 if level == 0 else width, width, 4, below)
    assert below is not None
    return nn.Sequential(below, _conv(width, channels, 1), nn.Sigmoid())


def loop(
    noisy: Tensor, *, seed: int = 0
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Yield (output, exponential average of the outputs) after every iteration.

    Parameters
    ----------
    noisy : Tensor
        Image of shape (1, C, Y, X) in [0, 1], sides divisible by 32.
    seed : int
        Seed of the global generator.
    """
    torch.manual_seed(seed)
    net = network(noisy.shape[1]).to(noisy.device)
    code = 0.1 * torch.rand(1, 32, *noisy.shape[2:], device=noisy.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    average = None
    while True:
        optimizer.zero_grad()
        output = net(code + torch.randn_like(code) / 30)
        nn.functional.mse_loss(output, noisy).backward()
        optimizer.step()
        output = output.detach()
        average = output if average is None else 0.99 * average + 0.01 * output
        yield output, average
