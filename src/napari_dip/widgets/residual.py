"""The residual of a fit, input minus result, and whether it looks like noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIGMA = 1.5
"""Standard deviation in pixels of the blur that removes the noise."""

ALLOWED = 1.5
"""How many times the power of white noise may be left after the blur."""


def structure(residual: NDArray[np.floating], axes: tuple[int, int]) -> float:
    """Return how much smooth structure there is in the planes of a residual.

    A Gaussian blur leaves a known part of the power of white noise, also of white noise
    whose strength varies from place to place.  It leaves more of everything that
    extends over several pixels.

    It is the power after the blur, relative to that of white noise: about 1 for white
    noise, more where neighbouring pixels are alike, less where they alternate; NaN for
    a residual of zeros.  Where the input was missing the residual is NaN.
    """
    values = np.nan_to_num(residual.astype(np.float64))
    values -= values.mean(axis=axes, keepdims=True)
    power = float(np.square(values).mean())
    if power == 0:
        return float("nan")
    along = [axis % values.ndim for axis in axes]
    sigmas = [SIGMA if axis in along else 0 for axis in range(values.ndim)]
    left = np.square(ndimage.gaussian_filter(values, sigmas, mode="wrap")).mean()
    impulse = np.zeros(41)
    impulse[20] = 1
    taps = ndimage.gaussian_filter1d(impulse, SIGMA)
    return float(left) / (power * float(np.square(taps).sum()) ** 2)


def tolerance(pixels: int) -> float:
    """Return the largest `structure` that white noise of so many pixels has."""
    # The blur leaves about one independent value for every 4 pi sigma ** 2 pixels.
    independent = pixels / (4 * np.pi * SIGMA**2)
    return max(ALLOWED, 1 + 4 * float(np.sqrt(2 / independent)))


def verdict(structure: float, pixels: int) -> str:
    """Return in words what the `structure` of a plane of so many pixels means."""
    if np.isnan(structure):
        return "The residual is empty: nothing was removed."
    most = tolerance(pixels)
    reading = (
        f"its smooth part is {structure:.2g} times that of white noise, and up to "
        f"{most:.2g} times is usual"
    )
    if structure <= most:
        return f"The residual looks like noise: {reading}."
    return (
        f"Warning: the residual may be more than noise: {reading}. Neighbouring pixels "
        f"of what was removed are alike: either the noise itself is correlated, or "
        f"structure was removed with it. Look for edges and shapes in the residual "
        f"layer."
    )
