"""The quantisation tables of a JPEG file, found again from its decoded pixels."""

from __future__ import annotations

from torch import Tensor

from napari_dip.prior.jpeg import FINEST, SIDE, to_ycbcr, transform

BRIGHTNESS = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
"""Steps of brightness at quality 50, rows from the lowest frequencies (T.81, table
K.1)."""

COLOUR = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
"""Steps of colour at quality 50, rows from the lowest frequencies (T.81, table K.2)."""

MOST_BLOCKS = 1024
"""Blocks that are looked at, spread over the image: so many take some hundredths
of a second."""

SURE = 0.95
"""Part of the coefficients that must be multiples of the steps of a quality: half of
them are by chance."""

ENOUGH = 32
"""Coefficients that must tell of a quality."""

LIKE = 0.9
"""Part of the coefficients that tell of the best quality from which on another one may
be right, too."""


def standard_tables(quality: int) -> tuple[int, ...]:
    """Return the 64 steps of brightness and the 64 of colour of a quality, 1 to 100.

    They are those of the Independent JPEG Group's library, which most programs use.
    """
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = ((step * percent + 50) // 100 for step in (*BRIGHTNESS, *COLOUR))
    return tuple(min(max(step, 1), 255) for step in steps)


def quality_of(image: Tensor) -> int | None:
    """Return the quality of the JPEG that an image was decoded from.

    The coefficients of brightness are multiples of the steps of that quality, and of no
    others.  None where they are of none, and where too few of them tell it, as with a
    quality near 100, whose steps are lost in the roundings of a decoder.

    Parameters
    ----------
    image : Tensor
        The whole decoded image, (1, C, Y, X) with C 1 or 3, in integers from 0 to 255.
    """
    height, width = (n // SIDE * SIDE for n in image.shape[2:])
    cut = image[0, :, :height, :width].unflatten(2, (-1, SIDE)).unflatten(1, (-1, SIDE))
    blocks = cut.permute(1, 3, 0, 2, 4).flatten(0, 1)
    blocks = blocks[((blocks > 0) & (blocks < 255)).all(dim=3).all(dim=2).all(dim=1)]
    chosen = blocks[:: len(blocks) // MOST_BLOCKS + 1].double()
    # One below the other.
    plane = to_ycbcr(chosen.transpose(0, 1).flatten(1, 2)[None])[:, 0]
    told = transform(plane).reshape(-1, SIDE**2)
    # Not the means of blocks, which a plain background has in common.
    scores = {quality: _score(told[:, 1:], quality) for quality in range(1, 101)}
    best = max(count for count, _ in scores.values())
    # Steps of like qualities differ by one: the nearest multiples decide.
    likely = {q: away for q, (count, away) in scores.items() if count >= LIKE * best}
    return min(likely, key=likely.__getitem__) if best > 0 else None


def _score(coefficients: Tensor, quality: int) -> tuple[float, float]:
    """Return how many coefficients tell of a quality; 0 and less if it is another.

    Those that are no multiples of its steps weigh so much that `SURE` of all must be.
    Also returned is the mean square of their distances from multiples.
    """
    steps = coefficients.new_tensor(standard_tables(quality)[1 : SIDE**2])
    near = (coefficients / steps).round() * steps
    telling = (near != 0) & (steps >= FINEST)
    away = (coefficients - near).abs()
    count, wrong = int(telling.sum()), int((telling & (away > steps / 4)).sum())
    if count < ENOUGH:
        return 0.0, 0.0
    return count - wrong / (1 - SURE), float(away[telling].square().mean())
