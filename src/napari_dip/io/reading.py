"""Errors of decoders as messages for the user."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_dip.errors import FileError, InputError


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Turn an error while a file is read into one line that names the file.

    Decoders fail in many ways on broken files, so any exception is taken.

    Raises
    ------
    FileError
        In place of any exception but those of napari-dip.
    """
    try:
        yield
    except (FileError, InputError):
        raise
    except Exception as error:  # of a decoder, on a broken file
        raise FileError(f"{path.name} cannot be read: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return why a file cannot be read, in words, with what its decoder says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "there is too little memory"
    says = one_line(error) or type(error).__name__
    if isinstance(error, struct.error):
        return f"it ends too early, or a number in it is wrong ({says})"
    return f"it is damaged, or of another kind than its name says ({says})"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while a file is read into a `FileError`."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error


def one_line(error: Exception) -> str:
    """Return the message of an error without line breaks and pydantic's link."""
    text = " ".join(str(error).split())
    return text.partition(" For further information visit")[0]


@contextmanager
def logged(name: str, level: int) -> Iterator[list[str]]:
    """Collect what a library logs from a level on, instead of showing it."""
    logger, handler = logging.getLogger(name), _Messages(level)
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler.messages
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)


class _Messages(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(" ".join(record.getMessage().split()))
