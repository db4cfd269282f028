"""Fit theta so that it minimises E(A(f_theta(z)), y), and stop in time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from napari_dip.errors import DeviceFailed, InputError
from napari_dip.machine import check_iterations
from napari_dip.prior import interrupt, runtime
from napari_dip.prior.estimate import estimate, surely_fits
from napari_dip.prior.loop import Run
from napari_dip.prior.problem import Fit, Fitting, Iterate, Prior, Problem, Settings

Result = TypeVar("Result")

STOPPED = "stopped by the user"
"""Why a fit ended that was sent True."""

TIME_UP = "the time limit"
"""How the reason begins why a fit ended that has taken all the time it may."""

DEVICE_FAILED = "a failure of the device"
"""How the reason begins why a fit ended whose device has failed."""

UNFINISHED = (STOPPED, TIME_UP, DEVICE_FAILED)
"""How the reasons begin why a fit ended before its end."""


REASONS = "; "
"""What stands between the reasons of several fits, in words."""


def is_unfinished(stopped_by: str, *early: str) -> bool:
    """Return whether a reason, or one of several, is of a fit that was ended early.

    That may be for any of `UNFINISHED`, or for one of those that are named.
    """
    began = early or UNFINISHED
    return any(reason.startswith(began) for reason in stopped_by.split(REASONS))


def run_to_end(
    fitting: Generator[Iterate, bool | None, Result],
    callback: Callable[[Iterate], Any] | None = None,
) -> Result:
    """Run a fit, or another generator of iterates, to its end.

    The callback is called with every iterate; a true return value stops the fit, which
    keeps its best image.
    """
    stop: bool | None = None
    try:
        while True:
            iterate = fitting.send(stop)
            stop = bool(callback(iterate)) if callback is not None else None
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        fitting.close()


def fit(
    problem: Problem,
    prior: Prior,
    settings: Settings,
    *,
    weights: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
) -> Fitting:
    """Fit the prior to a problem, yielding every iteration.

    Parameters
    ----------
    problem, prior, settings
        See the classes.
    weights : dict of str to Tensor, optional
        Weights of the network to begin from, as `Fit.weights` of a fit with the same
        architecture and as many channels.
    state : dict, optional
        From `Iterate.checkpoint` of a fit of the same problem, to go on as if it had
        not been broken off.  A fit that had ended takes `Settings.extra_iterations`
        more.

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
    InputError
        If weights or state are of another network or problem, or more iterations are
        asked for than `napari_dip.machine` allows.
    OutOfMemory
        If the fit does not fit, before the first iteration where that is
        foreseeable.
    DeviceFailed
        If the device fails, and the best image so far cannot be had from it.
    """
    check_iterations(settings.stop.maximum + settings.extra_iterations)

    parts = (problem, prior, settings)

    def advice() -> str:
        with runtime.device_errors():
            needed = estimate(*parts)
        return needed.advice(math.prod(problem.image_shape[1:]), problem.ndim)

    with runtime.device_errors():
        if not (surely_fits(*parts) or estimate(*parts).fits):
            on_gpu = runtime.pick_device(settings.device).type != "cpu"
            raise runtime.out_of_memory(on_gpu, advice())
    with runtime.kept_pages():
        with runtime.device_errors(advice):
            run = Run(problem, prior, settings, weights, state)
        ended = run.state.ending.ended
        if ended is not None:
            if not settings.extra_iterations:
                raise InputError(
                    f"state: the fit has ended ({ended}); set extra_iterations to go on"
                )
            run.go_on(settings.extra_iterations)
        return (yield from _drive(run, advice))


def _advance(run: Run, begun: bool) -> tuple[str | None, bool]:
    """Take one step; return why to end, if so, and whether it is still to be seen.

    If the user stops the fit meanwhile, the step is given up where there is an image to
    keep, and is as if it had not begun; or the look at it is given up, and still to be
    taken.  Steps on a GPU are short, and may be captured as a graph: they run to their
    end.
    """
    if run.place.device.type != "cpu":
        with interrupt.asking(None):
            return run.advance(), False
    progress, random = run.state.progress, run.state.random
    # The averages are about to be forgotten: after this step there is an image again.
    forgets = progress.step == 0 and run.objective.first_estimate is not None
    if not begun or forgets:
        return run.advance(), False
    step, drawn = progress.step, random.get_state()
    try:
        with interrupt.allowed():
            return run.advance(), False
    except interrupt.Interrupted:
        if progress.step == step:
            random.set_state(drawn)
        return None, progress.step > step


def _drive(run: Run, advice: Callable[[], str]) -> Fitting:
    """Take steps until the rule or the user says stop, or the device fails."""
    try:
        with runtime.device_errors(advice):
            return (yield from _steps(run, advice))
    except DeviceFailed as error:
        return _rescued(run, error)


def _rescued(run: Run, error: DeviceFailed) -> Fit:
    """Return the best image so far, on the CPU, or raise if it cannot be had."""
    if run.state.best.image is None:
        raise DeviceFailed(f"{error}; there was no image yet to keep") from None
    try:
        with runtime.device_errors():
            fit = run.result(f"{DEVICE_FAILED} ({error})")
            image, operator = fit.image.cpu(), fit.operator
            if operator is not None:
                operator = operator.cpu()
    except DeviceFailed:
        raise DeviceFailed(f"{error}; the image so far was lost with it") from None
    note = f"{error}; the best image so far was kept"
    return dataclasses.replace(
        fit,
        image=image,
        average=image,
        operator=operator,
        warnings=[*fit.warnings, note],
    )


def _steps(run: Run, advice: Callable[[], str]) -> Fitting:
    """Take steps until the rule or the user says stop."""
    resumable = run.settings.resumable
    reason: str | None = None
    before_stop: dict[str, Any] | None = None
    begun = run.state.best.image is not None
    while reason is None:
        reason, unseen = _advance(run, begun)
        begun = True
        stop = yield dataclasses.replace(run.iterate(), last=reason is not None)
        if unseen:
            reason = run.look()
        if stop and reason is None:
            # The check is made for the user's stop alone: going on undoes it.
            before_stop = run.state.state_dict() if resumable else None
            run.check()
            reason = STOPPED
    result = run.result(reason)
    if not resumable:
        return result
    if before_stop is not None:
        run.state.load_state_dict(before_stop)
    run.step.release()

    def resume(extra: int) -> Fitting:
        check_iterations(run.state.progress.step + extra)
        if not extra and run.state.ending.ended is not None:
            return dataclasses.replace(result, resume=resume)
        with runtime.kept_pages():
            run.go_on(extra)
            return (yield from _drive(run, advice))

    return dataclasses.replace(result, resume=resume)
