"""Many small computations in torch's threads."""

import threading
import time

import pytest
import torch

from napari_dip.prior import interrupt
from napari_dip.prior.runtime import _WhileUsed, cudnn_flags, step_context
from napari_dip.prior.threads import _Threads, in_threads, threads_here

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


def elsewhere(work):
    """Return what a new thread returns."""
    returned = []
    thread = threading.Thread(target=lambda: returned.append(work()))
    thread.start()
    thread.join()
    return returned[0]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_step_changes_the_number_of_its_own_thread_alone(threads, number):
    with step_context(number):
        assert torch.get_num_threads() == number
        assert elsewhere(torch.get_num_threads) == threads
        with threads_here.set(4):
            assert torch.get_num_threads() == 4
            assert elsewhere(torch.get_num_threads) == threads
        assert torch.get_num_threads() == number
        assert elsewhere(torch.get_num_threads) == threads
    assert torch.get_num_threads() == threads
    assert elsewhere(torch.get_num_threads) == threads


def test_computing_in_threads_changes_no_other(threads):
    seen = []

    def use(result):
        # Threads of the pool may be starting: what they set is undone under a lock.
        seen.append(elsewhere(threads_here.count))

    in_threads(lambda number: number, range(4), use, CPU)
    assert seen == [threads] * 4


def test_steps_of_several_threads_at_once(threads):
    """Every one sees its own number, and new threads the usual one."""
    wrong = []

    def steps(number):
        if threads_here.count() != threads:
            wrong.append("new")
        for _ in range(50):
            with step_context(number):
                if torch.get_num_threads() != number:
                    wrong.append("within")
            if torch.get_num_threads() != threads:
                wrong.append("after")

    for _ in range(5):
        several = [threading.Thread(target=steps, args=[n]) for n in (1, 1, 2, 4)]
        for thread in several:
            thread.start()
        for thread in several:
            thread.join()
    assert wrong == []
    assert threads_here.users == 0


def test_a_fork_during_a_step_of_another_thread(threads, monkeypatch):
    """The child has not got that thread, which could never give anything back."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    here, flags = _Threads(), _WhileUsed(cudnn_flags.setting)
    begun, ended = threading.Event(), threading.Event()

    def step():
        with here.set(threads + 1), flags():
            begun.set()
            ended.wait()

    thread = threading.Thread(target=step)
    thread.start()
    begun.wait()
    assert not torch.backends.cudnn.benchmark
    monkeypatch.setattr(here, "several", False)  # no GNU OpenMP: the number is free
    here.fork()
    flags.fork()
    assert torch.backends.cudnn.benchmark
    assert here.users == flags.users == 0
    with here.set(threads), flags():
        assert not torch.backends.cudnn.benchmark
        assert here.usual == threads
    assert torch.backends.cudnn.benchmark
    ended.set()
    thread.join()
    assert here.users == flags.users == 0


def test_flags_are_as_before_after_steps_that_overlap(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    begun, ended = threading.Event(), threading.Event()

    def step():
        with step_context(None):
            begun.set()
            ended.wait()

    # The first to begin is the first to end.
    with step_context(None):
        thread = threading.Thread(target=step)
        thread.start()
        begun.wait()
        assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.benchmark
    ended.set()
    thread.join()
    assert torch.backends.cudnn.benchmark
