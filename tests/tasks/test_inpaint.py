"""Inpainting arrays: what counts as missing, what is kept, and that it fills in."""

import dask.array
import numpy as np
import pytest
import skimage.data
import tifffile
import torch

from napari_dip import cli, inpaint
from napari_dip.errors import InputError
from napari_dip.prior import stopping, terms
from napari_dip.prior.architecture import Architecture
from napari_dip.prior.codes import BlindSpot, Meshgrid, Noise
from napari_dip.tasks.function import iterate
from napari_dip.tasks.inpaint import TASK, geometry
from napari_dip.tasks.noise_level import growing_noise, known_noise
from tests.tasks.conftest import plan_of

plan = plan_of(TASK)

SHORT = {"iterations": 3, "device": "cpu", "precision": "float32"}


@pytest.fixture
def image():
    """Return a smooth (32, 30) image, in units of its own."""
    y, x = np.mgrid[0:32, 0:30] / 30
    return (1000 + 300 * np.sin(4 * y + 2 * x)).astype(np.float32)


@pytest.fixture
def mask(random):
    """Return labels (32, 30), a third nonzero."""
    return random.integers(1, 9, (32, 30)) * (random.random((32, 30)) < 0.33)


@pytest.fixture(autouse=True)
def quick(request):
    """Let filters go over an image once, unless the result itself is judged."""
    if "photograph" not in request.node.name:
        request.getfixturevalue("few_passes")


def text_mask(shape=(64, 64)):
    mask = np.zeros(shape, bool)
    mask[8::16] = mask[9::16] = mask[10::16] = True
    return mask


def hole_mask(shape=(64, 64)):
    mask = np.zeros(shape, bool)
    mask[20:44, 18:40] = True
    return mask


# -- what is hidden stays hidden ----------------------------------------------------


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("preset", ["fast", "best", "paper"])
@pytest.mark.parametrize("kind", ["text", "hole", "random"])
@pytest.mark.parametrize("scales", [(1,), (1, 2, 4)], ids=str)
def test_hidden_values_never_move_the_fit_by_a_bit(
    image, mask, preset, kind, scales, narrow
):
    results, losses = [], []
    for value in (0, 1e6, np.nan):
        seen = []
        found = inpaint(
            np.where(mask != 0, value, image),
            mask,
            kind=kind,
            scales=scales,
            preset=preset,
            restarts=1,
            keep_known=False,
            callback=lambda it, seen=seen: seen.append(it.loss),
            **SHORT,
        )
        results.append(found)
        losses.append(seen)
    for found, seen in zip(results[1:], losses[1:], strict=True):
        np.testing.assert_array_equal(found, results[0])
        assert seen == losses[0]


@pytest.mark.usefixtures("narrow")
def test_nan_counts_as_missing(image, mask):
    gone = mask != 0
    by_mask = inpaint(image, mask, **SHORT)
    by_nan = inpaint(np.where(gone, np.nan, image), np.zeros_like(mask), **SHORT)
    half = mask * (np.arange(30) < 15)
    by_both = inpaint(
        np.where(half == 0, np.where(gone, np.nan, image), 9), half, **SHORT
    )
    np.testing.assert_array_equal(by_nan, by_mask)
    np.testing.assert_array_equal(by_both, by_mask)
    assert np.isfinite(by_nan).all()


@pytest.mark.usefixtures("small_fits")
def test_any_label_is_missing(image, mask):
    labels = inpaint(image, mask, **SHORT)
    for same in (mask != 0, -mask, mask * 0.25, (mask * 31).astype(np.uint8)):
        np.testing.assert_array_equal(inpaint(image, same, **SHORT), labels)


# -- what is kept -------------------------------------------------------------------


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_known_pixels_come_back_exactly(image, mask, dtype):
    image = (image / 6).astype(dtype)
    found = inpaint(image, mask, dtype="input", **SHORT)
    known = mask == 0
    assert found.dtype == dtype
    np.testing.assert_array_equal(
        found[known].astype(np.float32), image[known].astype(np.float32)
    )
    assert (found[~known] != image[~known]).any()


@pytest.mark.usefixtures("narrow")
def test_known_pixels_are_fitted_where_not_kept(image, mask):
    found = inpaint(image, mask, keep_known=False, kind="hole", **SHORT)
    assert (found != image)[mask == 0].mean() > 0.9


@pytest.mark.usefixtures("narrow")
def test_without_noise_known_pixels_stay_close(image, mask):
    found = inpaint(image, mask, keep_known=False, noise="none", **SHORT)
    np.testing.assert_allclose(found[mask == 0], image[mask == 0], rtol=1e-3)


@pytest.mark.usefixtures("narrow")
def test_a_channel_that_is_known_is_kept_where_another_is_missing(random):
    image = random.random((20, 18, 3)).astype(np.float32)
    mask = np.zeros(image.shape, bool)
    mask[5:9, 5:9, 0] = True
    found = inpaint(image, mask, **SHORT)
    np.testing.assert_array_equal(found[~mask], image[~mask])
    assert (found != image)[mask].all()


@pytest.mark.usefixtures("narrow")
def test_the_inputs_are_left_alone(image, mask):
    image[0, 0] = np.nan
    before = image.copy(), mask.copy()
    inpaint(image, mask, **SHORT)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])


# -- shapes, dtypes, units ----------------------------------------------------------


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("shape", "mask_shape", "parameters"),
    [
        ((17, 33), (17, 33), {}),
        ((20, 18, 3), (20, 18), {}),
        ((20, 18, 3), (20, 18, 3), {}),
        ((2, 18, 20), (18, 20), {}),
        ((2, 18, 20), (2, 18, 20), {}),
        ((2, 3, 18, 20), (3, 18, 20), {}),
        ((2, 20, 18, 3), (20, 18), {}),
        ((2, 20, 18, 3), (2, 20, 18), {}),
        ((2, 18, 20), (18, 20), {"channel_axis": 0}),
        ((2, 18, 20), (2, 18, 20), {"channel_axis": 0}),
        ((16, 18, 20), (18, 20), {"spatial_dims": 3}),
        ((20, 18), (1, 1, 20, 18), {}),
        ((2, 20, 18), (1, 2, 1, 20, 18), {}),
        ((20, 18, 3), (20, 18, 1), {}),
        ((16, 18, 20), (16, 18, 20), {"spatial_dims": 3, "scales": (1, 2)}),
    ],
    ids=str,
)
def test_shapes_come_back(random, shape, mask_shape, parameters):
    image = random.normal(0.5, 0.1, shape)
    mask = random.random(mask_shape) < 0.2
    found = inpaint(
        image, mask, noise="none", **SHORT | {"iterations": 2}, **parameters
    )
    assert found.shape == shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.usefixtures("narrow")
def test_one_mask_serves_every_plane(image, mask):
    stack = np.stack([image, image[::-1] * 5])
    both = inpaint(stack, mask, **SHORT)
    np.testing.assert_array_equal(both[0], inpaint(image, mask, **SHORT))
    np.testing.assert_array_equal(both[1][mask == 0], stack[1][mask == 0])


@pytest.mark.usefixtures("small_fits")
def test_a_plane_with_nothing_missing_is_left_as_it_is(image, mask):
    stack = np.stack([image, image])
    masks = np.stack([np.zeros_like(mask), mask])
    steps = []
    parameters = SHORT | {"iterations": 30}
    found = inpaint(
        stack, masks, callback=lambda it: steps.append(it.part), **parameters
    )
    np.testing.assert_array_equal(found[0], image)
    assert steps.count(0) == 1
    assert (found[1] != image)[mask != 0].any()


@pytest.mark.usefixtures("small_fits")
@pytest.mark.parametrize("kind", ["list", "dask", "torch", "read-only"])
def test_anything_like_an_array_is_taken(image, mask, kind):
    frozen = mask.copy()
    frozen.flags.writeable = False
    given = {
        "list": (image.tolist(), mask.tolist()),
        "dask": (dask.array.from_array(image), dask.array.from_array(mask)),
        "torch": (torch.from_numpy(image), torch.from_numpy(mask)),
        "read-only": (image, frozen),
    }[kind]
    np.testing.assert_array_equal(
        inpaint(*given, **SHORT), inpaint(image, mask, **SHORT)
    )


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("kind", ["random", "hole"])
@pytest.mark.parametrize(("factor", "shift"), [(0.001, 0), (50, -1e4)])
def test_units_are_kept(image, mask, kind, factor, shift):
    parameters = SHORT | {"kind": kind, "keep_known": False, "iterations": 2}
    plain = inpaint(image, mask, **parameters)
    scaled = inpaint(image * factor + shift, mask, **parameters)
    # Rounding grows from step to step.
    tolerance = 0.05 * np.ptp(image) * factor
    np.testing.assert_allclose(scaled, plain * factor + shift, atol=tolerance)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("kind", ["random", "hole", "text"])
@pytest.mark.parametrize("value", [0, 7, -3.5, 1e6])
def test_a_constant_image_comes_back_constant(mask, kind, value):
    parameters = SHORT | {"iterations": 12}
    found = inpaint(np.full((32, 30), value), mask, kind=kind, **parameters)
    np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("narrow")
def test_a_constant_colour_comes_back_constant(mask):
    colour = np.float32([10, -200, 3000])
    found = inpaint(np.tile(colour, (32, 30, 1)), mask, **SHORT)
    np.testing.assert_allclose(found - colour, 0, atol=1e-2)


@pytest.mark.usefixtures("narrow")
def test_same_seed_same_image(image, mask):
    first = inpaint(image, mask, **SHORT, seed=4)
    torch.manual_seed(1)
    np.testing.assert_array_equal(inpaint(image, mask, **SHORT, seed=4), first)
    assert not np.array_equal(inpaint(image, mask, **SHORT, seed=5), first)


@pytest.mark.usefixtures("narrow")
def test_it_can_be_stopped(image, mask):
    fit = inpaint(
        image,
        mask,
        callback=lambda it: it.step == 4,
        full_output=True,
        **SHORT | {"iterations": 50},
    )
    assert fit.iterations == 4
    assert "user" in fit.stopped_by
    np.testing.assert_array_equal(fit.image[mask == 0], image[mask == 0])


# -- what is refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((32, 30)), "mask must mark missing pixels .* got neither"),
        (np.ones((32, 30)), r"mask must leave known pixels \(0\); got nonzero every"),
        (np.ones((32, 31)), r"mask must have the shape of .*\(32, 30\).* \(32, 31\)"),
        (np.ones(30), r"mask must have the shape .* got shape \(30,\)"),
        (np.ones((2, 32, 30)), r"mask must have the shape .* got shape \(2, 32, 30\)"),
        (np.ones((1, 3, 30)), r"mask must have the shape .* got shape \(1, 3, 30\)"),
        (np.ones((32, 30), complex), "mask must be an array of real .* got dtype comp"),
        (np.full((32, 30), "a"), "mask must be an array of real numbers"),
    ],
    ids=[
        "nothing",
        "everything",
        "shape",
        "1-D",
        "3-D",
        "single axis",
        "complex",
        "text",
    ],
)
def test_masks_that_are_refused(image, mask, words):
    with pytest.raises(InputError, match=words):
        inpaint(image, mask, **SHORT)


def test_a_plane_that_is_all_missing_is_named(image, mask):
    masks = np.stack([mask, mask, np.ones_like(mask)])
    with pytest.raises(InputError, match="nonzero everywhere of plane 2"):
        inpaint(np.stack([image] * 3), masks, **SHORT)


@pytest.mark.parametrize("planes", [(), (2,)])
def test_a_mask_with_nan_says_nothing_there(image, mask, planes):
    stack, masks = (np.broadcast_to(a, (*planes, *a.shape)) for a in (image, mask))
    masks = np.where(masks != 0, np.nan, masks)
    count = np.count_nonzero(mask)
    message = f"^mask must be 0 or nonzero; got NaN in {count} places$"
    with pytest.raises(InputError, match=message):
        inpaint(stack, masks, **SHORT)
    if planes:
        with pytest.raises(InputError, match=message):
            inpaint(stack, masks[0], **SHORT)


def test_mask_and_nan_may_not_cover_everything_together(image, mask):
    image[mask == 0] = np.nan
    with pytest.raises(InputError, match="image outside the mask must have known"):
        inpaint(image, mask, **SHORT)


@pytest.mark.usefixtures("narrow")
def test_infinite_values_are_refused_only_where_they_count(image, mask):
    image[mask != 0] = np.inf
    assert np.isfinite(inpaint(image, mask, **SHORT)).all()
    image[mask == 0] = np.inf
    with pytest.raises(InputError, match="image outside the mask must be finite"):
        inpaint(image, mask, **SHORT)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"kind": "scratch"}, "kind must be auto, text, hole or random; got 'scratch'"),
        ({"noise": "some"}, "noise must be auto, none or present; got 'some'"),
        ({"scales": (0, 1)}, r"scales must be one or more integers .* got \(0, 1\)"),
        ({"scales": ()}, r"scales must be one or more integers .* got \(\)"),
        ({"scales": (1, 40)}, r"scales must not be larger .*\(32, 30\); got \(1, 40\)"),
        ({"keep_known": "yes"}, "keep_known must be true or false; got 'yes'"),
    ],
    ids=str,
)
def test_parameters_that_are_refused(image, mask, parameters, words):
    with pytest.raises(InputError, match=words):
        inpaint(image, mask, **SHORT | parameters)


@pytest.mark.usefixtures("narrow")
def test_command_line(image, mask, tmp_path, capsys):
    tifffile.imwrite(tmp_path / "image.tif", image)
    tifffile.imwrite(tmp_path / "mask.tif", mask.astype(np.uint8))
    tifffile.imwrite(tmp_path / "wrong.tif", mask[:20].astype(np.uint8))

    def call(mask_file):
        arguments = ["inpaint", tmp_path / "image.tif", "--mask", tmp_path / mask_file]
        arguments += ["-o", tmp_path / "out.tif", "--iterations", "3"]
        arguments += ["--precision", "float32", "--device", "cpu"]
        code = cli.main([str(a) for a in arguments])
        return code, capsys.readouterr().err

    code, error = call("wrong.tif")
    assert code == 2
    assert "mask must have the shape of the image" in error
    assert not (tmp_path / "out.tif").exists()
    assert call("mask.tif")[0] == 0
    found = tifffile.imread(tmp_path / "out.tif")
    np.testing.assert_array_equal(found, inpaint(image, mask, **SHORT))


# -- what the mask and the known pixels say -----------------------------------------


@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_random_pixels_are_recognised(random, part):
    assert geometry(random.random((64, 64)) < part) == "random"


def test_text_and_holes_are_recognised(random):
    assert geometry(text_mask()) == "text"
    assert geometry(text_mask().T) == "text"
    assert geometry(hole_mask()) == "hole"
    scratch = np.zeros((64, 64), bool)
    scratch[:, 30] = True
    assert geometry(scratch) == "text"
    volume = np.zeros((16, 32, 32), bool)
    volume[:, 8:24, 8:24] = True
    assert geometry(volume) == "hole"


@pytest.mark.parametrize(
    ("name", "kind"), [("kate", "text"), ("vase", "hole"), ("library", "hole")]
)
def test_published_masks_are_recognised(shared_data, name, kind):
    known = skimage.io.imread(shared_data / "inpaint" / f"{name}_mask.png")
    assert geometry(known < 128) == kind


@pytest.mark.parametrize("part", [0.0, 0.5])
@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_noise_of_known_pixels(random, sigma, part):
    truth = skimage.data.camera()[64:192, 192:320] / 255
    known = (random.random(truth.shape) >= part).astype(np.float32)
    noisy = np.where(known > 0, truth + random.normal(0, sigma, truth.shape), 1e3)
    found, correlation = known_noise(noisy.astype(np.float32), known)
    assert found == pytest.approx(sigma, rel=0.25)
    assert correlation < 0.2


@pytest.mark.parametrize("part", [0.8, 0.85, 0.9])
@pytest.mark.parametrize("sigma", [10, 25])
def test_noise_of_few_known_pixels(random, sigma, part):
    for truth in (skimage.data.camera(), skimage.data.chelsea()[..., 1]):
        truth = truth[60:220, 150:310]
        known = random.random(truth.shape) >= part
        noisy = np.where(known, truth + random.normal(0, sigma, truth.shape), 1e3)
        found, _ = known_noise(noisy.astype(np.float32), known)
        assert found == pytest.approx(sigma, rel=0.5)


@pytest.mark.parametrize("part", [0.8, 0.85, 0.9])
def test_few_known_pixels_without_noise_have_none(random, part):
    """With 90 % missing the noise of a photograph was 47 gray values, or 0."""
    for truth in (skimage.data.camera(), skimage.data.chelsea()[..., 1]):
        truth = truth[60:220, 150:310].astype(np.float32)
        found, _ = known_noise(truth, random.random(truth.shape) >= part)
        assert found < 5


def test_texture_is_not_taken_for_noise():
    y, x = np.mgrid[:64, :64]
    stripes = np.sin(1.2 * x + 0.5 * y).astype(np.float32)
    sigma, correlation = known_noise(stripes, np.ones((64, 64), np.float32))
    assert sigma > 0.1
    assert correlation > 0.25


def test_too_little_known_has_no_noise():
    values = np.zeros((32, 32), np.float32)
    assert known_noise(values, np.zeros((32, 32), np.float32)) == (0, 0)
    assert known_noise(values, np.ones((32, 32), np.float32)) == (0, 0)


def test_noisy_pixels_stop_the_fit_by_held_out_ones(plan, random):
    clean = np.tile(np.linspace(0, 100, 64), (64, 1))
    noisy = clean + random.normal(0, 10, clean.shape)
    mask = random.random(clean.shape) < 0.3
    kept, both = plan(noisy, mask), plan(noisy, mask, keep_known=False)
    for found in (kept, both):
        assert isinstance(found.settings.stop, stopping.HeldOut)
        assert found.details["noisy"]
        assert found.details["sigma"] == pytest.approx(10, rel=0.2)
    assert "turn keep_known off" in kept.warnings[0]
    assert both.warnings == []
    told = plan(noisy, mask, noise="none")
    assert isinstance(told.settings.stop, stopping.Iterations)
    assert told.warnings == []
    assert isinstance(
        plan(clean, mask, noise="present").settings.stop, stopping.HeldOut
    )


# -- the plans behind it ------------------------------------------------------------


def test_paper_presets_are_the_published_settings(plan, image, random):
    image = random.random((64, 64))
    for mask, architecture, code, rate, iterations in (
        (
            text_mask(),
            Architecture.uniform(128, 5, skip=128, upsampling="nearest"),
            Noise(32, 0.1, 0.03),
            0.01,
            6001,
        ),
        (
            hole_mask(),
            Architecture.uniform(128, 5, skip=0, upsampling="nearest"),
            Meshgrid(0.03),
            0.01,
            5001,
        ),
        (image < 0.5, Architecture(), Noise(32, 0.1, 0.03), 0.001, 11000),
        (
            image < 0.97,
            Architecture(
                (16, 32, 64, 128, 128),
                (16, 32, 64, 128, 128),
                (0,) * 5,
                downsampling="average",
            ),
            Noise(32, 0.1, 0),
            0.01,
            1000,
        ),
    ):
        found = plan(image, mask, preset="paper")
        assert found.prior.architecture == architecture
        assert found.prior.code == code
        settings = found.settings
        assert settings.stop == stopping.Iterations(iterations)
        assert (settings.optimizer, settings.learning_rate) == ("adam", rate)
        assert (settings.ema_decay, settings.schedule) == (0, "constant")
        assert found.problem.term == terms.Squared()


def test_the_kind_can_be_told(plan, image, mask):
    assert isinstance(plan(image, mask).prior.code, BlindSpot)
    told = plan(image, mask, kind="hole")
    assert isinstance(told.prior.code, Noise)
    assert told.details["kind"] == "hole"


def test_scales_have_the_weights_of_the_second_paper(plan, image, mask):
    term = plan(image, mask, scales=(4, 1, 2)).problem.term
    assert term == terms.MultiScale((1, 2, 4), (1, 0.5, 0.25))
    assert plan(image, mask).problem.term == terms.Squared()


# -- does it fill in? ---------------------------------------------------------------


def test_random_pixels_of_a_photograph_are_filled_in(random):
    truth = skimage.data.camera()[100:148, 200:248].astype(np.float64)
    mask = random.random(truth.shape) < 0.5
    found = inpaint(truth, mask, iterations=20, device="cpu", precision="float32")
    flat = np.full(truth.shape, truth[~mask].mean())

    def error(filled):
        return np.sqrt(np.mean((filled - truth)[mask] ** 2))

    assert error(found) < 0.35 * error(flat)


def test_it_stops_by_itself(image, mask):
    step = next(iter(iterate("inpaint", image, mask, device="cpu")))
    assert 50 < step.maximum < 1000


@pytest.mark.slow
def test_photon_noise_of_the_known_pixels_is_taken_away_in_bright_places_too(random):
    truth = skimage.data.camera()[60:132, 190:262].astype(np.float64)
    counts = random.poisson(truth / 255 * 30)
    mask = random.random(truth.shape) < 0.2
    fit = inpaint(counts, mask, keep_known=False, full_output=True, iterations=12)
    assert fit.settings["planes"][0]["analysis"]["noise"]["gain"][0] > 0
    error, before = (
        np.sqrt(np.mean((image * 255 / 30 - truth) ** 2))
        for image in (fit.image, counts)
    )
    assert error < 0.5 * before  # 0.85 with the noise of the dark places everywhere


@pytest.mark.parametrize("sigma", [10, 25])
def test_even_noise_of_the_known_pixels_stays_even(sigma, random):
    for truth in (skimage.data.camera(), skimage.data.coins()):
        truth = truth[60:188, 180:308]
        noisy = np.clip(truth + random.normal(0, sigma, truth.shape), 0, 255)
        known = random.random(truth.shape) < 0.6
        values = (noisy / 255).astype(np.float32)
        assert growing_noise(values, known) is None
