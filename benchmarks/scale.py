"""Seconds, memory and quality over the size of a data set, against other methods.

"plane-N" is a gray plane of N x N pixels, laid out of crops of photographs; "stack-P"
is a stack of P planes of 512 x 512, in which the view moves by two pixels from plane
to plane; both with Gaussian noise of 25.  Every row is a process of its own.  "fast" is
what a user gets, "single" a fit of every plane.  The seam is the mean step across the
borders of tiles over that elsewhere, divided by the same of the truth.

With ``--what seams`` it is the seams of every task that can be cut, each in tiles and
as a whole; see `benchmarks.seams`.  With ``--what workers`` it is the command line
with one process and with one and two workers, one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks import cases, common, seams
from napari_dip import denoise, metrics
from napari_dip.io import files
from napari_dip.tasks.tiles import tile_sides

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
    parser.add_argument("--what", choices=("data", *OTHERS), default="data")
    parser.add_argument("--data", nargs="+", default=DATASETS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--name", help="results file [scale-cpu, scale-seams, ...]")
    parser.add_argument("--tasks", nargs="+", default=list(seams.CASES))
    parser.add_argument("--side", type=int, default=576, help="of the plane for seams")
    parser.add_argument("--tile", type=int, default=192, help="for seams and workers")
    parser.add_argument("--iterations", help="for seams and workers")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> None:
    if arguments.child:
        print(json.dumps(_measure(arguments)))
        return
    if arguments.what in OTHERS:
        rows = []
        for row in OTHERS[arguments.what](arguments):
            rows.append(row)
            print(common.table([row], list(row)), flush=True)
            common.save(arguments.name or f"scale-{arguments.what}", {"rows": rows})
        return
    rows = []
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
            common.save(arguments.name or "scale-cpu", {"rows": rows})
    print(common.table(rows, COLUMNS))


def _compare(rows: list[dict[str, Any]]) -> None:
    """Set how long every row takes over BM3D on the same data, where that is known."""
    usual = {r["data"]: r["seconds"] for r in rows if r["method"] == "bm3d"}
    for row in rows:
        known = usual.get(row["data"])
        row["over bm3d"] = None if known is None else row["seconds"] / known


# -- seams and workers ---------------------------------------------------------------


def _seams(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the seams of every task."""
    truth = truth_of(f"plane-{arguments.side}")
    more = {} if arguments.iterations is None else {"iterations": arguments.iterations}
    more = {key: int(value) for key, value in more.items()}
    for name in arguments.tasks:
        precision = arguments.precision
        yield seams.measure(name, truth, arguments.tile, precision=precision, **more)


def _workers(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the seconds of the command line by the number of its workers."""
    fitted = ["--precision", arguments.precision, "--tile", str(arguments.tile)]
    if arguments.iterations is not None:
        fitted += ["--iterations", arguments.iterations]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for data in arguments.data:
        truth = truth_of(data)
        noise = np.random.default_rng(0).normal(0, SIGMA, truth.shape)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "noisy.tif"
            files.write(source, (truth + noise).astype(np.float32))
            alone, first = 0.0, truth
            for share in ("yes", "no"):
                for workers in (None, 1, 2):
                    target = Path(folder) / f"{share}-{workers}.tif"
                    command = [sys.executable, "-m", "napari_dip", "denoise"]
                    command += [str(source), "-o", str(target), "--quiet"]
                    command += ["--share", share, *fitted]
                    if workers is not None:
                        command += ["--workers", str(workers)]
                    before = time.perf_counter()
                    subprocess.run(command, check=True, env=environment)
                    seconds = time.perf_counter() - before
                    image = files.read(target).data
                    if workers is None:
                        alone, first = seconds, image
                    yield {
                        "data": data,
                        "network": "shared" if share == "yes" else "one for each part",
                        "workers": "none" if workers is None else workers,
                        "seconds": seconds,
                        "times as fast": alone / seconds,
                        "same bits": bool(np.array_equal(image, first)),
                    }


OTHERS: dict[str, Callable[[argparse.Namespace], Iterator[dict[str, Any]]]] = {
    "seams": _seams,
    "workers": _workers,
}
"""What is measured beside the data sets."""


# -- the data ----------------------------------------------------------------------


def photographs() -> list[NDArray[np.float32]]:
    """Return gray crops of 512 x 512 of all photographs that are large enough."""
    crops = []
    for folder in ("set9", "bernoulli50"):
        for path in sorted((common.DATA / folder).glob("*.png")):
            image = common.luma(cases.read(path)).astype(np.float32)
            if min(image.shape) >= CROP:
                crops.append(cases.centre(image, CROP))
    return crops or [255 * common.luma(common.photograph(CROP)).astype(np.float32)] * 2


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

Method = Callable[[NDArray[np.float32], common.Precision], NDArray[Any]]


def _fast(noisy: NDArray[np.float32], precision: common.Precision) -> NDArray[Any]:
    return denoise(noisy, precision=precision)


def _single(noisy: NDArray[np.float32], precision: common.Precision) -> NDArray[Any]:
    return denoise(noisy, precision=precision, share="no")


def _bm3d(noisy: NDArray[np.float32], precision: common.Precision) -> NDArray[Any]:
    from bm3d import bm3d

    planes = noisy.reshape(-1, *noisy.shape[-2:])
    return np.stack([bm3d(p, SIGMA) for p in planes]).reshape(noisy.shape)


def _nlm(noisy: NDArray[np.float32], precision: common.Precision) -> NDArray[Any]:
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
    tile = tile_sides("auto", truth.shape[-2:]) if truth.ndim == 2 else None
    return None if tile is None else seams.seams(image, truth, truth.shape, tile[0])[1]


def _flicker(image: NDArray[Any], truth: NDArray[Any]) -> float | None:
    """Return the spread from plane to plane of the error of flat background."""
    if truth.ndim < 3:
        return None
    spread = ndimage.generic_gradient_magnitude(truth[0].astype(float), ndimage.sobel)
    flat = spread < np.percentile(spread, 20)
    return float((image - truth)[:, flat].std(axis=0).mean())
