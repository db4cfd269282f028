"""The dock widget that shows what a unit of a network responds to."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
from napari.layers import Image

from napari_dip.errors import InputError
from napari_dip.tasks.recipe import Recipe
from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.models import ModelInput
from napari_dip.widgets.task import TaskWidget

MEANINGLESS = ("channel_axis", "dtype", "share", "tile")
"""Parameters of the input image, which this task does not have, or of a large one."""


class MaximizeActivationWidget(TaskWidget):
    """Make an image that excites one unit of your network."""

    task = "maximize_activation"
    arrays: ClassVar[dict[str, type[ImageInput]]] = {"model": ModelInput}
    takes_away = False
    in_parts = False
    about = (
        "Looks inside a PyTorch model of yours, which is not changed: an image is "
        "fitted that makes one class, or one map of a layer, respond as strongly as "
        "it can. In the console, offer(net=net) from napari_dip.widgets.models makes "
        "a model known by its name.\n\n"
        "Mean, std and size must be those that the model was trained with. The image "
        "is a caricature of what the unit reacts to, not an example of its class; "
        "another seed gives another one."
    )

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.compare_section.hide()
        for name in MEANINGLESS:
            self.fields.show_row(name, False)

    @property
    def source(self) -> Image:
        """A layer that is not shown: it gives the result its size, name and colours."""
        try:
            recipe = self.fields.recipe()
        except InputError:  # Run shows it
            recipe = self.fields.kind()
        channels = recipe.channels
        shape = recipe.shape if channels == 1 else (*recipe.shape, channels)
        empty = np.broadcast_to(np.float32(0), shape)
        rgb = channels in (3, 4)
        limits = {} if rgb else {"contrast_limits": (0, 1)}
        return Image(empty, name=f"{recipe.layer} {recipe.unit}", rgb=rgb, **limits)

    def recipe(self) -> Recipe:
        """Return what is filled in, with float32: no input has a type to keep."""
        return dataclasses.replace(self.fields.recipe(), dtype="float32")
