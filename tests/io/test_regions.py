"""Regions of files are the same regions of their images, and are written as such."""

import bz2
import pickle
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from napari_dip import cli
from napari_dip.errors import FileError, InputError
from napari_dip.io import files, limits, provenance, zarr
from napari_dip.io.image import Header, Image
from napari_dip.io.regions import Regions, Target, boxes, slab_sides

library = pytest.importorskip("zarr")

rng = np.random.default_rng(0)
PLANE = rng.integers(0, 2**16, (70, 90), "u2")
STACK = rng.integers(0, 2**16, (3, 2, 70, 90), "u2")
VOLUME = rng.integers(0, 2**16, (20, 70, 90), "u2")
COLOURS = rng.integers(0, 256, (70, 90, 3), "u1")
MADE = {"software": "napari-dip", "task": "denoise", "note": "µ " * 400}

# -- reading ----------------------------------------------------------------------


def tiff(data, **options):
    return lambda path: tifffile.imwrite(path, data, **options)


def pillow(data, mode, **options):
    return lambda path: Pillow.fromarray(data).convert(mode).save(path, **options)


def stack_of_levels(path):
    with tifffile.TiffWriter(path) as tif:
        tif.write(PLANE, subifds=1, tile=(16, 32), compression="zlib")
        tif.write(PLANE[::2, ::2], subfiletype=1, tile=(16, 32), compression="zlib")


def sparse(path):
    """Write tiles of which those of nothing but 0 are left out."""
    tiles = [COLOURS[:32, :32, 0], None, None, COLOURS[32:64, :32, 0], None, None]
    options = {"shape": (64, 90), "dtype": "u1", "tile": (32, 32)}
    tifffile.imwrite(path, iter(tiles), **options, compression="zlib")


TIFFS = {
    "plain": tiff(PLANE),
    "big-endian": tiff(PLANE, byteorder=">"),
    "strips": tiff(PLANE, compression="zlib", rowsperstrip=13),
    "strips of each row": tiff(COLOURS, rowsperstrip=1, predictor=2, compression="lzw"),
    "tiles": tiff(PLANE, tile=(32, 16)),
    "compressed tiles": tiff(STACK, tile=(32, 16), compression="zstd", predictor=2),
    "floats": tiff(PLANE.astype("f4"), compression="zlib", predictor=3),
    "a tile in depth": tiff(VOLUME, tile=(8, 32, 16), compression="zlib"),
    "volume": tiff(VOLUME, volumetric=True),
    "sparse": sparse,
    "levels": stack_of_levels,
    "ImageJ": tiff(STACK, imagej=True, metadata={"axes": "TZYX"}),
    "ImageJ in colour": tiff(np.stack([COLOURS] * 3), imagej=True, photometric="rgb"),
    "OME": tiff(STACK, ome=True, metadata={"axes": "TCYX"}),
    "OME, compressed": tiff(STACK, ome=True, compression="zlib"),
    "planes of colour": tiff(
        np.moveaxis(COLOURS, 2, 0), photometric="rgb", planarconfig="separate"
    ),
    "tiles of planes of colour": tiff(
        np.stack([np.moveaxis(COLOURS, 2, 0)] * 2),
        photometric="rgb",
        planarconfig="separate",
        tile=(16, 16),
        compression="zlib",
    ),
    "two samples": tiff(COLOURS[..., :2], photometric="minisblack", planarconfig=1),
    "white is 0": tiff(PLANE, photometric="miniswhite", tile=(16, 16)),
    "bits": tiff(PLANE > 30_000),
    "bits of a scanner": pillow(COLOURS, "1", compression="group4"),
    "12 bits": tiff(PLANE >> 4, bitspersample=12),
    "CMYK": pillow(COLOURS, "CMYK", compression="tiff_lzw"),
    "YCbCr": pillow(COLOURS, "YCbCr"),
    "JPEG": tiff(COLOURS, tile=(32, 32), compression="jpeg", photometric="ycbcr"),
    "palette": pillow(COLOURS, "P"),
    **{
        f"orientation {n}": tiff(
            COLOURS, rowsperstrip=9, extratags=[(274, "H", 1, n, True)]
        )
        for n in range(2, 9)
    },
}


def store(axes, version="0.4", **options):
    shape = tuple({"t": 2, "c": 3, "z": 4, "y": 70, "x": 90}[axis] for axis in axes)

    def write(path):
        group = library.create_group(path, zarr_format=3 if version == "0.5" else 2)
        data = rng.integers(0, 99, shape, "u2")
        array = group.create_array("0", shape=shape, dtype="u2", **options)
        array[...] = data
        described = [{"name": axis} for axis in axes]
        told = {"multiscales": [{"axes": described, "datasets": [{"path": "0"}]}]}
        group.attrs.put({"ome": told} if version == "0.5" else told)

    return write


def plain_store(path):
    library.create_array(path, data=VOLUME, chunks=(3, 32, 20))


STORES = {
    "OME-Zarr": store("tczyx", chunks=(1, 2, 2, 20, 30)),
    "axes in another order": store("yxct", chunks=(20, 30, 1, 1)),
    "version 0.5": store("czyx", "0.5", chunks=(1, 1, 40, 50)),
    "shards": store("zyx", "0.5", chunks=(1, 20, 30), shards=(2, 40, 60)),
    "Zarr": plain_store,
    "colours": lambda path: files.write(path, COLOURS),
}

KINDS = {f"{name}.tif": write for name, write in TIFFS.items()}
KINDS |= {f"{name}.zarr": write for name, write in STORES.items()}


@pytest.fixture(params=KINDS)
def sample(request, tmp_path):
    """Return a file of every kind that can be read by regions."""
    path = tmp_path / request.param
    KINDS[request.param](path)
    return path


def test_regions_are_those_of_the_image(sample):
    image = files.read(sample)
    lazy = files.open_image(sample)
    assert isinstance(lazy.data, Regions)
    assert lazy.header == image.header
    data, shape = image.data, image.data.shape
    draw = np.random.default_rng(1)
    for _ in range(8):
        low = [int(draw.integers(n)) for n in shape]
        high = [int(draw.integers(a, n)) + 1 for a, n in zip(low, shape, strict=True)]
        index = tuple(map(slice, low, high))
        np.testing.assert_array_equal(lazy.data[index], data[index])
        np.testing.assert_array_equal(lazy.data[tuple(low)], data[tuple(low)])
        steps = (..., slice(None, None, -3), slice(low[-1], None, 2))
        np.testing.assert_array_equal(lazy.data[steps], data[steps])
        mixed = (low[0], ..., slice(None, None, -3))
        np.testing.assert_array_equal(lazy.data[mixed], data[mixed])
    for index in ((), ..., -1, slice(5, 2), (slice(None), -2), (..., 0)):
        np.testing.assert_array_equal(lazy.data[index], data[index])
        assert lazy.data[index].dtype == data.dtype


def test_chunks_lie_in_the_image(sample):
    pixels = files.open_image(sample).data
    assert len(pixels.chunks) == pixels.ndim
    assert all(0 < c <= n for c, n in zip(pixels.chunks, pixels.shape, strict=True))


def test_another_process_opens_the_same_pixels(sample):
    pixels = files.open_image(sample).data
    again = pickle.loads(pickle.dumps(pixels))
    np.testing.assert_array_equal(again[...], pixels[...])


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (1, 2, 0, 3)])
def test_axes_in_another_order(tmp_path, order):
    tifffile.imwrite(tmp_path / "a.tif", STACK, tile=(32, 16), compression="zlib")
    data = STACK.transpose(order)
    pixels = files.open_image(tmp_path / "a.tif").data.transpose(order)
    for again in (pixels, pickle.loads(pickle.dumps(pixels))):
        assert (again.shape, len(again.chunks)) == (data.shape, 4)
        np.testing.assert_array_equal(again[...], data)
        np.testing.assert_array_equal(again[1:, :1, 5:, ::3], data[1:, :1, 5:, ::3])
    longer = pixels.reshape((1, *data.shape))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(longer))[0], data)


def test_regions_of_an_image_with_its_axes_in_another_order():
    data, order = np.zeros_like(STACK), (2, 0, 1, 3)
    target = Target(data.shape, data.dtype, data.__setitem__).transposed(order)
    values = STACK.transpose(order)
    assert target.shape == values.shape
    target[:30], target[30:] = values[:30], values[30:]
    np.testing.assert_array_equal(data, STACK)


def test_lower_resolutions_can_be_pickled(tmp_path):
    stack_of_levels(tmp_path / "a.tif")
    _, (_, half) = files.open_levels(tmp_path / "a.tif")
    again = pickle.loads(pickle.dumps(half))
    np.testing.assert_array_equal(again, PLANE[::2, ::2])


def test_another_process_may_work_in_another_folder(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    monkeypatch.chdir(tmp_path)
    stored = pickle.dumps(files.open_image("a.tif").data)
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(stored)[...], PLANE)


def opacity(path):
    samples = np.dstack([COLOURS, COLOURS[..., 0]])
    tifffile.imwrite(path, samples, photometric="rgb", extrasamples=["unassalpha"])


def palettes(path):
    pages = [Pillow.fromarray(c).quantize(16) for c in (COLOURS, COLOURS[..., ::-1])]
    pages[0].save(path, save_all=True, append_images=pages[1:])


WHOLE = {
    "a.png": pillow(COLOURS, "RGB"),
    "a.jpg": pillow(COLOURS, "RGB"),
    "a.tif": opacity,
    "palettes.tif": palettes,
    "lab.tif": tiff(COLOURS, photometric="cielab"),
    "a.zarr": lambda path: files.write(path, np.dstack([COLOURS, COLOURS[..., :1]])),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_read_at_once(tmp_path, name, monkeypatch):
    path = tmp_path / name
    WHOLE[name](path)
    image = files.open_image(path)
    assert isinstance(image.data, np.ndarray)
    assert image.header == files.read(path).header
    monkeypatch.setattr(limits, "free_memory", lambda: 50_000)
    with pytest.raises(FileError, match="can only be read as a whole"):
        files.open_image(path)


def test_image_larger_than_memory(sample, monkeypatch):
    image = files.read(sample)
    middle = tuple(slice(n // 2, n // 2 + 8) for n in image.data.shape)
    monkeypatch.setattr(limits, "free_memory", lambda: 40_000)
    with pytest.raises(FileError, match=r"[0-9] KiB are free"):
        files.read(sample)
    lazy = files.open_image(sample)
    np.testing.assert_array_equal(lazy.data[middle], image.data[middle])
    with pytest.raises(FileError, match=r"what is read of .* KiB are free"):
        lazy.data[...]


@pytest.mark.parametrize("kind", ["large", "small"])
def test_large_images_are_opened(tmp_path, monkeypatch, kind):
    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    free = 4 * PLANE.nbytes + (-1 if kind == "large" else 1)
    monkeypatch.setattr(files, "free_memory", lambda: free)
    opened = isinstance(files.load(tmp_path / "a.tif").data, Regions)
    assert opened == (kind == "large")


def test_index_that_is_no_region(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    pixels = files.open_image(tmp_path / "a.tif").data
    for index in (PLANE > 5, [1, 2], None, 1.5):
        with pytest.raises(InputError, match="integers and slices"):
            pixels[index]
    with pytest.raises(IndexError):
        pixels[70]
    with pytest.raises(IndexError, match="at most 2"):
        pixels[0, 0, 0]


def test_series_of_a_tiff_are_opened(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(PLANE, tile=(16, 16))
        tif.write(COLOURS, tile=(16, 16))
    for number, data in enumerate([PLANE, COLOURS]):
        image = files.open_image(tmp_path / "a.tif", number)
        assert image.header == files.read(tmp_path / "a.tif", number).header
        again = pickle.loads(pickle.dumps(image.data))
        np.testing.assert_array_equal(again[...], data)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.zarr"])
def test_large_image_on_the_command_line(tmp_path, monkeypatch, small_fits, name):
    options = ["--iterations", "1", "--precision", "float32", "--quiet"]
    files.write(tmp_path / name, STACK[:2, 0, :40, :40])
    mask = STACK[0, 0, :40, :40] > 50_000
    files.write(tmp_path / "mask.tif", mask.astype("u1"))
    results = []
    for free in (2**40, 1):
        monkeypatch.setattr(files, "free_memory", lambda free=free: free)
        target = tmp_path / f"{free}.tif"
        arguments = ["inpaint", tmp_path / name, "--mask", tmp_path / "mask.tif"]
        assert cli.main([*map(str, arguments), "-o", str(target), *options]) == 0
        results.append(files.read(target))
    large, small = results
    np.testing.assert_array_equal(large.data, small.data)
    assert large.header.provenance["inputs"] == small.header.provenance["inputs"]
    assert large.header.provenance["inputs"]["mask"]["file"] == "mask.tif"


# -- damage -----------------------------------------------------------------------


def test_tile_that_is_damaged_spoils_its_region_only(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANE, tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        start = tif.pages[0].dataoffsets[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[start : start + 50] = bytes(50)
    (tmp_path / "a.tif").write_bytes(content)
    pixels = files.open_image(tmp_path / "a.tif").data
    np.testing.assert_array_equal(pixels[32:, 32:], PLANE[32:, 32:])
    with pytest.raises(FileError, match=r"a\.tif cannot be read"):
        pixels[0, 0]


def test_tile_that_is_a_larger_image(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, COLOURS[:64, :64], tile=(64, 64), compression="png")
    bomb = imagecodecs.png_encode(np.zeros((1100, 1100, 3), "u1"))
    with tifffile.TiffFile(path, mode="r+") as tif:
        tags = tif.pages[0].tags
        tags["TileOffsets"].overwrite(path.stat().st_size)
        tags["TileByteCounts"].overwrite(len(bomb), dtype="I")
    path.write_bytes(path.read_bytes() + bomb)
    pixels = files.open_image(path).data
    with pytest.raises(FileError, match="an image of 1210000"):
        pixels[:5, :5]


def test_chunk_that_expands_beyond_its_size(tmp_path):
    numcodecs = pytest.importorskip("numcodecs")
    library.create_array(
        tmp_path / "a.zarr",
        data=PLANE,
        chunks=(35, 45),
        zarr_format=2,
        compressors=numcodecs.BZ2(),
    )
    (tmp_path / "a.zarr" / "0.0").write_bytes(bz2.compress(bytes(2**22)))
    pixels = files.open_image(tmp_path / "a.zarr").data
    np.testing.assert_array_equal(pixels[35:, 45:], PLANE[35:, 45:])
    with pytest.raises(FileError, match="stands for more"):
        pixels[0, 0]


def test_truncated_file_is_not_opened(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, compression="zlib")
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:-2000])
    with pytest.raises(FileError):
        files.open_image(tmp_path / "a.tif")


def test_file_that_shrinks_after_it_was_opened(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    pixels = files.open_image(tmp_path / "a.tif").data
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:9000])
    np.testing.assert_array_equal(pixels[:20], PLANE[:20])
    with pytest.raises(FileError, match=r"a\.tif ends within its pixels"):
        pixels[60]


def test_one_strip_for_a_large_image(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", PLANE, compression="zlib", rowsperstrip=70)
    monkeypatch.setattr(limits, "free_memory", lambda: 5_000)
    with pytest.raises(FileError, match="strip or tile of 12600 bytes"):
        files.open_image(tmp_path / "a.tif")


# -- writing ----------------------------------------------------------------------

ENDINGS = [".tif", ".ome.tif", ".zarr"]


def described(data, axes, **more):
    """Return an image with all that a header can tell."""
    count = data.shape[axes.index("C")] if "C" in axes else 1
    names = tuple(f"c{i}" for i in range(count)) if "S" not in axes else ()
    header = Header(
        "OME-Zarr 0.5",
        data.shape,
        data.dtype,
        axes,
        scale=tuple({"Z": 0.5, "Y": 0.2, "X": 0.1, "T": 2.0}.get(a) for a in axes),
        units=tuple({"T": "s", "C": None, "S": None}.get(a, "µm") for a in axes),
        channel_names=names,
        channel_colours=("#00ff00", "#ff00ff")[: len(names)],
    )
    return Image(data, header, **more)


def written(path, data, like=None, **options):
    """Write an image by regions in any order, and return what was noted."""
    places = list(boxes(data.shape, [min(n, 40) for n in data.shape]))
    with files.writing(path, data.shape, data.dtype, like, **options) as target:
        for number in np.random.default_rng(0).permutation(len(places)):
            target[places[number]] = data[places[number]]
        target.provenance = MADE
    return target.notes


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("axes", "shape", "kept"),
    [
        ("QQQYX", (1, 1, 1), ""),
        ("QQQYX", (1, 1, 5), "Z"),
        ("QWVYX", (2, 1, 5), "TZ"),
        ("ATCZYX", (1, 2, 1, 3), "TZ"),
    ],
)
def test_axes_of_one_element_that_a_format_has_not(tmp_path, ending, axes, shape, kept):
    data = np.arange(np.prod(shape) * 20 * 30).astype("u2").reshape(*shape, 20, 30)
    like = Image(data, Header("TIFF", data.shape, data.dtype, axes))
    whole, parts = tmp_path / f"whole{ending}", tmp_path / f"parts{ending}"
    assert files.write(whole, data, like) == written(parts, data, like)
    for path in (whole, parts):
        image = files.read(path)
        sides = zip(image.header.axes, image.data.shape, strict=True)
        letters = [letter for letter, n in sides if n > 1]
        if ending == ".tif":  # which holds any axes
            kept = "".join(letters[:-2])
        expected = data.squeeze()
        assert sorted(letters) == sorted([*kept, "Y", "X"])
        expected = expected.transpose([f"{kept}YX".index(a) for a in letters])
        np.testing.assert_array_equal(image.data.squeeze(), expected)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8", "?"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "TCYX", "ZCYX", "YXS"])
def test_regions_make_the_file_that_the_image_makes(tmp_path, ending, dtype, axes):
    if dtype == "?" and axes == "YXS":
        pytest.skip("no format holds colours of one bit")
    shape = tuple({"T": 4, "C": 2, "Z": 3, "Y": 70, "X": 90, "S": 3}[a] for a in axes)
    data = rng.integers(0, 200, shape).astype(dtype)
    like = described(data.astype("u2"), axes)
    whole, parts = tmp_path / f"whole{ending}", tmp_path / f"parts{ending}"
    notes = files.write(whole, data, like, MADE)
    assert written(parts, data, like) == notes
    expected, image = files.read(whole), files.read(parts)
    np.testing.assert_array_equal(image.data, expected.data)
    assert image.header == expected.header
    assert image.header.provenance == MADE
    assert sorted(tmp_path.iterdir()) == [parts, whole]


@pytest.mark.parametrize("ending", ENDINGS)
def test_regions_of_an_image_of_other_size_with_opacity(tmp_path, ending):
    like = described(COLOURS, "YXS", alpha=COLOURS[..., 0])
    data = COLOURS.repeat(2, axis=0).repeat(2, axis=1)
    files.write(tmp_path / f"whole{ending}", data, like, MADE)
    written(tmp_path / f"parts{ending}", data, like)
    expected = files.read(tmp_path / f"whole{ending}")
    image = files.read(tmp_path / f"parts{ending}")
    assert image.header == expected.header
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_array_equal(image.alpha, expected.alpha)


@pytest.mark.parametrize("ending", ENDINGS)
def test_integers_slices_and_single_values(tmp_path, ending):
    data = np.zeros((3, 70, 90), "f4")
    with files.writing(tmp_path / f"a{ending}", data.shape, data.dtype) as target:
        for image in (target, data):
            image[1] = PLANE[0].astype("f4")
            image[-1, 5:9] = np.uint16(7)
            image[0, :, 3] = np.arange(70, dtype="u1")
            image[0, 69, 89] = np.float16(2.5)
            image[2, 10:10] = np.uint16(3)
    np.testing.assert_array_equal(files.read(tmp_path / f"a{ending}").data, data)


def test_tiff_beyond_the_reach_of_32_bits(tmp_path):
    shape = (40_000, 30_000)
    with files.writing(tmp_path / "a.tif", shape, "f4") as target:
        target[39_000:39_070, 20_000:20_090] = PLANE.astype("f4")
        target.provenance = MADE
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_bigtiff
    image = files.open_image(tmp_path / "a.tif")
    assert image.header.provenance == MADE
    np.testing.assert_array_equal(image.data[39_000:39_070, 20_000:20_090], PLANE)
    assert not image.data[38_990:39_000, 20_000:20_090].any()


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_of_regions_that_fail(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    files.write(path, PLANE)

    def fail():
        with files.writing(path, (70, 90), "u2", overwrite=True) as target:
            target[:5] = PLANE[:5]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(files.read(path).data, PLANE)


def test_full_disk(tmp_path):
    def put(box, values):
        raise OSError(28, "No space left on device")

    def fail():
        with files.writing(tmp_path / "a.tif", (70, 90), "u2") as target:
            target._put = put
            target[...] = PLANE

    with pytest.raises(FileError, match="No space left"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_by_regions(tmp_path):
    with (
        pytest.raises(InputError, match="a PNG can only be written as a whole"),
        files.writing(tmp_path / "a.png", (70, 90), "u1"),
    ):
        pass
    with (
        pytest.raises(InputError, match="OME-TIFF cannot hold int64"),
        files.writing(tmp_path / "a.ome.tif", (70, 90), "i8"),
    ):
        pass
    (tmp_path / "a.tif").write_text("years of work")
    with (
        pytest.raises(InputError, match="exists"),
        files.writing(tmp_path / "a.tif", (70, 90), "u1"),
    ):
        pass


@pytest.mark.parametrize(
    ("index", "values", "says"),
    [
        (0, PLANE[0].astype("f4"), "of a type that uint16 holds; got float32"),
        (0, PLANE, r"of shape \(90,\), as the region; got \(70, 90\)"),
        (slice(None, None, 2), 3, "without a step"),
        ([1, 2], 3, "integers and slices"),
    ],
)
def test_region_or_values_that_do_not_fit(index, values, says):
    data = np.zeros((70, 90), "u2")
    target = Target(data.shape, data.dtype, data.__setitem__)
    with pytest.raises(InputError, match=says):
        target[index] = values
    assert not data.any()


# -- lower resolutions --------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u2", "f4"])
@pytest.mark.parametrize(
    ("side", "shape"), [(128, (2, 263, 131)), (zarr._CHUNK, (2, 7, 1025))]
)
def test_lower_resolutions_are_means(tmp_path, monkeypatch, side, shape, dtype):
    monkeypatch.setattr(zarr, "_CHUNK", side)
    data = rng.integers(0, 2**16, shape).astype(dtype)
    files.write(tmp_path / "a.zarr", data)
    _, levels = files.open_levels(tmp_path / "a.zarr")
    expected = data.astype("f8")
    for level in levels[1:]:
        expected = np.pad(
            expected, [(0, 0), *((0, n % 2) for n in expected.shape[1:])], "edge"
        )
        sides = (2, expected.shape[1] // 2, 2, -1, 2)
        expected = np.ascontiguousarray(expected).reshape(sides).mean(axis=(2, 4))
        assert level.dtype == dtype
        assert level.shape == expected.shape
        assert np.abs(level.compute() - expected).max() <= (
            1 if dtype == "u2" else 0.02
        )
        expected = level.compute().astype("f8")
    assert max(levels[-1].shape) <= side < max(levels[-2].shape)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_lower_resolutions_say_where_they_lie(tmp_path, version):
    shape, scale = (3, 1100, 2000), (1.0, 0.5, 0.25)
    header = Header(f"OME-Zarr {version}", shape, np.dtype("u1"), "ZYX", scale)
    data = np.zeros(header.shape, "u1")
    zarr.write(tmp_path / "a.zarr", data, header)
    told = library.open_group(tmp_path / "a.zarr").attrs.asdict()
    (image,) = (told["ome"] if version == "0.5" else told)["multiscales"]
    first, second = (d["coordinateTransformations"] for d in image["datasets"])
    assert first == [{"type": "scale", "scale": [1.0, 0.5, 0.25]}]
    assert second == [
        {"type": "scale", "scale": [1.0, 1.0, 0.5]},
        {"type": "translation", "translation": [0.0, 0.25, 0.125]},
    ]


def test_lower_resolutions_of_labels_are_labels(tmp_path):
    labels = rng.choice([0, 3, 900], (1100, 70)).astype("u2")
    header = Header("", labels.shape, labels.dtype, "YX")
    cells = {"cells": (labels, header, None)}
    zarr.write(tmp_path / "a.zarr", labels, header, labels=cells)
    path = zarr.label_paths(tmp_path / "a.zarr")["cells"]
    _, (_, half) = files.open_levels(path)
    np.testing.assert_array_equal(half, labels[::2, ::2])


def test_range_of_values_leaves_out_what_is_not_finite(tmp_path):
    data = PLANE.astype("f4")
    data[0], data[1] = np.nan, np.inf
    like = described(data, "YX")
    for values, ends in [
        (data, (data[2:].min(), data[2:].max())),
        (data * np.nan, (0, 1)),
    ]:
        files.write(tmp_path / "a.zarr", values, like, overwrite=True)
        told = library.open_group(tmp_path / "a.zarr").attrs["ome"]
        window = told["omero"]["channels"][0]["window"]
        assert (window["min"], window["max"]) == ends


# -- helpers ----------------------------------------------------------------------


@pytest.mark.parametrize("nbytes", [1, 50, 180, 200, 12_600, 10**9])
@pytest.mark.parametrize("array", [PLANE, STACK, STACK.swapaxes(0, 3), np.array(5)])
def test_slabs_follow_each_other(array, nbytes):
    sides = slab_sides(array.shape, array.itemsize, nbytes)
    parts = [array[box] for box in boxes(array.shape, sides)]
    assert b"".join(part.tobytes() for part in parts) == array.tobytes()
    assert max(part.nbytes for part in parts) <= max(nbytes, array.itemsize)


def test_digest_of_a_file_is_that_of_its_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_AT_ONCE", 1000)
    tifffile.imwrite(tmp_path / "a.tif", STACK, tile=(16, 16), photometric="minisblack")
    pixels = files.open_image(tmp_path / "a.tif").data
    assert provenance.digest(pixels) == provenance.digest(STACK)


def test_an_image_is_hashed_in_parts_that_fit_into_the_free_memory(
    tmp_path, monkeypatch
):
    """Copies in float32 are counted in a region, which is nine bytes for one here."""
    image = np.arange(2**20, dtype=np.uint8).reshape(1024, 1024)
    files.write(tmp_path / "a.tif", image)
    pixels = files.open_image(tmp_path / "a.tif").data
    monkeypatch.setattr(limits, "free_memory", lambda: 2**22)
    with pytest.raises(FileError, match=r"takes 9\.0 MiB of memory; 4\.0 MiB are"):
        pixels[:]
    assert provenance.digest(pixels) == provenance.digest(image)


# -- memory -----------------------------------------------------------------------

MEASURED = """
import re, sys
from pathlib import Path
import numpy as np
from napari_dip.io import files

def peak():  # in MB; what getrusage tells begins with the peak of the parent process
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1024

source, target = sys.argv[1:]
image = files.open_image(source)
image.data[:64, :64]
before = peak()
middle = image.data[9_000:9_512, 9_000:9_512]
assert middle.shape == (512, 512) and middle.max() > 0
print("read", peak() - before)
shape = image.data.shape
with files.writing(target, shape, np.float32, image) as out:
    for y in range(0, shape[0], 2048):
        for x in range(0, shape[1], 2048):
            place = slice(y, y + 2048), slice(x, x + 2048)
            out[place] = image.data[place].astype(np.float32)
print("write", peak() - before)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Return images of 20,000 x 20,000 pixels, tiled, as a TIFF and as a Zarr."""
    folder, side = tmp_path_factory.mktemp("large"), 20_000
    tile = rng.integers(0, 2000, (1000, 1000), "u2")

    def tiles():
        for y in range(0, side, 512):
            for x in range(0, side, 512):
                yield tile[: min(512, side - y), : min(512, side - x)]

    options = {"shape": (side, side), "dtype": "u2", "tile": (512, 512)}
    tifffile.imwrite(folder / "a.tif", tiles(), **options, compression="zlib")
    stored = library.create_array(
        folder / "a.zarr", shape=(side, side), dtype="u2", chunks=(1000, 1000)
    )
    for y in range(0, side, 1000):
        for x in range(0, side, 1000):
            stored[y : y + 1000, x : x + 1000] = tile
    return folder


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="no /proc/self/status")
@pytest.mark.parametrize(
    ("source", "target"),
    [("a.tif", "out.zarr"), ("a.zarr", "out.tif"), ("a.zarr", "out.ome.tif")],
)
def test_memory_for_a_large_image(sources, tmp_path, source, target):
    arguments = [str(sources / source), str(tmp_path / target)]
    command = [sys.executable, "-c", MEASURED, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    grown = dict(line.split() for line in result.stdout.splitlines())
    assert float(grown["read"]) < 300
    assert float(grown["write"]) < 300
    out = files.open_image(tmp_path / target).data
    place = slice(11_000, 11_600), slice(19_000, None)
    np.testing.assert_array_equal(
        out[place], files.open_image(sources / source).data[place]
    )
