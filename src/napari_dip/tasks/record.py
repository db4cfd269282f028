"""What a job has done so far, kept so that another process can go on with it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Layout
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.task import Overrides

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Iterate

State = Mapping[str, Any]
"""Tensors and values that JSON can hold, by name."""

JOB = "job"
"""Name of the part that says which job it is."""

RUNNING = "running"
"""Name of the state of the fit that runs."""

FIT = "fit"
"""Name in that state for which fit it is."""

FACTS = (
    "stopped_by",
    "iterations",
    "best_iteration",
    "seconds",
    "history",
    "settings",
    "warnings",
)
"""What is kept of a fit beside its tensors."""


@dataclass(frozen=True)
class Record:
    """Parts of a job that are done, by name, and the state of the fit that runs.

    A job does the same whenever it is run; a part that is in the record is taken from
    there.
    """

    kept: MutableMapping[str, State] | None = None
    """Where they are; without it nothing is kept."""

    def __contains__(self, name: str) -> bool:
        """Return whether a part is done."""
        return self.kept is not None and name in self.kept

    def get(self, name: str) -> State | None:
        """Return a part, None where it is not done."""
        return None if self.kept is None else self.kept.get(name)

    def put(self, name: str, part: State | None) -> None:
        """Keep a part that is done; None is none."""
        if self.kept is not None and part is not None:
            self.kept[name] = part

    def check(
        self,
        recipe: Recipe,
        layout: Layout,
        overrides: Overrides,
        arrays: Mapping[str, Any],
    ) -> None:
        """Raise if the record is of another job, as far as that can be told.

        The arrays have the names of their arguments.  Those that are not in memory are
        known by their shape alone.
        """
        own = {
            "task": recipe.task,
            "shape": layout.shape,
            "dtype": str(layout.dtype),
            "recipe": recipe.to_dict(),
            "overrides": overrides.to_dict(),
            "analysis": [analysis.to_dict() for analysis in overrides.analysis],
            "arrays": {name: _digest(array) for name, array in arrays.items()},
        }
        own = json.loads(json.dumps(own))
        known = self.get(JOB)
        if known is not None:
            known = known if isinstance(known, Mapping) else {}
            different = "; ".join(differences(known, own))
            if different:
                raise InputError(
                    "state: must be of the same task, arrays and parameters; got that "
                    f"of another job ({different})"
                )
        self.put(JOB, own)

    def noting(self, fit: str, it: Iterate) -> Iterate:
        """Return an iterate of a fit whose `checkpoint` keeps the state, too.

        From the end of a fit nothing can go on.
        """
        checkpoint = it.checkpoint
        if self.kept is None or checkpoint is None:
            return it

        def note() -> dict[str, Any]:
            state = checkpoint()
            if state["ending.ended"] is None:
                self.put(RUNNING, {**state, FIT: fit})
            return state

        return dataclasses.replace(it, checkpoint=note)

    def running(self, fit: str) -> dict[str, Any] | None:
        """Return the state of a fit that was running, None where it was not."""
        state = dict(self.get(RUNNING) or {})
        return state if state.pop(FIT, None) == fit else None

    def put_fit(self, name: str, fit: Fit) -> None:
        """Keep a fit that has ended by itself, with what was averaged."""
        from napari_dip.prior.fit import is_unfinished

        if self.kept is None or is_unfinished(fit.stopped_by):
            return
        weights = {f"weights.{n}": t.cpu() for n, t in (fit.weights or {}).items()}
        self.put(
            name, {"facts": facts_of(fit), "average": fit.average.cpu(), **weights}
        )

    def fit(self, name: str, device: str) -> Fit | None:
        """Return a fit that has ended, None where it is not known."""
        from napari_dip.prior.runtime import pick_device

        state = self.get(name)
        if state is None:
            return None
        weights = {
            key.removeprefix("weights."): tensor
            for key, tensor in state.items()
            if key.startswith("weights.")
        }
        average = state["average"].to(pick_device(device))
        return fit_of(state["facts"], average=average, weights=weights or None)


def _digest(array: Any) -> str | None:
    if not isinstance(array, np.ndarray):
        return None
    values = hashlib.sha256(np.ascontiguousarray(array).data)
    if isinstance(array, np.ma.MaskedArray):
        values.update(np.ma.getmaskarray(array).tobytes())
    return values.hexdigest()


def differences(stored: State, own: State, place: str = "") -> Iterator[str]:
    """Yield what differs between two descriptions of jobs, in words."""
    for name in sorted(stored.keys() | own.keys()):
        before, now = stored.get(name), own.get(name)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            yield from differences(before, now, f"{place}{name}.")
        elif before != now and _is_digest(before) and _is_digest(now):
            yield f"{place}{name} differs"
        elif _text(before) != _text(now):
            yield f"{place}{name} {_short(before)}, not {_short(now)}"


def _is_digest(value: Any) -> bool:
    """Return whether a value is the text of a SHA-256, which tells a reader nothing."""
    return isinstance(value, str) and len(value) == 64


def _short(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= 20 else f"{text[:17]}..."


def _text(value: Any) -> str:
    """Return a value as text that is the same for the same value, NaN included."""
    return json.dumps(value, sort_keys=True, default=str)


def record_of(state: MutableMapping[str, Any] | None) -> Record | None:
    """Return the record that a state is, None where it is that of a single fit."""
    is_record = state is not None and (JOB in state or not state)
    return Record(state) if is_record else None


def facts_of(fit: Fit) -> dict[str, Any]:
    """Return what is known of a fit without its tensors."""
    return {name: getattr(fit, name) for name in FACTS}


def fit_of(facts: Mapping[str, Any], average: Any = None, weights: Any = None) -> Fit:
    """Return the fit of which `facts_of` is known."""
    from napari_dip.prior.problem import Fit

    return Fit(image=average, average=average, weights=weights, **facts)


def tensors(**arrays: NDArray[Any] | None) -> dict[str, Any]:
    """Return arrays as tensors, without those that are None."""
    import torch

    return {
        name: torch.from_numpy(np.ascontiguousarray(array))
        for name, array in arrays.items()
        if array is not None
    }


def array(part: State, name: str) -> NDArray[Any] | None:
    """Return a tensor of a part as an array, None where there is none."""
    tensor = part.get(name)
    return None if tensor is None else np.asarray(tensor.numpy())
