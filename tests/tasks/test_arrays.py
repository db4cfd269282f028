"""Arrays of every layout, there and back."""

from pathlib import Path

import dask.array
import numpy as np
import pytest
import scipy.sparse
import torch

from napari_dip.errors import FileError, InputError
from napari_dip.tasks.arrays import (
    Layout,
    as_array,
    cast,
    check_integers,
    narrowed,
    without_single_axes,
)

# shape, channel_axis, spatial_dims -> axis of the channels, channels, planes, sides
LAYOUTS = [
    ((20, 18), "auto", 2, None, 1, 1, (20, 18)),
    ((20, 18, 3), "auto", 2, 2, 3, 1, (20, 18)),
    ((20, 18, 4), "auto", 2, 2, 4, 1, (20, 18)),
    ((5, 20, 18), "auto", 2, None, 1, 5, (20, 18)),
    ((2, 5, 20, 18, 3), "auto", 2, 4, 3, 10, (20, 18)),
    ((3, 20, 18), 0, 2, 0, 3, 1, (20, 18)),
    ((3, 20, 18), "auto", 2, None, 1, 3, (20, 18)),
    ((20, 7, 18), 1, 2, 1, 7, 1, (20, 18)),
    ((20, 18, 7), -1, 2, 2, 7, 1, (20, 18)),
    ((4, 6, 20, 18), -3, 2, 1, 6, 4, (20, 18)),
    ((4, 20, 6, 18), 2, 2, 2, 6, 4, (20, 18)),
    ((4, 6, 20, 18), 0, 2, 0, 4, 6, (20, 18)),
    ((6, 20, 18, 3), None, 2, None, 1, 0, None),
    ((16, 20, 18), "auto", 3, None, 1, 1, (16, 20, 18)),
    ((16, 20, 18, 3), "auto", 3, 3, 3, 1, (16, 20, 18)),
    ((5, 16, 20, 18), "auto", 3, None, 1, 5, (16, 20, 18)),
    ((16, 2, 20, 18), 1, 3, 1, 2, 1, (16, 20, 18)),
    ((3, 16, 20, 2, 18), -2, 3, 3, 2, 3, (16, 20, 18)),
]


GOOD = [case for case in LAYOUTS if case[-1] is not None]


@pytest.mark.parametrize(
    ("shape", "channel_axis", "dims", "axis", "channels", "planes", "sides"), GOOD
)
def test_layouts(shape, channel_axis, dims, axis, channels, planes, sides):
    random = np.random.default_rng(0)
    array = random.normal(size=shape)
    layout = Layout.of(array, channel_axis, dims, "image")
    assert layout.channel_axis == axis
    assert (layout.channels, layout.planes) == (channels, planes)
    assert layout.sides == sides
    indices = list(layout.indices())
    assert len(indices) == planes
    again = np.full(shape, np.nan, np.float32)
    for index in indices:
        plane = layout.take(array, index)
        assert plane.shape == (channels, *sides)
        assert plane.dtype == array.dtype
        again[index] = layout.arrange(plane)
    np.testing.assert_array_equal(again, array.astype(np.float32))


def test_take_puts_the_channels_first():
    array = np.arange(2 * 16 * 3 * 17).reshape(2, 16, 3, 17)
    layout = Layout.of(array, 2, 2, "image")
    first, second = layout.indices()
    np.testing.assert_array_equal(layout.take(array, second)[1], array[1, :, 1])
    np.testing.assert_array_equal(layout.take(array, first)[2], array[0, :, 2])


def test_resized_changes_the_spatial_sides_only():
    layout = Layout.of(np.zeros((5, 20, 18, 3)), "auto", 2, "image")
    assert layout.resized((40, 36)) == (5, 40, 36, 3)
    layout = Layout.of(np.zeros((20, 6, 18)), 1, 2, "image")
    assert layout.resized((1, 2)) == (1, 6, 2)


@pytest.mark.parametrize(
    ("shape", "channel_axis", "dims"),
    [
        ((20, 18), 0, 2),
        ((20,), "auto", 2),
        ((15, 20), "auto", 2),
        ((20, 15, 3), "auto", 2),
        ((20, 20, 3), None, 2),
        ((20, 18), "auto", 3),
        ((3, 20, 20), "auto", 3),
    ],
)
def test_too_few_pixels_are_refused(shape, channel_axis, dims):
    with pytest.raises(InputError) as caught:
        Layout.of(np.zeros(shape), channel_axis, dims, "guide")
    text = str(caught.value)
    assert text.startswith("guide must have at least 16 pixels")
    assert str(shape) in text


def test_channels_on_an_axis_of_pixels_are_guessed():
    with pytest.raises(InputError, match=r"if the last axis holds .* channel_axis=-1$"):
        Layout.of(np.zeros((32, 40, 2)), "auto", 2, "image")
    with pytest.raises(InputError, match=r"spatial$"):
        Layout.of(np.zeros((2, 40, 12, 3)), "auto", 2, "image")


def test_volumes_of_few_slices_are_taken_where_that_is_said():
    layout = Layout.of(np.zeros((2, 20, 18)), "auto", 3, "image", fewest_slices=1)
    assert layout.sides == (2, 20, 18)
    with pytest.raises(InputError, match="image must have at least 16 pixels"):
        Layout.of(np.zeros((20, 15, 18)), "auto", 3, "image", fewest_slices=1)


@pytest.mark.parametrize("axis", [3, -4])
def test_channel_axes_out_of_range_are_refused(axis):
    with pytest.raises(InputError) as caught:
        Layout.of(np.zeros((20, 18, 3)), axis, 2, "image")
    assert "channel_axis must be from -3 to 2" in str(caught.value)
    assert f"got {axis}" in str(caught.value)


def test_masked_values_are_missing():
    array = np.ma.masked_less(np.arange(400.0).reshape(20, 20), 10)
    found = as_array(array, "image")
    assert np.isnan(found.ravel()[:10]).all()
    assert np.isfinite(found.ravel()[10:]).all()


def test_lists_become_arrays_and_lazy_arrays_stay_lazy():
    assert as_array([[1, 2], [3, 4]], "image").shape == (2, 2)
    assert isinstance(as_array(torch.ones(2, 3), "image"), np.ndarray)
    lazy = dask.array.ones((4, 16, 16), chunks=(1, 16, 16))
    found = as_array(lazy, "image")
    assert not isinstance(found, np.ndarray)
    assert (found.shape, found.dtype, found.ndim) == ((4, 16, 16), np.float64, 3)
    np.testing.assert_array_equal(found[1], np.ones((16, 16)))
    np.testing.assert_array_equal(np.asarray(found, np.int8), np.ones((4, 16, 16)))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.ones((16, 16), complex), "complex"),
        (np.full((16, 16), None), "object"),
        (np.full((16, 16), "a"), "<U1"),
        (None, "object"),
        (np.zeros((16, 16), "datetime64[s]"), "datetime64"),
    ],
    ids=["complex", "object", "string", "none", "dates"],
)
def test_what_is_no_real_number_is_refused(value, words):
    with pytest.raises(InputError, match="mask must be an array of real") as caught:
        as_array(value, "mask")
    assert words in str(caught.value)


def failing(block):
    """Fail as a chunk does that cannot be read."""
    raise OSError("disk\nfull")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([[1, 2], [3]], "cannot be read as an array: ValueError: .* inhomogeneous"),
        (torch.ones(16, 16, requires_grad=True), "RuntimeError: .*detach"),
        (torch.ones(16, 16, dtype=torch.bfloat16), "TypeError: .*BFloat16"),
        (torch.ones(16, 16).to_sparse(), "TypeError: .*dense"),
        (torch.ones(16, 16, device="meta"), "TypeError: .*meta"),
        (scipy.sparse.csr_array(np.eye(16)), "must be a dense array; got .*csr_array"),
        (scipy.sparse.coo_matrix(np.eye(16)), "must be a dense .*coo_matrix.*toarray"),
        ({1, 2}, r"got dtype object \(set\)"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_in_one_line(value, words):
    with pytest.raises(InputError, match=f"^guide .*{words}") as caught:
        as_array(value, "guide")
    assert "\n" not in str(caught.value)


def test_lazy_arrays_that_cannot_be_read_are_refused():
    array = dask.array.ones((16, 16), chunks=8)
    with pytest.raises(InputError, match=r"psf must have a shape that is known; .*nan"):
        as_array(array[array[:, 0] > 0], "psf")
    lazy = as_array(array.map_blocks(failing, meta=np.empty((0, 0))), "psf")
    for read in (lambda: lazy[0], lambda: np.asarray(lazy, np.float64)):
        with pytest.raises(
            InputError, match=r"^psf cannot be .* array: OSError: disk$"
        ):
            read()


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_that_float64_cannot_hold_are_refused(dtype):
    most = np.full((4, 4), 2**53, dtype)
    assert check_integers(most, "image") is most
    with pytest.raises(InputError, match=r"image must not hold .* 2\*\*53.*9007"):
        check_integers(most + np.ones(1, dtype), "image")
    masked = np.ma.masked_equal(most + np.ones(1, dtype), 0)
    with pytest.raises(InputError, match="image must not hold integers"):
        as_array(masked, "image")


@pytest.mark.parametrize("value", [np.zeros((0, 16)), []], ids=repr)
def test_empty_arrays_are_refused(value):
    with pytest.raises(InputError, match="image must not be empty; got an array of"):
        as_array(value, "image")


@pytest.fixture
def plane():
    return np.random.default_rng(0).normal(700, 60, (3, 30, 40)).astype(np.float32)


def test_narrowed_keeps_what_does_not_fit():
    assert narrowed(np.array([1.0, np.nan, np.inf]), np.dtype("f4")).dtype == np.float32
    assert narrowed(np.array([1e39]), np.dtype("f4")).tolist() == [1e39]


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64"]
)
def test_cast_rounds_and_clips_and_never_wraps(dtype):
    dtype = np.dtype(dtype)
    limits = np.iinfo(dtype)
    beyond = [float(limits.min) * 1.01 - 300, float(limits.max) * 1.01 + 300]
    values = np.array([*beyond, 1e30, -1e30, 3.4, 3.6, 0.5, 1.5], np.float32)
    found = cast(values, dtype)
    assert found.dtype == dtype
    low, high = limits.min, limits.max
    assert found.tolist() == [low, high, high, low, 3, 4, 0, 2]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint64", "int64"])
def test_cast_at_the_very_ends(dtype):
    limits = np.iinfo(dtype)
    ends = np.array([limits.min, limits.max], np.float32)
    assert cast(ends, np.dtype(dtype)).tolist() == [limits.min, limits.max]


def test_cast_gives_no_infinity_and_nothing_random():
    values = np.array([1e6, -1e6, 3.5, np.nan], np.float32)
    half = cast(values, np.dtype("float16"))
    np.testing.assert_array_equal(half, np.float16([65504, -65504, 3.5, np.nan]))
    single = cast(np.array([1e300]), np.dtype("float32"))
    assert single == np.finfo(np.float32).max
    assert cast(values, np.dtype("uint8")).tolist() == [255, 0, 4, 0]


def test_cast_to_bool_and_floats():
    values = np.array([-1, 0.49, 0.5, 2], np.float32)
    assert cast(values, np.dtype(bool)).tolist() == [False, False, True, True]
    for dtype in ("float16", "float64"):
        found = cast(values, np.dtype(dtype))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, values, rtol=1e-3)


@pytest.mark.parametrize(
    ("shape", "like", "expected"),
    [
        ((1, 1, 5, 8, 9), None, (5, 8, 9)),
        ((1, 1, 1, 8, 9), None, (8, 9)),
        ((1, 8, 9), None, (8, 9)),
        ((8, 9), None, (8, 9)),
        ((1, 1, 1), None, (1, 1)),
        ((1, 8, 9, 3), None, (8, 9, 3)),
        ((1, 2, 1, 8, 9), (2, 8, 9), (2, 8, 9)),
        ((2, 8, 9), (1, 2, 1, 8, 9), (1, 2, 1, 8, 9)),
        ((1, 1, 8, 9), (5, 8, 9), (8, 9)),
        ((1, 8, 9), (1, 8, 9), (1, 8, 9)),
        ((8, 9, 1), (8, 9), (8, 9)),
        ((8, 1, 9), (1, 8, 9), (1, 8, 9)),
    ],
)
def test_axes_of_one_element(shape, like, expected):
    assert without_single_axes(np.zeros(shape), like).shape == expected
    assert without_single_axes(dask.array.zeros(shape), like).shape == expected


@pytest.mark.parametrize("path", ["a.tif", Path("a.tif")])
def test_file_in_place_of_an_array(path):
    says = r"image must be an array, not a file; read it first.*got 'a\.tif'"
    with pytest.raises(InputError, match=says):
        as_array(path, "image")


@pytest.mark.parametrize("value", [5, 3.0])
def test_number_in_place_of_an_array(value):
    with pytest.raises(InputError, match=f"an array of two axes or more; got {value}"):
        as_array(value, "image")


def test_error_of_a_file_that_is_read_by_regions_is_its_own():
    class Regions:
        shape, ndim, dtype = (16, 16), 2, np.dtype("f4")

        def __getitem__(self, index):
            raise FileError("a.tif is damaged")

    with pytest.raises(FileError, match=r"^a\.tif is damaged$"):
        as_array(Regions(), "image")[...]
