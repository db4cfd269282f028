"""Images from files and into files, whatever the format."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FileError, InputError
from napari_dip.io import atomic, raster, tiff, zarr
from napari_dip.io.image import Header, Image, join_opacity, plain_header
from napari_dip.io.provenance import dumps

_READERS = {
    ".tif": tiff,
    ".tiff": tiff,
    ".png": raster,
    ".jpg": raster,
    ".jpeg": raster,
}

READABLE = tuple(_READERS)
"""Endings of files that can be read, besides the folders of OME-Zarr."""

OUTPUTS = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".ome.zarr", ".zarr", ".png")
"""Endings of files that can be written."""

FOLDERS = (".ome.zarr", ".zarr")
"""Endings of folders; an OME-Zarr that is read can have any name."""


def images_in(path: Path) -> list[tuple[Path, int | None]]:
    """Return where the images of a file are, as `read` takes them.

    Those in an OME-Zarr have paths of their own; those in a TIFF have numbers.
    """
    reader = _reader(path)
    if reader is zarr:
        return [(image, None) for image in zarr.image_paths(path)]
    count = tiff.count(path) if reader is tiff else 1
    return [(path, n if count > 1 else None) for n in range(count)]


def read(path: str | Path, series: int | None = None) -> Image:
    """Read an image.

    Parameters
    ----------
    path : str or Path
        A TIFF, OME-TIFF, ImageJ hyperstack, PNG, JPEG or OME-Zarr.
    series : int, optional
        Number of an image in a TIFF, from 0.  Without it the first image of a file is
        read, and a note says so where there are others.

    Raises
    ------
    FileError
        If the file is not there, not whole, not an image, or larger than the free
        memory; the header is looked at before any pixel.
    """
    path = Path(path)
    reader = _reader(path)
    if series is not None:
        return tiff.read(path, series)
    image: Image = reader.read(path)
    return image


def read_header(path: str | Path) -> Header:
    """Read what a file says about its image, without the pixels."""
    path = Path(path)
    header: Header = _reader(path).read_header(path)
    return header


def open_levels(path: str | Path) -> tuple[Header, list[Any]] | None:
    """Open an image without reading its pixels.

    Parameters
    ----------
    path : str or Path
        As for `read`.

    Returns
    -------
    tuple or None
        The header of the image at its full resolution, and dask arrays: the image at
        its full resolution, then at every lower one that the file has.  None where
        pixels can only be read at once: from a PNG or JPEG, or from a TIFF without
        the extra zarr and tifffile of 2025 or later.
    """
    path = Path(path)
    reader = _reader(path)
    if reader is raster:
        return None
    header_and_levels: tuple[Header, list[Any]] | None = reader.open_levels(path)
    return header_and_levels


def _reader(path: Path) -> ModuleType:
    try:
        if atomic.is_zarr(path):
            return zarr
        if path.is_dir():
            raise FileError(f"{path} is a folder, neither a file nor an OME-Zarr")
        if path.exists() and not path.is_file():
            raise FileError(f"{path} is no regular file")  # a pipe may never end
        with open(path, "rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    if empty:
        raise FileError(f"{path} is empty")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise FileError(
            f"{path.name} has a format that is not read; accepted are "
            f"{', '.join(_READERS)} and the folders of OME-Zarr"
        )
    return reader


def output_format(path: Path) -> str:
    """Return which of `OUTPUTS` a name ends in, or raise."""
    for ending in OUTPUTS:
        if path.name.lower().endswith(ending):
            return ending
    raise InputError(f"output must end in {', '.join(OUTPUTS)}; got {path.name!r}")


def check_output(
    path: Path, header: Header, dtype: np.dtype[Any], *, overwrite: bool = False
) -> None:
    """Raise if a result cannot be written to `path`, before it is computed.

    Parameters
    ----------
    path : Path
        The output.
    header : Header
        Header of the input; the result has its axes.
    dtype : numpy.dtype
        Type of the result.
    overwrite : bool
        Whether the output may replace a file.
    """
    ending = output_format(path)
    atomic.refuse_inside_store(path)
    atomic.refuse_existing(path, overwrite, folder=ending in FOLDERS)
    if ending in FOLDERS:
        zarr.check(header, dtype)
    elif ending == ".png":
        raster.check_png(header, dtype)
    else:
        tiff.check(header, dtype, ome=ending.startswith(".ome"))


def write(
    path: str | Path,
    data: NDArray[Any],
    like: Image | None = None,
    provenance: dict[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> list[str]:
    """Write an image, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file to write; its name ends in one of `OUTPUTS`.
    data : ndarray
        The pixels.
    like : Image, optional
        The input: gives axes, scale, units, channel names, colour profile and
        opacity.
    provenance : dict, optional
        How the image was made, from `napari_dip.io.provenance.describe`.
    overwrite : bool, default False
        Replace a file that is there.

    Returns
    -------
    list of str
        What the file does not keep, as sentences for the user.
    """
    path = Path(path)
    ending = output_format(path)
    data = np.asarray(data)
    if like is None:
        image = Image(data, plain_header(data.shape, data.dtype))
    else:
        image = Image(data, like.header.of(data), like.alpha)
    check_output(path, image.header, data.dtype, overwrite=overwrite)
    text = None if provenance is None else dumps(provenance)
    opacity = image.alpha is not None
    data, header = join_opacity(image)
    if ending in FOLDERS:
        with atomic.replacing_folder(path, overwrite=overwrite) as temporary:
            return zarr.write(temporary, data, header, text)
    with atomic.replacing(path, overwrite=overwrite) as temporary:
        if ending == ".png":
            return raster.write_png(temporary, data, header, text)
        ome = ending.startswith(".ome")
        return tiff.write(temporary, data, header, text, ome=ome, opacity=opacity)
