"""The metadata of OME-Zarr 0.4 and 0.5, read and written.

They follow https://ngff.openmicroscopy.org/0.4/ and /0.5/: yaozarrs makes and checks
what is written.  What is read need not be valid: older versions and other programs
leave things out.  The provenance is an attribute of its own.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FileError
from napari_dip.io import provenance, units
from napari_dip.io.image import Header, name_axes, plain_header, reorder
from napari_dip.io.regions import boxes

if TYPE_CHECKING:
    from yaozarrs import DimSpec

_KEY = "napari-dip"
"""Attribute that holds the provenance."""

FORMAT = "OME-Zarr "

_LEVELS = 32
"""Resolutions that are looked at: more than halvings of any image."""

_SHOWN = 80
"""Most characters of invalid metadata in a message."""

_ORDER = "TCZYX"
"""Order of the axes, which both versions demand."""

_SAMPLES: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = {
    2: (("Gray", "Alpha"), ("#ffffff", "#ffffff")),
    3: (("Red", "Green", "Blue"), ("#ff0000", "#00ff00", "#0000ff")),
    4: (
        ("Red", "Green", "Blue", "Alpha"),
        ("#ff0000", "#00ff00", "#0000ff", "#ffffff"),
    ),
}
"""Names and colours of the samples of a pixel; OME-Zarr knows only channels."""

_COLOURS = ("#ff00ff", "#00ff00", "#00ffff", "#ffff00", "#ff0000", "#0000ff")
"""Colours for channels that have none, since OME-Zarr demands one."""


def metadata_of(node: Any) -> Mapping[str, Any]:
    """Return the metadata, which version 0.5 keeps under a key of their own."""
    attributes = node.attrs.asdict()
    metadata: Mapping[str, Any] = attributes.get("ome", attributes)
    _check(node, isinstance(metadata, Mapping), "ome must be a mapping", metadata)
    return metadata


def _check(node: Any, valid: bool, rule: str, value: Any) -> None:
    """Raise if metadata of a group are not as a rule of OME-Zarr says."""
    if not valid:
        place = node.store.root / node.path
        text = json.dumps(value)
        got = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise FileError(
            f"{place.name} has metadata that are not those of OME-Zarr: {rule}; got "
            f"{got}"
        )


def listed(node: Any, kind: str, key: str) -> list[str]:
    """Return the paths that the metadata of a plate or a well list."""
    about = metadata_of(node).get(kind) or {}
    entries = about.get(key) or [] if isinstance(about, Mapping) else about
    named = _of_mappings(entries) and all("path" in entry for entry in entries)
    _check(node, named, f"the {key} of a {kind} must be a list with paths", entries)
    return [str(entry["path"]) for entry in entries]


def describe_array(array: Any, name: str) -> tuple[list[Any], Header]:
    """Describe an array without metadata of OME.

    Version 3 of Zarr can name its axes; in version 2 xarray has an attribute for them.
    """
    from yaozarrs import DimSpec

    if array.ndim < 2:
        raise FileError(
            f"{name} holds an array of shape {array.shape}, which is no image"
        )
    names = getattr(array.metadata, "dimension_names", None)
    if names is None:
        names = array.attrs.get("_ARRAY_DIMENSIONS")
    if not isinstance(names, list | tuple):
        names = ()
    header = _header(array, [DimSpec(name=str(name)) for name in names])
    if header is None:
        header = plain_header(array.shape, np.dtype(array.dtype).newbyteorder("="))
    return [array], dataclasses.replace(header, format="Zarr")


def describe_image(group: Any, name: str) -> tuple[list[Any], Header]:
    """Return the levels of the first image of a group, and describe it."""
    attributes = group.attrs.asdict()
    ome = metadata_of(group)
    multiscale = _first_multiscale(group, ome["multiscales"])
    paths = [dataset["path"] for dataset in multiscale["datasets"][:_LEVELS]]
    if not paths:
        raise FileError(f"{name} holds an image of no resolution")
    for path in paths:
        if not hasattr(group.get(path), "shape"):
            raise FileError(f"{name} is damaged: it speaks of an array {path!r}")
    levels = [group[path] for path in paths]
    dims = _dims(group, multiscale)
    header = _header(levels[0], dims)
    if header is None:
        raise FileError(
            f"{name} is no OME-Zarr image: it must have the axes y and x, and one for "
            f"every dimension; got {', '.join(dim.name for dim in dims)} for an array "
            f"of shape {levels[0].shape}"
        )
    version = ome.get("version", multiscale.get("version", "0.4"))
    notes = header.notes
    if _is_displaced(multiscale):
        notes += ("the position of the image (translation) is not kept",)
    header = dataclasses.replace(
        _with_channels(header, ome.get("omero")),
        notes=notes,
        format=f"{FORMAT}{version}",
        provenance=provenance.checked(attributes.get(_KEY)),
    )
    return levels, header


def _first_multiscale(group: Any, multiscales: Any) -> Mapping[str, Any]:
    """Return the description of the first image if it can be understood."""
    _check(group, _of_mappings(multiscales), "multiscales must be a list", multiscales)
    first: Mapping[str, Any] = multiscales[0]
    datasets, axes = first.get("datasets"), first.get("axes")
    rule = "datasets must be a list of arrays with a path"
    _check(group, _of_mappings(datasets), rule, datasets)
    paths = [dataset.get("path") for dataset in datasets or ()]
    usable = all(
        isinstance(path, str) and not {"", ".", ".."} & set(path.split("/"))
        for path in paths
    )
    _check(group, usable, rule, datasets)
    rule = "axes must be a list of names, or of names with a type and a unit"
    _check(group, not axes or all(map(_is_axis, axes)), rule, axes)
    return first


def _is_axis(axis: Any) -> bool:
    if not isinstance(axis, Mapping):
        return isinstance(axis, str)
    texts = [axis.get(key) for key in ("type", "unit") if axis.get(key) is not None]
    return "name" in axis and all(isinstance(text, str) for text in texts)


def _of_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, Mapping) for v in value)


def _scale_of(group: Any, transformations: Any, count: int) -> NDArray[np.float64]:
    """Return the scale in a list of transformations, of ones without any."""
    total = np.ones(count)
    _check(
        group,
        _of_mappings(transformations),
        "coordinateTransformations must be a list",
        transformations,
    )
    for transformation in transformations:
        if transformation.get("type") != "scale" or "scale" not in transformation:
            continue
        try:
            scale = np.asarray(transformation["scale"], float)
        except (TypeError, ValueError):
            scale = np.empty(0)
        rule = f"a scale must be {count} numbers, one for each axis"
        _check(group, scale.shape == (count,), rule, transformation["scale"])
        total *= scale
    return total


def _is_displaced(multiscale: Mapping[str, Any]) -> bool:
    """Return whether the full resolution has another position than 0."""
    held = (multiscale["datasets"][0], multiscale)
    lists = (holder.get("coordinateTransformations") or [] for holder in held)
    shifts = (change.get("translation") for changes in lists for change in changes)
    return any(isinstance(shift, list) and any(shift) for shift in shifts)


def _dims(group: Any, multiscale: Mapping[str, Any]) -> list[DimSpec]:
    """Return the axes of an image with the scale of its full resolution.

    Other programs leave out types of axes, and the scale of a level.
    """
    from yaozarrs import DimSpec

    # Before version 0.4 axes were names only, and before 0.3 always these.
    axes = multiscale.get("axes") or list("tczyx")
    axes = [{"name": axis} if isinstance(axis, str) else axis for axis in axes]
    scale = np.ones(len(axes))
    for holder in (multiscale["datasets"][0], multiscale):
        transformations = holder.get("coordinateTransformations") or []
        scale *= _scale_of(group, transformations, len(axes))
    return [
        DimSpec(
            name=str(axis["name"]),
            type=axis.get("type"),
            unit=axis.get("unit"),
            scale=step,
        )
        for axis, step in zip(axes, scale.tolist(), strict=True)
    ]


def _header(array: Any, dims: Sequence[DimSpec]) -> Header | None:
    """Describe an array; None if it has no Y and X, or other axes than `dims`."""
    letters = ""
    for dim in dims:
        letter = {"time": "T", "channel": "C"}.get(dim.infer_type() or "", dim.name[:1])
        usable = letter.isalpha() and letter.upper() not in letters + "S"
        letters += letter.upper() if usable else "Q"
    if not {"Y", "X"} <= set(letters):
        letters = _by_place(letters, dims)
    if len(letters) != array.ndim or not {"Y", "X"} <= set(letters):
        return None
    scale: list[float | None] = []
    names: list[str | None] = []
    for letter, dim in zip(letters, dims, strict=True):
        # Every axis must have a scale; a scale of 1 without a unit says nothing.
        says = dim.unit is not None or dim.scale != 1
        # A negative scale says that the axis is flipped; the step is its size.
        step = abs(dim.scale)
        known = says and letter != "C" and 0 < step < math.inf
        scale.append(step if known else None)
        names.append(units.symbol(dim.unit) if known else None)
    return Header(
        format=FORMAT,
        shape=tuple(array.shape),
        dtype=np.dtype(array.dtype).newbyteorder("="),
        axes=letters,
        scale=tuple(scale),
        units=tuple(names),
        notes=("an axis is flipped, which is not kept",)
        if any(dim.scale < 0 for dim in dims)
        else (),
    )


def _by_place(letters: str, dims: Sequence[DimSpec]) -> str:
    """Return letters where axes of space are told by their order alone.

    Their names are free, and their order is z, y, x.
    """
    spatial = [i for i, dim in enumerate(dims) if dim.type == "space"]
    others = [a for i, a in enumerate(letters) if i not in spatial]
    if not 2 <= len(spatial) <= 3 or set(others) & set("ZYX"):
        return letters
    named = list(letters)
    for i, letter in zip(reversed(spatial), "XYZ", strict=False):
        named[i] = letter
    return "".join(named)


def _with_channels(header: Header, omero: Any) -> Header:
    """Return a header with what is said of its channels, if that can be understood."""
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(channels, list) or len(channels) != header.channels:
        return header
    if not all(isinstance(channel, Mapping) for channel in channels):
        return header
    names = tuple(str(channel.get("label") or "") for channel in channels)
    colours = tuple(_colour(channel.get("color")) for channel in channels)
    if _SAMPLES.get(len(channels)) == (names, colours):
        return dataclasses.replace(header, axes=header.axes.replace("C", "S"))
    return dataclasses.replace(
        header,
        channel_names=names if any(names) else (),
        channel_colours=colours if all(colours) else (),
    )


def _colour(text: Any) -> str:
    """Return a colour of OME-Zarr as ours; "" if it is none.

    Some programs write a # before it, or the opacity behind.
    """
    colour = re.fullmatch("#?([0-9a-f]{6})([0-9a-f]{2})?", str(text).lower())
    return f"#{colour[1]}" if colour else ""


def _models(group: Any) -> Any:
    import yaozarrs

    return yaozarrs.v05 if group.metadata.zarr_format == 3 else yaozarrs.v04


def as_stored(header: Header, opacity: bool = False) -> tuple[Header, list[int]]:
    """Return a header in the order of OME-Zarr, and how to transpose the pixels.

    Colours become channels.  With `opacity` the last sample of a pixel is its opacity.
    """
    header = name_axes(header)
    if "S" in header.axes:
        count = header.shape[header.axes.index("S")]
        # Two and four gray samples would pass for one colour with its opacity.
        known = opacity or count == 3
        names, colours = _SAMPLES[count] if known else ((), ())
        header = dataclasses.replace(
            header,
            axes=header.axes.replace("S", "C"),
            channel_names=names,
            channel_colours=colours,
        )
    order = [header.axes.index(letter) for letter in _ORDER if letter in header.axes]
    return reorder(header, order), order


def _multiscale(stored: Header, count: int, models: Any, is_label: bool) -> Any:
    from yaozarrs import DimSpec

    dims = [
        DimSpec(
            name=name.lower(),
            unit=unit and units.long_name(unit),
            scale=step or 1.0,
            scale_factor=2.0 if name in "YX" else 1.0,
        )
        for name, unit, step in zip(
            stored.axes, stored.units, stored.scale, strict=True
        )
    ]
    with warnings.catch_warnings():
        # Units beyond those that OME-Zarr lists are allowed.
        warnings.simplefilter("ignore")
        described = models.Multiscale.from_dims(dims, n_levels=count).model_dump(
            exclude_none=True
        )
        for number, level in enumerate(described["datasets"]):
            # A mean lies in the middle of its pixels.
            shift = [
                (2**number - 1) / 2 * dim.scale if dim.name in "yx" else 0.0
                for dim in dims
            ]
            if any(shift) and not is_label:
                translation = {"type": "translation", "translation": shift}
                level["coordinateTransformations"].append(translation)
        return models.Multiscale(**described)


def _channels(array: Any, header: Header, models: Any) -> list[Any]:
    """Describe the channels; each must have a colour and a range of values."""
    axis = header.axes.index("C") if "C" in header.axes else None
    count = 1 if axis is None else array.shape[axis]
    ends = np.full((count, 2), (np.inf, -np.inf))
    for box in boxes(array.shape, array.chunks):
        values = array[box]
        finite = values[np.isfinite(values)]
        if finite.size:
            channel = 0 if axis is None else box[axis].start
            low, high = ends[channel]
            ends[channel] = min(low, finite.min()), max(high, finite.max())
    ends[ends[:, 0] > ends[:, 1]] = 0, 1  # no value is finite
    # Without a name there is no label: an invented one would pass for a name.
    names = header.channel_names or [None] * count
    palette = _COLOURS if count > 1 else ("#ffffff",)
    colours = header.channel_colours or [
        palette[i % len(palette)] for i in range(count)
    ]
    described = []
    for (low, high), name, colour in zip(ends.tolist(), names, colours, strict=True):
        window = models.OmeroWindow(start=low, end=high, min=low, max=high)
        described.append(
            models.OmeroChannel(label=name, color=colour, window=window, active=True)
        )
    return described


def put_image(
    group: Any, stored: Header, count: int, text: str | None, is_label: bool
) -> None:
    """Write the metadata of an image of some resolutions, and its provenance."""
    models = _models(group)
    metadata = {"multiscales": [_multiscale(stored, count, models, is_label)]}
    if "C" in stored.axes or stored.channel_names or stored.channel_colours:
        metadata["omero"] = models.Omero(channels=_channels(group["0"], stored, models))
    if is_label:
        label = models.ImageLabel(source=models.LabelSource(image="../../"))
        _put(group, models.LabelImage(**metadata, image_label=label), text)
    else:
        _put(group, models.Image(**metadata), text)


def put_labels(folder: Any, names: list[str]) -> None:
    """Write the metadata of the group of label images."""
    _put(folder, _models(folder).LabelsGroup(labels=names))


def _put(group: Any, metadata: Any, text: str | None = None) -> None:
    attributes = metadata.model_dump(exclude_none=True)
    if group.metadata.zarr_format == 3:
        attributes = {"ome": attributes}
    if text is not None:
        attributes[_KEY] = json.loads(text)
    group.attrs.put(attributes)
