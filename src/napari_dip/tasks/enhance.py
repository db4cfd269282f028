"""Enhancement: an image in, the image with its fine detail made stronger out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_dip.tasks.arrays import Layout, Plane, as_array, prepare
from napari_dip.tasks.function import function
from napari_dip.tasks.noise import single_or_list
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.run import Job, Part, Plan, Task

if TYPE_CHECKING:
    from torch import Tensor

MAXIMUM = 3000
"""Most iterations, should the coarse image never come as close as asked."""

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
        "channels enhances every channel by itself, as images of other than three "
        "channels always are.",
        advanced=True,
    )


def _start(recipe: EnhanceRecipe, image: Any) -> Job:
    image = as_array(image, "image")
    layout = Layout.of(image, recipe.channel_axis, recipe.spatial_dims, "image")

    def plan(pixels: NDArray[Any], part: Part) -> Plan:
        plane = prepare(
            pixels,
            "image",
            unit=recipe.preset == "paper",
            # Colours keep their hues.
            together=recipe.detail_of == "luminance" and len(pixels) == 3,
        )
        return _plan(recipe, plane)

    return Job(
        image,
        layout,
        layout.sides,
        plan,
        recipe.fits(),
        apart=recipe.detail_of == "channels" or layout.channels != 3,
    )


def _plan(recipe: EnhanceRecipe, plane: Plane) -> Plan:
    import torch

    from napari_dip.prior import stopping
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.codes import Noise
    from napari_dip.prior.problem import Prior, Problem, Settings

    level = recipe.detail * fine_energy(plane)
    stop: stopping.Rule = stopping.Discrepancy(MAXIMUM, level)
    if recipe.iterations != "auto":
        stop = stopping.Iterations(int(recipe.iterations))
    if recipe.preset == "paper":
        architecture, optimizer, rate, decay = Architecture(), "adam", 0.01, 0.99
    else:
        width = 48 if recipe.preset == "best" else 32
        architecture = Architecture.uniform(width, 4)
        optimizer, rate, decay = "muon", 0.02, 0.9
    problem = Problem(
        torch.from_numpy(plane.values)[None],
        weight=torch.from_numpy(plane.known)[None, None],
        finish=_boost(recipe, plane),
    )
    settings = Settings(
        stop,
        optimizer=optimizer,
        rate=rate,
        decay=decay,
    )
    details = {"detail left out": single_or_list(level**0.5 * plane.span)}
    prior = Prior(architecture, Noise(perturbation=0.0))
    return Plan(problem, prior, settings, plane.restore, details)


def fine_energy(plane: Plane) -> float:
    """Return the mean square of what a blur takes out of the known pixels."""
    weight = ndimage.gaussian_filter(plane.known, FINE)
    found = 0.0
    for values in plane.values:
        blurred = ndimage.gaussian_filter(values * plane.known, FINE)
        rest = values - blurred / np.maximum(weight, 1e-6)
        found += float((rest**2 * plane.known).sum() / plane.known.sum())
    return found / len(plane.values)


def _boost(recipe: EnhanceRecipe, plane: Plane) -> Callable[[Tensor], Tensor]:
    """Return the step from the coarse image to the enhanced one."""
    import torch

    from napari_dip.prior.operators import luma

    measurement = torch.from_numpy(plane.values)[None]
    known = torch.from_numpy(plane.known)[None, None]
    flat = not np.ptp(plane.values)
    together = recipe.detail_of == "luminance" and len(plane.values) == 3

    def finish(coarse: Tensor) -> Tensor:
        image = measurement.to(coarse.device)
        seen = known.to(coarse.device)
        # What is missing is filled with the coarse image, which has no detail.
        image = torch.lerp(coarse, image, seen)
        fine = image - coarse
        if together:
            fine = luma(fine)
        # An image of one value has no detail, whatever the fit still lacks.
        return image if flat else image + recipe.amount * fine

    return finish


TASK = Task(
    recipe=EnhanceRecipe,
    arrays={
        "image": "Image to enhance: (Y, X), (Y, X, C) or any leading axes over those, "
        "any real dtype, 16 pixels a side or more. NaN marks missing pixels."
    },
    start=_start,
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
