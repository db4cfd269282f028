"""The progress bar."""

import itertools
import math
from types import SimpleNamespace

import pytest

from napari_dip.prior.problem import Iterate
from napari_dip.tasks import rate
from napari_dip.tasks.progress import Bar


@pytest.fixture
def iterate():
    def make(step, part, parts, **more):
        return Iterate(
            step=step,
            maximum=100,
            loss=0.5,
            score=math.nan,
            error=0.01234,
            best_step=7,
            seconds=2.0,
            measure=lambda: None,
            render=lambda finished: None,
            part=part,
            parts=parts,
            **more,
        )

    return make


@pytest.fixture
def clock(monkeypatch):
    """Let a fifth of a second pass between two looks at the clock."""
    seconds = itertools.count(0, 0.2)
    monkeypatch.setattr(rate, "time", SimpleNamespace(perf_counter=seconds.__next__))


def test_the_rate_is_that_of_the_last_iterations(iterate, clock):
    """Fits that were done before, or ended early, took no such number of iterations."""
    bar = Bar("denoise")
    (task,) = bar.progress.tasks
    bar(iterate(30, 9, 10))
    assert task.fields["rate"] == ""
    bar(iterate(31, 9, 10))
    assert task.fields["rate"] == "5.0 it/s"
    bar(iterate(1, 10, 11))
    assert task.fields["rate"] == ""
    for step in range(2, 100):
        bar(iterate(step, 10, 11))
    assert task.fields["rate"] == "5.0 it/s"
    assert len(bar.rate.times) == rate.LAST


def test_bar_counts_over_all_fits(iterate, monkeypatch, clock):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Bar("denoise") as bar:
        bar(iterate(9, 2, 4))
        bar(iterate(10, 2, 4))
        (task,) = bar.progress.tasks
        assert (task.completed, task.total) == (210, 400)
        assert task.description == "denoise"
        assert task.fields["step"] == "10/100 of fit 3/4"
        assert task.fields["rate"] == "5.0 it/s"
        assert task.fields["score"] == "error 0.0123 (best at 7)"
        assert task.fields["limit"] == "at most"
        bar(iterate(11, 0, 1, fixed=True, score_name="held-out error"))
        assert task.fields["step"] == "11/100"
        assert task.fields["score"] == "held-out error 0.0123 (best at 7)"
        assert task.fields["limit"] == "about"
        bar(iterate(11, 0, 1, at_most=True))
        assert task.fields["score"] == "error below 0.0123 (best at 7)"


def test_bar_ends_with_an_error(iterate, capsys):
    bar = Bar("denoise")
    with pytest.raises(KeyError), bar:
        raise KeyError
    assert bar.progress.finished is not None
    assert not bar.progress.live.is_started
    assert capsys.readouterr().out == ""
