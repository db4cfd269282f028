"""What a few steps tell about a fit: the time of each, and when it will end."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_dip.prior.problem import Prior, Problem, Settings

SMALL = {2: 32, 3: 16}
"""Side of the image on which the time that each step takes at least is measured."""

TRIED, LONGEST = {2: 64, 3: 32}, 8.0
"""Side of the part on which a fit that ends at a level is tried, and seconds after
which the trial is given up."""

GROWTH = 0.4
"""Power of the pixels that the iterations to a level grow with: 0.29 to 0.5 for
photographs and micrographs, clean and noisy, of 64 x 64 to 256 x 256 pixels."""

FRESH = 60.0
"""Seconds for which steps are not timed again: other programs come and go."""

REMEMBERED = 100
"""Trials of which it is remembered what they have found."""

_paces: dict[Any, tuple[float, float, float, float]] = {}
"""When something was timed, the seconds of every step, and of every pixel in it, and
the bytes of that network for every pixel."""

_endings: dict[Any, float] = {}
"""What trials have found, see `ending`; by the levels, which tell images apart."""


def ending(problem: Problem, prior: Prior, settings: Settings) -> float:
    """Return after how many iterations a fit likely ends, for one pixel.

    A fit to a level is tried on the middle of the image; the iterations grow with the
    pixels, see `GROWTH`.  0 stands for one that is not known to end before its maximum.
    """
    from napari_dip.prior.loop import Run
    from napari_dip.prior.stopping import Discrepancy

    if not isinstance(settings.stop, Discrepancy):
        return 0.0
    # A wider network takes about as many.
    key = settings.stop.level, problem.image_shape, settings.optimizer
    if key in _endings:
        return _endings[key]
    while len(_endings) >= REMEMBERED:
        _endings.pop(next(iter(_endings)), None)
    sides, side = problem.image_shape[1:], TRIED[problem.ndim]
    part: Any = (..., *(slice((n - min(n, side)) // 2, (n + side) // 2) for n in sides))
    weight = None if problem.weight is None else problem.weight[part]
    problem = replace(problem, measurement=problem.measurement[part], weight=weight)
    run = Run(problem, prior, settings)
    began = time.perf_counter()
    while run.advance() is None:
        if time.perf_counter() - began > LONGEST:
            return _endings.setdefault(key, 0.0)
    pixels = math.prod(prior.canvas(problem.image_shape[1:]))
    return _endings.setdefault(key, run.state.progress.step / pixels**GROWTH)


def pace(problem: Problem, prior: Prior, settings: Settings) -> tuple[float, float]:
    """Return seconds of every step, and of every pixel in it.

    Those of a wider network follow from its memory: other programs change the time of a
    step by more, so that the qualities of a panel could be out of order.
    """
    import torch

    from napari_dip.prior import runtime
    from napari_dip.prior.estimate import estimate, noise, timed
    from napari_dip.prior.problem import Problem

    ndim, channels = problem.ndim, problem.image_shape[0]
    device = runtime.pick_device(settings.device)
    key = (
        type(prior.architecture),
        type(prior.code),
        prior.code.channels(problem.image_shape),
        channels,
        ndim,
        settings.optimizer,
        settings.average,
        type(problem.operator),
        type(problem.term),
        runtime.pick_dtype(settings.precision, device),
        device,
        torch.get_num_threads(),
    )
    now = time.monotonic()
    whole = math.prod(prior.canvas(problem.image_shape[1:]))
    size = estimate(problem, prior, settings).memory / whole
    if key not in _paces or now - _paces[key][0] > FRESH:
        least, each = 0.0, timed(problem, prior, settings) / whole
        sides = (SMALL[ndim],) * ndim
        few = math.prod(prior.canvas(sides))
        if few < whole / 2 and problem.shape is None:
            # Not with its data fidelity, which may be of the pixels of one image.
            bare = Problem(noise(1, channels, *sides))
            smaller = min(timed(bare, prior, settings), each * whole)
            each = (each * whole - smaller) / (whole - few)
            least = max(smaller - each * few, 0.0)
        _paces[key] = now, least, each, size
    _, least, each, timed_size = _paces[key]
    return least * size / timed_size, each * size / timed_size
