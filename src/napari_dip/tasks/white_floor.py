"""Whether an image has white noise in its finest detail, whatever neighbours share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.patches import blocks_of_planes

SIDE = 16
"""Side of the blocks whose spectrum is looked at."""

FINEST, FINE = slice(13, 16), slice(10, 13)
"""Frequencies along both axes, in half periods of a block."""

FALLING = 1.25
"""Power at the fine frequencies over that at the finest ones from which on it falls, as
that of shared noise does: white noise under spots reads 0.9 to 1.25 in many blocks,
camera noise 1.1 to 2.2, that of a colour camera on a microscope 1.45 to 2.2."""

SCATTER = 1.0
"""What is added to `FALLING`, over the square root of the number of blocks: in 16
blocks white noise reads up to 1.4."""

OF_LEVEL = 0.5
"""Least power at the finest frequencies, over the estimated variance of the noise: 0.5
and more for white noise, 0.4 and less for that of cameras."""

OF_FLATTEST = 0.02
"""Least power at the finest frequencies, over that of the flattest blocks: what is less
is due to rounding."""


def has_white_floor(
    values: Float, usable: NDArray[np.bool_], levels: Sequence[float]
) -> bool:
    """Return whether the finest detail of every channel is white noise.

    Many small bright spots, as single molecules are, leave no flat place in an image,
    and neighbouring pixels are alike everywhere.  But the power of the spots falls
    towards the finest frequencies, where only white noise is left.  Noise that
    neighbours share falls up to there.

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X).
    usable : ndarray
        bool, of the same shape; values that hold noise.
    levels : sequence of float
        Estimated variance of the noise of every channel.
    """
    return all(
        _is_white(*channel) for channel in zip(values, usable, levels, strict=True)
    )


def _is_white(values: Float, usable: NDArray[np.bool_], level: float) -> bool:
    whole = blocks_of_planes(usable, SIDE).all(axis=(1, 2))
    blocks = blocks_of_planes(values, SIDE)[whole]
    if not len(blocks):
        return False
    power = scipy.fft.dctn(blocks.astype(np.float64), axes=(1, 2), norm="ortho") ** 2
    fine, finest = (
        float(np.median(power[:, band, band].mean(axis=(1, 2))))
        for band in (FINE, FINEST)
    )
    power[:, :2, :2] = 0  # the mean and the slopes
    flattest = float(np.quantile(power.mean(axis=(1, 2)), 0.1))
    return (
        fine < (FALLING + SCATTER / len(blocks) ** 0.5) * finest
        and finest > OF_LEVEL * level
        and finest > OF_FLATTEST * flattest
    )
