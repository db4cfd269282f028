"""Looking back at a fit, in a real viewer."""

import numpy as np
import pytest

pytestmark = pytest.mark.gui

RESULT = "raw [DIP denoise]"


@pytest.fixture
def done(open_widget, finish, noisy, slow, every_image):
    viewer, widget = open_widget(noisy, iterations=40)
    finish(widget)
    return viewer, widget


def made(layer):
    return layer.metadata["napari-dip"]


def test_the_slider_ends_at_the_result_and_goes_back_through_the_fit(done):
    viewer, widget = done
    scrubber, layer = widget.scrubber, viewer.layers[RESULT]
    result = layer.data.copy()
    assert scrubber.isVisibleTo(widget)
    assert len(scrubber.moments) > 3
    assert scrubber.moments[scrubber.slider.value()] is None
    assert "the result" in scrubber.label.text()
    scrubber.slider.setValue(0)
    early = scrubber.moments[0]
    assert np.array_equal(layer.data, early.image)
    assert not np.array_equal(early.image, result)
    assert f"iteration {early.step}" in scrubber.label.text()
    assert made(layer)["kept"] == [{"plane": [], "part": 0, "step": early.step}]
    scrubber.slider.setValue(scrubber.moments.index(None))
    assert np.array_equal(layer.data, result)
    assert "kept" not in made(layer)


def test_keeping_one_makes_a_layer_and_leaves_the_result(done):
    viewer, widget = done
    scrubber, layer = widget.scrubber, viewer.layers[RESULT]
    result, early = layer.data.copy(), scrubber.moments[1]
    scrubber.slider.setValue(1)
    scrubber.keep_button.click()
    assert np.array_equal(layer.data, result)
    kept = viewer.layers[f"{RESULT}, iteration {early.step}"]
    assert np.array_equal(kept.data, early.image)
    assert made(kept)["kept"][0]["step"] == early.step
    assert made(kept)["run_id"] == made(layer)["run_id"]
    assert scrubber.moments[scrubber.slider.value()] is None
    kept.data[:] = 0
    assert np.array_equal(layer.data, result)


def test_looking_back_holds_the_layer_while_the_fit_goes_on(
    open_widget, until, qtbot, noisy, slow, every_image
):
    viewer, widget = open_widget(noisy, iterations=100_000)
    scrubber = widget.scrubber
    widget.panel.run_button.click()
    until(lambda: len(scrubber.moments) > 4)
    scrubber.slider.setValue(0)
    early = scrubber.moments[0]
    count = len(scrubber.moments)
    until(lambda: len(scrubber.moments) > count + 2)
    assert np.array_equal(viewer.layers[RESULT].data, early.image)
    assert not scrubber.keep_button.isEnabled()
    scrubber.slider.setValue(scrubber.slider.maximum())
    newest = scrubber.moments[-1].step
    until(lambda: scrubber.moments[-1].step > newest)
    assert np.array_equal(viewer.layers[RESULT].data, scrubber.moments[-1].image)
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    assert scrubber.keep_button.isEnabled()


def test_every_plane_has_moments_of_its_own(
    open_widget, finish, noisy, slow, every_image
):
    stack = np.stack([noisy, noisy + 500])
    viewer, widget = open_widget(stack, iterations=25)
    finish(widget)
    scrubber, layer = widget.scrubber, viewer.layers[RESULT]
    result = layer.data.copy()
    viewer.dims.set_current_step(0, 1)
    second = list(scrubber.moments)
    assert scrubber.index[0] == 1
    scrubber.slider.setValue(0)
    assert np.array_equal(layer.data[1], second[0].image)
    assert np.array_equal(layer.data[0], result[0])
    viewer.dims.set_current_step(0, 0)
    assert scrubber.index[0] == 0
    assert scrubber.moments[scrubber.slider.value()] is None
    viewer.dims.set_current_step(0, 1)
    assert scrubber.slider.value() == 0
    scrubber.keep_button.click()
    assert np.array_equal(layer.data, result)


def test_without_a_result_there_is_nothing_to_look_back_at(done, finish):
    viewer, widget = done
    viewer.layers.remove(RESULT)
    assert not widget.scrubber.isVisibleTo(widget)
    assert widget.controller.last is None
    viewer.dims.set_current_step(0, 0)
    finish(widget)
    assert widget.scrubber.isVisibleTo(widget)
