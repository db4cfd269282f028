"""How fast iterations come."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate

LAST = 50
"""Iterations over which the rate is taken."""


class Rate:
    """Iterations per second, over the last ones."""

    def __init__(self) -> None:
        self.times: deque[float] = deque(maxlen=LAST)
        self.fitted = False

    def note(self, it: Iterate) -> None:
        """Note an iteration that has just been taken."""
        if it.step == 1 or it.fitted != self.fitted:
            self.clear()  # what comes takes another time
        self.fitted = it.fitted
        self.times.append(time.perf_counter())

    def clear(self) -> None:
        """Forget all iterations, as after a pause."""
        self.times.clear()

    @property
    def value(self) -> float:
        """Iterations per second; 0 where unknown."""
        if len(self.times) < 2:
            return 0.0
        span = self.times[-1] - self.times[0]
        return (len(self.times) - 1) / span if span > 0 else 0.0
