"""The second paper's measures of blending against slow literal versions."""

import math

import numpy as np
import pytest

from benchmarks.blending_metrics import bsi, gff, gfp, ssim_transition
from napari_dip import metrics


@pytest.fixture
def blend():
    """Return a blend, foreground, background and weights."""
    rng = np.random.default_rng(0)
    return *rng.random((3, 13, 11, 3)), rng.integers(0, 256, (13, 11))


def luma(image):
    return 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def literal_sobel(image, y, x, mode):
    """Return Sobel's derivatives along X and Y at one pixel."""
    padded = np.pad(image, 1, mode=mode)[y : y + 3, x : x + 3]
    weights = [1, 2, 1]
    across = sum(weights[i] * (padded[i, 2] - padded[i, 0]) for i in range(3))
    down = sum(weights[i] * (padded[2, i] - padded[0, i]) for i in range(3))
    return across, down


def test_gff_is_the_literal_formula(blend):
    *images, weights = blend
    gray = [luma(image) for image in images]
    total = 0
    for y in range(13):
        for x in range(11):
            # NumPy's "symmetric" is SciPy's default, "reflect".
            slopes = [literal_sobel(image, y, x, "symmetric") for image in gray]
            f, a, b = (math.hypot(*slope) for slope in slopes)
            turn_f, turn_a, turn_b = (math.atan2(s[1], s[0]) for s in slopes)
            source, turn = (a, turn_a) if a >= b else (b, turn_b)
            quality = 2 * f * source / (f**2 + source**2 + 1e-6)
            total += weights[y, x] * quality * (1 + math.cos(turn_f - turn)) / 2
    assert gff(*images, weights) == pytest.approx(total / weights.sum())


def test_gfp_is_the_literal_formula(blend):
    *images, _ = blend
    gray = [luma(image) for image in images]
    ratios = []
    for y in range(13):
        for x in range(11):
            f, a, b = (
                math.hypot(*literal_sobel(image, y, x, "reflect")) for image in gray
            )
            ratios.append(f / (max(a, b) + 1e-6))
    assert gfp(*images) == pytest.approx(np.mean(ratios))


def literal_bsi(image, weights):
    rows, columns = weights.shape
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1)), mode="symmetric")
    size = np.empty(image.shape)
    for c in range(3):
        mixed = padded[..., c] + 2 * padded[..., c + 1] + padded[..., c + 2]
        for y in range(rows):
            for x in range(columns):
                size[y, x, c] = math.hypot(*literal_sobel(mixed, y, x, "symmetric"))
    kernel = np.array([0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125])
    padded = np.pad(size, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    total = 0
    for y in range(rows):
        for x in range(columns):
            around = padded[y : y + 7, x : x + 7]
            smooth = np.einsum("i,j,ijc->c", kernel, kernel, around)
            inverse = 1 / (np.abs(size[y, x] - smooth) + 1e-6)
            total += weights[y, x] * (inverse @ [0.299, 0.587, 0.114])
    return total / weights.sum()


def test_bsi_is_the_literal_formula(blend):
    image, _, _, weights = blend
    assert bsi(image, weights) == pytest.approx(literal_bsi(image, weights))


def test_ssim_transition_is_the_weighted_map(blend):
    image, _, background, weights = blend
    weights[:3] = weights[-3:] = weights[:, :3] = weights[:, -3:] = 0
    total = 0
    for y, x in zip(*np.nonzero(weights), strict=True):
        window = np.s_[y - 3 : y + 4, x - 3 : x + 4]
        pair = luma(image)[window], luma(background)[window]
        # The SSIM of an image as large as its window is that of the window.
        total += weights[y, x] * metrics.ssim(*pair, data_range=1)
    found = ssim_transition(image, background, weights)
    assert found == pytest.approx(total / weights.sum())


def test_gray_images_and_weights_of_any_scale(blend):
    *images, weights = blend
    gray = [luma(image) for image in images]
    assert gff(*gray, weights / 255) == pytest.approx(gff(*images, weights))
    assert gfp(*gray) == pytest.approx(gfp(*images))


def test_what_the_documentation_warns_of(blend):
    _, _, background, weights = blend
    assert ssim_transition(background, background, weights) == pytest.approx(1)
    flat = np.full((13, 11), 0.5)
    assert bsi(flat, weights) == pytest.approx(1e6)
    assert gff(flat, flat, flat, weights) == 0
    step = flat.copy()
    step[:, 6:] += 1 / 255
    # Two columns of eleven see the step, each as a gradient of 4 / 255.
    found = gfp(step, flat, flat)
    assert found == pytest.approx(2 / 11 * 4 / 255 / 1e-6)
    assert found * 11 / 2 == pytest.approx(15_000, rel=0.05)
