"""Steps that estimate similar patches of an image together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_dip.tasks.blurs import Goodness
from napari_dip.tasks.components import by_component
from napari_dip.tasks.finishing import POOLING, Finish, Step, filtering, posterior_mean
from napari_dip.tasks.independent_noise import are_independent, independent_noise
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.plane import Plane
from napari_dip.tasks.shared_noise import (
    SharedNoise,
    is_structure,
    is_textured,
    shared_noise,
)
from napari_dip.tasks.stabilization import stabilised, unstabilised

if TYPE_CHECKING:
    from torch import Tensor

    SideNoise = tuple[Tensor, Tensor]
    """Variance of noise, (1, C, ...), and the covariance of patches of some side."""

    Measure = Callable[[Tensor, int], SideNoise | None]
    """Measures noise with a pilot, for patches of a side; None where nothing does."""

THRESHOLDED = 0.5
"""Part of the estimate by thresholds in the pilot of the collaborative filter."""

SMOOTHED = 0.55
"""Noise over signal in the collaborative filter, as a part of what its pilot tells,
where that is smoother than the image."""

SMOOTHED_PHOTONS = 0.65
"""The same for photon noise, whose model is less certain: noise of micrographs that it
leaves out would be taken for signal."""

KEPT, NOISIER = 0.2, 1.5
"""Part of its own value that a pixel of the pilot has kept, up to which that holds, and
how much the part grows from there on, up to 1: the pilot has noise of its own."""

DENSE = {"window": 30, "step": 3}
"""A search that takes three times as long for 0.06 dB."""

FLATTEST = 1.2
"""Noise that neighbours share, over what it is in the flattest places."""

BROAD_THRESHOLDS, BROAD = 2.5, 1.8
"""Standard deviation of white noise that is as strong at low frequencies, of which flat
places tell too little, over that of noise that neighbours share: for an estimate by
thresholds, and for one of similar patches."""

LEFT, BROAD_LEFT = 1.8, 4.0
"""Noise that neighbours share, and stronger white noise, over what a pilot leaves of
the noisy image, at most: a pilot of a fit has some of the noise itself."""

TEXTURED_LEFT, TEXTURED_BROAD_LEFT, TEXTURED_THRESHOLDED = 1.2, 2.0, 0.75
"""`LEFT`, `BROAD_LEFT` and `THRESHOLDED` where no place is flat, so that they tell too
much noise."""

WELL_KNOWN_THRESHOLDED = 0.75
"""`THRESHOLDED` where the noise of every channel is known well."""

TEXTURE = 1.25
"""Noise that flat places tell, over what is given, from which on there is texture in
it: 0.6 to 1.27 in most images of cameras, 1.4 to 2.9 in texture with weak noise."""

GUIDED_PASSES = 4
"""Passes of that filter with a guide; more gain little."""

BLURRED = 0.3
"""Part of the pilot in the result of the collaborative filter where a blur is good: of
few photons it takes some that are together for structure."""

WIDE_PIXELS = 36
"""Pixels of a wide patch, six a side, of images of up to `WIDE_CHANNELS` channels."""

WIDE_CHANNELS = 3
"""Channels from which on a wide patch has fewer pixels, so that it costs no more."""


def collaborative(
    plane: Plane,
    noise: NoiseModel,
    finish: Finish,
    goodness: Goodness | None = None,
) -> Step:
    """Return the step that estimates similar patches of the noisy image together.

    A pilot tells which patches are similar, and what they have in common.  With
    `thresholds` in `finish`, it is the mean of the restored image and of an estimate by
    thresholds, in which the network has no part: both err independently.  Otherwise it
    is the restored image.

    With several `rounds` the filter goes through the image more than once, of which a
    fourth time gains nothing; that does not help against photon noise.

    Patches are too small to tell apart noise and image of low frequencies.  With
    `half_resolution`, pilot and result get those of an estimate at half the
    resolution, where a patch covers four times the area (Facciolo, Pierazzo, Morel,
    Conservative scale recomposition for multiscale denoising, SIAM Journal on Imaging
    Sciences 10, 2017).

    With the `goodness` of blurs, the result gets part of the pilot back where these are
    good.
    """
    import torch

    from napari_dip.prior.collaborative import collaborative_filter
    from napari_dip.prior.pyramid import halved, with_low_frequencies

    gaussian = noise.kind == "gaussian"
    rounds = finish.rounds if gaussian else 1
    search: dict[str, Any] = DENSE if finish.dense else {}

    def filter_noisy(noisy: Tensor, restored: Tensor) -> Tensor:
        pilot, variance = restored, noise.at(restored)
        smoothed = torch.ones_like(restored[:, :1])
        if finish.thresholds:
            if gaussian:
                _, known = plane.tensors(restored.device)
                smoothed = _smoothed(noisy - restored, variance, known)
            else:
                smoothed *= SMOOTHED_PHOTONS
            first = _thresholded(noisy, variance, noise)
            pilot = torch.lerp(restored, first, THRESHOLDED)
        coarse = None
        if finish.half_resolution:
            halves = halved(noisy), halved(pilot), halved(variance) / 4
            coarse = collaborative_filter(*halves, halved(smoothed), rounds)
            pilot = with_low_frequencies(pilot, coarse)
        estimate = collaborative_filter(
            noisy, pilot, variance, smoothed, rounds, **search
        )
        if coarse is not None:
            estimate = with_low_frequencies(estimate, coarse)
        if goodness is not None:
            part = BLURRED * goodness(restored.device)
            estimate = torch.lerp(estimate, restored, part)
        return estimate

    return filtering(plane, filter_noisy, 1)


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


def collaborative_guided(plane: Plane, noise: NoiseModel, guide: Tensor) -> Step:
    """Return the step that estimates similar patches of an image and its guide.

    The guide is (1, G, ...), in any units.
    """
    from napari_dip.prior.collaborative import guided_collaborative_filter

    def filter_noisy(noisy: Tensor, restored: Tensor) -> Tensor:
        variance = noise.at(restored)
        return guided_collaborative_filter(noisy, restored, variance, guide.to(noisy))

    return filtering(plane, filter_noisy, 1)


def collaborative_shared(
    plane: Plane, noise: NoiseModel, given: NoiseModel | None = None
) -> Step:
    """Return the step that estimates similar patches under noise that neighbours share.

    Where channels do not share their noise, their differences tell it well (see
    `napari_dip.tasks.independent_noise`).  Otherwise flat places do (see
    `napari_dip.tasks.shared_noise`), whose noise is weaker than that of cameras at low
    frequencies, or has texture in it.  If `noise`, the model of the finest detail, is
    of photons, it is no less than that.

    Where the user has `given` its level, it is known well.  Flat places still count as
    far as they have no texture.  Otherwise, where these show structure and no noise,
    there is no other noise than that of the finest detail.
    """
    from napari_dip.prior import thresholding

    photons = noise if noise.kind != "gaussian" else None

    def filter_noisy(noisy: Tensor, restored: Tensor) -> Tensor:
        seen = plane.values, restored[0].cpu().numpy(), plane.noisy
        if given is None and is_structure(*seen):
            return without_noise(plane, noise).to(restored)
        apart = are_independent(*seen)
        find = independent_noise if apart else shared_noise
        measure = partial(_noise_by, plane, photons=photons, find=find)
        told = measure(restored, thresholding.SIDE)
        if told is None:
            return restored
        _, known = plane.tensors(noisy.device)
        excess = restored.new_ones(1)
        if given is not None:
            excess = _excess(told[0], given.at(restored), known)
        estimates = []  # whose mean is the result
        if apart or given is not None:
            well_known = told[0] / excess, told[1]
            as_given = partial(measure, given=given)
            estimates.append(_by_known_noise(noisy, restored, well_known, as_given))
        if not (apart or excess.mean() > TEXTURE**2):
            textured = is_textured(*seen)
            estimates.append(
                _by_flat_places(noisy, restored, known, told, measure, textured)
            )
        return sum(estimates[1:], start=estimates[0]) / len(estimates)

    return filtering(plane, filter_noisy, 1)


def _excess(variance: Tensor, level: Tensor, known: Tensor) -> Tensor:
    """Return the mean of a variance over that of a level, (1, C, 1, ...)."""
    axes = tuple(range(2, variance.ndim))
    told, given = ((v * known).sum(axes, keepdim=True) for v in (variance, level))
    return (told / given).where(given > 0, 1)


def _by_known_noise(
    noisy: Tensor, restored: Tensor, noise: SideNoise, measure: Measure
) -> Tensor:
    """Return the estimate under noise that is known well.

    That which was measured with the restored image as the pilot is for an estimate by
    thresholds; it is measured with the mean of both for one of similar patches.  This
    and the thresholds are the pilot of the last: a fit that was ended early lacks fine
    texture.
    """
    from napari_dip.prior.collaborative import PATCH_VALUES, collaborative_filter
    from napari_dip.prior.groups import patch_side
    from napari_dip.prior.thresholding import collaborative_threshold

    first = collaborative_threshold(noisy, *noise)
    estimate = restored
    for part in (WELL_KNOWN_THRESHOLDED, THRESHOLDED):
        pilot = estimate.lerp(first, part)
        told = measure(pilot, patch_side(PATCH_VALUES, noisy.shape[1]))
        if told is None:
            break
        estimate = collaborative_filter(noisy, pilot, told[0], 1, covariance=told[1])
    return estimate


def _by_flat_places(
    noisy: Tensor,
    restored: Tensor,
    known: Tensor,
    noise: SideNoise,
    measure: Measure,
    textured: bool,
) -> Tensor:
    """Return the estimate under noise that flat places tell.

    That which was measured where the restored image is flat is for an estimate by
    thresholds; it is measured where the mean of both is flat for the estimate of
    similar patches.

    Noise of cameras has more power at low frequencies than flat places tell, and
    differs from place to place.  The result is therefore the mean of that estimate and
    of another that takes the noise for stronger white noise.
    """
    from napari_dip.prior import thresholding
    from napari_dip.prior.collaborative import PATCH_VALUES, collaborative_filter
    from napari_dip.prior.groups import patch_side
    from napari_dip.prior.thresholding import collaborative_threshold

    left, broad_left, part = LEFT, BROAD_LEFT, THRESHOLDED
    if textured:
        left, broad_left = TEXTURED_LEFT, TEXTURED_BROAD_LEFT
        part = TEXTURED_THRESHOLDED
        # A fit lacks structure, so that too little would be taken off the noise.
        first = collaborative_threshold(noisy, *noise)
        noise = measure(first, thresholding.SIDE) or noise
    white = BROAD_THRESHOLDS**2 * noise[0]
    narrow, broad = (
        restored.lerp(collaborative_threshold(noisy, *told), part)
        for told in (noise, (white,))
    )
    side = patch_side(PATCH_VALUES, noisy.shape[1])
    shared, stronger = (measure(pilot, side) for pilot in (narrow, broad))
    if shared is None or stronger is None:
        return restored
    variance = _limited(shared[0], noisy - narrow, known, left)
    estimate = collaborative_filter(
        noisy, narrow, variance, FLATTEST, covariance=shared[1]
    )
    white = _limited(BROAD**2 * stronger[0], noisy - broad, known, broad_left)
    return (estimate + collaborative_filter(noisy, broad, white)) / 2


def collaborative_shared_guided(
    plane: Plane, guide: Tensor, given: NoiseModel | None = None
) -> Step:
    """Return the step that uses that covariance and a guide, (1, G, ...), in any units.

    The fit is ended before it has learnt much, so that what is restored by it and the
    guide is a better pilot, again and again.
    """
    from napari_dip.prior.collaborative import guided_collaborative_filter, guided_side

    def filter_noisy(noisy: Tensor, restored: Tensor) -> Tensor:
        side = guided_side(noisy.shape[1], guide.shape[1])
        _, known = plane.tensors(noisy.device)
        for _ in range(GUIDED_PASSES):
            noise = _noise_by(plane, restored, side, given=given)
            if noise is None:
                break
            variance = noise[0]
            if given is None:
                variance = _limited(variance, noisy - restored, known)
            images = noisy, restored, variance, guide.to(noisy)
            restored = guided_collaborative_filter(*images, noise[1])
        return restored

    return filtering(plane, filter_noisy, 1)


def _noise_by(
    plane: Plane,
    pilot: Tensor,
    side: int,
    photons: NoiseModel | None = None,
    find: Callable[..., SharedNoise | None] = shared_noise,
    given: NoiseModel | None = None,
) -> SideNoise | None:
    """Return the variance of noise that neighbours share, and its covariance.

    None where no place tells it.  The mean of the variance is that of the noise whose
    level is `given`.
    """
    image = pilot[0].cpu().numpy()
    noise = find(plane.values, image, plane.noisy)
    if noise is None:
        return None
    covariance = noise.covariance(side)
    variance = pilot.new_tensor(noise.at(image))[None]
    if photons is not None:
        variance = variance.maximum(photons.at(pilot))
    if given is not None:
        _, known = plane.tensors(pilot.device)
        variance = variance / _excess(variance, given.at(pilot), known)
    return variance, pilot.new_tensor(covariance)


def _limited(variance: Tensor, left: Tensor, known: Tensor, limit: float = 1) -> Tensor:
    """Return a variance, in the mean at most so many times what is left of an image.

    Where there is texture everywhere, the flattest places tell too much noise.
    """
    total = (variance * known).sum().clamp(min=1e-20)
    power = (left.square() * known).sum()
    return variance * (limit * power / total).clamp(max=1)


def without_noise(plane: Plane, noise: NoiseModel) -> Tensor:
    """Return the values of a plane without their noise, (1, C, ...) in scaled units.

    No network has a part in it: the pilot of `collaborative` is the estimate by
    thresholds, and pixels that it misses get their own values back.
    """
    measurement, known = plane.tensors()
    pilot = _thresholded(measurement, noise.at(measurement), noise)
    pilot = posterior_mean(plane, noise)(pilot)
    finish = Finish(rounds=3, half_resolution=True)
    similar = partial(collaborative, finish=finish)
    filtered = by_component(plane, noise, similar)(pilot)
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


def filled(plane: Plane, *, wide: bool = False) -> Step:
    """Return the step that estimates missing pixels from similar patches.

    A stroke leaves something of wide patches.
    """
    from napari_dip.prior.collaborative import PATCH_VALUES
    from napari_dip.prior.filling import fill_from_similar

    values = WIDE_PIXELS * min(len(plane.values), WIDE_CHANNELS)
    values = max(values, PATCH_VALUES) if wide else PATCH_VALUES

    def step(restored: Tensor) -> Tensor:
        _, known = plane.tensors(restored.device)
        return fill_from_similar(restored, known, values)

    return step
