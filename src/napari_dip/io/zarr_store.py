"""A local Zarr store from which nothing is read without an end."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Any

from napari_dip.errors import FileError
from napari_dip.io.atomic import ZARR
from napari_dip.io.zarr_chunks import Chunks

_METADATA = 2**26
"""Largest size in bytes of a file of metadata."""

_SLACK = 2**20
"""Bytes that a file of pixels may have beside them: noise grows by compression."""


def bounded_store(path: Path) -> Any:
    """Return a store of zarr that reads regular files only, and none that expands.

    Its attribute `chunks` is to hold what the chunks of each array may stand for, by
    the path of the array.
    """
    return _store_class()(path, read_only=True)


@cache
def _store_class() -> type:
    """Return the class of the store; zarr comes with an extra."""
    from zarr.storage import LocalStore

    class BoundedStore(LocalStore):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.chunks: dict[str, Chunks] = {}

        async def get(
            self, key: str, prototype: Any = None, byte_range: Any = None
        ) -> Any | None:
            path = self.root / key
            if path.exists() and not path.is_file() and not path.is_dir():
                raise FileError(f"{path} is no regular file")
            chunks = None if path.name in ZARR else _chunks(self.chunks, key)
            limit = _METADATA if chunks is None else 4 * chunks.stored + _SLACK
            size = path.stat().st_size if path.is_file() else 0
            if size > limit:
                raise FileError(f"{path} is larger than what it should hold")
            if chunks is not None and chunks.plain and size > chunks.stored:
                raise FileError(
                    f"{self.root.name} cannot be read: {key} stands for more than the "
                    f"{chunks.nbytes} bytes of a chunk"
                )
            return await super().get(key, prototype, byte_range)

    return BoundedStore


def _chunks(arrays: dict[str, Chunks], key: str) -> Chunks | None:
    """Return the chunks of the array that a file belongs to, if any."""
    folders = ["", *itertools.accumulate(key.split("/")[:-1], "{}/{}".format)]
    return next((arrays[f] for f in reversed(folders) if f in arrays), None)
