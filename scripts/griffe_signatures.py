"""Let the site's pages take the task functions from their stub.

An extension of griffe, which reads the source for mkdocstrings and does not run it.
The task functions are made at run time.  The stub `napari_dip.tasks.signatures` holds
their signatures, as overloads, of which griffe makes no functions by itself.  Their
docstrings are made at run time, too: the stub holds no more than a part of them.
"""

from __future__ import annotations

import inspect
from typing import Any

import griffe

import napari_dip


class Signatures(griffe.Extension):
    """Makes functions of the first overloads, with the docstrings of run time."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Add the functions to the stub's module."""
        stub = pkg["tasks.signatures"]
        for name, overloads in stub.overloads.items():
            function = overloads[0]
            function.docstring.value = inspect.getdoc(getattr(napari_dip, name))
            stub.set_member(name, function)
