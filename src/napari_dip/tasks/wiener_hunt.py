"""Deconvolution by the filter of Wiener and Hunt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

Array = NDArray[Any]

BISECTIONS = 12
"""Bisections to the balance, which is then known to 0.4 % between limits that are seven
decades apart."""


class WienerHunt:
    """A blurred image, to be deconvolved under a quadratic penalty.

    ``conj(H) / (|H|^2 + balance |D|^order)`` in the Fourier domain, H the transform of
    the PSF and D that of the Laplacian (Hunt, 1973): the order 1 penalises gradients,
    the order 2 the Laplacian.  An image that is not periodic passes into its own
    reflection beyond the border.
    """

    def __init__(self, image: Array, psf: Array, *, order: int, periodic: bool) -> None:
        from skimage.restoration import uft

        extended = image.astype(np.float64)
        for axis, (n, k) in enumerate(zip(image.shape, psf.shape, strict=True)):
            if not periodic:
                extended = _closed(extended, axis, min(2 * k, n))
        self.sides, self.shape = image.shape, extended.shape
        self.spectrum = scipy.fft.rfftn(extended)
        self.transfer = uft.ir2tf(psf, self.shape)
        self.penalty = np.abs(uft.laplacian(psf.ndim, self.shape)[0]) ** order

    def restored(self, balance: float, transfer: Array | None = None) -> Array:
        """Return the spectrum of the sharp image, also for the transform of a PSF."""
        transfer = self.transfer if transfer is None else transfer
        power = np.abs(transfer) ** 2 + balance * self.penalty
        # Frequencies that the PSF removes entirely stay zero.
        gain: Array = np.conj(transfer) / np.maximum(power, 1e-12)
        restored: Array = gain * self.spectrum
        return restored

    def image(self, spectrum: Array) -> Array:
        """Return the image of a spectrum, without what lies beyond the border."""
        whole: Array = scipy.fft.irfftn(spectrum, s=self.shape)
        return whole[tuple(slice(n) for n in self.sides)]


def balance_for(
    residual: Callable[[float], float], variance: float, limits: tuple[float, float]
) -> float:
    """Return the balance for which the residual has a variance.

    The mean square of the residual grows with the balance, whose decimal logarithm is
    between the limits.
    """
    low, high = limits
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if residual(10**middle) > variance:
            high = middle
        else:
            low = middle
    return float(10**low)


def _closed(image: Array, axis: int, width: int) -> Array:
    """Extend an image along an axis so that its end leads smoothly to its start.

    The reflections at both ends, faded into each other.
    """
    n = image.shape[axis]
    flipped = np.flip(image, axis)
    t = (np.arange(width) + 0.5) / width
    fade = (t * t * (3 - 2 * t)).reshape([-1] + [1] * (image.ndim - 1 - axis))
    first = flipped.take(range(width), axis)
    last = flipped.take(range(n - width, n), axis)
    return np.concatenate([image, (1 - fade) * first + fade * last], axis)
