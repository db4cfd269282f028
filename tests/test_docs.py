"""The code of the documentation: Python runs, and shell commands exist."""

import re
import shlex
from functools import wraps
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from cyclopts import CycloptsError
from torch import nn

import napari_dip
from napari_dip.cli.commands import app
from napari_dip.tasks.run import TASKS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

NOT_INSTALLED = ("dask_jobqueue", "deepinv")
"""Libraries of others that pages show and that no extra installs."""


def fenced(page, language):
    """Return the fenced blocks of a page, those within tabs and lists too."""
    blocks = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [re.sub(f"^{indent}", "", text, flags=re.M) for indent, text in blocks]


def with_code(language):
    return [n for n, page in zip(NAMES, PAGES, strict=True) if fenced(page, language)]


@pytest.fixture
def short(monkeypatch, changed_presets):
    """Make every fit of a task end after two iterations."""
    changed_presets(coarse_iterations=0, start_iterations=0, finish=())
    for name in TASKS:
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
        "small": gray[:24, :32],
    }
    if name == "docs/blending.md":
        names |= {"background": photo, "foreground": photo[::-1]}
        background = np.tile(photo, (4, 4, 1))
        names |= {"small": photo, "small_mask": mask, "large": background}
    elif name == "docs/files.md":
        slide = rng.integers(0, 255, (1, 1100, 1300), np.uint8)
        napari_dip.io.files.write("slide.ome.tif", slide)
        names |= {"values": slide[0, :512, :512], "made": {"task": "denoise"}}
    elif name == "docs/networks.md":
        names |= {"image": photo, "net": classifier()}
    return names


def classifier():
    """Return a network with the names of layers that a page uses, not trained."""
    torch.manual_seed(0)
    net = nn.Module()
    net.features = nn.Sequential(
        *(nn.Conv2d(c, 4, 3, stride=2) for c in (3, 4, 4, 4)),
        *(nn.Conv2d(4, 4, 1) for _ in range(4)),
    )
    net.classifier = nn.Linear(4, 1000)
    net.forward = lambda x: net.classifier(net.features(x).mean((-2, -1)))
    return net


@pytest.mark.parametrize("name", with_code("python"))
def test_python_runs(name, short, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page", **given(name)}
    before = set(names)
    for number, text in enumerate(fenced(ROOT / name, "python"), 1):
        try:
            exec(compile(text, f"{name}, block {number}", "exec"), names)
        except ModuleNotFoundError as error:
            if error.name not in NOT_INSTALLED:
                raise
    assert set(names) > before


def commands_of(name):
    """Yield the arguments of the calls of napari-dip on a page."""
    for text in fenced(ROOT / name, "bash"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and "=" in words[0]:
                words.pop(0)
            if words[:1] == ["napari-dip"]:
                yield words[1:]


@pytest.mark.parametrize("name", with_code("bash"))
def test_commands_exist(name):
    for arguments in commands_of(name):
        command, *_ = app().parse_args(
            arguments, exit_on_error=False, print_error=False
        )
        assert callable(command), arguments


def test_a_wrong_option_is_found():
    with pytest.raises(CycloptsError, match="--sharper"):
        app().parse_args(
            shlex.split("denoise in.tif -o out.tif --sharper 2"),
            exit_on_error=False,
            print_error=False,
        )
