"""What can be done before Run is pressed: load torch, reckon the memory."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_dip.errors import DipError
from napari_dip.tasks.run import get
from napari_dip.tasks.task import outline
from napari_dip.widgets.controller import Work
from napari_dip.widgets.layers import array_of

QUIET = 800
"""Milliseconds without a change after which it is worth reckoning."""


def load_torch() -> None:
    """Import torch in the background, so that the first Run need not wait for it."""
    if "torch" not in sys.modules:
        threading.Thread(target=_load, name="import torch", daemon=True).start()


def _load() -> None:
    importlib.import_module("napari_dip.prior.fit")
    # The first step of an optimiser would import it.
    importlib.import_module("torch._dynamo")


class Foresight(QObject):
    """Says what a fit will need, a moment after anything has changed.

    Parameters
    ----------
    work : callable
        Returns what Run would do now, or raises.
    parent : QObject
        With it, this ends.
    """

    found = Signal(str)

    def __init__(self, work: Callable[[], Work], parent: QObject) -> None:
        super().__init__(parent)
        self.work = work
        self.asked = 0
        self.known: Any = None
        """What was reckoned last."""
        self.timer = QTimer(self)
        self.timer.setSingleShot(True)
        self.timer.setInterval(QUIET)
        self.timer.timeout.connect(self._begin)

    def ask(self) -> None:
        """Reckon soon."""
        self.timer.start()

    def cancel(self) -> None:
        """Reckon nothing: there is better to do."""
        self.timer.stop()

    def _begin(self) -> None:
        try:
            work = self.work()
        except DipError as error:
            self.known = None
            self.found.emit(str(error))
            return
        sizes = [(n, tuple(array_of(a).shape)) for n, a in work.layers.items()]
        wanted = (work.recipe, work.crop, sizes)
        if wanted == self.known:
            return  # layers came or went, but not these
        self.known = wanted
        self.asked += 1
        asked = self.asked
        slots = {"returned": self._done, "errored": self._failed}
        create_worker(lambda: (asked, _reckon(work)), _connect=slots)

    def _done(self, found: tuple[int, str]) -> None:
        asked, text = found
        if asked == self.asked:
            self.found.emit(text)

    def _failed(self, error: Exception) -> None:
        # Whatever it is, Run will meet it too and say it properly.
        self.found.emit(str(error) if isinstance(error, DipError) else "")


def _reckon(work: Work) -> str:
    """Say how much memory one plane of the work needs, and what there is."""
    from napari_dip.prior.fit import estimate

    task: Any = get(work.recipe.task)
    job = task.start(work.recipe, *(array() for array in work.arrays.values()))
    needed = estimate(*outline(job, work.recipe))
    text = f"Memory: about {size(needed.memory)}"
    if needed.available is not None:
        text += f" of {size(needed.available)} free"
        if not needed.fits:
            text += ". That is too much: crop the image, or take the fast preset."
    return text


def size(count: float) -> str:
    """Say how many bytes, to two digits or so."""
    if count < 2**30:
        return f"{max(count / 2**20, 1):.0f} MiB"
    return f"{count / 2**30:.1f} GiB"
