"""What the tests of the prior share."""

import pytest
import torch


@pytest.fixture
def random():
    """Return a generator of random numbers of torch."""
    return torch.Generator().manual_seed(0)
