"""Code that repeats a run: Python for napari's console, or a shell command."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_dip.tasks.recipe import Parameters
from napari_dip.widgets.worker import threads

SUBCOMMANDS = {
    "microscope_psf": ("psf", "microscope"),
    "bead_psf": ("psf", "beads"),
}
"""Words of the commands that are not named after their function."""

FILE_DECIDES = ("channel_axis", "dtype", "quantization", "subsampling", "z_spacing")
"""Parameters that the command line takes from the file unless they are given."""

Moment = tuple[int, int]
"""Number of a fit, as `Iterate.part`, and iteration, below zero before the first."""

MOMENT = "(it.part, it.step - it.ahead)"
"""Code for that of an iterate."""


@dataclass(frozen=True)
class Ending:
    """What the user did during and after a run."""

    stopped: Moment | None = None
    """Fit and iteration at which the user stopped the run."""
    kept: tuple[Moment, ...] = ()
    """Fits and iterations whose images the user chose in place of the result."""

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Ending:
        """Return the ending of a run from the provenance of its layer."""
        stopped = provenance.get("ended_at")
        kept = [(k["part"], k["step"]) for k in provenance.get("kept", ())]
        return cls(None if stopped is None else tuple(stopped), tuple(kept))


def python(recipe: Parameters, arrays: Mapping[str, str], ending: Ending) -> str:
    """Return Python code that repeats a run in napari's console, and assigns `result`.

    The arrays of the task are given as Python expressions.
    """
    task = recipe.task
    lines = ["import napari_dip", "import torch"]
    if any("mask_of(" in code for code in arrays.values()):
        lines.append("from napari_dip.widgets.masks import mask_of")
    if ending.kept:
        lines.append("from napari_dip.tasks.arrays import cast")
    lines += [
        "",
        "# Sums depend, in their last digits, on the number of threads.",
        f"torch.set_num_threads({threads()})",
    ]
    lines += [f"{name} = {code}" for name, code in arrays.items()]
    if ending.kept or ending.stopped:
        lines += _watching(ending)
    lines += [
        f"result = napari_dip.{task}(",
        *(f"    {name}," for name in arrays),
        *(f"    {name}={value!r}," for name, value in _changed(recipe)),
        *(["    callback=watch,"] if ending.kept or ending.stopped else []),
        ")",
    ]
    if ending.kept:
        lines += [
            "for index, moment in kept:",
            "    result[index] = cast(moment, result.dtype)",
        ]
    return "\n".join(lines) + "\n"


def command(recipe: Parameters, files: Mapping[str, str], output: str) -> str:
    """Return the command line that repeats a run, from files to a file."""
    words = [
        "napari-dip",
        *SUBCOMMANDS.get(recipe.task, (recipe.task.replace("_", "-"),)),
    ]
    # The first file has no name on the command line.
    words += [*list(files.values())[:1], "--output", output]
    for name, file in list(files.items())[1:]:
        words += [_option(name), file]
    known = {p.name for p in recipe.parameters()}
    options = dict(_changed(recipe))
    options |= {n: getattr(recipe, n) for n in FILE_DECIDES if n in known}
    for name, value in options.items():
        words += _words(name, value)
    if sys.platform == "win32":
        return f"set OMP_NUM_THREADS={threads()}&& {subprocess.list2cmdline(words)}\n"
    return f"OMP_NUM_THREADS={threads()} {shlex.join(words)}\n"


def _changed(recipe: Parameters) -> Iterable[tuple[str, Any]]:
    """Yield the parameters that are not at the defaults of the function."""
    for p in recipe.parameters():
        value = getattr(recipe, p.name)
        other = value != p.default or type(value) is not type(p.default)
        if other or p.name in recipe.required:
            yield p.name, value


def _watching(ending: Ending) -> list[str]:
    """Return a callback that stops where the user did, and keeps the chosen images."""
    lines = ["kept = []"] if ending.kept else []
    lines += ["def watch(it):"]
    if ending.kept:
        lines += [
            f"    if {MOMENT} in {sorted(ending.kept)}:",
            "        kept.append((it.index, it.image))",
        ]
    if ending.stopped:
        lines += [f"    return {MOMENT} == {tuple(ending.stopped)}"]
    return lines


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _words(name: str, value: Any) -> list[str]:
    """Return the words of a parameter on the command line."""
    if isinstance(value, bool):
        return [_option(name) if value else "--no-" + name.replace("_", "-")]
    if isinstance(value, tuple):
        return [_option(name), ",".join(repr(v) for v in value)]
    return [_option(name), "none" if value is None else str(value)]
