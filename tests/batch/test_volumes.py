"""Volumes in files whose axes have another order, or no Z."""

import numpy as np
import pytest
import tifffile

from napari_dip.batch.file_run import FileRun
from napari_dip.batch.volumes import slices_last, times_note
from napari_dip.io import files
from napari_dip.tasks.run import get

QUICK = {"device": "cpu", "precision": "float32", "iterations": 1}

STEPS = {"PhysicalSizeZ": 1.0, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}

SIDES = {"T": 2, "C": 2, "Z": 4, "Y": 16, "X": 18}

pytestmark = pytest.mark.usefixtures("small_fits")


def stored(path, axes, values=None):
    """Write a series of volumes with its axes in some order; return the path."""
    order = [letter for letter in "TCZYX" if letter in axes]
    if values is None:
        shape = [SIDES[letter] for letter in order]
        values = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    values = values.transpose([order.index(letter) for letter in axes])
    tifffile.imwrite(path, values, metadata={"axes": axes, **STEPS})
    return path


def restored(sources, values, target, task="denoise", **more):
    """Return the result of a run, and its warnings."""
    warnings = []
    run = FileRun(get(task), {**QUICK, **values}, sources, target, **more)
    run.run(lambda it: False, warnings.append)
    return files.read(target), warnings


@pytest.mark.parametrize(
    ("axes", "channel_axis", "order"),
    [
        ("ZYX", None, (0, 1, 2)),
        ("TZCYX", 2, (0, 1, 2, 3, 4)),
        ("ZTYX", None, (1, 0, 2, 3)),
        ("ZTCYX", 2, (1, 0, 2, 3, 4)),
        ("ZTYXS", 4, (1, 0, 2, 3, 4)),
        ("ZCTYX", -4, (1, 2, 0, 3, 4)),
        ("CZTYX", 0, (0, 2, 1, 3, 4)),
        ("ZTYX", 0, (0, 1, 2, 3)),
        ("TYX", None, (0, 1, 2)),
        ("YX", None, (0, 1)),
    ],
)
def test_slices_become_the_third_last_axis_but_for_the_channels(
    axes, channel_axis, order
):
    assert slices_last(axes, channel_axis) == order


@pytest.mark.parametrize(
    ("axes", "large"), [("ZTYX", False), ("CZTYX", False), ("ZTCYX", True)]
)
def test_the_depth_is_that_of_the_file(tmp_path, monkeypatch, axes, large):
    usual = "".join(letter for letter in "TCZYX" if letter in axes)
    first = {"image": stored(tmp_path / "usual.ome.tif", usual)}
    other = {"image": stored(tmp_path / "other.ome.tif", axes)}
    expected, _ = restored(first, {"spatial_dims": 3}, tmp_path / "one.ome.tif")
    if large:
        monkeypatch.setattr(files, "_LARGE", 0)
    result, warnings = restored(other, {"spatial_dims": 3}, tmp_path / "two.ome.tif")
    assert (result.header.axes, warnings) == (axes, [])
    assert result.header.provenance["recipe"]["z_spacing"] == 2
    order = [usual.index(letter) for letter in axes]
    np.testing.assert_array_equal(result.data, expected.data.transpose(order))


def test_the_uncertainty_has_the_axes_of_the_file(tmp_path):
    image, spread = stored(tmp_path / "in.ome.tif", "ZTYX"), tmp_path / "spread.ome.tif"
    values, target = {"spatial_dims": 3, "restarts": 2}, tmp_path / "out.ome.tif"
    result, _ = restored({"image": image}, values, target, uncertainty=spread)
    assert files.read_header(spread).shape == result.data.shape == (4, 2, 16, 18)


@pytest.mark.parametrize("axes", ["ZTYX", "TZYX"])
def test_a_mask_has_the_axes_of_its_image_or_of_its_own_file(tmp_path, axes):
    image = stored(tmp_path / "image.ome.tif", "ZTYX")
    mask = np.zeros([SIDES[letter] for letter in "TZYX"], np.uint8)
    mask[1, 2, 4:8, 4:8] = 1
    place = stored(tmp_path / "mask.ome.tif", axes, mask)
    sources = {"image": image, "mask": place}
    values, target = {"spatial_dims": 3}, tmp_path / "out.ome.tif"
    result, _ = restored(sources, values, target, task="inpaint")
    changed = result.data != files.read(image).data
    np.testing.assert_array_equal(changed.transpose(1, 0, 2, 3), mask > 0)


def test_a_psf_of_three_axes_finds_the_slices(tmp_path):
    psf = np.zeros((3, 5, 5), np.float32)
    psf[:, 1:4, 1:4] = 1
    files.write(tmp_path / "psf.tif", psf)
    results = []
    for axes in ("TZYX", "ZTYX"):
        image = stored(tmp_path / f"{axes}.ome.tif", axes)
        sources, target = {"image": image, "psf": tmp_path / "psf.tif"}, "out.ome.tif"
        more = {"task": "deconvolve", "overwrite": True}
        result, _ = restored(sources, {}, tmp_path / target, **more)
        results.append(result.data)
    np.testing.assert_array_equal(results[1], results[0].transpose(1, 0, 2, 3))


def test_the_provenance_has_the_axis_of_the_channels_in_the_file(tmp_path):
    image = stored(tmp_path / "image.ome.tif", "ZCTYX")
    values = {"spatial_dims": 3, "channel_axis": 1}
    result, _ = restored({"image": image}, values, tmp_path / "out.ome.tif")
    assert result.header.axes == "ZCTYX"
    assert result.header.provenance["recipe"]["channel_axis"] == 1


def test_times_that_are_taken_for_slices_are_told_of(tmp_path):
    path = tmp_path / "series.ome.tif"
    data = np.random.default_rng(0).normal(100, 10, (4, 16, 16)).astype(np.float32)
    tifffile.imwrite(path, data, metadata={"axes": "TYX", "TimeIncrement": 2.0})
    values, target = {"spatial_dims": 3}, tmp_path / "out.ome.tif"
    result, warnings = restored({"image": path}, values, target)
    assert warnings == times_note("TYX", None, "series.ome.tif")
    assert warnings[0].startswith("series.ome.tif has the axes TYX, so its planes are")
    assert result.header.provenance["warnings"] == warnings
    assert times_note("ZYX", None, "a") == times_note("QYX", None, "a") == []
