"""The dock widget that enlarges images."""

from __future__ import annotations

from napari_dip.widgets.task import TaskWidget


class SuperResolveWidget(TaskWidget):
    """Enlarge an image, without training data."""

    task = "super_resolve"
    takes_away = False
    simple = ("factor",)
    about = (
        "A network is fitted so that its image, made smaller, is this one. The "
        "result is a new layer with several times as many pixels in the same place: "
        "its scale is smaller, so lengths stay true.\n\n"
        "Edges are sharper than with interpolation. Detail that the camera "
        "never resolved does not come back: fine texture is a guess. Where the image "
        "is noisy, filters remove the noise first. A result 4 times as wide needs 16 "
        "times the memory of the original."
    )
