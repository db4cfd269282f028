"""Super-resolution: one coarse image in, the same field on finer pixels out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import PLANES, Layout, as_array
from napari_dip.tasks.finishing import Step
from napari_dip.tasks.function import function
from napari_dip.tasks.noise import plane_model, single_or_list
from napari_dip.tasks.noise_level import sharp_noise
from napari_dip.tasks.plane import Plane, keeping
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.similar_patches import without_noise
from napari_dip.tasks.task import Job, Plan, Task, preset_for
from napari_dip.tasks.tiles import AROUND, Block

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.resampling import Downsampling
    from napari_dip.tasks.presets import Preset

NOISY = 0.026
"""Noise above which an image counts as noisy, as a part of its range.

On the 14 photographs of Set5 and Set14, reduced by 4 and by 8, `sharp_noise` reads up
to 0.025 as they are where they keep `ENOUGH` pixels, and 0.036 or more with Gaussian
noise of 10 gray levels, 0.039 of the range, on them.
"""

ENOUGH = 2000
"""Pixels below which steps between coarse pixels pass for more noise.

`sharp_noise` has few smooth blocks to choose from then: the same photographs, without
noise, read up to 0.025 at 32 x 32 pixels and 0.052 at 20 x 20.
"""

BACK_PROJECTIONS = 10
"""Steps after which a result agrees with a clean image to about its rounding."""

PASSES = 6
"""Passes in which similar patches are estimated together: 10 are 0.02 dB better."""

WINDOW = 15
"""Pixels that a patch may be away from its reference, along each axis."""

STRONGEST, WEAKEST = 0.5, 0.13
"""Noise that the first and the last pass assume, over the standard deviation of the
image."""


@dataclass(frozen=True, kw_only=True)
class SuperResolveRecipe(Recipe):
    """Parameters of `super_resolve`."""

    task: ClassVar[str] = "super_resolve"

    factor: int = parameter(
        4,
        "How many times more pixels along every axis.",
        low=2,
        high=8,
    )
    operator: Literal["lanczos", "box", "gaussian", "bicubic"] = parameter(
        "lanczos",
        "How the coarse pixels are thought to have come from fine ones: lanczos "
        "(carefully reduced photographs; the paper's), box (camera pixels, binning), "
        "gaussian (blur by optics, then camera pixels), bicubic (reduced by common "
        "software).",
    )
    sigma: float = parameter(
        0.5,
        "Standard deviation of the blur of the gaussian operator, in pixels of the "
        "input.",
        low=0,
        high=10,
        advanced=True,
    )
    noisy: Literal["auto", "yes", "no"] = parameter(
        "auto",
        "Whether the image is noisy. Filters then remove the noise before the fit; a "
        "clean image is matched exactly. auto measures the noise in the smoothest "
        "places.",
    )


def _make_job(recipe: SuperResolveRecipe, image: Any) -> Job:
    image = as_array(image, "image")
    layout = Layout.of(image, recipe.channel_axis, recipe.spatial_dims, "image")
    return Job(
        layout,
        lambda analysis: preset_for(recipe, "4" if recipe.factor <= 4 else "8"),
        partial(_plan, recipe),
        image,
        partial(_analyse, recipe),
        needs=("clean",),
        unit=recipe.preset == "paper",
        factor=recipe.factor,
        reach=AROUND,
    )


def _analyse(recipe: SuperResolveRecipe, plane: Plane, block: Block) -> Analysis:
    """Find out scale and noise, and which channels are clean."""
    sharp = [sharp_noise(v, u) for v, u in zip(plane.values, plane.noisy, strict=True)]
    levels = np.square(sharp)
    clean = levels <= noisy_above(plane) ** 2
    if recipe.noisy != "auto":
        clean[:] = recipe.noisy == "no"
    facts = {}
    if not clean.all():
        noise = facts["noise"] = plane_model(plane, "auto", None)
        levels = np.where(clean, levels, noise.level(plane.values, plane.noisy))
    return Analysis.of(
        plane,
        block.channels,
        levels=tuple(levels.tolist()),
        clean=tuple(clean.tolist()),
        noisy=not clean.all(),
        **facts,
    )


def _plan(
    recipe: SuperResolveRecipe,
    plane: Plane,
    block: Block,
    analysis: Analysis,
    preset: Preset,
) -> Plan:
    from napari_dip.prior.problem import Problem

    operator = _operator(recipe)
    measurement, weight = plane.without_apart().tensors()
    finish = preview = None
    kept = plane.constant if preset.finish.similar_patches else plane.apart
    if preset.finish.similar_patches:
        if analysis.noisy:
            clean = list(analysis.clean)
            denoised = without_noise(plane.without_constant(), analysis.noise)
            denoised[:, clean] = measurement[:, clean]
            measurement = denoised
        preview = partial(_agreeing, measurement, weight, operator)
        finish = partial(_like_similar_patches, preview)
    channels, *sides = plane.values.shape
    problem = Problem(
        measurement,
        operator=operator,
        weight=weight,
        shape=(channels, *(recipe.factor * side for side in sides)),
    )
    level = np.sqrt(analysis.levels)
    details = {"noise": single_or_list(level * plane.span), "noisy": analysis.noisy}
    return Plan(problem, keeping(plane, kept), finish, details, preview=preview)


def _operator(recipe: SuperResolveRecipe) -> Downsampling:
    from napari_dip.prior import resampling

    if recipe.operator == "gaussian":
        return resampling.gaussian(recipe.factor, recipe.sigma)
    build: Callable[[int], Downsampling] = getattr(resampling, recipe.operator)
    return build(recipe.factor)


def noisy_above(plane: Plane) -> float:
    """Return the `sharp_noise` above which a plane of so many pixels is noisy."""
    pixels = int((plane.known > 0).sum())
    return NOISY * math.sqrt(max(1.0, ENOUGH / max(pixels, 1)))


def _agreeing(
    measurement: Tensor, weight: Tensor, operator: Downsampling, average: Tensor
) -> Tensor:
    """Make an image agree with a clean measurement.

    Iterated back-projection (Irani and Peleg, Improving resolution by image
    registration, 1991): what the reduced image lacks is interpolated and added.
    """
    from napari_dip.prior.resampling import upsample

    y, known = measurement.to(average.device), weight.to(average.device)
    for _ in range(BACK_PROJECTIONS):
        lacking = known * (y - operator(average))
        average = average + upsample(lacking, operator.factor)
    return average


def _like_similar_patches(agree: Step, average: Tensor) -> Tensor:
    """Make detail agree with that of similar patches.

    A filter that takes what similar patches do not share for noise, and the step that
    makes the result agree with the measurement again, in turns, under falling noise
    (plug-and-play: Venkatakrishnan, Bouman, Wohlberg, Plug-and-play priors for model
    based reconstruction, 2013; Danielyan, Katkovnik, Egiazarian, BM3D frames and
    variational image deblurring, 2012, for a filter by similar patches).
    """
    import torch

    from napari_dip.prior.collaborative import collaborative_filter

    image = agree(average)
    for noise in np.geomspace(STRONGEST, WEAKEST, PASSES) * float(image.std()):
        variance = torch.full_like(image, max(noise, 1e-6) ** 2)
        similar = collaborative_filter(image, image, variance, window=WINDOW)
        image = agree(similar)
    return image


TASK = Task(
    recipe=SuperResolveRecipe,
    arrays={"image": f"Coarse image: {PLANES}"},
    make_job=_make_job,
    positional=("factor",),
    summary="""Put an image on finer pixels, without training data.

A network is fitted so that its output, reduced by the factor, is the image.  The result
has `factor` times as many pixels along every spatial axis over the same field: a pixel
is `factor` times smaller, and the centre of the first one lies
``(1 / factor - 1) / 2`` pixels of the input from that of the input's first pixel.
""",
    notes="""The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
2020), section 3.2 and section 4 (Super-resolution), as the published program sets it:
the hourglass of 5 scales and 128 channels, Adam at 0.01, the last output; up to factor
4 a code perturbed by 0.03 (1/30 in the text) and 2000 iterations, above 0.05 (1/20) and
4000.  The other presets fit a smaller network with an orthogonalising optimiser (Muon),
average the weights, and estimate similar patches of the result together, in turns with
back-projection, which makes it agree with the image.  A noisy image is denoised before
the fit, by BM3D's thresholds and then by NL-Ridge and NL-Bayes.

A measured point spread function needs no operator here: `restore` takes any forward
model, `deconvolve` a measured blur at the pixels there are.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import super_resolve as super_resolve
else:
    super_resolve = function(TASK)
