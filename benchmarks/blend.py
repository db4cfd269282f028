"""Quality of blending: Tables 5 and 6 of the second paper, and a third pair.

Without ``--full`` the pairs are resized so that their longer side is 256 pixels, for
machines without a GPU; with it they are of native size, and the published columns
stand beside ours.

The figures of a row are those of `blending_metrics`, of 8-bit images made by
truncation as the published program makes them.  `apple_orange` has no published
transition region: it gets a band along the mask's outline as wide as the others'.

gff, bsi, ssim
    In the transition region; all higher the better, by the paper.
gfp
    Over the whole image.
rank
    Mean place of the method on that pair by gff, bsi and ssim, 1 being the best.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from benchmarks import blending_metrics, common
from napari_dip import baselines

Found = dict[str, Any]
Bytes = NDArray[np.uint8]

PAIRS = ("child_lake", "bear_penguin", "apple_orange")
RANKED = ("gff", "bsi", "ssim")
FIGURES = ("gff", "gfp", "bsi", "ssim")

BAND = 12 / 672
"""Half the width of the published transition regions, over the image's side."""

PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "child_lake": {
        "alpha": (0.666876, 0.840638, 15.171874, 0.363135),
        "poisson": (0.608026, 0.842703, 22.493957, 0.679560),
        "laplacian": (0.658930, 1.861390, 27.954209, 0.334541),
        "ours": (0.665686, 9.351012, 29.016716, 0.834993),
    },
    "bear_penguin": {
        "alpha": (0.591284, 0.817655, 515.180007, 0.570862),
        "poisson": (0.611293, 2.090503, 585.931454, 0.837563),
        "laplacian": (0.593106, 1.932817, 562.232692, 0.660616),
        "ours": (0.709274, 2.785332, 133.374406, 0.848493),
    },
}
"""Tables 5 and 6."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images and where they meet, all of one size.

    Attributes
    ----------
    name : str
        Of the folder.
    foreground, background : ndarray
        uint8, (Y, X, 3).
    mask : ndarray
        bool, (Y, X).
    gap : ndarray
        uint8, (Y, X), weights of the transition region.
    """

    name: str
    foreground: Bytes
    background: Bytes
    mask: NDArray[np.bool_]
    gap: Bytes

    def measure(self, blended: NDArray[Any]) -> dict[str, float]:
        """Return the figures of a blend in [0, 255]."""
        image = np.clip(blended, 0, 255).astype(np.uint8) / 255
        front, back = self.foreground / 255, self.background / 255
        return {
            "gff": blending_metrics.gff(image, front, back, self.gap),
            "gfp": blending_metrics.gfp(image, front, back),
            "bsi": blending_metrics.bsi(image, self.gap),
            "ssim": blending_metrics.ssim_transition(image, back, self.gap),
        }


def load(name: str, side: int | None) -> Pair:
    """Return a pair whose longer side has `side` pixels, its own where None."""
    folder = common.DATA / "blend" / name

    def read(stem: str, mode: str, how: Image.Resampling) -> Bytes:
        with Image.open(next(folder.glob(f"{stem}.*"))) as image:
            converted = image.convert(mode)
        if side is not None:
            scale = side / max(converted.size)
            size = (round(converted.width * scale), round(converted.height * scale))
            converted = converted.resize(size, how)
        return np.asarray(converted)

    smooth, mean = Image.Resampling.LANCZOS, Image.Resampling.BOX
    mask = read("mask", "L", mean) > 127
    if any(folder.glob("gap.*")):
        gap = read("gap", "RGB", mean)[..., 0]
    else:
        width = max(1, round(BAND * max(mask.shape)))
        inside = ndimage.distance_transform_edt(mask)
        outside = ndimage.distance_transform_edt(~mask)
        gap = np.uint8(255) * (np.maximum(inside, outside) <= width).astype(np.uint8)
    return Pair(name, read("fg", "RGB", smooth), read("bg", "RGB", smooth), mask, gap)


Method = Callable[[Pair, str], tuple[NDArray[Any], Found]]


def classical(method: Callable[..., NDArray[Any]], **options: Any) -> Method:
    def blended(pair: Pair, device: str) -> tuple[NDArray[Any], Found]:
        return method(pair.foreground, pair.background, pair.mask, **options), {}

    return blended


def ours(preset: common.Preset) -> Method:
    def blended(pair: Pair, device: str) -> tuple[NDArray[Any], Found]:
        from napari_dip import blend

        fit = blend(
            pair.foreground,
            pair.background,
            pair.mask,
            preset=preset,
            device=device,
            full_output=True,
        )
        return fit.image, {"seconds": fit.seconds, "iterations": fit.iterations}

    return blended


METHODS: dict[str, Method] = {
    "alpha": classical(baselines.cut_and_paste),
    # Both as the published program has them.
    "laplacian": classical(baselines.laplacian_blend, mask_gain=1.2),
    "poisson": classical(baselines.poisson_blend, region="box"),
    "fast": ours("fast"),
    "best": ours("best"),
    "paper": ours("paper"),
}


def options(parser: argparse.ArgumentParser) -> None:
    quick = ["alpha", "laplacian", "poisson", "fast"]
    parser.add_argument("--methods", nargs="+", default=quick, choices=list(METHODS))
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=PAIRS)
    parser.add_argument("--side", type=int, default=256, help="longer side, in pixels")
    parser.add_argument("--full", action="store_true", help="native size")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--picture", help="file to draw all blends into, as PNG")
    parser.add_argument("--name", help="of the results file")


def run(arguments: argparse.Namespace) -> None:
    side = None if arguments.full else arguments.side
    name = f"blend-{arguments.name or side or 'full'}"
    rows = common.rows_of(name)
    done = {(r["pair"], r["side"], r["method"]) for r in rows}
    drawn: list[list[Bytes]] = []
    for pair in (load(p, side) for p in arguments.pairs):
        images = [_outlined(pair), pair.background]
        for method in arguments.methods:
            known = (pair.name, side, method) in done
            # A picture needs the images, which are not kept.
            if known and not arguments.picture:
                continue
            began = time.perf_counter()
            image, more = METHODS[method](pair, arguments.device)
            row: Found = {"pair": pair.name, "side": side, "method": method}
            row |= {"seconds": time.perf_counter() - began, **more}
            row |= pair.measure(image)
            images.append(np.rint(np.clip(image, 0, 255)).astype(np.uint8))
            if known:
                continue
            rows.append(row)
            common.save(name, {"rows": rows})
            print(common.table([row], list(row)), flush=True)
        drawn.append(images)
    if arguments.picture:
        _draw(Path(arguments.picture), drawn)
    print(summary(rows))


def _outlined(pair: Pair) -> Bytes:
    """Return the foreground with the mask's outline."""
    image = pair.foreground.copy()
    image[ndimage.binary_dilation(pair.mask) & ~pair.mask] = (255, 0, 0)
    return image


def _draw(path: Path, drawn: list[list[Bytes]]) -> None:
    """Put a row for each pair below each other."""
    margin = ((0, 4), (0, 4), (0, 0))
    rows = [
        np.concatenate([np.pad(i, margin, constant_values=255) for i in images], axis=1)
        for images in drawn
    ]
    width = max(row.shape[1] for row in rows)
    rows = [
        np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255)
        for r in rows
    ]
    Image.fromarray(np.concatenate(rows)[:-4, :-4]).save(path, optimize=True)


def ranks(rows: list[Found]) -> dict[str, float]:
    """Return the mean place of every method on one pair; ties share it."""
    places: dict[str, list[float]] = {row["method"]: [] for row in rows}
    for figure in RANKED:
        for row in rows:
            better = sum(other[figure] > row[figure] for other in rows)
            equal = sum(other[figure] == row[figure] for other in rows)
            places[row["method"]].append(better + (equal + 1) / 2)
    return {method: float(np.mean(found)) for method, found in places.items()}


def summary(rows: list[Found]) -> str:
    """Return the figures of every pair and method, the published ones beside them."""
    lines = []
    for pair in dict.fromkeys(r["pair"] for r in rows):
        group = [r for r in rows if r["pair"] == pair]
        place = ranks(group)
        for row in group:
            line = {k: row.get(k) for k in ("pair", "method", "seconds", "iterations")}
            line |= {k: _figure(row[k]) for k in FIGURES}
            line["rank"] = place[row["method"]]
            paper = PUBLISHED.get(pair, {}) if row["side"] is None else {}
            theirs = paper.get("ours" if row["method"] == "paper" else row["method"])
            if theirs is not None:
                line |= {
                    f"{k} published": _figure(v)
                    for k, v in zip(FIGURES, theirs, strict=True)
                }
            lines.append(line)
    columns = ["pair", "method", *FIGURES, "rank", "seconds", "iterations"]
    if any(row["side"] is None for row in rows):
        columns += [f"{k} published" for k in FIGURES]
    return common.table(lines, columns)


def _figure(value: float) -> str:
    return f"{value:.4f}" if value < 10 else f"{value:.1f}"
