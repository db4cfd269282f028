import numpy as np
import pytest
from scipy import ndimage

from napari_dip.widgets import residual


@pytest.fixture
def white():
    return np.random.default_rng(0).normal(0, 5, (128, 128)).astype(np.float32)


def test_white_noise_has_a_structure_of_one(white):
    assert residual.structure(white, (0, 1)) == pytest.approx(1, abs=0.15)


def test_noise_whose_strength_varies_is_white_too(white):
    ramp = np.linspace(0.1, 10, 128)
    assert residual.structure(white * ramp, (0, 1)) == pytest.approx(1, abs=0.25)


def test_structure_in_the_residual_is_found_and_warned_of(white):
    edges = np.zeros((128, 128))
    edges[40:80, 40:80] = 8
    found = residual.structure(white + edges, (0, 1))
    assert found > 3
    assert residual.verdict(found, white.size).startswith("Warning")
    assert "looks like noise" in residual.verdict(1.1, white.size)


def test_correlated_noise_is_not_called_white(white):
    found = residual.structure(ndimage.gaussian_filter(white, 1), (0, 1))
    assert found > residual.tolerance(white.size)


def test_planes_and_colours_are_judged_one_by_one(white):
    stack = white[:, :, None] + np.array([0, 1000, 2000])
    assert residual.structure(stack, (0, 1)) == pytest.approx(1, abs=0.15)
    assert residual.structure(np.moveaxis(stack, 2, 0), (1, 2)) == pytest.approx(
        1, abs=0.15
    )


def test_small_planes_are_given_more_room(white):
    assert residual.tolerance(32 * 32) > residual.tolerance(512 * 512) == 1.5


def test_missing_pixels_and_an_empty_residual(white):
    holes = white.copy()
    holes[10:20, 10:20] = np.nan
    assert residual.structure(holes, (0, 1)) == pytest.approx(1, abs=0.2)
    assert np.isnan(residual.structure(np.zeros((20, 20)), (0, 1)))
    assert "nothing was removed" in residual.verdict(float("nan"), 400)
