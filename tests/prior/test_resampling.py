"""Downsampling against Pillow's, SciPy's and the published formula; alignment."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from napari_dip.errors import InputError
from napari_dip.prior import resampling

ALL = {
    "lanczos": resampling.lanczos,
    "box": resampling.box,
    "gaussian": lambda factor: resampling.gaussian(factor, 0.5),
    "bicubic": resampling.bicubic,
}


@pytest.fixture
def random():
    return np.random.default_rng(0)


def reduced(operator, image):
    return operator(torch.from_numpy(image)[None, None])[0, 0].numpy()


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 8])
@pytest.mark.parametrize(
    ("make", "filtering"),
    [
        (resampling.bicubic, Image.Resampling.BICUBIC),
        (lambda factor: resampling.lanczos(factor, 3), Image.Resampling.LANCZOS),
        (resampling.box, Image.Resampling.BOX),
    ],
    ids=["bicubic", "lanczos3", "box"],
)
def test_the_inside_is_pillows(random, make, filtering, factor):
    image = random.random((factor * 10, factor * 12), np.float32)
    expected = Image.fromarray(image).resize((12, 10), filtering)
    found = reduced(make(factor), image)
    assert found.shape == (10, 12)
    inside = np.s_[3:-3, 3:-3]
    np.testing.assert_allclose(found[inside], np.asarray(expected)[inside], atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4, 6, 8])
def test_lanczos_is_the_published_downsampler(random, factor):
    # Its kernel, lanczos2 at phase 0.5, evaluated as its program does: row by row,
    # from one, the centre at (width + 1) / 2.
    width = 4 * factor + 1
    kernel = np.zeros((width - 1, width - 1))
    for i in range(1, width):
        for j in range(1, width):
            value = 1.0
            for k in (i, j):
                d = abs(k + 0.5 - (width + 1) / 2) / factor * np.pi
                if d:
                    value *= 2 * np.sin(d) * np.sin(d / 2) / d**2
            kernel[i - 1, j - 1] = value
    kernel /= kernel.sum()
    image = random.random((factor * 7, factor * 6), np.float32)
    margin = (width - 1 - factor) // 2
    padded = np.pad(image, margin, mode="edge")
    expected = [
        [
            (padded[y : y + width - 1, x : x + width - 1] * kernel).sum()
            for x in range(0, factor * 6, factor)
        ]
        for y in range(0, factor * 7, factor)
    ]
    found = reduced(resampling.lanczos(factor), image)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_gaussian_is_a_blur_and_binning(random, factor):
    image = random.random((factor * 9, factor * 11), np.float32)
    blurred = ndimage.gaussian_filter(
        image, 0.75 * factor, mode="nearest", radius=3 * factor
    )
    expected = blurred.reshape(9, factor, 11, factor).mean(axis=(1, 3))
    found = reduced(resampling.gaussian(factor, 0.75), image)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    none = reduced(resampling.gaussian(factor, 0.0), image)
    np.testing.assert_array_equal(none, reduced(resampling.box(factor), image))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("factor", [2, 3, 4, 7, 8])
def test_coarse_pixels_lie_where_the_half_pixel_rule_says(name, factor):
    fine = np.arange(12 * factor, dtype=np.float32)
    image = np.add.outer(fine, 3 * fine)
    coarse = factor * (np.arange(12) + 0.5) - 0.5
    inside = np.s_[3:-3, 3:-3]
    expected = np.add.outer(coarse, 3 * coarse)[inside]
    found = reduced(ALL[name](factor), image)[inside]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("factor", [2, 3, 8])
def test_constants_stay_and_taps_are_symmetric(name, factor):
    operator = ALL[name](factor)
    flat = torch.full((1, 2, 2 * factor, 3 * factor), 0.3)
    torch.testing.assert_close(operator(flat), torch.full((1, 2, 2, 3), 0.3))
    torch.testing.assert_close(operator.taps, operator.taps.flip(0))


@pytest.mark.parametrize("name", ALL)
def test_volumes_are_reduced_axis_by_axis(random, name):
    operator = ALL[name](2)
    line, plane = random.random(12, np.float32), random.random((8, 10), np.float32)
    volume = torch.from_numpy(np.multiply.outer(line, plane))[None, None]
    across = reduced(operator, np.repeat(line[:, None], 2, axis=1))[:, 0]
    expected = np.multiply.outer(across, reduced(operator, plane))
    np.testing.assert_allclose(operator(volume)[0, 0], expected, atol=1e-6)


def test_channels_do_not_mix_and_gradients_flow(random):
    image = torch.from_numpy(random.random((1, 3, 12, 16), np.float32))
    image.requires_grad_()
    operator = resampling.lanczos(4)
    found = operator(image)
    found[:, 1].sum().backward()
    assert image.grad[:, [0, 2]].abs().max() == 0
    # 12 coarse pixels, each a mean with weights of sum one.
    assert image.grad.sum() == pytest.approx(12)
    torch.testing.assert_close(found[:, :1], operator(image[:, :1]))


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_upsampling_is_pillows_inside_and_aligned(random, factor):
    image = random.random((9, 12), np.float32)
    expected = Image.fromarray(image).resize(
        (12 * factor, 9 * factor), Image.Resampling.BICUBIC
    )
    found = resampling.upsample(torch.from_numpy(image)[None, None], factor)[0, 0]
    assert found.shape == (9 * factor, 12 * factor)
    inside = np.s_[2 * factor : -2 * factor, 2 * factor : -2 * factor]
    np.testing.assert_allclose(found[inside], np.asarray(expected)[inside], atol=1e-6)
    ramp = torch.arange(8.0)[None, None, :, None, None].expand(1, 2, 8, 3, 4)
    fine = resampling.upsample(ramp, factor)[0, 0, :, 0, 0]
    places = (torch.arange(8.0 * factor) + 0.5) / factor - 0.5
    middle = slice(2 * factor, -2 * factor)
    torch.testing.assert_close(fine[middle], places[middle])


def test_what_is_refused():
    with pytest.raises(InputError, match="taps must be odd in number for odd factors"):
        resampling.Downsampling(torch.ones(4) / 4, 3)
    with pytest.raises(InputError, match=r"multiples of the factor 4; got \(8, 9\)"):
        resampling.box(4)(torch.zeros(1, 1, 8, 9))
