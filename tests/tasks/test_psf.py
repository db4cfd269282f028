"""Tests of a point spread function that is given."""

import numpy as np
import pytest

from napari_dip.tasks.psf import _trim


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
