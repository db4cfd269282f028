"""The seven terms of blending against slow, literal versions of their formulas."""

import numpy as np
import pytest
import torch

from napari_dip.prior.blending import (
    EPSILON,
    ILLUMINATION,
    LOW_PASS,
    SCALES,
    TENSOR,
    Blending,
    box,
    direction,
    gray,
    scaled,
    sobel,
    soft_map,
    tangent,
)
from napari_dip.prior.operators import LUMA

SIDE = 20
FACTORS = (50.0, 25.0, 20.0, 6.0, 4.0, 12.0, 18.0)
ROWS = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(3, 1, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    mask = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64)
    mask[..., 6:15, 4:13] = 1
    return (*images, mask)


def numpy_box(image, side):
    """Average an image (Y, X) over squares, mirrored, one pixel at a time."""
    rows, columns = (min(side // 2, n - 1) for n in image.shape)
    padded = np.pad(image, ((rows, rows), (columns, columns)), mode="reflect")
    out = np.empty_like(image)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            out[y, x] = padded[y : y + 2 * rows + 1, x : x + 2 * columns + 1].mean()
    return out


def numpy_sobel(image):
    """Return the derivatives of (Y, X) along rows and columns."""
    padded = np.pad(image, 1, mode="edge")
    out = np.zeros((2, *image.shape))
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            window = padded[y : y + 3, x : x + 3]
            out[:, y, x] = (window * ROWS).sum(), (window * ROWS.T).sum()
    return out


def numpy_shrink(image, scale):
    n = SIDE // scale
    return image.reshape(n, scale, n, scale).mean((1, 3))


def literal(fused, foreground, background, alpha):
    """Appendix A3, channel by channel; arrays (C, Y, X) and (Y, X)."""
    channels = range(len(fused))
    weight = 4 * alpha * (1 - alpha)
    terms = np.zeros(7)
    luma = [
        sum(w * image[c] for c, w in enumerate(LUMA)) for image in (fused, background)
    ]
    light = numpy_box(luma[0], ILLUMINATION) - numpy_box(luma[1], ILLUMINATION)
    terms[2] = ((1 - alpha) * light**2).mean()
    jxx, jyy, jxy = np.zeros((3, SIDE, SIDE))
    for c in channels:
        gy, gx = numpy_sobel(background[c])
        jxx, jyy, jxy = jxx + gx * gx / 3, jyy + gy * gy / 3, jxy + gx * gy / 3
    jxx, jyy, jxy = (numpy_box(j, TENSOR) for j in (jxx, jyy, jxy))
    theta = 0.5 * np.arctan2(2 * jxy, jxx - jyy)
    for c in channels:
        f, a, b = fused[c], foreground[c], background[c]
        terms[0] += ((1 - alpha) * (f - b) ** 2).mean() / 3
        low = numpy_box(f, LOW_PASS) - numpy_box(b, LOW_PASS)
        terms[1] += ((1 - alpha) * low**2).mean() / 3
        for s in SCALES:
            apart = numpy_sobel(numpy_shrink(f, s)) - numpy_sobel(numpy_shrink(a, s))
            where = numpy_shrink(alpha, s)
            terms[3] += (where * np.abs(apart).sum(0)).mean() / 3 / len(SCALES)
        gf, ga, gb = numpy_sobel(f), numpy_sobel(a), numpy_sobel(b)
        lengths = [np.sqrt((g**2).sum(0) + EPSILON**2) for g in (gf, ga)]
        cosine = (gf * ga).sum(0) / lengths[0] / lengths[1]
        terms[4] += (alpha * (1 - cosine)).mean() / 3
        passing = alpha * ga + (1 - alpha) * gb
        terms[5] += (weight * np.abs(gf - passing).sum(0)).mean() / 3
        along = -np.sin(theta) * (gf - gb)[1] + np.cos(theta) * (gf - gb)[0]
        terms[6] += (weight * np.abs(along)).mean() / 3
    return terms


@pytest.mark.parametrize("done", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("widening", [True, False])
def test_terms_are_those_of_the_appendix(pair, done, widening):
    fused, foreground, background, mask = pair
    term = Blending(foreground, background, mask, FACTORS, widening=widening)
    term.anneal(done)
    gamma = 1 + 4 * ((1 - done) if widening else done)
    alpha = soft_map(mask)[0, 0].numpy() ** gamma
    wanted = literal(*(t[0].numpy() for t in (fused, foreground, background)), alpha)
    found = torch.stack(term.parts(fused)).numpy()
    # Half the squared distance of shortened unit vectors is 1 - cos but for
    # gradients near EPSILON, of which random images have next to none.
    np.testing.assert_allclose(found, wanted, rtol=2e-4)
    total = term.mean(fused, background, torch.ones(1))
    assert total.item() == pytest.approx(np.dot(term.factors, found))


def test_gradients_of_the_terms(pair):
    fused, foreground, background, mask = (t[..., :8, :8] for t in pair)
    mask = torch.zeros_like(mask)
    mask[..., 2:6, 2:6] = 1
    term = Blending(foreground, background, mask, FACTORS)
    term.anneal(0.5)
    fused = fused.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: tuple(term.parts(f)), fused)


def test_equal_images_ask_for_nothing(pair):
    _, image, _, mask = pair
    term = Blending(image, image.clone(), mask, FACTORS)
    fused = image.clone().requires_grad_()
    term.mean(fused, image, torch.ones(1)).backward()
    assert torch.count_nonzero(fused.grad) == 0


def test_box_keeps_the_mean_of_a_constant_whatever_its_side():
    image = torch.full((1, 2, 5, 9), 0.3)
    torch.testing.assert_close(box(image, 51), image)


def test_sobel_of_a_ramp_is_eight():
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    gradient = sobel(ramp)
    assert (gradient[1, 0, :, 1:-1] == 8).all()
    assert (gradient[0] == 0).all()
    torch.testing.assert_close(direction(gradient)[1, 0, 0, 2], torch.tensor(1.0))


def test_the_tangent_runs_along_stripes():
    stripes = torch.sin(torch.arange(24.0)).expand(1, 1, 24, 24)  # upright ones
    along = tangent(stripes)[:, 0, 8:16, 8:16]
    torch.testing.assert_close(along[0].abs(), torch.ones(8, 8))
    assert along[1].abs().max() < 1e-5


def test_boxes_follow_the_size_of_the_image(pair):
    assert [scaled(51, s) for s in (1, 0.5, 256 / 672, 0.01)] == [51, 25, 19, 3]
    fused, foreground, background, mask = pair
    term = Blending(foreground, background, mask, FACTORS, scale=0.2)
    light = [numpy_box(gray(i)[0, 0].numpy(), 13) for i in (fused, background)]
    outside = 1 - term.now[0, 0].numpy()
    wanted = (outside * (light[0] - light[1]) ** 2).mean()
    assert term.parts(fused)[2].item() == pytest.approx(wanted)


def test_what_lies_beyond_the_mask_does_not_count_when_cut(pair):
    fused, foreground, background, mask = pair
    other = torch.where(mask > 0, foreground, 9)
    terms = [
        torch.stack(Blending(f, background, mask, FACTORS, cut=True).parts(fused))
        for f in (foreground, other)
    ]
    torch.testing.assert_close(*terms)
    whole = torch.stack(Blending(foreground, background, mask, FACTORS).parts(fused))
    assert (whole[3:6] != terms[0][3:6]).all()
    torch.testing.assert_close(whole[:3], terms[0][:3])
