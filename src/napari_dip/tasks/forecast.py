"""How long a run will take, from its shapes and from a few steps on a piece of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_dip.errors import InputError
from napari_dip.machine import check_iterations
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.neighbours import wanted
from napari_dip.tasks.pace import GROWTH, ending, pace
from napari_dip.tasks.run import get
from napari_dip.tasks.running import usual
from napari_dip.tasks.setup import outline, plans, restarts_of, set_up
from napari_dip.tasks.shared import COARSE, for_windows, iterations_for, wants_sharing
from napari_dip.tasks.task import Job, Overrides, Plan
from napari_dip.tasks.tiles import FIELD, tile_sides, tiles
from napari_dip.tasks.windows import WINDOW_SIDE, window_sides

if TYPE_CHECKING:
    from napari_dip.prior.problem import Prior, Problem, Settings
    from napari_dip.prior.runtime import Estimate
    from napari_dip.tasks.presets import Preset
    from napari_dip.tasks.recipe import Recipe

USUAL = {2: 256, 3: 64}
"""Longest side of the image that stands for one whose pixels are not looked at."""

LOOK = 1.5
"""Time of the passes that restore an image, in steps of a fit: they hide four times
and go forward only."""

SHOWING = 1.2
"""Time of a fit whose images are looked at, relative to one that runs by itself: 1.15
to 1.25 in napari, where a processor draws."""


@dataclass(frozen=True)
class Forecast:
    """What a run will take."""

    memory: int
    """Peak bytes on the device."""
    available: int | None
    """Bytes that are free, None where unknown."""
    seconds: float
    """Wall time of the whole run."""
    finishing: float
    """The part of it that finishes the image of one plane, or restores one with a
    network that all planes share."""
    fixed: bool
    """Whether it takes so long; otherwise it may end earlier."""
    planes: int
    """Planes that are fitted."""
    ends_after: int = 0
    """Iterations after which every fit likely ends by itself, 0 where that is not
    known."""


@usual
def forecast(
    recipe: Recipe, arrays: Sequence[Any], piece: Sequence[Any] | None = None
) -> Forecast:
    """Return what a run will take.

    Parameters
    ----------
    recipe : Recipe
        Parameters of the task.
    arrays : sequence of array_like
        The arrays of the task, in its order.
    piece : sequence of array_like, optional
        The same arrays cut to a part of one plane: it tells what kind of image this is,
        and on it steps are timed.  Then only the shapes of `arrays` are looked at.

    Returns
    -------
    Forecast
        Memory in bytes and wall times in seconds.

    Raises
    ------
    InputError
        If the arrays cannot be used, or a fit would take more iterations than the user
        allows.
    """
    job = get(recipe.task).job(recipe, *arrays)
    fits, sides = _tried(job, recipe, piece)
    larger = math.prod(job.image_shape(1)) / math.prod(sides)
    prepared = sum(fit.prepared for fit in fits) * larger
    planes = job.layout.planes
    shared = wants_sharing(job, recipe) and all(for_windows(f.preset) for f in fits)
    parts = _parts(job, recipe, shared, *(fit.analysis for fit in fits))
    # Tiles see what is around them.
    wider = sum(map(math.prod, parts)) / math.prod(job.layout.sides)
    each = larger * wider / len(parts)
    finishing = (larger * wider) * sum(
        fit.finishing * (1 if shared else fit.finishes) for fit in fits
    )
    if shared:
        # One fit for all planes, which are then no more than looked at.
        finishing += sum(fit.looking(larger * wider) for fit in fits)
        neighbours = wanted(job.layout, recipe.neighbours)
        seconds = sum(fit.shared_seconds(neighbours) for fit in fits) / planes
    else:
        for fit in fits:
            check_iterations(fit.settings.stop.maximum + fit.settings.extra_iterations)
        seconds = len(parts) * sum(fit.seconds(each) for fit in fits)
    needed = _needed(job, recipe, parts)
    known = all(fit.ending for fit in fits)
    return Forecast(
        memory=needed.memory,
        available=needed.available,
        seconds=planes * (prepared + seconds + finishing),
        finishing=finishing,
        fixed=shared or known or all(fit.settings.stop.fixed for fit in fits),
        planes=planes,
        ends_after=max(fit.ends_after(each) for fit in fits) if known else 0,
    )


def _tried(
    job: Job, recipe: Recipe, piece: Sequence[Any] | None
) -> tuple[list[_Fit], tuple[int, ...]]:
    """Return the fits of a plane, or of the piece of it, and its sides."""
    fits, sides = [], job.image_shape(1)
    if piece is None:
        fits = list(_fits(job, recipe))
    else:
        try:
            trial = _quicker(job, recipe)
            small = get(recipe.task).job(trial, *piece)
            fits, sides = list(_fits(small, trial)), small.image_shape(1)
        except InputError:
            pass
    if not fits:
        # The piece is too small for the PSF, of one value, or nothing is masked in it.
        fits = [_bare_fit(job, recipe)]
        sides = fits[0].problem.image_shape[1:]
    return fits, sides


def _quicker(job: Job, recipe: Recipe) -> Recipe:
    """Return a recipe of the same steps that soon finishes a piece of a volume.

    Filters take so long for every pixel of an enlarged volume that the smallest piece
    would take minutes.
    """
    if recipe.spatial_dims != 3 or job.factor == 1:
        return recipe
    smallest: dict[str, Any] = {"factor": 2}
    return replace(recipe, **smallest)


def expected(job: Job, recipe: Recipe, overrides: Overrides) -> Estimate:
    """Return what a job takes as far as shapes and recipe say.

    No pixel is looked at.  The seconds are those of an iteration: of a plane, of the
    largest of its tiles, or of a window where planes share a network.
    """
    unknown = Analysis.unknown(job.layout.channels)
    preset = job.preset(unknown)
    if overrides.architecture is not None:
        preset = replace(preset, architecture=overrides.architecture)
    shared = overrides.networks is not None or (
        wants_sharing(job, recipe, overrides) and for_windows(preset) is not None
    )
    parts = _parts(job, recipe, shared, unknown)
    needed = _needed(job, recipe, parts, overrides, trial=not shared)
    if not shared:
        return needed
    window = _needed(job, recipe, [window_sides(job)], overrides, trial=True)
    return replace(needed, seconds=window.seconds)


def count_parts(job: Job, recipe: Recipe) -> int:
    """Return how many planes or tiles a job is restored in, as far as shapes say."""
    unknown = Analysis.unknown(job.layout.channels)
    parts = _parts(job, recipe, wants_sharing(job, recipe), unknown)
    return job.layout.planes * len(parts)


def _parts(
    job: Job, recipe: Recipe, shared: bool, *known: Analysis
) -> list[tuple[int, ...]]:
    """Return the sides of the tiles of a plane, with the margins that they see."""
    sides = job.layout.sides
    if shared:
        tile, reach = tile_sides(recipe.tile, sides), FIELD
    else:
        tile, reach = job.tile_sides(recipe, *known), job.reach or 0
    return [
        tuple(side.stop - side.start for side in part.seen)
        for part in tiles(sides, tile, reach)
    ]


def _needed(
    job: Job,
    recipe: Recipe,
    parts: Sequence[tuple[int, ...]],
    overrides: Overrides | None = None,
    *,
    trial: bool = False,
) -> Estimate:
    """Return what a job takes whose planes are restored in tiles of these sides.

    Image and result are held as a whole, but not by another device.
    """
    from napari_dip.prior import runtime
    from napari_dip.prior.estimate import estimate

    layout = job.layout
    longest = tuple(max(sides) for sides in zip(*parts, strict=True))
    part = replace(job, layout=replace(layout, shape=layout.resized(longest)))
    needed = estimate(*outline(part, recipe, overrides), trial=trial)
    held = 0
    if runtime.pick_device(recipe.device).type == "cpu":
        finer = job.factor**layout.spatial_dims
        held = math.prod(layout.shape) * (layout.dtype.itemsize + 4 * finer)
    return replace(needed, memory=needed.memory + held)


@dataclass(frozen=True)
class _Fit:
    """A fit of a piece, as far as its time goes."""

    problem: Problem
    prior: Prior
    settings: Settings
    """As for `napari_dip.prior.fit.fit`."""
    analysis: Analysis
    preset: Preset
    """What belongs to the piece."""
    restarts: int
    """How many fits there are from different seeds."""
    prepared: float = 0.0
    finishing: float = 0.0
    """Seconds that it takes before the first iteration, and to finish an image."""
    finishes: int = 1
    """Images that are finished: with several fits their mean, and that of each, whose
    spread is the uncertainty where the task has none of its own."""
    ending: float = 0.0
    """Iterations after which it likely ends by itself; see `pace.ending`."""

    @property
    def pixels(self) -> int:
        """Pixels that the network computes for the piece."""
        return math.prod(self.prior.canvas(self.problem.image_shape[1:]))

    def shared_seconds(self, neighbours: int) -> float:
        """Return seconds of the fit to windows that all planes share."""
        stop = self.settings.stop
        whole = stop.maximum if stop.fixed else iterations_for(neighbours)
        return self._iterations(whole, COARSE, WINDOW_SIDE**self.problem.ndim)

    def looking(self, larger: float) -> float:
        """Return seconds that a network takes to restore so many times the pixels."""
        _, each = pace(self.problem, self.prior, self.settings)
        return self.restarts * LOOK * each * self.pixels * larger

    def seconds(self, larger: float) -> float:
        """Return seconds of the iterations with so many times the pixels."""
        settings = self.settings
        whole = self.ends_after(larger) + settings.extra_iterations
        if self.problem.first_estimate is not None:
            whole += settings.start_iterations
        coarse = settings.coarse_iterations
        return self._iterations(whole, coarse, self.pixels * larger)

    def ends_after(self, larger: float) -> int:
        """Return after how many iterations it ends with so many times the pixels."""
        maximum = self.settings.stop.maximum
        expected = self.ending * (self.pixels * larger) ** GROWTH
        return min(round(expected), maximum) if self.ending else maximum

    def _iterations(self, whole: int, coarse: int, pixels: float) -> float:
        """Return seconds of iterations with so many pixels, or a quarter of them."""
        least, each = pace(self.problem, self.prior, self.settings)
        steps = whole * (least + each * pixels) + coarse * (least + each * pixels / 4)
        return self.restarts * steps * SHOWING


def _fits(job: Job, recipe: Recipe) -> Iterator[_Fit]:
    """Yield the fits of the first plane of a job."""
    import torch

    from napari_dip.prior.estimate import noise
    from napari_dip.prior.runtime import pick_device

    began = time.perf_counter()
    for analysis, preset, plan in plans(job, 0, next(job.layout.indices())):
        fit = set_up(plan, preset, recipe, Overrides(), recipe.seed)
        prepared = time.perf_counter() - began
        finishing = 0.0
        if plan.finish is not None:
            with torch.no_grad():
                image = noise(1, *plan.problem.image_shape)
                plan.finish(image.to(pick_device(recipe.device)))
            finishing = time.perf_counter() - began - prepared
        restarts = restarts_of(recipe, preset)
        spread = restarts > 1 and plan.deviation is None
        finishes = 1 + restarts if spread else 1
        yield _Fit(
            *fit,
            analysis,
            preset,
            restarts,
            prepared,
            finishing,
            finishes,
            ending(*fit),
        )
        began = time.perf_counter()


def _bare_fit(job: Job, recipe: Recipe) -> _Fit:
    from napari_dip.prior.estimate import noise
    from napari_dip.prior.problem import Problem

    channels = job.layout.channels
    unknown = replace(Analysis.unknown(channels), missing=0.1)
    preset = job.preset(unknown)
    sides = [min(n, USUAL[len(job.layout.sides)]) for n in job.layout.sides]
    plan = Plan(Problem(noise(1, channels, *sides)), lambda image: image)
    fit = set_up(plan, preset, recipe, Overrides(), recipe.seed)
    return _Fit(*fit, unknown, preset, restarts_of(recipe, preset))
