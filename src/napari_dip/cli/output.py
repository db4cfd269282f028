"""Output of the command line, and its exit codes."""

from __future__ import annotations

import sys
from typing import TextIO

from napari_dip.text import printable

NAME = "napari-dip"
FAILED, WRONG_ARGUMENTS, STOPPED = 1, 2, 130


def say(text: str) -> None:
    """Write one line to standard error, in escapes what would control a terminal."""
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
    """
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
