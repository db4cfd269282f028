"""The dock widget that shows what a unit of a network responds to."""

from __future__ import annotations

from typing import ClassVar

from napari_dip.tasks.maximize_activation import MaximizeRecipe
from napari_dip.tasks.recipe import Recipe
from napari_dip.widgets.blank import BlankWidget
from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.models import ModelInput


class MaximizeActivationWidget(BlankWidget):
    """Make an image that excites one unit of a network of yours."""

    task = "maximize_activation"
    arrays: ClassVar[dict[str, type[ImageInput]]] = {"model": ModelInput}
    about = (
        "Looks inside a PyTorch model of yours, which is not changed: an image is "
        "fitted that makes one class, or one map of a layer, respond as strongly as "
        "it can. In the console, offer(net=net) from napari_dip.widgets.models makes "
        "a model known by its name.\n\n"
        "Mean, std and size must be those that the model was trained with. The image "
        "is a caricature of what the unit reacts to, not an example of its class; "
        "another seed gives another one."
    )

    def title(self, recipe: Recipe) -> str:
        """Return what the result is to be called after."""
        assert isinstance(recipe, MaximizeRecipe)
        return f"{recipe.layer} {recipe.unit}"
