"""Offsets of whole rows and columns."""

import dask.array
import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from napari_dip import InputError, denoise, denoise_guided
from napari_dip.tasks import stripes
from napari_dip.tasks.arrays import Layout
from napari_dip.tasks.plane import Pixels
from napari_dip.tasks.stripes import Stripes, row_offsets

LEFT = 4
"""Deviation of what may be left of offsets of 8: under their low frequencies, the image
has its own."""

FIXED = {"device": "cpu", "precision": "float32", "iterations": 20}

PART = np.s_[:64, :64]
"""What is fitted."""


def offsets_for(rows, seed=5):
    offsets = np.random.default_rng(seed).normal(0, 8, rows)
    return offsets - offsets.mean()


@pytest.fixture(scope="module")
def clean():
    random = np.random.default_rng(3).normal(size=(96, 128))
    return 100 + 300 * ndimage.gaussian_filter(random, 4)


@pytest.fixture(scope="module")
def noisy(clean):
    return clean + np.random.default_rng(4).normal(0, 5, clean.shape)


@pytest.fixture(scope="module")
def striped(noisy):
    return noisy + offsets_for(96)[:, None]


def everywhere(image):
    return np.ones(image.shape, bool)


def found_in(image, usable=None, **settings):
    usable = everywhere(image) if usable is None else usable
    return row_offsets(image, usable, **settings)


def left(found, true):
    return np.std(found - true)


def test_the_offsets_of_rows_are_found(striped):
    assert left(found_in(striped), offsets_for(96)) < LEFT


def test_those_of_columns_do_not_matter_for_them(striped):
    both = striped + offsets_for(128, seed=6)
    np.testing.assert_allclose(found_in(both), found_in(striped), atol=1e-3)


def test_offsets_without_other_noise_are_found(clean):
    assert left(found_in(clean + offsets_for(96)[:, None]), offsets_for(96)) < LEFT


def test_hot_pixels_and_counted_photons_make_no_difference(clean):
    random = np.random.default_rng(0)
    image = random.poisson(clean) + offsets_for(96)[:, None]
    image[random.random(image.shape) < 0.02] = 5000
    assert left(found_in(image), offsets_for(96)) < LEFT


PICTURES = {
    "camera": data.camera,
    "brick": data.brick,
    "page": data.page,
    "text": data.text,
    "checkerboard": data.checkerboard,
    "coins": data.coins,
}


@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("noise", [0.0, 0.04])
@pytest.mark.parametrize("name", PICTURES)
def test_what_pictures_show_is_no_noise_of_rows(name, noise, turned):
    picture = PICTURES[name]().astype(float)
    random = np.random.default_rng(1).normal(size=picture.shape)
    image = picture + noise * np.ptp(picture) * random
    assert found_in(image.T if turned else image) is None


def test_neither_are_white_noise_a_dark_border_nor_bars(noisy):
    assert found_in(noisy) is None
    bordered = noisy.copy()
    bordered[0] = bordered[-1] = 0
    assert found_in(bordered) is None
    bars = noisy + 40 * (np.arange(96) % 8 < 4)[:, None]
    assert found_in(bars) is None


def test_those_that_are_asked_for_need_not_look_like_noise(noisy):
    # Every other row, as scanning both ways makes them.
    alternating = 6 * (-1.0) ** np.arange(96)
    assert found_in(noisy + alternating[:, None]) is None
    assert left(found_in(noisy + alternating[:, None], asked=True), alternating) < LEFT


def test_small_images_are_not_looked_at(striped):
    assert found_in(striped[:40]) is None
    assert found_in(striped[:40], asked=True) is None


def test_pixels_that_hold_no_noise_take_no_part(striped):
    y, x = np.mgrid[-1:1:96j, -1:1:128j]
    inside = y**2 + x**2 < 1
    image = np.where(inside, striped, 0)
    rows = slice(4, 92)
    found = found_in(image, inside)
    assert left(found[rows], offsets_for(96)[rows]) < LEFT


def of(image, spatial_dims=2):
    layout = Layout.of(image, None, spatial_dims, "image")
    return Stripes(image, layout, "auto"), layout


def without(removing, index):
    values = removing.layout.take(removing.image, index)
    return removing.removed(Pixels.of(values), index, values)


def test_constant_regions_stay_as_they_came(striped):
    image = striped.copy()
    image[:, 100:] = 7
    removing, layout = of(image)
    (index,) = layout.indices()
    pixels = without(removing, index)
    assert (pixels.values[0, :, 100:] == 7).all()
    assert (
        pixels.values[0, :, :100].std(axis=0).mean() < image[:, :100].std(axis=0).mean()
    )


def test_parts_of_a_plane_have_its_offsets(striped):
    stack = np.stack([striped, striped[::-1]])
    removing, layout = of(stack)
    for index in layout.indices():
        whole = without(removing, index)
        place = layout.within(index, (slice(16, 60), slice(40, 90)))
        again, _ = of(stack)
        part = without(again, place)
        np.testing.assert_array_equal(part.values, whole.values[:, 16:60, 40:90])


def test_of_large_planes_strips_are_enough(striped, monkeypatch):
    wide = np.tile(striped, (1, 4))
    monkeypatch.setattr(stripes, "ENOUGH", wide.size // 4)
    removing, layout = of(wide)
    (index,) = layout.indices()
    removed = without(removing, index)
    found = (wide - removed.values[0])[:, 0]
    assert left(found, offsets_for(96)) < LEFT


def test_planes_of_a_volume_have_their_own(striped, noisy):
    volume = np.stack([noisy, striped, noisy, noisy])
    removing, layout = of(volume, spatial_dims=3)
    (index,) = layout.indices()
    removed = without(removing, index)
    changed = (removed.values[0] != volume).any(axis=(1, 2))
    assert changed.tolist() == [False, True, False, False]


def error(result, clean):
    return np.sqrt(np.mean((result - clean) ** 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    "image",
    [
        lambda image: image,
        dask.array.from_array,
        lambda image: np.round(image).astype("u1"),
    ],
    ids=["float", "dask", "uint8"],
)
def test_denoise_removes_them_and_says_so(striped, clean, image):
    striped, clean = striped[PART], clean[PART]
    fit = denoise(image(striped), full_output=True, **FIXED)
    assert error(fit.image, clean) < 5.5
    assert [w for w in fit.warnings if "rows" in w and "stripes=no" in w]


@pytest.mark.slow
def test_denoise_can_be_told_to_keep_them(striped, clean):
    striped, clean = striped[PART], clean[PART]
    fit = denoise(striped, stripes="no", full_output=True, **FIXED)
    assert error(fit.image, clean) > 6.5
    assert not fit.warnings


@pytest.mark.slow
@pytest.mark.parametrize("which", ["columns", "both"])
def test_denoise_can_be_told_which(noisy, clean, which):
    noisy, clean = noisy[PART], clean[PART]
    image = noisy + 8 * (-1.0) ** np.arange(64)
    fit = denoise(image, stripes=which, full_output=True, **FIXED)
    assert error(fit.image, clean) < 5.5
    assert not fit.warnings


@pytest.mark.slow
def test_channels_and_planes_of_a_shared_network_have_their_own(noisy, clean):
    noisy, clean = noisy[PART], clean[PART]
    planes = np.stack([noisy + offsets_for(64, n)[:, None] for n in range(2)])
    stack = np.stack([planes, planes[::-1]], axis=1)
    result = denoise(stack, channel_axis=1, share="yes", **FIXED)
    assert error(result, clean) < 5.5


@pytest.mark.slow
def test_guided_denoising_removes_them(striped, noisy, clean):
    striped, noisy, clean = striped[PART], noisy[PART], clean[PART]
    result = denoise_guided(striped, guide=noisy[::-1], **FIXED)
    assert error(result, clean) < error(noisy, clean)


@pytest.mark.slow
def test_the_published_fit_leaves_them(striped):
    settings = {**FIXED, "iterations": 1}
    fits = [
        denoise(striped, preset="paper", stripes=which, **settings)
        for which in ("auto", "no")
    ]
    np.testing.assert_array_equal(*fits)


def test_other_words_are_refused(striped):
    with pytest.raises(
        InputError, match="stripes must be auto, no, rows, columns or both"
    ):
        denoise(striped, stripes="yes")
