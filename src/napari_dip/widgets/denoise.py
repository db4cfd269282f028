"""The dock widget that removes noise."""

from __future__ import annotations

from napari_dip.widgets.task import TaskWidget


class DenoiseWidget(TaskWidget):
    """Remove the noise from an image, without training data."""

    task = "denoise"
    about = (
        "A small network is fitted to this image alone and stopped before it "
        "learns the noise. The result is a new layer with the intensities, size "
        "and scale of the original, which stays as it is.\n\n"
        "Details as faint as the noise are removed with it, and sometimes a pattern "
        "in the noise is taken for structure. Compare with the original before you "
        "measure or count anything. A stack is restored plane by plane."
    )
