"""What a forecast counts."""

import numpy as np
import pytest

from napari_dip.prior.fit import run_to_end
from napari_dip.tasks import block, forecast
from napari_dip.tasks.run import get, run


@pytest.mark.usefixtures("narrow", "few_passes")
@pytest.mark.parametrize(
    ("name", "restarts", "count"),
    [("denoise", 3, 1), ("enhance", 1, 1), ("enhance", 3, 4)],
)
def test_a_forecast_counts_the_images_that_are_finished(
    name, restarts, count, monkeypatch
):
    done = []
    finished = block._finished
    monkeypatch.setattr(
        block, "_finished", lambda *given: done.append(1) or finished(*given)
    )
    image = np.random.default_rng(0).normal(50, 5, (32, 34)).astype(np.float32)
    task = get(name)
    recipe = task.recipe(
        restarts=restarts, iterations=2, device="cpu", precision="float32"
    )
    run_to_end(run(task, recipe, [image]))
    assert len(done) == count
    (fit,) = forecast._fits(task.make_job(recipe, image), recipe)
    assert fit.finishes == count
