"""Noise that grows towards the border, as a correction of vignetting leaves it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.noise_level import NOISELESS
from napari_dip.tasks.patches import MAD_TO_SIGMA, block_noise, noisy_blocks
from napari_dip.tasks.plane import Plane
from napari_dip.tasks.signal_dependence import BLOCK
from napari_dip.tasks.tiles import Block, Region
from napari_dip.tasks.unevenness import Unevenness

REGIONS = 5
"""Parts of an image along either axis, each of which tells its noise."""

FEWEST = 3
"""Blocks that a region needs to tell its noise."""

TELLING = 0.75
"""Part of the regions that must tell their noise."""

ROUNDS = 2
"""How often regions with texture are left out."""

TEXTURED = 2.5
"""Standard deviations above the function beyond which the logarithm of a region's noise
has texture in it, which only adds."""

SURE = 0.05
"""Least standard deviation of these logarithms that is assumed."""

REMAINING = 0.7
"""Part of the regions that must be left without texture."""

EXPLAINED = 0.85
"""Least part of the scatter of the regions' logarithms that the function explains."""

STRONGER = 1.5
"""Least ratio of the variances at the border and in the middle."""

STRONGER_EACH = 1.1
"""Least ratio of the variances at each of the four sides and in the middle."""

CENTRAL = 0.5
"""How far from the middle noise may be weakest, of the way to the border."""

PLACES = (np.arange(REGIONS) + 0.5) / REGIONS * 2 - 1
"""Middles of the regions, from -1 to 1."""


def border_noise(plane: Plane, noise: NoiseModel, block: Block) -> tuple[float, ...]:
    """Return how the noise of a plane, or of windows of planes, grows to the border.

    The result is that of `Unevenness.to_numbers`, empty where the noise does not grow.
    What the variance is over that of the model is told by the flatter half of the
    blocks of every region.  Its logarithm has to be a quadratic function of the place,
    which rises from the middle towards all four sides: texture hardly ever does.
    """
    few = min(block.sides) < 2 * REGIONS * BLOCK
    if not block.places or few or plane.unevenness is not None:
        return ()
    channels = range(len(plane.values))
    told = np.mean([_logarithms(plane, noise, block, c) for c in channels], axis=0)
    fitted = _quadratic(told)
    if fitted is None:
        return ()
    _, y, x, yy, xy, xx = fitted
    # To the scale of the standard deviation; that of photons is the root of a signal
    # which the correction has raised as well.
    power = 0.5 if noise.kind == "gaussian" else 1.0
    curvature = np.array([[2 * yy, xy], [xy, 2 * xx]])
    if np.linalg.eigvalsh(curvature)[0] <= 0:
        return ()
    middle = -np.linalg.solve(curvature, [y, x])
    if np.abs(middle).max() > CENTRAL or not _rises(_terms() @ fitted):
        return ()
    shape = power * np.array([yy, xy, xx])
    uneven = Unevenness(block.sides, tuple(middle), tuple(shape))
    return uneven.to_numbers() if uneven.possible else ()


def _logarithms(
    plane: Plane, noise: NoiseModel, block: Block, channel: int
) -> NDArray[np.float64]:
    """Return the logarithm of the variance over the model's in every region.

    It is NaN where too few blocks tell it.
    """
    own = noise.of_channels([channel])
    shape = (len(block.places), 1, *plane.values.shape[-2:])
    found = []
    values, usable = (a[channel].reshape(shape) for a in (plane.values, plane.noisy))
    for part, noisy, place in zip(values, usable, block.places, strict=True):
        means, variances = block_noise(part, BLOCK)[:, 0]
        signal = np.maximum(means - own.offset[0], 0)
        model = own.gain[0] * signal + own.variance[0]
        relative = variances / np.maximum(model, NOISELESS)
        seen = noisy_blocks(part, noisy, BLOCK)[0]
        found.append((relative, seen, _regions(place, block.sides)))
    relative, seen, regions = map(np.concatenate, zip(*found, strict=True))
    seen = seen & (relative > 1e-2 * np.median(relative))  # others are saturated
    logarithms = np.full(REGIONS**2, np.nan)
    for number in range(REGIONS**2):
        blocks = np.sort(relative[seen & (regions == number)])
        if len(blocks) >= FEWEST:
            flatter = blocks[: max(len(blocks) // 2, 2)]
            logarithms[number] = np.log(flatter.mean())
    return logarithms


def _regions(place: Region, sides: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the region of a plane that every block of a part of it lies in."""
    along = []
    for part, side in zip(place, sides, strict=True):
        parts = np.array_split(np.arange(side // BLOCK), REGIONS)
        numbers = np.repeat(np.arange(REGIONS), [len(p) for p in parts])
        count = (part.stop - part.start) // BLOCK
        middles = part.start + BLOCK * np.arange(count) + BLOCK // 2
        along.append(numbers[np.minimum(middles // BLOCK, len(numbers) - 1)])
    rows, columns = along
    return np.ravel(REGIONS * rows[:, None] + columns)


def _terms() -> NDArray[np.float64]:
    """Return the terms of a quadratic function at every region, (REGIONS ** 2, 6)."""
    y, x = (p.ravel() for p in np.meshgrid(PLACES, PLACES, indexing="ij"))
    return np.stack([np.ones_like(x), y, x, y * y, x * y, x * x], axis=1)


def _quadratic(told: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the coefficients of the function that explains logarithms of regions."""
    terms, known = _terms(), np.isfinite(told)
    if known.mean() < TELLING:
        return None
    used = known
    for _ in range(ROUNDS + 1):
        fitted = np.linalg.pinv(terms[used]) @ told[used]
        missed = told - terms @ fitted
        share = 1 - missed[used].var() / max(told[used].var(), 1e-12)
        deviation = max(MAD_TO_SIGMA * np.median(np.abs(missed[known])), SURE)
        used = known & (missed < TEXTURED * deviation)
        if used.sum() < REMAINING * known.sum():
            return None
    return fitted if share > EXPLAINED else None


def _rises(logarithms: NDArray[np.float64]) -> bool:
    """Return whether a function rises from the middle of the regions to all sides."""
    regions = np.exp(logarithms.reshape(REGIONS, REGIONS))
    middle = regions[REGIONS // 2, REGIONS // 2]
    sides = np.array([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    each = sides.mean(axis=1) / middle
    return bool(each.mean() > STRONGER and each.min() > STRONGER_EACH)
