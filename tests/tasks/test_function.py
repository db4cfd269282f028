"""What the functions of the tasks do with the result."""

import inspect
import logging

import numpy as np

import napari_dip
from napari_dip import baselines, denoise, metrics


def test_public_functions_say_what_they_raise():
    public = [getattr(napari_dip, name) for name in napari_dip.__all__]
    public += [getattr(metrics, name) for name in metrics.__all__]
    public += baselines.METHODS.values()
    silent = [
        function.__name__
        for function in filter(inspect.isfunction, public)
        if "Raises\n------\n" not in inspect.getdoc(function)
    ]
    assert silent == []


def test_warnings_are_logged_where_only_the_image_is_returned(caplog):
    stack = np.random.default_rng(0).normal(100, 5, (2, 24, 24))
    stack[1] = np.nan
    text = "plane 1 came back unchanged: nothing but NaN"
    with caplog.at_level(logging.WARNING):
        fit = denoise(stack, iterations=1, full_output=True)
        assert fit.warnings == [text]
        assert not caplog.messages
        denoise(stack, iterations=1)
    assert caplog.messages == [f"denoise: {text}"]
