"""Probabilities and expected worth in the lists of a batch, under rules, pins, re-ranking and worths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from scipy.special import expit, logit

from mmrec_lib.models.heads.heads import Heads
from mmrec_lib.models.ranker.fit import fit_ranker
from mmrec_lib.models.ranker.ranker import FittedRanker
from mmrec_lib.reranking.config import RerankingConfig
from mmrec_lib.reranking.facts import ItemFacts
from mmrec_lib.scoring.catalogue import Catalogue
from mmrec_lib.scoring.config import ListConfig
from mmrec_lib.scoring.users import score_batch
from tests.unit.models.checkerboard import SETTINGS, checkerboard
from tests.unit.models.given_heads import head_of
from tests.unit.scoring.test_users import batch_of, rules_of

LISTS = ListConfig(k=6)


@pytest.fixture(scope="module")
def plain() -> FittedRanker:
    return fit_ranker(checkerboard().train, SETTINGS)


@pytest.fixture(scope="module")
def ranker(plain: FittedRanker) -> FittedRanker:
    """With heads of views, likelier the higher the score, and of the values of ratings."""
    heads = (head_of("view", 0.2, slope=1.0), replace(head_of("view:share", 0.5), high=4.0))
    return replace(plain, heads=Heads(heads, {}, 8))


def catalogue_of(ranker: FittedRanker, **rules: Any) -> Catalogue:
    return Catalogue(ranker, ranker.item_ids, ranker.item_vectors(), rules_of(ranker.item_ids, **rules))


def rows_of(catalogue: Catalogue, lists: ListConfig = LISTS) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = score_batch(
        batch_of(catalogue.ranker), catalogue, lists, RerankingConfig()
    ).to_pylist()
    return found


def views(row: dict[str, Any]) -> list[float]:
    return [dict(place)["view"] for place in row["probabilities"]]


def test_a_ranker_without_heads_says_nothing(plain: FittedRanker) -> None:
    for row in rows_of(catalogue_of(plain)):
        assert (row["probabilities"], row["expected_values"], row["expected_worths"]) == (None, None, None)


def test_each_place_has_probabilities_and_the_order_stays(plain: FittedRanker, ranker: FittedRanker) -> None:
    for row, before in zip(rows_of(catalogue_of(ranker)), rows_of(catalogue_of(plain)), strict=True):
        assert row["item_ids"] == before["item_ids"]
        assert row["scores"] == before["scores"]
        slope = 0.0 if row["user_id"] in ("u1", "u2") else 1.0
        assert views(row) == pytest.approx(expit(logit(0.2) + slope * np.array(row["scores"])).tolist(), rel=1e-3)
        assert [dict(place) for place in row["expected_values"]] == [{"view:share": 2.0}] * len(row["item_ids"])
        assert row["expected_worths"] is None


@pytest.mark.parametrize("worths", [{}, {"view": -1.0, "view:share": 0.25}])
@pytest.mark.parametrize("ranks", [0, 2, 6, 50])
def test_outcomes_are_told_of_the_first_places_alone(
    ranker: FittedRanker, ranks: int, worths: dict[str, float]
) -> None:
    """A pin changes what is a candidate; worths order and stand in each place all the same."""
    pin = [{"name": "first", "kind": "pin", "position": 3, "items": {"item_ids": [ranker.item_ids[7]]}}]
    catalogue, lists = catalogue_of(ranker, rules=pin), ListConfig(k=6, worths=worths)
    told = rows_of(catalogue, lists.model_copy(update={"outcome_ranks": ranks}))
    for row, whole in zip(told, rows_of(catalogue, lists), strict=True):
        assert len(whole["probabilities"]) == len(whole["item_ids"]) > 2
        outcomes = {name: whole.pop(name)[:ranks] for name in ("probabilities", "expected_values")}
        assert {name: row.pop(name) for name in outcomes} == outcomes
        assert row == whole and (row["expected_worths"] is None) == (not worths)


def test_what_rules_add_to_a_score_is_no_part_of_a_probability(ranker: FittedRanker) -> None:
    boost = [{"name": "more", "kind": "boost", "amount": 3.0, "items": {"categories": ["odd"]}}]
    before = {
        item: value
        for row in rows_of(catalogue_of(ranker), ListConfig(k=40))[:1]
        for item, value in zip(row["item_ids"], views(row), strict=True)
    }
    row = rows_of(catalogue_of(ranker, rules=boost))[0]
    assert row["item_ids"][0] != next(iter(before)), "the boost has an effect"
    assert views(row) == pytest.approx([before[item] for item in row["item_ids"]], rel=1e-3)


def test_a_pinned_item_has_the_probability_of_its_own_score(ranker: FittedRanker) -> None:
    whole = rows_of(catalogue_of(ranker), ListConfig(k=40))[0]
    last = whole["item_ids"][-1]
    pin = [{"name": "first", "kind": "pin", "position": 1, "items": {"item_ids": [last]}}]
    row = rows_of(catalogue_of(ranker, rules=pin))[0]
    assert row["item_ids"][0] == last
    assert views(row)[0] == pytest.approx(views(whole)[-1], rel=1e-3)
    assert views(row)[1] == views(whole)[0]


def test_worths_order_the_candidates_and_are_told(ranker: FittedRanker) -> None:
    """A worth below 0 for views: of the eight candidates the last come first, with the first ones' scores."""
    whole = rows_of(catalogue_of(ranker), ListConfig(k=8))[0]
    row = rows_of(catalogue_of(ranker), ListConfig(k=6, worths={"view": -1.0, "view:share": 0.25}))[0]
    assert row["item_ids"] == whole["item_ids"][:1:-1]
    assert row["scores"] == whole["scores"][:6]
    assert row["expected_worths"] == pytest.approx([-0.5 * value for value in views(row)], rel=1e-3)
    assert row["expected_worths"] == sorted(row["expected_worths"], reverse=True)


def test_shares_add_up_to_the_score_that_worths_gave(ranker: FittedRanker) -> None:
    row = rows_of(catalogue_of(ranker), ListConfig(k=6, worths={"view": -1.0}))[0]
    for shares, score in zip(row["shares"], row["scores"], strict=True):
        assert sum(dict(shares).values()) == pytest.approx(score, abs=1e-5)


def test_a_new_item_that_worths_moved_has_its_own_score_as_content(ranker: FittedRanker) -> None:
    # The fourth is not available.
    ids = np.array([*ranker.item_ids[1:5], "zz-late"])
    vectors = np.vstack([ranker.item_vectors()[1:5], 2 * ranker.item_vectors()[-1:]])
    catalogue = Catalogue(ranker, ids, vectors, rules_of(ids))
    before, after = (rows_of(catalogue, ListConfig(k=4, worths=worths))[0] for worths in ({}, {"view": -1.0}))
    place, moved = (row["item_ids"].index("zz-late") for row in (before, after))
    assert place != moved
    own, shares = before["scores"][place], dict(after["shares"][moved])
    assert dict(before["shares"][place])["content"] == pytest.approx(own, rel=1e-5)
    assert shares["content"] == pytest.approx(own, rel=1e-5)
    assert shares["residual"] == pytest.approx(after["scores"][moved] - own, rel=1e-4)


def test_worths_that_do_not_count_leave_reranked_lists_as_they_are(plain: FittedRanker) -> None:
    ranker = replace(plain, heads=Heads((head_of("view", 0.2, slope=1.0),), {"buy": "too few"}, 8))
    ids = ranker.item_ids
    facts = ItemFacts.of(
        len(ids),
        categories=sparse.csr_matrix(np.eye(2, dtype=np.float32)[np.arange(len(ids)) % 2]),
        category_names=("even", "odd"),
    )
    catalogue = replace(catalogue_of(ranker), facts=facts)
    quotas = [{"by": "category", "name": "even", "at_most": 0}]
    reranking = RerankingConfig.model_validate({"num_candidates": 4, "quotas": quotas})

    def lists(**worths: float) -> list[list[str]]:
        rows = score_batch(batch_of(ranker), catalogue, ListConfig(k=2, worths=worths), reranking).to_pylist()
        return [row["item_ids"] for row in rows]

    assert lists(buy=10.0) == lists()
    best = [row["item_ids"] for row in rows_of(catalogue_of(ranker), ListConfig(k=4, worths={"view": -1.0}))]
    for chosen, pool in zip(lists(view=-1.0), best, strict=True):
        assert set(chosen) <= set(pool)


def test_users_and_batches_without_candidates_have_empty_lists(ranker: FittedRanker) -> None:
    batch = batch_of(ranker)
    seen = pa.array([ranker.item_ids.tolist()] * batch.num_rows, pa.list_(pa.string()))
    place = batch.schema.get_field_index("seen_item_ids")
    nothing = batch.set_column(place, "seen_item_ids", seen)
    for row in score_batch(nothing, catalogue_of(ranker), LISTS, RerankingConfig()).to_pylist():
        assert (row["item_ids"], row["probabilities"], row["expected_values"]) == ([], [], [])


def test_entries_of_maps_stand_in_the_order_of_their_names(ranker: FittedRanker) -> None:
    """Their contract says so (`in_order`), and rows are compared by hashes that do not sort them."""
    heads = (head_of("buy", 0.1, slope=1.0), *ranker.heads.kept) if ranker.heads is not None else ()
    of_three = replace(ranker, heads=Heads(heads, {}, 8))
    maps = [
        [name for name, _ in place]
        for row in rows_of(catalogue_of(of_three))
        for column in ("shares", "probabilities", "expected_values")
        for place in row[column]
    ]
    assert any(len(names) > 1 for names in maps)
    assert all(names == sorted(names) for names in maps)
