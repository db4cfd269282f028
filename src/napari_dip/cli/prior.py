"""The commands that show the prior itself and restore no image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter as Option

from napari_dip.cli.options import (
    FILES,
    OUTPUT,
    FileResults,
    Overwrite,
    Quiet,
    Results,
    command_of,
    values_of,
)
from napari_dip.cli.output import put
from napari_dip.cli.report import save_and_report
from napari_dip.cli.targets import check_place, check_target
from napari_dip.errors import InputError
from napari_dip.tasks import noise_impedance as impedance
from napari_dip.tasks import sample_prior as sampling
from napari_dip.tasks.sample_prior import SampleParameters


def sample_prior(*, results: Results, **given: Any) -> int:
    """Draw an image from the untrained prior.

    The image is the output of a network with random weights for random numbers. It
    shows the structures that the network will prefer in every fit.
    """
    parameters = SampleParameters(**values_of(SampleParameters, given))
    check_target(results.output, [], results.overwrite)
    return draw(parameters, results)


command_of(sample_prior, SampleParameters, results=FileResults)


def draw(parameters: SampleParameters, results: Results) -> int:
    """Draw a sample of the prior, write it to a file and report it."""
    import numpy as np

    from napari_dip.io import provenance
    from napari_dip.io.image import Header, Image

    image = sampling.sample_prior(**dataclasses.asdict(parameters))
    like = None
    if image.ndim == 3 and parameters.channels != 3:
        image = np.moveaxis(image, -1, 0)  # not colours, so channels
        like = Image(image, Header("array", image.shape, image.dtype, "CYX"))
    note = f"a sample of the prior from seed {parameters.seed}"
    return save_and_report(results, image, like, provenance.origin(parameters), note)


def noise_impedance(  # noqa: D103  # see below
    file: Annotated[
        Path, Option(name="INPUT", group=FILES, help="An image file of any kind.")
    ],
    /,
    *,
    output: Annotated[
        Path,
        OUTPUT,
        Option(
            help="File to write: .csv for numbers; .png, .svg or .pdf for a plot, "
            "which needs matplotlib.",
        ),
    ],
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    iterations: int = 1000,
    sigma: float = 25 / 255,
    device: str = "auto",
    seed: int = 0,
) -> int:
    from napari_dip.io import atomic, files

    kind = output.suffix.lower().removeprefix(".")
    if kind not in impedance.FORMATS:
        raise InputError(f"output must end in .csv, .png, .svg or .pdf; got {output}")
    check_place(output, [file], overwrite)
    if kind != "csv":
        impedance.new_figure()  # raises before the fits where matplotlib is missing
    image = files.read(file)
    curves = impedance.noise_impedance(
        image.data,
        iterations=iterations,
        sigma=sigma,
        channel_axis=image.header.channel_axis,
        device=device,
        seed=seed,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(output, overwrite=overwrite) as partial:
        curves.save(partial, kind)
    if not quiet:
        put(f"{output}: {iterations} iterations of each of the four fits")
    return 0


# The help of the command and its options is that of the function.
noise_impedance.__doc__ = impedance.noise_impedance.__doc__
