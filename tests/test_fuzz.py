"""The fuzz target works: it takes its seeds, and mutated ones do no harm."""

import importlib.util
import random
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from napari_dip.io import files, limits
from napari_dip.prior import snapshot

pytest.importorskip("zarr")


@pytest.fixture(scope="module")
def fuzz(root):
    """Return the script as a module."""
    path = root / "scripts" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def seeds(fuzz):
    return [bytes([fuzz.CHECKS.index(check)]) + data for check, data in fuzz.seeds()]


@pytest.fixture(autouse=True)
def prepared(fuzz, monkeypatch):
    """Let what the script changes last for a test only."""
    monkeypatch.setattr(limits, "free_memory", limits.free_memory)
    monkeypatch.setattr(snapshot, "digest", snapshot.digest)
    fuzz.prepare()


def test_every_kind_of_input_has_a_seed(fuzz, seeds):
    assert {seed[0] for seed in seeds} == set(range(len(fuzz.CHECKS)))


def test_seeds_are_read(fuzz, seeds, monkeypatch):
    read, images = files.read, []

    def read_and_count(*arguments, **options):
        images.append(read(*arguments, **options))
        return images[-1]

    monkeypatch.setattr(files, "read", read_and_count)
    for seed in seeds:
        count = len(images)
        fuzz.check(seed)
        other = (fuzz.check_provenance, fuzz.check_checkpoint)
        assert len(images) > count or fuzz.CHECKS[seed[0]] in other


@pytest.mark.filterwarnings("ignore")
def test_mutated_seeds_do_no_harm(fuzz, seeds):
    rng = random.Random(0)
    mutated = set()
    for seed in seeds:
        for _ in range(5):
            data = bytearray(fuzz.with_odd_value(seed, rng))
            data[rng.randrange(1, len(data))] ^= 1 << rng.randrange(8)
            mutated.add(bytes(data))
            fuzz.check(bytes(data))
    assert len(mutated) > 4 * len(seeds)


def test_options_of_the_command_line_count(fuzz, tmp_path, monkeypatch):
    begun = []
    fake = SimpleNamespace(
        instrument_imports=lambda include: nullcontext(),
        Setup=lambda arguments, *_, **__: begun.extend(arguments),
        Fuzz=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "atheris", fake)
    monkeypatch.setattr(fuzz, "FOLDER", tmp_path)
    monkeypatch.setattr(fuzz, "seeds", lambda: ())
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "-timeout=900", "found"])
    fuzz.main()
    # libFuzzer takes the last of two.
    assert [a for a in begun if a.startswith("-timeout")][-1] == "-timeout=900"
    assert begun[-1] == "found"
