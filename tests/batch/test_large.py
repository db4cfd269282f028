"""Files that are read and written region by region."""

import numpy as np
import pytest
import tifffile

from napari_dip.batch.file_run import FileRun
from napari_dip.errors import FileError
from napari_dip.io import files, provenance
from napari_dip.tasks.finishing import Finish
from napari_dip.tasks.run import get
from tests.slow import slow_but

QUICK = {"device": "cpu", "precision": "float32", "iterations": 3}


def restored(tmp_path, name, values, task="denoise", **more):
    target = tmp_path / name
    sources, spread = {"image": more["source"]}, more.get("uncertainty")
    run = FileRun(get(task), {**QUICK, **values}, sources, target, uncertainty=spread)
    result = run.run(lambda it: False, warnings.append)
    return files.read(target), result


warnings: list[str] = []


@pytest.fixture
def source(tmp_path, small_fits, small_windows):
    y, x = np.mgrid[:48, :300]
    clean = 1000 + 300 * np.sin(x / 9) * np.cos(y / 7)
    noisy = np.random.default_rng(0).poisson(np.stack([clean, clean[::-1]]))
    path = tmp_path / "stack.ome.tif"
    tifffile.imwrite(path, noisy.astype(np.uint16), metadata={"axes": "ZYX"})
    return path


@pytest.mark.parametrize(
    ("share", "ending", "dtype"),
    [
        ("yes", ".ome.tif", "float32"),
        ("no", ".ome.zarr", "float32"),
        *slow_but([("yes", ".ome.zarr", "input"), ("no", ".ome.tif", "input")]),
    ],
)
def test_the_result_is_that_of_the_whole(
    tmp_path, source, monkeypatch, share, ending, dtype
):
    if ending == ".ome.zarr":
        pytest.importorskip("zarr")
    values = {"share": share, "tile": 192, "dtype": dtype}
    whole, _ = restored(tmp_path, f"whole{ending}", values, source=source)
    monkeypatch.setattr(files, "_LARGE", 0)
    opened = []
    monkeypatch.setattr(
        files,
        "open_image",
        lambda path, series=None, _open=files.open_image, **more: (
            opened.append(path) or _open(path, series, **more)
        ),
    )
    parts, result = restored(tmp_path, f"parts{ending}", values, source=source)
    assert opened == [source]
    np.testing.assert_array_equal(parts.data, whole.data)
    assert parts.header.dtype == whole.header.dtype
    assert parts.header.axes == whole.header.axes
    assert parts.header.provenance["recipe"]["share"] == share
    assert result.facts["shape"] == [2, 48, 300]


@pytest.mark.parametrize("large", [False, True])
def test_a_file_that_cannot_be_hashed_costs_no_fit(
    tmp_path, source, monkeypatch, large
):
    def fail(array):
        raise FileError("stack.ome.tif cannot be read")

    monkeypatch.setattr(provenance, "digest", fail)
    if large:
        monkeypatch.setattr(files, "_LARGE", 0)
    run = FileRun(get("denoise"), QUICK, {"image": source}, tmp_path / "out.ome.tif")
    iterates = []
    with pytest.raises(FileError, match="cannot be read"):
        run.run(iterates.append, warnings.append)
    assert iterates == []
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "ending"), [("yes", ".ome.tif"), ("no", ".ome.zarr")]
)
def test_the_uncertainty_is_that_of_the_whole(
    tmp_path, source, monkeypatch, changed_presets, few_passes, share, ending
):
    if ending == ".ome.zarr":
        pytest.importorskip("zarr")
    changed_presets(finish=Finish(collaborative=True))
    values = {"share": share, "tile": 192, "iterations": 2}
    spreads = []
    for size in (files._LARGE, 0):
        monkeypatch.setattr(files, "_LARGE", size)
        spread = tmp_path / f"spread{size}{ending}"
        more = {"source": source, "uncertainty": spread}
        _, result = restored(tmp_path, f"image{size}{ending}", values, **more)
        assert result.facts["uncertainty"] == str(spread)
        spreads.append(files.read(spread))
    whole, parts = spreads
    assert (whole.data > 0).all()
    np.testing.assert_array_equal(parts.data, whole.data)
    for spread in spreads:
        about = spread.header.provenance["shows"]
        assert about == "standard deviation of the result"


def test_finer_pixels_have_their_own_shape(tmp_path, source, monkeypatch):
    monkeypatch.setattr(files, "_LARGE", 0)
    values = {"factor": 2, "iterations": 1, "noisy": "yes"}
    image, _ = restored(
        tmp_path, "large.tif", values, task="super_resolve", source=source
    )
    assert image.data.shape == (2, 96, 600)


def test_nothing_is_left_of_a_run_that_fails(tmp_path, source, monkeypatch):
    monkeypatch.setattr(files, "_LARGE", 0)

    def fail(it):
        raise RuntimeError("stop here")

    target = tmp_path / "out.ome.tif"
    run = FileRun(get("denoise"), QUICK, {"image": source}, target)
    with pytest.raises(RuntimeError, match="stop here"):
        run.run(fail, warnings.append)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["stack.ome.tif"]
