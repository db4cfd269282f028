"""The quality of a JPEG is found again from its pixels."""

import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from napari_dip.io.raster import jpeg_tables
from napari_dip.prior.jpeg_tables import quality_of, standard_tables

PHOTO = np.ascontiguousarray(skimage.data.chelsea()[60:221, 150:315])
GRAY = np.ascontiguousarray(skimage.data.coins()[50:211, 100:265])


def tensor(array):
    array = np.atleast_3d(np.asarray(array, np.float32))
    return torch.from_numpy(array).permute(2, 0, 1)[None].contiguous()


def compressed(image, quality, **parameters):
    """Return a decoded JPEG and the steps of its file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, **parameters)
    with Image.open(file) as opened:
        return np.asarray(opened), sum(jpeg_tables(opened).tables, ())


@pytest.mark.parametrize("quality", [1, 25, 50, 75, 90, 100])
def test_the_tables_are_those_of_the_library(quality):
    _, steps = compressed(PHOTO, quality)
    assert steps == standard_tables(quality)


@pytest.mark.parametrize("quality", [10, 25, 50, 75, 90, 95])
def test_the_quality_is_found(quality):
    for subsampling in (0, 1, 2):
        decoded, _ = compressed(PHOTO, quality, subsampling=subsampling)
        assert quality_of(tensor(decoded)) == quality
    assert quality_of(tensor(compressed(GRAY, quality)[0])) == quality


def test_other_images_have_none():
    decoded, _ = compressed(GRAY, 50)
    noise = np.random.default_rng(0).normal(0, 10, decoded.shape)
    noisy = np.clip(decoded + noise, 0, 255).round()
    larger = Image.fromarray(decoded).resize((200, 210))
    plain, dots = np.full((64, 64), 7), np.zeros((64, 64))
    dots[8::16, 8::16] = 200
    for image in (PHOTO, GRAY, decoded[3:, 5:], noisy, larger, plain, dots):
        assert quality_of(tensor(image)) is None


def test_other_tables_and_steps_of_one_have_none():
    steps = [list(range(9, 73)), [31] * 64]
    for parameters in ({"qtables": steps}, {"quality": 99}):
        parameters = {"quality": 50, **parameters}
        assert quality_of(tensor(compressed(GRAY, **parameters)[0])) is None
