"""Slots show new items as often as the written propensity says, from the right items, whatever the block."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy import sparse, stats

from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import Candidates, ItemFacts, RerankedLists, UserFacts
from mmrec_lib.reranking.rerank import build_reranker

NUM_ITEMS, NUM_DRAWS = 12, 40_000
NEW = [6, 7, 8, 9]


def facts(**more: Any) -> ItemFacts:
    return ItemFacts.of(NUM_ITEMS, is_new=np.isin(np.arange(NUM_ITEMS), NEW), **more)


def explored(
    row: list[int],
    k: int,
    config: dict[str, Any],
    items: ItemFacts,
    pool: list[int] | None = None,
    num: int = NUM_DRAWS,
) -> RerankedLists:
    """Lists of as many users with the same candidates."""

    def block(indices: list[int]) -> Candidates:
        rows = np.tile(np.array(indices, np.int32), (num, 1))
        scores = np.tile(-np.arange(len(indices), dtype=np.float32), (num, 1))
        return Candidates(rows, np.where(rows < 0, -np.inf, scores).astype(np.float32))

    seeds = np.arange(num, dtype=np.uint64)
    new_items = None if pool is None else block(pool)
    users = UserFacts(sparse.csr_matrix((num, NUM_ITEMS), dtype=np.float32), seeds, new_items)
    reranker = build_reranker(RerankingConfig.model_validate(config))
    assert reranker is not None
    return reranker(block(row), items, users, k)


CASES: dict[str, tuple[list[int], int, dict[str, Any], list[int] | None]] = {
    "one slot": ([0, 1, 2, 3, 6, 7, 8], 4, {"slots": [2], "epsilon": 0.3}, None),
    "three slots": ([0, 1, 2, 3, 4, 6, 7, 8, 9], 5, {"slots": [1, 2, 4], "epsilon": 0.4}, None),
    "more slots than new items": ([0, 1, 2, 3, 4, 6, 7], 5, {"slots": [1, 3, 4, 5], "epsilon": 0.5}, None),
    "a new item in the list": ([0, 6, 2, 7, 8], 3, {"slots": [2, 3], "epsilon": 0.5}, None),
    "a short list": ([0, 1, -1, -1], 5, {"slots": [1, 2, 4], "epsilon": 0.5}, [6, 7, 8, 9]),
    "a pool": ([0, 1, 2, 3], 3, {"slots": [3], "epsilon": 0.1}, [9, 8, -1]),
}


@pytest.mark.parametrize("name", CASES)
def test_frequencies_agree_with_the_written_propensity(name: str) -> None:
    row, k, exploration, pool = CASES[name]
    lists = explored(row, k, {"exploration": exploration}, facts(), pool)
    assert lists.propensity is not None
    for place in range(k):
        written: dict[int, set[float]] = {}
        for item, value in zip(lists.indices[:, place].tolist(), lists.propensity[:, place].tolist(), strict=True):
            written.setdefault(item, set()).add(value)
        # One place shows one item with one probability, whoever asks.
        assert all(len(values) == 1 for values in written.values())
        counts = Counter(lists.indices[:, place].tolist())
        expected = {item: next(iter(values)) for item, values in written.items() if item >= 0}
        empty = 1 - sum(expected.values())
        assert empty == pytest.approx(0, abs=1e-6) if -1 not in counts else empty > 0
        if -1 in counts:
            expected[-1] = empty
            assert written[-1] == {0.0}
        if len(expected) > 1:
            order = sorted(expected)
            result = stats.chisquare(
                [counts[item] for item in order],
                np.array([expected[item] for item in order]) / sum(expected.values()) * NUM_DRAWS,
            )
            assert result.pvalue > 1e-4, (place, counts, expected)


def test_slots_show_distinct_new_items_and_the_others_keep_their_order() -> None:
    lists = explored([0, 1, 2, 3, 4, 6, 7, 8], 5, {"exploration": {"slots": [2, 3], "epsilon": 0.5}}, facts(), num=500)
    for row in lists.indices.tolist():
        assert len(set(row)) == 5
        old = [item for item in row if item not in NEW]
        assert old == list(range(len(old)))
        assert all(place in (1, 2) for place, item in enumerate(row) if item in NEW)


def test_the_first_moments_are_worked_out_by_hand() -> None:
    lists = explored([0, 1, 2, 6, 7], 3, {"exploration": {"slots": [1, 2], "epsilon": 0.25}}, facts(), num=2000)
    assert lists.propensity is not None
    found = {
        (place, item): value
        for row, values in zip(lists.indices.tolist(), lists.propensity.tolist(), strict=True)
        for place, (item, value) in enumerate(zip(row, values, strict=True))
    }
    assert found == pytest.approx(
        {
            **{(0, 0): 0.75, (0, 6): 0.125, (0, 7): 0.125},
            **{(1, 1): 0.75 * 0.75, (1, 0): 0.75 * 0.25, (1, 6): 0.125, (1, 7): 0.125},
            **{(2, 2): 0.75**2, (2, 1): 2 * 0.75 * 0.25, (2, 0): 0.25**2},
        }
    )


def test_a_near_duplicate_of_the_list_or_of_another_new_item_is_not_drawn() -> None:
    groups = np.full(NUM_ITEMS, -1)
    groups[[0, 6]] = 0
    groups[[7, 8]] = 1
    config = {"exploration": {"slots": [1, 2], "epsilon": 0.9}}
    lists = explored([0, 1, 2, 6, 7, 8, 9], 3, config, facts(duplicate_group=groups), num=500)
    assert set(np.unique(lists.indices)) == {0, 1, 2, 7, 9}


def test_without_new_items_the_list_stays_and_is_certain() -> None:
    lists = explored([0, 1, 2], 4, {"exploration": {"slots": [1, 9], "epsilon": 0.9}}, facts(), num=3)
    assert lists.indices.tolist() == [[0, 1, 2, -1]] * 3
    assert lists.propensity is not None and lists.propensity.tolist() == [[1, 1, 1, 0]] * 3


def test_the_same_seed_gives_the_same_list_and_another_gives_others() -> None:
    config = {"exploration": {"slots": [1, 2], "epsilon": 0.5}}
    first, again = (explored([0, 1, 2, 6, 7, 8, 9], 3, config, facts(), num=64) for _ in range(2))
    assert first.indices.tolist() == again.indices.tolist()
    assert len({tuple(row) for row in first.indices.tolist()}) > 5


def test_lists_without_exploration_have_no_propensity() -> None:
    assert explored([0, 1], 2, {"duplicates": {}}, facts(), num=1).propensity is None
