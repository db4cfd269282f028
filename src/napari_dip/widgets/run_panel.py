"""Buttons to run a fit, and its progress."""

from __future__ import annotations

from dataclasses import replace

from qtpy.QtWidgets import QProgressBar, QWidget

from napari_dip.widgets.controller import (
    ENDING,
    IDLE,
    PAUSED,
    RUNNING,
    WAITING,
    RunController,
    duration,
)
from napari_dip.widgets.curve import Curve
from napari_dip.widgets.parts import Text, button, fill, side_by_side
from napari_dip.widgets.worker import Report

STOP, LEAVE_OUT = "Stop and keep best", "Leave filters out"
"""Texts of the button that stops: of the first click, and of the second."""


class RunPanel(QWidget):
    """Run, pause, stop and cancel; progress, the curve, and how the fit ended.

    The owner connects `run_button.clicked` to what Run does.  The other buttons act on
    the controller.
    """

    def __init__(self, controller: RunController) -> None:
        super().__init__()
        self.controller = controller
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setFormat("%p %")
        self.curve = Curve()
        self.finishing = 0.0
        """Seconds that finishing an image takes, as far as known."""
        self.ends_after = 0
        """Iterations after which a fit likely ends by itself, 0 where unknown."""
        self.has_failed = False
        self._make_buttons()
        self._make_texts()
        fill(
            self,
            self.estimate,
            side_by_side(self.run_button, self.try_button, widest=self.run_button),
            side_by_side(self.pause_button, self.stop_button, self.cancel_button),
            self.bar,
            self.progress,
            self.quality,
            self.curve,
        )
        controller.state_changed.connect(self.show_state)
        controller.reported.connect(self.show_report)
        controller.ended.connect(self.show_end)
        controller.failed.connect(self.show_failure)
        self.show_state(IDLE)
        self.curve.hide()

    def _make_buttons(self) -> None:
        self.run_button = button("Run", "Start; the result is a new layer.")
        self.try_button = button(
            "Try on the visible region",
            "Restore only what the viewer shows of this plane: zoom in on a small "
            "part to see quickly what comes out. The result is a new layer in its "
            "place.",
        )
        self.pause_button = button("Pause", "Wait after this iteration, or go on.")
        self.stop_button = button(
            STOP,
            "End now and keep the best image so far. The filters at the end still take "
            "their time; click again to leave them out.",
        )
        self.cancel_button = button("Cancel", "End now and remove the result.")
        self.pause_button.clicked.connect(self.controller.toggle_pause)
        self.stop_button.clicked.connect(self._stop)
        self.cancel_button.clicked.connect(self.controller.cancel)

    def _make_texts(self) -> None:
        self.estimate = Text()
        self.estimate.setToolTip(
            "<qt>Time and memory that the fit will need. A few steps on a small piece "
            "were timed on this computer. A fit that stops by itself may take "
            "less.</qt>"
        )
        self.progress = Text()
        self.quality = Text()
        self.quality.setToolTip(
            "<qt>By this the fit chooses its image; lower is better. The estimated "
            "error is how far the image is from one without noise (root mean square). "
            "The held-out error is that at pixels that are not fitted, with their "
            "noise. Both rise when the network learns the noise.</qt>"
        )

    def show_state(self, state: str) -> None:
        """Show the buttons that make sense now."""
        active = state in (RUNNING, PAUSED)
        for start in (self.run_button, self.try_button):
            start.setEnabled(state == IDLE)
        self.pause_button.setEnabled(active)
        self.pause_button.setText("Resume" if state == PAUSED else "Pause")
        self.stop_button.setEnabled(active or state == ENDING)
        self.stop_button.setText(LEAVE_OUT if state == ENDING else STOP)
        self.cancel_button.setEnabled(state != IDLE)
        for other in (self.pause_button, self.stop_button, self.cancel_button):
            other.setVisible(state != IDLE)
        self.bar.setVisible(state != IDLE)
        waits = state == WAITING
        if waits or (state == RUNNING and not self.controller.begun):
            self.bar.setValue(0)
            self._say("Waiting for another fit to end" if waits else "Starting")
        elif state == ENDING:
            self._say("Stopping")

    def _stop(self) -> None:
        again = self.controller.state == ENDING
        self.controller.stop()
        if again:
            self.stop_button.setEnabled(False)

    def show_failure(self, text: str) -> None:
        """Say why a fit did not start or has failed, and nothing else."""
        self.estimate.hide()
        self.show_end(text)
        self.has_failed = True

    def forget_failure(self) -> None:
        """Do not say any longer why a fit failed: something has changed since."""
        if self.has_failed:
            self.progress.hide()
            self.estimate.say(self.estimate.text())
            self.has_failed = False

    def show_report(self, report: Report) -> None:
        """Show the progress of the fit."""
        # Otherwise the progress bar paints itself immediately, and Qt then composes
        # the whole window again, with the canvas.
        self.setUpdatesEnabled(False)
        try:
            self._show_report(report)
        finally:
            self.setUpdatesEnabled(True)

    def _show_report(self, report: Report) -> None:
        report = self._expected(report)
        it = report.iterate
        self.bar.setValue(round(1000 * self._done(report)))
        place = self._place(report) if it.parts > 1 else ""
        lines = [place] if place else []
        limit = "about" if it.fixed or it.fitted or self.ends_after else "at most"
        if it.fitted:
            several = self._plane(report)[1] > 1
            what = "plane after plane" if several else "the image"
            lines.append(f"The network restores {what}")
        elif report.finishing:
            lines.append(self._finishing(report))
        elif it.step == 0:
            now = report.before - it.ahead
            lines.append(f"Preparing: iteration {now} of {report.before}")
        else:
            most = it.maximum if it.fixed else f"{limit} {it.maximum}"
            lines.append(f"Iteration {it.step} of {most}")
        if report.rate > 0 and not report.finishing:
            times = [] if it.fitted else [f"{report.rate:.3g} per second"]
            if it.step > 0:
                times.append(f"{limit} {duration(self._left(report))} left")
            lines.append(", ".join(times))
        self.progress.say("\n".join(lines))
        self.curve.add(report.checks, it.best_step, it.score_name)
        self.curve.setVisible(len(self.curve.checks) > 2)  # two are a line
        reading = f"{it.reading[:1].upper()}{it.reading[1:]}"
        best = f" in the units of the image, best at iteration {it.best_step}"
        self.quality.say(reading and reading + best)

    def _expected(self, report: Report) -> Report:
        """Return a report whose fit takes as many iterations as it likely does."""
        it = report.iterate
        if not self.ends_after:
            return report
        last = min(max(self.ends_after, it.step), it.maximum)
        return replace(report, iterate=replace(it, maximum=last))

    def _left(self, report: Report) -> float:
        """Return how many seconds are left, at most."""
        it = report.iterate
        if it.fitted:
            return (it.parts - it.part - 1) / report.rate
        of_this = it.maximum - it.step
        if it.shared:
            return of_this / report.rate + self._plane(report)[1] * self.finishing
        later = (it.parts - it.part - 1) * it.maximum
        plane, planes = self._plane(report)
        return (of_this + later) / report.rate + (planes - plane) * self.finishing

    def _done(self, report: Report) -> float:
        """Return the share of all that is done, from 0 to 1."""
        if not report.iterate.shared:
            return report.done
        # The fit takes most of the time, and then there are as many parts as planes.
        if report.rate <= 0 or report.iterate.step == 0:
            return 0.0
        return report.seconds / (report.seconds + self._left(report))

    def _plane(self, report: Report) -> tuple[int, int]:
        """Return the number of the plane that a report is of, and that of planes."""
        result = self.controller.result
        return (0, 1) if result is None else result.plane_of(report.iterate.index)

    def _finishing(self, report: Report) -> str:
        """Return in words that the fit has ended and its image is being finished."""
        step = report.iterate.step
        when = f"at iteration {step}" if step else "while preparing"
        stopped = self.controller.state == ENDING
        text = f"{'Stopped' if stopped else 'Ended'} {when}: finishing the image"
        if self.finishing >= 1:
            text += f", about {duration(self.finishing)}"
        return text

    def _place(self, report: Report) -> str:
        """Return in words which plane and which of several fits a report is of, if any.

        A plane may need several fits: restarts, or channels without anything in
        common.
        """
        it = report.iterate
        plane, planes = self._plane(report)
        if it.shared and not it.fitted:
            what = f"all {planes} planes" if planes > 1 else "all of the image"
            return f"One network for {what}"
        names = [f"plane {plane + 1} of {planes}"] if planes > 1 else []
        if it.parts != planes and not it.fitted:
            names.append(f"fit {it.part + 1} of {it.parts}")
        text = ", ".join(names)
        return text[:1].upper() + text[1:]

    def show_end(self, text: str) -> None:
        """Say how the fit ended."""
        self.has_failed = False
        self._say(text)
        if self.controller.best_step > 0:
            self.curve.choose(self.controller.best_step)

    def _say(self, text: str) -> None:
        self.progress.say(text)
        self.quality.hide()
