"""Write the tables of the documentation from the results; nothing is typed there.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->``, NAME being that
of a results file.
"""

from __future__ import annotations

import argparse
import json
import re
from importlib import import_module
from typing import Any

from benchmarks import common
from benchmarks.denoise import summary

PAGES = [common.ROOT / "docs" / f"{name}.md" for name in ("benchmarks", "uncertainty")]
PATTERN = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="fail if out of date")


def run(arguments: argparse.Namespace) -> None:
    for page in PAGES:
        before = page.read_text("utf-8")
        after = PATTERN.sub(lambda m: m[1] + _table(m[2]) + "\n" + m[3], before)
        if arguments.check and after != before:
            raise SystemExit(f"docs/{page.name} is not what the results say")
        page.write_text(after, "utf-8")


def _table(name: str) -> str:
    results = json.loads((common.RESULTS / f"{name}.json").read_text())
    machine, rows = results["machine"], results["rows"]
    place = machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores"
    head = f"Measured on {place}, torch {machine['torch']}, {machine['date']}."
    if name.startswith("denoise-"):
        parts = [summary(rows)]
        if len({r["image"] for r in rows}) <= 12:
            parts.append(_by_image(rows))
    else:
        module = import_module(f"benchmarks.{name.partition('-')[0]}")
        # A benchmark of few rows needs no summary of its own.
        if hasattr(module, "summary"):
            parts = [module.summary(rows)]
        else:
            parts = [common.table(rows, list(rows[0]))]
    return "\n\n".join([head, *parts])


def _by_image(rows: list[dict[str, Any]]) -> str:
    """PSNR of every image, mean over seeds."""
    methods = list(dict.fromkeys(r["method"] for r in rows))
    lines = []
    for noise in sorted({r["noise"] for r in rows}):
        for image in dict.fromkeys(r["image"] for r in rows):
            line: dict[str, Any] = {"image": image, "noise": noise}
            for method in methods:
                found = [
                    r["psnr"]
                    for r in rows
                    if (r["image"], r["noise"], r["method"]) == (image, noise, method)
                    and "psnr" in r
                ]
                line[method] = sum(found) / len(found) if found else None
            lines.append(line)
    return common.table(lines, ["image", "noise", *methods])
