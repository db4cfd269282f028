"""Processes that are killed at any moment leave nothing broken behind.

This file is also the program that is killed: it loads all libraries once, and begins
every command in a process of its own by forking.
"""

import contextlib
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_dip.batch import share
from napari_dip.batch.manifest import NAME
from napari_dip.io import checkpoint, files
from napari_dip.prior.local import Local
from napari_dip.tasks import presets, windows

KILLS = 25
"""Kills of every scenario; there are seven."""

FITTED = ("--iterations", "25", "--precision", "float32", "--quiet")


def noisy(seed, *shape):
    y, x = np.mgrid[: shape[-2], : shape[-1]]
    noise = np.random.default_rng(seed).normal(0, 8, shape)
    return (100 + 30 * np.sin(x / 9) * np.cos(y / 7) + noise).astype(np.float32)


class Single:
    """A fit with a checkpoint and with weights that are kept."""

    def __init__(self, folder):
        self.folder, self.output = folder, folder / "out"
        files.write(folder / "in.tif", noisy(0, 64, 80), overwrite=True)
        kept = ("--checkpoint", self.output / "kept.safetensors")
        kept += ("--checkpoint-every", "0.001")
        kept += ("--save-weights", self.output / "weights.safetensors", "--overwrite")
        target = self.output / "out.tif"
        self.command = ("denoise", folder / "in.tif", "-o", target, *FITTED, *kept)
        self.results = ("out.tif", "weights.safetensors")

    def check(self):
        for name, kind in (("kept", "checkpoint"), ("weights", "weights")):
            path = self.output / f"{name}.safetensors"
            if path.exists():
                checkpoint.read(path, kind)
        if (self.output / "out.tif").exists():
            files.read(self.output / "out.tif")

    def images(self):
        return [files.read(self.output / "out.tif").data]


class Batch:
    """Files that share a network."""

    def __init__(self, folder):
        self.folder, self.output = folder, folder / "out"
        (folder / "in").mkdir()
        for number in range(5):
            image = noisy(number, 64, 80)
            files.write(folder / "in" / f"{number}.tif", image, overwrite=True)
        command = ("batch", "denoise", folder / "in", "-o", self.output, "--share")
        self.command = (*command, *FITTED)
        self.images_in = [f"{number}.tif" for number in range(5)]
        networks = "napari-dip-shared-1.safetensors"
        self.results = (NAME, networks, *self.images_in)

    def check(self):
        if (self.output / NAME).exists():
            json.loads((self.output / NAME).read_text())
        for path in self.output.glob(share.PATTERN):
            checkpoint.read(path, "weights")
        for path in self.output.glob("*.tif"):
            files.read(path)

    def images(self):
        return [files.read(self.output / name).data for name in self.images_in]


class Regions:
    """A stack that is read and written region by region, over an earlier result."""

    ending = ".tif"
    options = ("--share", "yes", "--tile", "192", *FITTED)

    def __init__(self, folder):
        self.folder, self.output = folder, folder / "out"
        source = folder / f"in{self.ending}"
        files.write(source, noisy(0, 3, 64, 420), overwrite=True)
        target = self.output / f"out{self.ending}"
        self.command = ("denoise", source, "-o", target, "--overwrite", *self.options)
        self.results = (target.name,)

    def check(self):
        path = self.output / self.results[0]
        # There is a moment in which a Zarr store that is replaced has another name.
        hidden = list(self.output.glob(".*.old"))
        if path.exists():
            assert files.read(path).data.shape == (3, 64, 420)
        elif hidden:
            assert files.read(hidden[0]).data.shape == (3, 64, 420)

    def images(self):
        return [files.read(self.output / self.results[0]).data]


class ZarrRegions(Regions):
    """The same in a Zarr store."""

    ending = ".ome.zarr"


class DataSet(Regions):
    """The same with a checkpoint, from which every run goes on."""

    def __init__(self, folder):
        super().__init__(folder)
        self.kept = self.output / "kept.safetensors"
        self.command += ("--checkpoint", self.kept, "--checkpoint-every", "0.001")

    def check(self):
        super().check()
        if self.kept.exists():
            state, _ = checkpoint.read(self.kept, "checkpoint")
            for number, part in enumerate(state.get("parts", [])):
                path = self.kept.with_name(f"{self.kept.name}.{number}")
                assert checkpoint.read(path, "parts")[1]["parts"] == part["names"]


class OneWorker(DataSet):
    """The same with a worker, which restores the tiles."""

    options = (*DataSet.options, "--workers", "1")


class TwoWorkers(OneWorker):
    """Planes in tiles that two workers fit."""

    options = ("--share", "no", "--tile", "192", "--workers", "2")
    options += ("--iterations", "3", *FITTED[2:])


SCENARIOS = {
    one.__name__: one
    for one in (Single, Batch, Regions, ZarrRegions, DataSet, OneWorker, TwoWorkers)
}


# -- the program ------------------------------------------------------------------


def forked(work, after=None):
    """Do something in another process; return its exit code and the seconds it took.

    With `after` it is killed after so many seconds.
    """
    since = time.monotonic()
    process = os.fork()
    if not process:
        code = 1
        try:
            code = work() or 0
        except BaseException:  # noqa: BLE001  # the code says that it failed
            traceback.print_exc()
        finally:
            os._exit(code)
    if after is not None:
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - since


def program(name, folder, kills):
    """Kill the command of a scenario so often; print what came of it as JSON."""
    import torch

    from napari_dip import cli

    torch.set_num_threads(1)
    for task, table in presets.TABLES.items():
        presets.TABLES[task] = {
            case: replace(preset, coarse_iterations=0, architecture=Local((8,) * 4))
            for case, preset in table.items()
        }
    windows.WINDOW_SIDE, windows.WINDOWS, share.WINDOWS, files._LARGE = 48, 4, 4, 0
    scenario = SCENARIOS[name](folder)
    expected = folder / "expected.npz"

    def run():
        return cli.main([str(part) for part in scenario.command])

    def first():
        code = run()
        np.savez(expected, *scenario.images())
        loaded = (m for m in sys.modules if m.startswith(("scipy", "torch", "zarr")))
        (folder / "modules.txt").write_text("\\n".join(loaded))
        return code

    def complete():
        scenario.check()
        names = sorted(path.name for path in scenario.output.iterdir())
        assert names == sorted(scenario.results), names
        with np.load(expected) as arrays:
            for image, array in zip(scenario.images(), arrays.values(), strict=True):
                np.testing.assert_array_equal(image, array)

    def anew():
        if not isinstance(scenario, Regions):  # which replaces an earlier result
            for path in scenario.output.iterdir():
                path.unlink()

    assert forked(first)[0] == 0
    for module in (folder / "modules.txt").read_text().splitlines():
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    anew()
    _, whole = forked(run)
    draw = random.Random(0)
    killed = ended = 0
    while killed < kills:
        code, _ = forked(run, after=draw.uniform(0, whole))
        assert code in (0, -signal.SIGKILL), code
        killed += code != 0
        assert forked(scenario.check)[0] == 0
        # Now and then it comes to its end, and then begins anew.
        if not code or killed % 5 == 0:
            assert forked(run)[0] == 0
            assert forked(complete)[0] == 0
            ended += 1
            anew()
    print(json.dumps({"killed": killed, "ended": ended, "seconds": whole}))  # noqa: T201


# -- the test ---------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and kills processes")
@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_killed_leaves_nothing_broken(tmp_path, name, record_property):
    if name == "ZarrRegions":
        pytest.importorskip("zarr")
    if "Worker" in name:
        pytest.importorskip("distributed")
    done = subprocess.run(
        [sys.executable, __file__, name, tmp_path, str(KILLS)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    record_property("outcome", outcome)
    assert outcome["killed"] == KILLS
    assert outcome["ended"] >= 5


if __name__ == "__main__":
    program(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
