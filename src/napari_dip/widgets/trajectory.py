"""Snapshots of the images that a fit passes through, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari_dip.tasks.arrays import Index

MOST = 24
"""Most snapshots of one plane."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The averaged image at one moment of a fit."""

    part: int
    """Which fit, as in `napari_dip.prior.problem.Iterate`; a plane may have several."""
    step: int
    """Iterations done."""
    image: Any
    """The plane, in the units and type of the result."""

    @property
    def moment(self) -> tuple[int, int]:
        """Fit and iteration."""
        return self.part, self.step


class Trajectory:
    """Snapshots of every plane of a result, in as many bytes as `memory`.

    A plane keeps at most `MOST`.  When there are more, the one between the closest
    neighbours is dropped, so that the others are spread evenly over the fit.  When all
    planes together need more memory than allowed, the plane with the most snapshots
    drops one.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.held = 0
        self.planes: dict[tuple[int, ...], list[Snapshot]] = {}

    def add(self, index: Index, snapshot: Snapshot) -> None:
        """Keep a snapshot; those of a plane must come in order."""
        if snapshot.image.nbytes > self.memory:
            return
        plane = self.planes.setdefault(position(index), [])
        # A fit that starts again from another seed replaces its first attempt.
        while plane and plane[-1].moment >= snapshot.moment:
            self._drop(plane, len(plane) - 1)
        plane.append(snapshot)
        self.held += snapshot.image.nbytes
        if len(plane) > MOST:
            self._thin(plane)
        while self.held > self.memory:
            self._thin(max(self.planes.values(), key=len))

    def of(self, index: Index) -> list[Snapshot]:
        """Return the snapshots of a plane, oldest first."""
        return list(self.planes.get(position(index), ()))

    def _thin(self, plane: list[Snapshot]) -> None:
        """Drop the snapshot between the closest neighbours, or the oldest of two."""
        # Two fits are far apart.
        times = [snapshot.part * 1e9 + snapshot.step for snapshot in plane]
        inner = range(1, len(plane) - 1)
        gaps = {i: times[i + 1] - times[i - 1] for i in inner}
        self._drop(plane, min(gaps, key=gaps.__getitem__) if gaps else 0)

    def _drop(self, plane: list[Snapshot], i: int) -> None:
        self.held -= plane.pop(i).image.nbytes


def position(index: Index) -> tuple[int, ...]:
    """Return the position of a plane from its index."""
    return tuple(i for i in index if not isinstance(i, slice))
