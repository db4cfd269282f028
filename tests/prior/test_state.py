"""The state of a fit: kept, put back, carried to another fit."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_dip.errors import InputError
from napari_dip.prior.architecture import Architecture, Pixels
from napari_dip.prior.codes import BlindSpot, Guide, Noise
from napari_dip.prior.fit import STOPPED, fit, run_to_end
from napari_dip.prior.local import Local
from napari_dip.prior.loop import Run
from napari_dip.prior.problem import Prior, Problem, Settings
from napari_dip.prior.state import FITTED, PARTS
from napari_dip.prior.stopping import HeldOut, Iterations, MovingVariance, Plateau

SMALL = Architecture.uniform(12, 1)
PRIOR = Prior(SMALL, Noise(features=8))
SETTINGS = Settings(Iterations(24), "adam", 0.01, device="cpu", precision="float32")


@pytest.fixture
def problem():
    random = torch.Generator().manual_seed(0)
    return Problem(torch.rand((1, 2, 23, 18), generator=random))


def through_files(state):
    """Return a state as arrays and JSON text would bring it back."""
    arrays = {k: v.numpy().copy() for k, v in state.items() if torch.is_tensor(v)}
    text = json.dumps({k: v for k, v in state.items() if not torch.is_tensor(v)})
    tensors = {k: torch.from_numpy(v) for k, v in arrays.items()}
    return {**json.loads(text), **tensors}


def broken_off(problem, prior, settings, at):
    """Return a fit stopped at an iteration, and its state then."""
    states = []

    def stop(it):
        if it.step == at:
            states.append(it.checkpoint())
        return bool(states)

    stopped = run_to_end(fit(problem, prior, settings), stop)
    assert stopped.stopped_by == STOPPED
    return stopped, through_files(states[0])


def assert_same(one, other):
    assert torch.equal(one.image, other.image)
    assert json.dumps(one.history) == json.dumps(other.history)
    assert one.stopped_by == other.stopped_by
    assert (one.iterations, one.best_iteration) == (
        other.iterations,
        other.best_iteration,
    )


GUIDE = torch.rand((1, 1, 23, 18), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (Noise(8), {}),
        (Noise(8), {"optimizer": "muon", "schedule": "cosine"}),
        (Noise(8), {"stop": HeldOut(40, patience=25, relative_patience=0)}),
        (BlindSpot(), {"stop": HeldOut(24), "schedule": "halving"}),
        (BlindSpot(per_channel=True, guide=GUIDE), {"stop": HeldOut(24)}),
        (BlindSpot(per_channel=True), {}),
        (Guide(GUIDE, 0.1), {"stop": MovingVariance(24, warmup=5)}),
        (Noise(8), {"stop": Plateau(24), "extra_iterations": 7}),
        (Noise(8), {"precision": "bfloat16"}),
        (BlindSpot(0.25), {"average": "weights", "optimizer": "muon"}),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, dict) else "-".join(v),
)
def test_a_fit_goes_on_from_its_state_to_the_same_bits(problem, code, changes):
    prior, settings = Prior(SMALL, code), replace(SETTINGS, **changes)
    whole = run_to_end(fit(problem, prior, settings))
    for at in (3, 20):
        stopped, state = broken_off(problem, prior, settings, at)
        assert stopped.iterations == at
        before = through_files(state)
        longer = run_to_end(fit(problem, prior, settings, state=state))
        assert_same(longer, whole)
        # The state is a value: what the fit has done since has not changed it.
        for name, value in before.items():
            if torch.is_tensor(value):
                assert torch.equal(state[name], value), name
            else:
                assert json.dumps(state[name]) == json.dumps(value), name


def test_a_state_of_another_seed_brings_its_masks_and_code_along(problem):
    prior = Prior(SMALL, BlindSpot())
    settings = replace(SETTINGS, stop=HeldOut(24))
    whole = run_to_end(fit(problem, prior, settings))
    _, state = broken_off(problem, prior, settings, 13)
    other = replace(settings, seed=9)
    assert_same(run_to_end(fit(problem, prior, other, state=state)), whole)


class Gain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.gain * x


def test_an_operator_that_is_fitted_along_is_part_of_the_state(problem):
    blind = replace(problem, operator=Gain(), operator_learning_rate=0.01)
    whole = run_to_end(fit(blind, PRIOR, SETTINGS))
    _, state = broken_off(blind, PRIOR, SETTINGS, 13)
    longer = run_to_end(fit(blind, PRIOR, SETTINGS, state=state))
    assert_same(longer, whole)
    assert torch.equal(longer.operator.gain, whole.operator.gain)


def test_the_iterations_on_a_start_are_part_of_the_state(problem):
    begun = replace(problem, first_estimate=torch.full((1, 2, 23, 18), 0.8))
    settings = replace(SETTINGS, start_iterations=12)
    whole = run_to_end(fit(begun, PRIOR, settings))
    running = fit(begun, PRIOR, settings)
    for _ in range(7):
        it = next(running)
    state = through_files(it.checkpoint())
    running.close()
    assert state["progress.step"] == -5
    assert_same(run_to_end(fit(begun, PRIOR, settings, state=state)), whole)


def test_a_state_made_in_inference_mode_can_be_gone_on_with(problem):
    whole = run_to_end(fit(problem, PRIOR, SETTINGS))
    with torch.inference_mode():
        running = fit(problem, PRIOR, SETTINGS)
        for _ in range(7):
            it = next(running)
        state = it.checkpoint()
        running.close()
        longer = run_to_end(fit(problem, PRIOR, SETTINGS, state=state))
        assert torch.equal(longer.image, whole.image)


def test_a_fit_that_had_ended_takes_the_extra_iterations(problem):
    states = []
    settings = replace(SETTINGS, resumable=True)
    first = run_to_end(
        fit(problem, PRIOR, settings),
        lambda it: states.append(it.checkpoint()) if it.step == 24 else None,
    )
    with pytest.raises(InputError, match=r"state: the fit has ended .*24 iterations"):
        next(fit(problem, PRIOR, SETTINGS, state=states[0]))
    extra = replace(SETTINGS, extra_iterations=11)
    longer = run_to_end(fit(problem, PRIOR, extra, state=states[0]))
    assert longer.iterations == 35
    assert_same(longer, run_to_end(first.resume(11)))


def test_the_state_is_flat_and_has_every_part(problem):
    run = Run(problem, PRIOR, SETTINGS)
    run.advance()
    state = run.state.state_dict()
    parts = {name.partition(".")[0] for name in state}
    assert parts == set(PARTS) - {"operator", "coarse"}
    assert not any(isinstance(value, dict) for value in state.values())
    for name, value in state.items():
        if torch.is_tensor(value):
            assert not value.requires_grad, name
    assert {name.partition(".")[0] for name in run.state.state_dict(FITTED)} == {
        "network",
        "optimizers",
        "average",
    }


def test_a_state_is_put_back_in_place(problem):
    """A captured CUDA graph goes on using the same memory."""
    run = Run(problem, PRIOR, replace(SETTINGS, stop=HeldOut(24)))
    run.advance()

    def places():
        fitted = run.state.network.state_dict() | run.state.optimizers.state_dict()
        fixed = run.state.watch.tensors | run.state.code.tensors
        tensors = fitted | fixed | run.state.average.state_dict()
        return {name: tensor.data_ptr() for name, tensor in tensors.items()}

    state, before = run.state.state_dict(), places()
    run.advance()
    run.state.load_state_dict(state)
    assert places() == before
    again = run.state.state_dict()
    assert again.keys() == state.keys()
    for name, value in state.items():
        if torch.is_tensor(value):
            assert torch.equal(again[name], value), name


def test_moments_that_a_state_lacks_become_zero(problem):
    run = Run(problem, PRIOR, SETTINGS)
    before = run.state.state_dict()
    run.advance()
    assert any(v.abs().sum() > 0 for v in run.state.optimizers.state_dict().values())
    run.state.load_state_dict(before)
    moments = run.state.optimizers.state_dict()
    assert moments
    assert all(v.abs().sum() == 0 for v in moments.values())


@pytest.mark.parametrize("architecture", [Architecture.uniform(12, 3), Pixels()])
def test_the_state_of_another_network_is_refused(problem, architecture):
    _, state = broken_off(problem, Prior(architecture, Noise(8)), SETTINGS, 3)
    with pytest.raises(InputError, match="state: network"):
        next(fit(problem, PRIOR, SETTINGS, state=state))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("average.sum"), "state: average: .* sum too few"),
        (lambda s: s.pop("random.state"), "state: random"),
        (lambda s: s.pop("best.image"), "state: best: .* image too few"),
        (lambda s: s.pop("progress.step"), "step too few"),
        (lambda s: s.update({"average.sum": torch.zeros(3)}), "shape .*got .3,"),
        (lambda s: s.update({"code.z": 4}), "code: z must be a tensor .*got 4"),
        (lambda s: s.update({"wheel.size": 4}), "state: has no part 'wheel'"),
        (
            lambda s: s.update({"optimizers.99.step": torch.ones(())}),
            "99.step is of no par",
        ),
        (
            lambda s: s.update({"optimizers.0.exp_avg": torch.ones(3)}),
            "optimizers.0: exp_avg must be a tensor .*got .3,",
        ),
        (
            lambda s: s.update({"optimizers.1.exp_avg": torch.ones(())}),
            r"optimizers.1: exp_avg must be a tensor .*got \(\)",
        ),
        (lambda s: s.pop("optimizers.0.step"), "optimizers.0: .* got step too few"),
        (lambda s: s.pop("optimizers.0.exp_avg"), "optimizers.0: .* exp_avg too few"),
        (lambda s: s.update({"optimizers.0.x": torch.ones(())}), "0: .* x too many"),
        (
            lambda s: s.update({"network.head.bias": torch.ones(2) * 1j}),
            "network: head.bias must be .* of real numbers",
        ),
        (lambda s: s.pop("watch.weight"), "state: watch: .* got weight too few"),
        (
            lambda s: s.update({"operator.gain": torch.ones(())}),
            "operator: .* gain too",
        ),
        (lambda s: s.update({"coarse.weight": torch.ones(1)}), "coarse: .* weight too"),
        (lambda s: s.update({"progress.step": -3}), "step must be 0 or more .*got -3"),
        (lambda s: s.update({3: 3}), "state: has no part '3'"),
        (lambda s: s.update({"random.state": "x"}), "random is of no random generator"),
        (
            lambda s: s.update({"random.state": torch.zeros(9, dtype=torch.uint8)}),
            "random is of no random generator",
        ),
        (lambda s: s.update({"progress.step": "3"}), "step must be of type int"),
        (lambda s: s.update({"progress.step": 10**400}), "step must be of type int"),
        (lambda s: s.update({"progress.step": True}), "step must be of type int"),
        (lambda s: s.update({"progress.loss": [1.0]}), "loss must be of type float"),
        (lambda s: s.update({"progress.recent": {}}), "recent must be of type list"),
        (lambda s: s.update({"progress.history": [{}]}), "history: .*too few"),
        (lambda s: s.update({"ending.stop_step": 1.5}), r"must be of type int \| None"),
        (lambda s: s.update({"ending.maximum": 0}), "maximum .* must be 1 or more"),
        (lambda s: s.update({"best.step": None}), "best.step must be of type int"),
        (lambda s: s.update({"best.image": 4}), "best: image must be a tensor"),
        (lambda s: s.update({"best.operator.a": torch.ones(())}), "1 too|a too many"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_by_name(problem, change, message):
    _, state = broken_off(problem, PRIOR, SETTINGS, 3)
    change(state)
    with pytest.raises(InputError, match=message):
        next(fit(problem, PRIOR, SETTINGS, state=state))


@pytest.mark.parametrize("stop", [HeldOut(24), MovingVariance(24, warmup=5)], ids=str)
def test_a_state_without_what_its_rule_looks_at_is_refused(problem, stop):
    settings = replace(SETTINGS, stop=stop)
    _, state = broken_off(problem, PRIOR, settings, 3)
    name = "held" if isinstance(stop, HeldOut) else "variance"
    del state[f"watch.{name}"]
    with pytest.raises(InputError, match=f"state: watch: .* got {name} too few"):
        next(fit(problem, PRIOR, settings, state=state))


# -- weights ----------------------------------------------------------------------


def test_a_fit_gives_its_weights_where_asked(problem):
    assert run_to_end(fit(problem, PRIOR, SETTINGS)).weights is None
    settings = replace(SETTINGS, keep_weights=True)
    weights = run_to_end(fit(problem, PRIOR, settings)).weights
    network = SMALL.build(8, 2, (32, 32), torch.Generator().manual_seed(0))
    network.load_state_dict(weights)
    assert all(v.device.type == "cpu" for v in weights.values())


def test_averaged_weights_make_the_image_of_the_fit(problem):
    settings = replace(SETTINGS, average="weights", keep_weights=True)
    prior = Prior(Local((8,)), Noise(8))
    result = run_to_end(fit(problem, prior, settings))
    run = Run(problem, prior, settings)
    run.state.network.load_state_dict(result.weights)
    with torch.no_grad():
        image = run.state.network(run.state.code.tensors["z"])[..., :23, :18]
    torch.testing.assert_close(image, result.image)


def test_a_fit_begins_from_the_weights_of_another(problem):
    """The first output of the second fit is what the last weights of the first give."""
    still = Prior(SMALL, Noise(8, perturbation=0))
    settings = replace(SETTINGS, stop=Iterations(80), keep_weights=True)
    first = run_to_end(fit(problem, still, settings))
    kept = {name: value.clone() for name, value in first.weights.items()}
    cold, warm = (
        run_to_end(
            fit(problem, still, replace(SETTINGS, stop=Iterations(1)), weights=w)
        )
        for w in (None, first.weights)
    )
    assert warm.history[0]["loss"] < 1.1 * first.history[-1]["loss"]
    assert warm.history[0]["loss"] < 0.8 * cold.history[0]["loss"]
    # They are copied: the second fit changes them for itself only.
    for name, value in kept.items():
        assert torch.equal(first.weights[name], value)


def test_weights_to_begin_from_are_what_a_divergence_is_rolled_back_to(problem):
    settings = replace(SETTINGS, keep_weights=True)
    weights = run_to_end(fit(problem, PRIOR, settings)).weights
    run = Run(problem, PRIOR, SETTINGS, weights)
    run.advance()
    run.roll_back()
    for name, value in run.state.weights().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture.uniform(8, 1), r"\(body\S* has the shape .*, not .*\)$"),
        (Architecture.uniform(12, 3), r"\(\S* is not in this network\)$"),
        (Architecture.uniform(12, 1, 0), r"\(\S* is missing\)$"),
    ],
)
def test_weights_of_another_architecture_are_refused(problem, architecture, message):
    settings = replace(SETTINGS, stop=Iterations(1), keep_weights=True)
    weights = run_to_end(fit(problem, Prior(architecture, Noise(8)), settings)).weights
    with pytest.raises(InputError, match=message) as raised:
        next(fit(problem, PRIOR, SETTINGS, weights=weights))
    assert str(raised.value).startswith(
        "weights: must be those of such a network; got those of another one, for "
        "another task, preset or number of channels ("
    )


def test_weights_whose_names_are_no_text_are_refused(problem):
    weights = Run(problem, PRIOR, SETTINGS).state.weights()
    with pytest.raises(InputError, match=r"weights: .* \(3 is not in this network"):
        next(fit(problem, PRIOR, SETTINGS, weights={**weights, 3: torch.ones(1)}))


# -- iterations at half the resolution ------------------------------------------------

COARSE = replace(SETTINGS, average="weights", coarse_iterations=12, optimizer="muon")
HIDDEN = Prior(Local((8, 8)), BlindSpot(0.25))


@pytest.fixture
def smooth():
    """Return a problem that half the resolution says most about."""
    y, x = torch.meshgrid(torch.arange(70) / 9, torch.arange(66) / 7, indexing="ij")
    image = 0.5 + 0.3 * torch.sin(x) * torch.cos(y)
    noise = 0.05 * torch.randn(70, 66, generator=torch.Generator().manual_seed(0))
    return Problem((image + noise)[None, None]), image


def test_a_fit_begins_at_half_the_resolution(smooth):
    problem, image = smooth
    settings = replace(COARSE, stop=Iterations(3))
    looks = []
    result = run_to_end(fit(problem, HIDDEN, settings), lambda it: looks.append(it))
    assert [it.step for it in looks] == [0] * 12 + [1, 2, 3]
    plain = replace(settings, coarse_iterations=0)
    alone = run_to_end(fit(problem, HIDDEN, plain))
    errors = [float((r.image - image).square().mean()) for r in (result, alone)]
    assert errors[0] < 0.8 * errors[1]
    assert result.iterations == alone.iterations == 3


@pytest.mark.parametrize("at", [5, COARSE.coarse_iterations])
def test_what_is_before_the_first_iteration_is_not_judged(smooth, at):
    running = fit(smooth[0], HIDDEN, COARSE)
    for _ in range(at):
        it = next(running)
    average = it.average
    with pytest.raises(StopIteration) as end:
        running.send(True)
    stopped = end.value.value
    assert (stopped.iterations, stopped.best_iteration, stopped.history) == (0, 0, [])
    assert torch.equal(stopped.image, average)
    assert not stopped.warnings


def test_the_iterations_at_half_the_resolution_show_whole_images(smooth):
    problem, _ = smooth
    shapes = []

    def look(it):
        shapes.append(tuple(it.average.shape))

    run_to_end(fit(problem, HIDDEN, replace(COARSE, stop=Iterations(2))), look)
    assert set(shapes) == {(1, 1, 70, 66)}


def test_half_the_resolution_is_the_mean_of_what_is_known(smooth):
    problem, _ = smooth
    known = torch.ones(1, 1, 70, 66)
    known[..., :4, :4] = 0
    known[..., 4, 4] = 0
    run = Run(replace(problem, weight=known), HIDDEN, COARSE)
    coarse, y = run.state.coarse, problem.measurement
    assert coarse.measurement.shape == (1, 1, 35, 33)
    assert torch.equal(coarse.weight[0, 0, :2, :2], torch.zeros(2, 2))
    assert coarse.weight.sum() == 35 * 33 - 4
    block = y[0, 0, 4:6, 4:6]
    expected = (block.sum() - block[0, 0]) / 3
    torch.testing.assert_close(coarse.measurement[0, 0, 2, 2], expected)
    torch.testing.assert_close(
        coarse.measurement[0, 0, 5, 9], y[0, 0, 10:12, 18:20].mean()
    )


@pytest.mark.parametrize("at", [5, 14])
def test_a_fit_goes_on_from_half_the_resolution_to_the_same_bits(smooth, at):
    problem, _ = smooth
    settings = replace(COARSE, stop=HeldOut(8))
    whole = run_to_end(fit(problem, HIDDEN, settings))
    run = Run(problem, HIDDEN, settings)
    for _ in range(at):
        run.advance()
    state = through_files(run.state.state_dict())
    again = run_to_end(fit(problem, HIDDEN, settings, state=state))
    assert_same(again, whole)


def test_numbers_of_a_state_may_be_those_of_numpy(problem):
    settings = replace(SETTINGS, stop=Iterations(np.int64(24)))
    stopped, state = broken_off(problem, PRIOR, SETTINGS, 3)
    state["progress.step"] = np.int64(state["progress.step"])
    state["progress.loss"] = np.float32(state["progress.loss"])
    assert stopped.iterations == 3
    assert run_to_end(fit(problem, PRIOR, settings, state=state)).iterations == 24


def test_small_images_are_not_halved(problem):
    settings = replace(COARSE, stop=Iterations(4))
    result = run_to_end(fit(problem, HIDDEN, settings))
    plain = run_to_end(fit(problem, HIDDEN, replace(settings, coarse_iterations=0)))
    assert torch.equal(result.image, plain.image)


def test_a_fit_begins_with_a_first_estimate_or_at_half_the_resolution(smooth):
    problem = replace(smooth[0], first_estimate=smooth[0].measurement)
    settings = replace(COARSE, start_iterations=7)
    with pytest.raises(InputError, match=r"start_iterations: .* got 7 and .*=12"):
        next(fit(problem, HIDDEN, settings))
    next(fit(smooth[0], HIDDEN, settings))


def test_half_the_resolution_needs_averaged_weights(smooth):
    with pytest.raises(InputError, match=r"coarse_iterations: need .* got ave"):
        Run(smooth[0], HIDDEN, replace(COARSE, average="outputs"))
