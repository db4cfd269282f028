"""Richardson-Lucy and Wiener."""

from __future__ import annotations

from types import NoneType
from typing import Any

import numpy as np

from napari_dip.baselines.common import (
    Array,
    check_axes,
    check_noise,
    each_plane,
    filled_plane,
)
from napari_dip.tasks.arrays import Float, Index, Layout, as_array
from napari_dip.tasks.noise import plane_model
from napari_dip.tasks.plane import prepare
from napari_dip.tasks.psf import kernel_for
from napari_dip.tasks.recipe import check
from napari_dip.tasks.wiener_hunt import WienerHunt, balance_for

RICHARDSON_LUCY = 100
"""Most iterations of `richardson_lucy` where their number is not given."""

BALANCES = (-4.0, 2.0)
"""Decimal logarithms of the limits of the balance where `wiener` is not given it."""


def richardson_lucy(
    image: Any,
    psf: Any,
    iterations: int | None = None,
    *,
    sigma: float | None = None,
    noise: str = "auto",
    background: float | str | None = "auto",
    boundary: str = "extend",
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Deconvolve by Richardson and Lucy's iteration.

    Parameters
    ----------
    image, sigma, noise, channel_axis, spatial_dims
        As in `nlm`, but without impulses; missing pixels have no weight, so nothing is
        filled in for them.
    psf : array_like
        Point spread function, (Y, X) for planes or (Z, Y, X) for volumes, centred on
        the pixel ``side // 2``; it is scaled to sum to one.
    iterations : int, optional
        Number of iterations; where not given, they end when the residual has the
        variance of the noise (Morozov's discrepancy principle), or after 100. Where
        given, `sigma` and `noise` have no effect.
    background : float, "auto" or None
        Value of the image where there is no light, below which the result never is;
        "auto" is 0, or no limit for an image with many values below 0; None is no
        limit.
    boundary : str
        "extend" takes light from beyond the border as unknown, "periodic" repeats the
        image.

    Returns
    -------
    ndarray
        float32, of the shape of `image`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.

    Notes
    -----
    Richardson (1972) and Lucy (1974), with the weights of Bertero and Boccacci, A
    Simple Method for the Reduction of Boundary Effects in the Richardson-Lucy Approach
    (2005).
    """
    import torch

    from napari_dip.prior import richardson_lucy as rl
    from napari_dip.prior.convolution import Convolution
    from napari_dip.tasks.blurred import floors

    iterations = check("iterations", iterations, int, NoneType, low=1)
    sigma = check("sigma", sigma, float, NoneType, low=0)
    check_noise(noise)
    background = check("background", background, float, NoneType, choices=("auto",))
    image, layout, kernel = _read(image, psf, boundary, channel_axis, spatial_dims)
    blur = Convolution(
        torch.from_numpy(kernel.astype(np.float32)),
        layout.sides,
        periodic=boundary == "periodic",
    )

    def work(index: Index) -> Float:
        plane = prepare(layout.take(image, index), "image")
        above = plane.above(floors(background, plane))
        variance: Any = ()
        if iterations is None:
            model = plane_model(above, noise, sigma)
            variance = model.level(above.values)
        most = iterations or RICHARDSON_LUCY
        estimate = rl.richardson_lucy(blur, *above.tensors(), most, variance)
        return above.to_units(estimate[blur.crop][0].numpy())

    return each_plane(layout, work)


def wiener(
    image: Any,
    psf: Any,
    balance: float | None = None,
    *,
    sigma: float | None = None,
    noise: str = "auto",
    boundary: str = "extend",
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Deconvolve by Wiener and Hunt's filter.

    Parameters
    ----------
    image, psf, sigma, noise, boundary, channel_axis, spatial_dims
        As in `richardson_lucy`, but missing pixels are filled in, and with "extend"
        the image passes into its own reflection beyond the border.
    balance : float, optional
        Weight of the squared Laplacian against the squared residual; where not given,
        the one, from 1e-4 to 100, for which the residual has the variance of the noise
        (Morozov's discrepancy principle); the border does not count, unless the PSF is
        larger than half the image. Where given, `sigma` and `noise` have no effect.

    Returns
    -------
    ndarray
        float32, of the shape of `image`.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.

    Notes
    -----
    ``conj(H) / (|H|^2 + balance |D|^2)`` in the Fourier domain, H the transform of the
    PSF and D that of the Laplacian (Hunt, 1973; Orieux, Giovannelli, Rodet, Bayesian
    Estimation of Regularization and Point Spread Function Parameters for Wiener-Hunt
    Deconvolution, 2010), as in `skimage.restoration.wiener`.
    """
    balance = check("balance", balance, float, NoneType, low=0)
    sigma = check("sigma", sigma, float, NoneType, low=0)
    check_noise(noise)
    image, layout, kernel = _read(image, psf, boundary, channel_axis, spatial_dims)
    periodic = boundary == "periodic"

    def work(index: Index) -> Float:
        plane = filled_plane(layout.take(image, index))
        levels = plane_model(plane, noise, sigma).level(plane.values)
        restored = [
            _wiener(values, kernel, balance, float(variance), periodic)
            for values, variance in zip(plane.values, levels, strict=True)
        ]
        return plane.to_units(np.stack(restored))

    return each_plane(layout, work)


def _read(
    image: Any, psf: Any, boundary: Any, channel_axis: Any, spatial_dims: Any
) -> tuple[Any, Layout, Array]:
    check("boundary", boundary, choices=("extend", "periodic"))
    axis, dims = check_axes(channel_axis, spatial_dims)
    image = as_array(image, "image")
    layout, kernel, _ = kernel_for(image, psf, axis, dims, boundary)
    return image, layout, kernel


def _wiener(
    values: Float, kernel: Array, balance: float | None, variance: float, periodic: bool
) -> Float:
    blurred = WienerHunt(values, kernel, order=2, periodic=periodic)
    inner = []
    for n, k in zip(values.shape, kernel.shape, strict=True):
        border = 0 if periodic or 2 * k > n else k // 2
        inner.append(slice(border, n - border))

    def residual(balance: float) -> float:
        again = blurred.image(blurred.transfer * blurred.restored(balance))
        return float(np.mean((again - values)[tuple(inner)] ** 2))

    if balance is None:
        balance = balance_for(residual, variance, BALANCES)
    return blurred.image(blurred.restored(balance)).astype(np.float32)
