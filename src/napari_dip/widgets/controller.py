"""The controller of a panel: it starts one fit at a time and shows its progress."""

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
    """A run of a task, ready to start.

    Attributes
    ----------
    recipe : Recipe
        The parameters of the task.
    source : Image
        The layer that is restored: the result looks like it.
    crop : tuple of slice
        The part of the source's array that is restored.
    arrays : dict of str to callable
        A function for each array of the task that returns it.  The thread of the fit
        calls it.
    layers : dict of str to Layer
        The layer of each array of the task.
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
        The viewer that gets the results.
    parent : QObject, optional
        Qt deletes this together with its parent; the fit then ends.
    """

    state_changed = Signal(str)
    reported = Signal(object)
    ended = Signal(str)
    result_changed = Signal()
    """Emitted when there is another result to look at, or none any more."""

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.state = IDLE
        self.control: worker.Control | None = None
        self.result: ResultLayer | None = None
        """The layer of the fit that runs."""
        self.last: ResultLayer | None = None
        """The layer of the fit that has ended, as long as it is in the viewer."""
        self.trajectory = Trajectory(0)
        self.best_step = 0
        self.following = True
        """Whether the layer shows new images, or an earlier one that the user chose."""
        connect(self, viewer.layers.events.removed, self._layer_removed)

    def start(self, work: Work) -> None:
        """Start a fit, or wait until the one before it has ended."""
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
        """Whether the fit that has ended can go on."""
        return self.last is not None and self.last.resume is not None

    def go_on(self, extra: int) -> None:
        """Go on with the fit that has ended.

        A fit that the user stopped goes on to its own end.  Any other takes `extra`
        more iterations.
        """
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
        # Without the panel there is no button that ends the fit.
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

        If the fit went on from a result, this result stays.
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
        """Pause after this iteration, or resume."""
        if self.control is None:
            return
        if self.state == RUNNING:
            self.control.pause()
            self._enter(PAUSED)
        elif self.state == PAUSED:
            self.control.resume()
            self._enter(RUNNING)

    # -- signals of the worker ---------------------------------------------------

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
        message = str(error) or type(error).__name__
        if not isinstance(error, DipError) or error.__cause__ is not None:
            # An unexpected error: the traceback helps to find its cause.
            _log.error("a fit failed", exc_info=error)
        show_error(message)
        self.ended.emit(f"Failed: {message}")

    def _undo(self, result: ResultLayer | None) -> None:
        """Remove the layer of a fit without a result, or put its last result back."""
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
        """Go back to idle and return the layer of the fit that has ended."""
        result, self.result = self.result, None
        control, self.control = self.control, None
        if control is not None:
            self.destroyed.disconnect(self._when_gone)
        self._enter(IDLE)
        if control is not None:
            turns.leave(control)
        return result

    def _layer_removed(self, event: Any) -> None:
        """Cancel the fit whose layer the user has deleted."""
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
    """Connect a slot to an event of napari for as long as a Qt object exists.

    Otherwise napari would call a method of a deleted object, which raises.
    """
    emitter.connect(slot)
    owner.destroyed.connect(lambda: emitter.disconnect(slot))


def _abandon(control: worker.Control) -> None:
    """End the fit of a controller that has been deleted."""
    control.cancel()
    turns.leave(control)


def summary(fit: Fit) -> str:
    """Return in words how a fit ended."""
    text = (
        f"Finished after {fit.iterations} iterations in {duration(fit.seconds)}: "
        f"{fit.stopped_by}."
    )
    if 0 < fit.best_iteration < fit.iterations:
        text += f" The result is the image of iteration {fit.best_iteration}."
    return text


def duration(seconds: float) -> str:
    """Return a time in words, to about two digits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
