"""The PSF from beads: what it is like, which beads it takes, what is refused."""

import numpy as np
import pytest
from scipy import ndimage

from napari_dip import bead_psf, microscope_psf
from napari_dip.errors import InputError
from napari_dip.tasks.bead_psf import BeadParameters, measure

OPTICS = {
    "numerical_aperture": 1.2,
    "wavelength": 520,
    "pixel_size": 0.1,
    "immersion_index": 1.33,
}


@pytest.fixture(scope="module")
def round_psf():
    return microscope_psf((41, 41), **OPTICS).astype(float)


@pytest.fixture(scope="module")
def lopsided_psf(round_psf):
    """Return a PSF with a tail to one side."""
    tail = ndimage.shift(round_psf, (1.3, -2.1), order=3).clip(min=0)
    return (round_psf + tail / 2) / 1.5


def picture(psf, places, photons, *, shape, background=100.0, seed=0):
    """Return a noisy picture of points at any places, with some brightness each."""
    random = np.random.default_rng(seed)
    size = [n + k for n, k in zip(shape, psf.shape, strict=True)]
    grid = np.zeros(size)
    grid[tuple(slice(k) for k in psf.shape)] = psf / psf.max()
    shifts = [-(k // 2) for k in psf.shape]
    spectrum = np.fft.fftn(np.roll(grid, shifts, range(psf.ndim)))
    spots = sum(
        count * ndimage.fourier_shift(spectrum, place)
        for place, count in zip(
            places, np.broadcast_to(photons, len(places)), strict=True
        )
    )
    spots = np.fft.ifftn(spots).real[tuple(slice(n) for n in shape)]
    image = background + spots.clip(min=0)
    return random.poisson(image) + random.normal(0, 2, shape)


def lattice(sides, step, seed=0, margin=20):
    """Return places on a lattice, each displaced by less than a pixel."""
    axes = [np.arange(margin, n - margin, step) for n in sides]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(sides))
    return places + np.random.default_rng(seed).uniform(-0.5, 0.5, places.shape)


def centred(psf, shape):
    """Return the middle of a PSF, of sum one."""
    pairs = zip(psf.shape, shape, strict=True)
    part = psf[tuple(slice(n // 2 - k // 2, n // 2 + k // 2 + 1) for n, k in pairs)]
    return part / part.sum()


def difference(psf, truth):
    """Return the sum of absolute differences: 2 where nothing is alike."""
    return np.abs(psf - centred(truth, psf.shape)).sum()


@pytest.mark.parametrize(("photons", "limit"), [(300, 0.25), (3000, 0.08)])
def test_a_plane(round_psf, photons, limit):
    places = lattice((200, 200), 40)
    random = np.random.default_rng(1)
    bright = photons * random.uniform(0.5, 1.5, len(places))
    image = picture(round_psf, places, bright, shape=(200, 200))
    beads = measure(image, BeadParameters())
    psf = beads.psf
    assert beads.summary == f"{len(places)} beads"
    assert psf.dtype == np.float32
    assert psf.ndim == 2
    assert all(n % 2 for n in psf.shape)
    assert psf.sum() == pytest.approx(1, abs=1e-5)
    assert psf.min() == 0
    assert difference(psf, round_psf) < limit
    np.testing.assert_array_equal(psf, bead_psf(image))


def test_a_lopsided_psf_and_a_given_shape(lopsided_psf):
    places = lattice((200, 200), 40)
    image = picture(lopsided_psf, places, 3000, shape=(200, 200))
    psf = bead_psf(image, shape=(33, 31))
    assert psf.shape == (33, 31)
    # Where the middle of a lopsided PSF lies is a matter of definition.
    away = np.array([n // 2 for n in psf.shape]) - ndimage.center_of_mass(psf)
    middle = np.array([20, 20]) - ndimage.center_of_mass(lopsided_psf)
    truth = ndimage.shift(lopsided_psf, middle - away, order=3)
    assert difference(psf, truth) < 0.1
    turned = difference(psf, np.flip(truth))
    assert turned > 0.4


@pytest.mark.slow
def test_a_volume():
    psf = microscope_psf((31, 31, 31), z_step=0.3, **OPTICS).astype(float)
    shape = (41, 93, 129)
    places = lattice(shape[1:], 36)
    depth = 20 + np.random.default_rng(2).uniform(-1, 1, len(places))
    places = np.column_stack([depth, places])
    image = picture(psf, places, 3000, shape=shape)
    measured = bead_psf(image, shape=(21, 21, 21))
    assert measured.shape == (21, 21, 21)
    assert difference(measured, psf) < 0.3
    assert np.corrcoef(measured.ravel(), centred(psf, (21,) * 3).ravel())[0, 1] > 0.995
    automatic = bead_psf(image[None])  # files may hold an axis of one
    assert automatic.ndim == 3


def test_the_extent_of_the_beads_is_taken_away(round_psf):
    y, x = np.indices((7, 7)) - 3
    thickness = np.sqrt(np.clip(9 - y**2 - x**2, 0, None))
    seen = ndimage.convolve(round_psf, thickness / thickness.sum(), mode="constant")
    places = lattice((200, 200), 40)
    image = picture(seen, places, 3000, shape=(200, 200))
    as_seen = bead_psf(image)
    psf = bead_psf(image, bead_diameter=0.6, pixel_size=0.1)
    assert psf.shape == as_seen.shape
    assert difference(as_seen, round_psf) > 0.6
    assert difference(psf, round_psf) < 0.3


def test_tiny_beads_change_nothing(round_psf):
    image = picture(round_psf, lattice((200, 200), 40), 3000, shape=(200, 200))
    point = bead_psf(image, bead_diameter=0.001, pixel_size=0.1)
    np.testing.assert_allclose(point, bead_psf(image), atol=2e-3)


def test_which_beads_are_left_out(round_psf):
    places = lattice((200, 200), 40)
    others = np.array([[2.0, 100.0], [100.0, 197.0]])  # at the border
    close = places[:1] + np.array([6, 3])
    bright = np.full(len(places), 1000.0)
    bright[-2:] = 9000
    every = np.concatenate([places, others, close])
    photons = np.concatenate([bright, [1000] * 3])
    image = picture(round_psf, every, photons, shape=(200, 200))
    image = np.rint(image.clip(max=4095)).astype(np.uint16)  # a camera of 12 bits
    beads = measure(image, BeadParameters(shape=(21, 21)))
    assert beads.left_out == {
        "at the border": 2,
        "saturated": 2,
        "too near to another": 2,
        "unlike the others": 0,
    }
    assert len(beads.centres) == len(places) - 3
    assert "2 saturated" in beads.summary


def test_a_clump_is_unlike_the_others(round_psf):
    places = lattice((240, 240), 40)
    clump = places[7] + np.array([0, 2.2])
    every = np.concatenate([places, [clump]])
    image = picture(round_psf, every, 2000, shape=(240, 240))
    beads = measure(image, BeadParameters(shape=(19, 19)))
    assert beads.left_out["unlike the others"] == 1
    assert difference(beads.psf, round_psf) < 0.08


def test_a_background_that_is_not_even(round_psf):
    places = lattice((200, 200), 40)
    slope = np.linspace(0, 300, 200)
    image = picture(round_psf, places, 3000, shape=(200, 200)) + slope
    assert difference(bead_psf(image), round_psf) < 0.12


def test_too_few_beads(round_psf):
    places = lattice((200, 200), 40)[:2]
    image = picture(round_psf, places, 1000, shape=(200, 200))
    with pytest.raises(InputError, match=r"at least 3 beads.*got 2 beads$"):
        bead_psf(image)
    assert bead_psf(image, min_beads=2).sum() == pytest.approx(1, abs=1e-5)
    border = picture(
        round_psf, places * 0 + [[100, 3], [3, 60]], 1000, shape=(200, 200)
    )
    with pytest.raises(
        InputError, match=r"border.*; with a smaller shape those at the"
    ):
        bead_psf(border)
    noise = np.random.default_rng(0).normal(100, 10, (128, 128))
    with pytest.raises(InputError, match="got 0 beads"):
        bead_psf(noise)
    with pytest.raises(InputError, match="got 0 beads"):
        bead_psf(np.zeros((64, 64)))


EMPTY = np.zeros((64, 64))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (EMPTY, {"shape": (20, 21)}, "odd numbers"),
        (EMPTY, {"shape": (5, 21, 21)}, "for every axis of image"),
        (EMPTY, {"shape": (65, 21)}, "no larger than the image"),
        (EMPTY, {"bead_diameter": 0.1}, "pixel_size must be given"),
        (EMPTY, {"min_beads": 0}, "min_beads must be"),
        (np.zeros((4, 5, 64, 64)), {}, "a plane or a volume"),
        (np.zeros(64), {}, "a plane or a volume"),
        (np.zeros((1, 64, 8)), {}, r"columns; got shape \(1, 64, 8\)"),
        (np.zeros((64, 8)), {}, "at least 16 rows and columns"),
        (np.full((64, 64), np.nan), {}, "finite; got 4096"),
        (EMPTY.astype(complex), {}, "real numbers"),
        (
            np.zeros((9, 64, 64)),
            {"bead_diameter": 0.1, "pixel_size": 0.1},
            "z_step must be given",
        ),
    ],
)
def test_refused(image, options, message):
    with pytest.raises(InputError, match=message):
        bead_psf(image, **options)


def test_a_bead_larger_than_the_psf(round_psf):
    image = picture(round_psf, lattice((200, 200), 40), 1000, shape=(200, 200))
    with pytest.raises(InputError, match="bead_diameter must be smaller than the PSF"):
        bead_psf(image, bead_diameter=5, pixel_size=0.1)
