"""A PSF that is turned or displaced is told; a right one is not."""

from functools import cache

import numpy as np
import pytest
import skimage.data
import skimage.io
from scipy import ndimage, signal
from skimage.color import rgb2gray
from skimage.restoration import estimate_sigma

from napari_dip import microscope_psf
from napari_dip.tasks.psf_check import displacement_warning, turn_warning
from napari_dip.tasks.run import get

SIDE = 300
PICTURES = ("astronaut", "camera", "coins", "gravel", "moon", "page", "text")
TURNED = "turned by 180 degrees"


@cache
def picture(name):
    """Return the middle of a picture of scikit-image, 0 to 255."""
    image = getattr(skimage.data, name)()
    if image.ndim == 3:
        image = 255 * rgb2gray(image)
    y, x = (max(n - SIDE, 0) // 2 for n in image.shape)
    return image[y : y + SIDE, x : x + SIDE].astype(float)


def trace(seed, side=19):
    """Return a PSF like camera shake: a smooth path, unevenly bright, centred."""
    random = np.random.default_rng(seed)
    path = ndimage.gaussian_filter1d(random.normal(size=(60, 2)), 8, axis=0)
    path = (path - path.mean(0)) * (side / 5) / path.std()
    psf = np.zeros((side, side))
    places = np.clip(np.rint(path + side // 2).astype(int), 0, side - 1)
    np.add.at(psf, tuple(places.T), np.linspace(0.3, 1.7, 60))
    psf = ndimage.gaussian_filter(psf, 0.6)
    off = np.subtract(ndimage.center_of_mass(psf), side // 2)
    psf = ndimage.shift(psf, -off, order=1)
    return psf / psf.sum()


def blurred(image, psf, noise, seed=0):
    return noised(signal.fftconvolve(image, psf, mode="valid"), noise, seed)


def noised(image, noise, seed):
    return image + np.random.default_rng(seed).normal(0, noise, image.shape)


def warning(image, psf, periodic=False):
    variance = max(float(estimate_sigma(image)), 0.01) ** 2
    return turn_warning(image, np.ones(image.shape), psf, variance, periodic)


@pytest.fixture(scope="module")
def levin(shared_data):
    """Return image and right PSF of every case of the set that is there.

    Three of the four PSFs are stored turned against the blur of their images.
    """
    folder = shared_data / "levin"

    def read(name):
        return skimage.io.imread(folder / f"{name}.png").astype(float)

    cases = []
    for image, number, turn in ((1, 1, 1), (1, 4, 0), (1, 6, 1), (2, 5, 1)):
        psf = read(f"kernel{number}")
        psf = np.flip(psf) if turn else psf
        cases.append((read(f"im{image}_kernel{number}_blurred"), psf / psf.sum()))
    return cases


def test_the_levin_set(levin):
    for image, psf in levin:
        assert warning(image, psf) is None
        assert TURNED in warning(image, np.flip(psf))


@pytest.mark.slow
def test_levin_psfs_on_other_pictures(levin):
    """No right PSF is warned of, with any noise; most turned ones are, with none."""
    found = []
    for name in PICTURES:
        for number, (_, psf) in enumerate(levin):
            clean = blurred(picture(name), psf, 0)
            for noise in (0, 0.01, 0.02, 0.05):
                image = noised(clean, 255 * noise, number)
                assert warning(image, psf) is None
                if not noise:
                    found.append(warning(image, np.flip(psf)) is not None)
    assert np.mean(found) > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_right_psfs_are_not_warned_of(name):
    for seed in range(3):
        psf = trace(seed)
        clean = blurred(picture(name), psf, 0)
        for noise in (0, 0.02, 0.05):
            image = noised(clean, 255 * noise, seed)
            assert warning(image, psf) is None
        for spoilt in (np.round(image), image.clip(0, 150), image.clip(0) ** 0.45):
            assert warning(spoilt, psf) is None


def test_turned_psfs_are_found():
    found = [
        warning(blurred(picture(name), trace(seed), 1.0), np.flip(trace(seed)))
        for name in PICTURES
        for seed in range(3)
    ]
    assert np.mean([text is not None for text in found]) > 0.6


def test_a_measured_symmetric_psf_is_not_warned_of():
    """Its noise is not symmetric."""
    round_psf = np.zeros((15, 15))
    round_psf[7, 7] = 1
    round_psf = ndimage.gaussian_filter(round_psf, 1.5)
    for name in PICTURES:
        random = np.random.default_rng(1)
        image = blurred(picture(name), round_psf, 2)
        noise = random.normal(0, 0.02 * round_psf.max(), (15, 15))
        psf = (round_psf + noise).clip(min=0)
        assert warning(image, psf / psf.sum()) is None


def test_missing_pixels_and_a_periodic_image():
    image = picture("coins")
    psf = trace(0)
    seen = blurred(image, psf, 0.5)
    random = np.random.default_rng(0)
    known = random.random(seen.shape) > 0.02
    known[:20] = False
    holes = np.where(known, seen, seen[known].mean())
    assert turn_warning(holes, known, psf, 0.3, False) is None
    grid = np.zeros(image.shape)
    grid[:19, :19] = psf
    spectrum = np.fft.fft2(np.roll(grid, (-9, -9), (0, 1)))
    cyclic = np.fft.ifft2(np.fft.fft2(image) * spectrum).real
    assert warning(cyclic, psf, periodic=True) is None
    assert TURNED in warning(cyclic, np.flip(psf), periodic=True)


def test_volumes():
    """Turned through its centre, a PSF with spherical aberration is upside down."""
    random = np.random.default_rng(0)
    points = 1e4 * (random.random((48, 96, 96)) > 0.9995)
    sharp = ndimage.gaussian_filter(points, 0.7)
    psf = microscope_psf(
        (31, 15, 15),
        numerical_aperture=1.3,
        wavelength=520,
        pixel_size=0.15,
        z_step=0.25,
        sample_index=1.33,
        depth=15,
    ).astype(float)
    image = signal.fftconvolve(sharp, psf, mode="same")
    image += random.normal(0, 0.01 * image.max(), image.shape)
    known = np.ones(image.shape)
    variance = (0.01 * image.max()) ** 2
    assert turn_warning(image, known, psf, variance, False) is None
    text = turn_warning(image, known, np.flip(psf), variance, False)
    assert "flipped along z, y and x" in text


@pytest.mark.parametrize("shape", [(1, 64, 64), (5, 64, 64), (20, 20, 20)])
def test_nothing_is_said_of_small_volumes(shape):
    random = np.random.default_rng(0)
    psf = random.random((47, 5, 5))
    image = random.random(shape)
    assert turn_warning(image, np.ones(shape), psf / psf.sum(), 1e-4, False) is None


def test_a_constant_image_says_nothing():
    image = np.full((64, 64), 3.0)
    assert turn_warning(image, np.ones((64, 64)), trace(0), 0.0, False) is None


def test_large_images_are_cut(monkeypatch):
    monkeypatch.setattr("napari_dip.tasks.psf_check.LARGEST", 200 * 200)
    image = blurred(picture("coins"), trace(0), 0.5)
    assert warning(image, trace(0)) is None
    assert TURNED in warning(image, np.flip(trace(0)))


def spot(shape, centre, sigma=1.5):
    grid = np.indices(shape) - np.reshape(centre, (-1, *[1] * len(shape)))
    return np.exp(-(grid**2).sum(axis=0) / (2 * sigma**2))


def test_a_displaced_psf():
    text = displacement_warning(spot((15, 15), (8.2, 6)))
    assert "y +1.2, x -1.0 pixels" in text
    assert displacement_warning(spot((15, 15), (7, 7))) is None
    assert displacement_warning(spot((15, 15), (7.3, 6.8))) is None
    assert displacement_warning(spot((16, 16), (8, 8))) is None
    # The middle of an even number of pixels lies between two of them.
    assert "y -0.5, x -0.5" in displacement_warning(spot((16, 16), (7.5, 7.5)))
    assert "z +2.0, y +0.0, x +0.0" in displacement_warning(
        spot((13, 13, 13), (8, 6, 6))
    )


def test_a_tail_to_one_side_is_no_displacement():
    psf = microscope_psf(
        (61, 33, 33),
        numerical_aperture=1.4,
        wavelength=520,
        pixel_size=0.1,
        z_step=0.2,
        sample_index=1.33,
        depth=10,
    )
    assert displacement_warning(psf) is None


def plan_warnings(image, psf, **options):
    """Return the warnings of the plans of all planes of a deconvolution."""
    task = get("deconvolve")
    job = task.job(task.recipe(**options), image, psf)
    found = []
    for number, index in enumerate(job.layout.indices()):
        pixels = job.pixels(index, job.take(index))
        for block in job.blocks(number, index, pixels):
            plane = job.scaled(pixels, block)
            analysis = job.analyse(plane, block)
            plan = job.plan(plane, block, analysis, job.preset(analysis))
            found += plan.warnings
    return found


@pytest.mark.usefixtures("quick_estimates")
def test_deconvolve_warns():
    image = blurred(picture("coins"), trace(0), 0.5)[:150, :150]
    turned = np.roll(np.pad(np.flip(trace(0)), 4), (3, 0), (0, 1))
    assert plan_warnings(image, trace(0)) == []
    displaced, other = plan_warnings(image, turned)
    assert "not centred" in displaced
    assert TURNED in other
    # The PSF of a blind deconvolution is a guess.
    assert plan_warnings(image, turned, blind=True) == []
    colour = np.stack([image, 2 * image, 3 * image], axis=-1)
    assert TURNED in plan_warnings(colour, turned)[-1]
    # One warning is enough for a stack.
    stack = plan_warnings(np.stack([image, image]), turned)
    assert sum(TURNED in text for text in stack) == 1
