"""Removing artifacts: shapes, units, what is refused, and that it restores."""

import io

import numpy as np
import pytest
import scipy.fft
import skimage.data
from PIL import Image

from napari_dip import cli, remove_artifacts
from napari_dip.errors import InputError
from napari_dip.io.raster import jpeg_tables
from napari_dip.metrics import blockiness
from napari_dip.prior import jpeg
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.codes import Noise
from napari_dip.prior.stopping import Iterations
from napari_dip.prior.terms import Squared
from napari_dip.tasks.remove_artifacts import TASK, RemoveArtifactsRecipe
from tests.tasks.conftest import plan_of

plan = plan_of(TASK)

SHORT = {"iterations": 3, "device": "cpu", "precision": "float32"}


def compressed(truth, quality=10):
    """Return a decoded JPEG, its steps as the recipe takes them, and its bytes."""
    file = io.BytesIO()
    Image.fromarray(truth).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        tables = jpeg_tables(opened).tables
        return np.asarray(opened), sum(tables, ()), file.getvalue()


@pytest.fixture
def photo():
    """Return a colour photograph (64, 64, 3), uint8."""
    return np.ascontiguousarray(skimage.data.astronaut()[60:124, 180:244])


# -- shapes, units, missing pixels ------------------------------------------------


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ((17, 33), {}),
        ((20, 18, 3), {}),
        ((2, 18, 20), {}),
        ((2, 18, 20), {"channel_axis": 0}),
        ((16, 18, 20), {"spatial_dims": 3}),
        ((17, 20), {"preset": "best"}),
    ],
    ids=str,
)
def test_shapes_come_back(random, shape, parameters):
    found = remove_artifacts(
        random.normal(0.5, 0.1, shape), **SHORT | {"iterations": 2}, **parameters
    )
    assert found.shape == shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(("factor", "shift"), [(0.001, 0), (50, -1e4)])
def test_units_are_kept(image, factor, shift):
    plain = remove_artifacts(image, **SHORT)
    scaled = remove_artifacts(image * factor + shift, **SHORT)
    tolerance = 0.01 * np.ptp(image) * factor
    np.testing.assert_allclose(scaled, plain * factor + shift, atol=tolerance)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("value", [0, 7, -3.5, 1e6])
@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_a_constant_image_comes_back_constant(value, preset):
    found = remove_artifacts(
        np.full((20, 20), value), **SHORT | {"iterations": 12}, preset=preset
    )
    np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("narrow")
def test_missing_pixels_are_filled_and_move_nothing(image):
    image[5:9, 6:10] = np.nan
    found = remove_artifacts(image, **SHORT)
    assert np.isfinite(found).all()
    rest = np.ma.masked_invalid(image)
    np.testing.assert_array_equal(remove_artifacts(rest, **SHORT), found)


@pytest.mark.usefixtures("narrow")
def test_missing_pixels_of_a_jpeg_are_filled(photo):
    decoded, steps, _ = compressed(photo)
    image = decoded.astype(float)
    image[10:14, 20:23] = np.nan
    found = remove_artifacts(image, quantization=steps, **SHORT)
    assert np.isfinite(found).all()


@pytest.mark.usefixtures("narrow")
def test_stop_keeps_the_image_so_far(image):
    fit = remove_artifacts(
        image, callback=lambda it: it.step == 2, full_output=True, device="cpu"
    )
    assert (fit.iterations, fit.stopped_by) == (2, "stopped by the user")


# -- the file's own tables --------------------------------------------------------


def changed(image, steps, decoded):
    """Return the part of the coefficients that would be stored differently."""
    steps = np.reshape(steps, (8, 8))

    def stored(plane):
        blocks = (plane.astype(float) - 128).reshape(8, 8, 8, 8).swapaxes(1, 2)
        return scipy.fft.dctn(blocks, axes=(2, 3), norm="ortho") / steps

    # Cells are a little wider than a step, by an encoder's own roundings.
    return (np.abs(stored(image) - np.rint(stored(decoded))) > 0.6).mean()


@pytest.mark.usefixtures("narrow")
def test_result_compresses_to_the_same_file(photo):
    gray = photo[..., 1].copy()
    decoded, steps, _ = compressed(gray, 20)
    found = remove_artifacts(decoded, quantization=steps, **SHORT)
    assert np.abs(found - decoded).max() > 1
    assert changed(found, steps, decoded) == 0
    without = remove_artifacts(decoded, find_tables=False, **SHORT)
    assert changed(without, steps, decoded) > 0.02


@pytest.mark.usefixtures("narrow")
def test_colours_of_unlike_ranges_are_of_one_file(photo):
    photo[..., 1:] = 100 + photo[..., 1:] // 10
    decoded, steps, _ = compressed(photo, 50)
    found = remove_artifacts(decoded, quantization=steps, **SHORT)
    assert np.abs((found - decoded).mean(axis=(0, 1))).max() < 3


def test_subsampling_is_found(photo, plan):
    for number, name in enumerate(("4:4:4", "4:2:2", "4:2:0")):
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "JPEG", quality=15, subsampling=number)
        with Image.open(file) as opened:
            decoded, steps = np.asarray(opened), sum(jpeg_tables(opened).tables, ())
        details = plan(decoded, quantization=steps).details
        assert details["subsampling"] == name
        assert details["coefficients that fit"] > 0.95


@pytest.mark.parametrize("gains", [(1, 1, 0.15), (1, 0.2, 0.1), (1, 1, 0)])
def test_a_jpeg_of_unlike_colours_is_one_block(photo, plan, gains):
    decoded, steps, _ = compressed((photo * np.array(gains)).astype(np.uint8))
    made = plan(decoded, quantization=steps)
    assert made.analysis.channels == (0, 1, 2)
    assert made.details["coefficients that fit"] > 0.95


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("subsampling", "counted"), [(2, {(2, 2)}), (0, {(2, 2), (1, 2), (1, 1)})]
)
def test_blocks_are_counted_once(photo, monkeypatch, subsampling, counted):
    factors, cells = [], jpeg.cells

    def counting(image, known, tables, size):
        factors.append(size)
        return cells(image, known, tables, size)

    monkeypatch.setattr(jpeg, "cells", counting)
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=15, subsampling=subsampling)
    with Image.open(file) as opened:
        decoded, steps = np.asarray(opened), sum(jpeg_tables(opened).tables, ())
    remove_artifacts(decoded, quantization=steps, **SHORT)
    assert len(factors) == len(set(factors))
    assert set(factors) == counted


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("quality", [20, 75])
def test_the_tables_are_found_in_the_pixels(photo, quality):
    for truth in (photo, photo[..., 1].copy()):
        decoded, steps, _ = compressed(truth, quality)
        given = remove_artifacts(decoded, quantization=steps, **SHORT)
        fit = remove_artifacts(decoded.astype(float), full_output=True, **SHORT)
        np.testing.assert_array_equal(fit.image, given)
        assert fit.settings["planes"][0]["found quality"] == quality
        assert fit.warnings[0].startswith(
            f"the pixels are those of a JPEG of quality {quality}"
        )


@pytest.mark.usefixtures("narrow")
def test_tables_are_not_looked_for_elsewhere(photo, monkeypatch):
    decoded, _, _ = compressed(photo[..., 1].copy(), 20)
    options = {**SHORT, "full_output": True}
    others = [
        (decoded, {"find_tables": False}),
        (decoded, {"preset": "paper"}),
        (decoded, {"tile": 192}),
        (decoded / 255, {}),
        (decoded + 100.0, {}),
        (np.stack([decoded] * 2), {}),
    ]
    for image, parameters in others:
        fit = remove_artifacts(image, **options, **parameters)
        assert "found quality" not in fit.settings["planes"][0]
    monkeypatch.setattr("napari_dip.tasks.remove_artifacts.WHOLE", 63)
    assert not remove_artifacts(decoded, **options).warnings


@pytest.mark.usefixtures("narrow")
def test_stacks_share_the_tables(photo):
    decoded, steps, _ = compressed(photo[..., 0].copy())
    found = remove_artifacts(np.stack([decoded] * 2), quantization=steps, **SHORT)
    assert found.shape == (2, 64, 64)


@pytest.mark.parametrize(
    ("change", "parameters", "words"),
    [
        (lambda a: a[1:], {}, "quantization does not fit image: only .* whole dec"),
        (lambda a: a / 255, {}, "quantization does not fit image"),
        (lambda a: a[..., 0], {}, "quantization must have 64 integers .* got 128"),
        (lambda a: a[..., :2], {"channel_axis": -1}, "quantization is for gray"),
        (lambda a: a, {"spatial_dims": 3}, "image must have|quantization is for"),
    ],
)
def test_tables_that_do_not_fit(photo, change, parameters, words):
    decoded, steps, _ = compressed(photo)
    with pytest.raises(InputError, match=words):
        remove_artifacts(change(decoded), quantization=steps, **SHORT, **parameters)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"quantization": (0,) * 64}, "quantization must be one or more integers from"),
        ({"quantization": 3.5}, "quantization must be one or more integers"),
        ({"quantization": (16,) * 63}, "quantization must have 64 .* got 63"),
        (
            {"quantization": [[16] * 8] * 7},
            r"quantization must be .*; got .{99}$",
        ),
        ({"quantization": [[16] * 8, [16]]}, "quantization must be one or more integ"),
        ({"subsampling": "4:1:1"}, "subsampling must be auto, 4:4:4, .* got '4:1:1'"),
        ({"preset": "slow"}, "preset must be fast, best or paper; got 'slow'"),
    ],
    ids=str,
)
def test_parameters_that_are_refused(image, parameters, words):
    with pytest.raises(InputError, match=words):
        remove_artifacts(image, **SHORT | parameters)


def test_tables_may_be_arrays():
    steps = np.arange(1, 129)
    for tables in (steps[:64].reshape(8, 8), steps.reshape(2, 8, 8)):
        flat = RemoveArtifactsRecipe(quantization=tables.ravel())
        assert RemoveArtifactsRecipe(quantization=tables) == flat
        assert RemoveArtifactsRecipe(quantization=tables.tolist()) == flat


# -- the plans behind it ----------------------------------------------------------


def test_paper_preset_is_the_published_setting(plan, photo):
    decoded, steps, _ = compressed(photo)
    found = plan(decoded, preset="paper", quantization=steps)
    widths = (8, 16, 32, 64, 128)
    architecture = Architecture(down=widths, up=widths, skip=(0, 0, 0, 4, 4))
    assert found.prior.architecture == architecture
    assert found.prior.code == Noise(features=3, scale=0.1, perturbation=1 / 30)
    settings = found.settings
    assert settings.stop == Iterations(2400)
    assert (settings.optimizer, settings.learning_rate, settings.ema_decay) == (
        "adam",
        0.01,
        0.99,
    )
    assert found.problem.term == Squared()
    assert found.finish is None


@pytest.mark.parametrize("preset", ["fast", "best", "paper"])
def test_a_number_of_iterations_is_kept_to(plan, image, preset):
    assert plan(image, preset=preset, iterations=77).settings.stop == Iterations(77)


# -- files ------------------------------------------------------------------------


@pytest.mark.usefixtures("narrow")
def test_files_bring_their_tables(photo, tmp_path, capsys):
    _, steps, content = compressed(photo)
    (tmp_path / "in.jpg").write_bytes(content)
    options = ["--iterations", "3", "--device", "cpu", "--json"]
    arguments = ["remove-artifacts", str(tmp_path / "in.jpg"), "-o"]
    assert cli.main([*arguments, str(tmp_path / "out.png"), *options]) == 0
    said = capsys.readouterr().out
    assert str(list(steps)) in said
    assert '"subsampling": "4:2:0"' in said
    more = ["--quantization", "1,2", "--overwrite"]
    assert cli.main([*arguments, str(tmp_path / "out.png"), *options, *more]) == 2
    assert "quantization must have 128 integers" in capsys.readouterr().err


@pytest.mark.usefixtures("narrow")
def test_files_without_tables_need_none(image, tmp_path, capsys):
    Image.fromarray((image / 8).astype(np.uint8)).save(tmp_path / "in.png")
    arguments = ["remove-artifacts", str(tmp_path / "in.png"), "--iterations", "2"]
    arguments += ["--device", "cpu", "-o", str(tmp_path / "out.png"), "--json"]
    assert cli.main(arguments) == 0
    assert '"quantization": null' in capsys.readouterr().out


# -- does it restore? -------------------------------------------------------------


def psnr(image, truth):
    error = np.clip(image, 0, 255).astype(float) - truth
    return 10 * np.log10(255**2 / np.mean(error**2))


def test_a_compressed_photograph_gains(photo):
    truth = photo[..., 1].copy()
    decoded, steps, _ = compressed(truth, 5)
    found = remove_artifacts(
        decoded, quantization=steps, iterations=40, device="cpu", precision="float32"
    )
    assert psnr(found, truth) > psnr(decoded, truth) + 0.4
    assert blockiness(found) < 0.2 * blockiness(decoded)
