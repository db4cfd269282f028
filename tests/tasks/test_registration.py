"""How far a guide is displaced against the noisy image."""

import numpy as np
import pytest
import scipy.ndimage
import skimage.data

from napari_dip import denoise_guided
from napari_dip.tasks.registration import displacement, moved


@pytest.fixture
def scene():
    """Return (128, 128) of a photograph."""
    return skimage.data.camera()[60:188, 160:288].astype(np.float32)


def shifted(image, *by):
    return scipy.ndimage.shift(image, by, mode="nearest")


@pytest.mark.parametrize("by", [(1.5, 1), (-5.3, 4), (0.5, -0.4)])
@pytest.mark.parametrize("sigma", [0, 40])
def test_a_displacement_is_found_in_another_light(scene, random, by, sigma):
    guide = np.sqrt(300 - shifted(scene, *by))
    noisy = scene + random.normal(0, sigma, scene.shape).astype(np.float32)
    found = displacement(noisy[None], np.stack([guide, guide / 2]))
    np.testing.assert_allclose(found, by, atol=0.3)
    back = moved(guide[None], -found)[0]
    inside = (slice(8, -8),) * 2
    before, after = (
        np.square(g - np.sqrt(300 - scene))[inside].mean() for g in (guide, back)
    )
    assert after < 0.5 * before


def test_in_volumes_too(random):
    volume = scipy.ndimage.gaussian_filter(random.normal(size=(32, 48, 48)), 1.5)
    found = displacement(volume[None], shifted(volume, 1, -2, 1.5)[None])
    np.testing.assert_allclose(found, (1, -2, 1.5), atol=0.2)


def test_nothing_is_moved_without_a_reason(scene, random):
    noisy = scene + random.normal(0, 20, scene.shape).astype(np.float32)
    for guide in (
        scene,
        np.ones_like(scene),
        np.flipud(scene),
        shifted(scene, 30, 20),
        random.normal(size=scene.shape).astype(np.float32),
        skimage.data.coins()[:128, :128].astype(np.float32),
    ):
        assert displacement(noisy[None], guide[None]) is None


@pytest.mark.usefixtures("small_fits")
def test_the_user_is_told(scene, random):
    noisy = scene + random.normal(0, 20, scene.shape)
    settings = {"iterations": 2, "precision": "float32", "full_output": True}
    fit = denoise_guided(noisy, shifted(scene, 1.5, 1), **settings)
    assert any("guide is displaced" in warning for warning in fit.warnings)
    found = fit.settings["planes"][0]["guide displacement"]
    np.testing.assert_allclose(found, (1.5, 1), atol=0.2)
    assert not denoise_guided(noisy, scene, **settings).warnings
