"""Samples of the prior: what untrained networks draw before they see anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dip.machine import load_torch
from napari_dip.tasks.recipe import Parameters, parameter
from napari_dip.tasks.running import usual

if TYPE_CHECKING:
    from napari_dip.prior.architecture import Generates


def sample_prior(
    shape: Sequence[int] = (256, 256),
    *,
    channels: int = 3,
    architecture: Literal["hourglass", "unet", "resnet"] = "hourglass",
    scales: int = 5,
    width: int = 128,
    skip: int = 0,
    upsampling: Literal["bilinear", "nearest"] = "bilinear",
    spread: bool = True,
    device: str = "auto",
    seed: int = 0,
) -> NDArray[np.float32]:
    """Draw an image from the untrained prior.

    What a network with random weights makes of random numbers, before it has seen any
    image: the structures that it will prefer in every fit.

    Parameters
    ----------
    shape : tuple of int, default (256, 256)
        Rows and columns of the image.
    channels : int, default 3
        Channels of the image.
    architecture : {"hourglass", "unet", "resnet"}
        Kind of network: that of the papers, or what they compare with.
    scales : int, default 5
        How often the network halves the resolution.
    width : int, default 128
        Channels at every scale of an hourglass.
    skip : int, default 0
        Channels of an hourglass's skip connections; 0 is none.
    upsampling : {"bilinear", "nearest"}
        How an hourglass doubles the resolution.
    spread : bool, default True
        Stretch every channel of the sample over the whole range: before a fit its
        contrast is low.
    device : str, default "auto"
        auto, cpu, cuda, cuda:N or mps.
    seed : int, default 0
        Start of the random numbers: the same seed on the same machine, with the same
        number of threads, gives the same image.

    Returns
    -------
    ndarray
        float32 in [0, 1], (Y, X, C), or (Y, X) with one channel.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.

    Notes
    -----
    First paper, section 2.2 and Fig. 5: (a) one scale, (b) three, (c) five, (d) five
    with skips of 4, (e) the same as c with nearest upsampling; codes of 32 channels,
    uniform in [0, 0.1].
    """
    parameters = SampleParameters(**locals())
    network = _network(parameters)
    planes = _draw(parameters, network)
    image = planes[0] if parameters.channels == 1 else np.moveaxis(planes, 0, -1)
    return np.ascontiguousarray(image)


@dataclass(frozen=True, kw_only=True)
class SampleParameters(Parameters):
    """What `sample_prior` accepts, for the panel and the command line too."""

    task: ClassVar[str] = "sample_prior"
    documentation: ClassVar[str | None] = sample_prior.__doc__

    shape: tuple[int, ...] = parameter((256, 256), low=16, high=4096, length=2)
    channels: int = parameter(3, low=1, high=64)
    architecture: Literal["hourglass", "unet", "resnet"] = parameter("hourglass")
    scales: int = parameter(5, low=1, high=8)
    width: int = parameter(128, low=1, high=512, advanced=True)
    skip: int = parameter(0, low=0, high=512)
    upsampling: Literal["bilinear", "nearest"] = parameter("bilinear")
    spread: bool = parameter(True)
    device: str = parameter("auto", advanced=True)
    seed: int = parameter(0, low=0, high=2**31 - 1, advanced=True)


def _network(parameters: SampleParameters) -> Generates:
    load_torch()
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.generators import ResNet, UNet

    if parameters.architecture == "resnet":
        return ResNet()
    if parameters.architecture == "unet":
        widths = (8, 16, 32, 64, 128, 128, 128, 128, 128)
        return UNet(widths[: parameters.scales + 1])
    return Architecture.uniform(
        parameters.width,
        parameters.scales,
        parameters.skip,
        upsampling=parameters.upsampling,
    )


@usual
def _draw(parameters: SampleParameters, architecture: Generates) -> NDArray[np.float32]:
    import torch

    from napari_dip.prior import runtime
    from napari_dip.prior.codes import Noise
    from napari_dip.prior.layers import corner
    from napari_dip.prior.problem import Prior

    device = runtime.pick_device(parameters.device)
    shape = (parameters.channels, *parameters.shape)
    prior = Prior(architecture, Noise(perturbation=0))
    first = runtime.generator(parameters.seed, torch.device("cpu"))
    network = prior.build(shape, first).to(device)
    random = runtime.generator(parameters.seed + 1, device)
    blank = torch.zeros(1, *shape, device=device)
    canvas = prior.canvas(parameters.shape)
    drawing = prior.code.drawing(canvas, blank, blank[:, :1], random)
    with runtime.step_context(None), torch.no_grad():
        output = network(drawing.draw(random).code)[0][corner(parameters.shape)]
    if parameters.spread:
        low, high = output.amin((1, 2), True), output.amax((1, 2), True)
        output = (output - low) / (high - low).clamp(min=1e-12)
    values: NDArray[np.float32] = output.cpu().numpy().astype(np.float32)
    return values
