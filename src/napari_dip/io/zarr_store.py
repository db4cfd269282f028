"""A local Zarr store from which nothing is read without an end."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from napari_dip.errors import FileError
from napari_dip.io.expansion import expands_beyond

_METADATA = 2**26
"""Largest size in bytes of a file of metadata."""


def bounded_store(path: Path) -> Any:
    """Return a store of zarr that reads regular files only, and none that expands.

    Its attribute `limit` is the number of bytes to which a file may expand.
    """
    return _store_class()(path, read_only=True)


@cache
def _store_class() -> type:
    """Return the class of the store; zarr comes with an extra."""
    from zarr.storage import LocalStore

    class BoundedStore(LocalStore):
        limit = _METADATA

        async def get(
            self, key: str, prototype: Any = None, byte_range: Any = None
        ) -> Any | None:
            path = self.root / key
            if path.exists() and not path.is_file() and not path.is_dir():
                raise FileError(f"{path} is no regular file")
            largest = max(2 * self.limit, _METADATA)
            if path.is_file() and path.stat().st_size > largest:
                raise FileError(f"{path} is larger than what it should hold")
            content = await super().get(key, prototype, byte_range)
            if content is not None and expands_beyond(content.to_bytes(), self.limit):
                raise FileError(
                    f"{path} stands for more than the {self.limit} bytes that it should"
                )
            return content

    return BoundedStore
