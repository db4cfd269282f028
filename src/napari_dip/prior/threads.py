"""The number of torch's threads, and many small computations in several of them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from napari_dip.prior import interrupt

T = TypeVar("T")
R = TypeVar("R")


class _Threads:
    """The number of torch's threads, in the calling thread alone.

    torch has a number for every thread, and one for threads that have none yet.
    `torch.set_num_threads` sets both, so that a thread that begins meanwhile would keep
    for good what a fit needs for a moment.  The last digits of a sum depend on it.

    A process that was forked from one with threads of GNU OpenMP has not got them, and
    would wait for them for ever: it computes in one thread.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.usual = 1
        """What threads get that have none yet."""
        self.several = self.forked = False
        self.other = ThreadPoolExecutor(1)

    def fork(self) -> None:
        """Begin in a process that was forked from one with fits."""
        self.lock = threading.Lock()  # another thread may have held it
        self.users = 0  # threads that are not here
        self.other = ThreadPoolExecutor(1)
        if self.several:
            self.forked = True
            torch.set_num_threads(1)

    def count(self) -> int:
        """Return the number; a thread that had none has it from now on."""
        with self.lock:
            if self.forked:
                torch.set_num_threads(1)
            number = torch.get_num_threads()
            self.several = self.several or number > 1
            return number

    @contextmanager
    def set(self, number: int) -> Iterator[None]:
        """Hold the number in this thread for as long as the context lasts."""
        before = self._change(number, +1)
        try:
            yield
        finally:
            self._change(before, -1)

    def keep(self, number: int) -> None:
        """Give this thread the number until it ends."""
        self._change(number, 0)

    def _change(self, number: int, users: int) -> int:
        with self.lock:
            before = torch.get_num_threads()
            if self.forked:
                number = 1
            self.several = self.several or max(number, before) > 1
            if not self.users:
                self.usual = before
            # After a fork this thread may end what it has begun before.
            self.users = max(self.users + users, 0)
            if number != before:
                torch.set_num_threads(number)
                if number != self.usual:
                    self.other.submit(torch.set_num_threads, self.usual).result()
            return before


threads_here = _Threads()

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=threads_here.fork)


def in_threads(
    compute: Callable[[T], R],
    items: Iterable[T],
    use: Callable[[R], Any],
    device: torch.device,
) -> None:
    """Compute something of every item in several threads, and use it here, in order.

    There are as many threads as torch has, and meanwhile torch has one in each: for
    many small matrices its own threads take nearly as long as one.  An item is taken
    when there is a thread for it.  Only where the device is a CPU there are such
    threads.
    """
    threads = threads_here.count()
    if threads == 1 or device.type != "cpu":
        for item in items:
            interrupt.check()
            use(compute(item))
        return
    inference = torch.is_inference_mode_enabled()

    def alone(item: T) -> R:
        with torch.inference_mode(inference), torch.no_grad():
            return compute(item)

    executor = ThreadPoolExecutor(threads, initializer=threads_here.keep, initargs=(1,))
    pending: deque[Future[R]] = deque()
    try:
        with threads_here.set(1):
            for item in items:
                interrupt.check()
                pending.append(executor.submit(alone, item))
                if len(pending) > threads:
                    use(pending.popleft().result())
            while pending:
                interrupt.check()
                use(pending.popleft().result())
    finally:
        executor.shutdown(cancel_futures=True)
