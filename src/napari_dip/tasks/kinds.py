"""Networks for the kinds of planes of a data set, chosen for every plane."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.tasks.arrays import FLOAT32, Index, cast
from napari_dip.tasks.fits import relay
from napari_dip.tasks.pool import Call
from napari_dip.tasks.restoring import errors_on_plane
from napari_dip.tasks.result import Result, untouched
from napari_dip.tasks.running import Running
from napari_dip.tasks.setup import seed_for
from napari_dip.tasks.shared import Shared, networks_of, state_of
from napari_dip.tasks.shared_fit import fit_shared
from napari_dip.tasks.task import SHARED_WEIGHTS, STOPPED_BY, Overrides
from napari_dip.tasks.windows import Window, draw_windows

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate

Choosing = Generator["Iterate", "bool | None", Any]

MOST_KINDS = 3
"""Most kinds of planes whose networks are remembered."""

IN_VAIN = 3
"""Fits of single planes that did not help, after which none is tried any more."""

NO_WORSE = 1.02
"""Error of a plane by its own network, over that by another, up to which its own is
used: that is of the plane's noise, too."""


@dataclass(frozen=True)
class Choice:
    """Networks for a plane."""

    kinds: Any
    """What stands for the networks of all kinds of planes; see `Pool.common`."""
    number: int
    """Which of them are for the plane."""


@dataclass(eq=False)
class Kinds(Running):
    """The networks of all kinds of planes."""

    networks: list[list[Shared]] = field(default_factory=list)
    """The newest last; of each kind of planes one for every group of channels."""
    in_vain: int = 0
    """Fits of single planes that did not help."""
    tests: dict[int, Call] = field(default_factory=dict)
    """What is tested on planes, by their numbers."""

    def __post_init__(self) -> None:
        self.planes = list(self.job.layout.indices())

    def begin(self, result: Result, begun: Sequence[Shared], extra: int) -> Choosing:
        """Take the networks that are given, or fit some; return whether there are."""
        networks = self.overrides.networks
        if networks is None:
            fitting = self.fit(
                result, "networks", self.planes, self.overrides, begun, extra
            )
            return (yield from fitting)
        self.take([networks_of(self, networks)])
        result.networks = dict(networks)
        return True

    def take(self, networks: list[list[Shared]]) -> None:
        """Go on with other networks; what was tested with those before is forgotten."""
        self.networks = networks
        for call in self.tests.values():
            call.cancel()
        self.tests.clear()
        self.common = self.pool.common(
            [
                [dataclasses.replace(s, fits=[], resume=None) for s in kind]
                for kind in networks
            ]
        )

    def fit(
        self,
        result: Result,
        name: str,
        planes: Sequence[Index],
        overrides: Overrides,
        begun: Sequence[Shared] = (),
        extra: int = 0,
    ) -> Choosing:
        """Fit networks to windows of some planes; return whether that is possible."""
        job = self.job
        # A plane that has been left for later takes other seeds.
        seed = seed_for(self.recipe.seed, attempt=len(self.networks))
        windows = draw_windows(job, planes, seed)
        if not windows:
            return False
        shown = next(p for p in planes if job.layout.is_part(windows[0].index, p))
        running = Running.of(self, overrides=overrides)
        fitting = fit_shared(
            running, windows, seed=seed, begun=begun, extra=extra, name=name
        )
        adapt = partial(self.fitted, windows, shown, len(result.fits))
        shared, _ = yield from relay(fitting, adapt, None)
        if not shared:
            return False
        if result.networks is None:
            result.networks = state_of(shared)
        self.take([*self.networks, shared][-MOST_KINDS:])
        for network in shared:
            result.fits += network.fits
            result.details.append(network.details)
            result.warn(*(w for f in network.fits for w in f.warnings))
            result.stopped = network.stopped
        return True

    def fitted(
        self, windows: Sequence[Window], shown: Index, before: int, it: Iterate
    ) -> Iterate:
        """Return an iterate of a fit as one that shows its windows in their plane."""
        job = self.job

        def render(finished: bool) -> NDArray[Any]:
            plane = job.take(shown)
            plane = cast(untouched(job.layout, plane, 1), FLOAT32)
            for window, values in zip(windows, it.render(finished), strict=True):
                if job.layout.is_part(window.index, shown):
                    region = job.layout.region(window.index)
                    seen = ~np.isnan(values)
                    plane[(slice(None), *region)][seen] = values[seen]
            return job.layout.arrange(plane)

        return dataclasses.replace(
            it,
            render=render,
            index=shown,
            part=before + it.part,
            parts=before + it.parts,
            shared=True,
        )

    def choose(self, number: int, result: Result) -> Choosing:
        """Return the networks for a plane: those it has the least error by.

        Where it is of another kind than all others, networks are fitted to it alone,
        and there are none if the user stops that.
        """
        if self.job.layout.planes == 1 and self.overrides.networks is None:
            return self.newest()
        index = self.planes[number]
        errors = self.tested(number)
        error, unlike, best = min((*e, n) for n, e in enumerate(errors))
        if not unlike or self.in_vain >= IN_VAIN:
            return Choice(self.common, best)
        before, fitted = self.networks, result.before()
        overrides = dataclasses.replace(self.overrides, analysis=(), weights=None)
        name = f"networks of plane {number}"
        if not (yield from self.fit(result, name, [index], overrides)):
            return Choice(self.common, best)
        if result.stopped:
            # It is fitted again when the user goes on.
            self.take(before)
            result.fits, result.details = fitted.fits, fitted.details
            result.warnings = fitted.warnings
            return None
        ((own, _),) = self.pool.submit(
            errors_on_plane, self.pool.common([self.networks[-1]]), index
        ).result()
        if own <= NO_WORSE * error:
            if self.overrides.networks is not None:
                result.warn(
                    f"weights: plane {number} is unlike what the networks were fitted "
                    "to, so that a network was fitted to it, for others like it as well"
                )
            return self.newest()
        self.in_vain += 1
        self.take(before)
        return Choice(self.common, best)

    def newest(self) -> Choice:
        """Return the choice of the newest networks."""
        return Choice(self.common, len(self.networks) - 1)

    def tested(self, number: int) -> list[tuple[float, bool]]:
        """Return the errors of all networks on a plane; begin with the next ones."""
        kept = self.record.get(_test(number))
        if kept is not None:
            return [(error, unlike) for error, unlike in kept["errors"]]
        for n in range(number, min(number + 1 + self.pool.ahead, len(self.planes))):
            if n not in self.tests and _test(n) not in self.record:
                call = self.pool.submit(errors_on_plane, self.common, self.planes[n])
                self.tests[n] = call
        errors: list[tuple[float, bool]] = self.tests.pop(number).result()
        self.record.put(_test(number), {"errors": errors})
        return errors

    def use(self, choice: Choice, result: Result) -> None:
        """Note in the provenance that networks are used which were given."""
        for shared in self.networks[choice.number]:
            details = shared.details
            if SHARED_WEIGHTS in details and details not in result.details:
                result.details.append(details)
                if STOPPED_BY in details:
                    limit = details[STOPPED_BY]
                    result.warn(f"the fit of the networks was stopped by {limit}")


def _test(number: int) -> str:
    """Return the key of the errors on a plane in the record."""
    return f"errors on plane {number}"
