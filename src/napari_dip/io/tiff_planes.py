"""How the planes of a TIFF lie, where its description does not fit them."""

from __future__ import annotations

import math
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tifffile

from napari_dip.errors import FileError
from napari_dip.io import limits

if TYPE_CHECKING:
    from napari_dip.io.open_tiff import OpenTiff

_INDEX = "NDTiff.index"
"""File in which Micro-Manager says where planes are."""

UNFIT = "the description of {} does not fit its planes; they were read as they lie"


def arrange(file: OpenTiff, path: Path) -> None:
    """Read planes as they lie where a description makes no sense to tifffile."""
    tif = file.tif
    try:
        if tif.is_micromanager:
            _check_micromanager(tif, path)
        fits = all(_fits(level) for series in tif.series for level in series.levels)
    except FileError:
        raise
    except Exception:  # noqa: BLE001  # of any kind, by what is in the text
        fits = False
    if not fits:
        vars(tif).pop("series", None)
        for kind in tifffile.TIFF.FILE_FLAGS:
            setattr(tif, f"is_{kind}", False)
        file.notes.append(UNFIT.format(path.name))


def _fits(series: Any) -> bool:
    """Return whether the planes of a series make its shape; one may stand for all."""
    pages, page = series.pages, series.keyframe
    values = math.prod(map(operator.index, series.shape))
    return len(pages) == 1 or values == len(pages) * page.size


def _check_micromanager(tif: tifffile.TiffFile, path: Path) -> None:
    """Raise if Micro-Manager speaks of too many planes, or of pipes."""
    about: dict[str, Any] = tif.micromanager_metadata or {}
    sides: list[int] = []
    if tif.is_mmstack:
        last = about["IndexMap"][:, :4].max(axis=0).tolist()
        keys = ("Channels", "Slices", "Frames", "Positions")
        counts = [int(about["Summary"].get(key, 1)) for key in keys]
        sides = [max(n, i + 1) for n, i in zip(counts, last, strict=True)]
        for other in path.parent.glob("*_MMStack*.tif"):
            exists(path, other.name)
    elif tif.is_ndtiff and exists(path, _INDEX):
        places: dict[str, set[Any]] = {}
        for record in tifffile.read_ndtiff_index(path.parent / _INDEX):
            exists(path, record[1])
            for axis, place in record[0].items():
                places.setdefault(axis, set()).add(place)
        for along in places.values():
            numbers = all(isinstance(place, int) for place in along)
            sides.append(max(along) - min(along) + 1 if numbers else len(along))
    limits.check_planes(math.prod(sides), path.name)


def arrange_imagej(file: OpenTiff, path: Path) -> None:
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
        file.notes.append(UNFIT.format(path.name))
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


def exists(path: Path, name: str) -> bool:
    """Return whether a file that another refers to exists; raise for a pipe."""
    other = path.parent / name
    if other.exists() and not (other.is_file() or other.is_dir()):
        raise FileError(f"{path.name} refers to {name}, which is no regular file")
    return other.is_file()
