"""What a release says of itself in several places is the same."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

CONDA_NAMES = {"matplotlib-base": "matplotlib", "pytorch": "torch"}
"""Packages of conda-forge that have another name on PyPI."""


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def recipe(root):
    return (root / "recipe" / "meta.yaml").read_text("utf-8")


def listed(recipe, key):
    """Return the requirements below a key of the recipe, by their names on PyPI."""
    (block,) = re.findall(rf"^  {key}:\n((?:    - .*\n)+)", recipe, re.M)
    requirements = {}
    for line in re.findall(r"- (.*)", block):
        name, _, versions = line.partition(" ")
        requirements[CONDA_NAMES.get(name, name)] = versions
    return requirements


def as_listed(requirements):
    return {r.name: str(r.specifier) for r in map(Requirement, requirements)}


def test_recipe_needs_what_the_project_needs(project, recipe):
    python = {"python": project["project"]["requires-python"]}
    needed = as_listed(project["project"]["dependencies"])
    assert listed(recipe, "run") == python | needed
    build = as_listed(project["build-system"]["requires"])
    assert listed(recipe, "host") == python | {"pip": ""} | build


def test_recipe_constrains_what_the_extras_need(project, recipe):
    extras = project["project"]["optional-dependencies"]
    needed = {}
    for extra in ("cluster", "napari", "plots", "zarr"):
        needed |= as_listed(extras[extra])
    assert listed(recipe, "run_constrained") == needed


@pytest.mark.parametrize("page", ["README.md", "docs/install.md"])
def test_every_extra_is_named(project, root, page):
    text = (root / page).read_text("utf-8")
    for extra in project["project"]["optional-dependencies"]:
        assert f'pip install "napari-dip[{extra}]"' in text


@pytest.mark.parametrize("page", ["README.md", "docs/install.md"])
def test_a_page_tells_how_to_install_what_is_not_released(root, page):
    unreleased = "## [Unreleased]\n\nThis will be the first release." in (
        root / "CHANGELOG.md"
    ).read_text("utf-8")
    text = (root / page).read_text("utf-8")
    assert ("There is no release on PyPI yet" in text) == unreleased
    assert ("pip install ." in text) == unreleased


def test_recipe_and_citation_have_one_version(root, recipe):
    (version,) = re.findall(r'set version = "(.*)"', recipe)
    assert f"\nversion: {version}\n" in (root / "CITATION.cff").read_text("utf-8")
