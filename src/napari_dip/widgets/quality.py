"""The choice of how much time a fit may take, with the time for this image."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget
from superqt.utils import signals_blocked

from napari_dip.widgets.controller import duration
from napari_dip.widgets.parts import step_slider

QUICK, NORMAL, BEST = "Quick look", "Normal", "Best"
"""Names of the qualities."""

QUICK_ITERATIONS = {
    "denoise": 20,
    "denoise_guided": 200,
    "inpaint": 40,
    "super_resolve": 80,
    "remove_artifacts": 160,
    "deconvolve": 60,
    "blend": 60,
}
"""Iterations of a quick look: no more than half of any normal fit of the task, where
three at half the resolution count as one, and enough for an image that is no worse than
the input."""

TIPS = {
    QUICK: "A rough result, for a first impression.",
    NORMAL: "A good result in the time that it needs.",
    BEST: "A larger network and several fits: a little better, and several times as "
    "long.",
}


def qualities(task: str) -> dict[str, dict[str, Any]]:
    """Return the parameters of every quality of a task, from the quickest on."""
    choices: dict[str, dict[str, Any]] = {
        NORMAL: {"preset": "fast", "iterations": "auto"},
        BEST: {"preset": "best", "iterations": "auto"},
    }
    if task not in QUICK_ITERATIONS:
        return choices
    quick = {"preset": "fast", "iterations": QUICK_ITERATIONS[task]}
    return {QUICK: quick, **choices}


class Quality(QWidget):
    """A slider with a name and a time at every step that a task has."""

    chosen = Signal(str)
    """Emitted when the user moves the slider, or presses it where it is."""

    def __init__(self, task: str) -> None:
        super().__init__()
        self.choices = qualities(task)
        self.names = list(self.choices)
        self.slider = step_slider()
        self.slider.setRange(0, len(self.names) - 1)
        tips = "<br>".join(f"<b>{name}</b>: {TIPS[name]}" for name in self.names)
        self.slider.setToolTip(f"<qt>{tips}<br>Settings has more choices.</qt>")
        self.labels = {name: QLabel(name) for name in self.names}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(0)
        grid.addWidget(self.slider, 0, 0, 1, len(self.names))
        align = Qt.AlignmentFlag
        between = [align.AlignHCenter] * (len(self.names) - 2)
        sides = [align.AlignLeft, *between, align.AlignRight]
        for i, label in enumerate(self.labels.values()):
            label.setAlignment(sides[i])
            grid.addWidget(label, 1, i)
            grid.setColumnStretch(i, 1)
        self.slider.valueChanged.connect(self._choose)
        # Parameters that are of no quality leave the slider where it is.
        self.slider.sliderReleased.connect(self._choose)

    def _choose(self, _: int = 0) -> None:
        self.chosen.emit(self.names[self.slider.value()])

    def show_choice(self, values: dict[str, Any]) -> str | None:
        """Move the slider to the quality of some parameters; return its name.

        None stands for parameters that are of no quality: the names are gray then.
        """
        same = [
            name
            for name, choice in self.choices.items()
            if all(values.get(key) == value for key, value in choice.items())
        ]
        if same:
            with signals_blocked(self.slider):
                self.slider.setValue(self.names.index(same[0]))
        for label in self.labels.values():
            label.setEnabled(bool(same))
        return same[0] if same else None

    def show_seconds(self, name: str, seconds: float) -> None:
        """Show below a name how long that takes."""
        if name in self.labels:
            self.labels[name].setText(f"{name}\n{duration(seconds)}")

    def forget_seconds(self) -> None:
        """Show names alone: it is not known how long anything takes."""
        for name, label in self.labels.items():
            label.setText(name)
