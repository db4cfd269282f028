"""Quality of super-resolution on Set5 and Set14, as the first paper's Tables 1 and 2.

The image that is enlarged is made as the authors' program makes it: the true image is
cropped to multiples of 32 pixels and reduced with Pillow's Lanczos filter to 8 bits.
The published bicubic column enlarged another, MATLAB's, so "bicubic" here enlarges the
one that our method sees, too.

Without ``--full`` everything is done on the central 160 x 160 pixels, the published
results cropped alike.  The figures of a row:

psnr
    Of luma, within the region of the tables: 4 pixels less at the near borders and 5
    at the far ones.
rgb
    Of red, green and blue over all pixels, the second paper's (zebra: 23.1048 for
    bicubic).
published
    The first paper's own figure, of whole images only.
agreement
    Root mean square of the result reduced by Pillow again, less the input, in gray
    levels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import io

from benchmarks import common
from napari_dip import metrics

Found = dict[str, Any]

CHOSEN_ON = ("lenna", "ppt3", "coastguard")
"""Images of Set14 that settings were chosen on; the others only report."""

PUBLISHED = {
    "no prior": "no_prior",
    "bicubic (MATLAB)": "bicubic",
    "TV prior": "tv_prior",
    "authors' DIP": "deep_prior",
}
"""Columns of the tables and their names in the file of reference figures."""


@dataclass(frozen=True, eq=False)
class Case:
    """One image with its coarse version.

    Attributes
    ----------
    set, name : str
        What it is.
    factor : int
        Of the reduction.
    truth, coarse : ndarray
        (Y, X, 3), uint8.
    place : tuple of slice
        Where `truth` lies in the image of the authors' files.
    """

    set: str
    name: str
    factor: int
    truth: NDArray[np.uint8]
    coarse: NDArray[np.uint8]
    place: tuple[slice, slice]

    def measure(self, image: NDArray[Any]) -> dict[str, float]:
        """Return the figures of a result in gray levels."""
        image = np.clip(image, 0, 255).astype(np.float64)
        truth = self.truth.astype(np.float64)
        region = metrics.table_region(truth.shape)
        again = [_resize(c, self.coarse.shape, "LANCZOS") for c in _planes(image)]
        difference = np.stack(again, -1) - self.coarse
        return {
            "psnr": metrics.psnr_luma(image, truth, data_range=255, crop=region),
            "rgb": metrics.psnr(image, truth, data_range=255),
            "agreement": float(np.sqrt(np.mean(difference**2))),
        }


def _planes(image: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return iter(np.moveaxis(image.astype(np.float32), -1, 0))


def _resize(plane: NDArray[Any], shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    filtering = Image.Resampling[kind]
    return np.asarray(Image.fromarray(plane).resize((shape[1], shape[0]), filtering))


def load(
    folder: str, factor: int, side: int | None, noise: float = 0
) -> Iterator[Case]:
    """Yield the images of "set5" or "set14".

    `side` is that of the central crop, `noise` the standard deviation of Gaussian noise
    in the coarse image, in gray levels.
    """
    top = common.DATA / folder
    for path in sorted((top / "x4_gt").glob("*.png")):
        # Some images were cropped further for the factor 8.
        own = top / f"x{factor}_gt" / path.name
        whole = io.imread(own if own.exists() else path)[..., :3]
        place = []
        for n in whole.shape[:2]:
            inner = n // 32 * 32
            crop = min(side or inner, inner)
            # Corners at whole coarse pixels.
            start = (n - inner) // 2 + (inner - crop) // 2 // factor * factor
            place.append(slice(start, start + crop))
        truth = whole[tuple(place)]
        small = tuple(n // factor for n in truth.shape[1::-1])
        reduced = Image.fromarray(truth).resize(small, Image.Resampling.LANCZOS)
        coarse = np.asarray(reduced)
        if noise:
            more = np.random.default_rng(0).normal(0, noise, coarse.shape)
            coarse = np.clip(np.rint(coarse + more), 0, 255).astype(np.uint8)
        yield Case(folder, path.stem, factor, truth, coarse, (place[0], place[1]))


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sets", nargs="+", default=["set5"])
    parser.add_argument("--factors", nargs="+", type=int, default=[4])
    parser.add_argument("--methods", nargs="+", default=None, choices=list(METHODS))
    parser.add_argument("--images", nargs="+", help="only these")
    parser.add_argument("--side", type=int, default=160, help="of the central crop")
    parser.add_argument("--full", action="store_true", help="whole images")
    parser.add_argument("--noise", type=float, default=0, help="in gray levels")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pictures", help="folder to write the results to as PNG")
    parser.add_argument("--name", help="of the results file; the side by default")


def run(arguments: argparse.Namespace) -> None:
    side = None if arguments.full else arguments.side
    name = f"sr-{arguments.name or side or 'full'}"
    rows = common.rows_of(name)
    done = {(r["set"], r["image"], r["factor"], r["method"], r["seed"]) for r in rows}
    methods = arguments.methods or [m for m in METHODS if m != "paper"]
    for folder in arguments.sets:
        for factor in arguments.factors:
            for case in load(folder, factor, side, arguments.noise):
                if arguments.images and case.name not in arguments.images:
                    continue
                for method in methods:
                    fits = method in ("fast", "best", "paper")
                    for seed in range(arguments.seeds if fits else 1):
                        if (folder, case.name, factor, method, seed) in done:
                            continue
                        rows.append(_one(case, method, seed, side, arguments))
                        common.save(name, {"rows": rows})
    print(summary(rows))


def _one(
    case: Case, method: str, seed: int, side: int | None, arguments: argparse.Namespace
) -> Found:
    row: Found = {
        "set": case.set,
        "image": case.name,
        "factor": case.factor,
        "side": side,
        "method": method,
        "seed": seed,
    }
    if side is None and (figure := _published(case, method)) is not None:
        row["published"] = figure
    began = time.perf_counter()
    try:
        image, more = METHODS[method](case, seed, arguments.device)
    except FileNotFoundError:
        row["absent"] = "only the figure was published"
    else:
        row |= {"seconds": time.perf_counter() - began}
        row |= case.measure(image) | more
        if arguments.pictures:
            _write(Path(arguments.pictures), case, method, image)
    common.show(row)
    return row


def _write(folder: Path, case: Case, method: str, image: NDArray[Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    name = f"{case.name}-x{case.factor}-{method}.png"
    io.imsave(folder / name, values, check_contrast=False)


def _published(case: Case, method: str) -> float | None:
    """Return the figure of Table 1 or 2."""
    lines = (common.DATA / "reference_psnr.tsv").read_text().splitlines()
    for line in lines:
        task, folder, image, column, paper, *_ = line.split("\t")
        key = (task, folder.lower(), image, column)
        wanted = (f"sr_x{case.factor}", case.set, case.name, PUBLISHED.get(method))
        if key == wanted:
            return float(paper)
    return None


# -- methods ------------------------------------------------------------------------

Method = Callable[[Case, int, str], tuple[NDArray[Any], Found]]


def interpolated(kind: str) -> Method:
    def method(case: Case, seed: int, device: str) -> tuple[NDArray[Any], Found]:
        sides = case.truth.shape[1::-1]
        image = Image.fromarray(case.coarse).resize(sides, Image.Resampling[kind])
        return np.asarray(image), {}

    return method


def back_projected(case: Case, seed: int, device: str) -> tuple[NDArray[Any], Found]:
    """Bicubic made to agree with the input: all of ours but the network."""
    import torch

    from napari_dip.prior import resampling

    operator = resampling.lanczos(case.factor)
    planes = np.stack(list(_planes(case.coarse)))
    coarse = torch.from_numpy(planes)[None]
    image = resampling.upsample(coarse, case.factor)
    for _ in range(10):
        image = image + resampling.upsample(coarse - operator(image), case.factor)
    return image[0].permute(1, 2, 0).numpy(), {}


def stored(folder: str, ending: str) -> Method:
    """Return a method that reads what the authors published."""

    def method(case: Case, seed: int, device: str) -> tuple[NDArray[Any], Found]:
        top = {"bicubic": common.DATA / case.set / f"x{case.factor}_bicubic"}
        group = {"set5": "Set5", "set14": "Set14"}[case.set]
        other = common.DATA / "authors_outputs" / "SR" / group / f"x{case.factor}"
        extra = "_005" if case.factor == 8 and folder == "authors" else ""
        path = top.get(folder, other) / f"{case.name}{ending}{extra}.png"
        return io.imread(path)[..., :3][case.place].astype(np.float32), {}

    return method


def figure_only(case: Case, seed: int, device: str) -> tuple[NDArray[Any], Found]:
    raise FileNotFoundError


def ours(preset: common.Preset) -> Method:
    def method(case: Case, seed: int, device: str) -> tuple[NDArray[Any], Found]:
        from napari_dip import super_resolve

        fit = super_resolve(
            case.coarse,
            case.factor,
            preset=preset,
            seed=seed,
            device=device,
            full_output=True,
        )
        noisy = fit.settings["planes"][0]["noisy"]
        found = {"iterations": fit.iterations, "taken for noisy": noisy}
        return fit.image, {"seconds": fit.seconds, **found}

    return method


METHODS: dict[str, Method] = {
    "bicubic": interpolated("BICUBIC"),
    "lanczos": interpolated("LANCZOS"),
    "back-projected": back_projected,
    "no prior": figure_only,
    "bicubic (MATLAB)": stored("bicubic", ""),
    "TV prior": figure_only,
    "authors' DIP": stored("authors", "_deep_prior"),
    "fast": ours("fast"),
    "best": ours("best"),
    "paper": ours("paper"),
}


def summary(rows: list[Found]) -> str:
    """Return the mean figures of every method, then PSNR image by image."""
    means, images = [], []
    for folder, factor in dict.fromkeys((r["set"], r["factor"]) for r in rows):
        group = [r for r in rows if (r["set"], r["factor"]) == (folder, factor)]
        head: Found = {"set": folder, "factor": factor}
        for method in METHODS:
            found = [r for r in group if r["method"] == method]
            if not found:
                continue
            line = head | {"method": method}
            line["images"] = len({r["image"] for r in found})
            for key in (*FIGURES, "seconds", "iterations"):
                if all(key in r for r in found):
                    line[key] = float(np.mean([r[key] for r in found]))
            means.append(line)
        for name in dict.fromkeys(r["image"] for r in group):
            mark = " *" if name in CHOSEN_ON else ""
            line = head | {"image": name + mark}
            for r in group:
                if r["image"] == name and r["seed"] == 0:
                    line[r["method"]] = r.get("psnr", r.get("published"))
            images.append(line)
    columns = ["set", "factor", "method", "images", *FIGURES, "seconds", "iterations"]
    used = [m for m in METHODS if any(m in line for line in images)]
    used = [m for m in used if any(line.get(m) is not None for line in images)]
    return "\n\n".join(
        [
            common.table(means, columns),
            common.table(images, ["set", "factor", "image", *used]),
        ]
    )


FIGURES = ("psnr", "published", "rgb", "agreement")
