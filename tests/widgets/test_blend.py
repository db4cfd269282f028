"""Blending in a real viewer: where the layers lie decides."""

import numpy as np
import pytest
from napari.layers import Image, Labels

import napari_dip
from napari_dip.errors import InputError
from napari_dip.widgets.blend import BlendWidget
from napari_dip.widgets.layers import shift
from napari_dip.widgets.masks import mask_of

pytestmark = pytest.mark.gui

RESULT = "back [DIP blend]"


@pytest.fixture
def scene(open_widget):
    """Return a function that opens the widget with three layers."""

    def open_it(front_at=(0, 0), mask_at=(0, 0), scale=(1, 1), rgb=True, iterations=2):
        random = np.random.default_rng(0)
        viewer, widget = open_widget(kind=BlendWidget, iterations=iterations)
        shape = (3,) if rgb else ()
        back = random.integers(0, 255, (40, 44, *shape), np.uint8)
        front = random.integers(0, 255, (20, 24, *shape), np.uint8)
        labels = np.zeros((10, 12), np.uint8)
        labels[2:8, 3:9] = 1
        place = {"scale": scale}
        viewer.add_image(back, name="back", rgb=rgb, **place)
        moved = np.multiply(front_at, scale)
        viewer.add_image(front, name="front", rgb=rgb, translate=moved, **place)
        moved = np.multiply(mask_at, scale)
        viewer.add_labels(labels, name="cut", translate=moved, **place)
        widget.inputs["foreground"].choose("front")
        widget.inputs["background"].choose("back")
        return viewer, widget

    return open_it


def test_the_layers_place_the_foreground_and_its_mask(scene, until):
    viewer, widget = scene(front_at=(7, 11), mask_at=(10, 14), scale=(0.5, 0.25))
    widget.comparison.methods.value = "cut_and_paste"
    widget.comparison.classic_button.click()
    until(lambda: len(viewer.layers) == 4)
    result = viewer.layers["back [cut and paste]"]
    front, back = viewer.layers["front"].data, viewer.layers["back"].data
    wanted = back.copy()
    # The mask's own pixels 2 to 8 and 3 to 9 are 12 to 18 and 17 to 23 behind it.
    wanted[12:18, 17:23] = front[5:11, 6:12]
    np.testing.assert_array_equal(result.data, wanted)
    assert result.extent.world.tolist() == viewer.layers["back"].extent.world.tolist()
    assert result.metadata["napari-dip"]["baseline"] == "cut_and_paste"


def test_a_fit_ends_in_a_layer_like_the_background(scene, finish):
    viewer, widget = scene(front_at=(7, 11), mask_at=(10, 14))
    finish(widget)
    result = viewer.layers[RESULT]
    assert result.rgb
    assert result.data.dtype == np.uint8
    made = result.metadata["napari-dip"]
    assert made["iterations"] == 2
    assert tuple(made["recipe"]["offset"]) == (7, 11)
    assert made["layers"] == {
        "foreground": "front",
        "background": "back",
        "mask": "cut",
    }


def test_the_code_does_the_same_again(scene, finish):
    viewer, widget = scene(front_at=(-3, 11), mask_at=(2, 14), rgb=False)
    finish(widget)
    widget.python_button.click()
    from qtpy.QtWidgets import QApplication

    text = QApplication.clipboard().text()
    names = {"viewer": viewer}
    exec(text, names)
    np.testing.assert_array_equal(names["result"], viewer.layers[RESULT].data)
    assert napari_dip.blend.__name__ in text


def test_a_command_needs_the_mask_on_the_foreground(scene):
    _, widget = scene(front_at=(7, 11), mask_at=(10, 14))
    widget.command_button.click()
    assert "a mask of the foreground's size" in widget.message.text()


def test_a_new_mask_lies_over_the_foreground(scene):
    viewer, widget = scene(front_at=(7, 11))
    widget.inputs["mask"].new.native.click()
    mask = viewer.layers["front [mask]"]
    assert mask.data.shape == (20, 24)
    assert mask.translate.tolist() == [7, 11]
    assert widget.inputs["mask"].layer.name == mask.name


def test_what_does_not_fit_is_said(scene):
    viewer, widget = scene()
    viewer.layers["front"].scale = (2, 2)
    widget.panel.run_button.click()
    assert "must have pixels of one size" in widget.panel.progress.text()


def test_without_a_mask_it_says_so(open_widget):
    viewer, widget = open_widget(np.zeros((20, 20), np.float32), kind=BlendWidget)
    viewer.add_image(np.zeros((20, 20), np.float32), name="back")
    widget.panel.run_button.click()
    assert "no labels layer to take the mask from" in widget.panel.progress.text()


def test_shift_is_counted_in_pixels():
    here = Image(np.zeros((20, 20)), scale=(0.5, 2), translate=(1, 10))
    there = Image(np.zeros((20, 20)), scale=(0.5, 2), translate=(3, 4))
    assert shift(there, here) == (4, -3)
    with pytest.raises(InputError, match="pixels of one size"):
        shift(Image(np.zeros((20, 20)), scale=(0.5, 2), rotate=5), here)


@pytest.mark.parametrize("at", [(-3, 15), (30, 0)], ids=["cut off", "outside"])
def test_a_moved_mask_is_cut_at_the_image(at):
    image = Image(np.zeros((20, 20)))
    labels = Labels(np.ones((8, 8), np.uint8), translate=at)
    if at == (30, 0):
        with pytest.raises(InputError, match="marks no pixel"):
            mask_of(labels, image, moved=True)
        return
    found = mask_of(labels, image, moved=True)
    assert found.sum() == 5 * 5
    assert found[:5, 15:].all()
