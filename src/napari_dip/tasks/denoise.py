"""Denoising: one noisy image in, the image without its noise out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from napari_dip.tasks import noise as noises
from napari_dip.tasks.arrays import Layout, Plane, as_array, prepare
from napari_dip.tasks.function import function
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.run import Job, Plan, Task

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

    def plan(index: tuple[int | slice, ...], _: int) -> Plan:
        unit = recipe.preset == "paper"
        plane = prepare(layout.take(image, index), "image", unit=unit)
        return plan_of(recipe, plane)

    return Job(layout, layout.sides, plan, recipe.fits(MEMBERS))


def plan_of(recipe: DenoiseRecipe, plane: Plane, *, guided: bool = False) -> Plan:
    """Return the fit of one plane; `guided` if a second image shows what is in it."""
    # torch only now: command line and widget read recipes without it.
    import torch

    from napari_dip.prior import stopping, terms
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.codes import BlindSpot, Noise
    from napari_dip.prior.problem import Prior, Problem, Settings

    sigma = None if recipe.sigma is None else recipe.sigma / plane.span
    found = noises.model(plane.values, recipe.noise, sigma)
    correlated = noises.correlation(plane.values) > noises.CORRELATED
    shared = noises.channel_correlation(plane.values) > noises.SHARED
    fixed = None if recipe.iterations == "auto" else int(recipe.iterations)

    # Squared for signal-dependent noise as well: weighting by the variance makes
    # the dark background decide, and cost 8 dB on fluorescence.
    term: Term = terms.Squared()
    level: float | None = found.level(plane.values)
    if recipe.noise == "impulse":
        term, level = terms.Huber(), None
    stop: stopping.Rule
    finish = None
    if recipe.preset == "paper":
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

    def tensor(array: Any) -> Tensor:
        return torch.from_numpy(array)[None]

    problem = Problem(
        tensor(plane.values),
        term=term,
        weight=tensor(plane.known[None]),
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
        "sigma": found.level(plane.values) ** 0.5 * plane.span,
        "gain": found.gain * plane.span,
        "correlated": bool(correlated),
        "shared by channels": bool(shared),
    }
    return Plan(problem, prior, settings, plane.restore, details)


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
    pixels is below: there the fit has missed nothing but noise.
    """
    import torch

    from napari_dip.prior.operators import gaussian_blur

    measurement = torch.from_numpy(plane.values)[None]
    known = torch.from_numpy(plane.known)[None, None]

    def finish(average: Tensor) -> Tensor:
        y, weight = measurement.to(average.device), known.to(average.device)
        excess = (y - average).square().mean(1, keepdim=True)
        if noise is not None:
            signal = (average - noise.offset).clamp(min=0)
            variance = noise.gain * signal + noise.variance
            # Relative to the noise, so that bright and dark pixels can be pooled.
            excess = excess / variance.mean(1, keepdim=True)
        local = gaussian_blur(excess * weight, POOLING) / gaussian_blur(
            weight, POOLING
        ).clamp(min=1e-6)
        if noise is None:
            some = local[weight > 0]
            some = some[:: 1 + len(some) // SAMPLE]
            local = local / (TAKEN_UP * some.quantile(0.1)).clamp(min=1e-12)
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
    known = torch.from_numpy(plane.known)[None, None]

    def finish(average: Tensor) -> Tensor:
        restored = restore(average)
        weight = known.to(restored.device)
        y = torch.lerp(restored, measurement.to(restored.device), weight)
        signal = (restored - noise.offset).clamp(min=0)
        filtered = wiener(y, restored, noise.gain * signal + noise.variance)
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
