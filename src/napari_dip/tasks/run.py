"""The scheduler: the blocks of a job, one after the other, put together."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FitError, InputError
from napari_dip.machine import MAX_SECONDS, budget, deadline, free_memory
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import FLOAT32, Index, LazyArray, cast
from napari_dip.tasks.block import (
    BlockFit,
    BlockFitting,
    fit_block,
    fit_to_end,
    relay,
)
from napari_dip.tasks.plane import Pixels
from napari_dip.tasks.pool import Call, Here, Pool, no_fit
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.result import Canvas, Left, Result, untouched
from napari_dip.tasks.shared import wants_sharing
from napari_dip.tasks.sweep import Sweep
from napari_dip.tasks.task import Job, Overrides, Task
from napari_dip.tasks.tiles import Block, side_of

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Fitting, Iterate

T = TypeVar("T")

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
    pool: Pool | None = None,
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
        stopped goes on with the fit that ran and then with the rest, on the same pool.
        One that has ended by itself can only where it was a single fit: each would have
        to.
    out : array, optional
        Where the result is put, of its shape and of any type, such as an array in a
        file: all it has to do is to take ``out[index] = values``, part by part.
    pool : Pool, optional
        Other processes, which fit planes and tiles, or restore them by networks that
        they share.  A job of a single fit is fitted here.

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
    fitting = _Scheduler(
        job, recipe, overrides, threads, resumable, out, pool or Here(job)
    ).run()
    return fitting if budget(MAX_SECONDS) is None else _in_time(fitting)


def result_shape(task: Task, recipe: Recipe, arrays: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape of what `run` makes of arrays."""
    return _shape(task.make_job(recipe, *arrays))


def _shape(job: Job) -> tuple[int, ...]:
    layout = job.layout
    return layout.resized(tuple(job.factor * side for side in layout.sides))


def _in_time(fitting: Fitting) -> Fitting:
    """Stop a job as the user would, once it has taken all the time it may."""
    from napari_dip.prior.fit import STOPPED

    fit, reason = yield from until_late(fitting)
    if reason is not None and STOPPED in fit.stopped_by:
        ended = fit.stopped_by.replace(STOPPED, reason)
        warnings = [*fit.warnings, f"the fit was stopped by {reason}"]
        fit = dataclasses.replace(fit, stopped_by=ended, warnings=warnings)
    resume = fit.resume
    if resume is None:
        return fit
    return dataclasses.replace(fit, resume=lambda extra: _in_time(resume(extra)))


def until_late(
    fitting: Generator[Iterate, bool | None, T],
) -> Generator[Iterate, bool | None, tuple[T, str | None]]:
    """Stop a fit once it has taken all the time that the user has set, if any.

    Returns what the fit returns, and the limit where that has stopped it.
    """
    from napari_dip.prior.fit import TIME_UP

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

    return (yield from relay(fitting, adapt, is_late))


def _check_planes(job: Job) -> None:
    """Raise if a plane cannot be fitted, before any work is spent on the others."""
    layout, memory = job.layout, free_memory()
    values = math.prod(layout.shape)
    # A plane is looked at in float64, several times.
    needed = max(values * layout.dtype.itemsize, 4 * 8 * values // layout.planes)
    if isinstance(job.image, LazyArray) and memory is not None and needed > memory:
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


@dataclass(eq=False)
class _Begun:
    """A plane that is being fitted.

    Attributes
    ----------
    number : int
        Its number.
    index : tuple
        Its index in the array.
    given : ndarray or None
        The plane as it came.
    pixels : Pixels, optional
        What is known of it.
    parts : list of tuple
        What is fitted: its blocks, or tiles of them, and what the user sets for each.
    calls : dict of int to Call
        The fits of the parts by other processes, by the numbers of the parts; empty
        where this one fits them.
    error : Exception, optional
        Why it cannot be fitted.
    done : dict of int to BlockFit
        The fits that are done.
    resumed : generator, optional
        Goes on with the next part, which was stopped.
    """

    number: int
    index: Index
    given: NDArray[Any] | None
    pixels: Pixels | None = None
    parts: list[tuple[Block, Overrides]] = field(default_factory=list)
    calls: dict[int, Call] = field(default_factory=dict)
    error: Exception | None = None
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
    pool: Pool

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
        given = self.overrides.networks is not None
        if given or (self.overrides.state is None and wants_sharing(job, self.recipe)):
            sweep = Sweep(
                job,
                self.recipe,
                self.overrides,
                self.threads,
                result,
                self.pool,
                self.resumable,
            )
            shared = yield from sweep.run()
        if not shared:
            if self.recipe.share == "yes":
                result.warn(f"share: {NOT_SHARED}")
            yield from self.fit_planes(result)
        if not (result.details or result.stopped):
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
        self, result: Result, rest: _Begun | None = None
    ) -> Generator[Iterate, bool | None, None]:
        """Fit every plane by itself, or go on from one that was begun."""
        begun = deque([] if rest is None else [rest])
        first = 0 if rest is None else rest.number + 1
        for number, index in list(enumerate(self.job.layout.indices()))[first:]:
            while len(begun) > self.pool.ahead:
                yield from self.end(begun.popleft(), result)
            begun.append(self.begin(number, index, result))
        for plane in begun:
            yield from self.end(plane, result)

    def begin(self, number: int, index: Index, result: Result) -> _Begun:
        """Read a plane, and have its blocks fitted if other processes can do it."""
        job = self.job
        try:
            given = job.take(index)
        except InputError as error:
            return _Begun(number, index, job.unread(index), error=error)
        begun = _Begun(number, index, given)
        if result.stopped:
            return begun
        try:
            begun.pixels = job.pixels(index, given)
            known = self.overrides.analysis
            sides = job.layout.sides
            blocks = [Block.whole(number, index, a.channels, sides) for a in known]
            blocks = blocks or job.blocks(number, index, begun.pixels)
            begun.parts = self.cut(blocks, begun.pixels)
            if self.overrides.state is not None and not self.is_single(begun):
                raise InputError("state: is of one fit; got a job of several")
        except (InputError, FitError) as error:
            begun.error = error
        else:
            begun.calls = self.calls(begun)
        return begun

    def is_single(self, begun: _Begun) -> bool:
        """Return whether the job has no other blocks than one of a plane."""
        return self.job.layout.planes == len(begun.parts) == 1

    def calls(self, begun: _Begun) -> dict[int, Call]:
        """Have the parts of a plane fitted that are left, by other processes."""
        if not self.pool.ahead or self.is_single(begun):
            return {}
        return {
            count: self.pool.submit(fit_to_end, self.recipe, block, overrides)
            for count, (block, overrides) in enumerate(begun.parts)
            if count not in begun.done
        }

    def end(
        self, begun: _Begun, result: Result
    ) -> Generator[Iterate, bool | None, None]:
        """Put the fits of a plane into the result."""
        job, number = self.job, begun.number
        unchanged = untouched(job.layout, begun.given, job.factor)
        plane = Canvas(cast(unchanged, FLOAT32), job.factor)
        try:
            if begun.error is not None:
                raise begun.error
            if result.stopped:
                result.not_begun.append(number)
            else:
                yield from self.fit_plane(begun, plane, result)
        except (InputError, FitError) as error:
            if not result.details:
                raise  # nothing would be lost
            result.failed(number, error)
        finally:
            for call in begun.calls.values():
                call.cancel()
        plane.fill(unchanged, exact=self.recipe.dtype == "input")
        result.put(begun.index, job.layout.arrange(plane.image))

    def fit_plane(self, begun: _Begun, plane: Canvas, result: Result) -> Any:
        """Fit the blocks of a plane, which is changed in place."""
        layout, number, pixels = self.job.layout, begun.number, begun.pixels
        fitted = {c for block, _ in begun.parts for c in block.channels}
        unknown = [str(c) for c in range(layout.channels) if c not in fitted]
        if unknown:
            which = f"channels {', '.join(unknown)} of " if fitted else ""
            result.warn(f"{which}plane {number} came back unchanged: nothing but NaN")
        # Tiles are blended into what is there.
        tiled = any(any(map(any, block.halo)) for block, _ in begun.parts)
        blank = 0 if tiled else np.nan
        deviation = Canvas(np.full_like(plane.image, blank), self.job.factor)
        for count, (block, _) in enumerate(begun.parts):
            if pixels is not None and not block.is_known(pixels):
                result.warn(
                    f"a part of plane {number} came back unchanged: nothing but NaN"
                )
                continue
            done = begun.done.get(count)
            if done is None and not result.stopped:
                done = yield from self.fit_part(begun, count, plane, result)
            if done is None:
                which = f"channels {', '.join(map(str, block.channels))} of plane"
                result.warn(f"{which} {number} were not fitted before the stop")
                continue
            plane.put(block, done.image)
            if done.deviation is not None:
                deviation.put(block, done.deviation)
        if deviation.fitted:
            result.put_deviation(begun.index, layout.arrange(deviation.image))

    def fit_part(
        self, begun: _Begun, count: int, plane: Canvas, result: Result
    ) -> Generator[Iterate, bool | None, BlockFit | None]:
        """Fit a part of a plane, or go on with it, and add that to the result.

        There is no fit if another process was at it when the user stopped the job.
        """
        layout, parts = self.job.layout, begun.parts
        block, overrides = parts[count]
        before, seconds = result.before(), result.seconds
        ahead = len(parts) - count + (layout.planes - begun.number - 1) * len(parts)

        def adapt(it: Iterate) -> Iterate:
            def render(finished: bool) -> NDArray[Any]:
                shown = plane.copy()
                shown.put(block, it.render(finished))
                return layout.arrange(shown.image)

            return dataclasses.replace(
                it,
                render=render,
                index=begun.index,
                part=len(before.fits) + it.part,
                # Planes to come are taken to have as many blocks as this one.
                parts=len(before.fits) + ahead * it.parts,
                seconds=it.seconds + seconds,
            )

        done: BlockFit | None
        if begun.calls:
            shown = dataclasses.replace(
                adapt(no_fit()),
                render=lambda finished: layout.arrange(plane.image.copy()),
            )
            done = yield from awaited(begun.calls[count], shown)
        else:
            fitting = begun.resumed or fit_block(
                self.job,
                self.recipe,
                block,
                overrides=overrides,
                pixels=begun.pixels,
                threads=self.threads,
                resumable=self.resumable,
                keep_weights=self.is_single(begun),
            )
            begun.resumed = None
            done, _ = yield from relay(fitting, adapt, None)
        if done is None:
            result.stopped = True
        else:
            result.add(done)
        if self.resumable:
            self.keep(begun, count, done, before, result)
        return done

    def keep(
        self,
        begun: _Begun,
        count: int,
        done: BlockFit | None,
        before: Result,
        result: Result,
    ) -> None:
        """Keep the fit of a part of a plane, and how to go on from it."""
        known = dict(begun.done)
        resume = None if done is None else done.resume
        if done is not None:
            begun.done[count] = dataclasses.replace(done, resume=None)
            if resume is None or not (result.stopped or self.is_single(begun)):
                return

        def go_on(again: Result, extra: int) -> Any:
            resumed = None if resume is None else resume(extra)
            rest = dataclasses.replace(begun, done=known, resumed=resumed)
            rest.calls = self.calls(rest)
            return self.fit_planes(again, rest)

        result.left = Left(before, go_on)

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


def awaited(
    call: Call, shown: Iterate
) -> Generator[Iterate, bool | None, BlockFit | None]:
    """Wait for a block that another process fits; return None after a stop."""
    while not call.wait(0.5):
        if (yield shown):
            return None
    done: BlockFit = call.result()
    return None if (yield shown) else done
