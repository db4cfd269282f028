"""Activations inside a network: what is read, and that the network stays as it is."""

import copy

import pytest
import torch
from torch import nn

from napari_dip.errors import InputError
from napari_dip.prior.features import Features, Preprocess, centre_unit

CPU = torch.device("cpu")


class Small(nn.Module):
    """Two convolutions and a classifier; `spare` takes no part."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(4, 5, 3, stride=2), nn.BatchNorm2d(5))
        self.drop = nn.Dropout(0.5)
        self.spare = nn.Linear(1, 1)
        self.pair = Pair()
        self.logits = nn.Linear(5, 7)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        x = self.drop(self.block(torch.relu(self.conv1(x))))
        self.pair(x)
        return self.logits(x.mean((2, 3)))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def image():
    return torch.rand(1, 3, 12, 14, generator=torch.Generator().manual_seed(1))


def same(x):
    return x


def test_layer_by_its_dotted_name(model, image):
    features = Features(model, "block.0", same, CPU)
    wanted = model.block[0](torch.relu(model.conv1(image)))
    torch.testing.assert_close(features(image), wanted)
    assert features.flat(image).shape == (1, 1, wanted.numel())


def test_the_last_layer_is_that_of_evaluation(model, image):
    reference = copy.deepcopy(model).eval()
    found = Features(model, "logits", same, CPU)(image)
    torch.testing.assert_close(found, reference(image))


def test_gradients_reach_the_image(model):
    features = Features(model.double(), "block.1", same, CPU)
    image = torch.rand(1, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    # The layers give float32 to the fit; its gradient is that of the sum.
    features(image).sum().backward()
    step = torch.zeros_like(image)
    step[0, 1, 2, 3] = 1e-3
    plain = copy.deepcopy(model).eval()

    def total(x):
        return plain.block(torch.relu(plain.conv1(x))).sum()

    with torch.no_grad():
        slope = (total(image + step) - total(image - step)) / 2e-3
    assert image.grad[0, 1, 2, 3].item() == pytest.approx(slope.item(), rel=1e-4)


def state(model):
    return {
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
        "training": [m.training for m in model.modules()],
        "grad": [p.requires_grad for p in model.parameters()],
        "grads": [p.grad for p in model.parameters()],
        "hooks": [len(m._forward_hooks) for m in model.modules()],
        "calls": model.calls,
    }


def check_untouched(before, after):
    for name, value in before["weights"].items():
        torch.testing.assert_close(after["weights"][name], value, rtol=0, atol=0)
    del before["weights"], after["weights"]
    assert before == after


def test_the_users_model_is_not_touched(model, image):
    model.train()
    model.block[0].eval()
    model.conv1.weight.requires_grad_(False)
    before = state(model)
    features = Features(model, "logits", same, CPU)
    features(image.requires_grad_()).sum().backward()
    check_untouched(before, state(model))


@pytest.mark.parametrize("layer", ["spare", "pair", "block"])
def test_hooks_are_removed_after_an_exception(model, layer):
    features = Features(model, layer, same, CPU)
    before = state(features.model)
    bad = torch.zeros(1, 5, 9, 9) if layer == "block" else torch.zeros(1, 3, 9, 9)
    with pytest.raises((InputError, RuntimeError)):
        features(bad)
    after = state(features.model)
    before["calls"] = after["calls"] = 0
    check_untouched(before, after)


def test_later_layers_are_not_computed(model, image):
    features = Features(model, "conv1", same, CPU)
    expected = features(image)
    features.model.logits = nn.Linear(1, 1)  # would fail
    assert torch.equal(features(image), expected)


@pytest.mark.parametrize(
    ("layer", "close"),
    [("blok.0", "block.0"), ("logit", "logits"), ("", "conv1"), ("qqqq", "conv1")],
)
def test_an_unknown_layer_lists_close_names(model, layer, close):
    with pytest.raises(InputError, match=rf"such as .*{close}.*; got '{layer}'"):
        Features(model, layer, same, CPU)


def test_a_model_without_layers_is_refused():
    with pytest.raises(InputError, match="of the model, which has none; got 'fc'"):
        Features(nn.Linear(1, 1), "fc", same, CPU)


def test_layers_without_one_tensor_are_refused(model, image):
    with pytest.raises(InputError, match="'spare' takes no part"):
        Features(model, "spare", same, CPU)(image)
    with pytest.raises(InputError, match="'pair' must give a tensor; got tuple"):
        Features(model, "pair", same, CPU)(image)


def test_a_model_that_cannot_be_copied_is_refused(model):
    model.stream = (i for i in range(3))
    with pytest.raises(InputError, match="model cannot be copied"):
        Features(model, "logits", same, CPU)


# -- preprocessing ------------------------------------------------------------------


def test_mean_and_std_per_channel(image):
    mean, std = (0.1, 0.2, 0.3), (2.0, 3.0, 4.0)
    found = Preprocess(mean, std)(image)
    for c in range(3):
        torch.testing.assert_close(found[:, c], (image[:, c] - mean[c]) / std[c])


def test_bytes_with_blue_first(image):
    found = Preprocess((104.0, 117.0, 123.0), scale=255.0, reverse=True)(image)
    torch.testing.assert_close(found[:, 0], 255 * image[:, 2] - 104)
    torch.testing.assert_close(found[:, 2], 255 * image[:, 0] - 123)


def test_size_is_the_models(image):
    assert Preprocess(size=(7, 9))(image).shape == (1, 3, 7, 9)
    torch.testing.assert_close(Preprocess(size=(12, 14))(image), image)
    flat = torch.full((1, 3, 12, 14), 0.25)
    torch.testing.assert_close(
        Preprocess(size=(30, 5))(flat), flat.new_full((1, 3, 30, 5), 0.25)
    )


# -- one number of a layer ----------------------------------------------------------


def test_a_class():
    row = torch.tensor([[1.0, 5.0, 2.0]])
    assert centre_unit(row, 1, 1, probability=False).item() == 5
    wanted = torch.log_softmax(row, 1)[0, 1]
    found = centre_unit(row, 1, 1, probability=True)
    torch.testing.assert_close(found.reshape(()), wanted)


@pytest.mark.parametrize("window", [1, 3])
def test_the_centre_of_a_map(window):
    maps = torch.arange(2.0 * 5 * 7).reshape(1, 2, 5, 7)
    found = centre_unit(maps, 1, window, probability=False)
    assert found.shape == (1, 1, 1)
    # The middle of 5 x 7 is row 2, column 3, of the second map.
    assert found.item() == 35 + 2 * 7 + 3


def test_a_window_as_large_as_the_map_is_its_mean():
    maps = torch.rand(1, 2, 5, 7)
    found = centre_unit(maps, 0, 99, probability=False)
    torch.testing.assert_close(found.reshape(()), maps[0, 0].mean())


def test_units_that_are_not_there_are_refused():
    with pytest.raises(InputError, match="unit must be from 0 to 2; got 3"):
        centre_unit(torch.zeros(1, 3), 3, 1, probability=False)
    with pytest.raises(InputError, match=r"\(1, units\) or \(1, units, Y, X\)"):
        centre_unit(torch.zeros(1, 3, 4), 0, 1, probability=False)
