"""Files in, files out, one line on stdout, and an exit code that tells the truth."""

import contextlib
import dataclasses
import errno
import gc
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import ClassVar

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as Pillow

import napari_dip
from napari_dip import cli
from napari_dip.batch.stop import Stop
from napari_dip.cli import commands
from napari_dip.cli.options import local_paths
from napari_dip.io import files
from napari_dip.io.image import Header, Image
from napari_dip.prior.stopping import Iterations
from napari_dip.tasks import denoise, presets
from napari_dip.tasks.denoise import DenoiseRecipe
from napari_dip.tasks.finishing import Finish
from napari_dip.tasks.recipe import parameter
from napari_dip.tasks.task import Task

SHORT = ("--iterations", "3", "--precision", "float32")


@pytest.fixture(autouse=True)
def short(small_fits):
    """Keep fits short: the files are judged here, not the images."""


@pytest.fixture
def noisy(tmp_path):
    """Return a small gray TIFF of float32."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] / 32
    image = (100 * (x > y) + rng.normal(0, 10, x.shape)).astype(np.float32)
    files.write(tmp_path / "noisy.tif", image)
    return tmp_path / "noisy.tif"


def refused(result, code, says):
    assert result[0] == code
    assert result[1] == ""
    assert result[2].startswith("napari-dip: error: ")
    assert result[2].count("\n") == 1
    assert says in result[2]


# -- tasks ------------------------------------------------------------------------


def test_denoise_is_the_function_on_a_file(call, noisy, tmp_path):
    output = tmp_path / "clean.ome.tif"
    code, out, err = call("denoise", noisy, "-o", output, *SHORT, "--quiet")
    assert (code, out, err) == (0, "", "")
    image = files.read(noisy).data
    expected = napari_dip.denoise(
        image, iterations=3, precision="float32", channel_axis=None
    )
    result = files.read(output)
    np.testing.assert_array_equal(result.data, expected)
    assert result.data.dtype == np.float32
    made = result.header.provenance
    assert made["recipe"]["iterations"] == 3
    assert made["inputs"]["image"]["file"] == "noisy.tif"
    assert made["stopped_by"] == "the maximum of 3 iterations"


def test_planes_that_are_no_colours(call, tmp_path):
    stack = np.random.default_rng(0).integers(0, 255, (4, 32, 32), dtype="u1")
    with pytest.warns(DeprecationWarning, match="stored as RGB"):
        tifffile.imwrite(tmp_path / "a.tif", stack)
    for output, options, axes in (
        ("colours.tif", (), "YXS"),
        ("planes.tif", ("--channel-axis", "none"), "ZYX"),
    ):
        command = "denoise", tmp_path / "a.tif", "-o", tmp_path / output
        code, _, err = call(*command, *SHORT, *options)
        assert code == 0
        assert "calls its 4 planes colours and opacity" in err
        assert files.read_header(tmp_path / output).axes == axes
    assert files.read_header(tmp_path / "planes.tif").shape == stack.shape


def test_one_line_on_stdout(call, noisy, tmp_path):
    code, out, err = call("denoise", noisy, "-o", tmp_path / "clean.tif", *SHORT)
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    assert "clean.tif: 3 iterations" in out


# Every run is a fork of this process, which imports once what all runs need. It ends as
# an interpreter does, which looks at all objects that are not frozen.
UNREAD = """
import gc, json, os, runpy, sys, tempfile
import rich, tifffile
import napari_dip.cli.commands, napari_dip.io.files
gc.collect()
gc.freeze()
for line in sys.stdin:
    told, sys.argv[1:] = json.loads(line)
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if not child:
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, 1)
            os.dup2(errors.fileno() if told else writer, 2)
            sys.exit(runpy.run_module("napari_dip", run_name="__main__"))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        errors.seek(0)
        print(json.dumps([code, errors.read().decode()]), flush=True)
"""


@pytest.fixture(scope="module")
def unread():
    """Return a function that runs the module with a pipe closed that it writes to.

    It returns the exit code and what was written to stderr, if that is no such pipe.
    """
    with subprocess.Popen(
        [sys.executable, "-c", UNREAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def run(*arguments, stderr):
            print(json.dumps([stderr, [*map(str, arguments)]]), file=process.stdin)
            process.stdin.flush()
            return tuple(json.loads(process.stdout.readline()))

        yield run


@pytest.mark.skipif(os.name != "posix", reason="no SIGPIPE here")
@pytest.mark.parametrize(
    "arguments", [("info", "FILE"), ("info", "FILE", "--json"), ("--help",)]
)
def test_closed_standard_output_ends_without_a_word(unread, noisy, arguments):
    arguments = [noisy if part == "FILE" else part for part in arguments]
    assert unread(*arguments, stderr=True) == (141, "")


@pytest.mark.skipif(os.name != "posix", reason="no SIGPIPE here")
def test_closed_standard_error_changes_no_exit_code(unread, tmp_path):
    assert unread("info", tmp_path / "none.tif", stderr=False)[0] == 1
    assert unread("nonsense", stderr=False)[0] == 2


@pytest.mark.skipif(os.name != "posix", reason="no SIGPIPE here")
def test_nothing_is_lost_where_nobody_reads(unread, noisy, tmp_path):
    output = tmp_path / "clean.tif"
    assert unread("denoise", noisy, "-o", output, *SHORT, stderr=True) == (141, "")
    assert files.read(output).data.shape == (32, 32)


def test_json(call, noisy, tmp_path):
    output = tmp_path / "clean.tif"
    _, out, _ = call("denoise", noisy, "-o", output, *SHORT, "--json", "--quiet")
    told = json.loads(out)
    assert told["output"] == str(output)
    assert (told["shape"], told["dtype"]) == ([32, 32], "float32")
    assert told["provenance"] == files.read_header(output).provenance


def test_photographs_come_back_as_such(call, tmp_path):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (32, 40, 3), np.uint8)
    files.write(tmp_path / "photo.png", colours)
    code, *_ = call(
        "denoise", tmp_path / "photo.png", "-o", tmp_path / "clean.png", *SHORT
    )
    assert code == 0
    result = files.read(tmp_path / "clean.png")
    assert result.data.dtype == np.uint8
    assert result.header.provenance["recipe"]["channel_axis"] == 2


@pytest.mark.parametrize(
    ("axes", "shape", "options", "axis"),
    [
        ("CYX", (2, 32, 32), (), 0),
        ("ZCYX", (2, 3, 32, 32), (), 1),
        ("ZYX", (3, 32, 32), (), None),
        ("CYX", (2, 32, 32), ("--channel-axis", "none"), None),
        ("ZYX", (3, 32, 32), ("--channel-axis", "-3"), -3),
    ],
)
def test_channels_are_where_the_file_says(call, tmp_path, axes, shape, options, axis):
    source, output = tmp_path / "in.tif", tmp_path / "out.ome.tif"
    data = np.random.default_rng(0).random(shape, np.float32)
    tifffile.imwrite(source, data, imagej=True, metadata={"axes": axes})
    code, *_ = call("denoise", source, "-o", output, *SHORT, *options)
    assert code == 0
    result = files.read_header(output)
    assert (result.axes, result.shape) == (axes, shape)
    assert result.provenance["recipe"]["channel_axis"] == axis


def test_type_of_the_input_on_request(call, tmp_path):
    source, output = tmp_path / "in.tif", tmp_path / "out.tif"
    files.write(source, np.random.default_rng(0).integers(0, 999, (32, 32), np.uint16))
    assert call("denoise", source, "-o", output, *SHORT)[0] == 0
    assert files.read_header(output).dtype == np.float32
    options = ("--dtype", "input", "--overwrite")
    assert call("denoise", source, "-o", output, *SHORT, *options)[0] == 0
    assert files.read_header(output).dtype == np.uint16


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", ["tif", "ome.tif"])
def test_colours_of_a_tiff_come_back_as_such(call, tmp_path, dtype, ending):
    colours = np.random.default_rng(0).integers(0, 255, (32, 40, 3), dtype)
    source, output = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
    tifffile.imwrite(source, colours, photometric="rgb")
    assert call("denoise", source, "-o", output, *SHORT)[0] == 0
    assert files.read_header(output).dtype == dtype
    with tifffile.TiffFile(output) as tif:
        page = tif.pages[0]
        assert (page.photometric.name, page.planarconfig.name) == ("RGB", "CONTIG")
    if dtype == np.uint8:
        with Pillow.open(output) as image:
            assert (image.mode, image.size) == ("RGB", (40, 32))


@pytest.mark.parametrize("ending", ["tif", "png", "ome.tif"])
def test_opacity_comes_back_as_it_came(call, tmp_path, ending):
    rng = np.random.default_rng(0)
    colours, alpha = rng.integers(0, 255, (2, 32, 40, 3), np.uint8)
    rgba = np.dstack([colours, alpha[..., 0]])
    Pillow.fromarray(rgba).save(tmp_path / "in.tif")
    output = tmp_path / f"out.{ending}"
    assert call("denoise", tmp_path / "in.tif", "-o", output, *SHORT)[0] == 0
    result = files.read(output)
    np.testing.assert_array_equal(result.alpha, rgba[..., 3])
    assert result.data.shape == (32, 40, 3)


def test_what_a_file_does_not_keep_is_said(call, tmp_path):
    data = np.random.default_rng(0).integers(0, 255, (32, 40), np.uint8)
    metadata = {"axes": "YX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1}
    tifffile.imwrite(tmp_path / "in.ome.tif", data, metadata=metadata)
    options = (*SHORT, "--dtype", "input")
    command = ("denoise", tmp_path / "in.ome.tif", "-o", tmp_path / "out.png")
    code, _, err = call(*command, *options)
    assert code == 0
    assert "warning: a PNG has no place for the scale of Y (0.1 µm)" in err


def store(path, data):
    """Write an OME-Zarr of five axes."""
    header = Header("", data.shape, data.dtype, "TCZYX")
    files.write(path, data, Image(data, header))
    return path


def test_mask_and_psf_may_have_axes_of_one_element(call, noisy, tmp_path):
    pytest.importorskip("zarr")
    mask = np.zeros((1, 1, 1, 32, 32), np.uint8)
    mask[..., 8:12, 8:12] = 1
    path = store(tmp_path / "mask.ome.zarr", mask)
    output = tmp_path / "filled.tif"
    assert call("inpaint", noisy, "--mask", path, "-o", output, *SHORT)[0] == 0
    psf = store(tmp_path / "psf.ome.zarr", np.ones((1, 1, 1, 3, 3), np.float32))
    output = tmp_path / "sharp.tif"
    assert call("deconvolve", noisy, "--psf", psf, "-o", output, *SHORT)[0] == 0
    assert files.read(output).data.shape == (32, 32)


def test_image_may_have_axes_of_one_element(call, tmp_path):
    pytest.importorskip("zarr")
    rng = np.random.default_rng(0)
    image = store(tmp_path / "image.ome.zarr", rng.random((1, 1, 3, 32, 32), "f4"))
    mask = np.zeros((3, 32, 32), np.uint8)
    mask[1:, 8:12, 8:12] = 1
    mask[0, 20:24, 8:12] = 1
    files.write(tmp_path / "mask.tif", mask)
    output = tmp_path / "filled.ome.zarr"
    command = ("inpaint", image, "--mask", tmp_path / "mask.tif", "-o", output)
    assert call(*command, *SHORT)[0] == 0
    filled, known = files.read(output).data[0, 0], files.read(image).data[0, 0]
    np.testing.assert_array_equal(filled != known, mask == 1)


def test_mask_painted_on_a_transparent_layer(call, noisy, tmp_path):
    painted = np.zeros((32, 32), np.uint8)
    painted[8:12, 8:12] = 255
    layer = np.dstack([painted * 0] * 3 + [painted])
    Pillow.fromarray(layer).save(tmp_path / "mask.png")
    output = tmp_path / "filled.tif"
    command = ("inpaint", noisy, "--mask", tmp_path / "mask.png", "-o", output)
    code, _, err = call(*command, *SHORT)
    assert code == 0
    assert "warning: mask.png: 1.6% of the pixels are marked" in err
    changed = files.read(output).data != files.read(noisy).data
    np.testing.assert_array_equal(changed, painted > 0)


def test_several_files_of_which_some_are_bad(call, noisy, tmp_path):
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    files.write(tmp_path / "empty.tif", np.full((32, 32), np.inf, np.float32))
    names = ["broken.tif", "noisy.tif", "empty.tif", "absent.tif", "other.tif"]
    (tmp_path / "other.tif").write_bytes(noisy.read_bytes())
    folder = tmp_path / "results"
    inputs = [tmp_path / name for name in names]
    code, out, err = call("denoise", *inputs, "-o", folder, *SHORT)
    assert code == 1
    assert out.count("\n") == 2
    assert sorted(p.name for p in folder.iterdir()) == ["noisy.tif", "other.tif"]
    errors = [line for line in err.splitlines() if "error: " in line]
    for line, name in zip(
        errors, ["broken.tif", "empty.tif", "absent.tif"], strict=True
    ):
        assert line.count(name) == 1
    assert err.endswith("3 of 5 files failed; the others are done\n")


def test_several_files_into_a_new_folder(call, noisy, tmp_path):
    other = tmp_path / "other.tif"
    other.write_bytes(noisy.read_bytes())
    folder = tmp_path / "results" / "today"
    code, out, _ = call("denoise", noisy, other, "-o", folder, *SHORT)
    assert code == 0
    assert out.count("\n") == 2
    assert sorted(p.name for p in folder.iterdir()) == ["noisy.tif", "other.tif"]


@pytest.mark.parametrize("name", ["one.png", "one.ome.tif"])
def test_several_files_into_one(call, noisy, tmp_path, name):
    output = tmp_path / name
    refused(call("denoise", noisy, noisy, "-o", output), 2, "must be a folder")
    assert not output.exists()
    output.mkdir()
    assert call("denoise", noisy, "-o", output, *SHORT)[0] == 0
    assert (output / noisy.name).is_file()


def test_the_help_says_which_names_become_folders(call, noisy, tmp_path):
    text = " ".join(call("denoise", "--help")[1].replace("│", " ").split())
    assert "Several inputs go to a folder whose new name may have any ending" in text
    other = tmp_path / "other.tif"
    other.write_bytes(noisy.read_bytes())
    code, _, _ = call("denoise", noisy, other, "-o", tmp_path / "day.1", *SHORT)
    assert (code, len(list((tmp_path / "day.1").iterdir()))) == (0, 2)


def test_every_parameter_is_an_option(call):
    code, out, _ = call("denoise", "--help")
    assert code == 0
    for p in DenoiseRecipe.parameters():
        assert f"--{p.name.replace('_', '-')}" in out
    assert "Advanced parameters" in out


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedRecipe(DenoiseRecipe):
    """Of a task that there is not, with a second array and a switch."""

    task: ClassVar[str] = "denoise_masked"
    keep_known: bool = parameter(True, "Leave pixels alone.")


def test_new_task_needs_no_code_here(call, noisy, tmp_path, monkeypatch):
    seen = []

    def make_job(recipe, image, mask):
        seen.append((recipe.keep_known, mask.tolist()))
        return denoise.TASK.job(recipe, image)

    monkeypatch.setitem(presets.TABLES, "denoise_masked", presets.DENOISE)
    arrays = {"image": "An image.", "mask": "Another."}
    task = Task(MaskedRecipe, arrays, make_job, "Do something.")
    monkeypatch.setattr(commands, "TASKS", {"denoise_masked": ""})
    monkeypatch.setattr(commands, "get", lambda name: task)
    mask, output = tmp_path / "mask.png", tmp_path / "out.tif"
    files.write(mask, np.eye(32, dtype=np.uint8))
    arguments = ("denoise-masked", noisy, "-o", output, *SHORT)
    refused(call(*arguments), 2, "--mask")
    assert call(*arguments, "--mask", mask, "--no-keep-known")[0] == 0
    assert call("replay", output, noisy, mask, "-o", tmp_path / "again.tif")[0] == 0
    assert seen == [(False, np.eye(32).tolist())] * 2
    made = files.read_header(output).provenance
    assert made["inputs"]["mask"]["file"] == "mask.png"


# -- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.full((32, 32), np.inf, np.float32), "must be finite"),
        (np.full((32, 32), np.nan, np.float32), "known pixels"),
        (np.zeros((8, 32), np.float32), "at least 16 pixels"),
    ],
)
def test_images_that_cannot_be_restored(call, tmp_path, data, says):
    source, output = tmp_path / "in.tif", tmp_path / "out.tif"
    tifffile.imwrite(source, data)
    refused(call("denoise", source, "-o", output, *SHORT, "--quiet"), 2, says)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--preset", "nonsense"), "preset must be fast, best or paper"),
        (("--iterations", "0"), "iterations must be auto or an integer"),
        (("--iterations", "many"), "got 'many'"),
        (("--sigma", "-1"), "sigma must be a finite number of 0 or more"),
        (("--channel-axis", "5"), "channel_axis must be from -2 to 1"),
        (("--device", "abacus"), "device must be auto, cpu, cuda"),
        (("--nonsense", "1"), "--nonsense"),
        (("--seed",), "--seed"),
    ],
)
def test_wrong_options(call, noisy, tmp_path, options, says):
    output = tmp_path / "out.tif"
    refused(call("denoise", noisy, "-o", output, "--quiet", *options), 2, says)
    assert list(tmp_path.iterdir()) == [noisy]


def test_wrong_commands(call, noisy):
    refused(call("nonsense"), 2, "nonsense")
    refused(call("denoise", noisy), 2, "--output")
    refused(call("denoise", "-o", "out.tif"), 2, "needs an input file")
    refused(call("info"), 2, "FILE or --system")


def test_files_that_cannot_be_read(call, tmp_path):
    output = tmp_path / "out.tif"
    (tmp_path / "empty.tif").touch()
    (tmp_path / "broken.tif").write_bytes(b"II*\0 nothing of the kind")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "array.npy").write_bytes(b"\x93NUMPY")
    tifffile.imwrite(tmp_path / "complex.tif", np.zeros((32, 32), np.complex64))
    for name, says in (
        ("nonesuch.tif", "No such file"),
        ("empty.tif", "is empty"),
        ("broken.tif", "broken.tif"),
        ("broken.png", "broken.png"),
        ("array.npy", "accepted are"),
        ("complex.tif", "complex64, which are not an image"),
    ):
        refused(call("denoise", tmp_path / name, "-o", output), 1, says)
        assert not output.exists()


def test_outputs_that_cannot_be_written(call, noisy, tmp_path):
    output = tmp_path / "out.tif"
    output.write_text("precious")
    refused(call("denoise", noisy, "-o", output), 2, "exists")
    assert output.read_text() == "precious"
    before = noisy.read_bytes()
    for name in (noisy, tmp_path):  # by name, and by its folder
        again = call("denoise", noisy, "-o", name, "--overwrite")
        refused(again, 2, "must not be one of the inputs")
    assert noisy.read_bytes() == before
    refused(call("denoise", noisy, "-o", tmp_path / "out.jpg"), 2, "must end in")
    refused(call("denoise", noisy, "-o", tmp_path / "out.png"), 2, "8 or 16 bits")
    same = call("denoise", noisy, noisy, "-o", tmp_path / "folder")
    refused(same, 2, f"a result of the same name, {tmp_path / 'folder' / noisy.name}")
    refused(call("denoise", noisy, noisy, "-o", output), 2, "must be a folder")


def test_folder_in_place_of_a_file_is_refused_before_the_fit(call, noisy, tmp_path):
    output = tmp_path / "out.tif"
    again = ("denoise", noisy, "-o", output, "--overwrite")
    for name in ("save-weights", "checkpoint"):
        folder = tmp_path / f"{name}.safetensors"
        folder.mkdir()
        result = call(*again, f"--{name}", folder)
        refused(result, 2, f"{name} must be a file; got the folder")
    store = tmp_path / "a.zarr"
    store.mkdir()
    (store / "notes.txt").write_text("precious")
    result = call(*again, "--uncertainty", store)
    refused(result, 2, "uncertainty must be a new folder or a Zarr store; got")
    for options in ((), ("--overwrite",)):
        result = call("denoise", noisy, "-o", store, *options)
        refused(result, 2, "output must be a new folder or a Zarr store; got")
    assert not output.exists()
    table = tmp_path / "a.csv"
    table.mkdir()
    result = call("noise-impedance", noisy, "-o", table, "--overwrite")
    refused(result, 2, "output must be a file; got the folder")


def test_a_folder_for_results_is_offered_where_it_is_taken(call, tmp_path):
    commands = {"denoise": True, "replay": True, "sample-prior": False}
    commands |= {"psf microscope": False, "psf beads": False}
    for command, taken in commands.items():
        code, text, _ = call(*command.split(), "--help")
        assert code == 0
        assert ("or a folder" in " ".join(text.replace("│", " ").split())) == taken
    result = call("sample-prior", "-o", tmp_path / "new")
    refused(result, 2, "output must end in .ome.tif")


@pytest.mark.parametrize("name", ["[1] cells.tif", "[1].tif", "{a}.tif"])
def test_names_that_look_like_json(call, noisy, tmp_path, name):
    path, output = tmp_path / name, tmp_path / "out"
    path.write_bytes(noisy.read_bytes())
    with contextlib.chdir(tmp_path):
        assert call("denoise", name, "-o", "out", *SHORT, "--quiet")[0] == 0
        assert call("replay", output / name, name, "-o", "again.tif")[0] == 0
        batch = call("batch", "denoise", name, "-o", "batch", *SHORT, "--quiet")
    assert batch == (0, "", "")
    assert (tmp_path / "batch" / name).exists()


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_links_in_a_circle(call, noisy, tmp_path):
    link = tmp_path / "link.tif"
    link.symlink_to(link)
    read = call("denoise", link, "-o", tmp_path / "out.tif")
    refused(read, 1, f"{link} cannot be read: Too many levels of symbolic links")
    refused(call("denoise", noisy, "-o", link), 2, "exists")
    code, _, err = call("batch", "denoise", tmp_path, "-o", tmp_path / "out", *SHORT)
    assert code == 1
    assert err.endswith("2 images: 1 done, 1 failed\n")
    assert call("denoise", noisy, "-o", link, "--overwrite", *SHORT)[0] == 0
    assert not link.is_symlink()


@pytest.mark.skipif(os.name != "posix", reason="makes links")
@pytest.mark.parametrize("ending", [".tif", ".ome.zarr"])
def test_an_output_that_is_a_link(call, noisy, tmp_path, ending):
    (tmp_path / "disk").mkdir()
    link, target = tmp_path / f"link{ending}", tmp_path / "disk" / f"real{ending}"
    files.write(target, np.zeros((4, 4), np.float32))
    link.symlink_to(target)
    refused(call("denoise", noisy, "-o", link), 2, f"{link} exists")
    assert call("denoise", noisy, "-o", link, "--overwrite", *SHORT)[0] == 0
    assert link.is_symlink()
    assert files.read(target).data.shape == (32, 32)


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_a_checkpoint_behind_a_link_is_removed(call, noisy, tmp_path):
    (tmp_path / "disk").mkdir()
    link, target = tmp_path / "c.safetensors", tmp_path / "disk" / "c.safetensors"
    link.symlink_to(target)
    arguments = ("--checkpoint", link, "--checkpoint-every", "0", *SHORT)
    code, _, err = call("denoise", noisy, "-o", tmp_path / "out.tif", *arguments)
    assert (code, err) == (0, "")
    assert list((tmp_path / "disk").iterdir()) == []


def test_failure_while_writing_leaves_no_file(call, noisy, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = call("denoise", noisy, "-o", tmp_path / "out.tif", *SHORT, "--quiet")
    refused(result, 1, "No space left on device")
    assert list(tmp_path.iterdir()) == [noisy]


def test_error_without_a_text(call, noisy, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr(files, "read_header", fail)
    result = call("denoise", noisy, "-o", tmp_path / "out.tif")
    assert result == (1, "", "napari-dip: error: not enough memory\n")


# -- the other commands -----------------------------------------------------------


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_process_without_a_stream(call, noisy, tmp_path, monkeypatch, name):
    monkeypatch.setattr(sys, name, None)
    assert call("denoise", noisy, "-o", tmp_path / "out.tif", *SHORT)[0] == 0
    assert call("info", tmp_path / "out.tif", "--json")[0] == 0
    assert call("info", tmp_path / "gone.tif")[0] == 1


def test_info(call, noisy, tmp_path):
    code, out, _ = call("info", noisy)
    assert code == 0
    assert "shape: 32, 32" in out
    assert "provenance" not in out
    call("denoise", noisy, "-o", tmp_path / "clean.tif", *SHORT)
    _, out, _ = call("info", tmp_path / "clean.tif")
    assert "stopped_by: the maximum of 3 iterations" in out
    _, out, _ = call("info", tmp_path / "clean.tif", "--json")
    assert json.loads(out)["provenance"]["task"] == "denoise"
    _, out, _ = call("info", "--system", "--json")
    assert json.loads(out)["napari-dip"] == napari_dip.__version__
    refused(call("info", tmp_path / "nonesuch.tif"), 1, "No such file")


@pytest.mark.parametrize("ending", ["tif", "ome.tif", "png"])
def test_replay_gives_the_same_bits(call, tmp_path, ending):
    source = tmp_path / "in.png"
    files.write(source, np.random.default_rng(0).integers(0, 255, (32, 32), np.uint8))
    first, again = tmp_path / f"first.{ending}", tmp_path / f"again.{ending}"
    call("denoise", source, "-o", first, *SHORT, "--seed", "7", "--noise", "gaussian")
    assert call("replay", first, source, "-o", again)[0] == 0
    np.testing.assert_array_equal(files.read(again).data, files.read(first).data)
    recipes = [files.read_header(p).provenance["recipe"] for p in (first, again)]
    assert recipes[0] == recipes[1]
    assert recipes[0]["seed"] == 7


def test_replay_on_an_image_of_other_kind(call, noisy, tmp_path):
    source = tmp_path / "in.png"
    rng = np.random.default_rng(0)
    files.write(source, rng.integers(0, 255, (32, 32, 3), np.uint8))
    call("denoise", source, "-o", tmp_path / "first.png", *SHORT)
    output = tmp_path / "again.tif"
    assert call("replay", tmp_path / "first.png", noisy, "-o", output)[0] == 0
    result = files.read_header(output)
    assert (result.shape, result.dtype) == ((32, 32), np.float32)


def test_replay_needs_a_result(call, noisy, tmp_path):
    output = tmp_path / "out.tif"
    refused(call("replay", noisy, noisy, "-o", output), 2, "how it was made")
    call("denoise", noisy, "-o", output, *SHORT)
    wrong = call("replay", output, "-o", tmp_path / "again.tif")
    says = f"needs after the result the file of the image (it was {noisy.name}); got 0"
    refused(wrong, 2, says)


def test_open(call, noisy, monkeypatch):
    calls = []
    monkeypatch.setattr(subprocess, "call", lambda a: calls.append(a) or 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert call("open", noisy)[0] == 0
    assert calls[0][1:3] == ["-m", "napari_dip.widgets"]
    assert str(noisy) in calls[0]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused(call("open", noisy), 1, "napari is not installed")


# -- Ctrl-C -----------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_signal_saves_the_best_image_so_far(noisy, tmp_path, number):
    output = tmp_path / "out.tif"
    program = (
        "import sys\n"
        "from napari_dip import cli\n"
        "from napari_dip.batch.stop import Stop\n"
        "seen = Stop.__call__\n"
        "def tell(self, it):\n"
        "    if it.step == 5:\n"
        "        print('fitting', flush=True)\n"
        "    return seen(self, it)\n"
        "Stop.__call__ = tell\n"
        "sys.exit(cli.main())\n"
    )
    arguments = ("denoise", noisy, "-o", output, "--iterations", "100000")
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "fitting\n"
        assert not output.exists()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.count("\n") == 1
    assert "the best image so far was saved" in err
    assert "Traceback" not in err
    made = files.read_header(output).provenance
    assert made["stopped_by"] == "stopped by the user"
    assert 5 <= made["iterations"] < 100000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_before_the_fit_says_that_nothing_is_saved(
    call, noisy, tmp_path, monkeypatch, number
):
    def interrupted(*arguments, **options):
        signal.raise_signal(number)

    monkeypatch.setattr(files, "read", interrupted)
    before = signal.getsignal(number)
    code, out, err = call("denoise", noisy, "-o", tmp_path / "out.tif", "--quiet")
    assert (code, out) == (130, "")
    assert err == "napari-dip: stopped; the result was not saved\n"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_the_result_is_written(call, noisy, tmp_path, monkeypatch, number):
    write = files.write

    def interrupted(*arguments, **options):
        signal.raise_signal(number)
        return write(*arguments, **options)

    monkeypatch.setattr(files, "write", interrupted)
    output = tmp_path / "out.tif"
    code, _, err = call("denoise", noisy, "-o", output, *SHORT)
    assert code == 130
    assert "the whole result was saved" in err
    assert files.read(output).data.shape == (32, 32)


def test_a_device_that_fails_leaves_the_best_image(
    call, noisy, tmp_path, failing_device
):
    options = ("--iterations", "30", "--precision", "float32")
    command = ("denoise", noisy, *options, "-o", tmp_path / "out.tif")
    failing_device(18)
    code, out, err = call(*command)
    assert code == 1
    assert out.startswith(f"{tmp_path / 'out.tif'}: 17 iterations in ")
    lost = "the device has failed: CUDA error: the device is lost"
    warning, error = err.splitlines()
    assert warning == (f"napari-dip: warning: {lost}; the best image so far was kept")
    assert error == (
        "napari-dip: error: the device failed; the best image was saved to "
        f"{tmp_path / 'out.tif'}"
    )
    result = files.read(tmp_path / "out.tif")
    assert np.isfinite(result.data).all()
    assert lost in result.header.provenance["stopped_by"]
    # Nothing can be kept of a fit that has only begun.
    failing_device(1)
    refused(call(*command, "--overwrite", "--quiet"), 1, f"{lost}; there was no image")


def test_a_device_that_fails_while_a_checkpoint_is_made(call, noisy, tmp_path):
    def lost(tensor):
        raise RuntimeError("CUDA error: the device is lost")

    kept = ("--checkpoint", tmp_path / "kept.safetensors", "--checkpoint-every", "0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "cpu", lost)
        result = call("denoise", noisy, "-o", tmp_path / "out.tif", *SHORT, *kept)
    refused(result, 1, "the device has failed: CUDA error: the device is lost")


# -- hostile and odd input --------------------------------------------------------


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"a": value}
    return value


HOSTILE = {
    "deep": {"deep": nested(900)},
    "surrogate": {"software": "napari-dip", "a\ud800": "\udfff \x1b[2J"},
    "recipe": {"recipe": [1, 2]},
    "recipe text": {"recipe": "denoise"},
    "task": {"task": ["denoise"]},
    "unknown task": {"task": "nonesuch"},
    "parameters": {"recipe": {"iterations": [3], "seed": {}, "noise": []}},
    "unhashable": {"recipe": {"noise": {"a": 1}}},
    "objects": {"objects": ["model"]},
    "from_file": {"from_file": {"a": 1}},
    "planes": {"planes": [1, {"a": 1}, [2]]},
    "warnings": {"warnings": {"a": [1, {}]}},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_provenance_that_is_hostile(call, noisy, tmp_path, name, changed_presets):
    changed_presets(stop=Iterations(2))
    made = {"software": "napari-dip", "task": "denoise", "recipe": {}} | HOSTILE[name]
    path, output = tmp_path / "made.tif", tmp_path / "out.tif"
    tifffile.imwrite(path, np.zeros((32, 32), "u1"), software=json.dumps(made))
    for options in ((), ("--json",)):
        code, out, err = call("info", path, *options)
        assert (code, err) == (0, "")
        assert "\x1b" not in out
    code, _, err = call("replay", path, noisy, "-o", output, "--quiet")
    if name not in ("surrogate", "planes", "warnings"):
        assert code in (1, 2)
        assert err.startswith("napari-dip: error: ")
        assert err.count("\n") == 1
        assert "line" not in err


@pytest.mark.parametrize(
    ("channels", "axes"), [(1, "YX"), (2, "CYX"), (3, "YXS"), (4, "CYX"), (5, "CYX")]
)
@pytest.mark.parametrize("ending", ["tif", "ome.tif", "ome.zarr", "png"])
def test_axes_of_a_sample(call, tmp_path, channels, axes, ending):
    if "zarr" in ending:
        pytest.importorskip("zarr")
    output = tmp_path / f"sample.{ending}"
    options = ("--shape", "32,40", "--scales", "2", "--width", "4")
    result = call("sample-prior", "--channels", channels, "-o", output, *options)
    if ending == "png" and axes == "CYX":
        refused(result, 2, "a PNG holds one image of shape (Y, X)")
        return
    assert result[0] == 0
    image = files.read(output)
    assert (image.header.axes, image.alpha) == (axes, None)
    expected = napari_dip.sample_prior((32, 40), channels=channels, scales=2, width=4)
    if axes == "CYX":
        expected = np.moveaxis(expected, -1, 0)
    if ending == "png":
        expected = np.rint(255 * expected)
    np.testing.assert_array_equal(image.data, expected)


def test_output_without_a_name(call, noisy):
    refused(call("denoise", noisy, "-o", ""), 2, "empty name")
    refused(call("denoise", noisy, "-o", " "), 2, "empty name")
    refused(call("sample-prior", "-o", ""), 2, "empty name")
    refused(call("noise-impedance", noisy, "-o", ""), 2, "empty name")


@pytest.mark.parametrize("name", ["/", "//", "/tmp/.."])
def test_output_that_is_the_root_folder(call, noisy, name):
    refused(call("denoise", noisy, "-o", name), 2, "root folder")


def test_output_of_a_name_that_is_too_long(call, noisy, tmp_path):
    for name in ("a" * 300 + ".tif", "a" * 300, "a" * 300 + ".ome.zarr"):
        refused(call("denoise", noisy, "-o", tmp_path / name), 2, "too long")
    output = tmp_path / ("a" * 250 + ".tif")
    assert call("denoise", noisy, "-o", output, *SHORT, "--quiet")[0] == 0
    assert output.exists()


def test_output_that_is_a_file_of_an_image_in_several(call, tmp_path):
    def planes(c):
        return (
            f'<Channel ID="Channel:0:{c}"/><TiffData FirstC="{c}" IFD="0">'
            f'<UUID FileName="c{c}.ome.tif">urn:uuid:{c:08d}-0000-0000-0000-'
            "000000000000</UUID></TiffData>"
        )

    for c in range(2):
        text = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{c:08d}-0000-0000-0000-000000000000"><Image ID="Image:0">'
            '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="32" '
            f'SizeY="32" SizeZ="1" SizeC="2" SizeT="1">{planes(0)}{planes(1)}'
            "</Pixels></Image></OME>"
        )
        path = tmp_path / f"c{c}.ome.tif"
        options = {"description": text, "metadata": None}
        tifffile.imwrite(path, np.full((32, 32), c, "u1"), **options)
    first, other = tmp_path / "c0.ome.tif", tmp_path / "c1.ome.tif"
    assert files.read(first).data.shape == (2, 32, 32)
    before = other.read_bytes()
    result = call("denoise", first, "-o", other, "--overwrite")
    refused(result, 2, "output must not be one of the inputs")
    assert other.read_bytes() == before


@pytest.mark.parametrize(
    "inside", ["a.zarr/sub.tif", "a.zarr/0/x.zarr", "a.zarr/new/sub.tif", "a.zarr/new"]
)
def test_output_inside_of_a_store(call, noisy, tmp_path, inside):
    pytest.importorskip("zarr")
    store(tmp_path / "a.zarr", np.zeros((1, 1, 1, 32, 32), np.uint8))
    for source in (tmp_path / "a.zarr", noisy):
        command = ("denoise", source, "-o", tmp_path / inside)
        refused(call(*command, "--quiet"), 2, "inside of a Zarr store")


def test_output_that_is_no_regular_file(call, noisy, tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    for name in ("pipe", "pipe.tif"):
        os.mkfifo(tmp_path / name)
        for option in ("-o", "--uncertainty"):
            other = ("-o", tmp_path / "out.tif") if option != "-o" else ()
            command = ("denoise", noisy, *other, option, tmp_path / name, "--overwrite")
            what = "output" if option == "-o" else "uncertainty"
            kind = "a regular file" if name.endswith("tif") else "a file or a folder"
            refused(call(*command), 2, f"{what} must be {kind}; got {tmp_path / name}")
    (tmp_path / "file").write_text("text")
    result = call("denoise", noisy, "-o", tmp_path / "file", "--overwrite")
    refused(result, 2, "output must end in .ome.tif,")


OUTPUTS = {
    "-o": "output",
    "--uncertainty": "uncertainty",
    "--save-weights": "save-weights",
    "--checkpoint": "checkpoint",
}


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("-o", "--uncertainty", "out.tif"),
        ("--save-weights", "--checkpoint", "out.safetensors"),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_two_outputs_of_one_name(call, noisy, tmp_path, one, other, name, there):
    path = tmp_path / name
    if there:
        path.write_text("before")
    rest = () if one == "-o" else ("-o", tmp_path / "result.tif")
    same = tmp_path / "x" / ".." / name
    (tmp_path / "x").mkdir()
    command = ("denoise", noisy, *rest, one, path, other, same, "--overwrite")
    refused(
        call(*command),
        2,
        f"{OUTPUTS[one]} and {OUTPUTS[other]} must be two files, neither in the other",
    )


@pytest.mark.parametrize("option", ["--uncertainty", "--save-weights", "--checkpoint"])
def test_an_output_within_another(call, noisy, tmp_path, option):
    name = "a.tif" if option == "--uncertainty" else "a.safetensors"
    store = tmp_path / "out.ome.zarr"
    result = call("denoise", noisy, "-o", store, option, store / name)
    refused(result, 2, "must be two files, neither in the other")


@pytest.mark.parametrize("option", ["--save-weights", "--checkpoint"])
def test_an_output_that_is_the_file_of_the_weights(call, noisy, tmp_path, option):
    path = tmp_path / "weights.safetensors"
    command = ("denoise", noisy, "-o", tmp_path / "out.tif", *SHORT)
    assert call(*command, "--save-weights", path)[0] == 0
    before = path.read_bytes()
    result = call(*command, "--weights", path, option, path, "--overwrite")
    refused(result, 2, f"{option[2:]} must not be one of the inputs")
    assert path.read_bytes() == before


def test_output_that_holds_the_input(call, tmp_path):
    library = pytest.importorskip("zarr")
    library.create_group(tmp_path / "plate.zarr", zarr_format=2)
    (tmp_path / "plate.zarr" / "A").mkdir()
    source = tmp_path / "plate.zarr" / "A" / "0"
    store(tmp_path / "0.zarr", np.zeros((1, 1, 1, 32, 32), np.uint8)).rename(source)
    command = ("denoise", source, "-o", tmp_path / "plate.zarr", "--overwrite")
    refused(call(*command), 2, "nor hold one")
    assert source.exists()


def test_name_without_an_ending_is_said_to_be_a_folder(call, noisy, tmp_path):
    code, out, err = call("denoise", noisy, "-o", tmp_path / "result", *SHORT)
    assert code == 0
    assert "has no ending, so it becomes a folder" in err
    assert out.startswith(str(tmp_path / "result" / "noisy.tif"))


@pytest.mark.parametrize("option", ["-o", "--uncertainty"])
def test_an_ending_alone_is_no_folder(call, noisy, tmp_path, option):
    other = ("-o", tmp_path / "out.tif") if option != "-o" else ()
    result = call("denoise", noisy, *other, option, tmp_path / ".tif")
    refused(result, 2, "must have a name before its ending; got .tif")
    assert [*tmp_path.iterdir()] == [noisy]


def test_result_of_a_tiff_without_an_ending(call, noisy, tmp_path):
    noisy = noisy.rename(tmp_path / "noisy")
    (tmp_path / "out").mkdir()
    assert call("denoise", noisy, "-o", tmp_path / "out", *SHORT)[0] == 0
    assert os.listdir(tmp_path / "out") == ["noisy.tif"]
    assert files.read(tmp_path / "out" / "noisy.tif").data.shape == (32, 32)


def test_fault_of_ours_is_one_line(call, noisy, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr(files, "read", fail)
    refused(
        call("denoise", noisy, "-o", tmp_path / "out.tif"), 1, "ZeroDivisionError: one"
    )


def test_second_ctrl_c_leaves_nothing(call, noisy, tmp_path, monkeypatch):
    ask = Stop.__call__

    def twice(self, it):
        ask(self, it)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("never come to")

    monkeypatch.setattr(Stop, "__call__", twice)
    before = signal.getsignal(signal.SIGINT)
    code, out, err = call("denoise", noisy, "-o", tmp_path / "out.tif", "--quiet")
    assert (code, out) == (130, "")
    assert err == "napari-dip: stopped; the result was not saved\n"
    assert list(tmp_path.iterdir()) == [noisy]
    assert signal.getsignal(signal.SIGINT) is before


# -- uncertainty ------------------------------------------------------------------


def test_uncertainty_is_a_file_of_its_own(call, noisy, tmp_path, changed_presets):
    changed_presets(finish=Finish(collaborative=True))
    output, deviation = tmp_path / "clean.ome.tif", tmp_path / "deviation.ome.tif"
    code, out, _ = call(
        "denoise", noisy, "-o", output, "--uncertainty", deviation, *SHORT, "--json"
    )
    assert code == 0
    assert json.loads(out)["uncertainty"] == str(deviation)
    fit = napari_dip.denoise(
        files.read(noisy).data, iterations=3, precision="float32", full_output=True
    )
    result = files.read(deviation)
    np.testing.assert_array_equal(result.data, fit.uncertainty)
    assert result.header.provenance["shows"] == "standard deviation of the result"


def test_uncertainty_is_refused_where_there_is_none(call, noisy, tmp_path):
    more = ("-o", tmp_path / "a.tif", "--uncertainty", tmp_path / "b.tif", *SHORT)
    refused(call("enhance", noisy, *more), 2, "enhance has none")
    refused(call("denoise", noisy, *more, "--preset", "paper"), 2, "denoise has none")
    same = (*more[:3], more[1], *SHORT)
    refused(
        call("denoise", noisy, *same), 2, "output and uncertainty must be two files"
    )
    assert not (tmp_path / "a.tif").exists()


def test_uncertainty_that_is_unknown_is_refused_before_the_fit(
    call, tmp_path, monkeypatch
):
    rest = np.random.default_rng(0).normal(0, 30, (66, 64))
    image = 100 + (rest[:-2] + rest[1:-1] + rest[2:]).astype(np.float32)
    files.write(tmp_path / "correlated.tif", image)
    deviation = tmp_path / "b.tif"
    more = ("-o", tmp_path / "a.tif", "--uncertainty", deviation, *SHORT)
    source = tmp_path / "correlated.tif"
    refused(call("denoise", source, *more), 2, "uncertainty is not known where")
    assert call("denoise", source, *more, "--restarts", "2")[0] == 0
    assert deviation.exists()
    # Images that are too large for the memory are not looked at beforehand.
    monkeypatch.setattr(files, "_LARGE", 0)
    again = ("-o", tmp_path / "c.tif", "--uncertainty", tmp_path / "d.tif", *SHORT)
    code, _, err = call("denoise", source, *again)
    assert code == 1
    assert "d.tif was not written, for no plane has an uncertainty" in err
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.tif", "b.tif", "c.tif", "correlated.tif"]


ADDRESS = "files are read and written on this machine only; got "


@pytest.mark.parametrize("before", ["-o", "--output=", "-o "])
@pytest.mark.parametrize("address", ["s3://bucket/x.ome.zarr", "HTTP://host/x.tif"])
def test_addresses_are_no_outputs(call, noisy, tmp_path, monkeypatch, before, address):
    monkeypatch.chdir(tmp_path)
    output = (before + address).split(" ")
    refused(call("denoise", noisy, *output, *SHORT), 2, ADDRESS + address)
    assert os.listdir(tmp_path) == ["noisy.tif"]


@pytest.mark.parametrize("command", [("denoise",), ("batch", "denoise"), ("info",)])
def test_addresses_are_no_inputs(call, tmp_path, command):
    output = () if command == ("info",) else ("-o", tmp_path / "a.tif")
    for address in ("gs://bucket/x.zarr", "file://host/x.tif"):
        refused(call(*command, address, *output), 2, ADDRESS + address)


def test_address_of_a_local_file(call, noisy, tmp_path):
    noisy = noisy.rename(tmp_path / "no isy.tif")
    output = tmp_path / "clean.tif"
    code, out, _ = call("denoise", noisy.as_uri(), "-o", output.as_uri(), *SHORT)
    assert (code, out.count("\n")) == (0, 1)
    assert sorted(os.listdir(tmp_path)) == ["clean.tif", "no isy.tif"]


@pytest.mark.parametrize("before", ["-o ", "-o", "--output="])
def test_folder_of_the_user(call, noisy, tmp_path, monkeypatch, before):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    output = (before + "~/clean.tif").split(" ")
    assert call("denoise", "~/noisy.tif", *output, *SHORT)[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["clean.tif", "noisy.tif"]


def test_address_of_a_scheduler_is_kept():
    given = ["--scheduler", "tcp://host:8786", "--scheduler=tcp://host:8786"]
    assert local_paths(given) == given


@pytest.mark.parametrize("option", ["save-weights", "checkpoint"])
def test_files_beside_the_result_that_cannot_be_written(
    call, noisy, tmp_path, monkeypatch, option
):
    def run(path):
        return call("denoise", noisy, "-o", tmp_path / "a.tif", f"--{option}", path)

    refused(run(tmp_path / f"{'x' * 300}.safetensors"), 2, f"{option} cannot be")
    refused(run(""), 2, f"{option} must be a file or a folder; got an empty name")

    def full(dir):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    says = f"{option} cannot be written to the folder {tmp_path}: Read-only file system"
    refused(run(tmp_path / "no" / "such" / "a.safetensors"), 2, says)
    assert os.listdir(tmp_path) == ["noisy.tif"]


def test_names_that_are_too_long_for_an_input(call, noisy, tmp_path):
    name = tmp_path / f"{'x' * 300}.tif"
    output = ("-o", tmp_path / "a.tif")
    refused(call("denoise", name, *output), 1, f"{name.name} cannot be read: File name")
    result = call("denoise", noisy, *output, "--weights", name)
    refused(result, 1, f"error: {name}: File name too long")


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signal_while_modules_are_imported(name):
    program = (
        "import os, signal, sys\n"
        # Processes in the background may have been told to ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cyclopts':\n"
        f"            os.kill(os.getpid(), signal.{name})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from napari_dip.cli import main\n"
        "sys.exit(main(['--help']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "napari-dip: stopped before anything was done\n"


def test_psf_of_a_plane_on_the_grid_of_a_stack(call, tmp_path):
    pytest.importorskip("yaozarrs")
    rng = np.random.default_rng(0)
    blur = np.exp(-np.square(np.mgrid[-3:4, -3:4]).sum(0) / 4)
    for name, pixels, z in (("a", rng.random((3, 32, 32)), 0.5), ("psf", [blur], 1)):
        pixels, scale = np.asarray(pixels, "f4"), (z, 0.1, 0.1)
        header = Header("", pixels.shape, pixels.dtype, "ZYX", scale, ("µm",) * 3)
        files.write(tmp_path / f"{name}.ome.zarr", pixels, Image(pixels, header))
    image, psf = tmp_path / "a.ome.zarr", tmp_path / "psf.ome.zarr"
    output = tmp_path / "b.ome.zarr"
    code, _, err = call("deconvolve", image, "--psf", psf, "-o", output, *SHORT)
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("denoise", "", "-o", "a.tif"), "an input must be a file; got an empty name"),
        (("batch", "denoise", "", "-o", "a"), "an input must be a file"),
        (("info", ""), "an input must be a file"),
        (("inpaint", "a.tif", "--mask", "", "-o", "b.tif"), "mask must be a file"),
        (("denoise", "a.tif", "--weights=", "-o", "b.tif"), "weights must be a file"),
        (("psf", "microscope", "--like", " ", "-o", "b.tif"), "like must be a file"),
    ],
)
def test_input_without_a_name(call, monkeypatch, tmp_path, command, says):
    # An empty name, as of a variable that is not set, would be the current folder.
    monkeypatch.chdir(tmp_path)
    refused(call(*command), 2, says)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "kind"), [("*.tif", "a pattern"), (".", "a folder")])
def test_many_files_are_for_the_command_batch(call, noisy, monkeypatch, name, kind):
    monkeypatch.chdir(noisy.parent)
    result = call("denoise", name, "-o", "clean.tif", *SHORT)
    refused(result, 2, f"got {name}, {kind}")
    assert "'napari-dip batch denoise' takes folders and patterns" in result[2]


@pytest.mark.parametrize("count", ["1.5", "", "many", "-1", "100000"])
def test_number_of_workers(call, noisy, tmp_path, count):
    output = tmp_path / "out.tif"
    result = call("denoise", noisy, "-o", output, "--workers", count)
    refused(result, 2, "workers must be an integer from 1 to ")


def test_two_inputs_with_one_result_are_named(call, noisy, tmp_path):
    other = tmp_path / "other" / noisy.name
    says = f"two inputs, {noisy} and {other}, have a result of the same name"
    refused(call("denoise", noisy, other, "-o", tmp_path / "out"), 2, says)


def test_only_a_process_of_its_own_ends_without_looking_for_garbage(
    monkeypatch, capsys
):
    """To look through all that torch has made takes half a second."""
    found = []
    monkeypatch.setattr(cli.atexit, "register", found.append)
    assert cli.main(["--version"]) == 0
    assert not found
    monkeypatch.setattr(sys, "argv", ["napari-dip", "--version"])
    assert cli.main() == 0
    assert found == [gc.freeze]
