"""Noise that grows towards the border is made even before the fit."""

import dataclasses

import numpy as np
import pytest
from skimage import data

from napari_dip import InputError, denoise
from napari_dip.tasks import windows
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.denoise import TASK, DenoiseRecipe, analyse
from napari_dip.tasks.neighbours import guide, stacked
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.tiles import Block
from napari_dip.tasks.unevenness import NUMBERS, Unevenness

SIDES = (192, 240)
RISING = Unevenness(SIDES, (0.2, -0.1), (0.5, 0.1, 0.8))


def whole(sides=SIDES):
    return tuple(slice(0, n) for n in sides)


def places(sides=SIDES):
    y, x = (np.linspace(-1, 1, n) for n in sides)
    return y[:, None], x


def vignetting(corner, sides=SIDES):
    """Return by how much a correction raises all, up to a factor in the corners."""
    y, x = places(sides)
    return 1 + (corner - 1) * (y**2 + x**2) / 2


def analysis_of(channels, **parameters):
    plane = prepare(channels.astype(np.float32), "image")
    sides = channels.shape[1:]
    block = Block.whole(0, (), tuple(range(len(channels))), sides)
    return analyse(DenoiseRecipe(**parameters), plane, block)


@pytest.fixture
def scene():
    return data.camera()[60:252, 120:360].astype(float)


def test_factors_are_one_in_the_middle_and_rise():
    factors = RISING.factors(whole())
    assert factors.min() == pytest.approx(1, abs=1e-3)
    middle = np.unravel_index(factors.argmin(), factors.shape)
    np.testing.assert_allclose(middle, (115, 107.5), atol=1)
    corner = 0.5 * 1.2**2 - 0.1 * 1.2 * 1.1 + 0.8 * 1.1**2
    assert factors[0, -1] == pytest.approx(np.exp(corner), rel=0.02)


def test_the_factors_of_a_tile_are_those_of_the_plane():
    tile = (slice(30, 90), slice(64, 160))
    np.testing.assert_array_equal(RISING.factors(tile), RISING.factors(whole())[tile])


def test_a_plane_that_was_made_even_has_its_units(scene):
    pixels = np.stack([scene, 3 * scene + 7]).astype(np.float32)
    plane = prepare(pixels, "image")
    even = plane.evened(RISING.to_numbers(), [whole()])
    np.testing.assert_allclose(even.to_units(even.values), pixels, rtol=1e-4, atol=1e-2)
    slope = even.to_units(even.values + 0.5) - even.to_units(even.values - 0.5)
    np.testing.assert_allclose(even.growth(even.values), slope, rtol=1e-3)
    part = (slice(30, 90), slice(64, 160))
    np.testing.assert_array_equal(even.cut(part).values, even.values[:, *part])
    np.testing.assert_allclose(
        even.cut(part).to_units(even.values[:, *part]),
        pixels[:, *part],
        rtol=1e-4,
        atol=1e-2,
    )


@pytest.mark.parametrize("corner", [2.4, 3])
@pytest.mark.parametrize("seed", range(3))
def test_noise_after_a_correction_of_vignetting_is_found(scene, corner, seed):
    noise = 8 * np.random.default_rng(seed).normal(size=SIDES)
    found = analysis_of((scene + vignetting(corner) * noise)[None])
    factors = Unevenness.of(found.unevenness).factors(whole())
    true = vignetting(corner)
    # 14 to 26 % at three seeds.
    assert np.abs(factors / factors.mean() * true.mean() / true - 1).max() < 0.4
    level = found.levels[0] ** 0.5 * found.span[0] * factors.mean()
    assert level == pytest.approx(8 * true.mean(), rel=0.15)


@pytest.mark.parametrize("corner", [20, 100, 1000])
def test_the_analysis_of_extreme_noise_can_be_given(scene, random, corner):
    noisy = scene + vignetting(corner) * random.normal(0, 8, SIDES)
    found = analysis_of(noisy[None])
    assert Analysis.from_dict(found.to_dict()) == found


def test_photons_that_were_raised_are_counted_again(random):
    y, x = places()
    scene = 100 + 80 * np.sin(9 * x) * np.cos(7 * y)
    raised = vignetting(2.6)
    found = analysis_of((random.poisson(scene / raised) * raised)[None])
    assert found.noise.kind == "poisson-gaussian"
    factors = Unevenness.of(found.unevenness).factors(whole())
    assert np.abs(factors / factors.mean() * raised.mean() / raised - 1).max() < 0.4
    assert np.asarray(found.noise.gain) * found.span == pytest.approx(1, rel=0.4)


@pytest.mark.parametrize("seed", range(3))
def test_other_noise_is_not_taken_for_it(scene, seed):
    random = np.random.default_rng(seed)
    noise = 8 * random.normal(size=SIDES)
    _, x = places()
    assert not analysis_of((scene + noise)[None]).unevenness
    assert not analysis_of((scene + (1.5 + x) * noise)[None]).unevenness
    assert not analysis_of((scene + noise / vignetting(3))[None]).unevenness
    assert not analysis_of(random.poisson(scene)[None]).unevenness
    small = (slice(60, 120), slice(60, 140))
    assert not analysis_of((scene + vignetting(3) * noise)[None, *small]).unevenness


@pytest.mark.parametrize("texture", [data.grass, data.brick, data.gravel, data.camera])
def test_texture_is_not_taken_for_it(texture):
    for start in (0, 150, 300):
        part = texture()[start : start + 192, start : start + 192]
        assert not analysis_of(part[None]).unevenness


def test_what_the_user_says_of_the_noise_counts(scene, random):
    noisy = (scene + vignetting(2.5) * random.normal(0, 8, SIDES))[None]
    assert len(analysis_of(noisy).unevenness) == NUMBERS
    assert not analysis_of(noisy, sigma=10).unevenness
    assert not analysis_of(noisy, noise="gaussian").unevenness
    assert not analysis_of(noisy, preset="paper").unevenness


@pytest.mark.slow
def test_it_is_removed(random):
    truth = data.cell()[260:356, 200:312].astype(float)
    noise = vignetting(3, truth.shape) * random.normal(0, 8, truth.shape)
    noisy = (truth + noise).astype(np.float32)
    options = {"iterations": 20, "seed": 0, "full_output": True}
    fit, one_level = (denoise(noisy, noise=n, **options) for n in ("auto", "gaussian"))

    def error(image):
        return np.sqrt(np.mean((image - truth) ** 2))

    assert error(fit.image) < 0.75 * error(one_level.image)
    assert fit.settings["planes"][0]["sigma"] == pytest.approx(error(noisy), rel=0.15)
    y, x = places(truth.shape)
    corners = y**2 + x**2 > 1
    # The uncertainty is larger where the noise is.
    assert fit.uncertainty[corners].mean() > 1.3 * fit.uncertainty[~corners].mean()


def test_an_analysis_can_be_given(small_fits, scene, random):
    noisy = (scene + vignetting(2.5) * random.normal(0, 8, SIDES)).astype(np.float32)
    fits = {"iterations": 4, "seed": 0, "precision": "float32", "full_output": True}
    first = denoise(noisy, **fits)
    kept = first.settings["planes"][0]["analysis"]
    assert len(kept["unevenness"]) == NUMBERS
    again = denoise(noisy, analysis=kept, **fits)
    np.testing.assert_array_equal(again.image, first.image)
    assert Analysis.from_dict(kept).to_dict() == kept


def windows_of(plane, side, count, random):
    """Return windows of a plane, (1, N, side, side), and the block that they are."""
    corners = random.integers(0, np.subtract(plane.shape, side - 1), (count, 2))
    places = [tuple(slice(a, a + side) for a in corner) for corner in corners.tolist()]
    pixels = np.stack([plane[place] for place in places])[None]
    return pixels, Block.of_windows((0,), pixels.shape[1:], plane.shape, places)


@pytest.mark.slow
@pytest.mark.parametrize("corner", [1, 3])
def test_windows_tell_it_of_their_plane(corner, random):
    scene = data.camera()[:, ::-1].astype(float)
    raised = vignetting(corner, scene.shape)
    noisy = scene + raised * random.normal(0, 8, scene.shape)
    pixels, block = windows_of(noisy, 128, 24, random)
    plane = prepare(pixels.astype(np.float32), "image")
    found = analyse(DenoiseRecipe(), plane, block)
    if corner == 1:
        assert not found.unevenness
        return
    factors = Unevenness.of(found.unevenness).factors(whole(scene.shape))
    assert np.abs(factors / factors.mean() * raised.mean() / raised - 1).max() < 0.5
    even = plane.evened(found.unevenness, block.places)
    np.testing.assert_array_equal(
        even.unevenness, [factors[place] for place in block.places]
    )
    nowhere = dataclasses.replace(block, windows=())
    assert not analyse(DenoiseRecipe(), plane, nowhere).unevenness


@pytest.mark.slow
def test_it_is_removed_from_planes_that_share_a_network(random, monkeypatch):
    monkeypatch.setattr(windows, "WINDOW_SIDE", 96)
    truth = data.cell()[240:400, 180:356].astype(float)
    noise = vignetting(3, truth.shape) * random.normal(0, 8, (2, *truth.shape))
    noisy = (truth + noise).astype(np.float32)
    options = {"iterations": 40, "seed": 0, "share": "yes", "full_output": True}
    fit, one_level = (
        denoise(noisy, noise=n, neighbours=0, **options) for n in ("auto", "gaussian")
    )
    assert len(fit.settings["planes"][0]["analysis"]["unevenness"]) == NUMBERS
    y, x = places(truth.shape)
    corners = y**2 + x**2 > 1

    def error(image):
        return np.sqrt(np.mean((image - truth)[:, corners] ** 2))

    assert error(fit.image) < 0.8 * error(one_level.image)
    tiled = denoise(noisy, weights=fit.weights, tile=96)
    np.testing.assert_allclose(tiled, fit.image, atol=0.2)
    with pytest.raises(InputError, match="towards the border of planes of 160 x 176"):
        denoise(noisy[:, :, :170], weights=fit.weights)


def test_neighbours_are_made_even_as_well(random):
    stack = random.normal(0, 1, (3, 96, 96)).astype(np.float32)
    job = TASK.job(DenoiseRecipe(), stack)
    known = Analysis.unknown(1)
    uneven = Unevenness((96, 96), (0, 0), (1, 0, 1))
    part = (slice(0, 32), slice(40, 80))
    index = [job.layout.within(next(iter(job.layout.indices())), part)]
    plain = guide(job, known, index, stacked(job, index), 1)
    numbers = dataclasses.replace(known, unevenness=uneven.to_numbers())
    even = guide(job, numbers, index, stacked(job, index), 1)
    np.testing.assert_allclose(even, plain.numpy() / uneven.factors(part), rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        (192.0, 240.0),
        Unevenness((0, 10), (0, 0), (1, 0, 1)).to_numbers(),
        Unevenness(SIDES, (0, 2), (1, 0, 1)).to_numbers(),
        Unevenness(SIDES, (0, 0), (1, 0, -0.1)).to_numbers(),
        Unevenness(SIDES, (0, 0), (1, 3, 1)).to_numbers(),
        Unevenness(SIDES, (0, 0), (9, 0, 9)).to_numbers(),
    ],
)
def test_wrong_numbers_are_named(wrong):
    known = dataclasses.replace(Analysis.unknown(1), unevenness=wrong)
    with pytest.raises(InputError, match="unevenness must be the 7 numbers"):
        Analysis.from_dict(known.to_dict())
