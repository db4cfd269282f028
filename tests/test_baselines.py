"""Classical methods: each against something it must do."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.signal import fftconvolve
from skimage.data import astronaut, camera

import napari_dip
from napari_dip import baselines
from napari_dip.errors import InputError
from napari_dip.tasks.run import get

DENOISERS = [getattr(baselines, name) for name in baselines.FOR_TASK["denoise"]]
SIGMA = 25.0


def psnr(image, truth, peak=255.0):
    error = np.mean((np.asarray(image, float) - truth) ** 2)
    return 10 * np.log10(peak**2 / error)


def gaussian(sigma, radius, dims=2):
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    psf = line
    for _ in range(dims - 1):
        psf = np.multiply.outer(psf, line)
    return psf / psf.sum()


@pytest.fixture(scope="module")
def truth():
    """128 x 128 pixels of a gray photograph."""
    return camera()[100:228, 180:308].astype(np.float32)


@pytest.fixture(scope="module")
def colours():
    return astronaut()[20:148, 150:278].astype(np.float32)


@pytest.fixture
def noisy(truth, random):
    return (truth + random.normal(0, SIGMA, truth.shape)).astype(np.float32)


# All of them -----------------------------------------------------------------


def arrays_of(task, shape=(20, 24)):
    image = np.random.default_rng(1).random(shape).astype(np.float32)
    if task == "inpaint":
        mask = np.zeros(shape)
        mask[..., 5:9, 7:12] = 1
        return image, mask
    if task == "denoise_guided":
        return image, image**2
    if task == "deconvolve":
        return image, gaussian(1, 2)
    return (image,)


# Blending takes other images: test_baselines_blending.py.
TASKS = {task: names for task, names in baselines.FOR_TASK.items() if task != "blend"}
EVERY = [(task, name) for task, names in TASKS.items() for name in names]


@pytest.mark.parametrize(("task", "name"), EVERY)
@pytest.mark.parametrize("shape", [(16, 16), (2, 17, 19)])
def test_the_recipe_of_a_task_runs_its_baselines(task, name, shape):
    recipe = get(task).recipe().to_dict()
    arrays = arrays_of(task, shape)
    kept = [np.array(a) for a in arrays]
    result = baselines.run(task, name, recipe, *arrays)
    scale = recipe.get("factor", 1)
    assert result.shape == (*shape[:-2], *(scale * side for side in shape[-2:]))
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    for before, after in zip(kept, arrays, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_a_constant_image_stays_constant(task, name):
    values = {"factor": 2}
    image, *others = arrays_of(task)
    flat = np.full_like(image, 700.0)
    result = baselines.run(task, name, values, flat, *others)
    # Nothing says how bright the other side of the border is.
    np.testing.assert_allclose(result, 700, rtol=1e-3)


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_units_are_kept(task, name):
    image, *others = arrays_of(task)
    values = {"factor": 2, "background": None}
    plain = baselines.run(task, name, values, image, *others)
    scaled = baselines.run(task, name, values, 4000 * image + 5000, *others)
    np.testing.assert_allclose((scaled - 5000) / 4000, plain, atol=2e-3)


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_planes_and_channels_are_where_they_were(task, name):
    values = {"factor": 2}
    image, *others = arrays_of(task, (3, 18, 20))
    planes = baselines.run(task, name, values, image, *others)
    second = [a[1] if a.shape == image.shape else a for a in others]
    alone = baselines.run(task, name, values, image[1], *second)
    np.testing.assert_allclose(planes[1], alone, atol=1e-5)

    # As channels: first or last is the same.
    last = [np.moveaxis(a, 0, -1) if a.shape == image.shape else a for a in others]
    first = baselines.run(task, name, {**values, "channel_axis": 0}, image, *others)
    moved = baselines.run(task, name, values, np.moveaxis(image, 0, -1), *last)
    np.testing.assert_allclose(np.moveaxis(moved, -1, 0), first, atol=1e-4)


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_volumes(task, name):
    image, *others = arrays_of(task, (16, 17, 18))
    if task == "deconvolve":
        others = [gaussian(1, 2, dims=3)]
    values = {"factor": 2, "spatial_dims": 3}
    result = baselines.run(task, name, values, image, *others)
    scale = 2 if task == "super_resolve" else 1
    assert result.shape == tuple(scale * side for side in image.shape)
    assert np.isfinite(result).all()


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_missing_pixels_are_filled(task, name, truth, random):
    _, *others = arrays_of(task, truth.shape)
    image = ndimage.gaussian_filter(truth, 2) + random.normal(0, 3, truth.shape)
    spoiled = image.copy()
    spoiled[40:43, 50:53] = np.nan
    spoiled[100, 3] = np.nan
    values = {"factor": 2, "amount": 0.1}
    result = baselines.run(task, name, values, spoiled, *others)
    assert np.isfinite(result).all()
    same = baselines.run(task, name, values, image, *others)
    # Close to what it would have been, and where it was known nearly the same.
    assert np.abs(result - same).max() < 25
    assert np.median(np.abs(result - same)) < 0.5


@pytest.mark.parametrize(("task", "name"), EVERY)
def test_bad_images_are_refused(task, name):
    image, *others = arrays_of(task)
    values = {"factor": 2}
    infinite = image.copy()
    infinite[0, 0] = np.inf
    bad = {
        "image must be an array of real numbers": image.astype(complex),
        "image must not be empty": np.zeros((0, 20)),
        "at least 16 pixels": image[:8],
        "image must be finite": infinite,
    }
    for message, array in bad.items():
        with pytest.raises(InputError, match=message):
            baselines.run(task, name, values, array, *others)
    for axis in (5, "x", 1.5, (0,)):
        with pytest.raises(InputError, match="channel_axis must be"):
            baselines.run(task, name, {**values, "channel_axis": axis}, image, *others)
    with pytest.raises(InputError, match=r"spatial_dims must be .* got 4"):
        baselines.run(task, name, {**values, "spatial_dims": 4}, image, *others)


def test_bad_arguments_are_refused(truth):
    psf = gaussian(1, 2)
    for call, message in (
        (lambda: baselines.nlm(truth, -1), "sigma must be .* of 0 or more.*got -1"),
        (
            lambda: baselines.nlm(truth, noise="loud"),
            "noise must be .*got 'loud'",
        ),
        (lambda: baselines.tv(truth, weight=-1), "weight must be"),
        (lambda: baselines.wavelet(truth, sigma="much"), "sigma must be"),
        (lambda: baselines.tv(truth, spatial_dims=4), "spatial_dims must be .*got 4"),
        (lambda: baselines.bicubic(truth, 1), "factor must be an integer of 2 or"),
        (lambda: baselines.lanczos(truth, 2.5), "factor must be .*got 2.5"),
        (lambda: baselines.onion_peel(truth, psf), "mask must have the shape"),
        (lambda: baselines.onion_peel(truth, truth >= 0), "mask must leave known"),
        (lambda: baselines.biharmonic(truth, truth < 0), "mask must mark missing"),
        (lambda: baselines.onion_peel(truth, truth * np.nan), "mask must be 0 or non"),
        (lambda: baselines.unsharp_mask(truth, "more"), "amount must be"),
        (lambda: baselines.unsharp_mask(truth, radius=-1), "radius must be"),
        (lambda: baselines.guided_filter(truth, truth[1:]), "guide must cover"),
        (lambda: baselines.guided_filter(truth, truth, radius=0), "radius must be"),
        (lambda: baselines.guided_filter(truth, truth, eps=-1), "eps must be"),
        (lambda: baselines.wiener(truth, psf - psf), "psf must sum to more than"),
        (lambda: baselines.wiener(truth, psf, balance=-1), "balance must be"),
        (lambda: baselines.wiener(truth, psf, boundary="x"), "boundary must be"),
        (lambda: baselines.richardson_lucy(truth, psf[0]), "psf must have 2 axes"),
        (lambda: baselines.richardson_lucy(truth, psf, 0), "iterations must be"),
        (
            lambda: baselines.richardson_lucy(truth, psf, background="dark"),
            "background must be auto, a finite number or None; got 'dark'",
        ),
        (
            lambda: baselines.richardson_lucy(truth[:20, :20], np.ones((21, 3))),
            "psf must not be larger",
        ),
        (lambda: baselines.run("paint", "nlm", {}, truth), "task must be denoise"),
        (lambda: baselines.run("denoise", "median", {}, truth), "name must be nlm, tv"),
        (lambda: baselines.run("denoise", "nlm", None, truth), "values must be a dict"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_run_takes_what_applies_and_leaves_the_fit_alone(noisy):
    psf = gaussian(2, 6)
    values = {"iterations": 3, "sigma": 40.0, "seed": 5}
    found = baselines.run("deconvolve", "richardson_lucy", values, noisy, psf)
    expected = baselines.richardson_lucy(noisy, psf, sigma=40)
    np.testing.assert_array_equal(found, expected)
    assert not np.allclose(found, baselines.richardson_lucy(noisy, psf, 3))
    strong = baselines.run("denoise", "nlm", {"sigma": 40.0}, noisy)
    assert not np.allclose(strong, baselines.nlm(noisy), atol=0.1)


def test_the_module_loads_without_the_libraries_it_uses():
    code = (
        "import sys, napari_dip; napari_dip.baselines.FOR_TASK; "
        "assert not {'skimage', 'torch', 'PIL', 'pywt'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert napari_dip.baselines is baselines


# Denoising --------------------------------------------------------------------


@pytest.mark.parametrize("method", DENOISERS)
def test_noise_goes_down(method, noisy, truth, colours, random):
    before = psnr(noisy, truth)
    assert before == pytest.approx(20.2, abs=0.2)
    assert psnr(method(noisy), truth) > before + 6.5
    # Given the level it does as well: the estimate is sound.
    assert psnr(method(noisy, SIGMA), truth) == pytest.approx(
        psnr(method(noisy), truth), abs=0.3
    )
    several = colours + random.normal(0, SIGMA, colours.shape)
    assert psnr(method(several), colours) > psnr(several, colours) + 7.5


@pytest.mark.parametrize("method", [baselines.tv, baselines.wavelet])
def test_channels_help_each_other(method, colours, random):
    several = colours + random.normal(0, SIGMA, colours.shape)
    alone = np.stack([method(several[..., c]) for c in range(3)], axis=-1)
    assert psnr(method(several), colours) > psnr(alone, colours) + 0.5


@pytest.mark.parametrize("method", DENOISERS)
def test_noise_that_grows_with_the_signal_is_made_even(method, random):
    y, x = np.mgrid[:160, :160]
    spots = 400 * np.exp(-(((y - 50) ** 2 + (x - 90) ** 2) / 900))
    spots += 5 + 200 * (((y - 110) ** 2 + (x - 40) ** 2) < 300)
    counts = random.poisson(spots).astype(np.float32)
    even, uneven = method(counts), method(counts, noise="gaussian")
    peak = spots.max()
    assert psnr(even, spots, peak) > psnr(uneven, spots, peak) + 1
    # The inverse is unbiased: the light is kept.
    assert even.mean() == pytest.approx(spots.mean(), rel=0.01)


@pytest.mark.parametrize("method", DENOISERS)
def test_volumes_share_between_planes(method, random):
    seeds = (random.random((24, 32, 32)) > 0.99).astype(float)
    volume = ndimage.gaussian_filter(seeds, 2.0)
    volume *= 255 / volume.max()
    noisy = volume + random.normal(0, SIGMA, volume.shape)
    whole, planes = method(noisy, spatial_dims=3), method(noisy)
    assert psnr(whole, volume) > psnr(noisy, volume) + 5
    assert not np.allclose(whole, planes)


def test_a_given_weight_is_a_part_of_the_range(truth):
    small, large = (baselines.tv(truth, weight=w) for w in (0.01, 0.1))
    assert np.abs(small - truth).mean() < np.abs(large - truth).mean()
    np.testing.assert_allclose(baselines.tv(truth, weight=0), truth, atol=1e-3)


PSF = np.ones((3, 3))


@pytest.mark.parametrize(
    ("name", "given", "without_effect"),
    [
        ("nlm", (5.0,), {"noise": "poisson"}),
        ("tv", (), {"weight": 0.1, "sigma": 5.0, "noise": "poisson"}),
        ("richardson_lucy", (PSF, 3), {"sigma": 5.0, "noise": "poisson"}),
        ("wiener", (PSF, 0.1), {"sigma": 5.0, "noise": "poisson"}),
        ("nlm", (), {"noise": "impulse"}),
    ],
)
def test_what_has_no_effect_is_what_the_docstring_says(name, given, without_effect):
    method = getattr(baselines, name)
    image = np.random.default_rng(0).poisson(20, (24, 24)).astype(np.float32)
    plain = {k: v for k, v in without_effect.items() if k == "weight"}
    if without_effect == {"noise": "impulse"}:
        plain = {"noise": "gaussian"}
    np.testing.assert_array_equal(
        method(image, *given, **without_effect), method(image, *given, **plain)
    )
    text = " ".join(method.__doc__.split())
    assert "no effect" in text or "without effect" in text or "impulses" in text


def test_jpeg_artifacts_go_down(truth, tmp_path):
    path = tmp_path / "small.jpg"
    Image.fromarray(truth.astype(np.uint8)).save(path, quality=10)
    with Image.open(path) as file:
        spoiled = np.asarray(file, np.float32)
    cleaned = baselines.run("remove_artifacts", "tv", {}, spoiled)
    assert psnr(cleaned, truth) > psnr(spoiled, truth) + 0.3


# Super-resolution ---------------------------------------------------------------


@pytest.mark.parametrize("method", [baselines.bicubic, baselines.lanczos])
@pytest.mark.parametrize("factor", [2, 3, 8])
def test_a_ramp_lies_where_it_lay(method, factor):
    y, x = np.mgrid[:20, :24].astype(float)
    large = method(3 * y - 2 * x, factor)
    rows = (np.arange(20 * factor) + 0.5) / factor - 0.5
    columns = (np.arange(24 * factor) + 0.5) / factor - 0.5
    expected = 3 * rows[:, None] - 2 * columns
    inner = np.s_[4 * factor : -4 * factor, 4 * factor : -4 * factor]
    # Lanczos' kernel reproduces planes but for a ripple.
    limit = 1e-4 if method is baselines.bicubic else 0.15
    assert np.abs(large - expected)[inner].max() < limit


def test_bicubic_is_the_published_one(shared_data):
    """MATLAB's imresize, of its own reduction, whose rounding is all the difference."""
    for factor, name in itertools.chain(
        ((4, n) for n in ("baby", "butterfly", "head", "woman")), [(8, "woman")]
    ):
        truth, published = (
            np.asarray(Image.open(shared_data / f"set5/x{factor}_{kind}/{name}.png"))
            for kind in ("gt", "bicubic")
        )
        margin = 4 * factor
        around = [(margin, margin), (margin, margin), (0, 0)]
        wide = np.pad(truth.astype(np.float32), around, "edge")
        size = tuple(n // factor for n in wide.shape[1::-1])
        small = np.stack(
            [
                np.asarray(Image.fromarray(wide[..., c]).resize(size, Image.BICUBIC))
                for c in range(3)
            ],
            axis=-1,
        )[4:-4, 4:-4]
        difference = np.abs(baselines.bicubic(small, factor).clip(0, 255) - published)
        assert difference.max() < 0.51  # the stored file is of integers


# Inpainting ---------------------------------------------------------------------


@pytest.mark.parametrize("method", [baselines.biharmonic, baselines.onion_peel])
def test_known_pixels_are_kept_and_holes_filled(method, truth, random):
    smooth = ndimage.gaussian_filter(truth, 3).astype(np.float32)
    mask = random.random(truth.shape) < 0.5
    mask[30:40, 60:75] = True
    result = method(np.where(mask, 1e6, smooth), mask)
    np.testing.assert_array_equal(result[~mask], smooth[~mask])
    assert psnr(result[mask], smooth[mask]) > 33
    assert result.max() <= smooth[~mask].max() * (1 + 1e-6)


def test_biharmonic_continues_a_bend_that_onion_peel_does_not():
    y, x = np.mgrid[:40, :40].astype(float)
    smooth = (y - 20) ** 2 + 3 * x
    mask = np.zeros((40, 40), bool)
    mask[15:25, 15:25] = True
    error = [
        np.abs(method(smooth, mask) - smooth)[mask].max()
        for method in (baselines.biharmonic, baselines.onion_peel)
    ]
    assert error[0] < 0.01 * np.ptp(smooth)
    assert error[1] > 3 * error[0]


def test_every_channel_has_its_own_mask(colours):
    mask = np.zeros(colours.shape, bool)
    mask[10:20, 10:20, 0] = True
    mask[50:55, 40:60, 2] = True
    for method in (baselines.biharmonic, baselines.onion_peel):
        result = method(colours, mask)
        np.testing.assert_array_equal(result[~mask], colours[~mask])
        assert psnr(result[mask], colours[mask]) > 15
        shared = method(colours, mask.any(axis=-1))
        assert (shared[10:20, 10:20, 1] != colours[10:20, 10:20, 1]).any()


@pytest.mark.slow
def test_large_masks_are_refused_or_filled(random):
    image = random.random((750, 750)).astype(np.float32)
    mask = np.ones((750, 750), bool)
    mask[::30, ::30] = False
    with pytest.raises(
        InputError, match=r"at most 550000 .*got 561875\. onion_peel takes"
    ):
        baselines.biharmonic(image, mask)
    result = baselines.onion_peel(image, mask)
    assert np.isfinite(result).all()
    assert result.min() >= image[~mask].min() - 1e-6
    volume, gone = image.reshape(100, 75, 75), mask.reshape(100, 75, 75)
    with pytest.raises(InputError, match="at most 20000"):
        baselines.biharmonic(volume, gone, spatial_dims=3)


def test_one_pixel_is_enough_for_onion_peel():
    mask = np.ones((40, 50), bool)
    mask[3, 44] = False
    image = np.zeros((40, 50))
    image[3, 44] = 7
    np.testing.assert_allclose(baselines.onion_peel(image, mask), 7, rtol=1e-6)


# Enhancement ---------------------------------------------------------------------


def test_unsharp_mask_adds_what_a_blur_takes(truth):
    blurred = ndimage.gaussian_filter(truth.astype(float), 3, mode="reflect")
    expected = truth + 0.7 * (truth - blurred)
    result = baselines.unsharp_mask(truth, 0.7, radius=3)
    np.testing.assert_allclose(result, expected, atol=0.05)


# Guided ----------------------------------------------------------------------------


def test_a_guide_helps(colours, random):
    red = colours[..., 0] + random.normal(0, SIGMA, colours.shape[:2])
    guided = baselines.guided_filter(red, colours[..., 1])
    assert psnr(guided, colours[..., 0]) > psnr(red, colours[..., 0]) + 8
    both = baselines.guided_filter(red, colours[..., 1:])
    itself = baselines.guided_filter(red, red)
    assert psnr(both, colours[..., 0]) > psnr(itself, colours[..., 0]) + 2


def test_a_linear_function_of_the_guide_is_kept(truth, colours):
    image = 3 * truth - 100
    same = baselines.guided_filter(image, truth, radius=4, eps=0)
    np.testing.assert_allclose(same, image, atol=0.05)
    mixed = colours @ np.array([0.2, 0.5, -1.0])
    same = baselines.guided_filter(mixed, colours, radius=4, eps=1e-9)
    np.testing.assert_allclose(same, mixed, atol=0.2)


def test_without_slopes_it_is_a_mean(noisy, truth):
    result = baselines.guided_filter(noisy, truth, radius=2, eps=1e9)
    twice = ndimage.uniform_filter(ndimage.uniform_filter(noisy, 5), 5)
    np.testing.assert_allclose(result, twice, atol=0.01)


# Deconvolution ---------------------------------------------------------------------

DECONVOLVERS = [baselines.richardson_lucy, baselines.wiener]


@pytest.mark.parametrize("method", DECONVOLVERS)
@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (4, 6)])
def test_a_delta_leaves_the_image(method, shape, truth):
    psf = np.zeros(shape)
    psf[shape[0] // 2, shape[1] // 2] = 12
    best = 50 if method is baselines.richardson_lucy else 0
    np.testing.assert_allclose(method(truth, psf, best), truth, atol=0.5)
    # A delta beside the centre moves it.
    if shape == (5, 5):
        moved = method(truth, np.roll(psf, 1, axis=1), best)
        np.testing.assert_allclose(moved[:, 5:-5], truth[:, 6:-4], atol=0.5)


@pytest.mark.parametrize("method", DECONVOLVERS)
@pytest.mark.parametrize("sigma", [0.5, 5.0])
def test_blur_is_taken_out(method, sigma, random):
    """With light from beyond the border, and without knowing the noise."""
    photograph = camera().astype(np.float32)
    psf = np.pad(np.ones((7, 5)), 2) / 35
    inner = np.s_[100:228, 180:308]
    truth = photograph[inner]
    blurred = fftconvolve(photograph, psf, mode="same")[inner]
    measured = blurred + random.normal(0, sigma, truth.shape)
    result = method(measured, psf)
    gain = {0.5: 2, 5.0: 1.5}[sigma]
    assert psnr(result, truth) > psnr(measured, truth) + gain
    # The border is no worse than the rest.
    rim = np.ones(truth.shape, bool)
    rim[8:-8, 8:-8] = False
    assert psnr(result[rim], truth[rim]) > psnr(measured[rim], truth[rim]) + gain / 3
    # The scale of the PSF does not matter.
    np.testing.assert_allclose(method(measured, 50 * psf), result, atol=0.01)


@pytest.mark.parametrize("method", DECONVOLVERS)
def test_the_residual_is_the_noise(method, truth, random):
    psf = gaussian(1.5, 6)
    blurred = ndimage.convolve(truth.astype(float), psf, mode="wrap")
    for sigma in (2.0, 10.0):
        measured = blurred + random.normal(0, sigma, truth.shape)
        result = method(measured, psf, boundary="periodic")
        again = ndimage.convolve(result.astype(float), psf, mode="wrap")
        assert np.std(again - measured) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("method", DECONVOLVERS)
def test_volumes_are_deconvolved_as_a_whole(method, random):
    truth = np.zeros((20, 24, 24))
    truth[tuple(random.integers(4, 16, (3, 20)))] = 500
    truth = ndimage.gaussian_filter(truth, 0.7)
    psf = gaussian(1.5, 4, dims=3)
    measured = ndimage.convolve(truth, psf) + random.normal(0, 0.05, truth.shape)
    result = method(measured, psf)
    peak = truth.max()
    assert psnr(result, truth, peak) > psnr(measured, truth, peak) + 3


def test_richardson_lucy_does_not_go_below_the_background(random):
    photons = random.poisson(ndimage.gaussian_filter(np.eye(64) * 300, 2)) + 100.0
    result = baselines.richardson_lucy(photons, gaussian(2, 6), 30, background=100)
    assert result.min() >= 100 - 1e-3
    assert result.max() > photons.max()
