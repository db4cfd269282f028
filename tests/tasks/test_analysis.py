"""Analyses that users give, and what is no analysis."""

import json

import numpy as np
import pytest

from napari_dip import deconvolve, denoise, enhance, inpaint, super_resolve
from napari_dip.errors import InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.noise import NoiseModel

SHORT = {"iterations": 1, "device": "cpu", "precision": "float32"}
IMAGE = np.random.default_rng(0).normal(100, 10, (20, 24))


@pytest.fixture
def facts():
    """Return an analysis as JSON has it."""
    found = Analysis((0,), (60.0,), (80.0,), NoiseModel.gaussian(0.01), levels=(0.01,))
    return json.loads(json.dumps(found.to_dict()))


def test_json_of_an_analysis_is_the_analysis(facts):
    assert Analysis.from_dict(facts).to_dict() == Analysis.from_dict(facts).to_dict()
    assert Analysis.from_dict(facts).noise.variance == (0.01,)


def test_an_analysis_has_no_other_fields(facts):
    with pytest.raises(InputError, match="must be one of a fit"):
        Analysis.from_dict(facts | {"something": False})


def test_an_analysis_takes_the_same_kinds_as_networks_and_states(facts):
    for name, value in (("missing", True), ("channels", [0.0]), ("noisy", 1)):
        with pytest.raises(InputError, match=f"analysis: {name} must be of type"):
            Analysis.from_dict(facts | {name: value})
    numpy = facts | {"missing": np.float32(0.5), "channels": [np.int64(0)]}
    assert Analysis.from_dict(numpy).missing == 0.5


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("span", [0.0], r"span must be positive; got \(0.0,\)"),
        ("span", [1.0, 1.0], r"span must have one value for each of .* \(0,\); got"),
        ("span", ["a"], r"span must be of type tuple\[float, ...\], .* got \('a',\)"),
        ("offset", None, r"offset must be of type tuple\[float, ...\], .* got None"),
        ("offset", [float("nan")], "offset must be of type .* got .nan"),
        ("levels", [], "levels must have one value for each"),
        ("levels", [-1.0], r"levels must be from 0 to 1e\+10; got \(-1.0,\)"),
        ("correlated", "no", "correlated must be of type bool, .* got 'no'"),
        ("warnings", [3], "warnings must be of type"),
        ("clean", [True, True], "clean must have one value for each"),
        ("noise", {"variance": [1.0]}, "must be one of a fit"),
    ],
)
def test_what_no_fit_can_have_found_out_is_refused(facts, name, value, words):
    with pytest.raises(InputError, match=f"^analysis.*{words}") as caught:
        denoise(IMAGE, analysis=facts | {name: value}, **SHORT)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("variance", 0.0),
        ("variance", 1e11),
        ("gain", -0.1),
        ("gain", 1e11),
        ("offset", "a"),
        ("offset", 1e300),
        ("offset", -1e38),
    ],
)
def test_noise_that_no_fit_can_have_found_out_is_refused(facts, name, value):
    facts["noise"][name] = [value]
    with pytest.raises(InputError, match=f"^analysis: {name} must be"):
        denoise(IMAGE, analysis=facts, **SHORT)


def test_an_analysis_without_a_preset_is_refused(facts):
    with pytest.raises(InputError, match=r"^analysis must be one of a fit of inpaint"):
        inpaint(IMAGE, IMAGE > 120, analysis=facts | {"mask": "round"}, **SHORT)


@pytest.mark.parametrize(
    ("function", "more", "lacks"),
    [
        (deconvolve, (np.full((3, 3), 1 / 9),), "background"),
        (enhance, (), "detail"),
        (super_resolve, (), "clean"),
    ],
)
def test_an_analysis_of_another_task_is_refused(facts, function, more, lacks):
    words = f"^analysis must be one of a fit of the same task; got .* {lacks}$"
    with pytest.raises(InputError, match=words):
        function(IMAGE, *more, analysis=facts | {"noisy": True}, **SHORT)


def test_no_analysis_for_any_channels_is_refused():
    with pytest.raises(InputError, match="analysis must be one for every group"):
        denoise(IMAGE, analysis=[], **SHORT)
