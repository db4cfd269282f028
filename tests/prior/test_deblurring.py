"""Deblurring with similar patches: the inverse, its noise, and that it helps."""

import pytest
import torch

from napari_dip.prior.convolution import Convolution
from napari_dip.prior.deblurring import deblurred, inverted_noise, regularised_inverse


def trace(side):
    """Return a PSF that is not its own mirror image."""
    psf = torch.zeros(side, side)
    psf[side // 2, : side // 2 + 1] = 1
    psf[side // 2 :, side // 2] += 0.5
    return psf / psf.sum()


def matrix(blur, channel_shape):
    """Return the blur of a canvas as a matrix, one column per pixel."""
    count = channel_shape[0] * channel_shape[1]
    units = torch.eye(count).reshape(count, 1, *channel_shape)
    return torch.stack([blur(u[None])[0, 0].flatten() for u in units], dim=1)


@pytest.mark.parametrize("periodic", [False, True])
def test_the_inverse_solves_the_normal_equations(random, periodic):
    blur = Convolution(trace(5), (12, 11), periodic=periodic)
    y = torch.randn(1, 2, 12, 11, generator=random)
    z = torch.randn(1, 2, *blur.canvas, generator=random)
    weight = 0.5 + torch.rand(1, 2, 12, 11, generator=random)
    weight[0, 0, 3:5, 4] = 0
    penalty = torch.tensor([0.3, 0.1]).reshape(1, 2, 1, 1)
    found = regularised_inverse(blur, y, weight, z, penalty)
    a = matrix(blur, blur.canvas)
    for c in range(2):
        w, p = weight[0, c].flatten(), float(penalty[0, c])
        left = a.T @ (w[:, None] * a) + p * torch.eye(a.shape[1])
        right = a.T @ (w * y[0, c].flatten()) + p * z[0, c].flatten()
        wanted = torch.linalg.solve(left, right).reshape(blur.canvas)
        torch.testing.assert_close(found[0, c], wanted, atol=0.05, rtol=0)


def test_noise_of_the_inverse_is_as_foretold(random):
    blur = Convolution(trace(5), (64, 64), periodic=True)
    penalty = torch.tensor([0.05, 0.2]).reshape(1, 2, 1, 1)
    noise = torch.randn(1, 2, 64, 64, generator=random)
    inverted = regularised_inverse(
        blur, noise, torch.ones_like(noise), torch.zeros_like(noise), penalty
    )
    variance, covariance = inverted_noise(blur, penalty, 3)
    measured = inverted.var((2, 3)).flatten()
    torch.testing.assert_close(variance.flatten(), measured, rtol=0.1, atol=0)
    assert covariance.shape == (18, 18)
    for c, values in enumerate(inverted[0] / measured.sqrt()[:, None, None]):
        patches = values.unfold(-2, 3, 1).unfold(-2, 3, 1).reshape(-1, 9)
        own = covariance[9 * c : 9 * c + 9, 9 * c : 9 * c + 9]
        torch.testing.assert_close(
            own, patches.T @ patches / len(patches), atol=0.1, rtol=0
        )
    assert not covariance[:9, 9:].any()


def test_a_blurred_estimate_gets_sharp(random):
    y, x = torch.meshgrid(torch.arange(52), torch.arange(52), indexing="ij")
    sharp = (0.2 + 0.6 * (((y // 8) + (x // 10)) % 2))[None, None].float()
    blur = Convolution(trace(5), (48, 48))
    measured = blur(sharp) + 0.02 * torch.randn(1, 1, 48, 48, generator=random)
    estimate = sharp.clone()
    estimate[blur.crop] = measured

    def error(image):
        return float((image - sharp)[blur.crop].square().mean())

    weight = torch.ones(1, 1, 48, 48)
    found = deblurred(
        blur, measured, weight, lambda v: torch.full_like(v, 0.02**2), estimate
    )
    assert found.shape == sharp.shape
    assert error(found) < 0.1 * error(estimate)


def test_a_turned_measurement_gives_the_turned_image(random):
    # Patches of 7 x 7 pixels, 6 apart, lie alike in a turned canvas of 49 x 49.
    sharp = torch.rand(1, 1, 7, 7, generator=random).repeat_interleave(7, 2)
    sharp = sharp.repeat_interleave(7, 3)
    psf = trace(5)
    found = []
    for turns in range(4):
        blur = Convolution(psf.rot90(turns), (45, 45))
        turned = sharp.rot90(turns, (2, 3))
        found.append(
            deblurred(
                blur,
                blur(turned),
                torch.ones(1, 1, 45, 45),
                lambda v: torch.full_like(v, 0.02**2),
                turned + 0.02,
            ).rot90(-turns, (2, 3))
        )
    apart = (found[0] - sharp).abs().mean()
    assert apart > 0
    for other in found[1:]:
        assert (other - found[0]).abs().mean() < 0.1 * apart


@pytest.mark.parametrize("noise", [5e-5, 1e-5])
def test_values_of_ten_thousand_times_the_noise_are_kept(random, noise):
    point = torch.zeros(5, 5)
    point[2, 2] = 1
    blur = Convolution(point, (48, 52))
    sharp = 1e-3 + 2e-4 * torch.sin(torch.arange(52) / 8).repeat(1, 1, 48, 1)
    sharp[..., 10:13, 20:23] = sharp[..., 30:32, 8:10] = sharp[..., 25, 40] = 1
    y = sharp + noise * torch.randn(sharp.shape, generator=random)
    estimate = torch.zeros(1, 1, *blur.canvas)
    estimate[blur.crop] = y

    def variance(image):
        return torch.full_like(image, noise**2)

    result = deblurred(blur, y, torch.ones_like(y), variance, estimate)[blur.crop]
    # Without a limit the filter is wrong by 2000 times the noise.
    assert (result - sharp).abs().max() < 15 * noise
