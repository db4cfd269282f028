"""One image or volume of a stack, cleaned and scaled for a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import FLOAT32, Float, Index
from napari_dip.tasks.constant import completed
from napari_dip.tasks.patches import lone_pixels, neighbour_limits
from napari_dip.tasks.scaling import (
    FAR,
    FEW_OUTLIERS,
    OUTLYING,
    cut_off,
    float_type,
    known_pixels,
    outliers,
    range_of,
    scale_of,
    varying_values,
)
from napari_dip.tasks.stretch import Stretch
from napari_dip.tasks.unevenness import Unevenness

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DARKEST, BRIGHTEST = -0.1, 1.1
"""Scaled values beyond which the rest is then put aside: some networks reach so far."""

REACHED = (0.0, 1.0)
"""Scaled values that every network reaches: the ends of a sigmoid."""

PEAK = 0.5
"""How far beyond `REACHED` the values of few pixels are too bright, or too dark, to
tell anything about the noise."""

LIKE_SPANS = 3.0
"""Ratio of the spans of two channels up to which they are measured together."""

APART = 1000.0
"""Span of all channels, over that of one, up to which they are: beyond it, what a
channel shows is lost beside the distance of the channels."""

NO_CONTRAST = 1e5
"""`Plane.contrast` of a channel of one value: it limits no noise that is given, and the
square of that is finite."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """One image or volume as it came."""

    values: NDArray[Any]
    """(C, Y, X) or (C, Z, Y, X), NaN where missing."""
    constant: NDArray[np.bool_]
    """bool, of the same shape, true in regions of one value; see `completed`."""
    warnings: tuple[str, ...] = ()
    """What the user should know about them."""

    @classmethod
    def of(cls, values: NDArray[Any]) -> Pixels:
        """Find the constant regions, and fill what is missing in them."""
        pairs = [completed(channel) for channel in values.astype(np.float64)]
        if np.isnan(values).any():
            values = np.stack([filled for filled, _ in pairs]).astype(values.dtype)
        return cls(values, np.stack([region for _, region in pairs]))

    @classmethod
    def stacked(cls, parts: Sequence[Pixels]) -> Pixels:
        """Return images as the planes of a volume, (C, N, Y, X)."""
        return cls(
            np.stack([part.values for part in parts], axis=1),
            np.stack([part.constant for part in parts], axis=1),
        )

    def of_channels(self, channels: Sequence[int]) -> Pixels:
        """Return some of the channels."""
        return self.part(list(channels))

    def part(self, index: Any) -> Pixels:
        """Return the part of the arrays at an index."""
        return Pixels(self.values[index], self.constant[index], self.warnings)

    def less(self, offsets: NDArray[np.float64], warnings: tuple[str, ...]) -> Pixels:
        """Return the pixels less something, but for constant ones, with warnings."""
        dtype = np.result_type(self.values.dtype, np.float32)
        values = np.where(self.constant, self.values, self.values - offsets)
        return Pixels(values.astype(dtype), self.constant, (*self.warnings, *warnings))

    @cached_property
    def like_range(self) -> bool:
        """Whether no channel is much brighter than another, nor far from it."""
        usable = ~self.constant & ~np.isnan(self.values)
        if not usable.any(axis=tuple(range(1, usable.ndim))).all():
            return not usable.any()
        ranges = [range_of(v[u]) for v, u in zip(self.values, usable, strict=True)]
        spans = np.ptp(ranges, axis=1)
        together = max(spans) <= LIKE_SPANS * min(spans)
        return bool(together and np.ptp(ranges) <= APART * min(spans))

    def known(self, channels: Sequence[int]) -> NDArray[np.bool_]:
        """Return where all of some channels are known, (Y, X) or (Z, Y, X)."""
        known: NDArray[np.bool_] = ~np.isnan(self.values[list(channels)]).any(axis=0)
        return known


@dataclass(frozen=True, eq=False)
class Plane:
    """One image or volume, cleaned and scaled for a fit, every channel by itself."""

    pixels: NDArray[Any]
    """The input, (C, Y, X) or (C, Z, Y, X), NaN where missing."""
    values: Float
    """float32, (C, Y, X) or (C, Z, Y, X), scaled to about [0, 1], finite."""
    known: Float
    """float32, (Y, X) or (Z, Y, X), 0 where the input was NaN, else 1."""
    constant: NDArray[np.bool_]
    """bool, of the shape of `values`, true in regions of one value."""
    offset: NDArray[np.float64]
    span: NDArray[np.float64]
    """float64, one per channel: ``input = offset + span * values``, if the values are
    neither stretched nor made even."""
    dtype: np.dtype[Any] = FLOAT32
    """Type of results in the units of the input; see `float_type`."""
    warnings: tuple[str, ...] = ()
    """What the user should know about the pixels."""
    stretch: Stretch | None = None
    """What makes the noise of `values` even, where they are stretched."""
    unevenness: Float | None = None
    """Of the shape of `known`: what `values` are divided by, after the stretch, where
    their noise would not be the same everywhere; see `napari_dip.tasks.unevenness`."""
    beyond: Float | None = None
    """What has been cut off `values`, to be added to the result, where a few pixels
    are so bright, or so dark, that in their range nothing would be left of the
    others."""

    @property
    def noisy(self) -> NDArray[np.bool_]:
        """Values that can tell something about the noise, of the shape of `values`."""
        return (self.known > 0) & ~self.constant

    @cached_property
    def contrast(self) -> NDArray[np.float64]:
        """Standard deviation of the noisy values of every channel."""
        pairs = zip(self.values, self.noisy, strict=True)
        return np.array(
            [v[u].std(dtype=float) if u.any() else NO_CONTRAST for v, u in pairs]
        )

    @property
    def unit(self) -> float:
        """An error of one in scaled values, in the units of the input.

        It is the root mean square of that of every channel, which may have any size.
        """
        largest = self.mean_growth.max()
        return float(largest * np.sqrt(np.square(self.mean_growth / largest).mean()))

    @property
    def constant_values(self) -> NDArray[Any] | None:
        """The value of every channel, where each has but one; else None."""
        pixels = self.pixels[:, self.known > 0]
        values = pixels[:, 0]
        return values if (pixels == values[:, None]).all() else None

    def to_units(self, values: Float) -> NDArray[Any]:
        """Return `values` in the units of the input, of type `dtype`.

        They may have finer pixels than the input.
        """
        values = self._as_scaled(values)
        if self.beyond is not None:
            values = values + _finer(self.beyond, values)
        span, offset = self._in_units(self.span), self._in_units(self.offset)
        scaled: NDArray[Any] = values * span + offset
        return scaled

    def _as_scaled(self, values: Float) -> Float:
        """Return `values` as they were before their noise was made even."""
        if self.unevenness is not None:
            values = values * _finer(self.unevenness[None], values)
        return values if self.stretch is None else self.stretch.back(values)

    def _in_units(self, numbers: NDArray[np.float64]) -> NDArray[Any]:
        """Return one number per channel, to compute with pixels of type `dtype`."""
        return per_channel(numbers, self.values).astype(self.dtype)

    def cut(self, region: Index) -> Plane:
        """Return a part of the plane."""
        uneven = None if self.unevenness is None else self.unevenness[region]
        index = (slice(None), *region)
        return self._part(index, known=self.known[region], unevenness=uneven)

    def of_channels(self, channels: Sequence[int]) -> Plane:
        """Return some of the channels."""
        chosen = list(channels)
        stretch = self.stretch and self.stretch.of_channels(chosen)
        scale = {"offset": self.offset[chosen], "span": self.span[chosen]}
        return self._part(chosen, stretch=stretch, **scale)

    def stretched(self, spreads: Sequence[float] = ()) -> Plane:
        """Return the plane with values whose noise is even; see `Stretch.of`.

        The standard deviations are channel by channel.  Without any, and where it has
        been stretched already, the plane is returned as it is.
        """
        if not len(spreads) or self.stretch is not None:
            return self
        stretch = Stretch.of(spreads)
        return replace(self, values=stretch.stretch(self.values), stretch=stretch)

    def evened(
        self, numbers: Sequence[float], places: Sequence[tuple[slice, ...]]
    ) -> Plane:
        """Return the plane, a part of a whole one, with noise as strong everywhere.

        The numbers are those of `Unevenness.to_numbers`, and the place that of the
        part; windows have one each.  Without any, and where it has been done already,
        the plane is returned as it is.
        """
        if not len(numbers) or not places or self.unevenness is not None:
            return self
        uneven = Unevenness.of(numbers)
        factors = np.stack([uneven.factors(place) for place in places])
        factors = factors.reshape(self.known.shape)
        return replace(self, values=self.values / factors, unevenness=factors)

    def growth(self, values: Float) -> NDArray[Any]:
        """Return the units of the input in one of `values`, at every one of them."""
        growth = np.broadcast_to(self._in_units(self.span), values.shape)
        if self.unevenness is not None:
            uneven = _finer(self.unevenness[None], values)
            growth, values = growth * uneven, values * uneven
        return growth if self.stretch is None else growth * self.stretch.growth(values)

    @cached_property
    def mean_growth(self) -> NDArray[np.float64]:
        """The mean of `growth` over the image, (C,)."""
        if self.stretch is None and self.unevenness is None:
            return self.span
        axes = tuple(range(1, self.values.ndim))
        return np.asarray(self.growth(self.values).mean(axes, dtype=np.float64))

    def _part(self, index: Any, **others: Any) -> Plane:
        """Index all arrays that have channels, and replace other fields."""
        return replace(
            self,
            pixels=self.pixels[index],
            values=self.values[index],
            constant=self.constant[index],
            beyond=None if self.beyond is None else self.beyond[index],
            **others,
        )

    @cached_property
    def peaks(self) -> NDArray[np.bool_]:
        """Values of few pixels that differ from all others, as hot and dead ones do."""
        low, high = REACHED
        peaks: NDArray[np.bool_] = self.values > high + PEAK
        peaks = peaks | (self.values < low - PEAK)
        peaks |= np.stack([lone_pixels(v, *neighbour_limits(v)) for v in self.values])
        if np.count_nonzero(peaks) > FEW_OUTLIERS * peaks.size:
            peaks[:] = False
        return peaks if self.beyond is None else peaks | (self.beyond != 0)

    def without_constant(self) -> Plane:
        """Return the plane with pixels that are constant in all channels as missing.

        Where there is nothing else it is returned as it is.
        """
        varying = self.known * ~self.constant.all(axis=0)
        return replace(self, known=varying) if varying.any() else self

    @property
    def apart(self) -> NDArray[np.bool_]:
        """Values of constant regions far beyond the range of all others."""
        beyond = np.zeros(1) if self.beyond is None else self.beyond
        return np.asarray(self.constant & (beyond != 0))

    def without_apart(self) -> Plane:
        """Return the plane with constant pixels that are `apart` as missing."""
        apart = self.apart.any(axis=0) & self.constant.all(axis=0)
        return replace(self, known=self.known * ~apart) if apart.any() else self

    def within_reach(self) -> Plane:
        """Return the plane with all that lies beyond `REACHED` put aside.

        Fits that give pixels nothing of their own values back would lose it.
        """
        values, beyond = cut_off(self.values, *REACHED)
        if not beyond.any():
            return self
        if self.stretch is not None or self.unevenness is not None:
            beyond = self._as_scaled(self.values) - self._as_scaled(values)
        if self.beyond is not None:
            beyond = beyond + self.beyond
        return replace(self, values=values, beyond=beyond)

    def above(self, background: NDArray[np.float64]) -> Plane:
        """Return the plane with another value of every channel as zero."""
        over = self.to_units(self.values) - self._in_units(background)
        scaled = (over / self._in_units(self.span)).astype(np.float32)
        return replace(self, values=scaled, offset=background, beyond=None)

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Return the values, (1, C, ...), and what is known, (1, 1, ...)."""
        # torch only now: command line and widget read recipes without it.
        import torch

        values, known = torch.from_numpy(self.values), torch.from_numpy(self.known)
        return values[None].to(device), known[None, None].to(device)


def per_channel(numbers: Any, values: NDArray[Any]) -> NDArray[Any]:
    """Return one number per channel in a shape that broadcasts over `values`."""
    return np.reshape(numbers, (-1, *[1] * (values.ndim - 1)))


def prepare(
    pixels: Pixels | NDArray[Any],
    name: str,
    *,
    unit: bool = False,
    together: bool = False,
    scale: tuple[Any, ...] | None = None,
) -> Plane:
    """Clean and scale one plane.

    Constant regions take no part in the percentiles where something else is there, and
    what of them lies far beyond the range is put aside.

    Parameters
    ----------
    pixels : Pixels or ndarray
        (C, Y, X) or (C, Z, Y, X).
    name : str
        Name of the argument, for errors.
    unit : bool
        Map minimum and maximum to 0 and 1, as the papers' images are, in place
        of the 0.1 and 99.9 percentiles to 0.05 and 0.95, which leave outliers
        and a sigmoid's ends room.
    together : bool
        Scale all channels alike, for colours of one kind.
    scale : tuple of sequence of float, optional
        Offset and span of every channel, where they are known already, and what
        `Plane.stretched` takes.

    Raises
    ------
    InputError
        If there are infinities or nothing but NaN.
    """
    if not isinstance(pixels, Pixels):
        pixels = Pixels.of(pixels)
    plane, known, varying, warnings = _cleaned(pixels, name)
    if scale is None:
        used = np.broadcast_to(known, plane.shape) if unit else known & varying
        scale = scale_of(plane, used, unit, together)
    offset, span = (np.asarray(v, np.float64) for v in scale[:2])
    scaled = (plane - per_channel(offset, plane)) / per_channel(span, plane)
    values, beyond = np.asarray(scaled, np.float32), None
    if not (unit or together):
        values, beyond = _bounded(values, pixels.constant)
    values[:, ~known] = values[:, known].mean(axis=1, keepdims=True)
    dtypes = [
        float_type(low, low + width * bool(np.ptp(channel[known])))
        for channel, low, width in zip(plane, offset, span, strict=True)
    ]
    unstretched = Plane(
        pixels.values,
        values,
        np.asarray(known, np.float32),
        pixels.constant,
        offset,
        span,
        np.result_type(*dtypes),
        warnings,
        beyond=beyond,
    )
    return unstretched.stretched(*scale[2:])


def _cleaned(
    pixels: Pixels, name: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], tuple[str, ...]]:
    """Return values without outliers, where they are known, and vary, and warnings."""
    plane = pixels.values.astype(np.float64)
    known = np.asarray(known_pixels(plane, name).all(axis=0))
    if not known.any():
        raise InputError(f"{name} must have known pixels; got nothing but NaN")
    varying = varying_values(plane, known, pixels.constant)
    outlying = outliers(plane, varying)
    warnings = pixels.warnings
    if (known & outlying).any():
        known = known & ~outlying
        warnings += (
            f"pixels of {name} that lie more than {OUTLYING:,.0f} times as far from "
            f"the median as others took no part in the fit; their number is "
            f"{np.count_nonzero(outlying)}",
        )
    plane[:, ~known] = np.nan
    return plane, known, varying, warnings


def _bounded(values: Float, constant: NDArray[np.bool_]) -> tuple[Float, Float | None]:
    """Cut off what would leave nothing of the others; also return what was beyond."""
    others = np.where(constant, 0, values)
    low = DARKEST if (others < 1 - FAR).any() else -np.inf
    high = BRIGHTEST if (others > FAR).any() else np.inf
    limits = np.where(constant, DARKEST, low), np.where(constant, BRIGHTEST, high)
    bounded, excess = cut_off(values, *limits)
    return (bounded, excess) if excess.any() else (values, None)


def keeping(plane: Plane, kept: NDArray[np.bool_]) -> Callable[[Float], NDArray[Any]]:
    """Return the way back to units that leaves the kept pixels exactly as they came."""
    if not kept.any():
        return plane.to_units
    exact = np.result_type(plane.pixels.dtype, np.float32)
    exact_values = np.where(kept, plane.pixels, 0).astype(exact)
    return lambda values: np.where(
        _finer(kept, values), _finer(exact_values, values), plane.to_units(values)
    )


def _finer(image: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Return an image on the pixels of values, which may be finer by a factor."""
    for axis in range(1, values.ndim):
        factor = values.shape[axis] // image.shape[axis]
        image = image.repeat(factor, axis) if factor > 1 else image
    return image
