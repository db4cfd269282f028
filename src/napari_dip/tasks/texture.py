"""Texture that channels share, told from noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.components import components_of, mixing
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.noise_correlation import channel_spectra, falling, is_along_axis
from napari_dip.tasks.noise_level import colour_variance
from napari_dip.tasks.plane import Plane, per_channel
from napari_dip.tasks.white_floor import has_white_floor

TEXTURED = (0.1, 0.95)
"""Correlations between channels that texture under weak noise has.  Less is chance, and
more is gray noise on colours."""

MOST_CHANNELS = 4
"""Channels whose patches are looked at together."""

WHITE = 2.0
"""How the power of white noise falls in the differences between channels, at most: it
reads up to 1.3, and that of cameras 3.4 and more."""

GROWN = 0.5
"""Noise without texture, over that of the model, below which its growth with the signal
is due to texture: 0.6 and more for photon noise."""


def has_shared_texture(
    plane: Plane, noise: NoiseModel, correlations: NDArray[np.float64]
) -> bool:
    """Return whether what channels share in their finest detail is texture.

    The power of texture falls towards the finest frequencies, and that of white noise
    does not.  Noise that neighbouring pixels share falls as well, also in the
    differences between channels, where little texture is left.  The model of the noise
    may have texture in it; the correlations are those of `channel_correlations`.
    """
    low, high = TEXTURED
    count = len(correlations)
    largest = float(np.triu(correlations, 1).max())
    if not (1 < count <= MOST_CHANNELS and low < largest <= high):
        return False
    levels = noise.level(plane.values, plane.noisy)
    parts = components_of(plane, mixing(correlations, levels)).values
    usable = np.all(plane.noisy, axis=0, keepdims=True)
    differences = channel_spectra(parts[:-1], usable)
    white = falling(differences) < WHITE and not is_along_axis(differences)
    return white and not has_white_floor(parts[-1:], usable)


def without_texture(plane: Plane, noise: NoiseModel, kind: str) -> NoiseModel:
    """Return the noise model of an image without the texture that its channels share.

    The kind is the one to assume, or "auto".
    """
    even = np.all(plane.noisy & ~plane.peaks, axis=0)
    levels = noise.level(plane.values, plane.noisy)
    normalised = plane.values / per_channel(levels**0.5, plane.values)
    share = min(colour_variance(np.asarray(normalised, np.float32), even), 1.0)
    if kind == "auto" and noise.kind != "gaussian" and share < GROWN:
        return NoiseModel.gaussian(share * levels)
    return NoiseModel(
        tuple(share * v for v in noise.variance),
        tuple(share * v for v in noise.gain),
        noise.offset,
    )
