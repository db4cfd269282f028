"""Where and how a fit computes: device, precision, memory, allocator, failures."""

from __future__ import annotations

import copy
import ctypes
import math
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from napari_dip import machine
from napari_dip.errors import DeviceFailed, InputError, OutOfMemory
from napari_dip.prior.processor import multiplies_bfloat16
from napari_dip.prior.threads import threads_here

if TYPE_CHECKING:
    from napari_dip.prior.problem import Settings

Module = TypeVar("Module", bound=torch.nn.Module)

ONE_THREAD = 64 * 64
"""Pixels up to which threads cost more time than they save."""

PRECISIONS = ("auto", "float32", "bfloat16")

DEVICES = ("cpu", "cuda", "mps")
"""Kinds of device that fits compute on."""


def pick_device(name: str) -> torch.device:
    """Return the device of a name such as "auto", "cpu", "cuda", "cuda:1", "mps".

    "auto" is a CUDA GPU where there is one and the CPU elsewhere; Apple's GPU has
    to be named, since some of its operations have been silently wrong.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        name = "cuda"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in DEVICES:
        raise InputError(f"device must be auto, cpu, cuda, cuda:N or mps; got {name!r}")
    if device.type == "cuda":
        _refuse_fork()
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise InputError(f"device {name!r} is not there: {count} CUDA GPUs found")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device 'mps' is not there: no Apple GPU found")
    return device


def module_on(module: Module, device: torch.device) -> Module:
    """Return a module on a device; where it is on another one, a copy of it."""
    tensors = [*module.parameters(), *module.buffers()]
    there = all(t.device == device for t in tensors)
    return module if there else copy.deepcopy(module).to(device)


def _refuse_fork() -> None:
    """Raise in a process that was forked from one that has used a CUDA GPU."""
    # Private in torch.
    if getattr(torch.cuda, "_is_in_bad_fork", bool)():
        raise InputError(
            "device cuda cannot be used in a process that was forked after the GPU was "
            "used; start it with multiprocessing's 'spawn', or use device='cpu'"
        )


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype the network computes in; parameters and loss stay float32.

    "auto" is bfloat16 where the device multiplies it by itself.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}"
        )
    if precision == "auto":
        native = multiplies_bfloat16(device)
        return torch.bfloat16 if native else torch.float32
    return getattr(torch, precision)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Place:
    """Where a fit computes."""

    device: torch.device
    """Where its tensors are."""
    dtype: torch.dtype
    """What the network computes in."""
    threads: int | None = None
    """CPU threads during a step; torch's number where not given."""

    @classmethod
    def pick(cls, settings: Settings, sides: Sequence[int]) -> Place:
        """Return the place that settings name, for an image of these sides."""
        device, threads = pick_device(settings.device), settings.threads
        if threads is None and math.prod(sides) <= ONE_THREAD:
            threads = 1
        return cls(device, pick_dtype(settings.precision, device), threads)

    @property
    def on_gpu(self) -> bool:
        """Whether CUDA graphs can be captured here."""
        return self.device.type == "cuda"


def generator(seed: int, device: torch.device) -> torch.Generator:
    """Return a generator of our own; the global ones are never touched."""
    return torch.Generator(device=device).manual_seed(seed)


class _WhileUsed:
    """A setting of the process that holds for as long as anybody uses it.

    `setting` returns the context in which it holds.
    """

    def __init__(self, setting: Callable[[], AbstractContextManager[None]]) -> None:
        self.setting = setting
        self.lock = threading.Lock()
        self.users = 0
        self.held = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            if not self.users:
                self.held.enter_context(self.setting())
            self.users += 1
        try:
            yield
        finally:
            with self.lock:
                # After a fork this thread may end what it has begun before.
                self.users = max(self.users - 1, 0)
                if not self.users:
                    self.held.close()

    def fork(self) -> None:
        """Begin in a process that was forked, whose other users are not here."""
        self.lock = threading.Lock()  # another thread may have held it
        self.users = 0
        self.held.close()


cudnn_flags = _WhileUsed(
    lambda: torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=False, allow_tf32=True
    )
)
"""The flags that steps need.  cuDNN does not try out its algorithms: at every new size
of image that took 10 s on an H100, as long as ten fits, and no step was faster for it.
"""


@contextmanager
def _float32_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


float32_by_default = _WhileUsed(_float32_by_default)
"""The type of new tensors, while any fit computes."""


@contextmanager
def usual_settings() -> Iterator[None]:
    """Hold what torch does by default, whatever the caller has set.

    New tensors are float32, on the CPU, and may be part of a gradient, and no operation
    has a precision of its own.
    """
    with ExitStack() as stack:
        # Held only where the caller has set another: it makes every operation slower.
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(float32_by_default())
        stack.enter_context(torch.inference_mode(False))
        for kind in filter(torch.amp.is_autocast_available, DEVICES):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def step_context(threads: int | None) -> Iterator[None]:
    """Hold the global settings that one step needs, and no longer than the step.

    Gradients are on whatever the caller set; the number of threads is `threads` where
    given.
    """
    with ExitStack() as stack:
        stack.enter_context(usual_settings())
        stack.enter_context(torch.enable_grad())
        stack.enter_context(cudnn_flags())
        if threads is not None:
            stack.enter_context(threads_here.set(threads))
        yield


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt(3)."""


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, else None."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt") and hasattr(library, "malloc_trim"):
            return library
    return None


libc = _glibc()


@contextmanager
def _pages_kept() -> Iterator[None]:
    """Keep glibc from handing pages back after every freed tensor.

    A step frees and allocates the same large blocks again.  By default glibc maps
    each anew and the kernel clears its pages, a third of a step on a CPU.  Here
    blocks come from the heap and the heap is not trimmed.  Afterwards free memory goes
    back to the system, and both parameters have the values that glibc begins with.  It
    no longer adjusts its thresholds to what is freed, as it does until mallopt(3) is
    first called, and no call brings that back.
    """
    if libc is None:
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, 65536)
        libc.mallopt(M_TRIM_THRESHOLD, 128 * 1024)
        libc.malloc_trim(0)


kept_pages = _WhileUsed(_pages_kept)
"""Memory as fits use it, while any runs."""


def _after_fork() -> None:
    for shared in (cudnn_flags, float32_by_default, kept_pages):
        shared.fork()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a fit may take on `device`, None where unknown."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(
            device
        )
        return machine.within_budget(free + cached)
    if device.type == "mps":
        return machine.within_budget(int(torch.mps.recommended_max_memory()))
    return machine.free_memory()


def saved_bytes(network: torch.nn.Module, code: Tensor) -> int:
    """Count the bytes that the backward pass of `network` would keep.

    Both must be on the meta device, so nothing is computed or allocated.
    """
    storages: dict[int, int] = {}
    kept = []

    # The graph holds `pack` and what it returns. A tensor holds the graph that has made
    # it, and a cycle through the graph is never freed, so neither may hold a tensor.
    def pack(t: Tensor) -> None:
        if not isinstance(t, torch.nn.Parameter):
            storage = t.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
            kept.append(t)  # or the address could be used again

    hooks = torch.autograd.graph.saved_tensors_hooks
    with torch.inference_mode(False), torch.enable_grad(), hooks(pack, lambda t: t):
        network(code).sum()
    kept.clear()
    return sum(storages.values())


def out_of_memory(gpu: bool, why: str) -> OutOfMemory:
    """Return the error that names the memory, and says why and what to do."""
    memory, other = ("GPU memory", ", or device=cpu") if gpu else ("memory", "")
    return OutOfMemory(
        f"there is too little {memory}: {why}; take a smaller image or tile{other}"
    )


@contextmanager
def device_errors(
    advice: Callable[[], str] = lambda: "this image needs more than there is",
) -> Iterator[None]:
    """Turn the several ways torch reports failures and lack of memory into ours.

    A failure of a GPU becomes `DeviceFailed` and lack of memory `OutOfMemory`, of which
    `advice` says what would fit.  Any other error passes.
    """
    failure = gpu = None
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        if _is_of_memory(error):
            gpu = _says(error, "cuda", "cublas", "hip out", "mps backend")
        elif _is_of_device(error):
            failure = message
        else:
            raise
        # It stays the context of the new error: let the tensors in the failed
        # step's frames go.
        traceback.clear_frames(error.__traceback__)
    if failure is not None:
        raise DeviceFailed(f"the device has failed: {failure}") from None
    if gpu is not None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise out_of_memory(gpu, advice()) from None


def _is_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or _says(
        error,
        "can't allocate memory",
        "not enough memory",
        "out of memory",
        "cublas_status_alloc_failed",
    )


def _is_of_device(error: Exception) -> bool:
    # An error of its own since torch 2.8.
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or _says(
        error,
        "cuda error",
        "cudnn error",
        "cudnn_status",
        "cublas_status",
        "cufft_",
        "cusolver_status",
        "hip error",
        # In a process that was forked after backward passes on a GPU.
        "fork-based multiprocessing",
    )


def _says(error: Exception, *texts: str) -> bool:
    message = str(error).lower()
    return any(text in message for text in texts)


@dataclass(frozen=True)
class Estimate:
    """What a fit will take."""

    memory: int
    """Peak bytes on the device, above what is in use before the fit."""
    available: int | None
    """Bytes that the device has left, None where unknown."""
    seconds: float | None = None
    """Per iteration, from a trial on a small piece; None if not tried."""

    @property
    def fits(self) -> bool:
        """Whether the memory is there, as far as known."""
        return self.available is None or self.memory <= self.available

    def advice(self, pixels: int, ndim: int) -> str:
        """Return what is needed, what there is, and which size would fit, if any."""
        text = f"the fit needs about {machine.gibibytes(self.memory)}"
        if self.available is None or self.fits:  # it ran out all the same
            return text + ", more than there is"
        text += f" and {machine.gibibytes(self.available)} are free"
        side = int((pixels * self.available / max(self.memory, 1)) ** (1 / ndim))
        side -= side % 32
        if not side:
            return text
        sides = " x ".join([str(side)] * ndim)
        return text + f"; an image of {sides} pixels, or fewer channels, would fit"


def captured(step: Callable[[], None], random: torch.Generator) -> Callable[[], None]:
    """Return a step as a CUDA graph, which is replayed without the host's help.

    Parameters
    ----------
    step : callable
        Reads and writes the same tensors on every call and never synchronises.  It
        must have run a few times before, so that its state is allocated.
    random : torch.Generator
        The generator that the step draws from.
    """
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(random)
    # Other threads (a viewer) may use the GPU while this one captures.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    return graph.replay
