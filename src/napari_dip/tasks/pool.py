"""Where the planes and tiles of a job are computed: here, or on other processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from napari_dip.tasks.task import Job


class Call(Protocol):
    """A call of a function whose result is asked for later."""

    def result(self) -> Any:
        """Return what the function returns, or raise what it raises."""

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
        return _Later(lambda: function(self.job, *arguments))


@dataclass(frozen=True)
class _Later:
    result: Callable[[], Any]

    def cancel(self) -> None:
        """Do nothing: nothing has begun."""
