"""Parameters: what they accept, how they refuse, and their way through JSON."""

import json
from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar, Literal

import numpy as np
import pytest

from napari_dip.errors import InputError
from napari_dip.tasks.denoise import DenoiseRecipe
from napari_dip.tasks.recipe import Recipe, parameter


@dataclass(frozen=True, kw_only=True)
class Example(Recipe):
    task: ClassVar[str] = "example"

    count: int = parameter(3, "A count.", low=0, high=9)
    weight: float = parameter(0.5, "A weight.", low=0)
    level: float | None = parameter(None, "A level.", low=-1, high=1)
    name: str = parameter("n", "A name.")
    kind: Literal["a", "b"] = parameter("a", "A kind.")
    flag: bool = parameter(False, "A flag.")
    scales: tuple[int, ...] = parameter((1, 2), "Some scales.", low=1, high=64)


BAD = [
    ("preset", "quick", "fast, best or paper"),
    ("preset", None, "fast, best or paper"),
    ("preset", 1, "fast, best or paper"),
    ("iterations", 0, "auto or an integer from 1"),
    ("iterations", -5, "auto or an integer from 1"),
    ("iterations", 10**7, "auto or an integer from 1"),
    ("iterations", 10**400, "auto or an integer from 1"),
    ("iterations", 2.5, "auto or an integer from 1"),
    ("iterations", True, "auto or an integer from 1"),
    ("iterations", "12", "auto or an integer from 1"),
    ("iterations", None, "auto or an integer from 1"),
    ("iterations", [3], "auto or an integer from 1"),
    ("iterations", np.array([3]), "auto or an integer from 1"),
    ("iterations", 3 + 0j, "auto or an integer from 1"),
    ("iterations", np.complex64(3), "auto or an integer from 1"),
    ("extra_iterations", -1, "an integer from 0"),
    ("extra_iterations", "auto", "an integer from 0"),
    ("restarts", 0, "auto or an integer from 1 to 100"),
    ("restarts", 101, "auto or an integer from 1 to 100"),
    ("restarts", False, "auto or an integer from 1 to 100"),
    ("share", "some", "auto, yes or no"),
    ("share", True, "auto, yes or no"),
    ("tile", 0, "auto, an integer from 1 to 1000000, a tuple of such integers or None"),
    ("tile", "large", "auto, an integer from 1 to 1000000, a tuple of such"),
    ("tile", (384, 0), "auto, an integer from 1 to 1000000, a tuple of such"),
    ("neighbours", -1, "auto or an integer from 0 to 8"),
    ("neighbours", 9, "auto or an integer from 0 to 8"),
    ("channel_axis", "last", "auto, an integer or None"),
    ("channel_axis", 0.5, "auto, an integer or None"),
    ("channel_axis", True, "auto, an integer or None"),
    ("spatial_dims", 1, "an integer from 2 to 3"),
    ("spatial_dims", 4, "an integer from 2 to 3"),
    ("z_spacing", 0, "auto or a finite number from 0.001 to 1000"),
    ("device", 0, "a string"),
    ("device", None, "a string"),
    ("precision", "float16", "auto, float32 or bfloat16"),
    ("seed", -1, "an integer from 0"),
    ("seed", 2**31, "an integer from 0"),
    ("seed", None, "an integer from 0"),
    ("dtype", "uint8", "float32 or input"),
    ("dtype", np.uint8, "float32 or input"),
    ("noise", "salt", "auto, gaussian, poisson, poisson-gaussian or impulse"),
    ("stripes", "yes", "auto, no, rows, columns or both"),
    ("sigma", -0.1, "a finite number of 0 or more or None"),
    ("sigma", np.nan, "a finite number of 0 or more or None"),
    ("sigma", np.inf, "a finite number of 0 or more or None"),
    ("sigma", "0.1", "a finite number of 0 or more or None"),
    ("sigma", True, "a finite number of 0 or more or None"),
]


@pytest.mark.parametrize(("name", "value", "accepted"), BAD, ids=repr)
def test_refusals_name_argument_value_and_what_is_accepted(name, value, accepted):
    with pytest.raises(InputError) as caught:
        DenoiseRecipe(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"{name} must be ")
    assert accepted in text
    assert text.endswith(f"got {value!r}")


def test_every_field_has_a_refusal_above():
    assert {name for name, _, _ in BAD} == {p.name for p in DenoiseRecipe.parameters()}


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("count", 0, 0),
        ("count", 9, 9),
        ("count", 4.0, 4),
        ("count", np.int64(5), 5),
        ("count", np.uint8(5), 5),
        ("count", np.float32(5), 5),
        ("weight", 2, 2.0),
        ("weight", np.float32(0.25), 0.25),
        ("weight", np.int16(2), 2.0),
        ("weight", np.array(0.5), 0.5),
        ("level", None, None),
        ("level", -1, -1.0),
        ("name", np.str_("x"), "x"),
        ("kind", np.str_("b"), "b"),
        ("flag", True, True),
        ("flag", np.True_, True),
        ("iterations", np.int32(7), 7),
        ("iterations", "auto", "auto"),
        ("channel_axis", np.int64(-1), -1),
        ("channel_axis", None, None),
        ("channel_axis", "auto", "auto"),
        ("tile", 384.0, 384),
        ("tile", [np.int64(384), 192], (384, 192)),
        ("tile", (384,), 384),
        ("tile", None, None),
    ],
    ids=repr,
)
def test_values_become_plain_python(name, value, kept):
    found = getattr(Example(**{name: value}), name)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("name", "value"), [("flag", 1), ("flag", "yes"), ("kind", "c"), ("level", 1.01)]
)
def test_other_types_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} must be .*; got"):
        Example(**{name: value})


def test_a_plane_has_two_axes_to_be_cut_along():
    with pytest.raises(InputError, match=r"one length, or two .* got \(1, 2, 3\)"):
        Example(tile=(1, 2, 3))


def test_defaults_pass_their_own_check():
    for p in [*DenoiseRecipe.parameters(), *Example.parameters()]:
        assert p.check(p.default) == p.default
        assert p.help


def test_recipes_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Example().count = 4


def test_parameters_describe_themselves():
    found = {p.name: p for p in Example.parameters()}
    own = ["count", "weight", "level", "name", "kind", "flag", "scales"]
    assert list(found)[-7:] == own
    assert found["count"].types == (int,)
    assert (found["count"].low, found["count"].high) == (0, 9)
    assert found["kind"].choices == ("a", "b")
    assert found["level"].accepted == "a finite number from -1 to 1 or None"
    assert found["flag"].accepted == "true or false"
    assert found["iterations"].types == (int, str)
    assert (found["scales"].types, found["scales"].member) == ((tuple,), int)


def test_large_limits_are_written_out():
    found = {p.name: p.accepted for p in DenoiseRecipe.parameters()}
    assert found["iterations"] == "auto or an integer from 1 to 1000000"
    assert found["seed"] == "an integer from 0 to 2147483647"


def test_json_and_back():
    recipe = DenoiseRecipe(
        iterations=np.int64(12), sigma=np.float32(0.5), channel_axis=-1, seed=5
    )
    text = json.dumps(recipe.to_dict())
    assert DenoiseRecipe.from_dict(json.loads(text)) == recipe
    assert json.loads(text)["task"] == "denoise"
    assert DenoiseRecipe.from_dict({}) == DenoiseRecipe()


def test_from_dict_leaves_its_argument_alone():
    values = {"task": "denoise", "seed": 3}
    DenoiseRecipe.from_dict(values)
    assert values == {"task": "denoise", "seed": 3}


def test_unknown_keys_and_other_tasks_are_refused():
    with pytest.raises(
        InputError, match=r"unknown parameter 'sigmas'; known are .*sig"
    ):
        DenoiseRecipe.from_dict({"sigmas": 3})
    with pytest.raises(InputError, match="task 'inpaint'; expected 'denoise'"):
        DenoiseRecipe.from_dict({"task": "inpaint"})
    with pytest.raises(InputError, match="seed must be"):
        DenoiseRecipe.from_dict({"seed": -1})


def test_tuples_take_any_sequence_of_numbers():
    assert Example(scales=[1, 2, 4]).scales == (1, 2, 4)
    assert Example(scales=np.array([1, 8])).scales == (1, 8)
    assert Example(scales=3).scales == (3,)
    again = Example.from_dict(json.loads(json.dumps(Example(scales=(2,)).to_dict())))
    assert again.scales == (2,)


@pytest.mark.parametrize("value", [(), (1, 0), (1, 2.5), "1,2", (1, "2"), None, 65])
def test_other_tuples_are_refused(value):
    with pytest.raises(InputError, match="scales must be one or more integers from 1"):
        Example(scales=value)
