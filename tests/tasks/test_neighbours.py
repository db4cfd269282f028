"""Neighbouring planes as further input."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from napari_dip import denoise
from napari_dip.tasks import windows
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import Layout
from napari_dip.tasks.denoise import TASK, DenoiseRecipe
from napari_dip.tasks.neighbours import around, guide, most, related, stacked
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
    assert [i[1] for i in around(layout, index, 2)] == [0, 2, 1, 3]
    assert {i[0] for i in around(layout, index, 2)} == {1}
    last = list(layout.indices())[4]
    assert [i[1] for i in around(layout, last, 2)] == [3, 3, 2, 2]
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
    seen = guide(job, known, windows, 1)
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
    even = guide(job, known, windows, 1)[0]
    before = np.where(np.arange(4)[:, None, None] == 2, expected, seen[0])
    known = expected != 0.5
    for part in (slice(0, 2), slice(2, 4)):
        result = stretch.stretch(before[part])
        np.testing.assert_allclose(even[part][known[part]], result[known[part]], 1e-4)


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
