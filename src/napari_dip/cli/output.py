"""Output of the command line, and its exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

from napari_dip.text import printable

NAME = "napari-dip"
FAILED, WRONG_ARGUMENTS, STOPPED = 1, 2, 130

UNREAD = 141
"""Exit code where nobody reads standard output any more: that of SIGPIPE in a shell."""


class Unread(Exception):
    """Standard output is a pipe that its reader has closed."""


def say(text: str) -> None:
    """Write one line to standard error, in escapes what would control a terminal.

    Nothing happens where nobody reads it: a fit is not to be lost for a warning.
    """
    with contextlib.suppress(Unread):
        _write(sys.stderr, f"{NAME}: {printable(' '.join(text.split()))}\n")


def put(*lines: str) -> None:
    """Write lines to standard output, in escapes what would control a terminal."""
    for line in lines:
        _write(sys.stdout, printable(line) + "\n")


def put_json(text: str) -> None:
    """Write JSON in ASCII to standard output, which escapes all but DEL by itself."""
    _write(sys.stdout, text.replace("\x7f", "\\u007f") + "\n")


def _write(stream: TextIO | None, text: str) -> None:
    """Write text, in escapes what the stream has no characters for.

    A process that was started without a stream has None.

    Raises
    ------
    Unread
        If the stream is a pipe that was closed.
    """
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        discard(stream)
        raise Unread from None


def discard(stream: TextIO) -> None:
    """Send what is written to a stream, and what it still holds, to nowhere.

    Python itself would try to write that at its end, and complain.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
