"""Seconds per iteration and peak memory of the engine against the plain loop.

The same network on the same image: the published one, on colour images.  Every
measurement is a process of its own, plain and engine in turn, so that neither
sees the other's memory; ratios are of the medians.  Cost and memory should grow in
proportion to the pixels, which the plot shows (with matplotlib, if installed).

"fast" has no column: its iterations are of half the resolution and then of the whole,
or of windows of a large image.  `presets` and `scale` have its seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

import torch

from benchmarks import common
from benchmarks.plain import loop
from napari_dip.prior import runtime

SIZES = [128, 256, 512, 1024]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> None:
    if arguments.child:
        print(json.dumps(_child(arguments)))
        return
    rows: list[dict[str, Any]] = []
    for size in arguments.sizes:
        row = _compare(arguments, size, rows[-1] if rows else None)
        rows.append(row)
        print(common.table([row], list(row)), flush=True)
    _plot(rows, arguments.device)
    path = common.save(f"speed-{arguments.device}", {"rows": rows})
    print(common.table(rows, list(rows[0])))
    print(f"written to {path.relative_to(common.ROOT)}")


MEMORY = {"plain": "plain MiB", "engine": "engine MiB", "engine-thread": "engine MiB"}
"""Columns of the memory of a kind, for the next size's forecast."""


def _compare(
    arguments: argparse.Namespace, size: int, smaller: dict[str, Any] | None
) -> dict[str, Any]:
    kinds = ["plain", "engine", "engine-thread"]
    if smaller is not None:
        # Where it would not fit, the system ends whatever it likes.
        grown = (size / smaller["size"]) ** 2
        free = runtime.free_memory(torch.device(arguments.device))
        limit = math.inf if free is None else 0.85 * free / 2**20
        for kind, column in MEMORY.items():
            before = smaller[column]
            if before is None or before * grown > limit:
                kinds.remove(kind)
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    # Large images take long and vary little.
    for _ in range(arguments.repeats if size <= 256 else 1):
        for kind in kinds:
            command = [sys.executable, "-m", "benchmarks", "speed", "--child", kind]
            command += ["--sizes", str(size), "--device", arguments.device]
            command += ["--iterations", str(arguments.iterations)]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, cwd=common.ROOT
            )
            found[kind].append(json.loads(done.stdout))
    seconds = {
        kind: 1000 * statistics.median(f["seconds"] for f in found[kind])
        for kind in kinds
    }
    memory = {kind: max(f["memory"] for f in found[kind]) for kind in kinds}

    def ratio(kind: str) -> float | None:
        both = "plain" in seconds and kind in seconds
        return seconds["plain"] / seconds[kind] if both else None

    return {
        "size": size,
        "plain ms/it": seconds.get("plain"),
        "engine ms/it": seconds.get("engine"),
        "ratio": ratio("engine"),
        "ratio in a thread": ratio("engine-thread"),
        "plain MiB": memory.get("plain"),
        "engine MiB": memory.get("engine"),
    }


def _plot(rows: list[dict[str, Any]], device: str) -> None:
    """Draw time and memory against pixels, both axes logarithmic."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    pixels = [row["size"] ** 2 for row in rows]
    for axes, label, names in zip(
        figure.subplots(1, 2),
        ("milliseconds per iteration", "peak memory, MiB"),
        (
            ("plain ms/it", "engine ms/it"),
            ("plain MiB", "engine MiB"),
        ),
        strict=True,
    ):
        for name in names:
            known = [row[name] or float("nan") for row in rows]
            axes.loglog(pixels, known, "o-", label=name)
        first = rows[0][names[0]] / pixels[0]
        axes.loglog(pixels, [first * p for p in pixels], "k:", label="proportional")
        axes.set_xlabel("pixels")
        axes.set_title(label, fontsize=10)
        axes.legend(fontsize=8)
    figure.savefig(common.ROOT / "docs" / "images" / f"speed-{device}.png", dpi=110)


def _child(arguments: argparse.Namespace) -> dict[str, float]:
    """Time one kind of loop in this process."""
    (size,) = arguments.sizes
    clean = torch.from_numpy(common.photograph(size)).permute(2, 0, 1)[None]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy = (clean + 25 / 255 * noise).clamp(0, 1)
    base = _peak(arguments.device)
    times: list[float] = []

    def measure() -> None:
        steps = _steps(arguments.child, noisy, arguments.device)
        for i in range(arguments.iterations + 2):
            start = time.perf_counter()
            next(steps)
            if arguments.device != "cpu":
                torch.cuda.synchronize()
            if i >= 2:
                times.append(time.perf_counter() - start)
        steps.close()

    if arguments.child == "engine-thread":
        thread = threading.Thread(target=measure)
        thread.start()
        thread.join()
    else:
        measure()
    peak = _peak(arguments.device) - base
    return {"seconds": statistics.median(times), "memory": peak}


def _steps(kind: str, noisy: torch.Tensor, device: str) -> Any:
    if kind == "plain":
        return loop(noisy.to(device))
    from napari_dip import iterate

    image = noisy[0].permute(1, 2, 0).numpy()
    return iterate("denoise", image, preset="paper", device=device)


def _peak(device: str) -> float:
    """Return the peak memory so far in MiB."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
