"""Files that are written as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_dip.errors import FileError, InputError
from napari_dip.io import locks

_ENDS = (".lock", ".part", ".old")
"""Endings of temporary names: held while it is written, the new, and the previous."""

ZARR = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
"""Files of the metadata of Zarr, version 2 and 3."""


@contextmanager
def replacing(
    path: Path, *, overwrite: bool = False, folder: bool = False
) -> Iterator[Path]:
    """Yield a temporary name to write to, which becomes `path` at the end.

    Where `path` is a link, the file or folder that it names is made, or replaced, and
    the link stays.  What is temporary is in the folder of that, since only within a
    file system is renaming atomic.  After any error, Ctrl-C included, it is removed,
    and what was there before is unchanged.  Several processes may write to one path:
    the last one to end is what stays, where it may overwrite.

    While a folder replaces another there is nothing at `path` for a moment between two
    renamings, since a folder that is not empty cannot be replaced; what was there is
    put back when the second renaming fails.
    """
    refuse_existing(path, overwrite, folder=folder)
    output, path = path, without_links(path)
    name = f"{_stem(path)}.{secrets.token_hex(4)}"
    lock, temporary, previous = (path.with_name(name + end) for end in _ENDS)
    try:
        with locks.held(lock):
            try:
                if not folder:
                    # A file that tempfile makes can be read by its owner only.
                    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
                    os.close(os.open(temporary, flags, 0o666))
                yield temporary
                for part in (temporary, *temporary.rglob("*")):
                    if part.is_file():
                        _sync(part)
                _put(temporary, path, previous if folder else None, overwrite)
                if os.name == "posix":
                    # Some file systems of a network cannot, and the file is there.
                    with contextlib.suppress(OSError):
                        _sync(path.parent, os.O_RDONLY)
                _remove(previous)
            finally:
                _give_up(temporary)
    except OSError as error:
        raise FileError(f"{output.name} cannot be written: {_reason(error)}") from error


def _put(temporary: Path, path: Path, previous: Path | None, overwrite: bool) -> None:
    """Give what is written its name; a folder there is first renamed to `previous`."""
    while True:
        refuse_existing(path, overwrite, folder=previous is not None)
        if previous is None:
            os.replace(temporary, path)
            return
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, previous)
        try:
            os.replace(temporary, path)
        except OSError:
            if path.exists():  # another process was faster: replace that, too
                _remove(previous)
                continue
            if previous.exists():
                os.replace(previous, path)
            raise
        return


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    # NumPy's error for a file that took a part only has no number.
    if error.errno is None and re.search(r"\d+ requested and \d+ written", text):
        text = os.strerror(errno.ENOSPC)
    text = re.sub(r".*I/O error: (.*) \(os error \d+\)", r"\1", text)  # of safetensors
    if text == os.strerror(errno.EFBIG):
        text += " for this file system or for a limit, such as that of ulimit -f"
    return text


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _give_up(temporary: Path) -> None:
    """Remove what was not written to its end, if it is there."""
    for _ in range(20):
        folder = temporary.is_dir()
        _remove(temporary)
        if not folder:
            return
        # Where a chunk of a Zarr store has failed, other threads still write theirs.
        time.sleep(0.1)


@contextmanager
def claimed(paths: Iterable[Path]) -> Iterator[None]:
    """Keep other runs from some files, after `clear`, and make their folders.

    Raises
    ------
    FileError
        If another run has claimed or is writing one of them.
    """
    targets = [without_links(path) for path in paths]
    clear(targets)
    with contextlib.ExitStack() as stack:
        for path in targets:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.with_name(f"{_stem(path)}.run{_ENDS[0]}")
            _refuse(stack.enter_context(locks.held(lock)), path)
        yield


def clear(paths: Iterable[Path]) -> None:
    """Remove what writings of some files have left behind whose process was killed.

    A Zarr store that was to be replaced, and has not been, is put back.

    Raises
    ------
    FileError
        If one of them is being written.
    """
    hidden = {path.with_name(_stem(path)): path for path in map(without_links, paths)}
    for folder in {path.parent for path in hidden}:
        names = {p.with_suffix("") for p in folder.glob(".*.*") if p.suffix in _ENDS}
        for name in names:
            path = hidden.get(name.with_suffix(""))
            if path is None:
                continue
            try:
                _clear(name, path)
            except OSError as error:
                reason = _reason(error)
                raise FileError(f"{name.name} cannot be removed: {reason}") from error


def _clear(name: Path, path: Path) -> None:
    """Remove the temporary files of one writing of `path`."""
    lock, part, previous = (name.with_name(name.name + end) for end in _ENDS)
    with locks.held(lock) as free:
        _refuse(free, path)
        if previous.exists() and not os.path.lexists(path):
            os.replace(previous, path)
        _remove(previous)
        _remove(part)


def _refuse(free: bool, path: Path) -> None:
    if not free:
        raise FileError(
            f"{path} is being written by another run; wait for its end, or give "
            "another output"
        )


def _stem(path: Path) -> str:
    """Return the beginning of the temporary names of a file, which is its own."""
    name = path.name
    if len(name) > 40:
        name = f"{name[:31]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
    return f".{name}"


def refuse_inside_store(path: Path) -> None:
    """Raise if `path` lies in a Zarr store, which it would make invalid."""
    for folder in without_links(path).parents:
        if is_zarr(folder):
            raise InputError(
                f"output must not lie inside of a Zarr store; got {path} in {folder}"
            )


def without_links(path: Path) -> Path:
    """Return where a path leads; that of `Path` raises for links in a circle."""
    return Path(os.path.realpath(path))


def refuse_existing(
    path: Path, overwrite: bool, *, folder: bool = False, name: str = "output"
) -> None:
    """Raise if `path` is there and may not be replaced, or is of another kind.

    With `folder` the output is the folder of a Zarr store, which may replace nothing
    but another store; an empty folder is as good as none.  Messages call it the `name`.
    """
    if folder and _is_empty(path):
        return
    if not folder and path.is_dir():
        raise InputError(f"{name} must be a file; got the folder {path}")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{name} must be a regular file; got {path}")
    if path.is_symlink() and not without_links(path).parent.is_dir():
        raise InputError(
            f"{name} must lie in a folder; got {path}, a link into one that does not "
            "exist"
        )
    if folder and path.exists() and not is_zarr(path):
        raise InputError(
            f"{name} must be a new folder or a Zarr store; got {path}, which is none"
        )
    if not overwrite and os.path.lexists(path):
        raise InputError(f"{path} exists; allow its replacement (--overwrite)")


def _is_empty(path: Path) -> bool:
    """Return whether `path` is a folder with nothing in it, and no link to one."""
    try:
        return path.is_dir() and not path.is_symlink() and not any(path.iterdir())
    except OSError:
        return False  # nobody can say


def is_zarr(path: Path) -> bool:
    """Return whether `path` is a folder with the metadata of Zarr, version 2 or 3."""
    return path.is_dir() and any((path / name).is_file() for name in ZARR)


def _sync(path: Path, flags: int = os.O_RDWR) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
