"""The programs in benchmarks/, run as a user does from a checkout."""

import json
import os
import subprocess
import sys

import pytest


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


def test_tables_are_what_the_results_say(root):
    """In a process of its own: it starts from a checkout."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "tables", "--check"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
