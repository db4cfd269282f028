"""Planes fitted tile by tile, each task."""

import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from scipy import ndimage

import napari_dip
from napari_dip import deconvolve, denoise, remove_artifacts
from napari_dip.errors import InputError
from napari_dip.io.raster import jpeg_tables
from napari_dip.prior import richardson_lucy
from napari_dip.tasks import psf_check, task, tiles
from napari_dip.tasks.deconvolve import TASK
from napari_dip.tasks.planes import Planes
from napari_dip.tasks.result import Result

FIXED = {"device": "cpu", "precision": "float32", "iterations": 2}
PSF = np.outer(*[np.hanning(11)] * 2)


def blobs(*shape, seed=0):
    random = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(random, (6, 6))
    return (100 + 20 * smooth / smooth.std()).astype(np.float32)


def calls():
    """Return every task that can be cut, as a function of an image."""
    mask = np.random.default_rng(1).random((32, 290)) < 0.3
    others = {
        "denoise": {"share": "no"},
        "denoise_guided": {"guide": blobs(32, 290, seed=2)},
        "inpaint": {"mask": mask},
        "remove_artifacts": {},
        "enhance": {},
        "super_resolve": {"factor": 2},
        "deconvolve": {"psf": PSF},
    }
    return [pytest.param(name, more, id=name) for name, more in others.items()]


def fitted(name, more, **options):
    """Return the fit of a task."""
    image, given = blobs(32, 290), dict(more)
    others = [given.pop(k) for k in ("guide", "mask", "psf") if k in given]
    function = getattr(napari_dip, name)
    return function(image, *others, full_output=True, **given, **options, **FIXED)


UNSHARED = [
    pytest.param("denoise", {"noise": "impulse", "share": "yes"}, id="impulse noise")
]


@pytest.mark.parametrize(("name", "more"), calls())
def test_every_task_that_can_be_cut_is(name, more, changed_presets, narrow):
    changed_presets(start_iterations=1)
    fit = fitted(name, more, tile=192)
    factor = more.get("factor", 1)
    assert len(fit.settings["planes"]) == 2
    assert fit.image.shape == (32 * factor, 290 * factor)
    assert np.isfinite(fit.image).all()
    analyses = [block["analysis"] for block in fit.settings["planes"]]
    assert all(analysis == analyses[0] for analysis in analyses)


@pytest.fixture
def cut_early(small_fits, quick_estimates, monkeypatch):
    """Cut planes of more than a few pixels, as others from a megapixel on."""
    monkeypatch.setattr(tiles, "SIDE", 192)
    monkeypatch.setattr(tiles, "WHOLE", 90)


@pytest.mark.slow
@pytest.mark.usefixtures("cut_early")
@pytest.mark.parametrize(("name", "more"), [*calls(), *UNSHARED])
def test_large_planes_are_cut_unless_tiles_would_differ(name, more):
    fit = fitted(name, more)
    # A result that is twice as large has tiles of half the side in the input.
    count = {"enhance": 1, "super_resolve": 3}.get(name, 2)
    assert len(fit.settings["planes"]) == count
    assert len(fitted(name, more, tile=None).settings["planes"]) == 1


@pytest.mark.slow
def test_a_small_plane_that_becomes_large_is_cut(narrow, monkeypatch):
    monkeypatch.setattr(tiles, "SIDE", 384)
    monkeypatch.setattr(tiles, "WHOLE", 192)
    sizes, fits = [], napari_dip.prior.fit.fit

    def noting(problem, *given, **options):
        sizes.append(problem.image_shape[1:])
        return fits(problem, *given, **options)

    monkeypatch.setattr("napari_dip.prior.fit.fit", noting)
    image = blobs(16, 200)
    restored = napari_dip.super_resolve(image, factor=4, **FIXED)
    assert restored.shape == (64, 800)
    assert sizes == [(64, 512), (64, 544)]
    np.testing.assert_allclose(restored.mean(), image.mean(), rtol=0.05)


HOLE = np.zeros((32, 290), bool)
HOLE[2:30, 130:180] = True


@pytest.mark.usefixtures("cut_early")
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("inpaint", {"mask": HOLE}),
        ("deconvolve", {"psf": PSF, "blind": True}),
        ("deconvolve", {"psf": np.outer(np.hanning(31), np.hanning(289))}),
        ("denoise", {"preset": "paper"}),
    ],
)
def test_fits_that_need_the_whole_plane_get_it(name, more, monkeypatch):
    monkeypatch.setattr(task, "WHOLE", 192 + 2 * 32)
    assert len(fitted(name, more).settings["planes"]) == 1


@pytest.mark.usefixtures("cut_early")
def test_a_jpeg_with_its_tables_stays_whole():
    file = io.BytesIO()
    Image.fromarray(blobs(48, 300).astype(np.uint8)).save(file, "JPEG", quality=20)
    with Image.open(file) as opened:
        decoded, (steps,) = np.asarray(opened), jpeg_tables(opened).tables
    fit = napari_dip.remove_artifacts(
        decoded, quantization=steps, full_output=True, **FIXED
    )
    assert len(fit.settings["planes"]) == 1


@pytest.mark.usefixtures("small_fits", "quick_estimates")
def test_a_turned_psf_is_looked_for_once_in_an_image(monkeypatch):
    looked = []
    turned = "the PSF turned by 180 degrees explains the image better"
    monkeypatch.setattr(
        psf_check, "turn_warning", lambda *_: looked.append(1) or turned
    )
    fit = deconvolve(blobs(48, 300), PSF, tile=192, full_output=True, **FIXED)
    assert len(fit.settings["planes"]) == 2
    assert len(looked) == 1
    assert fit.warnings == [turned]


@pytest.mark.usefixtures("quick_estimates")
def test_tiles_of_a_blurred_image_have_its_scale():
    image = blobs(48, 300)
    image[:, 200:] = 100 + 0.1 * (image[:, 200:] - 100)  # what is bright is elsewhere
    recipe = TASK.recipe(tile=192, device="cpu")
    job = TASK.job(recipe, image, PSF)
    planes = Planes(job, recipe)
    begun = planes.begin(0, next(job.layout.indices()), Result(np.empty_like(image)))
    measured = []
    for block, overrides in begun.parts:
        (analysis,) = overrides.analysis
        plane = job.scaled(begun.pixels, block, analysis.scale)
        plan = job.plan(plane, block, analysis, job.preset(analysis))
        measured.append(plan.problem.measurement[0, 0])
    first, last = (block.start[1] for block, _ in begun.parts)
    shared = measured[0].shape[1] - (last - first)
    torch.testing.assert_close(measured[0][:, -shared:], measured[1][:, :shared])


def without_end(blur, measurement, weight, variance, iterations):
    """Estimate by all of the iterations."""
    return richardson_lucy.richardson_lucy(blur, measurement, weight, iterations)


def analysed(image, estimate=richardson_lucy.least_risk, **options):
    """Return the analysis of a blurred plane, and the sizes that were estimated."""
    sizes = []

    def noting(blur, measurement, weight, variance, iterations):
        sizes.append((measurement[0, 0].numel(), iterations))
        # 100 iterations compare parts with the whole as well as 300 do.
        return estimate(blur, measurement, weight, variance, min(iterations, 100))

    recipe = TASK.recipe(device="cpu", **options)
    job = TASK.job(recipe, image, PSF)
    index = next(job.layout.indices())
    pixels = job.pixels(index, job.take(index))
    (block,) = job.blocks(0, index, pixels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(richardson_lucy, "least_risk", noting)
        return job.analyse(job.scaled(pixels, block), block), sizes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "estimate", "rtol"),
    [
        ("blobs", richardson_lucy.least_risk, 0.05),
        ("channels", richardson_lucy.least_risk, 0.05),
        ("beads", without_end, 0.15),
        # How sharp single points become depends on where the iterations end.
        ("beads", richardson_lucy.least_risk, 0.4),
    ],
)
def test_the_scale_of_a_large_blurred_plane_is_found_by_its_parts(
    kind, estimate, rtol, monkeypatch
):
    monkeypatch.setattr("napari_dip.tasks.deconvolve.SAMPLE_SIDE", 48)
    random = np.random.default_rng(0)
    clean = 200 * (blobs(200, 260) > 110)
    if kind == "beads":
        clean = np.zeros((200, 260))
        places = random.integers(0, 200, 650), random.integers(0, 260, 650)
        clean[places] = 20_000 * random.random(650)
    blurred = ndimage.convolve(clean.astype(float), PSF / PSF.sum())
    image = 100 + blurred + random.normal(0, 2, blurred.shape)
    options = {"tile": 192}
    if kind == "channels":
        image = np.stack([image, image + random.normal(0, 2, image.shape)])
        options["channel_axis"] = 0
    part, sizes = analysed(image, estimate, **options)
    whole, whole_sizes = analysed(image, estimate, **{**options, "tile": None})
    np.testing.assert_allclose(part.sharp_span, whole.sharp_span, rtol=rtol)
    assert whole_sizes == [(200 * 260, 300)]
    assert [count for _, count in sizes].count(300) == 8
    assert sum(size for size, count in sizes if count < 300) == 200 * 260
    assert max(sizes)[0] <= (1.5 * 48) ** 2
    same = ("offset", "span", "noise", "levels", "background", "warnings")
    for name in same:
        assert getattr(part, name) == getattr(whole, name)


def test_small_blurred_planes_are_estimated_as_a_whole():
    image = blobs(48, 300)
    tiled, sizes = analysed(image, tile=192)
    assert sizes == [(48 * 300, 300)]
    assert tiled == analysed(image, tile=None)[0]


@pytest.mark.usefixtures("small_fits")
def test_tiles_of_a_file_share_colours_alike():
    photo = np.tile(skimage.data.astronaut()[60:108, 180:280], (1, 3, 1))
    photo[:, 100:] = photo[:, 100:].mean(axis=-1, keepdims=True)
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=20, subsampling="4:4:4")
    opened = Image.open(file)
    steps = sum((tuple(table) for table in opened.quantization.values()), ())
    given = {"quantization": steps, "tile": 192, "full_output": True, **FIXED}
    fit = remove_artifacts(np.asarray(opened), **given)
    assert [p["subsampling"] for p in fit.settings["planes"]] == ["4:4:4"] * 2


@pytest.mark.slow
@pytest.mark.usefixtures("small_fits")
def test_tiles_are_blended_into_each_other():
    """Tiles side by side, not blended, make a column that is 1.8 +- 0.4 as steep."""
    noisy = blobs(48, 300) + np.random.default_rng(3).normal(0, 8, (48, 300))
    image = denoise(noisy, tile=(192, 150), share="no", **{**FIXED, "iterations": 30})
    whole = denoise(noisy, share="no", **{**FIXED, "iterations": 30})
    near = (slice(None), slice(180, 205))
    steepest = [
        np.abs(np.diff(im[near], axis=1)).mean(axis=0).max() for im in (image, whole)
    ]
    assert steepest[0] < 1.15 * steepest[1]  # over seeds: 0.84 +- 0.07


@pytest.mark.usefixtures("small_fits")
@pytest.mark.parametrize("name", ["denoise", "enhance", "inpaint", "super_resolve"])
def test_missing_pixels_of_tiles_are_filled(name):
    image, more = blobs(32, 290), {"denoise": {"share": "no"}}.get(name, {})
    image[3, 7] = image[10:14, 180:190] = np.nan
    arrays = (image, np.zeros(image.shape, bool)) if name == "inpaint" else (image,)
    restored = getattr(napari_dip, name)(*arrays, tile=192, **more, **FIXED)
    assert np.isfinite(restored).all()


def test_a_tile_without_pixels_stays_as_it_was():
    image = blobs(48, 500)
    image[:, 150:] = np.nan
    fit = denoise(image, tile=192, share="no", full_output=True, **FIXED)
    assert "a part of plane 0 came back unchanged: nothing but NaN" in fit.warnings
    assert np.isnan(fit.image[:, 420:]).all()


@pytest.mark.parametrize("boundary", ["periodic"])
def test_what_cannot_be_cut_says_so(boundary):
    with pytest.raises(InputError, match="tile must be auto or None here"):
        deconvolve(blobs(48, 300), PSF, tile=192, boundary=boundary, **FIXED)
