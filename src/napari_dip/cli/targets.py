"""Where results are written, and whether they can be."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_dip.errors import InputError


def targets_of(
    inputs: Sequence[Path], output: Path, name: str = "output"
) -> list[Path]:
    """Return the path to write for every input."""
    from napari_dip.batch.folder import result_name
    from napari_dip.io import files

    store = output.name.lower().endswith(files.FOLDERS)  # a folder that is one image
    ends = output.suffix or output.name.lower() in files.OUTPUTS
    folder = (output.is_dir() and not store) or len(inputs) > 1 or not ends
    if not folder:
        return [output]
    if output.exists() and not (output.is_dir() or output.is_file()):
        raise InputError(f"{name} must be a file or a folder; got {output}")
    image_endings = files.FOLDERS if output.is_dir() else files.OUTPUTS
    image = len(inputs) > 1 and output.name.lower().endswith(image_endings)
    if store or image or (output.exists() and not output.is_dir()):
        if len(inputs) == 1:
            files.output_format(output)  # raises: a file without an ending
        raise InputError(f"{name} must be a folder for several inputs; got {output}")
    targets: dict[Path, Path] = {}
    for source in inputs:
        target = output / result_name(source)
        if target in targets:
            raise InputError(
                f"two inputs, {targets[target]} and {source}, have a result of the "
                f"same name, {target}"
            )
        targets[target] = source
    return list(targets)


def check_target(
    target: Path, sources: Sequence[Path], overwrite: bool, name: str = "output"
) -> None:
    """Raise if `target` cannot be written: no such format, folder or permission."""
    from napari_dip.io import files

    files.output_format(target, name)
    check_place(target, sources, overwrite, name)


def check_apart(outputs: Mapping[str, Path | None]) -> None:
    """Raise if two outputs, given by their names, are one, or one holds another."""
    named = [(name, path) for name, path in outputs.items() if path is not None]
    for (name, path), (other, other_path) in itertools.combinations(named, 2):
        if _holds(path, other_path) or _holds(other_path, path):
            raise InputError(
                f"{name} and {other} must be two files, neither in the other; got "
                f"{path} and {other_path}"
            )


def check_place(
    target: Path, sources: Sequence[Path], overwrite: bool, name: str = "output"
) -> None:
    """Raise if there is a file already, or the folder cannot be written to."""
    from napari_dip.io import atomic, files

    atomic.refuse_inside_store(target)
    if target.exists():
        sources = [part for source in sources for part in files.parts_of(source)]
    if any(_holds(target, source) for source in sources):
        raise InputError(
            f"{name} must not be one of the inputs, nor hold one; got {target}"
        )
    store = target.name.lower().endswith(files.FOLDERS)
    atomic.refuse_existing(target, overwrite, folder=store, name=name)
    check_folder(atomic.without_links(target).parent, name)


def _holds(outer: Path, inner: Path) -> bool:
    """Return whether two paths are of one file, or the second lies in the first."""
    from napari_dip.io.atomic import without_links

    if outer.exists() and inner.exists() and outer.samefile(inner):
        return True
    place = without_links(inner)
    return without_links(outer) in (place, *place.parents)


def check_folder(folder: Path, name: str = "output") -> None:
    """Raise if files cannot be written to a folder, which need not exist."""
    while not folder.exists():
        folder = folder.parent
    try:
        # What permissions say is not all: a disk can be read-only, or full.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{name} cannot be written to the folder {folder}: {error.strerror}"
        ) from error
