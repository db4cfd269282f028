"""Samples of the prior: what untrained networks draw before they see anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Layout
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.run import Job, Part, Plan, Task, function

if TYPE_CHECKING:
    from napari_dip.prior.architecture import Generates


@dataclass(frozen=True, kw_only=True)
class SampleRecipe(Recipe):
    """Parameters of `sample_prior`."""

    task: ClassVar[str] = "sample_prior"

    shape: tuple[int, ...] = parameter(
        (256, 256), "Rows and columns of the image.", low=16, high=4096
    )
    channels: int = parameter(3, "Channels of the image.", low=1, high=64)
    architecture: Literal["hourglass", "unet", "resnet"] = parameter(
        "hourglass", "Kind of network: that of the papers, or what they compare with."
    )
    scales: int = parameter(
        5, "How often the network halves the resolution.", low=1, high=8
    )
    width: int = parameter(
        128, "Channels at every scale of an hourglass.", low=1, high=512, advanced=True
    )
    skip: int = parameter(
        0, "Channels of an hourglass's skip connections; 0 is none.", low=0, high=512
    )
    upsampling: Literal["bilinear", "nearest"] = parameter(
        "bilinear", "How an hourglass doubles the resolution."
    )
    spread: bool = parameter(
        True,
        "Stretch every channel of the sample over the whole range: before a fit its "
        "contrast is low.",
    )


def _start(recipe: SampleRecipe) -> Job:
    if len(recipe.shape) != 2:
        raise InputError(f"shape must be rows and columns; got {recipe.shape}")
    single = recipe.channels == 1
    full = recipe.shape if single else (*recipe.shape, recipe.channels)
    layout = Layout(full, np.dtype(np.float32), None if single else 2, 2)
    image = layout.arrange(_sample(recipe, _architecture(recipe)))

    def plan(pixels: Any, part: Part) -> Plan:
        raise AssertionError("a sample is ready without a fit")

    return Job(None, layout, layout.sides, plan, ready=np.ascontiguousarray(image))


def _architecture(recipe: SampleRecipe) -> Generates:
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.generators import ResNet, UNet

    if recipe.architecture == "resnet":
        return ResNet()
    if recipe.architecture == "unet":
        widths = (8, 16, 32, 64, 128, 128, 128, 128, 128)
        return UNet(widths[: recipe.scales + 1])
    return Architecture.uniform(
        recipe.width, recipe.scales, recipe.skip, upsampling=recipe.upsampling
    )


def _sample(recipe: SampleRecipe, architecture: Generates) -> NDArray[Any]:
    """Return one output, (C, Y, X), of a network nobody has fitted."""
    import torch

    from napari_dip.prior import runtime
    from napari_dip.prior.codes import Noise
    from napari_dip.prior.problem import Problem

    device = runtime.pick_device(recipe.device)
    multiples = architecture.multiple(2)
    canvas = tuple(
        max(2, -(-n // m)) * m for n, m in zip(recipe.shape, multiples, strict=True)
    )
    code = Noise(perturbation=0)
    first = runtime.generator(recipe.seed, torch.device("cpu"))
    network = architecture.build(code.features, recipe.channels, canvas, first)
    network.to(device)
    problem = Problem(torch.zeros(1, recipe.channels, *recipe.shape, device=device))
    random = runtime.generator(recipe.seed + 1, device)
    known = torch.ones_like(problem.measurement[:, :1])
    draw = code.start(canvas, problem.measurement, known, random)
    with runtime.step_context(None), torch.no_grad():
        output = network(draw(random).code)[0]
    output = output[:, : recipe.shape[0], : recipe.shape[1]]
    if recipe.spread:
        low, high = output.amin((1, 2), True), output.amax((1, 2), True)
        output = (output - low) / (high - low).clamp(min=1e-12)
    found: NDArray[Any] = output.cpu().numpy().astype(np.float32)
    return found


TASK = Task(
    recipe=SampleRecipe,
    arrays={},
    start=_start,
    summary="""Draw an image from the untrained prior.

What a network with random weights makes of random numbers, before it has seen any
image: the structures that it will prefer in every fit.
""",
    notes="""First paper, section 2.2 and Fig. 5: (a) one scale, (b) three, (c) five,
(d) five with skips of 4, (e) the same as c with nearest upsampling; codes of 32
channels, uniform in [0, 0.1].""",
)

sample_prior = function(TASK)
