"""The panel for point spread functions, in a real viewer."""

import numpy as np
import pytest
from npe2 import PluginManifest
from qtpy.QtWidgets import QApplication
from scipy import ndimage

from napari_dip import microscope_psf
from napari_dip.widgets.deconvolve import DeconvolveWidget
from napari_dip.widgets.psf import BeadPanel, MicroscopePanel, PsfWidget

pytestmark = pytest.mark.gui

KEY = "napari-dip"


@pytest.fixture
def beads():
    """Return an image of nine beads that are gaussian spots."""
    image = np.zeros((128, 128))
    image[24:120:40, 24:120:40] = 1
    image = ndimage.gaussian_filter(image, 2)
    random = np.random.default_rng(0)
    return 100 + 1000 * image / image.max() + random.normal(0, 2, image.shape)


@pytest.fixture
def compute(until):
    """Return a function that runs a panel to its end."""

    def run(panel):
        panel.run_button.click()
        assert not panel.run_button.isEnabled(), panel.progress.text()
        until(panel.run_button.isEnabled)

    return run


def pasted(viewer, panel):
    """Return what the copied code gives."""
    panel.python_button.click()
    names = {"viewer": viewer}
    exec(QApplication.clipboard().text(), names)
    return names["result"]


def test_the_manifest_offers_it(root):
    offered = PluginManifest.from_file(root / "napari.yaml").contributions
    (command,) = (c for c in offered.commands if c.id == "napari-dip.psf_widget")
    assert command.python_name == f"{PsfWidget.__module__}:{PsfWidget.__name__}"
    assert command.title == "Point spread function"
    assert command.id in {item.command for item in offered.menus["napari_dip"]}
    assert command.id in {widget.command for widget in offered.widgets}


@pytest.mark.parametrize("kind", [MicroscopePanel, BeadPanel])
def test_it_says_what_it_does_and_every_field_has_a_tip(open_widget, kind):
    assert 200 < len(kind.about) < 900
    assert kind.__doc__
    _, panel = open_widget(kind=kind)
    parts = [w for _, w, _ in panel.image.rows]
    parts += [f.widget for f in panel.fields.fields.values()]
    assert all(part.native.toolTip() for part in parts)


def test_both_ways_are_in_one_dock(empty_viewer):
    widget = PsfWidget(empty_viewer)
    empty_viewer.window.add_dock_widget(widget)
    titles = [widget.tabText(i) for i in range(widget.count())]
    assert titles == ["Microscope", "Beads"]
    empty_viewer.add_image(np.zeros((32, 32)), name="late")
    widget.reset_choices()
    for panel in (widget.microscope, widget.beads):
        assert panel.image.layer is empty_viewer.layers["late"]


def test_a_psf_from_the_microscope(open_widget, compute):
    viewer, panel = open_widget(kind=MicroscopePanel)
    panel.fields.fields["shape"].value = (33, 33)
    panel.fields.fields["numerical_aperture"].value = 1.2
    compute(panel)
    (layer,) = viewer.layers
    expected = microscope_psf(
        (33, 33), numerical_aperture=1.2, wavelength=520, pixel_size=0.1
    )
    np.testing.assert_array_equal(layer.data, expected)
    assert layer.scale.tolist() == [0.1, 0.1]
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 2
    assert layer.metadata[KEY]["task"] == "microscope_psf"
    np.testing.assert_array_equal(pasted(viewer, panel), expected)
    panel.command_button.click()
    text = QApplication.clipboard().text()
    assert "napari-dip psf microscope --output psf.tif" in text
    assert "--wavelength 520.0" in text
    assert panel.message.text() == "Copied."
    panel.defaults_button.click()
    viewer.layers.selection = {layer}
    panel.load_button.click()
    assert panel.fields.fields["numerical_aperture"].value == 1.2


def test_pixel_sizes_and_slices_of_the_image(open_widget, compute):
    viewer, panel = open_widget(
        np.zeros((12, 32, 32)),
        kind=MicroscopePanel,
        scale=(400, 65, 65),
        units=("nm",) * 3,
    )
    values = panel.fields.values()
    assert values["pixel_size"] == pytest.approx(0.065)
    assert values["z_step"] == pytest.approx(0.4)
    assert values["shape"] == (13, 65, 65)
    compute(panel)
    assert viewer.layers[-1].data.shape == (13, 65, 65)
    np.testing.assert_allclose(viewer.layers[-1].scale, [0.4, 0.065, 0.065])
    viewer.add_image(np.zeros((32, 32)), name="a plane")
    panel.reset_choices()
    panel.image.choose("a plane")
    assert panel.fields.values()["shape"] == (65, 65)


def test_an_image_of_unknown_pixel_size_changes_nothing(open_widget, compute):
    viewer, panel = open_widget(np.zeros((32, 32)), kind=MicroscopePanel)
    assert panel.fields.recipe() == panel.kind()
    compute(panel)
    assert viewer.layers[-1].scale.tolist() == [1, 1]


def test_a_psf_from_beads(open_widget, compute, beads):
    viewer, panel = open_widget(
        beads, kind=BeadPanel, scale=(0.2, 0.2), units=("um", "um")
    )
    assert panel.fields.values()["pixel_size"] == pytest.approx(0.2)
    compute(panel)
    assert "9 beads" in panel.progress.text()
    layer = viewer.layers["PSF of raw"]
    assert layer.scale.tolist() == [0.2, 0.2]
    assert layer.metadata[KEY]["layers"] == {"image": "raw"}
    middle = [n // 2 for n in layer.data.shape]
    assert np.unravel_index(layer.data.argmax(), layer.data.shape) == tuple(middle)
    np.testing.assert_array_equal(pasted(viewer, panel), layer.data)
    panel.command_button.click()
    text = QApplication.clipboard().text()
    assert "napari-dip psf beads raw.tif --output psf.tif" in text
    assert panel.message.text() == (
        "Copied. It reads files: save raw as raw.tif first."
    )


def test_what_is_wrong_is_said(open_widget, compute, messages):
    viewer, panel = open_widget(kind=BeadPanel)
    panel.run_button.click()
    assert "no image layer" in panel.progress.text()
    panel.python_button.click()
    assert "no image layer" in panel.message.text()
    viewer.add_image(np.zeros((32, 32)))
    panel.reset_choices()
    compute(panel)
    assert "at least 3 beads" in panel.progress.text()
    assert any("at least 3 beads" in text for _, text in messages)
    panel.fields.fields["min_beads"].value = 1
    panel.fields.fields["shape"].value = (4, 4)
    panel.run_button.click()
    assert "odd numbers" in panel.progress.text()
    panel.fields.fields["shape"].value = (5, 5)
    assert panel.progress.isHidden()
    panel.run_button.click()
    viewer.add_image(np.ones((32, 32)), name="other")
    panel.reset_choices()
    panel.image.choose("other")
    assert panel.progress.isHidden()


@pytest.mark.parametrize(
    ("shape", "place"),
    [
        ((64, 48), {"scale": (65, 65), "units": ("nm",) * 2, "translate": (0, 650)}),
        ((9, 64, 48), {"scale": (400, 65, 65), "units": ("nm",) * 3}),
        ((64, 48), {}),
    ],
)
def test_a_new_psf_lies_beside_the_image(open_widget, compute, shape, place):
    viewer, panel = open_widget(np.zeros(shape), kind=MicroscopePanel, **place)
    seen = viewer.dims.point
    compute(panel)
    raw, psf = viewer.layers
    micrometres = 1e-3 if place else 1.0
    (low, high), (first, last) = (layer.extent.world for layer in (raw, psf))
    assert first[-1] > high[-1] * micrometres
    assert first[-1] < high[-1] * micrometres + 10 * psf.scale[-1]
    middle = (first + last)[:-1] / 2
    np.testing.assert_allclose(
        middle, (low + high)[:-1] / 2 * micrometres, atol=psf.scale[0]
    )
    assert viewer.dims.point[:-2] == pytest.approx(seen[:-2])
    assert psf.name in panel.progress.text()
    assert "to the right of the image" in panel.progress.text()


def test_deconvolve_takes_the_image_where_the_psf_was_opened_last(open_widget, beads):
    viewer, _ = open_widget(beads)
    viewer.add_image(np.ones((5, 5)), name="PSF.tif")
    assert viewer.layers.selection.active.name == "PSF.tif"
    widget = DeconvolveWidget(viewer)
    chosen = [given.layer.name for given in widget.inputs.values()]
    assert chosen == ["raw", "PSF.tif"]


def test_deconvolve_opens_the_panel_where_there_is_no_psf(open_widget, beads):
    viewer, widget = open_widget(beads, kind=DeconvolveWidget)
    widget.run()
    assert "Make a PSF" in widget.panel.progress.text()
    for _ in range(2):  # there is one panel only
        widget.inputs["psf"].make.native.click()
    (panel,) = (w for w in QApplication.allWidgets() if isinstance(w, PsfWidget))
    assert panel.microscope.image.layer == viewer.layers["raw"]


def test_deconvolve_warns_of_other_pixels(open_widget, until, messages, beads):
    viewer, widget = open_widget(
        beads[:48, :48],
        kind=DeconvolveWidget,
        iterations=2,
        scale=(0.1, 0.1),
        units=("um", "um"),
    )
    viewer.add_image(np.ones((5, 5)), name="PSF", scale=(0.2, 0.2), units=("um", "um"))
    widget.reset_choices()
    widget.inputs["psf"].choose("PSF")
    widget.inputs["image"].choose("raw")
    widget.run()
    until(lambda: widget.controller.state == "idle")
    assert any("another size" in text for _, text in messages)


def test_a_deconvolved_image_is_not_all_white(open_widget, finish):
    image = np.random.default_rng(0).poisson(50, (48, 48)).astype("f4")
    viewer, widget = open_widget(
        image, kind=DeconvolveWidget, iterations=2, contrast_limits=(0, 10)
    )
    viewer.add_image(np.ones((3, 3)), name="PSF")
    finish(widget)
    layer = widget.controller.last.layer
    low, high = layer.contrast_limits
    assert low == 0
    assert high == pytest.approx(np.percentile(layer.data, 99.9), rel=1e-4)
    assert layer.contrast_limits_range[1] == pytest.approx(layer.data.max(), rel=1e-4)
    assert tuple(viewer.layers["raw"].contrast_limits) == (0, 10)


@pytest.mark.parametrize("slices", [3, 9])
def test_a_psf_of_volumes_restores_a_stack_as_one(
    open_widget, finish, slices, changed_presets
):
    changed_presets(start_iterations=0)
    stack = np.random.default_rng(0).poisson(50, (slices, 32, 32)).astype("f4")
    viewer, widget = open_widget(stack, kind=DeconvolveWidget, iterations=2)
    psf = np.zeros((1, 3, 5, 5))
    psf[0, :, 2, 2] = 0.25, 0.5, 0.25
    viewer.add_image(psf, name="PSF")
    assert widget.inputs["psf"].layer == viewer.layers["PSF"]
    assert not widget.form.isRowVisible(widget.planes.native)
    assert widget._visible().crop[0] == slice(None)
    finish(widget)
    result = widget.controller.last.layer
    assert result.data.shape == stack.shape
    np.testing.assert_array_equal(pasted(viewer, widget), result.data)


def test_a_psf_of_volumes_is_said_not_to_fit_an_image_of_one_plane(open_widget, finish):
    viewer, widget = open_widget(np.eye(32), kind=DeconvolveWidget, iterations=1)
    viewer.add_image(np.ones((3, 5, 5)), name="PSF")
    widget.inputs["psf"].choose("PSF")
    finish(widget)
    assert "psf must have 2 axes" in widget.panel.progress.text()


@pytest.mark.parametrize("button", ["run_button", "try_button"])
def test_every_way_to_run_warns_of_other_pixels(open_widget, messages, until, button):
    image = np.random.default_rng(0).poisson(50, (64, 64)).astype("f4")
    place = {"units": ("um", "um")}
    viewer, widget = open_widget(
        image, kind=DeconvolveWidget, iterations=1, scale=(0.1, 0.1), **place
    )
    viewer.add_image(np.ones((3, 3)), name="PSF", scale=(0.3, 0.3), **place)
    getattr(widget.panel, button).click()
    until(lambda: widget.controller.state == "idle")
    assert any("0.3" in text for kind, text in messages if kind == "warning")


def test_only_what_counts_is_asked(open_widget):
    _, panel = open_widget(kind=MicroscopePanel)
    fields, form = panel.fields.fields, panel.fields.form

    def shown():
        names = ("pinhole", "excitation_wavelength", "z_step")
        return {n for n in names if form.isRowVisible(fields[n].widget.native)}

    assert shown() == set()
    fields["kind"].value = "confocal"
    assert shown() == {"pinhole", "excitation_wavelength"}
    fields["shape"].value = (9, 33, 33)
    assert shown() == {"pinhole", "excitation_wavelength", "z_step"}
    fields["shape"].widget.value = "none"
    assert "z_step" not in shown()
