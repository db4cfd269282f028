"""Images to try each task on: for File > Open Sample.

Photographs come with scikit-image; all other images are drawn here.  Nothing is
downloaded, and the noise is the same every time.  The image to restore is the last
layer, which napari selects; the first is the one that the view is fitted to.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, signal, special
from skimage.measure import block_reduce

from napari_dip.io.image import JpegTables
from napari_dip.io.raster import jpeg_tables
from napari_dip.tasks.microscope_psf import microscope_psf
from napari_dip.widgets.readers import JPEG_KEY, LayerData

Array = NDArray[Any]

PIXEL = 0.1
"""Side of a pixel of the simulated microscope, in micrometres."""

OFFSET, GAIN, READ_NOISE = 100, 2.0, 1.5
"""The camera of that microscope: dark counts, counts per photon, noise in photons."""

_MICROSCOPE: dict[str, Any] = {
    "scale": (PIXEL, PIXEL),
    "units": ("µm", "µm"),
    "axis_labels": ("y", "x"),
}


def noisy_fluorescence() -> list[LayerData]:
    """Return filaments without noise, hidden, and the same filaments in few photons."""
    rng = np.random.default_rng(0)
    photons = 2 + 15 * _filaments(256, rng)
    clean = (OFFSET + GAIN * photons).astype(np.float32)
    limits = {"contrast_limits": (OFFSET - 5, float(clean.max()))}
    hidden = {"name": "Filaments, no noise", "visible": False}
    return [
        (clean, hidden | limits | _MICROSCOPE, "image"),
        (_camera(photons, rng), {"name": "Filaments"} | limits | _MICROSCOPE, "image"),
    ]


def scratched_photo() -> list[LayerData]:
    """Return a portrait with scratches and dust, and labels that mark them."""
    from skimage.data import astronaut

    rng = np.random.default_rng(0)
    photo: Array = astronaut()[:256, 96:352].copy()
    mask = _scratches(256, rng)
    photo[mask] = (235, 230, 220)
    return [
        (photo, {"name": "Scratched portrait", "rgb": True}, "image"),
        (mask.astype(np.uint8), {"name": "Scratches", "opacity": 0.5}, "labels"),
    ]


def low_resolution_photo() -> list[LayerData]:
    """Return a cat in a third of the pixels that the photograph had."""
    from skimage.data import chelsea

    photo = _smaller(chelsea()[:300, :450], 3)
    return [(photo, {"name": "Cat, 150 x 100 pixels", "rgb": True}, "image")]


def jpeg_drawing() -> list[LayerData]:
    """Return a drawing that a JPEG of quality 10 has damaged."""
    from skimage.data import logo

    drawing: Array = logo().astype(np.float64)
    opacity = drawing[..., 3:] / 255
    white = drawing[..., :3] * opacity + 255 * (1 - opacity)
    damaged, tables = _through_jpeg(_smaller(white[:500, :500], 2), 10)
    metadata = {JPEG_KEY: tables}
    attributes = {"name": "Drawing, JPEG", "rgb": True, "metadata": metadata}
    return [(damaged, attributes, "image")]


def dim_and_bright() -> list[LayerData]:
    """Return a scene with a flash, hidden, and the same scene in dim light, noisy."""
    from skimage.data import coffee

    rng = np.random.default_rng(0)
    scene = _smaller(coffee()[:, 100:500], 2) / 255
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    lamp = np.clip(0.75 - 0.35 * x, 0, 1)[..., None] * (1.0, 0.82, 0.6)
    flash = np.exp(-0.5 * (x**2 + (y - 0.2) ** 2))[..., None] * (0.95, 1.0, 1.0)
    dim = rng.poisson(25 * scene * lamp) / 25 + rng.normal(0, 0.04, scene.shape)
    return [
        (
            _bytes(scene * flash),
            {"name": "Coffee, flash", "rgb": True, "visible": False},
            "image",
        ),
        (_bytes(dim), {"name": "Coffee, dim light", "rgb": True}, "image"),
    ]


def blurred_beads() -> list[LayerData]:
    """Return beads that are closer than a microscope resolves, and its PSF beside."""
    rng = np.random.default_rng(0)
    beads = np.zeros((256, 256))
    centres = rng.integers(12, 244, (70, 2))
    # One to four beads in each place, closer than the microscope resolves.
    for centre in centres:
        for _ in range(rng.integers(1, 5)):
            y, x = centre + rng.integers(-4, 5, 2)
            beads[y, x] += rng.uniform(2000, 6000)
    psf = microscope_psf(
        (31, 31), numerical_aperture=0.8, wavelength=520, pixel_size=PIXEL / 2
    )
    photons = np.clip(signal.fftconvolve(beads, psf, mode="same"), 0, None) + 5
    grid = {**_MICROSCOPE, "scale": (PIXEL / 2, PIXEL / 2)}
    beside = {"name": "PSF", "translate": (0, 260 * PIXEL / 2)}
    return [
        (rng.poisson(photons).astype(np.uint16), {"name": "Beads"} | grid, "image"),
        # The last one, or the view would be fitted to it.
        (psf, beside | grid, "image"),
    ]


def blend_pair() -> list[LayerData]:
    """Return galaxies, a rocket to put among them, and labels that cut it out."""
    from skimage.data import hubble_deep_field, rocket

    space = _smaller(hubble_deep_field()[200:712, 200:712], 2)
    start: Array = rocket()[90:346, 190:446]
    y, x = np.mgrid[:256, :256]
    mask = (np.abs(x - 127) < 24) & (y > 20) & (y < 250)
    return [
        (space, {"name": "Galaxies (background)", "rgb": True}, "image"),
        (start, {"name": "Rocket (foreground)", "rgb": True}, "image"),
        (mask.astype(np.uint8), {"name": "Cut out", "opacity": 0.4}, "labels"),
    ]


def noisy_volume() -> list[LayerData]:
    """Return nuclei in three dimensions, as a confocal microscope records them."""
    rng = np.random.default_rng(0)
    shape, steps = (20, 96, 96), np.array([0.3, PIXEL, PIXEL])
    places = np.moveaxis(np.indices(shape), 0, -1) * steps
    grain = ndimage.gaussian_filter(rng.normal(size=shape), (1, 3, 3))
    photons = np.zeros(shape)
    for _ in range(9):
        centre = rng.uniform((1, 1, 1), (5, 8.6, 8.6))
        radii = rng.uniform(1.1, 1.9, 3) * (1.2, 1, 1)
        distance = np.sqrt((((places - centre) / radii) ** 2).sum(-1))
        inside = special.expit((1 - distance) * 12) * rng.uniform(12, 25)
        photons = np.maximum(photons, inside * (1 + 0.35 * grain / grain.std()))
    blurred = ndimage.gaussian_filter(np.clip(photons, 0, None), (1.3, 1.5, 1.5)) + 1
    attributes = {
        "name": "Nuclei",
        "scale": tuple(steps),
        "units": ("µm",) * 3,
        "axis_labels": ("z", "y", "x"),
    }
    return [(_camera(blurred, rng), attributes, "image")]


def time_series() -> list[LayerData]:
    """Return vesicles that move along filaments, twelve frames of few photons."""
    rng = np.random.default_rng(0)
    frames, side, count = 12, 160, 40
    still = _filaments(side, rng)
    place = rng.uniform(10, side - 10, (count, 2))
    speed = rng.normal(0, 1.6, (count, 2))
    light = rng.uniform(60, 160, count)
    photons = np.empty((frames, side, side))
    for frame in photons:
        dots = _scatter(side, place, light)
        frame[:] = 2 + 10 * still + ndimage.gaussian_filter(dots, 1.4)
        place = place + speed + rng.normal(0, 0.3, place.shape)
    attributes = {
        "name": "Vesicles",
        "scale": (0.5, PIXEL, PIXEL),
        "units": ("s", "µm", "µm"),
        "axis_labels": ("t", "y", "x"),
    }
    return [(_camera(photons, rng), attributes, "image")]


# -- drawing ------------------------------------------------------------------------


def _filaments(side: int, rng: np.random.Generator) -> Array:
    """Draw winding filaments around a few centres, with values from 0 to about 1."""
    centres = rng.uniform(0.15 * side, 0.85 * side, (4, 2))
    walks = []
    for _ in range(side // 3):
        angle = rng.uniform(0, 2 * np.pi)
        start = centres[rng.integers(4)] + rng.normal(0, side / 20, 2)
        turns = np.cumsum(rng.normal(0, 0.06, 2 * side))
        steps = np.stack([np.sin(angle + turns), np.cos(angle + turns)], 1) / 2
        walks.append(start + np.cumsum(steps, 0)[: rng.integers(side // 2, 2 * side)])
    places = np.concatenate(walks)
    image = _scatter(side, places, np.ones(len(places)))
    sharp = ndimage.gaussian_filter(image, 1.2)
    haze = ndimage.gaussian_filter(image, side / 16)
    drawn: Array = sharp / np.percentile(sharp, 99.5) + 0.3 * haze / haze.max()
    return drawn


def _scatter(side: int, places: Array, weights: Array) -> Array:
    """Distribute the weight of each place over the four pixels around it."""
    image = np.zeros((side, side))
    whole = np.floor(places).astype(int)
    fraction = places - whole
    for dy, dx in np.ndindex(2, 2):
        y, x = whole[:, 0] + dy, whole[:, 1] + dx
        share = np.abs(1 - dy - fraction[:, 0]) * np.abs(1 - dx - fraction[:, 1])
        within = (y >= 0) & (y < side) & (x >= 0) & (x < side)
        np.add.at(image, (y[within], x[within]), (weights * share)[within])
    return image


def _scratches(side: int, rng: np.random.Generator) -> Array:
    """Return a mask of scratches, most of them vertical, and dust."""
    mask = np.zeros((side, side), bool)
    y = np.arange(side)
    for _ in range(7):
        bend = np.cumsum(rng.normal(0, 0.25, side))
        x = rng.uniform(0, side) + rng.normal(0, 0.25) * y + bend
        for shift in range(rng.integers(1, 4)):
            column = np.rint(x + shift).astype(int)
            within = (column >= 0) & (column < side)
            mask[y[within], column[within]] = True
    across = np.rint(120 + 0.15 * y + np.cumsum(rng.normal(0, 0.2, side))).astype(int)
    mask[across, y] = mask[across + 1, y] = True
    down, along = np.mgrid[:side, :side]
    for _ in range(25):
        centre, radius = rng.uniform(0, side, 2), rng.uniform(1, 3.5)
        mask |= np.hypot(down - centre[0], along - centre[1]) < radius
    return mask


def _camera(photons: Array, rng: np.random.Generator) -> Array:
    """Record expected photons: shot noise, read noise, gain and offset."""
    seen = rng.poisson(photons) + rng.normal(0, READ_NOISE, photons.shape)
    return np.clip(np.rint(OFFSET + GAIN * seen), 0, 65535).astype(np.uint16)


def _smaller(photo: Array, factor: int) -> Array:
    """Average squares of pixels, as a camera with larger pixels does."""
    return _bytes(block_reduce(photo, (factor, factor, 1), np.mean) / 255)


def _bytes(values: Array) -> Array:
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def _through_jpeg(photo: Array, quality: int) -> tuple[Array, JpegTables | None]:
    """Return an image after JPEG compression, and its quantisation tables."""
    file = BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image), jpeg_tables(image)
