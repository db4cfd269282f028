"""The images of a batch: what is to be done, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dip import __version__
from napari_dip.batch import manifest
from napari_dip.batch.checkpoint import Keep
from napari_dip.batch.file_run import FileRun
from napari_dip.batch.folder import Item
from napari_dip.batch.manifest import Manifest, digest
from napari_dip.batch.stop import Stop
from napari_dip.errors import DipError, InputError, fault
from napari_dip.io import atomic
from napari_dip.tasks.task import Task

if TYPE_CHECKING:
    from napari_dip.prior.problem import Iterate

Entry = dict[str, Any]
"""What the manifest says of an image."""

Work = Callable[[Sequence[FileRun]], Iterator[tuple[FileRun, Entry]]]
"""Does runs, in any order, and yields each with its entry; it may end early."""


@dataclass(frozen=True)
class Batch:
    """A task on many images.

    Attributes
    ----------
    task : Task
        The task.
    values : mapping
        The parameters that the user gave.
    items : sequence of Item
        The images.
    output : Path
        The folder of results.
    objects : mapping
        The other inputs of the task, such as a model, as text.
    overwrite : bool
        Whether results may replace files that no earlier batch has written.
    weights : Path, optional
        File of the weights that every fit begins from.
    """

    task: Task
    values: Mapping[str, Any]
    items: Sequence[Item]
    output: Path
    objects: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False
    weights: Path | None = None

    def run(self, work: Work) -> Iterator[tuple[str, Entry]]:
        """Do what is not done, and yield the name and the entry of every image.

        Those that an earlier call has done come first, with ``"skipped": True``.
        """
        known = Manifest(self.output)
        runs: list[FileRun] = []
        for item in self.items:
            run = self._run_of(item)
            try:
                if not self._is_done(known, item, run):
                    runs.append(run)
                    continue
                entry = known.entries[item.name] | {"skipped": True}
            except DipError as error:
                entry = known.put(item.name, failure(str(error)))
            yield item.name, entry
        atomic.clear(run.target for run in runs)
        known.await_results(self._name(run) for run in runs)
        for run, entry in work(runs):
            yield self._name(run), known.put(self._name(run), entry)

    def _name(self, run: FileRun) -> str:
        return run.target.relative_to(self.output).as_posix()

    def _run_of(self, item: Item) -> FileRun:
        return FileRun(
            self.task,
            self.values,
            item.sources,
            self.output / item.name,
            self.objects,
            overwrite=True,  # whether that is allowed has been asked before
            series=item.series,
            keep=Keep(weights=self.weights),
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
        "inputs": {
            name: {"sha256": digest(path), "series": run.series.get(name)}
            for name, path in run.sources.items()
        },
    }


def process(
    run: FileRun, stop: Callable[[Iterate], bool], progress: bool = False
) -> Entry:
    """Do a run, whatever happens, and return what the manifest is to say of it."""
    since, warnings = time.perf_counter(), list[str]()
    try:
        entry = request(run)
        result = run.run(stop, warnings.append, progress)
        entry["state"] = manifest.STOPPED if result.stopped else manifest.DONE
        entry["sha256"] = digest(run.target)
    except (DipError, MemoryError) as error:
        entry = failure(str(error) or "not enough memory")
    except Exception as error:  # noqa: BLE001  # one bad file does not end a batch
        entry = failure(fault(error))
    files = {name: str(path) for name, path in run.sources.items()}
    seconds = round(time.perf_counter() - since, 3)
    return entry | {"files": files, "seconds": seconds, "warnings": warnings}


def failure(text: str) -> Entry:
    """Return the entry of an image that failed."""
    return {"state": manifest.FAILED, "error": " ".join(text.split())}


def one_by_one(progress: bool) -> Work:
    """Return what does runs in this process."""

    def work(runs: Sequence[FileRun]) -> Iterator[tuple[FileRun, Entry]]:
        for run in runs:
            stop = Stop()
            # Signals also wait while the caller takes note of the entry.
            with stop.listening():
                yield run, process(run, stop, progress)
            if stop.asked:
                return

    return work
