"""The layers that results go into."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from napari.layers import Image, Layer

from napari_dip.io.provenance import origin
from napari_dip.tasks.recipe import Recipe
from napari_dip.widgets.layers import KEY, Crop, appearance, array_of, whole
from napari_dip.widgets.trajectory import Snapshot

Index = tuple[int | slice, ...]
"""Where a plane belongs in a result."""


def insert(layers: Any, below: Sequence[Layer], layer: Image) -> None:
    """Put a layer above those it was made from, leaving the selection as it is."""
    places = [i for i, other in enumerate(layers) if any(other is b for b in below)]
    place = max(places) + 1 if places else len(layers)
    before = set(layers.selection)
    layers.insert(place, layer)
    # napari selects what is new; the user is busy with something else.
    layers.selection = before


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
    crop : tuple of slice, optional
        Which part of the source's array; all of it where not given.
    inputs : mapping of str to Layer, optional
        For each array of the task its layer, where there are several.
    """

    def __init__(
        self,
        layers: Any,
        source: Image,
        recipe: Recipe,
        crop: Crop | None = None,
        inputs: Mapping[str, Layer] | None = None,
    ) -> None:
        self.layers = layers
        self.source = source
        self.recipe = recipe
        self.crop = whole(source) if crop is None else crop
        inputs = inputs or {"image": source}
        self.below = list(inputs.values())
        self.layer: Image | None = None
        self.image: Any = None
        """What the fit returned."""
        self.resume: Callable[[int], Any] | None = None
        """Goes on with the fit, where that is possible."""
        self.pattern: Index | None = None
        """An index of a plane: where its integers are."""
        sides = array_of(source).shape
        ranges = [s.indices(n) for s, n in zip(self.crop, sides, strict=True)]
        self.shape = tuple(len(range(*r)) for r in ranges)
        self.provenance: dict[str, Any] = {
            **origin(recipe),
            "run_id": uuid.uuid4().hex,
            "source": source.name,
            "layers": {name: layer.name for name, layer in inputs.items()},
            "crop": [[start, stop] for start, stop, _ in ranges],
        }

    @property
    def name(self) -> str:
        """Name of the layer, as it is now or will be."""
        if self.layer is not None:
            return str(self.layer.name)
        return f"{self.source.name} [DIP {self.recipe.task.replace('_', ' ')}]"

    @property
    def shown(self) -> bool:
        """Whether the layer is in the viewer."""
        return any(layer is self.layer for layer in self.layers)

    def show(self, image: Any, index: Index) -> None:
        """Show one plane of the result as it is now."""
        self.pattern = index
        if self.layer is None:
            self._insert(self._empty(image, index))
        assert self.layer is not None
        # In place: assigning `data` computes the histogram and more every time.
        self.layer.data[index] = image
        self.layer.refresh()

    def finish(self, fit: Any, ended_at: tuple[int, int] | None = None) -> None:
        """Show the result and say how it was made.

        Parameters
        ----------
        fit : Fit
            What the fit returned.
        ended_at : tuple of int, optional
            Part and step at which the user stopped it.
        """
        self.image, self.resume = fit.image, fit.resume
        if self.layer is None:
            self._insert(fit.image.copy())
        else:
            self.layer.data = fit.image.copy()
        self.provenance |= {
            "recipe": fit.settings["recipe"],
            "iterations": fit.iterations,
            "best_iteration": fit.best_iteration,
            "stopped_by": fit.stopped_by,
            "seconds": round(fit.seconds, 3),
            "planes": fit.settings.get("planes", []),
            "warnings": list(fit.warnings),
            "ended_at": None if ended_at is None else list(ended_at),
        }
        self._note({})

    def put_back(self) -> None:
        """Show the result as it is, whatever was looked at."""
        if self.layer is not None and self.image is not None:
            self.layer.data = self.image.copy()
            self._note({})

    def look(self, index: Index, snapshot: Snapshot | None) -> None:
        """Show another moment of the fit in one plane; None is the result itself."""
        if self.layer is None or self.image is None:
            return
        position = [i for i in index if not isinstance(i, slice)]
        kept = [
            k
            for k in self.layer.metadata[KEY].get("kept", [])
            if k["plane"] != position
        ]
        if snapshot is None:
            self.layer.data[index] = self.image[index]
        else:
            self.layer.data[index] = snapshot.image
            moment = {"part": snapshot.part, "step": snapshot.step}
            kept.append({"plane": position, **moment})
        self.layer.refresh()
        self._note({"kept": kept} if kept else {})

    def moment_of(self, index: Index) -> tuple[int, int] | None:
        """Return part and step that a plane shows, None for the result itself."""
        if self.layer is None:
            return None
        place = [i for i in index if not isinstance(i, slice)]
        for kept in self.layer.metadata[KEY].get("kept", []):
            if kept["plane"] == place:
                return kept["part"], kept["step"]
        return None

    def shown_index(self, dims: Any) -> Index | None:
        """Return the index of the plane that the viewer shows, None without one."""
        if self.layer is None or self.pattern is None:
            return None
        if all(isinstance(i, slice) for i in self.pattern):
            return self.pattern
        point = self.layer.world_to_data(dims.point)
        sides = self.layer.data.shape
        return tuple(
            i if isinstance(i, slice) else int(np.clip(np.rint(x), 0, side - 1))
            for i, x, side in zip(self.pattern, [*point, 0], sides, strict=False)
        )

    def keep(self) -> Image:
        """Return a copy of the layer as it looks now, and put the result back."""
        assert self.layer is not None
        steps = sorted({k["step"] for k in self.layer.metadata[KEY].get("kept", [])})
        which = f"iteration {steps[0]}" if len(steps) == 1 else "chosen iterations"
        copy = self._made(
            self.layer.data.copy(),
            f"{self.name}, {which}" if steps else f"{self.name}, kept",
        )
        copy.metadata = {**self.layer.metadata}
        insert(self.layers, [self.layer], copy)
        self.put_back()
        return copy

    def remove(self) -> None:
        """Take the layer out of the viewer, if it is there."""
        if self.shown:
            self.layers.remove(self.layer)

    def _note(self, more: dict[str, Any]) -> None:
        """Write into the layer how what it shows was made."""
        assert self.layer is not None
        self.layer.metadata = {**self.layer.metadata, KEY: self.provenance | more}

    def _empty(self, image: Any, index: Index) -> Any:
        """Return a result without its planes yet, which look black."""
        shape = list(self.shape)
        sides = iter(image.shape)
        for axis, i in enumerate(index):
            if isinstance(i, slice):
                shape[axis] = next(sides)
        black = 0.0
        if not self.source.rgb:
            black = float(self.source.contrast_limits[0])
        return np.full(shape, black, image.dtype)

    def _made(self, data: Any, name: str) -> Image:
        keywords = appearance(self.source, data.shape, self.crop)
        layer = Image(data, name=name, multiscale=False, **keywords)
        if not self.source.rgb:
            layer.contrast_limits_range = tuple(self.source.contrast_limits_range)
        return layer

    def _insert(self, data: Any) -> None:
        self.layer = self._made(data, self.name)
        self.layer.metadata = {KEY: self.provenance}
        insert(self.layers, self.below, self.layer)
