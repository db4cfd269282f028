"""The point spread function of a microscope, measured from images of small beads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import (
    SMALLEST,
    as_array,
    check_finite,
    without_single_axes,
)
from napari_dip.tasks.patches import MAD_TO_SIGMA
from napari_dip.tasks.psf import points_in
from napari_dip.tasks.psf_check import check_shape, middle
from napari_dip.tasks.recipe import Parameters, parameter

Array = NDArray[Any]

SPOT = 8.0
"""Standard deviations of the smoothed noise above the background that make a spot."""

FAINTEST = 0.1
"""Height of a spot relative to the brightest below which it is part of the halo."""

NEIGHBOUR = 0.75
"""Sides of the PSF, along every axis, within which no other bead may lie."""

WIDTHS = 6
"""Half-widths of a bead in a PSF whose size is not given."""

UNLIKE = 5.0
"""Robust standard deviations by which a bead may be less like the average."""

ALIKE = 1e-3
"""Added to that deviation: without it, beads that are all alike would lose some."""

MARGIN = 2
"""Pixels around a bead that are cut out with it: displaced, one end meets the other."""

LIGHT = 2.0
"""Standard deviations of the smoothed noise from which on there is light in the PSF."""

ROUNDS = 3
"""Times that the beads are aligned to their average."""

DECONVOLUTION = 50
"""Most iterations of Richardson-Lucy that take the extent of the beads away."""

POINTS = 5
"""Points along a pixel, an odd number, that tell how much of a bead is in it: to 9 % of
the brightest pixel for radii of up to 3 pixels."""


def bead_psf(
    image: Any,
    *,
    shape: Sequence[int] | None = None,
    min_beads: int = 3,
    bead_diameter: float | None = None,
    pixel_size: float | None = None,
    z_step: float | None = None,
) -> NDArray[np.float32]:
    """Measure a PSF from an image of beads.

    Beads that lie alone, inside the image and are not saturated are aligned to a
    fraction of a pixel and averaged, each without its background.

    Parameters
    ----------
    image : array_like
        Plane (Y, X) or volume (Z, Y, X) with bright beads on a dark background.
    shape : tuple of int, optional
        Rows and columns of the PSF, or slices, rows and columns; odd numbers. None is
        six times the width of a bead.
    min_beads : int, default 3
        Fewest beads that make a PSF.
    bead_diameter : float, optional
        Diameter of the beads, in µm, whose extent is then taken out of the PSF. Beads
        smaller than a third of the resolution need no correction.
    pixel_size : float, optional
        Distance of two pixels, in µm; only the diameter needs it.
    z_step : float, optional
        Distance of two slices, in µm; only the diameter in a volume needs it.

    Returns
    -------
    ndarray
        float32, of sum one, its centre in the middle pixel.

    Raises
    ------
    InputError
        If an argument is not acceptable, or there are too few such beads; a ValueError.

    Notes
    -----
    Beads are the local maxima of the image, smoothed by a Gaussian of one pixel, that
    stand out from its noise and are not much fainter than the brightest.  They are
    aligned to their average, to a twentieth of a pixel, by
    `skimage.registration.phase_cross_correlation`.  Those whose correlation with the
    average is far below that of the others are left out.  The extent of the beads is
    taken out by the iterations of Richardson (1972) and Lucy (1974), which end at the
    noise of the outermost pixels.
    """
    parameters = BeadParameters(
        shape=shape,  # type: ignore[arg-type]  # checked, and a tuple then
        min_beads=min_beads,
        bead_diameter=bead_diameter,
        pixel_size=pixel_size,
        z_step=z_step,
    )
    return measure(image, parameters).psf


@dataclass(frozen=True, kw_only=True)
class BeadParameters(Parameters):
    """What `bead_psf` accepts, for the panel and the command line too."""

    task: ClassVar[str] = "bead_psf"
    documentation: ClassVar[str | None] = bead_psf.__doc__

    shape: tuple[int, ...] | None = parameter(None, low=3, high=1025)
    min_beads: int = parameter(3, low=1, high=1000, advanced=True)
    bead_diameter: float | None = parameter(None, low=1e-3, high=100, unit="µm")
    pixel_size: float | None = parameter(None, low=1e-3, high=100, unit="µm")
    z_step: float | None = parameter(None, low=1e-3, high=100, unit="µm")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape is not None:
            check_shape(self.shape)
        if self.bead_diameter is not None and self.pixel_size is None:
            raise InputError(
                "pixel_size must be given, in µm, with bead_diameter; got None"
            )


@dataclass(frozen=True, eq=False)
class Beads:
    """A PSF and the beads that it was measured from."""

    psf: NDArray[np.float32]
    """float32, of sum one."""
    centres: Array
    """Brightest pixels of the beads, (N, 2) or (N, 3)."""
    left_out: dict[str, int]
    """How many spots were left out, by the reason."""

    @property
    def summary(self) -> str:
        """How many beads there were, in words."""
        return _summary(len(self.centres), self.left_out)


def _summary(used: int, left_out: dict[str, int]) -> str:
    others = [f"{count} {reason}" for reason, count in left_out.items() if count]
    text = f"{used} {'bead' if used == 1 else 'beads'}"
    return f"{text} (left out: {', '.join(others)})" if others else text


def measure(image: Any, parameters: BeadParameters) -> Beads:
    """Measure a PSF and tell from which beads."""
    values = _checked(image, parameters)
    level = float(np.median(values))
    smooth = scipy.ndimage.gaussian_filter(values, 1) - level
    spots = _spots(smooth)
    sides = parameters.shape or _sides(smooth, spots)
    half = np.array(sides) // 2
    alone, left_out = _alone(values, spots, half)
    _check_enough(len(alone), left_out, parameters)
    padded = np.pad(values - level, MARGIN, mode="edge")
    boxes = [_Box.cut(padded, spot, half + MARGIN) for spot in alone]
    for _ in range(ROUNDS):
        average = _average(boxes)
        boxes = [box.aligned(average) for box in boxes]
    likeness = np.array([box.likeness(average) for box in boxes])
    spread = _deviation(likeness) + ALIKE
    kept = likeness > np.median(likeness) - UNLIKE * spread
    boxes = [box for box, like in zip(boxes, kept, strict=True) if like]
    left_out["unlike the others"] = int((~kept).sum())
    _check_enough(len(boxes), left_out, parameters)
    off = middle(_average(boxes))
    average = _average([box.moved(off) for box in boxes])
    if parameters.bead_diameter is not None:
        average = _without_extent(average, parameters)
    psf = _light(average)
    psf /= psf.sum()
    centres = np.array([spot for spot, like in zip(alone, kept, strict=True) if like])
    return Beads(psf.astype(np.float32), centres, left_out)


def _checked(image: Any, parameters: BeadParameters) -> Array:
    given = np.asarray(as_array(image, "image"))
    image = without_single_axes(given)
    if image.ndim not in (2, 3):
        raise InputError(
            f"image must be a plane or a volume of beads, with 2 or 3 axes; got shape "
            f"{given.shape}"
        )
    if min(image.shape[-2:]) < SMALLEST:
        raise InputError(
            f"image must have at least {SMALLEST} rows and columns; got shape "
            f"{given.shape}"
        )
    check_finite(image, "image")
    shape = parameters.shape
    if shape is not None and (
        len(shape) != image.ndim
        or any(n > m for n, m in zip(shape, image.shape, strict=True))
    ):
        raise InputError(
            f"shape must have an odd number for every axis of image, no larger than "
            f"the image; got {shape} for an image of shape {given.shape}"
        )
    if image.ndim == 3 and parameters.bead_diameter and parameters.z_step is None:
        raise InputError(
            "z_step must be given, in µm, with the bead_diameter of a volume; got None"
        )
    values: Array = image.astype(np.float64)
    return values


def _check_enough(
    count: int, left_out: dict[str, int], parameters: BeadParameters
) -> None:
    if count < parameters.min_beads:
        smaller = "; with a smaller shape those at the border lie within the image"
        raise InputError(
            f"image must have at least {parameters.min_beads} beads (min_beads) that "
            f"lie alone, away from the border, and are not saturated; got "
            f"{_summary(count, left_out)}" + smaller * bool(left_out["at the border"])
        )


def _spots(smooth: Array) -> Array:
    """Return the places of the local maxima that are no noise, brightest first."""
    peaks = smooth == scipy.ndimage.maximum_filter(smooth, 3)
    peaks &= (smooth > SPOT * _deviation(smooth)) & (smooth > FAINTEST * smooth.max())
    places = np.argwhere(peaks)
    return places[np.argsort(-smooth[peaks], kind="stable")]


def _deviation(values: Array) -> float:
    """Return the standard deviation of normal values among which others may be."""
    return MAD_TO_SIGMA * float(np.median(np.abs(values - np.median(values))))


def _sides(smooth: Array, spots: Array) -> tuple[int, ...]:
    """Return the sides of a PSF by the widths of the brighter half of the spots."""
    widths = []
    for spot in spots[: len(spots) // 2 + 1]:
        width = []
        for axis in range(smooth.ndim):
            line = np.moveaxis(smooth, axis, -1)[tuple(np.delete(spot, axis))]
            below = np.flatnonzero(line < smooth[tuple(spot)] / 2)
            before, after = below[below < spot[axis]], below[below > spot[axis]]
            first = before.max() if before.size else -1
            last = after.min() if after.size else len(line)
            width.append(last - first - 1)
        widths.append(width)
    usual = np.median(widths, axis=0) if widths else np.ones(smooth.ndim)
    usual[-2:] = usual[-2:].mean()
    return tuple(
        max(3, min(2 * int(WIDTHS * width / 2) + 1, (n - 1) // 2 * 2 - 1))
        for width, n in zip(usual, smooth.shape, strict=True)
    )


def _alone(values: Array, spots: Array, half: Array) -> tuple[Array, dict[str, int]]:
    """Return the spots that can be used, and how many cannot, by the reason."""
    saturated = values == values.max()
    square = (*[1] * (values.ndim - 2), 2, 2)
    if not scipy.ndimage.minimum_filter(saturated, square).any():
        saturated[:] = False  # a single maximum is no saturation
    reach = NEIGHBOUR * (2 * half + 1)
    left_out = {"at the border": 0, "saturated": 0, "too near to another": 0}
    alone = []
    for spot in spots:
        first, last = spot - half, spot + half + 1
        box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        near = (np.abs(spots - spot) < reach).all(axis=1)
        if (first < 0).any() or (last > values.shape).any():
            left_out["at the border"] += 1
        elif saturated[box].any():
            left_out["saturated"] += 1
        elif np.count_nonzero(near) > 1:
            left_out["too near to another"] += 1
        else:
            alone.append(spot)
    return np.array(alone, int).reshape(-1, values.ndim), left_out


@dataclass(frozen=True, eq=False)
class _Box:
    """A bead, cut out of the image with a margin."""

    values: Array
    """Pixels without the background."""
    off: Array
    """Where the bead lies, in pixels from the middle."""

    @classmethod
    def cut(cls, padded: Array, spot: Array, half: Array) -> _Box:
        """Cut a bead out of an image that was padded by `MARGIN`."""
        first = spot + MARGIN - half
        pairs = zip(first, first + 2 * half + 1, strict=True)
        values = padded[tuple(slice(a, b) for a, b in pairs)]
        if values.ndim == 2:  # in a volume light is everywhere around the bead
            values = values - np.median(_shell(values))
        return cls(values, middle(values))

    def centred(self) -> Array:
        """Return the bead in the middle, without the margin."""
        shifted = scipy.ndimage.fourier_shift(np.fft.fftn(self.values), -self.off)
        inside = (slice(MARGIN, -MARGIN),) * self.values.ndim
        centred: Array = np.fft.ifftn(shifted).real[inside]
        return centred

    def moved(self, off: Array) -> _Box:
        """Return the bead with its place corrected."""
        return _Box(self.values, self.off + off)

    def aligned(self, average: Array) -> _Box:
        """Return the bead with the place at which it is most like the average."""
        from skimage.registration import phase_cross_correlation

        shift, _, _ = phase_cross_correlation(
            average, self.centred(), upsample_factor=20, normalization=None
        )
        return self.moved(-shift)

    def likeness(self, average: Array) -> float:
        """Return the correlation with the average."""
        return float(np.corrcoef(self.centred().ravel(), average.ravel())[0, 1])


def _average(boxes: Sequence[_Box]) -> Array:
    average: Array = np.mean([box.centred() for box in boxes], axis=0)
    return average


def _shell(values: Array) -> Array:
    """Return the outermost pixels."""
    outside = np.ones(values.shape, bool)
    outside[(slice(1, -1),) * values.ndim] = False
    return values[outside]


def _light(average: Array) -> Array:
    """Return a PSF without the noise around it, which would add up to much light."""
    smooth = scipy.ndimage.gaussian_filter(average, 1)
    noise = _shell(smooth).std()
    spots, _ = scipy.ndimage.label(smooth > LIGHT * noise)
    spot = spots == spots[tuple(n // 2 for n in average.shape)]
    return np.where(scipy.ndimage.binary_dilation(spot), average, 0).clip(min=0)


def _without_extent(average: Array, parameters: BeadParameters) -> Array:
    """Return the average with the extent of the beads taken away."""
    import torch

    from napari_dip.prior.convolution import Convolution
    from napari_dip.prior.richardson_lucy import richardson_lucy

    assert parameters.bead_diameter is not None
    steps = [parameters.z_step, parameters.pixel_size, parameters.pixel_size]
    radii = [parameters.bead_diameter / 2 / (s or 1) for s in steps[-average.ndim :]]
    bead = _ball(radii)
    if any(k > n for k, n in zip(bead.shape, average.shape, strict=True)):
        raise InputError(
            f"bead_diameter must be smaller than the PSF; got "
            f"{parameters.bead_diameter:g} µm for a PSF of {average.shape} pixels"
        )
    peak = average.max()
    blur = Convolution(torch.from_numpy(bead).float(), average.shape)
    scaled = torch.from_numpy(average / peak).float()[None, None]
    variance = [float(_shell(average / peak).var())]
    known = torch.ones_like(scaled)
    sharp = richardson_lucy(blur, scaled, known, DECONVOLUTION, variance)
    extracted: Array = sharp[blur.crop][0, 0].double().numpy()
    return extracted


def _ball(radii: Sequence[float]) -> Array:
    """Return how much of a ball is in every pixel, of sum one, (Y, X) or (Z, Y, X)."""
    from skimage.measure import block_reduce

    axes = []
    for radius in radii:
        reach = int(np.ceil(radius))
        axes.append(points_in(np.arange(-reach, reach + 1), POINTS) / radius)
    grid = np.meshgrid(*axes, indexing="ij")
    beyond = np.square(grid).sum(axis=0)
    if len(radii) == 2:  # seen from above it is as bright as it is thick
        fine = np.sqrt(np.clip(1 - beyond, 0, None))
    else:
        fine = (beyond <= 1).astype(float)
    ball = block_reduce(fine, POINTS, np.mean)
    if not ball.any():  # smaller than the points are apart
        ball[tuple(n // 2 for n in ball.shape)] = 1
    whole: Array = ball / ball.sum()
    return whole
