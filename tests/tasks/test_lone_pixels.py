"""Single pixels that are far brighter, or darker, than all others."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_dip import denoise
from napari_dip.tasks.noise import plane_model
from napari_dip.tasks.plane import prepare


@pytest.fixture
def scene():
    """Return a smooth image of a range of about 100."""
    smooth = gaussian_filter(np.random.default_rng(0).random((64, 64)), 4)
    return 50 + 100 * (smooth - smooth.min()) / np.ptp(smooth)


@pytest.mark.parametrize("ranges", [-22, -4, -0.3, 1, 1.3, 1.6, 4, 15, 19, 22])
@pytest.mark.parametrize("sigma", [1, 10])
def test_the_noise_of_the_others_is_measured(scene, sigma, ranges):
    noisy = scene + np.random.default_rng(1).normal(0, sigma, scene.shape)
    noisy[10, 20] = noisy[40, 50] = 50 + 100 * ranges
    plane = prepare(noisy[None], "image")
    model = plane_model(plane, "auto", None)
    assert model.kind == "gaussian"
    assert model.variance[0] ** 0.5 * plane.span[0] == pytest.approx(sigma, rel=0.15)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("ranges", [-22, -4, 4, 15, 19, 22])
def test_it_keeps_its_height(scene, ranges):
    noisy = scene + np.random.default_rng(1).normal(0, 2, scene.shape)
    noisy[40, 50] = 50 + 100 * ranges
    result = denoise(noisy, iterations=5, device="cpu", precision="float32")
    kept = (result - scene)[40, 50] / (noisy - scene)[40, 50]
    assert kept > 0.97


def test_peaks_are_looked_for_once(scene):
    plane = prepare(scene[None], "image")
    assert plane.peaks is plane.peaks
