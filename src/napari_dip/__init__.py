"""Deep image prior: restore an image with a network trained on nothing else.

The public functions load on first use, so that importing the package costs
next to nothing: torch, scikit-image and Qt arrive when something needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from napari_dip.errors import DipError, FitError, InputError, OutOfMemory
    from napari_dip.tasks.denoise import denoise
    from napari_dip.tasks.run import estimate, iterate

# Public name -> module that defines it. A new name goes here, in `__all__`,
# and above, where type checkers look.
_LAZY = {
    "DipError": "napari_dip.errors",
    "FitError": "napari_dip.errors",
    "InputError": "napari_dip.errors",
    "OutOfMemory": "napari_dip.errors",
    "denoise": "napari_dip.tasks.denoise",
    "estimate": "napari_dip.tasks.run",
    "iterate": "napari_dip.tasks.run",
}

__all__ = [
    "DipError",
    "FitError",
    "InputError",
    "OutOfMemory",
    "__version__",
    "denoise",
    "estimate",
    "iterate",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value  # so that the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
