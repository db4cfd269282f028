"""Classical blending: pasting, the Laplacian pyramid and Poisson's equation.

What blending by the deep image prior is compared with. Each function puts the
part of a foreground that a mask selects into a background of the same size, in
place: nothing is shifted, and no argument is written to. Values keep their scale
and are not clipped; pyramids and Poisson's equation can overshoot the range of
the images.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage
from scipy.sparse.linalg import LinearOperator, cg

from napari_dip.errors import FitError, InputError
from napari_dip.tasks.arrays import as_array

Image = NDArray[np.floating[Any]]


def alpha(foreground: ArrayLike, background: ArrayLike, mask: ArrayLike) -> Image:
    """Mix two images, ``mask * foreground + (1 - mask) * background``.

    With a binary mask this is cut and paste, the second paper's "Alpha".

    Parameters
    ----------
    foreground, background : array_like of float
        Of one shape, (Y, X) or (Y, X, C).
    mask : array_like of bool or float
        (Y, X), share of the foreground, from 0 to 1.

    Returns
    -------
    ndarray of float
        Of the images' shape; float64 if one of them is, else float32.

    Raises
    ------
    InputError
        If shapes do not fit, images are not of finite floats, or the mask is
        neither bool nor from 0 to 1.
    """
    front, back, weights = _arguments(foreground, background, mask)
    return _mix(front, back, weights)


def laplacian(
    foreground: ArrayLike,
    background: ArrayLike,
    mask: ArrayLike,
    *,
    levels: int = 4,
    mask_gain: float = 1.0,
) -> Image:
    """Blend two images band by band in their Laplacian pyramids.

    Burt & Adelson, A Multiresolution Spline with Application to Image Mosaics, ACM
    TOG 2(4), 1983: each band of frequencies is mixed by the mask smoothed to that
    band's scale, with the kernel (1, 4, 6, 4, 1) / 16; images are mirrored at their
    border pixels.

    Parameters
    ----------
    foreground, background : array_like of float
        Of one shape, (Y, X) or (Y, X, C).
    mask : array_like of bool or float
        (Y, X), share of the foreground, from 0 to 1.
    levels : int
        How many times the images are halved. 4 as in the program of the second
        paper: the widest seam is about 2 ** levels pixels to either side.
    mask_gain : float
        What the mask is multiplied with, then clipped to 1, after each halving,
        on top of the gains before. More than 1 lets the foreground reach further
        out. The second paper's program has 1.2; Burt & Adelson have 1.

    Returns
    -------
    ndarray of float
        Of the images' shape; float64 if one of them is, else float32.

    Raises
    ------
    InputError
        If shapes do not fit, images are not of finite floats, the mask is neither
        bool nor from 0 to 1, there are too many levels for the image, or the gain
        is not positive.
    """
    front, back, weights = _arguments(foreground, background, mask)
    most = int(np.log2(min(front.shape[:2])))
    if not isinstance(levels, (int, np.integer)) or levels < 1:
        raise InputError(f"levels must be an integer of at least 1; got {levels!r}")
    if levels > most:
        raise InputError(
            f"levels must be at most {most} for images of shape {front.shape}, which "
            f"are halved that often; got {levels}"
        )
    if not isinstance(mask_gain, (int, float, np.number)) or not 0 < mask_gain < np.inf:
        raise InputError(f"mask_gain must be a positive number; got {mask_gain!r}")
    bands = []
    for _ in range(levels):
        smaller = _halve(front), _halve(back)
        bands.append(
            _mix(
                front - _double(smaller[0], front.shape),
                back - _double(smaller[1], back.shape),
                weights,
            )
        )
        front, back = smaller
        weights = np.clip(_halve(weights) * mask_gain, 0, 1).astype(weights.dtype)
    blended = _mix(front, back, weights)
    for band in reversed(bands):
        blended = _double(blended, band.shape) + band
    return blended


def poisson(
    foreground: ArrayLike,
    background: ArrayLike,
    mask: ArrayLike,
    *,
    region: Literal["mask", "box"] = "mask",
    erosion: int = 3,
) -> Image:
    """Blend two images by their gradients, solving Poisson's equation.

    The result equals the background around a region; within, it is the image whose
    gradients are closest, in the least-squares sense, to those of the foreground
    where the mask is, and of the background elsewhere (Perez, Gangnet & Blake,
    Poisson Image Editing, ACM TOG 22(3), 2003, eqs. 7 and 11).

    With region "mask" all pixels outside the mask stay those of the background to
    the bit; the foreground takes on the colours along its outline. With "box" all
    pixels inside the mask's bounding box may change, so that the background changes
    too, around the mask. That is what OpenCV's seamlessClone does, the "Poisson" of
    the second paper. (seamlessClone further moves the foreground by one pixel up or
    left if the box has an even number of rows or columns; this function does not.)

    "box" is solved by a sine transform, "mask" by conjugate gradients with a cosine
    transform as preconditioner, to about 1e-7 of the images' range.

    Parameters
    ----------
    foreground, background : array_like of float
        Of one shape, (Y, X) or (Y, X, C).
    mask : array_like of bool or float
        (Y, X), foreground where it is at least 0.5. It may touch the border of the
        image, which "mask" leaves free and "box" fixes to the background.
    region : {"mask", "box"}
        Which pixels may change.
    erosion : int
        Pixels along the mask's outline, inside of it, where gradients are the
        background's still; 3 as in seamlessClone. A foreground is often cut out
        along the outline, and with the gradient of that cut the whole of it turns
        dark or bright. Parts of the mask less than ``2 * erosion + 1`` pixels wide
        have nothing of the foreground.

    Returns
    -------
    ndarray of float
        Of the images' shape; float64 if one of them is, else float32.

    Raises
    ------
    InputError
        If shapes do not fit, images are not of finite floats, the mask is neither
        bool nor from 0 to 1, covers the whole image or is too thin for the
        erosion, the region has another name, or the erosion is negative.
    FitError
        If the solver does not converge.
    """
    front, back, weights = _arguments(foreground, background, mask)
    inside = weights >= 0.5
    if region not in ("mask", "box"):
        raise InputError(f'region must be "mask" or "box"; got {region!r}')
    if not isinstance(erosion, (int, np.integer)) or erosion < 0:
        raise InputError(f"erosion must be an integer of at least 0; got {erosion!r}")
    if inside.all():
        raise InputError(
            "mask must leave background, whose colours the foreground takes on; it "
            "covers the whole image"
        )
    blended = back.copy()
    if not inside.any():
        return blended
    side = 2 * int(erosion) + 1
    beyond = region == "mask"  # whether the mask goes on outside the image
    kept = ndimage.minimum_filter(inside, side, mode="constant", cval=beyond)
    if not kept.any():
        raise InputError(
            f"mask must be at least {side} pixels wide for an erosion of {erosion}, "
            f"or nothing is left of the foreground"
        )
    box = _bounding_box(inside, grow=region == "mask")
    inside, kept = inside[box], kept[box]
    # With result = background + change, known pixels have no change, and where
    # gradients are the background's there is nothing to solve.
    difference = (front[box] - back[box]).astype(np.float64)
    difference = difference.reshape(*inside.shape, -1)
    # A gradient goes by the upper or left one of its two pixels, and not across the
    # outline.
    down = np.diff(difference, axis=0)
    down *= (kept[:-1] & inside[1:])[..., np.newaxis]
    across = np.diff(difference, axis=1)
    across *= (kept[:, :-1] & inside[:, 1:])[..., np.newaxis]
    divergence = _divergence(down, across)
    change = _solve(inside, divergence) if region == "mask" else _solve_box(divergence)
    blended[box] += change.reshape(blended[box].shape).astype(blended.dtype)
    return blended


def _arguments(
    foreground: ArrayLike, background: ArrayLike, mask: ArrayLike
) -> tuple[Image, Image, Image]:
    """Check the arguments; return two images and weights, (Y, X), of one dtype."""
    images = {}
    for name, value in (("foreground", foreground), ("background", background)):
        image = np.asarray(as_array(value, name))
        if image.dtype.kind != "f" or image.ndim not in (2, 3):
            raise InputError(
                f"{name} must be an array of floats, (Y, X) or (Y, X, C); got "
                f"{image.dtype} of shape {image.shape}"
            )
        if not np.isfinite(image).all():
            raise InputError(f"{name} must be finite; got NaN or infinite values")
        images[name] = image
    front, back = images["foreground"], images["background"]
    if front.shape != back.shape:
        raise InputError(
            f"foreground and background must have one shape; got {front.shape} and "
            f"{back.shape}"
        )
    weights = np.asarray(as_array(mask, "mask"))
    if weights.shape != front.shape[:2]:
        raise InputError(
            f"mask must be (Y, X) as the images are, {front.shape[:2]}; got "
            f"{weights.shape}"
        )
    unit = weights.dtype.kind in "bf" and bool(((weights >= 0) & (weights <= 1)).all())
    if not unit:
        raise InputError(
            f"mask must be bool, or float from 0 to 1; got {weights.dtype} from "
            f"{weights.min()} to {weights.max()}"
        )
    dtype = np.result_type(front, back, np.float32)
    if dtype.itemsize > 8:
        dtype = np.dtype(np.float64)
    return front.astype(dtype), back.astype(dtype), weights.astype(dtype)


def _mix(front: Image, back: Image, weights: Image) -> Image:
    """Return the weighted mean of two images."""
    weights = weights.reshape(*weights.shape, *[1] * (front.ndim - 2))
    mixed: Image = weights * front + (1 - weights) * back
    return mixed


_KERNEL = np.array([1, 4, 6, 4, 1]) / 16


def _smooth(image: Image, kernel: NDArray[np.float64]) -> Image:
    for axis in (0, 1):
        image = ndimage.correlate1d(image, kernel, axis=axis, mode="mirror")
    return image


def _halve(image: Image) -> Image:
    """Smooth and keep every other row and column."""
    return _smooth(image, _KERNEL)[::2, ::2]


def _double(image: Image, shape: tuple[int, ...]) -> Image:
    """Interpolate to the shape that `_halve` came from."""
    wide = np.zeros(shape, image.dtype)
    wide[::2, ::2] = image
    # Every other value is 0, along each axis.
    return _smooth(wide, 2 * _KERNEL)


def _bounding_box(inside: NDArray[np.bool_], *, grow: bool) -> tuple[slice, slice]:
    """Return the rows and columns that hold the mask.

    Grown, there is a pixel more on each side and the lengths are ones that cosine
    transforms are fast at, as far as the image goes.
    """
    slices = []
    for axis, whole in enumerate(inside.shape):
        marked = np.flatnonzero(inside.any(axis=1 - axis))
        start, stop = int(marked[0]), int(marked[-1]) + 1
        if grow:
            start, stop = max(start - 1, 0), min(stop + 1, whole)
            length = min(fft.next_fast_len(stop - start, real=True), whole)
            stop = min(start + length, whole)
            start = stop - length
        slices.append(slice(start, stop))
    return slices[0], slices[1]


def _divergence(
    down: NDArray[np.float64], across: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what flows out of each pixel; nothing does at the border.

    Parameters
    ----------
    down, across : ndarray
        (Y - 1, X, ...) and (Y, X - 1, ...), from each pixel to the next.
    """
    total = np.zeros((across.shape[0], *down.shape[1:]))
    total[:-1] += down
    total[1:] -= down
    total[:, :-1] += across
    total[:, 1:] -= across
    return total


def _solve_box(divergence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return u with that divergence of its gradient, 0 along the box's edges.

    Parameters
    ----------
    divergence : ndarray of float
        (Y, X, C), of which the edges do not count.
    """
    solution = np.zeros_like(divergence)
    inner = divergence[1:-1, 1:-1]
    if inner.size:
        # The sine transform diagonalises the problem.
        rows, columns = (
            2 * np.cos(np.pi * np.arange(1, side + 1) / (side + 1)) - 2
            for side in inner.shape[:2]
        )
        spectrum = np.add.outer(rows, columns)[..., np.newaxis]
        transformed = fft.dstn(inner, type=1, axes=(0, 1)) / spectrum
        solution[1:-1, 1:-1] = fft.idstn(transformed, type=1, axes=(0, 1))
    return solution


def _solve(
    unknown: NDArray[np.bool_], divergence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return u with that divergence of its gradient where unknown, 0 elsewhere.

    Parameters
    ----------
    unknown : ndarray of bool
        (Y, X), not all True.
    divergence : ndarray of float
        (Y, X, C).
    """
    at = np.flatnonzero(unknown)
    # The cosine transform diagonalises the problem with no pixel known, whose
    # constants cost nothing; any positive number in place of that 0 will do.
    rows, columns = (
        2 - 2 * np.cos(np.pi * np.arange(side) / side) for side in unknown.shape
    )
    spectrum = np.add.outer(rows, columns)
    spectrum[0, 0] = spectrum[spectrum > 0].min()

    def grid(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros(unknown.size)
        out[at] = values.ravel()
        return out.reshape(unknown.shape)

    def negative_laplacian(values: NDArray[np.float64]) -> NDArray[np.float64]:
        u = grid(values)
        return -_divergence(np.diff(u, axis=0), np.diff(u, axis=1)).ravel()[at]

    def nearly_inverse(values: NDArray[np.float64]) -> NDArray[np.float64]:
        solved = fft.idctn(fft.dctn(grid(values)) / spectrum)
        return np.asarray(solved).ravel()[at]

    shape = (at.size, at.size)
    matrix = LinearOperator(shape, negative_laplacian, dtype=np.float64)
    preconditioner = LinearOperator(shape, nearly_inverse, dtype=np.float64)
    solution = np.zeros_like(divergence)
    for channel in range(divergence.shape[-1]):
        right = -divergence[..., channel].ravel()[at]
        # Errors of the result come out near this tolerance, in units of the image.
        values, failed = cg(matrix, right, rtol=1e-7, M=preconditioner)
        if failed:
            raise FitError(
                f"Poisson's equation for {at.size} pixels was not solved within "
                f"{failed} steps of conjugate gradients"
            )
        solution[..., channel] = grid(values)
    return solution
