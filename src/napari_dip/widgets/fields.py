"""Fields for the parameters of a task, made from its recipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from magicgui.widgets import CheckBox, ComboBox, Container, LineEdit, SpinBox, Widget
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QSizePolicy, QWidget

from napari_dip.tasks.recipe import Parameter, Parameters, Recipe
from napari_dip.widgets.parts import fill, folded

FIRST_NUMBERS = {
    "iterations": 500,
    "restarts": 4,
    "tile": 768,
    "sigma": 10,
    "excitation_wavelength": 488,
    "sample_index": 1.33,
}
"""First value of a field when a number replaces "automatic"."""

LABELS = {
    "spatial_dims": "Dimensions",
    "dtype": "Result type",
    "psf": "PSF",
    "sigma": "Noise sigma",
    "super_resolve.sigma": "Gaussian sigma",
    "nlm": "Non-local means",
    "richardson_lucy": "Richardson-Lucy",
    "tv": "Total variation",
    "wavelength": "Wavelength (nm)",
    "excitation_wavelength": "Excitation (nm)",
    "pixel_size": "Pixel size (µm)",
    "z_step": "Z step (µm)",
    "pinhole": "Pinhole (Airy units)",
    "depth": "Depth (µm)",
    "bead_diameter": "Bead diameter (µm)",
}
"""Labels of parameters, arrays and methods whose name makes no good label."""

FEW = 4
"""Number of integers up to which a range is offered as a list."""


class Plain:
    """A field that is one widget."""

    def __init__(self, widget: Any, value: Any) -> None:
        self.widget = widget
        self.value = value

    @property
    def value(self) -> Any:
        """What is filled in."""
        return self.widget.value

    @value.setter
    def value(self, value: Any) -> None:
        if isinstance(self.widget, ComboBox) and value not in self.widget.choices:
            # Not every accepted value is in the list, such as cuda:1.
            self.widget.choices = (*self.widget.choices, value)
        self.widget.value = value


class Written:
    """A field for text that stands for a value.

    `read` returns the value of a text, or raises ValueError; `write` returns the text
    of a value.
    """

    def __init__(
        self, value: Any, read: Callable[[str], Any], write: Callable[[Any], str]
    ) -> None:
        self.widget = LineEdit()
        self.read, self.write = read, write
        self.value = value

    @property
    def value(self) -> Any:
        """The value, or the text if it stands for none: the recipe then refuses it."""
        text = self.widget.value.strip()
        try:
            return self.read(text)
        except ValueError:
            return text

    @value.setter
    def value(self, value: Any) -> None:
        self.widget.value = self.write(value)
        # Qt shows the end of a text that is too long, which begins like a whole one.
        self.widget.native.setCursorPosition(0)


def real(value: float) -> Written:
    """Return a field for any real number: images have units from 1e-9 to 1e9."""
    return Written(value, float, lambda x: repr(float(x)).removesuffix(".0"))


def numbers(value: Any, member: type) -> Written:
    """Return a field for one number or a few, with commas between them."""
    return Written(
        value,
        lambda text: tuple(member(part) for part in text.strip("() ,").split(",")),
        lambda values: ", ".join(map(repr, np.atleast_1d(values).tolist())),
    )


class NumberOr:
    """A field for a number, or one of the words that are accepted in its place.

    One word, such as "auto", is a check box; several are a list.  The number is below
    that, as a dock is narrow, and only shown where it counts.
    """

    def __init__(
        self, number: Plain | Written, words: dict[str, str | None], value: Any
    ) -> None:
        self.number = number
        self.words = words
        self.choice: Any
        if len(words) == 1:
            text = "automatic" if "auto" in words else "not given"
            self.choice = CheckBox(text=text, value=True)
        else:
            self.choice = ComboBox(choices=[*words, "number"])
        self.choice.changed.connect(self._show_number)
        self.widget = Container(widgets=[self.choice, number.widget], labels=False)
        self.widget.margins = (0, 0, 0, 0)
        self.value = value

    @property
    def value(self) -> Any:
        """The number or what the chosen word stands for."""
        word = self.choice.value
        if word in (False, "number"):
            return self.number.value
        return next(iter(self.words.values())) if word is True else self.words[word]

    @value.setter
    def value(self, value: Any) -> None:
        word = next((w for w, v in self.words.items() if v == value), "number")
        if word == "number":
            self.number.value = value
        if isinstance(self.choice, CheckBox):
            self.choice.value = word != "number"
        else:
            self.choice.value = word
        self._show_number()

    def _show_number(self, _: Any = None) -> None:
        self.number.widget.visible = self.choice.value in (False, "number")


Field = Plain | Written | NumberOr


def make_field(p: Parameter) -> Field:
    """Return the field for a parameter."""
    if p.name == "device":
        return Plain(ComboBox(choices=_devices()), p.default)
    if p.member is not None or int in p.types or float in p.types:
        words: dict[str, str | None] = {c: c for c in p.choices}
        if type(None) in p.types:
            words["none"] = None
        if words:
            first = FIRST_NUMBERS.get(p.name, 0 if p.member is None else ())
            return NumberOr(_number(p, first), words, p.default)
        if p.types == (int,) and p.low is not None and p.high is not None:
            choices = range(int(p.low), int(p.high) + 1)
            if len(choices) <= FEW:
                return Plain(ComboBox(choices=list(choices)), p.default)
        return _number(p, p.default)
    if p.choices:
        return Plain(ComboBox(choices=p.choices), p.default)
    if bool in p.types:
        return Plain(CheckBox(), p.default)
    return Plain(LineEdit(), p.default)


def _number(p: Parameter, value: Any) -> Plain | Written:
    if p.member is not None:
        return numbers(value, p.member)
    if float in p.types:
        return real(value)
    low = -(2**31) if p.low is None else int(p.low)
    high = 2**31 - 1 if p.high is None else int(p.high)
    value = min(max(int(value), low), high)
    return Plain(SpinBox(min=low, max=high), value)


def _devices() -> list[str]:
    """Return the devices to choose from, without importing torch to look for them."""
    return ["auto", "cpu", "mps" if sys.platform == "darwin" else "cuda"]


class Fields(QWidget):
    """Fields for parameters, with the advanced ones in a section that is collapsed."""

    changed = Signal()

    def __init__(self, kind: type[Parameters]) -> None:
        super().__init__()
        self.kind = kind
        self.fields: dict[str, Field] = {}
        basic, inside = QWidget(), QWidget()
        self.form = make_form(basic)
        forms = {False: self.form, True: make_form(inside)}
        # A task's own parameters come first, then those that all tasks share.
        shared = {p.name for p in Recipe.parameters()}
        for p in sorted(kind.parameters(), key=lambda p: p.name in shared):
            field = self.fields[p.name] = make_field(p)
            label = label_of(p.name, kind.task)
            forms[p.advanced].addRow(*row(label, field.widget, p.help))
            field.widget.changed.connect(lambda *_: self.changed.emit())
        self.advanced = folded("Advanced", inside)
        fill(self, basic, self.advanced)
        self.advanced.setVisible(any(p.advanced for p in kind.parameters()))

    def show_row(self, name: str, shown: bool) -> None:
        """Show or hide a field and its label."""
        native = self.fields[name].widget.native
        native.parentWidget().layout().setRowVisible(native, shown)

    def values(self) -> dict[str, Any]:
        """Return the values of the fields, as keywords of `kind`."""
        return {name: field.value for name, field in self.fields.items()}

    def recipe(self) -> Any:
        """Return the values of the fields, checked, as an instance of `kind`."""
        return self.kind(**self.values())

    def differing(self) -> set[str]:
        """Return the parameters whose fields do not hold the default."""
        default = self.kind()
        return {n for n, value in self.values().items() if value != getattr(default, n)}

    def load(self, recipe: Parameters) -> None:
        """Fill in values."""
        for name, field in self.fields.items():
            field.value = getattr(recipe, name)


def label_of(name: str, task: str = "") -> str:
    """Return the label of a parameter, of a task if given, an array or a method."""
    label = LABELS.get(f"{task}.{name}") or LABELS.get(name)
    return label or name.replace("_", " ").capitalize()


def make_form(widget: QWidget) -> QFormLayout:
    """Give a widget a layout of labels and fields, in which fields can grow."""
    form = QFormLayout(widget)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def row(name: str, widget: Widget, tip: str = "") -> tuple[QLabel, QWidget]:
    """Return label and field for a form, with a tooltip."""
    label, native = QLabel(name), widget.native
    if tip:
        # Qt breaks the lines of a tip only in rich text.
        label.setToolTip(f"<qt>{tip}</qt>")
        native.setToolTip(f"<qt>{tip}</qt>")
    for part in (native, *native.findChildren(QWidget)):
        if isinstance(part, QComboBox):
            # A long name must not make the dock wide.
            part.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            part.setMinimumContentsLength(6)
            part.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return label, native
