import pytest
import torch

from napari_dip.prior.pyramid import halved, with_low_frequencies


@pytest.fixture
def image():
    return torch.rand(1, 3, 24, 31, generator=torch.Generator().manual_seed(0))


def test_half_the_resolution_is_the_mean_of_four_pixels(image):
    half = halved(image)
    assert half.shape == (1, 3, 12, 16)
    torch.testing.assert_close(half[..., 2, 3], image[..., 4:6, 6:8].mean((-2, -1)))
    # The last column of an odd number is a mean of two.
    torch.testing.assert_close(half[..., 2, 15], image[..., 4:6, 30].mean(-1))


def test_planes_of_a_volume_are_halved_one_by_one(image):
    volume = torch.stack([image, image.flip(-1)], dim=2)
    half = halved(volume)
    assert half.shape == (1, 3, 2, 12, 16)
    torch.testing.assert_close(half[:, :, 0], halved(image))


def test_an_image_with_its_own_low_frequencies_is_as_it_was(image):
    torch.testing.assert_close(with_low_frequencies(image, halved(image)), image)


def test_low_frequencies_are_replaced_and_high_ones_are_kept():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    slow = torch.cos(torch.pi * (x + 0.5) / 64)[None, None]
    fast = (-1.0) ** (x + y)[None, None]
    right, wrong = slow + fast, fast - slow
    torch.testing.assert_close(
        with_low_frequencies(wrong, halved(right)), right, atol=0.1, rtol=0
    )


def test_planes_of_a_volume_do_not_mix(image):
    volume = torch.stack([image, torch.zeros_like(image)], dim=2)
    coarse = halved(volume) + torch.tensor([1.0, 0.0]).reshape(1, 1, 2, 1, 1)
    result = with_low_frequencies(volume, coarse)
    torch.testing.assert_close(result[:, :, 0], image + 1)
    torch.testing.assert_close(result[:, :, 1], torch.zeros_like(image))
