"""Tests of a point spread function that is given."""

import numpy as np
import pytest

from napari_dip.tasks.psf import _trim, points_in


def test_trimming_keeps_centre_and_light():
    psf = np.zeros((12, 31))
    psf[6, 15] = 1
    psf[4, 18] = 0.5
    psf[0, 0] = 1e-5
    trimmed = _trim(psf / psf.sum())
    assert trimmed.shape == (5, 7)
    assert trimmed[2, 3] == pytest.approx(2 / 3, rel=1e-3)
    assert trimmed.sum() == pytest.approx(1)
    assert _trim(np.full((4, 6), 1 / 24)).shape == (4, 6)


def test_points_of_pixels_are_even_and_about_their_middles():
    points = points_in(np.arange(-1, 2), 5)
    np.testing.assert_allclose(points, np.arange(-7, 8) / 5, atol=1e-12)
