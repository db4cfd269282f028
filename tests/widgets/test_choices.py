"""Which layers a panel chooses, and what it does with every kind of mask."""

import threading

import dask.array as da
import numpy as np
import pytest

from napari_dip.widgets import masks
from napari_dip.widgets.blend import BlendWidget
from napari_dip.widgets.deconvolve import DeconvolveWidget
from napari_dip.widgets.panels import DenoiseGuidedWidget, DenoiseWidget, InpaintWidget
from napari_dip.widgets.task import ALL, SHOWN
from tests.slow import slow_but

pytestmark = pytest.mark.gui

HOLE = np.array([[8, 8], [8, 14], [14, 14], [14, 8]], float)


def chosen(widget):
    return {
        name: None if given.layer is None else given.layer.name
        for name, given in widget.inputs.items()
    }


def painted(shape):
    mask = np.zeros(shape, np.uint8)
    mask[..., 8:14, 8:14] = 1
    return mask


def test_the_selected_layer_is_taken_wherever_it_is(open_widget, noisy, empty_viewer):
    for name in ("first", "second", "third"):
        empty_viewer.add_image(noisy, name=name)
    empty_viewer.layers.selection.active = empty_viewer.layers["second"]
    _, widget = open_widget()
    assert chosen(widget) == {"image": "second"}


def test_the_uppermost_image_in_view_is_taken_where_none_is_selected(
    open_widget, noisy, empty_viewer
):
    for name in ("first", "second", "hidden"):
        empty_viewer.add_image(noisy, name=name, visible=name != "hidden")
    empty_viewer.add_labels(painted(noisy.shape))
    _, widget = open_widget()
    assert chosen(widget) == {"image": "second"}


def test_a_psf_is_another_and_smaller_layer(open_widget, noisy, empty_viewer):
    for name, image in {
        "no noise": noisy,
        "spot": np.ones((5, 5), np.float32),
        "psf": np.ones((7, 7), np.float32),
        "beads": noisy,
        "corner": noisy[:20, :20],
    }.items():
        empty_viewer.add_image(image, name=name)
    empty_viewer.layers.selection.active = empty_viewer.layers["beads"]
    _, widget = open_widget(kind=DeconvolveWidget)
    assert chosen(widget) == {"image": "beads", "psf": "psf"}
    empty_viewer.layers.remove("psf")
    assert chosen(widget) == {"image": "beads", "psf": "spot"}
    empty_viewer.add_image(np.ones((65, 65), np.float32), name="PSF 1.4 NA")
    assert chosen(widget) == {"image": "beads", "psf": "PSF 1.4 NA"}


def test_a_layer_that_does_not_fit_is_not_chosen(open_widget, noisy):
    _, widget = open_widget(noisy, kind=DeconvolveWidget)
    assert chosen(widget) == {"image": "raw", "psf": None}
    widget.panel.run_button.click()
    assert "no image layer to take the PSF from" in widget.panel.progress.text()


def test_a_background_is_as_large_as_the_foreground_where_there_is_one(
    open_widget, noisy, empty_viewer
):
    colours = np.tile(noisy[..., None], (1, 2, 3)) / noisy.max()
    for name, image in {"wide": np.tile(noisy, 2), "small": noisy[:20]}.items():
        empty_viewer.add_image(image, name=name)
    empty_viewer.add_image(colours.clip(0, 1), name="colours", rgb=True)
    _, widget = open_widget(noisy, kind=BlendWidget)
    assert chosen(widget) == {"foreground": "raw", "background": "wide", "mask": None}


def test_a_guide_has_the_size_of_the_image_and_the_users_choice_stays(
    open_widget, noisy, empty_viewer
):
    for name, image in {
        "dim": noisy,
        "small": noisy[:20, :20],
        "bright": noisy + 1,
        "other": noisy + 2,
    }.items():
        empty_viewer.add_image(image, name=name)
    empty_viewer.layers["other"].translate = (3, 3)
    empty_viewer.layers.selection.active = empty_viewer.layers["dim"]
    _, widget = open_widget(kind=DenoiseGuidedWidget)
    assert chosen(widget) == {"image": "dim", "guide": "bright"}
    widget.inputs["image"].choose("bright")
    assert chosen(widget) == {"image": "bright", "guide": "dim"}
    widget.inputs["guide"].choose("small")
    empty_viewer.add_image(noisy, name="later")
    widget.inputs["image"].choose("dim")
    assert chosen(widget) == {"image": "dim", "guide": "small"}


def test_a_background_is_another_layer_than_the_foreground(
    open_widget, noisy, empty_viewer
):
    empty_viewer.add_image(noisy, name="object")
    empty_viewer.add_image(np.pad(noisy, 8), name="scene")
    empty_viewer.add_labels(painted(noisy.shape), name="cut")
    empty_viewer.layers.selection.active = empty_viewer.layers["object"]
    _, widget = open_widget(kind=BlendWidget)
    assert chosen(widget) == {
        "foreground": "object",
        "background": "scene",
        "mask": "cut",
    }


MASKS = {
    "labels": lambda viewer, shape: viewer.add_labels(painted(shape), name="m"),
    "integers": lambda viewer, shape: viewer.add_labels(
        painted(shape).astype(np.int64), name="m"
    ),
    "dask": lambda viewer, shape: viewer.add_labels(
        da.from_array(painted(shape), chunks=16), name="m"
    ),
    "multiscale": lambda viewer, shape: viewer.add_labels(
        [painted(shape), painted(shape)[..., ::2, ::2]], name="m"
    ),
    "shapes": lambda viewer, shape: viewer.add_shapes(
        [HOLE], shape_type="polygon", name="m"
    ),
    "ellipse and line": lambda viewer, shape: viewer.add_shapes(
        [HOLE, HOLE[:2] + 8], shape_type=["ellipse", "line"], edge_width=2, name="m"
    ),
    "points": lambda viewer, shape: viewer.add_points(HOLE, name="m"),
}


@pytest.mark.usefixtures("few_passes")
@pytest.mark.parametrize(
    ("form", "kind"),
    [
        *slow_but((("plane", kind) for kind in MASKS), ("plane", "labels")),
        *slow_but(("colours", kind) for kind in ("integers", "shapes")),
        ("stack", "shapes"),
        ("stack", "points"),
        *slow_but(("stack", kind) for kind in ("labels", "multiscale")),
    ],
)
def test_every_kind_of_mask_goes_through_every_part_of_the_panel(
    open_widget, finish, until, noisy, form, kind, qapp
):
    image = {
        "plane": noisy,
        "colours": np.clip(noisy, 0, 120)[..., None].repeat(3, axis=-1) / 120,
        "stack": np.stack([noisy, noisy + 5]),
    }[form]
    viewer, widget = open_widget(
        image, kind=InpaintWidget, iterations=2, rgb=form == "colours"
    )
    MASKS[kind](viewer, noisy.shape)
    assert chosen(widget) == {"image": "raw", "mask": "m"}
    widget.foresight.debouncer.setTimeout(10)
    widget.foresight.ask()
    until(lambda: "of memory" in widget.panel.estimate.text())
    finish(widget)
    result = viewer.layers["raw [DIP inpaint]"]
    changed = (result.data != image).any(axis=-1 if form == "colours" else ())
    mask = changed.any(axis=0) if form == "stack" else changed
    assert 4 <= mask.sum() <= 60
    widget.python_button.click()
    code = qapp.clipboard().text()
    names = {"viewer": viewer}
    exec(code, names)
    assert np.array_equal(names["result"], result.data)
    widget.command_button.click()
    assert widget.message.text()
    widget.load_recipe()
    widget.comparison.before_button.click()
    widget.comparison.classic_button.click()
    until(lambda: any("[" in a.name and "DIP" not in a.name for a in viewer.layers))
    viewer.reset_view()
    widget.run_visible()
    until(lambda: widget.controller.state == "idle")
    assert "Finished" in widget.panel.progress.text()


def test_a_mask_at_another_scale_is_put_on_the_image_by_a_button(
    open_widget, finish, noisy
):
    viewer, widget = open_widget(
        noisy,
        kind=InpaintWidget,
        iterations=2,
        scale=(0.1, 0.1),
        translate=(3, 4),
        units=("um", "um"),
    )
    viewer.add_labels(painted(noisy.shape), name="m")
    assert widget.form.isRowVisible(widget.inputs["mask"].mend.native)
    widget.inputs["mask"].mend.native.click()
    assert not widget.form.isRowVisible(widget.inputs["mask"].mend.native)
    assert tuple(viewer.layers["m"].scale) == (0.1, 0.1)
    assert viewer.layers["m"].units == viewer.layers["raw"].units
    finish(widget)
    changed = viewer.layers["raw [DIP inpaint]"].data != noisy
    assert np.array_equal(changed, painted(noisy.shape) > 0)


def test_a_mask_with_other_pixels_is_put_on_the_image_in_a_copy(
    open_widget, finish, noisy
):
    viewer, widget = open_widget(noisy, kind=InpaintWidget, iterations=2, scale=(2, 2))
    fine = np.zeros((128, 128), np.uint8)
    fine[32:56, 32:56] = 3  # pixels 8 to 13 of the image
    viewer.add_labels(fine, name="m", scale=(0.5, 0.5), translate=(-0.75, -0.75))
    widget.inputs["mask"].mend.native.click()
    assert chosen(widget)["mask"] == "m [on raw]"
    assert viewer.layers["m"].data.shape == (128, 128)
    assert np.array_equal(viewer.layers["m [on raw]"].data > 0, painted((32, 32)) > 0)
    finish(widget)


@pytest.mark.parametrize("kind", ["polygon", "line"])
def test_shapes_lie_where_they_are_seen_whatever_the_scale(
    open_widget, finish, noisy, kind
):
    viewer, widget = open_widget(
        noisy, kind=InpaintWidget, iterations=2, scale=(0.1, 0.1), translate=(3, 4)
    )
    corners = HOLE if kind == "polygon" else HOLE[::2]
    viewer.add_shapes(
        [corners * 0.1 + [3, 4]], shape_type=kind, edge_width=0.2, name="m"
    )
    finish(widget)
    changed = viewer.layers["raw [DIP inpaint]"].data != noisy
    assert changed[9:13, 9:13].all() or kind == "line"
    assert changed[11, 11]
    assert not changed[:6].any()
    assert not changed[18:].any()


def test_a_new_mask_asks_for_paint_and_says_no_error(
    open_widget, until, noisy, messages
):
    viewer, widget = open_widget(noisy, kind=InpaintWidget, iterations=2)
    widget.inputs["mask"].new.native.click()
    widget.foresight.debouncer.setTimeout(10)
    widget.foresight.ask()
    text = "Now paint over what is to be filled, in the layer raw [mask]."
    until(lambda: widget.panel.estimate.text() == text)
    widget.panel.run_button.click()
    until(lambda: widget.controller.state == "idle")
    assert widget.panel.progress.text() == text
    assert not widget.panel.estimate.isVisibleTo(widget)
    assert messages == []
    mask = viewer.layers["raw [mask]"]
    mask.paint((10, 10), 1)
    assert not widget.panel.progress.isVisibleTo(widget)


@pytest.mark.parametrize("kind", [np.asarray, da.from_array])
def test_the_viewer_does_not_wait_until_labels_are_searched(
    open_widget, until, noisy, messages, monkeypatch, kind
):
    seen = {}

    def note(labels, crop, chosen):
        values = np.asarray(labels[crop] if crop else labels)
        seen.setdefault(threading.current_thread(), []).append(values.size)
        return np.isin(values, chosen)

    monkeypatch.setattr(masks, "_selected", note)
    monkeypatch.setattr(masks, "LOOKED_AT", 100)
    viewer, widget = open_widget(np.tile(noisy, (2, 2)), kind=InpaintWidget)
    labels = np.zeros((64, 64), np.uint8)
    labels[20:40, 20:40] = 2
    viewer.add_labels(kind(labels), name="m")
    widget.inputs["mask"].labels.value = "3"
    widget.pieces(widget.work())
    widget.panel.run_button.click()
    until(lambda: widget.controller.state == "idle")
    text = "labels must be all or numbers that are in m; got 3"
    assert widget.panel.progress.text() == text
    assert messages == []
    assert max(seen.pop(threading.main_thread(), [0])) <= 200
    assert [max(sizes) for sizes in seen.values()] == [64 * 64]


def test_a_new_mask_stays_chosen_when_other_layers_are_added(
    open_widget, noisy, empty_viewer
):
    _, widget = open_widget(noisy, kind=InpaintWidget)
    widget.panel.run_button.click()
    assert "click New mask layer" in widget.panel.progress.text()
    widget.inputs["mask"].new.native.click()
    empty_viewer.add_points(HOLE, name="cells that are counted")
    assert chosen(widget)["mask"] == "raw [mask]"


def test_volumes_are_offered_only_where_the_layer_has_any(
    open_widget, finish, noisy, messages
):
    viewer, widget = open_widget(np.stack([noisy] * 20), iterations=2)
    dims = widget.fields.fields["spatial_dims"]
    assert list(dims.widget.choices) == [2, 3]
    rows = [widget.fields.fields[n].widget.native for n in ("z_spacing", "neighbours")]
    assert [row.isHidden() for row in rows] == [True, False]
    dims.value = 3
    assert [row.isHidden() for row in rows] == [False, True]
    viewer.add_image(np.stack([noisy] * 3), name="three")
    widget.inputs["image"].choose("three")
    assert list(dims.widget.choices) == [2]
    assert dims.value == 2
    assert [row.isHidden() for row in rows] == [True, False]
    finish(widget)
    assert "Finished" in widget.panel.progress.text()
    viewer.add_image(noisy, name="plane")
    widget.inputs["image"].choose("plane")
    assert dims.value == 2
    widget.inputs["image"].choose("raw")
    assert list(dims.widget.choices) == [2, 3]
    assert messages == []


def test_the_folded_settings_say_how_many_are_changed(open_widget, noisy):
    _, widget = open_widget(noisy)
    widget.fields.load(widget.fields.kind())
    assert widget.settings_section.text() == "Settings"
    widget._take_quality("Best")
    assert widget.settings_section.text() == "Settings"
    widget.fields.fields["noise"].value = "impulse"
    widget.fields.fields["seed"].value = 3
    assert widget.settings_section.text() == "Settings (2 changed)"
    widget.defaults_button.click()
    assert widget.settings_section.text() == "Settings"


def test_axes_of_one_layer_are_not_remembered_for_the_next(open_widget, finish, noisy):
    stack = np.stack([noisy] * 16)
    viewer, widget = open_widget(stack, iterations=1)
    widget.fields.fields["spatial_dims"].value = 3
    widget.fields.fields["channel_axis"].value = -3
    widget.fields.fields["noise"].value = "gaussian"
    widget.remember()
    again = DenoiseWidget(viewer)
    viewer.window.add_dock_widget(again, name="Again")
    assert again.settings_section.text().endswith("changed)")
    recipe = again.fields.recipe()
    assert (recipe.spatial_dims, recipe.channel_axis) == (2, "auto")
    assert recipe.noise == "gaussian"
    viewer.add_image(noisy, name="plane")
    widget.inputs["image"].choose("plane")
    assert widget.fields.recipe().channel_axis == "auto"


def test_why_a_fit_failed_is_said_once_and_not_for_longer_than_it_is_true(
    open_widget, finish, until, noisy
):
    viewer, widget = open_widget(np.zeros((8, 40), np.float32), iterations=2)
    viewer.add_image(noisy, name="good")
    widget.foresight.debouncer.setTimeout(10)
    widget.foresight.ask()
    until(lambda: "at least 16 pixels" in widget.panel.estimate.text())
    finish(widget)
    assert "at least 16 pixels" in widget.panel.progress.text()
    assert not widget.panel.estimate.isVisibleTo(widget)
    widget.inputs["image"].choose("good")
    assert not widget.panel.progress.isVisibleTo(widget)
    finish(widget)
    assert "Finished" in widget.panel.progress.text()


PSF = np.ones((1, 1, 1, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("kind", "name", "data", "add"),
    [
        (DeconvolveWidget, "psf", PSF, "add_image"),
        (InpaintWidget, "mask", np.ones((1, 1, 32, 32), int), "add_labels"),
        *slow_but(
            [
                (DenoiseGuidedWidget, "guide", np.ones((1, 1, 3, 32, 32)), "add_image"),
                (DenoiseGuidedWidget, "guide", np.ones((1, 1, 1, 32, 32)), "add_image"),
                (InpaintWidget, "mask", np.ones((1, 1, 3, 32, 32), int), "add_labels"),
            ]
        ),
    ],
)
def test_layers_with_axes_of_one_element_are_taken(
    open_widget, empty_viewer, finish, noisy, kind, name, data, add
):
    data = data.copy()
    if name == "mask":
        data[..., 8:, :] = 0
    stack = np.stack([noisy, noisy, noisy + 9])
    _, widget = open_widget(stack, kind=kind, iterations=2)
    getattr(empty_viewer, add)(data, name=name)
    assert chosen(widget) == {"image": "raw", name: name}
    for planes, count in ((ALL, 3), (SHOWN, 1)):
        widget.planes.value = planes
        widget.pieces(widget.work())  # does not raise
        finish(widget)
        assert widget.panel.progress.text().startswith("Finished after")
        (result,) = [a for a in empty_viewer.layers if "DIP" in a.name]
        assert result.data.shape == (count, 32, 32)
        assert (result.data != stack[:count]).any()
        empty_viewer.layers.remove(result)


def test_an_image_with_axes_of_one_element_is_taken(
    open_widget, empty_viewer, finish, noisy
):
    image = np.stack([noisy, noisy])[None, :, None]
    _, widget = open_widget(image, kind=InpaintWidget, iterations=2)
    mask = np.zeros((2, 1, 32, 32), int)
    mask[..., 5:9, 5:9] = 1
    empty_viewer.add_labels(mask, name="mask")
    widget.planes.value = SHOWN
    finish(widget)
    result = empty_viewer.layers["raw [DIP inpaint, plane 1]"]
    assert result.data.shape == (1, 1, 1, 32, 32)


def test_which_labels_count_is_asked_of_a_labels_layer_only(
    open_widget, empty_viewer, noisy
):
    _, widget = open_widget(noisy, kind=InpaintWidget)
    mask = widget.inputs["mask"]
    empty_viewer.add_labels(painted(noisy.shape), name="labels")
    assert mask.labels.native.isVisibleTo(widget)
    empty_viewer.add_shapes([HOLE], name="shapes")
    mask.choose("shapes")
    assert not mask.labels.native.isVisibleTo(widget)
    mask.choose("labels")
    assert mask.labels.native.isVisibleTo(widget)
