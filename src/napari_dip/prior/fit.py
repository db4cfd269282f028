"""The one fit loop: find theta that minimises E(A(f_theta(z)), y), stop in time."""

from __future__ import annotations

import copy
import dataclasses
import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from napari_dip.errors import InputError, OutOfMemory
from napari_dip.prior import optimizers, runtime
from napari_dip.prior.averaging import Average
from napari_dip.prior.layers import corner
from napari_dip.prior.problem import Fit, Fitting, Iterate, Prior, Problem, Settings
from napari_dip.prior.stopping import GoingOn, ended

GRAPH_AFTER = 3
"""Steps before a CUDA graph is captured: optimisers make their state in them."""

ONE_THREAD = 64 * 64
"""Pixels up to which threads cost more time than they save."""

SPIKE = 3.0
"""A loss this many times the median of the last checks counts as divergence."""

HALVINGS = (0.4, 0.6, 0.8)
"""Parts of a fit at which the schedule "halving" halves the rate: at 2000, 3000 and
4000 of 5000 iterations in the program of Ren et al. (CVPR 2020)."""

AFTERWARDS = 0.1
"""Of the first learning rate, for extra iterations after a cosine has brought it to
zero; where that cosine is at four fifths of its way."""

STOPPED = "stopped by the user"
"""Why a fit ended that was sent True."""

RETRIES = 5
"""How often a diverging fit is rolled back before it is ended."""


def finish(fitting: Fitting, callback: Callable[[Iterate], Any] | None = None) -> Fit:
    """Run a fit to its end.

    Parameters
    ----------
    fitting : generator
        From `fit`.
    callback : callable, optional
        Called with every `Iterate`; a true return value stops the fit, which
        keeps its best image.
    """
    stop: bool | None = None
    try:
        while True:
            iterate = fitting.send(stop)
            stop = bool(callback(iterate)) if callback is not None else None
    except StopIteration as end:
        result: Fit = end.value
        return result
    finally:
        fitting.close()


def fit(problem: Problem, prior: Prior, settings: Settings) -> Fitting:
    """Fit the prior to a problem, yielding every iteration.

    Parameters
    ----------
    problem, prior, settings
        See the classes.

    Yields
    ------
    Iterate
        After every iteration.  Sending a true value ends the fit as if its rule
        had said so.

    Returns
    -------
    Fit
        With the best averaged image as a tensor (1, C, ...) on the device.

    Raises
    ------
    OutOfMemory
        If the fit does not fit, before the first iteration where that is
        foreseeable.
    """
    needed = estimate(problem, prior, settings)
    advice = needed.advice(math.prod(problem.image_shape[1:]), problem.ndim)
    if not needed.fits:
        raise OutOfMemory(advice)
    with runtime.kept_pages():
        with runtime.memory_errors(advice):
            run = _Run(problem, prior, settings)
        return (yield from _drive(run, advice))


def _drive(run: _Run, advice: str) -> Fitting:
    """Take steps until the rule or the user says stop."""
    reason: str | None = None
    undo: dict[str, Any] = {}
    while reason is None:
        with runtime.memory_errors(advice):
            reason = run.advance()
        stop = yield run.iterate()
        if stop and reason is None:
            undo = run.remember()
            with runtime.memory_errors(advice):
                run.check()
            reason = STOPPED
    end, result = reason, run.result(reason)
    if not run.settings.resumable:
        return result
    run.recall(undo)
    run.rest()

    def resume(extra: int) -> Fitting:
        with runtime.kept_pages():
            run.wake(extra, end)
            return (yield from _drive(run, advice))

    return dataclasses.replace(result, resume=resume)


def estimate(
    problem: Problem, prior: Prior, settings: Settings, *, trial: bool = False
) -> runtime.Estimate:
    """Estimate memory, and with `trial` time per iteration, before fitting.

    Memory is counted from the network's own graph on torch's meta device; time
    is measured on a piece of the image of at most 64 pixels a side and scaled.
    """
    device = runtime.pick_device(settings.device)
    dtype = runtime.pick_dtype(settings.precision, device)
    canvas = _canvas(problem, prior)
    inputs = prior.code.channels(problem.image_shape)
    with torch.inference_mode(False), torch.device("meta"):
        network = prior.architecture.build(inputs, problem.image_shape[0], canvas, None)
        code = torch.empty(1, inputs, *canvas, dtype=dtype)
    pixels = math.prod(canvas)
    weights = sum(p.numel() for p in network.parameters())
    widest = max(prior.architecture.widest, inputs)
    memory = (
        runtime.saved_bytes(network, code)
        # The gradients in flight at the widest place of the backward pass.
        + 4 * widest * pixels * dtype.itemsize
        # Code, its noise and the cast; measurement, average, best and the like.
        + (2 * inputs + 16 * problem.image_shape[0]) * 4 * pixels
        # Weights, gradients, moments and the snapshot to roll back to.
        + 8 * 4 * weights
    )
    seconds = _trial(problem, prior, settings) if trial else None
    return runtime.Estimate(memory, runtime.free_memory(device), seconds)


def _canvas(problem: Problem, prior: Prior) -> tuple[int, ...]:
    """Return the image's sides rounded up to what the network can halve.

    Two pixels are left at the coarsest scale: one has no variance to normalise.
    """
    multiples = prior.architecture.multiple(problem.ndim)
    sides = problem.image_shape[1:]
    return tuple(max(2, -(-n // m)) * m for n, m in zip(sides, multiples, strict=True))


def _trial(problem: Problem, prior: Prior, settings: Settings) -> float:
    """Return seconds per iteration of a small piece, scaled to the whole."""
    channels, *sides = problem.image_shape
    piece = torch.rand(1, channels, *(min(n, 64) for n in sides))
    small = Problem(piece)
    run = _Run(small, prior, dataclasses.replace(settings, start_iterations=0))
    times = []
    with runtime.kept_pages():
        for _ in range(4):
            start = time.perf_counter()
            run.advance()
            times.append(time.perf_counter() - start)
    share = math.prod(_canvas(problem, prior)) / math.prod(_canvas(small, prior))
    return min(times) * share


def _set_rate(group: dict[str, Any], rate: float) -> None:
    """Set a learning rate, in place where a CUDA graph reads it."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


class _Run:
    """The state of one fit."""

    # Made in inference mode, tensors could never be part of a gradient: the caller's
    # mode is left, and what the caller made in it is copied.
    @torch.inference_mode(False)
    def __init__(self, problem: Problem, prior: Prior, settings: Settings) -> None:
        self.began = time.perf_counter()
        self.problem, self.settings = problem, settings
        self.device = runtime.pick_device(settings.device)
        self.dtype = runtime.pick_dtype(settings.precision, self.device)
        self.measurement = problem.measurement.to(self.device, torch.float32, copy=True)
        channels, *sides = problem.image_shape
        self.crop = corner(sides)
        self.threads = settings.threads
        if self.threads is None and math.prod(sides) <= ONE_THREAD:
            self.threads = 1

        # Weights are drawn on the CPU, so that every device starts alike.
        first = runtime.generator(settings.seed, torch.device("cpu"))
        self.random = runtime.generator(settings.seed + 1, self.device)
        canvas = _canvas(problem, prior)
        self.network = prior.architecture.build(
            prior.code.channels(problem.image_shape), channels, canvas, first
        ).to(self.device)
        rate: Any = settings.rate
        if self.device.type == "cuda":
            # A captured step reads the rate from the device, where it can change.
            rate = torch.tensor(rate, device=self.device)
        self.optimizers = optimizers.make(
            self.network, settings.optimizer, rate, on_gpu=self.device.type == "cuda"
        )
        self.operator = problem.operator
        self.fitted: nn.Module | None = None
        self.learned: list[nn.Parameter] = []
        if isinstance(self.operator, nn.Module):
            self._take_operator(self.operator, problem.operator_rate)
        self.rates = [float(group["lr"]) for group in self._groups()]
        self.parameters = [p for group in self._groups() for p in group["params"]]
        self.slower = 1.0
        known = problem.weight
        if known is None:
            known = torch.ones_like(self.measurement[:, :1])
        known = known.to(self.device, torch.float32, copy=True)
        per_channel = prior.code.per_channel
        if per_channel:
            known = known.expand_as(self.measurement)
        if not bool((known > 0).any()):
            raise InputError("weight: no pixel of the measurement is known")
        self.planned = self.maximum = settings.stop.maximum
        self.watch = settings.stop.start(known, self.random)
        self.go_on(settings.extra_iterations)
        # A code made of the measurement must not show held-out pixels either:
        # their noise would find its way into the weights, and their error would
        # look better than it is.
        self.draw = prior.code.start(
            canvas, self.measurement, self.watch.weight, self.random
        )
        self.average = Average(
            (1, channels, *sides),
            settings.decay,
            self.device,
            per_channel=per_channel,
        )
        self.start: Tensor | None = None
        if problem.start is not None and settings.start_iterations:
            self.start = problem.start.to(self.device, torch.float32, copy=True)
        self.loss = torch.zeros((), device=self.device, dtype=torch.float32)

        self.step = -settings.start_iterations if self.start is not None else 0
        self.graph: runtime.Graph | None = None
        self.history: list[dict[str, float]] = []
        self.recent: deque[float] = deque(maxlen=8)
        self.read_loss = self.read_score = math.nan
        self.best: Tensor | None = None
        self.best_learned: list[Tensor] = []
        self.best_step = 0
        self.warnings: list[str] = []
        self.retries = 0
        self.saved = self._tensors_now()

    def _take_operator(self, operator: nn.Module, rate: float | None) -> None:
        """Bring the operator to the device, and its parameters to an optimiser."""
        tensors = [*operator.parameters(), *operator.buffers()]
        if rate is not None or any(t.device != self.device for t in tensors):
            operator = copy.deepcopy(operator).to(self.device)
        self.operator = operator
        if rate is None:
            return
        self.fitted = operator
        self.learned = [p for p in operator.parameters() if p.requires_grad]
        on_gpu = self.device.type == "cuda"
        lr: Any = torch.tensor(rate, device=self.device) if on_gpu else rate
        self.optimizers.append(
            torch.optim.Adam(self.learned, lr=lr, fused=True, capturable=on_gpu)
        )

    # -- one iteration ----------------------------------------------------------

    def advance(self) -> str | None:
        """Take one step, check it if it is time, and return why to stop, if so."""
        if self.step == 0 and self.start is not None:
            # From here on the measurement counts, and only what is fitted to it.
            self.start = None
            for tensor in self.average.tensors():
                tensor.zero_()
        self._schedule()
        with runtime.step_context(self.threads):
            if self.graph is not None:
                self.graph()
            elif (
                self.device.type == "cuda"
                and self.settings.graph
                and self.step >= GRAPH_AFTER
            ):
                self.graph = runtime.Graph(self._step, self.random)
                self.graph()
            else:
                self._step()
        self.step += 1
        if self.step <= 0:
            return None
        last = self.step >= self.maximum
        reason = None
        due = self.step in (1, self.planned)
        if last or due or self.step % self.settings.check_every == 0:
            reason = self.check()
        if last and reason is None:
            reason = ended(self.step)
        return reason

    def _step(self) -> None:
        """Everything that happens in an iteration, without reading anything back."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        code, hidden = self.draw(self.random)
        output = self.network(code.to(self.dtype))[self.crop]
        weight = self.watch.weight if hidden is None else self.watch.weight * hidden
        loss = self._loss(output, weight)
        # Into ours only: operators may run models that are none of our business.
        loss.backward(inputs=self.parameters)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            output = output.detach()
            self.average.update(output, hidden)
            self.watch.see(output)
            self.loss.copy_(loss.detach())

    def _loss(self, image: Tensor, weight: Tensor) -> Tensor:
        if self.start is not None:
            return (image - self.start).square().mean()
        prediction = self._predict(image)
        loss = self.problem.term.mean(prediction, self.measurement, weight)
        penalty = self.problem.penalty
        return loss if penalty is None else loss + penalty(image)

    def _error(self, image: Tensor) -> Tensor:
        return self.problem.term(self._predict(image), self.measurement)

    def _predict(self, image: Tensor) -> Tensor:
        return image if self.operator is None else self.operator(image)

    def _schedule(self) -> None:
        """Set what changes from iteration to iteration."""
        if self.step < 0:
            return
        done = min(self.step / self.planned, 1.0)
        if self.problem.anneal is not None:
            self.problem.anneal(done)
        if self.settings.schedule == "constant":
            return
        if self.settings.schedule == "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * done)) if done < 1 else AFTERWARDS
        else:
            factor = 0.5 ** sum(done >= part for part in HALVINGS)
        factor *= self.slower
        for rate, group in zip(self.rates, self._groups(), strict=True):
            _set_rate(group, rate * factor)

    def _groups(self) -> list[dict[str, Any]]:
        return [g for optimizer in self.optimizers for g in optimizer.param_groups]

    # -- now and then -----------------------------------------------------------

    @torch.no_grad()
    def check(self) -> str | None:
        """Read loss and score, keep the best image, roll back a divergence."""
        if self.history and self.history[-1]["step"] == self.step:
            return None
        average = self.average.value()
        scores = self.watch.score(average, self._error)
        if len(scores) not in (1, average.shape[1]):
            # The measurement has other channels than the image.
            scores = scores.mean().reshape(1)
        self.read_loss, *judged = torch.cat([self.loss[None], scores]).tolist()
        self.read_score = sum(judged) / len(judged)
        self.history.append(
            {"step": self.step, "loss": self.read_loss, "score": self.read_score}
        )
        if self._diverged():
            return self._roll_back()
        self.recent.append(self.read_loss)
        verdict = self.watch.judge(self.step, judged)
        if self.best is None or all(verdict.best):
            self.best = average
        elif any(verdict.best):
            shape = (1, -1, *[1] * (average.ndim - 2))
            chosen = torch.tensor(verdict.best, device=self.device).reshape(shape)
            self.best = torch.where(chosen, average, self.best)
        if self.best is average or any(verdict.best):
            self.best_step = self.step
            self.best_learned = [p.detach().clone() for p in self.learned]
        if self.step % (5 * self.settings.check_every) == 0:
            self.saved = self._tensors_now()
        return verdict.reason

    def _diverged(self) -> bool:
        if not (math.isfinite(self.read_loss) and math.isfinite(self.read_score)):
            return True
        usual = statistics.median(self.recent) if len(self.recent) > 2 else math.inf
        # A loss that is maximised by its negative has a median below zero.
        return self.read_loss - usual > (SPIKE - 1) * abs(usual)

    def _tensors(self) -> list[Tensor]:
        """Everything that a divergence can spoil."""
        tensors = [p.data for p in (*self.network.parameters(), *self.learned)]
        for optimizer in self.optimizers:
            for state in optimizer.state.values():
                tensors += [v for v in state.values() if isinstance(v, Tensor)]
        return tensors + self.average.tensors()

    def _tensors_now(self) -> list[Tensor]:
        return [t.clone() for t in self._tensors()]

    def _roll_back(self) -> str | None:
        """Return to the last good state with a lower learning rate."""
        self.retries += 1
        now = self._tensors()
        if len(now) != len(self.saved):
            # Before the first snapshot the optimisers had no state yet.
            for optimizer in self.optimizers:
                optimizer.state.clear()
            self.graph = None
            now = self._tensors()
        for tensor, saved in zip(now, self.saved, strict=True):
            tensor.copy_(saved)
        self.slower *= 0.7
        for rate, group in zip(self.rates, self._groups(), strict=True):
            _set_rate(group, rate * self.slower)
        self.recent.clear()
        if self.retries <= RETRIES:
            return None
        self.warnings.append(
            f"the fit diverged {self.retries} times, the last time at iteration "
            f"{self.step}; the image of iteration {self.best_step} was kept"
        )
        return "the loss kept diverging"

    # -- what others see --------------------------------------------------------

    def iterate(self) -> Iterate:
        """Describe the iteration just done."""
        return Iterate(
            step=max(self.step, 0),
            maximum=self.maximum,
            loss=self.read_loss,
            score=self.read_score,
            best_step=self.best_step,
            seconds=time.perf_counter() - self.began,
            measure=self.average.value,
            render=lambda: self._finished(self.average.value()),
        )

    @torch.no_grad()
    def _finished(self, average: Tensor) -> Tensor:
        finish = self.problem.finish
        return average if finish is None else finish(average)

    def result(self, reason: str) -> Fit:
        """Return the fit as it stands."""
        best = self.best
        if best is None or not bool(torch.isfinite(best).all()):
            # Nothing finite was ever seen: the mean is the honest answer.
            level = self.measurement.mean()
            best = torch.full_like(self.average.sum, float(level))
            self.warnings.append("no iteration gave a finite image")
        operator = copy.deepcopy(self.fitted)
        if operator is not None and self.best_learned:
            learned = (p for p in operator.parameters() if p.requires_grad)
            for p, kept in zip(learned, self.best_learned, strict=True):
                p.data.copy_(kept)
        return Fit(
            image=self._finished(best),
            average=best,
            stopped_by=reason,
            iterations=self.step,
            best_iteration=self.best_step,
            seconds=time.perf_counter() - self.began,
            history=list(self.history),
            settings={
                "device": str(self.device),
                "precision": str(self.dtype).removeprefix("torch."),
                "torch": torch.__version__,
            },
            warnings=self.warnings,
            operator=operator,
        )

    # -- an end that may not be the end ------------------------------------------

    def go_on(self, extra: int, stopped: tuple[int, str] | None = None) -> None:
        """Go on for so many iterations when the rule says stop, or has said so."""
        if extra:
            self.watch = GoingOn(self.watch, self.maximum, extra, stopped)
            self.maximum = (stopped[0] if stopped else self.maximum) + extra

    def remember(self) -> dict[str, Any]:
        """Return what a check changes."""
        best = ("best", "best_step", "best_learned")
        read = ("history", "recent", "read_loss", "read_score")
        kept = {name: copy.copy(getattr(self, name)) for name in (*best, *read)}
        return kept | {"watch": copy.deepcopy(self.watch)}

    def recall(self, then: dict[str, Any]) -> None:
        """Undo a check that would not have been made without the user's stop."""
        vars(self).update(then)

    def rest(self) -> None:
        """Let go of what can be made again."""
        self.graph = None
        self.rested = time.perf_counter()

    def wake(self, extra: int, reason: str) -> None:
        """Go on after `reason`."""
        self.began += time.perf_counter() - self.rested
        if reason != STOPPED:
            self.go_on(extra, (self.step, reason))
