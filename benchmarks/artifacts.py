"""Quality of removing JPEG artifacts: classic5 and LIVE1 at quality 10 and 20; snail.

Images are cropped, then compressed by Pillow (4:2:0 for colours).  PSNR is over all
values of the image; PSNR-B and blockiness (Yim and Bovik, 2011) are of its luma.  The
snail has no truth: only its blockiness is measured.

``fast`` and ``best`` are given the tables of the file as the command line does;
``blind`` is fast without them.  ``shifts`` is the classical re-application of JPEG: the
mean of the image compressed again, with the same tables, at the 64 shifts of the grid
(Nosratinia, 2001).  ``tv`` is total-variation denoising at the weight that is best for
the chosen images.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from benchmarks import common
from benchmarks.cases import centre
from napari_dip.io.image import JpegTables
from napari_dip.io.raster import jpeg_tables

Found = dict[str, Any]

CHOSEN_ON = ("barbara", "peppers", "dancers")
"""Images that settings were chosen on; the others only report."""

SETS = {
    "classic5": ("baboon", "barbara", "boats", "lena", "peppers"),
    "live1": ("building2", "cemetry", "churchandcapitol", "dancers"),
}
QUICK = {"classic5": ("baboon", "boats", "lena"), "live1": ("building2", "cemetry")}


@dataclass(frozen=True, eq=False)
class Case:
    """One compressed image.

    Attributes
    ----------
    set, name : str
        What it is.
    quality : int
        Of the encoder, 0 where not known.
    decoded : ndarray
        uint8, (Y, X) or (Y, X, 3).
    tables : JpegTables
        Of the file.
    truth : ndarray or None
        The image before compression.
    """

    set: str
    name: str
    quality: int
    decoded: NDArray[np.uint8]
    tables: JpegTables
    truth: NDArray[np.uint8] | None

    def measure(self, image: NDArray[Any]) -> dict[str, float]:
        """Return the figures of a result."""
        from napari_dip import metrics

        image = np.clip(np.asarray(image, np.float64), 0, 255)
        luma = common.luma(image)
        figures = {"blockiness": metrics.blockiness(luma)}
        if self.truth is not None:
            truth = self.truth.astype(np.float64)
            figures["psnr"] = metrics.psnr(image, truth, data_range=255)
            truth = common.luma(truth)
            figures["psnr-b"] = metrics.psnr_b(luma, truth, data_range=255)
        return figures


def compress(image: NDArray[np.uint8], **options: Any) -> bytes:
    """Return an image as a JPEG file."""
    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", **options)
    return file.getvalue()


def decode(content: bytes) -> tuple[NDArray[np.uint8], JpegTables]:
    """Return the pixels and tables of a JPEG file."""
    with Pillow.open(io.BytesIO(content)) as opened:
        tables = jpeg_tables(opened)
        assert tables is not None
        return np.asarray(opened), tables


def load(full: bool, names: list[str] | None) -> Iterator[Case]:
    """Yield the cases: cropped to 128 pixels a side and fewer, or all of them."""
    for folder, members in (SETS if full else QUICK).items():
        for name in members:
            if names and name not in names:
                continue
            with Pillow.open(common.DATA / folder / f"{name}.png") as opened:
                truth = centre(np.asarray(opened), None if full else 128)
            for quality in (10, 20):
                decoded, tables = decode(compress(truth, quality=quality))
                yield Case(folder, name, quality, decoded, tables, truth)
    if not names or "snail" in names:
        decoded, tables = decode((common.DATA / "dip_demo" / "snail.jpg").read_bytes())
        if not full:
            # Whole blocks of brightness and colour, so that the grid stays.
            decoded = decoded[64:192, 128:256]
        yield Case("dip_demo", "snail", 0, decoded, tables, None)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", nargs="+", default=list(QUICK_METHODS))
    parser.add_argument("--images", nargs="+", help="only these")
    parser.add_argument("--full", action="store_true", help="whole images, for a GPU")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", help="of the results file")


def run(arguments: argparse.Namespace) -> None:
    name = f"artifacts-{arguments.name or ('full' if arguments.full else 'quick')}"
    rows = common.rows_of(name)
    done = {(r["image"], r["quality"], r["method"]) for r in rows}
    for case in load(arguments.full, arguments.images):
        for method in arguments.methods:
            if (case.name, case.quality, method) in done:
                continue
            began = time.perf_counter()
            image, more = METHODS[method](case, arguments.device)
            row = {
                "set": case.set,
                "image": case.name,
                "quality": case.quality,
                "method": method,
                "seconds": time.perf_counter() - began,
                **case.measure(image),
                **more,
            }
            common.show(row)
            rows.append(row)
            common.save(name, {"rows": rows})
    print(summary(rows))


def ours(
    preset: common.Preset, *, tables: bool
) -> Callable[[Case, str], tuple[Any, Found]]:
    def method(case: Case, device: str) -> tuple[Any, Found]:
        from napari_dip import remove_artifacts

        more: Found = {"find_tables": False}
        if tables:
            steps = tuple(step for table in case.tables.tables for step in table)
            more = {"quantization": steps, "subsampling": case.tables.subsampling}
        fit = remove_artifacts(
            case.decoded, preset=preset, device=device, full_output=True, **more
        )
        return fit.image, {"iterations": fit.iterations}

    return method


def jpeg(case: Case, device: str) -> tuple[Any, Found]:
    return case.decoded, {}


def shifts(case: Case, device: str) -> tuple[Any, Found]:
    """The mean over the image compressed again at all shifts of the grid."""
    total: NDArray[np.float64] = np.zeros(case.decoded.shape)
    more: Found = {"qtables": [list(table) for table in case.tables.tables]}
    if case.decoded.ndim == 3:
        more["subsampling"] = case.tables.subsampling
    margin = [(8, 8), (8, 8), (0, 0)][: case.decoded.ndim]
    padded: NDArray[np.uint8] = np.pad(case.decoded, margin, mode="symmetric")
    for y in range(8):
        for x in range(8):
            again, _ = decode(compress(padded[y:, x:], **more))
            inside = again[8 - y :, 8 - x :]
            total += inside[: total.shape[0], : total.shape[1]]
    return total / 64, {}


def tv(case: Case, device: str) -> tuple[Any, Found]:
    from skimage.restoration import denoise_tv_chambolle

    axis = -1 if case.decoded.ndim == 3 else None
    scaled = case.decoded / 255
    weight = TV_WEIGHT.get(case.quality, 0.05)
    return 255 * denoise_tv_chambolle(scaled, weight, channel_axis=axis), {}


TV_WEIGHT = {10: 0.05, 20: 0.03}
"""Best mean PSNR on the chosen images, of 0.01 to 0.1."""

METHODS: dict[str, Callable[[Case, str], tuple[Any, Found]]] = {
    "jpeg": jpeg,
    "tv": tv,
    "shifts": shifts,
    "blind": ours("fast", tables=False),
    "fast": ours("fast", tables=True),
    "best": ours("best", tables=True),
    "paper": ours("paper", tables=False),
}
QUICK_METHODS = ("jpeg", "tv", "shifts", "blind", "fast", "best")


def summary(rows: list[Found]) -> str:
    """Return the mean figures of every quality and method, and the snail's."""
    methods = [m for m in METHODS if any(r["method"] == m for r in rows)]
    lines = []
    for quality in sorted({r["quality"] for r in rows if r["quality"]}):
        everything = {r["image"] for r in rows if r["quality"] == quality}
        for method in methods:
            group = [
                r for r in rows if (r["quality"], r["method"]) == (quality, method)
            ]
            if len(group) < len(everything):
                continue  # means over other images do not compare
            line: Found = {"quality": quality, "method": method, "images": len(group)}
            for key in ("psnr", "psnr-b", "blockiness", "seconds"):
                line[key] = float(np.mean([r[key] for r in group]))
            lines.append(line)
    columns = ["quality", "method", "images", "psnr", "psnr-b", "blockiness"]
    parts = [common.table(lines, [*columns, "seconds"])]
    cells = {(r["image"], r["quality"], r["method"]): r for r in rows}
    lines = []
    for image, quality in dict.fromkeys((i, q) for i, q, _ in cells):
        key = "psnr-b" if quality else "blockiness"
        line = {"image": image, "figure": f"{key} {quality or ''}".strip()}
        for method in methods:
            line[method] = cells.get((image, quality, method), {}).get(key)
        lines.append(line)
    parts.append(common.table(lines, ["image", "figure", *methods]))
    return "\n\n".join(parts)
