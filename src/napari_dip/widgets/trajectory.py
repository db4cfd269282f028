"""What a fit looked like on its way: snapshots in bounded memory, and a scrubber."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MOST = 24
"""Snapshots kept of one plane."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The averaged image at one moment of a fit.

    Attributes
    ----------
    part : int
        Which fit, as in `napari_dip.prior.problem.Iterate`; a plane may have several.
    step : int
        Iterations done.
    image : ndarray
        One plane, in the units and type of the result.
    """

    part: int
    step: int
    image: Any


class Trajectory:
    """Snapshots of every plane of a result.

    A plane keeps at most `MOST`: when there are more, the one between its closest
    neighbours goes, so what is left is spread evenly over the fit.  When all planes
    together need more memory than allowed, the plane with most of them loses first.

    Parameters
    ----------
    memory : int
        Most bytes to hold.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.held = 0
        self.planes: dict[tuple[int, ...], list[Snapshot]] = {}

    def add(self, index: tuple[int | slice, ...], snapshot: Snapshot) -> None:
        """Remember a moment; moments of a plane come in order."""
        if snapshot.image.nbytes > self.memory:
            return
        plane = self.planes.setdefault(position(index), [])
        # A fit that was begun again from another seed is another fit.
        while plane and _moment(plane[-1]) >= _moment(snapshot):
            self._drop(plane, len(plane) - 1)
        plane.append(snapshot)
        self.held += snapshot.image.nbytes
        if len(plane) > MOST:
            self._thin(plane)
        while self.held > self.memory:
            self._thin(max(self.planes.values(), key=len))

    def of(self, index: tuple[int | slice, ...]) -> list[Snapshot]:
        """Return what is remembered of a plane, oldest first."""
        return list(self.planes.get(position(index), ()))

    def _thin(self, plane: list[Snapshot]) -> None:
        """Drop the snapshot that is missed least; the newest stays while it can."""
        inner = range(1, len(plane) - 1)
        gaps = {i: _gap(plane[i - 1], plane[i + 1]) for i in inner}
        self._drop(plane, min(gaps, key=gaps.__getitem__) if gaps else 0)

    def _drop(self, plane: list[Snapshot], i: int) -> None:
        self.held -= plane.pop(i).image.nbytes


def position(index: tuple[int | slice, ...]) -> tuple[int, ...]:
    """Return which plane an index means."""
    return tuple(i for i in index if not isinstance(i, slice))


def _moment(snapshot: Snapshot) -> tuple[int, int]:
    return snapshot.part, snapshot.step


def _gap(before: Snapshot, after: Snapshot) -> float:
    """Return how much of the fit lies between two snapshots; another part is far."""
    return (after.part - before.part) * 1e9 + after.step - before.step
