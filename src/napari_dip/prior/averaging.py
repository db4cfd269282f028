"""The exponential moving average of the outputs, which is the result of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from napari_dip.prior.snapshot import overwrite


class Average:
    """Bias-corrected exponential moving average (EMA) of the outputs, pixel by pixel.

    ``value = sum_t decay^(T-t) w_t f_t / sum_t decay^(T-t) w_t``: with weights of
    one the first paper's sliding window (section 3.1, gamma = 0.99) without the
    weight that the published program gives the first, gray output; with the
    hidden pixels as weights only predictions of hidden pixels count.

    Parameters
    ----------
    shape : tuple of int
        Shape of the outputs, (1, C, ...).
    decay : float
        EMA decay: the weight of the past, in [0, 1).
    device : torch.device
        Where it lives.
    per_channel : bool
        Whether the weights differ between channels.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        decay: float,
        device: torch.device,
        *,
        per_channel: bool = False,
    ) -> None:
        self.decay = decay
        self.sum = torch.zeros(shape, device=device, dtype=torch.float32)
        weights = shape if per_channel else (1, 1, *shape[2:])
        self.weight = torch.zeros(weights, device=device, dtype=torch.float32)

    def update(self, output: Tensor, weight: Tensor | None = None) -> None:
        """Add one output, weighted by `weight`, (1, 1, ...) or (1, C, ...)."""
        self.sum.mul_(self.decay)
        self.weight.mul_(self.decay)
        if weight is None:
            self.sum.add_(output)
            self.weight.add_(1)
        else:
            self.sum.addcmul_(output, weight)
            self.weight.add_(weight)

    def value(self) -> Tensor:
        """Return the average, a new tensor.

        Pixels that no weight has reached yet take the mean of the others.
        """
        value = self.sum / self.weight.clamp(min=1e-12)
        reached = self.weight > 0
        spatial = tuple(range(2, value.ndim))
        total = (value * reached).sum(spatial, keepdim=True)
        mean = total / reached.sum(spatial, keepdim=True).clamp(min=1)
        return torch.where(reached, value, mean)

    def reset(self) -> None:
        """Forget every output."""
        self.sum.zero_()
        self.weight.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the two sums."""
        return {"sum": self.sum, "weight": self.weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the two sums."""
        overwrite(self.state_dict(), state, "state: average")
