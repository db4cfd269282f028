"""Images go into files and come out again, with all that is known about them."""

import dataclasses
import gc
import json
import struct
import subprocess
import sys
import zlib
from itertools import product

import dask.array
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageOps
from PIL.PngImagePlugin import putchunk
from scipy.fft import dctn

from napari_dip.errors import FileError, InputError
from napari_dip.io import files, limits, raster
from napari_dip.io.image import Header, Image, JpegTables, join_opacity, split_opacity
from tests.io.conftest import numbers

MADE = {
    "software": "napari-dip",
    "task": "denoise",
    "recipe": {"task": "denoise", "seed": 3},
    "stopped_by": 'quotes " and \\ and µ',
}


# -- round trips ------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".tif", ".ome.tif"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(20, 33), (20, 33, 3), (4, 20, 33)])
def test_tiff_keeps_values_type_axes_and_provenance(
    tmp_path, rng, ending, dtype, shape
):
    path = tmp_path / f"image{ending}"
    data = numbers(rng, shape, dtype)
    files.write(path, data, provenance=MADE)
    back = files.read(path)
    np.testing.assert_array_equal(back.data, data)
    assert back.data.dtype == data.dtype
    assert back.header.axes[-3:].endswith("YXS" if shape[-1] == 3 else "YX")
    assert back.header.provenance == MADE


@pytest.mark.parametrize("ending", [".ome.tif", ".ome.tiff", ".tif", ".tiff"])
def test_tiff_keeps_single_bits(tmp_path, rng, ending):
    data = numbers(rng, (20, 33), "bool")
    files.write(tmp_path / f"image{ending}", data)
    np.testing.assert_array_equal(files.read(tmp_path / f"image{ending}").data, data)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("shape", [(20, 33), (20, 33, 3)])
def test_png_keeps_values_type_and_provenance(tmp_path, rng, dtype, shape):
    path = tmp_path / "image.png"
    data = numbers(rng, shape, dtype)
    files.write(path, data, provenance=MADE)
    back = files.read(path)
    np.testing.assert_array_equal(back.data, data)
    assert back.data.dtype == data.dtype
    assert back.header.provenance == MADE
    assert back.header.channel_axis == (2 if len(shape) == 3 else None)


def test_other_programs_read_our_png_of_8_bits(tmp_path, rng):
    data = numbers(rng, (20, 33, 3), "u1")
    files.write(tmp_path / "image.png", data)
    with Pillow.open(tmp_path / "image.png") as image:
        np.testing.assert_array_equal(np.asarray(image), data)


@pytest.mark.parametrize("shape", [(20, 33), (20, 33, 3), (20, 33, 4)])
def test_other_programs_read_the_metadata_of_our_png_of_16_bits(tmp_path, rng, shape):
    path = tmp_path / "image.png"
    header = Header("PNG", shape, np.dtype("u2"), "YXS"[: len(shape)])
    header = dataclasses.replace(header, profile=b"a profile")
    data = numbers(rng, shape, "u2")
    image = Image(data, header)
    if shape[-1] == 4:
        image = split_opacity(data, header)
    files.write(path, image.data, image, {**MADE, "size": "µm" * 10_000})
    with Pillow.open(path) as image:
        image.load()
        assert json.loads(image.text[raster.KEYWORD])["size"] == "µm" * 10_000
        assert image.info["icc_profile"] == b"a profile"
    back = files.read(path)
    pixels = back.data if back.alpha is None else np.dstack([back.data, back.alpha])
    np.testing.assert_array_equal(pixels, data)


def test_every_second_row_and_column_goes_into_a_png(tmp_path, rng):
    data = numbers(rng, (40, 66, 3), "u2")[::2, ::2]
    files.write(tmp_path / "image.png", data)
    np.testing.assert_array_equal(files.read(tmp_path / "image.png").data, data)


def test_bool_becomes_black_and_white_in_a_png(tmp_path, rng):
    data = numbers(rng, (20, 33), "bool")
    files.write(tmp_path / "image.png", data)
    np.testing.assert_array_equal(files.read(tmp_path / "image.png").data, data * 255)


@pytest.mark.parametrize("ending", [".tif", ".ome.tif"])
def test_hyperstack_keeps_axes_scale_and_units(tmp_path, rng, ending):
    source, path = tmp_path / "source.tif", tmp_path / f"result{ending}"
    data = numbers(rng, (2, 3, 2, 20, 33), "u2")
    metadata = {"axes": "TZCYX", "unit": "micron", "spacing": 0.5, "finterval": 2.0}
    resolution = (1 / 0.1075, 1 / 0.2)
    tifffile.imwrite(
        source, data, imagej=True, metadata=metadata, resolution=resolution
    )
    image = files.read(source)
    assert image.header.format == "ImageJ TIFF"
    assert image.header.channel_axis == 2
    files.write(path, image.data.astype("f4"), image, MADE)
    back = files.read(path)
    np.testing.assert_array_equal(back.data, data)
    assert back.header.axes == "TZCYX"
    assert back.header.scale == pytest.approx((2.0, 0.5, None, 0.2, 0.1075))
    assert back.header.units == ("s", "µm", None, "µm", "µm")
    assert back.header.provenance == MADE


@pytest.mark.parametrize("ending", [".tif", ".ome.tif"])
def test_ome_tiff_keeps_channel_names(tmp_path, rng, ending):
    source, path = tmp_path / "source.ome.tif", tmp_path / f"result{ending}"
    data = numbers(rng, (2, 20, 33), "f4")
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    metadata |= {"PhysicalSizeX": 90, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.1}
    tifffile.imwrite(source, data, metadata=metadata)
    image = files.read(source)
    assert image.header.format == "OME-TIFF"
    assert image.header.channel_names == ("DAPI", "GFP")
    assert image.header.units == (None, "µm", "nm")
    files.write(path, data, image)
    back = files.read(path).header
    assert (back.axes, back.channel_names) == ("CYX", ("DAPI", "GFP"))


@pytest.mark.parametrize("ending", [".tif", ".ome.tif"])
def test_channels_keep_their_colours(tmp_path, rng, ending):
    data = numbers(rng, (3, 2, 20, 33), "u2")
    colours = ("#ff0000", "#00ff7f", "#ffffff")
    header = Header("", data.shape, data.dtype, "CZYX", channel_colours=colours)
    path = tmp_path / f"image{ending}"
    files.write(path, data, Image(data, header))
    back = files.read(path)
    assert back.header.axes in ("CZYX", "ZCYX")
    assert back.header.channel_colours == colours


def test_other_programs_read_our_colours(tmp_path, rng):
    data = numbers(rng, (2, 20, 33), "u1")
    colours = ("#ff0000", "#0000ff")
    like = Image(
        data, Header("", data.shape, data.dtype, "CYX", channel_colours=colours)
    )
    files.write(tmp_path / "image.tif", data, like)
    files.write(tmp_path / "image.ome.tif", data, like)
    with tifffile.TiffFile(tmp_path / "image.tif") as tif:
        tables = tif.imagej_metadata["LUTs"]
        assert tif.imagej_metadata["mode"] == "composite"
    np.testing.assert_array_equal(tables[0], [range(256), [0] * 256, [0] * 256])
    with tifffile.TiffFile(tmp_path / "image.ome.tif") as tif:
        # Examples of the OME schema: red is -16776961, blue is 65535.
        assert 'Color="-16776961"' in tif.ome_metadata
        assert 'Color="65535"' in tif.ome_metadata


def test_tiff_that_imagej_cannot_hold_keeps_axes_and_scale(tmp_path, rng):
    data = numbers(rng, (2, 20, 33), "f8")
    scale, units = (0.5, 0.2, 0.1), ("µm", "nm", "µm")
    like = Image(data, Header("TIFF", data.shape, data.dtype, "CYX", scale, units))
    files.write(tmp_path / "image.tif", data, like)
    back = files.read(tmp_path / "image.tif").header
    assert back.format == "TIFF"
    assert back.axes == "CYX"
    assert back.scale[1:] == pytest.approx((0.0002, 0.1))


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_of_a_tiff_come_last(tmp_path, rng, planar):
    data = numbers(rng, (20, 33, 3), "u1")
    stored = data if planar == "contig" else np.moveaxis(data, 2, 0)
    tifffile.imwrite(
        tmp_path / "image.tif", stored, photometric="rgb", planarconfig=planar
    )
    image = files.read(tmp_path / "image.tif")
    assert image.header.axes == "YXS"
    assert files.read_header(tmp_path / "image.tif").shape == (20, 33, 3)
    np.testing.assert_array_equal(image.data, data)


def test_big_endian_pixels_come_in_the_machines_order(tmp_path, rng):
    data = numbers(rng, (20, 33), "u2")
    tifffile.imwrite(tmp_path / "image.tif", data, byteorder=">")
    image = files.read(tmp_path / "image.tif")
    assert image.data.dtype.isnative
    np.testing.assert_array_equal(image.data, data)


def test_result_of_other_size_covers_the_same_field(tmp_path, rng):
    data = numbers(rng, (20, 32), "f4")
    units = ("µm", "µm")
    like = Image(data, Header("TIFF", (20, 32), data.dtype, "YX", (0.4, 0.2), units))
    files.write(tmp_path / "image.tif", np.kron(data, np.ones((4, 4), "f4")), like)
    assert files.read_header(tmp_path / "image.tif").scale == pytest.approx((0.1, 0.05))


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_opacity_is_kept_apart_and_put_back(tmp_path, rng, dtype):
    colours = numbers(rng, (20, 33, 3), dtype)
    alpha = numbers(rng, (20, 33), dtype)
    like = dataclasses.replace(
        Image(colours, Header("PNG", colours.shape, colours.dtype, "YXS")), alpha=alpha
    )
    files.write(tmp_path / "image.png", colours, like)
    back = files.read(tmp_path / "image.png")
    np.testing.assert_array_equal(back.data, colours)
    np.testing.assert_array_equal(back.alpha, alpha)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_opacity_of_gray_pixels_is_kept_apart(tmp_path, rng, dtype):
    gray, alpha = numbers(rng, (2, 20, 33), dtype)
    header = Header("PNG", gray.shape, gray.dtype, "YX")
    files.write(tmp_path / "image.png", gray, Image(gray, header, alpha))
    back = files.read(tmp_path / "image.png")
    assert back.header == files.read_header(tmp_path / "image.png")
    assert (back.header.axes, back.header.dtype) == ("YX", gray.dtype)
    np.testing.assert_array_equal(back.data, gray)
    np.testing.assert_array_equal(back.alpha, alpha)


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("RGB", (7, 8, 9)), ("P", 7)])
def test_transparent_colour_becomes_opacity(tmp_path, rng, mode, colour):
    image = Pillow.fromarray(numbers(rng, (20, 33, 3), "u1")).convert(mode)
    image.putpixel((5, 3), colour)
    image.save(tmp_path / "image.png", transparency=colour)
    back = files.read(tmp_path / "image.png")
    assert back.alpha[3, 5] == 0
    assert back.alpha.max() == 255
    pixels = image.convert("RGB") if mode == "P" else image
    np.testing.assert_array_equal(back.data, np.asarray(pixels))
    assert back.header.shape == back.data.shape


@pytest.mark.parametrize("count", [1, 3])
def test_transparent_colour_of_16_bits(tmp_path, rng, count):
    pixels = numbers(rng, (20, 33, count), "u2")
    pixels[3, 5] = colour = (300, 400, 500)[:count]
    path = tmp_path / "image.png"
    files.write(path, pixels.squeeze())
    content = path.read_bytes()
    chunk = b"tRNS" + np.array(colour, ">u2").tobytes()
    chunk = (
        (2 * count).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    )
    path.write_bytes(content[:33] + chunk + content[33:])
    back = files.read(path)
    assert files.read_header(path) == back.header
    assert back.header.axes == ("YX" if count == 1 else "YXS")
    np.testing.assert_array_equal(back.data, pixels.squeeze())
    assert (back.alpha[3, 5], back.alpha.max()) == (0, 65535)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_png_is_turned_as_it_says(tmp_path, rng, mode, orientation):
    colours = Pillow.fromarray(numbers(rng, (20, 33, 4), "u1"))
    if mode == "I;16":
        colours = Pillow.fromarray(numbers(rng, (20, 33), "u2"))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "image.png"
    colours.convert(mode).save(path, exif=exif)
    back = files.read(path)
    assert files.read_header(path) == back.header
    assert back.header.shape == back.data.shape
    pixels = back.data if back.alpha is None else np.dstack([back.data, back.alpha])
    with Pillow.open(path) as other:
        np.testing.assert_array_equal(pixels, ImageOps.exif_transpose(other))
    files.write(tmp_path / "out.png", back.data, back)
    np.testing.assert_array_equal(files.read(tmp_path / "out.png").data, back.data)


def test_png_that_says_after_its_pixels_how_it_is_turned(tmp_path, rng):
    path = tmp_path / "image.png"
    files.write(path, numbers(rng, (20, 33), "u1"))
    exif = Pillow.Exif()
    exif[0x0112] = 6
    chunk = b"eXIf" + exif.tobytes()[6:]
    chunk = (len(chunk) - 4).to_bytes(4, "big") + chunk
    chunk += zlib.crc32(chunk[4:]).to_bytes(4, "big")
    content = path.read_bytes()
    path.write_bytes(content[:-12] + chunk + content[-12:])
    assert files.read_header(path).shape == files.read(path).data.shape == (33, 20)


def test_single_bits_are_black_and_white(tmp_path, rng):
    bits = numbers(rng, (20, 33), "bool")
    Pillow.fromarray(bits).save(tmp_path / "image.png")
    back = files.read(tmp_path / "image.png")
    np.testing.assert_array_equal(back.data, bits * 255)
    assert (back.header.axes, back.header.dtype) == ("YX", np.uint8)


def test_opaque_gray_with_alpha_is_gray(tmp_path, rng):
    gray = numbers(rng, (20, 33), "u1")
    opaque = Pillow.merge(
        "LA", [Pillow.fromarray(gray), Pillow.new("L", (33, 20), 255)]
    )
    opaque.save(tmp_path / "image.png")
    back = files.read(tmp_path / "image.png")
    assert back.alpha is None
    np.testing.assert_array_equal(back.data, gray)


def test_palette_is_resolved(tmp_path, rng):
    colours = Pillow.fromarray(numbers(rng, (20, 33, 3), "u1")).quantize(16)
    colours.save(tmp_path / "image.png")
    back = files.read(tmp_path / "image.png")
    np.testing.assert_array_equal(back.data, np.asarray(colours.convert("RGB")))


def test_jpeg_is_turned_as_it_says(tmp_path, rng):
    exif = Pillow.Exif()
    exif[0x0112] = 6
    gray = Pillow.fromarray(numbers(rng, (20, 33), "u1"))
    gray.save(tmp_path / "image.jpg", exif=exif)
    image = files.read(tmp_path / "image.jpg")
    assert image.header.format == "JPEG"
    assert image.header.shape == image.data.shape == (33, 20)


# The tables K.1 and K.2 of the JPEG standard, which quality 50 means; first rows.
LUMINANCE = (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55)
CHROMINANCE = (17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("name", ["4:4:4", "4:2:2", "4:2:0"])
def test_tables_of_a_colour_jpeg(tmp_path, rng, name, progressive):
    path = tmp_path / "image.jpg"
    colours = Pillow.fromarray(numbers(rng, (40, 50, 3), "u1"))
    colours.save(path, quality=50, subsampling=name, progressive=progressive)
    jpeg = files.read_header(path).jpeg
    assert jpeg == files.read(path).header.jpeg
    assert jpeg.subsampling == name
    assert [len(table) for table in jpeg.tables] == [64, 64]
    assert jpeg.tables[0][:16] == LUMINANCE
    assert jpeg.tables[1][:16] == CHROMINANCE


def test_tables_are_in_the_order_of_rows(tmp_path, rng):
    """The steps explain the pixels; in another order they do not."""
    path = tmp_path / "image.jpg"
    down, across = np.mgrid[:8, :8]
    table = (30 + 12 * down + 2 * across).ravel().tolist()
    gray = rng.normal(128, 20, (64, 64)).astype("u1")  # far from 0 and 255
    Pillow.fromarray(gray).save(path, qtables=[table])
    image = files.read(path)
    steps = np.reshape(image.header.jpeg.tables[0], (8, 8))
    blocks = image.data.reshape(8, 8, 8, 8).swapaxes(1, 2) - 128.0
    values = dctn(blocks, axes=(2, 3), norm="ortho")

    def misfit(steps):
        return np.abs(values - steps * np.rint(values / steps)).mean()

    assert misfit(steps) < 0.5  # pixels are rounded to integers
    assert misfit(steps.T) > 2


def test_tables_of_a_gray_jpeg(tmp_path, rng):
    gray = Pillow.fromarray(numbers(rng, (40, 50), "u1"))
    gray.save(tmp_path / "image.jpg", quality=50)
    jpeg = files.read_header(tmp_path / "image.jpg").jpeg
    assert jpeg.subsampling == "4:4:4"
    assert len(jpeg.tables) == 1
    assert jpeg.tables[0][:16] == LUMINANCE


def test_own_tables_of_a_jpeg(tmp_path, rng):
    tables = [list(range(1, 65)), list(range(64, 0, -1))]
    colours = Pillow.fromarray(numbers(rng, (40, 50, 3), "u1"))
    colours.save(tmp_path / "image.jpg", qtables=tables)
    jpeg = files.read_header(tmp_path / "image.jpg").jpeg
    assert jpeg == JpegTables(tuple(map(tuple, tables)), "4:2:0")


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("CMYK", {}),
        ("RGB", {"keep_rgb": True}),
        ("RGB", {"qtables": [[1] * 64, [2] * 64, [3] * 64]}),
        ("RGB", {"orientation": 3}),
    ],
)
def test_jpeg_whose_tables_say_nothing_simple(tmp_path, rng, mode, options):
    image = Pillow.fromarray(numbers(rng, (40, 50, 3), "u1")).convert(mode)
    if "orientation" in options:
        exif = Pillow.Exif()
        exif[0x0112] = options["orientation"]
        options = {"exif": exif}
    image.save(tmp_path / "image.jpg", **options)
    assert files.read_header(tmp_path / "image.jpg").jpeg is None


def test_jpeg_of_unusual_subsampling(tmp_path, rng):
    path = tmp_path / "image.jpg"
    colours = Pillow.fromarray(numbers(rng, (40, 50, 3), "u1"))
    colours.save(path, subsampling="4:2:2")
    content = bytearray(path.read_bytes())
    frame = content.index(b"\xff\xc0")
    assert content[frame + 11] == 0x21
    content[frame + 11] = 0x12  # two rows, not two columns, to a value of colour
    path.write_bytes(content)
    assert files.read_header(path).jpeg is None


def test_first_picture_of_a_camera_that_takes_two(tmp_path, rng):
    first, second = (Pillow.fromarray(numbers(rng, (20, 33, 3), "u1")) for _ in "ab")
    path = tmp_path / "image.jpg"
    exif = Pillow.Exif()
    exif[0x0112] = 6
    first.save(path, format="MPO", save_all=True, append_images=[second], exif=exif)
    image = files.read(path)
    assert (image.header.format, image.data.shape) == ("JPEG", (33, 20, 3))
    assert "holds 2 images" in image.header.notes[0]


def test_a_result_has_no_tables(tmp_path, rng):
    Pillow.fromarray(numbers(rng, (40, 50), "u1")).save(tmp_path / "image.jpg")
    image = files.read(tmp_path / "image.jpg")
    assert image.header.jpeg is not None
    assert image.header.of(image.data.astype("f4")).jpeg is None


@pytest.mark.parametrize("source", ["in.png", "in.jpg", "in.tif"])
@pytest.mark.parametrize("target", ["out.png", "out.tif", "out.ome.tif"])
def test_colour_profile_is_kept(tmp_path, rng, source, target):
    data = numbers(rng, (20, 33, 3), "u1")
    Pillow.fromarray(data).save(tmp_path / source, icc_profile=b"a profile")
    image = files.read(tmp_path / source)
    assert files.write(tmp_path / target, data, image) == []
    with Pillow.open(tmp_path / target) as written:
        assert written.info["icc_profile"] == b"a profile"
    assert files.read_header(tmp_path / target).profile == b"a profile"


@pytest.mark.parametrize("target", ["out.tif", "out.ome.tif", "out.ome.zarr"])
def test_colour_profile_of_what_is_written_in_parts(tmp_path, rng, target):
    data = numbers(rng, (20, 33, 3), "f4")
    header = Header("TIFF", data.shape, data.dtype, "YXS", profile=b"a profile")
    place, image = tmp_path / target, Image(data, header)
    with files.writing(place, data.shape, data.dtype, image) as out:
        out[...] = data
    store = target.endswith(".zarr")
    note = "an OME-Zarr has no place for the colour profile"
    assert out.notes == ([note] if store else [])
    assert files.write(place, data, image, overwrite=True) == out.notes
    assert files.read_header(place).profile == (None if store else b"a profile")


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "L"])
def test_colour_profile_of_what_becomes_other_colours(tmp_path, rng, mode):
    colours = Pillow.fromarray(numbers(rng, (20, 33, 3), "u1"))
    converted = colours.convert(mode)
    converted.save(tmp_path / "in.tif", icc_profile=b"a profile")
    assert files.read_header(tmp_path / "in.tif").profile is None


def test_more_images_than_one_are_noted(tmp_path, rng):
    with tifffile.TiffWriter(tmp_path / "image.tif") as tif:
        tif.write(numbers(rng, (20, 33), "u1"))
        tif.write(numbers(rng, (40, 50), "u1"))
    image = files.read(tmp_path / "image.tif")
    assert image.data.shape == (20, 33)
    assert "holds 2 images" in image.header.notes[0]


# -- without the pixels -----------------------------------------------------------


@pytest.fixture
def written(tmp_path, rng):
    """Return TIFFs of many kinds with the array that each holds."""
    stack = numbers(rng, (2, 3, 40, 48), "u2")
    colour = numbers(rng, (3, 40, 48), "u1")
    write = tifffile.imwrite
    write(tmp_path / "ome.ome.tif", stack, metadata={"axes": "TCYX"})
    write(tmp_path / "ij.tif", stack, imagej=True, metadata={"axes": "TCYX"})
    tiles = {"compression": "zlib", "tile": (16, 16), "photometric": "minisblack"}
    write(tmp_path / "tiles.tif", stack, **tiles)
    rgb = {"photometric": "rgb", "planarconfig": "separate"}
    write(tmp_path / "rgb.tif", colour, **rgb)
    write(tmp_path / "big.tif", stack[0, 0], byteorder=">")
    return {
        "ome.ome.tif": stack,
        "ij.tif": stack,
        "tiles.tif": stack,
        "rgb.tif": np.moveaxis(colour, 0, 2),
        "big.tif": stack[0, 0],
    }


def test_tiffs_are_opened_without_pixels(tmp_path, written, monkeypatch):
    read = {name: files.read(tmp_path / name) for name in written}
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", None)
    for name, data in written.items():
        header, (level,) = files.open_levels(tmp_path / name)
        assert isinstance(level, dask.array.Array)
        assert header == read[name].header
        assert level.dtype == data.dtype
        assert level.dtype.isnative
        np.testing.assert_array_equal(level, data)
        np.testing.assert_array_equal(level[0], data[0])


def test_levels_of_a_tiff(tmp_path, rng):
    data = numbers(rng, (64, 80), "u2")
    with tifffile.TiffWriter(tmp_path / "image.ome.tif") as tif:
        tif.write(data, subifds=1)
        tif.write(data[::2, ::2], subfiletype=1)
    _, (full, half) = files.open_levels(tmp_path / "image.ome.tif")
    np.testing.assert_array_equal(full, data)
    np.testing.assert_array_equal(half, data[::2, ::2])


@pytest.mark.parametrize("name", [".tif", ".OME.tif", ".ome.zarr", ".png"])
def test_an_ending_alone_is_no_output(tmp_path, name):
    with pytest.raises(InputError, match=f"a name before its ending; got {name}$"):
        files.write(tmp_path / name, np.zeros((20, 20), "u1"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".ome.zarr"])
def test_resolutions_that_are_not_written_are_told(tmp_path, rng, ending):
    if ending == ".ome.zarr":
        pytest.importorskip("zarr")
    data = numbers(rng, (64, 80), "u2")
    with tifffile.TiffWriter(tmp_path / "image.ome.tif") as tif:
        tif.write(data, subifds=2)
        tif.write(data[::2, ::2], subfiletype=1)
        tif.write(data[::4, ::4], subfiletype=1)
    like = files.read(tmp_path / "image.ome.tif")
    told = "the TIFF holds one of the 3 resolutions of the input"
    expected = [] if ending == ".ome.zarr" else [told]
    notes = files.write(tmp_path / f"out{ending}", data, like)
    assert [note.split(";")[0] for note in notes] == expected
    with files.writing(tmp_path / f"parts{ending}", data.shape, data.dtype, like) as to:
        to[:, :] = data
    assert [note.split(";")[0] for note in to.notes] == expected


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_gray_samples_do_not_become_opacity(tmp_path, count, ending, dtype):
    data = np.random.default_rng(0).integers(0, 255, (20, 24, count)).astype(dtype)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", data, **options)
    image = files.read(tmp_path / "a.tif")
    files.write(tmp_path / f"b{ending}", image.data, image)
    back = files.read(tmp_path / f"b{ending}")
    if "C" in back.header.axes:  # OME-Zarr knows channels only
        data = np.moveaxis(data, -1, 0)
    np.testing.assert_array_equal(back.data, data)
    assert back.alpha is None
    with files.writing(tmp_path / f"c{ending}", image.data.shape, dtype, image) as out:
        out[...] = image.data
    np.testing.assert_array_equal(files.read(tmp_path / f"c{ending}").data, data)
    with pytest.raises(InputError, match="a PNG holds one image of shape"):
        files.write(tmp_path / "b.png", image.data.astype("u1"), image)


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".png", ".zarr"])
def test_four_values_of_an_array_are_colour_and_opacity(tmp_path, ending):
    data = np.random.default_rng(0).integers(0, 255, (20, 24, 4), "u1")
    files.write(tmp_path / f"a{ending}", data)
    image = files.read(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(image.data, data[..., :3])
    np.testing.assert_array_equal(image.alpha, data[..., 3])


@pytest.mark.parametrize("ending", [".tif", ".ome.tif"])
@pytest.mark.parametrize("shape", [(2, 20, 1), (2, 1, 20), (5, 1, 1)])
def test_planes_of_one_row_or_column(tmp_path, ending, shape):
    data = np.random.default_rng(0).random(shape, "f4")
    like = Image(data, Header("array", shape, data.dtype, "ZYX", scale=(2, 1, 1)))
    files.write(tmp_path / f"a{ending}", data, like)
    back = files.read(tmp_path / f"a{ending}")
    assert (back.header.axes, back.header.notes) == ("ZYX", ())
    np.testing.assert_array_equal(back.data, data)


def test_names_of_what_cannot_be_written(tmp_path):
    data = np.ones((2, 8, 9), "u1")
    names, scale = ("GFP\0", "\ud800<µ>\x1b"), (None, np.float32(0.5), 0.25)
    units = (None, "µm", "µm")
    like = Image(data, Header("a", data.shape, data.dtype, "CYX", scale, units, names))
    for ending in (".ome.tif", ".tif", ".zarr"):
        files.write(tmp_path / f"a{ending}", data, like)
        header = files.read_header(tmp_path / f"a{ending}")
        assert (header.axes, header.scale) == ("CYX", like.header.scale)
        assert header.channel_names == ("GFP", "<µ>")


@pytest.mark.parametrize("ending", files.OUTPUTS)
def test_what_is_no_image_is_not_written(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    plane = np.ones((8, 9), "u1")
    like = Image(plane, Header("PNG", plane.shape, plane.dtype, "YX"))
    with pytest.raises(InputError, match="data must have the axes YX of like; got sh"):
        files.write(path, plane[None], like)
    with pytest.raises(InputError, match="must be numbers that are not complex; got"):
        files.write(path, np.ones((8, 9), "c8"))
    with pytest.raises(FileError, match=r"empty image of shape \(0, 9\)"):
        files.write(path, np.ones((0, 9), "u1"))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("read", [files.read, files.read_header, files.open_image])
def test_series_that_is_not_there(tmp_path, read):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for side in (8, 9):
            tif.write(np.ones((side, side), "u1"))
    for number in (2, -1):
        with pytest.raises(FileError, match=f"holds 2 images; got series {number}"):
            read(tmp_path / "a.tif", number)
    files.write(tmp_path / "a.png", np.ones((8, 8), "u1"))
    with pytest.raises(InputError, match=r"series is of a TIFF; got 0 for a\.png"):
        read(tmp_path / "a.png", 0)


def test_file_is_closed_when_its_arrays_are_gone(tmp_path, written):
    _, levels = files.open_levels(tmp_path / "tiles.tif")
    plane = levels[0][0]
    del levels
    gc.collect()
    np.testing.assert_array_equal(plane, written["tiles.tif"][0])
    del plane
    gc.collect()  # an open file would warn here, and warnings are errors


def test_truncated_tiff_is_not_opened_without_pixels(tmp_path):
    with pytest.raises(FileError, match="truncated"):
        files.open_levels(damaged(tmp_path, "image.tif", 3000))


def test_tiff_without_the_libraries_of_the_extra(tmp_path, written, monkeypatch):
    for name in ("dask.array", "zarr"):
        monkeypatch.setitem(sys.modules, name, None)
    assert files.open_levels(tmp_path / "tiles.tif") is None
    for read in (files.read, files.open_image):
        image = read(tmp_path / "tiles.tif")
        np.testing.assert_array_equal(image.data, written["tiles.tif"])


def test_png_can_only_be_read(tmp_path, rng):
    files.write(tmp_path / "image.png", numbers(rng, (20, 33), "u1"))
    assert files.open_levels(tmp_path / "image.png") is None


# -- what is refused --------------------------------------------------------------


def damaged(tmp_path, name, keep):
    """Write a file and cut it off."""
    data = numbers(np.random.default_rng(0), (6, 64, 64), "u2")
    path = tmp_path / name
    files.write(path, data if name.endswith("tif") else data[0])
    path.write_bytes(path.read_bytes()[:keep])
    return path


@pytest.mark.parametrize("name", ["image.tif", "image.ome.tif", "image.png"])
@pytest.mark.parametrize("keep", [0, 4, 100, 3000])
def test_truncated_file(tmp_path, name, keep):
    with pytest.raises(FileError):
        files.read(damaged(tmp_path, name, keep))


def test_pages_lost_from_a_plain_tiff(tmp_path, rng):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, numbers(rng, (6, 64, 64), "u2"), metadata=None)
    path.write_bytes(path.read_bytes()[:30000])
    with pytest.raises(FileError):
        files.read(path)


def test_strips_lost_from_a_tiff(tmp_path, rng):
    path = tmp_path / "image.tif"
    pixels = numbers(rng, (64, 64), "u2")
    tifffile.imwrite(path, pixels, compression="zlib", rowsperstrip=16)
    with tifffile.TiffFile(path, mode="r+") as tif:
        for name in ("StripOffsets", "StripByteCounts"):
            tag = tif.pages.first.tags[name]
            tag.overwrite(tag.value[:3])
    for read in (files.read, files.open_image):
        with pytest.raises(FileError, match="3 of 4 strips"):
            read(path)


def test_damaged_compressed_tiff(tmp_path, rng):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, numbers(rng, (64, 64), "u2"), compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        start = tif.pages[0].dataoffsets[0]
    content[start : start + 50] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(FileError):
        files.read(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        files.read(tmp_path / "nonesuch.tif")
    with pytest.raises(FileError, match="is a folder"):
        files.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "converter"),
    [
        *[(f"image{ending}", "Bio-Formats") for ending in (".czi", ".nd2", "")],
        *[(f"image{ending}", "tifffile or zarr") for ending in (".npy", ".NPZ")],
    ],
)
def test_format_that_is_not_read(tmp_path, name, converter):
    (tmp_path / name).write_bytes(b"something")
    says = rf"accepted are .*\.tif.* Convert it, .*{converter}"
    with pytest.raises(FileError, match=says):
        files.read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_file_of_another_kind_is_told_in_words(tmp_path, name):
    Pillow.new("L", (20, 20)).save(tmp_path / name, "GIF")
    says = rf"^{name} cannot be read: it is (damaged, or of another kind|not a PNG)"
    with pytest.raises(FileError, match=says) as raised:
        files.read(tmp_path / name)
    assert "Error" not in str(raised.value)


def test_pillow_opens_nothing_but_png_and_jpeg(tmp_path):
    Pillow.new("L", (20, 20)).save(tmp_path / "image.gif")
    (tmp_path / "image.gif").rename(tmp_path / "image.png")
    with pytest.raises(FileError, match="not a PNG or JPEG"):
        files.read(tmp_path / "image.png")


def test_size_is_checked_before_the_pixels(tmp_path, monkeypatch, rng):
    files.write(tmp_path / "image.png", numbers(rng, (200, 200), "u1"))
    files.write(tmp_path / "image.tif", numbers(rng, (200, 200), "u1"))
    monkeypatch.setattr(limits, "free_memory", lambda: 100_000)
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", None)
    monkeypatch.setattr(raster, "_pixels", None)
    for name in ("image.png", "image.tif"):
        with pytest.raises(FileError, match=r"[0-9] KiB are free"):
            files.read(tmp_path / name)


def test_png_that_claims_to_be_enormous(tmp_path, rng):
    path = tmp_path / "image.png"
    files.write(path, numbers(rng, (20, 20), "u1"))
    content = bytearray(path.read_bytes())
    size = (1_000_000).to_bytes(4, "big")
    head = b"IHDR" + size + size + content[24:29]
    content[12:33] = head + zlib.crc32(head).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(FileError):
        files.read(path)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.zeros((20, 20), "f4"), "8 or 16 bits; the result is float32"),
        (np.zeros((20, 20), "i4"), "8 or 16 bits; the result is int32"),
        (np.zeros((5, 20, 20), "u1"), "axes QYX"),
    ],
)
def test_what_a_png_cannot_hold(tmp_path, data, says):
    with pytest.raises(InputError, match=says):
        files.write(tmp_path / "image.png", data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["i8", "u8", "f2"])
def test_what_an_ome_tiff_cannot_hold(tmp_path, dtype):
    with pytest.raises(InputError, match="OME-TIFF cannot hold"):
        files.write(tmp_path / "image.ome.tif", np.zeros((20, 20), dtype))
    files.write(tmp_path / "image.tif", np.zeros((20, 20), dtype))
    assert files.read(tmp_path / "image.tif").data.dtype == dtype


def test_colours_of_one_bit(tmp_path):
    with pytest.raises(InputError, match="colours of one bit"):
        files.write(tmp_path / "image.tif", np.zeros((20, 20, 3), bool))


def test_output_of_unknown_format(tmp_path):
    with pytest.raises(InputError, match=r"must end in .*; got 'image.jpg'"):
        files.write(tmp_path / "image.jpg", np.zeros((20, 20), "u1"))


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize(
    ("axes", "scale"),
    [("YX", (0.5, 0.25)), ("ZYX", (2.0, 0.5, 0.5)), ("YXS", (2.0, 2.0, None))],
)
def test_scale_without_a_unit(tmp_path, ending, axes, scale):
    if ending == ".ome.zarr":
        pytest.importorskip("yaozarrs")
    shape = dict(zip("ZYXS", (4, 20, 24, 3), strict=True))
    pixels = np.ones([shape[axis] for axis in axes], "u1")
    header = Header("", pixels.shape, pixels.dtype, axes, scale, (None,) * len(axes))
    path = tmp_path / f"a{ending}"
    assert files.write(path, pixels, Image(pixels, header)) == []
    found = files.read(path).header
    assert dict(zip(found.axes, found.scale, strict=True)) == dict(
        zip(axes, scale, strict=True)
    )
    assert set(found.units) == {None}


@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({"resolution": (2, 4)}, (0.25, 0.5)),
        ({"resolution": (1, 1)}, (None, None)),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, (None, None)),
        ({"resolution": (2, 2), "metadata": {"unit": "pixel"}}, (0.5, 0.5)),
        ({}, (None, None)),
    ],
)
def test_resolution_of_imagej_without_a_unit(tmp_path, options, scale):
    tifffile.imwrite(
        tmp_path / "a.tif", np.ones((20, 24), "u1"), imagej=True, **options
    )
    header = files.read(tmp_path / "a.tif").header
    assert (header.scale, header.units) == (scale, (None, None))


@pytest.mark.parametrize(
    ("ending", "axes", "scale", "says"),
    [
        (".tif", "YX", (None, 0.5), "no place for the scale of X (0.5 µm)"),
        (".tif", "YX", (0.5, None), "no place for the scale of Y (0.5 µm)"),
        (".tif", "ZYX", (2, None, None), "no place for the scale of Z (2 µm)"),
        (".tif", "ZYX", (2, 1, None), "no place for the scale of Y (1 µm), Z (2 µm)"),
        (".png", "YX", (None, 0.5), "no place for the scale of X (0.5 µm)"),
    ],
)
def test_scale_that_a_file_has_no_place_for(tmp_path, ending, axes, scale, says):
    pixels = np.ones((4, 20, 24)[-len(axes) :], "u1")
    units = [step and "µm" for step in scale]
    header = Header("", pixels.shape, pixels.dtype, axes, scale, tuple(units))
    (note,) = files.write(tmp_path / f"a{ending}", pixels, Image(pixels, header))
    assert note.endswith(says)


@pytest.mark.parametrize(
    ("ending", "dtype", "axes", "names", "colours", "says"),
    [
        (".tif", "f8", "CYX", ("A", "B"), ("#00ff00", "#ff0000"), "names and colours"),
        (".tif", "f8", "CYX", ("A", "B"), (), "names"),
        (".png", "u1", "YX", (), ("#00ff00",), "colours"),
        (".tif", "u1", "CYX", ("A", "B"), ("#00ff00", "#ff0000"), None),
        (".ome.tif", "f8", "CYX", ("A", "B"), ("#00ff00", "#ff0000"), None),
    ],
)
def test_channels_that_a_file_has_no_place_for(
    tmp_path, ending, dtype, axes, names, colours, says
):
    pixels = np.ones((2, 20, 24)[-len(axes) :], dtype)
    header = Header(
        "",
        pixels.shape,
        pixels.dtype,
        axes,
        channel_names=names,
        channel_colours=colours,
    )
    notes = files.write(tmp_path / f"a{ending}", pixels, Image(pixels, header))
    assert [note.partition("for the ")[2] for note in notes] == (
        [] if says is None else [f"{says} of channels"]
    )


@pytest.mark.parametrize(
    ("shape", "axes"), [((2, 2, 2, 20, 33), "QWVYX"), ((2, 2, 2, 2, 20, 33), "ATCZYX")]
)
def test_axes_that_an_ome_tiff_cannot_hold_are_refused_before_the_fit(
    tmp_path, shape, axes
):
    header = Header("TIFF", shape, np.dtype("u2"), axes)
    with pytest.raises(InputError, match=f"OME-TIFF cannot hold the axes {axes}"):
        files.check_output(tmp_path / "a.ome.tif", header, np.dtype("f4"))
    files.check_output(tmp_path / "a.tif", header, np.dtype("f4"))


def test_step_of_finer_pixels_has_no_more_digits():
    header = Header("", (20, 24), np.dtype("f4"), "YX", (0.3, 0.2), ("µm", "µm"))
    assert header.of(np.zeros((40, 48))).scale == (0.15, 0.1)


def png_with(path, *chunks):
    """Write a PNG of zeros with chunks after its header."""
    encoded = imagecodecs.png_encode(np.zeros((8, 9, 3), "u1"))
    parts = [
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    path.write_bytes(encoded[:33] + b"".join(parts) + encoded[33:])


BESIDE_PIXELS = [
    (b"iCCP", b"ICC profile\0\0" + zlib.compress(b"x" * 200)),
    (b"iCCP", b"ICC profile\0\0broken"),
    (b"sRGB", b"\t"),
    (b"gAMA", b"\0\0\0\5\0\0\0\5"),
    (b"sBIT", b"1"),
    (b"hIST", b"1"),
    (b"bKGD", b"1"),
    (b"tIME", b"1"),
    (b"zTXt", b"a\0\0broken"),
    (b"iTXt", b"a\0\1\0\0\0broken"),
    (b"cICP", b"1"),
    (b"eXIf", b"broken"),
    (b"PLTE", bytes(6)),
]


@pytest.mark.parametrize("ending", [".tif", ".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize("shape", [(5, 11, 13), (2, 5, 11, 13)])
def test_axes_without_a_name_keep_their_order(tmp_path, rng, shape, ending):
    pixels = numbers(rng, shape, "u2")
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    image = files.read(tmp_path / "a.tif")
    files.write(tmp_path / f"b{ending}", image.data, image)
    back = files.read(tmp_path / f"b{ending}")
    np.testing.assert_array_equal(back.data, pixels)
    assert back.header.axes == "TZYX"[-len(shape) :]


def check_silence(paths):
    """Check that nothing is written."""
    read = "import sys; from napari_dip.io.files import read; "
    read += "[read(path) for path in sys.argv[1:]]"
    command = [sys.executable, "-c", read, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_chunks_beside_the_pixels_of_a_png_write_nothing(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(len(BESIDE_PIXELS))]
    for path, chunk in zip(paths, BESIDE_PIXELS, strict=True):
        png_with(path, chunk)
        image = files.read(path)
        np.testing.assert_array_equal(image.data, np.zeros((8, 9, 3)))
    check_silence(paths)


def png_of(path, lines, layout, *chunks):
    """Write a PNG of chunks, after its header, and of what is compressed."""
    chunks = [(b"IHDR", struct.pack(">IIBBxxB", *layout)), *chunks]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, body in (*chunks, (b"IDAT", lines), (b"IEND", b"")):
            putchunk(file, name, body)
    return path


PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)]
PASSES += [(0, 1, 2, 2), (1, 0, 2, 1)]


INTERLACED = list(product([">u1", ">u2"], [(11, 13), (11, 13, 3), (1, 1), (3, 2, 4)]))


def interlaced_png(path, pixels):
    parts = (pixels[y::dy, x::dx] for y, x, dy, dx in PASSES)
    lines = b"".join(
        b"\0" + row.tobytes() for part in parts if part.size for row in part
    )
    height, width, *samples = pixels.shape
    colour_type = {(): 0, (3,): 2, (4,): 6}[tuple(samples)]
    layout = (width, height, 8 * pixels.itemsize, colour_type, 1)
    return png_of(path, zlib.compress(lines), layout)


@pytest.mark.parametrize(("dtype", "shape"), INTERLACED)
def test_interlaced_png(tmp_path, rng, dtype, shape):
    pixels = numbers(rng, shape, dtype[1:]).astype(dtype)
    path = interlaced_png(tmp_path / "a.png", pixels)
    colours = pixels[..., :3] if pixels.ndim == 3 else pixels
    np.testing.assert_array_equal(files.read(path).data, colours)


def test_interlaced_pngs_are_read_in_silence(tmp_path, rng):
    paths = [
        interlaced_png(
            tmp_path / f"{number}.png", numbers(rng, shape, dtype[1:]).astype(dtype)
        )
        for number, (dtype, shape) in enumerate(INTERLACED)
    ]
    check_silence(paths)


def test_bytes_that_follow_the_pixels_or_the_transparency_of_a_png(tmp_path, rng):
    gray = numbers(rng, (11, 13), "u1")
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in gray))
    longer = zlib.compress(b"".join(b"\0" + row.tobytes() for row in gray) + bytes(99))
    table = numbers(rng, (256, 3), "u1")
    layout, colours = (13, 11, 8, 0, 0), (13, 11, 8, 3, 0)
    palette = (b"PLTE", table.tobytes())
    paths = [
        png_of(tmp_path / "a.png", lines + b"more", layout),
        png_of(tmp_path / "b.png", longer, layout),
        png_of(tmp_path / "c.png", lines, layout, (b"tRNS", b"\1\0more")),
        png_of(tmp_path / "d.png", lines, colours, palette, (b"tRNS", bytes(300))),
    ]
    for path in paths[:3]:
        np.testing.assert_array_equal(files.read(path).data, gray)
    np.testing.assert_array_equal(files.read(paths[3]).data, table[gray])
    check_silence(paths)


def test_opacity_takes_the_type_of_the_colours():
    colours = np.zeros((2, 3, 3), "u2")
    header = Header("TIFF", colours.shape, colours.dtype, "YXS")
    joined, _ = join_opacity(Image(colours, header, np.full((2, 3), 51, "u1")))
    assert (joined[..., 3] == 51 * 257).all()


def test_an_array_of_one_axis_is_no_image(tmp_path):
    with pytest.raises(InputError, match=r"data must be an image; got shape \(3,\)"):
        files.write(tmp_path / "a.tif", np.zeros(3))
