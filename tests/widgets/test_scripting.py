"""What is copied does the run again: it is executed, and the images are equal."""

import shlex

import numpy as np
import pytest
import torch
from napari.layers import Shapes
from qtpy.QtWidgets import QApplication

from napari_dip import cli
from napari_dip.io import files
from napari_dip.io.image import Header, Image
from napari_dip.widgets import readers
from napari_dip.widgets.panels import InpaintWidget
from napari_dip.widgets.task import ALL, SHOWN

pytestmark = pytest.mark.gui

RESULT = "raw [DIP denoise]"


@pytest.fixture
def execute():
    """Return a function that runs what was copied in a console's namespace."""
    before = torch.get_num_threads()

    def run(viewer):
        namespace = {"viewer": viewer}
        exec(QApplication.clipboard().text(), namespace)
        return namespace["result"]

    yield run
    torch.set_num_threads(before)


def test_python_gives_the_same_image(open_widget, finish, execute, noisy):
    viewer, widget = open_widget(noisy, iterations=6)
    widget.fields.fields["seed"].value = 5
    finish(widget)
    widget.python_button.click()
    assert "seed=5" in QApplication.clipboard().text()
    assert np.array_equal(execute(viewer), viewer.layers[RESULT].data)


def test_another_layer_of_the_same_name_is_another_run(open_widget, until, noisy, slow):
    viewer, widget = open_widget(noisy, iterations=1000)
    widget.panel.run_button.click()
    until(lambda: widget.controller.begun)
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    raw = viewer.layers["raw"]
    raw.name = "renamed"
    widget.python_button.click()
    assert "callback=watch" in QApplication.clipboard().text()
    viewer.layers.remove(raw)
    viewer.add_image(noisy + 1, name="raw")
    widget.inputs["image"].choose("raw")
    widget.python_button.click()
    assert "callback" not in QApplication.clipboard().text()


@pytest.mark.slow
@pytest.mark.usefixtures("own_presets")
def test_python_stops_where_the_user_did(
    open_widget, until, execute, noisy, monkeypatch, slow
):
    viewer, widget = open_widget(noisy)
    widget.fields.fields["iterations"].choice.value = True  # automatic
    reports = []
    widget.controller.reported.connect(reports.append)
    widget.panel.run_button.click()
    until(lambda: bool(reports) and reports[-1].iterate.step > 5)
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    monkeypatch.undo()
    widget.python_button.click()
    stop = "return (it.part, it.step - it.ahead) == (0, "
    assert stop in QApplication.clipboard().text()
    assert np.array_equal(execute(viewer), viewer.layers[RESULT].data)
    viewer.layers["raw"].name = "renamed"
    widget.python_button.click()
    assert stop in QApplication.clipboard().text()
    assert np.array_equal(execute(viewer), viewer.layers[RESULT].data)
    # Another setting is another run, which nobody has stopped yet.
    widget.fields.fields["seed"].value = 1
    widget.python_button.click()
    assert "callback" not in QApplication.clipboard().text()


@pytest.mark.slow
def test_python_and_command_go_on_as_long_as_the_user_did(
    open_widget, finish, until, execute, noisy, slow, every_image, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    viewer, widget = open_widget(noisy, iterations=10)
    finish(widget)
    for extra in (10, 10):
        widget.scrubber.more.setValue(extra)
        widget.scrubber.go_on_button.click()
        until(lambda: widget.controller.state == "idle")
    slow.quicken()
    result = viewer.layers[RESULT].data
    widget.python_button.click()
    assert "extra_iterations=20" in QApplication.clipboard().text()
    assert np.array_equal(execute(viewer), result)
    viewer.layers["raw"].save("raw.tif")
    widget.command_button.click()
    words = shlex.split(QApplication.clipboard().text())
    assert cli.main([*words[2:], "--quiet"]) == 0
    output = words[words.index("--output") + 1]
    assert np.array_equal(files.read(output).data, result)


@pytest.mark.slow
def test_python_keeps_what_the_user_kept(
    open_widget, finish, execute, noisy, slow, every_image
):
    image = np.clip(noisy, 0, 255).astype(np.uint8)
    colours = np.stack([image, image // 2, image], axis=-1)
    viewer, widget = open_widget(np.stack([colours] * 2), rgb=True, iterations=10)
    finish(widget)
    viewer.dims.set_current_step(0, 1)
    widget.scrubber.slider.setValue(0)
    widget.python_button.click()
    assert "kept.append" in QApplication.clipboard().text()
    slow.quicken()
    assert np.array_equal(execute(viewer), viewer.layers[RESULT].data)


def test_python_takes_the_shown_plane_of_a_multiscale_layer(
    open_widget, finish, execute, noisy
):
    stack = np.stack([noisy, noisy + 300, noisy])
    viewer, widget = open_widget(
        [stack, stack[:, ::2, ::2]],
        multiscale=True,
        contrast_limits=(0, 400),
        iterations=3,
    )
    viewer.dims.set_current_step(0, 1)
    widget.planes.value = SHOWN
    finish(widget)
    result = viewer.layers["raw [DIP denoise, plane 2]"]
    assert result.data.shape == (1, 32, 32)
    assert result.translate[0] == 1
    widget.python_button.click()
    assert ".data[0][1:2]" in QApplication.clipboard().text()
    assert np.array_equal(execute(viewer), result.data)


def test_python_has_the_mask(open_widget, finish, execute, noisy):
    viewer, widget = open_widget(noisy, kind=InpaintWidget, iterations=4)
    square = np.array([[10, 10], [10, 14], [14, 14], [14, 10]])
    viewer.add_layer(Shapes([square], name="hole"))
    finish(widget)
    result = viewer.layers["raw [DIP inpaint]"]
    widget.python_button.click()
    assert "mask_of(viewer.layers['hole'], viewer.layers['raw'])" in (
        QApplication.clipboard().text()
    )
    assert np.array_equal(execute(viewer), result.data)
    widget.command_button.click()
    assert "only a labels layer" in widget.message.text()


def test_the_command_gives_the_same_image(
    open_widget, finish, noisy, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    viewer, widget = open_widget(noisy, kind=InpaintWidget, iterations=4)
    widget.fields.fields["scales"].value = (1, 2)
    widget.fields.fields["keep_known"].value = False
    mask = np.zeros(noisy.shape, np.uint8)
    mask[10:14, 10:20] = 1
    viewer.add_labels(mask, name="my hole")
    finish(widget)
    result = viewer.layers["raw [DIP inpaint]"].data
    widget.command_button.click()
    assert "save raw as raw.tif, my hole as my_hole.tif first" in widget.message.text()
    viewer.layers["raw"].save("raw.tif")
    viewer.layers["my hole"].save("my_hole.tif")
    words = shlex.split(QApplication.clipboard().text())
    assert words[0].startswith("OMP_NUM_THREADS=")
    assert words[1] == "napari-dip"
    assert cli.main([*words[2:], "--quiet"]) == 0
    output = words[words.index("--output") + 1]
    assert np.array_equal(files.read(output).data, result)


def test_a_command_cannot_take_a_plane_or_an_early_end(open_widget, noisy):
    _, widget = open_widget(np.stack([noisy] * 2))
    widget.planes.value = SHOWN
    widget.command_button.click()
    assert "choose all planes" in widget.message.text()
    assert widget.message.isVisibleTo(widget.message.parentWidget())
    widget.planes.value = ALL
    assert not widget.message.isVisibleTo(widget.message.parentWidget())


def test_a_command_takes_no_file_that_holds_something_else(
    empty_viewer, open_widget, noisy, tmp_path
):
    both = np.stack([noisy, noisy])
    path = tmp_path / "two.ome.tif"
    files.write(
        path, both, Image(both, Header("", both.shape, both.dtype, "CYX")), None
    )
    readers.add_files(empty_viewer, [str(path)])
    _, widget = open_widget()
    widget.command_button.click()
    assert f"{path}" not in QApplication.clipboard().text()
    assert "save two C1 as two_C1.tif first" in widget.message.text()


@pytest.mark.parametrize(
    ("name", "file"), [("-x", "x"), ("a/b: c", "a_b__c"), ("?", "image")]
)
def test_files_of_a_command_have_names_that_can_be_given(
    open_widget, noisy, name, file
):
    _, widget = open_widget(noisy, name=name)
    widget.command_button.click()
    words = shlex.split(QApplication.clipboard().text())
    assert words[3:6] == [f"{file}.tif", "--output", f"{file}-denoise.tif"]


def test_a_recipe_loads_back_from_a_layer(open_widget, finish, noisy):
    viewer, widget = open_widget(noisy, iterations=3)
    viewer.add_image(noisy, name="other")
    widget.fields.fields["noise"].value = "poisson"
    finish(widget)
    fields = widget.fields.fields
    fields["noise"].value, fields["iterations"].value = "gaussian", 9
    widget.inputs["image"].choose("other")
    widget.load_button.click()
    assert "no recipe" in widget.message.text()
    viewer.layers.selection = {viewer.layers[RESULT]}
    widget.load_button.click()
    assert (fields["noise"].value, fields["iterations"].value) == ("poisson", 3)
    assert widget.source.name == "raw"
    widget.defaults_button.click()
    assert fields["noise"].value == "auto"


def test_a_recipe_of_another_task_is_refused(open_widget, finish, noisy):
    viewer, widget = open_widget(noisy, iterations=3)
    finish(widget)
    other = InpaintWidget(viewer)
    viewer.window.add_dock_widget(other, name="Inpaint")
    viewer.layers.selection = {viewer.layers[RESULT]}
    other.load_button.click()
    assert "of the task 'denoise'" in other.message.text()


@pytest.mark.parametrize("stored", ["a text", None])
def test_what_others_have_stored_under_our_name_does_no_harm(
    open_widget, finish, noisy, stored
):
    viewer, widget = open_widget(noisy, iterations=1, blending="additive")
    other = viewer.add_image(noisy, name="other", metadata={"napari-dip": stored})
    widget.inputs["image"].choose("raw")
    finish(widget)
    widget.comparison.before_button.click()
    assert [layer.name for layer in viewer.layers if layer.visible] == ["raw", "other"]
    viewer.layers.selection = {other}
    widget.load_button.click()
    assert "no recipe" in widget.message.text()
