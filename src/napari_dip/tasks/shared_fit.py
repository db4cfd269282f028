"""The fit of one network to windows of a whole data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.errors import DeviceFailed
from napari_dip.tasks.arrays import Index
from napari_dip.tasks.block import mean_of
from napari_dip.tasks.fits import COLLAPSED, Fits, predicted_nothing
from napari_dip.tasks.neighbours import related, wanted
from napari_dip.tasks.plane import Pixels, Plane
from napari_dip.tasks.restoring import code_at, error_of
from napari_dip.tasks.running import Running
from napari_dip.tasks.shared import Shared, for_windows, predictor_of
from napari_dip.tasks.tiles import Block
from napari_dip.tasks.windows import Window

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Iterate, Problem

SharedFitting = Generator["Iterate", "bool | None", "list[Shared] | None"]


def fit_shared(
    running: Running,
    windows: Sequence[Window],
    *,
    seed: int,
    begun: Sequence[Shared] = (),
    extra: int = 0,
    name: str = "",
    placed: bool = True,
) -> SharedFitting:
    """Fit networks to windows of some planes, one for each group of channels.

    Parameters
    ----------
    running : Running
        The job.
    windows : sequence of Window
        What the networks are fitted to.
    seed : int
        Seed of the fits.
    begun : sequence of Shared
        What came of the same fits until they were stopped in the last of these.
    extra : int
        Further iterations of that one, if it had ended by itself.
    name : str
        Name of the networks in the record.
    placed : bool
        Whether the windows are at their places in the planes of the job.

    Yields
    ------
    Iterate
        `image` holds the windows, (N, C, Y, X), in the units of the input; NaN in
        channels that are not fitted now.

    Returns
    -------
    list of Shared or None
        The networks of the groups up to the one where the user has stopped; there is
        none for channels that are constant in all windows.  None where the network of
        the preset sees more than a window, or the task needs more of an image than its
        pixels.
    """
    job, asked = running.job, running.recipe.neighbours
    stack = Pixels.stacked([w.pixels for w in windows])
    places = [w.index for w in windows]
    neighbours = wanted(job.layout, asked)
    if neighbours and asked == "auto" and not related(job, stack, places):
        neighbours = 0
    groups = [g for g in job.groups(stack) if not stack.of_channels(g).constant.all()]
    shared = list(begun[:-1])
    for channels in groups[len(shared) :]:
        if len(shared) < len(begun):
            resume = begun[-1].resume
            assert resume is not None
            fitting = resume(extra)
        else:
            named = f"{name}, group {len(shared)}"
            group = _fits_of(
                running, stack, places, channels, neighbours, seed, named, placed
            )
            if group is None:
                return None
            fitting = group.all()
        shared.append((yield from fitting))
        if shared[-1].stopped:
            break
    return shared


@dataclass(eq=False, kw_only=True)
class _Group(Fits):
    """The fits of channels of windows, as if these were planes of a volume."""

    plane: Plane
    shape: tuple[int, ...]
    """That of the windows with all channels."""
    neighbours: int
    """Planes on either side that the network sees."""

    alone = False
    """Each fit is kept, for its network serves many planes."""

    def failed(self, it: Iterate) -> str | None:
        """Return why a fit is given up whose network says less than a constant does.

        The large steps of a fit to single windows lead there now and then.
        """
        if it.step < self.preset.check_every or it.score < self.worst:
            return None
        return predicted_nothing(it)

    @cached_property
    def worst(self) -> float:
        """Squared error of predictions that say nothing."""
        known = self.plane.known > 0
        return COLLAPSED * float(self.plane.values[:, known].var(axis=1).mean())

    def gathered(self, fits: tuple[Fit, ...]) -> Shared:
        """Return the networks of all seeds as one."""
        from napari_dip.prior.fit import DEVICE_FAILED, is_unfinished

        ended = fits[-1].stopped_by
        if is_unfinished(ended, DEVICE_FAILED):
            # Half a network restores nothing well.
            raise DeviceFailed(f"the shared fit was ended by {ended}")
        analysis, preset, count = self.analysis, self.preset, self.neighbours
        weights = [f.weights for f in fits if f.weights is not None]
        mean = mean_of([f.average for f in fits])
        errors = [
            error_of(mean[n : n + 1], self.plane.cut((n,)), analysis)
            for n in range(len(mean))
        ]
        details = {**self.details(fits), "windows": len(mean), "neighbours": count}
        _, prior, settings = self.set_up()
        network = prior.architecture
        predictor = predictor_of(network, preset, analysis, count, weights, settings)
        ends = (min(errors), max(errors))
        return Shared(analysis, preset, predictor, count, list(fits), ends, details)

    def rendered(
        self, earlier: tuple[Fit, ...], it: Iterate, finished: bool
    ) -> NDArray[Any]:
        """Return the image of the windows by the fit that runs."""
        image = np.full(self.shape, np.nan, np.float32)
        values = it.average.transpose(0, 1).cpu().numpy()
        image[list(self.analysis.channels)] = self.plane.to_units(values)
        return image.swapaxes(0, 1)


def _fits_of(
    running: Running,
    stack: Pixels,
    windows: Sequence[Index],
    channels: tuple[int, ...],
    neighbours: int,
    seed: int,
    name: str,
    placed: bool,
) -> _Group | None:
    """Return the fits of channels of windows, None where there can be none."""
    job, overrides = running.job, running.overrides
    places = [job.layout.region(w) for w in windows] if placed else []
    block = Block.of_windows(channels, stack.values.shape[1:], job.layout.sides, places)
    known = overrides.known(channels)
    plane = job.scaled(stack, block, None if known is None else known.scale)
    if plane.constant_values is not None:
        return None
    analysis = known or job.analyse(plane, block)
    plane = plane.stretched(analysis.spreads)
    plane = plane.evened(analysis.unevenness, block.places)
    whole = job.preset(analysis)
    network = overrides.architecture or whole.architecture
    preset = for_windows(dataclasses.replace(whole, architecture=network), neighbours)
    if preset is None:
        return None
    plan = job.plan(plane, block, analysis, preset)
    own = stack.of_channels(channels)
    code = code_at(job, preset, analysis, windows, own, neighbours)
    return _Group(
        running=running,
        plane=plane,
        analysis=analysis,
        preset=preset,
        plan=dataclasses.replace(plan, problem=_as_windows(plan.problem), code=code),
        seed=seed,
        keep_weights=True,
        name=name,
        shape=stack.values.shape,
        neighbours=neighbours,
    )


def _as_windows(problem: Problem) -> Problem:
    weight = problem.weight
    assert weight is not None
    return dataclasses.replace(
        problem,
        measurement=problem.measurement[0].transpose(0, 1).contiguous(),
        weight=weight[0].transpose(0, 1).contiguous(),
    )
