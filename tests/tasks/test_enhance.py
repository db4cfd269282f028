"""Enhancement: shapes, units, what is refused, and that detail grows."""

import numpy as np
import pytest
import skimage.data
from scipy import ndimage

from napari_dip import cli, enhance
from napari_dip.errors import InputError
from napari_dip.io import files
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.codes import Noise
from napari_dip.prior.stopping import Discrepancy, Iterations
from napari_dip.prior.terms import Squared
from napari_dip.tasks.enhance import TASK, EnhanceRecipe, fine_energy
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.tiles import Block
from tests.tasks.conftest import plan_of

plan = plan_of(TASK)

SHORT = {"iterations": 3, "device": "cpu", "precision": "float32"}


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
    found = enhance(
        random.normal(0.5, 0.1, shape), **SHORT | {"iterations": 2}, **parameters
    )
    assert found.shape == shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(("factor", "shift"), [(0.001, 0), (50, -1e4)])
def test_units_are_kept(image, factor, shift):
    plain = enhance(image, **SHORT)
    scaled = enhance(image * factor + shift, **SHORT)
    tolerance = 0.01 * np.ptp(image) * factor
    np.testing.assert_allclose(scaled, plain * factor + shift, atol=tolerance)


@pytest.mark.parametrize("value", [0, 7, -3.5, 1e6])
def test_a_constant_image_comes_back_constant(value):
    found = enhance(np.full((20, 20), value), **SHORT)
    np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("narrow")
def test_missing_pixels_are_filled_and_move_nothing(image):
    image[5:9, 6:10] = np.nan
    found = enhance(image, **SHORT)
    assert np.isfinite(found).all()
    rest = np.ma.masked_invalid(image)
    np.testing.assert_array_equal(enhance(rest, **SHORT), found)


@pytest.mark.usefixtures("narrow")
def test_amount_is_linear_and_none_is_the_image(image):
    none = enhance(image, 0, **SHORT)
    np.testing.assert_allclose(none, image, rtol=1e-5)
    once = enhance(image, amount=1, **SHORT)
    twice = enhance(image, amount=2, **SHORT)
    np.testing.assert_allclose(twice - image, 2 * (once - image), atol=0.01)
    coarse = enhance(image, amount=-1, **SHORT)
    np.testing.assert_allclose(once, 2 * image - coarse, atol=0.01)


@pytest.mark.usefixtures("narrow")
def test_colours_get_the_same_detail(random):
    photo = skimage.data.astronaut()[100:132, 200:232].astype(float)
    gain = enhance(photo, **SHORT) - photo
    np.testing.assert_allclose(gain[..., 0], gain[..., 1], atol=0.01)
    np.testing.assert_allclose(gain[..., 0], gain[..., 2], atol=0.01)
    alone = enhance(photo, detail_of="channels", **SHORT) - photo
    assert np.abs(alone[..., 0] - alone[..., 2]).max() > 1
    luma = alone @ [0.299, 0.587, 0.114]
    assert np.corrcoef(luma.ravel(), gain[..., 0].ravel())[0, 1] > 0.95


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("axis", [0, -1])
def test_three_channels_of_unlike_brightness_are_enhanced_by_themselves(random, axis):
    gains = np.array([1000.0, 30, 1])[:, None, None]
    shapes = ndimage.gaussian_filter(random.normal(0, 1, (3, 32, 32)), (0, 3, 3))
    image = gains * (10 + 20 * shapes + random.normal(0, 0.3, shapes.shape))
    found = enhance(np.moveaxis(image, 0, axis), channel_axis=axis, **SHORT)
    for channel, alone in zip(np.moveaxis(found, axis, 0), image, strict=True):
        np.testing.assert_array_equal(channel, enhance(alone, **SHORT))


def test_a_known_scale_says_whether_colours_are_scaled_together(random):
    image = random.normal(100, 20, (24, 24, 3))
    image[:2, :2, 0] = 3000
    job = TASK.job(EnhanceRecipe(), image)
    (index,) = job.layout.indices()
    pixels = job.pixels(index)
    block = Block.whole(0, index, (0, 1, 2), (24, 24))
    # Not together, the brightest pixels of a channel are put aside.
    for span, aside in (((100, 100, 100), False), ((100, 100, 101), True)):
        plane = job.scaled(pixels, block, ((50, 50, 50), span))
        assert (plane.beyond is not None) == aside


@pytest.mark.usefixtures("narrow")
def test_channels_that_are_no_colours_do_not_get_the_same_detail(random):
    image = random.normal(100, 20, (3, 24, 24))
    gain = enhance(image, channel_axis=0, **SHORT) - image
    assert np.abs(gain[0] - gain[1]).max() > 1


@pytest.mark.usefixtures("narrow")
def test_integers_are_clipped_at_the_end(random):
    image = random.integers(0, 256, (20, 24), dtype=np.uint8)
    exact = enhance(image, 5.0, **SHORT)
    assert exact.min() < 0
    assert exact.max() > 255
    clipped = enhance(image, 5.0, dtype="input", **SHORT)
    np.testing.assert_array_equal(clipped, np.rint(exact).clip(0, 255))


def test_it_stops_at_the_detail_asked_for():
    photo = skimage.data.camera()[100:148, 200:248]
    settings = {"device": "cpu", "precision": "float32", "full_output": True}
    much = enhance(photo, detail=8.0, **settings)
    less = enhance(photo, detail=1.0, **settings)
    assert "residual" in much.stopped_by
    assert "residual" in less.stopped_by
    assert much.iterations < less.iterations < 2000
    fine = [np.mean((np.asarray(f.image) - photo) ** 2) for f in (much, less)]
    assert fine[1] < fine[0]


def test_energy_is_of_what_a_blur_takes_out(random):
    values = random.normal(0, 1, (64, 64)).astype(np.float32)
    plane = prepare(values[None], "image")
    rest = values - ndimage.gaussian_filter(values, 2.0)
    expected = np.mean(rest**2) / plane.span**2
    assert fine_energy(plane) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"amount": "much"}, "amount must be a finite number from -1 .* got 'much'"),
        ({"detail": 0}, "detail must be a finite number from 0.001 .* got 0"),
        ({"detail_of": "hue"}, "detail_of must be luminance or channels; got 'hue'"),
        ({"preset": "slow"}, "preset must be fast, best or paper; got 'slow'"),
    ],
    ids=str,
)
def test_parameters_that_are_refused(image, parameters, words):
    with pytest.raises(InputError, match=words):
        enhance(image, **SHORT | parameters)


def test_images_that_are_refused():
    with pytest.raises(InputError, match="image must have at least 16"):
        enhance(np.ones((15, 20)), **SHORT)


def test_paper_preset_is_the_published_setting(plan, image):
    found = plan(image, preset="paper")
    assert found.prior.architecture == Architecture()
    assert found.prior.code == Noise(features=32, scale=0.1, perturbation=0)
    settings = found.settings
    assert (settings.optimizer, settings.learning_rate) == ("adam", 0.01)
    assert isinstance(settings.stop, Discrepancy)
    assert found.problem.term == Squared()


@pytest.mark.parametrize("preset", ["fast", "best", "paper"])
def test_a_number_of_iterations_is_kept_to(plan, image, preset):
    assert plan(image, preset=preset, iterations=77).settings.stop == Iterations(77)


@pytest.mark.usefixtures("narrow")
def test_files(tmp_path, capsys):
    photo = skimage.data.astronaut()[100:132, 200:232]
    source = tmp_path / "in.tif"
    import tifffile

    tifffile.imwrite(source, photo)
    target = tmp_path / "out.tif"
    options = ["--iterations", "3", "--device", "cpu", "--precision", "float32"]
    command = ["enhance", str(source), "-o", str(target), *options]
    assert cli.main([*command, "--amount", "2"]) == 0
    # Integers of colour come back as they came.
    expected = enhance(photo, 2, dtype="input", **SHORT)
    np.testing.assert_array_equal(files.read(target).data, expected)
    assert cli.main([*command, "--overwrite", "--detail", "-1"]) == 2
    assert "detail must be a finite number" in capsys.readouterr().err
