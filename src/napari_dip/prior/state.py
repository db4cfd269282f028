"""The state of a fit: one value that can be kept, put back and carried elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dip.errors import InputError
from napari_dip.prior import operators, optimizers, runtime
from napari_dip.prior.averaging import Average, WeightAverage
from napari_dip.prior.codes import Drawing
from napari_dip.prior.kinds import check_kind
from napari_dip.prior.objective import Objective
from napari_dip.prior.optimizers import Optimizers
from napari_dip.prior.problem import Prior, Problem, Settings
from napari_dip.prior.snapshot import (
    Values,
    check,
    check_names,
    check_weights,
    copied,
    overwrite,
)
from napari_dip.prior.stopping import Verdict, Watch

PARTS = (
    "network",
    "operator",
    "optimizers",
    "average",
    "random",
    "watch",
    "code",
    "coarse",
    "ending",
    "progress",
    "best",
)
"""Attributes of `State` that it consists of."""

FITTED = ("network", "operator", "optimizers", "average")
"""Those that a divergence spoils."""

RECENT = 8
"""Checks whose losses say what is usual."""

COARSEST = 32
"""Pixels that a side of a halved measurement must have for a fit to begin there."""


@dataclass
class Progress(Values):
    """How far a fit has come."""

    step: int = 0
    """Iterations done; below zero in those before the first."""
    loss: float = math.nan
    score: float = math.nan
    """As last read."""
    history: list[dict[str, float]] = field(default_factory=list)
    """step, loss and score of every check."""
    recent: list[float] = field(default_factory=list)
    """Losses of the last checks since a divergence."""
    slower: float = 1.0
    """Factor of the learning rates, lowered by every divergence."""
    retries: int = 0
    """Divergences so far."""
    warnings: list[str] = field(default_factory=list)
    """What the user should know."""
    seconds: float = 0.0
    """Wall time so far."""

    def read(self, loss: float, score: float) -> None:
        """Note what a check has read."""
        self.loss, self.score = loss, score
        self.history.append({"step": self.step, "loss": loss, "score": score})

    def settle(self) -> None:
        """Count the loss last read among the usual ones."""
        self.recent = [*self.recent, self.loss][-RECENT:]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all of it."""
        super().load_state_dict(state)
        for entry in self.history:
            check_names({"step", "loss", "score"}, entry, "state: progress.history")

    @property
    def checked(self) -> bool:
        """Whether this iteration has been checked."""
        return bool(self.history) and self.history[-1]["step"] == self.step


@dataclass
class Ending(Values):
    """When a fit ends: as its rule says, or so many iterations later."""

    maximum: int
    """Most iterations of the rule."""
    extra: int
    """Iterations from where the rule says stop to the end; the image of the last one is
    then kept."""
    limit: int
    """Most iterations of the fit."""
    stop_step: int | None = None
    """Where the rule has said stop."""
    stop_reason: str | None = None
    """Why it has."""
    ended: str | None = None
    """Why the fit has ended, once it has."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all of it."""
        super().load_state_dict(state)
        if min(self.maximum, self.limit) < 1:
            raise InputError("state: ending.maximum and ending.limit must be 1 or more")

    def judge(self, watch: Watch, step: int, scores: Sequence[float]) -> Verdict:
        """Decide on the scores of a checked iteration."""
        if self.stop_step is None:
            verdict = watch.judge(step, scores)
            reason = verdict.reason
            if reason is None and step >= self.maximum:
                reason = at_maximum(step)
            if reason is None or not self.extra:
                return verdict._replace(reason=reason)
            self.stop_step, self.stop_reason = step, reason
        last, more = (True,) * len(scores), step - self.stop_step
        if more < self.extra:
            return Verdict(last, None)
        asked = f"{self.stop_reason}; {more} more iterations were asked for"
        return Verdict(last, asked)

    def go_on(self, step: int, extra: int) -> None:
        """Take more iterations after the fit has ended at `step`."""
        self.stop_step, self.stop_reason = step, self.ended
        self.extra, self.limit, self.ended = extra, step + extra, None


def at_maximum(step: int) -> str:
    """Return why a fit ends that has not been stopped by its rule."""
    return f"the maximum of {step} iterations"


class Best:
    """The best averaged image so far, and the operator where it is fitted along."""

    def __init__(
        self,
        shape: tuple[int, ...],
        device: torch.device,
        operator: nn.Module | None,
    ) -> None:
        self.shape, self.step = shape, 0
        self.image: Tensor | None = None
        self.device, self.fitted = device, operator
        self.operator: dict[str, Tensor] = {}

    def take(self, step: int, average: Tensor, better: Sequence[bool]) -> None:
        """Keep the channels of an average that are better than before."""
        if self.image is None or all(better):
            self.image = average
        elif any(better):
            chosen = torch.tensor(better, device=average.device)
            chosen = operators.per_channel(chosen, average)
            self.image = torch.where(chosen, average, self.image)
        else:
            return
        self.step = step
        if self.fitted is not None:
            self.operator = {k: copied(v) for k, v in self.fitted.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """Return image, step and the parameters of the operator."""
        operator = {f"operator.{name}": v for name, v in self.operator.items()}
        return {"step": self.step, "image": self.image, **operator}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set image, step and the parameters of the operator to copies."""
        operator = {k: v for k, v in state.items() if k.startswith("operator.")}
        check_names({"step", "image"}, state.keys() - operator.keys(), "state: best")
        check_kind(state["step"], int, "state: best.step")
        states = {k.removeprefix("operator."): v for k, v in operator.items()}
        if states:
            own = {} if self.fitted is None else self.fitted.state_dict()
            check(own, states, "state: best.operator")
        image = state["image"]
        if image is not None:
            blank = torch.empty(self.shape, device="meta")
            check({"image": blank}, {"image": image}, "state: best")
            image = copied(image).to(self.device)
        self.step, self.image = state["step"], image
        self.operator = {k: copied(v).to(self.device) for k, v in states.items()}


class Coarse:
    """The measurement at half the resolution, where a fit may begin.

    An iteration there takes a quarter of the time, and the weights serve the whole
    resolution as well.  Measurement and weight are given at the whole one.
    """

    def __init__(
        self, prior: Prior, measurement: Tensor, weight: Tensor, random: torch.Generator
    ) -> None:
        known = F.avg_pool2d(weight, 2)
        mean = F.avg_pool2d(measurement * weight, 2) / known.clamp(min=1e-6)
        self.measurement, self.weight = mean, (known > 0).float()
        canvas = prior.canvas(mean.shape[2:])
        self.code = prior.code.drawing(canvas, mean, self.weight, random)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the measurement and what the network sees of it."""
        own = {"measurement": self.measurement, "weight": self.weight}
        return own | {f"code.{n}": v for n, v in self.code.state_dict().items()}


@dataclass(eq=False)
class State:
    """All of a fit that changes or is drawn at random.

    Its `state_dict` is flat: a part's name, a dot and a name within the part.  Values
    are tensors or what JSON can hold (losses may be NaN).  Roll-back, going on with a
    fit, checkpoints and starting from other weights all go by it.
    """

    network: nn.Module
    operator: nn.Module | None
    optimizers: Optimizers
    average: Average | WeightAverage
    random: torch.Generator
    watch: Watch
    code: Drawing
    coarse: Coarse | None
    ending: Ending
    progress: Progress
    best: Best

    def state_dict(self, parts: Iterable[str] = PARTS) -> dict[str, Any]:
        """Return copies of some parts."""
        return {
            f"{part}.{name}": copied(value)
            for part in parts
            for name, value in _read(getattr(self, part)).items()
        }

    @torch.inference_mode(False)
    @torch.no_grad()
    def load_state_dict(
        self, state: Mapping[str, Any], parts: Iterable[str] = PARTS
    ) -> None:
        """Put some parts back, as a fit of the same problem has given them.

        Tensors are overwritten in place wherever they are there already.
        """
        states: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        for name, value in state.items():
            part, _, key = str(name).partition(".")
            if part not in states:
                raise InputError(f"state: has no part {part!r}; got {name!r}")
            states[part][key] = value
        for part in parts:
            _write(getattr(self, part), states[part], part)

    @torch.inference_mode(False)
    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """Begin from the weights of another fit's network."""
        own = self.network.state_dict()
        check_weights(own, weights)
        overwrite(own, weights, "weights")

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of the network on the CPU, averaged where those count."""
        own = dict(self.network.state_dict())
        if isinstance(self.average, WeightAverage):
            own |= self.average.weights()
        return {name: copied(value).cpu() for name, value in own.items()}


def _read(part: Any) -> dict[str, Any]:
    if part is None:
        return {}
    if isinstance(part, torch.Generator):
        return {"state": part.get_state()}
    values: dict[str, Any] = part.state_dict()
    return values


def _write(part: Any, values: dict[str, Any], name: str) -> None:
    if isinstance(part, torch.Generator):
        check_names({"state"}, values, f"state: {name}")
        try:
            part.set_state(values["state"].cpu())
        except (AttributeError, RuntimeError, TypeError) as error:
            raise InputError(f"state: {name} is of no random generator") from error
    elif part is None:
        check_names((), values, f"state: {name}")
    elif isinstance(part, Optimizers | Watch | Values | Best):
        part.load_state_dict(values)
    else:  # nothing but tensors, which stay where they are
        overwrite(part.state_dict(), values, f"state: {name}")


def begin(
    problem: Problem,
    prior: Prior,
    settings: Settings,
    objective: Objective,
    place: runtime.Place,
) -> State:
    """Return the state of a fit before its first iteration."""
    _check_settings(problem, settings)
    sides = problem.image_shape[1:]
    # Weights are drawn on the CPU, so that every device starts alike.
    first = runtime.generator(settings.seed, torch.device("cpu"))
    random = runtime.generator(settings.seed + 1, place.device)
    network = prior.build(problem.image_shape, first).to(place.device)
    operator = objective.fitted
    per_channel = prior.code.per_channel
    watch = settings.stop.watch(objective.known(per_channel=per_channel), random)
    # A code made of the measurement must not show held-out pixels either: their
    # noise would find its way into the weights, and their error would look better
    # than it is.
    code = prior.code.drawing(
        prior.canvas(sides), objective.measurement, watch.weight, random
    )
    shape, decay = problem.batch_shape, settings.ema_decay
    average: Average | WeightAverage
    if settings.average == "weights":
        average = WeightAverage(network, code, shape, decay, place)
    else:
        average = Average(shape, decay, place.device, per_channel=per_channel)
    before = 0 if objective.first_estimate is None else settings.start_iterations
    coarse = None
    if settings.coarse_iterations and can_be_halved(sides):
        coarse = Coarse(prior, objective.measurement, watch.weight, random)
        before = settings.coarse_iterations
    maximum, extra = settings.stop.maximum, settings.extra_iterations
    return State(
        network=network,
        operator=operator,
        optimizers=_optimizers(network, operator, problem, settings, place),
        average=average,
        random=random,
        watch=watch,
        code=code,
        coarse=coarse,
        ending=Ending(maximum, extra, maximum + extra),
        progress=Progress(-before),
        best=Best(shape, place.device, operator),
    )


def _check_settings(problem: Problem, settings: Settings) -> None:
    """Raise if a problem needs averaged weights, or cannot begin as it is asked to."""
    weights = settings.average == "weights"
    if len(problem.measurement) > 1 and not weights:
        raise InputError(
            f"measurement: several windows need averaged weights; got "
            f"average={settings.average!r}"
        )
    if settings.coarse_iterations and not (weights and problem.operator is None):
        raise InputError(
            "coarse_iterations: need a problem without an operator and averaged "
            f"weights; got average={settings.average!r}"
        )
    start, coarse = settings.start_iterations, settings.coarse_iterations
    if problem.first_estimate is not None and start and coarse:
        raise InputError(
            "start_iterations: a fit begins with a first estimate or at half the "
            f"resolution, not both; got {start} and coarse_iterations={coarse}"
        )


def can_be_halved(sides: Sequence[int]) -> bool:
    """Return whether a fit may begin at half the resolution.

    Volumes collapsed in the first iterations after those, and are no worse without.
    """
    return len(sides) == 2 and min(sides) >= 2 * COARSEST


def _optimizers(
    network: nn.Module,
    operator: nn.Module | None,
    problem: Problem,
    settings: Settings,
    place: runtime.Place,
) -> Optimizers:
    on_gpu, rate = place.on_gpu, problem.operator_learning_rate
    members = optimizers.make(network, settings, on_gpu=on_gpu)
    if operator is not None and rate is not None:
        learned = [p for p in operator.parameters() if p.requires_grad]
        members.append(optimizers.adam(learned, rate, on_gpu=on_gpu))
    return Optimizers(members, on_gpu=on_gpu)
