"""The public functions, made from the recipes of their tasks."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from napari_dip.errors import InputError
from napari_dip.machine import load_torch
from napari_dip.tasks.analysis import Analysis, read
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.run import TASKS, get, run
from napari_dip.tasks.task import Overrides, Task

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.architecture import Generates
    from napari_dip.prior.problem import Fit, Fitting, Iterate
    from napari_dip.prior.runtime import Estimate
    from napari_dip.prior.stopping import Rule
    from napari_dip.tasks.signatures import TaskName


_COMMON = """\
architecture : Architecture or dict, optional
    Network in place of the preset's; see `napari_dip.prior.architecture`.
stop : Rule or dict, optional
    Stopping rule in place of the preset's; see `napari_dip.prior.stopping`.
weights : dict of str to Tensor, optional
    Weights of the network to begin from, as `Fit.weights` of a fit with the
    same network and number of channels; a job of one fit gives them.  Or
    networks that `napari-dip batch --share` has fitted, to restore with.
state : dict, optional
    From `Iterate.checkpoint` in a callback of the same call, to go on with
    its fit to the same bits; for a job of one fit.  Or, for any job, an
    empty dict, in which planes, tiles and fits that are done are kept, and
    by `Iterate.checkpoint` the fit that runs: the same call with it goes on.
analysis : dict or sequence of dict, optional
    What was found out about another image of the same kind, one for every
    group of channels: ``fit.settings['planes'][0]['analysis']``.
progress : bool, default False
    Show a progress bar on standard error.
callback : callable, optional
    Called with every `Iterate`; returning True stops the fit, which keeps
    its best image.
full_output : bool, default False
    Return a `Fit` in place of the image. Its `uncertainty` is the standard
    deviation of every pixel, where the task has one.
out : array or tuple of two arrays, optional
    Where the result is put, of its shape and any type; an array of zarr or
    h5py takes a result that is larger than the memory, part by part. A
    second array, of floats, takes the standard deviation. Neither may share
    memory with an input.

Returns
-------
ndarray or Fit
    The image in the units of the input, float32 unless `dtype` says
    otherwise, or the whole `Fit`.

Raises
------
InputError
    If an argument is not acceptable; a ValueError.
OutOfMemory
    If the fit is too large for the device; the message says what fits."""
"""Documentation of what all tasks take and return."""


_log = logging.getLogger("napari_dip")


def function(task: Task) -> Callable[..., Any]:
    """Return the public function of a task, documented from its recipe."""

    def call(
        *arrays: Any,
        architecture: Generates | dict[str, Any] | None = None,
        stop: Rule | dict[str, Any] | None = None,
        weights: Mapping[str, Tensor] | None = None,
        state: MutableMapping[str, Any] | None = None,
        analysis: Analysis | Sequence[Any] | None = None,
        progress: bool = False,
        callback: Callable[[Iterate], Any] | None = None,
        full_output: bool = False,
        out: Any = None,
        **parameters: Any,
    ) -> NDArray[Any] | Fit:
        check_callback(callback, "an Iterate")
        parameters |= {"architecture": architecture, "stop": stop}
        parameters |= {"weights": weights, "state": state, "analysis": analysis}
        recipe, values, overrides = _bind(task, arrays, parameters)
        fitting = run(task, recipe, values, overrides=overrides, out=out)
        from napari_dip.prior.fit import run_to_end

        if progress:
            from napari_dip.tasks.progress import Bar

            with Bar(task.name) as bar:
                fit = run_to_end(fitting, bar.before(callback))
        else:
            fit = run_to_end(fitting, callback)
        if full_output:
            return fit
        for text in fit.warnings:  # with the image alone nobody would see them
            _log.warning("%s: %s", task.name, text)
        image: NDArray[Any] = fit.image
        return image

    own, arguments = inspect.signature(call), _arguments(task)
    arguments += [p for p in own.parameters.values() if p.kind is p.KEYWORD_ONLY]
    call.__name__ = call.__qualname__ = task.name
    call.__module__ = TASKS[task.name]
    call.__doc__ = document(task)
    call.__signature__ = own.replace(parameters=arguments)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in arguments}
    call.__annotations__["return"] = own.return_annotation
    return call


def check_callback(callback: Any, *takes: str) -> None:
    """Raise unless `callback` is None or a function of so many arguments.

    A class is none: what it makes of an iterate would count as a wish to stop.
    """
    if callback is None:
        return
    fits = callable(callback) and not inspect.isclass(callback)
    try:
        if fits:
            inspect.signature(callback).bind(*takes)
    except TypeError:
        fits = False
    except ValueError:
        pass  # functions in C need not tell what they take
    if not fits:
        what = f"the class {callback.__name__}" if inspect.isclass(callback) else ""
        raise InputError(
            f"callback must be a function that takes {' and '.join(takes)}, or None; "
            f"got {what or repr(callback)}"
        )


def overriding(
    architecture: Any = None,
    stop: Any = None,
    weights: Any = None,
    state: Any = None,
    analysis: Any = None,
) -> Overrides:
    """Return what the user sets in place of the preset, checked."""
    load_torch()
    from napari_dip.prior import architecture as architectures
    from napari_dip.prior import stopping

    if isinstance(architecture, Mapping):
        architecture = architectures.from_dict(architecture)
    if isinstance(stop, Mapping):
        stop = stopping.from_dict(stop)
    for name, value, method in (
        ("architecture", architecture, "build"),
        ("stop", stop, "watch"),
    ):
        if value is not None and not hasattr(value, method):
            raise InputError(
                f"{name} must be a value of napari_dip.prior, what a fit's settings "
                f"say of one, or None; got {value!r}"
            )
    if weights is not None and not isinstance(weights, Mapping):
        raise InputError(
            f"weights must be a dict of tensors, from a fit, or None; got "
            f"{type(weights).__name__}"
        )
    if state is not None and not isinstance(state, MutableMapping):
        raise InputError(
            f"state must be a dict of tensors, from a fit, one to be filled, or None; "
            f"got {type(state).__name__}"
        )
    analyses = () if analysis is None else read(analysis)
    return Overrides(architecture, stop, weights, state, analyses)


def iterate(
    task: TaskName, *arrays: Any, out: Any = None, **parameters: Any
) -> Fitting:
    """Run a task step by step.

    Parameters
    ----------
    task : str
        Name of a task function, such as "denoise".
    *arrays : array_like
        Its arrays.
    out : array, optional
        Where the result is put, as for the function.
    **parameters
        Its other keywords, but for progress, callback and full_output.

    Yields
    ------
    Iterate
        After every iteration; its `image` is computed when asked for.  Send True
        to end the fit and keep its best image.

    Returns
    -------
    Fit
        As the value of the generator.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    OutOfMemory
        If the fit is too large for the device; the message says what fits.

    Examples
    --------
    >>> from napari_dip import iterate
    >>> for it in iterate("denoise", noisy, iterations=200):  # doctest: +SKIP
    ...     print(it.step, it.loss)
    """
    chosen = get(task)
    recipe, values, overrides = _bind(chosen, arrays, parameters)
    return run(chosen, recipe, values, overrides=overrides, out=out)


def estimate(task: TaskName, *arrays: Any, **parameters: Any) -> Estimate:
    """Estimate what a task will take before running it.

    Parameters
    ----------
    task : str
        Name of a task function, such as "denoise".
    *arrays : array_like
        Its arrays.
    **parameters
        Its keywords, but for progress, callback, full_output and out.

    Returns
    -------
    Estimate
        Peak memory in bytes, image and result included; what is available; and
        seconds per iteration, from a trial on a small piece: of one plane, of its
        largest tile, or of a window where planes share a network.

    Raises
    ------
    InputError
        If an argument is not acceptable; a ValueError.
    """
    chosen = get(task)
    recipe, values, overrides = _bind(chosen, arrays, parameters)
    from napari_dip.prior.runtime import usual_settings
    from napari_dip.tasks.forecast import expected

    with usual_settings():
        return expected(chosen.job(recipe, *values), recipe, overrides)


def _bind(
    task: Task, arrays: Sequence[Any], parameters: dict[str, Any]
) -> tuple[Recipe, list[Any], Overrides]:
    """Match arguments as a written-out function would: recipe, arrays, overrides."""
    names = [f.name for f in dataclasses.fields(Overrides) if f.name in parameters]
    overrides = overriding(**{name: parameters.pop(name) for name in names})
    try:
        bound = inspect.Signature(_arguments(task)).bind(*arrays, **parameters)
    except TypeError as error:
        raise TypeError(f"{task.name}() {error}") from None
    keywords = dict(bound.arguments)
    values = [keywords.pop(name) for name in task.arrays]
    values += [keywords.pop(name, None) for name in task.functions]
    return task.recipe(**keywords), values, overrides


def _arguments(task: Task) -> list[inspect.Parameter]:
    """Return the arrays and parameters of a task as arguments of its function.

    Types are text, as wherever annotations are postponed: what they name is imported
    for type checkers only, since some of it would bring torch.
    """
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    keyword = inspect.Parameter.KEYWORD_ONLY
    arguments = [
        inspect.Parameter(
            name, positional, annotation=task.objects.get(name, "ArrayLike")
        )
        for name in task.arrays
    ]
    fields = dataclasses.fields(task.recipe)
    for f in sorted(fields, key=lambda f: f.name not in task.positional):
        kind = positional if f.name in task.positional else keyword
        # Any sequence becomes a tuple.
        text = re.sub(r"tuple\[(\w+), \.\.\.\]", r"Sequence[\1]", str(f.type))
        arguments.append(
            inspect.Parameter(f.name, kind, annotation=text, default=f.default)
        )
    text = "Callable[[Tensor], Tensor] | None"
    arguments += [
        inspect.Parameter(name, keyword, annotation=text, default=None)
        for name in task.functions
    ]
    return arguments


def document(task: Task, *, brief: bool = False) -> str:
    """Write the numpydoc docstring of a task.

    A `brief` one, for the stub, leaves out the notes and what all tasks have.
    """
    lines = [task.summary.strip(), "", "Parameters", "----------"]
    for name, text in task.arrays.items():
        kind = "object" if name in task.objects else "array_like"
        lines += [f"{name} : {kind}", f"    {text}"]
    common = Recipe.parameters() if brief else ()
    for p in task.recipe.parameters():
        if p not in common:
            lines += [f"{p.name} : {p.accepted}, default {p.default!r}"]
            lines += [f"    {p.help}"]
    for name, text in task.functions.items():
        lines += [f"{name} : callable, optional", f"    {text}"]
    if brief:
        lines += ["", f"``help(napari_dip.{task.name})`` describes the others, too."]
        return "\n".join(lines) + "\n"
    lines.append(_COMMON)
    if task.notes:
        lines += ["", "Notes", "-----", task.notes.strip()]
    return "\n".join(lines) + "\n"
