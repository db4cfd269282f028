"""TIFFs as microscopes, ImageJ, scanners and other programs write them."""

import dataclasses
import json
import os
import re
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms

from napari_dip.errors import FileError
from napari_dip.io import files, open_tiff, tiff_metadata
from napari_dip.io.image import Header, Image

Y, X = np.mgrid[:40, :48]
GRAY = (X * 5).astype("u1")
COLOURS = np.dstack([X * 5, Y * 6, 200 - X * 3]).astype("u1")
STACK = np.random.default_rng(0).integers(0, 4000, (3, 40, 48)).astype("u2")
RAMP = np.arange(256, dtype="u1")
GREEN = np.stack([RAMP * 0, RAMP, RAMP * 0])


def check_header(path):
    """Read a file, and check that its header is that of its pixels."""
    image = files.read(path)
    assert files.read_header(path) == image.header
    assert image.header.shape == image.data.shape
    assert image.header.dtype == image.data.dtype
    assert len(image.header.scale) == len(image.header.axes) == image.data.ndim
    return image


# -- compression ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "?"])
def test_every_compression_that_tifffile_writes(tmp_path, dtype):
    data = GRAY > 100 if dtype == "?" else GRAY.astype(dtype)
    read = []
    for compression in tifffile.COMPRESSION:
        try:
            tifffile.imwrite(tmp_path / "a.tif", data, compression=compression)
        except (ImportError, KeyError, RuntimeError, TypeError, ValueError):
            continue  # not written
        np.testing.assert_array_equal(check_header(tmp_path / "a.tif").data, data)
        read.append(compression.name)
    assert {"LZW", "ADOBE_DEFLATE", "PACKBITS", "ZSTD"} <= set(read)
    assert "JPEG" in read or dtype in ("f4", "?")


@pytest.mark.parametrize("name", ["group3", "group4", "tiff_ccitt"])
def test_compressions_of_scanners(tmp_path, name):
    bits = Pillow.fromarray(GRAY > 100)
    bits.save(tmp_path / "a.tif", compression=name)
    np.testing.assert_array_equal(check_header(tmp_path / "a.tif").data, GRAY > 100)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
def test_jpeg_in_a_tiff_has_losses(tmp_path, mode):
    Pillow.fromarray(COLOURS).convert(mode).save(tmp_path / "a.tif", compression="jpeg")
    image = check_header(tmp_path / "a.tif")
    assert image.header.lossy
    with Pillow.open(tmp_path / "a.tif") as other:
        expected = np.asarray(other.convert("L" if mode == "L" else "RGB"))
    assert np.abs(image.data.astype(float) - expected).max() <= 1
    assert not image.header.of(image.data).lossy


# -- what samples mean ------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "PA", "RGB", "RGBX", "CMYK", "YCbCr"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_colours_are_those_that_pillow_shows(tmp_path, mode, compression):
    made = Pillow.fromarray(COLOURS).convert("P" if mode == "PA" else mode)
    made = made.convert(mode)
    made.save(tmp_path / "a.tif", compression=compression)
    image = check_header(tmp_path / "a.tif")
    # Pillow before 13 does not read the YCbCr that it writes without compression.
    expected = np.asarray(made.convert("L" if mode in "1L" else "RGB"))
    assert image.header.axes == ("YX" if mode in "1L" else "YXS")
    assert image.alpha is None
    pixels = image.data * 255 if mode == "1" else image.data.astype(float)
    assert np.abs(pixels - expected).max() <= 1


def test_colours_that_pixels_share_without_jpeg(tmp_path):
    Pillow.fromarray(COLOURS).convert("YCbCr").save(tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        tif.pages.first.tags["YCbCrSubSampling"].overwrite((2, 1))
    with pytest.raises(FileError, match=r"every \(2, 1\) pixels.*convert it to RGB"):
        files.read(tmp_path / "a.tif")


def test_lab_becomes_rgb(tmp_path):
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(srgb, lab, "RGB", "LAB")
    pixels = Pillow.fromarray(COLOURS)
    ImageCms.applyTransform(pixels, to_lab).save(tmp_path / "a.tif")
    back = check_header(tmp_path / "a.tif").data
    # L*, a* and b* were rounded to 8 bits.
    assert np.abs(back.astype(float) - COLOURS).mean() < 2


@pytest.mark.parametrize("bits", ["high", "both", "low", "all"])
def test_tables_of_a_palette(tmp_path, bits):
    table = np.random.default_rng(0).integers(0, 256, (3, 256)).astype("u2")
    stored = {"high": table * 256, "both": table * 257, "low": table}
    stored["all"] = np.random.default_rng(0).integers(0, 2**16, (3, 256)).astype("u2")
    tifffile.imwrite(
        tmp_path / "a.tif", GRAY, photometric="palette", colormap=stored[bits]
    )
    expected = stored["all"].T if bits == "all" else table.T
    np.testing.assert_array_equal(check_header(tmp_path / "a.tif").data, expected[GRAY])


def test_palette_of_two_colours(tmp_path):
    table = np.array([[255, 0, 30], [200, 100, 5]], "u1")
    indices = GRAY.mean() < GRAY
    tags = [(320, 3, 6, (table.T.astype(int) * 257).ravel().tolist(), True)]
    tifffile.imwrite(tmp_path / "a.tif", indices, extratags=tags, metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        tif.pages.first.tags["PhotometricInterpretation"].overwrite(3)
    back = check_header(tmp_path / "a.tif").data
    np.testing.assert_array_equal(back, table[indices.astype(int)])


def test_each_page_has_its_palette(tmp_path):
    pages = [
        Pillow.fromarray(c).quantize(16) for c in (COLOURS, COLOURS[::-1, :, ::-1])
    ]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    back = check_header(tmp_path / "a.tif").data
    for page, plane in zip(pages, back, strict=True):
        np.testing.assert_array_equal(plane, np.asarray(page.convert("RGB")))


def test_cmyk_of_16_bits(tmp_path):
    inks = np.dstack([255 - COLOURS, np.zeros_like(GRAY)]).astype("u2") * 257
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    np.testing.assert_array_equal(
        check_header(tmp_path / "a.tif").data, COLOURS.astype("u2") * 257
    )


@pytest.mark.parametrize(
    ("dtype", "black", "white"),
    [("u1", 235, 0), ("u2", 235, 0), ("i2", 235, 0)],
)
def test_zero_for_white_is_read_as_white(tmp_path, dtype, black, white):
    data = GRAY.astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="miniswhite")
    back = check_header(tmp_path / "a.tif").data
    assert back.dtype == data.dtype
    assert back[data == white].min() > back[data == black].max()
    assert np.corrcoef(back.ravel(), data.ravel())[0, 1] == pytest.approx(-1)
    if dtype == "u1":
        np.testing.assert_array_equal(back, 255 - data)


@pytest.mark.parametrize("software", ["tifffile.py", "a scanner"])
def test_bits_of_an_array_and_of_a_scanner(tmp_path, software):
    bits = X > 20
    options = {"photometric": "miniswhite", "software": software}
    tifffile.imwrite(tmp_path / "a.tif", bits, **options)
    back = check_header(tmp_path / "a.tif").data
    np.testing.assert_array_equal(back, bits if software == "tifffile.py" else ~bits)


def test_zero_for_white_without_a_black_is_noted(tmp_path):
    data = GRAY.astype("f4")
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="miniswhite")
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, data)
    assert "0 as white" in image.header.notes[0]


@pytest.mark.parametrize("photometric", ["icclab", "itulab", "logluv"])
def test_interpretation_that_is_not_read(tmp_path, photometric):
    tifffile.imwrite(tmp_path / "a.tif", COLOURS, photometric=photometric)
    if photometric == "icclab":
        assert check_header(tmp_path / "a.tif").header.axes == "YXS"
        return
    with pytest.raises(FileError, match="photometric interpretation"):
        files.read(tmp_path / "a.tif")


def test_inks_that_are_not_cmyk(tmp_path):
    inks = np.dstack([GRAY] * 4)
    tag = (332, "H", 1, 2, True)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated", extratags=[tag])
    with pytest.raises(FileError, match="inks"):
        files.read(tmp_path / "a.tif")


# -- opacity and orientation ------------------------------------------------------


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".png", ".ome.zarr"])
@pytest.mark.parametrize("kind", ["gray", "colour"])
def test_opacity_is_kept_apart_and_put_back(tmp_path, kind, ending):
    data = GRAY if kind == "gray" else COLOURS
    alpha = (Y * 6).astype("u1")
    tifffile.imwrite(
        tmp_path / "in.tif",
        np.dstack([data, alpha]),
        photometric="minisblack" if kind == "gray" else "rgb",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    image = check_header(tmp_path / "in.tif")
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_array_equal(image.alpha, alpha)
    path = tmp_path / f"out{ending}"
    files.write(path, image.data, image)
    back = check_header(path)
    np.testing.assert_array_equal(back.data, data)
    np.testing.assert_array_equal(back.alpha, alpha)
    if ending.endswith(("tif", "png")):
        with Pillow.open(path) as other:
            assert other.mode == ("LA" if kind == "gray" else "RGBA")


@pytest.mark.parametrize("imagej", [False, True])
def test_opacity_of_a_stack(tmp_path, imagej):
    colours, alpha = np.stack([COLOURS] * 2), np.stack([GRAY, GRAY[::-1]])
    stack = np.concatenate([colours, alpha[..., None]], axis=-1)
    tifffile.imwrite(tmp_path / "in.tif", stack, photometric="rgb", imagej=imagej)
    image = check_header(tmp_path / "in.tif")
    files.write(tmp_path / "out.tif", image.data, image)
    back = check_header(tmp_path / "out.tif")
    np.testing.assert_array_equal(back.data, colours)
    np.testing.assert_array_equal(back.alpha, alpha)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["unspecified", "unassalpha"])
def test_sample_after_the_colours_is_opacity(tmp_path, kind, planar):
    samples = np.dstack([COLOURS, GRAY])
    if planar == "separate":
        samples = np.ascontiguousarray(np.moveaxis(samples, 2, 0))
    tifffile.imwrite(
        tmp_path / "a.tif",
        samples,
        photometric="rgb",
        planarconfig=planar,
        extrasamples=[kind],
    )
    np.testing.assert_array_equal(check_header(tmp_path / "a.tif").alpha, GRAY)


def test_colours_that_were_multiplied_by_the_opacity(tmp_path):
    alpha = np.where(X < 10, 0, 200).astype("u1")
    multiplied = np.rint(COLOURS * (alpha / 255)[..., None]).astype("u1")
    samples = np.dstack([multiplied, alpha])
    tifffile.imwrite(
        tmp_path / "a.tif", samples, photometric="rgb", extrasamples=["assocalpha"]
    )
    back = check_header(tmp_path / "a.tif").data.astype(float)
    assert np.abs(back - COLOURS)[X >= 10].max() <= 1
    assert back[X < 10].max() == 0


def test_channels_without_stated_kind_stay_channels(tmp_path):
    samples = np.dstack([GRAY, GRAY + 1])
    tifffile.imwrite(
        tmp_path / "a.tif", samples, photometric="minisblack", planarconfig="contig"
    )
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, samples)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_five_samples_are_channels_and_no_colour(tmp_path, planar):
    samples = np.stack([GRAY + i for i in range(5)], -1 if planar == "contig" else 0)
    tifffile.imwrite(
        tmp_path / "a.tif",
        samples,
        photometric="rgb",
        planarconfig=planar,
        extrasamples=["unspecified"] * 2,
    )
    image = check_header(tmp_path / "a.tif")
    wanted = samples if planar == "contig" else np.moveaxis(samples, 0, -1)
    np.testing.assert_array_equal(image.data, wanted)
    assert image.alpha is None
    assert "all were read as channels" in image.header.notes[0]


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u4"])
def test_planes_that_tifffile_calls_colours(tmp_path, count, dtype):
    stack = np.stack([GRAY + i for i in range(count)]).astype(dtype)
    for name, data in ("a.tif", stack), ("b.tif", np.stack([stack, stack])):
        with pytest.warns(DeprecationWarning, match="stored as RGB"):
            tifffile.imwrite(tmp_path / name, data)
        image = check_header(tmp_path / name)
        np.testing.assert_array_equal(image.data, data)
        assert image.header.axes == "QQYX"[-data.ndim :]
        assert image.alpha is None
        axis = data.ndim - 3
        assert f"read as gray (--channel-axis {axis} if" in image.header.notes[0]


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_planes_that_may_be_colours(tmp_path, count, compression, dtype):
    stack = np.stack([GRAY + i for i in range(count)]).astype(dtype)
    path = tmp_path / "a.tif"
    with pytest.warns(DeprecationWarning, match="stored as RGB"):
        tifffile.imwrite(path, stack, compression=compression)
    image = check_header(path)
    np.testing.assert_array_equal(image.data, np.moveaxis(stack[:3], 0, 2))
    assert "read as such (--channel-axis none" in image.header.notes[0]
    image = files.read(path, colours=False)
    assert image.header == files.read_header(path, colours=False)
    np.testing.assert_array_equal(image.data, stack)
    assert (image.header.axes, image.alpha) == ("QYX", None)


def test_planes_that_are_known(tmp_path):
    stack = np.stack([GRAY] * 3)
    path, rgb = tmp_path / "a.tif", {"photometric": "rgb", "planarconfig": "separate"}
    for axes, wanted in ("ZYX", "ZYX"), ("CYX", "CYX"), ("SYX", "YXS"):
        tifffile.imwrite(path, stack, metadata={"axes": axes}, **rgb)
        for colours in True, False:
            header = files.read_header(path, colours=colours)
            assert (header.axes, header.notes) == (wanted, ())
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for options in {"iccprofile": profile}, {"software": "a scanner"}:
        tifffile.imwrite(path, stack, **rgb, **options)
        header = files.read_header(path, colours=False)
        assert (header.axes, header.notes) == ("YXS", ())


def upright(data, orientation):
    """Turn pixels by the definition of the tag: where row 0 and column 0 are."""
    flips = {2: "x", 3: "xy", 4: "y", 6: "x", 7: "xy", 8: "y"}.get(orientation, "")
    if orientation >= 5:
        data = data.swapaxes(0, 1)
    data = data[:, ::-1] if "x" in flips else data
    return data[::-1] if "y" in flips else data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["gray", "colour", "opacity"])
def test_orientation(tmp_path, kind, orientation):
    data = {"gray": GRAY, "colour": COLOURS, "opacity": np.dstack([COLOURS, GRAY])}
    options = {"photometric": "minisblack" if kind == "gray" else "rgb"}
    tifffile.imwrite(
        tmp_path / "a.tif",
        data[kind],
        resolution=(1e4 / 0.1, 1e4 / 0.2),
        resolutionunit="CENTIMETER",
        extratags=[(274, "H", 1, orientation, True)],
        **options,
    )
    image = check_header(tmp_path / "a.tif")
    expected = upright(GRAY if kind == "gray" else COLOURS, orientation)
    np.testing.assert_array_equal(image.data, expected)
    if kind == "opacity":
        np.testing.assert_array_equal(image.alpha, upright(GRAY, orientation))
    step = (0.1, 0.2) if orientation >= 5 else (0.2, 0.1)
    assert image.header.scale[:2] == pytest.approx(step)
    files.write(tmp_path / "b.tif", image.data, image)
    np.testing.assert_array_equal(files.read(tmp_path / "b.tif").data, expected)


def test_turned_tiff_is_opened_without_pixels(tmp_path):
    tag = (274, "H", 1, 6, True)
    tifffile.imwrite(tmp_path / "a.tif", GRAY, extratags=[tag])
    header, (level,) = files.open_levels(tmp_path / "a.tif")
    assert header == files.read_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(level, files.read(tmp_path / "a.tif").data)


def test_transparent_tiff_is_not_opened_without_pixels(tmp_path):
    samples = np.dstack([COLOURS, GRAY])
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb")
    assert files.open_levels(tmp_path / "a.tif") is None


# -- ImageJ -----------------------------------------------------------------------


def tables(*tables, axes="CYX"):
    return {"axes": axes, "mode": "composite", "LUTs": list(tables)}


def test_one_table_of_colours(tmp_path):
    metadata = tables(GREEN, axes="ZYX")
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata=metadata)
    image = check_header(tmp_path / "a.tif")
    assert image.header.channel_colours == ("#00ff00",)
    files.write(tmp_path / "b.tif", image.data, image)
    assert files.read_header(tmp_path / "b.tif").channel_colours == ("#00ff00",)


def table(name):
    gray = np.stack([RAMP] * 3)
    fire = np.stack([np.minimum(RAMP * 3.0, 255), RAMP, RAMP // 2]).astype("u1")
    hilo = gray.copy()
    hilo[:, 0], hilo[:, -1] = (0, 0, 255), (255, 0, 0)
    return {"inverted": gray[:, ::-1], "HiLo": hilo, "fire": fire, "gray": gray}[name]


@pytest.mark.parametrize("name", ["inverted", "HiLo", "fire", "gray"])
def test_table_that_is_no_ramp_is_gray(tmp_path, name):
    metadata = tables(table(name), GREEN)
    tifffile.imwrite(tmp_path / "a.tif", STACK[:2], imagej=True, metadata=metadata)
    header = check_header(tmp_path / "a.tif").header
    assert header.channel_colours == ("#ffffff", "#00ff00")
    assert bool(header.notes) == (name != "gray")


@pytest.mark.parametrize("mode", ["composite", "color", "grayscale"])
def test_modes_of_a_composite(tmp_path, mode):
    metadata = tables(GREEN, table("gray")) | {"mode": mode}
    tifffile.imwrite(tmp_path / "a.tif", STACK[:2], imagej=True, metadata=metadata)
    colours = check_header(tmp_path / "a.tif").header.channel_colours
    assert colours == ("#00ff00", "#ffffff")


def test_signed_integers_of_imagej(tmp_path):
    values = STACK.astype("i2") - 2000
    stored = (values.astype("i4") + 2**15).astype("u2")
    calibration = {"cf": 0, "c0": -(2**15), "c1": 1}
    options = {"imagej": True, "metadata": {"axes": "ZYX", **calibration}}
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, values)
    part = files.open_image(tmp_path / "a.tif").data[1, 3:9]
    np.testing.assert_array_equal(part, values[1, 3:9])


def test_calibration_of_imagej_is_noted(tmp_path):
    metadata = {"axes": "ZYX", "cf": 0, "c0": 1.5, "c1": 0.25}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata=metadata)
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, STACK)
    assert "calibration" in " ".join(image.header.notes)


def test_complex_numbers_are_no_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GRAY.astype("c8"))
    with pytest.raises(FileError, match="complex64, which are not an image"):
        files.read(tmp_path / "a.tif")


def test_palette_of_imagej_is_a_table_for_intensities(tmp_path):
    data = np.stack([GRAY, GRAY[::-1]])
    tifffile.imwrite(
        tmp_path / "a.tif",
        data,
        imagej=True,
        colormap=GREEN.astype("u2") * 257,
        metadata={"axes": "ZYX"},
    )
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, data)
    assert image.header.channel_colours == ("#00ff00",)


def old_description(path, planes, description, **options):
    """Write pages, the first with ImageJ's description of other ones."""
    with tifffile.TiffWriter(path) as tif:
        for k, plane in enumerate(planes):
            text = f"ImageJ=1.53t\n{description}\nunit=micron\n" if k == 0 else None
            tif.write(
                plane,
                description=text,
                metadata=None,
                contiguous=False,
                resolution=(5, 5),
                **options,
            )


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize(
    "description",
    [
        "images=10\nframes=10",
        "images=2\nframes=2",
        "images=12\nslices=4\nchannels=3\nhyperstack=true",
        "images=6\nslices=6",
        "images=none\nframes=none",
    ],
)
def test_imagej_that_misreports_its_planes(tmp_path, description, options):
    old_description(tmp_path / "a.tif", STACK, description, **options)
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, STACK)
    assert image.header.scale[1:] == pytest.approx((0.2, 0.2))
    assert image.header.units[1:] == ("µm", "µm")
    assert ("speaks of" if "none" not in description else "not fit") in "".join(
        image.header.notes
    )
    _, (level,) = files.open_levels(tmp_path / "a.tif")
    np.testing.assert_array_equal(level, STACK)


def test_one_plane_of_many(tmp_path):
    old_description(tmp_path / "a.tif", STACK[:1], "images=10\nframes=10")
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, STACK[0])
    assert "10 planes" in image.header.notes[0]


def test_one_plane_of_many_before_its_tags(tmp_path):
    path = tmp_path / "a.tif"
    old_description(path, STACK[:1], "images=10\nframes=10")
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, 4, len(content))
    path.write_bytes(content + content[start : start + 6 + 12 * count])
    image = check_header(path)
    np.testing.assert_array_equal(image.data, STACK[0])
    assert "10 planes" in image.header.notes[0]


def test_imagej_stack_that_ends_early_is_truncated(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "TYX"})
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: -STACK[0].nbytes // 2])
    with pytest.raises(FileError, match="truncated"):
        files.read(tmp_path / "a.tif")


def test_labels_of_planes_are_names_of_channels(tmp_path):
    data = STACK[:, None].repeat(2, axis=1)
    names = ("DAPI", "GFP")
    header = Header("", data.shape, data.dtype, "ZCYX", channel_names=names)
    files.write(tmp_path / "a.tif", data, Image(data, header))
    assert check_header(tmp_path / "a.tif").header.channel_names == names
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.imagej_metadata["Labels"] == [*names] * 3


def test_labels_that_differ_in_a_channel_are_no_names(tmp_path):
    labels = [f"slice {i}" for i in range(3)]
    metadata = {"axes": "ZYX", "Labels": labels}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata=metadata)
    assert check_header(tmp_path / "a.tif").header.channel_names == ()


# -- names and colours of a single channel -----------------------------------------


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "CYX", "TCZYX"])
def test_one_channel_keeps_name_and_colour(tmp_path, ending, axes):
    shape = tuple({"Y": 40, "X": 48, "Z": 3}.get(axis, 1) for axis in axes)
    data = np.zeros(shape, "u2")
    header = Header("", shape, data.dtype, axes)
    header = dataclasses.replace(
        header, channel_names=("DAPI",), channel_colours=("#0000ff",)
    )
    files.write(tmp_path / f"a{ending}", data, Image(data, header))
    back = check_header(tmp_path / f"a{ending}").header
    assert back.channel_names == ("DAPI",)
    assert back.channel_colours == ("#0000ff",)


# -- OME-TIFF with other files -----------------------------------------------------

OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome_file(path, inside):
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{OME}" '
        f'UUID="urn:uuid:00000001-0000-0000-0000-000000000000">{inside}</OME>'
    )
    if path.suffix == ".tif":
        tifffile.imwrite(path, STACK[0], description=text.encode(), metadata=None)
    else:
        path.write_text(text, "utf-8")


def planes_in(*names, axis="C"):
    sizes = {"C": 1, "Z": 1, "T": 1} | {axis: len(names)}
    count = sizes["C"]
    text = "".join(f' Size{a}="{n}"' for a, n in {**sizes, "X": 48, "Y": 40}.items())
    channels = "".join(
        f'<Channel ID="Channel:0:{i}" SamplesPerPixel="1" Name="c{i}"/>'
        for i in range(count)
    )
    planes = "".join(
        f'<TiffData First{axis}="{i}" IFD="0" PlaneCount="1"><UUID FileName="{name}">'
        f"urn:uuid:{i + 1:08d}-0000-0000-0000-000000000000</UUID></TiffData>"
        for i, name in enumerate(names)
    )
    return (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
        f'Type="uint16"{text} PhysicalSizeX="0.1" PhysicalSizeY="0.1">'
        f"{channels}{planes}</Pixels></Image>"
    )


@pytest.mark.parametrize("axis", ["C", "Z", "T"])
def test_ome_tiff_without_the_files_of_other_planes(tmp_path, axis):
    inside = planes_in("a.ome.tif", "gone.ome.tif", "lost.ome.tif", axis=axis)
    ome_file(tmp_path / "a.ome.tif", inside)
    image = check_header(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.data, STACK[:1])
    assert "gone.ome.tif, ..." in image.header.notes[0]
    assert image.header.scale[1:] == (0.1, 0.1)
    assert image.header.channel_names == ("c0",)
    _, (level,) = files.open_levels(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(level, STACK[:1])


def truncated(path):
    tifffile.imwrite(path, STACK[1])
    path.write_bytes(path.read_bytes()[:-1000])


BROKEN = {
    "empty": (lambda path: path.write_bytes(b""), "not a TIFF file"),
    "cut in its header": (lambda path: path.write_bytes(b"II*\0\1"), "unpack"),
    "noise": (lambda path: path.write_bytes(bytes(range(256))), "not a TIFF file"),
    "truncated": (truncated, "its pixels end at byte"),
    "of another shape": (
        lambda path: tifffile.imwrite(path, STACK[1, :20]),
        r"its shape is \(20, 48\)",
    ),
    "of another type": (
        lambda path: tifffile.imwrite(path, STACK[1].astype("f4")),
        "its type is float32",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("sibling", ["b & c.ome.tif", "b.ome.tif"])
def test_ome_tiff_with_a_damaged_file_of_other_planes(tmp_path, name, sibling):
    make, says = BROKEN[name]
    make(tmp_path / sibling)
    inside = planes_in("a.ome.tif", sibling.replace("&", "&amp;"), axis="Z")
    ome_file(tmp_path / "a.ome.tif", inside)
    image = check_header(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.data, STACK[:1])
    (note,) = image.header.notes
    assert re.search(rf"are damaged \({sibling}: {says}.*the other planes", note)
    _, (level,) = files.open_levels(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(level, STACK[:1])


def test_ome_tiff_with_all_its_files(tmp_path):
    inside = planes_in("a.ome.tif", "b.ome.tif", axis="Z")
    ome_file(tmp_path / "a.ome.tif", inside)
    tifffile.imwrite(tmp_path / "b.ome.tif", STACK[1])
    image = check_header(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.data, STACK[:2])
    assert image.header.notes == ()


def test_ome_tiff_that_was_renamed(tmp_path):
    ome_file(tmp_path / "b.ome.tif", planes_in("a.ome.tif"))
    image = check_header(tmp_path / "b.ome.tif")
    np.testing.assert_array_equal(image.data, STACK[0])
    assert image.header.notes == ()


def binary_only(path):
    uuid = "urn:uuid:00000009-0000-0000-0000-000000000000"
    name = "set.companion.ome"
    ome_file(path, f'<BinaryOnly MetadataFile="{name}" UUID="{uuid}"/>')


def test_ome_tiff_without_its_companion(tmp_path):
    binary_only(tmp_path / "a.ome.tif")
    image = check_header(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.data, STACK[0])
    (note,) = image.header.notes
    assert "set.companion.ome" in note


def test_ome_tiff_with_its_companion(tmp_path):
    binary_only(tmp_path / "a.ome.tif")
    ome_file(tmp_path / "set.companion.ome", planes_in("a.ome.tif"))
    image = check_header(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.data, STACK[0])
    assert (image.header.scale, image.header.notes) == ((0.1, 0.1), ())
    _, (level,) = files.open_levels(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(level, STACK[0])
    parts = [tmp_path / name for name in ("a.ome.tif", "set.companion.ome")]
    assert files.parts_of(parts[0]) == parts


def test_companion_that_is_too_large_for_metadata(tmp_path, monkeypatch):
    binary_only(tmp_path / "a.ome.tif")
    ome_file(tmp_path / "set.companion.ome", planes_in("a.ome.tif"))
    monkeypatch.setattr(open_tiff, "_COMPANION", 100)
    with pytest.raises(
        FileError, match=r"companion\.ome is too large for the metadata"
    ):
        files.read(tmp_path / "a.ome.tif")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["set.companion.ome", "other.ome.tif"])
def test_file_that_an_ome_tiff_refers_to_is_a_pipe(tmp_path, name):
    os.mkfifo(tmp_path / name)
    if name == "other.ome.tif":
        ome_file(tmp_path / "a.ome.tif", planes_in("a.ome.tif", name))
    else:
        binary_only(tmp_path / "a.ome.tif")
    with pytest.raises(FileError, match="no regular file"):
        files.read_header(tmp_path / "a.ome.tif")


def test_ome_tiff_of_broken_xml(tmp_path):
    text = f'<OME xmlns="{OME}"><Image></OME>'
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], description=text, metadata=None)
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, STACK[0])
    assert "does not fit" in image.header.notes[0]


@pytest.mark.parametrize("wrong", ['SizeX="40" SizeY="48"', 'SizeX="48" SizeY="0"'])
def test_ome_tiff_of_another_size_than_it_says(tmp_path, wrong):
    text = (
        f'<OME xmlns="{OME}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYCZT" Type="uint16" SizeC="{len(STACK)}" SizeZ="1" '
        f'SizeT="1" {wrong}><TiffData/></Pixels></Image></OME>'
    )
    options = {"description": text, "photometric": "minisblack", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", STACK, **options)
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, STACK)
    assert "does not fit its planes; they were read" in image.header.notes[0]


def acquisition(path, sides, pixels, order="XYCZT", planes="<TiffData/>"):
    """Write planes of an OME-TIFF that may speak of others."""
    sizes = "".join(f' Size{axis}="{n}"' for axis, n in sides.items())
    text = (
        f'<OME xmlns="{OME}"><Image ID="Image:0"><Pixels ID="Pixels:0" SizeX="48" '
        f'SizeY="40" DimensionOrder="{order}" Type="uint16"{sizes}>{planes}'
        "</Pixels></Image></OME>"
    )
    options = {"description": text, "photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, pixels, **options)


@pytest.mark.parametrize("order", ["XYCZT", "XYTCZ"])
@pytest.mark.parametrize(("there", "whole"), [(6, 6), (7, 6), (11, 9)])
def test_an_acquisition_that_was_broken_off(tmp_path, order, there, whole):
    planes = np.random.default_rng(0).integers(0, 4000, (there, 40, 48)).astype("u2")
    sides = {"C": 1, "Z": 3, "T": 5} if order[-1] == "T" else {"C": 1, "T": 3, "Z": 5}
    acquisition(tmp_path / "a.ome.tif", sides, planes, order)
    image = check_header(tmp_path / "a.ome.tif")
    assert image.header.axes == ("TZYX" if order[-1] == "T" else "ZTYX")
    expected = planes[:whole].reshape(-1, 3, 40, 48)
    np.testing.assert_array_equal(image.data, expected)
    says = f"speaks of 15 planes and does not hold all; {whole} were read"
    assert says in image.header.notes[0]
    _, (level,) = files.open_levels(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(level, expected)


@pytest.mark.parametrize("order", ["XYZCT", "XYCZT"])
@pytest.mark.parametrize("there", [6, 5, 8])
def test_ome_tiff_that_gives_no_planes_to_its_image(tmp_path, order, there):
    planes = np.random.default_rng(0).integers(0, 4000, (there, 40, 48)).astype("u2")
    acquisition(tmp_path / "a.ome.tif", {"C": 2, "Z": 3, "T": 1}, planes, order, "")
    image = check_header(tmp_path / "a.ome.tif")
    whole, last = {6: (6, 6), 8: (6, 6), 5: (4, 5 if order == "XYZCT" else 4)}[there]
    assert image.header.axes == ("CZYX" if order == "XYZCT" else "ZCYX")
    kept = np.arange(last) != (2 if last == 5 else -1)
    expected = planes[:last][kept].reshape(image.data.shape)
    np.testing.assert_array_equal(image.data, expected)
    says = {
        5: f"speaks of 6 planes and does not hold all; {whole} were read",
        8: "holds 8 planes, of which its description names 6; the others were left out",
    }
    notes = image.header.notes
    assert len(notes) == (there != 6)
    assert all(says[there] in note for note in notes)


def test_images_of_an_ome_tiff_that_gives_them_no_planes(tmp_path):
    acquisition(tmp_path / "a.ome.tif", {"C": 1, "Z": 1, "T": 1}, STACK[:2], planes="")
    with tifffile.TiffFile(tmp_path / "a.ome.tif", mode="r+") as tif:
        image = tif.ome_metadata[tif.ome_metadata.index("<Image") :]
        text = tif.ome_metadata.replace("</OME>", image)
        tif.pages.first.tags["ImageDescription"].overwrite(text)
    for number in range(2):
        image = files.read(tmp_path / "a.ome.tif", number)
        np.testing.assert_array_equal(image.data, STACK[number])


@pytest.mark.parametrize(
    "description",
    [
        '{"shape": [3.0, 40, 48]}',
        '{"shape": [3, 40, 48], "axes": 5}',
        '<scn><collection><image><pixels><dimension ifd="7"/></pixels>'
        "</image></collection></scn>",
        f'<OME xmlns="{OME}"><Image><Pixels SizeX="a"/></Image></OME>',
        f'<OME xmlns="{OME}"><Image/></OME>',
    ],
)
def test_description_that_makes_no_sense(tmp_path, description):
    options = {"description": description, "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", **options)
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, STACK)
    assert "does not fit its planes; they were read" in image.header.notes[0]


@pytest.mark.parametrize(
    "content", [b"II*\0\0\0\0\0", b"II*\0\x08\0\0\0", b"II+\0\x08\0\0\0" + bytes(8)]
)
def test_tiff_of_a_header_alone(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(FileError, match=r"^a.tif holds no image$"):
        files.read(tmp_path / "a.tif")


def test_imagej_takes_the_size_of_a_step_that_is_negative(tmp_path):
    told = {"axes": "ZYX", "spacing": -0.5, "unit": "um"}
    options = {"imagej": True, "resolution": (5, 5), "metadata": told}
    tifffile.imwrite(tmp_path / "a.tif", STACK, **options)
    header = files.read_header(tmp_path / "a.tif")
    assert header.scale == pytest.approx((0.5, 0.2, 0.2))


@pytest.mark.parametrize("kind", [1, 4])  # a smaller image, a mask
def test_a_first_page_that_belongs_to_another_one(tmp_path, kind):
    small = COLOURS[::4, ::4] if kind == 1 else GRAY[::4, ::4] > 100
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(small, subfiletype=kind, metadata=None)
        tif.write(GRAY, metadata=None)
        tif.write(STACK[0], metadata=None)
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, GRAY)
    assert "2 images" in image.header.notes[0]
    places, _ = files.images_in(tmp_path / "a.tif")
    assert [n for _, n in places] == [0, 1]
    np.testing.assert_array_equal(files.read(*places[1]).data, STACK[0])
    with pytest.raises(FileError, match="holds 2 images; got series 2"):
        files.read(tmp_path / "a.tif", 2)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(small, subfiletype=kind, metadata=None)
    np.testing.assert_array_equal(files.read(tmp_path / "a.tif").data, small)


# -- other names, and files of microscopes ------------------------------------------


@pytest.mark.parametrize("ending", [".btf", ".ome.tf8", ".QPTIFF", ""])
def test_tiff_by_another_name(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    tifffile.imwrite(tmp_path / "a.tif", GRAY, bigtiff=True)
    (tmp_path / "a.tif").rename(path)
    np.testing.assert_array_equal(check_header(path).data, GRAY)
    assert files.images_in(path) == ([(path, None)], [path])


@pytest.mark.parametrize("kind", ["tif", "png", "jpg"])
@pytest.mark.parametrize("ending", ["tif", "png", "jpg"])
def test_ending_of_another_format(tmp_path, kind, ending):
    Pillow.fromarray(GRAY).save(tmp_path / f"own.{kind}")
    path = (tmp_path / f"own.{kind}").rename(tmp_path / f"a.{ending}")
    image = check_header(path)
    np.testing.assert_allclose(image.data.astype(int), GRAY, atol=6)
    assert image.header.format == {"tif": "TIFF", "jpg": "JPEG"}.get(kind, "PNG")


@pytest.mark.parametrize("ending", ["dng", "nef", "gz"])
def test_tiff_of_an_unknown_ending_is_not_read(tmp_path, ending):
    # The first image in a raw file of a camera is a small preview.
    tifffile.imwrite(tmp_path / f"a.{ending}", GRAY)
    with pytest.raises(FileError, match="has a format that is not read"):
        files.read(tmp_path / f"a.{ending}")


def test_steps_of_zeiss(tmp_path):
    facts = np.zeros((), tifffile.TIFF.CZ_LSMINFO)
    facts["MagicNumber"] = 0x0400494C
    facts["StructureSize"] = facts.nbytes
    for axis, count in {"X": 48, "Y": 40, "Z": 3, "Channels": 1, "Time": 1}.items():
        facts[f"Dimension{axis}"] = count
    for axis, step in {"X": 1e-7, "Y": 2e-7, "Z": 5e-7}.items():
        facts[f"VoxelSize{axis}"] = step
    tag = (34412, "B", facts.nbytes, facts.tobytes(), True)
    with tifffile.TiffWriter(tmp_path / "a.lsm", byteorder="<") as tif:
        for i, plane in enumerate(STACK):
            tif.write(plane, extratags=[] if i else [tag], metadata=None)
            tif.write(plane[::2, ::2], subfiletype=1, metadata=None)
    image = check_header(tmp_path / "a.lsm")
    np.testing.assert_array_equal(np.squeeze(image.data), STACK)
    known = dict(zip(image.header.axes, image.header.scale, strict=True))
    assert (known["Z"], known["Y"], known["X"]) == (0.5, 0.2, 0.1)
    assert image.header.units[-1] == "µm"
    assert not image.header.notes


def tiff_of(path, planes, first=(), byteorder="<", **options):
    """Write a TIFF of single pages, the first with tags of its own."""
    with tifffile.TiffWriter(path, byteorder=byteorder) as tif:
        for i, plane in enumerate(planes):
            tags = [] if i else list(first)
            described = {"photometric": "minisblack", "metadata": None, **options}
            tif.write(plane, contiguous=False, extratags=tags, **described)


@pytest.mark.parametrize("depths", [[0.5, 0.5, 0.5], [0.5, 0.7, 0.5]])
def test_steps_of_metamorph(tmp_path, depths):
    path, content = tmp_path / "a.stk", bytearray(b"II*\0") + bytes(4)

    def put(*numbers):
        place = len(content)
        content.extend(struct.pack(f"<{len(numbers)}I", *numbers))
        return place

    pixels = len(content)
    content.extend(STACK.tobytes())
    steps, unit = (
        [put(n, 10) for n in (1, 2)],
        put(3, int.from_bytes(b"um\0", "little")),
    )
    known = put(4, steps[0], 5, steps[1], 6, unit)
    planes = put(*(n for d in depths for n in (round(d * 10), 10, 2450000, 0, 0, 0)))
    tags = [(256, 4, 1, 48), (257, 4, 1, 40), (258, 3, 1, 16), (262, 3, 1, 1)]
    tags += [(273, 4, 1, pixels), (278, 4, 1, 40), (279, 4, 1, STACK[0].nbytes)]
    tags += [(33628, 4, 3, known), (33629, 5, 3, planes)]
    content[4:8] = struct.pack("<I", len(content))
    content.extend(struct.pack("<H", len(tags)))
    content.extend(b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4))
    path.write_bytes(content)
    image = check_header(path)
    np.testing.assert_array_equal(image.data, STACK)
    step = depths[0] if depths[0] == depths[1] else None
    assert image.header.axes == "ZYX"
    assert image.header.scale == (step, 0.2, 0.1)
    assert image.header.units == ("µm" if step else None, "µm", "µm")


METASERIES = (
    '<MetaData><prop id="spatial-calibration-x" type="float" value="0.65"/><prop '
    'id="spatial-calibration-y" type="float" value="0.65"/><prop '
    'id="spatial-calibration-units" type="string" value="um"/></MetaData>'
)
FEI = "[Scan]\r\nPixelWidth=1.5e-9\r\nPixelHeight=1.5e-9\r\n"
SEM = "0\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5.0 nm\r\n"


@pytest.mark.parametrize(
    ("tags", "options", "step", "unit"),
    [
        ([(34682, "s", 0, FEI, True)], {}, 0.0015, "µm"),
        ([(34118, "s", 0, SEM, True)], {}, 5, "nm"),
        ([], {"description": METASERIES, "software": "MetaSeries"}, 0.65, "µm"),
    ],
    ids=["FEI", "Zeiss", "MetaSeries"],
)
def test_steps_of_other_microscopes(tmp_path, tags, options, step, unit):
    tiff_of(tmp_path / "a.tif", STACK[:1], tags, **options)
    header = check_header(tmp_path / "a.tif").header
    assert (header.scale, header.units) == ((step, step), (unit, unit))


@pytest.mark.parametrize(
    ("kind", "sizes", "step", "unit"),
    [("sis", "pixelsize{}", 0.2, "µm"), ("tvips", "PixelSize{}", 2e-7, "nm")],
)
def test_steps_of_cameras(kind, sizes, step, unit):
    kinds = [
        "lsm",
        "stk",
        "fluoview",
        "micromanager",
        "metaseries",
        "fei",
        "sem",
        "sis",
        "tvips",
    ]
    facts = dict.fromkeys([f"{kind}_metadata" for kind in kinds])
    facts[f"{kind}_metadata"] = {
        sizes.format(axis if kind == "tvips" else axis.lower()): 2e-7 for axis in "XY"
    }
    tif = SimpleNamespace(**facts, is_svs=False, is_micromanager=False)
    header = Header("TIFF", GRAY.shape, GRAY.dtype, "YX")
    header = tiff_metadata.from_microscope(header, tif)
    assert (header.scale, header.units) == ((step, step), (unit, unit))


@pytest.mark.parametrize(("depth", "axes"), [(3, "ZYX"), (4, "IYX")])
def test_steps_of_fluoview(tmp_path, depth, axes):
    facts = np.zeros((), np.dtype(tifffile.TIFF.MM_HEADER))
    sizes = (("x", 48, 0.2), ("y", 40, 0.2), ("z", depth, 0.5))
    for i, (name, count, step) in enumerate(sizes):
        facts["Dimensions"][i] = (name.encode(), count, 0, step, b"um")
    tags = [(34361, "B", facts.nbytes, facts.tobytes(), True)]
    tags.append((34362, "d", 8, (0.0,) * 8, True))
    tiff_of(tmp_path / "a.tif", STACK, tags)
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, STACK)
    assert image.header.axes == axes
    assert image.header.scale[1:] == (0.2, 0.2)
    assert bool(image.header.notes) == (depth == 4)


def micromanager(path, frames=1, places=((0, 0, 0, 0), (0, 1, 0, 0), (0, 2, 0, 0))):
    """Write a stack of Micro-Manager, (Z, Y, X)."""
    about = {"MicroManagerVersion": "2", "Frames": frames, "Slices": 3, "Channels": 1}
    about |= {"PixelSize_um": 0.2, "z-step_um": 0.5, "ChNames": ["DAPI"]}
    text = json.dumps(about).encode()
    starts = [40 + len(text) + i * (162 + STACK[0].nbytes) for i in range(len(STACK))]
    end = starts[-1] + 162 + STACK[0].nbytes
    content = b"II*\0" + struct.pack("<3I", starts[0], 54773648, end) + bytes(16)
    content += struct.pack("<2I", 2355492, len(text)) + text
    for i, start in enumerate(starts):
        tags = [(256, 4, 1, 48), (257, 4, 1, 40), (258, 3, 1, 16), (262, 3, 1, 1)]
        tags += [(273, 4, 1, start + 162), (278, 4, 1, 40)]
        tags += [(279, 4, 1, STACK[0].nbytes), (51123, 2, 8, 40)]
        page = struct.pack("<H", len(tags))
        page += b"".join(struct.pack("<HHII", *tag) for tag in tags)
        page += struct.pack("<I", starts[i + 1] if i + 1 < len(starts) else 0)
        content += page.ljust(162, b"\0") + STACK[i].astype("<u2").tobytes()
    content += struct.pack("<2I", 3453623, len(places))
    for place, start in zip(places, starts, strict=True):
        content += struct.pack("<5I", *place, start)
    path.write_bytes(content)


def test_stack_of_micromanager(tmp_path):
    micromanager(tmp_path / "a_MMStack.tif")
    image = check_header(tmp_path / "a_MMStack.tif")
    np.testing.assert_array_equal(image.data, STACK)
    header = image.header
    assert (header.axes, header.scale) == ("ZYX", (0.5, 0.2, 0.2))
    assert (header.channel_names, header.notes) == (("DAPI",), ())
    micromanager(tmp_path / "a_MMStack.tif", frames=2)
    image = check_header(tmp_path / "a_MMStack.tif")
    np.testing.assert_array_equal(image.data, STACK)
    assert "MMStack series is missing files" in image.header.notes[0]


def test_stack_of_micromanager_that_speaks_of_too_much(tmp_path):
    path = tmp_path / "a_MMStack.tif"
    micromanager(path, places=((0, 0, 0, 0), (0, 1, 0, 0), (0, 2000, 1000, 0)))
    with pytest.raises(FileError, match="declares 2003001 planes"):
        files.read(path)
    if hasattr(os, "mkfifo"):
        micromanager(path, frames=2)
        os.mkfifo(tmp_path / "a_MMStack_1.tif")
        with pytest.raises(FileError, match=r"a_MMStack_1.tif, which is no regular"):
            files.read(path)


def test_all_pages_of_scanimage_are_read(tmp_path):
    said = "frameNumbers = 0\nscanimage.SI.hChannels.channelSave = 1"
    planes = np.concatenate([STACK, STACK[::-1]])
    tiff_of(tmp_path / "a.tif", planes, description=said)
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, planes)


@pytest.mark.parametrize("turns", [(1, 3), (3, 1), (1, 6), (3, 3)])
def test_planes_that_are_turned_in_different_ways(tmp_path, turns):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for plane, turn in zip(STACK, turns, strict=False):
            tags = [(274, "H", 1, turn, True)]
            options = {"photometric": "minisblack", "metadata": None}
            tif.write(plane, contiguous=False, extratags=tags, **options)
    image = check_header(tmp_path / "a.tif")
    same = turns == (3, 3)
    expected = STACK[:2, ::-1, ::-1] if same else STACK[:2]
    np.testing.assert_array_equal(image.data, expected)
    assert image.header.notes == (
        () if same else ("a.tif is not turned as its tag of orientation says",)
    )


def test_facts_of_zeiss_that_are_cut_off(tmp_path):
    facts = struct.pack("<II", 0x0400494C, 40) + bytes(32)
    tiff_of(tmp_path / "a.lsm", STACK, [(34412, "B", 40, facts, True)])
    image = check_header(tmp_path / "a.lsm")
    np.testing.assert_array_equal(image.data, STACK)
    assert "does not fit its planes; they were read" in image.header.notes[0]


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_other_tiffs_with_the_ending_of_hamamatsu(tmp_path, byteorder):
    with tifffile.TiffWriter(tmp_path / "a.ndpi", byteorder=byteorder) as tif:
        tif.write(COLOURS, photometric="rgb", metadata=None)
        tif.write(COLOURS[::2, ::2], photometric="rgb", metadata=None)
    image = check_header(tmp_path / "a.ndpi")
    np.testing.assert_array_equal(image.data, COLOURS)
    assert image.header.levels == 2


def test_steps_of_aperio_and_pictures_beside_a_slide(tmp_path):
    said = {"description": "Aperio Image|MPP = 0.25", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.svs") as tif:
        tif.write(COLOURS, tile=(16, 16), photometric="rgb", **said)
        tif.write(COLOURS[::4, ::4], photometric="rgb", metadata=None)
        tif.write(COLOURS[::2, ::2], photometric="rgb", subfiletype=1, metadata=None)
    image = check_header(tmp_path / "a.svs")
    np.testing.assert_array_equal(image.data, COLOURS)
    assert image.header.scale == (0.25, 0.25, None)
    assert image.header.units == ("µm", "µm", None)
    assert files.images_in(tmp_path / "a.svs")[0] == [(tmp_path / "a.svs", None)]


def test_samples_beyond_a_colour_and_its_opacity_are_left_out(tmp_path):
    data = np.dstack([COLOURS, GRAY, GRAY])
    extra = ["unassalpha", "unspecified"]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, photometric="rgb", extrasamples=extra)
    image = check_header(path)
    np.testing.assert_array_equal(image.data, COLOURS)
    np.testing.assert_array_equal(image.alpha, GRAY)
    note = "a.tif has more samples than colours and opacity; left out"
    assert image.header.notes == (note,)


def test_a_mosaic_of_colours_is_read_as_values(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="cfa")
    image = check_header(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, GRAY)
    note = "a.tif holds a mosaic of colours; its values were read"
    assert image.header.notes == (note,)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_integers_of_24_bits_are_refused(tmp_path, byteorder):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, np.zeros((40, 144), "u1"), byteorder=byteorder)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages.first.tags["ImageWidth"].overwrite(48)
        tif.pages.first.tags["BitsPerSample"].overwrite(24)
    with pytest.raises(FileError, match=r"deep\.tif has integers of 24 bits; .* 32"):
        files.read(path)


def test_numbers_that_cannot_be_unpacked_have_a_line_that_tells_it(tmp_path):
    path = tmp_path / "a.lsm"
    planes = np.zeros((2, 32, 40), np.uint16)
    facts = (0x0400494C).to_bytes(4, "little") + bytes(496)
    tags = [(34412, "B", len(facts), facts, True)]
    tifffile.imwrite(path, planes, planarconfig="separate", extratags=tags)
    with pytest.raises(FileError, match=r"a\.lsm cannot be read: it ends too early"):
        files.read_header(path)
