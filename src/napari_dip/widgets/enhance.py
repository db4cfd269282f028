"""The dock widget that brings out detail."""

from __future__ import annotations

from napari_dip.widgets.task import TaskWidget


class EnhanceWidget(TaskWidget):
    """Bring out the detail of an image, without training data."""

    task = "enhance"
    takes_away = False
    simple = ("amount",)
    ends = ("stronger", "weaker")
    about = (
        "A network is fitted for a short while, until it has the large shapes of "
        "this image but not its detail. The difference, which is the detail, is "
        "added to the image once more.\n\n"
        "The result is for viewing: intensities change, and noise gets stronger as "
        "well, so denoise first. Do not measure in the result."
    )
