"""Texture that colours share is not taken for noise."""

import importlib

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from napari_dip.tasks.denoise import DenoiseRecipe
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.tiles import Block

denoise = importlib.import_module("napari_dip.tasks.denoise")


@pytest.fixture(scope="module")
def fur():
    """Return a photograph of a cat's fur, (3, 160, 160), full of texture."""
    return np.moveaxis(data.chelsea()[20:180, 60:220].astype(float), -1, 0)


def analysed(image, **parameters):
    """Return the analysis of an image, and its noise in the units of the image."""
    plane = prepare(image.astype(np.float32), "image")
    block = Block.whole(0, (), (0, 1, 2), image.shape[1:])
    found = denoise.analyse(DenoiseRecipe(**parameters), plane, block)
    levels = found.noise.level(plane.values, plane.noisy)
    return found, np.sqrt(levels) * plane.span


@pytest.mark.parametrize("sigma", [2, 4])
def test_weak_noise_is_told_from_texture_of_all_colours(fur, random, sigma):
    found, deviation = analysed(fur + random.normal(0, sigma, fur.shape))
    assert deviation == pytest.approx(sigma, rel=0.1)
    assert found.noise.kind == "gaussian"
    assert not found.shared
    assert not found.correlated


def test_a_known_level_stays(fur, random):
    found, deviation = analysed(fur + random.normal(0, 2, fur.shape), sigma=3)
    assert deviation == pytest.approx(3)
    assert not found.shared


def test_a_known_level_tells_noise_that_all_share_from_texture(random):
    """Channels that share all of it look like texture: their differences are white."""
    cup = np.moveaxis(data.coffee()[100:228, 200:328].astype(float), -1, 0)
    noise = ndimage.gaussian_filter(random.normal(0, 1, cup.shape[1:]), 0.7)
    noisy = (cup + 10 * noise / noise.std()).round().clip(0, 255)
    found, _ = analysed(noisy, sigma=10)
    assert found.correlated
    found, _ = analysed(cup + random.normal(0, 10, cup.shape), sigma=10)
    assert not found.correlated


def test_texture_does_not_make_photon_noise_stronger(fur, random):
    noisy = random.poisson(fur * 8) / 8
    found, deviation = analysed(noisy)
    assert found.noise.kind == "poisson-gaussian"
    assert (deviation**2).mean() == pytest.approx(fur.mean() / 8, rel=0.15)


def test_texture_brighter_than_the_rest_is_no_photon_noise(random):
    y, _ = np.mgrid[0:160, 0:160]
    texture = ndimage.gaussian_filter(random.normal(0, 1, (160, 160)), 0.6)
    truth = 40 + y + 0.15 * y * texture
    noisy = truth + random.normal(0, 2, (3, 160, 160))
    found, deviation = analysed(noisy)
    assert found.noise.kind == "gaussian"
    assert deviation == pytest.approx(2, rel=0.1)
    asked, _ = analysed(noisy, noise="poisson-gaussian")
    assert asked.noise.kind == "poisson-gaussian"


def test_noise_that_neighbours_share_stays_so(fur, random):
    noise = ndimage.gaussian_filter(random.normal(0, 1, fur.shape), (0, 0.8, 0.8))
    found, _ = analysed(fur + 4 * noise / noise.std())
    assert found.correlated


def test_gray_noise_on_colours_stays_so(random):
    y, x = np.mgrid[0:160, 0:160]
    truth = 100 + 40 * np.sin(x / 9)[None] * np.array([1, 0.7, 0.3])[:, None, None] + y
    found, _ = analysed(truth + random.normal(0, 5, (1, 160, 160)))
    assert found.shared
