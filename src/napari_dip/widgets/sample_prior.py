"""The dock widget that draws images from the untrained prior."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_dip.io.provenance import origin
from napari_dip.machine import load_torch
from napari_dip.tasks.sample_prior import SampleParameters, sample_prior
from napari_dip.widgets import turns
from napari_dip.widgets.deletion import when_deleted
from napari_dip.widgets.layers import KEY
from napari_dip.widgets.panel import MakingPanel
from napari_dip.widgets.results import insert
from napari_dip.widgets.worker import threads


class SamplePriorWidget(MakingPanel):
    """Draw the output of an untrained network for a random input."""

    output = "seed {seed}-sample_prior.tif"
    about = (
        "This panel restores nothing. A network with random weights gets random "
        "numbers, and its output is a new layer. It shows which structures such "
        "networks prefer before they have seen any image. This preference is the "
        "prior of all restorations of this plugin.\n\n"
        "Try one scale against five, and skip connections against none: many scales "
        "give large smooth shapes, few of them fine grain."
    )

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer, SampleParameters)
        self._fill_with_run("Draw a sample; it is a new layer.")
        self.turn = object()
        """The owner of this panel's place in the queue of fits; see `turns`."""
        when_deleted(self, turns.leave, self.turn)

    def _maker(self, parameters: SampleParameters) -> Callable[[], Any]:
        return partial(_draw, parameters)

    def _begin(self, make: Callable[[], Any]) -> None:
        self.progress.say("Waiting for a fit to end")
        turns.take(self.turn, partial(super()._begin, make))

    def _show(self, result: tuple[SampleParameters, NDArray[np.float32]]) -> None:
        parameters, image = result
        rgb = parameters.channels == 3
        if image.ndim == 3 and not rgb:
            image = np.moveaxis(image, -1, 0)  # no colours: one image for each channel
        layer = Image(
            image,
            name=f"seed {parameters.seed} [DIP sample prior]",
            rgb=rgb,
            contrast_limits=None if rgb else (0, 1),
            metadata={KEY: origin(parameters)},
        )
        insert(self.viewer.layers, [], layer)
        self._end("Finished.")

    def _end(self, text: str) -> None:
        super()._end(text)
        turns.leave(self.turn)


def _draw(
    parameters: SampleParameters,
) -> tuple[SampleParameters, NDArray[np.float32]]:
    """Draw a sample in a thread, on as many cores as the copied code uses."""
    load_torch()
    from napari_dip.prior.threads import threads_here

    with threads_here.set(threads()):
        return parameters, sample_prior(**dataclasses.asdict(parameters))
