"""What a release says of itself in several places is the same."""

import re
import tomllib

import pytest
import yaml
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
    needed = as_listed(project["project"]["dependencies"])
    assert listed(recipe, "run") == {"python": ">={{ python_min }}"} | needed
    build = as_listed(project["build-system"]["requires"])
    python = {"python": "{{ python_min }}", "pip": ""}
    assert listed(recipe, "host") == python | build
    assert listed(recipe, "requires") == python
    (lowest,) = re.findall(r'set python_min = "(.*)"', recipe)
    assert project["project"]["requires-python"] == f">={lowest}"


def test_recipe_checks_its_dependencies(recipe):
    assert "\n    - pip check\n" in recipe


def parts_of(job):
    """Return the arguments of pytest for every part of a job."""
    return [part["paths"].split() for part in job["strategy"]["matrix"]["part"]]


def named(arguments):
    return {a for a in arguments if not a.startswith("-")}


def left_out(arguments):
    return {a.partition("=")[2] for a in arguments if a.startswith("--ignore")}


def test_parts_of_ci_hold_every_test_once(root):
    jobs = yaml.safe_load((root / ".github/workflows/ci.yml").read_text("utf-8"))[
        "jobs"
    ]
    folders = {
        str(folder.relative_to(root))
        for folder in (root / "tests").iterdir()
        if any(folder.glob("**/test_*.py"))
    }
    assert parts_of(jobs["tests"]) == parts_of(jobs["older-processor"])
    *parts, others = parts_of(jobs["tests"])
    paths = [path for part in parts for path in named(part)]
    assert sorted(paths) == sorted(left_out(others))
    assert set(paths) <= folders
    assert named(others) == {"tests"}
    *low, low_others = parts_of(jobs["lowest-versions"])
    assert low == parts
    packaging = {"tests/test_distributions.py"}
    assert left_out(low_others) == left_out(others) | packaging
    assert named(low_others) == {"tests"}
    assert all((root / path).is_file() for path in packaging)


def test_no_run_of_tests_may_take_more_than_ten_minutes(root):
    jobs = yaml.safe_load((root / ".github/workflows/ci.yml").read_text("utf-8"))[
        "jobs"
    ]
    for name in ("tests", "older-processor", "lowest-versions"):
        (step,) = [
            step
            for step in jobs[name]["steps"]
            if ("pytest" in step.get("run", "") and "install" not in step["run"])
            or "make test" in step.get("run", "")
        ]
        assert step["timeout-minutes"] <= 10


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
