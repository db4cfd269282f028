"""What all tests share."""

import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

# One thread, set before torch is first imported: threads that wait in a spin make
# small fits many times slower on a busy machine, and results depend on their number.
os.environ["OMP_NUM_THREADS"] = "1"
# napari loads numba, which else sets the number of torch's threads, too.
os.environ["NUMBA_NUM_THREADS"] = "1"
# Settings of napari are neither read from nor written to the user's file.
os.environ["NAPARI_CONFIG"] = ""

import numpy as np
import pytest
import torch

from napari_dip.prior import loop, runtime
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.local import Local
from napari_dip.tasks import presets, windows
from napari_dip.tasks.finishing import Finish
from napari_dip.tasks.presets import Preset

torch.set_num_threads(1)

pytest_plugins = ["napari.utils._testsupport", "npe2._pytest_plugin"]

OF_NAPARI = {"_clean_themes", "_disable_qt_warnings"}
"""Fixtures that the plugin of napari adds to every test; they load Qt."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that makes one machine compute as another would."""
    parser.addoption(
        "--precision",
        choices=runtime.PRECISIONS,
        default="auto",
        help='what precision="auto" stands for in every test '
        "(default: what the machine has)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what prepares a viewer out of the tests that open none."""
    for item in items:
        names = getattr(item, "fixturenames", [])
        if "widgets" not in item.path.parts:
            names[:] = [name for name in names if name not in OF_NAPARI]


def pytest_collection_finish() -> None:
    """Leave modules and tests out of what is searched for garbage from here on."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def precision(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give precision="auto" the meaning that ``--precision`` asks for."""
    chosen = request.config.getoption("precision")
    pick = runtime.pick_dtype

    def pick_chosen(precision: str, device: torch.device) -> torch.dtype:
        return pick(chosen if precision == "auto" else precision, device)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "pick_dtype", pick_chosen)
        yield chosen


def change_presets(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Preset], Preset]
) -> None:
    """Change every preset of every task."""
    tables = {
        task: {case: change(preset) for case, preset in table.items()}
        for task, table in presets.TABLES.items()
    }
    monkeypatch.setattr(presets, "TABLES", tables)


@pytest.fixture
def random() -> np.random.Generator:
    """Return a generator of random numbers."""
    return np.random.default_rng(0)


@pytest.fixture
def changed_presets(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that changes something in every preset of every task."""

    def change(**changes: Any) -> None:
        change_presets(monkeypatch, lambda preset: replace(preset, **changes))

    return change


@pytest.fixture
def small_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every preset a small network, and leave out what precedes and follows.

    For tests that do not judge the image.
    """

    local, whole = Local((8,)), Architecture.uniform(8, 1)

    def small(preset: Preset) -> Preset:
        return replace(
            preset,
            architecture=local if isinstance(preset.architecture, Local) else whole,
            start_iterations=0,
            coarse_iterations=0,
            finish=Finish(),
        )

    change_presets(monkeypatch, small)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit a shared network to four small windows."""
    monkeypatch.setattr(windows, "WINDOW_SIDE", 48)
    monkeypatch.setattr(windows, "WINDOWS", 4)


def one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the collaborative filter go through an image once."""
    from napari_dip.prior import collaborative

    several = collaborative.collaborative_filter

    def once(noisy, pilot, variance, smoothed=1, rounds=1, **others):
        return several(noisy, pilot, variance, smoothed, 1, **others)

    monkeypatch.setattr(collaborative, "collaborative_filter", once)


@pytest.fixture
def few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the filters of similar patches go over an image once."""
    from napari_dip.prior import filling
    from napari_dip.tasks import super_resolve

    monkeypatch.setattr(filling, "PASSES", 1)
    one_round(monkeypatch)
    monkeypatch.setattr(super_resolve, "PASSES", 1)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top folder of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data(root: Path) -> Path:
    """Return the folder of benchmark images beside the checkout, or skip the test."""
    folder = root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no benchmark images beside the checkout (../shared/data)")
    return folder


@cache
def application(tasks: tuple[tuple[str, str], ...]) -> Any:
    """Return the application of the command line, which takes a while to make."""
    from napari_dip.cli.commands import app

    return app()


@pytest.fixture
def call(capsys, monkeypatch):
    """Run the command line in this process: code, stdout and stderr."""
    from napari_dip import cli
    from napari_dip.cli import commands, entry

    def made() -> Any:
        return application(tuple(commands.TASKS.items()))

    monkeypatch.setattr(entry, "app", made)

    def run(*arguments):
        code = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def failing_device(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that lets the device fail at some steps, counted from 1."""

    def fail(*numbers: int, error: type[Exception] = RuntimeError) -> None:
        steps, compute = count(1), loop.Step.compute

        def step(self: loop.Step) -> None:
            if next(steps) in numbers:
                raise error("CUDA error: the device is lost\nCompile with `DSA`")
            compute(self)

        monkeypatch.setattr(loop.Step, "compute", step)

    return fail
