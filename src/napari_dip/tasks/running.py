"""What all that restores the planes of a job has in common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from napari_dip.tasks.pool import Calls, Pool
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.record import Record
from napari_dip.tasks.task import Job, Overrides


@dataclass(eq=False)
class Running:
    """A job that runs.

    Attributes
    ----------
    job, recipe, overrides, threads
        As for `napari_dip.tasks.run.run`.
    pool : Pool
        Where planes and tiles are fitted, tested and restored.
    record : Record
        Keeps what is done.
    resumable : bool
        Whether to keep what is needed to go on after a stop.
    """

    job: Job
    recipe: Recipe
    overrides: Overrides
    threads: int | None
    pool: Pool
    record: Record
    resumable: bool

    @classmethod
    def of(cls, running: Running, **more: Any) -> Self:
        """Return a part of a job that runs, with what it has beside that."""
        common = {
            field.name: getattr(running, field.name)
            for field in dataclasses.fields(Running)
        }
        return cls(**common, **more)

    @cached_property
    def calls(self) -> Calls:
        """Calls whose results are kept."""
        return Calls(self.pool, self.record)
