"""The point spread function of a microscope, from its optics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.psf import points_in
from napari_dip.tasks.psf_check import check_shape
from napari_dip.tasks.recipe import Parameters, parameter

Array = NDArray[Any]

MICROMETRE = 1000.0
"""Nanometres in a micrometre."""

LARGEST = 2**26
"""Most numbers in a table of the model: half a GiB."""

MOST_SLICES = 129
"""Slices of a PSF for a volume at most, unless the user asks for more."""

NODES = 16
"""Nodes of the quadrature for every period of the wave across the pupil."""


def slices_for(count: int) -> int:
    """Return the slices of a PSF, an odd number, for a volume of so many."""
    return min(count // 2 * 2 + 1, MOST_SLICES)


def microscope_psf(
    shape: Sequence[int] = (65, 65),
    *,
    numerical_aperture: float,
    wavelength: float,
    pixel_size: float,
    z_step: float | None = None,
    kind: Literal["widefield", "confocal"] = "widefield",
    excitation_wavelength: float | None = None,
    pinhole: float = 1.0,
    immersion_index: float = 1.515,
    sample_index: float | None = None,
    depth: float = 0.0,
) -> NDArray[np.float32]:
    """Compute the PSF of a fluorescence microscope from its optics.

    Parameters
    ----------
    shape : tuple of int, default (65, 65)
        Rows and columns of the PSF, or slices, rows and columns; odd numbers.
    numerical_aperture : float
        Numerical aperture of the objective.
    wavelength : float
        Wavelength of the emitted light, in nm.
    pixel_size : float
        Distance of two pixels in the specimen, in µm: that of the camera divided by
        the magnification.
    z_step : float, optional
        Distance of two slices, in µm; only volumes need it.
    kind : {"widefield", "confocal"}
        Kind of microscope; confocal needs the excitation wavelength.
    excitation_wavelength : float, optional
        Wavelength of a confocal microscope's laser, in nm.
    pinhole : float, default 1.0
        Diameter of a confocal microscope's pinhole, in Airy units of the emission:
        1.22 wavelengths over the numerical aperture.
    immersion_index : float, default 1.515
        Refractive index of what is between objective and cover glass: 1 for air,
        1.33 for water, 1.515 for oil.
    sample_index : float, optional
        Refractive index of the specimen; None is that of the immersion.
    depth : float, default 0.0
        Distance of the focus from the cover glass, in µm, which matters where the
        refractive indices differ.

    Returns
    -------
    ndarray
        float32, of sum one; its brightest slice is in the middle, and the slices go
        from the cover glass into the specimen.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.

    Notes
    -----
    The scalar model of Gibson and Lanni, Experimental Test of an Analytical Model of
    Aberration in an Oil-Immersion Objective Lens Used in Three-Dimensional Light
    Microscopy (1992), for a cover glass as the objective was made for: without `depth`
    it is that of Born and Wolf without their approximation for small angles.  Pixels
    average over their area.  A confocal PSF is that of the excitation times that of
    the emission, which is averaged over the pinhole.  Polarisation is left out.
    """
    parameters = MicroscopeParameters(**locals())
    psf = _volume(parameters)
    psf /= psf.sum()
    return psf.reshape(parameters.shape).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class MicroscopeParameters(Parameters):
    """What `microscope_psf` accepts, for the panel and the command line too."""

    task: ClassVar[str] = "microscope_psf"
    documentation: ClassVar[str | None] = microscope_psf.__doc__
    required: ClassVar[tuple[str, ...]] = (
        "numerical_aperture",
        "wavelength",
        "pixel_size",
    )

    shape: tuple[int, ...] = parameter((65, 65), low=1, high=1025)
    numerical_aperture: float = parameter(1.4, low=0.01, high=1.7)
    wavelength: float = parameter(520.0, low=150, high=3000, unit="nm")
    pixel_size: float = parameter(0.1, low=1e-3, high=100, unit="µm")
    z_step: float | None = parameter(None, low=1e-3, high=100, unit="µm")
    kind: Literal["widefield", "confocal"] = parameter("widefield")
    excitation_wavelength: float | None = parameter(None, low=150, high=3000, unit="nm")
    pinhole: float = parameter(1.0, low=0, high=20)
    immersion_index: float = parameter(1.515, low=1, high=2)
    sample_index: float | None = parameter(None, low=1, high=2, advanced=True)
    depth: float = parameter(0.0, low=0, high=200, unit="µm", advanced=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape(self.shape)
        if len(self.shape) == 3 and self.z_step is None:
            raise InputError(
                "z_step must be given, in µm, where shape has slices; got None"
            )
        if self.kind == "confocal" and self.excitation_wavelength is None:
            raise InputError(
                "excitation_wavelength must be given, in nm, where kind is confocal; "
                "got None"
            )
        if self.numerical_aperture > self.immersion_index:
            raise InputError(
                f"numerical_aperture must not be larger than immersion_index, "
                f"{self.immersion_index:g}; got {self.numerical_aperture:g}"
            )
        coarsest = self.wavelength / MICROMETRE / self.numerical_aperture
        if self.pixel_size > coarsest:
            raise InputError(
                f"pixel_size must be that of the camera divided by the magnification: "
                f"no more than the wavelength over the numerical aperture, "
                f"{coarsest:.3g} µm; got {self.pixel_size:g}"
            )


def _volume(p: MicroscopeParameters) -> Array:
    from scipy.interpolate import CubicSpline
    from skimage.measure import block_reduce

    slices, *sides = (1, *p.shape)[-3:]
    z_step = p.z_step or 0.0
    heights = z_step * (np.arange(slices) - slices // 2) + _focus(p)
    shortest = min(p.wavelength, p.excitation_wavelength or p.wavelength) / MICROMETRE
    cycle = shortest / (2 * p.numerical_aperture)  # of the finest detail
    # Points in every pixel, to average over its area.
    points = 2 * int(np.ceil(3 * p.pixel_size / cycle)) - 1
    y, x = (_quadrant(side, points, p.pixel_size) for side in sides)
    distance = np.hypot(y[:, None], x)
    grid = np.linspace(0, distance.max() + cycle, int(distance.max() / cycle * 10) + 20)
    radial = CubicSpline(grid, _radial(p, grid, heights), axis=1)
    psf = np.empty((slices, *sides))
    for z, profile in enumerate(radial.c.transpose(2, 0, 1)):
        fine = CubicSpline.construct_fast(profile, grid)(distance)
        pixels = block_reduce(fine, points, np.mean)
        psf[z] = np.pad(pixels, [(side // 2, 0) for side in sides], mode="reflect")
    return psf.clip(min=0)


def _quadrant(side: int, points: int, step: float) -> Array:
    """Return the points of the pixels from the middle of an axis to its end."""
    return points_in(np.arange(side // 2 + 1), points) * step


def _focus(p: MicroscopeParameters) -> float:
    """Return the height of the stage at which the middle pixel is brightest."""
    sample = p.sample_index or p.immersion_index
    if not p.depth or sample == p.immersion_index:
        return p.depth
    # Where rays through the middle and through the rim of the pupil come together.
    rim = min(p.numerical_aperture, 0.9 * sample)
    near, far = (
        p.depth * ((p.immersion_index**2 - a**2) / (sample**2 - a**2)) ** 0.5
        for a in (0, rim)
    )
    step = p.wavelength / MICROMETRE / 20
    heights = np.linspace(near, far, int(abs(far - near) / step) + 2)
    # Rings of one area in a disc as large as a pixel.
    rings = p.pixel_size * np.sqrt((np.arange(8) + 0.5) / (8 * np.pi))
    middle = _radial(p, rings, heights).mean(axis=1)
    return float(heights[middle.argmax()])


def _radial(p: MicroscopeParameters, radii: Array, heights: Array) -> Array:
    """Return the intensity at distances from the axis, (Z, R)."""
    if p.kind == "widefield":
        return _spot(p, p.wavelength, radii, heights)
    assert p.excitation_wavelength is not None
    emission = _through_pinhole(p, radii, heights)
    return _spot(p, p.excitation_wavelength, radii, heights) * emission


def _through_pinhole(p: MicroscopeParameters, radii: Array, heights: Array) -> Array:
    """Return the light from a point that gets through the pinhole, (Z, R)."""
    airy = 1.22 * p.wavelength / MICROMETRE / p.numerical_aperture
    hole = airy * p.pinhole / 2
    if not hole:
        return _spot(p, p.wavelength, radii, heights)
    # Rings around the image of the point, and how much of each is in the pinhole.
    width = min(airy / 40, hole / 10)
    rings = np.arange(width / 2, radii.max() + hole, width)
    _check_size(p, len(rings) * len(radii))
    spot = _spot(p, p.wavelength, rings, heights)
    apart = np.maximum(2 * rings[:, None] * radii, 1e-12)
    cosine = (rings[:, None] ** 2 + radii**2 - hole**2) / apart
    inside: Array = spot * rings @ np.arccos(cosine.clip(-1, 1))
    inside /= inside.max()
    return inside


def _spot(
    p: MicroscopeParameters, wavelength: float, radii: Array, heights: Array
) -> Array:
    """Return the intensity of a point that is imaged at one wavelength, (Z, R)."""
    from scipy.special import j0

    micrometres = wavelength / MICROMETRE
    pupil, weights = _pupil(p, radii.max(), heights, micrometres)
    _check_size(p, len(pupil) * max(len(radii), len(heights)))
    k = 2 * np.pi / micrometres
    wave = np.exp(1j * k * _path(p, pupil, heights)) * pupil * weights
    field = wave @ j0(k * p.numerical_aperture * pupil[:, None] * radii)
    spot: Array = np.abs(field) ** 2
    return spot


def _check_size(p: MicroscopeParameters, count: int) -> None:
    if count > LARGEST:
        raise InputError(
            f"shape must cover a smaller field, {p.shape} pixels are too many of "
            f"{p.pixel_size:g} µm and a z_step of {p.z_step or 0:g} µm"
        )


def _pupil(
    p: MicroscopeParameters, radius: float, heights: Array, wavelength: float
) -> tuple[Array, Array]:
    """Return nodes and weights of a quadrature over the radius of the pupil.

    Between two nodes the wave changes by a small part of a period everywhere.
    """
    # Dense towards the critical angle, where the path changes fastest.
    sine = (p.sample_index or p.immersion_index) / p.numerical_aperture
    angles = np.linspace(0, np.pi / 2, 2000)
    rough = np.concatenate([sine * np.sin(angles), sine * (2 - np.sin(angles[::-1]))])
    rough = np.unique(np.append(rough, 1).clip(max=1))
    changes = np.abs(np.diff(_path(p, rough, heights).real)).max(axis=0)
    changes += np.diff(rough) * p.numerical_aperture * radius
    phase = np.append(0, changes.cumsum()) / wavelength
    count = int(phase[-1]) + 4
    edges = np.interp(np.linspace(0, phase[-1], count + 1), phase, rough)
    if sine < 1:
        edges = np.union1d(edges, sine)
    node, weight = np.polynomial.legendre.leggauss(NODES)
    left, width = edges[:-1, None], np.diff(edges)[:, None]
    return (left + width * (node + 1) / 2).ravel(), (width * weight / 2).ravel()


def _path(p: MicroscopeParameters, pupil: Array, heights: Array) -> Array:
    """Return optical paths to the pupil, (Z, R), relative to those to its middle."""
    sine = p.numerical_aperture * pupil  # times the refractive index
    sample = p.sample_index or p.immersion_index
    # Beyond the critical angle the wave fades with the distance from the glass: there
    # the path is imaginary.
    in_sample = np.sqrt((sample**2 - sine**2).astype(complex)) - sample
    in_immersion = np.sqrt(p.immersion_index**2 - sine**2) - p.immersion_index
    path: Array = p.depth * in_sample - heights[:, None] * in_immersion
    return path
