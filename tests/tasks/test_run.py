"""What all task functions share: calls, iterates, restarts, provenance."""

import inspect
import json
from itertools import pairwise

import numpy as np
import pytest

from napari_dip import denoise
from napari_dip.errors import InputError
from napari_dip.prior import runtime
from napari_dip.prior.fit import STOPPED, run_to_end
from napari_dip.prior.problem import Fit
from napari_dip.tasks.denoise import DenoiseRecipe
from napari_dip.tasks.function import estimate, iterate
from napari_dip.tasks.run import TASKS, get, run

SHORT = {"iterations": 3, "device": "cpu", "precision": "float32"}


@pytest.fixture
def stack():
    """Return two noisy planes."""
    return np.random.default_rng(0).normal(50, 5, (2, 20, 18)).astype(np.float32)


def test_full_output_tells_what_happened(stack):
    fit = denoise(stack, full_output=True, seed=3, **SHORT)
    assert isinstance(fit, Fit)
    np.testing.assert_array_equal(fit.image, denoise(stack, seed=3, **SHORT))
    assert fit.iterations == 6
    assert fit.stopped_by == "the maximum of 3 iterations"
    assert [(h["part"], h["step"]) for h in fit.history] == [
        (0, 1),
        (0, 3),
        (1, 1),
        (1, 3),
    ]
    assert fit.uncertainty is None
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


def test_restarts_average_and_give_an_uncertainty(stack):
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
    assert fit.warnings == ["plane 1 was not fitted before the stop"]


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
    # They lack the collaborative filter, which is too slow for a live view.
    assert 0 < np.abs(result - fit.image).mean() < 3
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
    others = ["architecture", "stop", "weights", "analysis"]
    others += ["progress", "callback", "full_output"]
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
