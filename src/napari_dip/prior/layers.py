"""Padding, resampling and normalisation that keep the channels-last layout.

Half of a step of the published network is not convolution: it is layout copies,
reflection padding, bilinear upsampling and normalisation.  The operations here
compute the same numbers as their ``torch.nn`` counterparts (the tests compare
them) but read and write whole channel vectors in place, forward and backward.
All of them take (N, C, Y, X) or (N, C, Z, Y, X).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dip.prior import interrupt
from napari_dip.prior.processor import is_slow_at_kernel_gradients, kernel_gradient

SMALL = 2**16
"""Values up to which torch's own reflection padding is quicker on the CPU: it is one
call there, but slow on large images with the channels last."""


def memory_format(ndim: int) -> torch.memory_format:
    """Return the channels-last format for `ndim` spatial dimensions."""
    return torch.channels_last if ndim == 2 else torch.channels_last_3d


def corner(sides: Iterable[int]) -> tuple[Any, ...]:
    """Return the index of the near corner of that size over the spatial axes."""
    return (..., *[slice(0, n) for n in sides])


def _empty(like: Tensor, size: list[int]) -> Tensor:
    return torch.empty(
        size,
        dtype=like.dtype,
        device=like.device,
        memory_format=memory_format(like.ndim - 2),
    )


def _is_small(x: Tensor) -> bool:
    """Return whether torch's own padding is quicker, and its result has our layout."""
    if x.device.type != "cpu" or x.numel() > SMALL or x.shape[1] == 1:
        return False
    return x.is_contiguous(memory_format=memory_format(x.ndim - 2))


class _ReflectPad(torch.autograd.Function):
    """Reflection padding of every spatial dimension by `pad` on both sides."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pad: int) -> Tensor:
        ctx.pad = pad
        if _is_small(x):
            return F.pad(x, [pad] * (2 * (x.ndim - 2)), mode="reflect")
        spatial = range(2, x.ndim)
        size = list(x.shape)
        for dim in spatial:
            size[dim] += 2 * pad
        out = _empty(x, size)
        inner = out
        for dim in spatial:
            inner = inner.narrow(dim, pad, x.shape[dim])
        inner.copy_(x)
        for dim in spatial:
            # Dimensions not yet mirrored are still restricted to the inside.
            view = out
            for later in range(dim + 1, x.ndim):
                view = view.narrow(later, pad, x.shape[later])
            last = size[dim] - 1
            for i in range(pad):
                view.select(dim, i).copy_(view.select(dim, 2 * pad - i))
                view.select(dim, last - i).copy_(view.select(dim, last - 2 * pad + i))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        pad = ctx.pad
        spatial = range(2, grad.ndim)
        # Fold the mirrored borders back, last dimension first, in a copy.
        out = grad.clone(memory_format=memory_format(grad.ndim - 2))
        for dim in reversed(spatial):
            view = out
            for later in range(dim + 1, grad.ndim):
                view = view.narrow(later, pad, grad.shape[later] - 2 * pad)
            last = grad.shape[dim] - 1
            for i in range(pad):
                view.select(dim, 2 * pad - i).add_(view.select(dim, i))
                view.select(dim, last - 2 * pad + i).add_(view.select(dim, last - i))
        for dim in spatial:
            out = out.narrow(dim, pad, grad.shape[dim] - 2 * pad)
        return out.contiguous(memory_format=memory_format(grad.ndim - 2)), None


def pad(x: Tensor, amount: int, mode: str) -> Tensor:
    """Pad every spatial side of `x` by `amount` ("reflection" or "zero")."""
    if amount == 0:
        return x
    if mode == "zero":
        return F.pad(x, [amount] * (2 * (x.ndim - 2)))
    if min(x.shape[2:]) <= amount:
        # Too small to mirror `amount` pixels: repeat the border instead.
        return F.pad(x, [amount] * (2 * (x.ndim - 2)), mode="replicate")
    out: Tensor = _ReflectPad.apply(x, amount)  # type: ignore[no-untyped-call]
    return out


class _UpsampleAxis(torch.autograd.Function):
    """Upsampling by two along one axis, ``align_corners=False``.

    Even outputs are (1 - w) x[i] + w x[i-1], odd ones (1 - w) x[i] + w x[i+1], the
    border value repeated: linear interpolation with w = 1/4, nearest with w = 0.
    The backward pass is the transpose of that stencil.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, w: float) -> Tensor:
        ctx.dim, ctx.w = dim, w
        n = x.shape[dim]
        size = list(x.shape)
        size[dim] = 2 * n
        out = _empty(x, size)
        even, odd = _phases(out, dim)
        inner, shifted = x.narrow(dim, 1, n - 1), x.narrow(dim, 0, n - 1)
        torch.lerp(inner, shifted, w, out=even.narrow(dim, 1, n - 1))
        torch.lerp(shifted, inner, w, out=odd.narrow(dim, 0, n - 1))
        even.select(dim, 0).copy_(x.select(dim, 0))
        odd.select(dim, n - 1).copy_(x.select(dim, n - 1))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        dim, w = ctx.dim, ctx.w
        even, odd = _phases(grad, dim)
        n = even.shape[dim]
        out = _empty(grad, list(even.shape))
        torch.add(even, odd, out=out)
        if w:
            out.mul_(1 - w)
            out.narrow(dim, 0, n - 1).add_(even.narrow(dim, 1, n - 1), alpha=w)
            out.narrow(dim, 1, n - 1).add_(odd.narrow(dim, 0, n - 1), alpha=w)
            out.select(dim, 0).add_(even.select(dim, 0), alpha=w)
            out.select(dim, n - 1).add_(odd.select(dim, n - 1), alpha=w)
        return out, None, None


def _phases(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    index: list[slice] = [slice(None)] * x.ndim
    index[dim] = slice(0, None, 2)
    even = x[tuple(index)]
    index[dim] = slice(1, None, 2)
    return even, x[tuple(index)]


def upsample(x: Tensor, stride: tuple[int, ...], mode: str) -> Tensor:
    """Upsample by `stride` (1 or 2 per dimension), "bilinear" or "nearest".

    "bilinear" stands for linear interpolation along every axis in 3-D too.
    """
    interrupt.check_both_ways(x)
    w = 0.0 if mode == "nearest" else 0.25
    for dim, factor in enumerate(stride, start=2):
        if factor == 2:
            x = _UpsampleAxis.apply(x, dim, w)  # type: ignore[no-untyped-call]
    return x


def normalize(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise every channel by its own mean and variance, then scale and shift.

    This is what the papers' BatchNorm computes for a batch of one in training
    mode.  There are no running statistics, so a module's train or eval mode
    changes nothing, and several samples never mix.
    """
    interrupt.check_both_ways(x)
    if x.shape[0] == 1:
        return F.batch_norm(x, None, None, weight, bias, training=True)
    return F.instance_norm(x, None, None, weight, bias)


@torch.no_grad()
def draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of all convolutions of a network."""
    for module in network.modules():
        if isinstance(module, Conv):
            module.reset(generator)


class _Convolution(torch.autograd.Function):
    """A convolution that asks whether to stop between the halves of its backward pass.

    The gradient of the kernel is computed as is quickest on the processor; where that
    is torch's own way, the gradients are those of torch, to the same bits.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.bias = stride, bias is not None
        return (F.conv2d if x.ndim == 4 else F.conv3d)(x, weight, bias, stride)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        dims = x.ndim - 2
        shape = (list(ctx.stride), [0] * dims, [1] * dims, False, [0] * dims, 1)

        def gradients(*wanted: bool) -> list[Tensor | None]:
            interrupt.check()
            sizes = [len(weight)] if ctx.bias else None
            return list(
                torch.ops.aten.convolution_backward(
                    grad, x, weight, sizes, *shape, wanted
                )
            )

        of_x = gradients(True, False, False)[0] if ctx.needs_input_grad[0] else None
        if is_slow_at_kernel_gradients(x, weight, ctx.stride):
            interrupt.check()
            of_bias = grad.sum((0, 2, 3)) if ctx.bias else None
            return of_x, kernel_gradient(x, grad, weight.shape[-1]), of_bias, None
        _, of_weight, of_bias = gradients(False, True, ctx.bias)
        return of_x, of_weight, of_bias, None


class Conv(nn.Module):
    """Convolution over 2 or 3 dimensions that keeps the size (over the stride)."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int,
        ndim: int,
        *,
        stride: tuple[int, ...] | None = None,
        padding: str = "reflection",
        bias: bool = False,
    ) -> None:
        super().__init__()
        # float32 whatever the default dtype: that is the caller's, not ours.
        single = torch.float32
        self.weight = nn.Parameter(
            torch.empty(cout, cin, *[kernel] * ndim, dtype=single)
        )
        self.bias = nn.Parameter(torch.empty(cout, dtype=single)) if bias else None
        self.stride = stride or (1,) * ndim
        self.padding = padding
        self.margin = kernel // 2
        self.convolve: Callable[..., Tensor] = F.conv2d if ndim == 2 else F.conv3d

    def reset(self, generator: torch.Generator) -> None:
        """Draw the weights as ``torch.nn.Conv2d`` does: U(-b, b), b = fan_in^-1/2."""
        bound = self.weight[0].numel() ** -0.5
        self.weight.uniform_(-bound, bound, generator=generator)
        if self.bias is not None:
            self.bias.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve."""
        interrupt.check_both_ways(x)
        weight = self.weight.to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        x = pad(x, self.margin, self.padding)
        interrupt.check_both_ways(x)
        asked = interrupt.is_asked() and x.requires_grad
        if asked or is_slow_at_kernel_gradients(x, weight, self.stride):
            out: Tensor = _Convolution.apply(x, weight, bias, self.stride)  # type: ignore[no-untyped-call]
            return out
        return self.convolve(x, weight, bias, self.stride)
