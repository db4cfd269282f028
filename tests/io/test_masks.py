"""Masks are what their painter meant, and axes of one element do not matter."""

import pickle
import re

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from napari_dip.errors import InputError
from napari_dip.io import files
from napari_dip.io.image import Header, Image
from napari_dip.io.masks import mask_of, psf_of
from napari_dip.io.regions import Regions
from napari_dip.tasks.arrays import without_single_axes

PAINTED = np.zeros((48, 56), bool)
PAINTED[20:24, 10:40] = True
WHITE = 255 * PAINTED.astype("u1")
NOT = 255 - WHITE
NOISE = np.random.default_rng(0).integers(1, 255, (48, 56, 3)).astype("u1")


def layer(colour, opacity=WHITE):
    """Return RGBA, with one colour or several everywhere."""
    return np.dstack([np.broadcast_to(np.asarray(colour, "u1"), (48, 56, 3)), opacity])


MASKS = {
    "gray": (WHITE, None),
    "labels": (WHITE // 100, None),
    "black on clear": (layer((0, 0, 0)), "not transparent"),
    "white on clear": (layer((255, 255, 255)), "not transparent"),
    "red on clear": (layer((255, 0, 0)), "not transparent"),
    "colours on clear": (layer(NOISE), "not transparent"),
    "soft brush on clear": (layer((0, 0, 0), WHITE // 3), "not transparent"),
    "gray on clear": (np.dstack([WHITE, WHITE]), "not transparent"),
    "white on black on clear": (
        layer(np.dstack([WHITE] * 3), np.where(np.arange(56) < 50, 255, 0) + 0 * WHITE),
        "neither transparent nor black",
    ),
    "RGB": (np.dstack([WHITE] * 3), None),
    "black on white": (np.dstack([NOT] * 3), "every colour but white"),
    "gray on white": (np.dstack([NOT // 2 + 128] * 3), "every colour but white"),
    "red on black": (np.dstack([WHITE, WHITE * 0, WHITE * 0]), "every colour"),
    "blue on black, opaque": (
        layer(np.dstack([WHITE * 0, WHITE * 0, WHITE]), np.full((48, 56), 255)),
        "every colour but black",
    ),
    "red on white": (np.dstack([NOT * 0 + 255, NOT, NOT]), "every colour but white"),
    "cyan on white, opaque": (
        layer(np.dstack([NOT, NOT * 0 + 255, NOT * 0 + 255]), NOT * 0 + 255),
        "every colour but white",
    ),
    "pale and dark colours on white": (
        np.dstack([NOT * 0 + 255, NOT, NOT]) - np.where(PAINTED[..., None], NOISE, 0),
        "every colour but white",
    ),
}


@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize("name", MASKS)
def test_what_was_painted_is_marked(tmp_path, name, ending):
    pixels, says = MASKS[name]
    path = tmp_path / f"mask{ending}"
    Pillow.fromarray(pixels.astype("u1")).save(path)
    mask, note = mask_of(files.read(path), path.name)
    np.testing.assert_array_equal(mask != 0, PAINTED)
    if says is None:
        assert note is None
    else:
        assert says in note
        assert "4.5% of the pixels" in note


SOFT = np.minimum(255, 4 * WHITE.astype(int) // 5 + 51 * np.roll(PAINTED, 1, 1))
HOLE = np.where(PAINTED, np.nan, 0)


@pytest.mark.parametrize(
    ("pixels", "marked", "says"),
    [
        (PAINTED, PAINTED, None),
        (PAINTED.astype("u2"), PAINTED, None),
        (PAINTED.astype("f4"), PAINTED, None),
        (-PAINTED.astype("f4"), PAINTED, None),
        (SOFT.astype("u1"), SOFT > 0, "all values but 0, from 51 to 255$"),
        (SOFT.astype("f4") / 255, SOFT > 0, "all values but 0, from 0.2 to 1$"),
        (HOLE.astype("f4"), PAINTED, "4.5% of the pixels are marked: NaN and infinity"),
        ((HOLE + SOFT).astype("f4"), SOFT > 0, "NaN and all values but 0$"),
        (~PAINTED, ~PAINTED, "95.5% .* what is not 0; invert the mask if the others"),
        (255 - SOFT.astype("u1"), SOFT < 255, "from 51 to 255; invert the mask if"),
    ],
)
def test_values_that_are_told(tmp_path, pixels, marked, says):
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    mask, note = mask_of(files.read(tmp_path / "a.tif"), "a.tif")
    if marked is not None:
        np.testing.assert_array_equal(mask != 0, marked)
    assert np.isfinite(mask).all()  # tasks refuse others
    assert note is None if says is None else re.search(says, note)


@pytest.mark.parametrize(("columns", "inverted"), [(50, True), (56, False)])
def test_black_in_the_middle_of_white(columns, inverted):
    mask = np.ones((48, 56), "u1")
    mask[10:30, 6:columns] = 0
    _, note = mask_of(Image(mask, Header("", mask.shape, mask.dtype, "YX")), "a")
    assert ("invert the mask" in str(note)) == inverted


@pytest.mark.parametrize("where", [PAINTED, ~PAINTED])
def test_nan_without_zero_is_refused(tmp_path, where):
    tifffile.imwrite(tmp_path / "a.tif", np.where(where, np.nan, 1).astype("f4"))
    with pytest.raises(InputError, match=r"a\.tif has NaN or infinity, and no 0"):
        mask_of(files.read(tmp_path / "a.tif"), "a.tif")


def test_palette_of_black_on_white(tmp_path):
    pixels = Pillow.frombytes("P", (56, 48), PAINTED.astype("u1").tobytes())
    pixels.putpalette([255, 255, 255, 0, 0, 0])
    pixels.save(tmp_path / "a.png")
    mask, note = mask_of(files.read(tmp_path / "a.png"), "a.png")
    np.testing.assert_array_equal(mask != 0, PAINTED)
    assert "4.5% of the pixels are marked: every colour but white" in note


@pytest.mark.parametrize("gray", [0, 255])
def test_one_gray_everywhere_is_on_no_ground(tmp_path, gray):
    Pillow.new("RGB", (20, 16), (gray,) * 3).save(tmp_path / "a.png")
    mask, _ = mask_of(files.read(tmp_path / "a.png"), "a.png")
    assert (mask == gray).all()


@pytest.mark.parametrize("quality", [30, 95])
def test_black_on_white_in_a_jpeg(tmp_path, quality):
    Pillow.fromarray(NOT).convert("RGB").save(tmp_path / "a.jpg", quality=quality)
    mask, note = mask_of(files.read(tmp_path / "a.jpg"), "a.jpg")
    np.testing.assert_array_equal(mask != 0, PAINTED)
    assert "every colour but white above" in note


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        (".jpg", {"quality": 75}),
        (".jpg", {"quality": 30}),
        (".tif", {"compression": "jpeg", "quality": 75}),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_halos_of_jpeg_are_not_marked(tmp_path, mode, ending, options):
    path = tmp_path / f"mask{ending}"
    Pillow.fromarray(WHITE).convert(mode).save(path, **options)
    image = files.read(path)
    assert (image.data != 0).mean() > 1.1 * PAINTED.mean()
    mask, note = mask_of(image, path.name)
    np.testing.assert_array_equal(mask != 0, PAINTED)
    assert "losses" in note


@pytest.mark.parametrize("bits", ["1", "P", "array"])
def test_masks_of_bits_and_of_a_palette(tmp_path, bits):
    path = tmp_path / "mask.tif"
    if bits == "array":
        tifffile.imwrite(path, PAINTED)  # declares 0 to be white
    elif bits == "1":
        Pillow.fromarray(PAINTED).save(path, compression="group4")
    else:
        indexed = Pillow.fromarray(PAINTED.astype("u1")).convert("P")
        indexed.putpalette([0, 0, 0, 128, 0, 0])
        indexed.save(path)
    mask, _ = mask_of(files.read(path), path.name)
    np.testing.assert_array_equal(mask != 0, PAINTED)


def test_most_of_an_image_may_be_missing_in_rgb(tmp_path):
    scattered = np.random.default_rng(0).random((48, 56)) < 0.7
    rgb = np.dstack([np.where(scattered, 255, 0).astype(np.uint8)] * 3)
    Pillow.fromarray(rgb).save(tmp_path / "a.png")
    mask, note = mask_of(files.read(tmp_path / "a.png"), "a.png")
    np.testing.assert_array_equal(mask != 0, scattered)
    assert note is None


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("ground", ["black", "white"])
def test_red_in_a_jpeg(tmp_path, ground, quality):
    other = WHITE * 0 if ground == "black" else NOT
    red = np.dstack([WHITE | other, other, other])
    Pillow.fromarray(red).save(tmp_path / "a.jpg", quality=quality, subsampling=0)
    mask, note = mask_of(files.read(tmp_path / "a.jpg"), "a.jpg")
    np.testing.assert_array_equal(mask != 0, PAINTED)
    assert f"every colour but {ground} above" in note


def test_colours_on_another_ground_are_refused(tmp_path):
    green = np.dstack([WHITE, NOT, WHITE * 0])
    Pillow.fromarray(green).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"on black, white.*a\.png has colours"):
        mask_of(files.read(tmp_path / "a.png"), "a.png")


def test_nothing_painted_marks_nothing(tmp_path):
    Pillow.fromarray(layer((0, 0, 0), WHITE * 0)).save(tmp_path / "mask.png")
    mask, note = mask_of(files.read(tmp_path / "mask.png"), "mask.png")
    assert not mask.any()
    assert "0.0%" in note


@pytest.mark.parametrize("name", MASKS)
def test_mask_that_was_opened_means_the_same(tmp_path, name):
    path = tmp_path / "mask.tif"
    Pillow.fromarray(MASKS[name][0].astype("u1")).save(path)
    expected, note = mask_of(files.read(path), "mask.tif")
    mask, same_note = mask_of(files.open_image(path), "mask.tif")
    np.testing.assert_array_equal(mask, expected)
    assert same_note == note
    # Values alone can be looked at later, region by region.
    assert isinstance(mask, Regions) == (name in ("gray", "labels"))


@pytest.mark.parametrize(
    ("shape", "like", "expected"),
    [
        ((48, 56), (1, 1, 1, 48, 56), (1, 1, 1, 48, 56)),
        ((1, 48, 56), None, (48, 56)),
        ((2, 48, 56), (1, 2, 1, 48, 56), (1, 2, 1, 48, 56)),
        ((48, 56), (48, 56), (48, 56)),
    ],
)
def test_what_was_opened_stays_so_with_other_axes(tmp_path, shape, like, expected):
    data = np.random.default_rng(0).integers(1, 255, shape).astype("u1")
    tifffile.imwrite(tmp_path / "a.tif", data, tile=(16, 16))
    pixels = without_single_axes(files.open_image(tmp_path / "a.tif").data, like)
    assert isinstance(pixels, Regions)
    assert pixels.shape == expected
    assert len(pixels.chunks) == pixels.ndim == len(expected)
    for array in (pixels, pickle.loads(pickle.dumps(pixels))):
        np.testing.assert_array_equal(array[...], data.reshape(expected))
        np.testing.assert_array_equal(array[..., 5:9], data.reshape(expected)[..., 5:9])


@pytest.mark.parametrize("axes", ["YXS", "CYX"])
def test_psf_of_several_channels(axes):
    gray = np.arange(25.0).reshape(5, 5)
    stack = np.stack([gray] * 3, -1 if axes == "YXS" else 0)
    image = Image(stack, Header("", stack.shape, stack.dtype, axes))
    np.testing.assert_array_equal(psf_of(image, "psf.png"), gray)
    image.data[0, 0, 0] += 1
    with pytest.raises(InputError, match=f"psf must be one image.*psf.png.*{axes}"):
        psf_of(image, "psf.png")


def test_psf_of_a_plane_with_an_axis_of_one_element():
    gray = np.arange(35.0).reshape(7, 5)
    for shape in ((7, 5), (7, 5, 1), (7, 1, 5)):
        image = Image(
            gray.reshape(shape), Header("", shape, gray.dtype, "QYX"[-len(shape) :])
        )
        np.testing.assert_array_equal(psf_of(image, "psf.tif"), gray)
    for shape in ((1, 1, 7, 5), (7, 1, 1), (5, 7, 5)):
        pixels = np.ones(shape)
        image = Image(pixels, Header("", shape, gray.dtype, "QRYX"[-len(shape) :]))
        assert psf_of(image, "psf.tif").shape == shape
