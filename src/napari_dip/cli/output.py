"""Output of the command line, and its exit codes."""

from __future__ import annotations

import sys
from typing import TextIO

NAME = "napari-dip"
FAILED, WRONG_ARGUMENTS, STOPPED = 1, 2, 130


def say(text: str) -> None:
    """Write one line to standard error."""
    _write(sys.stderr, f"{NAME}: {' '.join(text.split())}\n")


def put(text: str) -> None:
    """Write to standard output."""
    _write(sys.stdout, text + "\n")
    sys.stdout.flush()


def _write(stream: TextIO, text: str) -> None:
    """Write text, in escapes what the stream has no characters for."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
