"""What other processes have done is kept in whatever order it comes."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from napari_dip.errors import FitError
from napari_dip.prior.fit import STOPPED, run_to_end
from napari_dip.tasks import windows
from napari_dip.tasks.pool import Calls, Here, Later
from napari_dip.tasks.record import Record
from napari_dip.tasks.run import get, run
from napari_dip.tasks.task import Overrides

NAMES = {"no": "plane {}, block 0", "yes": "tile {}"}


@dataclass(frozen=True)
class Slow:
    """A call that has not come to its end."""

    call: Later

    def wait(self, seconds):
        return False

    def result(self):
        return self.call.result()

    def cancel(self):
        """Do nothing."""


class Workers(Here):
    """Processes that do all but one of what they are asked for."""

    def __init__(self, job, late):
        super().__init__(job, ahead=3)
        self.names, self.late = [], late
        self.calls = 0

    __setattr__ = object.__setattr__

    def submit(self, function, *arguments):
        call = super().submit(function, *arguments)
        if function.__name__ not in ("fit_to_end", "restore_tile"):
            return call
        self.calls += 1
        if self.calls == self.late:
            return Slow(call)
        result = call.result()
        return Done(lambda: result)


class Done:
    """A call that another process has done."""

    def __init__(self, result):
        self.result = result

    def wait(self, seconds):
        return True

    def cancel(self):
        """Do nothing."""


@pytest.fixture
def job(small_fits, small_windows, monkeypatch):
    monkeypatch.setattr(windows, "WINDOWS", 2)
    y, x = np.mgrid[:40, :48]
    noise = np.random.default_rng(0).normal(0, 8, (4, 40, 48))
    stack = (100 + 30 * np.sin(x / 9) * np.cos(y / 7) + noise).astype(np.float32)

    def begin(share, image=np.array, **more):
        task, array = get("denoise"), image(stack)
        recipe = task.recipe(iterations=3, share=share, precision="float32", **more)
        return task.job(recipe, array), partial(run, task, recipe, [array])

    return begin


@pytest.mark.parametrize("share", NAMES)
def test_what_is_done_before_its_turn_is_kept(job, share):
    state, names = {}, [NAMES[share].format(n) for n in range(4)]
    made, begin = job(share)
    whole = run_to_end(begin())

    def broken(it):
        if names[3] in state:
            raise MemoryError

    overrides = Overrides(state=state)
    with pytest.raises(MemoryError):
        run_to_end(begin(overrides=overrides, pool=Workers(made, late=2)), broken)
    assert [name in state for name in names] == [True, False, True, True]
    pool = Workers(made, late=0)
    again = run_to_end(begin(overrides=overrides, pool=pool))
    assert pool.calls == 1
    np.testing.assert_array_equal(again.image, whole.image)
    assert again.warnings == whole.warnings


@pytest.mark.parametrize("share", NAMES)
def test_a_stop_keeps_what_is_done_and_waits_for_nothing(job, share):
    made, begin = job(share)
    whole, seen = run_to_end(begin()), []

    def stop(it):
        seen.append(it)
        return len(seen) > 10

    fit = run_to_end(begin(pool=Workers(made, late=1)), stop)
    assert len(seen) < 15
    assert STOPPED in fit.stopped_by
    np.testing.assert_array_equal(fit.image[1:], whole.image[1:])
    np.testing.assert_array_equal(fit.image[0], made.image[0])
    assert "plane 0" in fit.warnings[-1] or fit.not_begun == (0,)


def test_a_stop_tells_which_planes_are_restored_in_part(job):
    made, begin = job("yes", image=lambda stack: np.tile(stack, 6), tile=192)
    pool, seen = Workers(made, late=3), []

    def stop(it):
        seen.append(it)
        return len(seen) > 10

    fit = run_to_end(begin(pool=pool), stop)
    assert fit.not_begun == (3,)
    assert fit.warnings == [
        "plane 1 was not fully restored before the stop; the rest of it came back "
        "unchanged",
        "plane 3 was not restored before the stop, and came back unchanged",
    ]
    assert (fit.image[2] != made.image[2]).all()
    image, given = fit.image[1], made.image[1]
    np.testing.assert_array_equal(image[:, :192], given[:, :192])
    assert (image[:, 192:] != given[:, 192:]).any()


def test_what_has_failed_is_told_at_its_turn():
    def fails():
        raise FitError("it failed")

    state = {}
    calls = Calls(Here(None), Record(state))
    calls.begun = {"first": Slow(Later(fails)), "second": Done(fails)}
    assert not calls.wait("first")
    assert not state
    assert calls.wait("second")
    with pytest.raises(FitError, match="it failed"):
        calls.result("second", None)
