"""When to stop, and which image to keep: small rules with one interface.

A rule gives every checked iteration a score (lower is better), or one for every
channel.  The fit keeps of every channel the averaged image of its best score and ends
when the rule says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.errors import InputError
from napari_dip.prior.terms import channel_means, weighted_mean

Error = Callable[[Tensor], Tensor]
"""Maps an image x to the pointwise error of A(x), (1, C, ...)."""


class Verdict(NamedTuple):
    """What a rule makes of one check."""

    best: tuple[bool, ...]
    """For every score, whether this is the image to keep so far."""
    reason: str | None
    """Why to stop now, or None to go on."""


class Watch(Protocol):
    """A rule at work on one fit."""

    weight: Tensor
    """Weights of the fit's own loss, (1, 1, ...) or (1, C, ...)."""

    def see(self, output: Tensor) -> None:
        """Look at the output of every iteration, without reading it back."""
        ...

    def score(self, average: Tensor, error: Error) -> Tensor:
        """Return the scores of the averaged image, (1,) or (C,), on the device."""
        ...

    def judge(self, step: int, scores: Sequence[float]) -> Verdict:
        """Decide on the scores of a checked iteration."""
        ...


class Rule(Protocol):
    """A stopping rule."""

    @property
    def maximum(self) -> int:
        """Most iterations that the fit may take."""
        ...

    def start(self, weight: Tensor, generator: torch.Generator) -> Watch:
        """Begin a fit of a measurement with weights (1, 1, ...) or (1, C, ...)."""
        ...


class _Patient:
    """Keep the lowest scores; give up when their mean has not fallen for long."""

    def __init__(self, patience: int, fraction: float, name: str) -> None:
        self.patience, self.fraction, self.name = patience, fraction, name
        self.lowest: list[float] = []
        self.lowest_mean = float("inf")
        self.step = 0

    def judge(self, step: int, scores: Sequence[float]) -> Verdict:
        lowest = self.lowest or [float("inf")] * len(scores)
        best = tuple(s < low for s, low in zip(scores, lowest, strict=True))
        self.lowest = [min(s, low) for s, low in zip(scores, lowest, strict=True)]
        mean = sum(scores) / len(scores)
        if mean < self.lowest_mean:
            self.lowest_mean, self.step = mean, step
            return Verdict(best, None)
        waited = step - self.step
        if waited >= max(self.patience, self.fraction * self.step):
            return Verdict(best, f"{self.name} has not fallen for {waited} iterations")
        return Verdict(best, None)


@dataclass(frozen=True)
class Iterations:
    """Stop after a fixed number of iterations and keep the last average."""

    maximum: int

    def start(self, weight: Tensor, generator: torch.Generator) -> Watch:
        """Begin a fit; see `Rule.start`."""
        return _Counting(weight)


class _Counting:
    def __init__(self, weight: Tensor) -> None:
        self.weight = weight

    def see(self, output: Tensor) -> None:
        pass

    def score(self, average: Tensor, error: Error) -> Tensor:
        return weighted_mean(error(average), self.weight).reshape(1)

    def judge(self, step: int, scores: Sequence[float]) -> Verdict:
        return Verdict((True,), None)


@dataclass(frozen=True)
class HeldOut:
    """Keep a part of the pixels out of the loss and stop when they get worse.

    The error of the *averaged* image at held-out pixels is, up to the constant
    noise variance, its error against the truth, as long as the noise of a pixel
    says nothing about its neighbours' (hold-out rule: Ding et al., 2022, arXiv
    2209.10675; on the average: our measurements).  For noise that does reach
    into neighbours, `radius` also takes the surroundings of every held-out
    pixel out of the loss.

    Parameters
    ----------
    maximum : int
        Most iterations.
    fraction : float
        Part of the pixels held out; raised where it would be fewer than
        `fewest`, but never above 0.1.
    fewest : int
        Number of pixels that a useful estimate needs.
    radius : int
        Half-width of the block taken out around every held-out pixel; 0 for
        independent noise.
    patience : int
        Iterations without improvement after which to stop.
    relative_patience : float
        The same as a part of the best iteration; the larger one counts.
    variance : tuple of float, optional
        Mean error of the truth in every channel, if known.  The pixels that
        *are* fitted are then judged too: what separates their error L from the
        held-out error V is the part h of their own noise that they have taken up,
        ``L = (1 - h)^2 V`` as at the points of a linear smoother, and their error
        against the truth is ``(1 - h)^2 (V - variance) + h^2 variance``.  When to
        stop is decided by the mean over the channels, each relative to its variance.

    Notes
    -----
    Without `variance` the rule is right for pixels like the held-out ones, of
    which it has few; where fitted pixels gain by following their own value, as
    in fine texture, it stops too early.
    """

    maximum: int
    fraction: float = 0.02
    fewest: int = 2000
    radius: int = 0
    patience: int = 200
    relative_patience: float = 0.3
    variance: tuple[float, ...] | None = None

    def start(self, weight: Tensor, generator: torch.Generator) -> Watch:
        """Draw the held-out pixels; see `Rule.start`."""
        known = weight > 0
        total = int(known.sum())
        fraction = min(max(self.fraction, self.fewest / max(total, 1)), 0.1)
        width = 2 * self.radius + 1
        if self.radius:
            # A block costs its whole area: all of them at most 15 % of the image.
            fraction = min(fraction, 0.15 / width ** (weight.ndim - 2))
        count = max(round(fraction * total), 1)
        uniform = torch.rand(
            weight.shape, generator=generator, device=weight.device, dtype=torch.float32
        )
        order = uniform.masked_fill(~known, 2).flatten().argsort()
        held = torch.zeros_like(known).flatten()
        held[order[:count]] = True
        held = held.reshape(known.shape) & known
        if self.radius:
            pool = F.max_pool2d if weight.ndim == 4 else F.max_pool3d
            near = pool(held.float(), width, 1, self.radius) > 0
        else:
            near = held
        if not bool((known & ~near).any()):
            raise InputError(
                f"{total} known pixels are too few to hold any out; fix the number of "
                f"iterations instead"
            )
        return _HoldingOut(self, weight * ~near, weight * held)


class _HoldingOut(_Patient):
    def __init__(self, rule: HeldOut, weight: Tensor, held: Tensor) -> None:
        super().__init__(
            rule.patience, rule.relative_patience, "the error at held-out pixels"
        )
        self.weight, self.held, self.variance = weight, held, rule.variance

    def see(self, output: Tensor) -> None:
        pass

    def score(self, average: Tensor, error: Error) -> Tensor:
        errors = error(average)
        held_out = channel_means(errors, self.held)
        if self.variance is None:
            return held_out
        variance = errors.new_tensor(self.variance)
        kept = (channel_means(errors, self.weight) / held_out).clamp(max=1)
        taken = 1 - kept.sqrt()
        score = kept * (held_out - variance) + taken.square() * variance
        return score * (variance.mean() / variance)


@dataclass(frozen=True)
class Plateau:
    """Stop when the error has not fallen any more, and keep the image of the lowest.

    For measurements without noise, where less error is better to the end.

    Parameters
    ----------
    maximum : int
        Most iterations.
    patience : int
        Iterations without improvement after which to stop.
    """

    maximum: int
    patience: int = 100

    def start(self, weight: Tensor, generator: torch.Generator) -> Watch:
        """Begin a fit; see `Rule.start`."""
        return _Falling(self, weight)


class _Falling(_Patient):
    def __init__(self, rule: Plateau, weight: Tensor) -> None:
        super().__init__(rule.patience, 0, "the error")
        self.weight = weight

    def see(self, output: Tensor) -> None:
        pass

    def score(self, average: Tensor, error: Error) -> Tensor:
        return weighted_mean(error(average), self.weight).reshape(1)


@dataclass(frozen=True)
class MovingVariance:
    """Stop when the outputs have been at their steadiest for long enough.

    ES-EMV of Wang et al. (2021, arXiv 2112.06074, Algorithm 2): an exponentially
    weighted variance of the outputs stands for the variance over a window, so
    memory is two images however long the window.  Needs no held-out pixels, for
    noise where they mean nothing; tends to stop early.

    Parameters
    ----------
    maximum : int
        Most iterations.
    memory : float
        Weight of the newest output (alpha).
    patience : int
        Iterations without improvement after which to stop.
    warmup : int
        Iterations before the variance means anything.
    """

    maximum: int
    memory: float = 0.1
    patience: int = 1000
    warmup: int = 100

    def start(self, weight: Tensor, generator: torch.Generator) -> Watch:
        """Begin a fit; see `Rule.start`."""
        return _Steadying(self, weight)


class _Steadying(_Patient):
    def __init__(self, rule: MovingVariance, weight: Tensor) -> None:
        super().__init__(rule.patience, 0, "the variance of the outputs")
        self.weight, self.rule = weight, rule
        self.mean: Tensor | None = None
        self.variance = torch.zeros((), device=weight.device, dtype=torch.float32)

    def see(self, output: Tensor) -> None:
        if self.mean is None:
            self.mean = torch.nan_to_num(output, 0.0, 0.0, 0.0)
            return
        # A divergence must not stay in here after the fit has recovered from it.
        step = torch.nan_to_num(output - self.mean, 0.0, 0.0, 0.0)
        self.mean.add_(step, alpha=self.rule.memory)
        spread = self.rule.memory * step.square().mean()
        self.variance.add_(spread).mul_(1 - self.rule.memory)

    def score(self, average: Tensor, error: Error) -> Tensor:
        return self.variance.clone().reshape(1)

    def judge(self, step: int, scores: Sequence[float]) -> Verdict:
        if step < self.rule.warmup:
            return Verdict((True,), None)
        return super().judge(step, scores)


@dataclass(frozen=True)
class Discrepancy:
    """Stop when the residual is as large as the known noise (Morozov).

    Parameters
    ----------
    maximum : int
        Most iterations.
    level : float
        Mean error of the truth under the data term: the noise variance for the
        squared error, in the measurement's units.
    """

    maximum: int
    level: float

    def start(self, weight: Tensor, generator: torch.Generator) -> Watch:
        """Begin a fit; see `Rule.start`."""
        return _Discrepant(self, weight)


class _Discrepant(_Counting):
    def __init__(self, rule: Discrepancy, weight: Tensor) -> None:
        super().__init__(weight)
        self.level = rule.level

    def judge(self, step: int, scores: Sequence[float]) -> Verdict:
        if scores[0] > self.level:
            return Verdict((True,), None)
        return Verdict(
            (True,), f"the residual has reached the noise level {self.level:.3g}"
        )


class GoingOn:
    """Go on for a while when another rule says stop, and keep the last average.

    Parameters
    ----------
    watch : Watch
        Of that rule, at work or at its end.
    maximum : int
        Most iterations of its rule.
    extra : int
        Iterations from where it stops to the end.
    stopped : tuple of int and str, optional
        Where and why it has stopped already.
    """

    def __init__(
        self,
        watch: Watch,
        maximum: int,
        extra: int,
        stopped: tuple[int, str] | None = None,
    ) -> None:
        self.watch, self.maximum, self.extra = watch, maximum, extra
        self.stopped = stopped
        self.weight = watch.weight

    def see(self, output: Tensor) -> None:
        """Look at the output of every iteration."""
        self.watch.see(output)

    def score(self, average: Tensor, error: Error) -> Tensor:
        """Return the scores of the averaged image."""
        return self.watch.score(average, error)

    def judge(self, step: int, scores: Sequence[float]) -> Verdict:
        """Decide on the scores of a checked iteration."""
        if self.stopped is None:
            verdict = self.watch.judge(step, scores)
            reason = verdict.reason
            if reason is None and step >= self.maximum:
                reason = ended(step)
            if reason is None:
                return verdict
            self.stopped = step, reason
        at, reason = self.stopped
        last = (True,) * len(scores)
        if step < at + self.extra:
            return Verdict(last, None)
        return Verdict(last, f"{reason}; {step - at} more iterations were asked for")


def ended(step: int) -> str:
    """Return why a fit ends that has not been stopped by its rule."""
    return f"the maximum of {step} iterations"
