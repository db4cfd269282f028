"""A local Zarr store from which nothing is read without an end.

It imports zarr, which comes with an extra, so it is imported when a store is met.
"""

from __future__ import annotations

from typing import Any

from zarr.storage import LocalStore

from napari_dip.errors import FileError
from napari_dip.io.expansion import expands_beyond

_METADATA = 2**26
"""Largest size in bytes of a file of metadata."""


class BoundedStore(LocalStore):
    """A store that reads regular files only, and none that expands beyond a limit.

    Attributes
    ----------
    limit : int
        Bytes to which a file may expand.
    """

    limit = _METADATA

    async def get(
        self, key: str, prototype: Any = None, byte_range: Any = None
    ) -> Any | None:
        """Return the content of a file, None if there is none."""
        path = self.root / key
        if path.exists() and not path.is_file() and not path.is_dir():
            raise FileError(f"{path} is no regular file")
        if path.is_file() and path.stat().st_size > max(2 * self.limit, _METADATA):
            raise FileError(f"{path} is larger than what it should hold")
        content = await super().get(key, prototype, byte_range)
        if content is not None and expands_beyond(content.to_bytes(), self.limit):
            raise FileError(
                f"{path} stands for more than the {self.limit} bytes that it should"
            )
        return content
