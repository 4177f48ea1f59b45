"""Spark actions side by side, and frames one below the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce

from pyspark.sql import DataFrame

_THREADS = 3


def few_threads() -> ThreadPoolExecutor:
    """Threads that start Spark actions together: a small action is mostly waiting for the driver, not for cores."""
    return ThreadPoolExecutor(max_workers=_THREADS)


def side_by_side(tasks: Iterable[Callable[[], object]]) -> None:
    """Run independent tasks at the same time.

    Raises:
        Exception: The first failure, after all tasks have ended.
    """
    with few_threads() as pool:
        futures = [pool.submit(task) for task in tasks]
    for future in futures:
        future.result()


def union(frames: Iterable[DataFrame]) -> DataFrame:
    """All rows of frames with the same columns; at least one frame is needed."""
    return reduce(lambda above, below: above.unionByName(below), frames)
