"""The slider that goes back to earlier images of a fit."""

from __future__ import annotations

from typing import Any

from napari.layers import Image
from napari.qt.threading import create_worker
from qtpy.QtWidgets import QLabel, QSpinBox, QWidget
from superqt.utils import signals_blocked

from napari_dip.widgets.controller import IDLE, RunController
from napari_dip.widgets.deletion import connect
from napari_dip.widgets.parts import Text, button, fill, side_by_side, step_slider
from napari_dip.widgets.results import insert
from napari_dip.widgets.trajectory import Snapshot

GO_ON = (
    "Continue from the last iteration of the fit, wherever the slider is: from an "
    "earlier one the fit would pass through the same images again. The result is then "
    "the last image. A fit that you stopped goes on until it stops by itself, and then "
    "with the planes that were not begun."
)

CANNOT_GO_ON = (
    "This run cannot go on. That needs a run of one fit, or one that you stopped. This "
    "one had several, for seeds, channels that have nothing in common or parts of a "
    "large image, or was cancelled while it went on."
)

OF_PLANES = (
    "All planes are done. To fit one of them for longer, choose the plane that is "
    "shown and run again: that run can go on."
)

LONGER = 0.5
"""Iterations that are offered to continue for, as a part of those of the fit."""


class Scrubber(QWidget):
    """A slider that shows earlier images of a fit in the layer of its result.

    The words `ends` stand at its ends.
    """

    def __init__(self, controller: RunController, ends: tuple[str, str]) -> None:
        super().__init__()
        self.controller = controller
        self.moments: list[Snapshot | None] = []
        """The snapshots of the plane in view; None stands for the result."""
        self.index: Any = None
        self.before = 0
        """Iterations before the first, while the fit is prepared."""
        self.copied: Image | None = None
        """The layer that is being copied."""
        self._make_slider(ends)
        self._make_buttons()
        early, late = (QLabel(text) for text in ends)
        fill(
            self,
            side_by_side(early, self.slider, late, widest=self.slider),
            side_by_side(self.label, self.keep_button, widest=self.label),
            side_by_side(self.more, self.go_on_button, widest=self.go_on_button),
            self.reason,
        )
        controller.reported.connect(self._grow)
        controller.state_changed.connect(lambda _: self._offer())
        controller.result_changed.connect(self.refresh)
        connect(self, controller.viewer.dims.events.current_step, self._plane_changed)
        self._offer()

    def _make_slider(self, ends: tuple[str, str]) -> None:
        self.slider = step_slider()
        self.slider.setToolTip(
            f"<qt>Moves through the fit: left to earlier images ({ends[0]}), right to "
            f"later ones ({ends[1]}). The layer shows that image.</qt>"
        )
        self.slider.valueChanged.connect(self._look)
        self.label = Text()

    def _make_buttons(self) -> None:
        self.keep_button = button(
            "Keep this one",
            "Copy the image that is shown to a hidden layer of its own, and show the "
            "result that the fit chose.",
        )
        self.more = QSpinBox()
        self.more.setRange(10, 100_000)
        self.more.setSingleStep(50)
        self.more.setValue(200)
        self.more.setSuffix(" more")
        self.more.setToolTip("<qt>Number of iterations to continue for.</qt>")
        self.go_on_button = button("Continue fitting", GO_ON)
        self.reason = Text()
        self.keep_button.clicked.connect(self._keep)
        self.go_on_button.clicked.connect(self._go_on)

    def refresh(self) -> None:
        """Offer the snapshots of the plane in view, and point at the one it shows."""
        last = self.controller.last
        result = self.controller.result or last
        self.index, self.moments = None, []
        if result is not None:
            self.index = result.shown_index(self.controller.viewer.dims)
        if self.index is not None:
            self.moments = list(self.controller.trajectory.of(self.index))
        if last is not None and last.provenance["iterations"]:
            self.more.setValue(10 * round(LONGER * last.provenance["iterations"] / 10))
        if last is not None and self.moments:
            self.moments.insert(self._place_of_result(), None)
        self._point_at(self._now())

    def _place_of_result(self) -> int:
        """Return the place of the result among the snapshots."""
        moments = [m for m in self.moments if m is not None]
        best = self.controller.best_step
        if best < 1 or moments[-1].part != moments[0].part:
            return len(moments)
        return sum(m.step <= best for m in moments)

    def _now(self) -> int:
        """Return the place of the snapshot that the layer shows."""
        last = self.controller.last
        if last is None:
            return len(self.moments) - 1
        moment = last.moment_of(self.index) if self.index is not None else None
        for i, snapshot in enumerate(self.moments):
            if (snapshot and snapshot.moment) == moment:
                return i
        return 0

    def _grow(self, report: Any) -> None:
        """Add a new snapshot, without moving the slider from where the user put it."""
        if report.image is None or self.controller.result is None:
            return
        following = self.controller.following
        looked_at = self._looked_at()
        self.index = report.iterate.index
        self.before = report.before
        self.moments = list(self.controller.trajectory.of(report.iterate.index))
        if not following and looked_at not in self.moments:
            self.controller.following = following = True
        last = len(self.moments) - 1
        self._point_at(last if following else self.moments.index(looked_at))

    def _point_at(self, place: int) -> None:
        """Give the slider a place for every snapshot, and move it to one of them."""
        with signals_blocked(self.slider):
            self.slider.setRange(0, max(len(self.moments) - 1, 0))
            self.slider.setValue(place)
        self._offer()

    def _looked_at(self) -> Snapshot | None:
        i = self.slider.value()
        return self.moments[i] if i < len(self.moments) else None

    def _look(self, _: int) -> None:
        moment = self._looked_at()
        running, last = self.controller.result, self.controller.last
        if running is not None and moment is not None:
            self.controller.following = moment is self.moments[-1]
            running.show(moment.image, self.index)
        elif last is not None:
            last.look(self.index, moment)
        self._offer()

    def _keep(self) -> None:
        last = self.controller.last
        if last is None:
            return
        self.copied = last.layer
        create_worker(
            last.keep(), _connect={"returned": self._kept, "finished": self._copy_ended}
        )
        self.refresh()

    def _kept(self, layer: Image) -> None:
        assert self.copied is not None
        insert(self.controller.viewer.layers, [self.copied], layer)

    def _copy_ended(self) -> None:
        self.copied = None
        self._offer()

    def _go_on(self) -> None:
        # What was stopped while its image was finished takes no iteration more.
        self.controller.go_on(self.more.value() if self.more.isEnabled() else 0)

    def _plane_changed(self, event: Any = None) -> None:
        last = self.controller.last
        if last is None:
            return
        if last.shown_index(self.controller.viewer.dims) != self.index:
            self.refresh()

    def _offer(self) -> None:
        last = self.controller.last
        idle = self.controller.state == IDLE and last is not None
        self.keep_button.setEnabled(idle and self.copied is None)
        can = last is not None and last.resume is not None
        planes = 1 if last is None else last.planes
        # A stack says why it cannot go on, even without images to look back at.
        self.setVisible(len(self.moments) > 1 or (idle and (can or planes > 1)))
        self.slider.setEnabled(len(self.moments) > 1)
        self.go_on_button.setEnabled(idle and can)
        # What was stopped goes on to its own end.
        stopped = last is not None and last.provenance.get("ended_at") is not None
        self.more.setEnabled(idle and can and not stopped)
        self.reason.setText(OF_PLANES if planes > 1 else CANNOT_GO_ON)
        self.reason.setVisible(idle and not can)
        self._name_shown(idle)

    def _name_shown(self, idle: bool) -> None:
        """Say in the label which image the layer shows."""
        moment = self._looked_at()
        if moment is not None:
            fits = {m.part for m in self.moments if m is not None}
            which = f"fit {moment.part + 1}, " if len(fits) > 1 else ""
            when = f"iteration {moment.step}"
            if moment.step <= 0:
                when = f"preparing, iteration {self.before + moment.step}"
            self.label.say(f"Shown: {which}{when}")
        elif idle:
            self.label.say("Shown: the result")
