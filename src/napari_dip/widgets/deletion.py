"""What is done when a Qt object is deleted, by Qt or by Python's garbage collector."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject

_held: set[Callable[..., None]] = set()


def when_deleted(
    owner: QObject, function: Callable[..., Any], *arguments: Any
) -> Callable[..., None]:
    """Call a function when a Qt object is deleted; return what `never_mind` takes.

    Until then the function is held here.  Otherwise the garbage collector, which may be
    what deletes the object, might clear the function before Qt calls it, and the
    process would crash.  Neither it nor its arguments may refer to the object, which
    would live as long, but weak references may.
    """

    def call(_: Any = None) -> None:
        _held.discard(call)
        function(*arguments)

    _held.add(call)
    owner.destroyed.connect(call)
    return call


def never_mind(owner: QObject, call: Callable[..., None]) -> None:
    """Do not call what `when_deleted` has returned."""
    owner.destroyed.disconnect(call)
    _held.discard(call)


def connect(owner: QObject, emitter: Any, slot: Callable[..., Any]) -> None:
    """Connect a method of a Qt object to an event of napari while the object exists.

    Otherwise napari would call a method of a deleted object, which raises.
    """
    emitter.connect(slot)
    # napari gives plugins its emitters in proxies.
    own = weakref.ref(getattr(emitter, "__wrapped__", emitter))
    when_deleted(owner, _disconnect, own, weakref.WeakMethod(slot))


def _disconnect(own: Callable[[], Any], method: Callable[[], Any]) -> None:
    emitter, slot = own(), method()
    if emitter is not None and slot is not None:
        emitter.disconnect(slot)
