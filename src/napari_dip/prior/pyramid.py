"""An image at half its resolution, and what that says about its low frequencies."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior.groups import as_volume
from napari_dip.prior.operators import gaussian_blur

LOW = 1.0
"""Standard deviation of the blur that leaves the low frequencies, in pixels of half the
resolution; 0.7 and 1.4 are as good."""


def halved(image: Tensor) -> Tensor:
    """Return the means of 2 x 2 pixels of an image (1, C, Y, X) or (1, C, Z, Y, X).

    White noise stays white, with a quarter of its variance.
    """
    planes = F.avg_pool2d(as_volume(image), 2, ceil_mode=True)
    return planes.reshape(*image.shape[:-2], *planes.shape[-2:])


def with_low_frequencies(image: Tensor, coarse: Tensor) -> Tensor:
    """Return an image with the low frequencies of one at half the resolution."""
    height, width = image.shape[-2:]
    change = gaussian_blur(as_volume(coarse - halved(image)), LOW)
    change = F.interpolate(change, scale_factor=2, mode="bilinear")
    return image + change[..., :height, :width].reshape(image.shape)
