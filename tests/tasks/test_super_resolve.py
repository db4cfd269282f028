"""Super-resolution: sizes, units, agreement with the input, what is refused."""

import numpy as np
import pytest
import skimage.data
import tifffile
import torch

from napari_dip import cli, iterate, super_resolve
from napari_dip.errors import InputError
from napari_dip.io import files
from napari_dip.prior import resampling
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.codes import Noise
from napari_dip.prior.stopping import Iterations
from napari_dip.tasks.noise_level import sharp_noise
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.super_resolve import (
    NOISY,
    TASK,
    noisy_above,
)
from tests.slow import slow_but
from tests.tasks.conftest import plan_of

plan = plan_of(TASK)

SHORT = {"iterations": 3, "device": "cpu", "precision": "float32"}


@pytest.fixture
def coarse():
    """Return a smooth (16, 18) image, in units of its own."""
    y, x = np.mgrid[0:16, 0:18] / 18
    return (1000 + 300 * np.sin(4 * y + 2 * x)).astype(np.float32)


def reduced(image, operator):
    return operator(torch.from_numpy(image)[None, None])[0, 0].numpy()


# -- sizes and units --------------------------------------------------------------


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("shape", "parameters", "expected"),
    [
        ((17, 19), {"factor": 2}, (34, 38)),
        ((16, 17, 3), {"factor": 3}, (48, 51, 3)),
        ((2, 16, 18), {"factor": 2}, (2, 32, 36)),
        ((2, 1, 16, 18), {"factor": 2}, (2, 1, 32, 36)),
        ((2, 16, 18), {"factor": 2, "channel_axis": 0}, (2, 32, 36)),
        *slow_but([((16, 16, 17), {"factor": 2, "spatial_dims": 3}, (32, 32, 34))]),
        ((16, 16), {"factor": 8}, (128, 128)),
    ],
    ids=str,
)
def test_spatial_sides_grow_by_the_factor(random, shape, parameters, expected):
    image = random.normal(0.5, 0.1, shape)
    found = super_resolve(image, **SHORT | {"iterations": 1}, **parameters)
    assert found.shape == expected
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.usefixtures("narrow")
def test_factor_may_be_given_by_position(coarse):
    assert super_resolve(coarse, 3, **SHORT).shape == (48, 54)


@pytest.mark.parametrize("preset", ["fast", "paper"])
@pytest.mark.parametrize(("scale", "shift"), [(0.001, 0), (50, -1e4)])
def test_units_are_kept(coarse, scale, shift, preset, narrow):
    parameters = SHORT | {"preset": preset, "factor": 2}
    plain = super_resolve(coarse, **parameters)
    scaled = super_resolve(coarse * scale + shift, **parameters)
    tolerance = 0.01 * np.ptp(coarse) * scale
    np.testing.assert_allclose(scaled, plain * scale + shift, atol=tolerance)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("value", [0, 7, -3.5, 1e6])
@pytest.mark.parametrize("noisy", ["auto", "yes"])
def test_a_constant_image_comes_back_constant(value, noisy):
    image = np.full((16, 16), value)
    found = super_resolve(image, factor=2, noisy=noisy, **SHORT)
    np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("narrow")
def test_a_constant_colour_with_missing_pixels_comes_back_constant():
    image = np.tile([0.1, 0.7, 0.3], (16, 17, 1))
    image[4:6, 5] = np.nan
    found = super_resolve(image, factor=2, **SHORT)
    expected = np.broadcast_to([0.1, 0.7, 0.3], (32, 34, 3))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.usefixtures("small_fits")
def test_dtype_of_the_input_on_request(coarse):
    image = coarse.astype(np.uint16)
    same = super_resolve(image, factor=2, dtype="input", **SHORT)
    exact = super_resolve(image, factor=2, **SHORT)
    assert same.dtype == np.uint16
    np.testing.assert_allclose(same, np.rint(exact))


@pytest.mark.usefixtures("narrow")
def test_missing_pixels_are_filled_and_never_seen(coarse):
    image = coarse.copy()
    image[5:8, 6:10] = np.nan
    found = super_resolve(image, factor=2, **SHORT)
    assert np.isfinite(found).all()
    inside = found[10:16, 12:20]
    assert np.nanmin(image) - 200 < inside.min()
    assert inside.max() < np.nanmax(image) + 200
    hidden = np.ma.masked_array(coarse, np.isnan(image))
    hidden.data[5:8, 6:10] = 1e6
    np.testing.assert_array_equal(super_resolve(hidden, factor=2, **SHORT), found)


@pytest.mark.usefixtures("small_fits")
def test_same_seed_same_image(coarse):
    first = super_resolve(coarse, factor=2, seed=4, **SHORT)
    torch.manual_seed(1)
    again = super_resolve(coarse, factor=2, seed=4, **SHORT)
    np.testing.assert_array_equal(again, first)
    other = super_resolve(coarse, factor=2, seed=5, **SHORT)
    assert not np.array_equal(other, first)


# -- agreement with the input -----------------------------------------------------


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", ["lanczos", "box", "gaussian", "bicubic"])
@pytest.mark.parametrize("factor", [2, 3])
def test_reduced_again_a_clean_image_is_the_input(coarse, name, factor):
    found = super_resolve(coarse, factor=factor, operator=name, noisy="no", **SHORT)
    sigma = (0.5,) if name == "gaussian" else ()
    operator = getattr(resampling, name)(factor, *sigma)
    difference = reduced(found, operator) - coarse
    assert np.abs(difference).max() < 0.02 * np.ptp(coarse)
    assert np.sqrt(np.mean(difference**2)) < 0.002 * np.ptp(coarse)


def test_reduced_again_a_noisy_image_is_the_input_within_its_noise(random):
    y, x = np.mgrid[0:20, 0:20] / 20
    clean = 100 * np.sin(3 * y) * x
    noisy = (clean + random.normal(0, 8, clean.shape)).astype(np.float32)
    found = super_resolve(
        noisy, factor=2, iterations=25, device="cpu", precision="float32"
    )
    again = reduced(found, resampling.lanczos(2))
    residual = np.sqrt(np.mean((again - noisy) ** 2))
    assert residual == pytest.approx(8, rel=0.5)  # over seeds: 6.6 +- 0.7
    assert np.sqrt(np.mean((again - clean) ** 2)) < 6  # over seeds: 2.6 +- 0.4


# -- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"factor": 1}, "factor must be an integer from 2 to 8; got 1"),
        ({"factor": 9}, "factor must be an integer from 2 to 8; got 9"),
        ({"factor": 2.5}, "factor must be an integer from 2 to 8; got 2.5"),
        ({"operator": "area"}, "operator must be lanczos, box, .* got 'area'"),
        ({"sigma": -1}, "sigma must be a finite number from 0 to 10; got -1"),
        ({"noisy": "maybe"}, "noisy must be auto, yes or no; got 'maybe'"),
        ({"spatial_dims": 3}, "image must have at least 16 .* 3 spatial axes"),
    ],
    ids=str,
)
def test_parameters_that_are_refused(coarse, parameters, words):
    with pytest.raises(InputError, match=words):
        super_resolve(coarse, **SHORT | parameters)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.ones((20, 20), complex), "image must be an array of real .* got dtype com"),
        (np.zeros((0, 20)), r"image must not be empty; got .* shape \(0, 20\)"),
        (np.full((20, 20), np.inf), "image must be finite .* got 400 infinite"),
        (np.full((20, 20), np.nan), "image must have known pixels; got nothing but"),
        (np.ones((15, 20)), r"image must have at least 16 .* got shape \(15, 20\)"),
    ],
    ids=["complex", "empty", "infinite", "nan", "small"],
)
def test_images_that_are_refused(image, words):
    with pytest.raises(InputError, match=words):
        super_resolve(image, **SHORT)


# -- the plans behind it ----------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "iterations", "perturbation"), [(4, 2000, 0.03), (8, 4000, 0.05)]
)
def test_paper_preset_is_the_published_setting(
    plan, coarse, factor, iterations, perturbation
):
    found = plan(coarse, preset="paper", factor=factor)
    assert found.prior.architecture == Architecture()
    assert found.prior.code == Noise(32, 0.1, perturbation)
    settings = found.settings
    assert settings.stop == Iterations(iterations)
    assert (settings.optimizer, settings.learning_rate, settings.ema_decay) == (
        "adam",
        0.01,
        0,
    )
    assert settings.schedule == "constant"
    assert found.finish is None
    assert len(found.problem.operator.taps) == 4 * factor
    assert found.problem.shape == (1, 16 * factor, 18 * factor)


def test_noise_is_removed_before_the_fit(plan, coarse, random):
    noisy = coarse + random.normal(0, 60, coarse.shape)

    def error(made):
        measured = made.to_units(made.problem.measurement[0].numpy())
        return np.sqrt(np.mean((measured - coarse) ** 2))

    assert error(plan(noisy)) < 45
    assert error(plan(noisy, noisy="no")) == pytest.approx(60, rel=0.1)
    assert error(plan(coarse)) < 0.01
    assert error(plan(coarse, noisy="yes")) > 0.01
    assert plan(noisy).details["noise"] == pytest.approx(60, rel=0.5)


def test_noise_of_one_channel_changes_no_other(plan, coarse, random):
    channels = np.stack([coarse + random.normal(0, 60, coarse.shape), coarse], -1)
    made = plan(channels, channel_axis=-1)
    measured = made.to_units(made.problem.measurement[0].numpy())
    np.testing.assert_allclose(measured[1], coarse, atol=0.01)
    assert np.abs(measured[0] - channels[..., 0]).max() > 20


def looks_noisy(plane):
    return min(levels(plane)) > noisy_above(plane)


def levels(plane):
    return [sharp_noise(v, u) for v, u in zip(plane.values, plane.noisy, strict=True)]


def test_sharp_noise_of_photographs_with_and_without_noise(random):
    sharp = skimage.data.astronaut()[:256, 100:356].astype(np.float32)
    sharp = torch.from_numpy(sharp).permute(2, 0, 1)[None]
    values = resampling.lanczos(4)(sharp)[0].numpy()
    assert not looks_noisy(prepare(values, "image"))
    noisy = values + random.normal(0, 8, values.shape)
    assert looks_noisy(prepare(noisy, "image"))
    # Missing pixels are filled with a flat patch, which is no proof of silence.
    noisy[:, 4:40, 4:40] = np.nan
    assert looks_noisy(prepare(noisy, "image"))
    # The steps of coarse pixels are not taken for noise where there are few of them.
    few = sharp[..., 40:200, 60:220]
    tiny = prepare(resampling.lanczos(8)(few)[0].numpy(), "image")
    assert min(levels(tiny)) > NOISY
    assert max(levels(tiny)) < noisy_above(tiny)
    assert levels(prepare(np.ones((1, 20, 20)), "image")) == [0]
    plain = prepare(random.normal(0, 8, (1, 200, 200)), "image")
    assert levels(plain)[0] * plain.span[0] == pytest.approx(8, rel=0.1)


# -- does it super-resolve? -------------------------------------------------------


def test_a_sharp_edge_beats_interpolation():
    y, x = np.mgrid[0:32, 0:32]
    fine = ((x - 17) ** 2 + (y - 14) ** 2 < 10**2).astype(np.float32)
    fine[(x + y) % 27 < 8] = 0.5
    operator = resampling.lanczos(2)
    coarse = reduced(fine, operator)
    found = super_resolve(coarse, 2, iterations=100, device="cpu", precision="float32")
    plain = resampling.upsample(torch.from_numpy(coarse)[None, None], 2)[0, 0].numpy()
    gain = np.mean((plain - fine) ** 2) / np.mean((found - fine) ** 2)
    assert gain > 10**0.15


@pytest.mark.usefixtures("small_fits")
def test_stopping_keeps_the_best_image(coarse):
    steps = []
    for it in iterate("super_resolve", coarse, 2, **SHORT | {"iterations": 30}):
        steps.append(it.step)
        if it.step == 4:
            assert it.image.shape == (32, 36)
            break
    fit = super_resolve(
        coarse,
        2,
        **SHORT | {"iterations": 30},
        callback=lambda it: it.step == 5,
        full_output=True,
    )
    assert (fit.iterations, fit.stopped_by) == (5, "stopped by the user")


# -- files ------------------------------------------------------------------------


@pytest.mark.usefixtures("small_fits")
def test_command_line_writes_finer_pixels_over_the_same_field(tmp_path, coarse, capsys):
    source, target = tmp_path / "coarse.tif", tmp_path / "fine.ome.tif"
    stack = np.stack([coarse, coarse])
    tifffile.imwrite(
        source,
        stack,
        imagej=True,
        resolution=(1 / 0.4, 1 / 0.8),
        metadata={"axes": "ZYX", "unit": "micron", "spacing": 1.5},
    )
    arguments = ["--factor", "2", "--iterations", "2", "--precision", "float32"]
    command = ["super-resolve", str(source), "-o", str(target), *arguments]
    assert cli.main([*command, "--quiet"]) == 0
    result = files.read(target)
    assert result.data.shape == (2, 32, 36)
    assert result.header.scale == pytest.approx((1.5, 0.4, 0.2))
    assert result.header.units == ("µm", "µm", "µm")
    assert result.header.provenance["recipe"]["factor"] == 2
    bad = [*command[:4], "--factor", "1", "--overwrite"]
    assert cli.main(bad) == 2
    assert "factor must be an integer from 2 to 8; got 1" in capsys.readouterr().err


@pytest.mark.usefixtures("narrow")
def test_opacity_of_a_photograph_is_enlarged(tmp_path, random):
    colours = random.integers(0, 255, (16, 18, 4), np.uint8)
    source, target = tmp_path / "coarse.png", tmp_path / "fine.png"
    image = files.Image(colours[..., :3], files.plain_header((16, 18, 3), np.uint8))
    alpha = colours[..., 3]
    files.write(source, image.data, files.Image(image.data, image.header, alpha))
    arguments = ["--factor", "2", "--iterations", "1", "--precision", "float32"]
    assert cli.main(["super-resolve", str(source), "-o", str(target), *arguments]) == 0
    result = files.read(target)
    assert result.data.shape == (32, 36, 3)
    np.testing.assert_array_equal(result.alpha, alpha.repeat(2, 0).repeat(2, 1))
