"""Run the code of the tutorials, and keep the pictures that they write.

    python scripts/tutorials.py            # all that have a picture
    python scripts/tutorials.py restore    # those whose names hold a word

A page with a picture ``images/tutorials/NAME.png`` writes ``NAME.png``, or a command on
it writes ``curves.png``, which needs matplotlib.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"

PICTURES = DOCS / "images" / "tutorials"


def make(page: Path) -> None:
    """Run a page in the current folder, and keep its picture."""
    text = page.read_text("utf-8")
    names = {"__name__": "page"}
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S):
        exec(code, names)
    picture = Path(f"{page.stem}.png")
    if not picture.exists():
        (line,) = re.findall(r"^napari-dip (.* -o curves\.png)$", text, re.M)
        subprocess.run(
            [sys.executable, "-m", "napari_dip", *shlex.split(line)], check=True
        )
        picture = Path("curves.png")
    shutil.copy(picture, PICTURES / f"{page.stem}.png")


def main() -> None:
    """Run the tutorials that are asked for."""
    asked = sys.argv[1:]
    PICTURES.mkdir(exist_ok=True)
    for page in sorted((DOCS / "tutorials").glob("*.md")):
        if asked and not any(word in page.stem for word in asked):
            continue
        if f"images/tutorials/{page.stem}.png" not in page.read_text("utf-8"):
            continue
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            make(page)
            os.chdir(DOCS)
        print(f"{page.stem}.png: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
