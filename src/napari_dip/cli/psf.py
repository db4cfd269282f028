"""The commands that make a point spread function."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App
from cyclopts import Parameter as Option

from napari_dip.cli.options import (
    FILES,
    PARAMETERS,
    FileResults,
    Results,
    command_of,
    input_path,
    values_of,
)
from napari_dip.cli.report import save_and_report
from napari_dip.cli.targets import check_target
from napari_dip.errors import InputError
from napari_dip.tasks.bead_psf import BeadParameters, measure
from napari_dip.tasks.microscope_psf import (
    MicroscopeParameters,
    microscope_psf,
    slices_for,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_dip.io.image import Header, Image


def app() -> App:
    """Return the commands below ``psf``."""
    application = App(
        name="psf",
        help="Make a point spread function: from the optics of a microscope, or from "
        "an image of beads.",
        help_format="plaintext",
        group_parameters=PARAMETERS,
    )
    application.command(microscope, name="microscope")
    application.command(beads, name="beads")
    return application


def microscope(
    *,
    results: Results,
    like: Annotated[
        Path | None,
        Option(
            group=FILES,
            show_default=False,
            converter=input_path,
            help="The image to deconvolve: its pixel size, z step and number of slices "
            "are taken where they are not given.",
        ),
    ] = None,
    **given: Any,
) -> int:
    """Compute a PSF from the optics of a microscope."""
    values = values_of(MicroscopeParameters, given)
    check_target(results.output, [] if like is None else [like], results.overwrite)
    if like is not None:
        from napari_dip.io import files

        values = _like(files.read_header(like), like.name) | values
    for name in MicroscopeParameters.required:
        if name not in values:
            also = ", or like," if name == "pixel_size" else ""
            raise InputError(f"{name}{also} must be given")
    return compute(MicroscopeParameters(**values), results)


def beads(
    file: Annotated[
        Path, Option(name="INPUT", group=FILES, help="A plane or volume of beads.")
    ],
    /,
    *,
    results: Results,
    **given: Any,
) -> int:
    """Average the beads of an image, aligned to a fraction of a pixel."""
    values = values_of(BeadParameters, given)
    check_target(results.output, [file], results.overwrite)
    return average(file, values, results)


command_of(microscope, MicroscopeParameters, results=FileResults)
command_of(beads, BeadParameters, results=FileResults)


def compute(parameters: MicroscopeParameters, results: Results) -> int:
    """Compute a PSF, write it to a file and report it."""
    from napari_dip.io import provenance

    psf = microscope_psf(**dataclasses.asdict(parameters))
    origin = provenance.origin(parameters)
    note = f"a {parameters.kind} PSF of {_in_words(psf.shape)} pixels"
    return save_and_report(results, psf, _on_grid(psf, parameters), origin, note)


def average(file: Path, values: Mapping[str, Any], results: Results) -> int:
    """Measure a PSF from a file of beads, write it to a file and report it."""
    from napari_dip.io import files, provenance
    from napari_dip.io.masks import psf_of
    from napari_dip.io.psf import optics_of

    image = files.read(file)
    optics = optics_of(image.header, file.name)
    parameters = BeadParameters(**{**optics, **values})
    measured = measure(psf_of(image, file.name), parameters)
    origin = {
        **provenance.origin(parameters),
        "from_file": [name for name in optics if name not in values],
        "inputs": provenance.describe_inputs({"image": (file.name, image.data)}),
        "beads": len(measured.centres),
    }
    psf = measured.psf
    note = f"a PSF of {_in_words(psf.shape)} pixels from {measured.summary}"
    sources = {"image": str(file)}
    like = _on_grid(psf, parameters)
    return save_and_report(results, psf, like, origin, note, sources)


def _like(header: Header, name: str) -> dict[str, Any]:
    """Return what a PSF takes from the file of the image."""
    from napari_dip.io.psf import optics_of

    optics: dict[str, Any] = dict(optics_of(header, name))
    if "Z" in header.axes and (count := header.shape[header.axes.index("Z")]) > 1:
        rows, columns = MicroscopeParameters().shape
        optics["shape"] = (slices_for(count), rows, columns)
    return optics


def _in_words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _on_grid(
    psf: NDArray[np.float32], parameters: MicroscopeParameters | BeadParameters
) -> Image:
    """Return a PSF with its pixel sizes, in µm."""
    from napari_dip.io.image import Header, Image

    pixel = parameters.pixel_size
    scale = (parameters.z_step, pixel, pixel)[-psf.ndim :]
    units = tuple(None if step is None else "µm" for step in scale)
    axes = "ZYX"[-psf.ndim :]
    return Image(psf, Header("array", psf.shape, psf.dtype, axes, scale, units))
