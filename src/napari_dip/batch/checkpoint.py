"""The files that a job begins from or leaves, and what it has done in some of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dip.batch.keep import Keep
from napari_dip.errors import FileError, FitError, InputError
from napari_dip.io import atomic, checkpoint, provenance
from napari_dip.tasks.record import FIT, JOB, RUNNING, State, differences
from napari_dip.tasks.task import Overrides

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Iterate

PAUSE = 1.0
"""Seconds between two writings of parts, which end one after the other for a while."""

_KEPT = "parts"
"""Name in the checkpoint for which parts are in the files beside it."""


class Parts(MutableMapping[str, State]):
    """What a job has done, in a file, and in files beside it that are never rewritten.

    `Parts.write` writes what is new: the parts that are done to another file beside the
    first, ``NAME.0``, ``NAME.1`` and so on, and the state of the fit that runs to the
    first, which says what is in the others.  `about`, JSON-able, is what it belongs to.

    Raises
    ------
    InputError
        If the file is of another job.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self.about = path, about
        self.running: dict[str, State] = {}
        """The state of the fit that runs, and the description of the job."""
        self.waiting: dict[str, State] = {}
        """Parts that are in no file yet."""
        self.files: list[dict[str, Any]] = []
        """Names of the parts in every other file."""
        self.since = time.monotonic()
        self._load = lru_cache(maxsize=1)(self._read)
        if path.exists():
            state, stored = checkpoint.read(path, "checkpoint")
            different = list(differences(stored, about))
            if different:
                # Parameters of another task say nothing about those of this one.
                task = [text for text in different if text.startswith("task ")]
                differs = "; ".join(task or different)
                raise InputError(
                    f"checkpoint {path} is of another fit ({differs}); remove it or "
                    "name another file"
                )
            if JOB not in state:
                raise FileError(f"{path} holds no checkpoint of this version")
            self.files = state.pop(_KEPT, [])
            self.running[JOB] = state.pop(JOB)
            if FIT in state:
                self.running[RUNNING] = state
        self.places = {
            name: number for number, f in enumerate(self.files) for name in f["names"]
        }
        for beside in self._unnamed():
            if not _is_of_parts(beside):
                raise InputError(
                    f"checkpoint {path} keeps parts in files such as {beside.name}; "
                    "that is a file of another kind: name another checkpoint"
                )
            # Of a job that was killed before the first file named it.
            beside.unlink()

    def _beside(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _unnamed(self) -> list[Path]:
        """Return the files with names of parts that the first file does not name."""
        named = re.compile(re.escape(self.path.name) + r"\.(0|[1-9][0-9]*)")
        places = self.path.parent.glob("*")
        matches = ((path, named.fullmatch(path.name)) for path in places)
        return [p for p, match in matches if match and int(match[1]) >= len(self.files)]

    def _read(self, number: int) -> dict[str, dict[str, Any]]:
        """Return the parts in a file."""
        path = self._beside(number)
        state, about = checkpoint.read(path, "parts")
        names = self.files[number]["names"]
        if about != {_KEPT: names, "checkpoint": self.about}:
            raise FileError(f"{path} is of another checkpoint than {self.path}")
        parts: dict[str, dict[str, Any]] = {name: {} for name in names}
        for key, value in state.items():
            place, _, field = key.partition(" ")
            parts[names[int(place)]][field] = value
        return parts

    def __getitem__(self, name: str) -> State:
        for held in (self.running, self.waiting):
            if name in held:
                return held[name]
        return self._load(self.places[name])[name]

    def __setitem__(self, name: str, part: State) -> None:
        held = self.running if name in (RUNNING, JOB) else self.waiting
        held[name] = part

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{self.path} keeps all parts that are done; got {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter([*self.running, *self.places, *self.waiting])

    def __len__(self) -> int:
        return len(self.running) + len(self.places) + len(self.waiting)

    def __contains__(self, name: object) -> bool:
        return any(name in held for held in (self.running, self.waiting, self.places))

    def is_due(self, minutes: float) -> bool:
        """Return whether it is time to write: soon, where parts are waiting."""
        passed = time.monotonic() - self.since
        return passed >= 60 * minutes or (bool(self.waiting) and passed >= PAUSE)

    def write(self) -> None:
        """Write what is new."""
        if self.waiting:
            names, number = list(self.waiting), len(self.files)
            state = {
                f"{place} {field}": value
                for place, part in enumerate(self.waiting.values())
                for field, value in part.items()
            }
            about = {_KEPT: names, "checkpoint": self.about}
            path = self._beside(number)
            checkpoint.write(path, "parts", state, about, overwrite=True)
            self.files.append({"names": names})
            self.places |= dict.fromkeys(names, number)
            self.waiting = {}
        state = {**self.running.get(RUNNING, {}), JOB: self.running[JOB]}
        if self.files:
            state[_KEPT] = self.files
        checkpoint.write(self.path, "checkpoint", state, self.about, overwrite=True)
        self.since = time.monotonic()

    def remove(self) -> None:
        """Remove the files."""
        self.path.unlink(missing_ok=True)
        for number in range(len(self.files)):
            self._beside(number).unlink(missing_ok=True)


def _is_of_parts(path: Path) -> bool:
    """Return whether a file holds parts of a checkpoint."""
    try:
        checkpoint.read(path, "parts")
    except FileError:
        return False
    return True


class Kept:
    """The files of `Keep` during one run.

    They give `overrides`, the weights to begin from, and `parts`, what has been done,
    if there are any.  `about` returns the version, task, recipe, inputs and all else
    that decides on the result.

    Raises
    ------
    InputError
        If the checkpoint is of another job.
    """

    def __init__(self, keep: Keep, about: Callable[[], dict[str, Any]]) -> None:
        self.keep = keep
        weights = None
        facts: dict[str, Any] = {}
        if keep.weights is not None:
            from napari_dip.prior.snapshot import digest

            weights, _ = checkpoint.read(keep.weights, "weights")
            facts["weights"] = digest(weights)
        if keep.checkpoint is not None or keep.save_weights is not None:
            facts |= about()
        self.about: dict[str, Any] = json.loads(provenance.dumps(facts))
        self.parts: Parts | None = None
        if keep.checkpoint is not None:
            self.parts = Parts(atomic.without_links(keep.checkpoint), self.about)
        self.overrides = Overrides(weights=weights, state=self.parts)

    def see(self, it: Iterate, stopping: bool) -> bool:
        """Write what is done when it is time, or when the job is stopped.

        Returns `stopping`, as a callback of the fit does.
        """
        keep = self.keep
        if keep.save_weights is not None and not it.shared:
            check_single(it)
        if self.parts is None:
            return stopping
        due = stopping or self.parts.is_due(keep.minutes)
        if it.checkpoint is not None and (due or it.last):
            state = it.checkpoint()  # which is kept among what is done
            # A fit that has not ended by itself is ended by a time limit.
            due = due or state["ending.ended"] is None
        if due:
            self.parts.write()
        return stopping

    def ended(self) -> None:
        """Write what is done and not written: the result has still to be."""
        if self.parts is not None and self.parts.waiting:
            self.parts.write()

    def finish(self, fit: Fit, unfinished: bool, overwrite: bool) -> None:
        """Save the weights and remove the checkpoint, when the result is written.

        With a checkpoint, a job that was stopped is not yet at its end.
        """
        keep = self.keep
        if self.parts is not None:
            if unfinished:
                self.parts.write()
                return
            self.parts.remove()
        if keep.save_weights is None:
            return
        if fit.weights is None:
            raise FitError(
                "the result is written, but no weights: only a job of a single fit has "
                "them, or one whose planes share a network"
            )
        path, about = keep.save_weights, self.about
        checkpoint.write(path, "weights", fit.weights, about, overwrite=overwrite)


def check_single(it: Iterate) -> None:
    """Raise unless the job that an iterate is of has the weights of a single fit."""
    if it.parts > 1:
        raise InputError(
            f"save_weights needs a job of a single fit or of a shared network; this "
            f"one has {it.parts} fits, for planes, tiles, groups of channels or "
            "restarts"
        )
