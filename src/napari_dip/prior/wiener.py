"""An empirical Wiener filter: a noisy image, with a good estimate of it to guide."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior.operators import cosines

SIDE = 8
"""Of the blocks: as in JPEG and BM3D; 12 and 16 are as good, 4 is worse."""

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
        Of the noise, independent between pixels and channels; of the same shape.

    Returns
    -------
    Tensor
        Of the shape of `noisy`.

    Notes
    -----
    The second step of BM3D (Dabov et al., Image Denoising by Sparse 3-D
    Transform-Domain Collaborative Filtering, 2007) on single blocks, with its weights
    for aggregation; before it Ghael, Sayeed, Baraniuk, Improved wavelet denoising via
    empirical Wiener filtering (1997).
    """
    channels = noisy.shape[1]
    flat = pilot.transpose(0, 1).reshape(channels, -1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    # The CPU's eigenvectors, in double, which not every device has.
    turn = torch.linalg.eigh((flat @ flat.T).cpu().double())[1].T.to(noisy)
    filtered = _filtered(
        _turned(noisy, turn), _turned(pilot, turn), _turned(variance, turn.square())
    )
    return _turned(filtered, turn.T)


def _turned(image: Tensor, matrix: Tensor) -> Tensor:
    """Apply a matrix to the channels."""
    return torch.einsum("ij,nj...->ni...", matrix, image)


def _filtered(noisy: Tensor, pilot: Tensor, variance: Tensor) -> Tensor:
    """Filter every plane of every channel by itself."""
    height, width = noisy.shape[-2:]
    # One pixel more than a block reaches, where the last step falls short.
    margin = SIDE - 1

    def planes(image: Tensor) -> Tensor:
        flat = image.reshape(-1, 1, height, width)
        return F.pad(flat, [margin] * 4, mode="reflect")

    wide = torch.stack([planes(noisy), planes(pilot), planes(variance)])
    rows = max(STRIP // width // STEP * STEP, SIDE)
    result = torch.empty_like(noisy).reshape(-1, 1, height, width)
    for plane, out in zip(wide.unbind(1), result, strict=True):
        for top in range(0, height, rows):
            count = min(rows, height - top)
            strip = plane[..., top : top + count + 2 * margin, :]
            found = _averages(strip)[0, :, margin:, margin:]
            out[:, top : top + count] = found[:, :count, :width]
    return result.reshape(noisy.shape)


def _averages(images: Tensor) -> Tensor:
    """Filter (3, 1, H, W): noisy image, pilot and variance."""
    basis = _basis(images)
    noisy, pilot = F.conv2d(images[:2], basis, stride=STEP).split(1)
    area = torch.ones_like(basis[:1])
    level = F.conv2d(images[2:], area / SIDE**2, stride=STEP)
    power = pilot.square()
    gain = power / (power + level).clamp(min=1e-20)
    # Otherwise an offset of the image would change what is left of its noise.
    gain[:, 0] = 1
    weight = 1 / gain.square().sum(dim=1, keepdim=True)
    total = F.conv_transpose2d(weight * gain * noisy, basis, stride=STEP)
    return total / F.conv_transpose2d(weight, area, stride=STEP)


def _basis(like: Tensor) -> Tensor:
    """Return the cosines of a block, (SIDE^2, 1, SIDE, SIDE), the constant first."""
    rows = cosines(SIDE)
    products = torch.einsum("ai,bj->abij", rows, rows)
    return products.reshape(-1, 1, SIDE, SIDE).to(like)
