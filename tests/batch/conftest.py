"""What the tests of batches share."""

import json

import numpy as np
import pytest

from napari_dip.batch.manifest import NAME
from napari_dip.io import files
from napari_dip.prior.architecture import Architecture
from napari_dip.tasks.finishing import Finish

SHORT = ("--iterations", "2", "--precision", "float32")


@pytest.fixture
def narrow(changed_presets):
    """Make every network a small one, and leave out what follows the fit."""
    changed_presets(
        architecture=Architecture.uniform(4, 2), coarse_iterations=0, finish=Finish()
    )


@pytest.fixture
def write():
    """Return a function that writes a small noisy image and returns it."""

    def make(path, seed=0, shape=(16, 20), dtype=np.float32):
        image = np.random.default_rng(seed).normal(100, 10, shape).astype(dtype)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, image, overwrite=True)
        return image

    return make


@pytest.fixture
def folder(tmp_path, write):
    """Return a folder of three images."""
    for number in range(3):
        write(tmp_path / "in" / f"{number}.tif", number)
    return tmp_path / "in"


def entries(output):
    """Return what the manifest in a folder says of every result."""
    return json.loads((output / NAME).read_text())["results"]
