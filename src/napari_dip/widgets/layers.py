"""Between napari's layers and the tasks: arrays out of layers, results into layers."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import numpy as np
from napari.layers import Image, Layer

from napari_dip import __version__
from napari_dip.tasks.recipe import Recipe

KEY = "napari-dip"
"""Of our entry in a layer's metadata."""

_KEPT = (
    "scale",
    "translate",
    "rotate",
    "shear",
    "affine",
    "units",
    "axis_labels",
    "blending",
    "opacity",
    "gamma",
    "colormap",
    "interpolation2d",
    "interpolation3d",
    "rendering",
    "depiction",
    "rgb",
)


def array_of(layer: Layer) -> Any:
    """Return a layer's data at full resolution; dask and zarr arrays stay lazy."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def adapted(recipe: Recipe, layer: Layer) -> Recipe:
    """Return the recipe with what the layer knows better than the array.

    A layer says whether its last axis is colour, so "auto" need not guess.  And
    napari can show colours only as integers or as floats from 0 to 1: a result
    in the units of an integer image has to have its type.
    """
    changes: dict[str, Any] = {}
    rgb = bool(getattr(layer, "rgb", False))
    if recipe.channel_axis == "auto":
        changes["channel_axis"] = -1 if rgb else None
    if rgb and np.dtype(array_of(layer).dtype).kind in "ui":
        changes["dtype"] = "input"
    return dataclasses.replace(recipe, **changes)


def appearance(source: Image) -> dict[str, Any]:
    """Return the keywords of `Image` that place and show a result like its source."""
    _, state, _ = source.as_layer_data_tuple()
    keywords = {key: state[key] for key in _KEPT if key in state}
    if not source.rgb:
        keywords["contrast_limits"] = tuple(source.contrast_limits)
    return keywords


class ResultLayer:
    """The layer that shows a fit while it runs and holds its result.

    Made when there is a first image to show, above its source; never an existing
    layer, whatever its name.  For the main thread only.

    Parameters
    ----------
    layers : napari.components.LayerList
        Where it goes.
    source : Image
        The layer that is restored.
    recipe : Recipe
        How.
    """

    def __init__(self, layers: Any, source: Image, recipe: Recipe) -> None:
        self.layers = layers
        self.source = source
        self.layer: Image | None = None
        self.keywords = appearance(source)
        self.limits = None if source.rgb else tuple(source.contrast_limits_range)
        self.shape = tuple(array_of(source).shape)
        self.provenance = {
            "run_id": uuid.uuid4().hex,
            "task": recipe.task,
            "recipe": recipe.to_dict(),
            "version": __version__,
            "source": source.name,
        }

    @property
    def shown(self) -> bool:
        """Whether the layer is in the viewer."""
        return any(layer is self.layer for layer in self.layers)

    def show(self, image: Any, index: tuple[int | slice, ...]) -> None:
        """Show one plane of the result as it is now."""
        if self.layer is None:
            self._insert(self._empty(image, index))
        assert self.layer is not None
        # In place: assigning `data` computes the histogram and more every time.
        self.layer.data[index] = image
        self.layer.refresh()

    def finish(self, fit: Any) -> None:
        """Show the result and say how it was made."""
        if self.layer is None:
            self._insert(fit.image)
        else:
            self.layer.data = fit.image
        assert self.layer is not None
        self.provenance |= {
            "iterations": fit.iterations,
            "best_iteration": fit.best_iteration,
            "stopped_by": fit.stopped_by,
            "seconds": fit.seconds,
            "settings": fit.settings,
            "warnings": list(fit.warnings),
        }
        self.layer.metadata = {**self.layer.metadata, KEY: self.provenance}

    def remove(self) -> None:
        """Take the layer out of the viewer, if it is there."""
        if self.shown:
            self.layers.remove(self.layer)

    def _empty(self, image: Any, index: tuple[int | slice, ...]) -> Any:
        """Return a result without its planes yet, which look black."""
        shape = list(self.shape)
        sides = iter(image.shape)
        for axis, i in enumerate(index):
            if isinstance(i, slice):
                shape[axis] = next(sides)
        black = self.keywords.get("contrast_limits", (0,))[0]
        return np.full(shape, black, image.dtype)

    def _insert(self, data: Any) -> None:
        layer = self.layer = Image(
            data,
            name=f"{self.source.name} [DIP {self.provenance['task']}]",
            metadata={KEY: self.provenance},
            multiscale=False,
            **self.keywords,
        )
        if self.limits is not None:
            layer.contrast_limits_range = self.limits
        names = [other is self.source for other in self.layers]
        place = names.index(True) + 1 if True in names else len(names)
        before = set(self.layers.selection)
        self.layers.insert(place, layer)
        # napari selects what is new; the user is busy with something else.
        self.layers.selection = before
