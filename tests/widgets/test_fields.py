from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from napari_dip.errors import InputError
from napari_dip.tasks.denoise import DenoiseRecipe
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.widgets.fields import Fields, label_of, numbers


@dataclass(frozen=True, kw_only=True)
class EveryKind(Recipe):
    task: ClassVar[str] = "every_kind"

    flag: bool = parameter(True, "A box to tick.")
    text: str = parameter("words", "A line to fill in.")
    real: float = parameter(0.125, "A number.", low=0)
    choice: Literal["one", "two"] = parameter("one", "A list.")
    whole_or_none: int | None = parameter(None, "A number or nothing.", low=1)
    three_ways: float | Literal["auto"] | None = parameter("auto", "Both words.")
    several: tuple[int, ...] = parameter((1,), "Numbers.", low=1)
    reals_or_none: tuple[float, ...] | None = parameter(None, "Numbers or nothing.")


@pytest.mark.parametrize("kind", [DenoiseRecipe, EveryKind])
def test_fields_start_with_the_defaults(qtbot, kind):
    fields = Fields(kind)
    qtbot.addWidget(fields)
    assert fields.recipe() == kind()


@pytest.mark.parametrize(
    "recipe",
    [
        DenoiseRecipe(noise="poisson", iterations=77, sigma=3.25, device="cuda:1"),
        DenoiseRecipe(channel_axis=-3, spatial_dims=3, seed=2**31 - 1, dtype="input"),
        DenoiseRecipe(channel_axis=None, restarts=5, precision="bfloat16"),
        DenoiseRecipe(tile=(384, 768)),
        DenoiseRecipe(tile=384),
        DenoiseRecipe(tile=None),
        EveryKind(flag=False, text="", real=1.25e-7, choice="two", whole_or_none=4),
        EveryKind(real=123456.75, three_ways=-2.5),
        EveryKind(three_ways=None),
        EveryKind(several=(1, 2, 4), reals_or_none=(0.5, -1e-9)),
    ],
)
def test_load_and_values_are_inverse(qtbot, recipe):
    fields = Fields(type(recipe))
    qtbot.addWidget(fields)
    fields.load(recipe)
    assert fields.recipe() == recipe
    fields.load(type(recipe)())
    assert fields.recipe() == type(recipe)()


def test_a_number_is_shown_only_when_it_counts(qtbot):
    fields = Fields(DenoiseRecipe)
    qtbot.addWidget(fields)
    iterations, axis = fields.fields["iterations"], fields.fields["channel_axis"]
    assert iterations.number.widget.native.isHidden()
    iterations.choice.value = False
    assert not iterations.number.widget.native.isHidden()
    assert fields.recipe().iterations == 500
    fields.fields["tile"].choice.value = "number"
    assert fields.recipe().tile == 768
    for word, free in (("auto", False), ("none", False), ("number", True)):
        axis.choice.value = word
        assert axis.number.widget.native.isHidden() is not free


def test_every_field_has_a_tip_and_advanced_ones_are_folded_away(qtbot):
    fields = Fields(DenoiseRecipe)
    qtbot.addWidget(fields)
    fields.show()
    for p in DenoiseRecipe.parameters():
        native = fields.fields[p.name].widget.native
        assert p.help in native.toolTip()
        assert fields.advanced.isAncestorOf(native) is p.advanced
    assert not fields.advanced.isExpanded()


def test_what_is_no_number_is_refused_by_name(qtbot):
    fields = Fields(DenoiseRecipe)
    qtbot.addWidget(fields)
    fields.load(DenoiseRecipe(sigma=5e-9))
    fields.fields["sigma"].number.widget.value = "1,5"
    with pytest.raises(InputError, match=r"sigma must be .* got '1,5'"):
        fields.recipe()


@pytest.mark.parametrize(
    ("text", "numbers"), [("1, 2,4", (1, 2, 4)), ("(3)", (3,)), ("5,", (5,))]
)
def test_several_numbers_are_a_line_with_commas(qtbot, text, numbers):
    fields = Fields(EveryKind)
    qtbot.addWidget(fields)
    fields.fields["several"].widget.value = text
    assert fields.recipe().several == numbers


def test_a_line_shows_the_first_of_many_numbers(qtbot):
    field = numbers(tuple(range(64)), int)
    qtbot.addWidget(field.widget.native)
    assert field.widget.native.cursorPosition() == 0
    field.value = tuple(range(128))
    assert field.widget.native.cursorPosition() == 0


@pytest.mark.parametrize("text", ["", "one", "1 2", "1.5", "0"])
def test_what_are_no_numbers_is_refused_by_name(qtbot, text):
    fields = Fields(EveryKind)
    qtbot.addWidget(fields)
    fields.fields["several"].widget.value = text
    with pytest.raises(InputError, match="several must be one or more integers"):
        fields.recipe()


def test_a_change_of_any_field_is_told(qtbot):
    fields = Fields(EveryKind)
    qtbot.addWidget(fields)
    told = []
    fields.changed.connect(lambda: told.append(1))
    fields.fields["flag"].value = False
    fields.fields["several"].value = (2,)
    fields.fields["three_ways"].value = 3.0
    assert len(told) >= 3


def test_methods_have_their_usual_names():
    assert label_of("richardson_lucy") == "Richardson-Lucy"
    assert label_of("nlm") == "Non-local means"


def test_a_name_of_two_meanings_has_two_labels():
    assert label_of("sigma", "denoise") == "Noise sigma"
    assert label_of("sigma", "super_resolve") == "Gaussian sigma"
    assert label_of("sigma") == "Noise sigma"
