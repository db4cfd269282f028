"""Limits in environment variables, wherever a fit is started from."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from napari_dip import machine, noise_impedance
from napari_dip.batch.manifest import NAME
from napari_dip.errors import InputError
from napari_dip.io import files
from napari_dip.prior.architecture import Architecture

LONG = ("--iterations", "500", "--precision", "float32")
SHORT = ("--iterations", "3", "--precision", "float32")
TIME_UP = "the time limit of 1e-06 s (NAPARI_DIP_MAX_SECONDS)"


@pytest.fixture
def source(changed_presets, tmp_path):
    """Return a stack of two small noisy planes in a file, fitted by small networks."""
    changed_presets(architecture=Architecture.uniform(4, 2), coarse_iterations=0)
    stack = np.random.default_rng(0).normal(100, 10, (2, 16, 20)).astype(np.float32)
    path = tmp_path / "in" / "stack.tif"
    path.parent.mkdir()
    files.write(path, stack)
    return path


@pytest.fixture
def start(call, source, tmp_path, monkeypatch):
    """Return a function that starts a fit in one of three ways, within limits."""
    made, output = tmp_path / "made.tif", tmp_path / "out" / "stack.tif"

    def begin(way, name, value, options=LONG):
        if way == "replay":
            call("denoise", source, "-o", made, *SHORT)
        monkeypatch.setenv(f"NAPARI_DIP_MAX_{name}", value)
        if way == "command":
            return call("denoise", source, "-o", output, *options), output
        if way == "replay":
            return call("replay", made, source, "-o", output), output
        folders = (source.parent, "-o", output.parent)
        return call("batch", "denoise", *folders, *options), output

    return begin


WAYS = pytest.mark.parametrize("way", ["command", "replay", "batch"])


@WAYS
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ITERATIONS", "2", "iterations must be 2 or fewer in one fit; got"),
        ("MEMORY", "64K", "64.0 KiB are free"),
        ("SECONDS", "soon", "NAPARI_DIP_MAX_SECONDS must be a positive number"),
    ],
)
def test_what_is_beyond_a_limit_is_refused(start, way, name, value, says):
    (code, out, err), output = start(way, name, value)
    wrong = name != "MEMORY" and way != "batch"
    assert (code, out) == (2 if wrong else 1, "")
    assert says in err
    assert not output.exists()


@WAYS
def test_the_best_image_is_kept_when_the_time_is_up(start, source, way):
    (code, _, err), output = start(way, "SECONDS", "1e-6")
    assert code == 0
    assert f"the fit was stopped by {TIME_UP}" in err
    assert "plane 1 was not restored before the stop" in err
    result = files.read(output)
    assert result.header.provenance["stopped_by"] == TIME_UP
    assert result.header.provenance["iterations"] == 1
    given = files.read(source).data
    assert (result.data[0] != given[0]).any()
    np.testing.assert_array_equal(result.data[1], given[1])


def test_a_batch_does_not_begin_again_what_took_its_time(start, call, source):
    _, output = start("batch", "SECONDS", "1e-6")
    stored = json.loads((output.parent / NAME).read_text())
    entry = stored["results"]["stack.tif"]
    assert entry["state"] == "done"
    folders = (source.parent, "-o", output.parent)
    code, _, err = call("batch", "denoise", *folders, *LONG)
    assert code == 0
    assert TIME_UP in err  # once more, for there is nothing new
    assert err.endswith("napari-dip: 1 image: 1 done before\n")


def test_a_fit_goes_on_from_its_checkpoint_after_the_time(
    call, source, tmp_path, monkeypatch
):
    plane, output = tmp_path / "plane.tif", tmp_path / "out.tif"
    files.write(plane, files.read(source).data[0])
    kept = tmp_path / "kept.safetensors"
    options = ("--iterations", "5", "--precision", "float32")
    call("denoise", plane, "-o", tmp_path / "whole.tif", *options)
    again = ("denoise", plane, "-o", output, "--checkpoint", kept, *options)
    monkeypatch.setenv("NAPARI_DIP_MAX_SECONDS", "1e-6")
    for iterations in (1, 2):
        assert call(*again)[0] == 0
        assert kept.exists()
        made = files.read_header(output).provenance
        assert made["iterations"] == iterations
    monkeypatch.delenv("NAPARI_DIP_MAX_SECONDS")
    assert call(*again)[0] == 0
    assert not kept.exists()
    whole = files.read(tmp_path / "whole.tif").data
    np.testing.assert_array_equal(files.read(output).data, whole)


def test_the_four_fits_of_the_impedance_share_the_time(monkeypatch):
    image = np.random.default_rng(0).random((16, 16))
    network = Architecture.uniform(4, 2)
    monkeypatch.setenv("NAPARI_DIP_MAX_SECONDS", "1e-6")
    curves = noise_impedance(image, iterations=9, architecture=network)
    assert list(curves.steps) == [1]
    monkeypatch.setenv("NAPARI_DIP_MAX_ITERATIONS", "8")
    with pytest.raises(InputError, match="8 or fewer in one fit; got 9"):
        noise_impedance(image, iterations=9, architecture=network)


@pytest.mark.parametrize(
    ("system", "free"),
    [
        ({"sysconf_names": {"SC_PHYS_PAGES": 1}, "sysconf": lambda name: 2**12}, 2**24),
        ({}, None),
    ],
)
def test_free_memory_of_other_systems(monkeypatch, system, free):
    """All of it where only that is known, as on macOS, and nothing on Windows."""

    def absent(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(machine, "open", absent, raising=False)
    monkeypatch.setattr(machine, "os", SimpleNamespace(environ={}, **system))
    assert machine.free_memory() == free


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (30, "30 bytes"),
        (3e3, "2.9 KiB"),
        (5e7, "47.7 MiB"),
        (3e8, "286.1 MiB"),
        (2**30, "1.0 GiB"),
    ],
)
def test_sizes_of_memory_are_told_in_units_that_show_them(count, text):
    assert machine.gibibytes(count) == text
