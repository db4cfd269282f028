"""The dock widget that draws images from the untrained prior."""

from __future__ import annotations

from typing import ClassVar

from napari_dip.tasks.recipe import Recipe
from napari_dip.widgets.blank import BlankWidget
from napari_dip.widgets.inputs import ImageInput


class SamplePriorWidget(BlankWidget):
    """Draw what an untrained network makes of random numbers."""

    task = "sample_prior"
    arrays: ClassVar[dict[str, type[ImageInput]]] = {}
    meaningless = (
        *BlankWidget.meaningless,
        *("preset", "iterations", "extra_iterations", "restarts"),  # no fit
    )
    about = (
        "Nothing is restored here. A network with random weights is given random "
        "numbers, and what comes out is a new layer: the kind of structure that "
        "such networks prefer before they have seen any image, and so the prior "
        "that all restorations of this plugin rest on.\n\n"
        "Try one scale against five, and skip connections against none: many scales "
        "give large smooth shapes, few of them fine grain."
    )

    def title(self, recipe: Recipe) -> str:
        """Return what the result is to be called after."""
        return f"seed {recipe.seed}"
