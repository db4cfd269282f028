"""Guided denoising: a noisy image and a better one of the same scene in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks import denoise
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import (
    PLANES,
    Float,
    Index,
    Layout,
    as_array,
    without_single_axes,
)
from napari_dip.tasks.components import TOGETHER, principal_axes
from napari_dip.tasks.function import function
from napari_dip.tasks.plane import Plane, prepare
from napari_dip.tasks.registration import displacement, moved
from napari_dip.tasks.task import Job, Plan, Task
from napari_dip.tasks.tiles import Block

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate, Problem
    from napari_dip.tasks.presets import Preset

LOOK_AT = (50, 100)
"""Iterations at which a fit is looked at for wrong colours: a stuck one gives up on its
held-out pixels before the hundredth."""

APART = 0.15
"""Difference of a channel's mean from the measurement's, of the image's range, by
which a fit counts as stuck."""


@dataclass(frozen=True, kw_only=True)
class DenoiseGuidedRecipe(denoise.DenoiseRecipe):
    """Parameters of `denoise_guided`: those of `denoise`."""

    task: ClassVar[str] = "denoise_guided"


def _make_job(recipe: DenoiseGuidedRecipe, image: Any, guide: Any) -> Job:
    alone, guide = denoise.make_job(recipe, image), as_array(guide, "guide")
    over = partial(_over, recipe, planes_of(guide, alone.layout))
    plan = partial(_plan, recipe, over)
    return dataclasses.replace(alone, plan=plan, check_others=over)


def _over(
    recipe: DenoiseGuidedRecipe, guide_at: Callable[[Index], NDArray[Any]], index: Index
) -> Plane:
    """Return the guide of a plane, scaled."""
    return prepare(guide_at(index), "guide", unit=recipe.preset == "paper")


def planes_of(guide: Any, image: Layout) -> Callable[[Index], NDArray[Any]]:
    """Return the function that gives the guide of a plane, channels first.

    Raises
    ------
    InputError
        If the guide does not cover the pixels of the image.
    """
    given = tuple(guide.shape)
    guide = without_single_axes(guide, image.shape)
    covering = _layout_of(guide, image, given)

    def take(index: Index) -> NDArray[Any]:
        within: list[int | slice] = [slice(None)] * guide.ndim
        for axis, i in zip(covering.leading_axes, image.place(index), strict=False):
            within[axis] = i
        return covering.take(guide, tuple(within))

    return take


def _layout_of(guide: Any, image: Layout, given: tuple[int, ...]) -> Layout:
    """Find the guide's channels by what is left when it lies over the image.

    `given` is the shape that the user gave it in.
    """
    shape = tuple(guide.shape)
    if shape == image.shape:
        return dataclasses.replace(image, dtype=np.dtype(guide.dtype))
    leading = tuple(image.shape[axis] for axis in image.leading_axes)
    last = len(shape) - 1
    for axis in (None, last, image.channel_axis, *range(last)):
        if axis is not None and axis > last:
            continue
        over = Layout(shape, np.dtype(guide.dtype), axis, image.spatial_dims)
        if len(over.sides) < image.spatial_dims or over.sides != image.sides:
            continue
        if tuple(shape[i] for i in over.leading_axes) in ((), leading):
            return over
    raise InputError(
        f"guide must cover the same {' x '.join(map(str, image.sides))} pixels as "
        f"image, with any number of channels, once or for each of its planes; got a "
        f"guide of shape {given} for an image of shape {image.shape}"
    )


def _plan(
    recipe: DenoiseGuidedRecipe,
    over: Callable[[Index], Plane],
    plane: Plane,
    block: Block,
    analysis: Analysis,
    preset: Preset,
) -> Plan:
    import torch

    from napari_dip.prior.codes import BlindSpot, Guide

    whole, found = over(block.index), None
    guide = whole.values[(slice(None), *block.region())]
    if recipe.preset != "paper":
        if recipe.noise != "impulse":
            plane = plane.within_reach()
        found = displacement(plane.values, guide)
    if found is not None:
        guide = moved(guide, -found)
    guide = np.ascontiguousarray(guide)
    strongest = torch.from_numpy(_strongest(guide))[None]
    plan = denoise.plan_of(recipe, plane, analysis, preset, guide=strongest)
    image = torch.from_numpy(guide)[None]
    code = preset.code
    if isinstance(code, BlindSpot):
        code = dataclasses.replace(code, guide=image)
    elif isinstance(code, Guide):
        code = Guide(image, code.perturbation)
    if found is not None:
        plan.details["guide displacement"] = found.round(2).tolist()
        plan.warnings.append(
            "guide is displaced against image and was moved to fit; the record says "
            "by how many pixels (guide displacement)"
        )
    plan.warnings.extend(whole.warnings)
    return dataclasses.replace(plan, code=code, failed=_wrong_colour(plan.problem))


def _strongest(guide: Float) -> Float:
    """Return the channels of a guide, the principal components of many.

    Patches of many channels have few pixels.
    """
    if len(guide) <= TOGETHER:
        return guide
    values = guide.reshape(len(guide), -1).astype(np.float64)
    axes = principal_axes(values)[:, -TOGETHER:]
    return np.tensordot(axes.T, guide, 1).astype(np.float32)


def _wrong_colour(problem: Problem) -> Callable[[Iterate], str | None]:
    """Return the check for a fit that is stuck at a wrong colour.

    Some channels of the output are then black or white everywhere, where a sigmoid
    has no gradient to come back by (the published program warns of a "reddish"
    image).
    """
    assert problem.weight is not None
    seen = problem.weight[0, 0].numpy() > 0
    wanted = problem.measurement[0].numpy()[:, seen].mean(axis=1)

    def failed(it: Iterate) -> str | None:
        if it.step not in LOOK_AT:
            return None
        values = it.average[0].cpu().numpy()
        apart = np.abs(values[:, seen].mean(axis=1) - wanted).max()
        if apart <= APART:
            return None
        return f"the fit was stuck at a wrong colour, {apart:.2f} of the range away"

    return failed


TASK = Task(
    recipe=DenoiseGuidedRecipe,
    arrays={
        "image": f"Noisy image: {PLANES}",
        "guide": "Better image of the same scene, pixel on pixel: one with flash, or "
        "a brighter channel. Any real dtype and number of channels, one guide for all "
        "planes or one for each.",
    },
    make_job=_make_job,
    summary="""Remove the noise from an image with the help of another.

The guide, such as a photograph with flash or a bright channel of a microscope, shows
where things are; the noisy image decides how bright they are and of what colour.
""",
    notes="""The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
2020), section 3.7, with the guide as the code; the paper names no parameters, so they
are those of its published program: the hourglass of 5 scales and 128 channels, Adam at
0.1, 601 iterations, the last output.  The other presets are those of `denoise`, with
the guide beside the image of which pixels are hidden.  A fit that is stuck at a wrong
colour after 50 or 100 iterations begins again from another seed.  At the end similar
patches of the image and the guide are estimated together (NL-Bayes; see
`napari_dip.prior.collaborative.guided_collaborative_filter`).  Where neighbours share
their noise, this is done four times.  A guide whose edges are displaced by up to a
sixteenth of the side is moved before the fit; a warning says so.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import denoise_guided as denoise_guided
else:
    denoise_guided = function(TASK)
