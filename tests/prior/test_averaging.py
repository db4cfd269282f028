"""The exponential average against its sum."""

import pytest
import torch

from napari_dip.prior.averaging import Average

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
    average.load_state_dict(saved)
    assert torch.equal(average.value(), expected)
    assert average.sum.data_ptr() == place


def test_after_a_reset_nothing_is_remembered(outputs):
    average = Average((1, 2, 4, 5), 0.9, CPU)
    average.update(outputs[0])
    average.reset()
    average.update(outputs[1])
    torch.testing.assert_close(average.value(), outputs[1])
