"""What a task is: its parameters, its arrays, and what it makes of a block."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import Float, Index, Layout, check_integers
from napari_dip.tasks.channels import groups
from napari_dip.tasks.plane import Pixels, Plane, prepare
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.scaling import known_pixels
from napari_dip.tasks.stripes import Stripes
from napari_dip.tasks.tiles import WHOLE, Block, tile_sides

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.architecture import Generates
    from napari_dip.prior.codes import Code
    from napari_dip.prior.problem import Iterate, Problem
    from napari_dip.prior.stopping import Rule
    from napari_dip.tasks.presets import Preset


NO_UNCERTAINTY = (
    "uncertainty is not known where neighbouring pixels or channels share their noise, "
    "nor of impulse noise, of the paper preset or of tasks other than denoise, but as "
    "the spread of several fits (restarts of 2 or more)"
)
"""What to say to whoever asks for it."""

NETWORKS = "networks"
"""Name in weights for what they are, if they are those of networks that planes share;
see `napari_dip.tasks.shared.state_of`."""

SHARED_WEIGHTS = "shared weights"
"""Name in the provenance for the SHA-256 of networks that were given."""

STOPPED_BY = "stopped by"
"""Name in weights for the time limit that has ended the fit of such networks, if one
has."""


@dataclass(frozen=True)
class Plan:
    """What a task makes of a block."""

    problem: Problem
    """What is fitted."""
    to_units: Callable[[Float], NDArray[Any]]
    """Brings the result, float32 (C, ...), back to the units of the input.  What it
    returns is float64 where float32 cannot hold them."""
    finish: Callable[[Any], Any] | None = None
    """Step from the averaged output of the network to the result, in scaled units."""
    details: dict[str, Any] = field(default_factory=dict)
    """What the user should find in the provenance, JSON-able."""
    warnings: list[str] = field(default_factory=list)
    """What the user should know about the input."""
    code: Code | None = None
    """What the network sees, in place of the preset's: for codes made of the image."""
    failed: Callable[[Iterate], str | None] | None = None
    """Looks at an iterate and says, with a reason, that the fit is stuck and should
    begin again from another seed; None goes on."""
    seeded: Callable[[int], Problem] | None = None
    """Maps a seed to the problem, where it holds something random."""
    preview: Callable[[Any], Any] | None = None
    """A quicker `finish`, for images that are shown during the fit."""
    deviation: Callable[[Any, Any], NDArray[Any]] | None = None
    """Maps the averaged output of the network, and what `finish` makes of it, to the
    standard deviation of the result, (C, ...), in the units of the input; NaN where it
    is not known."""
    unit: float = math.nan
    """An error of one in scaled units, in those of the input, where no plane says
    it."""


@dataclass(frozen=True)
class Overrides:
    """What a user of the Python functions sets in place of the preset."""

    architecture: Generates | None = None
    """The network."""
    stop: Rule | None = None
    """When the fit ends."""
    weights: Mapping[str, Tensor] | None = None
    """Weights of the network that every fit begins from; or networks that planes share,
    to restore planes of the same kind with."""
    state: MutableMapping[str, Any] | None = None
    """State of the only fit of a job, from `Iterate.checkpoint`, to go on from; or a
    mapping, empty at first, that is filled with what a job has done, see
    `napari_dip.tasks.record.Record`."""
    analysis: tuple[Analysis, ...] = ()
    """What is known about the image already, one for each group of channels; empty
    where it is to be found out."""

    def known(self, channels: tuple[int, ...]) -> Analysis | None:
        """Return what is known about a group of channels, None where nothing is."""
        return next((a for a in self.analysis if a.channels == channels), None)

    @property
    def networks(self) -> Mapping[str, Any] | None:
        """The weights, if they are those of networks that planes share."""
        shared = self.weights is not None and NETWORKS in self.weights
        return self.weights if shared else None

    def to_dict(self) -> dict[str, Any]:
        """Return what is set, for the provenance; JSON-able."""
        from napari_dip.prior import architecture, snapshot, stopping

        given: dict[str, Any] = {}
        if self.architecture is not None:
            given["architecture"] = architecture.to_dict(self.architecture)
        if self.stop is not None:
            given["stop"] = stopping.to_dict(self.stop)
        if self.weights is not None:
            given["began from weights"] = snapshot.digest(self.weights)
        return given


@dataclass(frozen=True)
class Job:
    """A task with its arrays checked."""

    layout: Layout
    """Layout of the result, and of `image`."""
    preset: Callable[[Analysis], Preset]
    """Maps an `Analysis` to the `Preset` of its case."""
    plan: Callable[[Any, Block, Analysis, Preset], Plan]
    """Maps the `Plane` of a block (None without an image), the `Block`, its `Analysis`
    and its `Preset` to a `Plan`."""
    image: Any = None
    """That the blocks are cut from, if any."""
    analyse: Callable[[Any, Block], Analysis] = lambda plane, block: Analysis.unknown(
        len(block.channels)
    )
    """Maps the `Plane` of a block and the `Block` to an `Analysis`."""
    needs: tuple[str, ...] = ()
    """Fields of an `Analysis` that those of other tasks may not have."""
    unit: bool = False
    """How a block is scaled; see `prepare`."""
    together: Literal["none", "like", "all"] = "none"
    """Which channels are scaled together: "none", "like" for those of which none is
    much brighter than another, or "all".  Of channels that are not, those that have
    nothing in common are fitted one by one."""
    factor: int = 1
    """How many times finer the pixels of the result are."""
    canvas: tuple[int, ...] = ()
    """Pixels that are added to the sides of a block for the fit."""
    reach: int | None = None
    """Pixels around a part of a plane, a multiple of 16, that a fit of the part needs;
    None where parts cannot be fitted."""
    cuttable: Callable[[Analysis], bool] = lambda analysis: True
    """Maps an `Analysis` to whether large planes of that kind are fitted in parts
    without being asked: whether the parts are restored alike."""
    can_share: bool = False
    """Whether planes can be restored by one network that was fitted to windows of all;
    `Task.job` says so."""
    missing: Callable[[Index], NDArray[np.bool_]] | None = None
    """Maps the index of a plane to the mask of what is missing in it, (C or 1, ...),
    beside what is NaN."""
    stripes: Stripes | None = None
    """What rows and columns of the planes share, to be removed before anything else."""
    check_others: Callable[[Index], Any] | None = None
    """Maps the index of a plane to nothing, and raises if another array of the task
    cannot be used for it."""
    uncertain: bool = False
    """Whether plans can have a `deviation`; `Task.job` says so."""
    kinds: Callable[[Plane], Sequence[Any]] | None = None
    """Maps the `Plane` of channels that show the same things to one value for each:
    those with unlike values are fitted apart all the same."""

    @property
    def name(self) -> str:
        """What of the image is fitted, for errors."""
        return "image" if self.missing is None else "image outside the mask"

    def take(self, index: Index) -> NDArray[Any] | None:
        """Return a plane of the input, channels first."""
        if self.image is None:
            return None
        return check_integers(self.layout.take(self.image, index), "image")

    def pixels(self, index: Index, plane: NDArray[Any] | None = None) -> Pixels | None:
        """Return what is known of a plane, which may have been taken already."""
        plane = self.take(index) if plane is None else plane
        if plane is None:
            return None
        pixels = Pixels.of(self.outside(index, plane))
        if self.stripes is None:
            return pixels
        return self.stripes.removed(pixels, index, plane)

    def outside(self, index: Index, plane: NDArray[Any]) -> NDArray[Any]:
        """Return a plane with NaN where the mask says that it is missing."""
        if self.missing is None:
            return plane
        return np.where(self.missing(index), np.nan, plane)

    def check_analysis(self, given: Analysis) -> None:
        """Raise if an analysis that was given does not say all that is needed."""
        for name in self.needs:
            if not getattr(given, name):
                raise InputError(
                    f"analysis must be one of a fit of the same task; got one without "
                    f"{name}"
                )

    def unread(self, index: Index) -> NDArray[np.float32]:
        """Return what stands for a plane, or a part of one, that cannot be read."""
        shape = (self.layout.channels, *self.layout.extent(index))
        return np.full(shape, np.nan, np.float32)

    def check(self, index: Index, name: str) -> bool:
        """Return whether anything is known of a plane.

        Raises
        ------
        InputError
            If it cannot be fitted.
        """
        plane = self.take(index)
        if plane is None:
            return True
        values = self.outside(index, plane).astype(np.float64)
        known = known_pixels(values, name)
        if not known.any():
            return False
        spatial = tuple(range(1, known.ndim))
        compared = known if self.together == "all" else known[known.any(axis=spatial)]
        if self.together != "none" and not compared.all(axis=0).any():
            raise InputError(
                f"{name} must have pixels that are known in all channels; got none"
            )
        if self.check_others is not None:
            self.check_others(index)
        return True

    def blocks(self, plane: int, index: Index, pixels: Pixels | None) -> list[Block]:
        """Return the blocks of a plane: one for every group of channels.

        Channels without any known pixel are in none.
        """
        together = [tuple(range(self.layout.channels))]
        if pixels is not None:
            together = self.groups(pixels)
        sides = self.layout.sides
        return [Block.whole(plane, index, group, sides) for group in together]

    def groups(self, pixels: Pixels) -> list[tuple[int, ...]]:
        """Return the channels that are fitted together."""
        known = ~np.isnan(pixels.values)
        seen = [c for c in range(self.layout.channels) if known[c].any()]
        if len(seen) < 2 or self._scaled_together(pixels):
            return [tuple(seen)] if seen else []
        if not known[seen].all(axis=0).any():
            return [(c,) for c in seen]
        plane = prepare(pixels.of_channels(seen), "image")
        related = groups(plane)
        if len(related) == 1:
            return self._of_kinds(plane, tuple(seen))
        parts = []
        for group in related:
            chosen = tuple(seen[c] for c in group)
            plane = prepare(pixels.of_channels(chosen), "image")
            parts += self._of_kinds(plane, chosen)
        return parts

    def _of_kinds(self, plane: Plane, group: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the parts of a group of channels that are of one kind."""
        if self.kinds is None or len(group) == 1:
            return [group]
        kinds = self.kinds(plane)
        parts: dict[Any, tuple[int, ...]] = {}
        for channel, kind in zip(group, kinds, strict=True):
            parts[kind] = (*parts.get(kind, ()), channel)
        return list(parts.values())

    def _scaled_together(self, pixels: Pixels) -> bool:
        return self.together == "all" or (self.together == "like" and pixels.like_range)

    def scaled(
        self, pixels: Pixels, block: Block, scale: tuple[Any, ...] | None = None
    ) -> Plane:
        """Return the pixels of a block of a plane, scaled as `scale` or they say.

        All channels have the same span in a scale of channels together.
        """
        if scale is None:
            together = self._scaled_together(pixels)
        else:
            whole = len(block.channels) == self.layout.channels
            together = self.together != "none" and whole and len(set(scale[1])) == 1
        return prepare(
            block.cut(pixels),
            self.name,
            unit=self.unit,
            together=together,
            scale=scale,
        )

    def tile_sides(self, recipe: Recipe, *known: Analysis) -> tuple[int, ...] | None:
        """Return the sides of the tiles that planes are fitted in, None for whole ones.

        Without being asked, planes are cut where tiles with all that they see are no
        larger than what is fitted whole, where a fit is not the published one, and
        where planes of all analyses that are given are restored alike in parts.
        """
        if self.reach is None:
            return None
        sides = tile_sides(recipe.tile, self.layout.sides, self.factor, self.reach)
        if sides is None:
            return None
        if recipe.tile != "auto":
            return sides
        larger = max(sides) + 2 * self.reach > WHOLE
        whole = larger or recipe.preset == "paper"
        return sides if not whole and all(map(self.cuttable, known)) else None

    def image_shape(self, channels: int) -> tuple[int, ...]:
        """Return channels and sides of what the network makes for a plane."""
        sides = self.layout.sides
        more = self.canvas or (0,) * len(sides)
        fitted = (self.factor * n + k for n, k in zip(sides, more, strict=True))
        return (channels, *fitted)


@dataclass(frozen=True)
class Task:
    """A task: its parameters, its arrays and how to begin."""

    recipe: type[Recipe]
    """The parameters."""
    arrays: dict[str, str]
    """Names of the array arguments and what they are, for the documentation."""
    make_job: Callable[..., Job]
    """``make_job(recipe, *arrays)`` checks the arrays and returns a `Job`."""
    summary: str
    """What it does: one line, then paragraphs."""
    notes: str = ""
    """Sources, for the documentation."""
    from_files: bool = True
    """Whether its arguments can come from files: the command line needs that."""
    objects: dict[str, str] = field(default_factory=dict)
    """Those of `arrays` that are no arrays but something else, such as a model, and
    their types; the command line passes them on as text."""
    functions: dict[str, str] = field(default_factory=dict)
    """Names of optional keyword arguments that are functions, and what they are;
    `make_job` gets them after the arrays, None where not given."""
    positional: tuple[str, ...] = ()
    """Parameters that may also be given by position, after the arrays."""
    like: str = ""
    """Name of the array that the result is like, if not the first."""
    uncertain: Callable[[Any], bool] = lambda recipe: False
    """Maps a recipe to whether results of single fits can have an uncertainty."""
    shareable: bool = False
    """Whether planes and files can share networks, with any preset but "paper"."""

    def job(self, recipe: Recipe, *arrays: Any) -> Job:
        """Check the arrays and return a `Job`."""
        return dataclasses.replace(
            self.make_job(recipe, *arrays),
            can_share=self.can_share(recipe),
            uncertain=self.uncertain(recipe),
        )

    def can_share(self, recipe: Recipe) -> bool:
        """Return whether planes and files can share networks with such a recipe."""
        return self.shareable and recipe.preset != "paper" and recipe.spatial_dims == 2

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.recipe.task

    @property
    def command(self) -> str:
        """Name of the command."""
        return self.name.replace("_", "-")

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the arguments that are arrays."""
        return tuple(name for name in self.arrays if name not in self.objects)

    @property
    def subject(self) -> str:
        """Name of the array whose units, scale and axes the result has."""
        return self.like or next(iter(self.files), "")


def preset_for(recipe: Recipe, case: str = "") -> Preset:
    """Return the preset of a recipe for a case of its task, or else for all cases.

    It ends after the number of iterations that the recipe asks for, if any, and takes
    no more than that at half the resolution before.
    """
    from napari_dip.prior.stopping import Iterations
    from napari_dip.tasks.presets import TABLES

    table = TABLES[recipe.task]
    preset = table.get((recipe.preset, case)) or table.get((recipe.preset, ""))
    if preset is None:
        raise InputError(
            f"analysis must be one of a fit of {recipe.task}; got one without its case"
        )
    if recipe.iterations == "auto":
        return preset
    count = int(recipe.iterations)
    coarse = min(preset.coarse_iterations, count)
    return dataclasses.replace(preset, stop=Iterations(count), coarse_iterations=coarse)
