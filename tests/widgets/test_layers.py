import dask.array as da
import numpy as np
import pytest
from napari.components import LayerList, ViewerModel
from napari.layers import Image

from napari_dip.errors import InputError
from napari_dip.tasks.denoise import DenoiseRecipe
from napari_dip.widgets.layers import (
    adapted,
    appearance,
    array_of,
    lies_on,
    piece_of,
    placement,
    shift,
    shown_plane,
    whole,
)
from napari_dip.widgets.results import ResultLayer, Work


def work_on(source):
    return Work(DenoiseRecipe(), source, whole(source), {}, {"image": source})


def test_arrays_stay_lazy_and_multiscale_gives_full_resolution():
    lazy = da.zeros((4, 64, 64), chunks=(1, 64, 64))
    assert array_of(Image(lazy)) is lazy
    pyramid = Image([np.zeros((64, 64)), np.zeros((32, 32))], multiscale=True)
    assert array_of(pyramid).shape == (64, 64)


def test_the_layer_says_which_axis_is_colour():
    recipe = DenoiseRecipe()
    planes = Image(np.zeros((32, 32, 3)), rgb=False)
    colour = Image(np.zeros((32, 32, 3), np.uint8), rgb=True)
    assert adapted(recipe, planes).channel_axis is None
    assert adapted(recipe, planes).dtype == "float32"
    assert adapted(recipe, colour).channel_axis == -1
    assert adapted(recipe, colour).dtype == "input"
    assert adapted(DenoiseRecipe(channel_axis=0), planes).channel_axis == 0


def test_preview_goes_above_its_source_and_leaves_the_selection():
    layers = LayerList()
    source, other = Image(np.zeros((3, 20, 20)), name="a"), Image(np.zeros((20, 20)))
    layers.extend([source, other])
    layers.selection = {source, other}
    result = ResultLayer(layers, work_on(source))
    result.show(np.full((20, 20), 0.5, np.float32), (1, slice(None), slice(None)))
    assert [layer.name for layer in layers] == ["a", "a [DIP denoise]", other.name]
    assert layers.selection == {source, other}
    assert result.layer.data.shape == (3, 20, 20)
    assert result.layer.data.mean(axis=(1, 2)).tolist() == [0, 0.5, 0]
    result.remove()
    assert list(layers) == [source, other]


def test_a_layer_of_the_users_with_the_same_name_is_left_alone():
    layers = LayerList()
    source = Image(np.zeros((20, 20)), name="a")
    theirs = Image(np.zeros((20, 20)), name="a [DIP denoise]")
    layers.extend([source, theirs])
    result = ResultLayer(layers, work_on(source))
    result.show(np.ones((20, 20), np.float32), (slice(None), slice(None)))
    assert not theirs.data.any()
    assert result.layer.name == "a [DIP denoise] [1]"


def test_axis_labels_say_which_axis_holds_channels():
    labels = ("t", "c", "y", "x")
    layer = Image(np.zeros((2, 3, 20, 20)), axis_labels=labels)
    assert adapted(DenoiseRecipe(), layer).channel_axis == 1
    assert adapted(DenoiseRecipe(channel_axis=None), layer).channel_axis is None


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        {},
        {"scale": (0.5, 0.2), "translate": (10, -4)},
        {"scale": (0.5, 0.2), "rotate": 30, "shear": [0.3], "translate": (10, -4)},
        {"affine": [[0, 2, 5], [1, 0, 6], [0, 0, 1]], "scale": (3, 1)},
    ],
)
def test_a_larger_result_covers_the_same_area(rgb, place):
    colours = (3,) if rgb else ()
    source = Image(np.zeros((20, 30, *colours), np.uint8), rgb=rgb, **place)
    fine = np.zeros((80, 120, *colours), np.uint8)
    result = Image(fine, **appearance(source, fine.shape, whole(source)))
    assert np.allclose(result.scale, np.asarray(source.scale) / 4)
    # The corners of the pixels, which lie half a pixel outside their centres.
    for i, j in ((0, 0), (0, 30), (20, 0), (20, 30), (7, 11)):
        here = source.data_to_world((i - 0.5, j - 0.5))
        there = result.data_to_world((4 * i - 0.5, 4 * j - 0.5))
        assert np.allclose(here, there)


def test_a_result_of_some_planes_lies_where_they_were():
    source = Image(
        np.zeros((5, 20, 30)), scale=(2, 0.5, 0.5), translate=(1, 2, 3), units="um"
    )
    crop = (slice(3, 4), slice(None), slice(None))
    result = Image(np.zeros((1, 40, 60)), **appearance(source, (1, 40, 60), crop))
    assert np.allclose(
        result.data_to_world((0, 1.5, 1.5)), source.data_to_world((3, 0.5, 0.5))
    )
    assert result.units == source.units


def test_nothing_changes_where_nothing_changed():
    source = Image(np.zeros((5, 20, 30)), scale=(2, 0.3, 0.7), translate=(1, 2, 3))
    place = placement(source, (5, 20, 30), whole(source))
    assert place == {"scale": tuple(source.scale), "translate": (1, 2, 3)}


def test_the_plane_that_is_shown():
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((5, 4, 20, 30)), scale=(2, 3, 1, 1))
    viewer.add_image(np.zeros((9, 20, 30)))
    viewer.dims.set_point([0, 1], [6, 3])
    crop = shown_plane(layer, [0, 1], viewer.dims)
    assert [c.start for c in crop[:2]] == [3, 1]
    assert [c.stop - c.start for c in crop[:2]] == [1, 1]
    assert crop[2:] == (slice(None), slice(None))
    viewer.dims.order = (2, 3, 0, 1)
    with pytest.raises(InputError, match="does not show a plane"):
        shown_plane(layer, [0, 1], viewer.dims)


def test_the_units_of_other_layers_change_no_plane():
    viewer = ViewerModel()
    place = {"scale": (0.3, 0.1, 0.1), "translate": (1, 2, 3), "units": ("um",) * 3}
    layer = viewer.add_image(np.zeros((6, 20, 30)), **place)
    viewer.add_image(np.zeros((20, 30)), scale=(100, 100), units=("nm",) * 2)
    index = (4, slice(None), slice(None))
    result = ResultLayer(viewer.layers, work_on(layer))
    result.show(np.zeros((20, 30), np.float32), index)
    result.bring_into_view(viewer.dims)
    assert viewer.dims.point[0] == pytest.approx(1000 + 4 * 300)
    assert result.shown_index(viewer.dims) == index
    assert shown_plane(layer, [0], viewer.dims)[0] == slice(4, 5)
    assert piece_of(layer, whole(layer), [0], 16, viewer.dims)[0] == slice(4, 5)


@pytest.mark.parametrize("moved", [0, 1])
def test_layers_of_other_units_lie_where_they_are_seen(moved):
    image = Image(np.zeros((20, 30)), name="a", scale=(0.1, 0.1), units=("um",) * 2)
    other = Image(
        np.zeros((20, 30)),
        name="b",
        scale=(100, 100),
        translate=(0, 100 * moved),
        units=("nm",) * 2,
    )
    assert lies_on(image, other) == lies_on(other, image) == (not moved)
    assert (shift(other, image), shift(image, other)) == ((0, moved), (0, -moved))
    other.units = ("um", "um")
    said = r"b has scale \(100, 100\).*, units \(µm, µm\), a has scale \(0.1, 0.1\)"
    with pytest.raises(InputError, match=said):
        shift(other, image)


@pytest.mark.parametrize(
    ("scale", "units", "found"),
    [
        ((3, 1, 1), None, 3),
        ((1.2, 0.1, 0.1), ("um",) * 3, 12),
        ((600, 0.2, 0.2), ("nm", "um", "um"), 3),
        ((2, 1, 1), ("s", "um", "um"), "auto"),
        ((1e6, 1, 1), None, 1000),
        ((5, 3, 1, 1), None, 3),
        ((1, 1), None, "auto"),
    ],
)
def test_the_layer_says_how_far_planes_are_apart(scale, units, found):
    layer = Image(np.zeros((4,) * len(scale)), scale=scale, units=units)
    assert adapted(DenoiseRecipe(), layer).z_spacing == found
    assert adapted(DenoiseRecipe(z_spacing=7.0), layer).z_spacing == 7
