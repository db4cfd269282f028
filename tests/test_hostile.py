"""A corpus of broken and hostile files: the command line refuses each in one line.

Refused means exit code 1 or 2, one line that says what is wrong, nothing written, and
the input as it was.  `scripts/fuzz.py` looks for more of them.
"""

import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_dip.io import files
from napari_dip.tasks.pool import no_fit
from napari_dip.tasks.progress import Bar

resource = pytest.importorskip("resource", reason="not on Windows")
zarr = pytest.importorskip("zarr")

PIXELS = np.arange(48 * 40, dtype=np.uint8).reshape(48, 40)

TERAPIXEL = 2**20
"""Side of images that no memory holds."""


def png_of(side):
    """Return a PNG whose header promises a square image, with a few bytes of pixels."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def huge_png(folder):
    (folder / "a.png").write_bytes(png_of(TERAPIXEL))


def huge_jpeg(folder):
    Image.fromarray(PIXELS).save(folder / "a.jpg")
    content = bytearray((folder / "a.jpg").read_bytes())
    place = content.index(b"\xff\xc0") + 5  # the sides follow the baseline marker
    content[place : place + 4] = struct.pack(">HH", 65500, 65500)
    (folder / "a.jpg").write_bytes(content)


def huge_tiff(folder):
    tifffile.imwrite(folder / "a.tif", PIXELS, compression="zlib")
    with tifffile.TiffFile(folder / "a.tif", mode="r+") as tif:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            tif.pages[0].tags[name].overwrite(TERAPIXEL)


def huge_zarr(folder):
    shape = (TERAPIXEL, TERAPIXEL)
    zarr.create_array(folder / "a.zarr", shape=shape, chunks=(10**4,) * 2, dtype="u1")


def planes_without_number_in_zarr(folder):
    """A Zarr without a file of pixels that declares a petabyte of small planes."""
    shape = (2**40, 48, 40)
    zarr.create_array(folder / "a.zarr", shape=shape, chunks=(1, 48, 40), dtype="u1")


def planes_without_number_in_tiff(folder):
    """An OME-TIFF of one page that declares a hundred million."""
    text = tifffile.OmeXml()
    text.addimage("uint8", (1, *PIXELS.shape), (1, 1, 1, *PIXELS.shape, 1), axes="TYX")
    xml = text.tostring().replace('SizeT="1"', 'SizeT="100000000"')
    assert "100000000" in xml
    tifffile.imwrite(folder / "a.ome.tif", PIXELS, description=xml, metadata=None)


def plate_of_one_well(folder):
    """A plate that lists its one well, and this its image, very many times."""
    plate = zarr.create_group(folder / "a.zarr", zarr_format=2)
    well = plate.create_group("A/1")
    plate.attrs.put({"plate": {"wells": [{"path": "A/1"}] * 100_000}})
    well.attrs.put({"well": {"images": [{"path": "0"}] * 100_000}})


def truncated(name):
    def write(folder):
        if name.endswith((".png", ".tif")):
            files.write(folder / name, PIXELS)
        else:
            Image.fromarray(PIXELS).save(folder / name)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return write


def entities(folder):
    """A TIFF with XML whose entities stand for a billion words, and no pixels."""
    nested = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    xml = f'<!DOCTYPE OME [<!ENTITY e0 "lol">{nested}]><OME>&e9;</OME>'
    tifffile.imwrite(folder / "a.ome.tif", PIXELS, description=xml, metadata=None)
    with tifffile.TiffFile(folder / "a.ome.tif", mode="r+") as tif:
        tif.pages[0].tags["ImageLength"].overwrite(0)


def pickles(folder):
    """A Zarr whose values are decoded by unpickling."""
    zarr.save_array(folder / "a.zarr", PIXELS, zarr_format=2)
    path = folder / "a.zarr" / ".zarray"
    metadata = json.loads(path.read_text())
    metadata["filters"] = [{"id": "pickle"}]
    path.write_text(json.dumps(metadata))


def outside(folder):
    """An OME-Zarr whose pixels lie in another folder."""
    files.write(folder / "a.ome.zarr", PIXELS)
    (folder / "secret").mkdir()
    (folder / "a.ome.zarr" / "0").rename(folder / "secret" / "0")
    path = folder / "a.ome.zarr" / ".zattrs"
    text = path.read_text().replace('"path": "0"', '"path": "../secret/0"')
    assert "secret" in text
    path.write_text(text)


def empty_chunks(folder):
    """A Zarr whose chunks hold nothing."""
    zarr.create_array(folder / "a.zarr", data=PIXELS, zarr_format=3)
    path = folder / "a.zarr" / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["chunk_grid"]["configuration"]["chunk_shape"] = [0, 40]
    path.write_text(json.dumps(metadata))


def deep_json(folder):
    """A Zarr with metadata of a hundred thousand brackets."""
    zarr.save_array(folder / "a.zarr", PIXELS, zarr_format=3)
    (folder / "a.zarr" / "zarr.json").write_text("[" * 100_000)


def another_format(folder):
    (folder / "a.tif").write_bytes(b"%PDF-1.7\n" + png_of(20))


def link_to_itself(folder):
    (folder / "a.tif").symlink_to(folder / "a.tif")


def folder_with_the_name_of_a_file(folder):
    (folder / "a.tif").mkdir()


CORPUS = {
    write.__name__: write
    for write in (
        huge_png,
        huge_jpeg,
        huge_tiff,
        huge_zarr,
        planes_without_number_in_zarr,
        planes_without_number_in_tiff,
        plate_of_one_well,
        entities,
        pickles,
        outside,
        deep_json,
        empty_chunks,
        another_format,
        link_to_itself,
        folder_with_the_name_of_a_file,
    )
} | {f"truncated {name}": truncated(name) for name in ("a.tif", "a.png", "a.jpg")}


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("command", ["denoise", "batch"])
def test_is_refused_in_one_line(call, tmp_path, name, command):
    CORPUS[name](tmp_path)
    (path,) = (p for p in tmp_path.iterdir() if p.name != "secret")
    before = contents(tmp_path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tasks = ["batch", "denoise"] if command == "batch" else ["denoise"]
    output = tmp_path / ("out" if command == "batch" else "out.tif")
    code, out, err = call(*tasks, path, "-o", output, "--quiet")
    assert path.name in err or "image must" in err
    assert "Traceback" not in err
    after = contents(tmp_path)
    if command == "denoise":
        assert (out, err.count("\n")) == ("", 1)
        assert after == before
    assert code in (1, 2)
    results = [p for p in after.keys() - before.keys() if p.suffix == ".tif"]
    assert not results
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown < 500_000  # kB


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_folder_that_cannot_be_written(call, tmp_path):
    files.write(tmp_path / "a.tif", PIXELS)
    (tmp_path / "locked").mkdir(mode=0o500)
    code, _, err = call("denoise", tmp_path / "a.tif", "-o", tmp_path / "locked/b.tif")
    assert code in (1, 2)
    assert "locked" in err


CONTROL = "a\n\x1b[31m\x07\x9b2J\x7f"
"""A name that would colour a terminal, ring and clear it."""


@pytest.mark.skipif(os.name != "posix", reason="no such names")
@pytest.mark.parametrize("command", [("denoise",), ("batch", "denoise")])
def test_names_do_not_control_the_terminal(call, tmp_path, small_fits, command):
    good, bad = tmp_path / f"{CONTROL}.tif", tmp_path / f"{CONTROL}b.tif"
    files.write(good, PIXELS.astype(np.float32))
    bad.write_bytes(b"no image")
    short = ("--iterations", "2", "--precision", "float32")
    (tmp_path / "out").mkdir()
    output = tmp_path / "out"
    code, out, err = call(*command, good, bad, "-o", output, *short)
    assert code == 1
    for text in (out, err):
        assert "\\x1b[31m\\x07\\x9b2J\\x7f" in text
        assert all(c.isprintable() for c in text.replace("\n", ""))
    assert out.count("\n") == 1
    code, out, err = call(*command, good, "-o", output, *short, "--json", "--overwrite")
    assert code == 0
    assert all(c.isprintable() for c in out.replace("\n", ""))
    assert json.loads(out)["output"] == str(output / good.name)
    for options in ((), ("--json",)):
        _, out, _ = call("info", good, *options)
        assert all(c.isprintable() for c in out.replace("\n", ""))


def test_the_title_of_a_progress_bar_does_not_control_the_terminal(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Bar(f"{CONTROL}[/x]") as bar:
        bar(no_fit())
    shown = stream.getvalue()
    assert "a\\n\\x1b[31m\\x07\\x9b2J\\x7f[/x]" in shown
    assert "\x1b[31m\x07" not in shown
