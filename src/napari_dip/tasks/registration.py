"""How far an image is displaced against another of the same scene."""

from __future__ import annotations

from functools import reduce

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float

SMOOTHED = 1.5
"""Standard deviation in pixels of the Gaussian blur before edges are looked for."""

FARTHEST = 1 / 16
"""Displacement along an axis at most, over the side."""

LEAST = 0.25
"""Displacement in pixels below which nothing is moved: the estimate is good to 0.1."""

SAME_SCENE = 0.4
"""Correlation of the edges from which on both show the same; channels of different
stains have up to 0.3."""

BETTER = 0.02
"""Rise of the correlation by which a displacement counts as found."""

FINENESS = 20
"""Parts of a pixel to which a displacement is found."""


def displacement(image: Float, guide: Float) -> NDArray[np.float64] | None:
    """Return by how many pixels a guide is displaced along each axis.

    Edges are compared, so that brightness and colours may differ: the magnitude of the
    gradients of all channels, each in units of its spread, by phase correlation
    (Guizar-Sicairos, Thurman, Fienup, Efficient subpixel image registration algorithms,
    Optics Letters 33, 2008).

    Parameters
    ----------
    image, guide : ndarray
        (C, Y, X) or (C, Z, Y, X); the numbers of channels may differ.

    Returns
    -------
    ndarray or None
        None where the images do not show the same, or nothing is displaced.
    """
    from skimage.registration import phase_cross_correlation

    first, second = _edges(image), _edges(guide)
    if not (first.any() and second.any()):
        return None
    window = reduce(np.multiply.outer, [np.hanning(n + 2)[1:-1] for n in first.shape])
    windowed = [window * (edges - edges.mean()) for edges in (first, second)]
    shift = phase_cross_correlation(*windowed, upsample_factor=FINENESS)[0]
    limits = FARTHEST * np.array(first.shape)
    if (np.abs(shift) > limits).any() or np.abs(shift).max() < LEAST:
        return None
    aligned = moved(second[None], shift)[0]
    before, after = (_correlation(first, edges) for edges in (second, aligned))
    return -shift if after > max(SAME_SCENE, before + BETTER) else None


def moved(image: Float, shift: NDArray[np.float64]) -> Float:
    """Return an image (C, ...), moved by so many pixels along each spatial axis."""
    channels = [scipy.ndimage.shift(c, shift, mode="nearest") for c in image]
    return np.stack(channels).astype(image.dtype)


def _edges(image: Float) -> Float:
    total = np.zeros(image.shape[1:], np.float32)
    for channel in image:
        smooth = scipy.ndimage.gaussian_filter(channel, SMOOTHED)
        gradients = np.gradient(smooth / max(float(smooth.std()), 1e-12))
        total += sum(np.square(gradient) for gradient in gradients)
    return np.sqrt(total)


def _correlation(first: Float, second: Float) -> float:
    """Return the correlation of two images, their borders left out.

    It is NaN where one is constant there.
    """
    inside = tuple(slice(side // 16, side - side // 16) for side in first.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        pair = first[inside].ravel(), second[inside].ravel()
        return float(np.corrcoef(*pair)[0, 1])
