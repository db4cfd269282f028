import numpy as np

from napari_dip.widgets.trajectory import MOST, Snapshot, Trajectory

WHOLE = (slice(None), slice(None))


def snapshot(step, part=0, side=8):
    return Snapshot(part, step, np.full((side, side), step, np.float32))


def steps(trajectory, index=WHOLE):
    return [s.step for s in trajectory.of(index)]


def test_a_long_fit_keeps_few_snapshots_spread_over_all_of_it():
    trajectory = Trajectory(2**20)
    for step in range(1, 1001):
        trajectory.add(WHOLE, snapshot(step))
    kept = steps(trajectory)
    assert len(kept) == MOST
    assert kept[0] == 1
    assert kept[-1] == 1000
    assert kept == sorted(kept)
    assert max(np.diff(kept)) < 3 * 1000 / MOST


def test_memory_is_bounded_over_all_planes():
    one = snapshot(1).image.nbytes
    trajectory = Trajectory(10 * one)
    for plane in range(4):
        for step in range(1, 30):
            trajectory.add((plane, slice(None), slice(None)), snapshot(step))
            held = sum(len(p) for p in trajectory.planes.values())
            assert held * one == trajectory.held <= 10 * one
    last = steps(trajectory, (3, slice(None), slice(None)))
    assert last[-1] == 29
    assert len(last) >= 2


def test_what_does_not_fit_is_not_kept():
    trajectory = Trajectory(100)
    trajectory.add(WHOLE, snapshot(1))
    assert steps(trajectory) == []
    assert trajectory.held == 0


def test_a_fit_begun_again_forgets_the_one_before():
    trajectory = Trajectory(2**20)
    for step in (1, 10, 20):
        trajectory.add(WHOLE, snapshot(step))
    trajectory.add(WHOLE, snapshot(5))
    assert steps(trajectory) == [1, 5]
    trajectory.add(WHOLE, snapshot(1, part=1))
    assert [(s.part, s.step) for s in trajectory.of(WHOLE)] == [(0, 1), (0, 5), (1, 1)]


def test_planes_are_apart():
    trajectory = Trajectory(2**20)
    trajectory.add((0, slice(None), slice(None)), snapshot(3))
    trajectory.add((1, slice(None), slice(None)), snapshot(4))
    assert steps(trajectory, (0, slice(None), slice(None))) == [3]
    assert steps(trajectory, (2, slice(None), slice(None))) == []
