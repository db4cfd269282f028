"""Fits from one seed or several, begun again where they are stuck."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_dip.errors import FitError, InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.plane import Plane
from napari_dip.tasks.running import Running
from napari_dip.tasks.setup import restarts_of, seed_for, set_up
from napari_dip.tasks.task import Plan

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Fitting, Iterate, Prior, Problem, Settings
    from napari_dip.tasks.presets import Preset

ATTEMPTS = 3
"""Fits begun from one seed before a stuck one is kept."""

COLLAPSED = 1.2
"""Squared error of an image over the variance of the values from which on the network
says less than a constant does: pure noise, predicted from its neighbours, has 1."""

GIVEN_UP = "given up"
"""Name in the state of a fit for why those before it were given up."""


@dataclass(eq=False, kw_only=True)
class Fits(ABC):
    """Fits of one problem, whose averages are put together."""

    running: Running
    """The job they belong to, whose record keeps them."""
    plane: Plane | None
    """What is fitted, scaled."""
    analysis: Analysis
    preset: Preset
    plan: Plan
    """What belongs to it."""
    seed: int
    """Seed of the job."""
    number: int = 0
    """Number of the first fit, of which its seed is made."""
    keep_weights: bool
    """Whether every fit gives the weights of its network."""
    name: str
    """Their name in the record."""

    def __post_init__(self) -> None:
        self.record, self.overrides = self.running.record, self.running.overrides
        self.count = restarts_of(self.running.recipe, self.preset)
        self.state: dict[str, Any] | None = None
        # Why earlier attempts were given up, which decides on the seed of this one.
        self.given_up: list[str] = []
        given = self.overrides.state
        if given is None:
            return
        if self.count > 1:
            raise InputError(f"state: is of one fit; got restarts={self.count}")
        self.begin_at(dict(given))

    @property
    def alone(self) -> bool:
        """Whether there is one fit, of which nothing is kept but what it leads to."""
        return self.count == 1

    @abstractmethod
    def gathered(self, fits: tuple[Fit, ...]) -> Any:
        """Return what comes of all fits together, with a field `resume`."""

    @abstractmethod
    def rendered(
        self, earlier: tuple[Fit, ...], it: Iterate, finished: bool
    ) -> NDArray[Any]:
        """Return the image of an iterate, after fits that are done."""

    def failed(self, it: Iterate) -> str | None:
        """Return why a fit is given up, None where it goes on."""
        reason = None if self.plan.failed is None else self.plan.failed(it)
        if reason is None and it.last and it.step >= self.preset.check_every:
            collapsed = _says_nothing(self.plan.problem, it)
            reason = predicted_nothing(it) if collapsed else None
        return reason

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

    def all(
        self, fits: tuple[Fit, ...] = (), resumed: Fitting | None = None
    ) -> Generator[Iterate, bool | None, Any]:
        """Fit from all seeds that are left, and put the fits together.

        After those that are done, `resumed` goes on with one that was stopped.
        """
        from napari_dip.prior.fit import DEVICE_FAILED, STOPPED, is_unfinished
        from napari_dip.prior.runtime import device_errors

        resume = None
        while len(fits) < self.count:
            done = yield from self.one(fits, resumed)
            resume, resumed = done.resume, None
            # What it would take to go on is large.
            operator = done.operator if self.keep_weights else None
            fits += (dataclasses.replace(done, resume=None, operator=operator),)
            if is_unfinished(done.stopped_by, STOPPED, DEVICE_FAILED):
                break
        with device_errors():
            result = self.gathered(fits)
        if resume is None or not (self.alone or fits[-1].stopped_by == STOPPED):
            return result
        before = fits[:-1]
        return dataclasses.replace(
            result, resume=lambda extra: self.all(before, resume(extra))
        )

    def one(self, earlier: tuple[Fit, ...], resumed: Fitting | None) -> Fitting:
        """Fit from one seed, or go on with that fit, after those that are done."""
        from napari_dip.prior.loop import NO_IMAGE

        done: Fit
        name = self.named(earlier)
        known = self.record.fit(name, self.running.recipe.device)
        if known is not None:
            return known
        running = self.record.running(name)
        if running is not None:
            self.begin_at(running)
        adapt = partial(self.shown, earlier)
        for attempt in range(len(self.given_up), ATTEMPTS):
            fitting = resumed or self.begin(len(earlier), attempt)
            failed = self.failed if attempt < ATTEMPTS - 1 else None
            done, reason = yield from relay(fitting, adapt, failed)
            resumed = self.state = None
            if reason is None:
                break
            self.given_up.append(f"{reason}: begun again from another seed")
        if NO_IMAGE in done.warnings:
            raise FitError(f"{NO_IMAGE}: {done.stopped_by}")
        self.state = None  # is of this fit alone
        done = dataclasses.replace(done, warnings=[*self.given_up, *done.warnings])
        self.given_up.clear()
        if not self.alone:
            self.record.put_fit(name, done)
        return done

    def named(self, earlier: tuple[Fit, ...]) -> str:
        """Return the name of the fit after others."""
        return f"{self.name}, restart {len(earlier)}"

    def begin(self, restart: int, attempt: int) -> Fitting:
        """Begin a fit, from the state that is given if there is one."""
        from napari_dip.prior.fit import fit

        weights = self.overrides.weights
        return fit(*self.set_up(restart, attempt), weights=weights, state=self.state)

    def set_up(
        self, restart: int = 0, attempt: int = 0
    ) -> tuple[Problem, Prior, Settings]:
        """Return what a fit takes."""
        running = self.running
        seed = seed_for(self.seed, self.number + restart, attempt)
        problem, prior, settings = set_up(
            self.plan, self.preset, running.recipe, running.overrides, seed
        )
        own = dataclasses.replace(
            settings,
            threads=running.threads,
            resumable=running.resumable,
            keep_weights=self.keep_weights,
        )
        return problem, prior, own

    def shown(self, earlier: tuple[Fit, ...], it: Iterate) -> Iterate:
        """Return an iterate of a fit as one of all, after earlier fits."""

        def checkpoint() -> dict[str, Any]:
            assert it.checkpoint is not None  # every fit has one
            return {**it.checkpoint(), GIVEN_UP: [*self.given_up]}

        shown = dataclasses.replace(
            it,
            render=partial(self.rendered, earlier, it),
            seconds=it.seconds + sum(f.seconds for f in earlier),
            part=len(earlier),
            parts=self.count,
            checkpoint=checkpoint,
            error=it.error * (self.plane or self.plan).unit,
        )
        return self.record.noting(self.named(earlier), shown)

    def details(self, fits: tuple[Fit, ...]) -> dict[str, Any]:
        """Return what the provenance says of fits."""
        return {
            **self.plan.details,
            **fits[-1].settings,
            **self.overrides.to_dict(),
            "analysis": self.analysis.to_dict(),
        }


def predicted_nothing(it: Iterate) -> str:
    """Return why a fit is given up whose network says less than a constant does."""
    return f"the network predicted nothing after {it.step} iterations"


def _says_nothing(problem: Problem, it: Iterate) -> bool:
    """Return whether constant channels are nearer to the measurement than an image is.

    The large steps of some fits lead there now and then.
    """
    if problem.operator is not None:
        return False
    values, average = problem.measurement[0], it.average[0].cpu()
    weight = problem.weight
    known = values.new_ones(1) if weight is None else weight[0]
    known = (known > 0).expand_as(values)
    error = variance = 0.0
    for channel, restored, usable in zip(values, average, known, strict=True):
        error += float((restored - channel)[usable].square().sum())
        variance += float(channel[usable].var(correction=0)) * int(usable.sum())
    return error > COLLAPSED * variance


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
