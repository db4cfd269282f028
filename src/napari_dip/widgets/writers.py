"""Writers of layers to files, with scale, units, channels and provenance."""

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
from napari_dip.io.image import Header, Image, name_axes, split_opacity
from napari_dip.io.units import symbol
from napari_dip.widgets.layers import KEY
from napari_dip.widgets.readers import PART_KEY, LayerData

_LETTERS = {"time": "T", "channel": "C", "channels": "C", "depth": "Z", "plane": "Z"}
"""Letters of axes whose label is a word."""


@dataclass(frozen=True, eq=False)
class _Saved:
    """A layer as a file holds it."""

    name: str
    """Name of the layer."""
    data: NDArray[Any]
    """The pixels, at full resolution."""
    header: Header
    """Axes, scale and units of the layer, and the name and colour of an image; white if
    its colormap is not of one colour."""
    provenance: dict[str, Any] | None
    """How the layer was made."""


@contextmanager
def _as_file_errors() -> Iterator[None]:
    """Turn input errors into file errors, which are no ValueError.

    napari ignores a ValueError of a writer and shows nothing to the user.
    """
    try:
        yield
    except InputError as error:
        raise FileError(str(error)) from error


@_as_file_errors()
def write_ome_tiff(path: str, layers: list[LayerData]) -> list[str]:
    """Write images as the channels of one OME-TIFF, or labels: a writer of npe2.

    An existing file is replaced, because napari has asked.  A name without an ending
    gets that of the format.  With the ending of another format that this plugin writes,
    the file is of that format.

    Raises
    ------
    FileError
        If the layers do not fit into one such file; the message names the layer and
        the reason.
    """
    return _write_file(path, ".ome.tif", layers)


@_as_file_errors()
def write_ome_zarr(path: str, layers: list[LayerData]) -> list[str]:
    """Write images as the channels of one OME-Zarr, with the labels of their pixels.

    This is a writer of npe2, as `write_ome_tiff`.
    """
    return _write_file(path, ".ome.zarr", layers)


@_as_file_errors()
def write_png(path: str, layers: list[LayerData]) -> list[str]:
    """Write an image or labels to a PNG: a writer of npe2, as `write_ome_tiff`."""
    return _write_file(path, ".png", layers)


@_as_file_errors()
def write_folder(path: str, layers: list[LayerData]) -> list[str]:
    """Write images and labels to an OME-TIFF each in a folder: a writer of npe2.

    The folder is made if it does not exist.  Points and shapes are written by napari's
    own writer.

    Raises
    ------
    FileError
        If one of the files exists already; then nothing is written.
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
            _write(target, _saved(*layer), overwrite=False)
    return [str(target) for target in targets]


def _write_file(path: str, ending: str, layers: list[LayerData]) -> list[str]:
    target, overwrite = Path(path), True
    if not path.lower().endswith(files.OUTPUTS):
        # napari has not asked whether to replace a file of this name.
        target, overwrite = target.with_name(target.name + ending), False
    ending = files.output_format(target)
    by_kind: dict[str, list[_Saved]] = {"image": [], "labels": []}
    for layer in layers:
        by_kind[layer[2]].append(_saved(*layer))
    images, labels = by_kind["image"], by_kind["labels"]
    if not images and len(labels) == 1:
        single = _small(labels[0]) if ending == ".png" else labels[0]
        _write(target, single, overwrite)
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


def _write(target: Path, layer: _Saved, overwrite: bool) -> None:
    like = Image(layer.data, layer.header)
    if layer.header.axes[-1] == "S" and layer.header.shape[-1] == 4:
        like = split_opacity(layer.data, layer.header)
    for note in files.write(
        target, like.data, like, layer.provenance, overwrite=overwrite
    ):
        show_warning(note)


def _write_with_labels(
    target: Path, image: _Saved, labels: Sequence[_Saved], overwrite: bool
) -> None:
    header = name_axes(image.header)
    zarr.check(header)
    places = dict(zip(header.axes, header.shape, strict=True))
    for layer in labels:
        named = name_axes(layer.header)
        axes, shape = named.axes, named.shape
        if any(places.get(a) != n for a, n in zip(axes, shape, strict=True)):
            raise InputError(
                f"labels must have the pixels of their image; {layer.name!r} has the "
                f"axes {axes} of {shape}, {image.name!r} {header.axes} of "
                f"{header.shape}; save the layers to a folder"
            )
    names = _file_names([layer.name for layer in labels])
    inside = {
        name: (layer.data, layer.header, _dumps(layer.provenance))
        for name, layer in zip(names, labels, strict=True)
    }
    text = _dumps(image.provenance)
    with atomic.replacing(target, overwrite=overwrite, folder=True) as temporary:
        opacity = header.axes[-1] == "S" and header.shape[-1] == 4
        zarr.write(temporary, image.data, header, text, opacity=opacity, labels=inside)


def _dumps(values: dict[str, Any] | None) -> str | None:
    return None if values is None else provenance.dumps(values)


def _file_names(names: Sequence[str]) -> list[str]:
    """Return different names that every operating system accepts for a file."""
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


def _saved(data: Any, attributes: dict[str, Any], kind: str) -> _Saved:
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
    elif not rgb:
        colour = _colour(attributes["colormap"])
        header = dataclasses.replace(
            header, channel_names=(name,), channel_colours=(colour,)
        )
    if _is_moved(attributes):
        show_warning(
            f"the position of {name!r} is not stored: files keep its scale, but "
            "neither shift, rotation nor flip"
        )
    stored = attributes["metadata"].get(KEY)
    return _Saved(
        name=name,
        data=pixels,
        header=header,
        provenance=_with_software(stored) if isinstance(stored, dict) else None,
    )


def _countable(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels in a type that napari takes for labels when it reads the file."""
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    dtype = np.dtype(np.int32 if low < 0 else np.uint32)
    if low < np.iinfo(dtype).min or high > np.iinfo(dtype).max:
        raise InputError(f"labels must fit into 32 bits; got {low} to {high}")
    return labels.astype(dtype)


def _small(labels: _Saved) -> _Saved:
    data = labels.data.astype(np.min_scalar_type(labels.data.max(initial=0)))
    return dataclasses.replace(labels, data=data, header=labels.header.of(data))


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
    units = [symbol(unit) for unit in attributes.get("units", [None] * ndim)]
    scale: list[float | None] = [abs(float(step)) for step in attributes["scale"]]
    for i, letter in enumerate(axes):
        # napari gives layers of unknown scale the scale 1 and the unit pixel.
        if letter == "C" or (units[i] is None and attributes["scale"][i] == 1):
            scale[i] = units[i] = None
    if rgb:
        axes, scale, units = axes + "S", [*scale, None], [*units, None]
    return Header("layer", shape, dtype, axes, tuple(scale), tuple(units))


def _colour(colormap: Any) -> str:
    """Return the colour at the end of a colormap that begins with black, or white."""
    ramp = ensure_colormap(colormap).map(np.array([0.0, 0.5, 1.0]))[:, :3]
    if not np.allclose(ramp, np.outer([0.0, 0.5, 1.0], ramp[-1]), atol=0.01):
        return "#ffffff"
    return "#" + bytes(np.rint(255 * ramp[-1]).astype(np.uint8)).hex()


def _is_moved(attributes: dict[str, Any]) -> bool:
    """Return whether a layer is shifted, rotated, sheared or flipped."""
    ndim = len(attributes["scale"])
    plain = {
        "translate": np.zeros(ndim),
        "shear": np.zeros(ndim * (ndim - 1) // 2),
        "rotate": np.eye(ndim),
        "affine": np.eye(ndim + 1),
    }
    return min(attributes["scale"]) < 0 or any(
        not np.array_equal(np.asarray(attributes[key]), value)
        for key, value in plain.items()
        if key in attributes
    )


def _with_software(values: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of a layer with software and version, as files have it."""
    return {"software": provenance.SOFTWARE, "version": __version__, **values}


def _joined(images: Sequence[_Saved]) -> _Saved:
    """Return images as the channels of one, in a type that holds the values of all."""
    first = images[0]
    if len(images) == 1:
        return first
    for image in images:
        for name in ("axes", "shape", "scale", "units"):
            expected, value = getattr(first.header, name), getattr(image.header, name)
            if value != expected:
                raise InputError(
                    f"images in one file are its channels and must agree; the {name} "
                    f"of {first.name!r} is {expected}, that of {image.name!r} {value}; "
                    "save them to a folder"
                )
    header = first.header
    if {"C", "S"} & set(header.axes):
        raise InputError(
            f"images in one file are its channels; {first.name!r} has channels or "
            "colours of its own; save them to a folder"
        )
    # The axis of channels stands before those of space.
    axis = min(header.axes.index(letter) for letter in "ZYX" if letter in header.axes)
    data = np.stack([image.data for image in images], axis)
    header = dataclasses.replace(
        header,
        shape=data.shape,
        dtype=data.dtype,
        axes=header.axes[:axis] + "C" + header.axes[axis:],
        scale=(*header.scale[:axis], None, *header.scale[axis:]),
        units=(*header.units[:axis], None, *header.units[axis:]),
        channel_names=sum((image.header.channel_names for image in images), ()),
        channel_colours=sum((image.header.channel_colours for image in images), ()),
    )
    stored = {i.name: i.provenance for i in images if i.provenance is not None}
    return _Saved(
        name=", ".join(image.name for image in images),
        data=data,
        header=header,
        provenance=_with_software({PART_KEY: stored}) if stored else None,
    )
