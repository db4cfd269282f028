"""How every task is fitted: one table of presets per task.

A table maps the name of a preset and the case, which the task tells from the image, to
a `Preset`.  An empty case stands for all that are not listed.  What was measured to
choose them is in docs/development/experiments.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from napari_dip.prior.architecture import Architecture, Pixels
from napari_dip.prior.codes import BlindSpot, Guide, Meshgrid, Noise
from napari_dip.prior.kinds import check_range
from napari_dip.prior.local import Local
from napari_dip.prior.problem import Optimization, Prior
from napari_dip.prior.stopping import Discrepancy, HeldOut, Iterations, Plateau
from napari_dip.tasks.finishing import Finish

hourglass = Architecture.uniform

NO_IMAGE = torch.empty(1, 1, 1, 1)
"""Stands for a guide, which the task puts in its place."""


@dataclass(frozen=True)
class Preset(Optimization, Prior):
    """How a task is fitted: a prior, how its weights are found, and what follows."""

    restarts: int = 1
    """Fits that are averaged."""
    finish: Finish = field(default_factory=Finish)
    """Steps from the average to the result."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.restarts, 1, math.inf, "Preset: restarts")


QUICKLY: dict[str, Any] = {
    "learning_rate": 0.03,
    "momentum": 0.85,
    "adam_learning_rate": 0.02,
}
"""Rates with which half of the iterations do as well, or fewer."""

Table = Mapping[tuple[str, str], Preset]

NARROW = hourglass(32, 4, skip=32, skip_kernel=3)
WIDE = hourglass(48, 4, skip=32, skip_kernel=3)
"""Networks whose wide skips carry what the hidden pixels' neighbours show."""

# "paper": the paper's text, section 4 (1800 iterations; its program runs 3000).
# "signal-dependent": microscope images, whose dim parts take longer.
# "impulse": what is one is judged by the fit, which has to be closer for that.
# "correlated": hidden pixels could be told from their neighbours, noise and all, so
# none are hidden; held-out blocks reach as far as the noise of camera JPEGs (0.1 at a
# distance of 5 pixels).  Channels cost most at full resolution, where 16 suffice.
HIDING = Preset(
    Local(),
    BlindSpot(0.25),
    HeldOut(40, patience=40, relative_patience=0),
    **QUICKLY,
    average="weights",
    ema_decay=0.95,
    check_every=20,
    coarse_iterations=120,
    finish=Finish(
        posterior_mean=True,
        blur=True,
        wiener=True,
        collaborative=True,
        rounds=3,
        thresholds=True,
        half_resolution=True,
    ),
)
LONGER = replace(HIDING, stop=HeldOut(60, patience=40, relative_patience=0))
# The mean of three such fits is 0.01 dB better after the filters.
THOROUGH = replace(
    HIDING,
    architecture=Local((48,) * 4),
    stop=HeldOut(100, patience=40, relative_patience=0),
    finish=replace(HIDING.finish, dense=True),
)
CORRELATED = Preset(
    Architecture((32, 64, 64), (16, 32, 64), (16, 32, 32), skip_kernel=3),
    Noise(16),
    HeldOut(100, radius=5, patience=60, relative_patience=0),
    **QUICKLY,
    average="weights",
    ema_decay=0.95,
    finish=Finish(posterior_mean=True, collaborative=True),
)
# With the rates and the averaged weights of one fit, the mean of three has 0.4 dB more
# on one camera image and 0.7 dB less on another.
MEAN_OF_CORRELATED = Preset(
    hourglass(64, 3),
    Noise(),
    HeldOut(150, radius=5, patience=60, relative_patience=0),
    learning_rate=0.03,
    ema_decay=0.95,
    restarts=3,
    finish=CORRELATED.finish,
)
DENOISE: Table = {
    ("fast", ""): HIDING,
    ("best", ""): THOROUGH,
    ("paper", ""): Preset(Architecture(), Noise(), Iterations(1800), "adam", 0.01),
    ("fast", "signal-dependent"): LONGER,
    ("best", "signal-dependent"): THOROUGH,
    ("fast", "impulse"): replace(
        HIDING, stop=HeldOut(120, patience=40, relative_patience=0)
    ),
    ("best", "impulse"): replace(
        THOROUGH, stop=HeldOut(300, patience=60, relative_patience=0)
    ),
    ("fast", "correlated"): CORRELATED,
    ("best", "correlated"): MEAN_OF_CORRELATED,
}

# "paper": the published program's, since the paper names no parameters for this task.
# Fewer iterations than without a guide: it shows at once where the edges are.
WITH_GUIDE = Preset(
    NARROW,
    BlindSpot(0.25),
    HeldOut(800, patience=40, relative_patience=0),
    adam_learning_rate=0.02,
    ema_decay=0.98,
    finish=Finish(posterior_mean=True, collaborative=True),
)
# Wide skips bring the guide's detail along.
GUIDED = Preset(
    NARROW,
    Guide(NO_IMAGE, perturbation=1 / 30),
    HeldOut(800, radius=5, patience=60, relative_patience=0),
    learning_rate=0.03,
    ema_decay=0.98,
    finish=Finish(posterior_mean=True, collaborative=True),
)
DENOISE_GUIDED: Table = {
    ("fast", ""): WITH_GUIDE,
    ("best", ""): replace(WITH_GUIDE, architecture=WIDE, restarts=3),
    ("paper", ""): Preset(
        Architecture(upsampling=("nearest",) * 2 + ("bilinear",) * 3),
        Guide(NO_IMAGE),
        Iterations(601),
        "adam",
        0.1,
        ema_decay=0,
    ),
    ("fast", "correlated"): GUIDED,
    ("best", "correlated"): replace(GUIDED, restarts=3),
}

# "paper": section 3.3 with the settings of the published program, where the paper's
# text (section 4) differs: text has skips of 4 and bilinear upsampling there.  The last
# output is the result.  "sparse" is the setting of the example with 98 % missing.
# Hidden single pixels teach nothing about strokes: text is 1 to 3 dB worse with them.
# Similar patches say more than a longer fit, where no more than 90 % is missing.  Few
# bright pixels among many dark ones are lost with the rates of other fits.
RANDOM = replace(
    HIDING,
    code=BlindSpot(0.3),
    stop=Iterations(100),
    learning_rate=0.02,
    coarse_iterations=60,
    finish=Finish(similar_patches=True),
)
RANDOM_NOISY = replace(
    HIDING,
    code=BlindSpot(0.3),
    finish=replace(HIDING.finish, blur=False, similar_patches=True),
)
SPARSE = replace(
    RANDOM,
    architecture=Local((32,) * 5),
    stop=Iterations(200),
    learning_rate=0.01,
    finish=Finish(posterior_mean=True),
)
TEXT = Preset(
    NARROW, Noise(perturbation=0.03), Iterations(500), schedule="cosine", ema_decay=0.98
)
STROKES = replace(
    TEXT,
    stop=Iterations(150),
    **QUICKLY,
    ema_decay=0.95,
    finish=Finish(wide_patches=True),
)
HOLE = replace(
    TEXT,
    architecture=hourglass(32, 6, skip=0),
    code=Noise(perturbation=0.01),
    stop=Iterations(250),
    **QUICKLY,
)
PUBLISHED_TEXT = Preset(
    hourglass(128, 5, skip=128, upsampling="nearest"),
    Noise(perturbation=0.03),
    Iterations(6001),
    "adam",
    0.01,
    ema_decay=0,
)
SPARSE_WIDTHS = (16, 32, 64, 128, 128)
INPAINT: Table = {
    ("fast", "random"): RANDOM,
    ("fast", "random noisy"): RANDOM_NOISY,
    ("fast", "sparse"): SPARSE,
    ("fast", "text"): STROKES,
    ("fast", "text noisy"): TEXT,
    ("fast", "hole"): HOLE,
    ("best", "random"): replace(
        RANDOM, architecture=Local((48,) * 4), stop=Iterations(400), restarts=3
    ),
    ("best", "random noisy"): replace(
        THOROUGH,
        code=RANDOM_NOISY.code,
        restarts=3,
        finish=replace(RANDOM_NOISY.finish, dense=True),
    ),
    ("best", "sparse"): replace(
        SPARSE, architecture=Local((48,) * 5), stop=Iterations(400), restarts=4
    ),
    ("best", "text"): replace(
        STROKES, architecture=WIDE, stop=Iterations(400), restarts=4
    ),
    ("best", "text noisy"): replace(
        TEXT, architecture=WIDE, stop=Iterations(1000), restarts=4
    ),
    ("best", "hole"): replace(
        HOLE,
        architecture=hourglass(48, 6, skip=0),
        stop=Iterations(500),
        restarts=4,
    ),
    ("paper", "random"): replace(
        PUBLISHED_TEXT,
        architecture=Architecture(),
        stop=Iterations(11000),
        learning_rate=0.001,
    ),
    ("paper", "sparse"): replace(
        PUBLISHED_TEXT,
        architecture=Architecture(
            SPARSE_WIDTHS, SPARSE_WIDTHS, (0,) * 5, downsampling="average"
        ),
        code=Noise(perturbation=0.0),
        stop=Iterations(1000),
    ),
    ("paper", "text"): PUBLISHED_TEXT,
    ("paper", "hole"): replace(
        PUBLISHED_TEXT,
        architecture=hourglass(128, 5, skip=0, upsampling="nearest"),
        code=Meshgrid(0.03),
        stop=Iterations(5001),
    ),
}

# The cases are the factors, "4" (up to 4) and "8" (above).  What one coarse pixel
# covers must be seen as a whole, so 8 takes more scales; text and other small
# structures need a stronger perturbation up to 4.
UP_TO_4 = Preset(
    hourglass(48, 3),
    Noise(perturbation=0.04),
    Iterations(250),
    **QUICKLY,
    average="weights",
    ema_decay=0.98,
    finish=Finish(similar_patches=True),
)
UP_TO_8 = replace(UP_TO_4, architecture=hourglass(48, 5), code=Noise(perturbation=0.05))
PUBLISHED_4 = Preset(
    Architecture(),
    Noise(perturbation=0.03),
    Iterations(2000),
    "adam",
    0.01,
    ema_decay=0,
)
PUBLISHED_8 = replace(PUBLISHED_4, code=Noise(perturbation=0.05), stop=Iterations(4000))
SUPER_RESOLVE: Table = {
    ("fast", "4"): UP_TO_4,
    ("fast", "8"): UP_TO_8,
    ("best", "4"): replace(UP_TO_4, stop=Iterations(600), restarts=3),
    ("best", "8"): replace(UP_TO_8, stop=Iterations(600), restarts=3),
    ("paper", "4"): PUBLISHED_4,
    ("paper", "8"): PUBLISHED_8,
}

# "paper": the paper's text (Fig. 6) and its published program alike.  "jpeg": with the
# quantisation tables of the file.
UNKNOWN_ARTIFACTS = Preset(
    hourglass(32, 4), Noise(), Iterations(320), **QUICKLY, ema_decay=0.98
)
JPEG = replace(
    UNKNOWN_ARTIFACTS,
    architecture=NARROW,
    code=BlindSpot(0.5),
    stop=Iterations(200),
)
ARTIFACTS_WIDTHS = (8, 16, 32, 64, 128)
REMOVE_ARTIFACTS: Table = {
    ("fast", ""): UNKNOWN_ARTIFACTS,
    ("best", ""): replace(UNKNOWN_ARTIFACTS, restarts=4),
    ("fast", "jpeg"): JPEG,
    ("best", "jpeg"): replace(JPEG, architecture=WIDE, restarts=4),
    ("paper", ""): Preset(
        Architecture(ARTIFACTS_WIDTHS, ARTIFACTS_WIDTHS, (0, 0, 0, 4, 4)),
        Noise(features=3),
        Iterations(2400),
        "adam",
        0.01,
    ),
}

# "paper": section 4 (Image enhancement).  The level of the rule is the image's own
# detail, which the task sets; 3000 is the most, should it never be reached.
COARSE = Preset(
    hourglass(32, 4), Noise(perturbation=0.0), Discrepancy(3000, 0), ema_decay=0.9
)
ENHANCE: Table = {
    ("fast", ""): COARSE,
    ("best", ""): replace(COARSE, architecture=hourglass(48, 4)),
    ("paper", ""): Preset(Architecture(), COARSE.code, COARSE.stop, "adam", 0.01),
}

# "paper": the program of Ren et al., Neural Blind Deconvolution Using Deep Priors
# (CVPR 2020).
# "sparse": spots and filaments on a dark ground, on which longer fits put noise.
# In planes, similar patches take the place of most iterations.  While the PSF is
# unknown, nothing tells what the inversion makes of the noise.
DEBLUR_VOLUMES = Preset(
    hourglass(32, 4, skip=16, output="softplus"),
    Noise(),
    HeldOut(400, patience=60, relative_patience=0.2),
    **QUICKLY,
    ema_decay=0.95,
    start_iterations=50,
    finish=Finish(richardson_lucy=True),
)
DEBLUR = replace(
    DEBLUR_VOLUMES,
    stop=HeldOut(120, patience=60, relative_patience=0.2),
    finish=Finish(richardson_lucy=True, similar_patches=True),
)
DEBLUR_BLIND = replace(DEBLUR_VOLUMES, finish=Finish())
LONG: dict[str, Any] = {
    "architecture": hourglass(64, 4, skip=16, output="softplus"),
    "stop": HeldOut(1200, patience=100),
}
DECONVOLVE: Table = {
    ("fast", ""): DEBLUR,
    ("fast", "sparse"): DEBLUR,
    ("fast", "volumes"): DEBLUR_VOLUMES,
    ("fast", "blind"): DEBLUR_BLIND,
    ("best", ""): replace(DEBLUR, **LONG | {"stop": HeldOut(400, patience=60)}),
    ("best", "sparse"): replace(DEBLUR, restarts=3),
    ("best", "volumes"): replace(DEBLUR_VOLUMES, **LONG),
    ("best", "blind"): replace(DEBLUR_BLIND, **LONG),
    ("paper", ""): Preset(
        Architecture(skip=(16,) * 5),
        Noise(8, perturbation=0.001),
        Iterations(5000),
        "adam",
        0.01,
        schedule="halving",
        ema_decay=0.0,
    ),
}

# "paper": the published network and optimiser for super-resolution, the nearest
# application (first paper, section 4).
FORWARD_MODEL = Preset(
    hourglass(32, 4),
    Noise(),
    HeldOut(1500, patience=150, relative_patience=0.2),
    ema_decay=0.98,
)
RESTORE: Table = {
    ("fast", ""): FORWARD_MODEL,
    ("best", ""): replace(FORWARD_MODEL, architecture=hourglass(64, 4)),
    ("paper", ""): Preset(Architecture(), Noise(), Iterations(2000), "adam", 0.01),
}

# "paper": the published program; the paper names no number of iterations.  There is no
# noise to stop at, and the course of the soft map needs an end that is known.
COMPOSITE = Preset(
    hourglass(32, 5, skip=16, zero_init=True),
    Noise(16, perturbation=0.02),
    Iterations(200),
    schedule="cosine",
)
BLEND: Table = {
    ("fast", ""): COMPOSITE,
    ("best", ""): replace(
        COMPOSITE,
        architecture=hourglass(48, 5, skip=16, zero_init=True),
        stop=Iterations(600),
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
INVERSION = Preset(
    hourglass(48, 5),
    Noise(perturbation=0),
    Plateau(500),
    schedule="cosine",
    ema_decay=0.95,
)
INVERTED_PIXELS = replace(
    INVERSION,
    architecture=Pixels(),
    code=Noise(1, perturbation=0),
    optimizer="adam",
    learning_rate=0.2,
)
PUBLISHED_WIDTHS = (16, 32, 64, 128, 128, 128)
INVERT_FEATURES: Table = {
    ("fast", ""): INVERSION,
    ("best", ""): replace(INVERSION, stop=Plateau(1500)),
    ("paper", ""): Preset(
        Architecture(
            PUBLISHED_WIDTHS,
            PUBLISHED_WIDTHS,
            (4,) * 6,
            down_kernel=(7, 7, 5, 5, 3, 3),
            up_kernel=(7, 7, 5, 5, 3, 3),
            upsampling="nearest",
            downsampling="average",
            padding="zero",
        ),
        Noise(perturbation=0),
        Iterations(3100),
        "adam",
        0.001,
        ema_decay=0.9,
    ),
    ("fast", "pixels"): INVERTED_PIXELS,
    ("best", "pixels"): replace(INVERTED_PIXELS, stop=Plateau(1500)),
    ("paper", "pixels"): replace(
        INVERTED_PIXELS, stop=Iterations(3100), schedule="constant", ema_decay=0.9
    ),
}

# "paper": the published program, 0.01 for classes and 0.001 for a "map" inside (first
# paper, section 3.5).
EXCITING = Preset(
    Architecture(PUBLISHED_WIDTHS, PUBLISHED_WIDTHS, (0, 4, 4, 4, 4, 4)),
    Noise(perturbation=0.03),
    Plateau(400),
    "adam",
    0.01,
    schedule="cosine",
    ema_decay=0.9,
)
PUBLISHED_EXCITING = replace(
    EXCITING,
    architecture=Architecture(
        PUBLISHED_WIDTHS,
        PUBLISHED_WIDTHS,
        (0, 4, 4, 4, 4, 4),
        down_kernel=(5, 3, 5, 5, 3, 5),
        up_kernel=(5, 3, 5, 3, 5, 3),
        downsampling="average",
    ),
    stop=Iterations(3100),
    schedule="constant",
)
EXCITED_PIXELS = replace(INVERTED_PIXELS, stop=Plateau(400), ema_decay=0.9)
MAXIMIZE_ACTIVATION: Table = {
    ("fast", ""): EXCITING,
    ("best", ""): replace(EXCITING, stop=Plateau(1200)),
    ("paper", ""): PUBLISHED_EXCITING,
    ("paper", "map"): replace(PUBLISHED_EXCITING, learning_rate=0.001),
    ("fast", "pixels"): EXCITED_PIXELS,
    ("best", "pixels"): replace(EXCITED_PIXELS, stop=Plateau(1200)),
    ("paper", "pixels"): replace(
        EXCITED_PIXELS, stop=Iterations(3100), schedule="constant"
    ),
}

TABLES: Mapping[str, Table] = {
    "denoise": DENOISE,
    "denoise_guided": DENOISE_GUIDED,
    "enhance": ENHANCE,
    "remove_artifacts": REMOVE_ARTIFACTS,
    "super_resolve": SUPER_RESOLVE,
    "inpaint": INPAINT,
    "blend": BLEND,
    "deconvolve": DECONVOLVE,
    "restore": RESTORE,
    "invert_features": INVERT_FEATURES,
    "maximize_activation": MAXIMIZE_ACTIVATION,
}
"""Table of every task; `napari_dip.tasks.task.preset_for` looks a preset up."""
