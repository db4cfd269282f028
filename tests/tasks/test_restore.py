"""Restoring with one's own operator: units, shapes, several measurements, errors."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_dip import estimate, iterate, restore
from napari_dip.errors import FitError, InputError
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.stopping import HeldOut, Iterations
from napari_dip.prior.terms import Huber, Poisson, Squared
from napari_dip.tasks.restore import TASK, RestoreRecipe

SHORT = {"iterations": 4, "device": "cpu", "precision": "float32"}


def identity(x):
    return x


def halve(x):
    return F.avg_pool2d(x, 2)


@pytest.fixture
def truth():
    """Return a smooth (32, 36) image in units of its own."""
    y, x = np.mgrid[0:32, 0:36] / 32
    return (700 + 200 * np.sin(4 * y) * np.cos(3 * x)).astype(np.float32)


@pytest.fixture
def plan(first_fit):
    """Return a function that gives the plan for a measurement."""

    def make(measurement, operator, **parameters):
        return first_fit(
            TASK, RestoreRecipe(device="cpu", **parameters), measurement, operator
        )

    return make


# -- what the operator sees, and what comes back ----------------------------------


@pytest.mark.slow
def test_a_smaller_image_is_enlarged(truth, changed_presets):
    changed_presets(architecture=Architecture.uniform(16, 2))
    seen = []

    def operator(x):
        seen.append((tuple(x.shape), x.dtype, float(x.detach().mean())))
        return halve(x)

    small = halve(torch.from_numpy(truth)[None, None])[0, 0].numpy()
    found = restore(small, operator, shape=(32, 36), **SHORT | {"iterations": 100})
    assert found.shape == (32, 36)
    assert found.dtype == np.float32
    again = halve(torch.from_numpy(found)[None, None])[0, 0].numpy()
    assert np.abs(again - small).mean() < 0.1 * small.std()
    assert np.abs(found - truth).mean() < 0.2 * truth.std()
    assert {shape for shape, _, _ in seen} == {(1, 1, 32, 36)}
    assert {dtype for _, dtype, _ in seen} == {torch.float32}
    # In the fit the operator sees the user's units.
    assert 600 < np.median([mean for _, _, mean in seen[-50:]]) < 800


@pytest.mark.usefixtures("narrow")
def test_a_nonlinear_operator_is_given_its_units(truth):
    """The square root of 700 is not that of 0.5: the scale must be undone."""
    measured = np.sqrt(truth)
    found = restore(
        measured,
        lambda x: x.clamp(min=0).sqrt(),
        value_range=(400, 1000),
        **SHORT | {"iterations": 60},
    )
    assert np.abs(found - truth).mean() < 0.3 * truth.std()
    assert found.min() >= 400
    assert found.max() <= 1000


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("shape", "parameters", "tensor"),
    [
        ((17, 19), {}, (1, 1, 17, 19)),
        ((17, 19, 3), {}, (1, 3, 17, 19)),
        ((2, 17, 19), {"channel_axis": 0}, (1, 2, 17, 19)),
        ((16, 17, 18), {"spatial_dims": 3}, (1, 1, 16, 17, 18)),
    ],
    ids=str,
)
def test_shapes(shape, parameters, tensor):
    seen = set()

    def total(x):
        seen.add(tuple(x.shape))
        return x.sum((0, 1))

    measured = np.random.default_rng(0).random(tensor[2:])
    found = restore(measured, total, shape=shape, **SHORT, **parameters)
    assert found.shape == shape
    assert seen == {tensor}


@pytest.mark.usefixtures("narrow")
def test_the_shape_is_the_measurements_where_not_given(truth):
    assert restore(truth, identity, **SHORT).shape == truth.shape
    assert restore(truth[None, None], identity, **SHORT).shape == truth.shape


def test_units_scale_with_the_measurement(truth):
    """After one step: the next ones double what rounding differs, and double again."""
    plain = restore(truth, identity, **SHORT | {"iterations": 1})
    scaled = restore(truth * 1000 - 5e5, identity, **SHORT | {"iterations": 1})
    tolerance = 1000 * 0.001 * np.ptp(truth)
    np.testing.assert_allclose(scaled, plain * 1000 - 5e5, atol=tolerance)


@pytest.mark.slow
def test_a_constant_comes_back_constant():
    found = restore(np.full((16, 16), 40.0), identity, **SHORT | {"iterations": 60})
    np.testing.assert_allclose(found, 40, atol=3)


@pytest.mark.usefixtures("narrow")
def test_missing_values_change_no_bit(truth):
    measured = truth.copy()
    measured[4:9, 5:12] = np.nan
    missing = np.isnan(measured)

    def hiding(other):
        def operator(x):
            hidden = torch.from_numpy(missing)[None, None]
            return torch.where(hidden, other * x, x)

        return operator

    one, other = (restore(measured, hiding(f), **SHORT) for f in (1.0, 1.5))
    np.testing.assert_array_equal(one, other)
    assert np.isfinite(one).all()


# -- several measurements ---------------------------------------------------------


def rows(x):
    return x.mean(-1)


def columns(x):
    return x.mean(-2)


def test_several_measurements_at_once(truth, changed_presets):
    changed_presets(architecture=Architecture.uniform(24, 3))
    both = [truth.mean(1), truth.mean(0)]
    found = restore(
        both, [rows, columns], shape=truth.shape, **SHORT | {"iterations": 150}
    )
    for axis, projection in ((1, both[0]), (0, both[1])):
        apart = np.abs(found.mean(axis) - projection).mean()
        assert apart < 0.3 * projection.std()


@pytest.mark.usefixtures("small_fits")
def test_the_range_of_the_image_is_in_the_analysis(truth, monkeypatch):
    measured = halve(torch.from_numpy(truth)[None, None])[0, 0].numpy()
    given = {"shape": truth.shape, "full_output": True, **SHORT}
    fit = restore(measured, halve, **given)
    (facts,) = fit.settings["planes"]
    known = json.loads(json.dumps(facts["analysis"]))
    low, high = facts["range"]
    assert known["offset"] == [low]
    assert low + known["span"][0] == high
    monkeypatch.setattr("napari_dip.tasks.forward_model._range", None)
    again = restore(measured, halve, analysis=known, **given)
    np.testing.assert_array_equal(again.image, fit.image)


@pytest.mark.usefixtures("narrow")
def test_one_operator_may_return_several_tensors(truth):
    both = [truth.mean(1), torch.from_numpy(truth.mean(0))]
    parameters = SHORT | {"shape": truth.shape}
    one = restore(both, lambda x: [rows(x), columns(x)], **parameters)
    np.testing.assert_array_equal(one, restore(both, (rows, columns), **parameters))


@pytest.mark.usefixtures("narrow")
def test_sigma_weighs_measurements(truth):
    """Of two that disagree the one with less noise wins."""
    both = [truth, truth + 300]
    found = restore(
        both, [identity, identity], sigma=(1, 30), **SHORT | {"iterations": 60}
    )
    assert abs(found.mean() - truth.mean()) < 60


# -- the fit behind it ------------------------------------------------------------


def test_terms_and_presets(plan, truth):
    assert plan(truth, identity).problem.term == Squared()
    assert plan(truth, identity, term="huber").problem.term == Huber()
    counts = plan(truth, identity, term="poisson").problem.term
    assert isinstance(counts, Poisson)
    assert counts.gain == pytest.approx(1 / truth.std())
    assert isinstance(plan(truth, identity).settings.stop, HeldOut)
    assert plan(truth, identity, iterations=7).settings.stop == Iterations(7)
    paper = plan(truth, identity, preset="paper")
    assert paper.settings.stop == Iterations(2000)
    assert paper.prior.architecture == Architecture(output="linear")


def test_poisson_is_in_counts(plan):
    """Scaled or not, the loss is that of the counts themselves."""
    random = np.random.default_rng(0)
    counts = random.poisson(20, (16, 16)).astype(np.float32)
    problem = plan(counts, identity, term="poisson").problem
    scaled = torch.full_like(problem.measurement, 20) / counts.std()
    loss = problem.term(scaled, problem.measurement).sum()
    y = torch.from_numpy(counts) + 0.1
    expected = (20.1 - y + y * torch.log(y / 20.1)).sum()
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)


def test_poisson_is_in_the_counts_of_every_measurement(plan):
    """Whatever their spreads, or sigma: many photons weigh more than few."""
    random = np.random.default_rng(0)
    counts = [
        random.poisson(level, (16, 16)).astype(np.float32) for level in (20, 2000)
    ]
    for sigma in (None, (1, 30)):
        made = plan(counts, [identity] * 2, term="poisson", sigma=sigma)
        unit, other = made.details["units of the errors"]
        assert unit == other
        measured = made.problem.measurement * unit
        predicted = torch.cat([torch.full((256,), n) for n in (21.0, 1900.0)])
        loss = made.problem.term(predicted[None, None] / unit, measured / unit).sum()
        p, y = predicted + 0.1, torch.from_numpy(np.concatenate(counts)).flatten() + 0.1
        expected = (p - y + y * torch.log(y / p)).sum()
        torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)


def test_the_range_is_found(plan, truth):
    blur = torch.nn.Sequential(torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False))
    measured = 1e-3 * blur(torch.from_numpy(truth)[None, None])[0, 0].numpy()
    found = plan(measured, lambda x: 1e-3 * blur(x)).details["range"]
    low, high = np.percentile(truth, [0.5, 99.5]).tolist()
    tolerance = 0.15 * float(np.ptp(truth))
    assert found[0] == pytest.approx(low, abs=tolerance)
    assert found[1] == pytest.approx(high, abs=tolerance)


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
def test_total_variation_smooths(truth):
    noisy = truth + np.random.default_rng(0).normal(0, 100, truth.shape)

    def roughness(tv):
        found = restore(noisy, identity, tv=tv, **SHORT | {"iterations": 40})
        return np.abs(np.diff(found, axis=1)).mean()

    assert roughness(5.0) < 0.75 * roughness(0.0)  # over seeds: 0.63 +- 0.02


@pytest.mark.usefixtures("narrow")
def test_modules_are_left_where_and_as_they_are(truth):
    module = torch.nn.Conv2d(1, 1, 3, padding=1)
    before = [p.detach().clone() for p in module.parameters()]
    measured = module(torch.from_numpy(truth)[None, None])[0, 0].detach().numpy()
    restore(measured, module, **SHORT)
    for p, old in zip(module.parameters(), before, strict=True):
        assert torch.equal(p, old)
        assert p.grad is None


@pytest.mark.usefixtures("small_fits")
def test_it_can_be_watched_and_stopped(truth):
    fit = restore(truth, identity, callback=lambda it: it.step == 2, full_output=True)
    assert fit.iterations == 2
    assert fit.image.shape == truth.shape
    assert fit.settings["recipe"]["task"] == "restore"
    assert next(iterate("restore", truth, identity, **SHORT)).image.shape == truth.shape
    assert estimate("restore", truth, identity, device="cpu").memory > 0


@pytest.mark.usefixtures("narrow")
def test_runs_where_gradients_are_off(truth):
    expected = restore(truth, identity, **SHORT)
    with torch.inference_mode():
        np.testing.assert_array_equal(restore(truth, identity, **SHORT), expected)


@pytest.mark.usefixtures("small_fits")
def test_an_operator_that_gives_no_numbers_is_an_error(truth):
    with pytest.raises(FitError, match="no iteration gave a finite image: the loss"):
        restore(truth, lambda x: x * np.nan, value_range=(0, 1), device="cpu")


# -- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    ("measurement", "operator", "parameters", "words"),
    [
        ([], identity, {}, "measurement must not be"),
        (np.full((16, 16), np.inf), identity, {}, "measurement must be finite"),
        (np.full((16, 16), np.nan), identity, {}, "nothing but NaN"),
        (np.eye(16) * 1e39, identity, {}, "measurement must have a range that float32"),
        (np.eye(16) + 1e12, identity, {}, "measurement must have a range that float32"),
        (torch.ones(16, 16).to_sparse(), identity, {}, "measurement cannot be read"),
        (np.ones((16, 16), complex), identity, {}, "got dtype complex"),
        (np.ones((16, 16)), 3, {}, "operator must be a callable .* got int"),
        (np.ones((16, 16)), [identity] * 2, {}, r"measurements \(1\).*got 2"),
        (np.ones((16, 16)), identity, {"shape": (9, 9)}, "shape must have at least 16"),
        (np.ones((16, 16)), identity, {"shape": (2, 16, 16)}, "shape must be that of"),
        (np.ones(256), identity, {}, r"shape must have at least 16 .* \(256,\)"),
        (np.ones((16, 16)), halve, {}, r"measurement's shape \(16, 16\).*\(1, 1, 8, 8"),
        (np.ones((16, 16)), lambda x: x.detach(), {}, "operator must be differ"),
        (np.ones((16, 16)), lambda x: x.detach().numpy(), {}, "torch tensor; got nda"),
        (np.ones((16, 16)), lambda x: x + 1j, {}, "operator must return real"),
        (np.ones((16, 16)), lambda x: x @ 3, {}, r"operator failed .* TypeError"),
        (np.ones((16, 16)), lambda x: [x, x], {}, r"as many tensors .*\(1\); got 2"),
        (np.ones((16, 16)), identity, {"sigma": (1, 2)}, "sigma must be one number"),
        (np.ones((16, 16)), identity, {"sigma": 0}, "sigma must be positive; got 0"),
        (np.ones((16, 16)), identity, {"value_range": (2, 1)}, "the lower one first"),
        (np.ones((16, 16)), identity, {"value_range": 1}, "must be 2 finite"),
        (np.ones((16, 16)), identity, {"value_range": (0, 1e38)}, "that float32 can"),
        (np.ones((16, 16)), identity, {"value_range": (1e9, 1e9 + 1)}, "float32 can"),
        (np.ones((16, 16)), identity, {"term": "l2"}, "term must be squared, abs"),
    ],
)
def test_refused(measurement, operator, parameters, words):
    with pytest.raises(InputError, match=words):
        restore(measurement, operator, **SHORT, **parameters)


# -- deepinv ----------------------------------------------------------------------


def test_a_physics_object_of_deepinv_works_unchanged(truth):
    deepinv = pytest.importorskip("deepinv")
    x = torch.from_numpy(truth)[None, None] / 1000
    physics = deepinv.physics.Inpainting(
        (1, *truth.shape), mask=0.5, noise_model=deepinv.physics.GaussianNoise(0.05)
    )
    y = physics.A(x)
    found = restore(y, physics, shape=truth.shape, **SHORT | {"iterations": 150})
    assert np.abs(found - truth / 1000).mean() < 0.3 * truth.std() / 1000


def test_stacked_physics_of_deepinv_give_several_measurements(truth):
    deepinv = pytest.importorskip("deepinv")
    x = torch.from_numpy(truth)[None, None] / 1000
    halves = [torch.zeros_like(x[0]), torch.zeros_like(x[0])]
    halves[0][..., ::2, :], halves[1][..., 1::2, :] = 1, 1
    physics = deepinv.physics.StackedLinearPhysics(
        [deepinv.physics.Inpainting((1, *truth.shape), mask=mask) for mask in halves]
    )
    found = restore(physics.A(x), physics, shape=truth.shape, **SHORT)
    assert found.shape == truth.shape


@pytest.mark.usefixtures("narrow")
def test_a_measurement_of_more_channels_than_the_image(truth):
    measured = np.stack([truth, 2 * truth, 3 * truth])

    def operator(x):
        return torch.cat([x, 2 * x, 3 * x], dim=1)

    restored = restore(measured, operator, shape=truth.shape, **SHORT)
    assert restored.shape == truth.shape
