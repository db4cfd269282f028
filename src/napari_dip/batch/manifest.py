"""What has been done of a folder: a file of JSON beside the results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_dip.errors import FileError
from napari_dip.io import atomic, provenance
from napari_dip.io.reading import readable

NAME = "napari-dip-batch.json"
"""Name of the file in the folder of the results."""

SCHEMA = 1
"""Version of what the file holds."""

DONE, FAILED, STOPPED, PENDING = STATES = "done", "failed", "stopped", "pending"
"""States of an image: pending is what a call had still to do when it ended."""


class Manifest:
    """What is known of every result in a folder.

    An entry is a dict with the keys state, sha256 (of the result), and others that
    depend on the state.  The file is written anew, whole or not at all, after every
    change.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        self.entries: dict[str, dict[str, Any]] = {}
        if self.path.exists():
            self.entries = _read(self.path)

    def put(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        """Note what is known of a result, and return it.

        Where a run has failed, what an earlier one wrote stays known.
        """
        before = self.entries.get(name, {})
        self.entries[name] = {"sha256": before.get("sha256"), **entry}
        self._write()
        return self.entries[name]

    def await_results(self, names: Iterable[str]) -> None:
        """Note that some results are to be made."""
        for name in names:
            before = self.entries.get(name, {})
            self.entries[name] = {"state": PENDING, "sha256": before.get("sha256")}
        self._write()

    def _write(self) -> None:
        lines = [
            f"{json.dumps(name)}: {provenance.dumps(entry)}"
            for name, entry in sorted(self.entries.items())
        ]
        text = ",\n".join(lines)
        head = f'{{"software": "napari-dip", "schema": {SCHEMA}, "results": {{'
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(self.path, overwrite=True) as temporary:
            temporary.write_text(f"{head}\n{text}\n}}}}\n", "utf-8")

    def holds(self, name: str) -> bool:
        """Return whether a result has been made, whatever of."""
        return self.entries.get(name, {}).get("state") == DONE

    def is_done(self, name: str, request: Mapping[str, Any]) -> bool:
        """Return whether a result is there and is what `request` would make again."""
        entry, target = self.entries[name], self.folder / name
        known = {key: entry.get(key) for key in request}
        return target.exists() and known == json.loads(provenance.dumps(request))

    def owns(self, name: str) -> bool:
        """Return whether what is at the place of a result may be replaced.

        That is what an earlier call wrote, unless somebody has changed it since.
        """
        target = self.folder / name
        if not target.exists():
            return True
        entry = self.entries.get(name)
        if entry is None:
            return False
        return entry["state"] == PENDING or entry.get("sha256") == digest(target)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with readable(path):
            text = path.read_text("utf-8")
        stored = json.loads(text)
        entries: dict[str, dict[str, Any]] = stored["results"]
        for entry in entries.values():
            hashes = entry.get("sha256"), entry.get("weights")
            if not all(isinstance(text or "", str) for text in hashes):
                raise TypeError
        whole = stored["schema"] == SCHEMA and all(
            entry["state"] in STATES for entry in entries.values()
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
        raise FileError(
            f"{path} is no list of results: it is damaged, or of another program; "
            "remove it, and with --overwrite all files are done again"
        ) from e
    if not whole:
        raise FileError(f"{path} is of another version; give another folder")
    return entries


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all names and files in a folder."""
    if path.is_dir():
        total = hashlib.sha256()
        for part in sorted(part for part in path.rglob("*") if part.is_file()):
            name = part.relative_to(path).as_posix()
            total.update(f"{name}\0{digest(part)}\n".encode())
        return total.hexdigest()
    with readable(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
