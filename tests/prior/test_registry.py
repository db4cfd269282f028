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
