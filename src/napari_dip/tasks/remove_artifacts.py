"""Removing artifacts: a compressed image in, the image without its blocks out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from napari_dip.errors import InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import PLANES, Layout, as_array
from napari_dip.tasks.function import function
from napari_dip.tasks.plane import Plane, keeping
from napari_dip.tasks.recipe import Recipe, parameter
from napari_dip.tasks.task import Job, Plan, Task, preset_for
from napari_dip.tasks.tiles import AROUND, WHOLE, Block

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.jpeg import Cells
    from napari_dip.tasks.presets import Preset

CellsOf = Callable[[Plane, str], "Cells"]
"""Returns the cells of a plane by the name of a subsampling."""

FACTORS = {"4:2:0": (2, 2), "4:2:2": (1, 2), "4:4:4": (1, 1)}
"""Names of subsampling to pixels along y and x that share a colour, coarsest first."""

BLOCK_COEFFICIENTS = 64

NARROW = 0.3
"""Part of the cells that costs nothing in the fit; the result may lie anywhere in
them."""

FITTING = 0.75
"""Smallest part of the coefficients that are multiples of the right steps."""

FOUND = (
    "the pixels are those of a JPEG of quality {}, whose tables were used; turn "
    "find_tables off if other damage is to be removed"
)
"""Note where the tables were found."""

AS_GOOD = 0.02
"""Part of the blocks by which a subsampling may fit less well than the best: where
colours hardly change all three fit, and most encoders take the coarsest."""


@dataclass(frozen=True, kw_only=True)
class RemoveArtifactsRecipe(Recipe):
    """Parameters of `remove_artifacts`."""

    task: ClassVar[str] = "remove_artifacts"

    quantization: tuple[int, ...] | None = parameter(
        None,
        "Quantisation tables of the JPEG file that holds the image: 64 integers for a "
        "gray image, 128 for colours (brightness, then colour), each by rows from the "
        "lowest frequencies, or in arrays of 8 x 8. With them the result is one of the "
        "images that the file can have been made from; the paper preset does without.",
        low=1,
        high=65535,
        advanced=True,
    )
    find_tables: bool = parameter(
        True,
        "Look for these tables in the pixels, where quantization is not given: those "
        "of the usual qualities are found in a whole decoded image of up to 1024 x "
        "1024 pixels, in integers from 0 to 255. Turn it off for damage of another "
        "kind in such an image.",
        advanced=True,
    )
    subsampling: Literal["auto", "4:4:4", "4:2:2", "4:2:0"] = parameter(
        "auto",
        "How the JPEG file shares colours between pixels, where its tables are "
        "known; auto takes what fits the pixels best.",
        advanced=True,
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantization", _by_rows(self.quantization))
        super().__post_init__()


def _by_rows(tables: Any) -> Any:
    """Return one or two tables of 8 x 8 by rows, and all else as it is."""
    try:
        shape = np.shape(tables)
    except ValueError:  # rows of unlike lengths
        return tables
    if shape in ((8, 8), (1, 8, 8), (2, 8, 8)):
        return np.ravel(tables).tolist()
    return tables


def _make_job(recipe: RemoveArtifactsRecipe, image: Any) -> Job:
    image = as_array(image, "image")
    layout = Layout.of(image, recipe.channel_axis, recipe.spatial_dims, "image")
    _check_tables(recipe, layout)
    quality = _quality(recipe, image, layout)
    if quality is not None:
        recipe = replace(recipe, quantization=_standard_tables(quality, layout))
    tables, cells_of = recipe.quantization is not None, None
    if tables and recipe.preset != "paper":
        cells_of = lru_cache(maxsize=len(FACTORS))(partial(_cells, recipe))
    return Job(
        layout,
        lambda analysis: preset_for(recipe, "jpeg" if tables else ""),
        partial(_plan, recipe, quality, cells_of),
        image,
        partial(_analyse, recipe, quality, cells_of),
        unit=recipe.preset == "paper",
        together="all" if tables else "none",
        reach=AROUND,
        # What is blended need not be an image that the file can have been made from.
        cuttable=lambda analysis: not tables,
    )


def _quality(recipe: RemoveArtifactsRecipe, image: Any, layout: Layout) -> int | None:
    """Return the quality of a JPEG that the pixels tell of, where that is asked for."""
    looked_for = recipe.find_tables and recipe.quantization is None
    if not looked_for or recipe.preset == "paper" or recipe.tile not in ("auto", None):
        return None
    flat = layout.spatial_dims == 2 and layout.planes == 1
    if not flat or layout.channels not in (1, 3) or math.prod(layout.sides) > WHOLE**2:
        return None
    import torch

    from napari_dip.prior.jpeg_tables import quality_of

    pixels = layout.take(image, next(iter(layout.indices())))
    values = np.asarray(pixels, np.float64)
    if not ((values >= 0) & (values <= 255) & (values == np.round(values))).all():
        return None
    return quality_of(torch.from_numpy(values)[None])


def _standard_tables(quality: int, layout: Layout) -> tuple[int, ...]:
    from napari_dip.prior.jpeg_tables import standard_tables

    return standard_tables(quality)[: BLOCK_COEFFICIENTS * min(layout.channels, 2)]


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
    count = len(recipe.quantization)
    if count != expected * BLOCK_COEFFICIENTS:
        raise InputError(
            f"quantization must have {expected * BLOCK_COEFFICIENTS} integers for an "
            f"image of {layout.channels} channels; got {count}"
        )


def _analyse(
    recipe: RemoveArtifactsRecipe,
    quality: int | None,
    cells_of: CellsOf | None,
    plane: Plane,
    block: Block,
) -> Analysis:
    sharing = ""
    if cells_of is not None:
        sharing, share = _subsampling(recipe, plane, cells_of)
        if quality is None:
            _check_share(share)
    return Analysis.of(plane, block.channels, subsampling=sharing)


def _plan(
    recipe: RemoveArtifactsRecipe,
    quality: int | None,
    cells_of: CellsOf | None,
    plane: Plane,
    block: Block,
    analysis: Analysis,
    preset: Preset,
) -> Plan:
    from napari_dip.prior import jpeg, terms
    from napari_dip.prior.problem import Problem

    kept, plane = plane.apart, plane.without_apart()
    if recipe.quantization is None and recipe.preset != "paper":
        plane = plane.within_reach()
    measurement, known = plane.tensors()
    term: terms.Term = terms.Squared()
    finish: Callable[[Tensor], Tensor] | None = None
    details: dict[str, Any] = {}
    warnings = []
    if cells_of is not None:
        # An analysis for the paper preset does not have it.
        sharing = analysis.subsampling or _subsampling(recipe, plane, cells_of)[0]
        cells = cells_of(plane, sharing)
        offset, span = float(plane.offset[0]), float(plane.span[0])
        # Shown the image as it was decoded, which meets all constraints, the network
        # would return that: the blocks are gone already from this estimate.
        image, tables = _decoded(recipe, plane)
        estimate = jpeg.reapplied(image, tables, FACTORS[sharing])
        measurement = (estimate - offset) / span
        term = jpeg.Constraints(cells, offset, span, NARROW)
        finish = partial(_combined, cells, offset, span)
        details = {"subsampling": sharing, "coefficients that fit": cells.share}
    if quality is not None:
        details["found quality"] = quality
        warnings.append(FOUND.format(quality))
    problem = Problem(measurement, term=term, weight=known)
    return Plan(problem, keeping(plane, kept), finish, details, warnings)


def _decoded(
    recipe: RemoveArtifactsRecipe, plane: Plane
) -> tuple[Tensor, list[tuple[int, ...]]]:
    """Return the image as it was decoded, and the tables."""
    import torch

    steps = recipe.quantization
    assert steps is not None
    image = torch.from_numpy(plane.to_units(plane.values))[None]
    return image, [steps[:BLOCK_COEFFICIENTS], steps[BLOCK_COEFFICIENTS:]]


def _cells(recipe: RemoveArtifactsRecipe, plane: Plane, subsampling: str) -> Cells:
    from napari_dip.prior import jpeg

    image, tables = _decoded(recipe, plane)
    _, known = plane.tensors()
    return jpeg.cells(image, known, tables, FACTORS[subsampling])


def _subsampling(
    recipe: RemoveArtifactsRecipe, plane: Plane, cells_of: CellsOf
) -> tuple[str, float]:
    """Return how the file shares colours, and how well its tables fit the image."""
    names = list(FACTORS) if recipe.subsampling == "auto" else [recipe.subsampling]
    if len(plane.values) == 1:
        names = ["4:4:4"]
    if cells_of(plane, names[0]).blocks >= 1 - AS_GOOD:
        names = names[:1]
    enough = max(cells_of(plane, name).blocks for name in names) - AS_GOOD
    name = next(n for n in names if cells_of(plane, n).blocks >= enough)
    return name, cells_of(plane, name).share


def _check_share(share: float) -> None:
    """Raise an InputError if so many of the coefficients are no multiples of steps."""
    if share < FITTING:
        raise InputError(
            f"quantization does not fit image: only {share:.0%} of its "
            f"coefficients are multiples of the steps; image must be the whole "
            f"decoded JPEG, from 0 to 255, neither cropped nor resized, with the "
            f"file's own tables and subsampling"
        )


def _combined(cells: Cells, offset: float, span: float, average: Tensor) -> Tensor:
    image = average * span + offset
    return (cells.to(average.device).combine(image) - offset) / span


TASK = Task(
    recipe=RemoveArtifactsRecipe,
    arrays={"image": f"Image with artifacts: {PLANES}"},
    make_job=_make_job,
    summary="""Remove blocks and halos of compression, and unknown degradations.

A network is fitted to this one image and stopped before it learns the artifacts.  With
the quantisation tables of a JPEG file it is fitted to all that the file says about the
image before it was compressed.
""",
    notes="""The paper preset is Ulyanov, Vedaldi, Lempitsky, Deep Image Prior (IJCV
2020), section 3.1 and Fig. 6: a small hourglass, Adam at 0.01, a code of 3 channels
perturbed by 1/30, 2400 iterations, outputs averaged with 0.99.  With `quantization` the
data fidelity is the distance from the set of images that compress to this file.  Of the
fit and the decoded image together the result is made, frequency by frequency: what the
fit spreads beyond the cells of the stored coefficients is its error.  It is projected
into the set: every cosine coefficient is within half a step of the stored one.  The
stored coefficients are found again from the pixels; where they cannot
be (blocks that are clipped or cut off by the border) the squared error remains.
Without `quantization` the tables of the Independent JPEG Group's qualities are tried on
the pixels, as in Fan, de Queiroz, Identification of bitmap compression history (IEEE
Transactions on Image Processing 12, 2003).""",
)

if TYPE_CHECKING:
    from napari_dip.tasks.signatures import remove_artifacts as remove_artifacts
else:
    remove_artifacts = function(TASK)
