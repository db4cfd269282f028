"""Locks that end with their process, however it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # A file system without locks: two processes are not told apart there.
            return True
        return True


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a lock, if nobody else does, and yield whether it is held.

    The file at the path is made for this, and removed afterwards.  When a process is
    killed the file stays, but the lock is gone.
    """
    handle = _open(path)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        # As long as it is locked nobody takes the file that is removed for a new one.
        # Windows removes no file that is open.
        if os.name == "posix":
            path.unlink(missing_ok=True)
        os.close(handle)
        if os.name != "posix":
            with contextlib.suppress(OSError):
                path.unlink()


def _open(path: Path) -> int | None:
    """Return the handle of a file that is locked, None where somebody else holds it."""
    while True:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        if not _lock(handle):
            os.close(handle)
            return None
        # Who held it before may have removed it in between.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)
