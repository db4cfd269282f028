"""Values stretched so that their noise is the same at every brightness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

KNOTS = 17
"""Values, from 0 to 1, at which the noise is told."""

WEAKEST = 1 / 30
"""Least standard deviation, over the largest: values are stretched no further."""

FINE, FAR = 16, 10.0
"""Steps between two of them, and how far beyond them values are stretched."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """A rising function of every channel, which leaves 0 and 1 where they are."""

    values: NDArray[np.float64]
    """Values, (n,)."""
    stretched: NDArray[np.float64]
    """(C, n): what becomes of them."""

    @classmethod
    def of(cls, spreads: ArrayLike) -> Stretch:
        """Return the function that makes noise even.

        `spreads`, (C, `KNOTS`) or in a row, are its standard deviations at equally
        spaced values from 0 to 1, from `WEAKEST` to 1.  The slope of the function is
        one over them (a variance-stabilising transform: Bartlett, The use of
        transformations, Biometrics 3, 1947).
        """
        knots, rows = np.linspace(0, 1, KNOTS), np.reshape(spreads, (-1, KNOTS))
        values = np.linspace(0, 1, FINE * (KNOTS - 1) + 1)
        slopes = 1 / np.array([np.interp(values, knots, row) for row in rows])
        steps = (slopes[:, 1:] + slopes[:, :-1]) / 2
        whole = steps.sum(axis=1, keepdims=True)
        inner = np.pad(np.cumsum(steps / whole, axis=1), ((0, 0), (1, 0)))
        ends = slopes[:, [0, -1]] * (len(values) - 1) / whole * FAR
        outer = inner[:, :1] - ends[:, :1], inner, inner[:, -1:] + ends[:, 1:]
        return cls(np.concatenate([[-FAR], values, [1 + FAR]]), np.hstack(outer))

    def of_channels(self, channels: Any) -> Stretch:
        """Return the functions of some channels."""
        return Stretch(self.values, self.stretched[channels])

    def stretch(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return what becomes of an image (C, ...)."""
        return _mapped(image, [(self.values, row) for row in self.stretched])

    def back(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return the image of which one has come."""
        return _mapped(image, [(row, self.values) for row in self.stretched])

    def growth(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return the slope of `back` at the values of an image."""
        middles = (self.stretched[:, 1:] + self.stretched[:, :-1]) / 2
        slopes = np.diff(self.values) / np.diff(self.stretched, axis=1)
        return _mapped(image, list(zip(middles, slopes, strict=True)))


def _mapped(image: NDArray[Any], functions: list[tuple[Any, Any]]) -> NDArray[Any]:
    pairs = zip(image, functions, strict=True)
    mapped = [np.interp(channel, *function) for channel, function in pairs]
    return np.array(mapped, np.float32)
