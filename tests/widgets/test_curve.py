import math

import pytest
from qtpy.QtCore import QRectF
from qtpy.QtGui import QColor

from napari_dip.widgets.curve import CHOSEN, LOSS, SCORE, Curve

AREA = QRectF(0, 0, 100, 50)


@pytest.fixture
def curve(qtbot):
    widget = Curve()
    qtbot.addWidget(widget)
    widget.resize(240, 110)
    widget.clear()
    return widget


def colours(curve):
    image = curve.grab().toImage()
    return {
        QColor(image.pixel(x, y)).name()
        for x in range(image.width())
        for y in range(image.height())
    }


def test_an_empty_curve_can_be_drawn(curve):
    assert LOSS.name() not in colours(curve)


def test_losses_are_drawn_on_a_logarithmic_axis(curve):
    curve.add([(0, 1, 1.0, 1.0), (0, 10, 0.1, 0.5), (0, 20, 0.01, 0.3)], 10)
    heights = [point.y() for point in curve.points(2, AREA)]
    assert heights == pytest.approx([0, 25, 50])
    assert [p.x() for p in curve.points(3, AREA)] == [5, 50, 100]
    assert {c.name() for c in (LOSS, SCORE, CHOSEN)} <= colours(curve)


def test_losses_that_may_be_negative_are_drawn_on_a_plain_one(curve):
    curve.add([(0, 1, 1.0, 1.0), (0, 10, 0.0, 0.5), (0, 20, -1.0, math.nan)], 10)
    assert [p.y() for p in curve.points(2, AREA)] == pytest.approx([0, 25, 50])
    assert len(curve.points(3, AREA)) == 2
    assert LOSS.name() in colours(curve)


def test_a_score_that_stays_the_same_is_drawn_in_the_middle(curve):
    curve.add([(0, 1, 1.0, 0.3), (0, 10, 0.5, 0.3)], 10)
    assert [p.y() for p in curve.points(3, AREA)] == [25, 25]


def test_the_same_check_counts_once_and_another_part_begins_anew(curve):
    curve.add([(0, 1, 1.0, 1.0), (0, 10, 0.5, 0.5)], 10)
    curve.add([(0, 10, 0.5, 0.5), (0, 20, 0.4, 0.5)], 20)
    assert [check[1] for check in curve.checks] == [1, 10, 20]
    curve.add([(1, 1, 1.0, 1.0)], 1)
    assert [check[:2] for check in curve.checks] == [(1, 1)]
    curve.add([(1, 1, math.nan, math.nan)], 1)
    assert len(curve.checks) == 1


def test_the_fall_at_the_beginning_leaves_height_for_the_rest(curve):
    curve.add([(0, 1, 1e6, 1e6)], 1)
    curve.add([(0, 10 * i, 2.0 - i / 20, 3.0) for i in range(1, 20)], 1)
    heights = [point.y() for point in curve.points(2, AREA)]
    assert heights[0] < -100
    assert 0 < heights[5] < heights[-1] == pytest.approx(50)
    colours(curve)


def test_a_score_far_from_the_loss_is_drawn_as_high(curve):
    """Of the excess of a held-out error, its rise at the end must be seen."""
    scores = [1e-3, 2e-4, 1e-4, 1.2e-4]
    curve.add([(0, 10 * i, 1.0 - i / 10, s) for i, s in enumerate(scores, 1)], 30)
    heights = [point.y() for point in curve.points(3, AREA)]
    assert heights[0] == pytest.approx(0)
    assert heights[2] == pytest.approx(50)
    assert heights[3] < 47


@pytest.mark.parametrize(
    ("errors", "numbers"),
    [
        ((5.0, 1.25, 2.0), ["1.25", "5"]),
        ((3.0, 3.0, 3.0), ["3"]),
        ((math.nan, math.nan, math.nan), []),
    ],
)
def test_the_scale_of_the_error_has_numbers(curve, errors, numbers):
    curve.add([(0, i, 1.0 / i, error) for i, error in enumerate(errors, 1)], 0)
    assert list(curve._numbers()) == numbers
    assert (SCORE.name() in colours(curve)) is bool(numbers)
    assert CHOSEN.name() not in colours(curve)  # nor is it in the legend


def test_constant_losses_and_a_single_check_can_be_drawn(curve):
    curve.add([(0, 1, 0.5, 0.5)], 1)
    blank = colours(curve)
    curve.add([(0, 10, 0.5, 0.5)], 1)
    assert colours(curve) - blank


@pytest.mark.parametrize("name", ["estimated error", "held-out error"])
def test_the_legend_fits_beside_the_scroll_bar_of_a_narrow_panel(curve, name):
    curve.add([(0, 1, 1.0, 1.0), (0, 10, 0.5, 0.3)], 10, name)
    curve.resize(480, 110)
    image = curve.grab().toImage()
    legend = range(curve.fontMetrics().height())
    beyond = {image.pixel(x, y) for x in range(240, 480) for y in legend}
    assert len(beyond) == 1
