"""The blur against scipy's, its adjoint, and the estimates made with it."""

import numpy as np
import pytest
import scipy.signal
import torch

from napari_dip.errors import InputError
from napari_dip.prior.convolution import (
    Convolution,
    KernelNet,
    Sharpened,
    UnknownConvolution,
    fast_length,
)
from napari_dip.prior.terms import PoissonGaussian

CASES = [
    ((20, 23), (5, 5)),
    ((20, 23), (4, 7)),
    ((17, 16), (1, 6)),
    ((16, 18), (16, 18)),
    ((6, 9, 8), (3, 4, 5)),
]


def rand(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_fast_lengths():
    assert [fast_length(n) for n in (1, 7, 11, 13, 31, 97)] == [1, 8, 12, 15, 32, 100]


@pytest.mark.parametrize(("sides", "support"), CASES, ids=str)
def test_it_is_the_valid_convolution(sides, support):
    psf = rand(*support)
    blur = Convolution(psf, sides)
    x = rand(1, 2, *blur.canvas)
    found = blur(x)
    assert found.shape == (1, 2, *sides)
    for c in range(2):
        expected = scipy.signal.convolve(x[0, c], psf, mode="valid", method="direct")
        np.testing.assert_allclose(found[0, c], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("sides", "support"), CASES, ids=str)
@pytest.mark.parametrize("periodic", [False, True])
def test_a_centred_delta_changes_nothing(sides, support, periodic):
    psf = torch.zeros(support)
    psf[tuple(k // 2 for k in support)] = 1
    blur = Convolution(psf, sides, periodic=periodic)
    x = rand(1, 1, *blur.canvas)
    torch.testing.assert_close(blur(x), x[blur.crop], rtol=0, atol=1e-5)


def test_periodic_is_scipys_wrap():
    from scipy import ndimage

    psf = rand(5, 3)
    x = rand(1, 1, 16, 21)
    found = Convolution(psf, (16, 21), periodic=True)(x)
    expected = ndimage.convolve(x[0, 0].numpy(), psf.numpy(), mode="wrap")
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4)


@pytest.mark.parametrize(("sides", "support"), CASES, ids=str)
@pytest.mark.parametrize("periodic", [False, True])
def test_adjoint(sides, support, periodic):
    blur = Convolution(rand(*support), sides, periodic=periodic)
    x, y = rand(1, 1, *blur.canvas), rand(1, 1, *sides)
    assert blur.adjoint(y).shape == x.shape
    one, other = (blur(x) * y).sum(), (x * blur.adjoint(y)).sum()
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_gradients_are_the_adjoint():
    blur = Convolution(rand(4, 5), (16, 17))
    x, y = rand(1, 1, *blur.canvas).requires_grad_(), rand(1, 1, 16, 17)
    (blur(x) * y).sum().backward()
    torch.testing.assert_close(x.grad, blur.adjoint(y), rtol=1e-4, atol=1e-4)


def test_axes_of_a_psf_must_be_the_images():
    with pytest.raises(InputError, match=r"psf must have 2 axes.* \(3, 3, 3\)"):
        Convolution(torch.ones(3, 3, 3), (16, 16))


def test_a_kernel_net_begins_at_its_guess_and_is_a_psf():
    guess = rand(5, 6)
    kernel = KernelNet(guess, seed=0)
    torch.testing.assert_close(kernel(), guess / guess.sum(), rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        kernel.last.normal_(generator=torch.Generator().manual_seed(0))
    assert kernel().min() >= 0
    assert kernel().sum().item() == pytest.approx(1)
    assert not torch.allclose(kernel(), guess / guess.sum(), atol=1e-3)


def test_an_unknown_blur_is_that_of_its_kernel_and_can_be_learned():
    guess = torch.full((5, 5), 1 / 25)
    truth = torch.zeros(5, 5)
    truth[1, 1:4] = 1 / 3
    known = Convolution(truth, (16, 16))
    x = rand(1, 1, *known.canvas)
    unknown = UnknownConvolution(Convolution(guess, (16, 16)), KernelNet(guess, 0))
    torch.testing.assert_close(unknown(x), Convolution(guess, (16, 16))(x))
    optimizer = torch.optim.Adam(unknown.parameters(), lr=1e-3)
    for _ in range(100):
        optimizer.zero_grad()
        (unknown(x) - known(x)).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(unknown.kernel(), truth, rtol=0, atol=0.02)


def test_sharpened_errors_have_the_same_minimum_and_raise_what_is_weak():
    axis = torch.exp(-(torch.arange(-4.0, 5) ** 2) / 4)
    psf = axis[:, None] * axis
    blur = Convolution(psf / psf.sum(), (32, 32))
    term = Sharpened(blur, 0.01)
    y = rand(1, 2, 32, 32)
    ones = torch.ones(1, 1, 32, 32)
    assert term.mean(y, y, ones) == 0
    ramp = torch.arange(32.0)

    def wave(period):
        return 0.1 * torch.sin(2 * torch.pi * ramp / period).expand(1, 2, 32, 32)

    slow, fast = (float(term.mean(y + wave(n), y, ones)) for n in (32, 4))
    assert fast > 10 * slow
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    assert float(term.mean(y + noise, y, ones)) == pytest.approx(1, rel=0.2)
    torch.testing.assert_close(term(y + 2, y), torch.full_like(y, 4))


def test_sharpened_errors_do_not_see_what_has_no_weight():
    blur = Convolution(rand(3, 3), (16, 16))
    weight = torch.ones(1, 1, 16, 16)
    weight[..., 4:7, 5:9] = 0
    y, x = rand(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    wild = torch.where(weight > 0, y, torch.tensor(99.0))
    for pointwise in (None, PoissonGaussian(0.1, 0.1, 0.1)):
        term = Sharpened(blur, 0.1, pointwise)
        assert term.mean(x, y, weight) == term.mean(x, wild, weight) > 0


def test_sharpened_errors_weigh_pixels_by_their_noise():
    blur = Convolution(torch.ones(1, 1), (16, 16))
    plain = PoissonGaussian(0.5, 0.1, 0.3)
    term = Sharpened(blur, 1.0, plain)
    x, y = rand(1, 1, 16, 16), rand(1, 1, 16, 17)[..., 1:]
    ones = torch.ones_like(x)
    torch.testing.assert_close(term(x, y), plain(x, y))
    # A delta leaves nothing to sharpen.
    torch.testing.assert_close(term.mean(x, y, ones), plain.mean(x, y, ones))
