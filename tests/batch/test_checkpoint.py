"""A fit that was broken off goes on to the bits of one that was not."""

import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import napari_dip
from napari_dip.batch import checkpoint as batch_checkpoint
from napari_dip.batch import file_run
from napari_dip.batch.stop import Stop
from napari_dip.errors import FileError, InputError
from napari_dip.io import atomic, checkpoint, files, provenance
from napari_dip.prior.snapshot import digest
from napari_dip.tasks import windows
from napari_dip.tasks.record import JOB
from tests.slow import slow_but

PARAMETERS = ("--iterations", "12", "--precision", "float32")


@pytest.fixture
def noisy(tmp_path, write):
    write(tmp_path / "noisy.tif")
    return tmp_path / "noisy.tif"


@pytest.fixture
def break_off(monkeypatch):
    """Return a context in which a fit fails after an iteration."""

    @contextmanager
    def at(step):
        ask = Stop.__call__

        def breaking(self, it):
            if it.step == step:
                raise MemoryError
            return ask(self, it)

        with monkeypatch.context() as patch:
            patch.setattr(Stop, "__call__", breaking)
            yield

    return at


def image_of(path):
    return files.read(path).data


@pytest.mark.usefixtures("narrow")
def test_a_fit_whose_device_failed_goes_on(call, noisy, tmp_path, failing_device):
    whole, output = tmp_path / "whole.tif", tmp_path / "out.tif"
    kept = tmp_path / "kept.safetensors"
    command = ("denoise", noisy, *PARAMETERS)
    assert call(*command, "-o", whole)[0] == 0
    options = ("-o", output, "--checkpoint", kept, "--checkpoint-every", "0")
    failing_device(8)
    assert call(*command, *options)[0] == 1
    assert files.read(output).header.provenance["iterations"] == 7
    assert kept.exists()
    assert call(*command, *options)[0] == 0
    np.testing.assert_array_equal(image_of(output), image_of(whole))
    assert not kept.exists()


@pytest.mark.usefixtures("narrow")
def test_a_broken_fit_goes_on_to_the_same_bits(
    call, noisy, tmp_path, break_off, monkeypatch
):
    whole, output = tmp_path / "whole.tif", tmp_path / "out.tif"
    kept = tmp_path / "kept.safetensors"
    command = ("denoise", noisy, *PARAMETERS)
    assert call(*command, "-o", whole)[0] == 0
    options = ("-o", output, "--checkpoint", kept, "--checkpoint-every", "0")
    with break_off(7):
        assert call(*command, *options)[0] == 1
    state, about = checkpoint.read(kept, "checkpoint")
    assert (state["progress.step"], about["task"]) == (6, "denoise")
    first = []
    ask = Stop.__call__

    def noted(self, it):
        first.append(it.step)
        return ask(self, it)

    monkeypatch.setattr(Stop, "__call__", noted)
    assert call(*command, *options)[0] == 0
    assert first[0] == 7
    assert not kept.exists()
    np.testing.assert_array_equal(image_of(output), image_of(whole))
    made = [files.read_header(path).provenance for path in (output, whole)]
    same = ("iterations", "best_iteration", "stopped_by", "warnings", "recipe")
    assert [made[0][key] for key in same] == [made[1][key] for key in same]


@pytest.mark.usefixtures("narrow")
def test_the_input_is_hashed_once(call, noisy, tmp_path, monkeypatch):
    hashed, digest = [], provenance.digest

    def noted(array):
        hashed.append(array.shape)
        return digest(array)

    monkeypatch.setattr(provenance, "digest", noted)
    command = ("denoise", noisy, "-o", tmp_path / "out.tif", *PARAMETERS)
    assert call(*command, "--checkpoint", tmp_path / "kept.safetensors")[0] == 0
    assert hashed == [(16, 20)]


@pytest.mark.usefixtures("narrow")
def test_sigterm_keeps_the_fit_and_the_same_command_goes_on(
    call, noisy, tmp_path, monkeypatch
):
    whole, output = tmp_path / "whole.tif", tmp_path / "out.tif"
    kept = tmp_path / "kept.safetensors"
    command = ("denoise", noisy, *PARAMETERS)
    assert call(*command, "-o", whole)[0] == 0
    ask = Stop.__call__

    def terminated(self, it):
        ask(self, it)
        if it.step == 5:
            signal.raise_signal(signal.SIGTERM)
        return self.asked

    with monkeypatch.context() as patch:
        patch.setattr(Stop, "__call__", terminated)
        command = (*command, "-o", output, "--checkpoint", kept)
        code, _, err = call(*command)
    assert code == 130
    assert "the best image so far was saved" in err
    assert files.read_header(output).provenance["iterations"] == 5
    assert checkpoint.read(kept, "checkpoint")[0]["progress.step"] == 5
    assert call(*command)[0] == 0
    np.testing.assert_array_equal(image_of(output), image_of(whole))
    code, _, err = call(*command)
    assert code == 2
    assert "exists" in err


@pytest.mark.usefixtures("narrow")
def test_a_checkpoint_of_another_fit_is_refused(
    call, noisy, tmp_path, break_off, monkeypatch, write
):
    kept = tmp_path / "kept.safetensors"
    options = ("-o", tmp_path / "out.tif", "--checkpoint", kept)
    command = ("denoise", noisy, *PARAMETERS, *options, "--checkpoint-every", "0")
    with break_off(4):
        assert call(*command)[0] == 1
    content = kept.read_bytes()

    def refused(*command):
        code, out, err = call(*command)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert "kept.safetensors is of another fit (" in err
        assert kept.read_bytes() == content
        return err

    assert "recipe.seed 0, not 3" in refused(*command, "--seed", "3")
    other = refused("enhance", *command[1:])
    assert 'of another fit (task "denoise", not "enhance"); remove it' in other
    with monkeypatch.context() as patch:
        patch.setattr(file_run.provenance, "__version__", "99")
        assert 'version "' in (says := refused(*command))
        assert 'not "99"' in says
    weights = tmp_path / "weights.safetensors"
    other = ("-o", tmp_path / "other.tif", "--save-weights", weights)
    assert call("denoise", noisy, *PARAMETERS, *other)[0] == 0
    assert 'weights null, not "' in refused(*command, "--weights", weights)
    write(noisy, seed=8)
    assert "(inputs.image differs)" in refused(*command)
    kept.write_bytes(content[:-5])
    code, _, err = call(*command)
    assert code == 1
    assert "holds no checkpoint" in err
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", ["out.tif", "out.ome.zarr", "kept.safetensors"])
def test_a_file_of_another_run_is_not_written(call, noisy, tmp_path, name):
    if "zarr" in name:
        pytest.importorskip("zarr")
    folder = tmp_path / "new"
    output = folder / (name if name.startswith("out") else "out.tif")
    command = ("denoise", noisy, "-o", output, "--overwrite", *PARAMETERS)
    command += ("--checkpoint", folder / "kept.safetensors")
    with atomic.claimed([folder / name]):
        code, out, err = call(*command)
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert f"{name} is being written by another run; wait for its end" in err
    assert not list(folder.iterdir())
    folder.rmdir()
    assert call(command[0], tmp_path / "none.tif", *command[2:])[0] == 1
    assert not folder.exists()
    folder.mkdir()
    (folder / f".{name}.run.lock").touch()  # of a run that was killed
    assert call(*command)[0] == 0
    assert list(folder.iterdir()) == [output]


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("kind", ["restarts", "planes"])
def test_a_job_of_several_fits_has_no_weights(call, noisy, tmp_path, kind, write):
    if kind == "planes":
        write(noisy, shape=(2, 16, 20))
    more = ("--restarts", "2") if kind == "restarts" else ()
    options = ("-o", tmp_path / "out.tif", *more)
    options += ("--save-weights", tmp_path / "a.safetensors")
    code, _, err = call("denoise", noisy, *PARAMETERS, *options)
    assert code == 2
    assert "needs a job of a single fit" in err
    assert "this one has 2 fits, for planes" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noisy.tif"]


# -- data sets --------------------------------------------------------------------

FEW = ("--iterations", "6", "--precision", "float32", "--checkpoint-every", "0")


@pytest.fixture
def small_set(small_fits, small_windows, monkeypatch):
    """Make networks and windows small, and windows few."""
    monkeypatch.setattr(windows, "WINDOWS", 2)


@pytest.fixture
def break_at(monkeypatch):
    """Return a context in which a job fails at one of its iterates."""

    @contextmanager
    def at(number, error=MemoryError):
        ask, seen = Stop.__call__, []

        def breaking(self, it):
            seen.append(it)
            if len(seen) == number:
                raise error
            return ask(self, it)

        with monkeypatch.context() as patch:
            patch.setattr(Stop, "__call__", breaking)
            yield seen

    return at


SETS = {
    "planes": ((3, 16, 20), ()),
    "restarts": ((2, 16, 20), ("--restarts", "2")),
    "shared": ((3, 40, 48), ("--share", "yes")),
    "tiles": ((2, 40, 290), ("--share", "yes", "--tile", "192")),
    "tiles of a plane": ((40, 290), ("--share", "no", "--tile", "192")),
}


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize("kind", slow_but(SETS, "shared"))
def test_a_broken_data_set_goes_on_to_the_same_bits(
    call, noisy, tmp_path, break_at, write, monkeypatch, kind
):
    shape, more = SETS[kind]
    write(noisy, shape=shape)
    whole, output = tmp_path / "whole.tif", tmp_path / "out.tif"
    kept = tmp_path / "kept.safetensors"
    command = ("denoise", noisy, "--iterations", "4", *FEW[2:], *more)
    with break_at(0) as seen:
        assert call(*command, "-o", whole)[0] == 0
    total = len(seen)
    command += ("-o", output, "--checkpoint", kept)
    for number, large in ((total // 2, False), (total - 1, False), (total - 1, True)):
        if large:  # read and written region by region
            monkeypatch.setattr(files, "_LARGE", 0)
        with break_at(number):
            assert call(*command)[0] == 1
        assert kept.exists()
        assert not output.exists()
        with break_at(0) as seen:
            assert call(*command)[0] == 0
        assert len(seen) < total
        np.testing.assert_array_equal(image_of(output), image_of(whole))
        names = {"noisy.tif", "whole.tif", "out.tif"}
        assert {path.name for path in tmp_path.iterdir()} == names
        made = [files.read_header(path).provenance for path in (output, whole)]
        same = ("iterations", "stopped_by", "warnings", "recipe", "planes")
        assert [made[0][key] for key in same] == [made[1][key] for key in same]
        output.unlink()


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize("at", [4, 8])
def test_sigterm_keeps_a_data_set(call, noisy, tmp_path, monkeypatch, write, at):
    write(noisy, shape=(3, 40, 48))
    whole, output = tmp_path / "whole.tif", tmp_path / "out.tif"
    command = ("denoise", noisy, "--share", "yes", *FEW[:-2])
    assert call(*command, "-o", whole)[0] == 0
    ask, seen = Stop.__call__, []

    def terminated(self, it):
        ask(self, it)
        seen.append(it)
        if len(seen) == at:
            signal.raise_signal(signal.SIGTERM)
        return self.asked

    command += ("-o", output, "--checkpoint", tmp_path / "kept.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "__call__", terminated)
        assert call(*command)[0] == 130
    assert files.read_header(output).provenance["stopped_by"].endswith("by the user")
    assert call(*command)[0] == 0
    np.testing.assert_array_equal(image_of(output), image_of(whole))
    assert not list(tmp_path.glob("kept*"))


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize("at", [24, 25])
def test_parts_are_written_soon_after_they_are_done(
    call, noisy, tmp_path, break_at, monkeypatch, write, at
):
    write(noisy, shape=(4, 40, 48))
    monkeypatch.setattr(batch_checkpoint, "PAUSE", 0.0)
    kept = tmp_path / "kept.safetensors"
    command = ("denoise", noisy, "-o", tmp_path / "out.tif", *FEW[:-2])
    command += ("--checkpoint", kept)
    if at == 24:  # the last iterate
        with break_at(at):
            assert call(*command)[0] == 1
    else:
        with monkeypatch.context() as patch:
            patch.setattr(files, "write", MemoryError)
            assert call(*command)[0] == 1
    state, _ = checkpoint.read(kept, "checkpoint")
    names = [name for part in state["parts"] for name in part["names"]]
    assert names == [f"plane {n}, block 0" for n in range(at - 21)]


@pytest.mark.usefixtures("small_set")
def test_parts_that_are_gone_or_damaged_are_told(
    call, noisy, tmp_path, break_at, write
):
    write(noisy, shape=(3, 16, 20))
    kept, beside = (tmp_path / f"kept.safetensors{end}" for end in ("", ".0"))
    command = ("denoise", noisy, "-o", tmp_path / "out.tif", *FEW)
    command += ("--checkpoint", kept)
    with break_at(8):
        assert call(*command)[0] == 1
    content = beside.read_bytes()
    beside.write_bytes(content[:-9])
    code, _, err = call(*command)
    assert code == 1
    assert "kept.safetensors.0 holds no parts of napari-dip" in err
    beside.unlink()
    code, _, err = call(*command)
    assert (code, err.count("\n")) == (1, 1)
    assert "kept.safetensors.0" in err
    beside.write_bytes(content)
    assert call(*command)[0] == 0


@pytest.mark.usefixtures("small_set")
def test_parts_of_a_checkpoint_that_never_named_them_are_removed(
    call, noisy, tmp_path, write
):
    write(noisy, shape=(2, 16, 20))
    kept = tmp_path / "kept.safetensors"
    for number in (0, 1):
        left = tmp_path / f"kept.safetensors.{number}"
        checkpoint.write(left, "parts", {}, {"parts": []})
    command = ("denoise", noisy, "-o", tmp_path / "out.tif", *FEW)
    assert call(*command, "--checkpoint", kept)[0] == 0
    assert not list(tmp_path.glob("kept*"))


@pytest.mark.parametrize("number", [0, 3])
def test_files_with_the_names_of_parts_are_not_removed(tmp_path, number):
    path = tmp_path / "kept.safetensors"
    other = tmp_path / f"kept.safetensors.{number}"
    other.write_text("precious")
    says = f"keeps parts in files such as {other.name}; that is a file of another kind"
    with pytest.raises(InputError, match=says):
        batch_checkpoint.Parts(path, {})
    assert other.read_text() == "precious"
    other.rename(tmp_path / "kept.safetensors.old")
    parts = batch_checkpoint.Parts(path, {})
    parts[JOB] = {}
    parts.write()
    other.write_text("precious")
    parts.remove()
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == sorted([other.name, "kept.safetensors.old"])


@pytest.mark.usefixtures("small_set")
def test_a_python_function_takes_parts_in_files(tmp_path):
    stack = np.random.default_rng(0).normal(50, 5, (3, 16, 20)).astype(np.float32)
    options = {"iterations": 6, "device": "cpu", "precision": "float32"}
    whole, path = napari_dip.denoise(stack, **options), tmp_path / "kept.safetensors"

    def broken(it):
        it.checkpoint()
        parts.write()
        if (it.part, it.step) == (1, 4):
            raise MemoryError

    parts = batch_checkpoint.Parts(path, {})
    with pytest.raises(MemoryError):
        napari_dip.denoise(stack, state=parts, callback=broken, **options)
    steps, parts = [], batch_checkpoint.Parts(path, {})
    again = napari_dip.denoise(
        stack, state=parts, callback=lambda it: steps.append(it.step), **options
    )
    assert steps == [5, 6, 1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(again, whole)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--checkpoint", "a.tif"), "checkpoint must end in .safetensors"),
        (("--save-weights", "a"), "save-weights must end in .safetensors"),
        (("--checkpoint-every", "-1"), "checkpoint-every must be 0 or more"),
        (("--weights", "absent.safetensors"), "absent.safetensors"),
    ],
)
def test_wrong_options(call, noisy, tmp_path, options, says):
    code, _, err = call("denoise", noisy, "-o", tmp_path / "out.tif", *options)
    assert code in (1, 2)
    assert says in err
    assert not (tmp_path / "out.tif").exists()


def test_files_that_are_of_no_checkpoint_or_of_another(tmp_path):
    about = {"task": "denoise"}
    path = tmp_path / "kept.safetensors"
    checkpoint.write(path, "checkpoint", {}, about)
    with pytest.raises(FileError, match="holds no checkpoint of this version"):
        batch_checkpoint.Parts(path, about)
    path.unlink()
    parts = batch_checkpoint.Parts(path, about)
    parts[JOB] = {}
    parts["plane 0"] = {"image": torch.zeros(2)}
    parts.write()
    other = {"task": "inpaint"}
    names = {"parts": ["plane 0"], "checkpoint": other}
    beside = path.with_name(f"{path.name}.0")
    checkpoint.write(beside, "parts", {}, names, overwrite=True)
    parts = batch_checkpoint.Parts(path, about)
    with pytest.raises(FileError, match="is of another checkpoint than"):
        parts["plane 0"]
    with pytest.raises(TypeError, match=r"kept.* keeps all parts .* got 'plane 0'"):
        del parts["plane 0"]
    assert list(parts) == [JOB, "plane 0"]


@pytest.mark.parametrize("option", ["save-weights", "checkpoint"])
def test_such_a_file_is_of_one_input(call, noisy, tmp_path, option):
    kept = (f"--{option}", tmp_path / "a.safetensors")
    code, _, err = call("denoise", noisy, noisy, "-o", tmp_path / "out", *kept)
    assert (code, f"{option} is of one input; got 2" in err) == (2, True)


# -- weights ----------------------------------------------------------------------


@pytest.mark.usefixtures("narrow")
def test_weights_are_saved_and_used(call, noisy, tmp_path, write):
    path = tmp_path / "kept.safetensors"
    first = ("denoise", noisy, "-o", tmp_path / "first.tif", *PARAMETERS)
    assert call(*first, "--save-weights", path)[0] == 0
    weights, about = checkpoint.read(path, "weights")
    assert about["recipe"]["iterations"] == 12
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    write(tmp_path / "next.tif", seed=1)
    command = ("denoise", tmp_path / "next.tif", *PARAMETERS)
    assert call(*command, "-o", tmp_path / "cold.tif")[0] == 0
    warm = (*command, "-o", tmp_path / "warm.tif", "--weights", path)
    assert call(*warm)[0] == 0
    made = files.read_header(tmp_path / "warm.tif").provenance["planes"][0]
    assert made["began from weights"] == digest(weights)
    assert (image_of(tmp_path / "warm.tif") != image_of(tmp_path / "cold.tif")).any()
    again = ("replay", tmp_path / "warm.tif", tmp_path / "next.tif", "-o")
    code, _, err = call(*again, tmp_path / "again.tif")
    assert code == 2
    needed = f"made with (--weights), of the SHA-256 {digest(weights)}; got none"
    assert f"weights must be those that the result was {needed}" in err
    assert call(*again, tmp_path / "again.tif", "--weights", path)[0] == 0
    np.testing.assert_array_equal(
        image_of(tmp_path / "again.tif"), image_of(tmp_path / "warm.tif")
    )
    without = ("replay", tmp_path / "cold.tif", tmp_path / "next.tif", "-o")
    code, _, err = call(*without, tmp_path / "other.tif", "--weights", path)
    assert code == 2
    assert "weights must not be given (--weights): the result was made without" in err
    code, _, err = call(*first[:3], tmp_path / "b.tif", "--save-weights", path)
    assert code == 2
    assert "exists" in err


@pytest.mark.usefixtures("small_set")
def test_networks_that_planes_share_are_saved(call, noisy, tmp_path, write):
    write(noisy, shape=(3, 40, 48))
    path, more = tmp_path / "kept.safetensors", ("--share", "yes", *PARAMETERS)
    first = ("denoise", noisy, "-o", tmp_path / "first.tif", *more)
    assert call(*first, "--save-weights", path)[0] == 0
    write(tmp_path / "next.tif", seed=1, shape=(40, 48))
    again = ("denoise", tmp_path / "next.tif", "-o", tmp_path / "second.tif")
    assert call(*again, *PARAMETERS, "--weights", path)[0] == 0
    made = files.read_header(tmp_path / "second.tif").provenance
    assert made["iterations"] == 0
    weights, _ = checkpoint.read(path, "weights")
    assert [plane["shared weights"] for plane in made["planes"]] == [digest(weights)]


@pytest.mark.usefixtures("narrow")
def test_weights_of_another_network_are_refused(call, noisy, tmp_path, write):
    path = tmp_path / "kept.safetensors"
    command = ("denoise", noisy, "-o", tmp_path / "a.tif", *PARAMETERS)
    assert call(*command, "--save-weights", path)[0] == 0
    colours = np.random.default_rng(0).random((16, 20, 3), np.float32)
    files.write(tmp_path / "colours.tif", colours)
    command = ("denoise", tmp_path / "colours.tif", "-o", tmp_path / "b.tif")
    code, _, err = call(*command, *PARAMETERS, "--weights", path)
    assert code == 2
    assert "error: weights: must be those of such a network; got those of " in err


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
def test_a_batch_begins_from_weights(call, folder, noisy, tmp_path):
    path = tmp_path / "kept.safetensors"
    command = ("denoise", noisy, "-o", tmp_path / "a.tif", *PARAMETERS)
    assert call(*command, "--save-weights", path)[0] == 0
    command = ("batch", "denoise", folder, "-o", tmp_path / "out", *PARAMETERS)
    assert call(*command, "--weights", path)[2].endswith("3 images: 3 done\n")
    made = files.read_header(tmp_path / "out" / "0.tif").provenance["planes"][0]
    assert made["began from weights"]
    assert call(*command, "--weights", path)[2].endswith("3 done before\n")
    assert call(*command)[2].endswith("3 images: 3 done\n")


# -- kill -9 ----------------------------------------------------------------------

KILLED = """
import os, random, signal, sys
import torch
torch.set_num_threads(1)
from napari_dip import cli
from napari_dip.batch.checkpoint import Kept

step, place = int(sys.argv.pop(1)), sys.argv.pop(1)
see, replace = Kept.see, os.replace
count = 0

def killed(self, it, stopping):
    global count
    count += 1
    if place == "iteration" and count == step:
        os.kill(os.getpid(), signal.SIGKILL)
    return see(self, it, stopping)

def while_writing(source, target):
    if place == "writing" and count == step:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

Kept.see, os.replace = killed, while_writing
sys.exit(cli.main())
"""


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.parametrize("task", ["denoise", "inpaint"])
def test_a_fit_that_is_killed_again_and_again(call, tmp_path, write, task):
    """Also while a checkpoint is written, and at the half resolution of the start."""
    write(tmp_path / "noisy.tif", shape=(64, 64))
    mask = np.zeros((64, 64), np.uint8)
    mask[10:20, 10:20] = 1
    files.write(tmp_path / "mask.png", mask)
    whole, output = tmp_path / "whole.tif", tmp_path / "out.tif"
    command = [task, tmp_path / "noisy.tif", "--iterations", "30"]
    command += ["--mask", tmp_path / "mask.png"] if task == "inpaint" else []
    assert call(*command, "-o", whole)[0] == 0
    kept = tmp_path / "kept.safetensors"
    command += ["-o", output, "--checkpoint", kept, "--checkpoint-every", "0"]
    program = [sys.executable, "-c", KILLED]
    draw = random.Random(0)
    kills = 0
    for _ in range(30):
        step, place = draw.randint(2, 40), draw.choice(["iteration", "writing"])
        arguments = [*program, str(step), place, *map(str, command)]
        code = subprocess.run(arguments, check=False, capture_output=True).returncode
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert not output.exists()
        kills += 1
    assert kills > 1
    np.testing.assert_array_equal(image_of(output), image_of(whole))
