"""The progress bar of functions and command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from napari_dip.tasks.rate import Rate
from napari_dip.text import printable

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate


class Bar:
    """A bar on standard error with a title, speed, score and remaining time.

    A fit that stops by itself may end before its maximum: the remaining time is that to
    the maximum, and "at most" stands before it.
    """

    def __init__(self, title: str) -> None:
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[step]}"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[score]}"),
            TextColumn("{task.fields[limit]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # In a file every update of a bar would be a line of its own.
            disable=not console.is_terminal,
        )
        self.rate = Rate()
        self.bar = self.progress.add_task(
            printable(title), total=None, step="", rate="", score="", limit=""
        )

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def before(
        self, callback: Callable[[Iterate], Any] | None
    ) -> Callable[[Iterate], Any]:
        """Return a function that shows an iterate and then calls another, if any."""

        def both(it: Iterate) -> Any:
            self(it)
            return None if callback is None else callback(it)

        return both

    def __call__(self, it: Iterate) -> None:
        """Show an iterate."""
        self.rate.note(it)
        which = f" of fit {it.part + 1}/{it.parts}" if it.parts > 1 else ""
        self.progress.update(
            self.bar,
            completed=it.part * it.maximum + it.step,
            total=it.parts * it.maximum,
            step=f"{it.step}/{it.maximum}{which}",
            rate=f"{self.rate.value:.1f} it/s" if self.rate.value else "",
            # Where networks are given there is no fit that could have an error.
            score=it.reading and f"{it.reading} (best at {it.best_step})",
            limit="about" if it.fixed else "at most",
        )
