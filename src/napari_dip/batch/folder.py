"""Which files a batch is of, and where their results go."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_dip.errors import DipError, InputError
from napari_dip.io import atomic, files


@dataclass(frozen=True)
class Item:
    """An image of a batch."""

    name: str
    """Path of its result in the folder of results."""
    sources: dict[str, Path]
    """The file of every array of the task."""
    series: dict[str, int | None] = field(default_factory=dict)
    """Which image of a file is meant, where it has several."""
    error: str = ""
    """Why it cannot be done, if it cannot."""


def find(
    first: str,
    inputs: Sequence[Path],
    others: Mapping[str, Path],
    output: Path,
    *,
    recursive: bool = False,
) -> list[Item]:
    """Return the images that folders, patterns and files stand for.

    Patterns have ``*``, ``?`` or ``**``; `recursive` looks into folders within a
    folder, and nothing is looked for in the folder of results.  `others` has, for every
    array of the task but the first, its file, or a folder with a file of the same name
    for each image.  An image in several files is one, with the name of the first.
    """
    for other, path in others.items():
        if not path.exists():
            raise InputError(f"{other} must be a file or a folder; got {path}")
    items: dict[str, Item] = {}
    spread: set[Path] = set()
    for source in inputs:
        base, paths = _files(source, recursive)
        paths = [path for path in paths if path == source or _is_image(path)]
        place = atomic.without_links(output)
        if not paths:
            raise InputError(_without_image(source, place))
        pairs = [(path, atomic.without_links(path)) for path in paths]
        outside = [pair for pair in pairs if place not in (pair[1], *pair[1].parents)]
        if not outside:
            raise InputError(
                f"output must be another folder than that of the images; {source} "
                f"holds none but in {output}"
            )
        for path, target in outside:
            # Each file of an OME-TIFF in several stands for all of it.
            if target in spread:
                continue
            of_file, parts = _items(first, path, path.relative_to(base), others)
            if len(parts) > 1:
                spread |= parts
            for item in of_file:
                if item.name in items and items[item.name] != item:
                    earlier = items[item.name].sources[first]
                    raise InputError(
                        f"two inputs, {earlier} and {path}, have a result of the same "
                        f"name, {item.name!r}; restore one of them into another folder"
                    )
                items[item.name] = item
    return list(items.values())


def passed_over(
    inputs: Sequence[Path], output: Path, *, recursive: bool = False
) -> list[Path]:
    """Return the files in folders, or of patterns, that `find` takes for no images."""
    place, others = atomic.without_links(output), set()
    for source in inputs:
        _, paths = _files(source, recursive)
        others |= {path for path in paths if path != source and not _is_image(path)}
    return sorted(
        path for path in others if place not in atomic.without_links(path).parents
    )


def _without_image(source: Path, output: Path) -> str:
    """Return what to tell of an input in which no image has been found."""
    deeper = _within(source, True) if source.is_dir() else ()
    for path in filter(_is_image, deeper):
        if output not in atomic.without_links(path).parents:
            return (
                f"{source} holds no image itself, but folders within it do; "
                "--recursive looks into them"
            )
    return (
        f"{source} holds no image; accepted are {', '.join(files.READABLE)} "
        "and the folders of OME-Zarr"
    )


def _files(source: Path, recursive: bool) -> tuple[Path, list[Path]]:
    """Return the files that an input stands for, images or not, in order.

    With them comes the folder to count from.
    """
    if atomic.is_zarr(source) or source.is_file():
        return source.parent, [source]
    if source.is_dir():
        return source, sorted(_within(source, recursive))
    if not glob.has_magic(str(source)):
        raise InputError(f"{source} is no file, folder or pattern of existing files")
    plain = itertools.takewhile(lambda part: not glob.has_magic(part), source.parts)
    base, deep = Path(*plain), "**" in source.parts
    paths = map(Path, glob.glob(str(source), recursive=True))
    return base, sorted(
        path
        for path in paths
        # Where ** follows links, those in a circle are followed 40 times.
        if _is_file(path) and not (deep and _by_links(path, base))
    )


def _by_links(path: Path, base: Path) -> bool:
    """Return whether a folder between a folder and a file in it is a link."""
    folders = path.relative_to(base).parents
    return any((base / folder).is_symlink() for folder in list(folders)[:-1])


def _is_file(path: Path) -> bool:
    return not path.is_dir() or atomic.is_zarr(path)


def _is_image(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in files.READABLE


def _within(folder: Path, recursive: bool) -> Iterator[Path]:
    """Yield the files in a folder, but for temporary and other hidden ones."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if _is_file(path):
            yield path
        elif recursive and not path.is_symlink():
            yield from _within(path, recursive)


def _items(
    first: str, path: Path, relative: Path, others: Mapping[str, Path]
) -> tuple[list[Item], frozenset[Path]]:
    """Return the images of a file, and the files that these are in."""
    try:
        images, parts = files.images_in(path)
    except DipError as error:
        name = relative.with_name(result_name(path)).as_posix()
        return [Item(name, {first: path}, error=str(error))], frozenset()
    items = []
    for number, (place, series) in enumerate(images):
        suffix = f"_series{number + 1}" if len(images) > 1 else ""
        name = relative.with_name(result_name(path, suffix)).as_posix()
        sources, numbers = {first: place}, {first: series}
        try:
            for other, source in others.items():
                sources[other], numbers[other] = _other(other, source, relative, number)
        except DipError as error:
            items.append(Item(name, {first: place}, error=str(error)))
        else:
            items.append(Item(name, sources, numbers))
    return items, frozenset(map(atomic.without_links, parts))


def _other(
    what: str, source: Path, relative: Path, number: int
) -> tuple[Path, int | None]:
    """Return the file of another array, such as the mask, for an image."""
    if not source.is_dir() or atomic.is_zarr(source):
        return source, None
    path = source / relative
    if not path.exists():
        stem = files.split_name(relative.name)[0]
        others = path.parent.glob("*")
        same_stem = [p for p in others if files.split_name(p.name)[0] == stem]
        if len(same_stem) != 1:
            raise InputError(f"{source} has no {what} for {relative}")
        (path,) = same_stem
    images, _ = files.images_in(path)
    if len(images) == 1:
        return images[0]
    if number >= len(images):
        raise InputError(f"{path} has {len(images)} images; {relative} has more")
    return images[number]


def result_name(path: Path, suffix: str = "") -> str:
    """Return the name of the result of a file, with a suffix before its ending.

    A JPEG becomes a PNG, a TIFF of a microscope a .tif, and a name without an ending
    gets one, by what is in the file.
    """
    stem, ending = files.split_name(path.name)
    if not ending:
        ending = files.output_ending(path)
    elif ending.lower() in files.JPEGS:
        ending = ".png"
    elif ending.lower() not in files.OUTPUTS:
        ending = ".tif"
    return stem + suffix + ending
