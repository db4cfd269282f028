"""Activations inside a user's network as an operator on images."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dip.errors import InputError
from napari_dip.prior.operators import constant, per_channel

CLOSE = 5
"""Names of layers that an error suggests."""


class _Reached(Exception):
    """Ends a forward pass at the layer that is wanted."""


@dataclass(frozen=True)
class Preprocess:
    """What stands between an image in [0, 1] and a classifier."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    """Per channel, in the classifier's units and order."""
    size: tuple[int, ...] | None = None
    """Rows and columns that the classifier takes."""
    scale: float = 1.0
    """What 1 becomes: 255 for networks that were trained on bytes."""
    reverse: bool = False
    """Whether the classifier takes blue first."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return the classifier's input for an image (1, C, Y, X)."""
        if self.size is not None and tuple(image.shape[2:]) != self.size:
            image = F.interpolate(image, self.size, mode="bilinear", antialias=True)
        if self.reverse:
            image = image.flip(1)
        image = image * self.scale
        if self.mean is not None:
            image = image - per_channel(constant(self.mean, image), image)
        if self.std is not None:
            image = image / per_channel(constant(self.std, image), image)
        return image


class Features:
    """The activations of one layer of a model.

    Parameters
    ----------
    model : nn.Module
        A copy of it is used, in evaluation mode and without gradients of its own:
        the model itself stays as it is.
    layer : str
        Dotted name, as `named_modules` has it.
    preprocess : callable
        From an image (1, C, Y, X) in [0, 1] to the model's input.
    device : torch.device
        Where to compute.

    Raises
    ------
    InputError
        If there is no such layer, or no copy can be made.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        preprocess: Callable[[Tensor], Tensor],
        device: torch.device,
    ) -> None:
        names = [name for name, _ in model.named_modules() if name]
        if layer not in names:
            close = difflib.get_close_matches(layer, names, CLOSE, 0.3) or names[:CLOSE]
            known = f"such as {', '.join(close)}" if names else "which has none"
            raise InputError(
                f"layer must be the name of a module of the model, {known}; got "
                f"{layer!r}"
            )
        try:
            own = copy.deepcopy(model)
        except (RuntimeError, TypeError) as error:
            raise InputError(f"model cannot be copied: {error}") from error
        self.model = own.eval().requires_grad_(False).to(device)
        self.layer, self.preprocess = layer, preprocess

    def __call__(self, image: Tensor) -> Tensor:
        """Return the activations for an image (1, C, Y, X), as the layer has them."""
        outputs: list[Any] = []

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs.append(output)
            raise _Reached

        handle = self.model.get_submodule(self.layer).register_forward_hook(keep)
        try:
            self.model(self.preprocess(image))
        except _Reached:
            pass
        finally:
            handle.remove()
        if not outputs:
            raise InputError(f"layer {self.layer!r} takes no part in the model's pass")
        if not isinstance(outputs[0], Tensor):
            kind = type(outputs[0]).__name__
            raise InputError(f"layer {self.layer!r} must give a tensor; got {kind}")
        activations: Tensor = outputs[0]
        return activations.float()

    def flat(self, image: Tensor) -> Tensor:
        """Return the activations as a row, (1, 1, N), for the fit."""
        return self(image).reshape(1, 1, -1)


def centre_unit(
    activations: Tensor, unit: int, window: int, *, probability: bool
) -> Tensor:
    """Return one number of a layer's activations, (1, 1, 1).

    Parameters
    ----------
    activations : Tensor
        (1, units) of a classifier, or (1, units, Y, X) of a convolution.
    unit : int
        Which one.
    window : int
        Side of the square around the centre of a map that is averaged.
    probability : bool
        Take the log-probability among the units in place of the activation.

    Raises
    ------
    InputError
        If there is no such unit or the shape is another.
    """
    if activations.ndim not in (2, 4):
        raise InputError(
            f"layer must give (1, units) or (1, units, Y, X); got "
            f"{tuple(activations.shape)}"
        )
    units = activations.shape[1]
    if unit >= units:
        raise InputError(f"unit must be from 0 to {units - 1}; got {unit}")
    if activations.ndim == 4:
        where = tuple(
            slice(max((n - window) // 2, 0), max((n - window) // 2, 0) + window)
            for n in activations.shape[2:]
        )
        activations = activations[:, :, where[0], where[1]].mean((2, 3))
    if probability:
        activations = torch.log_softmax(activations, dim=1)
    return activations[:, unit].reshape(1, 1, 1)
