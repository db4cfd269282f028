"""Noise that grows with the signal, transformed to the same variance everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.plane import per_channel


def stabilised(values: Float, noise: NoiseModel) -> Float:
    """Transform an image so that its noise has variance one everywhere.

    The generalised Anscombe transform (Starck, Murtagh, Bijaoui, Image Processing and
    Data Analysis, 1998).
    """
    gain, offset, readout = _in_photons(noise, values)
    photons = (values - offset) / gain
    stabilised: Float = 2 * np.sqrt(np.maximum(photons + 3 / 8 + readout, 0))
    return stabilised.astype(np.float32)


def unstabilised(stabilised: NDArray[Any], noise: NoiseModel) -> NDArray[Any]:
    """Transform the denoised image back, to the mean of the values it stands for.

    Closed form of the exact unbiased inverse (Makitalo, Foi, Optimal Inversion of the
    Generalized Anscombe Transformation for Poisson-Gaussian Noise, 2013).
    """
    # At this value it is zero photons; below, the closed form would rise again.
    d = np.maximum(stabilised, np.sqrt(1.5))
    root = np.sqrt(1.5)
    photons = d**2 / 4 + root / 4 / d - 11 / 8 / d**2 + 5 / 8 * root / d**3 - 1 / 8
    gain, offset, readout = _in_photons(noise, stabilised)
    values: NDArray[Any] = (photons - readout) * gain + offset
    return values


def _in_photons(
    noise: NoiseModel, values: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return gain, offset and the variance of the readout in photons, per channel."""
    # Noise that does not grow is that of a great number of photons.
    variance = np.asarray(noise.variance)
    gain = np.maximum(noise.gain, 1e-3 * variance**0.5)
    parts = (gain, np.asarray(noise.offset), variance / gain**2)
    gains, offsets, readout = (per_channel(p, values) for p in parts)
    return gains, offsets, readout
