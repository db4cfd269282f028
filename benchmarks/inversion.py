"""Looking inside SqueezeNet: feature inversion and activation maximisation.

First paper, sections 3.4 and 3.5, with SqueezeNet 1.1 for the AlexNet of its figures.
``--what inversion``: building and monkey from an early, a middle, the last
convolutional layer and the logits, by the deep prior, total variation and no prior.
``--what maximization``: six classes.

Without ``--full`` images have 128 x 128 pixels, which the network's preprocessing
enlarges to its 227, and fits are short; with it they are of native size and fits as
long as the presets make them.

distance
    Squared distance of the activations over those of the original.
psnr, ssim
    To the original: how much of it the layer still tells, seen with that prior.
top
    The class that the network sees in the result; `same` if also in the original.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks import common, squeezenet
from napari_dip import invert_features, maximize_activation, metrics
from napari_dip.prior.features import Features, Preprocess

Found = dict[str, Any]

FOLDER = common.DATA / "inversion"
IMAGES = ("building", "monkey")
LAYERS = ("fire2", "fire5", "conv10", "logits")
PRIORS = ("deep", "tv", "none")
CLASSES = (1, 130, 340, 949, 980, 985)
"""Goldfish, flamingo, zebra, strawberry, volcano, daisy."""

SIDE = 128
ITERATIONS = {"inversion": 100, "maximization": 200}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--what", default="inversion", choices=("inversion", "maximization")
    )
    parser.add_argument("--images", nargs="+", default=list(IMAGES))
    parser.add_argument("--layers", nargs="+", default=list(LAYERS))
    parser.add_argument("--priors", nargs="+", default=list(PRIORS))
    parser.add_argument("--classes", nargs="+", type=int, default=list(CLASSES))
    parser.add_argument("--objective", default="activation")
    parser.add_argument("--iterations", type=int, help="of every fit")
    parser.add_argument("--tv", type=float, help="weight of the tv prior")
    parser.add_argument("--full", action="store_true", help="native size, whole fits")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--pictures", help="folder for the images")
    parser.add_argument("--name", help="of the results file")


def run(arguments: argparse.Namespace) -> None:
    what = arguments.what
    size = "full" if arguments.full else SIDE
    kind = "images" if what == "inversion" else "classes"
    name = f"inversion-{arguments.name or f'{kind}-{size}'}"
    rows = common.rows_of(name)
    model, names = squeezenet.load(FOLDER), squeezenet.class_names(FOLDER)
    jobs = (
        [(i, k, p) for p in arguments.priors for i in arguments.images for k in LAYERS]
        if what == "inversion"
        else [
            (str(c), "logits", p) for c in arguments.classes for p in arguments.priors
        ]
    )
    done = {(r["image"], r["layer"], r["prior"]) for r in rows}
    for image, layer, prior in jobs:
        if layer not in arguments.layers or (image, layer, prior) in done:
            continue
        row: Found = {"image": image, "layer": layer, "prior": prior}
        shared: Found = {
            "prior": prior,
            "device": arguments.device,
            **squeezenet.PREPROCESS,
        }
        if arguments.iterations or not arguments.full:
            shared["iterations"] = arguments.iterations or ITERATIONS[what]
        if arguments.tv is not None:
            shared["tv"] = arguments.tv
        if what == "inversion":
            original = load(image, None if arguments.full else SIDE)
            fit = invert_features(original, model, layer, full_output=True, **shared)
            row |= compare(fit.image, original, model, layer, names)
        else:
            side = (224, 224) if arguments.full else (SIDE, SIDE)
            fit = maximize_activation(
                model,
                layer,
                int(image),
                objective=arguments.objective,
                shape=side,
                full_output=True,
                **shared,
            )
            row["objective"] = arguments.objective
            row |= recognised(np.clip(fit.image, 0, 1), model, names, int(image))
        row |= {"seconds": fit.seconds, "iterations": fit.iterations}
        if arguments.pictures:
            target = Path(arguments.pictures)
            target.mkdir(parents=True, exist_ok=True)
            stored = np.rint(np.clip(fit.image, 0, 1) * 255).astype(np.uint8)
            Image.fromarray(stored).save(target / f"{image}-{layer}-{prior}.png")
        rows.append(row)
        common.save(name, {"rows": rows})
        print(common.table([row], list(row)), flush=True)
    print(summary(rows))


def load(name: str, side: int | None) -> NDArray[np.float32]:
    """Return an image in [0, 1]."""
    with Image.open(FOLDER / f"{name}.jpg") as image:
        picture = image.convert("RGB")
    if side is not None:
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(picture, np.float32) / np.float32(255)


def compare(
    image: NDArray[Any],
    original: NDArray[np.float32],
    model: torch.nn.Module,
    layer: str,
    names: list[str],
) -> Found:
    """Return the figures of an inversion."""
    see = Preprocess(squeezenet.MEAN, None, squeezenet.SIZE, 255.0, True)
    features = Features(model, layer, see, torch.device("cpu"))
    image = np.clip(image, 0, 1).astype(np.float32)
    with torch.no_grad():
        found, wanted = (
            features(torch.from_numpy(np.moveaxis(a, -1, 0).copy())[None])
            for a in (image, original)
        )
    number, _, _ = squeezenet.top(model, original, names)
    distance = (found - wanted).square().sum() / wanted.square().sum()
    return {
        "distance": float(distance),
        "psnr": metrics.psnr(image, original, data_range=1),
        "ssim": metrics.ssim(image, original, data_range=1),
        **recognised(image, model, names, number),
    }


def recognised(
    image: NDArray[Any], model: torch.nn.Module, names: list[str], wanted: int
) -> Found:
    """Return what the network sees, and whether it is what was wanted."""
    number, name, probability = squeezenet.top(model, image, names)
    return {
        "top": name.split(",")[0],
        "probability": probability,
        "same": "yes" if number == wanted else "no",
    }


def summary(rows: list[Found]) -> str:
    """Return the figures of all rows."""
    lines = []
    for row in rows:
        line = dict(row)
        if "distance" in row:
            line["distance"] = f"{row['distance']:.3f}"
            line["ssim"] = f"{row['ssim']:.3f}"
        line["probability"] = f"{row['probability']:.3f}"
        lines.append(line)
    return common.table(lines, list(lines[0]))
