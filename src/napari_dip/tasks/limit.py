"""A limit on the time that fits may take."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import TYPE_CHECKING, TypeVar

from napari_dip.machine import MAX_SECONDS, deadline
from napari_dip.tasks.fits import relay

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fitting, Iterate

T = TypeVar("T")


def in_time(fitting: Fitting) -> Fitting:
    """Stop a job as the user would, once it has taken all the time it may."""
    from napari_dip.prior.fit import STOPPED, is_unfinished

    fit, reason = yield from until_late(fitting)
    if reason is not None and is_unfinished(fit.stopped_by, STOPPED):
        ended = fit.stopped_by.replace(STOPPED, reason)
        warnings = [*fit.warnings, f"the fit was stopped by {reason}"]
        fit = dataclasses.replace(fit, stopped_by=ended, warnings=warnings)
    resume = fit.resume
    if resume is None:
        return fit
    return dataclasses.replace(fit, resume=lambda extra: in_time(resume(extra)))


def until_late(
    fitting: Generator[Iterate, bool | None, T],
) -> Generator[Iterate, bool | None, tuple[T, str | None]]:
    """Stop a fit once it has taken all the time that the user has set, if any.

    Returns what the fit returns, and the limit where that has stopped it.
    """
    from napari_dip.prior.fit import TIME_UP

    late = deadline()
    limit: str | None = None

    def is_late(it: Iterate) -> str | None:
        nonlocal limit
        seconds = late()
        if seconds is not None:
            limit = f"{TIME_UP} of {seconds:g} s ({MAX_SECONDS})"
        return limit

    def adapt(it: Iterate) -> Iterate:
        return it if limit is None else dataclasses.replace(it, last=True)

    return (yield from relay(fitting, adapt, is_late))
