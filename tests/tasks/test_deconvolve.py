"""Deconvolving arrays: PSF, canvas, units, what is refused, and that it helps."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.signal
import tifffile
import torch
from skimage import data

from napari_dip import deconvolve, iterate
from napari_dip.cli import main
from napari_dip.errors import InputError
from napari_dip.prior import deblurring
from napari_dip.prior.convolution import UnknownConvolution
from napari_dip.prior.fit import fit, run_to_end
from napari_dip.prior.stopping import HeldOut, Iterations
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.blurred import blurred_image
from napari_dip.tasks.deconvolve import TASK, DeconvolveRecipe
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.plane import prepare

SHORT = {"iterations": 2, "device": "cpu", "precision": "float32"}


def gaussian(sigma, radius, ndim=2):
    axis = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    psf = axis
    for _ in range(ndim - 1):
        psf = psf[..., None] * axis
    return psf / psf.sum()


@pytest.fixture
def short_start(changed_presets):
    """Spend no iteration on the estimate, for tests of other things."""
    changed_presets(start_iterations=0)


@pytest.fixture
def psf():
    """Return a PSF that is not its own mirror image, (5, 7)."""
    psf = gaussian(1.2, 3)[1:-1].copy()
    psf[:, 4:] *= 0.2
    return psf / psf.sum()


@pytest.fixture
def blur(random, psf):
    """Return a function: a blurred (32, 34) image with noise, and the sharp one."""

    def make(sigma):
        y, x = np.mgrid[0:40, 0:44]
        sharp = 100 + 400.0 * (((y // 7) + (x // 9)) % 2)
        image = scipy.signal.convolve(sharp, psf, mode="valid")
        image = image + random.normal(0, sigma, image.shape)
        return image[:32, :34].astype(np.float32), sharp[2:-2, 3:-3][:32, :34]

    return make


@pytest.fixture
def blurred(blur):
    """Return a blurred, noisy (32, 34) image and the sharp one, in units of its own."""
    return blur(5)


@pytest.fixture
def plan(first_fit):
    """Return a function that gives the plan for an image, without running it."""

    def make(image, psf, **parameters):
        return first_fit(TASK, DeconvolveRecipe(device="cpu", **parameters), image, psf)

    return make


# -- the model of the blur --------------------------------------------------------


def test_the_operator_is_a_true_convolution_about_the_centre(plan, psf, random):
    """Against scipy's, on the pixels that the border does not reach."""
    truth = random.random((32, 34))
    made = plan(truth, psf)
    assert made.problem.image_shape == (1, 36, 40)
    canvas = torch.zeros(1, 1, 36, 40)
    canvas[made.problem.operator.crop] = torch.from_numpy(truth)
    found = made.problem.operator(canvas)[0, 0]
    expected = scipy.signal.convolve(truth, psf, mode="same")
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_the_flip_is_that_of_measured_data(shared_data, first_fit):
    """The bars were blurred with their PSF by others."""
    folder = shared_data / "deconv3d_bars"
    sharp, blurred, psf = (
        tifffile.imread(folder / f"{name}.tif") for name in ("actual", "data", "kernel")
    )
    operator = first_fit(
        TASK, DeconvolveRecipe(boundary="periodic"), blurred, psf
    ).problem.operator

    def fit(kernel):
        found = (
            operator(torch.from_numpy(kernel.copy())[None, None])[0, 0].numpy().ravel()
        )
        return np.corrcoef(found, blurred.ravel())[0, 1]

    right = fit(sharp)
    assert right > 0.98
    assert right > fit(sharp[::-1, ::-1, ::-1]) + 0.05


def test_a_start_is_sharper_than_the_measurement(plan, blurred, psf):
    image, truth = blurred
    made = plan(image, psf)
    estimate = made.to_units(
        made.problem.first_estimate[made.problem.operator.crop][0].numpy()
    )[0]
    assert np.mean((estimate - truth) ** 2) < 0.8 * np.mean((image - truth) ** 2)


# -- what comes back --------------------------------------------------------------


@pytest.mark.usefixtures("narrow")
@pytest.mark.usefixtures("short_start")
@pytest.mark.parametrize(
    ("shape", "side", "parameters"),
    [
        ((17, 33), (3, 4), {}),
        ((20, 18, 3), (5, 5), {}),
        ((2, 18, 20), (5, 3), {}),
        ((2, 18, 20), (5, 3), {"channel_axis": 0}),
        ((16, 18, 20), (3, 4, 5), {}),
        ((2, 16, 18, 20), (1, 3, 3), {"spatial_dims": 3}),
        ((17, 33), (1, 1, 3, 4), {}),
        ((16, 18, 20), (1, 3, 4, 5), {}),
        ((16, 18), (16, 18), {}),
        ((16, 18), (16, 18), {"boundary": "periodic"}),
    ],
    ids=str,
)
def test_shapes_come_back(random, shape, side, parameters):
    found = deconvolve(random.random(shape), np.ones(side), **SHORT, **parameters)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= 0


@pytest.mark.usefixtures("narrow", "short_start")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
def test_dtype_of_the_input_on_request(blurred, psf, dtype):
    image = (blurred[0] / 4).astype(dtype)
    found = deconvolve(image, psf, dtype="input", **SHORT)
    assert found.dtype == dtype


@pytest.mark.usefixtures("narrow", "short_start")
def test_units_scale_with_the_image(blurred, psf):
    image, _ = blurred
    parameters = SHORT | {"iterations": 1}
    plain = deconvolve(image, psf, **parameters)
    scaled = deconvolve(image * 1000, psf * 7, **parameters)
    np.testing.assert_allclose(scaled, plain * 1000, atol=1 * np.ptp(image))


@pytest.mark.usefixtures("narrow", "short_start")
def test_an_offset_is_kept_where_there_is_no_limit(blurred, psf):
    image, _ = blurred
    parameters = SHORT | {"iterations": 1, "background": None}
    plain = deconvolve(image, psf, **parameters)
    moved = deconvolve(image - 5000, psf, **parameters)
    np.testing.assert_allclose(moved, plain - 5000, atol=0.001 * np.ptp(image))


@pytest.mark.usefixtures("narrow", "short_start")
def test_the_background_is_the_lowest_value(blurred, psf, random):
    dark = random.normal(0, 1, (20, 20))
    assert deconvolve(dark + 3, np.ones((3, 3)), **SHORT).min() >= 0
    high = deconvolve(dark + 100, np.ones((3, 3)), background=99.5, **SHORT)
    assert high.min() >= 99.5
    # Far below zero with little noise: no image of intensities.
    found = deconvolve(blurred[0] - 300, psf, **SHORT | {"iterations": 15})
    assert found.min() < -100


@pytest.mark.usefixtures("narrow")
@pytest.mark.usefixtures("short_start")
@pytest.mark.parametrize("slices", [1, 20])
@pytest.mark.parametrize("depth", [5, 47])
def test_few_slices_and_deep_psfs(random, slices, depth):
    """Confocal stacks have few slices, and PSFs are measured or computed deeper."""
    volume = random.normal(100, 10, (slices, 20, 18))
    psf = np.ones((depth, 3, 3))
    fit = deconvolve(volume, psf, full_output=True, **SHORT)
    assert fit.image.shape == volume.shape
    assert np.isfinite(fit.image).all()
    assert fit.settings["planes"][0]["psf"] == [depth, 3, 3]
    with pytest.raises(InputError, match=r"psf must not be larger .* along y and x"):
        deconvolve(volume, np.ones((3, 21, 3)), **SHORT)


def test_a_psf_that_is_refused_is_named_by_the_shape_that_was_given():
    """It is cut to where its light is, and loses axes of one element, before that."""
    wide = np.pad(np.ones((21, 3)), 6)
    for psf in (wide, wide[None, None]):
        with pytest.raises(InputError) as error:
            deconvolve(np.ones((18, 20)), psf, **SHORT)
        assert f"{psf.shape} for an image of shape (18, 20)" in str(error.value)


@pytest.mark.usefixtures("narrow", "short_start")
def test_a_psf_is_as_large_as_its_light(random):
    image = random.normal(100, 10, (18, 20))
    psf = np.pad(np.ones((3, 3)), 15)
    found = deconvolve(image, psf, **SHORT)
    np.testing.assert_array_equal(found, deconvolve(image, np.ones((3, 3)), **SHORT))
    with pytest.raises(InputError, match=r"psf must not be larger .* along any axis"):
        deconvolve(image, psf, boundary="periodic", **SHORT)


@pytest.mark.parametrize("background", [1e9, 1e300])
def test_a_background_far_above_the_image_is_refused(blurred, psf, background):
    with pytest.raises(InputError, match="background must be near the values of the"):
        deconvolve(blurred[0], psf, background=background, **SHORT)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("value", [0, 7, -3.5, 1e6])
def test_a_constant_image_comes_back_constant(value):
    image = np.full((16, 16), value)
    found = deconvolve(image, np.ones((3, 3)), **SHORT | {"iterations": 12})
    np.testing.assert_allclose(found, value, rtol=1e-3, atol=0.02)


@pytest.mark.usefixtures("narrow", "short_start")
def test_missing_pixels_change_no_bit(blurred, psf, plan):
    image = blurred[0].copy()
    image[8:12, 9:15] = np.nan
    found = deconvolve(image, psf, **SHORT)
    assert np.isfinite(found).all()
    made = plan(image, psf, precision="float32", iterations=4)
    problem = made.problem
    assert problem.weight.sum() == image.size - 24
    known = problem.weight > 0
    wild = torch.where(known, problem.measurement, torch.tensor(50.0))
    one, other = (
        run_to_end(
            fit(replace(problem, measurement=y), made.prior, made.settings)
        ).average
        for y in (problem.measurement, wild)
    )
    assert torch.equal(one, other)


@pytest.mark.usefixtures("narrow", "short_start")
def test_the_input_is_left_alone(blurred, psf):
    image, kernel = blurred[0].copy(), psf * 3
    deconvolve(image, kernel, **SHORT)
    np.testing.assert_array_equal(image, blurred[0])
    np.testing.assert_array_equal(kernel, psf * 3)


# -- does it help? ----------------------------------------------------------------


def error(image, truth):
    return np.mean((image - truth) ** 2) ** 0.5


def test_a_blurred_image_gets_sharp(blurred, psf, plan):
    image, truth = blurred
    found = deconvolve(image, psf, **SHORT | {"iterations": 20})
    made = plan(image, psf)
    estimate = made.to_units(
        made.problem.first_estimate[made.problem.operator.crop][0].numpy()
    )[0]
    # Two seeds: 0.43 and 0.47, and 0.71 and 0.79.
    assert error(found, truth) < 0.55 * error(image, truth)
    assert error(found, truth) < 0.92 * error(estimate, truth)


@pytest.mark.slow
def test_with_a_delta_it_is_denoising(blurred, random):
    _, truth = blurred
    noisy = truth + random.normal(0, 40, truth.shape)
    delta = np.zeros((5, 5))
    delta[2, 2] = 3
    found = deconvolve(noisy, delta, **SHORT | {"iterations": 12})
    assert error(found, truth) < 0.75 * error(noisy, truth)


@pytest.mark.slow
def test_an_unknown_psf_is_found(blur, psf):
    image, _ = blur(1)
    guess = gaussian(2.5, 3)[1:-1]
    fit = deconvolve(
        image, guess, blind=True, full_output=True, **SHORT | {"iterations": 15}
    )
    found = fit.operator.psf.numpy()
    assert isinstance(fit.operator, UnknownConvolution)
    assert found.shape == psf.shape
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, rel=1e-4)
    # Over seeds: 0.86 +- 0.02.
    assert np.abs(found - psf).sum() < 0.95 * np.abs(guess / guess.sum() - psf).sum()


def test_what_is_left_over_is_polished_to_the_level_of_the_noise(plan, blurred, psf):
    image, truth = blurred
    made = plan(image, psf)
    p, blur = made.problem, made.problem.operator
    variance = (
        made.details["sigma"]
        / float(made.to_units(np.ones((1, 1, 1), np.float32))[0, 0, 0])
    ) ** 2

    def left(x):
        return float((blur(x) - p.measurement).square().mean()) / variance

    assert made.details["background"] == 0
    smooth = torch.full((1, 1, *blur.canvas), float(p.measurement.mean()))
    before, after = (
        made.to_units(x[0].numpy())[0]
        for x in (smooth[blur.crop], made.preview(smooth))
    )
    assert left(smooth) > 10
    assert error(after, truth) < 0.7 * error(before, truth)
    # Where no more than noise is left nothing is done.
    found = p.first_estimate
    assert left(found) <= 1.01
    torch.testing.assert_close(made.preview(found), found[blur.crop], atol=1e-2, rtol=0)


@pytest.mark.usefixtures("narrow", "short_start")
def test_stopping_from_outside(blurred, psf):
    fit = deconvolve(
        blurred[0], psf, callback=lambda it: it.step == 3, full_output=True
    )
    assert fit.iterations == 3
    steps = [it.step for it in iterate("deconvolve", blurred[0], psf, **SHORT)]
    assert steps[-2:] == [1, 2]


# -- the plans behind it ----------------------------------------------------------


def test_noise_chooses_the_term(plan, random):
    y, x = np.mgrid[0:96, 0:96] / 96
    counts = random.poisson(5 + 100 * y * x)
    psf = np.ones((3, 3))
    made = plan(counts, psf)
    assert made.details["noise"] == "poisson-gaussian"
    assert made.details["gain"] == pytest.approx(1, rel=0.3)
    assert plan(counts, psf, noise="gaussian").details["gain"] == 0
    known = plan(counts, psf, noise="gaussian", sigma=4)
    assert known.details["sigma"] == pytest.approx(4)
    (warning,) = plan(counts, psf, sigma=4000).warnings
    assert "sigma is 4000, but the standard deviation of the image is only" in warning


def test_total_variation_is_part_of_the_loss(plan, blurred, psf):
    assert plan(blurred[0], psf, tv=0).problem.penalty is None
    penalty = plan(blurred[0], psf, tv=0.01, sigma=10).problem.penalty
    double = plan(blurred[0], psf, tv=0.02, sigma=10).problem.penalty
    x = torch.rand(1, 1, 36, 40)
    assert penalty(x) > 0
    torch.testing.assert_close(double(x), 2 * penalty(x))
    assert penalty(torch.ones(1, 1, 36, 40)) == 0


@pytest.mark.parametrize("preset", ["fast", "best", "paper"])
def test_stopping_rules(plan, blurred, psf, preset):
    found = plan(blurred[0], psf, preset=preset).settings.stop
    assert isinstance(found, Iterations if preset == "paper" else HeldOut)
    fixed = plan(blurred[0], psf, preset=preset, iterations=77).settings.stop
    assert fixed == Iterations(77)


# -- what is refused, and what is said --------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "parameters", "words"),
    [
        (np.ones((33, 3)), {}, r"larger than the image .* \(33, 3\) for .* \(32, 34\)"),
        (np.zeros((3, 3)), {}, "psf must sum to more than zero; got a sum of 0"),
        (-np.ones((3, 3)), {}, "psf must sum to more than zero; got a sum of -9"),
        (np.array([[1.0, -1.0]]), {}, "psf must sum to more than zero"),
        (np.full((3, 3), np.nan), {}, "psf must be finite; got 9 values"),
        (np.ones((3, 3), complex), {}, "psf must be an array of real .* got dtype com"),
        (np.ones(3), {}, r"psf must have 2 axes, for planes, or 3.* \(3,\)"),
        (np.ones((3, 3, 3)), {}, r"2 axes unless .* \(3, 3, 3\) for .* \(32, 34\)"),
        (np.ones((7, 7, 1)), {}, r"2 axes unless .* \(7, 7, 1\) for .* \(32, 34\)"),
        (np.ones((3, 3, 3)), {"channel_axis": 9}, "^channel_axis must be from"),
        (np.ones((3, 3)), {"spatial_dims": 3}, "psf must have 3 axes where"),
        (np.ones((0, 3)), {}, "psf must not be empty"),
        (np.ones((3, 3)), {"noise": "impulse"}, "noise must be auto, gaussian"),
        (np.ones((3, 3)), {"tv": -1}, "tv must be a finite number of 0 or more"),
        (np.ones((3, 3)), {"background": "dark"}, "background must be auto, a finite"),
        (np.ones((3, 3)), {"boundary": "zero"}, "boundary must be extend or periodic"),
    ],
    ids=str,
)
def test_refused(blurred, wrong, parameters, words):
    with pytest.raises(InputError, match=words):
        deconvolve(blurred[0], wrong, **SHORT, **parameters)


def test_doubtful_psfs_get_a_warning(plan, blurred, psf):
    assert plan(blurred[0], psf).warnings == []
    (negative,) = plan(blurred[0], psf - 0.01).warnings
    assert "negative values of the PSF" in negative
    spot = np.zeros((9, 9))
    spot[4, 4] = 1
    (high,) = plan(blurred[0], spot + 0.1).warnings
    assert "subtract it first" in high


# -- from files -------------------------------------------------------------------


@pytest.mark.usefixtures("narrow", "short_start")
def test_the_command_line(tmp_path, blurred, psf, capsys):
    image, kernel, out = (tmp_path / f"{n}.tif" for n in ("image", "kernel", "out"))
    tifffile.imwrite(image, blurred[0])
    tifffile.imwrite(kernel, psf.astype(np.float32))
    arguments = ["deconvolve", str(image), "--psf", str(kernel), "-o", str(out)]
    options = ["--iterations", "2", "--device", "cpu", "--precision", "float32"]
    assert main([*arguments, *options]) == 0
    expected = deconvolve(blurred[0], psf.astype(np.float32), **SHORT)
    np.testing.assert_array_equal(tifffile.imread(out), expected)
    capsys.readouterr()
    tifffile.imwrite(kernel, np.zeros((3, 3), np.float32))
    assert main([*arguments, *options, "--overwrite"]) == 2
    assert "psf must sum to more than zero" in capsys.readouterr().err


# -- similar patches --------------------------------------------------------------


@pytest.fixture
def nearly(plan, blur):
    """Return a function that gives a plan and an estimate between blurred and sharp."""

    def make(psf):
        image, truth = blur(3)
        made = plan(image, psf)
        shape = made.problem.operator.canvas
        inside = made.problem.operator.crop
        scaled = [
            made.to_units(np.full((1, 1, 1), v, np.float32)).item() for v in (0, 1)
        ]
        between = (0.5 * (image + truth) - scaled[0]) / (scaled[1] - scaled[0])
        estimate = torch.full((1, 1, *shape), float(between.mean()))
        estimate[inside] = torch.from_numpy(between.astype(np.float32))
        return made, estimate, truth

    return make


def both(made, estimate):
    """Return what an estimate becomes without similar patches and with them."""
    steps = made.preview, made.finish
    return [made.to_units(step(estimate)[0].numpy())[0] for step in steps]


def test_similar_patches_sharpen_the_estimate(nearly, psf):
    made, estimate, truth = nearly(psf)
    # Beyond the border the estimate is a constant.
    inside = (slice(6, -6), slice(6, -6))
    quick, found = (image[inside] for image in both(made, estimate))
    # Over seeds: 0.84 +- 0.03.
    assert error(found, truth[inside]) < 0.95 * error(quick, truth[inside])


def test_errors_of_a_wrong_psf_are_not_amplified(nearly, psf):
    made, estimate, truth = nearly(psf[::-1, ::-1].copy())
    quick, found = both(made, estimate)
    assert error(found, truth) < 1.02 * error(quick, truth)


def test_volumes_are_fitted_for_longer(blurred, psf):
    plane = TASK.job(DeconvolveRecipe(), blurred[0], psf)
    volume = TASK.job(DeconvolveRecipe(), np.ones((6, 32, 32)), np.ones((3, 3, 3)))
    presets = [job.preset(Analysis.unknown(1)) for job in (plane, volume)]
    assert [preset.stop.maximum for preset in presets] == [120, 400]
    assert [preset.finish.similar_patches for preset in presets] == [True, False]
    assert all(preset.finish.richardson_lucy for preset in presets)


@pytest.mark.parametrize("kind", ["spots", "photograph"])
def test_best_is_a_mean_of_short_fits_where_the_image_is_sparse(kind):
    random = np.random.default_rng(0)
    sharp = data.camera()[60:172, 160:272].astype(float)
    if kind == "spots":
        sharp = np.full((112, 112), 10.0)
        sharp[*random.integers(8, 104, (2, 25))] = random.uniform(1000, 4000, 25)
    psf = gaussian(1.5, 5)
    image = scipy.signal.fftconvolve(sharp, psf, mode="valid")
    image += random.normal(0, 0.01 * image.max(), image.shape)
    for tile in (None, 64):
        job = TASK.job(DeconvolveRecipe(preset="best", tile=tile), image, psf)
        index = next(job.layout.indices())
        pixels = job.pixels(index, job.take(index))
        (block,) = job.blocks(0, index, pixels)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("napari_dip.tasks.deconvolve.SAMPLE_SIDE", 32)
            analysis = job.analyse(job.scaled(pixels, block), block)
        assert analysis.sparse == (kind == "spots")
        assert (job.preset(analysis).restarts == 3) == (kind == "spots")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_spots_are_completed_beyond_the_level_of_the_noise(
    seed, changed_presets, monkeypatch
):
    changed_presets(start_iterations=0)
    monkeypatch.setattr(deblurring, "STEPS", 0)
    random = np.random.default_rng(seed)
    sharp = np.full((76, 76), 10.0)
    sharp[*random.integers(8, 68, (2, 12))] = random.uniform(1000, 4000, 12)
    psf = gaussian(2, 6)
    image = scipy.signal.fftconvolve(sharp, psf, mode="valid")
    image += random.normal(0, 0.002 * image.max(), image.shape)
    after = deconvolve(image, psf, seed=0, **SHORT)
    # No image counts as sparse.
    monkeypatch.setattr("napari_dip.tasks.deconvolve.DENSE", -1.0)
    monkeypatch.setattr("napari_dip.tasks.deconvolve.SPARSE", -2.0)
    before = deconvolve(image, psf, seed=0, **SHORT)
    assert error(after, sharp[6:-6, 6:-6]) < 0.95 * error(before, sharp[6:-6, 6:-6])


def test_a_blur_is_copied_to_another_device(blurred, psf):
    """Others may compute with it at the same time."""
    plane = prepare(blurred[0][None], "image")
    noise = NoiseModel.gaussian([0.01])
    image = blurred_image("extend", psf, plane, (0.0,), noise, iterations=1)
    blur, *_ = image.tensors(torch.device("meta"))
    assert {t.device.type for t in blur.buffers()} == {"meta"}
    assert {t.device.type for t in image.blur.buffers()} == {"cpu"}
    assert image.tensors(torch.device("cpu"))[0] is image.blur
