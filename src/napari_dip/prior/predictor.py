"""A network whose weights are fixed, for measurements of any size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from napari_dip.prior import snapshot
from napari_dip.prior.averaging import predict
from napari_dip.prior.codes import Code
from napari_dip.prior.objective import Objective
from napari_dip.prior.problem import Prior, Problem, Settings
from napari_dip.prior.runtime import Place, generator


class Predictor:
    """What fits of other measurements of the same kind say about a measurement.

    The network must not depend on the size of the image; `image_shape` is that of an
    image like those that will be predicted.  The images of several networks, whose
    weights are as in `Fit.weights`, are averaged.
    """

    def __init__(
        self,
        prior: Prior,
        image_shape: tuple[int, ...],
        weights: Sequence[Mapping[str, Tensor]],
        settings: Settings,
    ) -> None:
        self.prior, self.settings, self.image_shape = prior, settings, image_shape
        device = Place.pick(settings, image_shape[1:]).device
        self.network = prior.build(image_shape, None).to(device)
        self.weights = [
            {name: tensor.to(device) for name, tensor in tensors.items()}
            for tensors in weights
        ]
        own = dict(self.network.named_parameters())
        for tensors in self.weights:
            snapshot.check_weights(own, tensors)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process may have another device.
        weights = [{name: t.cpu() for name, t in w.items()} for w in self.weights]
        return Predictor, (self.prior, self.image_shape, weights, self.settings)

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(self, problem: Problem, code: Code) -> Tensor:
        """Return the predictions for the measurement of a problem, (N, C, ...).

        The network sees what `code` shows of the measurement.
        """
        place = Place.pick(self.settings, problem.image_shape[1:])
        objective = Objective(problem, place.device)
        drawing = code.drawing(
            self.prior.canvas(problem.image_shape[1:]),
            objective.measurement,
            objective.known(per_channel=code.per_channel),
            generator(self.settings.seed, place.device),
        )
        shape = problem.batch_shape
        images = [predict(self.network, w, drawing, shape, place) for w in self.weights]
        return sum(images[1:], start=images[0]) / len(images)
