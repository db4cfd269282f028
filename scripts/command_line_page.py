"""Write the page of the command line from what ``napari-dip --help`` prints.

A hook of mkdocs: the page exists in the site only.
"""

from __future__ import annotations

import contextlib
import io
import os
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from napari_dip import cli

PAGE = "command_line.md"

HEAD = """# Command line

Each part of this page is what the command prints with `--help`. A command ends with
exit code 0 if it is done, 1 if it failed, 2 if its arguments are wrong, and 130 if it
was stopped by Ctrl-C or SIGTERM.
"""


def help_of(*command: str) -> str:
    """Return what a command prints with ``--help``, 80 characters wide."""
    printed = io.StringIO()
    width = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(printed):
            code = cli.main([*command, "--help"])
    finally:
        if width is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = width
    if code:
        raise RuntimeError(f"napari-dip {' '.join(command)} --help ended with {code}")
    lines = (line.rstrip() for line in printed.getvalue().splitlines())
    return "\n".join(lines).strip()


def commands_in(text: str) -> list[str]:
    """Return the names of the commands that a help text lists."""
    listed = re.findall(r"^│ ([a-z][a-z-]*) {2,}", text, re.MULTILINE)
    return sorted(listed)


def page() -> str:
    """Return the page: the help of the program, of its commands, and of theirs."""
    parts = [HEAD, _fenced("napari-dip", help_of(), level=2)]
    for name in commands_in(help_of()):
        text = help_of(name)
        parts.append(_fenced(name, text, level=2))
        if "COMMAND" in text.splitlines()[0]:
            for inner in commands_in(text):
                parts.append(_fenced(f"{name} {inner}", help_of(name, inner), level=3))
    return "\n".join(parts)


def _fenced(title: str, text: str, level: int) -> str:
    return f"{'#' * level} {title}\n\n```text\n{text}\n```\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page to those of the site."""
    files.append(File.generated(config, PAGE, content=page()))
    return files
