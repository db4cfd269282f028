"""A task on a folder: once, again, and after it was broken off."""

import gc
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch

from napari_dip.batch import run as batch_run
from napari_dip.batch.file_run import FileRun
from napari_dip.batch.manifest import NAME, digest
from napari_dip.batch.stop import Stop
from napari_dip.io import atomic, files
from napari_dip.tasks import block
from tests.batch.conftest import entries

SHORT = ("--iterations", "2", "--precision", "float32")

pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture
def runs(monkeypatch):
    """Return the names of the files that are fitted."""
    names, run = [], FileRun.run

    def noted(self, *arguments, **options):
        names.append(self.target.name)
        return run(self, *arguments, **options)

    monkeypatch.setattr(FileRun, "run", noted)
    return names


def test_results_are_those_of_single_runs(call, folder, tmp_path):
    output = tmp_path / "out"
    code, out, err = call("batch", "denoise", folder, "-o", output, *SHORT)
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == [
        str(output / f"{n}.tif") for n in range(3)
    ]
    assert err == "napari-dip: 3 images: 3 done\n"
    call("denoise", folder / "1.tif", "-o", tmp_path / "single.tif", *SHORT)
    single, of_batch = (
        files.read(path) for path in (tmp_path / "single.tif", output / "1.tif")
    )
    np.testing.assert_array_equal(of_batch.data, single.data)
    assert of_batch.header.provenance["recipe"] == single.header.provenance["recipe"]
    entry = entries(output)["1.tif"]
    assert entry["state"] == "done"
    assert entry["recipe"] == {"iterations": 2, "precision": "float32"}
    assert entry["files"] == {"image": str(folder / "1.tif")}


@pytest.mark.parametrize(
    ("others", "says"),
    [
        (["x.webp"], "1 other file was passed over (.webp)"),
        (["x.webp", "y.npy", "z.NPY", "w"], "4 other files were passed over (.npy, "),
    ],
)
def test_files_that_are_not_read_are_counted(call, write, tmp_path, others, says):
    write(tmp_path / "in" / "a.tif")
    for name in others:
        (tmp_path / "in" / name).write_bytes(b"x")
    command = ("batch", "denoise", tmp_path / "in", "-o", tmp_path / "out", *SHORT)
    code, _, err = call(*command)
    passed, last = err.splitlines()
    assert (code, last) == (0, "napari-dip: 1 image: 1 done")
    assert passed.startswith(f"napari-dip: {says}")
    assert call(*command, "--quiet")[2] == ""


def test_a_second_call_does_nothing(call, folder, tmp_path, runs):
    command = ("batch", "denoise", folder, "-o", tmp_path / "out", *SHORT)
    call(*command)
    before = (tmp_path / "out" / NAME).read_text()
    code, out, err = call(*command)
    assert (code, out) == (0, "")
    assert err == "napari-dip: 3 images: 3 done before\n"
    assert len(runs) == 3
    assert (tmp_path / "out" / NAME).read_text() == before


def test_what_has_changed_is_done_again(call, folder, tmp_path, runs, write):
    output = tmp_path / "out"
    command = ("batch", "denoise", folder, "-o", output, *SHORT)
    call(*command)
    runs.clear()
    write(folder / "1.tif", seed=9)
    (output / "2.tif").unlink()
    assert call(*command)[0] == 0
    assert runs == ["1.tif", "2.tif"]
    runs.clear()
    assert call(*command, "--seed", "1")[0] == 0
    assert runs == ["0.tif", "1.tif", "2.tif"]


def test_an_image_in_several_files_is_done_again_when_any_has_changed(
    call, tmp_path, runs
):
    names = [f"p{part}.ome.tif" for part in range(3)]
    ids = [f"urn:uuid:{part:08d}-0000-0000-0000-000000000000" for part in range(3)]
    planes = "".join(
        f'<TiffData FirstC="{part}"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for part, (name, uuid) in enumerate(zip(names, ids, strict=True))
    )

    def put(part, seed):
        text = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{ids[part]}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint8" SizeX="20" SizeY="16" SizeZ="1" '
            f'SizeC="3" SizeT="1">{planes}</Pixels></Image></OME>'
        )
        data = np.random.default_rng(seed).integers(100, 120, (16, 20), np.uint8)
        path = tmp_path / "in" / names[part]
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, data, description=text, metadata=None)

    command = ("batch", "denoise", tmp_path / "in", "-o", tmp_path / "out", *SHORT)
    put(0, 0)
    put(1, 1)
    call(*command)
    # Every one of these makes another image: the last is a file that was missing.
    for part in (1, 0, 2):
        runs.clear()
        call(*command)
        assert runs == []
        put(part, 9)
        assert call(*command)[0] == 0
        assert runs == ["p0.ome.tif"]


def test_the_manifest_of_an_image_in_one_file_speaks_of_no_other(
    call, folder, tmp_path
):
    call("batch", "denoise", folder / "0.tif", "-o", tmp_path / "out", *SHORT)
    inputs = entries(tmp_path / "out")["0.tif"]["inputs"]
    assert inputs == {"image": {"sha256": digest(folder / "0.tif"), "series": None}}


def test_another_version_does_all_again(call, folder, tmp_path, runs, monkeypatch):
    command = ("batch", "denoise", folder, "-o", tmp_path / "out", *SHORT)
    call(*command)
    monkeypatch.setattr(batch_run, "__version__", "99")
    call(*command)
    assert len(runs) == 6


def test_files_in_folders_within_a_folder_are_told_with_these(
    call, folder, tmp_path, write
):
    for day in ("day1", "day2"):
        write(folder / day / "1.tif", shape=(8, 8))
        (folder / day / "bad.tif").write_bytes(b"II*\0")
    command = ("batch", "denoise", folder, "-o", tmp_path / "out", "--recursive")
    _, _, err = call(*command, *SHORT)
    for name in ("day1/1.tif", "day2/1.tif", "day1/bad.tif", "day2/bad.tif"):
        assert f"error: {name}: " in err
    assert "error: bad.tif" not in err


def test_bad_files_are_passed_over(call, folder, tmp_path, write, monkeypatch):
    (folder / "0.tif").write_bytes(b"II*\0")
    write(folder / "1.tif", shape=(8, 8))
    files.write(folder / "3.tif", np.ones((16, 16), np.float32))
    make_job = FileRun._arrays

    def fail(self, images, like):
        if self.target.name == "3.tif":
            raise ZeroDivisionError("a fault of ours")
        return make_job(self, images, like)

    monkeypatch.setattr(FileRun, "_arrays", fail)
    output = tmp_path / "out"
    code, out, err = call("batch", "denoise", folder, "-o", output, *SHORT)
    assert code == 1
    assert out.count("\n") == 1
    *errors, last = err.splitlines()
    assert last == "napari-dip: 4 images: 1 done, 3 failed"
    for line, says in zip(
        errors,
        ["0.tif cannot be read", "1.tif: image must have", "ZeroDivisionError"],
        strict=True,
    ):
        assert says in line
    states = {name: entry["state"] for name, entry in entries(output).items()}
    assert states == {
        "0.tif": "failed",
        "1.tif": "failed",
        "2.tif": "done",
        "3.tif": "failed",
    }
    write(folder / "0.tif")
    code, _, err = call("batch", "denoise", folder, "-o", output, *SHORT)
    assert err.endswith("4 images: 1 done, 1 done before, 2 failed\n")


def test_gpu_memory_that_runs_out_costs_one_image(call, folder, tmp_path, monkeypatch):
    restored, calls = block.restored, []

    def full(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return restored(*arguments, **options)

    monkeypatch.setattr(block, "restored", full)
    output = tmp_path / "out"
    code, _, err = call("batch", "denoise", folder, "-o", output, *SHORT)
    assert code == 1
    error, last = err.splitlines()
    assert error == (
        "napari-dip: error: 1.tif: there is too little GPU memory: this image needs "
        "more than there is; take a smaller image or tile, or device=cpu"
    )
    assert last == "napari-dip: 3 images: 2 done, 1 failed"
    assert sorted(path.name for path in output.glob("*.tif")) == ["0.tif", "2.tif"]


def test_files_of_others_stay(call, folder, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "1.tif").write_text("precious")
    command = ("batch", "denoise", folder, "-o", output, *SHORT)
    for _ in range(2):
        code, _, err = call(*command)
        assert code == 1
        assert "1.tif exists, and no batch has left it like that" in err
        assert (output / "1.tif").read_text() == "precious"
    assert call(*command, "--overwrite")[0] == 0
    (output / "2.tif").write_text("edited")
    assert call(*command)[0] == 1
    assert (output / "2.tif").read_text() == "edited"
    assert call(*command, "--overwrite")[0] == 0
    assert files.read(output / "2.tif").data.shape == (16, 20)


def test_a_file_whose_device_failed_is_done_again(
    call, folder, tmp_path, runs, failing_device
):
    command = ("batch", "denoise", folder, "-o", tmp_path / "out", *SHORT)
    failing_device(4)
    assert call(*command)[0] == 130
    states = {name: one["state"] for name, one in entries(tmp_path / "out").items()}
    assert states == {"0.tif": "done", "1.tif": "stopped", "2.tif": "done"}
    assert files.read(tmp_path / "out" / "1.tif").header.provenance["iterations"] == 1
    runs.clear()
    assert call(*command)[0] == 0
    assert runs == ["1.tif"]


def test_a_folder_in_which_a_batch_is_at_work(call, folder, tmp_path, runs):
    output = tmp_path / "out"
    command = ("batch", "denoise", folder, "-o", output, *SHORT)
    with atomic.claimed([output / NAME]):
        code, _, err = call(*command)
    assert code == 1
    assert err.splitlines()[-1] == (
        f"napari-dip: error: {output / NAME} is being written by another run; wait for "
        "its end, or give another output"
    )
    assert runs == []
    assert call(*command)[0] == 0
    assert not list(output.glob(".*"))


def test_an_output_that_is_being_written(call, folder, tmp_path, runs):
    target = tmp_path / "out.tif"
    with files.writing(target, (16, 20), np.float32) as out:
        out[:8] = np.ones((8, 20), np.float32)
        code, _, err = call("denoise", folder / "1.tif", "-o", target, *SHORT)
        assert (code, err.count("\n")) == (1, 1)
        assert f"{target} is being written by another run" in err
        out[8:] = np.ones((8, 20), np.float32)
    np.testing.assert_array_equal(files.read(target).data, 1)


def test_json_and_quiet(call, folder, tmp_path):
    command = ("batch", "denoise", folder, "-o", tmp_path / "out", *SHORT, "--quiet")
    code, out, err = call(*command, "--json")
    assert (code, err) == (0, "")
    first, *_ = map(json.loads, out.splitlines())
    assert first["output"] == str(tmp_path / "out" / "0.tif")
    assert first["state"] == "done"
    code, out, err = call(*command)
    assert (code, out, err) == (0, "", "")


def test_a_folder_of_masks(call, folder, tmp_path):
    (tmp_path / "masks").mkdir()
    for number in (0, 1):
        mask = np.zeros((16, 20), np.uint8)
        mask[4 + number, 4:8] = 1
        files.write(tmp_path / "masks" / f"{number}.png", mask)
    command = ("batch", "inpaint", folder, "--mask", tmp_path / "masks")
    code, _, err = call(*command, "-o", tmp_path / "out", *SHORT)
    assert code == 1
    assert "has no mask for 2.tif" in err
    for number in (0, 1):
        known = files.read(folder / f"{number}.tif").data
        filled = files.read(tmp_path / "out" / f"{number}.tif").data
        rows, _ = np.nonzero(filled != known)
        assert set(rows) == {4 + number}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--preset", "nonsense"), "preset must be"),
        (("--workers", "0"), "workers must be"),
        (("--workers", "2", "--scheduler", "tcp://a:1"), "got both"),
    ],
)
def test_wrong_options(call, folder, tmp_path, options, says):
    command = ("batch", "denoise", folder, "-o", tmp_path / "out", *options)
    code, out, err = call(*command)
    assert (code, out) == (2, "")
    assert says in err
    assert not (tmp_path / "out").exists()


def test_wrong_inputs(call, folder, tmp_path):
    assert "needs a folder" in call("batch", "denoise", "-o", tmp_path / "out")[2]
    absent = call("batch", "denoise", tmp_path / "absent", "-o", tmp_path / "out")
    assert absent[0] == 2
    output = call("batch", "denoise", folder, "-o", folder / "0.tif")
    assert output[0] == 2
    assert "cannot be written" in output[2]


# -- broken off -------------------------------------------------------------------


def test_a_stop_saves_the_best_image_and_the_file_is_done_again(
    call, folder, tmp_path, monkeypatch, runs
):
    ask, output = Stop.__call__, tmp_path / "out"

    def interrupted(self, it):
        ask(self, it)
        if runs[-1] == "1.tif" and it.step == 3:
            signal.raise_signal(signal.SIGTERM)
        return self.asked

    command = ("batch", "denoise", folder, "-o", output, "--precision", "float32")
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "__call__", interrupted)
        code, out, err = call(*command, "--iterations", "5")
    assert code == 130
    last = "3 images: 1 done, 1 stopped, to be done again, 1 not begun\n"
    assert err.endswith(last)
    assert out.splitlines()[1].startswith(f"{output / '1.tif'}: stopped in")
    made = files.read_header(output / "1.tif").provenance
    assert made["stopped_by"] == "stopped by the user"
    states = [entry["state"] for entry in entries(output).values()]
    assert states == ["done", "stopped", "pending"]
    code, _, err = call(*command, "--iterations", "5")
    assert code == 0
    assert err.endswith("3 images: 2 done, 1 done before\n")


def test_a_signal_before_a_fit_ends_the_batch(call, folder, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(files, "read", interrupted)
    before = signal.getsignal(signal.SIGINT)
    code, out, err = call("batch", "denoise", folder, "-o", tmp_path / "out", *SHORT)
    assert (code, out) == (130, "")
    assert err == "napari-dip: 3 images: 3 not begun\n"
    assert signal.getsignal(signal.SIGINT) is before


# Every batch is a fork of one process, which imports once what takes long to import.
KILLED = """
import os, signal, sys
from napari_dip import cli
from napari_dip.batch import file_run
from napari_dip.io import atomic, files
from napari_dip.prior import fit
write, place = files.write, None
def killed(path, *arguments, **options):
    now = path.name == "1.tif" and place
    if now == "before":
        atomic._sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
    result = write(path, *arguments, **options)
    if now == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result
files.write = killed
for place in ("before", "after"):
    child = os.fork()
    if not child:
        sys.exit(cli.main([*sys.argv[1:], "-o", place]))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == -signal.SIGKILL, code
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_batch_goes_on_where_it_was(call, folder, tmp_path, runs):
    """Killed before or after the second result gets its name."""
    command = ("batch", "denoise", folder, *SHORT)
    program = [sys.executable, "-c", KILLED, *command]
    subprocess.run(program, check=True, cwd=tmp_path)
    for place in ("before", "after"):
        output = tmp_path / place
        states = [entry["state"] for entry in entries(output).values()]
        assert states == ["done", "pending", "pending"]
        assert (output / "1.tif").exists() == (place == "after")
        runs.clear()
        assert call(*command, "-o", output)[0] == 0
        assert runs == ["1.tif", "2.tif"]
        names = sorted(path.name for path in output.iterdir())
        assert names == ["0.tif", "1.tif", "2.tif", NAME]


# -- memory -----------------------------------------------------------------------


def resident():
    """Return the bytes of memory that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
@pytest.mark.parametrize(
    "count", [20, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_memory_does_not_grow_with_the_files(
    call, tmp_path, write, monkeypatch, narrow, count
):
    objects, pages, run = [], [], FileRun.run

    def measured(self, *arguments, **options):
        result = run(self, *arguments, **options)
        gc.collect()
        objects.append(len(gc.get_objects()))
        pages.append(resident())
        return result

    for number in range(count):
        write(tmp_path / "in" / f"{number:03}.tif", number)
    monkeypatch.setattr(FileRun, "run", measured)
    command = ("batch", "denoise", tmp_path / "in", "-o", tmp_path / "out", *SHORT)
    # What is there already need not be looked at again after every file.
    gc.freeze()
    assert call(*command, "--quiet")[0] == 0
    gc.unfreeze()
    assert len(objects) == count
    # The first files load libraries. Afterwards the manifest alone grows.
    assert objects[-1] - objects[9] < 20 * (count - 10)
    # What the allocator has free varies; the least of it does not.
    half = count // 2
    assert min(pages[half:]) - min(pages[5:half]) < 2**23
