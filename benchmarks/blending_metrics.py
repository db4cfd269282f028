"""The second paper's measures of blended images (appendix A4, Tables 5 and 6).

None of them tells a good blend from a bad one by itself: each has an input that scores
high and looks wrong, and its description says which.  Report all four, and look at the
images.

Images are (Y, X) or (Y, X, 3) with values in [0, 1]: the blend, and what it was made
from.  `weights`, (Y, X), 0 or more, say where the transition region is, in any scale,
such as the published gap images' 0 to 255.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity

from benchmarks.common import luma

Array = NDArray[np.float64]

EPSILON = 1e-6
"""Keeps the denominators from 0."""

GAUSSIAN = np.array([1, 3.5, 7, 9, 7, 3.5, 1]) / 32
"""What OpenCV takes for a Gaussian of 7 pixels when it may choose the width."""


def gff(image: Array, foreground: Array, background: Array, weights: Any) -> float:
    """Return the gradient-based fusion factor.

    At each pixel the source S with the steeper gradient is what the blend F is held
    against, by magnitude G and direction theta ::

        Q = 2 G_F G_S / (G_F ** 2 + G_S ** 2 + 1e-6) (1 + cos(theta_F - theta_S)) / 2

    and GFF is the mean of Q weighted by the transition region. Gradients are Sobel's,
    of luma. From 0 to 1, higher is better by the paper.

    Where all images are flat Q is 0, not 1, so a smooth background lowers the score of
    any blend. The steeper source is preferred at every pixel, even a foreground's cut
    edge that a good blend removes. A copy of the background scores above every method
    of the paper on its first pair (0.789 to at most 0.667).
    """
    gray = {"image": image, "foreground": foreground, "background": background}
    slope = {name: sobel(luma(array)) for name, array in gray.items()}
    size = {name: np.hypot(*xy) for name, xy in slope.items()}
    angle = {name: np.arctan2(xy[1], xy[0]) for name, xy in slope.items()}
    front = size["foreground"] >= size["background"]
    reference = np.where(front, size["foreground"], size["background"])
    turn = angle["image"] - np.where(front, angle["foreground"], angle["background"])
    alike = 2 * size["image"] * reference
    alike /= size["image"] ** 2 + reference**2 + EPSILON
    return float(np.average(alike * (1 + np.cos(turn)) / 2, weights=weights))


def gfp(image: Array, foreground: Array, background: Array) -> float:
    """Return the gradient fusion performance.

    The mean over the whole image, not the transition region, of ``G_F / (max(G_A, G_B)
    + 1e-6)``, G being the magnitude of Sobel's gradient of luma, A the foreground and
    B the background. By the paper higher is better; 1 says that the blend is as steep
    as its sources.

    Pixels where both sources are flat sway it. There a step of one level in 255 counts
    some 15 000, so that a handful decide the mean: in the published Laplacian rows
    (1.86 and 1.93) fewer than 0.1 % of the pixels make up more than half of the score,
    while the median is 1.00 and 0.97. Above 1 it mostly measures noise in flat places.
    """
    # The program mirrors at the border pixel here, and beside it for the others.
    blend, front, back = (
        np.hypot(*sobel(luma(array), "mirror"))
        for array in (image, foreground, background)
    )
    return float(np.mean(blend / (np.maximum(front, back) + EPSILON)))


def bsi(image: Array, weights: Any) -> float:
    """Return the boundary smoothness index.

    The mean, weighted by the transition region, of ::

        1 / (|G_F - smoothed G_F| + 1e-6)

    with the magnitude G_F of Sobel's gradient, smoothed by OpenCV's 7-pixel Gaussian.
    As in the program behind the tables, Sobel's filter of a colour image runs over its
    channels as one more axis to smooth along, with 1, 2, 1, and the reciprocal is taken
    per channel and then weighted as luma is. By the paper higher is better.

    Flat pixels sway it: they count up to 1e6 each where others count 2 to 20. In the
    published rows one pixel in a thousand makes up 38 to 62 % of the score. Rounding
    the Laplacian blend of the first pair to 8 bits, where the program truncates it,
    turns its 27.95 into 14.1. A copy of the background scores 572 on the second pair,
    more than three of the four published methods; an image of one colour scores the
    most there is.
    """
    size = np.hypot(*sobel(np.asarray(image)))
    smooth = size
    for axis in (0, 1):
        smooth = ndimage.correlate1d(smooth, GAUSSIAN, axis=axis, mode="mirror")
    smoothness = luma(1 / (np.abs(size - smooth) + EPSILON))
    return float(np.average(smoothness, weights=weights))


def ssim_transition(image: Array, background: Array, weights: Any) -> float:
    """Return the structural similarity to the background ("masked SSIM").

    The map of SSIM between the luma of the blend and that of the background (a flat
    window of 7 pixels), averaged with the weights of the transition region.

    The foreground plays no part. A copy of the background, without any trace of the
    foreground, scores 1.0, the most there is, and a blend that lets the foreground fade
    scores more than one that keeps it.
    """
    _, similarity = structural_similarity(
        luma(image), luma(background), data_range=1.0, full=True
    )
    return float(np.average(similarity, weights=weights))


def sobel(array: Array, mode: str = "reflect") -> tuple[Array, Array]:
    """Return Sobel's derivatives along X and Y."""
    return ndimage.sobel(array, 1, mode=mode), ndimage.sobel(array, 0, mode=mode)
