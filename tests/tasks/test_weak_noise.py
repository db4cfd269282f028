"""Texture under weak noise is no noise, neither in its level nor in its kind."""

import numpy as np
import pytest
import skimage.data
from scipy import ndimage

from napari_dip import denoise
from napari_dip.tasks.denoise import DenoiseRecipe, analyse
from napari_dip.tasks.noise_correlation import FALLING, channel_spectra, falling
from napari_dip.tasks.noise_level import gaussian_variance, patch_variance
from napari_dip.tasks.patches import block_spectra
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.signal_dependence import signal_dependence
from napari_dip.tasks.tiles import Block

CROPS = {
    "coins": (slice(95, 207), slice(136, 248)),
    "camera": (slice(200, 312), slice(200, 312)),
    "brick": (slice(200, 312), slice(200, 312)),
}
GRAVEL = (slice(200, 312), slice(200, 312))


def photo(name):
    return getattr(skimage.data, name)()[CROPS[name]].astype(np.float64)


def noisy(name, sigma, blur=0.0):
    clean = photo(name)
    noise = ndimage.gaussian_filter(
        np.random.default_rng(3).normal(0, 1, clean.shape), blur
    )
    return (clean + sigma / noise.std() * noise).astype(np.float32)


def correlated(image, **parameters):
    plane = prepare(image[None], "image")
    block = Block(0, (), (0,), (0, 0), image.shape, ())
    return analyse(DenoiseRecipe(**parameters), plane, block).correlated


@pytest.mark.parametrize("name", CROPS)
@pytest.mark.parametrize("sigma", [1, 2, 4, 8, 25])
def test_level_of_noise_on_texture_is_not_that_of_the_texture(name, sigma):
    values = noisy(name, sigma)[None]
    # Photographs have some noise of their own.
    assert sigma * 0.9 < gaussian_variance(values) ** 0.5 < sigma * 1.12 + 0.9


@pytest.mark.parametrize("part", [0.1, 0.3])
def test_level_is_not_that_of_a_quieter_part(part):
    values = noisy("camera", 10)[None]
    quiet = np.s_[..., : int(part * values.shape[-1])]
    values[quiet] = noisy("camera", 1)[None][quiet]
    assert 8 < gaussian_variance(values) ** 0.5 < 12


def test_level_is_that_of_known_pixels():
    values = noisy("coins", 2)[None]
    mask = np.ones(values.shape[1:], bool)
    mask[30:50] = False
    clean = gaussian_variance(values, mask)
    values[:, ~mask] += np.random.default_rng(0).normal(0, 90, values[:, ~mask].shape)
    assert gaussian_variance(values, mask) == clean


@pytest.mark.parametrize("name", CROPS)
@pytest.mark.parametrize("sigma", [1, 2, 4])
def test_texture_under_weak_noise_is_not_correlated_noise(name, sigma):
    assert not correlated(noisy(name, sigma))


@pytest.mark.parametrize("top", [0, 176, 352])
@pytest.mark.parametrize("sigma", [4, 5])
def test_texture_without_any_flat_place_is_not_correlated_noise(top, sigma):
    # Its power falls towards the finest detail, by less than that of shared noise.
    noise = np.random.default_rng(3).normal(0, sigma, (160, 160))
    image = skimage.data.gravel()[top : top + 160, top : top + 160] + noise
    assert not correlated(image.astype(np.float32))
    blurred = ndimage.gaussian_filter(image, 0.8)
    assert correlated(blurred.astype(np.float32))


@pytest.mark.parametrize("sigma", [2, 3])
def test_bright_texture_is_no_photon_noise(sigma):
    # The upper half is dark and flat, the lower one bright bricks.
    dark = np.full((80, 160), 40.0)
    bright = 150 + 0.7 * skimage.data.gravel()[:80, :160]
    image = np.concatenate([dark, bright])
    random = np.random.default_rng(3)
    noisy = (image + random.normal(0, sigma, image.shape))[None]
    assert signal_dependence(noisy.astype(np.float32)) is None
    photons = random.poisson(image / sigma)[None] * sigma
    gain, _ = signal_dependence(photons.astype(np.float32))
    assert 0.7 * sigma < gain < 1.8 * sigma


@pytest.mark.parametrize(("side", "least"), [(48, 4), (96, 6)])
def test_few_bright_blocks_are_enough_for_photon_noise(side, least):
    """As of few fluorescent spots on a dark background."""
    seen = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        spots = np.zeros((side, side))
        spots[tuple(random.integers(0, side, (2, 6 * (side // 48) ** 2)))] = 4000
        photons = random.poisson(5 + ndimage.gaussian_filter(spots, 2.5))
        seen.append(signal_dependence(photons[None].astype(np.float32)) is not None)
    assert sum(seen) >= least


@pytest.mark.parametrize("name", CROPS)
def test_noise_of_neighbours_falls_off(name):
    image = noisy(name, 12, blur=0.8)
    assert correlated(image)
    spectra = channel_spectra(image[None])
    white = channel_spectra(noisy(name, 12)[None])
    assert falling(spectra) > FALLING > falling(white)


@pytest.mark.parametrize("sigma", [2, 4, 12])
def test_the_level_of_the_noise_tells_texture_that_is_as_even_as_noise(sigma):
    image = skimage.data.gravel()[GRAVEL] + np.random.default_rng(3).normal(
        0, sigma, (112, 112)
    )
    assert not correlated(image.astype(np.float32), sigma=sigma)


def test_noise_of_neighbours_is_seen_where_its_level_is_known():
    assert correlated(noisy("camera", 12, blur=0.8), sigma=12)


def test_of_too_few_blocks_nothing_is_concluded():
    few = np.random.default_rng(0).normal(0, 1, (1, 24, 24))
    assert not len(block_spectra(few, None))
    assert falling(channel_spectra(few)) == np.inf
    assert gaussian_variance(few) == patch_variance(few)


@pytest.mark.slow
def test_no_detail_is_lost_under_weak_noise():
    part = np.s_[20:84, 20:84]
    clean, image = photo("coins")[part], noisy("coins", 4)[part]
    result = denoise(image, seed=0, iterations=30)
    assert np.mean((result - clean) ** 2) < 0.8 * np.mean((image - clean) ** 2)
