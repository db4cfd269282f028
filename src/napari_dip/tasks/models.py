"""What the tasks that look inside a user's network share."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import DipError, InputError
from napari_dip.tasks.recipe import Recipe, parameter

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_dip.prior.features import Features

MODEL = (
    "A torch.nn.Module, which is copied and not changed; or the import path of a "
    "function that makes one, package.module:function, with a file of weights "
    "(.npz or .safetensors) after an @."
)
PREPROCESS = (
    "Maps an image tensor (1, C, Y, X) in [0, 1] to the model's input; takes the "
    "place of mean, std, size, scale and order."
)


@dataclass(frozen=True, kw_only=True)
class ModelRecipe(Recipe):
    """Parameters of both tasks."""

    layer: str = parameter("", "Name of the layer, as named_modules has it.")
    mean: tuple[float, ...] | None = parameter(
        None, "What the model's preprocessing subtracts, per channel."
    )
    std: tuple[float, ...] | None = parameter(
        None, "What the model's preprocessing divides by, per channel.", low=1e-12
    )
    size: tuple[int, ...] | None = parameter(
        None,
        "Rows and columns that the model takes; None gives it the image as it is.",
        low=1,
        length=2,
    )
    scale: float = parameter(
        1.0, "What white becomes before the mean: 255 for models of bytes.", low=1e-12
    )
    order: Literal["rgb", "bgr"] = parameter(
        "rgb", "Order of the channels that the model takes."
    )
    prior: Literal["deep", "tv", "none"] = parameter(
        "deep",
        "deep fits a network; tv fits the pixels themselves under a total variation "
        "penalty, none without any: what the papers compare with.",
    )
    # At 1 its gradients are of the order of the features' at the start of a fit.
    tv: float = parameter(
        1.0, "Weight of the penalty of the tv prior.", low=0, advanced=True
    )


def resolve(model: Any) -> nn.Module:
    """Return the module that an argument stands for."""
    from torch import nn

    if isinstance(model, nn.Module):
        return model
    if not isinstance(model, str):
        raise InputError(
            f"model must be a torch.nn.Module or an import path; got "
            f"{type(model).__name__}"
        )
    path, _, weights = model.partition("@")
    home, _, name = path.partition(":")
    try:
        module = getattr(importlib.import_module(home), name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"model must be package.module:function that makes a module without "
            f"arguments; got {path!r}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(f"model {path!r} gave {type(module).__name__}, not a module")
    if weights:
        load_weights(module, Path(weights))
    return module


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights of a model from a file, .npz or .safetensors, into it.

    The arrays have the names and shapes of its ``state_dict``; nothing is unpickled.
    """
    import torch
    from safetensors.torch import load_file

    arrays: dict[str, Any]
    try:
        if path.suffix == ".npz":
            with path.open("rb") as file:
                stored = np.load(file, allow_pickle=False)
                if isinstance(stored, np.ndarray):
                    raise ValueError("it holds one array, which has no name")
                arrays = {k: torch.from_numpy(v) for k, v in stored.items()}
        elif path.suffix == ".safetensors":
            arrays = load_file(path)
        else:
            raise InputError(f"weights must be .npz or .safetensors; got {path.name}")
    except InputError:
        raise
    except Exception as error:  # readers fail in many ways on broken files
        raise InputError(f"weights of {path.name} cannot be read: {error}") from error
    try:
        model.load_state_dict(arrays)
    except RuntimeError as error:
        raise InputError(f"weights of {path.name} do not fit: {error}") from error


def features(
    recipe: ModelRecipe,
    model: Any,
    preprocess: Callable[[Tensor], Tensor] | None,
    channels: int,
) -> Features:
    """Return the layer of a model as an operator on images of so many channels."""
    from napari_dip.prior.features import Features, Preprocess
    from napari_dip.prior.runtime import pick_device

    if preprocess is not None and not callable(preprocess):
        raise InputError(
            f"preprocess must be a function; got {type(preprocess).__name__}"
        )
    for name, numbers in (("mean", recipe.mean), ("std", recipe.std)):
        if numbers is not None and len(numbers) not in (1, channels):
            raise InputError(
                f"{name} must have a number for each of the {channels} channels; got "
                f"{numbers}"
            )
    usual = Preprocess(
        recipe.mean, recipe.std, recipe.size, recipe.scale, recipe.order == "bgr"
    )
    device = pick_device(recipe.device)
    return Features(resolve(model), recipe.layer, preprocess or usual, device)


def seen(recipe: ModelRecipe, features: Features, image: NDArray[Any]) -> Tensor:
    """Return the activations of an image (C, Y, X); raise if the model takes none."""
    import torch

    from napari_dip.prior.runtime import device_errors, pick_device

    values = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None]
    try:
        with torch.no_grad(), device_errors():
            return features(values.to(pick_device(recipe.device)))
    except DipError:
        raise
    except Exception as error:  # a model, or a preprocess, of the user
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"model must take an image of shape {tuple(values.shape)} after its "
            f"preprocessing; got {type(error).__name__}: {reason}"
        ) from error


def penalty(recipe: ModelRecipe) -> Callable[[Tensor], Tensor] | None:
    """Return the penalty of the tv prior."""
    from napari_dip.prior.terms import variation_penalty

    return variation_penalty(recipe.tv if recipe.prior == "tv" else 0)
