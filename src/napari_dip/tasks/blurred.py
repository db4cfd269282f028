"""Blurred images above their background, and how bright the sharp ones become."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.noise import NoiseModel
from napari_dip.tasks.noise_level import channel_variances
from napari_dip.tasks.plane import Plane, per_channel
from napari_dip.tasks.tiles import Region, tiles

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_dip.prior.convolution import Convolution

RICHARDSON_LUCY = 300
"""Most iterations of the estimate that a fit starts from: 5 to 20 are usual, beads take
all."""

SAMPLE_SIDE = 192
"""Pixels along the parts of a plane in tiles by which the range of the sharp image is
estimated; twice the PSF, if that is more."""

SAMPLES = 8
"""Parts that are estimated to the end; a plane of no more is estimated as a whole.

The range is then within 5 % of that of the whole plane for blobs and texture, and
within 40 % for single points, whose sharpness depends on where the iterations end.
"""

FEW = 10
"""Iterations on all parts, which tell where to look."""

FARTHEST = 1e4
"""Ranges of the image by which the background may be brighter than the image."""


@dataclass(frozen=True, eq=False)
class Blurred:
    """A measurement above its background."""

    plane: Plane
    """Where it was taken; its `to_units` leads back to the units of the image."""
    psf: Tensor
    """The PSF."""
    blur: Convolution
    """The blur."""
    measurement: Tensor
    weight: Tensor
    """What was measured, and where it is known."""
    estimate: Tensor
    """The sharp image by Richardson-Lucy."""

    def tensors(self, device: torch.device) -> tuple[Convolution, Tensor, Tensor]:
        """Return blur, measurement and weight on a device."""
        from napari_dip.prior.runtime import module_on

        tensors = self.measurement.to(device), self.weight.to(device)
        return module_on(self.blur, device), *tensors

    @property
    def sharp_span(self) -> tuple[float, ...]:
        """The range of the sharp image of every channel; see `Analysis`.

        Sharp images have brighter peaks than blurred ones.
        """
        values = self.plane.values[:, self.plane.known > 0]
        pairs = zip(values, self.estimate[0].numpy(), strict=True)
        return _span(max(float(np.percentile(v, 99.9)) for v in pair) for pair in pairs)

    @property
    def density(self) -> float:
        """The density of the gradients of the estimate, the mean over channels."""
        from napari_dip.prior.richardson_lucy import gradient_density

        return float(gradient_density(self.blur, self.estimate, self.weight).mean())

    def divided(self, span: NDArray[np.float64]) -> Blurred:
        """Return it in units in which peaks of the sharp image are near one."""
        import torch

        divisor = torch.from_numpy(
            per_channel(span, self.plane.values).astype(np.float32)
        )
        return replace(
            self,
            plane=replace(self.plane, span=span * self.plane.span),
            measurement=self.measurement / divisor,
            estimate=self.estimate / divisor,
        )


def blurred_image(
    boundary: str,
    kernel: NDArray[Any],
    plane: Plane,
    background: tuple[float, ...],
    noise: NoiseModel,
    iterations: int = RICHARDSON_LUCY,
) -> Blurred:
    """Return a plane above its background, with an estimate of the sharp image."""
    import torch

    from napari_dip.prior.convolution import Convolution
    from napari_dip.prior.richardson_lucy import least_risk

    above = plane.above(np.asarray(background)).without_constant()
    values, weight = above.tensors()
    psf = torch.from_numpy(kernel.astype(np.float32))
    blur = Convolution(psf, weight.shape[2:], periodic=boundary == "periodic")
    variance = noise.at(values)
    estimate = least_risk(blur, values, weight, variance, iterations)
    return Blurred(above, psf, blur, values, weight, estimate)


def sampled(
    plane: Plane,
    noise: NoiseModel,
    background: tuple[float, ...],
    blurred: Callable[..., Blurred],
    side: int,
) -> tuple[tuple[float, ...], float]:
    """Return range and density of a sharp image by parts of a plane.

    See `Blurred.sharp_span` and `Blurred.density`.  A few iterations on every part tell
    where the brightest pixels are, and all of them on some parts how bright these
    become.
    """
    cores = [tile.core for tile in tiles(plane.known.shape, (side, side), 0)]

    def estimated(core: Region, iterations: int) -> Blurred:
        return blurred(plane.cut(core), background, noise, iterations)

    def sharp(part: Blurred) -> NDArray[Any]:
        estimate: NDArray[Any] = part.estimate[part.blur.crop][0].numpy()
        return estimate

    first = np.empty_like(plane.values)
    for core in cores:
        first[:, *core] = sharp(estimated(core, FEW))
    known = plane.known > 0
    ends = np.percentile(first[:, known], 99.9, axis=1)
    bright = (first > per_channel(ends, first)) & known
    counts = np.array([np.count_nonzero(bright[:, *core]) for core in cores])
    ranked = np.argsort(-counts, kind="stable")[: max(np.count_nonzero(counts), 1)]
    spread = np.linspace(0, len(ranked) - 1, min(SAMPLES, len(ranked)))
    chosen = [cores[n] for n in ranked[spread.round().astype(int)]]
    parts = [estimated(core, RICHARDSON_LUCY) for core in chosen]
    estimates = [sharp(part) for part in parts]
    measured = plane.above(np.asarray(background)).values[:, known]
    tops = np.percentile(measured, 99.9, axis=1)
    for channel in range(len(tops)):
        # As many pixels as in the first estimate are beyond the end of the range.
        few = sum(int(bright[channel, *core].sum()) for core in chosen)
        values = np.sort(np.concatenate([e[channel].ravel() for e in estimates]))
        tops[channel] = max(tops[channel], values[-max(few, 1)])
    return _span(tops), float(np.mean([part.density for part in parts]))


def _span(tops: Iterable[float]) -> tuple[float, ...]:
    """Return the ranges of channels by the values that few pixels are above."""
    return tuple(float(top) / 0.9 if top > 0 else 1.0 for top in tops)


def floors(background: float | str | None, plane: Plane) -> NDArray[np.float64]:
    """Return the value of every channel that zero stands for: no light, or no limit."""
    values = plane.to_units(plane.values)[:, plane.known > 0]
    variances = channel_variances(plane.values, plane.noisy).tolist()
    noise = [s * v**0.5 for s, v in zip(plane.span, variances, strict=True)]
    pairs = zip(values, noise, strict=True)
    return np.array([_floor(background, *pair) for pair in pairs])


def _floor(background: float | str | None, seen: NDArray[Any], noise: float) -> float:
    low, high = (float(v) for v in np.percentile(seen, [0.1, 99.9]))
    # One range below the darkest the limit changes nothing, and it follows the
    # image's own offset.
    free = low - ((high - low) or 1.0)
    if background == "auto":
        background = None if np.percentile(seen, 1) < -4 * noise else 0.0
    if background is None:
        return free
    background = float(background)
    if background > high + FARTHEST * (low - free):
        raise InputError(
            f"background must be near the values of the image, {low:.3g} to "
            f"{high:.3g}; got {background:.3g}"
        )
    return max(background, free)
