"""OME-Zarr 0.4 and 0.5, through the zarr library.

The library is an extra, imported when a store is met.  The metadata are those of
https://ngff.openmicroscopy.org/0.4/ and /0.5/; the provenance is one attribute more.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FileError, InputError
from napari_dip.io import limits, provenance
from napari_dip.io.image import (
    Header,
    Image,
    name_axes,
    plain_header,
    reorder,
    sort_axes,
)

VERSIONS = ("0.4", "0.5")
"""Of OME-Zarr that can be written: on version 2 and on version 3 of Zarr."""

KEY = "napari-dip"
"""Of the attribute that holds the provenance."""

CHUNK = 1024
"""Longest side of a chunk in pixels: a megabyte or so."""

_FORMAT = "OME-Zarr "

_ORDER = "TCZYX"
"""Of the axes; both versions demand it."""

_KINDS = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}

_UNITS = {
    "Å": "angstrom",
    "pm": "picometer",
    "nm": "nanometer",
    "µm": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "in": "inch",
    "ns": "nanosecond",
    "µs": "microsecond",
    "ms": "millisecond",
    "s": "second",
    "min": "minute",
    "h": "hour",
    "d": "day",
}
"""Our units to the names that OME-Zarr takes from UDUNITS-2."""

_SYMBOLS = {name: symbol for symbol, name in _UNITS.items()}

_RGB = ("Red", "Green", "Blue", "Alpha")
_RGB_COLOURS = ("#ff0000", "#00ff00", "#0000ff", "#ffffff")
"""Channels that are the colours of a photograph: OME-Zarr has no other way."""

_COLOURS = ("#ff00ff", "#00ff00", "#00ffff", "#ffff00", "#ff0000", "#0000ff")
"""For channels without a colour of their own, which OME-Zarr does not allow."""


# -- reading ----------------------------------------------------------------------


def read_header(path: Path) -> Header:
    """Read what an OME-Zarr says about its image."""
    with _opened(path) as node:
        return _Stored(node, path).header


def read(path: Path) -> Image:
    """Read the first image of an OME-Zarr at its full resolution."""
    with _opened(path) as node:
        stored = _Stored(node, path)
        limits.check_size(stored.header, path.name)
        data = np.asarray(stored.levels[0][...]).transpose(stored.order)
    return Image(np.ascontiguousarray(data, stored.header.dtype), stored.header)


def open_levels(path: Path) -> tuple[Header, list[Any]]:
    """Open an image without reading its pixels.

    Returns
    -------
    header : Header
        Of the image at its full resolution.
    levels : list of dask.array.Array
        The image at its full resolution, then at every lower one.
    """
    import dask.array

    with _opened(path) as node:
        stored = _Stored(node, path)
        levels = [
            dask.array.from_array(level, level.chunks)  # type: ignore[no-untyped-call]
            .transpose(stored.order)
            .astype(stored.header.dtype)
            for level in stored.levels
        ]
    return stored.header, levels


def label_paths(path: Path) -> dict[str, Path]:
    """Return where the labels of an image are: images themselves, for `read`."""
    with _opened(path) as node:
        group, inside, _ = _find_image(node, path)
        if hasattr(group, "shape") or "labels" not in group:
            return {}
        found = _ome(group["labels"].attrs.asdict()).get("labels", [])
        return {str(name): path / inside / "labels" / str(name) for name in found}


def _library() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise FileError(
            'OME-Zarr needs the library zarr; pip install "napari-dip[zarr]" brings it'
        ) from error
    return zarr


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Give the group or array at a path, and name the file when something fails."""
    library = _library()
    try:
        yield library.open(path, mode="r")
    except (FileError, InputError):
        raise
    except Exception as error:
        # Metadata can be wrong, and chunks broken, in many ways.
        told = " ".join(str(error).split())
        kind = type(error).__name__
        raise FileError(f"{path.name} cannot be read: {kind}: {told}") from error


def _ome(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata, which version 0.5 keeps under a key of their own."""
    found: Mapping[str, Any] = attributes.get("ome", attributes)
    return found


def _find_image(node: Any, path: Path) -> tuple[Any, str, list[str]]:
    """Return the group of the first image, where it is in the store, and notes."""
    if hasattr(node, "shape"):
        return node, "", []
    ome = _ome(node.attrs.asdict())
    if "multiscales" in ome:
        count = len(ome["multiscales"])
        notes = [f"{path.name} holds {count} images; the first was read"]
        return node, "", notes if count > 1 else []
    if "bioformats2raw.layout" in ome:
        # Images are in groups that are numbered.
        others = ["1" in node and f"{path.name} holds more images; the first was read"]
        return node["0"], "0", [note for note in others if note]
    if "plate" in ome or "well" in ome:
        raise FileError(
            f"{path.name} holds the wells of a plate; name one image in it, such as "
            f"{path / 'A' / '1' / '0'}"
        )
    raise FileError(f"{path.name} holds no image with the metadata of OME-Zarr")


class _Stored:
    """An image in a store.

    Attributes
    ----------
    header : Header
        Y, X and the colours are its last axes.
    levels : list of zarr.Array
        From the highest resolution to the lowest, their axes as they are stored.
    order : tuple of int
        How to transpose a level to have the axes of the header.
    """

    def __init__(self, node: Any, path: Path) -> None:
        group, _, notes = _find_image(node, path)
        if hasattr(group, "shape"):
            self.levels = [group]
            header = _plain(group)
        else:
            attributes = group.attrs.asdict()
            ome = _ome(attributes)
            image = ome["multiscales"][0]
            self.levels = [group[d["path"]] for d in image["datasets"]]
            version = ome.get("version", image.get("version", "0.4"))
            header = _header(self.levels[0], image, f"{_FORMAT}{version}")
            header = _with_channels(header, ome.get("omero", {}))
            header = dataclasses.replace(
                header, provenance=provenance.loads(json.dumps(attributes.get(KEY)))
            )
        for level in self.levels:
            _refuse_odd(level, path)
        header = dataclasses.replace(header, notes=tuple(notes))
        self.header, self.order = sort_axes(header)


def _plain(array: Any) -> Header:
    """Describe an array without metadata; version 3 of Zarr can name its axes."""
    dtype = np.dtype(array.dtype).newbyteorder("=")
    header = dataclasses.replace(plain_header(array.shape, dtype), format="Zarr")
    names = getattr(array.metadata, "dimension_names", None) or ()
    letters = _letters([{"name": str(name)} for name in names])
    if len(letters) == array.ndim and {"Y", "X"} <= set(letters):
        header = dataclasses.replace(header, axes=letters)
    return header


def _header(array: Any, image: Mapping[str, Any], kind: str) -> Header:
    """Describe the array of a multi-resolution image."""
    # Before version 0.4 axes were names only, and before 0.3 always these.
    axes = image.get("axes") or list("tczyx")
    axes = [{"name": axis} if isinstance(axis, str) else axis for axis in axes]
    letters = _letters(axes)
    if len(letters) != array.ndim or not {"Y", "X"} <= set(letters):
        raise FileError(
            f"an OME-Zarr image must have the axes y and x, and one for every "
            f"dimension; got {letters} for an array of shape {array.shape}"
        )
    scale = np.ones(array.ndim)
    for holder in (image["datasets"][0], image):
        for change in holder.get("coordinateTransformations", []):
            if change.get("type") == "scale" and "scale" in change:
                scale = scale * np.asarray(change["scale"], float)
    units = [_symbol(axis.get("unit")) for axis in axes]
    # Everything must have a scale; one without a unit says nothing.
    known = [
        letter != "C" and math.isfinite(s) and s > 0 and (unit is not None or s != 1)
        for letter, s, unit in zip(letters, scale, units, strict=True)
    ]
    return Header(
        format=kind,
        shape=tuple(array.shape),
        dtype=np.dtype(array.dtype).newbyteorder("="),
        axes=letters,
        scale=tuple(float(s) if k else None for s, k in zip(scale, known, strict=True)),
        units=tuple(u if k else None for u, k in zip(units, known, strict=True)),
    )


def _letters(axes: list[dict[str, Any]]) -> str:
    """Return a letter for every axis; Q stands for what is neither known nor free."""
    letters = ""
    for axis in axes:
        letter = {"time": "T", "channel": "C"}.get(axis.get("type", ""), "")
        letter = letter or str(axis["name"]).upper()[:1]
        usable = letter.isalpha() and letter not in letters and letter != "S"
        letters += letter if usable else "Q"
    return letters


def _symbol(name: Any) -> str | None:
    return None if name is None else _SYMBOLS.get(str(name), str(name))


def _with_channels(header: Header, omero: Mapping[str, Any]) -> Header:
    channels = omero.get("channels", [])
    if "C" not in header.axes or len(channels) != header.shape[header.axes.index("C")]:
        return header
    names = tuple(str(channel.get("label", "")) for channel in channels)
    colours = tuple(_colour(channel.get("color")) for channel in channels)
    count = len(channels)
    if count in (3, 4) and (names, colours) == (_RGB[:count], _RGB_COLOURS[:count]):
        return dataclasses.replace(header, axes=header.axes.replace("C", "S"))
    return dataclasses.replace(
        header,
        channel_names=names if any(names) else (),
        channel_colours=colours if all(colours) else (),
    )


def _colour(text: Any) -> str:
    text = str(text).lower()
    right = len(text) == 6 and set(text) <= set("0123456789abcdef")
    return f"#{text}" if right else ""


def _refuse_odd(array: Any, path: Path) -> None:
    """Raise if values are no numbers, or if reading them could run a program."""
    if np.dtype(array.dtype).kind not in "buif":
        raise FileError(f"{path.name} holds {array.dtype}, which is no kind of image")
    told = array.metadata.to_dict()
    codecs = [told.get(key) for key in ("filters", "compressor", "codecs")]
    if "pickle" in json.dumps(codecs, default=str).lower():
        raise FileError(f"{path.name} holds pickled values, which are never read")


# -- writing ----------------------------------------------------------------------


def check(header: Header, dtype: np.dtype[Any]) -> None:
    """Raise if an OME-Zarr cannot hold an image of these axes and this dtype."""
    _library()
    axes = name_axes(header).axes
    if "S" in axes and "C" in axes:
        raise InputError(
            "an OME-Zarr holds either colours or channels; the result has both "
            f"(axes {header.axes})"
        )
    if not set(axes) <= set("TCZYXS") or len(set(axes)) != len(axes):
        raise InputError(
            "an OME-Zarr holds the axes T, C, Z, Y and X, each once; the result has "
            f"the axes {header.axes}"
        )
    if dtype.kind not in "buif":
        raise InputError(f"an OME-Zarr holds numbers; the result is {dtype}")


def write(
    path: Path,
    data: NDArray[Any],
    header: Header,
    text: str | None = None,
    *,
    version: str | None = None,
    labels: Mapping[str, tuple[NDArray[Any], Header, str | None]] | None = None,
) -> None:
    """Write an OME-Zarr with one resolution.

    Parameters
    ----------
    path : Path
        A folder that is not there.
    data : ndarray
        The pixels.
    header : Header
        What they are.
    text : str, optional
        The provenance, from `napari_dip.io.provenance.dumps`.
    version : {"0.4", "0.5"}, optional
        Of OME-Zarr; by default that of the header's format, or else 0.4, which most
        programs read.
    labels : mapping, optional
        By their names, label images on the pixels of the image with their headers
        and provenances.
    """
    library = _library()
    if version is None:
        version = header.format.removeprefix(_FORMAT)
        version = version if version in VERSIONS else VERSIONS[0]
    group = library.create_group(path, zarr_format=3 if version == "0.5" else 2)
    _write_image(group, data, header, text, version)
    if not labels:
        return
    folder = group.create_group("labels")
    _put(folder, {"labels": list(labels)}, version)
    source = {"image": "../../"}
    for name, (values, of, made) in labels.items():
        told: dict[str, Any] = {"image-label": {"version": version, "source": source}}
        if version == "0.5":
            del told["image-label"]["version"]
        _write_image(folder.create_group(name), values, of, made, version, told)


def _write_image(
    group: Any,
    data: NDArray[Any],
    header: Header,
    text: str | None,
    version: str,
    more: Mapping[str, Any] | None = None,
) -> None:
    data, header = _as_stored(data, header)
    names = [letter.lower() for letter in header.axes]
    sides = [1] * (data.ndim - 2) + [min(CHUNK, side) for side in data.shape[-2:]]
    options: dict[str, Any] = {"dimension_names": names}
    if version == "0.4":
        from numcodecs import Blosc

        # What every reader of Zarr 2 knows.
        options = {
            "compressors": Blosc("lz4", 5),
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
        }
    array = group.create_array(
        "0", shape=data.shape, dtype=data.dtype, chunks=tuple(sides), **options
    )
    array[...] = data
    axes = []
    for letter, name, unit in zip(header.axes, names, header.units, strict=True):
        axis = {"name": name, "type": _KINDS[letter]}
        if unit is not None and letter != "C":
            axis["unit"] = _UNITS.get(unit, unit)
        axes.append(axis)
    scale = {"type": "scale", "scale": [step or 1.0 for step in header.scale]}
    image: dict[str, Any] = {
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }
    if version == "0.4":
        image["version"] = version
    told = {"multiscales": [image], **(more or {})}
    if "C" in header.axes:
        told["omero"] = {"channels": _channels(data, header)}
    _put(group, told, version, text)


def _put(
    group: Any, told: Mapping[str, Any], version: str, text: str | None = None
) -> None:
    """Write the metadata of a group."""
    ours = {} if text is None else {KEY: json.loads(text)}
    if version == "0.5":
        told = {"ome": {"version": version, **told}}
    group.attrs.put({**told, **ours})


def _as_stored(data: NDArray[Any], header: Header) -> tuple[NDArray[Any], Header]:
    """Bring axes into the order of OME-Zarr; colours become channels."""
    header = name_axes(header)
    if "S" in header.axes:
        count = header.shape[header.axes.index("S")]
        rgb = count in (3, 4)
        header = dataclasses.replace(
            header,
            axes=header.axes.replace("S", "C"),
            channel_names=_RGB[:count] if rgb else (),
            channel_colours=_RGB_COLOURS[:count] if rgb else (),
        )
    order = [header.axes.index(letter) for letter in _ORDER if letter in header.axes]
    return data.transpose(order), reorder(header, order)


def _channels(data: NDArray[Any], header: Header) -> list[dict[str, Any]]:
    """Describe the channels; version 0.4 wants a colour and a range for each."""
    axis = header.axes.index("C")
    count = data.shape[axis]
    names = header.channel_names or [f"C{i}" for i in range(count)]
    colours = header.channel_colours or (
        ["#ffffff"] if count == 1 else [*_COLOURS] * (count // len(_COLOURS) + 1)
    )
    channels = []
    for i in range(count):
        values = data.take(i, axis)
        values = values[np.isfinite(values)]
        ends = (values.min(), values.max()) if values.size else (0, 1)
        low, high = map(float, ends)
        channels.append(
            {
                "label": names[i],
                "color": colours[i].removeprefix("#").upper(),
                "window": {"start": low, "end": high, "min": low, "max": high},
                "active": True,
            }
        )
    return channels
