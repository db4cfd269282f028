"""The queue of fits: one runs at a time, the others wait.

Two fits at once would share the processor and the memory, and would take longer than
one after the other.
"""

from __future__ import annotations

from collections.abc import Callable

_queue: list[tuple[object, Callable[[], None]]] = []


def take(owner: object, begin: Callable[[], None]) -> None:
    """Call `begin` now if nothing runs, else when all fits before it have ended.

    For the main thread only.  Every owner must call `leave` once, also while it waits.
    """
    _queue.append((owner, begin))
    if len(_queue) == 1:
        begin()


def busy() -> bool:
    """Return whether a fit runs or waits."""
    return bool(_queue)


def leave(owner: object) -> None:
    """Give up the turn or the place in the queue, if the owner has one."""
    if not any(waiting is owner for waiting, _ in _queue):
        return
    first = _queue[0][0] is owner
    _queue[:] = [entry for entry in _queue if entry[0] is not owner]
    if first and _queue:
        _queue[0][1]()
