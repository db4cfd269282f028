"""Quality and time of `napari-dip batch --share` against single fits.

The files are parts of one image, of 256 x 256 pixels each: of microscope images with
their own noise, and of a gray photograph with Gaussian noise of 25, clipped to 0 to
255.  The same command restores them with ``--share`` and with ``--no-share``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cases, common
from napari_dip.batch.manifest import NAME
from napari_dip.cli import main
from napari_dip.io import files

SIDE = 256
DATA = ["BPAE_G", "mice", "kodim03"]
COLUMNS = [
    "data",
    "files",
    "by shared networks",
    "noisy dB",
    "single dB",
    "shared dB",
    "gain dB",
    "least gain dB",
    "single CPU s",
    "shared CPU s",
]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="share-cpu")


def run(arguments: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    for data in arguments.data:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_measure(data, Path(folder), arguments))
        print(common.table(rows[-1:], COLUMNS), flush=True)
        common.save(arguments.name, {"rows": rows})


def summary(rows: list[dict[str, Any]]) -> str:
    return common.table(rows, COLUMNS)


def whole(data: str) -> cases.Case:
    """Return a microscope image or a photograph."""
    for case in cases.pairs("fmd", None):
        if case.name == data:
            return case
    path = common.DATA / "set9" / f"{data}.png"
    truth = common.luma(cases.read(path)).astype(np.float32)
    noisy, sigma = cases.damaged(truth, "gaussian-25", data)
    return cases.Case("set9", data, "gaussian-25", noisy, truth, 255, sigma)


def parts(case: cases.Case) -> Iterator[cases.Case]:
    """Yield the parts of an image; what is left over at its sides is in none."""
    rows, columns = (n // SIDE for n in case.truth.shape)
    for number in range(rows * columns):
        top, left = (SIDE * n for n in divmod(number, columns))
        place = (slice(top, top + SIDE), slice(left, left + SIDE))
        noisy, truth = case.noisy[place], case.truth[place]
        name = f"{number}.tif"
        yield cases.Case(case.set, name, case.noise, noisy, truth, case.peak)


def _measure(data: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure both ways on the parts of one image."""
    images = list(parts(whole(data)))
    (folder / "noisy").mkdir()
    for image in images:
        files.write(folder / "noisy" / image.name, image.noisy)
    row = {"data": data, "files": len(images)}
    row["noisy dB"] = np.mean([_psnr(image, image.noisy) for image in images])
    quality = {}
    for way, option in (("single", "--no-share"), ("shared", "--share")):
        output = folder / way
        before = time.process_time()
        code = main(
            [
                *("batch", "denoise", str(folder / "noisy"), "-o", str(output)),
                *(option, "--quiet", "--seed", str(arguments.seed)),
                *("--precision", arguments.precision),
            ]
        )
        if code:
            raise SystemExit(code)
        row[f"{way} CPU s"] = time.process_time() - before
        results = [files.read(output / image.name).data for image in images]
        quality[way] = np.array(list(map(_psnr, images, results)))
        row[f"{way} dB"] = quality[way].mean()
    entries = json.loads((output / NAME).read_text())["results"].values()
    row["by shared networks"] = sum(entry["shared"] for entry in entries)
    gain = quality["shared"] - quality["single"]
    return row | {"gain dB": gain.mean(), "least gain dB": gain.min()}


def _psnr(case: cases.Case, image: np.ndarray) -> float:
    return case.measure(image)["psnr"]
