"""The empirical Wiener filter against a slow one, and what it leaves alone."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from napari_dip.prior import wiener as module
from napari_dip.prior.wiener import SIDE, STEP, wiener


@pytest.fixture
def clean():
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(17.0), indexing="ij")
    image = 0.5 + 0.3 * torch.sin(x / 2) + 0.2 * (y > 9)
    return image[None, None]


@pytest.fixture
def noisy(clean, random):
    return clean + 0.1 * torch.randn(clean.shape, generator=random)


def slow(noisy, pilot, variance, depth=1):
    """Filter (Z, Y, X) block by block."""
    margin = SIDE - 1
    wide = [(0, 0), (margin, margin), (margin, margin)]
    y, p, v = (np.pad(a, wide, mode="reflect") for a in (noisy, pilot, variance))
    total, weights = np.zeros_like(y), np.zeros_like(y)
    for k in range(y.shape[0] - depth + 1):
        for i in range(0, y.shape[1] - margin, STEP):
            for j in range(0, y.shape[2] - margin, STEP):
                block = np.s_[k : k + depth, i : i + SIDE, j : j + SIDE]
                power = dctn(p[block], norm="ortho") ** 2
                gain = power / (power + v[block].mean())
                gain[0, 0, 0] = 1
                weight = 1 / (gain**2).sum()
                total[block] += weight * idctn(
                    gain * dctn(y[block], norm="ortho"), norm="ortho"
                )
                weights[block] += weight
    inner = np.s_[:, margin:-margin, margin:-margin]
    return total[inner] / weights[inner]


def test_it_is_the_slow_one(noisy, clean):
    variance = 0.01 + 0.02 * clean
    found = wiener(noisy, clean, variance)[0].numpy()
    expected = slow(*(a[0].double().numpy() for a in (noisy, clean, variance)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_strips_change_nothing(noisy, clean, monkeypatch):
    variance = torch.full_like(clean, 0.01)
    whole = wiener(noisy, clean, variance)
    monkeypatch.setattr(module, "STRIP", 1)
    assert torch.allclose(wiener(noisy, clean, variance), whole, atol=1e-6)


def test_with_the_truth_to_guide_it_noise_goes(noisy, clean):
    found = wiener(noisy, clean, torch.full_like(clean, 0.01))
    before, after = ((a - clean).square().mean() for a in (noisy, found))
    assert after < 0.35 * before


def test_without_noise_nothing_changes(noisy, clean):
    found = wiener(noisy, clean + 0.1 * noisy, torch.zeros_like(clean))
    assert torch.allclose(found, noisy, atol=1e-4)


@pytest.mark.parametrize(("factor", "offset"), [(1, 100), (20, 0)])
def test_units_do_not_matter(noisy, clean, factor, offset):
    variance = torch.full_like(clean, 0.01)
    found = wiener(
        factor * noisy + offset, factor * clean + offset, factor**2 * variance
    )
    expected = factor * wiener(noisy, clean, variance) + offset
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-3 * factor)


def test_channels_are_filtered_as_their_principal_components(noisy, clean, random):
    """Three noisy copies of one image are worth more than one."""
    noise = 0.1 * torch.randn(1, 3, *clean.shape[2:], generator=random)
    colours = clean.expand(1, 3, -1, -1)
    found = wiener(colours + noise, colours, torch.full_like(colours, 0.01))
    single = wiener(clean + noise[:, :1], clean, torch.full_like(clean, 0.01))
    errors = [(a - clean).square().mean() for a in (found, single)]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("planes", [1, 3, 6])
def test_blocks_of_a_volume_have_several_planes(clean, random, planes):
    pilot = torch.stack([clean + 0.1 * z for z in range(planes)], dim=2)
    noisy = pilot + 0.1 * torch.randn(pilot.shape, generator=random)
    variance = 0.01 + 0.02 * pilot
    found = wiener(noisy, pilot, variance)[0, 0].numpy()
    images = (a[0, 0].double().numpy() for a in (noisy, pilot, variance))
    expected = slow(*images, depth=min(planes, module.DEPTH))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_alike_planes_help_each_other(clean, random):
    pilot = clean[:, :, None].expand(-1, -1, 4, -1, -1)
    noisy = pilot + 0.1 * torch.randn(pilot.shape, generator=random)
    found = wiener(noisy, pilot, torch.full_like(pilot, 0.01))
    alone = wiener(noisy[:, :, 0], clean, torch.full_like(clean, 0.01))
    error = (alone - clean).square().mean()
    assert (found[:, :, 0] - clean).square().mean() < 0.5 * error
