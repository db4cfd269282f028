"""One fit at a time: others wait for their turn.

Two fits at once would share the processor and the memory, and take longer than one
after the other.
"""

from __future__ import annotations

from collections.abc import Callable

_queue: list[tuple[object, Callable[[], None]]] = []


def take(owner: object, begin: Callable[[], None]) -> bool:
    """Call `begin` now if nothing runs, else when everything before it is over.

    For the main thread only.  Every owner has to `leave` once, also while it waits.

    Returns
    -------
    bool
        Whether it began.
    """
    _queue.append((owner, begin))
    if len(_queue) > 1:
        return False
    begin()
    return True


def leave(owner: object) -> None:
    """Give up the turn or the place in the queue; no matter if there is none."""
    if not any(waiting is owner for waiting, _ in _queue):
        return
    first = _queue[0][0] is owner
    _queue[:] = [entry for entry in _queue if entry[0] is not owner]
    if first and _queue:
        _queue[0][1]()
