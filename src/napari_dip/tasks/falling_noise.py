"""Noise that falls as the signal grows, as after a correction of gamma."""

from __future__ import annotations

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.patches import Mask, block_noise
from napari_dip.tasks.plane import Plane
from napari_dip.tasks.signal_dependence import BLOCK, not_too_bright, variances
from napari_dip.tasks.stretch import KNOTS, WEAKEST

FALLING = 3.0
"""Least ratio of the variances at the dark and the bright end: texture that is dark
where white noise is weak reads up to 3, noise before a correction of gamma 3 to 30."""

EXPLAINED, RANKED = 0.9, -0.7
"""Part of the scatter of the logarithms of the variances that a falling function
explains at least, and their rank correlation with the brightness at most."""

GROUPS = 8
"""Brightnesses that tell such a function, at least."""


def falling_noise(plane: Plane, noise: NoiseModel) -> tuple[float, ...]:
    """Return the standard deviations of noise that falls as the signal grows.

    There are `KNOTS` for every channel, at equally spaced values from 0 to 1, relative
    to the largest.  The result is empty where the noise of no channel falls, or where
    it has another model.
    """
    made_even = plane.stretch is not None or plane.unevenness is not None
    if noise.kind != "gaussian" or made_even:
        return ()
    rows = [*map(_spreads, plane.values, plane.noisy)]
    if all(row is None for row in rows):
        return ()
    even = np.ones(KNOTS)
    return tuple(np.concatenate([even if r is None else r for r in rows]).tolist())


def _spreads(values: Float, usable: Mask) -> NDArray[np.float64] | None:
    """Return the standard deviations for a channel, None where its noise does not fall.

    Values that are clipped at the bright end vary less; at the dark end this would only
    hide that the noise falls.
    """
    channel = values[None]
    curve = variances(
        block_noise(channel, BLOCK), channel, not_too_bright(channel, usable[None])
    )
    if curve is None or len(curve[0]) < GROUPS or not curve[1].all():
        return None
    brightness, variance = curve
    logarithm = np.log(variance)
    falling = scipy.optimize.isotonic_regression(logarithm, increasing=False).x
    missed = np.square(logarithm - falling).sum()
    explained = missed < (1 - EXPLAINED) * np.square(logarithm - logarithm.mean()).sum()
    ranked = scipy.stats.spearmanr(brightness, variance).statistic < RANKED
    if not (explained and ranked and falling[0] - falling[-1] > np.log(FALLING)):
        return None
    knots = np.linspace(0, 1, KNOTS)
    spreads = np.interp(knots, brightness, np.exp(falling / 2))
    relative: NDArray[np.float64] = np.maximum(spreads / spreads.max(), WEAKEST)
    return relative
