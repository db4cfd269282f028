"""What the functions of the tasks do with the result."""

import logging

import numpy as np

from napari_dip import denoise


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
