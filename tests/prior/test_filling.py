import pytest
import torch

from napari_dip.prior import filling, groups
from napari_dip.prior.filling import fill_from_similar


def pattern(*shape, seed=0):
    """Return a periodic image (1, C, Y, X), the same with errors, and what is known.

    Half of the pixels are missing and have errors of up to 0.1.
    """
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.arange(n) / 3.0 for n in shape[-2:]], indexing="ij")
    truth = 0.5 + 0.3 * torch.sin(x) * torch.cos(0.7 * y)
    truth = truth.expand(1, *shape).clone()
    truth[:, 1:] += 0.2
    known = (torch.rand(1, 1, *shape[1:], generator=generator) < 0.5).float()
    rough = truth + 0.2 * torch.rand(truth.shape, generator=generator) - 0.1
    return truth, torch.where(known > 0, truth, rough), known


def error(image, truth):
    return float((image - truth).square().mean().sqrt())


@pytest.mark.parametrize("channels", [1, 3])
def test_missing_pixels_come_from_similar_patches(channels):
    truth, rough, known = pattern(channels, 50, 61)
    filled = fill_from_similar(rough, known)
    assert filled.shape == rough.shape
    assert error(filled, truth) < 0.15 * error(rough, truth)


def test_known_pixels_stay():
    _, rough, known = pattern(2, 33, 40)
    filled = fill_from_similar(rough, known)
    same = (filled == rough).float()
    torch.testing.assert_close(same.amin(dim=1, keepdim=True), known)


def test_strips_and_chunks_change_nothing(monkeypatch):
    _, rough, known = pattern(1, 40, 32)
    whole = fill_from_similar(rough, known)
    monkeypatch.setattr(groups, "CHUNK", 10_000)
    torch.testing.assert_close(
        fill_from_similar(rough, known), whole, atol=1e-4, rtol=0
    )


def test_planes_of_a_volume_are_filled_by_themselves():
    planes = [pattern(1, 24, 24, seed=seed)[1:] for seed in (0, 1)]
    volume = fill_from_similar(*(torch.stack(i, 2) for i in zip(*planes, strict=True)))
    for z, plane in enumerate(planes):
        expected = fill_from_similar(*plane)
        torch.testing.assert_close(volume[:, :, z], expected, atol=2e-3, rtol=0)


def test_scale_and_offset_of_the_image_do_not_matter():
    _, rough, known = pattern(1, 32, 40)
    filled = fill_from_similar(rough, known)
    scaled = fill_from_similar(0.1 * rough + 0.4, known)
    torch.testing.assert_close((scaled - 0.4) / 0.1, filled, atol=1e-3, rtol=0)


def test_repeats_lead_to_the_conditional_mean(monkeypatch):
    monkeypatch.setattr(filling, "REPEATS", 2000)
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 6, generator=generator)
    x = torch.randn(1, 20, 6, generator=generator) @ mixing
    missing = (torch.rand(1, 20, 6, generator=generator) < 0.5).float()
    z = x[0] - x[0].mean(dim=0)
    precision = torch.linalg.inv(z.T @ z / 20 + 0.5**2 * torch.eye(6))
    expected = x[0].clone()
    for row, gone in enumerate(missing[0] > 0):
        right = precision[gone][:, ~gone] @ z[row, ~gone]
        solved = torch.linalg.solve(precision[gone][:, gone], right)
        expected[row, gone] = x[0].mean(dim=0)[gone] - solved
    noise = torch.full((1, 1, 1), 0.5**2)
    estimate, _ = next(filling._estimates(x, missing, noise))
    gone = missing[0] > 0
    torch.testing.assert_close(estimate[0][gone], expected[gone], atol=1e-3, rtol=0)
