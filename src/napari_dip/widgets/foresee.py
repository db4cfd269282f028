"""What is done before Run is pressed: import torch, estimate time and memory."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from superqt.utils import QSignalDebouncer

from napari_dip import machine
from napari_dip.errors import DipError, InputError
from napari_dip.widgets import turns
from napari_dip.widgets.controller import duration
from napari_dip.widgets.deletion import when_deleted
from napari_dip.widgets.layers import array_of
from napari_dip.widgets.results import Work
from napari_dip.widgets.worker import threads

if TYPE_CHECKING:
    from napari_dip.tasks.forecast import Forecast

QUIET = 800
"""Milliseconds without a change after which time and memory are estimated."""

LONG = 1800
"""Seconds from which on something quicker is offered."""


def load_torch() -> None:
    """Import torch in a thread, so that the first Run need not wait for it."""
    if "torch" not in sys.modules:
        threading.Thread(target=_load, name="import torch", daemon=True).start()


def _load() -> None:
    machine.load_torch()
    importlib.import_module("napari_dip.prior.fit")
    # To count the memory of a fit torch would import it.
    importlib.import_module("torch._dynamo")


class Foresight(QObject):
    """Says what a fit will take, shortly after anything has changed.

    `work` returns what Run would do now, or raises.  `pieces` returns what Run would do
    with a small piece of the image, for every quality that can be chosen, the one that
    is chosen first.
    """

    estimated = Signal(str, object)
    """The quality, and what it takes."""
    refused = Signal(str)
    """Why nothing can run."""
    began = Signal()

    def __init__(
        self,
        work: Callable[[], Work],
        pieces: Callable[[Work], dict[str, tuple[Work, Work | None]]],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.work, self.pieces = work, pieces
        self.last: Any = None
        """What the last estimate was of."""
        self.asked = False
        """Whether something may have changed since the last estimate began."""
        self.waits = False
        """Whether an answer is still to come."""
        self.wish = _Wish()
        self.debouncer = QSignalDebouncer(parent=self)
        self.debouncer.setTimeout(QUIET)
        self.debouncer.triggered.connect(self._begin)
        when_deleted(parent, self.wish.drop)

    def ask(self) -> None:
        """Estimate as soon as nothing has changed for `QUIET` milliseconds."""
        self.asked = True
        self.debouncer.throttle()

    def cancel(self) -> None:
        """Do not estimate: a fit begins, and shows its own progress."""
        self.debouncer.cancel()
        if self.waits or self.asked:
            self.asked = False
            self._drop()
            self.refused.emit("")

    def _drop(self) -> None:
        """Ignore the answer that is still to come."""
        self.wish.drop()
        self.waits = False
        self.last = None

    def _begin(self) -> None:
        if turns.busy():
            self.debouncer.throttle()  # the steps would seem to take too long
            return
        self.asked = False
        try:
            work = self.work()
            pieces = self.pieces(work)
        except DipError as error:
            self._drop()
            self.refused.emit(str(error))
            return
        # A shapes layer has a list in place of an array.
        sizes = {
            name: (id(layer), getattr(array_of(layer), "shape", None))
            for name, layer in work.layers.items()
        }
        crops = [None if piece is None else piece.crop for _, piece in pieces.values()]
        wanted = (work.recipe, work.crop, sizes, crops)
        if wanted == self.last:
            return  # other layers came or went
        self.last = wanted
        self.waits = True
        self.began.emit()
        slots = {"yielded": self._show, "returned": self._done}
        create_worker(_forecasts, pieces, self.wish.renew(), _connect=slots)

    def _show(self, answer: tuple[threading.Event, str, Forecast]) -> None:
        stale, name, forecast = answer
        if not stale.is_set():
            self.estimated.emit(name, forecast)

    def _done(self, answer: tuple[threading.Event, Exception | None]) -> None:
        stale, error = answer
        if stale.is_set():
            return
        self.waits = False
        if error is not None:
            # Run meets the same error and shows it.
            self.refused.emit(str(error) if isinstance(error, DipError) else "")


class _Wish:
    """Tells the thread of an estimate whether somebody still waits for it."""

    def __init__(self) -> None:
        self.stale = threading.Event()

    def renew(self) -> threading.Event:
        """Begin another estimate; return an event that is set when it is stale."""
        self.drop()
        self.stale = threading.Event()
        return self.stale

    def drop(self) -> None:
        """Wait for no estimate any more."""
        self.stale.set()


class _Stale(Exception):
    """Raised in the thread when the answer is no longer wanted."""


def _forecasts(
    pieces: dict[str, tuple[Work, Work | None]], stale: threading.Event
) -> Generator[
    tuple[threading.Event, str, Forecast],
    None,
    tuple[threading.Event, Exception | None],
]:
    """Yield what every quality takes, and return the error that ended this, if any.

    `stale` comes with it, by which the answer is known.
    """
    from napari_dip.prior.interrupt import asking
    from napari_dip.prior.threads import threads_here
    from napari_dip.tasks.forecast import forecast

    def wanted() -> bool:
        if stale.is_set():
            raise _Stale
        return False

    try:
        with threads_here.set(threads()), asking(wanted):
            # All qualities are of the same arrays.
            chosen, part = next(iter(pieces.values()))
            arrays = _values(chosen)
            small = None if part is None else _values(part)
            for name, (work, _) in pieces.items():
                wanted()
                try:
                    expected = forecast(work.recipe, arrays, small)
                except InputError:
                    if work is chosen:
                        raise
                    continue  # a quality that cannot be had says nothing of the others
                yield stale, name, expected
    except Exception as error:  # noqa: BLE001  # the panel says it, or Run does
        return stale, error
    return stale, None


def _values(work: Work) -> list[Any]:
    return [array() for array in work.arrays.values()]


def in_words(forecast: Forecast) -> str:
    """Return in words how long a fit takes, how much memory, and what is quicker."""
    seconds = duration(forecast.seconds)
    text = f"{'About' if forecast.fixed else 'At most'} {seconds}"
    if forecast.planes > 1:
        text += f" for {forecast.planes} planes"
    text += f", {size(forecast.memory)} of memory"
    if forecast.available is not None:
        text += f" ({size(forecast.available)} free)"
        if forecast.memory > forecast.available:
            return text + ". That is too much: crop the image."
    if forecast.seconds > LONG:
        text += ". That is long: try it on the visible region first"
        if forecast.planes > 1:
            text += ", or choose the plane that is shown"
    return text + "."


def size(count: float) -> str:
    """Return a number of bytes in words, to about two digits."""
    if count < 2**30:
        return f"{max(count / 2**20, 1):.0f} MiB"
    return machine.gibibytes(count)
