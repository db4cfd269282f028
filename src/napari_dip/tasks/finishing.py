"""Steps from the averaged output of a network to the result of a task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.noise import LIKE_VARIANCES, NoiseModel
from napari_dip.tasks.noise_level import noise_by_brightness
from napari_dip.tasks.plane import Plane, per_channel
from napari_dip.tasks.shared_noise import shared_noise
from napari_dip.tasks.stabilization import stabilised, unstabilised

if TYPE_CHECKING:
    from torch import Tensor

Step = Callable[["Tensor"], "Tensor"]
"""Maps an averaged output, (1, C, ...) in scaled units, to a better image."""

FILTERED = 0.5
"""Part of the Wiener filter in the result."""

THRESHOLDED = 0.5
"""Part of the estimate by thresholds in the pilot of the collaborative filter."""

SMOOTHED = 0.55
"""Noise over signal in the collaborative filter, as a part of what its pilot tells,
where that is smoother than the image."""

KEPT, NOISIER = 0.2, 1.5
"""Part of its own value that a pixel of the pilot has kept, up to which that holds, and
how much the part grows from there on, up to 1: the pilot has noise of its own."""

ROUNDS = {"two rounds": 2, "three rounds": 3}
"""Rounds of the collaborative filter, of which a fourth gains nothing."""

DENSE = {"window": 30, "step": 3}
"""A search that takes three times as long for 0.06 dB."""

SMOOTHED_PHOTONS = 0.65
"""The same for photon noise, whose model is less certain: noise of micrographs that it
leaves out would be taken for signal."""

TAKEN_UP = 2.0
"""Noise over what a fit of correlated noise leaves of it where the image is smooth:
part has been taken up, and it is often weakest there."""

FLATTEST = 1.2
"""Noise that neighbours share, over what it is in the flattest places."""

WIDE_PIXELS = 36
"""Pixels of a wide patch, six a side, of images of up to `WIDE_CHANNELS` channels."""

WIDE_CHANNELS = 3
"""Channels from which on a wide patch has fewer pixels, so that it costs no more."""

SAMPLE = 1_000_000
"""Pixels that are enough for a quantile."""

POOLING = 4.0
"""Standard deviation in pixels of the window that judges a pixel's reliability."""

BLURS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Standard deviations in pixels of the blurs that a fit is compared with."""

ENOUGH = 0.07
"""Error of the best blur, as a part of the noise, from which on a fit is better."""

BLURRED = 0.3
"""Part of the pilot in the result of the collaborative filter where a blur is good: of
few photons it takes some that are together for structure."""

EVEN = 0.02
"""Noise, as a part of a channel's range, below which less gives no more weight."""

NEAR = 2.0
"""Standard deviation in pixels of the window that judges a result's error."""

MOVED = 1.6
"""Squared error of a prediction over the square of what the result differs by."""

UNSEEN = 0.028
"""Squared error of a prediction that the result does not differ from, over the noise
variance.

With both the truth of four images, under six kinds of noise, is likeliest:
``python -m benchmarks uncertainty --calibrate``."""


def in_turn(steps: Sequence[Step]) -> Step | None:
    """Return the steps as one, None where there are none."""
    if not steps:
        return None

    def finish(average: Tensor) -> Tensor:
        for step in steps:
            average = step(average)
        return average

    return finish


def blurred_mean(plane: Plane, noise: NoiseModel) -> Step:
    """Return the step `posterior_mean`, or one with a Gaussian blur where that is good.

    Of few photons a network learns the noise before it has learnt the image.  There a
    plain blur takes out as much noise and errs in other ways, while the pixels' own
    values say hardly anything.  As the network does, the blur B leaves a pixel out, so
    that the noisy values y tell which average ``e + p (B - e)`` errs least, whether or
    not both err alike: that with ``p = mean((y - e) (B - e)) / mean((B - e)^2)``, and
    with the blur in `BLURS` by which it is nearest to y.
    """
    import torch

    posterior = posterior_mean(plane, noise)

    def step(average: Tensor) -> Tensor:
        y, weight = plane.tensors(average.device)
        good, kept = _good_blur(plane, noise, average), posterior(average)
        if not bool(good.any()):
            return kept
        best, least = average, torch.full_like(good, float("inf"))
        for blurred, own in _blurs(y, weight):
            away = (blurred - own * y) / (1 - own) - average
            part = _mean((y - average) * away, weight)
            part = part / _mean(away.square(), weight).clamp(min=1e-20)
            mixed = average + part.clamp(0, 1) * weight * away
            error = _mean((mixed - y).square(), weight)
            best = torch.where(error < least, mixed, best)
            least = torch.minimum(error, least)
        return torch.lerp(kept, best, good)

    return step


def _good_blur(plane: Plane, noise: NoiseModel, like: Tensor) -> Tensor:
    """Return how good a Gaussian blur of every channel is, from 0 to 1.

    The error of a blur against the truth is known without bias: with B the blurred
    values, h the weight of a pixel in its own and s^2 the variance of the noise, it is
    the mean of ``(B - y)^2 - s^2 + 2 h s^2`` (Stein's estimate), never less than about
    its standard error.  Where that is more than half of `ENOUGH` of the noise for the
    best of `BLURS`, it is less good.
    """
    import torch

    y, weight = plane.tensors(like.device)
    variance = noise.at(y)
    level = _mean(variance, weight)
    errors = [
        _mean((blurred - y).square() + (2 * own - 1) * variance, weight)
        for blurred, own in _blurs(y, weight)
    ]
    pixels = max(float(weight.sum()), 1.0)
    least = torch.stack(errors).amin(dim=0).maximum(level / pixels**0.5)
    return (2 - 2 * least / (ENOUGH * level).clamp(min=1e-20)).clamp(0, 1)


def _blurs(y: Tensor, weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield Gaussian blurs of values, and the part of a value in its own blur."""
    from napari_dip.prior.operators import gaussian_mean

    for sigma in BLURS:
        blurred, near = gaussian_mean(y, weight, sigma)
        yield blurred, _centre(sigma, y.ndim - 2) / near


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the means of channels over the pixels that are known."""
    spatial = tuple(range(2, values.ndim))
    total = weight.sum(spatial, keepdim=True).clamp(min=1)
    return (values * weight).sum(spatial, keepdim=True) / total


def _centre(sigma: float, ndim: int) -> float:
    """Return the weight of a pixel in its own Gaussian blur."""
    from napari_dip.prior.operators import gaussian_taps

    return float(gaussian_taps(math.ceil(3 * sigma), sigma).sum()) ** -ndim


def posterior_mean(plane: Plane, noise: NoiseModel | None) -> Step:
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
    image is dark, so that it is no less than the variance in flat blocks as bright.
    Channels miss the same structure, so ``v - s^2`` is averaged over them, weighted by
    the certainty s^-4.  But what is hidden from a channel with weak noise is predicted
    from noisier ones, and the other way round: where the noise is unlike, no channel
    has missed more than it shows itself.
    """
    import torch

    from napari_dip.prior.operators import gaussian_mean

    flat_variance = noise_as_bright(plane) if noise is None else None

    def step(average: Tensor) -> Tensor:
        y, weight = plane.tensors(average.device)

        def pooled(values: Tensor) -> Tensor:
            return gaussian_mean(values, weight, POOLING)[0]

        excess = (y - average).square()
        level = average.new_ones(1, len(plane.values), *[1] * (average.ndim - 2))
        if noise is not None:
            expected = noise.at(y)
            variance = torch.maximum(noise.at(average), pooled(expected))
            # Relative to the noise, so that bright and dark pixels can be pooled.
            excess = 1 + (excess - expected) / variance
            level = variance.mean(tuple(range(2, average.ndim)), keepdim=True)
        local = pooled(excess)
        if flat_variance is not None:
            values = local.flatten(2)[..., weight.flatten() > 0]
            values = values[..., :: 1 + values.shape[-1] // SAMPLE]
            lowest = values.quantile(0.1, dim=-1).reshape(level.shape)
            level = torch.maximum(flat_variance(pooled(average)), TAKEN_UP * lowest)
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


def noise_as_bright(plane: Plane) -> Step:
    """Return the step that maps an image to the variance of flat blocks as bright."""
    groups = [*map(noise_by_brightness, plane.values, plane.noisy)]

    def step(image: Tensor) -> Tensor:
        channels = zip(image[0].cpu().numpy(), groups, strict=True)
        variance = [np.interp(values, *group) for values, group in channels]
        return image.new_tensor(np.stack(variance))[None]

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
        span = per_channel(plane.span, plane.values).astype(plane.dtype)
        result: NDArray[Any] = posterior.sqrt()[0].cpu().numpy() * span
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

    return _filtered(plane, filter_noisy, FILTERED)


def collaborative(plane: Plane, noise: NoiseModel, finish: Sequence[str]) -> Step:
    """Return the step that estimates similar patches of the noisy image together.

    A pilot tells which patches are similar, and what they have in common.  If `finish`
    names "thresholds", it is the mean of the restored image and of an estimate by
    thresholds, in which the network has no part: both err independently.  Otherwise it
    is the restored image.

    If `finish` names "two rounds" or "three rounds", the filter goes through the image
    more than once; that does not help against photon noise.  If it names "dense", the
    filter takes more time to look for similar patches.

    Patches are too small to tell apart noise and image of low frequencies.  If `finish`
    names "half resolution", pilot and result get those of an estimate at half the
    resolution, where a patch covers four times the area (Facciolo, Pierazzo, Morel,
    Conservative scale recomposition for multiscale denoising, SIAM Journal on Imaging
    Sciences 10, 2017).
    """
    import torch

    from napari_dip.prior.collaborative import collaborative_filter
    from napari_dip.prior.pyramid import halved, with_low_frequencies

    gaussian = noise.kind == "gaussian"
    rounds = max([ROUNDS.get(name, 1) for name in finish]) if gaussian else 1
    search: dict[str, Any] = DENSE if "dense" in finish else {}

    def filter_noisy(noisy: Tensor, restored: Tensor) -> Tensor:
        pilot, variance = restored, noise.at(restored)
        smoothed = torch.ones_like(restored[:, :1])
        if "thresholds" in finish:
            if gaussian:
                _, known = plane.tensors(restored.device)
                smoothed = _smoothed(noisy - restored, variance, known)
            else:
                smoothed *= SMOOTHED_PHOTONS
            first = _thresholded(noisy, variance, noise)
            pilot = torch.lerp(restored, first, THRESHOLDED)
        coarse = None
        if "half resolution" in finish:
            halves = halved(noisy), halved(pilot), halved(variance) / 4
            coarse = collaborative_filter(*halves, halved(smoothed), rounds)
            pilot = with_low_frequencies(pilot, coarse)
        estimate = collaborative_filter(
            noisy, pilot, variance, smoothed, rounds, **search
        )
        if coarse is not None:
            estimate = with_low_frequencies(estimate, coarse)
        if "blur" in finish:
            good = _good_blur(plane, noise, restored)
            estimate = torch.lerp(estimate, restored, BLURRED * good)
        return estimate

    return _filtered(plane, filter_noisy, 1)


def _smoothed(away: Tensor, variance: Tensor, known: Tensor) -> Tensor:
    """Return noise over signal as a part of what a pilot tells, (1, 1, ...).

    By `posterior_mean` a pixel of the pilot keeps a part g of its noisy value, more
    where the network has missed fine structure, and with it a part of its noise.  The
    mean square distance `away` from the noisy image is then ``1 - g`` of the variance
    of the noise.
    """
    from napari_dip.prior.operators import gaussian_mean

    power = (away.square() / variance).mean(dim=1, keepdim=True)
    kept = 1 - gaussian_mean(power, known, POOLING)[0]
    return (SMOOTHED + NOISIER * (kept - KEPT)).clamp(SMOOTHED, 1)


def collaborative_shared(plane: Plane) -> Step:
    """Return the step that estimates similar patches under noise that neighbours share.

    Its level at every brightness and its covariance are measured where the pilot is
    flat (see `napari_dip.tasks.shared_noise`): first with the restored image as the
    pilot, for an estimate by thresholds, then with the mean of both, for the estimate
    of similar patches.  Nothing is done where no place tells the noise.
    """
    import torch

    from napari_dip.prior import thresholding
    from napari_dip.prior.collaborative import VALUES, collaborative_filter
    from napari_dip.prior.groups import patch_side

    def noise_by(pilot: Tensor, side: int) -> tuple[Tensor, Tensor] | None:
        image = pilot[0].cpu().numpy()
        noise = shared_noise(plane.values, image, plane.noisy)
        if noise is None:
            return None
        covariance = noise.covariance(side)
        return pilot.new_tensor(noise.at(image))[None], pilot.new_tensor(covariance)

    def filter_noisy(noisy: Tensor, restored: Tensor) -> Tensor:
        noise = noise_by(restored, thresholding.SIDE)
        if noise is None:
            return restored
        first = thresholding.collaborative_threshold(noisy, *noise)
        pilot = torch.lerp(restored, first, THRESHOLDED)
        noise = noise_by(pilot, patch_side(VALUES, noisy.shape[1]))
        if noise is None:
            return restored
        variance, covariance = noise
        return collaborative_filter(
            noisy, pilot, variance, FLATTEST, covariance=covariance
        )

    return _filtered(plane, filter_noisy, 1)


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


def without_noise(plane: Plane, noise: NoiseModel) -> Tensor:
    """Return the values of a plane without their noise, (1, C, ...) in scaled units.

    No network has a part in it: the pilot of `collaborative` is the estimate by
    thresholds, and pixels that it misses get their own values back.
    """
    measurement, known = plane.tensors()
    pilot = _thresholded(measurement, noise.at(measurement), noise)
    pilot = posterior_mean(plane, noise)(pilot)
    filtered = collaborative(plane, noise, ("three rounds", "half resolution"))(pilot)
    return measurement.lerp(filtered, known)


def _thresholded(noisy: Tensor, variance: Tensor, noise: NoiseModel) -> Tensor:
    """Return the estimate by thresholds, which compares noise of one level."""
    import torch

    from napari_dip.prior.thresholding import collaborative_threshold

    if noise.kind == "gaussian":
        return collaborative_threshold(noisy, variance)
    even = torch.from_numpy(stabilised(noisy[0].cpu().numpy(), noise))[None].to(noisy)
    estimate = collaborative_threshold(even, torch.ones_like(even))
    values = unstabilised(estimate[0].cpu().numpy(), noise)
    return torch.from_numpy(values)[None].to(noisy)


def same_mean(plane: Plane, noise: NoiseModel) -> Step:
    """Return the step that gives an image the mean signal of the noisy one.

    Filters lose some of it where it is all in single photons.
    """

    def step(image: Tensor) -> Tensor:
        y, weight = plane.tensors(image.device)
        spatial = tuple(range(2, y.ndim))
        offset = image.new_tensor(noise.offset).reshape(1, -1, *[1] * len(spatial))
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


def filled(plane: Plane, *, wide: bool = False) -> Step:
    """Return the step that estimates missing pixels from similar patches.

    A stroke leaves something of wide patches.
    """
    from napari_dip.prior.collaborative import VALUES
    from napari_dip.prior.filling import fill_from_similar

    values = WIDE_PIXELS * min(len(plane.values), WIDE_CHANNELS)
    values = max(values, VALUES) if wide else VALUES

    def step(restored: Tensor) -> Tensor:
        _, known = plane.tensors(restored.device)
        return fill_from_similar(restored, known, values)

    return step


def _filtered(
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


def channel_weights(variance: np.ndarray) -> tuple[float, ...]:
    """Return weights of the channels' errors, by the variance of their noise."""
    if len(variance) == 1:
        return ()
    weights = 1 / (variance + EVEN**2)
    return tuple((weights / weights.mean()).tolist())
