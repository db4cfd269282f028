"""How large compressed bytes become, asked before all of them are decompressed.

A few bytes can stand for gigabytes.  Decoders allocate what their input says.
"""

from __future__ import annotations

import bz2
import lzma
import zlib

_DEFLATE_RATIO = 1032
"""How many times larger than its input the output of deflate can be."""

_HARMLESS = 2**26
"""Bytes that may be allocated without a closer look."""


def expands_beyond(content: bytes, limit: int) -> bool:
    """Return whether compressed bytes stand for more than `limit` bytes.

    The compression is recognised by the bytes: gzip, zlib, bzip2, xz, Zstandard and
    Blosc.  At most `limit` bytes are decompressed.

    Parameters
    ----------
    content : bytes
        What a file holds, compressed or not.
    limit : int
        Bytes that are expected.
    """
    if content[:2] == b"\x1f\x8b" or content[:1] == b"\x78":
        if len(content) * _DEFLATE_RATIO <= max(limit, _HARMLESS):
            return False
        return _inflates(zlib.decompressobj(47), content, limit)
    if content[:3] == b"BZh":
        return _inflates(bz2.BZ2Decompressor(), content, limit)
    if content[:6] == b"\xfd7zXZ\0":
        return _inflates(lzma.LZMADecompressor(), content, limit)
    if content[:4] == b"\x28\xb5\x2f\xfd":
        return _zstd_size(content) > limit
    size, stored = (int.from_bytes(content[i : i + 4], "little") for i in (4, 12))
    if content[:1] in (b"\1", b"\2") and stored == len(content):  # Blosc
        return size > limit
    return False


def _inflates(decoder: object, content: bytes, limit: int) -> bool:
    try:
        return len(decoder.decompress(content, limit + 1)) > limit  # type: ignore[attr-defined]
    except (zlib.error, OSError, lzma.LZMAError):
        return False  # is no such stream, or a broken one


def _zstd_size(content: bytes) -> int:
    """Return the size that a frame of Zstandard declares, 0 if it declares none.

    See section 3.1.1.1 of RFC 8878.
    """
    descriptor = content[4] if len(content) > 4 else 0
    single = descriptor >> 5 & 1
    size_bytes = (single, 2, 4, 8)[descriptor >> 6]
    start = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    size = int.from_bytes(content[start : start + size_bytes], "little")
    return size + 256 if size_bytes == 2 else size
