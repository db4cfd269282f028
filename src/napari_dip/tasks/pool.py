"""Where the planes and tiles of a job are computed: here, or on other processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from napari_dip.errors import DipError, InputError
from napari_dip.tasks.record import Record
from napari_dip.tasks.task import Job

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate


class Call(Protocol):
    """A call of a function whose result is asked for later."""

    def result(self) -> Any:
        """Return what the function returns, or raise what it raises."""

    def wait(self, seconds: float) -> bool:
        """Wait for the result, but no longer than that; return whether it is there."""

    def cancel(self) -> Any:
        """Forget the call; its result will not be asked for."""


class Pool(Protocol):
    """Calls pure functions of a job."""

    @property
    def ahead(self) -> int:
        """Calls that may be made before the result of the first is asked for."""

    def common(self, value: Any) -> Any:
        """Return what stands for a value that is an argument of many calls."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Call:
        """Call ``function(job, *arguments)``."""


def called(function: Callable[..., Any], job: Job, *arguments: Any) -> Any:
    """Call a function of a job; failures of the device are errors of ours."""
    from napari_dip.prior.runtime import device_errors

    with device_errors():
        return function(job, *arguments)


@dataclass(frozen=True)
class Here:
    """Calls functions in this thread, when their results are asked for."""

    job: Job
    ahead: int = 0

    def common(self, value: Any) -> Any:
        """Return the value itself."""
        return value

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Call:
        """Call ``function(job, *arguments)`` later."""
        return Later(partial(called, function, self.job, *arguments))


@dataclass(frozen=True)
class Later:
    """A call whose function is called when its result is asked for."""

    result: Callable[[], Any]

    def wait(self, seconds: float) -> bool:
        """Return that the result can be asked for."""
        return True

    def cancel(self) -> None:
        """Do nothing: nothing has begun."""


@dataclass(eq=False)
class Calls:
    """Calls by name whose results a record keeps as soon as they are there."""

    pool: Pool
    """Calls the functions."""
    record: Record
    """Keeps what they return, which has the methods `to_record` and `from_record`."""
    begun: dict[str, Call] = field(default_factory=dict)
    """Those whose results have not been asked for."""

    def begin(self, name: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Call ``function(job, *arguments)``, unless the record has its result."""
        if name not in self.record:
            self.begun[name] = self.pool.submit(function, *arguments)

    def wait(self, name: str) -> bool:
        """Wait a little for a result; return whether it can be asked for.

        Whatever else is there by then is kept, and does not get lost with its worker.
        """
        call = self.begun.get(name)
        if call is None or call.wait(0.5):
            return True
        for other, call in self.begun.items():
            if not isinstance(call, Later) and call.wait(0):
                self._bring(other)
        return False

    def _bring(self, name: str) -> None:
        """Fetch a result and keep it; an error waits for its turn."""
        try:
            result = self.begun[name].result()
        except DipError:
            return
        self.begun[name] = Later(lambda: result)
        self.record.put(name, result.to_record())

    def is_done(self, name: str) -> bool:
        """Return whether a result can be asked for without waiting."""
        call = self.begun.get(name)
        return name in self.record if call is None else call.wait(0)

    def result(self, name: str, kind: Any) -> Any:
        """Return a result, which is a `kind`, and keep it."""
        call = self.begun.pop(name, None)
        if call is None:
            return kind.from_record(self.record.get(name))
        result = call.result()
        if name not in self.record:
            self.record.put(name, result.to_record())
        return result

    def cancel(self, name: str) -> None:
        """Forget a call, if there is one."""
        if name in self.begun:
            self.begun.pop(name).cancel()


def no_fit() -> Iterate:
    """Return an iterate for where no fit runs in this process, to be completed."""
    from napari_dip.prior.problem import Iterate

    def nothing(*_: Any) -> Any:
        raise InputError("there is no fit to look at in this process")

    nan = math.nan
    return Iterate(1, 1, nan, nan, 1, 0.0, measure=nothing, render=nothing, fixed=True)
