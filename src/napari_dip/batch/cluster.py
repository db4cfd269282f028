"""Work on several processes or machines, with dask.distributed."""

from __future__ import annotations

import logging
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from napari_dip.batch import run as batch_run
from napari_dip.batch.file_run import FileRun
from napari_dip.batch.run import Step
from napari_dip.batch.stop import Stop, handled
from napari_dip.errors import DipError, FitError, InputError
from napari_dip.io import files
from napari_dip.tasks.pool import Call, Pool, called
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.task import Job, Task

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate

_POLL = 1.0
"""Seconds between two looks of a worker whether it is to stop."""

_PAUSE = 0.05
"""Seconds between two looks at what workers have done; few fits are as short."""


@contextmanager
def on_cluster(workers: int | None, scheduler: str | None) -> Iterator[Cluster]:
    """Yield a cluster, which is closed at the end if it is ours.

    It has `workers` processes on this machine, each with one thread, or is the one
    whose scheduler has the given address.
    """
    if (workers is None) == (scheduler is None):
        got = "neither" if workers is None else "both"
        raise InputError(f"either workers or a scheduler must be given; got {got}")
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise DipError(
            f"several processes need more libraries ({error}); pip install "
            '"napari-dip[cluster]" brings them'
        ) from error
    with ExitStack() as stack:
        address: Any = scheduler
        if workers is not None:
            # The processes inherit that they ignore Ctrl-C: it is for this one alone.
            with handled(signal.SIG_IGN, signal.SIGINT):
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    memory_limit=0,  # a worker that takes much is not to be killed
                    dashboard_address="127.0.0.1:0",  # any port that is free
                    silence_logs=logging.CRITICAL,
                )
            address = stack.enter_context(cluster)
        try:
            client = stack.enter_context(Client(address, set_as_default=False))
        except (OSError, ValueError) as error:
            raise DipError(
                f"scheduler {scheduler} cannot be reached: {error}"
            ) from error
        yield Cluster(client)


@dataclass(frozen=True)
class Cluster:
    """Processes of dask.distributed.

    What a worker had begun that dies is begun again by another.
    """

    client: Any
    """A client of their scheduler."""

    def work(self, step: Step, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Take steps on the workers; see `napari_dip.batch.run.Work`.

        Images that are fewer than the workers, and of many parts, are restored one
        after the other, each by all workers.
        """
        from distributed import Event, as_completed

        if step is batch_run.process and self._are_few(items):
            step = partial(step, workers=self.pool)
            yield from batch_run.one_by_one(progress=False)(step, items)
            return
        event = Event(f"napari-dip-stop-{uuid.uuid4().hex}", self.client)
        futures = {
            self.client.submit(_step, step, item, event.name, pure=False): item
            for item in items
        }
        stop = Stop()
        stop.running = True
        with stop.listening():
            waiting = as_completed(list(futures), loop=self.client.loop)
            stop_sent = False
            while not waiting.is_empty():
                if stop.asked and not stop_sent:
                    event.set()
                    stop_sent = True
                for future in waiting.next_batch(block=False):
                    item, begun, outcome = futures.pop(future), *_outcome(future)
                    if begun:
                        yield item, outcome
                time.sleep(_PAUSE)

    @property
    def _threads(self) -> int:
        return sum(self.client.nthreads().values())

    def _are_few(self, runs: Sequence[FileRun]) -> bool:
        """Return whether there are fewer runs than workers, and parts for them all."""
        threads = self._threads
        return len(runs) < threads and all(r.count_parts() >= threads for r in runs)

    def pool(self, run: FileRun) -> Pool:
        """Return the workers as what computes the planes and tiles of a run.

        They open its files themselves, as far as these can be read by regions.
        """
        opened = run.opened(files.open_image)
        source = _Source(run.task, opened.recipe, opened.arrays)
        kept = self.client.submit(_same, source, pure=False)
        return _Pool(self.client, kept, 2 * max(self._threads, 1))


def _step(step: Step, item: Any, event: str) -> tuple[bool, Any]:
    """Take a step on a worker; return whether it was begun before a stop."""
    from distributed import Event

    asked = Event(event)
    if asked.is_set():
        return False, None
    looked, stopped = time.monotonic(), False

    def stop(it: Iterate) -> bool:
        nonlocal looked, stopped
        if time.monotonic() - looked > _POLL:
            looked, stopped = time.monotonic(), asked.is_set()
        return stopped

    return True, step(item, stop, False)


def _outcome(future: Any) -> tuple[bool, Any]:
    """Return what a worker has returned, or an error that says why it has not."""
    try:
        outcome: tuple[bool, Any] = future.result()
    except Exception as error:  # noqa: BLE001  # of the cluster: it has many kinds
        return True, _failed(error)
    return outcome


def _failed(error: Exception) -> FitError:
    return FitError(f"no worker could do it: {type(error).__name__}: {error}")


# -- the planes and tiles of one run ----------------------------------------------


@dataclass(frozen=True, eq=False)
class _Source:
    """What a job is made of; a worker makes it once."""

    task: Task
    recipe: Recipe
    arrays: Sequence[Any]

    @cached_property
    def job(self) -> Job:
        return self.task.job(self.recipe, *self.arrays)

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _same(value: Any) -> Any:
    return value


def _call(function: Callable[..., Any], source: _Source, *arguments: Any) -> Any:
    return called(function, source.job, *arguments)


@dataclass(frozen=True)
class _Pool:
    """Calls functions of a job on workers; see `napari_dip.tasks.pool.Pool`."""

    client: Any
    source: Any
    ahead: int

    def common(self, value: Any) -> Any:
        """Send a value once; the scheduler has it again when a worker has died."""
        return self.client.submit(_same, value, pure=False)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Call:
        """Call a function on a worker."""
        # In turn, as their results are asked for, also calls of one moment.
        future = self.client.submit(
            _call, function, self.source, *arguments, pure=False, fifo_timeout=0
        )
        return _Call(future)


@dataclass(frozen=True)
class _Call:
    future: Any

    def result(self) -> Any:
        """Wait for the worker."""
        try:
            return self.future.result()
        except DipError:
            raise
        except Exception as error:  # of the cluster: it has many kinds
            raise _failed(error) from error

    def wait(self, seconds: float) -> bool:
        """Wait for the worker, but no longer than that; return whether it is done."""
        end = time.monotonic() + seconds
        while not self.future.done() and time.monotonic() < end:
            time.sleep(0.02)
        return bool(self.future.done())

    def cancel(self) -> None:
        """Take the call back where it has not begun."""
        self.future.cancel()
