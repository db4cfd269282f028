"""Inpainting: an image with missing pixels in, the image with them filled out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import Index, Layout, as_array, marked, without_single_axes
from napari_dip.tasks.components import by_component, of_strongest
from napari_dip.tasks.finishing import (
    Step,
    in_turn,
    known_restored,
    posterior_mean,
    wiener_mean,
)
from napari_dip.tasks.function import function
from napari_dip.tasks.noise import NoiseModel, single_or_list
from napari_dip.tasks.noise_correlation import CORRELATED
from napari_dip.tasks.noise_level import NOISELESS, growing_noise, known_noise
from napari_dip.tasks.plane import Plane, keeping
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.similar_patches import collaborative, filled
from napari_dip.tasks.task import Job, Plan, Task, preset_for
from napari_dip.tasks.tiles import AROUND, Block

if TYPE_CHECKING:
    from napari_dip.tasks.presets import Preset

SCATTERED = 0.5
"""Lag-one autocorrelation of the mask below which its pixels are scattered: 0 for
random pixels, 0.8 for printed text, 0.97 for holes (larger of both axes)."""

DEEP = 6.0
"""Distance in pixels from the middle of a hole to the nearest known pixel, above
which it is large.  Printed text reaches 4, the paper's large holes 23 and 35."""

SPARSE = 0.9
"""Part of random missing pixels from which the published setting is that of 98 %."""

NOISY = 0.02
"""Noise of the known pixels, over their range, that counts: 5 of 255."""


@dataclass(frozen=True, kw_only=True)
class InpaintRecipe(Recipe):
    """Parameters of `inpaint`."""

    task: ClassVar[str] = "inpaint"

    kind: Literal["auto", "text", "hole", "random"] = parameter(
        "auto",
        "What is missing: thin strokes such as text and scratches, large holes, or "
        "scattered pixels; auto looks at the shape of the mask.",
    )
    keep_known: bool = parameter(
        True,
        "Give every known pixel back exactly as it came; without it the fit is "
        "returned everywhere, which also takes away the noise of noisy pixels.",
    )
    noise: Literal["auto", "none", "present"] = parameter(
        "auto",
        "Whether the known pixels are noisy, so that the fit must stop before it "
        "learns their noise; auto measures them.",
    )
    scales: tuple[int, ...] = parameter(
        (1,),
        "Sides of the squares over which image and fit are averaged and compared; "
        "1 is pixel by pixel, 1, 2, 4 the multi-scale loss. Square s counts 1/s.",
        low=1,
        high=1024,
        advanced=True,
    )


def _make_job(recipe: InpaintRecipe, image: Any, mask: Any) -> Job:
    image, mask = as_array(image, "image"), as_array(mask, "mask")
    layout = Layout.of(image, recipe.channel_axis, recipe.spatial_dims, "image")
    if max(recipe.scales) > min(layout.sides):
        raise InputError(
            f"scales must not be larger than the image's sides {layout.sides}; got "
            f"{recipe.scales}"
        )
    return Job(
        layout,
        partial(_preset, recipe),
        partial(_plan, recipe),
        image,
        partial(_analyse, recipe),
        unit=recipe.preset == "paper",
        reach=AROUND,
        # A hole may be wider than what a tile sees around it.
        cuttable=lambda analysis: analysis.mask != "hole",
        missing=missing_in(image, mask, layout),
    )


def missing_in(
    image: Any, mask: Any, layout: Layout
) -> Callable[[Index], NDArray[np.bool_]]:
    """Return the function that gives a plane's mask, (C or 1, Y, X), true = missing.

    Raises
    ------
    InputError
        If the mask has neither the image's shape nor that of its last axes without
        the channels, has NaN, leaves nothing known in a plane, or, in an image without
        NaN, marks nothing.
    """
    missing = _planes_of(mask, layout)
    any_missing = False
    for number, index in enumerate(layout.indices()):
        gone = missing(index)
        if gone.all():
            where = f" of plane {number}" if layout.planes > 1 else ""
            raise InputError(
                f"mask must leave known pixels (0); got nonzero everywhere{where}"
            )
        any_missing = any_missing or bool(gone.any())
    if not any_missing and not any(np.isnan(image[i]).any() for i in layout.indices()):
        raise InputError(
            "mask must mark missing pixels (nonzero), or the image have NaN there; "
            "got neither"
        )
    return missing


def _planes_of(mask: Any, layout: Layout) -> Callable[[Index], NDArray[np.bool_]]:
    one_channel = tuple(
        1 if axis == layout.channel_axis else n for axis, n in enumerate(layout.shape)
    )
    given = tuple(mask.shape)
    if given != one_channel:
        mask = without_single_axes(mask, layout.shape)
    shape = tuple(mask.shape)
    if shape in (layout.shape, one_channel):
        return lambda index: marked(layout.take(mask, index))
    axes = layout.leading_axes + layout.spatial_axes
    full = tuple(layout.shape[axis] for axis in axes)
    if len(shape) < 2 or shape != full[len(full) - len(shape) :]:
        raise InputError(
            f"mask must have the shape of the image {layout.shape}, or of its last "
            f"axes without channels, such as {full[-2:]}; got shape {given}"
        )
    mask_axes = axes[len(axes) - len(shape) :]

    def take(index: Index) -> NDArray[np.bool_]:
        plane = marked(np.asarray(mask[tuple(index[axis] for axis in mask_axes)]))
        return np.broadcast_to(plane, layout.extent(index))[np.newaxis]

    return take


def _analyse(recipe: InpaintRecipe, plane: Plane, block: Block) -> Analysis:
    """Find out scale, noise and geometry of the mask."""
    paper = recipe.preset == "paper"
    missing = plane.known == 0
    sigma, correlation = np.transpose([*map(known_noise, plane.values, plane.noisy)])
    noisy = recipe.noise == "present"
    if recipe.noise == "auto":
        noisy = bool(((sigma > NOISY) & (correlation < CORRELATED)).any()) and not paper
    noise = NoiseModel.gaussian(np.maximum(sigma**2 * noisy, NOISELESS))
    level = sigma**2
    if noisy:
        channels = zip(plane.values, plane.noisy, noise.variance, strict=True)
        growing = [growing_noise(v, u) or (even, 0.0, 0.0) for v, u, even in channels]
        noise = NoiseModel(*zip(*growing, strict=True))
        level = noise.level(plane.values, plane.noisy)
    return Analysis.of(
        plane,
        block.channels,
        noise=noise,
        levels=tuple(level.tolist()),
        noisy=noisy,
        mask=geometry(missing) if recipe.kind == "auto" else recipe.kind,
        missing=float(missing.mean()),
    )


def _preset(recipe: InpaintRecipe, analysis: Analysis) -> Preset:
    from napari_dip.prior.stopping import HeldOut, Iterations
    from napari_dip.tasks.presets import INPAINT

    case = analysis.mask or "random"
    if case == "random" and analysis.missing > SPARSE:
        case = "sparse"
    if analysis.noisy and (recipe.preset, f"{case} noisy") in INPAINT:
        case += " noisy"
    preset = preset_for(recipe, case)
    if analysis.noisy:
        preset = replace(preset, schedule="constant")
    denoised = analysis.noisy and not recipe.keep_known
    if not (analysis.missing or denoised):
        # Nothing to find out, as in a plane of a stack with nothing missing.
        return replace(preset, stop=Iterations(1))
    stop = preset.stop
    if isinstance(stop, HeldOut):
        variance = tuple(max(level, NOISELESS) for level in analysis.levels)
        return replace(preset, stop=replace(stop, variance=variance))
    if analysis.noisy and recipe.iterations == "auto" and stop.maximum > 1:
        stop = HeldOut(stop.maximum, patience=100, relative_patience=0.2)
    return replace(preset, stop=stop)


def _plan(
    recipe: InpaintRecipe,
    plane: Plane,
    block: Block,
    analysis: Analysis,
    preset: Preset,
) -> Plan:
    from napari_dip.prior import terms
    from napari_dip.prior.problem import Problem

    # Of noisy pixels those without noise would say when to stop.
    plane = plane.without_constant() if analysis.noisy else plane.without_apart()
    if not recipe.keep_known and recipe.preset != "paper":
        plane = plane.within_reach()
    scales = tuple(sorted(set(recipe.scales)))
    factors = tuple(1 / s for s in scales)
    multi = scales != (1,)
    measurement, known = plane.tensors()
    problem = Problem(
        measurement,
        term=terms.MultiScale(scales, factors) if multi else terms.Squared(),
        weight=known,
    )
    quick, slow = _steps(recipe, plane, analysis, preset)
    sigma = np.sqrt(analysis.levels) * plane.span
    warnings = []
    if analysis.noisy and recipe.keep_known:
        warnings.append(
            f"the known pixels are noisy (sigma about {sigma.max():.3g}) and were kept "
            f"as they are; turn keep_known off to take their noise away too"
        )
    details = {
        "kind": analysis.mask,
        "missing": analysis.missing,
        "noisy": analysis.noisy,
        "sigma": single_or_list(sigma),
        "scale weights": list(factors),
    }
    kept = ~np.isnan(plane.pixels) if recipe.keep_known else plane.constant
    steps = keeping(plane, kept), in_turn([*quick, *slow])
    return Plan(problem, *steps, details, warnings, preview=in_turn(quick))


def _steps(
    recipe: InpaintRecipe, plane: Plane, analysis: Analysis, preset: Preset
) -> tuple[list[Step], list[Step]]:
    """Return the quick and the slow steps of the preset that are of use."""
    noise, finish = analysis.noise, preset.finish
    quick: list[Step] = []
    slow: list[Step] = []
    # Where pixels are hidden they are predicted without their own values.
    if finish.posterior_mean and (analysis.noisy or not recipe.keep_known):
        quick.append(posterior_mean(plane, noise))
    if finish.wiener and analysis.noisy:
        quick.append(wiener_mean(plane, noise))
    if finish.collaborative and analysis.noisy:
        similar = partial(collaborative, finish=finish)
        slow.append(by_component(plane, noise, similar))
    wide = finish.wide_patches
    if wide or finish.similar_patches:
        if not analysis.noisy:
            quick.append(known_restored(plane))
        slow.append(of_strongest(plane, filled(plane, wide=wide)))
    return quick, slow


# -- what the mask and the known pixels say ---------------------------------------


def geometry(missing: NDArray[np.bool_]) -> str:
    """Return the kind of a mask, true where pixels are missing.

    It is "random", "hole" or "text".  Random pixels say nothing about their neighbours:
    the lag-one autocorrelation of the mask is below `SCATTERED` along every axis.  Of
    the others a hole has a place more than `DEEP` pixels away from everything known.
    """
    part = missing.mean()
    if part in (0, 1):
        return "random"
    along = []
    for axis in range(missing.ndim):
        m = np.moveaxis(missing, axis, 0)
        both = (m[1:] & m[:-1]).mean()
        along.append((both - part**2) / (part - part**2))
    if max(along) < SCATTERED:
        return "random"
    distance = scipy.ndimage.distance_transform_edt(missing)
    return "hole" if distance.max() > DEEP else "text"


TASK = Task(
    recipe=InpaintRecipe,
    arrays={
        "image": "Image with missing pixels: (Y, X), (Y, X, C) or any leading axes "
        "over those, any real dtype, 16 pixels a side or more. NaN marks missing "
        "pixels too.",
        "mask": "What is missing, as labels: nonzero pixels are filled in. Of the "
        "image's shape, or of that of its last axes without channels, (Y, X) for "
        "every plane alike.",
    },
    make_job=_make_job,
    summary="""Fill in missing pixels, text, scratches or holes, without training data.

A network is fitted to the known pixels of this one image and asked for the others.
What is filled in is invented: plausible, not measured.  The values under the mask
have no influence on the result.  A pixel that is missing in one channel is filled in
from the other pixels, not from its other channels.
""",
    notes="""The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
2020), section 3.3, with the settings of the published program where the text of
section 4 differs: text (Fig. 11) 128 channels with skips of 128 and nearest
upsampling, Adam at 0.01, 6001 iterations; large holes (Fig. 10) no skips, coordinates
as the code, 5001 iterations; random pixels (Table 3) skips of 4, Adam at 0.001, 11000
iterations, with more than 90 % missing the narrower network of the 98 % example, 1000
iterations.  They return the last output.  The other presets fit a smaller network with
an orthogonalising optimiser (Muon); for random pixels it is shown the known ones and
learns by filling in some that are hidden from it for the purpose.  After a short such
fit the missing pixels are estimated from groups of similar patches, again and again
(NL-Bayes, with the known pixels put back); see `napari_dip.prior.filling`.  Of noisy
known pixels the noise is removed first, as by `denoise`.
The multi-scale loss (scales=(1, 2, 4)) is that of the second paper, section 4.1, with
nothing but known pixels in its averages; see `napari_dip.prior.terms.MultiScale`.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import inpaint as inpaint
else:
    inpaint = function(TASK)
