"""What all that restores the planes of a job has in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from napari_dip.tasks.pool import Calls, Here, Pool
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.record import Record
from napari_dip.tasks.task import Job, Overrides

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Fitting

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(eq=False)
class Running:
    """A job that runs."""

    job: Job
    """The task with its arrays."""
    recipe: Recipe
    overrides: Overrides = field(default_factory=Overrides)
    threads: int | None = None
    """As for `napari_dip.tasks.run.run`."""
    processes: Pool | None = None
    """Other processes, where planes and tiles are fitted, tested and restored."""
    record: Record = field(default_factory=Record)
    """Keeps what is done."""
    resumable: bool = False
    """Whether to keep what is needed to go on after a stop."""

    @classmethod
    def of(cls, running: Running, **more: Any) -> Self:
        """Return a part of a job that runs, with what it has beside that or instead."""
        common = {f.name: getattr(running, f.name) for f in dataclasses.fields(Running)}
        return cls(**common | more)

    @cached_property
    def pool(self) -> Pool:
        """Where planes and tiles are fitted, tested and restored."""
        return self.processes or Here(self.job)

    @cached_property
    def calls(self) -> Calls:
        """Calls whose results are kept."""
        return Calls(self.pool, self.record)


def usual(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that computes as torch does by default."""

    @wraps(function)
    def computed(*arguments: P.args, **keywords: P.kwargs) -> T:
        from napari_dip.prior.runtime import usual_settings

        with usual_settings():
            return function(*arguments, **keywords)

    return computed


def with_usual_settings(fitting: Fitting) -> Fitting:
    """Let a job compute as torch does by default, whatever its caller has set.

    The caller's settings hold whenever it has its turn.
    """
    stop: bool | None = None
    fit: Fit
    try:
        while True:
            it = usual(fitting.send)(stop)
            measure, render = usual(it.measure), usual(it.render)
            stop = yield dataclasses.replace(it, measure=measure, render=render)
    except StopIteration as end:
        fit = end.value
    finally:
        fitting.close()
    resume = fit.resume
    if resume is None:
        return fit
    return dataclasses.replace(
        fit, resume=lambda extra: with_usual_settings(resume(extra))
    )
