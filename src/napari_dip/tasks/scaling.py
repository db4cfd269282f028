"""The range of the values of an image, and what lies far beyond it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Float

LARGEST = 1e300
"""Largest value that leaves float64 room for sums and differences."""

OUTLYING = 1e5
"""Distance from the median, in median distances, beyond which no measurement lies: a
camera of 16 bits reaches 65,535 grey levels."""

FAR = 20.0
"""Range of the image from which on something is too bright, or too dark, to be fitted
in it."""

FEW_OUTLIERS = 1e-3
"""Part of the pixels above which they are no outliers but structure, unless they have
only one or two values, as those that stand for missing pixels have."""


def known_pixels(plane: NDArray[np.float64], name: str) -> NDArray[np.bool_]:
    """Return which values are known: all but NaN.

    Raises
    ------
    InputError
        If there are infinities, or values larger than `LARGEST`.
    """
    if (np.abs(plane) > LARGEST).any():
        infinite = int(np.isinf(plane).sum())
        if infinite:
            raise InputError(
                f"{name} must be finite (NaN marks missing pixels); got {infinite} "
                f"infinite values"
            )
        raise InputError(
            f"{name} must be from {-LARGEST} to {LARGEST}; got values from "
            f"{np.nanmin(plane):.3g} to {np.nanmax(plane):.3g}"
        )
    return ~np.isnan(plane)


def varying_values(
    plane: NDArray[np.float64],
    known: NDArray[np.bool_],
    constant: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return the known values of every channel that are outside of constant regions.

    Where these do not vary, as in an image with a single bright pixel, it is all known
    values.
    """
    varying = known & ~constant
    for chosen, channel in zip(varying, plane, strict=True):
        if not chosen.any() or not np.ptp(channel[chosen]):
            chosen[:] = known
    return varying


def float_type(low: float, high: float) -> np.dtype[Any]:
    """Return float32, or float64 where float32 cannot hold a range of values.

    Its steps at the larger end must not be coarser than a 256th of the range, and
    both must be far from its own limits.
    """
    top, span = max(abs(low), abs(high)), high - low
    held = span == 0 or (top <= 2**15 * span and span > 1e-30)
    return np.dtype(np.float32 if held and top < 1e30 else np.float64)


def outliers(plane: NDArray[np.float64], used: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a channel has a value that cannot have been measured.

    Broken pixels and values that stand for missing ones, such as 1e30, would leave
    nothing of the others in float32.  The used values decide.
    """
    outlying = np.zeros(plane.shape[1:], bool)
    for channel, chosen in zip(plane, used, strict=True):
        part = channel[chosen]
        centre = np.median(part)
        away = np.abs(part - centre)
        differing = away[away > 0]
        reach = OUTLYING * np.median(differing) if differing.size else np.inf
        far = part[away > reach]
        if len(far) <= FEW_OUTLIERS * len(part) or len(np.unique(far)) <= 2:
            outlying |= np.abs(channel - centre) > reach
    return outlying


def cut_off(values: Float, low: Any, high: Any) -> tuple[Float, Float]:
    """Cut off values beyond limits, single or for each; also return what was beyond."""
    cut = values.clip(low, high).astype(np.float32)
    return cut, np.nan_to_num(values - cut)


def scale_of(
    plane: NDArray[np.float64], used: NDArray[np.bool_], unit: bool, together: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return offset and span of every channel by the used values; see `prepare`."""
    parts = (
        [plane[used]]
        if together
        else [channel[chosen] for channel, chosen in zip(plane, used, strict=True)]
    )
    if not (unit or together):
        parts = [-_not_above(-_not_above(part)) for part in parts]
    ends = [_ends(part, unit) for part in parts]
    low, high = np.broadcast_to(ends, (len(plane), 2)).T
    span = np.where(high > low, high - low, 1.0)
    if unit:
        return low, span
    span = span / 0.9
    return low - 0.05 * span, span


def _not_above(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out values far above the others where they would decide on the range."""
    lowest, low, high, top = np.percentile(part, [0.1, 1, 99, 99.9])
    if high - lowest > FAR * (high - low) / 0.9 > 0:
        lowest = low  # some are far below the others, too
    limit = lowest + FAR * (high - lowest) / 0.9
    return part[part <= limit] if lowest < high and top > limit else part


def range_of(part: NDArray[Any]) -> NDArray[Any]:
    """Return the ends of the range of values, without a thousandth at each of them."""
    ends: NDArray[Any] = np.percentile(part, [0.1, 99.9])
    return ends


def _ends(part: NDArray[np.float64], unit: bool) -> tuple[float, float]:
    """Return the values that scaling maps to its ends; see `prepare`."""
    low, high = range_of(part)
    if unit or low == high:  # few values differ from the others
        low, high = part.min(), part.max()
    return float(low), float(high)
