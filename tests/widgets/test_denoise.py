"""The widget in a real viewer, from layer to result and every way out."""

import gc
import json
import subprocess
import sys
import threading
import time
import weakref

import dask.array as da
import numpy as np
import pytest
import torch
from qtpy.QtCore import QThreadPool
from superqt.utils import WorkerBase

from napari_dip.prior.loop import Run
from napari_dip.tasks.block import NOT_FINISHED
from tests.slow import slow_but

pytestmark = pytest.mark.gui

RESULT = "raw [DIP denoise]"


def result_of(viewer):
    return next(layer for layer in viewer.layers if layer.name == RESULT)


def names(viewer):
    return [layer.name for layer in viewer.layers]


def test_a_layer_becomes_a_result_that_looks_and_lies_like_it(
    open_widget, finish, noisy
):
    placed = {
        "scale": (0.5, 0.25),
        "translate": (10, -3),
        "rotate": 20,
        "shear": (0.1,),
        "affine": [[1, 0, 4], [0, 1, 5], [0, 0, 1]],
        "units": ("um", "um"),
        "axis_labels": ("y", "x"),
        "colormap": "magma",
        "contrast_limits": (5, 120),
        "gamma": 0.8,
        "blending": "additive",
        "interpolation2d": "linear",
        "opacity": 0.7,
    }
    viewer, widget = open_widget(noisy, **placed)
    finish(widget)
    source, result = viewer.layers["raw"], result_of(viewer)
    assert names(viewer) == ["raw", RESULT]
    assert result.data.dtype == np.float32
    assert result.data.shape == noisy.shape
    assert not np.array_equal(result.data, noisy)
    assert np.array_equal(source.data, noisy)
    for name in placed:
        now, was = getattr(result, name), getattr(source, name)
        if name == "colormap":
            now, was = now.name, was.name
        if name == "affine":
            now, was = now.affine_matrix, was.affine_matrix
        assert np.array_equal(now, was), name
    assert result.extent.world.tolist() == source.extent.world.tolist()
    assert not result.rgb

    made = dict(result.metadata["napari-dip"])
    json.dumps(made)
    assert made["task"] == "denoise"
    assert made["recipe"]["iterations"] == 8
    assert made["iterations"] == 8
    assert made["best_iteration"] == 8
    assert made["stopped_by"] == "the maximum of 8 iterations"
    assert made["source"] == "raw"
    assert made["version"]
    assert len(made["run_id"]) == 32
    assert made["seconds"] > 0
    assert "the maximum of 8 iterations" in widget.panel.progress.text()


def test_another_run_makes_another_layer(open_widget, finish, noisy):
    viewer, widget = open_widget(noisy, iterations=3)
    finish(widget)
    finish(widget)
    assert names(viewer) == ["raw", RESULT, f"{RESULT} [1]"]
    first, second = (layer.metadata["napari-dip"] for layer in viewer.layers[1:])
    assert first["run_id"] != second["run_id"]


@pytest.mark.parametrize("seen", [{"blending": "additive"}, {"opacity": 0.7}], ids=str)
def test_a_channel_is_not_seen_together_with_its_result(
    open_widget, finish, until, noisy, slow, empty_viewer, seen
):
    def shown():
        return [layer.name for layer in viewer.layers if layer.visible]

    viewer, widget = open_widget(noisy, iterations=2, **seen)
    empty_viewer.add_image(noisy, name="other channel", **seen)
    finish(widget)
    assert shown() == [RESULT, "other channel"]
    finish(widget)
    assert shown() == [f"{RESULT} [1]", "other channel"]
    widget.comparison.before_button.click()
    assert shown() == ["raw", "other channel"]
    widget.comparison.before_button.click()
    assert shown() == [f"{RESULT} [1]", "other channel"]
    viewer.layers.remove(f"{RESULT} [1]")
    assert shown() == [RESULT, "other channel"]
    viewer.layers.remove(RESULT)
    viewer.layers["raw"].visible = True
    widget.fields.fields["iterations"].value = 100_000
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    widget.panel.cancel_button.click()
    assert shown() == ["raw", "other channel"]


def test_stop_keeps_the_best_so_far_and_the_panel_runs_again(
    open_widget, finish, until, noisy, slow
):
    viewer, widget = open_widget(noisy, iterations=100_000)
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    before = time.perf_counter()
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    assert time.perf_counter() - before < 10  # not 2000 s
    made = result_of(viewer).metadata["napari-dip"]
    assert made["stopped_by"] == "stopped by the user"
    assert 0 < made["iterations"] < 1000
    assert widget.panel.progress.text().startswith("Ended after")
    widget.fields.fields["iterations"].value = 3
    finish(widget)
    assert len(viewer.layers) == 3


def test_a_second_stop_leaves_out_the_filters_at_the_end(
    open_widget, until, noisy, slow, endless_filters
):
    viewer, widget = open_widget(noisy, iterations=100_000)
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    stop = widget.panel.stop_button
    assert stop.text() == "Stop and keep best"
    stop.click()
    until(lambda: "finishing the image" in widget.panel.progress.text())
    assert stop.text() == "Leave filters out"
    assert stop.isEnabled()
    stop.click()
    assert not stop.isEnabled()
    until(lambda: widget.controller.state == "idle")
    made = result_of(viewer).metadata["napari-dip"]
    assert made["stopped_by"] == "stopped by the user"
    assert made["warnings"] == [NOT_FINISHED]


def test_cancel_removes_the_result_and_the_panel_runs_again(
    open_widget, finish, until, noisy, slow
):
    viewer, widget = open_widget(noisy, iterations=100_000)
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    before = time.perf_counter()
    widget.panel.cancel_button.click()
    until(lambda: widget.controller.state == "idle")
    assert time.perf_counter() - before < 10  # not 2000 s
    assert names(viewer) == ["raw"]
    widget.fields.fields["iterations"].value = 3
    finish(widget)
    assert names(viewer) == ["raw", RESULT]


def test_stop_before_the_first_iteration_ends_at_once_with_nothing(
    open_widget, noisy, slow
):
    viewer, widget = open_widget(noisy, iterations=100_000)
    widget.panel.run_button.click()
    widget.panel.stop_button.click()
    assert widget.controller.state == "idle"
    assert names(viewer) == ["raw"]
    assert widget.panel.progress.text() == (
        "Stopped before the first iteration: nothing was kept."
    )


@pytest.mark.parametrize("button", ["stop_button", "cancel_button"])
def test_pause_waits_and_every_way_out_of_it_works(
    open_widget, until, qtbot, noisy, slow, every_image, button, monkeypatch
):
    viewer, widget = open_widget(noisy, iterations=100_000)
    reports = []
    widget.controller.reported.connect(reports.append)
    widget.panel.run_button.click()
    until(lambda: len(reports) > 2)
    going, paused = widget.controller.control.going, threading.Event()
    wait = going.wait
    monkeypatch.setattr(going, "wait", lambda: (paused.set(), wait()))
    widget.panel.pause_button.click()
    until(paused.is_set)
    qtbot.wait(10)
    steps = reports[-1].iterate.step
    qtbot.wait(150)
    assert reports[-1].iterate.step == steps
    assert widget.panel.pause_button.text() == "Resume"
    widget.panel.pause_button.click()
    until(lambda: reports[-1].iterate.step > steps)
    widget.panel.pause_button.click()
    qtbot.wait(50)
    getattr(widget.panel, button).click()
    until(lambda: widget.controller.state == "idle")
    assert (RESULT in names(viewer)) is (button == "stop_button")


def test_deleting_the_result_ends_the_fit(open_widget, until, noisy, slow):
    viewer, widget = open_widget(noisy, iterations=100_000)
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    viewer.layers.remove(RESULT)
    until(lambda: widget.controller.state == "idle")
    assert names(viewer) == ["raw"]


def test_deleting_the_source_changes_nothing(open_widget, until, noisy, slow):
    viewer, widget = open_widget(noisy, iterations=15)
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    viewer.layers.remove("raw")
    until(lambda: widget.controller.state == "idle")
    assert names(viewer) == [RESULT]
    assert result_of(viewer).metadata["napari-dip"]["iterations"] == 15


@pytest.fixture
def runs(monkeypatch):
    """Collect weak references to the state of every fit."""
    found = []
    init = Run.__init__

    def remembered(self, *args):
        found.append(weakref.ref(self))
        init(self, *args)

    monkeypatch.setattr(Run, "__init__", remembered)
    return found


@pytest.mark.parametrize("paused", [False, True])
def test_closing_the_viewer_ends_the_fit_and_frees_it(
    open_own_viewer, until, qtbot, noisy, slow, runs, paused
):
    viewer, widget = open_own_viewer(noisy, iterations=100_000)
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    if paused:
        widget.panel.pause_button.click()
    viewer.close()
    assert QThreadPool.globalInstance().waitForDone(2000)
    qtbot.wait(50)
    gc.collect()
    assert runs[0]() is None


def test_quitting_the_worker_as_napari_does_frees_the_fit(
    open_widget, until, noisy, slow, runs
):
    viewer, widget = open_widget(noisy, iterations=100_000)
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    (worker,) = WorkerBase._worker_set
    worker.quit()
    until(lambda: widget.controller.state == "idle")
    assert names(viewer) == ["raw"]
    gc.collect()
    assert runs[0]() is None


def test_closing_the_dock_stops_the_fit_and_keeps_the_result(
    open_widget, until, noisy, slow
):
    viewer, widget = open_widget(noisy, iterations=100_000)
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    viewer.window.remove_dock_widget(widget)
    until(lambda: widget.controller.state == "idle")
    made = result_of(viewer).metadata["napari-dip"]
    assert made["stopped_by"] == "stopped by the user"


def test_a_widget_that_is_destroyed_takes_its_fit_along(
    open_own_viewer, until, noisy, slow
):
    viewer, widget = open_own_viewer(noisy, iterations=100_000)
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    control = widget.controller.control
    widget.deleteLater()
    del widget
    until(control.cancelling.is_set)
    assert control.cancelling.is_set()


def broken(error):
    def advance(self):
        if self.state.progress.step == 2:
            raise error
        return good(self)

    good = Run.advance
    return advance


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("shapes do not match"), "RuntimeError: shapes do not match"),
        (torch.OutOfMemoryError("CUDA out of memory"), "too little GPU memory:"),
        (MemoryError(), "too little memory: the fit"),
        (ZeroDivisionError("nonsense"), "ZeroDivisionError: nonsense"),
    ],
)
def test_an_error_is_told_and_the_panel_runs_again(
    open_widget, finish, noisy, messages, monkeypatch, runs, error, told
):
    viewer, widget = open_widget(noisy, iterations=5)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", broken(error))
        finish(widget)
    assert names(viewer) == ["raw"]
    assert [severity for severity, _ in messages] == ["error"]
    assert told in messages[0][1]
    assert told in widget.panel.progress.text()
    gc.collect()
    assert runs[0]() is None
    finish(widget)
    assert names(viewer) == ["raw", RESULT]


def test_an_image_that_cannot_be_fitted_is_refused_in_words(
    open_widget, finish, messages
):
    viewer, widget = open_widget(np.zeros((8, 40), np.float32))
    finish(widget)
    assert "at least 16 pixels" in messages[0][1]
    assert names(viewer) == ["raw"]


def test_stopping_a_stack_is_told_once_and_leaves_what_was_not_begun_empty(
    open_widget, until, messages, noisy, slow
):
    stack = np.stack([noisy] * 3)
    viewer, widget = open_widget(stack, iterations=100_000)
    viewer.dims.set_current_step(0, 2)
    widget.panel.run_button.click()
    until(lambda: RESULT in names(viewer))
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    result = result_of(viewer)
    assert not [text for severity, text in messages if severity == "warning"]
    text = widget.panel.progress.text()
    assert "Plane 1 is done as far as it was" in text
    assert "planes 2 to 3 were not begun and are empty" in text
    assert len(result.metadata["napari-dip"]["warnings"]) == 1
    assert result.metadata["napari-dip"]["planes_not_begun"] == [1, 2]
    assert np.isfinite(result.data[0]).all()
    assert not np.array_equal(result.data[0], noisy)
    assert np.isnan(result.data[1:]).all()
    assert viewer.dims.current_step[0] == 0


def test_warnings_of_a_fit_are_shown_together_and_kept(
    open_widget, finish, messages, noisy
):
    stack = np.stack([noisy, np.full_like(noisy, np.nan), np.full_like(noisy, np.nan)])
    viewer, widget = open_widget(stack, iterations=3, contrast_limits=(0, 100))
    finish(widget)
    warned = [text for severity, text in messages if severity == "warning"]
    kept = result_of(viewer).metadata["napari-dip"]["warnings"]
    assert len(kept) == 2
    assert warned == ["\n".join(kept)]


def test_a_stack_is_restored_plane_by_plane(open_widget, finish, noisy):
    stack = np.stack([noisy, noisy + 200, noisy + 400]).astype(np.uint16)
    viewer, widget = open_widget(stack, scale=(3, 1, 1), iterations=3)
    reports = []
    widget.controller.reported.connect(reports.append)
    finish(widget)
    result = result_of(viewer)
    assert result.data.shape == stack.shape
    assert tuple(result.scale) == (3, 1, 1)
    means = result.data.mean(axis=(1, 2))
    assert means == pytest.approx(stack.mean(axis=(1, 2)), rel=0.3)
    assert {report.iterate.parts for report in reports} == {3}


def test_a_dask_layer_is_read_in_the_thread(open_widget, finish, noisy):
    readers = set()

    def read(block):
        readers.add(threading.current_thread())
        return block

    stack = da.from_array(np.stack([noisy] * 2), chunks=(1, -1, -1))
    viewer, widget = open_widget(
        stack.map_blocks(read, dtype=stack.dtype), contrast_limits=(0, 100)
    )
    viewer.layers["raw"].visible = False
    readers.clear()
    finish(widget)
    assert readers
    assert threading.main_thread() not in readers
    assert isinstance(result_of(viewer).data, np.ndarray)


@pytest.mark.usefixtures("own_presets")
@pytest.mark.parametrize("kind", slow_but([np.uint8, np.uint16, np.float32], np.uint16))
def test_colours_stay_colours_in_a_type_that_napari_shows(
    open_widget, finish, noisy, kind
):
    full = 1 if kind == np.float32 else np.iinfo(kind).max
    image = np.clip(noisy / 120, 0, 1)[..., None] * [1, 0.5, 0.25] * full
    viewer, widget = open_widget(image.astype(kind), rgb=True, iterations=3)
    finish(widget)
    result = result_of(viewer)
    assert result.rgb
    assert result.data.shape == (32, 32, 3)
    assert result.data.dtype == kind
    means = result.data.mean(axis=(0, 1))
    assert means == pytest.approx(image.mean(axis=(0, 1)), rel=0.3, abs=0.05 * full)


def test_a_last_axis_of_three_is_no_colour_unless_the_layer_says_so(
    open_widget, finish, messages, noisy
):
    _, widget = open_widget(np.stack([noisy] * 3, axis=-1), rgb=False)
    finish(widget)
    assert "spatial" in messages[0][1]


def test_a_multiscale_layer_is_restored_at_full_resolution(open_widget, finish, noisy):
    viewer, widget = open_widget(
        [noisy, noisy[::2, ::2]], multiscale=True, contrast_limits=(0, 100)
    )
    finish(widget)
    assert result_of(viewer).data.shape == noisy.shape


def test_a_missing_layer_is_said_to_be_missing(open_widget, noisy):
    viewer, widget = open_widget()
    widget.panel.run_button.click()
    assert widget.controller.state == "idle"
    assert "no image layer" in widget.panel.progress.text()
    viewer.add_image(noisy, name="late")
    assert widget.inputs["image"].layer.name == "late"


def test_the_selected_layer_is_chosen_and_the_choice_outlives_a_run(
    open_widget, finish, noisy
):
    viewer, widget = open_widget(noisy, iterations=3)
    assert widget.inputs["image"].layer.name == "raw"
    limits = tuple(viewer.layers["raw"].contrast_limits)
    finish(widget)
    assert widget.inputs["image"].layer.name == "raw"
    assert viewer.layers.selection.active.name == "raw"
    assert tuple(result_of(viewer).contrast_limits) == limits


def test_buttons_offer_what_can_be_done(open_widget, until, noisy, slow):
    _, widget = open_widget(noisy, iterations=100_000)
    panel = widget.panel
    others = (panel.pause_button, panel.stop_button, panel.cancel_button)
    assert panel.run_button.isEnabled()
    assert not any(button.isEnabled() for button in others)
    panel.run_button.click()
    assert not panel.run_button.isEnabled()
    assert all(button.isEnabled() for button in others)
    until(lambda: "per second" in panel.progress.text())
    assert panel.quality.isVisibleTo(panel)
    assert "best at iteration" in panel.quality.text()
    panel.cancel_button.click()
    until(lambda: widget.controller.state == "idle")
    assert panel.run_button.isEnabled()
    assert not any(button.isEnabled() for button in others)


def test_napari_opens_the_widget_from_the_manifest(make_napari_viewer, noisy, finish):
    viewer = make_napari_viewer()
    viewer.add_image(noisy, name="raw")
    _, widget = viewer.window.add_plugin_dock_widget("napari-dip", "Denoise")
    widget.fields.fields["iterations"].value = 3
    finish(widget)
    assert names(viewer) == ["raw", RESULT]


def test_building_the_widget_does_not_import_torch():
    code = (
        "import sys, napari_dip.widgets.panels as d; from qtpy.QtWidgets import "
        "QApplication; from napari.components import ViewerModel; "
        "app = QApplication([]); w = d.DenoiseWidget(ViewerModel()); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "False", done.stderr
