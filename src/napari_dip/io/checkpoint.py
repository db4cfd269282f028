"""States and weights of fits in files: safetensors, with JSON in the header.

Such a file holds tensors by name and one text, which is JSON here.  Nothing in it is
ever unpickled or run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_dip.errors import FileError
from napari_dip.io import atomic
from napari_dip.io.reading import one_line, readable

SCHEMA = 1
"""Version of what the JSON holds."""

_KEY = "napari-dip"
"""Name of the JSON in the header."""


def write(
    path: Path,
    kind: str,
    state: Mapping[str, Any],
    about: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write the state or the weights of a fit, whole or not at all.

    The kind is "checkpoint" or "weights".  The state has tensors, and values that JSON
    can hold; losses among them may be NaN.  What it belongs to is JSON-able.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from napari_dip.prior.snapshot import digest

    tensors, values = {}, {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            tensors[name] = value.detach().cpu().contiguous()
        else:
            values[name] = value
    header = {
        "schema": SCHEMA,
        "kind": kind,
        "about": about,
        "values": values,
        "sha256": digest(state),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path, overwrite=overwrite) as temporary:
        try:
            save_file(tensors, temporary, {_KEY: json.dumps(header)})
        except SafetensorError as error:  # a full disk, which is no OSError here
            raise OSError(one_line(error)) from error


def read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `write` has written: the state, and what it belongs to.

    Raises
    ------
    FileError
        If the file is not what it should be, in one line.
    """
    from safetensors import SafetensorError, safe_open

    from napari_dip.prior.snapshot import digest

    if path.exists() and not path.is_file():
        raise FileError(f"{path} is no regular file")
    try:
        with readable(path), safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header["schema"] != SCHEMA:
            raise FileError(
                f"{path} has the schema {header['schema']}; this version of napari-dip "
                f"reads {SCHEMA}"
            )
        if header["kind"] != kind:
            raise FileError(f"{path} holds {header['kind']}, not {kind}")
        state: dict[str, Any] = {**header["values"], **tensors}
        if digest(state) != header["sha256"]:
            raise FileError(f"{path} is damaged: it has another hash than it says")
        return state, dict(header["about"])
    except (SafetensorError, LookupError, TypeError, ValueError, RecursionError) as e:
        raise FileError(
            f"{path} holds no {kind} of napari-dip: it is damaged, or of another kind"
        ) from e
