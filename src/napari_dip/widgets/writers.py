"""Layers into files, with scale, units, channels and how the layers were made."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import npe2
import numpy as np
from napari.utils.colormaps import ensure_colormap
from napari.utils.notifications import show_warning
from numpy.typing import NDArray

from napari_dip import __version__
from napari_dip.errors import FileError, InputError
from napari_dip.io import atomic, files, limits, provenance, zarr
from napari_dip.io.image import Header, Image, name_axes
from napari_dip.widgets.layers import KEY
from napari_dip.widgets.readers import PART_KEY, LayerData

_LETTERS = {"time": "T", "channel": "C", "channels": "C", "depth": "Z", "plane": "Z"}
"""Of axes whose label is more than a letter."""


@dataclass(frozen=True, eq=False)
class _Part:
    """A layer as a file holds it.

    Attributes
    ----------
    name : str
        Of the layer.
    data : ndarray
        The pixels, at full resolution.
    header : Header
        What the layer says about them.
    colour : str
        In which it is shown; white for all that is not one colour.
    made : dict or None
        How it was made.
    """

    name: str
    data: NDArray[Any]
    header: Header
    colour: str
    made: dict[str, Any] | None


@contextmanager
def _complaining() -> Iterator[None]:
    """Raise what is no ValueError: napari swallows those of writers without a word."""
    try:
        yield
    except InputError as error:
        raise FileError(str(error)) from error


@_complaining()
def write_ome_tiff(path: str, layers: list[LayerData]) -> list[str]:
    """Write images as the channels of one OME-TIFF, or labels: a writer of npe2.

    Parameters
    ----------
    path : str
        What is there is replaced, for napari has asked.  A name without an ending
        gets that of the format; one with the ending of another format that we write
        is taken at its word.
    layers : list of tuple
        Data, attributes and kind of each.

    Raises
    ------
    FileError
        If the layers do not fit into one such file; the message says which and why.
    """
    return _write_file(path, ".ome.tif", layers)


@_complaining()
def write_ome_zarr(path: str, layers: list[LayerData]) -> list[str]:
    """Write images as the channels of one OME-Zarr, with what labels their pixels.

    A writer of npe2, as `write_ome_tiff`.
    """
    return _write_file(path, ".ome.zarr", layers)


@_complaining()
def write_png(path: str, layers: list[LayerData]) -> list[str]:
    """Write an image or labels to a PNG: a writer of npe2, as `write_ome_tiff`."""
    return _write_file(path, ".png", layers)


@_complaining()
def write_folder(path: str, layers: list[LayerData]) -> list[str]:
    """Write images and labels to an OME-TIFF each: a writer of npe2.

    napari's own writer is asked for points and shapes.

    Parameters
    ----------
    path : str
        A folder, made if it is not there.
    layers : list of tuple
        Data, attributes and kind of each.

    Raises
    ------
    FileError
        If a file of that name is there already; then nothing is written.
    """
    folder = Path(path)
    names = _file_names([str(attributes["name"]) for _, attributes, _ in layers])
    endings = [
        ".csv" if kind in ("points", "shapes") else ".ome.tif" for *_, kind in layers
    ]
    targets = [folder / f"{n}{e}" for n, e in zip(names, endings, strict=True)]
    for target in targets:
        atomic.refuse_existing(target, overwrite=False)
    folder.mkdir(parents=True, exist_ok=True)
    for target, layer in zip(targets, layers, strict=True):
        if target.suffix == ".csv":
            npe2.write(str(target), [layer], plugin_name="napari")
        else:
            _write(target, _part(*layer), overwrite=False)
    return [str(target) for target in targets]


def _write_file(path: str, ending: str, layers: list[LayerData]) -> list[str]:
    target, overwrite = Path(path), True
    if not path.lower().endswith(files.OUTPUTS):
        # A name that napari did not ask about.
        target, overwrite = target.with_name(target.name + ending), False
    ending = files.output_format(target)
    parts: dict[str, list[_Part]] = {"image": [], "labels": []}
    for layer in layers:
        parts[layer[2]].append(_part(*layer))
    images, labels = parts["image"], parts["labels"]
    if not images and len(labels) == 1:
        part = _small(labels[0]) if ending == ".png" else labels[0]
        _write(target, part, overwrite)
    elif not labels and (len(images) == 1 or ending != ".png"):
        _write(target, _joined(images), overwrite)
    elif images and ending in files.FOLDERS:
        _write_with_labels(target, _joined(images), labels, overwrite)
    else:
        raise InputError(
            f"{len(images)} images and {len(labels)} labels do not go into one "
            f"{ending}; save images with labels as .ome.zarr, or all to a folder"
        )
    return [str(target)]


def _write(target: Path, part: _Part, overwrite: bool) -> None:
    like = Image(part.data, part.header)
    files.write(target, part.data, like, part.made, overwrite=overwrite)


def _write_with_labels(
    target: Path, image: _Part, labels: Sequence[_Part], overwrite: bool
) -> None:
    """Write an image and, in the same OME-Zarr, what labels its pixels."""
    header = name_axes(image.header)
    zarr.check(header, image.data.dtype)
    places = dict(zip(header.axes, header.shape, strict=True))
    for part in labels:
        of = name_axes(part.header)
        if any(places.get(a) != n for a, n in zip(of.axes, of.shape, strict=True)):
            raise InputError(
                f"labels must have the pixels of their image; {part.name!r} has the "
                f"axes {of.axes} of {of.shape}, {image.name!r} {header.axes} of "
                f"{header.shape}; save the layers to a folder"
            )
    names = _file_names([part.name for part in labels])
    inside = {
        name: (part.data, part.header, _dumps(part.made))
        for name, part in zip(names, labels, strict=True)
    }
    with atomic.replacing_folder(target, overwrite=overwrite) as temporary:
        zarr.write(temporary, image.data, header, _dumps(image.made), labels=inside)


def _dumps(made: dict[str, Any] | None) -> str | None:
    return None if made is None else provenance.dumps(made)


def _file_names(names: Sequence[str]) -> list[str]:
    """Return names that every system takes for a file, each of them once."""
    taken: list[str] = []
    for name in names:
        plain = re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "_", name).strip(". ") or "layer"
        number, free = 1, plain
        while free.lower() in (other.lower() for other in taken):
            number += 1
            free = f"{plain} {number}"
        taken.append(free)
    return taken


# -- from layers --------------------------------------------------------------------


def _part(data: Any, attributes: dict[str, Any], kind: str) -> _Part:
    """Return a layer as a file holds it."""
    name = str(attributes["name"])
    if attributes.get("multiscale"):
        data = data[0]
    rgb = bool(attributes.get("rgb", False))
    header = _header(tuple(data.shape), np.dtype(data.dtype), attributes, rgb)
    limits.check_size(header, name)
    pixels = np.asarray(data)
    if kind == "labels":
        pixels = _countable(pixels)
        header = header.of(pixels)
    if _is_moved(attributes):
        show_warning(
            f"where {name!r} lies is not stored: files keep its scale, but neither "
            "shift nor rotation"
        )
    made = attributes["metadata"].get(KEY)
    return _Part(
        name=name,
        data=pixels,
        header=header,
        colour=_colour(attributes["colormap"]) if kind == "image" else "#ffffff",
        made=_with_software(made) if isinstance(made, dict) else None,
    )


def _countable(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels in a type by which napari knows them when it reads the file."""
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    dtype = np.dtype(np.int32 if low < 0 else np.uint32)
    if low < np.iinfo(dtype).min or high > np.iinfo(dtype).max:
        raise InputError(f"labels must fit into 32 bits; got {low} to {high}")
    return labels.astype(dtype)


def _small(part: _Part) -> _Part:
    """Return labels in the smallest type, the only ones that a PNG holds."""
    data = part.data.astype(np.min_scalar_type(part.data.max(initial=0)))
    return dataclasses.replace(part, data=data, header=part.header.of(data))


def _header(
    shape: tuple[int, ...], dtype: np.dtype[Any], attributes: dict[str, Any], rgb: bool
) -> Header:
    ndim = len(shape) - rgb
    if ndim < 2:
        raise InputError(
            f"{attributes['name']!r} must be an image; got the shape {shape}"
        )
    axes = ""
    for label in attributes.get("axis_labels", [""] * ndim)[: ndim - 2]:
        letter = _LETTERS.get(label.lower(), label.upper())
        usable = len(letter) == 1 and letter.isalpha() and letter not in axes + "YXS"
        axes += letter if usable else "Q"
    axes += "YX"
    units = [_unit(unit) for unit in attributes.get("units", [None] * ndim)]
    # One pixel to a pixel is what napari says where nothing is known.
    known = [
        letter != "C" and (unit is not None or step != 1)
        for letter, step, unit in zip(axes, attributes["scale"], units, strict=True)
    ]
    scale = [
        float(s) if k else None for s, k in zip(attributes["scale"], known, strict=True)
    ]
    units = [u if k else None for u, k in zip(units, known, strict=True)]
    if rgb:
        axes, scale, units = axes + "S", [*scale, None], [*units, None]
    return Header("layer", shape, dtype, axes, tuple(scale), tuple(units))


def _unit(unit: Any) -> str | None:
    """Return the symbol of one of pint's units, None for pixels."""
    symbol = f"{unit:~}" if unit is not None else "pixel"
    return None if symbol in ("pixel", "px", "") else symbol


def _colour(colormap: Any) -> str:
    """Return the colour of a map that goes from black to it, or white."""
    ramp = ensure_colormap(colormap).map(np.array([0.0, 0.5, 1.0]))[:, :3]
    if not np.allclose(ramp, np.outer([0.0, 0.5, 1.0], ramp[-1]), atol=0.01):
        return "#ffffff"
    return "#" + bytes(np.rint(255 * ramp[-1]).astype(np.uint8)).hex()


def _is_moved(attributes: dict[str, Any]) -> bool:
    """Whether a layer is shifted, turned or sheared."""
    ndim = len(attributes["scale"])
    plain = {
        "translate": np.zeros(ndim),
        "shear": np.zeros(ndim * (ndim - 1) // 2),
        "rotate": np.eye(ndim),
        "affine": np.eye(ndim + 1),
    }
    return any(
        not np.array_equal(np.asarray(attributes[key]), value)
        for key, value in plain.items()
        if key in attributes
    )


def _with_software(made: dict[str, Any]) -> dict[str, Any]:
    """Say whose provenance it is: layers need not, files must."""
    return {"software": provenance.SOFTWARE, "version": __version__, **made}


def _joined(parts: Sequence[_Part]) -> _Part:
    """Return images as the channels of one, in a type that holds the values of all."""
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts:
        for what in ("axes", "shape", "scale", "units"):
            ours, theirs = getattr(first.header, what), getattr(part.header, what)
            if ours != theirs:
                raise InputError(
                    f"images in one file are its channels and must agree; the {what} "
                    f"of {first.name!r} is {ours}, that of {part.name!r} {theirs}; "
                    "save them to a folder"
                )
    header = first.header
    if {"C", "S"} & set(header.axes):
        raise InputError(
            f"images in one file are its channels; {first.name!r} has channels or "
            "colours of its own; save them to a folder"
        )
    # Before the axes of space.
    axis = min(header.axes.index(letter) for letter in "ZYX" if letter in header.axes)
    data = np.stack([part.data for part in parts], axis)
    header = dataclasses.replace(
        header,
        shape=data.shape,
        dtype=data.dtype,
        axes=header.axes[:axis] + "C" + header.axes[axis:],
        scale=(*header.scale[:axis], None, *header.scale[axis:]),
        units=(*header.units[:axis], None, *header.units[axis:]),
        channel_names=tuple(part.name for part in parts),
        channel_colours=tuple(part.colour for part in parts),
    )
    made = {part.name: part.made for part in parts if part.made is not None}
    return _Part(
        name=", ".join(part.name for part in parts),
        data=data,
        header=header,
        colour=first.colour,
        made=_with_software({PART_KEY: made}) if made else None,
    )
