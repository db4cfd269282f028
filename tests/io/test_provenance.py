"""How an image was made can be read from its file, and run again."""

import hashlib

import numpy as np
import pytest

from napari_dip.errors import InputError
from napari_dip.io import provenance
from napari_dip.prior.problem import Fit
from napari_dip.tasks.denoise import DenoiseRecipe


@pytest.fixture
def made():
    planes = [{"device": "cpu", "precision": "float32", "torch": "2", "sigma": 0.1}]
    recipe = DenoiseRecipe(seed=3, channel_axis=None)
    fit = Fit(None, None, "the end", 7, 5, 1.23456, [], {"planes": planes}, ["careful"])
    arrays = {"image": ("in.tif", np.arange(6.0).reshape(2, 3))}
    inputs = provenance.describe_inputs(arrays)
    return provenance.describe(recipe, fit, inputs, ["dtype"])


def test_everything_is_told(made):
    expected = {
        "task": "denoise",
        "device": "cpu",
        "precision": "float32",
        "torch": "2",
        "iterations": 7,
        "best_iteration": 5,
        "stopped_by": "the end",
        "seconds": 1.235,
        "warnings": ["careful"],
        "planes": [{"sigma": 0.1}],
    }
    assert made | expected == made
    assert DenoiseRecipe.from_dict(made["recipe"]).seed == 3
    image = made["inputs"]["image"]
    assert image["file"] == "in.tif"
    assert image["sha256"] == hashlib.sha256(np.arange(6.0).tobytes()).hexdigest()


def test_the_device_is_that_of_the_first_plane_that_was_fitted():
    planes = [{"analysis": {}}, {"device": "cpu", "precision": "float32", "torch": "2"}]
    fit = Fit(None, None, "the end", 7, 5, 1.0, [], {"planes": planes}, [])
    made = provenance.describe(DenoiseRecipe(), fit, {})
    assert (made["device"], made["precision"], made["torch"]) == ("cpu", "float32", "2")


def test_digest_does_not_depend_on_the_layout_in_memory():
    array = np.arange(12).reshape(3, 4)
    assert provenance.digest(array) == provenance.digest(np.asfortranarray(array))
    assert provenance.digest(array) != provenance.digest(array.T)


def test_text_is_ascii_and_strict_json(made):
    text = provenance.dumps({**made, "odd": float("nan"), "sign": "µ"})
    assert text.isascii()
    assert provenance.loads(text)["odd"] is None
    assert provenance.loads(text)["sign"] == "µ"


@pytest.mark.parametrize(
    "text", [None, 3, "", "napari-dip", "{", '{"software": "other"}', "[" * 100_000]
)
def test_text_of_others_is_none_of_ours(text):
    assert provenance.loads(text) is None


def test_recipe_leaves_out_what_the_file_decided(made):
    values = provenance.recipe_of(made, DenoiseRecipe)
    assert values["seed"] == 3
    assert "dtype" not in values
    assert "task" not in values


@pytest.mark.parametrize(
    "recipe", [None, [], {"nonesuch": 1}, {"seed": "x"}, {"task": "inpaint"}]
)
def test_recipe_that_is_none(made, recipe):
    with pytest.raises(InputError):
        provenance.recipe_of({**made, "recipe": recipe}, DenoiseRecipe)


def test_scalars_of_numpy_are_numbers():
    assert (
        provenance.dumps({"a": np.float32(0.5), "b": np.nan}) == '{"a": 0.5, "b": null}'
    )
