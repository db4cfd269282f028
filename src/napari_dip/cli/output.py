"""Output of the command line, and its exit codes."""

from __future__ import annotations

import sys

NAME = "napari-dip"
FAILED, WRONG_ARGUMENTS, STOPPED = 1, 2, 130


def say(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"{NAME}: {' '.join(text.split())}\n")


def put(text: str) -> None:
    """Write to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
