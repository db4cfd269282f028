"""The dock widget that removes artefacts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from napari.layers import Image

from napari_dip.errors import FileError
from napari_dip.io import files
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.remove_artifacts import RemoveArtifactsRecipe
from napari_dip.widgets.layers import array_of
from napari_dip.widgets.quality import QUICK, QUICK_ITERATIONS
from napari_dip.widgets.readers import JPEG_KEY
from napari_dip.widgets.task import TaskWidget

QUICK_WITH_TABLES = 70
"""Iterations of a quick look where the tables of the file are known."""


class RemoveArtifactsWidget(TaskWidget):
    """Remove JPEG blocks, halos and other artefacts, without training data."""

    task = "remove_artifacts"
    about = (
        "A network that learns natural structure before it learns blocks and halos "
        "is fitted to this image alone, for a number of iterations. The result is a "
        "new layer with the intensities, size and scale of the original. For a layer "
        "opened from a JPEG file, what the file says about its compression is filled "
        "in under Advanced, and the result is an image that compresses to that file. "
        "For other layers it is looked for in the pixels."
        "\n\n"
        "The fit cannot know what is an artefact: it removes fine texture, too. Move "
        "through the fit with the slider, keep the image you trust, and look for "
        "edges in the residual."
    )

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.inputs["image"].combo.changed.connect(self._take_tables)
        self._take_tables()

    def _take_tables(self, _: Any = None) -> None:
        """Fill in the quantisation tables of the layer's file, if it is a JPEG."""
        tables = None if self.source is None else quantization_of(self.source)
        self.fields.fields["quantization"].value = tables

    def _changed(self, _: Any = None) -> None:
        """Give a quick look the iterations that it needs with or without tables."""
        quick = self.quality.choices[QUICK]
        iterations = quick_iterations(self.fields.fields["quantization"].value)
        if quick["iterations"] != iterations:
            chosen = self.quality.show_choice(self.fields.values())
            quick["iterations"] = iterations
            if chosen == QUICK:
                self._take_quality(QUICK)
        super()._changed()

    def for_part(self, recipe: Recipe) -> Recipe:
        """Return the recipe without the file's tables: its blocks begin elsewhere."""
        assert isinstance(recipe, RemoveArtifactsRecipe)
        iterations = recipe.iterations
        if iterations == quick_iterations(recipe.quantization):
            iterations = quick_iterations(None)
        return dataclasses.replace(recipe, quantization=None, iterations=iterations)


def quick_iterations(quantization: Any) -> int:
    """Return the iterations of a quick look with tables, or without any."""
    return QUICK_WITH_TABLES if quantization else QUICK_ITERATIONS["remove_artifacts"]


def quantization_of(layer: Image) -> tuple[int, ...] | None:
    """Return the quantisation tables of a layer's file, None if it has none.

    This plugin's reader stores them in the layer.  For layers of other readers they
    are read from the file, unless the layer is not the whole image of its file.
    """
    tables = layer.metadata.get(JPEG_KEY)
    path = Path(layer.source.path or "")
    if tables is None and path.suffix.lower() in (".jpg", ".jpeg") and path.is_file():
        try:
            header = files.read_header(path)
        except FileError:
            return None  # another format under this name, or changed meanwhile
        if tuple(array_of(layer).shape) == header.shape:
            tables = header.jpeg
    if tables is None:
        return None
    return tuple(step for table in tables.tables for step in table)
