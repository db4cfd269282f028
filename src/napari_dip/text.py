"""Text for a terminal."""

from __future__ import annotations

from typing import Any


def printable(value: Any) -> str:
    """Return a value as text, in escapes what would control a terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in str(value)
    )
