"""Channels of unlike brightness, and regions without noise."""

import numpy as np
import pytest
import skimage
import torch
from scipy import ndimage

from napari_dip import (
    deconvolve,
    denoise,
    enhance,
    inpaint,
    remove_artifacts,
    super_resolve,
)
from napari_dip.tasks import channels
from napari_dip.tasks.channels import groups
from napari_dip.tasks.constant import completed, constant_regions
from napari_dip.tasks.finishing import posterior_mean
from napari_dip.tasks.noise import NoiseModel, plane_model
from napari_dip.tasks.plane import prepare
from tests.slow import slow_but

FIXED = {"device": "cpu", "precision": "float32"}


def cells(seed, side=64, count=10):
    """Return a made-up picture of round cells, (side, side), in [0, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = np.zeros((side, side))
    for _ in range(count):
        centre_y, centre_x = random.uniform(0, side, 2)
        inside = np.hypot(y - centre_y, x - centre_x) < random.uniform(4, 9)
        image = np.maximum(image, random.uniform(0.3, 1) * inside)
    return ndimage.gaussian_filter(image, 0.8)


@pytest.fixture
def unlike():
    """Return two noisy channels without a relation, the first 100 times brighter."""
    random = np.random.default_rng(0)
    bright = 1e4 * (1 + 2 * cells(1)) + random.normal(0, 800, (64, 64))
    dim = 100 * (1 + 2 * cells(2)) + random.normal(0, 12, (64, 64))
    return np.stack([bright, dim])


BLUR = np.outer(*[np.exp(-(np.arange(-3, 4) ** 2) / 2)] * 2)
HOLES = np.random.default_rng(3).random((64, 64)) < 0.3
TASKS = {
    "denoise": lambda image, **k: denoise(image, **k),
    "deconvolve": lambda image, **k: deconvolve(image, BLUR, **k),
    "inpaint": lambda image, **k: inpaint(image, HOLES[:, : image.shape[-1]], **k),
    "super_resolve": lambda image, **k: super_resolve(image, 2, **k),
    "remove_artifacts": lambda image, **k: remove_artifacts(image, **k),
}


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("task", slow_but(TASKS, "denoise", "inpaint"))
def test_a_channel_without_relation_to_others_is_restored_as_alone(unlike, task):
    settings = {"iterations": 4, **FIXED}
    unlike = unlike[..., :32]
    both = TASKS[task](unlike, channel_axis=0, **settings)
    for channel, alone in zip(both, unlike, strict=True):
        np.testing.assert_array_equal(channel, TASKS[task](alone, **settings))


@pytest.mark.usefixtures("narrow")
def test_planes_of_unlike_brightness_are_restored_as_alone(unlike):
    settings, unlike = {"iterations": 4, **FIXED}, unlike[..., :32]
    stack = denoise(unlike, **settings)
    np.testing.assert_array_equal(stack[0], denoise(unlike[0], **settings))
    # A plane has a seed of its own.
    assert np.std(stack[1] - denoise(unlike[1], **settings)) < 40


def test_related_channels_are_fitted_together(unlike):
    random = np.random.default_rng(5)
    same = 10 * (1 + 2 * cells(1)) + random.normal(0, 0.8, (64, 64))
    many = np.stack([unlike[0], unlike[1], same])
    assert groups(prepare(many, "image")) == ((0, 2), (1,))
    assert groups(prepare(unlike[:1], "image")) == ((0,),)


@pytest.mark.parametrize("missing", [0.1, 0.5])
def test_channels_with_missing_pixels_are_told_apart(missing):
    random = np.random.default_rng(6)
    holes = random.random((96, 96)) < missing
    one, other = cells(1, 96, 25), cells(2, 96, 25)
    image = np.stack([100 * one, other, 7 * one]) + random.normal(0, 0.02, (3, 96, 96))
    image[:, holes] = np.nan
    assert groups(prepare(image, "image")) == ((0, 2), (1,))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("seed", [0, 1])
def test_many_channels_without_a_relation_are_not_related_by_chance(seed):
    noise = np.random.default_rng(seed).normal(size=(24, 48, 48))
    assert groups(prepare(noise, "image")) == tuple((c,) for c in range(24))


@pytest.mark.usefixtures("narrow")
def test_values_under_a_mask_do_not_group_channels():
    truth = np.stack([1e4 * cells(1), cells(2)])
    settings = {"iterations": 1, "channel_axis": 0, **FIXED}
    results = []
    for value in (0, 1e5):
        image = np.where(HOLES, value, truth)
        fit = inpaint(image, HOLES, full_output=True, **settings)
        parts = fit.settings["planes"]
        assert [part["analysis"]["channels"] for part in parts] == [(0,), (1,)]
        results.append(fit.image)
    np.testing.assert_array_equal(*results)


def test_the_residual_of_a_large_channel_is_found_strip_by_strip(monkeypatch):
    random = np.random.default_rng(0)
    image, usable = random.normal(size=(2, 50, 40)), random.random((2, 50, 40)) < 0.9
    whole = channels._residual(image, usable)
    monkeypatch.setattr(channels, "STRIP", 40 * 7)
    np.testing.assert_allclose(channels._residual(image, usable), whole, atol=1e-10)


@pytest.mark.slow
def test_related_channels_of_unlike_brightness_help_each_other():
    random = np.random.default_rng(0)
    truth = 1 + 2 * cells(1, 80, 16)
    noisy = np.stack([30 * truth, truth])
    noisy += random.normal(0, 1, noisy.shape) * np.reshape([6, 0.2], (2, 1, 1))
    settings = {"iterations": 8, **FIXED}
    together = denoise(noisy, channel_axis=0, **settings)
    error = np.square(together[1] - truth).mean()
    alone = np.square(denoise(noisy[1], **settings) - truth).mean()
    assert error < 0.85 * alone  # over seeds: 0.57 +- 0.005


def test_a_channel_gets_no_noise_back_for_what_a_clearer_one_has_missed():
    random = np.random.default_rng(0)
    truth = np.stack([cells(1), cells(1)])
    noisy = truth + random.normal(0, 1, truth.shape) * np.reshape(
        [0.2, 0.01], (2, 1, 1)
    )
    plane = prepare(noisy, "image")
    scaled = (truth - plane.offset[:, None, None]) / plane.span[:, None, None]
    # The clear channel shows what the other has, but not the other way round.
    predicted = np.stack([scaled[0], ndimage.gaussian_filter(scaled[1], 3)])
    average = torch.from_numpy(predicted.astype(np.float32))[None]
    noise = NoiseModel.gaussian((np.array([0.2, 0.01]) / plane.span) ** 2)
    result = posterior_mean(plane, noise)(average)[0].numpy()
    errors = np.square(result - scaled).mean(axis=(1, 2)) / noise.variance
    assert errors[0] < 0.05  # with all that the other has missed: 0.1
    assert errors[1] < 1.1


@pytest.mark.usefixtures("narrow")
def test_fine_structure_under_weak_noise_costs_a_noisier_channel_nothing():
    random = np.random.default_rng(101)
    truth = ndimage.gaussian_filter(random.random((64, 64)), 1.2)
    truth = (truth - truth.min()) / np.ptp(truth)
    noise = random.normal(0, 1, (2, 64, 64)) * np.reshape([0.1, 0.01], (2, 1, 1))
    settings = {"iterations": 3, **FIXED}
    both = denoise(truth + noise, channel_axis=0, **settings)
    np.testing.assert_array_equal(both[0], denoise(truth + noise[0], **settings))


def test_every_channel_has_its_own_noise(unlike):
    plane = prepare(unlike, "image")
    levels = plane_model(plane, "auto", None).level(plane.values) ** 0.5 * plane.span
    np.testing.assert_allclose(levels, [800, 12], rtol=0.1)


@pytest.mark.slow
def test_thirty_channels_keep_their_levels():
    random = np.random.default_rng(0)
    brightness = 10 ** random.uniform(0, 3, 30).reshape(-1, 1, 1)
    truth = 1 + cells(1, 20)
    image = brightness * truth * (1 + random.normal(0, 0.03, (30, 20, 20)))
    result = denoise(image, channel_axis=0, iterations=10, **FIXED)
    error = np.square(result / brightness - truth).mean(axis=(1, 2)) ** 0.5
    assert error.max() < 0.2  # over seeds: 0.065 +- 0.002


# -- regions without noise ---------------------------------------------------------


@pytest.fixture
def field():
    """Return a noisy field of cells, sigma 200, and the same without noise."""
    truth = 3000 + 4000 * cells(4, 96, 20)
    return truth + np.random.default_rng(0).normal(0, 200, truth.shape), truth


@pytest.mark.parametrize("value", [0, np.nan, 65535], ids=["zero", "nan", "saturated"])
@pytest.mark.parametrize("width", [16, 32])
def test_borders_take_no_part_in_the_noise(field, value, width, small_fits):
    noisy, _ = field
    framed = np.pad(noisy, width, constant_values=value)
    fit = denoise(framed, full_output=True, iterations=1, **FIXED)
    assert fit.settings["planes"][0]["sigma"] == pytest.approx(200, rel=0.1)


@pytest.mark.slow
def test_a_border_costs_nothing_and_stays_as_it_was(field):
    noisy, truth = (image[:48, :48] for image in field)
    framed = np.pad(noisy, 8)
    settings = {"iterations": 12, **FIXED}
    with_border, without = denoise(framed, **settings), denoise(noisy, **settings)
    outside = np.pad(np.zeros_like(noisy, bool), 8, constant_values=True)
    assert (with_border[outside] == 0).all()
    inside = with_border[8:-8, 8:-8]
    errors = [np.square(a - truth).mean() for a in (inside, without)]
    assert errors[0] < 1.25 * errors[1]  # over seeds: 0.90 +- 0.01


@pytest.fixture(scope="module")
def deconvolved():
    """Return the results that several cases are compared with, by name."""
    return {}


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("region", ["border", "corner", "patch"])
def test_a_region_of_one_value_costs_a_deconvolution_nothing(
    field, region, deconvolved
):
    settings = {"iterations": 12, **FIXED}
    noisy, truth = (part[:72, :72] for part in field)
    image = ndimage.convolve(truth, BLUR / BLUR.sum()) + (noisy - truth) / 4
    masked = np.ones(truth.shape, bool)
    if region == "border":
        masked[8:-8, 8:-8] = False
    else:
        masked[16:] = masked[:, 16:] = False
    if region == "patch":
        masked = np.roll(masked, 24, (0, 1))
    value = {"border": 0, "corner": 65535, "patch": image.max() + 50}[region]
    if "alone" not in deconvolved:
        deconvolved["alone"] = deconvolve(image, BLUR, **settings)
    alone = deconvolved["alone"]
    found = deconvolve(np.where(masked, value, image), BLUR, **settings)
    inside = ndimage.binary_erosion(~masked, iterations=3, border_value=1)
    errors = [np.mean((part - truth)[inside] ** 2) for part in (found, alone)]
    # Fewer patches are similar beside a region; counted as noise it costs 23 dB.
    assert errors[0] < 1.3 * errors[1]
    np.testing.assert_array_equal(found[masked], np.float32(value))


KEEPING = {
    "random": lambda image, **k: inpaint(image, HOLES, **k),
    "hole": lambda image, **k: inpaint(image, BOX, **k),
    "fit": lambda image, **k: inpaint(image, HOLES, keep_known=False, **k),
    "super_resolve": lambda image, **k: super_resolve(image, 2, noisy="no", **k),
    "remove_artifacts": lambda image, **k: remove_artifacts(image, **k),
}
BOX = np.zeros((64, 64), bool)
BOX[2:14, 20:40] = True


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("task", KEEPING)
@pytest.mark.parametrize("region", ["border", "corner"])
def test_the_value_of_a_constant_region_does_not_matter(field, task, region):
    image = field[1][:64, :64]
    masked = np.ones(image.shape, bool)
    if region == "border":
        masked[8:-8, 8:-8] = False
    else:
        masked[20:] = masked[:, 20:] = False
    settings = {"iterations": 3, **FIXED}
    found = []
    for value in (0, 65535):
        result = KEEPING[task](np.where(masked, value, image), **settings)
        finer = len(result) // len(image)
        kept = masked.repeat(finer, 0).repeat(finer, 1)
        # Missing pixels within are filled with it, too, but for some at its edge.
        assert (result[kept] == value).mean() > 0.97
        found.append(result[~kept])
    np.testing.assert_array_equal(*found)


def test_missing_pixels_within_a_constant_region_are_filled():
    random = np.random.default_rng(0)
    image = random.normal(100, 10, (2, 60, 70))
    border = np.ones(image.shape, bool)
    border[:, 10:-10, 10:-10] = False
    image[border] = 7
    missing = random.random(image.shape) < 0.5
    missing[:, 0, 0] = missing[:, 20:30, :20] = missing[:, :10, 30:35] = True
    filled, region = completed(np.where(missing, np.nan, image))
    np.testing.assert_array_equal(region, border)
    assert (filled[border] == 7).all()
    np.testing.assert_array_equal(np.isnan(filled), missing & ~border)


@pytest.mark.parametrize("part", [0.1, 0.5])
def test_equal_values_around_missing_pixels_are_not_taken_for_constant(part):
    random = np.random.default_rng(0)
    missing = random.random((128, 128)) > part
    normal = np.rint(random.normal(20, 1, missing.shape))
    for image in (normal, random.poisson(0.3, missing.shape)):
        _, region = completed(np.where(missing, np.nan, image))
        assert region.mean() < 0.01


@pytest.mark.usefixtures("narrow")
def test_a_saturated_corner_does_not_make_unlike_colours_alike():
    truth = np.stack([100 * cells(1), 100 * cells(2), cells(3)], axis=-1)
    truth[:20, :20] = 65535
    fit = enhance(truth, iterations=1, full_output=True, **FIXED)
    parts = fit.settings["planes"]
    assert [part["analysis"]["channels"] for part in parts] == [(0,), (1,), (2,)]


@pytest.mark.slow
@pytest.mark.usefixtures("narrow", "few_passes")
@pytest.mark.parametrize("task", ["enhance", "super_resolve"])
def test_a_bright_region_of_one_value_takes_no_part_in_the_range(field, task):
    run = {"enhance": enhance, "super_resolve": super_resolve}[task]
    settings = {"iterations": 6, **FIXED}
    image, truth = (part[:56, :56] for part in field)
    bright = image.copy()
    bright[:16, :16] = 65535
    alone, found = run(image, **settings), run(bright, **settings)
    factor = len(found) // len(image)
    difference = (found - alone)[26 * factor :, 26 * factor :]
    assert np.abs(difference).mean() < 0.1 * np.ptp(truth)


def test_constant_regions_are_found():
    random = np.random.default_rng(0)
    image = random.normal(100, 10, (80, 90))
    image[:7] = image[30:35, 40:45] = 0
    image[60:70, 10:30] = 255
    expected = (image == 0) | (image == 255)
    np.testing.assert_array_equal(constant_regions(image), expected)
    image[:7] = np.nan
    assert not constant_regions(image)[:7].any()
    assert constant_regions(np.full((20, 20), 3.0)).all()


def outlines(side, outline):
    """Return where an image that something was taken from is constant."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    from_border = side / 2 - np.maximum(abs(y), abs(x))
    return {
        "frame 1": from_border < 1,
        "frame 3": from_border < 3,
        "frame 4": from_border < 4,
        "two sides": (y < 2 - side / 2) | (x > side / 2 - 4),
        "turned": y + side / 2 < 0.06 * (x + side / 2) + 0.5,
        "round": np.hypot(y, x) > side / 2,
        "corners": np.hypot(y, x) > 0.5 * side + 0.6,
    }[outline]


OUTLINES = ["frame 1", "frame 3", "frame 4", "two sides", "turned", "round", "corners"]


@pytest.mark.parametrize("outline", OUTLINES)
@pytest.mark.parametrize("side", [21, 64])
@pytest.mark.parametrize("value", [0, 255])
def test_thin_borders_and_round_ones_are_found(outline, side, value):
    # Of 8 bits, so that some other pixels have the same value.
    image = np.random.default_rng(0).normal(128, 64, (2, side, side))
    image = np.rint(image).clip(5, 250)
    image[:, ::7, 9] = value
    expected = outlines(side, outline)
    image[:, expected] = value
    region = constant_regions(image)
    assert region[:, expected].all()
    assert (region & ~expected).mean() < 0.01


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("outline", ["frame 1", "frame 4", "round"])
def test_thin_borders_and_round_ones_stay_as_they_were(field, outline):
    noisy, _ = field
    border = outlines(96, outline)
    image = np.where(border, 65535, noisy)
    fit = denoise(image, full_output=True, iterations=1, **FIXED)
    assert (fit.image[border] == 65535).all()
    assert fit.settings["planes"][0]["sigma"] == pytest.approx(200, rel=0.1)


@pytest.mark.parametrize("sigma", [0.5, 2, 10])
def test_flat_places_with_noise_are_not_taken_for_constant(sigma):
    image = 5 * np.round(cells(1, 128, 30) * 40) + 20
    noisy = image + np.random.default_rng(0).normal(0, sigma, image.shape)
    noisy = np.rint(noisy).clip(0, 255)
    assert constant_regions(noisy).mean() < 0.001


@pytest.mark.parametrize("photons", [0.01, 0.05, 0.3, 1, 5])
def test_few_photons_are_not_taken_for_constant(photons):
    counts = np.random.default_rng(0).poisson(photons, (128, 128)).astype(float)
    assert constant_regions(counts).mean() < 0.01


def test_a_clipped_background_is_not_taken_for_constant_but_its_border_is():
    image = np.random.default_rng(0).normal(0, 10, (128, 128)).clip(0)
    image[:16] = 0
    region = constant_regions(image)
    assert region[:16].all()
    assert region[16:].mean() < 0.01


@pytest.mark.parametrize("value", [0, 7, -3.5, 1e6])
def test_a_constant_image_comes_back_to_the_bit(value):
    result = denoise(np.full((20, 20), value), **FIXED)
    assert (result == value).all()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "value",
    [
        np.int32(2**24 + 1),
        np.uint64(2**53 - 1),
        np.int64(-(2**53)),
        np.float64(1e12 + 0.123),
        np.float64(0.1),
        np.float64(1e-200),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "input"])
def test_a_constant_that_float32_cannot_hold_is_exact(task, value, dtype):
    image = np.full((64, 64), value)
    result = TASKS[task](image, dtype=dtype, **FIXED)
    assert (result == value).all()
    assert result.dtype in (np.float32, np.float64, image.dtype)


def test_a_constant_plane_beside_a_varying_one_is_exact():
    stack = 1e12 + np.random.default_rng(0).random((2, 20, 20))
    stack[1] = 1e12 + 0.123
    result = denoise(stack, iterations=1, **FIXED)
    np.testing.assert_array_equal(result[1], stack[1])


def test_noise_does_not_hide_that_channels_are_related():
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.8, (2, 192, 192))
    one, other = cells(1, 192, 64), cells(2, 192, 64)
    assert groups(prepare(np.stack([one, 1 - one]) + noise, "image")) == ((0, 1),)
    assert groups(prepare(np.stack([one, other]) + noise, "image")) == ((0,), (1,))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("dead", ["zero", "saturated"])
def test_a_constant_channel_costs_another_nothing(dead):
    truth = skimage.data.camera()[128:176, 200:248].astype(np.float32)
    noisy = truth + 8 * np.random.default_rng(0).normal(size=truth.shape)
    shown = {
        "zero": np.zeros_like(truth),
        "saturated": np.where(np.arange(48) < 40, 255, truth),
    }[dead]
    both = np.stack([noisy, shown])
    alone = denoise(noisy, iterations=4, **FIXED)
    together = denoise(both, channel_axis=0, iterations=4, **FIXED)
    assert np.array_equal(together[0], alone)
