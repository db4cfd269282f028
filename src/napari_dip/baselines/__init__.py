"""Classical methods for every task, one call away, to compare with.

They take arrays of the same layouts as the tasks, keep the range and units of the
image and return float32; they raise an `InputError` for an argument that is not
acceptable.  NaN marks missing pixels: `onion_peel` fills them in before the method sees
them; blending takes none.  Methods that need the noise level estimate it where it is
not given.

What is chosen here rather than in a paper was chosen on three of the nine images of
the denoising benchmark (F16, house, kodim01), and the docstrings say what it does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

# An alias of the same name says to type checkers that the function is public.
from napari_dip.baselines.blending import cut_and_paste as cut_and_paste
from napari_dip.baselines.blending import laplacian_blend as laplacian_blend
from napari_dip.baselines.blending import poisson_blend as poisson_blend
from napari_dip.baselines.deconvolution import richardson_lucy as richardson_lucy
from napari_dip.baselines.deconvolution import wiener as wiener
from napari_dip.baselines.denoising import nlm as nlm
from napari_dip.baselines.denoising import tv as tv
from napari_dip.baselines.denoising import wavelet as wavelet
from napari_dip.baselines.enlarging import bicubic as bicubic
from napari_dip.baselines.enlarging import lanczos as lanczos
from napari_dip.baselines.guided import guided_filter as guided_filter
from napari_dip.baselines.inpainting import biharmonic as biharmonic
from napari_dip.baselines.inpainting import onion_peel as onion_peel
from napari_dip.baselines.sharpening import unsharp_mask as unsharp_mask
from napari_dip.errors import InputError
from napari_dip.tasks.arrays import Float
from napari_dip.tasks.recipe import Recipe, check

_FUNCTIONS: dict[str, tuple[Callable[..., Float], ...]] = {
    "denoise": (nlm, tv, wavelet),
    "super_resolve": (bicubic, lanczos),
    "inpaint": (biharmonic, onion_peel),
    "remove_artifacts": (tv,),
    "enhance": (unsharp_mask,),
    "denoise_guided": (guided_filter,),
    "blend": (poisson_blend, laplacian_blend, cut_and_paste),
    "deconvolve": (richardson_lucy, wiener),
}

FOR_TASK = {task: tuple(f.__name__ for f in some) for task, some in _FUNCTIONS.items()}
"""Names of the baselines of every task, the most usual first."""

METHODS = {f.__name__: f for functions in _FUNCTIONS.values() for f in functions}
"""Every baseline by its name."""

ARTIFACTS = 0.015
"""Weight of `tv` against artifacts, as a part of the image's range.

An estimate of the noise does not see blocks.  This weight gains 0.3 to 0.8 dB at JPEG
qualities of 10 and 20 (five gray images of Classic5), and from -0.1 to 0.5 dB at 40.
"""


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
    task = check("task", task, choices=tuple(FOR_TASK))
    name = check("name", name, choices=FOR_TASK[task])
    if not isinstance(values, Mapping):
        raise InputError(f"values must be a dict of parameters; got {values!r}")
    # "iterations" and others are the fit's, though a baseline may have some too.
    of_fits = {p.name for p in Recipe.parameters()} - {"channel_axis", "spatial_dims"}
    accepted = inspect.signature(METHODS[name]).parameters.keys() - of_fits
    keywords = {key: value for key, value in values.items() if key in accepted}
    if task == "remove_artifacts":
        keywords["weight"] = ARTIFACTS
    return METHODS[name](*arrays, **keywords)
