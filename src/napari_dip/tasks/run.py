"""What turns a recipe and arrays into fits, for every task alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks import channels
from napari_dip.tasks.arrays import Float, Layout, cast, prepare
from napari_dip.tasks.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.problem import Fit, Fitting, Iterate, Prior, Problem, Settings

ATTEMPTS = 3
"""Fits begun for one image before a stuck one is kept."""

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


@dataclass(frozen=True)
class Plan:
    """One fit of a task, ready to run.

    Attributes
    ----------
    problem, prior, settings
        For `napari_dip.prior.fit.fit`.
    restore : callable
        Brings the result, float32 (C, ...), back to the units of the input.
    details : dict
        What was found out about the image, JSON-able, for the provenance.
    warnings : list of str
        What the user should know about the input.
    failed : callable, optional
        Looks at an iterate and says, with a reason, that the fit is stuck and
        should begin again from another seed; None goes on.
    """

    problem: Problem
    prior: Prior
    settings: Settings
    restore: Callable[[Float], Float]
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    failed: Callable[[Iterate], str | None] | None = None


@dataclass(frozen=True)
class Part:
    """What one fit is for.

    Attributes
    ----------
    index : tuple
        Of the plane.
    channels : tuple of int
        Those of the plane that are fitted.
    seed : int
        Of the fit.
    """

    index: tuple[int | slice, ...]
    channels: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Job:
    """A task with its arrays checked.

    Attributes
    ----------
    image : array, optional
        That the fits are cut from, if any.
    layout : Layout
        Of the result, and of `image`.
    sides : tuple of int
        Spatial sides of the result, multiples of the input's.
    plan : callable
        Maps the pixels of a part, channels first (None without an image), and the
        `Part` to its `Plan`.
    restarts : int
        Fits of every part, averaged.
    apart : bool
        Whether channels that have nothing in common are fitted one by one.
    """

    image: Any
    layout: Layout
    sides: tuple[int, ...]
    plan: Callable[[Any, Part], Plan]
    restarts: int = 1
    apart: bool = True

    def pixels(self, index: tuple[int | slice, ...]) -> NDArray[Any] | None:
        """Return a plane as it came, channels first."""
        return None if self.image is None else self.layout.take(self.image, index)

    def first_plan(self, seed: int) -> Plan:
        """Return the first fit of the first plane."""
        index = next(self.layout.indices())
        pixels = self.pixels(index)
        group = self.groups(pixels)[0]
        chosen = None if pixels is None else pixels[list(group)]
        return self.plan(chosen, Part(index, group, seed))

    def groups(self, pixels: NDArray[Any] | None) -> tuple[tuple[int, ...], ...]:
        """Return the channels of a plane that are fitted together."""
        if pixels is None or len(pixels) == 1 or not self.apart:
            return (tuple(range(self.layout.channels)),)
        return channels.groups(prepare(pixels, "image"))


@dataclass(frozen=True)
class Task:
    """A task: its parameters, its arrays and how to begin.

    Attributes
    ----------
    recipe : type of Recipe
        The parameters.
    arrays : dict of str to str
        Names of the array arguments and what they are, for the documentation.
    start : callable
        ``start(recipe, *arrays)`` checks the arrays and returns a `Job`; the device,
        the precision and the seed of its plans are left to `begin`.
    summary : str
        What it does: one line, then paragraphs.
    notes : str
        Sources, for the documentation.
    from_files : bool
        Whether its arguments can come from files: the command line needs that.
    objects : dict of str to str
        Those of `arrays` that are no arrays but something else, such as a model, and
        their types; the command line passes them on as text.
    functions : dict of str to str
        Names of optional keyword arguments that are functions, and what they are;
        `start` gets them after the arrays, None where not given.
    positional : tuple of str
        Parameters that may also be given by position, after the arrays.
    like : str
        Name of the array that the result is like, if not the first.
    """

    recipe: type[Recipe]
    arrays: dict[str, str]
    start: Callable[..., Job]
    summary: str
    notes: str = ""
    from_files: bool = True
    objects: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    positional: tuple[str, ...] = ()
    like: str = ""

    def begin(self, recipe: Recipe, *arrays: Any) -> Job:
        """Return the job of `start`, with what every recipe says about its fits."""
        job = self.start(recipe, *arrays)

        def plan(pixels: Any, part: Part) -> Plan:
            made = job.plan(pixels, part)
            settings = dataclasses.replace(
                made.settings,
                extra_iterations=recipe.extra_iterations,
                device=recipe.device,
                precision=recipe.precision,
                seed=part.seed,
            )
            return dataclasses.replace(made, settings=settings)

        return dataclasses.replace(job, plan=plan)

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.recipe.task

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the arguments that are arrays."""
        return tuple(name for name in self.arrays if name not in self.objects)

    @property
    def subject(self) -> str:
        """Name of the array whose units, scale and axes the result has."""
        return self.like or next(iter(self.files), "")


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
    threads : int, optional
        CPU threads during a step; torch's number where not given.
    resumable : bool
        Whether to keep what is needed to go on later, in `Fit.resume`.  A job of
        several fits, for planes or restarts, cannot: each would have to.

    Yields
    ------
    Iterate
        `image` is an array in the units of the input, of the plane that is being
        fitted; it belongs at `index` of the result.  Send True to stop: planes
        not yet begun are returned as they came.

    Returns
    -------
    Fit
        With arrays for tensors.
    """
    # Checked at the call, before the first iteration is asked for.
    job = task.begin(recipe, *arrays)
    resumable = resumable and job.layout.planes == 1
    return _run(job, recipe, {"threads": threads, "resumable": resumable})


def _run(job: Job, recipe: Recipe, more: dict[str, Any]) -> Fitting:
    from napari_dip.prior.fit import STOPPED, fit

    layout = job.layout
    result = np.empty(layout.resized(job.sides), np.float32)
    spread = np.zeros_like(result) if job.restarts > 1 else None
    fits: list[Fit] = []
    details: list[dict[str, Any]] = []
    warnings: list[str] = []
    for plane, index in enumerate(layout.indices()):
        pixels = job.pixels(index)
        whole = _untouched(layout, pixels, job.sides)
        deviation = np.zeros_like(whole)
        groups = job.groups(pixels)
        planned = job.restarts * len(groups)
        for number, group in enumerate(groups):
            if fits and fits[-1].stopped_by == STOPPED:
                what = f"channels {', '.join(map(str, group))} of " if number else ""
                warnings.append(f"{what}plane {plane} was not fitted before the stop")
                if not number:
                    break
                continue
            averages: list[Tensor] = []
            for restart in range(job.restarts):
                for attempt in range(ATTEMPTS):
                    seed = recipe.seed + 104729 * (plane * job.restarts + restart)
                    seed = (seed + 15485863 * attempt) % 2**31
                    part = Part(index, group, seed)
                    chosen = None if pixels is None else pixels[list(group)]
                    running = _Running(
                        job.plan(chosen, part),
                        layout,
                        part,
                        whole,
                        plane * planned + number * job.restarts + restart,
                        layout.planes * planned,
                        sum(f.seconds for f in fits),
                        tuple(averages),
                    )
                    plan = running.plan
                    settings = dataclasses.replace(plan.settings, **more)
                    if planned > 1:
                        settings = dataclasses.replace(settings, resumable=False)
                    fitting = fit(plan.problem, plan.prior, settings)
                    failed = plan.failed if attempt < ATTEMPTS - 1 else None
                    done, reason = yield from _relay(fitting, running.adapt, failed)
                    if reason is None:
                        break
                    warnings.append(f"{reason}: begun again from another seed")
                fits.append(done)
                averages.append(done.average)
                new = plan.warnings + done.warnings
                warnings += [w for w in new if w not in warnings]
                if done.stopped_by == STOPPED:
                    break
            details.append({**plan.details, **done.settings})
            if len(groups) > 1:
                details[-1]["channels"] = list(group)
            if spread is not None:
                each = [running.restored([a]) for a in averages]
                deviation[list(group)] = np.std(each, axis=0)
            whole = running.filled(averages)
        result[index] = layout.arrange(whole)
        if spread is not None:
            spread[index] = layout.arrange(deviation)
    summary = _summary(recipe, layout, result, spread, fits, details, warnings)
    if not done.resume:
        return summary
    return _resumable(summary, recipe, running, done)


def _resumable(summary: Fit, recipe: Recipe, running: _Running, done: Fit) -> Fit:
    """Return the summary of the only fit of a job, with a way to go on."""
    from napari_dip.prior.fit import STOPPED

    resume = done.resume
    assert resume is not None

    def further(extra: int) -> Fitting:
        changed = recipe
        if done.stopped_by != STOPPED:
            total = recipe.extra_iterations + extra
            changed = dataclasses.replace(recipe, extra_iterations=total)
        longer, _ = yield from _relay(resume(extra), running.adapt, None)
        result = np.empty_like(summary.image, np.float32)
        result[running.part.index] = running.array([longer.average])
        again = _summary(
            changed,
            running.layout,
            result,
            None,
            [longer],
            summary.settings["planes"],
            list(dict.fromkeys([*summary.warnings, *longer.warnings])),
        )
        return _resumable(again, changed, running, longer)

    return dataclasses.replace(summary, resume=further)


@dataclass(frozen=True, eq=False)
class _Running:
    """One of the fits of a job."""

    plan: Plan
    layout: Layout
    part: Part
    whole: Float
    """The plane, channels first, with what is known of its other channels."""
    number: int
    total: int
    seconds: float
    """Spent on the fits before it."""
    before: tuple[Tensor, ...]
    """Averaged outputs of the same part from other seeds."""

    def restored(self, averages: Sequence[Tensor]) -> Float:
        """Return the channels of several averaged outputs, in the input's units."""
        mean = sum(averages[1:], start=averages[0]) / len(averages)
        finish = self.plan.problem.finish
        values = mean if finish is None else finish(mean)
        return self.plan.restore(values[0].cpu().numpy())

    def filled(self, averages: Sequence[Tensor]) -> Float:
        """Return the plane with these channels, channels first."""
        whole = self.whole.copy()
        whole[list(self.part.channels)] = self.restored(averages)
        return whole

    def array(self, averages: Sequence[Tensor]) -> NDArray[Any]:
        """Return the plane with these channels, in the layout of the input."""
        return self.layout.arrange(self.filled(averages))

    def adapt(self, it: Iterate) -> Iterate:
        """Return an iterate of this fit as one of the whole job."""
        return dataclasses.replace(
            it,
            render=lambda: self.array([*self.before, it.average]),
            index=self.part.index,
            part=self.number,
            parts=self.total,
            seconds=it.seconds + self.seconds,
        )


def _relay(
    fitting: Fitting,
    adapt: Callable[[Iterate], Iterate],
    failed: Callable[[Iterate], str | None] | None,
) -> Generator[Iterate, bool | None, tuple[Fit, str | None]]:
    """Pass iterates on, adapted, and what is sent back; close what was opened.

    Returns the fit, and why it was given up where `failed` said so.
    """
    reason: str | None = None
    stop: bool | None = None
    try:
        while True:
            # A generator that has not begun takes nothing but None.
            iterate = fitting.send(bool(stop or reason) or None)
            reason = failed(iterate) if failed is not None and not stop else None
            stop = yield adapt(iterate)
    except StopIteration as end:
        done: Fit = end.value
        return done, None if stop else reason
    finally:
        fitting.close()


def _untouched(
    layout: Layout, pixels: NDArray[Any] | None, sides: tuple[int, ...]
) -> Float:
    """Return a plane as it came, repeated to the size of the result."""
    if pixels is None:
        return np.zeros((layout.channels, *sides), np.float32)
    for axis, (new, old) in enumerate(zip(sides, layout.sides, strict=True), start=1):
        pixels = pixels.repeat(new // old, axis=axis)
    return pixels.astype(np.float32)


def _summary(
    recipe: Recipe,
    layout: Layout,
    result: Float,
    spread: Float | None,
    fits: Sequence[Fit],
    details: Sequence[dict[str, Any]],
    warnings: list[str],
) -> Fit:
    """Put the fits of all planes together into one."""
    from napari_dip.prior.problem import Fit

    reasons = list(dict.fromkeys(f.stopped_by for f in fits)) or ["no fit needed"]
    history = [
        {**entry, "part": part} for part, f in enumerate(fits) for entry in f.history
    ]
    return Fit(
        image=cast(result, layout.dtype) if recipe.dtype == "input" else result,
        average=None,
        stopped_by="; ".join(reasons),
        iterations=sum(f.iterations for f in fits),
        best_iteration=fits[0].best_iteration if len(fits) == 1 else -1,
        seconds=sum(f.seconds for f in fits),
        history=history,
        settings={"recipe": recipe.to_dict(), "planes": list(details)},
        warnings=warnings,
        uncertainty=spread,
        operator=fits[0].operator if len(fits) == 1 else None,
    )
