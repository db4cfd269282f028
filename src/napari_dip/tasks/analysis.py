"""What is found out about an image before a fit, once, as a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import numpy as np

from napari_dip.errors import InputError
from napari_dip.prior.kinds import is_of_kind
from napari_dip.tasks.noise import NOTHING, NoiseModel
from napari_dip.tasks.noise_level import NOISELESS
from napari_dip.tasks.plane import Plane
from napari_dip.tasks.scaling import LARGEST
from napari_dip.tasks.stretch import KNOTS, WEAKEST
from napari_dip.tasks.unevenness import MOST, NUMBERS, Unevenness

STRONGEST = 1e10
"""Largest number of a model of noise, in scaled units: nothing is left of the image
long before."""

WORST_CONDITION = 1e6
"""Largest condition number of `Analysis.mixing`: float32 has seven digits."""


@dataclass(frozen=True)
class Analysis:
    """What was found out about channels that are fitted together.

    It holds plain numbers, so that it can be kept in a file and given to another
    process, tile or plane, which then fits as the whole image would.
    """

    channels: tuple[int, ...]
    """Channels of the image that it describes."""
    offset: tuple[float, ...]
    span: tuple[float, ...]
    """Scale of every channel: ``input = offset + span * scaled``."""
    noise: NoiseModel
    """Noise of every channel, in scaled units."""
    correlated: bool = False
    """Whether neighbouring pixels share their noise."""
    mixing: tuple[float, ...] = ()
    """Weights of the channels in components whose noise is independent, component by
    component; empty unless the channels share their noise."""
    components: NoiseModel = NOTHING
    """Noise of these components."""
    noisy: bool = False
    """Whether a task that asks takes the image for noisy."""
    clean: tuple[bool, ...] = ()
    """The same the other way round for every channel, where that is asked."""
    mask: str = ""
    """Kind of the mask, "text", "hole" or "random"; empty without one."""
    missing: float = 0.0
    """Part of the pixels that is missing under the mask."""
    detail: float = 0.0
    """Mean square of the fine detail, in scaled units."""
    background: tuple[float, ...] = ()
    """Value of every channel that stands for no light, in units of the image."""
    levels: tuple[float, ...] = ()
    """Mean variance of the noise of every channel, in scaled units."""
    spreads: tuple[float, ...] = ()
    """Standard deviations of noise that falls as the signal grows, at equally spaced
    scaled values from 0 to 1, channel by channel; empty for all other noise.  All else
    describes the values after they have been stretched by it."""
    unevenness: tuple[float, ...] = ()
    """How much stronger the noise is towards the border of a plane, as
    `Unevenness.to_numbers` returns it; empty where it is as strong everywhere.  All
    else describes the values after they have been divided by it."""
    sharp_span: tuple[float, ...] = ()
    """Range of the sharp image of every channel, in scaled units; empty where nothing
    is deblurred."""
    sparse: bool = False
    """Whether the sharp image has sparse gradients, as spots on a dark ground have."""
    subsampling: str = ""
    """How a JPEG file shares colours between pixels, such as "4:2:0"; empty where that
    is not asked."""
    warnings: tuple[str, ...] = ()
    """What the user should know about the image."""

    @classmethod
    def unknown(cls, channels: int) -> Analysis:
        """Return the analysis of an image that nothing is known of but its shape."""
        return cls(
            channels=tuple(range(channels)),
            offset=(0.0,) * channels,
            span=(1.0,) * channels,
            noise=NoiseModel.gaussian([1e-4] * channels),
            levels=(1e-4,) * channels,
        )

    @classmethod
    def of(cls, plane: Plane, channels: tuple[int, ...], **facts: Any) -> Analysis:
        """Return the analysis of a plane that was scaled by itself."""
        noise = facts.setdefault(
            "noise", NoiseModel.gaussian([NOISELESS] * len(channels))
        )
        facts.setdefault(
            "levels", tuple(noise.level(plane.values, plane.noisy).tolist())
        )
        return cls(
            channels=channels,
            offset=tuple(plane.offset.tolist()),
            span=tuple(plane.span.tolist()),
            **facts,
        )

    @property
    def scale(self) -> tuple[tuple[float, ...], ...]:
        """Offset, span and spreads, as `prepare` takes them."""
        return self.offset, self.span, self.spreads

    @property
    def shared(self) -> bool:
        """Whether the channels share their noise."""
        return bool(self.mixing)

    def to_dict(self) -> dict[str, Any]:
        """Return the analysis as a JSON-able dict."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Analysis:
        """Return the analysis of `to_dict`, or of the JSON made from it."""
        try:
            fields: dict[str, Any] = {
                name: NoiseModel(**{k: _frozen(v) for k, v in value.items()})
                if isinstance(value, Mapping)
                else _frozen(value)
                for name, value in values.items()
            }
            analysis = cls(**fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"analysis must be one of a fit, as in its settings; got {values!r:.99}"
            ) from error
        analysis._check()
        return analysis

    def _check(self) -> None:
        """Raise unless every field is what a fit can have found out."""
        _check_kinds(self, LARGEST)
        for model in (self.noise, self.components):
            _check_kinds(model, STRONGEST)
        count, mixing, spreads = len(self.channels), self.mixing, self.spreads
        if mixing and not (len(mixing) == count**2 and _has_inverse(mixing, count)):
            wanted = f"be {count} x {count} numbers of a matrix that can be inverted"
            raise _refused("mixing", wanted, mixing)
        within = all(WEAKEST <= spread <= 1 for spread in spreads)
        if spreads and not (len(spreads) == count * KNOTS and within):
            wanted = f"be {count * KNOTS} numbers from {WEAKEST:.3f} to 1"
            wanted += f", {KNOTS} for each of the channels {self.channels}"
            raise _refused("spreads", wanted, spreads)
        uneven = self.unevenness
        if uneven and not (len(uneven) == NUMBERS and Unevenness.of(uneven).possible):
            wanted = f"be the {NUMBERS} numbers of a factor from 1 to {MOST:g}"
            raise _refused("unevenness", f"{wanted} at every pixel", uneven)
        each = [(name, getattr(self, name)) for name in ("offset", "span", "levels")]
        optional = ("clean", "background", "sharp_span")
        each += [(name, v) for name in optional if (v := getattr(self, name))]
        for model in (self.noise, self.components)[: 1 + self.shared]:
            each += vars(model).items()
        for name, values in each:
            _check_each(name, values, self.channels)


def _refused(name: str, wanted: str, value: Any) -> InputError:
    return InputError(f"analysis: {name} must {wanted}; got {value!r:.99}")


def _check_kinds(part: Any, largest: float) -> None:
    """Raise unless fields are of their types, and numbers no larger than that."""
    for name, kind in get_type_hints(type(part)).items():
        value = getattr(part, name)
        known = is_of_kind(value, kind)
        if known and kind in (float, tuple[float, ...]):
            known = bool((np.abs(np.asarray(value, np.float64)) <= largest).all())
        if not known:
            limits = f"numbers from {-largest:g} to {largest:g}"
            wanted = f"be of type {part.__annotations__[name]}, {limits}"
            raise _refused(name, wanted, value)


def _check_each(name: str, values: Any, channels: tuple[int, ...]) -> None:
    """Raise unless there is one possible value for each channel."""
    if len(values) != max(len(channels), 1):
        wanted = f"have one value for each of the channels {channels}"
        raise _refused(name, wanted, values)
    if name in ("span", "sharp_span", "variance") and min(values) <= 0:
        raise _refused(name, "be positive", values)
    power = name in ("variance", "gain", "levels")
    if power and (min(values) < 0 or max(values) > STRONGEST):
        raise _refused(name, f"be from 0 to {STRONGEST:g}", values)


def _frozen(value: Any) -> Any:
    """Return a list, which JSON has made of a tuple, as a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _has_inverse(mixing: tuple[float, ...], count: int) -> bool:
    matrix = np.reshape(mixing, (count, count))
    return bool(np.linalg.cond(matrix) < WORST_CONDITION)


def read(value: Any) -> tuple[Analysis, ...]:
    """Return the analyses that a user gave: one, a dict of one, or several."""
    analyses = value if isinstance(value, (list, tuple)) else [value]
    if not analyses:
        raise InputError("analysis must be one for every group of channels; got none")
    return tuple(
        analysis if isinstance(analysis, Analysis) else Analysis.from_dict(analysis)
        for analysis in analyses
    )
