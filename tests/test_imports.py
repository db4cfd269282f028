"""What importing the package costs, and what it must not need."""

import ast
import inspect
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import napari_dip
from napari_dip.io import files
from napari_dip.io.image import Header, Image

# Run in a fresh interpreter; prints what `import napari_dip` added to sys.modules.
LIST_NEW_MODULES = """
import json, sys
before = set(sys.modules)
import napari_dip
print(json.dumps(sorted(set(sys.modules) - before)))
"""

# Prints the modules that are loaded once the help of some commands is shown.
LIST_MODULES_OF_HELP = """
import contextlib, io, json, sys
from napari_dip.cli import main
for arguments, says in {said}:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert main(arguments) == 0
    assert says in text.getvalue(), arguments
print(json.dumps(sorted(sys.modules)))
"""

# Prints what is left of the variable once torch is loaded, and then the modules that
# were imported. A module whose entry in sys.modules is None cannot be.
IMPORT_ALL_BUT_WIDGETS = """
import importlib, json, os, pkgutil, sys
for name in ("napari", "magicgui", "npe2", "qtpy", "superqt", "PyQt6", "vispy"):
    sys.modules[name] = None
import numpy as np
import napari_dip
from napari_dip.machine import load_torch
load_torch()
print("left:", os.environ.get("GOMP_SPINCOUNT"))
def walk(package):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name.rpartition(".")[2] in ("__main__", "widgets"):
            continue
        imported = importlib.import_module(module.name)
        yield module.name
        if module.ispkg:
            yield from walk(imported)
print(json.dumps(list(walk(napari_dip))))
"""


def run_fresh(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Return the top-level names of the foreign modules that nodes import."""
    for node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            names = [a.value for a in node.args if isinstance(a, ast.Constant)]
        for name in names:
            top = name.partition(".")[0]
            if top != "napari_dip" and top not in sys.stdlib_module_names:
                yield top


# It reads the lists of files of all distributions.
installed = cache(packages_distributions)


def undeclared(modules: Iterable[str], requirements: Iterable[str]) -> set[str]:
    """Return the modules that no required distribution holds."""
    declared = {canonicalize_name(Requirement(r).name) for r in requirements}
    distributions = installed()
    return {
        module
        for module in modules
        if not declared
        & {canonicalize_name(name) for name in distributions.get(module, [module])}
    }


@pytest.fixture(scope="module")
def project(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def sources(root) -> dict[Path, ast.Module]:
    paths = (root / "src").rglob("*.py")
    return {path: ast.parse(path.read_text("utf-8")) for path in paths}


def test_everything_that_is_imported_is_declared(project, sources):
    modules = {m for tree in sources.values() for m in imported(ast.walk(tree))}
    extras = project["optional-dependencies"].values()
    assert {"dask", "numpy", "safetensors"} <= modules
    assert undeclared(modules, sum(extras, project["dependencies"])) == set()


def test_what_modules_import_when_loaded_needs_no_extra(project, sources):
    modules = {
        module
        for path, tree in sources.items()
        if "widgets" not in path.parts
        for module in imported(tree.body)
    }
    assert "numpy" in modules
    assert undeclared(modules, project["dependencies"]) == set()


def test_importing_the_package_loads_nothing_else():
    new = run_fresh(LIST_NEW_MODULES)
    foreign = [
        name for name in new if name.partition(".")[0] not in sys.stdlib_module_names
    ]
    assert foreign == ["napari_dip"]


def test_help_and_version_do_without_what_takes_long_to_load():
    said = [
        (["--help"], "super-resolve"),
        (["--version"], f"napari-dip {napari_dip.__version__}\n"),
        (["denoise", "--help"], "--noise"),
        (["batch", "denoise", "--help"], "--recursive"),
        (["psf", "microscope", "--help"], "--wavelength"),
    ]
    loaded = set(run_fresh(LIST_MODULES_OF_HELP.format(said=said)))
    assert "napari_dip.tasks.denoise" in loaded
    slow = {"torch", "qtpy", "napari", "skimage", "scipy.ndimage", "scipy.fft", "pint"}
    slow |= {"tifffile", "imagecodecs", "PIL", "zarr", "dask", "distributed"}
    slow |= {"napari_dip.io.files", "napari_dip.batch.run", "napari_dip.batch.file_run"}
    assert not slow & loaded


def test_rich_is_for_help_and_version_alone_and_pint_for_rare_units(tmp_path):
    plane = np.zeros((8, 8), np.uint8)
    header = Header("", plane.shape, plane.dtype, "YX", (0.2, 0.1), ("µm", "µm"))
    for name in ("a.png", "a.tif", "a.ome.tif"):
        files.write(tmp_path / name, plane)
    files.write(tmp_path / "scaled.tif", plane, Image(plane, header))
    files.write(tmp_path / "scaled.ome.tif", plane, Image(plane, header))
    paths = [str(path) for path in tmp_path.iterdir()]
    said = [(["info", path], "shape: 8, 8") for path in paths]
    loaded = set(run_fresh(LIST_MODULES_OF_HELP.format(said=said)))
    assert {"napari_dip.io.raster", "napari_dip.io.tiff_metadata"} <= loaded
    assert not {"rich", "pint"} & loaded


# As above; GNU OpenMP itself says what it has read of the variable.
SPINNING = """
import os
import numpy as np
{first}
import napari_dip
{call}
print("left:", os.environ.get("GOMP_SPINCOUNT"))
"""

# In place of torch, which takes seconds to load: says what OpenMP would read.
STAND_IN = """
import os
print("read:", os.environ.get("GOMP_SPINCOUNT"))
"""

LOAD = "from napari_dip.machine import load_torch; load_torch()"


def spin(first, call, given, path, check=True):
    return run_to_spin(SPINNING.format(first=first, call=call), given, path, check)


def run_to_spin(code, given, path, check=True):
    unset = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    plain = {name: value for name, value in os.environ.items() if name not in unset}
    found = os.pathsep.join([*map(str, path), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=check,
        env={**plain, "PYTHONPATH": found, "OMP_DISPLAY_ENV": "verbose", **given},
    )


@pytest.fixture
def stand_in(tmp_path):
    """Return a folder whose torch has nothing but OpenMP's variable."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(STAND_IN)
    return tmp_path


@pytest.fixture(scope="module")
def all_but_widgets():
    """Load torch and then all modules but the widgets in a process of their own."""
    return run_to_spin(IMPORT_ALL_BUT_WIDGETS, {}, [], check=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no GNU OpenMP")
def test_threads_that_we_load_first_spin_less(all_but_widgets):
    if "GOMP_SPINCOUNT" not in all_but_widgets.stderr:
        pytest.skip("torch has another OpenMP")
    assert "GOMP_SPINCOUNT = '20000'" in all_but_widgets.stderr
    assert all_but_widgets.stdout.splitlines()[0] == "left: None"


def test_threads_that_others_load_first_stay_as_they_are(stand_in):
    done = spin("import torch", LOAD, {}, [stand_in])
    assert done.stdout == "read: None\nleft: None\n"


@pytest.mark.parametrize(
    "call",
    [
        "napari_dip.denoise(np.eye(16), iterations=1, device='cpu')",
        "napari_dip.estimate('denoise', np.eye(16), device='cpu')",
        "next(napari_dip.iterate('enhance', np.eye(16), device='cpu'))",
        "napari_dip.sample_prior(shape=(16, 16), scales=2, device='cpu')",
        "napari_dip.noise_impedance(np.eye(16), iterations=1, device='cpu')",
    ],
)
def test_every_first_call_loads_torch_so_that_its_threads_spin_less(call, stand_in):
    done = spin("", call, {}, [stand_in], check=False)  # the stand-in computes nothing
    assert done.stdout == "read: 20000\n", done.stderr


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"GOMP_SPINCOUNT": "20000"}, "20000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "passive"}, None),
    ],
)
def test_what_the_user_has_set_for_threads_stays(given, read, stand_in):
    done = spin("", LOAD, given, [stand_in])
    assert done.stdout == f"read: {read}\nleft: {given.get('GOMP_SPINCOUNT')}\n"


def test_all_but_the_widgets_import_without_napari_and_qt(all_but_widgets):
    assert all_but_widgets.returncode == 0, all_but_widgets.stderr
    _, imported = all_but_widgets.stdout.splitlines()
    assert "napari_dip.tasks" in json.loads(imported)


@pytest.mark.parametrize("name", napari_dip._LAZY)
def test_lazy_name_is_what_its_module_defines(name):
    module = import_module(napari_dip._LAZY[name])
    assert getattr(napari_dip, name) is getattr(module, name)
    assert name in dir(napari_dip)


def test_the_tables_of_public_names_agree():
    for_type_checkers = {
        alias.name: node.module
        for block in ast.parse(inspect.getsource(napari_dip)).body
        if isinstance(block, ast.If)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_type_checkers == napari_dip._LAZY
    assert set(napari_dip.__all__) == {"__version__", *napari_dip._LAZY}


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        napari_dip.nonesuch  # noqa: B018
