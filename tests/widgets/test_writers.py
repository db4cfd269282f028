"""Layers go into files and come back as they were."""

import json

import dask.array
import napari
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.plugins.io import save_layers
from npe2 import PluginManager

from napari_dip import cli
from napari_dip.errors import FileError
from napari_dip.io import files, limits, zarr
from napari_dip.widgets import readers, writers
from napari_dip.widgets.layers import KEY

RECIPE = {"task": "denoise", "seed": 3}
MADE = {"task": "denoise", "recipe": RECIPE, "run_id": "a1", "warnings": []}
PLACED = {
    "scale": (2.0, 0.5, 0.25),
    "units": ("s", "µm", "nm"),
    "axis_labels": ("t", "y", "x"),
}


@pytest.fixture(autouse=True, scope="module")
def plugins():
    """Find the plugins, as napari does when it opens a window."""
    PluginManager.instance().discover()


@pytest.fixture
def viewer():
    """A viewer without a window."""
    return ViewerModel()


def save(path, *layers, plugin="napari-dip"):
    """Save as napari does, and return what was written."""
    found = save_layers(str(path), list(layers), plugin=plugin)
    assert found
    return found


def placement(layer):
    scale = tuple(float(step) for step in layer.scale)
    return scale, [str(unit) for unit in layer.units], layer.axis_labels


# -- round trips through napari -----------------------------------------------------


@pytest.mark.gui
@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.tiff", "a.ome.zarr"])
def test_result_comes_back(empty_viewer, tmp_path, rng, name):
    data = rng.normal(size=(3, 32, 40)).astype("f4")
    layer = empty_viewer.add_image(
        data, **PLACED, metadata={KEY: MADE, "other": object()}
    )
    assert save(tmp_path / name, layer) == [str(tmp_path / name)]
    (back,) = empty_viewer.open(tmp_path / name, plugin="napari-dip")
    np.testing.assert_array_equal(back.data, data)
    assert placement(back) == placement(layer)
    assert back.metadata.keys() == {KEY}
    assert back.metadata[KEY].items() >= MADE.items()
    # And what came back can be saved again, to the same file.
    save(tmp_path / name, back)
    assert files.read_header(tmp_path / name).provenance == back.metadata[KEY]


@pytest.mark.gui
@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
def test_channels_come_back(empty_viewer, tmp_path, rng, name):
    one = rng.integers(0, 4096, (3, 32, 40)).astype("u2")
    two = rng.normal(size=(3, 32, 40)).astype("f4")
    layers = [
        empty_viewer.add_image(one, name="DAPI", colormap="blue", **PLACED),
        empty_viewer.add_image(
            two, name="GFP µ", colormap="#00ff7f", metadata={KEY: MADE}, **PLACED
        ),
        empty_viewer.add_image(two + 1, name="other", colormap="viridis", **PLACED),
    ]
    save(tmp_path / name, *layers)
    header = files.read_header(tmp_path / name)
    assert (header.axes, header.dtype) == ("TCYX", np.float32)
    back = empty_viewer.open(tmp_path / name, plugin="napari-dip")
    for old, new in zip(layers, back, strict=True):
        assert new.name in (old.name, f"{old.name} [1]")
        np.testing.assert_array_equal(new.data, old.data)
        assert placement(new) == placement(old)
    assert [layer.colormap.name for layer in back] == ["blue", "#00ff7f", "gray"]
    assert [KEY in layer.metadata for layer in back] == [False, True, False]
    assert back[1].metadata[KEY].items() >= MADE.items()


@pytest.mark.gui
def test_labels_come_back(empty_viewer, tmp_path, rng):
    cells = rng.integers(0, 9, (32, 40))
    assert cells.dtype == np.int64
    layer = empty_viewer.add_labels(cells, scale=(0.5, 0.5), units=("µm", "µm"))
    save(tmp_path / "a.ome.tif", layer)
    save(tmp_path / "a.ome.zarr", layer)
    for name in ("a.ome.tif", "a.ome.zarr"):
        (back,) = empty_viewer.open(tmp_path / name, plugin="napari-dip")
        assert isinstance(back, napari.layers.Labels)
        np.testing.assert_array_equal(back.data, cells)
        assert placement(back)[:2] == placement(layer)[:2]


@pytest.mark.gui
def test_images_and_their_labels_come_back(empty_viewer, tmp_path, rng):
    layers = [
        empty_viewer.add_image(rng.normal(size=(3, 32, 40)), name="a/b", **PLACED),
        empty_viewer.add_image(rng.normal(size=(3, 32, 40)), name="c", **PLACED),
        empty_viewer.add_labels(
            rng.integers(0, 9, (3, 32, 40)), name="cells/1", **PLACED
        ),
    ]
    save(tmp_path / "a.ome.zarr", *layers)
    assert list(zarr.label_paths(tmp_path / "a.ome.zarr")) == ["cells_1"]
    back = empty_viewer.open(tmp_path / "a.ome.zarr", plugin="napari-dip")
    assert [type(layer).__name__ for layer in back] == ["Image", "Image", "Labels"]
    for old, new in zip(layers, back, strict=True):
        np.testing.assert_array_equal(new.data, old.data)
        assert placement(new) == placement(old)


@pytest.mark.gui
def test_photograph_comes_back(empty_viewer, tmp_path, rng):
    data = rng.integers(0, 255, (32, 40, 3)).astype("u1")
    layer = empty_viewer.add_image(data, rgb=True, metadata={KEY: MADE})
    for name in ("a.ome.tif", "a.ome.zarr", "a.png"):
        save(tmp_path / name, layer)
        ((back, keywords, kind),) = readers.read_layers(tmp_path / name)
        np.testing.assert_array_equal(back, data)
        assert (keywords["rgb"], kind) == (True, "image")
        assert keywords["metadata"][KEY]["recipe"] == RECIPE


def test_replay_understands_a_saved_result(viewer, tmp_path, capsys):
    image = (100 * np.eye(32)).astype("f4")
    files.write(tmp_path / "source.tif", image)
    recipe = {"iterations": 3, "precision": "float32", "channel_axis": None}
    made = {"task": "denoise", "recipe": {"task": "denoise", **recipe}}
    layer = viewer.add_image(image, metadata={KEY: made})
    save(tmp_path / "result.ome.tif", layer)
    again = tmp_path / "again.tif"
    arguments = ["replay", tmp_path / "result.ome.tif", tmp_path / "source.tif"]
    assert cli.main([str(a) for a in (*arguments, "-o", again, "--quiet")]) == 0
    assert files.read_header(again).provenance["recipe"].items() >= recipe.items()


# -- what becomes of layers ---------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "letters"),
    [
        (None, "QQYX"),
        (("t", "z", "y", "x"), "TZYX"),
        (("Time", "Channel", "y", "x"), "TCYX"),
        (("y", "x", "t", "z"), "QQYX"),
        (("t", "t", "a", "b"), "TQYX"),
        (("angle", "s", "y", "x"), "QQYX"),
    ],
)
def test_axes_of_a_layer(labels, letters):
    layer = napari.layers.Image(np.zeros((2, 2, 32, 40)), axis_labels=labels)
    assert writers._saved(*layer.as_layer_data_tuple()).header.axes == letters


def test_pixels_are_no_unit():
    layer = napari.layers.Image(np.zeros((32, 40)), scale=(1, 2))
    header = writers._saved(*layer.as_layer_data_tuple()).header
    assert (header.scale, header.units) == ((None, 2.0), (None, None))


def test_lazy_and_multiscale_layers_are_written_in_full(viewer, tmp_path, rng):
    data = rng.normal(size=(64, 64)).astype("f4")
    lazy = dask.array.from_array(data, 16)
    save(tmp_path / "a.ome.tif", viewer.add_image([lazy, lazy[::2, ::2]]))
    np.testing.assert_array_equal(files.read(tmp_path / "a.ome.tif").data, data)


def test_size_is_checked_before_pixels_are_computed(monkeypatch, tmp_path):
    lazy = dask.array.zeros((400, 400)).map_blocks(lambda _: 1 / 0, dtype="f8")
    told = {"name": "a", "scale": (1, 1), "metadata": {}, "colormap": "gray"}
    monkeypatch.setattr(limits, "free_memory", lambda: 100_000)
    with pytest.raises(FileError, match=r"[0-9] KiB are free"):
        writers.write_ome_tiff(str(tmp_path / "a.ome.tif"), [(lazy, told, "image")])


def test_mask_in_a_png_is_one_that_the_command_line_takes(viewer, tmp_path):
    mask = np.eye(32, dtype=np.int64)
    save(tmp_path / "a.png", viewer.add_labels(mask))
    back = files.read(tmp_path / "a.png")
    assert back.data.dtype == np.uint8
    np.testing.assert_array_equal(back.data, mask)


def test_negative_labels(viewer, tmp_path):
    labels = -np.eye(32, dtype=np.int64)
    save(tmp_path / "a.ome.tif", viewer.add_labels(labels))
    np.testing.assert_array_equal(files.read(tmp_path / "a.ome.tif").data, labels)
    with pytest.raises(FileError, match="32 bits"):
        save(tmp_path / "a.ome.tif", viewer.add_labels(labels * 2**40))


@pytest.mark.parametrize(
    ("change", "warned"),
    [({}, False), ({"translate": (1, 2)}, True), ({"rotate": 30}, True)],
)
def test_what_is_not_stored_is_said(viewer, tmp_path, messages, change, warned):
    layer = viewer.add_image(np.eye(32), **change)
    messages.clear()
    save(tmp_path / "a.ome.tif", layer)
    assert any("is not stored" in text for _, text in messages) == warned


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr", "a.tif"])
@pytest.mark.parametrize("scale", [(0.5, -0.1, 0.1), (-0.5, 0.1, -0.1)])
def test_flipped_layer_keeps_its_pixel_size(viewer, tmp_path, messages, name, scale):
    data = np.arange(5 * 32 * 40, dtype="u2").reshape(5, 32, 40)
    layer = viewer.add_image(data, scale=scale, units=("um",) * 3)
    messages.clear()
    writers.write_ome_tiff(str(tmp_path / name), [layer.as_layer_data_tuple()])
    header = files.read_header(tmp_path / name)
    assert header.scale == pytest.approx((0.5, 0.1, 0.1))
    assert header.units == ("µm", "µm", "µm")
    assert any("nor flip" in text for _, text in messages)


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr", "a.tif"])
def test_one_image_keeps_name_and_colour(viewer, tmp_path, name):
    layer = viewer.add_image(np.eye(32, dtype="f4"), name="DAPI", colormap="blue")
    writers.write_ome_tiff(str(tmp_path / name), [layer.as_layer_data_tuple()])
    header = files.read_header(tmp_path / name)
    assert (header.channel_names, header.channel_colours) == (("DAPI",), ("#0000ff",))
    ((_, keywords, _),) = readers.read_layers(tmp_path / name)
    assert (keywords["name"], keywords["colormap"]) == ("DAPI", "blue")


@pytest.mark.parametrize(
    ("name", "labels"),
    [("a.ome.tif", 0), ("a.png", 0), ("a.ome.zarr", 0), ("a.ome.zarr", 1)],
)
def test_opacity_of_a_layer_is_no_colour(viewer, tmp_path, rng, name, labels):
    data = rng.integers(0, 255, (32, 40, 4)).astype("u1")
    layers = [viewer.add_image(data, rgb=True)]
    layers += [viewer.add_labels(np.eye(32, 40, dtype=int)) for _ in range(labels)]
    save(tmp_path / name, *layers)
    back = files.read(tmp_path / name)
    np.testing.assert_array_equal(back.data, data[..., :3])
    np.testing.assert_array_equal(back.alpha, data[..., 3])


def test_scale_that_a_file_cannot_hold_is_said(viewer, tmp_path, messages):
    layer = viewer.add_image(np.eye(32).astype("u1"), scale=(2, 2), units=("µm", "µm"))
    messages.clear()
    save(tmp_path / "a.png", layer)
    assert any("no place for the scale" in text for _, text in messages)


# -- names --------------------------------------------------------------------------


def test_name_without_an_ending_gets_one_and_replaces_nothing(viewer, tmp_path):
    layer = viewer.add_image(np.eye(32, dtype="f4"))
    tuples = [layer.as_layer_data_tuple()]
    for write, name in (
        (writers.write_ome_tiff, "v1.2.ome.tif"),
        (writers.write_ome_zarr, "v1.2.ome.zarr"),
    ):
        assert write(str(tmp_path / "v1.2"), tuples) == [str(tmp_path / name)]
        with pytest.raises(FileError, match="exists"):
            write(str(tmp_path / "v1.2"), tuples)
        assert write(str(tmp_path / name), tuples) == [str(tmp_path / name)]


def test_folder_of_layers(viewer, tmp_path, rng):
    layers = [
        viewer.add_image(rng.normal(size=(32, 40)), name="a/b", metadata={KEY: MADE}),
        viewer.add_image(rng.normal(size=(16, 16)), name="a:b"),
        viewer.add_labels(np.eye(32, dtype=int), name=".."),
        viewer.add_points([[1, 2], [3, 4]], name="spots"),
    ]
    tuples = [layer.as_layer_data_tuple() for layer in layers]
    written = writers.write_folder(str(tmp_path / "new"), tuples)
    names = ["a_b.ome.tif", "a_b 2.ome.tif", "layer.ome.tif", "spots.csv"]
    assert written == [str(tmp_path / "new" / name) for name in names]
    for layer, name in zip(layers[:3], names[:3], strict=True):
        np.testing.assert_array_equal(
            files.read(tmp_path / "new" / name).data, layer.data
        )
    assert files.read_header(written[0]).provenance["recipe"] == RECIPE
    assert "axis-0" in (tmp_path / "new" / "spots.csv").read_text()
    (tmp_path / "new" / "a_b.ome.tif").unlink()
    with pytest.raises(FileError, match="exists"):
        writers.write_folder(str(tmp_path / "new"), tuples)
    assert not (tmp_path / "new" / "a_b.ome.tif").exists()


def test_napari_keeps_its_own_formats():
    # Of two writers that suit equally, the one that was registered first is taken.
    manager = PluginManager()
    for plugin in ("napari", "napari-dip"):
        manager.register(PluginManager.instance().get_manifest(plugin))

    def writer(name, *kinds):
        found, _ = manager.get_writer(name, list(kinds))
        return found.command.partition(".")[0]

    for name in ("a.tif", "a.png", "a.jpg", "a"):
        assert writer(name, "image") == "napari"
    assert writer("a.tif", "labels") == "napari"
    assert writer("folder", "image", "labels") == "napari"
    assert writer("a.ome.tif", "image") == "napari-dip"
    assert writer("a.ome.zarr", "image", "labels") == "napari-dip"


# -- what is refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "second", "says"),
    [
        ("a.ome.tif", {"shape": (32, 41)}, r"the shape of 'a' is \(32, 40\)"),
        ("a.ome.tif", {"scale": (2, 2)}, "the scale of 'a'"),
        ("a.ome.tif", {"units": ("µm", "µm"), "scale": (1, 1)}, "the scale of 'a'"),
        ("a.ome.tif", {"shape": (3, 32, 40)}, "the axes of 'a' is YX"),
        ("a.ome.tif", {"labels": True}, "1 images and 1 labels do not go into one"),
        ("a.png", {"labels": True}, "1 images and 1 labels do not go into one"),
        ("a.png", {}, "2 images and 0 labels do not go into one .png"),
        ("a.ome.zarr", {"labels": True, "shape": (32, 41)}, "pixels of their image"),
    ],
)
def test_layers_that_do_not_fit_into_one_file(viewer, tmp_path, name, second, says):
    second = dict(second)
    shape, labels = second.pop("shape", (32, 40)), second.pop("labels", False)
    viewer.add_image(np.zeros((32, 40), "u1"), name="a")
    add = viewer.add_labels if labels else viewer.add_image
    add(np.zeros(shape, "u1"), name="b", **second)
    tuples = [layer.as_layer_data_tuple() for layer in viewer.layers]
    write = {"tif": writers.write_ome_tiff, "arr": writers.write_ome_zarr}.get(
        name[-3:], writers.write_png
    )
    with pytest.raises(FileError, match=says):
        write(str(tmp_path / name), tuples)
    assert list(tmp_path.iterdir()) == []


def test_napari_passes_on_why_nothing_was_written(viewer, tmp_path):
    viewer.add_image(np.zeros((32, 40)), name="a")
    viewer.add_image(np.zeros((32, 41)), name="b")
    with pytest.raises(FileError, match="the shape of 'a'"):
        viewer.layers.save(str(tmp_path / "a.ome.tif"))


def test_photographs_are_no_channels(viewer, tmp_path):
    for _ in range(2):
        viewer.add_image(np.zeros((32, 40, 3), "u1"), rgb=True)
    with pytest.raises(FileError, match="colours of its own"):
        save(tmp_path / "a.ome.tif", *viewer.layers)


def test_profile_is_a_strict_json(viewer, tmp_path):
    made = {**MADE, "loss": float("nan"), "step": np.int64(3)}
    layer = viewer.add_image(np.eye(32, dtype="f4"), metadata={KEY: made})
    save(tmp_path / "a.ome.zarr", layer)
    told = json.loads((tmp_path / "a.ome.zarr" / ".zattrs").read_text())
    assert (told[KEY]["loss"], told[KEY]["step"]) == (None, 3)
