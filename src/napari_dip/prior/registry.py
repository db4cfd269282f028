"""Dataclasses as JSON, found again by their names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from napari_dip.errors import InputError


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
    fields = {key: v for key, v in data.items() if key != "name"}
    try:
        return classes[name](**fields)
    except TypeError as error:
        known = ", ".join(f.name for f in dataclasses.fields(classes[name]))
        raise InputError(f"{what}: {name} has {known}; {error}") from None
