"""Classical methods for every task, one call away, to compare with.

They take arrays of the same layouts as the tasks, keep the range and units of the
image and return float32.  NaN marks missing pixels: they are filled from their
neighbours, as by `telea`, before the method sees them.  Methods that need the noise
level estimate it where it is not given.

What is chosen here rather than in a paper was chosen on three of the nine images of
the denoising benchmark (F16, house, kodim01), and the docstrings say what it does.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_dip.errors import InputError
from napari_dip.tasks import noise as noises
from napari_dip.tasks.arrays import Float, Layout, Plane, as_array, prepare
from napari_dip.tasks.recipe import Parameter, Recipe

FOR_TASK: dict[str, tuple[str, ...]] = {
    "denoise": ("nlm", "tv", "wavelet"),
    "super_resolve": ("bicubic", "lanczos"),
    "inpaint": ("biharmonic", "telea"),
    "remove_artifacts": ("tv",),
    "enhance": ("unsharp_mask",),
    "denoise_guided": ("guided_filter",),
    "deconvolve": ("richardson_lucy", "wiener"),
}
"""Names of the functions here that do what a task does, the most usual first."""

ARTIFACTS = 0.015
"""Weight of `tv` against artifacts, of the image's range.  Estimates of the noise do
not see them: blocks are no noise.  It gains 0.3 to 0.8 dB at JPEG qualities of 10 and
20 (five gray images of Classic5), and at 40 from -0.1 to 0.5."""

BIHARMONIC = {2: 550_000, 3: 20_000}
"""Most pixels that `biharmonic` fills, by the number of spatial axes: 512 thousand
took 2.3 GB and 90 s as scattered pixels of a plane, 18 thousand voxels 0.4 GB and 30 s.
With more, the factorisation has been seen to end the process (scikit-image issue
7474)."""

RICHARDSON_LUCY = 100
"""Most iterations of `richardson_lucy` that are chosen by themselves."""

BALANCES = (-4.0, 2.0)
"""Decimal logarithms of the limits of a balance that `wiener` chooses by itself."""

_Index = tuple[int | slice, ...]
_Array = NDArray[Any]


def nlm(
    image: Any,
    sigma: float | None = None,
    *,
    noise: str = "auto",
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Denoise by non-local means.

    Parameters
    ----------
    image : array_like
        Noisy image: (Y, X), (Y, X, C) or any leading axes over those, of which every
        plane is treated by itself; any real dtype, 16 pixels a side or more.
    sigma : float, optional
        Standard deviation of Gaussian noise in the units of the image; estimated
        where not given.
    noise : str
        "gaussian", "poisson" or "poisson-gaussian"; "auto" looks whether the noise
        grows with the signal. Such noise is made even by the generalised Anscombe
        transform before, and the result transformed back by its unbiased inverse.
    channel_axis : int, "auto" or None
        Axis of colours or channels; "auto" takes a last axis of 3 or 4.
    spatial_dims : int
        2 for planes, 3 for volumes.

    Returns
    -------
    ndarray
        float32, of the shape of `image`.

    Raises
    ------
    InputError
        If an argument is not acceptable.

    Notes
    -----
    Buades, Coll, Morel, A Non-Local Algorithm for Image Denoising (CVPR 2005), as in
    `skimage.restoration.denoise_nl_means` with the noise variance taken off the
    distances of patches.  Patches of 5 pixels a side, within 6 pixels (3 in volumes),
    and a decay of 0.6 sigma; scikit-image's example has 0.8 sigma, which is 0.3 dB
    worse on gray images and 0.6 on colours.
    """
    from skimage.restoration import denoise_nl_means

    distance = 6 if spatial_dims == 2 else 3

    def method(values: Float, level: float) -> _Array:
        # scikit-image drops an axis of one channel.
        single = len(values) == 1
        found = denoise_nl_means(
            values[0] if single else values,
            patch_size=5,
            patch_distance=distance,
            h=0.6 * level,
            sigma=level,
            channel_axis=None if single else 0,
        )
        return np.asarray(found).reshape(values.shape)

    return _denoise(image, sigma, noise, channel_axis, spatial_dims, method)


def tv(
    image: Any,
    sigma: float | None = None,
    *,
    weight: float | None = None,
    noise: str = "auto",
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Denoise by total variation.

    Parameters
    ----------
    image, sigma, noise, channel_axis, spatial_dims
        As in `nlm`.
    weight : float, optional
        Of the total variation, as a part of the range of the image (over 0.9 of the
        distance of its 0.1 and 99.9 percentiles), instead of what follows from the
        noise: more is smoother.

    Returns
    -------
    ndarray
        float32, of the shape of `image`.

    Raises
    ------
    InputError
        If an argument is not acceptable.

    Notes
    -----
    Chambolle, An Algorithm for Total Variation Minimization and Applications (2004),
    as in `skimage.restoration.denoise_tv_chambolle`, on the principal components of
    the channels, in which noise is as white as in the channels: 1.1 dB better on
    colours than channel by channel.  The weight is 0.7 sigma.
    """
    from skimage.restoration import denoise_tv_chambolle

    given = _check("weight", weight, float, NoneType, low=0)

    def method(part: Float, level: float) -> _Array:
        by = 0.7 * level if given is None else given
        found: _Array = denoise_tv_chambolle(part, weight=by) if by else part
        return found

    if given is not None:
        sigma, noise = 0.0, "gaussian"
    return _denoise(
        image, sigma, noise, channel_axis, spatial_dims, _by_component(method)
    )


def wavelet(
    image: Any,
    sigma: float | None = None,
    *,
    noise: str = "auto",
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Denoise by shrinking wavelet coefficients.

    Parameters
    ----------
    image, sigma, noise, channel_axis, spatial_dims
        As in `nlm`.

    Returns
    -------
    ndarray
        float32, of the shape of `image`.

    Raises
    ------
    InputError
        If an argument is not acceptable.

    Notes
    -----
    BayesShrink (Chang, Yu, Vetterli, Adaptive Wavelet Thresholding for Image Denoising
    and Compression, 2000) with Daubechies' wavelet of two vanishing moments, averaged
    over shifts by 0 to 3 pixels (0 and 1 in volumes) along every axis (Coifman,
    Donoho, Translation-Invariant De-Noising, 1995), as in
    `skimage.restoration.denoise_wavelet`, on the principal components of the channels:
    1.3 dB better on colours than channel by channel.
    """
    from skimage.restoration import denoise_wavelet

    shifts = range(4 if spatial_dims == 2 else 2)

    def method(part: Float, level: float) -> _Array:
        total, axes = np.zeros(part.shape), tuple(range(part.ndim))
        for shift in itertools.product(shifts, repeat=part.ndim):
            shrunk = denoise_wavelet(
                np.roll(part, shift, axes), sigma=level, wavelet="db2"
            )
            total += np.roll(shrunk, [-n for n in shift], axes)
        average: _Array = total / len(shifts) ** part.ndim
        return average

    return _denoise(
        image, sigma, noise, channel_axis, spatial_dims, _by_component(method)
    )


def bicubic(
    image: Any,
    factor: int,
    *,
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Enlarge by cubic convolution.

    Parameters
    ----------
    image, channel_axis, spatial_dims
        As in `nlm`.
    factor : int
        How many times more pixels along every spatial axis, 2 or more.

    Returns
    -------
    ndarray
        float32, larger than `image`.  Pixel i has its centre at ``(i + 1/2) / factor
        - 1/2`` of the input's pixels.  It may overshoot the range of the input.

    Raises
    ------
    InputError
        If an argument is not acceptable.

    Notes
    -----
    Keys, Cubic Convolution Interpolation for Digital Image Processing (1981), with
    a = -0.5 and the border repeated: what MATLAB's imresize gives, and so the bicubic
    column of tables of super-resolution.
    """
    return _enlarge(image, factor, channel_axis, spatial_dims, "BICUBIC")


def lanczos(
    image: Any,
    factor: int,
    *,
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Enlarge with Lanczos' kernel of three lobes.

    Parameters
    ----------
    image, factor, channel_axis, spatial_dims
        As in `bicubic`.

    Returns
    -------
    ndarray
        As from `bicubic`.

    Raises
    ------
    InputError
        If an argument is not acceptable.
    """
    return _enlarge(image, factor, channel_axis, spatial_dims, "LANCZOS")


def biharmonic(
    image: Any,
    mask: Any,
    *,
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Fill missing pixels so that the Laplacian's Laplacian is zero there.

    Parameters
    ----------
    image, channel_axis, spatial_dims
        As in `nlm`; NaN counts as missing.
    mask : array_like
        Nonzero where pixels are missing: of the shape of `image`, or of its last
        axes without the channels.

    Returns
    -------
    ndarray
        float32, of the shape of `image`; known pixels as they came, the others within
        the range of the known ones.

    Raises
    ------
    InputError
        If an argument is not acceptable, or more pixels are missing than the linear
        system allows (`BIHARMONIC`); `telea` has no such limit.

    Notes
    -----
    Damelin, Hoang, On Surface Completion and Image Inpainting by Biharmonic Functions
    (2018), as in `skimage.restoration.inpaint_biharmonic`.  The system is solved at
    once, not region by region, which takes a hundred times as long for scattered
    pixels, and in double precision: single loses all digits inside large holes.
    """
    from skimage.restoration import inpaint_biharmonic

    def fill(values: Float, gone: NDArray[np.bool_]) -> _Array:
        most, count = BIHARMONIC[gone.ndim], int(gone.sum())
        if count > most:
            raise InputError(
                f"mask must mark at most {most} pixels of a plane or volume for "
                f"biharmonic inpainting, which takes too much memory otherwise; got "
                f"{count}. telea takes any number"
            )
        found: _Array = inpaint_biharmonic(
            values.astype(np.float64), np.ascontiguousarray(gone), channel_axis=0
        )
        return found

    return _inpaint(image, mask, channel_axis, spatial_dims, fill)


def telea(
    image: Any,
    mask: Any,
    *,
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Fill missing pixels from their border inwards.

    Parameters
    ----------
    image, mask, channel_axis, spatial_dims
        As in `biharmonic`.

    Returns
    -------
    ndarray
        float32, of the shape of `image`; known pixels as they came, the others within
        the range of the known ones.

    Raises
    ------
    InputError
        If an argument is not acceptable.

    Notes
    -----
    After Telea, An Image Inpainting Technique Based on the Fast Marching Method
    (2004): its weights by direction, distance and level within 3 pixels.  In place of
    fast marching, pixels go in shells of unit width of their exact distance from what
    is known; the paper's gradient term is left out, for it extrapolates noise.
    Against OpenCV with the same radius, on four photographs: 0.6 dB worse to 0.1 better
    on text and holes, 0.2 to 2 better on scattered pixels.
    """
    return _inpaint(image, mask, channel_axis, spatial_dims, _march)


def unsharp_mask(
    image: Any,
    amount: float = 1.0,
    *,
    radius: float = 2.0,
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Make fine detail stronger: ``image + amount * (image - blurred)``.

    Parameters
    ----------
    image, channel_axis, spatial_dims
        As in `nlm`.
    amount : float
        How much of the detail is added.
    radius : float
        Standard deviation in pixels of the Gaussian blur.

    Returns
    -------
    ndarray
        float32, of the shape of `image`; may overshoot its range.

    Raises
    ------
    InputError
        If an argument is not acceptable.
    """
    from skimage import filters

    much = _check("amount", amount, float)
    wide = _check("radius", radius, float, low=0)
    image, layout = _read(image, channel_axis, spatial_dims)

    def work(index: _Index) -> Float:
        plane = _whole(layout.take(image, index))
        return plane.restore(
            filters.unsharp_mask(
                plane.values, wide, much, preserve_range=True, channel_axis=0
            )
        )

    return _each(layout, work)


def guided_filter(
    image: Any,
    guide: Any,
    *,
    radius: int | None = None,
    eps: float | None = None,
    channel_axis: int | str | None = "auto",
    spatial_dims: int = 2,
) -> Float:
    """Denoise with the edges of another image of the same scene.

    Parameters
    ----------
    image, channel_axis, spatial_dims
        As in `nlm`.
    guide : array_like
        Better image of the same scene, pixel on pixel, with any number of channels,
        once or for each plane.
    radius : int, optional
        Windows are squares of ``2 radius + 1`` pixels; where not given, 30 times the
        noise of `image` over its range, from 1 to 16.
    eps : float, optional
        What the variance of the guide in a window counts as nothing against, over the
        square of its range; where not given, the guide's noise variance, and 1e-4
        at least.

    Returns
    -------
    ndarray
        float32, of the shape of `image`.

    Raises
    ------
    InputError
        If an argument is not acceptable.

    Notes
    -----
    He, Sun, Tang, Guided Image Filtering (TPAMI 2013), for one channel and for several:
    in every window the slopes ``a = (cov(guide) + eps)^-1 cov(guide, image)``, and the
    result ``mean(a) guide + mean(mean(image) - a mean(guide))``.  Ranges are
    those of `tv`.  Radius and eps as chosen were 0.1 to 0.7 dB below the best of a
    grid for each image, where colour channels with noise of 0.03 to 0.2 guided each
    other, and 0.5 to 1.7 below it where the guide had none.
    """
    from napari_dip.tasks.denoise_guided import planes_of

    reach = _check("radius", radius, int, NoneType, low=1)
    least = _check("eps", eps, float, NoneType, low=0)
    image, layout = _read(image, channel_axis, spatial_dims)
    guide_at = planes_of(as_array(guide, "guide"), layout)

    def work(index: _Index) -> Float:
        plane = _whole(layout.take(image, index))
        over = _whole(guide_at(index), "guide").values
        far, ridge = reach, least
        if far is None:
            found = noises.model(plane.values, "auto", None)
            far = int(np.clip(round(30 * found.level(plane.values) ** 0.5), 1, 16))
        if ridge is None:
            ridge = max(noises.gaussian_variance(over), 1e-4)
        return plane.restore(_guided(plane.values, over, far, ridge))

    return _each(layout, work)


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
        As in `nlm`; missing pixels have no weight, so nothing is filled in for them.
    psf : array_like
        Point spread function, (Y, X) for planes or (Z, Y, X) for volumes, centred on
        the pixel ``side // 2``; it is scaled to sum to one.
    iterations : int, optional
        How many; where not given, until the residual has the variance of the noise
        (Morozov's discrepancy principle), 100 at most.
    background : float, "auto" or None
        Value of the image where there is no light, below which the result never is;
        "auto" is 0, or no limit for an image with much below 0; None is no limit.
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
        If an argument is not acceptable.

    Notes
    -----
    Richardson (1972) and Lucy (1974), with the weights of Bertero and Boccacci, A
    Simple Method for the Reduction of Boundary Effects in the Richardson-Lucy Approach
    (2005).
    """
    import torch

    from napari_dip.prior import convolution
    from napari_dip.tasks.deconvolve import floor_of, kernel_for

    steps = _check("iterations", iterations, int, NoneType, low=1)
    level = _check("sigma", sigma, float, NoneType, low=0)
    _check_noise(noise)
    floor = _check("background", background, float, NoneType, choices=("auto",))
    _check("boundary", boundary, choices=("extend", "periodic"))
    image = as_array(image, "image")
    layout, kernel, _ = kernel_for(image, psf, channel_axis, spatial_dims, boundary)
    blur = convolution.Convolution(
        torch.from_numpy(kernel.astype(np.float32)),
        layout.sides,
        periodic=boundary == "periodic",
    )

    def work(index: _Index) -> Float:
        plane = prepare(layout.take(image, index), "image")
        values = plane.restore(plane.values)
        zero = floor_of(floor, values, values[:, plane.known > 0])
        scaled = (values - np.float32(zero)) / np.float32(plane.span)
        variance = 0.0
        if steps is None:
            known = None if level is None else level / plane.span
            variance = noises.model(scaled, noise, known).level(scaled)
        estimate = convolution.richardson_lucy(
            blur,
            torch.from_numpy(scaled)[None],
            torch.from_numpy(plane.known)[None, None],
            steps or RICHARDSON_LUCY,
            variance,
        )
        inside: Float = estimate[blur.crop][0].numpy()
        return inside * np.float32(plane.span) + np.float32(zero)

    return _each(layout, work)


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
        the image goes over into its own reflection beyond the border.
    balance : float, optional
        Weight of the squared Laplacian against the squared residual; where not given,
        the one, from 1e-4 to 100, for which the residual has the variance of the noise
        (Morozov's discrepancy principle) away from the border, where the PSF leaves
        that much.

    Returns
    -------
    ndarray
        float32, of the shape of `image`.

    Raises
    ------
    InputError
        If an argument is not acceptable.

    Notes
    -----
    ``conj(H) / (|H|^2 + balance |D|^2)`` in the Fourier domain, H the transform of the
    PSF and D that of the Laplacian (Hunt, 1973; Orieux, Giovannelli, Rodet, Bayesian
    Estimation of Regularization and Point Spread Function Parameters for Wiener-Hunt
    Deconvolution, 2010), as in `skimage.restoration.wiener`.
    """
    from napari_dip.tasks.deconvolve import kernel_for

    weight = _check("balance", balance, float, NoneType, low=0)
    level = _check("sigma", sigma, float, NoneType, low=0)
    _check_noise(noise)
    _check("boundary", boundary, choices=("extend", "periodic"))
    image = as_array(image, "image")
    layout, kernel, _ = kernel_for(image, psf, channel_axis, spatial_dims, boundary)
    periodic = boundary == "periodic"

    def work(index: _Index) -> Float:
        plane = _whole(layout.take(image, index))
        known = None if level is None else level / plane.span
        restore = _Wiener(plane.values, kernel, periodic)
        by = weight
        if by is None:
            found = noises.model(plane.values, noise, known)
            by = restore.balance(found.level(plane.values))
        return plane.restore(restore(by).astype(np.float32))

    return _each(layout, work)


def run(task: str, name: str, values: dict[str, Any], *arrays: Any) -> Float:
    """Run a baseline on the arrays of a task, with its parameters where they apply.

    Parameters
    ----------
    task : str
        Name of the task.
    name : str
        One of ``FOR_TASK[task]``.
    values : dict
        Parameters of the task's recipe, by name.  Those of the noise, the axes, the
        factor, the amount and the like are used as far as the baseline has them, those
        of the fit are not.
    *arrays : array_like
        The arrays of the task, in its order.

    Returns
    -------
    ndarray
        float32.

    Raises
    ------
    InputError
        If there is no such baseline for the task, or an argument is not acceptable.
    """
    names = FOR_TASK.get(task)
    if names is None:
        raise InputError(f"task must be one of {', '.join(FOR_TASK)}; got {task!r}")
    if name not in names:
        raise InputError(f"name must be one of {', '.join(names)}; got {name!r}")
    baseline = globals()[name]
    # "iterations" and others are the fit's, though a baseline may have some too.
    ours = {p.name for p in Recipe.parameters()} - {"channel_axis", "spatial_dims"}
    taken = inspect.signature(baseline).parameters.keys() - ours
    keywords = {key: value for key, value in values.items() if key in taken}
    if task == "remove_artifacts":
        keywords["weight"] = ARTIFACTS
    found: Float = baseline(*arrays, **keywords)
    return found


def _check(
    name: str,
    value: Any,
    *types: type,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Return an argument as the plain Python type it stands for, or raise."""
    kinds = (*types, str) if choices else types
    described = Parameter(
        name=name,
        default=None,
        help="",
        types=kinds,
        member=None,
        choices=choices,
        low=low,
        high=high,
        advanced=False,
    )
    return described.check(value)


def _check_noise(noise: str) -> None:
    kinds = ("auto", "gaussian", "poisson-gaussian", "poisson")
    _check("noise", noise, choices=kinds)


def _read(
    image: Any, channel_axis: int | str | None, spatial_dims: int
) -> tuple[Any, Layout]:
    array = as_array(image, "image")
    _check("spatial_dims", spatial_dims, int, low=2, high=3)
    return array, Layout.of(array, channel_axis, spatial_dims, "image")


def _each(layout: Layout, work: Callable[[_Index], Float], factor: int = 1) -> Float:
    """Do the work for every plane; put the results together."""
    sides = tuple(factor * side for side in layout.sides)
    result = np.empty(layout.resized(sides), np.float32)
    for index in layout.indices():
        result[index] = layout.arrange(work(index))
    return result


def _whole(pixels: _Array, name: str = "image") -> Plane:
    """Return a plane, scaled, with its missing pixels filled."""
    plane = prepare(pixels, name)
    gone = plane.known == 0
    if not gone.any():
        return plane
    filled = _march(plane.values, gone).astype(np.float32)
    return dataclasses.replace(plane, values=filled)


def _denoise(
    image: Any,
    sigma: float | None,
    noise: str,
    channel_axis: int | str | None,
    spatial_dims: int,
    method: Callable[[Float, float], _Array],
) -> Float:
    """Denoise every plane by a method for Gaussian noise of a given level."""
    level = _check("sigma", sigma, float, NoneType, low=0)
    # Recipes know impulses too, for which these methods have no model.
    _check_noise("gaussian" if noise == "impulse" else noise)
    image, layout = _read(image, channel_axis, spatial_dims)

    def work(index: _Index) -> Float:
        plane = _whole(layout.take(image, index))
        known = None if level is None else level / plane.span
        found = noises.model(plane.values, noise, known)
        if found.gain:
            even = _stabilised(plane.values, found)
            restored = _unstabilised(method(even, 1.0), found)
        else:
            restored = method(plane.values, found.variance**0.5)
        return plane.restore(restored.astype(np.float32))

    return _each(layout, work)


def _stabilised(values: Float, noise: noises.NoiseModel) -> Float:
    """Transform an image so that its noise has variance one everywhere.

    The generalised Anscombe transform (Starck, Murtagh, Bijaoui, Image Processing and
    Data Analysis, 1998).
    """
    photons = (values - noise.offset) / noise.gain
    read = noise.variance / noise.gain**2
    even: Float = 2 * np.sqrt(np.maximum(photons + 3 / 8 + read, 0))
    return even.astype(np.float32)


def _unstabilised(even: _Array, noise: noises.NoiseModel) -> _Array:
    """Transform the denoised image back, to the mean of what it stands for.

    Closed form of the exact unbiased inverse (Makitalo, Foi, Optimal Inversion of the
    Generalized Anscombe Transformation for Poisson-Gaussian Noise, 2013).
    """
    # Below, the closed form turns up again; here it is zero photons.
    d = np.maximum(even, np.sqrt(1.5))
    root = np.sqrt(1.5)
    photons = d**2 / 4 + root / 4 / d - 11 / 8 / d**2 + 5 / 8 * root / d**3 - 1 / 8
    read = noise.variance / noise.gain**2
    back: _Array = (photons - read) * noise.gain + noise.offset
    return back


def _by_component(
    method: Callable[[Float, float], _Array],
) -> Callable[[Float, float], _Array]:
    """Apply a method for one channel to the principal components of all."""

    def together(values: Float, level: float) -> _Array:
        flat = values.reshape(len(values), -1).astype(np.float64)
        flat -= flat.mean(axis=1, keepdims=True)
        rotation = np.linalg.eigh(flat @ flat.T)[1].astype(np.float32)
        parts = np.tensordot(rotation.T, values, 1)
        restored = np.stack([method(part, level) for part in parts])
        return np.tensordot(rotation, restored, 1)

    return together


def _enlarge(
    image: Any,
    factor: int,
    channel_axis: int | str | None,
    spatial_dims: int,
    kernel: str,
) -> Float:
    from PIL import Image

    times = _check("factor", factor, int, low=2)
    resample = Image.Resampling[kernel]
    image, layout = _read(image, channel_axis, spatial_dims)
    # Pillow leaves pixels beyond the border out; repeated, they are within.
    margin = 4

    def along(values: Float, axis: int) -> Float:
        lines = np.moveaxis(values, axis, 0)
        rest = lines.shape[1:]
        flat = lines.reshape(len(lines), -1)
        padded = np.pad(flat, ((margin, margin), (0, 0)), mode="edge")
        size = (flat.shape[1], times * len(padded))
        larger = np.asarray(Image.fromarray(padded).resize(size, resample))
        inside = larger[times * margin : -times * margin].reshape(-1, *rest)
        return np.moveaxis(inside, 0, axis)

    def work(index: _Index) -> Float:
        plane = _whole(layout.take(image, index))
        values = plane.values
        for axis in range(1, values.ndim):
            values = along(values, axis)
        return plane.restore(values)

    return _each(layout, work, times)


def _inpaint(
    image: Any,
    mask: Any,
    channel_axis: int | str | None,
    spatial_dims: int,
    fill: Callable[[Float, NDArray[np.bool_]], _Array],
) -> Float:
    from napari_dip.tasks.inpaint import missing_in

    image, layout = _read(image, channel_axis, spatial_dims)
    missing = missing_in(image, as_array(mask, "mask"), layout)

    def work(index: _Index) -> Float:
        pixels = layout.take(image, index)
        gone = missing(index) | np.isnan(pixels)
        result: Float = pixels.astype(np.float32)
        same = (gone == gone[:1]).all()
        parts = [slice(None)] if same else [slice(c, c + 1) for c in range(len(gone))]
        for part in parts:
            there = gone[part][0]
            if there.any():
                plane = prepare(np.where(there, np.nan, pixels[part]), "image")
                filled = fill(plane.values, there).astype(np.float32)
                result[part] = np.where(there, plane.restore(filled), result[part])
        return result

    return _each(layout, work)


def _march(values: Float, gone: NDArray[np.bool_], radius: int = 3) -> _Array:
    """Fill pixels from their border inwards: `telea` for one plane.

    Parameters
    ----------
    values : ndarray
        (C, Y, X) or (C, Z, Y, X).
    gone : ndarray
        (Y, X) or (Z, Y, X), true where to fill.
    radius : int
        Of the neighbourhood.
    """
    dims = gone.ndim
    distance = ndimage.distance_transform_edt(gone)
    # The direction of the front; smoothed, since distances have creases.
    normal = np.stack(np.gradient(ndimage.gaussian_filter(distance, 1)), axis=-1)
    where = np.nonzero(gone)
    order = np.argsort(distance[where], kind="stable")
    where = tuple(axis[order] for axis in where)
    normals, far = normal[where], distance[where]

    # Flat indices into arrays with a margin, so that neighbours always exist.
    margin = [(radius, radius)] * dims
    known = np.pad(~gone, margin)
    steps = np.array(known.strides) // known.itemsize
    pixels = (np.stack(where, axis=-1) + radius) @ steps
    field = np.pad(values.astype(np.float64), [(0, 0), *margin])
    flat, known, times = (
        field.reshape(len(values), -1),
        known.ravel(),
        np.pad(distance, margin).ravel(),
    )
    grid = np.indices((2 * radius + 1,) * dims).reshape(dims, -1).T - radius
    squares = (grid**2).sum(axis=1)
    ball = (squares > 0) & (squares <= radius**2)

    ends = np.searchsorted(far, np.arange(1, np.ceil(far.max()) + 1), side="right")
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        shell = pixels[start:end]
        total = np.zeros((len(values), len(shell)))
        weights = np.zeros(len(shell))
        for offset, square in zip(grid[ball], squares[ball], strict=True):
            neighbours = shell + offset @ steps
            weight = np.abs(normals[start:end] @ offset) / np.sqrt(square) + 1e-6
            weight /= square * (1 + np.abs(times[shell] - times[neighbours]))
            weight *= known[neighbours]
            total += weight * flat[:, neighbours]
            weights += weight
        flat[:, shell] = total / weights
        known[shell] = True
    inner: _Array = field[(slice(None), *[slice(radius, -radius)] * dims)]
    return inner


def _guided(values: Float, guide: Float, radius: int, eps: float) -> Float:
    """Filter a plane, (C, Y, X) or (C, Z, Y, X), with a guide's."""
    spatial = tuple(range(-guide[0].ndim, 0))

    def mean(array: _Array) -> _Array:
        size = [1] * array.ndim
        for axis in spatial:
            size[axis] = 2 * radius + 1
        averaged: _Array = ndimage.uniform_filter(array, size, mode="reflect")
        return averaged

    p, i = values.astype(np.float64), guide.astype(np.float64)
    mean_p, mean_i = mean(p), mean(i)
    cross = mean(i[:, None] * p) - mean_i[:, None] * mean_p
    spread = mean(i[:, None] * i) - mean_i[:, None] * mean_i
    matrices = np.moveaxis(spread, (0, 1), (-2, -1)) + eps * np.eye(len(i))
    slopes = np.linalg.solve(matrices, np.moveaxis(cross, (0, 1), (-2, -1)))
    a = np.moveaxis(slopes, (-2, -1), (0, 1))
    b = mean_p - (a * mean_i[:, None]).sum(axis=0)
    result: Float = ((mean(a) * i[:, None]).sum(axis=0) + mean(b)).astype(np.float32)
    return result


class _Wiener:
    """Wiener and Hunt's filter for one plane, to be tried with several balances."""

    def __init__(self, values: Float, kernel: _Array, periodic: bool) -> None:
        from skimage.restoration import uft

        self.values = values.astype(np.float64)
        extended = self.values
        sides, self.inner = values.shape[1:], [slice(None)]
        for axis, (n, k) in enumerate(zip(sides, kernel.shape, strict=True), start=1):
            near = 0 if periodic or 2 * k > n else k // 2
            self.inner.append(slice(near, n - near))
            if not periodic:
                extended = _wrapped(extended, axis, min(2 * k, n))
        self.shape = extended.shape[1:]
        self.axes = tuple(range(1, values.ndim))
        self.crop = (slice(None), *[slice(n) for n in sides])
        self.transfer = uft.ir2tf(kernel, self.shape)
        self.penalty = np.abs(uft.laplacian(kernel.ndim, self.shape)[0]) ** 2
        self.spectrum = fft.rfftn(extended, axes=self.axes)

    def __call__(self, balance: float) -> _Array:
        return self._image(self._restored(balance))

    def _restored(self, balance: float) -> _Array:
        power = np.abs(self.transfer) ** 2 + balance * self.penalty
        # Frequencies that the PSF takes away entirely stay away.
        gain = np.conj(self.transfer) / np.maximum(power, 1e-12)
        found: _Array = gain * self.spectrum
        return found

    def _image(self, spectrum: _Array) -> _Array:
        image: _Array = fft.irfftn(spectrum, s=self.shape, axes=self.axes)
        return image[self.crop]

    def balance(self, variance: float) -> float:
        """Return the balance for which the residual has a variance."""
        low, high = BALANCES
        for _ in range(12):
            middle = (low + high) / 2
            blurred = self._image(self.transfer * self._restored(10**middle))
            rest = (blurred - self.values)[tuple(self.inner)]
            # The residual grows with the balance.
            if np.mean(rest**2) > variance:
                high = middle
            else:
                low = middle
        return float(10**low)


def _wrapped(values: _Array, axis: int, width: int) -> _Array:
    """Extend an image along an axis so that its end leads smoothly to its start.

    The reflections at both ends, faded into each other.
    """
    flipped = np.flip(values, axis)
    first = np.take(flipped, range(width), axis)
    last = np.take(flipped, range(values.shape[axis] - width, values.shape[axis]), axis)
    t = (np.arange(width) + 0.5) / width
    fade = (t * t * (3 - 2 * t)).reshape([-1] + [1] * (values.ndim - 1 - axis))
    return np.concatenate([values, (1 - fade) * first + fade * last], axis)
