"""An image as a file holds it: the array and what the file says about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError

_SPATIAL = "ZYX"


@dataclass(frozen=True)
class JpegTables:
    """How coarsely a JPEG file was rounded, as the file says.

    Attributes
    ----------
    tables : tuple of tuple of int
        Steps of quantisation of the 8 x 8 cosine transform, 64 for each class of
        components, in the order of rows from the lowest frequencies: for brightness
        (Y), then, where the file has colours, for Cb and Cr together.
    subsampling : tuple of int
        Pixels along x and along y that share one value of Cb and Cr: (1, 1) is
        called 4:4:4, (2, 1) 4:2:2 and (2, 2) 4:2:0.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: tuple[int, int]


@dataclass(frozen=True)
class Header:
    """What a file says about its image.

    Attributes
    ----------
    format : str
        "TIFF", "OME-TIFF", "ImageJ TIFF", "OME-Zarr" with its version, "Zarr",
        "PNG" or "JPEG".
    shape : tuple of int
        Shape of the array.
    dtype : numpy.dtype
        Type of the array.
    axes : str
        A letter for each axis: T, Z, C, Y, X, S for the samples of a colour, and
        whatever else a file names; Y and X are the last but for S.
    scale : tuple of float or None
        Distance of two pixels along each axis, None where not known.
    units : tuple of str or None
        Unit of the scale of each axis.
    channel_names : tuple of str
        Names along the axis C, empty where the file has none.
    channel_colours : tuple of str
        Colours along the axis C, such as "#00ff00"; empty where the file has none.
    provenance : dict or None
        How napari-dip made the image, if it did.
    profile : bytes or None
        ICC colour profile.
    notes : tuple of str
        What was left out of the file, as sentences for the user.
    jpeg : JpegTables or None
        Rounding of a JPEG that stores brightness and colour apart and is not to be
        turned; None for all others.
    """

    format: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    scale: tuple[float | None, ...] = ()
    units: tuple[str | None, ...] = ()
    channel_names: tuple[str, ...] = ()
    channel_colours: tuple[str, ...] = ()
    provenance: dict[str, Any] | None = None
    profile: bytes | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    jpeg: JpegTables | None = None

    def __post_init__(self) -> None:
        unknown = (None,) * len(self.shape)
        object.__setattr__(self, "scale", self.scale or unknown)
        object.__setattr__(self, "units", self.units or unknown)

    @property
    def channel_axis(self) -> int | None:
        """Axis of colours or channels, counted from the front."""
        for letter in "SC":
            if letter in self.axes:
                return self.axes.index(letter)
        return None

    def of(self, data: NDArray[Any]) -> Header:
        """Return the header for a result: other pixels over the same field."""
        scale = tuple(
            step * old / new
            if step is not None and letter in _SPATIAL and new != old
            else step
            for step, letter, old, new in zip(
                self.scale, self.axes, self.shape, data.shape, strict=True
            )
        )
        return dataclasses.replace(
            self,
            shape=data.shape,
            dtype=data.dtype,
            scale=scale,
            provenance=None,
            jpeg=None,
        )


@dataclass(frozen=True, eq=False)
class Image:
    """An array and its header.

    Attributes
    ----------
    data : ndarray
        The pixels, in the order of ``header.axes``.
    header : Header
        What the file says about them.
    alpha : ndarray or None
        Opacity, (Y, X), of a PNG that is not opaque everywhere. It is not restored,
        so it is kept apart.
    """

    data: NDArray[Any]
    header: Header
    alpha: NDArray[Any] | None = None


def plain_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Header:
    """Return the header of an array without metadata."""
    axes = "YXS" if len(shape) > 2 and shape[-1] in (3, 4) else "YX"
    if len(shape) < len(axes):
        raise InputError(f"data must be an image; got shape {shape}")
    return Header("array", shape, dtype, "Q" * (len(shape) - len(axes)) + axes)


def sort_axes(header: Header) -> tuple[Header, tuple[int, ...]]:
    """Move Y, X and the samples to the end; also return the order of the axes."""
    last = [header.axes.index(letter) for letter in "YXS" if letter in header.axes]
    order = (*(i for i in range(len(header.shape)) if i not in last), *last)
    return reorder(header, order), order


def reorder(header: Header, order: Sequence[int]) -> Header:
    """Return the header of an array whose axes were transposed."""
    return dataclasses.replace(
        header,
        shape=tuple(header.shape[i] for i in order),
        axes="".join(header.axes[i] for i in order),
        scale=tuple(header.scale[i] for i in order),
        units=tuple(header.units[i] for i in order),
    )


def name_axes(header: Header) -> Header:
    """Name axes of unknown meaning as ImageJ does: slices, or else times."""
    axes = header.axes
    for letter in header.axes:
        free = [a for a in "ZT" if a not in axes]
        if letter not in "TZCYXS" and free:
            axes = axes.replace(letter, free[0], 1)
    return dataclasses.replace(header, axes=axes)
