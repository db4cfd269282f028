"""Units of length and time, as the library pint knows them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_ALIASES = {"micron": "µm", "microns": "µm", "\\u00b5m": "µm", "\\u00c5": "Å"}
"""Names that ImageJ gives the micrometre, and its escapes for the signs µ and Å."""

_PIXELS = ("", "pixel", "pixels", "px")

_COMMON = {"µm": "length", "nm": "length", "mm": "length", "s": "time"}
"""Symbols that need no pint, which takes a second to load, and what they measure."""


def symbol(name: Any) -> str | None:
    """Return the symbol of a unit, such as "µm" for "microns".

    It is None for pixels, and a name that is not known as it is.
    """
    text = str(name or "").strip()
    text = _ALIASES.get(text.lower(), text)
    if text.lower() in _PIXELS:
        return None
    if text in _COMMON:
        return text
    unit = _parsed(text)
    return text if unit is None else f"{unit:~}"


def long_name(symbol: str) -> str:
    """Return the name of a unit in full, such as "micrometer" for "µm"."""
    unit = _parsed(symbol)
    return symbol if unit is None else str(unit)


def kind(name: str | None) -> str | None:
    """Return whether a unit is one of "length" or "time", or of neither: None."""
    if name in _COMMON:
        return _COMMON[name]
    unit = None if name is None else _parsed(name)
    if unit is None:
        return None
    return {"[length]": "length", "[time]": "time"}.get(str(unit.dimensionality))


def converted(value: float, unit: str | None, wanted: str | None) -> float | None:
    """Return a length or a time in another unit, None if that is not possible."""
    if unit == wanted:
        return value
    if unit is None or kind(unit) is None or kind(unit) != kind(wanted):
        return None
    size = _registry().convert(value, unit, wanted)
    # Rounded, since the factor is a quotient of floating-point numbers.
    return float(f"{size:.12g}")


def _registry() -> Any:
    import pint

    return pint.get_application_registry()  # type: ignore[no-untyped-call]


@lru_cache
def _parsed(name: str) -> Any:
    """Return a unit of pint; None for what is no single name of a unit."""
    import pint

    # pint would compute what looks like arithmetic.
    if not re.fullmatch(r"[^\W\d_]{1,40}", name.replace("_", "a")):
        return None
    for spelling in (name, name.lower()):
        try:
            return _registry().Unit(spelling)
        except (pint.UndefinedUnitError, AttributeError):
            continue
    return None
