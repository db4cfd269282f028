"""Optimisers: Adam as published, and Muon for the convolution kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

ORTHOGONAL_ABOVE = 64
"""Kernels with more inputs per output than this are orthogonalised by Muon."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised, for convolution kernels.

    K. Jordan et al., Muon (2024).  Every kernel is taken as the matrix (out,
    in * k * k); its Nesterov momentum is replaced by the nearest semi-orthogonal
    matrix, found with five Newton-Schulz steps of a quintic, and scaled by
    ``sqrt(max(1, rows / columns))``.  ``torch.optim.Muon`` refuses kernels.

    Parameters
    ----------
    params : iterable of Tensor
        Parameters of two or more dimensions.
    lr : float or Tensor
        Learning rate; a tensor may be changed between steps of a CUDA graph.
    momentum : float
        Weight of the past gradients.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float | Tensor, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.flatten(1).shape, []).append(p)
            for shape, params in by_shape.items():
                self._step_alike(group, shape, params)
        return loss

    def _step_alike(
        self, group: dict[str, Any], shape: torch.Size, params: list[Tensor]
    ) -> None:
        """Orthogonalise all kernels of one shape in a batch."""
        momentum = group["momentum"]
        updates = []
        for p in params:
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p)
            buffer = state["momentum_buffer"]
            grad = p.grad
            assert grad is not None  # the caller chose those that have one
            buffer.lerp_(grad, 1 - momentum)
            updates.append(torch.lerp(grad, buffer, momentum).reshape(shape))
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        for p, update in zip(params, orthogonalize(torch.stack(updates)), strict=True):
            p.sub_(update.reshape(p.shape).to(p.dtype) * (group["lr"] * scale))


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return nearly semi-orthogonal matrices with the same row and column spaces.

    Singular values end between about 0.7 and 1.2.  The quintic's coefficients
    (3.4445, -4.7750, 2.0315) are Jordan's.

    Parameters
    ----------
    matrices : Tensor
        Batch of matrices, (n, rows, columns).
    steps : int
        Newton-Schulz iterations.
    """
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ x
    result: Tensor = x.mT if tall else x
    return result.float()


def make(
    network: nn.Module, kind: str, rate: float | Tensor, *, on_gpu: bool
) -> list[torch.optim.Optimizer]:
    """Return the optimisers of a fit.

    Parameters
    ----------
    network : nn.Module
        The generator.
    kind : {"adam", "muon"}
        With "muon", large kernels take Muon steps at `rate` and everything else
        Adam steps at 0.01.
    rate : float or Tensor
        Learning rate.
    on_gpu : bool
        Whether the steps must be fit for CUDA graphs.
    """
    adam: dict[str, Any] = {"fused": True}
    if on_gpu:
        adam["capturable"] = True
    params = [p for p in network.parameters() if p.requires_grad]
    if kind == "adam":
        return [torch.optim.Adam(params, lr=rate, **adam)]
    kernels: list[Tensor] = []
    others: list[Tensor] = []
    for p in params:
        wide = p.ndim > 2 and p[0].numel() > ORTHOGONAL_ABOVE
        (kernels if wide else others).append(p)
    made: list[torch.optim.Optimizer] = []
    if kernels:
        made.append(Muon(kernels, lr=rate))
    if others:
        small = rate.new_tensor(0.01) if isinstance(rate, Tensor) else 0.01
        made.append(torch.optim.Adam(others, lr=small, **adam))
    return made
