"""Activation maximisation: an image that a unit of a network likes best."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from napari_dip.tasks import models
from napari_dip.tasks.arrays import Layout
from napari_dip.tasks.function import function
from napari_dip.tasks.recipe import parameter
from napari_dip.tasks.task import Job, Plan, Task, preset_for

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.features import Features

PAPER_GOAL = 300.0
"""Activation of a class that the published program aims at."""


@dataclass(frozen=True, kw_only=True)
class MaximizeRecipe(models.ModelRecipe):
    """Parameters of `maximize_activation`."""

    task: ClassVar[str] = "maximize_activation"

    unit: int = parameter(
        0, "Number of the unit: a class of the last layer, or a map.", low=0
    )
    objective: Literal["activation", "probability"] = parameter(
        "activation",
        "What to make large: the activation, or its log-probability among the units "
        "of the layer.",
    )
    goal: float | None = parameter(
        None,
        "Value that the activation is to reach; None makes it as large as it gets.",
        advanced=True,
    )
    window: int = parameter(
        1,
        "Side of the square in the middle of a map whose activations are averaged.",
        low=1,
        high=4096,
    )
    shape: tuple[int, ...] = parameter(
        (224, 224), "Rows and columns of the result.", low=16, high=4096, length=2
    )
    channels: int = parameter(
        3, "Channels of the result.", low=1, high=64, advanced=True
    )


def _make_job(recipe: MaximizeRecipe, model: Any, preprocess: Any) -> Job:
    single = recipe.channels == 1
    full = recipe.shape if single else (*recipe.shape, recipe.channels)
    layout = Layout(full, np.dtype(np.float32), None if single else 2, 2)
    features = models.features(recipe, model, preprocess, recipe.channels)
    gray = np.full((recipe.channels, *recipe.shape), 0.5)
    is_map = models.seen(recipe, features, gray).ndim == 4
    case = "" if recipe.prior == "deep" else "pixels"
    if recipe.preset == "paper" and not case and is_map:
        case = "map"
    goal = recipe.goal
    if goal is None and recipe.preset == "paper" and not is_map:
        goal = PAPER_GOAL
    return Job(
        layout,
        preset=lambda analysis: preset_for(recipe, case),
        plan=lambda *_: _plan(recipe, features, goal),
    )


def _plan(recipe: MaximizeRecipe, features: Features, goal: float | None) -> Plan:
    import torch

    from napari_dip.prior.problem import Problem
    from napari_dip.prior.terms import Absolute, Pointwise

    problem = Problem(
        torch.full((1, 1, 1), goal or 0.0),
        term=Absolute() if goal is not None else Pointwise(lambda x, _: -x),
        operator=partial(_activation, recipe, features),
        shape=(recipe.channels, *recipe.shape),
        penalty=models.penalty(recipe),
    )
    return Plan(problem, lambda values: values)


def _activation(recipe: MaximizeRecipe, features: Features, image: Tensor) -> Tensor:
    from napari_dip.prior.features import centre_unit

    return centre_unit(
        features(image),
        recipe.unit,
        recipe.window,
        probability=recipe.objective == "probability",
    )


TASK = Task(
    recipe=MaximizeRecipe,
    arrays={"model": models.MODEL},
    objects={"model": "Module | str"},
    functions={"preprocess": models.PREPROCESS},
    positional=("layer", "unit"),
    make_job=_make_job,
    summary="""Make an image that excites one unit of a network.

Shows what a class, or a map inside a classifier, stands for: a network that was trained
on nothing is fitted so that its image makes the unit's activation large.
""",
    notes="""First paper, section 3.5.  The paper preset is that of the published
program (widths 16 to 128 on six scales, no skip at the finest, kernels down 5 3 5 5 3 5
and up 5 3 5 3 5 3, average pooling, a code perturbed by 0.03, 3100 iterations of Adam).
For classes that program minimises ``abs(300 - activation)`` at a rate of 0.01, for maps
``-activation`` at 0.001, the only rate that the text names.  The result is the averaged
output with a decay of 0.9.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import maximize_activation as maximize_activation
else:
    maximize_activation = function(TASK)
