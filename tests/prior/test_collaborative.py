import numpy as np
import pytest
import torch

from napari_dip.prior import collaborative, groups
from napari_dip.prior.collaborative import (
    collaborative_filter,
    guided_collaborative_filter,
)
from napari_dip.prior.operators import gaussian_blur


def pattern(*shape, noise=0.1, seed=0):
    """Return a periodic image (1, C, Y, X) with noise, and without."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.arange(n) / 3.0 for n in shape[-2:]], indexing="ij")
    clean = 0.5 + 0.3 * torch.sin(x) * torch.cos(0.7 * y)
    clean = clean.expand(1, *shape).clone()
    clean[:, 1:] += 0.2
    return clean + noise * torch.randn(clean.shape, generator=generator), clean


def error(image, clean):
    return float((image - clean).square().mean().sqrt())


def patch(image, y, x, side=7):
    return image[y : y + side, x : x + side].reshape(-1)


def groups_by_definition(pilot, group_size, window, side=7, step=6):
    """Return the corners of the patches of every group of one channel."""
    height, width = pilot.shape
    everywhere = [
        (y, x) for y in range(height - side + 1) for x in range(width - side + 1)
    ]
    found = []
    for top in range(0, height - side + 1, step):
        for left in range(0, width - side + 1, step):
            near = [
                (y, x)
                for y, x in everywhere
                if max(abs(y - top), abs(x - left)) <= window
            ]
            reference = patch(pilot, top, left)
            near.sort(key=lambda at: (patch(pilot, *at) - reference).square().sum())
            found.append(near[:group_size])
    return found


def round_by_definition(noisy, pilot, variance, smoothed, found, side=7):
    """Estimate the groups one by one, with the k x k matrices written out."""
    totals, weights = torch.zeros(2, *noisy.shape), torch.zeros(2, *noisy.shape)
    kaiser = torch.from_numpy(np.kaiser(side + 2, 3)[1:-1]).float()
    taper = kaiser[:, None] * kaiser
    for group in found:
        x = torch.stack([patch(pilot, *at) for at in group])
        y = torch.stack([patch(noisy, *at) for at in group])
        k, n = x.shape
        gram = x @ x.T
        level = k * smoothed * variance
        mix = torch.linalg.solve(gram + level * torch.eye(k), gram)
        z = x - x.mean(0)
        inner = z.T @ z
        gain = torch.linalg.solve(inner + level * torch.eye(n), inner)
        for number, (estimate, left_over) in enumerate(
            [
                (mix.T @ y, mix.square().sum(0).clamp(min=1e-3)),
                (
                    x.mean(0) + (y - x.mean(0)) @ gain,
                    gain.square().sum().clamp(min=0.1).expand(k),
                ),
            ]
        ):
            for (row, column), values, noise in zip(
                group, estimate, left_over, strict=True
            ):
                area = (slice(row, row + side), slice(column, column + side))
                totals[number][area] += taper * values.reshape(side, side) / noise
                weights[number][area] += taper / noise
    return (totals / weights).mean(0)


@pytest.mark.parametrize("smoothed", [1, 0.5])
def test_it_is_what_the_formulas_say(monkeypatch, smoothed):
    monkeypatch.setattr(collaborative, "GROUP_SIZE", 20)
    noisy, clean = pattern(1, 19, 25)
    pilot = clean + 0.02 * torch.rand(clean.shape)
    found = groups_by_definition(pilot[0, 0], 20, window=6)
    expected = round_by_definition(noisy[0, 0], pilot[0, 0], 0.01, smoothed, found)
    variance = torch.full_like(noisy, 0.01)
    image = collaborative_filter(noisy, pilot, variance, smoothed, window=6)
    torch.testing.assert_close(image[0, 0], expected, atol=1e-4, rtol=0)


def test_later_rounds_begin_with_half_of_the_noise(monkeypatch):
    monkeypatch.setattr(collaborative, "GROUP_SIZE_IN_ROUNDS", 20)
    noisy, clean = pattern(1, 19, 25)
    pilot = clean + 0.02 * torch.rand(clean.shape)
    y, x = noisy[0, 0], pilot[0, 0]
    found = groups_by_definition(x, 20, window=6)
    first = round_by_definition(y, x, 0.01, 0.5, found)
    y = (first + y) / 2
    second = round_by_definition(y, first, 1.2 * 0.01 / 4, 1, found)
    y = (second + y) / 2
    third = round_by_definition(y, second, 1.2 * 0.01 / 16, 1, found)
    variance = torch.full_like(noisy, 0.01)
    image = collaborative_filter(noisy, pilot, variance, 0.5, rounds=3, window=6)
    torch.testing.assert_close(image[0, 0], third, atol=2e-4, rtol=0)


def test_more_rounds_are_better():
    noisy, clean = pattern(3, 80, 80, noise=0.2)
    pilot = gaussian_blur(noisy, 1.0)
    variance = torch.full_like(noisy, 0.04)
    one, three = (collaborative_filter(noisy, pilot, variance, 1, n) for n in (1, 3))
    assert error(three, clean) < 0.95 * error(one, clean)


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_noise_goes_and_structure_stays(channels):
    noisy, clean = pattern(channels, 50, 61)
    pilot = clean + 0.3 * (noisy - clean)
    image = collaborative_filter(noisy, pilot, torch.full_like(noisy, 0.01))
    assert image.shape == noisy.shape
    assert error(image, clean) < 0.9 * error(pilot, clean)
    assert error(image, clean) < 0.3 * error(noisy, clean)


def test_strips_and_chunks_change_nothing(monkeypatch):
    noisy, clean = pattern(1, 64, 48)
    variance = torch.full_like(noisy, 0.01)
    whole = collaborative_filter(noisy, clean, variance)
    monkeypatch.setattr(groups, "PATCHES", 60 * 90 * 50)
    monkeypatch.setattr(groups, "CHUNK", 10_000)
    parts = collaborative_filter(noisy, clean, variance)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


def test_several_rows_of_references_at_once_change_nothing(monkeypatch):
    _, clean = pattern(1, 64, 48)
    grouping = groups.Grouping(7, 6, 20, 15)
    one = torch.cat(list(groups.Search(clean[0, :, None], grouping).groups()))
    monkeypatch.setattr(groups, "CHUNK", 8 * 3 * 8 * 31**2)
    three = torch.cat(list(groups.Search(clean[0, :, None], grouping).groups()))
    assert (one.sort(dim=1).values == three.sort(dim=1).values).float().mean() > 0.99


def volume(depth, noise=0.1):
    """Return blobs in noise, alike in all planes, (1, 1, Z, Y, X), and without it."""
    generator = torch.Generator().manual_seed(0)
    rough = torch.randn(1, 1, 40, 40, generator=generator)
    clean = 0.5 + gaussian_blur(rough, 2.0)[:, :, None].expand(-1, -1, depth, -1, -1)
    return clean + noise * torch.randn(clean.shape, generator=generator), clean


def test_similar_patches_are_looked_for_in_planes_near_by():
    noisy, clean = volume(4)
    variance = torch.full_like(noisy, 0.01)
    image = collaborative_filter(noisy, clean, variance, window=15)
    assert image.shape == noisy.shape
    images = [i[:, :, 1] for i in (noisy, clean, variance)]
    alone = collaborative_filter(*images, window=15)
    assert error(image[:, :, 1], clean[:, :, 1]) < 0.75 * error(alone, clean[:, :, 1])


def test_patches_far_across_the_planes_do_not_count():
    noisy, clean = volume(6)
    other = noisy.clone()
    other[:, :, 5] = 0.5
    variance = torch.full_like(noisy, 0.01)
    images = [collaborative_filter(y, clean, variance) for y in (noisy, other)]
    # What lies in between is in groups with both.
    torch.testing.assert_close(images[0][:, :, 0], images[1][:, :, 0])
    assert (images[0] - images[1])[:, :, 3].abs().max() > 0.01


def test_a_volume_of_one_plane_is_a_plane():
    noisy, clean = pattern(2, 32, 32)
    images = (noisy, clean, torch.full_like(noisy, 0.01))
    flat = collaborative_filter(*(i[:, :, None] for i in images))[:, :, 0]
    torch.testing.assert_close(flat, collaborative_filter(*images))


def test_every_channel_counts_relative_to_its_noise():
    noisy, clean = pattern(2, 40, 40)
    variance = torch.full_like(noisy, 0.01)
    usual = collaborative_filter(noisy, clean, variance)
    scale = torch.tensor([1.0, 50.0])[:, None, None]
    scaled = collaborative_filter(noisy * scale, clean * scale, variance * scale**2)
    torch.testing.assert_close(scaled / scale, usual, atol=1e-4, rtol=0)


@pytest.mark.parametrize("offset", [10, 1000])
def test_rounding_errors_are_small_beside_weak_noise(offset):
    noisy, clean = pattern(1, 40, 40)
    pilot = clean + 0.3 * (noisy - clean)
    variance = torch.full_like(noisy, 0.01)
    single, double = (
        collaborative_filter(
            noisy.to(dtype) + offset, pilot.to(dtype) + offset, variance.to(dtype)
        ).double()
        for dtype in (torch.float32, torch.float64)
    )
    torch.testing.assert_close(single, double, atol=1e-5 + 1e-6 * offset, rtol=0)


def test_the_noise_of_a_group_counts():
    noisy, clean = pattern(1, 48, 96)
    low, high = torch.full_like(noisy, 1e-4), torch.full_like(noisy, 0.01)
    mixed = torch.cat([low[..., :48], high[..., 48:]], -1)
    image = collaborative_filter(noisy, clean, mixed, window=15)
    for variance, part in ((low, slice(0, 4)), (high, slice(92, 96))):
        alone = collaborative_filter(noisy, clean, variance, window=15)
        torch.testing.assert_close(image[..., part], alone[..., part])
    unlike = image - collaborative_filter(noisy, clean, high, window=15)
    assert unlike[..., :4].abs().max() > 0.01


def test_an_image_without_noise_comes_through():
    _, clean = pattern(1, 32, 32)
    image = collaborative_filter(clean, clean, torch.zeros_like(clean))
    torch.testing.assert_close(image, clean, atol=1e-2, rtol=0)


@pytest.mark.parametrize("sides", [(16, 16), (16, 200)])
def test_small_images_have_small_groups(sides):
    noisy, clean = pattern(1, *sides)
    image = collaborative_filter(noisy, clean, torch.full_like(noisy, 0.01))
    assert error(image, clean) < 0.5 * error(noisy, clean)


def test_very_bright_spots_stay_where_they_are():
    noisy, clean = pattern(1, 40, 40)
    noisy[0, 0, 20, 20] = clean[0, 0, 20, 20] = 5e3
    image = collaborative_filter(noisy, clean, torch.full_like(noisy, 0.01))
    assert torch.isfinite(image).all()
    assert abs(float(image[0, 0, 20, 20]) - 5e3) < 50
    assert error(image[..., :8], clean[..., :8]) < 0.08


@pytest.mark.parametrize("guided", [False, True])
def test_a_turned_image_is_filtered_alike(guided):
    """References are counted from the first corner: little may depend on it."""
    y, x = torch.meshgrid(torch.arange(48), torch.arange(60), indexing="ij")
    clean = 0.5 + 0.3 * torch.sin(x / 4) * (y > 20) + 0.1 * torch.cos((x + y) / 3)
    noise = 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy, pilot = (clean + noise)[None, None], clean[None, None]

    def turned(image):
        return image.mT.flip(2)

    def filtered(noisy, pilot):
        images = noisy, pilot, torch.full_like(noisy, 0.01)
        if guided:
            return guided_collaborative_filter(*images, pilot.sqrt())
        return collaborative_filter(*images)

    here = filtered(noisy, pilot)
    there = filtered(turned(noisy), turned(pilot)).flip(2).mT
    assert (here - there).abs().mean() < 0.3 * (here - pilot).abs().mean()
    shifted = there.roll(1, 3)
    assert (here - shifted).abs().mean() > (here - pilot).abs().mean()


@pytest.mark.parametrize("noise", [1e-10, 1e-4])
def test_patches_that_are_all_alike_give_finite_numbers(noise):
    """Rounding errors left a negative trace, and no level made that definite."""
    y = torch.full((1, 1, 40, 44), 0.5)
    y += 1e-7 * torch.rand(y.shape, generator=torch.Generator().manual_seed(0))
    filtered = collaborative_filter(y, y, torch.full_like(y, noise))
    assert torch.allclose(filtered, y, atol=1e-5)


# -- with a guide -----------------------------------------------------------------


def fine(channels=1):
    """Return an image of fine structure, with noise and without, and a blurred one."""
    generator = torch.Generator().manual_seed(1)
    rough = torch.randn(1, channels, 48, 52, generator=generator)
    clean = 0.5 + 0.4 * gaussian_blur(rough, 0.7)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=generator)
    return noisy, clean, gaussian_blur(clean, 0.7)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_guide_shows_structure_that_no_patch_repeats(channels):
    noisy, clean, pilot = fine(channels)
    variance = torch.full_like(noisy, 0.01)
    guide = 7 - 2000 * clean
    alone = error(collaborative_filter(noisy, pilot, variance), clean)
    guided = guided_collaborative_filter(noisy, pilot, variance, guide)
    assert error(guided, clean) < 0.95 * min(alone, error(pilot, clean))


def test_a_strange_guide_costs_little():
    noisy, clean, pilot = fine()
    variance = torch.full_like(noisy, 0.01)
    alone = error(collaborative_filter(noisy, pilot, variance), clean)
    strange = torch.rand(noisy.shape, generator=torch.Generator().manual_seed(2))
    for guide in (strange, torch.ones_like(noisy)):
        result = guided_collaborative_filter(noisy, pilot, variance, guide)
        assert error(result, clean) < 1.1 * alone


def test_the_units_of_the_guide_do_not_matter():
    noisy, clean, pilot = fine()
    variance = torch.full_like(noisy, 0.01)
    first, second = (
        guided_collaborative_filter(noisy, pilot, variance, guide)
        for guide in (clean, 4096 * clean - 100)
    )
    assert torch.allclose(first, second, atol=1e-4)
