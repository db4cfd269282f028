"""A run of a task from files to a file, and Ctrl-C."""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dip.cli.output import FAILED, STOPPED, put, say
from napari_dip.errors import DipError
from napari_dip.io import files, provenance
from napari_dip.io.image import Header, Image
from napari_dip.io.masks import mask_of, psf_of, without_single_axes
from napari_dip.io.psf import size_warning, steps
from napari_dip.tasks.arrays import cast
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.run import run
from napari_dip.tasks.task import Task

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Iterate

_SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}
"""Names of chroma subsampling, by the pixels along x and y of a chroma value."""


class FileRun:
    """A run of a task from files to a file.

    Parameters
    ----------
    task : Task
        The task.
    values : mapping
        The parameters that the user gave.
    sources : dict
        The file of each array of the task.
    objects : mapping
        The other inputs of the task, such as a model, as text.
    target : Path
        The file to write.
    overwrite : bool
        Whether the result may replace a file.
    talk : bool
        Whether to show progress and warnings.
    uncertainty : Path, optional
        The file to write the standard deviation of the result to.
    """

    def __init__(
        self,
        task: Task,
        values: Mapping[str, Any],
        sources: dict[str, Path],
        objects: Mapping[str, str],
        target: Path,
        overwrite: bool,
        talk: bool,
        uncertainty: Path | None = None,
    ) -> None:
        self.task, self.values, self.sources = task, values, sources
        self.objects = objects
        self.target, self.overwrite, self.talk = target, overwrite, talk
        self.uncertainty = uncertainty
        self.provenance: dict[str, Any] = {}
        self.result: dict[str, Any] = {}

    @property
    def source(self) -> Path:
        """The file that the result is of."""
        return next(iter(self.sources.values()))

    def run(self) -> bool:
        """Fit and write the result; return whether the user stopped the fit."""
        stop = Stop()
        with stop.listening():
            self._run(stop)
        return stop.asked

    def _run(self, stop: Stop) -> None:
        images = {name: files.load(path) for name, path in self.sources.items()}
        like = images.get(self.task.subject)
        from_file: list[str] = []
        if like is None:
            recipe = self.task.recipe(**self.values)
        else:
            recipe, from_file = _completed(self.task.recipe, self.values, like.header)
            dtype = like.header.dtype if recipe.dtype == "input" else np.float32
            files.check_output(
                self.target, like.header, np.dtype(dtype), overwrite=self.overwrite
            )
            if self.uncertainty is not None:
                files.check_output(
                    self.uncertainty,
                    like.header,
                    np.dtype(np.float32),
                    overwrite=self.overwrite,
                )
        notes = [note for image in images.values() for note in image.header.notes]
        inputs, about_masks = self._arrays(images, like)
        notes += about_masks
        for note in notes:
            self._warn(note)
        fit = self._fit(recipe, inputs, stop)
        for warning in fit.warnings:
            self._warn(warning)
        fit = dataclasses.replace(fit, warnings=[*notes, *fit.warnings])
        arrays = {
            name: (self.sources[name].name, image.data)
            for name, image in images.items()
        }
        self.provenance = provenance.describe(
            recipe, fit, arrays, from_file, self.objects
        )
        self.result, not_kept = save(
            self.target, fit.image, like, self.provenance, self.overwrite
        )
        for note in not_kept:
            self._warn(note)
        if self.uncertainty is not None:
            self._save_uncertainty(self.uncertainty, fit.uncertainty, like)

    def _save_uncertainty(
        self, path: Path, values: NDArray[Any] | None, like: Image | None
    ) -> None:
        if values is None:
            raise DipError(
                f"{path} was not written, for there is no uncertainty where the noise "
                f"is correlated or shared by the channels; the image is in "
                f"{self.target}"
            )
        shows = {**self.provenance, "shows": "standard deviation of the result"}
        save(path, values, like, shows, self.overwrite)
        self.result["uncertainty"] = str(path)

    def _arrays(
        self, images: dict[str, Image], like: Image | None
    ) -> tuple[dict[str, NDArray[Any]], list[str]]:
        """Return the arrays of the task, and what to know about masks and PSFs."""
        arrays, notes = {}, []
        for name, image in images.items():
            data, note = image.data, None
            if name == "mask":
                data, note = mask_of(image, self.sources[name].name)
            elif name == "psf":
                data = psf_of(image, self.sources[name].name)
                if like is not None:
                    note = size_warning(steps(like.header), steps(image.header))
            if image is not like:
                shape = None if like is None else like.data.shape
                data = without_single_axes(data, shape)
            arrays[name] = data
            notes += [note] if note else []
        return arrays, notes

    def _fit(self, recipe: Recipe, images: Mapping[str, Any], stop: Stop) -> Fit:
        from napari_dip.prior.fit import run_to_end
        from napari_dip.tasks.progress import Bar

        inputs = {**images, **self.objects}
        arrays = [inputs[name] for name in self.task.arrays]
        arrays += [None] * len(self.task.functions)
        fitting = run(self.task, recipe, arrays)
        # A log file gets no progress bar.
        if not (self.talk and sys.stderr.isatty()):
            return run_to_end(fitting, stop)
        with Bar(self.target.name) as bar:

            def both(it: Iterate) -> bool:
                bar(it)
                return stop(it)

            return run_to_end(fitting, both)

    def _warn(self, text: str) -> None:
        if self.talk:
            say(f"warning: {text}")

    def as_json(self) -> str:
        """Return a description of the result as a JSON object."""
        inputs = {name: str(path) for name, path in self.sources.items()}
        return provenance.dumps(
            {"output": str(self.target), "inputs": inputs, **self.result}
            | {"provenance": self.provenance}
        )

    def as_line(self) -> str:
        """Return a description of the result in one line."""
        facts = self.provenance
        if not facts["iterations"]:
            return f"{self.target}: {facts['stopped_by']}"
        return (
            f"{self.target}: {facts['iterations']} iterations in "
            f"{facts['seconds']:.1f} s on {facts['device']}, ended by "
            f"{facts['stopped_by']}"
        )


def save(
    target: Path,
    image: NDArray[Any],
    like: Image | None,
    provenance: dict[str, Any],
    overwrite: bool,
) -> tuple[dict[str, Any], list[str]]:
    """Write a result; return its shape and type, and what the file does not keep."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if like is None and target.suffix.lower() == ".png":
        # Images without an input have values in [0, 1]; PNG has integers only.
        image = cast(255 * image, np.dtype(np.uint8))
    not_kept = files.write(target, image, like, provenance, overwrite=overwrite)
    return {"shape": list(image.shape), "dtype": str(image.dtype)}, not_kept


def run_and_report(file_run: FileRun, json: bool, quiet: bool) -> int:
    """Run a task on files, describe the result, and return the exit code."""
    stopped = file_run.run()
    if json:
        put(file_run.as_json())
    elif not quiet:
        put(file_run.as_line())
    if stopped:
        say(f"stopped; the best image so far was saved to {file_run.target}")
        return STOPPED
    return 0


def run_all(file_runs: Sequence[FileRun], json: bool, quiet: bool) -> int:
    """Run a task on several files, the others also where one fails.

    When the user stops one, the others are not begun.
    """
    failed = 0
    for file_run in file_runs:
        try:
            if run_and_report(file_run, json, quiet) == STOPPED:
                return STOPPED
        except (DipError, MemoryError) as error:
            text, name = str(error) or "not enough memory", file_run.source.name
            say(f"error: {text if name in text else f'{name}: {text}'}")
            failed += 1
    if failed:
        say(f"{failed} of {len(file_runs)} files failed; the others are done")
    return FAILED if failed else 0


def _completed(
    kind: type[Recipe], values: Mapping[str, Any], header: Header
) -> tuple[Recipe, list[str]]:
    """Return a recipe completed from a file, and the names of what the file decided."""
    known: dict[str, Any] = {}
    if values.get("channel_axis", "auto") == "auto":
        known["channel_axis"] = header.channel_axis
    if "dtype" not in values:
        # Photographs stay integers, which other programs show; measurements keep every
        # digit.
        colours = "S" in header.axes and header.dtype.kind in "ui"
        photo = header.format in ("PNG", "JPEG") or colours
        known["dtype"] = "input" if photo else "float32"
    jpeg, fields = header.jpeg, {p.name for p in kind.parameters()}
    if jpeg is not None and "quantization" in fields and "quantization" not in values:
        known["quantization"] = tuple(step for table in jpeg.tables for step in table)
        if "subsampling" not in values:
            known["subsampling"] = _SUBSAMPLING[jpeg.subsampling]
    return kind(**{**values, **known}), list(known)


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt, signal.SIGTERM):
        yield


@contextmanager
def _handled(
    handler: Callable[[int, FrameType | None], None], *numbers: int
) -> Iterator[None]:
    before: dict[int, Any] = {}
    try:
        for number in numbers:
            try:
                before[number] = signal.signal(number, handler)
            except ValueError:  # only the main thread can handle signals
                break
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


class Stop:
    """Stops the fit at the first Ctrl-C or SIGTERM and the program at the second.

    This is a callback for `napari_dip.prior.fit.run_to_end`.  Before the first
    iteration there is no image to save, so the first signal already ends the program.
    After the fit the first one waits until the result is saved.
    """

    def __init__(self) -> None:
        self.running = self.asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals."""
        with _handled(self._handle, signal.SIGINT, signal.SIGTERM):
            yield

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.running:
            raise KeyboardInterrupt
        self.asked = True

    def __call__(self, it: Iterate) -> bool:
        """Return whether to stop."""
        self.running = True
        return self.asked
