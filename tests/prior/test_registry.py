"""Rules and architectures as JSON."""

import json

import pytest

from napari_dip.errors import InputError
from napari_dip.prior import architecture, stopping
from napari_dip.prior.architecture import ARCHITECTURES, Architecture, Pixels
from napari_dip.prior.generators import ResNet, UNet
from napari_dip.prior.local import Local
from napari_dip.prior.stopping import (
    RULES,
    Discrepancy,
    HeldOut,
    Iterations,
    MovingVariance,
    Plateau,
)

KINDS = [
    *((stopping, rule) for rule in (Iterations(7), Plateau(9, patience=3))),
    *((stopping, HeldOut(9, variance=v)) for v in (None, (0.1, 0.2))),
    *((stopping, rule) for rule in (MovingVariance(9), Discrepancy(9, 0.1))),
    (architecture, Architecture.uniform(6, 2, upsampling=("nearest", "bilinear"))),
    *((architecture, a) for a in (UNet((4, 8)), ResNet(2, 8), Pixels())),
    (architecture, Local((4, 8))),
]


@pytest.mark.parametrize(("module", "value"), KINDS, ids=str)
def test_json_brings_the_same_value_back(module, value):
    data = json.loads(json.dumps(module.to_dict(value)))
    again = module.from_dict(data)
    assert again == value
    assert type(again) is type(value)


def test_every_class_is_tried():
    tried = {type(value) for _, value in KINDS}
    assert tried == {*RULES.values(), *ARCHITECTURES.values()}


@pytest.mark.parametrize(
    ("module", "data", "message"),
    [
        (stopping, {"name": "never"}, "stop: name must be one of iter.* got 'never'"),
        (stopping, {}, "stop: name must be one of .* got None"),
        (stopping, {"name": "iterations"}, "stop: .*maximum"),
        (stopping, {"name": "iterations", "maximum": 4, "x": 1}, "has maximum; .* 'x'"),
        (architecture, {"name": "hourglass", "output": "x"}, "output must be one of"),
        (
            architecture,
            {"name": "hourglass", "down_kernel": 3.0},
            r"down_kernel must be of type int \| tuple\[int.* got 3.0",
        ),
        (architecture, {"name": "hourglass", "down": [8.5]}, "down must .* got .8.5,"),
        (architecture, {"name": "hourglass", "pointwise": "no"}, "type bool; got 'no'"),
        (
            architecture,
            {"name": "local", "widths": [True]},
            "widths .* got .True,",
        ),
        (architecture, {"name": "unet", "widths": 5}, r"tuple\[int, ...\]; got 5"),
        (architecture, {"name": "unet", "widths": []}, "UNet: widths must be positive"),
        (architecture, {"name": "unet", "widths": [0, 8]}, r"positive.* got \(0, 8\)"),
        (
            architecture,
            {"name": "resnet", "width": 0},
            "width 1 or more; got .* width=0",
        ),
        (architecture, {"name": "resnet", "blocks": "3"}, "type int; got '3'"),
        (architecture, {"name": "pixels", "widest": "x"}, "type int; got 'x'"),
        (stopping, {"name": "iterations", "maximum": "5"}, "type int; got '5'"),
        (stopping, {"name": "iterations", "maximum": True}, "type int; got True"),
        (stopping, {"name": "iterations", "maximum": 0}, "maximum must be 1 or more"),
        (
            stopping,
            {"name": "held_out", "maximum": 2, "radius": -1},
            "radius must be 0 or more; got -1",
        ),
        (
            stopping,
            {"name": "held_out", "maximum": 2, "fraction": 5},
            "fraction must be from 0 to 1; got 5",
        ),
        (
            stopping,
            {"name": "held_out", "maximum": 2, "fewest": -1},
            "fewest must be 0 or more; got -1",
        ),
        (
            stopping,
            {"name": "held_out", "maximum": 2, "variance": 0.1},
            r"tuple\[float, ...\] \| None; got 0.1",
        ),
        (
            stopping,
            {"name": "held_out", "maximum": 2, "variance": []},
            r"variance must be one or more positive numbers.* got \(\)",
        ),
        (
            stopping,
            {"name": "held_out", "maximum": 2, "variance": [1, 0]},
            r"positive numbers, or None; got \(1, 0\)",
        ),
        (
            stopping,
            {"name": "plateau", "maximum": 2, "patience": "x"},
            "stop: patience must be of type int; got 'x'",
        ),
        (
            stopping,
            {"name": "moving_variance", "maximum": 2, "memory": 5},
            "memory must be from 0 to 1; got 5",
        ),
        (
            stopping,
            {"name": "discrepancy", "maximum": 2, "level": float("nan")},
            "level must be 0 or more; got nan",
        ),
    ],
)
def test_what_is_no_rule_or_architecture_is_refused(module, data, message):
    with pytest.raises(InputError, match=message):
        module.from_dict(data)


def test_a_class_of_ones_own_is_written_but_not_read():
    class Mine(Iterations):
        pass

    data = json.loads(json.dumps(stopping.to_dict(Mine(3))))
    assert data["name"].endswith("Mine")
    with pytest.raises(InputError, match=r"must be one of iterations, .* got .*Mine"):
        stopping.from_dict(data)
