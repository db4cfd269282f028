"""Fixed linear operators against SciPy's and scikit-image's."""

import numpy as np
import pytest
import torch
from scipy import fft, ndimage
from skimage.color import rgb2yuv

from napari_dip.prior.operators import (
    constant,
    convolve_axis,
    cosines,
    gaussian_blur,
    gaussian_mean,
    luma,
    per_channel,
)


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


def test_a_mean_leaves_out_what_has_no_weight():
    values, weight = torch.rand(1, 2, 20, 24), torch.ones(1, 1, 20, 24)
    mean, near = gaussian_mean(values, weight, 1.5)
    torch.testing.assert_close(mean, gaussian_blur(values, 1.5))
    torch.testing.assert_close(near, weight)
    weight[..., 5:9, 4:20] = 0
    means = [
        gaussian_mean(torch.where(weight > 0, values, x), weight, 1.5)[0]
        for x in (0.0, 100.0)
    ]
    torch.testing.assert_close(means[0], means[1])
    assert 0 <= means[0].min() <= means[0].max() <= 1


def test_constants_stay_and_short_axes_are_borne():
    image = torch.full((1, 1, 5, 1), 0.3)
    torch.testing.assert_close(gaussian_blur(image, 4.0), image)


@pytest.mark.parametrize("side", [1, 7, 8])
def test_cosines_are_scipys(side):
    expected = fft.dct(np.eye(side), norm="ortho", axis=0)
    np.testing.assert_allclose(cosines(side), expected, atol=1e-14)


@pytest.mark.parametrize("sides", [(5, 6), (3, 5, 6)], ids=str)
def test_luma_is_scikit_images(sides):
    image = np.random.default_rng(0).random((2, 3, *sides))
    expected = rgb2yuv(np.moveaxis(image, 1, -1))[..., 0]
    found = luma(torch.from_numpy(image))
    assert found.shape == (2, 1, *sides)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 12, 10), (1, 2, 6, 12, 10)], ids=str)
@pytest.mark.parametrize("axis", [2, -1])
def test_an_axis_is_convolved_and_decimated(shape, axis):
    axis %= len(shape)
    random = torch.Generator().manual_seed(0)
    image = torch.rand(shape, generator=random, dtype=torch.float64)
    taps = torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64)
    found = convolve_axis(image, axis, taps, margin=1, stride=2)
    # SciPy's "nearest" is torch's "replicate".
    expected = ndimage.correlate1d(image.numpy(), taps.numpy(), axis, mode="nearest")
    kept = np.arange(0, shape[axis], 2)
    np.testing.assert_allclose(found, expected.take(kept, axis), atol=1e-12)
    # The transpose: <A x, y> = <x, A^T y>.
    y = torch.rand(found.shape, generator=random, dtype=torch.float64)
    back = convolve_axis(y, axis, taps, margin=0, stride=2, transposed=True)
    extended = [0, 0] * (len(shape) - 1 - axis) + [1, 1]
    wide = torch.nn.functional.pad(image, extended, mode="constant")
    narrow = convolve_axis(wide, axis, taps, margin=0, stride=2)
    length = back.shape[axis]
    same = (back * wide.narrow(axis, 0, length)).sum()
    torch.testing.assert_close((narrow * y).sum(), same)


def test_a_constant_is_made_once_and_outside_of_inference_mode():
    like = torch.zeros(1, 3, 4, 4)
    with torch.inference_mode():
        first = constant((0.25, 0.5, 1.0), like)
    assert constant((0.25, 0.5, 1.0), like) is first
    assert not first.is_inference()
    assert constant((0.25, 0.5, 1.0), like.double()).dtype == torch.float64
    assert per_channel(first, like[..., None]).shape == (1, 3, 1, 1, 1)
