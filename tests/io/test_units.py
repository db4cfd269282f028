"""Steps along axes mean the same in every file, or are left out with a note."""

import numpy as np
import pytest
import tifffile

from napari_dip.io import files, units
from napari_dip.io.image import Header, Image

STACK = np.random.default_rng(0).integers(0, 4000, (3, 32, 40)).astype("u2")


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("micron", "µm"),
        ("Microns", "µm"),
        ("um", "µm"),
        ("μm", "µm"),
        ("\\u00B5m", "µm"),
        ("\\u00C5", "Å"),
        ("micrometer", "µm"),
        ("nanometers", "nm"),
        ("angstrom", "Å"),
        ("inch", "in"),
        ("sec", "s"),
        ("minutes", "min"),
        ("hour", "h"),
        ("pixel", None),
        ("", None),
        (None, None),
        ("reference frame", "reference frame"),
        ("m**9**9**9", "m**9**9**9"),
    ],
)
def test_symbols(name, symbol):
    assert units.symbol(name) == symbol


@pytest.mark.parametrize(
    ("value", "unit", "wanted", "result"),
    [
        (300, "nm", "µm", 0.3),
        (2, "min", "s", 120),
        (1, "in", "cm", 2.54),
        (1, "s", "µm", None),
        (1, None, "µm", None),
        (1, "furlongish", "µm", None),
        (5, None, None, 5),
    ],
)
def test_conversion(value, unit, wanted, result):
    converted = units.converted(value, unit, wanted)
    assert converted == (None if result is None else pytest.approx(result))


def same_step(value, unit, other, other_unit):
    """Whether two steps are the same length or time."""
    return units.converted(value, unit, other_unit) == pytest.approx(other)


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize(
    ("axes", "scale", "names"),
    [
        ("ZYX", (300, 0.1, 0.1), ("nm", "µm", "µm")),
        ("ZYX", (0.3, 100, 100), ("µm", "nm", "nm")),
        ("ZYX", (1e-6, 1e-7, 1e-7), ("m", "m", "m")),
        ("ZYX", (3000, 1000, 1000), ("Å", "Å", "Å")),
        ("ZYX", (0.1, 0.001, 0.002), ("in", "in", "mm")),
        ("ZYX", (1.5e-3, 2e-4, 2e-4), ("mil", "ft", "yd")),
        ("TYX", (2, 0.1, 0.1), ("min", "µm", "µm")),
        ("TYX", (500, 0.1, 0.1), ("ms", "µm", "µm")),
        ("TYX", (0.25, 0.1, 0.1), ("h", "µm", "µm")),
        ("TYX", (1, 0.1, 0.1), ("week", "µm", "µm")),
        ("TYX", (40, 0.1, 0.1), ("µs", "µm", "µm")),
    ],
)
def test_steps_mean_the_same(tmp_path, ending, axes, scale, names):
    names = tuple("in" if name == "mil" else name for name in names)
    header = Header("", STACK.shape, STACK.dtype, axes, scale, names)
    path = tmp_path / f"a{ending}"
    notes = files.write(path, STACK, Image(STACK, header))
    back = files.read_header(path)
    assert back.axes == axes
    for i, axis in enumerate(axes):
        if back.scale[i] is None:
            assert axis in "".join(notes)
        else:
            assert same_step(scale[i], names[i], back.scale[i], back.units[i])
    assert notes == []


def test_imagej_and_others_read_the_same_depth(tmp_path):
    """Readers that know of one unit only would take another one for it."""
    names = ("nm", "µm", "µm")
    header = Header("", STACK.shape, STACK.dtype, "ZYX", (300, 0.1, 0.1), names)
    files.write(tmp_path / "a.tif", STACK, Image(STACK, header))
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        metadata = tif.imagej_metadata
        x = tif.pages[0].tags.valueof("XResolution")
    assert (metadata["unit"], metadata["spacing"]) == ("nm", 300)
    assert x[1] / x[0] == pytest.approx(100)


def test_units_of_axes_that_imagej_names_apart(tmp_path):
    metadata = {"axes": "ZYX", "unit": "micron", "zunit": "nm", "spacing": 300}
    metadata |= {"yunit": "mm"}
    tifffile.imwrite(
        tmp_path / "a.tif", STACK, imagej=True, resolution=(5, 5), metadata=metadata
    )
    assert files.read_header(tmp_path / "a.tif").units == ("nm", "mm", "µm")


@pytest.mark.parametrize(
    ("ending", "axes", "scale", "names", "lost"),
    [
        # Without a unit, 2 would be read as seconds.
        (".tif", "TYX", (2, 0.1, 0.1), (None, "µm", "µm"), "T"),
        (".ome.tif", "TYX", (2, 0.1, 0.1), (None, "µm", "µm"), "T"),
        (".ome.tif", "ZYX", (2, 0.1, 0.1), ("s", "µm", "µm"), "Z"),
        (".tif", "ZYX", (2, 0.1, 0.1), (None, "µm", "µm"), "Z"),
        (".tif", "ZYX", (2, None, None), ("µm", None, None), "Z"),
        (".tif", "ZYX", (2, 1e-12, 1e-12), (None, None, None), "Y"),
    ],
)
def test_what_has_no_place_is_left_out_and_said(
    tmp_path, ending, axes, scale, names, lost
):
    header = Header("", STACK.shape, STACK.dtype, axes, scale, names)
    path = tmp_path / f"a{ending}"
    (note,) = files.write(path, STACK, Image(STACK, header))
    assert f"{lost} (" in note
    back = files.read_header(path)
    assert back.scale[axes.index(lost)] is None


def test_plain_tiff_has_no_place_for_depth(tmp_path):
    data = STACK.astype("f8")
    names = ("µm",) * 3
    header = Header("", data.shape, data.dtype, "ZYX", (0.3, 0.2, 0.1), names)
    (note,) = files.write(tmp_path / "a.tif", data, Image(data, header))
    assert "Z (0.3 µm)" in note
    back = files.read_header(tmp_path / "a.tif")
    assert back.scale == (None, pytest.approx(0.2), pytest.approx(0.1))


def test_png_has_no_place_for_a_scale(tmp_path):
    header = Header("", (32, 40), STACK.dtype, "YX", (0.2, 0.1), ("µm", "µm"))
    (note,) = files.write(tmp_path / "a.png", STACK[0], Image(STACK[0], header))
    assert "Y (0.2 µm), X (0.1 µm)" in note


def test_ome_tiff_has_units_of_its_schema(tmp_path):
    names = ("week", "th", "th")
    header = Header("", STACK.shape, STACK.dtype, "TYX", (1, 2, 2), names)
    files.write(tmp_path / "a.ome.tif", STACK, Image(STACK, header))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        text = tif.ome_metadata
    assert 'TimeIncrementUnit="s"' in text
    assert 'TimeIncrement="604800.0"' in text
    assert 'PhysicalSizeX="50.8" PhysicalSizeXUnit="µm"' in text
