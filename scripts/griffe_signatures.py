"""Let the site's pages take the task functions from their stub.

An extension of griffe, which reads the source for mkdocstrings and does not run it.
The task functions are made at run time.  In the stub `napari_dip.tasks.signatures` they
are overloads only, of which griffe makes no functions by itself.
"""

from __future__ import annotations

from typing import Any

import griffe


class Signatures(griffe.Extension):
    """Makes a function of the first overload, the one with a docstring."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Add the functions to the stub's module."""
        stub = pkg["tasks.signatures"]
        for name, overloads in stub.overloads.items():
            stub.set_member(name, overloads[0])
