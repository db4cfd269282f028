"""Which channels of an image show the same things, and so are fitted together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_dip.tasks.arrays import Plane

REACH = 2
"""Pixels around a value that it is predicted from."""

TILE = 8
"""Side of the squares that are compared as independent of each other."""

FEWEST = 12
"""Squares below which nothing can be said."""

TOGETHER = 0.02
"""Correlation of what two channels hold beyond their own surroundings that counts."""

CERTAIN = 3.0
"""Standard errors by which it must differ from zero."""


def groups(plane: Plane) -> tuple[tuple[int, ...], ...]:
    """Group the channels that help to predict each other.

    What the surroundings of a value in its own channel do not tell about it is noise
    and structure.  The noise of two channels is independent (or they are fitted as
    one anyway), so where these rests are correlated, one channel shows structure
    that the other holds, too.

    Parameters
    ----------
    plane : Plane
        The image.

    Returns
    -------
    tuple of tuple of int
        Channels of every group, in their order.  All in one where too little is known
        to tell.
    """
    count = len(plane.values)
    rests = np.stack(
        [_rest(v, u) for v, u in zip(plane.values, plane.noisy, strict=True)]
    )
    joined = np.arange(count)
    for one in range(count):
        for other in range(one):
            if joined[one] == joined[other]:
                continue
            both = plane.noisy[one] & plane.noisy[other]
            if _related(rests[one], rests[other], both):
                joined[joined == joined[one]] = joined[other]
    return tuple(
        tuple(np.flatnonzero(joined == label).tolist())
        for label in dict.fromkeys(joined.tolist())
    )


def _rest(
    values: NDArray[np.float32], usable: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what is left of a channel after linear prediction from surroundings."""
    image = values.astype(np.float64)
    shifts = [
        (y, x)
        for y in range(-REACH, REACH + 1)
        for x in range(-REACH, REACH + 1)
        if (y, x) > (0, 0)
    ]
    # A value's surroundings are alike in every direction and its opposite.
    features = np.stack(
        [
            np.roll(image, (y, x), (-2, -1)) + np.roll(image, (-y, -x), (-2, -1))
            for y, x in shifts
        ]
    ).reshape(len(shifts), -1)
    target = image.reshape(-1)
    chosen = usable.reshape(-1)
    if chosen.any():
        target = target - target[chosen].mean()
        features = features - features[:, chosen].mean(axis=1, keepdims=True)
    gram = features[:, chosen] @ features[:, chosen].T
    gram[np.diag_indices(len(gram))] += 1e-6 * np.trace(gram) / len(gram) + 1e-12
    weights = np.linalg.solve(gram, features[:, chosen] @ target[chosen])
    rest: NDArray[np.float64] = (target - weights @ features).reshape(image.shape)
    return rest


def _related(
    one: NDArray[np.float64], other: NDArray[np.float64], usable: NDArray[np.bool_]
) -> bool:
    """Return whether two rests are correlated, judged from square to square."""
    inner = ndimage.binary_erosion(
        usable, np.ones((*[1] * (usable.ndim - 2), 2 * REACH + 1, 2 * REACH + 1))
    )
    product, powers = (_sums(a * inner) for a in (one * other, np.abs(one * other)))
    power = ((one**2) * inner).sum() * ((other**2) * inner).sum()
    product, powers = product[powers > 0], powers[powers > 0]
    if len(product) < FEWEST or power == 0:
        return True
    error = product.std() * len(product) ** 0.5
    correlation = abs(product.sum()) / power**0.5
    return bool(correlation > TOGETHER and abs(product.sum()) > CERTAIN * error)


def _sums(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums over squares of `TILE` pixels a side."""
    height, width = (n // TILE for n in image.shape[-2:])
    cut = image[..., : height * TILE, : width * TILE]
    tiles = cut.reshape(-1, height, TILE, width, TILE)
    sums: NDArray[np.float64] = tiles.sum(axis=(2, 4)).reshape(-1)
    return sums
