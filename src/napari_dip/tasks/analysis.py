"""What is found out about an image before a fit, once, as a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_dip.errors import InputError
from napari_dip.prior.registry import frozen
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.noise_level import NOISELESS
from napari_dip.tasks.plane import Plane


@dataclass(frozen=True)
class Analysis:
    """What was found out about channels that are fitted together.

    It holds plain numbers, so that it can be kept in a file and given to another
    process, tile or plane, which then fits as the whole image would.

    Attributes
    ----------
    channels : tuple of int
        Channels of the image that it describes.
    offset, span : tuple of float
        Scale of every channel: ``input = offset + span * scaled``.
    noise : NoiseModel
        Noise of every channel, in scaled units.
    correlated : bool
        Whether neighbouring pixels share their noise.
    shared : bool
        Whether the channels share their noise.
    noisy : bool
        Whether a task that asks takes the image for noisy.
    clean : tuple of bool
        The same the other way round for every channel, where that is asked.
    constant : bool
        Whether nothing varies, so that there is nothing to fit.
    mask : str
        Kind of the mask, "text", "hole" or "random"; empty without one.
    missing : float
        Part of the pixels that is missing under the mask.
    detail : float
        Mean square of the fine detail, in scaled units.
    background : tuple of float
        Value of every channel that stands for no light, in units of the image.
    levels : tuple of float
        Mean variance of the noise of every channel, in scaled units.
    sharp_span : tuple of float
        Range of the sharp image of every channel, in scaled units; empty where nothing
        is deblurred.
    subsampling : str
        How a JPEG file shares colours between pixels, such as "4:2:0"; empty where that
        is not asked.
    warnings : tuple of str
        What the user should know about the image.
    """

    channels: tuple[int, ...]
    offset: tuple[float, ...]
    span: tuple[float, ...]
    noise: NoiseModel
    correlated: bool = False
    shared: bool = False
    noisy: bool = False
    clean: tuple[bool, ...] = ()
    constant: bool = False
    mask: str = ""
    missing: float = 0.0
    detail: float = 0.0
    background: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()
    sharp_span: tuple[float, ...] = ()
    subsampling: str = ""
    warnings: tuple[str, ...] = ()

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
            constant=not np.ptp(plane.values[:, plane.known > 0], axis=1).any(),
            **facts,
        )

    @property
    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Offset and span, as `prepare` takes them."""
        return self.offset, self.span

    def to_dict(self) -> dict[str, Any]:
        """Return the analysis as a JSON-able dict."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Analysis:
        """Return the analysis of `to_dict`, or of the JSON made from it."""
        try:
            fields = {k: frozen(v) for k, v in values.items() if k != "noise"}
            noise = NoiseModel(**{k: frozen(v) for k, v in values["noise"].items()})
            return cls(noise=noise, **fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"analysis must be one of a fit, as in its settings; got {values!r}"
            ) from error


def read(given: Any) -> tuple[Analysis, ...]:
    """Return the analyses that a user gave: one, a dict of one, or several."""
    several = given if isinstance(given, (list, tuple)) else [given]
    return tuple(
        one if isinstance(one, Analysis) else Analysis.from_dict(one) for one in several
    )
