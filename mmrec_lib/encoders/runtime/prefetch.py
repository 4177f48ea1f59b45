"""Work done ahead in threads, in order, never more than a few results in advance."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

# Batches that a device has at once: one is copied while another is computed. A processor does one after the other.
_BATCHES_AT_ONCE = {"cpu": 1, "cuda": 2}

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T], num_threads: int, num_ahead: int) -> Iterator[R]:
    """Like `map`, but up to `num_ahead` results are made in threads while the caller works on an earlier one.

    Results come in the order of the items; an exception comes where its result would have. When the caller stops
    early, what has not begun is cancelled.
    """
    source = iter(items)
    with ThreadPoolExecutor(num_threads) as pool:
        waiting: deque[Future[R]] = deque(pool.submit(function, item) for item in islice(source, num_ahead))
        try:
            while waiting:
                done = waiting.popleft()
                result = done.result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def map_batches(function: Callable[[T], R], batches: Iterable[T], device: str) -> Iterator[R]:
    """Like `map`, with as many batches at a time as a device (cpu, cuda or cuda:<number>) is kept busy with."""
    num_batches = _BATCHES_AT_ONCE[device.partition(":")[0]]
    return map(function, batches) if num_batches == 1 else map_ahead(function, batches, num_batches, num_batches)
