"""The fit loop: what it gives, what it leaves alone, and how it survives trouble."""

import gc
import math
import subprocess
import sys
import warnings
import weakref
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from napari_dip.errors import DeviceFailed, InputError, OutOfMemory
from napari_dip.prior import fit as fitting
from napari_dip.prior import loop, runtime
from napari_dip.prior.architecture import Architecture, Pixels, ResNet, UNet
from napari_dip.prior.codes import BlindSpot, Guide, Noise
from napari_dip.prior.estimate import estimate, surely_fits
from napari_dip.prior.fit import DEVICE_FAILED, STOPPED, fit, run_to_end
from napari_dip.prior.local import Local
from napari_dip.prior.problem import Prior, Problem, Settings
from napari_dip.prior.stopping import HeldOut, Iterations, MovingVariance
from napari_dip.prior.terms import Pointwise, Squared

SMALL = Architecture.uniform(12, 1)
PRIOR = Prior(SMALL, Noise(features=8))
SETTINGS = Settings(Iterations(12), "adam", 0.01, device="cpu", precision="float32")


@pytest.fixture
def smooth():
    """Return a smooth image of odd sides, in [0, 1]."""
    y, x = torch.meshgrid(
        torch.linspace(0, 3, 23), torch.linspace(0, 4, 18), indexing="ij"
    )
    return (0.5 + 0.3 * torch.sin(y) * torch.cos(x))[None, None]


@pytest.fixture
def problem(smooth):
    noise = torch.randn(smooth.shape, generator=torch.Generator().manual_seed(0))
    return Problem(smooth + 0.1 * noise)


@dataclass(frozen=True)
class Failing:
    """A squared error that is NaN at some calls from the backward pass."""

    calls: list
    when: tuple[int, ...] | None

    def __call__(self, prediction, measurement):
        error = (prediction - measurement).square()
        if not torch.is_grad_enabled():
            return error
        self.calls.append(1)
        bad = self.when is None or len(self.calls) in self.when
        return error * math.nan if bad else error


# -- the result -------------------------------------------------------------------


def test_a_fit_approaches_the_measurement_and_reports_itself(problem, smooth):
    settings = replace(SETTINGS, stop=Iterations(150), ema_decay=0.9)
    result = run_to_end(fit(problem, PRIOR, settings))
    assert result.image.shape == smooth.shape
    assert result.image.dtype == torch.float32
    assert not result.image.requires_grad
    before = (problem.measurement - smooth).square().mean()
    assert (result.image - smooth).square().mean() < before / 2
    assert result.iterations == result.best_iteration == 150
    assert result.stopped_by == "the maximum of 150 iterations"
    assert [h["step"] for h in result.history] == [1, *range(10, 151, 10)]
    assert result.history[-1]["loss"] < result.history[0]["loss"] / 2
    assert result.seconds > 0
    assert result.settings["device"] == "cpu"
    assert result.settings["precision"] == "float32"
    assert result.warnings == []


def test_iterates_come_one_by_one_with_live_images(problem):
    steps, images = [], []
    for it in fit(problem, PRIOR, SETTINGS):
        assert (it.maximum, it.part, it.parts) == (12, 0, 1)
        assert math.isfinite(it.loss)
        steps.append(it.step)
        images.append(it.image)
        it.image.zero_()  # a copy: nothing of the fit changes
    assert steps == list(range(1, 13))
    assert all(image.shape == problem.measurement.shape for image in images)
    assert not any(
        torch.equal(a, b) for a, b in zip(images[1:], images[:-1], strict=True)
    )
    assert torch.equal(images[-1], run_to_end(fit(problem, PRIOR, SETTINGS)).image)


def test_image_is_the_average_of_the_outputs(problem):
    outputs = []

    @dataclass(frozen=True)
    class Looking(Iterations):
        def watch(self, weight, generator):
            watch = super().watch(weight, generator)
            watch.see = lambda output: outputs.append(output.clone())
            return watch

    settings = replace(SETTINGS, stop=Looking(12), ema_decay=0.7)
    image = run_to_end(fit(problem, PRIOR, settings)).image
    powers = torch.tensor([0.7 ** (11 - t) for t in range(12)])
    weights = (powers / powers.sum()).reshape(-1, 1, 1, 1, 1)
    torch.testing.assert_close(image, (weights * torch.stack(outputs)).sum(0))


def test_image_counts_predictions_of_hidden_pixels_only(problem):
    outputs, masks = [], []

    @dataclass(frozen=True)
    class Looking(Iterations):
        def watch(self, weight, generator):
            watch = super().watch(weight, generator)
            watch.see = lambda output: outputs.append(output.clone())
            return watch

    @dataclass(frozen=True)
    class Noting(BlindSpot):
        def draw(self, drawing, generator):
            drawn = super().draw(drawing, generator)
            masks.append(drawn.hidden)
            return drawn

    settings = replace(SETTINGS, stop=Looking(30), ema_decay=0.8)
    image = run_to_end(fit(problem, Prior(SMALL, Noting()), settings)).image
    powers = torch.tensor([0.8 ** (29 - t) for t in range(30)])
    weights = powers.reshape(-1, 1, 1, 1, 1) * torch.stack(masks)
    total = weights.sum(0)
    assert (total > 0).all()
    expected = (weights * torch.stack(outputs)).sum(0) / total
    torch.testing.assert_close(image, expected)


def test_the_image_of_the_fit_itself_is_the_average(problem):
    running = fit(problem, PRIOR, SETTINGS)
    it = next(running)
    assert torch.equal(it.image, it.average)
    result = run_to_end(running)
    assert torch.equal(result.image, result.average)


def test_the_best_score_is_kept_not_the_last(problem):
    @dataclass(frozen=True)
    class Worse(Iterations):
        def watch(self, weight, generator):
            watch = HeldOut(self.maximum, patience=999).watch(weight, generator)
            scores = iter([5.0, 3.0, 4.0, 6.0])
            watch.score = lambda average, error: torch.tensor([next(scores)])
            return watch

    running = fit(problem, PRIOR, replace(SETTINGS, stop=Worse(30)))
    images = {}

    def remember(it):
        images[it.step] = it.image
        assert it.best_step == (10 if it.step >= 10 else 1)

    result = run_to_end(running, remember)
    assert (result.best_iteration, result.iterations) == (10, 30)
    assert torch.equal(result.image, images[10])
    assert [h["score"] for h in result.history] == [5, 3, 4, 6]


def test_a_rule_ends_the_fit_with_its_reason(problem):
    settings = replace(SETTINGS, stop=HeldOut(500, patience=20, relative_patience=0))
    settings = replace(settings, optimizer="muon", learning_rate=0.05)
    result = run_to_end(fit(problem, Prior(SMALL, BlindSpot()), settings))
    assert result.iterations < 500
    assert result.iterations == result.best_iteration + 20
    assert result.stopped_by.startswith("the error at held-out pixels")


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_optimisers_and_precisions(problem, optimizer, precision):
    settings = replace(SETTINGS, optimizer=optimizer, precision=precision)
    settings = replace(settings, stop=Iterations(40))
    result = run_to_end(fit(problem, PRIOR, settings))
    assert result.settings["precision"] == precision
    assert result.image.dtype == torch.float32
    assert result.history[-1]["loss"] < 0.8 * result.history[0]["loss"]


def test_settings_matter(problem):
    def image(**changes):
        return run_to_end(fit(problem, PRIOR, replace(SETTINGS, **changes))).image

    base = image()
    for changes in (
        {"learning_rate": 0.02},
        {"optimizer": "muon"},
        {"ema_decay": 0.5},
        {"precision": "bfloat16"},
        {"seed": 1},
    ):
        assert not torch.equal(image(**changes), base), changes
    assert torch.equal(image(check_every=3), base)


def test_operator_and_shape(smooth):
    """Recover an image from its average over 2 x 2 pixels."""
    truth = F.interpolate(smooth, size=(32, 24), mode="bilinear")
    halve = torch.nn.AvgPool2d(2)
    problem = Problem(halve(truth), operator=halve, shape=(1, 32, 24))
    settings = replace(SETTINGS, stop=Iterations(150), ema_decay=0.9)
    result = run_to_end(fit(problem, PRIOR, settings))
    assert result.image.shape == (1, 1, 32, 24)
    assert (halve(result.image) - halve(truth)).square().mean() < 1e-3
    assert (result.image - truth).square().mean() < 2e-3


@pytest.mark.parametrize("code", [Noise(8), BlindSpot()], ids=["noise", "blind spot"])
def test_missing_values_change_no_bit(problem, code):
    known = torch.ones_like(problem.measurement)
    known[..., 5:12, 3:9] = 0
    wild = torch.where(known > 0, problem.measurement, torch.tensor(50.0))
    one, other = (
        run_to_end(fit(Problem(y, weight=known), Prior(SMALL, code), SETTINGS)).image
        for y in (problem.measurement, wild)
    )
    assert torch.equal(one, other)


def test_weights_weigh(smooth):
    """Where two measurements disagree, the heavier one wins."""
    left = torch.zeros_like(smooth)
    left[..., :9] = 1
    y = torch.where(left > 0, 0.2, 0.8)
    image = run_to_end(
        fit(
            Problem(y, weight=left),
            PRIOR,
            replace(SETTINGS, stop=Iterations(60), ema_decay=0.8),
        )
    ).image
    assert (image[..., :8] - 0.2).abs().mean() < 0.1
    assert (image[..., 10:] - 0.8).abs().mean() > 0.2


def test_nothing_known_is_refused(problem):
    nothing = replace(problem, weight=torch.zeros_like(problem.measurement))
    with pytest.raises(InputError, match="weight: no pixel of the measurement"):
        next(fit(nothing, PRIOR, SETTINGS))


@pytest.mark.parametrize(
    "code", [Noise(6), BlindSpot(), BlindSpot(per_channel=True)], ids=str
)
def test_volumes_and_channels(code):
    volume = torch.rand((1, 2, 5, 18, 17), generator=torch.Generator().manual_seed(0))
    architecture = Architecture.uniform(6, 2, flat_scales=1)
    settings = replace(SETTINGS, stop=HeldOut(6), optimizer="muon")
    result = run_to_end(fit(Problem(volume), Prior(architecture, code), settings))
    assert result.image.shape == volume.shape
    assert torch.isfinite(result.image).all()


@pytest.mark.parametrize("sides", [(16, 16), (17, 40), (33, 19)], ids=str)
def test_any_size_comes_back(sides):
    y = torch.full((1, 3, *sides), 0.4)
    prior = Prior(Architecture.uniform(4, 4), Noise(4))
    result = run_to_end(fit(Problem(y), prior, replace(SETTINGS, stop=Iterations(2))))
    assert result.image.shape == y.shape


# -- randomness and global state ------------------------------------------------


@pytest.mark.parametrize("code", [Noise(8), BlindSpot()], ids=["noise", "blind spot"])
def test_same_seed_same_bits(problem, code):
    def image(seed):
        settings = replace(SETTINGS, seed=seed, stop=HeldOut(12))
        return run_to_end(fit(problem, Prior(SMALL, code), settings)).image

    first = image(3)
    torch.manual_seed(99)
    assert torch.equal(image(3), first)
    assert not torch.equal(image(4), first)


def test_fits_side_by_side_do_not_disturb_each_other(problem):
    alone = [
        run_to_end(fit(problem, PRIOR, replace(SETTINGS, seed=s))).image for s in (1, 2)
    ]
    running = [fit(problem, PRIOR, replace(SETTINGS, seed=s)) for s in (1, 2)]
    for _ in range(5):
        for one in running:
            next(one)
    for one, image in zip(running, alone, strict=True):
        assert torch.equal(run_to_end(one).image, image)


def global_state():
    cudnn = torch.backends.cudnn
    return {
        "random": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "threads": torch.get_num_threads(),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        "warnings": list(warnings.filters),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


@pytest.mark.parametrize("end", ["run out", "send", "close", "throw"])
def test_global_state_is_untouched_between_and_after_steps(problem, end):
    settings = replace(SETTINGS, stop=Iterations(3), check_every=2)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        before = global_state()
        running = fit(problem, PRIOR, settings)
        for _ in range(3 if end == "run out" else 2):
            next(running)
            assert global_state() == before
        if end == "run out":
            assert next(running, None) is None
        elif end == "send":
            with pytest.raises(StopIteration):
                running.send(True)
        elif end == "throw":
            with pytest.raises(KeyError):
                running.throw(KeyError("mine"))
        else:
            running.close()
        assert global_state() == before


def test_threads_are_set_for_the_step_only(problem):
    seen = []

    def term(prediction, measurement):
        seen.append(torch.get_num_threads())
        return Squared()(prediction, measurement)

    before = torch.get_num_threads()
    running = fit(
        replace(problem, term=Pointwise(term)), PRIOR, replace(SETTINGS, threads=2)
    )
    next(running)
    assert seen[0] == 2
    assert torch.get_num_threads() == before
    running.close()


def test_an_error_in_a_step_restores_the_state_and_passes(problem):
    def term(prediction, measurement):
        raise RuntimeError("not about memory")

    before = global_state()
    running = fit(
        replace(problem, term=Pointwise(term)), PRIOR, replace(SETTINGS, threads=2)
    )
    with pytest.raises(RuntimeError, match="not about memory"):
        next(running)
    assert global_state() == before
    assert runtime.kept_pages.users == 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("code", ["noise", "blind spot", "guide"])
def test_runs_where_gradients_are_off(problem, mode, code):
    prior = {
        "noise": Noise(8),
        "blind spot": BlindSpot(),
        "guide": Guide(problem.measurement.clone()),
    }
    expected = run_to_end(fit(problem, Prior(SMALL, prior[code]), SETTINGS)).image
    with mode():
        inside = Problem(problem.measurement.clone(), weight=torch.ones(1, 1, 23, 18))
        prior["guide"] = Guide(problem.measurement.clone())
        found = run_to_end(fit(inside, Prior(SMALL, prior[code]), SETTINGS)).image
        assert torch.equal(found, expected)


def test_runs_under_another_default_dtype(problem):
    expected = run_to_end(fit(problem, PRIOR, SETTINGS)).image
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = run_to_end(fit(problem, PRIOR, SETTINGS)).image
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(before)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


# -- stopping from outside ------------------------------------------------------


def test_send_true_stops_with_the_image_so_far(problem):
    running = fit(problem, PRIOR, SETTINGS)
    for _ in range(7):
        it = next(running)
    shown = it.image
    with pytest.raises(StopIteration) as end:
        running.send(True)
    result = end.value.value
    assert result.stopped_by == STOPPED
    assert result.iterations == result.best_iteration == 7
    assert torch.equal(result.image, shown)
    assert result.history[-1]["step"] == 7


def test_a_callback_that_returns_true_stops(problem):
    seen = []

    def callback(it):
        seen.append(it.step)
        return it.step == 4

    result = run_to_end(fit(problem, PRIOR, SETTINGS), callback)
    assert seen == [1, 2, 3, 4]
    assert (result.stopped_by, result.iterations) == (STOPPED, 4)


def test_a_callback_that_raises_ends_the_fit_cleanly(problem):
    def callback(it):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run_to_end(fit(problem, PRIOR, SETTINGS), callback)
    assert runtime.kept_pages.users == 0


def test_closing_early_frees_the_network(problem, monkeypatch):
    networks = []
    build = Architecture.build

    def building(*args):
        network = build(*args)
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr(Architecture, "build", building)
    running = fit(problem, PRIOR, SETTINGS)
    next(running)
    used = networks[-1]  # the one before is that of the estimate
    assert used() is not None
    running.close()
    gc.collect()
    assert used() is None


def test_pages_are_kept_while_fits_run_only(problem):
    users = runtime.kept_pages
    assert users.users == 0
    one, two = (fit(problem, PRIOR, SETTINGS) for _ in range(2))
    assert users.users == 0
    next(one)
    next(two)
    assert users.users == 2
    one.close()
    assert users.users == 1
    run_to_end(two)
    assert users.users == 0


# -- trouble ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "when"), [("muon", 1), ("adam", 7), ("adam", 60), ("muon", 63)]
)
def test_nan_is_rolled_back_and_the_fit_goes_on(problem, optimizer, when):
    term = Failing([], (when,))
    settings = replace(SETTINGS, stop=Iterations(90), optimizer=optimizer)
    result = run_to_end(fit(replace(problem, term=Pointwise(term)), PRIOR, settings))
    assert result.iterations == 90
    assert torch.isfinite(result.image).all()
    assert result.warnings == []
    bad = [h["step"] for h in result.history if not math.isfinite(h["loss"])]
    assert bad == [1 if when == 1 else -(-when // 10) * 10]
    assert result.history[-1]["loss"] < 0.5 * result.history[-2 - 6]["loss"] + 0.02


def test_a_roll_back_lowers_the_rate_and_restores_the_state(problem, monkeypatch):
    runs = []
    init = loop.Run.__init__

    def remember(self, *args):
        init(self, *args)
        runs.append(self)

    monkeypatch.setattr(loop.Run, "__init__", remember)
    term = Failing([], (55,))
    running = fit(
        replace(problem, term=Pointwise(term)),
        PRIOR,
        replace(SETTINGS, stop=Iterations(100)),
    )
    for it in running:
        if it.step == 50:
            kept = [p.detach().clone() for p in runs[0].state.network.parameters()]
        if it.step == 60:
            break
    (run,) = runs
    for p, old in zip(run.state.network.parameters(), kept, strict=True):
        assert torch.equal(p.detach(), old)
    assert torch.isfinite(it.image).all()
    next(running)
    (adam,) = run.state.optimizers.members
    assert adam.param_groups[0]["lr"] == pytest.approx(0.007)
    running.close()


def test_nan_that_stays_ends_with_a_finite_image_and_a_warning(problem):
    term = Failing([], None)
    settings = replace(SETTINGS, stop=Iterations(500))
    result = run_to_end(fit(replace(problem, term=Pointwise(term)), PRIOR, settings))
    assert torch.isfinite(result.image).all()
    assert result.iterations < 100
    assert result.stopped_by == "the loss kept diverging"
    assert any("diverged" in w for w in result.warnings)


def test_nan_after_a_good_start_keeps_the_good_image(problem):
    term = Failing([], tuple(range(35, 1000)))
    settings = replace(SETTINGS, stop=Iterations(500))
    images = {}
    result = run_to_end(
        fit(replace(problem, term=Pointwise(term)), PRIOR, settings),
        lambda it: images.setdefault(it.step, it.image) is None,
    )
    assert result.best_iteration == 30
    assert torch.equal(result.image, images[30])
    assert any("iteration 30 was kept" in w for w in result.warnings)


def test_a_jump_of_the_loss_is_rolled_back(problem):
    calls = []

    def term(prediction, measurement):
        error = Squared()(prediction, measurement)
        calls.append(1)
        return error * 100 if 80 <= len(calls) <= 90 else error

    settings = replace(SETTINGS, stop=Iterations(120))
    result = run_to_end(fit(replace(problem, term=Pointwise(term)), PRIOR, settings))
    losses = {h["step"]: h["loss"] for h in result.history}
    assert max(losses, key=losses.get) in (70, 80, 90)
    assert result.iterations == 120
    assert losses[120] < 0.05


def test_moving_variance_survives_a_roll_back(problem):
    term = Failing([], (55,))
    settings = replace(SETTINGS, stop=MovingVariance(80, warmup=10))
    result = run_to_end(fit(replace(problem, term=Pointwise(term)), PRIOR, settings))
    assert result.iterations == 80
    assert math.isfinite(result.history[-1]["score"])


# -- memory -----------------------------------------------------------------------


def test_too_large_a_fit_is_refused_before_it_starts(problem, monkeypatch):
    needed = estimate(problem, PRIOR, SETTINGS).memory
    monkeypatch.setattr(runtime, "free_memory", lambda device: needed)
    next(fit(problem, PRIOR, SETTINGS)).image  # noqa: B018
    monkeypatch.setattr(runtime, "free_memory", lambda device: needed - 1)
    monkeypatch.setattr(fitting, "Run", None)
    with pytest.raises(OutOfMemory, match=r"needs .* and .* KiB are free; take"):
        next(fit(problem, PRIOR, SETTINGS))
    assert runtime.kept_pages.users == 0


def test_unknown_free_memory_is_no_reason_to_refuse(problem, monkeypatch):
    monkeypatch.setattr(runtime, "free_memory", lambda device: None)
    assert run_to_end(fit(problem, PRIOR, SETTINGS)).iterations == 12


def test_memory_that_runs_out_on_the_way_is_named(problem):
    calls = []

    def term(prediction, measurement):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return Squared()(prediction, measurement)

    with pytest.raises(OutOfMemory, match="the fit needs about"):
        run_to_end(fit(replace(problem, term=Pointwise(term)), PRIOR, SETTINGS))
    assert runtime.kept_pages.users == 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_estimate_is_positive_and_grows_with_the_pixels(ndim):
    sides = (64, 64) if ndim == 2 else (16, 32, 32)
    prior = Prior(Architecture.uniform(16, 3), Noise(16))

    def memory(factor, precision="float32"):
        y = torch.zeros((1, 1, *sides[:-1], sides[-1] * factor))
        return estimate(
            Problem(y), prior, replace(SETTINGS, precision=precision)
        ).memory

    assert memory(1) > 0
    assert memory(16) / memory(4) == pytest.approx(4, rel=0.1)
    assert 0.4 < memory(4, "bfloat16") / memory(4) < 0.8


def test_estimate_covers_what_the_backward_pass_keeps():
    prior = Prior(Architecture.uniform(16, 3), Noise(16))
    y = torch.zeros(1, 1, 64, 64)
    needed = estimate(Problem(y), prior, SETTINGS)
    network = prior.architecture.build(
        16, 1, (32, 32), torch.Generator().manual_seed(0)
    )
    kept = {}

    def pack(t):
        kept[t.untyped_storage().data_ptr()] = (t.untyped_storage().nbytes(), t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        network(torch.rand(1, 16, 64, 64)).sum()
    held = sum(size for size, _ in kept.values())
    assert held < needed.memory < 3 * held
    assert needed.seconds is None


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(),
        Architecture.uniform(16, 3, skip=16),
        Local(),
        UNet((8, 16)),
        ResNet(blocks=2, width=8),
        Pixels(),
    ],
    ids=lambda a: type(a).__name__,
)
def test_what_surely_fits_does(architecture, ndim, monkeypatch):
    if ndim == 3 and isinstance(architecture, UNet | ResNet):
        pytest.skip("for planes")
    y = torch.zeros(1, 2, *(64,) * ndim)
    settings = replace(SETTINGS, precision="float32")
    given = Problem(y), Prior(architecture, Noise(5)), settings
    needed = estimate(*given).memory
    monkeypatch.setattr(runtime, "free_memory", lambda device: needed)
    assert not surely_fits(*given)
    monkeypatch.setattr(runtime, "free_memory", lambda device: 100 * needed)
    assert surely_fits(*given)


def test_a_fit_that_surely_fits_loads_no_compiler():
    program = (
        "import sys, numpy, napari_dip\n"
        "image = numpy.random.default_rng(0).random((32, 32))\n"
        "napari_dip.denoise(image, iterations=2, precision='float32')\n"
        "assert 'torch' in sys.modules\n"
        "assert not {'sympy', 'torch._dynamo'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_estimate_counts_equal_networks_once(monkeypatch):
    counted = []
    count = runtime.saved_bytes
    monkeypatch.setattr(
        runtime, "saved_bytes", lambda *a: counted.append(a) or count(*a)
    )
    y = torch.zeros(1, 1, 48, 80)

    def memory(architecture):
        return estimate(Problem(y), Prior(architecture, Noise(5)), SETTINGS).memory

    first = memory(Architecture.uniform(7, 2))
    assert memory(Architecture.uniform(7, 2)) == first
    assert len(counted) == 1
    assert memory(Architecture.uniform(9, 2)) > first
    assert len(counted) == 2
    # One of the user's own may have no hash.
    own = Architecture.uniform(7, 2)
    unhashable = type("Own", (Architecture,), {"__hash__": None})(*vars(own).values())
    assert memory(unhashable) == first
    assert len(counted) == 3


def test_estimate_measures_time_where_asked(problem):
    needed = estimate(problem, PRIOR, SETTINGS, trial=True)
    assert 0 < needed.seconds < 10
    assert runtime.kept_pages.users == 0


def test_estimate_allocates_nothing_of_the_images_size():
    y = torch.zeros(1).expand(1, 1, 40_000, 40_000)
    needed = estimate(Problem(y), Prior(Architecture(), Noise()), SETTINGS)
    assert needed.memory > 1000 * 2**30
    assert not needed.fits


def test_a_start_is_fitted_before_the_measurement_and_not_counted():
    estimate = torch.full((1, 1, 32, 32), 0.8)
    problem = Problem(torch.full((1, 1, 32, 32), 0.2), first_estimate=estimate)
    settings = replace(
        SETTINGS, stop=Iterations(1), start_iterations=60, learning_rate=0.02
    )
    seen = []
    result = run_to_end(fit(problem, PRIOR, settings), lambda it: seen.append(it.step))
    assert seen == [0] * 60 + [1]
    assert result.iterations == 1
    assert abs(float(result.image.mean()) - 0.8) < 0.1


def test_a_cosine_lowers_the_rate_to_nothing():
    y = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    settings = replace(
        SETTINGS, stop=Iterations(40), schedule="cosine", ema_decay=0.0, check_every=1
    )
    outputs = []
    run_to_end(
        fit(Problem(y), Prior(PRIOR.architecture, Noise(4, perturbation=0)), settings),
        lambda it: outputs.append(it.average),
    )
    steps = [(b - a).abs().mean().item() for a, b in pairwise(outputs)]
    assert steps[-1] < 0.05 * max(steps)


def test_halving_halves_the_rate(problem, monkeypatch):
    rates = []
    compute = loop.Step.compute

    def noting(self):
        rates.append(self.state.optimizers.members[0].param_groups[0]["lr"])
        compute(self)

    monkeypatch.setattr(loop.Step, "compute", noting)
    settings = replace(SETTINGS, stop=Iterations(10), schedule="halving")
    run_to_end(fit(problem, PRIOR, settings))
    expected = [0.01] * 4 + [0.005] * 2 + [0.0025] * 2 + [0.00125] * 2
    assert rates == pytest.approx(expected)


def test_a_penalty_pulls_the_image():
    y = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    settings = replace(SETTINGS, stop=Iterations(30))
    free = run_to_end(fit(Problem(y), PRIOR, settings)).image
    pulled = run_to_end(
        fit(Problem(y, penalty=lambda x: 10 * x.square().mean()), PRIOR, settings)
    ).image
    assert pulled.mean() < 0.8 * free.mean()


def test_measurements_of_any_shape_can_be_compared():
    y = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    flat = replace(SETTINGS, stop=Iterations(5))
    problem = Problem(
        y.reshape(1, 1, -1), operator=lambda x: x.reshape(1, 1, -1), shape=(1, 32, 32)
    )
    one = run_to_end(fit(problem, PRIOR, flat)).image
    other = run_to_end(fit(Problem(y), PRIOR, flat)).image
    torch.testing.assert_close(one, other)


def test_a_loss_below_zero_is_no_divergence():
    y = torch.zeros(1, 1, 32, 32)
    # Falls to -1 by and by; three times the median of such losses is less than any.
    term = Pointwise(lambda prediction, measurement: -prediction)
    settings = replace(SETTINGS, stop=Iterations(40), check_every=1)
    result = run_to_end(fit(Problem(y, term=term), PRIOR, settings))
    assert not result.warnings
    assert result.stopped_by == "the maximum of 40 iterations"


def test_what_changes_is_told_how_much_is_done(problem):
    told = []
    run_to_end(fit(replace(problem, anneal=told.append), PRIOR, SETTINGS))
    assert told == [step / 12 for step in range(12)]


class Gain(torch.nn.Module):
    """An operator with a parameter: x times a gain that nobody knows."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.gain * x


def test_an_operators_parameters_are_fitted_where_asked(smooth):
    """What is known of the image is its mean, so the gain can be found."""
    operator = Gain()

    def result(rate, iterations):
        problem = Problem(
            2 * smooth,
            operator=operator,
            penalty=lambda x: 100 * (x.mean() - smooth.mean()).square(),
            operator_learning_rate=rate,
        )
        settings = replace(SETTINGS, stop=Iterations(iterations), ema_decay=0.9)
        return run_to_end(fit(problem, PRIOR, settings))

    assert result(None, 2).operator is None
    found = result(0.02, 150).operator
    assert found.gain.item() == pytest.approx(2, abs=0.1)
    assert operator.gain.item() == 1


def test_the_operator_of_the_best_iteration_is_kept(smooth):
    @dataclass(frozen=True)
    class First(Iterations):
        def watch(self, weight, generator):
            watch = HeldOut(self.maximum, patience=999).watch(weight, generator)
            scores = iter([3.0, 1.0, 4.0, 6.0])
            watch.score = lambda average, error: torch.tensor([next(scores)])
            return watch

    problem = Problem(2 * smooth, operator=Gain(), operator_learning_rate=0.01)
    short, long = (
        run_to_end(fit(problem, PRIOR, replace(SETTINGS, stop=stop)))
        for stop in (Iterations(10), First(30))
    )
    assert long.best_iteration == 10
    assert short.operator.gain.item() == pytest.approx(1.1, abs=0.05)
    # Held-out pixels change the gradients a little.
    assert long.operator.gain.item() == pytest.approx(
        short.operator.gain.item(), abs=0.02
    )


def test_a_divergence_rolls_the_operator_back(smooth):
    problem = Problem(
        2 * smooth,
        operator=Gain(),
        operator_learning_rate=0.01,
        term=Pointwise(Failing([], (55,))),
    )
    result = run_to_end(fit(problem, PRIOR, replace(SETTINGS, stop=Iterations(90))))
    assert torch.isfinite(result.image).all()
    assert math.isfinite(result.operator.gain.item())


def _same(one, other):
    assert torch.equal(one.image, other.image)
    assert one.history == other.history
    assert (one.iterations, one.best_iteration) == (
        other.iterations,
        other.best_iteration,
    )
    assert one.stopped_by == other.stopped_by


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize(
    "stop", [Iterations(12), HeldOut(60, patience=10, relative_patience=0)]
)
def test_going_on_is_a_longer_fit(problem, stop, schedule):
    settings = replace(SETTINGS, stop=stop, schedule=schedule, resumable=True)
    first = run_to_end(fit(problem, PRIOR, settings))
    end = first.iterations
    before = [dict(entry) for entry in first.history]
    longer = run_to_end(first.resume(25))
    assert end + 25 <= longer.iterations < end + 25 + settings.check_every
    assert longer.best_iteration == longer.iterations
    assert "more iterations were asked for" in longer.stopped_by
    assert first.history == before == longer.history[: len(before)]
    assert not torch.equal(longer.image, first.image)
    extra = replace(settings, extra_iterations=25, resumable=False)
    whole = run_to_end(fit(problem, PRIOR, extra))
    assert whole.resume is None
    _same(longer, whole)


def test_going_on_twice(problem):
    settings = replace(SETTINGS, resumable=True)
    fit_ = run_to_end(fit(problem, PRIOR, settings))
    for extra in (10, 20):
        fit_ = run_to_end(fit_.resume(extra))
    assert fit_.iterations == 42


@pytest.mark.parametrize("at", [13, 20])
def test_a_stopped_fit_goes_on_as_if_it_had_not_been(problem, at):
    """Its last check, which the stop asks for, must leave no trace."""
    settings = replace(
        SETTINGS,
        stop=HeldOut(60, patience=20, relative_patience=0),
        resumable=True,
    )
    whole = run_to_end(fit(problem, PRIOR, settings))
    stopped = run_to_end(fit(problem, PRIOR, settings), lambda it: it.step == at)
    assert stopped.stopped_by == STOPPED
    assert stopped.iterations == at
    _same(run_to_end(stopped.resume(5)), whole)


def test_going_on_does_not_count_the_rest(problem, monkeypatch):
    settings = replace(SETTINGS, resumable=True)
    first = run_to_end(fit(problem, PRIOR, settings))
    now = loop.time.perf_counter
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now() + 1000)
    # The rest began before the clock was put forward: all of it is not counted.
    longer = run_to_end(first.resume(10))
    assert longer.seconds < 500


def test_only_who_asks_keeps_a_fit(problem):
    assert run_to_end(fit(problem, PRIOR, SETTINGS)).resume is None


@pytest.mark.parametrize(
    ("stop", "fixed", "name"),
    [
        (Iterations(4), True, "error"),
        (HeldOut(4), False, "held-out error"),
        (MovingVariance(4), False, "spread of the outputs"),
    ],
)
def test_iterates_say_what_their_score_is_and_how_long_it_takes(
    problem, stop, fixed, name
):
    settings = replace(SETTINGS, stop=stop)
    iterates = list(fit(problem, PRIOR, settings))
    assert {it.score_name for it in iterates} == {name}
    assert {it.fixed for it in iterates} == {fixed}


def test_a_fit_that_goes_on_takes_as_many_iterations_as_were_asked_for(problem):
    settings = replace(SETTINGS, stop=HeldOut(4), resumable=True)
    first = run_to_end(fit(problem, PRIOR, settings))
    longer = list(first.resume(5))
    assert {(it.fixed, it.maximum) for it in longer} == {(True, 9)}


# -- a device that fails ----------------------------------------------------------

LOST = "CUDA error: the device is lost"


@pytest.mark.parametrize(
    "error", [RuntimeError, getattr(torch, "AcceleratorError", RuntimeError)]
)
def test_the_best_image_before_the_device_failed_is_kept(
    problem, failing_device, error
):
    settings = replace(SETTINGS, stop=Iterations(30), resumable=True)
    shorter = run_to_end(fit(problem, PRIOR, replace(SETTINGS, stop=Iterations(10))))
    failing_device(15, error=error)
    result = run_to_end(fit(problem, PRIOR, settings))
    assert result.stopped_by == (
        f"{DEVICE_FAILED} (the device has failed: CUDA error: the device is lost)"
    )
    assert result.warnings == [
        "the device has failed: CUDA error: the device is lost; the best image so far "
        "was kept"
    ]
    assert (result.iterations, result.best_iteration) == (14, 10)
    assert torch.equal(result.image, shorter.image)
    assert result.resume is None


def test_a_device_that_fails_before_there_is_an_image(problem, failing_device):
    failing_device(1)
    with pytest.raises(DeviceFailed, match=r"is lost; there was no image yet to keep$"):
        run_to_end(fit(problem, PRIOR, SETTINGS))


def test_a_device_that_keeps_its_image(problem, failing_device, monkeypatch):
    def lost(self, reason):
        raise RuntimeError(LOST)

    failing_device(8)
    monkeypatch.setattr(loop.Run, "result", lost)
    with pytest.raises(DeviceFailed, match=r"is lost; the image so far was lost with"):
        run_to_end(fit(problem, PRIOR, SETTINGS))


def test_a_device_that_has_failed_before(problem, monkeypatch):
    def lost(*arguments):
        raise RuntimeError(LOST)

    monkeypatch.setattr(runtime, "free_memory", lost)
    with pytest.raises(DeviceFailed, match=r"^the device has failed: CUDA error: the"):
        run_to_end(fit(problem, PRIOR, SETTINGS))
