"""Seconds that the "fast" preset of every task takes for 256 x 256 pixels in colour.

The image is `common.photograph`, made of nothing; super-resolution makes the 256 pixels
of 64.  BM3D filters the noisy image in the same run.  No other work should run
meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from typing import Any

import numpy as np

from benchmarks import common

SIDE = 256
TASKS = (
    "denoise",
    "super_resolve",
    "inpaint",
    "remove_artifacts",
    "enhance",
    "denoise_guided",
    "deconvolve",
    "blend",
    "bm3d",
)
NOISE = 0.1


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--name", default="cpu", help="of the file of results")


def run(arguments: argparse.Namespace) -> None:
    name = f"presets-{arguments.name}"
    rows = common.rows_of(name)
    for task in arguments.tasks:
        arrays = _arguments()[task]
        measure = _bm3d if task == "bm3d" else _fit
        common.reset_peak()
        began = time.perf_counter()
        told = measure(task, arrays, arguments.precision)
        # Analysis and the filters at the end count, which `fit.seconds` leaves out.
        told |= {"seconds": time.perf_counter() - began, "peak MiB": common.peak()}
        same = {"task": task, "precision": told["precision"]}
        rows = [row for row in rows if not same.items() <= row.items()]
        rows.append({**same, **told})
        common.show(rows[-1])
        common.save(name, {"rows": rows})


def _fit(task: str, arrays: tuple[Any, ...], precision: str) -> dict[str, Any]:
    import napari_dip

    fit = getattr(napari_dip, task)(*arrays, precision=precision, full_output=True)
    return {
        "precision": fit.settings["planes"][0]["precision"],
        "iterations": fit.iterations,
        "stopped by": fit.stopped_by,
    }


def _bm3d(task: str, arrays: tuple[Any, ...], precision: str) -> dict[str, Any]:
    """Filter with the authors' BM3D, which is given the noise level."""
    from bm3d import bm3d_rgb

    with contextlib.redirect_stdout(io.StringIO()):
        bm3d_rgb(*arrays, NOISE)
    return {"precision": "float64", "iterations": None, "stopped by": None}


def _arguments() -> dict[str, tuple[Any, ...]]:
    """Return the arrays of every task that restores an image."""
    random = np.random.default_rng(0)
    clean = common.photograph(SIDE)
    noisy = np.clip(clean + random.normal(0, NOISE, clean.shape), 0, 1)
    noisy = noisy.astype(np.float32)
    coarse = clean.reshape(SIDE // 4, 4, SIDE // 4, 4, 3).mean((1, 3))
    mask = random.random((SIDE, SIDE)) < 0.5
    psf = np.outer(*[np.exp(-((np.arange(11) - 5) ** 2) / 8)] * 2)
    hole = np.zeros((SIDE, SIDE), bool)
    hole[80:180, 60:200] = True
    return {
        "denoise": (noisy,),
        "bm3d": (noisy,),
        "super_resolve": (coarse,),
        "inpaint": (clean, mask),
        "remove_artifacts": (clean,),
        "enhance": (clean,),
        "denoise_guided": (noisy, clean),
        "deconvolve": (noisy, psf),
        "blend": (clean, np.ascontiguousarray(clean[::-1]), hole),
    }
