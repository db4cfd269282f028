"""Deconvolution: a blurred, noisy image and its PSF in, the sharp image out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks import psf_check
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import PLANES, as_array
from napari_dip.tasks.blurred import (
    SAMPLE_SIDE,
    SAMPLES,
    Blurred,
    blurred_image,
    floors,
    sampled,
)
from napari_dip.tasks.finishing import Step, in_turn
from napari_dip.tasks.function import function
from napari_dip.tasks.noise import (
    NoiseModel,
    excess_warnings,
    known_sigma,
    plane_model,
    single_or_list,
)
from napari_dip.tasks.plane import Plane, keeping
from napari_dip.tasks.psf import kernel_for
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.task import Job, Plan, Task, preset_for
from napari_dip.tasks.tiles import AROUND, Block

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.convolution import Convolution
    from napari_dip.prior.problem import Problem
    from napari_dip.prior.terms import Term
    from napari_dip.tasks.presets import Preset

POLISH = 30
"""Most iterations of Richardson-Lucy on the result, to the level of the noise."""

COMPLETED = 100
"""Most accelerated iterations of Richardson-Lucy, to the least estimated error; more
make beads sharper with the right PSF, and worse with one that is too wide."""

DENSE, SPARSE = 0.6, 0.5
"""Density of the gradients of photographs, at least, and of spots and filaments on a
dark ground, at most.  The latter are completed beyond the level of the noise."""

SPARSE_START = 0.58
"""Density of the gradients of the first estimate below which the image is sparse: 0.2
to 0.55 are those of spots, filaments and nuclei, 0.6 to 0.85 those of photographs."""

ERRORS = 10.0
"""Noise that similar patches are told of, over what the PSF leaves unexplained.

Errors of the PSF are amplified like noise.  With one that was blurred, displaced and
noisy, 1 loses up to 1.7 dB in five steps and 10 up to 0.5."""

FLOOR = 0.1
"""Power of the transfer function below which the data fidelity amplifies no further."""

KERNEL_RATE = {"fast": 1e-3, "best": 1e-3, "paper": 1e-4}
"""Learning rate of the kernel network; the last is that of the program of Ren et al.
(2020), which takes several times as many iterations."""


@dataclass(frozen=True, kw_only=True)
class DeconvolveRecipe(Recipe):
    """Parameters of `deconvolve`."""

    task: ClassVar[str] = "deconvolve"

    noise: Literal["auto", "gaussian", "poisson-gaussian", "poisson"] = parameter(
        "auto",
        "Kind of noise; with poisson-gaussian and poisson bright pixels, which are "
        "noisier, count less; auto looks whether the noise grows with the signal.",
    )
    tv: float = parameter(
        0.01,
        "Weight of the total variation, relative to the noise: more is smoother, 0 "
        "leaves it out.",
        low=0,
    )
    background: float | Literal["auto"] | None = parameter(
        "auto",
        "Value of the image where there is no light; the result is never below it. "
        "auto is 0, or no limit for an image with much below 0; None is no limit.",
    )
    blind: bool = parameter(
        False,
        "Take the PSF as a first guess and fit it too, within its extent; a PSF of "
        "equal values says nothing but the extent. The fitted one is `operator.psf` "
        "of the full output.",
    )
    boundary: Literal["extend", "periodic"] = parameter(
        "extend",
        "extend takes light from beyond the border as unknown; periodic repeats the "
        "image, as many simulations do.",
        advanced=True,
    )
    sigma: float | None = known_sigma()


def _make_job(recipe: DeconvolveRecipe, image: Any, psf: Any) -> Job:
    image = as_array(image, "image")
    layout, kernel, warnings = kernel_for(
        image, psf, recipe.channel_axis, recipe.spatial_dims, recipe.boundary
    )
    if not recipe.blind and (displaced := psf_check.displacement_warning(kernel)):
        warnings.append(displaced)

    # The analysis and the plan of a plane need the same estimate.
    blurred = lru_cache(maxsize=1)(partial(blurred_image, recipe.boundary, kernel))
    extend = recipe.boundary == "extend"
    job = Job(
        layout,
        partial(_preset, recipe, kernel.ndim),
        partial(_plan, recipe, blurred, warnings),
        image,
        needs=("background",),
        canvas=tuple(k - 1 for k in kernel.shape) if extend else (),
        reach=-(-max(AROUND, *kernel.shape) // 16) * 16 if extend else None,
        # Every tile would have a PSF of its own.
        cuttable=lambda analysis: not recipe.blind,
    )
    # Which planes are cut does not depend on what is found out about them.
    tiled = job.tile_sides(recipe, Analysis.unknown(layout.channels)) is not None
    return replace(job, analyse=partial(_analyse, recipe, kernel, blurred, tiled))


def _preset(recipe: DeconvolveRecipe, dims: int, analysis: Analysis) -> Preset:
    if recipe.blind:
        return preset_for(recipe, "blind")
    if dims == 3:
        return preset_for(recipe, "volumes")
    return preset_for(recipe, "sparse" if analysis.sparse else "")


def _analyse(
    recipe: DeconvolveRecipe,
    kernel: NDArray[Any],
    blurred: Callable[..., Blurred],
    tiled: bool,
    plane: Plane,
    block: Block,
) -> Analysis:
    """Find out scale, noise and background, and whether the PSF is turned.

    Of a large plane that is fitted in tiles only parts are estimated.
    """
    background = floors(recipe.background, plane)
    above = plane.above(background)
    noise = plane_model(above, recipe.noise, recipe.sigma)
    analysis = Analysis.of(
        plane,
        block.channels,
        noise=noise,
        levels=tuple(noise.level(above.values).tolist()),
        background=tuple(background.tolist()),
    )
    side = max(SAMPLE_SIDE, 2 * max(kernel.shape))
    if tiled and above.known.size > SAMPLES * side**2:
        span, density = sampled(plane, noise, analysis.background, blurred, side)
    else:
        measured = blurred(plane, analysis.background, analysis.noise)
        span, density = measured.sharp_span, measured.density
    turned = None
    if block.plane == 0 and not recipe.blind:
        variance = float(np.mean(analysis.levels)) / len(above.values)
        mean, periodic = above.values.mean(axis=0), recipe.boundary == "periodic"
        known = above.without_constant().known
        turned = psf_check.turn_warning(mean, known, kernel, variance, periodic)
    warnings = excess_warnings(above, recipe.sigma)
    warnings += () if turned is None else (turned,)
    sparse = density < SPARSE_START
    return replace(analysis, sharp_span=span, sparse=sparse, warnings=warnings)


def _plan(
    recipe: DeconvolveRecipe,
    blurred: Callable[..., Blurred],
    warnings: list[str],
    plane: Plane,
    block: Block,
    analysis: Analysis,
    preset: Preset,
) -> Plan:
    from napari_dip.prior.problem import Problem
    from napari_dip.prior.terms import variation_penalty

    measured = blurred(plane, analysis.background, analysis.noise)
    # Analyses of other tasks have no such range.
    span = np.array(analysis.sharp_span or measured.sharp_span)
    scaled, noise = measured.divided(span), analysis.noise.rescaled(span)
    plane, blur = scaled.plane, scaled.blur
    levels = noise.level(scaled.measurement[0].numpy())
    problem = Problem(
        scaled.measurement,
        term=_term(recipe, blur, noise, levels),
        operator=blur,
        weight=scaled.weight,
        shape=(len(plane.values), *blur.canvas),
        penalty=variation_penalty(recipe.tv * float(levels.mean()) ** 0.5),
        first_estimate=scaled.estimate,
    )
    details = {
        **noise.details(levels, plane.span),
        "background": single_or_list(plane.offset),
        "psf": list(scaled.psf.shape),
    }
    seen: Step = itemgetter(blur.crop)
    preview, finish = _steps(preset, scaled, noise, levels)
    blind = partial(_blind, KERNEL_RATE[recipe.preset], problem, scaled)
    return Plan(
        problem,
        keeping(plane, plane.constant),
        in_turn([*finish, seen]),
        details,
        [*warnings, *analysis.warnings],
        seeded=blind if recipe.blind else None,
        preview=in_turn([*preview, seen]),
    )


def _blind(rate: float, problem: Problem, scaled: Blurred, seed: int) -> Problem:
    """Return the problem of a seed, in which the PSF is fitted too, at that rate."""
    from napari_dip.prior.convolution import KernelNet, UnknownConvolution

    operator = UnknownConvolution(scaled.blur, KernelNet(scaled.psf, seed))
    return replace(problem, operator=operator, operator_learning_rate=rate)


def _term(
    recipe: DeconvolveRecipe,
    blur: Convolution,
    noise: NoiseModel,
    levels: NDArray[np.float64],
) -> Term:
    """Return the data fidelity for noise of a mean variance in every channel."""
    from napari_dip.prior import terms
    from napari_dip.prior.convolution import Sharpened

    if recipe.preset == "paper":
        return terms.Squared()
    weighted = None
    if noise.kind == "poisson-gaussian":
        weighted = terms.PoissonGaussian(
            noise.gain, noise.variance, tuple(levels.tolist()), noise.offset
        )
    return Sharpened(blur, FLOOR, weighted)


def _steps(
    preset: Preset, scaled: Blurred, noise: NoiseModel, levels: NDArray[np.float64]
) -> tuple[list[Step], list[Step]]:
    """Return the steps that show an image, and those that finish it, on the canvas."""
    preview: list[Step] = []
    finish: list[Step] = []
    if preset.finish.richardson_lucy:
        preview.append(partial(_polished, scaled, levels))
        finish.append(partial(_completed, scaled, noise, levels))
    if preset.finish.similar_patches:
        finish.append(partial(_like_similar_patches, scaled, noise))
    return preview, finish


def _polished(scaled: Blurred, levels: NDArray[np.float64], average: Tensor) -> Tensor:
    """Return an average, on the canvas, to which what it has missed comes back.

    What the network has not got to yet comes back by Richardson-Lucy, as far as more
    than noise is left of the measurement.
    """
    from napari_dip.prior.richardson_lucy import richardson_lucy

    return richardson_lucy(
        *scaled.tensors(average.device), POLISH, levels.tolist(), average
    )


def _completed(
    scaled: Blurred, noise: NoiseModel, levels: NDArray[np.float64], average: Tensor
) -> Tensor:
    """Return an average, on the canvas, polished, or completed if it is sparse.

    Structure on a dark ground becomes sharper beyond the level of the noise.  Between
    both limits of its density the image is a mixture.
    """
    from napari_dip.prior.operators import per_channel
    from napari_dip.prior.richardson_lucy import gradient_density, least_risk

    blur, y, weight = scaled.tensors(average.device)
    completed = least_risk(blur, y, weight, noise.at(y), COMPLETED, average)
    density = gradient_density(blur, completed, weight)
    sparse = ((DENSE - density) / (DENSE - SPARSE)).clamp(0, 1)
    if bool((sparse == 1).all()):
        return completed
    polished = _polished(scaled, levels, average)
    return polished.lerp(completed, per_channel(sparse, y))


def _like_similar_patches(
    scaled: Blurred, noise: NoiseModel, estimate: Tensor
) -> Tensor:
    """Return an estimate, on the canvas, deblurred with similar patches.

    Whatever the blurred estimate leaves of the measurement beyond the noise is due to
    errors of the PSF.
    """
    from napari_dip.prior.deblurring import deblurred

    blur, y, weight = scaled.tensors(estimate.device)
    spatial = tuple(range(2, y.ndim))
    blurred = blur(estimate)
    left, level = (
        (values * weight).sum(spatial, keepdim=True).clamp(min=1e-20)
        for values in ((y - blurred).square(), noise.at(blurred))
    )
    factor = 1 + ERRORS * (left / level - 1).clamp(min=0)

    def variance(image: Tensor) -> Tensor:
        return factor * noise.at(image)

    return deblurred(blur, y, weight, variance, estimate)


TASK = Task(
    recipe=DeconvolveRecipe,
    arrays={
        "image": f"Blurred image: {PLANES}",
        "psf": "Point spread function, (Y, X), or (Z, Y, X) to restore volumes: no "
        "larger than the image along y and x, of any positive sum, its centre at the "
        "pixel side // 2 of every axis, its background subtracted.",
    },
    make_job=_make_job,
    summary="""Remove a known blur, and the noise, from an image or a volume.

A network is fitted so that its image, blurred with the PSF, becomes the measurement.
""",
    notes="""The image beyond the border blurs into the measurement: it is fitted too,
on a canvas larger by the PSF (Ren et al., Neural Blind Deconvolution Using Deep Priors,
CVPR 2020).  The fit starts from an estimate by Richardson-Lucy, accelerated (Biggs,
Andrews, Acceleration of iterative image restoration algorithms, Applied Optics 36,
1997) and ended where the error of the blurred image, by Stein's estimate, is the least;
its squared error is filtered so that frequencies which the blur has weakened come back
sooner; held-out pixels of the measurement tell when to stop.  Then Richardson-Lucy goes
on to the level of the noise or, for spots and filaments on a dark ground, to the least
estimated error.  In planes the measurement is inverted about the result, and similar
patches are estimated under the noise of the inverse, four times (Dabov, Foi, Katkovnik,
Egiazarian, Image restoration by sparse 3D transform-domain collaborative filtering,
SPIE 6812, 2008).  The paper preset has the network (5 scales of 128 channels, skips of
16), the code (8 channels, perturbed by 0.001), Adam at 0.01 halved at 2000, 3000 and
4000 of 5000 iterations and, where the PSF is unknown, the kernel network of Ren et al.
with Adam at 0.0001; their program changes from the squared error to structural
similarity after 1000 iterations, ours keeps the squared error, and begins the kernel at
the PSF that is given.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import deconvolve as deconvolve
else:
    deconvolve = function(TASK)
