"""Guided denoising: guides of any layout, stuck fits, and that the guide helps."""

import numpy as np
import pytest
import skimage.data
import tifffile
import torch
from scipy.ndimage import gaussian_filter

from napari_dip import cli, denoise, denoise_guided, iterate
from napari_dip.errors import InputError
from napari_dip.io import files
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.codes import BlindSpot, Guide
from napari_dip.prior.stopping import HeldOut, Iterations
from napari_dip.prior.terms import Squared
from napari_dip.tasks.denoise_guided import TASK
from napari_dip.tasks.finishing import missed_restored
from napari_dip.tasks.plane import prepare
from tests.tasks.conftest import plan_of

plan = plan_of(TASK)

SHORT = {"iterations": 3, "device": "cpu", "precision": "float32"}


@pytest.fixture
def clean():
    y, x = np.mgrid[0:32, 0:30] / 30
    return 1000 + 300 * np.sin(4 * y + 2 * x)


@pytest.fixture
def noisy(clean, random):
    """Return a noisy (32, 30) image, in units of its own."""
    return clean + random.normal(0, 40, clean.shape)


# -- shapes, units, missing pixels ------------------------------------------------


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("shape", "guide", "parameters", "channels"),
    [
        ((17, 33), (17, 33), {}, 1),
        ((17, 33), (17, 33, 3), {}, 3),
        ((17, 33), (17, 33, 7), {}, 7),
        ((17, 33), (5, 17, 33), {}, 5),
        ((20, 18, 3), (20, 18), {}, 1),
        ((20, 18, 3), (20, 18, 3), {}, 3),
        ((20, 18, 3), (20, 18, 2), {}, 2),
        ((2, 18, 20), (2, 18, 20), {}, 1),
        ((2, 18, 20), (18, 20), {}, 1),
        ((2, 18, 20), (2, 18, 20, 3), {}, 3),
        ((2, 18, 20), (3, 18, 20), {"channel_axis": 0}, 3),
        ((2, 18, 20), (18, 20), {"channel_axis": 0}, 1),
        ((16, 18, 20), (16, 18, 20), {"spatial_dims": 3}, 1),
        ((17, 20), (17, 20, 3), {"preset": "best"}, 3),
        ((17, 20), (1, 1, 17, 20), {}, 1),
    ],
    ids=str,
)
def test_guides_of_any_layout(random, shape, guide, parameters, channels, plan):
    image = random.normal(0.5, 0.1, shape)
    guide = random.normal(0.5, 0.1, guide)
    code = plan(image, guide, **parameters).prior.code
    seen = code.guide if isinstance(code, BlindSpot) else code.image
    assert seen.shape[1] == channels
    found = denoise_guided(image, guide, **SHORT | {"iterations": 2}, **parameters)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.usefixtures("narrow")
def test_outliers_of_the_guide_are_told(noisy, clean):
    guide = clean.astype(np.float64)
    guide[3, 4] = 1e30
    fit = denoise_guided(noisy, guide, **SHORT, full_output=True)
    assert any("pixels of guide" in warning for warning in fit.warnings)


@pytest.mark.usefixtures("narrow")
def test_every_plane_has_its_own_guide(noisy, clean):
    both = denoise_guided(np.stack([noisy] * 2), np.stack([clean, -clean]), **SHORT)
    np.testing.assert_array_equal(both[0], denoise_guided(noisy, clean, **SHORT))
    assert np.abs(both[0] - both[1]).max() > 1


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_units_of_both_are_free(noisy, clean, preset, narrow):
    # Of the paper's rate one step: the next ones multiply what rounding differs.
    steps = {"fast": 3, "paper": 1}[preset]
    parameters = SHORT | {"preset": preset, "iterations": steps}
    plain = denoise_guided(noisy, clean, **parameters)
    scaled = denoise_guided(noisy * 50 - 1e4, clean / 7 + 3, **parameters)
    tolerance = 0.01 * np.ptp(noisy) * 50
    np.testing.assert_allclose(scaled, plain * 50 - 1e4, atol=tolerance)
    lesser = denoise_guided(noisy, clean.astype(np.uint16), **parameters)
    np.testing.assert_allclose(lesser, plain, atol=0.1 * np.ptp(noisy))


@pytest.mark.parametrize("value", [0, 7, -3.5, 1e6])
def test_a_constant_image_comes_back_constant(value, random):
    found = denoise_guided(
        np.full((20, 20), value), random.random((20, 20)), **SHORT | {"iterations": 12}
    )
    np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("narrow")
def test_missing_pixels_are_filled_and_move_nothing(noisy, clean):
    noisy[5:9, 6:10] = np.nan
    clean[20, 20] = np.nan
    found = denoise_guided(noisy, clean, **SHORT)
    assert np.isfinite(found).all()
    image, guide = np.ma.masked_invalid(noisy), np.ma.masked_invalid(clean)
    image.data[5:9, 6:10] = 1e9
    guide.data[20, 20] = -1e9
    np.testing.assert_array_equal(denoise_guided(image, guide, **SHORT), found)


# -- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    ("guide", "words"),
    [
        (np.ones((30, 32)), r"guide must cover the same 32 x 30 .* shape \(30, 32\)"),
        (np.ones((2, 3, 32, 30)), "guide must cover the same .* once or for each"),
        (np.ones((1, 1, 30, 32)), r"guide of shape \(1, 1, 30, 32\) for an image"),
        (np.ones(32), "guide must cover the same"),
        (np.full((32, 30), np.inf), "guide must be finite .* got 960 infinite"),
        (np.full((32, 30), np.nan), "guide must have known pixels; got nothing but"),
        (np.ones((32, 30), complex), "guide must be an array of real .* complex"),
        (np.zeros((0, 30)), "guide must not be empty"),
    ],
    ids=[
        "turned",
        "stack",
        "single axes",
        "1-D",
        "infinite",
        "nan",
        "complex",
        "empty",
    ],
)
def test_guides_that_are_refused(noisy, guide, words):
    with pytest.raises(InputError, match=words):
        denoise_guided(noisy, guide, **SHORT)


def test_images_that_are_refused(clean):
    with pytest.raises(InputError, match="image must have at least 16"):
        denoise_guided(clean[:15], clean, **SHORT)


# -- the plans behind it ----------------------------------------------------------


def test_paper_preset_is_the_published_setting(plan, noisy, clean):
    found = plan(noisy, clean, preset="paper")
    coarse, fine = ("bilinear",) * 3, ("nearest",) * 2
    assert found.prior.architecture == Architecture(upsampling=fine + coarse)
    code = found.prior.code
    assert isinstance(code, Guide)
    assert code.perturbation == 0
    assert (code.image.min(), code.image.max()) == (0, 1)
    settings = found.settings
    assert settings.stop == Iterations(601)
    assert (settings.optimizer, settings.learning_rate, settings.ema_decay) == (
        "adam",
        0.1,
        0,
    )
    assert found.problem.term == Squared()
    assert found.finish is None


def test_fast_shows_the_guide_beside_the_hidden_image(plan, noisy, clean):
    found = plan(noisy, clean)
    assert isinstance(found.prior.code, BlindSpot)
    assert found.prior.code.channels((1, 32, 30)) == 3
    assert isinstance(found.settings.stop, HeldOut)


@pytest.mark.parametrize("preset", ["fast", "best", "paper"])
def test_a_number_of_iterations_is_kept_to(plan, noisy, clean, preset):
    found = plan(noisy, clean, preset=preset, iterations=77)
    assert found.settings.stop == Iterations(77)


# -- fits that are stuck ----------------------------------------------------------


@pytest.fixture
def stuck(monkeypatch):
    """Make the first networks built put out red and nothing else, without gradient."""
    build, left = Architecture.build, [0]

    def broken(self, inputs, outputs, ndim, generator):
        network = build(self, inputs, outputs, ndim, generator)
        if generator is not None and left[0] > 0:
            left[0] -= 1
            with torch.no_grad():
                network.head.weight.zero_()
                network.head.bias.copy_(torch.tensor([200.0, -200.0, -200.0]))
        return network

    monkeypatch.setattr(Architecture, "build", broken)
    return left


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_a_fit_at_a_wrong_colour_begins_again(
    stuck, random, preset, monkeypatch, narrow
):
    monkeypatch.setattr("napari_dip.tasks.denoise_guided.LOOK_AT", (8,))
    y, x = np.mgrid[0:20, 0:20] / 20
    image = np.stack([x, y, 1 - x], -1) + random.normal(0, 0.05, (20, 20, 3))
    settings = SHORT | {"iterations": 40, "preset": preset, "full_output": True}
    stuck[0] = 1
    fit = denoise_guided(image, x, **settings)
    assert "wrong colour" in fit.warnings[0]
    assert "begun again from another seed" in fit.warnings[0]
    assert fit.iterations == 40
    means = fit.image.mean((0, 1)) - image.mean((0, 1))
    assert np.abs(means).max() < 0.15
    usual = denoise_guided(image, x, **settings)
    assert not any("colour" in warning for warning in usual.warnings)


@pytest.mark.slow
def test_a_stuck_fit_is_seen_before_it_gives_up(stuck, random):
    y, x = np.mgrid[0:20, 0:20] / 20
    image = np.stack([x, y, 1 - x], -1) + random.normal(0, 0.05, (20, 20, 3))
    stuck[0] = 1
    seen = []
    for it in iterate("denoise_guided", image, x, device="cpu", precision="float32"):
        seen.append(it.step)
        if 1 in seen[1:]:
            break
    assert max(seen) < 60


# -- files ------------------------------------------------------------------------


@pytest.mark.usefixtures("narrow")
def test_files(noisy, clean, tmp_path, capsys):
    image, guide = noisy.astype(np.float32), clean.astype(np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", image)
    tifffile.imwrite(tmp_path / "guide.tif", guide)
    tifffile.imwrite(tmp_path / "other.tif", guide[1:])
    options = ["--iterations", "3", "--device", "cpu", "--precision", "float32"]
    command = ["denoise-guided", str(tmp_path / "in.tif"), *options, "-o"]
    command.append(str(tmp_path / "out.tif"))
    assert cli.main([*command, "--guide", str(tmp_path / "guide.tif")]) == 0
    expected = denoise_guided(image, guide, **SHORT)
    np.testing.assert_array_equal(files.read(tmp_path / "out.tif").data, expected)
    command += ["--overwrite", "--guide"]
    assert cli.main([*command, str(tmp_path / "other.tif")]) == 2
    assert "guide must cover the same 32 x 30 pixels" in capsys.readouterr().err


# -- does the guide help? ---------------------------------------------------------


def test_a_guide_gains_over_none(random):
    truth = skimage.data.camera()[100:140, 200:240].astype(np.float64)
    noisy = truth + random.normal(0, 50, truth.shape)
    guide = (truth / 255) ** 0.5
    settings = {"iterations": 40, "device": "cpu", "precision": "float32"}
    guided = np.mean((denoise_guided(noisy, guide, **settings) - truth) ** 2)
    alone = np.mean((denoise(noisy, **settings) - truth) ** 2)
    assert guided < 0.8 * alone  # over seeds: 0.64 +- 0.03


@pytest.mark.slow
def test_a_guide_of_many_channels_gains_as_much(random):
    """Patches of all of them would have next to no pixels."""
    truth = skimage.data.camera()[100:148, 200:248].astype(np.float64)
    noisy = truth + random.normal(0, 50, truth.shape)
    guide = [(truth / 255) ** gamma for gamma in np.linspace(0.4, 1.5, 12)]
    guide = np.stack(guide) + random.normal(0, 0.02, (12, *truth.shape))
    settings = {"iterations": 20, "device": "cpu", "precision": "float32"}
    few, many = (
        np.mean((denoise_guided(noisy, g, **settings) - truth) ** 2)
        for g in (guide[:3], guide)
    )
    assert many < 1.2 * few


@pytest.mark.slow
def test_a_guide_gains_where_neighbours_share_their_noise(random):
    truth = skimage.data.camera()[100:148, 200:248].astype(np.float64)
    noise = gaussian_filter(random.normal(size=truth.shape), 1)
    noisy = truth + 40 * noise / noise.std()
    settings = {"iterations": 20, "device": "cpu", "precision": "float32"}
    fit = denoise_guided(noisy, 255 - truth, **settings, full_output=True)
    assert fit.settings["planes"][0]["correlated"]
    guided = np.mean((fit.image - truth) ** 2)
    alone = np.mean((denoise(noisy, **settings) - truth) ** 2)
    assert guided < 0.7 * alone  # over seeds: 0.47 +- 0.03


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("iterations", [1, 5])
@pytest.mark.parametrize("seed", range(5))
def test_of_shared_noise_the_result_is_never_worse_than_the_image(
    seed, iterations, monkeypatch
):
    """Also where the fit is ended before it has learnt the image."""
    monkeypatch.setattr("napari_dip.tasks.denoise.correlation", lambda *_: 1.0)
    monkeypatch.setattr("napari_dip.tasks.denoise.has_white_floor", lambda *_: False)
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.random((48, 48)), 4)
    clean = 100.0 * (smooth > smooth.mean()) + 30 * (smooth / smooth.max())
    noise = gaussian_filter(random.normal(size=clean.shape), 1.5)
    noisy = clean + 10 * noise / noise.std()
    guide = 255 - clean + random.normal(0, 3, clean.shape)
    chosen = {"seed": seed, "device": "cpu", "precision": "float32"}
    result = denoise_guided(noisy, guide, iterations=iterations, **chosen)
    assert np.square(result - clean).mean() < 1.1 * np.square(noisy - clean).mean()


def test_a_good_fit_is_kept_where_noise_grows_with_the_signal(random):
    """Of shared noise that the dark half of the image has little of."""
    clean = np.repeat([0.05, 0.2, 0.5, 0.8], 32)[:, None] * np.ones((1, 96))
    noise = gaussian_filter(random.normal(size=clean.shape), 1)
    noisy = clean + 0.1 * (clean / 0.8) * noise / noise.std()
    plane = prepare(noisy[None].astype(np.float32), "image")
    truth = torch.from_numpy(
        ((clean - plane.offset[0]) / plane.span[0]).astype(np.float32)
    )[None, None]
    step = missed_restored(plane)
    assert torch.equal(step(truth), truth)
    # A fit without the detail of the image is given back what it misses.
    assert not torch.equal(step(truth.mean() * torch.ones_like(truth)), truth)
