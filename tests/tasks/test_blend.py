"""Blending arrays: what comes back, where the foreground goes, what is refused."""

import numpy as np
import pytest
import skimage.io
import tifffile

from napari_dip import blend, cli
from napari_dip.baselines import cut_and_paste
from napari_dip.errors import InputError
from napari_dip.tasks.blend import TASK, BlendRecipe
from napari_dip.tasks.function import iterate

SHORT = {"iterations": 4, "device": "cpu", "precision": "float32"}


@pytest.fixture
def images(random):
    """Return a foreground and a background, (40, 45, 3) in [0, 1]."""
    y, x = np.mgrid[0:40, 0:45] / 45
    back = np.stack([y, x, 0.5 + 0.3 * np.sin(9 * x)], -1)
    front = np.stack([1 - y, 0.2 + 0.5 * x * y, 0 * x + 0.4], -1)
    noise = random.normal(0, 0.02, (2, 40, 45, 3))
    return np.clip(np.stack([front, back]) + noise, 0, 1).astype(np.float32)


@pytest.fixture
def mask():
    found = np.zeros((40, 45), np.uint8)
    found[8:30, 10:33] = 1
    return found


WHERE = {
    "middle": (slice(8, 30), slice(10, 33)),
    "corner": (slice(0, 20), slice(0, 22)),
    "one pixel": (slice(20, 21), slice(9, 10)),
    "all but a row": (slice(0, 39), slice(0, 45)),
}


# -- what comes back ----------------------------------------------------------------


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("preset", ["fast", "best"])
def test_equal_images_give_the_background(images, where, preset):
    back, mask = images[1], np.zeros((40, 45), bool)
    mask[WHERE[where]] = True
    found = blend(back, back, mask, **{**SHORT, "preset": preset})
    assert np.abs(found - back).max() < 0.5 / 255


def test_the_seam_goes_and_the_background_stays(images, mask):
    """A cut out part of another brightness: the fit does what pasting cannot."""
    back = images[1] * 0.5
    found = blend(back + 0.4, back, mask, **SHORT | {"iterations": 40})
    pasted = cut_and_paste(back + 0.4, back, mask)
    # The gradients are equal everywhere, so nothing but the background is left.
    assert np.abs(found - back).mean() < 0.25 * np.abs(pasted - back).mean()


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("channels", [None, 1, 3, 4], ids=str)
def test_layouts(random, mask, channels):
    shape = (40, 45) if channels is None else (40, 45, channels)
    front, back = random.random((2, *shape))
    options = {"channel_axis": None if channels is None else -1}
    found = blend(front, back, mask, **SHORT, **options)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    if channels is not None:
        moved = [np.moveaxis(a, -1, 0) for a in (front, back)]
        again = blend(*moved, mask, **SHORT, channel_axis=0)
        np.testing.assert_array_equal(np.moveaxis(again, 0, -1), found)


@pytest.mark.usefixtures("narrow")
def test_units_are_the_backgrounds(images, mask):
    # Whole numbers and a power of two: both are then the same to the last bit.
    front, back = np.rint(255 * images.astype(np.float64))
    found = blend(front, back, mask, **SHORT)
    scaled = blend(1024 + 16 * front, 1024 + 16 * back, mask, **SHORT)
    np.testing.assert_allclose(scaled, 1024 + 16 * found, rtol=0, atol=1e-2)


@pytest.mark.usefixtures("narrow")
def test_bytes_come_back_as_bytes(images, mask):
    front, back = (np.rint(255 * a).astype(np.uint8) for a in images)
    found = blend(front, back, mask, dtype="input", **SHORT)
    assert found.dtype == np.uint8
    floats = blend(front, back, mask, **SHORT)
    np.testing.assert_array_equal(found, np.rint(np.clip(floats, 0, 255)))


@pytest.mark.parametrize("preset", ["fast", "best", "paper"])
def test_presets_run(images, mask, preset):
    fit = blend(*images, mask, preset=preset, full_output=True, **SHORT)
    assert fit.iterations == 4
    assert np.isfinite(fit.image).all()
    assert fit.history[-1]["loss"] > 0


def test_paper_is_the_published_program(images, mask, first_fit):
    plan = first_fit(TASK, BlendRecipe(preset="paper"), *images, mask)
    assert plan.prior.architecture.skip == (128,) * 5
    assert plan.prior.architecture.upsampling == "nearest"
    assert (plan.settings.optimizer, plan.settings.learning_rate) == ("adam", 0.006)
    assert plan.settings.stop.maximum == 1001
    assert plan.problem.term.factors == (50, 25, 20, 6, 4, 12, 18)


def test_widening_and_factors_reach_the_loss(images, mask, first_fit):
    term = first_fit(
        TASK, BlendRecipe(widening=False, factors=(1, 2, 3, 4, 5, 6, 7)), *images, mask
    ).problem.term
    assert term.factors == (1, 2, 3, 4, 5, 6, 7)
    before = term.now.clone()
    term.anneal(1.0)
    assert (term.now <= before).all()
    assert (term.now < before).any()


@pytest.mark.usefixtures("narrow")
def test_the_same_seed_gives_the_same_image(images, mask):
    one, same = (blend(*images, mask, seed=3, **SHORT) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(blend(*images, mask, seed=4, **SHORT), one)


@pytest.mark.usefixtures("narrow")
def test_stopping_keeps_an_image(images, mask):
    fit = blend(
        *images,
        mask,
        device="cpu",
        full_output=True,
        callback=lambda it: it.step == 5,
    )
    assert fit.stopped_by == "stopped by the user"
    assert np.isfinite(fit.image).all()


@pytest.mark.usefixtures("narrow")
def test_arguments_stay_as_they_are(images, mask):
    copies = [a.copy() for a in (*images, mask)]
    blend(*images, mask, **SHORT)
    for array, copy in zip((*images, mask), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# -- where the foreground goes ------------------------------------------------------


@pytest.mark.usefixtures("narrow")
def test_a_small_foreground_is_the_same_as_one_padded_with_background(images, mask):
    front, back = images
    small = front[8:30, 10:33], mask[8:30, 10:33]
    found = blend(small[0], back, small[1], offset=(8, 10), **SHORT)
    padded = back.copy()
    padded[8:30, 10:33] = small[0]
    np.testing.assert_array_equal(found, blend(padded, back, mask, **SHORT))


@pytest.mark.usefixtures("narrow")
def test_iterate_yields_images_of_the_backgrounds_size(images, mask):
    fitting = iterate("blend", images[0][:30], images[1], mask[:30], **SHORT)
    seen = [it.image.shape for it in fitting]
    assert seen == [(40, 45, 3)] * 4


# -- what is refused ----------------------------------------------------------------


A = np.linspace(0, 1, 40 * 45).reshape(40, 45)
M = np.zeros((40, 45), bool)
M[5:20, 5:20] = True
REFUSED = {
    "a stack": ((A, np.stack([A, A]), M, {}), "background must be one image"),
    "volumes": (
        (A, np.stack([A] * 16), M, {"spatial_dims": 3}),
        "background must be one image",
    ),
    "gray in front of colours": (
        (A, np.stack([A] * 3, -1), M, {"channel_axis": 2}),
        r"foreground must .* as many channels as the background \(3\); got",
    ),
    "colours on gray": (
        (np.stack([A] * 3, -1), A, M, {"channel_axis": None}),
        r"as many channels as the background \(1\)",
    ),
    "other channels": ((np.stack([A] * 3, -1), A, M, {}), "as many channels"),
    "NaN in front": ((A + np.nan, A, M, {}), "foreground must be finite"),
    "outliers in front": (
        (np.where(M, 1e30, A), A, M, {}),
        "foreground must have values like the background's, 0 to 1; got 0.* to 1e",
    ),
    "large integers": (
        (A, (A * 2**60).astype(int), M, {}),
        "background must not hold integers",
    ),
    "NaN behind": ((A, np.where(M, np.nan, A), M, {}), "background must be finite"),
    "infinity behind": ((A, np.where(M, np.inf, A), M, {}), "background must be fin"),
    "a mask of another size": ((A, A, M[1:], {}), r"\(40, 45\); got \(39, 45\)"),
    "a mask of three axes": ((A, A, M[None, 1:], {}), r"got \(1, 39, 45\)"),
    "NaN in the mask": (
        (A, A, np.where(M, np.nan, 0), {}),
        "^mask must be 0 or nonzero; got NaN in",
    ),
    "an empty mask": ((A, A, M & False, {}), "got none"),
    "a full mask": ((A, A, M | True, {}), "got all of them"),
    "far away": ((A, A, M, {"offset": (40, 0)}), r"got \(40, 0\)"),
    "mask outside": ((A, A, M, {"offset": (-30, 0)}), "got none"),
    "one number": ((A, A, M, {"offset": (1,)}), "offset must be 2 integers"),
    "six weights": (
        (A, A, M, {"factors": (1.0,) * 6}),
        "factors must be 7 ",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    (*arrays, options), message = REFUSED[what]
    with pytest.raises(InputError, match=message):
        blend(*arrays, **options)


# -- the command --------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, images, mask):
    """Return a folder with a small foreground, its mask, and a background."""
    front, back = (np.rint(255 * a).astype(np.uint8) for a in images)
    skimage.io.imsave(tmp_path / "front.png", front[8:30, 10:33])
    skimage.io.imsave(tmp_path / "back.png", back)
    skimage.io.imsave(
        tmp_path / "mask.png", 255 * mask[8:30, 10:33], check_contrast=False
    )
    return tmp_path


def command(folder, *options):
    names = ("front", "back", "mask", "out")
    front, back, mask, out = (str(folder / f"{name}.png") for name in names)
    first = ["blend", front, "--background", back, "--mask", mask]
    return cli.main([*first, "--output", out, *options])


@pytest.mark.usefixtures("narrow")
def test_command_of_a_fit_can_be_replayed(files):
    assert command(files, "--offset", "8,10", "--iterations", "2") == 0
    result = skimage.io.imread(files / "out.png")
    assert (result.shape, result.dtype) == ((40, 45, 3), np.uint8)
    again = files / "again.tif"
    inputs = [str(files / f"{name}.png") for name in ("front", "back", "mask")]
    out = str(files / "out.png")
    assert cli.main(["replay", out, *inputs, "--output", str(again)]) == 0
    made = tifffile.imread(again)
    np.testing.assert_array_equal(made, result)


def test_command_says_what_is_wrong(files, capsys):
    assert command(files, "--offset", "8") == 2
    assert "offset must be 2 integers" in capsys.readouterr().err
    assert command(files, "--offset", "100,0") == 2
    assert "place the foreground on the background" in capsys.readouterr().err
