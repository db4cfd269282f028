"""Blocks: what is cut out, how it is put together, and the fit of one by itself."""

import dataclasses
import json
import pickle
from types import MappingProxyType

import numpy as np
import pytest

from napari_dip import deconvolve, denoise, estimate, inpaint
from napari_dip.errors import InputError
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.fit import run_to_end
from napari_dip.prior.stopping import Iterations, MovingVariance
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.block import fit_to_end
from napari_dip.tasks.denoise import TASK, DenoiseRecipe
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.plane import Pixels
from napari_dip.tasks.result import Canvas
from napari_dip.tasks.run import TASKS, get, run
from napari_dip.tasks.task import Job, Overrides
from napari_dip.tasks.tiles import Block

FIXED = {"device": "cpu", "precision": "float32"}


@pytest.fixture
def noisy():
    y, x = np.mgrid[0:32, 0:30] / 30
    noise = np.random.default_rng(0).normal(0, 40, (2, 32, 30))
    return (1000 + 300 * np.sin(4 * y + 2 * x) + noise).astype(np.float32)


def overlapping(side=40, halo=8):
    """Return two blocks that share `halo` pixels across the middle of a plane."""
    middle = side // 2
    common = {"plane": 0, "index": (slice(None),) * 2, "channels": (0,)}
    ends = middle + halo // 2, middle - halo // 2
    first = Block(
        **common, start=(0, 0), stop=(ends[0], side), halo=((0, halo), (0, 0))
    )
    last = Block(
        **common, start=(ends[1], 0), stop=(side, side), halo=((halo, 0), (0, 0))
    )
    return first, last


def test_windows_of_neighbours_sum_to_one():
    total = np.zeros((40, 40))
    for block in overlapping():
        total[block.region()] += block.window()
    np.testing.assert_allclose(total, 1, rtol=1e-6)


@pytest.mark.parametrize("factor", [1, 2])
def test_blocks_of_an_image_put_together_are_the_image(factor):
    image = np.random.default_rng(0).normal(size=(1, 40 * factor, 40 * factor))
    plane = Canvas(np.full(image.shape, 9, np.float32), factor)
    for block in overlapping():
        plane.put(block, image[(slice(None), *block.region(factor))])
    np.testing.assert_allclose(plane.image, image, atol=1e-5)


def test_where_blocks_differ_one_goes_over_into_the_other():
    plane = Canvas(np.zeros((1, 40, 40), np.float32), 1)
    for value, block in enumerate(overlapping()):
        plane.put(block, np.full((1, 24, 40), value, np.float32))
    profile = plane.image[0, :, 0]
    assert (profile[:16] == 0).all()
    assert (profile[24:] == 1).all()
    assert (np.diff(profile[15:25]) > 0).all()


def test_a_block_cuts_its_channels_and_pixels():
    plane = np.arange(3 * 40 * 40).reshape(3, 40, 40)
    _, last = overlapping()
    two = Block(0, last.index, (0, 2), last.start, last.stop, last.halo)
    cut = two.cut(Pixels(plane, plane > 9))
    np.testing.assert_array_equal(cut.values, plane[[0, 2], 16:])
    np.testing.assert_array_equal(cut.constant, plane[[0, 2], 16:] > 9)


@pytest.mark.usefixtures("small_fits")
def test_a_block_fitted_alone_is_the_plane_of_the_whole(noisy):
    recipe = DenoiseRecipe(iterations=3, **FIXED)
    both = denoise(noisy, iterations=3, **FIXED)
    job: Job = TASK.job(recipe, noisy)
    for number, index in enumerate(job.layout.indices()):
        (block,) = job.blocks(number, index, job.pixels(index, job.take(index)))
        same, image, part = pickle.loads(pickle.dumps((recipe, noisy, block)))
        done = fit_to_end(TASK.job(same, image), same, part)
        np.testing.assert_array_equal(done.image[0], both[number])


# -- the analysis ------------------------------------------------------------------


@pytest.mark.usefixtures("narrow")
def test_an_analysis_goes_through_json_and_makes_the_same_fit(noisy):
    fit = denoise(noisy[0], iterations=3, full_output=True, **FIXED)
    stored = json.loads(json.dumps(fit.settings["planes"][0]["analysis"]))
    again = denoise(noisy[0], analysis=stored, iterations=3, **FIXED)
    np.testing.assert_array_equal(again, fit.image)
    kept = Analysis.from_dict(fit.settings["planes"][0]["analysis"])
    assert Analysis.from_dict(stored) == kept


@pytest.mark.usefixtures("narrow")
def test_an_analysis_of_an_older_version_makes_the_same_fit(noisy):
    psf = np.outer(*[np.hanning(7)] * 2)
    given = {"iterations": 2, "full_output": True, **FIXED}
    fit = deconvolve(noisy[0], psf, **given)
    known = fit.settings["planes"][0]["analysis"]
    older = {k: v for k, v in known.items() if k not in ("sharp_span", "warnings")}
    again = deconvolve(noisy[0], psf, analysis=older, **given)
    np.testing.assert_array_equal(again.image, fit.image)


@pytest.mark.usefixtures("narrow")
def test_a_given_analysis_is_used_and_nothing_found_out(noisy, monkeypatch):
    fit = denoise(noisy[0], iterations=3, full_output=True, **FIXED)
    known = Analysis.from_dict(fit.settings["planes"][0]["analysis"])
    monkeypatch.setattr("napari_dip.tasks.denoise.analyse", None)
    np.testing.assert_array_equal(
        denoise(noisy[0], analysis=known, iterations=3, **FIXED), fit.image
    )
    louder = Analysis(**{**vars(known), "noise": NoiseModel.gaussian([0.3])})
    changed = denoise(noisy[0], analysis=[louder], iterations=3, **FIXED)
    assert not np.array_equal(changed, fit.image)


@pytest.mark.parametrize("value", [{"span": 1}, 3, {"noise": {}}, ["text"]])
def test_what_is_no_analysis_is_refused(noisy, value):
    with pytest.raises(InputError, match="analysis must be one of a fit"):
        denoise(noisy[0], analysis=value, **FIXED)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("fitted", "given", "message"),
    [
        ((32, 30, 3), (32, 30), r"each of the 1 channels .* got channels \[0, 1, 2\]"),
        ((32, 30), (32, 30, 3), r"each of the 3 channels .* got channels \[0\]"),
    ],
)
def test_an_analysis_of_other_channels_is_refused(fitted, given, message):
    random = np.random.default_rng(0)
    fit = denoise(random.random(fitted), iterations=1, full_output=True, **FIXED)
    known = [plane["analysis"] for plane in fit.settings["planes"]]
    with pytest.raises(InputError, match=message):
        denoise(random.random(given), analysis=known, **FIXED)


@pytest.mark.usefixtures("small_fits")
def test_the_analyses_of_all_groups_of_channels_are_needed_and_enough():
    image = np.random.default_rng(0).random((64, 64, 3))
    options = {"iterations": 2, "full_output": True, **FIXED}
    fit = denoise(image, **options)
    known = [plane["analysis"] for plane in fit.settings["planes"]]
    assert len(known) == 3
    again = denoise(image, analysis=known, **options)
    np.testing.assert_array_equal(again.image, fit.image)
    with pytest.raises(InputError, match=r"got channels \[0, 1\]"):
        denoise(image, analysis=known[:2], **options)


@pytest.mark.usefixtures("small_fits")
def test_the_noise_is_measured_once_for_all_restarts(noisy, monkeypatch):
    from napari_dip.tasks import noise

    calls = []
    measure = noise.gaussian_variance
    monkeypatch.setattr(
        noise,
        "gaussian_variance",
        lambda *a, **k: calls.append(1) or measure(*a, **k),
    )
    denoise(noisy[0], iterations=2, restarts=3, **FIXED)
    assert len(calls) == 1


# -- what a user sets in place of the preset ---------------------------------------


@pytest.mark.usefixtures("small_fits")
def test_architecture_and_stop_take_the_place_of_the_presets(noisy):
    fit = denoise(
        noisy[0],
        architecture=Architecture.uniform(4, 2, upsampling="nearest"),
        stop=Iterations(7),
        full_output=True,
        **FIXED,
    )
    assert fit.iterations == 7
    assert fit.stopped_by == "the maximum of 7 iterations"
    mask = np.zeros(noisy[0].shape, bool)
    mask[4:9] = True
    rule = MovingVariance(40, patience=10, warmup=5)
    fit = inpaint(noisy[0], mask, stop=rule, full_output=True, **FIXED)
    assert fit.iterations <= 40


def test_the_provenance_tells_what_took_the_place_of_the_preset(noisy):
    options = {"full_output": True, **FIXED}
    network = Architecture.uniform(4, 2)
    fit = denoise(noisy[0], architecture=network, stop=Iterations(3), **options)
    plane = json.loads(json.dumps(fit.settings["planes"][0]))
    assert plane["stop"] == {"name": "iterations", "maximum": 3}
    again = denoise(
        noisy[0], architecture=plane["architecture"], stop=plane["stop"], **options
    )
    np.testing.assert_array_equal(again.image, fit.image)
    plain = denoise(noisy[0], iterations=1, **options).settings["planes"][0]
    assert not {"architecture", "stop", "began from weights"} & plain.keys()


@pytest.mark.usefixtures("small_fits")
def test_a_fit_starts_from_the_weights_of_another(noisy):
    options = {"stop": Iterations(1), "full_output": True, **FIXED}
    fit = denoise(noisy[0], iterations=60, full_output=True, **FIXED)
    cold = denoise(noisy[1], **options)
    warm = denoise(noisy[1], weights=fit.weights, **options)
    assert warm.history[0]["loss"] < 0.8 * cold.history[0]["loss"]
    assert warm.settings["planes"][0]["began from weights"]


def state_at(step, *arguments, **options):
    """Return the state of a fit after an iteration, and the whole fit."""
    states = []

    def note(it):
        if it.step == step:
            states.append(it.checkpoint())

    fit = denoise(*arguments, callback=note, full_output=True, **options)
    return states[-1], fit


def assert_same(one, other):
    np.testing.assert_array_equal(one.image, other.image)
    assert one.history == other.history
    assert one.warnings == other.warnings


@pytest.mark.usefixtures("small_fits")
def test_a_fit_goes_on_from_its_state(noisy):
    options = {"iterations": 12, **FIXED}
    state, whole = state_at(5, noisy[0], **options)
    assert_same(denoise(noisy[0], state=state, full_output=True, **options), whole)


@pytest.mark.usefixtures("small_fits")
def test_a_second_attempt_goes_on_as_one(noisy):
    stuck = []

    def failed(it):
        if it.step != 3 or stuck:
            return None
        stuck.append(it)
        return "stuck"

    make_job = TASK.make_job

    def make(recipe, image):
        job = make_job(recipe, image)

        def plan(*arguments):
            return dataclasses.replace(job.plan(*arguments), failed=failed)

        return dataclasses.replace(job, plan=plan)

    task = dataclasses.replace(TASK, make_job=make)
    recipe = TASK.recipe(iterations=12, **FIXED)
    states = []

    def note(it):
        if it.step == 6:
            states.append(it.checkpoint())

    whole = run_to_end(run(task, recipe, [noisy[0]]), note)
    assert whole.warnings == ["stuck: begun again from another seed"]
    going_on = run(task, recipe, [noisy[0]], overrides=Overrides(state=states[0]))
    assert_same(run_to_end(going_on), whole)


@pytest.mark.usefixtures("small_fits")
def test_a_fit_that_says_less_than_a_constant_is_begun_again(noisy, changed_presets):
    changed_presets(check_every=5)
    options = {"iterations": 10, "full_output": True, **FIXED}
    assert not denoise(noisy[0], **options).warnings
    changed_presets(learning_rate=50.0, adam_learning_rate=50.0)
    says = "the network predicted nothing after 10 iterations: begun again from another"
    fit = denoise(noisy[0], **options)
    assert fit.warnings[0].startswith(says)


@pytest.mark.usefixtures("narrow")
def test_a_job_of_several_fits_has_no_state(noisy):
    state, _ = state_at(2, noisy[0], iterations=3, **FIXED)
    with pytest.raises(InputError, match="state: is of one fit; got a job of several"):
        denoise(noisy, state=state, **FIXED)
    with pytest.raises(InputError, match="state: is of one fit; got restarts=2"):
        denoise(noisy[0], state=state, restarts=2, **FIXED)
    for wrong, name in ((3, "int"), (MappingProxyType({}), "mappingproxy")):
        with pytest.raises(InputError, match=f"state must be a dict .*; got {name}$"):
            denoise(noisy[0], state=wrong, **FIXED)


@pytest.mark.usefixtures("small_fits")
def test_only_a_single_fit_gives_its_weights(noisy):
    options = {"iterations": 1, "full_output": True, **FIXED}
    assert denoise(noisy[0], **options).weights
    assert denoise(noisy[0], restarts=2, **options).weights is None
    assert denoise(noisy, **options).weights is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (3, "weights must be a dict of tensors"),
        ({"a": 3}, "weights: must be those of such a network; .* is missing"),
    ],
)
def test_other_weights_are_refused(noisy, weights, message):
    with pytest.raises(InputError, match=message):
        denoise(noisy[0], weights=weights, **FIXED)


def test_an_estimate_is_of_the_network_that_takes_the_presets_place(noisy):
    small, large = (
        estimate("denoise", noisy, architecture=Architecture.uniform(n, 2), **FIXED)
        for n in (4, 24)
    )
    assert large.memory > 2 * small.memory


@pytest.mark.parametrize("name", ["architecture", "stop"])
def test_other_values_are_refused_in_their_place(noisy, name):
    with pytest.raises(InputError, match=f"{name} must be a value of napari_dip.prior"):
        denoise(noisy[0], **{name: 3}, **FIXED)


@pytest.mark.parametrize("name", TASKS)
def test_every_preset_of_every_task_is_in_its_table(name):
    from napari_dip.tasks import presets

    table = presets.TABLES[name]
    assert {preset for preset, _ in table} == {"fast", "best", "paper"}
    cases = {preset: {c for p, c in table if p == preset} for preset, _ in table}
    assert cases["fast"] == cases["best"]
    assert get(name).recipe.task == name


# -- the estimate ------------------------------------------------------------------


class Unread:
    """An array of which nothing but the shape may be asked."""

    shape, dtype, ndim = (500, 512, 512), np.dtype("uint16"), 3

    def __getitem__(self, index):
        raise AssertionError("an estimate must not read the image")


def test_an_estimate_reads_no_pixel():
    found = estimate("denoise", Unread(), **FIXED)
    assert found.memory > 2**20
    assert found.seconds > 0
