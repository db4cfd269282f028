"""A whole slide goes through a real task in bounded memory."""

import os
import subprocess
import sys

import numpy as np
import pytest

from napari_dip.io import files

zarr = pytest.importorskip("zarr")

SIDE = 20_000
CHUNK = 1024
TISSUE = (slice(9 * CHUNK, 12 * CHUNK), slice(7 * CHUNK, 11 * CHUNK))
"""Where the slide is not empty."""

PROGRAM = """
import resource, sys
from napari_dip import cli
code = cli.main()
print("KiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def tissue(rows, columns):
    """Return a part of the slide without noise."""
    y, x = np.mgrid[rows, columns]
    return 2000 + 800 * np.sin(x / 13) * np.cos(y / 11) * np.sin((x + y) / 57)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of the memory")
def test_a_slide_of_400_megapixels_takes_less_than_two_gibibytes(
    tmp_path, record_property
):
    """20,000 x 20,000 pixels of 16 bits, of which 12 megapixels are not empty."""
    source, target = tmp_path / "slide.zarr", tmp_path / "restored.ome.zarr"
    slide = zarr.create_array(
        source, shape=(SIDE, SIDE), chunks=(CHUNK, CHUNK), dtype=np.uint16
    )
    clean = tissue(*TISSUE)
    noisy = np.random.default_rng(0).normal(clean, 200)
    slide[TISSUE] = noisy.round().astype(np.uint16)
    command = ["denoise", source, "-o", target, "--iterations", "60", "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NAPARI_DIP_MAX_MEMORY": "2G"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, command)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    peak = int(done.stdout.split("KiB")[1])
    record_property("peak MiB", peak / 2**10)
    assert peak < 2 * 2**20
    image = files.open_image(target)
    assert image.data.shape == (SIDE, SIDE)
    assert (image.data[:CHUNK, :CHUNK] == 0).all()
    restored = image.data[TISSUE]
    assert np.std(restored - clean) < 0.4 * 200
    made = image.header.provenance
    assert made["inputs"]["image"]["shape"] == [SIDE, SIDE]
    assert made["planes"][0]["windows"] > 0
