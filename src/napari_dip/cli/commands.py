"""The commands: one for every task, and some others."""

from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group
from cyclopts import Parameter as Option

from napari_dip import __version__
from napari_dip.batch.keep import Keep
from napari_dip.cli import prior, psf
from napari_dip.cli.about import file_facts, lines, system_facts
from napari_dip.cli.batch import batch_app
from napari_dip.cli.options import (
    FILES,
    FLAG,
    PARAMETERS,
    KeepOptions,
    Results,
    Scheduler,
    Weights,
    Workers,
    command_of,
    inputs_of,
    keyword,
    values_of,
)
from napari_dip.cli.output import NAME, put, put_json, say
from napari_dip.cli.report import run_all, run_and_report
from napari_dip.cli.targets import check_apart, check_target, targets_of
from napari_dip.errors import DipError, InputError
from napari_dip.tasks.bead_psf import BeadParameters
from napari_dip.tasks.microscope_psf import MicroscopeParameters
from napari_dip.tasks.recipe import Parameters, Recipe
from napari_dip.tasks.run import TASKS, get
from napari_dip.tasks.sample_prior import SampleParameters
from napari_dip.tasks.task import NO_UNCERTAINTY, SHARED_WEIGHTS, Task

if TYPE_CHECKING:
    from napari_dip.batch.file_run import FileRun

_FROM_PARAMETERS: dict[str, tuple[type[Parameters], Callable[..., int]]] = {
    SampleParameters.task: (SampleParameters, prior.draw),
    MicroscopeParameters.task: (MicroscopeParameters, psf.compute),
}
"""What is made of parameters alone: their type, and what makes a file of them."""


def app() -> App:
    """Return the application, which parses the command line."""
    application = App(
        name=NAME,
        help="Restore images with a network that was trained on nothing else.",
        version=f"{NAME} {__version__}",
        help_format="plaintext",
        group_commands="Other commands",
        group_parameters=PARAMETERS,
        # Names of files may begin with a bracket.
        default_parameter=Option(json_list=False),
    )
    tasks = Group("Tasks", sort_key=0)
    from_files = [task for task in map(get, TASKS) if task.from_files]
    for task in from_files:
        application.command(_command(task), name=task.command, group=tasks)
    application.command(batch_app(from_files))
    application.command(psf.app())
    application.command(prior.sample_prior)
    application.command(prior.noise_impedance)
    application.command(info)
    application.command(replay)
    application.command(open_viewer, name="open")
    return application


def _command(task: Task) -> Callable[..., int]:
    first = task.files[0] if task.files else None

    def command(
        *inputs: Path,
        results: Results,
        beside: KeepOptions | None = None,
        workers: int | None = None,
        scheduler: str | None = None,
        **given: Any,
    ) -> int:
        if first and not inputs:
            raise InputError(f"{task.command} needs an input file")
        runs = _runs(task, inputs, results, beside or KeepOptions(), given)
        with ExitStack() as stack:
            pool = None
            if workers is not None or scheduler is not None:
                from napari_dip.batch.cluster import on_cluster

                pool = stack.enter_context(on_cluster(workers, scheduler)).pool
            if len(runs) == 1:
                return run_and_report(runs[0], results, pool)
            return run_all(runs, results, pool)

    command.__doc__ = task.summary.strip()
    parameters = [
        *inputs_of(task),
        keyword("beside", KeepOptions | None, None),
        keyword("workers", Workers, None),
        keyword("scheduler", Scheduler, None),
    ]
    if first:
        about = Option(name="INPUT", group=FILES, help=task.arrays[first])
        several = inspect.Parameter.VAR_POSITIONAL
        paths = inspect.Parameter("inputs", several, annotation=Annotated[Path, about])
        parameters.insert(0, paths)
    return command_of(command, task.recipe, parameters)


def _runs(
    task: Task,
    inputs: Sequence[Path],
    results: Results,
    beside: KeepOptions,
    options: dict[str, Any],
) -> list[FileRun]:
    """Return the runs that a command asks for, one for every input.

    All that can be wrong is found here, before any file is read.
    """
    from napari_dip.batch.file_run import FileRun

    keep = beside.keep(inputs, results.overwrite)
    paths = {name: options.pop(name) for name in task.files[1:]}
    objects = {name: options.pop(name) for name in task.objects}
    values = values_of(task.recipe, options)
    recipe = task.recipe(**values)
    targets, sets = [results.output], [paths]
    for path in inputs:
        _refuse_many(task, path)
    if task.files:
        targets = targets_of(inputs, results.output)
        sets = [{task.files[0]: path, **paths} for path in inputs]
    overwrite = results.overwrite or _goes_on(keep, targets[0])
    deviations: list[Path | None] = [None] * len(targets)
    if beside.uncertainty is not None:
        _check_uncertainty(task, recipe)
        deviations = [*targets_of(inputs or targets, beside.uncertainty, "uncertainty")]
    runs = []
    for sources, target, place in zip(sets, targets, deviations, strict=True):
        what = (task, values, sources, target, objects, overwrite)
        runs.append(FileRun(*what, keep=keep, uncertainty=place))
        _check_outputs(runs[-1])
    folder = not (results.output.suffix or results.output.exists())
    if len(inputs) == 1 and folder and not results.quiet:
        say(f"{results.output} has no ending, so it becomes a folder")
    return runs


def _goes_on(keep: Keep, target: Path) -> bool:
    """Return whether a file is what a fit had come to that its checkpoint goes on."""
    from napari_dip.batch.file_run import was_stopped

    checkpoint = keep.checkpoint
    return checkpoint is not None and checkpoint.exists() and was_stopped(target)


def _check_outputs(run: FileRun) -> None:
    """Raise if a file of a run cannot be written, or is one that it reads."""
    keep = run.keep
    read = [*run.sources.values(), *([] if keep.weights is None else [keep.weights])]
    check_target(run.target, read, run.overwrite)
    if run.uncertainty is not None:
        check_target(run.uncertainty, read, run.overwrite, "uncertainty")
    check_apart(
        {
            "output": run.target,
            "uncertainty": run.uncertainty,
            "save-weights": keep.save_weights,
            "checkpoint": keep.checkpoint,
        }
    )


def _check_uncertainty(task: Task, recipe: Recipe) -> None:
    """Raise if results of a task with such a recipe have no uncertainty."""
    if recipe.restarts in ("auto", 1) and not task.uncertain(recipe):
        raise InputError(
            f"{NO_UNCERTAINTY}; {task.command} has none as it is called here"
        )


def _refuse_many(task: Task, path: Path) -> None:
    """Raise for what stands for many files, which are for the command batch."""
    from napari_dip.io.atomic import is_zarr

    pattern = "*" in path.name and not os.path.exists(path)
    if pattern or (os.path.isdir(path) and not is_zarr(path)):
        kind = "a pattern that no file is named like" if pattern else "a folder"
        raise InputError(
            f"an input must be a file or an OME-Zarr; got {path}, {kind}; the command "
            f"'napari-dip batch {task.command}' takes folders and patterns"
        )


def replay(
    result: Annotated[
        Path, Option(name="RESULT", group=FILES, help="A file that a task wrote.")
    ],
    /,
    *inputs: Annotated[
        Path,
        Option(
            name="INPUT",
            group=FILES,
            help="The image to run the recipe on, then the task's other arrays.",
        ),
    ],
    results: Results,
    model: Annotated[
        str | None,
        Option(
            group=FILES,
            show_default=False,
            help="The model, if the result was made with one. Code that an image file "
            "names is never run by itself.",
        ),
    ] = None,
    weights: Weights = None,
) -> int:
    """Run the recipe that is stored in a result again, on the same or another image.

    On the same machine with the same versions the result is the same, bit for bit.
    """
    from napari_dip.io import files, provenance

    stored = files.read_header(result).provenance
    if stored is None:
        raise InputError(f"{result.name} does not say how it was made")
    name = str(stored.get("task"))
    if name in _FROM_PARAMETERS:
        if inputs or model:
            raise InputError(f"{name} takes no input and no model")
        check_target(results.output, [result], results.overwrite)
        kind, make = _FROM_PARAMETERS[name]
        values = provenance.recipe_of(stored, kind)
        return make(kind(**values), results)
    if name == BeadParameters.task:
        if len(inputs) != 1 or model:
            raise InputError(f"{name} takes one input and no model")
        check_target(results.output, [result, *inputs], results.overwrite)
        values = provenance.recipe_of(stored, BeadParameters)
        return psf.average(inputs[0], values, results)
    file_run = _replayed(get(name), stored, [result, *inputs], results, model, weights)
    return run_and_report(file_run, results)


def _replayed(
    task: Task,
    stored: Mapping[str, Any],
    paths: Sequence[Path],
    results: Results,
    model: str | None,
    weights: Path | None,
) -> FileRun:
    """Return the run of a task whose provenance is stored in the first of the paths."""
    from napari_dip.batch.file_run import FileRun
    from napari_dip.io import provenance

    _, *inputs = paths
    if len(inputs) != len(task.files):
        files = ", ".join(_named(stored, name) for name in task.files)
        raise InputError(
            f"replay of {task.name} needs after the result {files or 'no file'}; got "
            f"{len(inputs)} files"
        )
    values = provenance.recipe_of(stored, task.recipe)
    target = results.output
    if inputs:
        (target,) = targets_of(inputs[:1], target)
    read = [*paths, *([] if weights is None else [weights])]
    check_target(target, read, results.overwrite)
    objects = {} if model is None else {"model": model}
    if set(objects) != set(task.objects):
        needed = stored.get("objects", {}).get("model", "")
        raise InputError(
            f"replay must be given the model again, --model {needed}, if you trust it"
            if task.objects
            else f"{task.name} takes no model"
        )
    _check_weights(stored, weights)
    sources = dict(zip(task.files, inputs, strict=True))
    keep = Keep(weights=weights)
    return FileRun(task, values, sources, target, objects, results.overwrite, keep=keep)


def _named(stored: Mapping[str, Any], name: str) -> str:
    """Return what an input is called, with the file that a result was made from."""
    facts = stored.get("inputs", {}).get(name)
    file = facts.get("file") if isinstance(facts, Mapping) else None
    return f"the file of the {name}" + (f" (it was {file})" if file else "")


def _check_weights(stored: Mapping[str, Any], weights: Path | None) -> None:
    """Raise unless weights are those that a result was made with, if any."""
    planes = [plane for plane in stored.get("planes", []) if isinstance(plane, dict)]
    keys = ("began from weights", SHARED_WEIGHTS)
    used = (plane[key] for plane in planes for key in keys if key in plane)
    needed = next(used, None)
    if needed is None and weights is not None:
        raise InputError(
            "weights must not be given (--weights): the result was made without; got "
            f"{weights.name}"
        )
    begun_from = None
    if weights is not None:
        from napari_dip.io import checkpoint
        from napari_dip.prior.snapshot import digest

        begun_from = digest(checkpoint.read(weights, "weights")[0])
    if begun_from != needed:
        raise InputError(
            "weights must be those that the result was made with (--weights), of the "
            f"SHA-256 {needed}; got {begun_from or 'none'}"
        )


def info(
    file: Annotated[
        Path | None, Option(name="FILE", help="An image file of any kind.")
    ] = None,
    /,
    *,
    system: Annotated[
        bool, Option(**FLAG, help="Device, versions and memory instead.")
    ] = False,
    json: Annotated[bool, Option(**FLAG, help="Print a JSON object.")] = False,
) -> int:
    """Say what a file holds and how it was made, or what the system offers."""
    from napari_dip.io import files, provenance

    if (file is None) != system:
        raise InputError("info needs either a FILE or --system")
    if file is None:
        facts = system_facts()
    else:
        facts = file_facts(file, files.read_header(file))
    if json:
        put_json(provenance.dumps(facts))
    else:
        put(*lines(facts))
    return 0


def open_viewer(
    file: Annotated[Path, Option(name="FILE", help="An image file of any kind.")], /
) -> int:
    """Open a file in napari with the plugin beside it."""
    from napari_dip.io import files

    files.read_header(file)  # raises here, before napari starts
    if importlib.util.find_spec("napari") is None:
        raise DipError(
            'napari is not installed; pip install "napari-dip[all]" brings it'
        )
    # In another process, so that the command line does not import Qt.
    code = subprocess.call(
        [sys.executable, "-m", "napari_dip.widgets", str(file.absolute())]
    )
    if code:
        raise DipError(f"napari ended with the exit code {code}")
    return 0
