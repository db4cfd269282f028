"""Restore a sample image without napari: ``python -m napari_dip.demo``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from napari_dip import denoise, metrics
from napari_dip.cli.output import UNREAD, Unread, put
from napari_dip.io.atomic import replacing
from napari_dip.machine import spin_less

SIGMA = 25
"""Standard deviation of the noise, in gray levels of 255."""

OUTPUT = Path("demo", "denoise.png")

_HEADING = 28  # pixels


def sample() -> NDArray[np.uint8]:
    """Return 256 x 256 pixels of a photograph from scikit-image."""
    from skimage.data import camera

    # The part with the man and his camera, at full resolution.
    photograph: NDArray[np.uint8] = camera()[60:316, 110:366]
    return photograph


def run(
    truth: NDArray[np.uint8], output: Path = OUTPUT, **parameters: Any
) -> tuple[float, float]:
    """Add noise to an 8-bit gray image, restore it, and show both beside the original.

    The parameters are those of `napari_dip.denoise`.  Returned is the PSNR of the noisy
    and of the restored image.
    """
    noise = np.random.default_rng(0).normal(0, SIGMA, truth.shape)
    noisy = (truth + noise).astype(np.float32)
    put(f"Denoising {truth.shape[1]} x {truth.shape[0]} pixels, sigma {SIGMA} ...")
    fit = denoise(noisy, progress=True, full_output=True, **parameters)
    before, after = (
        metrics.psnr(image, truth, data_range=255) for image in (noisy, fit.image)
    )
    put(
        f"{fit.iterations} iterations in {fit.seconds:.1f} s, ended by "
        f"{fit.stopped_by}",
        f"PSNR: noisy {before:.2f} dB, restored {after:.2f} dB",
    )
    panels = {
        f"noisy, {before:.1f} dB": noisy,
        f"restored, {after:.1f} dB": fit.image,
        "original": truth,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output, overwrite=True) as temporary:
        side_by_side(panels).save(temporary, format="PNG")
    put(f"Before and after: {output}")
    return before, after


def side_by_side(panels: dict[str, NDArray[Any]]) -> Image.Image:
    """Return gray images side by side, each below its name."""
    arrays = [np.clip(np.rint(a), 0, 255).astype(np.uint8) for a in panels.values()]
    height, width = arrays[0].shape
    sheet = Image.new("L", (width * len(panels), height + _HEADING), 255)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for place, (name, array) in enumerate(zip(panels, arrays, strict=True)):
        middle = (place * width + width // 2, _HEADING // 2)
        draw.text(middle, name, fill=0, font=font, anchor="mm")
        sheet.paste(Image.fromarray(array), (place * width, _HEADING))
    return sheet


if __name__ == "__main__":
    spin_less()
    try:
        run(sample())
    except Unread:
        sys.exit(UNREAD)
