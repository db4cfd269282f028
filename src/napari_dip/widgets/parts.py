"""Small pieces of Qt that several widgets are made of."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import (
    QDockWidget,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QStyle,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

UNLIMITED = 2**24 - 1
"""Largest height of a widget, QWIDGETSIZE_MAX, which not every binding of Qt has."""

TITLE_BAR = 92
"""Pixels that napari takes for buttons and margins beside the title of a dock."""

TITLE_FONT = 1.1
"""Size of the font of that title, relative to that of a panel."""


def button(text: str, tip: str) -> QPushButton:
    """Return a button with a tooltip."""
    push_button = QPushButton(text)
    # Qt breaks the lines of a tip only in rich text.
    push_button.setToolTip(f"<qt>{tip}</qt>")
    return push_button


def step_slider() -> QSlider:
    """Return a slider that goes from tick to tick."""
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setTickPosition(QSlider.TickPosition.TicksBelow)
    slider.setTickInterval(1)
    slider.setPageStep(1)
    return slider


class Text(QLabel):
    """A text that can be selected and never makes the dock wider; none is hidden."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        if not text:
            self.hide()

    def say(self, text: str) -> None:
        """Show another text, or none."""
        self.setText(text)
        self.setVisible(bool(text))


def fill(widget: QWidget, *parts: QWidget | QLayout) -> None:
    """Put parts below each other into a widget, without margins."""
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        if isinstance(part, QLayout):
            layout.addLayout(part)
        else:
            layout.addWidget(part)


def side_by_side(*parts: QWidget, widest: QWidget | None = None) -> QHBoxLayout:
    """Return parts beside each other; one takes the width that is left, if given."""
    layout = QHBoxLayout()
    for part in parts:
        layout.addWidget(part, stretch=int(part is widest))
    return layout


class Section(QCollapsible):
    """A section that gives its contents the height that they need when expanded.

    QCollapsible gives them the height that they would have in another width, in which
    text breaks at other places.  It does not hide them either, so that the Tab key
    would go through fields that nobody sees.
    """

    def expand(self, animate: bool = True) -> None:
        """Show the contents."""
        super().expand(animate=False)
        self.content().setMaximumHeight(UNLIMITED)
        self.content().show()

    def collapse(self, animate: bool = True) -> None:
        """Hide the contents."""
        super().collapse(animate=False)
        self.content().hide()

    def eventFilter(self, a0: QObject | None, a1: QEvent | None) -> bool:
        """Leave the height of the contents to the layout when they are resized."""
        return False


def folded(title: str, content: QWidget) -> QCollapsible:
    """Return a section that is collapsed at first."""
    section = Section(title, collapsedIcon="▶", expandedIcon="▼")
    section.setDuration(0)
    section.addWidget(content)
    # The dock is as wide as all sections need, and stays so when one is expanded.
    policy = section.content().sizePolicy()
    policy.setRetainSizeWhenHidden(True)
    section.content().setSizePolicy(policy)
    section.collapse()
    layout = section.layout()
    assert layout is not None
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    return section


class VerticalArea(QScrollArea):
    """An area that scrolls up and down and is always as wide as its contents."""

    def __init__(self, inside: QWidget) -> None:
        super().__init__()
        self.inside = inside
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(inside)

    def minimumSizeHint(self) -> QSize:
        """Leave room for the scroll bar beside the contents, and for the title."""
        return QSize(self._width(), 200)

    def sizeHint(self) -> QSize:
        """Be as high as the contents, if the screen is."""
        return QSize(self._width(), self.inside.height())

    def _width(self) -> int:
        style = self.style()
        assert style is not None
        bar = style.pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent)
        dock = self.parentWidget()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parentWidget()
        title = "" if dock is None else dock.windowTitle()
        title_width = TITLE_FONT * self.fontMetrics().horizontalAdvance(title)
        width = self.inside.minimumSizeHint().width() + bar
        return max(width, round(title_width) + TITLE_BAR)
