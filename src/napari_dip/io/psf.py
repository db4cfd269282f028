"""Pixel sizes, which a point spread function must share with its image."""

from __future__ import annotations

from napari_dip.errors import InputError
from napari_dip.io.image import Header
from napari_dip.io.units import converted

TOLERANCE = 0.02
"""Relative difference of pixel sizes from which on they are not the same."""


def steps(header: Header, fewest: int = 1) -> dict[str, float]:
    """Return the distances of two pixels along z, y and x, in µm, where known.

    Axes of less than `fewest` pixels are left out: files say a distance of planes also
    where there is one.
    """
    known = {}
    sides = zip(header.axes, header.shape, header.scale, header.units, strict=True)
    for axis, count, size, unit in sides:
        length = None if size is None else converted(size, unit, "µm")
        if axis in "ZYX" and length and count >= fewest:
            known[axis.lower()] = abs(length)
    return known


def z_spacing(known: dict[str, float]) -> float | None:
    """Return the distance of planes over that of pixels, None where not known."""
    if not {"x", "z"} <= known.keys():
        return None
    return relative(known["z"], known["x"])


def relative(step: float, pixel: float) -> float:
    """Return a step over a pixel, to four digits, between 0.001 and 1000."""
    return float(f"{min(max(step / pixel, 0.001), 1000):.4g}")


def optics_of(header: Header, name: str) -> dict[str, float]:
    """Return pixel size and z step of a file as the parameters of a PSF, in µm.

    Raises
    ------
    InputError
        If rows and columns have other distances.
    """
    known = steps(header)
    if "x" not in known or "y" not in known:
        return {}
    if differ(known["y"], known["x"]):
        raise InputError(
            f"pixels must be square; those of {name} have {known['y']:g} x "
            f"{known['x']:g} µm"
        )
    optics = {"pixel_size": known["x"]}
    return optics | ({"z_step": known["z"]} if "z" in known else {})


def size_warning(image: dict[str, float], psf: dict[str, float]) -> str | None:
    """Return a warning if pixels of a PSF have another size than those of the image.

    Given are the distances of two pixels along the axes z, y and x, in one unit.
    """
    texts = [
        f"{psf[axis]:.4g} along {axis}, where those of the image have {image[axis]:.4g}"
        for axis in image
        if axis in psf and differ(image[axis], psf[axis])
    ]
    if not texts:
        return None
    return (
        f"the pixels of the PSF have another size than those of the image: "
        f"{'; '.join(texts)}. Make or measure the PSF on the grid of the image"
    )


def differ(size: float, other: float) -> bool:
    """Return whether two pixel sizes are not the same."""
    return abs(size - other) > TOLERANCE * max(size, other)
