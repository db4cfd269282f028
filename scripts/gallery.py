"""Make the pictures of the gallery: run the code of its page, and put pairs together.

    python scripts/gallery.py           # all of them, in about ten minutes
    python scripts/gallery.py enhance   # those whose titles hold a word

Every section of ``docs/gallery.md`` sets ``before`` and ``after``.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gallery.md"

PICTURES = PAGE.parent / "images" / "gallery"

GAP = 8
"""White pixels between two images."""

QUALITY = 90
"""Of the JPEG files."""

ENDS = (0.1, 99.9)
"""Percentiles that become black and white."""


def sections(text: str) -> list[tuple[str, str]]:
    """Return the title and the code of every section that has code."""
    parts = re.split(r"^#+ (.*)$", text, flags=re.M)[1:]
    blocks = [
        re.findall(r"^```python\n(.*?)^```$", p, re.M | re.S) for p in parts[1::2]
    ]
    return [
        (title, "".join(code)) for title, code in zip(parts[::2], blocks, strict=True)
    ]


def name_of(title: str) -> str:
    """Return the name of the picture of a section, without its ending."""
    return title.lower().replace(" ", "-")


def pair(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return two images side by side, 8-bit, each pixel of a coarse one as a square."""
    factor = after.shape[0] // before.shape[0]
    before = before.repeat(factor, 0).repeat(factor, 1)
    low, high = np.nanpercentile(after, ENDS)
    white = np.full((len(after), GAP, *after.shape[2:]), high)
    row = np.concatenate([before, white, after], axis=1)
    scaled = (row.astype(float) - low) / (high - low) * 255
    rounded = np.rint(np.nan_to_num(scaled).clip(0, 255))
    return np.asarray(rounded, np.uint8)


def main() -> None:
    """Run the sections that are asked for, and write their pictures."""
    asked = sys.argv[1:]
    PICTURES.mkdir(exist_ok=True)
    names: dict[str, Any] = {"__name__": "gallery"}
    (_, first), *others = sections(PAGE.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        exec(first, names)
        for title, code in others:
            if asked and not any(word in title.lower() for word in asked):
                continue
            start = time.perf_counter()
            exec(code, names)
            path = PICTURES / f"{name_of(title)}.jpg"
            image = Image.fromarray(pair(names["before"], names["after"]))
            image.save(path, quality=QUALITY)
            seconds = time.perf_counter() - start
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {seconds:.0f} s")
        os.chdir(PAGE.parent)


if __name__ == "__main__":
    main()
