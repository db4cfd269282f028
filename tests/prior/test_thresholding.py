import pytest
import torch

from napari_dip.prior import thresholding
from napari_dip.prior.operators import cosines
from napari_dip.prior.thresholding import collaborative_threshold
from tests.prior.test_collaborative import error, pattern


def by_definition(noisy, variance, side, step):
    """Filter one channel, group by group and coefficient by coefficient."""
    height, width = noisy.shape
    total, weight = torch.zeros(2, height, width)
    corners = [
        (y, x) for y in range(height - side + 1) for x in range(width - side + 1)
    ]

    def patch(y, x):
        return noisy[y : y + side, x : x + side]

    for top in range(0, height - side + 1, step):
        for left in range(0, width - side + 1, step):
            near = [
                at
                for at in corners
                if max(abs(at[0] - top), abs(at[1] - left)) <= thresholding.WINDOW
            ]
            reference = patch(top, left)
            near.sort(key=lambda at: (patch(*at) - reference).square().sum())
            group = near[: thresholding.GROUP_SIZE]
            stack = torch.stack([patch(*at) for at in group])
            bases = [cosines(n).float() for n in stack.shape]
            sums = torch.einsum("abc,ia,jb,kc->ijk", stack, *bases)
            kept = sums.abs() > thresholding.THRESHOLD * variance**0.5
            kept[0, 0, 0] = True
            estimate = torch.einsum("ijk,ia,jb,kc->abc", sums * kept, *bases)
            for (y, x), values in zip(group, estimate, strict=True):
                total[y : y + side, x : x + side] += values / kept.sum()
                weight[y : y + side, x : x + side] += 1 / kept.sum()
    return total / weight


def test_it_is_what_the_definition_says(monkeypatch):
    # The order of two patches changes no more than a sign.
    monkeypatch.setattr(thresholding, "GROUP_SIZE", 2)
    noisy, _ = pattern(1, 26, 32)
    variance = torch.full_like(noisy, 0.01)
    expected = by_definition(noisy[0, 0], 0.01, 8, 6)
    result = collaborative_threshold(noisy, variance)
    torch.testing.assert_close(result[0, 0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 48, 48), (2, 3, 40, 48)])
def test_it_takes_most_of_the_noise_away(shape):
    noisy, clean = pattern(*shape)
    result = collaborative_threshold(noisy, torch.full_like(noisy, 0.01))
    assert result.shape == noisy.shape
    assert error(result, clean) < 0.4 * error(noisy, clean)


def test_an_image_without_noise_is_kept():
    _, clean = pattern(3, 40, 40)
    result = collaborative_threshold(clean, torch.zeros_like(clean))
    torch.testing.assert_close(result, clean, atol=1e-4, rtol=0)


def test_the_units_of_a_channel_do_not_matter():
    noisy, _ = pattern(2, 40, 40)
    unit = torch.tensor([1.0, 30.0]).reshape(1, 2, 1, 1)
    variance = torch.full_like(noisy, 0.01)
    result = collaborative_threshold(noisy, variance)
    scaled = collaborative_threshold(noisy * unit, variance * unit.square())
    torch.testing.assert_close(scaled / unit, result, atol=1e-4, rtol=0)


def test_a_turned_image_gives_the_turned_result():
    noisy, clean = pattern(1, 50, 64)
    variance = torch.full_like(noisy, 0.01)
    result = collaborative_threshold(noisy, variance)
    turned = collaborative_threshold(noisy.rot90(1, (2, 3)), variance.rot90(1, (2, 3)))
    # References lie elsewhere in it, so that part of the error is of its own.
    assert error(turned.rot90(-1, (2, 3)), result) < 0.9 * error(result, clean)
