"""Noise impedance: the image goes in before the noise does."""

import csv
import sys

import numpy as np
import pytest
import skimage.io
import torch

from napari_dip import cli, noise_impedance
from napari_dip.errors import InputError
from napari_dip.prior.architecture import Architecture
from napari_dip.tasks.noise_impedance import KINDS, _targets

SMALL = {"architecture": Architecture.uniform(12, 3), "device": "cpu"}


@pytest.fixture
def image():
    """Return a smooth (32, 32) image with an edge."""
    y, x = np.mgrid[0:32, 0:32] / 31
    return (100 * (x > y) + 60 * np.sin(3 * x)).astype(np.float32)


@pytest.mark.slow
def test_natural_falls_faster_than_noise(image):
    found = noise_impedance(image, iterations=20, **SMALL)
    assert list(found.curves) == list(KINDS)
    assert found.steps.tolist() == list(range(1, 21))
    # Over the variance of the target: what an image of one gray would leave.
    left = {k: found.curves[k][-1] / found.targets[k].var() for k in KINDS}
    assert left["natural"] < 0.5 * left["shuffled"]
    assert left["natural"] < 0.5 * left["white noise"]
    assert found.curves["natural"][-1] < found.curves["natural + noise"][-1]
    for kind in KINDS:
        assert found.images[kind].shape == (32, 32)
        error = np.square(found.images[kind] - found.targets[kind]).mean()
        assert error == pytest.approx(found.curves[kind][-1], rel=0.2)


def test_targets_are_what_they_are_called(image):
    plane = np.stack([image, image.T]) / 200 + 0.3
    found = _targets(plane, 0.1, 0)
    np.testing.assert_allclose(found["natural"], plane, atol=1e-6)
    assert np.std(found["natural + noise"] - plane) == pytest.approx(0.1, rel=0.1)
    before, after = (
        np.sort(a.reshape(2, -1).T.tolist(), axis=0)
        for a in (found["natural"], found["shuffled"])
    )
    np.testing.assert_array_equal(before, after)
    # Pixels move as a whole: their channels stay together.
    pairs = {tuple(p) for p in found["natural"].reshape(2, -1).T.tolist()}
    assert {tuple(p) for p in found["shuffled"].reshape(2, -1).T.tolist()} == pairs
    assert found["white noise"].mean() == pytest.approx(0.5, abs=0.05)


def test_settings_of_the_caller_change_no_bit_and_hold_in_the_callback(image):
    expected, seen = noise_impedance(image, iterations=2, **SMALL), set()
    torch.set_default_device("meta")
    try:
        found = noise_impedance(
            image,
            iterations=2,
            callback=lambda kind, it: seen.add(torch.get_default_device().type),
            **SMALL,
        )
    finally:
        torch.set_default_device(None)
    assert seen == {"meta"}
    for kind in KINDS:
        np.testing.assert_array_equal(found.images[kind], expected.images[kind])


def test_layouts_and_seed(image):
    colour = np.stack([image, image.T, image[::-1]], -1)
    found, same = (noise_impedance(colour, iterations=3, **SMALL) for _ in range(2))
    assert found.images["natural"].shape == (32, 32, 3)
    for kind in KINDS:
        np.testing.assert_array_equal(found.curves[kind], same.curves[kind])


def test_stopping_one_fit_leaves_the_others(image):
    found = noise_impedance(
        image,
        iterations=6,
        callback=lambda kind, it: kind == "natural" and it.step == 2,
        **SMALL,
    )
    assert np.isfinite(found.curves["natural"]).sum() == 2
    assert np.isfinite(found.curves["shuffled"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations must be an integer of 1 or more; got 0"),
        ({"iterations": 2.5}, "got 2.5"),
        ({"iterations": True}, "iterations must be an integer of 1 or more; got True"),
        ({"sigma": -1}, "sigma must be a finite number"),
        ({"sigma": "much"}, "sigma must be a finite number of 0 or more; got 'much'"),
        ({"channel_axis": 5}, "channel_axis must be from"),
        ({"channel_axis": "x"}, "channel_axis must be auto, an integer or None"),
        ({"learning_rate": -1}, "learning_rate must be a finite number of 0 or more"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"seed": None}, "seed must be an integer from 0"),
        ({"architecture": "unet"}, "architecture must be a value of"),
        ({"architecture": {}}, "architecture: name must be one of"),
    ],
)
def test_refused(image, options, message):
    with pytest.raises(InputError, match=message):
        noise_impedance(image, **options)


def test_a_stack_is_refused(image):
    with pytest.raises(InputError, match="must be a single one"):
        noise_impedance(np.stack([image, image]))


# -- the command --------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Make the network of the command a small one."""
    network = Architecture.uniform(4, 2)
    monkeypatch.setattr("napari_dip.prior.architecture.Architecture", lambda: network)


@pytest.fixture
def source(tmp_path, image):
    path = tmp_path / "in.png"
    skimage.io.imsave(path, np.uint8(np.clip(image, 0, 255)))
    return path


def command(source, name, *options):
    out = source.parent / name
    given = ["noise-impedance", str(source), "-o", str(out), "--quiet"]
    return cli.main([*given, *(options or ("--iterations", "3"))]), out


def test_command_writes_a_table(source, small):
    code, out = command(source, "curves.csv")
    assert code == 0
    with out.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["iteration", *KINDS]
    assert [int(r[0]) for r in rows[1:]] == [1, 2, 3]
    again = noise_impedance(
        skimage.io.imread(source),
        iterations=3,
        architecture=Architecture.uniform(4, 2),
    )
    for number, kind in enumerate(KINDS, start=1):
        column = [float(r[number]) for r in rows[1:]]
        np.testing.assert_allclose(column, again.curves[kind], rtol=1e-6)


def test_command_draws(source, small):
    pytest.importorskip("matplotlib")
    code, out = command(source, "curves.png")
    assert code == 0
    picture = skimage.io.imread(out)
    assert picture.shape[0] > 100
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 10


def test_command_without_matplotlib_says_so_before_it_fits(
    source, small, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, out = command(source, "curves.png")
    assert code == 1
    assert "matplotlib" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("curves.tif", [], "must end in .csv, .png, .svg or .pdf"),
        ("curves.csv", ["--iterations", "0"], "iterations must be"),
        ("in.png", [], "one of the inputs"),
    ],
)
def test_command_says_what_is_wrong(source, small, capsys, name, options, says):
    code, _ = command(source, name, *options)
    assert code == 2
    assert says in capsys.readouterr().err


def test_command_does_not_overwrite(source, small, capsys):
    (source.parent / "curves.csv").write_text("mine")
    code, out = command(source, "curves.csv")
    assert code == 2
    assert out.read_text() == "mine"
    assert "--overwrite" in capsys.readouterr().err
    assert command(source, "curves.csv", "--overwrite", "--iterations", "2")[0] == 0
    assert out.read_text() != "mine"
