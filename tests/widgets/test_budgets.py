"""Limits in environment variables, in the panels."""

import numpy as np
import pytest

from napari_dip.widgets.quality import BEST, NORMAL

pytestmark = pytest.mark.gui

RESULT = "raw [DIP denoise]"
TIME_UP = "the time limit of 1e-06 s (NAPARI_DIP_MAX_SECONDS)"


@pytest.fixture
def ask(until):
    """Return a function that estimates what Run would take, and returns the text."""

    def estimate(widget):
        text = widget.panel.estimate.text
        widget.panel.estimate.say("")
        widget.foresight.debouncer.setTimeout(10)
        widget.foresight.ask()
        until(lambda: text() != "" and not widget.foresight.waits)
        return text()

    return estimate


def test_too_many_iterations_are_refused_before_and_at_run(
    open_widget, ask, finish, noisy, monkeypatch
):
    monkeypatch.setenv("NAPARI_DIP_MAX_ITERATIONS", "20")
    _, widget = open_widget(noisy, iterations=30)
    says = "iterations must be 20 or fewer in one fit; got 30"
    assert says in ask(widget)
    finish(widget)
    assert says in widget.panel.progress.text()
    assert RESULT not in widget.viewer.layers
    widget.fields.fields["iterations"].value = 12
    assert ask(widget).startswith("About ")
    finish(widget)
    assert "after 12 iterations" in widget.panel.progress.text()


def test_a_quality_beyond_the_limit_leaves_the_others(
    open_widget, ask, noisy, monkeypatch
):
    _, widget = open_widget(noisy, iterations="auto")
    widget.quality.choices[BEST] = {"preset": "fast", "iterations": 2000}
    monkeypatch.setenv("NAPARI_DIP_MAX_ITERATIONS", "1999")
    labels = widget.quality.labels
    assert ask(widget).startswith("At most ")
    assert labels[NORMAL].text() != NORMAL
    assert labels[BEST].text() == BEST


def test_going_on_beyond_the_limit_is_refused_and_can_be_asked_again(
    open_widget, finish, until, noisy, every_image, monkeypatch
):
    _, widget = open_widget(noisy, iterations=10)
    finish(widget)
    monkeypatch.setenv("NAPARI_DIP_MAX_ITERATIONS", "20")
    controller = widget.controller
    before = controller.last.image.copy()
    controller.go_on(11)
    until(lambda: controller.state == "idle")
    assert "20 or fewer in one fit; got 21" in widget.panel.progress.text()
    np.testing.assert_array_equal(controller.last.layer.data, before)
    assert controller.last.resume is not None
    controller.go_on(10)
    until(lambda: controller.state == "idle")
    assert "after 20 iterations" in widget.panel.progress.text()


@pytest.mark.usefixtures("own_presets")
def test_too_little_memory_is_told_before_and_at_run(
    open_widget, ask, finish, noisy, monkeypatch
):
    monkeypatch.setenv("NAPARI_DIP_MAX_MEMORY", "1M")
    _, widget = open_widget(noisy)
    assert "(1 MiB free). That is too much" in ask(widget)
    finish(widget)
    assert "1.0 MiB are free" in widget.panel.progress.text()


def test_a_stack_ends_when_the_time_is_up_as_if_it_was_stopped(
    open_widget, finish, noisy, messages, monkeypatch
):
    monkeypatch.setenv("NAPARI_DIP_MAX_SECONDS", "1e-6")
    viewer, widget = open_widget(np.stack([noisy] * 3), iterations=100)
    finish(widget)
    text = widget.panel.progress.text()
    assert f": {TIME_UP}." in text
    assert "planes 2 to 3 were not begun and are empty" in text
    assert messages == []
    result = viewer.layers[RESULT]
    assert np.isfinite(result.data[0]).all()
    assert np.isnan(result.data[1:]).all()
    stored = result.metadata["napari-dip"]
    assert stored["ended_at"] == [0, 1]
