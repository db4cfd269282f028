"""Samples open in the viewer, from nothing but what is installed, always the same."""

import socket
import time

import napari
import numpy as np
import pytest
from npe2 import PluginManager
from scipy import ndimage
from skimage.restoration import richardson_lucy

from napari_dip.widgets import samples
from napari_dip.widgets.readers import JPEG_KEY

KINDS = {
    "noisy_fluorescence": ["Image", "Image"],
    "scratched_photo": ["Image", "Labels"],
    "low_resolution_photo": ["Image"],
    "jpeg_drawing": ["Image"],
    "dim_and_bright": ["Image", "Image"],
    "blurred_beads": ["Image", "Image"],
    "blend_pair": ["Image", "Image", "Labels"],
    "noisy_volume": ["Image"],
    "time_series": ["Image"],
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_):
        raise AssertionError("a sample asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def layers(key):
    return [napari.layers.Layer.create(*layer) for layer in getattr(samples, key)()]


@pytest.mark.gui
def test_all_open_in_the_viewer(empty_viewer):
    declared = dict(PluginManager.instance().iter_sample_data())["napari-dip"]
    assert [sample.key for sample in declared] == list(KINDS)
    for key, kinds in KINDS.items():
        opened = empty_viewer.open_sample("napari-dip", key)
        assert [type(layer).__name__ for layer in opened] == kinds
        images = [layer for layer in opened if isinstance(layer, napari.layers.Image)]
        assert images[-1].visible
        empty_viewer.layers.clear()


@pytest.mark.parametrize("key", KINDS)
def test_small_quick_and_always_the_same(key):
    start = time.process_time()
    first = getattr(samples, key)()
    assert time.process_time() - start < 2  # a fifth of a second where nothing is slow
    assert sum(data.nbytes for data, _, _ in first) < 2**20
    for (data, _, _), (again, _, _) in zip(first, getattr(samples, key)(), strict=True):
        np.testing.assert_array_equal(data, again)


def test_noisy_and_clean_are_one_image():
    clean, noisy = (layer.data.astype(float) for layer in layers("noisy_fluorescence"))
    photons = (clean - samples.OFFSET) / samples.GAIN
    expected = samples.GAIN * np.sqrt(photons + samples.READ_NOISE**2)
    away = (noisy - clean) / expected
    assert abs(away.mean()) < 0.02
    assert away.std() == pytest.approx(1, abs=0.03)


def test_scratches_are_where_the_labels_say():
    photo, mask = layers("scratched_photo")
    damaged = (photo.data == (235, 230, 220)).all(-1)
    assert damaged[mask.data > 0].all()
    assert not damaged[mask.data == 0].any()
    assert 0.02 < (mask.data > 0).mean() < 0.15


def test_drawing_carries_the_tables_of_its_jpeg():
    (drawing,) = layers("jpeg_drawing")
    tables = drawing.metadata[JPEG_KEY]
    assert tables.tables[0][0] == 80  # five times the 16 of quality 50
    assert tables.subsampling == "4:2:0"


def test_flash_is_bright_and_calm():
    bright, dim = (layer.data.astype(float) for layer in layers("dim_and_bright"))

    def noise(image):
        return np.median(np.abs(image - ndimage.median_filter(image, (3, 3, 1))))

    assert bright.mean() > dim.mean()
    assert noise(dim) > 3 * noise(bright)


def test_beads_are_blurred_by_the_psf():
    beads, psf = layers("blurred_beads")
    assert psf.data.sum() == pytest.approx(1)
    assert np.unravel_index(psf.data.argmax(), psf.data.shape) == (15, 15)
    np.testing.assert_allclose(psf.data, psf.data[::-1, ::-1])
    sharp = richardson_lucy(beads.data / 1.0, psf.data, num_iter=30, clip=False)

    def share(image):
        """Light in the brightest pixels, as many as half a percent."""
        return np.sort(image.ravel())[-image.size // 200 :].sum() / image.sum()

    assert share(sharp) > 2 * share(beads.data)
    assert beads.scale.tolist() == psf.scale.tolist() == [0.05, 0.05]


def test_volume_and_series_are_placed():
    (volume,), (series,) = layers("noisy_volume"), layers("time_series")
    assert (volume.ndim, volume.axis_labels) == (3, ("z", "y", "x"))
    assert [str(unit) for unit in volume.units] == ["micrometer"] * 3
    assert (series.ndim, series.axis_labels) == (3, ("t", "y", "x"))
    assert str(series.units[0]) == "second"
