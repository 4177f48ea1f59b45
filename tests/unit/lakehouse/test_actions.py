"""Threads that start actions: all end before the block does, and none begins after it was left."""

from __future__ import annotations

import threading
import time

import pytest

from mmrec_lib.lakehouse.actions import end_actions, few_threads, side_by_side


def test_all_tasks_end_and_the_first_failure_is_raised() -> None:
    done: list[int] = []

    def task(number: int) -> None:
        time.sleep(0.01)
        done.append(number)
        if number in (1, 2):
            raise ValueError(f"task {number}")

    with pytest.raises(ValueError, match="task 1"):
        side_by_side([lambda n=n: task(n) for n in range(5)])  # type: ignore[misc]
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_what_has_not_begun_does_not_begin_when_the_block_is_left() -> None:
    begun, may_end = list[int](), threading.Event()

    def task(number: int) -> None:
        begun.append(number)
        may_end.wait(10)

    with pytest.raises(KeyboardInterrupt), few_threads() as pool:
        for number in range(8):
            pool.submit(task, number)
        while len(begun) < 3:
            time.sleep(0.005)
        raise KeyboardInterrupt
    calls = 0

    def interrupt() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            may_end.set()

    end_actions(interrupt)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mmrec-actions")]
    assert sorted(begun) == [0, 1, 2] and calls >= 2


def test_waiting_for_threads_has_an_end() -> None:
    may_end = threading.Event()
    with pytest.raises(KeyboardInterrupt), few_threads() as pool:
        pool.submit(may_end.wait, 10)
        raise KeyboardInterrupt
    start = time.monotonic()
    end_actions(lambda: None, seconds=0.3)
    assert time.monotonic() - start < 5
    may_end.set()
    end_actions(lambda: None)
