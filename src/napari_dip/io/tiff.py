"""TIFF, OME-TIFF and ImageJ hyperstacks."""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_dip.errors import FileError, InputError
from napari_dip.io import limits, provenance, tiff_metadata
from napari_dip.io.image import (
    Header,
    Image,
    channel_notes,
    label_notes,
    name_axes,
    sort_axes,
    turned_sides,
    unturned,
)
from napari_dip.io.open_tiff import OpenTiff, opened
from napari_dip.io.reading import one_line
from napari_dip.io.regions import Box, Creating, Levels, Regions, runs
from napari_dip.io.samples import Samples, samples_of
from napari_dip.io.segments import Segments, check_segments, segments_of


def read_header(
    path: Path, series: int | None = None, *, colours: bool = True
) -> Header:
    """Read what a TIFF says about an image, as `read` takes it."""
    with opened(path, series) as file:
        stored, _, samples = _described(file, path, colours)
        return samples.header(stored)


def contents(path: Path) -> tuple[int, list[Path]]:
    """Return how many images a TIFF holds, and the other files that they are in.

    Among these are files that do not exist, and one that holds the metadata alone.
    """
    with opened(path) as file:
        names = dict.fromkeys([*file.others, *file.missing])
        return len(file.images), [path.parent / name for name in names if name]


def read(path: Path, series: int | None = None, *, colours: bool = True) -> Image:
    """Read the first image of a TIFF, or that of a number.

    With `colours` false planes are gray that may be so; see `napari_dip.io.samples`.
    """
    with opened(path, series) as file:
        header, order, samples = _described(file, path, colours)
        limits.check_size(samples.header(header), path.name)
        _check_whole(file.series, path)
        check_segments(file.series, path)
        data = file.series.asarray()
        if file.damage:
            # tifffile returns what it can decode, and logs what it cannot.
            raise FileError(f"{path.name} is damaged: {file.damage}")
        present = file.present()
        if present is not None:
            data = data[np.ix_(*present)]
        data = data.transpose(order).astype(header.dtype, copy=False)
        return samples.image(data, header)


def open_levels(
    path: Path, series: int | None = None, *, colours: bool = True
) -> Levels | None:
    """Open an image of a TIFF, as `read` takes it, without its pixels.

    It is None where pixels can only be read at once.
    """
    with opened(path, series) as file:
        stored, order, samples = _described(file, path, colours)
        if not samples.pointwise:
            return None
        header = samples.header(stored)
        limits.check_shape(header, path.name)
        _check_whole(file.series, path)
        if file.damage:
            raise FileError(f"{path.name} is damaged: {file.damage}")
        present, levels = file.present(), file.series.levels
        readable = [segments_of(level, present) for level in levels]
    pixels, reopen = [], partial(open_levels, series=series, colours=colours)
    for number, (segments, level) in enumerate(zip(readable, levels, strict=True)):
        if segments is None:
            break
        sides = [len(n) for n in present or ()]
        sides += level.shape[len(sides) :]
        part = dataclasses.replace(stored, shape=tuple(sides[i] for i in order))
        image = _Turned(segments, order, samples, part)
        pixels.append(
            Regions(path, image.header, image.chunks, image.read, reopen, number)
        )
    return Levels(header, pixels) if pixels else None


@dataclass(frozen=True)
class _Turned:
    """The image that strips and tiles stand for."""

    segments: Segments
    """The strips and tiles."""
    order: tuple[int, ...]
    """How to transpose what they hold so that Y, X and the samples are last."""
    samples: Samples
    """What the samples mean."""
    stored: Header
    """Header of the transposed pixels."""

    @property
    def header(self) -> Header:
        """Header of the image."""
        return self.samples.header(self.stored)

    @property
    def chunks(self) -> list[int]:
        """Sides of regions that are fast to read."""
        chunks = [self.segments.chunks[i] for i in self.order]
        if "S" in self.stored.axes:
            chunks.pop()
        chunks = turned_sides(chunks, self.samples.orientation)
        if "S" in self.header.axes:
            chunks.append(self.header.shape[-1])
        return chunks

    def read(self, box: Box) -> NDArray[Any]:
        """Return a region of the image."""
        stored, samples = self.stored, self.samples
        leading = len(stored.shape) - 2 - ("S" in stored.axes)
        sides = stored.shape[leading : leading + 2]
        part = unturned(box[leading : leading + 2], sides, samples.orientation)
        part = [*box[:leading], *part]
        if "S" in stored.axes:
            part.append(slice(0, stored.shape[-1]))
        data = self.segments.read(tuple(part[i] for i in np.argsort(self.order)))
        data = data.transpose(self.order).astype(stored.dtype, copy=False)
        header = dataclasses.replace(stored, shape=data.shape)
        colours: Any = (..., *box[leading + 2 :])
        pixels: NDArray[Any] = samples.image(data, header).data[colours]
        return pixels


def _described(
    file: OpenTiff, path: Path, colours: bool
) -> tuple[Header, tuple[int, ...], Samples]:
    """Return header and order of what a file holds, and what its samples mean.

    The header has Y, X and the samples last; the order is how to transpose what is
    stored.
    """
    samples = samples_of(file, path.name, colours)
    header = _header(file, path)
    if samples.are_planes:
        header = dataclasses.replace(header, axes=header.axes.replace("S", "Q"))
    return *sort_axes(header), samples


def _header(file: OpenTiff, path: Path) -> Header:
    tif, series = file.tif, file.series
    axes = series.axes.upper()
    if series.dtype is None or not {"Y", "X"} <= set(axes):
        raise FileError(
            f"{path.name} holds no image with the axes Y and X; its axes are {axes}"
        )
    if np.dtype(series.dtype).kind not in "buif":
        raise FileError(
            f"{path.name} holds values of type {series.dtype}, which are not an image"
        )
    if series.keyframe.planarconfig not in (1, 2, None):
        # tifffile would leave a part of the memory as it is.
        raise FileError(
            f"{path.name} is damaged: its planar configuration is "
            f"{series.keyframe.planarconfig}, neither 1 nor 2"
        )
    header = Header(
        format="TIFF",
        shape=tuple(series.shape),
        dtype=np.dtype(series.dtype).newbyteorder("="),
        axes=axes,
        provenance=provenance.loads(tif.pages.first.software),
        profile=_profile(series.keyframe),
        notes=tuple(file.notes),
        levels=len(series.levels),
    )
    if tif.is_ome:
        header = tiff_metadata.from_ome(header, tif.ome_metadata, file.number)
    elif tif.is_imagej:
        header = tiff_metadata.from_imagej(header, tif)
    else:
        own = tiff_metadata.from_microscope(header, tif)
        header = own or tiff_metadata.from_tags(header, series.keyframe)
    return _without_missing(header, file)


def _profile(page: Any) -> bytes | None:
    """Return the ICC profile of a page, which is of the samples as they are stored."""
    profile = page.tags.valueof("InterColorProfile")
    return profile if isinstance(profile, bytes) and profile else None


def _without_missing(header: Header, file: OpenTiff) -> Header:
    """Return the header of the planes that exist."""
    present = file.present()
    if present is None:
        return header
    counts = [len(indices) for indices in present]
    if not file.missing:
        note = (
            f"{file.tif.filename} speaks of {len(file.series.pages)} planes and does "
            f"not hold all; {math.prod(counts)} were read"
        )
        header = dataclasses.replace(header, notes=(*header.notes, note))
    header = dataclasses.replace(header, shape=(*counts, *header.shape[len(counts) :]))
    if "C" not in header.axes[: len(counts)]:
        return header
    channels = present[header.axes.index("C")]
    names, colours = header.channel_names, header.channel_colours
    return dataclasses.replace(
        header,
        channel_names=tuple(names[i] for i in channels if names),
        channel_colours=tuple(colours[i] for i in channels if colours),
    )


def _check_whole(series: Any, path: Path) -> None:
    """Raise if pixels lie beyond the end of the file."""
    size = path.stat().st_size
    ends = []
    if series.dataoffset is not None:
        ends.append(series.dataoffset + series.nbytes)
    for page in series.pages:
        if page is None:  # in a file that does not exist
            continue
        if page.parent.filename != path.name:
            continue  # an OME-TIFF can spread over several files
        offsets = zip(page.dataoffsets, page.databytecounts, strict=False)
        ends.extend(offset + count for offset, count in offsets)
        stored, parts = len(page.dataoffsets), math.prod(page.chunked)
        if stored < parts and not page.is_contiguous:
            raise FileError(
                f"{path.name} is damaged: it has {stored} of {parts} strips or tiles"
            )
    if max(ends, default=0) > size:
        raise FileError(
            f"{path.name} is truncated: its pixels end at byte {max(ends)}, the file "
            f"at {size}"
        )


# -- writing ----------------------------------------------------------------------


def check(header: Header, dtype: np.dtype[Any], *, ome: bool) -> None:
    """Raise if a TIFF cannot hold an image of these axes and this dtype."""
    if ome and ((dtype.kind in "iu" and dtype.itemsize == 8) or dtype == np.float16):
        raise InputError(
            f"an OME-TIFF cannot hold {dtype}; write it to a .tif that is not .ome.tif"
        )
    if dtype == np.bool_ and "S" in header.axes:
        raise InputError("a TIFF cannot hold colours of one bit; ask for float32")
    if ome:
        named = name_axes(header)
        samples = named.shape[-1] if named.axes.endswith("S") else 1
        rows, columns = (named.shape[named.axes.index(axis)] for axis in "YX")
        planes = math.prod(named.shape) // max(rows * columns * samples, 1)
        stored = (planes, 1, 1, rows, columns, samples)
        try:
            tifffile.OmeXml().addimage(dtype, named.shape, stored, axes=named.axes)
        except (ValueError, tifffile.OmeXmlError) as error:
            raise InputError(
                f"an OME-TIFF cannot hold the axes {header.axes} of shape "
                f"{header.shape} ({one_line(error)}); write it to a .tif that is not "
                ".ome.tif"
            ) from error


def write(
    path: Path,
    data: NDArray[Any],
    header: Header,
    text: str | None,
    *,
    ome: bool,
    opacity: bool = False,
) -> list[str]:
    """Write an OME-TIFF or a TIFF, which is ImageJ's where that can hold the image.

    The text of the provenance is in the tag Software, which both kinds have and keep.
    With `opacity` the last sample of a pixel is its opacity.  Returned is what the file
    does not keep, as sentences for the user.
    """
    options, order, notes = _options(header, text, ome, opacity)
    with _as_file_error(header):
        tifffile.imwrite(path, np.ascontiguousarray(data.transpose(order)), **options)
    return notes


def create(path: Path, header: Header, *, ome: bool) -> Creating:
    """Create a TIFF that is written region by region; see `write`."""
    options, order, notes = _options(header, None, ome)
    shape = tuple(header.shape[i] for i in order)
    with _as_file_error(header):
        tifffile.imwrite(path, shape=shape, dtype=header.dtype, **options)
    with tifffile.TiffFile(path) as tif:
        offset = tif.series[0].dataoffset
        dtype = header.dtype.newbyteorder(tif.byteorder)
    assert offset is not None

    def put(box: Box, values: NDArray[Any]) -> None:
        within = [box[i] for i in order]
        values = np.ascontiguousarray(values.transpose(order), dtype)
        with open(path, "r+b") as file:
            for place, part in runs(values, within, shape):
                file.seek(offset + place)
                file.write(part.data)

    def finish(text: str | None) -> None:
        if text is not None:
            with tifffile.TiffFile(path, mode="r+") as tif:
                tif.pages.first.tags["Software"].overwrite(text)

    return put, finish, notes


@contextmanager
def _as_file_error(header: Header) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, struct.error, tifffile.OmeXmlError) as error:
        raise FileError(
            f"a TIFF cannot hold {header.dtype} of shape {header.shape} with the axes "
            f"{header.axes}: {one_line(error)}"
        ) from error


def _options(
    header: Header, text: str | None, ome: bool, opacity: bool = False
) -> tuple[dict[str, Any], list[int], list[str]]:
    """Return arguments of `tifffile.imwrite`, and what comes of them.

    That is how to transpose the pixels before, and what the file does not keep.
    """
    colours = header.shape[-1] - opacity if header.axes.endswith("S") else 0
    options: dict[str, Any] = {
        "software": text if text is not None else "napari-dip",
        # Four gray samples would pass for a colour with its opacity.
        "photometric": "rgb" if colours == 3 else "minisblack",
        "ome": ome,
    }
    if header.profile:
        options["iccprofile"] = header.profile
    if opacity:
        options["extrasamples"] = ["unassalpha"]
    named = name_axes(header)
    order = list(range(len(header.shape)))
    if not ome and tiff_metadata.fits_imagej(named, colours):
        order = [named.axes.index(a) for a in "TZCYXS" if a in named.axes]
        described, left_out = tiff_metadata.for_imagej(named, order)
    else:
        options["planarconfig"] = "contig" if colours else None
        if ome:
            described, left_out = tiff_metadata.for_ome(named)
        else:
            described, left_out = tiff_metadata.for_tags(header)
    notes = []
    if left_out:
        axes = ", ".join(left_out)
        notes = [f"this kind of TIFF has no place for the scale of {axes}"]
    if not (ome or "imagej" in described):
        notes += channel_notes(header, "this kind of TIFF")
    notes += label_notes(header, "a TIFF")
    if header.levels > 1:
        notes.append(
            f"the TIFF holds one of the {header.levels} resolutions of the input; an "
            ".ome.zarr has lower ones as well"
        )
    return options | described, order, notes
