"""Noise that neighbouring pixels share and channels do not, in differences of these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.noise_correlation import flattest
from napari_dip.tasks.noise_level import by_brightness
from napari_dip.tasks.patches import Mask
from napari_dip.tasks.shared_noise import (
    FREEDOM,
    SIDE,
    SharedNoise,
    part_of_noise,
    residual,
    whole_blocks,
)

_FREQUENCY = np.hypot(*np.indices((SIDE, SIDE)))
COARSE = (_FREQUENCY > 0) & (_FREQUENCY < 2.5)
FINE = (_FREQUENCY >= 8) & (_FREQUENCY < 12)
"""Coefficients of the cosine transform of a block: its low frequencies, and those
between a quarter and three eighths of a period per pixel."""

FEWEST_CHANNELS = 3
"""Channels that tell whether their noise is alike and independent."""

INDEPENDENT = 1.7
"""Deviation at fine frequencies of the sum of the channels, over that of their
differences, up to which their noise is independent: noise alone has 1, texture adds to
it.  Cameras, which remove the noise of colours, have 1.9 to 26."""

TEXTURED = 2.6
"""The same where it is no more than `FALLING` times that at coarse frequencies."""

FALLING = 1.4
"""Texture falls towards fine frequencies: 0.4 to 1.4 in photographs with independent
noise."""

EVEN = 1.3
"""Largest deviation of the difference of two channels at fine frequencies, over the
smallest: up to 1.29 where all have the same noise, and often more in images of cameras,
which have less in green."""

ROUGH = 0.5
"""Deviation of the differences of the estimate, over that of their noise, from which on
blocks are not flat: an estimate has some of the noise of low frequencies."""


def are_independent(values: Float, estimate: Float, usable: Mask) -> bool:
    """Return whether the channels of an image have like noise that they do not share.

    Noise that they share is stronger in their sum than in their differences, at fine
    frequencies above all: cameras remove that of colours.  Texture adds to the sum as
    well, but mostly at coarse frequencies.  Blocks are looked at where the differences
    of the estimate are flattest, and half of all brightnesses must be so.  Two channels
    have one difference, which does not tell whether their noise is alike.
    """
    if len(values) < FEWEST_CHANNELS:
        return False
    groups = [*_flat_groups(values, estimate, usable)]
    independent = [_may_be_texture(flat) for flat in groups]
    return bool(groups) and 2 * sum(independent) >= len(groups)


def independent_noise(
    values: Float, estimate: Float, usable: Mask
) -> SharedNoise | None:
    """Measure like noise that is independent between the channels of an image.

    Texture is alike in all channels.  Little of it is left in their differences, which
    have the noise of one channel.  They are looked at where those of the estimate are
    flattest, as in `shared_noise`.  There is nothing to measure where no block is
    whole, or the flat ones have no noise.
    """
    brightness, variance, residuals = [], [], []
    for flat in _flat_groups(values, estimate, usable):
        power = float((flat.differences**2).mean())
        if power == 0:
            return None
        rough = (flat.structure / power) ** 0.5
        part = part_of_noise(rough) if rough > ROUGH else 1
        brightness.append(flat.brightness)
        variance.append(np.full(len(values), part * power / FREEDOM))
        residuals.append(_one_by_one(flat.differences / (power / FREEDOM) ** 0.5))
    if not brightness:
        return None
    return SharedNoise(np.array(brightness), np.array(variance), residuals)


class _Flat(NamedTuple):
    """The blocks of one brightness in which the differences are flattest."""

    brightness: NDArray[np.float64]
    """Means of the channels, (C,)."""
    noisy: NDArray[np.float64]
    differences: NDArray[np.float64]
    """(n, C, SIDE, SIDE)."""
    structure: float
    """Mean square of the differences of the estimate."""


def _flat_groups(values: Float, estimate: Float, usable: Mask) -> Iterator[_Flat]:
    noisy, smooth = whole_blocks(values, estimate, usable)
    if not len(noisy):
        return
    expected = residual(_differences(smooth))
    for group in by_brightness(smooth.mean(axis=(1, 2, 3))):
        structure = (expected[group] ** 2).mean(axis=(1, 2, 3))
        chosen = flattest(structure)
        flat = group[chosen]
        yield _Flat(
            smooth[flat].mean(axis=(0, 2, 3)),
            residual(noisy[flat]),
            residual(_differences(noisy[flat])),
            float(structure[chosen].mean()),
        )


def _differences(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the differences of neighbouring channels, the last one's to the first.

    Independent noise keeps the mean of the variances of two channels.
    """
    return (blocks - np.roll(blocks, -1, axis=1)) / 2**0.5


def _may_be_texture(flat: _Flat) -> bool:
    """Return whether what channels share in flat blocks can be texture alone."""
    between = _power(flat.differences, FINE)
    if not 0 < between.max() <= EVEN**2 * between.min():
        return False
    total = flat.noisy.sum(axis=1, keepdims=True) / flat.noisy.shape[1] ** 0.5
    fine, coarse = (
        np.sqrt(_power(total, band).mean() / _power(flat.differences, band).mean())
        for band in (FINE, COARSE)
    )
    return bool(fine <= INDEPENDENT or fine <= min(TEXTURED, FALLING * coarse))


def _power(blocks: NDArray[np.float64], band: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean square of coefficients of blocks, for every channel."""
    spectrum = scipy.fft.dctn(blocks, axes=(-2, -1), norm="ortho")
    power: NDArray[np.float64] = np.square(spectrum[..., band]).mean(axis=(0, -1))
    return power


def _one_by_one(noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return blocks in which one channel has noise and the others have none.

    (n, C, SIDE, SIDE) noise becomes (n * C, C, SIDE, SIDE): channels share nothing.
    """
    channels = noise.shape[1]
    alone = noise[:, :, None] * np.eye(channels)[:, :, None, None]
    return alone.reshape(-1, channels, SIDE, SIDE)
