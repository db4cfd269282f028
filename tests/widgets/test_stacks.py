"""Stacks that were stopped, and what the panel says while a fit prepares."""

import importlib
import time

import numpy as np
import pytest

from napari_dip.prior import interrupt
from napari_dip.prior.fit import run_to_end
from napari_dip.tasks.block import NOT_FINISHED
from napari_dip.tasks.denoise import DenoiseRecipe
from napari_dip.widgets import worker
from napari_dip.widgets.deconvolve import DeconvolveWidget
from napari_dip.widgets.residual import tolerance

pytestmark = pytest.mark.gui

RESULT = "raw [DIP denoise]"


@pytest.fixture
def small_windows(small_windows, monkeypatch):
    """Fit a shared network to windows that are smaller than the planes here."""
    monkeypatch.setattr("napari_dip.tasks.windows.WINDOW_SIDE", 24)


@pytest.fixture
def stopped_stack(open_widget, until, noisy, slow, every_image):
    """Return a function that stops a run in the second of four planes."""

    def stop(**kinds):
        random = np.random.default_rng(1)
        stack = np.stack([noisy + random.normal(0, 10, noisy.shape) for _ in range(4)])
        viewer, widget = open_widget(
            stack.astype(np.float32), iterations=8, contrast_limits=(0, 120)
        )
        for name, value in kinds.items():
            widget.fields.fields[name].value = value
        reports = []

        def stop_in_second(report):
            # The images of several iterations, or there is nothing to look back at.
            reports.append(report)
            if sum(report.iterate.part == 1 for report in reports) == 4:
                widget.panel.stop_button.click()

        widget.controller.reported.connect(stop_in_second)
        widget.panel.run_button.click()
        until(lambda: len(reports) > 0)
        until(lambda: widget.controller.state == "idle")
        return viewer, widget

    return stop


@pytest.mark.parametrize("dtype", ["float32", "input"])
def test_a_result_has_only_planes_that_were_fitted(stopped_stack, dtype, messages):
    viewer, widget = stopped_stack(dtype=dtype)
    result = viewer.layers[RESULT]
    assert np.isfinite(result.data[:2]).all()
    assert np.isnan(result.data[2:]).all()
    text = widget.panel.progress.text()
    assert "Planes 1 to 2 are done, the last as far as it was" in text
    assert "planes 3 to 4 were not begun and are empty" in text
    assert "Sliders in napari count from 0." in text
    assert messages == []


@pytest.mark.slow
def test_the_residual_is_read_plane_by_plane(stopped_stack, until):
    viewer, widget = stopped_stack()
    viewer.dims.set_current_step(0, 0)
    widget.comparison.residual_button.click()
    reading = widget.comparison.reading
    until(lambda: reading.text().startswith("Plane 1 of 4. "))
    assert "white noise" in reading.text()
    viewer.dims.set_current_step(0, 3)
    widget.comparison.residual_button.click()
    until(lambda: reading.text().startswith("Plane 4 of 4. "))
    assert "was not fitted" in reading.text()
    assert tolerance(32 * 32) > 1.5


def test_a_stopped_stack_goes_on_with_the_planes_that_are_left(
    stopped_stack, until, slow, messages
):
    viewer, widget = stopped_stack()
    slow.seconds = 0
    layer, controller = viewer.layers[RESULT], widget.controller
    first = layer.data[0].copy()
    parts = []
    controller.reported.connect(lambda report: parts.append(report.iterate.part))
    assert widget.scrubber.go_on_button.isEnabled()
    widget.scrubber.go_on_button.click()
    until(lambda: controller.state == "idle")
    assert set(parts) == {1, 2, 3}
    assert [layer.name for layer in viewer.layers] == ["raw", RESULT]
    assert np.isfinite(layer.data).all()
    np.testing.assert_array_equal(layer.data[0], first)
    assert messages == []
    text = widget.panel.progress.text()
    assert text.startswith("Finished after 32 iterations")
    assert "begun" not in text
    assert layer.metadata["napari-dip"]["planes_not_begun"] == []
    viewer.dims.set_current_step(0, 3)
    widget.comparison.residual_button.click()
    until(lambda: widget.comparison.reading.text().startswith("Plane 4 of 4. "))
    assert "white noise" in widget.comparison.reading.text()
    # It is done, and the reason why it cannot go on any further is beside the button.
    assert not widget.scrubber.go_on_button.isEnabled()
    assert widget.scrubber.reason.isVisibleTo(widget)
    assert "All planes are done" in widget.scrubber.reason.text()


def test_a_stack_can_go_on_before_there_are_images_to_look_back_at(
    open_widget, until, noisy, slow
):
    stack = np.stack([noisy] * 3)
    _, widget = open_widget(stack, iterations=100, contrast_limits=(0, 120))
    reports = []
    widget.controller.reported.connect(reports.append)
    widget.panel.run_button.click()
    until(lambda: len(reports) > 0)
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    scrubber = widget.scrubber
    assert len(scrubber.moments) < 3
    assert scrubber.isVisibleTo(widget)
    assert scrubber.go_on_button.isEnabled()
    assert not scrubber.more.isEnabled()
    assert scrubber.label.text() == "Shown: the result"


@pytest.mark.slow
def test_a_stack_that_went_on_is_that_of_one_run(stopped_stack, until, finish, slow):
    viewer, widget = stopped_stack()
    slow.quicken()
    layer = viewer.layers[RESULT]
    widget.scrubber.go_on_button.click()
    until(lambda: widget.controller.state == "idle")
    finish(widget)
    whole = viewer.layers[f"{RESULT} [1]"]
    np.testing.assert_array_equal(layer.data, whole.data)


@pytest.mark.slow
def test_a_stop_in_the_filters_of_a_plane_adds_no_iterations(
    open_widget, until, finish, noisy, monkeypatch
):
    stopped = []

    def filters(image):
        while not stopped:
            interrupt.check()
            time.sleep(0.01)
        return image

    denoise = importlib.import_module("napari_dip.tasks.denoise")
    monkeypatch.setattr(
        denoise, "_steps", lambda *_, **__: ([lambda image: image], [filters])
    )
    _, widget = open_widget(np.stack([noisy] * 2), contrast_limits=(0, 120))
    reports = []
    widget.controller.reported.connect(reports.append)
    widget.panel.run_button.click()
    until(lambda: any(report.finishing for report in reports))
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    stopped.append(True)
    assert "plane 2 was not begun" in widget.panel.progress.text()
    widget.scrubber.go_on_button.click()
    until(lambda: widget.controller.state == "idle")
    went_on = widget.controller.last
    assert "asked for" not in widget.panel.progress.text()
    finish(widget)
    np.testing.assert_array_equal(went_on.image, widget.controller.last.image)
    assert went_on.provenance["iterations"] == 16


@pytest.mark.slow
def test_a_stack_can_be_stopped_again_and_cancelled(stopped_stack, until, messages):
    viewer, widget = stopped_stack()
    controller, layer = widget.controller, viewer.layers[RESULT]
    reports = []
    controller.reported.connect(reports.append)
    widget.scrubber.go_on_button.click()
    until(lambda: any(report.iterate.part == 2 for report in reports))
    widget.panel.stop_button.click()
    until(lambda: controller.state == "idle")
    text = widget.panel.progress.text()
    assert "Planes 1 to 3 are done" in text
    assert "plane 4 was not begun and is empty" in text
    kept = layer.data.copy()
    del reports[:]
    widget.scrubber.go_on_button.click()
    until(lambda: len(reports) > 2)
    widget.panel.cancel_button.click()
    until(lambda: controller.state == "idle")
    assert "the result before it was kept" in widget.panel.progress.text()
    np.testing.assert_array_equal(layer.data, kept)
    assert messages == []


@pytest.mark.usefixtures("small_windows")
def test_a_stop_in_a_fit_for_all_planes_keeps_the_one_in_view(
    open_widget, until, noisy, slow, every_image, messages
):
    stack = np.stack([noisy, noisy[::-1], noisy[:, ::-1], noisy.T])
    viewer, widget = open_widget(stack, iterations=12, contrast_limits=(0, 120))
    widget.fields.fields["share"].value = "yes"
    reports = []
    widget.controller.reported.connect(reports.append)
    widget.panel.run_button.click()
    until(lambda: len(reports) > 2)
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    data, (shown,) = viewer.layers[RESULT].data, {r.iterate.index[0] for r in reports}
    assert np.isfinite(data[shown]).all()
    assert (data[shown] != stack[shown]).all()
    rest = [n for n in range(4) if n != shown]
    assert np.isnan(data[rest]).all()
    assert f"Plane {shown + 1} is done as far as it was" in widget.panel.progress.text()
    assert messages == []
    assert viewer.dims.current_step[0] == shown
    slow.quicken()
    widget.scrubber.go_on_button.click()
    until(lambda: widget.controller.state == "idle")
    assert np.isfinite(viewer.layers[RESULT].data).all()
    assert "Finished after 12 iterations" in widget.panel.progress.text()


@pytest.mark.slow
@pytest.mark.usefixtures("small_windows")
def test_one_network_for_all_planes_tells_the_time_for_all(
    open_widget, finish, noisy, slow, monkeypatch
):
    """Its fit takes most of the time, and the planes little, one like the other."""
    monkeypatch.setattr(worker, "REPORT_EVERY", 0.0)
    stack = np.stack([noisy, noisy[::-1], noisy[:, ::-1], noisy.T])
    _, widget = open_widget(stack, iterations=20, contrast_limits=(0, 120))
    widget.fields.fields["share"].value = "yes"
    widget.panel.finishing = 0.1
    said = []

    def note(report):
        panel = widget.panel
        left = panel._left(report) if report.rate > 0 else None
        said.append((report, panel.progress.text(), panel.bar.value(), left))

    widget.controller.reported.connect(note)
    finish(widget)
    fitting = [one for one in said if 10 < one[0].iterate.step < 20]
    for report, text, _, left in fitting:
        assert "One network for all 4 planes\nIteration " in text
        assert "Plane" not in text
        assert left == pytest.approx((20 - report.iterate.step) / report.rate + 0.4)
    assert fitting[0][2] > 300
    for report, text, *_ in (one for one in said if one[0].iterate.fitted):
        plane = report.iterate.index[0] + 1
        assert text.startswith(f"Plane {plane} of 4\nThe network restores")
        assert "per second" not in text
    assert any(one[0].iterate.fitted for one in said)


@pytest.mark.usefixtures("small_windows")
def test_a_network_for_the_parts_of_one_image_speaks_of_no_planes(
    open_widget, finish, noisy, monkeypatch
):
    monkeypatch.setattr(worker, "REPORT_EVERY", 0.0)
    _, widget = open_widget(noisy, iterations=1, contrast_limits=(0, 120))
    widget.fields.fields["share"].value = "yes"
    said = []
    widget.controller.reported.connect(
        lambda report: said.append((report.iterate, widget.panel.progress.text()))
    )
    finish(widget)
    assert any(it.fitted for it, _ in said)
    for it, text in said:
        begins = (
            "The network restores the image" if it.fitted else "One network for all"
        )
        assert text.startswith(begins)
        assert "plane" not in text


def test_a_run_begins_in_view(open_widget, until, noisy, slow):
    stack = np.stack([noisy] * 4)
    viewer, widget = open_widget(stack, iterations=100_000, contrast_limits=(0, 120))
    viewer.dims.set_current_step(0, 3)
    reports = []
    widget.controller.reported.connect(reports.append)
    widget.panel.run_button.click()
    until(lambda: RESULT in viewer.layers)
    shown = reports[-1].iterate.index[0]
    assert shown != 3
    assert viewer.dims.current_step[0] == shown
    viewer.dims.set_current_step(0, 2)  # the user may look elsewhere
    count = len(reports)
    until(lambda: len(reports) > count + 3)
    assert viewer.dims.current_step[0] == 2
    widget.panel.cancel_button.click()


@pytest.mark.usefixtures("small_windows")
def test_a_second_stop_leaves_out_the_filters_of_a_plane_of_such_a_fit(
    open_widget, until, noisy, slow, every_image, endless_filters
):
    stack = np.stack([noisy, noisy[::-1], noisy[:, ::-1], noisy.T])
    viewer, widget = open_widget(stack, iterations=100_000)
    widget.fields.fields["share"].value = "yes"
    widget.panel.run_button.click()
    until(lambda: RESULT in viewer.layers)
    widget.panel.stop_button.click()
    until(lambda: "finishing the image" in widget.panel.progress.text())
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    made = viewer.layers[RESULT].metadata["napari-dip"]
    assert made["stopped_by"] == "stopped by the user"
    assert NOT_FINISHED in made["warnings"]
    assert np.isfinite(viewer.layers[RESULT].data).any()


def test_the_number_of_further_iterations_suits_the_fit(open_widget, finish, noisy):
    _, widget = open_widget(noisy, iterations=40)
    finish(widget)
    assert widget.scrubber.more.value() == 20


@pytest.mark.slow
@pytest.mark.usefixtures("own_presets")
def test_iterations_before_the_first_are_called_preparing(open_widget, until, slow):
    large = np.random.default_rng(0).normal(100, 10, (64, 64)).astype(np.float32)
    large[20:40, 20:40] += 100
    _, widget = open_widget(large, iterations=10)
    texts = []
    widget.controller.reported.connect(
        lambda report: texts.append(widget.panel.progress.text())
    )
    bars = []
    widget.controller.reported.connect(
        lambda report: bars.append(widget.panel.bar.value())
    )
    widget.panel.run_button.click()
    until(lambda: widget.controller.state == "idle")
    assert not any("Iteration 0" in text for text in texts)
    assert any(text.startswith("Preparing: iteration ") for text in texts)
    assert any(" of 10" in text for text in texts)
    assert any(text.startswith("Iteration ") for text in texts)
    assert bars == sorted(bars)
    assert bars[0] > 0


@pytest.mark.usefixtures("own_presets")
def test_a_first_estimate_is_preparing_too(open_widget, until, noisy, slow):
    viewer, widget = open_widget(noisy, kind=DeconvolveWidget, iterations=5)
    viewer.add_image(np.ones((3, 3), np.float32), name="psf")
    widget.panel.run_button.click()
    until(lambda: "Preparing: iteration " in widget.panel.progress.text())
    assert " of 50" in widget.panel.progress.text()
    widget.panel.cancel_button.click()


@pytest.mark.slow
@pytest.mark.usefixtures("own_presets")
def test_an_estimated_error_is_in_the_units_of_the_image(open_widget, until, noisy):
    bright = 1000 * noisy
    _, widget = open_widget(bright, iterations="auto")
    reports = []
    widget.controller.reported.connect(reports.append)
    widget.panel.run_button.click()
    until(lambda: widget.controller.state == "idle")
    (last,) = [report for report in reports if report.finishing]
    assert last.iterate.score_name == "estimated error"
    # The noise is 10,000, and the image is better than that but not perfect.
    assert 500 < last.checks[-1][3] < 10_000
    assert last.iterate.reading.startswith("estimated error ")
    assert all(check[3] > 0 for report in reports for check in report.checks[1:])


def test_planes_to_come_are_black_without_being_filled(open_widget, until, noisy, slow):
    """To fill a large stack takes seconds, in which the viewer would not answer."""
    stack = np.stack([noisy, noisy])
    viewer, widget = open_widget(stack, iterations=8, contrast_limits=(50, 120))
    widget.panel.run_button.click()
    until(lambda: RESULT in viewer.layers)
    first, _ = widget.controller.result.plane_of(widget.controller.result.pattern)
    assert (viewer.layers[RESULT].data[1 - first] == 0).all()
    widget.controller.cancel()


@pytest.mark.slow
def test_the_copy_for_the_layer_is_made_in_the_thread_of_the_fit(noisy):
    recipe = DenoiseRecipe(iterations=2, precision="float32")
    fitting = worker.restoring(
        worker.Control(), lambda: worker.begin(recipe, [lambda: noisy])
    )
    outcome = run_to_end(fitting)
    np.testing.assert_array_equal(outcome.shown, outcome.fit.image)
    assert not np.shares_memory(outcome.shown, outcome.fit.image)
