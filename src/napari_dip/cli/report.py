"""Runs on files, as the command line reports them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_dip.batch.stop import Stop
from napari_dip.cli.options import Results
from napari_dip.cli.output import FAILED, STOPPED, put, put_json, say
from napari_dip.errors import DipError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dip.batch.file_run import FileRun
    from napari_dip.io.image import Image
    from napari_dip.tasks.pool import Pool


def warn(text: str) -> None:
    """Write a warning to standard error."""
    say(f"warning: {text}")


def save_and_report(
    results: Results,
    image: NDArray[Any],
    like: Image | None,
    origin: dict[str, Any],
    note: str,
    sources: Mapping[str, str] | None = None,
) -> int:
    """Write an image that no fit has made, with its provenance, and describe it.

    `note` says what it is, and `sources` from which files it was made.
    """
    from napari_dip.batch.file_run import save
    from napari_dip.io import provenance

    result, not_kept = save(results.output, image, like, origin, results.overwrite)
    if results.json:
        facts = {"output": str(results.output), "inputs": sources or {}, **result}
        put_json(provenance.dumps({**facts, "provenance": origin}))
    elif not results.quiet:
        put(f"{results.output}: {note}")
    for text in [] if results.quiet else not_kept:
        warn(text)
    return 0


def run_and_report(
    file_run: FileRun,
    results: Results,
    workers: Callable[[FileRun], Pool] | None = None,
) -> int:
    """Run a task on files, describe the result, and return the exit code."""
    from napari_dip.batch.file_run import is_unfinished

    stop = Stop()
    with stop.listening():
        result = file_run.run(
            stop,
            (lambda _: None) if results.quiet else warn,
            progress=not results.quiet,
            workers=workers,
        )
    if results.json:
        put_json(result.as_json())
    elif not results.quiet:
        put(result.as_line())
    if stop.asked:
        unfinished = is_unfinished(result.provenance)
        saved = "best image so far" if unfinished else "whole result"
        say(f"stopped; the {saved} was saved to {file_run.target}")
        return STOPPED
    if result.failed:
        say(f"error: the device failed; the best image was saved to {file_run.target}")
        return FAILED
    return 0


def run_all(
    file_runs: Sequence[FileRun],
    results: Results,
    workers: Callable[[FileRun], Pool] | None = None,
) -> int:
    """Run a task on several files, the others also where one fails.

    When the user stops one, the others are not begun.
    """
    failed = 0
    for file_run in file_runs:
        try:
            code = run_and_report(file_run, results, workers)
            if code == STOPPED:
                return STOPPED
            failed += code != 0
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
