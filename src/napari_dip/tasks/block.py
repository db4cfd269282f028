"""The fit of one block: a pure function of recipe, arrays, block and analysis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FitError, InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import narrowed
from napari_dip.tasks.plane import Pixels, Plane, per_channel
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.record import (
    Record,
    State,
    array,
    facts_of,
    fit_of,
    tensors,
)
from napari_dip.tasks.setup import restarts_of, seed_for, set_up
from napari_dip.tasks.task import Job, Overrides, Plan
from napari_dip.tasks.tiles import Block

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.problem import Fit, Fitting, Iterate
    from napari_dip.tasks.presets import Preset

ATTEMPTS = 3
"""Fits begun for one block before a stuck one is kept."""

NOT_FINISHED = "the slow filters at the end were left out: the user stopped them"
"""Warning of a fit that the user has stopped while its image was finished."""

GIVEN_UP = "given up"
"""Name in the state of a fit for why those before it were given up."""


@dataclass(frozen=True, eq=False)
class BlockFit:
    """What came of the fits of a block.

    Attributes
    ----------
    image : ndarray
        (C, Y, X) or (C, Z, Y, X), in the units of the input; float32, or float64 where
        float32 cannot hold it.
    deviation : ndarray, optional
        Standard deviation, of the same shape: the task's, or else that over the
        restarts where several were asked for.
    fits : list of Fit
        The fit of every restart; none where the image is constant.
    details : dict
        For the provenance, JSON-able.
    warnings : list of str
        What the user should know.
    resume : callable, optional
        Goes on with the fit, where that was asked for and it was single or stopped:
        ``resume(extra)`` is a generator like that of `fit_block`.
    """

    image: NDArray[Any]
    deviation: NDArray[Any] | None
    fits: list[Fit]
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    resume: Callable[[int], BlockFitting] | None = None

    def to_record(self) -> dict[str, Any] | None:
        """Return what a record keeps of it: all but the tensors of its fits.

        That is nothing where a fit was ended early: by the user, a limit or its device.
        """
        from napari_dip.prior.fit import is_unfinished

        if self.fits and is_unfinished(self.fits[-1].stopped_by):
            return None
        return {
            **tensors(image=self.image, deviation=self.deviation),
            "fits": [facts_of(fit) for fit in self.fits],
            "details": self.details,
            "warnings": self.warnings,
        }

    @classmethod
    def from_record(cls, part: State) -> BlockFit:
        """Return what a record has kept."""
        image = array(part, "image")
        assert image is not None
        fits = [fit_of(facts) for facts in part["fits"]]
        details, warnings = dict(part["details"]), list(part["warnings"])
        return cls(image, array(part, "deviation"), fits, details, warnings)


BlockFitting = Generator["Iterate", "bool | None", BlockFit]


def fit_block(
    job: Job,
    recipe: Recipe,
    block: Block,
    *,
    overrides: Overrides | None = None,
    pixels: Pixels | None = None,
    threads: int | None = None,
    resumable: bool = False,
    keep_weights: bool = False,
    record: Record | None = None,
    name: str = "",
) -> BlockFitting:
    """Fit one block, yielding every iteration.

    Parameters
    ----------
    job : Job
        The task with its arrays.
    recipe : Recipe
        Its parameters.
    block : Block
        What is fitted.
    overrides : Overrides, optional
        What the user sets in place of the preset.
    pixels : Pixels, optional
        The block's plane, where it has been read already.
    threads : int, optional
        CPU threads during a step.
    resumable : bool
        Whether to keep what is needed to go on later, if there is only one fit or the
        user stops it.
    keep_weights : bool
        Whether to keep the weights of the network, and the operator where one was
        fitted along, if there is only one fit.
    record : Record, optional
        Keeps its fits.
    name : str
        Name of the block there.

    Yields
    ------
    Iterate
        `image` is that of the block, (C, ...), in the units of the input.

    Returns
    -------
    BlockFit
        The result.
    """
    from napari_dip.prior import interrupt

    overrides = overrides or Overrides()
    if pixels is None:
        pixels = job.pixels(block.index, job.take(block.index))
    known = overrides.known(block.channels)
    scale = None if known is None else known.scale
    plane = None if pixels is None else job.scaled(pixels, block, scale)
    levels = None if plane is None else plane.levels
    if plane is not None and levels is not None:
        return _constant(job, recipe, block, plane, levels)
    interrupt.check()
    analysis = known or job.analyse(plane, block)
    preset = job.preset(analysis)
    interrupt.check()
    plan = job.plan(plane, block, analysis, preset)
    interrupt.check()
    dtype = None if plane is None else result_type(job, recipe, plane)
    options = {"threads": threads, "resumable": resumable, "keep_weights": keep_weights}
    fits = _Fits(
        recipe,
        block,
        overrides,
        plane,
        analysis,
        preset,
        plan,
        dtype,
        options,
        record or Record(),
        name,
    )
    return (yield from fits.all((), None))


@dataclass(eq=False)
class _Fits:
    """The fits of a block, from one seed or several.

    Attributes
    ----------
    recipe, block, overrides
        As for `fit_block`.
    plane, analysis, preset, plan
        What belongs to the block.
    dtype : numpy.dtype or None
        Type of its image.
    options : dict
        What the settings of every fit have beside those of the preset.
    record, name
        As for `fit_block`.
    """

    recipe: Recipe
    block: Block
    overrides: Overrides
    plane: Plane | None
    analysis: Analysis
    preset: Preset
    plan: Plan
    dtype: np.dtype[Any] | None
    options: dict[str, Any]
    record: Record
    name: str

    def __post_init__(self) -> None:
        plane, given = self.plane, self.overrides.state
        self.count = restarts_of(self.recipe, self.preset)
        if self.count > 1:
            self.options = {**self.options, "keep_weights": False}
        self.unit = 1.0 if plane is None else root_mean_square(plane.span)
        known = () if plane is None else plane.warnings
        self.warnings = [*known, *self.plan.warnings]
        self.state: dict[str, Any] | None = None
        # Why earlier attempts were given up, which decides on the seed of this one.
        self.given_up: list[str] = []
        if given is None:
            return
        if self.count > 1:
            raise InputError(f"state: is of one fit; got restarts={self.count}")
        self.begin_at(dict(given))

    def begin_at(self, state: dict[str, Any]) -> None:
        """Have the next fit go on from a state."""
        from napari_dip.prior.kinds import check_kind

        self.given_up, self.state = state.pop(GIVEN_UP, []), state
        check_kind(self.given_up, list[str], f"state: {GIVEN_UP}")
        if len(self.given_up) >= ATTEMPTS:
            raise InputError(
                f"state: {GIVEN_UP} must have fewer than {ATTEMPTS} reasons; got "
                f"{len(self.given_up)}"
            )

    def all(self, fits: tuple[Fit, ...], resumed: Fitting | None) -> BlockFitting:
        """Fit from all seeds that are left, and put the images together."""
        from napari_dip.prior.fit import DEVICE_FAILED, STOPPED
        from napari_dip.prior.runtime import device_errors

        resume = None
        while len(fits) < self.count:
            done = yield from self.one(fits, resumed)
            resume, resumed = done.resume, None
            self.warnings.extend(w for w in done.warnings if w not in self.warnings)
            # What it would take to go on is large.
            operator = done.operator if self.options["keep_weights"] else None
            fits += (dataclasses.replace(done, resume=None, operator=operator),)
            if done.stopped_by.startswith((STOPPED, DEVICE_FAILED)):
                break
        with device_errors():
            result = self.gathered(fits)
        if resume is None or (self.count > 1 and fits[-1].stopped_by != STOPPED):
            return result
        before = fits[:-1]
        return dataclasses.replace(
            result, resume=lambda extra: self.all(before, resume(extra))
        )

    def one(self, earlier: tuple[Fit, ...], resumed: Fitting | None) -> Fitting:
        """Fit from one seed, or go on with that, after those that are done."""
        done: Fit
        adapt, name = partial(self.shown, earlier), self.named(earlier)
        known = self.record.fit(name, self.recipe.device)
        if known is not None:
            return known
        running = self.record.running(name)
        if running is not None:
            self.begin_at(running)
        if resumed is not None:
            done, _ = yield from relay(resumed, adapt, None)
            return done
        for attempt in range(len(self.given_up), ATTEMPTS):
            failed = self.plan.failed if attempt < ATTEMPTS - 1 else None
            fitting = self.attempt(len(earlier), attempt)
            done, reason = yield from relay(fitting, adapt, failed)
            if reason is None:
                break
            self.given_up.append(f"{reason}: begun again from another seed")
            self.state = None
        self.state = None  # is of this fit alone
        self.warnings.extend(self.given_up)
        self.given_up.clear()
        if self.count > 1:
            self.record.put_fit(name, done)
        return done

    def named(self, earlier: tuple[Fit, ...]) -> str:
        """Return the name of the fit after others."""
        return f"{self.name}, restart {len(earlier)}"

    def attempt(self, restart: int, attempt: int) -> Fitting:
        """Begin a fit, from the state that is given if there is one."""
        from napari_dip.prior.fit import fit

        recipe, overrides = self.recipe, self.overrides
        number = self.block.plane * self.count + restart
        seed = seed_for(recipe.seed, number, attempt)
        problem, prior, settings = set_up(
            self.plan, self.preset, recipe, overrides, seed
        )
        settings = dataclasses.replace(settings, **self.options)
        return fit(
            problem, prior, settings, weights=overrides.weights, state=self.state
        )

    def shown(self, earlier: tuple[Fit, ...], it: Iterate) -> Iterate:
        """Return an iterate of a fit as one of the block, after earlier fits."""

        def checkpoint() -> dict[str, Any]:
            assert it.checkpoint is not None  # every fit has one
            return {**it.checkpoint(), GIVEN_UP: [*self.given_up]}

        def render(finished: bool) -> NDArray[Any]:
            averages = [*(f.average for f in earlier), it.average]
            return restored_image(self.plan, averages, self.dtype, preview=not finished)

        shown = dataclasses.replace(
            it,
            render=render,
            seconds=it.seconds + sum(f.seconds for f in earlier),
            part=len(earlier),
            parts=self.count,
            checkpoint=checkpoint,
            error=it.error * self.unit,
        )
        return self.record.noting(self.named(earlier), shown)

    def gathered(self, fits: tuple[Fit, ...]) -> BlockFit:
        """Return the image of all fits together."""
        from napari_dip.prior import interrupt
        from napari_dip.prior.fit import STOPPED

        plan, averages = self.plan, [f.average for f in fits]
        warnings = list(self.warnings)
        if plan.preview is None:
            image, deviation = restored(plan, averages, self.dtype)
        else:
            # A stop has ended the fit, another one ends the filters.
            ignored = int(fits[-1].stopped_by == STOPPED)
            try:
                with interrupt.allowed(ignored):
                    image, deviation = restored(plan, averages, self.dtype)
            except interrupt.Interrupted:
                fits = (*fits[:-1], dataclasses.replace(fits[-1], stopped_by=STOPPED))
                warnings.append(NOT_FINISHED)
                image, deviation = restored(plan, averages, self.dtype, preview=True)
        if not np.isfinite(image).all():
            raise FitError(
                "the fit has diverged, so that its image is not finite: parameters "
                "that are far from their defaults may be the reason"
            )
        if deviation is None and self.count > 1:
            images = [restored_image(plan, [a], self.dtype) for a in averages]
            deviation = np.std(images, axis=0)
        details = {
            **self.plan.details,
            **fits[-1].settings,
            **self.overrides.to_dict(),
            "analysis": self.analysis.to_dict(),
        }
        return BlockFit(image, deviation, list(fits), details, warnings)


def root_mean_square(values: NDArray[np.float64]) -> float:
    """Return the root of the mean of the squares of positive values of any size."""
    largest = values.max()
    return float(largest * np.sqrt(np.square(values / largest).mean()))


def result_type(job: Job, recipe: Recipe, plane: Plane) -> np.dtype[Any]:
    """Return the type of a block's image, which holds the input's where that is asked.

    Pixels that are kept as they came are then exact.
    """
    wanted = job.layout.dtype if recipe.dtype == "input" else np.float32
    return np.result_type(plane.dtype, np.float32, wanted)


def constant_image(
    plane: Plane, levels: NDArray[Any], sides: Sequence[int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the image of a plane whose channels have one value each: the same.

    It has the type that is asked for, or one that holds them exactly.
    """
    values = per_channel(levels, plane.pixels)
    values = values.astype(np.result_type(levels.dtype, np.float32))
    with np.errstate(over="ignore"):
        exact = (values.astype(dtype) == values).all()
    values = values.astype(dtype if exact else np.float64)
    return np.broadcast_to(values, (len(levels), *sides)).copy()


def _constant(
    job: Job, recipe: Recipe, block: Block, plane: Plane, levels: NDArray[Any]
) -> BlockFit:
    """Return the result of a block whose channels have one value each."""
    sides = [job.factor * side for side in plane.known.shape]
    image = constant_image(plane, levels, sides, result_type(job, recipe, plane))
    several = recipe.restarts not in ("auto", 1)
    return BlockFit(
        image,
        np.zeros_like(image) if several or job.uncertain else None,
        fits=[],
        details={"analysis": Analysis.of(plane, block.channels).to_dict()},
        warnings=list(plane.warnings),
    )


def fit_to_end(
    job: Job, recipe: Recipe, block: Block, overrides: Overrides | None = None
) -> BlockFit:
    """Fit one block of a job to its end.

    Recipe, arrays and blocks can be pickled, so that another process can make the job.
    """
    from napari_dip.prior.fit import run_to_end

    return run_to_end(fit_block(job, recipe, block, overrides=overrides))


def restored_image(
    plan: Plan,
    averages: Sequence[Tensor],
    dtype: np.dtype[Any] | None,
    *,
    preview: bool = False,
) -> NDArray[Any]:
    """Return the image of several averaged outputs, in the units of the input.

    It has the type that is asked for, or one that can hold it.  A `preview` is finished
    in less time.
    """
    step = (preview and plan.preview) or plan.finish
    return _in_units(plan, _finished(step, mean_of(averages)), dtype)


def restored(
    plan: Plan,
    averages: Sequence[Tensor],
    dtype: np.dtype[Any] | None,
    *,
    preview: bool = False,
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the image as `restored_image` does, and the task's deviation, if any."""
    mean = mean_of(averages)
    finished = _finished((preview and plan.preview) or plan.finish, mean)
    deviation = None if plan.deviation is None else plan.deviation(mean, finished)
    return _in_units(plan, finished, dtype), deviation


def mean_of(averages: Sequence[Tensor]) -> Tensor:
    """Return the mean of the averaged outputs of several fits."""
    return sum(averages[1:], start=averages[0]) / len(averages)


def _finished(step: Callable[[Tensor], Tensor] | None, mean: Tensor) -> Tensor:
    import torch

    if step is None:
        return mean
    with torch.no_grad():
        return step(mean)


def _in_units(
    plan: Plan, finished: Tensor, dtype: np.dtype[Any] | None
) -> NDArray[Any]:
    image = plan.to_units(finished[0].cpu().numpy())
    return image if dtype is None else narrowed(image, dtype)


def relay(
    fitting: Generator[Iterate, bool | None, Any],
    adapt: Callable[[Iterate], Iterate],
    failed: Callable[[Iterate], str | None] | None,
) -> Generator[Iterate, bool | None, tuple[Any, str | None]]:
    """Pass iterates on, adapted, and what is sent back; close what was opened.

    Returns what the generator returns, and why it was given up where `failed` said so.
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
        return end.value, None if stop else reason
    finally:
        fitting.close()
