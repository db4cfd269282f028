"""Write the types of the task functions, which are made at run time, into a stub.

    python scripts/write_stubs.py

Run it when a recipe changes: a test compares the stub with the recipes.
"""

import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import napari_dip
from napari_dip.tasks.function import document
from napari_dip.tasks.run import TASKS, get
from napari_dip.tasks.task import Task

STUB = Path(__file__).resolve().parents[1] / "src/napari_dip/tasks/signatures.pyi"

HEAD = '''"""The task functions as type checkers and editors see them.

Written by scripts/write_stubs.py from the recipes; there is no such module at run time.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Literal, overload

from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import Module

from napari_dip.prior.architecture import Generates
from napari_dip.prior.problem import Fit, Iterate
from napari_dip.prior.stopping import Rule
from napari_dip.tasks.analysis import Analysis

'''

OVERLOADS = (
    ("Literal[False] = False", "NDArray[Any]"),
    ("Literal[True]", "Fit"),
    ("bool", "NDArray[Any] | Fit"),
)
"""Types of `full_output`, and of what the function then returns."""


def stub() -> str:
    """Return the text of the stub."""
    names = ", ".join(f'"{name}"' for name in TASKS)
    functions = [overloads(get(name)) for name in TASKS]
    return "\n".join([HEAD, f"TaskName = Literal[{names}]", *functions])


def overloads(task: Task) -> str:
    """Return the definitions of a task function, the first with its documentation."""
    signature = inspect.signature(getattr(napari_dip, task.name))
    text = textwrap.indent(document(task, brief=True).strip(), "    ").strip()
    body = f'r"""{text}\n    """'
    definitions = []
    for full_output, returned in OVERLOADS:
        arguments = ",\n    ".join(arguments_of(signature, full_output))
        definitions.append(
            f"@overload\ndef {task.name}(\n    {arguments},\n) -> {returned}:\n"
            f"    {body}\n"
        )
        body = "..."
    return "\n".join(definitions)


def arguments_of(signature: inspect.Signature, full_output: str) -> Iterator[str]:
    """Yield the arguments of a function as they are written."""
    star = False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        if p.name == "full_output":
            yield f"full_output: {full_output}"
        elif p.default is p.empty:
            yield f"{p.name}: {p.annotation}"
        else:
            yield f"{p.name}: {p.annotation} = {p.default!r}"


if __name__ == "__main__":
    STUB.write_text(stub(), "utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", STUB], check=True)
