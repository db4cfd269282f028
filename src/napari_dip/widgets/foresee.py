"""What is done before Run is pressed: import torch, estimate the memory."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]
from superqt.utils import QSignalDebouncer

from napari_dip.errors import DipError
from napari_dip.tasks.run import get
from napari_dip.tasks.task import outline
from napari_dip.widgets.controller import Work
from napari_dip.widgets.layers import array_of

QUIET = 800
"""Milliseconds without a change after which the memory is estimated."""


def load_torch() -> None:
    """Import torch in a thread, so that the first Run need not wait for it."""
    if "torch" not in sys.modules:
        threading.Thread(target=_load, name="import torch", daemon=True).start()


def _load() -> None:
    importlib.import_module("napari_dip.prior.fit")
    # The first step of an optimiser would import it.
    importlib.import_module("torch._dynamo")


class Foresight(QObject):
    """Says how much memory a fit will need, shortly after anything has changed.

    Parameters
    ----------
    work : callable
        Returns what Run would do now, or raises.
    parent : QObject
        Qt deletes this together with its parent.
    """

    estimated = Signal(str)

    def __init__(self, work: Callable[[], Work], parent: QObject) -> None:
        super().__init__(parent)
        self.work = work
        self.asked = 0
        self.last: Any = None
        """What the last estimate was of."""
        self.debouncer = QSignalDebouncer(parent=self)
        self.debouncer.setTimeout(QUIET)
        self.debouncer.triggered.connect(self._begin)

    def ask(self) -> None:
        """Estimate as soon as nothing has changed for `QUIET` milliseconds."""
        self.debouncer.throttle()

    def cancel(self) -> None:
        """Do not estimate: a fit begins, and shows its own progress."""
        self.debouncer.cancel()

    def _begin(self) -> None:
        try:
            work = self.work()
        except DipError as error:
            self.last = None
            self.estimated.emit(str(error))
            return
        # A shapes layer has a list in place of an array.
        sizes = {
            name: getattr(array_of(layer), "shape", None)
            for name, layer in work.layers.items()
        }
        wanted = (work.recipe, work.crop, sizes)
        if wanted == self.last:
            return  # other layers came or went
        self.last = wanted
        self.asked += 1
        asked = self.asked
        slots = {"returned": self._done, "errored": self._failed}
        create_worker(lambda: (asked, _estimate(work)), _connect=slots)

    def _done(self, estimate: tuple[int, str]) -> None:
        asked, text = estimate
        if asked == self.asked:
            self.estimated.emit(text)

    def _failed(self, error: Exception) -> None:
        # Run meets the same error and shows it.
        self.estimated.emit(str(error) if isinstance(error, DipError) else "")


def _estimate(work: Work) -> str:
    """Return in words how much memory one plane needs, and how much is free."""
    from napari_dip.prior.estimate import estimate

    task: Any = get(work.recipe.task)
    job = task.make_job(work.recipe, *(array() for array in work.arrays.values()))
    needed = estimate(*outline(job, work.recipe))
    text = f"Memory: about {size(needed.memory)}"
    if needed.available is not None:
        text += f" of {size(needed.available)} free"
        if not needed.fits:
            text += ". That is too much: crop the image, or take the fast preset."
    return text


def size(count: float) -> str:
    """Return a number of bytes in words, to about two digits."""
    if count < 2**30:
        return f"{max(count / 2**20, 1):.0f} MiB"
    return f"{count / 2**30:.1f} GiB"
