"""Blurring against SciPy's."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_dip.prior.operators import gaussian_blur


@pytest.mark.parametrize("sigma", [0.7, 2.0])
@pytest.mark.parametrize("shape", [(2, 3, 30, 24), (1, 1, 14, 20, 16)], ids=str)
def test_blur_is_scipys(shape, sigma):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    radius = int(np.ceil(3 * sigma))
    expected = image.astype(np.float64)
    for axis in range(2, len(shape)):
        # SciPy's "mirror" is torch's "reflect".
        expected = ndimage.gaussian_filter1d(
            expected, sigma, axis, mode="mirror", radius=radius
        )
    found = gaussian_blur(torch.from_numpy(image), sigma)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_constants_stay_and_short_axes_are_borne():
    image = torch.full((1, 1, 5, 1), 0.3)
    torch.testing.assert_close(gaussian_blur(image, 4.0), image)
