"""What all tests share."""

import os
from pathlib import Path

# One thread, set before torch is first imported: threads that wait in a spin make
# small fits many times slower on a busy machine, and results depend on their number.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top folder of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data(root: Path) -> Path:
    """Return the folder of benchmark images beside the checkout, or skip the test."""
    folder = root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no benchmark images beside the checkout (../shared/data)")
    return folder
