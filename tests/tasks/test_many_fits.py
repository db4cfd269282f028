"""Fits beside and after each other: same bits, and nothing left behind."""

import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from threading import Barrier

import numpy as np
import pytest
import torch

from napari_dip import denoise, inpaint, iterate, super_resolve
from napari_dip.prior.local import Local

SHORT = {"iterations": 3, "device": "cpu", "precision": "float32"}

FITS = 300
WARM = 50
"""Fits after which everything is loaded, and caches are full."""


def noisy(seed):
    image = np.zeros((32, 32), np.float32)
    image[8:24, 8:24] = 100
    noise = np.random.default_rng(seed).normal(0, 10, image.shape)
    return image + noise.astype(np.float32)


@pytest.fixture(scope="module")
def mask():
    return np.random.default_rng(0).random((32, 32)) < 0.3


@pytest.mark.slow
def test_two_fits_at_once_give_the_bits_of_one_after_the_other(mask):
    fits = [
        partial(denoise, noisy(1), seed=1, **SHORT),
        partial(inpaint, noisy(2), mask, seed=2, **SHORT),
    ]
    alone = [fit() for fit in fits]
    # Neither begins an iteration before the other has ended the one before.
    barrier = Barrier(2, timeout=60)
    steps = [[], []]

    def meet(seen, it):
        seen.append(it.step)
        if len(seen) <= 3:
            barrier.wait()

    with ThreadPoolExecutor(2) as pool:
        futures = [
            pool.submit(fit, callback=partial(meet, seen))
            for fit, seen in zip(fits, steps, strict=True)
        ]
        together = [future.result() for future in futures]
    assert all(len(seen) >= 3 for seen in steps)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def two_threads():
    """Let torch compute in two threads, whose sums are others than those of one."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads", "few_passes")
def test_four_fits_at_once_in_new_threads_give_the_bits_of_one():
    image = np.random.default_rng(0).normal(100, 10, (40, 40)).astype(np.float32)
    fit = partial(denoise, image, seed=1, architecture=Local((8, 8)), **SHORT)
    alone = fit()
    for _ in range(2):
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(fit) for _ in range(4)]
        for future in futures:
            np.testing.assert_array_equal(future.result(), alone)
    assert torch.get_num_threads() == 2


FORK = """
import os, sys, time
import numpy as np
import torch
from napari_dip import denoise
from napari_dip.prior.local import Local

torch.set_num_threads(2)
image = np.random.default_rng(0).normal(100, 10, (72, 72)).astype(np.float32)

def fit():
    short = {"iterations": 2, "device": "cpu", "precision": "float32"}
    return denoise(image, architecture=Local((8, 8)), seed=1, **short)

def wait(child, number):
    end = time.monotonic() + 40
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, 9)
    sys.exit(f"the child hangs whose number of threads was {number}")

fit()
for number in ("set", "inherited"):
    child = os.fork()
    if not child:
        if number == "set":
            torch.set_num_threads(2)
        result = fit()
        os._exit(0 if np.isfinite(result).all() else 3)
    if code := wait(child, number):
        sys.exit(f"{code} of the child whose number of threads was {number}")
    # The parent still computes in its two threads.
    fit()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process")
def test_a_fit_after_fits_in_two_threads_and_a_fork():
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        capture_output=True,
        text=True,
        check=False,
        # Threads that wait in a spin would slow it many times on a busy machine.
        env={
            **os.environ,
            "OMP_WAIT_POLICY": "passive",
            # torch refuses a CPU fit in a fork where it sees a GPU.
            "CUDA_VISIBLE_DEVICES": "",
        },
    )
    assert done.returncode == 0, done.stderr


# -- nothing is left behind -------------------------------------------------------


class Failure(Exception):
    """What the callback of a fit raises."""


def fail(it):
    raise Failure


def failing():
    with pytest.raises(Failure):
        denoise(noisy(0), callback=fail, **SHORT)


def left():
    fitting = iterate("denoise", noisy(0), **SHORT)
    next(fitting)
    fitting.close()


def resources():
    """Return the bytes of memory, open files and threads of this process."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    files, threads = (len(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task"))
    return pages * os.sysconf("SC_PAGE_SIZE"), files, threads


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_nothing_grows_with_the_number_of_fits(mask, record_property):
    kinds = [
        partial(denoise, noisy(0), full_output=True, **SHORT),
        partial(denoise, noisy(0), callback=lambda it: True, **SHORT),
        partial(inpaint, noisy(0), mask, **SHORT),
        partial(super_resolve, noisy(0), 2, **SHORT),
        failing,
        left,
    ]
    measured = []
    for fit in islice(cycle(kinds), FITS):
        fit()
        gc.collect()
        measured.append(resources())
    memory, files, threads = zip(*measured[WARM:], strict=True)
    # What the allocator has free varies; the least of it does not.
    half = len(memory) // 2
    growth = min(memory[half:]) - min(memory[:half])
    record_property("growth in bytes", growth)
    assert growth < 2**23
    assert max(files) == min(files)
    assert max(threads) == min(threads)
