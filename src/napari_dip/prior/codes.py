"""What the network sees: fixed codes z, perturbed codes, and hidden pixels.

A code is a small frozen dataclass.  ``code.drawing(...)`` prepares it for one fit and
returns a `Drawing`, whose `draw` is called once per iteration.  It returns what the
network sees then: the input, and which pixels were hidden from it (None where a code
hides nothing).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Generator as Random
from torch import Tensor
from torch.nn import functional as F

from napari_dip.prior.kinds import check_fields
from napari_dip.prior.layers import corner, memory_format

Sides = tuple[int, ...]

PERIOD = 64
"""Pixels after which the division of pixels into classes to hide repeats itself."""

PIXELS_ON_GPU = 1 << 19
"""Pixels that a GPU predicts at once, so that it does not wait for small steps."""


class Draw(NamedTuple):
    """Input of one iteration, (1, channels, ...), and its hidden pixels.

    `hidden` is (1, 1, ...), or (1, C, ...) for a code that hides values instead of
    pixels, with 1 where the network could not see it; or None.  Where it is given,
    only predictions of hidden pixels are compared with the measurement and averaged
    into the result.  `window` is the number, (1,), of the window of the measurement
    that this is about; None where all are.  A cover may draw several at once.
    """

    code: Tensor
    hidden: Tensor | None
    window: Tensor | None = None


class Code(ABC):
    """Base of everything that can feed the network."""

    per_channel: bool = False
    """Whether channels are hidden, and so held out, one by one."""

    @abstractmethod
    def channels(self, shape: tuple[int, ...]) -> int:
        """Return the number of input channels for an image of shape (C, ...)."""

    @abstractmethod
    def drawing(
        self, canvas: Sides, measurement: Tensor, known: Tensor, generator: Random
    ) -> Drawing:
        """Return the code prepared for one fit.

        `canvas` are the sides the network works on; the measurement, (N, C, ...),
        covers their near corner, and `known`, (N, 1, ...) or (N, C, ...), is 0
        where it is missing or held out.
        """

    @abstractmethod
    def draw(self, drawing: Drawing, generator: Random) -> Draw:
        """Return what the network sees in one iteration."""

    @abstractmethod
    def cover(self, drawing: Drawing, generator: Random) -> Iterator[Draw]:
        """Yield what the network sees so as to predict every pixel."""


class Drawing:
    """A code prepared for one fit, and tensors that stay the same through it."""

    def __init__(self, code: Code, sides: Sides, **tensors: Tensor) -> None:
        self.code, self.sides, self.tensors = code, sides, tensors

    def draw(self, generator: Random) -> Draw:
        """Return what the network sees in one iteration."""
        return self.code.draw(self, generator)

    def cover(self, generator: Random) -> Iterator[Draw]:
        """Yield what the network sees so as to predict every pixel."""
        return self.code.cover(self, generator)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the fixed tensors."""
        return self.tensors


def views_at_once(sides: Sides, device: torch.device) -> int:
    """Return how many views of such sides a device predicts at once."""
    return 1 if device.type == "cpu" else max(PIXELS_ON_GPU // math.prod(sides), 1)


def extend(image: Tensor, canvas: Sides) -> Tensor:
    """Extend the far side of every spatial axis to `canvas` by reflection."""
    for axis, size in enumerate(canvas, start=2):
        n = image.shape[axis]
        if size > n:
            period = max(2 * (n - 1), 1)
            index = torch.arange(size, device=image.device) % period
            image = image.index_select(axis, torch.minimum(index, period - index))
    return image


class Perturbed(Code):
    """Base of codes that are fixed but for normal noise added in every iteration."""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"perturbation": (0, math.inf)}
    """Lowest and highest values of the parameters."""

    perturbation: float

    def __post_init__(self) -> None:
        check_fields(self, type(self).__name__, **self.ranges)

    @abstractmethod
    def fixed(self, canvas: Sides, measurement: Tensor, random: Random) -> Tensor:
        """Return the code without the noise; see `Code.drawing`."""

    def drawing(
        self, canvas: Sides, measurement: Tensor, known: Tensor, generator: Random
    ) -> Drawing:
        """Prepare the code for one fit; see `Code.drawing`."""
        z = self.fixed(canvas, measurement, generator)
        z = z.contiguous(memory_format=memory_format(z.ndim - 2))
        return Drawing(self, tuple(measurement.shape[2:]), z=z)

    def draw(self, drawing: Drawing, generator: Random) -> Draw:
        """Add the noise."""
        z = drawing.tensors["z"]
        if self.perturbation == 0:
            return Draw(z, None)
        # Drawn with the channels last in memory: on a permuted tensor the CPU's
        # generator leaves its vectorised path and takes nine times as long.
        shape = (1, *z.shape[2:], z.shape[1])
        noise = torch.empty(shape, device=z.device, dtype=torch.float32)
        noise.normal_(std=self.perturbation, generator=generator)
        return Draw(noise.movedim(-1, 1).add_(z), None)

    def cover(self, drawing: Drawing, generator: Random) -> Iterator[Draw]:
        """Yield the code without noise."""
        yield Draw(drawing.tensors["z"], None)


@dataclass(frozen=True)
class Noise(Perturbed):
    """Uniform noise in [0, scale], the first paper's code (section 4)."""

    ranges = Perturbed.ranges | {"features": (1, math.inf), "scale": (0, math.inf)}

    features: int = 32
    """Channels."""
    scale: float = 0.1
    """Upper end of the uniform distribution."""
    perturbation: float = 1 / 30
    """Standard deviation sigma_p of the normal noise added anew each iteration."""

    def channels(self, shape: tuple[int, ...]) -> int:
        """Return the number of input channels."""
        return self.features

    def fixed(self, canvas: Sides, measurement: Tensor, random: Random) -> Tensor:
        """Draw the uniform noise."""
        shape = (1, self.features, *canvas)
        fixed = torch.rand(
            shape, generator=random, device=measurement.device, dtype=torch.float32
        )
        return fixed * self.scale


@dataclass(frozen=True)
class Meshgrid(Perturbed):
    """The coordinates of every pixel in [0, 1] (first paper, Fig. 21)."""

    perturbation: float = 0.0

    def channels(self, shape: tuple[int, ...]) -> int:
        """Return one channel per spatial dimension."""
        return len(shape) - 1

    def fixed(self, canvas: Sides, measurement: Tensor, random: Random) -> Tensor:
        """Lay out the coordinates."""
        axes = [
            torch.linspace(0, 1, n, device=measurement.device, dtype=torch.float32)
            for n in canvas
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


@dataclass(frozen=True, eq=False)
class Guide(Perturbed):
    """A second image of the same scene as the code (first paper, section 3.7)."""

    image: Tensor
    """The guide, (1, channels, ...), in about [0, 1]."""
    perturbation: float = 0.0
    """As in `Noise`."""

    def channels(self, shape: tuple[int, ...]) -> int:
        """Return the channels of the guide."""
        return self.image.shape[1]

    def fixed(self, canvas: Sides, measurement: Tensor, random: Random) -> Tensor:
        """Extend the guide to the canvas."""
        return _over(self.image, measurement, canvas)


@dataclass(frozen=True)
class BlindSpot(Code):
    """The measurement itself, with a new random part of its pixels hidden each time.

    A hidden pixel is replaced by the mean of its visible neighbours and marked in
    an extra channel.  What the network says about it can rely on its neighbours
    only, so the pixel's own noise is not copied (Noise2Self, Batson and Royer,
    2019; Noise2Void, Krull et al., 2019).
    """

    fraction: float = 0.3
    """Part of the pixels hidden in each iteration."""
    per_channel: bool = False
    """Hide every channel's pixels for themselves.  The other channels then show the
    structure at a hidden value, which is worth much where the noise of the channels is
    independent, and copies their noise where it is not."""
    guide: Tensor | None = field(default=None, compare=False, repr=False)
    """A second image of the same scene, (1, channels, ...), in about [0, 1], that is
    never hidden; its noise must be independent of the measurement's."""

    def __post_init__(self) -> None:
        check_fields(self, "BlindSpot", fraction=(0.001, 1))

    def channels(self, shape: tuple[int, ...]) -> int:
        """Return the channels of measurement, mask and guide."""
        guides = 0 if self.guide is None else self.guide.shape[1]
        return shape[0] + (shape[0] if self.per_channel else 1) + guides

    def drawing(
        self, canvas: Sides, measurement: Tensor, known: Tensor, generator: Random
    ) -> Drawing:
        """Extend the measurement to the canvas; see `Code.drawing`."""
        tensors = {
            "image": extend(measurement, canvas),
            "known": extend(known, canvas),
        }
        if self.guide is not None:
            tensors["guide"] = _over(self.guide, measurement, canvas) - 0.5
        return Drawing(self, tuple(measurement.shape[2:]), **tensors)

    def draw(self, drawing: Drawing, generator: Random) -> Draw:
        """Choose a window and the hidden pixels in it, and fill them in."""
        window, windows = None, len(drawing.tensors["image"])
        if windows > 1:
            device = drawing.tensors["image"].device
            window = torch.randint(windows, (1,), generator=generator, device=device)
        uniform = self._uniform(drawing, drawing.sides, generator)
        return self._hide(drawing, uniform < self.fraction, window)

    def cover(self, drawing: Drawing, generator: Random) -> Iterator[Draw]:
        """Yield as many views as it takes to hide every pixel once.

        Pixels are divided into classes at random, as large as the hidden part.  The
        division repeats itself every `PERIOD` pixels, so that two parts of an image
        which are that far apart, or a multiple, are looked at alike where they overlap.
        """
        image = drawing.tensors["image"]
        count = max(round(1 / self.fraction), 2)
        period = (PERIOD,) * len(drawing.sides)
        uniform = self._uniform(drawing, period, generator)
        repeats = [-(-side // PERIOD) for side in drawing.sides]
        uniform = uniform.repeat(1, 1, *repeats)[corner(drawing.sides)]
        views = torch.arange(len(image) * count, device=image.device)
        for numbers in views.split(views_at_once(drawing.sides, image.device)):
            lowest = (numbers % count).reshape(-1, 1, *[1] * len(period))
            above = uniform >= lowest / count
            chosen = above & (uniform < (lowest + 1) / count)
            yield self._hide(drawing, chosen, numbers // count)

    def _uniform(self, drawing: Drawing, sides: Sides, generator: Random) -> Tensor:
        """Draw a random number in [0, 1) for everything that can be hidden."""
        image = drawing.tensors["image"]
        masks = image.shape[1] if self.per_channel else 1
        return torch.rand(
            (1, masks, *sides),
            generator=generator,
            device=image.device,
            dtype=torch.float32,
        )

    def _hide(self, drawing: Drawing, chosen: Tensor, window: Tensor | None) -> Draw:
        """Hide the chosen pixels, and those that are not known, and fill them in."""
        tensors = drawing.tensors
        if window is not None:
            tensors = {name: t.index_select(0, window) for name, t in tensors.items()}
        image, known = tensors["image"], tensors["known"]
        canvas, spatial = image.shape[2:], tuple(range(2, image.ndim))
        average_pool = F.avg_pool2d if len(canvas) == 2 else F.avg_pool3d
        # A pixel and its mirror images beyond the far side hide together.
        visible = ~extend(chosen, canvas) * known
        hidden = 1 - visible
        around = average_pool(visible, 3, 1, 1)
        shown = image * visible
        near = average_pool(shown, 3, 1, 1)
        # Means of windows with no visible pixel fall back to the whole image's.
        count = visible.sum(spatial, True).clamp(min=1)
        mean = shown.sum(spatial, True) / count
        fill = torch.where(around > 0, near / around.clamp(min=1e-3), mean)
        parts = [torch.lerp(image, fill, hidden) - 0.5, hidden]
        if "guide" in tensors:
            parts.append(tensors["guide"])
        return Draw(torch.cat(parts, dim=1), hidden[corner(drawing.sides)], window)


def _over(guide: Tensor, measurement: Tensor, canvas: Sides) -> Tensor:
    """Return a copy of the part of a guide that lies over a measurement, extended."""
    part = guide[corner(measurement.shape[2:])]
    return extend(part.to(measurement.device, torch.float32, copy=True), canvas)
