"""Noise models, and the one of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.arrays import Float
from napari_dip.tasks.noise_level import NOISELESS, gaussian_variance
from napari_dip.tasks.patches import FEWEST_PATCHES, Mask, clear_patches
from napari_dip.tasks.plane import LIKE_SPANS, Plane, per_channel
from napari_dip.tasks.recipe import parameter
from napari_dip.tasks.signal_dependence import photon_counts, signal_dependence

if TYPE_CHECKING:
    from torch import Tensor

LIKE_VARIANCES = 4.0
"""Ratio of the variances of two channels up to which they are measured together."""

DARK = 0.02
"""Least variance without signal of noise that grows with it, over that at the mean."""

_MOST = 2.0
"""Most noise that is taken for possible, in standard deviations of the values, which
differ by the signal as well."""

MANY_PLANES = 8
"""Planes from which on each is asked for its noise."""

LARGE_PLANE = 96
"""Pixels along a plane that tell its noise well enough."""

LEAST = 0.2
"""Quantile of the noise of planes that is taken for that of all."""


@dataclass(frozen=True)
class NoiseModel:
    """Variance as a function of the signal, ``gain * (signal - offset) + variance``."""

    variance: tuple[float, ...]
    """Variance of every channel without signal; for Gaussian noise, of everything."""
    gain: tuple[float, ...]
    """Variance per unit of signal, 0 for Gaussian noise."""
    offset: tuple[float, ...]
    """Signal at which `variance` holds."""

    @classmethod
    def gaussian(cls, variance: Any) -> NoiseModel:
        """Return the model of Gaussian noise with a variance for every channel."""
        variances = tuple(float(v) for v in np.atleast_1d(variance))
        zeros = (0.0,) * len(variances)
        return cls(variances, zeros, zeros)

    @property
    def kind(self) -> str:
        """Kind of noise, "gaussian" or "poisson-gaussian"."""
        return "poisson-gaussian" if any(self.gain) else "gaussian"

    def level(self, values: Float, usable: Mask | None = None) -> NDArray[np.float64]:
        """Return the mean variance of every channel of an image, (C, ...).

        Values that are not `usable`, of the same shape, do not count, unless a channel
        has no others.
        """
        chosen = np.ones(values.shape, bool) if usable is None else usable.copy()
        chosen[~chosen.reshape(len(chosen), -1).any(axis=1)] = True
        axes = tuple(range(1, values.ndim))
        means = values.mean(axis=axes, where=chosen).astype(np.float64)
        signal = np.maximum(means - self.offset, 0)
        level: NDArray[np.float64] = np.asarray(self.gain) * signal + self.variance
        return level

    def at(self, image: Tensor) -> Tensor:
        """Return the variance at every value of an image, a tensor (1, C, ...)."""
        from napari_dip.prior import operators

        gain, offset, variance = (
            operators.per_channel(image.new_tensor(v), image)
            for v in (self.gain, self.offset, self.variance)
        )
        return gain * (image - offset).clamp(min=0) + variance

    def details(
        self, variance: NDArray[np.float64], span: NDArray[np.float64]
    ) -> dict[str, Any]:
        """Return the noise of channels, of that variance, in the units of the input."""
        return {
            "noise": self.kind,
            "sigma": single_or_list(variance**0.5 * span),
            "gain": single_or_list(self.gain * span),
        }

    def of_channels(self, channels: Sequence[int]) -> NoiseModel:
        """Return the model of some of the channels."""
        return NoiseModel(*(tuple(v[c] for c in channels) for v in vars(self).values()))

    def rescaled(self, factor: NDArray[np.float64]) -> NoiseModel:
        """Return the model of ``image / factor``, one factor per channel."""
        return NoiseModel(
            tuple((np.asarray(self.variance) / factor**2).tolist()),
            tuple((np.asarray(self.gain) / factor).tolist()),
            tuple((np.asarray(self.offset) / factor).tolist()),
        )


def known_sigma() -> Any:
    """Return the field of a recipe for the noise that the user knows."""
    return parameter(
        None,
        "Standard deviation of gaussian noise in the units of the image; None "
        "estimates it. Where neighbouring pixels share the noise and no place is flat, "
        "only a given one keeps the texture.",
        low=0,
        advanced=True,
    )


NOTHING = NoiseModel((), (), ())
"""The noise of no channels."""


def plane_model(plane: Plane, noise: str, sigma: float | None) -> NoiseModel:
    """Return the noise model to fit with, every channel with its own level.

    Channels of like span and noise share the estimate of how noise grows with the
    signal.  `noise` is the kind to assume, or "auto"; `sigma` the standard deviation in
    the units of the image, if it is known.
    """
    values, usable = plane.values, plane.noisy
    if sigma is not None:
        # The fit would end far from the image.
        most = np.maximum(_MOST * plane.contrast, 1e-5)
        return NoiseModel.gaussian(np.clip(sigma / plane.span, 1e-5, most) ** 2)
    count = len(values)
    # A single hot pixel in a patch would count as noise of all its pixels.
    even = usable & ~plane.peaks
    variances = np.array(
        [_least_variance(values[c : c + 1], even[c]) for c in range(count)]
    )
    dependence: list[tuple[float, float] | None] = [None] * count
    if noise in ("auto", "poisson", "poisson-gaussian"):
        dependence = _dependence(plane, variances)
        dependence = [
            photon_counts(values[c], usable[c], variances[c]) or dependence[c]
            for c in range(count)
        ]
    models = [
        _channel(values[c][usable[c]], noise, variances[c], dependence[c])
        if usable[c].any()
        else (max(variances[c], NOISELESS), 0.0, 0.0)
        for c in range(count)
    ]
    return NoiseModel(*(tuple(map(float, row)) for row in zip(*models, strict=True)))


def _least_variance(values: Float, usable: Mask) -> float:
    """Estimate the variance of independent noise where there is least texture.

    Fine texture counts as noise.  Of many large planes those that have least of it tell
    the noise of all.
    """
    planes = np.moveaxis(values, -3, 0) if values.ndim == 4 else values[None]
    masks = usable if values.ndim == 4 else usable[None]
    if len(planes) < MANY_PLANES or min(values.shape[-2:]) < LARGE_PLANE:
        return gaussian_variance(values, usable)
    step = max(len(planes) // (4 * MANY_PLANES), 1)
    variances = [
        gaussian_variance(plane, mask)
        for plane, mask in zip(planes[::step], masks[::step], strict=True)
        # Of others, gaussian_variance would look at pixels without noise.
        if np.count_nonzero(clear_patches(mask[None])) >= FEWEST_PATCHES
    ]
    if not variances:
        return gaussian_variance(values, usable)
    return float(np.quantile(variances, LEAST))


def excess_warnings(plane: Plane, sigma: float | None) -> tuple[str, ...]:
    """Return a warning if a given noise is more than the values of an image differ."""
    if sigma is None:
        return ()
    contrast = plane.contrast * plane.span
    if (sigma <= _MOST * contrast).any():
        return ()
    return (
        f"sigma is {sigma:g}, but the standard deviation of the image is only "
        f"{contrast.max():.3g}; sigma must be in the units of the image",
    )


def _dependence(
    plane: Plane, variances: NDArray[np.float64]
) -> list[tuple[float, float] | None]:
    """Return gain and variance at zero of every channel, in its own units."""
    values, usable, spans = plane.values, plane.noisy, plane.span
    # Relative to the largest, whose square could be too large.
    power = variances * (spans / spans.max()) ** 2
    comparable = spans.max() <= LIKE_SPANS * spans.min()
    comparable = comparable and power.max() <= LIKE_VARIANCES * max(power.min(), 1e-300)
    if not comparable:
        return [
            signal_dependence(v[None], u[None])
            for v, u in zip(values, usable, strict=True)
        ]
    # In the units of the first channel.
    scale, shift = spans / spans[0], (plane.offset - plane.offset[0]) / spans[0]
    common = values * per_channel(scale, values) + per_channel(shift, values)
    together = signal_dependence(common.astype(np.float32), usable)
    if together is None:
        return [None] * len(values)
    gain, intercept = together
    return [
        (gain / k, (intercept + gain * s) / k**2)
        for k, s in zip(scale, shift, strict=True)
    ]


def _channel(
    values: NDArray[Any],
    noise: str,
    variance: float,
    dependence: tuple[float, float] | None,
) -> tuple[float, float, float]:
    """Return variance, gain and offset of one channel."""
    if dependence is not None:
        gain, intercept = dependence
        low = float(np.percentile(values, 0.1))
        floor = gain * low + intercept
        # Below the darkest signal seen the line means nothing.
        smallest = DARK * (gain * float(values.mean()) + intercept)
        return max(floor, smallest, NOISELESS), gain, low
    if noise in ("poisson", "poisson-gaussian"):
        # Asked for, though the image does not show it: the noise there is, grown
        # in proportion to the signal.
        low = float(np.percentile(values, 0.1))
        gain = variance / max(float(values.mean()) - low, 1e-6)
        return max(DARK * variance, NOISELESS), gain, low
    return max(variance, NOISELESS), 0.0, 0.0


def single_or_list(numbers: Any) -> float | list[float]:
    """Return one number, or a list of one per channel, for the provenance."""
    values: list[float] = np.atleast_1d(numbers).tolist()
    return values[0] if len(values) == 1 else values
