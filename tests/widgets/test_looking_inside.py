"""Panels that look inside networks, or show the prior, in a real viewer."""

import numpy as np
import pytest
import torch
from npe2 import PluginManifest
from qtpy.QtWidgets import QApplication
from torch import nn

from napari_dip.errors import InputError
from napari_dip.tasks.run import get
from napari_dip.tasks.sample_prior import SampleParameters
from napari_dip.widgets import models, turns
from napari_dip.widgets.blend import BlendWidget
from napari_dip.widgets.maximize_activation import MaximizeActivationWidget
from napari_dip.widgets.panels import InvertFeaturesWidget
from napari_dip.widgets.sample_prior import SamplePriorWidget

pytestmark = pytest.mark.gui


@pytest.fixture(autouse=True)
def net(monkeypatch):
    """Return a model that the panels know as net."""
    monkeypatch.setattr(models, "OFFERED", {})
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    models.offer(net=made)
    return made


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (BlendWidget, "Blend"),
        (InvertFeaturesWidget, "Invert features"),
        (MaximizeActivationWidget, "Maximise activation"),
        (SamplePriorWidget, "Sample the prior"),
    ],
)
def test_the_manifest_offers_them(root, kind, title):
    offered = PluginManifest.from_file(root / "napari.yaml").contributions
    task = "sample_prior" if kind is SamplePriorWidget else kind.task
    name = f"napari-dip.{task}_widget"
    (command,) = (c for c in offered.commands if c.id == name)
    assert command.python_name == f"{kind.__module__}:{kind.__name__}"
    assert command.title == title
    assert name in {item.command for item in offered.menus["napari_dip"]}
    assert name in {widget.command for widget in offered.widgets}
    if kind is not SamplePriorWidget:  # which takes no arrays
        assert tuple(kind.arrays) == tuple(get(kind.task).arrays)


@pytest.mark.parametrize(
    "kind",
    [BlendWidget, InvertFeaturesWidget, MaximizeActivationWidget, SamplePriorWidget],
)
def test_it_says_what_it_does_and_every_field_has_a_tip(open_widget, kind):
    assert 200 < len(kind.about) < 900
    assert kind.__doc__
    _, widget = open_widget(np.zeros((24, 30, 3)), kind=kind, rgb=True)
    rows = [entry for given in widget.inputs.values() for entry in given.rows]
    parts = [w for _, w, _ in rows] + [f.widget for f in widget.fields.fields.values()]
    assert all(part.native.toolTip() for part in parts)
    restores = kind is not SamplePriorWidget
    assert ("to my image" in widget.about_section.text()) is restores


def fill(widget, **values):
    for name, value in values.items():
        widget.fields.fields[name].value = value


def pasted(viewer, widget, **names):
    """Return what the copied code gives."""
    widget.python_button.click()
    names = {"viewer": viewer, **names}
    exec(QApplication.clipboard().text(), names)
    return names["result"]


@pytest.fixture
def draw(until):
    """Return a function that draws a sample of the prior."""

    def run(widget):
        widget.run_button.click()
        assert not widget.run_button.isEnabled()
        until(widget.run_button.isEnabled)

    return run


def test_a_sample_of_the_prior(open_widget, draw):
    viewer, widget = open_widget(kind=SamplePriorWidget)
    fill(widget, shape=(40, 48), width=6, scales=2, seed=3)
    draw(widget)
    result = viewer.layers["seed 3 [DIP sample prior]"]
    assert len(viewer.layers) == 1
    assert result.rgb
    assert result.data.shape == (40, 48, 3)
    assert result.data.std() > 0.05
    assert result.metadata["napari-dip"]["task"] == "sample_prior"
    np.testing.assert_array_equal(pasted(viewer, widget), result.data)
    widget.command_button.click()
    text = QApplication.clipboard().text()
    assert "napari-dip sample-prior --output" in text
    assert "--shape 40,48" in text
    for channels, shape in ((1, (40, 48)), (2, (2, 40, 48)), (4, (4, 40, 48))):
        fill(widget, channels=channels)
        draw(widget)
        assert viewer.layers[-1].data.shape == shape
        assert not viewer.layers[-1].rgb
    viewer.layers.selection = {result}
    widget.load_button.click()
    assert widget.fields.fields["channels"].value == 3
    widget.defaults_button.click()
    assert widget.fields.recipe() == SampleParameters()


def test_a_sample_waits_for_its_turn(open_widget, until):
    viewer, widget = open_widget(kind=SamplePriorWidget)
    fill(widget, shape=(40, 48), width=6, scales=2)
    fit = object()
    turns.take(fit, lambda: None)
    widget.run_button.click()
    assert "Waiting" in widget.progress.text()
    turns.leave(fit)
    until(widget.run_button.isEnabled)
    assert len(viewer.layers) == 1


def test_a_failure_of_torch_is_said(open_widget, draw, messages, monkeypatch):
    def fail(**_):
        raise RuntimeError("no memory")

    monkeypatch.setattr("napari_dip.widgets.sample_prior.sample_prior", fail)
    viewer, widget = open_widget(kind=SamplePriorWidget)
    draw(widget)
    assert any("no memory" in text for _, text in messages)
    assert "no memory" in widget.progress.text()
    assert len(viewer.layers) == 0


def test_what_excites_a_unit(open_widget, finish, net):
    viewer, widget = open_widget(kind=MaximizeActivationWidget, iterations=3)
    widget.inputs["model"].combo.value = "net"
    fill(widget, layer="2", unit=4, shape=(24, 30), prior="none")
    hidden = [n for n, f in widget.fields.fields.items() if f.widget.native.isHidden()]
    assert {"spatial_dims", "z_spacing", "share", "tile", "neighbours"} <= {*hidden}
    finish(widget)
    result = viewer.layers["2 4 [DIP maximize activation]"]
    assert result.data.shape == (24, 30, 3)
    assert result.metadata["napari-dip"]["iterations"] == 3
    np.testing.assert_array_equal(pasted(viewer, widget, net=net), result.data)
    widget.command_button.click()
    assert "in memory only" in widget.message.text()


def test_copied_code_stops_where_the_user_did_without_any_layer(
    open_widget, until, slow
):
    viewer, widget = open_widget(kind=MaximizeActivationWidget, iterations=1000)
    widget.inputs["model"].combo.value = "net"
    fill(widget, layer="2", unit=4, shape=(24, 30), prior="none")
    widget.panel.run_button.click()
    until(lambda: len(viewer.layers) == 1)
    widget.panel.stop_button.click()
    until(lambda: widget.controller.state == "idle")
    assert viewer.layers[0].metadata["napari-dip"]["layers"] == {}
    widget.python_button.click()
    assert "callback=watch" in QApplication.clipboard().text()


def test_an_image_through_a_layer(open_widget, finish, net):
    y, x = np.mgrid[0:24, 0:30] / 30
    image = np.stack([y, x, y * x], -1)
    viewer, widget = open_widget(
        image, kind=InvertFeaturesWidget, iterations=3, rgb=True, scale=(2, 2)
    )
    widget.inputs["model"].combo.value = "net"
    fill(widget, layer="0", prior="none")
    finish(widget)
    result = viewer.layers["raw [DIP invert features]"]
    assert result.data.shape == image.shape
    assert result.scale.tolist() == [2, 2]
    np.testing.assert_array_equal(pasted(viewer, widget, net=net), result.data)


def test_no_classical_method_is_offered_where_there_is_none(open_widget):
    _, widget = open_widget(np.zeros((24, 30)), kind=InvertFeaturesWidget)
    assert widget.comparison.classic_button.isHidden()
    _, widget = open_widget(kind=BlendWidget)
    assert not widget.comparison.classic_button.isHidden()


@pytest.mark.parametrize("kind", [MaximizeActivationWidget, InvertFeaturesWidget])
def test_a_model_that_nobody_offered_is_asked_for(open_widget, kind):
    _, widget = open_widget(np.zeros((24, 30, 3)), kind=kind, rgb=True)
    widget.panel.run_button.click()
    text = widget.panel.progress.text()
    assert text.startswith("Fill in a model")
    assert "offered: net" in text
    assert "neither" not in text
    widget.inputs["model"].combo.value = "nut"
    widget.panel.run_button.click()
    assert "'nut' is neither" in widget.panel.progress.text()
    assert widget.controller.state == "idle"


def test_an_unknown_layer_is_said_after_run(open_widget, finish, messages):
    _, widget = open_widget(kind=MaximizeActivationWidget, iterations=3)
    widget.inputs["model"].combo.value = "net"
    fill(widget, layer="7")
    finish(widget)
    assert any("layer must be the name" in text for _, text in messages)


def test_a_shape_that_is_none_is_said(open_widget):
    _, widget = open_widget(kind=SamplePriorWidget)
    fill(widget, shape=(3, 48))
    widget.run_button.click()
    assert "shape must be" in widget.progress.text()
    widget.command_button.click()
    assert "shape must be" in widget.message.text()


def test_only_modules_are_offered():
    with pytest.raises(InputError, match=r"a must be a .*; got int"):
        models.offer(a=3)
