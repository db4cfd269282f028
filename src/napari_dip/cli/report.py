"""Runs on files, as the command line reports them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napari_dip.batch.file_run import FileRun
from napari_dip.batch.stop import Stop
from napari_dip.cli.output import FAILED, STOPPED, put, say
from napari_dip.errors import DipError
from napari_dip.tasks.pool import Pool


def warn(text: str) -> None:
    """Write a warning to standard error."""
    say(f"warning: {text}")


def silent(text: str) -> None:
    """Keep quiet about a warning."""


def run_and_report(
    file_run: FileRun,
    json: bool,
    quiet: bool,
    workers: Callable[[FileRun], Pool] | None = None,
) -> int:
    """Run a task on files, describe the result, and return the exit code."""
    stop, tell = Stop(), silent if quiet else warn
    with stop.listening():
        result = file_run.run(stop, tell, progress=not quiet, workers=workers)
    if json:
        put(result.as_json())
    elif not quiet:
        put(result.as_line())
    if stop.asked:
        say(f"stopped; the best image so far was saved to {file_run.target}")
        return STOPPED
    return 0


def run_all(
    file_runs: Sequence[FileRun],
    json: bool,
    quiet: bool,
    workers: Callable[[FileRun], Pool] | None = None,
) -> int:
    """Run a task on several files, the others also where one fails.

    When the user stops one, the others are not begun.
    """
    failed = 0
    for file_run in file_runs:
        try:
            if run_and_report(file_run, json, quiet, workers) == STOPPED:
                return STOPPED
        except (DipError, MemoryError) as error:
            say(f"error: {of_file(file_run.source.name, error)}")
            failed += 1
    if failed:
        say(f"{failed} of {len(file_runs)} files failed; the others are done")
    return FAILED if failed else 0


def of_file(name: str, error: BaseException | str) -> str:
    """Return the message of an error with the name of its file."""
    text = str(error) or "not enough memory"
    return text if name in text else f"{name}: {text}"
