"""A pass over all planes, tile by tile, by networks that the planes share."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FitError, InputError
from napari_dip.tasks.arrays import FLOAT32, Pixels, cast
from napari_dip.tasks.block import relay
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.result import Canvas, Left, Result, untouched
from napari_dip.tasks.shared import (
    Shared,
    draw_windows,
    error_on,
    fit_shared,
    restore,
)
from napari_dip.tasks.task import Block, Index, Job, Overrides, seed_for
from napari_dip.tasks.tiles import Tile, probes, side_of, tiles, within

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


@dataclass
class Sweep:
    """A pass over all planes.

    Attributes
    ----------
    job, recipe, overrides, threads
        As for `napari_dip.tasks.run.run`.
    result : Result
        Takes what is restored.
    resumable : bool
        Whether to keep what is needed to go on after a stop.
    """

    job: Job
    recipe: Recipe
    overrides: Overrides
    threads: int | None
    result: Result
    resumable: bool = False
    networks: list[list[Shared]] = field(default_factory=list)
    """The newest last; of each kind of planes one for every group of channels."""
    in_vain: int = 0
    """Fits of single planes that did not help."""
    done: int = 0
    """Tiles that are restored."""
    latest: Iterate = field(init=False)
    """Of the newest fit."""

    def __post_init__(self) -> None:
        sides = self.job.layout.sides
        self.cut = list(tiles(sides, side_of(self.recipe.tile, sides)))
        self.planes = list(self.job.layout.indices())
        self.total = self.job.layout.planes * len(self.cut)
        self.began = time.perf_counter()

    def run(self, begun: Sequence[Shared] = (), extra: int = 0) -> Sweeping:
        """Restore all planes; return whether they can share a network.

        Where the user stops the fit, only the plane that was shown is restored.  It
        goes on with what was begun and `extra`; see `fit_shared`.
        """
        before = self.result.before()
        if not (yield from self.fit(self.planes, self.overrides, begun, extra)):
            return False
        if not self.result.stopped:
            yield from self.restore_planes()
            return True
        shared = self.networks[-1]
        missing = set(range(self.job.layout.channels)).difference(
            *(one.channels for one in shared)
        )
        if missing:
            which = f"channels {', '.join(map(str, sorted(missing)))}"
            self.result.warn(f"{which} were not fitted before the stop")
        if shared[-1].resume is not None:
            self.result.left = Left(before, partial(self.run_again, shared))
        for number, index in enumerate(self.planes):
            if index == self.latest.index:
                yield from self.restore_plane(number, index, shared)
            else:
                self.not_begun(number, index)
        return True

    def run_again(self, begun: Sequence[Shared], result: Result, extra: int) -> Any:
        """Go on with the fit, then restore all planes."""
        again = dataclasses.replace(self, result=result, networks=[], in_vain=0, done=0)
        return again.run(begun, extra)

    def restore_planes(
        self, first: int = 0, chosen: list[Shared] | None = None, done: int = 0
    ) -> Sweeping:
        """Restore the planes from one on, of which so many tiles are done."""
        for number, index in list(enumerate(self.planes))[first:]:
            if self.result.stopped:
                self.not_begun(number, index)
                continue
            before = self.result.before()
            try:
                if chosen is None:
                    chosen = yield from self.choose(index)
                if chosen is None:  # stopped in a fit to this plane
                    self.stop_at(before, number)
                    self.not_begun(number, index)
                else:
                    yield from self.restore_plane(number, index, chosen, done)
            except (InputError, FitError) as error:
                self.result.failed(number, error)
                self.leave(index)
            chosen, done = None, 0

    def stop_at(
        self,
        before: Result,
        number: int,
        chosen: list[Shared] | None = None,
        done: int = 0,
    ) -> None:
        """Note from where to go on."""

        def go_on(result: Result, extra: int) -> Sweeping:
            self.result = result
            return self.restore_planes(number, chosen, done)

        if self.resumable:
            self.result.left = Left(before, go_on)

    # -- networks -----------------------------------------------------------------

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
        shown = next(p for p in planes if job.layout.is_part(windows[0], p))

        def adapt(it: Iterate) -> Iterate:
            def render(finished: bool) -> NDArray[Any]:
                plane = job.take(shown)
                plane = cast(untouched(job.layout, plane, 1), FLOAT32)
                for window, values in zip(windows, it.render(finished), strict=True):
                    if job.layout.is_part(window, shown):
                        region = job.layout.region(window)
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
            resumable=self.resumable,
            begun=begun,
            extra=extra,
        )
        shared, _ = yield from relay(fitting, adapt, None)
        if not shared:
            return False
        self.networks = [*self.networks, shared][-NETWORKS:]
        for one in shared:
            result.fits += one.fits
            result.details.append(one.details)
            result.warn(*(w for f in one.fits for w in f.warnings))
            result.stopped = one.stopped
        return True

    def choose(self, index: Index) -> Sweeping:
        """Return the networks for a plane: those it has the least error by.

        Where it is of another kind than all others, networks are fitted to it alone,
        and there are none if the user stops that.
        """
        if self.job.layout.planes == 1 or self.result.stopped:
            return self.networks[-1]
        # One region after the other, for arrays that are read piece by piece.
        regions = [
            self.job.layout.within(index, r) for r in probes(self.job.layout.sides)
        ]
        parts = [(r, p) for r in regions if (p := self.pixels(r)) is not None]

        def tested(networks: list[Shared]) -> tuple[float, bool]:
            return error_on(self.job, networks, parts)

        ranked = sorted(
            ((*tested(networks), n) for n, networks in enumerate(self.networks)),
        )
        error, unlike, best = ranked[0]
        if not unlike or self.in_vain >= IN_VAIN:
            return self.networks[best]
        before, fitted = list(self.networks), self.result.before()
        overrides = dataclasses.replace(self.overrides, analysis=())
        if not (yield from self.fit([index], overrides)):
            return before[best]
        if self.networks[-1][-1].stopped:
            # It is fitted again when the user goes on.
            self.networks = before
            self.result.fits, self.result.details = fitted.fits, fitted.details
            return None
        if tested(self.networks[-1])[0] <= NO_WORSE * error:
            return self.networks[-1]
        self.in_vain += 1
        chosen, self.networks = before[best], before
        return chosen

    # -- planes -------------------------------------------------------------------

    def pixels(self, index: Index) -> Pixels | None:
        """Return the pixels of a part of a plane, None where nothing is known."""
        pixels = self.job.pixels(index, self.job.take(index))
        return None if pixels is None or np.isnan(pixels.values).all() else pixels

    def restore_plane(
        self, number: int, index: Index, networks: list[Shared], done: int = 0
    ) -> Sweeping:
        """Restore a plane, tile by tile.

        After a stop it is restored as a whole: it is the only one.
        """
        from napari_dip.prior import interrupt

        result = self.result
        before, whole, stopped = result.before(), result.stopped, False
        for count, tile in list(enumerate(self.cut))[done:]:
            if stopped:
                self.leave(index, tile)
                continue
            try:
                with nullcontext() if whole else interrupt.allowed():
                    self.restore_tile(index, tile, networks)
            except interrupt.Interrupted:
                self.leave(index, tile)
                self.stop_at(before, number, networks, count)
                stopped = result.stopped = True
                continue
            self.done += 1
            stop = yield dataclasses.replace(
                self.latest,
                render=lambda finished: self.shown(index),
                index=index,
                part=len(result.fits) + self.done - 1,
                parts=len(result.fits) + self.total,
                seconds=time.perf_counter() - self.began,
            )
            last = number == len(self.planes) - 1 and count == len(self.cut) - 1
            if stop and not (whole or last):
                self.stop_at(before, number, networks, count + 1)
                stopped = result.stopped = True

    def shown(self, index: Index) -> NDArray[Any]:
        """Return a plane as far as it is done; as it came where that is in a file."""
        if hasattr(self.result.image, "__getitem__"):
            return np.array(self.result.image[index])
        layout = self.job.layout
        return layout.arrange(untouched(layout, self.job.take(index), 1))

    def restore_tile(self, index: Index, tile: Tile, networks: list[Shared]) -> None:
        """Restore a tile of a plane."""
        layout = self.job.layout
        seen = layout.within(index, tile.seen)
        given = self.job.take(seen)
        pixels = self.job.pixels(seen, given)
        assert given is not None
        assert pixels is not None
        core = (slice(None), *within(tile.core, tile.seen))
        unchanged = given[core]
        canvas = Canvas(cast(unchanged, FLOAT32), 1)
        deviation = Canvas(np.full(unchanged.shape, np.nan, np.float32), 1)
        sides = unchanged.shape[1:]
        for shared in networks:
            if not pixels.known(shared.channels)[core[1:]].any():
                continue
            image, errors, warnings = restore(
                self.job, self.recipe, shared, index, tile, pixels
            )
            self.result.warn(*warnings)
            block = Block.whole(0, index, shared.channels, sides)
            canvas.put(block, image)
            if errors is not None:
                deviation.put(block, errors)
        canvas.fill(unchanged, exact=self.recipe.dtype == "input")
        place = layout.within(index, tile.core)
        self.result.put(place, layout.arrange(canvas.image))
        if deviation.fitted:
            self.result.put_deviation(place, layout.arrange(deviation.image))

    def not_begun(self, number: int, index: Index) -> None:
        """Put a plane into the result as it came, and note that."""
        self.result.not_begun.append(number)
        self.leave(index)

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
