"""Comparison of a result with its input, and with classical methods."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from magicgui.widgets import ComboBox
from napari.layers import Image, Layer
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from qtpy.QtWidgets import QWidget

from napari_dip import baselines
from napari_dip.errors import DipError, InputError
from napari_dip.io import provenance
from napari_dip.tasks.arrays import Index, cast
from napari_dip.tasks.task import NO_UNCERTAINTY
from napari_dip.widgets import residual
from napari_dip.widgets.controller import RunController
from napari_dip.widgets.deletion import connect
from napari_dip.widgets.fields import label_of
from napari_dip.widgets.inputs import read
from napari_dip.widgets.layers import KEY, array_of, whole
from napari_dip.widgets.parts import Text, button, fill, side_by_side
from napari_dip.widgets.results import ResultLayer, Work, insert, new_layer, related

_log = logging.getLogger(__name__)

UNCERTAINTY = (
    "Add the standard deviation of every pixel as a layer, in the units of the image: "
    "how far the result may be from the truth."
)

PLAIN: dict[str, Any] = {"blending": "translucent", "opacity": 1, "gamma": 1}
"""Keywords of a layer that is shown as it is, however the image is shown."""


class Comparison(QWidget):
    """Buttons to judge a result.

    `work` returns what Run would do now; the classical methods, by their names, do the
    same.  `residual_makes_sense` is whether input minus result is what the task
    removed.
    """

    def __init__(
        self,
        controller: RunController,
        work: Callable[[], Work],
        methods: tuple[str, ...],
        residual_makes_sense: bool,
    ) -> None:
        super().__init__()
        self.controller, self.work = controller, work
        self.before: tuple[ResultLayer, list[tuple[Layer, bool]]] | None = None
        """The result in whose place the original is shown, and which layers were
        visible before."""
        self.before_button = button(
            "Show the original",
            "Show the original layer in place of the result. Press again to go back.",
        )
        self.before_button.setCheckable(True)
        self.residual_button = button(
            "Residual",
            "Add input minus result as a layer, and say whether it looks like noise. "
            "Edges and shapes in this layer were removed from the image.",
        )
        self.residual_button.setVisible(residual_makes_sense)
        self.uncertainty_button = button("Uncertainty", UNCERTAINTY)
        self.reading = Text()
        self.methods = ComboBox(choices=[(label_of(m), m) for m in methods])
        self.methods.native.setToolTip("<qt>A classical method for this task.</qt>")
        self.classic_button = button(
            "Run classical method",
            "Run a well-known method without a network on the same layer.",
        )
        added = side_by_side(self.residual_button, self.uncertainty_button)
        classic = self.methods.native, self.classic_button
        fill(self, self.before_button, added, self.reading, *classic)

        self.before_button.toggled.connect(self._toggle)
        self.residual_button.clicked.connect(self._residual)
        self.uncertainty_button.clicked.connect(self._uncertainty)
        self.classic_button.clicked.connect(self._classic)
        controller.result_changed.connect(self.refresh)
        connect(self, controller.viewer.layers.events.removed, self.refresh)
        self.methods.native.setVisible(len(methods) > 1)
        self.classic_button.setVisible(bool(methods))
        if len(methods) == 1:
            self.classic_button.setText(f"Run {label_of(methods[0]).lower()}")
        self.refresh()

    def refresh(self, event: Any = None) -> None:
        """Enable the buttons that make sense for the result."""
        last = self.controller.last
        original = last is not None and last.source in self.controller.viewer.layers
        if self.before is not None and (self.before[0] is not last or not original):
            self.before_button.setChecked(False)  # shows the same layers as before
        self.before_button.setEnabled(original)
        self.residual_button.setEnabled(last is not None)
        known = last is not None and last.deviation is not None
        self.uncertainty_button.setEnabled(known)
        tip = UNCERTAINTY if known or last is None else f"The {NO_UNCERTAINTY}."
        self.uncertainty_button.setToolTip(f"<qt>{tip}</qt>")
        if last is None:
            self.reading.hide()

    def _toggle(self, checked: bool) -> None:
        last = self.controller.last
        if checked and last is not None and last.layer is not None:
            results = related(self.controller.viewer.layers, last.provenance["source"])
            # A PSF or a guide may lie over the original, too.
            others = [a for a in last.below if isinstance(a, Image)]
            hidden = [
                a for a in (last.layer, *results, *others) if a is not last.source
            ]
            self.before = last, [(a, a.visible) for a in (*hidden, last.source)]
            for layer in hidden:
                layer.visible = False
            last.source.visible = True
        elif self.before is not None:
            _, visible = self.before
            self.before = None
            for layer, shown in visible:
                layer.visible = shown

    def _residual(self) -> None:
        last = self.controller.last
        if last is None or last.layer is None:
            return
        if tuple(last.layer.data.shape) != last.shape:
            self.reading.say("The result has another size than its input: no residual.")
            return
        image = last.layer.data
        index = last.shown_index(self.controller.viewer.dims) or (slice(None),)
        axes, rgb = last.plane_axes, last.layer.rgb
        self._in_thread(
            lambda: _residual_of(last.array, last.crop, image, index, axes, rgb),
            lambda values: self._show_residual(last, index, *values),
        )

    def _show_residual(
        self,
        result: ResultLayer,
        index: Index,
        difference: Any,
        structure: float,
        limit: float,
    ) -> None:
        assert result.layer is not None
        pixels = math.prod(difference.shape[axis] for axis in result.plane_axes)
        plane, planes = result.plane_of(index)
        # Planes may be of unlike noise: the reading is of the one in view.
        which = f"Plane {plane + 1} of {planes}. " if planes > 1 else ""
        if plane in result.not_begun:
            self.reading.say(f"{which}It was not fitted: there is no residual.")
        else:
            self.reading.say(which + residual.verdict(structure, pixels))
        changes = dict(PLAIN)
        if not result.layer.rgb:
            changes |= {"contrast_limits": (-limit, limit), "colormap": "gray"}
        about = result.provenance | {"shows": "input minus result"}
        self._insert(result, "residual", difference, about, changes)

    def _uncertainty(self) -> None:
        last = self.controller.last
        if last is None or last.layer is None or last.deviation is None:
            return
        deviation, rgb = last.deviation, last.layer.rgb
        self._in_thread(
            lambda: _map_of(deviation, rgb),
            lambda values: self._show_uncertainty(last, *values),
        )

    def _show_uncertainty(
        self, result: ResultLayer, deviation: Any, limits: tuple[float, float]
    ) -> None:
        changes = PLAIN | {"rgb": False, "colormap": "magma", "contrast_limits": None}
        about = provenance.of_uncertainty(result.provenance)
        layer = self._insert(result, "uncertainty", deviation, about, changes)
        # Set later, so that the slider offers all values.
        layer.contrast_limits = limits

    def _insert(
        self,
        result: ResultLayer,
        what: str,
        data: Any,
        about: dict[str, Any],
        changes: dict[str, Any],
    ) -> Image:
        """Add a layer above that of a result, which it looks like but for changes."""
        like = result.layer
        assert like is not None
        name, metadata = f"{result.name}, {what}", {KEY: about}
        layer = new_layer(data, name, like, whole(like), metadata, **changes)
        insert(self.controller.viewer.layers, [like], layer)
        return layer

    def _classic(self) -> None:
        try:
            work = self.work()
        except InputError as error:
            self.reading.say(str(error))
            return
        name, task = self.methods.value, work.recipe.task
        values = work.recipe.to_dict()
        values.pop("task")
        self.classic_button.setEnabled(False)
        kind = None
        if work.recipe.dtype == "input":
            kind = np.dtype(array_of(work.source).dtype)

        def restored() -> Any:
            arrays = [array() for array in work.arrays.values()]
            image = baselines.run(task, name, values, *arrays)
            return image if kind is None else cast(image, kind)

        self._in_thread(
            restored,
            lambda image: self._show_classic(work, name, image),
            self._offer_classic,
        )

    def _show_classic(self, work: Work, name: str, image: Any) -> None:
        about = {
            "software": "napari-dip",
            "baseline": name,
            "task": work.recipe.task,
            "source": work.source.name,
        }
        title = f"{work.source.name} [{name.replace('_', ' ')}]"
        layer = new_layer(image, title, work.source, work.crop, {KEY: about})
        insert(self.controller.viewer.layers, list(work.layers.values()), layer)

    def _in_thread(
        self,
        function: Callable[[], Any],
        then: Callable[..., Any],
        ended: Callable[[], Any] | None = None,
    ) -> None:
        """Call `function` in a thread, then `then` with its result in this one.

        `ended` is called when the thread has ended, with an error, too.
        """
        slots = {"returned": self._done, "errored": self._failed}
        if ended is not None:
            slots["finished"] = ended
        create_worker(lambda: (then, function()), _connect=slots)

    def _done(self, returned: tuple[Callable[..., Any], Any]) -> None:
        then, value = returned
        then(value)

    def _offer_classic(self) -> None:
        self.classic_button.setEnabled(True)

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, DipError):
            _log.error("a comparison failed", exc_info=error)
        show_error(str(error) or type(error).__name__)


def _residual_of(
    source: Any, crop: Any, result: Any, index: Index, axes: tuple[int, int], rgb: bool
) -> tuple[Any, float, float]:
    """Return input minus result, the structure in one plane of it, and its limit.

    Colours have no negative values: gray stands for no difference.
    """
    before = np.asarray(read(source, crop)).astype(np.float32)
    difference = _without_opacity(before - result.astype(np.float32), rgb)
    part = [slice(i, i + 1) if isinstance(i, int) else i for i in index]
    plane = difference[tuple(part)]
    structure = residual.structure(plane, axes)
    limit = float(np.nanpercentile(np.abs(difference), 99.5)) or 1.0
    if rgb:
        difference = np.clip(0.5 + difference / (2 * limit), 0, 1)
    return difference, structure, limit


def _without_opacity(values: Any, rgb: bool) -> Any:
    """Return what colours have without a fourth one, which is the opacity."""
    return values[..., :3] if rgb else values


def _map_of(deviation: Any, rgb: bool) -> tuple[Any, tuple[float, float]]:
    """Return a standard deviation as one map, and its contrast limits.

    A colormap shows one value for every pixel: the root mean square of the colours.
    """
    if rgb:
        colours = _without_opacity(deviation, rgb)
        deviation = np.sqrt(np.square(colours).mean(axis=-1))
    low, high = (float(limit) for limit in np.nanpercentile(deviation, (0.5, 99.5)))
    return deviation, (low, high if high > low else low + 1)
