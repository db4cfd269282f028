"""An image as a file holds it: the array and what the file says about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
    subsampling : {"4:4:4", "4:2:2", "4:2:0"}
        How many pixels share one value of Cb and Cr: one, two along x, or two along x
        and along y.
    """

    tables: tuple[tuple[int, ...], ...]
    subsampling: str


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
        Names along the axis C, or of the one channel of an image without it; empty
        where the file has none.
    channel_colours : tuple of str
        Colours of the same channels, such as "#00ff00"; empty where the file has none.
    provenance : dict or None
        How napari-dip made the image, if it did.
    profile : bytes or None
        ICC colour profile.
    notes : tuple of str
        What was left out of the file, as sentences for the user.
    jpeg : JpegTables or None
        Rounding of a JPEG that stores brightness and colour apart and is not to be
        turned; None for all others.
    lossy : bool
        Whether the pixels were compressed with losses.
    levels : int
        How many resolutions of the image the file holds.
    labels : Path or None
        Folder of the labels beside an image of an OME-Zarr.
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
    lossy: bool = False
    levels: int = 1
    labels: Path | None = None

    def __post_init__(self) -> None:
        unknown = (None,) * len(self.shape)
        scale = tuple(None if step is None else float(step) for step in self.scale)
        object.__setattr__(self, "scale", scale or unknown)
        object.__setattr__(self, "units", self.units or unknown)
        # One of several equal types, of which Zarr knows only one.
        object.__setattr__(self, "dtype", np.dtype(np.dtype(self.dtype).str))

    @property
    def channel_axis(self) -> int | None:
        """Axis of colours or channels, counted from the front."""
        for letter in "SC":
            if letter in self.axes:
                return self.axes.index(letter)
        return None

    @property
    def channels(self) -> int:
        """How many channels there are to have a name and a colour; 0 for colours."""
        if "S" in self.axes:
            return 0
        return self.shape[self.axes.index("C")] if "C" in self.axes else 1

    def step_text(self, axis: int) -> str:
        """Return the scale of an axis for a message, such as "Z (300 nm)"."""
        size = self.scale[axis]
        return f"{self.axes[axis]} ({size:g} {self.units[axis] or 'pixel'})"

    def of(self, data: NDArray[Any]) -> Header:
        """Return the header for a result: other pixels over the same field."""
        scale = tuple(
            float(f"{step * old / new:.12g}")
            if step is not None and letter in _SPATIAL and new != old
            else step
            for step, letter, old, new in zip(
                self.scale, self.axes, self.shape, data.shape, strict=True
            )
        )
        changed = any(
            letter in _SPATIAL and new != old
            for letter, old, new in zip(self.axes, self.shape, data.shape, strict=True)
        )
        return dataclasses.replace(
            self,
            shape=data.shape,
            dtype=data.dtype,
            scale=scale,
            provenance=None,
            jpeg=None,
            lossy=False,
            labels=None if changed else self.labels,
        )


@dataclass(frozen=True, eq=False)
class Image:
    """An array and its header.

    Attributes
    ----------
    data : ndarray
        The pixels, in the order of ``header.axes``; or a
        `napari_dip.io.regions.Regions`, which reads them when they are asked for.
    header : Header
        What the file says about them.
    alpha : ndarray or None
        Opacity of pixels that are not opaque everywhere, of the shape of the data
        without colours.  It is not restored, so it is kept apart.
    """

    data: NDArray[Any]
    header: Header
    alpha: NDArray[Any] | None = None


def split_opacity(data: NDArray[Any], header: Header) -> Image:
    """Return an image whose last sample is its opacity, with that kept apart."""
    alpha, data = data[..., -1], data[..., :-1]
    opaque = (alpha == full_scale(alpha.dtype)).all()
    if data.shape[-1] == 1:
        data = data[..., 0]
    data = np.ascontiguousarray(data)
    return Image(data, without_opacity(header), None if opaque else alpha)


def without_opacity(header: Header) -> Header:
    """Return the header of `split_opacity`."""
    *spatial, samples = range(len(header.shape))
    if header.shape[samples] == 2:
        return reorder(header, spatial)
    shape = (*header.shape[:-1], header.shape[samples] - 1)
    return dataclasses.replace(header, shape=shape)


def with_samples(header: Header, count: int) -> Header:
    """Return the header of an image that has so many samples for every pixel."""
    return dataclasses.replace(
        header,
        shape=(*header.shape, count),
        axes=header.axes + "S",
        scale=(*header.scale, None),
        units=(*header.units, None),
    )


def join_opacity(image: Image) -> tuple[NDArray[Any], Header]:
    """Return the pixels of an image with its opacity as the last sample."""
    data, header, alpha = image.data, image.header, image.alpha
    if alpha is None:
        return data, header
    if "S" not in header.axes:
        data = data[..., None]
        header = with_samples(header, 1)
    # On finer pixels each repeats the opacity of the one it lies in.
    for axis, (new, old) in enumerate(zip(data.shape[:-1], alpha.shape, strict=True)):
        alpha = alpha.repeat(max(new // old, 1), axis=axis)
    if alpha.dtype != data.dtype and data.dtype.kind in "bui":
        alpha = np.rint(alpha / full_scale(alpha.dtype) * full_scale(data.dtype))
    data = np.concatenate([data, alpha[..., None].astype(data.dtype)], axis=-1)
    return data, dataclasses.replace(header, shape=data.shape)


def full_scale(dtype: np.dtype[Any]) -> int:
    """Return the value that stands for full opacity or brightness in a type."""
    return int(np.iinfo(dtype).max) if dtype.kind in "ui" else 1


_FLIPPED = {2: (False, True), 3: (True, True), 4: (True, False)}
_FLIPPED |= {5: (False, False), 6: (False, True), 7: (True, True), 8: (True, False)}
"""Whether Y and X are flipped in each orientation of TIFF and Exif, after Y and X
changed places for those from 5 on."""


def turned(data: NDArray[Any], axes: str, orientation: int) -> NDArray[Any]:
    """Return pixels the way up that a tag of TIFF or Exif says, 1 to 8."""
    if orientation not in _FLIPPED:
        return data
    y, x = axes.index("Y"), axes.index("X")
    if orientation >= 5:
        data = data.swapaxes(y, x)
    flips = dict(zip((y, x), _FLIPPED[orientation], strict=True))
    upright: NDArray[Any] = np.flip(data, tuple(axis for axis in flips if flips[axis]))
    return upright


def turned_sides(sides: Sequence[int], orientation: int) -> list[int]:
    """Return the sides of an image after `turned`, of which Y and X are the last."""
    swapped = orientation in (5, 6, 7, 8)
    return [*sides[:-2], *(sides[:-3:-1] if swapped else sides[-2:])]


def unturned(
    region: Sequence[slice], sides: Sequence[int], orientation: int
) -> list[slice]:
    """Return where a region along Y and X of an image was before `turned`.

    The sides are those of the image before.
    """
    if orientation not in _FLIPPED:
        return list(region)
    after, before = turned_sides(sides, orientation), []
    for part, side, flip in zip(region, after, _FLIPPED[orientation], strict=True):
        flipped = slice(side - part.stop, side - part.start)
        before.append(flipped if flip else part)
    return before[::-1] if orientation >= 5 else before


def turned_header(header: Header, orientation: int) -> Header:
    """Return the header of `turned`."""
    if orientation not in (5, 6, 7, 8):
        return header
    y, x = header.axes.index("Y"), header.axes.index("X")
    order = list(range(len(header.shape)))
    order[y], order[x] = x, y
    return dataclasses.replace(reorder(header, order), axes=header.axes)


def channel_notes(header: Header, kind: str) -> list[str]:
    """Return a note if a kind of file loses names or colours of channels."""
    lost = {"names": header.channel_names, "colours": header.channel_colours}
    words = " and ".join(word for word, values in lost.items() if values)
    return [f"{kind} has no place for the {words} of channels"] if words else []


def label_notes(header: Header, kind: str) -> list[str]:
    """Return a note if a kind of file loses the labels beside an image."""
    return [f"{kind} has no place for the labels of the input"] if header.labels else []


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
    """Name axes of unknown meaning as ImageJ does: slices, and times before them."""
    axes = list(header.axes)
    unknown = [i for i, letter in enumerate(axes) if letter not in "TZCYXS"]
    free = [letter for letter in "TZ" if letter not in axes]
    for i, letter in zip(unknown, free[-len(unknown) :], strict=False):
        axes[i] = letter
    return dataclasses.replace(header, axes="".join(axes))
