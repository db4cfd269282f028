"""The dock widget that shows what a layer of a network still knows of an image."""

from __future__ import annotations

from typing import ClassVar

from napari_dip.errors import InputError
from napari_dip.widgets.controller import Work
from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.layers import Crop
from napari_dip.widgets.models import ModelInput, no_functions
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

    def work(self, crop: Crop | None = None) -> Work:
        """Return what Run would do now; see `TaskWidget.work`."""
        source = self.source
        if source is None:
            raise InputError("There is no image layer: open or add one first.")
        recipe = self.recipe()
        crop = self.crop(recipe) if crop is None else crop
        arrays = {n: g.array(source, crop) for n, g in self.inputs.items()}
        return Work(
            recipe, source, crop, arrays | no_functions(self.task), {"image": source}
        )
