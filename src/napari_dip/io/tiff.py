"""TIFF, OME-TIFF and ImageJ hyperstacks."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_dip.errors import FileError, InputError
from napari_dip.io import limits, provenance
from napari_dip.io.image import Header, Image, name_axes, sort_axes
from napari_dip.io.reading import one_line, one_line_errors

_MICROMETRES = {
    "Å": 1e-4,
    "pm": 1e-6,
    "nm": 1e-3,
    "µm": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "in": 25400.0,
}
"""Micrometres in a unit of length, by the name that OME gives it."""

_OTHER_NAMES = {
    "um": "µm",
    "μm": "µm",  # the Greek letter for the micro sign
    "\\u00b5m": "µm",
    "micron": "µm",
    "microns": "µm",
    "inch": "in",
    "sec": "s",
}

_IMAGEJ_TYPES = (np.uint8, np.uint16, np.float32)

_CLASSIC_TIFF = 2**32 - 2**25
"""Bytes that offsets of 32 bits reach, less some for the tags."""


def read_header(path: Path) -> Header:
    """Read what a TIFF says about its image."""
    with _opened(path) as (tif, _):
        return sort_axes(_header(tif, path))[0]


def read(path: Path) -> Image:
    """Read the first image of a TIFF."""
    with _opened(path) as (tif, log_messages):
        stored = _header(tif, path)
        limits.check_size(stored, path.name)
        _check_whole(tif.series[0], path)
        data = tif.series[0].asarray()
        if log_messages:
            # tifffile returns what it can decode, and logs what it cannot.
            raise FileError(f"{path.name} is damaged: {log_messages[0]}")
    header, order = sort_axes(stored)
    native = data.dtype.newbyteorder("=")
    data = np.ascontiguousarray(data.transpose(order), native)
    return Image(data, header)


def open_levels(path: Path) -> tuple[Header, list[Any]] | None:
    """Open the first image of a TIFF without reading its pixels.

    Returns
    -------
    tuple or None
        The header, and dask arrays of the image at its full resolution and at every
        lower one; None without the libraries for it.  The file stays open as long as
        the arrays live.
    """
    try:
        import dask.array
        import zarr
        from tifffile.zarr import ZarrTiffStore
    except ImportError:
        return None
    if inspect.isabstract(ZarrTiffStore):  # versions that do not work together
        return None
    with _opened(path) as (tif, _):
        header, order = sort_axes(_header(tif, path))
        _check_whole(tif.series[0], path)
        count = len(tif.series[0].levels)
    levels = []
    for number in range(count):
        with ExitStack() as stack:
            tif = stack.enter_context(tifffile.TiffFile(path))
            store = tif.series[0].aszarr(level=number)
            level = zarr.open_array(store, mode="r")
            weakref.finalize(level, stack.pop_all().close)
        lazy = dask.array.from_array(level, level.chunks)  # type: ignore[no-untyped-call]
        levels.append(lazy.transpose(order).astype(header.dtype))
    return header, levels


class _ErrorLog(logging.Handler):
    """Collects the errors that tifffile logs and does not raise."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        # A private tag that cannot be read does not affect the pixels.
        if "TiffTag.fromfile" not in text:
            self.messages.append(text)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[tifffile.TiffFile, list[str]]]:
    log = logging.getLogger("tifffile")
    handler = _ErrorLog()
    propagate = log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        with one_line_errors(path), tifffile.TiffFile(path) as tif:
            yield tif, handler.messages
    finally:
        log.propagate = propagate
        log.removeHandler(handler)


def _header(tif: tifffile.TiffFile, path: Path) -> Header:
    """Describe the first series with its axes as they lie in the file."""
    if not tif.series:
        raise FileError(f"{path.name} holds no image")
    series = tif.series[0]
    axes = series.axes.upper()
    if series.dtype is None or not {"Y", "X"} <= set(axes):
        raise FileError(
            f"{path.name} holds no image with the axes Y and X; its axes are {axes}"
        )
    notes = []
    if len(tif.series) > 1:
        notes.append(f"{path.name} holds {len(tif.series)} images; the first was read")
    header = Header(
        format="TIFF",
        shape=tuple(series.shape),
        dtype=np.dtype(series.dtype).newbyteorder("="),
        axes=axes,
        provenance=provenance.loads(tif.pages.first.software),
        notes=tuple(notes),
    )
    if tif.is_ome:
        return _with_ome(header, tif)
    if tif.is_imagej:
        return _with_imagej(header, tif)
    return _with_resolution(header, tif)


def _check_whole(series: Any, path: Path) -> None:
    """Raise if pixels lie beyond the end of the file."""
    size = path.stat().st_size
    ends = []
    if series.dataoffset is not None:
        ends.append(series.dataoffset + series.nbytes)
    for page in series.pages:
        if page is None:
            raise FileError(
                f"{path.name} is incomplete: planes of its image are missing"
            )
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


def _with_ome(header: Header, tif: tifffile.TiffFile) -> Header:
    images = tifffile.xml2dict(tif.ome_metadata or "")["OME"]["Image"]
    pixels = _first(images)["Pixels"]
    sizes = {
        axis: (
            _positive(pixels.get(f"PhysicalSize{axis}")),
            _unit(pixels.get(f"PhysicalSize{axis}Unit", "µm")),
        )
        for axis in "XYZ"
    }
    step = _positive(pixels.get("TimeIncrement"))
    sizes["T"] = step, _unit(pixels.get("TimeIncrementUnit", "s"))
    channels = pixels.get("Channel", [])
    if isinstance(channels, dict):
        channels = [channels]
    names = tuple(str(channel.get("Name", "")) for channel in channels)
    colours = tuple(_ome_colour(channel.get("Color")) for channel in channels)
    return _scaled(
        dataclasses.replace(header, format="OME-TIFF"), sizes, names, colours
    )


def _with_imagej(header: Header, tif: tifffile.TiffFile) -> Header:
    metadata = tif.imagej_metadata or {}
    unit = _unit(metadata.get("unit"))
    x, y = _resolution(tif)
    sizes: dict[str, tuple[float | None, str | None]] = {
        "T": (_positive(metadata.get("finterval")), _unit(metadata.get("tunit", "s")))
    }
    if unit is not None:
        z = _positive(metadata.get("spacing"))
        sizes |= {"X": (x, unit), "Y": (y, unit), "Z": (z, unit)}
    # There is a label for every plane; where planes are channels, it is their name.
    labels = metadata.get("Labels") or []
    names = tuple(str(label) for label in labels) if header.axes == "CYX" else ()
    # There is a table of colours for every channel; its last entry is the brightest.
    colours = tuple(
        "#" + table[:, -1].tobytes().hex()
        for table in metadata.get("LUTs") or []
        if table.shape == (3, 256)
    )
    return _scaled(
        dataclasses.replace(header, format="ImageJ TIFF"), sizes, names, colours
    )


def _with_resolution(header: Header, tif: tifffile.TiffFile) -> Header:
    # Per inch it is the size for printing; per centimetre it is taken as measured.
    if tif.pages.first.tags.valueof("ResolutionUnit") != 3:
        return header
    x, y = (None if v is None else v * 1e4 for v in _resolution(tif))
    return _scaled(header, {"X": (x, "µm"), "Y": (y, "µm")}, (), ())


def _scaled(
    header: Header,
    sizes: dict[str, tuple[float | None, str | None]],
    names: tuple[str, ...],
    colours: tuple[str, ...],
) -> Header:
    known = {axis: size for axis, size in sizes.items() if size[0] is not None}
    count = header.shape[header.axes.index("C")] if "C" in header.axes else 0
    return dataclasses.replace(
        header,
        scale=tuple(known.get(axis, (None, None))[0] for axis in header.axes),
        units=tuple(known.get(axis, (None, None))[1] for axis in header.axes),
        channel_names=names if len(names) == count and any(names) else (),
        channel_colours=colours if len(colours) == count and all(colours) else (),
    )


def _resolution(tif: tifffile.TiffFile) -> tuple[float | None, float | None]:
    """Return the size of a pixel along x and y in the unit of the resolution."""
    sizes = []
    for name in ("XResolution", "YResolution"):
        value = tif.pages.first.tags.valueof(name)
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


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


def _unit(name: Any) -> str | None:
    text = str(name or "").strip()
    text = _OTHER_NAMES.get(text.lower(), text)
    return text if text not in ("", "pixel", "pixels") else None


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
    path: Path, data: NDArray[Any], header: Header, text: str | None, *, ome: bool
) -> None:
    """Write an OME-TIFF or a TIFF, which is ImageJ's where that can hold the image.

    The provenance is in the tag Software, which both kinds have and keep.
    """
    colour = header.axes.endswith("S")
    options: dict[str, Any] = {
        "software": text if text is not None else "napari-dip",
        "photometric": "rgb" if colour and data.shape[-1] in (3, 4) else "minisblack",
        "planarconfig": "contig" if colour else None,
    }
    named = name_axes(header)
    try:
        if ome:
            metadata = _ome_metadata(named)
            tifffile.imwrite(path, data, ome=True, metadata=metadata, **options)
            return
        if _fits_imagej(data, named):
            order = [named.axes.index(a) for a in "TZCYXS" if a in named.axes]
            metadata, resolution = _imagej_metadata(named, order)
            data = np.ascontiguousarray(data.transpose(order))
            options |= {"imagej": True, "resolution": resolution}
            options.pop("planarconfig")
        else:
            metadata = {"axes": header.axes}
            options |= _centimetres(header)
        tifffile.imwrite(path, data, ome=False, metadata=metadata, **options)
    except (ValueError, TypeError, tifffile.OmeXmlError) as error:
        raise FileError(
            f"a TIFF cannot hold {data.dtype} of shape {data.shape} with the axes "
            f"{header.axes}: {one_line(error)}"
        ) from error


def _ome_metadata(header: Header) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": header.axes}
    for axis, size, unit in zip(header.axes, header.scale, header.units, strict=True):
        if size is None:
            continue
        if axis in "XYZ":
            metadata[f"PhysicalSize{axis}"] = size
            metadata[f"PhysicalSize{axis}Unit"] = unit or "pixel"
        elif axis == "T":
            metadata["TimeIncrement"] = size
            metadata["TimeIncrementUnit"] = unit or "s"
    channel: dict[str, list[Any]] = {}
    if header.channel_names:
        channel["Name"] = list(header.channel_names)
    if header.channel_colours:
        channel["Color"] = [
            _signed(int(colour[1:], 16) << 8 | 255) for colour in header.channel_colours
        ]
    if channel and "C" in header.axes:
        metadata["Channel"] = channel
    return metadata


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def _fits_imagej(data: NDArray[Any], header: Header) -> bool:
    letters = set(header.axes)
    colour = "S" in letters
    return (
        data.dtype in _IMAGEJ_TYPES
        and letters <= set("TZCYXS")
        and len(letters) == len(header.axes)
        and (not colour or (data.dtype == np.uint8 and data.shape[-1] in (3, 4)))
        and data.nbytes < _CLASSIC_TIFF
    )


def _imagej_metadata(
    header: Header, order: list[int]
) -> tuple[dict[str, Any], tuple[float, float] | None]:
    sizes = dict(zip(header.axes, header.scale, strict=True))
    units = dict(zip(header.axes, header.units, strict=True))
    metadata: dict[str, Any] = {"axes": "".join(header.axes[i] for i in order)}
    resolution = None
    x, y, unit = sizes["X"], sizes["Y"], units["X"]
    if x is not None and y is not None:
        resolution = (1 / x, 1 / y)
        # The header of ImageJ is ASCII, so it names the micrometre otherwise.
        metadata["unit"] = "micron" if unit == "µm" else str(unit or "pixel")
    if sizes.get("Z") is not None:
        metadata["spacing"] = sizes["Z"]
    if sizes.get("T") is not None:
        metadata["finterval"] = sizes["T"]
    if header.channel_names and metadata["axes"] == "CYX":
        metadata["Labels"] = list(header.channel_names)
    if header.channel_colours and "C" in header.axes:
        ramp = np.arange(256) / 255
        metadata["mode"] = "composite"
        metadata["LUTs"] = [
            np.rint(np.outer(list(bytes.fromhex(c[1:])), ramp)).astype(np.uint8)
            for c in header.channel_colours
        ]
    return metadata, resolution


def _centimetres(header: Header) -> dict[str, Any]:
    """Return the resolution as options of tifffile, where it is a length."""
    per_centimetre = []
    for axis in "XY":
        i = header.axes.index(axis)
        size, unit = header.scale[i], header.units[i]
        if size is None or unit not in _MICROMETRES:
            return {}
        per_centimetre.append(1e4 / (size * _MICROMETRES[unit]))
    return {"resolution": tuple(per_centimetre), "resolutionunit": "CENTIMETER"}
