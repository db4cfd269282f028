"""One network for a whole data set: fitted to windows of it, used for every tile."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FitError, InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import Index
from napari_dip.tasks.block import constant_image, mean_of, relay, restored, result_type
from napari_dip.tasks.neighbours import AUTOMATIC, guide, most, related
from napari_dip.tasks.plane import Pixels, Plane
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.setup import seed_for, set_up
from napari_dip.tasks.task import NETWORKS, SHARED_WEIGHTS, Job, Overrides
from napari_dip.tasks.tiles import Block, Tile, within

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.architecture import Generates
    from napari_dip.prior.codes import Code
    from napari_dip.prior.predictor import Predictor
    from napari_dip.prior.problem import Fit, Fitting, Iterate, Prior, Problem, Settings
    from napari_dip.tasks.presets import Preset
    from napari_dip.tasks.task import Plan

WINDOWS = 32
"""Windows that a network is fitted to."""

SIDE = 192
"""Pixels along a window."""

CANDIDATES = 4
"""Windows that are looked at for one that is taken."""

ITERATIONS = 480
"""Iterations of a shared fit, each of one window; half as many are 0.1 dB worse."""

DECAY = 0.98
"""EMA decay of the weights: a window alone says less than a whole image."""

CHECK_EVERY = 120
"""Iterations between looks at the loss, which predict all windows."""

ENOUGH = 1 << 20
"""Pixels of a data set from which on a shared fit takes less time than others."""

UNLIKE = 1.5
"""How far outside the range of the windows' errors, by a factor, the error of a plane
is when the plane is of another kind."""


@dataclass(frozen=True, eq=False)
class Shared:
    """A network that was fitted to windows of a data set.

    Attributes
    ----------
    analysis : Analysis
        What was found out about all windows together.
    preset : Preset
        How it was fitted.
    predictor : Predictor
        The network.
    neighbours : int
        Planes on either side that it sees beside the one it restores.
    fits : list of Fit
        Of every restart.
    errors : tuple of float
        Smallest and largest error of a window where pixels were hidden, in units of the
        noise.
    details : dict
        For the provenance, JSON-able.
    resume : callable, optional
        Goes on with the fit, where the user has stopped it and that was asked for:
        ``resume(extra)`` yields iterates and returns another of these.
    """

    analysis: Analysis
    preset: Preset
    predictor: Predictor
    neighbours: int
    fits: list[Fit]
    errors: tuple[float, float]
    details: dict[str, Any] = field(default_factory=dict)
    resume: Callable[[int], GroupFitting] | None = None

    @property
    def stopped(self) -> bool:
        """Whether the user has stopped the fit."""
        from napari_dip.prior.fit import STOPPED

        return bool(self.fits) and self.fits[-1].stopped_by == STOPPED

    @property
    def channels(self) -> tuple[int, ...]:
        """What it restores."""
        return self.analysis.channels

    def is_unlike(self, error: float) -> bool:
        """Return whether a plane with such an error is of another kind."""
        low, high = self.errors
        return not low / UNLIKE <= error <= high * UNLIKE


GroupFitting = Generator["Iterate", "bool | None", "Shared | None"]

SharedFitting = Generator["Iterate", "bool | None", "list[Shared] | None"]


def wants_sharing(job: Job, recipe: Recipe) -> bool:
    """Return whether to try one network for all planes of a job."""
    layout = job.layout
    large = math.prod(layout.shape) >= ENOUGH * layout.channels
    wanted = recipe.share == "yes" or (recipe.share == "auto" and large)
    return wanted and job.can_share


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a plane that a network can be fitted to.

    Attributes
    ----------
    index : tuple
        Of the part in the array of all planes.
    pixels : Pixels
        What is there.
    structure : float
        Its variance without the noise.
    """

    index: Index
    pixels: Pixels
    structure: float


def draw_windows(job: Job, planes: Sequence[Index], seed: int) -> list[Window]:
    """Return windows of some planes: half at random, half full of structure."""
    drawn = candidates(job, planes, seed, CANDIDATES * WINDOWS)
    return [drawn[n] for n in most_useful([w.structure for w in drawn])]


def candidates(
    job: Job, planes: Sequence[Index], seed: int, count: int
) -> list[Window]:
    """Return up to so many different windows, drawn at random.

    Windows that are constant or unknown for more than a half are not taken.
    """
    random = np.random.default_rng(seed)
    sides = window_sides(job)
    drawn: list[Window] = []
    for _ in range(count):
        plane = planes[int(random.integers(len(planes)))]
        corner = [
            int(random.integers(n - side + 1))
            for n, side in zip(job.layout.sides, sides, strict=True)
        ]
        region = tuple(slice(a, a + n) for a, n in zip(corner, sides, strict=True))
        index = job.layout.within(plane, region)
        try:
            pixels = job.pixels(index, job.take(index))
        except InputError:
            continue  # told when it is the turn of the plane
        assert pixels is not None
        usable = ~pixels.constant & ~np.isnan(pixels.values)
        new = all(index != other.index for other in drawn)
        if new and usable.mean() > 0.5 and not np.isinf(pixels.values).any():
            drawn.append(Window(index, pixels, _structure(pixels)))
    return drawn


def window_sides(job: Job) -> tuple[int, ...]:
    """Return the pixels along the sides of the windows of a job."""
    return tuple(min(n, SIDE) for n in job.layout.sides)


def most_useful(structure: Sequence[float]) -> list[int]:
    """Return which of many windows are fitted, by their variances without noise.

    The first ones, which are a half, and of the others those with most structure.
    """
    rest = range(WINDOWS // 2, len(structure))
    ranked = sorted(rest, key=lambda n: -structure[n])[: WINDOWS - WINDOWS // 2]
    return [*range(min(WINDOWS // 2, len(structure))), *ranked]


def _structure(pixels: Pixels) -> float:
    """Return the variance of a window without its noise, which means average out."""
    height, width = (n // 4 * 4 for n in pixels.values.shape[1:])
    values = pixels.values[:, :height, :width].astype(np.float64)
    means = values.reshape(len(values), height // 4, 4, width // 4, 4).mean((2, 4))
    spread = np.nanvar(means, axis=(1, 2)) / np.maximum(np.nanvar(values), 1e-300)
    return float(np.mean(spread))


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
        Of the fits.
    resumable : bool
        Whether to keep what is needed to go on after a stop.
    begun : sequence of Shared
        What came of the same fits until they were stopped in the last of these.
    extra : int
        Further iterations of that one, if it had ended by itself.

    Yields
    ------
    Iterate
        `image` holds the windows, (N, C, Y, X), in the units of the input; NaN in
        channels that are not fitted now.

    Returns
    -------
    list of Shared or None
        Of the groups up to the one where the user has stopped.  None where the network
        of the preset sees more than a window, or the task needs more of an image than
        its pixels.
    """
    pool = Pixels(
        np.stack([w.pixels.values for w in windows], axis=1),
        np.stack([w.pixels.constant for w in windows], axis=1),
    )
    places = [w.index for w in windows]
    neighbours = _neighbours(job, recipe, pool, places)
    shared = list(begun[:-1])
    for channels in list(job.groups(pool))[len(shared) :]:
        group = _Group(job, recipe, places, pool, channels, neighbours, overrides)
        fitting = group.fit(threads, seed, resumable)
        if len(shared) < len(begun):
            resume = begun[-1].resume
            assert resume is not None
            fitting = resume(extra)
        fitted = yield from fitting
        if fitted is None:
            return None
        shared.append(fitted)
        if fitted.stopped:
            break
    return shared


def _neighbours(
    job: Job, recipe: Recipe, pool: Pixels, windows: Sequence[Index]
) -> int:
    """Return how many planes on either side a network sees beside its own."""
    possible = most(job.layout)
    if recipe.neighbours != "auto":
        return min(int(recipe.neighbours), possible)
    if possible and related(job, pool, windows):
        return min(AUTOMATIC, possible)
    return 0


@dataclass(frozen=True, eq=False)
class _Group:
    """Channels that are fitted together; see `fit_shared`."""

    job: Job
    recipe: Recipe
    windows: Sequence[Index]
    pool: Pixels
    channels: tuple[int, ...]
    neighbours: int
    overrides: Overrides

    def fit(
        self,
        threads: int | None,
        seed: int,
        resumable: bool,
        earlier: Sequence[Fit] = (),
        resumed: Fitting | None = None,
    ) -> GroupFitting:
        """Fit one network, or several from different seeds.

        After those that are done, `resumed` goes on with one that was stopped.
        """
        from napari_dip.prior.fit import STOPPED, fit

        job, recipe, overrides = self.job, self.recipe, self.overrides
        block = Block.whole(0, (), self.channels, self.pool.values.shape[1:])
        known = [a for a in overrides.analysis if a.channels == self.channels]
        plane = job.scaled(self.pool, block, known[0].scale if known else None)
        if plane.levels is not None:
            return None
        analysis = known[0] if known else job.analyse(plane, block)
        preset = for_windows(job.preset(analysis))
        if preset is None:
            return None
        plan = job.plan(plane, block, analysis, preset)
        if plan.code is not None or plan.problem.operator is not None:
            return None
        code = code_at(job, preset, analysis, self.windows, self.neighbours)
        problem = _as_windows(plan.problem)
        plan = dataclasses.replace(plan, problem=problem, code=code)
        restarts = preset.restarts if recipe.restarts == "auto" else recipe.restarts
        fits = list(earlier)
        resume = None
        while len(fits) < restarts:
            restart = len(fits)
            problem, prior, settings = set_up(
                plan, preset, recipe, overrides, seed_for(seed, restart)
            )
            settings = dataclasses.replace(
                settings, threads=threads, keep_weights=True, resumable=resumable
            )
            fitting = resumed or fit(
                problem, prior, settings, weights=overrides.weights
            )
            resumed = None
            adapt = partial(self.shown, plane, restart, restarts)
            done, _ = yield from relay(fitting, adapt, None)
            fits.append(dataclasses.replace(done, resume=None))
            if done.stopped_by == STOPPED:
                resume = done.resume
                break
        shared = self.gathered(plane, analysis, preset, plan, fits, prior, settings)
        if resume is None:
            return shared
        again = partial(self.fit, threads, seed, resumable, fits[:-1])
        return dataclasses.replace(shared, resume=lambda extra: again(resume(extra)))

    def gathered(
        self,
        plane: Plane,
        analysis: Analysis,
        preset: Preset,
        plan: Plan,
        fits: list[Fit],
        prior: Prior,
        settings: Settings,
    ) -> Shared:
        """Return the networks of all seeds as one."""
        weights = [f.weights for f in fits if f.weights is not None]
        mean = mean_of([f.average for f in fits])
        errors = [
            error_of(mean[n : n + 1], plane.cut((n,)), analysis)
            for n in range(len(self.windows))
        ]
        details = {
            **plan.details,
            **fits[-1].settings,
            **self.overrides.to_dict(),
            "windows": len(self.windows),
            "neighbours": self.neighbours,
            "analysis": analysis.to_dict(),
        }
        count = self.neighbours
        return Shared(
            analysis,
            preset,
            _predictor(prior.architecture, preset, analysis, count, weights, settings),
            count,
            fits,
            (min(errors), max(errors)),
            details,
        )

    def shown(self, plane: Plane, restart: int, restarts: int, it: Iterate) -> Iterate:
        """Return an iterate of the fit with an image of the windows."""

        def render(finished: bool) -> NDArray[Any]:
            image = np.full(self.pool.values.shape, np.nan, np.float32)
            values = it.average.transpose(0, 1).cpu().numpy()
            image[list(self.channels)] = plane.to_units(values)
            return image.swapaxes(0, 1)

        return dataclasses.replace(it, render=render, part=restart, parts=restarts)


def _predictor(
    architecture: Generates,
    preset: Preset,
    analysis: Analysis,
    neighbours: int,
    weights: Sequence[Mapping[str, Tensor]],
    settings: Settings,
) -> Predictor:
    """Return networks with such weights, that see so many neighbours."""
    import torch

    from napari_dip.prior.codes import BlindSpot
    from napari_dip.prior.predictor import Predictor
    from napari_dip.prior.problem import Prior

    code, channels = preset.code, len(analysis.channels)
    if neighbours:
        # A network depends on how many channels there are, not on what they show.
        assert isinstance(code, BlindSpot)
        empty = torch.empty(1, 2 * neighbours * channels, 1, 1)
        code = dataclasses.replace(code, guide=empty)
    shape = (channels, SIDE, SIDE)
    return Predictor(Prior(architecture, code), shape, weights, settings)


def state_of(networks: Sequence[Shared]) -> dict[str, Any]:
    """Return networks as a flat dict of tensors and of values that JSON can hold."""
    from napari_dip.prior import architecture

    facts, state = [], dict[str, Any]()
    for group, shared in enumerate(networks):
        predictor = shared.predictor
        facts.append(
            {
                "analysis": shared.analysis.to_dict(),
                "architecture": architecture.to_dict(predictor.prior.architecture),
                "neighbours": shared.neighbours,
                "restarts": len(predictor.weights),
                "errors": shared.errors,
                "details": shared.details,
            }
        )
        for restart, weights in enumerate(predictor.weights):
            state |= {f"{group}.{restart}.{name}": t for name, t in weights.items()}
    return {**state, NETWORKS: facts}


def networks_of(
    job: Job, recipe: Recipe, state: Mapping[str, Any], threads: int | None = None
) -> list[Shared]:
    """Return the networks of `state_of` for another data set of the same kind.

    Raises
    ------
    InputError
        If it has other channels, no planes that can share networks, or no neighbours
        where the networks see some.
    """
    from napari_dip.prior import architecture, snapshot
    from napari_dip.prior.problem import Settings

    analyses = [Analysis.from_dict(facts["analysis"]) for facts in state[NETWORKS]]
    channels = sorted(c for analysis in analyses for c in analysis.channels)
    if channels != list(range(job.layout.channels)):
        raise InputError(
            f"weights: are of shared networks for the channels {channels}; the image "
            f"has {job.layout.channels}"
        )
    given = snapshot.digest(state)
    networks = []
    for group, (facts, analysis) in enumerate(
        zip(state[NETWORKS], analyses, strict=True)
    ):
        preset = for_windows(job.preset(analysis)) if job.can_share else None
        if preset is None or facts["neighbours"] > most(job.layout):
            raise InputError(
                "weights: are of networks that planes share; they serve neither this "
                "task and preset nor a volume, nor a single plane where they see "
                "neighbouring ones"
            )
        weights = [
            {
                name.removeprefix(start): tensor
                for name, tensor in state.items()
                if name.startswith(start)
            }
            for start in (f"{group}.{n}." for n in range(facts["restarts"]))
        ]
        settings = Settings(
            preset.stop,
            device=recipe.device,
            precision=recipe.precision,
            threads=threads,
            seed=recipe.seed,
        )
        network = architecture.from_dict(facts["architecture"])
        neighbours = facts["neighbours"]
        shared = Shared(
            analysis,
            preset,
            _predictor(network, preset, analysis, neighbours, weights, settings),
            neighbours,
            [],
            tuple(facts["errors"]),
            {**facts["details"], SHARED_WEIGHTS: given},
        )
        networks.append(shared)
    return networks


def code_at(
    job: Job,
    preset: Preset,
    analysis: Analysis,
    windows: Sequence[Index],
    neighbours: int,
) -> Code:
    """Return what a network sees of parts of planes, with their neighbours."""
    code = preset.code
    if not neighbours:
        return code
    from napari_dip.prior.codes import BlindSpot

    seen = guide(job, analysis.channels, analysis.scale, windows, neighbours)
    assert isinstance(code, BlindSpot)
    return dataclasses.replace(code, guide=seen)


def _as_windows(problem: Problem) -> Problem:
    """Return the problem of a volume as that of its planes."""
    weight = problem.weight
    assert weight is not None
    return dataclasses.replace(
        problem,
        measurement=problem.measurement[0].transpose(0, 1).contiguous(),
        weight=weight[0].transpose(0, 1).contiguous(),
    )


def for_windows(preset: Preset) -> Preset | None:
    """Return a preset for windows, None where it is none for parts of an image.

    There are too many windows to learn their noise, so that the fit ends after a number
    of iterations.
    """
    from napari_dip.prior.codes import BlindSpot
    from napari_dip.prior.local import Local
    from napari_dip.prior.stopping import Iterations

    local = isinstance(preset.architecture, Local)
    hiding = isinstance(preset.code, BlindSpot) and preset.code.guide is None
    if not (local and hiding and preset.average == "weights"):
        return None
    stop = preset.stop
    if not stop.fixed:
        stop = Iterations(ITERATIONS)
    return dataclasses.replace(
        preset,
        stop=stop,
        schedule="cosine",
        ema_decay=DECAY,
        check_every=CHECK_EVERY,
    )


def error_of(average: Tensor, plane: Plane, analysis: Analysis) -> float:
    """Return the squared error of predictions of hidden pixels, in units of the noise.

    Means over the pixels that hold noise; of the channels, the largest.
    """
    variance = analysis.noise.at(average)[0].cpu().numpy()
    squared = (average[0].cpu().numpy() - plane.values) ** 2
    ratios = [
        float(s[u].mean() / max(v[u].mean(), 1e-12))
        for s, v, u in zip(squared, variance, plane.noisy, strict=True)
        if u.any()
    ]
    return max(ratios, default=1.0)


def error_on(
    job: Job, networks: Sequence[Shared], parts: Sequence[tuple[Index, Pixels]]
) -> tuple[float, bool]:
    """Try networks on parts of a plane.

    Returns
    -------
    float
        Squared error where pixels were hidden, over the variance of the pixels: by it
        networks of unlike scale and noise can be compared.
    bool
        Whether the plane is of another kind than the windows they were fitted to.
    """
    errors: list[float] = []
    unlike = False
    for shared in networks:
        ratios = []
        for index, pixels in parts:
            if not pixels.known(shared.channels).any():
                continue
            plane = _scaled(job, shared, index, pixels)
            if plane.levels is not None:
                continue
            average = _predict(job, shared, index, plane)
            known = plane.known > 0
            rest = (average[0].cpu().numpy() - plane.values)[:, known]
            spread = plane.values[:, known].var()
            errors.append(float(np.square(rest).mean() / max(spread, 1e-20)))
            ratios.append(error_of(average, plane, shared.analysis))
        unlike = unlike or bool(ratios and shared.is_unlike(float(np.mean(ratios))))
    return float(np.mean(errors)) if errors else 0.0, unlike


def restore(
    job: Job, recipe: Recipe, shared: Shared, index: Index, tile: Tile, pixels: Pixels
) -> tuple[NDArray[Any], NDArray[Any] | None, tuple[str, ...]]:
    """Restore a tile by a shared network.

    Parameters
    ----------
    job, recipe
        The task.
    shared : Shared
        The network of some channels.
    index : tuple
        Of the plane.
    tile : Tile
        Its part.
    pixels : Pixels
        All channels of what the tile sees.

    Returns
    -------
    ndarray
        (C, Y, X), the core of the tile, in the units of the input.
    ndarray or None
        Its standard deviation, where the task has one.
    tuple of str
        What the user should know.
    """
    plane = _scaled(job, shared, index, pixels)
    dtype = result_type(job, recipe, plane)
    core = (slice(None), *within(tile.core, tile.seen))
    if plane.levels is not None:
        image = constant_image(plane, plane.levels, plane.known.shape, dtype)
        exact = np.zeros_like(image[core]) if job.uncertain else None
        return image[core], exact, plane.warnings
    average = _predict(job, shared, index, plane)
    part = within(tile.filtered, tile.seen)
    plan = _plan(job, shared, index, plane.cut(part))
    image, deviation = restored(plan, [average[:, :, *part]], dtype)
    if not np.isfinite(image).all():
        raise FitError("the network that planes share gave an image that is not finite")
    core = (slice(None), *within(tile.core, tile.filtered))
    if deviation is not None:
        deviation = deviation[core]
    return image[core], deviation, plane.warnings


def _scaled(job: Job, shared: Shared, index: Index, pixels: Pixels) -> Plane:
    """Return the channels of a network, scaled for it."""
    block = Block.whole(0, index, shared.channels, pixels.values.shape[1:])
    return job.scaled(pixels, block, shared.analysis.scale)


def _plan(job: Job, shared: Shared, index: Index, plane: Plane) -> Plan:
    """Return the plan of a part of a plane."""
    block = Block.whole(0, index, shared.channels, plane.known.shape)
    return job.plan(plane, block, shared.analysis, shared.preset)


def _predict(job: Job, shared: Shared, index: Index, plane: Plane) -> Tensor:
    """Return what the network says about a part of a plane."""
    code = code_at(job, shared.preset, shared.analysis, [index], shared.neighbours)
    return shared.predictor(_plan(job, shared, index, plane).problem, code)
