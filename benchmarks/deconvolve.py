"""Quality of deconvolution: ours against Richardson-Lucy and Wiener's filter.

Sets:

levin
    Camera shake as it was photographed, with the measured PSFs (Levin et al., 2009).
kernels
    Photographs blurred with those PSFs, with Gaussian noise.
cells
    Averaged fluorescence images blurred with a Gaussian PSF, with Poisson noise.
bars
    The simulated volume of hollow bars, with a PSF that fills it.

Every method is given the same image and PSF.  "oracle" rows have the number of
iterations, or the balance, that is best by the truth, which no user has: the most that
such a method can reach.  The others, and ours, see no truth.  PSNR leaves out a border
as wide as the PSF's radius.  Without ``--full``: crops of 128 pixels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal
from skimage import io
from skimage.registration import phase_cross_correlation
from tifffile import imread

from benchmarks import common
from benchmarks.cases import centre, read
from napari_dip import metrics

Found = dict[str, Any]
Array = NDArray[Any]

SETS = ("levin", "kernels", "cells", "bars")

LEVIN = {
    "im1_kernel1": (True, (0, 1)),
    "im1_kernel4": (False, (-1, 3)),
    "im1_kernel6": (True, (-4, 5)),
    "im2_kernel5": (True, (0, -2)),
}
"""Whether the stored PSF is turned by 180 degrees against the convolution that made
the image, and by how many pixels the image is displaced against the truth: what fits
truth and image best.  Every method gets the PSF with both put right."""

KERNELS = (
    ("lena", 1, 2.55),
    ("peppers", 4, 2.55),
    ("kodim12", 5, 2.55),
    ("kodim02", 6, 7.65),
)
"""Image of set9, PSF and noise.  Settings were chosen on house, F16 and kodim03."""

CELLS = ("BPAE_R", "mice")
"""Images of fmd.  Settings were chosen on another."""

QUICK = 128
PHOTONS = 200.0
"""At the brightest pixel of the blurred cells."""


@dataclass(frozen=True, eq=False)
class Case:
    """A blurred image with its PSF and truth, in units of their own.

    Attributes
    ----------
    set, name : str
        What it is.
    image, psf, truth : ndarray
        (Y, X) or (Z, Y, X).
    peak : float
        What PSNR is relative to.
    boundary : str
        As `napari_dip.deconvolve` has it.
    shifted : bool
        Measure up to a displacement below a pixel, which a measured PSF leaves open.
    """

    set: str
    name: str
    image: Array
    psf: Array
    truth: Array
    peak: float
    boundary: Literal["extend", "periodic"] = "extend"
    shifted: bool = False

    def psnr(self, image: Array) -> float:
        """Return the PSNR of a result, clipped to [0, peak]."""
        image = np.clip(image, 0, self.peak).astype(np.float64)
        if not self.shifted:
            return self._psnr(image)
        # Levin et al. search displacements in steps of a quarter of a pixel.
        move, _, _ = phase_cross_correlation(self.truth, image, upsample_factor=4)
        moved = ndimage.shift(image, np.clip(move, -1, 1), order=3, mode="nearest")
        return max(self._psnr(image), self._psnr(moved))

    def _psnr(self, image: Array) -> float:
        border = 0
        if self.boundary == "extend":
            border = max(max(self.psf.shape) // 2, 2)
        inside = tuple(slice(border, n - border) for n in image.shape)
        return metrics.psnr(image[inside], self.truth[inside], data_range=self.peak)


def levin(side: int | None) -> Iterator[Case]:
    folder = common.DATA / "levin"
    for name, (turned, (dy, dx)) in LEVIN.items():
        image, kernel = name.split("_")
        psf = io.imread(folder / f"{kernel}.png").astype(np.float64)
        if turned:
            psf = psf[::-1, ::-1]
        psf = np.pad(psf, max(abs(dy), abs(dx)))
        psf = np.roll(psf, (dy, dx), (0, 1))
        yield Case(
            "levin",
            name,
            centre(read(folder / f"{name}_blurred.png"), side),
            psf / psf.sum(),
            centre(read(folder / f"{image}_gt.png"), side),
            255.0,
            shifted=True,
        )


def _blurred(truth: Array, psf: Array, side: int | None) -> tuple[Array, Array]:
    """Blur what is within the image, and return it with the truth there."""
    whole = signal.fftconvolve(truth, psf, mode="valid")
    near = [k - 1 - k // 2 for k in psf.shape]
    index = tuple(slice(a, a + n) for a, n in zip(near, whole.shape, strict=True))
    return centre(whole, side), centre(truth[index], side)


def kernels(side: int | None) -> Iterator[Case]:
    for number, (name, kernel, sigma) in enumerate(KERNELS):
        psf = io.imread(common.DATA / "levin" / f"kernel{kernel}.png").astype(float)
        psf /= psf.sum()
        gray = common.luma(read(common.DATA / "set9" / f"{name}.png"))
        image, truth = _blurred(gray, psf, side)
        random = np.random.default_rng(number)
        image = image + random.normal(0, sigma, image.shape)
        label = f"{name}, PSF {kernel}, sigma {sigma}"
        yield Case("kernels", label, image.astype(np.float32), psf, truth, 255.0)


def cells(side: int | None) -> Iterator[Case]:
    axis = np.exp(-(np.arange(-6, 7) ** 2) / 8)
    psf = axis[:, None] * axis
    psf /= psf.sum()
    for number, name in enumerate(CELLS):
        truth = read(common.DATA / "fmd" / f"{name}_gt.png")
        image, truth = _blurred(truth, psf, side)
        gain = image.max() / PHOTONS
        random = np.random.default_rng(number)
        image = random.poisson(image.clip(min=0) / gain) * gain
        peak = float(truth.max())
        yield Case("cells", name, image.astype(np.float32), psf, truth, peak)


def bars(side: int | None) -> Iterator[Case]:
    folder = common.DATA / "deconv3d_bars"
    names = ("actual", "data", "kernel")
    truth, image, psf = (imread(folder / f"{n}.tif") for n in names)
    # The image was simulated with another scale: its light over the truth's.
    truth = truth * (image.sum() / truth.sum())
    peak = float(truth.max())
    yield Case("bars", "bars", image, psf, truth, peak, boundary="periodic")


def load(folder: str, side: int | None) -> Iterator[Case]:
    """Yield the cases of a set."""
    makers = {"levin": levin, "kernels": kernels, "cells": cells, "bars": bars}
    return makers[folder](side)


# -- methods ----------------------------------------------------------------------


def blurred(case: Case, seed: int, device: str) -> tuple[Array, Found]:
    return case.image, {}


def richardson_lucy(case: Case, seed: int, device: str) -> tuple[Array, Found]:
    from napari_dip import baselines

    found = baselines.richardson_lucy(case.image, case.psf, boundary=case.boundary)
    return found, {}


def wiener(case: Case, seed: int, device: str) -> tuple[Array, Found]:
    from napari_dip import baselines

    return baselines.wiener(case.image, case.psf, boundary=case.boundary), {}


def richardson_lucy_oracle(case: Case, seed: int, device: str) -> tuple[Array, Found]:
    from napari_dip import baselines

    def result(iterations: int) -> Array:
        return baselines.richardson_lucy(
            case.image, case.psf, iterations, boundary=case.boundary
        )

    return _best(case, result, (3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 400))


def wiener_oracle(case: Case, seed: int, device: str) -> tuple[Array, Found]:
    from napari_dip import baselines

    def result(balance: float) -> Array:
        return baselines.wiener(case.image, case.psf, balance, boundary=case.boundary)

    return _best(case, result, tuple(10 ** np.arange(-5, 2.1, 0.25)))


def _best(
    case: Case, result: Callable[[Any], Array], values: tuple[Any, ...]
) -> tuple[Array, Found]:
    images = [result(value) for value in values]
    figures = [case.psnr(image) for image in images]
    best = int(np.argmax(figures))
    return images[best], {"chosen by the truth": float(values[best])}


def ours(preset: common.Preset) -> Callable[[Case, int, str], tuple[Array, Found]]:
    def method(case: Case, seed: int, device: str) -> tuple[Array, Found]:
        from napari_dip import deconvolve

        fit = deconvolve(
            case.image,
            case.psf,
            boundary=case.boundary,
            preset=preset,
            seed=seed,
            device=device,
            full_output=True,
        )
        return fit.image, {
            "iterations": fit.iterations,
            "best iteration": fit.best_iteration,
            "stopped by": fit.stopped_by,
            "noise model": fit.settings["planes"][0]["noise"],
        }

    return method


METHODS: dict[str, Callable[[Case, int, str], tuple[Array, Found]]] = {
    "blurred": blurred,
    "richardson-lucy": richardson_lucy,
    "wiener": wiener,
    "richardson-lucy, oracle": richardson_lucy_oracle,
    "wiener, oracle": wiener_oracle,
    "fast": ours("fast"),
    "best": ours("best"),
}


def options(parser: argparse.ArgumentParser) -> None:
    quick = [m for m in METHODS if m != "best"]
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=quick)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--full", action="store_true", help="whole images")


def run(arguments: argparse.Namespace) -> None:
    name = "deconvolve-full" if arguments.full else "deconvolve-quick"
    side = None if arguments.full else QUICK
    methods = arguments.methods
    rows = common.rows_of(name)
    done = {(r["set"], r["image"], r["method"], r["seed"]) for r in rows}
    for folder in arguments.sets:
        for case in load(folder, side):
            for method in methods:
                for seed in range(arguments.seeds):
                    if (case.set, case.name, method, seed) in done:
                        continue
                    rows.append(_one(case, method, seed, arguments.device))
                    common.save(name, {"rows": rows})
    print(summary(rows))


def _one(case: Case, method: str, seed: int, device: str) -> Found:
    began = time.perf_counter()
    image, more = METHODS[method](case, seed, device)
    row: Found = {
        "set": case.set,
        "image": case.name,
        "method": method,
        "seed": seed,
        "seconds": time.perf_counter() - began,
        "psnr": case.psnr(image),
        **more,
    }
    common.show(row)
    return row


def summary(rows: list[Found]) -> str:
    """Return PSNR by image and method, the means, and the mean time."""
    methods = [m for m in METHODS if any(r["method"] == m for r in rows)]
    lines: list[Found] = []

    def line(label: Found, chosen: list[Found], key: str) -> None:
        entry = dict(label)
        for method in methods:
            found = [r[key] for r in chosen if r["method"] == method]
            entry[method] = float(np.mean(found)) if found else None
        lines.append(entry)

    pictures = list(dict.fromkeys((r["set"], r["image"]) for r in rows))
    for folder, image in pictures:
        chosen = [r for r in rows if (r["set"], r["image"]) == (folder, image)]
        line({"set": folder, "image": image}, chosen, "psnr")
    # Means over the images that every method has.
    there = {(r["set"], r["image"], r["method"]) for r in rows}
    whole = {p for p in pictures if all((*p, m) in there for m in methods)}
    everyone = [r for r in rows if (r["set"], r["image"]) in whole]
    line({"set": "mean", "image": "PSNR in dB"}, everyone, "psnr")
    line({"set": "mean", "image": "seconds"}, everyone, "seconds")
    return common.table(lines, ["set", "image", *methods])
