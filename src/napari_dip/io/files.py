"""Images from files and into files, whatever the format."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FileError, InputError
from napari_dip.io import atomic, limits, raster, tiff, zarr
from napari_dip.io.image import (
    Header,
    Image,
    join_opacity,
    name_axes,
    plain_header,
    reorder,
    split_opacity,
)
from napari_dip.io.provenance import dumps
from napari_dip.io.reading import readable
from napari_dip.io.regions import Box, Levels, Target
from napari_dip.machine import free_memory

_TIFFS = (
    *(".tif", ".tiff", ".btf", ".tf8"),
    *(".lsm", ".stk", ".svs", ".qptiff", ".ndpi", ".scn"),
)
"""Endings of TIFFs: what follows the first two are BigTIFFs, and microscopes' own."""

JPEGS = (".jpg", ".jpeg", ".jpe", ".jfif")
"""Endings of JPEGs."""

_READERS = {
    **dict.fromkeys(_TIFFS, tiff),
    **dict.fromkeys((".png", *JPEGS), raster),
}

_CONTENTS = {
    b"II*\0": tiff,
    b"MM\0*": tiff,
    b"II+\0": tiff,
    b"MM\0+": tiff,
    b"\x89PNG": raster,
    b"\xff\xd8\xff": raster,
}
"""What files begin with: many have the ending of another format, or none."""

READABLE = tuple(_READERS)
"""Endings of files that can be read, besides the folders of OME-Zarr."""

OUTPUTS = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".ome.zarr", ".zarr", ".png")
"""Endings of files that can be written."""

_CONVERTER = "with Fiji and Bio-Formats to .ome.tif"
"""What converts files that are not read, but for those in `_CONVERTERS`."""

_CONVERTERS = dict.fromkeys((".npy", ".npz"), "in Python with tifffile or zarr")
"""What converts files with these endings."""

_LARGE = 1 / 4
"""Part of the free memory above which an image is opened, not read: an image of 16
bits takes twice that in float32, and its result as much again."""

_NO_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow; they end what other programs read."""

FOLDERS = (".ome.zarr", ".zarr")
"""Endings of folders; an OME-Zarr that is read can have any name."""


def images_in(path: Path) -> tuple[list[tuple[Path, int | None]], list[Path]]:
    """Return where the images of a file are, and the files that these are in.

    Returns
    -------
    images : list of tuple
        Path and series, as `read` takes them: images in an OME-Zarr have paths of
        their own, those in a TIFF have numbers.
    parts : list of Path
        The file itself, and the others that an OME-TIFF in several names, of which
        some may be missing.
    """
    reader = _module(path)
    if reader is zarr:
        return [(image, None) for image in zarr.image_paths(path)], [path]
    count, others = tiff.contents(path) if reader is tiff else (1, [])
    return [(path, n if count > 1 else None) for n in range(count)], [path, *others]


def parts_of(path: Path) -> list[Path]:
    """Return the files that an image is in: one, or several of an OME-TIFF.

    Of these some may be missing.
    """
    try:
        return images_in(path)[1] if path.is_file() else [path]
    except FileError:
        return [path]  # reading it will say why


def read(path: str | Path, series: int | None = None, *, colours: bool = True) -> Image:
    """Read an image.

    Parameters
    ----------
    path : str or Path
        A TIFF, OME-TIFF, ImageJ hyperstack, PNG, JPEG or OME-Zarr.
    series : int, optional
        Number of an image in a TIFF, from 0.  Without it the first image of a file is
        read, and a note says so where there are others.
    colours : bool, default True
        Whether 3 or 4 planes of a TIFF that may be colours are; a note says where it
        is not known.

    Returns
    -------
    Image
        The pixels, what the file says about them, and their opacity, if they have one.

    Raises
    ------
    FileError
        If the file is not there, not whole, not an image, or larger than the free
        memory; the header is looked at before any pixel.
    InputError
        If there is a number of a series and the file is no TIFF.
    """
    image: Image = _by_format("read", Path(path), series, colours)
    return image


def read_header(
    path: str | Path, series: int | None = None, *, colours: bool = True
) -> Header:
    """Read what a file says about its image, without the pixels.

    Parameters
    ----------
    path, series, colours
        As for `read`.

    Returns
    -------
    Header
        That of the image which `read` returns.

    Raises
    ------
    FileError
        As for `read`, but for the size of the pixels and what is wrong with them.
    InputError
        As for `read`.
    """
    header: Header = _by_format("read_header", Path(path), series, colours)
    return header


def load(path: str | Path, series: int | None = None, *, colours: bool = True) -> Image:
    """Read an image as `read`, or open a large one as `open_image`."""
    free = free_memory()
    size = limits.nbytes(read_header(path, series, colours=colours))
    large = free is not None and size > _LARGE * free
    return (open_image if large else read)(path, series, colours=colours)


def open_image(
    path: str | Path, series: int | None = None, *, colours: bool = True
) -> Image:
    """Open an image whose pixels are read region by region, where the format allows it.

    Parameters
    ----------
    path, series, colours
        As for `read`.

    Returns
    -------
    Image
        Its data is an array that an index of integers and slices reads, see
        `napari_dip.io.regions.Regions`; or one of NumPy where pixels can only be read
        at once: PNG, JPEG, images with opacity, and TIFFs in L*a*b* or with several
        palettes.  All else is as `read` gives it.

    Raises
    ------
    FileError
        As for `read`; an image that can be read by regions may be larger than the free
        memory, but no region of it.
    """
    path = Path(path)
    levels: Levels | None = _by_format("open_levels", path, series, colours)
    if levels is not None and not levels.opacity:
        pixels: Any = levels.pixels[0]
        return Image(pixels, levels.header)
    limits.check_size(
        read_header(path, series, colours=colours),
        f"{path.name}, which can only be read as a whole,",
    )
    return read(path, series, colours=colours)


def open_levels(path: str | Path) -> tuple[Header, list[Any]] | None:
    """Open an image with its lower resolutions, without reading its pixels.

    Parameters
    ----------
    path : str or Path
        As for `read`.

    Returns
    -------
    tuple or None
        The header of the image at its full resolution, and a list of dask arrays in the
        axes of the header: the image at its full resolution, then at every lower one
        that the file has.  None where pixels can only be read at once, see
        `open_image`, and without the extra zarr, which brings dask.

    Raises
    ------
    FileError
        As for `open_image`.
    """
    levels: Levels | None = _by_format("open_levels", Path(path))
    try:
        import dask.array
    except ImportError:
        return None
    if levels is None:
        return None
    return levels.header, [
        dask.array.from_array(pixels, pixels.chunks, name=False)  # type: ignore[no-untyped-call]
        for pixels in levels.pixels
    ]


def _by_format(
    function: str, path: Path, series: int | None = None, colours: bool = True
) -> Any:
    """Call a function of the module that reads the format of a file."""
    module = _module(path)
    if module is tiff:
        return getattr(tiff, function)(path, series, colours=colours)
    if series is not None:
        raise InputError(f"series is of a TIFF; got {series} for {path.name}")
    return getattr(module, function)(path)


def _module(path: Path) -> ModuleType:
    """Return the module that reads a file."""
    with readable(path):
        if atomic.is_zarr(path):
            return zarr
        if path.is_dir():
            raise FileError(f"{path} is a folder, neither a file nor an OME-Zarr")
        if path.exists() and not path.is_file():
            raise FileError(f"{path} is no regular file")  # a pipe may never end
        with open(path, "rb") as file:
            start = file.read(4)
    if not start:
        raise FileError(f"{path} is empty")
    modules = (module for begin, module in _CONTENTS.items() if start.startswith(begin))
    content = next(modules, None)
    # Raw images of cameras are TIFFs of their own, so other endings are not looked at.
    reader = _READERS.get(path.suffix.lower(), None if path.suffix else content)
    if reader is None:
        raise FileError(
            f"{path.name} has a format that is not read; accepted are "
            f"{', '.join(_READERS)} and the folders of OME-Zarr. Convert it, for "
            f"example {_CONVERTERS.get(path.suffix.lower(), _CONVERTER)}"
        )
    return content or reader


def output_ending(path: Path) -> str:
    """Return the ending, of `OUTPUTS`, for an image of the format of a file."""
    try:
        reader = _module(path)
    except FileError:
        return ".tif"  # reading it will say what is wrong
    return {zarr: FOLDERS[0], raster: ".png"}.get(reader, ".tif")


def split_name(name: str) -> tuple[str, str]:
    """Return a name without its ending, and the ending if it is of an image."""
    for ending in (*OUTPUTS, *READABLE):
        if name.lower().endswith(ending):
            return name[: -len(ending)], name[-len(ending) :]
    return name, ""


def output_format(path: Path, name: str = "output") -> str:
    """Return which of `OUTPUTS` a path ends in; errors call the path `name`."""
    lower = path.name.lower()
    if lower in OUTPUTS:
        raise InputError(f"{name} must have a name before its ending; got {path.name}")
    for ending in OUTPUTS:
        if lower.endswith(ending):
            return ending
    raise InputError(f"{name} must end in {', '.join(OUTPUTS)}; got {path.name!r}")


def check_output(
    path: Path, header: Header, dtype: np.dtype[Any], *, overwrite: bool = False
) -> None:
    """Raise if a result cannot be written to `path`, before it is computed.

    The result has the axes of the header, which is that of the input, and a dtype of
    its own.
    """
    ending = output_format(path)
    if dtype.kind not in "buif":
        raise InputError(f"data must be numbers that are not complex; got {dtype}")
    limits.check_shape(header, "the result")
    header = reorder(header, _kept_axes(header, ending))
    atomic.refuse_inside_store(path)
    atomic.refuse_existing(path, overwrite, folder=ending in FOLDERS)
    if ending in FOLDERS:
        zarr.check(header)
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
        The pixels; four values of each are RGB and opacity where there is no `like`.
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

    Raises
    ------
    InputError
        If the file exists and may not be replaced, its name has another ending, or its
        format cannot hold the axes or the type of the pixels.
    FileError
        If the file cannot be written, such as on a full disk; nothing is left of it.
    """
    path = Path(path)
    ending = output_format(path)
    data = np.asarray(data)
    header = _header_of(data.shape, data.dtype, like)
    if like is None and _is_rgba(header):
        image = split_opacity(data, header)
    else:
        image = Image(data, header, None if like is None else like.alpha)
    check_output(path, image.header, data.dtype, overwrite=overwrite)
    text = None if provenance is None else dumps(provenance)
    opacity = image.alpha is not None
    data, header = join_opacity(image)
    kept = _kept_axes(header, ending)
    header = reorder(header, kept)
    data = data.reshape(header.shape)
    folder = ending in FOLDERS
    with atomic.replacing(path, overwrite=overwrite, folder=folder) as temporary:
        if folder:
            zarr.write(temporary, data, header, text, opacity=opacity)
            return zarr.not_kept(header)
        if ending == ".png":
            return raster.write_png(temporary, data, header, text)
        ome = ending.startswith(".ome")
        return tiff.write(temporary, data, header, text, ome=ome, opacity=opacity)


@contextmanager
def writing(
    path: str | Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    like: Image | None = None,
    *,
    overwrite: bool = False,
) -> Iterator[Target]:
    """Write an image region by region, whole or not at all.

    The file is what `write` makes of the same pixels.  It is complete, and at its
    place, when the context is left without an error.

    Parameters
    ----------
    path, like, overwrite
        As for `write`, but no PNG.
    shape, dtype
        Those of the image.

    Yields
    ------
    Target
        Takes regions by ``target[index] = values``, with an index of integers and
        slices; set its `provenance` before the end, and read its `notes` after it.

    Raises
    ------
    InputError
        As for `write`, and for a PNG.
    FileError
        As for `write`.
    """
    path, dtype = Path(path), np.dtype(dtype)
    ending = output_format(path)
    if ending == ".png":
        raise InputError(
            f"a PNG can only be written as a whole; got {path.name!r}; write the "
            "result to a .tif or .ome.zarr"
        )
    header = _header_of(shape, dtype, like)
    check_output(path, header, dtype, overwrite=overwrite)
    folder = ending in FOLDERS
    bits = dtype == np.bool_ and not folder
    opacity = _is_rgba(header) if like is None else like.alpha is not None
    if bits or opacity:
        # A TIFF packs single bits, and opacity is in memory as a whole.
        limits.check_size(header, f"{path.name}, which can only be written at once,")
        data = np.zeros(shape, dtype)
        target = Target(shape, dtype, data.__setitem__)
        yield target
        target.notes += write(path, data, like, target.provenance, overwrite=overwrite)
        return
    kept = _kept_axes(header, ending)
    header = reorder(header, kept)
    with atomic.replacing(path, overwrite=overwrite, folder=folder) as temporary:
        if folder:
            put_stored, finish, notes = zarr.create(temporary, header)
        else:
            ome = ending.startswith(".ome")
            put_stored, finish, notes = tiff.create(temporary, header, ome=ome)

        def put(box: Box, values: NDArray[Any]) -> None:
            values = values.reshape([values.shape[i] for i in kept])
            put_stored(tuple(box[i] for i in kept), values)

        target = Target(shape, dtype, put, notes)
        yield target
        provenance = target.provenance
        finish(None if provenance is None else dumps(provenance))


def _kept_axes(header: Header, ending: str) -> list[int]:
    """Return the axes that a kind of file holds.

    The axes of OME have five meanings.  Where there are more, those of one element are
    left out: they hold nothing.
    """
    axes = range(len(header.axes))
    ome = ending in FOLDERS or ending.startswith(".ome")
    if not ome or set(name_axes(header).axes) <= set("TCZYXS"):
        return list(axes)
    return [i for i in axes if header.axes[i] in "TCZYXS" or header.shape[i] > 1]


def _is_rgba(header: Header) -> bool:
    return header.axes.endswith("S") and header.shape[-1] == 4


def _header_of(
    shape: tuple[int, ...], dtype: np.dtype[Any], like: Image | None
) -> Header:
    if like is None:
        return plain_header(shape, dtype)
    if len(shape) != len(like.header.shape):
        raise InputError(
            f"data must have the axes {like.header.axes} of like; got shape {shape}"
        )
    header = like.header.of(np.broadcast_to(np.zeros((), dtype), shape))
    names = tuple(_NO_TEXT.sub("", name) for name in header.channel_names)
    return dataclasses.replace(header, channel_names=names)
