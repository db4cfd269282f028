"""TIFFs opened with care: descriptions that are wrong, and files that are missing."""

from __future__ import annotations

import html
import logging
import math
import re
import struct
from collections.abc import Collection, Iterator
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

_COMPANION = 2**26
"""Largest size in bytes of a companion file, which holds nothing but XML."""


_OME_TYPES = {
    **{name: name for name in ("int8", "int16", "int32", "uint8", "uint16", "uint32")},
    "float": "float32",
    "double": "float64",
    "bit": "bool",
}
"""Types of values in OME, and in NumPy."""

_BESIDE = ("Thumbnail", "Label", "Macro")
"""Names that tifffile gives pictures of a slide that are beside its image."""

_UNFIT = "the description of {} does not fit its planes; they were read as they lie"


@dataclass
class OpenTiff:
    """An open TIFF.

    Attributes
    ----------
    tif : tifffile.TiffFile
        The file.
    log : list of str
        Errors that tifffile logs and does not raise.
    notes : list of str
        What is not as the file says, as sentences for the user.
    missing : list of str
        Names of files that belong to the image and do not exist.
    others : list of str
        Names of those that do.
    number : int
        Which of the series is meant.
    """

    tif: tifffile.TiffFile
    log: list[str]
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    number: int = 0

    @property
    def series(self) -> Any:
        """The image."""
        return self.tif.series[self.number]

    @property
    def images(self) -> list[int]:
        """Which series are images: not what is smaller, or the mask, of another one."""
        known = self.tif.is_ome
        own = [
            n
            for n, series in enumerate(self.tif.series)
            if known
            or not (
                series.keyframe.is_reduced
                or series.keyframe.is_mask
                or series.name in _BESIDE
            )
        ]
        return own or list(range(len(self.tif.series)))

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
        there = np.array([page is not None for page in self.series.pages])
        if there.all():
            return None
        leading = self.series.shape[: -len(self.series.keyframe.shape)]
        there = there.reshape(leading)
        kept = [np.unique(indices) for indices in np.nonzero(there)]
        there = there[np.ix_(*kept)]
        planes = []
        for axis, side in enumerate(there.shape):
            whole = np.moveaxis(there, axis, 0).reshape(side, -1).all(axis=1)
            planes.append((whole.sum() * there.size // max(side, 1), -axis, whole))
        most, axis, whole = max(planes, key=lambda found: found[:2])
        if not most:
            raise FileError(
                f"{self.tif.filename} is incomplete: planes of its image are missing"
            )
        kept[-axis] = kept[-axis][whole]
        return tuple(kept)


@contextmanager
def opened(path: Path, series: int | None = None) -> Iterator[OpenTiff]:
    """Open a TIFF, and note what is not as it says.

    Parameters
    ----------
    path : Path
        The file.
    series : int, optional
        Number of an image in it, from 0.  Without it the first is read, and a note says
        so where there are others.
    """
    with ExitStack() as stack:
        log = stack.enter_context(logged("tifffile", logging.ERROR))
        stack.enter_context(one_line_errors(path))
        file = OpenTiff(stack.enter_context(tifffile.TiffFile(path)), log)
        _check_pages(file.tif, path)
        if file.tif.is_ome:
            _open_ome(file, path, stack)
        elif file.tif.is_imagej:
            _arrange_imagej(file, path)
        _arrange(file, path)
        if not file.tif.series:
            raise FileError(f"{path.name} holds no image")
        count, number = len(file.images), series or 0
        if not 0 <= number < count:
            raise FileError(f"{path.name} holds {count} images; got series {series}")
        file.number = file.images[number]
        # Of what does not fit tifffile warns, and takes pages for what they are.
        generic = file.tif.is_ome and file.series.kind == "generic"
        if any(" series " in text for text in log) or (generic and not file.missing):
            file.notes.append(_UNFIT.format(path.name))
        if series is None and count > 1:
            file.notes.append(f"{path.name} holds {count} images; the first was read")
        yield file


def _check_pages(tif: tifffile.TiffFile, path: Path) -> None:
    """Raise if pages follow each other in a circle, which tifffile may not end."""
    file, layout = tif.filehandle, tif.tiff
    if not tif.pages:
        raise FileError(f"{path.name} holds no image")
    offset, seen = tif.pages.first.offset, set()
    while offset:
        if offset in seen:
            raise FileError(
                f"{path.name} is damaged: its pages follow each other in a circle"
            )
        seen.add(offset)
        file.seek(offset)
        count = file.read(layout.tagnosize)
        if len(count) < layout.tagnosize:
            return  # tifffile says so
        tags = struct.unpack(layout.tagnoformat, count)[0] * layout.tagsize
        file.seek(offset + layout.tagnosize + tags)
        following = file.read(layout.offsetsize)
        if len(following) < layout.offsetsize:
            return
        (offset,) = struct.unpack(layout.offsetformat, following)


def _open_ome(file: OpenTiff, path: Path, stack: ExitStack) -> None:
    """Find the files that an OME-TIFF refers to, before tifffile opens them."""
    try:
        root = ElementTree.fromstring(file.tif.ome_metadata or "")
        companion = root.find("{*}BinaryOnly")
        if companion is not None:
            name = companion.get("MetadataFile", "")
            text = _companion(path, name)
            if text is None:
                file.missing.append(name)
                file.notes.append(
                    f"{path.name} belongs to {name}, which does not exist; its own "
                    "planes were read"
                )
                return
            file.tif = stack.enter_context(tifffile.TiffFile(path, omexml=text))
            root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        file.notes.append(_UNFIT.format(path.name))
        setattr(file.tif, "is_ome", False)  # noqa: B010  # not known to type checkers
        return
    _check_planes(root, path)
    damaged = {}
    for pixels in root.iterfind(".//{*}Pixels"):
        uuids = pixels.iterfind(".//{*}UUID")
        # A file that was renamed is known by its identifier.
        names = {u.get("FileName") for u in uuids if u.text != root.get("UUID")}
        for name in sorted(name for name in names if name and name != path.name):
            if not _exists(path, name):
                file.missing.append(name)
                continue
            file.others.append(name)
            if reason := _damage(path.parent / name, pixels):
                damaged[name] = reason
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
        text = _without(file.tif.ome_metadata or "", damaged)
        file.tif = stack.enter_context(tifffile.TiffFile(path, omexml=text))


def _damage(path: Path, pixels: ElementTree.Element) -> str | None:
    """Return why the planes of a file that an OME-TIFF refers to cannot be read.

    Parameters
    ----------
    path : Path
        The file.
    pixels : Element
        What OME says of its planes.
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


def _without(text: str, names: Collection[str]) -> str:
    """Return a description by OME that refers to files that do not exist instead."""

    def renamed(found: re.Match[str]) -> str:
        missing = html.unescape(found[2]) in names
        return f'"{found[2]}/missing"' if missing else found[0]

    return re.sub(r"""(?<=FileName=)(["'])(.*?)\1""", renamed, text)


def _check_planes(root: ElementTree.Element, path: Path) -> None:
    """Raise if there are too many planes, of which tifffile makes a list."""
    total = 0
    for pixels in root.iterfind(".//{*}Pixels"):
        counts = [pixels.get(f"Size{axis}", "") for axis in "ZCT"]
        total += math.prod(int(n) for n in counts if n.isdecimal())
    limits.check_planes(total, path.name)


def _companion(path: Path, name: str) -> str | None:
    if not name or not _exists(path, name):
        return None
    companion = path.parent / name
    if companion.stat().st_size > _COMPANION:
        raise FileError(f"{name} is too large for the metadata of {path.name}")
    return companion.read_text("utf-8", "replace")


def _exists(path: Path, name: str) -> bool:
    """Return whether a file that another refers to exists; raise for a pipe."""
    other = path.parent / name
    if other.exists() and not (other.is_file() or other.is_dir()):
        raise FileError(f"{path.name} refers to {name}, which is no regular file")
    return other.is_file()


def _arrange(file: OpenTiff, path: Path) -> None:
    """Read planes as they lie where a description makes no sense to tifffile."""
    try:
        _ = file.tif.series
    except Exception:  # noqa: BLE001  # of any kind, by what is in the text
        for kind in ("shaped", "mmstack", "ome", "imagej"):
            setattr(file.tif, f"is_{kind}", False)
        file.notes.append(_UNFIT.format(path.name))


def _arrange_imagej(file: OpenTiff, path: Path) -> None:
    """Read planes as they lie where ImageJ's description speaks of others.

    Files that were cropped or split by other programs often keep the old one.
    """
    tif = file.tif
    metadata = tif.imagej_metadata or {}
    counts = [metadata.get(key, 1) for key in ("frames", "slices", "channels")]
    if all(isinstance(count, int) and count > 0 for count in counts):
        planes, pages = math.prod(counts), len(tif.pages)
        # The samples of a colour may be called channels.
        if planes == 1 or pages in (planes, planes // counts[2]):
            return
        if pages == 1 and _holds(tif, planes // counts[2], path):
            return
        file.notes.append(
            f"{path.name} speaks of {planes} planes and holds {pages}, which were read"
        )
    else:
        file.notes.append(_UNFIT.format(path.name))
    # Series are found once; what is asked later is what else ImageJ says.
    setattr(tif, "is_imagej", False)  # noqa: B010  # not known to type checkers
    _ = tif.series
    setattr(tif, "is_imagej", True)  # noqa: B010


def _holds(tif: tifffile.TiffFile, planes: int, path: Path) -> bool:
    """Return whether planes without pages of their own follow a single page.

    ImageJ writes them so.

    Raises
    ------
    FileError
        If the file ends within them.
    """
    page = tif.pages.first
    size = path.stat().st_size
    if not page.is_final:
        return False
    end = page.dataoffsets[0] + page.nbytes * planes
    # The place of the next page follows the last tag.
    tag_size = tif.tiff.tagsize + tif.tiff.offsetsize
    own = [page.dataoffsets[0] + page.nbytes]
    for tag in page.tags:
        own += [tag.offset + tag_size, tag.valueoffset + tag.valuebytecount]
    if end > size > max(own):
        raise FileError(
            f"{path.name} is truncated: its {planes} planes end at byte {end}, the "
            f"file at {size}"
        )
    return bool(end <= size)
