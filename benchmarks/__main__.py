"""Run a benchmark by its name."""

from __future__ import annotations

import argparse
from importlib import import_module

NAMES = {
    "architectures": "inpainting by hourglasses, a U-Net and a ResNet",
    "artifacts": "quality of removing JPEG artifacts",
    "blend": "quality of blending, Tables 5 and 6 of the second paper",
    "deconvolve": "quality of deconvolution against Richardson-Lucy and Wiener",
    "denoise": "quality and time of denoising against other methods",
    "gpu": "everything a GPU changes, in under 8 minutes",
    "guided": "quality of denoising with a guide",
    "inpaint": "quality of filling in random pixels, text and holes",
    "inversion": "looking inside SqueezeNet: inversion and activation maximisation",
    "presets": "seconds of every task with its fast preset",
    "race": "time to a given quality, against the plain loop",
    "scale": "seconds, memory and quality over the size of a data set",
    "share": "quality and time of one network for several files",
    "speed": "seconds per iteration and memory against the plain loop",
    "sr": "quality of super-resolution, Tables 1 and 2 of the first paper",
    "tables": "the tables in the docs from the results",
    "uncertainty": "how often the truth lies within the uncertainty of denoising",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(dest="name", required=True)
    for name, text in NAMES.items():
        module = import_module(f"benchmarks.{name}")
        command = commands.add_parser(name, help=text, description=module.__doc__)
        module.options(command)
        command.set_defaults(run=module.run)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
