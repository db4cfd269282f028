"""Every plane restored by fits of its own, put together block by block."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FitError, InputError
from napari_dip.tasks.arrays import FLOAT32, Index, cast
from napari_dip.tasks.block import BlockFit, BlockFitting, fit_block, fit_to_end
from napari_dip.tasks.fits import relay
from napari_dip.tasks.plane import Pixels
from napari_dip.tasks.pool import no_fit
from napari_dip.tasks.result import Canvas, Left, Result, untouched
from napari_dip.tasks.running import Running
from napari_dip.tasks.task import Overrides
from napari_dip.tasks.tiles import Block

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate


@dataclass(eq=False)
class Begun:
    """A plane that is being fitted."""

    number: int
    """Its number."""
    index: Index
    """Its index in the array."""
    given: NDArray[Any] | None
    """The plane as it came."""
    pixels: Pixels | None = None
    """What is known of it."""
    parts: list[tuple[Block, Overrides]] = field(default_factory=list)
    """What is fitted: its blocks, or tiles of them, and what the user sets for each."""
    error: Exception | None = None
    """Why it cannot be fitted."""
    done: dict[int, BlockFit] = field(default_factory=dict)
    """The fits that are done."""
    resumed: BlockFitting | None = None
    """Goes on with the next part, which was stopped."""


class Planes(Running):
    """Fits of all planes of a job; see `napari_dip.tasks.run.run`."""

    def fit(
        self, result: Result, unfinished: Begun | None = None
    ) -> Generator[Iterate, bool | None, None]:
        """Fit every plane by itself, or go on from one that was begun."""
        begun = deque([] if unfinished is None else [unfinished])
        first = 0 if unfinished is None else unfinished.number + 1
        for number, index in list(enumerate(self.job.layout.indices()))[first:]:
            while len(begun) > self.pool.ahead:
                yield from self.end(begun.popleft(), result)
            begun.append(self.begin(number, index, result))
        for plane in begun:
            yield from self.end(plane, result)

    def begin(self, number: int, index: Index, result: Result) -> Begun:
        """Read a plane, and have its blocks fitted if other processes can do it."""
        job = self.job
        try:
            plane = job.take(index)
        except InputError as error:
            return Begun(number, index, job.unread(index), error=error)
        begun = Begun(number, index, plane)
        if result.stopped:
            return begun
        try:
            begun.pixels = job.pixels(index, plane)
            known = self.overrides.analysis
            sides = job.layout.sides
            blocks = [Block.whole(number, index, a.channels, sides) for a in known]
            blocks = blocks or job.blocks(number, index, begun.pixels)
            begun.parts = self.cut(blocks, begun.pixels)
            if self.overrides.state is not None and not self.is_single(begun):
                raise InputError("state: is of one fit; got a job of several")
        except (InputError, FitError) as error:
            begun.error = error
        else:
            self.submit(begun)
        return begun

    def is_single(self, begun: Begun) -> bool:
        """Return whether the job is the fit of this one block."""
        return self.job.layout.planes == len(begun.parts) == 1

    def submit(self, begun: Begun) -> None:
        """Have the parts of a plane fitted that are left, if other processes can."""
        if not self.pool.ahead or self.is_single(begun):
            return
        for count, part in enumerate(begun.parts):
            if count not in begun.done:
                name = _named(begun, count)
                self.calls.begin(name, fit_to_end, self.recipe, *part)

    def end(
        self, begun: Begun, result: Result
    ) -> Generator[Iterate, bool | None, None]:
        """Put the fits of a plane into the result."""
        job, number = self.job, begun.number
        unchanged = untouched(job.layout, begun.given, job.factor)
        plane, deviation = Canvas(cast(unchanged, FLOAT32), job.factor), None
        try:
            if begun.error is not None:
                raise begun.error
            parts = range(len(begun.parts))
            if result.stopped and not any(self.is_done(begun, n) for n in parts):
                result.not_begun.append(number)
            else:
                deviation = yield from self.fit_plane(begun, plane, result)
        except (InputError, FitError) as error:
            if not result.details:
                raise  # nothing would be lost
            result.failed(number, error)
        finally:
            for count in range(len(begun.parts)):
                self.calls.cancel(_named(begun, count))
        plane.fill(unchanged, exact=self.recipe.dtype == "input")
        result.put(begun.index, job.layout.arrange(plane.image))
        result.put_deviation(begun.index, deviation)

    def fit_plane(self, begun: Begun, plane: Canvas, result: Result) -> Any:
        """Fit the blocks of a plane, which is changed in place.

        Returns the standard deviation of the plane, if it is known.
        """
        layout, number, pixels = self.job.layout, begun.number, begun.pixels
        fitted = {c for block, _ in begun.parts for c in block.channels}
        unknown = [c for c in range(layout.channels) if c not in fitted]
        if unknown:
            result.unknown(number, unknown, layout.channels)
        deviation = Canvas(np.full_like(plane.image, np.nan), self.job.factor)
        for count, (block, _) in enumerate(begun.parts):
            known = None if pixels is None else pixels.known(block.channels)
            if known is not None and not known[block.region()].any():
                result.unknown(number, [], layout.channels)
                continue
            done = begun.done.get(count)
            if done is None and not result.stopped:
                done = yield from self.fit_part(begun, count, plane, result)
            if done is None and self.is_done(begun, count):
                done = self.calls.result(_named(begun, count), BlockFit)
                result.add(done)
            if done is None:
                which = f"channels {', '.join(map(str, block.channels))} of plane"
                result.warn(f"{which} {number} were not fitted before the stop")
                continue
            plane.put(block, done.image)
            if done.deviation is not None:
                deviation.put(block, done.deviation)
        return layout.arrange(deviation.image) if deviation.fitted else None

    def fit_part(
        self, begun: Begun, count: int, plane: Canvas, result: Result
    ) -> Generator[Iterate, bool | None, BlockFit | None]:
        """Fit a part of a plane, or go on with it, and add that to the result.

        There is no fit if another process was at it when the user stopped the job.
        """
        before, layout = result.before(), self.job.layout
        adapt = partial(self.shown, begun, count, plane, before)
        done: BlockFit | None
        name = _named(begun, count)
        if name in self.calls.begun:
            shown = dataclasses.replace(
                adapt(no_fit()),
                render=lambda finished: layout.arrange(plane.image.copy()),
            )
            done = yield from self.awaited(name, shown)
        elif name in self.record:
            done = self.calls.result(name, BlockFit)
        else:
            done, _ = yield from relay(self.fitting(begun, count), adapt, None)
            if not self.is_single(begun):  # or nothing else is left to do
                self.record.put(name, done.to_record())
        if done is None:
            result.stopped = True
        else:
            result.add(done)
        if self.resumable:
            self.keep(begun, count, done, before, result)
        return done

    def is_done(self, begun: Begun, count: int) -> bool:
        """Return whether a process has fitted a part, which a stop then keeps.

        A job that can go on later does the part again.
        """
        return not self.resumable and self.calls.is_done(_named(begun, count))

    def awaited(
        self, name: str, shown: Iterate
    ) -> Generator[Iterate, bool | None, BlockFit | None]:
        """Wait for a part that another process fits; return None after a stop."""
        ready = False
        while not ready:
            ready = self.calls.wait(name)
            if (yield shown):
                return None
        done: BlockFit = self.calls.result(name, BlockFit)
        return done

    def fitting(self, begun: Begun, count: int) -> BlockFitting:
        """Begin to fit a part of a plane, or go on with it."""
        resumed, begun.resumed = begun.resumed, None
        block, overrides = begun.parts[count]
        return resumed or fit_block(
            Running.of(self, overrides=overrides),
            block,
            pixels=begun.pixels,
            keep_weights=self.is_single(begun),
            name=_named(begun, count),
        )

    def shown(
        self, begun: Begun, count: int, plane: Canvas, before: Result, it: Iterate
    ) -> Iterate:
        """Return an iterate of a part of a plane as one of the job."""
        layout, parts = self.job.layout, len(begun.parts)
        ahead = parts - count + (layout.planes - begun.number - 1) * parts

        def render(finished: bool) -> NDArray[Any]:
            shown = plane.copy()
            shown.put(begun.parts[count][0], it.render(finished))
            return layout.arrange(shown.image)

        return dataclasses.replace(
            it,
            render=render,
            index=begun.index,
            part=len(before.fits) + it.part,
            # Planes to come are taken to have as many blocks as this one.
            parts=len(before.fits) + ahead * it.parts,
            seconds=it.seconds + before.seconds,
        )

    def keep(
        self,
        begun: Begun,
        count: int,
        done: BlockFit | None,
        before: Result,
        result: Result,
    ) -> None:
        """Keep the fit of a part of a plane, and how to go on from it."""
        known = dict(begun.done)
        resume = None if done is None else done.resume
        if done is not None:
            begun.done[count] = dataclasses.replace(done, resume=None)
            if resume is None or not (result.stopped or self.is_single(begun)):
                return

        def go_on(again: Result, extra: int) -> Any:
            resumed = None if resume is None else resume(extra)
            unfinished = dataclasses.replace(begun, done=known, resumed=resumed)
            self.submit(unfinished)
            return self.fit(again, unfinished)

        result.left = Left(before, go_on)

    def cut(
        self, blocks: list[Block], pixels: Pixels | None
    ) -> list[tuple[Block, Overrides]]:
        """Cut the blocks of a plane into tiles, if they are to be.

        The tiles share what is found out about the plane.
        """
        job, recipe, overrides = self.job, self.recipe, self.overrides
        if pixels is None or job.tile_sides(recipe) is None:
            return [(block, overrides) for block in blocks]
        parts: list[tuple[Block, Overrides]] = []
        for block in blocks:
            known = overrides.known(block.channels)
            if known is None:
                plane = job.scaled(pixels, block)
                if plane.constant_values is None:
                    known = job.analyse(plane, block)
            sides = None if known is None else job.tile_sides(recipe, known)
            if known is None or sides is None or job.reach is None:
                parts.append((block, overrides))
                continue
            own = dataclasses.replace(overrides, analysis=(known,))
            parts += [(tile, own) for tile in block.tiled(sides, job.reach)]
        return parts


def _named(begun: Begun, count: int) -> str:
    return f"plane {begun.number}, block {count}"
