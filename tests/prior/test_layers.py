"""Padding, resampling and normalisation against their torch counterparts."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from napari_dip.prior import layers
from napari_dip.prior.layers import corner, memory_format, normalize, pad, upsample

SHAPES = [(1, 3, 7, 10), (2, 2, 5, 3), (1, 2, 5, 4, 7), (2, 1, 3, 6, 5)]
LINEAR = {4: "bilinear", 5: "trilinear"}


@pytest.fixture
def tensor():
    """Return a function that draws a tensor that requires a gradient."""
    random = torch.Generator().manual_seed(0)

    def draw(shape, *, last=True, dtype=torch.float64):
        x = torch.randn(shape, generator=random, dtype=dtype)
        if last:
            x = x.contiguous(memory_format=memory_format(len(shape) - 2))
        return x.requires_grad_()

    return draw


@pytest.fixture(params=[0, layers.SMALL], ids=["large", "small"])
def either_size(request, monkeypatch):
    """Take images for large ones, and for small ones."""
    monkeypatch.setattr(layers, "SMALL", request.param)


@pytest.fixture
def assert_same():
    """Return a function that compares values and gradients of two functions."""

    def compare(x, function, reference):
        ours, theirs = function(x), reference(x)
        torch.testing.assert_close(ours, theirs)
        # A gradient that differs at every output, or a wrong stencil could hide.
        up = torch.linspace(-1, 2, theirs.numel(), dtype=x.dtype).reshape(theirs.shape)
        (mine,) = torch.autograd.grad(ours, x, up)
        (yours,) = torch.autograd.grad(theirs, x, up)
        torch.testing.assert_close(mine, yours)

    return compare


@pytest.mark.usefixtures("either_size")
@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize("amount", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reflection_padding_is_torchs(tensor, assert_same, shape, amount, last):
    margin = [amount] * (2 * (len(shape) - 2))
    assert_same(
        tensor(shape, last=last),
        lambda x: pad(x, amount, "reflection"),
        lambda x: F.pad(x, margin, mode="reflect"),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_zero_padding_is_torchs(tensor, assert_same, shape):
    margin = [2] * (2 * (len(shape) - 2))
    assert_same(tensor(shape), lambda x: pad(x, 2, "zero"), lambda x: F.pad(x, margin))


def test_reflection_padding_of_too_few_pixels_repeats_the_border(tensor, assert_same):
    assert_same(
        tensor((1, 2, 2, 6)),
        lambda x: pad(x, 2, "reflection"),
        lambda x: F.pad(x, [2] * 4, mode="replicate"),
    )


def test_padding_by_nothing_returns_the_tensor_itself(tensor):
    x = tensor((1, 2, 4, 4))
    assert pad(x, 0, "reflection") is x


@pytest.mark.usefixtures("either_size")
def test_padding_leaves_its_input_alone(tensor):
    x = tensor((1, 2, 5, 5)).detach()
    before = x.clone()
    pad(x, 2, "reflection").zero_()
    assert torch.equal(x, before)


@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 1, 4), (1, 1, 2, 1, 3)], ids=str)
def test_linear_upsampling_is_torchs(tensor, assert_same, shape, last):
    assert_same(
        tensor(shape, last=last),
        lambda x: upsample(x, (2,) * (len(shape) - 2), "bilinear"),
        lambda x: F.interpolate(
            x, scale_factor=2, mode=LINEAR[len(shape)], align_corners=False
        ),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nearest_upsampling_is_torchs(tensor, assert_same, shape):
    assert_same(
        tensor(shape),
        lambda x: upsample(x, (2,) * (len(shape) - 2), "nearest"),
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    )


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_an_axis_of_stride_one_is_not_upsampled(tensor, assert_same, mode):
    reference = {"bilinear": "trilinear", "nearest": "nearest"}[mode]
    assert_same(
        tensor((1, 2, 3, 4, 5)),
        lambda x: upsample(x, (1, 2, 2), mode),
        lambda x: F.interpolate(x, size=(3, 8, 10), mode=reference),
    )


@pytest.mark.usefixtures("either_size")
@pytest.mark.parametrize("shape", [(1, 2, 4, 5), (1, 2, 3, 3, 4)], ids=str)
def test_gradients_of_padding_are_those_of_finite_differences(tensor, shape):
    def padded(x):
        return pad(x, 2, "reflection")

    assert torch.autograd.gradcheck(padded, tensor(shape))


@pytest.mark.parametrize("shape", [(1, 2, 4, 5), (1, 2, 3, 3, 4)], ids=str)
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_gradients_of_upsampling_are_those_of_finite_differences(tensor, shape, mode):
    def upsampled(x):
        return upsample(x, (2,) * (len(shape) - 2), mode)

    assert torch.autograd.gradcheck(upsampled, tensor(shape))


@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 4, 6)], ids=str)
@pytest.mark.parametrize("last", [True, False], ids=["channels_last", "contiguous"])
def test_small_images_are_padded_to_the_layout_of_large_ones(
    tensor, shape, last, monkeypatch
):
    x = tensor(shape, last=last).detach()
    small = pad(x, 1, "reflection")
    monkeypatch.setattr(layers, "SMALL", 0)
    large = pad(x, 1, "reflection")
    assert torch.equal(small, large)
    assert small.stride() == large.stride()


@pytest.mark.usefixtures("either_size")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 4, 6, 9), (1, 4, 5, 6, 7)], ids=str)
@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda x: pad(x, 1, "reflection"), id="reflection"),
        pytest.param(lambda x: pad(x, 1, "zero"), id="zero"),
        pytest.param(
            lambda x: upsample(x, (2,) * (x.ndim - 2), "bilinear"), id="bilinear"
        ),
        pytest.param(
            lambda x: upsample(x, (2,) * (x.ndim - 2), "nearest"), id="nearest"
        ),
    ],
)
def test_layout_and_dtype_are_kept_forward_and_backward(tensor, function, shape, dtype):
    layout = memory_format(len(shape) - 2)
    x = tensor(shape, dtype=dtype)
    out = function(x)
    (grad,) = torch.autograd.grad(out, x, torch.ones_like(out))
    assert out.dtype == grad.dtype == dtype
    assert out.is_contiguous(memory_format=layout)
    assert grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("shape", [(1, 3, 5, 6), (1, 3, 4, 5, 6)], ids=str)
def test_normalize_is_batch_norm_of_one_sample_in_training(tensor, assert_same, shape):
    norm = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm3d)(3).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -2, 3]))
        norm.bias.copy_(torch.tensor([1, 0, -0.25]))
    assert_same(tensor(shape), lambda x: normalize(x, norm.weight, norm.bias), norm)


def test_normalize_does_not_mix_samples(tensor):
    x = tensor((2, 3, 5, 6))
    weight, bias = torch.tensor([0.5, -2, 3.0]), torch.tensor([1, 0, -0.25])
    weight, bias = weight.double(), bias.double()
    together = normalize(x, weight, bias)
    apart = torch.cat([normalize(one[None], weight, bias) for one in x])
    torch.testing.assert_close(together, apart)


def test_memory_format_and_corner():
    assert memory_format(2) is torch.channels_last
    assert memory_format(3) is torch.channels_last_3d
    x = torch.arange(24).reshape(1, 2, 3, 4)
    assert torch.equal(x[corner((2, 3))], x[:, :, :2, :3])
