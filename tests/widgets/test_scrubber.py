"""Looking back at a fit, in a real viewer."""

import threading
from typing import Any, ClassVar

import numpy as np
import pytest

from napari_dip.widgets import turns

pytestmark = pytest.mark.gui

RESULT = "raw [DIP denoise]"


@pytest.fixture
def done(open_widget, finish, until, noisy, slow, every_image):
    viewer, widget = open_widget(noisy, iterations=10)
    finish(widget)
    # The thread ends a moment later; until then another fit would wait for its turn.
    until(lambda: not turns.busy())
    return viewer, widget


def made(layer):
    return layer.metadata["napari-dip"]


def test_the_slider_ends_at_the_result_and_goes_back_through_the_fit(done):
    viewer, widget = done
    scrubber, layer = widget.scrubber, viewer.layers[RESULT]
    result = layer.data.copy()
    assert scrubber.isVisibleTo(widget)
    assert len(scrubber.moments) > 2
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


def test_a_result_that_got_other_data_shows_the_fit_again(done):
    viewer, widget = done
    scrubber, layer = widget.scrubber, viewer.layers[RESULT]
    theirs = np.full(layer.data.shape, 5, np.float32)
    for place, other in enumerate([theirs, np.zeros((4, 5), np.float32)]):
        layer.data = other
        scrubber.slider.setValue(place)
        assert np.array_equal(layer.data, scrubber.moments[place].image)
    layer.data = theirs
    scrubber.keep_button.click()
    assert np.array_equal(layer.data, widget.controller.last.image)
    assert (theirs == 5).all()


def test_a_fit_goes_on_where_its_layer_got_other_data(
    open_widget, until, noisy, slow, every_image
):
    viewer, widget = open_widget(noisy, iterations=100)
    widget.panel.run_button.click()
    until(lambda: len(viewer.layers) == 2)
    layer = viewer.layers[RESULT]
    layer.data = np.zeros((4, 5), np.float32)
    until(lambda: layer.data.shape == noisy.shape)
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    assert layer.data.shape == noisy.shape


class Watched(np.ndarray):
    """An array that notes which threads copy it, and which parts are read."""

    threads: ClassVar[list[Any]] = []
    parts: ClassVar[list[Any]] = []

    def copy(self, *arguments):
        self.threads.append(threading.current_thread())
        return np.asarray(self).copy(*arguments)

    def __getitem__(self, index):
        self.parts.append(index)
        return super().__getitem__(index)


@pytest.mark.slow
def test_keeping_one_plane_of_a_stack_does_not_hold_up_the_viewer(
    open_widget, finish, until, noisy, slow, every_image
):
    viewer, widget = open_widget(np.stack([noisy, noisy + 500]), iterations=8)
    finish(widget)
    scrubber, last = widget.scrubber, widget.controller.last
    viewer.dims.set_current_step(0, 1)
    scrubber.slider.setValue(0)
    early = scrubber.moments[0]
    last.image = last.image.view(Watched)
    Watched.threads.clear()
    Watched.parts.clear()
    scrubber.keep_button.click()
    assert not scrubber.keep_button.isEnabled()
    until(scrubber.keep_button.isEnabled)
    (kept,) = (each for each in viewer.layers if "iteration" in each.name)
    assert np.array_equal(kept.data[0], last.image[0])
    assert np.array_equal(kept.data[1], early.image)
    assert np.array_equal(last.layer.data, last.image)
    (thread,) = Watched.threads
    assert thread is not threading.main_thread()
    assert Watched.parts[0] == last.shown_index(viewer.dims)


def test_keeping_one_makes_a_layer_and_leaves_the_result(done, until):
    viewer, widget = done
    scrubber, layer = widget.scrubber, viewer.layers[RESULT]
    result, early = layer.data.copy(), scrubber.moments[1]
    scrubber.slider.setValue(1)
    scrubber.keep_button.click()
    assert np.array_equal(layer.data, result)
    until(scrubber.keep_button.isEnabled)
    kept = viewer.layers[f"{RESULT}, iteration {early.step}"]
    assert np.array_equal(kept.data, early.image)
    assert made(kept)["kept"][0]["step"] == early.step
    assert made(kept)["run_id"] == made(layer)["run_id"]
    # The slider goes on to show images in the layer of the result.
    assert layer.visible
    assert not kept.visible
    assert scrubber.moments[scrubber.slider.value()] is None
    kept.data[:] = 0
    assert np.array_equal(layer.data, result)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.usefixtures("own_presets")
def test_images_of_the_preparation_are_called_so(
    open_widget, finish, until, slow, every_image
):
    image = np.random.default_rng(0).normal(100, 10, (64, 64)).astype(np.float32)
    image[20:40, 20:40] += 100
    viewer, widget = open_widget(image, iterations=10)
    texts = []
    widget.controller.reported.connect(
        lambda report: texts.append(
            (widget.panel.progress.text(), widget.scrubber.label.text())
            if report.image is not None
            else ("", "")
        )
    )
    finish(widget)
    scrubber = widget.scrubber
    for progress, shown in texts:
        if progress.startswith("Preparing"):
            number = progress.partition(" of ")[0].removeprefix("Preparing: ")
            assert shown == f"Shown: preparing, {number}"
    scrubber.slider.setValue(0)
    assert scrubber.label.text().startswith("Shown: preparing, iteration ")
    scrubber.keep_button.click()
    until(scrubber.keep_button.isEnabled)
    assert f"{RESULT}, preparing" in viewer.layers


@pytest.mark.slow
def test_every_plane_has_moments_of_its_own(
    open_widget, finish, noisy, slow, every_image
):
    stack = np.stack([noisy, noisy + 500])
    viewer, widget = open_widget(stack, iterations=8)
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


@pytest.mark.slow
def test_without_a_result_there_is_nothing_to_look_back_at(done, finish, slow):
    viewer, widget = done
    slow.quicken()
    viewer.layers.remove(RESULT)
    assert not widget.scrubber.isVisibleTo(widget)
    assert widget.controller.last is None
    viewer.dims.set_current_step(0, 0)
    finish(widget)
    assert widget.scrubber.isVisibleTo(widget)


@pytest.mark.slow
def test_going_on_makes_the_same_layer_and_slider_longer(done, until):
    viewer, widget = done
    scrubber, layer = widget.scrubber, viewer.layers[RESULT]
    result, names = layer.data.copy(), [each.name for each in viewer.layers]
    scrubber.slider.setValue(0)
    assert scrubber.go_on_button.isEnabled()
    scrubber.more.setValue(15)
    scrubber.go_on_button.click()
    assert widget.controller.state == "running"
    assert not scrubber.go_on_button.isEnabled()
    until(lambda: widget.controller.state == "idle")
    assert [each.name for each in viewer.layers] == names
    assert not np.array_equal(layer.data, result)
    assert made(layer)["iterations"] == 25
    assert made(layer)["recipe"]["extra_iterations"] == 15
    assert "kept" not in made(layer)
    steps = [m.step for m in scrubber.moments if m is not None]
    assert steps == sorted(steps)
    assert steps[0] < 10 < steps[-1]
    assert scrubber.moments[scrubber.slider.value()] is None
    assert widget.panel.curve.checks[-1][1] > 10
    assert widget.panel.curve.checks[0][1] == 1
    assert scrubber.go_on_button.isEnabled()


def test_a_fit_that_was_stopped_goes_on_to_its_own_end(
    open_widget, until, finish, noisy, slow, every_image
):
    viewer, widget = open_widget(noisy, iterations=15)
    reports = []
    widget.controller.reported.connect(reports.append)
    widget.panel.run_button.click()
    until(lambda: bool(reports) and reports[-1].iterate.step > 3)
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    slow.quicken()
    widget.scrubber.go_on_button.click()
    until(lambda: widget.controller.state == "idle")
    stopped = viewer.layers[RESULT]
    assert made(stopped)["iterations"] == 15
    assert made(stopped)["ended_at"] is None
    assert made(stopped)["recipe"]["extra_iterations"] == 0
    finish(widget)
    again = next(each for each in viewer.layers if each.name == f"{RESULT} [1]")
    assert np.array_equal(stopped.data, again.data)


def test_cancelling_what_went_on_leaves_the_result(done, until):
    viewer, widget = done
    layer = viewer.layers[RESULT]
    result, before = layer.data.copy(), made(layer)
    widget.scrubber.more.setValue(1000)
    widget.scrubber.go_on_button.click()
    until(lambda: not np.array_equal(layer.data, result))
    widget.panel.cancel_button.click()
    until(lambda: widget.controller.state == "idle")
    assert np.array_equal(layer.data, result)
    assert made(layer) == before
    assert "the result before it" in widget.panel.progress.text()
    assert widget.scrubber.keep_button.isEnabled()
    # The network has moved on: what it would go on from is not this result.
    assert not widget.scrubber.go_on_button.isEnabled()


def test_deleting_the_layer_of_what_went_on_ends_it(done, until):
    viewer, widget = done
    widget.scrubber.more.setValue(1000)
    widget.scrubber.go_on_button.click()
    viewer.layers.remove(viewer.layers[RESULT])
    until(lambda: widget.controller.state == "idle")
    assert widget.controller.last is None
    assert not widget.scrubber.isVisibleTo(widget)


def test_a_stack_cannot_go_on_and_says_why(open_widget, finish, noisy, every_image):
    _, widget = open_widget(np.stack([noisy] * 2), iterations=8)
    finish(widget)
    assert not widget.scrubber.go_on_button.isEnabled()
    assert "choose the plane that is shown" in widget.scrubber.reason.text()


def test_the_iterations_to_continue_for_are_shown_in_full(open_widget, noisy):
    _, widget = open_widget(noisy)
    scrubber = widget.scrubber
    room = widget.minimumSizeHint().width() - scrubber.go_on_button.sizeHint().width()
    assert scrubber.more.sizeHint().width() < room
