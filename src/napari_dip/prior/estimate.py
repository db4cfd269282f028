"""What a fit will take: memory, counted, and time, tried out on a small piece."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Hashable
from functools import lru_cache

import torch

from napari_dip.prior import runtime
from napari_dip.prior.architecture import Generates
from napari_dip.prior.loop import Run
from napari_dip.prior.problem import Prior, Problem, Settings

TRIAL_SIDE = 64
"""Longest side of the piece that is tried out."""

STEPS, LONGEST = 4, 1.5
"""Steps that are timed, after the first, and seconds after which no other is begun."""

MOST_KEPT = 4
"""Tensors of the largest size, of which a module keeps at most so many."""


def estimate(
    problem: Problem, prior: Prior, settings: Settings, *, trial: bool = False
) -> runtime.Estimate:
    """Estimate memory, and with `trial` time per iteration, before fitting.

    Memory is counted from the network's own graph on torch's meta device; time
    is measured on a piece of the image of at most 64 pixels a side and scaled.
    """
    device = runtime.pick_device(settings.device)
    dtype = runtime.pick_dtype(settings.precision, device)
    memory = _memory(problem, prior, dtype)
    seconds = _trial(problem, prior, settings) if trial else None
    return runtime.Estimate(memory, runtime.free_memory(device), seconds)


def surely_fits(problem: Problem, prior: Prior, settings: Settings) -> bool:
    """Return whether there is memory even if every module kept more than they do.

    To count what is kept, torch loads its compiler, which takes a second.
    """
    device = runtime.pick_device(settings.device)
    free = runtime.free_memory(device)
    return free is None or _memory(problem, prior, torch.float32, at_most=True) <= free


def _memory(
    problem: Problem, prior: Prior, dtype: torch.dtype, *, at_most: bool = False
) -> int:
    """Return the bytes of a fit, or a limit that is quickly known."""
    channels, *sides = problem.image_shape
    canvas, inputs = prior.canvas(sides), prior.code.channels(problem.image_shape)
    # Most fits of a session are alike, and counting takes as long as some iterations.
    count = _counted if isinstance(prior.architecture, Hashable) else _count
    saved, weights = count(prior.architecture, inputs, channels, canvas, dtype, at_most)
    pixels = math.prod(canvas)
    widest = max(prior.architecture.widest, inputs)
    return (
        saved
        # The gradients in flight at the widest place of the backward pass.
        + 4 * widest * pixels * dtype.itemsize
        # Code, its noise and the cast; measurement, average, best and the like.
        + (2 * inputs + 16 * channels) * 4 * pixels * len(problem.measurement)
        # Weights, gradients, moments and the snapshot to roll back to.
        + 8 * 4 * weights
    )


def _count(
    architecture: Generates,
    inputs: int,
    outputs: int,
    canvas: tuple[int, ...],
    dtype: torch.dtype,
    at_most: bool,
) -> tuple[int, int]:
    """Return the bytes that a backward pass keeps, and the number of weights.

    With `at_most` the bytes are a limit, by the number of modules.
    """
    with torch.inference_mode(False), torch.device("meta"):
        network = architecture.build(inputs, outputs, canvas, None)
        code = torch.empty(1, inputs, *canvas, dtype=dtype)
    weights = sum(p.numel() for p in network.parameters())
    if not at_most:
        return runtime.saved_bytes(network, code), weights
    largest = max(architecture.widest, inputs, outputs) * math.prod(canvas)
    modules = sum(1 for _ in network.modules())
    return MOST_KEPT * modules * largest * dtype.itemsize, weights


_counted: Callable[..., tuple[int, int]] = lru_cache(maxsize=256)(_count)


def _trial(problem: Problem, prior: Prior, settings: Settings) -> float:
    channels, *sides = problem.image_shape
    small = [min(n, TRIAL_SIDE) for n in sides]
    seconds = timed(Problem(noise(1, channels, *small)), prior, settings)
    return seconds * math.prod(prior.canvas(sides)) / math.prod(prior.canvas(small))


def noise(*shape: int) -> torch.Tensor:
    """Return an image to try something on, the same one in every call."""
    random = runtime.generator(0, torch.device("cpu"))
    return torch.rand(shape, generator=random, dtype=torch.float32)


def timed(problem: Problem, prior: Prior, settings: Settings) -> float:
    """Return seconds of a step, with its share of the looks at the image."""
    settings = dataclasses.replace(settings, start_iterations=0, coarse_iterations=0)
    run = Run(problem, prior, settings)
    times: list[float] = []
    with runtime.kept_pages():
        run.advance()
        since = time.perf_counter()
        while len(times) < STEPS and time.perf_counter() - since < LONGEST:
            before = time.perf_counter()
            run.advance()
            times.append(time.perf_counter() - before)
        before = time.perf_counter()
        run.state.average.value()
        look = time.perf_counter() - before
    # Not the shortest: other programs that run will do so during the fit, too.
    return statistics.median(times) + look / settings.check_every
