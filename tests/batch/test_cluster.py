"""A batch on several processes: the same bits, whatever happens to one of them."""

import json
import os
import signal
import threading
import time

import dask
import numpy as np
import pytest

from napari_dip.batch import cluster
from napari_dip.batch.manifest import NAME
from napari_dip.io import files

distributed = pytest.importorskip("distributed")

SHORT = ("--iterations", "2", "--precision", "float32")


def states(output):
    results = json.loads((output / NAME).read_text())["results"]
    return {name: entry["state"] for name, entry in results.items()}


def assert_same(one, other):
    names = sorted(path.name for path in one.glob("*.tif"))
    assert names == sorted(path.name for path in other.glob("*.tif"))
    for name in names:
        np.testing.assert_array_equal(
            files.read(one / name).data, files.read(other / name).data
        )


@pytest.fixture
def threads():
    """Return the address of a scheduler whose one worker is a thread here."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as local:
        yield local.scheduler_address


def test_results_of_a_worker_are_the_same(call, folder, tmp_path, narrow, threads):
    (folder / "bad.tif").write_bytes(b"II*\0")
    one, other = tmp_path / "one", tmp_path / "other"
    command = ("batch", "denoise", folder, *SHORT)
    assert call(*command, "-o", one)[0] == 1
    code, out, err = call(*command, "-o", other, "--scheduler", threads)
    assert code == 1
    assert out.count("\n") == 3
    assert err.endswith("4 images: 3 done, 1 failed\n")
    assert_same(one, other)
    assert call(*command, "-o", other)[2].endswith("3 done before, 1 failed\n")


def test_ctrl_c_stops_what_workers_do(
    call, folder, tmp_path, narrow, threads, monkeypatch
):
    monkeypatch.setattr(cluster, "_POLL", 0.0)
    process = cluster.process

    def interrupting(run, stop):
        def interrupted(it):
            if it.step == 3:
                signal.raise_signal(signal.SIGINT)
            return stop(it)

        return process(run, interrupted)

    monkeypatch.setattr(cluster, "process", interrupting)
    output = tmp_path / "out"
    command = ("batch", "denoise", folder, "-o", output, "--scheduler", threads)
    code, _, err = call(*command, "--iterations", "100000", "--precision", "float32")
    assert code == 130
    last = "3 images: 1 stopped, to be done again, 2 not begun\n"
    assert err.endswith(last)
    assert sorted(states(output).values()) == ["pending", "pending", "stopped"]


def test_scheduler_that_is_not_there(call, folder, tmp_path):
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        command = ("batch", "denoise", folder, "-o", tmp_path / "out", *SHORT)
        code, _, err = call(*command, "--scheduler", "tcp://127.0.0.1:9")
    assert code == 1
    assert "scheduler tcp://127.0.0.1:9 cannot be reached" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(call, folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    command = ("batch", "denoise", folder, *SHORT)
    assert call(*command, "-o", one)[0] == 0
    assert call(*command, "-o", two, "--workers", "2")[0] == 0
    assert_same(one, two)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_worker_that_is_killed_costs_its_own_image_only(call, folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    command = ("batch", "denoise", folder, "--precision", "float32")
    command = (*command, "--iterations", "150")
    assert call(*command, "-o", one)[0] == 0
    killed = []

    def kill(client):
        """Kill a worker that has worked on an image for a moment."""
        while not killed:
            time.sleep(0.2)
            busy = {k: v for k, v in client.processing().items() if v}
            if len(busy) == 2:
                time.sleep(1)
                name = next(iter(busy))
                killed.append(client.run(os.getpid, workers=[name])[name])
                os.kill(killed[0], signal.SIGKILL)

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        killer = threading.Thread(target=kill, args=[client])
        killer.start()
        options = ("-o", two, "--scheduler", local.scheduler_address)
        code, out, err = call(*command, *options)
        killer.join()
    assert killed
    assert (code, out.count("\n")) == (0, 3)
    assert err.endswith("3 images: 3 done\n")
    assert_same(one, two)
