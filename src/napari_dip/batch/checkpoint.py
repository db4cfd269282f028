"""A fit that is kept in a file while it runs, so that it can go on after a break."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dip.errors import InputError
from napari_dip.io import atomic, checkpoint, provenance

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate

_KIND = "checkpoint"


class Checkpoint:
    """Keeps the state of a fit in a file.

    Parameters
    ----------
    path : Path
        The file.  If it exists, the fit goes on from it: see `state`.
    minutes : float
        Time from one writing to the next.
    about : mapping
        Version, task, recipe, inputs and all else that decides on the result.

    Attributes
    ----------
    state : dict or None
        The state to go on from, if there is one.

    Raises
    ------
    InputError
        If the file is of another fit.
    """

    def __init__(self, path: Path, minutes: float, about: Mapping[str, Any]) -> None:
        self.path, self.minutes = path, minutes
        self.about: dict[str, Any] = json.loads(provenance.dumps(about))
        self.since = time.monotonic()
        self.state: dict[str, Any] | None = None
        atomic.clear([path])
        if path.exists():
            self.state, stored = checkpoint.read(path, _KIND)
            different = "; ".join(_differences(stored, self.about))
            if different:
                raise InputError(
                    f"checkpoint {path} is of another fit ({different}); remove it or "
                    "name another file"
                )

    def see(self, it: Iterate, stopping: bool) -> None:
        """Write the state when it is time, or when the fit is to be stopped."""
        now = time.monotonic()
        if not stopping and now - self.since < 60 * self.minutes:
            return
        assert it.checkpoint is not None  # every fit has one
        state = it.checkpoint()
        # From the end of a fit nothing can go on.
        if state["ending.ended"] is None:
            checkpoint.write(self.path, _KIND, state, self.about, overwrite=True)
        self.since = time.monotonic()

    def remove(self) -> None:
        """Remove the file, when the result is written."""
        self.path.unlink(missing_ok=True)


def check_single(it: Iterate, name: str) -> None:
    """Raise unless the job that an iterate is of has a single fit."""
    if it.parts > 1:
        raise InputError(
            f"{name} needs a job of a single fit; this one has {it.parts}, for planes, "
            "groups of channels or restarts"
        )


def _differences(
    stored: Mapping[str, Any], own: Mapping[str, Any], place: str = ""
) -> Iterator[str]:
    """Yield what differs between two descriptions of fits, in words."""
    for name in sorted(stored.keys() | own.keys()):
        before, now = stored.get(name), own.get(name)
        where = f"{place}{name}"
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, f"{where}.")
        elif before != now:
            yield f"{where} {_short(before)}, not {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 20 else f"{text[:17]}..."
