"""Inpainting: an image with missing pixels in, the image with them filled out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import (
    Float,
    Layout,
    Plane,
    as_array,
    keeping,
    per_channel,
    prepare,
)
from napari_dip.tasks.denoise import posterior_mean
from napari_dip.tasks.function import function
from napari_dip.tasks.noise import NoiseModel, cut_blocks, single_or_list
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.run import Job, Part, Plan, Task

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.problem import Prior

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

SHARED = 0.25
"""Lag-one autocorrelation above which what looks like noise is texture."""

MEMBERS = 4
"""Fits that the best preset averages."""


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


def _start(recipe: InpaintRecipe, image: Any, mask: Any) -> Job:
    image, mask = as_array(image, "image"), as_array(mask, "mask")
    layout = Layout.of(image, recipe.channel_axis, recipe.spatial_dims, "image")
    if max(recipe.scales) > min(layout.sides):
        raise InputError(
            f"scales must not be larger than the image's sides {layout.sides}; got "
            f"{recipe.scales}"
        )
    missing = missing_in(image, mask, layout)

    def plan(pixels: NDArray[Any], part: Part) -> Plan:
        gone = missing(part.index)
        if len(gone) > 1:
            gone = gone[list(part.channels)]
        return _plan(recipe, pixels, gone)

    return Job(image, layout, layout.sides, plan, recipe.fits(MEMBERS))


def missing_in(
    image: Any, mask: Any, layout: Layout
) -> Callable[[tuple[int | slice, ...]], NDArray[np.bool_]]:
    """Return the function that gives a plane's mask, (C or 1, Y, X), true = missing.

    Raises
    ------
    InputError
        If the mask has neither the image's shape nor that of its last axes without
        the channels, leaves nothing known in a plane, or, in an image without NaN,
        marks nothing.
    """
    missing = _planes_of(mask, layout)
    some = False
    for number, index in enumerate(layout.indices()):
        gone = missing(index)
        if gone.all():
            where = f" of plane {number}" if layout.planes > 1 else ""
            raise InputError(
                f"mask must leave known pixels (0); got nonzero everywhere{where}"
            )
        some = some or bool(gone.any())
    if not some and not any(np.isnan(image[i]).any() for i in layout.indices()):
        raise InputError(
            "mask must mark missing pixels (nonzero), or the image have NaN there; "
            "got neither"
        )
    return missing


def _planes_of(
    mask: Any, layout: Layout
) -> Callable[[tuple[int | slice, ...]], NDArray[np.bool_]]:
    shape = tuple(mask.shape)
    if shape == layout.shape:
        return lambda index: layout.take(mask, index) != 0
    axes = layout.leading_axes + layout.spatial_axes
    full = tuple(layout.shape[axis] for axis in axes)
    if len(shape) < 2 or shape != full[len(full) - len(shape) :]:
        raise InputError(
            f"mask must have the shape of the image {layout.shape}, or of its last "
            f"axes without channels, such as {full[-2:]}; got shape {shape}"
        )
    given = axes[len(axes) - len(shape) :]

    def take(index: tuple[int | slice, ...]) -> NDArray[np.bool_]:
        plane = np.asarray(mask[tuple(index[axis] for axis in given)]) != 0
        return np.broadcast_to(plane, layout.sides)[np.newaxis]

    return take


def _plan(recipe: InpaintRecipe, pixels: NDArray[Any], gone: NDArray[np.bool_]) -> Plan:
    # torch only now: command line and widget read recipes without it.
    import torch

    from napari_dip.prior import stopping, terms
    from napari_dip.prior.problem import Problem, Settings

    seen = np.where(gone, np.nan, pixels)
    known = ~np.isnan(seen)
    if not known.all(axis=0).any():
        raise InputError(
            "mask must leave known pixels that are not NaN in any channel; got none"
        )
    paper = recipe.preset == "paper"
    plane = prepare(seen, "image", unit=paper)
    missing = plane.known == 0
    kind = geometry(missing) if recipe.kind == "auto" else recipe.kind
    measured = [
        known_noise(v[None], u) for v, u in zip(plane.values, plane.noisy, strict=True)
    ]
    sigma, correlation = np.array(measured).T
    noisy = recipe.noise == "present"
    if recipe.noise == "auto":
        noisy = bool(((sigma > NOISY) & (correlation < SHARED)).any()) and not paper

    if paper:
        fitting = _published(kind, float(missing.mean()))
    else:
        fitting = _ours(kind, recipe.preset)
    maximum = fitting.iterations if recipe.iterations == "auto" else recipe.iterations
    values = plane.values[:, ~missing]
    flat = not np.ptp(values, axis=1).any()
    if flat or not (missing.any() or (noisy and not recipe.keep_known)):
        # Nothing to find out, as in a plane of a stack with nothing missing.
        maximum = 1
    stop: stopping.Rule = stopping.Iterations(int(maximum))
    if noisy and recipe.iterations == "auto" and maximum > 1:
        stop = stopping.HeldOut(int(maximum), patience=100, relative_patience=0.2)

    def tensor(array: Any) -> Tensor:
        return torch.from_numpy(array)[None]

    scales = tuple(sorted(set(recipe.scales)))
    factors = tuple(1 / s for s in scales)
    multi = scales != (1,)
    hides = fitting.hides and not recipe.keep_known
    model = NoiseModel.gaussian(np.maximum(sigma**2 * noisy, 1e-10))
    problem = Problem(
        tensor(plane.values),
        term=terms.MultiScale(scales, factors) if multi else terms.Squared(),
        weight=tensor(plane.known[None]),
        # Where pixels are hidden they are predicted without their own values.
        finish=posterior_mean(plane, model) if hides else None,
    )
    settings = Settings(
        stop,
        optimizer=fitting.optimizer,
        rate=fitting.rate,
        schedule="constant" if noisy else fitting.schedule,
        decay=fitting.decay,
    )
    warnings = []
    if noisy and recipe.keep_known:
        warnings.append(
            f"the known pixels are noisy (sigma about "
            f"{(sigma * plane.span).max():.3g}) and "
            f"were kept as they are; keep_known=False takes their noise away too"
        )
    details = {
        "kind": kind,
        "missing": float(missing.mean()),
        "noisy": bool(noisy),
        "sigma": single_or_list(sigma * plane.span),
        "scale weights": list(factors),
    }
    restore: Callable[[Float], Float] = plane.restore
    if flat:
        restore = _constant(plane, values[:, 0])
    if recipe.keep_known:
        restore = keeping(restore, pixels, known)
    return Plan(problem, fitting.prior, settings, restore, details, warnings)


def _constant(plane: Plane, level: Float) -> Callable[[Float], Float]:
    """Return the way back to units that makes every channel one value."""

    def restore(values: Float) -> Float:
        return plane.restore(np.broadcast_to(per_channel(level, values), values.shape))

    return restore


# -- what the mask and the known pixels say ---------------------------------------


def geometry(missing: NDArray[np.bool_]) -> str:
    """Return the kind of a mask: "random", "hole" or "text".

    Parameters
    ----------
    missing : ndarray
        bool, (Y, X) or (Z, Y, X), true where the image is missing.

    Notes
    -----
    Random pixels say nothing about their neighbours: the lag-one autocorrelation of
    the mask is below `SCATTERED` along every axis.  Of the others a hole has a place
    more than `DEEP` pixels away from everything known.
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
    distance = ndimage.distance_transform_edt(missing)
    return "hole" if distance.max() > DEEP else "text"


def known_noise(values: Float, known: Float) -> tuple[float, float]:
    """Estimate the noise of the known pixels, wherever the others are.

    A plane is fitted to the known pixels of every 8 x 8 block; the residuals of the
    flattest tenth of the blocks are the noise.  Texture is told from noise by its
    correlation between neighbours.

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X).
    known : ndarray
        (Y, X) or (Z, Y, X), 0 where missing.

    Returns
    -------
    tuple of float
        Standard deviation in the units of `values`, and the lag-one autocorrelation.
        Zeros where too little is known to tell.
    """
    side, fewest = 8, 16
    axis = np.arange(side) - (side - 1) / 2
    ones = np.ones((side, side))
    basis = np.stack([ones, ones * axis, ones * axis[:, None]], -1).reshape(-1, 3)
    planes = values.reshape(-1, *values.shape[-2:]).astype(np.float64)
    masks = np.broadcast_to(known, values.shape).reshape(planes.shape)
    weight = np.concatenate([cut_blocks(m.astype(np.float64), side) for m in masks])
    value = np.concatenate([cut_blocks(p, side) for p in planes])
    enough = weight.sum(axis=(1, 2)) >= fewest
    if not enough.any():
        return 0.0, 0.0
    weight, value = weight[enough], value[enough]
    flat, y = weight.reshape(len(weight), -1), value.reshape(len(value), -1)
    normal = np.einsum("bp,pi,pj->bij", flat, basis, basis)
    right = np.einsum("bp,bp,pi->bi", flat, y, basis)
    # The ridge decides where all known pixels of a block lie on one line.
    normal += 1e-6 * np.eye(3)
    slopes = np.linalg.solve(normal, right[..., None])[..., 0]
    rest = ((y - slopes @ basis.T) * flat).reshape(value.shape)
    freedom = weight.sum(axis=(1, 2)) - 3
    variance = (rest**2).sum(axis=(1, 2)) / freedom
    flattest = np.argsort(variance)[: max(len(variance) // 10, 4)]
    # The lowest tenth of white noise's variances is 1.75 of their standard
    # deviations, (2 / freedom)^0.5 each, below their mean.
    low = 1 - 1.75 * (2 / freedom[flattest].mean()) ** 0.5
    power = float(variance[flattest].mean())
    if power == 0:
        return 0.0, 0.0
    rest, weight = rest[flattest], weight[flattest]
    pairs = [
        ((rest[:, 1:] * rest[:, :-1]).sum(), (weight[:, 1:] * weight[:, :-1]).sum()),
        (
            (rest[..., 1:] * rest[..., :-1]).sum(),
            (weight[..., 1:] * weight[..., :-1]).sum(),
        ),
    ]
    together = np.mean([product / max(count, 1) for product, count in pairs]) / power
    # Taking out a plane leaves white noise slightly anticorrelated.
    correlation = together + 3 / (freedom[flattest].mean() + 3)
    return float((power / max(low, 0.1)) ** 0.5), float(correlation)


# -- how to fit -------------------------------------------------------------------


@dataclass(frozen=True)
class Fitting:
    """One preset for one kind of mask."""

    prior: Prior
    iterations: int
    optimizer: str
    rate: float
    schedule: str
    decay: float
    hides: bool = False
    """Whether the network sees the image, less hidden pixels."""


def _published(kind: str, part: float) -> Fitting:
    """Return the first paper's setting for a kind of mask.

    Its published program's, where the paper's text (section 4) differs: text has
    skips of 4 and bilinear upsampling there.  The last output is the result.
    """
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.codes import Meshgrid, Noise
    from napari_dip.prior.problem import Prior

    noise = Noise(32, 0.1, 0.03)
    if kind == "text":
        network = Architecture.uniform(128, 5, skip=128, upsampling="nearest")
        return Fitting(Prior(network, noise), 6001, "adam", 0.01, "constant", 0.0)
    if kind == "hole":
        network = Architecture.uniform(128, 5, skip=0, upsampling="nearest")
        prior = Prior(network, Meshgrid(0.03))
        return Fitting(prior, 5001, "adam", 0.01, "constant", 0.0)
    if part > SPARSE:
        widths = (16, 32, 64, 128, 128)
        network = Architecture(widths, widths, (0,) * 5, downsampling="average")
        prior = Prior(network, Noise(32, 0.1, 0.0))
        return Fitting(prior, 1000, "adam", 0.01, "constant", 0.0)
    prior = Prior(Architecture(), noise)
    return Fitting(prior, 11000, "adam", 0.001, "constant", 0.0)


def _ours(kind: str, preset: str) -> Fitting:
    """Return our setting for a kind of mask; docs/development/experiments.md."""
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.codes import BlindSpot, Noise
    from napari_dip.prior.problem import Prior

    best = preset == "best"
    width = 48 if best else 32
    if kind == "hole":
        prior = Prior(Architecture.uniform(width, 6, skip=0), Noise(32, 0.1, 0.01))
        return Fitting(prior, 1000 if best else 500, "muon", 0.02, "cosine", 0.98)
    network = Architecture.uniform(width, 4, skip=32, skip_kernel=3)
    if kind == "text":
        # Hidden single pixels teach nothing about strokes: 1 to 3 dB worse.
        prior = Prior(network, Noise(32, 0.1, 0.03))
        return Fitting(prior, 1000 if best else 500, "muon", 0.02, "cosine", 0.98)
    prior = Prior(network, BlindSpot(0.3))
    iterations = 1500 if best else 800
    return Fitting(prior, iterations, "muon", 0.02, "cosine", 0.99, hides=True)


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
    start=_start,
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
an orthogonalising optimiser (Muon) and a falling rate; for random pixels it is shown
the known ones and learns by filling in some that are hidden from it for the purpose.
The multi-scale loss (scales=(1, 2, 4)) is that of the second paper, section 4.1, with
nothing but known pixels in its averages; see `napari_dip.prior.terms.MultiScale`.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import inpaint as inpaint
else:
    inpaint = function(TASK)
