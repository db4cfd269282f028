"""Checks of a point spread function: its shape, and if it is turned or displaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.wiener_hunt import WienerHunt, balance_for

Array = NDArray[Any]

FARTHEST = 0.6
"""Displacement of a PSF, in pixels, from which on its image is displaced visibly."""

BALANCES = (-5.0, 2.0)
"""Decimal logarithms of the limits of the balance in `WienerHunt`."""

BLOCK = 16
"""Side of the blocks that count as independent of each other."""

FEWEST_BLOCKS = 16
"""Fewest blocks that tell how certain a difference is."""

LARGEST = 2**21
"""Most pixels that are looked at, in the middle of the planes."""

RELATIVE, CERTAIN = 0.02, 6.0
"""Differences from which on a turned PSF counts as better: relative to the sparsity of
the gradients, and to the standard error."""


def check_shape(shape: Sequence[int]) -> None:
    """Raise if a shape is not that of a point spread function to be made."""
    if len(shape) not in (2, 3) or any(n % 2 == 0 for n in shape):
        raise InputError(
            f"shape must be two or three odd numbers, so that there is a pixel in "
            f"the middle; got {shape}"
        )


def displacement_warning(psf: Array) -> str | None:
    """Say by how much a PSF would displace the image, None if hardly.

    The centre of mass and the middle of the brightest spot must lie in one direction
    from the centre: a PSF with aberrations has a tail to one side.
    """
    mass = np.subtract(scipy.ndimage.center_of_mass(psf), [n // 2 for n in psf.shape])
    spot = middle(psf)
    both = np.where(mass * spot > 0, np.minimum(np.abs(mass), np.abs(spot)), 0)
    if np.linalg.norm(both) < FARTHEST:
        return None
    displacement = ", ".join(
        f"{axis} {round(way, 1) + 0:+}"  # adding zero takes its sign away
        for axis, way in zip("zyx"[-psf.ndim :], mass, strict=True)
    )
    return (
        f"the PSF is not centred: its centre of mass lies {displacement} pixels from "
        f"the pixel side // 2, so the result is displaced by the opposite against the "
        f"image"
    )


def middle(psf: Array) -> Array:
    """Return where the brightest spot lies, in pixels from the pixel ``side // 2``."""
    smooth = scipy.ndimage.gaussian_filter(psf, 1)
    spots, _ = scipy.ndimage.label(smooth > smooth.max() / 2)
    spot = spots == spots[np.unravel_index(smooth.argmax(), smooth.shape)]
    centre = scipy.ndimage.center_of_mass(np.where(spot, smooth, 0))
    off: Array = np.subtract(centre, [n // 2 for n in psf.shape])
    return off


def turn_warning(
    image: Array, known: Array, psf: Array, variance: float, periodic: bool
) -> str | None:
    """Say that a PSF explains an image better when it is turned by 180 degrees.

    The image is deconvolved with a quadratic penalty of its gradients, with the PSF and
    with the turned one.  Both results have the same power spectrum, but a wrong PSF
    leaves ringing, so gradients are less sparse: the mean of their absolute values is
    larger relative to the root of their mean square.  It is None if nothing is wrong or
    nothing can be said.

    Image, `known`, which is 0 where pixels are missing, and PSF, of sum one, are (Y, X)
    or (Z, Y, X); the variance is that of the noise.
    """
    if np.abs(psf - np.flip(psf)).max() < 0.01 * psf.max():
        return None
    if not known.all():
        _, nearest = scipy.ndimage.distance_transform_edt(
            known == 0, return_indices=True
        )
        image = image[tuple(nearest)]
    if image.size > LARGEST:
        part = (LARGEST / image.size) ** 0.5
        cut = [int(n * (1 - part) / 2) for n in image.shape[-2:]]
        image = _without_border(image, [*[0] * (image.ndim - 2), *cut])
        periodic = False
    if any(n < max(k, 4) for k, n in zip(psf.shape, image.shape, strict=True)):
        return None
    margins = [
        min(max(k // 2, 4), n // 4) for k, n in zip(psf.shape, image.shape, strict=True)
    ]
    (sparsity, blocks), (turned, turned_blocks) = (
        _sparsity(_without_border(sharp, margins))
        for sharp in _deconvolved(image, psf, variance, periodic)
    )
    difference = sparsity - turned
    spread = (blocks - turned_blocks).std() / len(blocks) ** 0.5
    if len(blocks) < FEWEST_BLOCKS or difference < max(RELATIVE, CERTAIN * spread):
        return None
    how = "turned by 180 degrees" if psf.ndim == 2 else "flipped along z, y and x"
    return (
        f"the PSF {how} explains the image better: with it a simple deconvolution has "
        f"gradients that are sparser by {difference:.0%} ({difference / spread:.0f} "
        f"standard errors), so less ringing. If that is how the image was blurred, "
        f"flip the PSF"
    )


def _without_border(image: Array, margins: list[int]) -> Array:
    inside = zip(margins, image.shape, strict=True)
    return image[tuple(slice(m, n - m) for m, n in inside)]


def _deconvolved(
    image: Array, psf: Array, variance: float, periodic: bool
) -> tuple[Array, Array]:
    """Return an image deconvolved with a PSF, and with the turned one.

    The balance is that for which the residual with the PSF has the variance of the
    noise (Morozov's discrepancy principle).
    """
    from skimage.restoration import uft

    given = WienerHunt(image, psf, order=1, periodic=periodic)
    power, last = np.abs(given.transfer) ** 2, given.shape[-1]
    squares = np.abs(given.spectrum) ** 2 / float(np.prod(given.shape)) ** 2
    squares[..., 1 : (last + 1) // 2] *= 2  # those that rfftn leaves out

    def residual(balance: float) -> float:
        """Return the mean square of the residual, by Parseval's theorem."""
        penalty = balance * given.penalty
        left: float = (squares * (penalty / (power + penalty + 1e-12)) ** 2).sum()
        return left

    balance = balance_for(residual, variance, BALANCES)
    turned = given.restored(balance, uft.ir2tf(np.flip(psf), given.shape))
    return given.image(given.restored(balance)), given.image(turned)


def _sparsity(image: Array) -> tuple[float, Array]:
    """Return the logarithm of mean over root-mean-square gradient: low is sparse.

    Also return how the blocks of the image differ from it, to first order.
    """
    inside = tuple(slice(n - 1) for n in image.shape)
    steps = np.stack(
        [np.abs(np.diff(image, axis=axis))[inside] for axis in range(image.ndim)]
    )
    absolute = _block_means(steps.sum(axis=0))
    squared = _block_means((steps**2).sum(axis=0))
    mean, square = absolute.mean() + 1e-30, squared.mean() + 1e-30
    sparsity = float(np.log(mean) - np.log(square) / 2)
    return sparsity, absolute / mean - squared / square / 2


def _block_means(values: Array) -> Array:
    """Return the means of the blocks of an array, without what is left over."""
    from skimage.measure import block_reduce

    sides = tuple(min(BLOCK, n) for n in values.shape)
    whole = [
        slice(n // side * side) for n, side in zip(values.shape, sides, strict=True)
    ]
    means: Array = block_reduce(values[tuple(whole)], sides, np.mean).ravel()
    return means
