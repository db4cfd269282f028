"""The machine as a whole, before torch is there, and how much of it may be taken."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from napari_dip.errors import InputError

MAX_ITERATIONS = "NAPARI_DIP_MAX_ITERATIONS"
"""Environment variable: most iterations that one fit may be asked for."""

MAX_MEMORY = "NAPARI_DIP_MAX_MEMORY"
"""Environment variable: most memory that is taken, in bytes or such as 8G."""

MAX_SECONDS = "NAPARI_DIP_MAX_SECONDS"
"""Environment variable: seconds after which the fits of an image are stopped."""

MOST_ITERATIONS = 100_000
"""Iterations that one fit may be asked for where the user has set nothing."""

UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def budget(name: str) -> float | None:
    """Return what the user has set in an environment variable, None where nothing.

    Raises
    ------
    InputError
        If it is no positive number.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    memory = name == MAX_MEMORY
    number = text.upper().removesuffix("B").removesuffix("I") if memory else text
    factor = UNITS.get(number[-1:], 1) if memory else 1
    try:
        value = float(number[:-1] if factor > 1 else number) * factor
    except ValueError:
        value = math.nan
    if not value > 0:
        kind = "number of bytes, such as 8G" if memory else "number"
        raise InputError(f"{name} must be a positive {kind}; got {text!r}")
    return value


def deadline() -> Callable[[], float | None]:
    """Begin to count the seconds that the fits of an image may take.

    What is returned gives these seconds once they are over, and None before, or where
    the user has set none.
    """
    seconds = budget(MAX_SECONDS)
    end = math.inf if seconds is None else time.monotonic() + seconds
    return lambda: seconds if time.monotonic() > end else None


def check_iterations(count: int) -> None:
    """Raise if a fit may take more iterations than the user allows."""
    most = budget(MAX_ITERATIONS) or MOST_ITERATIONS
    if count > most:
        raise InputError(
            f"iterations must be {most:.0f} or fewer in one fit; got {count} (set "
            f"{MAX_ITERATIONS} to allow more)"
        )


def within_budget(free: int | None) -> int | None:
    """Return how much of the free memory may be taken."""
    most = budget(MAX_MEMORY)
    if most is None or math.isinf(most):
        return free
    return int(most) if free is None else min(free, int(most))


def free_memory() -> int | None:
    """Return the bytes of memory that may be taken, None where that is not known."""
    return within_budget(_free_memory())


def _free_memory() -> int | None:
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" in names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def gibibytes(count: float) -> str:
    """Return a number of bytes as text, in GiB or the largest unit it fills."""
    for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"


SPINS = "GOMP_SPINCOUNT"
"""Environment variable: how long threads of GNU OpenMP spin while they wait."""


def spin_less() -> None:
    """Let torch's threads sleep sooner while they wait for each other.

    By default they spin for milliseconds.  On a machine with other work, where a
    thread may have to wait for its turn, that slows small fits many times; on a
    quiet one a shorter spin costs nothing.  Only for programs of our own, before
    torch is imported: GNU OpenMP reads the variable when it is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(SPINS, "20000")


def load_torch() -> None:
    """Import torch so that its threads spin less, if nobody has imported it yet.

    The variable is gone afterwards: in a program of somebody else, the processes that
    it starts are not ours.
    """
    was_set = SPINS in os.environ
    spin_less()
    try:
        import torch  # noqa: F401
    finally:
        if not was_set:
            os.environ.pop(SPINS, None)
