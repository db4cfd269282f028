"""The scheduler: the blocks of a job, one after the other, put together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dip.errors import InputError
from napari_dip.machine import MAX_SECONDS, budget, free_memory, load_torch
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import NUMBERS, Layout, LazyArray, is_lazy
from napari_dip.tasks.limit import in_time
from napari_dip.tasks.planes import Planes
from napari_dip.tasks.pool import Pool
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.record import Record, record_of
from napari_dip.tasks.result import Result
from napari_dip.tasks.running import Running, with_usual_settings
from napari_dip.tasks.setup import plans
from napari_dip.tasks.shared import wants_sharing
from napari_dip.tasks.sweep import Sweep
from napari_dip.tasks.task import Job, Overrides, Task

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Fitting

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
    "fitted by itself: the task or the preset needs whole planes, or too little "
    "is known in all channels"
)

NO_NEIGHBOURS = (
    "every plane was fitted by itself and saw no others; share=yes shares a network "
    "also in a small data set"
)


def get(name: str) -> Task:
    """Return a task by its name, with dashes or underscores."""
    module = TASKS.get(name.replace("-", "_")) if isinstance(name, str) else None
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
    """Run a task, yielding every iterate, with its image in the units of the input.

    The image is that of the plane that is being fitted, and belongs at `Iterate.index`
    of the result.  Send True to stop: planes not yet begun are returned as they came.
    So are planes of nothing but NaN, and those that fail after others are done, with a
    warning.

    With `resumable`, what is needed to go on later is kept in `Fit.resume`.  A job that
    was stopped goes on with the fit that ran and then with the rest, on the same pool.
    One that has ended by itself can only where it was a single fit: each would have to.

    The result is put into `out`, of its shape and of any type, such as an array in a
    file: all it has to do is to take ``out[index] = values``, part by part.  Of two
    arrays the second, of floats or None, takes the standard deviation.  Neither shares
    memory with an input, which is read to the end.

    Processes of a pool fit planes and tiles, or restore them by networks that they
    share.  A job of a single fit is fitted here, with so many CPU threads during a
    step; torch's number where not given.

    Raises
    ------
    InputError
        If the arrays cannot be used, before the first iteration is asked for.  Lazy
        arrays that are larger than the free memory are looked at plane by plane.
    """
    load_torch()
    from napari_dip.prior.runtime import usual_settings
    from napari_dip.prior.threads import threads_here

    threads_here.count()  # before torch is used, while no other fit changes it
    named = dict(zip((*task.arrays, *task.functions), arrays, strict=False))
    overrides = overrides or Overrides()
    with usual_settings():
        job = _job(task, recipe, arrays)
        _check_planes(job)
        _check_analysis(overrides.analysis, job.layout.channels)
        record = record_of(overrides.state)
        if record is not None:
            overrides = dataclasses.replace(overrides, state=None)
            record.check(recipe, job.layout, overrides, named)
    record = record or Record()
    running = Running(job, recipe, overrides, threads, pool, record, resumable)
    fitting = with_usual_settings(_restored(running, out, named))
    return fitting if budget(MAX_SECONDS) is None else in_time(fitting)


def _job(task: Task, recipe: Recipe, arrays: Sequence[Any]) -> Job:
    """Return the job of a task, which is not of tiles where it needs whole planes."""
    job = task.job(recipe, *arrays)
    subject = dict(zip(task.arrays, arrays, strict=False)).get(task.subject)
    if isinstance(subject, np.ma.MaskedArray):
        # Its masked values have become NaN; dtype="input" asks for its own type.
        layout = dataclasses.replace(job.layout, dtype=subject.dtype)
        job = dataclasses.replace(job, layout=layout)
    volumes = recipe.spatial_dims == 3
    if recipe.tile not in ("auto", None) and (job.reach is None or volumes):
        needs = "spatial_dims=3 needs whole volumes"
        if not volumes:
            needs = f"{task.name} needs whole planes"
        raise InputError(
            f"tile must be auto or None here, for {needs}; got {recipe.tile}"
        )
    if recipe.neighbours not in ("auto", 0):
        alone = "share=no fits every plane by itself"
        if volumes:
            alone = "spatial_dims=3 takes all planes together"
        elif not job.can_share:
            alone = f"planes share no network in {task.name} with such a preset"
        if volumes or recipe.share == "no" or not job.can_share:
            raise InputError(
                f"neighbours must be auto or 0 here, for {alone}; got "
                f"{recipe.neighbours}"
            )
    return job


def result_shape(job: Job) -> tuple[int, ...]:
    """Return the shape of what `run` makes of the arrays of a job."""
    layout = job.layout
    return layout.resized(tuple(job.factor * side for side in layout.sides))


def has_uncertainty(job: Job, recipe: Recipe) -> bool:
    """Return whether `run` can find the uncertainty of any plane.

    The planes are looked at until there is one; constant ones say nothing.
    """
    if recipe.restarts not in ("auto", 1):
        return True
    known = False
    for number, index in enumerate(job.layout.indices()):
        for _, preset, plan in plans(job, number, index):
            if preset.restarts > 1 or plan.deviation is not None:
                return True
            known = True
    return not known


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
    described = [c for analysis in given for c in analysis.channels]
    if given and sorted(described) != list(range(channels)):
        raise InputError(
            f"analysis must describe each of the {channels} channels of the image "
            f"once; got channels {described}"
        )


def _restored(running: Running, out: Any, inputs: Mapping[str, Any]) -> Fitting:
    """Restore all planes by networks that they share, or each by its own fits."""
    job, recipe, overrides = running.job, running.recipe, running.overrides
    shape = result_shape(job)
    image, deviation = out if isinstance(out, tuple) and len(out) == 2 else (out, None)
    if out is None:
        image = np.zeros(shape, np.float32)
    else:
        _check_out(image, shape)
    if deviation is not None:
        _check_out(deviation, shape, "f")
        _check_apart(deviation, {**inputs, "the first array of out": image})
    _check_apart(image, inputs)
    result = Result(image, out is not None, deviation)
    shared, given = False, overrides.networks is not None
    if given or (overrides.state is None and wants_sharing(job, recipe, overrides)):
        shared = yield from Sweep.of(running, result=result).run()
    if not shared:
        yield from Planes.of(running).fit(result)
    if not (result.details or result.stopped):
        raise InputError(f"{job.name} must have known pixels; got nothing but NaN")
    return _finished(result, recipe, job.layout)


def _check_out(out: Any, shape: tuple[int, ...], kinds: str = NUMBERS) -> None:
    """Raise unless a result of a shape can be put into an array of some kinds."""
    try:
        taken = tuple(out.shape)
        numbers = isinstance(out.dtype, np.dtype) and out.dtype.kind in kinds
    except (AttributeError, TypeError, RuntimeError):
        taken, numbers = (), False
    if not (numbers and hasattr(type(out), "__setitem__")):
        raise InputError(
            f"out must be an array of real numbers that can be written to, such as one "
            f"of NumPy, zarr or h5py, or two of them, the second of floats, for the "
            f"uncertainty; got {type(out).__name__}"
            + (f" of dtype {out.dtype}" if isinstance(out, np.ndarray) else "")
        )
    if taken != shape:
        raise InputError(f"out must have the shape of the result, {shape}; got {taken}")
    if hasattr(out, "__getitem__"):
        first = (0,) * len(shape)
        try:
            out[first] = out[first]
        except Exception as error:  # whatever another library raises
            raise InputError(f"out must take values; got {error}") from error


def _check_apart(out: Any, others: Mapping[str, Any]) -> None:
    """Raise if a result would be written over what is still to be read."""
    for name, values in others.items():
        shared = out is values
        # To look at lazy arrays would read them.
        if isinstance(out, np.ndarray) and not is_lazy(values):
            shared |= hasattr(values, "__array__") and np.shares_memory(out, values)
        if shared:
            raise InputError(
                f"out must be an array of its own; got one that shares memory with "
                f"{name}"
            )


def _finished(result: Result, recipe: Recipe, layout: Layout) -> Fit:
    """Return the result as a fit, with a way to go on if there is one."""
    if result.fits and result.networks is None:
        if recipe.share == "yes":
            result.warn(f"share: {NOT_SHARED}")
        elif recipe.neighbours not in ("auto", 0):
            result.warn(f"neighbours: {NO_NEIGHBOURS}")
    summary, left = result.summary(recipe, layout), result.left
    if left is None:
        return summary

    def further(extra: int) -> Fitting:
        longer = recipe
        if not result.stopped:
            total = recipe.extra_iterations + extra
            longer = dataclasses.replace(recipe, extra_iterations=total)
        again = left.before.copy()
        yield from left.go_on(again, extra)
        return _finished(again, longer, layout)

    return dataclasses.replace(summary, resume=further)
