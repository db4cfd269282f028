"""Stripes: offsets that all pixels of a row share, or all of a column.

Cameras that read rows with one amplifier each have them, and microscopes that scan.
The network that predicts a pixel sees the others of its row, and so would keep them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Index, Layout
from napari_dip.tasks.patches import MAD_TO_SIGMA, Mask
from napari_dip.tasks.plane import Pixels

Array = NDArray[np.float64]

STRIPS = 4
"""Parts of a row that are compared: noise of the row is the same in all."""

ENOUGH = 2**21
"""Pixels of a plane that are looked at, in `STRIPS` parts."""

FEWEST_ROWS = 48
"""Rows from which on an image is looked at."""

FEWEST_PIXELS = 8
"""Pixels of a strip from which on something is known of a row."""

SAME = 4.0
"""Power of the finest steps that all strips share, over that of chance, from which on
they are of the rows."""

FLAT = 0.6
"""Geometric over arithmetic mean of that power at all frequencies, over that of white
noise, from which on it is white.  Bars have 0.02, lines of print 0.3 and 0.4, and a
zebra 0.5 and less; offsets of 192 rows have 1.0, with a deviation of 0.13, and of 64
rows one of 0.25."""

USUAL = 0.8
"""Usual over root-mean-square step below which few rows are apart, such as edges of
screens, and dark rows at the border: they are no noise."""

WHITE_NOISE = np.exp(-np.euler_gamma) / 2
"""Geometric over arithmetic mean of the power of white noise."""

CLIPPED = 1.5
"""Usual differences beyond which those of an edge count no more (Huber)."""

ROUNDS = 4
"""Steps towards that mean."""

PASSES = 3
"""Estimates of the offsets; from the second on, it is known where the image is flat."""

STEEPNESS = 1.0, 6.0
"""Least and largest exponent with which the power of an image falls."""

BLUR = 1.0
"""Deviation of the Gaussian, in pixels, of the image that tells where it is flat."""


def row_offsets(values: Array, usable: Mask, *, asked: bool = False) -> Array | None:
    """Estimate the offsets of the rows of an image.

    The differences of neighbouring rows, where the image is flat, add up to a profile,
    which has the offsets and what the image itself has of it.  The offsets are white,
    and the image is taken to have a power that falls with the frequency; both follow
    from the largest likelihood of the profile's spectrum, and the offsets by Wiener's
    filter.

    Parameters
    ----------
    values, usable : ndarray
        float64 and bool, (Y, X), true where a value holds noise.
    asked : bool
        Whether rows are known to have offsets, which then need not look like noise.

    Returns
    -------
    ndarray or None
        float64, (Y,), of mean 0; None where there are none.
    """
    middle = np.median(values[usable]) if usable.any() else 0.0
    values = np.where(usable, values - middle, 0)
    unit = np.abs(values).max()
    values = values / (unit or 1)
    steps, seen = np.diff(values, axis=0), usable[1:] & usable[:-1]
    if not (asked or _are_noise(steps, seen)):
        return None
    known = np.flatnonzero(np.count_nonzero(seen, axis=1) >= FEWEST_PIXELS)
    if len(known) < FEWEST_ROWS:
        return None
    rows = slice(known[0], known[-1] + 1)
    offsets, weights = np.zeros(len(values)), seen.astype(float)
    for number in range(PASSES):
        if number:
            weights = seen * _flatness(values - offsets[:, None])
        profile = np.append(0, np.cumsum(_location(steps[rows], weights[rows])))
        offsets[rows.start : rows.stop + 1] = _white_part(profile)
    return unit * offsets if offsets.any() else None


def _are_noise(steps: Array, seen: Mask) -> bool:
    """Return whether steps from row to row are the same along the rows, and white."""
    parts = np.array_split(np.arange(steps.shape[1]), STRIPS)
    counts = np.stack([np.count_nonzero(seen[:, p], axis=1) for p in parts])
    used = np.flatnonzero((counts >= FEWEST_PIXELS).mean(axis=1) > 0.5)
    if len(used) < 2:
        return False
    known = (counts[used] >= FEWEST_PIXELS).all(axis=0)
    if np.count_nonzero(known) < FEWEST_ROWS:
        return False
    strips = [
        _location(steps[known][:, parts[n]], seen[known][:, parts[n]].astype(float))
        for n in used
    ]
    profiles = np.cumsum(strips, axis=1)
    spectra = scipy.fft.dct(profiles, axis=1, norm="ortho")
    # Coarser ones are the image's.
    spectra[:, : spectra.shape[1] // 4] = 0
    common = spectra.mean(axis=0)
    power = common[spectra.shape[1] // 4 :] ** 2
    chance = spectra.var(axis=0, ddof=1).sum() / len(used)
    if power.sum() <= SAME * chance or not power.all():
        return False
    flatness = np.exp(np.log(power).mean()) / power.mean() / WHITE_NOISE
    fine = np.abs(scipy.fft.idct(common, norm="ortho"))
    usual = MAD_TO_SIGMA * np.median(fine) / np.sqrt(np.square(fine).mean())
    return bool(flatness >= FLAT and usual >= USUAL)


def _location(steps: Array, weights: Array) -> Array:
    """Return a mean of every row in which far values count no more (Huber).

    It is 0 in rows without weights.
    """
    seen = weights > 0
    middle = _median(steps, seen)
    apart = MAD_TO_SIGMA * _median(np.abs(steps - middle), seen)
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    for _ in range(ROUNDS):
        far = (steps - middle).clip(-CLIPPED * apart, CLIPPED * apart)
        middle = middle + (weights * far).sum(axis=1, keepdims=True) / total
    mean: Array = middle[:, 0]
    return mean


def _median(values: Array, seen: Mask) -> Array:
    """Return the median of what is seen of every row, (Y, 1); 0 where nothing is."""
    count = np.count_nonzero(seen, axis=1)[:, None]
    ordered = np.sort(np.where(seen, values, np.inf), axis=1)
    middle = np.take_along_axis(
        ordered, np.minimum(count // 2, values.shape[1] - 1), axis=1
    )
    return np.where(count > 0, middle, 0)


def _white_part(profile: Array) -> Array:
    """Return the white part of a profile whose other part has a falling spectrum.

    With power ``white + fall * f ** -steepness`` at the frequency f, of largest
    likelihood, it is what Wiener's filter leaves.
    """
    spectrum = scipy.fft.dct(profile, norm="ortho")
    power, frequency = spectrum[1:] ** 2, np.arange(1, len(spectrum))
    if not power[len(power) // 4 :].any():
        return np.zeros(len(profile))

    power = power / power[len(power) // 4 :].mean()

    def falling(fall: float, steepness: float) -> Array:
        return np.exp(fall - steepness * np.log(frequency))

    def unlikely(found: Array) -> float:
        expected = np.exp(found[0]) + falling(*found[1:])
        return float((np.log(expected) + power / expected).sum())

    start = [0.0, np.log(power[:4].mean() + 1e-9), 2.0]
    bounds = [(None, None), (None, None), STEEPNESS]
    best = scipy.optimize.minimize(unlikely, start, method="L-BFGS-B", bounds=bounds)
    white = np.exp(best.x[0])
    spectrum[1:] *= white / (white + falling(*best.x[1:]))
    spectrum[0] = 0
    offsets: Array = scipy.fft.idct(spectrum, norm="ortho")
    return offsets


def _flatness(image: Array) -> Array:
    """Return weights of the steps from row to row, large where an image is flat."""
    smooth = scipy.ndimage.gaussian_filter(image, BLUR)
    rough = scipy.ndimage.gaussian_filter(np.diff(smooth, axis=0) ** 2, 2 * BLUR)
    # What noise alone leaves of steps makes no difference.
    weights = 1 / (2 * np.percentile(rough, 5) + rough + 1e-300)
    scaled: Array = weights / weights.max()
    return scaled


@dataclass(frozen=True, eq=False)
class Stripes:
    """The offsets of the rows and columns of all planes, each found when it is needed.

    They are the same for every part of a plane, in every process.
    """

    image: Any
    layout: Layout
    which: Literal["auto", "rows", "columns", "both"]
    """Those that are removed; auto removes what must be noise."""
    found: dict[Index, dict[str, Array]] = field(default_factory=dict, repr=False)
    """Offsets, (C, ...) with one pixel along the other axis, of the planes that have
    been looked at, by their place on the leading axes."""

    def removed(self, pixels: Pixels, index: Index, values: NDArray[Any]) -> Pixels:
        """Return the pixels of a plane, or of a part of one, without its stripes.

        Constant regions stay as they are.  The values are what was read at the index: a
        whole plane is not read again.
        """
        if pixels.constant.all():
            return pixels
        place = self.layout.place(index)
        if place not in self.found:
            self.found[place] = self._of_plane(index, values)
        for name, offsets in self.found[place].items():
            note = f"the {name} of the image have offsets, which were removed as noise"
            told = (f"{note}; stripes=no keeps them",) if self.which == "auto" else ()
            pixels = pixels.less(_part(offsets, self.layout.region(index)), told)
        return pixels

    def _of_plane(self, index: Index, values: NDArray[Any]) -> dict[str, Array]:
        """Return the offsets of a plane, by an index of it or of a part of it."""
        asked, found = self.which != "auto", {}
        for axis, name in ((-2, "rows"), (-1, "columns")):
            if self.which in ("auto", "both", name):
                offsets = _offsets(self._parts(index, values, axis), axis, asked)
                if offsets.any():
                    found[name] = offsets
        return found

    def _parts(self, index: Index, values: NDArray[Any], axis: int) -> list[Pixels]:
        """Return parts of a plane that have all rows (axis -2), or all columns (-1)."""
        layout = self.layout
        whole = values.shape[1:] == layout.sides
        return [
            Pixels.of(
                values[(slice(None), *region)]
                if whole
                else layout.take(self.image, layout.within(index, region))
            )
            for region in _strips(layout.sides, axis)
        ]


def _strips(sides: Sequence[int], axis: int) -> Iterator[tuple[slice, ...]]:
    """Yield parts that reach along an axis, spread along the other one."""
    most = max(ENOUGH // sides[axis] // STRIPS, 2 * FEWEST_PIXELS)
    other = len(sides) - 3 - axis
    ends = np.linspace(0, sides[other], STRIPS + 1).astype(int).tolist()
    for start, stop in itertools.pairwise(ends):
        width = min(most, stop - start)
        start += (stop - start - width) // 2
        region = [slice(0, side) for side in sides]
        region[other] = slice(start, start + width)
        yield tuple(region)


def _offsets(parts: Sequence[Pixels], axis: int, asked: bool) -> Array:
    """Return the offsets of rows (axis -2) or columns (-1) in parts side by side."""
    other = -3 - axis
    values = np.concatenate([part.values for part in parts], axis=other)
    usable = np.concatenate([~part.constant for part in parts], axis=other)
    values = values.astype(np.float64)
    usable &= np.isfinite(values)
    if axis == -1:
        values, usable = values.swapaxes(-1, -2), usable.swapaxes(-1, -2)
    offsets = np.zeros((*values.shape[:-1], 1))
    for place in np.ndindex(*values.shape[:-2]):
        own = row_offsets(values[place], usable[place], asked=asked)
        if own is not None:
            offsets[(*place, slice(None), 0)] = own
    return offsets if axis == -2 else offsets.swapaxes(-1, -2)


def _part(offsets: Array, region: tuple[slice, ...]) -> Array:
    """Return the offsets of a part of a plane."""
    sides = offsets.shape[1:]
    inside = (slice(None) if n == 1 else r for n, r in zip(sides, region, strict=True))
    return offsets[(slice(None), *inside)]
