"""How often, and along which axes, a network halves the resolution."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from napari_dip.errors import InputError
from napari_dip.prior.kinds import check_fields


def check_widths(architecture: Any) -> None:
    """Raise unless `widths` of an architecture are positive, one for every scale.

    The types of all its fields are checked before.
    """
    check_fields(architecture, type(architecture).__name__)
    widths = architecture.widths
    if not widths or min(widths) < 1:
        raise InputError(
            f"{type(architecture).__name__}: widths must be positive, one for every "
            f"scale; got {widths}"
        )


class Halving(ABC):
    """Base of networks that halve the resolution at every scale."""

    flat_scales: int
    """How many of the finest scales leave the first spatial axis of a volume at full
    resolution: for stacks whose planes are further apart than their pixels."""

    @property
    @abstractmethod
    def scales(self) -> int:
        """Number of scales, each halving the resolution once."""

    def check_flat_scales(self) -> None:
        """Raise if there are not as many scales."""
        if not 0 <= self.flat_scales <= self.scales:
            raise InputError(
                f"{type(self).__name__}: flat_scales must be from 0 to the number of "
                f"scales ({self.scales}); got {self.flat_scales}"
            )

    def strides(self, ndim: int) -> list[tuple[int, ...]]:
        """Return the downsampling factors of every scale, finest first."""
        full = (2,) * ndim
        flat = (1, *full[1:]) if ndim == 3 else full
        return [flat if i < self.flat_scales else full for i in range(self.scales)]

    def multiple(self, ndim: int) -> tuple[int, ...]:
        """Return what the sides of an image have to be multiples of."""
        return tuple(math.prod(s) for s in zip(*self.strides(ndim), strict=True))
