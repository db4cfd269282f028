"""Arrays that are read piece by piece give what the same arrays in memory give."""

import numpy as np
import pytest
import tifffile

from napari_dip import blend, deconvolve, denoise, denoise_guided, inpaint
from napari_dip.errors import FileError, InputError
from napari_dip.io import files
from napari_dip.io.regions import Regions
from napari_dip.tasks import run

pytestmark = pytest.mark.usefixtures("small_fits")

SHORT = {"iterations": 1, "precision": "float32", "seed": 0}

rng = np.random.default_rng(0)
Y, X = np.mgrid[:32, :40]
GRAY = (100 + 50 * np.sin(X / 4) * np.cos(Y / 5) + rng.normal(0, 9, X.shape)).astype(
    "f4"
)
COLOURS = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1)
STACK = np.stack([GRAY, GRAY[::-1]])
MASK = (X > 9) & (X < 13)


def opened(array, tmp_path):
    """Return an array as a file gives it by regions."""
    path = tmp_path / f"{abs(hash(array.tobytes()))}.tif"
    tifffile.imwrite(path, array, photometric="minisblack", tile=(16, 16))
    pixels = files.open_image(path).data
    assert isinstance(pixels, Regions)
    return pixels


@pytest.fixture(params=["dask", "zarr", "file"])
def lazy(request, tmp_path):
    """Return a function that makes a lazy array of one of NumPy."""
    if request.param == "file":
        return lambda array: opened(array, tmp_path)
    if request.param == "zarr":
        zarr = pytest.importorskip("zarr")
        sides = 16
        return lambda array: zarr.array(array, chunks=(sides,) * array.ndim)
    dask = pytest.importorskip("dask.array")
    return lambda array: dask.from_array(array, chunks=7)


@pytest.mark.parametrize(
    ("image", "axis"), [(COLOURS, "auto"), (np.moveaxis(COLOURS, 2, 0), 0)]
)
def test_channels(lazy, image, axis):
    expected = denoise(image, channel_axis=axis, **SHORT)
    result = denoise(lazy(image), channel_axis=axis, **SHORT)
    np.testing.assert_array_equal(result, expected)


def test_missing_pixels_and_planes(lazy):
    image = np.stack([GRAY, GRAY * np.nan, GRAY])
    image[0, 3:7, 5:9] = np.nan
    expected = denoise(image, **SHORT)
    np.testing.assert_array_equal(denoise(lazy(image), **SHORT), expected)


def test_mask(lazy):
    mask = MASK.astype("u1")
    expected = inpaint(GRAY, mask, **SHORT)
    result = inpaint(lazy(GRAY), lazy(mask), **SHORT)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (denoise_guided, (GRAY, COLOURS)),
        (deconvolve, (GRAY, np.outer([1, 2, 1], [1, 2, 1]).astype("f4"))),
        (blend, (GRAY, GRAY[::-1].copy(), MASK)),
    ],
)
def test_guide_psf_and_foreground(function, arrays):
    dask = pytest.importorskip("dask.array")
    expected = function(*arrays, **SHORT)
    result = function(*(dask.from_array(a, chunks=7) for a in arrays), **SHORT)
    np.testing.assert_array_equal(result, expected)


def test_type_of_the_input(lazy):
    image = GRAY.astype("u2")
    expected = denoise(image, dtype="input", **SHORT)
    result = denoise(lazy(image), dtype="input", **SHORT)
    assert result.dtype == "u2"
    np.testing.assert_array_equal(result, expected)


class Broken:
    """An array whose chunks cannot be computed."""

    shape, dtype, ndim = GRAY.shape, GRAY.dtype, 2

    def __getitem__(self, index):
        raise OSError("lost\nfor ever")


@pytest.mark.parametrize("name", ["image", "mask", "guide"])
def test_array_that_cannot_be_computed_is_named(name):
    calls = {
        "image": lambda: denoise(Broken(), **SHORT),
        "mask": lambda: inpaint(GRAY, Broken(), **SHORT),
        "guide": lambda: denoise_guided(GRAY, Broken(), **SHORT),
    }
    with pytest.raises(InputError, match=f"^{name} cannot be read .* OSError: lost$"):
        calls[name]()


def test_dask_that_fails_while_it_computes():
    dask = pytest.importorskip("dask.array")

    def fail(block):
        raise ValueError("no such chunk")

    lazy = dask.from_array(GRAY).map_blocks(fail, meta=np.empty((0, 0), "f4"))
    with pytest.raises(InputError, match=r"image cannot be read .*: no such chunk"):
        denoise(lazy, **SHORT)


def test_file_that_is_damaged_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GRAY, tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        start = tif.pages[0].dataoffsets[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[start : start + 50] = bytes(50)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(FileError, match=r"^a\.tif cannot be read"):
        denoise(files.open_image(tmp_path / "a.tif").data, **SHORT)


@pytest.mark.usefixtures("small_windows")
def test_a_plane_that_is_too_large_in_float64_is_not_read_as_a_whole(monkeypatch):
    class Lazy:
        shape, ndim, dtype = (2, 64, 600), 3, np.dtype(np.uint8)

        def __getitem__(self, index):
            part = data[index]
            sizes.append(part.size)
            return part

    sizes = []
    data = rng.normal(100, 9, Lazy.shape).round().astype(np.uint8)
    # The array would fit, but not 32 bytes for every pixel of a plane.
    monkeypatch.setattr(run, "free_memory", lambda: 2 * data.size)
    denoise(Lazy(), share="yes", tile=192, **SHORT)
    assert max(sizes) < data[0].size
