"""Activation maximisation: an image that a unit of a network likes best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from napari_dip.errors import InputError
from napari_dip.tasks import models
from napari_dip.tasks.arrays import Layout
from napari_dip.tasks.function import function
from napari_dip.tasks.recipe import parameter
from napari_dip.tasks.run import Job, Plan, Task

PAPER_ITERATIONS = 3100
PAPER_GOAL = 300.0
"""Activation of a class that the published program aims at."""

ITERATIONS = {"fast": 400, "best": 1200}


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
        (224, 224), "Rows and columns of the result.", low=16, high=4096
    )
    channels: int = parameter(
        3, "Channels of the result.", low=1, high=64, advanced=True
    )


def _start(recipe: MaximizeRecipe, model: Any, preprocess: Any) -> Job:
    if len(recipe.shape) != 2:
        raise InputError(f"shape must be rows and columns; got {recipe.shape}")
    single = recipe.channels == 1
    full = recipe.shape if single else (*recipe.shape, recipe.channels)
    layout = Layout(full, np.dtype(np.float32), None if single else 2, 2)
    features = models.features(recipe, model, preprocess)

    def plan(*_: Any) -> Plan:
        import torch

        from napari_dip.prior import stopping
        from napari_dip.prior.architecture import Architecture
        from napari_dip.prior.codes import Noise
        from napari_dip.prior.features import centre_unit
        from napari_dip.prior.problem import Prior, Problem, Settings
        from napari_dip.prior.terms import Pointwise

        paper, pixels = recipe.preset == "paper", recipe.prior != "deep"
        with torch.no_grad():
            device = next(features.model.parameters()).device
            sides = (1, recipe.channels, *recipe.shape)
            is_map = features(torch.full(sides, 0.5, device=device)).ndim == 4
        goal = recipe.goal
        if goal is None and paper and not is_map:
            goal = PAPER_GOAL

        def activation(x: torch.Tensor) -> torch.Tensor:
            return centre_unit(
                features(x),
                recipe.unit,
                recipe.window,
                probability=recipe.objective == "probability",
            )

        def lacking(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
            return -found if goal is None else (wanted - found).abs()

        if pixels:
            prior = models.without_network()
        else:
            widths = (16, 32, 64, 128, 128, 128)
            shape = Architecture(
                down=widths,
                up=widths,
                skip=(0, 4, 4, 4, 4, 4),
                down_kernel=(5, 3, 5, 5, 3, 5) if paper else 3,
                up_kernel=(5, 3, 5, 3, 5, 3) if paper else 3,
                downsampling="average" if paper else "stride",
            )
            prior = Prior(shape, Noise(32, perturbation=0.03))
        if paper or recipe.iterations != "auto":
            count = (
                PAPER_ITERATIONS if recipe.iterations == "auto" else recipe.iterations
            )
            stop: stopping.Rule = stopping.Iterations(int(count))
        else:
            stop = stopping.Plateau(ITERATIONS[recipe.preset])
        settings = Settings(
            stop,
            optimizer="adam",
            rate=models.PIXEL_RATE if pixels else 0.001 if paper and is_map else 0.01,
            schedule="constant" if paper else "cosine",
            decay=0.9,
        )
        problem = Problem(
            torch.full((1, 1, 1), goal or 0.0),
            term=Pointwise(lacking),
            operator=activation,
            shape=(recipe.channels, *recipe.shape),
            penalty=models.penalty(recipe),
        )
        return Plan(problem, prior, settings, lambda values: values)

    return Job(None, layout, layout.sides, plan, recipe.fits())


TASK = Task(
    recipe=MaximizeRecipe,
    arrays={"model": models.MODEL},
    objects={"model": "Module | str"},
    functions={"preprocess": models.PREPROCESS},
    positional=("layer", "unit"),
    start=_start,
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
