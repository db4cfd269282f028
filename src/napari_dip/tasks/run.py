"""The scheduler: the blocks of a job, one after the other, put together."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FitError, InputError
from napari_dip.machine import MAX_SECONDS, budget, free_memory
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import (
    Layout,
    LazyArray,
    Pixels,
    cast,
    float_type,
    narrowed,
    widened,
)
from napari_dip.tasks.block import BlockFit, fit_block, relay
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.task import Block, Job, Overrides, Task

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Fitting, Iterate

TASKS = {
    "denoise": "napari_dip.tasks.denoise",
    "denoise_guided": "napari_dip.tasks.denoise_guided",
    "enhance": "napari_dip.tasks.enhance",
    "remove_artifacts": "napari_dip.tasks.remove_artifacts",
    "super_resolve": "napari_dip.tasks.super_resolve",
    "inpaint": "napari_dip.tasks.inpaint",
    "blend": "napari_dip.tasks.blend",
    "deconvolve": "napari_dip.tasks.deconvolve",
    "restore": "napari_dip.tasks.restore",
    "invert_features": "napari_dip.tasks.invert_features",
    "maximize_activation": "napari_dip.tasks.maximize_activation",
}
"""Name of every task and the module whose `TASK` it is."""

CONSTANT = "nothing to fit, for the image is constant"
"""Why a job ended that needed no fit."""


def get(name: str) -> Task:
    """Return a task by its name, with dashes or underscores."""
    module = TASKS.get(name.replace("-", "_"))
    if module is None:
        raise InputError(f"task must be one of {', '.join(TASKS)}; got {name!r}")
    task: Task = import_module(module).TASK
    return task


def run(
    task: Task,
    recipe: Recipe,
    arrays: Sequence[Any],
    *,
    overrides: Overrides | None = None,
    threads: int | None = None,
    resumable: bool = False,
) -> Fitting:
    """Run a task, yielding every iteration.

    Parameters
    ----------
    task : Task
        What to do.
    recipe : Recipe
        Its parameters.
    arrays : sequence of array_like
        Its arrays.
    overrides : Overrides, optional
        What the user sets in place of the preset.
    threads : int, optional
        CPU threads during a step; torch's number where not given.
    resumable : bool
        Whether to keep what is needed to go on later, in `Fit.resume`.  A job of
        several fits, for planes, channels or restarts, cannot: each would have to.

    Yields
    ------
    Iterate
        `image` is an array in the units of the input, of the plane that is being
        fitted; it belongs at `index` of the result.  Send True to stop: planes
        not yet begun are returned as they came.  So are planes of nothing but NaN, and
        those that fail after others are done, with a warning.

    Returns
    -------
    Fit
        With arrays for tensors.

    Raises
    ------
    InputError
        If the arrays cannot be used, before the first iteration is asked for.  Lazy
        arrays that are larger than the free memory are looked at plane by plane.
    """
    job = task.make_job(recipe, *arrays)
    subject = dict(zip(task.arrays, arrays, strict=False)).get(task.subject)
    if isinstance(subject, np.ma.MaskedArray):
        # Its masked values have become NaN; dtype="input" asks for its own type.
        layout = dataclasses.replace(job.layout, dtype=subject.dtype)
        job = dataclasses.replace(job, layout=layout)
    _check_planes(job)
    overrides = overrides or Overrides()
    _check_analysis(overrides.analysis, job.layout.channels)
    fitting = _Scheduler(job, recipe, overrides, threads, resumable).run()
    seconds = budget(MAX_SECONDS)
    return fitting if seconds is None else _stopped_after(fitting, seconds)


def _stopped_after(fitting: Fitting, seconds: float) -> Fitting:
    """Stop a job as the user would, once it has taken so much time."""
    end = time.monotonic() + seconds

    def late(it: Iterate) -> str | None:
        return "the time was up" if time.monotonic() > end else None

    fit: Fit
    fit, reason = yield from relay(fitting, lambda it: it, late)
    if reason is not None:
        warning = f"the fit was stopped after {seconds:g} s, as {MAX_SECONDS} says"
        fit.warnings.append(warning)
    return fit


def _check_planes(job: Job) -> None:
    """Raise if a plane cannot be fitted, before any work is spent on the others."""
    layout, memory = job.layout, free_memory()
    size = math.prod(layout.shape) * layout.dtype.itemsize
    if isinstance(job.image, LazyArray) and memory is not None and size > memory:
        return
    known = [
        job.check(index, f"plane {n} of {job.name}" if layout.planes > 1 else job.name)
        for n, index in enumerate(layout.indices())
    ]
    if not any(known):
        raise InputError(f"{job.name} must have known pixels; got nothing but NaN")


def _check_analysis(given: Sequence[Analysis], channels: int) -> None:
    """Raise unless analyses, if any, are of every channel of the image once."""
    described = [c for analysis in given for c in analysis.channels]
    if given and sorted(described) != list(range(channels)):
        raise InputError(
            f"analysis must describe each of the {channels} channels of the image "
            f"once; got channels {described}"
        )


@dataclass
class _Result:
    """What has been put together so far."""

    image: NDArray[Any]
    deviation: NDArray[Any] | None = None
    blocks: list[BlockFit] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stopped: bool = False
    """Whether the user has stopped the last fit."""

    def add(self, done: BlockFit) -> None:
        """Take the fit of a block."""
        from napari_dip.prior.fit import STOPPED

        self.blocks.append(done)
        self.warnings += [w for w in done.warnings if w not in self.warnings]
        self.stopped = any(fit.stopped_by == STOPPED for fit in done.fits)

    def failed(self, number: int, error: Exception) -> None:
        """Note that a plane failed, or raise its error if nothing would be lost."""
        if not self.blocks:
            raise error
        self.warnings.append(f"plane {number} was not fitted: {error}")


@dataclass(frozen=True)
class _Scheduler:
    """A job and how it is run; see `run`."""

    job: Job
    recipe: Recipe
    overrides: Overrides
    threads: int | None
    resumable: bool

    def run(self) -> Fitting:
        """Fit all planes."""
        job, layout = self.job, self.job.layout
        sides = tuple(job.factor * side for side in layout.sides)
        result = _Result(np.zeros(layout.resized(sides), np.float32))
        for number, index in enumerate(layout.indices()):
            read = True
            try:
                given = job.take(index)
            except InputError as error:
                result.failed(number, error)
                read = False
                given = np.full((layout.channels, *layout.sides), np.nan, np.float32)
            untouched = _untouched(layout, given, job.factor)
            plane = _Plane(cast(untouched, np.dtype(np.float32)), job.factor)
            if result.stopped:
                result.warnings.append(f"plane {number} was not fitted before the stop")
            elif read:
                try:
                    pixels = job.pixels(index, given)
                    yield from self.fit_plane(number, index, pixels, plane, result)
                except (InputError, FitError) as error:
                    result.failed(number, error)
            plane.fill(untouched, exact=self.recipe.dtype == "input")
            result.image = widened(result.image, plane.image.dtype)
            result.image[index] = layout.arrange(plane.image)
        if not result.blocks:
            raise InputError(f"{job.name} must have known pixels; got nothing but NaN")
        last = result.blocks[-1]
        summary = _summary(self.recipe, layout, result)
        if last.resume is None:
            return summary
        return _resumable(summary, self.recipe, job, last)

    def fit_plane(
        self,
        number: int,
        index: tuple[int | slice, ...],
        pixels: Pixels | None,
        plane: _Plane,
        result: _Result,
    ) -> Any:
        """Fit the blocks of a plane, which is changed in place."""
        layout, known = self.job.layout, self.overrides.analysis
        blocks = [Block.whole(number, index, a.channels, layout.sides) for a in known]
        blocks = blocks or self.job.blocks(number, index, pixels)
        only = layout.planes == len(blocks) == 1
        fitted = {c for block in blocks for c in block.channels}
        unknown = [str(c) for c in range(layout.channels) if c not in fitted]
        if unknown:
            which = f"channels {', '.join(unknown)} of " if blocks else ""
            result.warnings.append(
                f"{which}plane {number} came back unchanged: nothing but NaN"
            )
        deviation = _Plane(np.zeros_like(plane.image), self.job.factor)
        for count, block in enumerate(blocks):
            if result.stopped:
                which = f"channels {', '.join(map(str, block.channels))} of plane"
                result.warnings.append(
                    f"{which} {number} were not fitted before the stop"
                )
                continue
            fits = [f for b in result.blocks for f in b.fits]
            ahead = len(blocks) - count + (layout.planes - number - 1) * len(blocks)

            def adapt(
                it: Iterate,
                block: Block = block,
                fits: list[Fit] = fits,
                ahead: int = ahead,
            ) -> Iterate:
                def render(finished: bool) -> NDArray[Any]:
                    shown = plane.copy()
                    shown.put(block, it.render(finished))
                    return layout.arrange(shown.image)

                return dataclasses.replace(
                    it,
                    render=render,
                    index=index,
                    part=len(fits) + it.part,
                    # Planes to come are taken to have as many blocks as this one.
                    parts=len(fits) + ahead * it.parts,
                    seconds=it.seconds + sum(f.seconds for f in fits),
                )

            fitting = fit_block(
                self.job,
                self.recipe,
                block,
                overrides=self.overrides,
                pixels=pixels,
                threads=self.threads,
                resumable=self.resumable and only,
                keep_weights=only,
            )
            done, _ = yield from relay(fitting, adapt, None)
            result.add(done)
            plane.put(block, done.image)
            if done.deviation is not None:
                deviation.put(block, done.deviation)
                if result.deviation is None:
                    result.deviation = np.zeros(result.image.shape, np.float32)
        if result.deviation is not None:
            result.deviation = widened(result.deviation, deviation.image.dtype)
            result.deviation[index] = layout.arrange(deviation.image)


class _Plane:
    """A plane that blocks are put into, blended where their halos meet."""

    def __init__(self, image: NDArray[Any], factor: int) -> None:
        self.image, self.factor = image, factor
        self.weight = np.zeros(image.shape, np.float32)
        self.fitted: set[int] = set()

    def copy(self) -> _Plane:
        """Return a plane of its own."""
        copy = _Plane(self.image.copy(), self.factor)
        copy.weight = self.weight.copy()
        return copy

    def put(self, block: Block, image: NDArray[Any]) -> None:
        """Put the image of a block in its place, weighted by its window."""
        region = block.region(self.factor)
        self.image = widened(self.image, image.dtype)
        self.fitted.update(block.channels)
        if not any(map(any, block.halo)):
            for channel, values in zip(block.channels, image, strict=True):
                self.image[channel][region] = values
            return
        window = block.window(self.factor)
        for channel, values in zip(block.channels, image, strict=True):
            place: Any = (channel, *region)
            self.weight[place] += window
            share = window / self.weight[place]
            self.image[place] += share * (values - self.image[place])

    def fill(self, given: NDArray[Any], *, exact: bool) -> None:
        """Put the given values into channels that were not fitted.

        They are not rounded to float32 where `exact` says so.
        """
        rest = [c for c in range(len(given)) if c not in self.fitted]
        if not rest:
            return
        values = given[rest].astype(np.result_type(given.dtype, np.float32))
        if not exact:
            finite = values[np.isfinite(values)]
            ends = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
            values = narrowed(values, float_type(*ends))
        self.image = widened(self.image, values.dtype)
        self.image[rest] = values


def _resumable(summary: Fit, recipe: Recipe, job: Job, last: BlockFit) -> Fit:
    """Return the summary of the only fit of a job, with a way to go on."""
    from napari_dip.prior.fit import STOPPED

    resume, layout = last.resume, job.layout
    assert resume is not None
    (index,) = layout.indices()

    def adapt(it: Iterate) -> Iterate:
        return dataclasses.replace(
            it, render=lambda full: layout.arrange(it.render(full)), index=index
        )

    def further(extra: int) -> Fitting:
        changed = recipe
        if last.fits[-1].stopped_by != STOPPED:
            total = recipe.extra_iterations + extra
            changed = dataclasses.replace(recipe, extra_iterations=total)
        longer, _ = yield from relay(resume(extra), adapt, None)
        image = np.empty(summary.image.shape, longer.image.dtype)
        image[index] = layout.arrange(longer.image)
        result = _Result(image, warnings=list(summary.warnings))
        result.add(longer)
        return _resumable(_summary(changed, layout, result), changed, job, longer)

    return dataclasses.replace(summary, resume=further)


def _untouched(
    layout: Layout, pixels: NDArray[Any] | None, factor: int
) -> NDArray[Any]:
    """Return a plane of the input, repeated to the size of the result."""
    sides = layout.sides
    if pixels is None:
        return np.zeros((layout.channels, *(factor * n for n in sides)), np.float32)
    for axis in range(1, 1 + len(sides)) if factor > 1 else ():
        pixels = pixels.repeat(factor, axis=axis)
    return pixels


def _summary(recipe: Recipe, layout: Layout, result: _Result) -> Fit:
    """Put the fits of all blocks together into one."""
    from napari_dip.prior.problem import Fit

    fits = [f for block in result.blocks for f in block.fits]
    history = [
        {**entry, "part": part} for part, f in enumerate(fits) for entry in f.history
    ]
    as_input = recipe.dtype == "input"
    return Fit(
        image=cast(result.image, layout.dtype) if as_input else result.image,
        average=None,
        stopped_by="; ".join(dict.fromkeys(f.stopped_by for f in fits)) or CONSTANT,
        iterations=sum(f.iterations for f in fits),
        best_iteration=fits[0].best_iteration if len(fits) == 1 else -1,
        seconds=sum(f.seconds for f in fits),
        history=history,
        settings={
            "recipe": recipe.to_dict(),
            "planes": [block.details for block in result.blocks],
        },
        warnings=result.warnings,
        uncertainty=result.deviation,
        weights=fits[0].weights if len(fits) == 1 else None,
        operator=fits[0].operator if len(fits) == 1 else None,
    )
