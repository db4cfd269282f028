"""Jobs of several fits that are broken off, and go on from their record."""

import copy
from itertools import pairwise

import numpy as np
import pytest

from napari_dip import deconvolve, denoise
from napari_dip.errors import InputError
from napari_dip.prior.fit import run_to_end
from napari_dip.prior.local import Local
from napari_dip.prior.stopping import Iterations
from napari_dip.tasks import kinds, restoring
from napari_dip.tasks.block import fit_block
from napari_dip.tasks.pool import Here
from napari_dip.tasks.run import get, run
from napari_dip.tasks.running import Running
from napari_dip.tasks.task import Overrides
from tests.slow import slow_but

FIXED = {"iterations": 6, "device": "cpu", "precision": "float32"}


pytestmark = pytest.mark.usefixtures("tiny_windows")


class Broken(Exception):
    """Raised where a job is broken off."""


def broken_at(at, seen):
    """Return a callback that checkpoints every iterate and raises at one of them."""

    def watch(it):
        seen.append((it.part, it.step))
        if it.checkpoint is not None:
            it.checkpoint()
        if len(seen) == at:
            raise Broken

    return watch


def fitted(image, state, callback=None, name="denoise", ahead=0, **parameters):
    """Return the fit of a job with a record."""
    task = get(name)
    recipe = task.recipe(**{**FIXED, **parameters})
    overrides = Overrides(state=state)
    pool = Here(task.job(recipe, image), ahead)
    return run_to_end(
        run(task, recipe, [image], overrides=overrides, pool=pool), callback
    )


def assert_same(fit, whole):
    np.testing.assert_array_equal(fit.image, whole.image)
    if whole.uncertainty is not None:
        np.testing.assert_array_equal(fit.uncertainty, whole.uncertainty)
    assert fit.history == whole.history
    assert fit.warnings == whole.warnings
    assert (fit.stopped_by, fit.iterations) == (whole.stopped_by, whole.iterations)
    assert fit.settings == whole.settings


def channels(stack):
    return np.stack([stack, 30 * stack[::-1]], axis=1)


CASES = {
    "planes": ({}, lambda stack: stack[:3]),
    "workers": ({"ahead": 2}, lambda stack: stack[:3]),
    "channels": ({"channel_axis": 1}, lambda stack: channels(stack[:2])),
    "seeds": ({"restarts": 2}, lambda stack: stack[:2]),
    "tiles": ({"tile": 192, "name": "enhance"}, lambda stack: np.tile(stack[:1], 8)),
    "input": ({"dtype": "input"}, lambda stack: stack[:2].astype(np.uint16)),
    "shared": ({"share": "yes"}, lambda stack: stack[:3]),
    "shared tiles": ({"share": "yes", "tile": 192}, lambda s: np.tile(s[:2], 8)),
    "shared workers": (
        {"share": "yes", "tile": 192, "ahead": 2},
        lambda s: np.tile(s[:2], 8),
    ),
    "shared seeds": ({"share": "yes", "restarts": 2}, lambda stack: stack[:2]),
    "shared channels": (
        {"share": "yes", "channel_axis": 1},
        lambda stack: channels(stack[:2]),
    ),
}


@pytest.mark.parametrize("case", slow_but(CASES, "planes", "tiles", "shared"))
def test_a_job_goes_on_to_the_same_bits_wherever_it_is_broken(stack, case):
    more, prepare = CASES[case]
    more = {**more, "iterations": 2}
    image, seen = prepare(stack), []
    whole = fitted(image, None, lambda it: seen.append((it.part, it.step)), **more)
    for at in {1, len(seen) // 2, len(seen) - 1, len(seen)}:
        state, before = {}, []
        with pytest.raises(Broken):
            fitted(image, state, broken_at(at, before), **more)
        after = []
        again = fitted(image, state, broken_at(0, after), **more)
        assert_same(again, whole)
        fits = [place for place in after if place in before]
        # Nothing is fitted twice, but for the last iterate of a fit that had ended.
        if more.get("share") != "yes":
            assert len(fits) <= more["iterations"], at
            assert at == 1 or "ahead" in more or len(after) < len(seen)


def test_a_job_that_is_broken_again_and_again_ends_with_the_same_bits(stack):
    whole = fitted(stack, None)
    state, breaks = {}, 0
    while True:
        try:
            again = fitted(stack, state, broken_at(5, []))
        except Broken:
            breaks += 1
            continue
        break
    assert breaks >= 4
    assert_same(again, whole)


def test_what_is_done_is_not_done_again(stack, monkeypatch):
    state, calls = {}, []
    image, more = np.tile(stack[:2], 8), {"share": "yes", "tile": 192}
    whole = fitted(image, state, **more)
    assert [name for name in state if name.startswith("tile")] == [
        f"tile {n}" for n in range(4)
    ]
    for module, name in ((restoring, "restore"), (restoring, "error_on")):
        monkeypatch.setattr(module, name, lambda *_, name=name: calls.append(name))
    monkeypatch.setattr("napari_dip.prior.fit.fit", lambda *_: calls.append("fit"))
    assert_same(fitted(image, state, **more), whole)
    assert not calls


@pytest.mark.slow
def test_a_plane_of_another_kind_has_its_own_network_again(stack, monkeypatch):
    measure = kinds.errors_on_plane

    def unlike(job, networks, index):
        errors = measure(job, networks, index)
        return [(error, index[0] == 2) for error, _ in errors]

    monkeypatch.setattr(kinds, "errors_on_plane", unlike)
    monkeypatch.setattr(kinds, "NO_WORSE", 100)
    seen = []
    whole = fitted(stack, None, seen.append, share="yes")
    assert len(whole.settings["planes"]) == 2
    assert len(seen) == 16
    for at in (3, 8, 10, 14):
        state = {}
        with pytest.raises(Broken):
            fitted(stack, state, broken_at(at, []), share="yes")
        assert_same(fitted(stack, state, share="yes"), whole)


def test_only_a_job_of_a_single_fit_has_an_operator(stack):
    more = {"psf": np.ones((3, 3)), "blind": True, "full_output": True, **FIXED}
    assert deconvolve(stack[0], **more).operator is not None
    # Constant planes take no fit; a record keeps no operator.
    planes, state = np.stack([stack[0], np.full_like(stack[0], 7)]), {}
    assert deconvolve(planes, **more).operator is None
    with pytest.raises(Broken):
        deconvolve(planes, callback=broken_at(6, []), state=state, **more)
    assert deconvolve(planes, state=state, **more).operator is None


@pytest.mark.slow
def test_what_was_stopped_is_no_part_that_is_done(stack):
    for more in ({}, {"share": "yes"}):
        whole, state = fitted(stack, None, **more), {}
        stopped = fitted(stack, state, lambda it: it.step >= 3, **more)
        assert stopped.not_begun
        assert not [name for name in state if name.startswith(("tile", "plane"))]
        assert_same(fitted(stack, state, **more), whole)


def test_a_record_is_of_one_job(stack):
    state = {}
    whole = denoise(stack, state=state, full_output=True, **FIXED)
    kept = copy.copy(state)
    says = r"state: must be of the same .* got that of another job \({}"
    with pytest.raises(InputError, match=says.format(r"recipe.seed 0, not 3\)")):
        denoise(stack, state=state, seed=3, **FIXED)
    with pytest.raises(InputError, match=r"shape \[4, 40, 36\], not \[3, 40, 36\]"):
        denoise(stack[:3], state=state, **FIXED)
    analysis = whole.settings["planes"][0]["analysis"]
    masked = np.ma.masked_array(stack, stack > 60)
    for image, more, what in (
        (stack[::-1], {}, r"arrays.image differs\)"),
        (stack, {"architecture": Local((8, 4))}, "overrides"),
        (stack, {"stop": Iterations(5)}, "overrides"),
        (stack, {"analysis": analysis}, "analysis"),
    ):
        with pytest.raises(InputError, match=says.format(what)):
            denoise(image, state=state, **more, **FIXED)
    with pytest.raises(InputError, match="got that of another job"):
        denoise(stack, state={"job": 3}, **FIXED)
    assert state == kept
    state = {}
    denoise(masked, state=state, **FIXED)
    with pytest.raises(InputError, match=says.format("arrays.image differs")):
        denoise(np.ma.masked_array(stack, stack > 61), state=state, **FIXED)


def test_an_empty_state_takes_a_single_fit_too(stack):
    whole = denoise(stack[0], full_output=True, **FIXED)
    state = {}
    with pytest.raises(Broken):
        denoise(stack[0], state=state, callback=broken_at(4, []), **FIXED)
    steps = []
    options = {"callback": lambda it: steps.append(it.step), "full_output": True}
    again = denoise(stack[0], state=state, **options, **FIXED)
    assert steps == [5, 6]
    assert_same(again, whole)
    assert again.weights.keys() == whole.weights.keys()


def test_without_a_record_nothing_is_kept(stack):
    """What is kept of every tile would be as large as the result."""
    task = get("denoise")
    recipe = task.recipe(**FIXED)
    job = task.job(recipe, stack[0])
    index = next(job.layout.indices())
    (block,) = job.blocks(0, index, job.pixels(index, job.take(index)))
    states = []
    fitting = fit_block(Running(job, recipe), block)
    run_to_end(fitting, lambda it: states.append(it.checkpoint()))
    assert all("job" not in state for state in states)
    assert all(a["progress.step"] < b["progress.step"] for a, b in pairwise(states))
