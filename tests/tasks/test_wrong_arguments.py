"""Whatever is given for an array or a function is refused in one line that names it."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

import napari_dip
from napari_dip import InputError, baselines, metrics
from napari_dip.tasks.presets import HIDING

SHORT = {"device": "cpu", "precision": "float32", "iterations": 1}
IMAGE = np.random.default_rng(0).random((20, 20))
MASK = np.zeros((20, 20), bool)
MASK[3:5, 4:9] = True
DELTA = np.pad([[1.0]], 1)


class Lazy:
    """An array of another library that does not keep what it promises."""

    dtype = np.dtype(np.float32)

    def __init__(self, shape, values):
        self.shape, self.ndim, self.values = shape, 2, values

    def __getitem__(self, index):
        return self.values


def nested():
    with warnings.catch_warnings(action="ignore"):  # of a prototype
        return torch.nested.nested_tensor([torch.zeros(3, 3), torch.zeros(2, 2)])


WRONG = {
    "nested": nested(),
    "meta": torch.empty(20, 20, device="meta"),
    "sparse": torch.eye(20).to_sparse(),
    "objects": np.array(IMAGE.tolist(), object),
    "structured": np.zeros((20, 20), [("a", "f4"), ("b", "i4")]),
    "dates": np.zeros((20, 20), "datetime64[s]"),
    "complex": IMAGE + 1j,
    "text": np.full((20, 20), "a"),
    "void": np.zeros((20, 20), "V8"),
    "ragged": [[1, 2], [3]],
    "no axes": np.array(3.0),
    "a number of NumPy": np.float64(3),
    "no rows": np.zeros((0, 20)),
    "no channels": np.zeros((20, 20, 0)),
    "dict": {"a": 1},
    "class": np.ndarray,
    "generator": (x for x in range(3)),
    "no shape": Lazy(None, IMAGE),
    "a number as shape": Lazy(20, IMAGE),
    "another shape": Lazy((20, 20), np.zeros((3, 3))),
    "words inside": Lazy((20, 20), "x"),
}
CALLS = {
    "denoise": ("image", lambda v: napari_dip.denoise(v, **SHORT)),
    "guide": ("guide", lambda v: napari_dip.denoise_guided(IMAGE, v, **SHORT)),
    "mask": ("mask", lambda v: napari_dip.inpaint(IMAGE, v, **SHORT)),
    "super_resolve": ("image", lambda v: napari_dip.super_resolve(v, 2, **SHORT)),
    "psf": ("psf", lambda v: napari_dip.deconvolve(IMAGE, v, **SHORT)),
    "restore": ("measurement", lambda v: napari_dip.restore(v, abs, **SHORT)),
    "blend": ("foreground", lambda v: napari_dip.blend(v, IMAGE, MASK, **SHORT)),
    "bead_psf": ("image", napari_dip.bead_psf),
    "noise_impedance": ("image", napari_dip.noise_impedance),
    "iterate": ("image", lambda v: next(napari_dip.iterate("denoise", v, **SHORT))),
    "task": ("task", lambda v: next(napari_dip.iterate(v, IMAGE))),
    "baseline": ("image", lambda v: baselines.nlm(v)),
    "task of a baseline": ("task", lambda v: baselines.run(v, "nlm", {}, IMAGE)),
    "metric": ("image", lambda v: metrics.psnr(v, IMAGE, data_range=1)),
    "shape": ("shape", lambda v: napari_dip.sample_prior(v, device="cpu")),
    "out": ("out", lambda v: napari_dip.denoise(IMAGE, out=v, **SHORT)),
    "weights": ("weights", lambda v: napari_dip.denoise(IMAGE, weights=v, **SHORT)),
    "analysis": ("analysis", lambda v: napari_dip.denoise(IMAGE, analysis=v, **SHORT)),
    "stop": ("stop", lambda v: napari_dip.denoise(IMAGE, stop=v, **SHORT)),
}


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_array_of_numbers_is_refused_in_one_line(call, value):
    name, function = CALLS[call]
    with pytest.raises(InputError) as caught:
        function(WRONG[value])
    text = str(caught.value)
    assert name in text.split(";")[0]
    assert len(text.splitlines()) == 1
    assert len(text) < 600
    assert "LazyArray" not in text


class Callback:
    def __init__(self, it):
        self.it = it


@pytest.mark.parametrize(
    "callback",
    [
        lambda: None,
        lambda one, two, three: None,
        lambda *, it: None,
        Callback,
        3,
        IMAGE,
    ],
)
@pytest.mark.parametrize("function", ["denoise", "noise_impedance"])
def test_functions_that_do_not_take_what_they_get_are_refused(function, callback):
    with pytest.raises(InputError, match=r"^callback must be a function that takes"):
        getattr(napari_dip, function)(IMAGE, callback=callback, **SHORT)


@pytest.mark.parametrize("callback", [lambda it, more=1: None, lambda *rest: None, id])
def test_functions_that_take_an_iterate_and_more_are_called(callback):
    result = napari_dip.denoise(IMAGE, callback=callback, **SHORT)
    assert result.shape == IMAGE.shape


def test_memory_of_another_library_is_an_array():
    expected = napari_dip.restore(IMAGE, abs, **SHORT)
    result = napari_dip.restore(memoryview(IMAGE), abs, **SHORT)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"restarts": 0}, "restarts"), ({"code": None}, "code"), ({"code": 3}, "code")],
)
def test_presets_are_refused_like_arguments(changes, name):
    with pytest.raises(InputError, match=rf"^Preset: {name} must be .*; got "):
        dataclasses.replace(HIDING, **changes)
