"""The commands: one for every task, and those that need no fit."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import App, Group
from cyclopts import Parameter as Option

from napari_dip import __version__
from napari_dip.cli.about import file_facts, lines, system_facts
from napari_dip.cli.job import Job, report
from napari_dip.cli.options import (
    FILES,
    FLAG,
    PARAMETERS,
    Json,
    Output,
    Overwrite,
    Quiet,
    annotation,
    check_place,
    check_target,
    targets_of,
    value_of,
)
from napari_dip.cli.output import NAME, put
from napari_dip.errors import DipError, InputError
from napari_dip.io import atomic, files, provenance
from napari_dip.tasks.run import TASKS, Task, get


def app() -> App:
    """Return the application, which parses the command line."""
    made = App(
        name=NAME,
        help="Restore images with a network that was trained on nothing else.",
        version=f"{NAME} {__version__}",
        help_format="plaintext",
        group_commands="Other commands",
        group_parameters=PARAMETERS,
    )
    tasks = Group("Tasks", sort_key=0)
    for task in map(get, TASKS):
        if task.from_files:
            name = task.name.replace("_", "-")
            made.command(_command(task), name=name, group=tasks)
    made.command(noise_impedance)
    made.command(info)
    made.command(replay)
    made.command(open_viewer, name="open")
    return made


def _command(task: Task) -> Callable[..., int]:
    """Make the command of a task: its signature is its recipe."""
    first, *others = task.files or ("",)

    def command(
        *inputs: Path,
        output: Path,
        overwrite: bool = False,
        json: bool = False,
        quiet: bool = False,
        **given: Any,
    ) -> int:
        if first and not inputs:
            raise InputError(f"{task.name.replace('_', '-')} needs an input file")
        paths = {name: given.pop(name) for name in others}
        objects = {name: given.pop(name) for name in task.objects}
        values = {
            p.name: value_of(p, given[p.name])
            for p in task.recipe.parameters()
            if p.name in given
        }
        task.recipe(**values)  # complains before any file is read
        targets = targets_of(inputs, output) if first else [output]
        sets = [{first: path, **paths} for path in inputs] if first else [paths]
        for sources, target in zip(sets, targets, strict=True):
            check_target(target, list(sources.values()), overwrite)
        for sources, target in zip(sets, targets, strict=True):
            job = Job(task, values, sources, objects, target, overwrite, not quiet)
            if code := report(job, json, quiet):
                return code
        return 0

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("output", keyword, annotation=Output)]
    if first:
        about = Option(name="INPUT", group=FILES, help=task.arrays[first])
        several = inspect.Parameter.VAR_POSITIONAL
        found = inspect.Parameter("inputs", several, annotation=Annotated[Path, about])
        parameters.insert(0, found)
    for name in [*others, *task.objects]:
        about = Option(group=FILES, help=task.arrays[name])
        text = name in task.objects
        of = Annotated[str, about] if text else Annotated[Path, about]
        parameters.append(inspect.Parameter(name, keyword, annotation=of))
    for name, kind in (("overwrite", Overwrite), ("json", Json), ("quiet", Quiet)):
        parameters.append(
            inspect.Parameter(name, keyword, annotation=kind, default=False)
        )
    parameters += [
        # The recipe has the defaults: here None stands for an option not given.
        inspect.Parameter(p.name, keyword, annotation=annotation(p), default=None)
        for p in task.recipe.parameters()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__name__ = task.name
    command.__doc__ = task.summary.strip()
    return command


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
    output: Output,
    model: Annotated[
        str | None,
        Option(
            group=FILES,
            show_default=False,
            help="The model, where the result has one: code is not run on the word of "
            "an image file.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run the recipe that is stored in a result again, on the same or another image.

    On the same machine with the same versions the result is the same, bit for bit.
    """
    made = files.read_header(result).provenance
    if made is None:
        raise InputError(f"{result.name} does not say how it was made")
    task = get(str(made.get("task")))
    if len(inputs) != len(task.files):
        raise InputError(
            f"{task.name} needs {len(task.files)} input files "
            f"({', '.join(task.files)}); got {len(inputs)}"
        )
    values = provenance.recipe_of(made, task.recipe)
    (target,) = targets_of(inputs[:1], output) if inputs else [output]
    check_target(target, [result, *inputs], overwrite)
    sources = dict(zip(task.files, inputs, strict=True))
    objects = {} if model is None else {"model": model}
    if set(objects) != set(task.objects):
        needed = made.get("objects", {}).get("model")
        raise InputError(
            f"replay must be given the model again, --model {needed}, if you trust it"
            if task.objects
            else f"{task.name} takes no model"
        )
    job = Job(task, values, sources, objects, target, overwrite, not quiet)
    return report(job, json, quiet)


def noise_impedance(
    file: Annotated[
        Path, Option(name="INPUT", group=FILES, help="An image file of any kind.")
    ],
    /,
    *,
    output: Annotated[
        Path,
        Option(
            name=["--output", "-o"],
            group=FILES,
            help="File to write: .csv for numbers; .png, .svg or .pdf for a plot, "
            "which needs matplotlib.",
        ),
    ],
    overwrite: Overwrite = False,
    iterations: Annotated[
        int, Option(help="Of each of the four fits.", show_default=True)
    ] = 1000,
    sigma: Annotated[
        float, Option(help="Noise that is added, of an image scaled to [0, 1].")
    ] = 25 / 255,
    device: Annotated[str, Option(help="auto, cpu, cuda and the like.")] = "auto",
    seed: Annotated[int, Option(help="Of weights, noise and order.")] = 0,
    quiet: Quiet = False,
) -> int:
    """Compare how fast the prior takes up an image, and how slowly noise.

    Fits a network to the image, the image with noise, its pixels in random order, and
    white noise, and writes the error after every iteration.
    """
    from napari_dip.tasks import noise_impedance as task

    kind = output.suffix.lower()
    if kind not in (".csv", ".png", ".svg", ".pdf"):
        raise InputError(f"output must end in .csv, .png, .svg or .pdf; got {output}")
    check_place(output, [file], overwrite)
    figure = None if kind == ".csv" else task.new_figure(figsize=(6, 4))
    image = files.read(file)
    found = task.noise_impedance(
        image.data,
        iterations=iterations,
        sigma=sigma,
        channel_axis=image.header.channel_axis,
        device=device,
        seed=seed,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(output, overwrite=overwrite) as partial:
        if figure is None:
            rows = np.column_stack([found.steps, *found.curves.values()])
            names = ",".join(["iteration", *found.curves])
            form = ["%d", *["%.8g"] * len(found.curves)]
            np.savetxt(partial, rows, form, ",", header=names, comments="")
        else:
            found.plot(figure.subplots())
            figure.savefig(partial, format=kind[1:], dpi=150)
    if not quiet:
        put(f"{output}: {iterations} iterations of each of {len(found.curves)} fits")
    return 0


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
    if (file is None) != system:
        raise InputError("info needs either a FILE or --system")
    if file is None:
        facts = system_facts()
    else:
        facts = file_facts(file, files.read_header(file))
    if json:
        put(provenance.dumps(facts))
    else:
        put("\n".join(lines(facts)))
    return 0


def open_viewer(
    file: Annotated[Path, Option(name="FILE", help="An image file of any kind.")], /
) -> int:
    """Open a file in napari with the plugin beside it."""
    files.read_header(file)  # complains here, where it is seen
    if importlib.util.find_spec("napari") is None:
        raise DipError(
            'napari is not installed; pip install "napari-dip[all]" brings it'
        )
    # In a process of its own: the command line stays free of Qt.
    code = subprocess.call(
        [sys.executable, "-m", "napari_dip.widgets", str(file.absolute())]
    )
    if code:
        raise DipError(f"napari ended with the exit code {code}")
    return 0
