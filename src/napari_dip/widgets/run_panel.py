"""Buttons to run a fit, and how far it is."""

from __future__ import annotations

import math

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

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
from napari_dip.widgets.parts import button, wrapped
from napari_dip.widgets.worker import Report


class RunPanel(QWidget):
    """Run, pause, stop and cancel; progress, the curve, and how the fit ended.

    What Run does is up to the owner: connect `run_button.clicked`.

    Parameters
    ----------
    controller : RunController
        What the other buttons act on.
    parent : QWidget, optional
        Where to live.
    """

    def __init__(
        self, controller: RunController, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.controller = controller
        self.automatic = self.holds_out = False
        self.run_button = button("Run", "Start; the result is a new layer.")
        self.pause_button = button("Pause", "Wait after this iteration, or go on.")
        self.stop_button = button(
            "Stop and keep best", "End now and keep the best image so far."
        )
        self.cancel_button = button("Cancel", "End now and remove the result.")
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setFormat("%p %")
        self.estimate = wrapped()
        self.estimate.setToolTip(
            "<qt>Memory that the fit will need, reckoned from the size of the image "
            "and of the network.</qt>"
        )
        self.progress = wrapped()
        self.quality = wrapped()
        self.quality.setToolTip(
            "<qt>Mean squared error, in the fit's own units. Lower is better. At "
            "held-out pixels it says how far the image is from the truth, and "
            "rises when the noise is being learnt.</qt>"
        )
        self.curve = Curve()

        buttons = QHBoxLayout()
        for each in (self.pause_button, self.stop_button, self.cancel_button):
            buttons.addWidget(each)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.estimate)
        layout.addWidget(self.run_button)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.progress)
        layout.addWidget(self.quality)
        layout.addWidget(self.curve)

        self.pause_button.clicked.connect(controller.toggle_pause)
        self.stop_button.clicked.connect(controller.stop)
        self.cancel_button.clicked.connect(controller.cancel)
        controller.state_changed.connect(self.show_state)
        controller.reported.connect(self.show_report)
        controller.ended.connect(self.show_end)
        self.show_state(IDLE)
        for hidden in (self.estimate, self.progress, self.quality, self.curve):
            hidden.hide()

    def show_state(self, state: str) -> None:
        """Offer the buttons that make sense now."""
        active = state in (RUNNING, PAUSED)
        self.run_button.setEnabled(state == IDLE)
        self.pause_button.setEnabled(active)
        self.pause_button.setText("Resume" if state == PAUSED else "Pause")
        self.stop_button.setEnabled(active)
        self.cancel_button.setEnabled(active or state == WAITING)
        self.bar.setVisible(state != IDLE)
        if state == WAITING:
            self._say("Waiting for another fit to end")
        elif state == ENDING:
            self._say("Ending after this iteration")

    def begin(self, automatic: bool, holds_out: bool) -> None:
        """Clear what an earlier fit left.

        Parameters
        ----------
        automatic : bool
            Whether this one stops by itself.
        holds_out : bool
            Whether its score is the error at held-out pixels.
        """
        self.automatic, self.holds_out = automatic, holds_out
        self.bar.setValue(0)
        self.curve.clear("held-out error" if holds_out else "error")
        self.curve.hide()
        self._say("Starting")

    def show_estimate(self, text: str) -> None:
        """Say what the fit will need."""
        self.estimate.setText(text)
        self.estimate.setVisible(bool(text))

    def show_report(self, report: Report) -> None:
        """Show how far the fit is."""
        # Painted once: a progress bar paints itself at once otherwise, and with it
        # Qt composes the whole window anew, canvas and all.
        self.setUpdatesEnabled(False)
        try:
            self._show_report(report)
        finally:
            self.setUpdatesEnabled(True)

    def _show_report(self, report: Report) -> None:
        done = (report.part + report.step / report.maximum) / report.parts
        self.bar.setValue(round(1000 * done))
        lines = []
        if report.parts > 1:
            lines.append(f"Fit {report.part + 1} of {report.parts}")
        most = "at most " if self.automatic else ""
        lines.append(f"Iteration {report.step} of {most}{report.maximum}")
        if report.rate > 0:
            left = report.parts * report.maximum * (1 - done) / report.rate
            up_to = "at most " if self.automatic else "about "
            lines.append(f"{report.rate:.3g} per second, {up_to}{duration(left)} left")
        self.progress.setText("\n".join(lines))
        self.progress.show()
        self.curve.add(report.checks, report.best_step)
        self.curve.setVisible(len(self.curve.checks) > 1)
        if math.isfinite(report.score):
            name = "Held-out error" if self.holds_out else "Error"
            self.quality.setText(
                f"{name} {report.score:.3g}, best at iteration {report.best_step}"
            )
            self.quality.show()

    def show_end(self, text: str) -> None:
        """Say how the fit ended, or why none began."""
        self._say(text)
        if self.controller.best_step > 0:
            self.curve.choose(self.controller.best_step)

    def _say(self, text: str) -> None:
        self.progress.setText(text)
        self.progress.show()
        self.quality.hide()
