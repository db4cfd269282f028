"""Buttons to run a fit, and how far it is."""

from __future__ import annotations

import math

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_dip.widgets.controller import (
    ENDING,
    IDLE,
    PAUSED,
    RUNNING,
    RunController,
    duration,
)
from napari_dip.widgets.worker import Report


class RunPanel(QWidget):
    """Run, pause, stop and cancel; progress and how the fit ended.

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
        self.automatic = False
        self.run_button = _button("Run", "Start; the result is a new layer.")
        self.pause_button = _button("Pause", "Wait after this iteration, or go on.")
        self.stop_button = _button(
            "Stop and keep", "End now and keep the best image so far."
        )
        self.cancel_button = _button("Cancel", "End now and remove the result.")
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setFormat("%p %")
        self.progress = wrapped()
        self.quality = wrapped()
        self.quality.setToolTip(
            "<qt>Mean squared error, in the fit's own units. Lower is better. At "
            "held-out pixels it says how far the image is from the truth, and "
            "rises when the noise is being learnt.</qt>"
        )

        buttons = QHBoxLayout()
        for button in (self.pause_button, self.stop_button, self.cancel_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.run_button)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.progress)
        layout.addWidget(self.quality)

        self.pause_button.clicked.connect(controller.toggle_pause)
        self.stop_button.clicked.connect(controller.stop)
        self.cancel_button.clicked.connect(controller.cancel)
        controller.state_changed.connect(self.show_state)
        controller.reported.connect(self.show_report)
        controller.ended.connect(self.show_end)
        self.show_state(IDLE)
        self.progress.hide()
        self.quality.hide()

    def show_state(self, state: str) -> None:
        """Offer the buttons that make sense now."""
        active = state in (RUNNING, PAUSED)
        self.run_button.setEnabled(state == IDLE)
        self.pause_button.setEnabled(active)
        self.pause_button.setText("Resume" if state == PAUSED else "Pause")
        self.stop_button.setEnabled(active)
        self.cancel_button.setEnabled(active)
        self.bar.setVisible(state != IDLE)
        if state == ENDING:
            self.progress.setText("Ending after this iteration")

    def begin(self, automatic: bool) -> None:
        """Clear what an earlier fit left; say whether this one stops by itself."""
        self.automatic = automatic
        self.bar.setValue(0)
        self._say("Starting")

    def show_report(self, report: Report) -> None:
        """Show how far the fit is."""
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
        if math.isfinite(report.score):
            name = "Held-out error" if self.automatic else "Error"
            self.quality.setText(
                f"{name} {report.score:.3g}, best image at iteration {report.best_step}"
            )
            self.quality.show()

    def show_end(self, text: str) -> None:
        """Say how the fit ended, or why none began."""
        self._say(text)

    def _say(self, text: str) -> None:
        self.progress.setText(text)
        self.progress.show()
        self.quality.hide()


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def wrapped(text: str = "") -> QLabel:
    """Return a text that can be selected and never makes the dock wider."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    policy.setHeightForWidth(True)
    label.setSizePolicy(policy)
    return label
