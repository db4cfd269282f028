"""The PSF from the optics: its widths, its energy, and what is refused."""

import numpy as np
import pytest

from napari_dip import microscope_psf
from napari_dip.errors import InputError

OBJECTIVES = [(0.3, 1.0), (0.8, 1.0), (1.2, 1.33), (1.4, 1.515)]
"""Numerical aperture and refractive index of the immersion."""

WAVE = 0.5
"""Wavelength in µm."""


def axial_unit(aperture, index):
    """Return the denominator of the formulas for axial widths."""
    return index - (index**2 - aperture**2) ** 0.5


def width(profile, step):
    """Return the full width at half maximum of a profile."""
    profile = profile / profile.max()
    above = np.flatnonzero(profile >= 0.5)
    first, last = above[0], above[-1]
    left = (profile[first] - 0.5) / (profile[first] - profile[first - 1])
    right = (profile[last] - 0.5) / (profile[last] - profile[last + 1])
    return step * (last - first + left + right)


def widths(aperture, index, **options):
    """Return lateral and axial full width at half maximum, in µm."""
    lateral, axial = WAVE / aperture / 60, WAVE / axial_unit(aperture, index) / 40
    given = {
        "numerical_aperture": aperture,
        "wavelength": 1000 * WAVE,
        "pixel_size": lateral,
        "immersion_index": index,
        **options,
    }
    plane = microscope_psf((1, 151), **given)
    volume = microscope_psf((101, 3, 3), z_step=axial, **given)
    return width(plane[0], lateral), width(volume[:, 1, 1], axial)


@pytest.mark.parametrize(("aperture", "index"), OBJECTIVES)
def test_widefield_has_the_known_widths(aperture, index):
    """0.51 wavelength / NA, and 0.89 wavelength / (n - sqrt(n^2 - NA^2))."""
    lateral, axial = widths(aperture, index)
    assert lateral == pytest.approx(0.51 * WAVE / aperture, rel=0.015)
    assert axial == pytest.approx(0.886 * WAVE / axial_unit(aperture, index), rel=0.05)


@pytest.mark.parametrize(("aperture", "index"), OBJECTIVES)
def test_confocal_has_the_known_widths(aperture, index):
    """0.37 and 0.64 mean wavelengths with the smallest pinhole.

    With an open one the widths are those of the excitation.
    """
    laser = 0.9 * WAVE
    given = {"kind": "confocal", "excitation_wavelength": 1000 * laser}
    mean = 2**0.5 * WAVE * laser / (WAVE**2 + laser**2) ** 0.5
    lateral, axial = widths(aperture, index, **given, pinhole=0)
    assert lateral == pytest.approx(0.37 * mean / aperture, rel=0.02)
    assert axial == pytest.approx(0.64 * mean / axial_unit(aperture, index), rel=0.05)
    by_pinhole = [widths(aperture, index, **given, pinhole=p) for p in (0.1, 1, 20)]
    assert by_pinhole[0] == pytest.approx((lateral, axial), rel=0.01)
    assert by_pinhole[0] < by_pinhole[1] < by_pinhole[2]
    assert by_pinhole[2][0] == pytest.approx(0.51 * laser / aperture, rel=0.03)


def test_the_first_dark_ring():
    """0.61 wavelengths over NA."""
    step = 0.002
    psf = microscope_psf(
        (1, 401), numerical_aperture=1.2, wavelength=500, pixel_size=step
    )[0]
    profile = psf[200:] / psf.max()
    dark = np.flatnonzero(np.diff(profile) > 0)[0]
    assert step * dark == pytest.approx(0.61 * WAVE / 1.2, abs=step)
    assert profile[dark] < 1e-4


@pytest.mark.parametrize("shape", [(65, 65), (33, 65), (1, 1), (9, 33, 65), (1, 9, 9)])
@pytest.mark.parametrize("kind", ["widefield", "confocal"])
def test_energy_shape_and_symmetry(shape, kind):
    psf = microscope_psf(
        shape,
        numerical_aperture=0.9,
        wavelength=600,
        pixel_size=0.15,
        z_step=0.5,
        immersion_index=1,
        kind=kind,
        excitation_wavelength=500,
    )
    assert psf.shape == shape
    assert psf.dtype == np.float32
    assert psf.sum() == pytest.approx(1, abs=1e-5)
    assert psf.min() >= 0
    assert psf.flat[psf.size // 2] == psf.max()
    np.testing.assert_allclose(psf, np.flip(psf), atol=1e-7)


def test_no_light_is_lost_out_of_focus():
    psf = microscope_psf(
        (9, 257, 257), numerical_aperture=0.8, wavelength=500, pixel_size=0.2, z_step=1
    )
    light = psf.sum(axis=(1, 2))
    np.testing.assert_allclose(light, light.mean(), rtol=0.02)


def test_pixels_average_over_their_area():
    """What fine pixels have together is what a coarse one has."""
    given = {"numerical_aperture": 0.4, "wavelength": 500}
    fine = microscope_psf((135, 135), pixel_size=0.1, **given)
    coarse = microscope_psf((15, 15), pixel_size=0.9, **given)
    together = fine.reshape(15, 9, 15, 9).sum(axis=(1, 3))
    np.testing.assert_allclose(coarse, together, atol=0.01 * coarse.max())


@pytest.mark.parametrize("depth", [1, 10, 100])
def test_oil_into_water(depth):
    """A mismatch of the indices makes the PSF darker and asymmetric."""
    given = {
        "shape": (61, 17, 17),
        "numerical_aperture": 1.4,
        "wavelength": 520,
        "pixel_size": 0.1,
        "z_step": 0.2,
    }
    right = microscope_psf(**given, depth=depth)
    psf = microscope_psf(**given, depth=depth, sample_index=1.33)
    np.testing.assert_array_equal(right, microscope_psf(**given))
    assert np.unravel_index(psf.argmax(), psf.shape) == (30, 8, 8)
    middle = psf[:, 8, 8]
    # The rim of the pupil has its focus farther from the glass.
    asymmetry = (middle[31:].sum() - middle[:30].sum()) / middle.sum()
    assert abs(asymmetry) > 0.03
    assert psf[:, 8, 8].max() / psf.sum() < right[:, 8, 8].max() / right.sum()


NEEDED = {"numerical_aperture": 1.4, "wavelength": 520, "pixel_size": 0.1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (64, 65)}, "odd numbers.*64"),
        ({"shape": (65,)}, "two or three odd numbers"),
        ({"shape": (5, 65, 65)}, "z_step must be given"),
        ({"kind": "confocal"}, "excitation_wavelength must be given"),
        ({"kind": "light sheet"}, "widefield, confocal|widefield or confocal"),
        ({"immersion_index": 1.33}, "numerical_aperture must not be larger.*1.4"),
        ({"wavelength": 0.52}, "wavelength must be .* from 150 to 3000 nm; got 0.5"),
        ({"pixel_size": 0}, "pixel_size must be"),
        ({"pixel_size": float("nan")}, "pixel_size must be"),
        ({"depth": -1}, "depth must be"),
        ({"pixel_size": 6.5}, "camera divided by the magnification.* 0.371 µm"),
        ({"shape": (1025, 3, 3), "z_step": 50}, "shape must cover a smaller field"),
    ],
)
def test_refused(options, message):
    with pytest.raises(InputError, match=message):
        microscope_psf(**{**NEEDED, **options})
