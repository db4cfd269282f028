"""Quality of denoising with a guide, against denoising alone and the guided filter.

``fmd``: one channel of the three-channel stack guides another; the truth is an
average of fifty exposures.  ``flash``: photographs with noise, guided by a made-up
picture of the same scene under another light (another exposure curve and tint,
brighter in the middle, noise of 3 levels).  ``cave`` and ``lamp``: the real pairs with
and without flash, which have no truth: the noise that is left is estimated, and
`--pictures` writes the images.

"alone" is `denoise` with the fast preset, "filter" the guided filter (He et al., 2013)
of `napari_dip.baselines`, with its own choice of radius and eps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage import io

from benchmarks import common
from benchmarks.cases import centre, read
from napari_dip import metrics

Found = dict[str, Any]

CHOSEN_ON = ("house", "kodim01", "red by green")
"""Cases that settings were chosen on; the others only report."""

PHOTOS = ("house", "kodim01", "kodim03", "lena", "peppers")
CHANNELS = {"red by green": (0, 1), "blue by green": (2, 1), "green by red": (1, 0)}


@dataclass(frozen=True, eq=False)
class Case:
    """A noisy image and its guide.

    Attributes
    ----------
    set, name : str
        What it is.
    noisy, guide : ndarray
        In units of their own.
    truth : ndarray or None
        Of the noisy image.
    peak : float
        What PSNR is relative to.
    """

    set: str
    name: str
    noisy: NDArray[np.float32]
    guide: NDArray[np.float32]
    truth: NDArray[np.float32] | None
    peak: float

    def measure(self, image: NDArray[Any]) -> dict[str, float]:
        """Return the figures of a result."""
        from napari_dip.tasks.noise_level import gaussian_variance

        image = np.clip(np.asarray(image, np.float64), 0, self.peak)
        first = np.moveaxis(np.atleast_3d(image), -1, 0)
        found = {"noise left": gaussian_variance(first) ** 0.5}
        if self.truth is not None:
            found["psnr"] = metrics.psnr(image, self.truth, data_range=self.peak)
        return found


def flash(truth: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the same scene under another light."""
    height, width = truth.shape[:2]
    y, x = np.meshgrid(
        np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij"
    )
    light = np.exp(-0.8 * (x**2 + y**2))[..., None] * [0.9, 1.0, 1.1]
    lit = 255 * (truth / 255) ** 0.6 * light + rng.normal(0, 3, truth.shape)
    return np.asarray(np.clip(lit, 0, 255), np.float32)


def load(side: int | None, names: list[str] | None) -> Iterator[Case]:
    """Yield the cases, cropped to `side` pixels around the centre."""
    stacks = [
        tifffile.imread(common.DATA / "fmd" / f"BPAE_3ch_{kind}.tif")
        for kind in ("noisy", "gt")
    ]
    for name, (one, other) in CHANNELS.items():
        noisy, truth = (centre(stack[one], side) for stack in stacks)
        guide = centre(stacks[0][other], side)
        yield Case("fmd", name, noisy, guide, truth, float(truth.max()))
    for name in PHOTOS:
        for sigma in (25, 50):
            truth = centre(read(common.DATA / "set9" / f"{name}.png"), side)
            rng = np.random.default_rng([sigma, *map(ord, name)])
            noisy = np.clip(truth + rng.normal(0, sigma, truth.shape), 0, 255)
            guide = flash(truth, rng)
            case = f"{name} {sigma}"
            yield Case("flash", case, noisy.astype(np.float32), guide, truth, 255)
    for name, ending in (("cave01", "jpg"), ("lamp", "png")):
        pair = [
            centre(read(common.DATA / "flash" / f"{name}_{kind}.{ending}"), side)
            for kind in ("01_noflash", "00_flash")
        ]
        yield Case("real", name.removesuffix("01"), pair[0], pair[1], None, 255)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", nargs="+", default=list(QUICK))
    parser.add_argument("--images", nargs="+", help="only these, such as 'house 25'")
    parser.add_argument("--full", action="store_true", help="whole images, for a GPU")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pictures", type=Path, help="folder for the real pairs")
    parser.add_argument("--name", help="of the results file")


def run(arguments: argparse.Namespace) -> None:
    name = f"guided-{arguments.name or ('full' if arguments.full else 'quick')}"
    rows = common.rows_of(name)
    done = {(r["set"], r["case"], r["method"]) for r in rows}
    for case in load(None if arguments.full else 128, arguments.images):
        if arguments.images and case.name not in arguments.images:
            continue
        for method in arguments.methods:
            if (case.set, case.name, method) in done:
                continue
            began = time.perf_counter()
            image, more = METHODS[method](case, arguments.device)
            row = {
                "set": case.set,
                "case": case.name,
                "method": method,
                "seconds": time.perf_counter() - began,
                **case.measure(image),
                **more,
            }
            common.show(row)
            if arguments.pictures and case.truth is None:
                arguments.pictures.mkdir(parents=True, exist_ok=True)
                target = arguments.pictures / f"{case.name}-{method}.png"
                io.imsave(target, np.clip(image, 0, 255).astype(np.uint8))
            rows.append(row)
            common.save(name, {"rows": rows})
    print(summary(rows))


def ours(preset: common.Preset) -> Callable[[Case, str], tuple[Any, Found]]:
    def method(case: Case, device: str) -> tuple[Any, Found]:
        from napari_dip import denoise_guided

        fit = denoise_guided(
            case.noisy, case.guide, preset=preset, device=device, full_output=True
        )
        return fit.image, {"iterations": fit.iterations}

    return method


def alone(case: Case, device: str) -> tuple[Any, Found]:
    from napari_dip import denoise

    fit = denoise(case.noisy, device=device, full_output=True)
    return fit.image, {"iterations": fit.iterations}


def filtered(case: Case, device: str) -> tuple[Any, Found]:
    from napari_dip.baselines import guided_filter

    return guided_filter(case.noisy, case.guide), {}


METHODS: dict[str, Callable[[Case, str], tuple[Any, Found]]] = {
    "noisy": lambda case, device: (case.noisy, {}),
    "filter": filtered,
    "alone": alone,
    "fast": ours("fast"),
    "best": ours("best"),
    "paper": ours("paper"),
}
QUICK = ("noisy", "filter", "alone", "fast")


def summary(rows: list[Found]) -> str:
    """Return PSNR of every case with a truth, and the noise left in the others."""
    methods = [m for m in METHODS if any(r["method"] == m for r in rows)]
    cells = {(r["set"], r["case"], r["method"]): r for r in rows}
    lines = []
    for folder, case in dict.fromkeys((s, c) for s, c, _ in cells):
        key = "noise left" if folder == "real" else "psnr"
        line: Found = {"set": folder, "case": case, "figure": key}
        for method in methods:
            line[method] = cells.get((folder, case, method), {}).get(key)
        lines.append(line)
    seconds: Found = {"set": "all", "case": "mean", "figure": "seconds"}
    for method in methods:
        spent = [r["seconds"] for r in rows if r["method"] == method]
        seconds[method] = float(np.mean(spent))
    return common.table([*lines, seconds], ["set", "case", "figure", *methods])
