"""Spark actions side by side, and frames one below the other."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import reduce

from pyspark.sql import DataFrame

_THREADS = 3
_NAME = "mmrec-actions"


@contextmanager
def few_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that start Spark actions together: a small action is mostly waiting for the driver, not for cores.

    The block ends when all are done. When it is left by an error or a signal, what has not begun does not begin.
    """
    pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix=_NAME)
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def side_by_side(tasks: Iterable[Callable[[], object]]) -> None:
    """Run independent tasks at the same time.

    Raises:
        Exception: The first failure, after all tasks have ended.
    """
    with few_threads() as pool:
        futures = [pool.submit(task) for task in tasks]
    for future in futures:
        future.result()


def end_actions(interrupt: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until no thread of `few_threads` does anything any more, after a run was told to end.

    Args:
        interrupt: Ends what Spark does now; called again and again, because a thread may start something more.
        seconds: Time to wait at most.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        threads = [thread for thread in threading.enumerate() if thread.name.startswith(_NAME)]
        if not threads:
            return
        with contextlib.suppress(Exception):
            interrupt()
        threads[0].join(0.2)


def union(frames: Iterable[DataFrame]) -> DataFrame:
    """All rows of frames with the same columns; at least one frame is needed."""
    return reduce(lambda above, below: above.unionByName(below), frames)
