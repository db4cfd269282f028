"""PNG in and out, JPEG in."""

from __future__ import annotations

import dataclasses
import io
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, get_sampling, jpeg_factory
from PIL.PngImagePlugin import PngImageFile, PngInfo, putchunk

from napari_dip.errors import FileError, InputError
from napari_dip.io import limits, provenance
from napari_dip.io.image import (
    Header,
    Image,
    JpegTables,
    channel_notes,
    label_notes,
    split_opacity,
    turned,
)
from napari_dip.io.reading import logged, one_line_errors

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_CHUNKS = 1_000_000
"""Most chunks of a PNG, which take about a second to look at."""

_BESIDE = 2**26
"""Most bytes of a PNG beside its pixels."""

KEYWORD = "napari-dip"
"""Keyword of the text chunk that holds the provenance."""

_ORIENTATION = 0x0112

_SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
"""Pillow's numbers of what the field calls by these names."""

_HEADER_END = 33
"""Bytes of a PNG's signature and of its first chunk, IHDR; others may follow."""


def read_header(path: Path) -> Header:
    """Read what a PNG or JPEG says about its image."""
    with _opened(path) as image:
        return _header(image, path)


def read(path: Path) -> Image:
    """Read a PNG or JPEG."""
    with _opened(path) as image:
        header = _header(image, path)
        limits.check_size(header, path.name)
        data = _pixels(image, path, header)
    if data.ndim == 3 and data.shape[2] in (2, 4):
        samples = dataclasses.replace(header, shape=data.shape, axes="YXS")
        split = split_opacity(data, samples)
        return dataclasses.replace(split, header=header)
    return Image(np.ascontiguousarray(data), header)


def open_levels(path: Path) -> None:
    """Return None: pixels of a PNG or JPEG can only be read at once."""


def pixels_in(content: bytes) -> int:
    """Return the pixels of a PNG or WebP by its beginning, 0 if that says nothing."""
    formats = ("PNG", "WEBP")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            with Pillow.open(io.BytesIO(content), formats=formats) as image:
                return image.width * image.height
    except Pillow.DecompressionBombError:
        return 2 * (Pillow.MAX_IMAGE_PIXELS or 0)  # or more, which Pillow refuses
    except (OSError, SyntaxError, ValueError):
        return 0


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile]:
    with one_line_errors(path), open(path, "rb") as file:
        content = file.read(len(_SIGNATURE))
        file.seek(0)
        # Pillow's own function to open a file refuses large images; here they are
        # checked against the free memory.
        if content == _SIGNATURE:
            _check_chunks(path)
            image: ImageFile = PngImageFile(file)
        elif content.startswith(b"\xff\xd8\xff"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about previews that are damaged
                image = jpeg_factory(file)
        else:
            raise FileError(f"{path.name} cannot be read: it is not a PNG or JPEG file")
        with image:
            yield image


def _header(image: ImageFile, path: Path) -> Header:
    width, height = image.size
    if _orientation(image, path) in (5, 6, 7, 8):
        width, height = height, width
    if isinstance(image, JpegImageFile):
        bits, gray = 8, image.mode == "L"
    else:
        bits, gray = _png_layout(path)
    frames = getattr(image, "n_frames", 1)
    notes = [f"{path.name} holds {frames} images; the first was read"]
    return Header(
        format="JPEG" if isinstance(image, JpegImageFile) else "PNG",
        shape=(height, width) if gray else (height, width, 3),
        dtype=np.dtype(np.uint16 if bits == 16 else np.uint8),
        axes="YX" if gray else "YXS",
        provenance=provenance.loads(image.info.get(KEYWORD)),
        # CMYK is converted to RGB, which its profile does not describe.
        profile=image.info.get("icc_profile") if image.mode != "CMYK" else None,
        notes=tuple(notes) if frames > 1 else (),
        jpeg=jpeg_tables(image),
        lossy=isinstance(image, JpegImageFile),
    )


def _png_layout(path: Path) -> tuple[int, bool]:
    """Return the bits of a value, and whether there is no colour.

    Pillow has no mode for 16 bits and more than one channel.
    """
    with open(path, "rb") as file:
        bits, colour_type = file.read(_HEADER_END)[24:26]
    return bits, not colour_type & 2  # the bit for "colour used"


def jpeg_tables(image: Pillow.Image) -> JpegTables | None:
    """Return how coarsely an opened JPEG was rounded.

    Returns
    -------
    JpegTables or None
        None for what is no JPEG, and for one with other components than brightness
        or brightness, Cb and Cr, with another subsampling than 4:4:4, 4:2:2 and
        4:2:0, with different tables for Cb and Cr, or that is to be turned: its
        blocks are not where they were.
    """
    if not isinstance(image, JpegImageFile) or _orientation(image) not in (None, 1):
        return None
    # Of each component its name, its samplings along x and y, and its table.
    table_of = [table for _, _, _, table in image.layer]
    tables = {key: tuple(map(int, t)) for key, t in image.quantization.items()}
    if any(len(tables.get(table, ())) != 64 for table in table_of):
        return None
    if image.mode == "L" and len(table_of) == 1:
        return JpegTables((tables[table_of[0]],), "4:4:4")
    subsampling = _SUBSAMPLING.get(get_sampling(image))
    if subsampling is None or image.mode != "RGB" or _components_are_rgb(image):
        return None
    if tables[table_of[1]] != tables[table_of[2]]:
        return None
    return JpegTables(tuple(tables[table] for table in table_of[:2]), subsampling)


def _components_are_rgb(image: JpegImageFile) -> bool:
    """Return whether R, G and B were rounded, by the rules of the JPEG library."""
    if "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 0)
    return bytes(name for name, _, _, _ in image.layer) == b"RGB"


def _orientation(image: Pillow.Image, path: Path | None = None) -> int | None:
    """Return how an image says it is to be turned, without reading its pixels."""
    if path is not None and not isinstance(image, JpegImageFile):
        content = _chunk(path, b"eXIf")
        if content is not None:
            image.info["exif"] = content
    try:
        # The method of a PNG would read its pixels first.
        orientation: int | None = Pillow.Image.getexif(image).get(_ORIENTATION)
    except SyntaxError:
        return None  # what should be Exif is none
    return orientation


def _chunk(path: Path, kind: bytes) -> bytes | None:
    """Return the first chunk of a kind in a PNG, which can follow the pixels."""
    with open(path, "rb") as file:
        for name, place, length in _chunks(file, path):
            if name == kind:
                file.seek(place)
                return file.read(length)
    return None


def _chunks(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, place and length of every chunk of a PNG; the last is its end."""
    place = len(_SIGNATURE)
    for _ in range(_CHUNKS):
        file.seek(place)
        head = file.read(8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if len(name) < 4 or not name.isalpha():
            return  # the file ends, or is damaged
        yield name, place + 8, length
        if name == b"IEND":
            return
        place += length + 12  # with the checksum
    raise FileError(f"{path.name} is damaged: it has more than {_CHUNKS} chunks")


def _check_chunks(path: Path) -> None:
    """Raise if what is beside the pixels of a PNG is too large for that."""
    with open(path, "rb") as file:
        beside = (n for name, _, n in _chunks(file, path) if name != b"IDAT")
        if sum(beside) > _BESIDE:
            raise FileError(
                f"{path.name} is damaged: there are more than {_BESIDE} bytes beside "
                "its pixels"
            )


def _content(path: Path, header: Header) -> bytes:
    """Return a PNG of those chunks only that pixels are made from."""
    with open(path, "rb") as file:
        places = [
            (place, length)
            for name, place, length in _chunks(file, path)
            if name[:1].isupper() or name == b"tRNS"
        ]
        total = len(_SIGNATURE) + sum(length + 12 for _, length in places)
        # Noise becomes a little larger by compression.
        if total > 8 * limits.nbytes(header) + _BESIDE:
            raise FileError(f"{path.name} is damaged: its pixels take {total} bytes")
        parts = [_SIGNATURE]
        for place, length in places:
            file.seek(place - 8)
            parts.append(file.read(length + 12))
    return b"".join(parts)


def _pixels(image: ImageFile, path: Path, header: Header) -> NDArray[Any]:
    """Return pixels with 1 to 4 channels, palettes resolved."""
    if isinstance(image, JpegImageFile):
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright.convert("L" if image.mode == "L" else "RGB"))
    with logged("imagecodecs", logging.WARNING):
        pixels: NDArray[Any] = imagecodecs.png_decode(_content(path, header))
    return turned(pixels, "YXS", _orientation(image, path) or 1)


def check_png(header: Header, dtype: np.dtype[Any]) -> None:
    """Raise if a PNG cannot hold an image of these axes and this dtype."""
    if header.axes != "YX" and not (header.axes == "YXS" and header.shape[2] == 3):
        raise InputError(
            "a PNG holds one image of shape (Y, X) or (Y, X, 3 colours); the "
            f"result has the axes {header.axes} and the shape {header.shape}; write "
            "it to a .tif"
        )
    if dtype not in (np.uint8, np.uint16, np.bool_):
        raise InputError(
            f"a PNG holds values of 8 or 16 bits; the result is {dtype}; write it to "
            "a .tif, or use --dtype input where the command has that option and the "
            "input has 8 or 16 bits"
        )


def write_png(
    path: Path, data: NDArray[Any], header: Header, text: str | None
) -> list[str]:
    """Write a PNG of 8 or 16 bits, and return what it does not keep."""
    if data.dtype == np.bool_:
        data = data.astype(np.uint8) * 255
    metadata = PngInfo()
    if header.profile:
        profile = b"ICC profile\0\0" + zlib.compress(header.profile)
        metadata.add(b"iCCP", profile)
    if text:
        metadata.add_itxt(KEYWORD, text)
    content = imagecodecs.png_encode(np.ascontiguousarray(data))
    with open(path, "wb") as file:
        file.write(content[:_HEADER_END])
        for kind, chunk, *_ in metadata.chunks:
            putchunk(file, kind, chunk)
        file.write(content[_HEADER_END:])
    known = [header.step_text(i) for i, step in enumerate(header.scale) if step]
    scale = f"a PNG has no place for the scale of {', '.join(known)}"
    kept = [*channel_notes(header, "a PNG"), *label_notes(header, "a PNG")]
    return [*([scale] if known else []), *kept]
