"""The dock widget that restores an image with the help of another."""

from __future__ import annotations

from typing import ClassVar

from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.task import TaskWidget


class DenoiseGuidedWidget(TaskWidget):
    """Denoise an image with another one of the same scene as a guide."""

    task = "denoise_guided"
    arrays: ClassVar[dict[str, type[ImageInput]]] = {
        "image": ImageInput,
        "guide": ImageInput,
    }
    about = (
        "A network is given the guide and fitted to the noisy image: a flash photo "
        "guides the one without, a bright channel a dim one. The result has the "
        "intensities of the image and is a new layer.\n\n"
        "Both must show the same, pixel on pixel. Edges that only the guide has can "
        "show up in the result, and edges that the guide lacks are lost more easily. "
        "Compare the result with the image, not with the guide."
    )
