"""What is fitted, how, and what comes of it: the types of `napari_dip.prior.fit`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from napari_dip.errors import InputError
from napari_dip.prior.architecture import Generates
from napari_dip.prior.codes import Code
from napari_dip.prior.kinds import check_fields, check_range
from napari_dip.prior.stopping import Rule
from napari_dip.prior.terms import Squared, Term

CHOICES = {
    "optimizer": ("muon", "adam"),
    "schedule": ("constant", "cosine", "halving"),
    "average": ("outputs", "weights"),
}
"""What can be chosen for an optimisation."""

RANGES = {
    "learning_rate": (0, math.inf),
    "momentum": (0, 1),
    "adam_learning_rate": (0, math.inf),
    "ema_decay": (0, 1),
    "check_every": (1, math.inf),
    "start_iterations": (0, math.inf),
    "coarse_iterations": (0, math.inf),
    "extra_iterations": (0, math.inf),
    "seed": (0, math.inf),
}
"""Lowest and highest values of an optimisation and of settings."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be restored."""

    measurement: Tensor
    """y, float32, (1, C, ...), finite, scaled to about [0, 1]; or (N, C, ...), N
    windows of which a code that hides pixels shows one in every iteration."""
    term: Term = field(default_factory=Squared)
    """Data fidelity; see `napari_dip.prior.terms`."""
    operator: Callable[[Tensor], Tensor] | None = None
    """A, maps an image tensor to a tensor shaped like the measurement; the identity
    where not given.  A module that is on another device than the fit is copied to
    it."""
    weight: Tensor | None = None
    """(N, 1, ...) over the measurement, 0 where it is missing."""
    shape: tuple[int, ...] | None = None
    """Channels and sides of the image x; the measurement's where not given."""
    anneal: Callable[[float], None] | None = None
    """Called before every iteration with the part of all iterations that is done, for a
    data fidelity that changes; tensors they hold must be changed in place."""
    penalty: Callable[[Tensor], Tensor] | None = None
    """Maps the image to a scalar that is added to the loss, weighted already."""
    first_estimate: Tensor | None = None
    """Image, (1, C, ...), that the network is fitted to for the first
    `Settings.start_iterations`, before it sees the measurement."""
    operator_learning_rate: float | None = None
    """Learning rate (Adam) of the operator's own parameters, which are then fitted
    along, in a copy of the module: `Fit.operator`.  Where not given they stay as they
    are."""

    @property
    def ndim(self) -> int:
        """Spatial dimensions, 2 or 3."""
        return len(self.image_shape) - 1

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels and sides of x."""
        return self.shape or tuple(self.measurement.shape[1:])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Windows, channels and sides of x."""
        windows = len(self.measurement) if self.operator is None else 1
        return (windows, *self.image_shape)


@dataclass(frozen=True)
class Prior:
    """A network and the code that it sees: together they make an image."""

    architecture: Generates
    """The network."""
    code: Code
    """What it sees."""

    def canvas(self, sides: Sequence[int]) -> tuple[int, ...]:
        """Return the sides of an image rounded up to what the network can halve.

        Two pixels are left at the coarsest scale: one has no variance to normalise.
        """
        multiples = self.architecture.multiple(len(sides))
        return tuple(
            max(2, -(-n // m)) * m for n, m in zip(sides, multiples, strict=True)
        )

    def build(
        self, image_shape: tuple[int, ...], generator: torch.Generator | None
    ) -> nn.Module:
        """Return the network for an image (C, ...), weights from `generator`."""
        channels, *sides = image_shape
        inputs = self.code.channels(image_shape)
        return self.architecture.build(inputs, channels, self.canvas(sides), generator)


@dataclass(frozen=True)
class Optimization:
    """How the weights of a network are found, and when that ends."""

    stop: Rule
    """Stopping rule; see `napari_dip.prior.stopping`."""
    optimizer: str = "muon"
    """Either "muon" or "adam"; see `napari_dip.prior.optimizers`."""
    learning_rate: float = 0.02
    momentum: float = 0.95
    """Momentum of Muon."""
    adam_learning_rate: float = 0.01
    """With "muon", learning rate of the parameters that are no large kernels."""
    schedule: str = "constant"
    """Whether the learning rate falls over the most iterations that the stopping rule
    allows: "constant", to zero with a half "cosine", or by "halving" at each of
    `napari_dip.prior.loop.HALVINGS`."""
    average: str = "outputs"
    """What is averaged by an exponential moving average: the "outputs", or the
    "weights", which then make the image."""
    ema_decay: float = 0.99
    """EMA decay: the weight of the past in that average, per iteration.  0 keeps the
    last one."""
    check_every: int = 10
    """Iterations between readings of loss and score."""
    start_iterations: int = 0
    """Iterations spent on `Problem.first_estimate`, not counted by the stopping
    rule."""
    coarse_iterations: int = 0
    """Iterations spent on the measurement at half the resolution before the first, not
    counted by the stopping rule, where its sides are 64 pixels or more.  For problems
    without an operator and averaged weights."""

    def __post_init__(self) -> None:
        what = type(self).__name__
        ranges = {name: RANGES[name] for name in RANGES if hasattr(self, name)}
        check_fields(self, what, **ranges)
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise InputError(
                    f"{what}: {name} must be one of {', '.join(known)}; got {value!r}"
                )
        if self.ema_decay == 1:
            raise InputError(f"{what}: ema_decay must be below 1; got 1")


@dataclass(frozen=True)
class Settings(Optimization):
    """How to fit."""

    extra_iterations: int = 0
    """Iterations to go on for when the stopping rule says stop; the image of the last
    one is then kept."""
    resumable: bool = False
    """Whether the fit keeps what it needs to go on later: `Fit.resume`."""
    keep_weights: bool = False
    """Whether the fit gives the weights of its network: `Fit.weights`."""
    device: str = "auto"
    precision: str = "auto"
    """See `napari_dip.prior.runtime`."""
    threads: int | None = None
    """CPU threads during a step; torch's number where not given."""
    seed: int = 0
    """Seed of everything random in the fit."""
    graph: bool = True
    """Whether to capture the step as a CUDA graph on a GPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threads is not None:
            check_range(self.threads, 1, math.inf, "Settings: threads")

    @classmethod
    def of(cls, optimization: Optimization, **others: Any) -> Settings:
        """Return the settings of an optimisation, and others."""
        names = [f.name for f in dataclasses.fields(Optimization)]
        return cls(**{name: getattr(optimization, name) for name in names} | others)


@dataclass(frozen=True)
class Iterate:
    """One iteration of a fit.

    Attributes
    ----------
    step : int
        Iterations done, from 1; 0 in those before the first.
    maximum : int
        Most iterations the fit may take.
    loss : float
        Loss of the fit, as last read.
    score : float
        Score of the stopping rule, as last read; lower is better.
    best_step : int
        The iteration whose image would be returned now.
    seconds : float
        Since the fit began.
    measure : callable
        Makes `average`.
    render : callable
        Makes `image`, or given True `finished`: the average as well, until a task has
        its own.
    index : tuple
        Where `image` belongs in the result, if that has several planes.
    part, parts : int
        Which of how many fits this is, where planes or restarts need several.
    fixed : bool
        Whether the fit takes `maximum` iterations, no fewer.
    score_name : str
        What the score is, in words for the user.
    ahead : int
        Iterations to go before the first: on a first estimate, or at half the
        resolution.
    last : bool
        Whether the fit has ended with it, and its image will be finished next.
    shared : bool
        Whether the planes of the job share the networks that are fitted.
    fitted : bool
        Whether such a network is fitted, and restores plane after plane.
    error : float
        Root mean square error that the score tells, in the units of `image`; NaN where
        it tells none.
    at_most : bool
        Whether the error may be any smaller one, too.
    checkpoint : callable, optional
        Makes the state of the fit now, a flat dict of tensors and of values that JSON
        can hold; `napari_dip.prior.fit.fit` goes on from it.
    """

    step: int
    maximum: int
    loss: float
    score: float
    best_step: int
    seconds: float
    measure: Callable[[], Tensor] = field(repr=False)
    render: Callable[[bool], Any] = field(repr=False)
    index: tuple[int | slice, ...] = ()
    part: int = 0
    parts: int = 1
    fixed: bool = False
    score_name: str = "error"
    ahead: int = 0
    last: bool = False
    shared: bool = False
    fitted: bool = False
    error: float = math.nan
    at_most: bool = False
    checkpoint: Callable[[], dict[str, Any]] | None = field(default=None, repr=False)

    @property
    def reading(self) -> str:
        """The error in words, with its name; "" where it is not known."""
        if not math.isfinite(self.error):
            return ""
        return f"{self.score_name} {'below ' if self.at_most else ''}{self.error:.3g}"

    @property
    def average(self) -> Tensor:
        """The averaged output now, a new tensor each time."""
        return self.measure()

    @property
    def image(self) -> Any:
        """The image now: computed when asked, a fresh copy each time."""
        return self.render(False)

    @property
    def finished(self) -> Any:
        """The image with all steps that finish a result, which may take seconds."""
        return self.render(True)


@dataclass(frozen=True)
class Fit:
    """The result of a fit.

    Attributes
    ----------
    image : Tensor or ndarray
        The average, or what a task has made of it.
    average : Tensor
        The best averaged image.
    stopped_by : str
        Why the fit ended, in words.
    iterations : int
        Iterations done.
    best_iteration : int
        The iteration the image comes from: 0 for one before the first, and -1 where it
        comes of several fits.
    seconds : float
        Wall time of the fit.
    history : list of dict
        step, loss and score of every check.
    settings : dict
        What was run, JSON-able.
    warnings : list of str
        What the user should know.
    uncertainty : Tensor or ndarray, optional
        Standard deviation of every pixel of the image, NaN where it is not known.
    weights : dict of str to Tensor, optional
        Weights of the network after the last iteration, on the CPU, where
        `Settings.keep_weights` asked for them; or the networks that planes share.
    operator : nn.Module, optional
        The operator of the best iteration, where a single fit fitted it along.
    resume : callable, optional
        ``resume(extra)`` goes on with the fit, a generator like the one it came
        from; only once, and only where `Settings.resumable` asked for it.  A fit
        that was stopped by the user goes on as if it had not been, any other takes
        `extra` more iterations, 0 or more, and keeps the last image, as if
        `Settings.extra_iterations` had been higher by so many.
    not_begun : tuple of int
        Numbers of the planes that were not begun before the user stopped the fit.
    """

    image: Any = field(repr=False)
    average: Any = field(repr=False)
    stopped_by: str
    iterations: int
    best_iteration: int
    seconds: float
    history: list[dict[str, float]] = field(repr=False)
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    uncertainty: Any = field(default=None, repr=False)
    weights: dict[str, Tensor] | None = field(default=None, repr=False)
    operator: nn.Module | None = field(default=None, repr=False)
    resume: Callable[[int], Fitting] | None = field(default=None, repr=False)
    not_begun: tuple[int, ...] = ()


Fitting = Generator[Iterate, "bool | None", Fit]
"""Yields every iteration; send True to stop; returns the fit."""
