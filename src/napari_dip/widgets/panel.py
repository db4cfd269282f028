"""The base class of all dock widgets: parameters, script and recipe, and a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from qtpy.QtWidgets import QApplication, QGridLayout, QVBoxLayout, QWidget

from napari_dip.errors import InputError
from napari_dip.tasks.recipe import Parameters
from napari_dip.widgets import scripting, settings
from napari_dip.widgets.fields import Fields
from napari_dip.widgets.inputs import ImageInput, to_save
from napari_dip.widgets.layers import notes_of
from napari_dip.widgets.parts import Text, VerticalArea, button, fill, folded

OF_THE_LAYER = ("channel_axis", "spatial_dims")
"""Parameters that suit one layer and not the next, and are not remembered."""


class ParameterPanel(QWidget):
    """A dock widget that runs something with parameters of a kind.

    Subclasses define the methods that raise here; a class of Qt cannot be an ABC.
    napari passes the viewer to parameters of the name `napari_viewer`.
    """

    about_title: ClassVar[str] = "What will this do to my image?"

    about: ClassVar[str]
    """What it does to an image, and what it cannot do, in a few sentences."""

    def __init__(self, napari_viewer: Any, kind: type[Parameters]) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.inputs: dict[str, ImageInput] = {}
        self.fields = Fields(kind)

    def _python(self) -> tuple[str, str]:
        """Return Python code that repeats this run, and a note for the user."""
        raise NotImplementedError

    def _command(self) -> tuple[str, str]:
        """Return the command line that repeats this run on files, and a note."""
        raise NotImplementedError

    def _fill_dock(self, *parts: QWidget) -> None:
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(4, 4, 4, 4)
        self.about_section = folded(self.about_title, Text(self.about))
        scripts = folded("Script and recipe", self._scripts())
        for part in (*parts, scripts, self.about_section):
            layout.addWidget(part)
        layout.addStretch()
        fill(self, VerticalArea(inside))

    def _scripts(self) -> QWidget:
        """Return the buttons that turn a run into text, and a recipe into fields."""
        self.python_button = button(
            "Copy as Python",
            "Copy code that repeats this run in napari's console. If nothing was "
            "changed since the last run, the code also stops where that was stopped.",
        )
        self.command_button = button(
            "Copy as command", "Copy the command line that repeats this run on files."
        )
        self.load_button = button(
            "Load from layer",
            "Fill in the parameters that a result was made with. Select its layer "
            "first.",
        )
        self.defaults_button = button("Defaults", "Go back to the defaults.")
        self.message = Text()
        self.python_button.clicked.connect(lambda: self._copy(self._python))
        self.command_button.clicked.connect(lambda: self._copy(self._command))
        self.fields.changed.connect(self.message.hide)
        self.load_button.clicked.connect(self.load_recipe)
        self.defaults_button.clicked.connect(
            lambda: self.fields.load(self.fields.kind())
        )
        widget = QWidget()
        grid = QGridLayout(widget)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.python_button, 0, 0)
        grid.addWidget(self.command_button, 0, 1)
        grid.addWidget(self.load_button, 1, 0)
        grid.addWidget(self.defaults_button, 1, 1)
        grid.addWidget(self.message, 2, 0, 1, 2)
        return widget

    def _copy(self, write: Callable[[], tuple[str, str]]) -> None:
        try:
            text, note = write()
        except InputError as error:
            self.message.say(str(error))
            return
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(text)
        self.message.say(f"Copied.{note}")

    def _restore(self) -> None:
        """Fill in what was used last; show the text where nothing was."""
        used = settings.last_used(self.fields.kind.task)
        if not used:
            self.about_section.expand(animate=False)
            return
        try:
            self.fields.load(self.fields.kind.from_dict(used))
        except InputError:  # remembered by another version
            settings.remember(self.fields.kind.task, {})

    def remember(self) -> None:
        """Remember what is filled in and is no default, for the next time."""
        kept = {"task", *self.fields.differing()} - {*OF_THE_LAYER}
        values = self.fields.recipe().to_dict()
        changed = {name: value for name, value in values.items() if name in kept}
        settings.remember(self.fields.kind.task, changed)

    def load_recipe(self) -> None:
        """Fill in the recipe of the selected layer."""
        layer = self.viewer.layers.selection.active
        stored = {} if layer is None else notes_of(layer)
        try:
            if not isinstance(stored.get("recipe"), dict):
                raise InputError("Select a result first: this layer has no recipe.")
            recipe = self.fields.kind.from_dict(stored["recipe"])
        except InputError as error:
            self.message.say(str(error))
            return
        for name, layer_name in stored.get("layers", {}).items():
            if name in self.inputs:
                self.inputs[name].choose(layer_name)
        self.fields.load(recipe)
        self.message.say(f"The parameters of {layer.name} are filled in.")


class MakingPanel(ParameterPanel):
    """A panel that makes a layer of parameters, without a fit to look at."""

    about_title = "What does this panel make?"

    output: ClassVar[str]
    """The file that a copied command writes, by the parameters."""

    def run(self) -> None:
        """Make the layer, or say what is wrong."""
        try:
            make = self._maker(self.fields.recipe())
        except InputError as error:
            self.progress.say(str(error))
            return
        self.remember()
        self.run_button.setEnabled(False)
        self._begin(make)

    def _maker(self, parameters: Any) -> Callable[[], Any]:
        """Return a function that computes what `_show` shows, or raise."""
        raise NotImplementedError

    def _begin(self, make: Callable[[], Any]) -> None:
        """Compute in a thread, then show what came of it."""
        self.progress.say("Computing")
        slots = {"returned": self._show, "errored": self._failed}
        create_worker(make, _connect=slots)

    def _show(self, result: Any) -> None:
        """Show what was computed."""
        raise NotImplementedError

    def _python(self) -> tuple[str, str]:
        parameters = self.fields.recipe()
        return scripting.python(parameters, self._code(), scripting.Ending()), ""

    def _command(self) -> tuple[str, str]:
        parameters, files = self.fields.recipe(), self._files()
        output = self.output.format(**vars(parameters))
        text = scripting.command(parameters, files, output)
        return text, to_save(self.inputs, files)

    def _code(self) -> dict[str, str]:
        """Return the Python expressions of the arrays that the layer is made of."""
        return {}

    def _files(self) -> dict[str, str]:
        """Return the files of the arrays that the layer is made of."""
        return {}

    def _fill_with_run(self, tip: str) -> None:
        """Put the parameters, a button to run and a line of text below each other."""
        self.run_button = button("Run", tip)
        self.progress = Text()
        self._fill_dock(self.fields, self.run_button, self.progress)
        self._restore()
        self.run_button.clicked.connect(self.run)
        self.fields.changed.connect(self.progress.hide)

    def _failed(self, error: Exception) -> None:
        message = str(error) or type(error).__name__
        show_error(message)
        self._end(f"Failed: {message}")

    def _end(self, text: str) -> None:
        self.run_button.setEnabled(True)
        self.progress.say(text)
