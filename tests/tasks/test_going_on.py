"""Jobs of several fits that go on after the user has stopped them."""

import numpy as np
import pytest

from napari_dip.prior import interrupt
from napari_dip.prior.fit import STOPPED, run_to_end
from napari_dip.tasks import sweep
from napari_dip.tasks.pool import Here
from napari_dip.tasks.result import numbers
from napari_dip.tasks.run import get, run
from tests.slow import slow_but

FIXED = {"iterations": 6, "device": "cpu", "precision": "float32"}


pytestmark = pytest.mark.usefixtures("tiny_windows")


class Job:
    """A job that stops at a number of its iterates, as often as one asks for it."""

    def __init__(self, image, name="denoise", ahead=0, **parameters):
        task = get(name)
        recipe = task.recipe(**{**FIXED, **parameters})
        pool = Here(task.job(recipe, image), ahead)
        self.begin = lambda: run(task, recipe, [image], resumable=True, pool=pool)
        self.places = []
        """Fit and iteration of every iterate, and the plane that it is of."""

    def stopped(self, fitting, at):
        """Return a fit that is sent True from an iterate on, as the panels do."""
        first = len(self.places)

        def watch(it):
            self.places.append((it.part, it.step, it.index[:1]))
            return len(self.places) - first >= at

        with interrupt.asking(lambda: len(self.places) - first >= at):
            return run_to_end(fitting, watch)

    def whole(self):
        return run_to_end(self.begin())


@pytest.fixture(scope="module")
def wholes():
    """Return what jobs give that nobody stops, by name."""
    return {}


def assert_same(fit, whole):
    np.testing.assert_array_equal(fit.image, whole.image)
    if whole.uncertainty is not None:
        np.testing.assert_array_equal(fit.uncertainty, whole.uncertainty)
    assert fit.history == whole.history
    assert fit.warnings == whole.warnings
    assert (fit.stopped_by, fit.not_begun) == (whole.stopped_by, ())
    assert fit.settings == whole.settings


CASES = {
    "planes": ({}, lambda stack: stack),
    "channels": (
        {"channel_axis": 1},
        lambda stack: np.stack([stack[:2], 30 * stack[1::-1]], axis=1),
    ),
    "seeds": ({"restarts": 2}, lambda stack: stack[:2]),
    "tiles": ({"tile": 192}, lambda stack: np.tile(stack[:2], 8)),
    "input": ({"dtype": "input"}, lambda stack: stack[:3].astype(np.uint16)),
}


@pytest.mark.parametrize("at", slow_but([1, 8], 8))
@pytest.mark.parametrize("case", slow_but(CASES, "planes", "channels"))
def test_a_stack_goes_on_where_it_was_stopped(stack, case, at, wholes):
    more, prepare = CASES[case]
    image = prepare(stack)
    job = Job(image, name="enhance" if case == "tiles" else "denoise", **more)
    stopped = job.stopped(job.begin(), at)
    assert STOPPED in stopped.stopped_by
    planes = len(image)
    assert stopped.not_begun == tuple(range(planes - len(stopped.not_begun), planes))
    assert stopped.not_begun or case == "tiles"
    for plane in stopped.not_begun:
        np.testing.assert_array_equal(stopped.image[plane], image[plane])
    kept = stopped.image.copy()
    count = len(job.places)
    further = job.stopped(stopped.resume(5), 10**9)
    whole = wholes[case] = wholes.get(case) or job.whole()
    assert_same(further, whole)
    np.testing.assert_array_equal(stopped.image, kept)
    assert sorted(set(job.places)) == job.places
    assert count == at
    assert further.resume is None


@pytest.mark.slow
def test_what_goes_on_can_be_stopped_again(stack):
    job = Job(stack)
    fit = job.stopped(job.begin(), 2)
    for at in (3, 9):
        fit = job.stopped(fit.resume(0), at)
        assert fit.stopped_by.endswith(STOPPED)
    assert fit.not_begun == (3,)
    assert_same(run_to_end(fit.resume(0)), job.whole())


def test_a_stack_that_has_ended_cannot_go_on(stack):
    assert Job(stack).whole().resume is None


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 4])
def test_the_plane_that_was_shown_is_restored_after_a_stop(stack, at):
    job = Job(stack, share="yes")
    stopped = job.stopped(job.begin(), at)
    assert stopped.stopped_by == STOPPED
    assert stopped.iterations == at
    (shown,) = {index[0] for *_, index in job.places}
    assert stopped.not_begun == tuple(n for n in range(4) if n != shown)
    assert (stopped.image[shown] != stack[shown]).all()
    assert np.isfinite(stopped.image).all()
    (warning,) = stopped.warnings
    assert warning.startswith(numbers(stopped.not_begun))
    assert_same(run_to_end(stopped.resume(0)), job.whole())


def test_the_tiles_that_are_left_are_restored_when_it_goes_on(stack, monkeypatch):
    job = Job(np.tile(stack, 8), share="yes", tile=192)
    whole = job.whole()
    stopped = job.stopped(job.begin(), FIXED["iterations"] + 3)
    assert STOPPED in stopped.stopped_by
    assert stopped.not_begun == (2, 3)
    restored, restore = [], sweep.restore_tile

    def counted(job, recipe, kinds, number, index, *others):
        restored.append(index[0])
        return restore(job, recipe, kinds, number, index, *others)

    monkeypatch.setattr(sweep, "restore_tile", counted)
    further = run_to_end(stopped.resume(0))
    assert_same(further, whole)
    assert restored == [1, 2, 2, 3, 3]


@pytest.mark.parametrize("share", ["no", "yes"])
@pytest.mark.parametrize("at", slow_but([1, 2, 7, 12], 7))
def test_what_other_processes_had_begun_goes_on(stack, share, at, wholes):
    image = np.tile(stack[:, :24], 8)
    # A plane of another kind, with a network of its own.
    image[2] = 5000 - 30 * image[2]
    count = 2 if share == "no" else FIXED["iterations"]
    job = Job(image, ahead=2, share=share, tile=192, iterations=count)
    fit = job.stopped(job.begin(), at)
    whole = wholes[share] = wholes.get(share) or job.whole()
    if share == "no" and at > 8:  # they are the fits of eight tiles
        assert fit.resume is None
    else:
        assert STOPPED in fit.stopped_by
        fit = run_to_end(fit.resume(0))
    assert_same(fit, whole)


def test_a_stop_after_the_last_tile_is_none(stack):
    job = Job(stack, share="yes")
    fit = job.stopped(job.begin(), FIXED["iterations"] + 4)
    assert fit.resume is None
    assert_same(fit, job.whole())


@pytest.mark.parametrize(
    ("planes", "words"),
    [
        ([3], "plane 3 was"),
        ([1, 2], "planes 1 to 2 were"),
        ([0, 1, 4, 6, 7], "planes 0 to 1, 4 and 6 to 7 were"),
    ],
)
def test_planes_in_words(planes, words):
    assert numbers(planes) == words
