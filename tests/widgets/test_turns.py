from napari_dip.widgets import turns


def test_one_runs_and_the_others_wait_in_order():
    begun = []
    one, two, three = object(), object(), object()
    turns.take(one, lambda: begun.append(1))
    assert begun == [1]
    turns.take(two, lambda: begun.append(2))
    assert begun == [1]
    turns.take(three, lambda: begun.append(3))
    assert begun == [1]
    turns.leave(two)
    assert begun == [1]
    turns.leave(one)
    assert begun == [1, 3]
    turns.leave(one)
    turns.leave(three)
    assert begun == [1, 3]
    turns.take(one, lambda: begun.append(4))
    assert begun == [1, 3, 4]
    turns.leave(one)
