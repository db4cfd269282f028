"""What a panel says of the fit that runs, in a real viewer."""

import numpy as np
import pytest

from napari_dip.errors import FitError
from napari_dip.widgets.blend import BlendWidget
from napari_dip.widgets.controller import duration
from napari_dip.widgets.panels import InpaintWidget, SuperResolveWidget

pytestmark = pytest.mark.gui

RESULT = "raw [DIP denoise]"


@pytest.fixture
def unrelated():
    """Return two channels that show different things, noise and all."""
    random = np.random.default_rng(0)
    image = np.zeros((2, 48, 48), np.float32)
    image[0, 8:24, 8:40] = 100
    image[1, 24:40, 4:20] = 400
    return image + random.normal(0, 10, image.shape).astype(np.float32)


@pytest.fixture
def first_report(until):
    """Return a function that runs a fit until the panel has shown something of it."""

    def run(widget):
        reports = []
        widget.controller.reported.connect(reports.append)
        widget.panel.run_button.click()
        until(lambda: "best at" in widget.panel.quality.text())
        shown = widget.panel.progress.text(), widget.panel.quality.text()
        widget.panel.cancel_button.click()
        until(lambda: widget.controller.state == "idle")
        return *shown, reports[-1].iterate.maximum

    return run


def _fail(*arguments, **keywords):
    raise FitError("the fit has failed")


def test_no_time_is_zero():
    assert [duration(seconds) for seconds in (0, 0.4, 1.6)] == ["1 s", "1 s", "2 s"]


def test_a_fit_that_waits_for_no_other_starts(open_widget, finish, noisy):
    _, widget = open_widget(noisy)
    panel = widget.panel
    panel.run_button.click()
    assert panel.progress.text() == "Starting"
    panel.cancel_button.click()
    finish(widget)
    assert panel.bar.value() > 0
    widget.scrubber.go_on_button.click()
    assert (panel.progress.text(), panel.bar.value()) == ("Starting", 0)
    panel.cancel_button.click()


@pytest.mark.parametrize("fails", [False, True], ids=["ended", "failed"])
def test_a_fit_that_starts_as_one_ends_does_not_wait(
    open_widget, until, noisy, monkeypatch, fails
):
    _, widget = open_widget(noisy)
    controller, said = widget.controller, []

    def again(state):
        if state == "idle" and not said:
            said.append("")
            widget.panel.run_button.click()
            said.append(widget.panel.progress.text())

    controller.state_changed.connect(again)
    if fails:
        monkeypatch.setattr("napari_dip.widgets.worker.run", _fail)
    widget.panel.run_button.click()
    until(lambda: len(said) == 2)
    assert said[1] == "Starting"
    until(lambda: controller.state == "idle")


@pytest.mark.parametrize("kind", [SuperResolveWidget, InpaintWidget])
@pytest.mark.parametrize("sigma", [15, 0], ids=["noisy", "clean"])
def test_a_fit_says_itself_what_its_score_is_and_how_long_it_takes(
    open_widget, first_report, slow, kind, sigma
):
    y, x = np.mgrid[:48, :48] / 48
    image = 50 * (1 + np.sin(5 * x) * np.cos(4 * y))
    image += np.random.default_rng(0).normal(0, sigma, image.shape)
    viewer, widget = open_widget(image.astype(np.float32), kind=kind, iterations="auto")
    if kind is SuperResolveWidget:
        widget.fields.fields["factor"].value = 2
    else:
        mask = np.zeros(image.shape, np.uint8)
        mask[10:14, 10:14] = 1
        viewer.add_labels(mask, name="mask")
    progress, quality, maximum = first_report(widget)
    # A noisy image that is super-resolved is denoised before its fit.
    holds_out = sigma and kind is InpaintWidget
    limit, name = ("at most ", "Held-out error") if holds_out else ("", "Error")
    assert f" of {limit}{maximum}\n" in f"{progress}\n"
    assert quality.startswith(f"{name} ")
    assert widget.panel.curve.score_name == name.lower()


@pytest.mark.slow
@pytest.mark.usefixtures("own_presets", "every_image")
def test_what_was_said_of_the_plane_before_is_not_said_of_the_next(open_widget, until):
    large = np.random.default_rng(0).normal(100, 10, (2, 64, 64)).astype(np.float32)
    large[:, 20:40, 20:40] += 100
    _, widget = open_widget(large, iterations=4)
    panel, said = widget.panel, []
    widget.controller.reported.connect(
        lambda report: said.append((report.iterate.reading, panel.quality.isHidden()))
    )
    panel.run_button.click()
    until(lambda: widget.controller.state == "idle")
    assert {hidden for reading, hidden in said if not reading} == {True}
    assert {hidden for reading, hidden in said if reading} == {False}


def test_blending_takes_a_fixed_number_of_iterations(
    open_widget, first_report, noisy, slow
):
    viewer, widget = open_widget(noisy, kind=BlendWidget, iterations="auto")
    viewer.add_image(noisy[::-1].copy(), name="back")
    mask = np.zeros(noisy.shape, np.uint8)
    mask[10:22, 10:22] = 1
    viewer.add_labels(mask, name="mask")
    widget.inputs["foreground"].choose("raw")
    widget.inputs["background"].choose("back")
    progress, quality, maximum = first_report(widget)
    assert f" of {maximum}" in progress
    assert "at most" not in progress
    assert quality.startswith("Error ")


@pytest.mark.slow
def test_unrelated_channels_are_two_fits_of_one_plane(
    open_widget, until, unrelated, slow, every_image
):
    viewer, widget = open_widget(
        unrelated, iterations=8, axis_labels=("c", "y", "x"), contrast_limits=(0, 400)
    )
    texts, reports, bars, fresh = [], [], [], []

    def note(report):
        texts.append(widget.panel.progress.text().splitlines()[0])
        bars.append(widget.panel.bar.value())
        reports.append(report)
        if report.image is not None:
            shown = viewer.layers[RESULT].data
            fresh.append(np.array_equal(shown, report.image))

    widget.controller.reported.connect(note)
    widget.panel.run_button.click()
    until(lambda: widget.controller.state == "idle")

    assert set(texts) == {"Fit 1 of 2", "Fit 2 of 2"}
    assert all(report.iterate.index == (slice(None),) * 3 for report in reports)
    assert bars == sorted(bars)
    assert max(bars) <= 1000
    assert bars[texts.index("Fit 2 of 2")] >= 500
    assert len(fresh) > 2
    assert all(fresh)

    result = viewer.layers[RESULT]
    assert result.data.shape == unrelated.shape
    blocks = result.metadata["napari-dip"]["planes"]
    assert [list(b["analysis"]["channels"]) for b in blocks] == [[0], [1]]
    scrubber = widget.scrubber
    moments = [moment for moment in scrubber.moments if moment is not None]
    assert {moment.part for moment in moments} == {0, 1}
    assert scrubber.moments[-1] is None
    done = result.data.copy()
    scrubber.slider.setValue(0)
    # The second channel had not been fitted then.
    np.testing.assert_array_equal(result.data[1], unrelated[1])
    assert scrubber.label.text() == f"Shown: fit 1, iteration {moments[0].step}"
    scrubber.slider.setValue(len(moments) - 1)
    assert scrubber.label.text() == f"Shown: fit 2, iteration {moments[-1].step}"
    # The first channel was finished by then.
    np.testing.assert_array_equal(result.data[0], done[0])
    assert not scrubber.go_on_button.isEnabled()
    assert "channels" in scrubber.reason.text()
    assert scrubber.reason.isVisibleTo(scrubber)


def test_the_residual_of_unrelated_channels_is_the_input_less_the_result(
    open_widget, finish, until, unrelated
):
    viewer, widget = open_widget(
        unrelated, iterations=4, axis_labels=("c", "y", "x"), contrast_limits=(0, 400)
    )
    finish(widget)
    widget.comparison.residual_button.click()
    until(lambda: len(viewer.layers) == 3)
    residual = viewer.layers[f"{RESULT}, residual"].data
    np.testing.assert_allclose(residual, unrelated - viewer.layers[RESULT].data)
    assert "noise" in widget.comparison.reading.text()


@pytest.mark.slow
def test_planes_are_counted_as_planes_however_many_fits_they_take(
    open_widget, until, unrelated, slow, every_image
):
    random = np.random.default_rng(1)
    alike = unrelated.copy()
    alike[1] = 2 * unrelated[0] + random.normal(0, 10, unrelated[0].shape)
    viewer, widget = open_widget(
        np.stack([unrelated, alike]),
        iterations=6,
        axis_labels=("t", "c", "y", "x"),
        contrast_limits=(0, 400),
    )
    seen = {}
    widget.controller.reported.connect(
        lambda report: seen.setdefault(
            report.iterate.index[0], widget.panel.progress.text().splitlines()[0]
        )
    )
    widget.panel.run_button.click()
    until(lambda: widget.controller.state == "idle")
    assert seen[0].startswith("Plane 1 of 2, fit 1 of ")
    assert seen[1].startswith("Plane 2 of 2")
    viewer.dims.set_current_step(0, 1)
    scrubber = widget.scrubber
    assert scrubber.index[0] == 1
    scrubber.slider.setValue(0)
    # The only fit of this plane needs no number.
    assert scrubber.label.text() == f"Shown: iteration {scrubber.moments[0].step}"


def test_a_shapes_layer_does_not_keep_the_memory_from_being_estimated(
    open_widget, until, noisy
):
    viewer, widget = open_widget(noisy, kind=InpaintWidget)
    corners = np.array([[4, 4], [4, 12], [12, 12], [12, 4]])
    viewer.add_shapes([corners], shape_type="polygon", name="hole")
    assert widget.inputs["mask"].layer.name == "hole"
    widget.foresight.debouncer.setTimeout(10)
    widget.foresight.ask()
    until(lambda: "of memory" in widget.panel.estimate.text())
    assert "hole" not in widget.panel.estimate.text()


@pytest.mark.parametrize(("iterations", "hidden"), [(5, True), (25, False)])
def test_two_checks_are_no_curve(open_widget, finish, noisy, iterations, hidden):
    """Each would be at an end of its scale, however little changes."""
    _, widget = open_widget(noisy, iterations=iterations)
    finish(widget)
    assert widget.panel.curve.isHidden() is hidden
