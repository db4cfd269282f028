"""Removing artifacts: a compressed image in, the image without its blocks out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from napari_dip.errors import InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import Layout, as_array
from napari_dip.tasks.function import function
from napari_dip.tasks.plane import Plane
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.task import Job, Plan, Task, preset_for
from napari_dip.tasks.tiles import AROUND, Block

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.jpeg import Cells
    from napari_dip.tasks.presets import Preset

FACTORS = {"4:2:0": (2, 2), "4:2:2": (1, 2), "4:4:4": (1, 1)}
"""Names of subsampling to pixels along y and x that share a colour, coarsest first."""

BLOCK_COEFFICIENTS = 64

NARROW = 0.3
"""Part of the cells that costs nothing in the fit; the result is projected into all
of them."""

FITTING = 0.75
"""Smallest part of the coefficients that are multiples of the right steps."""


@dataclass(frozen=True, kw_only=True)
class RemoveArtifactsRecipe(Recipe):
    """Parameters of `remove_artifacts`."""

    task: ClassVar[str] = "remove_artifacts"

    quantization: tuple[int, ...] | None = parameter(
        None,
        "Quantisation tables of the JPEG file that holds the image: 64 integers for a "
        "gray image, 128 for colours (brightness, then colour), each by rows from the "
        "lowest frequencies. With them the result is one of the images that the file "
        "can have been made from; the paper preset does without.",
        low=1,
        high=65535,
        advanced=True,
    )
    subsampling: Literal["auto", "4:4:4", "4:2:2", "4:2:0"] = parameter(
        "auto",
        "How the JPEG file shares colours between pixels, where quantization is "
        "given; auto takes what fits the pixels best.",
        advanced=True,
    )


def _make_job(recipe: RemoveArtifactsRecipe, image: Any) -> Job:
    image = as_array(image, "image")
    layout = Layout.of(image, recipe.channel_axis, recipe.spatial_dims, "image")
    _check_tables(recipe, layout)

    tables = recipe.quantization is not None
    constrained = tables and recipe.preset != "paper"

    def analyse(plane: Plane, block: Block) -> Analysis:
        sharing = _subsampling(recipe, plane) if constrained else ""
        return Analysis.of(plane, block.channels, subsampling=sharing)

    def preset(analysis: Analysis) -> Preset:
        return preset_for(recipe, "jpeg" if tables else "")

    def plan(plane: Plane, block: Block, analysis: Analysis, preset: Preset) -> Plan:
        short = not tables and recipe.preset != "paper"
        plane = plane.within_reach() if short else plane
        return _plan(recipe, plane, analysis, constrained)

    return Job(
        layout,
        preset,
        plan,
        image,
        analyse,
        unit=recipe.preset == "paper",
        together=tables,
        reach=AROUND,
        # What is blended need not be an image that the file can have been made from.
        cuttable=lambda analysis: not tables,
    )


def _check_tables(recipe: RemoveArtifactsRecipe, layout: Layout) -> None:
    if recipe.quantization is None:
        return
    expected = {1: 1, 3: 2}.get(layout.channels)
    if expected is None or layout.spatial_dims != 2:
        raise InputError(
            f"quantization is for gray images and those of 3 colours with "
            f"spatial_dims=2; got an image of shape {layout.shape} with "
            f"{layout.channels} channels and spatial_dims={layout.spatial_dims}"
        )
    given = len(recipe.quantization)
    if given != expected * BLOCK_COEFFICIENTS:
        raise InputError(
            f"quantization must have {expected * BLOCK_COEFFICIENTS} integers for an "
            f"image of {layout.channels} channels; got {given}"
        )


def _plan(
    recipe: RemoveArtifactsRecipe, plane: Plane, analysis: Analysis, constrained: bool
) -> Plan:
    from napari_dip.prior import terms
    from napari_dip.prior.jpeg import Constraints
    from napari_dip.prior.problem import Problem

    measurement, known = plane.tensors()
    term: terms.Term = terms.Squared()
    finish: Callable[[Tensor], Tensor] | None = None
    details: dict[str, Any] = {}
    if constrained:
        # Analyses of older versions do not have it.
        sharing = analysis.subsampling or _subsampling(recipe, plane)
        cells, measurement, details = _cells(recipe, plane, sharing)
        offset, span = float(plane.offset[0]), float(plane.span[0])
        term = Constraints(cells, offset, span, NARROW)
        finish = _projection(plane, cells)
    problem = Problem(measurement, term=term, weight=known)
    return Plan(problem, plane.to_units, finish, details)


def _decoded(
    recipe: RemoveArtifactsRecipe, plane: Plane
) -> tuple[Tensor, Tensor, list[tuple[int, ...]]]:
    """Return the image as it was decoded, what is known of it, and the tables."""
    import torch

    steps = recipe.quantization
    assert steps is not None
    image = torch.from_numpy(plane.to_units(plane.values))[None]
    _, known = plane.tensors()
    return image, known, [steps[:BLOCK_COEFFICIENTS], steps[BLOCK_COEFFICIENTS:]]


def _subsampling(recipe: RemoveArtifactsRecipe, plane: Plane) -> str:
    """Return how the file shares colours; raise if its tables do not fit the image."""
    from napari_dip.prior import jpeg

    image, known, tables = _decoded(recipe, plane)
    names = list(FACTORS) if recipe.subsampling == "auto" else [recipe.subsampling]
    if len(plane.values) == 1:
        names = ["4:4:4"]
    cells_of = {n: jpeg.cells(image, known, tables, FACTORS[n]) for n in names}
    # Where colours hardly change all three fit, and most encoders take the coarsest.
    enough = max(cells.blocks for cells in cells_of.values()) - 0.02
    name = next(n for n in names if cells_of[n].blocks >= enough)
    share = cells_of[name].share
    if share < FITTING:
        raise InputError(
            f"quantization does not fit image: only {share:.0%} of its "
            f"coefficients are multiples of the steps; image must be the whole "
            f"decoded JPEG, from 0 to 255, neither cropped nor resized, with the "
            f"file's own tables and subsampling"
        )
    return name


def _cells(
    recipe: RemoveArtifactsRecipe, plane: Plane, subsampling: str
) -> tuple[Cells, Tensor, dict[str, Any]]:
    """Find the constraints, a first estimate, and what there is to say.

    The network sees the first estimate, of which the blocks are gone already: shown
    the image as it was decoded, which meets all constraints, it would return that.
    """
    from napari_dip.prior import jpeg

    image, known, tables = _decoded(recipe, plane)
    factors = FACTORS[subsampling]
    cells = jpeg.cells(image, known, tables, factors)
    first = jpeg.reapplied(image, tables, factors)
    measurement = (first - float(plane.offset[0])) / float(plane.span[0])
    details = {"subsampling": subsampling, "coefficients that fit": cells.share}
    return cells, measurement, details


def _projection(plane: Plane, cells: Cells) -> Callable[[Tensor], Tensor]:
    """Return the step that moves a result into the set of possible images."""
    offset, span = float(plane.offset[0]), float(plane.span[0])

    def finish(average: Tensor) -> Tensor:
        image = average * span + offset
        return (cells.to(average.device).project(image) - offset) / span

    return finish


TASK = Task(
    recipe=RemoveArtifactsRecipe,
    arrays={
        "image": "Image with artifacts: (Y, X), (Y, X, C) or any leading axes over "
        "those, any real dtype, 16 pixels a side or more. NaN marks missing pixels."
    },
    make_job=_make_job,
    summary="""Remove blocks and halos of compression, and unknown degradations.

A network is fitted to this one image and stopped before it learns the artifacts.  With
the quantisation tables of a JPEG file it is fitted to all that the file says about the
image before it was compressed.
""",
    notes="""The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
2020), section 3.1 and Fig. 6: a small hourglass, Adam at 0.01, a code of 3 channels
perturbed by 1/30, 2400 iterations, outputs averaged with 0.99.  With `quantization` the
data fidelity is the distance from the set of images that compress to this file, and the
result is projected into that set: every cosine coefficient is within half a step of the
stored one.  The stored coefficients are found again from the pixels; where they cannot
be (blocks that are clipped or cut off by the border) the squared error remains.""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import remove_artifacts as remove_artifacts
else:
    remove_artifacts = function(TASK)
