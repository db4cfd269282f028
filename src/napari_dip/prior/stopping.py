"""When to stop, and which image to keep: small rules with one interface.

A rule gives every checked iteration a score (lower is better), or one for every
channel.  The fit keeps of every channel the averaged image of its best score and ends
when the rule says so.  What a rule remembers during a fit is in its `Watch`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dip.errors import InputError
from napari_dip.prior import registry
from napari_dip.prior.kinds import check_fields, check_kind, check_range
from napari_dip.prior.snapshot import check, copied, overwrite
from napari_dip.prior.terms import Term, channel_means, weighted_mean

Error = Callable[[Tensor], Tensor]
"""Maps an image x to the pointwise error of A(x), (1, C, ...)."""


class Verdict(NamedTuple):
    """What a rule makes of one check."""

    best: tuple[bool, ...]
    """For every score, whether this is the image to keep so far."""
    reason: str | None
    """Why to stop now, or None to go on."""


RANGES = {
    "maximum": (1, math.inf),
    "fraction": (0, 1),
    "fewest": (0, math.inf),
    "radius": (0, math.inf),
    "patience": (0, math.inf),
    "relative_patience": (0, math.inf),
    "memory": (0, 1),
    "warmup": (0, math.inf),
    "level": (0, math.inf),
}
"""Lowest and highest values of the parameters of the rules."""


class Rule:
    """Base of the stopping rules; as it stands it never stops and keeps the last."""

    maximum: int
    """Most iterations that the fit may take."""

    fixed: ClassVar[bool] = False
    """Whether the fit takes `maximum` iterations, no fewer."""

    def __post_init__(self) -> None:
        if type(self) in RULES.values():
            check_fields(self, "stop")
        for name, (low, high) in RANGES.items():
            if hasattr(self, name):
                value = getattr(self, name)
                check_kind(value, float, f"stop: {name}")
                check_range(value, low, high, f"stop: {name}")

    @property
    def score_name(self) -> str:
        """What the score is, in words for the user."""
        return "error"

    def error(self, score: float, term: Term) -> float:
        """Return how far values are from what a score of a data fidelity judges by.

        It is in the units of the values; NaN if it is unknown.
        """
        return term.difference(score)

    def watch(self, weight: Tensor, generator: torch.Generator) -> Watch:
        """Begin a fit of a measurement with weights (1, 1, ...) or (1, C, ...)."""
        return Watch(self, weight)

    def see(self, watch: Watch, output: Tensor) -> None:
        """Look at the output of every iteration, without reading it back."""

    def score(self, watch: Watch, average: Tensor, error: Error) -> Tensor:
        """Return the scores of the averaged image, (1,) or (C,), on the device."""
        return weighted_mean(error(average), watch.weight).reshape(1)

    def judge(self, watch: Watch, step: int, scores: Sequence[float]) -> Verdict:
        """Decide on the scores of a checked iteration."""
        return Verdict((True,), None)


REMEMBERED = {"lowest": list[float], "lowest_mean": float, "lowest_step": int}
"""Values that the rules of this module remember, and their types."""


class Watch:
    """A rule at work on one fit.

    Parameters
    ----------
    rule : Rule
        Decides.
    weight : Tensor
        Weights of the fit's own loss, (1, 1, ...) or (1, C, ...).
    **tensors : Tensor
        What else the rule needs.
    """

    def __init__(self, rule: Rule, weight: Tensor, **tensors: Tensor) -> None:
        self.rule = rule
        self.tensors = {"weight": weight, **tensors}
        """The weights and the others; rules may add to them."""
        self.fixed = frozenset(self.tensors)
        self.values: dict[str, Any] = {}
        """What the rule remembers from check to check, JSON-able."""
        self.least = 0.0
        """The lowest score that tells an error; a lower one means no less error."""

    @property
    def weight(self) -> Tensor:
        """Weights of the fit's own loss."""
        return self.tensors["weight"]

    def see(self, output: Tensor) -> None:
        """Look at the output of an iteration."""
        self.rule.see(self, output)

    def score(self, average: Tensor, error: Error) -> Tensor:
        """Return the scores of the averaged image."""
        return self.rule.score(self, average, error)

    def judge(self, step: int, scores: Sequence[float]) -> Verdict:
        """Decide on the scores of a checked iteration."""
        return self.rule.judge(self, step, scores)

    def error(self, score: float, term: Term) -> float:
        """Return how far values are from what a score judges by; see `Rule.error`."""
        return self.rule.error(max(score, self.least), term)

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and values."""
        return {**self.tensors, **self.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set tensors and values; those that rules have added may come and go."""
        tensors = {name: v for name, v in state.items() if isinstance(v, Tensor)}
        for name in self.tensors.keys() - tensors.keys() - self.fixed:
            del self.tensors[name]
        for name in tensors.keys() - self.tensors.keys():
            self.tensors[name] = copied(tensors[name]).to(self.weight.device)
        overwrite(self.tensors, tensors, "state: watch")
        self.values = {k: copied(v) for k, v in state.items() if k not in tensors}
        for name in self.values.keys() & REMEMBERED.keys():
            check_kind(self.values[name], REMEMBERED[name], f"state: watch: {name}")


def _patient(
    watch: Watch,
    step: int,
    scores: Sequence[float],
    patience: float,
    relative_patience: float,
    what: str,
) -> Verdict:
    """Keep the lowest scores; give up when their mean has not fallen for long."""
    values = watch.values
    lowest = values.get("lowest", [float("inf")] * len(scores))
    if len(lowest) != len(scores):
        raise InputError(
            f"state: watch: lowest must have {len(scores)} values; got {len(lowest)}"
        )
    best = tuple(s < low for s, low in zip(scores, lowest, strict=True))
    values["lowest"] = [min(s, low) for s, low in zip(scores, lowest, strict=True)]
    mean = sum(scores) / len(scores)
    if mean < values.get("lowest_mean", float("inf")):
        values.update(lowest_mean=mean, lowest_step=step)
        return Verdict(best, None)
    since = values.get("lowest_step", 0)
    waited = step - since
    if waited < max(patience, relative_patience * since):
        return Verdict(best, None)
    return Verdict(best, f"{what} has not fallen for {waited} iterations")


@dataclass(frozen=True)
class Iterations(Rule):
    """Stop after a fixed number of iterations and keep the last average."""

    fixed: ClassVar[bool] = True
    maximum: int


@dataclass(frozen=True)
class HeldOut(Rule):
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

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.variance
        if given is not None and not (given and all(0 < v < math.inf for v in given)):
            raise InputError(
                f"stop: variance must be one or more positive numbers, or None; got "
                f"{self.variance}"
            )

    @property
    def score_name(self) -> str:
        """What the score is; see `Rule.score_name`."""
        return "held-out error" if self.variance is None else "estimated error"

    def watch(self, weight: Tensor, generator: torch.Generator) -> Watch:
        """Draw the held-out pixels; see `Rule.watch`."""
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
            max_pool = F.max_pool2d if weight.ndim == 4 else F.max_pool3d
            near = max_pool(held.float(), width, 1, self.radius) > 0
        else:
            near = held
        if not bool((known & ~near).any()):
            # So few are known that none would be left: they are fitted and judged.
            watch, count = Watch(self, weight, held=weight), total
        else:
            watch = Watch(self, weight * ~near, held=weight * held)
        if self.variance is not None:
            # So few pixels can tell no less, since their own noise is random.
            mean = sum(self.variance) / len(self.variance)
            watch.least = mean * math.sqrt(2 * weight.shape[1] / count)
        return watch

    def score(self, watch: Watch, average: Tensor, error: Error) -> Tensor:
        """Return the error at held-out pixels, or with `variance` at all of them."""
        errors = error(average)
        held_out = channel_means(errors, watch.tensors["held"])
        if self.radius:
            # With blocks few pixels are held out, and their error may be small by
            # chance: it is taken to be no less than that of the fitted ones.
            held_out = torch.maximum(held_out, channel_means(errors, watch.weight))
        if self.variance is None:
            return held_out
        variance = errors.new_tensor(self.variance)
        kept = (channel_means(errors, watch.weight) / held_out).clamp(max=1)
        taken = 1 - kept.sqrt()
        score = kept * (held_out - variance) + taken.square() * variance
        return score * (variance.mean() / variance)

    def judge(self, watch: Watch, step: int, scores: Sequence[float]) -> Verdict:
        """Keep the lowest scores; see `Rule.judge`."""
        what, patience = "the error at held-out pixels", self.patience
        return _patient(watch, step, scores, patience, self.relative_patience, what)


@dataclass(frozen=True)
class Plateau(Rule):
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

    def judge(self, watch: Watch, step: int, scores: Sequence[float]) -> Verdict:
        """Keep the lowest error; see `Rule.judge`."""
        return _patient(watch, step, scores, self.patience, 0, "the error")


@dataclass(frozen=True)
class MovingVariance(Rule):
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

    score_name = "spread of the outputs"

    def error(self, score: float, term: Term) -> float:
        """Return the standard deviation of the outputs."""
        return math.sqrt(score)

    def watch(self, weight: Tensor, generator: torch.Generator) -> Watch:
        """Begin a fit; see `Rule.watch`."""
        zero = torch.zeros((), device=weight.device, dtype=torch.float32)
        return Watch(self, weight, variance=zero)

    def see(self, watch: Watch, output: Tensor) -> None:
        """Bring mean and variance up to date; see `Rule.see`."""
        mean = watch.tensors.get("mean")
        if mean is None:
            watch.tensors["mean"] = torch.nan_to_num(output, 0.0, 0.0, 0.0)
            return
        check({"mean": output}, {"mean": mean}, "state: watch")
        # A divergence must not stay in here after the fit has recovered from it.
        step = torch.nan_to_num(output - mean, 0.0, 0.0, 0.0)
        mean.add_(step, alpha=self.memory)
        spread = self.memory * step.square().mean()
        watch.tensors["variance"].add_(spread).mul_(1 - self.memory)

    def score(self, watch: Watch, average: Tensor, error: Error) -> Tensor:
        """Return the variance."""
        return watch.tensors["variance"].clone().reshape(1)

    def judge(self, watch: Watch, step: int, scores: Sequence[float]) -> Verdict:
        """Keep the lowest variance; see `Rule.judge`."""
        if step < self.warmup:
            return Verdict((True,), None)
        what = "the variance of the outputs"
        return _patient(watch, step, scores, self.patience, 0, what)


@dataclass(frozen=True)
class Discrepancy(Rule):
    """Stop when the residual is as large as the known noise (Morozov).

    Parameters
    ----------
    maximum : int
        Most iterations.
    level : float
        Mean error of the truth under the data fidelity: the noise variance for the
        squared error, in the measurement's units.
    """

    maximum: int
    level: float

    def judge(self, watch: Watch, step: int, scores: Sequence[float]) -> Verdict:
        """Stop at the level; see `Rule.judge`."""
        reason = "the residual has fallen to the level that was given"
        return Verdict((True,), None if scores[0] > self.level else reason)


RULES: dict[str, type[Any]] = {
    "iterations": Iterations,
    "held_out": HeldOut,
    "plateau": Plateau,
    "moving_variance": MovingVariance,
    "discrepancy": Discrepancy,
}
"""Names of the rules, as they are written in JSON."""


def to_dict(rule: Rule) -> dict[str, Any]:
    """Return a rule as JSON holds it: its name and its parameters."""
    return registry.to_dict(rule, RULES)


def from_dict(data: Mapping[str, Any]) -> Rule:
    """Return the rule that `to_dict` has written."""
    rule: Rule = registry.from_dict(data, RULES, "stop")
    return rule
