"""How the chunks of a Zarr array are encoded, and how large they become.

Zarr comes with an extra, so it is imported when an array is met.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from napari_dip.errors import FileError
from napari_dip.io.expansion import BOUNDED, SIZED

_CHECKSUMS = {
    "adler32": "start",
    "crc32": "start",
    "crc32c": "end",
    "fletcher32": "end",
    "jenkins_lookup3": "end",
}
"""Codecs that add four bytes, and on which side unless they say so."""

_RETYPED = {
    "astype": ("decode_dtype", "encode_dtype"),
    "delta": ("dtype", "astype"),
    "fixedscaleoffset": ("dtype", "astype"),
    "quantize": ("dtype", "astype"),
}
"""Filters, and what they call the types of values before and after."""

_SAME_SIZE = ("bitround", "bytes", "shuffle", "transpose")

_COMPRESSED = (*SIZED, *BOUNDED)

_PACKED = "packbits"

_SHARDS = "sharding_indexed"

_MOST = 8
"""Most codecs of a chunk: each may make values many times larger."""

_ENTRY = 16
"""Bytes of an entry in the index of a shard: an offset and a length."""

Codec = tuple[str, Mapping[str, Any]]
"""The name of a codec and its configuration."""


def chunks_of(array: Any) -> Chunks:
    """Return what the chunks of an array of zarr may stand for."""
    metadata = array.metadata.to_dict()
    if "codecs" in metadata:
        listed = metadata["codecs"]
    else:
        listed = [*(metadata["filters"] or ()), metadata["compressor"]]
    shape = getattr(array, "shards", None) or array.chunks
    return Chunks(shape, np.dtype(array.dtype), _named(listed))


def _named(listed: Sequence[Any]) -> list[Codec]:
    """Return codecs as both versions of Zarr list them."""
    return [_name(codec) for codec in listed if codec is not None]


def _name(codec: Mapping[str, Any]) -> Codec:
    if "id" in codec:
        return codec["id"], codec
    return codec["name"].removeprefix("numcodecs."), codec.get("configuration", {})


def bounded(array: Any, chunks: Chunks) -> Any:
    """Return an array of zarr none of whose chunks is decompressed beyond its size.

    Compressions that say how large a chunk becomes stay as they are.
    """
    from zarr import Array, AsyncArray

    name, metadata = array.store.root.name, array.metadata
    if hasattr(metadata, "codecs"):
        codecs = _bounded_codecs(metadata.codecs, chunks, name)
        metadata = dataclasses.replace(metadata, codecs=codecs)
    else:
        listed = [*(metadata.filters or ()), metadata.compressor]
        *filters, compressor = (_bounded_codec2(c, chunks, name) for c in listed)
        metadata = dataclasses.replace(
            metadata, filters=filters or None, compressor=compressor
        )
    return Array(AsyncArray(metadata, array.store_path))


def _bounded_codec2(codec: Any, chunks: Chunks, name: str) -> Any:
    """Return a filter or compressor of version 2 that does not decompress too much."""
    named = None if codec is None else _name(codec.get_config())
    if named is None or named[0] not in BOUNDED:
        return codec
    return _decoders()[0](_decoder(named, chunks, name))


def _bounded_codecs(codecs: Sequence[Any], chunks: Chunks, name: str) -> list[Any]:
    """Return codecs of version 3 of Zarr of which none decompresses too much."""
    replaced = []
    for codec in codecs:
        named = _name(codec.to_dict())
        if named[0] in BOUNDED:
            codec = _decoders()[1](_decoder(named, chunks, name))
        elif named[0] == _SHARDS and chunks.inner is not None:
            inner = _bounded_codecs(codec.codecs, chunks.inner, name)
            codec = dataclasses.replace(codec, codecs=inner)
        replaced.append(codec)
    return replaced


def _decoder(codec: Codec, chunks: Chunks, name: str) -> Callable[[Any], bytes]:
    """Return what decompresses a chunk of a store, or raises if that is too large."""
    kind, options = codec

    def decode(content: Any) -> bytes:
        decoded = BOUNDED[kind](bytes(content), chunks.unpacked + 1, options)
        if len(decoded) > chunks.unpacked:
            raise FileError(
                f"{name} cannot be read: a chunk stands for more than the "
                f"{chunks.nbytes} bytes that it should"
            )
        return decoded

    return decode


@cache
def _decoders() -> tuple[type, type]:
    """Return the classes of codecs of versions 2 and 3 of Zarr that only decode."""
    from numcodecs.abc import Codec as Codec2
    from zarr.abc.codec import BytesBytesCodec

    class Decoder2(Codec2):  # type: ignore[misc]
        codec_id = "napari-dip"

        def __init__(self, decode: Callable[[Any], bytes]) -> None:
            self._decode = decode

        def encode(self, buf: Any) -> Any:
            raise NotImplementedError

        def decode(self, buf: Any, out: Any = None) -> bytes:
            return self._decode(buf)

    @dataclasses.dataclass(frozen=True)
    class Decoder3(BytesBytesCodec):
        call: Callable[[Any], bytes]
        is_fixed_size = False

        def compute_encoded_size(self, length: int, spec: Any) -> int:
            raise NotImplementedError

        async def _decode_single(self, content: Any, spec: Any) -> Any:
            decoded = await asyncio.to_thread(self.call, content.to_bytes())
            return spec.prototype.buffer.from_bytes(decoded)

    return Decoder2, Decoder3


class Chunks:
    """What the chunks of an array, or those in a shard, may stand for.

    Parameters
    ----------
    shape : sequence of int
        Shape of a chunk.
    dtype : numpy.dtype
        Type of its values.
    codecs : sequence of Codec
        What it went through before it was stored.

    Attributes
    ----------
    nbytes : int
        Bytes of a chunk, or of what its values become in between if that is more.
    stored : int
        Bytes of a chunk in its file if it was not compressed.
    compressed : bool
        Whether it was.
    unpacked : int
        Bytes that were compressed, 0 where nothing was.
    inner : Chunks or None
        What the chunks in it may stand for where it is a shard.

    Raises
    ------
    FileError
        If a codec is not known, so that its output could have any size.  The message
        goes on after "values that".
    """

    def __init__(
        self, shape: Sequence[int], dtype: np.dtype[Any], codecs: Sequence[Codec]
    ) -> None:
        if len(codecs) > _MOST:
            raise FileError(
                f"went through {len(codecs)} codecs; at most {_MOST} are undone"
            )
        self.nbytes = self.stored = math.prod(shape) * dtype.itemsize
        self.compressed = False
        self.unpacked = 0
        self.inner: Chunks | None = None
        # From the file inwards, with the bytes that each stands for.
        self._outer: list[tuple[str, Mapping[str, Any], int]] = []
        for kind, options in codecs:
            if self.compressed and kind not in _CHECKSUMS:
                then = (
                    "compressed again" if kind in _COMPRESSED else f"encoded by {kind}"
                )
                raise FileError(f"were compressed and then {then}")
            self._outer.insert(0, (kind, options, self.stored))
            if kind in _COMPRESSED:
                self.compressed, self.unpacked = True, self.stored
            elif kind in _CHECKSUMS:
                self.stored += 4
            elif kind == _SHARDS:
                self._hold(shape, dtype, options)
            else:
                self._outer.clear()
                dtype = self._filter(kind, options, dtype)

    def _filter(
        self, kind: str, options: Mapping[str, Any], dtype: np.dtype[Any]
    ) -> np.dtype[Any]:
        """Take a filter into account, and return the type of its output."""
        if kind in _RETYPED:
            before, after = (options.get(name) for name in _RETYPED[kind])
            dtype = np.dtype(before or dtype)
            new = np.dtype(after or dtype)
            if new.kind not in "buif" or dtype.kind not in "buif":
                raise FileError(f"are no numbers before or after {kind}")
            self.stored = self.stored // dtype.itemsize * new.itemsize
            self.nbytes = max(self.nbytes, self.stored)
            return new
        if kind == _PACKED:
            self.stored = 1 + -(-self.stored // 8)
            return np.dtype(np.uint8)
        if kind not in _SAME_SIZE:
            known = [
                *_COMPRESSED,
                *_CHECKSUMS,
                *_SAME_SIZE,
                *_RETYPED,
                _PACKED,
                _SHARDS,
            ]
            accepted = ", ".join(sorted(known))
            raise FileError(f"were encoded by {kind}; accepted are {accepted}")
        return dtype

    def _hold(
        self, shape: Sequence[int], dtype: np.dtype[Any], options: Mapping[str, Any]
    ) -> None:
        """Take into account that a chunk is a shard, which holds chunks itself."""
        sides = options["chunk_shape"]
        self.inner = Chunks(sides, dtype, _named(options["codecs"]))
        self.compressed = self.inner.compressed
        (_, order), *checksum = _named(options["index_codecs"])
        if [kind for kind, _ in checksum] not in ([], ["crc32c"]):
            raise FileError("are in shards whose index was compressed")
        big = "big" in str(order.get("endian")).lower()
        self._entry = np.dtype(np.uint64).newbyteorder(">" if big else "<")
        self._count = math.prod(n // m for n, m in zip(shape, sides, strict=True))
        self._index_first = "start" in str(options.get("index_location")).lower()
        self._index_bytes = _ENTRY * self._count + 4 * len(checksum)
        self.stored = self._count * self.inner.stored + self._index_bytes

    def expand(self, content: bytes) -> bool:
        """Return whether the content of a file stands for more than it should.

        What does not say its size is looked at when it is decompressed.
        """
        for kind, options, size in self._outer:
            if kind in BOUNDED:
                return False
            if kind in SIZED:
                return SIZED[kind](content, size)
            if self.inner is not None and kind == _SHARDS:
                return any(map(self.inner.expand, self._pieces(content)))
            start = options.get("location", _CHECKSUMS[kind]) == "start"
            content = content[4:] if start else content[:-4]
        return len(content) > self.stored

    def part_expands(self, content: bytes, wanted: Any) -> bool:
        """Return whether a part of a file stands for more than it should.

        Parameters
        ----------
        content : bytes
            The part.
        wanted : zarr.abc.store.ByteRequest
            Where it is.  Of a shard the index and single chunks are read.
        """
        if self.inner is None:
            return self.expand(content)
        first: bool = getattr(wanted, "start", None) == 0
        is_index = first if self._index_first else hasattr(wanted, "suffix")
        if is_index:
            return False
        return self.inner.expand(content)

    def _pieces(self, content: bytes) -> Iterator[bytes]:
        """Yield the chunks in a shard, by its index."""
        index = content[: self._index_bytes]
        if not self._index_first:
            index = content[-self._index_bytes :]
        if len(index) < self._index_bytes:
            return  # broken, as zarr says
        entries = np.frombuffer(index, self._entry, 2 * self._count).reshape(-1, 2)
        for start, end in zip(entries[:, 0], entries.sum(axis=1), strict=True):
            yield content[int(start) : int(end)]
