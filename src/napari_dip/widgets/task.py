"""The base class of the dock widgets of tasks."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from magicgui.widgets import ComboBox
from napari.layers import Image, Labels
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QLabel, QWidget

from napari_dip import baselines
from napari_dip.errors import InputError
from napari_dip.tasks.arrays import FEWEST_SLICES, Layout
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.run import get
from napari_dip.widgets import scripting
from napari_dip.widgets.compare import Comparison
from napari_dip.widgets.controller import IDLE, RunController
from napari_dip.widgets.deletion import when_deleted
from napari_dip.widgets.fields import label_of, make_form, row
from napari_dip.widgets.foresee import Foresight, in_words, load_torch
from napari_dip.widgets.inputs import ImageInput, file_name, to_save
from napari_dip.widgets.layers import (
    KEY,
    PLACED,
    Crop,
    adapted,
    array_of,
    layout_of,
    piece_of,
    shown_part,
    shown_plane,
    whole,
)
from napari_dip.widgets.masks import MaskInput
from napari_dip.widgets.panel import OF_THE_LAYER, ParameterPanel
from napari_dip.widgets.parts import folded
from napari_dip.widgets.quality import Quality
from napari_dip.widgets.results import Work
from napari_dip.widgets.run_panel import RunPanel
from napari_dip.widgets.scrubber import Scrubber

if TYPE_CHECKING:
    from napari_dip.tasks.forecast import Forecast

PIECE = {2: 192, 3: 32}
"""Side of the piece of an image on which steps are timed, for planes and volumes."""

LEAST_PIECE = {2: 32, 3: 16}
"""Side of that piece, at least, where its result has finer pixels: filters that finish
such a result would take minutes otherwise."""

CUSTOM = "Settings"
"""Name of parameters that are of no quality."""

ALL, SHOWN = "all of them", "the one shown"

TRIED = "visible region"
"""What the part of an image is on which a task is tried."""

WATCHED = ("data", "paint", *PLACED)
"""Events of layers after which a panel looks at them again."""


class TaskWidget(ParameterPanel):
    """The dock widget of one task.

    A subclass names the task and the inputs of its arrays, and describes it.
    """

    task: ClassVar[str]
    """Name of the task."""

    arrays: ClassVar[dict[str, type[ImageInput]]] = {"image": ImageInput}
    """The kind of input of every array of the task; the first is what is restored."""

    takes_away: ClassVar[bool] = True
    """Whether the difference of input and result shows what the task removed."""

    ends: ClassVar[tuple[str, str]] = ("less detail", "more")
    """What the images early and late in a fit have, in words for the slider."""

    simple: ClassVar[tuple[str, ...]] = ()
    """Parameters that say what is wanted, which are not folded away."""

    fewest_slices: ClassVar[int] = FEWEST_SLICES
    """Slices that a volume must have."""

    in_parts: ClassVar[bool] = True
    """Whether a part of the image can be restored by itself."""

    def __init__(self, napari_viewer: Any) -> None:
        task = get(self.task)
        super().__init__(napari_viewer, task.recipe)
        self.controller = RunController(napari_viewer, self)
        self.inputs = {
            name: kind(name, napari_viewer, task.arrays[name])
            for name, kind in self.arrays.items()
        }
        self.first = next(iter(self.inputs.values()))
        self.watched: list[Any] = []
        """Emitters of what the user changes in the layers."""
        when_deleted(self, _look_away, weakref.ref(self))
        self.planes = ComboBox(choices=(ALL, SHOWN))
        self.quality = Quality(self.task)
        self.panel = RunPanel(self.controller)
        self.scrubber = Scrubber(self.controller, self.ends)
        self.comparison = Comparison(
            self.controller,
            self.work,
            baselines.FOR_TASK.get(self.task, ()),
            self.takes_away,
        )
        self.foresight = Foresight(self.work, self.pieces, self)

        top = QWidget()
        self.form = make_form(top)
        self._fill_form()
        self.settings_section = folded(CUSTOM, self.fields)
        self.compare_section = folded("Compare", self.comparison)
        self._fill_dock(
            top, self.panel, self.scrubber, self.settings_section, self.compare_section
        )
        self._restore()
        self._connect()
        self.reset_choices()

    def _connect(self) -> None:
        self.panel.run_button.clicked.connect(self.run)
        self.panel.try_button.clicked.connect(self.run_visible)
        self.panel.try_button.setVisible(self.in_parts)
        self.fields.changed.connect(self._changed)
        self.quality.chosen.connect(self._take_quality)
        self.planes.changed.connect(self._changed)
        self.first.combo.changed.connect(self._choose_others)
        for given in self.inputs.values():
            given.combo.changed.connect(self._layer_chosen)
        for mask in self.masks:
            mask.new.changed.connect(partial(self._new_mask, mask))
            mask.mend.changed.connect(partial(self._mend, mask))
            mask.labels.changed.connect(self._changed)
        self.controller.state_changed.connect(self._ask)
        self.foresight.estimated.connect(self._show_forecast)
        self.foresight.refused.connect(self._show_refusal)
        self.foresight.began.connect(self._show_timing)

    @property
    def masks(self) -> list[MaskInput]:
        """The inputs that are masks."""
        return [g for g in self.inputs.values() if isinstance(g, MaskInput)]

    # -- the form ----------------------------------------------------------------

    def _fill_form(self) -> None:
        """Put what everybody needs above the button that runs the fit."""
        rows = [each for given in self.inputs.values() for each in given.rows]
        tip = (
            "A stack is restored plane by plane: all planes, or the one shown. Panels "
            "count planes from 1, napari's sliders from 0."
        )
        rows.append(("Planes", self.planes, tip))
        for entry in rows:
            self.form.addRow(*row(*entry))
        for name in self.simple:
            taken = self.fields.form.takeRow(self.fields.fields[name].widget.native)
            self.form.addRow(taken.labelItem.widget(), taken.fieldItem.widget())
        self.form.addRow(QLabel("Quality"), self.quality)

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers that exist now; napari calls this when they change."""
        for given in self.inputs.values():
            given.reset_choices(event)
        self.first.choose_first()
        self._choose_others()

    def _choose_others(self, _: Any = None) -> None:
        """Choose layers that go with the first, where the user has not chosen."""
        _, *others = self.inputs.values()
        for given in others:
            if self.first.layer is not None:
                given.choose_other(self.first.layer)
        self._changed()

    def _layer_chosen(self, _: Any = None) -> None:
        """Look again at a layer whenever the user changes it, or draws in a mask."""
        self._look_away()
        for given in self.inputs.values():
            events = None if given.layer is None else given.layer.events
            names = [name for name in WATCHED if hasattr(events, name)]
            self.watched += [getattr(events, name) for name in names]
        for emitter in self.watched:
            emitter.connect(self._changed)
        self._changed()

    def _look_away(self) -> None:
        """Look no longer at layers."""
        for emitter in self.watched:
            emitter.disconnect(self._changed)
        self.watched = []

    def _new_mask(self, mask: MaskInput, _: Any = None) -> None:
        """Add an empty mask over the first layer and choose the paint brush."""
        layer, name = self.first.layer, self.first.name
        if layer is None:
            self.panel.show_end(f"Choose the {name} first: the mask lies over it.")
            return
        mask.add_layer(layer, self.fields.fields["spatial_dims"].value)

    def _mend(self, mask: MaskInput, _: Any = None) -> None:
        if self.source is not None:
            mask.put_on(self.source)
        self._changed()

    def showEvent(self, event: Any) -> None:
        """Import torch and estimate the time before the user presses Run."""
        super().showEvent(event)
        load_torch()
        self._changed()

    def changeEvent(self, event: Any) -> None:
        """Stop the fit when the dock is closed, and keep its result."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.controller.stop()

    def _take_quality(self, name: str) -> None:
        for key, value in self.quality.choices[name].items():
            self.fields.fields[key].value = value

    def _count_settings(self, quality: str | None) -> None:
        """Say in the title of the settings how many are not the defaults.

        They are remembered from the last time, and folded away.  What is shown above
        them, or follows the layer, does not count.
        """
        shown = {*OF_THE_LAYER, *self.simple}
        if quality is not None:
            shown.update(*self.quality.choices.values())
        count = len(self.fields.differing() - shown)
        title = f"{CUSTOM} ({count} changed)" if count else CUSTOM
        self.settings_section.setText(title)

    def _changed(self, _: Any = None) -> None:
        """Offer what suits the layer, and estimate again what the fit takes."""
        source = self.source
        self.panel.forget_failure()
        self.message.hide()
        self._offer_axes(source)
        self._count_settings(self.quality.show_choice(self.fields.values()))
        stack = False
        if source is not None:
            with suppress(InputError):  # shown by the estimate below, and by Run
                stack = layout_of(self.recipe(), source).planes > 1
        self.form.setRowVisible(self.planes.native, stack)
        self.fields.show_row("neighbours", stack)
        for mask in self.masks:
            self.form.setRowVisible(mask.mend.native, mask.can_mend(source))
            labels = mask.layer is None or isinstance(mask.layer, Labels)
            self.form.setRowVisible(mask.labels.native, labels)
        self._ask()

    def _ask(self, _: Any = None) -> None:
        """Estimate what the fit takes, unless one is running or nobody looks."""
        if self.controller.state == IDLE and self.isVisible():
            self.foresight.ask()

    def _offer_axes(self, source: Image | None) -> None:
        """Offer volumes where the layer has any, and no axis that it does not have."""
        if source is None:
            return
        axis, dims = (self.fields.fields[n] for n in ("channel_axis", "spatial_dims"))
        ndim = array_of(source).ndim
        if isinstance(axis.value, int) and not -ndim <= axis.value < ndim:
            axis.value = "auto"
        choices = [2]
        with suppress(InputError):
            recipe: Any = self.fields.kind()
            recipe = dataclasses.replace(recipe, channel_axis=axis.value)
            given, slices = adapted(recipe, source).channel_axis, self.fewest_slices
            Layout.of(array_of(source), given, 3, "", fewest_slices=slices)
            choices.append(3)
        combo: Any = dims.widget
        if list(combo.choices) != choices:
            combo.choices = choices
        self.fields.show_row("spatial_dims", len(choices) > 1)
        self.fields.show_row("z_spacing", dims.value == 3)

    def _show_timing(self) -> None:
        """Say that the time is being measured, and show no other time meanwhile."""
        self._forget_time()
        self.panel.estimate.say("Timing a few steps on a small piece")

    def _show_refusal(self, text: str) -> None:
        """Say why nothing can run, unless a failed run has just said so."""
        self._forget_time()
        self.panel.estimate.say("" if self.panel.has_failed else text)

    def _forget_time(self) -> None:
        """Tell no time that was told of something else."""
        self.quality.forget_seconds()
        self.panel.ends_after = 0

    def _show_forecast(self, name: str, forecast: Forecast) -> None:
        self.quality.show_seconds(name, forecast.seconds)
        if name == (self.quality.show_choice(self.fields.values()) or CUSTOM):
            self.panel.finishing = forecast.finishing
            self.panel.ends_after = forecast.ends_after
            self.panel.estimate.say(in_words(forecast))

    # -- what Run would do --------------------------------------------------------

    @property
    def source(self) -> Image | None:
        """The layer to restore."""
        return self.first.layer

    def recipe(self) -> Recipe:
        """Return what is filled in, completed by the layer; see `adapted`."""
        source = self.source
        recipe = self.fields.recipe()
        return recipe if source is None else adapted(recipe, source)

    def crop(self, recipe: Recipe) -> tuple[Crop, str]:
        """Return the part of the layer that is to be restored, and what it is."""
        source = self.source
        assert source is not None
        if self.planes.value != SHOWN or layout_of(recipe, source).planes == 1:
            return whole(source), ""
        axes = layout_of(recipe, source).leading_axes
        crop = shown_plane(source, axes, self.viewer.dims)
        place = [crop[axis].start for axis in axes]
        sides = [array_of(source).shape[axis] for axis in axes]
        return crop, f"plane {np.ravel_multi_index(place, sides) + 1}"

    def work(self, crop: Crop | None = None) -> Work:
        """Return what Run would do now, or what it would do with a part of the layer.

        Raises
        ------
        InputError
            If something is missing or does not fit.
        """
        for name, given in self.inputs.items():
            if not given.ready:
                label = label_of(name)
                what = label if label.isupper() else label.lower()
                use = "" if what == "image" else f" to take the {what} from"
                raise InputError(f"There is no {given.kinds}{use}: {given.remedy}.")
        source = self.source
        assert source is not None
        recipe = self.recipe()
        if crop is None:
            crop, part = self.crop(recipe)
        else:
            recipe, part = self.for_part(recipe), TRIED
        arrays = {n: g.array(source, crop) for n, g in self.inputs.items()}
        # A panel offers none of the functions that a task can be given.
        arrays |= dict.fromkeys(get(self.task).functions, lambda: None)
        return Work(
            recipe=recipe,
            source=source,
            crop=crop,
            arrays=arrays,
            layers={n: g.layer for n, g in self.inputs.items() if g.layer is not None},
            part=part,
        )

    def for_part(self, recipe: Recipe) -> Recipe:
        """Return the recipe for a part of the layer."""
        return recipe

    def pieces(self, work: Work) -> dict[str, tuple[Work, Work | None]]:
        """Return for every quality what Run would do, and a piece to try it on."""
        chosen = self.quality.show_choice(self.fields.values()) or CUSTOM
        piece: Work | None = None
        if self.in_parts:
            leading = layout_of(work.recipe, work.source).leading_axes
            dims, finer = work.recipe.spatial_dims, getattr(work.recipe, "factor", 1)
            side = max(PIECE[dims] // finer, LEAST_PIECE[dims])
            centre = self.masks[0].centre(work.source) if self.masks else None
            place = leading, side, self.viewer.dims, centre
            piece = self.work(piece_of(work.source, work.crop, *place))
        recipes: dict[str, dict[str, Any]] = {chosen: {}, **self.quality.choices}
        return {
            name: (
                work.with_parameters(values),
                piece and piece.with_parameters(values),
            )
            for name, values in recipes.items()
        }

    def run(self) -> None:
        """Start a fit with what is filled in, or say what is missing."""
        self._start(self.work)

    def run_visible(self) -> None:
        """Start a fit of the part of the image that the viewer shows."""
        self._start(self._visible)

    def _visible(self) -> Work:
        if self.source is None:
            return self.work()  # says what is missing
        leading = layout_of(self.recipe(), self.source).leading_axes
        return self.work(shown_part(self.source, leading, self.viewer))

    def _start(self, wanted: Callable[[], Work]) -> None:
        try:
            work = wanted()
        except InputError as error:
            self.panel.show_failure(str(error))
            return
        self.foresight.cancel()
        self.remember()
        self.panel.curve.clear()
        self.controller.start(work)

    # -- as text ------------------------------------------------------------------

    def repeated(self, work: Work) -> tuple[Recipe, scripting.Ending]:
        """Return recipe and ending of the last run, if `work` is the same run.

        The last run may have gone on for more iterations than are filled in.
        """
        last = self.controller.last
        if last is None or last.layer is None:
            return work.recipe, scripting.Ending()
        stored = last.layer.metadata[KEY]
        sides = array_of(work.source).shape
        bounds = [c.indices(n)[:2] for c, n in zip(work.crop, sides, strict=True)]
        same = (
            last.recipe == work.recipe
            and last.below == list(work.layers.values())  # whatever their names are now
            and stored["crop"] == [list(pair) for pair in bounds]
        )
        if not same:
            return work.recipe, scripting.Ending()
        recipe = type(work.recipe).from_dict(stored["recipe"])
        return recipe, scripting.Ending.of(stored)

    def _python(self) -> tuple[str, str]:
        work = self.work()
        code = {n: g.code(work.source, work.crop) for n, g in self.inputs.items()}
        recipe, ending = self.repeated(work)
        text = scripting.python(recipe, code, ending)
        return text, " Paste it into napari's console."

    def _command(self) -> tuple[str, str]:
        work = self.work()
        files = {n: g.file(work.crop) for n, g in self.inputs.items()}
        recipe, ending = self.repeated(work)
        if ending.kept or ending.stopped:
            raise InputError(
                "You stopped this run or kept another image, which a command cannot "
                "repeat. Copy Python instead."
            )
        output = f"{file_name(work.source.name)}-{self.task}.tif"
        text = scripting.command(recipe, files, output)
        return text, to_save(self.inputs, files)


def _look_away(panel: Callable[[], TaskWidget | None]) -> None:
    """Let a panel that Qt has deleted look no longer at layers."""
    if (existing := panel()) is not None:
        existing._look_away()
