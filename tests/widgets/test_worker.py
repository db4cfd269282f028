"""How many threads a fit in the viewer takes."""

import pytest

from napari_dip.prior.threads import threads_here
from napari_dip.widgets import worker


@pytest.mark.parametrize(
    ("own", "processors", "expected"),
    [(1, 8, 1), (4, 8, 4), (8, 8, 7), (2, 2, 2), (3, 3, 2), (1, 1, 1), (4, None, 2)],
)
def test_a_fit_leaves_a_processor_to_the_interface(
    own, processors, expected, monkeypatch
):
    monkeypatch.setattr(threads_here, "count", lambda: own)
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert worker.threads() == expected
