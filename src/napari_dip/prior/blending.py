"""The loss of deep image prior blending: seven terms over three regions.

Second paper, section 4.2 and appendix A3.  Inside the foreground gradients count
and colours are free, outside the background counts, and between them gradients go
over from one to the other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior.operators import luma
from napari_dip.prior.terms import Term

SCALES = (1, 2, 4)
"""Scales of the gradient term; the paper leaves S open and has these for inpainting."""

# Sides of boxes, from the published program.
LOW_PASS = 31
"""Side of the box that leaves the low frequencies."""

ILLUMINATION = 61
"""Side of the box that leaves the illumination of the gray image."""

TENSOR = 7
"""Side of the box over which the structure tensor is averaged."""

SOFTENING = (3, 51, 51, 51, 51)
"""Sides of the boxes that make the soft map of a mask."""

EPSILON = 1e-3
"""Gradients below this have no direction."""


def box(image: Tensor, side: int) -> Tensor:
    """Average (N, C, Y, X) over squares of an odd side, mirrored at the borders.

    A side that the mirror cannot fill is cut to the largest one that it can.
    """
    for axis in (2, 3):
        radius = min(side // 2, image.shape[axis] - 1)
        margin = [0, 0, radius, radius] if axis == 2 else [radius, radius, 0, 0]
        window = (2 * radius + 1, 1) if axis == 2 else (1, 2 * radius + 1)
        image = F.avg_pool2d(F.pad(image, margin, mode="reflect"), window, 1)
    return image


def scaled(side: int, scale: float) -> int:
    """Return a box's side, or the odd number next to it for images of another size."""
    return side if scale == 1 else max(3, 2 * round((scale * side - 1) / 2) + 1)


def soft_map(mask: Tensor, scale: float = 1.0) -> Tensor:
    """Return the soft map alpha of a mask, (1, 1, Y, X), 1 inside, 0 outside."""
    for side in SOFTENING:
        mask = box(mask, scaled(side, scale))
    return mask


def sobel(image: Tensor) -> Tensor:
    """Return the gradient of (1, C, Y, X) as (2, C, Y, X): along rows, along columns.

    Sobel's kernels as they are written, whose response to a ramp of 1 per pixel
    is 8.
    """
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    across = padded[..., :, 2:] - padded[..., :, :-2]
    down = padded[..., 2:, :] - padded[..., :-2, :]
    gx = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    gy = down[..., :, :-2] + 2 * down[..., :, 1:-1] + down[..., :, 2:]
    return torch.cat([gy, gx])


def direction(gradient: Tensor) -> Tensor:
    """Return unit vectors along a gradient (2, C, Y, X), shorter where it vanishes."""
    length = (gradient.square().sum(0, keepdim=True) + EPSILON**2).sqrt()
    return gradient / length


def tangent(image: Tensor) -> Tensor:
    """Return the direction along the texture of an image, (2, 1, Y, X).

    Appendix A3: ``t = (-sin theta, cos theta)`` as (x, y), with theta the direction
    of the structure tensor's larger eigenvalue, ``1/2 atan2(2 Jxy, Jxx - Jyy)``;
    the tensor is averaged over `TENSOR` pixels and the channels.
    """
    gy, gx = sobel(image)
    jxx, jyy, jxy = (
        box(product.mean(0, keepdim=True)[None], TENSOR)
        for product in (gx * gx, gy * gy, gx * gy)
    )
    theta = 0.5 * torch.atan2(2 * jxy, jxx - jyy)
    return torch.cat([theta.cos(), -theta.sin()])


def gray(image: Tensor) -> Tensor:
    """Return the luma of three channels, the mean of any other number."""
    return luma(image) if image.shape[1] == 3 else image.mean(1, keepdim=True)


class Blending(Term):
    """Appendix A3's objective for one pair; everything constant is computed once.

    The images, A and B, are in about [0, 1]; the mask is 1 where the foreground is
    wanted; the factors are the weights of the seven terms, in the order of
    `parts`.

    With `widening` the soft map alpha ** gamma changes as the formula says: gamma = 1 +
    4 (1 - t / T) begins with a narrow foreground and ends with alpha itself; the
    paper's prose says the opposite.

    `scale` is that of the boxes of the soft map, the low frequencies and the
    illumination, whose published sides are for images of some 670 pixels.

    With `cut` the foreground ends at the mask: gradients that reach beyond it are the
    background's then.  The paper's terms take the foreground's as far as the soft map
    goes, and with it the frame that many cut-out images have.
    """

    def __init__(
        self,
        foreground: Tensor,
        background: Tensor,
        mask: Tensor,
        factors: tuple[float, ...],
        *,
        widening: bool = True,
        scale: float = 1.0,
        cut: bool = False,
    ) -> None:
        self.background, self.factors, self.widening = background, factors, widening
        self.alpha = soft_map(mask, scale)
        self.sides = scaled(LOW_PASS, scale), scaled(ILLUMINATION, scale)
        self.low = box(background, self.sides[0])
        self.illumination = box(gray(background), self.sides[1])
        self.gradients = []
        for s in SCALES:
            front, back = (sobel(_shrink(i, s)) for i in (foreground, background))
            if cut:
                # Sobel's filter and the average reach no further than this.
                front = torch.where(_within(_shrink(mask, s)), front, back)
            self.gradients.append(front)
        self.directions = direction(self.gradients[0])
        self.background_gradient = sobel(background)
        self.tangent = tangent(background)
        self.texture = self._along(self.background_gradient)
        self.now = torch.empty_like(self.alpha)
        self.anneal(0.0)

    def anneal(self, done: float) -> None:
        """Set the soft map for a part `done` of the iterations."""
        left = 1 - done if self.widening else done
        self.now.copy_(self.alpha.clamp(0, 1) ** (1 + 4 * left))

    def __call__(self, prediction: Tensor, measurement: Tensor) -> Tensor:
        """Return how much a pixel differs from the background, where that counts."""
        return (1 - self.now) * (prediction - self.background).square()

    def mean(self, prediction: Tensor, measurement: Tensor, weight: Tensor) -> Tensor:
        """Return the weighted sum of the seven parts of the loss."""
        pairs = zip(self.factors, self.parts(prediction), strict=True)
        return sum((f * part for f, part in pairs), prediction.new_zeros(()))

    def parts(self, fused: Tensor) -> list[Tensor]:
        """Return the seven parts of the loss, each a mean over pixels."""
        inside, outside = self.now, 1 - self.now
        between = 4 * inside * outside
        pixel = (outside * (fused - self.background).square()).mean()
        low = (outside * (box(fused, self.sides[0]) - self.low).square()).mean()
        light = box(gray(fused), self.sides[1]) - self.illumination
        illumination = (outside * light.square()).mean()
        gradient = sobel(fused)
        multiscale = fused.new_zeros(())
        for scale, wanted in zip(SCALES, self.gradients, strict=True):
            coarse = gradient if scale == 1 else sobel(_shrink(fused, scale))
            weight = _shrink(inside, scale)
            multiscale = multiscale + (weight * _length(coarse - wanted)).mean()
        # 1 - cos of the angle, as half the squared distance of the unit vectors: at
        # a perfect match its gradient is exactly zero.
        apart = direction(gradient) - self.directions
        turned = 0.5 * (inside * apart.square().sum(0, keepdim=True)).mean()
        passing = self.background_gradient + inside * (
            self.gradients[0] - self.background_gradient
        )
        blending = (between * _length(gradient - passing)).mean()
        texture = (between * (self._along(gradient) - self.texture).abs()).mean()
        return [
            pixel,
            low,
            illumination,
            multiscale / len(SCALES),
            turned,
            blending,
            texture,
        ]

    def _along(self, gradient: Tensor) -> Tensor:
        """Return the derivative along the background's texture, (1, C, Y, X)."""
        return (gradient * self.tangent).sum(0, keepdim=True)


def _length(gradient: Tensor) -> Tensor:
    return gradient.abs().sum(0, keepdim=True)


def _within(mask: Tensor) -> Tensor:
    """Return where a mask is 1 all around."""
    padded = F.pad(mask, (1, 1, 1, 1), mode="replicate")
    return -F.max_pool2d(-padded, 3, 1) >= 1


def _shrink(image: Tensor, scale: int) -> Tensor:
    return image if scale == 1 else F.avg_pool2d(image, scale, ceil_mode=True)
