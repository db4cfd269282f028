"""The result against its input, in a real viewer."""

import threading

import numpy as np
import pytest

from napari_dip import baselines
from napari_dip.baselines import FOR_TASK, tv
from napari_dip.widgets.deconvolve import DeconvolveWidget
from napari_dip.widgets.panels import SuperResolveWidget

pytestmark = pytest.mark.gui

RESULT = "raw [DIP denoise]"


def test_showing_the_original_swaps_what_is_visible_and_back(
    open_widget, finish, noisy
):
    viewer, widget = open_widget(noisy, iterations=3)
    button = widget.comparison.before_button
    assert not button.isEnabled()
    finish(widget)
    viewer.layers["raw"].visible = False
    button.click()
    assert (viewer.layers["raw"].visible, viewer.layers[RESULT].visible) == (
        True,
        False,
    )
    button.click()
    assert (viewer.layers["raw"].visible, viewer.layers[RESULT].visible) == (
        False,
        True,
    )
    button.click()
    finish(widget)
    assert not button.isChecked()
    assert all(layer.visible for layer in viewer.layers if layer.name != "raw")


def test_the_original_is_shown_without_what_was_made_of_it(
    open_widget, finish, until, noisy, empty_viewer
):
    viewer, widget = open_widget(noisy, iterations=1)
    finish(widget)
    comparison = widget.comparison
    comparison.residual_button.click()
    until(lambda: len(viewer.layers) == 3)
    comparison.classic_button.click()
    until(lambda: len(viewer.layers) == 4)
    empty_viewer.add_image(noisy, name="another")
    viewer.layers[f"{RESULT}, residual"].visible = False
    before = {layer.name: layer.visible for layer in viewer.layers}
    comparison.before_button.click()
    shown = [layer.name for layer in viewer.layers if layer.visible]
    assert shown == ["raw", "another"]
    comparison.before_button.click()
    assert {layer.name: layer.visible for layer in viewer.layers} == before


def test_without_its_layer_the_original_is_not_shown(open_widget, finish, noisy):
    viewer, widget = open_widget(noisy, iterations=1)
    viewer.add_image(noisy, name="other", visible=False)
    widget.inputs["image"].choose("raw")
    finish(widget)
    widget.comparison.before_button.click()
    viewer.layers.remove("raw")
    assert not widget.comparison.before_button.isEnabled()
    assert not widget.comparison.before_button.isChecked()
    assert viewer.layers[RESULT].visible
    assert not viewer.layers["other"].visible


@pytest.mark.parametrize("sides", [(48, 64), (32, 32)])
def test_a_result_belongs_to_the_data_that_was_restored(
    open_widget, finish, until, noisy, slow, sides
):
    viewer, widget = open_widget(noisy, iterations=3, scale=(0.5, 0.25))
    widget.panel.run_button.click()
    viewer.layers["raw"].data = np.zeros(sides, np.float32)
    slow.quicken()
    until(lambda: widget.controller.state == "idle")
    result = viewer.layers[RESULT]
    assert result.data.shape == noisy.shape
    viewer.layers["raw"].data = np.zeros((8, 8), np.float32)
    widget.comparison.residual_button.click()
    until(lambda: len(viewer.layers) == 3)
    residual = viewer.layers[f"{RESULT}, residual"]
    np.testing.assert_allclose(residual.data + result.data, noisy, atol=1e-3)
    widget.scrubber.keep_button.click()
    until(lambda: len(viewer.layers) == 4)
    for layer in viewer.layers:
        assert tuple(layer.scale) == (0.5, 0.25)
        assert tuple(layer.translate) == (0, 0)


def test_the_original_is_shown_without_the_psf(open_widget, finish, noisy):
    viewer, widget = open_widget(noisy, kind=DeconvolveWidget, iterations=1)
    viewer.add_image(np.ones((3, 3), np.float32), name="psf")
    finish(widget)
    widget.comparison.before_button.click()
    assert [layer.name for layer in viewer.layers if layer.visible] == ["raw"]
    widget.comparison.before_button.click()
    assert all(layer.visible for layer in viewer.layers)


def test_a_residual_is_not_chosen_as_an_image(
    open_widget, finish, until, noisy, empty_viewer
):
    viewer, widget = open_widget(noisy, iterations=1)
    finish(widget)
    widget.comparison.residual_button.click()
    until(lambda: len(viewer.layers) == 3)
    empty_viewer.layers.selection.clear()
    other = SuperResolveWidget(viewer)
    assert other.source.name == "raw"
    other.deleteLater()


def test_what_is_new_lies_above_what_was_made_before(
    open_widget, finish, until, noisy, empty_viewer
):
    viewer, widget = open_widget(noisy, iterations=1)
    empty_viewer.add_image(noisy, name="another channel")
    finish(widget)
    widget.comparison.classic_button.click()
    until(lambda: len(viewer.layers) == 4)
    finish(widget)
    assert [layer.name for layer in viewer.layers] == [
        "raw",
        RESULT,
        "raw [nlm]",
        f"{RESULT} [1]",
        "another channel",
    ]


def test_the_residual_is_a_layer_and_a_reading(open_widget, finish, until, noisy):
    viewer, widget = open_widget(
        noisy, iterations=3, scale=(0.5, 0.5), blending="additive"
    )
    # Without the filters at the end three iterations leave the square in the residual.
    widget.fields.fields["noise"].value = "impulse"
    finish(widget)
    widget.comparison.residual_button.click()
    until(lambda: len(viewer.layers) == 3)
    rest, result = viewer.layers[f"{RESULT}, residual"], viewer.layers[RESULT]
    assert np.allclose(rest.data, noisy - result.data)
    assert tuple(rest.scale) == (0.5, 0.5)
    assert rest.blending == "translucent"
    assert result.visible
    low, high = rest.contrast_limits
    assert low == -high
    assert widget.comparison.reading.text().startswith("Warning")
    viewer.layers.remove(RESULT)
    assert not widget.comparison.residual_button.isEnabled()


def test_the_residual_of_colours_is_grey_where_nothing_changed(
    open_widget, finish, until, noisy
):
    colours = np.clip(noisy, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=-1)
    viewer, widget = open_widget(colours, rgb=True, iterations=3)
    finish(widget)
    widget.comparison.residual_button.click()
    until(lambda: len(viewer.layers) == 3)
    rest = viewer.layers[f"{RESULT}, residual"]
    assert rest.rgb
    assert 0 <= rest.data.min() < 0.5 < rest.data.max() <= 1
    change = colours.astype(float) - viewer.layers[RESULT].data
    assert np.allclose(rest.data[change == 0], 0.5)


@pytest.mark.usefixtures("own_presets")
def test_the_uncertainty_is_a_layer_that_lies_on_the_result(
    open_widget, finish, until, noisy
):
    placed = {
        "scale": (0.5, 0.25),
        "translate": (3, 4),
        "units": ("um", "um"),
        "axis_labels": ("y", "x"),
        "blending": "additive",
        "gamma": 0.5,
    }
    viewer, widget = open_widget(noisy, iterations=3, **placed)
    button = widget.comparison.uncertainty_button
    assert not button.isEnabled()
    finish(widget)
    button.click()
    until(lambda: len(viewer.layers) == 3)
    layer, result = viewer.layers[-1], viewer.layers[RESULT]
    assert layer.name == f"{RESULT}, uncertainty"
    assert layer.data.shape == noisy.shape
    assert 0 < layer.data.min() < layer.data.max() < 15
    for name in ("scale", "translate", "units", "axis_labels"):
        assert np.array_equal(getattr(layer, name), getattr(result, name)), name
    assert layer.colormap.name == "magma"
    assert (layer.blending, layer.gamma) == ("translucent", 1)
    limits = np.percentile(layer.data, (0.5, 99.5))
    assert layer.contrast_limits == pytest.approx(limits)
    about, made = (each.metadata["napari-dip"] for each in (layer, result))
    assert about["shows"] == "standard deviation of the result"
    assert about["unit"] == "that of the image"
    assert about["run_id"] == made["run_id"]
    viewer.layers.remove(RESULT)
    assert not button.isEnabled()


@pytest.mark.usefixtures("own_presets")
def test_the_uncertainty_of_colours_is_one_map(open_widget, finish, until, noisy):
    colours = np.clip(noisy, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=-1)
    random = np.random.default_rng(1)
    colours = colours // 2 + random.integers(0, 60, colours.shape).astype(np.uint8)
    viewer, widget = open_widget(colours, rgb=True, iterations=3)
    finish(widget)
    widget.comparison.uncertainty_button.click()
    until(lambda: len(viewer.layers) == 3)
    layer = viewer.layers[-1]
    assert not layer.rgb
    assert layer.data.shape == noisy.shape
    deviation = widget.controller.last.deviation
    assert (deviation.min(axis=-1) <= layer.data).all()
    assert (layer.data <= deviation.max(axis=-1)).all()


@pytest.mark.usefixtures("own_presets")
def test_the_opacity_of_colours_has_no_residual_and_no_uncertainty(
    open_widget, finish, until, noisy
):
    random = np.random.default_rng(1)
    colours = np.full((*noisy.shape, 4), 255, np.uint8)
    colours[..., :3] = random.normal(100, 20, colours[..., :3].shape)
    viewer, widget = open_widget(colours, rgb=True, iterations=3)
    finish(widget)
    widget.comparison.residual_button.click()
    until(lambda: len(viewer.layers) == 3)
    assert viewer.layers[-1].rgb
    assert viewer.layers[-1].data.shape == (*noisy.shape, 3)
    widget.comparison.uncertainty_button.click()
    until(lambda: len(viewer.layers) == 4)
    shown = viewer.layers[f"{RESULT}, uncertainty"].data
    deviation = widget.controller.last.deviation[..., :3]
    assert (deviation.min(axis=-1) <= shown).all()


@pytest.mark.usefixtures("own_presets")
def test_the_uncertainty_of_a_stack_has_its_planes(open_widget, finish, until, noisy):
    stack = np.stack([noisy, np.full_like(noisy, 7)])
    viewer, widget = open_widget(stack, iterations=3)
    finish(widget)
    widget.comparison.uncertainty_button.click()
    until(lambda: len(viewer.layers) == 3)
    first, constant = viewer.layers[-1].data
    assert (first > 0).all()
    assert not constant.any()


@pytest.mark.parametrize("name", ["preset", "noise"])
def test_where_there_is_no_uncertainty_the_button_says_why(
    open_widget, finish, noisy, name
):
    _, widget = open_widget(noisy, iterations=3)
    button = widget.comparison.uncertainty_button
    assert "standard deviation" in button.toolTip()
    widget.fields.fields[name].value = {"preset": "paper", "noise": "impulse"}[name]
    widget.fields.fields["iterations"].value = 3
    finish(widget)
    assert not button.isEnabled()
    assert "is not known" in button.toolTip()
    assert "paper" in button.toolTip()


def test_the_uncertainty_of_a_constant_image_is_zero(open_widget, finish, until, noisy):
    viewer, widget = open_widget(np.full_like(noisy, 7))
    widget.fields.fields["restarts"].value = 2
    finish(widget)
    widget.comparison.uncertainty_button.click()
    until(lambda: len(viewer.layers) == 3)
    layer = viewer.layers[-1]
    assert not layer.data.any()
    assert layer.contrast_limits == [0, 1]


def test_a_classical_method_runs_beside(open_widget, until, noisy):
    viewer, widget = open_widget(noisy, translate=(3, 4))
    comparison = widget.comparison
    assert comparison.methods.choices == FOR_TASK["denoise"]
    assert comparison.methods.native.itemText(0) == "Non-local means"
    comparison.methods.value = "tv"
    comparison.classic_button.click()
    until(lambda: len(viewer.layers) == 2)
    layer = viewer.layers["raw [tv]"]
    assert np.array_equal(layer.data, tv(noisy))
    assert tuple(layer.translate) == (3, 4)
    assert layer.metadata["napari-dip"]["baseline"] == "tv"


def test_a_residual_leaves_the_button_of_a_method_that_runs_alone(
    open_widget, finish, until, noisy, monkeypatch
):
    viewer, widget = open_widget(noisy, iterations=1)
    finish(widget)
    go_on = threading.Event()

    def waiting(*_):
        assert go_on.wait(10)
        return noisy

    monkeypatch.setattr(baselines, "run", waiting)
    comparison = widget.comparison
    comparison.classic_button.click()
    comparison.residual_button.click()
    until(lambda: len(viewer.layers) == 3)
    assert not comparison.classic_button.isEnabled()
    go_on.set()
    until(comparison.classic_button.isEnabled)
    assert len(viewer.layers) == 4


def test_a_classical_method_of_colours_keeps_their_type(open_widget, until, noisy):
    colours = np.clip(noisy, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=-1)
    viewer, widget = open_widget(colours, rgb=True, kind=SuperResolveWidget)
    widget.comparison.classic_button.click()
    until(lambda: len(viewer.layers) == 2)
    layer = viewer.layers["raw [bicubic]"]
    assert layer.data.dtype == np.uint8
    assert layer.data.shape == (128, 128, 3)
    assert tuple(layer.scale) == (0.25, 0.25)


def test_a_classical_method_that_fails_says_so(open_widget, until, messages):
    viewer, widget = open_widget(np.full((20, 20), np.nan, np.float32))
    widget.comparison.classic_button.click()
    until(lambda: bool(messages))
    assert messages[0][0] == "error"
    assert "NaN" in messages[0][1]
    until(widget.comparison.classic_button.isEnabled)
    assert len(viewer.layers) == 1
