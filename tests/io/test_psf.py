"""Pixel sizes of a PSF and its image."""

import numpy as np
import pytest

from napari_dip.errors import InputError
from napari_dip.io.image import Header
from napari_dip.io.psf import optics_of, size_warning, steps


def header(axes, scale, units):
    shape = (9,) * len(axes)
    return Header("TIFF", shape, np.dtype(np.uint8), axes, scale, units)


def test_steps_are_in_micrometres():
    volume = header("TZYX", (2, 400, 0.1, 1e-4), ("s", "nm", "µm", "mm"))
    assert steps(volume) == pytest.approx({"z": 0.4, "y": 0.1, "x": 0.1})
    assert steps(header("YX", (1, 1), (None, None))) == {}
    assert steps(header("YX", (None, 0.2), (None, "µm"))) == {"x": 0.2}


def test_optics():
    volume = header("ZYX", (0.4, 0.1, 0.1), ("µm",) * 3)
    assert optics_of(volume, "a.tif") == {"pixel_size": 0.1, "z_step": 0.4}
    assert optics_of(header("YX", (1, 1), (None, None)), "a.tif") == {}
    with pytest.raises(InputError, match=r"square; those of a.tif have 0.1 x 0.2"):
        optics_of(header("YX", (0.1, 0.2), ("µm", "µm")), "a.tif")


def test_other_sizes_are_told():
    image = {"z": 0.3, "y": 0.1, "x": 0.1}
    assert size_warning(image, image) is None
    assert size_warning(image, {"y": 0.101, "x": 0.099}) is None
    assert size_warning(image, {}) is None
    text = size_warning(image, {"z": 0.15, "y": 0.1, "x": 0.1})
    assert "0.15 along z, where those of the image have 0.3" in text


def test_step_of_a_plane_is_not_compared():
    def stored(planes):
        distances = (1.0, None, 0.5 if planes > 1 else 1.0, 0.1, 0.1)
        units = ("s", None, "µm", "µm", "µm")
        return Header("", (1, 1, planes, 40, 40), "u1", "TCZYX", distances, units)

    stack, plane = stored(9), stored(1)
    assert steps(plane)["z"] == 1
    assert steps(plane, 2) == {"y": 0.1, "x": 0.1}
    assert steps(stack, 2) == {"z": 0.5, "y": 0.1, "x": 0.1}
    assert size_warning(steps(stack, 2), steps(plane, 2)) is None
