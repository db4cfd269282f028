"""Compressed bytes that are not decompressed beyond the size that they should have.

A few bytes can stand for gigabytes.  Decoders allocate what their input says.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import imagecodecs


def _gzip(content: bytes, most: int, _: Mapping[str, Any]) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(most)


def _zlib(content: bytes, most: int, _: Mapping[str, Any]) -> bytes:
    decoder = zlib.decompressobj()
    decoded = decoder.decompress(content, most)
    if len(decoded) < most and not decoder.eof:
        raise EOFError("compressed bytes end before their end is marked")
    return decoded


def _bz2(content: bytes, most: int, _: Mapping[str, Any]) -> bytes:
    with bz2.BZ2File(io.BytesIO(content)) as file:
        return file.read(most)


def _lzma(content: bytes, most: int, options: Mapping[str, Any]) -> bytes:
    kind = options.get("format", lzma.FORMAT_XZ)
    filters = options.get("filters")
    with lzma.LZMAFile(io.BytesIO(content), format=kind, filters=filters) as file:
        return file.read(most)


def _zstd(content: bytes, limit: int) -> bool:
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


SIZED: dict[str, Callable[[bytes, int], bool]] = {
    "blosc": lambda content, limit: int.from_bytes(content[4:8], "little") > limit,
    "lz4": lambda content, limit: int.from_bytes(content[:4], "little") > limit,
    "zstd": _zstd,
}
"""For compressions that say how large they become, as numcodecs and Zarr name them,
whether compressed bytes stand for more than a number of bytes.  At most so many are
decompressed.  What is broken does not expand."""

BOUNDED: dict[str, Callable[[bytes, int, Mapping[str, Any]], bytes]] = {
    "bz2": _bz2,
    "gzip": _gzip,
    "lzma": _lzma,
    "zlib": _zlib,
}
"""For compressions that do not say it, what returns the first bytes of what compressed
bytes stand for, up to a number.  It also takes the configuration of the codec.  The
decoders are those that numcodecs uses: what is broken for them is broken here."""
