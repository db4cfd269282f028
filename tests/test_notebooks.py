"""The notebooks of the documentation are valid, and Jupyter's kernel runs them."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="of the group docs")
nbformat = pytest.importorskip("nbformat", reason="of the group docs")
nbclient = pytest.importorskip("nbclient", reason="of the group docs")

DOCS = Path(__file__).resolve().parents[1] / "docs"


def script():
    """Return the script that makes the notebooks as a module."""
    path = DOCS.parent / "scripts" / "notebooks.py"
    spec = importlib.util.spec_from_file_location("notebooks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


notebooks = script()

PAGES = sorted(
    name
    for page in DOCS.glob("**/*.md")
    if notebooks.has_notebook(name := page.relative_to(DOCS).as_posix())
)


def made_of(name):
    text = notebooks.notebook((DOCS / name).read_text("utf-8"))
    return nbformat.reads(text, as_version=4)


@pytest.mark.parametrize("name", PAGES)
def test_a_notebook_is_valid(name):
    book = made_of(name)
    nbformat.validate(book)
    assert any(cell.cell_type == "code" for cell in book.cells)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PAGES)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    # Every fit ends after its first iterations.
    monkeypatch.setenv("NAPARI_DIP_MAX_SECONDS", "0.1")
    book = made_of(name)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(book, timeout=600, resources=where).execute()
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1))
