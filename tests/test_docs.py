"""The code of the documentation: Python runs, and shell commands exist."""

import re
import shlex
from functools import cache, wraps
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import zarr
from cyclopts import CycloptsError
from scipy.ndimage import gaussian_filter
from torch import nn

import napari_dip
from napari_dip.cli.commands import app
from napari_dip.cli.options import values_of
from napari_dip.io import files
from napari_dip.tasks import shared, windows
from napari_dip.tasks.run import TASKS, get
from tests.slow import slow_but

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

NOT_INSTALLED = ("dask_jobqueue", "deepinv")
"""Libraries of others that pages show and that no extra installs."""


def fenced(page, language):
    """Return the fenced blocks of a page, those within tabs and lists too."""
    blocks = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```$", page.read_text("utf-8"), re.M | re.S
    )
    return [re.sub(f"^{indent}", "", text, flags=re.M) for indent, text in blocks]


def with_code(language):
    return [n for n, page in zip(NAMES, PAGES, strict=True) if fenced(page, language)]


@pytest.fixture
def short(monkeypatch, small_fits, few_passes):
    """Make every fit of a task end after two iterations."""
    monkeypatch.setattr(windows, "WINDOWS", 2)
    monkeypatch.setattr(shared, "COARSE", 0)
    # A page adds a task and a reader, which must not stay.
    monkeypatch.setitem(TASKS, "robust", "page")
    monkeypatch.setattr(files, "_READERS", {**files._READERS})
    for name in (TASKS.keys() - {"robust"}) | {"noise_impedance"}:
        monkeypatch.setattr(napari_dip, name, shortened(getattr(napari_dip, name)))


def shortened(function):
    @wraps(function)
    def call(*arguments, **keywords):
        if "stop" in keywords:
            keywords["callback"] = lambda iterate: iterate.step >= 2
        else:
            keywords["iterations"] = 2
        return function(*arguments, **keywords)

    return call


def given(name):
    """Return what the blocks of a page take as given."""
    rng = np.random.default_rng(0)
    photo = skimage.data.astronaut()[64:112, 180:244]
    gray = photo.mean(axis=-1)
    mask = np.zeros(gray.shape, bool)
    mask[12:36, 16:48] = True
    names = {
        "np": np,
        "image": gray + rng.normal(0, 10, gray.shape),
        "mask": mask,
        "psf": np.ones((5, 5)),
        "guess": np.ones((5, 5)),
    }
    if name == "docs/blending.md":
        names |= {"small": photo, "small_mask": mask}
        background = np.tile(photo, (3, 3, 1))
        names |= {"background": background, "foreground": background[::-1]}
        names["mask"] = np.tile(mask, (3, 3))
    elif name == "docs/batch.md":
        names["stack"] = np.stack([gray] * 2)
    elif name == "docs/data-sets.md":
        names |= {"napari_dip": napari_dip, "stack": np.stack([gray] * 4)}
        zarr.save_array("large.zarr", gray)
    elif name == "docs/deconvolution.md":
        points = np.zeros((160, 160))
        points[20::40, 20::40] = 1e4
        names["beads"] = gaussian_filter(points, 1.5) + rng.normal(0, 1, points.shape)
    elif name == "docs/files.md":
        slide = rng.integers(0, 255, (2, 1100, 1300), np.uint8)
        files.write("slide.ome.tif", slide)
        names |= {"values": slide[0, :512, :512], "made": {"task": "denoise"}}
    elif name == "docs/restore.md":
        names |= {"small": np.tile(gray, (2, 1))[:64]}
        names |= {"views": np.ones(256), "project": lambda x: x.mean(-1)}
        names |= {"spectrum": np.ones(256), "disperse": lambda x: x.mean(-2)}
    elif name == "docs/networks.md":
        names |= {"image": photo, "net": Classifier()}
    return names


class Classifier(nn.Module):
    """Has layers with the names that a page uses, and is not trained."""

    def __init__(self):
        super().__init__()
        halving = [nn.Conv2d(c, 4, 3, stride=2) for c in (3, 4, 4, 4)]
        self.features = nn.Sequential(*halving, *(nn.Conv2d(4, 4, 1) for _ in range(4)))
        self.classifier = nn.Linear(4, 1000)

    def forward(self, x):
        return self.classifier(self.features(x).mean((-2, -1)))


TUTORIALS = [name for name in with_code("bash") if name.startswith("docs/tutorials/")]


# The code of the tutorials runs below, where nothing is given.
OTHERS = sorted({*with_code("python")} - {*TUTORIALS})


@pytest.mark.parametrize("name", slow_but(OTHERS, *{*OTHERS} - {"docs/gallery.md"}))
def test_python_runs(name, short, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name in ("README.md", "docs/index.md"):
        photo = skimage.data.camera()[60:124, 110:174]
        monkeypatch.setattr(skimage.data, "camera", lambda: photo)
    names = {"__name__": "page", **given(name)}
    before = set(names)
    run(name, names)
    assert set(names) > before
    if name == "docs/development/extend.md":
        assert names["Logarithmic"](0.2).scale == 0.2


def test_additions_take_as_many_lines_as_the_page_says():
    text = (ROOT / "docs/development/extend.md").read_text("utf-8")
    stated = re.findall(r"^\| ([^|]+) \| (\d+) \|$", text, re.MULTILINE)
    counted = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        code = "".join(re.findall(r"```python\n(.*?)```", body, re.DOTALL))
        lines = sum(bool(line.strip()) for line in code.splitlines())
        assert 0 < lines <= 40, title
        counted.append((title, str(lines)))
    assert counted == stated


def run(name, names):
    for number, text in enumerate(fenced(ROOT / name, "python"), 1):
        try:
            exec(compile(text, f"{name}, block {number}", "exec"), names)
        except ModuleNotFoundError as error:
            if error.name not in NOT_INSTALLED:
                raise


@pytest.mark.parametrize("name", slow_but(TUTORIALS, "docs/tutorials/denoise.md"))
def test_a_tutorial_makes_the_files_that_its_commands_read(
    name, short, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    before = set(names)
    run(name, names)
    assert set(names) > before or not fenced(ROOT / name, "python")
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")}
    for words in commands_of(name):
        outputs = {
            words[i + 1] for i, w in enumerate(words) if w in ("-o", "--uncertainty")
        }
        read = {w for w in words if re.fullmatch(r"[\w.-]+\.[a-z]{3,4}", w)}
        read |= {
            words[i + 1] for i, w in enumerate(words) if w in ("--mask", "--guide")
        }
        if words[0] == "batch":
            read.add(words[2])
        for text in words:
            if model := re.fullmatch(r"(\w+):\w+@(.+)", text):
                read |= {f"{model[1]}.py", model[2]}
        assert read - outputs <= there, words
        there |= outputs


def test_every_picture_of_a_tutorial_is_written_by_a_page():
    folder = ROOT / "docs" / "tutorials"
    pages = {page.stem: page.read_text("utf-8") for page in folder.glob("*.md")}
    pictures = list((ROOT / "docs" / "images" / "tutorials").iterdir())
    assert pictures
    for picture in pictures:
        page = pages[picture.stem]
        assert f"(../images/tutorials/{picture.name})" in page
        assert f'"{picture.name}"' in page or "-o curves.png" in page


def test_gallery_has_a_picture_of_every_example():
    page = ROOT / "docs" / "gallery.md"
    pictures = re.findall(r"\((images/gallery/.+?)\)", page.read_text("utf-8"))
    assert len(pictures) == len(fenced(page, "python")) - 1  # the first one imports
    assert {page.parent / name for name in pictures} == set(
        (page.parent / "images" / "gallery").iterdir()
    )


FIGURE = re.compile(r"\b\d\d\.\d\d\b")


def sections_of_the_benchmarks():
    """Return the figures in the tables of every section, by the anchor of its heading.

    A section ends where the next heading begins.
    """
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    parts = re.split(r"^##+ (.*)$", text, flags=re.M)[1:]
    found = {}
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        anchor = re.sub(r"[^\w\s-]", "", title.lower()).strip().replace(" ", "-")
        rows = [line for line in body.splitlines() if line.startswith("|")]
        found[anchor] = set(FIGURE.findall(" ".join(rows)))
    return found


def passages(name):
    """Return the paragraphs, list items and table rows of a page, without its code."""
    text = re.sub(
        r"^ *```.*?^ *```$", "", (ROOT / name).read_text("utf-8"), flags=re.M | re.S
    )
    return re.split(r"\n\n+|\n(?=- |\|)", text)


@pytest.mark.parametrize(
    "name",
    ["README.md", "docs/choose.md", "docs/tutorials/denoise_guided.md"],
)
def test_figures_are_those_of_the_section_that_is_linked(name):
    sections = sections_of_the_benchmarks()
    told = 0
    for passage in passages(name):
        figures = set(FIGURE.findall(passage))
        anchors = re.findall(r"benchmarks\.md#([\w-]+)", passage)
        measured = set().union(*(sections[anchor] for anchor in anchors))
        assert figures <= measured, passage
        told += len(figures)
    assert told


def commands_of(name):
    """Yield the arguments of the calls of napari-dip on a page."""
    for text in fenced(ROOT / name, "bash"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and "=" in words[0]:
                words.pop(0)
            if words[:1] == ["napari-dip"]:
                yield words[1:]


commands = cache(app)


def parse(arguments):
    return commands().parse_args(arguments, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("name", with_code("bash"))
def test_commands_exist(name):
    for arguments in commands_of(name):
        command, bound, ignored = parse(arguments)
        assert callable(command), arguments
        assert not ignored, arguments
        task = arguments[0].replace("-", "_")
        if task in TASKS:
            recipe = get(task).recipe
            recipe(**values_of(recipe, bound.kwargs))


def test_a_wrong_option_is_found():
    with pytest.raises(CycloptsError, match="--sharper"):
        parse(["denoise", "in.tif", "-o", "out.tif", "--sharper", "2"])
