"""Constraints of a JPEG against files that Pillow wrote."""

import io
import math

import numpy as np
import pytest
import scipy.fft
import skimage.data
import torch
from PIL import Image

from napari_dip import metrics
from napari_dip.io.raster import jpeg_tables
from napari_dip.prior import jpeg

PILLOW = {(1, 1): 0, (1, 2): 1, (2, 2): 2}


def tensor(array):
    array = np.atleast_3d(array).astype(np.float32)
    return torch.from_numpy(array).permute(2, 0, 1)[None].contiguous()


def compressed(image, quality, factors=(1, 1)):
    """Return a decoded JPEG and its tables."""
    file = io.BytesIO()
    more = {"subsampling": PILLOW[factors]} if image.ndim == 3 else {}
    Image.fromarray(image).save(file, "JPEG", quality=quality, **more)
    with Image.open(file) as opened:
        return np.asarray(opened), jpeg_tables(opened)


@pytest.fixture(scope="module")
def photo():
    """Return a colour photograph of odd sides, with clipped pixels."""
    return np.ascontiguousarray(skimage.data.astronaut()[10:131, 140:297])


def found(decoded, tables, factors):
    image = tensor(decoded)
    return jpeg.cells(image, torch.ones_like(image[:, :1]), tables.tables, factors)


def test_transform_is_the_orthonormal_cosine_transform():
    plane = np.random.default_rng(0).normal(size=(16, 24))
    ours = jpeg.transform(torch.from_numpy(plane)[None])
    assert ours.shape == (1, 2, 8, 3, 8)
    block = scipy.fft.dctn(plane[8:, 16:], norm="ortho")
    np.testing.assert_allclose(ours[0, 1, :, 2, :], block, atol=1e-12)
    np.testing.assert_allclose(jpeg.inverse_transform(ours)[0], plane, atol=1e-12)


def test_colours_are_those_of_pillow(photo):
    ours = jpeg.to_ycbcr(tensor(photo))[0].permute(1, 2, 0).numpy() + np.array(
        [128, 0, 0]
    )
    theirs = np.asarray(Image.fromarray(photo).convert("YCbCr")).astype(float)
    theirs -= [0, 128, 128]
    np.testing.assert_allclose(ours, theirs, atol=1.01)
    back = jpeg.to_rgb(jpeg.to_ycbcr(tensor(photo)))
    np.testing.assert_allclose(back, tensor(photo), atol=1e-3)


@pytest.mark.parametrize("factors", [(1, 2), (2, 2)])
@pytest.mark.parametrize("sides", [(24, 32), (23, 31)])
def test_what_was_interpolated_is_found_again(factors, sides):
    small = torch.rand(1, -(-sides[0] // factors[0]), -(-sides[1] // factors[1]))
    small = small.double()
    large = jpeg.interpolate(small, factors)[:, : sides[0], : sides[1]]
    again = jpeg._before_interpolation(large, factors)
    np.testing.assert_allclose(again, small, atol=1e-4)


@pytest.mark.parametrize("quality", [10, 40])
@pytest.mark.parametrize("factors", list(PILLOW))
def test_the_original_is_in_the_set_and_the_set_is_small(photo, quality, factors):
    decoded, tables = compressed(photo, quality, factors)
    cells = found(decoded, tables, factors)
    assert cells.share > 0.98
    planes = jpeg.to_ycbcr(tensor(photo))
    other = jpeg.to_ycbcr(tensor(photo[::-1].copy()))
    for i, component in enumerate(cells.components):
        assert component.exact.mean() > 0.6
        coefficients = component.coefficients(planes[:, i])
        outside = component.outside(coefficients)
        assert (outside.abs() > 1e-3).float().mean() < 1e-3
        assert outside.abs().max() < 4
        foreign = component.outside(component.coefficients(other[:, i]))
        assert (foreign.abs() > 1e-3).float().mean() > 0.003


@pytest.mark.parametrize("factors", list(PILLOW))
def test_the_combination_is_in_the_set_and_nears_the_original(photo, factors):
    decoded, tables = compressed(photo, 10, factors)
    cells = found(decoded, tables, factors)
    blurred = scipy.ndimage.gaussian_filter(decoded.astype(float), (1, 1, 0))
    combined = cells.combine(tensor(blurred))
    planes = jpeg.to_ycbcr(combined)
    for i, component in enumerate(cells.components):
        outside = component.outside(component.coefficients(planes[:, i]))
        # Components of sides no multiple of the factors meet it but for the last.
        whole = outside[:, :-1, :, :-1]
        assert whole.abs().max() < 1e-2
    truth = tensor(photo)
    before = (tensor(blurred) - truth).square().mean()
    assert (combined - truth).square().mean() < before


@pytest.mark.parametrize(
    ("quality", "wrong", "most"),
    [(50, 5, 1), (90, 20, 1), (10, 5, 1.2), (50, 2, 1.5), (90, 5, 2)],
)
def test_a_restoration_counts_for_as_much_as_it_tells(random, quality, wrong, most):
    gray = skimage.data.coins()[48:176, 104:232]
    decoded, tables = compressed(gray, quality)
    cells = found(decoded, tables, (1, 1))
    truth = tensor(gray)
    restored = truth + wrong * torch.randn(truth.shape, generator=random)
    error, *errors = (
        float((image - truth).square().mean())
        for image in (cells.combine(restored), restored, tensor(decoded))
    )
    assert error < most * min(errors)
    assert error < 0.5 * max(errors)


@pytest.mark.parametrize("zeros", [0, 1, 5, 100, 2500, 4096])
def test_what_compression_took_of_few_zeros_is_told_in_single_precision(zeros):
    blocks = torch.ones(64**2, 8, 8)
    blocks[:zeros] = 0
    centre = blocks.reshape(1, 64, 64, 8, 8).transpose(2, 3)
    component = jpeg.Component(
        (1, 1), centre, torch.full((1, 1, 8, 1, 8), 5.5), torch.ones(1, 64, 1, 64, 1)
    )
    decay = -math.log((64**2 - zeros + 0.5) / (64**2 + 1))
    # The series of the lower incomplete gamma function, which does not cancel.
    inner = math.exp(-decay) * math.fsum(
        decay**n / math.factorial(n) for n in range(3, 40)
    )
    expected = 2 * (5.5 / decay) ** 2 * inner / -math.expm1(-decay)
    lost, even = component._lost()
    assert even.unique().item() == pytest.approx(5.5**2 / 3)
    expected = min(expected, 5.5**2 / 3)
    torch.testing.assert_close(lost, torch.full_like(lost, expected), rtol=1e-4, atol=0)


def test_gray_images_have_one_component(photo):
    gray = photo[..., 1].copy()
    decoded, tables = compressed(gray, 15)
    cells = found(decoded, tables, (1, 1))
    assert len(cells.components) == 1
    assert cells.share > 0.98


def test_wrong_tables_and_shifted_pixels_do_not_fit(photo):
    decoded, tables = compressed(photo, 10, (2, 2))
    _, others = compressed(photo, 35, (2, 2))
    assert found(decoded, others, (2, 2)).share < 0.7
    assert found(decoded[3:], tables, (2, 2)).share < 0.7
    assert found(decoded, tables, (2, 2)).blocks > 0.98
    assert found(decoded, tables, (1, 1)).blocks < 0.97


def test_missing_and_cut_off_blocks_are_not_trusted(photo):
    decoded, tables = compressed(photo, 10, (1, 1))
    image = tensor(decoded)
    known = torch.ones_like(image[:, :1])
    known[..., 20, 30] = 0
    cells = jpeg.cells(image, known, tables.tables, (1, 1))
    exact = cells.components[0].exact[0, :, 0, :, 0]
    assert exact.shape == (16, 20)
    assert exact[2, 3] == 0
    assert exact[-1].sum() == exact[:, -1].sum() == 0
    uncertain = cells.uncertain(image.shape[2:])
    assert uncertain.shape == image.shape
    assert (uncertain[0, :, 16:24, 24:32] == 1).all()


def test_term_is_zero_inside_and_the_distance_outside(photo):
    decoded, tables = compressed(photo[:112, :144], 10, (1, 1))
    cells = found(decoded, tables, (1, 1))
    term = jpeg.Constraints(cells, offset=-10.0, span=300.0)
    weight = torch.ones(1, 1, *decoded.shape[:2])
    inside = cells.combine(tensor(decoded))
    y = (tensor(decoded) + 10) / 300
    assert term.mean((inside + 10) / 300, y, weight) < 1e-7
    assert term(y, y).max() == 0
    x = ((tensor(decoded) + 25 + 10) / 300).requires_grad_()
    loss = term.mean(x, y, weight)
    loss.backward()
    assert 0 < loss < 3 * ((25 / 300) ** 2)
    assert x.grad.abs().max() > 0


def test_term_follows_missing_pixels_nowhere(photo):
    decoded, tables = compressed(photo[:64, :64], 10, (1, 1))
    known = torch.ones(1, 1, 64, 64)
    known[..., 9:12, 9:12] = 0
    values = []
    for fill in (0.0, 200.0):
        image = tensor(decoded)
        image[..., 9:12, 9:12] = fill
        cells = jpeg.cells(image, known, tables.tables, (1, 1))
        term = jpeg.Constraints(cells, 0.0, 255.0)
        values.append(term.mean(tensor(photo[:64, :64]) / 255, image / 255, known))
    assert values[0] == values[1]


@pytest.mark.parametrize("factors", list(PILLOW))
def test_compressing_again_changes_nothing_at_the_same_grid(photo, factors):
    decoded, tables = compressed(photo[:96, :96], 20, factors)
    again = jpeg._compressed(tensor(decoded), tables.tables, factors)
    clipped = (decoded == 0) | (decoded == 255)
    apart = np.abs(again[0].permute(1, 2, 0).numpy() - decoded)
    assert np.median(apart[~clipped]) < 1


def test_reapplication_takes_the_blocks_out(photo):
    decoded, tables = compressed(photo, 10, (2, 2))
    found = jpeg.reapplied(tensor(decoded), tables.tables, (2, 2))
    found = found[0].permute(1, 2, 0).numpy().clip(0, 255)
    assert found.shape == decoded.shape
    assert metrics.blockiness(found) < 0.2 * metrics.blockiness(decoded)
    before = metrics.psnr(decoded, photo)
    assert metrics.psnr(found, photo.astype(float), data_range=255) > before
