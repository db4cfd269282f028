"""What the tests of the tasks share."""

from types import SimpleNamespace

import numpy as np
import pytest

from napari_dip.prior import collaborative, richardson_lucy
from napari_dip.prior.architecture import Architecture
from napari_dip.tasks import windows
from napari_dip.tasks.setup import set_up
from napari_dip.tasks.task import Overrides


@pytest.fixture
def first_fit():
    """Return a function that sets up the first fit of a task without running it."""

    def make(task, recipe, *arrays, seed=0):
        job = task.job(recipe, *arrays)
        index = next(job.layout.indices())
        pixels = job.pixels(index, job.take(index))
        block = job.blocks(0, index, pixels)[0]
        plane = None if pixels is None else job.scaled(pixels, block)
        analysis = job.analyse(plane, block)
        preset = job.preset(analysis)
        plan = job.plan(plane, block, analysis, preset)
        problem, prior, settings = set_up(plan, preset, recipe, Overrides(), seed)
        return SimpleNamespace(
            problem=problem,
            prior=prior,
            settings=settings,
            finish=plan.finish,
            preview=plan.preview,
            to_units=plan.to_units,
            details=plan.details,
            warnings=plan.warnings,
            failed=plan.failed,
            analysis=analysis,
            deviation=plan.deviation,
            plane=plane,
        )

    return make


def plan_of(task):
    """Return a fixture: a function that sets up the first fit of a task for arrays."""

    @pytest.fixture
    def plan(first_fit):
        def make(*arrays, **parameters):
            return first_fit(task, task.recipe(**parameters), *map(np.asarray, arrays))

        return make

    return plan


@pytest.fixture
def image(random):
    """Return a (32, 30) image, in units of its own."""
    y, x = np.mgrid[0:32, 0:30] / 30
    return 1000 + 300 * np.sin(4 * y + 2 * x) + random.normal(0, 40, (32, 30))


@pytest.fixture
def quick_estimates(monkeypatch):
    """Let estimates of blurred images end after few iterations of Richardson-Lucy."""
    least_risk = richardson_lucy.least_risk

    def ended_early(blur, measurement, weight, variance, iterations, *first):
        few = min(iterations, 20)
        return least_risk(blur, measurement, weight, variance, few, *first)

    monkeypatch.setattr(richardson_lucy, "least_risk", ended_early)


@pytest.fixture
def narrow(changed_presets, few_passes, quick_estimates, monkeypatch):
    """Give every preset a small network, nothing before the fit and little after it."""
    changed_presets(
        architecture=Architecture.uniform(8, 1),
        start_iterations=0,
        coarse_iterations=0,
    )
    # In volumes the filters look for similar patches in the nearest places only.
    monkeypatch.setattr(collaborative, "WINDOW_IN_VOLUMES", 8)


@pytest.fixture
def tiny_windows(monkeypatch, small_fits):
    """Fit shared networks to two windows of 32 x 32 pixels, in few steps."""
    monkeypatch.setattr(windows, "WINDOW_SIDE", 32)
    monkeypatch.setattr(windows, "WINDOWS", 2)


@pytest.fixture(scope="module")
def stack():
    """Return four noisy planes."""
    random = np.random.default_rng(0)
    return random.normal(50, 5, (4, 40, 36)).astype(np.float32)
