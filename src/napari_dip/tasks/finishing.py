"""Steps from the averaged output of a network to the result of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.noise import LIKE_VARIANCES, NoiseModel
from napari_dip.tasks.noise_level import NOISELESS, noise_by_brightness
from napari_dip.tasks.plane import Plane

if TYPE_CHECKING:
    from torch import Tensor

Step = Callable[["Tensor"], "Tensor"]
"""Maps an averaged output, (1, C, ...) in scaled units, to a better image."""

FILTERED = 0.5
"""Part of the Wiener filter in the result."""

TAKEN_UP = 2.0
"""Noise over what a fit of correlated noise leaves of it where the image is smooth:
part has been taken up, and it is often weakest there."""

FAILED = 3.0
"""Mean square of what a fit differs by from the noisy image, over the variance of the
noise, from which on the fit is worse than that: 2, but correlated noise is estimated
to be weaker than it is."""

SAMPLE = 1_000_000
"""Pixels that are enough for a quantile."""

POOLING = 4.0
"""Standard deviation in pixels of the window that judges a pixel's reliability."""

NEAR = 2.0
"""Standard deviation in pixels of the window that judges a result's error."""

MOVED = 1.6
"""Squared error of a prediction over the square of what the result differs by."""

UNSEEN = 0.028
"""Squared error of a prediction that the result does not differ from, over the noise
variance.

With both the truth of four images, under six kinds of noise, is likeliest:
``python -m benchmarks uncertainty --calibrate``."""


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What follows a fit: which steps lead from the average to the result."""

    posterior_mean: bool = False
    """`posterior_mean`, or what takes its place under noise that neighbours share."""
    blur: bool = False
    """Whether a blur takes part where it is good; see `napari_dip.tasks.blurs`."""
    wiener: bool = False
    """`wiener_mean`."""
    richardson_lucy: bool = False
    """Richardson-Lucy, of a deconvolution."""
    similar_patches: bool = False
    """Similar patches of an image that is filled in, magnified or deblurred."""
    wide_patches: bool = False
    """Whether patches that are filled in from similar ones are wide; implies these."""
    collaborative: bool = False
    """The filter of similar patches; see `napari_dip.tasks.similar_patches`, as for
    all that follows."""
    rounds: int = 1
    """How often it goes through the image."""
    thresholds: bool = False
    """Whether an estimate by thresholds takes part in its pilot."""
    half_resolution: bool = False
    """Whether low frequencies come from half the resolution."""
    dense: bool = False
    """Whether it takes more time to look for similar patches."""


def in_turn(steps: Sequence[Step]) -> Step | None:
    """Return the steps as one, None where there are none."""
    if not steps:
        return None

    def finish(average: Tensor) -> Tensor:
        for step in steps:
            average = step(average)
        return average

    return finish


def posterior_mean(
    plane: Plane, noise: NoiseModel | None, photons: NoiseModel | None = None
) -> Step:
    """Return the step that gives an average its pixels' own values back.

    A pixel's prediction e was made without its noisy value y, which still says
    something.  With v the local mean of (y - e)^2 and s^2 the noise variance, the
    best linear estimate is ``e + max(v - s^2, 0) / v * (y - e)`` (the posterior
    mean of Laine et al., High-quality self-supervised deep image denoising, 2019,
    Eq. 4, with the prior's variance taken from the image instead of a network).

    The noise of the window is taken from the pixels y themselves, as their values are:
    where photons are few, the variance at e says too little of it, and every photon
    would count as structure that was missed.

    Without a model of the noise, s^2 is `TAKEN_UP` times the v that a tenth of the
    pixels is below: there the fit has missed nothing but noise.  That may be where the
    image is dark, so that it is no less than the variance in flat blocks as bright, nor
    than that of `photons`: few bright pixels have no flat blocks.
    Channels miss the same structure, so ``v - s^2`` is averaged over them, weighted by
    the certainty s^-4.  But what is hidden from a channel with weak noise is predicted
    from noisier ones, and the other way round: where the noise is unlike, no channel
    has missed more than it shows itself.
    """
    import torch

    from napari_dip.prior.operators import gaussian_mean

    flat_variance = noise_as_bright(plane, photons) if noise is None else None

    def step(average: Tensor) -> Tensor:
        y, weight = plane.tensors(average.device)

        def local_mean(values: Tensor) -> Tensor:
            return gaussian_mean(values, weight, POOLING)[0]

        excess = (y - average).square()
        level = average.new_ones(1, len(plane.values), *[1] * (average.ndim - 2))
        if noise is not None:
            expected = noise.at(y)
            variance = torch.maximum(noise.at(average), local_mean(expected))
            # Relative to the noise, so that bright and dark pixels can be averaged.
            excess = 1 + (excess - expected) / variance
            level = variance.mean(tuple(range(2, average.ndim)), keepdim=True)
        local = local_mean(excess)
        if flat_variance is not None:
            values = local.flatten(2)[..., weight.flatten() > 0]
            values = values[..., :: 1 + values.shape[-1] // SAMPLE]
            lowest = values.quantile(0.1, dim=-1).reshape(level.shape)
            level = torch.maximum(flat_variance(local_mean(average)), TAKEN_UP * lowest)
            level = level.clamp(min=1e-12)
            local = local / level
        if len(plane.values) > 1:
            certainty = level.square().reciprocal()
            missed = ((local - 1) * level * certainty).sum(1, keepdim=True)
            common = 1 + missed / certainty.sum(1, keepdim=True) / level
            unlike = level.amax(1) > LIKE_VARIANCES * level.amin(1)
            local = torch.where(unlike, torch.minimum(local, common), common)
        gain = (1 - 1 / local.clamp(min=1e-6)).clamp(min=0) * weight
        return average + gain * (y - average)

    return step


def missed_restored(plane: Plane) -> Step:
    """Return the step that gives pixels their own values back where a fit has failed.

    The fit is judged at few pixels, since neighbours share their noise, and may be
    ended before it has learnt the image.  If it differs by more than `FAILED` times
    the noise from the noisy image, that is nearer to the truth.
    """
    groups = map(noise_by_brightness, plane.values, plane.noisy)
    variance = [variances.mean() for _, variances in groups]
    noise = NoiseModel.gaussian(np.maximum(variance, NOISELESS))
    give_back = posterior_mean(plane, noise)

    def step(average: Tensor) -> Tensor:
        y, weight = plane.tensors(average.device)
        ratio = (y - average).square() / noise.at(average) * weight
        mean = float(ratio.sum() / weight.sum() / average.shape[1])
        return give_back(average) if mean > FAILED else average

    return step


def noise_as_bright(plane: Plane, photons: NoiseModel | None) -> Step:
    """Return the step that maps an image to the variance of flat blocks as bright.

    It is no less than that of `photons`.
    """
    groups = [*map(noise_by_brightness, plane.values, plane.noisy)]

    def step(image: Tensor) -> Tensor:
        channels = zip(image[0].cpu().numpy(), groups, strict=True)
        variance = [np.interp(values, *group) for values, group in channels]
        flat = image.new_tensor(np.stack(variance))[None]
        return flat if photons is None else flat.maximum(photons.at(image))

    return step


def posterior_deviation(
    plane: Plane, noise: NoiseModel, moved: float = MOVED, unseen: float = UNSEEN
) -> Callable[[Tensor, Tensor], NDArray[Any]]:
    """Return the function that estimates the standard deviation of a result.

    The prediction e of a pixel was made without its noisy value.  How far the result x
    is from it tells the squared error of e: what e missed came back from the noisy
    image.  With m the local mean of (x - e)^2 and s^2 the noise variance, the error is
    ``p = moved * m + unseen * s^2``, and that of the result, which has seen the noisy
    value as well, ``p * s^2 / (p + s^2)``.

    It maps the averaged output and the result to an array (C, ...) in the units of the
    input: 0 where the image is constant, which is left as it is, and NaN where it was
    missing, so that nothing tells the error.
    """
    from napari_dip.prior.operators import gaussian_mean

    def deviation(average: Tensor, restored: Tensor) -> NDArray[Any]:
        _, weight = plane.tensors(average.device)
        variance = noise.at(average)
        local, _ = gaussian_mean((restored - average).square(), weight, NEAR)
        error = moved * local + unseen * variance
        posterior = error * variance / (error + variance).clamp(min=1e-20)
        growth = plane.growth(restored[0].cpu().numpy())
        result: NDArray[Any] = posterior.sqrt()[0].cpu().numpy() * growth
        result[:, plane.known == 0] = np.nan
        result[plane.constant] = 0
        return result

    return deviation


def wiener_mean(plane: Plane, noise: NoiseModel) -> Step:
    """Return the step that averages a restored image with a Wiener filter's.

    The filter takes the restored image for the spectrum of the true one; what it makes
    of the noisy image errs in other ways, and the mean of both errs least.
    """
    from napari_dip.prior.wiener import wiener

    def filter_noisy(noisy: Tensor, restored: Tensor) -> Tensor:
        return wiener(noisy, restored, noise.at(restored))

    return filtering(plane, filter_noisy, FILTERED)


def filtering(
    plane: Plane,
    filter_noisy: Callable[[Tensor, Tensor], Tensor],
    part: float,
) -> Step:
    """Return the step that mixes a part of a filter of the noisy image in.

    Missing pixels are left as they have been restored.
    """
    import torch

    def step(restored: Tensor) -> Tensor:
        y, weight = plane.tensors(restored.device)
        y = torch.lerp(restored, y, weight)
        filtered = filter_noisy(y, restored)
        return torch.lerp(restored, filtered, part * weight)

    return step


def beside_noisier(
    plane: Plane, noise: NoiseModel, make: Callable[[Plane, NoiseModel], list[Step]]
) -> list[Step]:
    """Return steps that take channels with less noise than others by themselves, too.

    From channels with more than `LIKE_VARIANCES` times their noise these gain little,
    and lose texture.  The less noise they have, the more counts what becomes of them by
    themselves.  `make` returns the steps for some channels and their noise.
    """
    level = noise.level(plane.values, plane.noisy)
    least = level.max() / LIKE_VARIANCES
    cleaner = np.flatnonzero(level < least).tolist()
    if not cleaner:
        return make(plane, noise)
    part = (1 - level[cleaner] / least).reshape(-1, *[1] * plane.known.ndim)

    def with_own(together: Step, own: Step) -> Step:
        def step(image: Tensor) -> Tensor:
            result = together(image).clone()
            alone = own(image[:, cleaner])
            result[:, cleaner] = result[:, cleaner].lerp(alone, image.new_tensor(part))
            return result

        return step

    # What is constant in these may vary in others.
    clean = plane.of_channels(cleaner).without_constant()
    chosen = clean, noise.of_channels(cleaner)
    own = beside_noisier(*chosen, make)
    return [with_own(*pair) for pair in zip(make(plane, noise), own, strict=True)]


def same_mean(plane: Plane, noise: NoiseModel) -> Step:
    """Return the step that gives an image the mean signal of the noisy one.

    Filters lose some of it where it is all in single photons.
    """

    def step(image: Tensor) -> Tensor:
        from napari_dip.prior.operators import per_channel

        y, weight = plane.tensors(image.device)
        spatial = tuple(range(2, y.ndim))
        offset = per_channel(image.new_tensor(noise.offset), image)
        seen, kept = (
            ((v - offset) * weight).sum(spatial, keepdim=True) for v in (y, image)
        )
        # Without any signal there is nothing to compare.
        factor = (seen / kept.clamp(min=1e-12)).clamp(0.5, 2)
        return offset + (image - offset) * factor

    return step


def known_restored(plane: Plane) -> Step:
    """Return the step that gives known pixels the values that they came with."""

    def step(restored: Tensor) -> Tensor:
        return restored.lerp(*plane.tensors(restored.device))

    return step
