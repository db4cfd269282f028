"""What the widgets of all tasks share: layers, parameters, a run panel, a text."""

from __future__ import annotations

from typing import Any, ClassVar

from magicgui.widgets import create_widget
from napari.layers import Image, Layer
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_dip.errors import InputError
from napari_dip.tasks.run import get
from napari_dip.widgets.controller import RunController
from napari_dip.widgets.fields import Fields, row
from napari_dip.widgets.layers import adapted, array_of
from napari_dip.widgets.run_panel import RunPanel, wrapped


class TaskWidget(QWidget):
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

    layers: ClassVar[dict[str, type[Layer]]] = {"image": Image}
    """Kind of layer for every array of the task; the first is what is restored."""

    about: ClassVar[str]
    """What it does to an image, honestly, in a few sentences."""

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        self.controller = RunController(napari_viewer, self)
        self.chosen: dict[str, Any] = {
            name: create_widget(annotation=kind, name=name)
            for name, kind in self.layers.items()
        }
        self.fields = Fields(get(self.task).recipe)
        self.panel = RunPanel(self.controller)
        self.panel.run_button.clicked.connect(self.run)

        for i, (name, combo) in enumerate(self.chosen.items()):
            label = name.replace("_", " ").capitalize()
            self.fields.form.insertRow(i, *row(label, combo))
        text = wrapped(self.about)
        about = QCollapsible("What will this do to my image?", collapsedIcon="▶")
        about.setDuration(0)
        about.addWidget(text)

        layout = QVBoxLayout(self)
        layout.addWidget(self.fields)
        layout.addWidget(self.panel)
        layout.addWidget(about)
        layout.addStretch()

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers there are now; napari calls this when they change."""
        for combo in self.chosen.values():
            nothing = combo.value is None
            combo.reset_choices(event)
            active = self.viewer.layers.selection.active
            if nothing and active is not None:
                # Of several layers the user most likely means the selected one.
                same = [layer for layer in combo.choices if layer == active]
                if same:
                    combo.value = same[0]

    def changeEvent(self, event: Any) -> None:
        """Stop when the dock is closed: its buttons are gone, the result stays."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.controller.stop()

    def run(self) -> None:
        """Start with what is filled in, or say what is missing."""
        for name, combo in self.chosen.items():
            if combo.value is None:
                kind = self.layers[name].__name__.lower()
                self.panel.show_end(
                    f"There is no {kind} layer to take the {name} from: open one first."
                )
                return
        source = next(iter(self.chosen.values())).value
        try:
            recipe = adapted(self.fields.recipe(), source)
        except InputError as error:
            self.panel.show_end(str(error))
            return
        arrays = [array_of(combo.value) for combo in self.chosen.values()]
        self.panel.begin(recipe.iterations == "auto" and recipe.preset != "paper")
        self.controller.start(recipe, source, arrays)
