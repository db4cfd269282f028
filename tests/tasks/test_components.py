"""Channels that share their noise, and those that only seem to."""

import json

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_dip.errors import InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.components import (
    _of_sum,
    by_component,
    component_noise,
    components_of,
    mixing,
    of_strongest,
)
from napari_dip.tasks.denoise import TASK
from napari_dip.tasks.finishing import Finish
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.noise_correlation import SHARED, channel_correlations
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.similar_patches import collaborative
from tests.tasks.conftest import plan_of

plan = plan_of(TASK)


def stripes(*gains):
    """Return a pattern, (96, 96, C), in [0, 255]."""
    y, x = np.mgrid[0:96, 0:96]
    pattern = 128 + 60 * np.sin(x * 0.9 + y / 3) * (y > 30)
    return np.stack([pattern * gain for gain in gains], -1)


def restored(made, truth):
    """Return what the steps after a fit make of a blurred pattern, in its units."""
    plane = made.plane
    scaled = (np.moveaxis(truth, -1, 0) - plane.offset[:, None, None]) / plane.span[
        :, None, None
    ]
    blurred = 0.8 * scaled + 0.2 * scaled.mean(axis=(1, 2), keepdims=True)
    average = torch.from_numpy(blurred)[None].float()
    return np.moveaxis(made.to_units(made.finish(average)[0].numpy()), 0, -1)


@pytest.mark.slow
def test_a_gray_image_in_three_channels_is_restored_as_one_in_one(plan, random):
    truth = stripes(1)
    noisy = truth + random.normal(0, 20, truth.shape)
    one = np.square(restored(plan(noisy[..., 0]), truth) - truth).mean()
    made = plan(np.repeat(noisy, 3, axis=-1))
    assert made.analysis.shared
    three = restored(made, stripes(1, 1, 1))
    assert np.abs(np.ptp(three, axis=-1)).max() < 0.5
    assert np.square(three - truth).mean() < 1.2 * one < 40


@pytest.mark.slow
def test_gray_noise_is_taken_from_colours(plan, random):
    truth = stripes(1, 0.7, 0.4)
    noise = random.normal(0, 20, (96, 96, 1))
    made = plan(truth + noise)
    assert made.details["shared by channels"]
    assert made.deviation is None
    image = restored(made, truth)
    assert np.square(image - truth).mean() < 60  # of 400
    # Differences of channels have no noise.
    away = np.diff(image, axis=-1) - np.diff(truth, axis=-1)
    assert np.square(away).mean() < 2


def test_photon_noise_of_a_gray_image_in_three_channels(plan, random):
    truth = stripes(1) * np.linspace(0.05, 1, 96)[:, None]
    noisy = random.poisson(truth / 4) * 4.0
    made = plan(np.repeat(noisy, 3, axis=-1))
    assert made.details["noise"] == "poisson-gaussian"
    image = restored(made, np.repeat(truth, 3, axis=-1))
    assert np.square(image - truth).mean() < np.square(noisy - truth).mean() / 8
    assert image.mean() == pytest.approx(noisy.mean(), rel=1e-3)


def test_weak_noise_on_gray_texture_is_as_strong_in_all_components(random):
    texture = 40 * ndimage.gaussian_filter(random.normal(0, 1, (128, 128)), 0.6)
    texture[:, :32] = 0
    image = 100 + texture + random.normal(0, 2, (3, 128, 128))
    plane = prepare(image, "image")
    between = channel_correlations(plane.values)
    assert between[0, 1] > SHARED  # of the texture
    for sigma in (None, 2.0):
        noise = component_noise(
            plane, mixing(between, (2 / plane.span) ** 2), "auto", sigma
        )
        assert min(noise.variance) == pytest.approx(1, abs=0.3)
        assert max(noise.variance) < 3  # of 100, if the texture counted


def test_hot_pixels_do_not_count_as_noise_of_components(random):
    image = 100 + np.repeat(random.normal(0, 2, (1, 64, 64)), 3, axis=0)
    image[1, 20, 20] = 60_000
    plane = prepare(image, "image")
    between = channel_correlations(plane.values, ~plane.peaks.any(axis=0))
    matrix = mixing(between, (2 / plane.span) ** 2)
    noise = component_noise(plane, matrix, "auto", None)
    assert max(noise.variance) == pytest.approx(3, rel=0.2)
    assert components_of(plane, matrix).beyond is None


def test_components_survive_json(plan, random):
    noise = random.normal(0, 15, (96, 96, 1))
    analysis = plan(stripes(1, 0.7, 0.4) + noise).analysis
    assert analysis.shared
    again = Analysis.from_dict(json.loads(json.dumps(analysis.to_dict())))
    assert again == analysis


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.1, 2.8], [0.1, 0.1, 2.8]),
        ([0, 0, 2], [0, 0, 3]),
        ([1, 1, 10], [1, 1, 1]),
        ([10, 0.5, 4], [1.25, 0.5, 1.25]),
    ],
)
def test_a_known_level_leaves_less_to_the_noisiest_components(values, expected):
    assert _of_sum(np.array(values, float), 3) == pytest.approx(np.array(expected))


@pytest.mark.parametrize(
    "facts",
    [
        {"mixing": (1.0, 1.0, 1.0, 1.0)},
        {"mixing": (1.0, 0.0, 0.0)},
        {"mixing": (1.0, 0.0, 0.0, 1.0)},
        {"mixing": True},
        {"components": 3},
        {"components": NoiseModel((0.0, 1.0), (0.0, 0.0), (0.0, 0.0))},
    ],
)
def test_impossible_components_are_refused(facts):
    values = Analysis.unknown(2).to_dict()
    good = {"mixing": (1.0, 0.0, 0.0, 1.0), "components": values["noise"]}
    Analysis.from_dict({**values, **good})
    if "mixing" in facts and facts["mixing"] == good["mixing"]:
        good = {}  # the matrix alone
    if isinstance(facts.get("components"), NoiseModel):
        facts = {"components": vars(facts["components"])}
    with pytest.raises(InputError, match="analysis: "):
        Analysis.from_dict({**values, **good, **facts})


def twelve_channels(random):
    """Return twelve channels of two patterns, (12, 64, 64), and their noise."""
    y, x = np.mgrid[:64, :64]
    patterns = [np.sin(x / 4) * np.cos(y / 5), (x - 32) ** 2 + (y - 32) ** 2 < 300]
    gains = random.uniform(0.2, 1, (12, 2))
    truth = np.tensordot(gains, patterns, 1)
    return truth, np.linspace(0.05, 0.4, 12)[:, None, None] * np.ptp(truth)


@pytest.mark.slow
def test_many_channels_keep_less_noise_component_by_component(random):
    truth, sigma = twelve_channels(random)
    plane = prepare(truth + sigma * random.normal(size=truth.shape), "image")
    unit = plane.span[:, None, None]
    noise = NoiseModel.gaussian(np.square(sigma / unit).ravel())
    pilot = ndimage.gaussian_filter(truth, (0, 1, 1)) + 0.1 * sigma
    pilot = (pilot - plane.offset[:, None, None]) / unit
    average = torch.from_numpy(pilot.astype(np.float32))[None]

    def errors(step):
        result = plane.to_units(step(average)[0].numpy())
        return np.square(result - truth).mean(axis=(1, 2))

    def make(plane, noise):
        return collaborative(plane, noise, Finish(rounds=3))

    together = errors(make(plane, noise))
    apart = errors(by_component(plane, noise, make))
    assert apart.sum() < 0.8 * together.sum()
    # The noisier half has the most to gain.
    assert apart[6:].sum() < 0.65 * together[6:].sum()


@pytest.mark.parametrize("channels", [1, 3])
def test_few_channels_of_like_noise_are_filtered_together(random, channels):
    image = random.normal(size=(channels, 64, 64))
    plane, made = prepare(image, "image"), []
    noise = NoiseModel.gaussian(np.full(channels, 0.01))
    by_component(plane, noise, lambda plane, _: made.append(len(plane.values)))
    assert made == [channels]


def test_photon_noise_is_no_matter_of_components(random):
    plane, made = prepare(random.normal(size=(5, 64, 64)), "image"), []
    noise = NoiseModel((0.01,) * 5, (0.1,) * 5, (0.0,) * 5)
    by_component(plane, noise, lambda plane, _: made.append(len(plane.values)))
    assert made == [5]


def test_a_step_gets_three_components_that_vary_at_a_time(random):
    truth, _ = twelve_channels(random)
    plane, counts = prepare(truth, "image"), []

    def step(image):
        counts.append(image.shape[1])
        return image

    image = torch.from_numpy(plane.values)[None]
    same = of_strongest(plane, step)(image)
    torch.testing.assert_close(same, image, atol=1e-5, rtol=0)
    assert counts == [2]
    few = plane.of_channels(range(3))
    assert of_strongest(few, step) is step
