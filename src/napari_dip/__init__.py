"""Deep image prior: restore an image with a network trained on nothing else.

The public functions load on first use, so that importing the package costs
next to nothing: torch, scikit-image and Qt arrive when something needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from napari_dip import baselines as baselines
    from napari_dip import metrics as metrics
    from napari_dip.errors import DipError as DipError
    from napari_dip.errors import FitError as FitError
    from napari_dip.errors import InputError as InputError
    from napari_dip.errors import OutOfMemory as OutOfMemory
    from napari_dip.tasks.bead_psf import bead_psf as bead_psf
    from napari_dip.tasks.blend import blend as blend
    from napari_dip.tasks.deconvolve import deconvolve as deconvolve
    from napari_dip.tasks.denoise import denoise as denoise
    from napari_dip.tasks.denoise_guided import denoise_guided as denoise_guided
    from napari_dip.tasks.enhance import enhance as enhance
    from napari_dip.tasks.function import estimate as estimate
    from napari_dip.tasks.function import iterate as iterate
    from napari_dip.tasks.inpaint import inpaint as inpaint
    from napari_dip.tasks.invert_features import invert_features as invert_features
    from napari_dip.tasks.maximize_activation import (
        maximize_activation as maximize_activation,
    )
    from napari_dip.tasks.microscope_psf import microscope_psf as microscope_psf
    from napari_dip.tasks.noise_impedance import noise_impedance as noise_impedance
    from napari_dip.tasks.remove_artifacts import remove_artifacts as remove_artifacts
    from napari_dip.tasks.restore import restore as restore
    from napari_dip.tasks.sample_prior import sample_prior as sample_prior
    from napari_dip.tasks.super_resolve import super_resolve as super_resolve

# Public name -> module that defines it. A new name goes here and above, where type
# checkers look.
_LAZY = {
    "DipError": "napari_dip.errors",
    "FitError": "napari_dip.errors",
    "InputError": "napari_dip.errors",
    "OutOfMemory": "napari_dip.errors",
    "baselines": "napari_dip",
    "bead_psf": "napari_dip.tasks.bead_psf",
    "blend": "napari_dip.tasks.blend",
    "deconvolve": "napari_dip.tasks.deconvolve",
    "denoise": "napari_dip.tasks.denoise",
    "denoise_guided": "napari_dip.tasks.denoise_guided",
    "enhance": "napari_dip.tasks.enhance",
    "estimate": "napari_dip.tasks.function",
    "inpaint": "napari_dip.tasks.inpaint",
    "invert_features": "napari_dip.tasks.invert_features",
    "iterate": "napari_dip.tasks.function",
    "maximize_activation": "napari_dip.tasks.maximize_activation",
    "metrics": "napari_dip",
    "microscope_psf": "napari_dip.tasks.microscope_psf",
    "noise_impedance": "napari_dip.tasks.noise_impedance",
    "remove_artifacts": "napari_dip.tasks.remove_artifacts",
    "restore": "napari_dip.tasks.restore",
    "sample_prior": "napari_dip.tasks.sample_prior",
    "super_resolve": "napari_dip.tasks.super_resolve",
}

__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return globals().setdefault(name, version("napari-dip"))
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _LAZY[name]
    if home == __name__:  # a module of the package itself
        value = import_module(f"{home}.{name}")
    else:
        value = getattr(import_module(home), name)
    globals()[name] = value  # so that the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
