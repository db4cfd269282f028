"""What type checkers and editors see of the task functions."""

import ast
import dataclasses
import importlib.util
import inspect
import os
import re

import pytest
from mypy import api

import napari_dip
from napari_dip import bead_psf, microscope_psf, sample_prior
from napari_dip.tasks.bead_psf import BeadParameters
from napari_dip.tasks.microscope_psf import MicroscopeParameters
from napari_dip.tasks.run import TASKS
from napari_dip.tasks.sample_prior import SampleParameters

# Lines that end in a comment are wrong; the comment is what mypy calls the mistake.
USER = """
from typing import Any, assert_type

import numpy as np
from napari_dip import deconvolve, denoise, estimate, inpaint, iterate, noise_impedance
from napari_dip import maximize_activation, restore, sample_prior, super_resolve
from napari_dip.prior.problem import Fit, Fitting
from napari_dip.prior.runtime import Estimate
from napari_dip.tasks.denoise import denoise as of_the_module
from numpy.typing import NDArray

image = np.zeros((32, 32))
whole: bool = image.size > 9

assert_type(denoise(image), NDArray[Any])
assert_type(denoise(image, full_output=True), Fit)
assert_type(denoise(image, full_output=whole), NDArray[Any] | Fit)
assert_type(of_the_module(image.tolist(), iterations=20), NDArray[Any])
assert_type(of_the_module(image=image, iterations="auto", full_output=True), Fit)
assert_type(iterate("denoise", image, seed=3), Fitting)
assert_type(estimate("super_resolve", image, factor=2), Estimate)
assert_type(sample_prior((64, 64), scales=3), NDArray[np.float32])
super_resolve(image, 2, operator="box")
inpaint(image, image > 0, scales=[1, 2], callback=lambda it: it.step > 9)
deconvolve(image, image, background=None)
restore([image, image], [lambda x: x, lambda x: -x], value_range=(0, 1))
maximize_activation("package:make", "2", 4, preprocess=lambda x: x)
noise_impedance(image, callback=lambda kind, it: it.loss < 0.1).plot()

denoise()  # call-overload
denoise(image, image)  # call-overload
denoise(image, sigmas=3)  # call-overload
denoise(image, noise="salt")  # call-overload
denoise(image, seed="3")  # call-overload
of_the_module(image, preset="slow")  # call-overload
super_resolve(image, "2")  # call-overload
restore(image, 3)  # call-overload
iterate("denoisse", image)  # arg-type
sample_prior(architecture="gan")  # arg-type
sample_prior(preset="fast")  # call-arg
denoise(image, full_output=True).shape  # attr-defined
"""

# What no signature needs is left out: reading it takes longer than all the rest.
SKIPPED = (
    "torch scipy skimage PIL rich tifffile pywt dask zarr yaozarrs pint pydantic "
    "pydantic_core imagecodecs"
)

CONFIG = """
[mypy]
strict = true
mypy_path = {source}
[mypy-{skipped}]
follow_imports = skip
follow_imports_for_stubs = true
"""


@pytest.fixture(scope="module")
def script(root):
    """Return the module that writes the stub."""
    path = root / "scripts" / "write_stubs.py"
    spec = importlib.util.spec_from_file_location("write_stubs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stub_is_that_of_the_recipes(script):
    kept = ast.dump(ast.parse(script.STUB.read_text("utf-8")))
    assert kept == ast.dump(ast.parse(script.stub())), (
        "the recipes have changed; python scripts/write_stubs.py rewrites the stub"
    )


def test_every_task_is_in_the_stub(script):
    defined = {
        node.name
        for node in ast.parse(script.STUB.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert defined == set(TASKS)
    assert defined <= set(napari_dip.__all__)


def test_mypy_refuses_wrong_calls_and_no_others(tmp_path, root):
    user, config = tmp_path / "user.py", tmp_path / "mypy.ini"
    # What the site documents can be imported from where it says.
    pages = "".join(
        page.read_text("utf-8") for page in (root / "docs" / "api").glob("*.md")
    )
    documented = re.findall(r"^::: ([\w.]+)\.(\w+)$", pages, re.M)
    imports = [f"from {module} import {name}\n" for module, name in documented]
    assert "from napari_dip.baselines import nlm\n" in imports
    user.write_text(USER + "".join(imports))
    skipped = ",".join(f"{name}.*" for name in SKIPPED.split())
    config.write_text(CONFIG.format(source=root / "src", skipped=skipped))
    options = ["--config-file", str(config), "--cache-dir", os.devnull, "--no-pretty"]
    out, err, _ = api.run([*options, str(user)])
    assert err == ""
    refused = re.findall(r"^.*user\.py:(\d+): error: .*\[([\w-]+)\]$", out, re.M)
    wrong = {
        (str(number), line.partition("  # ")[2])
        for number, line in enumerate(USER.splitlines(), start=1)
        if "  # " in line
    }
    assert set(refused) == wrong, out


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (sample_prior, SampleParameters),
        (bead_psf, BeadParameters),
        (microscope_psf, MicroscopeParameters),
    ],
)
def test_what_is_written_out_is_what_is_checked(function, parameters):
    """Signature and parameters of a function without a recipe say the same."""
    written = dict(inspect.signature(function).parameters)
    written.pop("image", None)
    fields = {f.name: f for f in dataclasses.fields(parameters)}
    assert list(written) == list(fields)
    for p in parameters.parameters():
        needed = p.name in parameters.required
        default = inspect.Parameter.empty if needed else p.default
        assert written[p.name].default == default
        assert p.help
        # Any sequence becomes a tuple.
        kind = written[p.name].annotation.replace("Sequence[int]", "tuple[int, ...]")
        assert kind == fields[p.name].type
