"""How a fit is set up: problem, network, settings and seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from napari_dip.tasks.analysis import Analysis
from napari_dip.tasks.arrays import Index
from napari_dip.tasks.recipe import Recipe
from napari_dip.tasks.task import Job, Overrides, Plan

if TYPE_CHECKING:
    from napari_dip.prior.problem import Prior, Problem, Settings
    from napari_dip.tasks.presets import Preset

HALVED = 3
"""Iterations at half the resolution in whose place one at the whole is taken where an
image has no room for them."""


def seed_for(seed: int, fit: int = 0, attempt: int = 0) -> int:
    """Return the seed of one of many fits, and of another attempt at it."""
    return (seed + 104729 * fit + 15485863 * attempt) % 2**31


def restarts_of(recipe: Recipe, preset: Preset) -> int:
    """Return how many fits from different seeds are averaged."""
    return preset.restarts if recipe.restarts == "auto" else int(recipe.restarts)


def plans(
    job: Job, number: int, index: Index
) -> Iterator[tuple[Analysis, Preset, Plan]]:
    """Yield what is made of every block of a plane that is not constant."""
    pixels = job.pixels(index)
    for block in job.blocks(number, index, pixels):
        plane = None if pixels is None else job.scaled(pixels, block)
        if plane is None or plane.constant_values is None:
            analysis = job.analyse(plane, block)
            preset = job.preset(analysis)
            yield analysis, preset, job.plan(plane, block, analysis, preset)


def set_up(
    plan: Plan, preset: Preset, recipe: Recipe, overrides: Overrides, seed: int
) -> tuple[Problem, Prior, Settings]:
    """Return the arguments of `napari_dip.prior.fit.fit` by a plan and a preset."""
    from napari_dip.prior.problem import Prior, Settings
    from napari_dip.prior.state import can_be_halved
    from napari_dip.prior.stopping import HeldOut

    problem = plan.problem if plan.seeded is None else plan.seeded(seed)
    architecture = overrides.architecture or flattened(
        preset.architecture, problem.image_shape[1:], recipe
    )
    warm = overrides.weights is not None
    stop, coarse = overrides.stop or preset.stop, preset.coarse_iterations
    if not can_be_halved(problem.image_shape[1:]):
        if isinstance(stop, HeldOut) and overrides.stop is None:
            stop = dataclasses.replace(stop, maximum=stop.maximum + coarse // HALVED)
        coarse = 0
    settings = Settings.of(
        preset,
        stop=stop,
        # Given weights are a first estimate already.
        start_iterations=0 if warm else preset.start_iterations,
        coarse_iterations=0 if warm else coarse,
        extra_iterations=recipe.extra_iterations,
        device=recipe.device,
        precision=recipe.precision,
        seed=seed,
    )
    return problem, Prior(architecture, plan.code or preset.code), settings


def flattened(network: Any, sides: Sequence[int], recipe: Recipe) -> Any:
    """Return a network for a volume of few planes, or of planes that lie far apart.

    Its finest scales leave the first axis as it is, until pixels along y and x are
    about as large as the distance of the planes; and that axis is halved as often only
    as leaves two planes.  Networks without `flat_scales`, and those for planes, are
    returned as they are.
    """
    if len(sides) != 3 or not hasattr(network, "flat_scales"):
        return network
    possible = max(math.floor(math.log2(sides[0] / 2)), 0)
    spacing = 1.0 if recipe.z_spacing == "auto" else float(recipe.z_spacing)
    apart = round(math.log2(max(spacing, 1)))
    flat = max(network.scales - possible, apart, network.flat_scales)
    return dataclasses.replace(network, flat_scales=min(flat, network.scales))


def outline(
    job: Job, recipe: Recipe, overrides: Overrides | None = None
) -> tuple[Problem, Prior, Settings]:
    """Return the fit of a plane as far as shapes and recipe say, for estimates.

    Nothing is found out about the image, whose pixels are not looked at.
    """
    import torch

    from napari_dip.prior.problem import Problem

    channels = job.layout.channels
    preset = job.preset(Analysis.unknown(channels))
    shape = job.image_shape(channels)
    empty = torch.empty(1, *shape, device="meta")
    plan = Plan(Problem(empty, shape=shape), lambda image: image)
    return set_up(plan, preset, recipe, overrides or Overrides(), recipe.seed)
