"""Nothing is read without an end, and nothing is decompressed beyond its size."""

import bz2
import gzip
import json
import lzma
import os
import time
import zlib
from functools import partial

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from napari_dip.errors import FileError
from napari_dip.io import coded_size, files, limits
from napari_dip.io import zarr as stores
from napari_dip.io.expansion import BOUNDED, SIZED

library = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")
pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")

COMPRESSIONS = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "lzma": lzma.compress,
    "zstd": imagecodecs.zstd_encode,
    "blosc": imagecodecs.blosc_encode,
    "lz4": partial(imagecodecs.lz4_encode, header=True),
}

# Stands for 4 MiB, and is fast to compress.
BOMB = np.random.default_rng(0).bytes(2**17) + bytes(2**22)


def is_more(content, name, limit, options=None):
    """Return whether bytes stand for more than a limit; check that no more is read."""
    if name not in BOUNDED:
        return SIZED[name](content, limit)
    decoded = BOUNDED[name](content, limit + 1, options or {})
    assert len(decoded) <= limit + 1
    return len(decoded) > limit


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("size", [200, 300, 70_000, 2**21])
def test_size_of_compressed_bytes(name, size):
    content = COMPRESSIONS[name](bytes(size))
    assert not is_more(content, name, size)
    assert is_more(content, name, size - 1)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_broken_bytes_do_not_expand(name):
    noise = np.random.default_rng(0).bytes(10_000)
    content = COMPRESSIONS[name](bytes(100))
    for cut in range(len(content) + 1):
        if name == "zstd" and cut in (4, 5, len(content) - 2):
            continue  # there the noise stands for a size
        broken = content[:cut] + noise
        try:
            assert not is_more(broken, name, 2**20 if name in BOUNDED else 2**34)
        except (zlib.error, OSError, EOFError, lzma.LZMAError):
            assert name in BOUNDED


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("size", [100, 70_000])
def test_broken_bytes_are_those_of_numcodecs(name, size):
    codec = numcodecs.get_codec({"id": name})
    content = COMPRESSIONS[name](np.random.default_rng(0).bytes(size))
    step = max(1, len(content) // 50)
    broken = [content[:cut] for cut in range(1, len(content) + 1, step)]
    broken += [content + more for more in (b"", b"\0", b"more", content)]
    for one in broken:
        try:
            wanted = bytes(codec.decode(one))
        except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError):
            wanted = None
        try:
            decoded = BOUNDED[name](one, 2 * size + 1, {})
        except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError):
            decoded = None
        assert decoded == wanted


def unsized_zstd(size):
    """Return a frame of Zstandard that does not say how many zeros it stands for."""
    block, blocks = 2**17, size // 2**17
    headers = [block << 3 | 1 << 1 | (n == blocks - 1) for n in range(blocks)]
    repeated = b"".join(header.to_bytes(3, "little") + b"\0" for header in headers)
    return b"\x28\xb5\x2f\xfd\0\x58" + repeated


def with_header_checksum(content):
    """Return a gzip with a checksum of its header, which is wrong and is not read."""
    return content[:3] + b"\2" + content[4:10] + b"\0\0" + content[10:]


def small_window(content):
    """Return zlib that does not begin as usual."""
    encoder = zlib.compressobj(9, zlib.DEFLATED, 9)
    return encoder.compress(content) + encoder.flush()


def in_four(compress):
    """Return what compresses in four parts, one after the other."""
    return lambda content: b"".join(
        compress(content[start : start + len(content) // 4])
        for start in range(0, len(content), len(content) // 4)
    )


ALONE = {"format": lzma.FORMAT_ALONE}
RAW = {
    "format": lzma.FORMAT_RAW,
    "filters": [{"id": lzma.FILTER_DELTA, "dist": 1}, {"id": lzma.FILTER_LZMA2}],
}
SKIPPED = b"\x50\x2a\x4d\x18\4\0\0\0skip"

UNUSUAL = {
    "members of gzip": ("gzip", {}, in_four(gzip.compress)),
    "gzip with zeros between": (
        "gzip",
        {},
        lambda content: gzip.compress(b"") + bytes(10**6) + gzip.compress(content),
    ),
    "gzip with a wrong checksum of its header": (
        "gzip",
        {},
        lambda content: with_header_checksum(gzip.compress(content)),
    ),
    "zlib with a small window": ("zlib", {}, small_window),
    "streams of bzip2": ("bz2", {}, in_four(bz2.compress)),
    "streams of xz": ("lzma", {}, in_four(lzma.compress)),
    "lzma alone": ("lzma", ALONE, partial(lzma.compress, **ALONE)),
    "lzma of a format that is found out": (
        "lzma",
        {"format": lzma.FORMAT_AUTO},
        partial(lzma.compress, **ALONE),
    ),
    "raw lzma": ("lzma", RAW, partial(lzma.compress, **RAW)),
    "frames of zstd": ("zstd", {}, in_four(imagecodecs.zstd_encode)),
    "a frame of zstd after one that is skipped": (
        "zstd",
        {},
        lambda content: SKIPPED + imagecodecs.zstd_encode(content),
    ),
    "zstd without its size": ("zstd", {}, lambda content: unsized_zstd(len(content))),
    "zstd without its size after another": (
        "zstd",
        {},
        lambda content: imagecodecs.zstd_encode(b"") + unsized_zstd(len(content)),
    ),
    "blosc with more behind it": (
        "blosc",
        {},
        lambda content: imagecodecs.blosc_encode(content) + b"more",
    ),
}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("size", [2**19, 2**22])
def test_size_of_unusually_compressed_bytes(name, size):
    codec, options, encode = UNUSUAL[name]
    content = encode(bytes(size))
    assert not is_more(content, codec, size, options)
    assert is_more(content, codec, size - 1, options)


@pytest.mark.parametrize("name", UNUSUAL)
def test_chunk_that_expands_in_an_unusual_way(tmp_path, name):
    codec, options, encode = UNUSUAL[name]
    path = stored_with(tmp_path, [], {"id": codec, **options}, encode(BOMB))
    for read in (files.read, lambda path: files.open_image(path).data[:9, :9]):
        with pytest.raises(
            FileError, match=r"stands for more than|is larger than what"
        ):
            read(path)


def stored_with(folder, filters, compressor, content, dtype="|u1"):
    """Write an array of 64 x 64 values, whose one chunk is given."""
    metadata = {
        "zarr_format": 2,
        "shape": [64, 64],
        "chunks": [64, 64],
        "dtype": dtype,
        "order": "C",
        "fill_value": 0,
        "filters": filters or None,
        "compressor": compressor,
    }
    path = folder / "a.zarr"
    path.mkdir()
    (path / ".zarray").write_text(json.dumps(metadata))
    (path / "0.0").write_bytes(content)
    return path


WIDER = {"id": "astype", "encode_dtype": "|u1", "decode_dtype": "<f8"}
PACKED = {"id": "packbits"}
ZLIB = {"id": "zlib", "level": 1}


@pytest.mark.parametrize(
    ("filters", "compressor", "content", "says"),
    [
        ([WIDER], ZLIB, zlib.compress(bytes(4097)), "more than the 32768 bytes"),
        ([WIDER] * 3, ZLIB, zlib.compress(bytes(2**22)), "more than the 32768 bytes"),
        ([WIDER] * 3, None, bytes(2**16), "more than the 32768 bytes"),
        ([PACKED], ZLIB, zlib.compress(bytes(2**23)), "more than the 32768 bytes"),
        ([ZLIB], None, zlib.compress(BOMB), "more than the 32768 bytes"),
        (
            [ZLIB, {"id": "crc32"}],
            None,
            zlib.crc32(zlib.compress(BOMB)).to_bytes(4, "little") + zlib.compress(BOMB),
            "more than the 32768 bytes",
        ),
        (
            [WIDER | {"decode_dtype": "S100000"}],
            None,
            bytes(64 * 64),
            "are no numbers before or after astype",
        ),
        ([ZLIB, WIDER], None, b"", "were compressed and then encoded by astype"),
        ([WIDER] * 8, ZLIB, b"", "went through 9 codecs; at most 8"),
        ([], {"id": "zfpy"}, b"", "were encoded by zfpy; accepted are adler32"),
    ],
)
def test_filters_that_expand(tmp_path, monkeypatch, filters, compressor, content, says):
    class Known(numcodecs.abc.Codec):
        """Stands for a codec that comes with another library."""

        codec_id = "zfpy"

        def encode(self, buf):
            raise AssertionError

        decode = encode

    monkeypatch.setitem(numcodecs.registry.codec_registry, "zfpy", Known)
    path = stored_with(tmp_path, filters, compressor, content, "<f8")
    with pytest.raises(FileError, match=says):
        files.read(path)


FILTERS = {
    "delta": {"id": "delta", "dtype": "<u2", "astype": "<u4"},
    "shuffle": {"id": "shuffle", "elementsize": 2},
    "astype": {"id": "astype", "encode_dtype": "<f4", "decode_dtype": "<u2"},
    "fixedscaleoffset": {
        "id": "fixedscaleoffset",
        "offset": 0,
        "scale": 1,
        "dtype": "<u2",
        "astype": "<u4",
    },
    "fletcher32": {"id": "fletcher32"},
    "crc32": {"id": "crc32"},
    "adler32": {"id": "adler32"},
}


@pytest.mark.parametrize("name", [*COMPRESSIONS, None])
@pytest.mark.parametrize("filters", [[], ["delta", "shuffle"], *([f] for f in FILTERS)])
def test_encodings_that_are_read(tmp_path, name, filters):
    data = np.random.default_rng(0).integers(0, 2**16, (64, 64), "u2")
    codecs = [numcodecs.get_codec(FILTERS[f]) for f in filters]
    compressor = None if name is None else numcodecs.get_codec({"id": name})
    content = data.tobytes()
    for codec in [*codecs, *([compressor] if compressor else [])]:
        content = codec.encode(content)
    configuration = compressor and compressor.get_config()
    filters = [codec.get_config() for codec in codecs]
    path = stored_with(tmp_path, filters, configuration, bytes(content), "<u2")
    np.testing.assert_array_equal(files.read(path).data, data)


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("name", ["gzip", "zstd", "blosc", "numcodecs.lzma", None])
def test_shards(tmp_path, place, name):
    path, (level,) = sharded(tmp_path, place, name)
    data = np.random.default_rng(0).integers(0, 256, (64, 64), "u1")
    level[...] = data
    np.testing.assert_array_equal(files.read(path).data, data)
    part = files.open_image(path).data[20:40, 7:20]
    np.testing.assert_array_equal(part, data[20:40, 7:20])


def sharded(folder, place, name):
    """Create an array of one shard with four chunks."""
    codecs = [] if name is None else [{"name": name, "configuration": {}}]
    array = library.create_array(
        folder / "a.zarr",
        shape=(64, 64),
        chunks=(32, 32),
        shards={"shape": (64, 64), "index_location": place},
        dtype="u1",
        filters=[{"name": "numcodecs.delta", "configuration": {"dtype": "u1"}}],
        compressors=codecs,
    )
    return folder / "a.zarr", [array]


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_chunk_of_a_shard_that_expands(tmp_path, place, name):
    path, _ = sharded(tmp_path, place, name)
    bomb = {"gzip": gzip.compress(BOMB), "zstd": unsized_zstd(2**22)}[name]
    offset = 68 if place == "start" else 0
    index = np.array([offset, len(bomb)] * 4, "<u8").tobytes()
    index = with_checksum(index)
    (path / "c" / "0").mkdir(parents=True)
    shard = index + bomb if place == "start" else bomb + index
    (path / "c" / "0" / "0").write_bytes(shard)
    for read in (files.read, lambda path: files.open_image(path).data[:9, :9]):
        with pytest.raises(FileError, match="stands for more than"):
            read(path)


def with_checksum(content):
    import google_crc32c

    return content + google_crc32c.value(content).to_bytes(4, "little")


def array(path, codec="zlib", shape=(64, 64), chunks=(64, 64), zarr_format=2):
    """Write a store of one array of ones, and return the file of its first chunk."""
    from zarr.codecs import GzipCodec

    compressors = {"zlib": numcodecs.Zlib(), "bz2": numcodecs.BZ2()}
    stored = library.create_array(
        path,
        shape=shape,
        chunks=chunks,
        dtype="u1",
        zarr_format=zarr_format,
        compressors=[GzipCodec()] if zarr_format == 3 else compressors[codec],
    )
    if np.prod(shape) < 10_000:
        stored[...] = np.ones(shape, "u1")
    return path / ("c/0/0" if zarr_format == 3 else "0.0")


@pytest.mark.parametrize(
    ("codec", "zarr_format"), [("zlib", 2), ("bz2", 2), ("gzip", 3)]
)
def test_chunk_that_expands_beyond_its_size(tmp_path, codec, zarr_format):
    chunk = array(tmp_path / "a.zarr", codec, zarr_format=zarr_format)
    assert files.read(tmp_path / "a.zarr").data.all()
    chunk.write_bytes(COMPRESSIONS[codec](BOMB))
    with pytest.raises(FileError, match="stands for more"):
        files.read(tmp_path / "a.zarr")
    _, (level,) = files.open_levels(tmp_path / "a.zarr")
    with pytest.raises(FileError, match="stands for more"):
        level.compute()


@pytest.mark.parametrize(
    ("codec", "zarr_format"), [("zlib", 2), ("bz2", 2), ("gzip", 3)]
)
def test_chunks_are_decompressed_once(tmp_path, monkeypatch, codec, zarr_format):
    array(tmp_path / "a.zarr", codec, zarr_format=zarr_format)
    calls = []

    def counted(*arguments, decode=BOUNDED[codec]):
        calls.append(arguments)
        return decode(*arguments)

    monkeypatch.setitem(BOUNDED, codec, counted)
    for kind in (numcodecs.Zlib, numcodecs.BZ2, numcodecs.GZip):
        monkeypatch.setattr(kind, "decode", lambda *_: 1 / 0)
    assert stores.read(tmp_path / "a.zarr").data.all()
    assert len(calls) == 1


def test_chunk_that_is_larger_than_it_should_be(tmp_path):
    chunk = array(tmp_path / "a.zarr")
    with open(chunk, "wb") as file:
        file.truncate(2**30)  # takes no space on the disk
    with pytest.raises(FileError, match="larger than"):
        files.read(tmp_path / "a.zarr")


@pipes
@pytest.mark.parametrize("name", ["0.0", ".zattrs"])
def test_pipe_in_a_store(tmp_path, name):
    array(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "a.zarr" / name)
    with pytest.raises(FileError, match="no regular file"):
        files.read(tmp_path / "a.zarr")


@pipes
@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.ome.tif", "a"])
def test_pipe_in_place_of_a_file(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for read in (files.read, files.read_header, files.open_levels):
        with pytest.raises(FileError, match="no regular file"):
            read(tmp_path / name)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no such device here")
def test_device_behind_a_link(tmp_path):
    chunk = array(tmp_path / "a.zarr")
    chunk.unlink()
    chunk.symlink_to("/dev/zero")
    (tmp_path / "a.tif").symlink_to("/dev/zero")
    for name in ("a.zarr", "a.tif"):
        with pytest.raises(FileError, match="no regular file"):
            files.read(tmp_path / name)


@pytest.mark.parametrize("read", [files.read, files.open_image, files.open_levels])
def test_array_of_tiny_chunks(tmp_path, read):
    array(tmp_path / "a.zarr", shape=(1000, 1000), chunks=(1, 1))
    assert files.read_header(tmp_path / "a.zarr").shape == (1000, 1000)
    with pytest.raises(FileError, match=r"chunks of shape \(1, 1\), and 1000000 of"):
        read(tmp_path / "a.zarr")


@pytest.mark.parametrize("read", [files.read, files.open_image, files.open_levels])
@pytest.mark.parametrize(
    ("shape", "chunks", "says"),
    [
        ((2**40, 64, 64), (1, 64, 64), "declares 1099511627776 planes"),
        ((2**20, 2**20, 64, 64), (2**10, 2**10, 64, 64), "declares"),
        ((10**9, 1, 1), (10**6, 1, 1), "declares 1000000000 planes"),
        ((2**30, 2**30), (64, 64), "281474976710656 of them would be read"),
    ],
)
def test_planes_and_chunks_without_number(
    tmp_path, monkeypatch, read, shape, chunks, says
):
    monkeypatch.setattr(limits, "free_memory", lambda: None)
    array(tmp_path / "a.zarr", shape=shape, chunks=chunks)
    with pytest.raises(FileError, match=says):
        read(tmp_path / "a.zarr")


def test_planes_without_number_in_a_lower_resolution(tmp_path):
    group = library.create_group(tmp_path / "a.zarr", zarr_format=2)
    for name, count in (("0", 2), ("1", 2**40)):
        group.create_array(name, shape=(count, 64, 64), chunks=(1, 64, 64), dtype="u1")
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    datasets = [{"path": "0"}, {"path": "1"}]
    group.attrs.put({"multiscales": [{"axes": axes, "datasets": datasets}]})
    assert files.read_header(tmp_path / "a.zarr").shape == (2, 64, 64)
    with pytest.raises(FileError, match="declares 1099511627776 planes"):
        files.open_levels(tmp_path / "a.zarr")


@pytest.mark.parametrize(("count", "images"), [(10_000, 1), (10_001, 0)])
@pytest.mark.parametrize("kind", ["wells", "images"])
def test_wells_and_images_without_number(tmp_path, kind, count, images):
    plate = library.create_group(tmp_path / "a.zarr", zarr_format=2)
    well = plate.create_group("A/1")
    well.create_group("0")
    wells, fields = (count, 1) if kind == "wells" else (1, count)
    plate.attrs.put({"plate": {"wells": [{"path": "A/1"}] * wells}})
    well.attrs.put({"well": {"images": [{"path": "0"}] * fields}})
    if images:
        paths, _ = files.images_in(tmp_path / "a.zarr")
        assert paths == [(tmp_path / "a.zarr/A/1/0", None)]
        return
    with pytest.raises(
        FileError, match=f"a.zarr lists 10001 {kind} of a .*; at most 10000"
    ):
        files.images_in(tmp_path / "a.zarr")


def test_well_that_leads_back_to_its_plate(tmp_path):
    plate = library.create_group(tmp_path / "a.zarr", zarr_format=2)
    wells = [{"path": f"A/{number}"} for number in range(1, 9)]
    plate.attrs.put({"plate": {"wells": wells}})
    (tmp_path / "a.zarr" / "A").mkdir()
    for well in wells:
        (tmp_path / "a.zarr" / well["path"]).symlink_to(tmp_path / "a.zarr")
    assert files.images_in(tmp_path / "a.zarr")[0] == []


def test_planes_without_number_after_the_first(tmp_path):
    """ImageJ writes planes without pages, and a file may end in a hole."""
    planes = 10**7
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.ones((64, 64), "u1"),
        metadata=None,
        description=f"ImageJ=1.53t\nimages={planes}\nslices={planes}\n",
    )
    with open(tmp_path / "a.tif", "r+b") as file:
        file.truncate(planes * 64 * 64 + 10_000)  # takes no space on the disk
    for read in (files.read, files.open_image, files.open_levels):
        with pytest.raises(FileError, match="declares 10000000 planes"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<TiffData", '<TiffData IFD="0" PlaneCount="2000000"'),
        ("<TiffData", '<TiffData IFD="0" NumPlanes="2000000"'),
        ('SizeZ="1"', 'SizeZ="2_000_000"'),
        ('SizeZ="1"', 'SizeZ=" +2000000 "'),
        ('SizeX="64"', 'SizeX="128000000"'),
        (
            "</OME>",
            '<StructuredAnnotations><XMLAnnotation Namespace="a/modulo" ID="A:0">'
            '<Value><Modulo><ModuloAlongT Type="lifetime" Start="0" Step="1" '
            'End="2000000"/></Modulo></Value></XMLAnnotation></StructuredAnnotations>'
            "</OME>",
        ),
    ],
)
def test_planes_without_number_in_a_description_by_ome(tmp_path, old, new):
    text = (
        '<OME><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" '
        'Type="uint8" SizeX="64" SizeY="64" SizeC="1" SizeZ="1" SizeT="1"><TiffData/>'
        "</Pixels></Image></OME>"
    )
    assert old in text
    options = {"description": text.replace(old, new), "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", np.ones((64, 64), "u1"), **options)
    with pytest.raises(FileError, match=r"declares 200000\d planes"):
        files.read_header(tmp_path / "a.tif")


def test_chunk_that_memory_cannot_hold(tmp_path, monkeypatch):
    array(tmp_path / "a.zarr")
    monkeypatch.setattr(limits, "free_memory", lambda: 10**6)
    metadata = json.loads((tmp_path / "a.zarr" / ".zarray").read_text())
    metadata["chunks"] = [10**5, 10**5]
    (tmp_path / "a.zarr" / ".zarray").write_text(json.dumps(metadata))
    with pytest.raises(FileError, match=r"chunks of shape .* are free"):
        files.read(tmp_path / "a.zarr")


def test_values_compressed_twice(tmp_path):
    array(tmp_path / "a.zarr")
    metadata = json.loads((tmp_path / "a.zarr" / ".zarray").read_text())
    metadata["filters"] = [{"id": "zlib", "level": 1}]
    (tmp_path / "a.zarr" / ".zarray").write_text(json.dumps(metadata))
    with pytest.raises(FileError, match="were compressed and then compressed again"):
        files.read(tmp_path / "a.zarr")


def test_very_many_resolutions(tmp_path):
    group = library.create_group(tmp_path / "a.zarr", zarr_format=2)
    group.create_array("0", shape=(64, 64), chunks=(64, 64), dtype="u1")
    datasets = [{"path": "0"}] * 100_000
    axes = [{"name": name, "type": "space"} for name in "yx"]
    group.attrs.put({"multiscales": [{"axes": axes, "datasets": datasets}]})
    _, levels = files.open_levels(tmp_path / "a.zarr")
    assert len(levels) < 100


def strip(path, content, **options):
    """Write a TIFF of 64 x 64 pixels whose one strip is replaced."""
    tifffile.imwrite(path, np.ones((64, 64), "u1"), **options)
    stored = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        tags = tif.pages[0].tags
        values = {"StripOffsets": len(stored), "StripByteCounts": len(content)}
        for tag, value in values.items():
            place = tags[tag].offset
            stored[place + 2 : place + 4] = (4).to_bytes(2, "little")  # LONG
            stored[place + 8 : place + 12] = value.to_bytes(4, "little")
    path.write_bytes(stored + content)


@pytest.mark.parametrize("name", ["zlib", "zstd"])
def test_strip_that_expands_beyond_its_size(tmp_path, name):
    strip(tmp_path / "a.tif", COMPRESSIONS[name](BOMB), compression=name)
    with pytest.raises(FileError, match=r"cannot be read|damaged"):
        files.read(tmp_path / "a.tif")


def encoded(name, pixels):
    """Return pixels of gray as an image of the compression of a TIFF."""
    encode = {
        "PNG": imagecodecs.png_encode,
        "JPEG": imagecodecs.jpeg_encode,
        "OJPEG": imagecodecs.jpeg_encode,
        "ALT_JPEG": imagecodecs.jpeg_encode,
        "JPEG_LOSSY": imagecodecs.ljpeg_encode,
        "JPEG2000": imagecodecs.jpeg2k_encode,
        "JPEGXL": imagecodecs.jpegxl_encode,
        "JPEGXR": imagecodecs.jpegxr_encode,
        "LERC": imagecodecs.lerc_encode,
    }
    if name.startswith("WEBP"):
        return imagecodecs.webp_encode(np.dstack([pixels] * 3))
    return encode[name](pixels)


IMAGES = ["PNG", "JPEG", "OJPEG", "ALT_JPEG", "JPEG_LOSSY", "JPEG2000", "JPEGXL"]
IMAGES += ["JPEGXR", "LERC", "WEBP", "WEBP_DEPRECATED"]


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("side", [64, 1100])
def test_strip_that_is_a_larger_image(tmp_path, name, side):
    content = encoded(name, np.zeros((side, side), "u1"))
    compressed_strip(tmp_path / "a.tif", name, content)
    if side == 64:
        assert files.read(tmp_path / "a.tif").data.shape == (64, 64)
        return
    for read in (files.read, lambda path: files.open_image(path).data[:9, :9]):
        with pytest.raises(FileError, match="strip or tile of 4096 pixels"):
            read(tmp_path / "a.tif")


def test_strip_that_is_an_image_beyond_the_limit_of_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 10**6)
    content = imagecodecs.png_encode(np.zeros((1500, 1500), "u1"))
    compressed_strip(tmp_path / "a.tif", "PNG", content)
    with pytest.raises(FileError, match="strip or tile of 4096 pixels"):
        files.read(tmp_path / "a.tif")


@pytest.mark.parametrize("name", IMAGES)
def test_strip_that_does_not_say_its_size(tmp_path, name):
    compressed_strip(tmp_path / "a.tif", name, b"no image at all" * 10)
    said = "written before 1995" if name == "OJPEG" else "how large its image is"
    with pytest.raises(FileError, match=said):
        files.read(tmp_path / "a.tif")


def compressed_strip(path, name, content):
    """Write a TIFF of 64 x 64 pixels whose strip is of a compression."""
    strip(path, content, compression="png")
    with tifffile.TiffFile(path, mode="r+") as tif:
        compression = tif.pages[0].tags["Compression"]
        compression.overwrite(int(tifffile.COMPRESSION[name]))


def test_codestream_larger_than_what_holds_it_says(tmp_path):
    content = imagecodecs.jpeg2k_encode(np.zeros((3000, 3000), "u1"), codecformat="jp2")
    side = (3000).to_bytes(4, "big")
    first = content.index(side * 2)  # in the box of the header
    small = (64).to_bytes(4, "big")
    content = content[:first] + small * 2 + content[first + 8 :]
    compressed_strip(tmp_path / "a.tif", "JPEG2000", content)
    with pytest.raises(FileError, match="strip or tile of 4096 pixels"):
        files.read(tmp_path / "a.tif")


def test_strip_of_very_many_images(tmp_path):
    content = imagecodecs.jpegxl_encode(np.zeros((50, 64, 64), "u1"))
    assert imagecodecs.jpegxl_decode(content).shape == (50, 64, 64)
    compressed_strip(tmp_path / "a.tif", "JPEGXL", content)
    with pytest.raises(FileError, match="does not say how large its image is"):
        files.read(tmp_path / "a.tif")


@pytest.mark.parametrize("shape", [(8, 8), (64, 80), (300, 301), (48, 64), (9, 2000)])
def test_sizes_of_coded_images(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, "u1")
    count = shape[0] * shape[1]
    jpeg_xl = partial(imagecodecs.jpegxl_encode, lossless=True)
    assert coded_size.jpeg_xl(jpeg_xl(pixels)) == count
    assert coded_size.jpeg_xl(jpeg_xl(np.dstack([pixels.astype("u2")] * 3))) == count
    assert coded_size.jpeg_xl(jpeg_xl(pixels, usecontainer=True)) == count
    assert coded_size.jpeg_xr(imagecodecs.jpegxr_encode(pixels)) == count
    assert coded_size.lerc(imagecodecs.lerc_encode(pixels)) == count
    for form in ("jp2", "j2k"):
        content = imagecodecs.jpeg2k_encode(pixels, codecformat=form)
        assert coded_size.jpeg_2000(content) == count
    for encode in (imagecodecs.jpeg8_encode, imagecodecs.ljpeg_encode):
        assert coded_size.jpeg(encode(pixels)) == count


def test_planar_configuration_that_does_not_exist(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.ones((24, 20, 3), "u1"),
        photometric="rgb",
        compression="jpeg",
    )
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        tif.pages[0].tags["PlanarConfiguration"].overwrite(256)
    for read in (files.read, files.open_image):
        with pytest.raises(FileError, match="planar configuration is 256"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("count", [1, 3, 150])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_in_a_circle(tmp_path, count, bigtiff):
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=bigtiff) as writer:
        for _ in range(count):
            writer.write(np.ones((16, 16), "u1"), contiguous=False, metadata=None)
    assert len(files.read(tmp_path / "a.tif").data) == (count if count > 1 else 16)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        first, last = tif.pages[0].offset, tif.pages[-1]
        size = tif.tiff.offsetsize
        end = last.offset + tif.tiff.tagnosize + len(last.tags) * tif.tiff.tagsize
    content = bytearray((tmp_path / "a.tif").read_bytes())
    assert not any(content[end : end + size])
    content[end : end + size] = first.to_bytes(size, "little")
    (tmp_path / "a.tif").write_bytes(content)
    for read in (files.read_header, files.images_in):
        with pytest.raises(FileError, match="in a circle"):
            read(tmp_path / "a.tif")


def png(path, pixels):
    path.write_bytes(imagecodecs.png_encode(pixels))
    return path


def test_png_that_more_follows(tmp_path):
    path = png(tmp_path / "a.png", np.full((64, 64), 7, "u1"))
    with open(path, "r+b") as file:
        file.truncate(2**34)  # takes no space on the disk
    since = time.perf_counter()
    assert (files.read(path).data == 7).all()
    assert time.perf_counter() - since < 5


def chunk(name, content):
    checksum = zlib.crc32(name + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + name + content + checksum


def test_png_without_an_end(tmp_path):
    path = png(tmp_path / "a.png", np.full((64, 64), 7, "u1"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-12])
    with open(path, "r+b") as file:
        file.truncate(2**34)
    assert (files.read(path).data == 7).all()
    path.write_bytes(whole[:-12] + chunk(b"teSt", b"") * 1_000_001 + whole[-12:])
    with pytest.raises(FileError, match="more than 1000000 chunks"):
        files.read(path)


def test_png_with_too_much_beside_its_pixels(tmp_path):
    path = png(tmp_path / "a.png", np.full((64, 64), 7, "u1"))
    whole = path.read_bytes()
    for name in (b"tEXt", b"teSt", b"eXIf"):
        head = (2**27).to_bytes(4, "big") + name
        path.write_bytes(whole[:33] + head)
        with open(path, "r+b") as file:
            file.truncate(2**27 + 45)
        with pytest.raises(FileError, match="bytes beside its pixels"):
            files.read(path)


def test_png_whose_pixels_take_too_much(tmp_path):
    path = png(tmp_path / "a.png", np.full((64, 64), 7, "u1"))
    path.write_bytes(path.read_bytes()[:33] + (2**30).to_bytes(4, "big") + b"IDAT")
    with open(path, "r+b") as file:
        file.truncate(2**30 + 45)
    with pytest.raises(FileError, match="its pixels take 1073741869 bytes"):
        files.read(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_image_beyond_the_limit_of_pillow(tmp_path, monkeypatch, name):
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 1000)
    encode = {"a.png": imagecodecs.png_encode, "a.jpg": imagecodecs.jpeg_encode}[name]
    (tmp_path / name).write_bytes(encode(np.full((64, 64), 7, "u1")))
    assert files.read(tmp_path / name).data.shape == (64, 64)
    monkeypatch.setattr(limits, "free_memory", lambda: 30_000)
    with pytest.raises(FileError, match=r"shape \(64, 64\), which takes"):
        files.read(tmp_path / name)
