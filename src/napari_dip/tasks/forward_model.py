"""Measurements of any kind, and the operators that map an image to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Float, Layout, as_array, longer_axes
from napari_dip.tasks.scaling import float_type, known_pixels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_dip.tasks.restore import RestoreRecipe

SOUNDINGS = 30
"""Steps of the least-squares estimate that the range of the image is read from."""


def as_measurements(given: Any) -> list[Float]:
    """Return the measurements, of which one or a list is given, checked.

    They are float32, NaN where they are missing.  A list of numbers is an array, one of
    arrays is several.
    """
    several = _is_list(given) and all(hasattr(m, "shape") for m in given)
    if several and not len(given):
        raise InputError("measurement must not be an empty list")
    if not several:
        return [_measured(given, "measurement")]
    return [_measured(m, f"measurement {i}") for i, m in enumerate(given)]


def _is_list(value: Any) -> bool:
    """Return whether a value is a list of some kind, such as deepinv's of tensors."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return False  # numbers, not a list of arrays
    indexed = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    return indexed and not hasattr(value, "dtype")


def _measured(value: Any, name: str) -> Float:
    if hasattr(value, "detach") and not getattr(value, "is_meta", False):
        value = value.detach().cpu()
    array = np.asarray(as_array(value, name)).astype(np.float64)
    known = known_pixels(array, name)
    if not known.any():
        raise InputError(f"{name} must have known values; got nothing but NaN")
    low, high = array[known].min(), array[known].max()
    if float_type(low, high) != np.float32:
        raise InputError(
            f"{name} must have a range that float32 can hold, in which the operator "
            f"works; got {low:.9g} to {high:.9g} (subtract an offset, or scale it)"
        )
    return array.astype(np.float32)


class ForwardModel:
    """The measurements with their operators, tried once."""

    def __init__(
        self,
        recipe: RestoreRecipe,
        layout: Layout,
        measured: Sequence[Float],
        operator: Any,
    ) -> None:
        self.recipe, self.measured = recipe, measured
        self.operators = _operators(operator, len(measured))
        self.shape = (layout.channels, *layout.sides)

    @cached_property
    def device(self) -> torch.device:
        """Where the operators work."""
        from napari_dip.prior import runtime

        return runtime.pick_device(self.recipe.device)

    @cached_property
    def measure(self) -> Callable[[Tensor], Tensor]:
        """The operators as one, of which it is known that it can be fitted.

        It makes a flat tensor, (1, 1, N), of an image in the user's units.
        """
        import torch

        forwards = [_forward(operator, self.device) for operator in self.operators]
        with torch.inference_mode(False), torch.enable_grad():
            _try(forwards, self.shape, self.measured, self.device)

        def measure(image: Tensor) -> Tensor:
            parts = _predict(forwards, image)
            return torch.cat([p.reshape(-1) for p in parts])[None, None].float()

        return measure

    @cached_property
    def error_units(self) -> list[float]:
        """The unit of every measurement's errors."""
        sigma, count = self.recipe.sigma, len(self.measured)
        if sigma is None:
            spreads = [float(np.nanstd(m)) for m in self.measured]
            levels = [abs(float(np.nanmean(m))) for m in self.measured]
            sigma = tuple(s or a or 1.0 for s, a in zip(spreads, levels, strict=True))
        elif len(sigma) not in (1, count):
            raise InputError(
                f"sigma must be one number or one for each of the {count} "
                f"measurements; got {len(sigma)}"
            )
        if min(sigma) <= 0:
            raise InputError(f"sigma must be positive; got {min(sigma)}")
        if len(sigma) == 1 or self.recipe.term == "poisson":
            # Counts are compared as they are: the term undoes the one unit.
            return [sigma[0]] * count
        return list(sigma)

    @cached_property
    def flat(self) -> tuple[Tensor, Tensor, Tensor]:
        """All measurements as one, (1, 1, N), with their weights and units."""
        import torch

        with torch.inference_mode(False):
            data = torch.cat([torch.from_numpy(m.reshape(-1)) for m in self.measured])
            pairs = zip(self.measured, self.error_units, strict=True)
            units = torch.cat([torch.full((m.size,), unit) for m, unit in pairs])
            weight = torch.isfinite(data).float()
            data = torch.nan_to_num(data, 0.0)
            return data[None, None], weight[None, None], units[None, None]

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The lowest value of the image, and its range."""
        import torch

        measure, limits = self.measure, self.recipe.value_range
        if limits is None:
            tensors = [t.to(self.device) for t in self.flat]
            with torch.inference_mode(False), torch.enable_grad():
                low, high = _range(measure, self.shape, *tensors)
        elif not limits[0] < limits[1]:
            raise InputError(
                f"value_range must be two numbers, the lower one first; got {limits}"
            )
        elif float_type(*limits) != np.float32:
            raise InputError(
                f"value_range must be a range that float32 can hold, in which the "
                f"operator works; got {limits}"
            )
        else:
            low, high = limits
        return low, high - low


def _operators(operator: Any, count: int) -> list[Any]:
    listed = isinstance(operator, (list, tuple))
    operators = list(operator) if listed else [operator]
    for forward in operators:
        if not callable(forward):
            raise InputError(
                f"operator must be a callable on a torch tensor, or a list of them; "
                f"got {type(forward).__name__}"
            )
    if listed and len(operators) != count:
        raise InputError(
            f"operator must be a list as long as that of the measurements ({count}), "
            f"or one callable; got {len(operators)}"
        )
    return operators


def _forward(operator: Any, device: torch.device) -> Any:
    """Return the noise-free forward model on a device.

    A physics object of deepinv adds noise when called; its `A` does not.
    """
    from torch import nn

    from napari_dip.prior.runtime import module_on

    if isinstance(operator, nn.Module):
        operator = module_on(operator, device)
    inner = getattr(operator, "A", None)
    return inner if callable(inner) else operator


def _predict(forwards: Sequence[Callable[[Tensor], Any]], image: Tensor) -> list[Any]:
    outputs = [forward(image) for forward in forwards]
    return [p for out in outputs for p in (out if _is_list(out) else [out])]


def _try(
    forwards: Sequence[Callable[[Tensor], Any]],
    shape: tuple[int, ...],
    measured: Sequence[Float],
    device: torch.device,
) -> None:
    """Run the operators once and see whether what they return can be fitted."""
    import torch
    from torch import Tensor

    image = torch.full((1, *shape), 0.5, device=device, requires_grad=True)
    try:
        parts = _predict(forwards, image)
    except Exception as error:  # whatever a user's function raises
        raise InputError(
            f"operator failed for an image tensor of shape {tuple(image.shape)} on "
            f"{device}: {type(error).__name__}: {error}"
        ) from error
    if len(parts) != len(measured):
        raise InputError(
            f"operator must return as many tensors as there are measurements "
            f"({len(measured)}); got {len(parts)}"
        )
    for part, m in zip(parts, measured, strict=True):
        if not isinstance(part, Tensor):
            raise InputError(
                f"operator must return a torch tensor; got {type(part).__name__}"
            )
        if part.is_complex():
            raise InputError(
                "operator must return real values; got complex ones "
                "(torch.view_as_real splits them)"
            )
        if longer_axes(part.shape) != longer_axes(m.shape):
            raise InputError(
                f"operator must return the measurement's shape {m.shape}, axes of "
                f"length 1 aside, for an image tensor of shape {tuple(image.shape)}; "
                f"got {tuple(part.shape)}"
            )
        if not part.requires_grad:
            raise InputError(
                "operator must be differentiable: torch operations on the tensor it "
                "is given, without numpy, detach or no_grad"
            )


def _range(
    measure: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    data: Tensor,
    weight: Tensor,
    units: Tensor,
) -> tuple[float, float]:
    """Estimate the range of the image from steps of least squares."""
    import torch

    def residual(image: Tensor) -> Tensor:
        return (measure(image) - data) / units * weight

    level = _best_constant(residual, torch.zeros(1, *shape, device=data.device))
    x = torch.full((1, *shape), level, device=data.device)
    x = _nearer(residual, x, max(abs(level), 1.0))
    low, high = (float(v) for v in np.percentile(x.cpu().numpy(), [0.5, 99.5]))
    if not np.isfinite([low, high]).all():
        raise InputError(
            "operator has no finite least-squares estimate to read the range of the "
            "image from; give it as value_range"
        )
    if high <= low:
        half = 0.5 * (abs(level) or 1.0)
        low, high = level - half, level + half
    return low, high


def _best_constant(residual: Callable[[Tensor], Tensor], zero: Tensor) -> float:
    import torch

    with torch.no_grad():
        offset = residual(zero)
        slope = residual(torch.ones_like(zero)) - offset
        power = float(slope.square().sum())
        return -float((offset * slope).sum()) / power if power > 0 else 0.0


def _nearer(residual: Callable[[Tensor], Tensor], x: Tensor, scale: float) -> Tensor:
    """Return an image after steps to a smaller residual.

    They are conjugate gradients as for a linear operator (Fletcher and Reeves, 1964),
    each as long as is best along its direction by the operator's values at two points,
    which are apart by a part of the scale.
    """
    import torch

    direction, before, first = torch.zeros_like(x), 0.0, 0.0
    for _ in range(SOUNDINGS):
        x.requires_grad_()
        r = residual(x)
        (gradient,) = torch.autograd.grad(r.square().sum() / 2, x)
        with torch.no_grad():
            x, r = x.detach(), r.detach()
            now = float(gradient.square().sum())
            first = first or now
            if not np.isfinite(now) or now <= 1e-8 * first:
                break
            direction = -gradient + (now / before if before else 0.0) * direction
            before = now
            # A small step tells the slope of the measurement along the direction.
            small = 1e-2 * scale / float(direction.abs().max())
            slope = (residual(x + small * direction) - r) / small
            steepness = float(slope.square().sum())
            if not np.isfinite(steepness) or steepness <= 0:
                break
            x = x - float((r * slope).sum()) / steepness * direction
    return x
