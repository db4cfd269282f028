"""The exponential averages against their sums."""

import pytest
import torch

from napari_dip.prior import codes
from napari_dip.prior.averaging import Average, WeightAverage, predict
from napari_dip.prior.codes import BlindSpot, Noise
from napari_dip.prior.local import Local
from napari_dip.prior.runtime import Place
from napari_dip.prior.snapshot import overwrite

CPU = torch.device("cpu")


@pytest.fixture
def outputs():
    return torch.rand((12, 1, 2, 4, 5), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("decay", [0, 0.5, 0.9, 0.99])
def test_average_is_the_normalised_exponential_sum(outputs, decay):
    average = Average((1, 2, 4, 5), decay, CPU)
    for output in outputs:
        average.update(output)
    powers = torch.tensor([float(decay) ** (11 - t) for t in range(12)])
    weights = (powers / powers.sum()).reshape(-1, 1, 1, 1, 1)
    torch.testing.assert_close(average.value(), (weights * outputs).sum(0))


@pytest.mark.parametrize("channels", [1, 2])
def test_weighted_average_counts_what_the_weights_say(outputs, channels):
    random = torch.Generator().manual_seed(1)
    weights = torch.rand((12, 1, channels, 4, 5), generator=random).round()
    weights[0] = 1  # every pixel is reached once at least
    average = Average((1, 2, 4, 5), 0.8, CPU, per_channel=channels > 1)
    for output, weight in zip(outputs, weights, strict=True):
        average.update(output, weight)
    powers = torch.tensor([0.8 ** (11 - t) for t in range(12)]).reshape(-1, 1, 1, 1, 1)
    total = (powers * weights).sum(0)
    assert (total > 0).all()
    expected = (powers * weights * outputs).sum(0) / total
    torch.testing.assert_close(average.value(), expected)


def test_first_output_counts_in_full(outputs):
    average = Average((1, 2, 4, 5), 0.99, CPU)
    average.update(outputs[0])
    torch.testing.assert_close(average.value(), outputs[0])


@pytest.mark.parametrize("channels", [1, 2])
def test_unreached_pixels_take_the_mean_of_the_others(outputs, channels):
    weight = torch.ones(1, channels, 4, 5)
    weight[..., :2, 1] = 0
    if channels == 2:
        weight[:, 1, 3] = 0
    average = Average((1, 2, 4, 5), 0.9, CPU, per_channel=channels > 1)
    average.update(outputs[0], weight)
    value = average.value()
    reached = weight.expand(1, 2, 4, 5) > 0
    assert torch.equal(value[reached], outputs[0][reached])
    for channel in range(2):
        mean = outputs[0, 0, channel][reached[0, channel]].mean()
        missing = value[0, channel][~reached[0, channel]]
        torch.testing.assert_close(missing, mean.expand_as(missing))


def test_nothing_reached_is_finite():
    assert torch.isfinite(Average((1, 1, 3, 3), 0.9, CPU).value()).all()


def test_value_is_a_copy_and_outputs_are_kept(outputs):
    average = Average((1, 2, 4, 5), 0.9, CPU)
    before = outputs.clone()
    for output in outputs:
        average.update(output)
    value = average.value()
    kept = value.clone()
    value.zero_()
    torch.testing.assert_close(average.value(), kept)
    assert torch.equal(outputs, before)


def test_the_state_is_whole_and_put_back_in_place(outputs):
    average = Average((1, 2, 4, 5), 0.9, CPU)
    average.update(outputs[0])
    saved = {name: t.clone() for name, t in average.state_dict().items()}
    expected, place = average.value(), average.sum.data_ptr()
    average.update(outputs[1] * torch.nan)
    overwrite(average.state_dict(), saved, "average")
    assert torch.equal(average.value(), expected)
    assert average.sum.data_ptr() == place


def test_after_a_reset_nothing_is_remembered(outputs):
    average = Average((1, 2, 4, 5), 0.9, CPU)
    average.update(outputs[0])
    average.reset()
    average.update(outputs[1])
    torch.testing.assert_close(average.value(), outputs[1])


# -- of weights -------------------------------------------------------------------

SIDES = (13, 16)


def averaged(code=None, channels=1, decay=0.8):
    """Return an average of weights, and the network and the code that it is of."""
    image = torch.rand(
        (1, channels, *SIDES), generator=torch.Generator().manual_seed(1)
    )
    code = code or BlindSpot(0.25)
    drawing = code.drawing((16, 16), image, torch.ones_like(image[:, :1]), None)
    inputs = code.channels((channels, *SIDES))
    network = Local((4,)).build(
        inputs, channels, (16, 16), torch.Generator().manual_seed(0)
    )
    place = Place(CPU, torch.float32)
    return (
        WeightAverage(network, drawing, (1, channels, *SIDES), decay, place),
        network,
        drawing,
    )


def walk(average, network, steps):
    """Change the weights at random, add them up, and return them all."""
    random = torch.Generator().manual_seed(7)
    seen = []
    for _ in range(steps):
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn(p.shape, generator=random), alpha=0.1)
        average.update(None)
        seen.append({n: p.detach().clone() for n, p in network.named_parameters()})
    return seen


def test_weights_are_averaged_like_outputs():
    average, network, _ = averaged()
    seen = walk(average, network, 6)
    powers = torch.tensor([0.8 ** (5 - t) for t in range(6)])
    for name, value in average.weights().items():
        stacked = torch.stack([weights[name] for weights in seen])
        expected = torch.tensordot(powers / powers.sum(), stacked, 1)
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("per_channel", [False, True])
def test_every_pixel_is_predicted_where_it_was_hidden(per_channel):
    average, network, drawing = averaged(BlindSpot(0.25, per_channel), 2)
    walk(average, network, 3)
    image = average.value()
    assert image.shape == (1, 2, *SIDES)
    network.load_state_dict(average.weights())
    expected = torch.zeros_like(image)
    with torch.no_grad():
        for code, hidden, _ in drawing.cover(torch.Generator().manual_seed(0)):
            expected += network(code)[..., :13, :16] * hidden
    torch.testing.assert_close(image, expected)


def test_several_views_are_predicted_at_once(monkeypatch):
    """A GPU takes them so."""
    windows = torch.rand((3, 1, *SIDES), generator=torch.Generator().manual_seed(1))
    code = BlindSpot(0.25)
    drawing = code.drawing((16, 16), windows, torch.ones_like(windows), None)
    random = torch.Generator().manual_seed(0)
    network = Local((4,)).build(2, 1, (16, 16), random)
    weights = dict(network.named_parameters())
    place = Place(CPU, torch.float32)
    one_by_one = predict(network, weights, drawing, windows.shape, place)
    monkeypatch.setattr(codes, "views_at_once", lambda sides, device: 5)
    seen = [len(view) for view, *_ in drawing.cover(torch.Generator())]
    assert seen == [5, 5, 2]
    at_once = predict(network, weights, drawing, windows.shape, place)
    torch.testing.assert_close(at_once, one_by_one)


def test_without_hidden_pixels_the_code_is_seen_once():
    image = torch.rand(1, 1, 16, 16)
    drawing = Noise(3).drawing(
        (16, 16), image, torch.ones_like(image), torch.Generator()
    )
    network = Local((4,)).build(3, 1, (16, 16), torch.Generator())
    average = WeightAverage(
        network, drawing, image.shape, 0.9, Place(CPU, torch.float32)
    )
    average.update(None)
    with torch.no_grad():
        expected = network(drawing.tensors["z"])
    torch.testing.assert_close(average.value(), expected)


def test_looking_changes_nothing():
    average, network, _ = averaged()
    walk(average, network, 2)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = average.value(), average.value()
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.requires_grad
    assert all(torch.equal(p, before[n]) for n, p in network.named_parameters())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_the_state_of_averaged_weights_is_put_back_in_place():
    average, network, _ = averaged()
    walk(average, network, 2)
    saved = {name: t.clone() for name, t in average.state_dict().items()}
    expected, places = average.value(), [t.data_ptr() for t in average.sums.values()]
    walk(average, network, 3)
    assert not torch.equal(average.value(), expected)
    overwrite(average.state_dict(), saved, "average")
    assert torch.equal(average.value(), expected)
    assert [t.data_ptr() for t in average.sums.values()] == places
    average.reset()
    seen = walk(average, network, 1)
    for name, value in average.weights().items():
        torch.testing.assert_close(value, seen[0][name])
