"""Noise estimates on noise that is known."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import norm

from napari_dip.tasks import patches
from napari_dip.tasks.noise import (
    NoiseModel,
    excess_warnings,
    gaussian_variance,
    plane_model,
)
from napari_dip.tasks.noise_correlation import (
    CORRELATED,
    channel_correlations,
    correlation,
)
from napari_dip.tasks.patches import MAD_TO_SIGMA
from napari_dip.tasks.plane import Plane, prepare
from napari_dip.tasks.signal_dependence import signal_dependence


@pytest.fixture
def clean():
    """Return a smooth image with edges, (1, 160, 160), in [0.1, 0.9]."""
    y, x = np.mgrid[0:160, 0:160] / 160
    image = 0.5 + 0.25 * np.sin(5 * y) * np.cos(4 * x)
    image[40:100, 60:130] += 0.15
    return image[None]


def single(values):
    return values.astype(np.float32)


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.3])
def test_gaussian_variance_is_within_five_percent(clean, random, sigma):
    noisy = single(clean + random.normal(0, sigma, clean.shape))
    assert gaussian_variance(noisy) == pytest.approx(sigma**2, rel=0.05)


def test_gaussian_variance_of_colours_and_volumes(clean, random):
    for repeats in ((3, 1, 1), (1, 4, 1, 1)):
        many = np.tile(clean if len(repeats) == 3 else clean[:, None], repeats)
        noisy = single(many + random.normal(0, 0.1, many.shape))
        assert gaussian_variance(noisy) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16), (16, 32, 32)], ids=str)
def test_gaussian_variance_of_few_pixels_is_no_accident(random, shape):
    noisy = single(random.normal(0.5, 0.1, shape))
    assert 0.002 < gaussian_variance(noisy) < 0.02


def test_gaussian_variance_of_a_constant_is_nothing():
    assert gaussian_variance(np.full((1, 32, 32), 0.5, np.float32)) < 1e-12


@pytest.mark.parametrize("gain", [0.005, 0.02])
def test_poisson_gaussian_noise_is_recognised(clean, random, gain):
    counted = random.poisson(clean / gain) * gain
    noisy = single(counted + random.normal(0, 0.01, clean.shape))
    found = signal_dependence(noisy)
    assert found is not None
    assert found[0] == pytest.approx(gain, rel=0.2)
    assert abs(found[1] - 1e-4) < 0.15 * gain


@pytest.mark.parametrize("seed", range(4))
def test_gaussian_noise_is_not_taken_for_more(clean, seed):
    noise = np.random.default_rng(seed).normal(0, 0.08, clean.shape)
    assert signal_dependence(single(clean + noise)) is None


@pytest.mark.parametrize("seed", range(3))
def test_photon_noise_is_recognised_where_bright_pixels_are_clipped(clean, seed):
    gain = 0.04
    counts = np.random.default_rng(seed).poisson(1.3 * (clean - 0.1) / gain)
    noisy = np.minimum(gain * counts, 1)
    assert 0.02 < np.mean(noisy == 1) < 0.05
    gain_seen, _ = signal_dependence(single(noisy))
    assert gain_seen == pytest.approx(gain, rel=0.2)


@pytest.mark.parametrize("seed", range(4))
def test_clipped_gaussian_noise_is_not_taken_for_more(clean, seed):
    noise = np.random.default_rng(seed).normal(0, 0.25, clean.shape)
    assert signal_dependence(single(np.clip(clean + noise, 0, 1))) is None


def test_constants_and_few_pixels_have_no_dependence(random):
    assert signal_dependence(np.full((1, 64, 64), 0.3, np.float32)) is None
    assert signal_dependence(single(random.poisson(5, (1, 16, 16)))) is None


@pytest.mark.parametrize("shape", [(160, 160), (32, 32)], ids=str)
def test_white_noise_has_no_correlation(clean, random, shape):
    noisy = clean[:, : shape[0], : shape[1]] + random.normal(0, 0.1, (1, *shape))
    assert abs(correlation(single(noisy))) < CORRELATED


def test_blurred_noise_has_correlation(clean, random):
    noise = ndimage.gaussian_filter(random.normal(0, 1, clean.shape), (0, 1, 1))
    noise *= 0.1 / noise.std()
    assert correlation(single(clean + noise)) > 0.3


def test_correlation_bears_constants_and_saturation(clean, random):
    assert correlation(np.full((1, 32, 32), 1, np.float32)) == 0
    noisy = clean + random.normal(0, 0.1, clean.shape)
    noisy[:, :64] = 1
    assert abs(correlation(single(noisy))) < CORRELATED


def test_noise_shared_between_channels_is_seen(clean, random):
    colours = np.repeat(clean, 3, axis=0)
    apart = random.normal(0, 0.1, colours.shape)
    shared = np.repeat(random.normal(0, 0.1, clean.shape), 3, axis=0)
    apart, shared = (channel_correlations(single(colours + n)) for n in (apart, shared))
    others = ~np.eye(3, dtype=bool)
    assert np.abs(apart[others]).max() < 0.1
    assert shared[others].min() > 0.8
    assert channel_correlations(single(clean)) == np.ones((1, 1))


def test_level_is_the_mean_variance():
    values = np.array([[[0.1, 0.5]]], np.float32)
    assert NoiseModel.gaussian(0.04).level(values) == pytest.approx([0.04])
    grown = NoiseModel((0.01,), (0.1,), (0.1,))
    assert grown.level(values) == pytest.approx([0.01 + 0.1 * 0.2])
    assert (NoiseModel.gaussian(0.04).kind, grown.kind) == (
        "gaussian",
        "poisson-gaussian",
    )


def plane_of(values):
    """Return values, all of them known and noisy, as a plane without another scale."""
    nothing = np.zeros(values.shape, bool)
    return Plane(
        values, values, np.ones(values.shape[1:]), nothing, np.zeros(1), np.ones(1)
    )


def test_model_follows_what_it_is_told(clean, random):
    gaussian = single(clean + random.normal(0, 0.1, clean.shape))
    counted = single(random.poisson(clean / 0.02) * 0.02)
    assert plane_model(plane_of(gaussian), "auto", None).kind == "gaussian"
    assert plane_model(plane_of(gaussian), "auto", None).variance == pytest.approx(
        (0.01,), rel=0.05
    )
    assert plane_model(plane_of(counted), "auto", None).kind == "poisson-gaussian"
    assert plane_model(plane_of(counted), "gaussian", None).kind == "gaussian"
    given = plane_model(plane_of(counted), "auto", 0.3)
    assert (given.kind, given.variance) == ("gaussian", pytest.approx((0.09,)))


def test_the_spread_of_an_image_is_measured_once(clean, monkeypatch):
    measured = []
    noisy = Plane.noisy.fget
    watched = property(lambda plane: measured.append(plane) or noisy(plane))
    monkeypatch.setattr(Plane, "noisy", watched)
    plane = plane_of(single(clean))
    sigma = 9 * float(clean.std())
    before = len(measured)
    plane_model(plane, "auto", sigma)
    looked = len(measured) - before
    assert "sigma is" in excess_warnings(plane, sigma)[0]
    assert len(measured) == before + looked


def test_model_of_poisson_noise_gives_its_variance(clean, random):
    counted = single(random.poisson(clean / 0.02) * 0.02)
    found = plane_model(plane_of(counted), "auto", None)
    signal = np.array([0.3, 0.5, 0.8])
    variance = found.gain[0] * (signal - found.offset[0]) + found.variance[0]
    np.testing.assert_allclose(variance, 0.02 * signal, rtol=0.15)
    assert found.level(counted)[0] == pytest.approx(0.02 * counted.mean(), rel=0.15)


def test_model_of_a_constant_has_some_variance():
    flat = np.full((1, 32, 32), 0.5, np.float32)
    assert plane_model(plane_of(flat), "auto", None).variance[0] > 0
    assert plane_model(plane_of(flat), "gaussian", 0.0).variance[0] > 0


def test_analysing_a_large_image_takes_little_memory():
    image = np.random.default_rng(0).random((2, 1000, 1000), np.float32)
    plane = prepare(image, "image")
    tracemalloc.start()
    gaussian_variance(plane.values)
    channel_correlations(plane.values)
    plane_model(plane, "auto", None)
    correlation(plane.values, plane.noisy)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A copy of every patch would be 0.8 GB.
    assert peak < 300e6


def test_texture_in_some_planes_does_not_count_as_noise():
    random = np.random.default_rng(0)
    planes = random.normal(0.5, 0.05, (12, 96, 96))
    # Texture as fine as noise in two thirds of the planes.
    planes[4:] += random.normal(0, 0.2, (8, 96, 96))
    values = planes[None].astype(np.float32)
    model = plane_model(prepare(values, "image"), "auto", None)
    assert model.kind == "gaussian"
    span = prepare(values, "image").span[0]
    assert np.sqrt(model.variance[0]) * span == pytest.approx(0.05, rel=0.1)


@pytest.fixture
def volume(random):
    """Return a volume of noise of standard deviation 10, its first planes all 0."""
    planes = random.normal(100, 10, (10, 96, 96))
    planes[:3] = 0
    return planes


def model_of(planes):
    """Return the noise model of a volume, and its deviation in the volume's units."""
    plane = prepare(single(planes[None]), "image")
    model = plane_model(plane, "auto", None)
    level = model.level(plane.values, plane.noisy)[0]
    return model, float(level**0.5 * plane.span[0])


@pytest.mark.parametrize("spot", [0, 12])
def test_planes_that_are_mostly_constant_do_not_hide_the_noise(volume, spot, random):
    volume[:3, :spot, :spot] = random.normal(100, 10, (3, spot, spot))
    assert model_of(volume)[1] == pytest.approx(10, rel=0.1)
    # Few planes are measured together.
    assert model_of(volume[:7])[1] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("first", [0, np.nan, 100])
def test_noise_of_planes_with_many_pixels_is_not_that_of_the_first(
    volume, first, random, monkeypatch
):
    monkeypatch.setattr(patches, "ENOUGH_PIXELS", 90**2)
    volume = volume[2:7]
    volume[0] = first + random.normal(0, 1, (96, 96)) * (first == 100)
    assert model_of(volume)[1] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("value", [0, np.nan])
def test_growing_noise_is_seen_beside_a_plane_without_noise(value, random):
    counts = random.poisson(np.linspace(1, 200, 96)[:, None] * np.ones((6, 1, 96)))
    assert model_of(counts)[0].kind == "poisson-gaussian"
    counts = counts.astype(float)
    counts[0] = value
    assert model_of(counts)[0].kind == "poisson-gaussian"


def test_the_median_deviation_tells_that_of_normal_values():
    assert 1 / norm.ppf(0.75) == pytest.approx(MAD_TO_SIGMA, rel=1e-4)
