"""Fits that are stopped in the middle of a step."""

import time
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from napari_dip import denoise
from napari_dip.prior import interrupt
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.codes import BlindSpot, Noise
from napari_dip.prior.collaborative import collaborative_filter
from napari_dip.prior.filling import fill_from_similar
from napari_dip.prior.fit import STOPPED, fit, run_to_end
from napari_dip.prior.layers import Conv
from napari_dip.prior.local import Local
from napari_dip.prior.operators import gaussian_blur
from napari_dip.prior.problem import Prior, Problem, Settings
from napari_dip.prior.stopping import Iterations
from napari_dip.prior.wiener import wiener
from napari_dip.tasks.block import NOT_FINISHED
from tests.slow import slow_but

HOURGLASS = Prior(Architecture.uniform(8, 1), Noise(8))
LOCAL = Prior(Local((8, 8)), BlindSpot(0.25))


@pytest.fixture(scope="module")
def problem():
    random = np.random.default_rng(0)
    noisy = random.random((1, 1, 64, 64), np.float32)
    return Problem(torch.from_numpy(noisy))


def settings(**more):
    more = {"device": "cpu", "precision": "float32", "resumable": True, **more}
    return Settings(Iterations(8), "adam", 0.01, **more)


class Asked:
    """Counts how often it is asked, and says stop from some time on."""

    def __init__(self, after):
        self.count, self.after = 0, after

    def __call__(self):
        self.count += 1
        return self.count > self.after


def stopped(fitting, asked):
    """Run a fit as a panel does; return it and the iterate that it was stopped at."""
    stop = None
    with interrupt.asking(asked):
        while True:
            try:
                it = fitting.send(stop)
            except StopIteration as end:
                return end.value, it
            stop = asked.count > asked.after


def whole_fit(problem, prior, chosen):
    """Return a whole fit and how often it asks."""
    asked = Asked(10**9)
    with interrupt.asking(asked):
        return run_to_end(fit(problem, prior, chosen)), asked.count


CASES = {
    "hourglass": (HOURGLASS, {}),
    "coarse": (LOCAL, {"average": "weights", "coarse_iterations": 5}),
    "checks": (LOCAL, {"average": "weights", "check_every": 2}),
}


@pytest.fixture(scope="module")
def wholes(problem):
    """Return the whole fits of the cases, and how often they ask."""
    return {
        name: whole_fit(problem, prior, settings(**more))
        for name, (prior, more) in CASES.items()
    }


@pytest.mark.parametrize("part", slow_but([0.3, 0.47, 0.5, 0.6, 0.8], 0.5))
@pytest.mark.parametrize("case", CASES)
def test_a_step_is_given_up_and_leaves_no_trace(problem, case, part, wholes):
    prior, more = CASES[case]
    chosen = settings(**more)
    whole, questions = wholes[case]
    asked = Asked(round(part * questions))
    given_up, at = stopped(fit(problem, prior, chosen), asked)
    assert given_up.stopped_by == STOPPED

    def callback(it):
        return (it.step, it.ahead) == (at.step, at.ahead)

    waited = run_to_end(fit(problem, prior, chosen), callback)
    assert torch.equal(given_up.image, waited.image)
    further = run_to_end(given_up.resume(0))
    assert torch.equal(further.image, whole.image)
    assert further.history == whole.history


def test_nothing_is_given_up_before_there_is_an_image(problem):
    given_up, at = stopped(fit(problem, HOURGLASS, settings()), Asked(0))
    assert (at.step, given_up.iterations) == (1, 1)
    assert torch.isfinite(given_up.image).all()


def test_a_stop_is_heard_between_two_layers(problem, monkeypatch):
    asked, computed = Asked(300), []
    forward = Conv.forward

    def counted(self, x):
        out = forward(self, x)
        computed.append(asked.count > asked.after)
        return out

    monkeypatch.setattr(Conv, "forward", counted)
    _, at = stopped(fit(problem, HOURGLASS, settings()), asked)
    assert at.step > 1
    # No layer was begun after that: the average of this fit needs no network.
    assert not any(computed)


def test_an_exception_ends_the_fit_from_within_either_pass(problem):
    class GaveUp(Exception):
        pass

    for after in range(5, 60, 5):
        asked = Asked(after)

        def wanted(asked=asked):
            if asked():
                raise GaveUp
            return False

        with interrupt.asking(wanted), pytest.raises(GaveUp):
            run_to_end(fit(problem, HOURGLASS, settings()))
        assert asked.count == after + 1


def filling(image, *_):
    return fill_from_similar(image, (torch.rand(1, 1, 32, 32) > 0.3).float())


def blur(image, *_):
    return gaussian_blur(image, 2)


@pytest.mark.parametrize(
    ("step", "questions"),
    [(wiener, 1), (collaborative_filter, 3), (filling, 8), (blur, 2)],
)
def test_filters_ask_too(step, questions):
    image = torch.rand(1, 1, 32, 32)
    asked = Asked(questions - 1)
    asking, allowed = interrupt.asking(asked), interrupt.allowed()
    with asking, allowed, pytest.raises(interrupt.Interrupted):
        step(image, image, torch.full_like(image, 0.01))


@pytest.mark.parametrize("ndim", [2, 3])
def test_gradients_are_the_same_whether_somebody_asks(ndim):
    random = torch.Generator().manual_seed(0)
    code = torch.rand(1, 4, *[12] * ndim, generator=random)
    gradients = []
    for wanted in (None, Asked(10**9)):
        conv = Conv(4, 8, 3, ndim, stride=(2,) * ndim, bias=True)
        conv.weight.detach().fill_(0.1)
        conv.bias.detach().fill_(0.1)
        x = code.clone().requires_grad_()
        with interrupt.asking(wanted):
            conv(x).square().sum().backward()
        gradients.append((x.grad, conv.weight.grad, conv.bias.grad))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_a_stop_while_the_image_is_finished_leaves_the_slow_filters_out():
    noisy = np.random.default_rng(0).normal(0, 1, (48, 48)).astype(np.float32)
    chosen = {"iterations": 3, "device": "cpu", "precision": "float32"}
    asked = Asked(10**9)

    def stop_at_the_end(it):
        if it.last:
            asked.after = asked.count + 60  # among the slow filters
            seen.append(it.image)

    seen = []
    with interrupt.asking(asked):
        fit = denoise(noisy, callback=stop_at_the_end, full_output=True, **chosen)
    assert STOPPED in fit.stopped_by
    assert fit.warnings == [NOT_FINISHED]
    np.testing.assert_array_equal(fit.image, seen[0])
    assert not np.array_equal(fit.image, denoise(noisy, **chosen))


@pytest.mark.parametrize("again", [False, True])
def test_after_a_stop_only_another_one_leaves_the_slow_filters_out(again):
    noisy = np.random.default_rng(0).normal(0, 1, (48, 48)).astype(np.float32)
    asked = Asked(0 if again else 10**9)
    stops = []

    def wanted():
        # The second time among the slow filters.
        return len(stops) + (len(stops) > 0 and asked())

    def stop(it):
        if it.step == 2:
            stops.append(it.step)
            asked.after = asked.count + 60 if again else 10**9
        return bool(stops)

    with interrupt.asking(wanted):
        fit = denoise(noisy, iterations=9, callback=stop, full_output=True)
    assert fit.stopped_by == STOPPED
    assert (NOT_FINISHED in fit.warnings) == again


def test_who_does_not_ask_pays_nothing():
    x = torch.rand(1, 1, 8, 8, requires_grad=True)
    interrupt.check_both_ways(x)
    assert not x._backward_hooks


def test_no_part_of_a_step_is_long_between_two_questions():
    """The backward pass of one convolution at full resolution is what remains."""
    noisy = torch.rand(1, 1, 192, 192)
    times = []

    def wanted():
        times.append(time.thread_time())
        return False

    shares = []
    with interrupt.asking(wanted):
        network = Prior(Local((32, 32, 32, 32)), BlindSpot(0.25))
        fitting = fit(Problem(noisy), network, settings(average="weights"))
        for _ in islice(fitting, 5):
            ends = [*times, time.thread_time()]
            longest = max(b - a for a, b in pairwise(ends))
            shares.append(longest / (ends[-1] - ends[0]))
            times[:] = [time.thread_time()]
    assert min(shares) < 0.3


@pytest.mark.parametrize("after", range(4))
def test_what_precedes_the_first_iteration_asks(after, monkeypatch):
    class GaveUp(Exception):
        pass

    asked = Asked(after)

    def wanted():
        if asked():
            raise GaveUp
        return False

    noisy = np.random.default_rng(0).normal(0, 1, (32, 32)).astype(np.float32)
    monkeypatch.setattr("napari_dip.prior.fit.surely_fits", None)  # is not reached
    with interrupt.asking(wanted), pytest.raises(GaveUp):
        denoise(noisy)
