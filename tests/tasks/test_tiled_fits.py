"""Planes fitted tile by tile, each task."""

import numpy as np
import pytest
from scipy import ndimage

import napari_dip
from napari_dip import deconvolve, denoise
from napari_dip.errors import InputError
from napari_dip.prior.architecture import Architecture

FIXED = {"device": "cpu", "precision": "float32", "iterations": 2}
PSF = np.outer(*[np.hanning(11)] * 2)


def blobs(*shape, seed=0):
    random = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(random, (6, 6))
    return (100 + 20 * smooth / smooth.std()).astype(np.float32)


def calls():
    """Return every task that can be cut, as a function of an image."""
    mask = np.random.default_rng(1).random((48, 300)) < 0.3
    others = {
        "denoise": {"share": "no"},
        "denoise_guided": {"guide": blobs(48, 300, seed=2)},
        "inpaint": {"mask": mask},
        "remove_artifacts": {},
        "enhance": {},
        "super_resolve": {"factor": 2},
        "deconvolve": {"psf": PSF},
    }
    return [pytest.param(name, more, id=name) for name, more in others.items()]


@pytest.mark.parametrize(("name", "more"), calls())
def test_every_task_that_can_be_cut_is(name, more, changed_presets, few_passes):
    changed_presets(
        architecture=Architecture.uniform(8, 2),
        start_iterations=1,
        coarse_iterations=0,
    )
    image = blobs(48, 300)
    function = getattr(napari_dip, name)
    given = dict(more)
    others = [given.pop(k) for k in ("guide", "mask", "psf") if k in given]
    fit = function(image, *others, tile=192, full_output=True, **given, **FIXED)
    factor = given.get("factor", 1)
    assert len(fit.settings["planes"]) == 2
    assert fit.image.shape == (48 * factor, 300 * factor)
    assert np.isfinite(fit.image).all()
    analyses = [block["analysis"] for block in fit.settings["planes"]]
    assert all(analysis == analyses[0] for analysis in analyses)


@pytest.mark.usefixtures("small_fits")
def test_tiles_are_blended_into_each_other():
    """Tiles side by side, not blended, make a column that is 1.8 +- 0.4 as steep."""
    noisy = blobs(48, 300) + np.random.default_rng(3).normal(0, 8, (48, 300))
    image = denoise(noisy, tile=192, share="no", **{**FIXED, "iterations": 30})
    whole = denoise(noisy, share="no", **{**FIXED, "iterations": 30})
    near = (slice(None), slice(180, 205))
    steepest = [
        np.abs(np.diff(im[near], axis=1)).mean(axis=0).max() for im in (image, whole)
    ]
    assert steepest[0] < 1.15 * steepest[1]  # over seeds: 0.84 +- 0.07


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
