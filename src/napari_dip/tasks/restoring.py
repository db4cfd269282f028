"""Planes and tiles restored by networks that planes share, for any process."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_dip.errors import FitError
from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import FLOAT32, Index, cast
from napari_dip.tasks.block import BlockFit, constant_image, restored, result_type
from napari_dip.tasks.neighbours import guide
from napari_dip.tasks.plane import Pixels, Plane
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.result import Canvas, ranges
from napari_dip.tasks.shared import Shared
from napari_dip.tasks.task import Job
from napari_dip.tasks.tiles import Block, Tile, probes, relative

if TYPE_CHECKING:
    from torch import Tensor

    from napari_dip.prior.codes import Code
    from napari_dip.tasks.presets import Preset
    from napari_dip.tasks.task import Plan


def errors_on_plane(
    job: Job, kinds: Sequence[Sequence[Shared]], index: Index
) -> list[tuple[float, bool]]:
    """Return the error of the networks of every kind on a plane; see `error_on`."""
    # One region after the other, for arrays that are read piece by piece.
    regions = [job.layout.within(index, r) for r in probes(job.layout.sides)]
    parts = [(r, job.pixels(r)) for r in regions]
    return [error_on(job, networks, parts) for networks in kinds]


def restore_tile(
    job: Job,
    recipe: Recipe,
    kinds: Sequence[Sequence[Shared]],
    number: int,
    index: Index,
    tile: Tile,
    preview: bool = False,
) -> BlockFit:
    """Restore a tile of a plane by the networks of one kind; see `restore`.

    Its core is arranged as the input is.  The details say of which channels nothing is
    known there.
    """
    layout = job.layout
    seen = layout.within(index, tile.seen)
    plane_values = job.take(seen)
    pixels = job.pixels(seen, plane_values)
    assert plane_values is not None
    assert pixels is not None
    core = (slice(None), *relative(tile.core, tile.seen))
    unchanged = plane_values[core]
    canvas = Canvas(cast(unchanged, FLOAT32), 1)
    deviation = Canvas(np.full(unchanged.shape, np.nan, np.float32), 1)
    sides = unchanged.shape[1:]
    warnings: list[str] = []
    used = [s for s in kinds[number] if pixels.known(s.channels)[core[1:]].any()]
    for shared in used:
        done = restore(job, recipe, shared, seen, tile, pixels, preview=preview)
        warnings += done.warnings
        block = Block.whole(0, index, shared.channels, sides)
        canvas.put(block, done.image)
        if done.deviation is not None:
            deviation.put(block, done.deviation)
    left = channels_left(used, pixels.part(core))
    if left:
        warnings.append(
            f"channels {ranges(left)} are left as they came where no network serves "
            "them: others that it needs are missing there, or they are constant in "
            "most planes"
        )
    canvas.fill(unchanged, exact=recipe.dtype == "input")
    spread = layout.arrange(deviation.image) if deviation.fitted else None
    unknown = np.isnan(unchanged).reshape(len(unchanged), -1).all(axis=1)
    details = {"unknown": np.flatnonzero(unknown).tolist()}
    image = layout.arrange(canvas.image)
    return BlockFit(image, spread, fits=[], details=details, warnings=warnings)


def channels_left(networks: Sequence[Shared], pixels: Pixels) -> list[int]:
    """Return the channels that vary and that no network is for."""
    served = {c for shared in networks for c in shared.channels}
    varies = ~pixels.constant & ~np.isnan(pixels.values)
    varying = np.flatnonzero(varies.reshape(len(varies), -1).any(axis=1))
    return [int(c) for c in varying if c not in served]


def error_of(average: Tensor, plane: Plane, analysis: Analysis) -> float:
    """Return the squared error of predictions of hidden pixels, in units of the noise.

    Means over the pixels that hold noise; of the channels, the largest.
    """
    variance = analysis.noise.at(average)[0].cpu().numpy()
    squared = (average[0].cpu().numpy() - plane.values) ** 2
    ratios = [
        float(s[u].mean() / max(v[u].mean(), 1e-12))
        for s, v, u in zip(squared, variance, plane.noisy, strict=True)
        if u.any()
    ]
    return max(ratios, default=1.0)


def error_on(
    job: Job, networks: Sequence[Shared], parts: Sequence[tuple[Index, Pixels | None]]
) -> tuple[float, bool]:
    """Try networks on parts of a plane.

    Returns the squared error where pixels were hidden, over the variance of the pixels,
    by which networks of unlike scale and noise can be compared; and whether the plane
    is of another kind than the windows they were fitted to.
    """
    errors: list[float] = []
    unlike = any(channels_left(networks, pixels) for _, pixels in parts if pixels)
    for shared in networks:
        ratios = []
        for index, pixels in parts:
            if pixels is None or not pixels.known(shared.channels).any():
                continue
            plane = _scaled(job, shared, index, pixels)
            used = plane.noisy
            if not used.any():
                continue
            average = _predict(job, shared, index, plane, pixels)
            difference = (average[0].cpu().numpy() - plane.values)[used]
            spread = plane.values[used].var()
            errors.append(float(np.square(difference).mean() / max(spread, 1e-20)))
            ratios.append(error_of(average, plane, shared.analysis))
        unlike = unlike or bool(ratios and shared.is_unlike(float(np.mean(ratios))))
    return float(np.mean(errors)) if errors else 0.0, unlike


def restore(
    job: Job,
    recipe: Recipe,
    shared: Shared,
    index: Index,
    tile: Tile,
    pixels: Pixels,
    *,
    preview: bool = False,
) -> BlockFit:
    """Restore the core of a tile of a plane by the network of some channels.

    The pixels are all channels of what the tile sees.  For a preview the filters that
    take long are left out.
    """
    plane = _scaled(job, shared, index, pixels)
    dtype = result_type(job, recipe, plane)
    if plane.constant_values is not None:
        image = constant_image(plane, plane.constant_values, plane.known.shape, dtype)
        deviation = np.zeros_like(image) if job.uncertain else None
        core = relative(tile.core, tile.seen)
    else:
        average = _predict(job, shared, index, plane, pixels)
        part = relative(tile.filtered, tile.seen)
        plan = _plan(job, shared, index, plane.cut(part))
        averages = [average[:, :, *part]]
        image, deviation = restored(plan, averages, dtype, preview=preview)
        if not np.isfinite(image).all():
            raise FitError(
                "the network that planes share gave an image that is not finite"
            )
        core = relative(tile.core, tile.filtered)
    if deviation is not None:
        deviation = deviation[:, *core]
    return BlockFit(image[:, *core], deviation, fits=[], warnings=list(plane.warnings))


def _scaled(job: Job, shared: Shared, index: Index, pixels: Pixels) -> Plane:
    block = Block.whole(0, index, shared.channels, pixels.values.shape[1:])
    analysis = shared.analysis
    plane = job.scaled(pixels, block, analysis.scale)
    return plane.evened(analysis.unevenness, [job.layout.region(index)])


def _plan(job: Job, shared: Shared, index: Index, plane: Plane) -> Plan:
    block = Block.whole(0, index, shared.channels, plane.known.shape)
    return job.plan(plane, block, shared.analysis, shared.preset)


def _predict(
    job: Job, shared: Shared, index: Index, plane: Plane, pixels: Pixels
) -> Tensor:
    stack = Pixels.stacked([pixels.of_channels(shared.channels)])
    given = shared.preset, shared.analysis, [index], stack
    code = code_at(job, *given, shared.neighbours)
    return shared.predictor(_plan(job, shared, index, plane).problem, code)


def code_at(
    job: Job,
    preset: Preset,
    analysis: Analysis,
    windows: Sequence[Index],
    stack: Pixels,
    neighbours: int,
) -> Code:
    """Return what a network sees of parts of planes, (C, N, Y, X), with neighbours."""
    code = preset.code
    if not neighbours:
        return code
    from napari_dip.prior.codes import BlindSpot

    seen = guide(job, analysis, windows, stack, neighbours)
    assert isinstance(code, BlindSpot)
    return dataclasses.replace(code, guide=seen)
