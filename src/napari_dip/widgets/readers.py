"""Readers of files as layers, with scale, units, channels and provenance.

napari's own reader drops scale, units, axes, channels and provenance.  This plugin's
reader is declared for OME-TIFF and for folders only: for a pattern that two readers
claim, napari asks which one to use, and for every TIFF that would be tiresome.  All
other files are opened by `open_files`, a command in a menu.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_error, show_info

from napari_dip.errors import DipError
from napari_dip.io import atomic, files, limits, units, zarr
from napari_dip.io.image import Header, Image
from napari_dip.widgets.layers import KEY

LayerData = tuple[Any, dict[str, Any], str]
"""Data, keywords and kind of a layer, as npe2 passes them."""

EAGER = 2**28
"""Bytes up to which all pixels of a file are read when it is opened."""

PART_KEY = "layers"
"""Key of the provenance of each layer, in that of a file of several layers."""

JPEG_KEY = "jpeg"
"""Key of the `napari_dip.io.image.JpegTables` in the metadata of a layer."""

_LABEL_TYPES = ("int32", "uint32", "int64", "uint64")
"""Types of arrays that napari takes for labels."""

_NAMES = {
    "#ffffff": "gray",
    "#ff0000": "red",
    "#00ff00": "green",
    "#0000ff": "blue",
    "#00ffff": "cyan",
    "#ff00ff": "magenta",
    "#ffff00": "yellow",
}
"""napari's names for colours."""


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return the reader for a path, None if this plugin does not read it.

    A list of paths, to be stacked, is left to napari's own reader.
    """
    if not isinstance(path, str):
        return None
    source = Path(path)
    return read_layers if source.is_file() or atomic.is_zarr(source) else None


def read_layers(path: str | Path) -> list[LayerData]:
    """Read any file that `napari_dip.io.files.read` knows as layers.

    These are the image, which napari splits into one layer for each channel, and then
    the labels of an OME-Zarr.  Data of more than `EAGER` bytes are dask arrays if the
    format allows that, and a list of them if the file has several resolutions.

    Raises
    ------
    FileError
        If the file cannot be read.
    """
    path = Path(path)
    layers = [_layer(path, files.split_name(path.name)[0])]
    if atomic.is_zarr(path):
        labels = zarr.label_paths(path)
        layers += [_layer(folder, name, True) for name, folder in labels.items()]
    return layers


def open_files() -> None:
    """Ask for files and open them in the viewer: a command in napari's menus."""
    import napari
    from qtpy.QtWidgets import QFileDialog

    viewer = napari.current_viewer()
    if viewer is None:
        return
    patterns = " ".join(f"*{ending}" for ending in files.READABLE)
    paths, _ = QFileDialog.getOpenFileNames(
        None, "Open with scale, channels and provenance", "", f"Images ({patterns})"
    )
    add_files(viewer, paths)


def add_files(viewer: Any, paths: Sequence[str]) -> None:
    """Add the layers of files to a viewer; show an error for unreadable files.

    Files are any that `read_layers` knows, also those not in the manifest.
    """
    from napari.layers._source import layer_source

    for path in paths:
        try:
            layers = read_layers(path)
        except DipError as error:
            show_error(str(error))
            continue
        # Only this context sets the `source` of a layer.
        with layer_source(path=path, reader_plugin="napari-dip"):
            for data, keywords, kind in layers:
                getattr(viewer, f"add_{kind}")(data, **keywords)


def _layer(path: Path, name: str, labels: bool = False) -> LayerData:
    header, data = _opened(path)
    for note in header.notes:
        show_info(note)
    if header.provenance is None and header.channel_axis is None:
        labels = labels or header.dtype.name in _LABEL_TYPES
    if labels and header.dtype.kind in "bui":
        return data, _keywords(header, name, apart=""), "labels"
    if header.axes.endswith("S") and header.shape[-1] != 3:
        # More samples than a colour has are channels, and so are fewer.
        letter = "Q" if "C" in header.axes else "C"
        header = dataclasses.replace(header, axes=header.axes[:-1] + letter)
    keywords = {**_keywords(header, name), "rgb": "S" in header.axes}
    if _shown_white(data, header):
        keywords |= _colours(data, header, name)
    keywords |= _channels(header, name) if "C" in header.axes else _channel(header)
    if isinstance(data, list):
        keywords["multiscale"] = True
    return data, keywords, "image"


def _opened(path: Path) -> tuple[Header, Any]:
    header = files.read_header(path)
    if limits.nbytes(header) > EAGER:
        lazy = files.open_levels(path)
        if lazy is not None:
            header, levels = lazy
            return header, levels if len(levels) > 1 else levels[0]
    image: Image = files.read(path)
    if image.alpha is not None:
        show_info(f"the opacity of {path.name} is not shown")
    return image.header, image.data


def _keywords(header: Header, name: str, apart: str = "CS") -> dict[str, Any]:
    """Return the keywords of all layers of a file, without the axes `apart`."""
    places = [i for i, letter in enumerate(header.axes) if letter not in apart]
    # napari names axes by their place from the end; so do we if there is no name.
    labels = [
        header.axes[i].lower() if header.axes[i] != "Q" else f"-{len(places) - k}"
        for k, i in enumerate(places)
    ]
    keywords: dict[str, Any] = {"name": name, "axis_labels": labels}
    scale = [header.scale[i] for i in places]
    if any(scale):
        keywords["scale"] = [step or 1.0 for step in scale]
        keywords["units"] = [_unit(header.units[i]) for i in places]
    keywords["metadata"] = _metadata(header.provenance)
    if header.jpeg is not None:
        keywords["metadata"][JPEG_KEY] = header.jpeg
    return keywords


def _shown_white(data: Any, header: Header) -> bool:
    """Return whether floats of colours go beyond 1, where napari shows white."""
    floats = header.axes.endswith("S") and header.dtype.kind == "f"
    read = isinstance(data, np.ndarray) and data.shape[-1] == 3
    return floats and read and bool(data.max() > 1)


def _colours(data: Any, header: Header, name: str) -> dict[str, Any]:
    colours = ("red", "green", "blue")
    return {
        "rgb": False,
        "channel_axis": header.axes.index("S"),
        "name": [f"{name} {colour}" for colour in colours],
        "colormap": list(colours),
        "contrast_limits": [(min(0, float(data.min())), float(data.max()))] * 3,
    }


def _channel(header: Header) -> dict[str, Any]:
    keywords: dict[str, Any] = {}
    if header.channel_names:
        keywords["name"] = header.channel_names[0]
    if header.channel_colours:
        colour = header.channel_colours[0]
        keywords["colormap"] = _NAMES.get(colour, colour)
    return keywords


def _channels(header: Header, name: str) -> dict[str, Any]:
    axis = header.axes.index("C")
    names = header.channel_names or [f"{name} C{i}" for i in range(header.shape[axis])]
    parts = (header.provenance or {}).get(PART_KEY)
    keywords: dict[str, Any] = {"channel_axis": axis, "name": list(names)}
    if isinstance(parts, dict):
        keywords["metadata"] = [_metadata(parts.get(part)) for part in names]
    if header.channel_colours:
        keywords["colormap"] = [_NAMES.get(c, c) for c in header.channel_colours]
    return keywords


def _metadata(provenance: Any) -> dict[str, Any]:
    return {KEY: provenance} if isinstance(provenance, dict) else {}


def _unit(name: str | None) -> str:
    """Return a unit of length or time, else pixel: napari refuses unknown units."""
    return str(name) if units.kind(name) else "pixel"
