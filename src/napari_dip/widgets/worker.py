"""The fit in a thread of its own, which the main thread can pause and end."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.qt.threading import GeneratorWorker, create_worker
from numpy.typing import NDArray

from napari_dip.errors import DipError, FitError
from napari_dip.tasks.arrays import Index, cast
from napari_dip.tasks.rate import Rate
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.run import get, run

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Fitting, Iterate

REPORT_EVERY = 0.2
"""Seconds between two reports: Qt queues every report, even if drawing is slow."""

IMAGE_SHARE = 0.1
"""Largest share of the time that computing images may take."""

FIRST_DRAWING = 2.0
"""Most seconds to wait until the first image is drawn.

Drawing a new layer takes longer while the fit uses the processor, too.
"""


def threads() -> int:
    """Return the number of threads of a fit.

    It is torch's own, or one less if the interface would have no processor then.  Of
    two processors a fit takes both: the interface answers as quickly.
    """
    from napari_dip.prior.threads import threads_here

    return min(threads_here.count(), max(2, (os.cpu_count() or 2) - 1))


class Cancelled(Exception):
    """Raised in the thread of a fit that the user has cancelled."""


class Control:
    """The requests of the main thread to a running fit."""

    def __init__(self) -> None:
        self.stops = 0
        self.cancelling = Event()
        self.going = Event()
        self.going.set()
        # Set when the last image has been drawn, so that no images wait in the queue.
        self.drawn = Event()
        self.drawn.set()
        self.ended_at: tuple[int, int] | None = None
        """Number of the fit and iteration at which the user stopped it, as in
        `Iterate.part` and `Report.moment`."""
        self.ended_in: Index | None = None
        """Index of the plane that was fitted then."""

    def wanted(self) -> int:
        """Return how often to stop; raise if the fit is to end without a result."""
        if self.cancelling.is_set():
            raise Cancelled
        return self.stops

    def note_end(self, it: Iterate) -> None:
        """Note at which iterate the fit is stopped."""
        self.ended_at, self.ended_in = (it.part, it.step - it.ahead), it.index

    def stop(self) -> None:
        """End the fit and keep its best image; the second time, end its filters."""
        self.stops += 1
        self.going.set()

    def cancel(self) -> None:
        """End the fit without a result."""
        self.cancelling.set()
        self.going.set()
        self.drawn.set()

    def pause(self) -> None:
        """Pause after the current iteration."""
        self.going.clear()
        if self.stops or self.cancelling.is_set():
            self.going.set()

    def resume(self) -> None:
        """Resume after a pause."""
        self.going.set()


@dataclass(frozen=True)
class Report:
    """The progress of a fit."""

    iterate: Iterate
    """The iteration, without what holds the tensors of the fit.  Its `index` is that of
    the plane; its parts are fits, of which a plane may need several."""
    before: int
    """Iterations before the first in all; some of them may still be to go."""
    seconds: float
    """Since the fit began, without pauses."""
    rate: float
    """Iterations per second, over the last 50, or planes or tiles per second where a
    shared network restores them; 0 where unknown."""
    checks: tuple[tuple[int, int, float, float], ...]
    """(part, step, loss, error) of every check since the last report."""
    image: Any
    """The image of this iteration, in some of the reports."""
    finishing: bool
    """Whether the fit has ended and its image is being finished."""

    @property
    def moment(self) -> int:
        """The iteration, below zero for those before the first."""
        return self.iterate.step - self.iterate.ahead

    @property
    def done(self) -> float:
        """Share of the iterations of all fits that are done, from 0 to 1."""
        it = self.iterate
        done = (self.before + self.moment) / (self.before + it.maximum)
        return (it.part + done) / it.parts


@dataclass(frozen=True)
class Outcome:
    """The end of a fit."""

    fit: Fit
    shown: Any
    """A copy of its image, for the layer: of a large stack that takes seconds, which
    the main thread does not have."""
    bright: float
    brightest: float
    """The value above which a thousandth of the pixels lies, and the highest one."""


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
) -> None:
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


def restoring(
    control: Control, begin: Begin, interval: float = 0.3
) -> Generator[Report, None, Outcome | None]:
    """Run a fit and report its progress, at most five times a second.

    It returns None if the fit was cancelled.  The control is read between the layers of
    the network, and `interval` is the least number of seconds between two images.
    Planes that were not begun before a stop are emptied: what came in must not be taken
    for a result.

    Raises
    ------
    DipError
        For every error of the fit.  torch raises RuntimeError, which napari's workers
        of generators ignore: the worker would then never end.
    """
    from napari_dip.prior.interrupt import asking
    from napari_dip.prior.runtime import device_errors
    from napari_dip.prior.threads import threads_here

    fitting = None
    try:
        # The copied Python code sets as many, so that it gives the same bits.
        with device_errors(), threads_here.set(threads()), asking(control.wanted):
            fitting, kind = begin()
            fit = yield from _reports(control, fitting, kind, interval)
            if control.ended_in is not None:
                empty(fit.image, control.ended_in, fit.not_begun)
            return Outcome(fit, fit.image.copy(), *_heights(fit.image))
    except Cancelled:
        return None
    except Exception as error:  # a RuntimeError would be lost, see above
        # The traceback's frames refer to the last iterate and to the tensors of the
        # fit, which are released here, because the error may be kept for long.
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, DipError):
            raise
        raise FitError(f"{type(error).__name__}: {error}") from error
    finally:
        if fitting is not None:
            fitting.close()


def _reports(
    control: Control, fitting: Fitting, kind: np.dtype[Any] | None, interval: float
) -> Generator[Report, None, Fit]:
    """Yield reports of a fit, and pass the requests of the main thread on to it."""
    from napari_dip.prior.fit import is_unfinished

    log, images = _Log(), _Images(control, kind, interval)
    it, stop = None, None
    while True:
        try:
            it = fitting.send(stop)
        except StopIteration as end:
            result: Fit = end.value
            ended = is_unfinished(result.stopped_by)
            if it is not None and control.ended_at is None and ended:
                control.note_end(it)  # by a time limit, or within a tile
            return result
        log.note(it)
        if not control.going.is_set():
            # During a pause the user sees the newest image.
            yield log.report(it, _image(it, kind))
            log.pause(control.going.wait)
        stop = control.wanted() > 0
        if stop:
            control.note_end(it)
        if stop or it.last:
            yield log.report(it, finishing=True)
        elif log.is_due():
            image = images.next(it)
            log.next_report = time.perf_counter() + REPORT_EVERY
            yield log.report(it, image)
            if image is not None:
                images.wait()


def empty(image: NDArray[Any], index: Index, planes: Sequence[int]) -> None:
    """Empty planes, by their numbers, whose indices are like this one."""
    counted = [i for i, place in enumerate(index) if not isinstance(place, slice)]
    sides = [image.shape[axis] for axis in counted]
    for plane in planes:
        place: list[Any] = list(index)
        for axis, i in zip(counted, np.unravel_index(plane, sides), strict=True):
            place[axis] = int(i)
        image[tuple(place)] = np.nan if image.dtype.kind == "f" else 0


def _heights(image: NDArray[Any]) -> tuple[float, float]:
    """Return a value above which few pixels lie, and the highest one."""
    few = image.ravel()[:: max(image.size // 10**6, 1)]
    few = few[np.isfinite(few)]
    if few.size == 0:
        return 0.0, 0.0
    # Planes that were not begun are NaN.
    return float(np.percentile(few, 99.9)), float(np.fmax.reduce(image, axis=None))


class _Images:
    """The images that are shown during a fit, no more than can be drawn."""

    def __init__(
        self, control: Control, kind: np.dtype[Any] | None, interval: float
    ) -> None:
        self.control, self.kind, self.interval = control, kind, interval
        self.due, self.first = 0.0, True

    def next(self, it: Iterate) -> Any:
        """Return the image of an iterate, None if it is too early for another."""
        now = time.perf_counter()
        if now < self.due or not self.control.drawn.is_set():
            return None
        image = _image(it, self.kind)
        took = time.perf_counter() - now
        self.due = now + max(self.interval, took / IMAGE_SHARE)
        if image is not None:
            self.control.drawn.clear()
        return image

    def wait(self) -> None:
        """Wait until the first image is drawn; later ones are not waited for."""
        if self.first:
            self.control.drawn.wait(FIRST_DRAWING)
            self.first = False


def _image(it: Any, kind: np.dtype[Any] | None) -> Any:
    """Return the image of an iterate, None if the user stops the fit meanwhile."""
    from napari_dip.prior.interrupt import Interrupted, allowed

    try:
        with allowed():
            image = it.image
    except Interrupted:
        return None
    return image if kind is None else cast(image, kind)


class _Log:
    """What the reports need of the iterations so far."""

    def __init__(self) -> None:
        self.rate = Rate()
        self.checks: list[tuple[int, int, float, float]] = []
        self.before = 0
        self.next_report = 0.0
        self.began = time.perf_counter()

    def pause(self, wait: Callable[[], Any]) -> None:
        """Wait, and count none of that time."""
        since = time.perf_counter()
        wait()
        self.began += time.perf_counter() - since
        self.rate.clear()

    def is_due(self) -> bool:
        """Return whether it is time for another report."""
        return time.perf_counter() >= self.next_report

    def note(self, it: Any) -> None:
        """Note an iteration."""
        self.before = max(self.before, it.ahead + 1 if it.step == 0 else 0)
        self.rate.note(it)
        check = (it.part, it.step, it.loss, it.error)
        if not self.checks or self.checks[-1][2:] != check[2:]:
            self.checks.append(check)

    def report(self, it: Any, image: Any = None, *, finishing: bool = False) -> Report:
        """Return a report of an iteration, with the checks since the last one."""
        checks = tuple(self.checks)
        del self.checks[:-1]
        return Report(
            iterate=replace(it, measure=_nothing, render=_nothing, checkpoint=None),
            before=self.before,
            seconds=time.perf_counter() - self.began,
            rate=self.rate.value,
            checks=checks,
            image=image,
            finishing=finishing,
        )


def _nothing(*arguments: Any) -> None:
    """Stand for what a report leaves out of an iterate."""
