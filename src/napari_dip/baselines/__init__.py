"""Classical methods for every task, one call away, to compare with.

They take arrays of the same layouts as the tasks, keep the range and units of the
image and return float32.  NaN marks missing pixels: they are filled from their
neighbours, as by `telea`, before the method sees them.  Methods that need the noise
level estimate it where it is not given.

What is chosen here rather than in a paper was chosen on three of the nine images of
the denoising benchmark (F16, house, kodim01), and the docstrings say what it does.
"""

from __future__ import annotations

import inspect
from typing import Any

from napari_dip.baselines.blending import (
    cut_and_paste,
    laplacian_blend,
    poisson_blend,
)
from napari_dip.baselines.deconvolution import richardson_lucy, wiener
from napari_dip.baselines.denoising import nlm, tv, wavelet
from napari_dip.baselines.enlarging import bicubic, lanczos
from napari_dip.baselines.guided import guided_filter
from napari_dip.baselines.inpainting import biharmonic, telea
from napari_dip.baselines.sharpening import unsharp_mask
from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Float
from napari_dip.tasks.recipe import Recipe

FOR_TASK: dict[str, tuple[str, ...]] = {
    "denoise": ("nlm", "tv", "wavelet"),
    "super_resolve": ("bicubic", "lanczos"),
    "inpaint": ("biharmonic", "telea"),
    "remove_artifacts": ("tv",),
    "enhance": ("unsharp_mask",),
    "denoise_guided": ("guided_filter",),
    "blend": ("poisson_blend", "laplacian_blend", "cut_and_paste"),
    "deconvolve": ("richardson_lucy", "wiener"),
}
"""Names of the functions here that do what a task does, the most usual first."""

METHODS = {
    method.__name__: method
    for method in (
        *(nlm, tv, wavelet),
        *(bicubic, lanczos),
        *(biharmonic, telea),
        unsharp_mask,
        guided_filter,
        *(poisson_blend, laplacian_blend, cut_and_paste),
        *(richardson_lucy, wiener),
    )
}
"""All of them, by name."""

ARTIFACTS = 0.015
"""Weight of `tv` against artifacts, of the image's range.  Estimates of the noise do
not see them: blocks are no noise.  It gains 0.3 to 0.8 dB at JPEG qualities of 10 and
20 (five gray images of Classic5), and at 40 from -0.1 to 0.5."""


def run(task: str, name: str, values: dict[str, Any], *arrays: Any) -> Float:
    """Run a baseline on the arrays of a task, with its parameters where they apply.

    Parameters
    ----------
    task : str
        Name of the task.
    name : str
        One of ``FOR_TASK[task]``.
    values : dict
        Parameters of the task's recipe, by name.  Those of the noise, the axes, the
        factor, the amount and the like are used as far as the baseline has them, those
        of the fit are not.
    *arrays : array_like
        The arrays of the task, in its order.

    Returns
    -------
    ndarray
        float32.

    Raises
    ------
    InputError
        If there is no such baseline for the task, or an argument is not acceptable.
    """
    names = FOR_TASK.get(task)
    if names is None:
        raise InputError(f"task must be one of {', '.join(FOR_TASK)}; got {task!r}")
    if name not in names:
        raise InputError(f"name must be one of {', '.join(names)}; got {name!r}")
    baseline = METHODS[name]
    # "iterations" and others are the fit's, though a baseline may have some too.
    ours = {p.name for p in Recipe.parameters()} - {"channel_axis", "spatial_dims"}
    taken = inspect.signature(baseline).parameters.keys() - ours
    keywords = {key: value for key, value in values.items() if key in taken}
    if task == "remove_artifacts":
        keywords["weight"] = ARTIFACTS
    found: Float = baseline(*arrays, **keywords)
    return found
