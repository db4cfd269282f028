"""What the widgets of all tasks share: layers, parameters, a run panel, a text."""

from __future__ import annotations

from typing import Any, ClassVar

from magicgui.widgets import ComboBox
from napari.layers import Image
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget

from napari_dip import baselines
from napari_dip.errors import InputError
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.run import get
from napari_dip.widgets import scripting, settings
from napari_dip.widgets.compare import Comparison
from napari_dip.widgets.controller import IDLE, RunController, Work
from napari_dip.widgets.fields import row
from napari_dip.widgets.foresee import Foresight, load_torch
from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.layers import (
    KEY,
    Crop,
    adapted,
    array_of,
    layout_of,
    shown_plane,
    whole,
)
from napari_dip.widgets.panel import ParameterPanel, changed, copy
from napari_dip.widgets.parts import folded
from napari_dip.widgets.run_panel import RunPanel
from napari_dip.widgets.scrubber import Scrubber

ALL, SHOWN = "all of them", "the one shown"


class TaskWidget(ParameterPanel):
    """The dock widget of one task.

    A subclass says which task, which layers are its arrays, and what it does.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer; napari passes it to parameters of this name.
    parent : QWidget, optional
        Where to live.
    """

    task: ClassVar[str]
    """Name of the task."""

    arrays: ClassVar[dict[str, type[ImageInput]]] = {"image": ImageInput}
    """Where every array of the task comes from; the first is what is restored."""

    holds_out: ClassVar[bool] = False
    """Whether a fit that stops by itself watches pixels held out of it."""

    takes_away: ClassVar[bool] = True
    """Whether input minus result is what was taken from the image."""

    ends: ClassVar[tuple[str, str]] = ("less detail", "more")
    """What there is early and late in a fit."""

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        task = get(self.task)
        super().__init__(napari_viewer, task.recipe, parent)
        self.controller = RunController(napari_viewer, self)
        self.inputs = {
            name: kind(name, napari_viewer, task.arrays[name])
            for name, kind in self.arrays.items()
        }
        self.planes = ComboBox(choices=(ALL, SHOWN))
        self.panel = RunPanel(self.controller)
        self.scrubber = Scrubber(self.controller, self.ends)
        self.comparison = Comparison(
            self.controller,
            self.work,
            baselines.FOR_TASK.get(self.task, ()),
            self.takes_away,
        )
        self.foresight = Foresight(self.work, self)

        self.compare_section = folded("Compare", self.comparison)
        self._fill_form()
        self._fill_dock(self.panel, self.scrubber, self.compare_section)
        self._restore()
        self.panel.run_button.clicked.connect(self.run)
        self.fields.changed.connect(self._changed)
        self.planes.changed.connect(self._changed)
        for given in self.inputs.values():
            given.combo.changed.connect(self._changed)
        self.foresight.found.connect(self.panel.show_estimate)
        self._changed()

    # -- how it looks -------------------------------------------------------------

    def _fill_form(self) -> None:
        """Put the layers above the parameters."""
        rows = [entry for given in self.inputs.values() for entry in given.rows]
        tip = "A stack is restored plane by plane: all planes, or the one shown."
        rows.append(("Planes", self.planes, tip))
        for i, (label, widget, tip) in enumerate(rows):
            self.fields.form.insertRow(i, *row(label, widget, tip))

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are now; napari calls this when they change."""
        for given in self.inputs.values():
            given.reset_choices(event)
        self._changed()

    def showEvent(self, event: Any) -> None:
        """Get ready while the user looks around."""
        super().showEvent(event)
        load_torch()
        self._changed()

    def changeEvent(self, event: Any) -> None:
        """Stop when the dock is closed: its buttons are gone, the result stays."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.controller.stop()

    def _changed(self, _: Any = None) -> None:
        """Follow what was chosen or filled in."""
        source = self.source
        native = self.planes.native
        stack = False
        if source is not None:
            try:
                layout = layout_of(adapted(self.fields.recipe(), source), source)
                stack = layout.planes > 1
            except InputError:
                pass  # Run says it, and the text below once nothing changes
        self.fields.form.setRowVisible(native, stack)
        if self.isVisible() and source is not None and self.controller.state == IDLE:
            self.foresight.ask()

    # -- what Run would do --------------------------------------------------------

    @property
    def source(self) -> Image | None:
        """The layer to restore."""
        return next(iter(self.inputs.values())).layer

    def recipe(self) -> Recipe:
        """Return what is filled in, with what the layer knows better."""
        source = self.source
        recipe = self.fields.recipe()
        return recipe if source is None else adapted(recipe, source)

    def crop(self, recipe: Recipe) -> Crop:
        """Return which part of the layer is to be restored."""
        source = self.source
        assert source is not None
        if self.planes.value == SHOWN:
            leading = layout_of(recipe, source).leading_axes
            return shown_plane(source, leading, self.viewer.dims)
        return whole(source)

    def work(self) -> Work:
        """Return what Run would do now.

        Raises
        ------
        InputError
            If something is missing or does not fit.
        """
        for name, given in self.inputs.items():
            if given.layer is None:
                raise InputError(
                    f"There is no {given.kinds} to take the {name} from: open or "
                    f"add one first."
                )
        source = self.source
        assert source is not None
        recipe = self.recipe()
        crop = self.crop(recipe)
        return Work(
            recipe=recipe,
            source=source,
            crop=crop,
            arrays={n: g.array(source, crop) for n, g in self.inputs.items()},
            layers={n: g.layer for n, g in self.inputs.items() if g.layer is not None},
        )

    def run(self) -> None:
        """Start with what is filled in, or say what is missing."""
        try:
            work = self.work()
        except InputError as error:
            self.panel.show_end(str(error))
            return
        self.foresight.cancel()
        settings.remember(self.task, changed(self.fields.recipe()))
        automatic = work.recipe.iterations == "auto" and work.recipe.preset != "paper"
        self.panel.begin(automatic, automatic and self.holds_out)
        self.controller.start(work)

    # -- as text ------------------------------------------------------------------

    def repeated(self, work: Work) -> tuple[Recipe, scripting.Ending]:
        """Return recipe and ending of the last run, if this is it once more.

        It may have gone on for longer than was filled in.
        """
        last = self.controller.last
        if last is None or last.layer is None:
            return work.recipe, scripting.Ending()
        made = last.layer.metadata[KEY]
        sides = array_of(work.source).shape
        bounds = [c.indices(n)[:2] for c, n in zip(work.crop, sides, strict=True)]
        same = (
            last.recipe == work.recipe
            and made["layers"] == {n: layer.name for n, layer in work.layers.items()}
            and made["crop"] == [list(pair) for pair in bounds]
        )
        if not same:
            return work.recipe, scripting.Ending()
        return type(work.recipe).from_dict(made["recipe"]), scripting.Ending.of(made)

    def copy_python(self) -> None:
        """Copy code that does this run again."""
        try:
            work = self.work()
        except InputError as error:
            self._tell(str(error))
            return
        code = {n: g.code(work.source, work.crop) for n, g in self.inputs.items()}
        recipe, ending = self.repeated(work)
        text = scripting.python(recipe, code, ending)
        copy(text)
        self._tell("Copied. Paste it into napari's console.")

    def copy_command(self) -> None:
        """Copy the command line that does this run on files."""
        try:
            work = self.work()
            files = {n: g.file(work.crop) for n, g in self.inputs.items()}
            recipe, ending = self.repeated(work)
            if ending.kept or ending.stopped:
                raise InputError(
                    "The run was ended by hand, which a command cannot do again; "
                    "Python can."
                )
        except InputError as error:
            self._tell(str(error))
            return
        output = f"{work.source.name}-{self.task}.tif".replace("/", "_")
        text = scripting.command(recipe, files, output)
        copy(text)
        missing = [
            f"{given.layer.name} as {files[name]}"
            for name, given in self.inputs.items()
            if given.layer is not None and not given.layer.source.path
        ]
        save = f" It reads files: save {', '.join(missing)} first." if missing else ""
        self._tell(f"Copied.{save}")
