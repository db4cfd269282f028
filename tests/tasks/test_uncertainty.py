"""The standard deviation of denoised pixels: calibration, units, what has none."""

import numpy as np
import pytest
import skimage.data
from scipy import ndimage

from napari_dip import denoise, enhance
from napari_dip.errors import InputError
from napari_dip.tasks import windows

SIGMA = 20
SHORT = {"iterations": 3, "device": "cpu", "precision": "float32", "full_output": True}


def scene(*sides):
    """Return shading, a square and a texture in one corner."""
    y, x = np.mgrid[: sides[0], : sides[1]]
    image = 100 + 20 * np.sin(y / 12 + x / 17)
    image[10:30, 30:50] += 60
    image[40:, :24] += 15 * np.sign(np.sin(x[40:, :24] * 1.3))
    return image.astype(np.float32)


def noisy(clean, seed=0, sigma=SIGMA):
    rest = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return (clean + rest).astype(np.float32)


def shares(fit, clean):
    """Return the part of the pixels within one and two standard deviations."""
    ratio = np.abs(fit.image - clean) / fit.uncertainty
    return np.array([(ratio < 1).mean(), (ratio < 2).mean()])


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "seed"), [("float32", 1), ("bfloat16", 2)])
def test_the_truth_lies_within_the_uncertainty(precision, seed):
    """Bounds from five single fits: 0.72 +- 0.015 and 0.94 +- 0.008."""
    clean = skimage.data.camera()[80:144, 200:264].astype(np.float32)
    more = {**SHORT, "iterations": 20, "precision": precision}
    first, second = shares(denoise(noisy(clean, seed), seed=seed, **more), clean)
    assert 0.66 < first < 0.78
    assert 0.91 < second < 0.975


def test_it_has_the_units_and_the_shape_of_the_image():
    image = noisy(scene(40, 48))
    fit = denoise(image, **SHORT)
    assert fit.uncertainty.shape == image.shape
    assert fit.uncertainty.dtype == np.float32
    assert (fit.uncertainty > 0).all()
    assert fit.uncertainty.max() <= 1.2 * SIGMA
    other = denoise(10 * image + 500, **SHORT)
    np.testing.assert_allclose(other.uncertainty, 10 * fit.uncertainty, rtol=0.05)


def test_every_channel_has_its_own():
    image = np.stack([noisy(scene(64, 64), s, s) for s in (10, 40)])
    fit = denoise(image, channel_axis=0, **SHORT)
    first, second = fit.uncertainty.mean((1, 2))
    assert first < 0.8 * second


def test_missing_pixels_have_none_and_constant_ones_no_error():
    image = noisy(scene(48, 48))
    image[:16] = 7
    image[30:34, 20:30] = np.nan
    fit = denoise(image, **SHORT)
    missing = np.isnan(image)
    np.testing.assert_array_equal(np.isnan(fit.uncertainty), missing)
    assert not fit.uncertainty[:16].any()
    assert (fit.uncertainty[16:][~missing[16:]] > 0).all()


@pytest.mark.slow
@pytest.mark.usefixtures("few_passes")
@pytest.mark.parametrize("share", ["no", "yes"])
def test_planes_of_a_stack(share, monkeypatch):
    monkeypatch.setattr(windows, "WINDOW_SIDE", 32)
    monkeypatch.setattr(windows, "WINDOWS", 2)
    stack = noisy(np.stack([scene(48, 48)] * 4))
    stack[1], stack[2] = 3, np.nan
    fit = denoise(stack, share=share, **SHORT)
    assert fit.uncertainty.shape == stack.shape
    assert (fit.uncertainty[[0, 3]] > 0).all()
    assert not fit.uncertainty[1].any()
    assert np.isnan(fit.uncertainty[2]).all()
    # The same in arrays of the user.
    out, spread = np.zeros_like(stack), np.zeros(stack.shape)
    given = denoise(stack, share=share, out=(out, spread), **SHORT)
    assert given.uncertainty is spread
    np.testing.assert_array_equal(out, fit.image)
    np.testing.assert_array_equal(spread, fit.uncertainty)


@pytest.mark.slow
@pytest.mark.usefixtures("small_windows", "few_passes")
def test_tiles_cannot_be_told_from_the_whole():
    image = noisy(np.tile(scene(48, 64), (1, 5))[:, :288])
    more = {**SHORT, "share": "yes"}
    whole = denoise(image, tile=None, **more).uncertainty
    cut = denoise(image, tile=192, **more).uncertainty
    ratio = cut / whole
    assert np.abs(ratio - 1).mean() < 0.01
    seams = np.abs(np.diff(np.log(ratio), axis=1))[:, 191]
    assert seams.mean() < 0.02


@pytest.mark.slow
@pytest.mark.usefixtures("few_passes")
def test_restarts_do_not_give_their_spread():
    image = noisy(scene(40, 48))
    one, three = (denoise(image, restarts=n, **SHORT).uncertainty for n in (1, 3))
    np.testing.assert_allclose(three.mean(), one.mean(), rtol=0.2)


@pytest.mark.usefixtures("few_passes")
def test_a_fit_that_goes_on_has_its_own():
    from napari_dip.prior.fit import run_to_end
    from napari_dip.tasks.denoise import TASK, DenoiseRecipe
    from napari_dip.tasks.run import run

    recipe = DenoiseRecipe(iterations=3, precision="float32", device="cpu")
    first = run_to_end(run(TASK, recipe, [noisy(scene(40, 48))], resumable=True))
    longer = run_to_end(first.resume(4))
    assert longer.uncertainty.shape == longer.image.shape
    assert not np.array_equal(longer.uncertainty, first.uncertainty)


@pytest.mark.parametrize(
    "parameters",
    [{"preset": "paper"}, {"noise": "impulse"}],
    ids=str,
)
def test_what_is_not_fitted_to_hidden_pixels_has_none(parameters, narrow):
    image = noisy(scene(40, 48))
    assert denoise(image, **parameters, **SHORT).uncertainty is None


def test_correlated_noise_and_other_tasks_have_none():
    image = scene(64, 64) + ndimage.gaussian_filter(noisy(np.zeros((64, 64)), 1, 60), 1)
    assert denoise(image, **SHORT).uncertainty is None
    assert enhance(image, **SHORT).uncertainty is None


def test_an_array_of_the_user_has_none_beside_it():
    image = noisy(scene(40, 48))
    out = np.zeros_like(image)
    assert denoise(image, out=out, **SHORT).uncertainty is None
    assert out.any()
    assert enhance(image, out=(out, np.zeros(out.shape)), **SHORT).uncertainty is None


@pytest.mark.slow
@pytest.mark.usefixtures("few_passes")
def test_a_tile_without_pixels_has_none():
    image = noisy(scene(32, 600))
    image[:, 200:] = np.nan
    fit = denoise(image, tile=192, share="no", **SHORT)
    np.testing.assert_array_equal(np.isnan(fit.uncertainty), np.isnan(image))


@pytest.mark.parametrize("count", [1, 3])
def test_wrong_arrays_for_the_results_are_refused(count):
    image = noisy(scene(40, 48))
    for arrays in ((np.zeros_like(image),) * count, (image, image.astype(int))):
        with pytest.raises(InputError, match=r"out must be .* the second of floats"):
            denoise(image, out=arrays, **SHORT)
