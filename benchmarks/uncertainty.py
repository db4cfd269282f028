"""How often the truth lies within one and two standard deviations of a denoised image.

Two thirds (68 %) and 95 % of the pixels of normal errors do.  The images are those that
nothing was chosen on: the rest of Set9 with noise of ours, and microscope images.

``--calibrate`` prints the two factors of `napari_dip.tasks.finishing` with which the
truth of the other images is likeliest.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize

from benchmarks import common
from benchmarks.cases import SET9, Case, gray, pairs, set9
from napari_dip import denoise

NOISES = [
    f"{kind}-{level}" for level in (10, 25, 50) for kind in ("gaussian", "poisson")
]
CALIBRATION = ("house", "F16", "kodim01")
"""Images of Set9; and boat, which is gray."""

NAME = "uncertainty"


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--side", type=int, default=128, help="0 for whole images")
    parser.add_argument("--calibrate", action="store_true", help="find the factors")
    parser.add_argument("--picture", help="draw images, errors and uncertainties, PNG")


def run(arguments: argparse.Namespace) -> None:
    side = arguments.side or None
    if arguments.calibrate:
        calibrate(side)
        return
    if arguments.picture:
        picture(Path(arguments.picture))
        return
    rows = common.rows_of(NAME)
    done = {(r["set"], r["image"], r["noise"]) for r in rows}
    for case in checked(side):
        if (case.set, case.name, case.noise) not in done:
            rows.append(measure(case))
            common.save(NAME, {"rows": rows})
            print(common.table(rows[-1:], list(rows[-1])), flush=True)
    print(summary(rows))


def checked(side: int | None) -> Iterator[Case]:
    yield from pairs("fmd", side)
    for name in SET9:
        if name not in CALIBRATION:
            for noise in NOISES:
                yield from set9(noise, side, (name,))


def measure(case: Case) -> dict[str, Any]:
    fit = denoise(case.noisy, full_output=True)
    row = {"set": case.set, "image": case.name, "noise": case.noise}
    if fit.uncertainty is None:
        return row
    error, deviation = np.abs(fit.image - case.truth), fit.uncertainty
    return row | {
        "within 1": float((error <= deviation).mean()),
        "within 2": float((error <= 2 * deviation).mean()),
        "error": float(np.sqrt(np.mean(np.square(error, dtype=float)))),
        "uncertainty": float(np.sqrt(np.mean(np.square(deviation, dtype=float)))),
    }


def summary(rows: list[dict[str, Any]]) -> str:
    """Return means over the images of every set and noise, and the extremes.

    Images without an uncertainty are not counted.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["noise"]), []).append(row)
    lines = []
    for (name, noise), group in groups.items():
        known = [r for r in group if "within 1" in r]
        line = {"set": name, "noise": noise, "images": len(known)}
        for key in ("within 1", "within 2"):
            shares = [100 * r[key] for r in known]
            if shares:
                mean, low, high = np.mean(shares), min(shares), max(shares)
                line[f"{key} (%)"] = f"{mean:.0f} ({low:.0f} to {high:.0f})"
        if known:
            ratios = [r["uncertainty"] / r["error"] for r in known]
            line["uncertainty / error"] = float(np.exp(np.mean(np.log(ratios))))
        lines.append(line)
    columns = ["set", "noise", "images", "within 1 (%)", "within 2 (%)"]
    return common.table(lines, [*columns, "uncertainty / error"])


# -- the factors ------------------------------------------------------------------


def calibrate(side: int | None) -> None:
    """Print the factors that make the truth likeliest, where errors are normal."""
    fitted = [
        one
        for noise in NOISES
        for case in [*set9(noise, side, CALIBRATION), *boat(noise, side)]
        for one in fits(case)
    ]

    def surprise(logs: np.ndarray) -> float:
        moved, unseen = np.exp(logs)
        total = 0.0
        for make, average, finished, error in fitted:
            deviation = make(moved, unseen)(average, finished)
            # In units of the mean error, so that every image counts alike.
            variance = np.square(deviation) / np.mean(np.square(error))
            ratio = np.square(error / deviation)
            total += float(np.mean(np.log(variance) + ratio)) / 2
        return total / len(fitted)

    found = optimize.minimize(surprise, np.log([2, 0.03]), method="Nelder-Mead")
    moved, unseen = np.exp(found.x)
    print(f"moved {moved:.3g}, unseen {unseen:.3g}")


def boat(noise: str, side: int | None) -> Iterator[Case]:
    return (case for case in gray(noise, side) if case.name == "boat")


def fits(case: Case) -> Iterator[tuple[Any, Any, Any, np.ndarray]]:
    """Yield, for every block, what its deviation is made of, and its error."""
    from napari_dip.prior.fit import run_to_end
    from napari_dip.tasks.block import fit_block
    from napari_dip.tasks.denoise import TASK, DenoiseRecipe
    from napari_dip.tasks.finishing import posterior_deviation
    from napari_dip.tasks.running import Running

    recipe = DenoiseRecipe()
    job = TASK.job(recipe, case.noisy)
    (index,) = job.layout.indices()
    pixels = job.pixels(index, job.take(index))
    assert pixels is not None
    truth = np.moveaxis(np.atleast_3d(case.truth), -1, 0)
    for block in job.blocks(0, index, pixels):
        done = run_to_end(fit_block(Running(job, recipe), block, pixels=pixels))
        plane = job.scaled(pixels, block)
        analysis = job.analyse(plane, block)
        plan = job.plan(plane, block, analysis, job.preset(analysis))
        if plan.deviation is None:
            continue  # its noise was taken for correlated
        assert plan.finish is not None
        average = done.fits[0].average
        finished = plan.finish(average)
        error = done.image - truth[list(block.channels)]

        make = functools.partial(posterior_deviation, plane, analysis.noise)

        yield make, average, finished, error


# -- the picture ------------------------------------------------------------------


def picture(path: Path) -> None:
    """Draw the noisy image, the result, its true error and its uncertainty."""
    from PIL import Image
    from skimage import data

    truth = data.camera()[40:296, 120:376].astype(np.float32)
    noisy = truth + np.random.default_rng(0).normal(0, 25, truth.shape)
    fit = denoise(noisy, full_output=True)
    shown = [noisy, fit.image, 10 * np.abs(fit.image - truth), 10 * fit.uncertainty]
    line = np.concatenate(
        [np.pad(i, ((0, 0), (0, 4)), constant_values=255) for i in shown], 1
    )[:, :-4]
    stored = np.clip(np.rint(line), 0, 255).astype(np.uint8)
    Image.fromarray(stored).save(path, optimize=True)
