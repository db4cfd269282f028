"""The scheduler: the blocks of a job, one after the other, put together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FitError, InputError
from napari_dip.machine import MAX_SECONDS, budget, deadline, free_memory
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import FLOAT32, LazyArray, Pixels, cast
from napari_dip.tasks.block import BlockFit, BlockFitting, fit_block, relay
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.result import Canvas, Left, Result, untouched
from napari_dip.tasks.shared import wants_sharing
from napari_dip.tasks.sweep import Sweep
from napari_dip.tasks.task import Block, Index, Job, Overrides, Task
from napari_dip.tasks.tiles import side_of

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


NOT_SHARED = (
    "no network can be shared by the planes or parts of this image, so every plane was "
    "fitted by itself: the task or the preset needs whole planes"
)


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
    out: Any = None,
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
        Whether to keep what is needed to go on later, in `Fit.resume`.  A job that was
        stopped goes on with the fit that ran and then with the rest.  One that has
        ended by itself can only where it was a single fit: each would have to.
    out : array, optional
        Where the result is put, of its shape and of any type, such as an array in a
        file: all it has to do is to take ``out[index] = values``, part by part.

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
    if isinstance(recipe.tile, int) and job.reach is None:
        raise InputError(
            f"tile must be auto or None here, for {task.name} needs whole planes; got "
            f"{recipe.tile}"
        )
    _check_planes(job)
    overrides = overrides or Overrides()
    _check_analysis(overrides.analysis, job.layout.channels)
    fitting = _Scheduler(job, recipe, overrides, threads, resumable, out).run()
    return fitting if budget(MAX_SECONDS) is None else _in_time(fitting)


def result_shape(task: Task, recipe: Recipe, arrays: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape of what `run` makes of arrays."""
    return _shape(task.make_job(recipe, *arrays))


def _shape(job: Job) -> tuple[int, ...]:
    layout = job.layout
    return layout.resized(tuple(job.factor * side for side in layout.sides))


def _in_time(fitting: Fitting) -> Fitting:
    """Stop a job as the user would, once it has taken all the time it may."""
    from napari_dip.prior.fit import STOPPED, TIME_UP

    late = deadline()
    limit: str | None = None

    def is_late(it: Iterate) -> str | None:
        nonlocal limit
        seconds = late()
        if seconds is not None:
            limit = f"{TIME_UP} of {seconds:g} s ({MAX_SECONDS})"
        return limit

    def adapt(it: Iterate) -> Iterate:
        return it if limit is None else dataclasses.replace(it, last=True)

    fit: Fit
    fit, reason = yield from relay(fitting, adapt, is_late)
    if reason is not None and STOPPED in fit.stopped_by:
        ended = fit.stopped_by.replace(STOPPED, reason)
        warnings = [*fit.warnings, f"the fit was stopped by {reason}"]
        fit = dataclasses.replace(fit, stopped_by=ended, warnings=warnings)
    resume = fit.resume
    if resume is None:
        return fit
    return dataclasses.replace(fit, resume=lambda extra: _in_time(resume(extra)))


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
class _Begun:
    """A plane that is being fitted.

    Attributes
    ----------
    number : int
        Number of the plane.
    parts : list of tuple
        Its blocks, and what the user sets for each.
    done : dict of int to BlockFit
        The fits that are done, by the number of the block.
    resumed : generator, optional
        Goes on with the next block, which was stopped.
    """

    number: int
    parts: list[tuple[Block, Overrides]]
    done: dict[int, BlockFit] = field(default_factory=dict)
    resumed: BlockFitting | None = None


@dataclass(frozen=True)
class _Scheduler:
    """A job and how it is run; see `run`."""

    job: Job
    recipe: Recipe
    overrides: Overrides
    threads: int | None
    resumable: bool
    out: Any

    def run(self) -> Fitting:
        """Restore all planes by networks that they share, or each by its own fits."""
        job, shape = self.job, _shape(self.job)
        if self.out is not None and tuple(self.out.shape) != shape:
            raise InputError(
                f"out must have the shape of the result, {shape}; got "
                f"{tuple(self.out.shape)}"
            )
        image = np.zeros(shape, np.float32) if self.out is None else self.out
        result = Result(image, given=self.out is not None)
        shared = False
        if self.overrides.state is None and wants_sharing(job, self.recipe):
            threads, keep = self.threads, self.resumable
            sweep = Sweep(job, self.recipe, self.overrides, threads, result, keep)
            shared = yield from sweep.run()
        if not shared:
            if self.recipe.share == "yes":
                result.warn(f"share: {NOT_SHARED}")
            yield from self.fit_planes(result)
        if not result.details:
            raise InputError(f"{job.name} must have known pixels; got nothing but NaN")
        return self.finished(result, self.recipe)

    def finished(self, result: Result, recipe: Recipe) -> Fit:
        """Return the result as a fit, with a way to go on if there is one."""
        summary, left = result.summary(recipe, self.job.layout), result.left
        if left is None:
            return summary

        def further(extra: int) -> Fitting:
            longer = recipe
            if not result.stopped:
                total = recipe.extra_iterations + extra
                longer = dataclasses.replace(recipe, extra_iterations=total)
            again = left.before.copy()
            yield from left.go_on(again, extra)
            return self.finished(again, longer)

        return dataclasses.replace(summary, resume=further)

    def fit_planes(
        self, result: Result, begun: _Begun | None = None
    ) -> Generator[Iterate, bool | None, None]:
        """Fit every plane by itself, or go on from one that was begun."""
        job, layout = self.job, self.job.layout
        first = 0 if begun is None else begun.number
        for number, index in list(enumerate(layout.indices()))[first:]:
            read = True
            try:
                given = job.take(index)
            except InputError as error:
                result.failed(number, error)
                read = False
                given = job.unread(index)
            unchanged = untouched(layout, given, job.factor)
            plane = Canvas(cast(unchanged, FLOAT32), job.factor)
            if result.stopped:
                result.not_begun.append(number)
            elif read:
                try:
                    pixels = job.pixels(index, given)
                    if begun is None or begun.number < number:
                        parts = self.parts(number, index, pixels, result)
                        begun = _Begun(number, parts)
                    yield from self.fit_plane(begun, index, pixels, plane, result)
                except (InputError, FitError) as error:
                    result.failed(number, error)
            plane.fill(unchanged, exact=self.recipe.dtype == "input")
            result.put(index, layout.arrange(plane.image))

    def parts(
        self, number: int, index: Index, pixels: Pixels | None, result: Result
    ) -> list[tuple[Block, Overrides]]:
        """Return the blocks of a plane, and what the user sets for each."""
        layout, known = self.job.layout, self.overrides.analysis
        blocks = [Block.whole(number, index, a.channels, layout.sides) for a in known]
        blocks = blocks or self.job.blocks(number, index, pixels)
        parts = self.cut(blocks, pixels)
        if self.overrides.state is not None and not layout.planes == len(parts) == 1:
            raise InputError("state: is of one fit; got a job of several")
        fitted = {c for block in blocks for c in block.channels}
        unknown = [str(c) for c in range(layout.channels) if c not in fitted]
        if unknown:
            which = f"channels {', '.join(unknown)} of " if blocks else ""
            result.warnings.append(
                f"{which}plane {number} came back unchanged: nothing but NaN"
            )
        return parts

    def fit_plane(
        self,
        begun: _Begun,
        index: Index,
        pixels: Pixels | None,
        plane: Canvas,
        result: Result,
    ) -> Any:
        """Fit the blocks of a plane, which is changed in place."""
        layout, number = self.job.layout, begun.number
        # Tiles are blended into what is there.
        tiled = any(any(map(any, block.halo)) for block, _ in begun.parts)
        blank = 0 if tiled else np.nan
        deviation = Canvas(np.full_like(plane.image, blank), self.job.factor)
        for count, (block, _) in enumerate(begun.parts):
            if result.stopped:
                which = f"channels {', '.join(map(str, block.channels))} of plane"
                result.warn(f"{which} {number} were not fitted before the stop")
                continue
            if pixels is not None and not block.is_known(pixels):
                result.warn(
                    f"a part of plane {number} came back unchanged: nothing but NaN"
                )
                continue
            done = begun.done.get(count)
            if done is None:
                done = yield from self.fit_part(begun, count, pixels, plane, result)
            plane.put(block, done.image)
            if done.deviation is not None:
                deviation.put(block, done.deviation)
        if deviation.fitted:
            result.put_deviation(index, layout.arrange(deviation.image))

    def fit_part(
        self,
        begun: _Begun,
        count: int,
        pixels: Pixels | None,
        plane: Canvas,
        result: Result,
    ) -> BlockFitting:
        """Fit one block of a plane, or go on with it, and add that to the result."""
        layout, number, parts = self.job.layout, begun.number, begun.parts
        block, overrides = parts[count]
        done: BlockFit
        only = layout.planes == len(parts) == 1
        before, seconds = result.before(), result.seconds
        ahead = len(parts) - count + (layout.planes - number - 1) * len(parts)

        def adapt(it: Iterate) -> Iterate:
            def render(finished: bool) -> NDArray[Any]:
                shown = plane.copy()
                shown.put(block, it.render(finished))
                return layout.arrange(shown.image)

            return dataclasses.replace(
                it,
                render=render,
                index=block.index,
                part=len(before.fits) + it.part,
                # Planes to come are taken to have as many blocks as this one.
                parts=len(before.fits) + ahead * it.parts,
                seconds=it.seconds + seconds,
            )

        fitting = begun.resumed or fit_block(
            self.job,
            self.recipe,
            block,
            overrides=overrides,
            pixels=pixels,
            threads=self.threads,
            resumable=self.resumable,
            keep_weights=only,
        )
        begun.resumed = None
        done, _ = yield from relay(fitting, adapt, None)
        result.add(done)
        resume, known = done.resume, dict(begun.done)
        if resume is not None and (result.stopped or only):

            def go_on(again: Result, extra: int) -> Any:
                rest = _Begun(number, parts, known, resume(extra))
                return self.fit_planes(again, rest)

            result.left = Left(before, go_on)
        done = dataclasses.replace(done, resume=None)
        if self.resumable:
            begun.done[count] = done
        return done

    def cut(
        self, blocks: list[Block], pixels: Pixels | None
    ) -> list[tuple[Block, Overrides]]:
        """Cut the blocks of a plane into tiles, if they are to be.

        The tiles share what is found out about the plane.
        """
        tile, layout, reach = self.recipe.tile, self.job.layout, self.job.reach
        whole = [(block, self.overrides) for block in blocks]
        side = None if isinstance(tile, str) else side_of(tile, layout.sides)
        if side is None or reach is None or pixels is None:
            return whole
        parts = []
        for block, overrides in whole:
            known = [a for a in overrides.analysis if a.channels == block.channels]
            if not known:
                plane = self.job.scaled(pixels, block)
                if plane.levels is not None:
                    parts.append((block, overrides))
                    continue
                known = [self.job.analyse(plane, block)]
            overrides = dataclasses.replace(overrides, analysis=tuple(known))
            parts += [(one, overrides) for one in block.tiled(side, reach)]
        return parts
