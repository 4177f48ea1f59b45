from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_lib.encoders.prefetch import map_ahead


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4), st.integers(1, 5))
@settings(deadline=None)
def test_results_are_those_of_map_in_order(items: list[int], num_threads: int, num_ahead: int) -> None:
    assert list(map_ahead(lambda x: x * 2, items, num_threads, num_ahead)) == [x * 2 for x in items]


def test_no_more_is_taken_ahead_than_allowed() -> None:
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    results = map_ahead(lambda x: x, source(), 2, num_ahead=5)
    for _ in range(3):
        next(results)
    assert taken <= 8
    results.close()  # type: ignore[attr-defined]


def test_error_comes_where_its_result_would_have() -> None:
    def fail_on_two(x: int) -> int:
        if x == 2:
            raise ValueError("two")
        return x

    results = map_ahead(fail_on_two, range(5), 2, 3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_work_is_done_while_the_caller_waits() -> None:
    done = threading.Event()

    def work(x: int) -> int:
        if x == 1:
            done.set()
        return x

    results = map_ahead(work, range(3), 1, 2)
    next(results)
    assert done.wait(timeout=10)
