"""Quality of inpainting: 50 % random pixels, and the second paper's three images.

``--set random``: the gray images of the first paper's Table 3 with the authors' own
masks; where a black pixel leaves open whether it was masked (peppers256 has a black
border), a coin decides, as it did for the authors.  ``--set pictures``: kate (text),
vase and library (large holes), with the plain and the multi-scale loss.

Without ``--full`` the images are cropped, to 128 pixels around the centre or around
the middle of what is missing, for machines without a GPU.

The figures of a row:

psnr
    Over all pixels, of what the network says about known pixels too: the published
    tables are such.
psnr pasted
    The same with the known pixels as they came, which is what a user gets.
psnr missing
    Over missing pixels only; no method gains by copying.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import io

from benchmarks import common
from benchmarks.cases import centre, read
from napari_dip import metrics

Found = dict[str, Any]

RANDOM = (
    "cameraman256",
    "house",
    "peppers256",
    "barbara",
    "boat",
    "lena512",
    "man",
    "fingerprint",
)
CHOSEN_ON = ("cameraman256",)
"""Images that settings for random pixels were chosen on; the others only report.  Those
for text were chosen on boat and lena512 under kate's mask."""

PICTURES = ("kate", "vase", "library")

PUBLISHED = {
    "barbara": 32.22,
    "boat": 33.06,
    "house": 39.16,
    "lena512": 36.16,
    "peppers256": 33.05,
    "cameraman256": 29.80,
    "fingerprint": 32.84,
    "man": 32.20,
}
"""The first paper's Table 3, over all pixels."""

SCALES = (1, 2, 4)
"""Of the second paper's text; its program has 8 too."""


@dataclass(frozen=True, eq=False)
class Case:
    """An image with missing pixels.

    Attributes
    ----------
    set, name : str
        What it is.
    truth : ndarray
        float32 in [0, 255], (Y, X) or (Y, X, C); for vase and library the picture
        with the object that is to go, which is no truth.
    missing : ndarray
        bool, (Y, X).
    """

    set: str
    name: str
    truth: NDArray[np.float32]
    missing: NDArray[np.bool_]

    @property
    def damaged(self) -> NDArray[np.float32]:
        """The image with zeros for missing pixels."""
        mask = self.missing if self.truth.ndim == 2 else self.missing[..., None]
        return np.where(mask, 0, self.truth).astype(np.float32)

    def measure(self, raw: NDArray[Any]) -> dict[str, float]:
        """Return the figures of a fit that has not been pasted into the image."""
        pasted = np.where(_like(self.missing, raw), raw, self.truth)
        found = {
            "psnr": _psnr(raw, self.truth),
            "psnr pasted": _psnr(pasted, self.truth),
            "psnr missing": _psnr(raw[self.missing], self.truth[self.missing]),
        }
        if self.set == "pictures":
            found |= second_paper(raw, self.truth, self.missing)
        return found


def _like(missing: NDArray[np.bool_], image: NDArray[Any]) -> NDArray[np.bool_]:
    return missing if image.ndim == 2 else missing[..., None]


def _psnr(image: NDArray[Any], truth: NDArray[Any]) -> float:
    return metrics.psnr(np.clip(image, 0, 255), truth, data_range=255)


def second_paper(
    image: NDArray[Any], truth: NDArray[Any], missing: NDArray[np.bool_]
) -> dict[str, float]:
    """Return the second paper's measures of the missing region.

    Its program sums the squared error of three channels over a mask of one, so that
    psnr_masked reads 4.77 dB low; psnr_coarse is the same on 4 x 4 averages.
    """
    error = np.clip(image, 0, 255).astype(np.float64) - truth
    weight = missing.astype(np.float64)

    def pool(x: NDArray[Any]) -> NDArray[Any]:
        h, w = (n // 4 * 4 for n in x.shape[:2])
        cut = x[:h, :w].reshape(h // 4, 4, w // 4, 4, *x.shape[2:])
        pooled: NDArray[Any] = cut.mean(axis=(1, 3))
        return pooled

    def level(e: NDArray[Any], m: NDArray[Any]) -> float:
        return float(10 * np.log10(255**2 * m.sum() / ((e * m[..., None]) ** 2).sum()))

    return {
        "psnr_masked": level(error, weight),
        "psnr_coarse": level(pool(error), pool(weight)),
    }


def load(folder: str, side: int | None, names: list[str] | None) -> Iterator[Case]:
    """Yield the cases of a set, cropped to `side` pixels around the centre or hole."""
    if folder == "random":
        for name in names or RANDOM:
            truth = read(common.DATA / "bernoulli50" / f"{name}.png")
            known = io.imread(common.DATA / "bernoulli50" / f"{name}_mask.png") > 127
            coin = np.random.default_rng(0).random(known.shape) < 0.5
            missing = ~(known | ((truth == 0) & coin))
            yield Case(folder, name, centre(truth, side), centre(missing, side))
        return
    for name in names or PICTURES:
        truth = read(common.DATA / "inpaint" / f"{name}.png")
        missing = io.imread(common.DATA / "inpaint" / f"{name}_mask.png") < 128
        if side is not None:
            rows, columns = np.nonzero(missing)
            for axis, at in enumerate((rows, columns)):
                last = truth.shape[axis] - side
                start = int(np.clip(np.median(at) - side // 2, 0, last))
                truth = truth.take(range(start, start + side), axis)
                missing = missing.take(range(start, start + side), axis)
        yield Case(folder, name, truth, missing)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", default="random", choices=("random", "pictures"))
    parser.add_argument("--methods", nargs="+", default=None)
    parser.add_argument("--images", nargs="+", help="only these")
    parser.add_argument("--side", type=int, default=None, help="of the centre crop")
    parser.add_argument("--full", action="store_true", help="whole images")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pictures", help="folder to write the results to as PNG")
    parser.add_argument("--name", help="of the results file; the set's by default")


def run(arguments: argparse.Namespace) -> None:
    folder = arguments.set
    side = None if arguments.full else arguments.side or 128
    default = f"{folder}-{side or 'full'}"
    name = f"inpaint-{arguments.name or default}"
    rows = common.rows_of(name)
    done = {(r["set"], r["image"], r["side"], r["method"]) for r in rows}
    methods = arguments.methods or list(METHODS[folder])
    for case in load(folder, side, arguments.images):
        for method in methods:
            if (folder, case.name, side, method) in done:
                continue
            row: Found = {
                "set": folder,
                "image": case.name,
                "side": side,
                "method": method,
                "missing": float(case.missing.mean()),
            }
            began = time.perf_counter()
            try:
                raw, more = ALL[method](case, arguments.device)
            except ImportError as error:
                row["absent"] = str(error)
            else:
                row |= {"seconds": time.perf_counter() - began}
                row |= case.measure(raw) | more
                if arguments.pictures:
                    _write(arguments.pictures, case, method, raw)
            rows.append(row)
            common.save(name, {"rows": rows})
            print(common.table([row], list(row)), flush=True)
    print(summary(rows))


def _write(folder: str, case: Case, method: str, raw: NDArray[Any]) -> None:
    from pathlib import Path

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    pasted = np.where(_like(case.missing, raw), raw, case.truth)
    image = np.clip(np.rint(pasted), 0, 255).astype(np.uint8)
    io.imsave(target / f"{case.name}-{method}.png", image, check_contrast=False)


# -- methods ------------------------------------------------------------------------

Method = Callable[[Case, str], tuple[NDArray[Any], Found]]


def ours(preset: common.Preset, scales: tuple[int, ...] = (1,)) -> Method:
    def method(case: Case, device: str) -> tuple[NDArray[Any], Found]:
        from napari_dip import inpaint
        from napari_dip.tasks.plane import prepare

        averages: dict[int, Any] = {}

        def watch(it: Any) -> None:
            if it.step == it.maximum:
                averages[it.part] = it.average

        fit = inpaint(
            case.damaged,
            case.missing,
            preset=preset,
            scales=scales,
            noise="none",
            device=device,
            callback=watch,
            full_output=True,
        )
        # The network's own output at known pixels: the result has them pasted.
        image = np.where(_like(case.missing, case.damaged), np.nan, case.damaged)
        planes = np.moveaxis(np.atleast_3d(image), -1, 0)
        plane = prepare(planes, "image", unit=preset == "paper")
        mean = sum(a[0].cpu().numpy() for a in averages.values()) / len(averages)
        raw = np.moveaxis(plane.to_units(mean), 0, -1).reshape(case.truth.shape)
        # Missing pixels are those of the result, with its final steps.
        raw = np.where(_like(case.missing, raw), fit.image, raw)
        return raw, {"iterations": fit.iterations}

    return method


def authors(case: Case, device: str) -> tuple[NDArray[Any], Found]:
    """The first paper's own stored results; they were floored to integers."""
    folder = common.DATA / "authors_outputs" / "Reconstruction" / "Gray" / "50p"
    wanted = f"{case.name}_deep_prior.png".lower()
    path = next(p for p in folder.iterdir() if p.name.lower() == wanted)
    image = read(path) + np.float32(0.5)
    return centre(image, case.truth.shape[0]), {"published": PUBLISHED[case.name]}


def baseline(name: str) -> Method:
    def method(case: Case, device: str) -> tuple[NDArray[Any], Found]:
        from napari_dip import baselines

        fill = getattr(baselines, name)
        return np.asarray(fill(case.damaged, case.missing)), {}

    return method


ALL: dict[str, Method] = {
    "biharmonic": baseline("biharmonic"),
    "onion_peel": baseline("onion_peel"),
    "authors": authors,
    "fast": ours("fast"),
    "best": ours("best"),
    "fast, scales 1 2 4": ours("fast", SCALES),
    "best, scales 1 2 4": ours("best", SCALES),
    "paper": ours("paper"),
    "paper, scales 1 2 4": ours("paper", SCALES),
}

METHODS = {
    "random": ("biharmonic", "onion_peel", "authors", "fast", "best"),
    "pictures": ("biharmonic", "onion_peel", "fast", "fast, scales 1 2 4"),
}


def summary(rows: list[Found]) -> str:
    """Return the figures of every image and method, and the means of the methods."""
    columns = ["psnr", "psnr pasted", "psnr missing"]
    if any("psnr_masked" in r for r in rows):
        columns += ["psnr_masked", "psnr_coarse"]
    columns += ["seconds", "iterations"]
    lines = [r for r in rows if "absent" not in r]
    means = []
    for method in dict.fromkeys(r["method"] for r in lines):
        group = [r for r in lines if r["method"] == method]
        line: Found = {"method": method, "images": len(group)}
        for key in columns:
            if all(key in r for r in group):
                line[key] = float(np.mean([r[key] for r in group]))
        means.append(line)
    shown = [*columns, "published"] if any("published" in r for r in lines) else columns
    by_image = common.table(lines, ["image", "method", *shown])
    return by_image + "\n\n" + common.table(means, ["method", "images", *columns])
