"""The dock widget that removes artefacts."""

from __future__ import annotations

from napari_dip.widgets.task import TaskWidget


class RemoveArtifactsWidget(TaskWidget):
    """Remove JPEG blocks, halos and other artefacts, without training data."""

    task = "remove_artifacts"
    about = (
        "A network that takes to natural structure sooner than to blocks and halos "
        "is fitted to this image alone and stopped in between. The result is a new "
        "layer with the intensities, size and scale of the original.\n\n"
        "The fit cannot know which is which: fine texture goes along with the "
        "artefacts. Where it stopped is a choice; move through the fit with the "
        "slider below and keep the image you trust. Look at the residual for edges."
    )
