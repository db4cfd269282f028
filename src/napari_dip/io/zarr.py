"""OME-Zarr 0.4 and 0.5, through the libraries zarr and yaozarrs.

Both come with an extra, so they are imported when a store is met.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FileError, InputError
from napari_dip.io import atomic, limits, ngff
from napari_dip.io.image import (
    Header,
    Image,
    name_axes,
    sort_axes,
    split_opacity,
    without_opacity,
)
from napari_dip.io.reading import one_line_errors
from napari_dip.io.regions import Box, Creating, Levels, Regions, boxes, sides_of
from napari_dip.io.zarr_chunks import Chunks, bounded, chunks_of
from napari_dip.io.zarr_store import bounded_store
from napari_dip.tasks.arrays import cast

_CHUNK = 1024
"""Longest side of a chunk in pixels, which makes about a megabyte."""

_CHUNKS = 200_000
"""Most chunks that are read at once, which take about a minute."""

_STORED = 10_000_000
"""Most chunks of an array that is read region by region."""

_LISTED = 10_000
"""Most wells of a plate, or images of a well, which take some seconds to look for."""


def read_header(path: Path) -> Header:
    """Read what an OME-Zarr says about its image."""
    with _opened(path) as stored:
        return stored.header


def read(path: Path) -> Image:
    """Read the first image of an OME-Zarr at its full resolution."""
    with _opened(path) as stored:
        limits.check_size(stored.header, path.name)
        level = stored.levels[0]
        _check_chunks(level, path)
        data = np.asarray(level[...]).transpose(stored.order)
        data = np.ascontiguousarray(data, stored.header.dtype)
    if stored.opacity:
        return split_opacity(data, stored.samples)
    return Image(data, stored.header)


def open_levels(path: Path) -> Levels:
    """Open an image without its pixels."""
    with _opened(path) as stored:
        pixels = []
        for number, level in enumerate(stored.levels):
            shape = tuple(level.shape[i] for i in stored.order)
            samples = dataclasses.replace(stored.samples, shape=shape)
            part = dataclasses.replace(stored, levels=[level], samples=samples)
            limits.check_shape(part.header, path.name)
            _check_chunks(level, path, most=_STORED)
            _check_chunks(level, path, _typical(shape, stored))
            chunks = [level.chunks[i] for i in stored.order][: len(part.header.axes)]
            read = partial(_read_region, part, path)
            pixels.append(Regions(path, part.header, chunks, read, open_levels, number))
    return Levels(stored.header, pixels, stored.opacity)


def _typical(shape: tuple[int, ...], stored: _Stored) -> Box:
    """Return a region of the size that is usually read from a level."""
    planar = [letter in "YX" for letter in stored.samples.axes]
    sides = [min(n, _CHUNK) if p else 1 for n, p in zip(shape, planar, strict=True)]
    return tuple(slice(0, sides[i]) for i in np.argsort(stored.order))


def _read_region(stored: _Stored, path: Path, box: Box) -> NDArray[Any]:
    """Return a region of the first level without its opacity."""
    (level,) = stored.levels
    if len(box) < level.ndim:
        box = (*box, slice(0, 1))  # gray, which is followed by the opacity
    within = tuple(box[i] for i in np.argsort(stored.order))
    _check_chunks(level, path, within)
    data = np.asarray(level[within]).transpose(stored.order)
    pixels: NDArray[Any] = data.astype(stored.header.dtype, copy=False)
    return pixels[..., 0] if len(stored.header.axes) < level.ndim else pixels


def label_paths(path: Path) -> dict[str, Path]:
    """Return where the labels of an image are: images themselves, for `read`."""
    with _opened(path) as stored:
        group = stored.node
        if _is_array(group) or "labels" not in group:
            return {}
        labels, folder = group["labels"], path / group.path / "labels"
        names = map(str, ngff.metadata_of(labels).get("labels", []))
        return {name: folder / name for name in names if name in labels}


def image_paths(path: Path) -> list[Path]:
    """Return the paths of the images in a store: itself, series, or fields of wells."""
    zarr = _library()
    with one_line_errors(path):
        return [path / name for name in _images(zarr.open(bounded_store(path)))]


def _images(node: Any) -> Iterator[str]:
    """Yield the paths of the images in a group, "" for the group itself."""
    ome = {} if _is_array(node) else ngff.metadata_of(node)
    if "bioformats2raw.layout" in ome:
        yield from _numbered(node)
    elif "plate" in ome or "well" in ome:
        yield from _fields(node)
    else:
        yield ""


@dataclass(frozen=True)
class _Stored:
    """The first image in a store."""

    node: Any
    """The group of the image, or an array without metadata."""
    levels: list[Any]
    """The image from the highest resolution to the lowest, with the axes as stored."""
    samples: Header
    """Header of the first level; Y, X and the samples are its last axes."""
    order: tuple[int, ...]
    """How to transpose a level to have these axes."""

    @property
    def opacity(self) -> bool:
        """Whether the last sample is the opacity."""
        return self.samples.axes[-1] == "S" and self.samples.shape[-1] in (2, 4)

    @property
    def header(self) -> Header:
        """Header of the image, whose opacity is apart."""
        return without_opacity(self.samples) if self.opacity else self.samples


@contextmanager
def _opened(path: Path) -> Iterator[_Stored]:
    zarr = _library()
    with one_line_errors(path):
        opened = bounded_store(path)
        node, notes = _first_image(zarr.open(opened, mode="r"), path)
        describe = ngff.describe_array if _is_array(node) else ngff.describe_image
        levels, header = describe(node, path.name)
        for number, level in enumerate(levels):
            chunks = opened.chunks[level.path] = _checked_chunks(level, path)
            levels[number] = bounded(level, chunks)
        notes = (*header.notes, *notes)
        labels = path / node.path / "labels"
        header = dataclasses.replace(
            header,
            notes=notes,
            levels=len(levels),
            labels=labels if atomic.is_zarr(labels) else None,
        )
        header, order = sort_axes(header)
        yield _Stored(node, levels, header, order)


def _library() -> Any:
    """Return zarr if all that the extra brings is there."""
    try:
        import yaozarrs  # noqa: F401
        import zarr
    except ImportError as error:
        raise FileError(
            f'OME-Zarr needs more libraries ({error}); pip install "napari-dip[zarr]" '
            "brings them"
        ) from error
    return zarr


def _is_array(node: Any) -> bool:
    return hasattr(node, "shape")


def _first_image(node: Any, path: Path) -> tuple[Any, tuple[str, ...]]:
    """Return the node of the first image, and notes on what else there is."""
    if _is_array(node):
        return node, ()
    ome = ngff.metadata_of(node)
    if ome.get("multiscales"):
        count = len(ome["multiscales"])
        note = f"{path.name} holds {count} images; the first was read"
        return node, (note,) if count > 1 else ()
    if "bioformats2raw.layout" in ome:
        names = list(itertools.islice(_numbered(node), 2))
        if not names:
            raise FileError(f"{path.name} says that it holds images, and holds none")
        note = f"{path.name} holds more images; the first was read"
        return node[names[0]], (note,) if len(names) > 1 else ()
    if "plate" in ome or "well" in ome:
        kind = "wells of a plate" if "plate" in ome else "fields of a well"
        first = next(_fields(node), "")
        where = f", such as {path / first}" if first else ""
        raise FileError(f"{path.name} holds the {kind}; name one image in it{where}")
    if ome.get("labels"):
        label = path / str(ome["labels"][0])
        raise FileError(f"{path} holds labels; name one in it, such as {label}")
    arrays = [str(path / name) for name in itertools.islice(node.array_keys(), 3)]
    where = f"; name an array in it, such as {', '.join(arrays)}" if arrays else ""
    raise FileError(f"{path.name} holds no image with the metadata of OME-Zarr{where}")


def _numbered(node: Any) -> Iterator[str]:
    """Yield the paths of images side by side: as they are listed, or else numbered."""
    names = ngff.metadata_of(node["OME"]).get("series") if "OME" in node else None
    if not isinstance(names, list):
        names = map(str, itertools.count())
        yield from itertools.takewhile(lambda name: name in node, names)
        return
    yield from (name for name in map(str, names[:_LISTED]) if name in node)


def _fields(node: Any) -> Iterator[str]:
    """Yield the paths of the images in a plate or a well."""
    for well in _listed(node, "plate", "wells"):
        for field in _listed(node[well], "well", "images"):
            yield f"{well}/{field}"
    yield from _listed(node, "well", "images")


def _listed(node: Any, kind: str, key: str) -> Iterator[str]:
    """Yield the paths that the metadata of a plate or well list and that are there."""
    entries = ngff.listed(node, kind, key)
    if len(entries) > _LISTED:
        raise FileError(
            f"{node.store.root.name} lists {len(entries)} {key} of a {kind}; at most "
            f"{_LISTED} are looked for"
        )
    # Each once, however often it is listed.
    for path in dict.fromkeys(entries):
        if path in node:
            yield path


def _checked_chunks(array: Any, path: Path) -> Chunks:
    """Return what chunks may stand for; raise if a codec is unknown, as pickle is."""
    if np.dtype(array.dtype).kind not in "buif":
        raise FileError(
            f"{path.name} holds values of type {array.dtype}, which are not an image"
        )
    if 0 in (*array.chunks, *(getattr(array, "shards", None) or ())):
        raise FileError(f"{_chunks_of(array, path)}, which hold nothing")
    try:
        return chunks_of(array)
    except FileError as error:
        raise FileError(f"{path.name} holds values that {error}") from None


def _check_chunks(
    array: Any, path: Path, box: Box | None = None, most: int = _CHUNKS
) -> None:
    """Raise if a region is in too many chunks, or one of them in too much memory."""
    box = box or tuple(slice(0, n) for n in array.shape)
    count = math.prod(
        -(-part.stop // side) - part.start // side
        for part, side in zip(box, array.chunks, strict=True)
    )
    if count > most:
        raise FileError(
            f"{_chunks_of(array, path)}, and {count} of them would be read; at most "
            f"{most} are; store it in larger ones"
        )
    limits.check_memory(array.store.chunks[array.path].nbytes, _chunks_of(array, path))


def _chunks_of(array: Any, path: Path) -> str:
    return f"{path.name} is stored in chunks of shape {array.chunks}"


# -- writing ----------------------------------------------------------------------


def check(header: Header) -> None:
    """Raise if an OME-Zarr cannot hold an image of these axes."""
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


def not_kept(header: Header) -> list[str]:
    """Return what an OME-Zarr does not keep of an image, as sentences for the user."""
    return ["an OME-Zarr has no place for the colour profile"] if header.profile else []


def write(
    path: Path,
    data: NDArray[Any],
    header: Header,
    text: str | None = None,
    *,
    opacity: bool = False,
    labels: Mapping[str, tuple[NDArray[Any], Header, str | None]] | None = None,
) -> None:
    """Write an OME-Zarr to a folder that does not exist.

    It is of the version of the header's format, or else of 0.4, which most programs
    read.  An image of more than `_CHUNK` pixels along Y or X has lower resolutions,
    each half as wide and high as the one before.  With `opacity` the last sample of a
    pixel is its opacity.

    Labels are images on the pixels of the image: for each name the pixels, their header
    and the text of their provenance.  Without them those that the header tells of are
    copied.
    """
    group = _create_group(path, header)
    if labels is None:
        _copy_labels(path, header)
    _write_image(group, data, header, text, opacity=opacity)
    if labels:
        folder = group.create_group("labels")
        ngff.put_labels(folder, list(labels))
        for name, label in labels.items():
            _write_image(folder.create_group(name), *label, is_label=True)


def create(path: Path, header: Header) -> Creating:
    """Create an OME-Zarr that is written region by region; see `write`."""
    group = _create_group(path, header)
    _copy_labels(path, header)
    stored, order = ngff.as_stored(header)
    array = _create_array(group, "0", stored.shape, stored)

    def put(box: Box, values: NDArray[Any]) -> None:
        array[tuple(box[i] for i in order)] = values.transpose(order)

    return put, partial(_complete, group, stored), not_kept(header)


def _copy_labels(path: Path, header: Header) -> None:
    """Copy the labels of the input, which has the pixels of the image, into a store."""
    if header.labels is None:
        return
    try:
        shutil.copytree(header.labels, path / "labels", ignore=_special)
    except shutil.Error as error:
        raise OSError(error.args[0][0][2]) from error  # the reason of the first file


def _special(folder: str, names: list[str]) -> list[str]:
    """Return what is neither a file nor a folder, such as a link or a pipe."""
    modes = [(name, os.lstat(os.path.join(folder, name)).st_mode) for name in names]
    return [name for name, mode in modes if not (S_ISREG(mode) or S_ISDIR(mode))]


def _create_group(path: Path, header: Header) -> Any:
    latest = header.format == f"{ngff.FORMAT}0.5"
    return _library().create_group(path, zarr_format=3 if latest else 2)


def _write_image(
    group: Any,
    data: NDArray[Any],
    header: Header,
    text: str | None,
    *,
    opacity: bool = False,
    is_label: bool = False,
) -> None:
    stored, order = ngff.as_stored(header, opacity)
    _create_array(group, "0", stored.shape, stored)[...] = data.transpose(order)
    _complete(group, stored, text, is_label)


def _create_array(group: Any, name: str, shape: tuple[int, ...], stored: Header) -> Any:
    options: dict[str, Any] = {"dimension_names": list(stored.axes.lower())}
    if group.metadata.zarr_format == 2:
        options = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    sides = (1,) * (len(shape) - 2) + tuple(min(_CHUNK, n) for n in shape[-2:])
    return group.create_array(
        name, shape=shape, dtype=stored.dtype, chunks=sides, **options
    )


def _complete(
    group: Any, stored: Header, text: str | None, is_label: bool = False
) -> None:
    """Add the lower resolutions and the metadata to an image of one resolution."""
    count = 1
    while max(group[str(count - 1)].shape[-2:]) > _CHUNK:
        _halve(group, count, stored, is_label)
        count += 1
    ngff.put_image(group, stored, count, text, is_label)


def _halve(group: Any, number: int, stored: Header, is_label: bool) -> None:
    """Write a resolution of half the size: means of 2 x 2 pixels, or of labels one."""
    source = group[str(number - 1)]
    shape = (*source.shape[:-2], *(-(-n // 2) for n in source.shape[-2:]))
    target = _create_array(group, str(number), shape, stored)
    for box in boxes(shape, target.chunks):
        pixels = np.empty(sides_of(box), stored.dtype)
        # Chunk by chunk of the source: threads of zarr keep what they once needed.
        half = (*pixels.shape[:-2], _CHUNK // 2, _CHUNK // 2)
        for part in boxes(pixels.shape, half):
            place = [
                slice(whole.start + within.start, whole.start + within.stop)
                for whole, within in zip(box, part, strict=True)
            ]
            place[-2:] = [slice(2 * side.start, 2 * side.stop) for side in place[-2:]]
            values = source[tuple(place)]
            if is_label:
                pixels[part] = values[..., ::2, ::2]
            else:
                pixels[part] = cast(_means(values), stored.dtype)
        target[box] = pixels


def _means(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the means of 2 x 2 pixels; the last ones of an odd number count twice."""
    odd = [(0, 0)] * (pixels.ndim - 2) + [(0, n % 2) for n in pixels.shape[-2:]]
    if any(map(any, odd)):
        pixels = np.pad(pixels, odd, mode="edge")
    total = np.zeros(pixels[..., ::2, ::2].shape, np.result_type(pixels, np.float32))
    for y, x in itertools.product(range(2), range(2)):
        total += np.float32(0.25) * pixels[..., y::2, x::2]
    return total
