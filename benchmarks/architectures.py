"""Inpainting of a large hole by architecture: the first paper's Figs. 8 and 13.

The image library with its hole, filled in by hourglasses of two, four and six scales
and by a U-Net and a ResNet, each with the published settings of that image (codes of
one channel, no skips, kernels of 5 down and 3 up, nearest upsampling, no 1x1
convolutions, Adam at 0.01; 0.001 for U-Net and ResNet).

There is no truth of what is behind the hole: look at the pictures.  The figures say
how far the fit came at known pixels.

Without ``--full`` the image is cropped to 128 pixels around the hole and fits are of
300 iterations in place of 3001.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from PIL import Image

from benchmarks import common, inpaint
from napari_dip import metrics
from napari_dip.prior import stopping
from napari_dip.prior.architecture import Architecture, Generates
from napari_dip.prior.codes import Noise
from napari_dip.prior.fit import fit, run_to_end
from napari_dip.prior.generators import ResNet, UNet
from napari_dip.prior.problem import Prior, Problem, Settings

WIDTHS = (16, 32, 64, 128, 128, 128)
SIDE, ITERATIONS, FULL_ITERATIONS = 128, 300, 3001


def hourglass(scales: int) -> Architecture:
    return Architecture(
        down=WIDTHS[:scales],
        up=WIDTHS[:scales],
        skip=(0,) * scales,
        down_kernel=5,
        upsampling="nearest",
        pointwise=False,
    )


NETWORKS: dict[str, tuple[Generates, float]] = {
    "hourglass, 2 scales": (hourglass(2), 0.01),
    "hourglass, 4 scales": (hourglass(4), 0.01),
    "hourglass, 6 scales": (hourglass(6), 0.01),
    "U-Net": (UNet(), 0.001),
    "ResNet": (ResNet(), 0.001),
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", default="library", choices=inpaint.PICTURES)
    parser.add_argument("--full", action="store_true", help="whole image and fits")
    parser.add_argument("--iterations", type=int, help="of every fit")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--picture", help="file to draw all results into, as PNG")
    parser.add_argument("--name", help="of the results file")


def run(arguments: argparse.Namespace) -> None:
    side = None if arguments.full else SIDE
    iterations = arguments.iterations or (
        FULL_ITERATIONS if arguments.full else ITERATIONS
    )
    name = f"architectures-{arguments.name or side or 'full'}"
    rows = common.rows_of(name)
    done = {(r["image"], r["network"]) for r in rows}
    (case,) = inpaint.load("pictures", side, [arguments.image])
    drawn = [case.damaged]
    target = torch.from_numpy(np.moveaxis(case.damaged / 255, -1, 0).copy())[None]
    known = torch.from_numpy((~case.missing).astype(np.float32))[None, None]
    for network, (architecture, rate) in NETWORKS.items():
        if (case.name, network) in done and not arguments.picture:
            continue
        settings = Settings(
            stopping.Iterations(iterations),
            optimizer="adam",
            learning_rate=rate,
            ema_decay=0.9,
            device=arguments.device,
        )
        prior = Prior(architecture, Noise(1, perturbation=0))
        found = run_to_end(fit(Problem(target, weight=known), prior, settings))
        image = np.moveaxis(found.image[0].cpu().numpy(), 0, -1) * 255
        drawn.append(np.where(case.missing[..., None], image, case.truth))
        if (case.name, network) in done:
            continue
        kept = ~case.missing
        row = {
            "image": case.name,
            "side": side or max(case.missing.shape),
            "network": network,
            "psnr known": metrics.psnr(image[kept], case.truth[kept], data_range=255),
            "seconds": found.seconds,
            "iterations": found.iterations,
        }
        rows.append(row)
        common.save(name, {"rows": rows})
        print(common.table([row], list(row)), flush=True)
    if arguments.picture:
        line = np.concatenate(
            [np.pad(i, ((0, 0), (0, 4), (0, 0)), constant_values=255) for i in drawn], 1
        )
        stored = np.clip(np.rint(line), 0, 255).astype(np.uint8)[:, :-4]
        Image.fromarray(stored).save(arguments.picture, optimize=True)
