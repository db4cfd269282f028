"""What has been restored so far, put together plane by plane or tile by tile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Index, Layout, cast, narrowed, widened
from napari_dip.tasks.block import BlockFit
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.scaling import float_type
from napari_dip.tasks.task import SHARED_WEIGHTS
from napari_dip.tasks.tiles import Block

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Iterate

CONSTANT = "nothing to fit, for the image is constant"
"""Why a job ended that needed no fit."""

GIVEN = "no fit, for the networks were given"
"""Why a job ended that was given networks."""

NOT_BEGUN = "not restored before the stop"
"""What the warning says of planes that were not begun."""


@dataclass(frozen=True)
class Left:
    """How to go on with a job that was stopped, or has a single fit."""

    before: Result
    """What had been put together before the fit that goes on."""
    go_on: Callable[[Result, int], Generator[Iterate, bool | None, Any]]
    """``go_on(result, extra)`` puts the rest into a copy of it, and yields iterates; a
    fit that has ended by itself takes so many more iterations."""


@dataclass
class Result:
    """What has been put together so far."""

    image: Any
    """The result."""
    given: bool = False
    """Whether it is an array of the user's, which keeps its type."""
    deviation_out: Any = None
    """An array of the user's for the standard deviation.  Beside an image of the
    user's, which may be larger than the memory, there is no other."""
    deviation: Any = None
    """Standard deviation, of the same shape, NaN where it is not known; None where it
    is known nowhere."""
    fits: list[Fit] = field(default_factory=list)
    """All fits."""
    details: list[dict[str, Any]] = field(default_factory=list)
    """What the provenance says of every block."""
    warnings: list[str] = field(default_factory=list)
    """What the user should know."""
    stopped: bool = False
    """Whether the user has stopped the last fit."""
    not_begun: list[int] = field(default_factory=list)
    """Planes that were not begun before the stop."""
    left: Left | None = None
    """How to go on, where that is possible."""
    networks: dict[str, Any] | None = None
    """Networks that were fitted to all planes; see
    `napari_dip.tasks.shared.state_of`."""

    def before(self) -> Result:
        """Return what there is now; what is put into the arrays later is there too."""
        known = (list(self.fits), list(self.details), list(self.warnings))
        arrays = (self.image, self.given, self.deviation_out, self.deviation)
        return Result(*arrays, *known, networks=self.networks)

    def copy(self) -> Result:
        """Return the same with arrays of its own, unless they are of the user's."""
        copy = self.before()
        if not self.given:
            copy.image = self.image.copy()
            if self.deviation is not None:
                copy.deviation = self.deviation.copy()
        return copy

    def add(self, done: BlockFit) -> None:
        """Take the fit of a block."""
        from napari_dip.prior.fit import STOPPED

        self.fits += done.fits
        self.details.append(done.details)
        self.warn(*done.warnings)
        self.stopped |= any(fit.stopped_by == STOPPED for fit in done.fits)

    def warn(self, *warnings: str) -> None:
        """Note what the user should know, once."""
        self.warnings += [w for w in warnings if w not in self.warnings]

    def put(self, index: Index, values: NDArray[Any]) -> None:
        """Put a plane, or a part of one, in its place."""
        if self.given:
            self.image[index] = cast(values, self.image.dtype)
            return
        self.image = widened(self.image, values.dtype)
        self.image[index] = values

    def put_deviation(self, index: Index, values: NDArray[Any] | None) -> None:
        """Put the standard deviation of a plane, or of a part of one, in its place.

        None is that it is not known.
        """
        known = values is not None
        spread: Any = values if known else np.float32(np.nan)
        if self.given and self.deviation_out is not None:
            self.deviation_out[index] = cast(spread, self.deviation_out.dtype)
            self.deviation = self.deviation_out if known else self.deviation
        elif not self.given and (known or self.deviation is not None):
            if self.deviation is None:
                self.deviation = np.full(self.image.shape, np.nan, np.float32)
            self.deviation = widened(self.deviation, spread.dtype)
            self.deviation[index] = spread

    @property
    def seconds(self) -> float:
        """Wall time of all fits."""
        return sum(f.seconds for f in self.fits)

    def unknown(self, number: int, channels: Sequence[int], count: int) -> None:
        """Note which of so many channels of a plane are nothing but NaN.

        None of them is a part of the plane.
        """
        which = ", ".join(map(str, channels))
        of = f"channels {which} of " if channels else "a part of "
        of = "" if len(channels) == count else of
        self.warn(f"{of}plane {number} came back unchanged: nothing but NaN")

    def failed(self, number: int, error: Exception) -> None:
        """Note that a plane failed."""
        self.warnings.append(f"plane {number} was not fitted: {error}")

    def summary(self, recipe: Recipe, layout: Layout) -> Fit:
        """Put all fits together into one."""
        from napari_dip.prior.fit import REASONS, STOPPED
        from napari_dip.prior.problem import Fit

        fits, image = self.fits, self.image
        not_begun = sorted(self.not_begun)
        if not_begun:
            planes = numbers(not_begun)
            self.warn(f"{planes} {NOT_BEGUN}, and came back unchanged")
        history = [
            {**entry, "part": part}
            for part, f in enumerate(fits)
            for entry in f.history
        ]
        if recipe.dtype == "input" and not self.given:
            image = cast(image, layout.dtype)
        single = fits[0] if len(fits) == 1 else None
        weights = self.networks
        if weights is None and single is not None:
            weights = single.weights
        reasons = reasons_of(fits)
        if self.details and not fits:
            given = any(SHARED_WEIGHTS in d for d in self.details)
            reasons.append(GIVEN if given else CONSTANT)
        if self.stopped:
            reasons.append(STOPPED)
        return Fit(
            image=image,
            average=None,
            stopped_by=REASONS.join(dict.fromkeys(reasons)),
            iterations=sum(f.iterations for f in fits),
            best_iteration=-1 if single is None else single.best_iteration,
            seconds=self.seconds,
            history=history,
            settings={"recipe": recipe.to_dict(), "planes": self.details},
            warnings=self.warnings,
            uncertainty=self.deviation,
            weights=weights,
            operator=None if single is None else single.operator,
            not_begun=tuple(not_begun),
        )


def reasons_of(fits: Sequence[Fit]) -> list[str]:
    """Return why fits have ended; of several, how many have for each reason."""
    from napari_dip.prior.fit import is_unfinished

    count = len(fits)
    reasons = []
    for reason, times in Counter(f.stopped_by for f in fits).items():
        several = count > 1 and not is_unfinished(reason)
        share = f" in {'each' if times == count else times} of {count} fits"
        reasons.append(reason + share * several)
    return reasons


class Canvas:
    """A plane that blocks are put into, blended where their halos meet."""

    def __init__(self, image: NDArray[Any], factor: int) -> None:
        self.image, self.factor = image, factor
        self.weight = np.zeros(image.shape, np.float32)
        self.fitted: set[int] = set()

    def copy(self) -> Canvas:
        """Return a plane of its own."""
        copy = Canvas(self.image.copy(), self.factor)
        copy.weight = self.weight.copy()
        return copy

    def put(self, block: Block, image: NDArray[Any]) -> None:
        """Put the image of a block in its place, weighted by its window."""
        region = block.region(self.factor)
        self.image = widened(self.image, image.dtype)
        self.fitted.update(block.channels)
        if not any(map(any, block.halo)):
            for channel, values in zip(block.channels, image, strict=True):
                self.image[channel][region] = values
            return
        window = block.window(self.factor)
        for channel, values in zip(block.channels, image, strict=True):
            place: Any = (channel, *region)
            before = self.image[place]
            self.weight[place] += window
            blended = before + window / self.weight[place] * (values - before)
            # What is missing takes no part in a blend.
            self.image[place] = np.where(np.isnan(before), values, blended)

    def fill(self, pixels: NDArray[Any], *, exact: bool) -> None:
        """Put the given values into channels that were not fitted.

        They are not rounded to float32 where `exact` says so.
        """
        channels = [c for c in range(len(pixels)) if c not in self.fitted]
        if not channels:
            return
        values = pixels[channels].astype(np.result_type(pixels.dtype, np.float32))
        if not exact:
            finite = values[np.isfinite(values)]
            ends = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
            values = narrowed(values, float_type(*ends))
        self.image = widened(self.image, values.dtype)
        self.image[channels] = values


def numbers(planes: Sequence[int]) -> str:
    """Return which planes were, in words such as "planes 0 to 3 and 5 were"."""
    noun, verb = ("plane", "was") if len(planes) == 1 else ("planes", "were")
    return f"{noun} {ranges(planes)} {verb}"


def ranges(planes: Sequence[int]) -> str:
    """Return numbers in words such as "0 to 3 and 5"; they are in order."""
    parts: list[list[int]] = []
    for plane in planes:
        if not parts or plane > parts[-1][-1] + 1:
            parts.append([])
        parts[-1].append(plane)
    words = [f"{p[0]} to {p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def untouched(layout: Layout, pixels: NDArray[Any] | None, factor: int) -> NDArray[Any]:
    """Return a plane of the input, repeated to the size of the result."""
    sides = layout.sides
    if pixels is None:
        return np.zeros((layout.channels, *(factor * n for n in sides)), np.float32)
    for axis in range(1, 1 + len(sides)) if factor > 1 else ():
        pixels = pixels.repeat(factor, axis=axis)
    return pixels
