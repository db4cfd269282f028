"""Gradients of kernels by products of matrices, and where they are used."""

import pytest
import torch
from torch.nn import functional as F

from napari_dip.prior import layers, processor
from napari_dip.prior.processor import is_slow_at_kernel_gradients, kernel_gradient


def torchs_gradient(x, grad, kernel):
    return torch.nn.grad.conv2d_weight(x, kernel.shape, grad)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(
    ("size", "outputs", "side"),
    [((1, 4, 9, 9), 6, 3), ((2, 5, 7, 12), 3, 3), ((1, 2, 20, 6), 4, 5)],
)
@pytest.mark.parametrize("band", [1, 30, 8192])
def test_the_gradient_is_that_of_torch(
    size, outputs, side, band, channels_last, random, monkeypatch
):
    monkeypatch.setattr(processor, "BAND", band)
    x = torch.randn(size, generator=random, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    kernel = torch.zeros(outputs, size[1], side, side, dtype=torch.float64)
    grad = torch.randn(F.conv2d(x, kernel).shape, generator=random, dtype=torch.float64)
    expected = torchs_gradient(x, grad, kernel)
    torch.testing.assert_close(kernel_gradient(x, grad, side), expected)


@pytest.mark.parametrize(
    ("capability", "dtype", "weight", "stride", "sides", "expected"),
    [
        ("AVX2", torch.float32, (32, 32, 3, 3), (1, 1), (30, 30), True),
        ("AVX512", torch.float32, (32, 32, 3, 3), (1, 1), (30, 30), False),
        ("AVX2", torch.bfloat16, (32, 32, 3, 3), (1, 1), (30, 30), False),
        ("AVX2", torch.float32, (32, 6, 3, 3), (1, 1), (30, 30), False),
        ("AVX2", torch.float32, (32, 32, 1, 1), (1, 1), (30, 30), False),
        ("AVX2", torch.float32, (32, 32, 3, 3), (2, 2), (30, 30), False),
        ("AVX2", torch.float32, (32, 32, 3, 3), (1, 1), (18, 18), False),
        ("AVX2", torch.float32, (32, 32, 3, 3, 3), (1, 1, 1), (9, 30, 30), False),
    ],
)
def test_it_is_used_where_it_is_quicker(
    capability, dtype, weight, stride, sides, expected, monkeypatch
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    x = torch.zeros(1, weight[1], *sides, dtype=dtype)
    assert is_slow_at_kernel_gradients(x, torch.zeros(weight), stride) is expected


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("of_input", [True, False])
def test_layers_have_the_same_gradients_either_way(of_input, bias, random, monkeypatch):
    x = torch.rand(1, 16, 25, 27, generator=random, requires_grad=of_input)
    conv = layers.Conv(16, 20, 3, 2, bias=bias)
    layers.draw_weights(conv, random)
    wanted = [x, *conv.parameters()] if of_input else list(conv.parameters())

    def gradients(capability):
        monkeypatch.setattr(
            torch.backends.cpu, "get_cpu_capability", lambda: capability
        )
        return torch.autograd.grad(conv(x).square().sum(), wanted)

    calls = []
    monkeypatch.setattr(
        layers,
        "kernel_gradient",
        lambda *args: calls.append(args) or kernel_gradient(*args),
    )
    torch.testing.assert_close(
        gradients("AVX2"), gradients("AVX512"), rtol=1e-4, atol=1e-4
    )
    assert len(calls) == 1


@pytest.mark.parametrize("capability", [(7, 5), (8, 0)])
def test_gpus_multiply_bfloat16_from_ampere_on(capability, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    native = processor.multiplies_bfloat16(torch.device("cuda"))
    assert native is (capability >= (8, 0))
