"""Small pieces of Qt show all that they hold."""

import pytest
from qtpy.QtWidgets import QDockWidget, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_dip.widgets.parts import Text, VerticalArea, fill, folded

TEXT = "What is filled in is invented, so never measure inside of the mask. " * 8

pytestmark = pytest.mark.gui


def spare(label):
    """Return the height of a label beyond that of its text."""
    return label.height() - label.heightForWidth(label.width())


@pytest.mark.parametrize("width", [180, 250, 330, 700])
@pytest.mark.parametrize("when", ["before", "after"])
def test_text_of_a_section_is_shown_in_full(qtbot, width, when):
    label = Text(TEXT)
    section = folded("About", label)
    inside = QWidget()
    layout = QVBoxLayout(inside)
    layout.addWidget(section)
    layout.addStretch()
    area = VerticalArea(inside)
    qtbot.addWidget(area)
    if when == "before":
        section.expand(animate=False)
    area.resize(width, 400)
    area.show()
    qtbot.waitExposed(area)
    if when == "after":
        section._toggle_btn.click()
    for other in (width, width + 40):
        area.resize(other, 400)
        qtbot.waitUntil(lambda: 0 <= spare(label) < 30, timeout=1000)
    section.collapse(animate=False)
    qtbot.waitUntil(lambda: not label.visibleRegion().boundingRect().height())


def test_the_tab_key_leaves_out_what_is_folded_away(qtbot):
    line, last, middle, inside = QLineEdit(), QLineEdit(), QWidget(), QWidget()
    inner = folded("Inner", line)
    QVBoxLayout(middle).addWidget(inner)
    outer = folded("Outer", middle)
    layout = QVBoxLayout(inside)
    layout.addWidget(outer)
    layout.addWidget(last)
    area = VerticalArea(inside)
    qtbot.addWidget(area)
    area.show()
    qtbot.waitExposed(area)

    def reached():
        parts = (outer.toggleButton(), inner.toggleButton(), line, last)
        return [part.isVisible() for part in parts]

    width = area.minimumSizeHint().width()
    assert reached() == [True, False, False, True]
    outer.toggleButton().click()
    assert reached() == [True, True, False, True]
    inner.toggleButton().click()
    assert reached() == [True, True, True, True]
    assert area.minimumSizeHint().width() == width
    outer.toggleButton().click()
    assert reached() == [True, False, False, True]


def test_a_panel_is_as_wide_as_the_title_of_its_dock(qtbot):
    title = "Point spread function (napari-dip)"
    dock, area = QDockWidget(title), VerticalArea(QLabel("short"))
    qtbot.addWidget(dock)
    narrow = area.minimumSizeHint().width()
    inside = QWidget()
    fill(inside, area)
    dock.setWidget(inside)
    wide = dock.fontMetrics().horizontalAdvance(title)
    assert narrow < wide < area.minimumSizeHint().width()
