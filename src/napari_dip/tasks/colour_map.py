"""Images that a colour map has coloured."""

from __future__ import annotations

import numpy as np
import scipy  # whose modules load on first use
from numpy.typing import NDArray

from napari_dip.tasks.plane import Plane

MOST_COLOURS = 256
"""Colours of such a map; noise alone gives a photograph more."""

SAMPLE, PIXELS = 4096, 16
"""Pixels that show it for most photographs, and the fewest for every colour."""

STRAIGHT = 0.02
"""How far colours lie from a line, over their extent along it, up to which they are
shades of one colour, which are restored well."""

BRANCHES = 0.05
"""Part of the colours, at most, at which the shortest tree that joins all has branches:
colours of a map lie on a curve, and a palette fills a volume."""


def colour_map_warnings(plane: Plane) -> tuple[str, ...]:
    """Return a warning if three channels show the colours of a map.

    What the map has made of noise differs from colour to colour.
    """
    if len(plane.values) != 3:
        return ()
    shown = plane.pixels[:, plane.known > 0].T
    # All pixels of a large image take seconds to sort.
    sample = shown[:: -(-len(shown) // SAMPLE)]
    if len(np.unique(sample, axis=0)) > MOST_COLOURS:
        return ()
    colours = np.unique(shown, axis=0).astype(np.float64)
    few = 2 < len(colours) <= min(MOST_COLOURS, len(shown) // PIXELS)
    if not few or not _on_a_curve(colours):
        return ()
    return (
        f"the image has {len(colours)} colours, which a colour map seems to have made "
        "from a gray image; much of the noise may stay, so restore the gray image",
    )


def _on_a_curve(colours: NDArray[np.float64]) -> bool:
    """Return whether colours, (n, 3), lie on a curve that is not straight."""
    extents = np.linalg.svd(colours - colours.mean(axis=0), compute_uv=False)
    if extents[1] <= STRAIGHT * extents[0]:
        return False
    distances = scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(colours))
    tree = scipy.sparse.csgraph.minimum_spanning_tree(distances).toarray() > 0
    joined = tree.sum(axis=0) + tree.sum(axis=1)
    return bool((joined > 2).mean() <= BRANCHES)
