"""States of fits go into files and come out again; anything else is refused."""

import json
import math
import os
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_dip.errors import FileError, InputError
from napari_dip.io import checkpoint

STATE = {
    "network.weight": torch.arange(6.0).reshape(1, 2, 3, 1),
    "watch.known": torch.tensor([True, False]),
    "random.state": torch.arange(4, dtype=torch.uint8),
    "progress.step": 7,
    "progress.loss": math.nan,
    "progress.history": [{"step": 1, "loss": 0.1}],
    "best.image": None,
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, "checkpoint", STATE, {"task": "denoise"})
    return path


def changed(path, **changes):
    """Change the JSON of a file."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["napari-dip"])
    save_file(tensors, path, {"napari-dip": json.dumps({**header, **changes})})


def test_state_comes_back(path):
    state, about = checkpoint.read(path, "checkpoint")
    assert about == {"task": "denoise"}
    assert state.keys() == STATE.keys()
    for name, value in STATE.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(state[name], value)
            assert state[name].dtype == value.dtype
        else:
            assert json.dumps(state[name]) == json.dumps(value)


def test_tensors_of_any_layout_and_shared_memory(tmp_path):
    base = torch.rand(1, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    state = {"a": base, "b": base[:, :2], "c": torch.zeros(()), "d": base}
    checkpoint.write(tmp_path / "a.safetensors", "weights", state, {})
    back, _ = checkpoint.read(tmp_path / "a.safetensors", "weights")
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_a_file_is_replaced_only_when_allowed(path):
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists"):
        checkpoint.write(path, "checkpoint", {}, {})
    assert path.read_bytes() == before
    checkpoint.write(path, "checkpoint", {}, {}, overwrite=True)
    assert checkpoint.read(path, "checkpoint") == ({}, {})


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        checkpoint.write(path, "checkpoint", {}, {}, overwrite=True)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_gets_full_leaves_the_old_file(path):
    resource = pytest.importorskip("resource", reason="not on Windows")
    before, content = resource.getrlimit(resource.RLIMIT_FSIZE), path.read_bytes()
    large = {"network": torch.zeros(2**16)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        with pytest.raises(FileError, match=rf"^{path.name} cannot be written: .+$"):
            checkpoint.write(path, "checkpoint", large, {}, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def refused(path, says, kind="checkpoint"):
    with pytest.raises(FileError, match=says) as raised:
        checkpoint.read(path, kind)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema": 99}, "schema 99"),
        ({"values": {"progress.step": 8}}, "damaged"),
        ({"values": []}, "holds no checkpoint"),
        ({"values": 3}, "holds no checkpoint"),
        ({"about": 3}, "holds no checkpoint"),
        ({"sha256": None}, "damaged"),
    ],
)
def test_json_that_is_not_ours(path, changes, says):
    changed(path, **changes)
    refused(path, says)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no file of any kind",
        (2**62).to_bytes(8, "little") + b"{}",
        pickle.dumps({"a": 1}),
    ],
)
def test_files_of_other_kinds(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    refused(path, "holds no checkpoint")


def test_truncated_and_damaged_files(path):
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    refused(path, "holds no checkpoint")
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(path, "damaged")


def test_other_contents(path, tmp_path):
    refused(path, "holds checkpoint, not weights", kind="weights")
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    refused(tmp_path / "foreign.safetensors", "holds no checkpoint")
    deep = {"napari-dip": "[" * 100_000}
    save_file({"a": torch.zeros(2)}, tmp_path / "deep.safetensors", deep)
    refused(tmp_path / "deep.safetensors", "holds no checkpoint")
    refused(tmp_path / "absent.safetensors", "cannot be read|holds no")
    refused(tmp_path, "no regular file")
