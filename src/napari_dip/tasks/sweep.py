"""A pass over all planes, tile by tile, by networks that the planes share."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FitError, InputError
from napari_dip.tasks.arrays import FLOAT32, Index, cast
from napari_dip.tasks.block import relay
from napari_dip.tasks.plane import Pixels
from napari_dip.tasks.pool import Call, Pool, no_fit
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.result import Canvas, Result, untouched
from napari_dip.tasks.setup import seed_for
from napari_dip.tasks.shared import (
    Shared,
    draw_windows,
    error_on,
    fit_shared,
    networks_of,
    restore,
)
from napari_dip.tasks.task import SHARED_WEIGHTS, Job, Overrides
from napari_dip.tasks.tiles import Block, Tile, probes, side_of, tiles, within

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate

Sweeping = Generator["Iterate", "bool | None", Any]

NETWORKS = 3
"""Kinds of planes that are remembered."""

IN_VAIN = 3
"""Fits of single planes that did not help, after which none is tried any more."""

NO_WORSE = 1.02
"""Error of a plane by its own network, over that by another, up to which its own is
used: that is of the plane's noise, too."""


@dataclass(frozen=True)
class Choice:
    """Networks for a plane.

    Attributes
    ----------
    kinds : object
        What stands for the networks of all kinds of planes; see `Pool.common`.
    number : int
        Which of them are for the plane.
    """

    kinds: Any
    number: int


@dataclass(frozen=True)
class Waiting:
    """A tile that is being restored."""

    number: int
    index: Index
    tile: Tile
    call: Call


@dataclass
class Sweep:
    """A pass over all planes.

    Attributes
    ----------
    job, recipe, overrides, threads
        As for `napari_dip.tasks.run.run`.
    result : Result
        Takes what is restored.
    pool : Pool
        Where planes are tested and tiles restored.
    """

    job: Job
    recipe: Recipe
    overrides: Overrides
    threads: int | None
    result: Result
    pool: Pool
    networks: list[list[Shared]] = field(default_factory=list)
    """The newest last; of each kind of planes one for every group of channels."""
    in_vain: int = 0
    """Fits of single planes that did not help."""
    done: int = 0
    """Tiles that are restored."""
    broken: set[int] = field(default_factory=set)
    """Planes that have failed."""
    tests: dict[int, Call] = field(default_factory=dict)
    """What is tested on planes, by their numbers."""
    waiting: deque[Waiting] = field(default_factory=deque)
    """Tiles that are being restored, the first first."""
    latest: Iterate = field(init=False)
    """Of the newest fit."""

    def __post_init__(self) -> None:
        layout = self.job.layout
        self.planes = list(layout.indices())
        self.cut = list(tiles(layout.sides, side_of(self.recipe.tile, layout.sides)))
        self.total = layout.planes * len(self.cut)
        self.began = time.perf_counter()

    def run(self) -> Sweeping:
        """Restore all planes; return whether they can share a network."""
        if not (yield from self.begin()):
            return False
        for number, index in enumerate(self.planes):
            try:
                choice = yield from self.choose(number)
            except (InputError, FitError) as error:
                self.fail(number, index, error)
            else:
                yield from self.restore_plane(number, index, choice)
        yield from self.collect(0)
        return True

    def fail(self, number: int, index: Index, error: Exception) -> None:
        """Leave a plane as it came and note why; raise if all have failed."""
        self.broken.add(number)
        if len(self.broken) == len(self.planes):
            raise error
        self.result.failed(number, error)
        self.leave(index)

    # -- networks -----------------------------------------------------------------

    def begin(self) -> Sweeping:
        """Take the networks that are given, or fit some; return whether there are."""
        given = self.overrides.networks
        if given is None:
            return (yield from self.fit(self.planes, self.overrides))
        self.take([networks_of(self.job, self.recipe, given, self.threads)])
        self.latest = no_fit()
        return True

    def take(self, networks: list[list[Shared]]) -> None:
        """Go on with other networks; what was tested with those before is forgotten."""
        self.networks = networks
        for call in self.tests.values():
            call.cancel()
        self.tests.clear()
        self.kinds = self.pool.common(
            [[dataclasses.replace(s, fits=[]) for s in kind] for kind in networks]
        )

    def fit(self, planes: Sequence[Index], overrides: Overrides) -> Sweeping:
        """Fit networks to windows of some planes; return whether that is possible."""
        job, result = self.job, self.result
        # A plane that has been left for later takes other seeds.
        seed = seed_for(self.recipe.seed, attempt=len(self.networks))
        windows = draw_windows(job, planes, seed)
        if not windows:
            return False
        shown = next(p for p in planes if job.layout.is_part(windows[0].index, p))

        def adapt(it: Iterate) -> Iterate:
            def render(finished: bool) -> NDArray[Any]:
                plane = job.take(shown)
                plane = cast(untouched(job.layout, plane, 1), FLOAT32)
                for window, values in zip(windows, it.render(finished), strict=True):
                    if job.layout.is_part(window.index, shown):
                        region = job.layout.region(window.index)
                        seen = ~np.isnan(values)
                        plane[(slice(None), *region)][seen] = values[seen]
                return job.layout.arrange(plane)

            self.latest = dataclasses.replace(
                it,
                render=render,
                index=shown,
                part=len(result.fits) + self.done + it.part,
                parts=len(result.fits) + self.total + it.parts,
                seconds=time.perf_counter() - self.began,
            )
            return self.latest

        fitting = fit_shared(
            job,
            self.recipe,
            windows,
            overrides=overrides,
            threads=self.threads,
            seed=seed,
        )
        shared, _ = yield from relay(fitting, adapt, None)
        if not shared:
            return False
        self.take([*self.networks, shared][-NETWORKS:])
        for one in shared:
            result.fits += one.fits
            result.details.append(one.details)
            result.warn(*(w for f in one.fits for w in f.warnings))
        return True

    def choose(self, number: int) -> Sweeping:
        """Return the networks for a plane: those it has the least error by.

        Where it is of another kind than all others, networks are fitted to it alone.
        """
        given = self.overrides.networks is not None
        alone = self.job.layout.planes == 1 and not given
        if alone or self.result.stopped:
            return self.newest()
        index = self.planes[number]
        errors = self.tested(number)
        error, unlike, best = min((*e, n) for n, e in enumerate(errors))
        if not unlike or self.in_vain >= IN_VAIN:
            return Choice(self.kinds, best)
        before = self.networks
        overrides = dataclasses.replace(self.overrides, analysis=(), weights=None)
        if (yield from self.fit([index], overrides)):
            ((own, _),) = self.pool.submit(
                errors_on_plane, self.pool.common([self.networks[-1]]), index
            ).result()
            if own <= NO_WORSE * error:
                return self.newest()
            self.in_vain += 1
            self.take(before)
        return Choice(self.kinds, best)

    def newest(self) -> Choice:
        """Return the choice of the newest networks."""
        return Choice(self.kinds, len(self.networks) - 1)

    def tested(self, number: int) -> list[tuple[float, bool]]:
        """Return the errors of all networks on a plane; begin with the next ones."""
        for n in range(number, min(number + 1 + self.pool.ahead, len(self.planes))):
            if n not in self.tests:
                call = self.pool.submit(errors_on_plane, self.kinds, self.planes[n])
                self.tests[n] = call
        errors: list[tuple[float, bool]] = self.tests.pop(number).result()
        return errors

    # -- planes -------------------------------------------------------------------

    def restore_plane(self, number: int, index: Index, choice: Choice) -> Sweeping:
        """Restore a plane, tile by tile."""
        if self.result.stopped:
            self.result.not_begun.append(number)
            self.leave(index)
            return
        self.use(choice)
        for tile in self.cut:
            call = self.pool.submit(
                restore_tile, self.recipe, choice.kinds, choice.number, index, tile
            )
            self.waiting.append(Waiting(number, index, tile, call))
            yield from self.collect(self.pool.ahead)

    def use(self, choice: Choice) -> None:
        """Note in the provenance that networks are used which were given."""
        for shared in self.networks[choice.number]:
            if SHARED_WEIGHTS in shared.details and shared.details not in (
                self.result.details
            ):
                self.result.details.append(shared.details)

    def collect(self, ahead: int) -> Sweeping:
        """Put tiles into the result, in turn, until only so many are waited for.

        After a stop none is waited for.
        """
        from napari_dip.prior import interrupt

        result = self.result
        while len(self.waiting) > (0 if result.stopped else ahead):
            one = self.waiting.popleft()
            if one.number in self.broken:
                one.call.cancel()
                continue
            if result.stopped:
                one.call.cancel()
                if one.tile is self.cut[0]:
                    result.not_begun.append(one.number)
                self.leave(one.index, one.tile)
                continue
            try:
                with interrupt.allowed():
                    restored: Restored = one.call.result()
            except interrupt.Interrupted:
                self.leave(one.index, one.tile)
                result.stopped = True
                continue
            except (InputError, FitError) as error:
                self.fail(one.number, one.index, error)
                continue
            self.put(one.index, one.tile, restored)
            self.done += 1
            stop = yield dataclasses.replace(
                self.latest,
                render=partial(self.shown, one.index),
                index=one.index,
                part=len(result.fits) + self.done - 1,
                parts=len(result.fits) + self.total,
                seconds=time.perf_counter() - self.began,
            )
            # After the last tile there is nothing left to stop.
            result.stopped = bool(stop) and self.done < self.total

    def shown(self, index: Index, finished: bool) -> NDArray[Any]:
        """Return a plane as far as it is done; as it came where that is in a file."""
        if hasattr(self.result.image, "__getitem__"):
            return np.array(self.result.image[index])
        layout = self.job.layout
        return layout.arrange(untouched(layout, self.job.take(index), 1))

    def put(self, index: Index, tile: Tile, restored: Restored) -> None:
        """Put a tile into the result."""
        place = self.job.layout.within(index, tile.core)
        self.result.warn(*restored.warnings)
        self.result.put(place, restored.image)
        if restored.deviation is not None:
            self.result.put_deviation(place, restored.deviation)

    def leave(self, index: Index, *parts: Tile) -> None:
        """Put a plane, or parts of it, into the result as they came."""
        layout = self.job.layout
        for tile in parts or self.cut:
            where = layout.within(index, tile.core)
            try:
                given = self.job.take(where)
            except InputError:
                given = self.job.unread(where)  # which has been told already
            assert given is not None
            canvas = Canvas(cast(given, FLOAT32), 1)
            canvas.fill(given, exact=self.recipe.dtype == "input")
            self.result.put(where, layout.arrange(canvas.image))


# -- pure functions, for any process ----------------------------------------------


@dataclass(frozen=True, eq=False)
class Restored:
    """A restored tile, arranged as the input is.

    Attributes
    ----------
    image : ndarray
        The core of the tile.
    deviation : ndarray, optional
        Its standard deviation, where the task has one.
    warnings : tuple of str
        What the user should know.
    """

    image: NDArray[Any]
    deviation: NDArray[Any] | None
    warnings: tuple[str, ...]


def pixels_of(job: Job, index: Index) -> Pixels | None:
    """Return the pixels of a part of a plane, None where nothing is known."""
    pixels = job.pixels(index, job.take(index))
    return None if pixels is None or np.isnan(pixels.values).all() else pixels


def errors_on_plane(
    job: Job, kinds: Sequence[Sequence[Shared]], index: Index
) -> list[tuple[float, bool]]:
    """Return the error of the networks of every kind on a plane; see `error_on`."""
    # One region after the other, for arrays that are read piece by piece.
    regions = [job.layout.within(index, r) for r in probes(job.layout.sides)]
    parts = [(r, p) for r in regions if (p := pixels_of(job, r)) is not None]
    return [error_on(job, networks, parts) for networks in kinds]


def restore_tile(
    job: Job,
    recipe: Recipe,
    kinds: Sequence[Sequence[Shared]],
    number: int,
    index: Index,
    tile: Tile,
) -> Restored:
    """Restore a tile of a plane by the networks of one kind."""
    layout = job.layout
    seen = layout.within(index, tile.seen)
    given = job.take(seen)
    pixels = job.pixels(seen, given)
    assert given is not None
    assert pixels is not None
    core = (slice(None), *within(tile.core, tile.seen))
    unchanged = given[core]
    canvas = Canvas(cast(unchanged, FLOAT32), 1)
    deviation = Canvas(np.full(unchanged.shape, np.nan, np.float32), 1)
    sides = unchanged.shape[1:]
    warnings: list[str] = []
    for shared in kinds[number]:
        if not pixels.known(shared.channels)[core[1:]].any():
            continue
        image, errors, more = restore(job, recipe, shared, index, tile, pixels)
        warnings += more
        block = Block.whole(0, index, shared.channels, sides)
        canvas.put(block, image)
        if errors is not None:
            deviation.put(block, errors)
    canvas.fill(unchanged, exact=recipe.dtype == "input")
    spread = layout.arrange(deviation.image) if deviation.fitted else None
    return Restored(layout.arrange(canvas.image), spread, tuple(warnings))
