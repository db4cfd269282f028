"""What a fit minimises, with everything on its device."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from napari_dip.errors import InputError
from napari_dip.prior.problem import Problem
from napari_dip.prior.runtime import module_on


class Objective:
    """Data fidelity and penalty of a problem.

    Tensors made in inference mode could not be part of a gradient, so all are copied.
    Where the parameters of the operator are fitted along, `fitted` is a copy of it.
    """

    def __init__(self, problem: Problem, device: torch.device) -> None:
        self.problem = problem
        self.measurement = problem.measurement.to(device, torch.float32, copy=True)
        self.first_estimate: Tensor | None = None
        if problem.first_estimate is not None:
            self.first_estimate = problem.first_estimate.to(
                device, torch.float32, copy=True
            )
        self.fitted: nn.Module | None = None
        operator = problem.operator
        if isinstance(operator, nn.Module):
            operator = module_on(operator, device)
            if problem.operator_learning_rate is not None:
                operator = self.fitted = copy.deepcopy(operator)
        self.operator = operator

    def known(self, *, per_channel: bool) -> Tensor:
        """Return the weights of the measurement, (1, 1, ...) or for every channel."""
        known = self.problem.weight
        if known is None:
            known = torch.ones_like(self.measurement[:, :1])
        known = known.to(self.measurement.device, torch.float32, copy=True)
        if not bool((known > 0).any()):
            raise InputError("weight: no pixel of the measurement is known")
        return known.expand_as(self.measurement).clone() if per_channel else known

    def loss(self, image: Tensor, measurement: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of an image; the measurement may be one of its windows."""
        loss = self.problem.term.mean(self._predict(image), measurement, weight)
        penalty = self.problem.penalty
        return loss if penalty is None else loss + penalty(image)

    def first_estimate_loss(self, image: Tensor) -> Tensor:
        """Return the loss of an image in the iterations before the first."""
        assert self.first_estimate is not None  # the fit began there
        return (image - self.first_estimate).square().mean()

    def error(self, image: Tensor) -> Tensor:
        """Return the data fidelity pixel by pixel."""
        return self.problem.term(self._predict(image), self.measurement)

    def anneal(self, done: float) -> None:
        """Change the data fidelity, where it does, to the part of the fit done."""
        if self.problem.anneal is not None:
            self.problem.anneal(done)

    def _predict(self, image: Tensor) -> Tensor:
        return image if self.operator is None else self.operator(image)
