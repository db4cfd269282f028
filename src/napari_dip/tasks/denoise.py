"""Denoising: one noisy image in, the image without its noise out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks import noise as noises
from napari_dip.tasks.arrays import Float, Layout, Plane, as_array, keeping, prepare
from napari_dip.tasks.function import function
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.run import Job, Part, Plan, Task

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.terms import Term

PAPER_ITERATIONS = 1800
"""Of the paper's text (section 4, Denoising); its published program runs 3000."""

MEMBERS = 3
"""Fits that the best preset averages."""

BLOCK = 5
"""Half-width of the blocks held out under correlated noise: as far as the noise of
camera JPEGs reaches (0.1 at a distance of 5 pixels)."""

FILTERED = 0.5
"""Part of the Wiener filter in the result."""

TAKEN_UP = 2.0
"""Noise over what a fit of correlated noise leaves of it where the image is smooth:
part has been taken up, and it is often weakest there."""

SAMPLE = 1_000_000
"""Pixels that are enough for a quantile."""

LEAST_NOISE = 0.02
"""Noise, as a part of a channel's range, below which less gives it no more weight."""

POOLING = 4.0
"""Standard deviation in pixels of the window that judges a pixel's reliability."""


@dataclass(frozen=True, kw_only=True)
class DenoiseRecipe(Recipe):
    """Parameters of `denoise`."""

    task: ClassVar[str] = "denoise"

    noise: Literal["auto", "gaussian", "poisson", "poisson-gaussian", "impulse"] = (
        parameter(
            "auto",
            "Kind of noise; auto looks whether the noise grows with the signal and "
            "chooses gaussian or poisson-gaussian.",
        )
    )
    sigma: float | None = parameter(
        None,
        "Standard deviation of gaussian noise in the units of the image; None "
        "estimates it.",
        low=0,
        advanced=True,
    )


def _start(recipe: DenoiseRecipe, image: Any) -> Job:
    image = as_array(image, "image")
    layout = Layout.of(image, recipe.channel_axis, recipe.spatial_dims, "image")

    def plan(pixels: NDArray[Any], part: Part) -> Plan:
        return plan_of(recipe, pixels)

    return Job(image, layout, layout.sides, plan, recipe.fits(MEMBERS))


def plan_of(
    recipe: DenoiseRecipe, pixels: NDArray[Any], *, guided: bool = False
) -> Plan:
    """Return the fit of one plane; `guided` if a second image shows what is in it."""
    # torch only now: command line and widget read recipes without it.
    import torch

    from napari_dip.prior import stopping, terms
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.codes import BlindSpot, Noise
    from napari_dip.prior.problem import Prior, Problem, Settings

    paper = recipe.preset == "paper"
    plane = prepare(pixels, "image", unit=paper, skip_constant=True)
    usable = plane.noisy
    found = noises.plane_model(plane, recipe.noise, recipe.sigma)
    correlated = noises.correlation(plane.values, usable) > noises.CORRELATED
    together = noises.channel_correlation(plane.values, np.all(usable, axis=0))
    shared = together > noises.SHARED
    fixed = None if recipe.iterations == "auto" else int(recipe.iterations)

    # Squared for signal-dependent noise as well: weighting by the variance makes
    # the dark background decide, and cost 8 dB on fluorescence.
    variance = found.level(plane.values)
    level: tuple[float, ...] | None = tuple(variance.tolist())
    term: Term = terms.Squared(_weights(variance))
    if recipe.noise == "impulse":
        term, level = terms.Huber(), None
    stop: stopping.Rule
    finish = None
    if paper:
        term = terms.Huber() if recipe.noise == "impulse" else terms.Squared()
        prior = Prior(Architecture(), Noise())
        stop = stopping.Iterations(fixed or PAPER_ITERATIONS)
        optimizer, rate, decay = "adam", 0.01, 0.99
    elif correlated:
        # Hidden pixels could be told from their neighbours, noise and all.
        prior = Prior(Architecture.uniform(64, 3), Noise())
        stop = stopping.HeldOut(800, radius=BLOCK, patience=60, relative_patience=0)
        optimizer, rate, decay = "muon", 0.03, 0.98
        if not guided and recipe.noise != "impulse":
            finish = posterior_mean(plane, None)
    else:
        code = BlindSpot(0.25, per_channel=len(plane.values) > 1 and not shared)
        width = 48 if recipe.preset == "best" else 32
        prior = Prior(Architecture.uniform(width, 4, skip=32, skip_kernel=3), code)
        stop = stopping.HeldOut(800, patience=80, relative_patience=0.2, variance=level)
        optimizer, rate, decay = "muon", 0.02, 0.99
        if recipe.noise != "impulse":
            finish = posterior_mean(plane, found)
            if not (guided or shared):
                finish = _filtered(plane, found, finish)
    if fixed is not None:
        stop = stopping.Iterations(fixed)
    weight = _weight(plane)
    if not weight.any():
        # Nothing but constants: there is nothing to find out.
        weight, stop = plane.known, stopping.Iterations(1)
    problem = Problem(
        torch.from_numpy(plane.values)[None],
        term=term,
        weight=torch.from_numpy(weight)[None, None],
        finish=finish,
    )
    settings = Settings(
        stop,
        optimizer=optimizer,
        rate=rate,
        decay=decay,
    )
    details = {
        "noise": found.kind,
        "sigma": noises.single_or_list(variance**0.5 * plane.span),
        "gain": noises.single_or_list(found.gain * plane.span),
        "correlated": bool(correlated),
        "shared by channels": bool(shared),
    }
    restore = keeping(plane.restore, pixels, plane.constant)
    return Plan(problem, prior, settings, restore, details)


def _weights(variance: NDArray[np.float64]) -> tuple[float, ...]:
    """Return weights of the channels' errors: the noisier, the less."""
    if len(variance) == 1:
        return ()
    weights = 1 / (variance + LEAST_NOISE**2)
    return tuple((weights / weights.mean()).tolist())


def _weight(plane: Plane) -> Float:
    """Return 1 where a pixel is fitted: not missing, nor constant in all channels."""
    return plane.known * ~plane.constant.all(axis=0)


def posterior_mean(
    plane: Plane, noise: noises.NoiseModel | None
) -> Callable[[Tensor], Tensor]:
    """Return the step that gives an average its pixels' own values back.

    A pixel's prediction e was made without its noisy value y, which still says
    something.  With v the local mean of (y - e)^2 and s^2 the noise variance, the
    best linear estimate is ``e + max(v - s^2, 0) / v * (y - e)`` (the posterior
    mean of Laine et al., High-quality self-supervised deep image denoising, 2019,
    Eq. 4, with the prior's variance taken from the image instead of a network).

    Without a model of the noise, s^2 is `TAKEN_UP` times the v that a tenth of the
    pixels is below: there the fit has missed nothing but noise.  Channels miss the same
    structure, so ``v - s^2`` is averaged over them, weighted by the certainty s^-4.
    """
    import torch

    from napari_dip.prior.operators import gaussian_blur

    measurement = torch.from_numpy(plane.values)[None]
    known = torch.from_numpy(_weight(plane))[None, None]

    def finish(average: Tensor) -> Tensor:
        y, weight = measurement.to(average.device), known.to(average.device)
        excess = (y - average).square()
        level = average.new_ones(1, len(plane.values), *[1] * (average.ndim - 2))
        if noise is not None:
            variance = noise.at(average)
            # Relative to the noise, so that bright and dark pixels can be pooled.
            excess = excess / variance
            level = variance.mean(tuple(range(2, average.ndim)), keepdim=True)
        local = gaussian_blur(excess * weight, POOLING) / gaussian_blur(
            weight, POOLING
        ).clamp(min=1e-6)
        if noise is None:
            some = local.flatten(2)[..., weight.flatten() > 0]
            some = some[..., :: 1 + some.shape[-1] // SAMPLE]
            lowest = some.quantile(0.1, dim=-1).reshape(level.shape)
            level = (TAKEN_UP * lowest).clamp(min=1e-12)
            local = local / level
        if len(plane.values) > 1:
            certainty = level.square().reciprocal()
            missed = ((local - 1) * level * certainty).sum(1, keepdim=True)
            local = 1 + missed / certainty.sum(1, keepdim=True) / level
        gain = (1 - 1 / local.clamp(min=1e-6)).clamp(min=0) * weight
        return average + gain * (y - average)

    return finish


def _filtered(
    plane: Plane, noise: noises.NoiseModel, restore: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return the step that averages a restored image with a Wiener filter's.

    The filter takes the restored image for the spectrum of the true one; what it makes
    of the noisy image errs in other ways, and the mean of both errs least.
    """
    import torch

    from napari_dip.prior.wiener import wiener

    measurement = torch.from_numpy(plane.values)[None]
    known = torch.from_numpy(_weight(plane))[None, None]

    def finish(average: Tensor) -> Tensor:
        restored = restore(average)
        weight = known.to(restored.device)
        y = torch.lerp(restored, measurement.to(restored.device), weight)
        filtered = wiener(y, restored, noise.at(restored))
        return torch.lerp(restored, filtered, FILTERED * weight)

    return finish


TASK = Task(
    recipe=DenoiseRecipe,
    arrays={
        "image": "Noisy image: (Y, X), (Y, X, C) or any leading axes over those, any "
        "real dtype, 16 pixels a side or more. NaN marks missing pixels."
    },
    start=_start,
    summary="""Remove the noise from an image, without training data.

A network is fitted to this one image and stopped before it learns the noise.
""",
    notes="""The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
2020), section 3.1 and section 4 (Denoising): the hourglass of 5 scales and 128
channels, Adam at 0.01, a code perturbed by 1/30, 1800 iterations, outputs averaged
with 0.99.  The other presets fit a smaller network with an orthogonalising optimiser
(Muon) to hidden pixels (Noise2Self), add the pixels' own values back by their local
reliability, and average with an empirical Wiener filter that the result guides; noise
that reaches into neighbouring pixels is recognised and fitted without hiding.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import denoise as denoise
else:
    denoise = function(TASK)
