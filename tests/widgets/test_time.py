"""Time before Run, the quality, the visible region, and how soon a fit ends."""

import io
import os
import threading
import time

import numpy as np
import pytest
from PIL import Image as Pillow
from qtpy.QtCore import Qt
from skimage import data
from superqt import QCollapsible
from superqt.utils import WorkerBase

from napari_dip import remove_artifacts
from napari_dip.errors import FitError
from napari_dip.io.raster import jpeg_tables
from napari_dip.metrics import psnr
from napari_dip.prior.layers import Conv
from napari_dip.tasks import forecast, pace
from napari_dip.tasks.finishing import Finish
from napari_dip.tasks.presets import TABLES
from napari_dip.tasks.setup import HALVED
from napari_dip.widgets import foresee
from napari_dip.widgets.controller import duration
from napari_dip.widgets.panels import EnhanceWidget, InpaintWidget, SuperResolveWidget
from napari_dip.widgets.quality import (
    BEST,
    NORMAL,
    QUICK,
    QUICK_ITERATIONS,
    Quality,
)
from napari_dip.widgets.readers import JPEG_KEY
from napari_dip.widgets.remove_artifacts import (
    QUICK_WITH_TABLES,
    RemoveArtifactsWidget,
)
from napari_dip.widgets.task import SHOWN

pytestmark = pytest.mark.gui

RESULT = "raw [DIP denoise]"


@pytest.fixture
def paced(monkeypatch):
    """Let every step take a hundredth of a second and a microsecond for every pixel."""
    monkeypatch.setattr(forecast, "pace", lambda *fit: (0.01, 1e-6))


@pytest.fixture
def estimate(until):
    """Return a function that estimates what Run would take, and returns the text."""

    def ask(widget):
        widget.foresight.debouncer.setTimeout(10)
        widget.foresight.ask()
        labels = widget.quality.labels.values()
        until(lambda: all("\n" in label.text() for label in labels))
        return widget.panel.estimate.text()

    return ask


@pytest.fixture
def seconds(monkeypatch):
    """Collect the seconds that every quality of any panel is said to take."""
    told, show = {}, Quality.show_seconds

    def note(self, name, seconds):
        told[name] = seconds
        show(self, name, seconds)

    monkeypatch.setattr(Quality, "show_seconds", note)
    return told


def test_time_for_all_planes_is_said_before_the_run(
    open_widget, estimate, seconds, noisy, paced
):
    _, widget = open_widget(np.stack([noisy] * 50), iterations="auto")
    text = estimate(widget)
    # 40 iterations of (0.01 + 1024 / 10^6) s for a plane, and a bit for the rest.
    assert 22 < seconds[NORMAL] < 100
    assert seconds[BEST] > 2 * seconds[NORMAL]
    assert text.startswith(f"At most {duration(seconds[NORMAL])} for 50 planes, ")
    widget.planes.value = SHOWN
    widget.quality.labels[NORMAL].setText("")
    text = estimate(widget)
    assert "planes" not in text
    assert seconds[NORMAL] < 6


def test_the_time_of_another_run_is_not_shown_during_this_one(
    open_widget, estimate, until, noisy, paced, slow
):
    _, widget = open_widget(noisy, iterations=10)
    estimate(widget)
    until(lambda: not widget.foresight.waits)
    widget.fields.fields["iterations"].value = 100_000
    widget.foresight.ask()  # as a panel does whose window is shown
    widget.panel.run_button.click()
    assert not widget.panel.estimate.isVisibleTo(widget)
    assert widget.quality.labels[NORMAL].text() == NORMAL
    widget.panel.cancel_button.click()


def test_the_time_for_another_image_of_the_same_size_is_told(
    open_widget, estimate, until, noisy, paced
):
    viewer, widget = open_widget(noisy)
    estimate(widget)
    until(lambda: not widget.foresight.waits)
    began = []
    widget.foresight.began.connect(lambda: began.append(True))
    viewer.add_image(noisy + 1, name="other")
    widget.reset_choices()
    widget.first.choose("other")
    widget.foresight.ask()
    until(lambda: len(began) > 0, timeout=10)
    until(lambda: not widget.foresight.waits)


@pytest.mark.slow
@pytest.mark.parametrize("side", [100, 400])
def test_the_time_for_a_jpeg_is_told(open_widget, estimate, monkeypatch, side):
    monkeypatch.setattr(pace, "_paces", {})
    file = io.BytesIO()
    Pillow.fromarray(data.camera()[:side, :side]).save(file, "JPEG", quality=10)
    with Pillow.open(file) as photo:
        _, widget = open_widget(
            np.asarray(photo),
            kind=RemoveArtifactsWidget,
            iterations="auto",
            metadata={JPEG_KEY: jpeg_tables(photo)},
        )
    assert widget.recipe().quantization is not None
    assert estimate(widget).startswith("About ")


@pytest.mark.usefixtures("own_presets")
def test_hours_are_warned_of_and_something_quicker_is_offered(
    open_widget, estimate, noisy, paced, monkeypatch
):
    # Fits of their own for all planes.
    monkeypatch.setattr("napari_dip.tasks.shared.ENOUGH", 10**12)
    stack = np.broadcast_to(noisy, (8000, 32, 32))
    _, widget = open_widget(stack, contrast_limits=(0, 100), iterations="auto")
    text = estimate(widget)
    assert " h for 8000 planes" in text
    assert "That is long: try it on the visible region first" in text
    assert "choose the plane that is shown" in text


@pytest.mark.slow
@pytest.mark.usefixtures("own_presets")
def test_a_forecast_is_of_the_size_of_the_image_and_steps_are_timed_once(noisy):
    pace._paces.clear()
    from napari_dip.tasks.denoise import DenoiseRecipe

    recipe = DenoiseRecipe(iterations=100, precision="float32", share="no")
    large = np.tile(noisy, (8, 8))
    piece = large[:128, :128]
    began = time.process_time()
    first = forecast.forecast(recipe, [large], [piece])
    middle = time.process_time()
    again = forecast.forecast(recipe, [large], [piece])
    end = time.process_time()
    assert end - middle < middle - began
    assert first.fixed
    assert first.planes == 1
    assert 0 < again.finishing < again.seconds
    stack = forecast.forecast(recipe, [np.stack([large] * 7)], [piece])
    assert stack.planes == 7
    assert stack.seconds == pytest.approx(7 * again.seconds, rel=0.5)


@pytest.mark.usefixtures("own_presets", "paced")
@pytest.mark.parametrize("share", ["auto", "no"])
def test_memory_is_that_of_a_tile_beside_what_is_held(noisy, share):
    from napari_dip.tasks.denoise import DenoiseRecipe

    def memory(side, **more):
        recipe = DenoiseRecipe(precision="float32", device="cpu", share=share, **more)
        image = np.broadcast_to(np.uint16(7), (side, side))
        return forecast.forecast(recipe, [image], [noisy]).memory

    small, large = memory(2304), memory(20_000)
    assert large - small == 6 * (20_000**2 - 2304**2)
    assert large < 8 * 2**30
    assert memory(20_000, tile=None) > 100 * 2**30
    assert memory(500) < memory(1000)


@pytest.mark.slow
@pytest.mark.skipif(
    "PYTEST_XDIST_WORKER" in os.environ,
    reason="times a fit, so no other test may run: make test-slow JOBS=0",
)
def test_a_forecast_is_right_within_a_factor_of_two():
    from napari_dip import denoise
    from napari_dip.tasks.denoise import DenoiseRecipe

    y, x = np.mgrid[:384, :384] / 40
    image = np.sin(x) * np.cos(y) + np.random.default_rng(0).normal(0, 0.2, x.shape)
    piece = [image[90:282, 90:282]]
    told = forecast.forecast(DenoiseRecipe(), [image], piece).seconds
    began = time.perf_counter()
    denoise(image)
    took = time.perf_counter() - began
    assert took / 2 < told < 2 * took


def test_a_volume_is_enlarged_on_a_piece_of_few_pixels(open_widget):
    _, widget = open_widget(np.ones((5, 64, 64)), kind=SuperResolveWidget)
    widget.fields.fields["spatial_dims"].value = 3
    for _, piece in widget.pieces(widget.work()).values():
        assert piece.arrays["image"]().shape == (5, 16, 16)


def test_the_progress_is_that_to_the_expected_end(open_widget, until, noisy, slow):
    _, widget = open_widget(noisy, kind=EnhanceWidget, iterations="auto")
    widget.fields.fields["detail"].value = 0.001
    panel, said = widget.panel, []
    widget.controller.reported.connect(
        lambda report: said.append((report.iterate.step, panel.bar.value()))
    )
    panel.run_button.click()
    panel.ends_after = 40
    until(lambda: bool(said) and said[-1][0] > 10)
    step, done = said[-1]
    assert done == pytest.approx(1000 * min(step / 40, 1), abs=1)
    assert f"Iteration {step} of about " in panel.progress.text()
    assert "about " in panel.progress.text().split("per second")[1]
    panel.cancel_button.click()


@pytest.mark.parametrize(("factor", "side"), [(2, 96), (4, 48), (8, 32)])
def test_an_enlargement_is_tried_on_a_piece_of_few_pixels(open_widget, factor, side):
    _, widget = open_widget(np.ones((300, 300)), kind=SuperResolveWidget)
    widget.fields.fields["factor"].value = factor
    pieces = widget.pieces(widget.work())
    for work, piece in pieces.values():
        assert work.arrays["image"]().shape == (300, 300)
        assert piece.arrays["image"]().shape == (side, side)


def test_a_forecast_that_is_no_longer_wanted_ends(open_widget, until, noisy):
    pace._paces.clear()
    _, widget = open_widget(np.tile(noisy, (16, 16)), iterations="auto")
    widget.fields.fields["preset"].value = "paper"
    widget.foresight.debouncer.setTimeout(10)
    widget.foresight.ask()
    until(lambda: bool(WorkerBase._worker_set))
    assert "Timing" in widget.panel.estimate.text()
    widget.foresight.cancel()
    assert not widget.panel.estimate.isVisibleTo(widget)
    until(lambda: not WorkerBase._worker_set)
    assert "of memory" not in widget.panel.estimate.text()


def test_the_error_of_an_estimate_that_is_no_longer_wanted_is_not_shown(
    open_widget, until, noisy, monkeypatch
):
    began, fail, end = [], threading.Event(), threading.Event()

    def forecast_of(recipe, *_):
        began.append(recipe.iterations)
        if recipe.iterations == 10:
            assert fail.wait(10)
            raise FitError("the device is lost")
        assert end.wait(10)
        raise FitError("the second device is lost")

    monkeypatch.setattr(forecast, "forecast", forecast_of)
    _, widget = open_widget(noisy, iterations=10)
    foresight, text = widget.foresight, widget.panel.estimate.text
    foresight.debouncer.setTimeout(10)
    foresight.ask()
    until(lambda: began == [10])
    widget.fields.fields["iterations"].value = 11
    foresight.ask()
    until(lambda: began == [10, 11])
    fail.set()
    until(lambda: len(WorkerBase._worker_set) == 1)
    assert "Timing" in text()
    assert foresight.waits
    end.set()
    until(lambda: not foresight.waits)
    assert text() == "the second device is lost"


def test_no_time_is_measured_while_a_fit_runs(
    open_widget, until, qtbot, noisy, slow, monkeypatch
):
    asked = []

    def forecasts(*args):
        asked.append(args)
        yield from ()
        return args[1], None

    monkeypatch.setattr(foresee, "_forecasts", forecasts)
    viewer, widget = open_widget(noisy, iterations=100_000)
    other = EnhanceWidget(viewer)
    viewer.window.add_dock_widget(other, name="Enhance")
    widget.panel.run_button.click()
    other.foresight.debouncer.setTimeout(10)
    other.foresight.ask()
    qtbot.wait(200)
    assert not asked
    widget.panel.cancel_button.click()
    until(lambda: bool(asked))


# -- the simple view ------------------------------------------------------------------


def test_the_simple_view_has_layers_quality_and_run(open_widget, noisy):
    _, widget = open_widget(noisy)
    visible = [f for f in widget.fields.fields.values() if shown(f, widget)]
    assert visible == []
    assert widget.inputs["image"].combo.native.isVisibleTo(widget)
    assert widget.quality.isVisibleTo(widget)
    assert widget.panel.run_button.isVisibleTo(widget)
    for button in ("pause_button", "stop_button", "cancel_button"):
        assert not getattr(widget.panel, button).isVisibleTo(widget)
    widget.settings_section.expand(animate=False)
    assert shown(widget.fields.fields["preset"], widget)
    assert not shown(widget.fields.fields["seed"], widget)


def shown(field, widget):
    """Whether a field is in view, and in no section that is folded."""
    part = field.widget.native
    visible = part.isVisibleTo(widget)
    while part is not widget:
        visible = visible and not (
            isinstance(part, QCollapsible) and not part.isExpanded()
        )
        part = part.parentWidget()
    return visible


@pytest.mark.parametrize(
    ("kind", "name"), [(SuperResolveWidget, "factor"), (EnhanceWidget, "amount")]
)
def test_what_is_wanted_is_not_folded_away(open_widget, noisy, kind, name):
    _, widget = open_widget(noisy, kind=kind)
    visible = {n for n, f in widget.fields.fields.items() if shown(f, widget)}
    assert visible == {name}


def test_the_quality_fills_in_preset_and_iterations(open_widget, noisy):
    _, widget = open_widget(noisy, kind=InpaintWidget, iterations="auto")
    assert widget.quality.names == [QUICK, NORMAL, BEST]
    assert widget.quality.slider.value() == 1
    for place, values in enumerate([("fast", 40), ("fast", "auto"), ("best", "auto")]):
        widget.quality.slider.setValue(place)
        filled = widget.fields.values()
        assert (filled["preset"], filled["iterations"]) == values
        assert widget.quality.slider.value() == place
    widget.fields.fields["preset"].value = "paper"
    assert not widget.quality.labels[BEST].isEnabled()
    widget.quality.slider.setValue(1)
    assert widget.fields.values()["preset"] == "fast"
    assert widget.quality.labels[BEST].isEnabled()


def test_a_quality_is_chosen_again_where_the_slider_is(open_widget, noisy, qtbot):
    _, widget = open_widget(noisy, kind=InpaintWidget, iterations="auto")
    slider = widget.quality.slider
    widget.fields.fields["preset"].value = "paper"
    assert slider.value() == 1
    qtbot.mouseClick(slider, Qt.MouseButton.LeftButton, pos=slider.rect().center())
    assert slider.value() == 1
    assert widget.fields.values()["preset"] == "fast"
    assert widget.quality.labels[BEST].isEnabled()


# -- the visible region ---------------------------------------------------------------


@pytest.mark.usefixtures("own_presets")
def test_the_visible_region_is_restored_in_its_place(
    open_widget, until, noisy, changed_presets
):
    changed_presets(coarse_iterations=0, finish=Finish())
    large = np.tile(noisy, (8, 8))
    viewer, widget = open_widget(
        np.stack([large, large + 100, large + 200]),
        iterations=2,
        scale=(2, 0.5, 0.25),
        translate=(1, 10, 20),
        contrast_limits=(0, 300),
    )
    layer = viewer.layers["raw"]
    viewer.dims.set_current_step(0, 1)
    layer.corner_pixels = np.array([[1, 40, 100], [1, 179, 229]])
    widget.panel.try_button.click()
    until(lambda: widget.controller.state == "idle")
    result = viewer.layers["raw [DIP denoise, visible region]"]
    assert result.data.shape == (1, 140, 130)
    assert tuple(result.scale) == (2, 0.5, 0.25)
    assert tuple(result.translate) == (3, 10 + 40 * 0.5, 20 + 100 * 0.25)
    assert abs(np.median(result.data) - np.median(large + 100)) < 10
    assert result.metadata["napari-dip"]["crop"] == [[1, 2], [40, 180], [100, 230]]


def test_a_region_that_is_too_small_is_made_larger(open_widget, until, noisy):
    large = np.tile(noisy, (4, 4))
    viewer, widget = open_widget(large, iterations=2)
    viewer.layers["raw"].corner_pixels = np.array([[0, 120], [6, 128]])
    widget.panel.try_button.click()
    until(lambda: widget.controller.state == "idle")
    result = viewer.layers["raw [DIP denoise, visible region]"]
    assert result.data.shape == (64, 64)
    assert tuple(result.translate) == (0, 64)


def test_an_image_out_of_view_is_said_to_be(open_widget, noisy):
    viewer, widget = open_widget(noisy, iterations=2)
    viewer.layers["raw"].corner_pixels = np.array([[31, 31], [31, 31]])
    widget.panel.try_button.click()
    assert "raw is not in view" in widget.panel.progress.text()


def test_the_region_is_what_the_canvas_shows(make_napari_viewer, dock, until):
    """napari's corners are the last pixels in view; a pyramid's are what it loads."""
    viewer = make_napari_viewer(show=True)
    image = np.zeros((256, 256), np.float32)
    place = {"scale": (0.5, 0.25), "translate": (3, 5)}
    pyramid = [image, image[::2, ::2]]
    viewer.add_image(pyramid, multiscale=True, name="pyramid", **place)
    _, widget = dock(viewer, image, **place)
    plain = viewer.layers["raw"]
    until(lambda: plain.corner_pixels[1].tolist() == [255, 255])

    def region(name):
        widget.inputs["image"].choose(name)
        return widget._visible().crop

    for name in ("raw", "pyramid"):
        assert region(name) == (slice(0, 256), slice(0, 256))
    viewer.scene.camera.zoom *= 3
    viewer.scene.camera.center = (0, 50, 40)
    until(lambda: plain.corner_pixels[0].min() > 0)
    expected = region("raw")
    assert all(side.stop - side.start < 200 for side in expected)
    for one, other in zip(region("pyramid"), expected, strict=True):
        assert abs(one.start - other.start) <= 1
        assert abs(one.stop - other.stop) <= 1


def test_the_region_is_that_in_view_where_layers_differ_in_their_units(
    make_napari_viewer, dock, until
):
    viewer = make_napari_viewer(show=True)
    image = np.zeros((256, 256), np.float32)
    viewer.add_image(image, scale=(100, 100), units=("nm", "nm"))
    _, widget = dock(viewer, image, scale=(0.1, 0.1), units=("um", "um"))
    widget.inputs["image"].choose("raw")
    other = viewer.layers[0]
    viewer.scene.camera.zoom *= 3
    viewer.scene.camera.center = (0, 10_000, 8_000)
    until(lambda: other.corner_pixels[0].min() > 0)
    crop = widget._visible().crop
    seen = np.stack([[c.start, c.stop - 1] for c in crop], axis=-1)
    assert np.abs(seen - other.corner_pixels).max() <= 1


def test_axes_that_a_layer_lacks_leave_its_region_whole(open_widget, noisy):
    viewer, widget = open_widget(np.tile(noisy, (4, 4)))
    viewer.add_image(np.zeros((3, 8, 8)))
    viewer.dims.order = (1, 0, 2)
    viewer.layers["raw"].corner_pixels = np.array([[0, 20], [127, 99]])
    assert widget._visible().crop == (slice(None), slice(20, 100))


# -- the end --------------------------------------------------------------------------


@pytest.fixture
def layers_take(monkeypatch):
    """Return a function that sets how long a convolution takes, and counts them."""
    forward, done, seconds = Conv.forward, [], [0.0]

    def slowly(self, x):
        time.sleep(seconds[0])
        done.append(self)
        return forward(self, x)

    def take(new):
        seconds[0] = new
        return done

    monkeypatch.setattr(Conv, "forward", slowly)
    return take


@pytest.mark.usefixtures("own_presets")
@pytest.mark.parametrize("button", ["stop_button", "cancel_button"])
def test_a_fit_ends_between_two_layers(open_widget, until, noisy, layers_take, button):
    viewer, widget = open_widget(noisy, iterations=100_000)
    reports = []
    widget.controller.reported.connect(reports.append)
    widget.panel.run_button.click()
    until(lambda: bool(reports) and reports[-1].iterate.step > 0)
    done = layers_take(0.05)
    begun = len(done)
    until(lambda: len(done) > begun + 3)
    before = len(done)
    getattr(widget.panel, button).click()
    if button == "cancel_button":
        assert widget.controller.state == "idle"
        until(lambda: not WorkerBase._worker_set)
        assert len(done) - before <= 2  # an iteration has 26
        return
    until(lambda: reports[-1].finishing)
    assert len(done) - before <= 2
    layers_take(0)
    assert "finishing the image" in widget.panel.progress.text()
    assert widget.panel.cancel_button.isEnabled()
    until(lambda: widget.controller.state == "idle")
    assert np.isfinite(viewer.layers[RESULT].data).all()


def test_another_fit_waits_until_a_cancelled_one_has_ended(
    open_widget, until, noisy, layers_take
):
    viewer, widget = open_widget(noisy, iterations=100_000)
    reports = []
    widget.controller.reported.connect(reports.append)
    widget.panel.run_button.click()
    until(lambda: bool(reports))
    layers_take(0.3)
    widget.panel.cancel_button.click()
    widget.fields.fields["iterations"].value = 1
    widget.panel.run_button.click()
    assert widget.controller.state == "waiting"
    layers_take(0)
    until(lambda: widget.controller.state == "idle")
    assert [layer.name for layer in viewer.layers] == ["raw", RESULT]


@pytest.mark.parametrize("task", QUICK_ITERATIONS)
def test_a_quick_look_is_quicker_than_every_normal_fit(task):
    for (preset, case), chosen in TABLES[task].items():
        quick = QUICK_WITH_TABLES if case == "jpeg" else QUICK_ITERATIONS[task]
        if preset == "fast":
            coarse = chosen.coarse_iterations // HALVED
            assert 2 * quick <= chosen.stop.maximum + coarse


def test_a_quick_look_at_artifacts_follows_the_tables(open_widget, noisy):
    _, widget = open_widget(noisy, kind=RemoveArtifactsWidget)
    fields = widget.fields.fields
    widget.quality.slider.setValue(0)
    assert fields["iterations"].value == QUICK_ITERATIONS["remove_artifacts"]
    fields["quantization"].value = (16,) * 64
    assert fields["iterations"].value == QUICK_WITH_TABLES
    assert widget.quality.show_choice(widget.fields.values()) == QUICK
    part = widget._visible().recipe  # has no tables
    assert part.quantization is None
    assert part.iterations == QUICK_ITERATIONS["remove_artifacts"]
    fields["iterations"].value = 33
    fields["quantization"].value = None
    assert fields["iterations"].value == 33


@pytest.mark.slow
@pytest.mark.usefixtures("own_presets")
def test_a_quick_look_at_artifacts_is_no_worse_than_the_input():
    photo = data.camera()[100:140, 220:260]
    file = io.BytesIO()
    Pillow.fromarray(photo).save(file, "JPEG", quality=10)
    before = np.asarray(Pillow.open(file))
    iterations = QUICK_ITERATIONS["remove_artifacts"]
    after = remove_artifacts(before, iterations=iterations, seed=0)
    gained = psnr(after, photo, data_range=255) - psnr(before, photo, data_range=255)
    assert gained > -0.5


def test_denoising_has_a_quick_look_of_a_third_of_the_time(
    open_widget, estimate, seconds, noisy, monkeypatch
):
    # Steps of a second: what is really timed beside them, on a busy machine, is little.
    monkeypatch.setattr(forecast, "pace", lambda *fit: (1, 0))
    _, widget = open_widget(noisy, iterations="auto")
    assert widget.quality.names == [QUICK, NORMAL, BEST]
    estimate(widget)
    assert seconds[QUICK] < 0.6 * seconds[NORMAL] < seconds[BEST]
    widget.quality.slider.setValue(0)
    assert widget.recipe().iterations == 20
