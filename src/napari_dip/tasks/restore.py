"""Restoration with a forward model of one's own: any callable on a torch tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from napari_dip.errors import InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import Float, Layout, longer_axes
from napari_dip.tasks.forward_model import ForwardModel, as_measurements
from napari_dip.tasks.function import function
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.task import Job, Plan, Task, preset_for

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.tasks.presets import Preset


@dataclass(frozen=True, kw_only=True)
class RestoreRecipe(Recipe):
    """Parameters of `restore`."""

    task: ClassVar[str] = "restore"

    shape: tuple[int, ...] | None = parameter(
        None,
        "Shape of the image, such as (256, 256), (256, 256, 3) for colours or "
        "(32, 256, 256) with spatial_dims=3; None takes the measurement's.",
        low=1,
    )
    term: Literal["squared", "absolute", "huber", "poisson"] = parameter(
        "squared",
        "Data fidelity: squared error, absolute error or huber for outliers, poisson "
        "for counts of photons.",
    )
    sigma: tuple[float, ...] | None = parameter(
        None,
        "Standard deviation of the noise, of every measurement or one for all: errors "
        "are compared in its units. None takes every measurement's own spread.",
        low=0,
    )
    value_range: tuple[float, ...] | None = parameter(
        None,
        "Lowest and highest value of the image, which the result keeps to; None "
        "estimates the range by least squares and sets no limits.",
        length=2,
    )
    tv: float = parameter(
        0.0,
        "Weight of the total variation of the image over its range; more is smoother.",
        low=0,
    )


def _make_job(recipe: RestoreRecipe, measurement: Any, operator: Any) -> Job:
    measured = as_measurements(measurement)
    layout = _layout(recipe, measured[0])
    model = ForwardModel(recipe, layout, measured, operator)
    return Job(
        layout,
        partial(_preset, recipe),
        lambda pixels, block, analysis, preset: _plan(recipe, model, analysis),
        analyse=lambda pixels, block: _analyse(model, layout.channels),
    )


def _preset(recipe: RestoreRecipe, analysis: Analysis) -> Preset:
    from napari_dip.prior.architecture import Architecture

    chosen = preset_for(recipe)
    output = "linear" if recipe.value_range is None else "sigmoid"
    assert isinstance(chosen.architecture, Architecture)
    architecture = replace(chosen.architecture, output=output)
    return replace(chosen, architecture=architecture)


def _analyse(model: ForwardModel, channels: int) -> Analysis:
    low, span = model.scale
    analysis = Analysis.unknown(channels)
    return replace(analysis, offset=(low,) * channels, span=(span,) * channels)


def _layout(recipe: RestoreRecipe, first: Float) -> Layout:
    shape = recipe.shape or longer_axes(first.shape)
    empty = np.broadcast_to(np.float32(0), shape)
    layout = Layout.of(empty, recipe.channel_axis, recipe.spatial_dims, "shape")
    if layout.planes > 1:
        raise InputError(
            f"shape must be that of one image of {recipe.spatial_dims} spatial axes "
            f"and at most one axis of channels; got {shape}"
        )
    return layout


def _plan(recipe: RestoreRecipe, model: ForwardModel, analysis: Analysis) -> Plan:
    from napari_dip.prior import terms
    from napari_dip.prior.problem import Problem

    measure, (data, weight, units) = model.measure, model.flat
    low, span = analysis.offset[0], analysis.span[0]
    if recipe.value_range is not None:
        low, span = model.scale
    units_there = units.to(model.device)

    def forward(image: Tensor) -> Tensor:
        return measure(low + span * image) / units_there

    def to_units(image: Float) -> Float:
        return image * np.float32(span) + np.float32(low)

    term = {
        "squared": terms.Squared(),
        "absolute": terms.Absolute(),
        "huber": terms.Huber(),
        "poisson": terms.Poisson(1 / model.error_units[0]),
    }[recipe.term]
    problem = Problem(
        data / units,
        term=term,
        operator=forward,
        weight=weight,
        shape=model.shape,
        penalty=terms.variation_penalty(recipe.tv),
    )
    details = {
        "range": [low, low + span],
        "units of the errors": model.error_units,
        "values measured": [m.size for m in model.measured],
    }
    return Plan(problem, to_units, details=details)


TASK = Task(
    recipe=RestoreRecipe,
    arrays={
        "measurement": "What was measured: an array or torch tensor of any shape, or "
        "a list of several. NaN marks missing values.",
        "operator": "The forward model, from the image to the noise-free measurement: "
        "a callable that takes a float32 tensor of shape (1, C, Y, X) or (1, C, Z, Y, "
        "X) in the units of the image and returns a tensor with the shape of the "
        "measurement, axes of length 1 aside, made by differentiable torch "
        "operations; a physics object of deepinv; or, for several measurements, a "
        "callable that returns as many tensors, or a list of callables.",
    },
    make_job=_make_job,
    summary="""Restore an image from measurements of any kind with their forward model.

A network is fitted so that the operator turns its image into the measurement.
""",
    notes="""The fit sees the image scaled to about [0, 1]; the operator always sees it
in the units of the user.  Held-out values of the measurement tell when to stop.  The
paper preset is the published network and optimiser for super-resolution (Ulyanov,
Vedaldi, Lempitsky, Deep Image Prior, IJCV 2020, section 4) around your operator.""",
    from_files=False,
    objects={"operator": "Callable[..., Any] | Sequence[Callable[..., Any]]"},
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import restore as restore
else:
    restore = function(TASK)
