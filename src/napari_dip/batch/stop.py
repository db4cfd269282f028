"""Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with handled(interrupt, signal.SIGTERM):
        yield


@contextmanager
def handled(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers, *numbers: int
) -> Iterator[None]:
    """Handle signals for as long as the context lasts."""
    before: dict[int, Any] = {}
    try:
        for number in numbers:
            try:
                before[number] = signal.signal(number, handler)
            except ValueError:  # only the main thread can handle signals
                break
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class Stop:
    """Stops the fit at the first Ctrl-C or SIGTERM and the program at the second.

    This is a callback for `napari_dip.prior.fit.run_to_end`.  Before the first
    iteration there is no image to save, so the first signal already ends the program.
    After the fit the first one waits until the result is saved.
    """

    def __init__(self) -> None:
        self.running = self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals."""
        with handled(self._handle, signal.SIGINT, signal.SIGTERM):
            yield

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.running:
            raise KeyboardInterrupt
        self.asked = True

    def __call__(self, it: Iterate) -> bool:
        """Return whether to stop."""
        self.running = True
        return self.asked
