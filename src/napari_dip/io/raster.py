"""PNG in and out, JPEG in."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from napari_dip.errors import FileError, InputError
from napari_dip.io import limits, provenance
from napari_dip.io.image import Header, Image, JpegTables

FORMATS = ("PNG", "JPEG")
"""All that Pillow may open: its other decoders are not asked to be safe."""

KEYWORD = "napari-dip"
"""Of the text chunk that holds the provenance."""

_ORIENTATION = 0x0112

_SUBSAMPLING = {0: (1, 1), 1: (2, 1), 2: (2, 2)}
"""Pillow's numbers for pixels along x and y to one value of colour."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Modes of Pillow to what is read, channels and depth; others are converted.
_MODES = {
    "L": ("L", 1, 8),
    "LA": ("LA", 2, 8),
    "RGB": ("RGB", 3, 8),
    "RGBA": ("RGBA", 4, 8),
    "1": ("L", 1, 8),
    "CMYK": ("RGB", 3, 8),
    "YCbCr": ("RGB", 3, 8),
    "I;16": ("I;16", 1, 16),
    "I;16B": ("I;16", 1, 16),
    "I": ("I", 1, 16),
}

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Channels to the colour type of the PNG specification."""


def read_header(path: Path) -> Header:
    """Read what a PNG or JPEG says about its image."""
    with _opened(path) as image:
        return _header(image, path)


def read(path: Path) -> Image:
    """Read a PNG or JPEG."""
    with _opened(path) as image:
        header = _header(image, path)
        limits.check_size(header, path.name)
        data = _pixels(image, path)
    alpha = None
    if data.ndim == 3 and data.shape[2] in (2, 4):
        alpha = data[..., -1]
        if (alpha == np.iinfo(alpha.dtype).max).all():
            alpha = None
        data = data[..., 0] if data.shape[2] == 2 else data[..., :3]
    return Image(np.ascontiguousarray(data), header, alpha)


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile]:
    try:
        with warnings.catch_warnings():
            # Sizes are checked against the memory there is.
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            with Pillow.open(path, formats=FORMATS) as image:
                yield image
    except (FileError, InputError):
        raise
    except Exception as error:
        # Decoders fail in many ways on broken files.
        told = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            told = f"it is not a {' or '.join(FORMATS)} file"
        raise FileError(f"{path.name} cannot be read: {told}") from error


def _header(image: ImageFile, path: Path) -> Header:
    mode, channels, depth = _target(image, path)
    width, height = image.size
    if _orientation(image) in (5, 6, 7, 8):
        width, height = height, width
    colour = channels > 2
    made = provenance.loads(image.info.get(KEYWORD))
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"{path.name} holds {frames} images; the first was read")
    return Header(
        format="JPEG" if isinstance(image, JpegImageFile) else str(image.format),
        shape=(height, width, 3) if colour else (height, width),
        dtype=np.dtype(np.uint16 if depth == 16 else np.uint8),
        axes="YXS" if colour else "YX",
        provenance=made,
        # The profile of a converted image does not fit the result.
        profile=image.info.get("icc_profile") if mode == image.mode else None,
        notes=tuple(notes),
        jpeg=jpeg_tables(image),
    )


def jpeg_tables(image: Pillow.Image) -> JpegTables | None:
    """Return how coarsely an opened JPEG was rounded.

    Parameters
    ----------
    image : PIL.Image.Image
        As `PIL.Image.open` returns it.

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
        return JpegTables((tables[table_of[0]],), (1, 1))
    subsampling = _SUBSAMPLING.get(get_sampling(image))
    if subsampling is None or image.mode != "RGB" or _components_are_rgb(image):
        return None
    if tables[table_of[1]] != tables[table_of[2]]:
        return None
    return JpegTables(tuple(tables[table] for table in table_of[:2]), subsampling)


def _components_are_rgb(image: JpegImageFile) -> bool:
    """Whether R, G and B were rounded, by the rules of the JPEG library."""
    if "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 0)
    return bytes(name for name, _, _, _ in image.layer) == b"RGB"


def _target(image: ImageFile, path: Path) -> tuple[str, int, int]:
    """Return the mode to convert to, its channels and its bits."""
    if image.mode == "P":
        transparent = "transparency" in image.info
        return ("RGBA", 4, 8) if transparent else ("RGB", 3, 8)
    found = _MODES.get(image.mode)
    if found is None:
        raise FileError(f"{path.name} has pixels of the kind {image.mode}, not known")
    if found[2] == 8 and _deep(image):
        return found[0], found[1], 16
    return found


def _orientation(image: Pillow.Image) -> int | None:
    """Return how a JPEG says it is to be turned; asking a PNG would read its pixels."""
    if not isinstance(image, JpegImageFile):
        return None
    found: int | None = image.getexif().get(_ORIENTATION)
    return found


def _deep(image: ImageFile) -> bool:
    """Whether the file has 16 bits per colour, of which Pillow keeps the upper 8."""
    tiles = image.tile
    return bool(tiles) and ";16B" in str(tiles[0][3])


def _pixels(image: ImageFile, path: Path) -> NDArray[Any]:
    mode, _, depth = _target(image, path)
    if _deep(image) and image.mode in ("RGB", "RGBA"):
        return _deep_pixels(image, path)
    if _deep(image) and image.mode == "LA":
        raise FileError(
            f"{path.name} is a 16-bit gray PNG with opacity, which is not read; "
            "save it without opacity or as TIFF"
        )
    upright: Pillow.Image = image
    if _orientation(image) is not None:
        upright = ImageOps.exif_transpose(image)
    if upright.mode != mode:
        upright = upright.convert(mode)
    data = np.asarray(upright)
    return data.astype(np.uint16 if depth == 16 else np.uint8, copy=False)


def _deep_pixels(image: ImageFile, path: Path) -> NDArray[Any]:
    """Read 16-bit colours.

    Pillow has no mode for them and keeps one byte of two.  Told that the bytes are
    in the other order, it keeps the other one.
    """
    with Pillow.open(path, formats=FORMATS) as again:
        codec, extent, offset, _ = again.tile[0]
        swapped = again.tile[0].__class__
        raw = f"{image.mode};16L"
        values = (codec, extent, offset, raw)
        again.tile = [
            swapped(*values) if hasattr(swapped, "_fields") else values  # type: ignore[list-item]
        ]
        low = np.asarray(again).astype(np.uint16)
    high = np.asarray(image).astype(np.uint16)
    return high << 8 | low


def check_png(header: Header, dtype: np.dtype[Any]) -> None:
    """Raise if a PNG cannot hold an image of these axes and this dtype."""
    if header.axes != "YX" and not (header.axes == "YXS" and header.shape[2] in (3, 4)):
        raise InputError(
            "a PNG holds one image of shape (Y, X) or (Y, X, 3 or 4 colours); the "
            f"result has the axes {header.axes} and the shape {header.shape}; write "
            "it to a .tif"
        )
    if dtype not in (np.uint8, np.uint16, np.bool_):
        raise InputError(
            f"a PNG holds values of 8 or 16 bits; the result is {dtype}; write it to "
            "a .tif, or ask for the input's type (--dtype input) where that is uint8 "
            "or uint16"
        )


def write_png(
    path: Path,
    data: NDArray[Any],
    header: Header,
    alpha: NDArray[Any] | None,
    text: str | None,
) -> None:
    """Write a PNG of 8 or 16 bits, colours included, which Pillow cannot."""
    if data.dtype == np.bool_:
        data = data.astype(np.uint8) * 255
    data = data.reshape(*data.shape[:2], -1)
    if alpha is not None:
        # On finer pixels each repeats the opacity of the one it lies in.
        for axis, (new, old) in enumerate(
            zip(data.shape[:2], alpha.shape, strict=True)
        ):
            alpha = alpha.repeat(max(new // old, 1), axis=axis)
        if alpha.shape == data.shape[:2]:
            data = np.dstack([data, alpha])
    height, width, channels = data.shape
    bits = 8 * data.dtype.itemsize
    head = struct.pack(
        ">IIBBBBB", width, height, bits, _COLOUR_TYPES[channels], 0, 0, 0
    )
    rows = data.astype(data.dtype.newbyteorder(">")).view(np.uint8)
    rows = rows.reshape(height, -1)
    # Filter 2 of the specification, the difference to the row above.
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)
    filtered[:, 1:] = rows
    filtered[1:, 1:] -= rows[:-1]
    with open(path, "wb") as file:
        file.write(_SIGNATURE + _chunk(b"IHDR", head))
        if header.profile:
            profile = b"ICC profile\0\0" + zlib.compress(header.profile)
            file.write(_chunk(b"iCCP", profile))
        if text:
            words = text.encode()
            file.write(_chunk(b"iTXt", KEYWORD.encode() + b"\0" * 5 + words))
        file.write(_chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6)))
        file.write(_chunk(b"IEND", b""))


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
