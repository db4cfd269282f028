"""The dock widget that shows what a layer of a network still knows of an image."""

from __future__ import annotations

from typing import ClassVar

from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.models import ModelInput
from napari_dip.widgets.task import TaskWidget


class InvertFeaturesWidget(TaskWidget):
    """Find an image that a layer of your network cannot tell from this one."""

    task = "invert_features"
    arrays: ClassVar[dict[str, type[ImageInput]]] = {
        "image": ImageInput,
        "model": ModelInput,
    }
    takes_away = False
    in_parts = False
    about = (
        "Looks inside a PyTorch model of yours, which is not changed: another image "
        "is fitted until the chosen layer responds to it as to this one. What the "
        "two share is what the layer still knows. In the console, offer(net=net) "
        "from napari_dip.widgets.models makes a model known by its name.\n\n"
        "Mean, std and size must be those that the model was trained with. What the "
        "layer does not know is made up by the prior: do not take it for the image."
    )
