"""The fit of one block: a pure function of recipe, arrays, block and analysis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import FitError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import narrowed
from napari_dip.tasks.fits import Fits
from napari_dip.tasks.plane import Pixels, Plane, per_channel
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.record import State, array, facts_of, fit_of, tensors
from napari_dip.tasks.running import Running
from napari_dip.tasks.setup import restarts_of
from napari_dip.tasks.task import Job, Overrides, Plan
from napari_dip.tasks.tiles import Block

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.problem import Fit, Iterate

NOT_FINISHED = "the slow filters at the end were left out: the user stopped them"
"""Warning of a fit that the user has stopped while its image was finished."""


@dataclass(frozen=True, eq=False)
class BlockFit:
    """What came of the fits of a block, or of networks that planes share."""

    image: NDArray[Any]
    """(C, Y, X) or (C, Z, Y, X), in the units of the input; float32, or float64 where
    float32 cannot hold it."""
    deviation: NDArray[Any] | None
    """Standard deviation, of the same shape: the task's, or else that over the restarts
    where several were asked for."""
    fits: list[Fit]
    """The fit of every restart; none where the image is constant, or was restored by
    networks that planes share."""
    details: dict[str, Any] = field(default_factory=dict)
    """For the provenance, JSON-able."""
    warnings: list[str] = field(default_factory=list)
    """What the user should know."""
    resume: Callable[[int], BlockFitting] | None = None
    """Goes on with the fit, where that was asked for and it was single or stopped:
    ``resume(extra)`` is a generator like that of `fit_block`."""

    def to_record(self) -> dict[str, Any] | None:
        """Return what a record keeps of it: all but the tensors of its fits.

        That is nothing where a fit was ended early: by the user, a limit or its device.
        """
        from napari_dip.prior.fit import is_unfinished

        if self.fits and is_unfinished(self.fits[-1].stopped_by):
            return None
        return {
            **tensors(image=self.image, deviation=self.deviation),
            "fits": [facts_of(fit) for fit in self.fits],
            "details": self.details,
            "warnings": self.warnings,
        }

    @classmethod
    def from_record(cls, part: State) -> BlockFit:
        """Return what a record has kept."""
        image = array(part, "image")
        assert image is not None
        fits = [fit_of(facts) for facts in part["fits"]]
        details, warnings = dict(part["details"]), list(part["warnings"])
        return cls(image, array(part, "deviation"), fits, details, warnings)


BlockFitting = Generator["Iterate", "bool | None", BlockFit]


def fit_block(
    running: Running,
    block: Block,
    *,
    pixels: Pixels | None = None,
    keep_weights: bool = False,
    name: str = "",
) -> BlockFitting:
    """Fit one block, yielding every iterate with the image in the units of the input.

    What is needed to go on later is kept if there is only one fit or the user stops it.
    With `keep_weights` the weights of the network are kept, and the operator where one
    was fitted along, if there is only one fit.  `pixels` is the plane of the block,
    where it has been read already, and `name` that of the block in the record.
    """
    from napari_dip.prior import interrupt

    job, recipe = running.job, running.recipe
    if pixels is None:
        pixels = job.pixels(block.index)
    known = running.overrides.known(block.channels)
    scale = None if known is None else known.scale
    plane = None if pixels is None else job.scaled(pixels, block, scale)
    constant = None if plane is None else plane.constant_values
    if plane is not None and constant is not None:
        return _constant(job, recipe, block, plane, constant)
    interrupt.check()
    if known is not None:
        job.check_analysis(known)
    analysis = known or job.analyse(plane, block)
    if plane is not None:
        plane = plane.stretched(analysis.spreads)
        plane = plane.evened(analysis.unevenness, block.places)
    preset = job.preset(analysis)
    interrupt.check()
    plan = job.plan(plane, block, analysis, preset)
    interrupt.check()
    count = restarts_of(recipe, preset)
    fits = _Fits(
        running=running,
        plane=plane,
        analysis=analysis,
        preset=preset,
        plan=plan,
        seed=recipe.seed,
        number=block.plane * count,
        keep_weights=keep_weights and count == 1,
        name=name,
        dtype=None if plane is None else result_type(job, recipe, plane),
    )
    done: BlockFit = yield from fits.all()
    return done


@dataclass(eq=False, kw_only=True)
class _Fits(Fits):
    dtype: np.dtype[Any] | None
    """Type of its image."""

    def rendered(
        self, earlier: tuple[Fit, ...], it: Iterate, finished: bool
    ) -> NDArray[Any]:
        """Return the image of the block by all fits."""
        averages = [*(f.average for f in earlier), it.average]
        preview = not finished
        return restored(self.plan, averages, self.dtype, preview=preview, alone=True)[0]

    def gathered(self, fits: tuple[Fit, ...]) -> BlockFit:
        """Return the image of all fits together."""
        from napari_dip.prior import interrupt
        from napari_dip.prior.fit import STOPPED

        plan, averages = self.plan, [f.average for f in fits]
        known = () if self.plane is None else self.plane.warnings
        of_fits = (w for f in fits for w in f.warnings)
        warnings = list(dict.fromkeys([*known, *plan.warnings, *of_fits]))
        if plan.preview is None:
            image, deviation = restored(plan, averages, self.dtype)
        else:
            # A stop has ended the fit, another one ends the filters.
            ignored = int(fits[-1].stopped_by == STOPPED)
            try:
                with interrupt.allowed(ignored):
                    image, deviation = restored(plan, averages, self.dtype)
            except interrupt.Interrupted:
                fits = (*fits[:-1], dataclasses.replace(fits[-1], stopped_by=STOPPED))
                warnings.append(NOT_FINISHED)
                image, deviation = restored(plan, averages, self.dtype, preview=True)
        if not np.isfinite(image).all():
            raise FitError(
                "the fit has diverged, so that its image is not finite: parameters "
                "that are far from their defaults may be the reason"
            )
        if deviation is None and self.count > 1:
            images = [restored(plan, [a], self.dtype)[0] for a in averages]
            deviation = np.std(images, axis=0)
        return BlockFit(image, deviation, list(fits), self.details(fits), warnings)


def result_type(job: Job, recipe: Recipe, plane: Plane) -> np.dtype[Any]:
    """Return the type of a block's image, which holds the input's where that is asked.

    Pixels that are kept as they came are then exact.
    """
    wanted = job.layout.dtype if recipe.dtype == "input" else np.float32
    return np.result_type(plane.dtype, np.float32, wanted)


def constant_image(
    plane: Plane, constants: NDArray[Any], sides: Sequence[int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return the image of a plane whose channels have one value each: the same.

    It has the type that is asked for, or one that holds them exactly.
    """
    values = per_channel(constants, plane.pixels)
    values = values.astype(np.result_type(constants.dtype, np.float32))
    with np.errstate(over="ignore"):
        exact = (values.astype(dtype) == values).all()
    values = values.astype(dtype if exact else np.float64)
    return np.broadcast_to(values, (len(constants), *sides)).copy()


def _constant(
    job: Job, recipe: Recipe, block: Block, plane: Plane, constants: NDArray[Any]
) -> BlockFit:
    sides = [job.factor * side for side in plane.known.shape]
    image = constant_image(plane, constants, sides, result_type(job, recipe, plane))
    several = recipe.restarts not in ("auto", 1)
    return BlockFit(
        image,
        np.zeros_like(image) if several or job.uncertain else None,
        fits=[],
        details={"analysis": Analysis.of(plane, block.channels).to_dict()},
        warnings=list(plane.warnings),
    )


def fit_to_end(
    job: Job, recipe: Recipe, block: Block, overrides: Overrides | None = None
) -> BlockFit:
    """Fit one block of a job to its end.

    Recipe, arrays and blocks can be pickled, so that another process can make the job.
    """
    from napari_dip.prior.fit import run_to_end

    running = Running(job, recipe, overrides or Overrides())
    return run_to_end(fit_block(running, block))


def restored(
    plan: Plan,
    averages: Sequence[Tensor],
    dtype: np.dtype[Any] | None,
    *,
    preview: bool = False,
    alone: bool = False,
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the image of several averaged outputs, and the task's deviation, if any.

    In the units of the input, of the type that is asked for, or one that can hold it.
    A `preview` is finished in less time; `alone` the image is without a deviation.
    """
    import torch

    mean = finished = mean_of(averages)
    step = (preview and plan.preview) or plan.finish
    if step is not None and bool(mean.isfinite().all()):
        with torch.no_grad():
            finished = step(mean)
    deviation = None
    if plan.deviation is not None and not alone:
        deviation = plan.deviation(mean, finished)
    image = plan.to_units(finished[0].cpu().numpy())
    return image if dtype is None else narrowed(image, dtype), deviation


def mean_of(averages: Sequence[Tensor]) -> Tensor:
    """Return the mean of the averaged outputs of several fits."""
    return sum(averages[1:], start=averages[0]) / len(averages)
