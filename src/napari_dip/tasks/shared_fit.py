"""The fit of one network to windows of a whole data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import DeviceFailed
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import Index
from napari_dip.tasks.block import ATTEMPTS, GIVEN_UP, mean_of, relay
from napari_dip.tasks.neighbours import related, wanted
from napari_dip.tasks.plane import Pixels, Plane
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.record import Record
from napari_dip.tasks.restoring import code_at, error_of
from napari_dip.tasks.setup import restarts_of, seed_for, set_up
from napari_dip.tasks.shared import GroupFitting, Shared, for_windows, predictor_of
from napari_dip.tasks.task import Job, Overrides
from napari_dip.tasks.tiles import Block
from napari_dip.tasks.windows import Window

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Fitting, Iterate, Prior, Problem, Settings
    from napari_dip.tasks.presets import Preset
    from napari_dip.tasks.task import Plan

COLLAPSED = 1.2
"""Squared error of the predictions of a network over the variance of the values from
which on it has learnt nothing: pure noise has 1."""

ANALYSED = 16
"""Windows whose noise is analysed, where there are as many."""

SharedFitting = Generator["Iterate", "bool | None", "list[Shared] | None"]


def fit_shared(
    job: Job,
    recipe: Recipe,
    windows: Sequence[Window],
    *,
    overrides: Overrides,
    threads: int | None = None,
    seed: int,
    resumable: bool = False,
    begun: Sequence[Shared] = (),
    extra: int = 0,
    record: Record | None = None,
    name: str = "",
) -> SharedFitting:
    """Fit networks to windows of some planes, one for each group of channels.

    Parameters
    ----------
    job, recipe
        The task.
    windows : sequence of Window
        What the networks are fitted to.
    overrides : Overrides
        What the user sets in place of the preset.
    threads : int, optional
        CPU threads during a step.
    seed : int
        Seed of the fits.
    resumable : bool
        Whether to keep what is needed to go on after a stop.
    begun : sequence of Shared
        What came of the same fits until they were stopped in the last of these.
    extra : int
        Further iterations of that one, if it had ended by itself.
    record : Record, optional
        Keeps the fits.
    name : str
        Name of the networks there.

    Yields
    ------
    Iterate
        `image` holds the windows, (N, C, Y, X), in the units of the input; NaN in
        channels that are not fitted now.

    Returns
    -------
    list of Shared or None
        The networks of the groups up to the one where the user has stopped.  None where
        the network of the preset sees more than a window, or the task needs more of an
        image than its pixels.
    """
    pool = Pixels.stacked([w.pixels for w in windows])
    places = [w.index for w in windows]
    neighbours = _neighbours(job, recipe, pool, places)
    shared = list(begun[:-1])
    for channels in list(job.groups(pool))[len(shared) :]:
        if len(shared) < len(begun):
            resume = begun[-1].resume
            assert resume is not None
            fitting = resume(extra)
        else:
            group = _group(
                job,
                recipe,
                places,
                pool,
                channels,
                neighbours,
                overrides,
                seed=seed,
                options={"threads": threads, "resumable": resumable},
                record=record or Record(),
                name=f"{name}, group {len(shared)}",
            )
            if group is None:
                return None
            fitting = group.fit()
        shared.append((yield from fitting))
        if shared[-1].stopped:
            break
    return shared


def _neighbours(
    job: Job, recipe: Recipe, pool: Pixels, windows: Sequence[Index]
) -> int:
    """Return how many planes on either side a network sees beside its own."""
    count = wanted(job.layout, recipe.neighbours)
    if count and recipe.neighbours == "auto" and not related(job, pool, windows):
        return 0
    return count


@dataclass(frozen=True, eq=False)
class _Group:
    """Channels that are fitted together.

    Attributes
    ----------
    recipe, overrides
        As for `fit_shared`.
    pool : Pixels
        The windows, with all channels.
    plane : Plane
        Those of the group, scaled.
    neighbours : int
        Planes on either side that the network sees.
    analysis, preset, plan
        What belongs to the windows, as if they were planes of a volume.
    seed : int
        Seed of the first fit.
    options : dict
        What the settings of every fit have beside those of the preset.
    record, name
        As for `fit_shared`.
    """

    recipe: Recipe
    overrides: Overrides
    pool: Pixels
    plane: Plane
    neighbours: int
    analysis: Analysis
    preset: Preset
    plan: Plan
    seed: int
    options: dict[str, Any]
    record: Record
    name: str

    @property
    def restarts(self) -> int:
        """How many networks are fitted, from different seeds."""
        return restarts_of(self.recipe, self.preset)

    def fit(
        self, earlier: Sequence[Fit] = (), resumed: Fitting | None = None
    ) -> GroupFitting:
        """Fit one network, or several from different seeds.

        After those that are done, `resumed` goes on with one that was stopped.
        """
        from napari_dip.prior.fit import STOPPED

        fits, resume = list(earlier), None
        while len(fits) < self.restarts:
            done = yield from self.one(len(fits), resumed)
            resumed = None
            fits.append(dataclasses.replace(done, resume=None))
            if done.stopped_by == STOPPED:
                resume = done.resume
                break
        shared = self.gathered(fits)
        if resume is None:
            return shared
        before = fits[:-1]
        return dataclasses.replace(
            shared, resume=lambda extra: self.fit(before, resume(extra))
        )

    def one(self, restart: int, resumed: Fitting | None) -> Fitting:
        """Fit from one seed, or go on with that; a network that collapses is no fit."""
        from napari_dip.prior.fit import DEVICE_FAILED, fit

        name, weights = f"{self.name}, restart {restart}", self.overrides.weights
        known = self.record.fit(name, self.recipe.device)
        if known is not None:
            return known
        done: Fit
        state = self.record.running(name)
        warnings = [] if state is None else list(state.pop(GIVEN_UP))
        adapt = partial(self.shown, restart, name, warnings)
        for attempt in range(len(warnings), ATTEMPTS):
            begun = self.set_up(restart, attempt)
            fitting = resumed or fit(*begun, weights=weights, state=state)
            resumed = state = None
            failed = self.collapsed if attempt < ATTEMPTS - 1 else None
            done, reason = yield from relay(fitting, adapt, failed)
            if done.stopped_by.startswith(DEVICE_FAILED):
                # Half a network restores nothing well.
                raise DeviceFailed(f"the shared fit was ended by {done.stopped_by}")
            if reason is None:
                break
            warnings.append(f"{reason}: begun again from another seed")
        done = dataclasses.replace(done, warnings=[*warnings, *done.warnings])
        self.record.put_fit(name, done)
        return done

    def set_up(
        self, restart: int = 0, attempt: int = 0
    ) -> tuple[Problem, Prior, Settings]:
        """Return what a fit takes."""
        seed = seed_for(self.seed, restart, attempt)
        problem, prior, settings = set_up(
            self.plan, self.preset, self.recipe, self.overrides, seed
        )
        settings = dataclasses.replace(settings, keep_weights=True, **self.options)
        return problem, prior, settings

    def collapsed(self, it: Iterate) -> str | None:
        """Return why a fit is given up whose network says less than a constant does.

        The large steps of a fit to single windows lead there now and then.
        """
        if it.step < self.preset.check_every or it.score < self.worst:
            return None
        return f"the network predicted nothing after {it.step} iterations"

    @cached_property
    def worst(self) -> float:
        """Squared error of predictions that say nothing."""
        known = self.plane.known > 0
        return COLLAPSED * float(self.plane.values[:, known].var(axis=1).mean())

    def gathered(self, fits: list[Fit]) -> Shared:
        """Return the networks of all seeds as one."""
        analysis, preset, count = self.analysis, self.preset, self.neighbours
        weights = [f.weights for f in fits if f.weights is not None]
        mean = mean_of([f.average for f in fits])
        errors = [
            error_of(mean[n : n + 1], self.plane.cut((n,)), analysis)
            for n in range(len(mean))
        ]
        details = {
            **self.plan.details,
            **fits[-1].settings,
            **self.overrides.to_dict(),
            "windows": len(mean),
            "neighbours": count,
            "analysis": analysis.to_dict(),
        }
        _, prior, settings = self.set_up()
        network = prior.architecture
        predictor = predictor_of(network, preset, analysis, count, weights, settings)
        ends = (min(errors), max(errors))
        return Shared(analysis, preset, predictor, count, fits, ends, details)

    def shown(
        self, restart: int, name: str, given_up: Sequence[str], it: Iterate
    ) -> Iterate:
        """Return an iterate of the fit with an image of the windows."""

        def checkpoint() -> dict[str, Any]:
            assert it.checkpoint is not None  # every fit has one
            return {**it.checkpoint(), GIVEN_UP: [*given_up]}

        def render(finished: bool) -> NDArray[Any]:
            image = np.full(self.pool.values.shape, np.nan, np.float32)
            values = it.average.transpose(0, 1).cpu().numpy()
            image[list(self.analysis.channels)] = self.plane.to_units(values)
            return image.swapaxes(0, 1)

        shown = dataclasses.replace(
            it,
            render=render,
            part=restart,
            parts=self.restarts,
            checkpoint=checkpoint,
            error=it.error * self.plane.unit,
        )
        return self.record.noting(name, shown)


def _group(
    job: Job,
    recipe: Recipe,
    windows: Sequence[Index],
    pool: Pixels,
    channels: tuple[int, ...],
    neighbours: int,
    overrides: Overrides,
    **fitting: Any,
) -> _Group | None:
    """Return channels of windows, None where no network can be fitted to them.

    `fitting` is what a group has beside what is found out here.
    """
    block = Block.whole(0, (), channels, pool.values.shape[1:])
    known = overrides.known(channels)
    plane = job.scaled(pool, block, None if known is None else known.scale)
    if plane.levels is not None:
        return None
    analysis = known or job.analyse(_sample(plane), block)
    whole = job.preset(analysis)
    network = overrides.architecture or whole.architecture
    preset = for_windows(dataclasses.replace(whole, architecture=network), neighbours)
    if preset is None:
        return None
    plan = job.plan(plane, block, analysis, preset)
    if plan.code is not None or plan.problem.operator is not None:
        return None
    code = code_at(job, preset, analysis, windows, neighbours)
    plan = dataclasses.replace(plan, problem=_as_windows(plan.problem), code=code)
    return _Group(
        recipe, overrides, pool, plane, neighbours, analysis, preset, plan, **fitting
    )


def _sample(plane: Plane) -> Plane:
    """Return the windows whose noise is analysed.

    They are spread over all, so that windows full of structure are among them.
    """
    step = max(plane.values.shape[1] // ANALYSED, 1)
    sample = plane.cut((slice(None, None, step),))
    return sample if sample.noisy.any(axis=(1, 2, 3)).all() else plane


def _as_windows(problem: Problem) -> Problem:
    """Return the problem of a volume as that of its planes."""
    weight = problem.weight
    assert weight is not None
    return dataclasses.replace(
        problem,
        measurement=problem.measurement[0].transpose(0, 1).contiguous(),
        weight=weight[0].transpose(0, 1).contiguous(),
    )
