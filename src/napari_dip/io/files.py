"""Images from files and into files, whatever the format."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FileError, InputError
from napari_dip.io import atomic, provenance, raster, tiff
from napari_dip.io.image import Header, Image

_READERS = {
    ".tif": tiff,
    ".tiff": tiff,
    ".png": raster,
    ".jpg": raster,
    ".jpeg": raster,
}

OUTPUTS = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".png")
"""Endings of files that can be written."""


def read(path: str | Path) -> Image:
    """Read an image.

    Parameters
    ----------
    path : str or Path
        A TIFF, OME-TIFF, ImageJ hyperstack, PNG or JPEG.

    Raises
    ------
    FileError
        If the file is not there, not whole, not an image, or larger than the free
        memory; the header is looked at before any pixel.
    """
    path = Path(path)
    image: Image = _reader(path).read(path)
    return image


def read_header(path: str | Path) -> Header:
    """Read what a file says about its image, without the pixels."""
    path = Path(path)
    header: Header = _reader(path).read_header(path)
    return header


def _reader(path: Path) -> ModuleType:
    try:
        if path.is_dir():
            raise FileError(f"{path} is a folder, not a file")
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
            f"{', '.join(_READERS)}"
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
        Of the input; the result has its axes.
    dtype : numpy.dtype
        Of the result.
    overwrite : bool
        Whether the output may replace a file.
    """
    ending = output_format(path)
    atomic.refuse_existing(path, overwrite)
    if ending == ".png":
        raster.check_png(header, dtype)
    else:
        tiff.check(header, dtype, ome=ending.startswith(".ome"))


def write(
    path: str | Path,
    data: NDArray[Any],
    like: Image | None = None,
    made: dict[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write an image, whole or not at all.

    Parameters
    ----------
    path : str or Path
        Ends in .tif, .tiff, .ome.tif, .ome.tiff or .png.
    data : ndarray
        The pixels.
    like : Image, optional
        What it was made from: gives axes, scale, units, channel names, colour
        profile and opacity.
    made : dict, optional
        How it was made, from `napari_dip.io.provenance.describe`.
    overwrite : bool, default False
        Replace a file that is there.
    """
    path = Path(path)
    ending = output_format(path)
    data = np.asarray(data)
    header = like.header.of(data) if like is not None else _plain(data)
    alpha = like.alpha if like is not None else None
    text = None if made is None else provenance.dumps(made)
    check_output(path, header, data.dtype, overwrite=overwrite)
    with atomic.replacing(path, overwrite=overwrite) as temporary:
        if ending == ".png":
            raster.write_png(temporary, data, header, alpha, text)
        else:
            tiff.write(temporary, data, header, text, ome=ending.startswith(".ome"))


def _plain(data: NDArray[Any]) -> Header:
    """Return the header of an array of which nothing is known."""
    colour = data.ndim > 2 and data.shape[-1] in (3, 4)
    axes = "YXS" if colour else "YX"
    if data.ndim < len(axes):
        raise InputError(f"data must be an image; got shape {data.shape}")
    axes = "Q" * (data.ndim - len(axes)) + axes
    return Header("array", data.shape, data.dtype, axes)
