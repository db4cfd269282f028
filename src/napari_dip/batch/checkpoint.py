"""The files that a fit begins from or leaves, and its state in one while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dip.batch.keep import Keep
from napari_dip.errors import FitError, InputError
from napari_dip.io import atomic, checkpoint, provenance
from napari_dip.tasks.task import Overrides

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Iterate


class Kept:
    """The files of `Keep` during one run.

    Parameters
    ----------
    keep : Keep
        Which there are.
    about : callable
        Returns the version, task, recipe, inputs and all else that decides on the
        result.

    Attributes
    ----------
    overrides : Overrides
        The weights and the state to begin from, if there are any.

    Raises
    ------
    InputError
        If the checkpoint is of another fit.
    """

    def __init__(self, keep: Keep, about: Callable[[], dict[str, Any]]) -> None:
        self.keep = keep
        weights = state = None
        facts: dict[str, Any] = {}
        if keep.weights is not None:
            from napari_dip.prior.snapshot import digest

            weights, _ = checkpoint.read(keep.weights, "weights")
            facts["weights"] = digest(weights)
        if keep.checkpoint is not None or keep.save_weights is not None:
            facts |= about()
        self.about: dict[str, Any] = json.loads(provenance.dumps(facts))
        written = (keep.checkpoint, keep.save_weights)
        atomic.clear(path for path in written if path is not None)
        if keep.checkpoint is not None:
            state = self._stored(keep.checkpoint)
        self.overrides = Overrides(weights=weights, state=state)
        self.since = time.monotonic()

    def _stored(self, path: Path) -> dict[str, Any] | None:
        """Return the state that a checkpoint holds, if it exists."""
        if not path.exists():
            return None
        state, about = checkpoint.read(path, "checkpoint")
        different = "; ".join(_differences(about, self.about))
        if different:
            raise InputError(
                f"checkpoint {path} is of another fit ({different}); remove it or name "
                "another file"
            )
        return state

    def see(self, it: Iterate, stopping: bool) -> bool:
        """Write the state when it is time, or when the fit is stopped.

        Returns `stopping`, as a callback of the fit does.
        """
        keep, now = self.keep, time.monotonic()
        if keep.save_weights is not None and not it.shared:
            check_single(it, "save_weights")
        if keep.checkpoint is None:
            return stopping
        check_single(it, "checkpoint")
        # The last iterate is that of a time limit, if the fit has not ended by itself.
        if stopping or it.last or now - self.since >= 60 * keep.minutes:
            if it.checkpoint is None:
                raise InputError(
                    "checkpoint needs a fit; there is none, for the weights are those "
                    "of networks that serve as they are"
                )
            state = it.checkpoint()
            # From the end of a fit nothing can go on.
            if state["ending.ended"] is None:
                path, about = keep.checkpoint, self.about
                checkpoint.write(path, "checkpoint", state, about, overwrite=True)
            self.since = time.monotonic()
        return stopping

    def finish(self, fit: Fit, unfinished: bool, overwrite: bool) -> None:
        """Save the weights and remove the checkpoint, when the result is written.

        With a checkpoint, a fit that was stopped is not yet at its end.
        """
        keep = self.keep
        if keep.checkpoint is not None:
            if unfinished:
                return
            keep.checkpoint.unlink(missing_ok=True)
        if keep.save_weights is None:
            return
        if fit.weights is None:
            raise FitError(
                "the result is written, but no weights: only a job of a single fit has "
                "them, or one whose planes share a network"
            )
        path, about = keep.save_weights, self.about
        checkpoint.write(path, "weights", fit.weights, about, overwrite=overwrite)


def check_single(it: Iterate, name: str) -> None:
    """Raise unless the job that an iterate is of has a single fit."""
    if it.parts > 1:
        other = " or of a shared network" if name == "save_weights" else ""
        raise InputError(
            f"{name} needs a job of a single fit{other}; this one has {it.parts} fits, "
            "for planes, tiles, groups of channels or restarts"
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
