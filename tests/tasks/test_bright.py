"""A few pixels far brighter than all others keep their height in every task."""

import numpy as np
import pytest

import napari_dip
from napari_dip.tasks.plane import BRIGHTEST, DARKEST, prepare
from napari_dip.tasks.scaling import FAR

pytestmark = pytest.mark.usefixtures("few_passes")

HEIGHT = 30_000
SHORT = {"iterations": 4, "device": "cpu", "precision": "float32"}
MISSING = np.zeros((48, 52), bool)
MISSING[40:, ::3] = True
DELTA = np.pad([[1.0]], 2)

TASKS = {
    "denoise": ((), {}),
    "denoise_guided": ("guide", {}),
    "inpaint": ((MISSING,), {"keep_known": False, "noise": "present"}),
    "deconvolve": ((DELTA,), {}),
    "enhance": ((), {"amount": 0.0}),
    "remove_artifacts": ((), {}),
    "super_resolve": ((), {"factor": 2, "operator": "box", "noisy": "yes"}),
}


@pytest.fixture
def beads():
    """Return a function that gives a noisy image with beads, and where they are."""

    def make(height):
        random = np.random.default_rng(0)
        where = np.zeros((48, 52), bool)
        where[10:13, 20:23] = where[30:32, 8:10] = where[25, 40] = True
        image = 100 + 20 * np.sin(np.arange(52) / 8) + height * where
        return image + random.normal(0, 5, where.shape), where

    return make


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("name", "height"), [("denoise", HEIGHT), *((name, 100_000) for name in TASKS)]
)
def test_beads_keep_their_height(beads, name, height):
    image, where = beads(height)
    others, parameters = TASKS[name]
    others = (beads(0)[0],) if others == "guide" else others
    result = getattr(napari_dip, name)(image, *others, **SHORT | parameters)
    factor = result.shape[0] // 48
    result = result.reshape(48, factor, 52, factor).mean(axis=(1, 3))
    np.testing.assert_allclose(result[where], image[where], rtol=0.01)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    "name", ["denoise_guided", "inpaint", "remove_artifacts", "super_resolve"]
)
def test_a_peak_of_ten_ranges_is_not_lost(name):
    image = 100 + 20 * np.sin(np.arange(52) / 8) * np.ones((48, 1))
    image += np.random.default_rng(0).normal(0, 2, image.shape)
    guide, peak = image.copy(), (25, 40)
    image[peak] = 500
    others, parameters = TASKS[name]
    others = (guide,) if others == "guide" else others
    result = getattr(napari_dip, name)(image, *others, **SHORT | parameters)
    factor = result.shape[0] // 48
    result = result.reshape(48, factor, 52, factor).mean(axis=(1, 3))
    assert result[peak] == pytest.approx(500, rel=0.15)


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("heights", [[(1.2, 1.45), (-0.2, -0.45)], [(-5, -8)]])
@pytest.mark.parametrize(
    "name", ["denoise_guided", "inpaint", "remove_artifacts", "super_resolve"]
)
def test_what_a_network_cannot_reach_is_not_cut_off(name, heights):
    scene = 100 + 20 * np.sin(np.arange(52) / 8) * np.ones((48, 1))
    noisy = scene + np.random.default_rng(0).normal(0, 0.5, scene.shape)
    low, span = 80, 40
    rows, columns = [25, 10][: len(heights)], [40, 12][: len(heights)]
    others, parameters = TASKS[name]
    others = (scene,) if others == "guide" else others
    results, given = [], low + span * np.transpose(heights)
    for values in given:
        noisy[rows, columns] = values
        result = getattr(napari_dip, name)(noisy, *others, **SHORT | parameters)
        factor = result.shape[0] // 48
        result = result.reshape(48, factor, 52, factor).mean(axis=(1, 3))
        results.append(result[rows, columns])
    # The filters of super-resolution take a part of a lone pixel for noise.
    within = 0.15 if name == "super_resolve" else 0.02
    np.testing.assert_allclose(np.diff(results, axis=0), np.diff(given, axis=0), within)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", ["inpaint", "remove_artifacts"])
def test_what_is_slightly_too_bright_is_not_cut_off_beside_a_bead(name):
    image = 100 + 20 * np.sin(np.arange(52) / 8) * np.ones((48, 1))
    image += np.random.default_rng(0).normal(0, 0.5, image.shape)
    image[10, 20] = HEIGHT
    others, parameters = TASKS[name]
    results, given = [], [124, 126]  # of 80 to 120
    for value in given:
        image[25, 40] = value
        result = getattr(napari_dip, name)(image, *others, **SHORT | parameters)
        results.append(result[25, 40])
    assert np.diff(results) == pytest.approx(np.diff(given), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["denoise", "remove_artifacts"])
def test_beads_leave_the_others_their_range(beads, name):
    image, where = beads(HEIGHT)
    dim, _ = beads(0)
    function, further = getattr(napari_dip, name), SHORT | {"iterations": 15}
    errors = [np.abs(function(i, **further) - dim)[~where].mean() for i in (dim, image)]
    assert errors[1] < errors[0] + 3


def test_what_is_put_aside_comes_back(beads):
    image, where = beads(HEIGHT)
    plane = prepare(image[None], "image")
    assert plane.values.max() == np.float32(BRIGHTEST)
    np.testing.assert_array_equal(plane.beyond[0] > 0, where)
    np.testing.assert_allclose(plane.to_units(plane.values)[0], image, rtol=1e-5)
    finer = plane.to_units(plane.values.repeat(2, 1).repeat(2, 2))[0]
    np.testing.assert_allclose(finer[::2, 1::2], image, rtol=1e-5)
    usual = prepare(beads(FAR)[0][None], "image")
    assert usual.beyond is None
    dark = prepare(-image[None], "image")
    assert dark.values.min() == np.float32(DARKEST)
    np.testing.assert_array_equal(dark.beyond[0] < 0, where)
    np.testing.assert_allclose(dark.to_units(dark.values)[0], -image, rtol=1e-5)


def test_dead_and_hot_pixels_leave_the_others_their_range(beads):
    image, where = beads(HEIGHT)
    dead = np.roll(where, 7, axis=1)
    image[dead] -= HEIGHT
    usual, plane = (prepare(i[None], "image") for i in (beads(0)[0], image))
    np.testing.assert_allclose(plane.span, usual.span, rtol=0.1)
    np.testing.assert_array_equal(plane.beyond[0] != 0, where | dead)
    np.testing.assert_array_equal(plane.peaks[0], where | dead)
