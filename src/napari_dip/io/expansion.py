"""How large compressed bytes become, asked before all of them are decompressed.

A few bytes can stand for gigabytes.  Decoders allocate what their input says.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import imagecodecs

_DEFLATE_RATIO = 1032
"""How many times larger than its input the output of deflate can be."""

HARMLESS = 2**26
"""Bytes that may be allocated without a closer look."""

_PIECE = 2**20
"""Bytes that are decompressed at once to count them."""


def expands_beyond(
    content: bytes,
    codec: str,
    limit: int,
    options: Mapping[str, Any] | None = None,
    harmless: int = HARMLESS,
) -> bool:
    """Return whether compressed bytes stand for more than `limit` bytes.

    At most `limit` bytes are decompressed.  The decoders are those that numcodecs
    uses, so that what is broken for them is broken here; it does not expand.

    Parameters
    ----------
    content : bytes
        What is compressed.
    codec : str
        One of `CODECS`, as numcodecs and Zarr name them.
    limit : int
        Bytes that are expected.
    options : mapping, optional
        The configuration of the codec.
    harmless : int
        Bytes that may be allocated without a closer look.
    """
    largest = len(content) * _DEFLATE_RATIO
    if codec in ("gzip", "zlib") and largest <= max(limit, harmless):
        return False
    try:
        return CODECS[codec](content, limit, options or {})
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError, TypeError):
        return False


def _gzip(content: bytes, limit: int, _: Mapping[str, Any]) -> bool:
    total = 0
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        while total <= limit and (count := len(file.read(_PIECE))):
            total += count
    return total > limit


def _zlib(content: bytes, limit: int, _: Mapping[str, Any]) -> bool:
    total, decoder = 0, zlib.decompressobj()
    for start in range(0, len(content), _PIECE):
        rest = content[start : start + _PIECE]
        while rest and total <= limit:
            total += len(decoder.decompress(rest, _PIECE))
            rest = decoder.unconsumed_tail
        if decoder.eof:
            break  # what follows is not read
    return total > limit


def _bz2(content: bytes, limit: int, _: Mapping[str, Any]) -> bool:
    return _streams_beyond(bz2.BZ2Decompressor, content, limit)


def _lzma(content: bytes, limit: int, options: Mapping[str, Any]) -> bool:
    kind, filters = options.get("format", lzma.FORMAT_XZ), options.get("filters")
    new = partial(lzma.LZMADecompressor, kind, None, filters)
    return _streams_beyond(new, content, limit)


def _streams_beyond(new: Callable[[], Any], content: bytes, limit: int) -> bool:
    """Return whether streams that follow each other stand for too many bytes."""
    total, rest, decoder = 0, content, new()
    while total <= limit:
        total += len(decoder.decompress(rest, _PIECE))
        rest = b""
        if decoder.eof:
            rest, decoder = decoder.unused_data, new()
        if not rest and decoder.needs_input:
            break
    return total > limit


def _zstd(content: bytes, limit: int, _: Mapping[str, Any]) -> bool:
    size = _zstd_size(content)
    if size is not None:
        return size > limit
    try:
        imagecodecs.zstd_decode(content, out=limit)
    except imagecodecs.ZstdError as error:
        return "too small" in str(error)
    return False


def _zstd_size(content: bytes) -> int | None:
    """Return the size that all frames of Zstandard declare, None if not all do.

    See section 3.1 of RFC 8878.
    """
    total, place = 0, 0

    def number(count: int) -> int:
        nonlocal place
        place += count
        return int.from_bytes(content[place - count : place], "little")

    while place + 4 < len(content):
        magic = number(4)
        if magic >> 4 == 0x184D2A5:
            skipped = number(4)
            place += skipped
            continue
        if magic != 0xFD2FB528:
            return None
        descriptor = number(1)
        single = descriptor >> 5 & 1
        size_bytes = (single, 2, 4, 8)[descriptor >> 6]
        place += (1 - single) + (0, 1, 2, 4)[descriptor & 3]
        if not size_bytes:
            return None
        total += number(size_bytes) + (256 if size_bytes == 2 else 0)
        last = 0
        while not last and place < len(content):
            header = number(3)
            last, kind = header & 1, header >> 1 & 3
            place += 1 if kind == 1 else header >> 3  # one byte is repeated
        place += 4 * (descriptor >> 2 & 1)  # the checksum
    return total


def _blosc(content: bytes, limit: int, _: Mapping[str, Any]) -> bool:
    return int.from_bytes(content[4:8], "little") > limit


def _lz4(content: bytes, limit: int, _: Mapping[str, Any]) -> bool:
    return int.from_bytes(content[:4], "little") > limit


CODECS: dict[str, Callable[[bytes, int, Mapping[str, Any]], bool]] = {
    "blosc": _blosc,
    "bz2": _bz2,
    "gzip": _gzip,
    "lz4": _lz4,
    "lzma": _lzma,
    "zlib": _zlib,
    "zstd": _zstd,
}
"""For each compression whether bytes stand for more than a number of bytes."""
