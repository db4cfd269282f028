import pytest
import torch

from napari_dip.errors import InputError
from napari_dip.prior.local import Local


def network(inputs=2, outputs=1, sides=(64, 64), widths=(8, 8), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Local(widths).build(inputs, outputs, sides, generator)


@pytest.mark.parametrize("sides", [(32, 48), (8, 16, 24)])
def test_the_output_has_the_sides_of_the_code(sides):
    image = network(3, 2, sides)(torch.rand(1, 3, *sides))
    assert image.shape == (1, 2, *sides)
    assert image.dtype == torch.float32
    assert -0.1 < image.min() < image.max() < 1.1


def test_what_is_far_away_does_not_count():
    code = torch.rand(1, 2, 64, 64)
    other = code.clone()
    other[..., 48:, :] = torch.rand(1, 2, 16, 64)
    net = network()
    first, second = net(code), net(other)
    torch.testing.assert_close(first[..., :24, :], second[..., :24, :])
    assert (first - second)[..., 48:, :].abs().max() > 1e-3


@pytest.mark.parametrize("end", [-30.0, 30.0])
def test_an_output_at_the_end_of_its_range_has_a_way_back(end):
    net = network()
    code = torch.rand(1, 2, 64, 64)
    inside = net(code)
    inside.sum().backward()
    before = net.head.bias.grad.item()
    net.zero_grad()
    with torch.no_grad():
        net.head.bias.fill_(end)
    image = net(code)
    torch.testing.assert_close(image, torch.full_like(image, -0.1 if end < 0 else 1.1))
    image.sum().backward()
    assert 0.02 * before < net.head.bias.grad.item() < before


def test_features_keep_their_scale():
    torch.manual_seed(0)
    body = network(widths=(32,) * 4).body
    with torch.no_grad():
        features = body(torch.rand(1, 2, 64, 64) - 0.5)
    assert 0.05 < features.std() < 2


def test_weights_come_from_the_generator_alone():
    before = torch.get_rng_state()
    one, same, other = (network(seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_it_computes_in_the_type_of_the_code():
    net, code = network(), torch.rand(1, 2, 32, 32)
    assert net(code.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(net(code.bfloat16()), net(code), atol=0.02, rtol=0)


def test_sides_must_be_multiples():
    assert Local((4, 4, 4)).multiple(2) == (8, 8)
    assert Local((4, 4)).multiple(3) == (4, 4, 4)


@pytest.mark.parametrize("widths", [(), (4, 0)])
def test_wrong_widths_are_refused(widths):
    with pytest.raises(InputError, match=r"widths must be positive.*got"):
        Local(widths)


def test_black_and_white_have_a_gradient():
    """A sigmoid that ends at 0 and 1 left fits of dark images stuck there."""
    net = network()
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.fill_(-2.4)
    image = net(torch.rand(1, 2, 16, 16)).mean()
    assert image.item() == pytest.approx(0, abs=1e-3)
    image.backward()
    assert net.head.bias.grad.item() > 0.05
