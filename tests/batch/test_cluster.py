"""A batch on several processes: the same bits, whatever happens to one of them."""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager

import dask
import numpy as np
import pytest

from napari_dip.batch import cluster
from napari_dip.batch import run as batch_run
from napari_dip.batch.manifest import NAME
from napari_dip.errors import FitError, InputError
from napari_dip.io import files
from napari_dip.prior.local import Local
from napari_dip.tasks import block, restoring, sweep, windows
from napari_dip.tasks.finishing import Finish
from napari_dip.tasks.result import Result

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
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
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
    process = batch_run.process

    def interrupting(run, stop, progress):
        def interrupted(it):
            if it.step == 3:
                signal.raise_signal(signal.SIGINT)
            return stop(it)

        return process(run, interrupted, progress)

    monkeypatch.setattr(batch_run, "process", interrupting)
    output = tmp_path / "out"
    command = ("batch", "denoise", folder, "-o", output, "--scheduler", threads)
    code, _, err = call(*command, "--iterations", "100000", "--precision", "float32")
    assert code == 130
    last = "3 images: 1 stopped, to be done again, 2 not begun\n"
    assert err.endswith(last)
    assert sorted(states(output).values()) == ["pending", "pending", "stopped"]


def test_scheduler_that_is_not_there(call, folder, tmp_path):
    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}):
        command = ("batch", "denoise", folder, "-o", tmp_path / "out", *SHORT)
        code, _, err = call(*command, "--scheduler", "tcp://127.0.0.1:9")
    assert code == 1
    assert "scheduler tcp://127.0.0.1:9 cannot be reached" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("options", [("--workers", "1"), ("--scheduler", "tcp://a:1")])
def test_the_extra_that_is_missing_is_named(
    call, folder, tmp_path, monkeypatch, options
):
    monkeypatch.setitem(sys.modules, "distributed", None)
    command = ("batch", "denoise", folder, "-o", tmp_path / "out", *SHORT)
    code, _, err = call(*command, *options)
    assert code == 1
    assert 'pip install "napari-dip[cluster]" brings them' in err


def test_workers_and_a_scheduler_are_not_given_together(call, folder, tmp_path):
    command = ("batch", "denoise", folder, "-o", tmp_path / "out", *SHORT)
    code, _, err = call(*command, "--workers", "1", "--scheduler", "tcp://a:1")
    assert code == 2
    assert "either workers or a scheduler must be given; got both" in err
    with pytest.raises(InputError, match="got neither"), cluster.on_cluster(None, None):
        pass


def test_images_that_no_worker_can_do_have_failed(
    call, folder, tmp_path, threads, monkeypatch
):
    def fail(*arguments):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(cluster, "_step", fail)
    command = ("batch", "denoise", folder, "-o", tmp_path / "out", *SHORT)
    code, _, err = call(*command, "--scheduler", threads)
    assert code == 1
    assert "no worker could do it: ZeroDivisionError: a fault of ours" in err
    assert set(states(tmp_path / "out").values()) == {"failed"}


# -- the planes and tiles of one image --------------------------------------------

STACK = ("--share", "yes", "--tile", "192", *SHORT)


@pytest.fixture
def stack(tmp_path):
    """Return a file of a stack with tiles, whose third plane is of another kind."""
    y, x = np.mgrid[:48, :290]
    clean = 100 + 30 * np.sin(x / 9) * np.cos(y / 7)
    noise = np.random.default_rng(0).normal(0, 8, (4, *clean.shape))
    planes = clean + noise
    planes[2] = 5000 - 30 * planes[2]
    files.write(tmp_path / "stack.tif", planes.astype(np.float32))
    return tmp_path / "stack.tif"


@pytest.fixture
def small_networks(small_windows, changed_presets, monkeypatch):
    """Let shared networks be small, for workers that are threads here."""
    monkeypatch.setattr(windows, "WINDOWS", 2)
    small = Local((8,) * 4)
    changed_presets(architecture=small, coarse_iterations=0, finish=Finish())


@pytest.mark.slow
def test_tiles_of_a_stack_are_restored_by_workers(
    call, stack, tmp_path, small_networks, threads, monkeypatch
):
    submitted, submit = [], cluster._Pool.submit

    def noted(self, function, *arguments):
        submitted.append(function.__name__)
        return submit(self, function, *arguments)

    monkeypatch.setattr(cluster._Pool, "submit", noted)
    one, other = tmp_path / "one.tif", tmp_path / "other.tif"
    assert call("denoise", stack, "-o", one, *STACK)[0] == 0
    command = ("denoise", stack, "-o", other, *STACK, "--scheduler", threads)
    assert call(*command)[0] == 0
    assert submitted.count("restore_tile") == 8
    assert submitted.count("errors_on_plane") >= 4
    np.testing.assert_array_equal(files.read(other).data, files.read(one).data)
    made = [files.read_header(path).provenance for path in (one, other)]
    assert len(made[0]["planes"]) == len(made[1]["planes"]) == 2


@pytest.fixture
def two_threads():
    """Return the address of a scheduler with two workers that are threads here."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as local:
        yield local.scheduler_address


@pytest.mark.slow
@pytest.mark.parametrize("files_of_it", [1, 2])
def test_one_large_file_of_a_batch_is_restored_by_all_workers(
    call, stack, tmp_path, narrow, two_threads, monkeypatch, files_of_it
):
    submitted, submit = [], cluster._Pool.submit

    def noted(self, function, *arguments):
        submitted.append(function.__name__)
        return submit(self, function, *arguments)

    monkeypatch.setattr(cluster._Pool, "submit", noted)
    files.write(stack, files.read(stack).data[:2], overwrite=True)
    sources = [stack]
    if files_of_it == 2:  # as many as workers, which have one each
        sources.append(stack.with_name("second.tif"))
        sources[1].write_bytes(stack.read_bytes())
    one, other = tmp_path / "one", tmp_path / "other"
    command = ("batch", "denoise", *sources, "--tile", "192", *SHORT)
    assert call(*command, "-o", one)[0] == 0
    assert call(*command, "-o", other, "--scheduler", two_threads)[0] == 0
    assert submitted.count("fit_to_end") == (4 if files_of_it == 1 else 0)
    assert_same(one, other)
    assert set(states(other).values()) == {"done"}


def test_a_file_of_few_parts_is_that_of_one_worker(
    call, tmp_path, narrow, two_threads, write
):
    write(tmp_path / "in" / "0.tif")
    command = ("batch", "denoise", tmp_path / "in", "-o", tmp_path / "out", *SHORT)
    code, _, err = call(*command, "--scheduler", two_threads)
    assert (code, err) == (0, "napari-dip: 1 image: 1 done\n")
    (tmp_path / "in" / "0.tif").write_bytes(b"II*\0")
    assert call(*command, "--scheduler", two_threads)[0] == 1


def test_a_stop_leaves_the_tiles_that_workers_have_not_done(
    call, stack, tmp_path, small_networks, threads, monkeypatch
):
    put = sweep.Sweep.put

    def interrupting(self, *arguments):
        put(self, *arguments)
        if self.done == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sweep.Sweep, "put", interrupting)
    output = tmp_path / "out.tif"
    command = ("denoise", stack, "-o", output, *STACK, "--scheduler", threads)
    code, _, err = call(*command)
    assert code == 130
    assert "plane 3 was not restored before the stop" in err
    image, given = files.read(output).data, files.read(stack).data
    assert (image[:1] != given[:1]).all()
    assert (image[1, :, :192] != given[1, :, :192]).all()
    np.testing.assert_array_equal(image[3:], given[3:])


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ZeroDivisionError("a fault"), "no worker could do it: ZeroDivisionError: a "),
        (FitError("the fit failed"), "the fit failed"),
    ],
)
def test_a_tile_that_no_worker_can_do_leaves_its_plane(
    call, stack, tmp_path, small_networks, threads, monkeypatch, error, says
):
    restore = restoring.restore

    def fail(job, recipe, shared, index, *others, **how):
        if index[0] == 1:
            raise error
        return restore(job, recipe, shared, index, *others, **how)

    monkeypatch.setattr(restoring, "restore", fail)
    files.write(stack, files.read(stack).data[:2], overwrite=True)
    output = tmp_path / "out.tif"
    command = ("denoise", stack, "-o", output, *STACK, "--scheduler", threads)
    code, _, err = call(*command)
    assert code == 0
    assert err.count(f"plane 1 was not fitted: {says}") == 1
    image, given = files.read(output).data, files.read(stack).data
    np.testing.assert_array_equal(image[1], given[1])
    assert (image[0] != given[0]).all()


@pytest.mark.parametrize(
    "options", [(), pytest.param(("--tile", "192"), marks=pytest.mark.slow)]
)
def test_planes_are_fitted_by_workers(
    call, stack, tmp_path, small_fits, threads, monkeypatch, options
):
    """Every plane by itself: planes, or the tiles of planes."""
    names, submit = [], cluster._Pool.submit

    def noted(self, function, *arguments):
        names.append(function.__name__)
        return submit(self, function, *arguments)

    monkeypatch.setattr(cluster._Pool, "submit", noted)
    command = ("denoise", stack, "--share", "no")
    if options:
        mask = np.zeros((48, 290), np.uint8)
        mask[20:24, 60:250] = 1
        files.write(tmp_path / "mask.png", mask)
        command = ("inpaint", stack, "--mask", tmp_path / "mask.png", *options)
    one, other = tmp_path / "one.tif", tmp_path / "other.tif"
    assert call(*command, *SHORT, "-o", one)[0] == 0
    assert call(*command, *SHORT, "-o", other, "--scheduler", threads)[0] == 0
    assert names == ["fit_to_end"] * (8 if options else 4)
    np.testing.assert_array_equal(files.read(other).data, files.read(one).data)
    made = [files.read_header(path).provenance for path in (one, other)]
    assert made[0]["iterations"] == made[1]["iterations"]


def test_a_stop_ends_the_wait_for_a_worker(
    call, stack, tmp_path, narrow, threads, monkeypatch
):
    fit, add = block.fit_block, Result.add
    first, over = threading.Event(), threading.Event()

    def noted(self, done):
        add(self, done)
        first.set()

    def interrupting(running, one, **options):
        if one.plane == 1:
            assert first.wait(30)
            signal.raise_signal(signal.SIGINT)
            over.wait(30)
        return fit(running, one, **options)

    monkeypatch.setattr(Result, "add", noted)
    monkeypatch.setattr(block, "fit_block", interrupting)
    output = tmp_path / "out.tif"
    command = ("denoise", stack, "--share", "no", *SHORT, "-o", output)
    try:
        code, _, err = call(*command, "--scheduler", threads)
    finally:
        over.set()
    assert code == 130
    assert "planes 2 to 3 were not restored before the stop" in err
    image, given = files.read(output).data, files.read(stack).data
    assert (image[0] != given[0]).any()
    np.testing.assert_array_equal(image[1:], given[1:])
    made = files.read_header(output).provenance
    assert made["stopped_by"].endswith("stopped by the user")


@pytest.mark.slow
def test_files_share_a_network_that_a_worker_has_fitted(
    call, folder, tmp_path, small_networks, threads
):
    one, other = tmp_path / "one", tmp_path / "other"
    command = ("batch", "denoise", folder, "--share", *SHORT)
    assert call(*command, "-o", one)[0] == 0
    err = call(*command, "-o", other, "--scheduler", threads)[2]
    assert err.endswith("3 done, 3 of them by shared networks\n")
    assert_same(one, other)


# -- processes --------------------------------------------------------------------


@pytest.mark.slow
def test_a_port_that_others_use_is_not_told():
    """Warnings are errors here."""
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # somebody else has it
            taken.bind(("", 8787))
            taken.listen()
        with cluster.on_cluster(1, None) as processes:
            assert processes.client.nthreads()


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(call, folder, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    command = ("batch", "denoise", folder, *SHORT)
    assert call(*command, "-o", one)[0] == 0
    assert call(*command, "-o", two, "--workers", "2")[0] == 0
    assert_same(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_processes_restore_tiles_to_the_bits_of_one(call, stack, tmp_path, workers):
    one, other = tmp_path / "one.tif", tmp_path / "other.tif"
    assert call("denoise", stack, "-o", one, *STACK)[0] == 0
    command = ("denoise", stack, "-o", other, *STACK, "--workers", workers)
    assert call(*command)[0] == 0
    np.testing.assert_array_equal(files.read(other).data, files.read(one).data)


@pytest.fixture
def killing():
    """Return a context with two workers, of which one is killed when both are busy.

    It yields the address of their scheduler, and the ids of what was killed.
    """

    @contextmanager
    def killing(after, tasks=("_step", "_call")):
        killed, over = [], threading.Event()

        def kill(client):
            while not killed and not over.wait(0.05):
                busy = {
                    worker: [key for key in keys if str(key).startswith(tasks)]
                    for worker, keys in client.processing().items()
                }
                if sum(map(bool, busy.values())) == 2:
                    time.sleep(after)
                    name = next(iter(busy))
                    killed.append(client.run(os.getpid, workers=[name])[name])
                    os.kill(killed[0], signal.SIGKILL)

        with (
            distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=":0",
            ) as local,
            distributed.Client(local, set_as_default=False) as client,
        ):
            killer = threading.Thread(target=kill, args=[client])
            killer.start()
            try:
                yield local.scheduler_address, killed
            finally:
                over.set()
                killer.join()

    return killing


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_worker_that_is_killed_costs_its_own_tiles_only(
    call, stack, tmp_path, killing
):
    one, other = tmp_path / "one.tif", tmp_path / "other.tif"
    assert call("denoise", stack, "-o", one, *STACK)[0] == 0
    with killing(0.1) as (address, killed):
        command = ("denoise", stack, "-o", other, *STACK, "--scheduler", address)
        code, _, err = call(*command)
    assert killed
    assert (code, err) == (0, "")
    np.testing.assert_array_equal(files.read(other).data, files.read(one).data)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_worker_that_is_killed_costs_its_own_image_only(
    call, folder, tmp_path, killing
):
    one, two = tmp_path / "one", tmp_path / "two"
    command = ("batch", "denoise", folder, "--precision", "float32")
    command = (*command, "--iterations", "150")
    assert call(*command, "-o", one)[0] == 0
    with killing(1) as (address, killed):
        code, out, err = call(*command, "-o", two, "--scheduler", address)
    assert killed
    assert (code, out.count("\n")) == (0, 3)
    assert err.endswith("3 images: 3 done\n")
    assert_same(one, two)
