"""One run at a time: starts the fit, shows what it reports, ends it in every way."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_dip.errors import DipError
from napari_dip.tasks.recipe import Recipe
from napari_dip.widgets import worker
from napari_dip.widgets.layers import ResultLayer

if TYPE_CHECKING:
    from napari_dip.prior.fit import Fit

IDLE, RUNNING, PAUSED, ENDING = "idle", "running", "paused", "ending"
"""States of a `RunController`."""

_log = logging.getLogger(__name__)


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

    def __init__(self, viewer: Any, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.state = IDLE
        self.control: worker.Control | None = None
        self.result: ResultLayer | None = None

    def start(self, recipe: Recipe, source: Image, arrays: Sequence[Any]) -> None:
        """Start a fit.

        Parameters
        ----------
        recipe : Recipe
            What to do.
        source : Image
            The layer that is restored: the result looks like it.
        arrays : sequence of array
            Of the task.
        """
        if self.state != IDLE:
            return
        self.result = ResultLayer(self.viewer.layers, source, recipe)
        self.viewer.layers.events.removed.connect(self._layer_removed)
        slots = {
            "yielded": self._show,
            "returned": self._returned,
            "errored": self._errored,
        }
        _, self.control = worker.start(recipe.task, recipe, arrays, slots)
        # Without the panel nobody could end the fit.
        self.destroyed.connect(self.control.cancel)
        self._enter(RUNNING)

    def stop(self) -> None:
        """End the fit after this iteration and keep its best image."""
        if self.control is not None and self.state in (RUNNING, PAUSED):
            self.control.stop()
            self._enter(ENDING)

    def cancel(self) -> None:
        """End the fit after this iteration and remove its layer."""
        if self.control is not None:
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
                self.result.show(report.image, report.index)
        finally:
            if report.image is not None:
                self.control.drawn.set()
        self.reported.emit(report)

    def _returned(self, fit: Fit | None) -> None:
        result = self._finish()
        if result is None:
            return
        if fit is None:
            result.remove()
            self.ended.emit("Cancelled: nothing was kept.")
            return
        result.finish(fit)
        for warning in fit.warnings:
            show_warning(warning)
        self.ended.emit(summary(fit))

    def _errored(self, error: Exception) -> None:
        result = self._finish()
        if result is not None:
            result.remove()
        told = str(error) or type(error).__name__
        if not isinstance(error, DipError) or error.__cause__ is not None:
            # Something nobody foresaw: its traceback may help.
            _log.error("a fit failed", exc_info=error)
        show_error(told)
        self.ended.emit(f"Failed: {told}")

    def _finish(self) -> ResultLayer | None:
        """Go back to idle and return the result of the run that is over."""
        result, self.result = self.result, None
        if self.control is not None:
            self.viewer.layers.events.removed.disconnect(self._layer_removed)
            self.destroyed.disconnect(self.control.cancel)
            self.control = None
        self._enter(IDLE)
        return result

    def _layer_removed(self, event: Any) -> None:
        """End the fit whose layer was deleted: its result is not wanted."""
        if self.result is not None and event.value is self.result.layer:
            self.cancel()

    def _enter(self, state: str) -> None:
        self.state = state
        self.state_changed.emit(state)


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
