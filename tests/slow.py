"""Tests of which most cases are slow."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow_but(cases: Iterable[Any], *fast: Any) -> list[Any]:
    """Return the cases of a test, all marked slow but for those named.

    A tuple gives the values of several arguments.
    """
    return [
        case
        if case in fast
        else pytest.param(
            *(case if isinstance(case, tuple) else [case]), marks=pytest.mark.slow
        )
        for case in cases
    ]
