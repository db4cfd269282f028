"""Noise that falls as the signal grows is made even before the fit."""

import dataclasses

import numpy as np
import pytest
from skimage import data

import napari_dip
from napari_dip import InputError, denoise
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.denoise import DenoiseRecipe, analyse
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.stretch import KNOTS, Stretch
from napari_dip.tasks.tiles import Block


def corrected(image):
    """Return an image of values from 0 to 1 after a correction of gamma, 0 to 255."""
    return (255 * np.clip(image, 0, 1) ** (1 / 2.2)).astype(np.float32)


def analysis_of(channels, **parameters):
    plane = prepare(channels.astype(np.float32), "image")
    block = Block(0, (), range(len(channels)), (0, 0), channels.shape[1:], ())
    return analyse(DenoiseRecipe(**parameters), plane, block)


@pytest.fixture
def scene():
    return data.camera()[120:216, 190:286] / 255


def test_a_stretch_has_an_inverse_and_its_slope(random):
    stretch = Stretch.of(random.uniform(0.1, 1, (2, KNOTS)))
    image = random.uniform(-0.5, 1.5, (2, 50))
    there = stretch.stretch(image)
    np.testing.assert_allclose(stretch.back(there), image, atol=1e-5)
    ends = np.array([[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(stretch.stretch(ends), ends, atol=1e-6)
    slope = (stretch.back(there + 1e-3) - stretch.back(there - 1e-3)) / 2e-3
    np.testing.assert_allclose(stretch.growth(there), slope, rtol=0.1)


def test_stretched_noise_is_even(random):
    levels = np.linspace(1, 0.1, KNOTS)
    image = np.linspace(0, 1, 100_000)[None]
    spread = 0.01 * np.interp(image, np.linspace(0, 1, KNOTS), levels)
    stretch = Stretch.of(levels[None])
    noisy = stretch.stretch(image + spread * random.normal(0, 1, image.shape))
    noise = (noisy - stretch.stretch(image)).reshape(10, -1).std(axis=1)
    np.testing.assert_allclose(noise, noise.mean(), rtol=0.05)


@pytest.mark.parametrize("whole", [data.camera, data.coins])
@pytest.mark.parametrize("sigma", [0.03, 0.06])
def test_noise_before_a_correction_of_gamma_is_found(whole, sigma):
    truth = whole()[100:260, 120:280] / 255
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0, sigma, truth.shape)
        spreads = analysis_of(corrected(truth + noise)[None]).spreads
        assert len(spreads) == KNOTS
        assert spreads[0] == 1 > 0.6 > spreads[-1] > 0
        assert not analysis_of((truth + noise)[None]).spreads


def test_photon_noise_is_not_taken_for_it(scene, random):
    assert not analysis_of(random.poisson(100 * scene)[None]).spreads


def test_what_the_user_says_of_the_noise_counts(scene, random):
    noisy = corrected(scene + random.normal(0, 0.05, scene.shape))[None]
    assert analysis_of(noisy).spreads
    assert not analysis_of(noisy, sigma=10).spreads
    assert not analysis_of(noisy, noise="gaussian").spreads
    assert not analysis_of(noisy, preset="paper").spreads


@pytest.mark.slow
def test_it_is_removed(scene, random):
    truth = corrected(scene)
    noisy = corrected(scene + random.normal(0, 0.05, scene.shape))
    fit = denoise(noisy, iterations=30, seed=0, full_output=True)

    def error(image, where):
        return np.sqrt(np.mean((image - truth)[where] ** 2))

    dark = truth < np.quantile(truth, 0.2)
    # Three seeds: 0.47 to 0.51 and 0.49 to 0.51; before, 0.84 to 0.88 and 0.57 to 0.60.
    assert error(fit.image, dark) < 0.65 * error(noisy, dark)
    assert error(fit.image, ~dark) < 0.54 * error(noisy, ~dark)
    # Levels and uncertainty are in the units of the image.
    assert fit.settings["planes"][0]["sigma"] == pytest.approx(error(noisy, ...), 0.25)
    within = np.abs(fit.image - truth) < fit.uncertainty
    assert within[dark].mean() > 0.6  # 0.72; before, 0.41 to 0.46


def test_only_channels_that_have_it_are_stretched(scene, random):
    noise = random.normal(0, 0.05, (2, *scene.shape))
    channels = np.stack([corrected(scene + noise[0]), 255 * (scene + noise[1])])
    spreads = np.reshape(analysis_of(channels).spreads, (2, KNOTS))
    assert spreads[0].min() < 0.6
    assert (spreads[1] == 1).all()


def test_an_analysis_can_be_given(small_fits, scene, random):
    noisy = corrected(scene + random.normal(0, 0.05, scene.shape))
    fits = {"iterations": 4, "seed": 0, "precision": "float32", "full_output": True}
    first = denoise(noisy, **fits)
    kept = first.settings["planes"][0]["analysis"]
    again = denoise(noisy, analysis=kept, **fits)
    np.testing.assert_array_equal(again.image, first.image)
    assert Analysis.from_dict(kept).to_dict() == kept


@pytest.mark.parametrize("spreads", [(1.0,) * 5, (1.0,) * 16 + (0.0,)])
def test_wrong_spreads_are_named(spreads):
    known = dataclasses.replace(Analysis.unknown(1), spreads=spreads)
    with pytest.raises(
        InputError, match=r"spreads must be 17 numbers from 0\.033 to 1"
    ):
        Analysis.from_dict(known.to_dict())


@pytest.mark.slow
def test_planes_that_share_a_network_are_stretched_alike(small_fits, random):
    truth = np.stack([data.camera()[y : y + 64, 200:264] for y in range(60, 188, 8)])
    noisy = corrected(truth / 255 + random.normal(0, 0.05, truth.shape))
    fit = napari_dip.denoise(
        noisy, share="yes", iterations=6, seed=0, full_output=True, device="cpu"
    )
    assert all(plane["analysis"]["spreads"] for plane in fit.settings["planes"])
    assert fit.image.min() > 0.5 * corrected(truth / 255).min()
    assert fit.image.max() < 1.2 * noisy.max()
