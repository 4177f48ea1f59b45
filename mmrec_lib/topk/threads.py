"""Threads of exact top-k: each multiplies its own users, so the BLAS library must not start more."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import threadpoolctl

_lock = threading.Lock()
_active: list[threadpoolctl.threadpool_limits] = []
_num_inside = 0


def usable_threads() -> int:
    """How many threads numpy's BLAS would use: the number of cores, or what OMP_NUM_THREADS and the like allow."""
    found: list[int] = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return max(1, min([os.cpu_count() or 1, *found]))


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to the calling thread; nested and concurrent use ends with the limits of before."""
    global _num_inside  # noqa: PLW0603 the limit belongs to the process
    with _lock:
        if _num_inside == 0:
            _active.append(threadpoolctl.threadpool_limits(limits=1, user_api="blas"))
        _num_inside += 1
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if _num_inside == 0:
                _active.pop().restore_original_limits()
