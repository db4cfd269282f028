"""How every task is fitted: one table of presets per task.

A table maps the name of a preset and the case, which the task tells from the image, to
a `Preset`.  An empty case stands for all that are not listed.  What was measured to
choose them is in docs/development/experiments.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from napari_dip.prior.architecture import Architecture, Generates, Pixels
from napari_dip.prior.codes import BlindSpot, Code, Guide, Meshgrid, Noise
from napari_dip.prior.stopping import Discrepancy, HeldOut, Iterations, Plateau, Rule

hourglass = Architecture.uniform

NO_IMAGE = torch.empty(1, 1, 1, 1)
"""Stands for a guide, which the task puts in its place."""


@dataclass(frozen=True)
class Preset:
    """How a task is fitted.

    Attributes
    ----------
    architecture : Generates
        The network.
    code : Code
        What it sees.
    stop : Rule
        When the fit ends.
    optimizer : {"muon", "adam"}
        See `napari_dip.prior.optimizers`.
    rate : float
        Learning rate.
    schedule : {"constant", "cosine", "halving"}
        How the learning rate falls.
    decay : float
        Decay of the exponential moving average of the outputs; 0 keeps the last one.
    restarts : int
        Fits that are averaged.
    start_iterations : int
        Iterations on a first estimate.
    finish : tuple of str
        Steps from the average to the result; see `napari_dip.tasks.finishing`.
    """

    architecture: Generates
    code: Code
    stop: Rule
    optimizer: str = "muon"
    rate: float = 0.02
    schedule: str = "constant"
    decay: float = 0.99
    restarts: int = 1
    start_iterations: int = 0
    finish: tuple[str, ...] = ()


Table = Mapping[tuple[str, str], Preset]


def choose(table: Table, preset: str, case: str = "") -> Preset:
    """Return the preset of a case, or else that of all cases."""
    return table.get((preset, case)) or table[preset, ""]


# "paper": the paper's text, section 4 (1800 iterations; its program runs 3000).
# "correlated": hidden pixels could be told from their neighbours, noise and all, so
# none are hidden; held-out blocks reach as far as the noise of camera JPEGs (0.1 at a
# distance of 5 pixels).
DENOISE: Table = {
    ("fast", ""): Preset(
        hourglass(32, 4, skip=32, skip_kernel=3),
        BlindSpot(0.25),
        HeldOut(800, patience=80, relative_patience=0.2),
        finish=("posterior mean", "wiener"),
    ),
    ("best", ""): Preset(
        hourglass(48, 4, skip=32, skip_kernel=3),
        BlindSpot(0.25),
        HeldOut(800, patience=80, relative_patience=0.2),
        restarts=3,
        finish=("posterior mean", "wiener"),
    ),
    ("fast", "correlated"): Preset(
        hourglass(64, 3),
        Noise(),
        HeldOut(800, radius=5, patience=60, relative_patience=0),
        rate=0.03,
        decay=0.98,
        finish=("posterior mean",),
    ),
    ("best", "correlated"): Preset(
        hourglass(64, 3),
        Noise(),
        HeldOut(800, radius=5, patience=60, relative_patience=0),
        rate=0.03,
        decay=0.98,
        restarts=3,
        finish=("posterior mean",),
    ),
    ("paper", ""): Preset(
        Architecture(), Noise(), Iterations(1800), "adam", 0.01, restarts=1
    ),
}

# "paper": the published program's, since the paper names no parameters for this task.
# Under correlated noise wide skips bring the guide's detail along.
DENOISE_GUIDED: Table = {
    ("fast", ""): DENOISE["fast", ""],
    ("best", ""): DENOISE["best", ""],
    ("fast", "correlated"): replace(
        DENOISE["fast", "correlated"],
        architecture=hourglass(32, 4, skip=32, skip_kernel=3),
        code=Guide(NO_IMAGE, perturbation=1 / 30),
    ),
    ("best", "correlated"): replace(
        DENOISE["best", "correlated"],
        architecture=hourglass(32, 4, skip=32, skip_kernel=3),
        code=Guide(NO_IMAGE, perturbation=1 / 30),
    ),
    ("paper", ""): Preset(
        Architecture(
            upsampling=("nearest", "nearest", "bilinear", "bilinear", "bilinear")
        ),
        Guide(NO_IMAGE),
        Iterations(601),
        "adam",
        0.1,
        decay=0,
    ),
}

# "paper": section 3.3 with the settings of the published program, where the paper's
# text (section 4) differs: text has skips of 4 and bilinear upsampling there.  The last
# output is the result.  "sparse" is the setting of the example with 98 % missing.
# Hidden single pixels teach nothing about strokes: text is 1 to 3 dB worse with them.
INPAINT: Table = {
    ("fast", "random"): Preset(
        hourglass(32, 4, skip=32, skip_kernel=3),
        BlindSpot(0.3),
        Iterations(800),
        schedule="cosine",
        finish=("posterior mean",),
    ),
    ("fast", "text"): Preset(
        hourglass(32, 4, skip=32, skip_kernel=3),
        Noise(32, 0.1, 0.03),
        Iterations(500),
        schedule="cosine",
        decay=0.98,
    ),
    ("fast", "hole"): Preset(
        hourglass(32, 6, skip=0),
        Noise(32, 0.1, 0.01),
        Iterations(500),
        schedule="cosine",
        decay=0.98,
    ),
    ("best", "random"): Preset(
        hourglass(48, 4, skip=32, skip_kernel=3),
        BlindSpot(0.3),
        Iterations(1500),
        schedule="cosine",
        restarts=4,
        finish=("posterior mean",),
    ),
    ("best", "text"): Preset(
        hourglass(48, 4, skip=32, skip_kernel=3),
        Noise(32, 0.1, 0.03),
        Iterations(1000),
        schedule="cosine",
        decay=0.98,
        restarts=4,
    ),
    ("best", "hole"): Preset(
        hourglass(48, 6, skip=0),
        Noise(32, 0.1, 0.01),
        Iterations(1000),
        schedule="cosine",
        decay=0.98,
        restarts=4,
    ),
    ("paper", "random"): Preset(
        Architecture(), Noise(32, 0.1, 0.03), Iterations(11000), "adam", 0.001, decay=0
    ),
    ("paper", "sparse"): Preset(
        Architecture(
            (16, 32, 64, 128, 128),
            (16, 32, 64, 128, 128),
            (0,) * 5,
            downsampling="average",
        ),
        Noise(32, 0.1, 0.0),
        Iterations(1000),
        "adam",
        0.01,
        decay=0,
    ),
    ("paper", "text"): Preset(
        hourglass(128, 5, skip=128, upsampling="nearest"),
        Noise(32, 0.1, 0.03),
        Iterations(6001),
        "adam",
        0.01,
        decay=0,
    ),
    ("paper", "hole"): Preset(
        hourglass(128, 5, skip=0, upsampling="nearest"),
        Meshgrid(0.03),
        Iterations(5001),
        "adam",
        0.01,
        decay=0,
    ),
}

# The cases are the factors "4" (up to 4) and "8" (above), and whether the image is
# noisy.  What one coarse pixel covers must be seen as a whole, so 8 takes more scales;
# text and other small structures need a stronger perturbation up to 4.  A noisy image
# is not judged with the variance, of which `sharp_noise` is too rough a measure.
SUPER_RESOLVE: dict[tuple[str, str], Preset] = {
    ("fast", "4"): Preset(
        hourglass(48, 3),
        Noise(perturbation=0.08),
        Iterations(700),
        decay=0.98,
        finish=("back-projection",),
    ),
    ("fast", "8"): Preset(
        hourglass(48, 5),
        Noise(perturbation=0.05),
        Iterations(700),
        decay=0.98,
        finish=("back-projection",),
    ),
    ("fast", "4 noisy"): Preset(
        hourglass(48, 3),
        Noise(perturbation=0.08),
        HeldOut(700, fewest=300, patience=80),
        decay=0.98,
        finish=("back-projection",),
    ),
    ("fast", "8 noisy"): Preset(
        hourglass(48, 5),
        Noise(perturbation=0.05),
        HeldOut(700, fewest=300, patience=80),
        decay=0.98,
        finish=("back-projection",),
    ),
    ("best", "4"): Preset(
        hourglass(48, 3),
        Noise(perturbation=0.08),
        Iterations(1500),
        decay=0.98,
        restarts=3,
        finish=("back-projection",),
    ),
    ("best", "8"): Preset(
        hourglass(48, 5),
        Noise(perturbation=0.05),
        Iterations(1500),
        decay=0.98,
        restarts=3,
        finish=("back-projection",),
    ),
    ("best", "4 noisy"): Preset(
        hourglass(48, 3),
        Noise(perturbation=0.08),
        HeldOut(1500, fewest=300, patience=80),
        decay=0.98,
        restarts=3,
        finish=("back-projection",),
    ),
    ("best", "8 noisy"): Preset(
        hourglass(48, 5),
        Noise(perturbation=0.05),
        HeldOut(1500, fewest=300, patience=80),
        decay=0.98,
        restarts=3,
        finish=("back-projection",),
    ),
    ("paper", "4"): Preset(
        Architecture(),
        Noise(perturbation=0.03),
        Iterations(2000),
        "adam",
        0.01,
        decay=0,
    ),
    ("paper", "8"): Preset(
        Architecture(),
        Noise(perturbation=0.05),
        Iterations(4000),
        "adam",
        0.01,
        decay=0,
    ),
}
SUPER_RESOLVE |= {
    ("paper", "4 noisy"): SUPER_RESOLVE["paper", "4"],
    ("paper", "8 noisy"): SUPER_RESOLVE["paper", "8"],
}

# "paper": the paper's text (Fig. 6) and its published program alike.  "jpeg": with the
# quantisation tables of the file.
REMOVE_ARTIFACTS: Table = {
    ("fast", ""): Preset(hourglass(32, 4), Noise(), Iterations(400)),
    ("best", ""): Preset(hourglass(32, 4), Noise(), Iterations(400), restarts=4),
    ("fast", "jpeg"): Preset(
        hourglass(32, 4, skip=32, skip_kernel=3), BlindSpot(0.5), Iterations(400)
    ),
    ("best", "jpeg"): Preset(
        hourglass(48, 4, skip=32, skip_kernel=3),
        BlindSpot(0.5),
        Iterations(400),
        restarts=4,
    ),
    ("paper", ""): Preset(
        Architecture((8, 16, 32, 64, 128), (8, 16, 32, 64, 128), (0, 0, 0, 4, 4)),
        Noise(features=3),
        Iterations(2400),
        "adam",
        0.01,
    ),
}

# "paper": section 4 (Image enhancement).  The level of the rule is the image's own
# detail, which the task sets; 3000 is the most, should it never be reached.
ENHANCE: Table = {
    ("fast", ""): Preset(
        hourglass(32, 4), Noise(perturbation=0.0), Discrepancy(3000, 0), decay=0.9
    ),
    ("best", ""): Preset(
        hourglass(48, 4), Noise(perturbation=0.0), Discrepancy(3000, 0), decay=0.9
    ),
    ("paper", ""): Preset(
        Architecture(), Noise(perturbation=0.0), Discrepancy(3000, 0), "adam", 0.01
    ),
}

# "paper": the program of Ren et al., Neural Blind Deconvolution Using Deep Priors
# (CVPR 2020).
DECONVOLVE: Table = {
    ("fast", ""): Preset(
        hourglass(32, 4, skip=4, output="softplus"),
        Noise(),
        HeldOut(800, patience=100),
        decay=0.98,
        start_iterations=100,
        finish=("richardson-lucy",),
    ),
    ("best", ""): Preset(
        hourglass(64, 4, skip=4, output="softplus"),
        Noise(),
        HeldOut(2000, patience=100),
        decay=0.98,
        start_iterations=100,
        finish=("richardson-lucy",),
    ),
    ("paper", ""): Preset(
        Architecture(skip=(16,) * 5),
        Noise(8, perturbation=0.001),
        Iterations(5000),
        "adam",
        0.01,
        schedule="halving",
        decay=0.0,
    ),
}

# "paper": the published network and optimiser for super-resolution, the nearest
# application (first paper, section 4).
RESTORE: Table = {
    ("fast", ""): Preset(
        hourglass(32, 4),
        Noise(),
        HeldOut(1500, patience=150, relative_patience=0.2),
        decay=0.98,
    ),
    ("best", ""): Preset(
        hourglass(64, 4),
        Noise(),
        HeldOut(1500, patience=150, relative_patience=0.2),
        decay=0.98,
    ),
    ("paper", ""): Preset(Architecture(), Noise(), Iterations(2000), "adam", 0.01),
}

# "paper": the published program; the paper names no number of iterations.  There is no
# noise to stop at, and the course of the soft map needs an end that is known.
BLEND: Table = {
    ("fast", ""): Preset(
        hourglass(32, 5, skip=16, silent=True),
        Noise(16, perturbation=0.02),
        Iterations(200),
        schedule="cosine",
    ),
    ("best", ""): Preset(
        hourglass(48, 5, skip=16, silent=True),
        Noise(16, perturbation=0.02),
        Iterations(600),
        schedule="cosine",
    ),
    ("paper", ""): Preset(
        Architecture(skip=(128,) * 5, upsampling="nearest"),
        Noise(32, perturbation=0.02),
        Iterations(1001),
        "adam",
        0.006,
    ),
}

# "pixels": without a network, what the papers compare with; Adam at 0.2 on the logits.
# "paper": the published program (first paper, section 3.4).
INVERT_FEATURES: Table = {
    ("fast", ""): Preset(
        hourglass(48, 5),
        Noise(32, perturbation=0),
        Plateau(500),
        schedule="cosine",
        decay=0.95,
    ),
    ("best", ""): Preset(
        hourglass(48, 5),
        Noise(32, perturbation=0),
        Plateau(1500),
        schedule="cosine",
        decay=0.95,
    ),
    ("paper", ""): Preset(
        Architecture(
            (16, 32, 64, 128, 128, 128),
            (16, 32, 64, 128, 128, 128),
            (4,) * 6,
            down_kernel=(7, 7, 5, 5, 3, 3),
            up_kernel=(7, 7, 5, 5, 3, 3),
            upsampling="nearest",
            downsampling="average",
            padding="zero",
        ),
        Noise(32, perturbation=0),
        Iterations(3100),
        "adam",
        0.001,
        decay=0.9,
    ),
    ("fast", "pixels"): Preset(
        Pixels(),
        Noise(1, perturbation=0),
        Plateau(500),
        "adam",
        0.2,
        schedule="cosine",
        decay=0.95,
    ),
    ("best", "pixels"): Preset(
        Pixels(),
        Noise(1, perturbation=0),
        Plateau(1500),
        "adam",
        0.2,
        schedule="cosine",
        decay=0.95,
    ),
    ("paper", "pixels"): Preset(
        Pixels(), Noise(1, perturbation=0), Iterations(3100), "adam", 0.2, decay=0.9
    ),
}

EXCITING = Architecture(
    (16, 32, 64, 128, 128, 128),
    (16, 32, 64, 128, 128, 128),
    (0, 4, 4, 4, 4, 4),
)
PUBLISHED_EXCITING = replace(
    EXCITING,
    down_kernel=(5, 3, 5, 5, 3, 5),
    up_kernel=(5, 3, 5, 3, 5, 3),
    downsampling="average",
)

# "paper": the published program, 0.01 for classes and 0.001 for a "map" inside (first
# paper, section 3.5).
MAXIMIZE_ACTIVATION: Table = {
    ("fast", ""): Preset(
        EXCITING,
        Noise(32, perturbation=0.03),
        Plateau(400),
        "adam",
        0.01,
        schedule="cosine",
        decay=0.9,
    ),
    ("best", ""): Preset(
        EXCITING,
        Noise(32, perturbation=0.03),
        Plateau(1200),
        "adam",
        0.01,
        schedule="cosine",
        decay=0.9,
    ),
    ("paper", ""): Preset(
        PUBLISHED_EXCITING,
        Noise(32, perturbation=0.03),
        Iterations(3100),
        "adam",
        0.01,
        decay=0.9,
    ),
    ("paper", "map"): Preset(
        PUBLISHED_EXCITING,
        Noise(32, perturbation=0.03),
        Iterations(3100),
        "adam",
        0.001,
        decay=0.9,
    ),
    ("fast", "pixels"): Preset(
        Pixels(),
        Noise(1, perturbation=0),
        Plateau(400),
        "adam",
        0.2,
        schedule="cosine",
        decay=0.9,
    ),
    ("best", "pixels"): Preset(
        Pixels(),
        Noise(1, perturbation=0),
        Plateau(1200),
        "adam",
        0.2,
        schedule="cosine",
        decay=0.9,
    ),
    ("paper", "pixels"): Preset(
        Pixels(), Noise(1, perturbation=0), Iterations(3100), "adam", 0.2, decay=0.9
    ),
}
