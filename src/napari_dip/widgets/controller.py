"""One run at a time: starts the fit, shows what it reports, ends it in every way."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Layer
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_dip.errors import DipError
from napari_dip.tasks.recipe import Recipe
from napari_dip.widgets import settings, turns, worker
from napari_dip.widgets.layers import Crop
from napari_dip.widgets.results import ResultLayer
from napari_dip.widgets.trajectory import Snapshot, Trajectory

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit

IDLE, WAITING, RUNNING, PAUSED, ENDING = (
    "idle",
    "waiting",
    "running",
    "paused",
    "ending",
)
"""States of a `RunController`."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What to run.

    Attributes
    ----------
    recipe : Recipe
        What to do.
    source : Image
        The layer that is restored: the result looks like it.
    crop : tuple of slice
        Which part of it.
    arrays : dict of str to callable
        For each array of the task what returns it, called in the thread.
    layers : dict of str to Layer
        For each array of the task its layer.
    """

    recipe: Recipe
    source: Image
    crop: Crop
    arrays: dict[str, Callable[[], Any]]
    layers: dict[str, Layer]


class RunController(QObject):
    """Runs fits, one at a time, and keeps their result in a layer.

    Everything here happens in the main thread.  Signals of the worker reach it
    through Qt's queue; those of an object that is gone are dropped by Qt.

    Parameters
    ----------
    viewer : napari.Viewer
        Where results go.
    parent : QObject, optional
        With it, this ends, and so does the fit.
    """

    state_changed = Signal(str)
    reported = Signal(object)
    ended = Signal(str)
    result_changed = Signal()
    """There is another result to look at, or none."""

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.state = IDLE
        self.control: worker.Control | None = None
        self.result: ResultLayer | None = None
        """Of the run that goes on."""
        self.last: ResultLayer | None = None
        """Of the run that ended, as long as its layer is there."""
        self.trajectory = Trajectory(0)
        self.best_step = 0
        self.following = True
        """Whether the layer shows what is new, or is left to someone who looks back."""
        connect(self, viewer.layers.events.removed, self._layer_removed)

    def start(self, work: Work) -> None:
        """Start a fit, or wait until the one before it is over."""
        if self.state != IDLE:
            return
        self.best_step = 0
        self.trajectory = Trajectory(settings.get("trajectory_memory") * 2**20)
        result = ResultLayer(
            self.viewer.layers, work.source, work.recipe, work.crop, work.layers
        )
        arrays = list(work.arrays.values())
        self._run(result, functools.partial(worker.begin, work.recipe, arrays))

    @property
    def can_go_on(self) -> bool:
        """Whether the fit that ended can go on."""
        return self.last is not None and self.last.resume is not None

    def go_on(self, extra: int) -> None:
        """Go on with the fit that ended, for so many iterations if it had its end."""
        result = self.last
        if self.state != IDLE or result is None or result.resume is None:
            return
        kind = result.image.dtype if result.recipe.dtype == "input" else None
        fitting = result.resume(extra)
        result.resume = None
        result.put_back()
        self._run(result, lambda: (fitting, kind))

    def _run(self, result: ResultLayer, begin: worker.Begin) -> None:
        self.last, self.result = None, result
        self.following = True
        self.control = worker.Control()
        # Without the panel nobody could end the fit.
        self._when_gone = functools.partial(_abandon, self.control)
        self.destroyed.connect(self._when_gone)
        self._enter(WAITING)
        turns.take(self.control, functools.partial(self._begin, begin))
        self.result_changed.emit()

    def _begin(self, begin: worker.Begin) -> None:
        assert self.control is not None
        slots = {
            "yielded": self._show,
            "returned": self._returned,
            "errored": self._errored,
        }
        self._enter(RUNNING)
        worker.start(self.control, begin, settings.get("preview_interval"), slots)

    def stop(self) -> None:
        """End the fit after this iteration and keep its best image."""
        if self.state == WAITING:
            self.cancel()
        elif self.control is not None and self.state in (RUNNING, PAUSED):
            self.control.stop()
            self._enter(ENDING)

    def cancel(self) -> None:
        """End the fit after this iteration and remove its layer.

        Where it went on from a result, that stays.
        """
        if self.control is None:
            return
        if self.state == WAITING:
            self._undo(self._finish())
            self.ended.emit("Cancelled before it began.")
            return
        self.control.cancel()
        self._enter(ENDING)

    def toggle_pause(self) -> None:
        """Wait after this iteration, or go on."""
        if self.control is None:
            return
        if self.state == RUNNING:
            self.control.pause()
            self._enter(PAUSED)
        elif self.state == PAUSED:
            self.control.resume()
            self._enter(RUNNING)

    # -- what the thread says ---------------------------------------------------

    def _show(self, report: worker.Report) -> None:
        if self.control is None or self.result is None:
            return
        try:
            if report.image is not None and self.state != ENDING:
                self.trajectory.add(
                    report.index, Snapshot(report.part, report.step, report.image)
                )
                if self.following or self.result.layer is None:
                    self.result.show(report.image, report.index)
        finally:
            if report.image is not None:
                self.control.drawn.set()
        self.reported.emit(report)

    def _returned(self, fit: Fit | None) -> None:
        ended_at = None if self.control is None else self.control.ended_at
        result = self._finish()
        if result is None:
            return
        if fit is None:
            self._undo(result)
            kept = "the result before it" if self.last is result else "nothing"
            self.ended.emit(f"Cancelled: {kept} was kept.")
            return
        result.finish(fit, ended_at)
        self.best_step = fit.best_iteration
        self.last = result
        for warning in fit.warnings:
            show_warning(warning)
        self.ended.emit(summary(fit))
        self.result_changed.emit()

    def _errored(self, error: Exception) -> None:
        self._undo(self._finish())
        told = str(error) or type(error).__name__
        if not isinstance(error, DipError) or error.__cause__ is not None:
            # Something nobody foresaw: its traceback may help.
            _log.error("a fit failed", exc_info=error)
        show_error(told)
        self.ended.emit(f"Failed: {told}")

    def _undo(self, result: ResultLayer | None) -> None:
        """Take back what a run that came to nothing did to its layer."""
        if result is None:
            return
        if result.image is None or not result.shown:
            result.remove()
            self.trajectory = Trajectory(0)
        else:
            result.put_back()
            self.last = result
        self.result_changed.emit()

    def _finish(self) -> ResultLayer | None:
        """Go back to idle and return the result of the run that is over."""
        result, self.result = self.result, None
        control, self.control = self.control, None
        if control is not None:
            self.destroyed.disconnect(self._when_gone)
        self._enter(IDLE)
        if control is not None:
            turns.leave(control)
        return result

    def _layer_removed(self, event: Any) -> None:
        """End the fit whose layer was deleted: its result is not wanted."""
        if self.result is not None and event.value is self.result.layer:
            self.cancel()
        elif self.last is not None and event.value is self.last.layer:
            self.last = None
            self.trajectory = Trajectory(0)
            self.result_changed.emit()

    def _enter(self, state: str) -> None:
        self.state = state
        self.state_changed.emit(state)


def connect(owner: QObject, emitter: Any, slot: Callable[..., Any]) -> None:
    """Connect to an event of napari for as long as a Qt object is there.

    napari would call a method of a deleted object, which raises.
    """
    emitter.connect(slot)
    owner.destroyed.connect(lambda: emitter.disconnect(slot))


def _abandon(control: worker.Control) -> None:
    """End a fit whose controller is gone."""
    control.cancel()
    turns.leave(control)


def summary(fit: Fit) -> str:
    """Say how a fit ended."""
    text = (
        f"Finished after {fit.iterations} iterations in {duration(fit.seconds)}: "
        f"{fit.stopped_by}."
    )
    if 0 < fit.best_iteration < fit.iterations:
        text += f" The result is the image of iteration {fit.best_iteration}."
    return text


def duration(seconds: float) -> str:
    """Say how long, to two digits or so."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
