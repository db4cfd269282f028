"""Classical blending: Poisson's equation, the Laplacian pyramid, cut and paste.

The result is not clipped: but for `cut_and_paste` it can overshoot the range of the
images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.sparse.linalg import LinearOperator, cg

from napari_dip.errors import FitError, InputError
from napari_dip.tasks.arrays import Float
from napari_dip.tasks.blend import BlendRecipe, place
from napari_dip.tasks.recipe import check

Image = NDArray[np.float64]
"""(C, Y, X), or (Y, X) for the mask of a level of a pyramid."""

Mask = NDArray[np.bool_]

KERNEL = np.array([1, 4, 6, 4, 1]) / 16
"""Burt and Adelson's, along each axis."""


def cut_and_paste(
    foreground: Any,
    background: Any,
    mask: Any,
    *,
    offset: tuple[int, int] = (0, 0),
    channel_axis: int | str | None = "auto",
) -> Float:
    """Put the foreground's pixels in place of the background's.

    This is the second paper's "Alpha", with a binary mask.

    Parameters
    ----------
    foreground : array_like
        Image of which a part is wanted, (Y, X) or with channels; it may be smaller than
        the background.
    background : array_like
        Image to set it into, of the same number of channels.
    mask : array_like
        (Y, X), nonzero where the foreground is wanted.
    offset : tuple of int
        Row and column of the background where the foreground's first pixel lies; what
        falls outside is left out.
    channel_axis : int, "auto" or None
        Axis of colours or channels; "auto" takes a last axis of 3 or 4.

    Returns
    -------
    ndarray
        float32, of the shape of `background`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    """

    def method(front: Image, back: Image, inside: Mask) -> Image:
        return np.where(inside, front, back)

    return _blend(foreground, background, mask, offset, channel_axis, method)


def laplacian_blend(
    foreground: Any,
    background: Any,
    mask: Any,
    *,
    levels: int = 4,
    mask_gain: float = 1.0,
    offset: tuple[int, int] = (0, 0),
    channel_axis: int | str | None = "auto",
) -> Float:
    """Blend band by band in Laplacian pyramids.

    Parameters
    ----------
    foreground, background, mask, offset, channel_axis
        As in `cut_and_paste`.
    levels : int
        How many times the images are halved. 4 as in the program of the second
        paper: the widest seam is about 2 ** levels pixels to either side.
    mask_gain : float
        What the mask is multiplied by, then clipped to 1, after each halving, on top
        of the gains before. More than 1 lets the foreground reach further out. The
        second paper's program has 1.2; Burt and Adelson have 1.

    Returns
    -------
    ndarray
        float32, of the shape of `background`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.

    Notes
    -----
    Burt, Adelson, A Multiresolution Spline with Application to Image Mosaics (ACM TOG
    2(4), 1983): each band of frequencies is mixed by the mask smoothed to that band's
    scale.  Images are mirrored at their border pixels.
    """
    gain = check("mask_gain", mask_gain, float, low=0)

    def method(front: Image, back: Image, inside: Mask) -> Image:
        weights = inside.astype(np.float64)
        most = int(np.log2(min(inside.shape)))
        bands = []
        for _ in range(check("levels", levels, int, low=1, high=most)):
            coarse_front, coarse_back = _halve(front), _halve(back)
            fine_front = front - _double(coarse_front, front.shape)
            fine_back = back - _double(coarse_back, back.shape)
            bands.append(_mix(fine_front, fine_back, weights))
            front, back = coarse_front, coarse_back
            weights = np.clip(_halve(weights) * gain, 0, 1)
        blended = _mix(front, back, weights)
        for band in reversed(bands):
            blended = _double(blended, band.shape) + band
        return blended

    return _blend(foreground, background, mask, offset, channel_axis, method)


def poisson_blend(
    foreground: Any,
    background: Any,
    mask: Any,
    *,
    region: str = "mask",
    erosion: int = 3,
    offset: tuple[int, int] = (0, 0),
    channel_axis: int | str | None = "auto",
) -> Float:
    """Blend by gradients, solving Poisson's equation.

    Parameters
    ----------
    foreground, background, mask, offset, channel_axis
        As in `cut_and_paste`.
    region : str
        Which pixels may change. With "mask" all pixels outside the mask stay those of
        the background; the foreground takes on the colours along its outline. With
        "box" all pixels inside the mask's bounding box may change, as with OpenCV's
        seamlessClone, the "Poisson" of the second paper. (seamlessClone also moves the
        foreground by one pixel up or left if the box has an even number of rows or
        columns; this function does not.)
    erosion : int
        Pixels along the mask's outline, inside of it, where gradients are still the
        background's; 3 as in seamlessClone. A foreground is often cut out along the
        outline, and with the gradient of that cut the whole of it turns dark or
        bright. Parts of the mask less than ``2 * erosion + 1`` pixels wide have
        nothing of the foreground.

    Returns
    -------
    ndarray
        float32, of the shape of `background`.

    Raises
    ------
    InputError
        If an argument is not acceptable, or the mask is too thin for the erosion.
    FitError
        If the solver does not converge.

    Notes
    -----
    Perez, Gangnet, Blake, Poisson Image Editing (ACM TOG 22(3), 2003), equations 7 and
    11: the result equals the background around a region; within, it is the image whose
    gradients are closest, in the least-squares sense, to those of the foreground where
    the mask is, and of the background elsewhere.  "box" is solved by a sine transform,
    "mask" by conjugate gradients with a cosine transform as preconditioner, to about
    1e-7 of the images' range.
    """
    check("region", region, choices=("mask", "box"))
    side = 2 * check("erosion", erosion, int, low=0) + 1
    free = region == "mask"

    def method(front: Image, back: Image, inside: Mask) -> Image:
        # The border of the image is free with "mask": there the mask goes on outside.
        kept = ndimage.minimum_filter(inside, side, mode="constant", cval=free)
        if not kept.any():
            raise InputError(
                f"mask must be at least {side} pixels wide for an erosion of "
                f"{erosion}, or nothing is left of the foreground"
            )
        box = _bounding_box(inside, grow=free)
        inside, kept = inside[box], kept[box]
        # With result = background + change, known pixels have no change, and where
        # gradients are the background's there is nothing to solve.
        difference = (front - back)[:, *box]
        # A gradient goes by the upper or left one of its two pixels, and not across
        # the outline.
        down = np.diff(difference, axis=1) * (kept[:-1] & inside[1:])
        across = np.diff(difference, axis=2) * (kept[:, :-1] & inside[:, 1:])
        divergence = _divergence(down, across)
        blended = back.copy()
        blended[:, *box] += (
            _solve(inside, divergence) if free else _solve_box(divergence)
        )
        return blended

    return _blend(foreground, background, mask, offset, channel_axis, method)


def _blend(
    foreground: Any,
    background: Any,
    mask: Any,
    offset: Any,
    channel_axis: Any,
    method: Callable[[Image, Image, Mask], Image],
) -> Float:
    """Blend by a method for images on the same pixels."""
    recipe = BlendRecipe(offset=offset, channel_axis=channel_axis)
    layout, front, back, inside = place(recipe, foreground, background, mask)
    result: Float = layout.arrange(method(front, back, inside)).astype(np.float32)
    return result


def _mix(front: Image, back: Image, weights: Image) -> Image:
    return weights * front + (1 - weights) * back


def _smooth(image: Image, kernel: Image) -> Image:
    for axis in (-2, -1):
        image = ndimage.correlate1d(image, kernel, axis=axis, mode="mirror")
    return image


def _halve(image: Image) -> Image:
    return _smooth(image, KERNEL)[..., ::2, ::2]


def _double(image: Image, shape: tuple[int, ...]) -> Image:
    """Interpolate to the shape that `_halve` came from."""
    spread = np.zeros(shape)
    spread[..., ::2, ::2] = image
    # Every other value is 0, along each axis.
    return _smooth(spread, 2 * KERNEL)


def _bounding_box(inside: Mask, *, grow: bool) -> tuple[slice, ...]:
    """Return the rows and columns that hold the mask.

    Grown, there is a pixel more on each side and the lengths are ones that cosine
    transforms are fast at, as far as the image goes.
    """
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    if not grow:
        return tuple(box)
    grown = []
    for part, side in zip(box, inside.shape, strict=True):
        start, stop = max(part.start - 1, 0), min(part.stop + 1, side)
        length = min(fft.next_fast_len(stop - start, real=True), side)
        stop = min(start + length, side)
        grown.append(slice(stop - length, stop))
    return tuple(grown)


def _divergence(down: Image, across: Image) -> Image:
    """Return what flows out of each pixel; nothing does at the border.

    Both are from each pixel to the next, (..., Y - 1, X) and (..., Y, X - 1).
    """
    rows = np.diff(down, axis=-2, prepend=0, append=0)
    return rows + np.diff(across, axis=-1, prepend=0, append=0)


def _solve_box(divergence: Image) -> Image:
    """Return u with that divergence of its gradient, 0 along the box's edges."""
    solution = np.zeros_like(divergence)
    inner = divergence[:, 1:-1, 1:-1]
    if inner.size:
        # The sine transform diagonalises the problem.
        rows, columns = (
            2 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1)) - 2
            for side in inner.shape[1:]
        )
        transformed = fft.dstn(inner, type=1, axes=(1, 2)) / np.add.outer(rows, columns)
        solution[:, 1:-1, 1:-1] = fft.idstn(transformed, type=1, axes=(1, 2))
    return solution


def _solve(unknown: Mask, divergence: Image) -> Image:
    """Return u with that divergence of its gradient where unknown, 0 elsewhere.

    The first is (Y, X), not all true, the second (C, Y, X).
    """
    # The cosine transform diagonalises the problem with no pixel known, whose
    # constants cost nothing; any positive number in place of that 0 will do.
    rows, columns = (
        2 - 2 * np.cos(np.pi * np.arange(side) / side) for side in unknown.shape
    )
    spectrum = np.add.outer(rows, columns)
    spectrum[0, 0] = spectrum[spectrum > 0].min()

    def grid(values: Image) -> Image:
        plane = np.zeros(unknown.shape)
        plane[unknown] = values.ravel()
        return plane

    def negative_laplacian(values: Image) -> Image:
        u = grid(values)
        return -_divergence(np.diff(u, axis=0), np.diff(u, axis=1))[unknown]

    def nearly_inverse(values: Image) -> Image:
        return np.asarray(fft.idctn(fft.dctn(grid(values)) / spectrum))[unknown]

    count = int(unknown.sum())
    matrix = LinearOperator((count, count), negative_laplacian, dtype=np.float64)
    preconditioner = LinearOperator((count, count), nearly_inverse, dtype=np.float64)
    solution = np.zeros_like(divergence)
    for u, right in zip(solution, divergence, strict=True):
        # Errors of the result come out near this tolerance, in units of the image.
        values, failed = cg(matrix, -right[unknown], rtol=1e-7, M=preconditioner)
        if failed:
            raise FitError(
                f"Poisson's equation for {count} pixels was not solved within "
                f"{failed} steps of conjugate gradients"
            )
        u[unknown] = values
    return solution
