"""A pass over all planes, tile by tile, by networks that the planes share."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FitError, InputError
from napari_dip.tasks.arrays import FLOAT32, Index, cast
from napari_dip.tasks.block import NOT_FINISHED, BlockFit
from napari_dip.tasks.fits import relay
from napari_dip.tasks.kinds import Choice, Kinds
from napari_dip.tasks.pool import no_fit
from napari_dip.tasks.restoring import restore_tile
from napari_dip.tasks.result import Canvas, Left, Result, untouched
from napari_dip.tasks.running import Running
from napari_dip.tasks.shared import Shared
from napari_dip.tasks.tiles import Tile, tile_sides, tiles

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate

Sweeping = Generator["Iterate", "bool | None", Any]


@dataclass(eq=False)
class Sweep(Running):
    """A pass over all planes."""

    result: Result = field(kw_only=True)
    """Takes what is restored."""
    done: int = field(default=0, init=False)
    """Tiles that are restored."""
    broken: set[int] = field(default_factory=set, init=False)
    """Planes that have failed."""
    chosen: dict[int, Choice] = field(default_factory=dict, init=False)
    """Networks for the planes that are being restored, by their numbers."""
    waiting: deque[int] = field(default_factory=deque, init=False)
    """Numbers, among the tiles of all planes, of those that are being restored."""
    unknown: Counter[tuple[int, int]] = field(default_factory=Counter, init=False)
    """Tiles of nothing but NaN, by plane and channel."""

    def __post_init__(self) -> None:
        layout = self.job.layout
        sides = layout.sides
        self.cut = list(tiles(sides, tile_sides(self.recipe.tile, sides)))
        self.total = layout.planes * len(self.cut)
        self.began = time.perf_counter()
        self.kinds = Kinds.of(self)
        self.planes = self.kinds.planes
        # What was last shown of a fit; at first something that stands for it.
        self.latest = dataclasses.replace(no_fit(), shared=True)

    def run(self, begun: Sequence[Shared] = (), extra: int = 0) -> Sweeping:
        """Restore all planes; return whether they can share a network.

        Where the user stops the fit, only the plane that was shown is restored.  It
        goes on with what was begun and `extra`; see `fit_shared`.
        """
        before = self.result.before()
        begin = self.kinds.begin(self.result, begun, extra)
        possible, _ = yield from relay(begin, self.fitted, None)
        if not possible:
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
        from napari_dip.prior import interrupt

        result, shared = self.result, self.kinds.networks[-1]
        missing = set(range(self.job.layout.channels)).difference(
            *(network.channels for network in shared)
        )
        if missing:
            which = f"channels {', '.join(map(str, sorted(missing)))}"
            result.warn(f"{which} were not fitted before the stop")

        def go_on(again: Result, extra: int) -> Sweeping:
            return dataclasses.replace(self, result=again).run(shared, extra)

        if shared[-1].resume is not None:
            result.left = Left(before, go_on)
        shown = self.latest.index
        for number, index in enumerate(self.planes):
            if index != shown:
                self.skip(number)
                continue
            choice = self.kinds.newest()
            given = self.recipe, choice.kinds, choice.number, index
            calls = [self.pool.submit(restore_tile, *given, tile) for tile in self.cut]
            try:
                for tile, call in zip(self.cut, calls, strict=True):
                    try:
                        # A stop has ended the fit, another one ends the filters.
                        with interrupt.allowed(1):
                            restored = call.result()
                    except interrupt.Interrupted:
                        result.warn(NOT_FINISHED)
                        call = self.pool.submit(restore_tile, *given, tile, True)
                        restored = call.result()
                    self.put(number, tile, restored)
                    self.done += 1
                    yield self.iterate(index)
            except (InputError, FitError) as error:
                self.fail(number, error)

    def restore_planes(self, place: int = 0) -> Sweeping:
        """Restore the planes from one of all their tiles on."""
        first, done = divmod(place, len(self.cut))
        for number in range(first, len(self.planes)):
            if self.result.stopped:
                self.skip(number)
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
                choosing = self.kinds.choose(number, self.result)
                choice, _ = yield from relay(choosing, self.fitted, None)
            except (InputError, FitError) as error:
                self.fail(number, error)
                return
            if choice is None:
                self.stop_at(number * len(self.cut))
                self.skip(number)
                return
            self.kinds.use(choice, self.result)
            self.chosen[number] = choice
        choice, index = self.chosen[number], self.planes[number]
        for count, tile in list(enumerate(self.cut))[done:]:
            if self.result.stopped:
                self.skip(number, tile)
                continue
            place = number * len(self.cut) + count
            given = self.recipe, choice.kinds, choice.number, index, tile
            self.calls.begin(_named(place), restore_tile, *given)
            self.waiting.append(place)
            yield from self.collect(self.pool.ahead)

    def fitted(self, it: Iterate) -> Iterate:
        """Return an iterate of a fit as one of all fits and tiles."""
        self.latest = dataclasses.replace(
            it,
            part=self.done + it.part,
            parts=self.total + it.parts,
            seconds=time.perf_counter() - self.began,
        )
        return self.latest

    def stop_at(self, place: int) -> None:
        """Stop, and note from which tile to go on: the first that is not done."""
        self.result.stopped = True
        if not self.resumable:
            return
        first = min([place, *self.waiting])

        def go_on(again: Result, extra: int) -> Sweeping:
            self.result = again
            return self.restore_planes(first)

        self.result.left = Left(self.result.before(), go_on)

    def skip(self, number: int, *parts: Tile) -> None:
        """Put a plane, or parts of it, into the result as they came, and note that."""
        if len(parts or self.cut) == len(self.cut):
            self.result.not_begun.append(number)
        else:
            self.result.warn(
                f"plane {number} was not fully restored before the stop; the rest of "
                "it came back unchanged"
            )
        self.leave(self.planes[number], *parts)

    def fail(self, number: int, error: Exception) -> None:
        """Leave a plane as it came and note why; raise if all have failed."""
        self.broken.add(number)
        if len(self.broken) == len(self.planes):
            raise error
        self.result.failed(number, error)
        self.leave(self.planes[number])

    def collect(self, ahead: int) -> Sweeping:
        """Put tiles into the result, in turn, until only so many are waited for.

        After a stop none is waited for.
        """
        from napari_dip.prior import interrupt

        result = self.result
        while len(self.waiting) > (0 if result.stopped else ahead):
            place = self.waiting[0]
            number, count = divmod(place, len(self.cut))
            index, tile, name = self.planes[number], self.cut[count], _named(place)
            needed = number not in self.broken
            if needed and result.stopped:
                # What is left to a job that goes on is all that follows the stop.
                needed = not self.resumable and self.calls.is_done(name)
                if not needed:
                    self.skip(number, tile)
            elif needed and not self.calls.wait(name):
                if (yield self.iterate(index)):
                    self.stop_at(place)
                continue
            self.waiting.popleft()
            if not needed:
                self.calls.cancel(name)
                continue
            try:
                with interrupt.allowed():
                    restored: BlockFit = self.calls.result(name, BlockFit)
            except interrupt.Interrupted:
                self.stop_at(place)
                self.skip(number, tile)
                continue
            except (InputError, FitError) as error:
                self.fail(number, error)
                continue
            self.put(number, tile, restored)
            self.done += 1
            if tile is self.cut[-1]:
                del self.chosen[number]
            stop = yield self.iterate(index)
            # After the last tile there is nothing left to stop.
            if stop and place < self.total - 1:
                self.stop_at(place + 1)

    def iterate(self, index: Index) -> Iterate:
        """Return an iterate that shows a plane as far as it is done."""
        fits = len(self.result.fits)
        return dataclasses.replace(
            self.latest,
            render=partial(self.shown, index),
            index=index,
            part=fits + max(self.done - 1, 0),
            parts=fits + self.total,
            seconds=time.perf_counter() - self.began,
            checkpoint=None,
            last=False,
            fitted=True,
        )

    def shown(self, index: Index, finished: bool) -> NDArray[Any]:
        """Return a plane as far as it is done; as it came where that is in a file."""
        if hasattr(self.result.image, "__getitem__"):
            return np.array(self.result.image[index])
        layout = self.job.layout
        return layout.arrange(untouched(layout, self.job.take(index), 1))

    def put(self, number: int, tile: Tile, restored: BlockFit) -> None:
        """Put a tile of a plane into the result."""
        place = self.job.layout.within(self.planes[number], tile.core)
        self.result.warn(*restored.warnings)
        self.result.put(place, restored.image)
        self.result.put_deviation(place, restored.deviation)
        self.unknown.update((number, c) for c in restored.details["unknown"])
        if tile is not self.cut[-1]:
            return
        counts = [self.unknown[number, c] for c in range(self.job.layout.channels)]
        whole = [c for c, n in enumerate(counts) if n == len(self.cut)]
        if whole:
            self.result.unknown(number, whole, len(counts))
        if any(0 < n < len(self.cut) for n in counts):
            self.result.unknown(number, [], len(counts))

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
            self.result.put_deviation(where, None)


def _named(place: int) -> str:
    return f"tile {place}"
