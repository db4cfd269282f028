import dask.array as da
import numpy as np
from napari.components import LayerList
from napari.layers import Image

from napari_dip.tasks.denoise import DenoiseRecipe
from napari_dip.widgets.layers import adapted, array_of
from napari_dip.widgets.results import ResultLayer


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
    result = ResultLayer(layers, source, DenoiseRecipe())
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
    result = ResultLayer(layers, source, DenoiseRecipe())
    result.show(np.ones((20, 20), np.float32), (slice(None), slice(None)))
    assert not theirs.data.any()
    assert result.layer.name == "a [DIP denoise] [1]"
