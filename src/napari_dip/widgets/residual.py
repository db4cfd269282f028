"""What a fit took away, and whether it looks like noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIGMA = 1.5
"""Standard deviation in pixels of the blur that noise does not survive."""

ALLOWED = 1.5
"""How many times the power of white noise may be left after the blur."""


def structure(residual: NDArray[np.floating], axes: tuple[int, int]) -> float:
    """Return how much smooth structure there is in a residual.

    White noise loses all but a known part of its power in a Gaussian blur, and so
    does noise whose strength varies from place to place; anything that reaches
    over several pixels keeps more.

    Parameters
    ----------
    residual : ndarray
        Input minus result; NaN where the input was missing.
    axes : tuple of int
        The two axes of a plane.

    Returns
    -------
    float
        Power left by the blur over what white noise would leave: about 1 for white
        noise, more where neighbouring pixels are alike, less where they alternate;
        NaN if there is nothing in it.
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
    """Return the most structure that white noise of a plane of that size shows."""
    # The blur leaves about one independent value for every 4 pi sigma ** 2 pixels.
    independent = pixels / (4 * np.pi * SIGMA**2)
    return max(ALLOWED, 1 + 4 * float(np.sqrt(2 / independent)))


def verdict(found: float, pixels: int) -> str:
    """Say what a `structure` means."""
    if np.isnan(found):
        return "The residual is empty: nothing was removed."
    reading = f"Residual: {found:.2f} times the smooth power of white noise"
    if found <= tolerance(pixels):
        return f"{reading}: what was removed looks like noise."
    return (
        f"Warning: {reading[0].lower()}{reading[1:]}. Neighbouring pixels of what was "
        f"removed are alike: either the noise itself is, or structure went with it. "
        f"Look for edges and shapes in the residual layer."
    )
