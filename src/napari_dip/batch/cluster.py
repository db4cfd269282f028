"""The images of a batch on several processes or machines, with dask.distributed."""

from __future__ import annotations

import logging
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from napari_dip.batch.file_run import FileRun
from napari_dip.batch.run import Entry, Work, failure, process
from napari_dip.batch.stop import Stop, handled
from napari_dip.errors import DipError, InputError

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate

_POLL = 1.0
"""Seconds between two looks of a worker whether it is to stop."""


@contextmanager
def on_cluster(workers: int | None, scheduler: str | None) -> Iterator[Work]:
    """Yield what does runs on a cluster, which is closed at the end if it is ours.

    Parameters
    ----------
    workers : int, optional
        Number of processes on this machine, each with one thread.
    scheduler : str, optional
        Address of the scheduler of another cluster, in place of them.
    """
    if (workers is None) == (scheduler is None):
        raise InputError("either workers or a scheduler must be given; got both")
    if workers is not None and workers < 1:
        raise InputError(f"workers must be an integer of 1 or more; got {workers}")
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
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            address = stack.enter_context(cluster)
        try:
            client = stack.enter_context(Client(address, set_as_default=False))
        except (OSError, ValueError) as error:
            raise DipError(
                f"scheduler {scheduler} cannot be reached: {error}"
            ) from error
        yield lambda runs: _work(client, runs)


def _work(client: Any, runs: Sequence[FileRun]) -> Iterator[tuple[FileRun, Entry]]:
    """Do runs on the workers, and yield each with its entry as it is done.

    What a worker had begun that dies is begun again by another.
    """
    from distributed import Event, as_completed

    event = Event(f"napari-dip-stop-{uuid.uuid4().hex}", client)
    futures = {
        client.submit(_process, run, event.name, pure=False): run for run in runs
    }
    stop = Stop()
    stop.running = True
    with stop.listening():
        waiting = as_completed(list(futures), loop=client.loop)
        told = False
        while not waiting.is_empty():
            if stop.asked and not told:
                event.set()
                told = True
            for future in waiting.next_batch(block=False):
                run, entry = futures.pop(future), _entry(future)
                if entry is not None:
                    yield run, entry
            time.sleep(0.05)


def _process(run: FileRun, event: str) -> Entry | None:
    """Do a run on a worker; return None where it was not begun before the stop."""
    from distributed import Event

    asked = Event(event)
    if asked.is_set():
        return None
    looked, stopped = time.monotonic(), False

    def stop(it: Iterate) -> bool:
        nonlocal looked, stopped
        if time.monotonic() - looked > _POLL:
            looked, stopped = time.monotonic(), asked.is_set()
        return stopped

    return process(run, stop)


def _entry(future: Any) -> Entry | None:
    """Return what a worker has returned, or an entry that says why it has not."""
    try:
        entry: Entry | None = future.result()
    except Exception as error:  # noqa: BLE001  # of the cluster: it has many kinds
        return failure(f"no worker could do it: {type(error).__name__}: {error}")
    return entry
