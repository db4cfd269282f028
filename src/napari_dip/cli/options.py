"""Options of the commands, from recipes and beside them."""

from __future__ import annotations

import inspect
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cyclopts import Group, Token
from cyclopts import Parameter as Option

from napari_dip.batch.keep import Keep
from napari_dip.cli.targets import check_place
from napari_dip.errors import InputError
from napari_dip.tasks.recipe import Parameter, Parameters

if TYPE_CHECKING:
    from napari_dip.tasks.task import Task

FILES = Group("Files", sort_key=0)
REPORT = Group("Report", sort_key=1)
PARAMETERS = Group("Parameters", sort_key=2)
ADVANCED = Group("Advanced parameters", sort_key=3)

FLAG: dict[str, Any] = {"negative": "", "show_default": False}

_OTHER_DEFAULTS = {
    "channel_axis": "the file's axis of colours or channels",
    "dtype": "input for PNG, JPEG and integer colours, else float32",
    "quantization": "the tables of a JPEG file",
    "subsampling": "that of a JPEG file, else auto",
    "z_spacing": "that of the file, else 1",
    "pixel_size": "that of the file",
    "z_step": "that of the file",
    "numerical_aperture": "none, it must be given",
    "wavelength": "none, it must be given",
}
"""Parameters whose default is not that of Python, and what it is."""


_ADDRESS = re.compile(r"(--[\w-]+=|-o)?(([a-z][a-z0-9+.-]+)://.*)", re.I | re.S)
"""An address, alone or as the value of an option; what it begins with is no drive."""


_HOME = re.compile(r"(--[\w-]+=|-o)?(~(?:[/\\].*)?)", re.S)
"""A path in the folder of the user; shells leave it as it is within an argument."""


def local_paths(arguments: Sequence[str]) -> list[str]:
    """Return arguments with the paths that ``file://`` and ``~`` stand for.

    Raises
    ------
    InputError
        If a file is to be read from or written to another machine: as a path, its
        address would be that of a folder.
    """
    local = []
    for before, text in itertools.pairwise(["", *arguments]):
        # The argument before is no option, or has its value already.
        alone = before and (not before.startswith("-") or "=" in before)
        if not text.strip() and alone:
            raise InputError("an input must be a file; got an empty name")
        if home := _HOME.fullmatch(text):
            text = (home[1] or "") + os.path.expanduser(home[2])
        match = _ADDRESS.fullmatch(text)
        option = (match and match[1]) or f"{before}="
        if match is None or option == "--scheduler=":
            local.append(text)
            continue
        address = urlsplit(match[2])
        if match[3].lower() != "file" or address.netloc not in ("", "localhost"):
            raise InputError(
                f"files are read and written on this machine only; got {match[2]}; "
                "download it first, or give the folder where it is mounted"
            )
        local.append((match[1] or "") + url2pathname(address.path))
    return local


def _named(tokens: Sequence[Token]) -> str:
    name = (tokens[0].keyword or "").lstrip("-")
    return name if len(name) > 1 else "output"  # -o


def input_path(_: Any, tokens: Sequence[Token]) -> Path:
    """Return the path of an option, unless it is a variable that is not set, say."""
    text, name = tokens[0].value, _named(tokens)
    if not text.strip():
        raise InputError(f"{name} must be a file or a folder; got an empty name")
    return Path(text)


def output_path(_: Any, tokens: Sequence[Token]) -> Path:
    """Return the output, unless it is a mistake such as a name that is too long."""
    path, name = input_path(_, tokens), _named(tokens)
    try:
        path.exists()
    except OSError as error:
        raise InputError(f"{name} cannot be written: {error.strerror}") from error
    place = os.path.realpath(path)
    if place == os.path.dirname(place):
        raise InputError(f"{name} must not be the root folder; got {path}")
    return path


OUTPUT = Option(name=["--output", "-o"], group=FILES, converter=output_path)
Overwrite = Annotated[
    bool, Option(group=FILES, **FLAG, help="Replace files that are there.")
]
Json = Annotated[
    bool, Option(group=REPORT, **FLAG, help="Print a JSON object for every result.")
]
Quiet = Annotated[
    bool, Option(group=REPORT, **FLAG, help="No progress, no warnings, no result line.")
]


@Option(name="*")
@dataclass(frozen=True)
class Results:
    """Options of the results of a command: where they go and how they are reported."""

    output: Annotated[
        Path,
        OUTPUT,
        Option(
            help="File to write (.ome.tif, .tif, .ome.zarr or .png), or a folder: one "
            "that is there, or a name without an ending. Several inputs go to a folder "
            "whose new name may have any ending but those of images."
        ),
    ]
    overwrite: Overwrite = False
    json: Json = False
    quiet: Quiet = False


@Option(name="*")
@dataclass(frozen=True)
class FileResults(Results):
    """Options of a result that has no image whose name it could have in a folder."""

    output: Annotated[
        Path, OUTPUT, Option(help="File to write (.ome.tif, .tif, .ome.zarr or .png).")
    ]


@Option(name="*")
@dataclass(frozen=True)
class FolderResults(Results):
    """Options of the results of many files."""

    output: Annotated[
        Path,
        OUTPUT,
        Option(help="Folder for the results, which have the names of the files."),
    ]


MACHINES = Group("Processes and machines", sort_key=1)


def _count(_: Any, tokens: Sequence[Token]) -> int:
    most, value = max(8, 2 * (os.cpu_count() or 1)), _number(tokens[0].value)
    if not isinstance(value, int) or not 1 <= value <= most:
        raise InputError(
            f"workers must be an integer from 1 to {most} on this machine; got "
            f"{value!r}"
        )
    return value


Workers = Annotated[
    int | None,
    Option(
        group=MACHINES,
        converter=_count,
        show_default=False,
        help="Number of processes on this machine, each with one thread.",
    ),
]
Scheduler = Annotated[
    str | None,
    Option(
        group=MACHINES,
        show_default=False,
        help="Address of a scheduler of dask.distributed, such as tcp://host:8786, "
        "whose workers see the same files.",
    ),
]

_KEPT = Group("Weights and checkpoints", sort_key=1)
Weights = Annotated[
    Path | None,
    Option(
        group=_KEPT,
        converter=input_path,
        show_default=False,
        help="File of weights to begin from, as --save-weights writes it; or of "
        "networks to restore with, as batch --share writes it.",
    ),
]


@Option(name="*")
@dataclass(frozen=True)
class KeepOptions:
    """Options of what a run begins from and leaves beside its result."""

    uncertainty: Annotated[
        Path | None,
        Option(
            group=FILES,
            show_default=False,
            converter=output_path,
            help="File to write the standard deviation of every pixel to, or a folder, "
            "as for --output.",
        ),
    ] = None
    weights: Weights = None
    save_weights: Annotated[
        Path | None,
        Option(
            group=_KEPT,
            show_default=False,
            converter=output_path,
            help="File (.safetensors) for the fitted weights of the network.",
        ),
    ] = None
    checkpoint: Annotated[
        Path | None,
        Option(
            group=_KEPT,
            show_default=False,
            converter=output_path,
            help="File (.safetensors) in which what is done is kept until the result "
            "is written, with others beside it. If it is there, the command goes on "
            "from it.",
        ),
    ] = None
    checkpoint_every: Annotated[
        float, Option(group=_KEPT, help="Minutes from one writing of it to the next.")
    ] = Keep.minutes

    def keep(self, inputs: Sequence[Path], overwrite: bool) -> Keep:
        """Return the files beside the result, or raise if they cannot be written.

        An existing checkpoint is what the fit goes on from.
        """
        if not self.checkpoint_every >= 0:
            raise InputError(
                f"checkpoint-every must be 0 or more; got {self.checkpoint_every}"
            )
        read = [*inputs, *([] if self.weights is None else [self.weights])]
        outputs = {"save-weights": self.save_weights, "checkpoint": self.checkpoint}
        for name, path in outputs.items():
            if path is None:
                continue
            if len(inputs) > 1:
                raise InputError(f"{name} is of one input; got {len(inputs)}")
            if path.suffix.lower() != ".safetensors":
                raise InputError(f"{name} must end in .safetensors; got {path}")
            check_place(path, read, overwrite or name == "checkpoint", name)
        return Keep(
            self.weights, self.save_weights, self.checkpoint, self.checkpoint_every
        )


def command_of(
    function: Callable[..., int],
    kind: type[Parameters],
    inputs: Sequence[inspect.Parameter] | None = None,
    results: type[Any] = Results,
) -> Callable[..., int]:
    """Return a function as a command: its options are the fields of `kind`.

    It takes the options as keywords of the same names, None where one was not given,
    and those of the results together as `results`.  Without `inputs` the inputs of the
    command are those that the function has itself.
    """
    if inputs is None:
        own = inspect.signature(function, eval_str=True).parameters
        inputs = [p for name, p in own.items() if name not in ("results", "given")]
    parameters = [*inputs, keyword("results", results)]
    given = {p.name for p in parameters}
    parameters += [
        keyword(p.name, annotation(p), None)
        for p in kind.parameters()
        if p.name not in given
    ]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in parameters}
    function.__name__ = kind.task
    return function


def keyword(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    """Return an argument that is given by name."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)


def inputs_of(task: Task, folders: str = "") -> list[inspect.Parameter]:
    """Return the parameters of a task's arguments but for its first array.

    The help on those that are files ends with `folders`.
    """
    kinds = dict.fromkeys(task.files[1:], Path) | dict.fromkeys(task.objects, str)
    parameters = []
    for name, kind in kinds.items():
        text = task.arrays[name] + (folders if kind is Path else "")
        converter = input_path if kind is Path else None
        option = Option(group=FILES, help=text, converter=converter)
        parameters.append(keyword(name, Annotated[kind, option]))
    return parameters


def annotation(p: Parameter) -> Any:
    """Return the type of a parameter's option.

    Words and numbers stay text until `value_of`, so that the recipe alone decides what
    is accepted, and the errors are its own.
    """
    group = ADVANCED if p.advanced else PARAMETERS
    text = p.help if p.types == (str,) and not p.choices else f"{p.help} ({p.accepted})"
    default = _OTHER_DEFAULTS.get(p.name, str(p.default))
    option = Option(
        group=group,
        help=f"{text} [default: {default}]",
        show_default=False,
        allow_leading_hyphen=True,
    )
    kind = bool | None if p.types == (bool,) else str | None
    return Annotated[kind, option]


def value_of(p: Parameter, text: Any) -> Any:
    """Return the value of an option from its text, checked by `p`."""
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


def values_of(kind: type[Parameters], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of `kind` that were given, checked."""
    return {
        p.name: value_of(p, given[p.name]) for p in kind.parameters() if p.name in given
    }


def _number(text: str) -> int | float | str:
    """Return a text as a number, or as it is if it is none."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
