"""What the benchmarks share: the machine, the data, results as JSON."""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dip import metrics

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DATA = ROOT.parent / "shared" / "data"

Image = NDArray[np.float32]
Precision = Literal["auto", "float32", "bfloat16"]
Preset = Literal["fast", "best", "paper"]


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    model = platform.processor() or platform.machine()
    flags = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = dict(
            line.split(":", 1) for line in info.read_text().splitlines() if ":" in line
        )
        found = {k.strip(): v.strip() for k, v in lines.items()}
        model = found.get("model name", model)
        known = {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}
        flags = " ".join(sorted(known & set(found.get("flags", "").split())))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "system": platform.system(),
        "python": platform.python_version(),
        "cpu": f"{model} ({flags})" if flags else model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
    }


def reset_peak() -> None:
    """Forget the peak memory so far, where the system can (Linux)."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def peak() -> float | None:
    """Return the peak memory of this process since `reset_peak`, in MiB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return int(found[1]) / 1024 if found else None


def version(package: str) -> str | None:
    """Return the installed version of a package, None where it is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def rows_of(name: str) -> list[dict[str, Any]]:
    """Return the rows that ``benchmarks/results/NAME.json`` has so far."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def save(name: str, results: dict[str, Any]) -> Path:
    """Write results as ``benchmarks/results/NAME.json`` and return the path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n")
    partial.replace(path)
    return path


def show(row: dict[str, Any]) -> None:
    """Print a row as soon as it is there."""
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
    print(rounded, flush=True)


def table(rows: list[dict[str, Any]], columns: list[str]) -> str:
    """Return rows as a Markdown table."""

    def cell(value: Any) -> str:
        if value is None:
            return "-"
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += [
        "| " + " | ".join(cell(row.get(c)) for c in columns) + " |" for row in rows
    ]
    return "\n".join(lines)


def psnr(image: Image, truth: Image) -> float:
    """Return the PSNR in dB of an image in [0, 1], clipped first."""
    return metrics.psnr(np.clip(image, 0, 1), truth, data_range=1)


def luma(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return the luma (ITU-R BT.601) of (Y, X, 3); (Y, X) as it is."""
    if image.ndim == 2:
        return np.asarray(image, np.float64)
    red, green, blue = np.moveaxis(np.asarray(image, np.float64), -1, 0)
    return np.asarray(0.299 * red + 0.587 * green + 0.114 * blue)


def photograph(side: int) -> Image:
    """Return a synthetic colour image (side, side, 3) in [0, 1], made of nothing.

    Smooth shading, edges and fine stripes, for machines without image files.
    """
    y, x = np.meshgrid(*[np.linspace(0, 1, side)] * 2, indexing="ij")
    shade = 0.5 + 0.3 * np.sin(3 * x + 2 * y)
    disc = ((x - 0.4) ** 2 + (y - 0.55) ** 2 < 0.06).astype(float)
    stripes = 0.1 * np.sign(np.sin(side / 4 * (x + 0.3 * y))) * (x > 0.6)
    planes = [shade, shade * (1 - 0.5 * disc), 0.8 * shade + 0.2 * disc]
    return np.stack([np.clip(p + stripes, 0, 1) for p in planes], -1).astype(np.float32)
