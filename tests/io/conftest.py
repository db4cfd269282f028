"""Every image that a test of this folder reads is also opened without its pixels."""

import numpy as np
import pytest

from napari_dip.io import files


@pytest.fixture(autouse=True)
def same_when_opened(monkeypatch):
    """Compare what `files.read` returns with what `files.open_image` does."""
    read = files.read

    def read_and_open(path, series=None, **options):
        image = read(path, series, **options)
        with monkeypatch.context() as patch:
            patch.setattr(files, "read", read)
            check_opened(files.open_image(path, series, **options), image)
        return image

    monkeypatch.setattr(files, "read", read_and_open)


def check_opened(lazy, image):
    """Check that an image that was opened is one that was read."""
    assert lazy.header == image.header
    assert (lazy.data.shape, lazy.data.dtype) == (image.data.shape, image.data.dtype)
    np.testing.assert_array_equal(np.asarray(lazy.data), image.data)
    corner = tuple(slice(n // 3, n // 3 + 7) for n in image.data.shape)
    part = lazy.data[corner]
    np.testing.assert_array_equal(part, image.data[corner])
    assert part.dtype == image.data.dtype
    assert (lazy.alpha is None) == (image.alpha is None)
    if image.alpha is not None:
        np.testing.assert_array_equal(lazy.alpha, image.alpha)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def numbers(rng, shape, dtype="u2"):
    """Return an array of any numbers of a type."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) > 0.5
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
