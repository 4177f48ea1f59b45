"""Threads of exact top-k: each multiplies its own users, so the BLAS library must not start more."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import threadpoolctl

FEW_ITEMS = 1_000
"""Up to so many items matrices are so small that threads of BLAS mostly wait for each other, at full load."""


@dataclass
class _BlasLimit:
    """The limit of this process, held by all who are inside it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    num_inside: int = 0
    limits: threadpoolctl.threadpool_limits | None = None


_limit = _BlasLimit()


def usable_threads() -> int:
    """Number of threads that numpy's BLAS would use: one a core, or what OMP_NUM_THREADS and the like allow."""
    found: list[int] = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return max(1, min([os.cpu_count() or 1, *found]))


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to the calling thread; nested and concurrent use ends with the limits of before."""
    with _limit.lock:
        if _limit.num_inside == 0:
            _limit.limits = threadpoolctl.threadpool_limits(limits=1, user_api="blas")
        _limit.num_inside += 1
    try:
        yield
    finally:
        with _limit.lock:
            _limit.num_inside -= 1
            if _limit.num_inside == 0 and _limit.limits is not None:
                _limit.limits.restore_original_limits()
                _limit.limits = None
