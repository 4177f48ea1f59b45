"""Exact top-k against a full sort in plain numpy, timed in the same run: `python -m tests.benchmarks.topk`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from mmrec_lib.topk import exact_top, select_top


def best_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Shortest of some runs, in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    """Print seconds of both and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.topk")
    for name, default in (("items", 20_000), ("users", 2_000), ("dim", 64), ("k", 50)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    users = rng.standard_normal((options.users, options.dim)).astype(np.float32)
    items = rng.standard_normal((options.items, options.dim)).astype(np.float32)

    def full_sort() -> None:
        for start in range(0, options.users, 256):
            np.argsort(-(users[start : start + 256] @ items.T), axis=1, kind="stable")[:, : options.k]

    ours = best_seconds(lambda: exact_top(users, items, options.k))
    naive = best_seconds(full_sort, repeats=1)
    product = best_seconds(lambda: [users[start : start + 256] @ items.T for start in range(0, options.users, 256)])
    scores = (users[:256] @ items.T).astype(np.float32)
    select = best_seconds(lambda: select_top(scores, options.k)) / scores.size
    pairs = options.users * options.items
    print(f"{options.users:,} users x {options.items:,} items, {options.dim} dimensions, k = {options.k}")
    print(f"exact_top      {ours:8.3f} s   {pairs / ours / 1e6:8.1f} million pairs/s")
    print(f"matrix product {product:8.3f} s   (part of both)")
    print(f"full argsort   {naive:8.3f} s   ratio {naive / ours:.1f}")
    print(f"selection alone {select * 1e9:.2f} ns a score")


if __name__ == "__main__":
    main()
