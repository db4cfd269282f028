"""A file is there whole or not at all."""

import os
import stat

import numpy as np
import pytest

from napari_dip.errors import FileError, InputError
from napari_dip.io import atomic, files


def test_file_appears_at_the_end(tmp_path):
    path = tmp_path / "file"
    with atomic.replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == tmp_path
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with atomic.replacing(path, overwrite=True) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", files.OUTPUTS)
def test_write_that_fails_midway_leaves_nothing(tmp_path, monkeypatch, ending):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left on device"):
        files.write(tmp_path / f"image{ending}", np.zeros((20, 20), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_existing_file_needs_permission(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(InputError, match="overwrite"), atomic.replacing(path):
        pytest.fail("never begun")
    with atomic.replacing(path, overwrite=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "file"

    def race():
        with atomic.replacing(path) as temporary:
            temporary.write_text("ours")
            path.write_text("theirs")

    with pytest.raises(InputError):
        race()
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_is_not_replaced(tmp_path):
    with (
        pytest.raises(InputError, match="folder"),
        atomic.replacing(tmp_path, overwrite=True),
    ):
        pytest.fail("never begun")


def test_folder_that_is_not_there(tmp_path):
    with (
        pytest.raises(FileError, match="cannot be written"),
        atomic.replacing(tmp_path / "nonesuch" / "file"),
    ):
        pytest.fail("never begun")


@pytest.mark.skipif(os.name != "posix", reason="other systems have no umask")
def test_others_may_read_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        with atomic.replacing(tmp_path / "file") as temporary:
            temporary.write_text("new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_what_a_killed_writing_has_left_is_removed(tmp_path):
    path, store = tmp_path / "a.tif", tmp_path / "a.ome.zarr"
    with (
        atomic.replacing(path) as first,
        atomic.replacing(store, folder=True) as second,
    ):
        second.mkdir()
        names = first.name, second.name
    others = ".b.tif.0123abcd.part", ".a.tif.txt", "a.tif.0123abcd.part"
    for name in (names[0], *others):
        (tmp_path / name).write_text("left behind")
    (tmp_path / names[1]).mkdir()
    atomic.clear([path, store])
    assert {p.name for p in tmp_path.iterdir()} == {path.name, store.name, *others}


def test_a_store_that_was_being_replaced_is_put_back(tmp_path):
    store, other = tmp_path / "a.zarr", tmp_path / "b.zarr"
    for name in (".a.zarr.0123abcd.old", ".b.zarr.0123abcd.old", "b.zarr"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "zarr.json").write_text(name)
    atomic.clear([store, other])
    assert (store / "zarr.json").read_text() == ".a.zarr.0123abcd.old"
    assert (other / "zarr.json").read_text() == "b.zarr"
    assert sorted(tmp_path.iterdir()) == [store, other]


def test_long_names_with_the_same_beginning_are_told_apart(tmp_path):
    one, other = (tmp_path / f"{'long' * 20}_{n}.tif" for n in (1, 2))
    with atomic.replacing(one) as temporary:
        atomic.clear([other])
        assert temporary.exists()
        atomic.clear([one])
        assert not temporary.exists()
        temporary.write_text("new")
    assert one.read_text() == "new"
