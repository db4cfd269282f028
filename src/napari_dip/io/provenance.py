"""How an image was made, as JSON that files carry."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip import __version__
from napari_dip.errors import InputError
from napari_dip.io import limits
from napari_dip.io.regions import boxes, slab_sides
from napari_dip.tasks.recipe import Parameters, Recipe

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit

SOFTWARE = "napari-dip"

_COMMON_KEYS = ("device", "precision", "torch")
"""Settings that are the same for all planes."""


_KINDS: dict[str, type] = {
    "task": str,
    "recipe": dict,
    "from_file": list,
    "inputs": dict,
    "objects": dict,
    "planes": list,
}
"""What the provenance holds under its keys, where it has them."""

_AT_ONCE, _LEAST = 2**25, 2**16
"""Most bytes of an array that are read at once, and least, however few are free."""

_DEEPEST = 50
"""How deep containers may lie in each other in the provenance of a file."""


def origin(parameters: Parameters) -> dict[str, Any]:
    """Return what made an image: this software, a task and its parameters."""
    return {
        "software": SOFTWARE,
        "version": __version__,
        "task": parameters.task,
        "recipe": parameters.to_dict(),
    }


def describe(
    recipe: Recipe,
    fit: Fit,
    inputs: Mapping[str, Mapping[str, Any]],
    from_file: Sequence[str] = (),
    objects: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Describe how a result was made, from the recipe as it was run.

    The inputs are what `describe_inputs` says of them.  The parameters `from_file` were
    not given and the input file decided them; another file may decide them otherwise.
    The objects are what else the task was given, as text, such as the import path of a
    model.
    """
    planes = [dict(plane) for plane in fit.settings["planes"]]
    # Planes that were not fitted, since they are constant, have none of them.
    common = {
        key: next((p[key] for p in planes if key in p), None) for key in _COMMON_KEYS
    }
    for plane in planes:
        for key in _COMMON_KEYS:
            plane.pop(key, None)
    provenance = {
        **origin(recipe),
        "from_file": list(from_file),
        "inputs": dict(inputs),
        **({"objects": dict(objects)} if objects else {}),
        **common,
        "iterations": fit.iterations,
        "best_iteration": fit.best_iteration,
        "stopped_by": fit.stopped_by,
        "seconds": round(fit.seconds, 3),
        "warnings": fit.warnings,
        "planes": planes,
    }
    jsonable: dict[str, Any] = _jsonable(provenance)
    return jsonable


def of_uncertainty(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance of the standard deviation of a result."""
    about = {"shows": "standard deviation of the result", "unit": "that of the image"}
    return {**provenance, **about}


def describe_inputs(
    arrays: Mapping[str, tuple[str, NDArray[Any]]],
) -> dict[str, dict[str, Any]]:
    """Return file, shape, type and hash of each array of a task.

    Given are the name of its file, without folders, and the array.
    """
    return {
        name: {"file": file, "shape": array.shape, "dtype": str(array.dtype)}
        | {"sha256": digest(array)}
        for name, (file, array) in arrays.items()
    }


def digest(array: NDArray[Any]) -> str:
    """Return the SHA-256 of an array's values in C order, read in parts if lazy."""
    sha = hashlib.sha256()
    itemsize = array.dtype.itemsize
    room = max(limits.readable_at_once(itemsize, _AT_ONCE), _LEAST)
    sides = slab_sides(array.shape, itemsize, room)
    for box in boxes(array.shape, sides):
        sha.update(np.ascontiguousarray(array[box]).data)
    return sha.hexdigest()


def dumps(provenance: Mapping[str, Any]) -> str:
    """Return the text that files carry: ASCII, so that any tag can hold it."""
    return json.dumps(_jsonable(provenance), allow_nan=False)


def loads(text: Any) -> dict[str, Any] | None:
    """Return what `dumps` wrote; None for anything else."""
    if not isinstance(text, str) or SOFTWARE not in text:
        return None
    try:
        return checked(json.loads(text))
    except (ValueError, RecursionError):
        return None


def checked(value: Any) -> dict[str, Any] | None:
    """Return a provenance as `describe` makes it; None for anything else."""
    if not isinstance(value, dict) or value.get("software") != SOFTWARE:
        return None
    kinds = (isinstance(value.get(k, kind()), kind) for k, kind in _KINDS.items())
    return value if all(kinds) and _depth(value) <= _DEEPEST else None


def _depth(value: Any) -> int:
    """Return how deep containers lie in each other, up to `_DEEPEST` + 1."""
    depth, inside = 0, [value]
    while inside and depth <= _DEEPEST:
        items = [v.values() if isinstance(v, dict) else v for v in inside]
        inside = [v for group in items for v in group if isinstance(v, dict | list)]
        depth += 1
    return depth


def recipe_of(provenance: Mapping[str, Any], kind: type[Parameters]) -> dict[str, Any]:
    """Return the parameters to run a result's recipe on another file.

    What the first file decided is left out.
    """
    stored = provenance.get("recipe")
    left_out = provenance.get("from_file", [])
    if not isinstance(stored, dict) or not isinstance(left_out, list):
        raise InputError("the provenance of the result holds no recipe")
    kind.from_dict(stored)  # raises for unknown keys and values
    return {k: v for k, v in stored.items() if k not in ("task", *left_out)}


def _jsonable(value: Any) -> Any:
    """Return `value` as strict JSON holds it; NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.generic):
        return _jsonable(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
