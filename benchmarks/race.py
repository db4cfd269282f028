"""Time to a given quality: the fast preset against the plain loop, to the end of both.

Centre crops of Set9 with the authors' noise of 25.  The plain loop runs its published
1800 iterations; what it is asked for is the PSNR of its averaged image at the end,
which the paper reports.  The clock of either stands still while its image is measured.
Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from benchmarks import common
from benchmarks.cases import load
from benchmarks.plain import loop

PUBLISHED = 1800
"""Iterations of the first paper's denoising (section 4)."""

EVERY = 10
"""Iterations between two looks at an image."""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", nargs="+", default=["kodim02", "lena"])
    parser.add_argument("--side", type=int, default=128, help="of the centre crop")
    parser.add_argument("--device", default="cpu")


def run(arguments: argparse.Namespace) -> None:
    rows = []
    for case in load("set9", "authors", arguments.side):
        if case.name in arguments.images:
            noisy, truth = case.noisy / case.peak, case.truth / case.peak
            row = {"image": case.name, "side": arguments.side}
            rows.append(row | race(noisy, truth, arguments.device))
            print(common.table([_shown(rows[-1])], list(_shown(rows[-1]))), flush=True)
            common.save(f"race-{arguments.side}-{arguments.device}", {"rows": rows})
    print(summary(rows))


def race(
    noisy: common.Image, truth: common.Image, device: str, limit: float = float("inf")
) -> dict[str, Any]:
    """Run both; the plain loop for at most `limit` seconds."""
    fast, curve = _fast(noisy, truth, device)
    plain = _plain(noisy, truth, device, limit)
    _, spent, reached = plain[-1]
    there = next((at for _, at, level in curve if level >= reached), None)
    return {
        "fast dB": common.psnr(fast.image, truth),
        "fast s": curve[-1][1],
        "fast iterations": fast.iterations,
        "plain dB": reached,
        "plain s": spent,
        "plain iterations": plain[-1][0],
        "plain at best dB": max(level for *_, level in plain),
        "fast s to plain dB": there,
        "ratio": spent / curve[-1][1],
        "ratio to plain dB": None if there is None else spent / there,
        "curves": {"fast": curve, "plain": plain},
    }


Curve = list[tuple[int, float, float]]
"""Iterations, seconds and PSNR of the averaged image."""


def _fast(noisy: common.Image, truth: common.Image, device: str) -> tuple[Any, Curve]:
    from napari_dip import denoise

    curve: Curve = []
    looking = 0.0
    began = time.perf_counter()

    def watch(it: Any) -> None:
        nonlocal looking
        if it.step % EVERY == 0:
            _wait(device)
            now = time.perf_counter()
            curve.append((it.step, now - began - looking, common.psnr(it.image, truth)))
            looking += time.perf_counter() - now

    fit = denoise(noisy, device=device, callback=watch, full_output=True)
    spent = time.perf_counter() - began - looking
    curve.append((fit.iterations, spent, common.psnr(fit.image, truth)))
    return fit, curve


def _plain(
    noisy: common.Image, truth: common.Image, device: str, limit: float
) -> Curve:
    tensor = torch.from_numpy(np.ascontiguousarray(noisy)).permute(2, 0, 1)[None]
    curve: Curve = []
    looking = 0.0
    began = time.perf_counter()
    steps = loop(tensor.to(device))
    for step in range(1, PUBLISHED + 1):
        _, average = next(steps)
        if step % EVERY and step < PUBLISHED:
            continue
        _wait(device)
        now = time.perf_counter()
        image = average[0].permute(1, 2, 0).cpu().numpy()
        curve.append((step, now - began - looking, common.psnr(image, truth)))
        looking += time.perf_counter() - now
        if curve[-1][1] > limit:
            break
    return curve


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "curves"}


def summary(rows: list[dict[str, Any]]) -> str:
    """Return the table, without the curves."""
    shown = [_shown(row) for row in rows]
    return common.table(shown, list(shown[0]))
