"""Super-resolution: one coarse image in, the same field on finer pixels out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_dip.tasks.arrays import Float, Layout, Plane, as_array, prepare
from napari_dip.tasks.function import function
from napari_dip.tasks.noise import single_or_list
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.run import Job, Part, Plan, Task

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.resampling import Downsampling
    from napari_dip.prior.stopping import Rule

MEMBERS = 3
"""Fits that the best preset averages."""

NOISY = 0.026
"""Noise above which an image counts as noisy, as a part of its range.

On the 14 photographs of Set5 and Set14, reduced by 4 and by 8, `noise_level` reads up
to 0.025 as they are where they keep `ENOUGH` pixels, and 0.036 or more with Gaussian
noise of 10 gray levels, 0.039 of the range, on them.
"""

ENOUGH = 2000
"""Pixels below which steps between coarse pixels pass for more noise.

`noise_level` has few smooth blocks to choose from then: the same photographs, without
noise, read up to 0.025 at 32 x 32 pixels and 0.052 at 20 x 20.
"""

PERTURBATION = {4: 0.08, 8: 0.05}
"""Of the code in the presets of our own, up to a factor: text and other small
structures need more than the paper's 0.03 up to 4, and no more than its 1/20 above."""

SCALES = {4: 3, 8: 5}
"""Of the network, up to a factor: what one coarse pixel covers must be seen as a
whole."""

SMOOTHEST = 2.55
"""White noise over what the quantile of `noise_level` says of it (measured)."""

BACK_PROJECTIONS = 10
"""Steps after which a result agrees with a clean image to about its rounding."""


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
        "Whether the image is noisy. A noisy one is matched only until pixels that "
        "were held out get worse, a clean one exactly; auto measures the noise in the "
        "smoothest places.",
    )


def _start(recipe: SuperResolveRecipe, image: Any) -> Job:
    image = as_array(image, "image")
    layout = Layout.of(image, recipe.channel_axis, recipe.spatial_dims, "image")

    def plan(pixels: NDArray[Any], part: Part) -> Plan:
        plane = prepare(pixels, "image", unit=recipe.preset == "paper")
        return _plan(recipe, plane)

    sides = tuple(recipe.factor * side for side in layout.sides)
    return Job(image, layout, sides, plan, recipe.fits(MEMBERS))


def _plan(recipe: SuperResolveRecipe, plane: Plane) -> Plan:
    # torch only now: command line and widget read recipes without it.
    import torch

    from napari_dip.prior import stopping
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.codes import Noise
    from napari_dip.prior.problem import Prior, Problem, Settings

    factor = recipe.factor
    operator = _operator(recipe)
    measurement = torch.from_numpy(plane.values)[None]
    weight = torch.from_numpy(plane.known)[None, None]
    level = np.array(
        [noise_level(v, u) for v, u in zip(plane.values, plane.noisy, strict=True)]
    )
    clean = level <= noisy_above(plane)
    if recipe.noisy != "auto":
        clean[:] = recipe.noisy == "no"
    noisy = not clean.all()
    stop: Rule
    finish = None
    if recipe.preset == "paper":
        coarse = factor <= 4
        prior = Prior(Architecture(), Noise(perturbation=0.03 if coarse else 0.05))
        stop = stopping.Iterations(2000 if coarse else 4000)
        optimizer, rate, decay = "adam", 0.01, 0.0
    else:
        up_to = 4 if factor <= 4 else 8
        network = Architecture.uniform(48, SCALES[up_to])
        prior = Prior(network, Noise(perturbation=PERTURBATION[up_to]))
        optimizer, rate, decay = "muon", 0.02, 0.98
        most = 1500 if recipe.preset == "best" else 700
        if noisy:
            # Not judged with the variance: the level is too rough for that.
            stop = stopping.HeldOut(most, fewest=300, patience=80)
        else:
            stop = stopping.Iterations(most)
        if clean.any():
            exact = torch.from_numpy(clean.astype(np.float32))
            weighted = weight * exact.reshape(1, -1, *[1] * (weight.ndim - 2))
            finish = _back_projection(measurement, weighted, operator)
    if recipe.iterations != "auto":
        stop = stopping.Iterations(int(recipe.iterations))
    if not np.ptp(plane.values[:, plane.known > 0], axis=1).any():
        # Nothing to fit; the network's own unevenness would be all there is.
        finish = _interpolation(measurement, factor)
    channels, *sides = plane.values.shape
    problem = Problem(
        measurement,
        operator=operator,
        weight=weight,
        shape=(channels, *(factor * side for side in sides)),
        finish=finish,
    )
    settings = Settings(
        stop,
        optimizer=optimizer,
        rate=rate,
        decay=decay,
    )
    details = {"noise": single_or_list(level * plane.span), "noisy": noisy}
    return Plan(problem, prior, settings, plane.restore, details)


def _operator(recipe: SuperResolveRecipe) -> Downsampling:
    from napari_dip.prior import resampling

    if recipe.operator == "gaussian":
        return resampling.gaussian(recipe.factor, recipe.sigma)
    made: Callable[[int], Downsampling] = getattr(resampling, recipe.operator)
    return made(recipe.factor)


def noisy_above(plane: Plane) -> float:
    """Return the `noise_level` that a plane of so many clean pixels does not reach."""
    pixels = int((plane.known > 0).sum())
    return NOISY * math.sqrt(max(1.0, ENOUGH / max(pixels, 1)))


def noise_level(values: Float, usable: NDArray[np.bool_]) -> float:
    """Return the standard deviation of the noise as the smoothest places show it.

    Sharp coarse pixels are full of steps that estimators of noise take for it, so only
    the smoothest blocks of 3 x 3 pixels are asked: the 2 % quantile of the darker and
    of the brighter half, whichever is larger.  Blocks without any variation are
    saturated.  The high-pass is Immerkaer's (Fast noise variance estimation, 1996).

    Parameters
    ----------
    values : ndarray
        One channel, (Y, X) or (Z, Y, X).
    usable : ndarray
        bool, of the same shape; blocks with pixels that are not do not count.

    Returns
    -------
    float
        In units of ``values``; 0 where nothing varies.
    """
    side = 3
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], float) / 6
    variances, levels = [], []
    height, width = values.shape[-2:]
    for plane, valid in zip(
        values.reshape(-1, height, width).astype(np.float64),
        usable.reshape(-1, height, width),
        strict=True,
    ):
        residual = ndimage.convolve(plane, kernel, mode="reflect")
        # The kernel sees the neighbours, too.
        whole = _blocks(ndimage.minimum_filter(valid, 3), side).min(axis=1) > 0
        variance = _blocks(residual, side).var(axis=1)
        use = whole & (variance > 1e-10)
        variances.append(variance[use])
        levels.append(_blocks(plane, side).mean(axis=1)[use])
    found = np.concatenate(variances)
    halves = np.array_split(found[np.argsort(np.concatenate(levels))], 2)
    smoothest = [float(np.quantile(half, 0.02)) for half in halves if half.size]
    return SMOOTHEST * float(max(smoothest, default=0.0) ** 0.5)


def _blocks(image: NDArray[Any], side: int) -> NDArray[Any]:
    """Cut an image into (n, side * side) blocks, leaving incomplete ones out."""
    height, width = (n // side for n in image.shape)
    cut = image[: height * side, : width * side].reshape(height, side, width, side)
    return cut.swapaxes(1, 2).reshape(-1, side * side)


def _back_projection(
    measurement: Tensor, weight: Tensor, operator: Downsampling
) -> Callable[[Tensor], Tensor]:
    """Return the step that makes an image agree with a clean measurement.

    Iterated back-projection (Irani and Peleg, Improving resolution by image
    registration, 1991): what the reduced image lacks is interpolated and added.
    """
    from napari_dip.prior.resampling import upsample

    def finish(average: Tensor) -> Tensor:
        y, known = measurement.to(average.device), weight.to(average.device)
        for _ in range(BACK_PROJECTIONS):
            lacking = known * (y - operator(average))
            average = average + upsample(lacking, operator.factor)
        return average

    return finish


def _interpolation(measurement: Tensor, factor: int) -> Callable[[Tensor], Tensor]:
    """Return the step that takes the interpolated measurement for any image."""
    from napari_dip.prior.resampling import upsample

    return lambda average: upsample(measurement.to(average.device), factor)


TASK = Task(
    recipe=SuperResolveRecipe,
    arrays={
        "image": "Coarse image: (Y, X), (Y, X, C) or any leading axes over those, any "
        "real dtype, 16 pixels a side or more. NaN marks missing pixels."
    },
    start=_start,
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
average the outputs, and make the result agree with a clean image by back-projection.

A measured point spread function needs no operator here: `restore` takes any forward
model, `deconvolve` a measured blur at the pixels there are.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import super_resolve as super_resolve
else:
    super_resolve = function(TASK)
