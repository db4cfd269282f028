"""What the manifest knows, and what it refuses to read."""

import json
import re

import pytest

from napari_dip.batch.manifest import NAME, Manifest, digest
from napari_dip.errors import FileError

REQUEST = {"task": "denoise", "recipe": {"scales": (1, 2)}, "inputs": {"image": "ab"}}


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"a result")
    manifest = Manifest(tmp_path)
    manifest.put(
        "a.tif", {**REQUEST, "state": "done", "sha256": digest_of(b"a result")}
    )
    return manifest


def digest_of(content):
    import hashlib

    return hashlib.sha256(content).hexdigest()


def test_what_was_put_is_there_again(manifest, tmp_path):
    again = Manifest(tmp_path)
    assert again.entries.keys() == {"a.tif"}
    assert again.is_done("a.tif", REQUEST)
    assert json.loads((tmp_path / NAME).read_text())["software"] == "napari-dip"
    assert not again.is_done("a.tif", {**REQUEST, "task": "enhance"})


def test_a_failure_keeps_what_is_known_of_an_older_result(manifest, tmp_path):
    manifest.put("a.tif", {"state": "failed", "error": "no"})
    again = Manifest(tmp_path)
    assert not again.holds("a.tif")
    assert again.owns("a.tif")


def test_only_our_own_results_may_be_replaced(manifest, tmp_path):
    assert manifest.owns("a.tif")
    assert manifest.owns("new.tif")
    (tmp_path / "foreign.tif").write_bytes(b"")
    assert not manifest.owns("foreign.tif")
    (tmp_path / "a.tif").write_bytes(b"edited")
    assert not manifest.owns("a.tif")
    manifest.await_results(["a.tif"])  # written by a run that was then killed
    assert manifest.owns("a.tif")


def test_digest_of_a_folder_is_that_of_its_names_and_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "0").mkdir(parents=True)
        (tmp_path / name / "0" / "0").write_bytes(b"chunk")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    (tmp_path / "two" / "0" / "0").rename(tmp_path / "two" / "0" / "1")
    assert digest(tmp_path / "one") != digest(tmp_path / "two")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 1, "results": []}',
        '{"schema": 1, "results": {"a": 1}}',
        '{"schema": 1, "results": {"a": {"state": "odd"}}}',
        '{"schema": 1, "results": {"a": {"state": "done", "weights": [1]}}}',
        '{"schema": 2, "results": {}}',
        '{"schema": 1, "results": {"a": {"state": "done"',
        "[" * 100_000,
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(FileError, match=NAME) as raised:
        Manifest(tmp_path)
    assert "\n" not in str(raised.value)
    assert re.search(
        "remove it, and with --overwrite|another version", str(raised.value)
    )


def test_a_manifest_that_is_a_folder_cannot_be_read(tmp_path):
    (tmp_path / NAME).mkdir()
    with pytest.raises(FileError, match=f"{NAME} cannot be read: Is a directory"):
        Manifest(tmp_path)
