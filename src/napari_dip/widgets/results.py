"""The layers that hold results."""

from __future__ import annotations

import dataclasses
import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Layer

from napari_dip.io.provenance import origin
from napari_dip.tasks.arrays import Index, Layout
from napari_dip.tasks.recipe import Recipe
from napari_dip.widgets.layers import (
    KEY,
    Crop,
    appearance,
    array_of,
    notes_of,
    pixel_at,
    point_at,
    whole,
)
from napari_dip.widgets.trajectory import Snapshot, position
from napari_dip.widgets.worker import Outcome

SEEN_THROUGH = ("additive", "minimum", "multiplicative")
"""Ways of blending that show an image together with those below it."""

BRIGHTER = ("deconvolve",)
"""Tasks whose results have much brighter pixels than the image."""


@dataclass(frozen=True)
class Work:
    """A run of a task, ready to start."""

    recipe: Recipe
    """The parameters of the task."""
    source: Image
    """The layer that is restored: the result looks like it."""
    crop: Crop
    """The part of the source's array that is restored."""
    arrays: dict[str, Callable[[], Any]]
    """A function for each array of the task that returns it.  The thread of the fit
    calls it."""
    layers: dict[str, Layer]
    """The layer of each array of the task."""
    part: str = ""
    """What part of the layer it is, in words; "" for all of it."""

    def with_parameters(self, values: dict[str, Any]) -> Work:
        """Return the same run with other values of some parameters."""
        return dataclasses.replace(
            self, recipe=dataclasses.replace(self.recipe, **values)
        )


def insert(layers: Any, below: Sequence[Layer], layer: Image) -> list[Layer]:
    """Add a layer above those it was made from, without changing the selection.

    What was made of them before stays below, where it does not hide the new layer.
    Where it would shine through, as channels do, it is hidden, and returned.
    """
    places = [i for i, other in enumerate(layers) if any(other is b for b in below)]
    place = max(places) + 1 if places else len(layers)
    while place < len(layers) and KEY in layers[place].metadata:
        place += 1
    hidden: list[Layer] = []
    source = notes_of(layer).get("source")
    clear = layer.blending in SEEN_THROUGH or layer.opacity < 1
    if source is not None and layer.visible and clear:
        hidden = [a for a in related(layers, source) if a.visible]
    before = set(layers.selection)
    layers.insert(place, layer)
    # napari selects new layers; the user may be working on another one.
    layers.selection = before
    for other in hidden:
        other.visible = False
    return hidden


def related(layers: Any, source: str) -> list[Layer]:
    """Return the layer of this name, and those that this plugin has made of it."""
    return [
        layer
        for layer in layers
        if source in (layer.name, notes_of(layer).get("source"))
    ]


class ResultLayer:
    """The layer that shows a fit while it runs and holds its result.

    The layer is added above its source when there is a first image to show.  It is
    always a new layer.  For the main thread only.
    """

    def __init__(self, layers: Any, work: Work) -> None:
        self.layers = layers
        self.source, self.recipe = work.source, work.recipe
        self.array = array_of(work.source)
        """What is restored, also when the layer gets other data."""
        self.part = work.part
        self.below = list(work.layers.values())
        self.layer: Image | None = None
        self.data: Any = None
        """The array of the layer, unless the user has given it another one."""
        self.hidden: list[Layer] = []
        """Layers that would shine through, and were visible."""
        self.image: Any = None
        """The result, as the fit returned it."""
        self.deviation: Any = None
        """Its standard deviation, of the same shape, where that is known."""
        self.resume: Callable[[int], Any] | None = None
        """Goes on with the fit, if that is possible; see `Fit.resume`."""
        self.others: dict[tuple[int, ...], tuple[Index, Snapshot | None]] = {}
        """Planes that do not show the result, by position: their index, and the earlier
        image that the user looks at, None for one of a fit that goes on."""
        self.pattern: Index | None = None
        """The index of some plane, which shows at which axes the planes are counted."""
        sides = self.array.shape
        ranges = [s.indices(n) for s, n in zip(work.crop, sides, strict=True)]
        self.crop = tuple(slice(start, stop) for start, stop, _ in ranges)
        self.shape = tuple(len(range(*r)) for r in ranges)
        self.not_begun: tuple[int, ...] = ()
        """Numbers of those that were not begun before the fit was stopped."""
        self.provenance: dict[str, Any] = {
            **origin(work.recipe),
            "run_id": uuid.uuid4().hex,
            "source": work.source.name,
            "layers": {name: layer.name for name, layer in work.layers.items()},
            "crop": [[start, stop] for start, stop, _ in ranges],
        }

    @property
    def name(self) -> str:
        """Name of the layer, as it is now or will be."""
        if self.layer is not None:
            return str(self.layer.name)
        part = f", {self.part}" if self.part else ""
        return f"{self.source.name} [DIP {self.recipe.task.replace('_', ' ')}{part}]"

    @property
    def shown(self) -> bool:
        """Whether the layer is in the viewer."""
        return any(layer is self.layer for layer in self.layers)

    @property
    def planes(self) -> int:
        """Number of planes."""
        return 1 if self.pattern is None else self.plane_of(self.pattern)[1]

    @property
    def plane_axes(self) -> tuple[int, int]:
        """The last two axes of a plane or volume."""
        axis, dims = self.recipe.channel_axis, self.recipe.spatial_dims
        layout = Layout.of(self.array, axis, dims, self.source.name, fewest_slices=1)
        first, last = layout.spatial_axes[-2:]
        return first, last

    def plane_of(self, index: Index) -> tuple[int, int]:
        """Return the number of a plane, from 0, and the number of planes."""
        pairs = [
            (i, side)
            for i, side in zip(index, self.shape, strict=False)
            if not isinstance(i, slice)
        ]
        if not pairs:
            return 0, 1
        place, sides = zip(*pairs, strict=True)
        return int(np.ravel_multi_index(place, sides)), math.prod(sides)

    def show(self, image: Any, index: Index) -> None:
        """Show one plane of the result as it is now."""
        self.pattern = index
        self.not_begun = ()
        if self.layer is None:
            self._insert(self._empty(image, index))
        assert self.layer is not None
        self._put(index, image)
        self.others[position(index)] = index, None
        self.layer.refresh()

    def finish(
        self,
        outcome: Outcome,
        ended_at: tuple[int, int] | None = None,
        ended_in: Index | None = None,
    ) -> None:
        """Show the result and store its provenance.

        Where the user has stopped the fit, see `Control` for when and in which plane.
        """
        fit = outcome.fit
        self.image, self.resume = fit.image, fit.resume
        self.deviation = fit.uncertainty
        self.not_begun = fit.not_begun
        if ended_in is not None:
            self.pattern = ended_in
        if self.layer is None:
            self._insert(outcome.shown)
        else:
            self.layer.data = self.data = outcome.shown
        if self.recipe.task in BRIGHTER:
            self._fit_contrast(outcome)
        self.others = {}
        self.provenance |= {
            "recipe": fit.settings["recipe"],
            "iterations": fit.iterations,
            "best_iteration": fit.best_iteration,
            "stopped_by": fit.stopped_by,
            "seconds": round(fit.seconds, 3),
            "planes": fit.settings.get("planes", []),
            "warnings": list(fit.warnings),
            "ended_at": None if ended_at is None else list(ended_at),
            "planes_not_begun": list(self.not_begun),
        }
        self._note()

    def _fit_contrast(self, outcome: Outcome) -> None:
        """Let the contrast limits reach the light that was gathered in few pixels."""
        assert self.layer is not None
        if self.layer.rgb:
            return
        low, high = self.layer.contrast_limits
        bottom, top = self.layer.contrast_limits_range
        self.layer.contrast_limits_range = bottom, max(top, outcome.brightest)
        self.layer.contrast_limits = low, max(high, outcome.bright)

    def bring_into_view(self, dims: Any) -> None:
        """Show the plane that was fitted last."""
        if self.layer is None or self.pattern is None:
            return
        point = [0 if isinstance(i, slice) else i for i in self.pattern]
        world = point_at(self.layer, point[: self.layer.ndim], dims.units)
        for axis, place in enumerate(self.pattern):
            if not isinstance(place, slice):
                dims.set_point(dims.ndim - self.layer.ndim + axis, world[axis])

    def put_back(self) -> None:
        """Show the result in place of any earlier image."""
        if self.layer is not None and self.image is not None:
            self._take_back()
            # Not all planes: a large stack takes seconds.
            for index, _ in self.others.values():
                self._put(index, self.image[index])
            self.others = {}
            self.layer.refresh()
            self._note()

    def look(self, index: Index, snapshot: Snapshot | None) -> None:
        """Show a snapshot of the fit in one plane; None stands for the result."""
        if self.layer is None or self.image is None:
            return
        self.others.pop(position(index), None)
        if snapshot is None:
            self._put(index, self.image[index])
        else:
            self._put(index, snapshot.image)
            self.others[position(index)] = index, snapshot
        self.layer.refresh()
        self._note()

    def moment_of(self, index: Index) -> tuple[int, int] | None:
        """Return fit and iteration of the snapshot in a plane, None for the result."""
        _, snapshot = self.others.get(position(index), (index, None))
        return None if snapshot is None else snapshot.moment

    def shown_index(self, dims: Any) -> Index | None:
        """Return the index of the plane in view, None while there is no layer."""
        if self.layer is None or self.pattern is None:
            return None
        point = pixel_at(self.layer, dims.point, dims.units)
        sides = self.data.shape
        return tuple(
            i if isinstance(i, slice) else int(np.clip(np.rint(x), 0, side - 1))
            for i, x, side in zip(self.pattern, [*point, 0], sides, strict=False)
        )

    def keep(self) -> Callable[[], Image]:
        """Show the result again, and return a function that copies what was shown.

        The function makes a layer.  A thread calls it: a copy of a large stack takes
        seconds.
        """
        assert self.layer is not None
        looked_at = [(i, s) for i, s in self.others.values() if s is not None]
        steps = sorted({snapshot.step for _, snapshot in looked_at})
        which = "chosen iterations"
        if len(steps) == 1:
            which = f"iteration {steps[0]}" if steps[0] > 0 else "preparing"
        name = f"{self.name}, {which if steps else 'kept'}"
        like, result, metadata = self.layer, self.image, {**self.layer.metadata}
        self.put_back()

        def copied() -> Image:
            data = result.copy()
            for index, snapshot in looked_at:
                data[index] = snapshot.image
            copy = new_layer(data, name, like, whole(like), metadata)
            # It would cover the result, in which the slider shows other images.
            copy.visible = False
            return copy

        return copied

    def remove(self) -> None:
        """Remove the layer, if it is in the viewer, and show what it has hidden."""
        if self.shown:
            self.layers.remove(self.layer)
        self.show_hidden()

    def show_hidden(self) -> None:
        """Show the layers again that the result would have been seen together with."""
        for layer in self.hidden:
            layer.visible = True
        self.hidden = []

    def _put(self, index: Index, image: Any) -> None:
        """Put an image into a plane of the layer.

        In place, because an assignment to the layer's `data` also computes the
        histogram.
        """
        self._take_back()
        self.data[index] = image

    def _take_back(self) -> None:
        """Give the layer its own array again, if the user has given it another one.

        That may have another shape, or belong to another layer.
        """
        assert self.layer is not None
        if self.layer.data is not self.data:
            self.layer.data = self.data

    def _note(self) -> None:
        """Store the provenance of what the layer shows in its metadata."""
        assert self.layer is not None
        kept = [
            {"plane": list(place), "part": snapshot.part, "step": snapshot.step}
            for place, (_, snapshot) in self.others.items()
            if snapshot is not None
        ]
        shown = self.provenance | ({"kept": kept} if kept else {})
        self.layer.metadata = {**self.layer.metadata, KEY: shown}

    def _empty(self, image: Any, index: Index) -> Any:
        """Return an array for the result in which every plane looks black."""
        shape = list(self.shape)
        sides = iter(image.shape)
        for axis, i in enumerate(index):
            if isinstance(i, slice):
                shape[axis] = next(sides)
        black = 0.0 if self.source.rgb else float(self.source.contrast_limits[0])
        if black >= 0:
            return np.zeros(shape, image.dtype)  # at once, however large
        return np.full(shape, black, image.dtype)

    def _insert(self, data: Any) -> None:
        metadata = {KEY: self.provenance}
        self.data = data
        self.layer = new_layer(data, self.name, self.source, self.crop, metadata)
        self.hidden = insert(self.layers, self.below, self.layer)


def new_layer(
    data: Any,
    name: str,
    like: Image,
    crop: Crop,
    metadata: dict[str, Any],
    **changes: Any,
) -> Image:
    """Return a layer that looks like another, of which it is a part.

    `changes` are keywords of `Image` in which it differs.
    """
    keywords = appearance(like, data.shape, crop) | changes
    layer = Image(data, name=name, metadata=metadata, multiscale=False, **keywords)
    if not like.rgb and "contrast_limits" not in changes:
        layer.contrast_limits_range = tuple(like.contrast_limits_range)
    return layer
