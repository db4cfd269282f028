"""Colours that a colour map has made from a gray image are told to the user."""

import numpy as np
import pytest
from skimage import data

from napari_dip import denoise
from napari_dip.tasks.colour_map import colour_map_warnings
from napari_dip.tasks.plane import prepare

GRAY = np.arange(256)
"""All values of a gray image; below, what maps make of them."""

HEAT = np.stack([np.clip(3 * GRAY - 255 * k, 0, 255) for k in range(3)], axis=-1)
JET = np.stack(
    [np.clip(383 - np.abs(4 * GRAY - 255 * k), 0, 255) for k in (3, 2, 1)], axis=-1
)
GREEN = GRAY[:, None] * [0, 1, 0]
SEPIA = GRAY[:, None] * [1, 0.8, 0.6]


@pytest.fixture
def cells(random):
    truth = data.cell()[260:356, 200:296]
    return np.clip(truth + random.normal(0, 12, truth.shape), 0, 255).astype(np.uint8)


def warnings_of(image):
    return colour_map_warnings(prepare(np.moveaxis(image.astype(float), -1, 0), "x"))


@pytest.mark.parametrize("colours", [HEAT, JET])
def test_colours_of_a_map_are_told(colours, cells):
    (warning,) = warnings_of(colours[cells])
    assert "which a colour map seems to have made from a gray image" in warning


@pytest.mark.parametrize("colours", [GREEN, SEPIA, np.stack([GRAY] * 3, axis=-1)])
def test_shades_of_one_colour_are_not(colours, cells):
    assert not warnings_of(colours[cells])


def test_photographs_and_palettes_are_not(random):
    photograph = data.coffee()[200:296, 200:296]
    assert not warnings_of(photograph)
    assert not warnings_of((photograph // 48) * 48)
    palette = random.integers(0, 256, (200, 3))
    assert not warnings_of(palette[random.integers(0, 200, (96, 96))])


def test_the_user_is_told_with_the_result(cells, small_fits):
    image = JET[cells].astype(np.uint8)
    fit = denoise(image, iterations=2, seed=0, full_output=True)
    assert any("restore the gray image" in warning for warning in fit.warnings)
