"""The machine as a whole, without torch."""

from __future__ import annotations

import os


def free_memory() -> int | None:
    """Return the bytes of memory that are free, None where that cannot be known."""
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


def spin_less() -> None:
    """Let torch's threads sleep sooner while they wait for each other.

    By default they spin for milliseconds.  On a machine with other work, where a
    thread may have to wait for its turn, that slows small fits many times; on a
    quiet one a shorter spin costs nothing.  Only for programs of our own, before
    torch is imported: GNU OpenMP reads the variable when it is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
