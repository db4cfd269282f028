"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_dip.errors import FileError, InputError


@contextmanager
def replacing(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary name to write to, which becomes `path` at the end.

    The temporary file lies in the same folder, since only there can it be renamed
    in one piece.  Whatever goes wrong, Ctrl-C included, it is removed, and a file
    that was at `path` before is untouched.

    Parameters
    ----------
    path : Path
        The file to make.
    overwrite : bool
        Whether it may replace another.
    """
    refuse_existing(path, overwrite)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        # By hand rather than with tempfile, whose files only their owner may read.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _sync(temporary)
        refuse_existing(path, overwrite)
        os.replace(temporary, path)
        if os.name == "posix":
            _sync(path.parent, os.O_RDONLY)
    except OSError as error:
        raise FileError(
            f"{path.name} cannot be written: {error.strerror or error}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise if `path` is there and may not be replaced."""
    if path.is_dir():
        raise InputError(f"output must be a file; got the folder {path}")
    if not overwrite and os.path.lexists(path):
        raise InputError(f"{path} exists; allow its replacement (--overwrite)")


def _sync(path: Path, flags: int = os.O_RDWR) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
