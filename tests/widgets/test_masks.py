"""Masks from layers, without a viewer."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes

from napari_dip.errors import InputError
from napari_dip.widgets.layers import lies_on
from napari_dip.widgets.masks import MaskInput, chosen_labels, empty_mask, mask_of

SQUARE = np.array([[5, 5], [5, 10], [10, 10], [10, 5]], float)


@pytest.fixture
def image():
    return Image(np.zeros((20, 30)), name="raw", scale=(0.5, 0.5), translate=(3, 4))


def placed(image):
    return {"scale": image.scale[-2:], "translate": image.translate[-2:]}


def test_nonzero_labels_are_missing_or_only_the_chosen_ones(image):
    data = np.zeros((20, 30), int)
    data[2], data[4], data[6] = 1, 2, 3
    labels = Labels(data, **placed(image))
    assert mask_of(labels, image).sum(axis=1).nonzero()[0].tolist() == [2, 4, 6]
    assert mask_of(labels, image, (1, 3)).sum(axis=1).nonzero()[0].tolist() == [2, 6]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("all", ()), ("", ()), ("1, 3", (1, 3)), (" 7", (7,)), ("1;2", (1, 2))],
)
def test_the_choice_of_labels_is_a_text(text, numbers):
    assert chosen_labels(text) == numbers


def test_a_choice_of_labels_that_is_none_is_refused():
    with pytest.raises(InputError, match="labels must be all or numbers"):
        chosen_labels("some")


def test_the_inside_of_shapes_is_missing(image):
    shapes = Shapes([SQUARE], shape_type="polygon", **placed(image))
    mask = mask_of(shapes, image)
    assert mask.shape == (20, 30)
    assert mask[7, 7]
    assert not mask[2, 2]
    assert 25 <= mask.sum() <= 36


def test_lines_are_as_wide_as_they_are_drawn(image):
    line = np.array([[10, 2], [10, 27]], float)
    areas = [
        mask_of(
            Shapes([line], shape_type="line", edge_width=width, **placed(image)), image
        ).sum(axis=0)[15]
        for width in (1, 4)
    ]
    assert areas == [1, 5]


def test_points_mark_the_pixel_they_lie_in(image):
    # World coordinates of the pixels (2, 3) and (19, 29), and far outside.
    world = np.array([[4.1, 5.4], [12.6, 18.4], [99, 99]])
    mask = mask_of(Points(world), image)
    assert np.argwhere(mask).tolist() == [[2, 3], [19, 29]]


def test_a_layer_that_marks_nothing_is_refused(image):
    for layer in (
        Labels(np.zeros((20, 30), int), **placed(image)),
        Points(np.array([[99.0, 99.0]])),
        Shapes([SQUARE + 90], shape_type="path", edge_width=4, **placed(image)),
    ):
        with pytest.raises(InputError, match="marks no pixel of raw"):
            mask_of(layer, image)


def test_another_size_is_refused_with_both_sizes(image):
    other = Labels(np.ones((20, 31), int), name="m", **placed(image))
    with pytest.raises(InputError, match=r"m must have the sides of raw, \(20, 30\)"):
        mask_of(other, image)


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (1, 1)},
        {"translate": (3, 4.5)},
        {"rotate": 5},
        {"affine": [[1, 0, 3], [0, 1, 0], [0, 0, 1]]},
    ],
)
def test_another_transform_is_refused_in_words(image, place):
    other = Labels(np.ones((20, 30), int), name="m", **{**placed(image), **place})
    with pytest.raises(InputError, match="m does not lie on raw"):
        mask_of(other, image)


def test_shapes_points_and_labels_may_have_other_units():
    image = Image(np.zeros((20, 30)), scale=(0.1, 0.1), units=("um", "um"))
    nanometres = {"units": ("nm", "nm")}
    square = Shapes([SQUARE * 100], edge_width=100, **nanometres)
    seen = Shapes([SQUARE * 0.1], edge_width=0.1, units=("um", "um"))
    assert np.array_equal(mask_of(square, image), mask_of(seen, image))
    line = Shapes([SQUARE[::2] * 100], shape_type="line", edge_width=300, **nanometres)
    assert 10 < mask_of(line, image).sum() < 40
    point = mask_of(Points([[400, 700]], **nanometres), image)
    assert np.argwhere(point).tolist() == [[4, 7]]
    labels = Labels(np.ones((20, 30), int), scale=(100, 100), **nanometres)
    assert mask_of(labels, image).all()
    coarse = np.zeros((10, 15), int)
    coarse[2, 3] = 1
    labels = Labels(coarse, scale=(200, 200), translate=(50, 50), **nanometres)
    given = MaskInput("mask", ViewerModel(), "")
    given.viewer.layers.extend([image, labels])
    given.reset_choices()
    given.choose(labels.name)
    assert given.can_mend(image)
    given.put_on(image)
    assert mask_of(given.layer, image).nonzero()[0].tolist() == [4, 4, 5, 5]
    assert mask_of(given.layer, image).nonzero()[1].tolist() == [6, 7, 6, 7]


def test_a_mask_of_a_plane_lies_over_a_stack():
    stack = Image(np.zeros((4, 20, 30)), scale=(2, 0.5, 0.5), translate=(9, 3, 4))
    mask = empty_mask(stack, 2)
    assert mask.data.shape == (20, 30)
    mask.data[5:8, 5:8] = 1
    assert mask_of(mask, stack).sum() == 9
    turned = Image(stack.data, scale=(2, 0.5, 0.5), rotate=(0, 0, 30))
    mask = empty_mask(turned, 2)
    mask.data[5:8, 5:8] = 1
    assert mask_of(mask, turned).sum() == 9
    volume = empty_mask(stack, 3)
    assert volume.data.shape == (4, 20, 30)


@pytest.mark.parametrize("dims", [2, 3])
def test_an_empty_mask_lies_exactly_on_its_image(dims):
    shape = (5, 20, 30)[-dims:]
    image = Image(
        np.zeros(shape),
        scale=(2, 0.5, 0.25)[-dims:],
        translate=(1, 2, 3)[-dims:],
        rotate=30 if dims == 2 else (0, 0, 30),
        shear=[0.2] if dims == 2 else [0, 0, 0.3],
        affine=np.diag([1.0, 2.0, 3.0, 1.0])[-dims - 1 :, -dims - 1 :],
        units=("um",) * dims,
    )
    mask = empty_mask(image, dims)
    assert mask.extent.world == pytest.approx(image.extent.world)
    assert mask.units == image.units
    mask.data[..., 3, 4] = 1
    assert mask_of(mask, image)[..., 3, 4].all()


def test_an_rgb_image_takes_a_mask_without_colours():
    image = Image(np.zeros((20, 30, 3), np.uint8), rgb=True)
    mask = empty_mask(image, 2)
    assert mask.data.shape == (20, 30)
    mask.data[1, 1] = 1
    assert mask_of(mask, image).shape == (20, 30)


def test_the_control_gives_arrays_and_code_that_agree(image):
    viewer = ViewerModel()
    stack = Image(np.zeros((3, 20, 30)), name="raw")
    data = np.zeros((3, 20, 30), int)
    data[1, 2:5, 2:5] = 2
    viewer.layers.extend([stack, Labels(data, name="m")])
    control = MaskInput("mask", viewer, "A mask.")
    control.reset_choices()
    control.choose_other(stack)
    assert control.layer.name == "m"
    control.labels.value = "2"
    crop = (slice(1, 2), slice(None), slice(None))
    array = control.array(stack, crop)()
    assert array.shape == (1, 20, 30)
    assert array.sum() == 9
    code = control.code(stack, crop)
    assert np.array_equal(eval(code, {"viewer": viewer, "mask_of": mask_of}), array)
    with pytest.raises(InputError, match="only a labels layer"):
        control.file(crop)
    control.labels.value = "3, 5"
    with pytest.raises(InputError, match="numbers that are in m; got 3, 5"):
        control.array(stack, crop)()


@pytest.fixture
def stack():
    return Image(np.zeros((3, 20, 30)), name="stack", scale=(2, 0.5, 0.5))


def marked(shape):
    data = np.zeros(shape, np.uint8)
    data[..., 4:8, 5:9] = 1
    return data


def taken(mask, source, first=1):
    """Return what a panel gives to the task for one plane of a stack."""
    given = MaskInput("mask", ViewerModel(), "")
    given.combo.choices = [mask]
    given.combo.value = mask
    crop = (slice(first, first + 1), *[slice(None)] * 2)[-source.ndim :]
    return given, given.array(source, crop)()


@pytest.mark.parametrize(
    ("sides", "of_plane"),
    [
        ((1, 1, 3, 20, 30), (1, 1, 1, 20, 30)),
        ((1, 1, 1, 20, 30), (1, 1, 1, 20, 30)),
        ((1, 20, 30), (1, 20, 30)),
        ((1, 3, 20, 30), (1, 1, 20, 30)),
    ],
)
def test_axes_of_one_element_do_not_count(stack, sides, of_plane):
    scale = (1,) * (len(sides) - 3) + (2, 0.5, 0.5)
    mask = Labels(marked(sides), name="mask", scale=scale)
    given, values = taken(mask, stack)
    assert values.shape == of_plane
    assert values.sum() == 16
    assert mask_of(mask, stack).shape == sides
    assert given.suits(mask, stack) == (True, True)
    assert not given.can_mend(stack)
    assert given.centre(stack) == tuple(
        int(i) for i in np.argwhere(marked(sides))[marked(sides).sum() // 2][-3:]
    )
    code = given.code(stack, (slice(1, 2), slice(0, 9), slice(None)))
    whole = eval(
        code,
        {
            "mask_of": lambda *_: marked(sides),
            "viewer": type("V", (), {"layers": {"mask": mask, "stack": stack}}),
        },
    )
    assert whole.shape == (*of_plane[:-2], 9, 30)


def test_a_mask_of_five_axes_is_put_on_the_image(stack):
    mask = Labels(marked((1, 1, 3, 20, 30)), name="mask")
    given, _ = taken(Labels(mask.data, name="lies", scale=(1, 1, 2, 0.5, 0.5)), stack)
    given.combo.choices = [mask]
    given.combo.value = mask
    assert given.can_mend(stack)
    given.put_on(stack)
    (copy,) = given.viewer.layers
    np.testing.assert_array_equal(copy.data, mask.data[0, 0])
    assert lies_on(stack, copy)


def test_sides_that_differ_are_refused(stack):
    mask = Labels(marked((1, 1, 2, 20, 30)), scale=(1, 1, 2, 0.5, 0.5))
    with pytest.raises(InputError, match=r"got \(1, 1, 2, 20, 30\)"):
        mask_of(mask, stack)
