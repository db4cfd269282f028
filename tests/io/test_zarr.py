"""OME-Zarr in and out, as the specification has it and whole or not at all."""

import builtins
import dataclasses
import json
import os
import pickle
import re
import shutil

import dask.array
import numpy as np
import pytest
import yaozarrs
import zarr as library

from napari_dip import cli
from napari_dip.cli.output import WRONG_ARGUMENTS
from napari_dip.errors import FileError, InputError
from napari_dip.io import atomic, files, limits, zarr
from napari_dip.io.image import Header, Image, split_opacity
from tests.io.conftest import numbers

VERSIONS = ("0.4", "0.5")

MADE = {
    "software": "napari-dip",
    "task": "denoise",
    "recipe": {"task": "denoise", "seed": 3},
    "stopped_by": 'quotes " and \\ and µ',
}


def header(data, axes, kind="OME-Zarr 0.4", **more):
    return Header(kind, data.shape, data.dtype, axes, **more)


def store(path, data, told, version="0.4", **options):
    """Write a store with metadata of our own making."""
    group = library.create_group(path, zarr_format=3 if version == "0.5" else 2)
    array = group.create_array("0", shape=data.shape, dtype=data.dtype, **options)
    array[...] = data
    group.attrs.put(told)
    return path


def multiscales(axes, **more):
    return {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}], **more}]}


def axes_of(names):
    return [{"name": name} for name in names]


# -- round trips ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "i8", "f2", "f4", "f8", "?"])
@pytest.mark.parametrize(
    ("shape", "axes"), [((20, 33), "YX"), ((20, 33, 3), "YXS"), ((4, 20, 33), "ZYX")]
)
def test_values_type_axes_and_provenance_are_kept(tmp_path, rng, dtype, shape, axes):
    path = tmp_path / "image.ome.zarr"
    data = numbers(rng, shape, dtype)
    files.write(path, data, provenance=MADE)
    back = files.read(path)
    np.testing.assert_array_equal(back.data, data)
    assert back.data.dtype == data.dtype
    assert back.header == files.read_header(path)
    assert back.header.axes == axes
    assert back.header.provenance == MADE


@pytest.mark.parametrize("version", VERSIONS)
def test_axes_scale_units_names_and_colours_are_kept(tmp_path, rng, version):
    path = tmp_path / "image.ome.zarr"
    data = numbers(rng, (2, 3, 2, 20, 33))
    like = header(
        data,
        "TZCYX",
        f"OME-Zarr {version}",
        scale=(2.0, 0.5, None, 0.2, 0.1075),
        units=("s", "µm", None, "nm", "my own unit"),
        channel_names=("DAPI", "GFP"),
        channel_colours=("#0000ff", "#00ff7f"),
    )
    files.write(path, data, Image(data, like), MADE)
    back = files.read(path)
    np.testing.assert_array_equal(back.data, data.swapaxes(1, 2))
    assert back.header == dataclasses.replace(
        like,
        shape=(2, 2, 3, 20, 33),
        axes="TCZYX",
        scale=(2.0, None, 0.5, 0.2, 0.1075),
        units=("s", None, "µm", "nm", "my own unit"),
        provenance=MADE,
    )


@pytest.mark.parametrize("count", [3, 4])
def test_colours_are_colours_again(tmp_path, rng, count):
    data = numbers(rng, (2, 20, 33, count), "u1")
    image = Image(data, header(data, "TYXS"))
    if count == 4:
        image = split_opacity(data, image.header)
    files.write(tmp_path / "image.zarr", image.data, image)
    back = files.read(tmp_path / "image.zarr")
    np.testing.assert_array_equal(back.data, data[..., :3])
    if count == 4:
        np.testing.assert_array_equal(back.alpha, data[..., 3])
    assert back.header.axes == "TYXS"
    stored = library.open_array(tmp_path / "image.zarr" / "0", mode="r")
    assert stored.shape == (2, count, 20, 33)


def test_second_type_of_integers_of_64_bits(tmp_path):
    data = np.arange(400, dtype=np.longlong).reshape(20, 20)
    files.write(tmp_path / "a.ome.zarr", data)
    back = files.read(tmp_path / "a.ome.zarr").data
    np.testing.assert_array_equal(back, data)
    assert back.dtype == np.int64


def test_three_channels_are_no_photograph(tmp_path, rng):
    data = numbers(rng, (3, 20, 33))
    files.write(tmp_path / "image.zarr", data, Image(data, header(data, "CYX")))
    assert files.read_header(tmp_path / "image.zarr").axes == "CYX"


def test_large_image_has_chunks(tmp_path, rng):
    data = numbers(rng, (2, 1100, 1030), "u1")
    files.write(tmp_path / "image.zarr", data)
    assert library.open_array(tmp_path / "image.zarr" / "0").chunks == (1, 1024, 1024)
    np.testing.assert_array_equal(files.read(tmp_path / "image.zarr").data, data)


def test_labels_lie_beside_their_image(tmp_path, rng):
    path = tmp_path / "image.zarr"
    data, cells = numbers(rng, (2, 20, 33)), numbers(rng, (20, 33), "u4")
    like, of = header(data, "CYX"), header(cells, "YX", scale=(2, 2), units=("nm",) * 2)
    zarr.write(path, data, like, labels={"cells": (cells, of, json.dumps(MADE))})
    assert zarr.label_paths(path) == {"cells": path / "labels" / "cells"}
    back = files.read(zarr.label_paths(path)["cells"])
    np.testing.assert_array_equal(back.data, cells)
    assert (back.header.scale, back.header.provenance) == ((2.0, 2.0), MADE)
    assert zarr.label_paths(path / "labels" / "cells") == {}
    library.open_group(path / "labels").attrs["labels"] = ["gone", "cells"]
    assert list(zarr.label_paths(path)) == ["cells"]
    told = library.open_group(path / "labels" / "cells").attrs
    assert told["image-label"]["source"] == {"image": "../../"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("parts", [False, True])
def test_labels_of_the_input_are_those_of_the_result(tmp_path, rng, version, parts):
    first, second = tmp_path / "a.zarr", tmp_path / "b.zarr"
    data, cells = numbers(rng, (2, 20, 33)), numbers(rng, (20, 33), "u4")
    like = header(data, "CYX", f"OME-Zarr {version}")
    of = header(cells, "YX", f"OME-Zarr {version}")
    zarr.write(first, data, like, labels={"cells": (cells, of, json.dumps(MADE))})
    os.symlink(first, first / "labels" / "link")
    image = files.read(first)
    if parts:
        with files.writing(second, data.shape, data.dtype, image) as out:
            out[...] = data
    else:
        assert files.write(second, data, image) == []
    labels = zarr.label_paths(second)
    assert list(labels) == ["cells"]
    assert not (second / "labels" / "link").exists()
    back = files.read(labels["cells"])
    np.testing.assert_array_equal(back.data, cells)
    assert back.header.provenance == MADE
    note = "a TIFF has no place for the labels of the input"
    assert files.write(tmp_path / "b.ome.tif", data, image) == [note]
    # They are not on the pixels of an image that is larger.
    files.write(tmp_path / "c.zarr", data.repeat(2, axis=1), image)
    assert zarr.label_paths(tmp_path / "c.zarr") == {}


def test_labels_that_cannot_be_copied_leave_nothing(tmp_path, rng, monkeypatch):
    data, cells = numbers(rng, (20, 33)), numbers(rng, (20, 33), "u4")
    labels = {"cells": (cells, header(cells, "YX"), None)}
    zarr.write(tmp_path / "a.zarr", data, header(data, "YX"), labels=labels)
    image = files.read(tmp_path / "a.zarr")

    def full(*_, **__):
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")])

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(FileError, match=r"b\.zarr cannot be written: .*No space left"):
        files.write(tmp_path / "b.zarr", data, image)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


# -- what the specification says ----------------------------------------------------


def test_metadata_of_version_4(tmp_path, rng):
    data = numbers(rng, (2, 20, 33), "f4")
    data[0, 0] = np.nan, np.inf, -np.inf, *data[0, 0, 3:]
    like = header(data, "CYX", scale=(None, 0.5, 0.25), units=(None, "µm", "µm"))
    zarr.write(tmp_path / "a.zarr", data, like)
    group = json.loads((tmp_path / "a.zarr" / ".zgroup").read_text())
    assert group == {"zarr_format": 2}
    told = json.loads((tmp_path / "a.zarr" / ".zattrs").read_text())
    assert told["multiscales"] == [
        {
            "version": "0.4",
            "axes": [
                {"name": "c", "type": "channel"},
                {"name": "y", "type": "space", "unit": "micrometer"},
                {"name": "x", "type": "space", "unit": "micrometer"},
            ],
            "datasets": [
                {
                    "path": "0",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [1.0, 0.5, 0.25]}
                    ],
                }
            ],
        }
    ]
    finite = data[0][np.isfinite(data[0])]
    low, high = float(finite.min()), float(finite.max())
    assert told["omero"]["channels"][0] == {
        "color": "FF00FF",
        "window": {"start": low, "end": high, "min": low, "max": high},
        "active": True,
    }
    array = json.loads((tmp_path / "a.zarr" / "0" / ".zarray").read_text())
    assert array["dimension_separator"] == "/"
    assert array["compressor"]["id"] == "blosc"


def test_metadata_of_version_5(tmp_path, rng):
    data = numbers(rng, (2, 20, 33))
    zarr.write(tmp_path / "a.zarr", data, header(data, "CYX", "OME-Zarr 0.5"))
    told = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    assert told["zarr_format"] == 3
    ome = told["attributes"]["ome"]
    assert ome["version"] == "0.5"
    assert "version" not in ome["multiscales"][0]
    assert len(ome["omero"]["channels"]) == 2
    array = json.loads((tmp_path / "a.zarr" / "0" / "zarr.json").read_text())
    assert array["dimension_names"] == ["c", "y", "x"]


def test_result_has_the_version_of_its_input(tmp_path, rng):
    data = numbers(rng, (20, 33))
    for version, name in (("0.5", "zarr.json"), ("0.4", ".zattrs")):
        first, second = tmp_path / f"{version}-a.zarr", tmp_path / f"{version}-b.zarr"
        zarr.write(first, data, header(data, "YX", f"OME-Zarr {version}"))
        files.write(second, data, files.read(first))
        assert (second / name).exists()


@pytest.mark.parametrize("version", VERSIONS)
def test_scales_of_levels_and_image_multiply(tmp_path, rng, version):
    scale = [{"type": "scale", "scale": [1, 0.5, 0.25]}]
    shift = [{"type": "translation", "translation": [3, 4, 5]}]
    datasets = [{"path": "0", "coordinateTransformations": scale + shift}]
    axes = [
        {"name": "t", "type": "time", "unit": "second"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space"},
    ]
    whole = [{"type": "scale", "scale": [10, 1, 2]}]
    told = multiscales(axes, datasets=datasets, coordinateTransformations=whole)
    if version == "0.5":
        told = {"ome": {"version": version, **told}}
    path = store(tmp_path / "a", numbers(rng, (2, 20, 33)), told, version)
    found = files.read_header(path)
    assert found.scale == (10, 0.5, 0.5)
    assert found.units == ("s", "µm", None)


@pytest.mark.parametrize("of_all", [False, True])
def test_a_position_that_is_not_kept_is_noted(tmp_path, rng, of_all):
    data = numbers(rng, (20, 33))
    zarr.write(tmp_path / "a.zarr", data, header(data, "YX"))
    group = library.open_group(tmp_path / "a.zarr")
    (multiscale,) = group.attrs["multiscales"]
    for shift, notes in ([0.0, 0.0], 0), ([0.0, 12.5], 1):
        steps = {"type": "scale", "scale": [1.0, 1.0]}
        place = multiscale if of_all else multiscale["datasets"][0]
        move = {"type": "translation", "translation": shift}
        place["coordinateTransformations"] = [steps, move]
        group.attrs["multiscales"] = [multiscale]
        told = files.read(tmp_path / "a.zarr").header.notes
        assert told == ("the position of the image (translation) is not kept",)[:notes]


def test_flipped_axis_keeps_its_step(tmp_path, rng):
    scale = {"type": "scale", "scale": [-0.2, 0.1]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    path = tmp_path / "a.zarr"
    store(path, numbers(rng, (20, 33)), multiscales(axes, datasets=datasets))
    header = files.read_header(path)
    assert header.scale == (0.2, 0.1)
    assert "flipped" in header.notes[0]


def test_scale_of_one_without_unit_says_nothing(tmp_path, rng):
    data = numbers(rng, (20, 33))
    files.write(tmp_path / "a.zarr", data)
    assert files.read_header(tmp_path / "a.zarr").scale == (None, None)


@pytest.mark.parametrize(
    ("axes", "letters"),
    [
        (None, "TCZYX"),  # versions 0.1 and 0.2
        (["t", "c", "z", "y", "x"], "TCZYX"),  # 0.3
        (axes_of(["angle", "c", "z", "y", "x"]), "ACZYX"),
        (axes_of(["cycle", "c", "z", "y", "x"]), "CQZYX"),
        (axes_of(["sample", "4", "z", "y", "x"]), "QQZYX"),
        ([{"name": "when", "type": "time"}, *axes_of("czyx")], "TCZYX"),
    ],
)
def test_axes_of_all_versions(tmp_path, rng, axes, letters):
    told = multiscales(axes)
    if axes is None:
        del told["multiscales"][0]["axes"]
    path = store(tmp_path / "a", numbers(rng, (2, 1, 2, 20, 33)), told)
    assert files.read_header(path).axes == letters


@pytest.mark.parametrize("version", VERSIONS)
def test_metadata_that_we_write_are_valid(tmp_path, rng, version):
    data, cells = numbers(rng, (2, 3, 2, 20, 33), "f4"), numbers(rng, (20, 33), "u4")
    scale, units = (2.0, 0.5, None, 0.2, 0.1), ("s", "µm", None, "nm", "Å")
    like = header(data, "TZCYX", f"OME-Zarr {version}", scale=scale, units=units)
    labels = {"cells": (cells, header(cells, "YX"), None)}
    path = tmp_path / "a.zarr"
    zarr.write(path, data, like, json.dumps(MADE), labels=labels)
    models = yaozarrs.v05 if version == "0.5" else yaozarrs.v04

    def validated(kind, *groups):
        stored = library.open(path.joinpath(*groups), mode="r").attrs.asdict()
        return kind.model_validate(stored["ome"] if version == "0.5" else stored)

    image = validated(models.Image)
    assert [axis.name for axis in image.multiscales[0].axes] == list("tczyx")
    assert len(image.omero.channels) == 2
    assert validated(models.LabelsGroup, "labels").labels == ["cells"]
    label = validated(models.LabelImage, "labels", "cells")
    assert label.image_label.source.image == "../../"


def test_null_says_no_more_than_a_missing_key(tmp_path, rng):
    data = numbers(rng, (2, 20, 33))
    nothing = {"label": None, "color": None}
    axes = [{"name": name, "unit": None, "type": None} for name in "cyx"]
    metadata = multiscales(axes, coordinateTransformations=None)
    metadata["omero"] = {"channels": [nothing, nothing]}
    back = files.read_header(store(tmp_path / "a", data, metadata))
    assert (back.axes, back.scale) == ("CYX", (None, None, None))
    assert (back.channel_names, back.channel_colours) == ((), ())


def test_axes_in_another_order_are_sorted(tmp_path, rng):
    data = numbers(rng, (20, 33, 2))
    told = multiscales(
        axes_of("yxc"),
        coordinateTransformations=[{"type": "scale", "scale": [2, 3, 1]}],
    )
    path = store(tmp_path / "a", data, told)
    back = files.read(path)
    assert (back.header.axes, back.header.scale) == ("CYX", (None, 2, 3))
    np.testing.assert_array_equal(back.data, np.moveaxis(data, 2, 0))
    (lazy,) = files.open_levels(path)[1]
    np.testing.assert_array_equal(lazy, back.data)


@pytest.mark.parametrize("omero", [[1], {"channels": "ab"}, {"channels": [1, 2]}])
def test_channels_that_say_nothing(tmp_path, rng, omero):
    data = numbers(rng, (2, 20, 33))
    told = {**multiscales(axes_of("cyx")), "omero": omero}
    image = files.read(store(tmp_path / "a.zarr", data, told))
    np.testing.assert_array_equal(image.data, data)
    assert image.header.channel_names == image.header.channel_colours == ()


@pytest.mark.parametrize("shape", [(), (7,)])
def test_array_that_is_no_image(tmp_path, shape):
    library.create_array(tmp_path / "a.zarr", shape=shape, dtype="u1")
    for read in (files.read, files.read_header, files.open_levels):
        with pytest.raises(FileError, match=r"a\.zarr holds an array of shape \("):
            read(tmp_path / "a.zarr")


def test_array_without_metadata(tmp_path, rng):
    data = numbers(rng, (5, 20, 33))
    library.create_array(tmp_path / "a.zarr", data=data.byteswap(), zarr_format=2)
    # The bytes of big-endian values, which the library does not write.
    told = json.loads((tmp_path / "a.zarr" / ".zarray").read_text())
    (tmp_path / "a.zarr" / ".zarray").write_text(json.dumps(told | {"dtype": ">u2"}))
    back = files.read(tmp_path / "a.zarr")
    assert (back.header.format, back.header.axes) == ("Zarr", "QYX")
    assert back.data.dtype.isnative
    np.testing.assert_array_equal(back.data, data)


def test_names_of_dimensions_of_an_array(tmp_path, rng):
    data = numbers(rng, (5, 20, 33))
    names = ["time", "y", "x"]
    library.create_array(tmp_path / "a.zarr", data=data, dimension_names=names)
    assert files.read_header(tmp_path / "a.zarr").axes == "TYX"


def test_names_of_dimensions_as_xarray_writes_them(tmp_path, rng):
    data = numbers(rng, (5, 20, 33))
    for names, axes in ((["time", "y", "x"], "TYX"), (5, "QYX"), (["lat"], "QYX")):
        library.create_array(
            tmp_path / "a.zarr",
            data=data,
            zarr_format=2,
            overwrite=True,
            attributes={"_ARRAY_DIMENSIONS": names},
        )
        assert files.read_header(tmp_path / "a.zarr").axes == axes


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (("channel", "height", "width"), "CYX"),
        (("depth", "height", "width"), "ZYX"),
        (("frame", "row", "column"), "TYX"),
    ],
)
def test_axes_of_space_are_told_by_their_order(tmp_path, rng, version, names, axes):
    data = numbers(rng, (2, 20, 33))
    kinds = {"channel": "channel", "frame": "time"}
    described = [{"name": n, "type": kinds.get(n, "space")} for n in names]
    told = multiscales(described)
    told = {"ome": {"version": version, **told}} if version == "0.5" else told
    image = files.read(store(tmp_path / "a.zarr", data, told, version))
    assert image.header.axes == axes
    np.testing.assert_array_equal(image.data, data)


def test_colours_as_other_programs_write_them(tmp_path, rng):
    channels = [{"color": text} for text in ("#00FF00", "ff00ff80", "0000ff")]
    told = {**multiscales(axes_of("cyx")), "omero": {"channels": channels}}
    path = store(tmp_path / "a.zarr", numbers(rng, (3, 20, 33)), told)
    colours = files.read_header(path).channel_colours
    assert colours == ("#00ff00", "#ff00ff", "#0000ff")


def test_first_of_several_images(tmp_path, rng):
    root = library.create_group(tmp_path / "a.zarr", zarr_format=2)
    root.attrs.put({"bioformats2raw.layout": 3})
    first, second = numbers(rng, (20, 33)), numbers(rng, (5, 6, 7))
    cells = {"cells": (first, header(first, "YX"), None)}
    zarr.write(tmp_path / "a.zarr" / "0", first, header(first, "YX"), labels=cells)
    zarr.write(tmp_path / "a.zarr" / "1", second, header(second, "ZYX"))
    back = files.read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(back.data, first)
    assert "more images" in back.header.notes[0]
    found = zarr.label_paths(tmp_path / "a.zarr")
    np.testing.assert_array_equal(files.read(found["cells"]).data, first)


# -- lazily -----------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_levels_are_opened_without_pixels(tmp_path, rng, version):
    data = numbers(rng, (2, 40, 64))
    path = tmp_path / "a"
    group = library.create_group(path, zarr_format=3 if version == "0.5" else 2)
    for name, step in (("full", 1), ("half", 2)):
        group.create_array(name, data=data[:, ::step, ::step])
    told = multiscales(axes_of("zyx"), datasets=[{"path": "full"}, {"path": "half"}])
    group.attrs.put({"ome": told} if version == "0.5" else told)
    found, levels = files.open_levels(path)
    assert all(isinstance(level, dask.array.Array) for level in levels)
    assert [level.shape for level in levels] == [(2, 40, 64), (2, 20, 32)]
    assert found == files.read_header(path)
    np.testing.assert_array_equal(levels[1][0], data[0, ::2, ::2])


# -- what is refused --------------------------------------------------------------


@pytest.mark.parametrize("missing", ["yaozarrs", "zarr"])
def test_library_that_is_not_there(tmp_path, rng, monkeypatch, missing):
    data = numbers(rng, (20, 33))
    files.write(tmp_path / "a.zarr", data)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == missing:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FileError, match=r'pip install "napari-dip\[zarr\]"'):
        files.read(tmp_path / "a.zarr")
    with pytest.raises(FileError, match=r'pip install "napari-dip\[zarr\]"'):
        files.check_output(tmp_path / "b.zarr", header(data, "YX"), data.dtype)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (
            {},
            "no image with the metadata of OME-Zarr; name an array in it, .*a.zarr.0$",
        ),
        ({"plate": {}}, "wells of a plate"),
        (multiscales(axes_of("zyx")), "one for every dimension"),
        (multiscales(axes_of("zx")), "must have the axes y and x"),
        ({"multiscales": []}, "no image with the metadata of OME-Zarr"),
        (multiscales(axes_of("yx"), datasets=[]), "a.zarr holds an image of no res"),
        (
            multiscales(axes_of("yx"), datasets=[{"path": "nonesuch"}]),
            "a.zarr is damaged: it speaks of an array 'nonesuch'",
        ),
        ({"labels": ["cells"]}, r"holds labels; name one in it, such as .*cells"),
        (multiscales(axes_of("yx"), datasets="0"), "datasets must be a list"),
        (multiscales([{"name": "y", "type": 3}, {"name": "x"}]), "axes must be .*: 3"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_metadata_that_make_no_image(tmp_path, rng, told, says, version):
    told = {"ome": told} if version == "0.5" else told
    path = store(tmp_path / "a.zarr", numbers(rng, (20, 33)), told, version)
    for read in (files.read, files.read_header, files.open_levels):
        with pytest.raises(FileError, match=says):
            read(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_plate_names_an_image_that_it_holds(tmp_path, rng, version):
    zarr_format = 3 if version == "0.5" else 2
    plate = library.create_group(tmp_path / "p.zarr", zarr_format=zarr_format)

    def describe(group, what):
        group.attrs.update({"ome": what} if version == "0.5" else what)

    describe(plate, {"plate": {"wells": [{"path": "A/1"}, {"path": "B/03"}]}})
    well = plate.create_group("B/03")
    describe(well, {"well": {"images": [{"path": "f0"}, {"path": "f1"}]}})
    well.create_group("f1")
    path = tmp_path / "p.zarr"
    with pytest.raises(FileError, match=r"wells of a plate.*such as .*B/03/f1$"):
        files.read_header(path)
    with pytest.raises(FileError, match=r"fields of a well.*such as .*B/03/f1$"):
        files.read_header(path / "B" / "03")


@pytest.mark.parametrize("name", [".zattrs", "0/.zarray", "0/0/0"])
def test_damaged_store(tmp_path, rng, name):
    path = tmp_path / "a.zarr"
    files.write(path, numbers(rng, (20, 33)))
    (path / name).write_bytes((path / name).read_bytes()[5:])
    with pytest.raises(FileError, match=r"a\.zarr cannot be read"):
        files.read(path)


def test_folder_that_is_no_store(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(FileError, match="neither a file nor an OME-Zarr"):
        files.read(tmp_path / "a.zarr")


class Trap:
    """Does something when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return Trap.spring, ()

    @staticmethod
    def spring():
        Trap.sprung = True
        return np.zeros((4, 4), "u1")


@pytest.mark.parametrize("dtype", ["|u1", "|O"])
def test_pickled_values_are_never_read(tmp_path, dtype, monkeypatch):
    monkeypatch.setattr(Trap, "sprung", False)
    path = tmp_path / "a.zarr"
    files.write(path, np.zeros((4, 4), "u1"))
    told = json.loads((path / "0" / ".zarray").read_text())
    told |= {"dtype": dtype, "compressor": None, "filters": [{"id": "pickle"}]}
    (path / "0" / ".zarray").write_text(json.dumps(told))
    (path / "0" / "0").mkdir(exist_ok=True)
    (path / "0" / "0" / "0").write_bytes(pickle.dumps(Trap()))
    for read in (files.read, files.read_header, files.open_levels):
        with pytest.raises(FileError):
            read(path)
    assert not Trap.sprung
    pickle.loads(pickle.dumps(Trap()))
    assert Trap.sprung


def test_size_is_checked_before_the_pixels(tmp_path, rng, monkeypatch):
    files.write(tmp_path / "a.zarr", numbers(rng, (200, 200)))
    monkeypatch.setattr(limits, "free_memory", lambda: 100_000)
    monkeypatch.setattr(library.Array, "__getitem__", None)
    with pytest.raises(FileError, match=r"[0-9] KiB are free"):
        files.read(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("shape", "axes", "dtype", "says"),
    [
        ((2, 20, 33, 3), "CYXS", "u1", "either colours or channels"),
        ((2, 2, 2, 20, 33), "QWVYX", "u1", "the axes QWVYX"),
        ((20, 33), "YX", "c8", "numbers"),
    ],
)
def test_what_an_ome_zarr_cannot_hold(tmp_path, shape, axes, dtype, says):
    data = np.zeros(shape, dtype)
    with pytest.raises(InputError, match=says):
        files.write(tmp_path / "a.zarr", data, Image(data, header(data, axes)))
    assert list(tmp_path.iterdir()) == []


# -- whole or not at all ------------------------------------------------------------


def test_store_is_replaced_only_when_allowed(tmp_path, rng):
    path = tmp_path / "a.zarr"
    old, new = numbers(rng, (20, 33)), numbers(rng, (40, 21))
    files.write(path, old)
    with pytest.raises(InputError, match="exists"):
        files.write(path, new)
    np.testing.assert_array_equal(files.read(path).data, old)
    files.write(path, new, overwrite=True)
    np.testing.assert_array_equal(files.read(path).data, new)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_only_a_store_gives_way_to_a_store(tmp_path, rng, kind):
    path = tmp_path / "a.zarr"
    if kind == "folder":
        path.mkdir()
        (path / "thesis.txt").write_text("years of work")
    else:
        path.write_text("years of work")
    with pytest.raises(InputError, match="a new folder or a Zarr store"):
        files.write(path, numbers(rng, (20, 33)), overwrite=True)
    assert [p.name for p in tmp_path.rglob("*")].count("a.zarr") == 1
    kept = path / "thesis.txt" if kind == "folder" else path
    assert kept.read_text() == "years of work"


def test_an_empty_folder_becomes_a_store(tmp_path, rng):
    data, path = numbers(rng, (20, 33)), tmp_path / "a.zarr"
    path.mkdir()
    files.write(path, data)
    np.testing.assert_array_equal(files.read(path).data, data)
    assert list(tmp_path.iterdir()) == [path]


def test_store_does_not_replace_by_a_file(tmp_path, rng):
    files.write(tmp_path / "a.zarr", numbers(rng, (20, 33)))
    (tmp_path / "a.zarr").rename(tmp_path / "a.tif")
    with pytest.raises(InputError, match="must be a file"):
        files.write(tmp_path / "a.tif", numbers(rng, (20, 33)), overwrite=True)


def test_nothing_is_left_of_a_write_that_fails(tmp_path, rng, monkeypatch):
    path = tmp_path / "a.zarr"
    old = numbers(rng, (20, 33))
    files.write(path, old)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library.Array, "__setitem__", full)
    with pytest.raises(FileError, match="No space left"):
        files.write(path, old + 1, overwrite=True)
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(files.read(path).data, old)


def test_old_store_is_put_back_when_the_new_one_cannot_be_named(
    tmp_path, rng, monkeypatch
):
    path = tmp_path / "a.zarr"
    old = numbers(rng, (20, 33))
    files.write(path, old)
    replace = atomic.os.replace

    def some(source, target):
        if str(source).endswith(".part"):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", some)
    with pytest.raises(FileError, match="Permission denied"):
        files.write(path, old + 1, overwrite=True)
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(files.read(path).data, old)


# -- on the command line ------------------------------------------------------------


@pytest.fixture
def noisy(tmp_path, rng):
    path = tmp_path / "noisy.ome.zarr"
    data = (100 * np.eye(32) + rng.normal(0, 10, (32, 32))).astype("f4")
    like = header(data, "YX", scale=(0.5, 0.25), units=("µm", "µm"))
    files.write(path, data, Image(data, like))
    return path


SHORT = ("--iterations", "3", "--precision", "float32", "--quiet")


def run(*arguments):
    return cli.main([str(a) for a in arguments])


def test_commands_on_stores(tmp_path, noisy, small_fits, capsys):
    output, again = tmp_path / "out.ome.zarr", tmp_path / "again.ome.zarr"
    assert run("denoise", noisy, "-o", output, *SHORT) == 0
    back = files.read(output)
    assert back.header.scale == (0.5, 0.25)
    assert back.header.provenance["inputs"]["image"]["file"] == noisy.name
    assert run("denoise", noisy, "-o", output, *SHORT) == WRONG_ARGUMENTS
    assert "--overwrite" in capsys.readouterr().err
    assert run("denoise", noisy, "-o", output, "--overwrite", *SHORT) == 0
    assert run("replay", output, noisy, "-o", again, "--quiet") == 0
    np.testing.assert_array_equal(files.read(again).data, back.data)
    capsys.readouterr()
    assert run("info", output, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["axes"]) == ("OME-Zarr 0.4", "YX")
    assert told["scale"] == {"Y": "0.5 µm", "X": "0.25 µm"}
    assert told["provenance"]["task"] == "denoise"


def test_stores_into_a_folder(tmp_path, noisy, small_fits):
    assert run("denoise", noisy, "-o", tmp_path / "results", *SHORT) == 0
    assert files.read_header(tmp_path / "results" / noisy.name).provenance


def test_input_is_not_the_output(noisy, capsys):
    assert run("denoise", noisy, "-o", noisy, "--overwrite") == WRONG_ARGUMENTS
    assert "must not be one of the inputs" in capsys.readouterr().err


def test_one_store_for_several_inputs(tmp_path, noisy, capsys):
    output = tmp_path / "out.ome.zarr"
    assert run("denoise", noisy, noisy, "-o", output) == WRONG_ARGUMENTS
    assert "must be a folder" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["OME-Zarr 0.4", "OME-Zarr 0.5"])
def test_channels_without_names_get_none(tmp_path, rng, form):
    data = numbers(rng, (2, 20, 33))
    zarr.write(tmp_path / "a.zarr", data, header(data, "CYX", form))
    assert zarr.read(tmp_path / "a.zarr").header.channel_names == ()
    assert (
        "label"
        not in (tmp_path / "a.zarr")
        .joinpath(".zattrs" if form.endswith("4") else "zarr.json")
        .read_text()
    )


AXES = ["y", "x"]


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"ome": None}, "ome must be a mapping; got null"),
        ({"multiscales": "x"}, 'multiscales must be a list; got "x"'),
        ({"multiscales": [None]}, "multiscales must be a list"),
        ({"multiscales": [{}]}, "datasets must be a list of arrays with a path"),
        ({"multiscales": [{"datasets": "0"}]}, "datasets must be a list"),
        ({"multiscales": [{"datasets": [{}]}]}, "datasets must be a list"),
        ({"multiscales": [{"datasets": [{"path": 5}]}]}, "datasets must be a list"),
        ({"multiscales": [{"datasets": [{"path": "../0"}]}]}, "datasets must be"),
        (
            {"multiscales": [{"datasets": [{"path": "0"}], "axes": [{}, {}]}]},
            "axes must be a list of names",
        ),
        ({"plate": {"wells": [{}]}}, "wells of a plate must be a list with paths"),
        ({"plate": [1]}, "wells of a plate must be a list with paths"),
    ],
)
def test_metadata_that_are_not_those_of_ome_zarr(tmp_path, attributes, says):
    path = tmp_path / "a.zarr"
    group = library.create_group(path, zarr_format=2)
    group.create_array("0", data=np.zeros((16, 16)))
    group.attrs.put(attributes)
    with pytest.raises(FileError, match=re.escape(says)) as error:
        files.read(path)
    assert str(error.value).startswith("a.zarr has metadata that are not")


@pytest.mark.parametrize(
    ("transformations", "says"),
    [
        ([{"type": "scale", "scale": [1, 1, 1]}], "a scale must be 2 numbers"),
        ([{"type": "scale", "scale": ["a", "b"]}], "a scale must be 2 numbers"),
        ([{"type": "scale", "scale": 2}], "a scale must be 2 numbers"),
        ({"type": "scale"}, "coordinateTransformations must be a list"),
    ],
)
def test_scale_that_is_not_that_of_ome_zarr(tmp_path, transformations, says):
    path = tmp_path / "a.zarr"
    group = library.create_group(path, zarr_format=2)
    group.create_array("0", data=np.zeros((16, 16)))
    dataset = {"path": "0", "coordinateTransformations": transformations}
    group.attrs.put({"multiscales": [{"axes": AXES, "datasets": [dataset]}]})
    with pytest.raises(FileError, match=says):
        files.read(path)


@pytest.mark.parametrize("listed", [["b", "a"], ["b", "nonesuch"], [], None])
def test_images_side_by_side_are_those_that_are_listed(tmp_path, rng, listed):
    path = tmp_path / "many.zarr"
    library.create_group(path, zarr_format=2).attrs.put({"bioformats2raw.layout": 3})
    told = {"multiscales": [{"axes": AXES, "datasets": [{"path": "0"}]}]}
    for name, side in (("a", 16), ("b", 20)):
        store(path / name, numbers(rng, (side, side)), told, "0.4")
    if listed is not None:
        group = library.create_group(path / "OME", zarr_format=2)
        group.attrs.put({"series": listed})
    there = [name for name in listed or () if name in "ab"]
    assert [image for image, _ in files.images_in(path)[0]] == [path / n for n in there]
    if not there:
        with pytest.raises(FileError, match=r"many\.zarr says that it holds images"):
            files.read(path)
        return
    image = files.read(path)
    assert image.data.shape == (20, 20)
    assert bool(image.header.notes) == (len(there) > 1)


def test_complex_values_are_no_image(tmp_path):
    data = np.zeros((16, 16), "c8")
    store(tmp_path / "a.zarr", data, multiscales(axes_of("yx")))
    with pytest.raises(FileError, match="holds values of type complex64, which are"):
        files.read(tmp_path / "a.zarr")
