"""A small plot of a fit: its loss, its error, and the image that it would keep."""

from __future__ import annotations

import math
from collections.abc import Iterable

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

LOSS, SCORE, CHOSEN = QColor("#4c9be8"), QColor("#f2a33a"), QColor("#5fc27e")

Check = tuple[int, int, float, float]
"""Fit, iteration, loss and error; see `napari_dip.widgets.worker.Report`."""


class Curve(QWidget):
    """A plot of the checks of a fit, logarithmic if all values are positive."""

    def __init__(self) -> None:
        super().__init__()
        self.checks: list[Check] = []
        self.chosen = 0
        self.score_name = ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "<qt>How the fit goes. The loss is what the fit makes small, and has no "
            "unit. By the error an image is chosen; the numbers are in the units of "
            "the image. The green line marks the image that is kept. Each curve has "
            "its own scale. Of a stack you see the plane that was fitted last.</qt>"
        )

    def sizeHint(self) -> QSize:
        """Return a size that fits a dock."""
        return QSize(240, 110)

    def clear(self) -> None:
        """Remove the curves of an earlier fit, and hide the plot."""
        self.checks, self.chosen, self.score_name = [], 0, ""
        self.hide()

    def add(
        self, checks: Iterable[Check], chosen: int, score_name: str = "error"
    ) -> None:
        """Append checks, and move the mark to the iteration whose image would be kept.

        The legend calls the error `score_name`.
        """
        for check in checks:
            if not math.isfinite(check[2]):
                continue
            last = self.checks[-1][:2] if self.checks else (-1, -1)
            if check[0] != last[0] or check[1] < last[1]:
                self.checks = []  # the checks of the next fit begin
            if not self.checks or check[1] > last[1]:
                self.checks.append(check)
        self.chosen, self.score_name = chosen, score_name
        self.update()

    def choose(self, step: int) -> None:
        """Move the mark of the image that is kept."""
        self.chosen = step
        self.update()

    def limits(self, which: int) -> tuple[float, float] | None:
        """Return the values at the lower and at the upper end of a scale, if any.

        The first values are far above the others: left out, the rest gets the whole
        height.  Loss and error differ much, too, so each has its own scale.
        """
        shown = self.checks[len(self.checks) // 6 :]
        values = [c[which] for c in shown if math.isfinite(c[which])]
        return (min(values), max(values)) if values else None

    def points(self, which: int, area: QRectF) -> list[QPointF]:
        """Return loss (2) or error (3) as points in an area."""
        limits = self.limits(which) or (1.0, 1.0)
        # Negative losses have no logarithm.
        scale = math.log if limits[0] > 0 else float
        low, high = map(scale, limits)
        last = max(self.checks[-1][1], 1)

        def height(value: float) -> float:
            return (scale(value) - low) / (high - low) if high > low else 0.5

        return [
            QPointF(
                area.left() + area.width() * check[1] / last,
                area.bottom() - area.height() * height(check[which]),
            )
            for check in self.checks
            if math.isfinite(check[which]) and (scale is float or check[which] > 0)
        ]

    def paintEvent(self, event: object) -> None:
        """Draw frame, legend and curves."""
        painter = QPainter(self)
        try:
            self._draw(painter)
        finally:
            painter.end()

    def _draw(self, painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        line = painter.fontMetrics().height()
        numbers = self._numbers()
        widths = [painter.fontMetrics().horizontalAdvance(n) + 4 for n in numbers]
        right = max(widths, default=0) + 3
        area = QRectF(self.rect()).adjusted(2, line + 4, -right, -line - 2)
        frame = QColor(text)
        frame.setAlpha(60)
        painter.setPen(frame)
        painter.drawRect(area)
        if not self.checks:
            return
        last = max(self.checks[-1][1], 1)
        named = [(LOSS, "loss")] + [(SCORE, self.score_name)] * bool(numbers)
        if 0 < self.chosen <= last:
            named.append((CHOSEN, "kept"))
            x = area.left() + area.width() * self.chosen / last
            painter.setPen(QPen(CHOSEN, 1.5, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
        painter.setClipRect(area)
        for which, colour in ((2, LOSS), (3, SCORE)):
            painter.setPen(QPen(colour, 1.5))
            painter.drawPolyline(QPolygonF(self.points(which, area)))
        painter.setClipping(False)
        painter.setPen(text)
        below = QRectF(area.left(), area.bottom() + 2, area.width(), line)
        painter.drawText(below, Qt.AlignmentFlag.AlignLeft, "1")
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, "iteration")
        painter.drawText(below, Qt.AlignmentFlag.AlignRight, str(last))
        self._legend(painter, text, named)
        painter.setPen(SCORE)
        beside = QRectF(area.right() + 4, area.top(), right, area.height())
        for number, place in numbers.items():
            painter.drawText(beside, place, number)

    def _numbers(self) -> dict[str, Qt.AlignmentFlag]:
        """Return the ends of the scale of the error, and where they stand."""
        align = Qt.AlignmentFlag
        ends = [f"{limit:.3g}" for limit in self.limits(3) or ()]
        if len(set(ends)) == 1:
            return {ends[0]: align.AlignVCenter}
        return dict(zip(ends, (align.AlignBottom, align.AlignTop), strict=False))

    def _legend(
        self, painter: QPainter, text: QColor, named: list[tuple[QColor, str]]
    ) -> None:
        x, metrics = 2.0, painter.fontMetrics()
        for colour, name in named:
            painter.setPen(QPen(colour, 2))
            middle = metrics.height() / 2
            painter.drawLine(QPointF(x, middle), QPointF(x + 12, middle))
            painter.setPen(text)
            painter.drawText(QPointF(x + 16, metrics.ascent()), name)
            x += 16 + metrics.horizontalAdvance(name) + 12
