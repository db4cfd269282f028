"""Denoising: one noisy image in, the image without its noise out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import PLANES, Float, Layout, as_array
from napari_dip.tasks.blurs import goodness_of_blurs, or_blurred
from napari_dip.tasks.border_noise import border_noise
from napari_dip.tasks.colour_map import colour_map_warnings
from napari_dip.tasks.components import (
    by_component,
    component_noise,
    mixing,
    on_components,
)
from napari_dip.tasks.falling_noise import falling_noise
from napari_dip.tasks.finishing import (
    Finish,
    Step,
    beside_noisier,
    in_turn,
    missed_restored,
    posterior_deviation,
    posterior_mean,
    same_mean,
    wiener_mean,
)
from napari_dip.tasks.function import function
from napari_dip.tasks.impulses import (
    judged_steps,
    kept_warnings,
    without_impulses,
)
from napari_dip.tasks.noise import (
    LIKE_VARIANCES,
    NoiseModel,
    excess_warnings,
    known_sigma,
    plane_model,
)
from napari_dip.tasks.noise_correlation import (
    CORRELATED,
    FALLING,
    SHARED,
    Spectra,
    channel_correlations,
    channel_spectra,
    correlation,
    falling,
    homogeneous,
    is_along_axis,
)
from napari_dip.tasks.noise_level import channel_variances, gaussian_variance
from napari_dip.tasks.patches import Mask
from napari_dip.tasks.plane import Plane, keeping
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.similar_patches import (
    collaborative,
    collaborative_guided,
    collaborative_shared,
    collaborative_shared_guided,
)
from napari_dip.tasks.stripes import Stripes
from napari_dip.tasks.task import Job, Plan, Task, preset_for
from napari_dip.tasks.texture import has_shared_texture, without_texture
from napari_dip.tasks.tiles import AROUND, Block
from napari_dip.tasks.white_floor import has_white_floor

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.terms import Term
    from napari_dip.tasks.presets import Preset


WHITE = 0.5
"""Variance of the finest detail, over that of known noise, from which on the noise is
white: that of cameras has 0.37 and less."""

FALLING_STEEPLY, WEAK = 5.5, 0.03
"""`FALLING` in an image of one channel whose finest detail has less than `WEAK` of its
range, and whose blocks are not of one level.

Texture alone reads less in 96 of 100 photographs with white noise of 2 gray levels, and
noise that neighbours share reads more in 83 to 100.  In colours, channels tell texture.
"""

EVEN = 0.02
"""Noise, as a part of a channel's range, below which less gives no more weight."""


@dataclass(frozen=True, kw_only=True)
class DenoiseRecipe(Recipe):
    """Parameters of `denoise`."""

    task: ClassVar[str] = "denoise"

    noise: Literal["auto", "gaussian", "poisson", "poisson-gaussian", "impulse"] = (
        parameter(
            "auto",
            "Kind of noise; auto looks whether the noise grows with the signal and "
            "chooses gaussian or poisson-gaussian. impulse removes single pixels far "
            "from what is around them as well, such as hot and dead ones.",
        )
    )
    sigma: float | None = known_sigma()
    stripes: Literal["auto", "no", "rows", "columns", "both"] = parameter(
        "auto",
        "Whether whole rows or columns have offsets, as cameras and scanning "
        "microscopes add them, which are removed before the fit; auto removes those "
        "that must be noise.",
    )


def make_job(recipe: DenoiseRecipe, image: Any) -> Job:
    """Return the job of an image."""
    image = as_array(image, "image")
    layout = Layout.of(image, recipe.channel_axis, recipe.spatial_dims, "image")
    return Job(
        layout,
        preset=lambda analysis: preset_of(recipe, analysis),
        plan=lambda plane, block, *known: plan_of(recipe, plane, *known),
        image=image,
        analyse=lambda plane, block: analyse(recipe, plane, block),
        unit=recipe.preset == "paper",
        reach=AROUND,
        kinds=lambda plane: noise_kinds(recipe, plane),
        stripes=_stripes(recipe, image, layout),
    )


def _stripes(recipe: DenoiseRecipe, image: Any, layout: Layout) -> Stripes | None:
    if recipe.stripes == "no" or recipe.preset == "paper":
        return None
    return Stripes(image, layout, recipe.stripes)


def uncertain(recipe: DenoiseRecipe) -> bool:
    """Return whether results can have an uncertainty."""
    return recipe.preset != "paper" and recipe.noise != "impulse"


def analyse(recipe: DenoiseRecipe, plane: Plane, block: Block) -> Analysis:
    """Find out scale and noise."""
    as_it_is = plane
    plane, kind = _without_impulses(recipe, plane)
    usable = plane.noisy
    noise = plane_model(plane, kind, recipe.sigma)
    facts: dict[str, Any] = {}
    between = channel_correlations(plane.values, np.all(usable, axis=0))
    textured = has_shared_texture(plane, noise, between) and not (
        recipe.sigma is not None
        and _is_weak_when_fine(plane.values, usable, recipe.sigma / plane.span)
    )
    if textured and recipe.sigma is None:
        noise = without_texture(plane, noise, kind)
    if not textured and np.abs(np.triu(between, 1)).max() > SHARED:
        matrix = mixing(between, noise.level(plane.values, usable))
        parts = component_noise(plane, matrix, kind, recipe.sigma)
        facts = {"mixing": tuple(matrix.flatten().tolist()), "components": parts}
    correlated = not textured and _correlated(recipe, plane)
    asked = kind == "auto" and recipe.sigma is None and recipe.preset != "paper"
    if asked and not (correlated or textured):
        spreads = falling_noise(plane, noise)
        if spreads:
            even = analyse(recipe, as_it_is.stretched(spreads), block)
            return replace(even, spreads=spreads)
        uneven = border_noise(plane, noise, block)
        if uneven:
            even = analyse(recipe, as_it_is.evened(uneven, block.places), block)
            return replace(even, unevenness=uneven)
    warnings = excess_warnings(plane, recipe.sigma) + colour_map_warnings(plane)
    if recipe.noise != "impulse":
        warnings += kept_warnings(plane, noise)
    return Analysis.of(
        plane,
        block.channels,
        noise=noise,
        correlated=correlated,
        warnings=warnings,
        **facts,
    )


def noise_kinds(recipe: DenoiseRecipe, plane: Plane) -> list[bool]:
    """Return for every channel whether it is taken for one of correlated noise.

    Fine structure under weak noise is, where stronger noise on the same structure is
    not: fitted together, the one would be restored as the other.  Channels with like
    noise are of one kind.
    """
    plane, kind = _without_impulses(recipe, plane)
    values, usable = plane.values, plane.noisy
    channels = [slice(c, c + 1) for c in range(len(values))]
    correlated = [_correlated(recipe, plane, c) for c in channels]
    if len(set(correlated)) == 1:
        return correlated
    levels = plane_model(plane, kind, recipe.sigma).level(values, usable)
    like_levels = levels.max() <= LIKE_VARIANCES * levels.min()
    return [False] * len(values) if like_levels else correlated


def _without_impulses(recipe: DenoiseRecipe, plane: Plane) -> tuple[Plane, str]:
    """Return a plane with independent noise alone, and which kind to assume."""
    if recipe.noise != "impulse":
        return plane, recipe.noise
    return without_impulses(plane), "auto"


def _correlated(
    recipe: DenoiseRecipe, plane: Plane, channels: slice = slice(None)
) -> bool:
    """Return whether neighbouring pixels of some channels share their noise."""
    values, usable = plane.values[channels], plane.noisy[channels]
    spectra = channel_spectra(values, usable)
    correlated = is_along_axis(spectra) or _along_both_axes(spectra, values, usable)
    if not correlated or recipe.sigma is None:
        return correlated
    return _is_weak_when_fine(values, usable, recipe.sigma / plane.span[channels])


def _is_weak_when_fine(values: Float, usable: Mask, sigma: NDArray[np.float64]) -> bool:
    """Return whether the finest detail has too little of the known noise to be white.

    One channel of which that is true is enough.
    """
    finest = channel_variances(values, usable)
    return bool((finest <= WHITE * sigma**2).any())


def _along_both_axes(spectra: Spectra, values: Float, usable: Mask) -> bool:
    """Return whether neighbours along both axes share their noise."""
    if correlation(values, usable) <= CORRELATED:
        return False
    # Texture is correlated as well, but the noise on it does not fall off.
    falls = falling(spectra)
    if homogeneous(spectra, values, usable):
        return falls > FALLING
    steeply = len(values) == 1 and gaussian_variance(values, usable) < WEAK**2
    least = FALLING_STEEPLY if steeply else FALLING
    return falls > least and not has_white_floor(values, usable)


def preset_of(recipe: DenoiseRecipe, analysis: Analysis) -> Preset:
    """Return the preset for an image."""
    from napari_dip.prior.codes import BlindSpot
    from napari_dip.prior.stopping import HeldOut

    preset = preset_for(recipe, _case(recipe, analysis))
    code, stop = preset.code, preset.stop
    if isinstance(code, BlindSpot):
        apart = len(analysis.channels) > 1 and not analysis.shared
        code = replace(code, per_channel=apart)
        if isinstance(stop, HeldOut) and recipe.noise != "impulse":
            stop = replace(stop, variance=analysis.levels)
    return replace(preset, code=code, stop=stop)


def _case(recipe: DenoiseRecipe, analysis: Analysis) -> str:
    if analysis.correlated:
        return "correlated"
    if recipe.noise == "impulse":
        return "impulse"
    return "" if analysis.noise.kind == "gaussian" else "signal-dependent"


def plan_of(
    recipe: DenoiseRecipe,
    plane: Plane,
    analysis: Analysis,
    preset: Preset,
    *,
    guide: Tensor | None = None,
) -> Plan:
    """Return the fit of one plane.

    A guide, (1, G, ...) in any units, is a second image that shows what is in it.
    """
    from napari_dip.prior import terms
    from napari_dip.prior.problem import Problem

    variance = np.asarray(analysis.levels)
    # Squared for signal-dependent noise as well: weighting by the variance makes
    # the dark background decide, and cost 8 dB on fluorescence.
    term: Term = terms.Squared(_channel_weights(variance))
    if recipe.preset == "paper":
        term = terms.Squared()
    if recipe.noise == "impulse":
        term = terms.Huber()
    plane = plane.without_constant()
    given = None if recipe.sigma is None else analysis.noise
    steps = partial(_steps, analysis=analysis, preset=preset, guide=guide, given=given)
    if recipe.noise == "impulse" and preset.finish != Finish():
        noisy, plane = plane, without_impulses(plane)
        quick, slow = judged_steps(noisy, plane, steps)
    else:
        quick, slow = steps(plane)
    measurement, weight = plane.tensors()
    problem = Problem(measurement, term=term, weight=weight)
    noise = analysis.noise
    # Of noise that neighbours or channels share nothing is known of the error.
    independent = not (analysis.correlated or analysis.shared)
    certain = slow and independent and uncertain(recipe)
    details = {
        **noise.details(variance, plane.mean_growth),
        "correlated": analysis.correlated,
        "shared by channels": analysis.shared,
    }
    return Plan(
        problem,
        keeping(plane, plane.constant),
        in_turn([*quick, *slow]),
        details,
        list(analysis.warnings),
        preview=in_turn(quick),
        deviation=posterior_deviation(plane, noise) if certain else None,
    )


def _channel_weights(variance: NDArray[np.float64]) -> tuple[float, ...]:
    """Return weights of the channels' errors, by the variance of their noise."""
    if len(variance) == 1:
        return ()
    weights = 1 / (variance + EVEN**2)
    return tuple((weights / weights.mean()).tolist())


def _steps(
    plane: Plane,
    analysis: Analysis,
    preset: Preset,
    guide: Tensor | None,
    given: NoiseModel | None,
) -> tuple[list[Step], list[Step]]:
    """Return the quick and the slow steps of the preset that suit the noise.

    That of the analysis is `given` where the user knows its level.
    """
    finish = preset.finish
    if analysis.correlated:
        photons = analysis.noise if analysis.noise.kind != "gaussian" else None
        first: Callable[[Plane], Step] = partial(
            posterior_mean, noise=None, photons=photons
        )
        last: Callable[[Plane], Step] = partial(
            collaborative_shared, noise=analysis.noise, given=given
        )
        if guide is not None:
            first = missed_restored
            last = partial(collaborative_shared_guided, guide=guide, given=given)
        quick = [first(plane)] if finish.posterior_mean else []
        slow = [last(plane)] if finish.collaborative else []
        return quick, slow
    steps_for = partial(_steps_of_channels, finish=finish, guide=guide)
    if analysis.shared:
        matrix = np.reshape(analysis.mixing, (len(plane.values),) * 2)
        quick = on_components(plane, matrix, analysis.components, steps_for)
    else:
        quick = steps_for(plane, analysis.noise)
    slow = [quick.pop()] if finish.collaborative else []
    if slow and guide is None and analysis.noise.kind != "gaussian":
        slow.append(same_mean(plane, analysis.noise))
    return quick, slow


def _steps_of_channels(
    plane: Plane, noise: NoiseModel, finish: Finish, guide: Tensor | None
) -> list[Step]:
    """Return the steps against noise that is independent, the slow one last."""

    def steps(plane: Plane, noise: NoiseModel) -> list[Step]:
        good = goodness_of_blurs(plane, noise) if finish.blur else None
        chosen = []
        if finish.posterior_mean:
            mean = posterior_mean(plane, noise)
            chosen.append(mean if good is None else or_blurred(mean, plane, good))
        if finish.wiener:
            chosen.append(wiener_mean(plane, noise))
        if finish.collaborative:

            def similar(part: Plane, level: NoiseModel) -> Step:
                if guide is not None:
                    return collaborative_guided(part, level, guide)
                own = good if part is plane else None
                return collaborative(part, level, finish, own)

            chosen.append(by_component(plane, noise, similar))
        return chosen

    return beside_noisier(plane, noise, steps)


TASK = Task(
    recipe=DenoiseRecipe,
    arrays={"image": f"Noisy image: {PLANES}"},
    make_job=make_job,
    uncertain=uncertain,
    shareable=True,
    summary="""Remove the noise from an image, without training data.

A network is fitted to this one image and stopped before it learns the noise.
""",
    notes="""The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
2020), section 3.1 and section 4 (Denoising): the hourglass of 5 scales and 128
channels, Adam at 0.01, a code perturbed by 1/30, 1800 iterations, outputs averaged
with 0.99.  The other presets fit a smaller network without normalisation to hidden
pixels (Noise2Self), first at half the resolution, with an orthogonalising optimiser
(Muon), and average its weights.  They add the pixels' own values back by their local
reliability, average with an empirical Wiener filter that the result guides, and then
estimate similar patches of the noisy image together (NL-Ridge and NL-Bayes), in rounds
between which half of the noise is put back (LIChI).  Their first pilot is the result,
averaged with the first step of BM3D.  More than three channels, and channels of unlike
noise, are filtered as principal components in units of their noise.  Low frequencies
are those of the same filter at half the resolution.  Noise that reaches into
neighbouring pixels is recognised and fitted without hiding; its covariance is measured
in flat places (Noise Clinic), or in differences between channels that do not share it,
and the filter of similar patches takes it into account.  In flat places, the result is
averaged with that of a filter for stronger white noise.
Noise that falls as the signal grows, as after a correction of gamma, is made even
before the fit by a stretch of the values (a variance-stabilising transform), and noise
that grows towards the border, as a correction of vignetting leaves it, by a factor.
Under noise that channels share, the steps after the fit work on weighted sums of the
channels whose noise is independent.  Impulses are replaced before the fit by the
median of a window, and judged again by the fit, which has not seen the pixels that it
predicts.  Offsets of rows and columns are the white part of their profile, by a Wiener
filter of largest likelihood.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import denoise as denoise
else:
    denoise = function(TASK)
