"""The iterations of a fit: steps, checks, roll-back, and going on after the end."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from napari_dip.errors import InputError
from napari_dip.prior import runtime
from napari_dip.prior.codes import Draw
from napari_dip.prior.layers import corner
from napari_dip.prior.objective import Objective
from napari_dip.prior.problem import Fit, Iterate, Prior, Problem, Settings
from napari_dip.prior.state import FITTED, Coarse, Progress, State, at_maximum, begin

GRAPH_AFTER = 3
"""Steps before a CUDA graph is captured: optimisers make their state in them."""

SPIKE = 3.0
"""A loss this many times the median of the last checks counts as divergence."""

RETRIES = 5
"""How often a diverging fit is rolled back before it is ended."""

SLOWER = 0.7
"""What every roll-back multiplies the learning rates by."""

SNAPSHOT_EVERY = 5
"""Checks from one state that is kept for a roll-back to the next."""

NO_IMAGE = "no iteration gave a finite image"
"""Warning of a fit whose image is a constant for want of a better one."""

HALVINGS = (0.4, 0.6, 0.8)
"""Parts of a fit at which the schedule "halving" halves the learning rate: at 2000,
3000 and 4000 of 5000 iterations in the program of Ren et al. (CVPR 2020)."""

AFTERWARDS = 0.1
"""Part of the first learning rate for extra iterations, after a cosine has brought it
to zero: where that cosine is at four fifths of its way."""


def schedule_factor(schedule: str, done: float) -> float:
    """Return the factor of the learning rates when a part of the fit is done."""
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done)) if done < 1 else AFTERWARDS
    if schedule == "halving":
        return 0.5 ** sum(done >= part for part in HALVINGS)
    return 1.0


def diverged(progress: Progress) -> bool:
    """Return whether the loss last read shows that a fit has diverged."""
    if not (math.isfinite(progress.loss) and math.isfinite(progress.score)):
        return True
    recent = progress.recent
    usual = statistics.median(recent) if len(recent) > 2 else math.inf
    # A loss that is maximised by its negative has a median below zero.
    return progress.loss - usual > (SPIKE - 1) * abs(usual)


class Step:
    """One iteration, which reads nothing back from the device.

    With `graph` it is captured as a CUDA graph on a GPU.
    """

    def __init__(
        self, objective: Objective, state: State, place: runtime.Place, *, graph: bool
    ) -> None:
        self.objective, self.state, self.place = objective, state, place
        self.capture = graph and place.on_gpu
        self.sides = objective.problem.image_shape[1:]
        self.parameters = state.optimizers.parameters
        self.loss = torch.zeros((), device=place.device, dtype=torch.float32)
        self.release()

    def release(self) -> None:
        """Drop the captured graph."""
        self.graph: Callable[[], None] | None = None
        self.eager = 0
        self.ahead = self.state.progress.step < 0

    def __call__(self) -> None:
        """Take the step."""
        if self.ahead != (self.state.progress.step < 0):
            # A graph of steps before the first iteration does not serve those after it.
            self.release()
        with runtime.step_context(self.place.threads):
            if self.graph is None and self.capture and self.eager >= GRAPH_AFTER:
                self.graph = runtime.captured(self.compute, self.state.random)
            if self.graph is not None:
                self.graph()
                return
            self.compute()
        self.eager += 1

    def compute(self) -> None:
        """Draw a code, compare the output with the measurement, change the weights."""
        state = self.state
        state.optimizers.zero_grad()
        coarse = state.coarse if state.progress.step < 0 else None
        drawing = state.code if coarse is None else coarse.code
        drawn = drawing.draw(state.random)
        sides = self.sides if coarse is None else drawing.sides
        output = state.network(drawn.code.to(self.place.dtype))[corner(sides)]
        loss = self._loss(output, drawn, coarse)
        # Only for these parameters: a model inside an operator keeps its gradients.
        loss.backward(inputs=self.parameters)
        state.optimizers.step()
        with torch.no_grad():
            output = output.detach()
            state.average.update(output, drawn.hidden)
            if coarse is None:
                state.watch.see(output)
            self.loss.copy_(loss.detach())

    def _loss(self, output: Tensor, drawn: Draw, coarse: Coarse | None) -> Tensor:
        objective = self.objective
        if coarse is not None:
            measurement, weight = coarse.measurement, coarse.weight
        elif self.state.progress.step < 0:
            return objective.first_estimate_loss(output)
        else:
            measurement, weight = objective.measurement, self.state.watch.weight
        if drawn.window is not None:
            measurement = measurement.index_select(0, drawn.window)
            weight = weight.index_select(0, drawn.window)
        if drawn.hidden is not None:
            weight = weight * drawn.hidden
        if coarse is not None:
            return objective.problem.term.mean(output, measurement, weight)
        return objective.loss(output, measurement, weight)


class Run:
    """A fit at work; see `napari_dip.prior.fit.fit`.

    It may begin from weights of the network, or go on from the saved state of another
    run of the same problem.
    """

    # Made in inference mode, tensors could never be part of a gradient.
    @torch.inference_mode(False)
    def __init__(
        self,
        problem: Problem,
        prior: Prior,
        settings: Settings,
        weights: Mapping[str, Any] | None = None,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        self.since = time.perf_counter()
        self.settings = settings
        self.place = runtime.Place.pick(settings, problem.image_shape[1:])
        self.objective = Objective(problem, self.place.device)
        self.state = begin(problem, prior, settings, self.objective, self.place)
        if weights is not None:
            self.state.load_weights(weights)
        if saved is not None:
            self.state.load_state_dict(saved)
        early = self.state.coarse is None and self.objective.first_estimate is None
        if early and self.state.progress.step < 0:
            raise InputError(
                f"state: progress.step must be 0 or more for a fit that begins with "
                f"its first iteration; got {self.state.progress.step}"
            )
        self.step = Step(self.objective, self.state, self.place, graph=settings.graph)
        self.good = self.state.state_dict(FITTED)
        """What a divergence is rolled back to."""

    # -- iterations -------------------------------------------------------------

    def advance(self) -> str | None:
        """Take one step, check it if it is time, and return why to stop, if so."""
        state, progress = self.state, self.state.progress
        if progress.step == 0 and self.objective.first_estimate is not None:
            # From here on the measurement counts, and only what is fitted to it.
            state.average.reset()
        self._schedule()
        self.step()
        progress.step += 1
        return self.look()

    def look(self) -> str | None:
        """Check the step just taken if it is time, and return why to stop, if so."""
        state, progress = self.state, self.state.progress
        if progress.step <= 0:
            return None
        last = progress.step >= state.ending.limit
        # Many windows take long to predict: the first iteration is not worth it.
        first = progress.step == 1 and self.objective.problem.batch_shape[0] == 1
        due = first or progress.step == state.ending.maximum
        reason = None
        if last or due or progress.step % self.settings.check_every == 0:
            reason = self.check()
        if last and reason is None:
            reason = at_maximum(progress.step)
        state.ending.ended = reason
        return reason

    def _schedule(self) -> None:
        progress = self.state.progress
        if progress.step < 0:
            return
        done = min(progress.step / self.state.ending.maximum, 1.0)
        self.objective.anneal(done)
        factor = schedule_factor(self.settings.schedule, done)
        self.state.optimizers.scale(factor * progress.slower)

    @torch.no_grad()
    def check(self) -> str | None:
        """Read loss and score, keep the best image, roll back a divergence.

        Before the first iteration there is nothing to judge: the image is kept as is.
        """
        state, progress = self.state, self.state.progress
        if progress.checked:
            return None
        average = state.average.value()
        if progress.step <= 0:
            state.best.take(0, average, (True,))
            return None
        scores = state.watch.score(average, self.objective.error)
        if len(scores) not in (1, average.shape[1]):
            # The measurement has other channels than the image.
            scores = scores.mean().reshape(1)
        loss, *judged = torch.cat([self.step.loss[None], scores]).tolist()
        progress.read(loss, sum(judged) / len(judged))
        if diverged(progress):
            return self.roll_back()
        progress.settle()
        verdict = state.ending.judge(state.watch, progress.step, judged)
        state.best.take(progress.step, average, verdict.best)
        if progress.step % (SNAPSHOT_EVERY * self.settings.check_every) == 0:
            self.good = state.state_dict(FITTED)
        return verdict.reason

    def roll_back(self) -> str | None:
        """Return to the last good weights with a lower learning rate."""
        progress = self.state.progress
        self.state.load_state_dict(self.good, FITTED)
        progress.retries += 1
        progress.slower *= SLOWER
        progress.recent.clear()
        if progress.retries <= RETRIES:
            return None
        progress.warnings.append(
            f"the fit diverged {progress.retries} times, the last time at iteration "
            f"{progress.step}; the image of iteration {self.state.best.step} was kept"
        )
        return "the loss kept diverging"

    # -- the end, and after it --------------------------------------------------

    def go_on(self, extra: int) -> None:
        """Go on; a fit that has ended by itself takes so many more iterations."""
        self.since = time.perf_counter()
        if self.state.ending.ended is not None:
            self.state.ending.go_on(self.state.progress.step, extra)

    # -- what others see --------------------------------------------------------

    def _clock(self) -> float:
        """Bring the wall time up to date and return it."""
        now = time.perf_counter()
        self.state.progress.seconds += now - self.since
        self.since = now
        return self.state.progress.seconds

    def iterate(self) -> Iterate:
        """Describe the iteration just done."""
        state, progress = self.state, self.state.progress
        stop = self.settings.stop
        return Iterate(
            step=max(progress.step, 0),
            ahead=max(-progress.step, 0),
            maximum=state.ending.limit,
            fixed=stop.fixed or state.ending.stop_step is not None,
            score_name=stop.score_name,
            error=state.watch.error(progress.score, self.objective.problem.term),
            at_most=progress.score < state.watch.least,
            loss=progress.loss,
            score=progress.score,
            best_step=state.best.step,
            seconds=self._clock(),
            measure=state.average.value,
            render=lambda finished: state.average.value(),
            checkpoint=state.state_dict,
        )

    def result(self, reason: str) -> Fit:
        """Return the fit as it stands."""
        state, progress = self.state, self.state.progress
        warnings, best = list(progress.warnings), state.best.image
        if best is None or not bool(torch.isfinite(best).all()):
            level = float(self.objective.measurement.mean())
            shape = self.objective.problem.batch_shape
            best = torch.full(shape, level, device=self.place.device)
            warnings.append(NO_IMAGE)
        operator = copy.deepcopy(state.operator)
        if operator is not None and state.best.operator:
            operator.load_state_dict(state.best.operator)
        return Fit(
            image=best,
            average=best,
            stopped_by=reason,
            iterations=max(progress.step, 0),
            best_iteration=state.best.step,
            seconds=self._clock(),
            history=copy.deepcopy(progress.history),
            settings={
                "device": str(self.place.device),
                "precision": str(self.place.dtype).removeprefix("torch."),
                "torch": torch.__version__,
            },
            warnings=warnings,
            weights=state.weights() if self.settings.keep_weights else None,
            operator=operator,
        )
