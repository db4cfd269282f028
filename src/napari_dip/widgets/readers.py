"""Files into layers, with all that the files say.

napari's own reader drops scale, units, axes and channels, and knows nothing of how a
result was made.  Ours is declared for OME-TIFF and for folders only: for a pattern
that two readers claim, napari asks which to use, and nobody wants to be asked for
every TIFF.  All other files that we read are opened by `open_files`, in a menu.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info

from napari_dip.errors import DipError
from napari_dip.io import atomic, files, limits, zarr
from napari_dip.io.image import Header, Image
from napari_dip.widgets.layers import KEY

LayerData = tuple[Any, dict[str, Any], str]
"""Data, keywords and kind of a layer, as npe2 passes them."""

EAGER = 2**28
"""Bytes up to which pixels are read at once: a moment's work, and quicker to use."""

PART_KEY = "layers"
"""In the provenance of a file that was made of several layers, what each one had."""

JPEG_KEY = "jpeg"
"""Of the metadata of a layer that was a JPEG: its `napari_dip.io.image.JpegTables`."""

_LABEL_TYPES = ("int32", "uint32", "int64", "uint64")
"""Of arrays that napari takes for labels, from its own files, too."""

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
    """Return the reader for a path, or None where it is not for us.

    Parameters
    ----------
    path : str or list of str
        One file or folder; several, to be stacked, are for napari's own reader.
    """
    if not isinstance(path, str):
        return None
    here = Path(path)
    return read_layers if here.is_file() or atomic.is_zarr(here) else None


def read_layers(path: str | Path) -> list[LayerData]:
    """Read a file as layers.

    Parameters
    ----------
    path : str or Path
        Any file that `napari_dip.io.files.read` knows.

    Returns
    -------
    list of tuple
        Data, keywords and kind for each layer: the image, which napari splits into
        one layer for each channel, and then the labels that an OME-Zarr has beside
        it.  Data of more than `EAGER` bytes are dask arrays, where the format allows
        that, and a list of them where the file has several resolutions.

    Raises
    ------
    FileError
        If the file cannot be read.
    """
    path = Path(path)
    found = [_layer(path, _stem(path))]
    if atomic.is_zarr(path):
        found += [_layer(at, name, True) for name, at in zarr.label_paths(path).items()]
    return found


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
    """Add the layers of files to a viewer; complain of those that cannot be read.

    Parameters
    ----------
    viewer : napari.Viewer
        Where to add them.
    paths : sequence of str
        Any files that `read_layers` knows, whatever the manifest claims.
    """
    from napari.layers._source import layer_source

    for path in paths:
        try:
            found = read_layers(path)
        except DipError as error:
            show_error(str(error))
            continue
        # Where a layer comes from can be said in no other way.
        with layer_source(path=path, reader_plugin="napari-dip"):
            for data, keywords, kind in found:
                getattr(viewer, f"add_{kind}")(data, **keywords)


def _layer(path: Path, name: str, labels: bool = False) -> LayerData:
    header, data = _opened(path)
    for note in header.notes:
        show_info(note)
    if header.provenance is None and header.channel_axis is None:
        labels = labels or header.dtype.name in _LABEL_TYPES
    if labels and header.dtype.kind in "bui":
        return data, _keywords(header, name, apart=""), "labels"
    keywords = {**_keywords(header, name), "rgb": "S" in header.axes}
    if "C" in header.axes:
        keywords |= _channels(header, name)
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


def _stem(path: Path) -> str:
    """Return the name of a file without its ending, of which .ome is a part."""
    for ending in files.OUTPUTS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def _keywords(header: Header, name: str, apart: str = "CS") -> dict[str, Any]:
    """Return what a file says of all its layers, but for the axes that are `apart`."""
    places = [i for i, letter in enumerate(header.axes) if letter not in apart]
    # Axes without a name are called as napari does, by their place from the end.
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


def _channels(header: Header, name: str) -> dict[str, Any]:
    """Return what a file says of each of its channels."""
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
    """Return a unit if pint knows it, as napari demands."""
    import pint

    try:
        known = name is not None and name in pint.get_application_registry()
    except AttributeError:  # a name that could be one of Python's own
        known = False
    return str(name) if known else "pixel"
