"""The figures of merit against hand-computed cases and slow literal versions."""

import csv
import io
import math
import re

import numpy as np
import pytest
from PIL import Image
from skimage.data import camera

from napari_dip import metrics
from napari_dip.errors import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Peak signal-to-noise ratio


def test_psnr_of_a_known_error():
    truth = np.zeros((5, 6, 3))
    assert metrics.psnr(truth + 0.1, truth, data_range=1) == pytest.approx(20)
    assert metrics.psnr(truth + 0.1, truth, data_range=10) == pytest.approx(40)


@pytest.mark.parametrize(("dtype", "peak"), [(np.uint8, 255), (np.uint16, 65535)])
def test_psnr_of_integers_does_not_wrap(dtype, peak):
    dark, bright = np.zeros((4, 4), dtype), np.full((4, 4), peak, dtype)
    assert metrics.psnr(dark, bright) == pytest.approx(0)
    nearly = bright.copy()
    nearly[0, 0] = 0
    assert metrics.psnr(nearly, bright) == pytest.approx(10 * math.log10(16))


def test_psnr_of_equal_images_is_infinite(rng):
    image = rng.random((4, 4))
    assert metrics.psnr(image, image, data_range=1) == math.inf


def test_psnr_mask_counts_selected_values_only(rng):
    image, truth = rng.random((2, 6, 5, 3))
    mask = rng.random((6, 5)) > 0.5
    total = count = 0
    for y in range(6):
        for x in range(5):
            for c in range(3):
                if mask[y, x]:
                    total += (image[y, x, c] - truth[y, x, c]) ** 2
                    count += 1
    wanted = -10 * math.log10(total / count)
    found = metrics.psnr_mask(image, truth, mask, data_range=1)
    assert found == pytest.approx(wanted)
    image[~mask] = 9
    assert metrics.psnr_mask(image, truth, mask, data_range=1) == found
    weights = np.repeat(mask[..., np.newaxis] * 255, 3, axis=-1)
    assert metrics.psnr_mask(image, truth, weights, data_range=1) == found


def test_psnr_luma_reads_limited_range():
    truth = np.full((4, 4, 3), 100, np.uint8)
    image = truth + np.uint8(51)  # a fifth of the range
    full = -20 * math.log10(0.2)
    assert metrics.psnr_luma(image, truth) == pytest.approx(
        full + 20 * math.log10(255 / 219)
    )
    green = truth.copy()
    green[..., 1] += 51
    assert metrics.psnr_luma(green, truth) == pytest.approx(
        -20 * math.log10(0.2 * 0.587 * 219 / 255)
    )


def test_psnr_luma_within_a_crop(rng):
    truth = rng.random((6, 6, 3))
    image = truth.copy()
    image[0] += 1
    crop = slice(1, None), slice(None)
    assert metrics.psnr_luma(image, truth, data_range=1) < 20
    assert metrics.psnr_luma(image, truth, data_range=1, crop=crop) == math.inf


def test_table_region():
    assert metrics.table_region((480, 500)) == (slice(4, 475), slice(14, 485))
    assert metrics.table_region((33, 64, 3)) == (slice(4, 27), slice(4, 59))


@pytest.mark.slow
@pytest.mark.parametrize("factor", ["x4", "x8"])
def test_published_super_resolution_rows(shared_data, factor):
    """Tables 1 and 2 of the first paper, from the authors' own images."""
    with (shared_data / "reference_psnr.tsv").open() as file:
        rows = [
            row
            for row in csv.DictReader(file, delimiter="\t")
            if row["task"] == f"sr_{factor}"
            and row["method"] in ("bicubic", "deep_prior")
        ]
    checked = 0
    for row in rows:
        set_, name = row["set"], row["image"]
        truth = shared_data / set_.lower() / f"{factor}_gt" / f"{name}.png"
        result = shared_data / set_.lower() / f"{factor}_bicubic" / f"{name}.png"
        if row["method"] == "deep_prior":
            folder = shared_data / "authors_outputs" / "SR" / set_ / factor
            result = next(folder.glob(f"{name}_deep_prior*.png"))
        if not truth.exists():  # those of x8 that are the same as those of x4
            continue
        truth, result = (
            np.asarray(Image.open(path).convert("RGB")) for path in (truth, result)
        )
        region = metrics.table_region(truth.shape)
        corners = [int(n) for n in re.findall(r"\d+", row["region"])]
        assert corners == [n for part in region for n in (part.start, part.stop)]
        found = metrics.psnr_luma(result, truth, crop=region)
        assert found == pytest.approx(float(row["paper"]), abs=0.0055)
        checked += 1
    assert checked >= 8


# Structural similarity


def literal_ssim(image, truth):
    """Return the map of SSIM inside the border, by one window after another."""
    ys, xs = (side - 6 for side in image.shape)
    found = np.empty((ys, xs))
    for y in range(ys):
        for x in range(xs):
            a = image[y : y + 7, x : x + 7].ravel()
            b = truth[y : y + 7, x : x + 7].ravel()
            cov = np.cov(a, b)  # of a sample: n - 1
            means = a.mean(), b.mean()
            found[y, x] = (
                (2 * means[0] * means[1] + 0.01**2)
                * (2 * cov[0, 1] + 0.03**2)
                / (means[0] ** 2 + means[1] ** 2 + 0.01**2)
                / (cov[0, 0] + cov[1, 1] + 0.03**2)
            )
    return found


def test_ssim_is_the_mean_over_windows(rng):
    image, truth = rng.random((2, 12, 10))
    wanted = literal_ssim(image, truth).mean()
    assert metrics.ssim(image, truth, data_range=1) == pytest.approx(wanted)
    scaled = metrics.ssim(image * 50, truth * 50, data_range=50)
    assert scaled == pytest.approx(wanted)


def test_ssim_averages_channels(rng):
    image, truth = rng.random((2, 9, 8, 3))
    wanted = np.mean([literal_ssim(image[..., c], truth[..., c]) for c in range(3)])
    assert metrics.ssim(image, truth, data_range=1) == pytest.approx(wanted)
    first = [np.moveaxis(a, -1, 0) for a in (image, truth)]
    found = metrics.ssim(*first, data_range=1, channel_axis=0)
    assert found == pytest.approx(wanted)


# Blocking


def literal_bef(image, block=8):
    rows, columns = image.shape
    border, inside = [], []
    for y in range(rows):
        for x in range(columns):
            if x + 1 < columns:
                kind = border if (x + 1) % block == 0 else inside
                kind.append((image[y, x] - image[y, x + 1]) ** 2)
            if y + 1 < rows:
                kind = border if (y + 1) % block == 0 else inside
                kind.append((image[y, x] - image[y + 1, x]) ** 2)
    border, inside = np.mean(border), np.mean(inside)
    if border <= inside:
        return 0
    return math.log2(block) / math.log2(min(rows, columns)) * (border - inside)


def test_blockiness_of_known_blocks():
    image = np.kron([[0, 1], [1, 0]], np.ones((8, 8)))
    # Every difference across a border is 1, every other 0; log2(8) / log2(16).
    assert metrics.blockiness(image) == pytest.approx(0.75)
    assert metrics.blockiness(np.roll(image, 4, axis=(0, 1))) == 0


def test_blockiness_is_the_literal_formula(rng):
    image = rng.random((19, 26))
    image[8:16] += 1
    found = metrics.blockiness(image)
    assert found == pytest.approx(literal_bef(image))
    assert found > 0
    assert metrics.blockiness(image, block=4) == pytest.approx(literal_bef(image, 4))
    colour = np.stack([image, image, image], axis=-1)
    assert metrics.blockiness(colour) == pytest.approx(found)


def test_psnr_b_punishes_jpeg():
    truth = camera()[128:256, 128:256]
    file = io.BytesIO()
    Image.fromarray(truth).save(file, "JPEG", quality=10)
    jpeg = np.asarray(Image.open(file))
    assert metrics.psnr_b(jpeg, truth) < metrics.psnr(jpeg, truth) - 0.5
    # In units of the range, as the error is.
    bef = literal_bef(jpeg / 255)
    mse = np.mean((jpeg / 255 - truth / 255) ** 2)
    wanted = -10 * math.log10(mse + bef)
    assert metrics.psnr_b(jpeg, truth) == pytest.approx(wanted)


def test_psnr_b_is_psnr_without_blocks():
    ramp = np.add.outer(np.arange(20.0), np.arange(24.0))
    image = ramp + 1
    assert metrics.psnr_b(image, ramp, data_range=10) == pytest.approx(20)
    assert metrics.psnr_b(ramp, ramp, data_range=10) == math.inf


# What is refused

A = np.zeros((8, 9, 3))
W = np.ones((8, 9))
REFUSED = {
    "floats without a range": (lambda: metrics.psnr(A, A), "data_range must be given"),
    "bytes and floats": (
        lambda: metrics.psnr(A, A.astype(np.uint8)),
        "float64, uint8",
    ),
    "a range of 0": (lambda: metrics.psnr(A, A, data_range=0), "positive number"),
    "a range in words": (lambda: metrics.psnr(A, A, data_range="1"), "positive"),
    "a range that is none": (
        lambda: metrics.psnr(A, A, data_range=True),
        "data_range must be a positive number; got True",
    ),
    "two shapes": (
        lambda: metrics.psnr(A, A[1:], data_range=1),
        r"\(8, 9, 3\).*\(7, 9, 3\)",
    ),
    "NaN": (lambda: metrics.psnr(A, A + np.nan, data_range=1), "truth must be finite"),
    "complex numbers": (lambda: metrics.psnr(A, A + 1j, data_range=1), "complex"),
    "a mask of another shape": (
        lambda: metrics.psnr_mask(A, A, W[1:], data_range=1),
        "mask must have",
    ),
    "an empty mask": (
        lambda: metrics.psnr_mask(A, A, W * 0, data_range=1),
        "nothing but zeros",
    ),
    "a mask with NaN": (
        lambda: metrics.psnr_mask(A, A, W * np.nan, data_range=1),
        "mask must be 0 or nonzero; got NaN in 72 places",
    ),
    "luma of gray": (lambda: metrics.psnr_luma(W, W, data_range=1), r"\(Y, X, 3\)"),
    "luma of four channels": (
        lambda: metrics.psnr_luma(A[..., [0, 0, 0, 0]], A[..., [0] * 4], data_range=1),
        r"\(8, 9, 4\)",
    ),
    "an empty crop": (
        lambda: metrics.psnr_luma(
            A, A, data_range=1, crop=(slice(8, None), slice(None))
        ),
        "crop must leave pixels",
    ),
    "a table's region of a thumbnail": (
        lambda: metrics.table_region((31, 40)),
        "32 x 32",
    ),
    "SSIM of a strip": (
        lambda: metrics.ssim(W[:6], W[:6], data_range=1),
        "at least 7 pixels",
    ),
    "no such axis": (
        lambda: metrics.ssim(A, A, data_range=1, channel_axis=3),
        "channel_axis",
    ),
    "a word for an axis": (
        lambda: metrics.ssim(A, A, data_range=1, channel_axis="last"),
        "'last'",
    ),
    "axes for an axis": (
        lambda: metrics.ssim(A, A, data_range=1, channel_axis=(0,)),
        r"channel_axis must be auto, an integer or None; got \(0,\)",
    ),
    "a word for a crop": (
        lambda: metrics.psnr_luma(A, A, data_range=1, crop="middle"),
        "crop must be two slices, .* got 'middle'",
    ),
    "numbers for a crop": (
        lambda: metrics.psnr_luma(A, A, data_range=1, crop=(3, 4)),
        r"crop must be two slices, .* got \(3, 4\)",
    ),
    "a number in a crop": (
        lambda: metrics.psnr_luma(A, A, data_range=1, crop=(slice(4), 4)),
        "crop must be two slices",
    ),
    "words in a crop": (
        lambda: metrics.psnr_luma(A, A, data_range=1, crop=(slice("a"), slice(2))),
        "crop must be two slices",
    ),
    "a number for a shape": (
        lambda: metrics.table_region(64),
        "shape must be that of an image; got 64",
    ),
    "a shape of words": (
        lambda: metrics.table_region(("a", "b")),
        "shape must be that of an image",
    ),
    "a single block": (lambda: metrics.blockiness(W), "more than 8 rows"),
    "blocks of one": (lambda: metrics.blockiness(W, block=1), "at least 2"),
    "blocks of a volume": (lambda: metrics.blockiness(A[None]), r"\(Y, X, C\)"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    call, message = REFUSED[what]
    with pytest.raises(InputError, match=message):
        call()
