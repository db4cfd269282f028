"""The controller of a panel: it starts one fit at a time and shows its progress."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_dip.errors import DipError, InputError
from napari_dip.machine import MAX_SECONDS
from napari_dip.tasks.result import CONSTANT, NOT_BEGUN, ranges
from napari_dip.widgets import settings, turns, worker
from napari_dip.widgets.deletion import connect, never_mind, when_deleted
from napari_dip.widgets.inputs import NotYet
from napari_dip.widgets.results import ResultLayer, Work
from napari_dip.widgets.trajectory import Snapshot, Trajectory

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit

IDLE, WAITING, RUNNING = "idle", "waiting", "running"
PAUSED, ENDING = "paused", "ending"
"""States of a `RunController`."""

_log = logging.getLogger(__name__)


class RunController(QObject):
    """Runs fits, one at a time, and keeps their result in a layer.

    Everything here happens in the main thread.  Signals of the worker reach it through
    Qt's queue; those of an object that is gone are dropped by Qt.  Qt deletes this
    together with its parent; the fit then ends.
    """

    state_changed = Signal(str)
    reported = Signal(object)
    ended = Signal(str)
    failed = Signal(str)
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
        self.begun = False
        """Whether the fit that runs has an image to keep."""
        connect(self, viewer.layers.events.removed, self._layer_removed)

    def start(self, work: Work) -> None:
        """Start a fit, or wait until the one before it has ended."""
        if self.state != IDLE:
            return
        self.best_step = 0
        self.trajectory = Trajectory(settings.get("trajectory_memory") * 2**20)
        result = ResultLayer(self.viewer.layers, work)
        arrays = list(work.arrays.values())
        self._run(result, functools.partial(worker.begin, work.recipe, arrays))

    def go_on(self, extra: int) -> None:
        """Go on with the fit that has ended.

        What the user stopped goes on to its own end, with the planes that were not
        begun.  Any other fit takes `extra` more iterations.
        """
        result = self.last
        if self.state != IDLE or result is None or result.resume is None:
            return
        kind = result.image.dtype if result.recipe.dtype == "input" else None
        fitting = result.resume(extra)
        result.put_back()
        self._run(result, lambda: (fitting, kind))

    def _run(self, result: ResultLayer, begin: worker.Begin) -> None:
        self.last, self.result = None, result
        self.following, self.begun = True, False
        self.control = worker.Control()
        self.listener = _Listener(self, self.control)
        self._enter(WAITING)
        turns.take(self.control, functools.partial(self._begin, begin))
        self.result_changed.emit()

    def _begin(self, begin: worker.Begin) -> None:
        listener = self.listener
        slots = {
            "yielded": listener.yielded,
            "returned": listener.returned,
            "errored": listener.errored,
            "finished": listener.end,
        }
        self._enter(RUNNING)
        interval = settings.get("preview_interval")
        worker.start(listener.control, begin, interval, slots)

    def stop(self) -> None:
        """End the fit and keep its best image, if there is one yet.

        Another call ends the filters that finish the image, too.
        """
        if self.control is None:
            return
        if self.state == ENDING:
            self.control.stop()
        elif self.begun:
            self.control.stop()
            self._enter(ENDING)
        else:
            self._give_up("Stopped before the first iteration")

    def cancel(self) -> None:
        """End the fit and remove its layer.

        If the fit went on from a result, this result stays.
        """
        if self.control is not None:
            self._give_up("Cancelled")

    def _give_up(self, reason: str) -> None:
        """End the fit without a result.

        The thread may take a moment longer to end; another fit waits for it.
        """
        control, result = self.control, self.result
        assert control is not None
        assert result is not None
        waiting = self.state == WAITING
        control.cancel()
        self._finish()
        if waiting:
            self.listener.end()
        else:
            result.resume = None
        self._undo(result)
        kept = "the result before it" if self.last is result else "nothing"
        self.ended.emit(f"{reason}: {kept} was kept.")

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

    def show_report(self, report: worker.Report) -> None:
        """Show the progress of the fit, and its image if it comes with one."""
        assert self.control is not None
        assert self.result is not None
        self.begun = True
        index = report.iterate.index
        try:
            if report.image is not None and self.state != ENDING:
                self.trajectory.add(
                    index, Snapshot(report.iterate.part, report.moment, report.image)
                )
                new = self.result.layer is None
                if self.following or new:
                    self.result.show(report.image, index)
                if new and self.result.shown_index(self.viewer.dims) != index:
                    # The other planes are black until their turn comes.
                    self.result.bring_into_view(self.viewer.dims)
        finally:
            if report.image is not None:
                self.control.drawn.set()
        self.reported.emit(report)

    def show_result(self, outcome: worker.Outcome | None) -> None:
        """Show the result of the fit, which napari may have ended without one."""
        control, result = self.control, self.result
        assert control is not None
        assert result is not None
        self._finish()
        if outcome is None:
            self._undo(result)
            self.ended.emit("Cancelled: nothing was kept.")
            return
        fit = outcome.fit
        result.finish(outcome, control.ended_at, control.ended_in)
        self.best_step = fit.best_iteration
        self.last = result
        # The text says it, as it does of planes that were not begun.
        warnings = [w for w in fit.warnings if MAX_SECONDS not in w]
        text = summary(fit)
        if result.not_begun:
            # The text says so, and that the layer is empty there.
            warnings = [w for w in warnings if NOT_BEGUN not in w]
            text += f" {in_words(result.not_begun, result.planes)}"
            seen = result.shown_index(self.viewer.dims)
            if seen is not None and result.plane_of(seen)[0] in result.not_begun:
                result.bring_into_view(self.viewer.dims)
        if warnings:
            show_warning("\n".join(warnings))
        self.ended.emit(text)
        self.result_changed.emit()

    def show_error(self, error: Exception) -> None:
        """Say why the fit has failed."""
        result = self.result
        assert result is not None
        self._finish()
        if not isinstance(error, InputError):
            result.resume = None  # the fit has changed; what is refused has not
        self._undo(result)
        message = str(error) or type(error).__name__
        if isinstance(error, NotYet):
            self.failed.emit(message)
            return
        if not isinstance(error, DipError) or error.__cause__ is not None:
            # An unexpected error: the traceback helps to find its cause.
            _log.error("a fit failed", exc_info=error)
        show_error(message)
        self.failed.emit(f"Failed: {message}")

    def _undo(self, result: ResultLayer) -> None:
        """Remove the layer of a fit without a result, or put its last result back."""
        if result.image is None or not result.shown:
            result.remove()
            self.trajectory = Trajectory(0)
        else:
            result.put_back()
            self.last = result
        self.result_changed.emit()

    def _finish(self) -> None:
        self.result = self.control = None
        self._enter(IDLE)

    def _layer_removed(self, event: Any) -> None:
        """Cancel the fit whose layer the user has deleted."""
        if self.result is not None and event.value is self.result.layer:
            self.cancel()
        elif self.last is not None and event.value is self.last.layer:
            self.last.show_hidden()
            self.last = None
            self.trajectory = Trajectory(0)
            self.result_changed.emit()

    def _enter(self, state: str) -> None:
        self.state = state
        self.state_changed.emit(state)


class _Listener(QObject):
    """Passes the signals of one worker on, until its fit has been cancelled.

    The fit is known by its control.
    """

    def __init__(self, controller: RunController, control: worker.Control) -> None:
        super().__init__(controller)
        self.controller, self.control = controller, control
        # Without the panel there is no button that ends the fit.
        self.abandoning = when_deleted(controller, _abandon, control)

    @property
    def heard(self) -> bool:
        """Whether the fit is still the one of the controller."""
        return self.controller.control is self.control

    def yielded(self, report: worker.Report) -> None:
        """Pass a report on."""
        if self.heard:
            self.controller.show_report(report)

    def returned(self, outcome: worker.Outcome | None) -> None:
        """Pass the result on.

        The fit has ended here.  The thread says so itself only later, and a fit that is
        started between the two must not be told to wait.
        """
        turns.leave(self.control)
        if self.heard:
            self.controller.show_result(outcome)

    def errored(self, error: Exception) -> None:
        """Pass the error on."""
        turns.leave(self.control)
        if self.heard:
            self.controller.show_error(error)

    def end(self) -> None:
        """Let the next fit begin, if the thread has ended without saying how."""
        never_mind(self.controller, self.abandoning)
        self.deleteLater()
        turns.leave(self.control)


def _abandon(control: worker.Control) -> None:
    """End the fit of a controller that has been deleted."""
    control.cancel()
    turns.leave(control)


def summary(fit: Fit) -> str:
    """Return in words how a fit ended."""
    from napari_dip.prior.fit import is_unfinished

    done = f"after {fit.iterations} iteration{'s' if fit.iterations > 1 else ''}"
    if fit.iterations == 0:
        done = "without any iteration" if fit.stopped_by == CONSTANT else "early"
    verb = "Ended" if is_unfinished(fit.stopped_by) else "Finished"
    text = f"{verb} {done} in {duration(fit.seconds)}: {fit.stopped_by}."
    if 0 < fit.best_iteration < fit.iterations:
        text += f" The result is the image of iteration {fit.best_iteration}."
    return text


def in_words(not_begun: Sequence[int], planes: int) -> str:
    """Return which planes of a stopped fit are done; planes are counted from 1."""
    done = [n + 1 for n in range(planes) if n not in not_begun]
    left_out = [n + 1 for n in not_begun]
    are_done = "are done, the last" if len(done) > 1 else "is done"
    were, are = ("were", "are") if len(left_out) > 1 else ("was", "is")
    return (
        f"{named(done)} {are_done} as far as it was; {named(left_out).lower()} {were} "
        f"not begun and {are} empty. Sliders in napari count from 0."
    )


def named(planes: Sequence[int]) -> str:
    """Return planes in words such as "Planes 1 to 3"."""
    return f"{'Planes' if len(planes) > 1 else 'Plane'} {ranges(planes)}"


def duration(seconds: float) -> str:
    """Return a time in words, to about two digits, 1 s or more."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
