"""The programs in benchmarks/, as a user starts them from a checkout."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def bench(root):
    """Return a function that runs ``python -m benchmarks`` and gives its output."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", *arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root / "src")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("kind", ["plain", "engine-thread"])
def test_speed_times_one_kind_of_loop(bench, kind):
    found = json.loads(
        bench("speed", "--child", kind, "--sizes", "64", "--iterations", "2")
    )
    assert found["seconds"] > 0
    # So small an image may need less than importing torch did.
    assert found["memory"] >= 0


def test_gpu_checks_end_well_without_one(bench):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU: the checks would take minutes")
    assert "no CUDA GPU here" in bench("gpu")


def test_tables_are_what_the_results_say(bench, root):
    bench("tables", "--check")
