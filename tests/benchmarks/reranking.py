"""Users a second of each step of re-ranking on one core, and the ratio to a plain numpy loop over users.

    python -m tests.benchmarks.reranking [--users 2000] [--rounds 3]

200 candidates a user become lists of 50; 64 dimensions, 20,000 items, 40 categories, 500 brands. Both sides run in
turns in one process; the loop handles fewer users, and is checked to give the same lists. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import Candidates, ItemFacts, UserFacts
from mmrec_lib.reranking.rerank import build_reranker
from mmrec_lib.reranking.second_stage import scaled_scores

NUM_ITEMS, DIM, NUM_CATEGORIES, NUM_BRANDS = 20_000, 64, 40, 500
NUM_CANDIDATES, K = 200, 50
SECTIONS: dict[str, dict[str, Any]] = {
    "second stage": {"second_stage": {}},
    "duplicates": {"duplicates": {}},
    "quotas": {"quotas": [{"by": "brand", "at_most": 1, "first": 20}, {"by": "category", "at_most": 5}]},
    "mmr": {"diversity": {"kind": "mmr"}},
    "dpp": {"diversity": {"kind": "dpp"}},
    "calibration": {"calibration": {}},
    "exploration": {"exploration": {"slots": [5, 10, 20]}},
}
Loop = Callable[[np.ndarray, np.ndarray, ItemFacts, sparse.csr_matrix], np.ndarray]


def loop_second_stage(
    row: np.ndarray, relevance: np.ndarray, items: ItemFacts, history: sparse.csr_matrix
) -> np.ndarray:
    profile = history.data @ items.vectors[history.indices]
    cosines = items.vectors[row] @ (profile / np.linalg.norm(profile))
    return row[np.argsort(-(0.8 * relevance + 0.2 * cosines), kind="stable")[:K]]


def loop_duplicates(row: np.ndarray, _: np.ndarray, items: ItemFacts, __: sparse.csr_matrix) -> np.ndarray:
    groups = items.duplicate_group[row]
    unit = np.where(groups < 0, -1 - np.arange(row.size), groups)
    return row[np.sort(np.unique(unit, return_index=True)[1])[:K]]


def loop_quotas(row: np.ndarray, _: np.ndarray, items: ItemFacts, __: sparse.csr_matrix) -> np.ndarray:
    has = items.categories[row].toarray() > 0
    brands, free = items.brands[row], np.ones(row.size, np.bool_)
    held, used, listed = np.zeros(NUM_CATEGORIES), np.zeros(NUM_BRANDS), []
    for place in range(K):
        allowed = free & ~(has & (held >= 5)).any(axis=1)
        if place < 20:
            allowed &= used[brands] < 1
        best = int(np.argmax(allowed if allowed.any() else free))
        listed.append(best)
        free[best] = False
        held += has[best]
        used[brands[best]] += 1
    return row[listed]


def loop_mmr(row: np.ndarray, relevance: np.ndarray, items: ItemFacts, _: sparse.csr_matrix) -> np.ndarray:
    vectors = items.vectors[row]
    listed, gains = [], 0.7 * relevance
    closest = np.full(row.size, -np.inf)
    gains_now = gains.copy()
    for _place in range(K):
        best = int(np.argmax(gains_now))
        listed.append(best)
        closest = np.maximum(closest, vectors @ vectors[best])
        gains_now = gains - 0.3 * closest
        gains_now[listed] = -np.inf
    return row[listed]


def loop_dpp(row: np.ndarray, relevance: np.ndarray, items: ItemFacts, _: sparse.csr_matrix) -> np.ndarray:
    vectors = items.vectors[row].astype(np.float64)
    volumes, basis, listed = np.ones(row.size), np.zeros((K, row.size)), []
    for place in range(K):
        gains = 0.7 * relevance + 0.3 * np.log(np.maximum(volumes, 1e-9))
        gains[listed] = -np.inf
        best = int(np.argmax(gains))
        listed.append(best)
        new = (vectors @ vectors[best] - basis[:place, best] @ basis[:place]) / math.sqrt(max(volumes[best], 1e-9))
        basis[place] = new
        volumes = volumes - new**2
    return row[listed]


def loop_calibration(
    row: np.ndarray, relevance: np.ndarray, items: ItemFacts, history: sparse.csr_matrix
) -> np.ndarray:
    shares = items.categories[row].toarray()
    shares /= shares.sum(axis=1, keepdims=True)
    past = items.categories[history.indices].toarray()
    wanted = history.data @ (past / past.sum(axis=1, keepdims=True))
    wanted /= wanted.sum()
    is_wanted = wanted > 0
    p, shares = wanted[is_wanted], shares[:, is_wanted]
    listed, held = [], np.zeros(p.size)
    for place in range(K):
        mixed = 0.99 * (held + shares) / (place + 1) + 0.01 * p
        gains = 0.7 * relevance - 0.3 * (p * np.log(p / mixed)).sum(axis=1)
        gains[listed] = -np.inf
        best = int(np.argmax(gains))
        listed.append(best)
        held += shares[best]
    return row[listed]


LOOPS: dict[str, Loop] = {
    "second stage": loop_second_stage,
    "duplicates": loop_duplicates,
    "quotas": loop_quotas,
    "mmr": loop_mmr,
    "dpp": loop_dpp,
    "calibration": loop_calibration,
}


def make_data(num_users: int, seed: int = 0) -> tuple[Candidates, ItemFacts, UserFacts]:
    """Items around 100 centres with two categories each, candidates drawn evenly, 30 items of history a user."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(100, DIM))
    vectors = centres[rng.integers(0, 100, NUM_ITEMS)] + rng.normal(size=(NUM_ITEMS, DIM))
    categories = np.stack([rng.integers(0, 20, NUM_ITEMS), rng.integers(20, NUM_CATEGORIES, NUM_ITEMS)], axis=1)
    rows = np.repeat(np.arange(NUM_ITEMS), 2)
    items = ItemFacts.of(
        NUM_ITEMS,
        vectors=vectors.astype(np.float32),
        categories=sparse.csr_matrix((np.ones(rows.size), (rows, categories.ravel()))),
        brands=rng.integers(0, NUM_BRANDS, NUM_ITEMS),
        is_new=rng.random(NUM_ITEMS) < 0.05,
        duplicate_group=np.where(rng.random(NUM_ITEMS) < 0.3, rng.integers(0, 2000, NUM_ITEMS), -1),
        category_names=tuple(f"c{n}" for n in range(NUM_CATEGORIES)),
        brand_names=tuple(f"b{n}" for n in range(NUM_BRANDS)),
    )
    drawn = np.stack([rng.choice(NUM_ITEMS, NUM_CANDIDATES, replace=False) for _ in range(num_users)])
    scores = -np.sort(-rng.gumbel(size=drawn.shape).astype(np.float32), axis=1)
    past = np.stack([rng.choice(NUM_ITEMS, 30, replace=False) for _ in range(num_users)])
    history = sparse.csr_matrix(
        (np.ones(past.size, np.float32), (np.repeat(np.arange(num_users), 30), past.ravel())),
        shape=(num_users, NUM_ITEMS),
    )
    users = UserFacts(history, rng.integers(0, 2**63, num_users).astype(np.uint64))
    return Candidates(drawn.astype(np.int32), scores), items, users


def measure(num_users: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median users a second of each step and of the loop, and their ratio."""
    candidates, items, users = make_data(num_users)
    relevance, some = scaled_scores(candidates), min(num_users, 100)
    results: dict[str, dict[str, float]] = {}
    everything: dict[str, Any] = {
        key: value for name, s in SECTIONS.items() if name != "mmr" for key, value in s.items()
    }
    for name, section in {**SECTIONS, "all, with dpp": everything}.items():
        reranker = build_reranker(RerankingConfig.model_validate(section), num_threads=1)
        assert reranker is not None
        lists = reranker(candidates, items, users, K).indices
        ours, loop = [], []
        for _ in range(rounds):
            start = time.process_time()
            reranker(candidates, items, users, K)
            ours.append(num_users / (time.process_time() - start))
            if name in LOOPS:
                start = time.process_time()
                found = [LOOPS[name](candidates.indices[n], relevance[n], items, users.history[n]) for n in range(some)]
                loop.append(some / (time.process_time() - start))
                same = np.mean([np.array_equal(row, lists[n]) for n, row in enumerate(found)])
        results[name] = {"users_a_second": round(float(np.median(ours)))}
        if loop:
            results[name]["numpy_loop"] = round(float(np.median(loop)))
            results[name]["ratio"] = round(float(np.median(np.array(ours) / np.array(loop))), 1)
            results[name]["same_lists"] = round(float(same), 3)
    return results


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 0, or 1 where lists differ from the loop's by more than rounding may explain."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.reranking", description=__doc__)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args(argv)
    results = measure(flags.users, flags.rounds)
    print(json.dumps(results, indent=1))
    return 0 if all(result.get("same_lists", 1.0) >= 0.97 for result in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
