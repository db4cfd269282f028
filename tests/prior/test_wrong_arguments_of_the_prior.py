"""What the classes of the prior are given is refused in one line that names it."""

import math

import numpy as np
import pytest
import torch

from napari_dip.errors import InputError
from napari_dip.prior import stopping
from napari_dip.prior.architecture import Architecture, Pixels
from napari_dip.prior.codes import BlindSpot, Guide, Meshgrid, Noise
from napari_dip.prior.generators import ResNet, UNet
from napari_dip.prior.local import Local
from napari_dip.prior.optimizers import Muon
from napari_dip.prior.problem import Optimization, Settings

IMAGE = torch.zeros(1, 1, 4, 4)
WEIGHTS = [torch.nn.Parameter(torch.zeros(2, 2))]

ARGUMENTS = {
    "Local": (Local, {"widths": (8, 8), "flat_scales": 0}),
    "UNet": (UNet, {"widths": (8, 8)}),
    "ResNet": (ResNet, {"blocks": 1, "width": 8}),
    "Pixels": (Pixels, {"widest": 1}),
    "Architecture": (
        Architecture,
        {
            "down": (8,),
            "up": (8,),
            "skip": (4,),
            "down_kernel": 3,
            "up_kernel": 3,
            "skip_kernel": 1,
            "upsampling": "bilinear",
            "downsampling": "stride",
            "padding": "zero",
            "output": "linear",
            "flat_scales": 0,
        },
    ),
    "uniform": (Architecture.uniform, {"width": 8, "scales": 2, "skip": 4}),
    "Noise": (Noise, {"features": 2, "scale": 0.1, "perturbation": 0}),
    "Meshgrid": (Meshgrid, {"perturbation": 0.1}),
    "Guide": (Guide, {"image": IMAGE, "perturbation": 0}),
    "BlindSpot": (BlindSpot, {"fraction": 0.5, "guide": None}),
    "Iterations": (stopping.Iterations, {"maximum": 2}),
    "HeldOut": (
        stopping.HeldOut,
        {
            "maximum": 2,
            "fraction": 0.1,
            "fewest": 1,
            "radius": 1,
            "patience": 2,
            "relative_patience": 0.5,
            "variance": (1.0,),
        },
    ),
    "Plateau": (stopping.Plateau, {"maximum": 2, "patience": 2}),
    "MovingVariance": (
        stopping.MovingVariance,
        {"maximum": 2, "memory": 0.1, "patience": 2, "warmup": 0},
    ),
    "Discrepancy": (stopping.Discrepancy, {"maximum": 2, "level": 0.1}),
    "Settings": (
        Settings,
        {
            "stop": stopping.Iterations(2),
            "optimizer": "adam",
            "learning_rate": 0.1,
            "momentum": 0.9,
            "adam_learning_rate": 0.1,
            "schedule": "cosine",
            "average": "weights",
            "ema_decay": 0.9,
            "check_every": 1,
            "start_iterations": 0,
            "coarse_iterations": 0,
            "extra_iterations": 0,
            "threads": 1,
            "seed": 0,
        },
    ),
    "Muon": (Muon, {"lr": 0.1, "momentum": 0.9}),
}
WRONG = {
    "text": "x",
    "fractions": (8.5,),
    "words": ("x",),
    "negative": -1,
    "not a number": math.nan,
    "negatives": (-1, -1),
    "array": np.zeros((2, 2)),
    "dict": {"a": 1},
    "class": int,
    "complex": 1j,
    "function": len,
    "nothing inside": (),
}
CASES = [(name, key) for name, (_, given) in ARGUMENTS.items() for key in given]


def made(name, **changes):
    cls, given = ARGUMENTS[name]
    first = (WEIGHTS,) if cls is Muon else ()
    return cls(*first, **{**given, **changes})


@pytest.mark.parametrize(("name", "key"), CASES)
def test_values_of_wrong_type_or_range_are_refused(name, key):
    made(name)
    for kind, wrong in WRONG.items():
        if (key, kind) == ("variance", "fractions"):
            continue  # which are right there
        with pytest.raises(InputError) as caught:
            made(name, **{key: wrong})
        text = str(caught.value)
        # Of a number of scales and of widths that must be positive, the widths.
        assert key in text or (name == "uniform" and "widths" in text)
        assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer must be one of muon, adam; got 'sgd'"),
        ({"schedule": "cosin"}, "schedule must be one of .*, cosine, .*; got 'cosin'"),
        (
            {"average": "weight"},
            "average must be one of outputs, weights; got 'weight'",
        ),
        ({"ema_decay": 2.0}, "ema_decay must be from 0 to 1; got 2.0"),
        ({"ema_decay": 1.0}, "ema_decay must be below 1; got 1"),
        ({"check_every": 0}, "check_every must be 1 or more; got 0"),
    ],
)
@pytest.mark.parametrize("kind", [Optimization, Settings])
def test_an_optimisation_that_does_not_exist_is_not_taken_for_another(
    kind, changes, message
):
    with pytest.raises(InputError, match=f"^{kind.__name__}: {message}$"):
        kind(stopping.Iterations(2), **changes)


def test_fractions_as_widths():
    message = r"^Local: widths must be of type tuple\[int, ...\]; got \(8.5,\)$"
    with pytest.raises(InputError, match=message):
        Local((8.5,))


def test_lists_are_taken_for_tuples():
    assert Local([8, 8]) == Local((8, 8))
    assert Architecture([8], [8], (4,)) == Architecture((8,), (8,), (4,))


def test_numbers_of_numpy_are_numbers():
    assert stopping.Plateau(np.int64(3)).maximum == 3
    assert Noise(scale=np.float32(0.5)).scale == 0.5


def test_a_rule_of_the_user_is_judged_by_what_it_shares():
    class Mine(stopping.Rule):
        anything = "x"

        def __init__(self, maximum):
            self.maximum = maximum
            self.__post_init__()

    assert Mine(3).maximum == 3
    with pytest.raises(InputError, match="stop: maximum must be of type float"):
        Mine("x")


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(1, 1, 5, 4)])
def test_a_recorded_mean_of_another_shape(wrong):
    rule = stopping.MovingVariance(10)
    watch = rule.watch(IMAGE, torch.Generator())
    watch.load_state_dict({**watch.state_dict(), "mean": wrong})
    message = r"^state: watch: mean must be a tensor of shape \(1, 1, 4, 4\)"
    with pytest.raises(InputError, match=message):
        watch.see(IMAGE)
