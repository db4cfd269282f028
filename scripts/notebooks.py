"""Offer the tutorials and the gallery as notebooks: their text and their Python code.

A hook of mkdocs: the notebooks exist in the site only, and are made of the same pages.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

CODE = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)

PICTURE = re.compile(r"^!\[.*?\]\(.*?\)\n", re.M | re.S)

LINK = re.compile(r"\[([^\[\]]*)\]\((?!https?:)[^()]*\)")


def notebook(markdown: str) -> str:
    """Return a page as a notebook; its Python blocks become cells of code."""
    # A download has no pictures and no other pages beside it.
    text = PICTURE.sub("", markdown)
    text = LINK.sub(r"\1", text)
    cells: list[dict[str, Any]] = []
    for number, part in enumerate(CODE.split(text)):
        if not part.strip():
            continue
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}}
        cell["source"] = part.strip()
        if number % 2:
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
        else:
            cell |= {"cell_type": "markdown"}
        cells.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps(
        {"cells": cells, "metadata": {"kernelspec": kernel}}
        | {"nbformat": 4, "nbformat_minor": 5}
    )


def has_notebook(uri: str) -> bool:
    """Return whether a page, by its place in the folder docs, has a notebook."""
    return (
        uri == "gallery.md"
        or re.fullmatch(r"tutorials/(?!index).+\.md", uri) is not None
    )


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks to the files of the site."""
    for file in list(files.documentation_pages()):
        if has_notebook(file.src_uri):
            uri = str(PurePosixPath(file.src_uri).with_suffix(".ipynb"))
            text = notebook(file.content_string)
            files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Add the link to the notebook below the text of a page."""
    if not has_notebook(page.file.src_uri):
        return markdown
    name = PurePosixPath(page.file.src_uri).stem
    return f"{markdown}\n\n[Download this page as a notebook]({name}.ipynb)\n"
