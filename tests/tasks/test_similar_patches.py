"""Steps after the fit: how far a pilot is trusted."""

import pytest
import torch

from napari_dip.tasks.similar_patches import SMOOTHED, _limited, _smoothed

SIGMA = 0.05


@pytest.fixture
def noise():
    torch.manual_seed(0)
    return SIGMA * torch.randn(1, 3, 64, 64)


def trust(away, known=None):
    known = torch.ones_like(away[:, :1]) if known is None else known
    return _smoothed(away, torch.full_like(away, SIGMA**2), known)


def test_a_pilot_counts_as_noisy_where_pixels_have_kept_their_own_values(noise):
    away = noise.clone()  # from the noisy image, to a pilot without noise
    away[..., 32:] *= 0.1
    smoothed = trust(away)[0, 0]
    assert smoothed.shape == (64, 64)
    assert smoothed[:, :16].mean() == pytest.approx(SMOOTHED, abs=0.02)
    assert smoothed[:, -16:].mean() == pytest.approx(1)


def test_missing_pixels_do_not_tell_how_noisy_a_pilot_is(noise):
    known = (torch.rand(1, 1, 64, 64) < 0.5).float()
    away = noise * known  # a missing pixel of the noisy image is that of the pilot
    assert trust(away, known).mean() == pytest.approx(SMOOTHED, abs=0.02)
    assert trust(away).mean() > 0.8


def test_noise_is_no_more_than_so_many_times_what_a_pilot_leaves(noise):
    known = (torch.rand(1, 1, 64, 64) < 0.5).float()
    variance = torch.full_like(noise, 9 * SIGMA**2)
    for limit in (1, 1.8):
        limited = _limited(variance, noise * known, known, limit)
        assert limited.mean() == pytest.approx(limit * SIGMA**2, rel=0.03)
    assert torch.equal(_limited(variance, noise, known, 10), variance)
