"""Planes cut into tiles."""

import numpy as np
import pytest

from napari_dip.errors import InputError
from napari_dip.tasks.tiles import (
    FIELD,
    GRID,
    SIDE,
    WHOLE,
    Block,
    probes,
    relative,
    tile_sides,
    tiles,
)


@pytest.mark.parametrize("sides", [(500, 700), (192, 193), (1000, 80)])
@pytest.mark.parametrize("tile", [(GRID, GRID), (GRID, 3 * GRID)])
def test_the_cores_cover_every_pixel_once(sides, tile):
    count = np.zeros(sides, int)
    for part in tiles(sides, tile):
        count[part.core] += 1
    assert (count == 1).all()


@pytest.mark.parametrize("reach", [32, 96, 112, 256])
@pytest.mark.parametrize("length", [700, 1000])
def test_tiles_are_blended_with_weights_of_one(length, reach):
    whole = Block.whole(0, (), (0,), (16, length))
    total = np.zeros(whole.stop)
    sides = tile_sides(1, whole.stop, reach=reach)
    for block in whole.tiled(sides, reach):
        total[block.region()] += block.window()
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_a_tile_sees_its_surroundings_as_far_as_there_are_any():
    first, *_, last = tiles((500, 700), (GRID, GRID))
    assert first.seen == (slice(0, GRID + FIELD),) * 2
    assert last.core == (slice(2 * GRID, 500), slice(3 * GRID, 700))
    assert last.seen == (slice(2 * GRID - FIELD, 500), slice(3 * GRID - FIELD, 700))
    area = np.zeros((500, 700))
    assert (
        area[last.seen][relative(last.core, last.seen)].shape == area[last.core].shape
    )
    assert area[last.filtered].size < area[last.seen].size


def test_what_is_not_cut_is_one_tile():
    (only,) = tiles((50, 60), None)
    assert only.core == only.filtered == only.seen == (slice(0, 50), slice(0, 60))


def test_the_side_is_a_multiple_of_the_grid():
    assert tile_sides(100, (500, 500)) == (GRID, GRID)
    assert tile_sides(GRID + 1, (500, 500)) == (2 * GRID, 2 * GRID)
    assert tile_sides((GRID + 1, 1), (500, 500)) == (2 * GRID, GRID)
    assert tile_sides((800, 400), (500, 600)) == (5 * GRID, 3 * GRID)
    assert tile_sides((800, 600), (500, 500)) is None
    assert tile_sides(800, (500, 500)) is None
    assert tile_sides(None, (5000, 5000)) is None
    assert tile_sides("auto", (WHOLE, WHOLE)) is None
    assert tile_sides("auto", (WHOLE, WHOLE + 1)) == (SIDE, SIDE)
    assert tile_sides("auto", (50, 5000, 5000)) is None


@pytest.mark.parametrize("factor", range(2, 9))
def test_tiles_go_by_the_size_of_the_result(factor):
    largest = WHOLE // factor
    assert tile_sides("auto", (largest, largest), factor) is None
    side, other = tile_sides("auto", (largest + 1, largest + 1), factor)
    assert side == other
    assert side % (GRID // 2) == 0
    assert SIDE / 2 < side * factor <= SIDE
    assert tile_sides(GRID, (largest, 5000), factor) == (GRID, GRID)


@pytest.mark.parametrize(("sides", "count"), [((600, 500), 4), ((300, 500), 2)])
def test_probes_lie_apart_in_the_plane(sides, count):
    seen = np.zeros(sides, int)
    regions = list(probes(sides))
    for region in regions:
        assert seen[region].shape == (GRID, GRID)
        seen[region] += 1
    assert len(regions) == count
    assert seen.max() == 1


def test_a_small_plane_is_its_own_probe():
    assert list(probes((50, 60))) == [(slice(0, 50), slice(0, 60))]


def test_planes_of_very_many_tiles_are_refused():
    assert next(tiles((GRID * 316, GRID * 316), (GRID, GRID))).core[0].start == 0
    with pytest.raises(InputError, match=r"at most 100000 tiles; got 100489 tiles"):
        next(tiles((GRID * 317, GRID * 317), (GRID, GRID)))
