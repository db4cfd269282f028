"""Enhancement: an image in, the image with its fine detail made stronger out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import scipy  # whose modules load on first use

from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import PLANES, Layout, as_array
from napari_dip.tasks.function import function
from napari_dip.tasks.noise import single_or_list
from napari_dip.tasks.plane import Plane, keeping
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.task import Job, Plan, Task, preset_for
from napari_dip.tasks.tiles import AROUND, Block

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.tasks.presets import Preset

FINE = 2.0
"""Standard deviation in pixels of the blur that `detail` is relative to."""


@dataclass(frozen=True, kw_only=True)
class EnhanceRecipe(Recipe):
    """Parameters of `enhance`."""

    task: ClassVar[str] = "enhance"

    amount: float = parameter(
        1.0,
        "How much of the detail is added to the image; 0 returns the image, negative "
        "values take detail out.",
        low=-1,
        high=100,
    )
    detail: float = parameter(
        0.5,
        "What counts as detail: the coarse image is the first that leaves out no more "
        "than this part of the energy finer than about 5 pixels. Smaller values keep "
        "to finer detail, larger ones take in more and may draw halos around shapes.",
        low=0.001,
        high=100,
    )
    detail_of: Literal["luminance", "channels"] = parameter(
        "luminance",
        "luminance adds the same detail to all three colours, so that hues stay; "
        "channels enhances every channel by itself. Only a last axis of three holds "
        "colours, and only where none has more than three times the range of another; "
        "all other channels are enhanced by themselves.",
        advanced=True,
    )


def _make_job(recipe: EnhanceRecipe, image: Any) -> Job:
    image = as_array(image, "image")
    layout = Layout.of(image, recipe.channel_axis, recipe.spatial_dims, "image")
    # Colours keep their hues.
    last = layout.channel_axis == len(layout.shape) - 1
    together = recipe.detail_of == "luminance" and layout.channels == 3 and last
    return Job(
        layout,
        partial(_preset, recipe),
        partial(_plan, recipe.amount, together),
        image,
        partial(_analyse, recipe),
        needs=("detail",),
        unit=recipe.preset == "paper",
        together="like" if together else "none",
        reach=AROUND,
        # The fit ends by the detail of the whole plane; a tile has more or less of it.
        cuttable=lambda analysis: False,
    )


def _analyse(recipe: EnhanceRecipe, plane: Plane, block: Block) -> Analysis:
    detail = recipe.detail * fine_energy(plane.without_constant())
    return Analysis.of(plane, block.channels, detail=detail)


def _preset(recipe: EnhanceRecipe, analysis: Analysis) -> Preset:
    from napari_dip.prior.stopping import Discrepancy

    chosen = preset_for(recipe)
    if isinstance(chosen.stop, Discrepancy):
        chosen = replace(chosen, stop=replace(chosen.stop, level=analysis.detail))
    return chosen


def _plan(
    amount: float,
    together: bool,
    plane: Plane,
    block: Block,
    analysis: Analysis,
    preset: Preset,
) -> Plan:
    from napari_dip.prior.problem import Problem

    measurement, known = plane.without_constant().tensors()
    details = {"detail left out": single_or_list(analysis.detail**0.5 * plane.span)}
    # Colours of unlike ranges have scales of their own.
    together = together and len(set(plane.span.tolist())) == 1 < len(plane.span)
    boost = partial(_boosted, amount, plane, together)
    problem = Problem(measurement, weight=known)
    return Plan(problem, keeping(plane, plane.constant), boost, details)


def fine_energy(plane: Plane) -> float:
    """Return the mean square of what a blur takes out of the known pixels."""
    weight = scipy.ndimage.gaussian_filter(plane.known, FINE)
    energy = 0.0
    for values in plane.values:
        blurred = scipy.ndimage.gaussian_filter(values * plane.known, FINE)
        detail = values - blurred / np.maximum(weight, 1e-6)
        energy += float((detail**2 * plane.known).sum() / plane.known.sum())
    return energy / len(plane.values)


def _boosted(amount: float, plane: Plane, together: bool, coarse: Tensor) -> Tensor:
    import torch

    from napari_dip.prior.operators import luma

    image, known = plane.tensors(coarse.device)
    # What is missing is filled with the coarse image, which has no detail.
    image = torch.lerp(coarse, image, known)
    fine = image - coarse
    if together:
        fine = luma(fine)
    return image + amount * fine


TASK = Task(
    recipe=EnhanceRecipe,
    arrays={"image": f"Image to enhance: {PLANES}"},
    make_job=_make_job,
    positional=("amount",),
    summary="""Make the fine detail of an image stronger.

A network is fitted to the image and stopped early, when it has the shapes and not yet
the texture.  What it lacks is the detail; `amount` times the detail is added to the
image.
""",
    notes="""Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV 2020), section 3.6: the
coarse image x_c is a fit ended early and the result ``x_0 + (x_0 - x_c)``.  The paper
preset is its network without perturbation (section 4, Image enhancement), Adam at 0.01.
The paper leaves the stopping point to the eye; here the fit ends by itself once the
residual has fallen to `detail`, or after `iterations`.  Results of integer images are
clipped at the very end only (dtype="input").""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import enhance as enhance
else:
    enhance = function(TASK)
