"""Networks that are fitted once for all files of a kind of a batch."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip import __version__
from napari_dip.batch.file_run import FileRun
from napari_dip.batch.manifest import digest
from napari_dip.errors import DipError, FitError, InputError, fault
from napari_dip.io import checkpoint, provenance
from napari_dip.tasks.arrays import Index
from napari_dip.tasks.limit import until_late
from napari_dip.tasks.plane import Pixels
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.running import Running
from napari_dip.tasks.setup import seed_for
from napari_dip.tasks.shared import for_windows, state_of
from napari_dip.tasks.shared_fit import fit_shared
from napari_dip.tasks.task import STOPPED_BY, Job
from napari_dip.tasks.tiles import Block
from napari_dip.tasks.windows import (
    CANDIDATES,
    WINDOWS,
    Window,
    candidates,
    most_useful,
    window_sides,
)

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate

PATTERN = "napari-dip-shared-*.safetensors"
"""Names of the files of networks in the folder of results."""

FEWEST = 4
"""Windows that are looked at in a file, however many files there are."""

NOISE = 1.5
"""Factor up to which the noise of two files of a kind may differ."""

SPAN = 4.0
"""The same of the ranges of their values, which depend on what is in view."""


@dataclass(frozen=True)
class Kind:
    """What the files have in common that share a network."""

    channels: int
    """Number of channels."""
    dtype: str
    """Type of the values."""
    sides: tuple[int, ...]
    """Pixels along the windows that a network is fitted to; small images have small
    ones."""
    together: bool
    """Whether channels share their noise."""
    noise: tuple[float, ...]
    """Standard deviation of the noise of every channel, in units of the file."""
    span: tuple[float, ...]
    """Range of the values of every channel."""

    @classmethod
    def of(cls, job: Job, windows: Sequence[Window]) -> Kind | None:
        """Return the kind of a file, None where its planes cannot share a network."""
        stack = Pixels.stacked([w.pixels for w in windows])
        every = tuple(range(job.layout.channels))
        block = Block.whole(0, (), every, stack.values.shape[1:])
        plane = job.scaled(stack, block)
        if plane.constant_values is not None:
            return None
        analysis = job.analyse(plane, block)
        if for_windows(job.preset(analysis)) is None:
            return None
        span = np.array(analysis.span)
        noise = np.maximum(np.sqrt(analysis.levels), 1e-6) * span
        return cls(
            channels=len(every),
            dtype=str(job.layout.dtype),
            sides=window_sides(job),
            together=analysis.shared,
            noise=tuple(noise.tolist()),
            span=tuple(span.tolist()),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Kind:
        """Return the kind that was written as JSON."""
        lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **lists})

    def is_like(self, other: Kind) -> bool:
        """Return whether files of two kinds can share a network."""
        exact = ("channels", "dtype", "sides", "together")
        return all(getattr(self, name) == getattr(other, name) for name in exact) and (
            _alike(self.noise, other.noise, NOISE)
            and _alike(self.span, other.span, SPAN)
        )


def _alike(values: Sequence[float], others: Sequence[float], factor: float) -> bool:
    return all(
        a / factor <= b <= a * factor for a, b in zip(values, others, strict=True)
    )


@dataclass(frozen=True)
class Sample:
    """Windows of a file, of which some may be fitted."""

    kind: Kind
    """Kind of the file."""
    windows: list[tuple[Index, float]]
    """The index of every window, and its variance without the noise."""


def windows_of_each(files: int) -> int:
    """Return how many windows to look at in every one of so many files."""
    return max(FEWEST, -(-CANDIDATES * WINDOWS // files))


def sample(
    run: FileRun, stop: Callable[[Iterate], bool], progress: bool, *, count: int
) -> Sample | None:
    """Return windows of a file; None where it cannot share a network, or fails."""
    try:
        opened = run.opened()
        job = opened.job
        # Files of the same size are looked at in different places.
        name = zlib.crc32(run.target.name.encode()) % 2**16
        seed = seed_for(opened.recipe.seed, name)
        windows = candidates(job, list(job.layout.indices()), seed, count)
        kind = Kind.of(job, windows) if windows else None
    except Exception:  # noqa: BLE001  # its run will say what is wrong with it
        return None
    if kind is None:
        return None
    return Sample(kind, [(w.index, w.structure) for w in windows])


@dataclass(frozen=True)
class SharedFit:
    """A fit for all files of a kind."""

    runs: tuple[FileRun, ...]
    samples: tuple[Sample, ...]
    """Windows of each."""
    target: Path
    """The file to write the networks to."""
    about: dict[str, Any]
    """What they belong to, JSON-able."""


def fit(
    shared: SharedFit, stop: Callable[[Iterate], bool], progress: bool
) -> Path | DipError | None:
    """Fit networks to windows of all files of a kind, and write them to a file.

    A fit that has taken all the time it may leaves the networks as they are then.
    Returned is the file; why there is none; or None where the user has stopped the fit.
    """
    try:
        recipe, job, windows = _windows(shared)
        running = Running(job, recipe)
        fitting = fit_shared(running, windows, seed=recipe.seed, placed=False)
        networks, limit = shared.runs[0].followed(until_late(fitting), stop, progress)
        if networks is None:
            raise FitError("the preset sees more of an image than a window")
        last = networks[-1]
        if last.stopped:
            if limit is None:
                return None
            if sum(len(network.channels) for network in networks) < job.layout.channels:
                raise FitError(f"{limit} was over before all channels were fitted")
            last.details[STOPPED_BY] = limit
        state = state_of(networks)
        checkpoint.write(shared.target, "weights", state, shared.about, overwrite=True)
    except Exception as error:  # noqa: BLE001  # the files can be fitted one by one
        return FitError(fault(error))
    return shared.target


def _windows(shared: SharedFit) -> tuple[Recipe, Job, list[Window]]:
    """Read the windows to fit, as planes of a stack of their own.

    Where a window lies in its file does not matter, but for its neighbours: planes of
    other files are none.
    """
    drawn = [
        (number, index, structure)
        for number, sample in enumerate(shared.samples)
        for index, structure in sample.windows
    ]
    recipe = shared.runs[0].opened().recipe
    np.random.default_rng(recipe.seed).shuffle(drawn)
    chosen = [drawn[n] for n in most_useful([structure for *_, structure in drawn])]
    planes: list[NDArray[Any]] = []
    for number, run in enumerate(shared.runs):
        indices = [index for file, index, _ in chosen if file == number]
        if not indices:
            continue
        try:
            job = run.opened().job
            taken = [job.take(index) for index in indices]
        except DipError:
            continue  # its run will say what is wrong with it
        planes += [plane for plane in taken if plane is not None]
    if not planes:
        raise InputError("no file of the kind can be read")
    stack = np.stack(planes)
    if stack.shape[1] == 1:
        stack = stack[:, 0]
    axis = 1 if stack.ndim == 4 else None
    recipe = dataclasses.replace(recipe, channel_axis=axis, neighbours=0)
    job = shared.runs[0].task.job(recipe, stack)
    windows = [
        Window(index, pixels, 0.0)
        for index in job.layout.indices()
        if (pixels := job.pixels(index, job.take(index))) is not None
    ]
    return recipe, job, windows


@dataclass
class Networks:
    """The files of networks in a folder of results."""

    folder: Path
    origin: dict[str, Any]
    """The version, the task and the parameters that they must have been fitted with,
    JSON-able."""

    def __post_init__(self) -> None:
        self.kinds: list[tuple[Kind, Path]] = []
        self.digests: dict[str, Path] = {}
        for path in self.paths():
            try:
                _, about = checkpoint.read(path, "weights")
                kind = Kind.from_dict(about.pop("kind"))
            except (DipError, LookupError, TypeError):
                continue  # a file of somebody else, or a damaged one
            if about == self.origin:
                self.kinds.append((kind, path))
                self.digests[digest(path)] = path

    def paths(self) -> list[Path]:
        """Return the files that have names of networks, whatever is in them."""
        return sorted(self.folder.glob(PATTERN))

    def of(self, kind: Kind) -> Path | None:
        """Return the file of the networks for a kind, if there is one."""
        return next((path for own, path in self.kinds if own.is_like(kind)), None)

    def fits(self, samples: Sequence[tuple[FileRun, Sample]]) -> list[SharedFit]:
        """Return the fits for files of kinds that there is no network for.

        A file that is the only one of its kind needs none.
        """
        kinds: list[list[tuple[FileRun, Sample]]] = []
        for run, sample in samples:
            matching = (k for k in kinds if k[0][1].kind.is_like(sample.kind))
            members = next(matching, None)
            if members is None:
                kinds.append(members := [])
            members.append((run, sample))
        numbers = [path.stem.split("-")[-1] for path in self.paths()]
        first = max((int(n) for n in numbers if n.isdigit()), default=0) + 1
        fits: list[SharedFit] = []
        for members in kinds:
            if len(members) == 1:
                continue
            runs, own = zip(*members, strict=True)
            name = PATTERN.replace("*", str(first + len(fits)))
            kind = dataclasses.asdict(own[0].kind)
            about = {**self.origin, "kind": kind}
            fits.append(SharedFit(runs, own, self.folder / name, about))
        return fits


def origin_of(run: FileRun) -> dict[str, Any]:
    """Return what networks must have in common with a run, as JSON gives it back."""
    values = {
        "software": provenance.SOFTWARE,
        "version": __version__,
        "task": run.task.name,
        "recipe": dict(run.values),
    }
    origin: dict[str, Any] = json.loads(provenance.dumps(values))
    return origin
