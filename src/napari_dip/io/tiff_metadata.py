"""Scale, units and channels of an image, as OME, ImageJ and the tags of TIFF say them.

What is read goes into a header.  What is written are arguments of `tifffile.imwrite`;
with them come the scales that have no place in the file, as text.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_dip.io import limits, units
from napari_dip.io.image import Header

_IMAGEJ_TYPES = (np.uint8, np.uint16, np.float32)

_RAMP = 3
"""Difference of a table of colours from an even ramp, in steps of 255, that is due to
rounding."""

_RATIONAL = (1e-6, 2.0**32)
"""Numbers between these are a ratio of two integers of 32 bits, as resolutions are."""

_OME_STEPS = {axis: (f"PhysicalSize{axis}", "length") for axis in "XYZ"}
_OME_STEPS["T"] = "TimeIncrement", "time"
"""Attributes of OME for the steps along axes, and what they measure."""

_OME_DEFAULT = {"length": "µm", "time": "s"}
"""Units of the steps for which OME names none."""

_OME_UNIT = re.compile("([YZEPTGMkhdcmµnpfazy]|da)?[ms]|Å|in|ft|yd|mi|ly|pc|min|h|d")
"""Units of length and time in the OME schema of June 2016."""

_CLASSIC_TIFF = 2**32 - 2**25
"""Bytes that offsets of 32 bits reach, less some for the tags."""


def from_ome(header: Header, text: str | None, number: int) -> Header:
    """Return a header with what OME says of the image of a number."""
    images = _listed(tifffile.xml2dict(text or "")["OME"].get("Image"))
    header = dataclasses.replace(header, format="OME-TIFF")
    if number >= len(images):
        return header
    pixels = images[number]["Pixels"]
    sizes = {}
    for axis, (key, kind) in _OME_STEPS.items():
        unit = pixels.get(f"{key}Unit", _OME_DEFAULT[kind])
        sizes[axis] = _positive(pixels.get(key)), unit
    channels = _listed(pixels.get("Channel"))
    names = tuple(str(channel.get("Name", "")) for channel in channels)
    colours = tuple(_ome_colour(channel.get("Color")) for channel in channels)
    return _scaled(header, sizes, names, colours)


def from_imagej(header: Header, tif: tifffile.TiffFile) -> Header:
    """Return a header with what ImageJ says of the image."""
    metadata = tif.imagej_metadata or {}
    unit = units.symbol(metadata.get("unit"))
    x, y = _resolution(tif.pages.first)
    sizes = {"T": (_positive(metadata.get("finterval")), metadata.get("tunit", "s"))}
    depth = metadata.get("spacing")
    if isinstance(depth, int | float):
        depth = abs(depth)  # as ImageJ itself reads it
    lengths = {
        "X": (x, unit),
        "Y": (y, metadata.get("yunit", unit)),
        "Z": (_positive(depth), metadata.get("zunit", unit)),
    }
    # Without a unit 1 says nothing, and per inch it is the size for printing.
    per_length = tif.pages.first.tags.valueof("ResolutionUnit", 1) != 1
    for axis, (step, name) in lengths.items():
        if unit is not None or not (per_length or step == 1):
            sizes[axis] = step, name
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
    """Return a value as a list: tifffile gives a single one without."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _imagej_names(labels: list[Any], header: Header) -> tuple[str, ...]:
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


def from_microscope(header: Header, tif: tifffile.TiffFile) -> Header | None:
    """Return a header with what tags of a microscope say; None without such tags."""
    sizes = _microscope_sizes(tif)
    if sizes is None:
        return None
    names: tuple[str, ...] = ()
    if tif.is_micromanager:
        summary = (tif.micromanager_metadata or {}).get("Summary", {})
        names = tuple(map(str, _listed(summary.get("ChNames"))))
    steps = {}
    for axis, (value, name) in sizes.items():
        step, unit = _positive(value), units.symbol(name)
        if unit == "m" and step is not None:
            step, unit = units.converted(step, unit, "µm"), "µm"
        steps[axis] = step, unit
    return _scaled(header, steps, names, ())


def _microscope_sizes(tif: tifffile.TiffFile) -> Mapping[Any, tuple[Any, Any]] | None:
    """Return the step along each axis and its unit, as programs of microscopes write.

    They are those of Zeiss (.lsm, electron microscopes), MetaMorph (.stk, MetaSeries),
    Olympus (FluoView, SIS), Micro-Manager, FEI, TVIPS and Aperio (.svs).
    """
    about: dict[str, Any] | None
    sizes: dict[str, tuple[Any, Any]]
    if (about := tif.lsm_metadata) is not None:
        sizes = {axis: (about.get(f"VoxelSize{axis}"), "m") for axis in "XYZ"}
        return sizes | {"T": (about.get("TimeIntervall"), "s")}
    if (about := tif.stk_metadata) is not None:
        unit = about.get("CalibrationUnits")
        depths = np.unique(about.get("ZDistance", ()))
        sizes = {axis: (about.get(f"{axis}Calibration"), unit) for axis in "XY"}
        return sizes | {"Z": (depths[0] if len(depths) == 1 else None, unit)}
    if (about := tif.fluoview_metadata) is not None:
        letters = tifffile.TIFF.MM_DIMENSIONS
        return {letters.get(d[0].upper()): d[3:] for d in about.get("Dimensions", ())}
    if (about := tif.micromanager_metadata) is not None:
        about = about.get("Summary", {})
        sizes = dict.fromkeys("XY", (about.get("PixelSize_um"), "µm"))
        sizes["Z"] = about.get("z-step_um"), "µm"
        return sizes | {"T": (about.get("Interval_ms"), "ms")}
    if (about := tif.metaseries_metadata) is not None:
        unit, key = about.get("spatial-calibration-units"), "spatial-calibration-"
        return {axis: (about.get(key + axis.lower()), unit) for axis in "XY"}
    if (about := tif.fei_metadata) is not None:
        about = about.get("Scan", {})
        sides = {"X": "PixelWidth", "Y": "PixelHeight"}
        return {axis: (about.get(side), "m") for axis, side in sides.items()}
    if (about := tif.sem_metadata) is not None:
        pixel = about.get("ap_image_pixel_size") or about.get("ap_pixel_size")
        return dict.fromkeys("XY", pixel[1:3] if pixel else (None, None))
    if (about := tif.sis_metadata) is not None:
        return {axis: (about.get(f"pixelsize{axis.lower()}"), "m") for axis in "XY"}
    if (about := tif.tvips_metadata) is not None:
        return {axis: (about.get(f"PixelSize{axis}"), "nm") for axis in "XY"}
    if tif.is_svs:
        mpp = re.search(r"\bMPP *= *([\d.]+)", tif.pages.first.description)
        return dict.fromkeys("XY", (mpp and mpp[1], "µm"))
    return None


def from_tags(header: Header, page: Any) -> Header:
    """Return a header with the size of a pixel that the tags of a page give."""
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
    known = {
        axis: (size, units.symbol(unit))
        for axis, (size, unit) in sizes.items()
        if size is not None
    }
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


# -- writing --------------------------------------------------------------------


def for_ome(header: Header) -> tuple[dict[str, Any], list[str]]:
    """Return how an OME-TIFF is to be described, and what is left out."""
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
                base = _OME_DEFAULT[kind]
                size, unit = units.converted(size, unit, base), base
        metadata[key] = size
        metadata[f"{key}Unit"] = unit
    channel: dict[str, list[Any]] = {}
    if header.channel_names:
        channel["Name"] = list(header.channel_names)
    if header.channel_colours:
        channel["Color"] = [
            int.from_bytes(bytes.fromhex(f"{colour[1:]}ff"), signed=True)
            for colour in header.channel_colours
        ]
    if channel:
        metadata["Channel"] = channel
    return {"metadata": metadata}, left_out


def fits_imagej(header: Header, colours: int) -> bool:
    """Return whether ImageJ knows axes and type of an image of its size.

    `colours` are the samples of a pixel that are no opacity, 0 without such an axis.
    """
    letters = set(header.axes)
    return (
        header.dtype in _IMAGEJ_TYPES
        and letters <= set("TZCYXS")
        and len(letters) == len(header.axes)
        and (not colours or (header.dtype == np.uint8 and colours == 3))
        # A last axis of one element is taken for samples.
        and header.shape[header.axes.index("X")] > 1
        and limits.nbytes(header) < _CLASSIC_TIFF
    )


def for_imagej(header: Header, order: list[int]) -> tuple[dict[str, Any], list[str]]:
    """Return how a TIFF of ImageJ is to be described, and what is left out.

    ImageJ has one unit for all lengths: that of the first axis that has one.  Steps in
    other units are converted.
    """
    lengths = [u for u in header.units if units.kind(u) == "length"]
    unit = lengths[0] if lengths else header.units[header.axes.index("X")]
    steps, left_out = _imagej_steps(header, order, unit)
    metadata: dict[str, Any] = {"axes": "".join(header.axes[i] for i in order)}
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
    else:  # one resolution is of X and Y, and its unit that of all
        for axis in "XYZ":
            text = header.step_text(header.axes.index(axis)) if axis in steps else ""
            left_out += [text] if text and text not in left_out else []
    if "T" in steps:
        metadata["finterval"] = steps["T"]
        metadata["tunit"] = _ascii(str(header.units[header.axes.index("T")]))
    if header.channel_names:
        metadata["Labels"] = _labels(header, metadata["axes"])
    if header.channel_colours:
        ramp = np.arange(256) / 255
        metadata["mode"] = "composite"
        metadata["LUTs"] = [
            np.rint(np.outer(list(bytes.fromhex(c[1:])), ramp)).astype(np.uint8)
            for c in header.channel_colours
        ]
    options = {"imagej": True, "resolution": resolution, "metadata": metadata}
    return options, left_out


def _imagej_steps(
    header: Header, order: list[int], unit: str | None
) -> tuple[dict[str, float], list[str]]:
    """Return the steps along axes, of lengths in one unit, and what ImageJ has not."""
    steps: dict[str, float] = {}
    left_out = []
    for i in order:
        axis, size, own = header.axes[i], header.scale[i], header.units[i]
        if size is None:
            continue
        step = units.converted(size, own, unit if axis in "XYZ" else own)
        if step is None or (axis == "T" and units.kind(own) != "time"):
            left_out.append(header.step_text(i))
        else:
            steps[axis] = step
    return steps, left_out


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


def for_tags(header: Header) -> tuple[dict[str, Any], list[str]]:
    """Return how a plain TIFF is to be described, and what is left out."""
    options: dict[str, Any] = {"metadata": {"axes": header.axes}}
    per_centimetre, left_out = [], []
    for i, (axis, size) in enumerate(zip(header.axes, header.scale, strict=True)):
        if size is None:
            continue
        step = units.converted(size, header.units[i], "cm") if axis in "YX" else None
        if step is None or not _RATIONAL[0] < 1 / step < _RATIONAL[1]:
            left_out.append(header.step_text(i))
        else:
            per_centimetre.append(1 / step)
    if len(per_centimetre) == 2:
        options["resolution"] = tuple(reversed(per_centimetre))
        options["resolutionunit"] = "CENTIMETER"
    return options, left_out
