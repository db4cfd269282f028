"""TIFFs opened with care: descriptions that are wrong, and files that are missing."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_dip.errors import FileError
from napari_dip.io import limits
from napari_dip.io.reading import logged, one_line, one_line_errors
from napari_dip.io.tiff_planes import UNFIT, arrange, arrange_imagej, exists

_COMPANION = 2**26
"""Largest size in bytes of a companion file, which holds nothing but XML."""


_OME_TYPES = {
    **{name: name for name in ("int8", "int16", "int32", "uint8", "uint16", "uint32")},
    "float": "float32",
    "double": "float64",
    "bit": "bool",
}
"""Types of values in OME, and in NumPy."""

_ORIENTATION = 274
"""Number of the tag that says how an image is to be turned."""

_BESIDE = ("Thumbnail", "Label", "Macro")
"""Names that tifffile gives pictures of a slide that are beside its image."""


@dataclass
class OpenTiff:
    """An open TIFF."""

    tif: tifffile.TiffFile
    log: list[str]
    """Errors that tifffile logs and does not raise."""
    notes: list[str] = field(default_factory=list)
    """What is not as the file says, as sentences for the user."""
    missing: list[str] = field(default_factory=list)
    """Names of files that belong to the image and do not exist."""
    others: list[str] = field(default_factory=list)
    """Names of those that do."""
    number: int = 0
    """Which of the series is meant."""
    unlike: bool = False
    """Whether tags of orientation are not the same in all pages."""

    @property
    def series(self) -> Any:
        """The image."""
        return self.tif.series[self.number]

    @property
    def orientations(self) -> set[int]:
        """How the planes of the image are to be turned."""
        pages = self.series.pages if self.unlike else [self.series.keyframe]
        tags = (page.aspage().tags for page in pages if page is not None)
        return {int(t.valueof("Orientation", 1)) for t in tags}

    @property
    def images(self) -> list[int]:
        """Which series are images: not what is smaller, or the mask, of another one."""
        numbers = list(range(len(self.tif.series)))
        if self.tif.is_ome:
            return numbers
        images = [
            n
            for n, series in enumerate(self.tif.series)
            if not (
                series.keyframe.is_reduced
                or series.keyframe.is_mask
                or series.name in _BESIDE
            )
        ]
        return images or numbers

    @property
    def damage(self) -> str | None:
        """The first error about pixels, not about series or what tags hold."""
        others = (" series ", "TiffTag.fromfile")
        about = (text for text in self.log if not any(o in text for o in others))
        return next(about, None)

    def present(self) -> tuple[NDArray[Any], ...] | None:
        """Return which indices along the leading axes have planes, None for all.

        Where an acquisition was broken off between them, those are left out that are
        not complete along one axis, such as the last time.
        """
        present = np.array([page is not None for page in self.series.pages])
        if present.all():
            return None
        leading = self.series.shape[: -len(self.series.keyframe.shape)]
        present = present.reshape(leading)
        kept = [np.unique(indices) for indices in np.nonzero(present)]
        present = present[np.ix_(*kept)]
        choices = []
        for axis, side in enumerate(present.shape):
            whole = np.moveaxis(present, axis, 0).reshape(side, -1).all(axis=1)
            choices.append((whole.sum() * present.size // max(side, 1), -axis, whole))
        planes, axis, whole = max(choices, key=lambda choice: choice[:2])
        if not planes:
            raise FileError(
                f"{self.tif.filename} is incomplete: planes of its image are missing"
            )
        kept[-axis] = kept[-axis][whole]
        return tuple(kept)


@contextmanager
def opened(path: Path, series: int | None = None) -> Iterator[OpenTiff]:
    """Open a TIFF, and note what is not as it says.

    Without the number of a series, from 0, the first is read, and a note says so where
    there are others.
    """
    with ExitStack() as stack:
        warned = stack.enter_context(logged("tifffile", logging.WARNING))
        log = stack.enter_context(logged("tifffile", logging.ERROR))
        stack.enter_context(one_line_errors(path))
        file = OpenTiff(stack.enter_context(tifffile.TiffFile(path)), log)
        if not file.tif.pages and path.suffix.lower() == ".ndpi":
            # Hamamatsu's own have offsets of 64 bits, but not those of others.
            tif = tifffile.TiffFile(path, is_ndpi=False)
            file.tif = stack.enter_context(tif)
        orientations = _check_pages(file.tif, path)
        file.unlike = len(set(orientations)) > 1
        if file.tif.is_scanimage and len(file.tif.pages) < len(orientations):
            # tifffile expects bytes after the last page.
            file.tif = stack.enter_context(tifffile.TiffFile(path, is_scanimage=False))
            setattr(file.tif, "is_scanimage", True)  # noqa: B010
        if file.tif.is_ome:
            _open_ome(file, path, stack)
        elif file.tif.is_imagej:
            arrange_imagej(file, path)
        arrange(file, path)
        if not file.tif.series:
            raise FileError(f"{path.name} holds no image")
        count, number = len(file.images), series or 0
        if not 0 <= number < count:
            raise FileError(f"{path.name} holds {count} images; got series {series}")
        file.number = file.images[number]
        # Of what does not fit tifffile warns, and takes pages for what they are.
        generic = file.tif.is_ome and file.series.kind == "generic"
        if any(" series " in text for text in log) or (generic and not file.missing):
            file.notes.append(UNFIT.format(path.name))
        elif file.series.kind == "ome":
            _note_other_planes(file, path)
        elif reasons := [text for text in warned if " series " in text]:
            reason = reasons[0].rpartition("> ")[2]
            file.notes.append(f"{path.name} may not be read as meant: {reason}")
        if series is None and count > 1:
            file.notes.append(f"{path.name} holds {count} images; the first was read")
        yield file


def _check_pages(tif: tifffile.TiffFile, path: Path) -> list[bytes]:
    """Return the entry of the tag of orientation of each page, empty without one.

    Raises
    ------
    FileError
        If pages follow each other in a circle, which tifffile may not end, or hold
        integers whose bytes tifffile puts in a wrong order.
    """
    file, layout = tif.filehandle, tif.tiff
    if not tif.pages:
        raise FileError(f"{path.name} holds no image")
    first = tif.pages.first
    if first.bitspersample in range(17, 32) and first.dtype in (np.uint32, np.int32):
        raise FileError(
            f"{path.name} has integers of {first.bitspersample} bits; TIFF files are "
            f"read with 1 to 16, 32 and 64"
        )
    code = struct.pack(layout.byteorder + "H", _ORIENTATION)
    offset, seen, orientations = first.offset, set(), []
    while offset:
        if offset in seen:
            raise FileError(
                f"{path.name} is damaged: its pages follow each other in a circle"
            )
        seen.add(offset)
        file.seek(offset)
        count = file.read(layout.tagnosize)
        if len(count) < layout.tagnosize:
            break  # tifffile says so
        size = struct.unpack(layout.tagnoformat, count)[0] * layout.tagsize
        tags, following = file.read(size), file.read(layout.offsetsize)
        if len(following) < layout.offsetsize:
            break
        starts = range(0, size, layout.tagsize)
        entries = (tags[i : i + layout.tagsize] for i in starts)
        orientations.append(next((e for e in entries if e.startswith(code)), b""))
        (offset,) = struct.unpack(layout.offsetformat, following)
    return orientations


def _open_ome(file: OpenTiff, path: Path, stack: ExitStack) -> None:
    """Open an OME-TIFF with a description that tifffile understands.

    An image that no element gives planes to has those that follow in the file.  Files
    that do not exist, or are damaged, are found before tifffile opens them.
    """
    root = _description(file, path)
    if root is None:
        return
    page = file.tif.pages.first
    _check_planes(root, page, path)
    damaged, start = {}, 0
    for pixels in root.iterfind(".//{*}Pixels"):
        if pixels.find("{*}TiffData") is None:
            name = pixels.tag.removesuffix("Pixels") + "TiffData"
            count = max(_product(pixels, "ZCT") // page.samplesperpixel, 1)
            places = {"IFD": str(start), "PlaneCount": str(count)}
            ElementTree.SubElement(pixels, name, places)
            start += count
        # A file that was renamed is known by its identifier.
        uuids = [
            uuid
            for uuid in pixels.iterfind(".//{*}UUID")
            if uuid.get("FileName", path.name) != path.name
            and uuid.text != root.get("UUID")
        ]
        for name in sorted({uuid.attrib["FileName"] for uuid in uuids}):
            if not exists(path, name):
                file.missing.append(name)
                continue
            file.others.append(name)
            if reason := _damage(path.parent / name, pixels):
                damaged[name] = reason
        for uuid in uuids:
            if uuid.get("FileName") in damaged:
                uuid.set("FileName", f"{uuid.get('FileName')}/missing")
    if file.missing:
        file.notes.append(
            f"files of the image of {path.name} do not exist ({file.missing[0]}"
            f"{', ...' if len(file.missing) > 1 else ''}); the other planes were read"
        )
    if damaged:
        name, reason = next(iter(damaged.items()))
        file.notes.append(
            f"files of the image of {path.name} are damaged ({name}: {reason}"
            f"{', ...' if len(damaged) > 1 else ''}); the other planes were read"
        )
        file.missing += damaged
    text = ElementTree.tostring(root, "unicode")
    file.tif = stack.enter_context(tifffile.TiffFile(path, omexml=text))


def _description(file: OpenTiff, path: Path) -> ElementTree.Element | None:
    """Return the description of an OME-TIFF or of its companion; note if it is none."""
    try:
        root = ElementTree.fromstring(file.tif.ome_metadata or "")
        companion = root.find("{*}BinaryOnly")
        if companion is None:
            return root
        name = companion.get("MetadataFile", "")
        if text := _companion(path, name):
            file.others.append(name)
            return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        file.notes.append(UNFIT.format(path.name))
        setattr(file.tif, "is_ome", False)  # noqa: B010  # not known to type checkers
        return None
    file.missing.append(name)
    file.notes.append(
        f"{path.name} belongs to {name}, which does not exist; its own planes were read"
    )
    return None


def _damage(path: Path, pixels: ElementTree.Element) -> str | None:
    """Return why the planes of a file that an OME-TIFF refers to cannot be read.

    `pixels` is what OME says of its planes.
    """
    sides = tuple(pixels.get(f"Size{axis}") for axis in "YX")
    dtype = _OME_TYPES.get(pixels.get("Type", ""))
    try:
        with tifffile.TiffFile(path, is_ome=False) as tif:
            _check_pages(tif, path)
            size, end = path.stat().st_size, 0
            for page in tif.pages:
                places = zip(page.dataoffsets, page.databytecounts, strict=False)
                end = max(end, *map(sum, places))
            first = tif.pages.first
            if end > size:
                return f"its pixels end at byte {end}, the file at {size}"
            if (str(first.imagelength), str(first.imagewidth)) != sides:
                return f"its shape is {first.shape}"
            if dtype is not None and first.dtype != dtype:
                return f"its type is {first.dtype}"
    except Exception as error:  # noqa: BLE001  # decoders fail in many ways
        return one_line(error)
    return None


def _check_planes(root: ElementTree.Element, page: Any, path: Path) -> None:
    """Raise if OME describes too many planes, of which tifffile makes lists.

    The page is of the size that planes have.
    """
    total = 0
    for pixels in root.iterfind(".//{*}Pixels"):
        planes = _product(pixels, "ZCT")
        total += max(planes, planes * _product(pixels, "YX") // max(page.size, 1))
    for element in root.iter():
        for key in ("PlaneCount", "NumPlanes"):
            total = max(total, int(_number(element, key)))
        if "End" in element.attrib:  # of times or angles that are one axis of OME
            span = _number(element, "End") - _number(element, "Start", 0)
            total = max(total, int(span / (_number(element, "Step") or math.inf)))
    limits.check_planes(total, path.name)


def _product(pixels: ElementTree.Element, axes: str) -> int:
    return int(math.prod(abs(_number(pixels, f"Size{axis}")) for axis in axes))


def _note_other_planes(file: OpenTiff, path: Path) -> None:
    """Note that a description by OME speaks of less planes than there are."""
    planes = (page for series in file.tif.series for page in series.pages if page)
    named = {page.index for page in planes if page.parent is file.tif}
    if len(named) < len(file.tif.pages):
        file.notes.append(
            f"{path.name} holds {len(file.tif.pages)} planes, of which its description "
            f"names {len(named)}; the others were left out"
        )


def _number(element: ElementTree.Element, key: str, otherwise: float = 1) -> float:
    """Return an attribute that is a number as Python, and tifffile, reads it."""
    try:
        number = float(element.get(key, otherwise))
    except ValueError:
        return otherwise
    return number if math.isfinite(number) else otherwise


def _companion(path: Path, name: str) -> str | None:
    if not name or not exists(path, name):
        return None
    companion = path.parent / name
    if companion.stat().st_size > _COMPANION:
        raise FileError(f"{name} is too large for the metadata of {path.name}")
    return companion.read_text("utf-8", "replace")
