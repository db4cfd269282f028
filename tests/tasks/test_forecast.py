"""What a forecast counts."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_dip import estimate
from napari_dip.prior import runtime
from napari_dip.prior.fit import run_to_end
from napari_dip.prior.loop import Run
from napari_dip.tasks import block, forecast, pace
from napari_dip.tasks.run import get, run
from napari_dip.tasks.tiles import SIDE
from napari_dip.tasks.windows import WINDOW_SIDE


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("name", "restarts", "count"),
    [("denoise", 3, 1), ("enhance", 1, 1), ("enhance", 3, 4)],
)
def test_a_forecast_counts_the_images_that_are_finished(
    name, restarts, count, monkeypatch
):
    done = []
    restored = block.restored
    monkeypatch.setattr(
        block,
        "restored",
        lambda *given, **how: done.append(1) or restored(*given, **how),
    )
    image = np.random.default_rng(0).normal(50, 5, (32, 34)).astype(np.float32)
    task = get(name)
    recipe = task.recipe(
        restarts=restarts, iterations=2, device="cpu", precision="float32"
    )
    run_to_end(run(task, recipe, [image]))
    assert len(done) == count
    (fit,) = forecast._fits(task.job(recipe, image), recipe)
    assert fit.finishes == count


@pytest.mark.usefixtures("narrow")
def test_an_image_is_finished_where_the_fit_is(monkeypatch):
    """Blending holds its composite on the GPU."""
    seen = []
    plans = forecast.plans

    def looked_at(*given):
        for analysis, preset, plan in plans(*given):
            finish = lambda image: seen.append(image.device.type)  # noqa: E731
            yield analysis, preset, replace(plan, finish=finish)

    monkeypatch.setattr(forecast, "plans", looked_at)
    monkeypatch.setattr(runtime, "pick_device", lambda name: torch.device("meta"))
    task = get("denoise")
    recipe = task.recipe(device="cuda")
    list(forecast._fits(task.job(recipe, np.eye(32, dtype=np.float32)), recipe))
    assert seen == ["meta"]


@pytest.mark.usefixtures("narrow")
def test_a_forecast_computes_as_fits_do_whatever_the_caller_has_set(monkeypatch):
    seen, plans = [], forecast.plans

    def looked_at(*given):
        seen.append((torch.zeros(1).dtype, torch.is_inference_mode_enabled()))
        yield from plans(*given)

    monkeypatch.setattr(forecast, "pace", lambda *_: (0.0, 0.0))
    monkeypatch.setattr(forecast, "plans", looked_at)
    image = np.random.default_rng(0).normal(50, 5, (32, 34)).astype(np.float32)
    recipe = get("denoise").recipe(device="cpu", precision="float32")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            forecast.forecast(recipe, [image], [image])
    finally:
        torch.set_default_dtype(torch.float32)
    assert seen == [(torch.float32, False)]


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("small", [False, True])
def test_a_forecast_leaves_random_numbers_of_the_caller_alone(small, monkeypatch):
    monkeypatch.setattr(pace, "_paces", {})
    image = np.random.default_rng(0).normal(50, 5, (64, 64)).astype(np.float32)
    recipe = get("denoise").recipe(device="cpu", precision="float32", iterations=1)
    before = torch.get_rng_state()
    # Of a piece that is too small nothing is known.
    forecast.forecast(recipe, [image], [image[:8, :8] if small else image])
    assert torch.equal(torch.get_rng_state(), before)


CUT = {
    "denoise": {},
    "denoise unshared": {"share": "no"},
    "denoise whole": {"tile": None},
    "remove_artifacts": {},
    "enhance": {},
    "enhance tiles": {"tile": 384},
    "super_resolve": {"factor": 2},
    "super_resolve eightfold": {"factor": 8},
}


def blank(*shape):
    """Return an image that takes no memory."""
    return np.broadcast_to(np.uint16(7), shape)


@pytest.mark.usefixtures("few_passes")
@pytest.mark.parametrize("case", CUT)
def test_the_estimate_is_that_of_the_forecast(case, monkeypatch):
    monkeypatch.setattr(forecast, "pace", lambda *_: (0.0, 1e-9))
    monkeypatch.setattr("napari_dip.prior.estimate._trial", lambda *_: 0.0)
    task, more = get(case.split()[0]), {"device": "cpu", "precision": "float32"}
    more |= CUT[case]
    image = blank(2304, 2304)
    piece = np.random.default_rng(0).normal(50, 5, (32, 32)).astype(np.float32)
    told = forecast.forecast(task.recipe(**more), [image], [piece])
    assert estimate(task.name, image, **more).memory == told.memory


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("value", [7, np.nan])
@pytest.mark.parametrize("name", ["denoise", "super_resolve", "remove_artifacts"])
def test_a_piece_with_nothing_to_fit_tells_the_time_of_any(name, value):
    image = np.random.default_rng(0).normal(50, 5, (64, 64)).astype(np.float32)
    image[:32, :32] = value
    task = get(name)
    recipe = task.recipe(iterations=20, device="cpu", precision="float32")
    expected = forecast.forecast(recipe, [image], [image[:32, :32]])
    assert expected.seconds > 0
    assert expected.memory > 0


def test_planes_that_are_not_cut_are_one_part_each():
    image = blank(2, 2304, 2304)
    for name, more, count in (
        ("denoise", {"share": "no"}, 18),
        ("enhance", {}, 2),
        ("enhance", {"tile": 768}, 18),
    ):
        task = get(name)
        recipe = task.recipe(**more)
        assert forecast.count_parts(task.job(recipe, image), recipe) == count


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_the_memory_of_an_enlargement_is_bounded_by_its_result(factor, monkeypatch):
    monkeypatch.setattr("napari_dip.prior.estimate._trial", lambda *_: 0.0)
    options = {"device": "cpu", "precision": "float32", "factor": factor}

    def memory(side, **more):
        held = side**2 * (2 + 4 * factor**2)
        return (
            estimate("super_resolve", blank(side, side), **options, **more).memory
            - held
        )

    side = 4096 // factor
    assert memory(side, tile=None) > 8 * memory(side)
    assert memory(4 * side) < 1.4 * memory(side)


def test_an_iteration_is_of_what_is_fitted(monkeypatch):
    monkeypatch.setattr(
        "napari_dip.prior.estimate._trial",
        lambda problem, *_: float(problem.image_shape[-1]),
    )
    image = blank(2304, 2304)

    def side(**more):
        return estimate("denoise", image, device="cpu", **more).seconds

    assert side() == WINDOW_SIDE
    assert side(share="no") == SIDE + 2 * 32
    assert side(share="no", tile=192) == 192 + 2 * 32
    assert side(share="no", tile=None) == 2304


def test_a_forecast_of_a_shared_network_counts_the_iterations_of_the_recipe(
    monkeypatch,
):
    monkeypatch.setattr(forecast, "pace", lambda *_: (1.0, 0.0))
    # A busy machine takes long to prepare the piece.
    monkeypatch.setattr(forecast, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    piece = np.random.default_rng(0).normal(50, 5, (64, 64)).astype(np.float32)

    def told(iterations):
        recipe = get("denoise").recipe(share="yes", device="cpu", iterations=iterations)
        return forecast.forecast(recipe, [blank(12, 160, 160)], [piece])

    few, many, auto = told(20), told(100), told("auto")
    assert many.seconds - few.seconds == pytest.approx(80 * forecast.SHOWING, rel=0.1)
    assert auto.seconds - few.seconds == pytest.approx(460 * forecast.SHOWING, rel=0.1)
    assert few.fixed
    assert auto.fixed


def test_a_forecast_counts_what_tiles_see_around_them(monkeypatch):
    monkeypatch.setattr(forecast, "pace", lambda *_: (0.0, 1.0))
    piece = np.random.default_rng(0).normal(50, 5, (64, 64)).astype(np.float32)

    def seconds(tile):
        more = {"share": "no", "device": "cpu", "iterations": 100, "tile": tile}
        recipe = get("denoise").recipe(**more)
        return forecast.forecast(recipe, [blank(2304, 2304)], [piece]).seconds

    seen = (2 * (192 + 32) + 10 * (192 + 64)) / 2304
    whole = seconds(None)
    assert 0.8 * seen**2 < seconds(192) / whole < 1.2 * seen**2


@pytest.mark.usefixtures("narrow")
def test_a_fit_that_ends_at_a_level_is_tried(monkeypatch):
    """Its maximum is many times what it takes."""
    monkeypatch.setattr(forecast, "pace", lambda *_: (1.0, 0.0))
    y, x = np.mgrid[:40, :44] / 6
    image = 50 * np.sin(x) * np.cos(y) + np.random.default_rng(0).normal(0, 5, x.shape)
    task = get("enhance")
    recipe = task.recipe(detail=1.0, device="cpu", precision="float32")
    told = forecast.forecast(recipe, [image], [image])
    taken = run_to_end(run(task, recipe, [image])).iterations
    assert told.fixed
    assert told.ends_after == taken > 5
    assert told.seconds == pytest.approx(taken * forecast.SHOWING, rel=0.1)
    larger = forecast.forecast(recipe, [np.tile(image, (2, 2))], [image])
    assert 1.5 * taken < larger.ends_after < 2 * taken
    monkeypatch.setattr(pace, "LONGEST", 0.0)
    assert forecast.forecast(recipe, [image], [image]).ends_after == taken
    pace._endings.clear()
    most = forecast.forecast(recipe, [image], [image])
    assert not most.fixed
    assert most.ends_after == 0
    assert most.seconds > 2999
    # What took too long is not tried again, and not everything is remembered.
    monkeypatch.setattr(pace, "LONGEST", 100.0)
    assert forecast.forecast(recipe, [image], [image]).ends_after == 0
    monkeypatch.setattr(pace, "REMEMBERED", 1)
    forecast.forecast(recipe, [2 * image[:, ::-1]], [image[::-1] ** 2])
    assert len(pace._endings) == 1


def test_an_enlarged_volume_is_tried_at_the_smallest_factor(monkeypatch):
    """Filters took minutes to finish the smallest piece of it."""
    sizes = []
    monkeypatch.setattr(forecast, "pace", lambda *_: (0.0, 1e-6))
    monkeypatch.setattr(
        "napari_dip.tasks.super_resolve._like_similar_patches",
        lambda agree, average: sizes.append(average.shape) or average,
    )
    recipe = get("super_resolve").recipe(factor=4, spatial_dims=3, device="cpu")
    piece = np.random.default_rng(0).normal(50, 5, (5, 16, 16)).astype(np.float32)
    told = forecast.forecast(recipe, [blank(5, 64, 64)], [piece])
    assert sizes == [(1, 1, 10, 32, 32)]
    steps = 250 * 20 * 256 * 256 * 1e-6 * forecast.SHOWING
    assert 0.9 * steps < told.seconds < 2 * steps


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
def test_steps_are_timed_as_they_are_and_again_after_a_while(monkeypatch):
    """Other programs slow a fit, and come and go."""
    slow = iter([0, 0, 0.2, 0.2, 0.2] * 4)
    advance = Run.advance

    def advanced(run):
        time.sleep(next(slow))
        return advance(run)

    monkeypatch.setattr(Run, "advance", advanced)
    pace._paces.clear()
    image = np.random.default_rng(0).normal(50, 5, (32, 34)).astype(np.float32)
    task = get("enhance")
    recipe = task.recipe(iterations=10, device="cpu", precision="float32")

    def seconds():
        return forecast.forecast(recipe, [image], [image]).seconds

    first = seconds()
    assert first > 10 * 0.2
    times = list(pace._paces.values())
    seconds()
    assert list(pace._paces.values()) == times
    monkeypatch.setattr(pace, "FRESH", 0.0)
    seconds()
    assert list(pace._paces.values()) != times
    pace._paces.clear()


@pytest.mark.slow
@pytest.mark.usefixtures("few_passes")
def test_a_wider_network_is_not_timed_again(monkeypatch):
    """Another program that ends meanwhile would make it seem the quicker one."""
    times = iter([1.0, 1.0, 0.01, 0.01])
    monkeypatch.setattr("napari_dip.prior.estimate.timed", lambda *_: next(times))
    pace._paces.clear()
    image = np.random.default_rng(0).normal(50, 5, (128, 128)).astype(np.float32)
    task = get("denoise")

    def seconds(preset):
        recipe = task.recipe(preset=preset, iterations=100, device="cpu")
        return forecast.forecast(recipe, [image], [image]).seconds

    normal, best = seconds("fast"), seconds("best")
    pace._paces.clear()
    assert 1.2 * normal < best < 3 * normal
