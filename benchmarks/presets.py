"""Seconds that the "fast" preset of every task takes for 256 x 256 pixels in colour.

The image is `common.photograph`, made of nothing; super-resolution makes the 256 pixels
of 64.  No other work should run meanwhile.
"""

from __future__ import annotations

import argparse
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
)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--precision", default="auto")


def run(arguments: argparse.Namespace) -> None:
    import napari_dip

    rows = common.rows_of("presets-cpu")
    for task in arguments.tasks:
        arrays = _arguments()[task]
        common.reset_peak()
        began = time.perf_counter()
        fit = getattr(napari_dip, task)(
            *arrays, precision=arguments.precision, full_output=True
        )
        # Analysis and the filters at the end count, which `fit.seconds` leaves out.
        seconds = time.perf_counter() - began
        precision = fit.settings["planes"][0]["precision"]
        same = {"task": task, "precision": precision}
        rows = [row for row in rows if not same.items() <= row.items()]
        rows.append(
            {
                **same,
                "seconds": seconds,
                "iterations": fit.iterations,
                "peak MiB": common.peak(),
                "stopped by": fit.stopped_by,
            }
        )
        print(rows[-1], flush=True)
        common.save("presets-cpu", {"rows": rows})


def _arguments() -> dict[str, tuple[Any, ...]]:
    """Return the arrays of every task that restores an image."""
    random = np.random.default_rng(0)
    clean = common.photograph(SIDE)
    noisy = np.clip(clean + random.normal(0, 0.1, clean.shape), 0, 1)
    noisy = noisy.astype(np.float32)
    coarse = clean.reshape(SIDE // 4, 4, SIDE // 4, 4, 3).mean((1, 3))
    mask = random.random((SIDE, SIDE)) < 0.5
    psf = np.outer(*[np.exp(-((np.arange(11) - 5) ** 2) / 8)] * 2)
    hole = np.zeros((SIDE, SIDE), bool)
    hole[80:180, 60:200] = True
    return {
        "denoise": (noisy,),
        "super_resolve": (coarse,),
        "inpaint": (clean, mask),
        "remove_artifacts": (clean,),
        "enhance": (clean,),
        "denoise_guided": (noisy, clean),
        "deconvolve": (noisy, psf),
        "blend": (clean, np.ascontiguousarray(clean[::-1]), hole),
    }
