"""Planes are cleaned and scaled for a fit, and brought back to their units."""

import numpy as np
import pytest

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Layout, as_array
from napari_dip.tasks.plane import Pixels, keeping, prepare
from napari_dip.tasks.scaling import float_type


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int64", "uint64", "float16", "float64", ">f4"]
)
def test_real_dtypes_are_accepted(dtype):
    array = as_array(np.ones((16, 16), dtype), "image")
    assert array.dtype == dtype
    layout = Layout.of(array, "auto", 2, "image")
    plane = prepare(layout.take(array, next(layout.indices())), "image")
    assert plane.values.dtype == np.float32


def test_small_contrast_on_a_large_offset_survives():
    array = 1e9 + np.random.default_rng(0).normal(0, 0.3, (1, 32, 32))
    plane = prepare(array, "image")
    assert plane.span * plane.values.std() == pytest.approx(0.3, rel=0.1)


@pytest.fixture
def plane():
    return np.random.default_rng(0).normal(700, 60, (3, 30, 40)).astype(np.float32)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize(("factor", "shift"), [(1, 0), (1e-6, 0), (1e6, -3e8)])
def test_restore_undoes_prepare(plane, unit, factor, shift):
    plane = (plane * factor + shift).astype(np.float32)
    prepared = prepare(plane, "image", unit=unit)
    assert prepared.values.dtype == prepared.known.dtype == np.float32
    assert prepared.known.shape == (30, 40)
    assert (prepared.known == 1).all()
    restored = prepared.to_units(prepared.values)
    assert restored.dtype == np.float32
    tolerance = 1e-6 * np.abs(plane).max()
    np.testing.assert_allclose(restored, plane, rtol=0, atol=tolerance)


def test_unit_maps_minimum_and_maximum_to_zero_and_one(plane):
    prepared = prepare(plane, "image", unit=True)
    flat = plane.reshape(3, -1)
    assert prepared.values.reshape(3, -1).min(axis=1).tolist() == [0, 0, 0]
    assert prepared.values.reshape(3, -1).max(axis=1).tolist() == [1, 1, 1]
    np.testing.assert_array_equal(prepared.offset, flat.min(axis=1))
    np.testing.assert_allclose(prepared.span, np.ptp(flat, axis=1), rtol=1e-6)
    together = prepare(plane, "image", unit=True, together=True)
    assert (together.values.min(), together.values.max()) == (0, 1)
    assert set(together.offset) == {plane.min()}


def test_percentiles_keep_outliers_from_squeezing_the_image(plane):
    plane[0, 0, 0], plane[1, 1, 1] = 1e6, -1e6
    prepared = prepare(plane, "image")
    values = prepared.values
    for channel in values:
        low, high = np.percentile(channel, [0.1, 99.9])
        assert low == pytest.approx(0.05, abs=1e-3)
        assert high == pytest.approx(0.95, abs=1e-3)
    assert values[0, 0, 0] == pytest.approx(1.1)
    assert prepared.beyond[0, 0, 0] > 100
    assert prepared.to_units(values)[0, 0, 0] == pytest.approx(1e6)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("value", [1e9, 1e30, -1e30, 1e200])
def test_outliers_that_cannot_be_measured_count_as_missing(plane, unit, value):
    clean = prepare(plane, "image", unit=unit)
    plane = plane.astype(np.float64)
    plane[1, 3, 4] = value
    prepared = prepare(plane, "image", unit=unit)
    assert prepared.known[3, 4] == 0
    assert prepared.known.sum() == 30 * 40 - 1
    assert np.abs(prepared.values).max() < 2
    np.testing.assert_allclose(prepared.span, clean.span, rtol=0.1)
    (warning,) = prepared.warnings
    assert "pixels of image that lie more than 100,000 times" in warning
    assert warning.endswith("number is 1")


def test_values_that_stand_for_missing_ones_are_found_however_many(plane):
    plane[:, np.random.default_rng(1).random((30, 40)) < 0.3] = 1e36
    prepared = prepare(plane, "image")
    assert prepared.known.mean() == pytest.approx(0.7, abs=0.05)
    assert prepared.span.max() < 600


@pytest.mark.parametrize("bright", [65535, 3e5])
def test_beads_and_dark_backgrounds_are_no_outliers(bright):
    random = np.random.default_rng(0)
    image = np.rint(random.normal(100, 5, (1, 40, 40)))
    image[0, 20, 20] = bright
    assert prepare(image, "image").known.all()
    # Half of an image may be all but black.
    image = np.where(random.random((1, 40, 40)) < 0.4, random.random(image.shape), 1e-9)
    assert prepare(image, "image").known.all()


def test_few_bright_pixels_on_a_constant_background_have_a_range():
    image = np.zeros((1, 40, 40))
    image[0, 20, 20] = 1e-9
    prepared = prepare(image, "image")
    assert np.ptp(prepared.values) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 1, "float32"),
        (-3e8, 4e8, "float32"),
        (60000, 60010, "float32"),
        (7, 7, "float32"),
        (1e12, 1e12 + 100, "float64"),
        (-1e9, -1e9 + 1, "float64"),
        (0, 1e37, "float64"),
        (1e37, 1e37, "float64"),
        (0, 1e-37, "float64"),
    ],
)
def test_results_are_float64_where_float32_cannot_hold_them(low, high, dtype):
    assert float_type(low, high) == dtype


@pytest.mark.parametrize(
    ("scale", "shift"), [(1, 1e12), (1, -1e15), (1e200, 0), (1e-200, 0), (1e38, 0)]
)
def test_units_of_any_size_are_restored(plane, scale, shift):
    image = plane.astype(np.float64) * scale + shift
    prepared = prepare(image, "image")
    restored = prepared.to_units(prepared.values)
    assert restored.dtype == prepared.dtype == np.float64
    np.testing.assert_allclose(restored, image, rtol=0, atol=1e-3 * scale * 60 + 0.2)
    above = prepared.above(prepared.offset - prepared.span)
    assert above.values.dtype == np.float32
    np.testing.assert_allclose(above.values, prepared.values + 1, atol=0.01)


def test_values_beyond_what_float64_can_compute_with_are_refused(plane):
    with pytest.raises(
        InputError, match=r"image must be from -1e\+300 to 1e\+300; got"
    ):
        prepare(plane.astype(np.float64) * 1e298, "image")


@pytest.mark.parametrize("dtype", ["int32", "float64", "uint32"])
def test_what_is_kept_is_exact(dtype):
    image = (np.arange(400).reshape(1, 20, 20) * 5_000_001).astype(dtype)
    plane = prepare(image, "image")
    kept = np.zeros(image.shape, bool)
    kept[0, 3:] = True
    found = keeping(plane, kept)(plane.values)
    np.testing.assert_array_equal(found[kept], image[kept])


@pytest.mark.parametrize("unit", [False, True])
def test_a_constant_image_can_be_prepared(unit):
    prepared = prepare(np.full((1, 16, 16), 7, np.float32), "image", unit=unit)
    assert np.isfinite(prepared.values).all()
    np.testing.assert_allclose(prepared.to_units(prepared.values), 7, rtol=1e-6)


def test_nan_in_any_channel_is_missing_and_filled(plane):
    plane[1, 3, 4] = np.nan
    plane[:, 10:20] = np.nan
    prepared = prepare(plane, "image")
    assert np.isfinite(prepared.values).all()
    expected = np.ones((30, 40))
    expected[3, 4] = expected[10:20] = 0
    np.testing.assert_array_equal(prepared.known, expected)
    known = prepared.known > 0
    for channel in range(3):
        filled = prepared.values[channel][~known]
        np.testing.assert_allclose(
            filled, prepared.values[channel][known].mean(), rtol=1e-5
        )
    assert np.isnan(plane[1, 3, 4])  # the caller's array is not filled


def test_nan_does_not_change_the_scale(plane):
    # Both ends of the range of the known pixels are found without the missing.
    plane[:, :, :20] = np.nan
    prepared = prepare(plane, "image", unit=True)
    low, high = np.nanmin(plane, axis=(1, 2)), np.nanmax(plane, axis=(1, 2))
    np.testing.assert_array_equal(prepared.offset, low)
    np.testing.assert_allclose(prepared.span, high - low, rtol=1e-6)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused(plane, value):
    plane[0, :2, 0] = value
    with pytest.raises(InputError, match=r"guide must be finite .* got 2 infinite"):
        prepare(plane, "guide")


def test_nothing_but_nan_is_refused(plane):
    with pytest.raises(InputError, match="image must have known pixels; got nothing"):
        prepare(plane * np.nan, "image")


def test_channels_are_alike_by_the_range_of_what_varies():
    noise = np.random.default_rng(0).normal(0, 1, (16, 16))
    constant = np.zeros((16, 16))
    assert Pixels.of(np.stack([noise, 3 * noise])).like_range
    assert not Pixels.of(np.stack([noise, 4 * noise])).like_range
    assert Pixels.of(np.stack([noise, noise + 100])).like_range
    assert not Pixels.of(np.stack([noise, noise + 1e6])).like_range
    assert not Pixels.of(np.stack([noise, constant])).like_range
    assert Pixels.of(np.stack([constant, constant])).like_range
