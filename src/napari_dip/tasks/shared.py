"""Networks that planes share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_dip.errors import InputError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.neighbours import most
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.running import Running
from napari_dip.tasks.task import NETWORKS, SHARED_WEIGHTS, Job, Overrides
from napari_dip.tasks.unevenness import Unevenness
from napari_dip.tasks.windows import WINDOW_SIDE, window_sides

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.architecture import Generates
    from napari_dip.prior.predictor import Predictor
    from napari_dip.prior.problem import Fit, Iterate, Settings
    from napari_dip.tasks.presets import Preset

ITERATIONS = 240
"""Iterations of a shared fit, each of one window (docs/development/experiments.md)."""

WITH_NEIGHBOURS = 480
"""Iterations of a shared fit that sees neighbouring planes: it learns for longer."""

LEARNING_RATE = 0.02
"""Of the kernels: with the 0.03 of single images, fits to windows are unstable."""

COARSE = 60
"""Iterations before them at half the resolution."""

DECAY = 0.98
"""EMA decay of the weights: a window alone says less than a whole image."""

CHECK_EVERY = 240
"""Iterations between looks at the loss, which predict all windows.

A look costs as much as 40 iterations."""

ENOUGH = 16
"""Windows as large as which a data set is at least, where its planes share a network
unasked: from there on that takes less time (docs/development/experiments.md)."""

SMALL = 64
"""Side below which planes are so small that fits of their own take little time."""

UNLIKE = 1.5
"""How far outside the range of the windows' errors, by a factor, the error of a plane
is when the plane is of another kind."""

FACTS = {
    "analysis": dict,
    "architecture": dict,
    "neighbours": int,
    "restarts": int,
    "errors": list[float] | tuple[float, ...],
    "details": dict,
}
"""What weights say of every network, and the types."""

ROUNDS = 2
"""Most rounds of the collaborative filter: a third takes a tenth of the time of a data
set."""

ONE_PLANE: dict[str, Any] = {"thresholds": False, "half_resolution": False, "rounds": 1}
"""The collaborative filter without what follows from what a single plane shows."""


@dataclass(frozen=True, eq=False)
class Shared:
    """A network that was fitted to windows of a data set."""

    analysis: Analysis
    """What was found out about all windows together."""
    preset: Preset
    """How it was fitted."""
    predictor: Predictor
    """The network."""
    neighbours: int
    """Planes on either side that it sees beside the one it restores."""
    fits: list[Fit]
    """The fit of every restart."""
    errors: tuple[float, float]
    """Smallest and largest error of a window where pixels were hidden, in units of the
    noise."""
    details: dict[str, Any] = field(default_factory=dict)
    """For the provenance, JSON-able."""
    resume: Callable[[int], GroupFitting] | None = None
    """Goes on with the fit, where the user has stopped it and that was asked for:
    ``resume(extra)`` yields iterates and returns another of these."""

    @property
    def stopped(self) -> bool:
        """Whether the user has stopped the fit."""
        from napari_dip.prior.fit import STOPPED

        return bool(self.fits) and self.fits[-1].stopped_by == STOPPED

    @property
    def channels(self) -> tuple[int, ...]:
        """What it restores."""
        return self.analysis.channels

    def is_unlike(self, error: float) -> bool:
        """Return whether a plane with such an error is of another kind."""
        low, high = self.errors
        return not low / UNLIKE <= error <= high * UNLIKE


GroupFitting = Generator["Iterate", "bool | None", "Shared"]


def wants_sharing(job: Job, recipe: Recipe, overrides: Overrides | None = None) -> bool:
    """Return whether to try one network for all planes of a job.

    Raises
    ------
    InputError
        If that is asked for, with an architecture that sees more than a window.
    """
    layout = job.layout
    window = math.prod(max(n, SMALL) for n in window_sides(job))
    large = math.prod(layout.shape) >= ENOUGH * window * layout.channels
    wanted = recipe.share == "yes" or (recipe.share == "auto" and large)
    if not (wanted and job.can_share):
        return False
    from napari_dip.prior.architecture import is_local

    architecture = None if overrides is None else overrides.architecture
    if architecture is None or is_local(architecture):
        return True
    if recipe.share == "yes":
        raise InputError(
            f"architecture must be one whose weights serve images of every size, such "
            f"as Local, where share is yes; got {type(architecture).__name__}"
        )
    return False


def predictor_of(
    architecture: Generates,
    preset: Preset,
    analysis: Analysis,
    neighbours: int,
    weights: Sequence[Mapping[str, Tensor]],
    settings: Settings,
) -> Predictor:
    """Return networks with such weights, that see so many neighbours."""
    import torch

    from napari_dip.prior.codes import BlindSpot
    from napari_dip.prior.predictor import Predictor
    from napari_dip.prior.problem import Prior

    code, channels = preset.code, len(analysis.channels)
    if neighbours:
        # A network depends on how many channels there are, not on what they show.
        assert isinstance(code, BlindSpot)
        empty = torch.empty(1, 2 * neighbours * channels, 1, 1)
        code = dataclasses.replace(code, guide=empty)
    shape = (channels, WINDOW_SIDE, WINDOW_SIDE)
    return Predictor(Prior(architecture, code), shape, weights, settings)


def state_of(networks: Sequence[Shared]) -> dict[str, Any]:
    """Return networks as a flat dict of tensors and of values that JSON can hold."""
    from napari_dip.prior import architecture

    facts, state = [], dict[str, Any]()
    for group, shared in enumerate(networks):
        predictor = shared.predictor
        facts.append(
            {
                "analysis": shared.analysis.to_dict(),
                "architecture": architecture.to_dict(predictor.prior.architecture),
                "neighbours": shared.neighbours,
                "restarts": len(predictor.weights),
                "errors": shared.errors,
                "details": shared.details,
            }
        )
        for restart, weights in enumerate(predictor.weights):
            state |= {f"{group}.{restart}.{name}": t for name, t in weights.items()}
    return {**state, NETWORKS: facts}


def networks_of(running: Running, state: Mapping[str, Any]) -> list[Shared]:
    """Return the networks of `state_of` for another data set of the same kind.

    Raises
    ------
    InputError
        If it has other channels, or planes that cannot share networks, no neighbours
        where the networks see some, or other sides than planes whose noise grows
        towards the border.
    """
    from napari_dip.prior.kinds import check_kind
    from napari_dip.prior.snapshot import check_names, digest

    layout = running.job.layout
    check_kind(state[NETWORKS], list[dict[str, object]], f"weights: {NETWORKS}")
    for facts in state[NETWORKS]:
        check_names(FACTS, facts, f"weights: {NETWORKS}")
        for name, kind in FACTS.items():
            check_kind(facts[name], kind, f"weights: {NETWORKS}: {name}")
    analyses = [Analysis.from_dict(facts["analysis"]) for facts in state[NETWORKS]]
    channels = sorted(c for analysis in analyses for c in analysis.channels)
    if channels != list(range(layout.channels)):
        raise InputError(
            f"weights: are of shared networks for the channels {channels}; the image "
            f"has {layout.channels}"
        )
    for analysis in analyses:
        _check_sides(analysis, layout.sides)
    given = {SHARED_WEIGHTS: digest(state)}
    return [
        _network_of(running, state, group, analysis, given)
        for group, analysis in enumerate(analyses)
    ]


def _check_sides(analysis: Analysis, sides: tuple[int, ...]) -> None:
    """Raise an InputError if what is known of other planes is not true of these."""
    if not analysis.unevenness:
        return
    known = Unevenness.of(analysis.unevenness).sides
    if known != sides:
        raise InputError(
            f"weights: are of networks for noise that grows towards the border of "
            f"planes of {' x '.join(map(str, known))} pixels; the planes have "
            f"{' x '.join(map(str, sides))}"
        )


def _network_of(
    running: Running,
    state: Mapping[str, Any],
    group: int,
    analysis: Analysis,
    also: Mapping[str, str],
) -> Shared:
    """Return the network of `state_of` for one group of channels.

    Its details say `also` what is given.
    """
    from napari_dip.prior import architecture
    from napari_dip.prior.problem import Settings

    job, recipe, facts = running.job, running.recipe, state[NETWORKS][group]
    neighbours = facts["neighbours"]
    network = architecture.from_dict(facts["architecture"])
    preset = None
    if job.can_share:
        own = dataclasses.replace(job.preset(analysis), architecture=network)
        preset = for_windows(own, neighbours)
    if preset is None:
        raise InputError(
            "weights: are of networks that planes share; they serve neither this "
            "task and preset nor a volume"
        )
    possible = most(job.layout)
    if neighbours > possible:
        given = f"a stack of {possible + 1} planes" if possible else "a single plane"
        raise InputError(
            f"weights: are of networks that were fitted with neighbours={neighbours}, "
            f"which need a stack of {neighbours + 1} planes or more; got {given} "
            "(those that were fitted with neighbours=0 serve that, too)"
        )
    weights = [
        {
            name.removeprefix(start): tensor
            for name, tensor in state.items()
            if name.startswith(start)
        }
        for start in (f"{group}.{n}." for n in range(facts["restarts"]))
    ]
    settings = Settings(
        preset.stop,
        device=recipe.device,
        precision=recipe.precision,
        threads=running.threads,
        seed=recipe.seed,
    )
    predictor = predictor_of(network, preset, analysis, neighbours, weights, settings)
    errors, details = tuple(facts["errors"]), {**facts["details"], **also}
    return Shared(analysis, preset, predictor, neighbours, [], errors, details)


def iterations_for(neighbours: int) -> int:
    """Return the iterations of a shared fit that sees so many planes on either side."""
    return WITH_NEIGHBOURS if neighbours else ITERATIONS


def for_windows(preset: Preset, neighbours: int = 0) -> Preset | None:
    """Return a preset for windows, None where it is none for parts of an image.

    There are too many windows to learn their noise, so that the fit ends after a number
    of iterations, with a lower learning rate.  A network that sees neighbouring planes
    knows better than what a single plane shows.
    """
    from napari_dip.prior.architecture import is_local
    from napari_dip.prior.codes import BlindSpot
    from napari_dip.prior.stopping import Iterations

    local = is_local(preset.architecture)
    hiding = isinstance(preset.code, BlindSpot) and preset.code.guide is None
    if not (local and hiding and preset.average == "weights"):
        return None
    stop = preset.stop
    if not stop.fixed:
        stop = Iterations(iterations_for(neighbours))
    rounds = min(preset.finish.rounds, ROUNDS)
    finish = dataclasses.replace(preset.finish, rounds=rounds)
    if neighbours:
        finish = dataclasses.replace(finish, **ONE_PLANE)
    return dataclasses.replace(
        preset,
        stop=stop,
        coarse_iterations=COARSE,
        learning_rate=LEARNING_RATE,
        schedule="cosine",
        ema_decay=DECAY,
        check_every=CHECK_EVERY,
        finish=finish,
    )
