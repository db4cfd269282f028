"""The command line: files in, files out.

Every task is a command and every field of its recipe an option, so a new task needs
no line here.  Torch is imported when a fit begins, not for ``--help``.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from cyclopts import App, CycloptsError, Group
from cyclopts import Parameter as Option

from napari_dip import __version__
from napari_dip.errors import DipError, InputError
from napari_dip.io import atomic, files, provenance
from napari_dip.io.image import Header, Image
from napari_dip.machine import spin_less
from napari_dip.tasks.arrays import cast
from napari_dip.tasks.recipe import Parameter, Recipe
from napari_dip.tasks.run import TASKS, Task, get, run

if TYPE_CHECKING:
    from napari_dip.prior.fit import Fit, Iterate

NAME = "napari-dip"
FAILED, WRONG_ARGUMENTS, STOPPED = 1, 2, 130

_FILES = Group("Files", sort_key=0)
_REPORT = Group("Report", sort_key=1)
_PARAMETERS = Group("Parameters", sort_key=2)
_ADVANCED = Group("Advanced parameters", sort_key=3)

_FLAG: dict[str, Any] = {"negative": "", "show_default": False}

_FILE_DECIDES = {
    "channel_axis": "the file's axis of colours or channels",
    "dtype": "input for PNG and JPEG, else float32",
    "quantization": "the tables of a JPEG file",
    "subsampling": "that of a JPEG file, else auto",
}
"""Parameters whose default a file can improve on, and how."""

_SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
"""Pixels along x and y to a value of colour, and what that is called."""

Output = Annotated[
    Path,
    Option(
        name=["--output", "-o"],
        group=_FILES,
        help="File to write (.ome.tif, .tif, .ome.zarr or .png), or a folder: one that "
        "is there, a name without an ending, or any name where there are several "
        "inputs.",
    ),
]
Overwrite = Annotated[
    bool, Option(group=_FILES, **_FLAG, help="Replace files that are there.")
]
Json = Annotated[
    bool,
    Option(group=_REPORT, **_FLAG, help="Print a JSON object for every result."),
]
Quiet = Annotated[
    bool,
    Option(group=_REPORT, **_FLAG, help="No progress, no warnings, no result line."),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 is done, 1 failed, 2 wrong arguments, 130 stopped by Ctrl-C.
    """
    spin_less()
    try:
        command, bound, _ = _app().parse_args(
            sys.argv[1:] if arguments is None else list(arguments),
            exit_on_error=False,
            print_error=False,
        )
        return int(command(*bound.args, **bound.kwargs) or 0)
    except (CycloptsError, InputError) as error:
        return _complain(error, WRONG_ARGUMENTS)
    except (DipError, MemoryError) as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        _say("stopped; the result was not saved")
        return STOPPED


def _complain(error: BaseException, code: int) -> int:
    _say(f"error: {error or 'not enough memory'}")
    return code


def _say(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"{NAME}: {' '.join(text.split())}\n")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# -- the commands -----------------------------------------------------------------


def _app() -> App:
    app = App(
        name=NAME,
        help="Restore images with a network that was trained on nothing else.",
        version=f"{NAME} {__version__}",
        help_format="plaintext",
        group_commands="Other commands",
        group_parameters=_PARAMETERS,
    )
    tasks = Group("Tasks", sort_key=0)
    for task in map(get, TASKS):
        if task.from_files:
            name = task.name.replace("_", "-")
            app.command(_command(task), name=name, group=tasks)
    app.command(noise_impedance)
    app.command(info)
    app.command(replay)
    app.command(open_viewer, name="open")
    return app


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
            p.name: _value(p, given[p.name])
            for p in task.recipe.parameters()
            if p.name in given
        }
        task.recipe(**values)  # complains before any file is read
        targets = _targets(inputs, output) if first else [output]
        sets = [{first: path, **paths} for path in inputs] if first else [paths]
        for sources, target in zip(sets, targets, strict=True):
            _check_target(target, list(sources.values()), overwrite)
        for sources, target in zip(sets, targets, strict=True):
            job = _Job(task, values, sources, objects, target, overwrite, not quiet)
            if code := _report(job, json, quiet):
                return code
        return 0

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("output", keyword, annotation=Output)]
    if first:
        about = Option(name="INPUT", group=_FILES, help=task.arrays[first])
        several = inspect.Parameter.VAR_POSITIONAL
        found = inspect.Parameter("inputs", several, annotation=Annotated[Path, about])
        parameters.insert(0, found)
    for name in [*others, *task.objects]:
        about = Option(group=_FILES, help=task.arrays[name])
        text = name in task.objects
        of = Annotated[str, about] if text else Annotated[Path, about]
        parameters.append(inspect.Parameter(name, keyword, annotation=of))
    for name, kind in (("overwrite", Overwrite), ("json", Json), ("quiet", Quiet)):
        parameters.append(
            inspect.Parameter(name, keyword, annotation=kind, default=False)
        )
    parameters += [
        # The recipe has the defaults: here None stands for an option not given.
        inspect.Parameter(p.name, keyword, annotation=_annotation(p), default=None)
        for p in task.recipe.parameters()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__name__ = task.name
    command.__doc__ = task.summary.strip()
    return command


def replay(
    result: Annotated[
        Path, Option(name="RESULT", group=_FILES, help="A file that a task wrote.")
    ],
    /,
    *inputs: Annotated[
        Path,
        Option(
            name="INPUT",
            group=_FILES,
            help="The image to run the recipe on, then the task's other arrays.",
        ),
    ],
    output: Output,
    model: Annotated[
        str | None,
        Option(
            group=_FILES,
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
    (target,) = _targets(inputs[:1], output) if inputs else [output]
    _check_target(target, [result, *inputs], overwrite)
    sources = dict(zip(task.files, inputs, strict=True))
    objects = {} if model is None else {"model": model}
    if set(objects) != set(task.objects):
        needed = made.get("objects", {}).get("model")
        raise InputError(
            f"replay must be given the model again, --model {needed}, if you trust it"
            if task.objects
            else f"{task.name} takes no model"
        )
    job = _Job(task, values, sources, objects, target, overwrite, not quiet)
    return _report(job, json, quiet)


def noise_impedance(
    file: Annotated[
        Path, Option(name="INPUT", group=_FILES, help="An image file of any kind.")
    ],
    /,
    *,
    output: Annotated[
        Path,
        Option(
            name=["--output", "-o"],
            group=_FILES,
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
    figure = None if kind == ".csv" else task.new_figure(figsize=(6, 4))
    _check_place(output, [file], overwrite)
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
        _print(f"{output}: {iterations} iterations of each of {len(found.curves)} fits")
    return 0


def info(
    file: Annotated[
        Path | None, Option(name="FILE", help="An image file of any kind.")
    ] = None,
    /,
    *,
    system: Annotated[
        bool, Option(**_FLAG, help="Device, versions and memory instead.")
    ] = False,
    json: Annotated[bool, Option(**_FLAG, help="Print a JSON object.")] = False,
) -> int:
    """Say what a file holds and how it was made, or what the system offers."""
    if (file is None) != system:
        raise InputError("info needs either a FILE or --system")
    about = _system() if file is None else _about(file, files.read_header(file))
    if json:
        _print(provenance.dumps(about))
    else:
        _print("\n".join(_lines(about)))
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


# -- options and files ------------------------------------------------------------


def _annotation(p: Parameter) -> Any:
    """Return the type of a parameter's option.

    Words and numbers stay text until `_value`, so that what is accepted, and the
    complaint about anything else, is the recipe's own.
    """
    group = _ADVANCED if p.advanced else _PARAMETERS
    text = p.help if p.types == (str,) and not p.choices else f"{p.help} ({p.accepted})"
    default = _FILE_DECIDES.get(p.name, str(p.default))
    option = Option(
        group=group,
        help=f"{text} [default: {default}]",
        show_default=False,
        allow_leading_hyphen=True,
    )
    kind = bool | None if p.types == (bool,) else str | None
    return Annotated[kind, option]


def _value(p: Parameter, text: Any) -> Any:
    """Return the value that the text of an option means, as `p` accepts it."""
    if not isinstance(text, str):
        return p.check(text)
    if text.lower() == "none" and type(None) in p.types:
        return None
    if text in p.choices or (str in p.types and not p.choices):
        return p.check(text)
    if p.member is not None:
        text = tuple(_number(part) for part in text.split(","))
        return p.check(text)
    return p.check(_number(text))


def _number(text: str) -> int | float | str:
    """Return the number that a text is, or the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _targets(inputs: Sequence[Path], output: Path) -> list[Path]:
    """Return the file to write for every input."""
    store = output.name.lower().endswith(files.FOLDERS)  # counts as a file
    folder = (output.is_dir() and not store) or len(inputs) > 1 or not output.suffix
    if not folder:
        return [output]
    if store or (output.exists() and not output.is_dir()):
        raise InputError(f"output must be a folder for several inputs; got {output}")
    targets = [output / _name(source) for source in inputs]
    for target in targets:
        if targets.count(target) > 1:
            raise InputError(f"two inputs have the same name {target.name!r}")
    return targets


def _name(source: Path) -> str:
    """Return the name of a result in a folder; JPEG in is PNG out."""
    if source.suffix.lower() in (".jpg", ".jpeg"):
        return source.stem + ".png"
    return source.name


def _check_target(target: Path, sources: Sequence[Path], overwrite: bool) -> None:
    """Raise if `target` cannot be written, before anything is read or computed."""
    files.output_format(target)
    _check_place(target, sources, overwrite)


def _check_place(target: Path, sources: Sequence[Path], overwrite: bool) -> None:
    """Raise if there cannot be a new file."""
    for source in sources:
        if target.exists() and source.exists() and target.samefile(source):
            raise InputError(f"output must not be one of the inputs; got {target}")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists; --overwrite replaces it")
    folder = target.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"output cannot be written to the folder {folder}")


# -- one fit ----------------------------------------------------------------------


class _Job:
    """One fit from files to a file.

    Parameters
    ----------
    task : Task
        What to do.
    values : mapping
        The parameters that were given.
    sources : dict
        For each array of the task its file.
    objects : mapping
        What else the task takes, as text.
    target : Path
        The file to write.
    overwrite : bool
        Whether it may replace another.
    talk : bool
        Show progress and warnings.
    """

    def __init__(
        self,
        task: Task,
        values: Mapping[str, Any],
        sources: dict[str, Path],
        objects: Mapping[str, str],
        target: Path,
        overwrite: bool,
        talk: bool,
    ) -> None:
        self.task, self.values, self.sources = task, values, sources
        self.objects = objects
        self.target, self.overwrite, self.talk = target, overwrite, talk
        self.made: dict[str, Any] = {}
        self.result: dict[str, Any] = {}

    def run(self) -> bool:
        """Fit and write; return whether the user stopped it."""
        images = {name: files.read(path) for name, path in self.sources.items()}
        like = images.get(self.task.subject)
        from_file: list[str] = []
        if like is None:
            recipe = self.task.recipe(**self.values)
        else:
            recipe, from_file = _completed(self.task.recipe, self.values, like.header)
            dtype = like.header.dtype if recipe.dtype == "input" else np.float32
            files.check_output(
                self.target, like.header, np.dtype(dtype), overwrite=self.overwrite
            )
        notes = [note for image in images.values() for note in image.header.notes]
        for note in notes:
            self._warn(note)
        fit, stopped = self._fit(recipe, images)
        for warning in fit.warnings:
            self._warn(warning)
        fit = dataclasses.replace(fit, warnings=[*notes, *fit.warnings])
        arrays = {
            name: (self.sources[name].name, image.data)
            for name, image in images.items()
        }
        self.made = provenance.describe(recipe, fit, arrays, from_file, self.objects)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        image = fit.image
        if like is None and self.target.suffix.lower() == ".png":
            # Made from nothing, in [0, 1]: PNG has integers only.
            image = cast(255 * image, np.dtype(np.uint8))
        files.write(self.target, image, like, self.made, overwrite=self.overwrite)
        self.result = {"shape": list(image.shape), "dtype": str(image.dtype)}
        return stopped

    def _fit(self, recipe: Recipe, images: dict[str, Image]) -> tuple[Fit, bool]:
        from napari_dip.prior.fit import finish
        from napari_dip.tasks.progress import Bar

        given: dict[str, Any] = {n: image.data for n, image in images.items()}
        given.update(self.objects)
        arrays = [given[name] for name in self.task.arrays]
        arrays += [None] * len(self.task.functions)
        with _Stop() as stop:
            fitting = run(self.task, recipe, arrays)
            # A bar in a log file is noise.
            if not (self.talk and sys.stderr.isatty()):
                fit = finish(fitting, stop)
            else:
                with Bar(self.target.name) as bar:

                    def both(it: Iterate) -> bool:
                        bar(it)
                        return stop(it)

                    fit = finish(fitting, both)
        return fit, stop.asked

    def _warn(self, text: str) -> None:
        if self.talk:
            _say(f"warning: {text}")

    def as_json(self) -> str:
        """Return what was done, for machines."""
        inputs = {name: str(path) for name, path in self.sources.items()}
        return provenance.dumps(
            {"output": str(self.target), "inputs": inputs, **self.result}
            | {"provenance": self.made}
        )

    def as_line(self) -> str:
        """Return what was done, in one line."""
        made = self.made
        return (
            f"{self.target}: {made['iterations']} iterations in "
            f"{made['seconds']:.1f} s on {made['device']}, ended by "
            f"{made['stopped_by']}"
        )


def _report(job: _Job, json: bool, quiet: bool) -> int:
    """Run a job, say what came of it, and return the exit code."""
    stopped = job.run()
    if json:
        _print(job.as_json())
    elif not quiet:
        _print(job.as_line())
    if stopped:
        _say(f"stopped; the best image so far was saved to {job.target}")
        return STOPPED
    return 0


def _completed(
    kind: type[Recipe], values: Mapping[str, Any], header: Header
) -> tuple[Recipe, list[str]]:
    """Fill in what the file knows better than a default; say what that was."""
    known: dict[str, Any] = {}
    if values.get("channel_axis", "auto") == "auto":
        known["channel_axis"] = header.channel_axis
    if "dtype" not in values:
        # Photographs come back as photographs, measurements with every digit.
        photo = header.format in ("PNG", "JPEG")
        known["dtype"] = "input" if photo else "float32"
    jpeg, fields = header.jpeg, {p.name for p in kind.parameters()}
    if jpeg is not None and "quantization" in fields and "quantization" not in values:
        known["quantization"] = tuple(step for table in jpeg.tables for step in table)
        if "subsampling" not in values:
            known["subsampling"] = _SUBSAMPLING[jpeg.subsampling]
    return kind(**{**values, **known}), list(known)


class _Stop:
    """Turns the first Ctrl-C into a polite request; the second one ends it all.

    A callback for `napari_dip.prior.fit.finish`.  Before the first iteration there
    is no image to save, so the first Ctrl-C ends it all, too.
    """

    def __init__(self) -> None:
        self.running = self.asked = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self.before[number] = signal.signal(number, self._handle)
            except ValueError:  # not in the main thread, which has the signals
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.running:
            raise KeyboardInterrupt
        self.asked = True

    def __call__(self, it: Iterate) -> bool:
        """Whether to stop."""
        self.running = True
        return self.asked


# -- info -------------------------------------------------------------------------


def _about(path: Path, header: Header) -> dict[str, Any]:
    scale = {
        axis: f"{step:g} {unit or 'pixel'}"
        for axis, step, unit in zip(
            header.axes, header.scale, header.units, strict=True
        )
        if step is not None
    }
    return {
        "file": str(path),
        "format": header.format,
        "axes": header.axes,
        "shape": list(header.shape),
        "dtype": str(header.dtype),
        "scale": scale,
        "channels": list(header.channel_names),
        "notes": list(header.notes),
        "provenance": header.provenance,
    }


def _system() -> dict[str, Any]:
    import platform

    import torch

    from napari_dip.prior import runtime

    device = runtime.pick_device("auto")
    free = runtime.free_memory(device)
    return {
        "napari-dip": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
        "device": str(device),
        "precision": str(runtime.pick_dtype("auto", device)).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "free memory": None if free is None else f"{free / 2**30:.1f} GiB",
        "GPUs": [
            torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
        ],
    }


def _lines(about: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Write nested values as indented lines, leaving out what is not there."""
    for key, value in about.items():
        if value is None or value in ([], {}, ""):
            continue
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
            for number, item in enumerate(value):
                yield f"{indent}{key} {number}:"
                yield from _lines(item, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{key}: {', '.join(map(str, value))}"
        else:
            yield f"{indent}{key}: {value}"
