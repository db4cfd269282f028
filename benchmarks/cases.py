"""Noisy images with their truths, and how each set is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import io
from skimage.metrics import structural_similarity

from benchmarks.common import DATA
from napari_dip import metrics

SET9 = (
    "F16",
    "baboon",
    "house",
    "kodim01",
    "kodim02",
    "kodim03",
    "kodim12",
    "lena",
    "peppers",
)
GRAY = ("house", "barbara", "boat", "man")

CHOSEN_ON = ("F16", "house", "kodim01")
"""The images of Set9 that settings were chosen on; the others only report."""


@dataclass(frozen=True, eq=False)
class Case:
    """One noisy image.

    Attributes
    ----------
    set, name, noise : str
        What it is.
    noisy, truth : ndarray
        In their own units, (Y, X) or (Y, X, C).
    peak : float
        What PSNR is relative to.
    sigma : float or None
        Of the noise in those units, where it is known and Gaussian.
    affine : bool
        Fit an affine intensity map before measuring, for stretched data.
    """

    set: str
    name: str
    noise: str
    noisy: NDArray[np.float32]
    truth: NDArray[np.float32]
    peak: float
    sigma: float | None = None
    affine: bool = False

    def measure(self, image: NDArray[np.floating]) -> dict[str, float]:
        """Return PSNR and SSIM of a result, clipped to [0, peak]."""
        image = np.asarray(image, np.float64)
        if self.affine:
            slope, offset = np.polyfit(image.ravel(), self.truth.ravel(), 1)
            image = slope * image + offset
        image = np.clip(image, 0, self.peak)
        psnr = metrics.psnr(image, self.truth, data_range=self.peak)
        ssim = structural_similarity(
            image,
            self.truth.astype(np.float64),
            data_range=self.peak,
            channel_axis=-1 if image.ndim == 3 else None,
        )
        return {"psnr": psnr, "ssim": float(ssim)}


def centre(image: NDArray[Any], side: int | None) -> NDArray[Any]:
    """Return the central crop."""
    if side is None:
        return image
    top, left = ((n - side) // 2 for n in image.shape[:2])
    return image[max(top, 0) :, max(left, 0) :][:side, :side]


def read(path: Path) -> NDArray[np.float32]:
    image = np.asarray(io.imread(path), np.float32)
    return image[..., :3] if image.ndim == 3 and image.shape[-1] == 4 else image


def set9(noise: str, side: int | None, names: tuple[str, ...] = SET9) -> Iterator[Case]:
    """The nine colour images: "authors" noise, or ours, "gaussian-S" or "poisson-S".

    The authors' files hold noise of 25, clipped and floored to integers.  Ours is
    seeded per image and clipped; "poisson-S" is Poisson noise of standard
    deviation S at a signal of 128, plus Gaussian noise of a fifth of that.
    """
    for name in names:
        truth = centre(read(DATA / "set9" / f"{name}.png"), side)
        if noise == "authors":
            noisy = centre(read(DATA / "set9_noisy25" / f"{name}.png"), side)
            sigma: float | None = 25.0
        else:
            noisy, sigma = damaged(truth, noise, name)
        label = f"set9-{side or 'full'}"
        yield Case(label, name, noise, noisy, truth, 255, sigma)


def gray(noise: str, side: int | None) -> Iterator[Case]:
    """Four gray photographs with noise of ours, as in `set9`.

    "rows-S" is Gaussian noise of S, and as much again that every row shares;
    "impulses-P" is Gaussian noise of 10, and P per cent of the pixels black or white.
    """
    for name in GRAY:
        truth = centre(read(DATA / "bernoulli50" / f"{name}.png"), side)
        noisy, sigma = damaged(truth, noise, name)
        yield Case(f"gray-{side or 'full'}", name, noise, noisy, truth, 255, sigma)


def damaged(
    truth: NDArray[np.float32], noise: str, name: str
) -> tuple[NDArray[np.float32], float | None]:
    """Return an image with noise, and its standard deviation if that is constant."""
    kind, level = noise.split("-")
    sigma = 10.0 if kind == "impulses" else float(level)
    rng = np.random.default_rng([ord(c) for c in name])
    if kind == "poisson":
        gain = sigma**2 / 128
        noisy = rng.poisson(truth / gain) * gain
        noisy = noisy + rng.normal(0, sigma / 5, truth.shape)
    else:
        noisy = truth + rng.normal(0, sigma, truth.shape)
    if kind == "rows":
        noisy = noisy + rng.normal(0, sigma, (len(truth), *[1] * (truth.ndim - 1)))
    if kind == "impulses":
        where = rng.random(truth.shape) < float(level) / 100
        noisy = np.where(where, rng.choice([0.0, 255.0], truth.shape), noisy)
    clipped = np.clip(noisy, 0, 255).astype(np.float32)
    return clipped, None if kind == "poisson" else sigma


def pairs(folder: str, side: int | None) -> Iterator[Case]:
    """Pairs of files NAME_noisy and NAME_gt; peak as the data notes have it."""
    for path in sorted((DATA / folder).glob("*noisy*")):
        other = next((DATA / folder).glob(path.name.replace("noisy", "gt")))
        noisy, truth = read(path), read(other)
        if noisy.ndim == 3 and noisy.shape[0] == 3:
            noisy, truth = np.moveaxis(noisy, 0, -1), np.moveaxis(truth, 0, -1)
        photo = folder in ("cc15", "polyu")
        yield Case(
            folder,
            path.stem.replace("_noisy", "") or folder,
            "camera" if photo else "microscope",
            centre(noisy, side),
            centre(truth, side),
            255.0 if photo else float(truth.max()),
            affine=folder in ("w2s", "gigadb"),
        )


def load(name: str, noise: str, side: int | None) -> Iterator[Case]:
    """Return the cases of a set by name."""
    ours = {"set9": set9, "gray": gray}
    return ours[name](noise, side) if name in ours else pairs(name, side)
