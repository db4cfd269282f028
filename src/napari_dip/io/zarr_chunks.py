"""How the chunks of a Zarr array are encoded, and how large they become.

Zarr comes with an extra, so it is imported when an array is met.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from napari_dip.errors import FileError
from napari_dip.io.expansion import BOUNDED, SIZED

_CHECKSUMS = ("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3")
"""Codecs that add four bytes."""

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
    return [_name(codec) for codec in listed if codec is not None]


def _name(codec: Mapping[str, Any]) -> Codec:
    if "id" in codec:
        return codec["id"], codec
    return codec["name"].removeprefix("numcodecs."), codec.get("configuration", {})


def bounded(array: Any, chunks: Chunks) -> Any:
    """Return an array of zarr none of whose chunks is decompressed beyond its size."""
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
    named = None if codec is None else _name(codec.get_config())
    if named is None or named[0] not in _COMPRESSED:
        return codec
    return _decoders()[0](codec, partial(_decoded, named, chunks, name))


def _bounded_codecs(codecs: Sequence[Any], chunks: Chunks, name: str) -> list[Any]:
    replaced = []
    for codec in codecs:
        named = _name(codec.to_dict())
        if named[0] in _COMPRESSED:
            codec = _decoders()[1](codec, partial(_decoded, named, chunks, name))
        elif named[0] == _SHARDS and chunks.inner is not None:
            inner = _bounded_codecs(codec.codecs, chunks.inner, name)
            codec = dataclasses.replace(codec, codecs=inner)
        replaced.append(codec)
    return replaced


def _decoded(codec: Codec, chunks: Chunks, name: str, content: bytes) -> bytes | None:
    """Return what a compressed chunk of a store stands for, or raise if it is too much.

    None where the bytes say their size: then they are for the codec itself.
    """
    (kind, options), decoded = codec, None
    if kind in SIZED:
        expands = SIZED[kind](content, chunks.unpacked)
    else:
        decoded = BOUNDED[kind](content, chunks.unpacked + 1, options)
        expands = len(decoded) > chunks.unpacked
    if expands:
        raise FileError(
            f"{name} cannot be read: a chunk stands for more than the {chunks.nbytes} "
            f"bytes that it should"
        )
    return decoded


Decoded = Callable[[bytes], bytes | None]


@cache
def _decoders() -> tuple[type, type]:
    """Return the classes of codecs of versions 2 and 3 of Zarr that decode so."""
    from numcodecs.abc import Codec as Codec2
    from zarr.abc.codec import BytesBytesCodec

    class Decoder2(Codec2):  # type: ignore[misc]
        codec_id = "napari-dip"

        def __init__(self, codec: Any, decoded: Decoded) -> None:
            self._codec, self._decoded = codec, decoded

        def encode(self, buf: Any) -> Any:
            return self._codec.encode(buf)

        def decode(self, buf: Any, out: Any = None) -> Any:
            decoded = self._decoded(bytes(buf))
            return self._codec.decode(buf, out) if decoded is None else decoded

    @dataclasses.dataclass(frozen=True)
    class Decoder3(BytesBytesCodec):
        codec: Any
        decoded: Decoded
        is_fixed_size = False

        def compute_encoded_size(self, length: int, spec: Any) -> Any:
            return self.codec.compute_encoded_size(length, spec)

        async def _decode_single(self, content: Any, spec: Any) -> Any:
            decoded = await asyncio.to_thread(self.decoded, content.to_bytes())
            if decoded is None:
                return await self.codec._decode_single(content, spec)
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
        self.nbytes = math.prod(shape) * dtype.itemsize
        """Bytes of a chunk, or of what its values become in between if that is more."""
        self.stored = self.nbytes
        """Bytes of a chunk in its file if it was not compressed."""
        self.compressed = False
        """Whether it was."""
        self.unpacked = 0
        """Bytes that were compressed, 0 where nothing was."""
        self.inner: Chunks | None = None
        """What the chunks in it may stand for where it is a shard."""
        for kind, options in codecs:
            if self.compressed and kind not in _CHECKSUMS:
                again = kind in _COMPRESSED
                step = "compressed again" if again else f"encoded by {kind}"
                raise FileError(f"were compressed and then {step}")
            if kind in _COMPRESSED:
                self.compressed, self.unpacked = True, self.stored
            elif kind in _CHECKSUMS:
                self.stored += 4
            elif kind == _SHARDS:
                self._hold(shape, dtype, options)
            else:
                dtype = self._filter(kind, options, dtype)

    @property
    def plain(self) -> bool:
        """Whether a chunk is a file as it is."""
        return not self.compressed and self.inner is None

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
            known = {*_COMPRESSED, *_CHECKSUMS, *_SAME_SIZE, *_RETYPED}
            accepted = ", ".join(sorted(known | {_PACKED, _SHARDS}))
            raise FileError(f"were encoded by {kind}; accepted are {accepted}")
        return dtype

    def _hold(
        self, shape: Sequence[int], dtype: np.dtype[Any], options: Mapping[str, Any]
    ) -> None:
        """Take into account that a chunk is a shard, which holds chunks itself."""
        sides = options["chunk_shape"]
        self.inner = Chunks(sides, dtype, _named(options["codecs"]))
        self.compressed = self.inner.compressed
        encoding, *checksum = [kind for kind, _ in _named(options["index_codecs"])]
        if encoding != "bytes" or checksum not in ([], ["crc32c"]):
            raise FileError("are in shards whose index was compressed")
        count = math.prod(n // m for n, m in zip(shape, sides, strict=True))
        self.stored = count * (self.inner.stored + _ENTRY) + 4 * len(checksum)
