"""The command `batch`: a task on a folder."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App
from cyclopts import Parameter as Option

from napari_dip.cli.options import (
    FILES,
    FLAG,
    PARAMETERS,
    FolderResults,
    Results,
    Scheduler,
    Weights,
    Workers,
    command_of,
    inputs_of,
    keyword,
    values_of,
)
from napari_dip.cli.output import FAILED, STOPPED, put, put_json, say
from napari_dip.cli.report import of_file, warn
from napari_dip.cli.targets import check_folder
from napari_dip.errors import InputError
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.task import Task

if TYPE_CHECKING:
    from napari_dip.batch.run import Batch, Entry, Work

_INPUTS = Option(
    name="INPUT",
    group=FILES,
    help="Folders, patterns such as 'day*/*.tif' in quotes, or files.",
)


_OTHER_FILES = (
    " A file for all images, or a folder of files with the names of the images."
)


_ENDINGS = 8
"""Most endings that are named of files that are passed over."""

_RECURSIVE = Annotated[
    bool, Option(group=FILES, **FLAG, help="Look into folders within the folders, too.")
]
_SHARE = Annotated[
    bool | None,
    Option(
        group=PARAMETERS,
        show_default=False,
        help="Fit one network for all files of a kind, with the same channels, type, "
        "range and noise, and restore them with it; --no-share fits every plane by "
        "itself. [default: planes of a file share a network from a megapixel on]",
    ),
]


def batch_app(tasks: list[Task]) -> App:
    """Return the command, which has one of its own for every task."""
    application = App(
        name="batch",
        help="Run a task on all images of a folder. A second call goes on where the "
        "first has ended, and does again what has changed.",
        help_format="plaintext",
        group_parameters=PARAMETERS,
    )
    for task in tasks:
        if task.files:
            application.command(_command(task), name=task.command)
    return application


def _command(task: Task) -> Callable[..., int]:
    def command(
        *inputs: Path,
        results: Results,
        workers: int | None = None,
        scheduler: str | None = None,
        **given: Any,
    ) -> int:
        from napari_dip.batch.run import one_by_one

        batch = _batch(task, inputs, results, **given)
        if not results.quiet:
            _say_passed_over(inputs, results.output, bool(given.get("recursive")))
        if workers is None and scheduler is None:
            return _report(batch, one_by_one(progress=not results.quiet), results)
        from napari_dip.batch.cluster import on_cluster

        with on_cluster(workers, scheduler) as cluster:
            return _report(batch, cluster.work, results)

    command.__doc__ = task.summary.strip()
    several = inspect.Parameter.VAR_POSITIONAL
    parameters = [
        inspect.Parameter("inputs", several, annotation=Annotated[Path, _INPUTS]),
        *inputs_of(task, _OTHER_FILES),
        keyword("recursive", _RECURSIVE, False),
        keyword("share", _SHARE, None),
        keyword("workers", Workers, None),
        keyword("scheduler", Scheduler, None),
        keyword("weights", Weights, None),
    ]
    return command_of(command, task.recipe, parameters, FolderResults)


def _batch(
    task: Task,
    inputs: Sequence[Path],
    results: Results,
    *,
    recursive: bool = False,
    weights: Path | None = None,
    share: bool | None = None,
    **given: Any,
) -> Batch:
    """Return the batch that a command asks for.

    All that can be wrong with its options is found before any file is read.
    """
    from napari_dip.batch import manifest
    from napari_dip.batch.folder import find
    from napari_dip.batch.run import Batch
    from napari_dip.io import atomic

    if not inputs:
        raise InputError("batch needs a folder, a pattern or files")
    first, *others = task.files
    paths = {name: given.pop(name).absolute() for name in others}
    objects = {name: given.pop(name) for name in task.objects}
    values = values_of(task.recipe, given)
    if share is False:
        values["share"] = "no"
    recipe = task.recipe(**values)
    if share:
        check_share(task, recipe, weights)
    check_folder(results.output)
    atomic.refuse_inside_store(results.output / manifest.NAME)
    output = results.output.absolute()
    sources = [path.absolute() for path in inputs]
    return Batch(
        task,
        values,
        find(first, sources, paths, output, recursive=recursive),
        output,
        objects,
        results.overwrite,
        weights and weights.absolute(),
        bool(share),
    )


def _say_passed_over(inputs: Sequence[Path], output: Path, recursive: bool) -> None:
    """Say how many files are taken for no images, and which endings they have."""
    from napari_dip.batch.folder import passed_over

    others = passed_over([p.absolute() for p in inputs], output, recursive=recursive)
    if not others:
        return
    endings = sorted({path.suffix.lower() or "no ending" for path in others})
    more = ", ..." if len(endings) > _ENDINGS else ""
    files = (
        "1 other file was" if len(others) == 1 else f"{len(others)} other files were"
    )
    say(f"{files} passed over ({', '.join(endings[:_ENDINGS])}{more})")


def check_share(task: Task, recipe: Recipe, weights: Path | None) -> None:
    """Raise if files cannot share networks with such options."""
    if not task.can_share(recipe):
        raise InputError(
            "share is for denoise, but not with --preset paper or --spatial-dims 3; "
            f"{task.command} fits every plane or volume by itself as it is called here"
        )
    if weights is not None:
        raise InputError("share fits networks of its own; got --weights as well")
    if recipe.neighbours not in ("auto", 0):
        raise InputError(
            "neighbours must be auto or 0 with --share, for files are no neighbours; "
            f"got {recipe.neighbours}"
        )


def _report(batch: Batch, work: Work, results: Results) -> int:
    from napari_dip.batch import manifest

    summary = {
        manifest.DONE: "done",
        "skipped": "done before",
        manifest.FAILED: "failed",
        manifest.STOPPED: "stopped, to be done again",
        "left": "not begun",
    }
    counts: Counter[str] = Counter()
    interrupted, shared = False, 0
    try:
        for name, entry in batch.run(work):
            counts["skipped" if entry.get("skipped") else entry["state"]] += 1
            shared += bool(entry.get("shared"))
            _describe(batch.output, name, entry, results)
    except KeyboardInterrupt:
        interrupted = True
    counts["left"] = len(batch.items) - counts.total()
    parts = [
        f"{counts[state]} {words}" for state, words in summary.items() if counts[state]
    ]
    if batch.share:
        parts.append(f"{shared} of them by shared networks")
    stopped = interrupted or counts["left"] or counts[manifest.STOPPED]
    if stopped or counts[manifest.FAILED] or not results.quiet:
        count = len(batch.items)
        images = "1 image" if count == 1 else f"{count} images"
        say(f"{images}: {', '.join(parts) or 'nothing to do'}")
    return STOPPED if stopped else FAILED if counts[manifest.FAILED] else 0


def _describe(output: Path, name: str, entry: Entry, results: Results) -> None:
    from napari_dip.batch import manifest
    from napari_dip.io import provenance

    target = output / name
    if not results.quiet:
        for text in entry.get("warnings", []):
            warn(of_file(name, text))
    if entry["state"] == manifest.FAILED:
        say(f"error: {of_file(name, entry['error'])}")
    done = entry["state"] != manifest.FAILED and not entry.get("skipped")
    if results.json:
        put_json(provenance.dumps({"output": str(target), **entry}))
    elif done and not results.quiet:
        put(f"{target}: {entry['state']} in {entry['seconds']:.1f} s")
