"""Files become layers with all they say, and nobody is asked about other files."""

import sys

import dask.array
import napari
import numpy as np
import pytest
import tifffile
import zarr as library
from napari.errors import MultipleReaderError
from napari.plugins._npe2 import get_readers
from napari.settings import get_settings
from npe2 import PluginManager
from PIL import Image as Pillow
from qtpy.QtWidgets import QFileDialog

from napari_dip.errors import FileError
from napari_dip.io import files, zarr
from napari_dip.io.image import Header, Image
from napari_dip.widgets import __main__, readers
from napari_dip.widgets.layers import KEY

MADE = {
    "software": "napari-dip",
    "task": "denoise",
    "recipe": {"task": "denoise", "seed": 3},
}


def write(path, data, axes="YX", made=None, **more):
    header = Header("", data.shape, data.dtype, axes, **more)
    files.write(path, data, Image(data, header), made)
    return path


def units(layer):
    return [str(unit) for unit in layer.units]


def claimants(path):
    found = PluginManager.instance().iter_compatible_readers([str(path)])
    return {reader.plugin_name for reader in found}


# -- in the viewer ------------------------------------------------------------------


@pytest.mark.gui
@pytest.mark.parametrize("name", ["cells.ome.tif", "cells.OME.TIFF", "cells.ome.zarr"])
def test_channels_scale_units_and_colours(empty_viewer, tmp_path, rng, name):
    data = rng.integers(0, 4096, (2, 3, 2, 32, 40)).astype("u2")
    path = write(
        tmp_path / name.lower(),
        data,
        "TZCYX",
        MADE,
        scale=(2.0, 0.5, None, 0.2, 0.1),
        units=("s", "µm", None, "µm", "µm"),
        channel_names=("DAPI", "GFP"),
        channel_colours=("#0000ff", "#00ff7f"),
    )
    path = path.rename(tmp_path / name)
    layers = empty_viewer.open(path, plugin="napari-dip")
    assert [layer.name for layer in layers] == ["DAPI", "GFP"]
    assert [layer.colormap.name for layer in layers] == ["blue", "#00ff7f"]
    for i, layer in enumerate(layers):
        np.testing.assert_array_equal(layer.data, data[:, :, i])
        np.testing.assert_allclose(layer.scale, (2.0, 0.5, 0.2, 0.1))
        assert units(layer) == ["second", *["micrometer"] * 3]
        assert layer.axis_labels == ("t", "z", "y", "x")
        assert layer.metadata == {KEY: MADE}
        assert layer.source.reader_plugin == "napari-dip"


@pytest.mark.gui
def test_stack_of_other_programs(empty_viewer, tmp_path, rng):
    data = rng.integers(0, 4096, (5, 32, 40)).astype("u2")
    metadata = {"axes": "ZYX", "PhysicalSizeX": 65, "PhysicalSizeXUnit": "nm"}
    metadata |= {"PhysicalSizeY": 0.065, "PhysicalSizeZ": 0.2}
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata=metadata)
    (layer,) = empty_viewer.open(tmp_path / "a.ome.tif", plugin="napari-dip")
    assert layer.name == "a"
    np.testing.assert_allclose(layer.scale, (0.2, 0.065, 65))
    assert units(layer) == ["micrometer", "micrometer", "nanometer"]
    assert layer.axis_labels == ("z", "y", "x")
    assert layer.metadata == {}


@pytest.mark.gui
def test_labels_beside_an_image(empty_viewer, tmp_path, rng):
    data = rng.normal(size=(32, 40)).astype("f4")
    cells = (data > 0).astype("u1")
    scale = {"scale": (0.5, 0.5), "units": ("µm", "µm")}
    header = Header("", data.shape, data.dtype, "YX", **scale)
    of = Header("", cells.shape, cells.dtype, "YX", **scale)
    labels = {"cells": (cells, of, None)}
    zarr.write(tmp_path / "a.ome.zarr", data, header, labels=labels)
    image, found = empty_viewer.open(tmp_path / "a.ome.zarr", plugin="napari-dip")
    assert (image.name, found.name) == ("a", "cells")
    assert isinstance(found, napari.layers.Labels)
    np.testing.assert_array_equal(found.data, cells)
    np.testing.assert_allclose(found.scale, (0.5, 0.5))


@pytest.mark.gui
def test_photograph(empty_viewer, tmp_path, rng):
    data = rng.integers(0, 255, (12, 14, 3)).astype("u1")
    path = write(tmp_path / "a.ome.tif", data, "YXS")
    (layer,) = empty_viewer.open(path, plugin="napari-dip")
    assert layer.rgb
    np.testing.assert_array_equal(layer.data, data)


@pytest.mark.gui
def test_colours_beyond_one_are_not_white(empty_viewer, tmp_path, rng):
    data = rng.uniform(0, 255, (12, 14, 3)).astype("f4")
    layers = empty_viewer.open(
        write(tmp_path / "a.ome.tif", data, "YXS"), plugin="napari-dip"
    )
    assert [layer.name for layer in layers] == ["a red", "a green", "a blue"]
    for i, layer in enumerate(layers):
        np.testing.assert_array_equal(layer.data, data[..., i])
        assert layer.contrast_limits == pytest.approx([0, data.max()])


@pytest.mark.gui
def test_colours_up_to_one_are_a_photograph(empty_viewer, tmp_path, rng):
    data = rng.uniform(0, 1, (12, 14, 3)).astype("f4")
    path = write(tmp_path / "a.ome.tif", data, "YXS")
    (layer,) = empty_viewer.open(path, plugin="napari-dip")
    assert layer.rgb


@pytest.mark.gui
@pytest.mark.parametrize("count", [2, 4, 5])
def test_samples_that_are_no_colour_are_channels(empty_viewer, tmp_path, rng, count):
    data = rng.integers(0, 4096, (12, 14, count)).astype("u2")
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", data, **options)
    readers.add_files(empty_viewer, [str(tmp_path / "a.tif")])
    assert len(empty_viewer.layers) == count
    for i, layer in enumerate(empty_viewer.layers):
        np.testing.assert_array_equal(layer.data, data[..., i])


@pytest.mark.gui
def test_command_opens_any_file(empty_viewer, tmp_path, rng, monkeypatch, messages):
    data = rng.normal(size=(3, 32, 40)).astype("f4")
    scale = {"scale": (0.3, 0.1, 0.1), "units": ("µm",) * 3}
    paths = [write(tmp_path / "result.tif", data, "ZYX", MADE, **scale)]
    Pillow.fromarray(rng.integers(0, 255, (32, 40, 3)).astype("u1")).save(
        tmp_path / "photo.jpg", quality=50
    )
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    paths += [tmp_path / "broken.tif", tmp_path / "photo.jpg"]
    monkeypatch.setattr(
        QFileDialog, "getOpenFileNames", lambda *_: ([str(p) for p in paths], "")
    )
    PluginManager.instance().commands.execute("napari-dip.open_files")
    stack, photo = empty_viewer.layers
    assert stack.metadata[KEY]["task"] == "denoise"
    np.testing.assert_allclose(stack.scale, (0.3, 0.1, 0.1))
    assert stack.source.path == str(paths[0])
    assert photo.rgb
    assert photo.metadata[readers.JPEG_KEY].tables[0][:3] == (16, 11, 10)
    assert [text for kind, text in messages if kind == "error"] == [messages[0][1]]
    assert "broken.tif" in messages[0][1]


@pytest.mark.gui
def test_open_shows_file_and_panel(empty_viewer, tmp_path, monkeypatch):
    path = write(tmp_path / "result.tif", np.eye(32, dtype="f4"), made=MADE)
    monkeypatch.setattr(napari, "Viewer", lambda: empty_viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    monkeypatch.setattr(sys, "argv", ["napari-dip", str(path)])
    __main__.main()
    assert empty_viewer.layers["result"].metadata[KEY] == MADE
    assert any("Denoise" in name for name in empty_viewer.window.dock_widgets)


@pytest.mark.gui
def test_command_is_in_the_menu(empty_viewer):
    from napari._app_model import get_app_model

    items = get_app_model().menus.get_menu("napari/file/io_utilities")
    assert "napari-dip.open_files" in [item.command.id for item in items]


# -- who is asked -------------------------------------------------------------------


@pytest.mark.gui
@pytest.mark.parametrize("name", ["a.tif", "a.tiff", "a.png", "a.jpg"])
def test_nobody_is_asked_about_ordinary_files(empty_viewer, tmp_path, name):
    Pillow.new("L", (20, 20)).save(tmp_path / name)
    assert claimants(tmp_path / name) == {"napari"}
    # What drag and drop does; it raises where there is a choice.
    empty_viewer._open_or_raise_error([str(tmp_path / name)])
    assert empty_viewer.layers[0].data.shape == (20, 20)


@pytest.mark.gui
@pytest.mark.parametrize(
    ("name", "pattern"), [("a.ome.tif", "*.ome.tif"), ("a.ome.zarr", "*.ome.zarr/")]
)
def test_choice_can_be_made_for_good(empty_viewer, tmp_path, name, pattern):
    path = str(write(tmp_path / name, np.eye(32, dtype="f4")))
    with pytest.raises(MultipleReaderError):
        empty_viewer._open_or_raise_error([path])
    assert "napari-dip" in get_readers(pattern)  # what Preferences offer
    get_settings().plugins.extension2reader = {pattern: "napari-dip"}
    empty_viewer._open_or_raise_error([path])
    assert empty_viewer.layers[0].source.reader_plugin == "napari-dip"
    plain = str(write(tmp_path / "b.tif", np.eye(32, dtype="f4")))
    empty_viewer._open_or_raise_error([plain])
    assert empty_viewer.layers[1].source.reader_plugin == "napari"


def test_what_is_not_for_us(tmp_path):
    (tmp_path / "folder").mkdir()
    assert readers.get_reader(str(tmp_path / "folder")) is None
    assert readers.get_reader(["a.ome.tif", "b.ome.tif"]) is None
    assert readers.get_reader("https://example.org/a.ome.zarr") is None


# -- without a viewer ---------------------------------------------------------------


def test_large_files_are_not_read(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(readers, "EAGER", 10_000)
    monkeypatch.setattr(files, "read", None)
    data = rng.integers(0, 4096, (3, 2, 64, 64)).astype("u2")
    for name in ("a.ome.tif", "a.ome.zarr"):
        path = write(tmp_path / name, data, "ZCYX", channel_names=("DAPI", "GFP"))
        ((lazy, keywords, kind),) = readers.read_layers(path)
        assert isinstance(lazy, dask.array.Array)
        assert (keywords["name"], kind) == (["DAPI", "GFP"], "image")
        axis = keywords["channel_axis"]
        np.testing.assert_array_equal(np.take(lazy, 1, axis), data[:, 1])


@pytest.mark.gui
def test_large_image_with_several_resolutions(empty_viewer, tmp_path, rng, monkeypatch):
    monkeypatch.setattr(readers, "EAGER", 10_000)
    data = rng.integers(0, 4096, (2, 128, 128)).astype("u2")
    group = library.create_group(tmp_path / "a.ome.zarr", zarr_format=2)
    group.create_array("0", data=data)
    group.create_array("1", data=data[:, ::2, ::2])
    axes = [{"name": name} for name in "cyx"]
    datasets = [{"path": "0"}, {"path": "1"}]
    group.attrs.put({"multiscales": [{"axes": axes, "datasets": datasets}]})
    layers = empty_viewer.open(tmp_path / "a.ome.zarr", plugin="napari-dip")
    assert [layer.name for layer in layers] == ["a C0", "a C1"]
    for i, layer in enumerate(layers):
        assert layer.multiscale
        assert [level.shape for level in layer.data] == [(128, 128), (64, 64)]
        np.testing.assert_array_equal(layer.data[0], data[i])


def test_large_png_is_read_all_the_same(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(readers, "EAGER", 100)
    data = rng.integers(0, 255, (32, 40)).astype("u1")
    files.write(tmp_path / "a.png", data)
    ((found, _, _),) = readers.read_layers(tmp_path / "a.png")
    np.testing.assert_array_equal(found, data)


@pytest.mark.parametrize(
    ("dtype", "made", "kind"),
    [
        ("u4", None, "labels"),
        ("i4", None, "labels"),
        ("u2", None, "image"),
        ("f4", None, "image"),
        ("i4", MADE, "image"),
    ],
)
def test_labels_are_known_by_their_type(tmp_path, dtype, made, kind):
    path = write(tmp_path / "a.tif", np.eye(32, dtype=dtype), made=made)
    ((_, keywords, found),) = readers.read_layers(path)
    assert found == kind
    napari.layers.Layer.create(np.eye(32, dtype=dtype), keywords, kind)


def test_each_channel_has_its_own_provenance(tmp_path, rng):
    data = rng.normal(size=(2, 32, 40)).astype("f4")
    made = {"software": "napari-dip", "layers": {"GFP": MADE}}
    names = {"channel_names": ("DAPI", "GFP")}
    path = write(tmp_path / "a.ome.tif", data, "CYX", made, **names)
    ((_, keywords, _),) = readers.read_layers(path)
    assert keywords["metadata"] == [{}, {KEY: MADE}]


@pytest.mark.parametrize(
    ("unit", "known"),
    [
        ("µm", "micrometer"),
        ("Å", "angstrom"),
        ("reference frame", "pixel"),
        ("__dict__", "pixel"),
        ("1/[x", "pixel"),
        (None, "pixel"),
    ],
)
def test_units_that_napari_does_not_know(unit, known):
    header = Header("", (32, 40), np.dtype("f4"), "YX", (2.0, 3.0), (unit, unit))
    keywords = readers._keywords(header, "a")
    layer = napari.layers.Image(np.eye(32), **keywords)
    assert units(layer) == [known, known]
    np.testing.assert_allclose(layer.scale, (2, 3))


def test_axes_without_names_are_called_as_napari_does(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 5, 32, 40), "u1"))
    ((_, keywords, _),) = readers.read_layers(tmp_path / "a.tif")
    assert keywords["axis_labels"] == ["-4", "-3", "y", "x"]
    assert "scale" not in keywords


def test_broken_file(tmp_path):
    (tmp_path / "a.ome.tif").write_bytes(b"II*\0")
    with pytest.raises(FileError, match=r"a\.ome\.tif"):
        readers.read_layers(tmp_path / "a.ome.tif")
