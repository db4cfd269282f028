"""The fit in a thread of its own, which the main thread can pause and end."""

from __future__ import annotations

import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.qt.threading import GeneratorWorker, create_worker

from napari_dip.errors import DipError, FitError, OutOfMemory
from napari_dip.tasks.arrays import cast
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.run import get, run

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Fitting

REPORT_EVERY = 0.2
"""Seconds between two reports: Qt queues every report, even if drawing is slow."""

IMAGE_SHARE = 0.1
"""Largest share of the time that computing images may take."""

FIRST_DRAWING = 2.0
"""Most seconds to wait until the first image is drawn.

Drawing a new layer takes longer while the fit uses the processor, too.
"""


def threads() -> int:
    """Return the number of threads of a fit: one core is left to the interface."""
    return max(1, (os.cpu_count() or 2) - 1)


class Control:
    """The requests of the main thread to a running fit.

    Attributes
    ----------
    ended_at : tuple of int or None
        Number of the fit, as in `Report.part`, and iteration at which the user
        stopped it.
    """

    def __init__(self) -> None:
        self.stopping = Event()
        self.cancelling = Event()
        self.going = Event()
        self.going.set()
        # Set when the last image has been drawn, so that no images wait in the queue.
        self.drawn = Event()
        self.drawn.set()
        self.ended_at: tuple[int, int] | None = None

    def stop(self) -> None:
        """End the fit and keep its best image."""
        self.stopping.set()
        self.going.set()

    def cancel(self) -> None:
        """End the fit without a result."""
        self.cancelling.set()
        self.going.set()
        self.drawn.set()

    def pause(self) -> None:
        """Pause after the current iteration."""
        self.going.clear()
        if self.stopping.is_set() or self.cancelling.is_set():
            self.going.set()

    def resume(self) -> None:
        """Resume after a pause."""
        self.going.set()


@dataclass(frozen=True)
class Report:
    """The progress of a fit.

    Attributes
    ----------
    step, maximum, loss, score, best_step, index, part, parts, fixed, score_name
        As in `napari_dip.prior.problem.Iterate`: `index` is that of the plane,
        `part` and `parts` count fits, of which a plane may need several.
    rate : float
        Iterations per second, over the last 50; 0 where unknown.
    checks : tuple of tuple
        (part, step, loss, score) of every check since the last report.
    image : ndarray or None
        The image of this iteration, in some of the reports.
    """

    step: int
    maximum: int
    loss: float
    score: float
    best_step: int
    index: tuple[int | slice, ...]
    part: int
    parts: int
    fixed: bool
    score_name: str
    rate: float
    checks: tuple[tuple[int, int, float, float], ...] = ()
    image: Any = None

    @property
    def done(self) -> float:
        """Share of the iterations of all fits that are done, from 0 to 1."""
        return (self.part + self.step / self.maximum) / self.parts


class FitWorker(GeneratorWorker):
    """A worker whose `quit` ends the fit at its next iteration and frees it.

    napari quits its workers when a window closes.  The `quit` of superqt would leave
    the generator as it is, and the memory of the fit would not be freed.
    """

    control: Control

    def quit(self) -> None:
        """End the fit without a result."""
        self.control.cancel()


Begin = Callable[[], "tuple[Fitting, np.dtype[Any] | None]"]
"""A function that begins a fit: it returns the fit and the type of its images."""


def begin(
    recipe: Recipe, arrays: Sequence[Callable[[], Any]]
) -> tuple[Fitting, np.dtype[Any] | None]:
    """Begin a fit; the arrays are read here, in the thread."""
    values = [array() for array in arrays]
    kind = np.dtype(values[0].dtype) if recipe.dtype == "input" else None
    return run(get(recipe.task), recipe, values, resumable=True), kind


def start(
    control: Control, begin: Begin, interval: float, connect: dict[str, Any]
) -> FitWorker:
    """Start `restoring` in a thread; `connect` maps the worker's signals to slots."""
    worker = create_worker(
        restoring,
        control,
        begin,
        interval,
        _worker_class=FitWorker,
        _connect=connect,
        _start_thread=False,
    )
    worker.control = control
    worker.start()
    return worker


def restoring(
    control: Control, begin: Begin, interval: float = 0.3
) -> Generator[Report, None, Fit | None]:
    """Run a fit and report its progress.

    Parameters
    ----------
    control : Control
        The requests of the main thread, read after every iteration.
    begin : callable
        Begins the fit; called in the thread.
    interval : float
        Least seconds between two images.

    Yields
    ------
    Report
        At most five a second.

    Returns
    -------
    Fit or None
        None if the fit was cancelled.

    Raises
    ------
    DipError
        For every error of the fit.  torch raises RuntimeError, which napari's workers
        ignore: the worker would then never end.
    """
    import torch

    fitting = it = None
    before = torch.get_num_threads()
    try:
        # Set as the copied Python code sets them, so that it gives the same bits.
        torch.set_num_threads(threads())
        fitting, kind = begin()
        times: deque[float] = deque(maxlen=50)
        checks: list[tuple[int, int, float, float]] = []
        next_report = next_image = 0.0
        stop, first = None, True
        while True:
            try:
                it = fitting.send(stop)
            except StopIteration as end:
                result: Fit = end.value
                return result
            check = (it.part, it.step, it.loss, it.score)
            if not checks or checks[-1][2:] != check[2:]:
                checks.append(check)
            if not control.going.is_set():
                # During a pause the user sees the newest image.
                yield _report(it, times, checks, _image(it, kind))
                del checks[:-1]
                control.going.wait()
                times.clear()
            if control.cancelling.is_set():
                return None
            stop = control.stopping.is_set()
            now = time.perf_counter()
            times.append(now)
            if stop:
                control.ended_at = (it.part, it.step)
            if stop or now < next_report:
                continue
            image = None
            if now >= next_image and control.drawn.is_set():
                image = _image(it, kind)
                control.drawn.clear()
                took = time.perf_counter() - now
                next_image = now + max(interval, took / IMAGE_SHARE)
            next_report = time.perf_counter() + REPORT_EVERY
            yield _report(it, times, checks, image)
            del checks[:-1]
            if image is not None and first:
                control.drawn.wait(FIRST_DRAWING)
                first = False
    except Exception as error:
        # The traceback's frames refer to the tensors of the fit, and so does the last
        # iterate; both are released here, because the error may be kept for long.
        traceback.clear_frames(error.__traceback__)
        it = None
        if isinstance(error, DipError):
            raise
        if isinstance(error, MemoryError):
            raise OutOfMemory("there is not enough memory for this image") from error
        raise FitError(f"{type(error).__name__}: {error}") from error
    finally:
        if fitting is not None:
            fitting.close()
        torch.set_num_threads(before)


def _image(it: Any, kind: np.dtype[Any] | None) -> Any:
    return it.image if kind is None else cast(it.image, kind)


def _report(
    it: Any, times: Sequence[float], checks: Sequence[Any], image: Any = None
) -> Report:
    span = times[-1] - times[0] if len(times) > 1 else 0.0
    return Report(
        step=it.step,
        maximum=it.maximum,
        loss=it.loss,
        score=it.score,
        best_step=it.best_step,
        index=it.index,
        part=it.part,
        parts=it.parts,
        fixed=it.fixed,
        score_name=it.score_name,
        rate=(len(times) - 1) / span if span > 0 else 0.0,
        checks=tuple(checks),
        image=image,
    )
