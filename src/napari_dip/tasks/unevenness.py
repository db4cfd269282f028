"""How much stronger the noise of a plane is at its border than in its middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 30.0
"""How many times as strong as in the middle noise may be."""

NUMBERS = 7
"""Numbers that an `Unevenness` is written as."""


@dataclass(frozen=True)
class Unevenness:
    """A factor at every pixel, 1 in the middle, whose logarithm is quadratic.

    Places run from -1 to 1 along both axes of the whole plane.
    """

    sides: tuple[int, ...]
    """Pixels of the whole plane, (Y, X)."""
    middle: tuple[float, ...]
    """Place where the factor is 1, (y, x)."""
    shape: tuple[float, ...]
    """Coefficients of the squares of the distance from there: yy, yx and xx."""

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Unevenness:
        """Return that of `to_numbers`."""
        height, width, y, x, *shape = numbers
        return cls((round(height), round(width)), (y, x), tuple(shape))

    def to_numbers(self) -> tuple[float, ...]:
        """Return sides, middle and shape in a row."""
        return tuple(map(float, (*self.sides, *self.middle, *self.shape)))

    @property
    def possible(self) -> bool:
        """Whether the factor is from 1 to `MOST` everywhere."""
        yy, yx, xx = self.shape
        inside = min(self.sides) > 0 and max(np.abs(self.middle)) <= 1
        rising = min(yy, xx) >= 0 and 4 * yy * xx >= yx**2
        corners = np.array([-1.0, 1.0])
        return bool(inside and rising and self._at(corners, corners).max() <= MOST)

    def factors(self, region: tuple[slice, ...]) -> NDArray[np.float32]:
        """Return the factor at every pixel of a part of the plane."""
        pairs = zip(region, self.sides, strict=True)
        y, x = (
            ((np.arange(part.start, part.stop) + 0.5) / side * 2 - 1).clip(-1, 1)
            for part, side in pairs
        )
        return self._at(y, x).astype(np.float32)

    def _at(
        self, y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        yy, yx, xx = self.shape
        down, across = (y - self.middle[0])[:, None], x - self.middle[1]
        power = yy * down**2 + yx * down * across + xx * across**2
        return np.asarray(np.exp(np.minimum(power, 100)))
