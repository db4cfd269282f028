"""The images of a batch: what is to be done, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dip import __version__
from napari_dip.batch import manifest
from napari_dip.batch.file_run import FileRun
from napari_dip.batch.folder import Item
from napari_dip.batch.keep import Keep
from napari_dip.batch.manifest import Manifest, digest
from napari_dip.batch.share import (
    Networks,
    Sample,
    fit,
    origin_of,
    sample,
    windows_of_each,
)
from napari_dip.batch.stop import Stop
from napari_dip.errors import DipError, InputError, fault
from napari_dip.io import atomic, files
from napari_dip.tasks.task import Task

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate
    from napari_dip.tasks.pool import Pool

Entry = dict[str, Any]
"""What the manifest says of an image."""

Step = Callable[[Any, Callable[["Iterate"], bool], bool], Any]
"""Does something for an item: takes it, what says whether to stop, and whether to show
the progress."""

Work = Callable[[Step, Sequence[Any]], Iterator[tuple[Any, Any]]]
"""Takes a step for every item, in any order, and yields each with what the step
returns, or a `DipError`.  After a stop it ends early."""


@dataclass(frozen=True)
class Batch:
    """A task on many images."""

    task: Task
    values: Mapping[str, Any]
    """The parameters that the user gave."""
    items: Sequence[Item]
    output: Path
    """The folder of results."""
    objects: Mapping[str, str] = field(default_factory=dict)
    """The other inputs of the task, such as a model, as text."""
    overwrite: bool = False
    """Whether results may replace files that no earlier batch has written."""
    weights: Path | None = None
    """File of the weights that every fit begins from."""
    share: bool = False
    """Whether files of a kind share networks that are fitted once."""

    def run(self, work: Work) -> Iterator[tuple[str, Entry]]:
        """Do what is not done, and yield the name and the entry of every image.

        Those that an earlier call has done come first, with ``"skipped": True``.

        Raises
        ------
        FileError
            If another batch is writing to the same folder.
        """
        with atomic.claimed([self.output / manifest.NAME]):
            yield from self._run(work)

    def _run(self, work: Work) -> Iterator[tuple[str, Entry]]:
        known = Manifest(self.output)
        fitted = None
        if self.share and self.items:
            fitted = Networks(self.output, origin_of(self._run_of(self.items[0])))
        runs: list[FileRun] = []
        for item in self.items:
            run = self._run_of(item, known, fitted)
            try:
                if not self._is_done(known, item, run):
                    runs.append(run)
                    continue
                entry = known.entries[item.name] | {"skipped": True}
            except DipError as error:
                entry = known.put(item.name, failure(str(error)))
            yield item.name, entry
        known.await_results(self._name(run) for run in runs)
        if fitted is not None:
            runs = share(runs, fitted, work)
        for run, entry in work(process, runs):
            if isinstance(entry, DipError):
                entry = failure(str(entry))
            yield self._name(run), known.put(self._name(run), entry)

    def _name(self, run: FileRun) -> str:
        return run.target.relative_to(self.output).as_posix()

    def _run_of(
        self, item: Item, known: Manifest | None = None, fitted: Networks | None = None
    ) -> FileRun:
        weights = self.weights
        if known is not None and fitted is not None:
            # Those of an earlier call, if they are still there.
            entry = known.entries.get(item.name, {})
            weights = fitted.digests.get(entry.get("weights") or "")
        return FileRun(
            self.task,
            self.values,
            item.sources,
            self.output / item.name,
            self.objects,
            overwrite=True,  # whether that is allowed has been asked before
            series=item.series,
            keep=Keep(weights=weights, share=self.share),
        )

    def _is_done(self, known: Manifest, item: Item, run: FileRun) -> bool:
        """Return whether an image needs no run; raise if it cannot have one."""
        if item.error:
            raise InputError(item.error)
        ours = known.owns(item.name)
        if not (self.overwrite or ours):
            raise InputError(
                f"{run.target} exists, and no batch has left it like that; --overwrite "
                "replaces it"
            )
        if not (ours and known.holds(item.name)):
            return False
        return known.is_done(item.name, request(run))


def request(run: FileRun) -> Entry:
    """Return all that decides on a result: the same request makes the same again."""
    weights = run.keep.weights
    return {
        "version": __version__,
        "task": run.task.name,
        "recipe": dict(run.values),
        "objects": dict(run.objects),
        "weights": None if weights is None else digest(weights),
        "share": run.keep.share,
        "inputs": {
            name: _content(path) | {"series": run.series.get(name)}
            for name, path in run.sources.items()
        },
    }


def _content(path: Path) -> Entry:
    """Return the hash of a file, and those of the others that its image is in.

    One that is missing has none: the image is another once the file is there.
    """
    content: Entry = {"sha256": digest(path)}
    _, *others = files.parts_of(path)
    if others:
        content["others"] = [
            (part.name, digest(part) if part.is_file() else None) for part in others
        ]
    return content


def process(
    run: FileRun,
    stop: Callable[[Iterate], bool],
    progress: bool = False,
    workers: Callable[[FileRun], Pool] | None = None,
) -> Entry:
    """Do a run, whatever happens, and return what the manifest is to say of it.

    Other processes compute parts of it, if there are any.
    """
    since, warnings = time.perf_counter(), list(run.notes)
    try:
        entry = request(run)
        result = run.run(stop, warnings.append, progress, workers)
        again = result.stopped or result.failed
        entry["state"] = manifest.STOPPED if again else manifest.DONE
        entry["sha256"] = digest(run.target)
        if run.keep.share:
            entry["shared"] = result.shared
    except Exception as error:  # noqa: BLE001  # one bad file does not end a batch
        entry = failure(fault(error))
    sources = {name: str(path) for name, path in run.sources.items()}
    seconds = round(time.perf_counter() - since, 3)
    return entry | {"files": sources, "seconds": seconds, "warnings": warnings}


def failure(text: str) -> Entry:
    """Return the entry of an image that failed."""
    return {"state": manifest.FAILED, "error": " ".join(text.split())}


def share(runs: Sequence[FileRun], fitted: Networks, work: Work) -> list[FileRun]:
    """Give networks to runs: those there are, or new ones, one for all of a kind.

    It returns the same runs, none where the user has stopped the fit of a network.
    """
    look = partial(sample, count=windows_of_each(max(len(runs), 1)))
    samples = {run.target: outcome for run, outcome in work(look, runs)}
    if len(samples) < len(runs):
        return []
    networks: dict[Path, Path | DipError] = {}
    new: list[tuple[FileRun, Sample]] = []
    for run in runs:
        outcome = samples[run.target]
        if not isinstance(outcome, Sample):
            continue  # it cannot share, or fails
        path = fitted.of(outcome.kind)
        if path is None:
            new.append((run, outcome))
        else:
            networks[run.target] = path
    fits = fitted.fits(new)
    atomic.clear([*fitted.paths(), *(shared.target for shared in fits)])
    outcomes = list(work(fit, fits))
    if len(outcomes) < len(fits) or any(path is None for _, path in outcomes):
        return []
    networks |= {run.target: path for shared, path in outcomes for run in shared.runs}
    return [_with_networks(run, networks.get(run.target)) for run in runs]


def _with_networks(run: FileRun, networks: Path | DipError | None) -> FileRun:
    """Return a run that begins with the networks of a file, if there are any."""
    if isinstance(networks, DipError):
        notes = (f"share: no network could be fitted for all files: {networks}",)
        return replace(run, notes=notes, keep=Keep(share=True))
    return replace(run, keep=Keep(weights=networks, share=True))


def one_by_one(progress: bool) -> Work:
    """Return what takes steps in this process."""

    def work(step: Step, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        for item in items:
            stop = Stop()
            # Signals also wait while the caller takes note of the outcome.
            with stop.listening():
                yield item, step(item, stop, progress)
            if stop.asked:
                return

    return work
