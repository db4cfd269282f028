"""The dock widgets of tasks that need no more than their inputs and a description."""

from __future__ import annotations

from typing import ClassVar

from napari_dip.widgets.inputs import ImageInput
from napari_dip.widgets.masks import MaskInput
from napari_dip.widgets.models import ModelInput
from napari_dip.widgets.task import TaskWidget


class DenoiseWidget(TaskWidget):
    """Remove the noise from an image, without training data."""

    task = "denoise"
    about = (
        "A small network is fitted to this image alone and stopped before it "
        "learns the noise. The result is a new layer with the intensities, size "
        "and scale of the original, which stays as it is.\n\n"
        "Details as faint as the noise are removed with it, and sometimes a pattern "
        "in the noise is taken for structure. Compare with the original before you "
        "measure or count anything. A stack is restored plane by plane."
    )


class DenoiseGuidedWidget(TaskWidget):
    """Denoise an image with another one of the same scene as a guide."""

    task = "denoise_guided"
    arrays: ClassVar[dict[str, type[ImageInput]]] = {
        "image": ImageInput,
        "guide": ImageInput,
    }
    about = (
        "A network is given the guide and fitted to the noisy image: a flash photo "
        "guides the one without, a bright channel a dim one. The result has the "
        "intensities of the image and is a new layer.\n\n"
        "Both must show the same, pixel on pixel. Edges that only the guide has can "
        "show up in the result, and edges that the guide lacks are lost more easily. "
        "Compare the result with the image, not with the guide."
    )


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


class EnhanceWidget(TaskWidget):
    """Bring out the detail of an image, without training data."""

    task = "enhance"
    takes_away = False
    simple = ("amount",)
    ends = ("stronger", "weaker")
    about = (
        "A network is fitted for a short while, until it has the large shapes of "
        "this image but not its detail. The difference, which is the detail, is "
        "added to the image once more.\n\n"
        "The result is for viewing: intensities change, and noise gets stronger as "
        "well, so denoise first. Do not measure in the result."
    )


class InvertFeaturesWidget(TaskWidget):
    """Find an image that a layer of your network cannot tell from this one."""

    task = "invert_features"
    arrays: ClassVar[dict[str, type[ImageInput]]] = {
        "image": ImageInput,
        "model": ModelInput,
    }
    takes_away = False
    in_parts = False
    about = (
        "Looks inside a PyTorch model of yours, which is not changed: another image "
        "is fitted until the chosen layer responds to it as to this one. What the "
        "two share is what the layer still knows. In the console, offer(net=net) "
        "from napari_dip.widgets.models makes a model known by its name.\n\n"
        "Mean, std and size must be those that the model was trained with. What the "
        "layer does not know is made up by the prior: do not take it for the image."
    )
