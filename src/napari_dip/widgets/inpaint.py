"""The dock widget that fills in missing pixels."""

from __future__ import annotations

from typing import ClassVar

from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.masks import MaskInput
from napari_dip.widgets.task import TaskWidget


class InpaintWidget(TaskWidget):
    """Fill in missing pixels, text, scratches or holes, without training data."""

    task = "inpaint"
    arrays: ClassVar[dict[str, type[ImageInput]]] = {
        "image": ImageInput,
        "mask": MaskInput,
    }
    takes_away = False
    about = (
        "Pixels that the mask marks are thrown away and filled in so that they go "
        "with the rest of this image: a network is fitted to the other pixels. "
        "These stay exactly as they are, unless you untick Keep known.\n\n"
        "What is filled in is invented. Thin scratches, text and single pixels come "
        "out well; in a large hole you get a plausible texture, not what was there. "
        "Never measure inside the mask. Paint it a pixel or two wider than the "
        "damage: what is left at its border would be continued inwards."
    )
