"""A run of a task from files to a file."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_dip.batch.checkpoint import Kept
from napari_dip.batch.keep import Keep
from napari_dip.batch.volumes import companion_order, slices_last, times_note
from napari_dip.errors import DipError, InputError
from napari_dip.io import atomic, files, provenance
from napari_dip.io.image import Header, Image
from napari_dip.io.masks import mask_of, psf_of
from napari_dip.io.psf import size_warning, steps, z_spacing
from napari_dip.io.regions import Regions
from napari_dip.tasks.arrays import cast, without_single_axes
from napari_dip.tasks.forecast import count_parts
from napari_dip.tasks.pool import Pool
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.run import has_uncertainty, result_shape, run
from napari_dip.tasks.task import NO_UNCERTAINTY, SHARED_WEIGHTS, Job, Task

if TYPE_CHECKING:
    from napari_dip.prior.problem import Fit, Fitting, Iterate

    Follow = Callable[[Fitting], tuple[Fit, dict[str, Any]]]
    """Runs a fit to its end; returns it, and how its result was made."""

    Written = tuple[Fit, dict[str, Any], dict[str, Any], Sequence[str]]
    """That, shape and type of the result, and what its file does not keep."""

T = TypeVar("T")


@dataclass(frozen=True)
class FileRun:
    """A run of a task from files to a file."""

    task: Task
    values: Mapping[str, Any]
    """The parameters that the user gave."""
    sources: Mapping[str, Path]
    """The file of each array of the task."""
    target: Path
    """The file to write."""
    objects: Mapping[str, str] = field(default_factory=dict)
    """The other inputs of the task, such as a model, as text."""
    overwrite: bool = False
    """Whether the result may replace a file."""
    series: Mapping[str, int | None] = field(default_factory=dict)
    """Which image of a file is meant, where it has several."""
    keep: Keep = field(default_factory=Keep)
    """What the fit begins from, and what is kept of it beside the result."""
    uncertainty: Path | None = None
    """The file to write the standard deviation of the result to."""
    notes: tuple[str, ...] = ()
    """What the user should know of it beforehand."""

    @property
    def source(self) -> Path:
        """The file that the result is of."""
        return next(iter(self.sources.values()))

    def run(
        self,
        stop: Callable[[Iterate], bool],
        warn: Callable[[str], None],
        progress: bool = False,
        workers: Callable[[FileRun], Pool] | None = None,
    ) -> Result:
        """Fit and write the result.

        `stop` is called with every iterate; a true return value stops the fit, whose
        best image is written.  `warn` is called with every warning.  With `progress`
        there is a bar where standard error is a terminal.  `workers` returns the
        processes that compute parts of this run.
        """
        opened, keep = self.opened(), self.keep
        written = (self.target, self.uncertainty, keep.checkpoint, keep.save_weights)
        with atomic.claimed(path for path in written if path is not None):
            return self._run(opened, stop, warn, progress, workers)

    def _run(
        self,
        opened: Opened,
        stop: Callable[[Iterate], bool],
        warn: Callable[[str], None],
        progress: bool,
        workers: Callable[[FileRun], Pool] | None,
    ) -> Result:
        recipe, like = opened.recipe, opened.like
        if like is not None:
            self._check_outputs(recipe, like.header)
        for note in opened.notes:
            warn(note)
        kept = Kept(self.keep, lambda: self._about(opened))
        pool = None if workers is None else workers(self)
        begin = partial(
            run, self.task, recipe, opened.arrays, overrides=kept.overrides, pool=pool
        )
        follow = partial(self._follow, opened, kept, stop, warn, progress)
        write = self._in_parts if opened.is_large else self._at_once
        fit, origin, facts, not_kept = write(opened, begin, follow)
        for note in not_kept:
            warn(note)
        if self.uncertainty is not None:
            facts["uncertainty"] = str(self.uncertainty)
        result = Result(self.target, dict(self.sources), facts, origin)
        kept.finish(fit, is_unfinished(origin), self.overwrite)
        return result

    def _in_parts(
        self, opened: Opened, begin: Callable[..., Fitting], follow: Follow
    ) -> Written:
        """Run a fit that puts its result into files, part by part."""
        like = opened.like
        assert like is not None  # what is large has been opened
        dtype = _type_of(opened.recipe, like.header)
        order, back = opened.order, np.argsort(opened.order)
        shape = result_shape(opened.job)
        writing = partial(self._writing, like, tuple(shape[i] for i in back))
        with writing(self.uncertainty, np.dtype(np.float32)) as room:
            with writing(self.target, dtype) as out:
                places = [target and target.transposed(order) for target in (out, room)]
                fit, origin = follow(begin(out=tuple(places)))
                out.provenance = origin
            if room is not None:
                room.provenance = self._about_uncertainty(fit, origin)
        return fit, origin, {"shape": list(out.shape), "dtype": str(dtype)}, out.notes

    def _at_once(
        self, opened: Opened, begin: Callable[..., Fitting], follow: Follow
    ) -> Written:
        """Run a fit and write its result."""
        fit, origin = follow(begin())
        image, like = opened.as_in_file(fit.image), opened.like
        facts, not_kept = save(self.target, image, like, origin, self.overwrite)
        if self.uncertainty is not None:
            about = self._about_uncertainty(fit, origin)
            spread = opened.as_in_file(fit.uncertainty)
            save(self.uncertainty, spread, like, about, self.overwrite)
        return fit, origin, facts, not_kept

    def _writing(
        self,
        like: Image,
        shape: tuple[int, ...],
        path: Path | None,
        dtype: np.dtype[Any],
    ) -> Any:
        """Write a result part by part, as the context lasts, if it has a file."""
        if path is None:
            return nullcontext()
        return files.writing(path, shape, dtype, like, overwrite=self.overwrite)

    def _follow(
        self,
        opened: Opened,
        kept: Kept,
        stop: Callable[[Iterate], bool],
        warn: Callable[[str], None],
        progress: bool,
        fitting: Fitting,
    ) -> tuple[Fit, dict[str, Any]]:
        """Run a fit to its end; return it, and how its result was made."""
        from napari_dip.prior.runtime import device_errors

        if self.uncertainty is not None:
            self._check_uncertainty(opened)

        def see(it: Iterate) -> bool:
            # What has begun is not too large, and what cannot be read costs no fit.
            opened.inputs  # noqa: B018
            return kept.see(it, stop(it))

        with device_errors():  # what is made of its iterates can fail, too
            fit = self.followed(fitting, see, progress)
        kept.ended()
        for warning in fit.warnings:
            warn(warning)
        fit = dataclasses.replace(fit, warnings=[*opened.notes, *fit.warnings])
        about = (opened.inputs, opened.from_file, self.objects)
        return fit, provenance.describe(opened.of_file, fit, *about)

    def _check_uncertainty(self, opened: Opened) -> None:
        """Raise if the results will have no uncertainty.

        Images that are too large for the memory are not looked at.
        """
        unseen = opened.is_large or self.keep.weights is not None
        if not (unseen or has_uncertainty(opened.job, opened.recipe)):
            raise InputError(NO_UNCERTAINTY)

    def _about_uncertainty(self, fit: Fit, about: dict[str, Any]) -> dict[str, Any]:
        """Return how the uncertainty was made; raise if there is none."""
        if fit.uncertainty is None:
            raise DipError(
                f"{self.uncertainty} was not written, for no plane has an uncertainty; "
                f"the image is in {self.target}"
            )
        return provenance.of_uncertainty(about)

    def opened(self, load: Callable[..., Image] = files.load) -> Opened:
        """Return the recipe and the arrays of the run, by a function that loads files.

        The recipe is completed from the file that the result is like.
        """
        colours = self.values.get("channel_axis", "auto") is not None
        images = {
            name: load(path, self.series.get(name), colours=colours)
            for name, path in self.sources.items()
        }
        like = images.get(self.task.subject)
        from_file: list[str] = []
        if like is None:
            recipe = self.task.recipe(**self.values)
        else:
            recipe, from_file = _completed(self.task.recipe, self.values, like.header)
        arrays, notes = self._arrays(images, like)
        of_file, order = recipe, tuple(range(like.data.ndim)) if like else ()
        if like is not None and _is_volume(recipe, arrays):
            axes, channel = like.header.axes, _channel_axis(recipe)
            order = slices_last(axes, channel)
            notes += times_note(axes, channel, self.source.name)
            for name, image in images.items():
                turn = companion_order(arrays[name], image.header, like.header, channel)
                arrays[name] = arrays[name].transpose(turn)
            if channel is not None:
                moved = order.index(channel % len(order))
                recipe = dataclasses.replace(recipe, channel_axis=moved)
        arguments: dict[str, Any] = {**arrays, **self.objects}
        ordered = [arguments[name] for name in self.task.arrays]
        return Opened(
            self.task,
            recipe,
            of_file,
            from_file,
            like,
            order,
            [*ordered, *[None] * len(self.task.functions)],
            {name: (self.sources[name].name, i.data) for name, i in images.items()},
            [*(note for i in images.values() for note in i.header.notes), *notes],
        )

    def count_parts(self) -> int:
        """Return how many planes or tiles there are, 1 where that is not known."""
        try:
            opened = self.opened(files.open_image)
            return count_parts(opened.job, opened.recipe)
        except (DipError, MemoryError):
            return 1  # the run will say what is wrong

    def _check_outputs(self, recipe: Recipe, header: Header) -> None:
        """Raise if the results cannot be written."""
        dtype = header.dtype if recipe.dtype == "input" else np.float32
        for path, kind in ((self.target, dtype), (self.uncertainty, np.float32)):
            if path is not None:
                files.check_output(
                    path, header, np.dtype(kind), overwrite=self.overwrite
                )

    def _about(self, opened: Opened) -> dict[str, Any]:
        """Return what decides on the fit, to know a checkpoint by."""
        inputs = {name: facts["sha256"] for name, facts in opened.inputs.items()}
        more = {"inputs": inputs, "objects": dict(self.objects)}
        return provenance.origin(opened.of_file) | more

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
                    sizes = steps(like.header, 2), steps(image.header, 2)
                    note = size_warning(*sizes)
            if image is not like:
                shape = None if like is None else like.data.shape
                data = without_single_axes(data, shape)
            arrays[name] = data
            notes += [note] if note else []
        return arrays, notes

    def followed(
        self,
        fitting: Generator[Iterate, bool | None, T],
        stop: Callable[[Iterate], bool],
        progress: bool,
    ) -> T:
        """Run a fit to its end, under a progress bar in a terminal."""
        from napari_dip.prior.fit import run_to_end
        from napari_dip.tasks.progress import Bar

        # A log file gets no progress bar.
        if not (progress and sys.stderr and sys.stderr.isatty()):
            return run_to_end(fitting, stop)
        with Bar(self.target.name) as bar:
            return run_to_end(fitting, bar.before(stop))


@dataclass(frozen=True, eq=False)
class Opened:
    """What a run is given."""

    task: Task
    recipe: Recipe
    """The parameters for the arrays, completed from the file of the image."""
    of_file: Recipe
    """The same for the axes as that file has them: what the provenance tells."""
    from_file: list[str]
    """Which of them the file decided."""
    like: Image | None
    """That file."""
    order: tuple[int, ...]
    """How its axes are transposed: Z is the depth of a volume wherever it is stored."""
    arrays: list[Any]
    """The arguments of the task, in their order."""
    named: dict[str, tuple[str, NDArray[Any]]]
    """For each array the name of its file, and what is in it."""
    notes: list[str]
    """What the user should know about the files."""

    @property
    def is_large(self) -> bool:
        """Whether the result is too large for the memory, as its file is."""
        return self.like is not None and isinstance(self.like.data, Regions)

    def as_in_file(self, image: Any) -> NDArray[Any]:
        """Return a result with its axes in the order of the file."""
        restored: NDArray[Any] = image
        return restored.transpose(np.argsort(self.order)) if self.order else restored

    @cached_property
    def job(self) -> Job:
        """The task with the arrays checked."""
        return self.task.job(self.recipe, *self.arrays)

    @cached_property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """What the provenance says of the arrays; their hashes take a while."""
        return provenance.describe_inputs(self.named)


@dataclass(frozen=True)
class Result:
    """What came of a run."""

    target: Path
    """The file that was written."""
    sources: dict[str, Path]
    """The files that were read."""
    facts: dict[str, Any]
    """Shape and type of the result."""
    provenance: dict[str, Any]
    """How it was made."""

    @property
    def stopped(self) -> bool:
        """Whether the user has stopped the fit."""
        from napari_dip.prior import fit

        return fit.is_unfinished(self.provenance["stopped_by"], fit.STOPPED)

    @property
    def failed(self) -> bool:
        """Whether the device has failed before the end of the fit."""
        from napari_dip.prior import fit

        return fit.is_unfinished(self.provenance["stopped_by"], fit.DEVICE_FAILED)

    @property
    def shared(self) -> bool:
        """Whether networks restored it that were fitted to other files."""
        return any(SHARED_WEIGHTS in plane for plane in self.provenance["planes"])

    def as_json(self) -> str:
        """Return a description of the result as a JSON object."""
        inputs = {name: str(path) for name, path in self.sources.items()}
        return provenance.dumps(
            {"output": str(self.target), "inputs": inputs, **self.facts}
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


def is_unfinished(provenance: Mapping[str, Any]) -> bool:
    """Return whether a fit was ended early: by the user, a limit or its device."""
    from napari_dip.prior import fit

    return fit.is_unfinished(str(provenance.get("stopped_by")))


def was_stopped(target: Path) -> bool:
    """Return whether a file is the result of a fit that was stopped."""
    try:
        return is_unfinished(files.read_header(target).provenance or {})
    except DipError:
        return False


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


def _type_of(recipe: Recipe, header: Header) -> np.dtype[Any]:
    """Return the type of a result that is written part by part."""
    if recipe.dtype == "input":
        return header.dtype
    # What the integers and floats of these types can hold float32 cannot.
    needs_float64 = header.dtype.itemsize > 4 or header.dtype in (np.int32, np.uint32)
    return np.dtype(np.float64 if needs_float64 else np.float32)


def _channel_axis(recipe: Recipe) -> int | None:
    """Return the axis of the channels, which a header makes known."""
    assert recipe.channel_axis != "auto"
    return recipe.channel_axis


def _is_volume(recipe: Recipe, arrays: Mapping[str, Any]) -> bool:
    """Return whether a task restores volumes, as its recipe or its PSF says."""
    return recipe.spatial_dims == 3 or ("psf" in arrays and arrays["psf"].ndim == 3)


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
    apart = z_spacing(steps(header))
    axis = values.get("channel_axis")
    if isinstance(axis, int) and header.axes[axis:].startswith("Z"):
        apart = None  # the slices of the file are channels here
    if apart and values.get("z_spacing", "auto") == "auto":
        known["z_spacing"] = apart
    if jpeg is not None and "quantization" in fields and "quantization" not in values:
        known["quantization"] = tuple(step for table in jpeg.tables for step in table)
        if "subsampling" not in values:
            known["subsampling"] = jpeg.subsampling
    return kind(**{**values, **known}), list(known)
