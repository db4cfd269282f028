"""What a unit likes best: tiny networks, objectives, and the model left alone."""

import copy

import numpy as np
import pytest
import skimage.io
import tifffile
import torch
from torch import nn

from napari_dip import cli, maximize_activation
from napari_dip.errors import InputError
from napari_dip.tasks.maximize_activation import TASK, MaximizeRecipe

SHORT = {"iterations": 3, "device": "cpu", "precision": "float32", "shape": (20, 24)}
PIXELS = {"prior": "none", "device": "cpu", "shape": (20, 24)}


class Colours(nn.Module):
    """Its classes are red, green, blue and gray; its map is their sharp edges."""

    def __init__(self):
        super().__init__()
        self.edges = nn.Conv2d(3, 2, 3, bias=False)
        with torch.no_grad():
            self.edges.weight.zero_()
            self.edges.weight[0, :, 1, 2], self.edges.weight[0, :, 1, 0] = 1, -1
        self.classes = nn.Linear(3, 4)
        with torch.no_grad():
            self.classes.weight.copy_(
                torch.cat([torch.eye(3), torch.full((1, 3), 0.3)])
            )
            self.classes.bias.zero_()

    def forward(self, x):
        self.edges(x)
        return self.classes(x.mean((2, 3)))


@pytest.fixture
def model():
    return Colours()


@pytest.mark.parametrize("unit", [0, 2])
@pytest.mark.parametrize("objective", ["activation", "probability"])
def test_a_class(model, unit, objective):
    found = maximize_activation(
        model, "classes", unit, objective=objective, iterations=60, **PIXELS
    )
    assert found.shape == (20, 24, 3)
    assert found.dtype == np.float32
    means = found.mean((0, 1))
    others = np.delete(means, unit)
    assert means[unit] > 0.7
    # The activation is indifferent to the other colours, the probability is not.
    if objective == "activation":
        assert np.abs(others - 0.5).max() < 0.05
    else:
        assert others.max() < 0.4


@pytest.mark.slow
def test_a_network_does_it_too(model):
    found = maximize_activation(
        model, "classes", 1, iterations=15, device="cpu", shape=(20, 24)
    )
    assert found[..., 1].mean() > 0.7


@pytest.mark.parametrize(("window", "columns"), [(1, 2), (4, 4)])
def test_the_window_of_a_map(model, window, columns):
    found = maximize_activation(
        model, "edges", 0, window=window, iterations=60, **PIXELS
    )
    change = np.abs(found - 0.5).max(axis=2) > 0.15
    rows, cols = np.nonzero(change)
    assert len(np.unique(rows)) == window
    assert len(np.unique(cols)) == columns
    # The map has 18 x 22 values; its middle is that of the image, but for a pixel.
    assert abs(rows.mean() - 9.5) <= 1
    assert abs(cols.mean() - 11.5) <= 1


def test_the_goal_is_not_passed(model):
    found = maximize_activation(model, "classes", 0, goal=0.6, iterations=100, **PIXELS)
    assert found[..., 0].mean() == pytest.approx(0.6, abs=0.02)


def test_total_variation_smooths(model):
    found = [
        maximize_activation(
            model, "classes", 0, **{**PIXELS, "prior": "tv"}, tv=tv, iterations=40
        )
        for tv in (0, 1)
    ]
    rough = [np.abs(np.diff(x, axis=0)).mean() for x in found]
    assert rough[1] < 0.5 * rough[0]


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_channels(channels):
    net = nn.Sequential(nn.Conv2d(channels, 2, 3))
    found = maximize_activation(net, "0", channels=channels, **SHORT)
    assert found.shape == ((20, 24) if channels == 1 else (20, 24, 3))


def test_paper_is_the_published_program(model, first_fit):
    plans = {}
    for layer in ("classes", "edges"):
        plans[layer] = first_fit(
            TASK, MaximizeRecipe(preset="paper", layer=layer), model, None
        )
    shape = plans["classes"].prior.architecture
    assert shape.skip == (0, 4, 4, 4, 4, 4)
    assert shape.down_kernel == (5, 3, 5, 5, 3, 5)
    assert shape.up_kernel == (5, 3, 5, 3, 5, 3)
    assert [p.settings.learning_rate for p in plans.values()] == [0.01, 0.001]
    assert plans["classes"].problem.measurement.item() == 300
    assert plans["classes"].settings.stop.maximum == 3100


@pytest.mark.usefixtures("narrow")
def test_the_model_is_not_changed(model):
    model.train()
    model.edges.weight.requires_grad_(False)
    weights = copy.deepcopy(model.state_dict())

    def explode(it):
        raise OSError("the callback failed")

    for callback in (None, lambda it: True, explode):
        try:
            maximize_activation(model, "classes", 1, callback=callback, **SHORT)
        except OSError:
            assert callback is explode
        assert all(m.training for m in model.modules())
        assert [p.requires_grad for p in model.parameters()] == [False, True, True]
        assert all(p.grad is None for p in model.parameters())
        assert not any(m._forward_hooks for m in model.modules())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)


REFUSED = {
    "no layer": ({}, "layer must be the name"),
    "another layer": ({"layer": "class"}, "such as classes"),
    "another unit": ({"layer": "classes", "unit": 4}, "unit must be from 0 to 3"),
    "a negative unit": ({"layer": "classes", "unit": -1}, "unit must be"),
    "one side": (
        {"layer": "classes", "shape": (20,)},
        "must be 2 integers",
    ),
    "no image": ({"layer": "classes", "shape": (20, 3)}, "shape must be"),
    "two means": ({"layer": "classes", "mean": (0.5, 0.5)}, "mean must have a number"),
    "four channels": (
        {"layer": "classes", "channels": 4},
        r"model must take an image of shape \(1, 4, 20, 24\) .*; got RuntimeError",
    ),
    "an objective": ({"layer": "classes", "objective": "loss"}, "probability"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(model, what):
    options, message = REFUSED[what]
    with pytest.raises(InputError, match=message):
        maximize_activation(model, **{**SHORT, **options})


def made():
    """Return the model of the command's test."""
    return Colours()


@pytest.mark.usefixtures("narrow")
def test_command(tmp_path, capsys, monkeypatch):
    import sys
    import types

    module = types.ModuleType("home_of_colours")
    module.made = made
    monkeypatch.setitem(sys.modules, "home_of_colours", module)
    out = tmp_path / "red.png"
    given = ["maximize-activation", "--model", "home_of_colours:made"]
    given += ["--layer", "classes", "--iterations", "20", "--prior", "none"]
    given += ["--shape", "20,24"]
    assert cli.main([*given, "--unit", "0", "--output", str(out)]) == 0
    image = skimage.io.imread(out)
    assert image.shape == (20, 24, 3)
    assert image.dtype == np.uint8
    assert image[..., 0].mean() > image[..., 1].mean() + 20
    tiff = tmp_path / "again.tif"
    assert cli.main(["replay", str(out), "--output", str(tiff)]) == 2
    assert "--model home_of_colours:made" in capsys.readouterr().err
    replay = ["replay", str(out), "--model", "home_of_colours:made"]
    assert cli.main([*replay, "--output", str(tiff)]) == 0
    again = tifffile.imread(tiff)
    np.testing.assert_array_equal(np.rint(255 * again), image)
    wrong = str(tmp_path / "wrong.png")
    assert cli.main([*given, "--unit", "9", "--output", wrong]) == 2
    assert "unit must be from 0 to 3" in capsys.readouterr().err
