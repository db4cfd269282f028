"""Facts about files and the machine, for the command `info`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dip import __version__
from napari_dip.machine import gibibytes
from napari_dip.text import printable

if TYPE_CHECKING:
    from napari_dip.io.image import Header


def file_facts(path: Path, header: Header) -> dict[str, Any]:
    """Return the contents and the provenance of a file."""
    scale = {
        axis: f"{step:g} {unit or 'pixel'}"
        for axis, step, unit in zip(
            header.axes, header.scale, header.units, strict=True
        )
        if step is not None
    }
    return {
        "file": str(path),
        "format": header.format,
        "axes": header.axes,
        "shape": list(header.shape),
        "dtype": str(header.dtype),
        "scale": scale,
        "channels": list(header.channel_names),
        "notes": list(header.notes),
        "provenance": header.provenance,
    }


def system_facts() -> dict[str, Any]:
    """Return device, versions and free memory."""
    import platform

    import numpy as np
    import torch

    from napari_dip.prior import runtime

    device = runtime.pick_device("auto")
    free = runtime.free_memory(device)
    return {
        "napari-dip": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
        "device": str(device),
        "precision": str(runtime.pick_dtype("auto", device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "free memory": None if free is None else gibibytes(free),
        "GPUs": [
            torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
        ],
    }


def lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield nested facts as indented lines, without empty values."""
    for name, value in facts.items():
        if value is None or value in ([], {}, ""):
            continue
        key = printable(name)
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from lines(value, indent + "  ")
        elif isinstance(value, list) and all(isinstance(v, Mapping) for v in value):
            for number, item in enumerate(value):
                yield f"{indent}{key} {number}:"
                yield from lines(item, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{key}: {', '.join(map(printable, value))}"
        else:
            yield f"{indent}{key}: {printable(value)}"
