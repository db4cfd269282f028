"""Whether an image has white noise in its finest detail, whatever neighbours share."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.noise_level import patch_variance
from napari_dip.tasks.patches import Mask, cut_blocks

SIDE = 16
"""Side of the blocks whose spectrum is looked at."""

FINEST, FINE = slice(13, 16), slice(10, 13)
"""Frequencies along both axes, in half periods of a block."""

FALLING = 1.25
"""Power at the fine frequencies over that at the finest ones from which on it falls, as
that of shared noise does: white noise under spots reads 0.9 to 1.25 in many blocks,
camera noise 1.1 to 2.2, that of a colour camera on a microscope 1.45 to 2.2."""

RISING = 0.3
"""Power at the fine frequencies over that at the finest ones below which it is no white
noise either: a mean of 3 x 3 pixels, whose spectrum has a zero there, leaves 0.1."""

FEW_PIXELS = 128**2
"""Pixels of a channel below which blocks overlap, so that chance decides less."""

STEP = 4
"""Pixels between blocks that overlap."""

MOST = 0.1
"""Part of such blocks that is looked at, if no more of them are whole."""

LEAST = 0.75
"""Part of them whose finest detail is compared, that with the least."""

CHANCE = 1.3
"""How far white noise scatters in them, over the square root of their area in blocks:
one of a hundred images reads more."""

SCATTER = 1.0
"""What is added to `FALLING`, over the square root of the number of blocks: in 16
blocks white noise reads up to 1.4."""

OF_PATCHES = 0.5
"""Least power at the finest frequencies, over the `patch_variance` of the noise: 0.5
and more for white noise, 0.4 and less for that of cameras."""

FALLING_IN_ALL = 1.15
"""As `FALLING`, of the mean power of all blocks: white noise reads 0.8 to 1.1, that of
cameras 1.2 and more."""

OF_ALL = 0.8, 2.0
"""As `OF_PATCHES`, least and most, of their mean power: white noise reads 0.85 to 1.25,
that of cameras 0.75 and less, and outliers more."""

OF_FLATTEST = 0.02
"""Least power at the finest frequencies, over that of the flattest blocks: what is less
is due to rounding."""


def has_white_floor(values: Float, usable: Mask) -> bool:
    """Return whether the finest detail of every channel is white noise.

    Many small bright spots, as single molecules are, leave no flat place in an image,
    and neighbouring pixels are alike everywhere.  But the power of the spots falls
    towards the finest frequencies, where only white noise is left.  Noise that
    neighbours share falls up to there.
    """
    return all(map(_is_white, values, usable))


def _is_white(values: Float, usable: Mask) -> bool:
    few = values.size < FEW_PIXELS
    part = _blocks(usable).mean(axis=(1, 2))
    # Of few pixels hardly any blocks may be whole.  Regions without noise leave the
    # spectrum of the rest nearly as it is.
    whole = part >= (min(np.quantile(part, 1 - MOST), 1.0) if few else 1.0)
    blocks = _blocks(values)[whole]
    if not len(blocks):
        return False
    power = scipy.fft.dctn(blocks.astype(np.float64), axes=(1, 2), norm="ortho") ** 2
    bands = [power[:, band, band].mean(axis=(1, 2)) for band in (FINE, FINEST)]
    fine, finest = (float(np.median(band)) for band in bands)
    falling = FALLING + SCATTER / len(blocks) ** 0.5
    if few:
        total = bands[0] + bands[1]
        least = total <= np.quantile(total, LEAST)
        fine, finest = (float(band[least].mean()) for band in bands)
        falling = max(FALLING, 1 + CHANCE * SIDE / (STEP * len(blocks) ** 0.5))
    power[:, :2, :2] = 0  # the mean and the slopes
    flat = 0.0 if few else 0.1  # few blocks may all hold structure
    flattest = float(np.quantile(power.mean(axis=(1, 2)), flat))
    noise = float(patch_variance(values[None], usable))
    if (
        RISING * finest < fine < falling * finest
        and finest > OF_PATCHES * noise
        and finest > OF_FLATTEST * flattest
    ):
        return True
    # Photon noise is in the bright blocks, and most blocks may be dark.
    fine, finest = (float(band.mean()) for band in bands)
    least, most = OF_ALL
    like_noise = least * noise < finest < most * noise
    return not few and like_noise and RISING * finest < fine < FALLING_IN_ALL * finest


def _blocks(channel: NDArray[Any]) -> NDArray[Any]:
    return cut_blocks(channel, SIDE, STEP if channel.size < FEW_PIXELS else SIDE)
