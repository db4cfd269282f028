"""A file is there whole or not at all."""

import errno
import importlib.util
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_dip.errors import FileError, InputError
from napari_dip.io import atomic, checkpoint, files, locks


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


@pytest.fixture
def full(tmp_path):
    """Return a folder of a small file system, or skip the test."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    try:
        mounted = (
            subprocess.run(mount, check=False, capture_output=True).returncode == 0
        )
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


LARGE = np.random.default_rng(0).integers(0, 256, (12, 128, 128), np.uint8)


@pytest.mark.parametrize("ending", files.OUTPUTS)
def test_a_disk_that_gets_full(full, ending):
    path = full / f"image{ending}"
    image = LARGE.reshape(-1, 128) if ending == ".png" else LARGE
    with pytest.raises(FileError) as caught:
        files.write(path, image)
    expected = f"{path.name} cannot be written: No space left on device"
    assert str(caught.value) == expected
    assert list(full.iterdir()) == []
    if ending == ".png":
        return

    def by_plane():
        with files.writing(path, image.shape, image.dtype) as out:
            for number, plane in enumerate(image):
                out[number] = plane

    with pytest.raises(FileError) as caught:
        by_plane()
    assert str(caught.value) == expected
    assert list(full.iterdir()) == []


@pytest.fixture
def small_files():
    """Let no file become larger than 64 KiB."""
    resource = pytest.importorskip("resource", reason="not on Windows")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_write_of_numpy_that_ends_early_says_why(tmp_path):
    with pytest.raises(FileError, match=r"a.tif cannot be written: No space left"):
        files.write(tmp_path / "a.tif", LARGE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_files")
def test_a_file_that_is_larger_than_a_limit_says_so(tmp_path):
    reason = (
        "File too large for this file system or for a limit, such as that of ulimit"
    )
    with pytest.raises(FileError, match=f"^a.png cannot be written: {reason}"):
        files.write(tmp_path / "a.png", LARGE.reshape(-1, 128))
    state = {"a": torch.zeros(2**15)}
    with pytest.raises(FileError, match=f"^a.safetensors cannot be written: {reason}"):
        checkpoint.write(tmp_path / "a.safetensors", "weights", state, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="folders are not synchronized there")
def test_a_file_system_that_does_not_synchronize_folders(tmp_path, monkeypatch):
    synchronize = os.fsync

    def refused(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        synchronize(handle)

    monkeypatch.setattr(os, "fsync", refused)
    with atomic.replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "file").read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_existing_file_needs_permission(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(InputError, match="overwrite"), atomic.replacing(path):
        pytest.fail("never begun")
    with atomic.replacing(path, overwrite=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


links = pytest.mark.skipif(os.name != "posix", reason="makes links")


@pytest.fixture
def linked(tmp_path):
    """Return a function that makes a link into another folder, and what it names."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()

    def link(name):
        place, target = tmp_path / "here" / name, tmp_path / "there" / name
        place.symlink_to(target)
        return place, target

    return link


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@links
@pytest.mark.parametrize("ending", files.OUTPUTS)
def test_a_link_stays_and_what_it_names_is_written(linked, ending):
    link, target = linked(f"image{ending}")
    for value in (1, 2):  # first nothing is there, then it is replaced
        files.write(link, np.full((8, 8), value, np.uint8), overwrite=True)
        assert link.is_symlink()
        assert (files.read(link).data == value).all()
        assert names(link.parent) == [link.name]
        assert names(target.parent) == [target.name]
        with pytest.raises(InputError, match="exists"):
            files.write(link, np.zeros((8, 8), np.uint8))
        assert (files.read(link).data == value).all()


@links
def test_a_failure_behind_a_link_leaves_what_was_there(linked):
    link, target = linked("file")
    target.write_text("old")

    def fail():
        with atomic.replacing(link, overwrite=True) as temporary:
            assert temporary.parent == target.parent
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (link.is_symlink(), target.read_text()) == (True, "old")
    assert names(target.parent) == [target.name]


@links
@pytest.mark.parametrize("place", ["/dev/null", "gone/file"])
def test_a_link_to_what_cannot_be_replaced(tmp_path, place):
    link = tmp_path / "link"
    link.symlink_to(place)
    with pytest.raises(InputError, match=r"output must (be a reg|lie in a f)"):
        atomic.refuse_existing(link, overwrite=True)


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
        temporary.write_text("new")
    assert one.read_text() == "new"
    temporary.write_text("left behind")
    atomic.clear([other])
    assert temporary.exists()
    atomic.clear([one])
    assert not temporary.exists()


KINDS = {"a.tif": False, "a.zarr": True}


def fill(temporary, text):
    """Write a file, or a store with a file."""
    if temporary.suffix == ".part" and ".zarr." in temporary.name:
        temporary.mkdir()
        temporary /= "zarr.json"
    temporary.write_text(text)


def content(path):
    return (path / "zarr.json" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("name", KINDS)
def test_what_is_being_written_stays(tmp_path, name):
    path = tmp_path / name
    with atomic.replacing(path, folder=KINDS[name]) as temporary:
        fill(temporary, "new")
        with pytest.raises(FileError, match=f"{name} is being written by another"):
            atomic.clear([path])
        assert temporary.exists()
    assert content(path) == "new"
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import sys
from pathlib import Path
from napari_dip.io import atomic
path, folder = Path(sys.argv[1]), sys.argv[2] == "True"
with atomic.replacing(path, overwrite=True, folder=folder) as temporary:
    if folder:
        temporary.mkdir()
    (temporary / "zarr.json" if folder else temporary).write_text("theirs")
    print("writing", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """Return a function that begins to write a file in another process."""
    started = []

    def begin(path):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(KINDS[path.name])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "writing\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", KINDS)
def test_of_two_processes_the_last_one_stays(tmp_path, name, other):
    path = tmp_path / name
    process = other(path)
    with pytest.raises(FileError, match="is being written"):
        atomic.clear([path])
    with atomic.replacing(path, folder=KINDS[name]) as temporary:
        fill(temporary, "ours")
    assert content(path) == "ours"
    process.communicate("\n")
    assert process.returncode == 0
    assert content(path) == "theirs"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", KINDS)
def test_what_a_killed_process_has_left_is_removed(tmp_path, name, other):
    path = tmp_path / name
    process = other(path)
    process.kill()
    process.wait()
    assert len(list(tmp_path.iterdir())) == 2
    atomic.clear([path])
    assert list(tmp_path.iterdir()) == []


@links
@pytest.mark.parametrize("name", KINDS)
def test_what_a_killed_process_has_left_behind_a_link(linked, name, other):
    link, target = linked(name)
    process = other(target)
    process.kill()
    process.wait()
    atomic.clear([link])
    assert names(target.parent) == []


def test_a_store_that_another_is_faster_to_replace(tmp_path, monkeypatch):
    path, rename, others = tmp_path / "a.zarr", os.replace, iter(["first", "second"])

    def slow(source, target):
        # Between the two renamings of this writing another one puts its store there.
        if target == path and (text := next(others, None)):
            path.mkdir()
            (path / "zarr.json").write_text(text)
        rename(source, target)

    monkeypatch.setattr(os, "replace", slow)
    with atomic.replacing(path, overwrite=True, folder=True) as temporary:
        fill(temporary, "ours")
    assert next(others, None) is None
    assert content(path) == "ours"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_is_held_once(tmp_path):
    path = tmp_path / "lock"
    with locks.held(path) as first:
        with locks.held(path) as second:
            assert (first, second) == (True, False)
        assert path.exists()
    assert not path.exists()
    with locks.held(path) as again:
        assert again


@pytest.fixture
def windows_locks(monkeypatch):
    """Return the module of locks as on Windows, with files that are closed noted."""
    taken, closed = {}, []

    def locking(handle, mode, count):
        if (place := os.fstat(handle).st_ino) in taken.values():
            raise PermissionError
        taken[handle] = place

    def close(handle):
        closed.append(taken.pop(handle, None) is not None)
        os.close(handle)

    msvcrt = SimpleNamespace(locking=locking, LK_NBLCK=2)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("windows_locks", locks.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.os = SimpleNamespace(**vars(os) | {"name": "nt", "close": close})
    return module, closed


def test_a_lock_is_held_once_on_windows(tmp_path, monkeypatch, windows_locks):
    module, closed = windows_locks
    path, unlink = tmp_path / "lock", Path.unlink

    def remove(self):
        assert closed[-1]  # Windows removes no file that is open
        unlink(self)

    monkeypatch.setattr(Path, "unlink", remove)
    with module.held(path) as first, module.held(path) as second:
        assert (first, second) == (True, False)
    assert not path.exists()
    with module.held(path) as again:
        assert again


@pytest.mark.skipif(os.name != "posix", reason="another system has other locks")
def test_a_file_system_without_locks_lets_all_write(tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with locks.held(tmp_path / "a") as one, locks.held(tmp_path / "b") as other:
        assert one
        assert other


def test_what_a_run_left_behind_and_cannot_be_removed_is_named(tmp_path, monkeypatch):
    (tmp_path / ".out.tif.0123.part").touch()

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(atomic, "_remove", refuse)
    with pytest.raises(FileError, match=r"\.out\.tif\.0123 cannot be removed: Perm"):
        atomic.clear([tmp_path / "out.tif"])


def test_a_lock_of_many_threads_is_held_by_one_at_a_time(tmp_path):
    holders, most = [], []

    def use():
        for _ in range(200):
            with locks.held(tmp_path / "lock") as held:
                if held:
                    holders.append(1)
                    most.append(len(holders))
                    holders.pop()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert list(tmp_path.iterdir()) == []
