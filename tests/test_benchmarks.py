"""The programs in benchmarks/, run as a user does from a checkout."""

import json
import sys

import numpy as np
import pytest

from napari_dip.tasks.run import TASKS


@pytest.fixture
def bench(root, monkeypatch, capsys):
    """Return a function that does what ``python -m benchmarks`` does, in this process.

    A process of its own would spend most of its time on imports.
    """
    monkeypatch.syspath_prepend(root)
    from benchmarks.__main__ import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        main()
        return capsys.readouterr().out

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "engine-thread"])
def test_speed_times_one_kind_of_loop(bench, kind):
    found = json.loads(
        bench("speed", "--child", kind, "--sizes", "64", "--iterations", "2")
    )
    assert found["seconds"] > 0
    # So small an image may need less than the tests before did.
    assert found["memory"] >= 0


def test_gpu_checks_end_well_without_one(bench):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU: the checks would take minutes")
    assert "no CUDA GPU here" in bench("gpu")


def test_tables_are_what_the_results_say(bench):
    bench("tables", "--check")


def test_jpegs_are_compressed_again_as_they_were(root, monkeypatch):
    monkeypatch.syspath_prepend(root)
    from benchmarks import artifacts

    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    decoded, tables = artifacts.decode(
        artifacts.compress(image, quality=50, subsampling="4:2:2")
    )
    case = artifacts.Case("", "", 50, decoded, tables, image)
    found, _ = artifacts.shifts(case, "cpu")
    # The grid of the file itself is among the shifts, and gives the file again.
    assert np.abs(found - decoded).mean() < np.abs(found - image).mean()


# -- the scale ----------------------------------------------------------------------


@pytest.fixture
def results(bench, monkeypatch, tmp_path):
    """Return the folder to which benchmarks write."""
    from benchmarks import common

    monkeypatch.setattr(common, "RESULTS", tmp_path)
    return tmp_path


def rows_of(path):
    return json.loads(path.read_text())["rows"]


@pytest.mark.slow
@pytest.mark.usefixtures("small_fits", "few_passes")
def test_seams_are_measured_in_every_task_that_can_be_cut(bench, results):
    from benchmarks import seams, tables

    small = ("--side", "150", "--tile", "96", "--iterations", "2")
    small += ("--precision", "float32")
    tasks = ("denoise", "remove_artifacts", "deconvolve")
    bench("scale", "--what", "seams", *small, "--tasks", *tasks)
    rows = rows_of(results / "scale-seams.json")
    assert [row["task"] for row in rows] == list(tasks)
    assert all(0.5 < row[f"seam {axis}"] < 2 for row in rows for axis in "yx")
    assert "| task | megapixels | tile |" in tables._table("scale-seams")
    cut = {name.split(",")[0] for name in seams.CASES}
    whole = {"blend", "restore", "invert_features", "maximize_activation"}
    assert cut == set(TASKS) - whole


def test_a_seam_is_a_step_at_the_border_of_a_tile(bench):
    from benchmarks.seams import seams

    whole = np.random.default_rng(0).normal(size=(40, 600))
    assert seams(whole, whole, whole.shape, 192) == [None, 1]
    stepped = whole.copy()
    stepped[:, 192:] += 10
    assert seams(stepped, whole, whole.shape, 192)[1] > 3
    assert seams(stepped.T, whole.T, whole.T.shape, 192)[0] > 3
    finer = [np.kron(part, np.ones((2, 2))) for part in (stepped, whole)]
    assert seams(*finer, whole.shape, 192, 2)[1] > 3
    elsewhere = whole.copy()
    elsewhere[:, 100:] += 10
    assert seams(elsewhere, whole, whole.shape, 192)[1] < 1


def test_workers_are_timed_on_one_file(bench, results, monkeypatch):
    import shutil

    from benchmarks import scale

    commands = []

    def run(command, **options):
        assert options["env"]["OMP_NUM_THREADS"] == "1"
        commands.append([str(part) for part in command])
        shutil.copy(commands[-1][4], commands[-1][6])

    monkeypatch.setattr(scale.subprocess, "run", run)
    bench("scale", "--what", "workers", "--data", "plane-64", "--iterations", "3")
    rows = rows_of(results / "scale-workers.json")
    assert [row["workers"] for row in rows] == ["none", 1, 2] * 2
    assert all(row["same bits"] for row in rows)
    assert [c[-2:] == ["--workers", "2"] for c in commands].count(True) == 2
    assert all(c[c.index("--tile") + 1] == "192" for c in commands)
