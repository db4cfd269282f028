"""Many small computations in torch's threads."""

import threading
import time

import pytest
import torch

from napari_dip.prior import interrupt
from napari_dip.prior.runtime import in_threads

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_and_in_this_thread(threads):
    seen, used, users = set(), [], set()

    def compute(number):
        seen.add(threading.get_ident())
        time.sleep(0.002 * (number % 3))
        assert torch.get_num_threads() == 1
        return number * torch.ones(2)

    def use(result):
        used.append(int(result[0]))
        users.add(threading.get_ident())

    in_threads(compute, range(20), use, CPU)
    assert used == list(range(20))
    assert users == {threading.get_ident()}
    assert len(seen) == threads
    assert torch.get_num_threads() == threads


def test_what_a_thread_raises_is_raised_here(threads):
    begun = []

    def compute(number):
        begun.append(number)
        if number == 3:
            raise ValueError("number 3")

    with pytest.raises(ValueError, match="number 3"):
        in_threads(compute, range(1000), lambda _: None, CPU)
    assert len(begun) < 20
    assert torch.get_num_threads() == threads


def test_a_stop_is_asked_for_between_the_items(threads):
    used = []
    with (
        interrupt.asking(lambda: len(used) >= 5),
        interrupt.allowed(),
        pytest.raises(interrupt.Interrupted),
    ):
        in_threads(lambda number: number, range(1000), used.append, CPU)
    assert used == list(range(5))
    assert torch.get_num_threads() == threads


def test_tensors_of_inference_mode_can_be_written_to(threads):
    with torch.inference_mode():
        total = torch.zeros(4)

        def add(number):
            total[number] += number

        in_threads(add, range(4), lambda _: None, CPU)
    assert total.tolist() == [0, 1, 2, 3]
