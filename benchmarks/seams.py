"""How far the borders of tiles show, in every task that can be cut.

The seam is the mean step across the borders of tiles over that elsewhere, along both
axes, divided by the same of the plane that was restored as a whole: 1 is none.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import napari_dip
from napari_dip.tasks.tiles import tiles

Array = NDArray[Any]
Case = Callable[[Array, np.random.Generator], tuple[list[Array], dict[str, Any]]]


def _noisy(truth: Array, random: np.random.Generator, sigma: float = 25) -> Array:
    return (truth + random.normal(0, sigma, truth.shape)).astype(np.float32)


def _jpeg(truth: Array) -> Array:
    file = io.BytesIO()
    Image.fromarray(truth.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=10)
    with Image.open(file) as opened:
        return np.asarray(opened)


def _psf() -> Array:
    y, x = np.mgrid[-7:8, -7:8]
    kernel = np.exp(-(x**2 + y**2) / 8)
    return np.asarray(kernel / kernel.sum())


def _deconvolve(
    truth: Array, random: np.random.Generator
) -> tuple[list[Array], dict[str, Any]]:
    blurred = ndimage.convolve(truth.astype(np.float64), _psf())
    return [_noisy(blurred, random, 2), _psf()], {}


def _super_resolve(
    truth: Array, random: np.random.Generator
) -> tuple[list[Array], dict[str, Any]]:
    height, width = (n // 2 for n in truth.shape)
    parts = truth[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    return [parts.mean((1, 3))], {"factor": 2, "operator": "box"}


CASES: dict[str, Case] = {
    "denoise": lambda truth, random: ([_noisy(truth, random)], {"share": "no"}),
    "denoise, shared": lambda truth, random: (
        [_noisy(truth, random)],
        {"share": "yes"},
    ),
    "denoise_guided": lambda truth, random: (
        [_noisy(truth, random), _noisy(truth, random, 5)],
        {},
    ),
    "inpaint": lambda truth, random: ([truth, random.random(truth.shape) < 0.5], {}),
    "remove_artifacts": lambda truth, random: ([_jpeg(truth)], {}),
    "enhance": lambda truth, random: ([truth], {}),
    "deconvolve": _deconvolve,
    "super_resolve": _super_resolve,
}
"""For every task its arrays and parameters, made of a plane without noise."""


def measure(name: str, truth: Array, tile: int, **more: Any) -> dict[str, Any]:
    """Return how far the borders show in the result of a task."""
    arrays, parameters = CASES[name](truth, np.random.default_rng(0))
    function = getattr(napari_dip, name.split(",")[0])
    images, seconds = [], []
    for chosen in (tile, None):
        before = time.perf_counter()
        images.append(function(*arrays, tile=chosen, **parameters, **more))
        seconds.append(time.perf_counter() - before)
    factor = parameters.get("factor", 1)
    both = seams(images[0], images[1], arrays[0].shape, tile, factor)
    return {
        "task": name,
        "megapixels": images[0].size / 1e6,
        "tile": tile,
        "seconds": seconds[0],
        "seconds whole": seconds[1],
        "seam y": both[0],
        "seam x": both[1],
    }


def seams(
    image: Array, whole: Array, sides: tuple[int, ...], tile: int, factor: int = 1
) -> list[float | None]:
    """Return how much steeper the borders of tiles are, along either axis.

    None where there are none.
    """
    cores = [one.core for one in tiles(sides, (tile, tile))]
    found: list[float | None] = []
    for axis in (0, 1):
        starts = {factor * core[axis].start for core in cores} - {0}
        if not starts:
            found.append(None)
            continue
        borders = np.array(sorted(starts)) - 1
        ratios = []
        for part in (image, whole):
            steps = np.abs(np.diff(np.asarray(part, np.float64), axis=axis))
            across = steps.take(borders, axis).mean()
            ratios.append(across / np.delete(steps, borders, axis).mean())
        found.append(float(ratios[0] / ratios[1]))
    return found
