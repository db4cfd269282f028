"""Models for the panels: from napari's console, or by an import path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import LineEdit
from napari.layers import Layer

from napari_dip.errors import InputError
from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.layers import Crop

OFFERED: dict[str, Any] = {}
"""Models from napari's console, by the names that the panels accept."""


def offer(**models: Any) -> None:
    """Make models known to the panels, from napari's console.

    >>> from napari_dip.widgets.models import offer
    >>> offer(net=net)  # doctest: +SKIP

    Parameters
    ----------
    **models : torch.nn.Module
        Models by the names to fill in.

    Raises
    ------
    InputError
        If one is not a torch.nn.Module.
    """
    from torch import nn

    for name, model in models.items():
        if not isinstance(model, nn.Module):
            raise InputError(
                f"{name} must be a torch.nn.Module; got {type(model).__name__}"
            )
    OFFERED.update(models)


class _Line(LineEdit):
    """A line in place of a choice of layers: none is offered."""

    choices = ()

    def reset_choices(self, event: Any = None) -> None:
        """Do nothing."""


class ModelInput(ImageInput):
    """An input of a task that is a model."""

    kinds = "model"
    aligned = False

    def _combo(self) -> Any:
        return _Line(name=self.name)

    @property
    def layer(self) -> Layer | None:
        """None, because no layer holds a model."""
        return None

    @property
    def ready(self) -> bool:
        """True: `array` says what is wrong with the text."""
        return True

    def choose_other(self, first: Layer) -> None:
        """Do nothing: there is no choice of layers."""

    @property
    def text(self) -> str:
        """What is filled in.

        Raises
        ------
        InputError
            If it is neither a known model nor an import path.
        """
        text = str(self.combo.value).strip()
        if text not in OFFERED and ":" not in text:
            known = f" (offered: {', '.join(OFFERED)})" if OFFERED else ""
            got = f"; {text!r} is neither" if text else ""
            raise InputError(
                f"Fill in a model: the name of one that was offered{known}, or "
                f"package.module:function{got}. To offer the model net, in napari's "
                f"console: from napari_dip.widgets.models import offer; offer(net=net)"
            )
        return text

    def array(self, source: Layer, crop: Crop) -> Callable[[], Any]:
        """Return a function that returns the model, or its import path."""
        text = self.text
        return lambda: OFFERED.get(text, text)

    def code(self, source: Layer, crop: Crop) -> str:
        """Return the Python expression of the model, in napari's console."""
        return self.text if self.text in OFFERED else repr(self.text)

    def file(self, crop: Crop) -> str:
        """Return the import path of the model, for the command line."""
        if self.text in OFFERED:
            raise InputError(
                "A command makes the model by its import path, package.module:"
                "function@weights; this one is in memory only. Copy Python instead."
            )
        return self.text
