"""An empirical Wiener filter: a good estimate of the image guides it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior import interrupt
from napari_dip.prior.operators import cosines

SIDE = 8
"""Pixels along a block, as in JPEG and BM3D; 12 and 16 are as good, 4 is worse."""

STEP = 2
"""Pixels from block to block: a fifth of the time of 1 for 0.03 dB, which lets a fit be
shown while it runs."""

STRIP = 1 << 16
"""Pixels that are filtered at once: each needs some hundred numbers."""


def wiener(noisy: Tensor, pilot: Tensor, variance: Tensor) -> Tensor:
    """Filter a noisy image with the spectrum of an estimate of it.

    Blocks of `SIDE` x `SIDE` pixels, `STEP` apart, are transformed (DCT), a coefficient
    Y is multiplied by ``P^2 / (P^2 + s^2)``, P being the pilot's and s^2 the noise
    variance, and the blocks transformed back; pixels are averaged over all blocks,
    weighted by the inverse of the noise that each has left.  Block means stay.
    Channels are filtered as the principal components of the pilot's.

    Parameters
    ----------
    noisy, pilot : Tensor
        float32, (1, C, Y, X) or (1, C, Z, Y, X), of which every plane is filtered
        by itself; `SIDE` pixels a side or more along Y and X.
    variance : Tensor
        Variance of the noise, of the same shape; the noise must be independent between
        pixels and channels.

    Returns
    -------
    Tensor
        Filtered image, of the shape of `noisy`.

    Notes
    -----
    The second step of BM3D (Dabov et al., Image Denoising by Sparse 3-D
    Transform-Domain Collaborative Filtering, 2007) on single blocks, with its weights
    for aggregation; before it Ghael, Sayeed, Baraniuk, Improved wavelet denoising via
    empirical Wiener filtering (1997).
    """
    # Components keep the noise apart only where it is alike in all channels.
    unit = noise_unit(variance)
    noisy, pilot, variance = noisy / unit, pilot / unit, variance / unit.square()
    channels = noisy.shape[1]
    flat = pilot.transpose(0, 1).reshape(channels, -1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    # The CPU's eigenvectors, in double, which not every device has.
    rotation = torch.linalg.eigh((flat @ flat.T).cpu().double())[1].T.to(noisy)
    filtered = _filter_planes(
        _mix_channels(noisy, rotation),
        _mix_channels(pilot, rotation),
        _mix_channels(variance, rotation.square()),
    )
    return _mix_channels(filtered, rotation.T) * unit


def noise_unit(variance: Tensor) -> Tensor:
    """Return units of the channels in which their noise is alike, one in the mean."""
    spread = variance.mean(tuple(range(2, variance.ndim)), keepdim=True)
    unit = spread.clamp(min=1e-20).sqrt()
    return unit / unit.mean()


def _mix_channels(image: Tensor, matrix: Tensor) -> Tensor:
    """Apply a matrix to the channels."""
    return torch.einsum("ij,nj...->ni...", matrix, image)


def _filter_planes(noisy: Tensor, pilot: Tensor, variance: Tensor) -> Tensor:
    """Filter every plane of every channel by itself."""
    height, width = noisy.shape[-2:]
    # With this margin the last step still covers the last pixel.
    margin = SIDE - 1

    def planes(image: Tensor) -> Tensor:
        flat = image.reshape(-1, 1, height, width)
        return F.pad(flat, [margin] * 4, mode="reflect")

    padded = torch.stack([planes(noisy), planes(pilot), planes(variance)])
    rows = max(STRIP // width // STEP * STEP, SIDE)
    result = torch.empty_like(noisy).reshape(-1, 1, height, width)
    for plane, out in zip(padded.unbind(1), result, strict=True):
        for top in range(0, height, rows):
            interrupt.check()
            count = min(rows, height - top)
            strip = plane[..., top : top + count + 2 * margin, :]
            averages = _filter_blocks(strip)[0, :, margin:, margin:]
            out[:, top : top + count] = averages[:, :count, :width]
    return result.reshape(noisy.shape)


def _filter_blocks(images: Tensor) -> Tensor:
    """Filter the blocks of (3, 1, H, W): noisy image, pilot and variance."""
    basis = _basis(images)
    noisy, pilot = F.conv2d(images[:2], basis, stride=STEP).split(1)
    area = torch.ones_like(basis[:1])
    level = F.conv2d(images[2:], area / SIDE**2, stride=STEP)
    power = pilot.square()
    gain = power / (power + level).clamp(min=1e-20)
    # Otherwise an offset of the image would change how much of its noise remains.
    gain[:, 0] = 1
    weight = 1 / gain.square().sum(dim=1, keepdim=True)
    total = F.conv_transpose2d(weight * gain * noisy, basis, stride=STEP)
    return total / F.conv_transpose2d(weight, area, stride=STEP)


def _basis(like: Tensor) -> Tensor:
    """Return the cosines of a block, (SIDE^2, 1, SIDE, SIDE), the constant first."""
    rows = cosines(SIDE)
    products = torch.einsum("ai,bj->abij", rows, rows)
    return products.reshape(-1, 1, SIDE, SIDE).to(like)
