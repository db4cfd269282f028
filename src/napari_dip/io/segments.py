"""The strips and tiles of a TIFF, of which those of a region are decoded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION

from napari_dip.errors import FileError
from napari_dip.io import coded_size, limits, raster
from napari_dip.io.regions import Box, runs, sides_of, slab_sides

_PIXELS = {
    COMPRESSION.OJPEG: coded_size.jpeg,
    COMPRESSION.JPEG: coded_size.jpeg,
    COMPRESSION.ALT_JPEG: coded_size.jpeg,
    COMPRESSION.JPEG_LOSSY: coded_size.jpeg,
    COMPRESSION.PNG: raster.pixels_in,
    COMPRESSION.WEBP: raster.pixels_in,
    COMPRESSION.WEBP_DEPRECATED: raster.pixels_in,
    COMPRESSION.JPEG2000: coded_size.jpeg_2000,
    COMPRESSION.JPEG_2000_LOSSY: coded_size.jpeg_2000,
    COMPRESSION.APERIO_JP2000_YCBC: coded_size.jpeg_2000,
    COMPRESSION.APERIO_JP2000_RGB: coded_size.jpeg_2000,
    COMPRESSION.JPEGXL: coded_size.jpeg_xl,
    52546: coded_size.jpeg_xl,  # of DNG
    COMPRESSION.JPEGXR: coded_size.jpeg_xr,
    COMPRESSION.JPEGXR_NDPI: coded_size.jpeg_xr,
    COMPRESSION.LERC: coded_size.lerc,
}
"""For compressions whose strips and tiles are images with a size of their own, what
returns their pixels, or 0 if the size is not found."""

_JPEG = (
    COMPRESSION.OJPEG,
    COMPRESSION.JPEG,
    COMPRESSION.ALT_JPEG,
    COMPRESSION.JPEG_LOSSY,
)
"""Compressions whose strips and tiles share tables of the page."""

_HEAD = 2**20
"""Bytes of a strip or tile in which its size stands."""

_KEPT = 2**26
"""Bytes of decoded strips and tiles that are kept: regions share those at borders."""

_CHUNK = 2**24
"""Bytes of a chunk where rows lie one after the other."""


def check_segments(series: Any, path: Path) -> None:
    """Raise if a strip or tile is an image of its own that is larger than it should be.

    Other compressions are decoded into the memory of a strip or tile.
    """
    if series.keyframe.compression not in _PIXELS:
        return
    with open(path, "rb") as stream:
        for page in series.pages:
            if page is None or page.parent.filename != path.name:
                continue
            places = zip(page.dataoffsets, page.databytecounts, strict=False)
            for offset, count in places:
                stream.seek(offset)
                head = stream.read(min(count, _HEAD))
                _check_segment(head, series.keyframe, path)


def _check_segment(content: bytes, page: Any, path: Path) -> None:
    if page.compression not in _PIXELS or not content:
        return
    expected = math.prod((page.tile or (page.rowsperstrip, page.imagewidth))[-2:])
    if page.compression == COMPRESSION.LERC:  # says how many values it has
        expected *= page.samplesperpixel
    pixels = _PIXELS[page.compression](content[:_HEAD])
    if not pixels and page.compression == COMPRESSION.OJPEG:
        # What a decoder needs stands in tags of the page, as TIFF 6.0 had it first.
        raise FileError(
            f"{path.name} holds JPEG as it was written before 1995 (compression 6), "
            "which is not read; convert it to another compression"
        )
    if not pixels and page.jpegheader is None:
        raise FileError(
            f"{path.name} is damaged: a strip or tile does not say how large its image "
            "is"
        )
    if pixels > 4 * expected + _HEAD:
        raise FileError(
            f"{path.name} is damaged: a strip or tile of {expected} pixels holds an "
            f"image of {pixels}"
        )


class Segments:
    """An image in a TIFF, of which regions are read.

    Given are a page that is like all the others, and `Plane` objects over the leading
    axes of the image.  No file is kept open.
    """

    def __init__(self, page: Any, planes: NDArray[Any]) -> None:
        self._page, self._planes = page, planes
        self._sides: tuple[int, ...]
        # The axes of a page are separate samples, Z, Y, X and samples; its shape
        # leaves those out that it has not.
        separate, samples = page.axes[0] == "S", page.axes[-1] == "S"
        has = (separate, "Z" in page.axes, True, True, samples)
        self._axes = [axis for axis, present in enumerate(has) if present]
        last = page.shaped[-1]
        if page.is_tiled:
            self._sides = (1, page.tiledepth, page.tilelength, page.tilewidth, last)
        else:
            self._sides = (1, 1, page.rowsperstrip, page.imagewidth, last)
        size = math.prod(self._sides) * page.dtype.itemsize
        if not page.is_final:
            name = page.parent.filename
            limits.check_memory(size, f"{name} has a strip or tile of {size} bytes")
            self._decoder = page.decode
        self._segment = lru_cache(max(1, _KEPT // size))(self._decode)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Sides of regions that are fast to read."""
        page, sides = self._page, self._sides
        if not page.is_tiled:
            sides = slab_sides(page.shaped, page.dtype.itemsize, _CHUNK)
        return (1,) * self._planes.ndim + tuple(sides[axis] for axis in self._axes)

    def read(self, box: Box) -> NDArray[Any]:
        """Return a region of the image."""
        depth = self._planes.ndim
        over: Any = (*box[:depth], ...)
        planes: Any = self._planes[over]
        inside = [slice(0, 1)] * 5
        for axis, part in zip(self._axes, box[depth:], strict=True):
            inside[axis] = part
        pixels = np.empty((*planes.shape, *sides_of(inside)), self._page.dtype)
        for position in np.ndindex(planes.shape):
            plane = planes[position]
            if self._page.is_final:
                pixels[position] = self._stored(plane, inside)
            else:
                self._put_together(plane, inside, pixels[position])
        return pixels.reshape(*planes.shape, *sides_of(box[depth:]))

    def _stored(self, plane: Plane, box: Sequence[slice]) -> NDArray[Any]:
        """Return a region of pixels that lie in the file as they are."""
        page = self._page
        dtype = page.dtype.newbyteorder(page.parent.byteorder)
        pixels = np.empty(sides_of(box), dtype)
        with open(plane.path, "rb") as file:
            for place, part in runs(pixels, box, page.shaped):
                file.seek(plane.offsets[0] + place)
                if file.readinto(part.data) < part.nbytes:
                    raise EOFError(f"{plane.path.name} ends within its pixels")
        return pixels

    def _put_together(
        self, plane: Plane, box: Sequence[slice], pixels: NDArray[Any]
    ) -> None:
        """Fill an array with what strips or tiles have of a box."""
        sides, shaped = self._sides, self._page.shaped
        counts = tuple(-(-n // side) for n, side in zip(shaped, sides, strict=True))
        touched = [
            range(part.start // side, -(-part.stop // side))
            for part, side in zip(box, sides, strict=True)
        ]
        for place in itertools.product(*touched):
            number = int(np.ravel_multi_index(place, counts))
            segment = self._segment(plane, number)
            target, source = [], []
            for part, side, i in zip(box, sides, place, strict=True):
                first = max(part.start, i * side)
                end = min(part.stop, (i + 1) * side)
                target.append(slice(first - part.start, end - part.start))
                source.append(slice(first - i * side, end - i * side))
            if segment is None:
                pixels[tuple(target)] = self._page.nodata
            else:
                pixels[tuple(target)] = segment[tuple(source[1:])]

    def _decode(self, plane: Plane, number: int) -> NDArray[Any] | None:
        """Return a strip or tile, None for one that is not stored."""
        if number >= min(len(plane.offsets), len(plane.counts)):
            return None
        offset, count = plane.offsets[number], plane.counts[number]
        if not (offset and count):
            return None
        with open(plane.path, "rb") as file:
            file.seek(offset)
            content = file.read(count)
        _check_segment(content, self._page, plane.path)
        segment: NDArray[Any] = self._decoder(content, number, **plane.options)[0]
        return segment


@dataclass(frozen=True, eq=False)
class Plane:
    """Where the pixels of a page are."""

    path: Path
    """The file, which may be another one of the same OME-TIFF."""
    offsets: Sequence[int]
    counts: Sequence[int] = ()
    """Places and sizes of strips or tiles; the first is the place of all pixels where
    these lie in the file as they are."""
    options: dict[str, Any] = field(default_factory=dict)
    """What the decoder needs besides."""


def segments_of(
    series: Any, present: tuple[NDArray[Any], ...] | None
) -> Segments | None:
    """Return the strips and tiles of an image, None if it must be read at once.

    `present` are the indices along the leading axes that have planes, if not all.
    """
    page = series.keyframe
    leading = series.shape[: len(series.shape) - len(page.shape)]
    unusual = series.shape[len(leading) :] != page.shape or series.transform is not None
    # What tifffile does with a page as a whole, not with its strips.
    unusual |= page.jpegheader is not None
    unusual |= page.is_contiguous and not page.is_final
    if unusual:
        return None
    planes: list[Plane | None]
    if page.is_final and series.dataoffset is not None and not series.is_multifile:
        path, size = Path(page.parent.filehandle.path), page.nbytes
        starts = range(math.prod(leading))
        planes = [Plane(path, (series.dataoffset + size * i,)) for i in starts]
    else:
        planes = [None if p is None else _plane(p, page) for p in series.pages]
    if len(planes) != math.prod(leading):
        return None
    array = np.empty(len(planes), object)
    array[:] = planes
    array = array.reshape(leading)
    return Segments(page, array if present is None else array[np.ix_(*present)])


def _plane(page: Any, like: Any) -> Plane:
    options = {}
    if like.compression in _JPEG:
        options = {"jpegtables": page.jpegtables}
    path = Path(page.parent.filehandle.path)
    return Plane(path, page.dataoffsets, page.databytecounts, options)
