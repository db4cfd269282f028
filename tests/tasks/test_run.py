"""What all task functions share: calls, iterates, restarts, provenance."""

import inspect
import json
from contextlib import contextmanager
from itertools import pairwise

import dask.array
import numpy as np
import pytest
import torch

from napari_dip import denoise, enhance, inpaint, machine, super_resolve
from napari_dip.errors import FitError, InputError, OutOfMemory
from napari_dip.prior import runtime
from napari_dip.prior.fit import STOPPED, run_to_end
from napari_dip.prior.local import Local
from napari_dip.prior.problem import Fit
from napari_dip.tasks import block
from napari_dip.tasks.denoise import DenoiseRecipe
from napari_dip.tasks.function import estimate, iterate
from napari_dip.tasks.result import CONSTANT, reasons_of
from napari_dip.tasks.run import TASKS, get, run

SHORT = {"iterations": 3, "device": "cpu", "precision": "float32"}


@pytest.fixture(autouse=True)
def small(changed_presets, few_passes):
    changed_presets(architecture=Local((8, 8)))


@pytest.fixture
def stack():
    """Return two noisy planes."""
    return np.random.default_rng(0).normal(50, 5, (2, 20, 18)).astype(np.float32)


def test_full_output_tells_what_happened(stack):
    fit = denoise(stack, full_output=True, seed=3, **SHORT)
    assert isinstance(fit, Fit)
    np.testing.assert_array_equal(fit.image, denoise(stack, seed=3, **SHORT))
    assert fit.iterations == 6
    assert fit.stopped_by == "the maximum of 3 iterations in each of 2 fits"
    assert [(h["part"], h["step"]) for h in fit.history] == [
        (0, 1),
        (0, 3),
        (1, 1),
        (1, 3),
    ]
    assert fit.uncertainty.shape == fit.image.shape
    assert fit.seconds > 0
    recipe = DenoiseRecipe.from_dict(json.loads(json.dumps(fit.settings))["recipe"])
    assert recipe == DenoiseRecipe(seed=3, **SHORT)
    assert len(fit.settings["planes"]) == 2
    assert fit.settings["planes"][0]["device"] == "cpu"
    np.testing.assert_array_equal(denoise(stack, **dict_of(recipe)), fit.image)


def dict_of(recipe):
    return {p.name: getattr(recipe, p.name) for p in recipe.parameters()}


def test_full_output_of_one_plane_names_the_best_iteration(stack):
    fit = denoise(stack[0], full_output=True, **SHORT)
    assert fit.best_iteration == 3


def test_restarts_average_and_the_uncertainty_is_in_units(stack):
    fit = denoise(stack, restarts=3, full_output=True, **SHORT)
    assert fit.uncertainty.shape == fit.image.shape == stack.shape
    assert (fit.uncertainty > 0).mean() > 0.99
    assert fit.uncertainty.max() < np.ptp(stack)
    assert fit.iterations == 2 * 3 * 3
    single = denoise(stack, restarts=1, **SHORT)
    assert not np.array_equal(fit.image, single)
    spread = denoise(stack * 10, restarts=3, full_output=True, **SHORT).uncertainty
    assert spread.mean() == pytest.approx(10 * fit.uncertainty.mean(), rel=0.05)


def test_callback_sees_every_iteration_and_stops(stack):
    seen = []

    def callback(it):
        seen.append((it.part, it.step))
        return it.part == 0 and it.step == 2

    fit = denoise(stack, callback=callback, full_output=True, **SHORT)
    assert seen == [(0, 1), (0, 2)]
    assert STOPPED in fit.stopped_by
    assert fit.iterations == 2
    # The plane that was not begun comes back as it came, and that is said.
    np.testing.assert_array_equal(fit.image[1], stack[1])
    assert not np.array_equal(fit.image[0], stack[0])
    assert fit.warnings == [
        "plane 1 was not restored before the stop, and came back unchanged"
    ]


def test_a_callback_that_returns_nothing_stops_nothing(stack):
    seen = []
    denoise(stack, callback=seen.append, restarts=2, **SHORT)
    assert [(it.part, it.step) for it in seen] == [
        (part, step) for part in range(4) for step in (1, 2, 3)
    ]
    assert {it.parts for it in seen} == {4}
    assert [it.index[0] for it in seen[::3]] == [0, 0, 1, 1]
    assert all(a.seconds < b.seconds for a, b in pairwise(seen))


def test_iterate_yields_images_in_the_units_of_the_input(stack):
    running = iterate("denoise", stack, **SHORT)
    assert inspect.isgenerator(running)
    result = np.full_like(stack, np.nan)
    while True:
        try:
            it = next(running)
        except StopIteration as end:
            fit = end.value
            break
        assert it.image.shape == stack[it.index].shape
        assert it.image.dtype == np.float32
        assert 20 < it.image.mean() < 80
        result[it.index] = it.image
        finished = it.finished
    # They lack the collaborative filter, which is too slow for a live view.
    assert 0 < np.abs(result - fit.image).mean() < 3
    np.testing.assert_allclose(finished, fit.image[1], rtol=1e-6)
    np.testing.assert_array_equal(fit.image, denoise(stack, **SHORT))


def test_iterate_can_be_sent_true_and_closed(stack):
    running = iterate("denoise", stack, **SHORT)
    next(running)
    with pytest.raises(StopIteration) as end:
        running.send(True)
    assert STOPPED in end.value.value.stopped_by
    running = iterate("denoise", stack, **SHORT)
    next(running)
    assert runtime.kept_pages.users == 1
    running.close()
    assert runtime.kept_pages.users == 0


def test_iterate_checks_before_the_first_iteration(stack):
    with pytest.raises(InputError, match="seed must be"):
        iterate("denoise", stack, seed=-1)
    with pytest.raises(InputError, match="image must not be empty"):
        iterate("denoise", [])
    with pytest.raises(TypeError, match="unexpected keyword argument 'sigmas'"):
        iterate("denoise", stack, sigmas=1)


def test_unknown_tasks_are_refused():
    with pytest.raises(InputError, match=r"task must be one of .*denoise.*'denoisse'"):
        get("denoisse")


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_found_by_either_spelling(name):
    assert get(name) is get(name.replace("_", "-"))
    assert get(name).name == name


def test_calls_are_checked_like_those_of_any_function(stack):
    with pytest.raises(TypeError, match=r"denoise\(\) got an unexpected keyword"):
        denoise(stack, sigmas=3)
    with pytest.raises(TypeError, match=r"denoise\(\) missing a required argument"):
        denoise()
    with pytest.raises(TypeError, match=r"denoise\(\) too many positional"):
        denoise(stack, "gaussian")
    with pytest.raises(TypeError, match=r"denoise\(\) multiple values.*'image'"):
        denoise(stack, image=stack)


def test_arrays_can_be_named(stack):
    found = denoise(image=stack, **SHORT)
    np.testing.assert_array_equal(found, denoise(stack, **SHORT))


@pytest.mark.parametrize("name", TASKS)
def test_signature_and_help_name_every_parameter(name):
    task = get(name)
    function = getattr(__import__(TASKS[name], fromlist=[name]), name)
    signature = inspect.signature(function)
    assert function.__name__ == name
    assert function.__module__ == TASKS[name]
    fields = [p.name for p in task.recipe.parameters() if p.name not in task.positional]
    expected = [*task.arrays, *task.positional, *fields, *task.functions]
    others = ["architecture", "stop", "weights", "state", "analysis"]
    others += ["progress", "callback", "full_output", "out"]
    expected += others
    assert list(signature.parameters) == expected
    for array in task.arrays:
        kind = signature.parameters[array].kind
        assert kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        about = "object" if array in task.objects else "array_like"
        assert f"\n{array} : {about}\n" in function.__doc__
    for p in task.recipe.parameters():
        parameter = signature.parameters[p.name]
        by_position = p.name in task.positional
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert parameter.kind is (
            kind if by_position else inspect.Parameter.KEYWORD_ONLY
        )
        assert parameter.default == p.default
        entry = f"\n{p.name} : {p.accepted}, default {p.default!r}\n    {p.help}\n"
        assert entry in function.__doc__
    for other in others:
        assert f"\n{other} : " in function.__doc__
    types = {p.name: p.annotation for p in signature.parameters.values()}
    assert inspect.Signature.empty not in types.values()
    assert types["preset"] == "Literal['fast', 'best', 'paper']"
    assert types["callback"] == "Callable[[Iterate], Any] | None"
    assert signature.return_annotation == "NDArray[Any] | Fit"
    types["return"] = signature.return_annotation
    assert inspect.get_annotations(function) == types


def test_progress_goes_to_standard_error_only(stack, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take it for a terminal
    denoise(stack, progress=True, **SHORT)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "denoise" in captured.err


def test_no_progress_no_output(stack, capsys):
    denoise(stack, **SHORT)
    assert capsys.readouterr() == ("", "")


def test_progress_and_callback_together(stack):
    fit = denoise(
        stack,
        progress=True,
        callback=lambda it: it.step == 2,
        full_output=True,
        **SHORT,
    )
    assert fit.iterations == 2


def test_estimate_says_memory_and_time_before_a_fit():
    image = np.random.default_rng(0).normal(size=(3, 96, 80))
    found = estimate("denoise", image, device="cpu")
    larger = estimate("denoise", np.tile(image, (1, 4, 4)), device="cpu")
    assert found.fits
    assert found.seconds > 0
    assert 8 < larger.memory / found.memory < 20


def _resumable(image, **changes):
    recipe = DenoiseRecipe(**{**SHORT, **changes})
    return run_to_end(run(get("denoise"), recipe, [image], resumable=True))


def test_going_on_is_the_recipe_with_extra_iterations(stack):
    fit = _resumable(stack[0])
    longer = run_to_end(run_to_end(fit.resume(10)).resume(20))
    recipe = DenoiseRecipe.from_dict(longer.settings["recipe"])
    assert recipe.extra_iterations == 30
    whole = denoise(stack[0], full_output=True, **dict_of(recipe))
    np.testing.assert_array_equal(longer.image, whole.image)
    assert longer.iterations == whole.iterations
    assert longer.settings == whole.settings


def test_going_on_after_a_stop_changes_no_recipe(stack):
    recipe = DenoiseRecipe(**{**SHORT, "iterations": 9})
    fitting = run(get("denoise"), recipe, [stack[0]], resumable=True)
    stopped = run_to_end(fitting, lambda it: it.step == 4)
    assert stopped.stopped_by == STOPPED
    whole = run_to_end(stopped.resume(5))
    assert whole.settings["recipe"] == recipe.to_dict()
    np.testing.assert_array_equal(whole.image, denoise(stack[0], **dict_of(recipe)))


def test_a_job_of_several_fits_cannot_go_on(stack):
    assert _resumable(stack).resume is None
    assert _resumable(stack[0], restarts=2).resume is None
    assert denoise(stack[0], full_output=True, **SHORT).resume is None


def test_every_fit_of_a_job_takes_the_extra_iterations(stack):
    fit = denoise(stack, extra_iterations=10, full_output=True, **SHORT)
    assert fit.iterations >= 2 * 13


# -- constants, missing planes, and what is checked before the first fit ------------


@pytest.fixture
def no_fit(monkeypatch):
    """Fail where a fit is begun."""

    def begun(*arguments, **parameters):
        raise AssertionError("a fit was begun")

    monkeypatch.setattr("napari_dip.prior.fit.fit", begun)


VALUES = {
    "float64": (0, 1, 7, 254, 1e6, 2**53 - 1, -1e12, 1e200, 0.1),
    "int64": (0, 1, 7, 254, 10**6, 2**53 - 1, -(10**12)),
    "uint8": (0, 1, 7, 254),
    "bool": (False, True),
}


@pytest.mark.usefixtures("no_fit")
@pytest.mark.parametrize(
    ("dtype", "value"), [(dtype, value) for dtype in VALUES for value in VALUES[dtype]]
)
def test_a_constant_image_comes_back_exactly_and_at_no_cost(dtype, value):
    image = np.full((2, 20, 18), value, dtype)
    mask = np.ones((20, 18))
    mask[5:] = 0
    for name, more in (
        ("denoise", ()),
        ("enhance", ()),
        ("remove_artifacts", ()),
        ("super_resolve", ()),
        ("inpaint", (mask,)),
        ("denoise_guided", (np.arange(360.0).reshape(20, 18),)),
        ("deconvolve", (np.ones((3, 3)),)),
    ):
        fit = run_to_end(iterate(name, image, *more, dtype="input"))
        assert fit.image.dtype == dtype
        assert (fit.image == image[0, 0, 0]).all()
        assert (fit.iterations, fit.stopped_by) == (0, CONSTANT)
        assert fit.settings["planes"][0]["analysis"]["channels"] == (0,)
        plain = run_to_end(iterate(name, image, *more)).image
        np.testing.assert_allclose(plain, float(value), rtol=1e-7)


def settings():
    """Return what the caller of a task may have set in torch."""
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
    )


@contextmanager
def other_settings():
    """Set something else than torch does by default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode(), torch.autocast("cpu"):
            yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(before)


@pytest.mark.usefixtures("quick_estimates")
@pytest.mark.parametrize("task", ["denoise", "deconvolve"])
def test_settings_of_the_caller_change_no_bit(stack, task):
    more = (np.outer([1, 2, 1], [1, 2, 1]) / 16,) if task == "deconvolve" else ()

    def restored():
        images, before = [], settings()

        def look(it):
            assert settings() == before
            images.append(it.image)

        fitting = iterate(task, stack[0], *more, **SHORT | {"iterations": 1})
        images.append(run_to_end(fitting, look).image)
        assert settings() == before
        return images

    expected = restored()
    with other_settings():
        found = restored()
        assert estimate(task, stack[0], *more, **SHORT).memory > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_iterate_puts_the_result_where_it_is_asked_to(stack):
    out = np.empty_like(stack)
    assert run_to_end(iterate("denoise", stack, out=out, **SHORT)).image is out
    np.testing.assert_array_equal(out, denoise(stack, **SHORT))


def test_what_cannot_be_written_to_is_refused_before_the_fit(stack):
    out = np.empty_like(stack)
    out.flags.writeable = False
    with pytest.raises(InputError, match=r"out must take values; got .*read-only"):
        denoise(stack, out=out, callback=pytest.fail, **SHORT)


@pytest.mark.parametrize(
    ("arrays", "name"),
    [
        (lambda stack: stack, "image"),
        (lambda stack: stack[::-1], "image"),
        (lambda stack: (np.empty_like(stack), stack), "image"),
        (lambda stack: (stack.copy(),) * 2, "the first array of out"),
    ],
)
def test_results_are_not_written_over_what_is_read(stack, arrays, name):
    with pytest.raises(InputError, match=f"out must be .* shares memory with {name}"):
        denoise(stack, out=arrays(stack), callback=pytest.fail, **SHORT)
    with pytest.raises(InputError, match=f"out must be .* shares memory with {name}"):
        denoise(torch.from_numpy(stack), out=arrays(stack), **SHORT)


def test_results_may_lie_between_what_is_read(stack):
    both = np.stack([stack, stack], 1)
    denoise(both[:, 0], out=both[:, 1], **SHORT)
    np.testing.assert_array_equal(both[:, 0], stack)
    np.testing.assert_array_equal(both[:, 1], denoise(stack, **SHORT))


def test_a_constant_plane_or_channel_costs_nothing(stack):
    stack[0] = 3
    fit = denoise(stack, full_output=True, **SHORT)
    assert (fit.image[0] == 3).all()
    assert fit.iterations == 3
    fit = denoise(stack, restarts=2, full_output=True, **SHORT)
    assert not fit.uncertainty[0].any()
    assert fit.uncertainty[1].any()
    whole = denoise(stack[0], restarts=2, full_output=True, **SHORT)
    assert not whole.uncertainty.any()


def test_a_plane_of_nothing_but_nan_comes_back_with_a_note(stack):
    expected = denoise(stack, **SHORT)
    holed = np.concatenate([stack, stack[:1] * np.nan])
    fit = denoise(holed, full_output=True, **SHORT)
    np.testing.assert_array_equal(fit.image[:2], expected)
    assert np.isnan(fit.image[2]).all()
    assert fit.image.dtype == np.float32
    assert fit.warnings == ["plane 2 came back unchanged: nothing but NaN"]


def test_a_channel_of_nothing_but_nan_leaves_the_others(stack):
    three = np.stack([stack[0], stack[0] * np.nan, stack[1]])
    fit = denoise(three, channel_axis=0, full_output=True, **SHORT)
    assert np.isfinite(fit.image[[0, 2]]).all()
    assert np.isnan(fit.image[1]).all()
    (warning,) = fit.warnings
    assert warning == "channels 1 of plane 0 came back unchanged: nothing but NaN"


def test_channels_known_in_different_places_are_fitted_one_by_one(stack):
    stack[0, :, :9], stack[1, :, 9:] = np.nan, np.nan
    fit = denoise(stack, channel_axis=0, full_output=True, **SHORT)
    assert np.isfinite(fit.image).all()
    assert len(fit.settings["planes"]) == 2
    with pytest.raises(InputError, match="image must have pixels that are known in al"):
        enhance(np.moveaxis(stack[[0, 1, 1]], 0, -1), **SHORT)


@pytest.mark.usefixtures("no_fit")
def test_a_bad_last_plane_is_found_before_the_first_fit(stack):
    infinite = stack.copy()
    infinite[1, 3, 3] = np.inf
    lazy = dask.array.from_array(infinite, chunks=(1, -1, -1))
    for image in (infinite, lazy):
        with pytest.raises(InputError, match="plane 1 of image must be finite"):
            iterate("denoise", image, **SHORT)
    with pytest.raises(InputError, match="guide must be finite"):
        iterate("denoise_guided", stack, infinite, **SHORT)
    with pytest.raises(InputError, match="image must have known pixels; got nothing"):
        iterate("denoise", stack * np.nan, **SHORT)


def test_a_plane_that_fails_later_leaves_what_is_done(stack, monkeypatch):
    """As in an array that is too large to be looked at beforehand."""
    monkeypatch.setattr("napari_dip.tasks.run.free_memory", lambda: 1)
    expected = denoise(stack, **SHORT)
    four = np.concatenate([stack[:1], stack[:1], stack[:1], stack[1:]])
    four[1, 3, 3] = np.inf

    def load(block, block_info=None):
        if block_info[0]["chunk-location"][0] == 2:
            raise OSError("lost")
        return block

    lazy = dask.array.from_array(four, chunks=(1, -1, -1))
    lazy = lazy.map_blocks(load, dtype=np.float32, meta=np.empty((0, 0, 0)))
    fit = denoise(lazy, full_output=True, **SHORT)
    np.testing.assert_array_equal(fit.image[0], expected[0])
    np.testing.assert_array_equal(fit.image[1], four[1])
    assert np.isnan(fit.image[2]).all()
    assert np.isfinite(fit.image[3]).all()
    infinite, lost = fit.warnings
    assert infinite.startswith("plane 1 was not fitted: image must be finite")
    assert lost.startswith("plane 2 was not fitted: image cannot be read")
    assert lost.endswith("OSError: lost")


def test_planes_whose_device_failed(stack, failing_device):
    four = np.concatenate([stack, stack])
    expected = denoise(four, **SHORT)
    # At the first step of the second plane, and at the second one of the third.
    failing_device(4, 6)
    fit = denoise(four, full_output=True, **SHORT)
    np.testing.assert_array_equal(fit.image[[0, 3]], expected[[0, 3]])
    np.testing.assert_array_equal(fit.image[1], four[1])
    assert np.abs(fit.image[2] - four[2]).max() > 1
    assert np.abs(fit.image[2] - expected[2]).max() > 0
    lost = "the device has failed: CUDA error: the device is lost"
    assert fit.warnings == [
        f"plane 1 was not fitted: {lost}; there was no image yet to keep",
        f"{lost}; the best image so far was kept",
    ]
    assert f"a failure of the device ({lost})" in fit.stopped_by


def test_a_device_that_fails_during_restarts(stack, failing_device):
    failing_device(5)
    fit = denoise(stack[0], restarts=4, full_output=True, **SHORT)
    assert fit.iterations == 4
    assert np.isfinite(fit.image).all()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            RuntimeError("CUDA error: the device is lost"),
            "the device has failed: CUDA error: the device is lost",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
            "there is too little GPU memory: this image needs more than there is; take "
            "a smaller image or tile, or device=cpu",
        ),
    ],
)
def test_a_device_that_fails_while_an_image_is_finished(
    stack, monkeypatch, error, says
):
    def lost(*arguments, **options):
        raise error

    monkeypatch.setattr(block, "restored", lost)
    with pytest.raises(FitError) as caught:
        denoise(stack[0], **SHORT)
    assert str(caught.value) == says


@pytest.mark.parametrize("dtype", ["uint16", "int64"])
def test_masked_integers_come_back_as_integers(stack, dtype):
    mask = np.zeros(stack.shape, bool)
    mask[:, 3:6, 4:9] = True
    masked = np.ma.masked_array(stack.astype(dtype), mask)
    found = denoise(masked, dtype="input", **SHORT)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.rint(denoise(masked, **SHORT)))


@pytest.mark.usefixtures("few_passes")
@pytest.mark.parametrize("function", [denoise, enhance, super_resolve])
def test_detail_on_a_large_offset_survives(stack, function):
    image = stack[0].astype(np.float64)
    plain = function(image, **SHORT)
    for offset in (1e12, -1e12, 2**46):
        found = function(image + offset, **SHORT)
        assert found.dtype == np.float64
        # Rounding grows from step to step; a flat image would be 15 away.
        np.testing.assert_allclose(found - offset, plain, atol=4)


def test_known_pixels_and_planes_not_fitted_are_exact(stack):
    image = np.rint(stack.astype(np.float64) * 1e7).astype(np.int32)
    mask = np.zeros((20, 18), bool)
    mask[4:6, 5:9] = True
    found = inpaint(image, mask, dtype="input", **SHORT)
    np.testing.assert_array_equal(found[:, ~mask], image[:, ~mask])
    found = denoise(image, dtype="input", callback=lambda it: True, **SHORT)
    np.testing.assert_array_equal(found[1], image[1])


def test_a_fit_without_a_finite_image_is_an_error(stack, monkeypatch):
    def diverged(plan, averages, dtype):
        return np.full((1, 20, 18), np.nan, np.float32), None

    monkeypatch.setattr("napari_dip.tasks.block.restored", diverged)
    with pytest.raises(FitError, match="the fit has diverged"):
        denoise(stack, **SHORT)


def test_an_average_with_nan_is_not_filtered(stack, monkeypatch):
    def without_numbers(averages):
        return averages[0] * np.nan

    monkeypatch.setattr("napari_dip.tasks.block.mean_of", without_numbers)
    with pytest.raises(FitError, match="the fit has diverged"):
        denoise(stack[0], iterations=2)


@pytest.mark.usefixtures("no_fit")
def test_a_callback_that_cannot_be_called_is_refused(stack):
    with pytest.raises(InputError, match=r"callback must be a function .*None; got 3"):
        denoise(stack, callback=3, **SHORT)


def test_a_budget_of_iterations_refuses(stack, monkeypatch):
    with pytest.raises(InputError, match=r"100000 or fewer.*MAX_ITERATIONS"):
        denoise(stack, iterations=1_000_000)
    monkeypatch.setenv("NAPARI_DIP_MAX_ITERATIONS", "2")
    with pytest.raises(InputError, match="must be 2 or fewer in one fit; got 3"):
        denoise(stack, **SHORT)


def test_a_budget_of_memory_refuses(stack, monkeypatch):
    monkeypatch.setenv("NAPARI_DIP_MAX_MEMORY", "1M")
    with pytest.raises(OutOfMemory, match=r"1\.0 MiB are free"):
        denoise(np.tile(stack, (8, 8)), **SHORT)


def test_a_budget_of_time_stops_like_the_user(stack, monkeypatch):
    monkeypatch.setenv("NAPARI_DIP_MAX_SECONDS", "1e-6")
    fit = denoise(stack, **SHORT | {"iterations": 500}, full_output=True)
    assert fit.stopped_by == "the time limit of 1e-06 s (NAPARI_DIP_MAX_SECONDS)"
    assert fit.iterations < 500
    assert fit.warnings[-1] == f"the fit was stopped by {fit.stopped_by}"
    np.testing.assert_array_equal(fit.image[1], stack[1])


@pytest.mark.parametrize("value", ["-1", "0", "soon", "nan"])
@pytest.mark.parametrize("name", ["ITERATIONS", "MEMORY", "SECONDS"])
def test_budgets_that_are_none(stack, monkeypatch, name, value):
    monkeypatch.setenv(f"NAPARI_DIP_MAX_{name}", value)
    with pytest.raises(InputError, match=f"MAX_{name} must be a positive.*{value!r}"):
        denoise(stack, **SHORT)


@pytest.mark.parametrize(
    ("text", "size"), [("8G", 2**33), ("512 MiB", 2**29), ("1e6", 10**6), ("2kb", 2048)]
)
def test_sizes_of_memory(monkeypatch, text, size):
    monkeypatch.setenv("NAPARI_DIP_MAX_MEMORY", text)
    assert machine.budget("NAPARI_DIP_MAX_MEMORY") == size


def test_of_several_fits_it_is_told_how_many_ended_why():
    def fit(reason):
        return Fit(None, None, reason, 3, 3, 1.0, [])

    assert reasons_of([fit("a")]) == ["a"]
    assert reasons_of([fit("a"), fit("a")]) == ["a in each of 2 fits"]
    several = [fit("a"), fit("b"), fit("a"), fit(STOPPED)]
    assert reasons_of(several) == ["a in 2 of 4 fits", "b in 1 of 4 fits", STOPPED]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda a: denoise(a, spatial_dims=3, tile=192),
            "tile must be auto or None here, for spatial_dims=3 .* got 192",
        ),
        (
            lambda a: denoise(a, spatial_dims=3, neighbours=2),
            "neighbours must be auto or 0 here, for spatial_dims=3 .* got 2",
        ),
        (
            lambda a: denoise(a, share="no", neighbours=2),
            "neighbours must be auto or 0 here, for share=no .* got 2",
        ),
        (
            lambda a: enhance(a, neighbours=1),
            "neighbours must be auto or 0 here, for planes .* in enhance .* got 1",
        ),
    ],
)
def test_what_would_be_ignored_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call(np.random.default_rng(0).normal(size=(4, 16, 16)))


@pytest.mark.usefixtures("small_fits")
def test_neighbours_that_no_fit_sees_are_told():
    stack = np.random.default_rng(0).normal(size=(2, 16, 16))
    fit = denoise(stack, neighbours=1, iterations=1, full_output=True)
    assert any(w.startswith("neighbours: every plane") for w in fit.warnings)
