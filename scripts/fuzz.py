"""Feed mutated files to the readers, the provenance parser and the checkpoint loader.

In the development environment, with Python 3.11 to 3.13 on Linux::

    pip install -c constraints.txt --group fuzz
    python scripts/fuzz.py -max_total_time=3600

Atheris mutates small files and keeps those that reach new lines of code.  Every error
but those of napari-dip is a finding, and so are more memory than the readers were told
is free, and pixels that differ between a file that is read and one that is opened.  A
finding ends the run and is written to ``build/fuzz/findings``; its file as the only
argument repeats it.  All options are libFuzzer's.  An input may take 60 seconds by the
clock: give a longer ``-timeout`` on a machine that is busy or is paused.
"""

from __future__ import annotations

import contextlib
import random
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "build" / "fuzz"

FREE = 2**25
"""Bytes that are free as the readers are told."""

SEPARATOR = b"\n----\n"
"""Stands between the files of a Zarr in an input."""

STORES = {
    2: (".zgroup", ".zattrs", "0/.zarray", "0/0/0"),
    3: ("zarr.json", "0/zarr.json", "0/c/0/0"),
}
"""Files of an OME-Zarr with one chunk, for both versions of Zarr."""

TOKEN = re.compile(rb'"[^"\n]{0,200}"|-?\d+(?:\.\d+)?|null|true|false|\[\]|\{\}')
"""Values in text, as of JSON and XML."""

ODD = (
    *(b"0", b"-1", b"2", b"4294967296", b"1e999", b"-0.5", b"NaN", b"9" * 400),
    *(b"null", b"true", b"[]", b"{}", b'""', b'"a"', b'"1"', b'"\\u0000"', b'"\xff"'),
    *(b"[[[]]]", b'{"a": {}}', b'"../.."', b'"/"', b"[" * 2000, b'"yx"'),
)
"""Values that take the place of others."""


# -- what is done with an input -----------------------------------------------------


def check_tiff(folder: Path, content: bytes) -> None:
    """Read a TIFF."""
    check_image(_stored(folder / "a.tif", content))


def check_description(folder: Path, content: bytes) -> None:
    """Read a TIFF with a description, as OME-TIFFs and ImageJ hyperstacks have."""
    import tifffile

    pixels = np.arange(6 * 16 * 16, dtype=np.uint16).reshape(6, 16, 16)
    description = content.replace(b"\0", b"")
    tifffile.imwrite(
        folder / "a.tif",
        pixels,
        description=description,
        metadata=None,
        photometric="minisblack",
    )
    check_image(folder / "a.tif")


def check_png(folder: Path, content: bytes) -> None:
    """Read a PNG, whose checksums are made right."""
    check_image(_stored(folder / "a.png", with_checksums(content)))


def check_jpeg(folder: Path, content: bytes) -> None:
    """Read a JPEG."""
    check_image(_stored(folder / "a.jpg", content))


def check_zarr(folder: Path, content: bytes) -> None:
    """Read an OME-Zarr whose files an input holds, those of Zarr 3 if there are 3."""
    parts = content.split(SEPARATOR)
    store = folder / "a.zarr"
    for name, part in zip(STORES[3 if len(parts) == 3 else 2], parts, strict=False):
        path = store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part)
    if store.exists():
        check_image(store)


def check_image(path: Path) -> None:
    """Read a file in all ways, and see that they agree."""
    from napari_dip.cli.about import file_facts, lines
    from napari_dip.errors import DipError
    from napari_dip.io import files

    with contextlib.suppress(DipError):
        files.images_in(path)
    with contextlib.suppress(DipError):
        facts = file_facts(path, files.read_header(path))
        assert all(line.isprintable() for line in lines(facts))
    try:
        opened = files.open_image(path)
        pixels = np.asarray(opened.data)
    except DipError:
        pixels = None
    try:
        image = files.read(path)
    except DipError:
        return
    assert image.header == files.read_header(path)
    assert image.data.shape == image.header.shape
    assert image.data.dtype == image.header.dtype
    if pixels is not None:
        assert opened.header == image.header
        np.testing.assert_array_equal(pixels, image.data)


def check_provenance(folder: Path, content: bytes) -> None:
    """Parse a provenance, print it and make the recipe of it that is run again."""
    from napari_dip.cli.about import lines
    from napari_dip.errors import DipError
    from napari_dip.io import provenance
    from napari_dip.tasks.run import get

    stored = provenance.loads(content.decode("latin1"))
    if stored is None:
        return
    assert list(lines({"provenance": stored}))
    with contextlib.suppress(DipError):
        provenance.recipe_of(stored, get(str(stored.get("task"))).recipe)


def check_checkpoint(folder: Path, content: bytes) -> None:
    """Read a checkpoint, and go on from it with a fit of one iteration."""
    from napari_dip.errors import DipError
    from napari_dip.io import checkpoint

    path = _stored(folder / "a.safetensors", content)
    with contextlib.suppress(DipError):
        state, _ = checkpoint.read(path, "checkpoint")
        fit(state=state)


CHECKS: tuple[Callable[[Path, bytes], None], ...] = (
    check_tiff,
    check_description,
    check_png,
    check_jpeg,
    check_zarr,
    check_provenance,
    check_checkpoint,
)
"""What is done with an input, by its first byte."""


def check(data: bytes) -> None:
    """Do with an input what its first byte says."""
    if data:
        with tempfile.TemporaryDirectory() as folder:
            CHECKS[data[0] % len(CHECKS)](Path(folder), data[1:])


def _stored(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def with_checksums(content: bytes) -> bytes:
    """Return the bytes of a PNG with right checksums, so that its chunks are read."""
    fixed, place = bytearray(content), 8
    while place + 12 <= len(fixed):
        end = place + 8 + int.from_bytes(fixed[place : place + 4], "big")
        if end + 4 <= len(fixed):
            checksum = zlib.crc32(fixed[place + 4 : end])
            fixed[end : end + 4] = checksum.to_bytes(4, "big")
        place = end + 4
    return bytes(fixed)


def fit(**options: Any) -> None:
    """Fit a tiny network for one iteration."""
    from napari_dip import denoise
    from napari_dip.prior.local import Local

    image = np.random.default_rng(0).normal(100, 10, (16, 16))
    options = {"callback": lambda iterate: True, "share": "no", **options}
    denoise(image, architecture=Local((2,)), precision="float32", **options)


# -- what the inputs begin as -------------------------------------------------------


def seeds() -> Iterator[tuple[Callable[[Path, bytes], None], bytes]]:
    """Yield small files, each with the function that takes it."""
    import tifffile

    from napari_dip.io import checkpoint, files, provenance
    from napari_dip.io.image import Header, Image
    from napari_dip.tasks.denoise import DenoiseRecipe

    made = provenance.origin(DenoiseRecipe()) | {"planes": [{}], "inputs": {}}
    gray = np.random.default_rng(0).integers(0, 99, (3, 24, 20), np.uint16)
    scale: dict[str, Any] = {"scale": (0.5,) * 3, "units": ("µm",) * 3}
    like = Image(gray, Header("array", gray.shape, gray.dtype, "ZYX", **scale))
    colours = gray.transpose(1, 2, 0).astype(np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for ending in (".tif", ".ome.tif"):
            path = folder / f"a{ending}"
            files.write(path, gray, like, made)
            yield check_tiff, path.read_bytes()
            yield check_description, _description(path)
        for number, options in enumerate(_tiff_options()):
            path = folder / f"{number}.tif"
            _write_tiff(path, colours, options)
            yield check_tiff, path.read_bytes()
        path = folder / "levels.tif"
        with tifffile.TiffWriter(path) as writer:
            writer.write(gray[0], subifds=1)
            writer.write(gray[0, ::2, ::2], subfiletype=1)
        yield check_tiff, path.read_bytes()
        for number, pixels in enumerate((gray[0], colours, colours[..., 0])):
            path = folder / f"{number}.png"
            files.write(path, pixels, None, made)
            yield check_png, path.read_bytes()
        for content in _jpegs(colours):
            yield check_jpeg, content
        for version, names in STORES.items():
            store = folder / f"{version}.ome.zarr"
            form = "OME-Zarr 0.5" if version == 3 else "OME-Zarr 0.4"
            header = Header(form, gray[0].shape, gray.dtype, "YX")
            files.write(store, gray[0], Image(gray[0], header), made)
            yield check_zarr, SEPARATOR.join((store / n).read_bytes() for n in names)
        yield check_provenance, provenance.dumps(made).encode()
        states: list[Any] = []

        def keep(iterate: Any) -> bool:
            states.append(iterate.checkpoint())
            return True

        fit(callback=keep)
        path = folder / "a.safetensors"
        checkpoint.write(path, "checkpoint", states[0], {})
        yield check_checkpoint, path.read_bytes()


def _description(path: Path) -> bytes:
    import tifffile

    with tifffile.TiffFile(path) as tif:
        return tif.pages.first.description.encode()


def _tiff_options() -> Iterator[dict[str, Any]]:
    yield {"compression": "zlib", "predictor": True}
    yield {"compression": "lzw", "tile": (16, 16)}
    yield {"compression": "jpeg"}
    yield {"planarconfig": "separate", "compression": "zstd"}
    yield {"extratags": [(274, 3, 1, 6, True)]}  # orientation


def _write_tiff(path: Path, colours: np.ndarray, options: dict[str, Any]) -> None:
    import tifffile

    if options.get("planarconfig") == "separate":
        colours = np.ascontiguousarray(np.moveaxis(colours, -1, 0))
    tifffile.imwrite(path, colours, photometric="rgb", **options)


def _jpegs(colours: np.ndarray) -> Iterator[bytes]:
    import io

    from PIL import Image

    for pixels in (colours, colours[..., 0]):
        for progressive in (False, True):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", progressive=progressive)
            yield file.getvalue()


# -- the run ------------------------------------------------------------------------


def with_odd_value(data: bytes, rng: random.Random) -> bytes:
    """Return an input with an odd value in place of one in its text."""
    places = [match.span() for match in TOKEN.finditer(data, 1)]
    if not places:
        return data
    start, end = rng.choice(places)
    return data[:start] + rng.choice(ODD) + data[end:]


def prepare() -> None:
    """Bound what the readers may take, and let mutated states pass for whole ones."""
    from napari_dip.io import limits
    from napari_dip.prior import snapshot

    vars(limits)["free_memory"] = lambda: FREE
    snapshot.digest = lambda state: "any"


def main() -> None:
    """Fuzz until an error, or as long as the options say."""
    import atheris

    corpus, findings = FOLDER / "corpus", FOLDER / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    # What is imported here is watched: which lines an input reaches.
    watched = ["napari_dip", "tifffile", "PIL", "yaozarrs"]
    with atheris.instrument_imports(include=watched):
        prepare()
        for number, (function, content) in enumerate(seeds()):
            seed = bytes([CHECKS.index(function)]) + content
            (corpus / f"seed-{number}").write_bytes(seed)
            check(seed)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return with_odd_value(data, rng)[:max_size]
        mutated: bytes = atheris.Mutate(data, max_size)
        return mutated

    options = [f"-artifact_prefix={findings}/", "-rss_limit_mb=4096", "-timeout=60"]
    # The last of two options counts, so those of the command line are behind.
    options += ["-max_len=20000", *(a for a in sys.argv[1:] if a.startswith("-"))]
    given = [a for a in sys.argv[1:] if not a.startswith("-")]
    arguments = [sys.argv[0], *options, *(given or [str(corpus)])]
    atheris.Setup(arguments, check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
