"""Optimisers: Adam as published, and Muon for the convolution kernels."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_dip.errors import InputError
from napari_dip.prior.kinds import check_kind, check_range
from napari_dip.prior.snapshot import overwrite

if TYPE_CHECKING:
    from napari_dip.prior.problem import Optimization

ORTHOGONAL_ABOVE = 64
"""Kernels with more inputs per output than this are orthogonalised by Muon."""

NEWTON_SCHULZ = 5
"""Iterations that orthogonalise a kernel."""


class _Plain(torch.optim.Optimizer):
    """An optimiser that does without torch's compiler, which takes a second to load.

    torch loads it only to keep it away from these functions.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters."""
        inspect.unwrap(super().add_param_group)(self, param_group)


class Adam(_Plain, torch.optim.Adam):
    """Adam (Kingma, Ba, Adam: A method for stochastic optimization, 2015), of torch."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step."""
        return inspect.unwrap(torch.optim.Adam.step)(self, closure)


class Muon(_Plain):
    """Momentum whose update is orthogonalised, for convolution kernels.

    K. Jordan et al., Muon (2024).  Every kernel is taken as the matrix (out, in * k *
    k); its Nesterov momentum is replaced by the nearest semi-orthogonal matrix, found
    with five Newton-Schulz steps of a quintic, and scaled by ``sqrt(max(1, rows /
    columns))``.  ``torch.optim.Muon`` refuses kernels.  A learning rate that is a
    tensor may be changed between steps of a CUDA graph.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float | Tensor, momentum: float = 0.95
    ) -> None:
        if not isinstance(lr, Tensor):  # reading one would wait for the device
            check_kind(lr, float, "Muon: lr")
            check_range(lr, 0, math.inf, "Muon: lr")
        check_kind(momentum, float, "Muon: momentum")
        check_range(momentum, 0, 1, "Muon: momentum")
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
                self._step_of_shape(group, shape, params)
        return loss

    def _step_of_shape(
        self, group: dict[str, Any], shape: torch.Size, params: list[Tensor]
    ) -> None:
        """Orthogonalise all kernels of one shape in a batch."""
        momentum = group["momentum"]
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        # The caller chose those that have one.
        gradients = [p.grad for p in params if p.grad is not None]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        nesterov = torch._foreach_lerp(gradients, buffers, momentum)
        updates = orthogonalize(torch.stack([u.reshape(shape) for u in nesterov]))
        updates *= group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
        changes = [u.reshape(p.shape) for p, u in zip(params, updates, strict=True)]
        torch._foreach_sub_(params, changes)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return nearly semi-orthogonal matrices with the same row and column spaces.

    They are a batch, (n, rows, columns), and come back in float32.  Singular values end
    between about 0.7 and 1.2.  The quintic's coefficients (3.4445, -4.7750, 2.0315) are
    Jordan's.
    """
    x = matrices.float()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    # Every iteration multiplies x by a polynomial of its Gram matrix: kept apart, they
    # cost a third where there are many columns.
    gram = x @ x.mT
    total = factor = _quintic(gram)
    for _ in range(NEWTON_SCHULZ - 1):
        gram = factor @ gram @ factor
        factor = _quintic(gram)
        total = factor @ total
    x = total @ x
    result: Tensor = x.mT if tall else x
    return result


def _quintic(gram: Tensor) -> Tensor:
    """Return what an iteration multiplies matrices of such Gram matrices by."""
    factor = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
    factor.diagonal(dim1=1, dim2=2).add_(3.4445)
    return factor


class Optimizers:
    """The optimisers of a fit as one, each for its own parameters.

    On a GPU, CUDA graphs take the steps: these read the learning rates from the device,
    where they can change.
    """

    def __init__(
        self, members: list[torch.optim.Optimizer], *, on_gpu: bool = False
    ) -> None:
        self.members = members
        self._factor = 1.0
        if on_gpu:
            for group in self._groups():
                device = group["params"][0].device
                group["lr"] = torch.tensor(group["lr"], device=device)
        self.learning_rates = [float(group["lr"]) for group in self._groups()]

    @property
    def parameters(self) -> list[Tensor]:
        """Every parameter that is fitted."""
        return [p for _, p in self._owned()]

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Take a step with each."""
        for optimizer in self.members:
            optimizer.step()

    def scale(self, factor: float) -> None:
        """Set every learning rate to its first value times `factor`."""
        if factor == self._factor:
            return
        self._factor = factor
        for rate, group in zip(self.learning_rates, self._groups(), strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor

    def state_dict(self) -> dict[str, Tensor]:
        """Return the moments and counts of every parameter, by its number."""
        return {
            f"{number}.{name}": value
            for number, (optimizer, p) in enumerate(self._owned())
            for name, value in optimizer.state.get(p, {}).items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the moments and counts, in place where there are some.

        Those that `state` lacks become zero, as they are before the first step.
        """
        for name, value in self.state_dict().items():
            if name not in state:
                value.zero_()
        owned = {str(i): pair for i, pair in enumerate(self._owned())}
        moments_of: dict[str, dict[str, Any]] = {}
        for name, value in state.items():
            number, _, kind = name.partition(".")
            if number not in owned:
                raise InputError(f"state: optimizers: {name} is of no parameter")
            moments_of.setdefault(number, {})[kind] = value
        for number, values in moments_of.items():
            optimizer, p = owned[number]
            moments = optimizer.state[p]
            if not moments:
                moments.update(_first_moments(optimizer, p))
            overwrite(moments, values, f"state: optimizers.{number}")

    def _groups(self) -> Iterator[dict[str, Any]]:
        for optimizer in self.members:
            yield from optimizer.param_groups

    def _owned(self) -> list[tuple[torch.optim.Optimizer, Tensor]]:
        return [
            (optimizer, p)
            for optimizer in self.members
            for group in optimizer.param_groups
            for p in group["params"]
        ]


def _first_moments(optimizer: torch.optim.Optimizer, p: Tensor) -> dict[str, Tensor]:
    """Return the moments and counts of a parameter before the first step."""
    # With the strides of the parameter: fused steps rely on them.
    if isinstance(optimizer, Muon):
        return {"momentum_buffer": torch.zeros_like(p)}
    step = torch.zeros((), device=p.device, dtype=torch.float32)
    return {
        "step": step,
        "exp_avg": torch.zeros_like(p),
        "exp_avg_sq": torch.zeros_like(p),
    }


def make(
    network: nn.Module, chosen: Optimization, *, on_gpu: bool
) -> list[torch.optim.Optimizer]:
    """Return the optimisers of a network, fit for CUDA graphs on a GPU.

    With "muon" large kernels take Muon steps, and everything else Adam steps at their
    own learning rate.
    """
    params = [p for p in network.parameters() if p.requires_grad]
    if chosen.optimizer == "adam":
        return [adam(params, chosen.learning_rate, on_gpu=on_gpu)]
    kernels: list[Tensor] = []
    others: list[Tensor] = []
    for p in params:
        large = p.ndim > 2 and p[0].numel() > ORTHOGONAL_ABOVE
        (kernels if large else others).append(p)
    optimizers: list[torch.optim.Optimizer] = []
    if kernels:
        optimizers.append(Muon(kernels, chosen.learning_rate, chosen.momentum))
    if others:
        optimizers.append(adam(others, chosen.adam_learning_rate, on_gpu=on_gpu))
    return optimizers


def adam(
    params: list[Any], learning_rate: float, *, on_gpu: bool
) -> torch.optim.Optimizer:
    """Return Adam as published, fit for CUDA graphs on a GPU."""
    return Adam(params, lr=learning_rate, fused=True, capturable=on_gpu)
