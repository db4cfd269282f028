"""Dense spots are no correlated noise, and correlated noise is no structure."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import data, io

from napari_dip import denoise
from napari_dip.tasks.denoise import DenoiseRecipe, analyse
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.tiles import Block
from napari_dip.tasks.white_floor import has_white_floor


def molecules(side, density, width, seed=0):
    """Return photons of molecules at random places, on a background of ten."""
    random, fine = np.random.default_rng(seed), 5
    image = np.zeros((side * fine, side * fine))
    places = random.integers(0, side * fine, (2, int(density * side**2)))
    np.add.at(image, tuple(places), random.uniform(200, 1000, places.shape[1]))
    image = ndimage.gaussian_filter(image, width * fine, mode="wrap")
    return image.reshape(side, fine, side, fine).sum(axis=(1, 3)) + 10


def recorded(photons, seed=1):
    random = np.random.default_rng(seed)
    read = random.normal(0, 2, photons.shape)
    return (2 * random.poisson(photons) + 100 + read).astype(np.float32)


def correlated(image):
    plane = prepare(image[None].astype(np.float32), "image")
    block = Block(0, (), (0,), (0, 0), image.shape, ())
    return analyse(DenoiseRecipe(), plane, block).correlated


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("density", [0.02, 0.06, 0.3])
@pytest.mark.parametrize("width", [1.0, 1.3, 2.0])
def test_dense_spots_are_no_correlated_noise(side, density, width):
    assert not correlated(recorded(molecules(side, density, width)))


@pytest.mark.parametrize("blur", [0.6, 1.0, 1.5])
@pytest.mark.parametrize("rounded", [False, True])
def test_blurred_noise_stays_correlated_also_on_spots(blur, rounded):
    noise = np.random.default_rng(2).normal(0, 1, (160, 160))
    noise = ndimage.gaussian_filter(noise, blur, mode="wrap")
    image = molecules(160, 0.003, 1.3) + 40 * noise / noise.std()
    assert correlated(np.rint(image) if rounded else image)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("peak", [10, 100])
def test_photons_of_bright_things_on_black_are_no_correlated_noise(seed, peak):
    random = np.random.default_rng(seed)
    things = np.zeros((128, 128))
    things[tuple(random.integers(0, 128, (2, 40)))] = 1
    things = ndimage.gaussian_filter(things, 3)
    smooth = np.clip(things / things.max() - 0.15, 0, 0.4)
    values = random.poisson(peak * smooth / smooth.max())[None].astype(float)
    assert has_white_floor(values, np.ones(values.shape, bool))


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [3, 10])
@pytest.mark.parametrize("side", [48, 64])
def test_white_noise_on_few_pixels_is_hardly_ever_taken_for_correlated(side, sigma):
    for seed in range(100):
        random = np.random.default_rng(seed)
        smooth = ndimage.gaussian_filter(random.random((side, side)), 3)
        scene = 100 * (smooth - smooth.min()) / np.ptp(smooth)
        assert not correlated(scene + random.normal(0, sigma, scene.shape))


def test_weak_noise_on_few_cells_is_not_correlated():
    # Every block of 16 pixels holds some outline of a cell.
    for seed in (1, 24):
        random = np.random.default_rng(seed)
        y, x = np.mgrid[:64, :64]
        cells = np.zeros((64, 64))
        for _ in range(10):
            centre = random.uniform(0, 64, 2)
            inside = np.hypot(y - centre[0], x - centre[1]) < random.uniform(4, 9)
            cells = np.maximum(cells, random.uniform(0.3, 1) * inside)
        cells = ndimage.gaussian_filter(cells, 0.8)
        noise = np.random.default_rng(seed).normal(0, 1, cells.shape)
        assert not correlated(cells + 0.01 * noise)


@pytest.mark.parametrize("kind", ["blurred", "interpolated"])
def test_correlated_noise_is_found_on_few_pixels(kind):
    cross = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
    every_other = np.indices((64, 64)).sum(axis=0) % 2 == 0
    for seed in range(25):
        random = np.random.default_rng(seed)
        smooth = ndimage.gaussian_filter(random.random((64, 64)), 3)
        scene = 100 * (smooth - smooth.min()) / np.ptp(smooth)
        noise = random.normal(0, 10, scene.shape)
        if kind == "blurred":
            noise = ndimage.gaussian_filter(noise, 0.7)
        else:
            noise = ndimage.convolve(noise * every_other, cross)
        assert correlated(scene + noise)


def test_photons_of_few_cells_on_black_are_no_correlated_noise():
    wrong = 0
    for seed in range(25):
        random = np.random.default_rng(seed)
        y, x = np.mgrid[:48, :48]
        cells = np.zeros((48, 48))
        for centre in random.uniform(0, 48, (5, 2)):
            inside = np.hypot(y - centre[0], x - centre[1]) < random.uniform(4, 9)
            cells = np.maximum(cells, random.uniform(0.3, 1) * inside)
        photons = 300 * ndimage.gaussian_filter(cells, 0.8)
        wrong += correlated(random.poisson(photons))
    assert wrong < 8  # without blocks that are partly constant: 15


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("side", [64, 96, 128, 256])
def test_a_slight_blur_is_seen_in_few_blocks_too(side, seed):
    noise = np.random.default_rng(seed).normal(0, 1, (side, side))
    for blur, expected in ((0, True), (0.5, False)):
        values = ndimage.gaussian_filter(noise, blur)[None].astype(np.float32)
        assert has_white_floor(values, np.ones(values.shape, bool)) is expected


@pytest.mark.parametrize("side", [64, 96, 128, 192, 256])
def test_noise_of_a_colour_camera_is_correlated_in_every_cut(side, shared_data):
    noisy = io.imread(shared_data / "fmd" / "WF_BPAE_rgb_noisy.png")
    top, left = ((n - side) // 2 for n in noisy.shape[:2])
    for channel in np.moveaxis(noisy, -1, 0):
        assert correlated(channel[top : top + side, left : left + side])


@pytest.mark.parametrize("smooth", [ndimage.median_filter, ndimage.uniform_filter])
@pytest.mark.parametrize("scene", [data.camera, data.cell])
@pytest.mark.parametrize("sigma", [8, 20])
def test_noise_after_a_filter_of_neighbours_is_correlated(scene, smooth, sigma):
    # ImageJ's "Smooth" and "Despeckle", whose noise has power at the finest detail.
    image = scene()[200:392, 200:392].astype(float)
    noisy = image + np.random.default_rng(0).normal(0, sigma, image.shape)
    assert not correlated(noisy)
    assert correlated(smooth(noisy, 3))


@pytest.mark.slow
def test_smoothed_noise_is_removed():
    image = ndimage.median_filter(data.camera()[200:328, 200:328].astype(float), 3)
    noise = np.random.default_rng(0).normal(0, 20, image.shape)
    noisy = ndimage.median_filter(image + noise, 3)
    restored = denoise(noisy.astype(np.float32), seed=0, iterations=60)
    before, after = (float(np.std(each - image)) for each in (noisy, restored))
    assert after < 0.85 * before  # as white noise: 0.95


def test_noise_along_rows_stays_correlated():
    noise = np.random.default_rng(2).normal(0, 1, (160, 160))
    noise = ndimage.gaussian_filter1d(noise, 1.0, axis=1, mode="wrap")
    assert correlated(100 + 20 * noise / noise.std())


def test_dense_spots_lose_noise_and_nothing_else():
    photons = molecules(64, 0.06, 1.3)
    image, truth = recorded(photons), 2 * photons + 100
    before, after = (
        float(np.sqrt(np.mean((each - truth) ** 2)))
        for each in (image, denoise(image, seed=0, iterations=12))
    )
    assert after < 0.8 * before
