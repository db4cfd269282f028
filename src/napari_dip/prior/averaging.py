"""Exponential moving averages of outputs or weights: the result of a fit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from napari_dip.prior import runtime
from napari_dip.prior.codes import Drawing
from napari_dip.prior.layers import corner


class Average:
    """Bias-corrected exponential moving average (EMA) of the outputs, pixel by pixel.

    ``value = sum_t decay^(T-t) w_t f_t / sum_t decay^(T-t) w_t``: with weights of one
    the first paper's sliding window (section 3.1, gamma = 0.99) without the weight that
    the published program gives the first, gray output; with the hidden pixels as
    weights only predictions of hidden pixels count.  With `per_channel` the weights
    differ between channels.
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


def predict(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    code: Drawing,
    shape: tuple[int, ...],
    place: runtime.Place,
) -> Tensor:
    """Return what a network with certain weights makes of every pixel, (N, C, ...).

    Where the code hides pixels, each is predicted in a pass in which it is hidden.
    """
    # A generator of its own: looking at a fit does not change it.
    random = runtime.generator(0, place.device)
    with runtime.step_context(place.threads), torch.no_grad():
        total = torch.zeros(shape, device=place.device, dtype=torch.float32)
        seen = torch.zeros_like(total)
        for view, hidden, window in code.cover(random):
            output = torch.func.functional_call(  # to look for tied weights takes long
                network, dict(weights), (view.to(place.dtype),), tie_weights=False
            )[corner(shape[2:])]
            weight = torch.ones_like(output) if hidden is None else hidden
            if window is None:
                total.addcmul_(output, weight)
                seen.add_(weight)
            else:
                total.index_add_(0, window, output * weight)
                seen.index_add_(0, window, weight.expand_as(output))
    return total / seen


class WeightAverage:
    """Bias-corrected exponential moving average of the weights of a network.

    The image, of a shape (N, C, ...), is what the averaged weights make of every pixel.
    Where the code hides pixels, each is predicted in a pass in which it is hidden.
    """

    def __init__(
        self,
        network: nn.Module,
        code: Drawing,
        shape: tuple[int, ...],
        decay: float,
        place: runtime.Place,
    ) -> None:
        self.network, self.code, self.place = network, code, place
        self.shape, self.decay = shape, decay
        self.current = {n: p.detach() for n, p in network.named_parameters()}
        self.sums = {name: torch.zeros_like(p) for name, p in self.current.items()}
        self.weight = torch.zeros((), device=place.device, dtype=torch.float32)

    def update(self, output: Tensor | None, weight: Tensor | None = None) -> None:
        """Add the weights as they are; the output says nothing that they do not."""
        sums = list(self.sums.values())
        torch._foreach_mul_(sums, self.decay)
        torch._foreach_add_(sums, list(self.current.values()))
        self.weight.mul_(self.decay).add_(1)

    def weights(self) -> dict[str, Tensor]:
        """Return the averaged weights."""
        scale = self.weight.clamp(min=1e-12)
        return {name: total / scale for name, total in self.sums.items()}

    def value(self) -> Tensor:
        """Return the image of the averaged weights, a new tensor."""
        return predict(self.network, self.weights(), self.code, self.shape, self.place)

    def reset(self) -> None:
        """Forget all weights."""
        torch._foreach_zero_([*self.sums.values(), self.weight])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums of the weights and of their factors."""
        return {**self.sums, "weight": self.weight}
