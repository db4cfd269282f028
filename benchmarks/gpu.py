"""Everything a GPU changes, checked and measured without napari.

Results against the CPU's, CUDA graphs on and off, precisions, the memory estimate
against the truth, lack of memory, a few iterations of every task, seconds, and time to
quality against the plain loop.  Runs where the package is installed, within 8 minutes;
without a GPU it says so and ends well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch

from benchmarks import common
from benchmarks.artifacts import compress, decode
from benchmarks.plain import loop
from benchmarks.race import race


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--budget", type=float, default=450, help="seconds in all")


def run(arguments: argparse.Namespace) -> None:
    if not torch.cuda.is_available():
        print("no CUDA GPU here: nothing to check")
        return
    began = time.perf_counter()
    results: dict[str, Any] = {"checks": [], "rows": [], "quality": []}
    for check in (_against_cpu, _graphs, _precisions, _memory, _too_large, _tasks):
        row = {"check": check.__name__.strip("_"), **check()}
        results["checks"].append(row)
        print(row, flush=True)
    for size in (256, 512, 768):
        results["rows"].append(_speed(size))
        print(results["rows"][-1], flush=True)
    left = arguments.budget - (time.perf_counter() - began)
    results["quality"].append(_quality(512, left))
    print(results["quality"][-1], flush=True)
    path = common.save("gpu", results)
    for name in ("checks", "rows", "quality"):
        for row in results[name]:
            print(common.table([row], list(row)))
    print(f"written to {path.relative_to(common.ROOT)}")


def _noisy(size: int) -> tuple[np.ndarray, np.ndarray]:
    clean = common.photograph(size)
    noise = np.random.default_rng(0).normal(0, 25 / 255, clean.shape)
    return np.clip(clean + noise, 0, 1).astype(np.float32), clean


def _fit(image: np.ndarray, **changes: Any) -> Any:
    """Fit the published network with the engine directly."""
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.codes import Noise
    from napari_dip.prior.fit import fit, run_to_end
    from napari_dip.prior.problem import Prior, Problem, Settings
    from napari_dip.prior.stopping import Iterations

    values: dict[str, Any] = {
        "stop": Iterations(30),
        "optimizer": "adam",
        "learning_rate": 0.01,
        "device": "cuda",
        "precision": "float32",
    }
    settings = Settings(**(values | changes))
    measurement = torch.from_numpy(image).permute(2, 0, 1)[None]
    prior = Prior(Architecture(), Noise())
    return run_to_end(fit(Problem(measurement), prior, settings))


def _against_cpu() -> dict[str, Any]:
    """The same weights on both; the codes come from different generators."""
    image, _ = _noisy(128)
    gpu, cpu = _fit(image), _fit(image, device="cpu")
    losses = [f.history[-1]["loss"] for f in (gpu, cpu)]
    return {
        "loss on the GPU": losses[0],
        "loss on the CPU": losses[1],
        "ok": abs(losses[0] / losses[1] - 1) < 0.1,
    }


def _graphs() -> dict[str, Any]:
    image, _ = _noisy(256)
    plain, graph = _fit(image, graph=False), _fit(image, graph=True)
    difference = float((plain.image - graph.image).abs().max())
    return {
        "largest difference": difference,
        "seconds without": plain.seconds,
        "seconds with": graph.seconds,
        "ok": difference < 0.05,
    }


def _precisions() -> dict[str, Any]:
    image, _ = _noisy(256)
    fits = {p: _fit(image, precision=p) for p in ("float32", "bfloat16")}
    losses = {p: f.history[-1]["loss"] for p, f in fits.items()}
    return {
        **{f"loss in {p}": loss for p, loss in losses.items()},
        "ok": abs(losses["bfloat16"] / losses["float32"] - 1) < 0.1,
    }


def _memory() -> dict[str, Any]:
    from napari_dip.prior.architecture import Architecture
    from napari_dip.prior.codes import Noise
    from napari_dip.prior.estimate import estimate
    from napari_dip.prior.problem import Prior, Problem, Settings
    from napari_dip.prior.stopping import Iterations

    image, _ = _noisy(512)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    measurement = torch.from_numpy(image).permute(2, 0, 1)[None]
    settings = Settings(Iterations(8), "adam", 0.01, device="cuda", precision="float32")
    expected = estimate(Problem(measurement), Prior(Architecture(), Noise()), settings)
    _fit(image, stop=Iterations(8))
    peak = torch.cuda.max_memory_allocated() - before
    return {
        "estimated MiB": expected.memory / 2**20,
        "peak MiB": peak / 2**20,
        "ok": 0.6 < expected.memory / peak < 1.8,
    }


def _too_large() -> dict[str, Any]:
    """An image that cannot fit is refused; lack of memory inside is translated."""
    from napari_dip.errors import OutOfMemory
    from napari_dip.prior import runtime

    told = []
    side = 40_000
    huge = np.lib.stride_tricks.as_strided(
        np.full(1, 0.5, np.float32), (side, side, 1), (0, 0, 0)
    )
    for attempt in ("foreseen", "inside"):
        try:
            if attempt == "foreseen":
                _fit(huge)
            else:
                with runtime.device_errors(lambda: "translated"):
                    torch.empty(2**46, device="cuda")
        except OutOfMemory as error:
            told.append(str(error))
    torch.zeros(8, device="cuda").sum().item()  # the device still works
    return {"messages": told, "ok": len(told) == 2}


def _tasks() -> dict[str, Any]:
    """Every task takes enough iterations for a CUDA graph, in colour."""
    calls, failed = _calls(), {}
    for name, fit in calls.items():
        try:
            found = np.asarray(fit())
            if not np.isfinite(found).all():
                failed[name] = "the result is not finite"
        except Exception as error:  # noqa: BLE001 - each is told
            failed[name] = f"{type(error).__name__}: {error}"[:200]
    return {"tasks": len(calls), "failed": failed, "ok": not failed}


def _calls() -> dict[str, Callable[[], Any]]:
    """Return a call of every task, small."""
    import napari_dip as dip
    from napari_dip.prior.features import Preprocess

    few: Any = {"iterations": 8, "device": "cuda"}
    noisy, clean = _noisy(64)
    mask = np.zeros((64, 64), bool)
    mask[24:40, 20:44] = True
    scattered = np.random.default_rng(0).random((64, 64)) < 0.5
    psf = np.ones((5, 5))
    bytes_ = (255 * clean).round().astype(np.uint8)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).cuda()
    colours = Preprocess(mean=(0.5,) * 3, std=(0.2,) * 3)
    content = compress(bytes_, quality=10)
    decoded, tables = decode(content)
    steps = tuple(step for table in tables.tables for step in table)
    return {
        "denoise": lambda: dip.denoise(noisy, **few),
        "denoise, best": lambda: dip.denoise(noisy, preset="best", **few),
        "denoise, impulses": lambda: dip.denoise(noisy, noise="impulse", **few),
        "denoise, stack": lambda: dip.denoise(
            np.stack([noisy[..., 0]] * 4), share="yes", channel_axis=None, **few
        ),
        "super_resolve": lambda: dip.super_resolve(noisy, 2, **few),
        "inpaint, text": lambda: dip.inpaint(noisy, mask, kind="text", **few),
        "inpaint, hole": lambda: dip.inpaint(noisy, mask, kind="hole", **few),
        "inpaint, random": lambda: dip.inpaint(clean, scattered, **few),
        "inpaint, scales": lambda: dip.inpaint(noisy, mask, scales=(1, 2, 4), **few),
        "remove_artifacts": lambda: dip.remove_artifacts(noisy, **few),
        "remove_artifacts, JPEG": lambda: dip.remove_artifacts(
            decoded, quantization=steps, **few
        ),
        "enhance": lambda: dip.enhance(noisy, **few),
        "denoise_guided": lambda: dip.denoise_guided(noisy, clean, **few),
        "deconvolve": lambda: dip.deconvolve(noisy, psf, **few),
        "deconvolve, blind": lambda: dip.deconvolve(noisy, psf, blind=True, **few),
        "deconvolve, volume": lambda: dip.deconvolve(
            np.stack([noisy[..., 0]] * 8), np.ones((3, 5, 5)), **few
        ),
        "blend": lambda: dip.blend(noisy, clean, mask, **few),
        "invert_features": lambda: dip.invert_features(
            clean, model, "1", preprocess=colours, **few
        ),
        "maximize_activation": lambda: dip.maximize_activation(
            model, "1", 0, shape=(32, 32), preprocess=colours, **few
        ),
        "sample_prior": lambda: dip.sample_prior((32, 32), device="cuda"),
        "noise_impedance": lambda: list(
            dip.noise_impedance(clean, **few).curves.values()
        ),
        "restore": lambda: dip.restore(noisy[..., 0], lambda x: x, **few),
    }


def _speed(size: int) -> dict[str, Any]:
    """Iterations a second of the published network; a whole fit of "fast"."""
    from napari_dip import denoise, iterate

    image, _ = _noisy(size)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].cuda()
    kinds: dict[str, Callable[[], Generator[Any, None, Any]]] = {
        "plain": lambda: loop(tensor),
        "paper": lambda: iterate("denoise", image, preset="paper", device="cuda"),
    }
    row: dict[str, Any] = {"size": size}
    for kind, start in kinds.items():
        steps = start()
        for _ in range(8):
            next(steps)
        torch.cuda.synchronize()
        count = 30 if kind == "plain" else 100
        began = time.perf_counter()
        for _ in range(count):
            next(steps)
        torch.cuda.synchronize()
        row[f"{kind} it/s"] = count / (time.perf_counter() - began)
        steps.close()
        torch.cuda.empty_cache()
    for name in ("fast s, first", "fast s"):
        began = time.perf_counter()
        denoise(image, device="cuda")
        row[name] = time.perf_counter() - began
    return row


def _quality(size: int, seconds: float) -> dict[str, Any]:
    """Seconds of the plain loop and of the fast preset, and what both reach."""
    found = race(*_noisy(size), "cuda", limit=seconds)
    found.pop("curves")
    return {"size": size, **found}
