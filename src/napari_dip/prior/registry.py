"""Dataclasses as JSON, found again by their names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_type_hints

from napari_dip.errors import InputError
from napari_dip.prior.kinds import check_kind


def to_dict(value: Any, classes: Mapping[str, type[Any]]) -> dict[str, Any]:
    """Return the name of a dataclass and its fields, JSON-able.

    The classes, by their names, are those that can be read again; of a class of the
    user's own only its full name is written.
    """
    for name, cls in classes.items():
        if type(value) is cls:
            return {"name": name, **dataclasses.asdict(value)}
    return {"name": f"{type(value).__module__}.{type(value).__qualname__}"}


def from_dict(
    data: Mapping[str, Any], classes: Mapping[str, type[Any]], what: str
) -> Any:
    """Return the dataclass that `to_dict` has written, also by way of JSON.

    Error messages call it `what`.
    """
    name = data.get("name")
    if not isinstance(name, str) or name not in classes:
        raise InputError(
            f"{what}: name must be one of {', '.join(classes)}; got {name!r}"
        )
    fields = {key: frozen(v) for key, v in data.items() if key != "name"}
    kinds = get_type_hints(classes[name])
    for key in fields.keys() & kinds.keys():
        check_kind(fields[key], kinds[key], f"{what}: {key} of {name}")
    try:
        return classes[name](**fields)
    except TypeError as error:
        known = ", ".join(f.name for f in dataclasses.fields(classes[name]))
        raise InputError(f"{what}: {name} has {known}; {error}") from None


def frozen(value: Any) -> Any:
    """Return a list, which JSON has made of a tuple, as a tuple."""
    return tuple(value) if isinstance(value, list) else value
