"""The parameters of a task, written once.

A recipe is a frozen dataclass.  Its fields are the keywords of the function, the
options of the command line, the controls of the widget and the provenance in
files; their types and `parameter` metadata say what is accepted.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
import re
import types
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from typing import (
    Any,
    ClassVar,
    Literal,
    Self,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from napari_dip.errors import InputError


@dataclass(frozen=True)
class Parameter:
    """What is known about a field of a recipe."""

    name: str
    """Keyword."""
    default: Any
    """Its default."""
    help: str
    """One or two plain sentences for docstring, ``--help`` and tooltip."""
    types: tuple[type, ...]
    """Accepted types, of int, float, str, bool, tuple and NoneType."""
    member: type | None = None
    """Type of the members of a tuple, int or float."""
    length: int | None = None
    """How many members a tuple has, where that is fixed."""
    choices: tuple[str, ...] = ()
    """Accepted strings where not every string is."""
    low: float | None = None
    high: float | None = None
    """Inclusive limits of numbers."""
    unit: str = ""
    """Of limited numbers, for errors."""
    advanced: bool = False
    """Whether an interface should fold it away."""

    @property
    def accepted(self) -> str:
        """What is accepted, in words."""
        parts = list(self.choices)
        bounds = ""
        if self.low is not None and self.high is not None:
            bounds = f" from {self.low:.12g} to {self.high:.12g}"
        elif self.low is not None:
            bounds = f" of {self.low:.12g} or more"
        bounds += f" {self.unit}" if self.unit else ""
        if int in self.types:
            parts.append("an integer" + bounds)
            if self.member is not None:
                parts.append("a tuple of such integers")
        elif self.member is not None:
            kind = "integers" if self.member is int else "finite numbers"
            if self.length is None:
                parts.append(f"one or more {kind}{bounds}, such as (1, 2, 4)")
            else:
                parts.append(f"{self.length} {kind}{bounds}")
        elif float in self.types:
            parts.append("a finite number" + bounds)
        if str in self.types and not self.choices:
            parts.append("a string")
        if bool in self.types:
            parts.append("true or false")
        if type(None) in self.types:
            parts.append("None")
        return " or ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))

    def check(self, value: Any) -> Any:
        """Return `value` as the plain Python type it stands for, or raise."""
        if value is None and type(None) in self.types:
            return None
        if self.member is not None and not isinstance(value, str):
            members = value if _number(value) is None else (value,)
            single = dataclasses.replace(self, types=(self.member,), member=None)
            try:
                checked = tuple(single.check(member) for member in members)
            except (InputError, TypeError, NotImplementedError):
                checked = ()  # arrays of no axes and others cannot be gone through
            if not checked or self.length not in (None, len(checked)):
                raise InputError(
                    f"{self.name} must be {self.accepted}; got {value!r:.99}"
                )
            alone = int in self.types and len(checked) == 1
            return checked[0] if alone else checked
        if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
            if bool in self.types:
                return bool(value)
        elif isinstance(value, str):
            if str in self.types and (not self.choices or value in self.choices):
                return str(value)  # NumPy's strings are strings of their own
        elif (number := _number(value)) is not None:
            whole = int in self.types and number == int(number)
            if whole or float in self.types:
                low = -math.inf if self.low is None else self.low
                high = math.inf if self.high is None else self.high
                if low <= number <= high:
                    return int(number) if whole and float not in self.types else number
        raise InputError(f"{self.name} must be {self.accepted}; got {value!r}")


def check(
    name: str,
    value: Any,
    *types: type,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Return an argument as the plain Python type it stands for, or raise."""
    if choices:
        types = (*types, str)
    return Parameter(name, None, "", types, choices=choices, low=low, high=high).check(
        value
    )


def check_channel_axis(channel_axis: Any) -> int | str | None:
    """Return the argument of that name, as `Recipe` has it, or raise."""
    axis: int | str | None = check(
        "channel_axis", channel_axis, int, types.NoneType, choices=("auto",)
    )
    return axis


def _number(value: Any) -> float | None:
    """Return a finite real scalar (NumPy's too) as a float, else None."""
    unreal = isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real)
    # NumPy before 2.4 takes arrays of one value for numbers.
    if unreal or not hasattr(value, "__float__") or getattr(value, "ndim", 0) != 0:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def parameter(
    default: Any,
    help: str = "",
    *,
    low: float | None = None,
    high: float | None = None,
    length: int | None = None,
    unit: str = "",
    advanced: bool = False,
) -> Any:
    """Return a dataclass field that describes itself; see `Parameter`."""
    limits = {"low": low, "high": high, "length": length, "unit": unit}
    metadata = {"help": help, "advanced": advanced, **limits}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters of a function, checked when they are put together."""

    task: ClassVar[str] = ""

    required: ClassVar[tuple[str, ...]] = ()
    """Parameters for which the function has no default, only the panel."""

    documentation: ClassVar[str | None] = None
    """Docstring that has the help of the parameters which have none of their own."""

    def __post_init__(self) -> None:
        for p in self.parameters():
            object.__setattr__(self, p.name, p.check(getattr(self, p.name)))

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        """Return the fields, described."""
        return _parameters(cls)  # type: ignore[arg-type]  # classes are hashable

    def to_dict(self) -> dict[str, Any]:
        """Return the parameters as a JSON-able dict that names the task."""
        return {"task": self.task, **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the parameters of `to_dict`; unknown keys are an error."""
        values = dict(values)
        task = values.pop("task", cls.task)
        if task != cls.task:
            raise InputError(f"recipe is of the task {task!r}; expected {cls.task!r}")
        known = [p.name for p in cls.parameters()]
        for key in values:
            if key not in known:
                raise InputError(
                    f"recipe has an unknown parameter {key!r}; known are "
                    f"{', '.join(known)}"
                )
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Recipe(Parameters):
    """Parameters that every fit has."""

    preset: Literal["fast", "best", "paper"] = parameter(
        "fast",
        "How much to spend: fast suits a laptop, best takes several times as long "
        "for the last tenths of a decibel, paper is the published setting.",
    )
    iterations: int | Literal["auto"] = parameter(
        "auto",
        "Number of iterations; auto takes those of the preset, or stops earlier.",
        low=1,
        high=1_000_000,
    )
    extra_iterations: int = parameter(
        0,
        "Number of iterations to go on for after the fit would have stopped: more "
        "detail, and more noise. The last image is then the result.",
        low=0,
        high=1_000_000,
        advanced=True,
    )
    restarts: int | Literal["auto"] = parameter(
        "auto",
        "Number of fits from different seeds to average, whose spread is the "
        "uncertainty of tasks without one of their own; auto is 1, or several with the "
        "best preset.",
        low=1,
        high=100,
        advanced=True,
    )
    share: Literal["auto", "yes", "no"] = parameter(
        "auto",
        "Whether one network is fitted to windows of all planes and restores every "
        "one of them, in place of a fit of each plane; auto does so where the task can "
        "and the data set has as many pixels as 16 windows: planes, or 192 x 192 "
        "pixels of larger ones, with sides below 64 counted as 64.",
        advanced=True,
    )
    tile: int | tuple[int, ...] | Literal["auto"] | None = parameter(
        "auto",
        "Side in pixels of the tiles that large planes are cut into, or their sides "
        "along y and x, rounded up to multiples of 192, so that memory does not grow "
        "with the image; auto cuts planes above a megapixel where tiles are restored "
        "as the whole is; None cuts none.",
        low=1,
        high=1_000_000,
        advanced=True,
    )
    neighbours: int | Literal["auto"] = parameter(
        "auto",
        "Where planes share a network, how many planes on either side of a plane it "
        "sees beside that plane; auto takes 2 where neighbours show the same things.",
        low=0,
        high=8,
        advanced=True,
    )
    channel_axis: int | Literal["auto"] | None = parameter(
        "auto",
        "Axis that holds colours or channels, restored together; auto takes a "
        "last axis of 3 or 4 for colours, None has no such axis.",
        advanced=True,
    )
    spatial_dims: int = parameter(
        2,
        "2 restores every plane by itself, 3 restores volumes as a whole.",
        low=2,
        high=3,
        advanced=True,
    )
    z_spacing: float | Literal["auto"] = parameter(
        "auto",
        "Distance of the planes of a volume over that of its pixels along y and x: "
        "the larger, the less the network looks across planes; auto is what a file or "
        "a layer says, else 1.",
        low=0.001,
        high=1000,
        advanced=True,
    )
    device: str = parameter("auto", "auto, cpu, cuda, cuda:N or mps.", advanced=True)
    precision: Literal["auto", "float32", "bfloat16"] = parameter(
        "auto",
        "Arithmetic inside the network; auto is bfloat16 where the hardware has it.",
        advanced=True,
    )
    seed: int = parameter(
        0,
        "Start of the random numbers: the same seed on the same machine, with the "
        "same number of threads, gives the same image.",
        low=0,
        high=2**31 - 1,
        advanced=True,
    )
    dtype: Literal["float32", "input"] = parameter(
        "float32",
        "Type of the result: float32, or the input's own, rounded and clipped.",
        advanced=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.tile, tuple) and len(self.tile) != 2:
            raise InputError(
                f"tile must be one length, or two along Y and X; got {self.tile}"
            )


@cache
def _parameters(cls: type[Parameters]) -> tuple[Parameter, ...]:
    hints, documented = get_type_hints(cls), _documented(cls.documentation or "")
    parameters = []
    for f in dataclasses.fields(cls):
        hint = hints[f.name]
        union = get_origin(hint) in (Union, types.UnionType)
        members = get_args(hint) if union else (hint,)
        choices = [c for m in members if get_origin(m) is Literal for c in get_args(m)]
        kinds = [m for m in members if get_origin(m) not in (Literal, tuple)]
        if choices:
            kinds.append(str)
        inside = [get_args(m)[0] for m in members if get_origin(m) is tuple]
        if inside:
            kinds.append(tuple)
        parameters.append(
            Parameter(
                name=f.name,
                default=f.default,
                types=tuple(kinds),
                member=inside[0] if inside else None,
                choices=tuple(choices),
                **{**f.metadata, "help": f.metadata["help"] or documented[f.name]},
            )
        )
    return tuple(parameters)


def _documented(docstring: str) -> defaultdict[str, str]:
    """Return what a docstring says of every parameter, nothing of others."""
    _, _, section = inspect.cleandoc(docstring).partition("Parameters\n----------\n")
    texts = re.findall(r"^(\w+) : .*\n((?:    .*\n)+)", section, re.MULTILINE)
    return defaultdict(str, {name: " ".join(text.split()) for name, text in texts})
