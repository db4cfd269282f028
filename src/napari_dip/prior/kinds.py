"""Plain values as JSON has them, and whether they are what a type hint says."""

from __future__ import annotations

import dataclasses
import math
import numbers
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from napari_dip.errors import InputError

_hints = cache(get_type_hints)
"""The type hints of a class, which take longer than the checks."""

LARGEST = 2**53
"""Integers of a state lie below it; larger ones are no counts."""


def check_kind(value: Any, kind: Any, what: str) -> None:
    """Raise InputError unless a plain value is of a kind that a type hint describes.

    Kinds are bool, int, float, str, None, lists, tuples and dicts of them, and unions;
    the value is as JSON has it, and its numbers may be those of NumPy.  Messages call
    it `what`.
    """
    if not is_of_kind(value, kind):
        name = kind.__name__ if isinstance(kind, type) else kind
        raise InputError(f"{what} must be of type {name}; got {value!r:.50}")


def check_range(value: Any, low: float, high: float, what: str) -> None:
    """Raise InputError unless a number lies between two others, which it may be."""
    if not low <= value <= high:
        limits = f"{low} or more" if high == math.inf else f"from {low} to {high}"
        raise InputError(f"{what} must be {limits}; got {value!r}")


def check_fields(owner: Any, what: str, **ranges: tuple[float, float]) -> None:
    """Raise InputError unless the fields of a dataclass are what their hints say.

    Lists in place of tuples become tuples.  Fields that have a range are finite, and
    lie in it.  Messages call the dataclass `what`.
    """
    kind: Any = type(owner)  # mypy takes types for no keys
    kinds = _hints(kind)
    for field in dataclasses.fields(owner):
        value = getattr(owner, field.name)
        if isinstance(value, list):
            value = tuple(value)
            object.__setattr__(owner, field.name, value)
        check_kind(value, kinds[field.name], f"{what}: {field.name}")
    for name, (low, high) in ranges.items():
        value = getattr(owner, name)
        if value == math.inf:
            raise InputError(f"{what}: {name} must be finite; got {value!r}")
        check_range(value, low, high, f"{what}: {name}")


def is_of_kind(value: Any, kind: Any) -> bool:
    """Return whether a value is of a kind; see `check_kind`."""
    inside = get_args(kind)
    if get_origin(kind) in (list, tuple):
        known = isinstance(value, get_origin(kind))
        return known and all(is_of_kind(v, inside[0]) for v in value)
    if get_origin(kind) is dict:
        known = isinstance(value, dict)
        return known and all(is_of_kind(v, inside[1]) for v in value.values())
    if inside:
        return any(is_of_kind(value, choice) for choice in inside)
    if kind in (int, float):
        if isinstance(value, bool):
            return False
        if isinstance(value, numbers.Integral):
            return abs(int(value)) < LARGEST
        return kind is float and isinstance(value, numbers.Real)
    return isinstance(value, kind)
