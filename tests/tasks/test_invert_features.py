"""Looking through a layer: tiny networks, and one that was trained."""

import copy
import sys
import types

import numpy as np
import pytest
import skimage.io
import torch
from torch import nn

from napari_dip import cli, invert_features, iterate
from napari_dip.errors import InputError, OutOfMemory
from napari_dip.tasks.invert_features import TASK, InvertRecipe
from napari_dip.tasks.models import load_weights, resolve

SHORT = {"iterations": 3, "device": "cpu", "precision": "float32"}
PIXELS = {"prior": "none", "device": "cpu"}


class Tiny(nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(channels, 6, 3, stride=2, padding=1)
        self.act = nn.ReLU()
        self.classes = nn.Linear(6, 4)

    def forward(self, x):
        return self.classes(self.act(self.first(x)).mean((2, 3)))


@pytest.fixture
def model():
    return Tiny()


@pytest.fixture
def image():
    y, x = np.mgrid[0:20, 0:24] / 24
    return np.stack([y, x, 0.5 + 0.4 * np.sin(9 * x)], -1)


def seen(model, image, layer="act"):
    """Return the activations of an image in [0, 1], (Y, X, C)."""
    found = []
    handle = dict(model.named_modules())[layer].register_forward_hook(
        lambda *a: found.append(a[-1].detach())
    )
    model(torch.from_numpy(np.float32(image)).permute(2, 0, 1)[None])
    handle.remove()
    return found[0].numpy()


# -- what is found ------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["deep", "tv", "none"])
def test_the_activations_come_close(model, image, prior):
    found = invert_features(
        image, model, "act", prior=prior, tv=0, iterations=20, device="cpu"
    )
    assert found.shape == image.shape
    assert found.dtype == np.float32
    wanted = seen(model, image)
    before = np.square(seen(model, np.full_like(image, 0.5)) - wanted).mean()
    after = np.square(seen(model, found) - wanted).mean()
    assert after < 0.7 * before


def test_activations_are_a_target_as_good_as_the_image(model, image):
    options = {"layer": "act", "iterations": 5, **PIXELS}
    wanted = seen(model.eval(), image)
    found = invert_features(
        wanted, model, target="activations", shape=(20, 24), **options
    )
    np.testing.assert_allclose(
        found, invert_features(image, model, **options), rtol=0, atol=1e-6
    )


@pytest.mark.usefixtures("narrow")
def test_units_of_the_image_come_back(model, image):
    whole = np.rint(255 * image).astype(np.uint8)
    options = {"layer": "act", "iterations": 4, **PIXELS}
    found = invert_features(whole, model, **options)
    scaled = invert_features(whole / 255, model, **options)
    np.testing.assert_allclose(found, 255 * scaled, rtol=0, atol=0.02)
    assert invert_features(whole, model, dtype="input", **options).dtype == np.uint8


@pytest.mark.usefixtures("narrow")
def test_preprocessing_by_function_or_by_numbers(model, image):
    mean, std, size = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), (16, 16)

    def preprocess(x):
        x = nn.functional.interpolate(x, size, mode="bilinear", antialias=True)
        shift = torch.tensor(mean).reshape(1, 3, 1, 1)
        return (x - shift) / torch.tensor(std).reshape(1, 3, 1, 1)

    options = {"layer": "act", "iterations": 4, **PIXELS}
    numbers = invert_features(image, model, mean=mean, std=std, size=size, **options)
    same = invert_features(image, model, preprocess=preprocess, **options)
    np.testing.assert_allclose(numbers, same, rtol=0, atol=1e-5)
    other = invert_features(image, model, **options)
    assert np.abs(numbers - other).max() > 1e-3


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "colour"])
def test_layouts(image, channels):
    model = Tiny(channels)
    given = image[..., 0] if channels == 1 else image
    found = invert_features(given, model, "act", **SHORT)
    assert found.shape == given.shape
    assert np.isfinite(found).all()
    if channels == 3:
        first = invert_features(
            np.moveaxis(given, -1, 0), model, "act", channel_axis=0, **SHORT
        )
        np.testing.assert_array_equal(np.moveaxis(first, 0, -1), found)


def test_total_variation_smooths(model, image):
    def roughness(x):
        return np.abs(np.diff(x, axis=0)).mean() + np.abs(np.diff(x, axis=1)).mean()

    found = [
        invert_features(
            image, model, "classes", prior="tv", tv=tv, iterations=60, device="cpu"
        )
        for tv in (0, 1)
    ]
    assert roughness(found[1]) < 0.5 * roughness(found[0])


def test_paper_is_the_published_program(model, image, first_fit):
    plan = first_fit(
        TASK, InvertRecipe(preset="paper", layer="act"), image, model, None
    )
    shape = plan.prior.architecture
    assert shape.down == shape.up == (16, 32, 64, 128, 128, 128)
    assert shape.down_kernel == shape.up_kernel == (7, 7, 5, 5, 3, 3)
    assert (shape.padding, shape.upsampling) == ("zero", "nearest")
    assert shape.downsampling == "average"
    assert plan.settings.stop.maximum == 3100
    assert (plan.settings.optimizer, plan.settings.learning_rate) == ("adam", 0.001)


# -- the user's model ---------------------------------------------------------------


def state(model):
    return (
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [p.grad for p in model.parameters()],
        [len(m._forward_hooks) for m in model.modules()],
    )


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("how", ["end", "stop", "error", "given up"])
def test_the_model_is_not_changed(model, image, how):
    model.train()
    model.first.eval()
    model.first.weight.requires_grad_(False)
    weights, before = copy.deepcopy(model.state_dict()), state(model)
    options = {"layer": "act", **SHORT}

    def explode(it):
        raise OSError("the callback failed")

    if how == "error":
        with pytest.raises(OSError, match="the callback failed"):
            invert_features(image, model, callback=explode, **options)
    elif how == "given up":
        fitting = iterate("invert_features", image, model, **options)
        next(fitting)
        fitting.close()
    else:
        stop = None if how == "end" else lambda it: True
        invert_features(image, model, callback=stop, **options)
    assert state(model) == before
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)


# -- what is refused ----------------------------------------------------------------

A = np.full((16, 17, 3), 0.5)
REFUSED = {
    "no layer": (A, {}, "layer must be the name"),
    "another layer": (A, {"layer": "clases"}, "such as classes"),
    "a stack": (np.stack([A, A]), {"layer": "act"}, "must be a single one"),
    "floats above 1": (A * 300, {"layer": "act"}, "from 0 to 1"),
    "NaN": (A * np.nan, {"layer": "act"}, "image must be finite"),
    "one side": (A, {"layer": "act", "size": (3,)}, "size must be 2 integers"),
    "no std": (A, {"layer": "act", "std": (0.0, 1.0, 1.0)}, "std must be"),
    "a prior": (A, {"layer": "act", "prior": "gan"}, "deep"),
    "no function": (A, {"layer": "act", "preprocess": 3}, "must be a function; got in"),
    "two means": (A, {"layer": "act", "mean": (0.5, 0.5)}, "mean must have .* 3 ch"),
    "two stds": (A, {"layer": "act", "std": (0.5, 0.5)}, "std must have a number for"),
    "a gray image": (A[..., 0], {"layer": "act"}, r"image of shape \(1, 1, 16, 17\)"),
    "a function that returns nothing": (
        A,
        {"layer": "act", "preprocess": lambda x: None},
        "model must take an image .* after its preprocessing; got TypeError",
    ),
    "activations that are none": (
        np.full(720, np.nan),
        {"layer": "act", "target": "activations", "shape": (20, 24)},
        "image must be finite",
    ),
    "other activations": (
        A,
        {"layer": "act", "target": "activations", "shape": (20, 24), **SHORT},
        r"as many activations as layer act gives \(720\); got 816",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(model, what):
    image, options, message = REFUSED[what]
    with pytest.raises(InputError, match=message):
        invert_features(image, model, **options)


def test_lack_of_memory_is_told_as_such(image):
    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x):
            raise MemoryError

    with pytest.raises(OutOfMemory, match="little memory: this image needs more"):
        invert_features(image, Large(), "act", **SHORT)


def test_a_model_without_weights_is_one_too(image):
    found = invert_features(image, nn.Sequential(nn.ReLU()), "0", **SHORT)
    assert found.shape == image.shape


# -- models by name -----------------------------------------------------------------


@pytest.fixture
def home(monkeypatch):
    """Return a module, importable by its name, with models to make."""
    module = types.ModuleType("home_of_models")
    module.tiny = Tiny
    module.number = lambda: 3
    module.needs = lambda width: width
    monkeypatch.setitem(sys.modules, "home_of_models", module)
    return "home_of_models"


def test_weights_come_from_arrays(home, tmp_path):
    wanted = {k: v + 1 for k, v in Tiny().state_dict().items()}
    np.savez(tmp_path / "w.npz", **{k: v.numpy() for k, v in wanted.items()})
    found = resolve(f"{home}:tiny@{tmp_path / 'w.npz'}").state_dict()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_weights_that_do_not_fit_are_refused(home, tmp_path):
    np.savez(tmp_path / "few.npz", first=np.zeros(3))
    np.savez(tmp_path / "pickled.npz", first=np.array([{}], dtype=object))
    np.savez(tmp_path / "words.npz", first=np.array(["none"]))
    whole = (tmp_path / "few.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "damaged.npz").write_bytes(whole.replace(b"NUMPY", b"numpy"))
    with open(tmp_path / "single.npz", "wb") as file:
        np.save(file, np.zeros(3))
    for name in ("text.npz", "text.safetensors"):
        (tmp_path / name).write_text("none")
    for name, message in (
        ("few.npz", "do not fit"),
        ("pickled.npz", "cannot be read"),
        ("words.npz", "cannot be read"),
        ("short.npz", "cannot be read"),
        ("damaged.npz", "cannot be read"),
        ("single.npz", "cannot be read: it holds one array, which has no name"),
        ("text.npz", "cannot be read"),
        ("text.safetensors", "cannot be read"),
        ("none.npz", "cannot be read"),
        ("w.pth", "must be .npz or .safetensors"),
    ):
        with pytest.raises(InputError, match=message):
            load_weights(Tiny(), tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("home_of_models:huge", "'home_of_models:huge'"),
        ("home_of_models", "package.module:function"),
        ("no_such_module_here:tiny", "No module named"),
        ("home_of_models:needs", "without arguments"),
        ("home_of_models:number", "gave int, not a module"),
        (3, "got int"),
    ],
)
def test_models_that_are_none_are_refused(home, name, message):
    with pytest.raises(InputError, match=message):
        resolve(name)


# -- the command --------------------------------------------------------------------


@pytest.mark.usefixtures("narrow")
def test_command(home, image, tmp_path, capsys):
    source, out, again = (str(tmp_path / f"{n}.png") for n in ("in", "out", "again"))
    skimage.io.imsave(source, np.rint(255 * image).astype(np.uint8))
    model = ["--model", f"{home}:tiny"]
    layer = ["--layer", "act", "--iterations", "2"]
    given = ["invert-features", source, *model, *layer]
    assert cli.main([*given, "--output", out]) == 0
    assert skimage.io.imread(out).shape == (20, 24, 3)
    # What a file names is not imported on its word alone.
    assert cli.main(["replay", out, source, "--output", again]) == 2
    assert f"--model {home}:tiny" in capsys.readouterr().err
    assert cli.main(["replay", out, source, *model, "--output", again]) == 0
    np.testing.assert_array_equal(skimage.io.imread(again), skimage.io.imread(out))
    layer[1] = "acct"
    assert cli.main([*given[:4], *layer, "--output", str(tmp_path / "c.png")]) == 2
    assert "such as act" in capsys.readouterr().err


# -- a network that was trained -----------------------------------------------------


@pytest.mark.parametrize(
    ("name", "top", "probability"),
    [("building", "planetarium", 0.995), ("monkey", "guenon", 0.879)],
)
def test_squeezenet_sees_what_it_should(shared_data, name, top, probability):
    squeezenet = pytest.importorskip("benchmarks.squeezenet")
    folder = shared_data / "inversion"
    model = squeezenet.load(folder)
    image = skimage.io.imread(folder / f"{name}.jpg") / 255
    _, found, p = squeezenet.top(model, image, squeezenet.class_names(folder))
    assert top in found
    assert p == pytest.approx(probability, abs=0.005)
