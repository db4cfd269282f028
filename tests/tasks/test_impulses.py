"""Single pixels far from what is around them."""

import numpy as np
import pytest
from scipy import ndimage

from napari_dip import denoise, denoise_guided
from napari_dip.tasks.impulses import judged_by, kept_warnings, without_impulses
from napari_dip.tasks.noise import plane_model
from napari_dip.tasks.plane import prepare

FIXED = {"device": "cpu", "precision": "float32", "iterations": 20}


@pytest.fixture(scope="module")
def clean():
    random = np.random.default_rng(3).normal(size=(64, 64))
    image = 100 + 30 * ndimage.gaussian_filter(random, 3) * 10
    image[20:40, 20:24] += 60
    return image


@pytest.fixture(scope="module")
def hot(clean):
    """Return an image with hot and dead pixels, one without them, and where."""
    random = np.random.default_rng(4)
    where = random.random(clean.shape) < 0.02
    noisy = clean + random.normal(0, 5, clean.shape)
    ends = np.where(random.random(clean.shape) < 0.5, -50.0, 400.0)
    return np.where(where, ends, noisy), noisy, where


def plane_of(*channels):
    return prepare(np.stack(channels).astype(np.float64), "image")


def changed(plane):
    return without_impulses(plane).values != plane.values


def test_impulses_are_found_before_the_fit(hot):
    image, _, where = hot
    changes = changed(plane_of(image))[0]
    assert np.mean(changes[where]) > 0.9
    assert np.mean(changes[~where]) < 0.002


def test_every_channel_has_its_own(hot):
    image, noisy, where = hot
    changes = changed(plane_of(image, noisy, noisy))
    assert np.mean(changes[0][where]) > 0.9
    assert np.mean(changes[1:]) < 0.002


def test_planes_of_a_volume_have_their_own(hot):
    image, noisy, where = hot
    changes = changed(plane_of(np.stack([noisy, image, noisy, noisy])))[0]
    assert np.mean(changes[1][where]) > 0.9
    assert np.mean(changes[[0, 2, 3]]) < 0.002


@pytest.mark.parametrize("angle", [0, 30, 45, 90])
def test_thin_lines_are_none(angle):
    y, x = np.mgrid[-32:32, -32:32]
    distance = x * np.sin(np.deg2rad(angle)) + y * np.cos(np.deg2rad(angle))
    line = 20 + 200.0 * (np.abs(distance) < 0.5 + 1e-6)
    line += np.random.default_rng(0).normal(0, 3, line.shape)
    assert np.mean(changed(plane_of(line))) < 0.002


def test_constant_and_missing_pixels_are_none(hot):
    image = hot[0].copy()
    image[:, :16] = 400
    image[:16] = np.nan
    changes = changed(plane_of(image))[0]
    assert not changes[:, :16].any()
    assert not changes[:16].any()
    assert changes.any()


def test_what_was_taken_for_one_before_the_fit_is_judged_by_it(hot, clean):
    image, _, where = hot
    plane = plane_of(image)
    estimate = (clean[None] - plane.offset[0]) / plane.span[0]
    judged = judged_by(plane, without_impulses(plane), estimate.astype(np.float32))
    changes = judged.values != plane.values
    assert changes[0][where].all()
    assert np.mean(changes[0][~where]) < 0.001


def error(result, clean):
    return np.sqrt(np.mean((result - clean) ** 2))


@pytest.mark.slow
@pytest.mark.usefixtures("few_passes")
def test_an_image_is_restored_as_without_them(hot, clean):
    image, noisy, _ = hot
    result = denoise(image, noise="impulse", **FIXED)
    assert error(result, clean) < 1.5 * error(denoise(noisy, **FIXED), clean)


@pytest.mark.slow
@pytest.mark.usefixtures("few_passes")
def test_saturated_pixels_in_a_dim_image_are_taken_away(hot, clean):
    noisy = hot[1]
    image, lone = noisy.copy(), (slice(5, 60, 18), slice(7, 60, 17))
    image[lone] = 65535
    result = denoise(image, noise="impulse", **FIXED)
    assert error(result, clean) < 1.5 * error(denoise(noisy, **FIXED), clean)
    # They may be what is looked for.
    assert denoise(image, **FIXED)[lone].min() > 60000


@pytest.mark.slow
@pytest.mark.usefixtures("few_passes")
def test_a_guided_image_is_restored_without_them(hot, clean):
    image, _, where = hot
    result = denoise_guided(image, clean, noise="impulse", **FIXED)
    assert np.abs(result - clean)[where].max() < 75


def told(image):
    """Return the warnings of an image (C, ...)."""
    plane = prepare(image, "image")
    return kept_warnings(plane, plane_model(plane, "auto", None))


@pytest.fixture(scope="module")
def smooth():
    y, x = np.mgrid[:96, :96] / 10
    noise = np.random.default_rng(0).normal(0, 5, (96, 96))
    return (100 + 40 * np.sin(x) * np.cos(y) + noise)[None].astype(np.float32)


@pytest.mark.parametrize("height", [150, -90])
@pytest.mark.parametrize("shape", [(1, 96, 96), (2, 96, 96), (1, 4, 96, 96)])
def test_impulses_that_are_kept_are_told(smooth, height, shape):
    rest = smooth[0]
    image = np.broadcast_to(rest, shape).copy()
    assert told(image) == ()
    image[..., 8::24, 8::24] += height
    (warning,) = told(image)
    count = 16 * np.prod(shape[:-2])
    assert warning.startswith(f"{count} single pixels differ far")
    assert "noise=impulse" in warning


def test_few_impulses_are_not_told(smooth):
    image = smooth.copy()
    image[0, [10, 30, 50, 70], 40] = 300
    assert told(image) == ()


@pytest.mark.parametrize("width", [0.6, 0.8, 1.5])
def test_spots_are_no_impulses(width):
    spots = np.zeros((96, 96))
    spots[8::16, 8::16] = 1
    spots = ndimage.gaussian_filter(spots, width)
    noise = np.random.default_rng(0).normal(100, 5, spots.shape)
    assert told((noise + 200 * spots / spots.max())[None]) == ()


@pytest.mark.parametrize("peak", [0.3, 3])
def test_photons_are_no_impulses(smooth, peak):
    photons = np.random.default_rng(0).poisson(peak * smooth.clip(0) / smooth.max())
    assert told(photons) == ()


@pytest.mark.usefixtures("small_fits")
def test_only_who_keeps_impulses_is_told(smooth):
    image = smooth[0].copy()
    image[8::24, 8::24] += 150
    settings = {"iterations": 2, "full_output": True, "device": "cpu"}
    (warning,) = denoise(image, **settings).warnings
    assert "16 single pixels" in warning
    assert denoise(image, noise="impulse", **settings).warnings == []


def test_neighbours_are_looked_for_once(smooth, monkeypatch):
    image, calls, largest = smooth.copy(), [], ndimage.maximum_filter
    image[..., 8::24, 8::24] += 150
    plane = prepare(image, "image")
    model = plane_model(plane, "auto", None)
    monkeypatch.setattr(
        ndimage,
        "maximum_filter",
        lambda *given, **how: calls.append(1) or largest(*given, **how),
    )
    assert kept_warnings(plane, model)
    assert len(calls) == 1
