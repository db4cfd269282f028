"""Every task has a widget, and it runs in a real viewer."""

import importlib

import numpy as np
import pytest
import zarr
from napari.layers._source import layer_source
from npe2 import PluginManifest
from PIL import Image as Pillow
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QWidget,
)
from superqt import QCollapsible

from napari_dip.io import files
from napari_dip.tasks.run import TASKS, get
from napari_dip.widgets import readers
from napari_dip.widgets.deconvolve import DeconvolveWidget
from napari_dip.widgets.panels import (
    DenoiseGuidedWidget,
    DenoiseWidget,
    EnhanceWidget,
    InpaintWidget,
    SuperResolveWidget,
)
from napari_dip.widgets.parts import VerticalArea
from napari_dip.widgets.remove_artifacts import RemoveArtifactsWidget
from napari_dip.widgets.run_panel import RunPanel
from napari_dip.widgets.scrubber import Scrubber
from napari_dip.widgets.task import SHOWN, TaskWidget

pytestmark = pytest.mark.gui

WIDGETS = [
    DeconvolveWidget,
    DenoiseGuidedWidget,
    DenoiseWidget,
    EnhanceWidget,
    InpaintWidget,
    RemoveArtifactsWidget,
    SuperResolveWidget,
]


@pytest.fixture(params=WIDGETS, ids=lambda kind: kind.task)
def kind(request):
    return request.param


@pytest.fixture
def others(noisy):
    """Return the layers that a task needs beside its image."""
    mask = np.zeros(noisy.shape, np.uint8)
    mask[10:14, 10:14] = 1
    psf = np.ones((3, 3), np.float32)

    def add(viewer, widget):
        if "mask" in widget.inputs:
            viewer.add_labels(mask, name="mask")
        if "guide" in widget.inputs:
            viewer.add_image(noisy + 1, name="guide")
            widget.inputs["guide"].choose("guide")
        if "psf" in widget.inputs:
            viewer.add_image(psf, name="psf")
            widget.inputs["psf"].choose("psf")
        widget.inputs["image"].choose("raw")

    return add


def test_the_manifest_offers_them(root):
    manifest = PluginManifest.from_file(root / "napari.yaml")
    offered = {c.id: c.python_name for c in manifest.contributions.commands}
    menu = {item.command for item in manifest.contributions.menus["napari_dip"]}
    for kind in WIDGETS:
        name = f"napari-dip.{kind.task}_widget"
        module, _, attribute = offered[name].partition(":")
        assert getattr(importlib.import_module(module), attribute) is kind
        assert name in menu
        assert kind.task in TASKS


def test_it_takes_every_array_of_its_task_and_says_what_it_does(kind):
    assert tuple(kind.arrays) == tuple(get(kind.task).arrays)
    assert 200 < len(kind.about) < 900
    assert kind.__doc__


def test_it_runs_and_says_how_it_was_made(
    open_widget, finish, noisy, kind, others, changed_presets, few_passes
):
    changed_presets(start_iterations=0)
    viewer, widget = open_widget(noisy, kind=kind, iterations=2)
    others(viewer, widget)
    before = set(viewer.layers)
    finish(widget)
    (result,) = set(viewer.layers) - before
    assert result.name == f"raw [DIP {kind.task.replace('_', ' ')}]"
    made = result.metadata["napari-dip"]
    assert made["task"] == kind.task
    assert made["layers"]["image"] == "raw"
    assert set(made["layers"]) == set(kind.arrays)
    assert np.allclose(np.asarray(result.scale) * result.data.shape, noisy.shape), (
        "the result covers the same area"
    )


def test_every_control_has_a_tip(open_widget, noisy, kind):
    _, widget = open_widget(noisy, kind=kind)
    bare = [
        part
        for group in (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit)
        for part in widget.findChildren(group)
        if not told(part, widget)
    ]
    assert bare == []


def test_they_fit_into_a_dock_of_300_pixels(make_napari_viewer, root):
    """The style sheet of napari is in place here, and what a fit shows is shown."""
    viewer = make_napari_viewer()
    manifest = PluginManifest.from_file(root / "napari.yaml")
    for offered in manifest.contributions.widgets:
        widget = offered.get_callable()(viewer)
        viewer.window.add_dock_widget(widget, name=offered.display_name)
        for part in widget.findChildren(RunPanel) + widget.findChildren(Scrubber):
            for inner in part.findChildren(QWidget):
                inner.setVisible(True)
        for part in widget.findChildren(VerticalArea):
            assert part.minimumSizeHint().width() <= 300, offered.display_name
        viewer.window.remove_dock_widget(widget)


def told(part, widget):
    """Whether a control or what it is a part of has a tip, or is no control."""
    while part is not widget:
        if part.toolTip() or isinstance(part, QCollapsible):
            return True
        part = part.parentWidget()
    return False


def test_what_is_missing_is_said(open_widget, noisy):
    _, widget = open_widget(noisy, kind=InpaintWidget)
    widget.panel.run_button.click()
    assert "no labels, shapes or points layer to take the mask from" in (
        widget.panel.progress.text()
    )


def test_a_new_mask_is_ready_to_paint_and_is_used(open_widget, finish, noisy):
    viewer, widget = open_widget(noisy, kind=InpaintWidget, iterations=2, scale=(2, 2))
    widget.inputs["mask"].new.native.click()
    mask = viewer.layers["raw [mask]"]
    assert viewer.layers.selection.active == mask
    assert mask.mode == "paint"
    assert tuple(mask.scale) == (2, 2)
    assert widget.inputs["mask"].layer == mask
    mask.brush_size = 1
    mask.paint((10, 10), 1)
    finish(widget)
    result = viewer.layers["raw [DIP inpaint]"].data
    assert np.count_nonzero(result != noisy) == 1


def test_a_mask_elsewhere_is_refused_in_words(open_widget, noisy):
    viewer, widget = open_widget(noisy, kind=InpaintWidget, scale=(2, 2))
    viewer.add_labels(np.ones(noisy.shape, int), name="m")
    widget.panel.run_button.click()
    assert "m does not lie on raw" in widget.panel.progress.text()
    assert widget.controller.state == "idle"


def test_one_mask_serves_a_stack_and_only_the_shown_plane_is_done(
    open_widget, finish, noisy
):
    stack = np.stack([noisy, noisy + 50, noisy + 100])
    viewer, widget = open_widget(stack, kind=InpaintWidget, iterations=2)
    mask = np.zeros(noisy.shape, np.uint8)
    mask[10:14, 10:14] = 1
    viewer.add_labels(mask, name="m")
    finish(widget)
    result = viewer.layers["raw [DIP inpaint]"].data
    changed = (result != stack).any(axis=0)
    assert changed[mask > 0].all()
    assert not changed[mask == 0].any()
    viewer.dims.set_current_step(0, 2)
    widget.planes.value = SHOWN
    finish(widget)
    one = viewer.layers["raw [DIP inpaint, plane 3]"]
    assert one.data.shape == (1, 32, 32)
    assert one.extent.data[0][0] + one.translate[0] == 2


def test_a_volume_is_restored_as_a_whole(open_widget, finish):
    volume = np.random.default_rng(0).normal(100, 5, (16, 16, 18)).astype(np.float32)
    viewer, widget = open_widget(volume, iterations=2, scale=(3, 1, 1))
    widget.fields.fields["spatial_dims"].value = 3
    reports = []
    widget.controller.reported.connect(reports.append)
    finish(widget)
    assert {report.iterate.parts for report in reports} == {1}
    assert viewer.layers["raw [DIP denoise]"].data.shape == volume.shape


def test_a_zarr_array_over_time_and_channels_is_read_in_the_thread(
    open_widget, finish, noisy
):
    data = np.stack([np.stack([noisy, noisy + 100])] * 2)
    array = zarr.array(data, chunks=(1, 1, 32, 32))
    viewer, widget = open_widget(
        array,
        iterations=2,
        axis_labels=("t", "c", "y", "x"),
        units=("s", "pixel", "um", "um"),
        contrast_limits=(0, 200),
    )
    reports = []
    widget.controller.reported.connect(reports.append)
    finish(widget)
    result = viewer.layers["raw [DIP denoise]"]
    assert result.data.shape == data.shape
    assert result.axis_labels == ("t", "c", "y", "x")
    assert result.units == viewer.layers["raw"].units
    assert {report.iterate.parts for report in reports} == {2}  # channels go together
    assert result.metadata["napari-dip"]["recipe"]["channel_axis"] == 1


def test_the_planes_are_asked_for_where_there_are_several(open_widget, noisy):
    viewer, widget = open_widget(noisy)
    assert not widget.planes.native.isVisibleTo(widget)
    viewer.add_image(np.stack([noisy] * 2), name="stack")
    widget.inputs["image"].choose("stack")
    assert widget.planes.native.isVisibleTo(widget)
    widget.inputs["image"].choose("raw")
    assert not widget.planes.native.isVisibleTo(widget)


def test_tables_of_a_jpeg_are_filled_in(open_widget, tmp_path, noisy):
    path = tmp_path / "photo.jpg"
    gray = np.clip(noisy, 0, 255).astype(np.uint8)
    Pillow.fromarray(gray).save(path, quality=30)
    viewer, widget = open_widget(gray, kind=RemoveArtifactsWidget)
    assert widget.recipe().quantization is None
    viewer.open(str(path))
    widget.inputs["image"].choose("photo")
    tables = widget.recipe().quantization
    assert len(tables) == 64
    assert tables == tuple(files.read_header(path).jpeg.tables[0])
    widget.inputs["image"].choose("raw")
    assert widget.recipe().quantization is None


def test_tables_of_an_image_that_is_open_already_are_filled_in(
    empty_viewer, open_widget, tmp_path, noisy
):
    path = tmp_path / "photo.jpg"
    Pillow.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=30)
    readers.add_files(empty_viewer, [str(path)])
    _, widget = open_widget(kind=RemoveArtifactsWidget)
    assert widget.recipe().quantization is not None


def test_a_file_that_is_no_jpeg_has_no_tables(
    empty_viewer, open_widget, tmp_path, noisy
):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"another format")
    _, widget = open_widget(kind=RemoveArtifactsWidget)
    with layer_source(path=str(path), reader_plugin="another"):
        empty_viewer.add_image(noisy)
    assert widget.source is not None
    assert widget.recipe().quantization is None


def test_parameters_are_remembered_and_the_text_is_for_who_is_new(
    open_widget, finish, noisy
):
    viewer, widget = open_widget(noisy, iterations=3)
    assert widget.about_section.isExpanded()
    widget.fields.fields["noise"].value = "gaussian"
    finish(widget)
    again = DenoiseWidget(viewer)
    viewer.window.add_dock_widget(again, name="Again")
    assert again.fields.recipe() == widget.fields.recipe()
    assert not again.about_section.isExpanded()
    other = EnhanceWidget(viewer)
    viewer.window.add_dock_widget(other, name="Enhance")
    assert other.fields.recipe() == get("enhance").recipe()


def test_what_an_older_version_remembered_is_forgotten(open_widget, noisy):
    from napari_dip.widgets import settings

    settings.remember("denoise", {"task": "denoise", "nonsense": 3})
    _, widget = open_widget(noisy)
    assert widget.fields.fields["noise"].value == "auto"


def test_a_second_fit_waits_for_the_first(open_widget, until, noisy, slow):
    viewer, widget = open_widget(noisy, iterations=100_000)
    second = EnhanceWidget(viewer)
    viewer.window.add_dock_widget(second, name="Enhance")
    second.fields.fields["iterations"].value = 2
    widget.panel.run_button.click()
    until(lambda: len(viewer.layers) == 2)
    second.panel.run_button.click()
    assert second.controller.state == "waiting"
    assert "Waiting" in second.panel.progress.text()
    assert second.panel.cancel_button.isEnabled()
    second.panel.cancel_button.click()
    assert second.controller.state == "idle"
    second.panel.run_button.click()
    assert second.controller.state == "waiting"
    widget.panel.stop_button.click()
    until(lambda: second.controller.state == "idle")
    assert "raw [DIP enhance]" in viewer.layers


def test_a_waiting_widget_that_is_closed_gives_up_its_place(
    open_widget, until, noisy, slow
):
    viewer, widget = open_widget(noisy, iterations=100_000)
    second = EnhanceWidget(viewer)
    viewer.window.add_dock_widget(second, name="Enhance")
    widget.panel.run_button.click()
    second.panel.run_button.click()
    viewer.window.remove_dock_widget(second)
    assert second.controller.state == "idle"
    widget.panel.cancel_button.click()
    until(lambda: widget.controller.state == "idle")
    assert len(viewer.layers) == 1


def test_closing_the_viewer_ends_what_runs_and_what_waits(
    open_own_viewer, until, qtbot, noisy, slow
):
    viewer, widget = open_own_viewer(noisy, iterations=100_000)
    second = EnhanceWidget(viewer)
    viewer.window.add_dock_widget(second, name="Enhance")
    widget.panel.run_button.click()
    until(lambda: len(viewer.layers) == 2)
    second.panel.run_button.click()
    viewer.close()
    assert QThreadPool.globalInstance().waitForDone(5000)
    qtbot.wait(50)


def test_the_source_may_be_renamed_or_painted_on_during_a_fit(
    open_widget, until, noisy, slow
):
    viewer, widget = open_widget(noisy.copy(), iterations=30)
    widget.panel.run_button.click()
    until(lambda: len(viewer.layers) == 2)
    viewer.layers["raw"].name = "renamed"
    viewer.layers["renamed"].data[:] = 0
    until(lambda: widget.controller.state == "idle")
    result = viewer.layers["raw [DIP denoise]"]
    assert result.metadata["napari-dip"]["source"] == "raw"
    assert result.data[8:24, 8:24].mean() == pytest.approx(100, rel=0.3)
    assert widget.inputs["image"].combo.current_choice == "renamed"


def test_it_says_what_a_fit_needs(open_widget, until, noisy, monkeypatch):
    from napari_dip.widgets import foresee

    monkeypatch.setattr(foresee, "QUIET", 10)
    _, widget = open_widget(noisy)
    widget.foresight.debouncer.setTimeout(10)
    widget.foresight.ask()
    until(lambda: "of memory" in widget.panel.estimate.text())
    assert "free" in widget.panel.estimate.text()
    until(lambda: all("\n" in t.text() for t in widget.quality.labels.values()))


@pytest.mark.parametrize(
    "change",
    [
        {"data": np.ones((48, 48), np.float32)},
        {"scale": (2, 2)},
        {"axis_labels": ("c", "y", "x")},
    ],
)
def test_it_looks_again_at_a_layer_that_changes(
    open_widget, noisy, change, monkeypatch
):
    stack = np.stack([noisy, noisy]) if "axis_labels" in change else noisy
    viewer, widget = open_widget(stack)
    asked = []
    monkeypatch.setattr(widget, "_ask", lambda: asked.append(change))
    widget.panel.show_failure("Failed: for another reason")
    (name, value), (layer,) = *change.items(), viewer.layers
    setattr(layer, name, value)
    assert asked
    assert widget.panel.progress.isHidden()


def test_the_estimate_is_shown_again_when_a_failure_is_forgotten(
    open_widget, finish, noisy
):
    viewer, widget = open_widget(np.full_like(noisy, np.inf), contrast_limits=(0, 1))
    widget.panel.estimate.say("About 3 s.")
    finish(widget)
    assert "Failed: " in widget.panel.progress.text()
    assert widget.panel.estimate.isHidden()
    viewer.add_image(noisy, name="of the same size")
    widget.reset_choices()
    widget.first.choose("of the same size")
    assert widget.panel.progress.isHidden()
    assert not widget.panel.estimate.isHidden()
    assert widget.panel.estimate.text() == "About 3 s."


def test_what_is_wrong_is_said_once(open_widget, until, noisy):
    _, widget = open_widget(noisy[:8, :8])
    widget.foresight.debouncer.setTimeout(10)
    widget.foresight.ask()
    until(lambda: "at least 16 pixels" in widget.panel.estimate.text())
    widget.panel.run_button.click()
    until(lambda: "Failed: " in widget.panel.progress.text())
    refused = []
    widget.foresight.refused.connect(refused.append)
    widget.foresight.ask()
    until(lambda: len(refused) > 0)
    assert "at least 16 pixels" in widget.panel.progress.text()
    assert widget.panel.estimate.text() == ""


def test_the_time_of_a_layer_goes_with_it(open_widget, until, noisy, monkeypatch):
    monkeypatch.setattr(DenoiseWidget, "isVisible", lambda self: True)
    viewer, widget = open_widget(noisy)
    widget.foresight.debouncer.setTimeout(10)
    widget.foresight.ask()
    until(lambda: "of memory" in widget.panel.estimate.text())
    viewer.layers.clear()
    until(lambda: "There is no image layer: open" in widget.panel.estimate.text())
    assert not any("\n" in label.text() for label in widget.quality.labels.values())


def test_no_plane_is_shown_in_three_dimensions(open_widget, noisy):
    viewer, widget = open_widget(np.stack([noisy, noisy]))
    viewer.dims.ndisplay = 3
    widget.planes.value = SHOWN
    for button in (widget.panel.run_button, widget.panel.try_button):
        button.click()
        assert "The viewer shows raw in 3-D" in widget.panel.progress.text()
        assert "show it in 2-D" in widget.panel.progress.text()
    viewer.dims.ndisplay = 2


def test_a_base_class_is_no_widget_of_a_task():
    assert not hasattr(TaskWidget, "task")


@pytest.mark.gui
def test_menus_and_command_palette_have_every_widget(empty_viewer):
    from napari._app_model import get_app_model

    menus = get_app_model().menus
    names = {f"napari-dip.{kind.task}_widget" for kind in WIDGETS}
    for menu in ("napari_dip", menus.COMMAND_PALETTE_ID):
        commands = [getattr(item, "command", None) for item in menus.get_menu(menu)]
        assert names <= {command.id for command in commands if command}
    inside = menus.get_menu("napari/layers/filter")
    assert "napari_dip" in {getattr(item, "submenu", None) for item in inside}


@pytest.mark.gui
def test_the_command_palette_offers_nothing_that_cannot_be_run(empty_viewer):
    from napari._app_model import get_app_model

    menus = get_app_model().menus
    for item in menus.get_menu(menus.COMMAND_PALETTE_ID):
        name = item.command.id.removeprefix("napari-dip.")
        if name == "read" or name.startswith("write_"):
            assert not item.command.enablement.eval({})


def test_run_progress_and_stop_are_in_view_on_a_small_screen(open_widget, noisy, kind):
    """A dock has 700 pixels on a screen of 768, and scrolls."""
    _, widget = open_widget(noisy, kind=kind)
    panel, area = widget.panel, widget.findChild(VerticalArea)
    panel.estimate.say("At most 40 s for 5 planes, 19 MiB of memory (21.5 GiB free).")
    panel.progress.say("Iteration 10 of at most 40\n3.3 per second, at most 5 s left")
    for part in (panel.pause_button, panel.stop_button, panel.cancel_button, panel.bar):
        part.setVisible(True)
    form = widget.form.sizeHint().height()
    assert 150 < form + panel.sizeHint().height() < 500
    assert area.minimumSizeHint().height() < 500
