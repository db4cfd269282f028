"""TIFF, OME-TIFF and ImageJ hyperstacks."""

from __future__ import annotations

import dataclasses
import math
import re
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
from napari_dip.io import limits, provenance, units
from napari_dip.io.image import (
    Header,
    Image,
    name_axes,
    sort_axes,
    turned_sides,
    unturned,
)
from napari_dip.io.open_tiff import OpenTiff, opened
from napari_dip.io.reading import one_line
from napari_dip.io.regions import Box, Levels, Regions, Target, runs
from napari_dip.io.samples import Samples, samples_of
from napari_dip.io.segments import Segments, check_segments, segments_of

_IMAGEJ_TYPES = (np.uint8, np.uint16, np.float32)

_RAMP = 3
"""Difference of a table of colours from an even ramp, in steps of 255, that is due to
rounding."""

_RATIONAL = (1e-6, 2.0**32)
"""Numbers between these are a ratio of two integers of 32 bits, as resolutions are."""

_OME_STEPS = {axis: (f"PhysicalSize{axis}", "length") for axis in "XYZ"}
_OME_STEPS["T"] = "TimeIncrement", "time"
"""Attributes for the steps along axes, and what they measure."""

_OME_UNIT = re.compile("([YZEPTGMkhdcmµnpfazy]|da)?[ms]|Å|in|ft|yd|mi|ly|pc|min|h|d")
"""Units of length and time in the OME schema of June 2016."""

_CLASSIC_TIFF = 2**32 - 2**25
"""Bytes that offsets of 32 bits reach, less some for the tags."""


def read_header(path: Path, series: int | None = None) -> Header:
    """Read what a TIFF says about an image, as `read` takes it."""
    with opened(path, series) as file:
        header, _ = sort_axes(_header(file, path))
        return samples_of(file.tif, path.name, file.number).header(header)


def count(path: Path) -> int:
    """Return how many images a TIFF holds."""
    with opened(path) as file:
        return len(file.tif.series)


def read(path: Path, series: int | None = None) -> Image:
    """Read the first image of a TIFF, or that of a number."""
    with opened(path, series) as file:
        header, order = sort_axes(_header(file, path))
        samples = samples_of(file.tif, path.name, file.number)
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


def open_levels(path: Path, series: int | None = None) -> Levels | None:
    """Open an image of a TIFF, as `read` takes it, without its pixels.

    Returns
    -------
    Levels or None
        None where pixels can only be read at once.
    """
    with opened(path, series) as file:
        stored, order = sort_axes(_header(file, path))
        samples = samples_of(file.tif, path.name, file.number)
        if not samples.pointwise:
            return None
        header = samples.header(stored)
        limits.check_not_empty(header, path.name)
        _check_whole(file.series, path)
        if file.damage:
            raise FileError(f"{path.name} is damaged: {file.damage}")
        present, levels = file.present(), file.series.levels
        readable = [segments_of(level, present) for level in levels]
    pixels, reopen = [], partial(open_levels, series=series)
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
    """The image that strips and tiles stand for.

    Attributes
    ----------
    segments : Segments
        The strips and tiles.
    order : tuple of int
        How to transpose what they hold so that Y, X and the samples are last.
    samples : Samples
        What the samples mean.
    stored : Header
        Header of the transposed pixels.
    """

    segments: Segments
    order: tuple[int, ...]
    samples: Samples
    stored: Header

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


def _header(file: OpenTiff, path: Path) -> Header:
    """Describe a series with its axes as they lie in the file."""
    tif, series = file.tif, file.series
    axes = series.axes.upper()
    if series.dtype is None or not {"Y", "X"} <= set(axes):
        raise FileError(
            f"{path.name} holds no image with the axes Y and X; its axes are {axes}"
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
        notes=tuple(file.notes),
    )
    if tif.is_ome:
        header = _with_ome(header, file)
    elif tif.is_imagej:
        header = _with_imagej(header, tif)
    else:
        header = _with_resolution(header, series.keyframe)
    return _without_missing(header, file)


def _without_missing(header: Header, file: OpenTiff) -> Header:
    """Return the header of the planes that exist."""
    present = file.present()
    if present is None:
        return header
    counts = [len(indices) for indices in present]
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
    if max(ends, default=0) > size:
        raise FileError(
            f"{path.name} is truncated: its pixels end at byte {max(ends)}, the file "
            f"at {size}"
        )


# -- what the formats say ---------------------------------------------------------


def _with_ome(header: Header, file: OpenTiff) -> Header:
    ome = tifffile.xml2dict(file.tif.ome_metadata or "")["OME"]
    images = _listed(ome.get("Image"))
    header = dataclasses.replace(header, format="OME-TIFF")
    if file.number >= len(images):
        return header
    pixels = images[file.number]["Pixels"]
    sizes = {
        axis: (
            _positive(pixels.get(f"PhysicalSize{axis}")),
            units.symbol(pixels.get(f"PhysicalSize{axis}Unit", "µm")),
        )
        for axis in "XYZ"
    }
    step = _positive(pixels.get("TimeIncrement"))
    sizes["T"] = step, units.symbol(pixels.get("TimeIncrementUnit", "s"))
    channels = pixels.get("Channel", [])
    if isinstance(channels, dict):
        channels = [channels]
    names = tuple(str(channel.get("Name", "")) for channel in channels)
    colours = tuple(_ome_colour(channel.get("Color")) for channel in channels)
    return _scaled(header, sizes, names, colours)


def _with_imagej(header: Header, tif: tifffile.TiffFile) -> Header:
    metadata = tif.imagej_metadata or {}
    unit = units.symbol(metadata.get("unit"))
    x, y = _resolution(tif.pages.first)
    sizes = {"T": (_positive(metadata.get("finterval")), metadata.get("tunit", "s"))}
    if unit is not None:
        sizes["X"] = x, unit
        sizes["Y"] = y, metadata.get("yunit", unit)
        sizes["Z"] = _positive(metadata.get("spacing")), metadata.get("zunit", unit)
    sizes = {axis: (step, units.symbol(name)) for axis, (step, name) in sizes.items()}
    header = dataclasses.replace(header, format="ImageJ TIFF")
    names = _imagej_names(_listed(metadata.get("Labels")), header)
    tables = _listed(metadata.get("LUTs"))
    if not tables and tif.pages.first.colormap is not None:
        tables = [tif.pages.first.colormap >> 8]
    colours = tuple(map(_table_colour, tables))
    if not all(colours):
        note = "a table of colours that is no ramp from black is not kept; gray is"
        header = dataclasses.replace(header, notes=(*header.notes, note))
        colours = tuple(colour or "#ffffff" for colour in colours)
    return _scaled(header, sizes, names, colours)


def _listed(value: Any) -> list[Any]:
    """Return a list; tifffile gives what is alone without one."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _imagej_names(labels: list[Any], header: Header) -> tuple[str, ...]:
    """Return the labels of planes where they are the same for all of a channel."""
    leading = header.shape[: -2 - ("S" in header.axes)]
    if len(labels) != math.prod(leading):
        return ()
    planes = np.array([str(label) for label in labels], object).reshape(leading)
    if "C" not in header.axes:
        planes = planes[None]
    else:
        planes = np.moveaxis(planes, header.axes.index("C"), 0)
    planes = planes.reshape(len(planes), -1)
    same = (planes == planes[:, :1]).all()
    return tuple(planes[:, 0]) if same else ()


def _table_colour(table: NDArray[Any]) -> str:
    """Return the colour of a table that is a ramp from black, "" for all others."""
    if table.shape != (3, 256):
        return ""
    ramp = np.outer(table[:, -1], np.arange(256) / 255)
    rising = table[:, -1].any() and np.abs(table - ramp).max() <= _RAMP
    return "#" + table[:, -1].astype(np.uint8).tobytes().hex() if rising else ""


def _with_resolution(header: Header, page: Any) -> Header:
    # Per inch it is the size for printing; per centimetre it is taken as measured.
    if page.tags.valueof("ResolutionUnit") != 3:
        return header
    x, y = (None if v is None else v * 1e4 for v in _resolution(page))
    return _scaled(header, {"X": (x, "µm"), "Y": (y, "µm")}, (), ())


def _scaled(
    header: Header,
    sizes: dict[str, tuple[float | None, str | None]],
    names: tuple[str, ...],
    colours: tuple[str, ...],
) -> Header:
    known = {axis: size for axis, size in sizes.items() if size[0] is not None}
    count = header.channels
    return dataclasses.replace(
        header,
        scale=tuple(known.get(axis, (None, None))[0] for axis in header.axes),
        units=tuple(known.get(axis, (None, None))[1] for axis in header.axes),
        channel_names=names if len(names) == count and any(names) else (),
        channel_colours=colours if len(colours) == count and all(colours) else (),
    )


def _resolution(page: Any) -> tuple[float | None, float | None]:
    """Return the size of a pixel along x and y in the unit of the resolution."""
    sizes = []
    for name in ("XResolution", "YResolution"):
        value = page.tags.valueof(name)
        pair = isinstance(value, tuple) and len(value) == 2 and 0 not in value
        # Rounded, since a ratio of two integers only approximates the size.
        sizes.append(float(f"{value[1] / value[0]:.7g}") if pair else None)
    return sizes[0], sizes[1]


def _ome_colour(value: Any) -> str:
    """Return the colour that OME writes as a signed integer, RGBA; "" if there is none.

    See the attribute Color of the element Channel in the OME schema of June 2016.
    """
    try:
        rgba = int(value) & 0xFFFFFFFF
    except (TypeError, ValueError):
        return ""
    return f"#{rgba >> 8:06x}"


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


# -- writing ----------------------------------------------------------------------


def check(header: Header, dtype: np.dtype[Any], *, ome: bool) -> None:
    """Raise if a TIFF cannot hold an image of these axes and this dtype."""
    if ome and ((dtype.kind in "iu" and dtype.itemsize == 8) or dtype == np.float16):
        raise InputError(
            f"an OME-TIFF cannot hold {dtype}; write it to a .tif that is not .ome.tif"
        )
    if dtype == np.bool_ and "S" in header.axes:
        raise InputError("a TIFF cannot hold colours of one bit; ask for float32")


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

    The provenance is in the tag Software, which both kinds have and keep.

    Parameters
    ----------
    path : Path
        The file.
    data : ndarray
        The pixels.
    header : Header
        Their header.
    text : str or None
        The provenance.
    ome : bool
        Whether to write an OME-TIFF.
    opacity : bool
        Whether the last sample is the opacity.

    Returns
    -------
    list of str
        What the file does not keep, as sentences for the user.
    """
    options, order, notes = _options(header, text, ome, opacity)
    with _as_file_error(header):
        tifffile.imwrite(path, np.ascontiguousarray(data.transpose(order)), **options)
    return notes


def create(path: Path, header: Header, *, ome: bool) -> Target:
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

    return Target(header.shape, header.dtype, put, finish, notes)


@contextmanager
def _as_file_error(header: Header) -> Iterator[None]:
    """Turn what tifffile raises for an image that a TIFF cannot hold into one line."""
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
    """Return how tifffile is to write an image.

    Returns
    -------
    options : dict
        Arguments of `tifffile.imwrite`.
    order : list of int
        How to transpose the pixels before.
    notes : list of str
        What the file does not keep.
    """
    colour = header.axes.endswith("S")
    options: dict[str, Any] = {
        "software": text if text is not None else "napari-dip",
        "photometric": "rgb" if colour and header.shape[-1] in (3, 4) else "minisblack",
        "planarconfig": "contig" if colour else None,
        "ome": ome,
    }
    if opacity:
        options["extrasamples"] = ["unassalpha"]
    named = name_axes(header)
    order = list(range(len(header.shape)))
    resolution: dict[str, Any] = {}
    if ome:
        metadata, notes = _ome_metadata(named)
    elif _fits_imagej(named):
        order = [named.axes.index(a) for a in "TZCYXS" if a in named.axes]
        metadata, resolution["resolution"], notes = _imagej_metadata(named, order)
        options["imagej"] = True
        options.pop("planarconfig")
    else:
        metadata = {"axes": header.axes}
        resolution, notes = _centimetres(header)
    return options | resolution | {"metadata": metadata}, order, notes


def _ome_metadata(header: Header) -> tuple[dict[str, Any], list[str]]:
    """Return the metadata for an OME-TIFF, and what is left out."""
    metadata: dict[str, Any] = {"axes": header.axes}
    left_out = []
    for i, (axis, size) in enumerate(zip(header.axes, header.scale, strict=True)):
        if size is None:
            continue
        unit = header.units[i]
        if axis in "XYZ" and unit is None:
            key, unit = f"PhysicalSize{axis}", "pixel"
        else:
            key, kind = _OME_STEPS.get(axis, ("", ""))
            if not key or units.kind(unit) != kind:
                left_out.append(header.step_text(i))
                continue
            if not _OME_UNIT.fullmatch(str(unit)):
                base = "µm" if kind == "length" else "s"
                size, unit = units.converted(size, unit, base), base
        metadata[key] = size
        metadata[f"{key}Unit"] = unit
    channel: dict[str, list[Any]] = {}
    if header.channel_names:
        channel["Name"] = list(header.channel_names)
    if header.channel_colours:
        channel["Color"] = [
            _signed(int(colour[1:], 16) << 8 | 255) for colour in header.channel_colours
        ]
    if channel:
        metadata["Channel"] = channel
    return metadata, _not_kept(left_out)


def _not_kept(left_out: list[str]) -> list[str]:
    if not left_out:
        return []
    return [f"this kind of TIFF has no place for the scale of {', '.join(left_out)}"]


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def _fits_imagej(header: Header) -> bool:
    letters = set(header.axes)
    colour = "S" in letters
    return (
        header.dtype in _IMAGEJ_TYPES
        and letters <= set("TZCYXS")
        and len(letters) == len(header.axes)
        and (not colour or (header.dtype == np.uint8 and header.shape[-1] in (3, 4)))
        and limits.nbytes(header) < _CLASSIC_TIFF
    )


def _imagej_metadata(
    header: Header, order: list[int]
) -> tuple[dict[str, Any], tuple[float, float] | None, list[str]]:
    """Return metadata and resolution for ImageJ, and what is left out.

    ImageJ has one unit for all lengths: that of the first axis that has one.  Steps in
    other units are converted.
    """
    axes = "".join(header.axes[i] for i in order)
    metadata: dict[str, Any] = {"axes": axes}
    left_out = []
    lengths = [u for u in header.units if units.kind(u) == "length"]
    unit = lengths[0] if lengths else header.units[header.axes.index("X")]
    steps: dict[str, float] = {}
    for i in order:
        axis, size, own = header.axes[i], header.scale[i], header.units[i]
        if size is None:
            continue
        wanted = unit if axis in "XYZ" else own
        step = units.converted(size, own, wanted)
        if step is None or (axis == "T" and units.kind(own) != "time"):
            left_out.append(header.step_text(i))
        else:
            steps[axis] = step
    resolution = None
    if {"X", "Y"} <= set(steps):
        resolution = (1 / steps["X"], 1 / steps["Y"])
        if not _RATIONAL[0] < min(resolution) <= max(resolution) < _RATIONAL[1]:
            resolution = None
            left_out += [header.step_text(header.axes.index(a)) for a in "YX"]
    if resolution:
        metadata["unit"] = _ascii(unit or "pixel")
        if "Z" in steps:
            metadata["spacing"] = steps["Z"]
    elif "Z" in steps:  # with its unit, X and Y would have one too
        left_out.append(header.step_text(header.axes.index("Z")))
    if "T" in steps:
        metadata["finterval"] = steps["T"]
        metadata["tunit"] = _ascii(str(header.units[header.axes.index("T")]))
    if header.channel_names:
        metadata["Labels"] = _labels(header, axes)
    if header.channel_colours:
        ramp = np.arange(256) / 255
        metadata["mode"] = "composite"
        metadata["LUTs"] = [
            np.rint(np.outer(list(bytes.fromhex(c[1:])), ramp)).astype(np.uint8)
            for c in header.channel_colours
        ]
    return metadata, resolution, _not_kept(left_out)


def _ascii(unit: str) -> str:
    """Return a unit as the header of ImageJ holds it, which is ASCII."""
    if unit == "µm":
        return "micron"
    name = unit if unit.isascii() else units.long_name(unit)
    return name.encode("ascii", "backslashreplace").decode()


def _labels(header: Header, axes: str) -> list[str]:
    """Return the label of every plane: the name of its channel."""
    names = list(header.channel_names)
    planes = math.prod(
        header.shape[header.axes.index(axis)] for axis in axes if axis in "TZC"
    )
    return names * (planes // len(names))  # the axis C is the last of these


def _centimetres(header: Header) -> tuple[dict[str, Any], list[str]]:
    """Return the resolution as options of tifffile, and what is left out."""
    per_centimetre, left_out = [], []
    for i, (axis, size) in enumerate(zip(header.axes, header.scale, strict=True)):
        if size is None:
            continue
        step = units.converted(size, header.units[i], "cm") if axis in "YX" else None
        if step is None or not _RATIONAL[0] < 1 / step < _RATIONAL[1]:
            left_out.append(header.step_text(i))
        else:
            per_centimetre.append(1 / step)
    if len(per_centimetre) < 2:
        return {}, _not_kept(left_out)
    y, x = per_centimetre
    options = {"resolution": (x, y), "resolutionunit": "CENTIMETER"}
    return options, _not_kept(left_out)
