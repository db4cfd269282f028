"""What can go wrong, as exceptions that say what to do about it.

None of them derives from ``RuntimeError``: napari's generator workers take a
RuntimeError for a deleted Qt object and swallow it.
"""

from __future__ import annotations

import traceback
from pathlib import Path


class DipError(Exception):
    """Base class of everything napari-dip raises on purpose."""


LONGEST = 400
"""Characters of a message that quotes something of several lines."""


class InputError(DipError, ValueError):
    """An argument is not acceptable: the message names it and what is.

    The message is one line, whatever it quotes.
    """

    def __init__(self, message: str) -> None:
        if len(message.splitlines()) > 1:
            message = " ".join(message.split())
            if len(message) > LONGEST:
                message = f"{message[:LONGEST]} ..."
        super().__init__(message)


class FileError(DipError):
    """A file cannot be read or written."""


class FitError(DipError):
    """A fit failed for a reason that the arguments do not show."""


class OutOfMemory(FitError):
    """The device has too little memory; the message says which, and what to do."""


class DeviceFailed(FitError):
    """The device, or its driver, has failed in the middle of a fit."""


def fault(error: Exception) -> str:
    """Return an error as one line; a fault of ours says where it happened."""
    if isinstance(error, DipError | MemoryError):
        return str(error) or "not enough memory"
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"{type(error).__name__}: {error} ({where})"
