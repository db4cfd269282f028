"""A point spread function that is given: checked, and cut to where its light is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Layout, as_array, check_finite, without_single_axes

Array = NDArray[Any]

TAIL = 1e-3
"""Part of the PSF's light that may be cut away along an axis: a smaller PSF makes the
canvas smaller."""

BACKGROUND = 0.2
"""Part of a peaked PSF's light in the darker half of its pixels from which on there
must be a background left in it."""


def points_in(pixels: Array, count: int) -> Array:
    """Return so many points in every pixel of an axis, an odd number, evenly spaced."""
    inside = (np.arange(count) - count // 2) / count
    points: Array = (pixels[:, None] + inside).ravel()
    return points


def kernel_for(
    image: Any,
    psf: Any,
    channel_axis: int | str | None,
    spatial_dims: int,
    boundary: str,
) -> tuple[Layout, Array, list[str]]:
    """Return the image's layout, the PSF as float64 of sum one, and warnings.

    The PSF's axes say whether planes or volumes are blurred.  Where the boundary is
    "extend" it is cut to where its light is, and may be deeper than the volume, of
    which few slices are enough: the canvas has the slices that both need.

    Raises
    ------
    InputError
        If the PSF has another number of axes than 2 or 3, is larger than the image,
        is not finite or does not sum to more than zero.
    """
    given = np.asarray(as_array(psf, "psf"), np.float64)
    got = f"got shape {given.shape}"
    kernel = _with_spatial_axes(given, spatial_dims, got)
    got += f" for an image of shape {np.shape(image)}"
    try:
        layout = Layout.of(image, channel_axis, kernel.ndim, "image", fewest_slices=1)
    except InputError:
        if kernel.ndim == 2 or spatial_dims == 3:
            raise
        Layout.of(image, channel_axis, 2, "image")  # raises if nothing would fit it
        raise InputError(
            f"psf must have 2 axes unless the image is a volume; {got} with "
            f"channel_axis {channel_axis}"
        ) from None
    kernel, warnings = _clean(kernel)
    deep = boundary == "extend" and kernel.ndim == 3
    if boundary == "extend":
        kernel = _trim(kernel)
    sides = list(zip(kernel.shape, layout.sides, strict=True))
    which, compared = ("y and x", sides[1:]) if deep else ("any axis", sides)
    if any(k > n for k, n in compared):
        raise InputError(f"psf must not be larger than the image along {which}; {got}")
    return layout, kernel, warnings


def _with_spatial_axes(psf: Array, spatial_dims: int, got: str) -> Array:
    """Return a PSF with the axes of planes or of volumes, or raise."""
    kernel: Array = without_single_axes(psf)
    if spatial_dims == 3 and kernel.ndim == 2 < psf.ndim:
        kernel = kernel[np.newaxis]
    if kernel.ndim not in (2, 3):
        raise InputError(f"psf must have 2 axes, for planes, or 3, for volumes; {got}")
    if spatial_dims == 3 and kernel.ndim == 2:
        raise InputError(f"psf must have 3 axes where spatial_dims is 3; {got}")
    return kernel


def _clean(psf: Array) -> tuple[Array, list[str]]:
    """Check the values of a PSF; scale it to sum to one."""
    check_finite(psf, "psf")
    total = psf.sum()
    if not total > 1e-12 * np.abs(psf).sum() or not total > 0:
        raise InputError(f"psf must sum to more than zero; got a sum of {total:.3g}")
    warnings = []
    if psf.min() < 0:
        share = -psf[psf < 0].sum() / np.abs(psf).sum()
        warnings.append(f"negative values of the PSF ({share:.1%}) were taken as 0")
        psf = psf.clip(min=0)
    ordered = np.sort(psf, axis=None)
    darker = ordered[: len(ordered) // 2]
    share = darker.sum() / ordered.sum()
    if share > BACKGROUND and ordered[-1] > 5 * darker.mean():
        warnings.append(
            f"the darker half of the PSF holds {share:.0%} of its light: if that is "
            f"the camera's background, subtract it first"
        )
    return psf / psf.sum(), warnings


def _trim(psf: Array) -> Array:
    """Cut a PSF, about its centre, to where its light is."""
    index = []
    for axis, side in enumerate(psf.shape):
        others = tuple(i for i in range(psf.ndim) if i != axis)
        profile, centre = psf.sum(axis=others), side // 2
        radius = centre
        while radius > 0:
            inner = profile[centre - radius + 1 : centre + radius]
            if inner.sum() < 1 - TAIL:
                break
            radius -= 1
        index.append(slice(centre - radius, centre + radius + 1))
    cut = psf[tuple(index)]
    trimmed: Array = cut / cut.sum()
    return trimmed
