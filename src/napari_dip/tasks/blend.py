"""Blending: a part of one image is set into another so that no seam shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.arrays import (
    Float,
    Layout,
    as_array,
    check_finite,
    check_integers,
    marked,
    without_ones,
    without_single_axes,
)
from napari_dip.tasks.function import function
from napari_dip.tasks.plane import Plane, per_channel, prepare
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.scaling import OUTLYING, known_pixels
from napari_dip.tasks.task import Job, Plan, Task, preset_for

PAPER_SIDE = 672
"""Longer side of the paper's pairs, which the sides of its boxes are chosen for."""


@dataclass(frozen=True, kw_only=True)
class BlendRecipe(Recipe):
    """Parameters of `blend`."""

    task: ClassVar[str] = "blend"

    offset: tuple[int, ...] = parameter(
        (0, 0),
        "Row and column of the background where the foreground's first pixel lies; "
        "what falls outside is left out.",
        length=2,
    )
    factors: tuple[float, ...] = parameter(
        (50.0, 25.0, 20.0, 6.0, 4.0, 12.0, 18.0),
        "Weights of the background's pixels, low frequencies and illumination, the "
        "foreground's gradients and their direction, the passage between gradients, "
        "and the background's texture.",
        low=0,
        length=7,
        advanced=True,
    )
    widening: bool = parameter(
        True,
        "Begin with a narrow foreground that widens, as the paper's formula has it; "
        "otherwise the other way round, as its text says.",
        advanced=True,
    )


def _make_job(recipe: BlendRecipe, foreground: Any, background: Any, mask: Any) -> Job:
    layout, front, back, inside = place(recipe, foreground, background, mask)
    below = prepare(back, "background", unit=True, together=True)
    # Both in the units of the background, in which 0 and 1 are its ends.
    offset, span = (per_channel(v, front) for v in (below.offset, below.span))
    scaled = (front - offset) / span
    if np.abs(scaled).max() > OUTLYING:
        raise InputError(
            f"foreground must have values like the background's, {back.min():.3g} to "
            f"{back.max():.3g}; got {front.min():.3g} to {front.max():.3g}"
        )
    return Job(
        layout,
        lambda analysis: preset_for(recipe),
        lambda *_: _plan(recipe, scaled.astype(np.float32), below, inside),
    )


def place(
    recipe: BlendRecipe, foreground: Any, background: Any, mask: Any
) -> tuple[Layout, NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Lay a foreground and its mask, (Y, X), over a background.

    Outside the foreground lies the background: gradients at its edge would be those of
    a frame.  Returned are the layout of the background, both images, (C, Y, X), and the
    mask, on the pixels of the background.

    Raises
    ------
    InputError
        If the arrays are not finite images that fit each other and the recipe, or the
        mask has NaN.
    """
    back = as_array(background, "background")
    layout = Layout.of(back, recipe.channel_axis, 2, "background")
    if layout.planes != 1 or recipe.spatial_dims != 2:
        raise InputError(
            f"background must be one image, (Y, X) or with channels; got shape "
            f"{back.shape} with spatial_dims={recipe.spatial_dims}"
        )
    behind = _finite(layout.take(back, next(layout.indices())), "background")
    front = as_array(foreground, "foreground")
    unlike = InputError(
        f"foreground must be one image with as many channels as the background "
        f"({layout.channels}); got shape {front.shape}"
    )
    gray = layout.channel_axis is None
    if len(without_ones(front.shape)) > 2 if gray else front.ndim != back.ndim:
        raise unlike
    front_layout = Layout.of(front, recipe.channel_axis, 2, "foreground")
    if (front_layout.planes, front_layout.channels) != (1, layout.channels):
        raise unlike
    above = front_layout.take(front, next(front_layout.indices()))
    given = np.asarray(as_array(mask, "mask"))
    wanted = marked(without_single_axes(given))
    if wanted.shape != front_layout.sides:
        raise InputError(
            f"mask must have the foreground's sides {front_layout.sides}; got "
            f"{given.shape}"
        )
    above = _finite(above, "foreground")
    placed, inside = behind.copy(), np.zeros(layout.sides, bool)
    target, part = _overlap(recipe.offset, front_layout.sides, layout.sides)
    placed[:, *target] = above[:, *part]
    inside[*target] = wanted[*part]
    if inside.all() or not inside.any():
        raise InputError(
            "mask must mark a part of the background's pixels as foreground; got "
            + ("all of them" if inside.any() else "none")
        )
    return layout, placed, behind, inside


def _overlap(
    offset: tuple[int, ...], sides: tuple[int, ...], behind: tuple[int, ...]
) -> tuple[list[slice], list[slice]]:
    """Return where a foreground at an offset lies on a background, and which part."""
    target, part = [], []
    for first, length, side in zip(offset, sides, behind, strict=True):
        start, stop = max(first, 0), min(first + length, side)
        if start >= stop:
            raise InputError(
                f"offset must place the foreground on the background; got {offset}"
            )
        target.append(slice(start, stop))
        part.append(slice(start - first, stop - first))
    return target, part


def _finite(image: NDArray[Any], name: str) -> NDArray[np.float64]:
    values = check_integers(image, name).astype(np.float64)
    check_finite(values, name)
    known_pixels(values, name)  # raises if they are too large
    return values


def _plan(
    recipe: BlendRecipe, foreground: Float, background: Plane, inside: NDArray[np.bool_]
) -> Plan:
    import torch

    from napari_dip.prior import runtime
    from napari_dip.prior.blending import Blending
    from napari_dip.prior.problem import Problem

    device = runtime.pick_device(recipe.device)
    front = torch.from_numpy(foreground)[None].to(device)
    back = torch.from_numpy(background.values)[None].to(device)
    mask = torch.from_numpy(inside)[None, None].float().to(device)
    paper = recipe.preset == "paper"
    term = Blending(
        front,
        back,
        mask,
        recipe.factors,
        widening=recipe.widening,
        scale=1.0 if paper else max(back.shape[2:]) / PAPER_SIDE,
        cut=not paper,
    )
    # Our presets correct a soft composite, which lacks only the colours and the seam.
    # It is written so that equal images come back exactly.  The soft map is about a
    # half along the outline; beyond it nothing of the foreground is wanted.
    soft = mask * (2 * term.alpha - 1).clamp(0, 1)
    composite = back + soft * (front - back)

    def fused(output: torch.Tensor) -> torch.Tensor:
        return output if paper else composite + 2 * (output - 0.5)

    problem = Problem(
        back, term=term, operator=fused, shape=tuple(back.shape[1:]), anneal=term.anneal
    )
    warnings = list(background.warnings)
    unit = background.unit
    return Plan(problem, background.to_units, fused, warnings=warnings, unit=unit)


TASK = Task(
    recipe=BlendRecipe,
    arrays={
        "foreground": "Image of which a part is wanted, (Y, X) or with channels; may "
        "be smaller than the background.",
        "background": "Image to set it into, of the same number of channels.",
        "mask": "Nonzero where the foreground is wanted; sides of the foreground.",
    },
    like="background",
    make_job=_make_job,
    summary="""Blend a part of one image into another.

A network is fitted so that inside the mask the gradients are the foreground's, outside
the image is the background's, and nothing jumps in between.  The result has the size
and units of the background.
""",
    notes="""The loss is that of the second paper, section 4.2 and appendix A3, with its
weights.  The paper preset follows its published program where the text is open: the
hourglass of 5 scales and 128 channels with skips of 128, nearest upsampling, Adam at
0.006, a code perturbed by 0.02, 1001 iterations; the averaged output is the result, not
the last one.  The program squares the background's weight, the paper does not: here the
paper is followed.  The other presets fit a smaller network to the difference from a
soft composite; their boxes are as large relative to the image as the paper's to its
images, and the foreground counts within the mask only.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import blend as blend
else:
    blend = function(TASK)
