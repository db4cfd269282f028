"""Ending a fit in the middle of a step, however long the step takes.

Whoever runs a fit gives a function that says how often it has been asked to stop, or
raises to give it up altogether.  The layers of a network ask it, forward and backward,
and so do the filters that finish an image and what is done before the first iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Wanted = Callable[[], int]

_wanted: ContextVar[Wanted | None] = ContextVar("wanted", default=None)
_ignored: ContextVar[int | None] = ContextVar("ignored", default=None)


class Interrupted(Exception):
    """Raised in what may be given up, because the fit is to stop."""


@contextmanager
def asking(wanted: Wanted | None) -> Iterator[None]:
    """Have this thread ask `wanted` between the layers; None asks nobody.

    It returns how often the fit has been asked to stop, which has an effect only where
    that is `allowed`.  What it raises ends whatever is computed.
    """
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


@contextmanager
def allowed(ignored: int = 0) -> Iterator[None]:
    """Raise `Interrupted` in here once the fit is asked to stop more than so often."""
    token = _ignored.set(ignored)
    try:
        yield
    finally:
        _ignored.reset(token)


def is_asked() -> bool:
    """Return whether there is somebody to ask."""
    return _wanted.get() is not None


def check() -> None:
    """Raise if what this thread computes is to end."""
    wanted, ignored = _wanted.get(), _ignored.get()
    asked = wanted() if wanted is not None else 0
    if ignored is not None and asked > ignored:
        raise Interrupted


def check_both_ways(x: Tensor) -> None:
    """Raise as `check` does, now and when the gradient of `x` has been computed."""
    check()
    if is_asked() and x.requires_grad:
        x.register_hook(lambda _: check())
