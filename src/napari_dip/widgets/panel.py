"""What all dock widgets share: parameters, script and recipe, and a text."""

from __future__ import annotations

from typing import Any, ClassVar

from qtpy.QtWidgets import QApplication, QGridLayout, QVBoxLayout, QWidget

from napari_dip.errors import InputError
from napari_dip.tasks.recipe import Parameters
from napari_dip.widgets import settings
from napari_dip.widgets.fields import Fields
from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.layers import KEY
from napari_dip.widgets.parts import VerticalArea, button, folded, wrapped


class ParameterPanel(QWidget):
    """A dock widget that runs something with parameters.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer; napari passes it to parameters of this name.
    kind : type of Parameters
        What can be filled in.
    parent : QWidget, optional
        Where to live.
    """

    about: ClassVar[str]
    """What it does to an image, honestly, in a few sentences."""

    def __init__(
        self,
        napari_viewer: Any,
        kind: type[Parameters],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        self.inputs: dict[str, ImageInput] = {}
        self.fields = Fields(kind)

    def copy_python(self) -> None:
        """Copy code that does this run again."""
        raise NotImplementedError

    def copy_command(self) -> None:
        """Copy the command line that does this run on files."""
        raise NotImplementedError

    def _fill_dock(self, *parts: QWidget) -> None:
        """Put parts below the fields, in an area that scrolls."""
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(4, 4, 4, 4)
        self.about_section = folded(
            "What will this do to my image?", wrapped(self.about)
        )
        scripts = folded("Script and recipe", self._scripts())
        for part in (self.fields, *parts, scripts, self.about_section):
            layout.addWidget(part)
        layout.addStretch()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(VerticalArea(inside))

    def _scripts(self) -> QWidget:
        """Return the buttons that turn a run into text, and a recipe into fields."""
        self.python_button = button(
            "Copy as Python",
            "Copy code that does this run again in napari's console: the last run if "
            "nothing was changed since, with where it was stopped.",
        )
        self.command_button = button(
            "Copy as command", "Copy the command line that does this run on files."
        )
        self.load_button = button(
            "Load from layer",
            "Fill in the parameters that a result was made with: select its layer "
            "first.",
        )
        self.defaults_button = button("Defaults", "Go back to the defaults.")
        self.told = wrapped()
        self.told.hide()
        self.python_button.clicked.connect(self.copy_python)
        self.command_button.clicked.connect(self.copy_command)
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
        grid.addWidget(self.told, 2, 0, 1, 2)
        return widget

    def _restore(self) -> None:
        """Fill in what was used last; unfold the text for who is new here."""
        used = settings.last_used(self.fields.kind.task)
        if not used:
            self.about_section.expand(animate=False)
            return
        try:
            self.fields.load(self.fields.kind.from_dict(used))
        except InputError:  # of another version
            settings.remember(self.fields.kind.task, {})

    def load_recipe(self) -> None:
        """Fill in the recipe of the selected layer."""
        layer = self.viewer.layers.selection.active
        made = {} if layer is None else layer.metadata.get(KEY, {})
        try:
            if not isinstance(made.get("recipe"), dict):
                raise InputError("Select a result first: this layer has no recipe.")
            recipe = self.fields.kind.from_dict(made["recipe"])
        except InputError as error:
            self._tell(str(error))
            return
        for name, layer_name in made.get("layers", {}).items():
            if name in self.inputs:
                self.inputs[name].choose(layer_name)
        self.fields.load(recipe)
        self._tell(f"The parameters of {layer.name} are filled in.")

    def _tell(self, text: str) -> None:
        self.told.setText(text)
        self.told.show()


def changed(parameters: Parameters) -> dict[str, Any]:
    """Return the dict of parameters without what is at its default."""
    default = type(parameters)().to_dict()
    values = parameters.to_dict()
    return {k: v for k, v in values.items() if k == "task" or v != default[k]}


def copy(text: str) -> None:
    """Put a text on the clipboard."""
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    clipboard.setText(text)
