"""Feature inversion: an image that a network sees as it sees another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from napari_dip.errors import InputError
from napari_dip.tasks import models
from napari_dip.tasks.arrays import Layout, as_array, check_finite
from napari_dip.tasks.function import function
from napari_dip.tasks.recipe import parameter
from napari_dip.tasks.task import Job, Plan, Task, preset_for

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.features import Features


@dataclass(frozen=True, kw_only=True)
class InvertRecipe(models.ModelRecipe):
    """Parameters of `invert_features`."""

    task: ClassVar[str] = "invert_features"

    target: Literal["image", "activations"] = parameter(
        "image",
        "What the first argument is: an image to look at through the layer, or the "
        "layer's activations themselves.",
    )
    shape: tuple[int, ...] = parameter(
        (224, 224),
        "Rows and columns of the result where activations are given.",
        low=16,
        high=4096,
        length=2,
    )


def _make_job(recipe: InvertRecipe, target: Any, model: Any, preprocess: Any) -> Job:
    array = as_array(target, "image")
    if recipe.target == "activations":
        layout = Layout((*recipe.shape, 3), np.dtype(np.float32), 2, 2)
        image, white = None, 1.0
    else:
        layout = Layout.of(array, recipe.channel_axis, 2, "image")
        if layout.planes != 1:
            raise InputError(f"image must be a single one; got shape {array.shape}")
        white = _white(np.asarray(array))
        image = layout.take(array, next(layout.indices())) / white
    channels = 3 if image is None else layout.channels
    features = models.features(recipe, model, preprocess, channels)
    gray = np.full((channels, *layout.sides), 0.5)

    def wanted() -> Tensor:
        seen = models.seen(recipe, features, gray if image is None else image)
        return seen if image is not None else _activations(recipe, array, seen.numel())

    return Job(
        layout,
        lambda analysis: preset_for(recipe, "" if recipe.prior == "deep" else "pixels"),
        lambda *_: _plan(recipe, features, wanted(), gray.shape, white),
    )


def _plan(
    recipe: InvertRecipe,
    features: Features,
    wanted: Tensor,
    shape: tuple[int, ...],
    white: float,
) -> Plan:
    from napari_dip.prior.problem import Problem

    target = wanted.cpu().reshape(1, 1, -1)
    # Over the power of the target: the penalty's weight then means the same in every
    # layer; the steps of Adam do not depend on the scale of the loss.
    power = float(target.square().mean().clamp(min=1e-12).sqrt())
    problem = Problem(
        target / power,
        operator=lambda x: features.flat(x) / power,
        shape=shape,
        penalty=models.penalty(recipe),
    )
    return Plan(problem, lambda values: values * np.float32(white))


def _activations(recipe: InvertRecipe, array: Any, expected: int) -> Tensor:
    import torch

    values = np.array(array, np.float32)
    if values.size != expected:
        raise InputError(
            f"image must hold as many activations as layer {recipe.layer} gives "
            f"({expected}); got {values.size}"
        )
    check_finite(values, "image")
    return torch.from_numpy(values).reshape(1, 1, -1)


def _white(image: np.ndarray[Any, Any]) -> float:
    """Return the value of white: a classifier knows of no other units."""
    if image.dtype.kind == "b":
        return 1.0
    if image.dtype.kind in "ui":
        return float(np.iinfo(image.dtype).max)
    check_finite(image, "image")
    if image.min() < 0 or image.max() > 1:
        raise InputError(
            "image must be of integers, or of floats from 0 to 1, as classifiers see "
            f"it; got floats from {image.min():.4g} to {image.max():.4g}"
        )
    return 1.0


TASK = Task(
    recipe=InvertRecipe,
    arrays={
        "image": "Image to look at, (Y, X) or (Y, X, C), integers or floats from 0 to "
        "1; or activations of the layer.",
        "model": models.MODEL,
    },
    objects={"model": "Module | str"},
    functions={"preprocess": models.PREPROCESS},
    positional=("layer",),
    make_job=_make_job,
    summary="""Find an image with the same activations inside a network.

Shows what a layer of a classifier still knows of an image: a network that was trained
on nothing is fitted so that its image has the layer's activations.
""",
    notes="""First paper, section 3.4: the squared distance of the features, minimised
over the weights of a generator.  The paper preset is that of the published program
(widths 16 to 128 on six scales, kernels 7 7 5 5 3 3, zero padding, nearest upsampling,
average pooling, Adam at 0.001, 3100 iterations; the paper's text names five skips where
the program has six); the result is the averaged output with a decay of 0.9.  The tv and
none priors fit pixels with Adam at 0.2.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import invert_features as invert_features
else:
    invert_features = function(TASK)
