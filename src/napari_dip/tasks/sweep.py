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
from napari_dip.tasks.pool import Call, Pool, no_fit
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.restoring import Restored, errors_on_plane, restore_tile
from napari_dip.tasks.result import Canvas, Left, Result, untouched
from napari_dip.tasks.setup import seed_for
from napari_dip.tasks.shared import Shared, networks_of, state_of
from napari_dip.tasks.shared_fit import fit_shared
from napari_dip.tasks.task import SHARED_WEIGHTS, STOPPED_BY, Job, Overrides
from napari_dip.tasks.tiles import Tile, side_of, tiles
from napari_dip.tasks.windows import Window, draw_windows

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate

Sweeping = Generator["Iterate", "bool | None", Any]

MOST_KINDS = 3
"""Most kinds of planes whose networks are remembered."""

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
    """A tile that is being restored.

    Attributes
    ----------
    place : int
        Its number among the tiles of all planes.
    index : tuple
        Index of its plane.
    tile : Tile
        Its part of that.
    call : Call
        Returns it.
    """

    place: int
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
    resumable : bool
        Whether to keep what is needed to go on after a stop.
    """

    job: Job
    recipe: Recipe
    overrides: Overrides
    threads: int | None
    result: Result
    pool: Pool
    resumable: bool = False
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
    chosen: dict[int, Choice] = field(default_factory=dict)
    """Networks for the planes that are being restored, by their numbers."""
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

    def run(self, begun: Sequence[Shared] = (), extra: int = 0) -> Sweeping:
        """Restore all planes; return whether they can share a network.

        Where the user stops the fit, only the plane that was shown is restored.  It
        goes on with what was begun and `extra`; see `fit_shared`.
        """
        before = self.result.before()
        if not (yield from self.begin(begun, extra)):
            return False
        if self.result.stopped:
            yield from self.restore_shown(before)
        else:
            yield from self.restore_planes()
        return True

    def restore_shown(self, before: Result) -> Sweeping:
        """Restore the plane that was shown when the user stopped the fit, as a whole.

        It goes on with the fit and then restores all planes.
        """
        result, shared = self.result, self.networks[-1]
        missing = set(range(self.job.layout.channels)).difference(
            *(one.channels for one in shared)
        )
        if missing:
            which = f"channels {', '.join(map(str, sorted(missing)))}"
            result.warn(f"{which} were not fitted before the stop")

        def go_on(again: Result, extra: int) -> Sweeping:
            job, recipe, overrides = self.job, self.recipe, self.overrides
            pool, keep = self.pool, self.resumable
            sweep = Sweep(job, recipe, overrides, self.threads, again, pool, keep)
            return sweep.run(shared, extra)

        if shared[-1].resume is not None:
            result.left = Left(before, go_on)
        shown = self.latest.index
        for number, index in enumerate(self.planes):
            if index != shown:
                self.not_begun(number)
                continue
            choice = self.newest()
            calls = [self.restored(choice, index, tile) for tile in self.cut]
            try:
                for tile, call in zip(self.cut, calls, strict=True):
                    self.put(index, tile, call.result())
                    self.done += 1
                    yield self.iterate(index)
            except (InputError, FitError) as error:
                self.fail(number, error)

    def restore_planes(self, place: int = 0) -> Sweeping:
        """Restore the planes from one of all their tiles on."""
        first, done = divmod(place, len(self.cut))
        for number in range(first, len(self.planes)):
            if self.result.stopped:
                self.not_begun(number)
            elif number not in self.broken:
                yield from self.restore_plane(number, done)
            done = 0
        yield from self.collect(0)

    def restore_plane(self, number: int, done: int) -> Sweeping:
        """Choose the networks for a plane and restore it, but for tiles that are done.

        After a stop the rest of it is left as it came.
        """
        if number not in self.chosen:
            try:
                choice = yield from self.choose(number)
            except (InputError, FitError) as error:
                self.fail(number, error)
                return
            if choice is None:
                self.not_begun(number)
                return
            self.use(choice)
            self.chosen[number] = choice
        choice, index = self.chosen[number], self.planes[number]
        for count, tile in list(enumerate(self.cut))[done:]:
            if self.result.stopped:
                self.leave(index, tile)
                continue
            call = self.restored(choice, index, tile)
            place = number * len(self.cut) + count
            self.waiting.append(Waiting(place, index, tile, call))
            yield from self.collect(self.pool.ahead)

    def stop_at(self, place: int) -> None:
        """Stop, and note from which tile to go on: the first that is not done."""
        self.result.stopped = True
        if not self.resumable:
            return
        first = min([place, *(one.place for one in self.waiting)])

        def go_on(again: Result, extra: int) -> Sweeping:
            self.result = again
            return self.restore_planes(first)

        self.result.left = Left(self.result.before(), go_on)

    def not_begun(self, number: int) -> None:
        """Put a plane into the result as it came, and note that."""
        self.result.not_begun.append(number)
        self.leave(self.planes[number])

    def fail(self, number: int, error: Exception) -> None:
        """Leave a plane as it came and note why; raise if all have failed."""
        self.broken.add(number)
        if len(self.broken) == len(self.planes):
            raise error
        self.result.failed(number, error)
        self.leave(self.planes[number])

    # -- networks -----------------------------------------------------------------

    def begin(self, begun: Sequence[Shared], extra: int) -> Sweeping:
        """Take the networks that are given, or fit some; return whether there are."""
        given = self.overrides.networks
        if given is None:
            return (yield from self.fit(self.planes, self.overrides, begun, extra))
        self.take([networks_of(self.job, self.recipe, given, self.threads)])
        self.latest = dataclasses.replace(no_fit(), shared=True)
        self.result.networks = dict(given)
        return True

    def take(self, networks: list[list[Shared]]) -> None:
        """Go on with other networks; what was tested with those before is forgotten."""
        self.networks = networks
        for call in self.tests.values():
            call.cancel()
        self.tests.clear()
        self.kinds = self.pool.common(
            [
                [dataclasses.replace(s, fits=[], resume=None) for s in kind]
                for kind in networks
            ]
        )

    def fit(
        self,
        planes: Sequence[Index],
        overrides: Overrides,
        begun: Sequence[Shared] = (),
        extra: int = 0,
    ) -> Sweeping:
        """Fit networks to windows of some planes; return whether that is possible."""
        job, result = self.job, self.result
        # A plane that has been left for later takes other seeds.
        seed = seed_for(self.recipe.seed, attempt=len(self.networks))
        windows = draw_windows(job, planes, seed)
        if not windows:
            return False
        shown = next(p for p in planes if job.layout.is_part(windows[0].index, p))
        fitting = fit_shared(
            job,
            self.recipe,
            windows,
            overrides=overrides,
            threads=self.threads,
            seed=seed,
            resumable=self.resumable,
            begun=begun,
            extra=extra,
        )
        adapt = partial(self.fitted, windows, shown)
        shared, _ = yield from relay(fitting, adapt, None)
        if not shared:
            return False
        if self.result.networks is None:
            self.result.networks = state_of(shared)
        self.take([*self.networks, shared][-MOST_KINDS:])
        for one in shared:
            result.fits += one.fits
            result.details.append(one.details)
            result.warn(*(w for f in one.fits for w in f.warnings))
            result.stopped = one.stopped
        return True

    def fitted(self, windows: Sequence[Window], shown: Index, it: Iterate) -> Iterate:
        """Return an iterate of a fit as one that shows its windows in their plane."""
        job, fits = self.job, len(self.result.fits)

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
            part=fits + self.done + it.part,
            parts=fits + self.total + it.parts,
            shared=True,
            seconds=time.perf_counter() - self.began,
        )
        return self.latest

    def choose(self, number: int) -> Sweeping:
        """Return the networks for a plane: those it has the least error by.

        Where it is of another kind than all others, networks are fitted to it alone,
        and there are none if the user stops that.
        """
        if self.job.layout.planes == 1 and self.overrides.networks is None:
            return self.newest()
        index = self.planes[number]
        errors = self.tested(number)
        error, unlike, best = min((*e, n) for n, e in enumerate(errors))
        if not unlike or self.in_vain >= IN_VAIN:
            return Choice(self.kinds, best)
        before, result = self.networks, self.result
        fitted = result.before()
        overrides = dataclasses.replace(self.overrides, analysis=(), weights=None)
        if not (yield from self.fit([index], overrides)):
            return Choice(self.kinds, best)
        if result.stopped:
            # It is fitted again when the user goes on.
            self.take(before)
            result.fits, result.details = fitted.fits, fitted.details
            result.warnings = fitted.warnings
            self.stop_at(number * len(self.cut))
            return None
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

    def restored(self, choice: Choice, index: Index, tile: Tile) -> Call:
        """Begin to restore a tile of a plane."""
        return self.pool.submit(
            restore_tile, self.recipe, choice.kinds, choice.number, index, tile
        )

    def use(self, choice: Choice) -> None:
        """Note in the provenance that networks are used which were given."""
        for shared in self.networks[choice.number]:
            details = shared.details
            if SHARED_WEIGHTS in details and details not in self.result.details:
                self.result.details.append(details)
                if STOPPED_BY in details:
                    limit = details[STOPPED_BY]
                    self.result.warn(f"the fit of the networks was stopped by {limit}")

    def collect(self, ahead: int) -> Sweeping:
        """Put tiles into the result, in turn, until only so many are waited for.

        After a stop none is waited for.
        """
        from napari_dip.prior import interrupt

        result = self.result
        while len(self.waiting) > (0 if result.stopped else ahead):
            one = self.waiting.popleft()
            number = one.place // len(self.cut)
            if number in self.broken:
                one.call.cancel()
                continue
            if result.stopped:
                one.call.cancel()
                if one.tile is self.cut[0]:
                    result.not_begun.append(number)
                self.leave(one.index, one.tile)
                continue
            try:
                with interrupt.allowed():
                    restored: Restored = one.call.result()
            except interrupt.Interrupted:
                self.leave(one.index, one.tile)
                self.stop_at(one.place)
                continue
            except (InputError, FitError) as error:
                self.fail(number, error)
                continue
            self.put(one.index, one.tile, restored)
            self.done += 1
            if one.tile is self.cut[-1]:
                del self.chosen[number]
            stop = yield self.iterate(one.index)
            # After the last tile there is nothing left to stop.
            if stop and one.place < self.total - 1:
                self.stop_at(one.place + 1)

    def iterate(self, index: Index) -> Iterate:
        """Return an iterate that shows a plane as far as it is done."""
        fits = len(self.result.fits)
        return dataclasses.replace(
            self.latest,
            render=partial(self.shown, index),
            index=index,
            part=fits + self.done - 1,
            parts=fits + self.total,
            seconds=time.perf_counter() - self.began,
        )

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
