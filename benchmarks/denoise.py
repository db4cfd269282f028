"""Quality and time of denoising: ours against other methods on the same files.

Every method gets the same noisy array, the same threads and the same process.
BM3D, bmnd and deepinv get the true noise level where it is known, and so are helped;
ours and the classical methods of `napari_dip.baselines` estimate it.  "hindsight" is
the best image of the same run by the truth, which no user has: never compare it with
another method.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import common
from benchmarks.cases import Case, load
from napari_dip import baselines

Found = dict[str, Any]


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", default="set9", dest="folder")
    parser.add_argument("--noise", nargs="+", default=["authors"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--images", nargs="+", help="only these")
    parser.add_argument("--side", type=int, default=256, help="0 for whole images")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", required=True, help="of the results file")


def run(arguments: argparse.Namespace) -> None:
    rows = common.rows_of(f"denoise-{arguments.name}")
    done = {(r["set"], r["image"], r["noise"], r["method"], r["seed"]) for r in rows}
    for noise in arguments.noise:
        for case in load(arguments.folder, noise, arguments.side or None):
            if arguments.images and case.name not in arguments.images:
                continue
            for method in arguments.methods:
                for seed in range(arguments.seeds):
                    key = (case.set, case.name, case.noise, method, seed)
                    if key in done:
                        continue
                    rows.append(_one(case, method, seed, arguments.device))
                    common.save(f"denoise-{arguments.name}", {"rows": rows})
    print(summary(rows))


def _one(case: Case, method: str, seed: int, device: str) -> Found:
    row: Found = {
        "set": case.set,
        "image": case.name,
        "noise": case.noise,
        "method": method,
        "seed": seed,
    }
    common.reset_peak()
    began = time.perf_counter()
    try:
        image, more = METHODS[method](case, seed, device)
    except ImportError as error:
        row["missing"] = str(error)
    else:
        seconds = time.perf_counter() - began
        row["seconds"] = seconds - more.pop("spent on hindsight", 0.0)
        row |= case.measure(image) | more
        row["peak MiB"] = common.peak()
    common.show(row)
    return row


def ours(
    preset: common.Preset, **parameters: Any
) -> Callable[[Case, int, str], tuple[np.ndarray, Found]]:
    def method(case: Case, seed: int, device: str) -> tuple[np.ndarray, Found]:
        from napari_dip import denoise

        best = [-np.inf, 0]
        spent = 0.0

        def watch(it: Any) -> None:
            nonlocal spent
            if it.step and it.step % 20 == 0 and it.part == it.parts - 1:
                began = time.perf_counter()
                psnr = case.measure(it.finished)["psnr"]
                best[:] = max(best, [psnr, it.step])
                spent += time.perf_counter() - began

        fit = denoise(
            case.noisy,
            preset=preset,
            seed=seed,
            device=device,
            callback=watch,
            full_output=True,
            **parameters,
        )
        return fit.image, {
            "spent on hindsight": spent,
            "hindsight": float(best[0]),
            "hindsight iteration": best[1],
            "iterations": fit.iterations,
            "best iteration": fit.best_iteration,
            "stopped by": fit.stopped_by,
            "noise model": fit.settings["planes"][0]["noise"],
            "correlated": fit.settings["planes"][0]["correlated"],
        }

    return method


def noisy(case: Case, seed: int, device: str) -> tuple[np.ndarray, Found]:
    return case.noisy, {}


def plain(case: Case, seed: int, device: str) -> tuple[np.ndarray, Found]:
    """The published network and loop at its published number of iterations."""
    from benchmarks.plain import loop

    image = np.atleast_3d(case.noisy) / np.float32(case.peak)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    sides = [n - n % 32 for n in tensor.shape[2:]]
    if tensor.shape[2:] != torch.Size(sides):
        # The published program crops; the yardstick is given whole tiles only.
        raise ImportError("sides are no multiples of 32")
    if device != "cpu" and torch.cuda.is_available():
        tensor = tensor.cuda()
    steps = loop(tensor, seed=seed)
    for _ in range(1800):
        _, average = next(steps)
    result = average[0].permute(1, 2, 0).cpu().numpy() * case.peak
    return result.reshape(case.noisy.shape), {"iterations": 1800}


def baseline(name: str) -> Callable[[Case, int, str], tuple[np.ndarray, Found]]:
    """A classical method as users have it: it estimates the noise, as ours does."""

    def method(case: Case, seed: int, device: str) -> tuple[np.ndarray, Found]:
        return getattr(baselines, name)(case.noisy), {}

    return method


def bm3d(case: Case, seed: int, device: str) -> tuple[np.ndarray, Found]:
    """The authors' BM3D; its licence is for non-commercial use only."""
    from bm3d import bm3d as gray
    from bm3d import bm3d_rgb

    sigma = _level(case)
    with contextlib.redirect_stdout(io.StringIO()):
        if case.noisy.ndim == 3:
            return bm3d_rgb(case.noisy / case.peak, sigma) * case.peak, {}
        return gray(case.noisy / case.peak, sigma) * case.peak, {}


def bmnd(case: Case, seed: int, device: str) -> tuple[np.ndarray, Found]:
    from bmnd import BM3DProfile
    from bmnd import bmnd as filtered

    sigma = _level(case)
    image = np.atleast_3d(case.noisy / case.peak)
    planes = [
        filtered(image[..., c], BM3DProfile(), sigma=sigma)
        for c in range(image.shape[-1])
    ]
    result = np.stack(planes, -1).reshape(case.noisy.shape)
    return result * case.peak, {}


def deepinv(case: Case, seed: int, device: str) -> tuple[np.ndarray, Found]:
    """deepinv's DIP, called directly with a new network, in train mode.

    The network of its demo, 64 channels; its default of 256 takes hours here.
    """
    import deepinv as dinv

    image = np.moveaxis(np.atleast_3d(case.noisy), -1, 0)[None] / case.peak
    y = torch.from_numpy(image.astype(np.float32))
    torch.manual_seed(seed)
    network = dinv.models.ConvDecoder(img_size=y.shape[1:], in_size=(4, 4), channels=64)
    prior = dinv.models.DeepImagePrior(network, img_size=(64, 4, 4), iterations=1000)
    physics = dinv.physics.Denoising(dinv.physics.GaussianNoise(_level(case)))
    result = prior(y, physics).detach()[0].permute(1, 2, 0).numpy() * case.peak
    return result.reshape(case.noisy.shape), {"iterations": 1000}


def _level(case: Case) -> float:
    """Return the noise level over the peak: the true one, or our estimate."""
    from napari_dip.tasks.noise_level import gaussian_variance

    if case.sigma is not None:
        return case.sigma / case.peak
    scaled = np.moveaxis(np.atleast_3d(case.noisy / case.peak), -1, 0)
    return math.sqrt(gaussian_variance(scaled))


METHODS: dict[str, Callable[[Case, int, str], tuple[np.ndarray, Found]]] = {
    "noisy": noisy,
    "fast": ours("fast"),
    "best": ours("best"),
    "paper": ours("paper"),
    "impulse": ours("fast", noise="impulse"),
    "stripes kept": ours("fast", stripes="no"),
    "nlm": baseline("nlm"),
    "tv": baseline("tv"),
    "wavelet": baseline("wavelet"),
    "bm3d": bm3d,
    "bmnd": bmnd,
    "deepinv": deepinv,
    "plain": plain,
}


def summary(rows: list[Found]) -> str:
    """Return the mean figures of every set, noise and method."""
    groups: dict[tuple[str, str, str], list[Found]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["noise"], row["method"]), []).append(row)
    lines = []
    order = list(METHODS)
    for folder, noise, method in sorted(
        groups, key=lambda g: (*g[:2], order.index(g[2]))
    ):
        group = groups[folder, noise, method]
        line: Found = {"set": folder, "noise": noise, "method": method}
        if any("missing" in r for r in group):
            line["images"] = "not installed"
        else:
            line |= {
                key: float(np.mean([r[key] for r in group]))
                for key in ("psnr", "ssim", "hindsight", "seconds", "iterations")
                if all(key in r for r in group)
            }
            line["images"] = len(group)
            if "hindsight" in line:
                line["lost"] = line["hindsight"] - line["psnr"]
        lines.append(line)
    columns = ["set", "noise", "method", "images", "psnr", "hindsight", "lost"]
    return common.table(lines, [*columns, "ssim", "seconds", "iterations"])
