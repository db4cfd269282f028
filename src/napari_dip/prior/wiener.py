"""An empirical Wiener filter: a good estimate of the image guides it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior import interrupt
from napari_dip.prior.groups import as_volume
from napari_dip.prior.operators import cosines

SIDE = 8
"""Pixels along a block, as in JPEG and BM3D; 12 and 16 are as good, 4 is worse."""

STEP = 2
"""Pixels from block to block: a fifth of the time of 1 for 0.03 dB, which lets a fit be
shown while it runs."""

DEPTH = 4
"""Planes along a block of a volume; 8 are no better."""

STRIP = 1 << 16
"""Pixels that are filtered at once: each needs some hundred numbers."""


def wiener(noisy: Tensor, pilot: Tensor, variance: Tensor) -> Tensor:
    """Filter a noisy image with the spectrum of an estimate of it.

    Blocks of `SIDE` x `SIDE` pixels, `STEP` apart, are transformed (DCT), a coefficient
    Y is multiplied by ``P^2 / (P^2 + s^2)``, P being the pilot's and s^2 the noise
    variance, and the blocks transformed back; pixels are averaged over all blocks,
    weighted by the inverse of the noise that each has left.  Block means stay.  In a
    volume a block has `DEPTH` planes, and another one begins at every plane.  Channels
    are filtered as the principal components of the pilot's.

    Parameters
    ----------
    noisy : Tensor
        float32, (1, C, Y, X) or (1, C, Z, Y, X), with `SIDE` pixels or more along Y and
        X.  Its noise must be independent between pixels and channels.
    pilot : Tensor
        The estimate, of the same shape.
    variance : Tensor
        Of the noise at every pixel, of the same shape.

    Returns
    -------
    Tensor
        The filtered image, of the same shape.

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
    filtered = _filter_channels(
        mix_channels(noisy, rotation),
        mix_channels(pilot, rotation),
        mix_channels(variance, rotation.square()),
    )
    return mix_channels(filtered, rotation.T) * unit


def noise_unit(variance: Tensor) -> Tensor:
    """Return units of the channels in which their noise is alike, one in the mean."""
    spread = variance.mean(tuple(range(2, variance.ndim)), keepdim=True)
    unit = spread.clamp(min=1e-20).sqrt()
    return unit / unit.mean()


def mix_channels(image: Tensor, matrix: Tensor) -> Tensor:
    """Apply a matrix to the channels of an image, (1, C, ...)."""
    return torch.einsum("ij,nj...->ni...", matrix, image)


def _filter_channels(noisy: Tensor, pilot: Tensor, variance: Tensor) -> Tensor:
    height, width = noisy.shape[-2:]
    # With this margin the last step still covers the last pixel.
    margin = SIDE - 1
    padded = torch.stack(
        [
            F.pad(as_volume(image), [margin] * 4, mode="reflect")
            for image in (noisy, pilot, variance)
        ]
    )
    planes = padded.shape[2]
    rows = max(STRIP // (planes * width) // STEP * STEP, SIDE)
    result = torch.empty_like(noisy).reshape(-1, planes, height, width)
    for channel, out in zip(padded.unbind(1), result, strict=True):
        for top in range(0, height, rows):
            interrupt.check()
            count = min(rows, height - top)
            strip = channel[..., top : top + count + 2 * margin, :]
            averages = _filter_blocks(strip)[..., margin:, margin:]
            out[:, top : top + count] = averages[:, :count, :width]
    return result.reshape(noisy.shape)


def _filter_blocks(images: Tensor) -> Tensor:
    """Filter the blocks of (3, Z, H, W): noisy image, pilot and variance."""
    depth = min(DEPTH, images.shape[1])
    basis = _basis(images)
    flat = images[:2].flatten(0, 1)[:, None]
    blocks = F.conv2d(flat, basis, stride=STEP).unflatten(0, images[:2].shape[:2])
    area = torch.ones_like(basis[:1])
    levels = F.conv2d(images[2][:, None], area / SIDE**2, stride=STEP)
    along = cosines(depth).to(images)
    total, weights = torch.zeros_like(blocks[0]), torch.zeros_like(levels)
    for first in range(images.shape[1] - depth + 1):
        near = slice(first, first + depth)
        noisy, pilot = torch.einsum("kz,nz...->nk...", along, blocks[:, near])
        power = pilot.square()
        gain = power / (power + levels[near].mean(dim=0)).clamp(min=1e-20)
        # Otherwise an offset of the image would change how much of its noise remains.
        gain[0, 0] = 1
        weight = 1 / gain.square().sum(dim=(0, 1))
        total[near] += torch.einsum("kz,k...->z...", along, weight * gain * noisy)
        weights[near] += weight
    image = F.conv_transpose2d(total, basis, stride=STEP)
    return (image / F.conv_transpose2d(weights, area, stride=STEP))[:, 0]


def _basis(like: Tensor) -> Tensor:
    """Return the cosines of a block, (SIDE^2, 1, SIDE, SIDE), the constant first."""
    rows = cosines(SIDE)
    return torch.kron(rows, rows).reshape(-1, 1, SIDE, SIDE).to(like)
