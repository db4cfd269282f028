"""Seconds, memory and quality over the size of a data set, against other methods.

"plane-N" is a gray plane of N x N pixels, laid out of crops of photographs; "stack-P"
is a stack of P planes of 512 x 512, in which the view moves by two pixels from plane
to plane; both with Gaussian noise of 25.  Every row is a process of its own.  "fast" is
what a user gets, "single" a fit of every plane.  The seam is the mean step across the
borders of tiles over that elsewhere, divided by the same of the truth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks import cases, common
from napari_dip import denoise, metrics
from napari_dip.tasks.tiles import side_of

SIGMA = 25.0
CROP = 512
DATASETS = ["plane-512", "plane-1024", "plane-2048", "stack-10", "stack-50"]
COLUMNS = [
    "data",
    "method",
    "megapixels",
    "seconds",
    "s per megapixel",
    "over bm3d",
    "MiB",
    "PSNR",
    "seam",
    "flicker",
]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", nargs="+", default=DATASETS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--name", default="scale-cpu")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> None:
    if arguments.child:
        print(json.dumps(_measure(arguments)))
        return
    rows: list[dict[str, Any]] = []
    for data in arguments.data:
        for method in arguments.methods:
            command = [sys.executable, "-m", "benchmarks", "scale", "--child"]
            command += ["--data", data, "--methods", method]
            command += ["--precision", arguments.precision]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, cwd=common.ROOT
            )
            rows.append(json.loads(done.stdout))
            _compare(rows)
            print(common.table(rows[-1:], COLUMNS), flush=True)
            common.save(arguments.name, {"rows": rows})
    print(common.table(rows, COLUMNS))


def _compare(rows: list[dict[str, Any]]) -> None:
    """Set how long every row takes over BM3D on the same data, where that is known."""
    usual = {r["data"]: r["seconds"] for r in rows if r["method"] == "bm3d"}
    for row in rows:
        known = usual.get(row["data"])
        row["over bm3d"] = None if known is None else row["seconds"] / known


def summary(rows: list[dict[str, Any]]) -> str:
    return common.table(rows, COLUMNS)


# -- the data ----------------------------------------------------------------------


def photographs() -> list[NDArray[np.float32]]:
    """Return gray crops of 512 x 512 of all photographs that are large enough."""
    crops = []
    for folder in ("set9", "bernoulli50"):
        for path in sorted((cases.DATA / folder).glob("*.png")):
            image = common.luma(cases.read(path)).astype(np.float32)
            if min(image.shape) >= CROP:
                crops.append(cases.centre(image, CROP))
    return crops


def truth_of(data: str) -> NDArray[np.float32]:
    """Return a plane or stack without noise."""
    kind, number = data.split("-")
    crops = photographs()
    if kind == "plane":
        count = -(-int(number) // CROP)
        # Turned over where there are too few.
        chosen = [
            crops[n % len(crops)][:: 1 - 2 * (n // len(crops) % 2)]
            for n in range(count**2)
        ]
        rows = [np.hstack(chosen[r * count : (r + 1) * count]) for r in range(count)]
        return np.vstack(rows)[: int(number), : int(number)]
    wide = np.hstack(crops[:2])
    return np.stack([wide[:, 2 * k : 2 * k + CROP] for k in range(int(number))])


# -- the methods --------------------------------------------------------------------

Method = Callable[[NDArray[np.float32], str], NDArray[Any]]


def _fast(noisy: NDArray[np.float32], precision: str) -> NDArray[Any]:
    return denoise(noisy, precision=precision)


def _single(noisy: NDArray[np.float32], precision: str) -> NDArray[Any]:
    return denoise(noisy, precision=precision, share="no")


def _bm3d(noisy: NDArray[np.float32], precision: str) -> NDArray[Any]:
    from bm3d import bm3d

    planes = noisy.reshape(-1, *noisy.shape[-2:])
    return np.stack([bm3d(p, SIGMA) for p in planes]).reshape(noisy.shape)


def _nlm(noisy: NDArray[np.float32], precision: str) -> NDArray[Any]:
    from napari_dip.baselines import nlm

    planes = noisy.reshape(-1, *noisy.shape[-2:])
    return np.stack([nlm(p, sigma=SIGMA) for p in planes]).reshape(noisy.shape)


METHODS: dict[str, Method] = {
    "bm3d": _bm3d,
    "nlm": _nlm,
    "fast": _fast,
    "single": _single,
}


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one method on one data set in this process."""
    (data,), (name,) = arguments.data, arguments.methods
    truth = truth_of(data)
    random = np.random.default_rng(0)
    noisy = (truth + random.normal(0, SIGMA, truth.shape)).astype(np.float32)
    # What is loaded once is no part of the cost of a data set.
    METHODS[name](
        noisy[..., :64, :64][:1] if truth.ndim == 3 else noisy[:64, :64], "auto"
    )
    common.reset_peak()
    before = time.perf_counter()
    image = METHODS[name](noisy, arguments.precision)
    seconds = time.perf_counter() - before
    megapixels = truth.size / 1e6
    return {
        "data": data,
        "method": name,
        "megapixels": megapixels,
        "seconds": seconds,
        "s per megapixel": seconds / megapixels,
        "over bm3d": None,
        "MiB": common.peak(),
        "PSNR": metrics.psnr(image.clip(0, 255), truth, data_range=255),
        "seam": _seam(image, truth),
        "flicker": _flicker(image, truth),
    }


def _seam(image: NDArray[Any], truth: NDArray[Any]) -> float | None:
    """Return how much steeper the borders of tiles are; None where there are none."""
    side = side_of("auto", truth.shape[-2:]) if truth.ndim == 2 else None
    if side is None:
        return None
    ratios = []
    for part in (image, truth):
        steps = np.abs(np.diff(np.asarray(part, np.float64), axis=1))
        borders = np.arange(side - 1, steps.shape[1], side)
        away = np.delete(steps, borders, axis=1)
        ratios.append(steps[:, borders].mean() / away.mean())
    return float(ratios[0] / ratios[1])


def _flicker(image: NDArray[Any], truth: NDArray[Any]) -> float | None:
    """Return the spread from plane to plane of the error of flat background."""
    if truth.ndim < 3:
        return None
    spread = ndimage.generic_gradient_magnitude(truth[0].astype(float), ndimage.sobel)
    flat = spread < np.percentile(spread, 20)
    return float((image - truth)[:, flat].std(axis=0).mean())
