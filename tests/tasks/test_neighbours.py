"""Neighbouring planes as further input."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from napari_dip import denoise
from napari_dip.prior.local import Local
from napari_dip.tasks import restoring, windows
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import Layout
from napari_dip.tasks.denoise import TASK, DenoiseRecipe
from napari_dip.tasks.finishing import Finish
from napari_dip.tasks.neighbours import beside, guide, most, related, stacked
from napari_dip.tasks.stretch import KNOTS, Stretch

FIXED = {"device": "cpu", "precision": "float32"}


def blobs(*shape, seed=0):
    random = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(random, (*[0] * (len(shape) - 2), 3, 3))
    return (100 + 20 * smooth / smooth.std()).astype(np.float32)


def noisy(clean, sigma=10, seed=1):
    return (clean + np.random.default_rng(seed).normal(0, sigma, clean.shape)).astype(
        np.float32
    )


def job_of(stack, **parameters):
    job = TASK.job(DenoiseRecipe(**parameters), stack)
    return job, list(job.layout.indices())


def test_planes_lie_around_each_other_along_the_last_leading_axis():
    layout = Layout.of(np.zeros((2, 5, 20, 30)), None, 2, "image")
    index = list(layout.indices())[6]
    assert index == (1, 1, slice(None), slice(None))
    steps = (-1, 1, -2, 2)
    assert [beside(layout, index, n)[1] for n in steps] == [0, 2, 1, 3]
    assert {beside(layout, index, n)[0] for n in steps} == {1}
    last = list(layout.indices())[4]
    assert [beside(layout, last, n)[1] for n in steps] == [3, 3, 2, 2]
    assert most(layout) == 4
    assert most(Layout.of(np.zeros((20, 30)), None, 2, "image")) == 0


def test_planes_that_show_the_same_are_related():
    still = noisy(np.stack([blobs(80, 90)] * 4))
    job, planes = job_of(still)
    assert related(job, stacked(job, planes), planes)
    # Nor does a channel that shows nothing hide it.
    blank = np.stack([still, np.zeros_like(still)], -1)
    job, planes = job_of(blank, channel_axis=3)
    assert related(job, stacked(job, planes), planes)
    others = noisy(blobs(4, 80, 90))
    job, planes = job_of(others)
    assert not related(job, stacked(job, planes), planes)


def test_the_guide_is_what_lies_in_the_neighbours():
    stack = noisy(blobs(3, 20, 30, 2))
    stack[2, 3, 4, 0] = np.nan
    job, planes = job_of(stack, channel_axis=3)
    known = replace(Analysis.unknown(2), offset=(50.0, 0.0), span=(100.0, 200.0))
    windows = [job.layout.within(planes[1], (slice(0, 16), slice(2, 18)))]
    seen = guide(job, known, windows, stacked(job, windows), 1)
    assert seen.shape == (1, 4, 16, 16)
    expected = np.concatenate(
        [
            np.moveaxis((stack[n, :16, 2:18] - known.offset) / known.span, -1, 0)
            for n in (0, 2)
        ]
    )
    expected[2, 3, 2] = 0.5
    np.testing.assert_allclose(seen[0], expected, rtol=1e-5)
    # Where the planes are stretched, so is the guide.
    spreads = np.linspace(1, 0.2, 2 * KNOTS)
    stretch = Stretch.of(spreads.reshape(2, KNOTS))
    known = replace(known, spreads=tuple(spreads.tolist()))
    even = guide(job, known, windows, stacked(job, windows), 1)[0]
    before = np.where(np.arange(4)[:, None, None] == 2, expected, seen[0])
    known = expected != 0.5
    for part in (slice(0, 2), slice(2, 4)):
        result = stretch.stretch(before[part])
        np.testing.assert_allclose(even[part][known[part]], result[known[part]], 1e-4)


def blank_with_hot_pixels(plane):
    blank = np.zeros_like(plane)
    blank[::16, ::16] = 4000
    return blank


NOTHING = {
    "blank": lambda plane: plane * 0,
    "hot": blank_with_hot_pixels,
    "overexposed": lambda plane: plane * 0 + 65535,
    "nearly": lambda plane: 65500 + plane / 10,
    "missing": lambda plane: plane * np.nan,
}


def planes_beside(stack, plane, count):
    """Return which planes a network sees beside one, None for what is unknown."""
    job, planes = job_of(stack)
    own = stacked(job, [planes[plane]])
    known = replace(Analysis.unknown(1), offset=(0.0,), span=(200.0,))
    seen = guide(job, known, [planes[plane]], own, count)[0].numpy()
    numbers = []
    for part in seen:
        same = [np.allclose(part, values / 200, atol=1e-6) for values in stack]
        assert any(same) or (part == 0.5).all()
        numbers.append(same.index(True) if any(same) else None)
    return numbers


@pytest.mark.parametrize("bad", NOTHING)
def test_the_next_planes_stand_for_those_that_show_nothing(bad):
    stack = noisy(np.stack([blobs(40, 48)] * 9))
    assert planes_beside(stack, 4, 2) == [3, 5, 2, 6]
    stack[3] = NOTHING[bad](stack[3])
    assert planes_beside(stack, 4, 1) == [2, 5]
    assert planes_beside(stack, 4, 2) == [2, 5, 1, 6]
    # A plane is no neighbour of its own, and none is looked for any further.
    assert planes_beside(stack, 5, 4) == [4, 6, 2, 7, 1, 8, 0, 7]
    stack[5:8] = stack[3]
    assert planes_beside(stack, 4, 1) == [2, None]
    assert planes_beside(stack, 4, 2) == [2, 8, 1, None]


def test_planes_that_show_little_stay_neighbours():
    clean = np.stack([blobs(40, 48)] * 3)
    bleached = noisy(clean * [[[1]], [[0.3]], [[0.1]]], sigma=1)
    assert planes_beside(bleached, 1, 1) == [0, 2]
    brighter = noisy(clean * [[[1]], [[1]], [[3]]])
    assert planes_beside(brighter, 1, 1) == [0, 2]
    # In data that are mostly empty, so are parts of planes.
    sparse = np.zeros_like(clean)
    sparse[1, :10] = noisy(clean[1, :10])
    assert planes_beside(sparse, 1, 1) == [0, 0]
    # A bright place is bright in its neighbours as well.
    bright = noisy(clean + 500)
    assert planes_beside(bright, 1, 1) == [0, 2]
    # So are few photons few.
    counts = np.random.default_rng(0).poisson(0.005, (3, 40, 48)).astype(np.float32)
    assert planes_beside(counts, 1, 1) == [0, 2]


@pytest.mark.parametrize("bad", NOTHING)
def test_planes_that_show_nothing_do_not_hide_that_others_are_related(bad):
    still = noisy(np.stack([blobs(64, 64)] * 7))
    still[3] = NOTHING[bad](still[3])
    job, planes = job_of(still)
    windows = [index for number, index in enumerate(planes) if number != 3]
    assert related(job, stacked(job, windows), windows)
    still[1::2] = still[3]
    job, planes = job_of(still)
    windows = planes[::2]
    assert related(job, stacked(job, windows), windows)
    still[2:] = still[3]
    job, planes = job_of(still)
    assert not related(job, stacked(job, planes[:1]), planes[:1])


def test_of_planes_that_show_something_no_more_are_read(monkeypatch):
    stack = noisy(np.stack([blobs(40, 48)] * 9))
    job, planes = job_of(stack)
    own = stacked(job, planes)
    taken, take = [], type(job).take
    monkeypatch.setattr(
        type(job), "take", lambda self, index: taken.append(index) or take(self, index)
    )
    guide(job, Analysis.unknown(1), planes, own, 2)
    steps = (-1, -2, 1, 2)
    assert taken == [beside(job.layout, i, step) for i in planes for step in steps]


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(windows, "WINDOW_SIDE", 48)
    monkeypatch.setattr(windows, "WINDOWS", 6)


@pytest.mark.slow
def test_neighbours_that_show_the_same_thing_help(small_windows):
    clean = np.stack([blobs(64, 64)] * 3)
    stack = noisy(clean, sigma=20)
    common = {"share": "yes", "iterations": 25, **FIXED}

    def error(neighbours):
        fit = denoise(stack, neighbours=neighbours, full_output=True, **common)
        rest = fit.image - clean
        return float(np.sqrt(np.mean(rest**2))), fit.settings["planes"][0]["neighbours"]

    alone, none = error(0)
    together, two = error("auto")
    assert (none, two) == (0, 2)
    assert together < 0.97 * alone


@pytest.mark.slow
def test_there_are_no_more_neighbours_than_planes(small_windows):
    stack = noisy(np.stack([blobs(64, 64)] * 2))
    fit = denoise(
        stack, neighbours=8, share="yes", iterations=5, full_output=True, **FIXED
    )
    assert fit.settings["planes"][0]["neighbours"] == 1


def test_a_tile_sees_its_own_part_of_neighbours(changed_presets, monkeypatch):
    changed_presets(architecture=Local((4, 4)), coarse_iterations=0, finish=Finish())
    monkeypatch.setattr(windows, "WINDOWS", 2)
    sides, guide = [], restoring.guide

    def seeing(job, analysis, indices, stack, count):
        parts = [job.pixels(index).values.shape[1:] for index in indices]
        sides.extend((part, stack.values.shape[2:]) for part in parts)
        return guide(job, analysis, indices, stack, count)

    monkeypatch.setattr(restoring, "guide", seeing)
    stack = np.random.default_rng(0).normal(100, 8, (3, 48, 290)).astype(np.float32)
    denoise(stack, share="yes", tile=192, neighbours=1, iterations=1, **FIXED)
    assert (48, 256) in dict(sides)
    assert all(part == own for part, own in sides)
